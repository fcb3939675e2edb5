//! What the client does about each error of the table: how often it asks, how long it waits, whom it asks, and what it
//! tells the application in the end.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use keyward_client::{
    ClientError,
    flow::{Answer, Outgoing},
    install::{Acquired, AcquiredKey},
};
use keyward_client_native::NativeError;
use keyward_license::{
    error_code::{ErrorCode, Problem},
    ids::Kid,
};
use keyward_server::{
    Server,
    admin::TokenRequest,
    handler::{Asked, Decision, HandlerError, LicenseHandler},
    policy::{OnRevocation, Preset},
    sealing::KekSource,
};

use crate::scenarios::{
    revocation::{SECOND, forever},
    world::{ALICE, DAY, Device, FILM, NOW, World},
};

/// Every error: number, HTTP status, what the client does. As `spec/errors.md` has it, and not as the program says.
const TABLE: &[(u64, u16, &str)] = &[
    (101, 400, "retry"),
    (102, 400, "stop"),
    (103, 400, "discover"),
    (104, 400, "discover"),
    (105, 413, "split"),
    (106, 404, "discover"),
    (107, 415, "stop"),
    (201, 403, "stop"),
    (202, 403, "enrol"),
    (203, 403, "enrol"),
    (204, 403, "stop"),
    (205, 409, "stop"),
    (206, 403, "stop"),
    (207, 401, "stop"),
    (208, 401, "stop"),
    (209, 409, "stop"),
    (301, 403, "show"),
    (302, 404, "stop"),
    (303, 403, "show"),
    (304, 403, "stop"),
    (305, 200, "ask-time"),
    (306, 403, "show"),
    (307, 403, "stop"),
    (308, 403, "show"),
    (309, 403, "join"),
    (310, 403, "renew-domain"),
    (311, 403, "show"),
    (312, 403, "stop"),
    (313, 403, "stop"),
    (401, 403, "stop"),
    (402, 400, "enrol"),
    (501, 500, "retry"),
    (502, 503, "retry"),
    (503, 429, "retry"),
    (601, 400, "stop"),
    (701, 502, "retry"),
    (702, 504, "retry"),
    (703, 502, "stop"),
    (704, 502, "split"),
    (705, 502, "stop"),
];

/// A page that a denial names.
const PAGE: &str = "https://shop.example/why";

/// What was sent: the last part of the path, and the body.
type Sent = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

/// Lets a fault stand between the devices and the server for the next `times` messages to a path.
fn fault(world: &World, path: &'static str, times: usize, answer: Answer, retry_after: Option<u64>) -> Sent {
    let sent = Sent::default();
    let (seen, mut left) = (Rc::clone(&sent), times);
    *world.network.between.borrow_mut() = Some(Box::new(move |outgoing: &Outgoing| {
        let to = outgoing.url.rsplit('/').next().unwrap_or_default().to_owned();
        let is_hit = to == path && left > 0;
        seen.borrow_mut().push((to, outgoing.body.clone()));
        left -= usize::from(is_hit);
        is_hit.then(|| (answer.clone(), retry_after))
    }));
    world.network.waited.borrow_mut().clear();
    sent
}

fn problem(number: u64, status: u16) -> Answer {
    let problem = Problem {
        code: number,
        name: "forced".into(),
        detail: "the test says so".into(),
        status: status.into(),
    };
    Answer {
        status,
        body: problem.encode(),
    }
}

fn paths(sent: &Sent) -> Vec<String> {
    sent.borrow().iter().map(|(path, _)| path.clone()).collect()
}

/// Whether the messages to the license server were all the same, and whether no two were.
fn repeats(sent: &Sent) -> (bool, bool) {
    let sent = sent.borrow();
    let bodies: Vec<&Vec<u8>> = sent
        .iter()
        .filter(|(path, _)| path == "license")
        .map(|(_, body)| body)
        .collect();
    let mut different = bodies.clone();
    different.sort();
    different.dedup();
    (different.len() == 1, different.len() == bodies.len())
}

/// Whether the device waited for as many seconds, each time up to half as long again.
fn waited(world: &World, seconds: &[u64]) -> bool {
    let waited = world.network.waited.borrow();
    let fits = |(waited, seconds): (&u64, &u64)| (seconds * 1000..=seconds * 1500).contains(waited);
    waited.len() == seconds.len() && waited.iter().zip(seconds).all(fits)
}

/// A device that has the film, under a license that ends with a revocation, and is about to ask for both films.
fn at_home() -> (World, Device) {
    let world = World::under(forever(OnRevocation::Stop));
    world.offer(SECOND);
    let mut device = world.device("tv");
    device.fetch();
    device.wanted.kids = vec![FILM, SECOND];
    (world, device)
}

/// Both licenses are there.
fn has_both(acquired: Result<Acquired, ClientError>) -> bool {
    let acquired = acquired.unwrap();
    let mut stored: Vec<Kid> = acquired
        .outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, AcquiredKey::Stored(_)))
        .map(|(kid, _)| *kid)
        .collect();
    stored.sort_unstable();
    stored == [FILM, SECOND]
}

#[test]
fn the_table_has_every_error() {
    let numbers: Vec<u64> = TABLE.iter().map(|(number, ..)| *number).collect();
    let known: Vec<u64> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
    assert_eq!(numbers, known);
}

#[test]
fn an_error_that_does_not_go_away_is_told_after_what_could_be_done() {
    let (world, mut device) = at_home();
    for &(number, status, does) in TABLE.iter().filter(|(_, status, _)| *status != 200) {
        let sent = fault(&world, "license", usize::MAX, problem(number, status), None);
        let error = device.acquire().unwrap_err();
        assert!(
            matches!(&error, ClientError::ServerRefused(problem) if problem.code == number),
            "{error:?}"
        );
        assert_eq!(error.behaviour().unwrap().name(), does, "{number}");
        let (paths, (same, different)) = (paths(&sent), repeats(&sent));
        match does {
            "retry" => {
                assert_eq!(paths, ["license"; 4], "{number}");
                assert!(same && waited(&world, &[1, 2, 4]), "{number}: byte for byte");
            }
            "discover" => {
                assert_eq!(paths, ["license", "keyward", "license"], "{number}");
                assert!(different && waited(&world, &[]), "{number}: another request");
            }
            // Half of the keys are one, which cannot be split.
            "split" => {
                assert_eq!(paths, ["license"; 2], "{number}");
                assert!(different && waited(&world, &[]), "{number}");
            }
            _ => {
                assert_eq!(paths, ["license"], "{number}");
                assert!(waited(&world, &[]), "{number}");
            }
        }
        // Nobody has signed it: nothing is forgotten, and 204 revokes nothing.
        assert!(device.plays(FILM), "{number}");
        assert_eq!(device.client().trust().unwrap()[0].revoked, None);
    }
    *world.network.between.borrow_mut() = None;
    device.streams(SECOND).unwrap();
}

#[test]
fn an_error_that_goes_away_is_never_told_where_the_client_can_do_something() {
    let (world, mut device) = at_home();
    for &(number, status, does) in TABLE.iter().filter(|(_, status, _)| *status != 200) {
        let sent = fault(&world, "license", 1, problem(number, status), None);
        let acquired = device.acquire();
        let (expected, waits): (&[&str], &[u64]) = match does {
            "retry" => (&["license", "license"], &[1]),
            "discover" => (&["license", "keyward", "license"], &[]),
            "split" => (&["license", "license", "license"], &[]),
            _ => (&["license"], &[]),
        };
        assert_eq!(paths(&sent), expected, "{number}");
        assert!(waited(&world, waits), "{number}");
        if expected.len() > 1 {
            assert!(has_both(acquired), "{number}");
        } else {
            assert!(acquired.is_err(), "{number}");
        }
    }
    // The third time is not the last.
    let sent = fault(&world, "license", 3, problem(502, 503), None);
    assert!(has_both(device.acquire()));
    assert_eq!(paths(&sent).len(), 4);
    assert!(waited(&world, &[1, 2, 4]));
    // What is discovered once is not discovered again.
    let sent = fault(&world, "license", 2, problem(103, 400), None);
    assert!(device.acquire().is_err());
    assert_eq!(paths(&sent), ["license", "keyward", "license"]);
}

#[test]
fn who_says_when_to_come_again_is_heard_up_to_half_a_minute() {
    let (world, mut device) = at_home();
    for (seconds, waits) in [
        (0, Some(1)),
        (1, Some(1)),
        (5, Some(5)),
        (20, Some(20)),
        (31, None),
        (3_600, None),
        (u64::MAX, None),
    ] {
        for (number, status) in [(502, 503), (503, 429), (701, 502)] {
            let sent = fault(&world, "license", 1, problem(number, status), Some(seconds));
            let acquired = device.acquire();
            if let Some(wait) = waits {
                assert!(
                    has_both(acquired) && waited(&world, &[wait]),
                    "{number} {seconds}"
                );
            } else {
                assert!(acquired.is_err() && waited(&world, &[]), "{number} {seconds}");
                assert_eq!(paths(&sent), ["license"]);
            }
        }
    }
    // No longer than that, also with what is added so that not all come at once.
    for _ in 0..8 {
        fault(&world, "license", 1, problem(502, 503), Some(30));
        assert!(has_both(device.acquire()));
        assert_eq!(*world.network.waited.borrow(), [30_000]);
    }
    // Of what is not asked again, nobody hears it.
    fault(&world, "license", 1, problem(301, 403), Some(1));
    assert!(device.acquire().is_err() && waited(&world, &[]));
}

#[test]
fn what_is_no_problem_document_of_the_table_is_told_at_once() {
    let (world, mut device) = at_home();
    let page = Answer {
        status: 503,
        body: b"<html>come back later</html>".to_vec(),
    };
    // Numbers of a later version; a number with another status than its own; a page of something in between.
    for answer in [problem(999, 503), problem(502, 500), problem(301, 503), page] {
        let sent = fault(&world, "license", usize::MAX, answer, Some(1));
        let error = device.acquire().unwrap_err();
        assert!(
            matches!(
                error,
                ClientError::ServerRefused(_) | ClientError::NotAnAnswer { .. }
            ),
            "{error:?}"
        );
        assert_eq!(paths(&sent), ["license"]);
        assert!(waited(&world, &[]) && device.plays(FILM));
    }
}

#[test]
fn nobody_waits_for_what_is_fetched_ahead_and_enrolment_is_as_patient_as_acquisition() {
    let world = World::offering(Preset::Subscription);
    let mut device = world.device("tv");
    device.fetch();
    world.pass(31 * DAY);
    let mut opened = device.stream().unwrap();
    assert!(opened.bound[0].is_in_grace());
    let sent = fault(&world, "license", usize::MAX, problem(502, 503), None);
    device.client().renew(&mut opened).unwrap_err();
    assert_eq!(paths(&sent), ["keyward", "license"], "the document has expired");
    assert!(waited(&world, &[]));

    for (path, number, status, sends, waits) in [
        ("enrolment", 502, 503, 1 + 2, &[1][..]),
        ("keyward", 502, 503, 2 + 1, &[1]),
        ("enrolment", 401, 403, 1 + 1, &[]),
        ("keyward", 106, 404, 1, &[]),
    ] {
        let sent = fault(&world, path, 1, problem(number, status), None);
        let enrolled = world.enrol(&mut device, TokenRequest::new(ALICE));
        assert_eq!(enrolled.is_ok(), !waits.is_empty(), "{path} {number}");
        assert_eq!(paths(&sent).len(), sends, "{path} {number}");
        assert!(waited(&world, waits), "{path} {number}");
        if let Err(refused) = enrolled {
            assert!(
                matches!(refused, NativeError::Client(ClientError::ServerRefused(_))),
                "{refused}"
            );
        }
    }
}

#[test]
fn r_010_a_device_without_a_clock_asks_for_the_time_and_for_nothing_that_it_holds() {
    let world = World::offering(Preset::Rental);
    let mut device = world.device("tv");
    device.fetch();
    device.restart();
    device.clock.set(None);
    let refused = device.play().unwrap_err();
    assert_eq!(refused.behaviour().unwrap().name(), "ask-time", "{refused:?}");
    let sent = fault(&world, "license", 2, problem(502, 503), None);
    let opened = device.stream().unwrap();
    assert_eq!(opened.bound[0].first_play(), Some(NOW));
    assert!(opened.acquired.is_none(), "the time was all that it lacked");
    assert_eq!(paths(&sent), ["license"; 3]);
    assert!(waited(&world, &[1, 2]));
}

/// Denies everything for one reason.
struct Denies(ErrorCode);

impl LicenseHandler for Denies {
    async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
        let mut decision = Decision::default();
        for key in &asked.keys {
            decision.deny(key.kid, self.0, "the service says why", Some(PAGE));
        }
        Ok(decision)
    }
}

#[test]
fn a_signed_denial_reaches_the_viewer_with_its_page_and_only_204_ends_the_asking() {
    let (world, mut device) = at_home();
    let denials = TABLE
        .iter()
        .filter(|(number, ..)| *number == 204 || (301..400).contains(number));
    for &(number, _, does) in denials {
        let code = ErrorCode::from_number(number).unwrap();
        world.decide_by(Denies(code));
        device.restart();
        for again in [false, true] {
            let sent = fault(&world, "license", 0, problem(101, 400), None);
            let error = device.streams(SECOND).unwrap_err();
            assert_eq!(error.behaviour().unwrap().name(), does, "{number}");
            if number == 204 && again {
                assert!(matches!(error, ClientError::DeviceRevoked { .. }), "{error:?}");
                assert_eq!(paths(&sent), [""; 0]);
                continue;
            }
            assert!(
                matches!(&error, ClientError::Denied { kid: SECOND, denial }
                    if denial.code == number && denial.sentence == "the service says why"),
                "{error:?}"
            );
            assert_eq!(error.page(), Some(PAGE), "{number}");
            assert_eq!(paths(&sent), ["license"], "{number}");
            assert!(waited(&world, &[]));
        }
        // Asked for explicitly, it is asked for; and the others revoke nothing.
        let sent = fault(&world, "license", 0, problem(101, 400), None);
        device.acquire().unwrap();
        assert_eq!(paths(&sent), ["license"]);
        assert_eq!(device.plays(FILM), number != 204, "{number}");
        world.restart_server();
        device.restart();
        assert!(has_both(device.acquire()), "{number}");
        assert!(device.plays(FILM));
        device.client().remove_licenses(SECOND).unwrap();
    }
}

impl World {
    /// Starts the server anew, with somebody else who decides.
    pub(crate) fn decide_by(&self, handler: impl LicenseHandler) {
        let (dir, clock) = (self.home().join("operator"), Arc::clone(&self.clock));
        let opened = self.operator(async |old| {
            old.close().await;
            Server::open_with_handler(&dir, KekSource::File, clock, handler).await
        });
        self.put_in_place(opened.unwrap());
    }
}
