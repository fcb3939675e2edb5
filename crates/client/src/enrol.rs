//! Enrolment: the device gets its certificate from an operator.

use keyward_crypto::x509::Anchor;
use keyward_license::{
    codec::{Bytes, Wire},
    discovery::{LicenseServer, media_type},
    enrolment::{
        EnrolmentResponse, EnrolmentRole,
        applicant::{Certified, PendingEnrolment},
    },
    envelope::SealedResponse,
    exchange::{PendingRequest, ResponseError},
    ids::Digest,
    operator_profile::OperatorProfile,
    signed::SignedBody,
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError, Wanted,
    acquire::NOT_ENROLLED,
    clock::{self, Told},
    device::KeyStore,
    flow::Io,
    lists,
    operator::{self, Age, Operator},
    patience::{self, Occasion},
    store::{StoreBound, StoreLimits, WaitingEnrolment, Write},
};

/// What enrolment gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The operator: SHA-256 of its root certificate.
    pub operator: Digest,
    /// The operator's name.
    pub operator_name: String,
    /// Security level that the certificate states.
    pub security_level: Option<u64>,
    /// Until when the certificate is valid.
    pub valid_until: Timestamp,
}

/// What became of the certificates that were to be renewed.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The operators that gave a certificate that follows the one before.
    pub operators: Vec<Digest>,
    /// Why the first one gave none. While the certificate that is held is valid, nothing depends on it: it is tried again
    /// after the next acquisition.
    pub failed: Option<ClientError>,
}

/// An enrolment on its way: what was asked, of whom, by which document.
struct Application {
    pending: PendingEnrolment,
    profile: OperatorProfile,
    anchor: Anchor,
    discovery: Vec<u8>,
    suite: u64,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    pub(crate) async fn run_enrol(
        &mut self,
        io: &Io,
        profile: OperatorProfile,
        token: String,
    ) -> Result<Enrolled, ClientError> {
        let (anchor, origin) = self.trusted(&profile)?;
        let discovery = patience::fetch_discovery(io, &mut self.rng, &origin, Occasion::Asked).await?;
        let (application, server, request) = self.apply(io, (profile, anchor, &origin), token, discovery)?;
        let posted = (&*server.enrolment_url, media_type::ENROLMENT_REQUEST, request);
        let (body, round_trip) = patience::post(io, &mut self.rng, posted, Occasion::Asked).await?;
        let checked = self.check_enrolment(io, &application, &body)?;
        self.keep_enrolment(io, application, checked, (Vec::new(), Some(round_trip)))
            .await
    }

    /// Makes an enrolment request to be carried by other means, and remembers it.
    pub(crate) async fn run_request_enrolment(
        &mut self,
        io: &Io,
        profile: OperatorProfile,
        token: String,
        discovery: Vec<u8>,
    ) -> Result<Vec<u8>, ClientError> {
        let (anchor, origin) = self.trusted(&profile)?;
        let (application, _, request) = self.apply(io, (profile, anchor, &origin), token, discovery)?;
        self.wait_for(io, application).await?;
        Ok(request)
    }

    /// V-055: makes a request to be carried by other means for the certificate that follows one in the last third of its
    /// life, of these the one that ends first, and remembers it.
    pub(crate) async fn run_request_renewal(&mut self, io: &Io) -> Result<Vec<u8>, ClientError> {
        if self.operators.is_empty() {
            return Err(NOT_ENROLLED);
        }
        // What a server has told is a time that has come, whatever this device's clock reads.
        let now = self.now(io).max(clock::told(&self.store.head().clock));
        let ending = now.and_then(|now| {
            let ending = { self.operators.iter() }.filter(|(_, known)| known.is_ending(now));
            let first = ending.min_by_key(|(_, known)| known.ends());
            first.map(|(id, _)| *id)
        });
        let id = ending.ok_or(ClientError::NothingToRenew)?;
        let origin = self.origin_of(&id)?;
        let server = self.stored_server(io, &id, &origin)?;
        let (application, request) = self.apply_again(&id, &server)?;
        self.wait_for(io, application).await?;
        Ok(request)
    }

    /// Remembers an enrolment until its response comes by other means.
    async fn wait_for(&mut self, io: &Io, application: Application) -> Result<(), ClientError> {
        let pending = application.pending.pending;
        let mut table = self.store.waiting_enrolments(io).await?;
        table.push(WaitingEnrolment {
            nonce: pending.nonce,
            response_key: pending.response_key,
            digest: pending.digest,
            profile: Bytes(application.profile.encode()),
            discovery: Bytes(application.discovery),
            suite: application.suite,
        });
        let write = Write::Put(self.store.waiting_enrolments_key()?, table.encode());
        self.store.commit(io, &mut self.rng, vec![write], |_| ()).await
    }

    /// Takes in the response to a request that was carried by other means.
    pub(crate) async fn run_install_enrolment(
        &mut self,
        io: &Io,
        response: &[u8],
    ) -> Result<Enrolled, ClientError> {
        let mut table = self.store.waiting_enrolments(io).await?;
        // V-010, V-011: only the request's maker and its server know the key that opens the response.
        let envelope = SealedResponse::decode(response).map_err(|_| ClientError::NotAResponse)?;
        let opens = |waiting: &WaitingEnrolment| {
            let context = EnrolmentResponse::CONTEXT;
            envelope
                .open(context, &waiting.response_key, &waiting.digest)
                .is_ok()
        };
        let at = table.0.iter().position(opens);
        let waiting = table.0.remove(at.ok_or(ClientError::NoPendingRequest)?);
        let key = self.store.waiting_enrolments_key()?;
        let writes = vec![if table.0.is_empty() {
            Write::Delete(key)
        } else {
            Write::Put(key, table.encode())
        }];
        let mut application = Application::from_record(waiting)?;
        if let Some(known) = self.operators.get(&application.profile.operator()) {
            application.anchor = known.anchor().clone();
        }
        match self.check_enrolment(io, &application, response) {
            Ok(checked) => {
                self.keep_enrolment(io, application, checked, (writes, None))
                    .await
            }
            Err(refused) => {
                // The request is consumed whatever comes of its response.
                self.store.commit(io, &mut self.rng, writes, |_| ()).await?;
                Err(refused)
            }
        }
    }

    /// V-055: this operator's certificate is to be renewed, if the last third of its life has begun.
    pub(crate) fn note_ending(&mut self, id: &Digest, now: Option<Timestamp>) {
        let known = self.operators.get(id).zip(now);
        if known.is_some_and(|(known, now)| known.is_ending(now)) {
            self.ending.insert(*id);
        }
    }

    /// Gets the certificates that follow those that are to be renewed, each asked for once.
    pub(crate) async fn run_renew_certificates(&mut self, io: &Io) -> Result<Renewed, ClientError> {
        let mut renewed = Renewed::default();
        // A host that cannot send drops the flow; whose turn it was comes again after the next acquisition.
        while let Some(id) = self.ending.pop_first() {
            let got = match self.renew_certificate(io, &id).await {
                Ok(()) => {
                    renewed.operators.push(id);
                    self.learn_of_exemption(io, &id).await
                }
                refused => refused,
            };
            match got {
                Ok(()) => {}
                Err(ClientError::CommitUnconfirmed) => return Err(ClientError::CommitUnconfirmed),
                Err(error) => drop(renewed.failed.get_or_insert(error)),
            }
        }
        Ok(renewed)
    }

    /// an exemption names the certificate. Where the list that is held does not know the new one yet, the next
    /// list does, and is asked for before the device's licenses stop.
    async fn learn_of_exemption(&mut self, io: &Io, id: &Digest) -> Result<(), ClientError> {
        let known = self.operators.get(id).ok_or(NOT_ENROLLED)?;
        if known.lists.check_device(&known.chain, None).is_ok() {
            return Ok(());
        }
        let wanted = Wanted {
            license_url: Some(self.origin_of(id)?),
            ..Wanted::default()
        };
        self.run_ask_time(io, &wanted, Occasion::Ahead).await.map(drop)
    }

    /// Gets a certificate that follows this device's (V-055). It comes for the same keys, and as what the operator has
    /// this device recorded; licenses that are held stay good.
    async fn renew_certificate(&mut self, io: &Io, id: &Digest) -> Result<(), ClientError> {
        let origin = self.origin_of(id)?;
        let server = match self.stored_server(io, id, &origin) {
            Ok(server) => server,
            Err(_) => self.refresh_server(io, id, (&origin, Occasion::Ahead)).await?,
        };
        let (application, request) = self.apply_again(id, &server)?;
        let posted = (&*server.enrolment_url, media_type::ENROLMENT_REQUEST, request);
        let (body, round_trip) = patience::post(io, &mut self.rng, posted, Occasion::Ahead).await?;
        let checked = self.check_enrolment(io, &application, &body)?;
        self.keep_enrolment(io, application, checked, (Vec::new(), Some(round_trip)))
            .await
            .map(drop)
    }

    /// Makes a request for a certificate that follows this device's.
    fn apply_again(
        &mut self,
        id: &Digest,
        server: &LicenseServer,
    ) -> Result<(Application, Vec<u8>), ClientError> {
        let known = self.operators.get(id).ok_or(NOT_ENROLLED)?;
        let asking = (&known.chain[..], self.info.clone());
        let (pending, request) =
            PendingEnrolment::renewal(server, EnrolmentRole::Device, asking, &self.keys, &mut self.rng)
                .map_err(|error| ClientError::Message {
                    what: "the request to renew the certificate",
                    error,
                })?;
        let application = Application {
            pending,
            profile: known.profile.clone(),
            anchor: known.anchor().clone(),
            discovery: known.discovery.clone(),
            suite: server.suite.number(),
        };
        Ok((application, request))
    }

    /// Makes a request for a certificate, sealed as the discovery document says.
    fn apply(
        &mut self,
        io: &Io,
        (profile, anchor, origin): (OperatorProfile, Anchor, &str),
        token: String,
        discovery: Vec<u8>,
    ) -> Result<(Application, LicenseServer, Vec<u8>), ClientError> {
        self.check_room_for(&profile.operator())?;
        let known = self.store.head().clock;
        let reading = self.reading(io);
        let weakest = profile.minimum_suite.max(self.best_seen(&profile.operator()));
        let server = operator::read_discovery(
            &discovery,
            &anchor,
            &profile,
            weakest,
            &self.keys,
            origin,
            (&known, reading),
        )?;
        if let Some(known) = self.operators.get(&profile.operator())
            && known.age_of(&discovery, reading.now)? == Age::GivenUp
        {
            return Err(operator::OLDER_DOCUMENT);
        }
        let asking = (token, self.info.clone());
        let (pending, request) =
            PendingEnrolment::request(&server, EnrolmentRole::Device, asking, &self.keys, &mut self.rng)
                .map_err(|error| ClientError::Message {
                    what: "the enrolment request",
                    error,
                })?;
        let application = Application {
            pending,
            profile,
            anchor,
            discovery,
            suite: server.suite.number(),
        };
        Ok((application, server, request))
    }

    /// The profile's trust anchor, and the origin of the license server to enrol with.
    fn trusted(&self, profile: &OperatorProfile) -> Result<(Anchor, String), ClientError> {
        let anchor = profile.anchor().map_err(ClientError::ProfileRefused)?;
        self.check_test_operator(&anchor)?;
        let known = self.operators.get(&profile.operator());
        let url = profile
            .license_servers
            .first()
            .ok_or(ClientError::NoLicenseServer)?;
        let origin = operator::permitted_origin(profile, url)?;
        Ok((known.map_or(anchor, |known| known.anchor().clone()), origin))
    }

    /// Refuses one operator more than there may be, before it is asked for a certificate.
    fn check_room_for(&self, operator: &Digest) -> Result<(), ClientError> {
        if self.operators.contains_key(operator) {
            return Ok(());
        }
        let count = self.operators.len().saturating_add(1);
        StoreLimits::check_count(count, self.store.limits().operators, StoreBound::Operators)
    }

    /// Enrolling again does not make the device forget the best suite that it has seen.
    fn best_seen(&self, operator: &Digest) -> u64 {
        self.operators.get(operator).map_or(0, |known| known.best_suite)
    }

    fn check_enrolment(
        &self,
        io: &Io,
        application: &Application,
        answer: &[u8],
    ) -> Result<(Certified, Timestamp), ClientError> {
        let Application { pending, anchor, .. } = application;
        let (response, at) = self.open_enrolment(io, pending, answer, anchor)?;
        // V-053
        let certified = pending.certificate(&response, anchor, &self.keys, at)?;
        Ok((certified, response.server_time))
    }

    /// Commits the certificate together with the `writes`, and takes over the server's time.
    async fn keep_enrolment(
        &mut self,
        io: &Io,
        application: Application,
        (certified, server_time): (Certified, Timestamp),
        (mut writes, round_trip): (Vec<Write>, Option<u64>),
    ) -> Result<Enrolled, ClientError> {
        let id = application.profile.operator();
        self.check_room_for(&id)?;
        let enrolled = Enrolled {
            operator: id,
            operator_name: application.profile.name.clone(),
            security_level: certified.claims.security_level,
            valid_until: Timestamp(certified.certificate.not_after()),
        };
        // Enrolling again does not make the device forget what the operator no longer trusts.
        let known = self.operators.get(&id);
        let lists = known.map(|known| known.lists.clone());
        let mut lists = lists.unwrap_or_else(|| lists::none(application.anchor));
        lists.set_device(&certified.chain);
        let mut operator = Operator {
            best_suite: self.best_seen(&id).max(application.suite),
            profile: application.profile,
            lists,
            revoked: known.and_then(|known| known.revoked),
            chain: certified.chain,
            claims: certified.claims,
            discovery: application.discovery,
        };
        // A newer one may have come while the enrolment was on its way.
        if let Some(known) = self.operators.get(&id)
            && known.age_of(&operator.discovery, self.now(io))? != Age::Current
        {
            operator.discovery.clone_from(&known.discovery);
        }
        writes.push(Write::Put(
            self.store.operator_key(&id)?,
            operator.to_record().encode(),
        ));
        self.store
            .commit(io, &mut self.rng, writes, |head| {
                if !head.operators.contains(&id) {
                    head.operators.push(id);
                }
                clock::hear(head, id, server_time, round_trip);
            })
            .await?;
        self.told = Told::fresh(server_time, round_trip, io.moment()).or(self.told);
        self.operators.insert(id, operator);
        self.ending.remove(&id);
        Ok(enrolled)
    }

    /// The response's checks, and the time its signer was judged at.
    fn open_enrolment(
        &self,
        io: &Io,
        pending: &PendingEnrolment,
        answer: &[u8],
        anchor: &Anchor,
    ) -> Result<(EnrolmentResponse, Timestamp), ClientError> {
        let clock = self.store.head().clock;
        let reading = self.reading(io);
        // At the stated time as well: a signer cannot state a time beyond its own end.
        let times = |stated| {
            let now = clock::judge_at(&clock, reading, stated);
            now.into_iter().chain([stated]).collect()
        };
        let response = pending.open(answer, anchor, times).map_err(|error| match error {
            ResponseError::OtherRequest => {
                ClientError::ResponseMismatch("it answers another enrolment request")
            }
            ResponseError::Message(error) => ClientError::Message {
                what: "the enrolment response",
                error,
            },
        })?;
        let at = operator::judge_at(&clock, reading, response.server_time)?;
        Ok((response, at))
    }
}

impl Application {
    fn from_record(waiting: WaitingEnrolment) -> Result<Self, ClientError> {
        let profile = OperatorProfile::decode(&waiting.profile.0)?;
        let pending = PendingRequest {
            digest: waiting.digest,
            nonce: waiting.nonce,
            response_key: waiting.response_key,
        };
        Ok(Self {
            pending: PendingEnrolment {
                pending,
                role: EnrolmentRole::Device,
            },
            anchor: profile.anchor().map_err(ClientError::ProfileRefused)?,
            profile,
            discovery: waiting.discovery.0,
            suite: waiting.suite,
        })
    }
}
