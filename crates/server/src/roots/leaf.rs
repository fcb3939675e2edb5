//! Leaf licenses: what stands in one, and its key under its root's.

use std::collections::{HashMap, hash_map::Entry};

use keyward_crypto::{ContentKey, RootKey, Secret, kdf::hmac_sha256};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    ids::{Kid, LicenseId, Nonce},
    license::{
        Binding, ExtendedRight, KeyDescription, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense,
    },
    time::Timestamp,
};

use crate::{Error, chance::rng, operator::Identity, policy::PolicyTerms, store::KeyRow, vault::Vault};

/// The root keys of one answer, opened once each and wiped with it.
#[derive(Default)]
pub(crate) struct RootKeys(HashMap<Kid, RootKey>);

impl RootKeys {
    /// The key of a root.
    pub(crate) fn open(&mut self, vault: &Vault, root: &KeyRow) -> Result<&RootKey, Error> {
        Ok(match self.0.entry(root.kid) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert(vault.root_key(root)?),
        })
    }
}

/// A leaf for the key under the root, issued at this time, to be stored: as it rides in content. It says nothing but
/// which devices may have the key; all else is its root's to say.
pub(crate) fn body(key: &KeyRow, root: Kid, now: Timestamp) -> LicenseBody {
    let description = KeyDescription::content(key.kid, key.key_type);
    let id = LicenseId::random(&mut rng());
    LicenseBody {
        minimum_security_level: key.minimum_security_level,
        ..LicenseBody::new(id, LicenseKind::Leaf, description, Binding::root(root), now)
    }
}

/// A leaf for an answer to a device, under a root license of these terms. It grants what they grant, since all of a
/// chain must; what limits that stands in the root license alone.
pub(crate) fn body_for(
    key: &KeyRow,
    root: Kid,
    (terms, root_license): (&PolicyTerms, &LicenseBody),
    nonce: Nonce,
) -> LicenseBody {
    let rights = terms.extended_rights.iter().map(|right| ExtendedRight {
        kind: right.kind,
        restrictions: None,
    });
    LicenseBody {
        persistent: root_license.persistent,
        nonce: (!root_license.persistent).then_some(nonce),
        rights: root_license.rights.clone(),
        extended_rights: (!terms.extended_rights.is_empty()).then(|| rights.collect()),
        embed: (terms.embed && root_license.persistent).then_some(keyward_license::license::Flag),
        ..body(key, root, root_license.issued)
    }
}

/// Seals a content key under its root's, bound to the terms.
pub(crate) fn prepare(
    identity: &Identity,
    body: &LicenseBody,
    key: &ContentKey,
    root: &RootKey,
) -> Result<PreparedLicense, Error> {
    let rng = &mut rng();
    let keys = LicenseKeys {
        keys: vec![Bytes(key.expose().to_vec())],
        proof_key: proof_key(identity, &body.id)?,
    };
    let body = grease(&body.encode(), rng)?;
    PreparedLicense::under_root(body, &keys, root, rng).map_err(Error::Making)
}

/// What authenticates a later stop of the license.
pub(crate) fn proof_key(identity: &Identity, license: &LicenseId) -> Result<Secret<32>, Error> {
    let proof = hmac_sha256(identity.proof_secret.expose(), &[license.as_bytes()])?;
    Ok(Secret::new(proof))
}
