//! Taking in a license response: every check of `spec/rules.md`, then one commit.

mod check;
mod room;

use std::sync::Arc;

use keyward_license::{
    codec::Wire,
    envelope::SealedResponse,
    ids::{Digest, Kid, LicenseId, Nonce, TransactionId},
    response::{Denial, LicenseResponse},
    signed::SignedBody,
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError, Held, acknowledge,
    choose::Recorded,
    clock::{self, Told},
    device::KeyStore,
    flow::Io,
    lists::{self, Learnt, TakenLists},
    store::{Pending, PendingTable, Write},
    verified::TrustedLicense,
};
use check::{Checked, Refusal};

/// What a response brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquired {
    /// One outcome a key id: of each that was asked for, and of those whose licenses went along (V-014).
    pub outcomes: Vec<(Kid, AcquiredKey)>,
    /// The server's time.
    pub server_time: Timestamp,
    /// The service's own bytes for the application.
    pub custom_data: Option<Vec<u8>>,
    /// from when on to ask for what comes next, if the server has drawn a time. A playback that acquired this
    /// sees to it ([`Client::renew`]).
    pub renew_at: Option<Timestamp>,
    /// V-063, V-064: what became of the revocation lists that came along.
    pub lists: TakenLists,
    /// Names the response, if the license server is to be told what became of it ([`Client::acknowledge`]).
    pub transaction: Option<TransactionId>,
    /// the licenses that the application writes into the embedded license store of the content that they are
    /// for. If there is no room, they stay usable all the same.
    pub embed: Vec<ToEmbed>,
}

/// A license that says that it is to be embedded in its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToEmbed {
    /// Key id of the content.
    pub kid: Kid,
    /// The license.
    pub id: LicenseId,
    /// The signed license, as it is embedded.
    pub license: Vec<u8>,
}

impl Acquired {
    /// Both, of two answers one after the other.
    pub(crate) fn and(mut self, later: Self) -> Self {
        let is_told_anew = |kid: &Kid| later.outcomes.iter().any(|(other, _)| other == kid);
        self.outcomes.retain(|(kid, _)| !is_told_anew(kid));
        self.outcomes.extend(later.outcomes);
        self.embed.extend(later.embed);
        Self {
            outcomes: self.outcomes,
            embed: self.embed,
            lists: self.lists.and(later.lists),
            renew_at: later.renew_at.or(self.renew_at),
            ..later
        }
    }

    /// Of these those that were denied.
    pub(crate) fn denied(&self, kids: &[Kid]) -> Vec<Kid> {
        let denied = self.outcomes.iter().filter_map(|(kid, outcome)| match outcome {
            AcquiredKey::Denied(_) => Some(*kid),
            AcquiredKey::Stored(_) | AcquiredKey::InMemory(_) => None,
        });
        denied.filter(|kid| kids.contains(kid)).collect()
    }

    /// A denial of one of these, as the error that says why.
    pub(crate) fn denial(&self, kids: &[Kid]) -> Option<ClientError> {
        self.outcomes.iter().find_map(|(kid, outcome)| match outcome {
            AcquiredKey::Denied(denial) if kids.contains(kid) => Some(ClientError::Denied {
                kid: *kid,
                denial: denial.clone(),
            }),
            _ => None,
        })
    }
}

/// What became of one key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcquiredKey {
    /// A license is in the store.
    Stored(LicenseId),
    /// A license is in memory, for as long as this client lives.
    InMemory(LicenseId),
    /// The server denied one.
    Denied(Denial),
}

/// The exchange that an answer came back on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// Nonce of the request that was sent.
    pub(crate) nonce: Nonce,
    /// From sending to the answer, in milliseconds of a clock that never steps.
    pub(crate) round_trip: u64,
}

/// A license that passed every check of installation.
pub(crate) struct Accepted {
    kid: Kid,
    license: Arc<TrustedLicense>,
}

impl Accepted {
    pub(crate) const fn new(kid: Kid, license: Arc<TrustedLicense>) -> Self {
        Self { kid, license }
    }

    fn id(&self) -> LicenseId {
        self.license.body().id
    }

    fn is_persistent(&self) -> bool {
        self.license.body().persistent
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 9 and 10 of the main job. `exchange` is `None` for a response that was carried by other means.
    pub(crate) async fn run_install(
        &mut self,
        io: &Io,
        response: &[u8],
        exchange: Option<Exchange>,
    ) -> Result<Acquired, ClientError> {
        let round_trip = exchange.map(|exchange| exchange.round_trip);
        let mut table = self.store.pending(io).await?;
        // V-010, V-011: only the request's maker and its server know the key that opens the response.
        let (pending, opened) = take_matching(&mut table, response)?;
        // V-012: an answer that somebody kept would state an old time, and have the short round trip of a
        // request made today.
        if exchange.is_some_and(|exchange| exchange.nonce != pending.nonce) {
            return Err(ClientError::ResponseMismatch("it answers an earlier request"));
        }
        let checked = self.check_response(io, &pending, opened.expose()).await;
        let mut writes = vec![if table.0.is_empty() {
            Write::Delete(self.store.pending_key()?)
        } else {
            Write::Put(self.store.pending_key()?, table.encode())
        }];
        // The pending request is consumed whatever comes of its response.
        let checked = match checked {
            Ok(checked) => checked,
            Err(refused) => {
                self.store.commit(io, &mut self.rng, writes, |_| ()).await?;
                return Err(refused);
            }
        };
        let Checked {
            response,
            accepted,
            learnt,
            taken,
        } = checked;
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(refusal) => {
                let came = (pending.operator, &response);
                self.commit_refusal(io, writes, came, (&refusal, learnt)).await?;
                let (Refusal::Signer(refused) | Refusal::License(_, refused)) = refusal;
                return Err(refused);
            }
        };
        self.make_room_in_memory(io, &accepted)?;
        for license in accepted.iter().filter(|license| license.is_persistent()) {
            self.add_license(io, &pending.operator, license, &mut writes)
                .await?;
        }
        let deleted: Vec<_> = writes.iter().filter_map(Write::deleted).collect();
        writes.extend(self.trust_writes(&pending.operator, &learnt)?);
        let outcome = acknowledge::Told::Accepted;
        let told = self
            .acknowledgement(io, pending.operator, &response, outcome)
            .await?;
        let (write, waiting) = told.unzip();
        writes.extend(write);
        let (operator, server_time) = (pending.operator, response.server_time);
        self.store
            .commit(io, &mut self.rng, writes, |head| {
                clock::hear(head, operator, server_time, round_trip);
                head.acknowledgements = waiting.unwrap_or(head.acknowledgements);
            })
            .await?;
        self.told = Told::fresh(server_time, round_trip, io.moment()).or(self.told);
        match (lists::says_revoked(&response), learnt.revoked) {
            (Some(true), _) => drop(self.told_revoked.insert(pending.operator, server_time)),
            (_, None) => drop(self.told_revoked.remove(&pending.operator)),
            _ => {}
        }
        self.learn(io, &pending.operator, learnt);
        // V-055: by the server's time, whatever this device's clock reads.
        self.note_ending(&pending.operator, Some(server_time));
        // Memory only after the commit: whatever fails before leaves nothing usable.
        let now = self.now(io);
        for license in accepted.iter().filter(|license| !license.is_persistent()) {
            let held = Held {
                kid: license.kid,
                id: license.id(),
                operator: pending.operator,
                license: license.license.signed().to_vec(),
                is_leaf: license.license.body().leaf_of().is_some(),
                recorded: Recorded::default(),
            };
            self.hold(held, now);
        }
        self.end_displaced(&deleted);
        Ok(Acquired {
            lists: taken,
            transaction: response.transaction.filter(|_| waiting.is_some()),
            ..summary(response, &accepted)
        })
    }

    /// What is left of a response that was refused: its request is consumed, and what it brought of trust is known. If
    /// it is its licenses that were refused, the license server is to be told.
    async fn commit_refusal(
        &mut self,
        io: &Io,
        mut writes: Vec<Write>,
        (operator, response): (Digest, &LicenseResponse),
        (refusal, learnt): (&Refusal, Learnt),
    ) -> Result<(), ClientError> {
        writes.extend(self.trust_writes(&operator, &learnt)?);
        let told = match refusal {
            Refusal::Signer(_) => None,
            Refusal::License(kid, why) => {
                let outcome = acknowledge::Told::Refused(*kid, why);
                self.acknowledgement(io, operator, response, outcome).await?
            }
        };
        let (write, waiting) = told.unzip();
        writes.extend(write);
        self.store
            .commit(io, &mut self.rng, writes, |head| {
                head.acknowledgements = waiting.unwrap_or(head.acknowledgements);
            })
            .await?;
        self.learn(io, &operator, learnt);
        Ok(())
    }
}

/// Takes the request out of the table whose key opens the response.
fn take_matching(
    table: &mut PendingTable,
    response: &[u8],
) -> Result<(Pending, keyward_crypto::SecretBytes), ClientError> {
    let envelope = SealedResponse::decode(response).map_err(|_| ClientError::NotAResponse)?;
    let open = |pending: &Pending| {
        envelope
            .open(LicenseResponse::CONTEXT, &pending.response_key, &pending.digest)
            .ok()
    };
    let found = table
        .0
        .iter()
        .enumerate()
        .find_map(|(at, pending)| Some((at, open(pending)?)));
    let (at, opened) = found.ok_or(ClientError::NoPendingRequest)?;
    Ok((table.0.remove(at), opened))
}

fn summary(response: LicenseResponse, accepted: &[Accepted]) -> Acquired {
    let licensed = accepted.iter().map(|license| {
        let kept = if license.is_persistent() {
            AcquiredKey::Stored
        } else {
            AcquiredKey::InMemory
        };
        (license.kid, kept(license.id()))
    });
    let denied = response.results.iter().filter_map(|result| {
        result
            .denial
            .as_ref()
            .map(|denial| (result.kid, AcquiredKey::Denied(denial.clone())))
    });
    Acquired {
        outcomes: licensed.chain(denied).collect(),
        server_time: response.server_time,
        custom_data: response.custom_data.map(|data| data.0),
        renew_at: response.renew_at,
        lists: TakenLists::default(),
        transaction: None,
        embed: { accepted.iter() }.filter_map(to_embed).collect(),
    }
}

///
fn to_embed(accepted: &Accepted) -> Option<ToEmbed> {
    accepted.license.body().embed?;
    Some(ToEmbed {
        kid: accepted.kid,
        id: accepted.id(),
        license: accepted.license.signed().to_vec(),
    })
}
