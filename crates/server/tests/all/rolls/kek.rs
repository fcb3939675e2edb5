//! The key-encryption key. That the server may die at any point of it is proven where every such point is listed.

use std::{fs, sync::Arc};

use keyward_crypto::{
    ContentKey, Secret,
    exchange::{Algorithm, Operation},
};
use keyward_license::{ids::Kid, license::KeyType};
use keyward_server::{
    Error, Server, backup,
    doctor::{Standing, examine},
    key_exchange::{Caller, Item, NewKey, Output},
    roots::NewRoot,
    sealing::KekSource,
};
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::common::{NOW, options};

const IMPORTED: Kid = Kid::new([0x5a; 16]);
const METERS: Kid = Kid::new([0x4d; 16]);
const SEASON: Kid = Kid::new([0x5e; 16]);

/// Something of everything that is sealed.
async fn fill(server: &Server) {
    let key = ContentKey::new([0x5a; 16]);
    server.import_key(IMPORTED, KeyType::CencCtr, &key).await.unwrap();
    let new = NewKey {
        kid: Some(METERS),
        ..NewKey::new("meters", Algorithm::HmacSha256, Operation::Verify)
    };
    server.create_exchange_key(new).await.unwrap();
    server.rotate_exchange_key(METERS).await.unwrap();
    let root = NewRoot {
        kid: Some(SEASON),
        ..NewRoot::new("season")
    };
    server.create_root(root).await.unwrap();
    server.roll_seed().await.unwrap();
}

async fn signature(server: &Server) -> Vec<u8> {
    let items = vec![Item::Sign {
        data: b"12 kWh".to_vec(),
    }];
    let signed = server.exchange_perform(&Caller::operator(), METERS, items).await;
    match signed.unwrap().remove(0) {
        Ok(Output::Signed(signature)) => signature,
        other => panic!("{other:?}"),
    }
}

async fn faults(world: &World, kek: KekSource) -> Vec<String> {
    let found = examine(&world.dir(), kek, world.clock.now()).await;
    let errors = found
        .into_iter()
        .filter(|finding| finding.standing == Standing::Error);
    let of_sealed = errors.filter(|finding| !["listeners", "space"].contains(&finding.about));
    of_sealed.map(|finding| finding.what).collect()
}

fn file(world: &World) -> String {
    fs::read_to_string(world.dir().join("kek")).unwrap()
}

/// A key-encryption key of before.
fn kept(world: &World, number: u32) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = world.dir().join(format!("kek.old-{number}"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::read_to_string(path).unwrap()
}

fn given(byte: u8) -> KeyEncryptionKey {
    KeyEncryptionKey::new(Secret::new([byte; 32]))
}

#[tokio::test]
async fn everything_sealed_is_sealed_anew_and_is_what_it_was() {
    let mut world = World::new().await;
    fill(&world.server).await;
    let mut device = world.device(1).await;
    let (old, before) = (file(&world), signature(&world.server).await);
    let sealed = sealed(&world).await;
    let revision = world.count("SELECT revision FROM exchange_keys").await;

    let rolled = world.server.roll_kek(None).await.unwrap();
    assert!(rolled.in_file && rolled.root_key_resealed);
    let anew = self::sealed(&world).await;
    assert_eq!(
        (sealed.len(), rolled.resealed),
        (anew.len(), u64::try_from(anew.len()).unwrap())
    );
    let as_before = sealed.iter().filter(|value| anew.contains(value));
    assert_eq!(as_before.count(), 0, "no value is sealed as it was");
    assert_eq!(world.count("SELECT revision FROM exchange_keys").await, revision);
    assert_ne!(file(&world), old);
    assert!(!world.dir().join("kek.next").exists() && !world.dir().join("root-key.next").exists());
    assert_eq!(rolled.old_in.as_deref(), Some("kek.old-1"));
    assert_eq!(kept(&world, 1), old);

    for reopened in [false, true] {
        assert_eq!(signature(&world.server).await, before, "{reopened}");
        let key = world.server.content_key_for_packaging(IMPORTED).await.unwrap();
        assert_eq!(key.key.expose(), &[0x5a; 16]);
        ask(&world, &mut device).await;
        world
            .server
            .create_root(NewRoot::new(format!("after {reopened}")))
            .await
            .unwrap();
        world.reopen().await;
    }
    root_key(&world);
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
    // The old key opens nothing any more.
    world.server.close().await;
    let old = KekSource::Given(KeyEncryptionKey::from_hex(&old).unwrap());
    let opened = Server::open(&world.dir(), old, world.clock.clone()).await;
    assert!(matches!(opened, Err(Error::WrongKek)));
}

/// Every value of the database that is sealed under the key-encryption key. A column that is added to the schema is
/// either one of these or sealed for somebody else.
async fn sealed(world: &World) -> Vec<Vec<u8>> {
    const FOR_OTHERS: [&str; 3] = ["issued", "packaged_leaves", "packagings"];
    let pool = world.pool().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c
         WHERE m.type = 'table' AND c.name LIKE '%sealed%' ORDER BY m.name",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut values = Vec::new();
    for table in tables.iter().filter(|table| !FOR_OTHERS.contains(&&table[..])) {
        let all = sqlx::AssertSqlSafe(format!("SELECT sealed FROM {table} WHERE sealed IS NOT NULL"));
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(all).fetch_all(&pool).await.unwrap();
        assert!(!rows.is_empty(), "the test has something of {table}");
        values.extend(rows);
    }
    pool.close().await;
    values
}

#[tokio::test]
async fn a_key_from_elsewhere_is_followed_by_one_from_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("operator");
    let rng = &mut rand_chacha::ChaCha20Rng::from_seed([1; 32]);
    let made = operator::init(&dir, options(KekSource::Given(given(1))), NOW, rng)
        .await
        .unwrap();
    let clock = Arc::new(keyward_server::clock::SettableClock::new(NOW));
    let server = Server::open(&dir, KekSource::Given(given(1)), clock.clone())
        .await
        .unwrap();
    let refused = server.roll_kek(None).await.unwrap_err();
    assert!(matches!(refused, Error::KekGiven { in_file: false }), "{refused}");
    let refused = server.roll_kek(Some(given(1))).await.unwrap_err();
    assert!(matches!(refused, Error::KekInUse), "{refused}");
    let rolled = server.roll_kek(Some(given(2))).await.unwrap();
    assert!(!rolled.in_file && rolled.root_key_resealed);
    assert!(!dir.join("kek").exists() && !dir.join("kek.next").exists());
    assert!(server.discovery().await.is_ok());
    server.close().await;
    let refused = Server::open(&dir, KekSource::Given(given(1)), clock.clone()).await;
    assert!(matches!(refused, Err(Error::WrongKek)));
    Server::open(&dir, KekSource::Given(given(2)), clock)
        .await
        .unwrap()
        .close()
        .await;
    operator::read_root_key(&dir, &made.operator, &given(2)).unwrap();
    // One whose key lies in a file takes none.
    let world = World::new().await;
    let refused = world.server.roll_kek(Some(given(3))).await.unwrap_err();
    assert!(matches!(refused, Error::KekGiven { in_file: true }), "{refused}");
}

#[tokio::test]
async fn who_opened_the_operator_before_stores_nothing_under_the_old_key() {
    let world = World::new().await;
    fill(&world.server).await;
    let other = Server::open(&world.dir(), KekSource::File, world.clock.clone())
        .await
        .unwrap();
    world.server.roll_kek(None).await.unwrap();
    let key = ContentKey::new([0x11; 16]);
    let refused = [
        other
            .import_key(Kid::new([9; 16]), KeyType::File, &key)
            .await
            .unwrap_err(),
        other.create_root(NewRoot::new("late")).await.unwrap_err(),
        other.rotate_exchange_key(METERS).await.unwrap_err(),
        other.roll_seed().await.unwrap_err(),
    ];
    for refused in refused {
        assert!(matches!(refused, Error::KekRolled), "{refused}");
    }
    // What seals nothing goes on.
    other.grant("bob", None, "default", None).await.unwrap();
    // Who takes the right to serve takes the key that there is.
    let right = other.right_to_serve().await.unwrap();
    other
        .import_key(Kid::new([9; 16]), KeyType::File, &key)
        .await
        .unwrap();
    drop(right);
    other.close().await;
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_during_a_roll_opens_after_it() {
    let world = World::new().await;
    let mut work = tokio::task::JoinSet::new();
    for number in 0..40_u8 {
        let server = world.server.clone();
        work.spawn(async move {
            let kid = Kid::new([0x80 | number; 16]);
            match number % 4 {
                0 => server
                    .import_key(kid, KeyType::File, &ContentKey::new([number + 1; 16]))
                    .await
                    .unwrap(),
                1 => drop(
                    server
                        .create_root(NewRoot::new(format!("root {number}")))
                        .await
                        .unwrap(),
                ),
                2 => drop(server.roll_seed().await.unwrap()),
                _ => drop(server.roll_kek(None).await.unwrap()),
            }
        });
    }
    work.join_all().await;
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
    assert_eq!(world.count("SELECT count(*) FROM seeds").await, 11);
}

/// As of a client that hangs up: the request is dropped where it stands.
#[tokio::test]
async fn a_roll_that_nobody_waits_for_comes_to_its_end() {
    let mut world = World::new().await;
    fill(&world.server).await;
    let before = signature(&world.server).await;
    let dir = world.dir();
    let old = file(&world);
    let resealing = async {
        while !dir.join("kek.next").exists() && fs::read_to_string(dir.join("kek")).unwrap() == old {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        rolled = world.server.roll_kek(None) => drop(rolled.unwrap()),
        () = resealing => {}
    }
    // Repeated, it finds the one before at its end.
    world.server.roll_kek(None).await.unwrap();
    assert!(!dir.join("kek.next").exists() && !dir.join("root-key.next").exists());
    assert_eq!(
        world
            .count("SELECT count(*) FROM events WHERE kind = 'key-rolled' AND subject = 'kek'")
            .await,
        2
    );
    for _ in 0..2 {
        assert_eq!(signature(&world.server).await, before);
        world.reopen().await;
    }
    root_key(&world);
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
}

/// As of a failure after the commit: the database is ahead of the server.
#[tokio::test]
async fn a_roll_follows_one_that_the_server_did_not_hear_of() {
    let mut world = World::new().await;
    fill(&world.server).await;
    let dir = world.dir();
    let (old, root_before) = (file(&world), fs::read(dir.join("root-key.sealed")).unwrap());
    let other = Server::open(&dir, KekSource::File, world.clock.clone())
        .await
        .unwrap();
    other.roll_kek(None).await.unwrap();
    other.close().await;
    fs::rename(dir.join("kek"), dir.join("kek.next")).unwrap();
    fs::rename(dir.join("root-key.sealed"), dir.join("root-key.next")).unwrap();
    for (name, bytes) in [("kek", old.as_bytes()), ("root-key.sealed", &root_before)] {
        fs::write(dir.join(name), bytes).unwrap();
        let private = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
        fs::set_permissions(dir.join(name), private).unwrap();
    }
    let rolled = world.server.roll_kek(None).await.unwrap();
    assert!(rolled.root_key_resealed && file(&world) != old);
    signature(&world.server).await;
    world.reopen().await;
    root_key(&world);
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
}

#[tokio::test]
async fn a_roll_that_came_to_no_end_is_put_away_by_who_serves() {
    let mut world = World::new().await;
    let (old, dir) = (file(&world), world.dir());
    let leave = |next: &str, root: &[u8]| {
        let write = |name: &str, bytes: &[u8]| {
            fs::write(dir.join(name), bytes).unwrap();
            let private = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
            fs::set_permissions(dir.join(name), private).unwrap();
        };
        write("kek.next", next.as_bytes());
        write("root-key.next", root);
    };
    // Before the database was changed: the old one stays, whoever opens it.
    leave(&"7".repeat(64), b"half");
    world.reopen().await;
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
    assert!(
        dir.join("kek.next").exists(),
        "opening puts nothing away: a roll may be under way"
    );
    drop(world.server.right_to_serve().await.unwrap());
    assert!(!dir.join("kek.next").exists() && !dir.join("root-key.next").exists());
    assert_eq!(file(&world), old);
    root_key(&world);

    // After it, before the files were put in place.
    let root_before = fs::read(dir.join("root-key.sealed")).unwrap();
    world.server.roll_kek(None).await.unwrap();
    let (new, root_after) = (file(&world), fs::read(dir.join("root-key.sealed")).unwrap());
    fs::write(dir.join("kek"), &old).unwrap();
    fs::write(dir.join("root-key.sealed"), root_before).unwrap();
    leave(&new, &root_after);
    world.reopen().await;
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
    // A backup that is made then has the key that its database needs.
    let place = world.home.path().join("backup");
    backup::back_up(&dir, &place, true, world.clock.now())
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(place.join("kek")).unwrap(), new);
    let restored = world.home.path().join("restored");
    backup::restore(&place, &restored, None, world.clock.now())
        .await
        .unwrap();
    let kek = KeyEncryptionKey::from_hex(&new).unwrap();
    operator::read_root_key(&restored, &world.server.operator(), &kek).unwrap();
    drop(world.server.right_to_serve().await.unwrap());
    assert_eq!(file(&world), new);
    root_key(&world);
}

#[tokio::test]
async fn a_backup_of_before_opens_with_the_key_of_before() {
    let world = World::new().await;
    let place = world.home.path().join("backup");
    backup::back_up(&world.dir(), &place, false, world.clock.now())
        .await
        .unwrap();
    let old = file(&world);
    world.server.roll_kek(None).await.unwrap();
    let restored = world.home.path().join("restored");
    let now = world.clock.now();
    let new = KeyEncryptionKey::from_hex(&file(&world)).unwrap();
    let refused = backup::restore(&place, &restored, Some(new), now)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::WrongKek));
    let old = KeyEncryptionKey::from_hex(&old).unwrap();
    backup::restore(&place, &restored, Some(old), now).await.unwrap();
}

/// A roll to a key from elsewhere that another process brought to its end: the same key again goes on with it, and no
/// other does.
#[tokio::test]
async fn a_roll_to_a_key_from_elsewhere_follows_one_that_the_server_did_not_hear_of() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("operator");
    let rng = &mut rand_chacha::ChaCha20Rng::from_seed([1; 32]);
    let made = operator::init(&dir, options(KekSource::Given(given(1))), NOW, rng)
        .await
        .unwrap();
    let clock = Arc::new(keyward_server::clock::SettableClock::new(NOW));
    let open = async || {
        Server::open(&dir, KekSource::Given(given(1)), clock.clone())
            .await
            .unwrap()
    };
    let (server, other) = (open().await, open().await);
    let root_before = fs::read(dir.join("root-key.sealed")).unwrap();
    other.roll_kek(Some(given(2))).await.unwrap();
    other.close().await;
    // It died before the root's key was put in its place.
    fs::rename(dir.join("root-key.sealed"), dir.join("root-key.next")).unwrap();
    fs::write(dir.join("root-key.sealed"), root_before).unwrap();
    let private = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(dir.join("root-key.sealed"), private).unwrap();

    let refused = server.roll_kek(Some(given(3))).await.unwrap_err();
    assert!(matches!(refused, Error::WrongKek), "{refused}");
    let key = ContentKey::new([0x5a; 16]);
    let import = || server.import_key(IMPORTED, KeyType::CencCtr, &key);
    assert!(matches!(import().await.unwrap_err(), Error::KekRolled));
    let followed = server.roll_kek(Some(given(2))).await.unwrap();
    assert_eq!(
        (followed.resealed, followed.in_file, followed.root_key_resealed),
        (0, false, true)
    );
    import().await.unwrap();
    assert!(server.discovery().await.is_ok());
    assert!(!dir.join("root-key.next").exists());
    operator::read_root_key(&dir, &made.operator, &given(2)).unwrap();
    server.close().await;
}

/// Of what cannot be sealed anew nothing is: the old key goes on, and the roll is taken when the damage is mended.
#[tokio::test]
async fn a_roll_that_cannot_seal_everything_anew_changes_nothing() {
    let mut world = World::new().await;
    fill(&world.server).await;
    let (old, before) = (file(&world), signature(&world.server).await);
    let sealed = sealed(&world).await;
    world
        .sql("CREATE TABLE kept AS SELECT number, sealed FROM seeds WHERE number = 1")
        .await;
    world
        .sql("UPDATE seeds SET sealed = zeroblob(length(sealed)) WHERE number = 1")
        .await;
    let refused = world.server.roll_kek(None).await.unwrap_err();
    assert!(matches!(refused, Error::Damaged(_)), "{refused}");
    assert_eq!(file(&world), old);
    world
        .sql("UPDATE seeds SET sealed = (SELECT sealed FROM kept) WHERE number = 1")
        .await;
    world.sql("DROP TABLE kept").await;
    assert_eq!(self::sealed(&world).await, sealed, "every value is as it was");
    // The server works on with what it had, and so does who opens it next.
    for name in ["one", "two"] {
        world.server.create_root(NewRoot::new(name)).await.unwrap();
        assert_eq!(signature(&world.server).await, before);
        world.reopen().await;
    }
    root_key(&world);
    world.server.roll_kek(None).await.unwrap();
    assert_ne!(file(&world), old);
    assert_eq!(signature(&world.server).await, before);
    root_key(&world);
    assert_eq!(faults(&world, KekSource::File).await, [""; 0]);
}

/// The root's private key was moved elsewhere, and no roll reaches it: what opens it stays.
#[tokio::test]
async fn the_key_that_the_root_key_elsewhere_is_sealed_under_is_kept() {
    let world = World::new().await;
    let (dir, safe) = (world.dir(), world.home.path().join("safe"));
    fs::rename(dir.join("root-key.sealed"), &safe).unwrap();
    let first = file(&world);
    let rolled = world.server.roll_kek(None).await.unwrap();
    assert!(!rolled.root_key_resealed);
    let second = file(&world);
    world.server.roll_kek(None).await.unwrap();
    assert_eq!([kept(&world, 1), kept(&world, 2)], [first.clone(), second]);
    let old = KeyEncryptionKey::from_hex(&kept(&world, 1)).unwrap();
    operator::read_root_key_file(&safe, &world.server.operator(), &old).unwrap();

    let found = examine(&dir, KekSource::File, world.clock.now()).await;
    let told = found
        .iter()
        .find(|finding| finding.what.contains("kek.old-1, kek.old-2"));
    assert_eq!(told.unwrap().standing, Standing::Warning);
    for name in ["kek.old-1", "kek.old-2"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    let found = examine(&dir, KekSource::File, world.clock.now()).await;
    assert!(!found.iter().any(|finding| finding.what.contains("kek.old")));
}
