//! V-063, V-064: revocation lists at the client; and R-015, its own revocation.

use keyward_client::{
    ClientError, LicenseFault,
    acquire::Wanted,
    enforce::Availability,
    host::HostProfile,
    key_exchange::{Ended, PerformError},
    lists::Revoked,
    session::Acquisition,
};
use keyward_crypto::{ChainFault, CryptoError, x509::Role};
use keyward_license::{
    codec::{Bytes, Wire},
    error_code::{Behaviour, ErrorCode},
    ids::Digest,
    license::{Flag, LicenseBody},
    request::ClockKind,
    response::Denial,
    revocation::{DeviceFault, DeviceRevocationList, ListFault, ListId, RevocationList, RevokedDevices},
    signed::{MessageError, sign},
    time::Timestamp,
    usage_rules::{Refusal, Rule},
};
use keyward_testkit::{
    fake_server::FakeServer,
    pki::{DAY, Leaf, NOW},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    exchanging::{encrypting, encryptor_of_1},
    licensed::{asking, commits, go_on, licensed, open, pass, refusal, restarted},
    world::{KIND_LICENSE, TestClient, World, kid, wanted},
};

const REVOKED: CryptoError = CryptoError::ChainRefused(ChainFault::Revoked);

/// The list of the server authority, by its number.
fn server_list(world: &World, number: u64, revoked: &[(&[u8], Timestamp)]) -> RevocationList {
    world.server.list(Some(Role::LicenseServer), number, revoked)
}

/// The device's own certificate.
fn own_certificate(client: &TestClient) -> Vec<u8> {
    let enrolment = client.enrolments().next().unwrap();
    enrolment.certificate().unwrap().der().to_vec()
}

fn install(world: &mut World, client: &mut TestClient, lists: Vec<RevocationList>) -> Vec<ListFault> {
    let file = world.server.lists_file(lists);
    let (operator, taken) = world.run(client.install_lists(file)).unwrap();
    assert_eq!(operator, world.server.operator.id());
    taken.refused
}

fn held(world: &mut World, client: &TestClient) -> Vec<(Vec<u8>, String)> {
    let trust = world.run(client.trust()).unwrap();
    let lists = trust[0].lists.iter();
    lists
        .map(|list| (list.list.as_bytes().to_vec(), list.number.to_string()))
        .collect()
}

/// A denial for that the device is revoked.
fn revoked_denial() -> Denial {
    Denial {
        code: ErrorCode::DeviceRevoked.number(),
        sentence: "this device was reported stolen".into(),
        url: None,
    }
}

fn ends_with_revocation(body: &mut LicenseBody) {
    body.ends_with_revocation = Some(Flag);
}

#[test]
fn v_063_v_064_lists_are_taken_from_responses_kept_and_announced() {
    let (mut world, mut client) = World::enrolled();
    let lists = vec![
        server_list(&world, 7, &[]),
        world.server.list(None, 3, &[]),
        world.server.device_list(2, |_| ()),
    ];
    world.server.lists = lists;
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    assert!(acquired.lists.newer && acquired.lists.refused.is_empty());
    assert_eq!(world.server.requests.last().unwrap().revocation_lists, None);
    drop(client);
    let mut client = world.open().unwrap();
    assert_eq!(held(&mut world, &client).len(), 3);
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    assert!(!acquired.lists.newer, "the same again is nothing new");
    let announced = world
        .server
        .requests
        .last()
        .unwrap()
        .revocation_lists
        .clone()
        .unwrap();
    let numbers: Vec<_> = announced.iter().map(|held| held.number.to_string()).collect();
    assert_eq!(announced.len(), 3);
    assert!(
        ["7", "3", "2"]
            .iter()
            .all(|number| numbers.contains(&(*number).to_owned()))
    );
    assert!(announced.iter().any(|held| held.list == ListId::DEVICES));
}

#[test]
fn v_063_v_064_an_earlier_list_never_takes_the_place_of_a_later_one() {
    let (mut world, mut client) = World::enrolled();
    let (certificate, devices) = (server_list(&world, 7, &[]), world.server.device_list(2, |_| ()));
    let later = [server_list(&world, 8, &[]), world.server.device_list(3, |_| ())];
    assert_eq!(install(&mut world, &mut client, later.to_vec()), []);
    let before = held(&mut world, &client);
    assert_eq!(install(&mut world, &mut client, vec![certificate, devices]), []);
    assert_eq!(held(&mut world, &client), before);
    let client = restarted(&mut world, client);
    assert_eq!(held(&mut world, &client), before);
}

#[test]
fn v_063_v_064_a_bad_list_refuses_nothing_else_and_is_not_kept() {
    let (mut world, mut client) = World::enrolled();
    let mut stranger = FakeServer::new([9; 32]);
    let future = {
        world.server.now = NOW.plus(DAY);
        let lists = [server_list(&world, 90, &[]), world.server.device_list(90, |_| ())];
        world.server.now = NOW;
        lists
    };
    let other_operator = world
        .server
        .device_list(91, |body| body.operator = Digest::new([7; 32]));
    let good = server_list(&world, 1, &[]);
    world.server.lists = vec![
        stranger.list(Some(Role::LicenseServer), 92, &[]),
        stranger.device_list(92, |_| ()),
        future[0].clone(),
        future[1].clone(),
        other_operator,
        RevocationList::Devices(Bytes(b"nothing".to_vec())),
        good,
    ];
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(acquired.outcomes.len(), 1);
    assert_eq!(acquired.lists.refused.len(), 6, "{:?}", acquired.lists.refused);
    assert!(acquired.lists.newer);
    assert_eq!(held(&mut world, &client).len(), 1);
    assert_eq!(held(&mut world, &client)[0].1, "1");
}

#[test]
fn v_064_a_file_of_lists_is_for_the_operator_that_it_names() {
    let (mut world, mut client) = World::enrolled();
    let stranger = FakeServer::new([9; 32]);
    let theirs = stranger.lists_file(vec![stranger.list(None, 1, &[])]);
    let refused = world.run(client.install_lists(theirs));
    assert!(
        matches!(refused, Err(ClientError::OperatorNotNamed(_))),
        "{refused:?}"
    );
    let ours = world.server.lists_file(vec![stranger.list(None, 1, &[])]);
    let (_, taken) = world.run(client.install_lists(ours)).unwrap();
    assert!(!taken.newer && taken.refused.len() == 1);
    for bytes in [&b""[..], b"nothing", &[0xa0]] {
        let refused = world.run(client.install_lists(bytes.to_vec()));
        assert!(matches!(refused, Err(ClientError::NotLists)), "{refused:?}");
    }
}

#[test]
fn v_013_v_064_a_revoked_server_says_nothing_more_from_its_revocation_on() {
    let (mut world, mut client) = World::enrolled();
    let old = world.server.roll_signer();
    let list = server_list(&world, 1, &[(&old.chain[0], NOW.plus(100))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    world.server.bent.response_signer = Some(old);
    world
        .run(client.acquire(wanted(&[1])))
        .expect("it is not revoked yet");
    pass(&mut world, 100);
    world.server.now = world.server.now.plus(100);
    let refused = world.run(client.acquire(wanted(&[2])));
    assert!(
        matches!(
            refused,
            Err(ClientError::Message {
                error: MessageError::Signer(REVOKED),
                ..
            })
        ),
        "{refused:?}"
    );
    world.server.bent.response_signer = None;
    world.run(client.acquire(wanted(&[2]))).unwrap();
}

#[test]
fn v_020_v_064_licenses_are_judged_by_the_lists_that_come_with_them() {
    let (mut world, mut client) = World::enrolled();
    let thief = world.server.roll_signer();
    world.server.lists = vec![server_list(&world, 1, &[(&thief.chain[0], NOW.minus(60))])];
    world.server.bent.license_signer = Some(thief);
    let refused = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(
            refused,
            Err(ClientError::LicenseRefused {
                fault: LicenseFault::Message(MessageError::Signer(REVOKED)),
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(world.device.count(KIND_LICENSE), 0);
    // What the response brought of trust stays all the same.
    let client = restarted(&mut world, client);
    assert_eq!(held(&mut world, &client).len(), 1);
}

#[test]
fn r_015_a_license_that_is_refused_takes_no_revocation_back() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let thief = FakeServer::new([9; 32]).roll_signer();
    world.server.bent.license_signer = Some(thief);
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    let revoked = Some(Revoked::Denied { since: NOW });
    assert_eq!(world.run(client.trust()).unwrap()[0].revoked, revoked);
    // A license that is refused takes nothing back.
    world.server.denials.clear();
    assert!(world.run(client.acquire(wanted(&[3]))).is_err());
    let client = restarted(&mut world, client);
    assert_eq!(world.run(client.trust()).unwrap()[0].revoked, revoked);
}

#[test]
fn v_063_lists_are_judged_by_the_server_where_this_device_is_behind() {
    let (mut world, mut client) = World::enrolled();
    // The server is ahead of the client by more than a list may be.
    world.server.now = NOW.plus(3_600);
    world.server.lists = vec![server_list(&world, 1, &[])];
    let acquired = world.run(client.acquire(wanted(&[1]))).unwrap();
    assert_eq!(acquired.lists.refused, []);
    assert!(acquired.lists.newer);
}

#[test]
fn v_013_v_064_a_response_whose_lists_revoke_its_own_signer_is_refused() {
    let (mut world, mut client) = World::enrolled();
    let signer = world.server.signer().chain[0].clone();
    world.server.lists = vec![server_list(&world, 1, &[(&signer, NOW.minus(60))])];
    let refused = world.run(client.acquire(wanted(&[1])));
    assert!(matches!(
        refused,
        Err(ClientError::Message {
            error: MessageError::Signer(REVOKED),
            ..
        })
    ));
    assert_eq!(world.device.count(KIND_LICENSE), 0);
    // The list stands by its own signature: who was revoked is refused from here on, lists or none.
    let mut client = restarted(&mut world, client);
    assert_eq!(held(&mut world, &client).len(), 1);
    world.server.lists.clear();
    assert!(world.run(client.acquire(wanted(&[1]))).is_err());
}

#[test]
fn v_060_v_063_without_a_clock_signers_are_judged_at_the_time_that_was_told() {
    for is_over in [false, true] {
        let (mut world, client) = World::enrolled();
        let mut client = client.on_host(HostProfile {
            clock: ClockKind::None,
            ..asking()
        });
        let mut ending = |role| {
            world.server.operator.issue(&Leaf {
                not_after: NOW.plus(DAY),
                ..Leaf::new("ending", &[role])
            })
        };
        let (signer, of_lists) = (ending(Role::LicenseServer), ending(Role::RevocationList));
        world.server.bent.discovery_signer = Some(signer);
        let document = world.server.discovery();
        world.server.bent.discovery_signer = None;
        let list = DeviceRevocationList {
            version: 1,
            operator: world.server.operator.id(),
            number: 1,
            issued: NOW.plus(60),
            next_update: NOW.plus(9 * DAY),
            revoked: None,
            allowed: None,
        };
        let list = sign::<DeviceRevocationList>(&list.encode(), &[], &of_lists.chain, &of_lists.key).unwrap();
        let newer = {
            world.server.now = NOW.plus(5 * DAY);
            server_list(&world, 1, &[])
        };
        world.server.now = NOW.plus(if is_over { 2 * DAY } else { 3_600 });
        world.run(client.ask_time(Wanted::default())).unwrap();
        assert_eq!(world.run(client.install_discovery(document)).is_err(), is_over);
        let lists = vec![RevocationList::Devices(Bytes(list)), newer];
        let refused = install(&mut world, &mut client, lists);
        assert_eq!(refused.len(), usize::from(is_over), "{refused:?}");
        assert_eq!(held(&mut world, &client).len(), 2 - usize::from(is_over));
    }
}

#[test]
fn r_015_a_model_that_was_revoked_before_the_certificate_counts_from_then_on() {
    let (mut world, mut client) = encrypting(ends_with_revocation);
    let own = own_certificate(&client);
    let of_model = world.server.device_list(1, |body| {
        body.revoked = Some(vec![RevokedDevices {
            maker: "Keyward".into(),
            model: None,
            robustness_below: None,
            since: NOW.plus(100),
            reason: None,
        }]);
    });
    let of_certificate = world.server.list(Some(Role::Device), 1, &[(&own, NOW.plus(200))]);
    assert_eq!(
        install(&mut world, &mut client, vec![of_model, of_certificate]),
        []
    );
    let prepared = encryptor_of_1(&mut world, &mut client).unwrap();
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    pass(&mut world, 99);
    prepared.encrypt(world.moment, b"", b"data", &mut rng).unwrap();
    pass(&mut world, 1);
    assert!(prepared.encrypt(world.moment, b"", b"data", &mut rng).is_err());
}

#[test]
fn v_020_v_064_what_a_revoked_signer_signed_since_then_is_no_license_any_more() {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    pass(&mut world, 1_000);
    world.server.now = NOW.plus(1_000);
    world.run(client.acquire(wanted(&[2]))).unwrap();
    // Both are known, so that what was remembered of their signer is held against the list too.
    assert_eq!(world.run(client.licenses()).unwrap().len(), 2);
    let thief = world.server.roll_signer();
    let list = server_list(&world, 1, &[(&thief.chain[0], NOW.plus(500))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    for _ in 0..2 {
        let stays = world.run(client.licenses()).unwrap();
        assert_eq!(stays.len(), 1);
        assert_eq!(stays[0].keys[0].kid, kid(1), "what was signed before stays good");
        assert_eq!(world.run(client.find(kid(2))).unwrap(), Availability::Missing);
        let refused = world.run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Never));
        assert!(
            matches!(refused, Err(ClientError::NoLicense { .. })),
            "{refused:?}"
        );
        let distrusted = world.run(client.distrusted_licenses(None)).unwrap();
        assert_eq!(distrusted.len(), 1);
        assert_eq!(distrusted[0].body.keys[0].kid, kid(2));
        assert_eq!(distrusted[0].fault, Some(MessageError::Signer(REVOKED)));
        assert!(
            world
                .run(client.distrusted_licenses(Some(kid(1))))
                .unwrap()
                .is_empty()
        );
        client = restarted(&mut world, client);
    }
    // Another one takes its place.
    world.run(client.acquire(wanted(&[2]))).unwrap();
    assert!(matches!(
        world.run(client.find(kid(2))).unwrap(),
        Availability::Ready { .. }
    ));
}

#[test]
fn v_060_v_062_a_discovery_document_of_a_revoked_server_is_refused() {
    let (mut world, mut client) = World::enrolled();
    let old = world.server.roll_signer();
    let list = server_list(&world, 1, &[(&old.chain[0], NOW.minus(60))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    world.server.bent.discovery_signer = Some(old);
    let document = world.server.discovery();
    let refused = world.run(client.install_discovery(document));
    assert!(matches!(
        refused,
        Err(ClientError::Message {
            error: MessageError::Signer(REVOKED),
            ..
        })
    ));
    // The certificate that requests are sealed to.
    world.server.bent.discovery_signer = None;
    let document = world.server.discovery();
    let recipient = keyward_license::discovery::unverified(&document)
        .unwrap()
        .request_encryption;
    let list = server_list(&world, 2, &[(&recipient[0].0, NOW.minus(60))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    let refused = world.run(client.install_discovery(document));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
    // Nor does enrolling again make the device forget it.
    let profile = world.profile();
    let refused = world.run(client.enrol(profile, "token".into()));
    assert!(
        matches!(refused, Err(ClientError::DiscoveryRefused(_))),
        "{refused:?}"
    );
}

#[test]
fn enrolling_again_keeps_lists_and_revocation() {
    let (mut world, mut client) = World::enrolled();
    let list = server_list(&world, 4, &[]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    world.server.denials.insert(kid(1), revoked_denial());
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let profile = world.profile();
    world.run(client.enrol(profile, "token".into())).unwrap();
    for _ in 0..2 {
        assert_eq!(held(&mut world, &client).len(), 1);
        let trust = world.run(client.trust()).unwrap();
        assert_eq!(trust[0].revoked, Some(Revoked::Denied { since: NOW }));
        client = restarted(&mut world, client);
    }
}

#[test]
fn v_064_what_a_list_names_stays_refused_after_its_time_and_the_rest_is_trusted() {
    let (mut world, mut client) = World::enrolled();
    let old = world.server.roll_signer();
    let list = server_list(&world, 1, &[(&old.chain[0], NOW)]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    pass(&mut world, 30 * DAY);
    world.server.now = NOW.plus(30 * DAY);
    world
        .run(client.acquire(wanted(&[1])))
        .expect("nobody has said anything against this one");
    world.server.bent.response_signer = Some(old);
    assert!(world.run(client.acquire(wanted(&[2]))).is_err());
}

#[test]
fn v_064_a_host_may_demand_lists_that_are_not_over() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(HostProfile {
        demands_lists: true,
        ..asking()
    });
    let refused = world.run(client.acquire(wanted(&[1])));
    assert!(
        matches!(
            refused,
            Err(ClientError::Message {
                error: MessageError::Signer(CryptoError::ChainRefused(ChainFault::RevocationUnknown)),
                ..
            })
        ),
        "{refused:?}"
    );
    // They come along.
    world.server.lists = vec![world.server.list(None, 1, &[]), server_list(&world, 1, &[])];
    world.run(client.acquire(wanted(&[1]))).unwrap();
    pass(&mut world, 8 * DAY);
    world.server.now = NOW.plus(8 * DAY);
    let refused = world.run(client.acquire(wanted(&[2])));
    assert!(
        matches!(
            refused,
            Err(ClientError::Message {
                error: MessageError::Signer(CryptoError::ChainRefused(ChainFault::RevocationListExpired)),
                ..
            })
        ),
        "{refused:?}"
    );
    world.server.lists = vec![world.server.list(None, 2, &[]), server_list(&world, 2, &[])];
    world.run(client.acquire(wanted(&[2]))).unwrap();
    // What is held does not depend on lists that come later.
    world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
        .unwrap();
}

#[test]
fn r_015_a_denial_ends_licenses_that_say_so_until_another_comes() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    open(&mut world, &mut client).unwrap();
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    for _ in 0..2 {
        assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
        let found = world.run(client.find(kid(1))).unwrap();
        assert_eq!(found, Availability::Refused(Refusal::DeviceRevoked));
        let trust = world.run(client.trust()).unwrap();
        assert_eq!(trust[0].revoked, Some(Revoked::Denied { since: NOW }));
        client = restarted(&mut world, client);
    }
    world.server.denials.clear();
    world.run(client.acquire(wanted(&[3]))).unwrap();
    open(&mut world, &mut client).unwrap();
    let mut client = restarted(&mut world, client);
    open(&mut world, &mut client).unwrap();
    assert_eq!(world.run(client.trust()).unwrap()[0].revoked, None);
}

#[test]
fn r_015_without_the_term_a_revoked_device_keeps_what_it_has() {
    let (mut world, mut client) = licensed(|_| ());
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    open(&mut world, &mut client).unwrap();
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW)]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_015_an_earlier_license_that_was_carried_takes_no_later_denial_back() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let request = world.run(client.request(wanted(&[3]))).unwrap();
    let early = world.answer(&request);
    pass(&mut world, 60);
    world.server.now = NOW.plus(60);
    world.server.denials.insert(kid(2), revoked_denial());
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world.run(client.install(early)).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
}

#[test]
fn r_015_the_devices_own_certificate_on_a_list_ends_them_from_its_revocation_on() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW.plus(100))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
    pass(&mut world, 100);
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
    let trust = world.run(client.trust()).unwrap();
    let listed = DeviceFault::Certificate { since: NOW.plus(100) };
    assert_eq!(trust[0].revoked, Some(Revoked::Listed(listed)));
    // No license takes back what a list says.
    world.run(client.acquire(wanted(&[3]))).unwrap();
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
    // A later list does.
    world.server.now = NOW.plus(200);
    pass(&mut world, 100);
    let list = world.server.list(Some(Role::Device), 2, &[]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_015_the_devices_model_on_a_list_ends_them_unless_its_certificate_is_allowed() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let entry = |robustness_below| RevokedDevices {
        maker: "Keyward".into(),
        model: Some("test".into()),
        robustness_below,
        since: NOW,
        reason: Some("its keys were read out".into()),
    };
    let list = world
        .server
        .device_list(1, |body| body.revoked = Some(vec![entry(Some(1))]));
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).expect("it was made to later rules");
    let list = world
        .server
        .device_list(2, |body| body.revoked = Some(vec![entry(None)]));
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    assert_eq!(refusal(&mut world, &mut client), Refusal::DeviceRevoked);
    let own = Digest::new(keyward_crypto::kdf::sha256(&[&own_certificate(&client)]));
    let list = world.server.device_list(3, |body| {
        body.revoked = Some(vec![entry(None)]);
        body.allowed = Some(vec![own]);
    });
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    open(&mut world, &mut client).unwrap();
}

#[test]
fn r_015_what_plays_stops_once_the_revocation_is_known() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let mut opened = open(&mut world, &mut client).unwrap();
    let outputs = keyward_client::host::Unlisted;
    assert!(opened.holds(world.moment, &outputs));
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW)]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    assert!(!opened.holds(world.moment, &outputs));
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(standing.playing, 0);
    assert_eq!(standing.stopped[0].1.rule(), Rule::Revocation);
    assert!(standing.check().is_err());
}

#[test]
fn r_015_what_plays_stops_at_a_revocation_that_was_announced() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW.plus(100))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    let mut opened = open(&mut world, &mut client).unwrap();
    let outputs = keyward_client::host::Unlisted;
    pass(&mut world, 99);
    assert!(opened.holds(world.moment, &outputs));
    pass(&mut world, 1);
    assert!(!opened.holds(world.moment, &outputs));
    assert_eq!(go_on(&mut world, &mut client, &mut opened).playing, 0);
}

#[test]
fn r_015_what_plays_without_the_term_goes_on() {
    let (mut world, mut client) = licensed(|_| ());
    let mut opened = open(&mut world, &mut client).unwrap();
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW)]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).playing, 1);
    assert!(opened.holds(world.moment, &keyward_client::host::Unlisted));
}

#[test]
fn r_015_r_053_a_prepared_key_is_wiped_once_the_revocation_is_known() {
    for by_list in [true, false] {
        let (mut world, mut client) = encrypting(ends_with_revocation);
        let prepared = encryptor_of_1(&mut world, &mut client).unwrap();
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        prepared.encrypt(world.moment, b"", b"data", &mut rng).unwrap();
        if by_list {
            let own = own_certificate(&client);
            let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW)]);
            assert_eq!(install(&mut world, &mut client, vec![list]), []);
        } else {
            world.server.denials.insert(kid(2), revoked_denial());
            world.run(client.acquire(wanted(&[2]))).unwrap();
        }
        let ended = Ended::Refused(Refusal::DeviceRevoked.into());
        assert_eq!(prepared.ended(), Some(ended));
        let refused = prepared.encrypt(world.moment, b"", b"data", &mut rng);
        assert!(matches!(refused, Err(PerformError::Ended { why, .. }) if why == ended));
        let refused = encryptor_of_1(&mut world, &mut client);
        assert!(matches!(
            refused,
            Err(ClientError::Refused {
                refusal: Refusal::DeviceRevoked,
                ..
            })
        ));
    }
}

#[test]
fn r_015_r_053_a_prepared_key_ends_at_a_revocation_that_was_announced() {
    let (mut world, mut client) = encrypting(ends_with_revocation);
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW.plus(100))]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    let prepared = encryptor_of_1(&mut world, &mut client).unwrap();
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    pass(&mut world, 99);
    prepared.encrypt(world.moment, b"", b"data", &mut rng).unwrap();
    pass(&mut world, 1);
    assert!(prepared.encrypt(world.moment, b"", b"data", &mut rng).is_err());
}

#[test]
fn r_015_a_device_that_was_told_asks_no_more_by_itself() {
    let (mut world, mut client) = World::enrolled();
    world.server.denials.insert(kid(1), revoked_denial());
    let denied = world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
        .unwrap_err();
    assert!(matches!(&denied, ClientError::Denied { .. }));
    assert_eq!(denied.behaviour(), Some(Behaviour::Stop));
    let sent = world.sent.len();
    let refused = world.run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Reactive));
    assert!(
        matches!(refused, Err(ClientError::DeviceRevoked { since, .. }) if since == NOW),
        "{refused:?}"
    );
    assert_eq!(world.sent.len(), sent, "nothing is sent");
    // Who asks for just that is asked for, and told anew.
    world.server.denials.clear();
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world
        .run(client.open_content(vec![kid(3)], wanted(&[3]), Acquisition::Reactive))
        .unwrap();
    // In another process it asks once.
    world.server.denials.insert(kid(1), revoked_denial());
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let mut client = restarted(&mut world, client);
    let sent = world.sent.len();
    for _ in 0..2 {
        assert!(
            world
                .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive))
                .is_err()
        );
    }
    assert_eq!(world.sent.len(), sent + 1);
}

#[test]
fn nothing_is_written_where_nothing_new_is_known() {
    let (mut world, mut client) = World::enrolled();
    let list = server_list(&world, 1, &[]);
    let file = world.server.lists_file(vec![list]);
    world.run(client.install_lists(file.clone())).unwrap();
    world.trace.clear();
    world.run(client.install_lists(file)).unwrap();
    assert_eq!(commits(&world), 0);
    world.run(client.trust()).unwrap();
    assert_eq!(world.trace, []);
}
