//! Paths of authorities alone: who signed a revocation list that comes without a leaf to judge.
//!
//! ```text
//!  list ── signed by ──► issuing authority ──► … ──► root
//!                        first of the path            left out
//! ```
//! Path validation needs a leaf for a role, and an authority certifies lists whatever its roles are. What
//! is left of it for a path of authorities is here; form and extensions of each certificate are read by
//! [`super::rules`].

use der::{Decode, Encode, asn1::AnyRef};
use x509_cert::ext::pkix::BasicConstraints;

use super::{Anchor, rules::Issuer, signed};
use crate::{ChainFault, CryptoError};

/// The authority that the first certificate of `chain` is of, the root if there is none: the path leads to
/// the root, is valid at `at`, and nothing of it was revoked by `now` (both seconds UTC).
pub(super) fn issuing(anchor: &Anchor, chain: &[Vec<u8>], at: u64, now: u64) -> Result<Issuer, CryptoError> {
    if chain.len() > MAX_AUTHORITIES {
        return Err(refused(ChainFault::Invalid));
    }
    let mut issuer = anchor.issuer.clone();
    for (above, der) in chain.iter().rev().enumerate() {
        let below = chain.len().saturating_sub(above).saturating_sub(1);
        issuer = certified(anchor, der, &issuer, below, (at, now))?;
    }
    Ok(issuer)
}

/// The authority that `issuer` certified with `der`, with `below` others below it on the path.
fn certified(
    anchor: &Anchor,
    der: &[u8],
    issuer: &Issuer,
    below: usize,
    (at, now): (u64, u64),
) -> Result<Issuer, CryptoError> {
    let authority = Issuer::intermediate(der).map_err(|_| refused(ChainFault::Invalid))?;
    let certificate = x509_cert::Certificate::from_der(der).map_err(|_| refused(ChainFault::Invalid))?;
    if name(certificate.tbs_certificate().issuer())? != issuer.name {
        return Err(refused(ChainFault::UnknownIssuer));
    }
    if !is_signed(der, &certificate, issuer) || !has_room(&certificate, below) {
        return Err(refused(ChainFault::Invalid));
    }
    let validity = certificate.tbs_certificate().validity();
    if at < validity.not_before.to_unix_duration().as_secs() {
        return Err(refused(ChainFault::NotYetValid));
    }
    if at > validity.not_after.to_unix_duration().as_secs() {
        return Err(refused(ChainFault::Expired));
    }
    let serial = super::serial(&certificate)?;
    let since = match &anchor.revocation {
        Some(lists) => lists.revoked_since(&serial, issuer)?,
        None => None,
    };
    if since.is_some_and(|since| since <= now) {
        return Err(refused(ChainFault::Revoked));
    }
    Ok(authority)
}

/// Content of the DER Name.
fn name(name: &x509_cert::name::Name) -> Result<Vec<u8>, CryptoError> {
    let der = name.to_der().map_err(|_| refused(ChainFault::Invalid))?;
    let content = AnyRef::from_der(&der).map_err(|_| refused(ChainFault::Invalid))?;
    Ok(content.value().to_vec())
}

fn is_signed(der: &[u8], certificate: &x509_cert::Certificate, issuer: &Issuer) -> bool {
    let algorithms = [
        certificate.signature_algorithm(),
        certificate.tbs_certificate().signature(),
    ];
    let signature = certificate.signature().as_bytes().and_then(signed::fixed);
    let signed = signed::part(der).and_then(|range| der.get(range));
    signed::is_es256(algorithms)
        && signed
            .zip(signature)
            .is_some_and(|(signed, signature)| issuer.key.verify(signed, &signature).is_ok())
}

/// RFC 5280 §4.2.1.9: whether its path length leaves room for `below` authorities below it.
fn has_room(certificate: &x509_cert::Certificate, below: usize) -> bool {
    let constraints = super::extension(certificate, const_oid::db::rfc5280::ID_CE_BASIC_CONSTRAINTS)
        .and_then(|value| BasicConstraints::from_der(value).ok());
    constraints.is_some_and(|constraints| {
        let most = constraints.path_len_constraint;
        most.is_none_or(|most| below <= usize::from(most))
    })
}

const fn refused(fault: ChainFault) -> CryptoError {
    CryptoError::ChainRefused(fault)
}

/// Most authorities between a list and the root.
const MAX_AUTHORITIES: usize = 4;

#[cfg(all(test, feature = "authority"))]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use rcgen::{BasicConstraints, IsCa};

    use super::*;
    use crate::{
        ecdsa::SigningKey,
        x509::{
            issue::{self, Profile},
            revocation::{RevocationList, UnknownStatus},
            test_pki::{Authority, DAY, Pki, Which, profile, revoked},
        },
    };

    fn fault(result: Result<(), CryptoError>) -> Option<ChainFault> {
        match result {
            Ok(()) => None,
            Err(CryptoError::ChainRefused(fault)) => Some(fault),
            Err(other) => unreachable!("{other}"),
        }
    }

    #[test]
    fn a_list_is_of_the_authority_that_comes_with_it_or_of_the_root() {
        let (pki, other) = (Pki::new(1), Pki::new(2));
        let path = vec![pki.authority.certificate.der().to_vec()];
        let anchor = pki.anchor();
        let ask = |list: &RevocationList, path: &[Vec<u8>]| {
            fault(anchor.verify_list_of(list, path, 2 * DAY, 2 * DAY))
        };
        let invalid = Some(ChainFault::RevocationListInvalid);
        let (list, of_root) = (pki.authority.list(1, &[]), pki.root.list(1, &[]));
        assert_eq!(ask(&list, &path), None);
        assert_eq!(ask(&of_root, &[]), None);
        assert_eq!(ask(&list, &[]), invalid);
        assert_eq!(ask(&of_root, &path), invalid);
        assert_eq!(ask(&other.authority.list(1, &[]), &path), invalid);
        assert_eq!(ask(&other.root.list(1, &[]), &[]), invalid);
        // Of the same names, signed by another root.
        let foreign = vec![other.authority.certificate.der().to_vec()];
        let theirs = other.authority.list(1, &[]);
        assert_eq!(ask(&theirs, &foreign), Some(ChainFault::Invalid));
    }

    #[test]
    fn the_path_is_judged_at_the_time_of_the_list() {
        let pki = Pki::new(1);
        let path = vec![pki.authority.certificate.der().to_vec()];
        let list = pki.authority.list(1, &[]);
        for (at, verdict) in [
            (DAY - 1, Some(ChainFault::NotYetValid)),
            (DAY, None),
            (100 * DAY, None),
            (100 * DAY + 1, Some(ChainFault::Expired)),
        ] {
            let judged = pki.anchor().verify_list_of(&list, &path, at, at);
            assert_eq!(fault(judged), verdict, "{at}");
        }
    }

    #[test]
    fn a_revoked_authority_makes_no_more_lists() {
        let pki = Pki::new(1);
        let path = vec![pki.authority.certificate.der().to_vec()];
        let revoking = pki.root.list(2, &[revoked(&pki.authority.certificate, 8 * DAY)]);
        let anchor = pki
            .anchor()
            .with_revocation(vec![revoking], UnknownStatus::Accept);
        let list = pki.authority.list(1, &[]);
        let ask = |now| fault(anchor.verify_list_of(&list, &path, 2 * DAY, now));
        assert_eq!(ask(8 * DAY - 1), None);
        assert_eq!(ask(8 * DAY), Some(ChainFault::Revoked));
    }

    #[test]
    fn what_is_no_authority_certifies_no_list() {
        let pki = Pki::new(1);
        let list = pki.authority.list(1, &[]);
        let ask = |path: Vec<Vec<u8>>| fault(pki.anchor().verify_list_of(&list, &path, 2 * DAY, 2 * DAY));
        let authority = pki.authority.certificate.der().to_vec();
        let invalid = Some(ChainFault::Invalid);
        assert_eq!(ask(pki.chain()), invalid, "a leaf in front");
        assert_eq!(ask(vec![authority.clone(); 2]), invalid, "no room below");
        assert_eq!(ask(vec![authority.clone(); 5]), invalid);
        assert_eq!(ask(vec![b"nothing".to_vec()]), invalid);
        let end = authority.len() - 1;
        let altered = [&authority[..end], &[authority[end] ^ 1]].concat();
        assert_eq!(ask(vec![altered]), invalid);
        let [_, _, renamed] = pki.odd(Which::Root, |params| {
            params.distinguished_name = issue::name("other")
        });
        let unknown = Anchor::from_der(&renamed).unwrap().verify_list_of(
            &list,
            core::slice::from_ref(&authority),
            2 * DAY,
            2 * DAY,
        );
        assert_eq!(fault(unknown), Some(ChainFault::UnknownIssuer));
        for alter in [
            |params: &mut rcgen::CertificateParams| params.is_ca = IsCa::ExplicitNoCa,
            |params: &mut rcgen::CertificateParams| params.use_authority_key_identifier_extension = false,
        ] {
            let [_, odd, root] = pki.odd(Which::Authority, alter);
            let anchor = Anchor::from_der(&root).unwrap();
            assert_eq!(
                fault(anchor.verify_list_of(&list, &[odd], 2 * DAY, 2 * DAY)),
                invalid
            );
        }
    }

    #[test]
    fn the_path_length_counts_authorities() {
        let pki = Pki::new(1);
        let copy = |key: &SigningKey| SigningKey::from_scalar(key.scalar().duplicate()).unwrap();
        let key = SigningKey::generate(&mut ChaCha20Rng::from_seed([7; 32]));
        let lower = |below: u8| {
            // Certified by an authority that may certify no other (0) or one (1).
            let [_, upper, root] = pki.odd(Which::Authority, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
            });
            let upper = Authority::new(copy(&pki.authority.key), &upper);
            let der = upper.certify(
                &Profile {
                    subject: "lower",
                    ..profile(Which::Authority)
                },
                &key,
            );
            let lower = Authority::new(copy(&key), &der);
            let list = lower.list(1, &[]);
            let path = [der, upper.certificate.der().to_vec()];
            let anchor = Anchor::from_der(&root).unwrap();
            fault(anchor.verify_list_of(&list, &path, 2 * DAY, 2 * DAY))
        };
        assert_eq!(lower(1), None);
        assert_eq!(lower(0), Some(ChainFault::Invalid));
    }
}
