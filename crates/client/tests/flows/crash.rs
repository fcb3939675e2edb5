//! Kill points: whatever step a process dies at, the next one finds a whole store and gets to the end.

use keyward_client::{ClientError, host::HostProfile, session::Acquisition};
use keyward_crypto::{hpke::Suite, x509::Role};
use keyward_license::license::LicenseBody;
use keyward_testkit::pki::{DAY, NOW};

use crate::world::{KIND_LICENSE, Stop, TestClient, Trace, World, kid, opens, wanted};

/// Opens, enrols, takes lists in, acquires and acknowledges, opens content; `None` if it was stopped on the way.
fn whole_run(world: &mut World) -> Option<()> {
    let epoch = world.device.store.epoch().map(<[u8]>::to_vec);
    let client = world.drive_open(epoch)?.expect("the store opens");
    let mut client = client.on_host(telling());
    let profile = world.profile();
    world
        .drive(client.enrol(profile, "token".into()))?
        .expect("it enrols");
    let lists = world.server.lists_file(vec![world.server.list(None, 1, &[])]);
    world
        .drive(client.install_lists(lists))?
        .expect("it takes lists in");
    world.drive(client.acquire(wanted(&[1])))?.expect("it acquires");
    world.drive(client.acknowledge())?.expect("it acknowledges");
    // Time has gone on, so that the floor is due.
    world.clock(3_600);
    let opened = world.drive(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))?;
    assert!(opens(&opened.expect("it opens").bound[0], 1));
    let removed = world.drive(client.remove_licenses(kid(1)))?;
    assert!(removed.expect("it removes") >= 1);
    let opened = world.drive(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))?;
    assert!(opens(&opened.expect("it opens again").bound[0], 1));
    let told = world.drive(client.acknowledge())?.expect("it acknowledges");
    assert_eq!(told.waiting, 0, "{:?}", told.failed);
    world.drive(client.renew_store_key())?.expect("it renews");
    let opened = world.drive(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))?;
    assert!(opens(&opened.expect("it opens under the new key").bound[0], 1));
    Some(())
}

fn telling() -> HostProfile {
    HostProfile {
        acknowledges: true,
        ..HostProfile::default()
    }
}

fn world() -> World {
    let mut world = World::with_suites(&[Suite::P256]);
    world.server.terms.end = Some(NOW.plus(DAY));
    world.server.wants_acknowledgements = true;
    world.server.lists = vec![world.server.list(Some(Role::LicenseServer), 1, &[])];
    world
}

/// What must hold of any store that a crash leaves.
fn check(world: &mut World, client: &TestClient) {
    let listed = world.run(client.licenses()).expect("the index is whole");
    assert_eq!(
        listed.len(),
        world.device.count(KIND_LICENSE),
        "every record is reachable"
    );
    assert!(listed.len() <= 2);
    if world.server.wants_acknowledgements {
        check_trust(world, client, &listed);
    }
    world.run(client.find(kid(1))).expect("it can be searched");
}

fn check_trust(world: &mut World, client: &TestClient, listed: &[LicenseBody]) {
    // V-065: what was installed was acknowledged, or waits to be.
    let told = |license| {
        let mut told = world.server.acknowledged.iter().flat_map(|told| &told.licenses);
        told.any(|told| told.license == Some(license))
    };
    let untold = listed.iter().filter(|license| !told(license.id)).count();
    assert!(u64::try_from(untold).unwrap() <= client.waiting_acknowledgements());
    // V-064: a response's lists are there with its licenses, or not at all.
    let trust = world.run(client.trust()).unwrap();
    let lists = trust.first().map_or(0, |known| known.lists.len());
    assert!(listed.is_empty() || lists == 2, "{lists}");
}

#[test]
fn a_process_may_die_before_any_step() {
    die_at_every_step(Stop::Before);
}

#[test]
fn a_process_may_die_between_the_two_writes_of_any_commit() {
    die_at_every_step(Stop::Between);
}

#[test]
fn a_process_may_die_after_any_step() {
    die_at_every_step(Stop::After);
}

fn die_at_every_step(stop: Stop) {
    let mut whole = world();
    whole_run(&mut whole).unwrap();
    let steps = whole.trace.clone();
    assert!(
        steps.iter().filter(|step| **step == Trace::Commit).count() >= 7,
        "{steps:?}"
    );
    for (at, step) in steps.iter().enumerate() {
        if stop == Stop::Between && *step != Trace::Commit {
            continue;
        }
        let mut world = world();
        world.stop = Some((at, stop));
        assert_eq!(whole_run(&mut world), None, "stopped {stop:?} step {at}");
        world.stop = None;
        let client = world
            .open()
            .unwrap_or_else(|error| panic!("{stop:?} step {at}, {step:?}: {error}"));
        check(&mut world, &client);
        drop(client);
        world.clock(0);
        whole_run(&mut world).expect("the next process gets to the end");
        let client = world.open().unwrap();
        check(&mut world, &client);
    }
}

/// Runs a request and ends it between the two writes of its commit.
fn die_between(world: &mut World, client: &mut TestClient) {
    let store = world.device.store.clone();
    // A trial run in a copy of the world says where the commit is.
    world.trace.clear();
    let mut trial = world.open().unwrap();
    world.trace.clear();
    world.run(trial.request(wanted(&[1]))).unwrap();
    let commit = world
        .trace
        .iter()
        .position(|step| *step == Trace::Commit)
        .unwrap();
    world.device.store = store;
    world.trace.clear();
    world.stop = Some((commit, Stop::Between));
    assert!(world.drive(client.request(wanted(&[1]))).is_none());
    assert_eq!(world.trace.last(), Some(&Trace::Commit));
    world.stop = None;
}

#[test]
fn two_crashes_between_the_writes_do_not_look_like_a_store_that_was_set_back() {
    let mut world = world();
    drop(world.enrol_new());
    for _ in 0..3 {
        let mut client = world.open().expect("a crash is no roll-back");
        die_between(&mut world, &mut client);
    }
    let client = world.open().unwrap();
    check(&mut world, &client);
}

#[test]
fn a_client_whose_commit_was_not_confirmed_goes_no_further_until_it_is_opened_again() {
    let (mut world, mut client) = World::enrolled();
    world.server.terms.end = Some(NOW.plus(DAY));
    world.run(client.acquire(wanted(&[1]))).unwrap();
    die_between(&mut world, &mut client);
    // The records are ahead of what this client knows: to commit on top would lose the index.
    world.clock(3_600);
    let refused = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never));
    assert!(
        matches!(refused, Err(ClientError::CommitUnconfirmed)),
        "{refused:?}"
    );
    assert!(matches!(
        world.run(client.request(wanted(&[1]))),
        Err(ClientError::CommitUnconfirmed)
    ));
    assert!(matches!(
        world.run(client.licenses()),
        Err(ClientError::CommitUnconfirmed)
    ));
    drop(client);
    let mut client = world.open().unwrap();
    check(&mut world, &client);
    world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
        .unwrap();
}
