//! No sensitive bytes on disk.

use std::fs;

use keyward_client::{acquire::Wanted, session::Acquisition};
use keyward_crypto::{Secret, aead};
use keyward_license::{
    cbor_map,
    codec::{Bytes, Wire},
};

use crate::world::{CONTENT_KEY, TOKEN, World, kid, open_offline, wanted};

const VIEWER: &str = "viewer-token-9a77";

/// Which of these secrets lie in a file of the directory, in the clear.
fn found(world: &World, secrets: &[(&'static str, Vec<u8>)]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for (file, bytes) in world.files() {
        for (name, secret) in secrets {
            if bytes.windows(secret.len()).any(|at| at == secret) {
                found.push((file.clone(), *name));
            }
        }
    }
    found
}

cbor_map! {
    /// The device keys, as `device.keys` seals them.
    struct KeyFile = "device keys" {
        [1] version: u64,
        [2] signing: Secret<32>,
        [3] sealing: Vec<PrivateKey>,
        [4] store_key: Secret<32>,
    }
}

cbor_map! {
    /// A private key of one suite.
    struct PrivateKey = "private key" {
        [1] suite: u64,
        [2] private_key: Bytes,
    }
}

/// The device's own secrets, taken out of its two files.
fn device_secrets(world: &World) -> Vec<(&'static str, Vec<u8>)> {
    let [sealed, secret] =
        ["device.keys", "device.secret"].map(|name| fs::read(world.folder().join(name)).unwrap());
    let secret = Secret::from_slice(&secret).unwrap();
    let opened = aead::open(&secret, b"keyward/1 device-keys", &sealed).unwrap();
    let file = KeyFile::decode(opened.expose()).unwrap();
    assert_eq!((file.version, file.sealing.len()), (1, 2));
    let mut secrets = vec![
        ("signing key", file.signing.expose().to_vec()),
        ("store key", file.store_key.expose().to_vec()),
    ];
    for key in file.sealing {
        assert_eq!(key.private_key.0.len(), 32, "suite {}", key.suite);
        secrets.push(("sealing key", key.private_key.0));
    }
    let epoch = fs::read(world.folder().join("licenses.epoch")).unwrap();
    let epoch = aead::open(&file.store_key, b"keyward/1 store-epoch", &epoch).unwrap();
    // The record key is the one 32-byte string in the epoch file.
    let at = epoch
        .expose()
        .windows(2)
        .position(|head| head == [0x58, 0x20])
        .unwrap()
        + 2;
    secrets.push(("record key", epoch.expose()[at..at + 32].to_vec()));
    secrets
}

#[test]
fn keys_and_tokens_are_in_no_file() {
    let world = World::new();
    let mut client = world.open().unwrap();
    world.enrol(&mut client);
    let asked = Wanted {
        authorization: Some(VIEWER.into()),
        ..wanted(1)
    };
    client.acquire(asked.clone()).unwrap();
    client
        .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
        .unwrap();
    // One more request waits for its answer.
    client.request(asked.clone()).unwrap();
    let waiting = client.request(asked).unwrap();
    drop(client);
    {
        // The server sees the response key of the request that waits.
        let mut server = world.server.borrow_mut();
        let url = format!("{}/license", keyward_testkit::fake_server::ORIGIN);
        assert_eq!(server.answer(&url, &waiting).status, 200);
    }

    let mut secrets = device_secrets(&world);
    secrets.push(("content key", CONTENT_KEY.to_vec()));
    secrets.push(("enrolment token", TOKEN.as_bytes().to_vec()));
    secrets.push(("viewer token", VIEWER.as_bytes().to_vec()));
    secrets.push(("key id", kid(1).as_bytes().to_vec()));
    secrets.push(("license server", b"license.example".to_vec()));
    for request in &world.server.borrow().requests {
        secrets.push(("response key", request.response_key.expose().to_vec()));
    }
    assert_eq!(secrets.len(), 12);
    assert_eq!(found(&world, &secrets), []);

    // The search finds what is there: every secret, in the middle of a file and at its ends.
    let planted: Vec<u8> = secrets.iter().flat_map(|(_, secret)| secret.clone()).collect();
    fs::write(world.folder().join("planted"), &planted).unwrap();
    assert_eq!(found(&world, &secrets).len(), secrets.len());
    fs::remove_file(world.folder().join("planted")).unwrap();

    // Removal and more commits leave nothing behind either.
    let mut client = open_offline(&world.folder()).unwrap();
    client.remove_licenses(kid(1)).unwrap();
    drop(client);
    assert_eq!(found(&world, &secrets), []);
}
