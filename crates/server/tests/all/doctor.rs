//! An operator that is well, and one that is not, in each way that the doctor knows.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::common::{NOW, World, options};
use keyward_crypto::Secret;
use keyward_license::time::Timestamp;
use keyward_server::{
    doctor::{Finding, Standing, examine},
    operator,
    rolls::Purpose,
    sealing::{KekSource, KeyEncryptionKey},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use tokio::net::TcpListener;

const DAY: u64 = 86_400;

/// A world whose listeners are on ports that are free, with the root key moved away.
async fn well() -> World {
    let world = World::new().await;
    let ports = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let [public, admin] = ports
        .each_ref()
        .map(|port| port.local_addr().unwrap().to_string());
    drop(ports);
    set(
        &world,
        "listen = \"127.0.0.1:8470\"",
        &format!("listen = \"{public}\""),
    );
    set(
        &world,
        "admin_listen = \"127.0.0.1:8471\"",
        &format!("admin_listen = \"{admin}\""),
    );
    fs::remove_file(world.dir().join("root-key.sealed")).unwrap();
    world
}

fn set(world: &World, old: &str, new: &str) {
    let path = world.dir().join("operator.toml");
    let toml = fs::read_to_string(&path).unwrap();
    assert!(toml.lines().any(|line| line == old), "{old}");
    let lines: Vec<_> = toml
        .lines()
        .map(|line| if line == old { new } else { line })
        .collect();
    fs::write(path, lines.join("\n")).unwrap();
}

async fn examined(world: &World, now: Timestamp) -> Vec<Finding> {
    examine(&world.dir(), KekSource::File, now).await
}

/// What is not as it should be: standing, about, and the words.
fn bad(findings: &[Finding]) -> Vec<(Standing, &'static str, &str)> {
    let bad = findings
        .iter()
        .filter(|finding| finding.standing != Standing::Good);
    bad.map(|finding| {
        assert!(!finding.hint.is_empty(), "{finding:?}");
        assert!(
            !finding.what.contains('\n') && !finding.hint.contains('\n'),
            "{finding:?}"
        );
        (finding.standing, finding.about, &finding.what[..])
    })
    .collect()
}

fn only<'a>(findings: &'a [Finding], standing: Standing, about: &str, words: &str) -> &'a Finding {
    let found = bad(findings);
    let [(is, of, what)] = found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!((is, of), (standing, about));
    assert!(what.contains(words), "{what}");
    findings
        .iter()
        .find(|finding| finding.standing != Standing::Good)
        .unwrap()
}

#[tokio::test]
async fn an_operator_that_is_well_is_left_as_it_is() {
    let world = well().await;
    let during = examined(&world, NOW).await;
    assert_eq!(bad(&during), []);
    world.server.close().await;
    let before = fs::read(world.dir().join("keyward.db")).unwrap();
    let findings = examined(&world, NOW).await;
    assert_eq!(bad(&findings), []);
    let mut about: Vec<_> = findings.iter().map(|finding| finding.about).collect();
    about.dedup();
    assert_eq!(
        about,
        [
            "configuration",
            "files",
            "space",
            "database",
            "schema",
            "clock",
            "key",
            "seeds",
            "certificates",
            "profile",
            "listeners"
        ]
    );
    assert_eq!(fs::read(world.dir().join("keyward.db")).unwrap(), before);
}

#[tokio::test]
async fn without_an_operator_there_is_one_finding() {
    let home = tempfile::tempdir().unwrap();
    let findings = examine(home.path(), KekSource::File, NOW).await;
    only(
        &findings,
        Standing::Error,
        "configuration",
        "is not an operator directory",
    );
}

#[tokio::test]
async fn a_wrong_configuration_hides_nothing_else() {
    let world = well().await;
    set(&world, "# minimum_suite = 1", "minimal_suite = 1");
    let findings = examined(&world, NOW).await;
    only(&findings, Standing::Error, "configuration", "minimal_suite");
    assert!(findings.iter().any(|finding| finding.about == "certificates"));
}

#[tokio::test]
async fn files_and_who_may_read_them() {
    let world = well().await;
    let profile = world.dir().join("operator-profile");
    fs::set_permissions(&profile, fs::Permissions::from_mode(0o644)).unwrap();
    only(
        &examined(&world, NOW).await,
        Standing::Warning,
        "files",
        "may read operator-profile",
    );
    fs::remove_file(profile).unwrap();
    let findings = examined(&world, NOW).await;
    assert_eq!(
        bad(&findings).iter().map(|found| found.1).collect::<Vec<_>>(),
        ["files", "profile"]
    );

    let world = World::new().await;
    let findings = examined(&world, NOW).await;
    let root = findings.iter().find(|finding| finding.about == "files").unwrap();
    assert!(
        root.standing == Standing::Warning && root.what.contains("root-key.sealed"),
        "{root:?}"
    );
}

#[tokio::test]
async fn the_key_encryption_key() {
    let world = well().await;
    let wrong = KekSource::Given(KeyEncryptionKey::new(Secret::new([1; 32])));
    let findings = examine(&world.dir(), wrong, NOW).await;
    only(&findings, Standing::Error, "key", "is not the one");
    let kek = world.dir().join("kek");
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o640)).unwrap();
    let findings = examined(&world, NOW).await;
    assert_eq!(
        bad(&findings).iter().map(|found| found.1).collect::<Vec<_>>(),
        ["files", "key"]
    );
    fs::remove_file(kek).unwrap();
    only(
        &examined(&world, NOW).await,
        Standing::Error,
        "key",
        "there is no key-encryption key in",
    );
}

#[tokio::test]
async fn what_is_sealed_must_open() {
    let world = well().await;
    world.sql("UPDATE seeds SET sealed = zeroblob(80)").await;
    only(
        &examined(&world, NOW).await,
        Standing::Error,
        "seeds",
        "do not open: 1",
    );
    world.sql("DELETE FROM secrets WHERE name = 'proof'").await;
    only(&examined(&world, NOW).await, Standing::Error, "key", "is missing");
}

#[tokio::test]
async fn a_damaged_database_is_found() {
    let world = well().await;
    world.server.close().await;
    world
        .sql("PRAGMA foreign_keys = OFF; INSERT INTO entitlements (account, policy, granted_at) VALUES (404, 'x', 1)")
        .await;
    only(
        &examined(&world, NOW).await,
        Standing::Error,
        "database",
        "a row of entitlements names none of accounts",
    );
    let path = world.dir().join("keyward.db");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let findings = examined(&world, NOW).await;
    let found = bad(&findings);
    assert!(
        found
            .iter()
            .all(|found| found.0 == Standing::Error && found.1 == "database"),
        "{found:?}"
    );
    assert!(!found.is_empty());
}

#[tokio::test]
async fn schemas_of_other_versions() {
    let world = well().await;
    world.server.close().await;
    world
        .sql("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 2")
        .await;
    only(
        &examined(&world, NOW).await,
        Standing::Error,
        "schema",
        "later version",
    );
    world.sql("DELETE FROM _sqlx_migrations WHERE version >= 2").await;
    only(
        &examined(&world, NOW).await,
        Standing::Warning,
        "schema",
        "earlier version",
    );
}

#[tokio::test]
async fn ends_are_told_ahead() {
    let mut world = well().await;
    world.server.close().await;
    let dir = world.dir();
    let found = async |days: u64| examine(&dir, KekSource::File, NOW.plus(days * DAY)).await;
    assert_eq!(bad(&found(255).await), []);
    let soon = found(350).await;
    let ends: Vec<_> = bad(&soon)
        .iter()
        .map(|found| (found.0, found.2.to_owned()))
        .collect();
    assert_eq!(
        ends,
        [
            (
                Standing::Warning,
                "license-server ends in 15 days, and should have been renewed".to_owned()
            ),
            (
                Standing::Warning,
                "request-encryption ends in 15 days, and should have been renewed".to_owned()
            ),
            (
                Standing::Warning,
                "receipt ends in 15 days, and should have been renewed".to_owned()
            ),
            (
                Standing::Warning,
                "revocation-list ends in 15 days, and should have been renewed".to_owned()
            ),
        ]
    );
    // A server that runs renews them.
    world.clock.set(NOW.plus(350 * DAY));
    world.reopen().await;
    assert_eq!(bad(&found(350).await), []);
    // Authorities are to be rolled in their last third.
    let authorities = |found: &[Finding]| {
        let told = bad(found)
            .into_iter()
            .filter(|found| found.2.contains("-authority ends in "));
        told.count()
    };
    assert_eq!(authorities(&found(3 * 365).await), 0);
    assert_eq!(authorities(&found(4 * 365).await), 3);
    let late = found(5 * 365).await;
    assert!(
        bad(&late)
            .iter()
            .any(|found| found.2.contains("device-authority")),
        "{late:?}"
    );
    let past = found(11 * 365).await;
    let root = past.iter().find(|found| found.what.starts_with("root has ended"));
    assert_eq!(root.unwrap().standing, Standing::Error);
    let early = examine(&world.dir(), KekSource::File, NOW.minus(2 * DAY)).await;
    assert!(
        early
            .iter()
            .any(|found| found.about == "clock" && found.standing == Standing::Error)
    );
    assert!(
        early
            .iter()
            .any(|found| found.what.starts_with("root is not valid before")),
        "{early:?}"
    );
}

#[tokio::test]
async fn rolls_are_told_and_those_that_came_to_no_end() {
    let world = well().await;
    world.server.roll_key(Purpose::RequestEncryption).await.unwrap();
    let told = |found: &[Finding]| {
        let mut found = found.iter().map(|finding| (finding.standing, &finding.what[..]));
        let overlap = found.find(|found| found.1.contains("key that was rolled are accepted for"));
        overlap.map(|(standing, what)| (standing, what.to_owned()))
    };
    let found = examined(&world, NOW.plus(DAY)).await;
    assert_eq!(bad(&found), []);
    let (standing, what) = told(&found).unwrap();
    assert!(
        standing == Standing::Good && what.ends_with("for 29 days more"),
        "{what}"
    );
    assert_eq!(told(&examined(&world, NOW.plus(31 * DAY)).await), None);

    // Files of a roll of the key-encryption key lie there: the key that is in use is found, and somebody is told.
    let (dir, old) = (world.dir(), fs::read(world.dir().join("kek")).unwrap());
    fs::write(dir.join("kek.next"), "7".repeat(64)).unwrap();
    fs::set_permissions(dir.join("kek.next"), fs::Permissions::from_mode(0o600)).unwrap();
    let found = examined(&world, NOW).await;
    only(
        &found,
        Standing::Warning,
        "files",
        "a roll of the key-encryption key is under way",
    );
    fs::remove_file(dir.join("kek.next")).unwrap();
    world.server.roll_kek(None).await.unwrap();
    let found = examined(&world, NOW).await;
    only(&found, Standing::Warning, "files", "kek.old-1");
    fs::remove_file(dir.join("kek.old-1")).unwrap();
    fs::rename(dir.join("kek"), dir.join("kek.next")).unwrap();
    fs::write(dir.join("kek"), old).unwrap();
    fs::set_permissions(dir.join("kek"), fs::Permissions::from_mode(0o600)).unwrap();
    let found = examined(&world, NOW).await;
    only(&found, Standing::Warning, "files", "came to no end");
}

#[tokio::test]
async fn another_authoritys_certificate_is_not_trusted() {
    let world = well().await;
    let other = World::seeded(9).await;
    let pool = other.pool().await;
    let der: Vec<u8> = sqlx::query_scalar("SELECT der FROM certificates WHERE purpose = 'license-server'")
        .fetch_one(&pool)
        .await
        .unwrap();
    let pool = world.pool().await;
    sqlx::query("UPDATE certificates SET der = ?1 WHERE purpose = 'license-server'")
        .bind(der)
        .execute(&pool)
        .await
        .unwrap();
    only(
        &examined(&world, NOW).await,
        Standing::Error,
        "certificates",
        "license-server is not trusted",
    );
    world
        .sql("DELETE FROM certificates WHERE purpose = 'request-encryption'")
        .await;
    assert!(
        bad(&examined(&world, NOW).await)
            .iter()
            .any(|found| found.2 == "request-encryption is missing")
    );
}

#[tokio::test]
async fn the_profile_follows_the_configuration() {
    let world = well().await;
    set(
        &world,
        "# proxy_urls = []",
        "proxy_urls = [\"https://proxy.example.org\"]",
    );
    let findings = examined(&world, NOW).await;
    let found = only(
        &findings,
        Standing::Warning,
        "profile",
        "https://proxy.example.org",
    );
    assert!(found.hint.contains("keyward admin profile"));
    let mut world = world;
    world.reopen().await;
    operator::renew_profile(&world.dir(), &world.server).unwrap();
    assert_eq!(bad(&examined(&world, NOW).await), []);
}

#[tokio::test]
async fn what_the_configuration_asks_of_the_database() {
    let world = well().await;
    set(&world, "# required = false", "required = true");
    set(&world, "# seed = \"newest\"", "seed = 7");
    let findings = examined(&world, NOW).await;
    let found: Vec<_> = bad(&findings).iter().map(|found| (found.0, found.1)).collect();
    assert_eq!(found, [(Standing::Error, "seeds"), (Standing::Error, "services")]);
    world.server.create_service_token("shop").await.unwrap();
    world.server.revoke_admin_token("init").await.unwrap();
    let findings = examined(&world, NOW).await;
    let found: Vec<_> = bad(&findings).iter().map(|found| (found.0, found.1)).collect();
    assert_eq!(found, [(Standing::Error, "seeds"), (Standing::Warning, "tokens")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_there() {
    let world = well().await;
    let config = operator::read_config(&world.dir()).unwrap();
    let listening = [config.listen, config.admin_listen];

    // Somebody else.
    let stranger = [
        TcpListener::bind(listening[0]).await.unwrap(),
        TcpListener::bind(listening[1]).await.unwrap(),
    ];
    let findings = examined(&world, NOW).await;
    let words: Vec<_> = bad(&findings).iter().map(|found| (found.0, found.1)).collect();
    assert_eq!(
        words,
        [(Standing::Error, "listeners"), (Standing::Error, "listeners")]
    );

    // This operator's own server.
    let [public, admin] = stranger;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = world.server.clone();
    let task = tokio::spawn(async move { server.serve(public, admin, async { drop(stopped.await) }).await });
    let findings = examined(&world, NOW).await;
    assert_eq!(bad(&findings), []);
    let answers: Vec<_> = findings
        .iter()
        .filter(|finding| finding.about == "listeners")
        .collect();
    assert!(
        answers[0].what.contains("is ready") && answers[1].what.contains("administration"),
        "{answers:?}"
    );

    // Another operator, configured for the same addresses.
    let other = world.home.path().join("other");
    let mut taken = options(KekSource::File);
    (taken.listen, taken.admin_listen) = (listening[0].to_string(), listening[1].to_string());
    operator::init(&other, taken, NOW, &mut ChaCha20Rng::from_seed([8; 32]))
        .await
        .unwrap();
    let findings = examine(&other, KekSource::File, NOW).await;
    let words: Vec<_> = bad(&findings).iter().map(|found| found.2.to_owned()).collect();
    assert!(
        words
            .iter()
            .any(|what| what.contains("not by this operator's license server")),
        "{words:?}"
    );
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();

    // Both on one port, and one that is not this machine's.
    let line = |key: &str, address: &str| format!("{key} = \"{address}\"");
    let [listen, admin] = listening.map(|address| address.to_string());
    set(
        &world,
        &line("admin_listen", &admin),
        &line("admin_listen", &listen),
    );
    only(
        &examined(&world, NOW).await,
        Standing::Error,
        "listeners",
        "are both",
    );
    set(
        &world,
        &line("listen", &listen),
        &line("listen", "192.0.2.1:8470"),
    );
    only(
        &examined(&world, NOW).await,
        Standing::Error,
        "listeners",
        "cannot listen on listen 192.0.2.1:8470",
    );
}
