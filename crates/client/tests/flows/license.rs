//! Licenses in an honest response of a server that signs what it should not.

use keyward_client::{ClientError, LicenseFault, acquire::Wanted, install::AcquiredKey};
use keyward_crypto::{CryptoError, hpke::Suite, x509::Role};
use keyward_license::{
    codec::{Bytes, DecodeError, Wire},
    ids::{DeviceId, LicenseId, Nonce},
    license::{
        Binding, BindingKind, ExplicitRestriction, Flag, Guid, KeyType, LicenseBody, LicenseKind, Resolution,
    },
    signed::MessageError,
};
use keyward_testkit::{
    fake_server::{FakeServer, LICENSE_PATH, ORIGIN},
    pki::{DAY, Identity, Leaf, NOW, Operator},
};

use crate::world::{KIND_LICENSE, KIND_PENDING, KIND_TOMBSTONE, World, kid, opens, wanted};
use keyward_client::session::Acquisition;

/// Acquires from a bent server, expects the license to be refused and nothing to be stored.
fn refused_asking(asked: Wanted, change: impl FnOnce(&mut FakeServer)) -> LicenseFault {
    let (mut world, mut client) = World::enrolled();
    change(&mut world.server);
    let error = world.run(client.acquire(asked)).unwrap_err();
    assert_eq!(
        (world.device.count(KIND_LICENSE), world.device.count(KIND_PENDING)),
        (0, 0)
    );
    assert_eq!(world.run(client.licenses()).unwrap(), []);
    let refused = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never));
    assert!(
        matches!(refused, Err(ClientError::NoLicense { .. })),
        "{refused:?}"
    );
    match error {
        ClientError::LicenseRefused { kid: of, fault } if of == kid(1) => fault,
        other => panic!("{other}"),
    }
}

fn refused(change: impl FnOnce(&mut FakeServer)) -> LicenseFault {
    refused_asking(wanted(&[1]), change)
}

fn edited(edit: impl Fn(&mut LicenseBody) + 'static) -> LicenseFault {
    refused(|server| server.bent.license = Some(Box::new(edit)))
}

fn signed_by(signer: impl FnOnce(&mut FakeServer) -> Identity) -> LicenseFault {
    refused(|server| server.bent.license_signer = Some(signer(server)))
}

#[test]
fn v_020_a_license_signed_by_somebody_else_is_refused() {
    let faults = [
        signed_by(|server| server.operator.server(Role::Receipt)),
        signed_by(|server| server.operator.device().identity),
        signed_by(|_| Operator::new([66; 32]).server(Role::LicenseServer)),
    ];
    for fault in faults {
        let by_signer = matches!(
            fault,
            LicenseFault::Message(MessageError::Signer(CryptoError::ChainRefused(_)))
        );
        assert!(by_signer, "{fault}");
    }
}

#[test]
fn v_020_a_signer_that_has_expired_since_the_issue_is_refused_on_arrival() {
    let fault = refused(|server| {
        let leaf = Leaf {
            not_after: NOW.minus(1),
            ..Leaf::new("expired", &[Role::LicenseServer])
        };
        server.bent.license_signer = Some(server.operator.issue(&leaf));
        server.bent.license = Some(Box::new(|body| body.issued = NOW.minus(DAY)));
    });
    assert!(
        matches!(fault, LicenseFault::Message(MessageError::Signer(_))),
        "{fault}"
    );
}

#[test]
fn v_020_a_license_issued_before_its_signer_was_valid_is_refused() {
    let fault = edited(|body| body.issued = NOW.minus(60 * DAY));
    assert!(
        matches!(fault, LicenseFault::Message(MessageError::Signer(_))),
        "{fault}"
    );
}

#[test]
fn v_020_a_stored_license_outlives_its_signers_certificate() {
    let (mut world, mut client) = World::enrolled();
    let leaf = Leaf {
        not_after: NOW.plus(DAY),
        ..Leaf::new("short", &[Role::LicenseServer])
    };
    world.server.bent.license_signer = Some(world.server.operator.issue(&leaf));
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.clock(30 * 86_400);
    let opened = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
        .unwrap();
    assert!(opens(&opened.bound[0], 1));
}

#[test]
fn v_001_a_critical_term_that_this_version_does_not_know_is_refused() {
    let fault = refused(|server| {
        // Key 21 follows the last of the body, key 9, and the map has one pair more.
        server.bent.encoded_license = Some(Box::new(|body| {
            body[0] += 1;
            body.extend([21, 0]);
        }));
    });
    let unknown = LicenseFault::Message(MessageError::Decode(DecodeError::UnknownCritical {
        map: "license",
        key: 21,
    }));
    assert_eq!(fault, unknown);
}

#[test]
fn v_029_a_license_with_a_term_that_was_not_announced_is_refused() {
    // By a host that asks nothing while content plays, does not say what it decodes, and embeds no watermark.
    let largest = Resolution {
        width: 1920,
        height: 1080,
    };
    type Edit = Box<dyn Fn(&mut LicenseBody)>;
    let edits: [Edit; 3] = [
        Box::new(|body| {
            body.end = Some(NOW.plus(60));
            body.real_time_expiration = Some(Flag);
        }),
        Box::new(move |body| {
            body.explicit_restrictions = Some(vec![ExplicitRestriction::MaximumDecodeResolution(largest)]);
        }),
        Box::new(|body| {
            body.explicit_restrictions = Some(vec![ExplicitRestriction::Watermark(Guid::new([1; 16]))]);
        }),
    ];
    for edit in edits {
        assert_eq!(edited(edit), LicenseFault::NotAnnounced);
    }
}

#[test]
fn v_030_and_v_031_terms_that_are_unknown_or_do_not_fit_are_refused() {
    let edits: [fn(&mut LicenseBody); 3] = [
        |body| body.play_enablers = Some(vec![]),
        |body| body.grace_period = Some(0),
        |body| {
            body.end = None;
            body.grace_period = Some(1);
        },
    ];
    for edit in edits {
        let fault = edited(edit);
        let by_form = matches!(
            fault,
            LicenseFault::Message(MessageError::Decode(DecodeError::Invalid(_)))
        );
        assert!(by_form, "{fault}");
    }
}

#[test]
fn v_021_a_license_without_exactly_one_key_or_any_right_is_refused() {
    let edits: [fn(&mut LicenseBody); 5] = [
        |body| body.keys.push(body.keys[0].clone()),
        |body| body.keys.clear(),
        |body| body.rights.clear(),
        |body| body.nonce = Some(Nonce::new([1; 16])),
        |body| body.persistent = false,
    ];
    for edit in edits {
        let fault = edited(edit);
        let invalid = matches!(
            fault,
            LicenseFault::Message(MessageError::Decode(DecodeError::Invalid(_)))
        );
        assert!(invalid, "{fault}");
    }
}

#[test]
fn v_036_a_license_that_is_sealed_as_its_kind_may_not_be_is_refused() {
    // A leaf whose keys are sealed to the device.
    let fault = edited(|body| (body.kind, body.binding) = (LicenseKind::Leaf, Binding::root(kid(200))));
    let refused = "the license is sealed as its kind may not be sealed";
    let expected = MessageError::Decode(DecodeError::Invalid(refused));
    assert_eq!(fault, LicenseFault::Message(expected));
}

#[test]
fn v_023_a_root_license_without_a_root_key_is_refused() {
    let fault = edited(|body| (body.kind, body.keys[0].key_type) = (LicenseKind::Root, KeyType::Root));
    assert_eq!(fault, LicenseFault::KeyNotOpened);
}

#[test]
fn v_021_a_license_whose_key_or_binding_does_not_fit_its_kind_is_refused() {
    let edits: [fn(&mut LicenseBody); 6] = [
        |body| body.kind = LicenseKind::Leaf,
        |body| body.keys[0].key_type = KeyType::Root,
        |body| body.keys[0].key_type = KeyType::Exchange,
        |body| body.binding.kind = BindingKind::Domain,
        |body| body.binding.revision = Some(1),
        |body| body.binding.id.0.truncate(31),
    ];
    for edit in edits {
        let fault = edited(edit);
        let invalid = matches!(
            fault,
            LicenseFault::Message(MessageError::Decode(DecodeError::Invalid(_)))
        );
        assert!(invalid, "{fault}");
    }
}

#[test]
fn v_022_a_license_for_another_device_is_refused() {
    let others = [
        Binding::device(&DeviceId::new([1; 32])),
        Binding {
            kind: BindingKind::Domain,
            id: Bytes(vec![1; 16]),
            revision: Some(1),
        },
    ];
    for other in others {
        assert_eq!(
            edited(move |body| body.binding = other.clone()),
            LicenseFault::OtherDevice
        );
    }
}

#[test]
fn v_023_a_key_that_was_sealed_under_another_body_does_not_open() {
    let fault = refused(|server| {
        server.terms.end = Some(NOW.plus(DAY));
        server.bent.license_after_sealing = Some(Box::new(|bytes| {
            let body = LicenseBody::decode(bytes).unwrap();
            *bytes = LicenseBody { end: None, ..body }.encode();
        }));
    });
    assert_eq!(fault, LicenseFault::KeyNotOpened);
}

#[test]
fn v_023_keys_that_the_body_does_not_describe_are_refused() {
    let edits: [fn(&mut Vec<Bytes>); 5] = [
        |keys| keys.push(keys[0].clone()),
        Vec::clear,
        |keys| keys[0].0.truncate(15),
        |keys| keys[0].0.push(0),
        |keys| keys[0].0.clear(),
    ];
    for edit in edits {
        let fault = refused(|server| server.bent.license_keys = Some(Box::new(edit)));
        assert_eq!(fault, LicenseFault::KeyNotOpened);
    }
}

#[test]
fn v_024_an_in_memory_license_of_another_request_is_refused() {
    let fault = refused_asking(
        Wanted {
            in_memory: true,
            ..wanted(&[1])
        },
        |server| {
            server.bent.license = Some(Box::new(|body| body.nonce = Some(Nonce::new([1; 16]))));
        },
    );
    assert_eq!(fault, LicenseFault::OtherNonce);
}

#[test]
fn v_025_a_license_for_another_key_is_refused() {
    assert_eq!(edited(|body| body.keys[0].kid = kid(2)), LicenseFault::OtherKid);
}

#[test]
fn v_025_the_licenses_of_two_keys_cannot_be_swapped() {
    let (mut world, mut client) = World::enrolled();
    world.server.bent.response = Some(Box::new(|response| {
        let [first, second] = &mut response.results[..] else {
            panic!("two were asked for")
        };
        core::mem::swap(&mut first.license, &mut second.license);
    }));
    let refused = world.run(client.acquire(wanted(&[1, 2])));
    let swapped = matches!(
        refused,
        Err(ClientError::LicenseRefused {
            fault: LicenseFault::OtherKid,
            ..
        })
    );
    assert!(swapped, "{refused:?}");
}

#[test]
fn v_026_a_license_that_does_not_begin_before_it_ends_is_refused() {
    for (begin, end) in [(NOW, NOW), (NOW.plus(1), NOW)] {
        let fault = edited(move |body| (body.begin, body.end) = (Some(begin), Some(end)));
        let invalid = DecodeError::Invalid("the license ends before it begins");
        assert_eq!(fault, LicenseFault::Message(MessageError::Decode(invalid)));
    }
}

#[test]
fn v_027_a_license_sealed_with_a_weaker_suite_is_refused() {
    assert_eq!(
        refused(|server| server.bent.license_suite = Some(Suite::P256)),
        LicenseFault::WeakSuite
    );
}

#[test]
fn v_027_a_license_sealed_with_a_better_suite_than_the_discovery_offers_is_taken() {
    let mut world = World::with_suites(&[Suite::P256]);
    let mut client = world.enrol_new();
    world.server.bent.license_suite = Some(Suite::XWing);
    world.run(client.acquire(wanted(&[1]))).unwrap();
}

#[test]
fn v_028_a_removed_license_does_not_come_back() {
    let (mut world, mut client) = World::enrolled();
    let id = LicenseId::new([7; 16]);
    world.server.bent.license = Some(Box::new(move |body| body.id = id));
    let request = world.run(client.request(wanted(&[1]))).unwrap();
    let response = world.answer(&request);
    world.run(client.install(response.clone())).unwrap();
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    assert_eq!(
        (
            world.device.count(KIND_LICENSE),
            world.device.count(KIND_TOMBSTONE)
        ),
        (0, 1)
    );
    // The saved response: its request was consumed.
    let refused = world.run(client.install(response));
    assert!(
        matches!(refused, Err(ClientError::NoPendingRequest)),
        "{refused:?}"
    );
    // The same license under a fresh request, in this process and the next.
    for _ in 0..2 {
        let refused = world.run(client.acquire(wanted(&[1])));
        let removed = matches!(
            refused,
            Err(ClientError::LicenseRefused {
                fault: LicenseFault::Removed,
                ..
            })
        );
        assert!(removed, "{refused:?}");
        assert_eq!(world.device.count(KIND_LICENSE), 0);
        drop(client);
        client = world.open().unwrap();
    }
    // Another license for the same key is welcome.
    world.server.bent.license = None;
    world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(world.run(client.remove_licenses(kid(2))).unwrap(), 0);
}

#[test]
fn a_license_that_may_be_stored_is_stored_even_if_one_in_memory_was_asked_for() {
    let (mut world, mut client) = World::enrolled();
    world.server.bent.license = Some(Box::new(|body| (body.persistent, body.nonce) = (true, None)));
    let acquired = world
        .run(client.acquire(Wanted {
            in_memory: true,
            ..wanted(&[1])
        }))
        .unwrap();
    assert!(
        matches!(acquired.outcomes[..], [(_, AcquiredKey::Stored(_))]),
        "{acquired:?}"
    );
}

#[test]
fn an_operator_cannot_put_its_license_in_the_place_of_anothers() {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let id = world.run(client.licenses()).unwrap()[0].id;
    // The first of the operators that may be asked is asked.
    let first = world.server.operator.id();
    let mut other = (66..)
        .map(|seed| FakeServer::new([seed; 32]))
        .find(|server| server.operator.id() < first)
        .unwrap();
    other.keys.extend(world.server.keys.clone());
    other.bent.license = Some(Box::new(move |license| license.id = id));
    world.server = other;
    let profile = world.profile();
    world.run(client.enrol(profile, "token".into())).unwrap();
    let asked = Wanted {
        license_url: Some(format!("{ORIGIN}{LICENSE_PATH}")),
        ..wanted(&[1])
    };
    let refused = world.run(client.acquire(asked)).unwrap_err();
    assert!(
        matches!(refused, ClientError::ResponseMismatch(why) if why.contains("another operator")),
        "{refused:?}"
    );
    let held = world.run(client.held_licenses()).unwrap();
    assert_eq!(held.iter().map(|held| held.operator).collect::<Vec<_>>(), [first]);
}
