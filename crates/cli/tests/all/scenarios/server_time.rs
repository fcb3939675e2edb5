//! A device whose clock is not set: it asks for the time, gets the time and nothing else, and plays by it.

use keyward_client::{ClientError, acquire::Wanted};
use keyward_license::usage_rules::Refusal;
use keyward_server::policy::Preset;

use crate::scenarios::world::{DAY, Device, FILM, HOUR, MINUTE, NOW, World};

/// A device with a rental that it has not begun, and whose clock lost the time.
fn clockless() -> (World, Device) {
    let world = World::offering(Preset::Rental);
    let mut device = world.device("tv");
    device.fetch();
    device.clock.set(None);
    device.restart();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    (world, device)
}

#[test]
fn r_003_r_010_the_time_of_a_server_binds_a_license_until_the_process_ends() {
    let (world, mut device) = clockless();
    world.pass(DAY);
    let told = device.client().acquire(Wanted::default()).unwrap();
    assert_eq!((told.outcomes, told.server_time), (Vec::new(), NOW.plus(DAY)));
    assert_eq!(
        device.client().licenses().unwrap().len(),
        1,
        "the time came alone"
    );
    let opened = device.play().unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW.plus(DAY)));
    assert!(world.unlocks(&opened, FILM));

    // It goes on by what the device counts, and the 48 hours end by it.
    world.network.online.set(false);
    world.pass(48 * HOUR - 1);
    device.play().unwrap();
    world.pass(1);
    let over = Refusal::FirstPlayExpired {
        at: NOW.plus(DAY + 48 * HOUR),
    };
    assert_eq!(device.refusal(), over);
    device.restart();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
}

#[test]
fn r_010_a_player_asks_for_the_time_by_itself_and_for_no_license() {
    let (world, mut device) = clockless();
    let answers = world.network.carried.borrow().len();
    let opened = device.stream().unwrap();
    assert_eq!(opened.acquired, None);
    assert_eq!(world.network.carried.borrow().len(), answers + 1);
    assert_eq!(device.client().licenses().unwrap().len(), 1);
    // The right may have ended: the time is told to each device that is enrolled.
    world.end_entitlements();
    device.restart();
    device.stream().unwrap();
}

#[test]
fn r_010_an_answer_that_took_longer_than_five_minutes_tells_no_time() {
    let (world, mut device) = clockless();
    world.network.slow.set(5 * MINUTE * 1000 + 1);
    device.ask_time().unwrap();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    world.network.slow.set(5 * MINUTE * 1000);
    device.ask_time().unwrap();
    device.play().unwrap();
}

#[test]
fn v_012_an_answer_that_was_kept_tells_no_time() {
    let (world, mut device) = clockless();
    let request = device.client().request(Wanted::default()).unwrap();
    let kept = world.network.issue(&request);
    world.pass(60 * DAY);

    // On the exchange of a later request it is refused, and gone after that.
    *world.network.instead.borrow_mut() = Some(kept.clone());
    device.ask_time().unwrap_err();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);

    // By hand it is taken, without a time: nobody knows how old it is.
    device.client().install(kept.clone()).unwrap();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    device.client().install(kept).unwrap_err();
    device.ask_time().unwrap();
    let end = NOW.plus(30 * DAY);
    assert_eq!(device.refusal(), Refusal::Ended { end });
}

#[test]
fn r_010_a_clock_that_was_set_ahead_by_mistake_is_mended_by_the_server_and_one_set_back_by_nobody() {
    let world = World::offering(Preset::Rental);
    let mut device = world.device("tv");
    device.fetch();
    device.clock.set(Some(NOW.plus(400 * DAY)));
    assert!(matches!(device.refusal(), Refusal::Ended { .. }));
    device.clock.set(Some(NOW));
    device.restart();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    assert_eq!(device.ask_time().unwrap(), NOW);
    device.restart();
    assert_eq!(device.play().unwrap().bound[0].first_play(), Some(NOW));

    // What a server told stands: the clock may not go behind it, whatever a later server says.
    device.clock.set(Some(NOW.minus(HOUR)));
    device.restart();
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    world.clock.set(NOW.minus(HOUR));
    let earlier = device.ask_time();
    assert!(
        matches!(earlier, Err(ClientError::ServerTimeWentBack)),
        "{earlier:?}"
    );
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
}
