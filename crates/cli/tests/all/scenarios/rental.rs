//! A rental: a month to begin, 48 hours to finish; no clock makes more of it.

use keyward_client::{ClientError, install::AcquiredKey};
use keyward_license::usage_rules::Refusal;
use keyward_server::policy::{PolicyTerms, Preset};

use crate::scenarios::world::{DAY, Device, FILM, HOUR, MINUTE, NOW, World};

/// A device with the film, in a process that no server has told the time, and no network.
fn rented() -> (World, Device) {
    let world = World::offering(Preset::Rental);
    let mut device = world.device("phone");
    device.fetch();
    device.restart();
    world.network.online.set(false);
    (world, device)
}

#[test]
fn r_012_a_rental_cannot_be_started_48_hours_after_its_first_start() {
    let (world, mut device) = rented();
    world.pass(14 * DAY);
    device.restart();
    let first = NOW.plus(14 * DAY);
    let opened = device.play().unwrap();
    assert_eq!(opened.bound[0].until(), Some(first.plus(48 * HOUR)));
    assert!(world.unlocks(&opened, FILM));
    world.pass(48 * HOUR - 1);
    device.restart();
    let mut opened = device.play().unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(first));

    // What plays goes on; it cannot be opened again.
    world.pass(1);
    let over = Refusal::FirstPlayExpired {
        at: first.plus(48 * HOUR),
    };
    assert_eq!(device.refusal(), over);
    assert_eq!(device.client().go_on(&mut opened).unwrap().stopped, []);
    assert!(world.unlocks(&opened, FILM));
    device.restart();
    assert_eq!(device.refusal(), over);
}

#[test]
fn r_010_a_rental_that_is_over_is_not_opened_by_a_clock_that_was_set_or_taken_out() {
    let (world, mut device) = rented();
    device.play().unwrap();
    world.pass(48 * HOUR);
    let over = NOW.plus(48 * HOUR);
    assert_eq!(device.refusal(), Refusal::FirstPlayExpired { at: over });
    let cases = [
        (Some(over.minus(MINUTE)), Refusal::FirstPlayExpired { at: over }),
        (
            Some(over.minus(5 * MINUTE)),
            Refusal::FirstPlayExpired { at: over },
        ),
        (Some(over.minus(5 * MINUTE + 1)), Refusal::NoUsableClock),
        (Some(NOW), Refusal::NoUsableClock),
        (None, Refusal::NoUsableClock),
        (Some(over.plus(DAY)), Refusal::FirstPlayExpired { at: over }),
    ];
    for (utc, refusal) in cases {
        device.clock.set(utc);
        assert_eq!(device.refusal(), refusal, "{utc:?}");
        device.restart();
        assert_eq!(device.refusal(), refusal, "{utc:?}, in the next process");
    }
}

#[test]
fn r_010_time_that_was_seen_before_the_first_play_does_not_come_back() {
    let (world, mut device) = rented();
    world.pass(10 * DAY);
    device.play().unwrap();
    device.clock.set(Some(NOW));
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    device.restart();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    // The true time opens it again, and the 48 hours ran meanwhile.
    device.clock.set(Some(NOW.plus(11 * DAY)));
    assert_eq!(device.play().unwrap().bound[0].until(), Some(NOW.plus(12 * DAY)));
}

#[test]
fn r_005_r_044_a_rental_ends_after_a_month_and_is_removed_once_a_server_tells_the_time() {
    let (world, mut device) = rented();
    let end = NOW.plus(30 * DAY);
    world.pass(30 * DAY - 1);
    // The 48 hours do not reach beyond the month.
    assert_eq!(device.play().unwrap().bound[0].until(), Some(end));
    world.pass(1);
    assert_eq!(device.refusal(), Refusal::Ended { end });
    device.restart();
    assert_eq!(device.refusal(), Refusal::Ended { end });
    assert_eq!(device.client().licenses().unwrap().len(), 1);

    world.network.online.set(true);
    assert_eq!(device.ask_time().unwrap(), end);
    assert_eq!(device.refusal(), Refusal::Ended { end });
    device.ask_time().unwrap();
    assert_eq!(device.client().licenses().unwrap(), [], "with the next change");
    device.restart();
    assert!(matches!(device.play(), Err(ClientError::NoLicense { .. })));
}

#[test]
fn r_004_a_rental_that_was_bought_ahead_does_not_begin_by_a_clock_that_goes_wrong_for_long() {
    let world = World::under(PolicyTerms {
        begin_offset_seconds: Some((7 * DAY).cast_signed()),
        ..Preset::Rental.terms()
    });
    let mut device = world.device("phone");
    device.fetch();
    let begin = NOW.plus(7 * DAY);
    for before in [7 * DAY, DAY, 1] {
        device.clock.set(Some(begin.minus(before)));
        assert_eq!(device.refusal(), Refusal::NotYetValid { begin });
        device.restart();
    }
    world.clock.set(begin);
    device.clock.set(Some(begin));
    assert_eq!(device.play().unwrap().bound[0].first_play(), Some(begin));
}

#[test]
fn a_device_whose_clock_is_five_minutes_late_plays_and_one_that_is_later_asks_for_the_time() {
    for (late, opens) in [(5 * MINUTE, true), (5 * MINUTE + 1, false)] {
        let world = World::offering(Preset::Rental);
        let mut device = world.device("phone");
        device.clock.set(Some(NOW.minus(late)));
        device.fetch();
        // Another process, in which no server has told the time.
        device.restart();
        if !opens {
            assert_eq!(device.refusal(), Refusal::NoUsableClock);
        }
        let opened = if opens { device.play() } else { device.stream() };
        let opened = opened.unwrap();
        assert_eq!(opened.bound[0].first_play(), Some(NOW));
        assert_eq!(opened.acquired, None, "the license in the store is enough");
    }
}

#[test]
fn v_010_v_012_a_response_serves_once_and_responses_may_come_in_any_order() {
    let world = World::offering(Preset::Rental);
    let mut device = world.device("phone");
    let mut carried = Vec::new();
    for _ in 0..2 {
        let request = device.request();
        let response = world.network.issue(&request);
        // V-043: the server has issued one license, however often it is asked.
        assert_eq!(world.network.issue(&request), response);
        carried.push(response);
    }
    device.restart();
    for response in carried.iter().rev() {
        let acquired = device.client().install(response.clone()).unwrap();
        assert!(matches!(acquired.outcomes[..], [(FILM, AcquiredKey::Stored(_))]));
    }
    let held = device.client().licenses().unwrap();
    assert_eq!(held.len(), 2);
    device.play().unwrap();
    device.client().remove_licenses(FILM).unwrap();
    device.restart();
    for response in carried {
        let again = device.client().install(response.clone()).unwrap_err();
        assert!(again.to_string().contains("no pending request"), "{again}");
        // Neither as the answer to a request of today.
        *world.network.instead.borrow_mut() = Some(response);
        assert!(matches!(device.acquire(), Err(ClientError::NoPendingRequest)));
    }
    assert!(matches!(device.play(), Err(ClientError::NoLicense { .. })));
}
