//! The rules while content plays, first plays, outputs, and which of several licenses is used.

use std::{
    cell::{Cell, RefCell},
    io::{BufRead, Cursor, Seek},
    rc::Rc,
};

use keyward_client::{
    ClientError,
    enforce::{Availability, Stop},
    host::{HostProfile, Outputs},
    install::AcquiredKey,
    playback::Standing,
    session::{Acquisition, Opened},
};
use keyward_content::{
    cenc::{Pattern, Scheme},
    media::{KeyError, KeyRing},
};
use keyward_license::{
    ids::LicenseId,
    license::{
        ExplicitRestriction, ExtendedRestriction, ExtendedRight, Flag, HdcpType, KeyType, LicenseBody,
        OutputProtectionLevels, PlayEnabler, Resolution, Right,
    },
    request::{ClockKind, ClockState},
    usage_rules::{
        Action, Connector, Hdcp, HdcpVersion, Output, OutputKind, Refusal, Rule, Understood, Verdict,
    },
};
use keyward_testkit::pki::{DAY, NOW};

use crate::world::{KIND_LICENSE, Stop as Crash, TestClient, Trace, World, kid, opens, wanted};

/// Outputs that a test changes while content plays.
#[derive(Clone, Default)]
struct Screens {
    list: Rc<RefCell<Vec<Output>>>,
    changes: Rc<Cell<u64>>,
}

impl Screens {
    fn show(&self, outputs: &[Output]) {
        *self.list.borrow_mut() = outputs.to_vec();
        self.changes.set(self.changes.get() + 1);
    }
}

impl Outputs for Screens {
    fn list(&self) -> Option<Vec<Output>> {
        Some(self.list.borrow().clone())
    }

    fn changes(&self) -> u64 {
        self.changes.get()
    }
}

fn asking() -> HostProfile {
    HostProfile {
        asks_while_playing: true,
        ..HostProfile::default()
    }
}

/// A client on a host that can do everything, with these outputs.
fn on(world: &mut World, screens: &Screens) -> TestClient {
    world.open().unwrap().on_host(HostProfile {
        outputs: Box::new(screens.clone()),
        states_frames: true,
        ..asking()
    })
}

/// Opens the store anew, as the next process does.
fn restarted(world: &mut World, client: TestClient) -> TestClient {
    drop(client);
    world.open().unwrap().on_host(asking())
}

/// A world whose device has a license for key 1, edited like this.
fn licensed(edit: impl Fn(&mut LicenseBody) + 'static) -> (World, TestClient) {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    acquire(&mut world, &mut client, edit);
    (world, client)
}

/// Acquires a license for key 1, edited like this.
fn acquire(
    world: &mut World,
    client: &mut TestClient,
    edit: impl Fn(&mut LicenseBody) + 'static,
) -> LicenseId {
    world.server.bent.license = Some(Box::new(edit));
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    world.trace.clear();
    match acquired.outcomes[..] {
        [(_, AcquiredKey::Stored(id) | AcquiredKey::InMemory(id))] => id,
        _ => panic!("{acquired:?}"),
    }
}

fn open(world: &mut World, client: &mut TestClient) -> Result<Opened, ClientError> {
    let opened = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))?;
    assert!(opens(&opened.bound[0], 1));
    Ok(opened)
}

fn refusal(world: &mut World, client: &mut TestClient) -> Refusal {
    match open(world, client) {
        Err(ClientError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

fn go_on(world: &mut World, client: &mut TestClient, opened: &mut Opened) -> Standing {
    world.run(client.go_on(opened)).unwrap()
}

/// Lets time pass, on both clocks.
fn pass(world: &mut World, seconds: u64) {
    world.moment.utc = world.moment.utc.map(|utc| utc.plus(seconds));
    world.moment.monotonic += seconds * 1000;
}

fn commits(world: &World) -> usize {
    world.trace.iter().filter(|step| **step == Trace::Commit).count()
}

fn rental(body: &mut LicenseBody) {
    body.end = Some(NOW.plus(30 * DAY));
    body.expiration_after_first_play = Some(2 * DAY);
}

#[test]
fn r_012_the_first_play_is_committed_before_the_key_is_released_and_once() {
    let (mut world, mut client) = licensed(rental);
    world.clock(100);
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(100)));
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(100 + 2 * DAY)));
    assert_eq!(world.trace.last(), Some(&Trace::Commit));
    assert_eq!(commits(&world), 1, "one commit with the floor");
    world.trace.clear();
    world.clock(130);
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(100)));
    assert_eq!(commits(&world), 0);
}

#[test]
fn r_012_a_crash_before_the_commit_releases_nothing_and_one_after_it_has_begun_the_time() {
    for (crash, begun) in [
        (Crash::Before, false),
        (Crash::Between, true),
        (Crash::After, true),
    ] {
        let (mut world, mut client) = licensed(rental);
        world.clock(100);
        open(&mut world, &mut client).unwrap();
        let steps = world.trace.len();
        let (mut world, mut client) = licensed(rental);
        world.clock(100);
        world.stop = Some((steps - 1, crash));
        let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never);
        match world.drive(flow) {
            None => {}
            Some(other) => assert!(crash == Crash::Between && other.is_err(), "{other:?}"),
        }
        world.stop = None;
        let mut client = restarted(&mut world, client);
        world.clock(1_000);
        let first_play = open(&mut world, &mut client).unwrap().bound[0].first_play();
        assert_eq!(
            first_play,
            Some(NOW.plus(if begun { 100 } else { 1_000 })),
            "{crash:?}"
        );
    }
}

#[test]
fn r_012_the_time_after_first_play_outlives_restarts_and_the_clock_going_back() {
    let (mut world, mut client) = licensed(|body| body.expiration_after_first_play = Some(1_000));
    world.clock(200);
    open(&mut world, &mut client).unwrap();
    client = restarted(&mut world, client);
    world.clock(0);
    open(&mut world, &mut client).unwrap();
    world.clock(1_100);
    open(&mut world, &mut client).unwrap();
    client = restarted(&mut world, client);
    world.clock(1_200);
    let over = Refusal::FirstPlayExpired { at: NOW.plus(1_200) };
    assert_eq!(refusal(&mut world, &mut client), over);
    world.clock(1_000);
    assert_eq!(refusal(&mut world, &mut client), over, "it was seen to be over");
    client = restarted(&mut world, client);
    world.clock(500);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
}

#[test]
fn r_012_the_same_license_again_does_not_begin_anew() {
    let fixed = |body: &mut LicenseBody| {
        body.id = LicenseId::new([7; 16]);
        body.expiration_after_first_play = Some(1_000);
    };
    let (mut world, mut client) = licensed(fixed);
    open(&mut world, &mut client).unwrap();
    // The same license in another response: from the server again, or from a file.
    acquire(&mut world, &mut client, fixed);
    world.clock(999);
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].first_play(),
        Some(NOW)
    );
    // Removed, it does not come back at all (V-028).
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    let again = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(again, Err(ClientError::LicenseRefused { .. })),
        "{again:?}"
    );
    client = restarted(&mut world, client);
    assert!(matches!(
        open(&mut world, &mut client),
        Err(ClientError::NoLicense { .. })
    ));
}

#[test]
fn r_012_a_license_that_made_room_for_others_does_not_begin_anew() {
    let fixed = |body: &mut LicenseBody| {
        body.id = LicenseId::new([7; 16]);
        body.expiration_after_first_play = Some(1_000);
    };
    let (mut world, mut client) = licensed(fixed);
    open(&mut world, &mut client).unwrap();
    for number in 1..=8 {
        world.clock(number);
        acquire(&mut world, &mut client, |body| body.end = Some(NOW.plus(100)));
    }
    assert_eq!(world.device.count(KIND_LICENSE), 8);
    world.server.bent.license = Some(Box::new(fixed));
    let again = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(again, Err(ClientError::LicenseRefused { .. })),
        "{again:?}"
    );
}

#[test]
fn r_012_records_from_before_the_first_play_are_noticed() {
    let (mut world, mut client) = licensed(rental);
    // Two copies of the records: as they were, and with one more commit, as a backup program may have found them.
    let before = world.device.store.clone();
    world.run(client.acquire(wanted(&[2]))).unwrap();
    open(&mut world, &mut client).unwrap();
    drop(client);
    let epoch = world.device.store.epoch().map(<[u8]>::to_vec);
    let mut copy = before.clone();
    core::mem::swap(world.device.store.records_mut(), copy.records_mut());
    let set_back = world.open_with_epoch(epoch.clone());
    assert!(
        matches!(set_back, Err(ClientError::StoreRolledBack)),
        "{set_back:?}"
    );
    // The license's record alone.
    core::mem::swap(world.device.store.records_mut(), copy.records_mut());
    let mut old = before;
    for (key, record) in old
        .records_mut()
        .iter()
        .filter(|(key, _)| key.as_bytes()[0] == KIND_LICENSE)
    {
        world.device.store.records_mut().insert(*key, record.clone());
    }
    let mut client = world.open_with_epoch(epoch).unwrap().on_host(asking());
    let damaged = open(&mut world, &mut client);
    assert!(
        matches!(damaged, Err(ClientError::StoreDamaged(_))),
        "{damaged:?}"
    );
}

#[test]
fn r_012_a_first_play_with_the_clock_ahead_counts_from_now_once_it_is_right() {
    let (mut world, mut client) = licensed(|body| body.expiration_after_first_play = Some(1_000));
    world.clock(50_000);
    open(&mut world, &mut client).unwrap();
    // A server frees the clock that was ahead.
    world.clock(100);
    world.server.now = NOW.plus(100);
    world.run(client.ask_time(wanted(&[]))).unwrap();
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(100)));
    client = restarted(&mut world, client);
    world.clock(1_100);
    assert!(matches!(
        refusal(&mut world, &mut client),
        Refusal::FirstPlayExpired { .. }
    ));
}

#[test]
fn r_012_in_memory_the_first_play_is_kept_in_memory() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    world.server.bent.license = Some(Box::new(|body| body.expiration_after_first_play = Some(1_000)));
    let in_memory = keyward_client::acquire::Wanted {
        in_memory: true,
        ..wanted(&[1])
    };
    world.run(client.acquire(in_memory)).unwrap();
    world.trace.clear();
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].first_play(),
        Some(NOW)
    );
    assert_eq!(commits(&world), 0);
    world.clock(999);
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].first_play(),
        Some(NOW)
    );
    world.clock(1_000);
    assert!(matches!(
        refusal(&mut world, &mut client),
        Refusal::FirstPlayExpired { .. }
    ));
}

#[test]
fn r_013_a_license_in_grace_is_used_and_says_so() {
    let (mut world, mut client) = licensed(|body| {
        body.end = Some(NOW.plus(1_000));
        body.grace_period = Some(500);
    });
    assert!(!open(&mut world, &mut client).unwrap().bound[0].is_in_grace());
    world.clock(1_499);
    let opened = open(&mut world, &mut client).unwrap();
    assert!(opened.bound[0].is_in_grace());
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(1_500)));
    world.clock(1_500);
    assert_eq!(
        refusal(&mut world, &mut client),
        Refusal::Ended { end: NOW.plus(1_500) }
    );
}

fn sixty_seconds(body: &mut LicenseBody) {
    body.end = Some(body.issued.plus(60));
    body.real_time_expiration = Some(Flag);
}

#[test]
fn r_014_a_license_without_real_time_expiration_does_not_stop_what_plays() {
    let (mut world, mut client) = licensed(|body| body.end = Some(NOW.plus(60)));
    let mut opened = open(&mut world, &mut client).unwrap();
    pass(&mut world, 10_000);
    assert!(opened.holds(world.moment, &Screens::default()));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert!(opens(&opened.bound[0], 1));
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
}

#[test]
fn r_014_r_043_a_real_time_expiration_stops_what_plays_and_takes_the_key_back() {
    let (mut world, mut client) = licensed(sixty_seconds);
    world.online = false;
    world.server.bent.license = None;
    let mut opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].playback_ends(), Some(NOW.plus(60)));
    world.trace.clear();
    pass(&mut world, 59);
    assert!(opened.holds(world.moment, &Screens::default()));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert_eq!(world.trace, [], "as long as nothing changes there is no step");
    pass(&mut world, 1);
    assert!(!opened.holds(world.moment, &Screens::default()));
    let ended = Stop::Refused(Refusal::Ended { end: NOW.plus(60) });
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(standing.stopped, [(kid(1), ended)]);
    assert_eq!(opened.bound[0].stopped(), Some(ended));
    assert!(!opens(&opened.bound[0], 1));
    // It stays stopped, and the time was seen.
    world.moment.utc = Some(NOW);
    assert!(!opened.holds(world.moment, &Screens::default()));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped.len(), 1);
    assert!(matches!(refusal(&mut world, &mut client), Refusal::Ended { .. }));
}

#[test]
fn r_043_who_sets_the_clock_back_while_content_plays_gains_no_time() {
    for back in [0, 200, 400] {
        let (mut world, mut client) = licensed(sixty_seconds);
        world.online = false;
        let mut opened = open(&mut world, &mut client).unwrap();
        for _ in 0..60 {
            assert_eq!(opened.bound[0].stopped(), None);
            world.moment.monotonic += 1_000;
            world.moment.utc = Some(NOW.minus(back));
            if !opened.holds(world.moment, &Screens::default()) {
                go_on(&mut world, &mut client, &mut opened);
            }
            if back > 300 {
                break;
            }
        }
        let stop = opened.bound[0].stopped().unwrap();
        let expected = if back > 300 {
            Refusal::NoUsableClock
        } else {
            Refusal::Ended { end: NOW.plus(60) }
        };
        assert_eq!(stop, Stop::Refused(expected), "{back}");
    }
}

#[test]
fn r_043_samples_of_a_key_that_was_taken_back_do_not_open() {
    let (mut world, mut client) = licensed(|body| {
        sixty_seconds(body);
        body.keys[0].key_type = KeyType::CencCtr;
    });
    world.online = false;
    let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never);
    let mut opened = world.run(flow).unwrap();
    let keys = opened.keys();
    assert!(keys.cipher(kid(1), Scheme::Cenc, Pattern::NONE).is_ok());
    assert_eq!(keys.permits(kid(1)), Ok(()));
    assert_eq!(keys.permits(kid(2)), Err(KeyError::Missing));
    pass(&mut world, 60);
    go_on(&mut world, &mut client, &mut opened);
    let refused = KeyError::Refused(Refusal::Ended { end: NOW.plus(60) });
    assert_eq!(keys.permits(kid(1)), Err(refused));
    assert_eq!(
        keys.cipher(kid(1), Scheme::Cenc, Pattern::NONE).err(),
        Some(refused)
    );
}

#[test]
fn r_043_a_view_of_media_hands_out_no_sample_after_the_end() {
    let movie = crate::decrypt::movie(Scheme::Cenc, &[1]);
    let (mut world, mut client) = licensed(|body| {
        sixty_seconds(body);
        body.keys[0].key_type = KeyType::CencCtr;
    });
    world.online = false;
    let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never);
    let mut opened = world.run(flow).unwrap();
    let mut view = keyward_content::media::ClearView::open(Cursor::new(&movie), opened.keys()).unwrap();
    let mut samples = view.media().samples(1).unwrap();
    let span = view.next_sample(&mut samples).unwrap().unwrap();
    let mut sample = Vec::new();
    view.read_sample(&span, &mut sample).unwrap();
    pass(&mut world, 60);
    go_on(&mut world, &mut client, &mut opened);
    // From another place, so that the sample has to be decrypted again; the view has kept its cipher.
    view.rewind().unwrap();
    assert_eq!(view.fill_buf().unwrap()[4..8], *b"moov");
    let refused = view.read_sample(&span, &mut sample).unwrap_err();
    assert!(refused.to_string().contains("R-005"), "{refused}");
}

#[test]
fn r_043_a_playback_slides_to_the_next_license_in_the_store_or_in_memory() {
    for in_memory in [false, true] {
        let (mut world, mut client) = licensed(sixty_seconds);
        let mut opened = open(&mut world, &mut client).unwrap();
        let keys = opened.keys();
        // A limited duration license: the next one comes a second before the end, and is not used until then.
        let mut left = 60;
        for round in 1..4 {
            pass(&mut world, left - 1);
            world.server.now = world.moment.utc.unwrap();
            world.server.bent.license = Some(Box::new(sixty_seconds));
            let next = keyward_client::acquire::Wanted {
                in_memory,
                ..wanted(&[1])
            };
            world.run(client.acquire(next)).unwrap();
            let before = opened.bound[0].license();
            assert!(opened.holds(world.moment, &Screens::default()), "{round}");
            pass(&mut world, 1);
            assert!(!opened.holds(world.moment, &Screens::default()));
            assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, [], "{round}");
            assert_ne!(opened.bound[0].license(), before);
            assert_eq!(opened.bound[0].is_persistent(), !in_memory);
            assert_eq!(keys.permits(kid(1)), Ok(()));
            assert!(opens(&opened.bound[0], 1));
            assert!(opened.holds(world.moment, &Screens::default()));
            left = 59;
        }
        pass(&mut world, left);
        assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped.len(), 1);
    }
}

#[test]
fn r_043_content_that_was_opened_reactively_acquires_the_next_license() {
    let (mut world, mut client) = licensed(sixty_seconds);
    let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive);
    let mut opened = world.run(flow).unwrap();
    pass(&mut world, 60);
    world.server.now = world.moment.utc.unwrap();
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert_eq!(opened.bound[0].playback_ends(), Some(NOW.plus(120)));
    // The server has enough of it.
    pass(&mut world, 60);
    world.server.now = world.moment.utc.unwrap();
    world.server.keys.clear();
    let standing = go_on(&mut world, &mut client, &mut opened);
    let ended = Stop::Refused(Refusal::Ended { end: NOW.plus(120) });
    assert_eq!(standing.stopped, [(kid(1), ended)]);
}

#[test]
fn r_013_in_grace_a_new_license_is_asked_for_once_and_used_when_the_old_one_is_over() {
    let limited = |body: &mut LicenseBody| {
        body.end = Some(body.issued.plus(30));
        body.grace_period = Some(30);
        body.real_time_expiration = Some(Flag);
    };
    let (mut world, mut client) = licensed(limited);
    let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive);
    let mut opened = world.run(flow).unwrap();
    let first = opened.bound[0].license();
    assert_eq!(opened.renewal(), None);
    pass(&mut world, 29);
    assert!(opened.holds(world.moment, &Screens::default()));
    pass(&mut world, 1);
    assert!(!opened.holds(world.moment, &Screens::default()));
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert!(standing.in_grace && standing.stopped.is_empty());
    assert_eq!(standing.changes_at, Some(NOW.plus(60)));
    assert_eq!(opened.renewal(), Some(wanted(&[1])));
    assert_eq!(opened.renewal(), None);
    world.server.now = world.moment.utc.unwrap();
    let next = acquire(&mut world, &mut client, limited);
    world.online = false;
    pass(&mut world, 29);
    assert!(opened.holds(world.moment, &Screens::default()));
    assert_eq!(opened.bound[0].license(), first);
    pass(&mut world, 1);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert_eq!(opened.bound[0].license(), next);
    assert_eq!(
        opened.renewal(),
        Some(wanted(&[1])),
        "that one is in grace as well"
    );
}

#[test]
fn r_043_a_clock_that_is_corrected_while_content_plays_costs_a_question_for_the_time() {
    let (mut world, client) = licensed(|body| {
        body.end = Some(NOW.plus(30 * DAY));
        body.real_time_expiration = Some(Flag);
    });
    let mut client = restarted(&mut world, client);
    world.clock(86_400);
    let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive);
    let mut opened = world.run(flow).unwrap();
    // It was a day ahead.
    world.clock(0);
    world.server.now = NOW;
    assert!(!opened.holds(world.moment, &Screens::default()));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert!(!world.server.requests.last().unwrap().license_requested);
    assert!(opened.holds(world.moment, &Screens::default()));
    assert!(opens(&opened.bound[0], 1));
}

#[test]
fn r_043_a_step_that_fails_while_it_slides_leaves_nothing_usable() {
    let (mut world, mut client) = licensed(sixty_seconds);
    acquire(&mut world, &mut client, |body| {
        body.expiration_after_first_play = Some(1_000)
    });
    let mut opened = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
        .unwrap();
    assert_eq!(
        opened.bound[0].playback_ends(),
        Some(NOW.plus(60)),
        "R-040: nothing begins"
    );
    pass(&mut world, 60);
    world.trace.clear();
    let at = 0;
    world.stop = Some((at, Crash::Before));
    assert!(world.drive(client.go_on(&mut opened)).is_none());
    assert!(opened.bound[0].stopped().is_some());
    assert!(!opens(&opened.bound[0], 1));
}

#[test]
fn r_043_a_license_with_another_key_under_the_key_id_is_no_next_one() {
    let (mut world, mut client) = licensed(sixty_seconds);
    let mut opened = open(&mut world, &mut client).unwrap();
    world.server.keys.insert(kid(1), [9; 16]);
    acquire(&mut world, &mut client, |body| body.end = Some(NOW.plus(DAY)));
    pass(&mut world, 60);
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(standing.stopped.len(), 1);
    assert!(!opens(&opened.bound[0], 1));
}

#[test]
fn r_043_a_playback_goes_on_in_another_process_of_the_host() {
    let (mut world, mut client) = licensed(sixty_seconds);
    let mut opened = open(&mut world, &mut client).unwrap();
    acquire(&mut world, &mut client, |body| body.end = Some(NOW.plus(DAY)));
    client = restarted(&mut world, client);
    pass(&mut world, 60);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert!(opens(&opened.bound[0], 1));
}

fn hdmi(hdcp: Hdcp) -> Output {
    Output {
        hdcp,
        ..Output::bare(Connector::Hdmi, OutputKind::UncompressedDigitalVideo)
    }
}

const TYPE_0: Hdcp = Hdcp::Engaged {
    version: HdcpVersion { major: 1, minor: 4 },
    stream_type: HdcpType::Type0,
};

const INTERNAL: Output = Output::bare(Connector::Internal, OutputKind::BuiltIn);

fn needs_hdcp(body: &mut LicenseBody) {
    body.output_protection_levels = Some(OutputProtectionLevels {
        uncompressed_digital_video: Some(300),
        ..OutputProtectionLevels::default()
    });
}

fn verdicts(opened: &Opened) -> Vec<(Verdict, Rule)> {
    let decisions = opened.bound[0].outputs();
    decisions
        .map(|(_, decision)| (decision.verdict, decision.decided_by))
        .collect()
}

#[test]
fn r_026_each_output_gets_its_decision_and_is_judged_again_when_it_changes() {
    let (mut world, client) = licensed(needs_hdcp);
    drop(client);
    let screens = Screens::default();
    screens.show(&[INTERNAL, hdmi(Hdcp::Off)]);
    let mut client = on(&mut world, &screens);
    let mut opened = open(&mut world, &mut client).unwrap();
    let digital = Rule::UncompressedDigitalVideo;
    assert_eq!(
        verdicts(&opened),
        [(Verdict::Pass, Rule::BuiltIn), (Verdict::Block, digital)]
    );
    let engage = opened.bound[0].outputs().nth(1).unwrap().1.engage;
    assert_eq!(engage.hdcp, Some(HdcpType::Type0));
    assert!(opened.holds(world.moment, &screens));
    // The host engages HDCP and asks again.
    screens.show(&[INTERNAL, hdmi(TYPE_0)]);
    assert!(!opened.holds(world.moment, &screens));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert_eq!(verdicts(&opened)[1], (Verdict::Pass, digital));
    assert!(opened.holds(world.moment, &screens));
    // The lid is closed, and HDCP fails: nothing is left to play on.
    screens.show(&[hdmi(Hdcp::Off)]);
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(standing.stopped, [(kid(1), Stop::Blocked(digital))]);
    assert!(!opens(&opened.bound[0], 1));
}

#[test]
fn r_042_content_that_may_go_to_no_output_is_not_opened_and_no_license_is_asked_for() {
    let (mut world, client) = licensed(needs_hdcp);
    drop(client);
    let screens = Screens::default();
    screens.show(&[hdmi(Hdcp::Off), hdmi(Hdcp::Off)]);
    let mut client = on(&mut world, &screens);
    let rule = Rule::UncompressedDigitalVideo;
    assert_eq!(
        world.run(client.find(kid(1))).unwrap(),
        Availability::Blocked(rule)
    );
    let sent = world.sent.len();
    let blocked = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive));
    assert!(
        matches!(blocked, Err(ClientError::Blocked { rule: of, .. }) if of == rule),
        "{blocked:?}"
    );
    assert_eq!(world.sent.len(), sent);
    screens.show(&[hdmi(Hdcp::Off), hdmi(TYPE_0)]);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_041_a_host_that_lists_no_outputs_plays_what_demands_nothing_of_them() {
    let (mut world, mut client) = licensed(|body| body.end = Some(NOW.plus(DAY)));
    let opened = open(&mut world, &mut client).unwrap();
    assert_eq!(verdicts(&opened), []);
}

#[test]
fn r_041_r_023_a_host_that_lists_no_outputs_is_an_unknown_output_to_what_demands_something() {
    type Edit = fn(&mut LicenseBody);
    let demands: [Edit; 4] = [
        needs_hdcp,
        |body| {
            body.output_protection_levels = Some(OutputProtectionLevels {
                compressed_digital_audio: Some(100),
                ..OutputProtectionLevels::default()
            });
        },
        |body| body.explicit_restrictions = Some(vec![ExplicitRestriction::DigitalVideoOnly]),
        |body| body.play_enablers = Some(vec![PlayEnabler::AIRPLAY]),
    ];
    for demand in demands {
        let (mut world, mut client) = licensed(demand);
        let Availability::Blocked(rule) = world.run(client.find(kid(1))).unwrap() else {
            panic!("it was found")
        };
        assert!(
            [Rule::UnknownOutput, Rule::DigitalVideoOnly].contains(&rule),
            "{rule}"
        );
        assert!(open(&mut world, &mut client).is_err());
        acquire(&mut world, &mut client, move |body| {
            demand(body);
            body.play_enablers = Some(vec![PlayEnabler::UNKNOWN_OUTPUT]);
        });
        let opened = open(&mut world, &mut client);
        assert_eq!(opened.is_ok(), rule == Rule::UnknownOutput, "{opened:?}");
    }
}

#[test]
fn r_011_the_size_of_the_frames_is_judged_while_it_changes() {
    let screens = Screens::default();
    let (mut world, client) = World::enrolled();
    drop(client);
    let mut client = on(&mut world, &screens);
    let largest = Resolution {
        width: 1920,
        height: 1080,
    };
    acquire(&mut world, &mut client, move |body| {
        body.explicit_restrictions = Some(vec![ExplicitRestriction::MaximumDecodeResolution(largest)]);
    });
    let mut opened = open(&mut world, &mut client).unwrap();
    assert_eq!(opened.bound[0].largest_frame(), Some(largest));
    opened.set_frame(
        kid(1),
        Resolution {
            width: 1080,
            height: 1920,
        },
    );
    assert!(!opened.holds(world.moment, &screens));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    assert!(opened.holds(world.moment, &screens));
    let frame = Resolution {
        width: 3840,
        height: 2160,
    };
    opened.set_frame(kid(1), frame);
    let stopped = go_on(&mut world, &mut client, &mut opened).stopped;
    assert_eq!(
        stopped,
        [(kid(1), Stop::Refused(Refusal::FrameTooLarge { frame, largest }))]
    );
}

#[test]
fn r_006_r_007_r_008_sources_and_extended_restrictions_are_those_of_the_host() {
    let restriction = |must_understand| ExtendedRestriction {
        kind: 400,
        must_understand,
        best_effort: false,
        data: keyward_license::codec::Bytes(Vec::new()),
    };
    let edit = move |body: &mut LicenseBody| {
        body.source_id = Some(267);
        body.extended_restrictions = Some(vec![restriction(true)]);
    };
    let (mut world, mut client) = licensed(edit);
    assert_eq!(
        refusal(&mut world, &mut client),
        Refusal::SourceNotFollowed { id: 267 }
    );
    let host = |extended: &[Understood]| HostProfile {
        sources: vec![267],
        extended: extended.to_vec(),
        ..asking()
    };
    let mut client = restarted(&mut world, client).on_host(host(&[]));
    let refused = Refusal::RestrictionNotUnderstood { kind: 400 };
    assert_eq!(refusal(&mut world, &mut client), refused);
    for engaged in [false, true] {
        client = restarted(&mut world, client).on_host(host(&[Understood { kind: 400, engaged }]));
        let opened = open(&mut world, &mut client);
        assert_eq!(opened.is_ok(), engaged, "{opened:?}");
    }
}

#[test]
fn r_001_an_extended_right_is_no_right_to_play() {
    let right = ExtendedRight {
        kind: 500,
        restrictions: None,
    };
    let (mut world, mut client) = licensed(move |body| {
        body.rights = Vec::<Right>::new();
        body.extended_rights = Some(vec![right.clone()]);
    });
    assert_eq!(refusal(&mut world, &mut client), Refusal::RightNotGranted);
    let ready = world.run(client.find_for(Action::Extended(500), kid(1))).unwrap();
    assert!(matches!(ready, Availability::Ready { .. }));
    let flow = client.open_content_for(
        Action::Extended(500),
        vec![kid(1)],
        wanted(&[1]),
        Acquisition::Never,
    );
    assert!(opens(&world.run(flow).unwrap().bound[0], 1));
}

#[test]
fn v_029_what_a_host_does_not_enforce_is_neither_announced_nor_installed() {
    let (mut world, mut client) = World::enrolled();
    world.server.bent.license = Some(Box::new(sixty_seconds));
    assert!(world.run(client.acquire(wanted(&[1]))).is_err());
    let announced = &world.server.requests.last().unwrap().capabilities;
    assert!(!announced.terms.contains(&14) && announced.terms.contains(&13));
    let restrictions = announced.explicit_restrictions.as_deref().unwrap();
    assert!(!restrictions.contains(&ExplicitRestriction::WATERMARK));
    assert!(!restrictions.contains(&ExplicitRestriction::MAXIMUM_DECODE_RESOLUTION));
    assert!(restrictions.contains(&ExplicitRestriction::HDCP_TYPE));
    assert_eq!(announced.clock, ClockKind::AntiRollback);
    // A license that another host of the device has installed is none for this one.
    let mut asking = restarted(&mut world, client);
    acquire(&mut world, &mut asking, sixty_seconds);
    let announced = &world.server.requests.last().unwrap().capabilities;
    assert_eq!(announced.terms, LicenseBody::TERMS);
    drop(asking);
    let client = world.open().unwrap();
    assert_eq!(world.run(client.find(kid(1))).unwrap(), Availability::Missing);
}

#[test]
fn r_003_a_host_without_a_clock_uses_no_license_that_is_limited_in_time() {
    let (mut world, client) = licensed(|body| body.end = Some(NOW.plus(DAY)));
    let host = HostProfile {
        clock: ClockKind::None,
        ..asking()
    };
    let mut client = restarted(&mut world, client).on_host(host);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    // What a server tells does not give it one, and it states none.
    world.run(client.ask_time(wanted(&[]))).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    let request = world.server.requests.last().unwrap();
    assert_eq!(request.capabilities.clock, ClockKind::None);
    assert_eq!(
        (request.clock.now, request.clock.state),
        (None, ClockState::NotSet)
    );
    let acquired = acquire(&mut world, &mut client, |_| {});
    assert_eq!(
        open(&mut world, &mut client).unwrap().bound[0].license(),
        acquired
    );
}

#[test]
fn r_003_an_unset_clock_asks_for_the_time_and_for_no_other_license() {
    let (mut world, client) = licensed(sixty_seconds);
    let mut client = restarted(&mut world, client);
    world.moment.utc = None;
    world.server.now = NOW.plus(10);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    let flow = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive);
    let mut opened = world.run(flow).unwrap();
    assert!(opened.acquired.is_none());
    let request = world.server.requests.last().unwrap();
    assert!(!request.license_requested);
    assert_eq!((&request.kids, &request.content_headers), (&None, &None));
    assert_eq!(request.clock.state, ClockState::NotSet);
    // The time that was told goes on by the clock that never steps, in a later client of the playback as well.
    world.online = false;
    world.moment.monotonic += 49_000;
    assert!(opened.holds(world.moment, &Screens::default()));
    client = restarted(&mut world, client);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).stopped, []);
    world.moment.monotonic += 1_000;
    assert!(!opened.holds(world.moment, &Screens::default()));
    // It would acquire the next license, and there is no network.
    assert!(world.drive(client.go_on(&mut opened)).is_none());
    assert_eq!(
        opened.bound[0].stopped(),
        Some(Stop::Refused(Refusal::Ended { end: NOW.plus(60) }))
    );
}

#[test]
fn r_010_an_answer_about_the_time_that_took_too_long_is_no_clock() {
    let (mut world, client) = licensed(|body| body.end = Some(NOW.plus(DAY)));
    let mut client = restarted(&mut world, client);
    world.moment.utc = None;
    world.round_trip = 5 * 60 * 1000 + 1;
    assert_eq!(world.run(client.ask_time(wanted(&[]))).unwrap(), NOW);
    assert_eq!(refusal(&mut world, &mut client), Refusal::NoUsableClock);
    world.round_trip -= 1;
    world.run(client.ask_time(wanted(&[]))).unwrap();
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_040_of_several_licenses_the_one_that_costs_least_and_lasts_longest_is_used() {
    type Edit = fn(&mut LicenseBody);
    // Each is better than all before it.
    let better: [Edit; 6] = [
        // Its time after first play would begin.
        |body| body.expiration_after_first_play = Some(100 * DAY),
        // It is in grace.
        |body| {
            body.end = Some(NOW.minus(1));
            body.grace_period = Some(50 * DAY);
        },
        |body| body.end = Some(NOW.plus(DAY)),
        |body| body.end = Some(NOW.plus(2 * DAY)),
        |body| {
            body.end = Some(NOW.plus(3 * DAY));
            body.real_time_expiration = Some(Flag);
        },
        |body| body.end = Some(NOW.plus(3 * DAY)),
    ];
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    let mut ids = Vec::new();
    for edit in better {
        let id = acquire(&mut world, &mut client, edit);
        assert_eq!(open_only(&mut world, &mut client), id);
        ids.push(id);
    }
    let explained = world.run(client.explain(kid(1), Default::default())).unwrap();
    let order: Vec<_> = explained.iter().rev().map(|one| one.body.id).collect();
    assert_eq!(order, ids);
    // Once its time has begun, a rental is used before another one begins.
    let (mut world, mut client) = licensed(rental);
    let running = open_only(&mut world, &mut client);
    open(&mut world, &mut client).unwrap();
    acquire(&mut world, &mut client, |body| {
        body.expiration_after_first_play = Some(9 * DAY)
    });
    assert_eq!(open_only(&mut world, &mut client), running);
}

/// The license that would be used.
fn open_only(world: &mut World, client: &mut TestClient) -> LicenseId {
    match world.run(client.find(kid(1))).unwrap() {
        Availability::Ready { license, .. } => license,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r_040_the_license_that_blocks_fewer_outputs_is_used() {
    let (mut world, client) = licensed(needs_hdcp);
    drop(client);
    let screens = Screens::default();
    screens.show(&[INTERNAL, hdmi(Hdcp::Off)]);
    let mut client = on(&mut world, &screens);
    let open_everywhere = acquire(&mut world, &mut client, |body| body.end = Some(NOW.plus(DAY)));
    assert_eq!(open_only(&mut world, &mut client), open_everywhere);
    screens.show(&[INTERNAL, hdmi(TYPE_0)]);
    assert_ne!(
        open_only(&mut world, &mut client),
        open_everywhere,
        "without end lasts longer"
    );
}

#[test]
fn many_licenses_come_in_one_response_and_each_key_has_its_first_play() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    world.server.bent.license = Some(Box::new(rental));
    let numbers: Vec<u8> = (1..=100).collect();
    world.run(client.acquire(wanted(&numbers))).unwrap();
    world.trace.clear();
    let kids: Vec<_> = numbers.iter().map(|number| kid(*number)).collect();
    let flow = client.open_content(kids, wanted(&numbers), Acquisition::Never);
    let opened = world.run(flow).unwrap();
    assert!(opened.bound.iter().all(|bound| bound.first_play() == Some(NOW)));
    assert_eq!(commits(&world), 1, "all first plays are one commit");
    // Of all keys or of none: a key without a license begins no time.
    let flow = client.open_content(vec![kid(101), kid(1)], wanted(&[1]), Acquisition::Never);
    assert!(matches!(world.run(flow), Err(ClientError::NoLicense { .. })));
    assert_eq!(commits(&world), 1);
}

#[test]
fn an_explanation_is_of_another_time_level_or_outputs_and_records_nothing() {
    let (mut world, mut client) = licensed(|body| {
        rental(body);
        needs_hdcp(body);
        body.minimum_security_level = Some(2000);
        body.play_enablers = Some(vec![PlayEnabler::UNKNOWN_OUTPUT]);
    });
    let mut ask = |circumstances| {
        let mut explained = world.run(client.explain(kid(1), circumstances)).unwrap();
        explained.pop().unwrap()
    };
    let default = keyward_client::explain::Circumstances::default;
    let now = ask(default());
    assert!(now.verdict.is_ok() && now.first_play.is_none() && now.is_usable_here);
    assert_eq!((now.now, now.security_level), (Some(NOW), 2000));
    let later = keyward_client::explain::Circumstances {
        at: Some(NOW.plus(30 * DAY)),
        ..default()
    };
    let ended = Refusal::Ended {
        end: NOW.plus(30 * DAY),
    };
    assert_eq!(ask(later).verdict.unwrap_err(), Stop::Refused(ended));
    let lower = keyward_client::explain::Circumstances {
        security_level: Some(150),
        ..default()
    };
    assert_eq!(ask(lower).verdict.unwrap_err().rule(), Rule::SecurityLevel);
    let on_hdmi = keyward_client::explain::Circumstances {
        outputs: Some(vec![hdmi(Hdcp::Off)]),
        ..default()
    };
    assert_eq!(
        ask(on_hdmi).verdict.unwrap_err(),
        Stop::Blocked(Rule::UncompressedDigitalVideo)
    );
    assert_eq!(commits(&world), 0);
    let signed = world.run(client.held_licenses()).unwrap().pop().unwrap().signed;
    let file = world
        .run(client.explain_license(signed.clone(), default()))
        .unwrap()
        .unwrap();
    assert!(file.verdict.is_ok() && file.is_usable_here);
    open(&mut world, &mut client).unwrap();
    let file = world
        .run(client.explain_license(signed, default()))
        .unwrap()
        .unwrap();
    assert_eq!(file.first_play, Some(NOW), "of one that is held, its first play");
    assert!(
        world
            .run(client.explain_license(vec![0], default()))
            .unwrap()
            .is_none()
    );
}

#[test]
fn r_044_licenses_are_removed_from_their_removal_date_on_by_a_servers_word() {
    let edit = |body: &mut LicenseBody| {
        body.end = Some(NOW.plus(100));
        body.removal_date = Some(NOW.plus(200));
    };
    let (mut world, mut client) = licensed(edit);
    // The local clock alone removes nothing.
    world.clock(500);
    world.by_hand(&mut client, wanted(&[2])).unwrap();
    assert_eq!(world.run(client.licenses()).unwrap().len(), 2);
    world.clock(0);
    world.server.now = NOW.plus(200);
    world.server.bent.license = None;
    world.run(client.acquire(wanted(&[3]))).unwrap();
    // What a server has stated counts from the next commit on.
    world.run(client.acquire(wanted(&[3]))).unwrap();
    let kept = world.run(client.licenses()).unwrap();
    assert!(kept.iter().all(|body| body.removal_date.is_none()), "{kept:?}");
}
