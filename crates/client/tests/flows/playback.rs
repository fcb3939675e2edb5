//! The rules while content plays, and from one license to the next.

use std::io::{BufRead, Cursor, Seek};

use keyward_client::{enforce::Stop, session::Acquisition};
use keyward_content::{
    cenc::{Pattern, Scheme},
    media::{KeyError, KeyRing},
};
use keyward_license::{
    license::{Flag, KeyType, LicenseBody},
    usage_rules::Refusal,
};
use keyward_testkit::pki::{DAY, NOW};

use crate::{
    licensed::{Screens, acquire, go_on, licensed, open, pass, refusal, restarted, sixty_seconds},
    world::{Stop as Crash, kid, opens, wanted},
};

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
