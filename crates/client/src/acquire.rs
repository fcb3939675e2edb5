//! Making license requests and sending them: proactive and reactive acquisition are the same flow.

use keyward_content::header::{ContentHeader, HeaderError};
use keyward_crypto::{Secret, SecretBytes};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    discovery::{self, DiscoveryError, LicenseServer, media_type},
    error_code::{Behaviour, ErrorCode, Problem},
    exchange::seal_request,
    ids::{Digest, Kid, Nonce},
    license::KeyType,
    request::{Capabilities, LicenseRequest},
    signed::PROTOCOL_VERSION,
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    device::KeyStore,
    flow::Io,
    install::{Acquired, Exchange},
    operator::{self, Age, Operator},
    patience::{self, Occasion},
    store::{Pending, Write},
};

/// A pending request that is older than this many seconds is given up when another one is made.
const PENDING_LIFETIME: u64 = 30 * 86_400;

/// What to ask for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Content headers (PlayReady Objects) as found in the content.
    pub content_headers: Vec<Vec<u8>>,
    /// Key ids besides those of the headers.
    pub kids: Vec<Kid>,
    /// License server URL; the first one in the headers, then the only operator's, if absent.
    pub license_url: Option<String>,
    /// Asks for licenses that stay in memory and die with the process.
    pub in_memory: bool,
    /// Speaks for the viewer.
    pub authorization: Option<String>,
    /// The application's own bytes for the service.
    pub custom_data: Option<Vec<u8>>,
    /// V-039: signed licenses that ride in the content, which are looked at before a license server is asked. They are
    /// not sent.
    pub licenses: Vec<Vec<u8>>,
}

impl Wanted {
    /// The licenses of one content header.
    #[must_use]
    pub fn header(object: Vec<u8>) -> Self {
        Self {
            content_headers: vec![object],
            ..Self::default()
        }
    }

    /// Every key id asked for, each once.
    fn all_kids(&self, headers: &[ContentHeader]) -> Vec<Kid> {
        let mut kids: Vec<Kid> = headers
            .iter()
            .flat_map(|header| &header.kids)
            .map(|key| key.kid)
            .collect();
        kids.extend(&self.kids);
        kids.sort_unstable();
        kids.dedup();
        kids
    }

    fn headers(&self) -> Result<Vec<ContentHeader>, HeaderError> {
        let objects = self.content_headers.iter();
        objects.map(|object| ContentHeader::read_object(object)).collect()
    }

    /// Whether it asks for one of these key ids.
    pub(crate) fn names_any(&self, kids: &[Kid]) -> Result<bool, HeaderError> {
        let asked = self.all_kids(&self.headers()?);
        Ok(kids.iter().any(|kid| asked.contains(kid)))
    }

    /// The same from the same server, for these key ids alone.
    pub(crate) fn narrowed(&self, kids: Vec<Kid>) -> Result<Self, HeaderError> {
        Ok(Self {
            content_headers: Vec::new(),
            kids,
            license_url: self.named_url()?,
            licenses: Vec::new(),
            ..self.clone()
        })
    }

    /// The same in two requests, for half of the key ids each; none if it asks for a single one.
    fn halves(&self) -> Result<Option<[Self; 2]>, HeaderError> {
        let kids = self.all_kids(&self.headers()?);
        let (first, second) = kids.split_at(kids.len() / 2);
        if first.is_empty() {
            return Ok(None);
        }
        Ok(Some([
            self.narrowed(first.to_vec())?,
            self.narrowed(second.to_vec())?,
        ]))
    }

    /// The license server that the caller or the content names.
    pub(crate) fn named_url(&self) -> Result<Option<String>, HeaderError> {
        let mut named = self.license_url.clone();
        for object in &self.content_headers {
            named = named.or(ContentHeader::read_object(object)?.license_url);
        }
        Ok(named)
    }
}

/// Without the token, which is a credential, and the application's bytes, which may hold one.
impl core::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Wanted")
            .field("kids", &self.kids)
            .field("license_url", &self.license_url)
            .field("in_memory", &self.in_memory)
            .finish_non_exhaustive()
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 6 to 10 of the main job: request, send, install. What is too large for one request or answer is asked for in
    /// several.
    pub(crate) async fn run_acquire(
        &mut self,
        io: &Io,
        wanted: &Wanted,
        occasion: Occasion,
    ) -> Result<Acquired, ClientError> {
        let mut parts = vec![wanted.clone()];
        let mut acquired = None;
        while let Some(part) = parts.pop() {
            match self.acquire_at_once(io, &part, occasion).await {
                Ok(more) => {
                    acquired = Some(match acquired.take() {
                        Some(before) => Acquired::and(before, more),
                        None => more,
                    });
                }
                Err(ClientError::ServerRefused(problem)) if does(&problem, Behaviour::Split) => {
                    let Some([first, second]) = part.halves()? else {
                        return Err(ClientError::ServerRefused(problem));
                    };
                    parts.extend([second, first]);
                }
                Err(other) => return Err(other),
            }
        }
        acquired.ok_or(ClientError::HostOutOfStep)
    }

    async fn acquire_at_once(
        &mut self,
        io: &Io,
        wanted: &Wanted,
        occasion: Occasion,
    ) -> Result<Acquired, ClientError> {
        let (operator, origin) = self.target(wanted)?;
        self.check_asked(&operator, occasion)?;
        self.asked_at.insert(operator, origin.clone());
        let server = match self.stored_server(io, &operator, &origin) {
            Ok(server) => server,
            Err(_) => self.refresh_server(io, &operator, (&origin, occasion)).await?,
        };
        match self.exchange(io, wanted, operator, (&server, occasion)).await {
            // The server rolled its request-encryption certificate: once more with a fresh document.
            Err(ClientError::ServerRefused(problem)) if does(&problem, Behaviour::Discover) => {
                let server = self.refresh_server(io, &operator, (&origin, occasion)).await?;
                self.exchange(io, wanted, operator, (&server, occasion)).await
            }
            other => other,
        }
    }

    /// Whom this operator has told that it is revoked asks it for nothing more, unless the application wants just that.
    fn check_asked(&self, operator: &Digest, occasion: Occasion) -> Result<(), ClientError> {
        match self.told_revoked.get(operator) {
            Some(since) if occasion != Occasion::Asked => Err(ClientError::DeviceRevoked {
                operator: *operator,
                since: *since,
            }),
            _ => Ok(()),
        }
    }

    /// Asks a license server for the time and for nothing else: with an answer that came back soon enough, that is
    /// the time for a clock that may not be used, and a floor that the local clock has set falls to it.
    pub(crate) async fn run_ask_time(
        &mut self,
        io: &Io,
        wanted: &Wanted,
        occasion: Occasion,
    ) -> Result<Timestamp, ClientError> {
        let license_url = wanted.named_url()?;
        let time_only = Wanted {
            license_url,
            ..Wanted::default()
        };
        Ok(self.run_acquire(io, &time_only, occasion).await?.server_time)
    }

    /// Makes a request to be carried by other means, and remembers it.
    pub(crate) async fn run_request(&mut self, io: &Io, wanted: &Wanted) -> Result<Vec<u8>, ClientError> {
        let (operator, origin) = self.target(wanted)?;
        let server = self.stored_server(io, &operator, &origin)?;
        // A wish that a test makes is never overlooked.
        if self.license_url(wanted, &operator, &server)? != server.license_url {
            return Err(ClientError::WishNotCarried);
        }
        let (request, _) = self.make_request(io, wanted, operator, &server).await?;
        Ok(request)
    }

    async fn exchange(
        &mut self,
        io: &Io,
        wanted: &Wanted,
        operator: Digest,
        (server, occasion): (&LicenseServer, Occasion),
    ) -> Result<Acquired, ClientError> {
        let (request, nonce) = self.make_request(io, wanted, operator, server).await?;
        let url = self.license_url(wanted, &operator, server)?;
        let posted = (&*url, media_type::LICENSE_REQUEST, request);
        let (body, round_trip) = patience::post(io, &mut self.rng, posted, occasion).await?;
        let exchange = Exchange { nonce, round_trip };
        let acquired = self.run_install(io, &body, Some(exchange)).await;
        self.contacts.insert(operator);
        if acquired.is_err() {
            self.note_ending(&operator, self.now(io));
        }
        acquired
    }

    /// The operator to ask, and the origin of its license server.
    pub(crate) fn target(&self, wanted: &Wanted) -> Result<(Digest, String), ClientError> {
        let Some(url) = wanted.named_url()? else {
            let mut known = self.operators.iter();
            return match (known.next(), known.next()) {
                (Some((id, operator)), None) => {
                    let url = operator
                        .profile
                        .license_servers
                        .first()
                        .ok_or(ClientError::NoLicenseServer)?;
                    Ok((*id, operator::permitted_origin(&operator.profile, url)?))
                }
                (None, _) => Err(ClientError::OperatorNotNamed(
                    "this device is not enrolled with an operator",
                )),
                _ => Err(ClientError::NoLicenseServer),
            };
        };
        let mut refusal = ClientError::UnknownOperator { url: url.clone() };
        for (id, operator) in &self.operators {
            match operator::permitted_origin(&operator.profile, &url) {
                Ok(origin) => return Ok((*id, origin)),
                Err(refused) => refusal = refused,
            }
        }
        Err(refusal)
    }

    /// The server as the stored discovery document describes it, if that is still in use.
    pub(crate) fn stored_server(
        &self,
        io: &Io,
        operator: &Digest,
        origin: &str,
    ) -> Result<LicenseServer, ClientError> {
        let operator = self.operators.get(operator).ok_or(NOT_ENROLLED)?;
        self.read_server(io, operator, &operator.discovery, origin)
    }

    fn read_server(
        &self,
        io: &Io,
        operator: &Operator,
        document: &[u8],
        origin: &str,
    ) -> Result<LicenseServer, ClientError> {
        let known = self.store.head().clock;
        operator::read_discovery(
            document,
            operator.anchor(),
            &operator.profile,
            operator.weakest_suite(),
            &self.keys,
            origin,
            (&known, self.reading(io)),
        )
    }

    /// Fetches the discovery document anew and takes it in.
    pub(crate) async fn refresh_server(
        &mut self,
        io: &Io,
        id: &Digest,
        (origin, occasion): (&str, Occasion),
    ) -> Result<LicenseServer, ClientError> {
        let document = patience::fetch_discovery(io, &mut self.rng, origin, occasion).await?;
        self.take_in(io, id, origin, document).await
    }

    /// Takes in a discovery document that was carried by other means.
    pub(crate) async fn run_install_discovery(
        &mut self,
        io: &Io,
        document: Vec<u8>,
    ) -> Result<Digest, ClientError> {
        let refused = ClientError::DiscoveryRefused;
        let handed = discovery::unverified(&document).map_err(DiscoveryError::from)?;
        let id = handed.operator;
        let operator = self.operators.get(&id);
        let operator = operator.ok_or(refused("this device is not enrolled with its operator"))?;
        let url = operator.profile.license_servers.first();
        let url = url.ok_or(ClientError::NoLicenseServer)?;
        let origin = operator::permitted_origin(&operator.profile, url)?;
        self.take_in(io, &id, &origin, document).await?;
        Ok(id)
    }

    /// Remembers a discovery document if it passes its checks. One that is older than the kept one changes nothing
    /// while that one is in use; after that, one whose recipient was given up is refused (V-061).
    async fn take_in(
        &mut self,
        io: &Io,
        id: &Digest,
        origin: &str,
        document: Vec<u8>,
    ) -> Result<LicenseServer, ClientError> {
        let operator = self.operators.get(id).ok_or(NOT_ENROLLED)?;
        let server = self.read_server(io, operator, &document, origin)?;
        let age = operator.age_of(&document, self.now(io))?;
        if age != Age::Current {
            match self.stored_server(io, id, origin) {
                Ok(kept) => return Ok(kept),
                Err(_) if age == Age::GivenUp => return Err(operator::OLDER_DOCUMENT),
                Err(_) => {}
            }
        }
        self.remember_server(io, id, document, &server).await?;
        Ok(server)
    }

    /// Stores a discovery document that has passed its checks.
    async fn remember_server(
        &mut self,
        io: &Io,
        id: &Digest,
        document: Vec<u8>,
        server: &LicenseServer,
    ) -> Result<(), ClientError> {
        let operator = self.operators.get_mut(id).ok_or(NOT_ENROLLED)?;
        operator.discovery = document;
        operator.best_suite = operator.best_suite.max(server.suite.number());
        let write = Write::Put(self.store.operator_key(id)?, operator.to_record().encode());
        self.store.commit(io, &mut self.rng, vec![write], |_| ()).await
    }

    /// Step 6: builds the request; it is sent only after it was committed as pending. Its nonce names it.
    async fn make_request(
        &mut self,
        io: &Io,
        wanted: &Wanted,
        operator: Digest,
        server: &LicenseServer,
    ) -> Result<(Vec<u8>, Nonce), ClientError> {
        let kids = wanted.all_kids(&wanted.headers()?);
        if !kids.is_empty() && !wanted.in_memory {
            // Before the server is asked: a license that is issued and cannot be stored is lost.
            self.store.check_room()?;
        }
        let held = self.operators.get(&operator).map(|known| known.lists.held());
        let held = held.unwrap_or_default();
        let nonce = Nonce::random(&mut self.rng);
        let response_key = Secret::random(&mut self.rng);
        let body = LicenseRequest {
            version: PROTOCOL_VERSION,
            recipient: server.recipient,
            nonce,
            response_key: response_key.duplicate(),
            content_headers: some_unless_empty(wanted.content_headers.iter().cloned().map(Bytes).collect()),
            kids: some_unless_empty(wanted.kids.clone()),
            client: self.info.clone(),
            capabilities: self.capabilities(),
            persistent: !wanted.in_memory,
            revocation_lists: some_unless_empty(held),
            memberships: None,
            clock: self.stated_clock(io),
            store: self.store.state(),
            license_requested: !kids.is_empty(),
            authorization: wanted.authorization.clone(),
            custom_data: wanted.custom_data.clone().map(Bytes),
        };
        body.check_bounds()?;
        // With the response key, and what authorises the viewer.
        let body = SecretBytes::new(body.encode());
        let body = SecretBytes::new(grease(body.expose(), &mut self.rng)?);
        let digest = Digest::new(keyward_crypto::kdf::sha256(&[body.expose()]));
        let request = self.sign_and_seal(body.expose(), operator, server)?;
        let created = self.now(io);
        self.remember(
            io,
            Pending {
                nonce,
                response_key,
                digest,
                operator,
                kids,
                created,
            },
        )
        .await?;
        Ok((request, nonce))
    }

    fn sign_and_seal(
        &mut self,
        body: &[u8],
        operator: Digest,
        server: &LicenseServer,
    ) -> Result<Vec<u8>, ClientError> {
        let making = |error| ClientError::Message {
            what: "the license request",
            error,
        };
        let chain = &self.operators.get(&operator).ok_or(NOT_ENROLLED)?.chain;
        let from = (&chain[..], self.keys.signer());
        seal_request::<LicenseRequest>(body, from, server, &mut self.rng).map_err(making)
    }

    async fn remember(&mut self, io: &Io, pending: Pending) -> Result<(), ClientError> {
        let mut table = self.store.pending(io).await?;
        if let Some(now) = pending.created {
            table.0.retain(|old| {
                old.created
                    .is_none_or(|created| now < created.plus(PENDING_LIFETIME))
            });
        }
        table.push(pending, self.store.limits().pending_requests);
        let write = Write::Put(self.store.pending_key()?, table.encode());
        self.store.commit(io, &mut self.rng, vec![write], |_| ()).await
    }

    /// What this client announces; a license that holds more is refused (V-029).
    pub(crate) fn capabilities(&self) -> Capabilities {
        let content = [KeyType::CencCtr, KeyType::CencCbc, KeyType::File, KeyType::Root];
        let exchange = Some(KeyType::Exchange).filter(|_| !self.host.exchange_algorithms.is_empty());
        let key_types = content.into_iter().chain(exchange).map(KeyType::number);
        let suites = self.keys.sealing_keys().iter().map(|key| key.suite).collect();
        self.host.capabilities(key_types.collect(), suites)
    }
}

pub(crate) const NOT_ENROLLED: ClientError =
    ClientError::OperatorNotNamed("this device is not enrolled with the operator");

/// Whether a refusal is one that this client does so much about.
pub(crate) fn does(problem: &Problem, behaviour: Behaviour) -> bool {
    ErrorCode::from_number(problem.code).is_some_and(|code| code.behaviour() == behaviour)
}

fn some_unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
