//! Keys that come up while content plays.

use std::sync::Arc;

use keyward_client::{
    ClientError,
    acquire::Wanted,
    host::{HostProfile, KeptInMemory, MemoryLock},
    session::{Acquisition, Needs, Opened},
    store::memory::MemoryStore,
};
use keyward_content::{
    cenc::{Pattern, Scheme},
    header::{ContentHeader, KeyReference},
    media::{KeyError, KeyRing},
};
use keyward_license::{
    ids::Kid,
    license::{KeyType, LicenseKind},
    request::MAX_KIDS,
    response::Denial,
    usage_rules::Refusal,
};
use keyward_testkit::{fake_server::ORIGIN, pki::NOW};

use crate::{
    chained::{ROOT, acquire_root, asked, needs, open_live, rooted, with_root},
    licensed::{asking, commits, go_on, pass, sixty_seconds},
    world::{KIND_LICENSE, TestClient, Trace, World, kid, opens, wanted},
};

/// The header of live content: its root, and that keys come up while it plays.
fn live_header() -> Vec<u8> {
    let header = ContentHeader {
        on_demand: true,
        license_url: Some(ORIGIN.into()),
        ..ContentHeader::new(vec![KeyReference::new(kid(ROOT))])
    };
    header.to_object_bytes().unwrap()
}

/// Opens live content by its header.
fn live(world: &mut World, client: &mut TestClient, acquisition: Acquisition) -> Opened {
    open_live(world, client, Wanted::header(live_header()), acquisition)
}

fn reach(
    world: &mut World,
    client: &mut TestClient,
    opened: &mut Opened,
    needs: Needs,
) -> Result<(), ClientError> {
    world.run(client.reach(opened, needs)).map(drop)
}

/// The key id of a crypto period.
fn period(number: u32) -> Kid {
    let mut bytes = [0x11; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Kid::new(bytes)
}

/// Live content whose key changes with every fragment.
#[test]
fn v_039_an_hour_of_1_800_periods_costs_no_request_and_no_memory() {
    let (mut world, mut client) = rooted();
    world.server.bent.license = Some(Box::new(|body| {
        if body.kind == LicenseKind::Leaf {
            body.keys[0].key_type = KeyType::CencCtr;
        } else {
            body.end = Some(NOW.plus(7_200));
        }
    }));
    let proactive = Wanted::header(live_header());
    world.run(client.acquire(proactive)).unwrap();
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    let keys = opened.keys();
    let stored = world.device.count(KIND_LICENSE);
    let (sent, mut most) = (world.sent.len(), 0);
    world.trace.clear();
    for number in 0..1_800 {
        let now = period(number);
        world.server.keys.insert(now, [7; 16]);
        let leaf = world.server.leaf(now, kid(ROOT));
        world.server.keys.remove(&now);
        let place = Needs {
            kids: vec![now],
            licenses: vec![leaf],
            ..Needs::default()
        };
        let before = world.trace.len();
        reach(&mut world, &mut client, &mut opened, place.clone()).unwrap();
        most = most.max(world.trace.len() - before);
        let steps = world.trace.len();
        reach(&mut world, &mut client, &mut opened, place).unwrap();
        assert_eq!(world.trace.len(), steps, "what is there is there");
        assert!(opened.bound.len() <= 64, "{}", opened.bound.len());
        keys.cipher(now, Scheme::Cenc, Pattern::NONE).unwrap();
        assert!(opened.holds(world.moment, &*client.host().outputs));
        pass(&mut world, 2);
    }
    assert!(commits(&world) <= 60, "the clock's floor, once a minute");
    assert!(most < 20, "{most} steps for a key");
    assert_eq!(world.sent.len(), sent);
    assert_eq!(world.device.count(KIND_LICENSE), stored);
    assert_eq!(opened.bound.len(), 64);
    // The decoder's keys are those, and no others.
    assert!(keys.permits(period(1_799)).is_ok() && keys.permits(period(1_736)).is_ok());
    assert_eq!(keys.permits(period(1_735)), Err(KeyError::Missing));
    assert_eq!(format!("{keys:?}").matches("Kid").count().max(64), 64);
    assert_eq!(opened.bound.last().unwrap().until(), Some(NOW.plus(7_200)));
}

#[test]
fn r_005_the_end_of_a_root_stops_what_plays_at_the_next_key() {
    let (mut world, mut client) = with_root(|body| body.end = Some(NOW.plus(60)));
    let mut opened = live(&mut world, &mut client, Acquisition::Never);
    let leaves = [1, 2].map(|number| world.server.leaf(kid(number), kid(ROOT)));
    reach(&mut world, &mut client, &mut opened, needs(1, &leaves)).unwrap();
    pass(&mut world, 60);
    // R-014 shields what plays.
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert!(standing.stopped.is_empty() && opens(&opened.bound[0], 1));
    let refused = reach(&mut world, &mut client, &mut opened, needs(2, &leaves)).unwrap_err();
    assert!(matches!(
        refused,
        ClientError::Refused {
            refusal: Refusal::Ended { .. },
            ..
        }
    ));
    assert_eq!(opened.bound.len(), 1);
    assert!(opens(&opened.bound[0], 1));
    // Setting the clock back helps nobody: the time of a playback does not go back.
    world.clock(0);
    assert!(reach(&mut world, &mut client, &mut opened, needs(2, &leaves)).is_err());
    acquire_root(&mut world, &mut client, ROOT, |body| {
        body.end = Some(NOW.plus(600))
    });
    reach(&mut world, &mut client, &mut opened, needs(2, &leaves)).unwrap();
}

#[test]
fn r_014_a_root_with_real_time_expiration_stops_all_its_keys_at_once() {
    let (mut world, mut client) = with_root(sixty_seconds);
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    let leaves = [1, 2, 3].map(|number| world.server.leaf(kid(number), kid(ROOT)));
    for number in [1, 2, 3] {
        reach(&mut world, &mut client, &mut opened, needs(number, &leaves)).unwrap();
    }
    world.server.denials.insert(kid(ROOT), no_more());
    pass(&mut world, 60);
    world.server.now = world.server.now.plus(60);
    let from = world.server.requests.len();
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!((standing.stopped.len(), standing.playing), (3, 0));
    assert!(standing.check().is_err());
    assert_eq!(
        asked(&world, from),
        [[kid(ROOT)]],
        "once for all that stands under it"
    );
    for bound in &opened.bound {
        assert!(bound.stopped().is_some());
    }
    // The root again: everything again.
    world.server.denials.clear();
    reach(&mut world, &mut client, &mut opened, needs(2, &leaves)).unwrap();
    assert!(opens(opened.bound.last().unwrap(), 2));
}

#[test]
fn keys_are_reached_all_of_them_or_none() {
    let (mut world, mut client) = with_root(|_| {});
    let mut opened = live(&mut world, &mut client, Acquisition::Never);
    let leaf = world.server.leaf(kid(1), kid(ROOT));
    let both = Needs {
        kids: vec![kid(1), kid(2)],
        ..needs(1, &[leaf])
    };
    let missing = reach(&mut world, &mut client, &mut opened, both);
    assert!(matches!(missing, Err(ClientError::NoLicense { kid: of }) if of == kid(2)));
    assert!(opened.bound.is_empty());
    assert!(opened.keys().permits(kid(1)).is_err());
}

#[test]
fn a_server_is_asked_for_keys_that_nothing_else_opens_by_the_header_of_their_place() {
    let (mut world, mut client) = World::enrolled();
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    let from = world.server.requests.len();
    let place = Needs {
        content_headers: vec![crate::world::header(1, None)],
        ..needs(1, &[])
    };
    reach(&mut world, &mut client, &mut opened, place.clone()).unwrap();
    assert!(opens(&opened.bound[0], 1));
    let request = &world.server.requests[from];
    assert_eq!(request.kids.as_deref(), Some(&[kid(1)][..]));
    assert_eq!(
        request.content_headers.as_ref().unwrap()[0].0,
        place.content_headers[0]
    );
    assert!(opened.acquired.take().is_some());
    let mut offline = live(&mut world, &mut client, Acquisition::Never);
    assert!(reach(&mut world, &mut client, &mut offline, needs(2, &[])).is_err());
    assert_eq!(world.server.requests.len(), from + 1);
}

/// whoever rotates without roots has the next key before it is needed.
#[test]
fn r_046_the_next_key_comes_with_the_answer_that_its_time_brought() {
    let (mut world, mut client) = World::enrolled();
    world.server.renew_at = Some(NOW.plus(30));
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    reach(&mut world, &mut client, &mut opened, needs(1, &[])).unwrap();
    let from = world.server.requests.len();
    pass(&mut world, 30);
    assert!(!opened.holds(world.moment, &*client.host().outputs));
    go_on(&mut world, &mut client, &mut opened);
    world.server.along = vec![kid(2)];
    world.server.renew_at = Some(NOW.plus(90));
    let brought = world.run(client.renew(&mut opened)).unwrap().unwrap();
    assert_eq!(brought.outcomes.len(), 2);
    assert_eq!(asked(&world, from), [[kid(1)]]);
    world.online = false;
    reach(&mut world, &mut client, &mut opened, needs(2, &[])).unwrap();
    assert!(opens(opened.bound.last().unwrap(), 2));
}

#[test]
fn v_014_licenses_go_along_where_the_client_takes_them() {
    let (mut world, mut client) = rooted();
    world.server.leaves.insert(kid(1), kid(ROOT));
    world.server.along = vec![kid(ROOT), kid(2)];
    let acquired = crate::chained::acquire(&mut world, &mut client, &[1]);
    let brought: Vec<_> = acquired.outcomes.iter().map(|(kid, _)| *kid).collect();
    assert_eq!(brought, [kid(1), kid(ROOT), kid(2)]);
    crate::chained::open(&mut world, &mut client, 1).unwrap();
    // A device that takes none says so, and gets none.
    client.host_mut().takes_more = false;
    assert_eq!(
        crate::chained::acquire(&mut world, &mut client, &[1])
            .outcomes
            .len(),
        1
    );
    // Nothing goes along with the time.
    client.host_mut().takes_more = true;
    assert!(world.run(client.ask_time(wanted(&[]))).is_ok());
    let result = std::cell::RefCell::new(None);
    let kept = std::rc::Rc::new(result);
    let seen = std::rc::Rc::clone(&kept);
    world.server.bent.response = Some(Box::new(move |response| {
        *seen.borrow_mut() = response.results.first().cloned();
    }));
    crate::chained::acquire(&mut world, &mut client, &[2]);
    let kept = kept.take().unwrap();
    world.server.bent.response = Some(Box::new(move |response| response.results = vec![kept.clone()]));
    let refused = world.run(client.ask_time(wanted(&[]))).unwrap_err();
    assert!(matches!(refused, ClientError::ResponseMismatch(_)), "{refused}");
}

#[test]
fn v_014_more_results_than_a_response_may_hold_are_refused_whole() {
    let (mut world, mut client) = World::enrolled();
    world.server.bent.response = Some(Box::new(|response| {
        let one = response.results[0].clone();
        for number in 0..1_024_u32 {
            let mut more = one.clone();
            more.kid = period(number);
            response.results.push(more);
        }
    }));
    let refused = world.run(client.acquire(wanted(&[1]))).unwrap_err();
    assert!(
        matches!(refused, ClientError::ResponseMismatch(why) if why.contains("more results")),
        "{refused}"
    );
    assert_eq!(client.store_usage().licenses, 0);
}

/// The bounds of the store hold over everything that a response brings.
#[test]
fn v_014_what_goes_along_keeps_within_the_bounds_of_the_store() {
    let (mut world, client) = World::enrolled();
    drop(client);
    world.limits.licenses = 2;
    let mut client = world.open().unwrap();
    world.server.along = vec![kid(2), kid(3)];
    let before: MemoryStore = world.device.store.clone();
    let refused = world.run(client.acquire(wanted(&[1]))).unwrap_err();
    assert!(matches!(refused, ClientError::StoreFull { .. }), "{refused}");
    assert_eq!(client.store_usage().licenses, 0);
    drop(before);
    world.server.along = vec![kid(2)];
    assert_eq!(
        crate::chained::acquire(&mut world, &mut client, &[1])
            .outcomes
            .len(),
        2
    );
}

fn no_more() -> Denial {
    Denial {
        code: 301,
        sentence: "no more".into(),
        url: None,
    }
}

/// How often a license server was asked, or would have been.
fn sends(world: &World) -> usize {
    let sends = world.trace.iter();
    sends.filter(|step| matches!(step, Trace::Send(_))).count()
}

#[test]
fn a_server_that_denies_or_is_away_is_asked_once_a_minute_and_not_at_every_place() {
    let (mut world, mut client) = World::enrolled();
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    world.server.denials.insert(kid(1), no_more());
    let denied = reach(&mut world, &mut client, &mut opened, needs(1, &[])).unwrap_err();
    assert!(matches!(denied, ClientError::Denied { .. }));
    world.trace.clear();
    for number in [1, 2, 1] {
        pass(&mut world, 19);
        let missing = reach(&mut world, &mut client, &mut opened, needs(number, &[])).unwrap_err();
        assert!(matches!(missing, ClientError::NoLicense { .. }));
    }
    assert_eq!(sends(&world), 0);
    // The network is gone: the flow is dropped.
    world.online = false;
    for _ in 0..3 {
        pass(&mut world, 60);
        let place = needs(2, &[]);
        assert!(world.drive(client.reach(&mut opened, place)).is_none());
        assert!(reach(&mut world, &mut client, &mut opened, needs(2, &[])).is_err());
    }
    assert_eq!(sends(&world), 3);
    world.online = true;
    pass(&mut world, 60);
    for number in [2, 3] {
        reach(&mut world, &mut client, &mut opened, needs(number, &[])).unwrap();
    }
}

#[test]
fn v_037_where_neither_the_root_nor_the_key_is_given_neither_is_asked_for_again() {
    let (mut world, mut client) = rooted();
    for denied in [1, ROOT] {
        world.server.denials.insert(kid(denied), no_more());
    }
    let leaves = [1, 2].map(|number| world.server.leaf(kid(number), kid(ROOT)));
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    let from = world.server.requests.len();
    // Nobody answers: it is not known yet what this device may have.
    world.online = false;
    let place = needs(1, &leaves);
    assert!(world.drive(client.reach(&mut opened, place)).is_none());
    world.online = true;
    for _ in 0..5 {
        pass(&mut world, 60);
        reach(&mut world, &mut client, &mut opened, needs(1, &leaves)).unwrap_err();
    }
    assert_eq!(asked(&world, from), [[kid(ROOT)], [kid(1)]]);
    reach(&mut world, &mut client, &mut opened, needs(2, &leaves)).unwrap();
    assert_eq!(asked(&world, from)[2..], [[kid(2)]]);
}

#[test]
fn r_014_shields_no_key_that_was_named_early_from_the_end_of_its_root() {
    let (mut world, mut client) = with_root(|body| body.end = Some(NOW.plus(60)));
    let mut opened = live(&mut world, &mut client, Acquisition::Never);
    let leaves = [1, 2, 3].map(|number| world.server.leaf(kid(number), kid(ROOT)));
    let all = Needs {
        kids: [1, 2, 3].map(kid).into(),
        ..needs(1, &leaves)
    };
    reach(&mut world, &mut client, &mut opened, all).unwrap();
    assert!(opened.comes_to(&needs(1, &leaves), world.moment));
    assert!(
        opened.comes_to(&needs(2, &leaves), world.moment),
        "it has not ended"
    );
    pass(&mut world, 60);
    assert!(!opened.comes_to(&needs(3, &leaves), world.moment));
    let refused = reach(&mut world, &mut client, &mut opened, needs(3, &leaves)).unwrap_err();
    assert!(matches!(refused, ClientError::Refused { .. }));
    assert_eq!(opened.keys().permits(kid(3)), Err(KeyError::Missing));
    // What plays goes on, for as long as it is needed.
    assert!(opened.comes_to(&needs(2, &leaves), world.moment));
    reach(&mut world, &mut client, &mut opened, needs(2, &leaves)).unwrap();
    assert!(reach(&mut world, &mut client, &mut opened, needs(1, &leaves)).is_err());
}

#[test]
fn a_place_that_needs_more_keys_than_a_request_may_name_is_refused_first() {
    let (mut world, mut client) = World::enrolled();
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    world.trace.clear();
    let place = Needs {
        kids: (0..=u32::try_from(MAX_KIDS).unwrap()).map(period).collect(),
        ..Needs::default()
    };
    let refused = reach(&mut world, &mut client, &mut opened, place).unwrap_err();
    assert!(matches!(refused, ClientError::TooManyKeys { most: MAX_KIDS }));
    assert_eq!(world.trace, []);
}

#[test]
fn r_043_keys_of_the_place_that_plays_are_asked_for_in_one_request_and_others_close() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    world.server.bent.license = Some(Box::new(sixty_seconds));
    let mut opened = live(&mut world, &mut client, Acquisition::Reactive);
    for number in [1, 2] {
        reach(&mut world, &mut client, &mut opened, needs(number, &[])).unwrap();
    }
    let both = Needs {
        kids: vec![kid(3), kid(4)],
        ..Needs::default()
    };
    reach(&mut world, &mut client, &mut opened, both).unwrap();
    pass(&mut world, 60);
    world.server.now = world.server.now.plus(60);
    let from = world.server.requests.len();
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(asked(&world, from), [[kid(3), kid(4)]]);
    let stopped: Vec<_> = standing.stopped.iter().map(|(kid, _)| *kid).collect();
    assert_eq!(stopped, [kid(1), kid(2)]);
    assert!(opens(&opened.bound[2], 3) && opens(&opened.bound[3], 4));
}

/// Places in locked memory: as many as hold the list.
#[derive(Default)]
struct Places(Arc<()>);

struct Place(#[expect(dead_code, reason = "counted while it lives")] Arc<()>);

impl KeptInMemory for Place {}

impl MemoryLock for Places {
    fn lock(&self, _: usize, _: usize) -> Option<Box<dyn KeptInMemory>> {
        Some(Box::new(Place(Arc::clone(&self.0))))
    }
}

#[test]
fn the_key_of_a_root_is_in_memory_for_no_longer_than_something_plays_under_it() {
    let (mut world, client) = with_root(sixty_seconds);
    let places = Arc::new(Places::default());
    let host = HostProfile {
        memory: Arc::clone(&places) as Arc<dyn MemoryLock>,
        ..asking()
    };
    let mut client = client.on_host(host);
    let mut opened = live(&mut world, &mut client, Acquisition::Never);
    let leaves = [1, 2].map(|number| world.server.leaf(kid(number), kid(ROOT)));
    let there = || Arc::strong_count(&places.0) - 1;
    for number in [1, 2] {
        reach(&mut world, &mut client, &mut opened, needs(number, &leaves)).unwrap();
        assert_eq!(there(), 1);
    }
    pass(&mut world, 60);
    go_on(&mut world, &mut client, &mut opened);
    assert_eq!(there(), 0);
    // Nor does a place that cannot be played leave it there.
    assert!(reach(&mut world, &mut client, &mut opened, needs(1, &leaves)).is_err());
    assert_eq!(there(), 0);
}
