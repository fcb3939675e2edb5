//! What works: the main job on disk.

use keyward_client::{
    ClientError,
    enforce::Availability,
    install::AcquiredKey,
    session::{Acquisition, Needs},
};
use keyward_client_native::{NativeClient, NativeError, NoTransport};
use keyward_crypto::RootKey;
use keyward_testkit::pki::{DAY, NOW};

use crate::world::{World, kid, open_offline, opens, wanted};

#[test]
fn a_device_enrols_acquires_and_opens_content_with_the_server_gone() {
    let world = World::new();
    let mut client = world.open().unwrap();
    let id = client.device_id().unwrap();
    assert_eq!(client.operators().count(), 0);
    world.enrol(&mut client);
    let acquired = client.acquire(wanted(1)).unwrap();
    let [(_, AcquiredKey::Stored(license))] = acquired.outcomes[..] else {
        panic!("{acquired:?}")
    };
    drop(client);

    let mut client = open_offline(&world.folder()).unwrap();
    assert_eq!(client.device_id().unwrap(), id);
    assert_eq!(client.operators().count(), 1);
    assert!(matches!(client.find(kid(1)).unwrap(), Availability::Ready { license: of, .. } if of == license));
    let opened = client
        .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
        .unwrap();
    assert!(opens(&opened.bound[0]));
    assert_eq!(client.licenses().unwrap().len(), 1);
    assert_eq!(client.remove_licenses(kid(1)).unwrap(), 1);
    drop(client);

    let mut client = open_offline(&world.folder()).unwrap();
    let refused = client.open_content(vec![kid(1)], wanted(1), Acquisition::Never);
    assert!(
        matches!(refused, Err(NativeError::Client(ClientError::NoLicense { .. }))),
        "{refused:?}"
    );
    let refused = client.open_content(vec![kid(1)], wanted(1), Acquisition::Reactive);
    assert!(matches!(refused, Err(NativeError::Transport(_))), "{refused:?}");
    let opened = {
        drop(client);
        world
            .open()
            .unwrap()
            .open_content(vec![kid(1)], wanted(1), Acquisition::Reactive)
    };
    assert!(opens(&opened.unwrap().bound[0]));
}

/// V-037, V-039: with the root in the directory, what comes up while content plays needs no network.
#[test]
fn keys_are_reached_offline_under_leaves_that_ride_in_content() {
    let world = World::new();
    let root = RootKey::from_slice(&[9; 32]).unwrap();
    world.server.borrow_mut().roots.insert(kid(9), root);
    let mut client = world.open().unwrap();
    world.enrol(&mut client);
    client.acquire(wanted(9)).unwrap();
    drop(client);

    let mut client = open_offline(&world.folder()).unwrap();
    let never = Acquisition::Never;
    let mut opened = client.open_content(Vec::new(), wanted(9), never).unwrap();
    for number in [1, 2] {
        let needs = Needs {
            kids: vec![kid(number)],
            licenses: vec![world.server.borrow_mut().leaf(kid(number), kid(9))],
            ..Needs::default()
        };
        let standing = client.reach(&mut opened, needs).unwrap();
        assert_eq!(
            (standing.playing, standing.stopped.len()),
            (usize::from(number), 0)
        );
        let bound = opened.bound.last().unwrap();
        assert!(opens(bound));
        assert_eq!(bound.until(), Some(NOW.plus(DAY)), "the root's end");
    }
    assert!(client.renew(&mut opened).unwrap().is_none());
    assert_eq!(client.licenses().unwrap().len(), 1, "the root alone");
    let rootless = Needs {
        kids: vec![kid(3)],
        ..Needs::default()
    };
    let missing = client.reach(&mut opened, rootless);
    assert!(
        matches!(missing, Err(NativeError::Client(ClientError::NoLicense { .. }))),
        "{missing:?}"
    );
}

#[test]
fn a_failure_of_the_network_is_no_failure_of_the_client() {
    let world = World::licensed();
    let mut client = open_offline(&world.folder()).unwrap();
    for _ in 0..3 {
        assert!(matches!(
            client.acquire(wanted(2)),
            Err(NativeError::Transport(_))
        ));
    }
    assert!(opens(
        &client
            .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
            .unwrap()
            .bound[0]
    ));
}

#[test]
fn the_operating_systems_clock_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = NativeClient::open(folder.path(), Box::new(NoTransport)).unwrap();
    assert_eq!(client.find(kid(1)).unwrap(), Availability::Missing);
}

#[cfg(unix)]
#[test]
fn the_files_are_their_owners_alone_and_a_folder_that_was_there_keeps_its_mode() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let world = World::licensed();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.folder()), 0o700);
    let names: Vec<_> = world.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["device.keys", "device.secret", "licenses.epoch", "licenses.redb"]
    );
    for name in names {
        assert_eq!(mode(&world.folder().join(&name)), 0o600, "{name}");
    }
    let shared = world.beside("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
    drop(open_offline(&shared).unwrap());
    assert_eq!(mode(&shared), 0o755);
}
