//! What verified under an operator's root, for as long as nothing more has become known of trust.
//!
//! Revocation lists come while content plays and exchange keys are in use. Whatever holds a license holds it as a
//! [`TrustedLicense`], which says how much was known when it verified; [`Client::trusts`] compares one number, and
//! verifies again where it differs. It is asked before the rules are, so that what was opened before a list came is
//! judged as what is opened after it (V-020).

use core::{
    cell::RefCell,
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};
use std::sync::Arc;

use keyward_crypto::{
    CryptoError,
    kdf::sha256,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    ids::Digest,
    license::{License, LicenseKind},
    signed::ChainVerifier,
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{Client, device::KeyStore, operator::Operator};

/// Most verified root licenses that a client keeps.
const ROOTS: usize = 16;
/// Most verified chains of signers that a client keeps.
const SIGNERS: usize = 8;

/// A license that has verified, and how much was known of trust then.
#[derive(Debug)]
pub(crate) struct TrustedLicense {
    license: License,
    signed: Vec<u8>,
    /// As [`Changes::count`](crate::lists::Changes::count) had it.
    known: AtomicU64,
}

impl TrustedLicense {
    pub(crate) fn new(license: License, signed: &[u8], known: u64) -> Self {
        Self {
            license,
            signed: signed.to_vec(),
            known: AtomicU64::new(known),
        }
    }

    /// The license as it was signed.
    pub(crate) fn signed(&self) -> &[u8] {
        &self.signed
    }
}

impl Deref for TrustedLicense {
    type Target = License;

    fn deref(&self) -> &License {
        &self.license
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// A license that verifies under its operator's root certificate.
    pub(crate) fn verified(&self, operator: &Digest, signed: &[u8]) -> Option<Arc<TrustedLicense>> {
        let of = (operator, self.operators.get(operator)?);
        self.verified.license(of, signed, self.changes.count())
    }

    /// V-020: whether a license that verified is one still, by what is known of trust now.
    pub(crate) fn trusts(&self, operator: &Digest, license: &TrustedLicense) -> bool {
        let known = self.changes.count();
        if license.known.load(Ordering::Relaxed) == known {
            return true;
        }
        let holds = self.verified(operator, &license.signed).is_some();
        if holds {
            license.known.store(known, Ordering::Relaxed);
        }
        holds
    }
}

/// What was verified and is asked for again: root licenses, and the chains of those who sign. With both, a further leaf
/// costs the verification of one signature.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    roots: RefCell<Vec<([u8; 32], Arc<TrustedLicense>)>>,
    signers: RefCell<Vec<Signer>>,
}

/// A signer's chain, and while all its certificates are valid.
#[derive(Debug)]
struct Signer {
    chain: [u8; 32],
    leaf: Certificate,
    not_before: u64,
    not_after: u64,
}

impl Verified {
    /// Forgets everything: what was verified was verified with other revocation lists.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A license that verifies under its operator's root certificate, by as much as has become known of trust.
    fn license(
        &self,
        (id, operator): (&Digest, &Operator),
        signed: &[u8],
        known: u64,
    ) -> Option<Arc<TrustedLicense>> {
        let name = sha256(&[id.as_bytes(), signed]);
        let is_it = |(other, _): &&([u8; 32], _)| *other == name;
        if let Some((_, root)) = self.roots.borrow().iter().find(is_it) {
            return Some(Arc::clone(root));
        }
        let verified = License::verify(signed, &self.signers(id, operator.anchor()), None).ok()?;
        let verified = Arc::new(TrustedLicense::new(verified, signed, known));
        if verified.body().kind == LicenseKind::Root {
            keep(&self.roots, (name, Arc::clone(&verified)), ROOTS);
        }
        Some(verified)
    }

    /// Verifies the chains of an operator's signers, each once.
    pub(crate) const fn signers<'a>(&'a self, id: &'a Digest, anchor: &'a Anchor) -> Signers<'a> {
        Signers {
            id,
            anchor,
            known: &self.signers,
        }
    }
}

/// Verifies a chain that is not known yet.
pub(crate) struct Signers<'a> {
    id: &'a Digest,
    anchor: &'a Anchor,
    known: &'a RefCell<Vec<Signer>>,
}

impl ChainVerifier for Signers<'_> {
    fn verify_chain(&self, chain: &[Vec<u8>], role: Role, at: Timestamp) -> Result<Certificate, CryptoError> {
        // Licenses have one role's signatures, and certificates are DER, which states its own length.
        let parts: Vec<&[u8]> = core::iter::once(&self.id.as_bytes()[..])
            .chain(chain.iter().map(Vec::as_slice))
            .collect();
        let name = sha256(&parts);
        let is_known = |known: &&Signer| {
            known.chain == name
                && role == Role::LicenseServer
                && (known.not_before..=known.not_after).contains(&at.0)
        };
        if let Some(known) = self.known.borrow().iter().find(is_known) {
            return Ok(known.leaf.clone());
        }
        let leaf = self.anchor.verify(chain, role, at.0)?;
        let certificates = chain.iter().map(|der| Certificate::parse(der));
        if let (Role::LicenseServer, Ok(certificates)) = (role, certificates.collect::<Result<Vec<_>, _>>()) {
            let not_before = certificates.iter().map(Certificate::not_before).max();
            let not_after = certificates.iter().map(Certificate::not_after).min();
            let not_after = not_after.unwrap_or(0);
            let signer = Signer {
                chain: name,
                leaf: leaf.clone(),
                not_before: not_before.unwrap_or(u64::MAX),
                not_after,
            };
            // What is good at its end was not revoked before.
            if self.anchor.verify(chain, role, not_after).is_ok() {
                keep(self.known, signer, SIGNERS);
            }
        }
        Ok(leaf)
    }
}

/// Keeps one more, the oldest making room.
fn keep<T>(kept: &RefCell<Vec<T>>, one: T, most: usize) {
    let mut kept = kept.borrow_mut();
    if kept.len() >= most {
        kept.remove(0);
    }
    kept.push(one);
}
