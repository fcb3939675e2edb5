//! What is open when a list comes: what plays, leaves that ride, chains, and prepared exchange keys.

use keyward_client::{
    ClientError,
    acquire::Wanted,
    enforce::Stop,
    host::Unlisted,
    key_exchange::{Ended, PerformError},
    session::{Acquisition, Needs},
};
use keyward_crypto::x509::Role;
use keyward_license::{
    time::Timestamp,
    usage_rules::{Refusal, Rule},
};
use keyward_testkit::pki::NOW;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{ends_with_revocation, install, later, own_certificate, revoked_denial, server_list};
use crate::{
    chained::{ROOT, acquire_root, asked, needs, open_live, rooted, with_root},
    exchanging::{encrypting, encryptor_of_1, encrypts, rng},
    licensed::{asking, go_on, licensed, open, pass, restarted},
    world::{TestClient, World, kid, opens, wanted},
};

/// The server goes on with another certificate. A list comes, as a file or with a response, by which the one before was
/// revoked since then.
fn revoke_signer(world: &mut World, client: &mut TestClient, since: Timestamp, in_response: bool) {
    let old = world.server.roll_signer();
    let list = server_list(world, 1, &[(&old.chain[0], since)]);
    if in_response {
        world.server.lists = vec![list];
        let acquired = world.run(client.acquire(wanted(&[9]))).unwrap();
        assert!(acquired.lists.newer);
    } else {
        assert_eq!(install(world, client, vec![list]), []);
    }
}

#[test]
fn v_020_what_plays_stops_once_its_signer_is_known_to_be_revoked() {
    for in_memory in [false, true] {
        let (mut world, client) = World::enrolled();
        let mut client = client.on_host(asking());
        let asked = Wanted {
            in_memory,
            ..wanted(&[1])
        };
        world.run(client.acquire(asked)).unwrap();
        let mut opened = open(&mut world, &mut client).unwrap();
        assert_eq!(opened.bound[0].is_persistent(), !in_memory);
        assert!(opened.holds(world.moment, &Unlisted));
        revoke_signer(&mut world, &mut client, NOW, in_memory);
        assert!(!opened.holds(world.moment, &Unlisted));
        let standing = go_on(&mut world, &mut client, &mut opened);
        assert_eq!(standing.playing, 0);
        assert_eq!(standing.stopped, [(kid(1), Stop::Distrusted)]);
        // As if it had been opened now.
        let stopped = standing.check();
        assert!(matches!(stopped, Err(ClientError::NoLicense { kid: of }) if of == kid(1)));
        assert!(matches!(
            open(&mut world, &mut client),
            Err(ClientError::NoLicense { .. })
        ));
        assert!(!opens(&opened.bound[0], 1), "its key is gone");
    }
}

#[test]
fn v_020_what_was_issued_before_its_signer_was_revoked_plays_on() {
    for in_response in [false, true] {
        let (mut world, mut client) = licensed(|_| ());
        let mut opened = open(&mut world, &mut client).unwrap();
        revoke_signer(&mut world, &mut client, NOW.plus(1), in_response);
        assert!(!opened.holds(world.moment, &Unlisted), "it is judged again");
        let standing = go_on(&mut world, &mut client, &mut opened);
        assert_eq!((standing.playing, standing.stopped.len()), (1, 0));
        assert!(opened.holds(world.moment, &Unlisted));
        assert!(opens(&opened.bound[0], 1));
    }
}

/// Each knows what it has read from the store, and none can tell by its own count what another one knew.
#[test]
fn v_020_what_plays_stops_once_a_later_client_knows_that_its_signer_is_revoked() {
    let (mut world, mut client) = licensed(|_| ());
    let mut opened = open(&mut world, &mut client).unwrap();
    client = restarted(&mut world, client);
    revoke_signer(&mut world, &mut client, NOW, false);
    client = restarted(&mut world, client);
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(standing.stopped, [(kid(1), Stop::Distrusted)]);
}

#[test]
fn v_020_what_plays_is_judged_again_when_the_client_that_it_goes_on_with_learns_something() {
    let (mut world, mut client) = licensed(|_| ());
    let mut opened = open(&mut world, &mut client).unwrap();
    client = restarted(&mut world, client);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).playing, 1);
    assert!(opened.holds(world.moment, &Unlisted));
    revoke_signer(&mut world, &mut client, NOW, false);
    assert!(!opened.holds(world.moment, &Unlisted));
}

#[test]
fn v_020_a_list_that_comes_while_content_is_opened_is_settled_by_a_later_client() {
    let (mut world, client) = World::enrolled();
    let mut client = client.on_host(asking());
    let list = server_list(&world, 1, &[]);
    world.server.lists = vec![list];
    let content = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive);
    let mut opened = world.run(content).unwrap();
    client = restarted(&mut world, client);
    assert_eq!(go_on(&mut world, &mut client, &mut opened).playing, 1);
    assert!(opened.holds(world.moment, &Unlisted));
}

#[test]
fn v_020_r_043_another_license_takes_the_place_of_what_is_none_any_more() {
    let (mut world, mut client) = licensed(|_| ());
    let content = client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Reactive);
    let mut opened = world.run(content).unwrap();
    let (before, requests) = (opened.bound[0].license(), world.server.requests.len());
    revoke_signer(&mut world, &mut client, NOW, false);
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!((standing.playing, standing.stopped.len()), (1, 0));
    assert_eq!(asked(&world, requests), [[kid(1)]]);
    assert_ne!(opened.bound[0].license(), before);
    assert!(opens(&opened.bound[0], 1));
}

#[test]
fn v_020_v_039_leaves_that_ride_are_judged_again_with_what_plays() {
    let (mut world, mut client) = with_root(|_| {});
    let before = world.server.leaf(kid(1), kid(ROOT));
    later(&mut world, 100);
    // The most that a playback keeps of a key.
    let after: Vec<_> = (0..8).map(|_| world.server.leaf(kid(2), kid(ROOT))).collect();
    let mut opened = open_live(&mut world, &mut client, Wanted::default(), Acquisition::Never);
    let place = Needs {
        kids: vec![kid(1), kid(2)],
        licenses: [&[before][..], &after[..]].concat(),
        ..Needs::default()
    };
    let standing = world.run(client.reach(&mut opened, place)).unwrap();
    assert_eq!(standing.playing, 2);
    revoke_signer(&mut world, &mut client, NOW.plus(50), false);
    let standing = go_on(&mut world, &mut client, &mut opened);
    assert_eq!(standing.playing, 1);
    assert_eq!(standing.stopped, [(kid(2), Stop::Distrusted)]);
    // They come to no place again, and take none.
    let refused = world.run(client.reach(&mut opened, needs(2, &after)));
    assert!(
        matches!(refused, Err(ClientError::NoLicense { .. })),
        "{refused:?}"
    );
    let good = world.server.leaf(kid(2), kid(ROOT));
    world.run(client.reach(&mut opened, needs(2, &[good]))).unwrap();
    let reached = opened.bound.iter().find(|bound| bound.kid() == kid(2));
    assert!(opens(reached.unwrap(), 2));
}

#[test]
fn v_020_v_037_a_chain_ends_with_its_root_and_goes_on_under_another_license_of_it() {
    for acquisition in [Acquisition::Never, Acquisition::Reactive] {
        let (mut world, mut client) = rooted();
        let leaf = world.server.leaf(kid(1), kid(ROOT));
        later(&mut world, 100);
        acquire_root(&mut world, &mut client, ROOT, |_| {});
        let mut opened = open_live(&mut world, &mut client, Wanted::default(), acquisition);
        world.run(client.reach(&mut opened, needs(1, &[leaf]))).unwrap();
        let requests = world.server.requests.len();
        revoke_signer(&mut world, &mut client, NOW.plus(50), false);
        let standing = go_on(&mut world, &mut client, &mut opened);
        if acquisition == Acquisition::Never {
            assert_eq!(standing.stopped, [(kid(1), Stop::Distrusted)]);
            assert_eq!(world.server.requests.len(), requests);
        } else {
            assert_eq!((standing.playing, standing.stopped.len()), (1, 0));
            assert_eq!(asked(&world, requests), [[kid(ROOT)]]);
            assert!(opens(&opened.bound[0], 1));
        }
    }
}

#[test]
fn v_020_r_053_a_prepared_key_is_wiped_once_its_signer_is_known_to_be_revoked() {
    let distrusted = Some(Ended::Refused(Stop::Distrusted));
    for (since, ended, in_response) in [
        (NOW, distrusted, false),
        (NOW, distrusted, true),
        (NOW.plus(1), None, false),
    ] {
        let (mut world, mut client) = encrypting(|_| ());
        let prepared = encryptor_of_1(&mut world, &mut client).unwrap();
        encrypts(&world, &prepared).unwrap();
        let mut stream = prepared.stream(world.moment, b"", &mut rng()).unwrap();
        revoke_signer(&mut world, &mut client, since, in_response);
        assert_eq!(prepared.ended(), ended);
        let outcome = encrypts(&world, &prepared).err();
        let why = outcome.map(|error| match error {
            PerformError::Ended { why, .. } => why,
            other => panic!("{other:?}"),
        });
        assert_eq!(why, ended);
        let piece = stream.update(world.moment, b"a piece", &mut Vec::new());
        assert_eq!(piece.is_err(), ended.is_some());
        drop(stream);
        let again = encryptor_of_1(&mut world, &mut client);
        let is_missing = matches!(again, Err(ClientError::NoLicense { .. }));
        assert_eq!(is_missing, ended.is_some(), "{again:?}");
    }
}

#[test]
fn r_015_what_plays_stops_once_the_revocation_is_known() {
    let (mut world, mut client) = licensed(ends_with_revocation);
    let mut opened = open(&mut world, &mut client).unwrap();
    assert!(opened.holds(world.moment, &Unlisted));
    let own = own_certificate(&client);
    let list = world.server.list(Some(Role::Device), 1, &[(&own, NOW)]);
    assert_eq!(install(&mut world, &mut client, vec![list]), []);
    assert!(!opened.holds(world.moment, &Unlisted));
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
    pass(&mut world, 99);
    assert!(opened.holds(world.moment, &Unlisted));
    pass(&mut world, 1);
    assert!(!opened.holds(world.moment, &Unlisted));
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
    assert!(opened.holds(world.moment, &Unlisted));
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
