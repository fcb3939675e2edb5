//! A root, an authority and a license server, and what else they could have signed.
#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use rcgen::{CertificateParams, Issuer};

use super::{
    Anchor, Certificate, Role,
    issue::{self, ListProfile, Profile, Revoked, SignerAdapter, Subject},
    revocation::RevocationList,
};
use crate::ecdsa::SigningKey;

pub(super) const DAY: u64 = 86_400;
/// The role of every leaf here.
pub(super) const ROLE: Role = Role::LicenseServer;

/// An authority with its key.
pub(super) struct Authority {
    pub(super) key: SigningKey,
    pub(super) certificate: Certificate,
}

/// All certificates are valid from day 1 to day 100.
pub(super) struct Pki {
    pub(super) root: Authority,
    pub(super) authority: Authority,
    pub(super) leaf: Certificate,
}

/// One of the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Root,
    Authority,
    Leaf,
}

impl Pki {
    pub(super) fn new(seed: u8) -> Self {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let [root_key, key, leaf_key] = [(); 3].map(|()| SigningKey::generate(&mut rng));
        let root = issue::self_signed(&profile(Which::Root), &root_key).unwrap();
        let root = Authority::new(root_key, &root);
        let authority = root.certify(&profile(Which::Authority), &key);
        let authority = Authority::new(key, &authority);
        let leaf = authority.certify(&profile(Which::Leaf), &leaf_key);
        Self {
            root,
            authority,
            leaf: Certificate::parse(&leaf).unwrap(),
        }
    }

    pub(super) fn anchor(&self) -> Anchor {
        Anchor::from_der(self.root.certificate.der()).unwrap()
    }

    pub(super) fn chain(&self) -> Vec<Vec<u8>> {
        vec![
            self.leaf.der().to_vec(),
            self.authority.certificate.der().to_vec(),
        ]
    }

    /// Leaf, authority and root like this one's, one of them otherwise.
    pub(super) fn odd(&self, which: Which, alter: impl FnOnce(&mut CertificateParams)) -> [Vec<u8>; 3] {
        let mut alter = Some(alter);
        let mut params = |this: Which, key: &SigningKey| {
            let mut params = issue::params(&profile(this), key.public_key()).unwrap();
            if this == which {
                alter.take().unwrap()(&mut params);
            }
            params
        };
        let (root, authority) = (&self.root.key, &self.authority.key);
        let root_params = params(Which::Root, root);
        let root_der = root_params.self_signed(&SignerAdapter(root)).unwrap();
        let authority_params = params(Which::Authority, authority);
        let root_issuer = Issuer::from_params(&root_params, SignerAdapter(root));
        let authority_der = authority_params.signed_by(&Subject(authority.public_key()), &root_issuer);
        let leaf_issuer = Issuer::from_params(&authority_params, SignerAdapter(authority));
        let leaf_der =
            params(Which::Leaf, authority).signed_by(&Subject(authority.public_key()), &leaf_issuer);
        [leaf_der, authority_der, Ok(root_der)].map(|certificate| certificate.unwrap().der().to_vec())
    }
}

impl Authority {
    pub(super) fn new(key: SigningKey, der: &[u8]) -> Self {
        let certificate = Certificate::parse(der).unwrap();
        Self { key, certificate }
    }

    pub(super) fn certify(&self, profile: &Profile<'_>, key: &SigningKey) -> Vec<u8> {
        issue::issue(profile, key.public_key(), &self.certificate, &self.key).unwrap()
    }

    /// A list of day 2, due on day 20.
    pub(super) fn list(&self, number: u64, revoked: &[Revoked<'_>]) -> RevocationList {
        let profile = ListProfile {
            number,
            this_update: 2 * DAY,
            next_update: 20 * DAY,
            revoked,
        };
        let der = issue::revocation_list(&profile, &self.certificate, &self.key).unwrap();
        RevocationList::parse(&der).unwrap()
    }
}

pub(super) fn profile(which: Which) -> Profile<'static> {
    let (subject, roles, authority, serial): (_, &[Role], _, _) = match which {
        Which::Root => ("root", &[], Some(1), 1),
        Which::Authority => ("authority", &[ROLE], Some(0), 2),
        Which::Leaf => ("license server", &[ROLE], None, 3),
    };
    Profile {
        subject,
        roles,
        authority,
        not_before: DAY,
        not_after: 100 * DAY,
        claims: None,
        serial: [serial; 16],
    }
}

pub(super) fn revoked(certificate: &Certificate, at: u64) -> Revoked<'_> {
    Revoked {
        serial: certificate.serial(),
        at,
        invalid_since: None,
        reason: None,
    }
}
