//! What is never stored: a rental from a stream, and licenses of a minute that end a playback.

use std::io::Read;

use keyward_client::{ClientError, enforce::Stop, install::AcquiredKey, session::Opened};
use keyward_license::usage_rules::Refusal;
use keyward_server::policy::Preset;

use crate::scenarios::world::{DAY, Device, FILM, HOUR, MINUTE, NOW, World};

/// A device with the film, and no network from then on.
fn tuned_in(preset: Preset) -> (World, Device, Opened) {
    let world = World::offering(preset);
    let mut device = world.device("tv");
    let opened = device.stream().unwrap();
    assert!(!opened.bound[0].is_persistent());
    world.network.online.set(false);
    (world, device, opened)
}

/// Plays a byte a second, and says for how many seconds that went well.
fn plays_for(world: &World, device: &mut Device, opened: &mut Opened, at_most: usize) -> usize {
    let film = vec![7; at_most];
    let mut watched = device.client().watch(opened, &film[..]);
    for second in 0..at_most {
        if watched.read_exact(&mut [0]).is_err() {
            return second;
        }
        world.pass(1);
    }
    at_most
}

#[test]
fn a_rental_from_a_stream_lives_as_long_as_the_process_and_48_hours_at_most() {
    let (world, mut device, opened) = tuned_in(Preset::RentalStreaming);
    assert_eq!(opened.bound[0].until(), Some(NOW.plus(48 * HOUR)));
    world.pass(48 * HOUR - 1);
    device.play().unwrap();
    world.pass(1);
    let ended = Refusal::Ended {
        end: NOW.plus(48 * HOUR),
    };
    assert_eq!(device.refusal(), ended);
    // What the server told goes on by what the device counts, whatever its clock is set to.
    for utc in [Some(NOW), None] {
        device.clock.set(utc);
        assert_eq!(device.refusal(), ended);
    }
    device.clock.set(Some(NOW.plus(48 * HOUR)));

    // The next session asks, as long as there is a right to it.
    device.restart();
    assert!(matches!(device.play(), Err(ClientError::NoLicense { .. })));
    world.network.online.set(true);
    let opened = device.stream().unwrap();
    assert!(world.unlocks(&opened, FILM));
    world.end_entitlements();
    device.restart();
    assert!(matches!(device.stream(), Err(ClientError::Denied { .. })));
}

#[test]
fn v_024_a_license_in_memory_does_not_come_back_with_its_response() {
    let world = World::offering(Preset::RentalStreaming);
    let mut device = world.device("tv");
    let request = device.request();
    let response = world.network.issue(&request);
    device.restart();
    let acquired = device.client().install(response.clone()).unwrap();
    assert!(matches!(
        acquired.outcomes[..],
        [(FILM, AcquiredKey::InMemory(_))]
    ));
    device.play().unwrap();
    for _ in 0..2 {
        device.restart();
        device.client().install(response.clone()).unwrap_err();
        assert!(matches!(device.play(), Err(ClientError::NoLicense { .. })));
    }
}

#[test]
fn r_040_an_answer_that_comes_late_takes_nothing_from_the_one_after_it() {
    let world = World::offering(Preset::LimitedDuration);
    let mut device = world.device("tv");
    let mut responses = Vec::new();
    for _ in 0..2 {
        let request = device.request();
        responses.push(world.network.issue(&request));
        world.pass(20);
    }
    for response in responses.into_iter().rev() {
        device.client().install(response).unwrap();
        assert_eq!(device.play().unwrap().bound[0].until(), Some(NOW.plus(80)));
    }
    world.pass(40);
    assert!(matches!(device.refusal(), Refusal::Ended { .. }));
}

#[test]
fn r_013_r_043_licenses_of_a_minute_are_renewed_without_a_gap_until_the_right_ends() {
    let (world, mut device, mut opened) = tuned_in(Preset::LimitedDuration);
    world.network.online.set(true);
    let before = world.network.carried.borrow().len();
    assert_eq!(plays_for(&world, &mut device, &mut opened, 600), 600);
    // At 30 seconds and then every 30: no more is asked than is needed.
    let asked = world.network.carried.borrow().len() - before;
    assert!((19..=20).contains(&asked), "{asked}");
    assert!(world.unlocks(&opened, FILM));

    world.end_entitlements();
    let more = plays_for(&world, &mut device, &mut opened, 100);
    assert!((30..=60).contains(&more), "{more}");
    assert!(!world.unlocks(&opened, FILM), "the key was taken back");
    assert!(matches!(device.stream(), Err(ClientError::Denied { .. })));
}

#[test]
fn r_014_a_license_of_a_minute_ends_the_playback_whatever_is_done_to_the_clock() {
    for back in [0, MINUTE, 5 * MINUTE] {
        let (world, mut device, mut opened) = tuned_in(Preset::LimitedDuration);
        device.clock.set(Some(NOW.minus(back)));
        let seconds = plays_for(&world, &mut device, &mut opened, 100);
        assert_eq!(seconds, 60, "{back}");
        let ended = Stop::Refused(Refusal::Ended { end: NOW.plus(60) });
        assert_eq!(opened.bound[0].stopped(), Some(ended));
        // Neither does a new process bring it back, nor the network the old answer.
        device.restart();
        world.network.online.set(true);
        let old = world.network.carried.borrow()[0].clone();
        *world.network.instead.borrow_mut() = Some(old);
        assert!(matches!(device.stream(), Err(ClientError::NoPendingRequest)));
    }
}

#[test]
fn r_043_a_clock_that_is_set_far_or_taken_out_stops_a_license_of_a_minute_at_once() {
    let cases = [
        (Some(NOW.minus(5 * MINUTE + 1)), Refusal::NoUsableClock),
        (Some(NOW.plus(DAY)), Refusal::Ended { end: NOW.plus(60) }),
        (None, Refusal::NoUsableClock),
    ];
    for (utc, refusal) in cases {
        let world = World::offering(Preset::LimitedDuration);
        let mut device = world.device("tv");
        // By hand, so that no server tells this process the time, which would go on counting.
        device.restart();
        let request = device.request();
        let response = world.network.issue(&request);
        device.client().install(response).unwrap();
        let mut opened = device.play().unwrap();
        assert_eq!(plays_for(&world, &mut device, &mut opened, 10), 10);
        device.clock.set(utc);
        assert_eq!(plays_for(&world, &mut device, &mut opened, 10), 0, "{utc:?}");
        let stopped = Some(Stop::Refused(refusal));
        assert_eq!(opened.bound[0].stopped(), stopped, "{utc:?}");
        assert!(!world.unlocks(&opened, FILM));
    }
}
