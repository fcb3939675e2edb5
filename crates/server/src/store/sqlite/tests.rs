//! Opening a database, and what one that is damaged, in use or half up to date comes to.

use core::time::Duration;

use sqlx::Connection;

use super::{
    examination::{Examination, Schema},
    *,
};
use crate::{
    common::{NOW, World},
    error::DatabaseFault,
    fail_points::journal::Journal,
};

fn empty() -> (tempfile::TempDir, std::path::PathBuf, config::Database) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyward.db");
    std::fs::write(&path, []).unwrap();
    let settings = config::Config::from_toml(config::SAMPLE).unwrap().database;
    (dir, path, settings)
}

/// A database as the first schema made it, with a row in each table that a later one changes.
async fn of_the_first_schema(path: &Path, settings: &config::Database) {
    let mut db = options(path, settings).connect().await.unwrap();
    let mut first = sqlx::migrate!("migrations/sqlite");
    first.migrations.to_mut().truncate(1);
    first.run_direct(None, &mut db, false).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO certificates VALUES (4, 'device-authority', x'aa', 10, 1), (7, 'license-server', x'bb', 11, 2);
         INSERT INTO accounts VALUES (1, 'alice', 1);
         INSERT INTO devices VALUES (zeroblob(32), 1, 2000, 'm', 'n', 5, 6);
         INSERT INTO enrolment_tokens VALUES (zeroblob(32), 1, 2000, 'm', 'n', 1, 9, zeroblob(32), 5);
         INSERT INTO device_certificates VALUES
             (zeroblob(16), zeroblob(32), zeroblob(32), x'a0', 5, 6, x'cc', 5);
         INSERT INTO seeds VALUES (1, x'5e', 1);
         INSERT INTO keys VALUES (zeroblob(16), 3, 1, NULL, zeroblob(32), 1);
         INSERT INTO answers VALUES (3, zeroblob(32), zeroblob(16), zeroblob(32), x'80', 7, NULL);
         INSERT INTO issued VALUES (9, zeroblob(16), 3, zeroblob(16), 'default', 1, x'b0', x'5a');",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_database_of_the_first_schema_goes_on_as_one_of_devices() {
    let (_dir, path, settings) = empty();
    of_the_first_schema(&path, &settings).await;
    Store::open(&path, &settings).await.unwrap().close().await;

    let mut db = options(&path, &settings).connect().await.unwrap();
    let certificates: Vec<(i64, String, Vec<u8>, i64, i64)> =
        sqlx::query_as("SELECT id, purpose, der, not_after, created_at FROM certificates ORDER BY id")
            .fetch_all(&mut db)
            .await
            .unwrap();
    assert_eq!(
        certificates,
        [
            (4, "device-authority".to_owned(), vec![0xaa], 10, 1),
            (7, "license-server".to_owned(), vec![0xbb], 11, 2)
        ]
    );
    let roles: (String, i64, String, i64) = sqlx::query_as(
        "SELECT d.role, d.revoked_at, t.role, t.used_at FROM devices d JOIN enrolment_tokens t ON t.used_by = d.id",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(roles, ("device".to_owned(), 6, "device".to_owned(), 5));
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut db).await;
    assert!(dangling.unwrap().is_empty());
    // It was revoked before there were lists.
    let listed: (String, String, i64, i64) =
        sqlx::query_as("SELECT hex(serial), authority, not_after, revoked_at FROM revoked_certificates")
            .fetch_one(&mut db)
            .await
            .unwrap();
    let serial = hex::encode(crate::operator::serial_number([0; 16]));
    assert_eq!(listed, (serial, "device-authority".to_owned(), 6, 6));
    let refused = sqlx::query("UPDATE devices SET role = 'packager'")
        .execute(&mut db)
        .await;
    assert!(refused.unwrap_err().to_string().contains("a key keeps its role"));
    let packagers = "INSERT INTO certificates (id, purpose, der, not_after, created_at)
                     VALUES (8, 'packager-authority', x'dd', 12, 3)";
    sqlx::query(packagers).execute(&mut db).await.unwrap();
}

/// Licenses that were found by their ids are found by their answers, and an answer has each once.
#[tokio::test]
async fn licenses_of_a_schema_with_an_index_of_ids_stay_as_they_are() {
    let (_dir, path, settings) = empty();
    let mut db = options(&path, &settings).connect().await.unwrap();
    let mut earlier = sqlx::migrate!("migrations/sqlite");
    earlier.migrations.to_mut().truncate(8);
    earlier.run_direct(None, &mut db, false).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO accounts VALUES (1, 'alice', 1);
         INSERT INTO devices (id, account, security_level, maker, model, enrolled_at)
             VALUES (zeroblob(32), 1, 2000, 'm', 'n', 5);
         INSERT INTO seeds VALUES (1, x'5e', 1);
         INSERT INTO keys VALUES (zeroblob(16), 3, 1, NULL, zeroblob(32), 1, NULL);
         INSERT INTO answers (id, device, nonce, request, results, answered_at)
             VALUES (3, zeroblob(32), zeroblob(16), zeroblob(32), x'80', 7);
         INSERT INTO issued VALUES (9, zeroblob(16), 3, zeroblob(16), 'default', 1, x'b0', x'5a');",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    Store::open(&path, &settings).await.unwrap().close().await;

    let mut db = options(&path, &settings).connect().await.unwrap();
    type Row = (i64, Vec<u8>, i64, Vec<u8>, String, i64, Vec<u8>, Vec<u8>);
    let kept: Row = sqlx::query_as("SELECT * FROM issued")
        .fetch_one(&mut db)
        .await
        .unwrap();
    let zeros = vec![0; 16];
    assert_eq!(
        kept,
        (
            9,
            zeros.clone(),
            3,
            zeros,
            "default".to_owned(),
            1,
            vec![0xb0],
            vec![0x5a]
        )
    );
    let again = "INSERT INTO issued (license, answer, kid, policy, policy_version, body, sealed)
                 SELECT license, answer, kid, policy, policy_version, body, sealed FROM issued";
    let refused = sqlx::query(again).execute(&mut db).await.unwrap_err().to_string();
    assert!(refused.contains("UNIQUE"), "{refused}");
    let unknown = "INSERT INTO issued (license, answer, kid, policy, policy_version, body, sealed)
                   SELECT randomblob(16), answer, randomblob(16), policy, policy_version, body, sealed FROM issued";
    let refused = sqlx::query(unknown)
        .execute(&mut db)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("a license names a registered key id"),
        "{refused}"
    );
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut db).await;
    assert!(dangling.unwrap().is_empty());
}

/// A track that was registered before there were crypto periods is one of content without them.
#[tokio::test]
async fn tracks_of_a_schema_without_periods_keep_their_keys() {
    let (_dir, path, settings) = empty();
    let mut db = options(&path, &settings).connect().await.unwrap();
    let mut earlier = sqlx::migrate!("migrations/sqlite");
    earlier.migrations.to_mut().truncate(7);
    earlier.run_direct(None, &mut db, false).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO seeds VALUES (1, x'5e', 1);
         INSERT INTO keys VALUES (zeroblob(16), 3, 1, NULL, zeroblob(32), 1, NULL);
         INSERT INTO tracks VALUES ('film', 'video', 3, zeroblob(16), 5);",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    Store::open(&path, &settings).await.unwrap().close().await;

    let mut db = options(&path, &settings).connect().await.unwrap();
    let track: (String, i64, String, i64, Vec<u8>, i64) = sqlx::query_as("SELECT * FROM tracks")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(track, ("film".into(), -1, "video".into(), 3, vec![0; 16], 5));
    let refused = sqlx::query("UPDATE tracks SET period = 0").execute(&mut db).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("a track keeps its key id")
    );
    let space: String = sqlx::query_scalar("SELECT space FROM key_ids")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(space, "content");
}

#[tokio::test]
async fn a_schema_that_was_brought_half_up_to_date_is_brought_there_whatever_is_left() {
    let (dir, path, settings) = empty();
    of_the_first_schema(&path, &settings).await;
    let store = Store::open(&path, &settings).await.unwrap();
    let journal = Journal::of(dir.path());
    assert!(
        journal.commits().len() > 3,
        "a commit for each migration at least"
    );
    for (how, log) in journal.all_broken() {
        let left = journal.with_log(&log);
        let path = left.path().join("keyward.db");
        Store::open(&path, &settings).await.unwrap().close().await;
        let examined = Examination::of(&path).await.unwrap();
        assert_eq!(examined.schema, Schema::Current, "{how}");
        assert!(examined.faults.is_empty(), "{how}: {:?}", examined.faults);
        let mut db = options(&path, &settings).connect().await.unwrap();
        let kept: (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM certificates WHERE purpose = 'license-server' AND der = x'bb'),
                    (SELECT count(*) FROM devices WHERE role = 'device' AND revoked_at = 6),
                    (SELECT count(*) FROM device_certificates WHERE der = x'cc'),
                    (SELECT count(*) FROM issued WHERE id = 9 AND answer = 3 AND body = x'b0' AND sealed = x'5a')",
        )
        .fetch_one(&mut db)
        .await
        .unwrap();
        assert_eq!(kept, (1, 1, 1, 1), "{how}");
        db.close().await.unwrap();
    }
    store.close().await;
}

#[tokio::test]
async fn a_schema_is_not_changed_under_a_server_of_an_earlier_version() {
    let (dir, path, settings) = empty();
    of_the_first_schema(&path, &settings).await;
    let serving = Serving::begin(dir.path()).unwrap();
    let refused = Store::open(&path, &settings).await.err().unwrap();
    assert!(matches!(refused, Error::EarlierServes(_)), "{refused}");
    assert_eq!(Examination::of(&path).await.unwrap().schema, Schema::Earlier);
    drop(serving);
    let store = Store::open(&path, &settings).await.unwrap();
    assert_eq!(Examination::of(&path).await.unwrap().schema, Schema::Current);

    // Beside a server of this version there is nothing to change.
    let _serving = Serving::begin(dir.path()).unwrap();
    Store::open(&path, &settings).await.unwrap().close().await;
    store.close().await;
}

/// The most pages that the writer's database may have.
async fn limit(store: &Store, pages: Option<i64>) {
    let limited = store.writer.run(Write::Act, move |db| {
        let now: i64 = db.value("PRAGMA page_count", [])?;
        let statement = format!("PRAGMA max_page_count = {}", pages.unwrap_or(now));
        db.value::<i64>(&statement, [])?;
        Ok::<_, Error>(())
    });
    limited.await.unwrap();
}

/// As on a full disk, without one: no page can be added to the file.
#[tokio::test]
async fn a_full_database_takes_no_writes_until_there_is_room_and_keeps_what_it_has() {
    let (_dir, path, settings) = empty();
    let store = Store::open(&path, &settings).await.unwrap();
    limit(&store, None).await;
    let mut written = 0;
    // Until nothing fits between what is there.
    for length in [3000, 1000, 300, 100, 30, 10, 3, 0] {
        let refused = loop {
            match store.record_act("act", "x".repeat(length), Timestamp(0)).await {
                Ok(()) => written += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.database_fault(), Some(DatabaseFault::Full), "{refused}");
        assert!(refused.is_passing());
    }
    assert!(!store.is_ready().await);
    limit(&store, Some(1000)).await;
    assert!(store.is_ready().await, "without being opened again");
    store
        .record_act("act", "x".repeat(3000), Timestamp(0))
        .await
        .unwrap();
    store.close().await;
    let mut db = options(&path, &settings).connect().await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!(kept, written + 1);
}

/// A long list goes on for as long as its rows are read.
#[tokio::test]
async fn whoever_asks_for_no_list_does_not_wait_for_lists() {
    let world = World::new().await;
    let (server, store) = (&world.server, world.server.store());
    let service = server.create_service_token("tv").await.unwrap();
    let mut lists = Vec::new();
    for _ in 0..LISTS {
        lists.push(store.lists.acquire().await.unwrap());
    }
    let unhindered = async {
        let named = server.authenticate_service(service.expose()).await.unwrap();
        assert_eq!(named.as_deref(), Some("tv"));
        let administrator = server.authenticate_admin(&world.admin_token).await.unwrap();
        assert!(administrator.is_some());
        server.inner().reload_identity(NOW).await.unwrap();
        store.root_certificate().await.unwrap()
    };
    let root = tokio::time::timeout(Duration::from_secs(20), unhindered).await;
    assert_eq!(root.unwrap(), world.anchor().der());
}

#[tokio::test]
async fn a_database_of_a_later_version_is_not_touched() {
    let (_dir, path, settings) = empty();
    Store::open(&path, &settings).await.unwrap().close().await;
    let mut db = options(&path, &settings).connect().await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', 0, TRUE, x'00', 0)")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    let refused = Store::open(&path, &settings).await.err().unwrap();
    assert!(matches!(refused, Error::Migration(_)), "{refused}");
    assert!(
        refused
            .to_string()
            .starts_with("the database is not as this version of keyward knows it: ")
    );
    assert!(
        refused
            .hint()
            .starts_with("use the version of keyward that wrote it")
    );
}

#[tokio::test]
async fn without_its_writer_the_database_is_not_ready() {
    let (_dir, path, settings) = empty();
    let store = Store::open(&path, &settings).await.unwrap();
    assert!(store.is_ready().await);
    store.writer.stop().await;
    assert!(!store.is_ready().await);
}
