//! License responses: replayed, sent to another, altered, made up.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use keyward_client::ClientError;
use keyward_crypto::{CryptoError, x509::Role};
use keyward_license::{
    codec::Bytes,
    ids::{Digest, Nonce},
    response::{Denial, KeyResult, LicenseResponse},
    signed::MessageError,
    time::Timestamp,
};
use keyward_testkit::{
    fake_server::FakeServer,
    pki::{DAY, Identity, Leaf, NOW, Operator},
};

use crate::world::{Device, KIND_LICENSE, KIND_PENDING, TestClient, World, kid, wanted};

/// The records that a refusal must leave as they are: all but the pending requests and the index.
fn kept(world: &mut World) -> Vec<(Vec<u8>, Vec<u8>)> {
    let kinds = 2..=5;
    let records = world.device.store.records_mut().iter();
    records
        .map(|(key, value)| (key.as_bytes().to_vec(), value.clone()))
        .filter(|(key, _)| kinds.contains(&key[0]) && key[0] != KIND_PENDING)
        .collect()
}

/// Acquires from a bent server and expects a refusal that leaves nothing but a consumed request.
fn refused(change: impl FnOnce(&mut World, &mut TestClient)) -> ClientError {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[9]))).unwrap();
    // A later process: what a server told the first about time is lost with it.
    drop(client);
    client = world.open().unwrap();
    change(&mut world, &mut client);
    let before = kept(&mut world);
    let refused = world.by_hand(&mut client, wanted(&[1])).unwrap_err();
    assert_eq!(kept(&mut world), before);
    assert_eq!(world.device.count(KIND_PENDING), 0, "the request is consumed");
    assert_eq!(world.run(client.licenses()).unwrap().len(), 1);
    drop(client);
    let client = world.open().unwrap();
    assert_eq!(world.run(client.licenses()).unwrap().len(), 1);
    refused
}

fn edited(edit: impl Fn(&mut LicenseResponse) + 'static) -> ClientError {
    refused(|world, _| world.server.bent.response = Some(Box::new(edit)))
}

fn signed_by(signer: impl FnOnce(&mut FakeServer) -> Identity) -> ClientError {
    refused(|world, _| world.server.bent.response_signer = Some(signer(&mut world.server)))
}

#[test]
fn v_010_a_response_is_installed_once() {
    let (mut world, mut client) = World::enrolled();
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    let response = world.answer(&request);
    world.run(client.install(response.clone())).unwrap();
    let before = kept(&mut world);
    for _ in 0..2 {
        let refused = world.run(client.install(response.clone()));
        assert!(
            matches!(refused, Err(ClientError::NoPendingRequest)),
            "{refused:?}"
        );
        drop(client);
        client = world.open().unwrap();
    }
    assert_eq!(kept(&mut world), before);
}

#[test]
fn v_010_a_response_that_nobody_asked_for_is_refused() {
    let (mut world, mut client) = World::enrolled();
    for bytes in [&b""[..], b"<html>", &[0xa2; 40]] {
        let refused = world.run(client.install(bytes.to_vec()));
        assert!(matches!(refused, Err(ClientError::NotAResponse)), "{refused:?}");
    }
}

#[test]
fn v_010_a_refused_response_consumes_its_request_and_no_other() {
    let (mut world, mut client) = World::enrolled();
    let [first, second] = [1, 2].map(|number| world.run(client.request(wanted(&[number]))).unwrap());
    world.server.bent.response = Some(Box::new(|response| response.nonce = Nonce::new([1; 16])));
    let bad = world.answer(&first);
    world.server.bent.response = None;
    let [good, other] = [world.answer(&first), world.answer(&second)];
    assert!(matches!(
        world.run(client.install(bad)),
        Err(ClientError::ResponseMismatch(_))
    ));
    assert!(matches!(
        world.run(client.install(good)),
        Err(ClientError::NoPendingRequest)
    ));
    world.run(client.install(other)).unwrap();
    assert_eq!(world.device.count(KIND_LICENSE), 1);
}

#[test]
fn v_011_a_response_to_another_device_does_not_open() {
    let (mut world, mut client) = World::enrolled();
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    let response = world.answer(&request);
    let first = core::mem::replace(&mut world.device, Device::new(3));
    let mut other = world.enrol_new();
    world.run(other.request(wanted(&[1]))).unwrap();
    let refused = world.run(other.install(response.clone()));
    assert!(
        matches!(refused, Err(ClientError::NoPendingRequest)),
        "{refused:?}"
    );
    assert_eq!(
        world.device.count(KIND_PENDING),
        1,
        "the other device's own request still waits"
    );
    world.device = first;
    world.run(client.install(response)).unwrap();
}

#[test]
fn v_011_no_altered_byte_of_a_sealed_response_goes_unnoticed() {
    let (mut world, mut client) = World::enrolled();
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    let response = world.answer(&request);
    for position in 0..response.len() {
        let mut altered = response.clone();
        altered[position] ^= 1 << (position % 8);
        let refused = world.run(client.install(altered));
        assert!(
            matches!(
                refused,
                Err(ClientError::NoPendingRequest | ClientError::NotAResponse)
            ),
            "byte {position}: {refused:?}"
        );
        if position % 100 == 0 {
            let refused = world.run(client.install(response[..position].to_vec()));
            assert!(
                matches!(
                    refused,
                    Err(ClientError::NoPendingRequest | ClientError::NotAResponse)
                ),
                "cut at {position}: {refused:?}"
            );
        }
    }
    assert_eq!(
        (world.device.count(KIND_LICENSE), world.device.count(KIND_PENDING)),
        (0, 1)
    );
    world.run(client.install(response)).unwrap();
}

/// Which bytes of a response a server alters.
type Alter = fn(&mut World, Box<dyn Fn(&mut Vec<u8>)>);

/// Installs many answers to one request, each altered by the server at another byte, each in a process of
/// its own. None may leave anything behind.
fn altered_inside(alter: Alter) {
    let (mut world, mut client) = World::enrolled();
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    drop(client);
    let waiting = world.device.store.clone();
    let length = Rc::new(Cell::new(usize::MAX));
    let mut place = 0;
    while place < length.get() {
        let seen = Rc::clone(&length);
        let flip = move |bytes: &mut Vec<u8>| {
            seen.set(bytes.len());
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << (place % 8);
            }
        };
        alter(&mut world, Box::new(flip));
        let response = world.answer(&request);
        if place >= length.get() {
            break;
        }
        let mut client = world.open().unwrap();
        let refused = world.run(client.install(response));
        let known = matches!(
            refused,
            Err(ClientError::Message { .. } | ClientError::LicenseRefused { .. })
        );
        assert!(known, "byte {place}: {refused:?}");
        assert_eq!(
            (world.device.count(KIND_LICENSE), world.device.count(KIND_PENDING)),
            (0, 0)
        );
        world.device.store = waiting.clone();
        place += 5;
    }
    assert!(place > 2_000, "only {place} bytes were there to alter");
}

#[test]
fn v_012_no_altered_byte_inside_a_response_goes_unnoticed() {
    altered_inside(|world, flip| world.server.bent.signed_response = Some(flip));
}

#[test]
fn v_020_no_altered_byte_of_a_license_goes_unnoticed() {
    altered_inside(|world, flip| world.server.bent.signed_license = Some(flip));
}

#[test]
fn v_012_a_response_that_repeats_another_digest_or_nonce_is_refused() {
    let edits: [fn(&mut LicenseResponse); 2] = [
        |response| response.request = Digest::new([1; 32]),
        |response| response.nonce = Nonce::new([1; 16]),
    ];
    for edit in edits {
        let error = edited(edit);
        assert!(
            matches!(error, ClientError::ResponseMismatch(why) if why.contains("digest or nonce")),
            "{error}"
        );
    }
}

#[test]
fn v_013_a_response_signed_by_somebody_else_is_refused() {
    let errors = [
        signed_by(|server| server.operator.server(Role::Time)),
        signed_by(|server| server.operator.recipient(Role::Device).identity),
        signed_by(|_| Operator::new([66; 32]).server(Role::LicenseServer)),
        signed_by(|server| {
            let leaf = Leaf {
                not_after: NOW.minus(1),
                ..Leaf::new("expired", &[Role::LicenseServer])
            };
            server.operator.issue(&leaf)
        }),
        signed_by(|server| {
            let leaf = Leaf {
                not_before: NOW.plus(1),
                ..Leaf::new("not yet", &[Role::LicenseServer])
            };
            server.operator.issue(&leaf)
        }),
    ];
    for error in errors {
        let by_signer = matches!(
            error,
            ClientError::Message {
                what: "the license response",
                error: MessageError::Signer(CryptoError::ChainRefused(_))
            }
        );
        assert!(by_signer, "{error}");
    }
}

#[test]
fn v_013_a_set_clock_judges_the_signer_whatever_time_the_response_states() {
    let error = refused(|world, _| {
        let leaf = Leaf {
            not_after: NOW.minus(DAY),
            ..Leaf::new("expired", &[Role::LicenseServer])
        };
        world.server.bent.response_signer = Some(world.server.operator.issue(&leaf));
        world.server.bent.response = Some(Box::new(|response| response.server_time = NOW.minus(2 * DAY)));
    });
    assert!(
        matches!(
            error,
            ClientError::Message {
                error: MessageError::Signer(_),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn v_013_without_a_clock_the_stated_time_judges_unless_it_lies_before_what_a_server_said() {
    let error = refused(|world, _| {
        world.moment.utc = None;
        world.server.bent.response = Some(Box::new(|response| response.server_time = NOW.minus(301)));
    });
    assert!(matches!(error, ClientError::ServerTimeWentBack), "{error}");
    let error = refused(|world, _| {
        world.moment.utc = None;
        world.server.bent.response = Some(Box::new(|response| response.server_time = Timestamp(u64::MAX)));
    });
    assert!(
        matches!(
            error,
            ClientError::Message {
                error: MessageError::Signer(_),
                ..
            }
        ),
        "{error}"
    );
    let (mut world, mut client) = World::enrolled();
    world.moment.utc = None;
    world.by_hand(&mut client, wanted(&[1])).unwrap();
}

#[test]
fn v_013_a_signer_cannot_state_a_time_at_which_it_is_not_valid() {
    for stated in [NOW.minus(31 * DAY), NOW.plus(366 * DAY), Timestamp(u64::MAX)] {
        let error = edited(move |response| response.server_time = stated);
        let by_signer = matches!(
            error,
            ClientError::Message {
                error: MessageError::Signer(_),
                ..
            }
        );
        assert!(by_signer, "{stated:?}: {error}");
    }
}

#[test]
fn v_014_a_result_that_was_not_asked_for_is_refused() {
    // Where no licenses may go along, none do.
    let error = refused(|world, client| {
        client.host_mut().takes_more = false;
        world.server.bent.response = Some(Box::new(|response| response.results[0].kid = kid(2)));
    });
    assert!(
        matches!(error, ClientError::ResponseMismatch(why) if why.contains("not asked for")),
        "{error}"
    );
    let error = edited(|response| {
        let denial = Some(Denial {
            code: 301,
            sentence: "no".into(),
            url: None,
        });
        response.results.push(KeyResult {
            kid: kid(2),
            license: None,
            denial,
        });
    });
    assert!(
        matches!(error, ClientError::ResponseMismatch(why) if why.contains("not asked for")),
        "{error}"
    );
}

#[test]
fn v_014_two_results_for_one_key_are_refused() {
    let error = edited(|response| response.results.push(response.results[0].clone()));
    assert!(
        matches!(error, ClientError::ResponseMismatch(why) if why.contains("two results")),
        "{error}"
    );
}

#[test]
fn v_014_a_result_that_is_both_or_neither_is_refused() {
    let edits: [fn(&mut KeyResult); 2] = [
        |result| {
            result.denial = Some(Denial {
                code: 301,
                sentence: "no".into(),
                url: None,
            })
        },
        |result| result.license = None,
    ];
    for edit in edits {
        let error = edited(move |response| edit(&mut response.results[0]));
        assert!(
            matches!(error, ClientError::ResponseMismatch(why) if why.contains("either a license or a denial")),
            "{error}"
        );
    }
}

#[test]
fn v_001_and_v_005_a_response_of_another_form_or_version_is_refused() {
    let error = edited(|response| response.version = 2);
    assert!(
        matches!(
            error,
            ClientError::Message {
                error: MessageError::UnsupportedVersion(2),
                ..
            }
        ),
        "{error}"
    );
    let error = refused(|world, _| {
        world.server.bent.signed_response = Some(Box::new(|bytes| bytes.push(0)));
    });
    assert!(
        matches!(
            error,
            ClientError::Message {
                error: MessageError::Decode(_),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn v_002_a_license_in_the_place_of_a_response_is_refused() {
    let (mut world, mut client) = World::enrolled();
    let license = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&license);
    world.server.bent.signed_license = Some(Box::new(move |bytes| seen.replace(bytes.clone()).clear()));
    world.server.bent.signed_response = Some(Box::new(move |bytes| *bytes = license.borrow().clone()));
    let refused = world.by_hand(&mut client, wanted(&[1]));
    let wrong_type = matches!(
        refused,
        Err(ClientError::Message {
            error: MessageError::WrongType { .. },
            ..
        })
    );
    assert!(wrong_type, "{refused:?}");
}

#[test]
fn one_bad_license_among_good_ones_keeps_all_of_them_out() {
    let (mut world, mut client) = World::enrolled();
    world.server.bent.response = Some(Box::new(|response| {
        response.results[1].license = Some(Bytes(vec![0; 10]));
    }));
    let refused = world.by_hand(&mut client, wanted(&[1, 2, 3]));
    assert!(
        matches!(refused, Err(ClientError::LicenseRefused { kid: of, .. }) if of == kid(2)),
        "{refused:?}"
    );
    assert_eq!(world.device.count(KIND_LICENSE), 0);
}
