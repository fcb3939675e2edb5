//! The life of an operator, step by step: each step is one thing that somebody asks of it and is told.

mod steps;

use std::sync::Arc;

use keyward_crypto::{
    ContentKey, Secret, SecretBytes,
    exchange::{Algorithm, Operation},
    hpke::Suite,
    kdf::sha256,
    x509::{
        Certificate,
        issue::{ListProfile, Reason, revocation_list},
    },
};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, LicenseOutcome},
    codec::Wire,
    enrolment::{EnrolmentRequest, EnrolmentRole},
    ids::{Kid, Nonce},
    license::{Flag, KeyType},
    packaging::PackagingRequest,
    request::LicenseRequest,
    response::LicenseResponse,
    signed::sign,
    time::Timestamp,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{asking, recorder};
use crate::{
    Error, Server,
    admin::{Scope, TokenRequest},
    backup,
    clock::{Clock, SettableClock},
    common::{Device, KID, NOW, World, ids, options, pending, read, seal},
    danger,
    key_exchange::{Caller, Destroy, Item, NewKey, Output},
    operator,
    policy::PolicyTerms,
    revocation::NewModel,
    rolls::{self, Purpose},
    roots::{Channel, NewRoot, Periods},
    sealing::KekSource,
};

pub(super) use steps::Step;

/// What whoever asked was told, one line each.
pub(super) type Told = Vec<String>;

/// Everybody who asks, with what they sent: on every copy of the disk the same is sent again.
pub(super) struct Cast {
    pub(super) licenses: Vec<(Device, LicenseRequest, Vec<u8>)>,
    pub(super) enrolments: Vec<(Device, EnrolmentRequest, Vec<u8>)>,
    pub(super) packaging: Option<(Device, PackagingRequest, Vec<u8>)>,
    pub(super) token: String,
    pub(super) acknowledgement: Vec<u8>,
    /// Serial number of a certificate that is revoked.
    pub(super) revoked: Vec<u8>,
    /// A list that the root signs.
    pub(super) root_list: Vec<u8>,
}

/// A run of every step, with what each was told and the copies that were taken on the way.
pub(super) struct Run {
    pub(super) world: World,
    pub(super) cast: Cast,
    pub(super) told: Vec<Told>,
    /// When each step was taken.
    pub(super) at: Vec<Timestamp>,
    pub(super) copies: Vec<recorder::Copy>,
}

impl Run {
    /// Whether the overlap of the keys that requests were sealed to is over.
    pub(super) fn is_late(&self, world: &World) -> bool {
        let ended = Step::ALL
            .iter()
            .zip(&self.at)
            .find(|(step, _)| **step == Step::EndOverlap);
        ended.is_some_and(|(_, at)| *at <= world.clock.now())
    }
}

/// Lives the whole life once.
pub(super) async fn live() -> Run {
    let home = tempfile::tempdir().unwrap();
    recorder::record(home.path());
    let (mut told, mut at) = (Vec::new(), Vec::new());
    recorder::begin_step(0);
    let token = init(home.path()).await.unwrap();
    told.push(vec![token.clone()]);
    at.push(NOW);
    recorder::begin_step(1);
    let world = open(home, token).await;
    told.push(vec![world.server.operator().to_string()]);
    at.push(NOW);
    let mut cast = Cast {
        licenses: Vec::new(),
        enrolments: Vec::new(),
        packaging: None,
        token: String::new(),
        acknowledgement: Vec::new(),
        revoked: Vec::new(),
        root_list: Vec::new(),
    };
    for (number, step) in Step::ALL.into_iter().enumerate().skip(2) {
        recorder::begin_step(number);
        prepare(step, &world, &mut cast).await;
        let result = act(step, &world, &cast).await;
        told.push(result.unwrap_or_else(|error| panic!("{step:?}: {error}")));
        recorder::begin_step(number + 1);
        learn(step, &world, &mut cast, told.last().unwrap()).await;
        at.push(world.clock.now());
    }
    world.server.close().await;
    Run {
        world,
        cast,
        told,
        at,
        copies: recorder::recorded(),
    }
}

pub(super) async fn init(home: &std::path::Path) -> Result<String, Error> {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let options = options(KekSource::File);
    let made = operator::init(&home.join("operator"), options, NOW, &mut rng).await?;
    Ok(made.admin_token.expose().to_owned())
}

pub(super) async fn open(home: tempfile::TempDir, admin_token: String) -> World {
    let clock = Arc::new(SettableClock::new(NOW));
    let dir = home.path().join("operator");
    let path = dir.join("operator.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("# wanted = false", "wanted = true")).unwrap();
    let server = Server::open(&dir, KekSource::File, clock.clone()).await.unwrap();
    World {
        home,
        clock,
        server,
        admin_token,
    }
}

/// Requests are made once, before they are sent the first time.
async fn prepare(step: Step, world: &World, cast: &mut Cast) {
    if step == Step::Close {
        return;
    }
    let recipient = world.recipient().await;
    match step {
        Step::EnrolDevice | Step::EnrolPackager => {
            let (seed, role) = match step {
                Step::EnrolDevice => (1, EnrolmentRole::Device),
                _ => (2, EnrolmentRole::Packager),
            };
            let mut device = Device::new(seed, &Suite::ALL);
            device.role = role;
            let body = device.enrolment(&recipient, &cast.token);
            let sealed = device.sealed_enrolment(&recipient, &body);
            cast.enrolments.push((device, body, sealed));
        }
        Step::License => {
            let device = cast.enrolled_device();
            cast.ask_license(device, &recipient);
        }
        Step::EnrolOthers => {
            for seed in [11, 12] {
                let device = world.device(seed).await;
                cast.ask_license(device, &recipient);
            }
        }
        Step::Package => {
            let mut packager = Device::new(2, &Suite::ALL);
            packager.chain.clone_from(&cast.enrolments[1].0.chain);
            let body = PackagingRequest {
                leaves: Some(Flag),
                ..asking::request(&mut packager, &recipient, "film", asking::media())
            };
            let sealed = asking::sealed(&mut packager, &recipient, &body);
            cast.packaging = Some((packager, body, sealed));
        }
        Step::Acknowledge => {
            let (device, request, sealed) = &mut cast.licenses[0];
            let answer = world.server.issue(sealed).await.unwrap();
            let response = read(world, &answer, &pending(request));
            cast.acknowledgement = acknowledgement(world, &recipient, device, &response);
        }
        Step::RevokeCertificate => cast.revoked = world.device(13).await.certificate().serial().to_vec(),
        Step::ImportList => cast.root_list = root_list(world),
        Step::Renew => world.clock.advance(300 * 86_400),
        Step::EndOverlap => world.clock.advance(31 * 86_400),
        _ => {}
    }
}

/// What a step leaves with who took it.
async fn learn(step: Step, world: &World, cast: &mut Cast, told: &Told) {
    match step {
        Step::EnrolmentToken | Step::PackagerToken => cast.token = told[0].clone(),
        Step::EnrolDevice | Step::EnrolPackager => {
            let (device, body, sealed) = cast.enrolments.last_mut().unwrap();
            let answer = world.server.enrol(sealed).await.unwrap();
            device.take_enrolment(world, body, &answer);
        }
        _ => {}
    }
}

/// Takes a step, which may have been taken before.
pub(super) async fn act(step: Step, world: &World, cast: &Cast) -> Result<Told, Error> {
    let server = &world.server;
    let done = |()| vec![];
    Ok(match step {
        Step::Init => return Err(Error::OperatorExists(world.dir())),
        Step::Open => vec![server.operator().to_string()],
        Step::Policy => vec![server.create_policy("rental", rental()).await?.to_string()],
        Step::Grant => vec![server.grant("alice", None, "rental", None).await?.to_string()],
        Step::GrantAnew => vec![server.grant("alice", None, "default", None).await?.to_string()],
        Step::RevokeEntitlement => {
            let id = server.grant("bob", Some(KID), "default", None).await?;
            server.revoke_entitlement(id).await?;
            vec![id.to_string()]
        }
        Step::RegisterKey => server.register_key(KID, KeyType::File, 1).await.map(done)?,
        Step::ImportKey => {
            let key = ContentKey::new([0x5a; 16]);
            server
                .import_key(IMPORTED, KeyType::CencCtr, &key)
                .await
                .map(done)?
        }
        Step::ImportSeed => {
            let seed = SecretBytes::new(vec![9; 40]);
            vec![server.import_seed(seed).await?.to_string()]
        }
        Step::ExportSeed => vec![format!("{:?}", danger::export_seed(server, 1).await?.expose())],
        Step::ExchangeKey => {
            let new = NewKey {
                kid: Some(METERS),
                ..NewKey::new("meters", Algorithm::HmacSha256, Operation::Verify)
            };
            vec![server.create_exchange_key(new).await?.to_string()]
        }
        Step::RotateExchangeKey => vec![server.rotate_exchange_key(METERS).await?.to_string()],
        Step::ExchangeToken => {
            let token = server.create_exchange_token("meters", Some(vec![METERS])).await?;
            vec![token.expose().to_owned()]
        }
        Step::RevokeExchangeToken => {
            let token = server.create_exchange_token("old-meters", None).await?;
            server.revoke_exchange_token("old-meters").await?;
            vec![token.expose().to_owned()]
        }
        Step::Perform => vec![hex::encode(signed(server).await?)],
        Step::DestroyExchangeKey => server
            .destroy_exchange_key(METERS, Destroy::Version(1))
            .await
            .map(done)?,
        Step::Root => {
            let new = NewRoot {
                kid: Some(SEASON),
                ..NewRoot::new("season")
            };
            vec![server.create_root(new).await?.to_string()]
        }
        Step::PutUnderRoot => {
            server
                .put_content_under_root(SEASON, "film", Periods::ALL)
                .await?;
            server.put_key_under_root(SEASON, KID).await?;
            vec![server.black_out(SEASON, "news", 5, Some(6)).await?.to_string()]
        }
        Step::Channel => server
            .set_channel(Channel::new("news", 60, Some(NOW)))
            .await
            .map(done)?,
        Step::AdminToken => {
            let token = server.create_admin_token("reader", Scope::Read).await?;
            vec![token.expose().to_owned()]
        }
        Step::RevokeAdminToken => {
            let token = server.create_admin_token("leaver", Scope::Full).await?;
            server.revoke_admin_token("leaver").await?;
            vec![token.expose().to_owned()]
        }
        Step::ServiceToken => vec![server.create_service_token("edge").await?.expose().to_owned()],
        Step::RevokeServiceToken => {
            let token = server.create_service_token("old-edge").await?;
            server.revoke_service_token("old-edge").await?;
            vec![token.expose().to_owned()]
        }
        Step::EnrolmentToken => vec![long_token(world, EnrolmentRole::Device).await?],
        // Done when they prepared themselves.
        Step::EnrolOthers => vec![],
        Step::PackagerToken => vec![long_token(world, EnrolmentRole::Packager).await?],
        Step::EnrolDevice => enrol(world, &cast.enrolments[0]).await,
        Step::EnrolPackager => enrol(world, &cast.enrolments[1]).await,
        Step::License => license(world, &cast.licenses[0]).await,
        Step::Together => together(world, cast).await?,
        Step::Package => package(world, cast.packaging.as_ref().unwrap()).await,
        Step::Acknowledge => {
            server.acknowledge(&cast.acknowledgement).await.unwrap();
            let told = server.transactions(Some(true)).await?.into_iter();
            told.map(|transaction| format!("{transaction:?}")).collect()
        }
        Step::RevokeCertificate => {
            let reason = Some(Reason::KeyCompromise);
            server.revoke_certificate(&cast.revoked, None, reason).await?;
            vec![hex::encode(&cast.revoked)]
        }
        Step::RevokeModel => {
            let model = NewModel {
                maker: "Acme".to_owned(),
                model: None,
                robustness_below: None,
                since: None,
                reason: None,
            };
            server.revoke_model(model).await?;
            vec![]
        }
        Step::ImportList => {
            server.import_revocation_list(&cast.root_list).await?;
            vec![hex::encode(&cast.root_list)]
        }
        Step::AcceptStore => server
            .accept_restored_store(cast.licenses[1].0.id())
            .await
            .map(done)?,
        Step::RevokeDevice => {
            server.revoke_device(cast.licenses[2].0.id()).await?;
            vec![]
        }
        Step::LosePlace => lose_place(world).await,
        Step::Renew | Step::EndOverlap => vec![world.recipient().await.digest.to_string()],
        Step::RollServer => {
            let signing = server.roll_key(Purpose::LicenseServer).await?;
            let sealing = server.roll_key(Purpose::RequestEncryption).await?;
            vec![signing.number.to_string(), sealing.number.to_string()]
        }
        Step::RollAuthority => vec![roll_authority(world).await?.to_string()],
        Step::RollSeed => vec![server.roll_seed().await?.number.to_string()],
        Step::RollKek => {
            let rolled = server.roll_kek(None).await?;
            assert!(rolled.in_file && rolled.root_key_resealed);
            vec![]
        }
        Step::Profile => operator::renew_profile(&world.dir(), server).map(|_| vec![])?,
        Step::Backup => {
            let made =
                backup::back_up(&world.dir(), &place(world, "backup"), true, world.clock.now()).await?;
            vec![made.operator.to_string()]
        }
        Step::Restore => {
            let (from, to) = (place(world, "backup"), place(world, "restored"));
            backup::restore(&from, &to, None, world.clock.now()).await?;
            vec![]
        }
        Step::Close => {
            server.close().await;
            vec![]
        }
    })
}

/// An acknowledgement of the one license of a response, sealed.
fn acknowledgement(
    world: &World,
    recipient: &crate::common::Recipient,
    device: &mut Device,
    response: &LicenseResponse,
) -> Vec<u8> {
    let body = AcknowledgeRequest {
        version: 1,
        recipient: recipient.digest,
        nonce: Nonce::random(&mut device.rng),
        response_key: Secret::random(&mut device.rng),
        transaction: response.transaction.unwrap(),
        licenses: vec![AcknowledgedLicense {
            kid: KID,
            license: ids(world, response).pop(),
            outcome: LicenseOutcome::Stored,
            reason: None,
        }],
    };
    let message = sign::<AcknowledgeRequest>(&body.encode(), &[], &device.chain, &device.signing).unwrap();
    seal::<AcknowledgeRequest>(recipient, Suite::P256, &message, &mut device.rng)
}

fn root_list(world: &World) -> Vec<u8> {
    let kek = KekSource::File.load(&world.dir()).unwrap();
    let key = operator::read_root_key(&world.dir(), &world.server.operator(), &kek).unwrap();
    let now = world.clock.now().0;
    let profile = ListProfile {
        number: 1,
        this_update: now,
        next_update: now + 86_400,
        revoked: &[],
    };
    revocation_list(&profile, &Certificate::parse(world.anchor().der()).unwrap(), &key).unwrap()
}

/// The device authority, with the root's key from where it lies. Returns the number of the new key.
async fn roll_authority(world: &World) -> Result<u64, Error> {
    let (server, purpose) = (&world.server, Purpose::DeviceAuthority);
    let request = server.request_authority(purpose).await?;
    let kek = server.vault().kek();
    let root_key = operator::read_root_key(&world.dir(), &server.operator(), &kek)?;
    let root = world.profile().root.0;
    let certificate = rolls::sign_authority(&request, &root, &root_key, world.clock.now())?;
    let rolled = server.install_authority(purpose, &certificate).await?;
    assert_eq!(server.install_authority(purpose, &certificate).await?, rolled);
    Ok(rolled.number)
}

/// What the server signs with the newest version, as the operator.
pub(super) async fn signed(server: &Server) -> Result<Vec<u8>, Error> {
    let items = vec![Item::Sign {
        data: b"12 kWh".to_vec(),
    }];
    let results = server
        .exchange_perform(&Caller::operator(), METERS, items)
        .await?;
    match results.into_iter().next() {
        Some(Ok(Output::Signed(signature))) => Ok(signature),
        other => panic!("{other:?}"),
    }
}

pub(super) fn place(world: &World, name: &str) -> std::path::PathBuf {
    world.home.path().join(name)
}

async fn long_token(world: &World, role: EnrolmentRole) -> Result<String, Error> {
    let request = TokenRequest {
        role,
        expires_in: 31_536_000,
        ..TokenRequest::new("alice")
    };
    let token = world.server.create_enrolment_token(request).await?;
    Ok(token.expose().to_owned())
}

/// Devices have their store's epoch from their seed.
fn seed(device: &Device) -> u8 {
    device.store.epoch.as_bytes()[0]
}

/// The certificate: serial number, dates and claims. A signature made again is another one.
async fn enrol(world: &World, (device, body, sealed): &(Device, EnrolmentRequest, Vec<u8>)) -> Told {
    let answer = world.server.enrol(sealed).await.unwrap();
    let mut again = Device::new(seed(device), &Suite::ALL);
    again.role = device.role;
    again.take_enrolment(world, body, &answer);
    let certificate = again.certificate();
    let row: Option<String> =
        sqlx::query_scalar("SELECT hex(serial) FROM device_certificates WHERE device = ?1")
            .bind(device.id().as_bytes().to_vec())
            .fetch_optional(&world.pool().await)
            .await
            .unwrap();
    vec![
        row.unwrap(),
        certificate.not_after().to_string(),
        hex::encode(sha256(&[certificate.claims().unwrap()])),
    ]
}

/// The ids of its licenses, and the content key.
pub(super) async fn license(
    world: &World,
    (device, body, sealed): &(Device, LicenseRequest, Vec<u8>),
) -> Told {
    let answer = world.server.issue(sealed).await.unwrap();
    let response = read(world, &answer, &pending(body));
    let mut told: Told = ids(world, &response).iter().map(ToString::to_string).collect();
    told.push(hex::encode(device.open(world, &response.results[0]).1));
    told.push(response.server_time.0.to_string());
    told
}

async fn together(world: &World, cast: &Cast) -> Result<Told, Error> {
    let other = Kid::new([0x77; 16]);
    let (one, two, granted, registered) = tokio::join!(
        license(world, &cast.licenses[1]),
        license(world, &cast.licenses[2]),
        world.server.grant("carol", None, "default", None),
        world.server.register_key(other, KeyType::File, 1),
    );
    granted?;
    registered?;
    Ok([one, two].concat())
}

/// Key ids and keys, and the ids of the leaf licenses.
async fn package(world: &World, (packager, body, sealed): &(Device, PackagingRequest, Vec<u8>)) -> Told {
    let answer = world.server.package(sealed).await.unwrap();
    let packaged = asking::read(world, packager, body, &answer);
    let pairs = packaged.pairs().into_iter();
    let pairs = pairs.map(|(kid, key)| format!("{kid} {}", hex::encode(key)));
    let leaves = packaged.leaves.iter().map(|leaf| leaf.body().id.to_string());
    pairs.chain(leaves).collect()
}

/// The database's file is away for a while: nothing is written meanwhile, and the server goes on afterwards.
async fn lose_place(world: &World) -> Told {
    let (file, away) = (world.dir().join("keyward.db"), world.dir().join("away"));
    std::fs::rename(&file, &away).unwrap();
    let refused = world
        .server
        .grant("dave", None, "default", None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::NotCommitted(_)), "{refused}");
    assert!(!world.server.store().is_ready().await);
    std::fs::rename(&away, &file).unwrap();
    assert!(world.server.store().is_ready().await);
    vec![]
}

impl Cast {
    fn enrolled_device(&self) -> Device {
        let mut device = Device::new(1, &Suite::ALL);
        device.chain.clone_from(&self.enrolments[0].0.chain);
        device
    }

    fn ask_license(&mut self, mut device: Device, recipient: &crate::common::Recipient) {
        let mut body = device.request(recipient, &[KID]);
        body.capabilities.acknowledges = Some(Flag);
        let sealed = device.seal(recipient, Suite::P256, &body);
        self.licenses.push((device, body, sealed));
    }
}

fn rental() -> PolicyTerms {
    PolicyTerms {
        duration_seconds: Some(3600),
        ..PolicyTerms::DEFAULT
    }
}

pub(super) const IMPORTED: Kid = Kid::new([0x5a; 16]);
pub(super) const METERS: Kid = Kid::new([0x4d; 16]);
pub(super) const SEASON: Kid = Kid::new([0x5e; 16]);
