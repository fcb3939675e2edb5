//! The device's keys in a file, sealed under a secret in another.
//!
//! The two files beside each other keep keys out of a backup or a log that catches one of them, and
//! give a platform's key store a place: it replaces the secret file. Against somebody who reads the
//! whole directory they offer nothing; see `docs/threat-model.md`.

use std::path::Path;

use keyward_client::device::SoftwareKeys;
use keyward_crypto::{Secret, SecretBytes, aead};
use rand_core::CryptoRng;

use crate::{
    NativeError,
    error::KeysFault,
    files::{read_if_there, replace},
};

const KEYS: &str = "device.keys";
const SECRET: &str = "device.secret";
const AAD: &[u8] = b"keyward/1 device-keys";

/// Reads the device's keys, or makes them if there are none at all. Where there is a store already
/// (`store_exists`), there were keys, and new ones would not open it: then none are made.
pub(crate) fn open(
    folder: &Path,
    store_exists: bool,
    rng: &mut impl CryptoRng,
) -> Result<SoftwareKeys, NativeError> {
    let (keys_path, secret_path) = (folder.join(KEYS), folder.join(SECRET));
    let fault = |error| NativeError::Keys {
        path: keys_path.clone(),
        error,
    };
    let secret = read_if_there(&secret_path)?.map(SecretBytes::new);
    match (read_if_there(&keys_path)?, secret) {
        (None, _) if store_exists => Err(fault(KeysFault::Missing(KEYS))),
        // A secret without keys is what a crash between the two writes leaves.
        (None, secret) => {
            let secret = match secret {
                Some(secret) => read_secret(&secret).map_err(fault)?,
                None => make_secret(&secret_path, rng)?,
            };
            let keys = SoftwareKeys::generate(rng);
            let sealed = aead::seal(&secret, AAD, keys.to_secret_bytes().expose(), rng)
                .map_err(|error| fault(KeysFault::Sealed(error)))?;
            replace(&keys_path, &sealed)?;
            Ok(keys)
        }
        (Some(_), None) => Err(fault(KeysFault::Missing(SECRET))),
        (Some(sealed), Some(secret)) => {
            let secret = read_secret(&secret).map_err(fault)?;
            let opened =
                aead::open(&secret, AAD, &sealed).map_err(|error| fault(KeysFault::Sealed(error)))?;
            SoftwareKeys::from_secret_bytes(&opened).map_err(|error| fault(KeysFault::Malformed(error)))
        }
    }
}

fn make_secret(path: &Path, rng: &mut impl CryptoRng) -> Result<Secret<32>, NativeError> {
    let secret = Secret::random(rng);
    replace(path, secret.expose())?;
    Ok(secret)
}

fn read_secret(bytes: &SecretBytes) -> Result<Secret<32>, KeysFault> {
    Secret::from_slice(bytes.expose()).map_err(|_| KeysFault::Secret)
}
