//! A device whose clock a secure time service alone sets: it is believed while it is set, and asks a server otherwise.

use keyward_license::{request::ClockKind, usage_rules::Refusal};
use keyward_server::policy::{PolicyTerms, Preset};

use crate::scenarios::world::{DAY, Device, FILM, HOUR, NOW, World};

/// A device with a rental that it has not begun, in a process of its own whose clock is of this kind.
fn rented(kind: ClockKind) -> (World, Device) {
    let world = World::offering(Preset::Rental);
    let mut device = world.device("tv");
    device.fetch();
    become_one_of(&mut device, kind);
    world.network.online.set(false);
    (world, device)
}

fn become_one_of(device: &mut Device, kind: ClockKind) {
    device.clock.kind.set(kind);
    device.restart();
}

#[test]
fn r_010_a_secure_clock_is_believed_behind_a_floor_that_another_clock_has_left() {
    let (world, mut device) = rented(ClockKind::AntiRollback);
    let ended = Refusal::Ended {
        end: NOW.plus(30 * DAY),
    };
    device.clock.set(Some(NOW.plus(400 * DAY)));
    assert_eq!(device.refusal(), ended);
    device.clock.set(Some(NOW));
    device.restart();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);

    become_one_of(&mut device, ClockKind::Secure);
    assert_eq!(device.client().clock_floor(), NOW.plus(400 * DAY));
    let opened = device.play().unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW));
    assert!(world.unlocks(&opened, FILM));
    // The mistake is mended for good.
    assert_eq!(device.client().clock_floor(), NOW);
    become_one_of(&mut device, ClockKind::AntiRollback);
    device.play().unwrap();
    // What time ends, it ends by a secure clock too.
    become_one_of(&mut device, ClockKind::Secure);
    world.pass(48 * HOUR);
    let at = NOW.plus(48 * HOUR);
    assert_eq!(device.refusal(), Refusal::FirstPlayExpired { at });
}

#[test]
fn r_010_a_secure_clock_does_not_lower_the_floor_behind_what_a_server_has_told() {
    let (world, mut device) = rented(ClockKind::Secure);
    world.network.online.set(true);
    world.clock.set(NOW.plus(DAY));
    device.ask_time().unwrap();
    world.network.online.set(false);
    device.restart();
    // The secure clock is believed all the same.
    assert_eq!(device.play().unwrap().bound[0].first_play(), Some(NOW));
    assert_eq!(device.client().clock_floor(), NOW.plus(DAY));
    become_one_of(&mut device, ClockKind::AntiRollback);
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
}

#[test]
fn r_003_r_010_a_secure_clock_that_is_not_set_is_no_clock_until_a_server_tells_the_time() {
    let (world, mut device) = rented(ClockKind::Secure);
    device.clock.set(None);
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    let wanted = device.wanted.clone();
    assert!(device.client().ask_time(wanted).is_err(), "there is no network");
    world.network.online.set(true);
    world.pass(DAY);
    let opened = device.stream().unwrap();
    assert_eq!(opened.acquired, None, "the time and no other license");
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(DAY)));
    // Until the process ends, or the time service has set the clock.
    world.network.online.set(false);
    device.restart();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    device.clock.set(Some(NOW.plus(2 * DAY)));
    let until = NOW.plus(DAY + 48 * HOUR);
    assert_eq!(device.play().unwrap().bound[0].until(), Some(until));
}

#[test]
fn r_043_a_secure_clock_that_is_reset_stops_what_plays_in_real_time_unless_a_server_tells_the_time() {
    for online in [false, true] {
        let world = World::under(PolicyTerms {
            real_time_expiration: true,
            ..Preset::Rental.terms()
        });
        let mut device = world.device("tv");
        device.fetch();
        become_one_of(&mut device, ClockKind::Secure);
        let mut opened = device.stream().unwrap();
        device.clock.set(None);
        world.network.online.set(online);
        let went_on = device.client().go_on(&mut opened);
        assert_eq!(world.unlocks(&opened, FILM), online, "{went_on:?}");
        assert_eq!(opened.bound[0].stopped().is_none(), online);
        if online {
            assert_eq!(went_on.unwrap().playing, 1);
        }
    }
}

#[test]
fn r_044_nothing_is_removed_by_a_secure_clock_of_itself() {
    let world = World::under(PolicyTerms {
        duration_seconds: Some(HOUR),
        expiration_after_first_play_seconds: None,
        removal_after_end_seconds: Some(0),
        ..Preset::Rental.terms()
    });
    let mut device = world.device("tv");
    device.fetch();
    become_one_of(&mut device, ClockKind::Secure);
    device.clock.set(Some(NOW.plus(2 * HOUR)));
    for _ in 0..2 {
        assert!(matches!(device.refusal(), Refusal::Ended { .. }));
        // A commit, by which what a server has ended goes.
        device.request();
    }
    assert_eq!(device.client().licenses().unwrap().len(), 1);
    assert_eq!(device.client().clean().unwrap(), 1);
}
