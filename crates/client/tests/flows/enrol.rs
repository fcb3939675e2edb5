//! Enrolment.

use keyward_client::{ClientError, host::HostProfile};
use keyward_crypto::{hpke::Suite, kdf::sha256, x509::Role};
use keyward_license::{
    certificate::SealingKey,
    codec::{Bytes, Wire},
    discovery::WELL_KNOWN_PATH,
    enrolment::applicant::CertificateFault,
    envelope::SealedRequest,
    error_code::ErrorCode,
    ids::{Digest, Nonce},
    license::Flag,
    operator_profile::OperatorProfile,
    party::PartyKeys,
    request::ClockKind,
    revocation::RevokedDevices,
    signed::MessageError,
    usage_rules::Refusal,
};
use keyward_testkit::{
    fake_server::{ENROLMENT_PATH, FakeServer, LICENSE_PATH, ORIGIN, Reply, problem},
    pki::{DAY, Leaf, NOW, Operator, YEAR, claims},
};

use crate::{
    licensed::{licensed, open, refusal},
    world::{TestClient, World, kid, wanted},
};

/// Enrols in a world that a test has changed; nothing must have been stored if that fails.
fn enrol(change: impl FnOnce(&mut World)) -> Result<(), ClientError> {
    let mut world = World::new();
    let mut client = world.open().unwrap();
    change(&mut world);
    let profile = world.profile();
    let enrolled = world.run(client.enrol(profile, "token".into()));
    if enrolled.is_err() {
        assert_eq!(client.operators().count(), 0);
        assert!(
            world.device.store.records_mut().is_empty(),
            "something was stored"
        );
    }
    enrolled.map(drop)
}

#[test]
fn a_device_enrols_and_stays_enrolled() {
    let mut world = World::new();
    let mut client = world.open().unwrap();
    let profile = world.profile();
    let enrolled = world.run(client.enrol(profile.clone(), "token".into())).unwrap();
    assert_eq!(enrolled.operator, world.server.operator.id());
    assert_eq!(enrolled.operator_name, "Test operator");
    assert_eq!(enrolled.security_level, Some(2000));
    assert_eq!(enrolled.valid_until, NOW.plus(YEAR));
    let urls: Vec<_> = world
        .sent
        .iter()
        .map(|(outgoing, _)| outgoing.url.as_str())
        .collect();
    assert_eq!(
        urls,
        [
            format!("{ORIGIN}{WELL_KNOWN_PATH}"),
            format!("{ORIGIN}{ENROLMENT_PATH}")
        ]
    );

    drop(client);
    let client = world.open().unwrap();
    assert_eq!(client.operators().collect::<Vec<_>>(), [&profile]);
}

#[test]
fn v_055_a_certificate_in_its_last_third_is_renewed_after_licenses_were_asked_for() {
    let (mut world, mut client) = World::enrolled();
    assert_eq!(enrolments_by(&mut world, &mut client, 233), 1, "the first alone");
    // What keeps it from being renewed keeps nobody from a license.
    let refused = problem(ErrorCode::TokenRefused);
    world.server.bent.instead.insert(ENROLMENT_PATH, refused);
    assert_eq!(enrolments_by(&mut world, &mut client, 234), 2);
    world.server.bent.instead.clear();
    assert_eq!(enrolments_by(&mut world, &mut client, 235), 3);
    assert_eq!(enrolments_by(&mut world, &mut client, 236), 3, "once");
    // In another process as well.
    drop(client);
    let mut client = world.open().unwrap();
    assert_eq!(enrolments_by(&mut world, &mut client, 364), 3);
}

#[test]
fn v_055_a_device_without_a_clock_renews_by_the_time_that_the_server_tells() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(HostProfile {
        clock: ClockKind::None,
        ..HostProfile::default()
    });
    world.moment.utc = None;
    world.server.now = NOW.plus(250 * DAY);
    world.run(client.acquire(wanted(&[1]))).unwrap();
    assert!(client.owes_renewal());
    let renewed = world.run(client.renew_certificates()).unwrap();
    assert_eq!(renewed.operators, [world.server.operator.id()]);
    assert!(renewed.failed.is_none() && !client.owes_renewal());
    let certificate = client.enrolments().next().unwrap().certificate().unwrap();
    assert!(certificate.not_after() > NOW.plus(366 * DAY).0);
}

#[test]
fn v_055_a_renewal_that_cannot_be_sent_takes_no_license_away() {
    let (mut world, mut client) = World::enrolled();
    let now = NOW.plus(250 * DAY);
    (world.moment.utc, world.server.now) = (Some(now), now);
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.online = false;
    assert!(client.owes_renewal());
    assert!(world.drive(client.renew_certificates()).is_none());
    assert!(!client.owes_renewal(), "not before there is contact again");
    assert_eq!(world.run(client.licenses()).unwrap().len(), 1);
    world.online = true;
    world.run(client.acquire(wanted(&[1]))).unwrap();
    assert!(client.owes_renewal());
}

/// Requests for licenses that were sent, those for the time alone among them.
fn license_requests(world: &World) -> usize {
    let sent = world.sent.iter().map(|(outgoing, _)| &outgoing.url);
    sent.filter(|url| url.ends_with(LICENSE_PATH)).count()
}

#[test]
fn r_015_v_055_whose_exemption_does_not_name_the_new_certificate_yet_asks_for_the_list_that_does() {
    for (is_named, is_answered) in [(false, true), (true, true), (false, false)] {
        let (mut world, mut client) = licensed(|body| body.ends_with_revocation = Some(Flag));
        let own = client.enrolments().next().unwrap().certificate().unwrap();
        let now = NOW.plus(250 * DAY);
        certified(&mut world, &[Role::Device], |leaf| {
            leaf.not_before = now;
            leaf.not_after = now.plus(YEAR);
        });
        // Which certificate will come is known beforehand.
        let mut chain = Vec::new();
        world.server.bent.device_chain.as_ref().unwrap()(&mut chain);
        let next = chain.remove(0);
        let exempt = |world: &mut World, number, certificates: &[&[u8]]| {
            let allowed = certificates.iter().map(|der| Digest::new(sha256(&[der])));
            world.server.device_list(number, |body| {
                body.revoked = Some(vec![RevokedDevices {
                    maker: "Keyward".into(),
                    model: None,
                    robustness_below: None,
                    since: NOW,
                    reason: None,
                }]);
                body.allowed = Some(allowed.collect());
            })
        };
        (world.moment.utc, world.server.now) = (Some(now), now);
        let of_both = [own.der(), &next];
        let first = exempt(&mut world, 1, if is_named { &of_both } else { &of_both[..1] });
        let second = exempt(&mut world, 2, &of_both);
        world.server.lists = vec![first];
        world.run(client.acquire(wanted(&[1]))).unwrap();
        open(&mut world, &mut client).unwrap();
        world.server.lists = vec![second];
        if !is_answered {
            let busy = problem(ErrorCode::Busy);
            world.server.bent.instead.insert(LICENSE_PATH, busy);
        }
        let before = license_requests(&world);
        let renewed = world.run(client.renew_certificates()).unwrap();
        assert_eq!(
            renewed.operators,
            [world.server.operator.id()],
            "it has the certificate"
        );
        let own = client.enrolments().next().unwrap().certificate().unwrap();
        assert_eq!(own.der(), next);
        assert_eq!(renewed.failed.is_some(), !is_answered, "{:?}", renewed.failed);
        if is_answered {
            assert_eq!(license_requests(&world) - before, usize::from(!is_named));
            open(&mut world, &mut client).unwrap();
        } else {
            // It is judged by what it knows, until it hears more.
            assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
            world.server.bent.instead.clear();
            world.run(client.acquire(wanted(&[1]))).unwrap();
            open(&mut world, &mut client).unwrap();
        }
    }
}

/// Acquires a license so many days from the beginning, and does what is due then; how many enrolment requests there were by then.
fn enrolments_by(world: &mut World, client: &mut TestClient, day: u64) -> usize {
    let now = NOW.plus(day * DAY);
    (world.moment.utc, world.server.now) = (Some(now), now);
    world.run(client.acquire(wanted(&[1]))).unwrap();
    if client.owes_renewal() {
        world.run(client.renew_certificates()).unwrap();
    }
    let sent = world.sent.iter().map(|(outgoing, _)| &outgoing.url);
    sent.filter(|url| url.ends_with(ENROLMENT_PATH)).count()
}

#[test]
fn requests_are_sealed_with_the_best_suite_in_common() {
    for suites in [&Suite::ALL[..], &[Suite::P256]] {
        let mut world = World::with_suites(suites);
        let mut client = world.enrol_new();
        world.run(client.acquire(wanted(&[1]))).unwrap();
        for (outgoing, _) in world
            .sent
            .iter()
            .filter(|(outgoing, _)| !outgoing.body.is_empty())
        {
            let sealed = SealedRequest::decode(&outgoing.body).unwrap();
            assert_eq!(sealed.suite, suites.last().unwrap().number());
            assert_eq!(sealed.recipient, world.server.recipient());
        }
    }
}

#[test]
fn v_053_a_certificate_for_another_signing_key_is_refused() {
    let refused = enrol(|world| {
        let keys = world.device.keys();
        let mut claims = claims(Some(2000), &[]);
        claims.sealing_keys = Some(keys.sealing_keys());
        let leaf = Leaf {
            claims: Some(claims),
            ..Leaf::new("other", &[Role::Device])
        };
        let chain = world.server.operator.issue(&leaf).chain;
        world.server.bent.device_chain = Some(Box::new(move |own| own.clone_from(&chain)));
    });
    assert!(
        matches!(
            refused,
            Err(ClientError::CertificateRefused(CertificateFault(
                "it names another signing key"
            )))
        ),
        "{refused:?}"
    );
}

/// The device's own signing key, certified as `change` wants it.
fn certified(world: &mut World, roles: &'static [Role], change: impl FnOnce(&mut Leaf<'_>)) {
    let keys = world.device.keys();
    let mut claims = claims(Some(2000), &[]);
    claims.sealing_keys = Some(keys.sealing_keys());
    let mut leaf = Leaf {
        claims: Some(claims),
        ..Leaf::new("device", roles)
    };
    change(&mut leaf);
    let chain = world.server.operator.certify(&leaf, keys.signer().public_key());
    world.server.bent.device_chain = Some(Box::new(move |own| own.clone_from(&chain)));
}

#[test]
fn v_053_a_certificate_as_it_should_be_is_taken_from_the_same_place() {
    assert!(enrol(|world| certified(world, &[Role::Device], |_| ())).is_ok());
}

#[test]
fn v_053_a_certificate_with_other_sealing_keys_is_refused() {
    let others: [fn(&mut Vec<SealingKey>); 3] = [
        |keys| keys.truncate(1),
        |keys| keys[0].public_key.0[10] ^= 1,
        |keys| {
            keys.push(SealingKey {
                suite: 9,
                public_key: Bytes(vec![1]),
            })
        },
    ];
    for other in others {
        let refused = enrol(|world| {
            certified(world, &[Role::Device], |leaf| {
                other(leaf.claims.as_mut().unwrap().sealing_keys.as_mut().unwrap());
            });
        });
        assert!(
            matches!(
                refused,
                Err(ClientError::CertificateRefused(CertificateFault(
                    "it names other sealing keys"
                )))
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn v_053_a_certificate_of_another_role_time_or_operator_or_without_claims_is_refused() {
    type Change = fn(&mut World);
    let cases: [(Change, &str); 4] = [
        (
            |world| certified(world, &[Role::LicenseServer], |_| ()),
            "its chain does not lead to the operator's root",
        ),
        (
            |world| certified(world, &[Role::Device], |leaf| leaf.not_after = NOW.minus(DAY)),
            "its chain does not lead to the operator's root",
        ),
        (
            |world| certified(world, &[Role::Device], |leaf| leaf.claims = None),
            "it has no claims",
        ),
        (
            |world| {
                let keys = world.device.keys();
                let mut claims = claims(Some(2000), &[]);
                claims.sealing_keys = Some(keys.sealing_keys());
                let leaf = Leaf {
                    claims: Some(claims),
                    ..Leaf::new("device", &[Role::Device])
                };
                let chain = Operator::new([66; 32]).certify(&leaf, keys.signer().public_key());
                world.server.bent.device_chain = Some(Box::new(move |own| own.clone_from(&chain)));
            },
            "its chain does not lead to the operator's root",
        ),
    ];
    for (change, why) in cases {
        let refused = enrol(change);
        assert!(
            matches!(refused, Err(ClientError::CertificateRefused(said)) if said == CertificateFault(why)),
            "{refused:?}"
        );
    }
}

#[test]
fn v_053_shares_sealed_to_somebody_else_do_not_open() {
    let refused = enrol(|world| {
        world.server.bent.enrolment = Some(Box::new(|response| response.shares[0].ciphertext.0[0] ^= 1));
    });
    assert!(
        matches!(refused, Err(ClientError::CertificateRefused(_))),
        "{refused:?}"
    );
    let refused = enrol(|world| {
        world.server.bent.enrolment = Some(Box::new(|response| drop(response.shares.pop())));
    });
    assert!(
        matches!(refused, Err(ClientError::CertificateRefused(_))),
        "{refused:?}"
    );
}

#[test]
fn v_004_an_enrolment_response_signed_by_somebody_else_is_refused() {
    let signers: [fn(&mut FakeServer) -> keyward_testkit::pki::Identity; 3] = [
        |server| server.operator.server(Role::Time),
        |_| Operator::new([66; 32]).server(Role::LicenseServer),
        |server| {
            let leaf = Leaf {
                not_after: NOW.minus(1),
                ..Leaf::new("expired", &[Role::LicenseServer])
            };
            server.operator.issue(&leaf)
        },
    ];
    for signer in signers {
        let refused = enrol(|world| world.server.bent.enrolment_signer = Some(signer(&mut world.server)));
        let signer_refused = matches!(
            refused,
            Err(ClientError::Message {
                what: "the enrolment response",
                error: MessageError::Signer(_)
            })
        );
        assert!(signer_refused, "{refused:?}");
    }
}

#[test]
fn v_012_an_enrolment_response_to_another_request_is_refused() {
    let edits: [fn(&mut keyward_license::enrolment::EnrolmentResponse); 2] = [
        |response| response.request = Digest::new([1; 32]),
        |response| response.nonce = Nonce::new([1; 16]),
    ];
    for edit in edits {
        let refused = enrol(|world| world.server.bent.enrolment = Some(Box::new(edit)));
        assert!(
            matches!(refused, Err(ClientError::ResponseMismatch(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn an_altered_enrolment_response_does_not_open() {
    let refused = enrol(|world| {
        world.on_the_way = Some(Box::new(|outgoing, answer| {
            if outgoing.url.ends_with(ENROLMENT_PATH) {
                *answer.body.last_mut().unwrap() ^= 1;
            }
        }));
    });
    let closed = matches!(
        refused,
        Err(ClientError::Message {
            error: MessageError::NotOpened,
            ..
        })
    );
    assert!(closed, "{refused:?}");
}

#[test]
fn whatever_else_answers_is_named_for_what_it_is() {
    for status in [200, 302, 502] {
        let html = Reply {
            status,
            body: b"<html>hello</html>".to_vec(),
        };
        let refused = enrol(|world| drop(world.server.bent.instead.insert(ENROLMENT_PATH, html.clone())));
        let named = matches!(refused, Err(ClientError::NotAnAnswer { status: said }) if said == status);
        assert!(named, "{refused:?}");
    }
    let refused = enrol(|world| {
        world
            .server
            .bent
            .instead
            .insert(ENROLMENT_PATH, problem(ErrorCode::TokenRefused));
    });
    match refused {
        Err(ClientError::ServerRefused(problem)) => {
            assert_eq!(problem.code, ErrorCode::TokenRefused.number())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_profile_that_is_none_is_refused_before_anything_is_sent() {
    let mut world = World::new();
    let mut client = world.open().unwrap();
    let profile = world.profile();
    let profiles = [
        OperatorProfile {
            version: 2,
            ..profile.clone()
        },
        OperatorProfile {
            root: Bytes(b"no certificate".to_vec()),
            ..profile.clone()
        },
    ];
    for profile in profiles {
        let refused = world.run(client.enrol(profile, "token".into()));
        assert!(
            matches!(refused, Err(ClientError::ProfileRefused(_))),
            "{refused:?}"
        );
    }
    let nowhere = OperatorProfile {
        license_servers: Vec::new(),
        ..profile.clone()
    };
    let refused = world.run(client.enrol(nowhere, "token".into()));
    assert!(
        matches!(refused, Err(ClientError::NoLicenseServer)),
        "{refused:?}"
    );
    let plain = OperatorProfile {
        license_servers: vec!["http://license.example".into()],
        ..profile
    };
    let refused = world.run(client.enrol(plain, "token".into()));
    assert!(
        matches!(refused, Err(ClientError::UrlRefused { .. })),
        "{refused:?}"
    );
    assert!(world.sent.is_empty());
}

#[test]
fn v_027_enrolling_again_does_not_forget_the_best_suite_seen() {
    let (mut world, mut client) = World::enrolled();
    world.server.roll_recipient(&[Suite::P256]);
    let profile = world.profile();
    let refused = world.run(client.enrol(profile, "token".into()));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
    // The enrolment that there was is still good.
    world.server.roll_recipient(&Suite::ALL);
    world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(world.run(client.licenses()).unwrap()[0].keys[0].kid, kid(1));
}

#[test]
fn the_token_and_the_keys_do_not_travel_in_the_clear() {
    let (world, _) = World::enrolled();
    let secrets = [
        b"token".to_vec(),
        world.device.keys().to_secret_bytes().expose()[10..42].to_vec(),
    ];
    let found = |bytes: &[u8]| {
        secrets
            .iter()
            .any(|secret| bytes.windows(secret.len()).any(|at| at == secret))
    };
    assert!(
        found(&[b"xx", &secrets[0][..]].concat()),
        "the search finds what is there"
    );
    assert!(
        world
            .sent
            .iter()
            .all(|(outgoing, answer)| !found(&outgoing.body) && !found(&answer.body))
    );
}
