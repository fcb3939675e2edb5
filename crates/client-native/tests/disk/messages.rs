//! Every message of the host: what and why in one lower-case line, and what to do next.

use std::{io, path::PathBuf};

use keyward_client::{ClientError, device::KeysError};
use keyward_client_native::{KeysFault, NativeError};
use keyward_crypto::CryptoError;
use keyward_license::codec::DecodeError;

#[test]
fn every_message_is_as_it_was_read_and_approved() {
    let keys = |error| NativeError::Keys {
        path: "dir/device.keys".into(),
        error,
    };
    let errors = [
        NativeError::Client(ClientError::EpochMissing),
        NativeError::File {
            action: "write",
            path: "dir/licenses.epoch".into(),
            error: io::Error::from(io::ErrorKind::PermissionDenied),
        },
        NativeError::File {
            action: "read",
            path: "dir/licenses.epoch".into(),
            error: io::Error::from(io::ErrorKind::Interrupted),
        },
        NativeError::StoreInUse(PathBuf::from("dir/licenses.redb")),
        NativeError::Store {
            path: "dir/licenses.redb".into(),
            error: Box::new(redb::Error::Io(io::Error::from(io::ErrorKind::StorageFull))),
        },
        NativeError::Store {
            path: "dir/licenses.redb".into(),
            error: Box::new(redb::Error::Corrupted(
                "a page does not hold what it should".into(),
            )),
        },
        keys(KeysFault::Sealed(CryptoError::NotOpened)),
        keys(KeysFault::Missing("device.secret")),
        keys(KeysFault::Secret),
        keys(KeysFault::Malformed(KeysError::Decode(DecodeError::Invalid(
            "the device keys are of another version",
        )))),
        NativeError::Transport("connection refused".into()),
    ];
    let shown: Vec<_> = errors
        .iter()
        .map(|error| format!("error: {error}\nhint: {}\n", error.hint()))
        .collect();
    assert_eq!(shown.concat(), APPROVED, "now:\n{}", shown.concat());
    for line in shown.concat().lines() {
        let (_, text) = line.split_once(": ").unwrap();
        assert!(
            text.starts_with(char::is_lowercase) && !text.ends_with('.'),
            "{line}"
        );
    }
}

const APPROVED: &str = "\
error: the license store's epoch file is missing, so its records cannot be read
hint: restore the whole client directory, or remove its store and epoch files, then enrol and acquire again
error: cannot write dir/licenses.epoch: permission denied
hint: make the folder and its files writable for this user, then try again; nothing that was confirmed is lost
error: cannot read dir/licenses.epoch: operation interrupted
hint: check the disk and the folder's permissions, then try again; nothing that was confirmed is lost
error: the license store dir/licenses.redb is in use by another process
hint: wait until the other process has ended, or name another client directory
error: the license store dir/licenses.redb failed: I/O error: no storage space
hint: free some space, then try again; nothing that was confirmed is lost
error: the license store dir/licenses.redb failed: DB corrupted: a page does not hold what it should
hint: check the disk and the folder's permissions; if it stays, restore the whole client directory from its backup
error: the keys in dir/device.keys cannot be read: the key file and the secret file do not belong together
hint: restore the whole folder from its backup, or remove it and enrol anew with new keys
error: the keys in dir/device.keys cannot be read: the file device.secret is missing
hint: restore the whole folder from its backup, or remove it and enrol anew with new keys
error: the keys in dir/device.keys cannot be read: the secret file is malformed
hint: restore the whole folder from its backup, or remove it and enrol anew with new keys
error: the keys in dir/device.keys cannot be read: the keys are malformed: the device keys are of another version
hint: restore the whole folder from its backup, or remove it and enrol anew with new keys
error: cannot reach the license server: connection refused
hint: check the network and that the license server is running, then try again
";
