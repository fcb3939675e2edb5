//! The operator directory, the vault, and opening with the wrong key.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use crate::common::{KID, NOW, World, options};
use keyward_crypto::{ContentKey, Secret, SecretBytes, hpke::Suite, seed::LicenseKeySeed};
use keyward_license::{enrolment::EnrolmentRequest, ids::Kid, license::KeyType, request::LicenseRequest};
use keyward_server::{
    Error, Server,
    admin::Scope,
    clock::SettableClock,
    danger, operator,
    policy::PolicyTerms,
    sealing::{KekSource, KeyEncryptionKey},
    vault::Source,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([42; 32])
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_directory_is_whole_and_private() {
    let world = World::new().await;
    world.server.close().await;
    let dir = world.dir();
    assert_eq!(
        names(&dir),
        [
            "kek",
            "keyward.db",
            "operator-profile",
            "operator.toml",
            "root-key.sealed"
        ]
    );
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for name in names(&dir) {
        assert_eq!(
            fs::metadata(dir.join(&name)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
    }
    let profile = world.profile();
    assert_eq!(
        (profile.version, &profile.name[..], profile.minimum_suite),
        (1, "Example", 1)
    );
    assert_eq!(profile.license_servers, ["http://127.0.0.1:8470"]);
    assert_eq!(profile.operator(), world.server.operator());
}

#[tokio::test]
async fn half_an_operator_never_appears() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("operator");
    // Refused values, after and before anything is written.
    let bad = operator::InitOptions {
        public_url: "http://example.org".into(),
        ..options(KekSource::File)
    };
    assert!(matches!(
        operator::init(&dir, bad, NOW, &mut rng()).await,
        Err(Error::Config(_))
    ));
    let far = keyward_license::time::Timestamp(u64::MAX);
    assert!(
        operator::init(&dir, options(KekSource::File), far, &mut rng())
            .await
            .is_err(),
        "no such date"
    );
    assert_eq!(names(home.path()), [""; 0]);
    // A caller that goes away in the middle.
    {
        let (mut rng, options) = (rng(), options(KekSource::File));
        let making = operator::init(&dir, options, NOW, &mut rng);
        assert!(
            tokio::time::timeout(core::time::Duration::ZERO, making)
                .await
                .is_err()
        );
    }
    assert!(!dir.exists());
    // What exists is refused and left alone, be it empty.
    fs::create_dir(&dir).unwrap();
    let refused = operator::init(&dir, options(KekSource::File), NOW, &mut rng())
        .await
        .unwrap_err();
    assert!(matches!(&refused, Error::OperatorExists(_)), "{refused}");
    assert_eq!(names(&dir), [""; 0]);
}

#[tokio::test]
async fn the_wrong_key_encryption_key_is_refused_clearly() {
    let world = World::new().await;
    world.server.close().await;
    let clock = Arc::new(SettableClock::new(NOW));
    let wrong = KekSource::Given(KeyEncryptionKey::new(Secret::new([1; 32])));
    let error = Server::open(&world.dir(), wrong, clock.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::WrongKek));
    assert_eq!(
        error.to_string(),
        "the key-encryption key is not the one that this operator's secrets are sealed under"
    );
    assert!(!error.hint().is_empty());
    let kek = world.dir().join("kek");
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        Server::open(&world.dir(), KekSource::File, clock.clone()).await,
        Err(Error::KekExposed(_))
    ));
    assert!(matches!(
        Server::open(world.home.path(), KekSource::File, clock).await,
        Err(Error::NoOperator(_))
    ));
}

#[tokio::test]
async fn the_key_may_come_from_elsewhere_and_the_root_key_may_leave() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("operator");
    let hex = "5a".repeat(32);
    let kek = || KeyEncryptionKey::from_hex(&hex).unwrap();
    let made = operator::init(&dir, options(KekSource::Given(kek())), NOW, &mut rng())
        .await
        .unwrap();
    assert!(!names(&dir).contains(&"kek".to_owned()));
    let root = operator::read_root_key(&dir, &made.operator, &kek()).unwrap();
    let profile = operator::read_profile(&dir).unwrap();
    let profile =
        <keyward_license::operator_profile::OperatorProfile as keyward_license::codec::Wire>::decode(
            &profile,
        )
        .unwrap();
    let certificate = keyward_crypto::x509::Certificate::parse(&profile.root.0).unwrap();
    assert_eq!(root.public_key(), certificate.public_key());
    fs::remove_file(dir.join("root-key.sealed")).unwrap();
    let clock = Arc::new(SettableClock::new(NOW));
    let server = Server::open(&dir, KekSource::Given(kek()), clock).await.unwrap();
    assert!(server.discovery().await.is_ok());
    assert!(operator::read_root_key(&dir, &made.operator, &kek()).is_err());
}

#[tokio::test]
async fn a_key_id_keeps_its_type_and_source() {
    let world = World::new().await;
    let server = &world.server;
    let [imported, other] = [Kid::new([2; 16]), Kid::new([3; 16])];
    let (key, wrong) = (ContentKey::new([7; 16]), ContentKey::new([8; 16]));
    server.import_key(imported, KeyType::CencCtr, &key).await.unwrap();
    // The same again changes nothing.
    server.register_key(KID, KeyType::File, 1).await.unwrap();
    server.import_key(imported, KeyType::CencCtr, &key).await.unwrap();
    let conflict = |result: Result<(), Error>| matches!(result, Err(Error::KeyConflict(_)));
    assert!(
        conflict(server.register_key(KID, KeyType::CencCtr, 1).await),
        "another type"
    );
    assert!(
        conflict(server.import_key(KID, KeyType::File, &key).await),
        "another source"
    );
    assert!(
        conflict(server.register_key(imported, KeyType::CencCtr, 1).await),
        "another source"
    );
    assert!(
        conflict(server.import_key(imported, KeyType::CencCtr, &wrong).await),
        "another key"
    );
    // One key under two key ids would serve in two modes.
    assert!(matches!(
        server.import_key(other, KeyType::CencCbc, &key).await,
        Err(Error::KeyReused(_))
    ));
    let derived = server.content_key_for_packaging(KID).await.unwrap().key;
    assert!(matches!(
        server.import_key(other, KeyType::File, &derived).await,
        Err(Error::KeyReused(_))
    ));
    assert!(matches!(
        server.register_key(other, KeyType::Exchange, 1).await,
        Err(Error::KeyTypeRefused(5))
    ));
    assert!(matches!(
        server.register_key(other, KeyType::File, 9).await,
        Err(Error::SeedUnknown(9))
    ));
    assert!(matches!(
        server.content_key_for_packaging(other).await,
        Err(Error::KidUnknown(_))
    ));
    let listed: Vec<_> = server
        .keys()
        .await
        .unwrap()
        .iter()
        .map(|key| (key.kid, key.key_type, key.source))
        .collect();
    assert_eq!(
        listed,
        [
            (imported, KeyType::CencCtr, Source::Stored),
            (KID, KeyType::File, Source::Seed(1))
        ]
    );
    // The schema says the same, whoever writes.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.dir().join("keyward.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for statement in [
        "UPDATE keys SET key_type = 1",
        "UPDATE keys SET seed = NULL",
        "DELETE FROM keys",
    ] {
        assert!(
            sqlx::query(statement).execute(&pool).await.is_err(),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_seed_goes_out_and_comes_in() {
    let world = World::new().await;
    let seed = danger::export_seed(&world.server, 1).await.unwrap();
    let derived = LicenseKeySeed::new(seed.expose()).unwrap().derive(KID.as_bytes());
    assert!(derived == world.server.content_key_for_packaging(KID).await.unwrap().key);
    assert!(matches!(
        danger::export_seed(&world.server, 2).await,
        Err(Error::SeedUnknown(2))
    ));
    assert_eq!(
        world
            .server
            .import_seed(SecretBytes::new(vec![9; 30]))
            .await
            .unwrap(),
        2
    );
    assert!(
        world
            .server
            .import_seed(SecretBytes::new(vec![9; 29]))
            .await
            .is_err()
    );
    let kid = Kid::new([4; 16]);
    world.server.register_key(kid, KeyType::CencCbc, 2).await.unwrap();
    let expected = LicenseKeySeed::new(&[9; 30]).unwrap().derive(kid.as_bytes());
    assert!(world.server.content_key_for_packaging(kid).await.unwrap().key == expected);
}

#[tokio::test]
async fn a_sealed_secret_does_not_open_in_another_row() {
    let world = World::new().await;
    let server = &world.server;
    for byte in [5, 6] {
        server
            .import_key(Kid::new([byte; 16]), KeyType::File, &ContentKey::new([byte; 16]))
            .await
            .unwrap();
    }
    world.sql("UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE kid = x'05050505050505050505050505050505') WHERE kid = x'06060606060606060606060606060606'").await;
    assert!(server.content_key_for_packaging(Kid::new([5; 16])).await.is_ok());
    assert!(matches!(
        server.content_key_for_packaging(Kid::new([6; 16])).await,
        Err(Error::Damaged(_))
    ));
}

#[tokio::test]
async fn the_servers_own_certificates_are_renewed_in_time() {
    let mut world = World::new().await;
    let old = world.recipient().await;
    // Two thirds of a year later: renewed, and what is sealed to the old certificate still opens.
    world.clock.advance(245 * 86_400);
    world.reopen().await;
    let now = NOW.plus(245 * 86_400);
    let document = world.server.discovery().await.unwrap();
    let new = crate::common::Recipient::read(&document, &world.anchor(), world.profile().operator(), now);
    assert_ne!(new.digest, old.digest);
    assert_eq!(new.keys, old.keys);
    let mut device = crate::common::Device::new(1, &Suite::ALL);
    let token = world.token().await;
    let body = device.enrolment(&old, &token);
    device.send_enrolment(&world, &old, &body).await.unwrap();
    // Nothing is renewed before its time.
    let certificates = world.count("SELECT count(*) FROM certificates").await;
    world.reopen().await;
    assert_eq!(
        world.count("SELECT count(*) FROM certificates").await,
        certificates
    );
}

#[tokio::test]
async fn a_discovery_document_is_held_and_signed_again_before_it_ends() {
    let world = World::new().await;
    let first = world.server.discovery().await.unwrap();
    world.clock.advance(12 * 3600 - 1);
    assert_eq!(world.server.discovery().await.unwrap(), first);
    world.clock.advance(1);
    assert_ne!(world.server.discovery().await.unwrap(), first);
}

#[tokio::test]
async fn two_processes_may_write() {
    let world = World::new().await;
    let second = Server::open(&world.dir(), KekSource::File, world.clock.clone())
        .await
        .unwrap();
    let terms = PolicyTerms {
        duration_seconds: None,
        ..PolicyTerms::DEFAULT
    };
    assert_eq!(second.create_policy("rental", terms.clone()).await.unwrap(), 1);
    assert_eq!(
        world.server.create_policy("rental", terms.clone()).await.unwrap(),
        2
    );
    let policies = second.policies().await.unwrap();
    let listed: Vec<_> = policies
        .iter()
        .map(|policy| (&policy.name[..], policy.version))
        .collect();
    assert_eq!(listed, [("default", 1), ("rental", 2)]);
    assert!(matches!(
        second.create_policy("Rental", terms).await,
        Err(Error::PolicyRefused(_))
    ));
}

#[tokio::test]
async fn admin_tokens_are_kept_as_hashes_only() {
    let world = World::new().await;
    let known = world
        .server
        .authenticate_admin(&world.admin_token)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&known.name[..], known.scope), ("init", Scope::Full));
    assert_eq!(world.server.authenticate_admin("guess").await.unwrap(), None);
    let reader = world
        .server
        .create_admin_token("reader", Scope::Read)
        .await
        .unwrap();
    let known = world
        .server
        .authenticate_admin(reader.expose())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known.scope, Scope::Read);
    assert!(
        world
            .server
            .create_admin_token("reader", Scope::Read)
            .await
            .is_err()
    );
    world.server.close().await;
    let database = fs::read(world.dir().join("keyward.db")).unwrap();
    for token in [world.admin_token.as_bytes(), reader.expose().as_bytes()] {
        assert!(!database.windows(token.len()).any(|window| window == token));
    }
}

#[tokio::test]
async fn who_took_a_secret_out_stands_in_the_record() {
    let world = World::new().await;
    danger::export_seed(&world.server, 1).await.unwrap();
    world.server.content_key_for_packaging(KID).await.unwrap();
    for recorded in [
        "SELECT count(*) FROM events WHERE kind = 'seed-exported' AND subject = '1'",
        "SELECT count(*) FROM events WHERE kind = 'content-key-exported'
         AND subject = '11111111111111111111111111111111'",
    ] {
        assert_eq!(world.count(recorded).await, 1, "{recorded}");
    }
    // What cannot be recorded is not handed out.
    world
        .sql("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        .await;
    assert!(danger::export_seed(&world.server, 1).await.is_err());
    assert!(world.server.content_key_for_packaging(KID).await.is_err());
}

#[tokio::test]
async fn a_request_that_was_opened_to_be_explained_stands_in_the_record_and_is_not_answered() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let mut device = world.device(2).await;
    let asked = device.request(&recipient, &[KID]);
    let signed = device.sign(&asked);
    let license_request =
        crate::common::seal::<LicenseRequest>(&recipient, Suite::XWing, &signed, &mut rng());
    let enrolment_request =
        crate::common::seal::<EnrolmentRequest>(&recipient, Suite::P256, b"any message", &mut rng());
    for (sealed, message) in [
        (&license_request, &signed[..]),
        (&enrolment_request, b"any message"),
    ] {
        let opened = danger::open_request(&world.server, sealed).await.unwrap();
        assert_eq!(opened.message.expose(), message);
        assert!(opened.recipient_in_use);
        assert!(!format!("{opened:?}").contains("97, 110"), "{opened:?}");
    }
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind = 'request-opened'")
            .await,
        2
    );
    assert_eq!(world.count("SELECT count(*) FROM answers").await, 0);

    let mut altered = license_request.clone();
    *altered.last_mut().unwrap() ^= 1;
    for unopened in [&altered[..], &signed, b""] {
        let refused = danger::open_request(&world.server, unopened).await;
        assert!(matches!(refused, Err(Error::RequestNotOpened(_))));
    }
    world
        .sql("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        .await;
    assert!(
        danger::open_request(&world.server, &license_request)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_revoked_admin_token_lets_nobody_in() {
    let world = World::new().await;
    let token = world
        .server
        .create_admin_token("reader", Scope::Read)
        .await
        .unwrap();
    let is_known = async || {
        let known = world.server.authenticate_admin(token.expose()).await.unwrap();
        known.is_some()
    };
    assert!(is_known().await);
    world.clock.set(NOW.plus(5));
    for _ in 0..2 {
        world.server.revoke_admin_token("reader").await.unwrap();
        assert!(!is_known().await);
        world.clock.set(NOW.plus(9));
    }
    let listed = world.server.admin_tokens().await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|token| (&token.name[..], token.scope, token.created, token.revoked))
        .collect();
    assert_eq!(
        listed,
        [
            ("init", Scope::Full, NOW, None),
            ("reader", Scope::Read, NOW, Some(NOW.plus(5)))
        ]
    );
    assert!(matches!(
        world.server.revoke_admin_token("nobody").await,
        Err(Error::AdminTokenUnknown(name)) if name == "nobody"
    ));
    assert!(matches!(
        world.server.create_admin_token("reader", Scope::Full).await,
        Err(Error::OutOfRange { .. })
    ));
    let events = "SELECT count(*) FROM events WHERE kind = 'admin-token-revoked' AND subject = 'reader'";
    assert_eq!(world.count(events).await, 1);
}
