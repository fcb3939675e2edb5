//! What the doctor says of client directories.

use std::fs;

use keyward_client::{flow::Moment, session::Acquisition, store::StoreLimits};
use keyward_client_native::{
    Clock, NativeClient, NoTransport, Options,
    doctor::{Finding, Standing, examine, examine_with, examine_with_clock},
};
use keyward_license::time::Timestamp;
use keyward_testkit::{
    fake_server::FakeServer,
    pki::{DAY, NOW},
};

use crate::world::{World, kid, open_offline, wanted};

/// A clock that stands at one time, or was never set.
struct At(Option<Timestamp>);

impl Clock for At {
    fn moment(&self) -> Moment {
        Moment {
            utc: self.0,
            monotonic: 0,
        }
    }
}

fn at(world: &World, now: Timestamp) -> Vec<Finding> {
    examine_with_clock(&world.folder(), Box::new(At(Some(now))))
}

/// Standing and subject of what is not as it should be.
fn bad(findings: &[Finding]) -> Vec<(Standing, &'static str)> {
    let bad = findings
        .iter()
        .filter(|finding| finding.standing != Standing::Good);
    bad.map(|finding| {
        assert!(!finding.hint.is_empty(), "{finding:?}");
        (finding.standing, finding.about)
    })
    .collect()
}

#[test]
fn a_store_that_is_nearly_full() {
    let world = World::licensed();
    let with_room_for = |licenses| {
        let limits = StoreLimits {
            licenses,
            ..StoreLimits::default()
        };
        let options = Options {
            clock: Box::new(At(Some(NOW))),
            limits,
            ..Options::default()
        };
        examine_with(&world.folder(), options)
    };
    assert_eq!(bad(&with_room_for(2)), []);
    let findings = with_room_for(1);
    assert_eq!(bad(&findings), [(Standing::Warning, "room")]);
    let about_room = findings.iter().find(|finding| finding.about == "room");
    assert_eq!(
        about_room.unwrap().what,
        "the license store is nearly full: this client may hold 1 licenses"
    );
}

#[test]
fn a_client_that_is_well() {
    let world = World::licensed();
    let findings = at(&world, NOW);
    assert_eq!(bad(&findings), []);
    let words: Vec<_> = findings.iter().map(|finding| &finding.what[..]).collect();
    assert_eq!(
        words[1],
        "the license store is whole: 1 licenses, of which 0 have ended"
    );
    assert!(words[3].starts_with("enrolled with"), "{words:?}");
    let later = at(&world, NOW.plus(2 * DAY));
    assert!(later[1].what.ends_with("of which 1 have ended"), "{later:?}");
}

#[test]
fn nothing_is_made_where_nothing_is() {
    let world = World::new();
    assert_eq!(bad(&examine(&world.folder())), [(Standing::Error, "files")]);
    assert!(!world.folder().exists());
    drop(open_offline(&world.folder()).unwrap());
    assert_eq!(bad(&at(&world, NOW)), [(Standing::Warning, "enrolment")]);
}

#[test]
fn an_enrolments_end_is_told_a_month_ahead() {
    let world = World::licensed();
    let client = open_offline(&world.folder()).unwrap();
    let ends = client
        .enrolments()
        .next()
        .unwrap()
        .certificate()
        .unwrap()
        .not_after();
    drop(client);
    let judged = |now: u64| {
        let found = at(&world, Timestamp(now));
        found
            .into_iter()
            .find(|finding| finding.about == "enrolment")
            .unwrap()
    };
    assert_eq!(judged(ends - 30 * DAY).standing, Standing::Good);
    assert_eq!(judged(ends - 30 * DAY + 1).standing, Standing::Warning);
    assert_eq!(judged(ends).standing, Standing::Warning);
    let ended = judged(ends + 1);
    assert_eq!(ended.standing, Standing::Error);
    assert!(ended.hint.contains("enrol again"));
}

#[test]
fn a_clock_behind_what_was_seen() {
    let world = World::licensed();
    let floor = open_offline(&world.folder()).unwrap().clock_floor();
    assert_eq!(bad(&at(&world, floor.minus(300))), []);
    let findings = at(&world, floor.minus(301));
    assert_eq!(bad(&findings), [(Standing::Error, "clock")]);
    let clock = |findings: &[Finding]| {
        findings
            .iter()
            .find(|finding| finding.about == "clock")
            .unwrap()
            .what
            .clone()
    };
    assert!(clock(&findings).contains("a time that a license server stated"));
    // A clock of this machine that was ahead is told from that.
    let ahead = Box::new(At(Some(floor.plus(10_000))));
    let mut client = NativeClient::open_with_clock(&world.folder(), Box::new(NoTransport), ahead).unwrap();
    client
        .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
        .unwrap();
    drop(client);
    let findings = at(&world, floor);
    assert_eq!(bad(&findings), [(Standing::Error, "clock")]);
    assert!(clock(&findings).contains("a time that was seen"));
    let unset = examine_with_clock(&world.folder(), Box::new(At(None)));
    assert_eq!(bad(&unset), [(Standing::Error, "clock")]);
}

#[test]
fn an_operator_whose_word_on_the_time_is_waited_for() {
    let world = World::licensed();
    let ahead = Box::new(At(Some(NOW.plus(10_000))));
    let mut client = NativeClient::open_with_clock(&world.folder(), Box::new(NoTransport), ahead).unwrap();
    client
        .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
        .unwrap();
    drop(client);
    let own = world.server.replace(FakeServer::new([66; 32]));
    world.enrol(&mut world.open().unwrap());
    let findings = at(&world, NOW);
    assert_eq!(bad(&findings), [(Standing::Warning, "clock")]);
    let waits = |finding: &Finding| finding.what.contains("until its own has told the time");
    assert_eq!(findings.iter().filter(|finding| waits(finding)).count(), 1);
    world.server.replace(own);
    world.enrol(&mut world.open().unwrap());
    assert_eq!(bad(&at(&world, NOW)), []);
}

#[test]
fn a_store_that_does_not_open_or_is_in_use() {
    let world = World::licensed();
    let client = open_offline(&world.folder()).unwrap();
    assert_eq!(bad(&at(&world, NOW)), [(Standing::Warning, "store")]);
    drop(client);
    fs::remove_file(world.folder().join("licenses.epoch")).unwrap();
    let findings = at(&world, NOW);
    assert_eq!(bad(&findings), [(Standing::Error, "store")]);
}

#[cfg(unix)]
#[test]
fn files_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::licensed();
    let secret = world.folder().join("device.secret");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o644)).unwrap();
    let findings = at(&world, NOW);
    assert_eq!(bad(&findings), [(Standing::Warning, "files")]);
    assert!(findings[0].what.ends_with("device.secret"), "{findings:?}");
}
