//! Files that are missing, foreign or garbled: a clear error, and nothing lost.

use std::fs;

use keyward_client::session::Acquisition;

use crate::world::{World, kid, opens, wanted};

/// What happened to one file of the directory.
enum Fate {
    Missing,
    Content(Vec<u8>),
}

/// Lets `fate` befall a file, expects the message and the hint, and then puts the file back and expects
/// everything to be as it was.
fn befalls(name: &str, fate: impl Fn(&[u8]) -> Fate, message: &str, hint: &str) {
    let world = World::licensed();
    let path = world.folder().join(name);
    let before = world.files();
    let whole = fs::read(&path).unwrap();
    match fate(&whole) {
        Fate::Missing => fs::remove_file(&path).unwrap(),
        Fate::Content(bytes) => fs::write(&path, bytes).unwrap(),
    }
    let error = world.open().expect_err(name);
    let shown = error.to_string().replace(world.folder().to_str().unwrap(), "DIR");
    assert_eq!((&shown[..], error.hint()), (message, hint));
    // Trying again is no worse.
    assert_eq!(world.open().expect_err(name).hint(), hint);
    // Nothing else was touched (the database notes each opening), and nothing new was made.
    for (other, bytes) in &before {
        if other != name && other != "licenses.redb" {
            assert_eq!(&fs::read(world.folder().join(other)).unwrap(), bytes, "{other}");
        }
    }
    assert!(
        world
            .files()
            .iter()
            .all(|(other, _)| before.iter().any(|(known, _)| known == other))
    );
    fs::write(&path, whole).unwrap();
    let mut client = world.open().unwrap();
    assert!(opens(
        &client
            .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
            .unwrap()
            .bound[0]
    ));
}

const NEW_DEVICE: &str =
    "restore the whole folder from its backup, or remove it and enrol anew with new keys";
const NEW_STORE: &str =
    "restore the whole client directory, or remove its store and epoch files, then enrol and acquire again";
const DISK: &str = "check the disk and the folder's permissions; if it stays, restore the whole client directory from its backup";

fn missing(_: &[u8]) -> Fate {
    Fate::Missing
}

fn one_bit(whole: &[u8]) -> Fate {
    let mut bytes = whole.to_vec();
    bytes[whole.len() / 2] ^= 1;
    Fate::Content(bytes)
}

fn cut(whole: &[u8]) -> Fate {
    Fate::Content(whole[..whole.len() - 1].to_vec())
}

fn empty(_: &[u8]) -> Fate {
    Fate::Content(Vec::new())
}

#[test]
fn the_secret_file() {
    let message = "the keys in DIR/device.keys cannot be read: the file device.secret is missing";
    befalls("device.secret", missing, message, NEW_DEVICE);
    let message =
        "the keys in DIR/device.keys cannot be read: the key file and the secret file do not belong together";
    befalls("device.secret", one_bit, message, NEW_DEVICE);
    let message = "the keys in DIR/device.keys cannot be read: the secret file is malformed";
    befalls("device.secret", cut, message, NEW_DEVICE);
    befalls("device.secret", empty, message, NEW_DEVICE);
}

#[test]
fn the_key_file() {
    let message = "the keys in DIR/device.keys cannot be read: the file device.keys is missing";
    befalls("device.keys", missing, message, NEW_DEVICE);
    let message =
        "the keys in DIR/device.keys cannot be read: the key file and the secret file do not belong together";
    for fate in [one_bit, cut, empty] {
        befalls("device.keys", fate, message, NEW_DEVICE);
    }
}

#[test]
fn both_key_files_at_once_do_not_make_a_new_device() {
    let world = World::licensed();
    for name in ["device.keys", "device.secret"] {
        fs::rename(world.folder().join(name), world.beside(name)).unwrap();
    }
    assert_eq!(world.open().unwrap_err().hint(), NEW_DEVICE);
    for name in ["device.keys", "device.secret"] {
        assert!(!world.folder().join(name).exists(), "{name} was made anew");
        fs::rename(world.beside(name), world.folder().join(name)).unwrap();
    }
    assert!(opens(
        &world
            .open()
            .unwrap()
            .open_content(vec![kid(1)], wanted(1), Acquisition::Never)
            .unwrap()
            .bound[0]
    ));
}

#[test]
fn a_crash_between_secret_and_keys_is_healed() {
    let world = World::new();
    drop(world.open().unwrap());
    let secret = fs::read(world.folder().join("device.secret")).unwrap();
    fs::remove_dir_all(world.folder()).unwrap();
    fs::create_dir(world.folder()).unwrap();
    fs::write(world.folder().join("device.secret"), &secret).unwrap();
    drop(world.open().unwrap());
    assert_eq!(fs::read(world.folder().join("device.secret")).unwrap(), secret);
}

#[test]
fn the_epoch_file() {
    let message = "the license store's epoch file is missing, so its records cannot be read";
    befalls("licenses.epoch", missing, message, NEW_STORE);
    let message = "the license store is damaged: the epoch file does not open under this device's key";
    for fate in [one_bit, cut, empty] {
        befalls("licenses.epoch", fate, message, NEW_STORE);
    }
}

#[test]
fn the_database() {
    let message = "the license store was set back to an earlier state";
    befalls("licenses.redb", missing, message, NEW_STORE);
    let no_database = |_: &[u8]| Fate::Content(b"not a database ".repeat(1_000));
    let message =
        "the license store DIR/licenses.redb failed: I/O error: Not a redb database: magic number mismatch";
    befalls("licenses.redb", no_database, message, DISK);
}

#[test]
fn a_garbled_database_gives_an_error_or_what_is_in_it() {
    let world = World::licensed();
    let path = world.folder().join("licenses.redb");
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for place in (0..whole.len()).step_by(whole.len() / 80) {
        let mut garbled = whole.clone();
        garbled[place..]
            .iter_mut()
            .take(64)
            .for_each(|byte| *byte ^= 0xa5);
        fs::write(&path, garbled).unwrap();
        let used = world.open().and_then(|mut client| {
            client.licenses()?;
            client.open_content(vec![kid(1)], wanted(1), Acquisition::Never)
        });
        match used {
            Ok(opened) => assert!(opens(&opened.bound[0])),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "nothing of use was garbled");
    fs::write(&path, whole).unwrap();
    drop(world.open().unwrap());
}

#[test]
fn another_devices_directory_does_not_mix_with_this_one() {
    let [one, other] = [World::licensed(), World::licensed()];
    for name in ["device.keys", "device.secret"] {
        fs::copy(other.folder().join(name), one.folder().join(name)).unwrap();
    }
    let error = one.open().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the license store is damaged: the epoch file does not open under this device's key"
    );
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let world = World::new();
    fs::write(world.folder(), b"a file").unwrap();
    let error = world.open().unwrap_err();
    let shown = error.to_string().replace(world.folder().to_str().unwrap(), "DIR");
    assert!(shown.starts_with("cannot make DIR: "), "{shown}");
}
