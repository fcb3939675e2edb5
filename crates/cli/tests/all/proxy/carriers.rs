//! A carrier drops, delays, duplicates, reorders or alters what it carries. The table in `spec/protocol.md`
//! says what becomes of the client each time.

use std::sync::{Arc, Mutex};

use keyward_client::ClientError;
use keyward_client_native::NativeError;
use keyward_license::{
    carrier::Answer,
    error_code::{ErrorCode, Problem},
};

use crate::proxy::carrier::{Carried, has_license, is_license, wanted};

fn lost() -> Result<Answer, String> {
    Err("the connection broke".to_owned())
}

/// Bytes of a message that a test alters: some of all its parts.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(length / 24 + 1).chain([length - 1])
}

#[test]
fn what_is_dropped_is_asked_for_again() {
    let world = Carried::new();
    let mut device = world.enrolled("device");
    for answered in [false, true] {
        world.carries(move |outgoing, deliver| {
            if answered {
                deliver(outgoing);
            }
            lost()
        });
        let refused = device.acquire(wanted()).unwrap_err();
        assert!(matches!(refused, NativeError::Transport(_)), "{refused}");
        assert!(!has_license(&mut device));
    }
    world.carries_well();
    device.acquire(wanted()).unwrap();
    assert!(has_license(&mut device));
}

#[test]
fn a_lost_certificate_is_had_again_with_the_same_token() {
    let world = Carried::new();
    let mut device = world.device("device");
    let token = world.token();
    world.carries(|outgoing, deliver| {
        let answer = deliver(outgoing);
        if outgoing.url.ends_with("/enrolment") {
            lost()
        } else {
            Ok(answer)
        }
    });
    let refused = device.enrol(world.profile(), token.clone()).unwrap_err();
    assert!(matches!(refused, NativeError::Transport(_)), "{refused}");
    assert_eq!(device.operators().count(), 0);
    world.carries_well();
    device.enrol(world.profile(), token.clone()).unwrap();
    let refused = world.device("other").enrol(world.profile(), token).unwrap_err();
    assert!(
        matches!(&refused, NativeError::Client(ClientError::ServerRefused(problem)) if problem.name == "token-refused"),
        "{refused}"
    );
}

#[test]
fn what_comes_late_by_other_means_is_taken_once() {
    let world = Carried::new();
    let mut device = world.enrolled("device");
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    world.carries(move |outgoing, deliver| {
        keep.lock().unwrap().push(deliver(outgoing).body);
        lost()
    });
    device.acquire(wanted()).unwrap_err();
    let [answer] = &kept.lock().unwrap()[..] else {
        panic!("one answer was kept")
    };
    device.install(answer.clone()).unwrap();
    assert!(has_license(&mut device));
    let again = device.install(answer.clone()).unwrap_err();
    assert!(
        matches!(again, NativeError::Client(ClientError::NoPendingRequest)),
        "{again}"
    );
}

#[test]
fn what_is_delivered_twice_is_answered_once() {
    let world = Carried::new();
    let mut device = world.enrolled("device");
    let previous = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&previous);
    world.carries(move |outgoing, deliver| {
        let (first, second) = (deliver(outgoing), deliver(outgoing));
        assert_eq!(first, second, "the same request got another answer");
        *keep.lock().unwrap() = Some(first.clone());
        Ok(first)
    });
    device.acquire(wanted()).unwrap();
    assert_eq!(device.licenses().unwrap().len(), 1);
    // The answer once more, to the next request: it was consumed.
    let old = previous.lock().unwrap().take().unwrap();
    world.carries(move |_, _| Ok(old.clone()));
    let refused = device.acquire(wanted()).unwrap_err();
    assert!(
        matches!(refused, NativeError::Client(ClientError::NoPendingRequest)),
        "{refused}"
    );
    assert_eq!(device.licenses().unwrap().len(), 1);
}

#[test]
fn answers_in_another_order_are_refused_and_nothing_is_lost() {
    let world = Carried::new();
    let mut device = world.enrolled("device");
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    // The first request gets nothing, the second the answer to the first.
    world.carries(move |outgoing, deliver| {
        let mut kept = keep.lock().unwrap();
        kept.push(deliver(outgoing));
        if kept.len() == 1 {
            lost()
        } else {
            Ok(kept[0].clone())
        }
    });
    device.acquire(wanted()).unwrap_err();
    let refused = device.acquire(wanted()).unwrap_err();
    assert!(
        matches!(refused, NativeError::Client(ClientError::ResponseMismatch(why)) if why.contains("earlier request")),
        "{refused}"
    );
    assert!(!has_license(&mut device));
    for answer in kept.lock().unwrap().drain(..).rev() {
        device.install(answer.body).unwrap();
    }
    assert_eq!(device.licenses().unwrap().len(), 2);
}

#[test]
fn an_altered_request_is_refused_by_the_license_server() {
    let world = Carried::new();
    let mut device = world.enrolled("device");
    let length = Arc::new(Mutex::new(0));
    let measured = Arc::clone(&length);
    world.carries(move |outgoing, _| {
        *measured.lock().unwrap() = outgoing.body.len();
        lost()
    });
    device.acquire(wanted()).unwrap_err();
    let length = *length.lock().unwrap();
    for place in places(length) {
        world.carries(move |outgoing, deliver| {
            let mut altered = outgoing.clone();
            if is_license(outgoing) {
                altered.body[place.min(outgoing.body.len() - 1)] ^= 0x10;
            }
            Ok(deliver(&altered))
        });
        let refused = device.acquire(wanted()).unwrap_err();
        let NativeError::Client(ClientError::ServerRefused(problem)) = &refused else {
            panic!("byte {place}: {refused}")
        };
        assert!((101..=104).contains(&problem.code), "byte {place}: {refused}");
        assert!(!has_license(&mut device));
    }
    world.carries_well();
    device.acquire(wanted()).unwrap();
}

#[test]
fn an_altered_answer_is_refused_by_the_client() {
    let world = Carried::new();
    let mut device = world.enrolled("device");
    let mut length = 8;
    let mut place = 0;
    let seen = Arc::new(Mutex::new(0));
    while place < length {
        let see = Arc::clone(&seen);
        world.carries(move |outgoing, deliver| {
            let mut answer = deliver(outgoing);
            *see.lock().unwrap() = answer.body.len();
            answer.body[place] ^= 1;
            Ok(answer)
        });
        refused_answer(&device.acquire(wanted()).unwrap_err(), place);
        assert!(!has_license(&mut device));
        length = *seen.lock().unwrap();
        place += length / 24 + 1;
    }
    for conduct in [
        |mut body: Vec<u8>| {
            body.truncate(body.len() / 2);
            body
        },
        |mut body: Vec<u8>| {
            body.push(0);
            body
        },
        |_| Vec::new(),
        |_| b"<html>502 Bad Gateway</html>".to_vec(),
    ] {
        world.carries(move |outgoing, deliver| {
            let answer = deliver(outgoing);
            Ok(Answer {
                body: conduct(answer.body),
                ..answer
            })
        });
        refused_answer(&device.acquire(wanted()).unwrap_err(), 0);
    }
    world.carries(|outgoing, deliver| {
        Ok(Answer {
            status: 302,
            ..deliver(outgoing)
        })
    });
    refused_answer(&device.acquire(wanted()).unwrap_err(), 0);
    assert!(!has_license(&mut device));
    world.carries_well();
    device.acquire(wanted()).unwrap();
    assert!(has_license(&mut device));
}

fn refused_answer(refused: &NativeError, place: usize) {
    assert!(
        matches!(
            refused,
            NativeError::Client(ClientError::NotAnAnswer { .. } | ClientError::NoPendingRequest)
        ),
        "byte {place}: {refused}"
    );
}

#[test]
fn an_altered_discovery_document_enrols_nobody() {
    let world = Carried::new();
    let mut device = world.device("device");
    let token = world.token();
    for place in places(world.document().len()) {
        world.carries(move |outgoing, deliver| {
            let mut answer = deliver(outgoing);
            answer.body[place] ^= 1;
            Ok(answer)
        });
        let refused = device.enrol(world.profile(), token.clone()).unwrap_err();
        assert!(
            matches!(
                refused,
                NativeError::Client(ClientError::Message { .. } | ClientError::DiscoveryRefused(_))
            ),
            "byte {place}: {refused}"
        );
        assert_eq!(device.operators().count(), 0);
    }
    world.carries_well();
    device.enrol(world.profile(), token).unwrap();
}

#[test]
fn a_proxys_own_problem_is_told_with_what_to_do_and_changes_nothing() {
    let world = Carried::new();
    let mut device = world.enrolled("device");
    for code in [
        ErrorCode::UpstreamUnreachable,
        ErrorCode::UpstreamTimeout,
        ErrorCode::UpstreamRefuses,
        ErrorCode::UpstreamTooLarge,
        ErrorCode::UpstreamNotAnAnswer,
        ErrorCode::ServiceRefused,
        ErrorCode::RateLimited,
    ] {
        world.carries(move |_, _| {
            Ok(Answer {
                status: code.status(),
                body: Problem::new(code, "in the proxy's words".to_owned()).encode(),
            })
        });
        let refused = device.acquire(wanted()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "the license server refused: in the proxy's words ({})",
                code.name()
            )
        );
        assert_eq!(refused.hint(), code.hint());
        assert!(!has_license(&mut device));
    }
    world.carries_well();
    device.acquire(wanted()).unwrap();
}
