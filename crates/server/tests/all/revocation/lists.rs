//! The lists themselves: numbered, renewed, pushed, carried.

use keyward_license::{
    revocation::{ListBounds, ListId, MAX_PUSHED, RevocationLists, RevocationListsFile, UnknownStatus},
    time::Timestamp,
};
use keyward_server::{backup, revocation::NewModel};

use super::*;
use crate::common::NOW;

fn held(list: &PublishedList) -> ListHeld {
    ListHeld {
        list: list.id.clone(),
        number: list.number,
    }
}

fn company(maker: &str) -> NewModel {
    NewModel {
        maker: maker.into(),
        model: None,
        robustness_below: None,
        since: None,
        reason: None,
    }
}

async fn names(world: &World) -> Vec<&'static str> {
    let lists = world.server.revocation_lists().await.unwrap();
    lists.iter().map(|list| list.name).collect()
}

#[tokio::test]
async fn lists_are_signed_anew_in_the_middle_of_their_life_and_not_before() {
    let mut world = World::new().await;
    assert_eq!(
        names(&world).await,
        ["device-authority", "packager-authority", "server-authority"]
    );
    let first = world.server.revocation_lists().await.unwrap();
    for list in &first {
        assert_eq!((list.issued, list.next_update.0), (NOW, NOW.0 + 7 * DAY));
        assert_eq!(list.id, ListId::of(&certificates(&world, &list.list)).unwrap());
    }
    world.clock.advance(7 * DAY / 2 - 1);
    assert_eq!(world.server.revocation_lists().await.unwrap(), first);
    // Whoever opens the operator next goes on with them.
    world.reopen().await;
    assert_eq!(world.server.revocation_lists().await.unwrap(), first);
    world.clock.advance(1);
    let second = world.server.revocation_lists().await.unwrap();
    for (first, second) in first.iter().zip(&second) {
        assert!(
            second.number > first.number && second.issued > first.issued,
            "{}",
            first.name
        );
    }
    // One of each is kept.
    assert_eq!(world.count("SELECT count(*) FROM revocation_lists").await, 3);
    // A clock that is set back a little makes none older.
    let ahead = keyward_license::revocation::ISSUED_AHEAD;
    world.clock.set(Timestamp(second[0].issued.0 - ahead));
    let serial = world.device(1).await.certificate().serial().to_vec();
    let revoke = || world.server.revoke_certificate(&serial, None, None);
    revoke().await.unwrap();
    let third = list(&world, "device-authority").await;
    assert!(third.number > second[0].number && third.issued == second[0].issued);
    // What a clock far ahead made nobody takes: it keeps no other from being made.
    world.clock.set(NOW);
    let fourth = world.server.revocation_lists().await.unwrap();
    for (second, fourth) in second.iter().zip(&fourth) {
        assert!(fourth.number > second.number && fourth.issued == NOW);
    }
    revoke().await.unwrap();
    let fifth = list(&world, "device-authority").await;
    assert!(fifth.number > fourth[0].number && fifth.issued == NOW);
}

/// A number is used up when it is announced: what is signed under it stands in the database.
#[tokio::test]
async fn a_number_that_was_announced_is_not_used_again() {
    let mut world = World::new().await;
    let before = list(&world, "server-authority").await;
    world
        .sql(
            "INSERT INTO revocation_lists (authority, number, generation, this_update, next_update)
             SELECT authority, number + 5, 0, this_update, next_update FROM revocation_lists",
        )
        .await;
    world.reopen().await;
    assert_eq!(
        list(&world, "server-authority").await,
        before,
        "the newest that was signed"
    );
    world.clock.advance(4 * DAY);
    let after = list(&world, "server-authority").await;
    assert!(after.number > before.number);
    let numbers = world
        .count("SELECT count(DISTINCT number) FROM revocation_lists WHERE list IS NOT NULL")
        .await;
    assert!(numbers >= 1);
    assert_eq!(
        world
            .count("SELECT count(*) FROM revocation_lists WHERE list IS NULL")
            .await,
        0
    );
}

#[tokio::test]
async fn newer_lists_than_the_device_holds_are_pushed_the_smallest_first() {
    let world = World::new().await;
    let mut device = world.device(2).await;
    let of_server = list(&world, "server-authority").await;
    let pushed = ask(&world, &mut device).await.revocation_lists.unwrap();
    assert_eq!(
        pushed,
        core::slice::from_ref(&of_server.list),
        "the lists of parties are of no use to it"
    );
    let response = ask_holding(&world, &mut device, vec![held(&of_server)]).await;
    assert_eq!(response.revocation_lists, None);

    world.server.revoke_model(company("Acme")).await.unwrap();
    world
        .server
        .import_revocation_list(&root_list(&world, 1, &[]))
        .await
        .unwrap();
    let response = ask_holding(&world, &mut device, vec![held(&of_server)]).await;
    let own = list(&world, "own").await;
    let of_root = list(&world, "root").await;
    assert_eq!(
        response.revocation_lists.unwrap(),
        [of_root.list.clone(), own.list.clone()]
    );
    let all = vec![held(&of_server), held(&own), held(&of_root)];
    let response = ask_holding(&world, &mut device, all.clone()).await;
    assert_eq!(response.revocation_lists, None);
    // Whoever holds a later one, from a server that is gone, keeps it.
    let mut ahead = all.clone();
    for one in &mut ahead {
        one.number = keyward_license::revocation::ListNumber::new([1; 20]);
    }
    assert_eq!(
        ask_holding(&world, &mut device, ahead).await.revocation_lists,
        None
    );
    world.server.revoke_model(company("Other")).await.unwrap();
    let pushed = ask_holding(&world, &mut device, all)
        .await
        .revocation_lists
        .unwrap();
    assert_eq!(pushed, [list(&world, "own").await.list]);
    assert!(pushed.len() <= MAX_PUSHED);
}

/// The same request again brings the lists of now, where it is signed again.
#[tokio::test]
async fn a_repeated_answer_brings_the_lists_of_now() {
    let mut world = World::new().await;
    let mut device = world.device(3).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let first = device.ask(&world, &body).await.unwrap();
    world.server.revoke_model(company("Acme")).await.unwrap();
    world.reopen().await;
    let again = device.ask(&world, &body).await.unwrap();
    assert_eq!(first.revocation_lists.unwrap().len(), 1);
    assert_eq!(again.revocation_lists.unwrap().len(), 2);
}

#[tokio::test]
async fn a_long_list_goes_to_those_that_it_names_and_beyond_a_mebibyte_to_nobody() {
    let world = World::new().await;
    let mut device = world.device(4).await;
    world.server.revoke_device(device.id()).await.unwrap();
    world
        .sql(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO revoked_certificates (serial, authority, not_after, revoked_at)
             SELECT unhex(printf('41%030X', i)), 'device-authority', 9000000000000, 1900000000000 FROM n",
        )
        .await;
    world
        .sql("UPDATE revocation_generations SET generation = generation + 1 WHERE list = 'device-authority'")
        .await;
    let long = list(&world, "device-authority").await;
    assert_eq!(long.entries, 20_001);
    assert!(
        (600_000..1 << 20).contains(&long.list.size()),
        "{}",
        long.list.size()
    );
    let response = ask(&world, &mut device).await;
    assert!(response.revocation_lists.unwrap().contains(&long.list));
    world
        .sql(
            "WITH RECURSIVE n (i) AS (SELECT 20001 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
             INSERT INTO revoked_certificates (serial, authority, not_after, revoked_at)
             SELECT unhex(printf('41%030X', i)), 'device-authority', 9000000000000, 1900000000000 FROM n",
        )
        .await;
    world
        .sql("UPDATE revocation_generations SET generation = generation + 1 WHERE list = 'device-authority'")
        .await;
    let response = ask(&world, &mut device).await;
    assert_eq!(denial(&response.results[0]), 204);
    assert_eq!(response.revocation_lists.unwrap().len(), 1);
}

/// A device whose certificate has ended needs no list any more; a signer's is named for good.
#[tokio::test]
async fn ended_certificates_of_parties_leave_their_list() {
    let world = World::new().await;
    let device = world.device(5).await;
    world.server.revoke_device(device.id()).await.unwrap();
    assert_eq!(list(&world, "device-authority").await.entries, 1);
    let left = device.certificate().not_after() - NOW.0;
    world.clock.advance(left + 1);
    assert_eq!(
        list(&world, "device-authority").await.entries,
        1,
        "once more after its end"
    );
    world.clock.advance(8 * DAY);
    assert_eq!(list(&world, "device-authority").await.entries, 0);
}

#[tokio::test]
async fn the_file_holds_what_a_client_needs() {
    let world = World::new().await;
    let device = world.device(6).await;
    world.server.revoke_device(device.id()).await.unwrap();
    world.server.revoke_model(company("Acme")).await.unwrap();
    world
        .server
        .import_revocation_list(&root_list(&world, 1, &[]))
        .await
        .unwrap();
    let file = RevocationListsFile::parse(&world.server.revocation_bundle().await.unwrap()).unwrap();
    assert_eq!(file.operator, world.server.operator());
    let mut lists = RevocationLists::new(world.anchor(), ListBounds::CLIENT, UnknownStatus::Refuse);
    let (_, faults) = lists.adopt_all(&file.lists, Some(NOW));
    assert_eq!(faults, []);
    assert_eq!(lists.states().len(), 4);
    assert!(lists.check_device(&device.chain, Some(NOW)).is_err());
}

#[tokio::test]
async fn v_041_where_a_current_list_is_required_its_absence_refuses_for_the_time_being() {
    let mut world = World::new().await;
    let mut device = world.device(7).await;
    let path = world.dir().join("operator.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let strict = config.replace("[revocation]\n", "[revocation]\nexpired = \"refuse\"\n");
    assert_ne!(strict, config);
    std::fs::write(&path, strict).unwrap();
    world.reopen().await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let refused = device.ask(&world, &body).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.status),
        (502, 503),
        "there is none of the root"
    );
    let mut packager = world.packager(8, &keyward_crypto::hpke::Suite::ALL).await;
    let asked = asking::request(&mut packager, &recipient, "film", asking::media());
    let sealed = asking::sealed(&mut packager, &recipient, &asked);
    assert_eq!(world.server.package(&sealed).await.unwrap_err().code, 502);

    world
        .server
        .import_revocation_list(&root_list(&world, 1, &[]))
        .await
        .unwrap();
    device.ask(&world, &body).await.unwrap();
    world.server.package(&sealed).await.unwrap();
    world.clock.advance(90 * DAY - 1);
    assert_eq!(told(&world, &mut device).await, 0);
    world.clock.advance(1);
    let body = device.request(&recipient, &[KID]);
    assert_eq!(device.ask(&world, &body).await.unwrap_err().code, 502);
    world
        .server
        .import_revocation_list(&root_list(&world, 2, &[]))
        .await
        .unwrap();
    device.ask(&world, &body).await.unwrap();
}

/// Otherwise what a list names stays refused after its time, and the rest is accepted.
#[tokio::test]
async fn v_041_an_expired_list_of_the_root_names_whom_it_named() {
    let world = World::new().await;
    let mut device = world.device(9).await;
    let authority = Certificate::parse(&device.chain[1]).unwrap();
    let entry = Revoked {
        serial: authority.serial(),
        at: world.clock.now().0,
        invalid_since: None,
        reason: None,
    };
    world
        .server
        .import_revocation_list(&root_list(&world, 1, &[entry]))
        .await
        .unwrap();
    world.clock.advance(91 * DAY);
    assert_eq!(told(&world, &mut device).await, 204);
}

/// What was signed since the backup has a number that the restored server does not use again.
#[tokio::test]
async fn numbers_do_not_go_back_where_a_backup_is_restored() {
    let world = World::new().await;
    list(&world, "device-authority").await;
    let (to, restored) = (
        world.home.path().join("backup"),
        world.home.path().join("restored"),
    );
    backup::back_up(&world.dir(), &to, true, world.clock.now())
        .await
        .unwrap();
    for seed in 10..14 {
        let device = world.device(seed).await;
        world.clock.advance(60);
        world.server.revoke_device(device.id()).await.unwrap();
        list(&world, "device-authority").await;
    }
    let last = list(&world, "device-authority").await;
    backup::restore(&to, &restored, None, world.clock.now())
        .await
        .unwrap();
    let server = keyward_server::Server::open(&restored, KekSource::File, world.clock.clone())
        .await
        .unwrap();
    world.clock.advance(4 * DAY);
    let lists = server.revocation_lists().await.unwrap();
    assert!(
        lists[0].number > last.number,
        "{} {}",
        lists[0].number,
        last.number
    );
    server.close().await;
}
