//! How lists are taken in, kept and announced, and what a host may demand of them.

use keyward_client::{ClientError, acquire::Wanted, host::HostProfile, lists::Revoked, session::Acquisition};
use keyward_crypto::{
    ChainFault, CryptoError,
    ecdsa::Signer as _,
    x509::{
        Certificate, Role,
        issue::{ListProfile, Profile, Revoked as Entry, issue, revocation_list},
    },
};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::Digest,
    request::ClockKind,
    revocation::{DeviceFault, DeviceRevocationList, ListFault, ListId, RevocationList},
    signed::sign,
};
use keyward_testkit::{
    fake_server::FakeServer,
    pki::{DAY, Leaf, NOW, TestKey, YEAR},
};

use super::{distrust, held, install, later, own_certificate, revoked_denial, server_list};
use crate::{
    licensed::{asking, commits, restarted},
    world::{World, kid, wanted},
};

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
    later(&mut world, 30 * DAY);
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
    let fault = distrust(world.run(client.acquire(wanted(&[1]))));
    assert_eq!(fault, CryptoError::ChainRefused(ChainFault::RevocationUnknown));
    // They come along.
    world.server.lists = vec![world.server.list(None, 1, &[]), server_list(&world, 1, &[])];
    world.run(client.acquire(wanted(&[1]))).unwrap();
    later(&mut world, 8 * DAY);
    let fault = distrust(world.run(client.acquire(wanted(&[2]))));
    assert_eq!(
        fault,
        CryptoError::ChainRefused(ChainFault::RevocationListExpired)
    );
    world.server.lists = vec![world.server.list(None, 2, &[]), server_list(&world, 2, &[])];
    world.run(client.acquire(wanted(&[2]))).unwrap();
    // What is held does not depend on lists that come later.
    world
        .run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never))
        .unwrap();
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

/// The list of an authority of devices that has nothing to do with this one, of about 1 MiB.
fn list_of_strangers(world: &mut World) -> RevocationList {
    let operator = &mut world.server.operator;
    let key = TestKey::generate(operator.rng());
    let profile = Profile {
        subject: "Other devices",
        roles: &[Role::Device],
        authority: Some(0),
        not_before: NOW.0,
        not_after: NOW.plus(YEAR).0,
        claims: None,
        serial: [7; 16],
    };
    let root = Certificate::parse(operator.root()).unwrap();
    let authority = issue(&profile, key.public_key(), &root, operator.root_key()).unwrap();
    let authority = Certificate::parse(&authority).unwrap();
    let list = |count: u64| {
        let serials: Vec<_> = (1..=count)
            .map(|number| (number + (1 << 60)).to_be_bytes())
            .collect();
        let revoked = serials.iter().map(|serial| Entry {
            serial,
            at: NOW.0,
            invalid_since: None,
            reason: None,
        });
        let list = ListProfile {
            number: 1,
            this_update: NOW.0,
            next_update: NOW.plus(7 * DAY).0,
            revoked: &revoked.collect::<Vec<_>>(),
        };
        RevocationList::Certificates {
            list: Bytes(revocation_list(&list, &authority, &key).unwrap()),
            path: vec![Bytes(authority.der().to_vec())],
        }
    };
    let each = (list(2_000).size() - list(1_000).size()) / 1_000;
    let most = ((1 << 20) - list(0).size()) / each - 10;
    list(most.try_into().unwrap())
}

#[test]
fn r_015_v_064_lists_of_other_devices_leave_room_for_the_one_that_names_this_device() {
    let (mut world, mut client) = World::enrolled();
    let strangers = list_of_strangers(&mut world);
    assert_eq!(install(&mut world, &mut client, vec![strangers.clone()]), []);
    let own = own_certificate(&client);
    let naming = world.server.list(Some(Role::Device), 1, &[(&own, NOW)]);
    let mut client = restarted(&mut world, client);
    assert_eq!(install(&mut world, &mut client, vec![naming]), []);
    // What says nothing of this device does not come back.
    let refused = install(&mut world, &mut client, vec![strangers]);
    assert_eq!(refused, [ListFault::NoRoom]);
    for _ in 0..2 {
        assert_eq!(held(&mut world, &client).len(), 1);
        let trust = world.run(client.trust()).unwrap();
        let listed = DeviceFault::Certificate { since: NOW };
        assert_eq!(trust[0].revoked, Some(Revoked::Listed(listed)));
        client = restarted(&mut world, client);
    }
}
