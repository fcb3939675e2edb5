//! A backup that is made while the server works, and what a restored operator knows.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::common::{Device, KID, NOW, World, denial, ids, pending, read};
use keyward_crypto::{Secret, hpke::Suite};
use keyward_server::{
    Error, Server,
    backup::{RestoredKey, back_up, restore},
    clock::SettableClock,
    doctor::{Standing, examine},
    sealing::{KekSource, KeyEncryptionKey},
};

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn kek(world: &World) -> KeyEncryptionKey {
    KeyEncryptionKey::from_hex(&fs::read_to_string(world.dir().join("kek")).unwrap()).unwrap()
}

/// A world with the operator of its backup in the place of its own, as after a disk was lost.
async fn restored(mut world: World) -> World {
    world.server.close().await;
    let key = kek(&world);
    fs::rename(world.dir(), world.home.path().join("lost")).unwrap();
    let (_, found) = restore(&place(&world), &world.dir(), Some(key), NOW)
        .await
        .unwrap();
    assert_eq!(found, RestoredKey::Given);
    let lost =
        KeyEncryptionKey::from_hex(&fs::read_to_string(world.home.path().join("lost/kek")).unwrap()).unwrap();
    world.server = Server::open(&world.dir(), KekSource::Given(lost), world.clock.clone())
        .await
        .unwrap();
    world
}

fn place(world: &World) -> PathBuf {
    world.home.path().join("backup")
}

#[tokio::test]
async fn a_backup_is_whole_private_and_without_secrets() {
    let world = World::new().await;
    // The server is open, and has written what is in the write-ahead log alone.
    let made = back_up(&world.dir(), &place(&world), false, NOW).await.unwrap();
    assert_eq!(made.operator, world.server.operator());
    assert_eq!(
        names(&place(&world)),
        ["keyward.db", "manifest.json", "operator-profile", "operator.toml"]
    );
    assert_eq!(made.files, ["keyward.db", "operator-profile", "operator.toml"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place(&world)), 0o700);
    for name in names(&place(&world)) {
        assert_eq!(mode(&place(&world).join(&name)), 0o600, "{name}");
    }
    assert!(matches!(
        back_up(&world.dir(), &place(&world), false, NOW).await,
        Err(Error::BackupExists(_))
    ));
    let nowhere = world.home.path().join("nowhere");
    assert!(matches!(
        back_up(&nowhere, &world.home.path().join("other"), false, NOW).await,
        Err(Error::NoOperator(_))
    ));
    assert_eq!(names(world.home.path()), ["backup", "operator"]);
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind = 'backup-made' AND detail = ''")
            .await,
        1
    );
    // Whoever has it without the key has no secret.
    let (_, key) = restore(&place(&world), &nowhere, None, NOW).await.unwrap();
    assert_eq!(key, RestoredKey::Elsewhere);
    let clock = Arc::new(SettableClock::new(NOW));
    let refused = Server::open(&nowhere, KekSource::File, clock).await.unwrap_err();
    assert!(matches!(refused, Error::File { .. }), "{refused}");
}

#[tokio::test]
async fn a_backup_with_secrets_is_the_operator() {
    let world = World::new().await;
    back_up(&world.dir(), &place(&world), true, NOW).await.unwrap();
    assert_eq!(
        names(&place(&world)),
        [
            "kek",
            "keyward.db",
            "manifest.json",
            "operator-profile",
            "operator.toml",
            "root-key.sealed"
        ]
    );
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind = 'backup-made' AND detail = 'with-secrets'")
            .await,
        1
    );
    let to = world.home.path().join("again");
    let (_, key) = restore(&place(&world), &to, None, NOW).await.unwrap();
    assert_eq!(key, RestoredKey::InBackup);
    let server = Server::open(&to, KekSource::File, world.clock.clone())
        .await
        .unwrap();
    assert_eq!(server.operator(), world.server.operator());
    let profile = |dir: &Path| fs::read(dir.join("operator-profile")).unwrap();
    assert_eq!(profile(&to), profile(&world.dir()));
    server.close().await;
    let findings = examine(&to, KekSource::File, NOW).await;
    assert!(
        findings.iter().all(|finding| finding.standing != Standing::Error),
        "{findings:#?}"
    );
}

#[tokio::test]
async fn a_restored_operator_serves_the_same_licenses() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let recipient = world.recipient().await;
    let before = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::XWing, &before);
    let answer = world.server.issue(&sealed).await.unwrap();
    let key = device
        .open(&world, &read(&world, &answer, &pending(&before)).results[0])
        .1;
    back_up(&world.dir(), &place(&world), false, NOW).await.unwrap();

    let world = restored(world).await;
    let repeated = world.server.issue(&sealed).await.unwrap();
    let [given, repeated] = [&answer, &repeated].map(|answer| read(&world, answer, &pending(&before)));
    assert_eq!(
        ids(&world, &given),
        ids(&world, &repeated),
        "the same request gets the same licenses"
    );
    let again = device.request(&recipient, &[KID]);
    let response = device.ask(&world, &again).await.unwrap();
    assert_eq!(device.open(&world, &response.results[0]).1, key);
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind = 'operator-restored'")
            .await,
        1
    );
}

/// What an old backup does not know, and what becomes of it. docs/operate/license-server.md says the same.
#[tokio::test]
async fn what_was_done_since_the_backup() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let mut revoked = world.device(2).await;
    let token = world.token().await;
    back_up(&world.dir(), &place(&world), false, NOW).await.unwrap();

    // Since then: a store moved on, a request was answered, a device was revoked, one enrolled.
    let recipient = world.recipient().await;
    device.store.generation = 50;
    let since = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::XWing, &since);
    let first = world.server.issue(&sealed).await.unwrap();
    world.server.revoke_device(revoked.id()).await.unwrap();
    let mut newcomer = Device::new(3, &Suite::ALL);
    newcomer.enrol(&world, &token).await.unwrap();

    let world = restored(world).await;
    // A device whose generation is ahead is served, and its generation is known again.
    device.store.generation = 51;
    let ahead = device.request(&recipient, &[KID]);
    assert!(
        device.ask(&world, &ahead).await.unwrap().results[0]
            .license
            .is_some()
    );
    device.store.generation = 50;
    let behind = device.request(&recipient, &[KID]);
    assert_eq!(
        device.ask(&world, &behind).await.unwrap_err().name,
        "store-rolled-back"
    );
    device.store.generation = 51;
    // The nonce is forgotten, but a request from before is one of an older store by then.
    assert_eq!(
        world.server.issue(&sealed).await.unwrap_err().name,
        "store-rolled-back"
    );
    assert!(!first.is_empty());
    // The revocation is forgotten: it must be repeated.
    let mine = revoked.request(&recipient, &[KID]);
    assert!(
        revoked.ask(&world, &mine).await.unwrap().results[0]
            .license
            .is_some()
    );
    world.server.revoke_device(revoked.id()).await.unwrap();
    let mine = revoked.request(&recipient, &[KID]);
    assert_eq!(denial(&revoked.ask(&world, &mine).await.unwrap().results[0]), 204);
    // Who enrolled since is told so, and can use the token again.
    let mine = newcomer.request(&recipient, &[KID]);
    assert_eq!(
        newcomer.ask(&world, &mine).await.unwrap_err().name,
        "device-unknown"
    );
    newcomer.enrol(&world, &token).await.unwrap();
    let mine = newcomer.request(&recipient, &[KID]);
    assert!(
        newcomer.ask(&world, &mine).await.unwrap().results[0]
            .license
            .is_some()
    );
}

#[tokio::test]
async fn what_is_not_a_whole_backup_is_refused_and_leaves_nothing() {
    let world = World::new().await;
    back_up(&world.dir(), &place(&world), false, NOW).await.unwrap();
    let other = World::seeded(9).await;
    back_up(&other.dir(), &place(&other), false, NOW).await.unwrap();
    let to = world.home.path().join("to");
    let copy = world.home.path().join("copy");
    let refused = async |change: &dyn Fn(&Path)| {
        fs::create_dir(&copy).unwrap();
        for name in names(&place(&world)) {
            fs::copy(place(&world).join(&name), copy.join(&name)).unwrap();
        }
        change(&copy);
        let refused = restore(&copy, &to, None, NOW).await.unwrap_err();
        fs::remove_dir_all(&copy).unwrap();
        assert!(!refused.hint().is_empty());
        assert_eq!(names(world.home.path()), ["backup", "operator"], "{refused}");
        refused.to_string()
    };
    let manifest = |change: fn(String) -> String| {
        move |copy: &Path| {
            let path = copy.join("manifest.json");
            fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        }
    };
    for (change, why) in [
        (
            &(|copy: &Path| fs::remove_file(copy.join("manifest.json")).unwrap()) as &dyn Fn(&Path),
            "is not a backup",
        ),
        (&manifest(|_| "{}".to_owned()), "is not a backup"),
        (
            &manifest(|text| text.replace("\"keyward_backup\": 1", "\"keyward_backup\": 2")),
            "does not know: 2",
        ),
        (
            &manifest(|text| text.replace("\"operator.toml\"", "\"../operator.toml\"")),
            "is no file of an operator",
        ),
        (
            &manifest(|text| text.replace("\"operator.toml\"", "\"kek\"")),
            "operator.toml is not in it",
        ),
        (
            &(|copy: &Path| fs::write(copy.join("operator.toml"), "name = 1").unwrap()),
            "operator.toml is not what was backed up",
        ),
        (
            &(|copy: &Path| {
                let path = copy.join("keyward.db");
                let mut bytes = fs::read(&path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(path, bytes).unwrap();
            }),
            "keyward.db is not what was backed up",
        ),
        (
            &(|copy: &Path| fs::remove_file(copy.join("operator-profile")).unwrap()),
            "cannot read",
        ),
        (
            // Another operator's database, with a manifest that says so.
            &(|copy: &Path| {
                for name in ["keyward.db", "manifest.json"] {
                    fs::copy(place(&other).join(name), copy.join(name)).unwrap();
                }
                let ours = fs::read_to_string(place(&world).join("manifest.json")).unwrap();
                let theirs = fs::read_to_string(copy.join("manifest.json")).unwrap();
                let mut ours: serde_json::Value = serde_json::from_str(&ours).unwrap();
                let theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
                ours["files"]["keyward.db"] = theirs["files"]["keyward.db"].clone();
                fs::write(copy.join("manifest.json"), ours.to_string()).unwrap();
            }),
            "keyward.db is another operator's",
        ),
    ] {
        let said = refused(change).await;
        assert!(said.contains(why), "{said}: {why}");
    }
    let wrong = KeyEncryptionKey::new(Secret::new([1; 32]));
    assert!(matches!(
        restore(&place(&world), &to, Some(wrong), NOW).await,
        Err(Error::WrongKek)
    ));
    assert!(matches!(
        restore(&place(&world), &world.dir(), None, NOW).await,
        Err(Error::OperatorExists(_))
    ));
    assert_eq!(names(world.home.path()), ["backup", "operator"]);
}

#[tokio::test]
async fn a_backup_leaves_the_schema_as_it_is_and_takes_no_damaged_database() {
    let world = World::new().await;
    world.server.close().await;
    world.sql("DELETE FROM _sqlx_migrations WHERE version >= 3").await;
    back_up(&world.dir(), &place(&world), false, NOW).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place(&world).join("keyward.db"));
    let copied = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let schema: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&copied)
        .await
        .unwrap();
    assert_eq!(schema, 2);
    world.sql("PRAGMA foreign_keys = OFF; INSERT INTO entitlements (account, policy, granted_at) VALUES (404, 'x', 1)").await;
    let to = world.home.path().join("again");
    let refused = back_up(&world.dir(), &to, false, NOW).await.unwrap_err();
    assert!(matches!(refused, Error::Damaged(_)), "{refused}");
    assert_eq!(names(world.home.path()), ["backup", "operator"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_falls_between_two_commits() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let recipient = world.recipient().await;
    let (backing, answering) = (place(&world), world.server.clone());
    let mut requests: Vec<_> = (0..40)
        .map(|_| {
            let body = device.request(&recipient, &[KID]);
            device.seal(&recipient, Suite::P256, &body)
        })
        .collect();
    for request in requests.split_off(35) {
        answering.issue(&request).await.unwrap();
    }
    let work = tokio::spawn(async move {
        for request in requests {
            answering.issue(&request).await.unwrap();
        }
    });
    back_up(&world.dir(), &backing, false, NOW).await.unwrap();
    work.await.unwrap();
    let world = restored(world).await;
    // Every license stands with its answer.
    let licenses = world.count("SELECT count(*) FROM issued").await;
    assert_eq!(world.count("SELECT count(*) FROM answers").await, licenses);
    assert!((5..=40).contains(&licenses), "{licenses}");
}
