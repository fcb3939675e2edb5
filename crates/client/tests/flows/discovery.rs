//! Discovery documents.

use keyward_client::ClientError;
use keyward_crypto::{hpke::Suite, x509::Role};
use keyward_license::{
    codec::{Bytes, Wire},
    discovery::{Discovery, MAX_DOCUMENT, WELL_KNOWN_PATH},
    envelope::SealedRequest,
    error_code::ErrorCode,
    ids::Digest,
    signed::MessageError,
};
use keyward_testkit::{
    fake_server::{FakeServer, LICENSE_PATH, ORIGIN, Reply, problem},
    pki::{DAY, Identity, Leaf, NOW, Operator},
};

use crate::world::{Trace, World, wanted};

type Edit = fn(&mut Discovery);
type Chain = fn(&mut FakeServer) -> Vec<Vec<u8>>;

/// Enrols against a server with another discovery document; nothing but that document may be asked for.
fn discover(change: impl FnOnce(&mut World)) -> Result<(), ClientError> {
    let mut world = World::new();
    let mut client = world.open().unwrap();
    change(&mut world);
    let profile = world.profile();
    let enrolled = world.run(client.enrol(profile, "token".into()));
    if enrolled.is_err() {
        let sent: Vec<_> = world
            .sent
            .iter()
            .map(|(outgoing, _)| outgoing.url.clone())
            .collect();
        assert_eq!(sent, [format!("{ORIGIN}{WELL_KNOWN_PATH}")]);
        assert!(world.device.store.records_mut().is_empty());
    }
    enrolled.map(drop)
}

fn edited(edit: impl Fn(&mut Discovery) + 'static) -> Result<(), ClientError> {
    discover(|world| world.server.bent.discovery = Some(Box::new(edit)))
}

#[test]
fn v_060_a_document_signed_by_somebody_else_is_refused() {
    let signers: [fn(&mut FakeServer) -> Identity; 3] = [
        |server| server.operator.server(Role::RequestEncryption),
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
        let refused = discover(|world| world.server.bent.discovery_signer = Some(signer(&mut world.server)));
        let by_signer = matches!(
            refused,
            Err(ClientError::Message {
                error: MessageError::Signer(_),
                ..
            })
        );
        assert!(by_signer, "{refused:?}");
    }
}

#[test]
fn v_060_a_document_of_another_operator_is_refused() {
    let refused = edited(|document| document.operator = Digest::new([1; 32]));
    assert!(
        matches!(
            refused,
            Err(ClientError::DiscoveryRefused("it is of another operator"))
        ),
        "{refused:?}"
    );
}

#[test]
fn v_060_an_altered_document_and_another_message_are_refused() {
    let refused = discover(|world| {
        world.on_the_way = Some(Box::new(|_, answer| *answer.body.last_mut().unwrap() ^= 1));
    });
    let altered = matches!(
        refused,
        Err(ClientError::Message {
            error: MessageError::BadSignature,
            ..
        })
    );
    assert!(altered, "{refused:?}");
    let html = Reply {
        status: 200,
        body: b"<html>".to_vec(),
    };
    let refused = discover(|world| drop(world.server.bent.instead.insert(WELL_KNOWN_PATH, html)));
    assert!(
        matches!(
            refused,
            Err(ClientError::Message {
                what: "the discovery document",
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn v_061_a_document_is_used_from_five_minutes_before_its_issue_until_its_expiry() {
    let cases: [(Edit, bool); 4] = [
        (|document| document.issued = NOW.plus(300), true),
        (|document| document.issued = NOW.plus(301), false),
        (|document| document.expires = NOW.plus(1), true),
        (|document| document.expires = NOW, false),
    ];
    for (edit, used) in cases {
        let result = edited(edit);
        assert_eq!(result.is_ok(), used, "{result:?}");
        if !used {
            let refused = matches!(
                result,
                Err(ClientError::DiscoveryRefused("it is not in use at this time"))
            );
            assert!(refused, "{result:?}");
        }
    }
}

#[test]
fn v_061_without_a_clock_the_last_time_that_a_server_told_decides() {
    let (mut world, mut client) = World::enrolled();
    world.moment.utc = None;
    // The document in the store is from the time of enrolment and still good.
    world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(world.sent.len(), 3);
    // A week on, as the server tells, it is not: a new one is fetched.
    world.server.now = NOW.plus(8 * DAY);
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.sent.clear();
    world.run(client.acquire(wanted(&[3]))).unwrap();
    assert_eq!(world.sent[0].0.url, format!("{ORIGIN}{WELL_KNOWN_PATH}"));
    // An old one in the place of the new one is refused.
    world.server.bent.discovery = Some(Box::new(|document| {
        document.issued = NOW;
        document.expires = NOW.plus(8 * DAY);
    }));
    world.server.roll_recipient(&Suite::ALL);
    let refused = world.run(client.acquire(wanted(&[4])));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
}

#[test]
fn v_062_a_request_encryption_chain_of_another_operator_role_or_time_is_refused() {
    let chains: [Chain; 4] = [
        |_| {
            Operator::new([66; 32])
                .recipient(Role::RequestEncryption)
                .identity
                .chain
        },
        |server| server.operator.recipient(Role::LicenseServer).identity.chain,
        |server| {
            let claims = keyward_testkit::pki::claims(None, &[]);
            let leaf = Leaf {
                not_after: NOW.minus(1),
                claims: Some(claims),
                ..Leaf::new("expired", &[Role::RequestEncryption])
            };
            server.operator.issue(&leaf).chain
        },
        |_| Vec::new(),
    ];
    for chain in chains {
        let refused = discover(|world| {
            let chain: Vec<Bytes> = chain(&mut world.server).into_iter().map(Bytes).collect();
            world.server.bent.discovery = Some(Box::new(move |document| {
                document.request_encryption.clone_from(&chain)
            }));
        });
        let why = "its request-encryption certificate is not trusted";
        assert!(
            matches!(refused, Err(ClientError::DiscoveryRefused(said)) if said == why),
            "{refused:?}"
        );
    }
}

#[test]
fn v_062_a_request_encryption_certificate_without_a_usable_key_is_refused() {
    let refused = discover(|world| world.server.roll_recipient(&[]));
    let why = "it offers no suite that this device has";
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(said)) if said == why),
        "{refused:?}"
    );
    let refused = discover(|world| {
        let chain = world
            .server
            .operator
            .issue(&Leaf::new("bare", &[Role::RequestEncryption]))
            .chain;
        let chain: Vec<Bytes> = chain.into_iter().map(Bytes).collect();
        world.server.bent.discovery = Some(Box::new(move |document| {
            document.request_encryption.clone_from(&chain)
        }));
    });
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
}

#[test]
fn a_path_that_leads_elsewhere_is_not_followed() {
    let elsewhere = [
        "//evil.example/enrol",
        "https://evil.example/enrol",
        "enrol",
        "/enrol?to=evil",
        "/a@evil",
        "",
    ];
    for path in elsewhere {
        for edit in [
            |document: &mut Discovery, path: &str| document.license_path = path.into(),
            |document: &mut Discovery, path: &str| document.enrolment_path = path.into(),
        ] {
            let refused = edited(move |document| edit(document, path));
            assert!(
                matches!(refused, Err(ClientError::DiscoveryRefused(_))),
                "{path}: {refused:?}"
            );
        }
    }
}

#[test]
fn a_document_longer_than_its_bound_is_refused() {
    let with_a_path =
        |len: usize| edited(move |document| document.packaging_path = Some(format!("/{}", "a".repeat(len))));
    with_a_path(MAX_DOCUMENT / 2).unwrap();
    let refused = with_a_path(MAX_DOCUMENT);
    assert!(matches!(refused, Err(ClientError::DiscoveryRefused(why)) if why.contains("64 KiB")));
}

#[test]
fn an_answer_that_redirects_is_not_followed() {
    let redirect = Reply {
        status: 302,
        body: Vec::new(),
    };
    let refused = discover(|world| drop(world.server.bent.instead.insert(WELL_KNOWN_PATH, redirect)));
    assert!(
        matches!(refused, Err(ClientError::NotAnAnswer { status: 302 })),
        "{refused:?}"
    );
}

#[test]
fn v_027_an_operator_that_had_a_better_suite_is_not_taken_with_a_weaker_one() {
    let (mut world, mut client) = World::enrolled();
    world.server.roll_recipient(&[Suite::P256]);
    world.sent.clear();
    let refused = world.run(client.acquire(wanted(&[1])));
    let why = "it offers weaker suites than the operator has used before";
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(said)) if said == why),
        "{refused:?}"
    );
    // The same in a new process.
    drop(client);
    let mut client = world.open().unwrap();
    let refused = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
}

#[test]
fn v_027_the_profile_sets_a_minimum() {
    let mut world = World::with_suites(&[Suite::P256]);
    let mut client = world.open().unwrap();
    let mut profile = world.profile();
    profile.minimum_suite = 2;
    let refused = world.run(client.enrol(profile, "token".into()));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
}

#[test]
fn a_better_suite_is_remembered_as_soon_as_it_is_seen() {
    let mut world = World::with_suites(&[Suite::P256]);
    let mut client = world.enrol_new();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.server.roll_recipient(&Suite::ALL);
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.server.roll_recipient(&[Suite::P256]);
    let refused = world.run(client.acquire(wanted(&[3])));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
}

#[test]
fn a_rolled_certificate_is_found_with_one_more_try() {
    let (mut world, mut client) = World::enrolled();
    world.server.roll_recipient(&Suite::ALL);
    world.sent.clear();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let sent: Vec<_> = world
        .sent
        .iter()
        .map(|(outgoing, _)| outgoing.url.clone())
        .collect();
    let [license, discovery] = [LICENSE_PATH, WELL_KNOWN_PATH].map(|path| format!("{ORIGIN}{path}"));
    assert_eq!(sent, [license.clone(), discovery, license]);
    // The new document is in the store.
    drop(client);
    let mut client = world.open().unwrap();
    world.sent.clear();
    world.run(client.acquire(wanted(&[2]))).unwrap();
    assert_eq!(world.sent.len(), 1);
}

#[test]
fn a_server_that_always_says_it_was_not_meant_is_asked_twice_and_no_more() {
    let (mut world, mut client) = World::enrolled();
    world
        .server
        .bent
        .instead
        .insert(LICENSE_PATH, problem(ErrorCode::WrongRecipient));
    world.sent.clear();
    let refused = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(refused, Err(ClientError::ServerRefused(_))),
        "{refused:?}"
    );
    assert_eq!(world.sent.len(), 3);
}

#[test]
fn an_attacker_on_the_way_cannot_make_the_client_forget_a_good_document() {
    let (mut world, mut client) = World::enrolled();
    world
        .server
        .bent
        .instead
        .insert(LICENSE_PATH, problem(ErrorCode::WrongRecipient));
    world.server.bent.instead.insert(
        WELL_KNOWN_PATH,
        Reply {
            status: 200,
            body: b"<html>".to_vec(),
        },
    );
    assert!(world.run(client.acquire(wanted(&[1]))).is_err());
    world.server.bent.instead.clear();
    world.trace.clear();
    // A request by other means needs the stored document: it cannot fetch one.
    world.by_hand(&mut client, wanted(&[1])).unwrap();
    assert!(!world.trace.iter().any(|step| matches!(step, Trace::Send(_))));
}

#[test]
fn v_061_an_older_document_that_is_served_changes_nothing() {
    let (mut world, mut client) = World::enrolled();
    let older = world.server.discovery();
    world.server.now = NOW.plus(60);
    world.clock(60);
    world.server.roll_recipient(&Suite::ALL);
    // It learns of the new recipient by being refused.
    world.run(client.acquire(wanted(&[1]))).unwrap();
    // Somebody on the way refuses, and serves what was served before.
    let replies = [
        (LICENSE_PATH, problem(ErrorCode::WrongRecipient)),
        (
            WELL_KNOWN_PATH,
            Reply {
                status: 200,
                body: older,
            },
        ),
    ];
    world.server.bent.instead.extend(replies);
    let refused = world.run(client.acquire(wanted(&[2])));
    assert!(
        matches!(refused, Err(ClientError::ServerRefused(_))),
        "{refused:?}"
    );
    for (outgoing, _) in world
        .sent
        .iter()
        .rev()
        .filter(|(sent, _)| !sent.body.is_empty())
        .take(2)
    {
        let sealed = SealedRequest::decode(&outgoing.body).unwrap();
        assert_eq!(sealed.recipient, world.server.recipient());
    }
    world.server.bent.instead.clear();
    world.online = false;
    world.by_hand(&mut client, wanted(&[2])).unwrap();
}

#[test]
fn v_061_a_document_from_the_future_is_no_bar() {
    let (mut world, mut client) = World::enrolled();
    // Somebody with a clock that is wrong makes one, for a device that has no clock to judge it by.
    world.server.now = NOW.plus(30 * DAY);
    let future = world.server.discovery();
    world.server.now = NOW;
    drop(client);
    client = world.open().unwrap();
    world.moment.utc = None;
    world.run(client.install_discovery(future)).unwrap();
    world.clock(0);
    world.run(client.acquire(wanted(&[1]))).unwrap();
    world.online = false;
    world.by_hand(&mut client, wanted(&[2])).unwrap();
}

#[test]
fn v_061_an_older_document_of_the_same_recipient_serves_when_the_newer_has_expired() {
    let (mut world, mut client) = World::enrolled();
    // Made to be carried, after the one that the server goes on serving, and for a minute only.
    let served = world.server.discovery();
    world.server.now = NOW.plus(60);
    world.clock(60);
    world.server.bent.discovery = Some(Box::new(|document| document.expires = document.issued.plus(60)));
    let short = world.server.discovery();
    world.run(client.install_discovery(short)).unwrap();
    world.clock(600);
    let body = served;
    let reply = Reply { status: 200, body };
    world.server.bent.instead.insert(WELL_KNOWN_PATH, reply);
    world.run(client.acquire(wanted(&[1]))).unwrap();
}
