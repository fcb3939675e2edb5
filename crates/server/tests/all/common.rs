//! A world of one operator and a device written by hand on `keyward-license`: it shares no code with the
//! client crate, so that the two sides are checked against the protocol and not against each other.

use std::{path::PathBuf, sync::Arc};

use keyward_crypto::{
    Secret,
    ecdsa::SigningKey,
    hpke::{KeyPair, Suite},
    kdf::sha256,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    certificate::{Claims, SealingKey, certificate_digest, device_id},
    codec::{Bytes, Wire},
    discovery::Discovery,
    enrolment::{EnrolmentRequest, EnrolmentResponse, EnrolmentRole, SHARE_CONTEXT, open_chain},
    envelope::{SealedRequest, SealedResponse, binding},
    error_code::Problem,
    ids::{DeviceId, Digest, EpochId, Kid, LicenseId, Nonce},
    license::{KeyType, License, LicenseBody},
    operator_profile::OperatorProfile,
    request::{Capabilities, ClientClock, ClientInfo, ClockKind, ClockState, LicenseRequest, StoreState},
    response::{KeyResult, LicenseResponse},
    signed::{self, SignedBody, Unverified},
    time::Timestamp,
};
use keyward_server::{
    Server,
    admin::TokenRequest,
    clock::{Clock, SettableClock},
    operator::{self, InitOptions},
    policy::DEFAULT_POLICY,
    sealing::KekSource,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

pub(crate) const NOW: Timestamp = Timestamp(1_900_000_000);
pub(crate) const KID: Kid = Kid::new([0x11; 16]);
pub(crate) const ACCOUNT: &str = "alice";

pub(crate) struct World {
    pub(crate) home: tempfile::TempDir,
    pub(crate) clock: Arc<SettableClock>,
    pub(crate) server: Server,
    pub(crate) admin_token: String,
}

pub(crate) fn options(kek: KekSource) -> InitOptions {
    InitOptions {
        name: "Example".into(),
        public_url: "http://127.0.0.1:8470".into(),
        listen: "127.0.0.1:8470".into(),
        admin_listen: "127.0.0.1:8471".into(),
        kek,
    }
}

impl World {
    /// An operator whose account `alice` is entitled to everything and that knows one key id.
    pub(crate) async fn new() -> Self {
        Self::seeded(1).await
    }

    pub(crate) async fn seeded(seed: u8) -> Self {
        Self::at_home(tempfile::tempdir().unwrap(), seed).await
    }

    /// As [`World::seeded`], on the disk that `home` is on.
    pub(crate) async fn at_home(home: tempfile::TempDir, seed: u8) -> Self {
        let dir = home.path().join("operator");
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let made = operator::init(&dir, options(KekSource::File), NOW, &mut rng)
            .await
            .unwrap();
        let clock = Arc::new(SettableClock::new(NOW));
        let server = Server::open(&dir, KekSource::File, clock.clone()).await.unwrap();
        server.register_key(KID, KeyType::File, 1).await.unwrap();
        server.grant(ACCOUNT, None, DEFAULT_POLICY, None).await.unwrap();
        Self {
            home,
            clock,
            server,
            admin_token: made.admin_token.expose().to_owned(),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("operator")
    }

    pub(crate) fn profile(&self) -> OperatorProfile {
        OperatorProfile::decode(&operator::read_profile(&self.dir()).unwrap()).unwrap()
    }

    pub(crate) fn anchor(&self) -> Anchor {
        Anchor::from_der(&self.profile().root.0).unwrap()
    }

    /// Closes the server and opens the operator again, as after a crash or an update.
    pub(crate) async fn reopen(&mut self) {
        self.server.close().await;
        self.server = Server::open(&self.dir(), KekSource::File, self.clock.clone())
            .await
            .unwrap();
    }

    /// Keeps everybody from writing until the connection commits.
    pub(crate) async fn locked(&self) -> sqlx::pool::PoolConnection<sqlx::Sqlite> {
        let mut db = self.pool().await.acquire().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await.unwrap();
        db
    }

    /// One SQL statement on the database, from outside the server.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let pool = self.pool().await;
        sqlx::query(statement).execute(&pool).await.unwrap();
        pool.close().await;
    }

    pub(crate) async fn count(&self, statement: &'static str) -> i64 {
        let pool = self.pool().await;
        let count = sqlx::query_scalar(statement).fetch_one(&pool).await.unwrap();
        pool.close().await;
        count
    }

    pub(crate) async fn pool(&self) -> sqlx::SqlitePool {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.dir().join("keyward.db"));
        sqlx::SqlitePool::connect_with(options).await.unwrap()
    }

    pub(crate) async fn token(&self) -> String {
        self.token_for(TokenRequest::new(ACCOUNT)).await
    }

    pub(crate) async fn token_for(&self, request: TokenRequest) -> String {
        self.server
            .create_enrolment_token(request)
            .await
            .unwrap()
            .expose()
            .to_owned()
    }

    /// Where requests go, out of the signed discovery document.
    pub(crate) async fn recipient(&self) -> Recipient {
        let document = self.server.discovery().await.unwrap();
        Recipient::read(
            &document,
            &self.anchor(),
            self.profile().operator(),
            self.clock.now(),
        )
    }

    /// A device with keys of both suites, enrolled.
    pub(crate) async fn device(&self, seed: u8) -> Device {
        let mut device = Device::new(seed, &Suite::ALL);
        let token = self.token().await;
        device.enrol(self, &token).await.unwrap();
        device
    }

    pub(crate) async fn packager_token(&self) -> String {
        let role = EnrolmentRole::Packager;
        self.token_for(TokenRequest {
            role,
            ..TokenRequest::new("packaging")
        })
        .await
    }

    /// A packager with keys of these suites, enrolled.
    pub(crate) async fn packager(&self, seed: u8, suites: &[Suite]) -> Device {
        let mut packager = Device::new(seed, suites);
        packager.role = EnrolmentRole::Packager;
        let token = self.packager_token().await;
        packager.enrol(self, &token).await.unwrap();
        packager
    }
}

/// A server's request-encryption certificate.
pub(crate) struct Recipient {
    pub(crate) digest: Digest,
    pub(crate) keys: Vec<SealingKey>,
}

impl Recipient {
    pub(crate) fn read(document: &[u8], anchor: &Anchor, operator: Digest, now: Timestamp) -> Self {
        let document = Unverified::<Discovery>::parse(document)
            .unwrap()
            .verify(anchor, Role::LicenseServer, |_| vec![now])
            .unwrap()
            .into_body();
        assert_eq!(document.operator, operator);
        assert!(document.issued <= now && now < document.expires);
        let chain: Vec<_> = document.request_encryption.into_iter().map(|der| der.0).collect();
        let leaf = anchor.verify(&chain, Role::RequestEncryption, now.0).unwrap();
        let keys = Claims::of(&leaf).unwrap().sealing_keys.unwrap();
        assert_eq!(
            keys.first().unwrap().public_key.0,
            leaf.public_key().as_point(),
            "the subject key is the suite 1 key"
        );
        Self {
            digest: certificate_digest(&leaf),
            keys,
        }
    }

    pub(crate) fn key(&self, suite: Suite) -> &[u8] {
        &self
            .keys
            .iter()
            .find(|key| key.suite == suite.number())
            .unwrap()
            .public_key
            .0
    }
}

/// What a device remembers of a request.
pub(crate) struct Pending {
    pub(crate) digest: Digest,
    pub(crate) nonce: Nonce,
    pub(crate) response_key: Secret<32>,
}

pub(crate) struct Device {
    pub(crate) rng: ChaCha20Rng,
    pub(crate) signing: SigningKey,
    pub(crate) sealing: Vec<KeyPair>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) store: StoreState,
    pub(crate) role: EnrolmentRole,
}

impl Device {
    pub(crate) fn new(seed: u8, suites: &[Suite]) -> Self {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        Self {
            signing: SigningKey::generate(&mut rng),
            sealing: suites
                .iter()
                .map(|suite| KeyPair::generate(*suite, &mut rng))
                .collect(),
            chain: Vec::new(),
            store: StoreState {
                epoch: EpochId::new([seed; 16]),
                generation: 1,
            },
            role: EnrolmentRole::Device,
            rng,
        }
    }

    pub(crate) fn id(&self) -> DeviceId {
        device_id(self.signing.public_key()).unwrap()
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::parse(self.chain.first().unwrap()).unwrap()
    }

    pub(crate) fn sealing_keys(&self) -> Vec<SealingKey> {
        let named = |key: &KeyPair| SealingKey {
            suite: key.suite().number(),
            public_key: Bytes(key.public_key().to_vec()),
        };
        self.sealing.iter().map(named).collect()
    }

    pub(crate) fn enrolment(&mut self, recipient: &Recipient, token: &str) -> EnrolmentRequest {
        EnrolmentRequest {
            version: 1,
            recipient: recipient.digest,
            nonce: Nonce::random(&mut self.rng),
            response_key: Secret::random(&mut self.rng),
            public_key: Bytes(self.signing.public_key().to_spki_der().unwrap()),
            sealing_keys: self.sealing_keys(),
            token: token.to_owned(),
            client: client_info(),
            role: self.role,
        }
    }

    /// Enrols and keeps the certificate.
    pub(crate) async fn enrol(&mut self, world: &World, token: &str) -> Result<(), Problem> {
        let recipient = world.recipient().await;
        let body = self.enrolment(&recipient, token);
        self.send_enrolment(world, &recipient, &body).await
    }

    pub(crate) async fn send_enrolment(
        &mut self,
        world: &World,
        recipient: &Recipient,
        body: &EnrolmentRequest,
    ) -> Result<(), Problem> {
        let sealed = self.sealed_enrolment(recipient, body);
        let answer = world.server.enrol(&sealed).await?;
        self.take_enrolment(world, body, &answer);
        Ok(())
    }

    /// Signs and seals an enrolment request.
    pub(crate) fn sealed_enrolment(&mut self, recipient: &Recipient, body: &EnrolmentRequest) -> Vec<u8> {
        let message = signed::sign::<EnrolmentRequest>(&body.encode(), &[], &[], &self.signing).unwrap();
        seal::<EnrolmentRequest>(recipient, Suite::XWing, &message, &mut self.rng)
    }

    /// Opens and verifies an enrolment response, and keeps the certificate.
    pub(crate) fn take_enrolment(&mut self, world: &World, body: &EnrolmentRequest, answer: &[u8]) {
        let digest = Digest::new(sha256(&[&body.encode()]));
        let opened = SealedResponse::decode(answer).unwrap();
        let opened = opened
            .open(EnrolmentResponse::CONTEXT, &body.response_key, &digest)
            .unwrap();
        let response = Unverified::<EnrolmentResponse>::parse(opened.expose())
            .unwrap()
            .verify(&world.anchor(), Role::LicenseServer, |body| {
                vec![body.server_time]
            })
            .unwrap()
            .into_body();
        assert_eq!((response.request, response.nonce), (digest, body.nonce));
        let shares: Vec<_> = response
            .shares
            .iter()
            .zip(&self.sealing)
            .map(|(share, key)| {
                let info = binding(SHARE_CONTEXT, key.suite(), &digest);
                key.open(&info, &share.encapsulated.0, &share.ciphertext.0)
                    .unwrap()
            })
            .collect();
        self.chain = open_chain(&response.chain, &shares, &digest).unwrap();
        let leaf = world
            .anchor()
            .verify(&self.chain, self.role.role(), response.server_time.0)
            .unwrap();
        assert_eq!(leaf.public_key(), self.signing.public_key());
        assert_eq!(
            Claims::of(&leaf).unwrap().sealing_keys,
            Some(body.sealing_keys.clone())
        );
    }

    /// A request for key ids; the caller changes what the test is about.
    pub(crate) fn request(&mut self, recipient: &Recipient, kids: &[Kid]) -> LicenseRequest {
        LicenseRequest {
            version: 1,
            recipient: recipient.digest,
            nonce: Nonce::random(&mut self.rng),
            response_key: Secret::random(&mut self.rng),
            content_headers: None,
            kids: Some(kids.to_vec()),
            client: client_info(),
            capabilities: Capabilities::new(
                vec![1, 2, 3],
                LicenseBody::TERMS.to_vec(),
                vec![1, 2],
                ClockKind::AntiRollback,
            ),
            persistent: true,
            revocation_lists: None,
            memberships: None,
            clock: ClientClock {
                now: Some(NOW),
                last_trusted: None,
                state: ClockState::Set,
            },
            store: self.store.clone(),
            license_requested: true,
            authorization: None,
            custom_data: None,
        }
    }

    /// Signs a request.
    pub(crate) fn sign(&self, body: &LicenseRequest) -> Vec<u8> {
        signed::sign::<LicenseRequest>(&body.encode(), &[], &self.chain, &self.signing).unwrap()
    }

    /// Signs and seals a request.
    pub(crate) fn seal(&mut self, recipient: &Recipient, suite: Suite, body: &LicenseRequest) -> Vec<u8> {
        let message = self.sign(body);
        seal::<LicenseRequest>(recipient, suite, &message, &mut self.rng)
    }

    /// Asks and reads the answer.
    pub(crate) async fn ask(
        &mut self,
        world: &World,
        body: &LicenseRequest,
    ) -> Result<LicenseResponse, Problem> {
        let recipient = world.recipient().await;
        let sealed = self.seal(&recipient, Suite::XWing, body);
        let answer = world.server.issue(&sealed).await?;
        Ok(read(world, &answer, &pending(body)))
    }

    /// The content key of a result's license, checked as a client checks it.
    pub(crate) fn open(&self, world: &World, result: &KeyResult) -> (License, [u8; 16]) {
        let bytes = &result.license.as_ref().unwrap().0;
        let license = License::verify(bytes, &world.anchor(), Some(NOW)).unwrap();
        assert!(license.body().binding.is_device(&self.id()));
        let key = self
            .sealing
            .iter()
            .find(|key| Some(key.suite()) == license.sealing().suite())
            .unwrap();
        let sealed = license.sealed();
        let opened = key
            .open(
                &license.key_binding(),
                &sealed.encapsulated.0,
                &sealed.ciphertext.0,
            )
            .unwrap();
        let keys = license.read_keys(&opened).unwrap();
        let key = keys.keys.first().unwrap().0[..].try_into().unwrap();
        (license, key)
    }
}

pub(crate) fn pending(body: &LicenseRequest) -> Pending {
    Pending {
        digest: Digest::new(sha256(&[&body.encode()])),
        nonce: body.nonce,
        response_key: body.response_key.duplicate(),
    }
}

/// Opens and verifies a license response.
pub(crate) fn read(world: &World, answer: &[u8], pending: &Pending) -> LicenseResponse {
    let opened = SealedResponse::decode(answer).unwrap();
    let opened = opened
        .open(LicenseResponse::CONTEXT, &pending.response_key, &pending.digest)
        .unwrap();
    let response = Unverified::<LicenseResponse>::parse(opened.expose())
        .unwrap()
        .verify(&world.anchor(), Role::LicenseServer, |body| {
            vec![body.server_time]
        })
        .unwrap()
        .into_body();
    assert_eq!(
        (response.request, response.nonce),
        (pending.digest, pending.nonce)
    );
    response
}

/// The ids of a response's licenses.
pub(crate) fn ids(world: &World, response: &LicenseResponse) -> Vec<LicenseId> {
    let licenses = response
        .results
        .iter()
        .filter_map(|result| result.license.as_ref());
    licenses
        .map(|bytes| {
            License::verify(&bytes.0, &world.anchor(), None)
                .unwrap()
                .body()
                .id
        })
        .collect()
}

pub(crate) fn seal<T: SignedBody>(
    recipient: &Recipient,
    suite: Suite,
    message: &[u8],
    rng: &mut ChaCha20Rng,
) -> Vec<u8> {
    SealedRequest::seal(
        T::CONTEXT,
        suite,
        recipient.digest,
        recipient.key(suite),
        message,
        rng,
    )
    .unwrap()
    .encode()
}

pub(crate) fn denial(result: &KeyResult) -> u64 {
    assert!(result.license.is_none());
    result.denial.as_ref().unwrap().code
}

pub(crate) fn client_info() -> ClientInfo {
    ClientInfo {
        name: "hand-made".into(),
        version: "1".into(),
        platform: "test".into(),
    }
}
