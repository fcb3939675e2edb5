//! What has to be done in any case: the cryptography of one license, and one flush of the disk.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use keyward_client::device::{KeyStore, SoftwareKeys};
use keyward_crypto::{
    Secret,
    hpke::Suite,
    x509::{Anchor, Role},
};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::{Kid, LicenseId},
    license::{
        Binding, KeyDescription, KeyType, License, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense,
    },
    party::PartyKeys,
};
use keyward_testkit::pki::{NOW, Operator};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::Outcome;

/// A license like those in the store, and what opens it.
pub(crate) struct Peer {
    anchor: Anchor,
    keys: SoftwareKeys,
    license: Vec<u8>,
}

impl Peer {
    pub(crate) fn new() -> Outcome<Self> {
        let rng = &mut ChaCha20Rng::from_seed([3; 32]);
        let mut operator = Operator::new([4; 32]);
        let signer = operator.server(Role::LicenseServer);
        let keys = SoftwareKeys::generate(rng);
        let described = KeyDescription::content(Kid::new([1; 16]), KeyType::File);
        let (id, binding) = (LicenseId::random(rng), Binding::device(&keys.device_id()?));
        let body = LicenseBody::new(id, LicenseKind::Simple, described, binding, NOW);
        let sealed = LicenseKeys {
            keys: vec![Bytes(vec![0xc5; 16])],
            proof_key: Secret::random(rng),
        };
        let best = keys.sealing_keys().into_iter().max_by_key(|key| key.suite);
        let best = best.ok_or("the device has no keys")?;
        let suite = Suite::from_number(best.suite).ok_or("the suite is not known")?;
        let prepared = PreparedLicense::for_device(body.encode(), &sealed, suite, &best.public_key.0, rng)?;
        Ok(Self {
            anchor: operator.anchor(),
            keys,
            license: prepared.sign(&signer.chain, &signer.key)?,
        })
    }

    /// Verifies the signer's chain and the license, and opens the key.
    pub(crate) fn verify_and_open(&self) -> Outcome {
        let license = License::verify(&self.license, &self.anchor, None)?;
        let sealed = license.sealed();
        let (encapsulated, ciphertext) = (&sealed.encapsulated.0, &sealed.ciphertext.0);
        self.keys.open(
            license.sealing().suite().ok_or("the license is a leaf")?,
            &license.key_binding(),
            encapsulated,
            ciphertext,
        )?;
        Ok(())
    }
}

/// Writes a small file, flushes it and its folder.
pub(crate) fn flush(folder: &Path) -> Outcome {
    let path = folder.join("flush");
    let mut file = File::create(&path)?;
    file.write_all(&[0; 200])?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    drop(file);
    fs::remove_file(path)?;
    Ok(())
}
