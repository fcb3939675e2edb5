//! Which of several licenses is used, why, and which ones go.

use keyward_client::enforce::Stop;
use keyward_license::{
    license::{Flag, LicenseBody, PlayEnabler},
    usage_rules::{Hdcp, Refusal, Rule},
};
use keyward_testkit::pki::{DAY, NOW};

use crate::{
    licensed::{
        INTERNAL, Screens, TYPE_0, acquire, asking, commits, hdmi, licensed, needs_hdcp, on, open, open_only,
        rental,
    },
    world::{World, kid, wanted},
};

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
