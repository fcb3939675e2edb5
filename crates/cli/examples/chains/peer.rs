//! What has to be done in any case: the cryptography of one leaf, making and opening it.

use getrandom::SysRng;
use keyward_crypto::{
    RootKey, Secret,
    ecdsa::SigningKey,
    x509::{Anchor, Role},
};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::{Kid, LicenseId},
    license::{
        Binding, KeyDescription, KeyType, License, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense,
    },
};
use keyward_testkit::pki::{NOW, Operator};
use rand_core::UnwrapErr;

use crate::{Outcome, device::ROOT, timed};

/// A signer of licenses, and a root.
pub(crate) struct Peer {
    chain: Vec<Vec<u8>>,
    key: SigningKey,
    anchor: Anchor,
    root: RootKey,
}

/// Nanoseconds of a leaf.
pub(crate) struct Alone {
    /// Sealing and signing it.
    pub(crate) making: u64,
    /// Verifying it with its signer's chain, and opening it.
    pub(crate) opening: u64,
}

impl Peer {
    pub(crate) fn new() -> Self {
        let mut operator = Operator::new([4; 32]);
        let signer = operator.server(Role::LicenseServer);
        Self {
            key: signer.key.signing_key(),
            chain: signer.chain,
            anchor: operator.anchor(),
            root: RootKey::random(&mut UnwrapErr(SysRng)),
        }
    }

    /// Makes so many leaves and opens them.
    pub(crate) fn leaves(&self, count: u64) -> Outcome<Alone> {
        let (making, leaves) = timed(|| (0..count).map(|_| self.leaf()).collect::<Outcome<Vec<_>>>())?;
        let (opening, ()) = timed(|| leaves.iter().try_for_each(|leaf| self.open(leaf)))?;
        let of_each = |micros: u64| micros * 1000 / count.max(1);
        Ok(Alone {
            making: of_each(making),
            opening: of_each(opening),
        })
    }

    fn leaf(&self) -> Outcome<Vec<u8>> {
        let rng = &mut UnwrapErr(SysRng);
        let described = KeyDescription::content(Kid::random(rng), KeyType::CencCtr);
        let (id, binding) = (LicenseId::random(rng), Binding::root(ROOT));
        let body = LicenseBody::new(id, LicenseKind::Leaf, described, binding, NOW);
        let keys = LicenseKeys {
            keys: vec![Bytes(vec![0xc5; 16])],
            proof_key: Secret::random(rng),
        };
        let prepared = PreparedLicense::under_root(body.encode(), &keys, &self.root, rng)?;
        Ok(prepared.sign(&self.chain, &self.key)?)
    }

    fn open(&self, leaf: &[u8]) -> Outcome {
        License::verify(leaf, &self.anchor, None)?.open_under(&self.root)?;
        Ok(())
    }
}
