//! An exchange key changes: what was made before is read after, on both sides, until the minimum version says no.

use keyward_client::session::Acquisition;
use keyward_client_native::NativeError;
use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, Operation},
};
use keyward_server::key_exchange::{Item, Output, PerformFault};

use crate::{
    key_exchange::scenario::{DATA, asking, exchanging, new_key, opened, served},
    scenarios::world::{Device, MINUTE, World},
};

fn version(result: &[u8]) -> u32 {
    u32::from_be_bytes(*result.first_chunk().unwrap())
}

/// A new version, and licenses from then on are younger.
fn rotate(world: &World) -> u32 {
    world.pass(MINUTE);
    world.operator(async |server| server.rotate_exchange_key(DATA).await.unwrap())
}

fn accept_from(world: &World, version: u32) {
    world.operator(async |server| {
        server.set_exchange_minimum_version(DATA, version).await.unwrap();
    });
}

fn encrypt(device: &mut Device) -> Vec<u8> {
    let wanted = device.wanted.clone();
    let client = device.client();
    let key = client
        .prepare_encryptor(DATA, None, wanted, Acquisition::Reactive)
        .unwrap();
    let result = client.encrypt(&key, b"", b"data").unwrap();
    client.close(key).unwrap();
    result
}

fn decrypt(device: &mut Device, result: &[u8]) -> Result<Vec<u8>, String> {
    let wanted = device.wanted.clone();
    let client = device.client();
    let key = client.prepare_decryptor(DATA, None, wanted, Acquisition::Reactive);
    let key = key.unwrap();
    let data = client.decrypt(&key, b"", result);
    data.map(|data| data.expose().to_vec())
        .map_err(|error: NativeError| error.to_string())
}

fn server_encrypts(world: &World) -> Vec<u8> {
    let data = SecretBytes::new(b"data".to_vec());
    let aad = Vec::new();
    match served(world, Item::Encrypt { data, aad }) {
        Ok(Output::Encrypted(result)) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_devices_made_before_a_rotation_is_read_until_the_minimum_version() {
    let world = exchanging(new_key(Algorithm::A256Gcm, Operation::Encrypt));
    let read = |result: &[u8]| {
        served(
            &world,
            Item::Decrypt {
                result: result.to_vec(),
                aad: Vec::new(),
            },
        )
    };
    let [mut device, mut other] = ["device", "other"].map(|name| asking(&world, name));
    let first = encrypt(&mut device);
    assert_eq!((version(&first), rotate(&world)), (1, 2));
    // Its license is of before; who asks now gets the new version.
    let still_first = encrypt(&mut device);
    let second = encrypt(&mut other);
    assert_eq!((version(&still_first), version(&second)), (1, 2));
    world.restart_server();
    for result in [&first, &still_first, &second] {
        assert_eq!(opened(read(result)), b"data");
    }
    accept_from(&world, 2);
    assert!(matches!(read(&first), Err(PerformFault::VersionRefused(1))));
    assert_eq!(opened(read(&second)), b"data");
    // A new license cures it.
    device.acquire().unwrap();
    let renewed = encrypt(&mut device);
    assert_eq!((version(&renewed), opened(read(&renewed))), (2, b"data".to_vec()));
}

#[test]
fn what_the_server_made_is_read_by_who_holds_its_version() {
    let world = exchanging(new_key(Algorithm::A128Gcm, Operation::Decrypt));
    let mut before = asking(&world, "before");
    let first = server_encrypts(&world);
    assert_eq!(decrypt(&mut before, &first).unwrap(), b"data");
    rotate(&world);
    let second = server_encrypts(&world);
    assert_eq!(version(&second), 2);
    assert_eq!(
        decrypt(&mut before, &second).unwrap_err(),
        "it was made with version 2 of the key, and here is version 1"
    );
    before.acquire().unwrap();
    let mut after = asking(&world, "after");
    let mut one = asking(&world, "one");
    one.exchange_multiple = false;
    one.restart();
    for result in [&first, &second] {
        assert_eq!(decrypt(&mut before, result).unwrap(), b"data");
        assert_eq!(decrypt(&mut after, result).unwrap(), b"data");
    }
    assert_eq!(decrypt(&mut one, &second).unwrap(), b"data");
    assert_eq!(
        decrypt(&mut one, &first).unwrap_err(),
        "it was made with version 1 of the key, and here is version 2"
    );
    // Licenses of after the minimum was raised do not hold what is below.
    accept_from(&world, 2);
    let mut late = asking(&world, "late");
    assert_eq!(decrypt(&mut late, &second).unwrap(), b"data");
    assert_eq!(
        decrypt(&mut late, &first).unwrap_err(),
        "it was made with version 1 of the key, and here is version 2"
    );
    // A version that nobody ever made.
    let mut forged = second;
    forged[..4].copy_from_slice(&9_u32.to_be_bytes());
    assert_eq!(
        decrypt(&mut late, &forged).unwrap_err(),
        "it was made with version 9 of the key, and here is version 2"
    );
}

#[test]
fn a_license_holds_the_newest_eight_versions() {
    let world = exchanging(new_key(Algorithm::HmacSha256, Operation::Verify));
    for _ in 0..9 {
        rotate(&world);
    }
    let mut device = asking(&world, "device");
    let wanted = device.wanted.clone();
    let key = device
        .client()
        .prepare_verifier(DATA, None, wanted, Acquisition::Reactive)
        .unwrap();
    assert_eq!(key.versions(), [10, 9, 8, 7, 6, 5, 4, 3]);
}
