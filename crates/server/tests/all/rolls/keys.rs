//! The keys of the server.

use keyward_license::{discovery::Discovery, ids::DeviceId};
use keyward_server::{
    Error, backup, danger,
    doctor::{Standing, examine},
    sealing::KekSource,
};

use super::*;

#[tokio::test]
async fn a_rolled_license_server_signs_what_is_new_and_what_it_signed_stays() {
    let mut world = World::new().await;
    let mut device = world.device(1).await;
    let request = asked(&world, &mut device).await;
    let before = answered(&world, &request).await;
    let document = world.server.discovery().await.unwrap();
    world.clock.advance(60);

    let rolled = world.server.roll_key(Purpose::LicenseServer).await.unwrap();
    let now = world.clock.now();
    assert_eq!((&rolled.what[..], rolled.number), ("license-server", 1));
    assert_eq!(rolled.ends, now.0 + 365 * DAY);
    assert_eq!(rolled.before_accepted_until, Some(now.0 - 60 + 365 * DAY));

    // Told at once.
    let renewed = world.server.discovery().await.unwrap();
    let signer = |document: &[u8]| {
        let document = Unverified::<Discovery>::parse(document).unwrap();
        let document = document.verify(&world.anchor(), Role::LicenseServer, |_| vec![now]);
        document.unwrap().signer().unwrap().public_key_digest()
    };
    assert_ne!(signer(&document), signer(&renewed));
    let after = ask(&world, &mut device).await;
    assert_eq!(
        after.signers,
        [signer(&renewed).to_vec(), signer(&renewed).to_vec()]
    );
    assert_ne!(after.signers, before.signers);
    assert!(is_good(&world, &before.license) && is_good(&world, &after.license));

    // An answer that is repeated is signed with the key of its time, from memory or from the record.
    for _ in 0..2 {
        let again = answered(&world, &request).await;
        assert_eq!((again.id, again.signers), (before.id, before.signers.clone()));
        world.reopen().await;
    }
    // Until that has ended; then a client refuses what is signed again, and makes a new request (V-013).
    world.clock.advance(366 * DAY);
    assert!(
        !is_good(&world, &before.license),
        "the policy's end, not the signer's"
    );
    assert_eq!(
        ask(&world, &mut device).await.signers[0],
        after.signers[0],
        "renewed, not rolled"
    );
}

#[tokio::test]
async fn an_old_discovery_document_serves_until_the_overlap_is_over() {
    let mut world = World::new().await;
    let mut device = world.device(1).await;
    let old = world.recipient().await;
    let rolled = world.server.roll_key(Purpose::RequestEncryption).await.unwrap();
    let until = world.clock.now().plus(30 * DAY);
    assert_eq!(rolled.before_accepted_until, Some(until.0));
    let new = world.recipient().await;
    assert_ne!(old.digest, new.digest);
    for suite in Suite::ALL {
        assert_ne!(old.key(suite), new.key(suite), "another key of each suite");
    }
    let body = |device: &mut Device, recipient| device.request(recipient, &[KID]);
    for reopened in [false, true] {
        for (recipient, suite) in [(&old, Suite::P256), (&old, Suite::XWing), (&new, Suite::XWing)] {
            let body = body(&mut device, recipient);
            let sealed = device.seal(recipient, suite, &body);
            assert!(world.server.issue(&sealed).await.is_ok(), "{suite:?} {reopened}");
        }
        world.reopen().await;
    }
    world.clock.set(until);
    let last = body(&mut device, &old);
    let last = device.seal(&old, Suite::P256, &last);
    assert!(world.server.issue(&last).await.is_ok());
    world.clock.advance(1);
    assert_eq!(
        world.server.issue(&last).await.unwrap_err().code,
        103,
        "answered before, and too late now"
    );
    let body = device.request(&new, &[KID]);
    let sealed = device.seal(&new, Suite::P256, &body);
    assert!(world.server.issue(&sealed).await.is_ok());
}

#[tokio::test]
async fn a_request_encryption_key_is_destroyed_when_its_overlap_is_over() {
    let mut world = World::new().await;
    let mut device = world.device(1).await;
    let old = asked(&world, &mut device).await;
    world.server.roll_key(Purpose::RequestEncryption).await.unwrap();
    let rows = "SELECT count(*) FROM secrets WHERE name IN ('request-encryption-1', 'request-encryption-2')";
    let sealed: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed FROM secrets WHERE name LIKE 'request-encryption-_'")
            .fetch_all(&world.pool().await)
            .await
            .unwrap();
    assert_eq!(sealed.len(), 2);
    let until = world.clock.now().plus(30 * DAY);
    world.clock.set(until);
    world.server.discovery().await.unwrap();
    world.reopen().await;
    assert_eq!(world.count(rows).await, 2);
    assert!(world.server.issue(&old.sealed).await.is_ok());
    assert!(danger::open_request(&world.server, &old.sealed).await.is_ok());
    let backup = world.home.path().join("backup");
    backup::back_up(&world.dir(), &backup, true, until).await.unwrap();

    world.clock.advance(1);
    assert_eq!(
        world.server.issue(&old.sealed).await.unwrap_err().code,
        103,
        "V-040, before the key is gone"
    );
    // As the server does each minute, or whoever opens the operator.
    world.server.discovery().await.unwrap();
    assert_eq!(world.count(rows).await, 0);
    let events = "SELECT count(*) FROM events WHERE kind = 'key-destroyed' AND subject = 'request-encryption' AND detail = '0'";
    assert_eq!(world.count(events).await, 1);
    let opened = danger::open_request(&world.server, &old.sealed).await;
    assert!(
        matches!(opened, Err(Error::RequestNotOpened(_))),
        "it is not in memory either"
    );
    ask(&world, &mut device).await;

    // A longer overlap brings none back, and nothing is the matter.
    world.server.close().await;
    let database = std::fs::read(world.dir().join("keyward.db")).unwrap();
    for sealed in &sealed {
        let found = database.windows(sealed.len()).any(|window| window == sealed);
        assert!(!found, "the bytes are overwritten");
    }
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, toml.replace("# overlap_days = 30", "overlap_days = 60")).unwrap();
    world.reopen().await;
    assert_eq!(world.server.issue(&old.sealed).await.unwrap_err().code, 103);
    let findings = examine(&world.dir(), KekSource::File, world.clock.now()).await;
    assert!(
        !findings
            .iter()
            .any(|finding| finding.what.contains("was rolled are accepted"))
    );
    let wrong = |finding: &&keyward_license::finding::Finding| {
        finding.standing == Standing::Error && !["listeners", "space"].contains(&finding.about)
    };
    let faults: Vec<_> = findings.iter().filter(wrong).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let rolls = world.server.rolls().await.unwrap();
    assert!(rolls.iter().all(|keys| keys.before.is_empty()));

    // One in a backup stays, and goes when that is opened.
    let restored = world.home.path().join("restored");
    backup::restore(&backup, &restored, None, world.clock.now())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_overlap_is_the_operators_to_say() {
    let mut world = World::new().await;
    let path = world.dir().join("operator.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, toml.replace("# overlap_days = 30", "overlap_days = 2")).unwrap();
    world.reopen().await;
    let old = world.recipient().await;
    world.server.roll_key(Purpose::RequestEncryption).await.unwrap();
    let mut device = world.device(1).await;
    for (days, accepted) in [(2, true), (1, false)] {
        world.clock.advance(days * DAY);
        let body = device.request(&old, &[KID]);
        let sealed = device.seal(&old, Suite::P256, &body);
        assert_eq!(world.server.issue(&sealed).await.is_ok(), accepted);
    }
}

#[tokio::test]
async fn a_key_that_was_rolled_does_not_come_back() {
    let mut world = World::new().await;
    let first = world.recipient().await;
    world.server.roll_key(Purpose::RequestEncryption).await.unwrap();
    world.server.roll_key(Purpose::LicenseServer).await.unwrap();
    let rolled = world.recipient().await;
    // Nobody ran the server until every certificate of both keys had ended.
    world.server.close().await;
    world.clock.advance(800 * DAY);
    world.reopen().await;
    let renewed = world.recipient().await;
    assert_ne!(renewed.digest, rolled.digest);
    for suite in Suite::ALL {
        assert_eq!(renewed.key(suite), rolled.key(suite));
        assert_ne!(renewed.key(suite), first.key(suite));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_while_rolls_come_one_after_the_other() {
    let world = World::new().await;
    let mut requests = Vec::new();
    for seed in 1..=8 {
        let mut device = world.device(seed).await;
        for _ in 0..4 {
            requests.push(asked(&world, &mut device).await.sealed);
        }
    }
    let mut work = tokio::task::JoinSet::new();
    for request in requests {
        let server = world.server.clone();
        work.spawn(async move {
            server.issue(&request).await.unwrap();
            None
        });
    }
    for purpose in [Purpose::LicenseServer, Purpose::RequestEncryption].repeat(3) {
        let server = world.server.clone();
        work.spawn(async move {
            let rolled = server.roll_key(purpose).await.unwrap();
            Some((rolled.what, rolled.number))
        });
    }
    for _ in 0..2 {
        let server = world.server.clone();
        work.spawn(async move {
            server.roll_kek(None).await.unwrap();
            None
        });
    }
    let mut rolled: Vec<_> = work.join_all().await.into_iter().flatten().collect();
    rolled.sort();
    let expected = ["license-server", "request-encryption"].into_iter();
    let expected = expected.flat_map(|what| (1..=3).map(move |number| (what.to_owned(), number)));
    assert_eq!(rolled, expected.collect::<Vec<_>>());
    let licenses = world.count("SELECT count(*) FROM issued").await;
    assert_eq!(licenses, 32);
    let mut device = world.device(20).await;
    ask(&world, &mut device).await;
}

#[tokio::test]
async fn a_roll_is_announced_before_it_is_signed_and_stands_in_the_record() {
    let world = World::new().await;
    world.server.roll_key(Purpose::LicenseServer).await.unwrap();
    let announced: Vec<(String, String)> =
        sqlx::query_as("SELECT kind, subject FROM events ORDER BY id DESC LIMIT 2")
            .fetch_all(&world.pool().await)
            .await
            .unwrap();
    let event = |kind: &str| (kind.to_owned(), "license-server".to_owned());
    assert_eq!(announced, [event("key-rolled"), event("certificate-announced")]);
    let (_, newest) = (
        0,
        world
            .count("SELECT count(*) FROM secrets WHERE name = 'license-server/1'")
            .await,
    );
    assert_eq!(newest, 1);
    let refused = world.server.roll_key(Purpose::DeviceAuthority).await.unwrap_err();
    assert!(
        matches!(refused, Error::RolledBy("device-authority")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_device_of_before_and_one_of_after_are_the_same_to_a_roll() {
    let world = World::new().await;
    let mut old = world.device(1).await;
    for purpose in [Purpose::LicenseServer, Purpose::RequestEncryption] {
        world.server.roll_key(purpose).await.unwrap();
    }
    let mut new = world.device(2).await;
    let mut enrolled: Vec<DeviceId> = Vec::new();
    for device in [&mut old, &mut new] {
        assert!(is_good(&world, &ask(&world, device).await.license));
        enrolled.push(device.id());
    }
    assert_eq!(world.server.devices().await.unwrap().len(), enrolled.len());
}

#[tokio::test]
async fn the_serial_number_that_is_announced_stands_in_the_certificate() {
    let world = World::new().await;
    for purpose in [
        Purpose::LicenseServer,
        Purpose::RequestEncryption,
        Purpose::Receipt,
    ] {
        for _ in 0..4 {
            world.server.roll_key(purpose).await.unwrap();
        }
    }
    let certificates = world.server.certificates().await.unwrap();
    let issued: Vec<_> = certificates.iter().map(|one| hex::encode(&one.serial)).collect();
    let pool = world.pool().await;
    let announced: Vec<String> =
        sqlx::query_scalar("SELECT detail FROM events WHERE kind = 'certificate-announced'")
            .fetch_all(&pool)
            .await
            .unwrap();
    pool.close().await;
    assert!(announced.len() >= 12);
    for serial in announced {
        assert!(issued.contains(&serial), "{serial}");
    }
}
