//! A subscription without chains: renewed monthly, for each film, and it lapses.

use keyward_client::ClientError;
use keyward_license::{error_code::ErrorCode, usage_rules::Refusal};
use keyward_server::policy::Preset;

use crate::scenarios::world::{DAY, FILM, NOW, World};

#[test]
fn r_013_a_subscription_is_renewed_month_by_month_and_lapses_when_it_is_cancelled() {
    let world = World::offering(Preset::Subscription);
    let mut device = world.device("phone");
    device.fetch();
    for month in 1..=14 {
        world.pass(30 * DAY - 1);
        world.network.online.set(false);
        device.restart();
        assert!(!device.play().unwrap().bound[0].is_in_grace(), "month {month}");

        // In grace it plays on, asks for the next license, and has it from then on.
        world.pass(DAY);
        let mut opened = device.stream().unwrap();
        assert!(opened.bound[0].is_in_grace() && opened.acquired.is_none());
        device.client().renew(&mut opened).unwrap_err();
        world.network.online.set(true);
        if month % 6 == 0 {
            world.restart_server();
        }
        device.restart();
        let mut opened = device.stream().unwrap();
        device.client().renew(&mut opened).unwrap().unwrap();
        assert!(device.client().renew(&mut opened).unwrap().is_none(), "once");
        let next = device.play().unwrap();
        assert!(!next.bound[0].is_in_grace());
        assert!(world.unlocks(&next, FILM));
    }
    world.end_entitlements();
    assert_eq!(device.refused_by_server(), ErrorCode::NotEntitled.number());
    // Those of the months before the last two went when their time had come.
    assert_eq!(device.client().licenses().unwrap().len(), 2);
    assert!(!device.play().unwrap().bound[0].is_in_grace());
    world.pass(33 * DAY - 1);
    device.restart();
    assert!(device.play().unwrap().bound[0].is_in_grace());
    world.pass(1);
    assert!(matches!(device.refusal(), Refusal::Ended { .. }));
    let denied = device.stream().unwrap_err();
    assert!(matches!(denied, ClientError::Denied { .. }), "{denied:?}");
}

#[test]
fn r_010_a_lapsed_subscription_does_not_come_back_with_the_clock() {
    let world = World::offering(Preset::Subscription);
    let mut device = world.device("phone");
    device.fetch();
    device.restart();
    world.network.online.set(false);
    let end = NOW.plus(33 * DAY);
    // Day 20, on which it played, leaves its trace; so does the day after the end, on which nothing did.
    world.pass(20 * DAY);
    device.play().unwrap();
    device.clock.set(Some(NOW.plus(DAY)));
    assert_eq!(device.refusal(), Refusal::NoUsableClock);
    device.clock.set(Some(NOW.plus(34 * DAY)));
    assert_eq!(device.refusal(), Refusal::Ended { end });
    device.restart();
    device.clock.set(Some(NOW.plus(20 * DAY)));
    assert_eq!(device.refusal(), Refusal::NoUsableClock);

    // The clock had been set ahead: the server's word lets the subscriber in again, until its true end.
    world.network.online.set(true);
    let opened = device.stream().unwrap();
    assert!(opened.acquired.is_none(), "the time was all that it lacked");
    assert_eq!(opened.bound[0].until(), Some(end));
    world.network.online.set(false);
    world.pass(13 * DAY);
    assert_eq!(device.refusal(), Refusal::Ended { end });
}
