//! Acknowledgement: a license server that asks for it is told what became of its answer, until it gives a receipt.
//!
//! ```text
//!  install ── in the same commit ──► what became of each license, waiting
//!                                          │ Client::acknowledge: right after, and at every later contact
//!                                          ▼
//!                                    license server ── receipt (V-065) ──► it waits no more
//! ```
//! A crash at any point tells it again, and the server answers the same again. Where there is no network, request and
//! receipt are carried as any other message.

use std::collections::BTreeSet;

use keyward_crypto::{Secret, SecretBytes};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, LicenseOutcome, MAX_REASON, Receipt},
    codec::{Wire, grease},
    discovery::{LicenseServer, media_type},
    envelope::SealedResponse,
    error_code::{Behaviour, ErrorCode},
    exchange::{PendingRequest, ResponseError, seal_request},
    ids::{Digest, Kid, Nonce, TransactionId},
    response::{LicenseResponse, Outcome},
    signed::{PROTOCOL_VERSION, SignedBody},
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    acquire::{NOT_ENROLLED, does},
    clock,
    device::KeyStore,
    flow::Io,
    operator,
    patience::{self, Occasion},
    riding,
    store::{CarriedAcknowledgement, WaitingAcknowledgement, WaitingAcknowledgements, Write},
};

/// What became of the acknowledgements that waited.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// Those that a receipt has come for, which wait no more.
    pub received: Vec<TransactionId>,
    /// How many wait still.
    pub waiting: usize,
    /// Why the first one could not be told. What waits is told again at the next contact; what the server knows nothing
    /// of (209) waits no more.
    pub failed: Option<ClientError>,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Tells license servers what became of their answers, each in a request of its own.
    pub(crate) async fn run_acknowledge(&mut self, io: &Io) -> Result<Acknowledged, ClientError> {
        let contacts = core::mem::take(&mut self.contacts);
        let waiting = self.store.waiting_acknowledgements(io).await?;
        let mut done = Acknowledged::default();
        // Operators that could not be told: they get no second request that would come to nothing.
        let mut failing = BTreeSet::new();
        for one in &waiting.0 {
            let is_asked = contacts.is_empty() || contacts.contains(&one.operator);
            if !is_asked || failing.contains(&one.operator) {
                continue;
            }
            match self.tell(io, one).await {
                Ok(()) => done.received.push(one.transaction),
                Err(ClientError::CommitUnconfirmed) => return Err(ClientError::CommitUnconfirmed),
                Err(error) => {
                    match error {
                        // There is nothing to be told any more.
                        ClientError::NoAcknowledgements => {
                            failing.insert(one.operator);
                            self.settle(io, |other| other.operator == one.operator).await?;
                        }
                        _ if is_pointless(&error) => self.settle(io, |other| is_same(other, one)).await?,
                        _ => {
                            failing.insert(one.operator);
                        }
                    }
                    done.failed.get_or_insert(error);
                }
            }
        }
        let left = self.waiting_acknowledgements();
        done.waiting = usize::try_from(left).unwrap_or(usize::MAX);
        Ok(done)
    }

    async fn tell(&mut self, io: &Io, waiting: &WaitingAcknowledgement) -> Result<(), ClientError> {
        let id = waiting.operator;
        let origin = self.origin_of(&id)?;
        let mut server = match self.stored_server(io, &id, &origin) {
            Ok(server) if server.acknowledgement_url.is_some() => server,
            _ => self.refresh_server(io, &id, (&origin, Occasion::Ahead)).await?,
        };
        let receipt = match self.send_acknowledgement(io, waiting, &server).await {
            // The server rolled its request-encryption certificate: once more with a fresh document.
            Err(ClientError::ServerRefused(problem)) if does(&problem, Behaviour::Discover) => {
                server = self.refresh_server(io, &id, (&origin, Occasion::Ahead)).await?;
                self.send_acknowledgement(io, waiting, &server).await
            }
            other => other,
        };
        let (asked, receipt) = receipt?;
        self.check_receipt(io, (&id, waiting.transaction), &asked, &receipt)?;
        self.settle(io, |other| is_same(other, waiting)).await
    }

    async fn send_acknowledgement(
        &mut self,
        io: &Io,
        waiting: &WaitingAcknowledgement,
        server: &LicenseServer,
    ) -> Result<(PendingRequest, Vec<u8>), ClientError> {
        let url = server.acknowledgement_url.as_deref();
        let url = url.ok_or(ClientError::NoAcknowledgements)?;
        let (asked, request) = self.make_acknowledgement(waiting, server)?;
        let posted = (url, media_type::ACKNOWLEDGE_REQUEST, request);
        let (receipt, _) = patience::post(io, &mut self.rng, posted, Occasion::Ahead).await?;
        Ok((asked, receipt))
    }

    fn make_acknowledgement(
        &mut self,
        waiting: &WaitingAcknowledgement,
        server: &LicenseServer,
    ) -> Result<(PendingRequest, Vec<u8>), ClientError> {
        let nonce = Nonce::random(&mut self.rng);
        let response_key = Secret::random(&mut self.rng);
        let body = AcknowledgeRequest {
            version: PROTOCOL_VERSION,
            recipient: server.recipient,
            nonce,
            response_key: response_key.duplicate(),
            transaction: waiting.transaction,
            licenses: waiting.results.clone(),
        };
        body.check_bounds()?;
        let body = SecretBytes::new(body.encode());
        let body = SecretBytes::new(grease(body.expose(), &mut self.rng)?);
        let asked = PendingRequest::of(body.expose(), nonce, response_key);
        let operator = self.operators.get(&waiting.operator).ok_or(NOT_ENROLLED)?;
        let from = (&operator.chain[..], self.keys.signer());
        let request = seal_request::<AcknowledgeRequest>(body.expose(), from, server, &mut self.rng);
        let request = request.map_err(|error| ClientError::Message {
            what: "the acknowledgement",
            error,
        })?;
        Ok((asked, request))
    }

    /// V-065: whether this is the receipt for an acknowledgement.
    fn check_receipt(
        &self,
        io: &Io,
        (operator, transaction): (&Digest, TransactionId),
        asked: &PendingRequest,
        receipt: &[u8],
    ) -> Result<(), ClientError> {
        let operator = self.operators.get(operator).ok_or(NOT_ENROLLED)?;
        let (known, reading) = (self.store.head().clock, self.reading(io));
        // At the stated time as well: a signer cannot state a time beyond its own end.
        let times = |stated| {
            let now = clock::judge_at(&known, reading, stated);
            now.into_iter().chain([stated]).collect()
        };
        let opened = asked.open::<Receipt>(receipt, operator.anchor(), times);
        let receipt = opened.map_err(|error| match error {
            ResponseError::OtherRequest => OTHER_RECEIPT,
            ResponseError::Message(error) => ClientError::Message {
                what: "the receipt",
                error,
            },
        })?;
        operator::judge_at(&known, reading, receipt.body().server_time)?;
        if receipt.body().transaction == transaction {
            Ok(())
        } else {
            Err(OTHER_RECEIPT)
        }
    }

    /// The receipt is there, or none will come: these wait no more.
    async fn settle(
        &mut self,
        io: &Io,
        is_settled: impl Fn(&WaitingAcknowledgement) -> bool,
    ) -> Result<(), ClientError> {
        let mut waiting = self.store.waiting_acknowledgements(io).await?;
        waiting.0.retain(|other| !is_settled(other));
        self.write_waiting(io, waiting).await
    }

    async fn write_waiting(&mut self, io: &Io, waiting: WaitingAcknowledgements) -> Result<(), ClientError> {
        let (write, count) = (self.store.write_acknowledgements(&waiting)?, waiting.count());
        self.store
            .commit(io, &mut self.rng, vec![write], |head| {
                head.acknowledgements = count
            })
            .await
    }

    /// Makes a request to be carried by other means, of what has waited for longest and was not made for it before; if
    /// all were, of the oldest anew.
    pub(crate) async fn run_request_acknowledgement(&mut self, io: &Io) -> Result<Vec<u8>, ClientError> {
        let mut waiting = self.store.waiting_acknowledgements(io).await?;
        let at = waiting
            .0
            .iter()
            .position(|one| one.carried.is_none())
            .unwrap_or(0);
        let one = waiting.0.get_mut(at).ok_or(ClientError::NothingToAcknowledge)?;
        let origin = self.origin_of(&one.operator)?;
        let server = self.stored_server(io, &one.operator, &origin)?;
        let (asked, request) = self.make_acknowledgement(one, &server)?;
        one.carried = Some(CarriedAcknowledgement {
            nonce: asked.nonce,
            response_key: asked.response_key,
            digest: asked.digest,
        });
        self.write_waiting(io, waiting).await?;
        Ok(request)
    }

    /// Whether all that wait were made requests of.
    pub(crate) async fn run_replaces_acknowledgement(&self, io: &Io) -> Result<bool, ClientError> {
        let waiting = self.store.waiting_acknowledgements(io).await?.0;
        Ok(!waiting.is_empty() && waiting.iter().all(|one| one.carried.is_some()))
    }

    /// Takes in a receipt that was carried by other means.
    pub(crate) async fn run_install_receipt(
        &mut self,
        io: &Io,
        receipt: &[u8],
    ) -> Result<TransactionId, ClientError> {
        let envelope = SealedResponse::decode(receipt).map_err(|_| ClientError::NotAResponse)?;
        let waiting = self.store.waiting_acknowledgements(io).await?;
        // V-065: only the request's maker and its server know the key that opens the receipt.
        let carried = waiting.0.iter().find_map(|one| {
            let carried = one.carried.as_ref()?;
            let opened = envelope.open(Receipt::CONTEXT, &carried.response_key, &carried.digest);
            opened.ok().map(|_| (one, carried))
        });
        let (one, carried) = carried.ok_or(ClientError::NoWaitingAcknowledgement)?;
        let asked = PendingRequest {
            digest: carried.digest,
            nonce: carried.nonce,
            response_key: carried.response_key.duplicate(),
        };
        let (operator, transaction) = (one.operator, one.transaction);
        self.check_receipt(io, (&operator, transaction), &asked, receipt)?;
        self.settle(io, |other| {
            (other.operator, other.transaction) == (operator, transaction)
        })
        .await?;
        Ok(transaction)
    }

    /// What has to be written so that an acknowledgement waits, and how many wait then; nothing where the response asks
    /// for none.
    pub(crate) async fn acknowledgement(
        &self,
        io: &Io,
        operator: Digest,
        response: &LicenseResponse,
        outcome: Told<'_>,
    ) -> Result<Option<(Write, Option<u64>)>, ClientError> {
        let (Some(transaction), true) = (response.transaction, self.host.acknowledges) else {
            return Ok(None);
        };
        let results = told(response, outcome);
        if results.is_empty() {
            return Ok(None);
        }
        let mut waiting = self.store.waiting_acknowledgements(io).await?;
        waiting.push(WaitingAcknowledgement {
            operator,
            transaction,
            results,
            carried: None,
        });
        Ok(Some((
            self.store.write_acknowledgements(&waiting)?,
            waiting.count(),
        )))
    }

    /// Where the operator's license server was asked last, or is by its profile.
    pub(crate) fn origin_of(&self, id: &Digest) -> Result<String, ClientError> {
        if let Some(origin) = self.asked_at.get(id) {
            return Ok(origin.clone());
        }
        let operator = self.operators.get(id).ok_or(NOT_ENROLLED)?;
        let url = operator.profile.license_servers.first();
        operator::permitted_origin(&operator.profile, url.ok_or(ClientError::NoLicenseServer)?)
    }
}

/// Transactions are named by the operator's servers.
fn is_same(one: &WaitingAcknowledgement, other: &WaitingAcknowledgement) -> bool {
    (one.operator, one.transaction) == (other.operator, other.transaction)
}

/// Whether a license server knows nothing of a transaction, or knows something else for good.
fn is_pointless(error: &ClientError) -> bool {
    let refused = ErrorCode::TransactionRefused.number();
    matches!(error, ClientError::ServerRefused(problem) if problem.code == refused)
}

/// What a license server is told of its response.
#[derive(Clone, Copy)]
pub(crate) enum Told<'a> {
    /// All licenses were taken in.
    Accepted,
    /// The response was refused for the license of a key id.
    Refused(Kid, &'a ClientError),
}

/// License by license.
fn told(response: &LicenseResponse, outcome: Told<'_>) -> Vec<AcknowledgedLicense> {
    let licenses = response
        .results
        .iter()
        .filter_map(|result| match result.outcome() {
            Ok(Outcome::License(bytes)) => Some((result.kid, riding::says(bytes))),
            _ => None,
        });
    licenses
        .map(|(kid, body)| AcknowledgedLicense {
            kid,
            license: body.as_ref().map(|body| body.id),
            outcome: match (outcome, &body) {
                (Told::Accepted, Some(body)) if body.persistent => LicenseOutcome::Stored,
                (Told::Accepted, _) => LicenseOutcome::InMemory,
                (Told::Refused(..), _) => LicenseOutcome::Refused,
            },
            reason: match outcome {
                Told::Refused(of, why) if of == kid => Some(reason(why)),
                _ => None,
            },
        })
        .collect()
}

/// The number of the step and a sentence, as long as they may be.
fn reason(why: &ClientError) -> String {
    let mut reason = match why {
        ClientError::LicenseRefused { fault, .. } => format!("{}: {fault}", fault.step()),
        other => other.to_string(),
    };
    let mut end = MAX_REASON.min(reason.len());
    while !reason.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    reason.truncate(end);
    reason
}

/// V-065
const OTHER_RECEIPT: ClientError =
    ClientError::ResponseMismatch("it is the receipt for another acknowledgement");
