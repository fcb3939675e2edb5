//! The device's keys in a sealed file.

use std::{path::Path, sync::Arc};

use keyward_client::device::SoftwareKeys;
use rand_core::CryptoRng;

use crate::{NativeError, disk::Disk, error::KeysFault, sealed_file::SealedFile};

pub(crate) const KEYS: &str = "device.keys";
pub(crate) const SECRET: &str = "device.secret";
const CONTEXT: &str = "keyward/1 device-keys";

/// Reads the device's keys, or makes them if there are none at all. Where there is a store already
/// (`store_exists`), there were keys, and new ones would not open it: then none are made.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    folder: &Path,
    store_exists: bool,
    rng: &mut impl CryptoRng,
) -> Result<SoftwareKeys, NativeError> {
    let file = SealedFile::new(folder, KEYS, SECRET, CONTEXT).on(disk);
    match file.read()? {
        Some(keys) => {
            SoftwareKeys::from_secret_bytes(&keys).map_err(|error| file.fault(KeysFault::Malformed(error)))
        }
        None if store_exists => Err(file.fault(KeysFault::Missing(KEYS))),
        None => {
            let keys = SoftwareKeys::generate(rng);
            file.write(&keys.to_secret_bytes(), rng)?;
            Ok(keys)
        }
    }
}
