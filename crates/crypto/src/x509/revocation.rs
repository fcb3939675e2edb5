//! Certificate revocation lists (RFC 5280 §5) of the operator's authorities.
//!
//! A list is complete for its authority, carries a number and is signed with the key that signed the
//! certificates. A certificate that it names is refused from the moment on that the entry gives: what its
//! holder signed before stays good.
//!
//! ```text
//!            revocation date, or invalidity date if that is earlier
//!                                   │
//!  ── judged here: accepted ────────┼──────── judged here: refused ──────►
//! ```
//! An authority that certifies signers keeps an entry on its lists when the certificate has expired:
//! licenses are judged at the time they were issued, which may be long ago.

use std::{collections::BTreeMap, sync::OnceLock};

use const_oid::{
    ObjectIdentifier,
    db::rfc5280::{ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_CRL_NUMBER},
};
use der::Decode;
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_cert::{
    crl::{CertificateList, TbsCertList},
    ext::pkix::{AuthorityKeyIdentifier, CrlNumber},
};

use super::{Certificate, rules::Issuer, signed};
use crate::{ChainFault, CryptoError, ecdsa::PublicKey};

/// What to do with a certificate when no list tells whether it is revoked: there is none of its issuer, or
/// only one whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownStatus {
    /// Refuse it. For a party that always has lists.
    Refuse,
    /// Accept it. What the lists at hand name is still refused, even after their time. An attacker who keeps
    /// lists away undoes revocations, so this is for a party that cannot always have lists.
    Accept,
}

/// One list, well-formed. Having one says nothing about who signed it: that is checked when a chain is
/// judged, by [`RevocationList::verify`] and by [`super::Anchor::verify_list`].
#[derive(Clone)]
pub struct RevocationList {
    der: Vec<u8>,
    /// Where in `der` the signed part stands.
    signed: core::ops::Range<usize>,
    signature: [u8; 64],
    /// Content of the DER Name.
    issuer: Vec<u8>,
    authority_key: Vec<u8>,
    number: [u8; 20],
    this_update: u64,
    next_update: u64,
    /// From serial number to the second from which on its certificate is refused.
    revoked: BTreeMap<Vec<u8>, u64>,
    /// The key that the signature was found good for: a long list is not hashed for every chain.
    signer: OnceLock<PublicKey>,
}

impl RevocationList {
    /// Reads DER.
    ///
    /// Refused are: any form but version 2 with a next update after this one; another signature algorithm
    /// than ECDSA with SHA-256; a list without a number (§5.2.3) or authority key identifier (§5.2.1); any
    /// critical extension, and with it delta lists, indirect lists and lists of some certificates or reasons
    /// only; a serial number that stands there twice.
    ///
    /// # Errors
    /// [`CryptoError::MalformedRevocationList`].
    pub fn parse(der: &[u8]) -> Result<Self, CryptoError> {
        let entries =
            BorrowedCertRevocationList::from_der(der).map_err(|_| malformed("not an RFC 5280 list"))?;
        let revoked = revoked(&entries)?;
        let issuer = CertRevocationList::from(entries).issuer().to_vec();
        let list = CertificateList::from_der(der).map_err(|_| malformed("not DER"))?;
        let tbs = &list.tbs_cert_list;
        let extensions = Extensions::read(tbs)?;
        let this_update = tbs.this_update.to_unix_duration().as_secs();
        let next_update = tbs.next_update.ok_or(malformed("no next update"))?;
        let next_update = next_update.to_unix_duration().as_secs();
        if next_update <= this_update {
            return Err(malformed("the next update is not after this one"));
        }
        Ok(Self {
            der: der.to_vec(),
            signed: signed::part(der).ok_or(malformed("not DER"))?,
            signature: signature(&list)?,
            issuer,
            authority_key: extensions.authority_key,
            number: extensions.number,
            this_update,
            next_update,
            revoked,
            signer: OnceLock::new(),
        })
    }

    /// The DER bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The list's number, big-endian: of two lists of an authority the higher one counts.
    #[must_use]
    pub const fn number(&self) -> &[u8; 20] {
        &self.number
    }

    /// The key identifier of the authority that it claims to be of: two lists with the same one and with
    /// the same issuer are of the same authority.
    #[must_use]
    pub fn authority_key_identifier(&self) -> &[u8] {
        &self.authority_key
    }

    /// When it was issued, seconds UTC.
    #[must_use]
    pub const fn this_update(&self) -> u64 {
        self.this_update
    }

    /// When the next one is due at the latest, seconds UTC. From then on this one tells only who is
    /// revoked, no longer who is not.
    #[must_use]
    pub const fn next_update(&self) -> u64 {
        self.next_update
    }

    /// How many certificates it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether it names no certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    /// From which second (UTC) on the certificate with this serial number (see [`Certificate::serial`]) is
    /// refused, if the list names it: the revocation date, or the invalidity date (§5.3.2) if that is
    /// earlier.
    #[must_use]
    pub fn revoked_since(&self, serial: &[u8]) -> Option<u64> {
        self.revoked.get(serial).copied()
    }

    /// Whether both claim to be of the same authority and key.
    #[must_use]
    pub fn shares_authority_with(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.authority_key == other.authority_key
    }

    /// Every certificate that it names, by serial number (see [`Certificate::serial`]), with what
    /// [`Self::revoked_since`] says of it.
    pub fn revoked(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.revoked.iter().map(|(serial, since)| (&serial[..], *since))
    }

    /// Whether `self` takes the place of `held`: of the same authority and key, with a higher number, and not
    /// issued earlier. Ask this of verified lists only.
    #[must_use]
    pub fn supersedes(&self, held: &Self) -> bool {
        self.shares_authority_with(held) && self.number > held.number && self.this_update >= held.this_update
    }

    /// Checks that `issuer` signed this list and may sign lists. Whether `issuer` is an authority of the
    /// operator is not judged here, but by [`super::Anchor::verify_list`].
    ///
    /// # Errors
    /// [`CryptoError::ChainRefused`] with [`ChainFault::RevocationListInvalid`];
    /// [`CryptoError::MalformedCertificate`] if `issuer` is not an authority's certificate.
    pub fn verify(&self, issuer: &Certificate) -> Result<(), CryptoError> {
        self.verify_by_any([&Issuer::authority(issuer.der())?])
    }

    pub(super) fn verify_by_any<'a>(
        &self,
        issuers: impl IntoIterator<Item = &'a Issuer>,
    ) -> Result<(), CryptoError> {
        let signed_by =
            |issuer: &Issuer| self.is_of(issuer) && issuer.signs_lists && self.is_signed_with(&issuer.key);
        if issuers.into_iter().any(signed_by) {
            Ok(())
        } else {
            Err(CryptoError::ChainRefused(ChainFault::RevocationListInvalid))
        }
    }

    /// Whether it claims to be this authority's. Key identifiers tell the keys of one name apart, so that
    /// lists under an authority's old and new key can be held together.
    fn is_of(&self, issuer: &Issuer) -> bool {
        self.issuer == issuer.name && self.authority_key == issuer.key_identifier
    }

    fn is_signed_with(&self, key: &PublicKey) -> bool {
        if self.signer.get() == Some(key) {
            return true;
        }
        let signed = self.der.get(self.signed.clone());
        let good = signed.is_some_and(|signed| key.verify(signed, &self.signature).is_ok());
        if good {
            // Set before only if the same bytes verified under two keys; then the first stays.
            let _ = self.signer.set(*key);
        }
        good
    }
}

impl core::fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RevocationList")
            .field("number", &self.number)
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The lists that an anchor was given.
#[derive(Debug)]
pub(super) struct Revocation {
    lists: Vec<RevocationList>,
    unknown: UnknownStatus,
}

impl Revocation {
    pub(super) const fn new(lists: Vec<RevocationList>, unknown: UnknownStatus) -> Self {
        Self { lists, unknown }
    }

    /// Judges the certificate of `issuer` with this serial number at `at` (RFC 5280 §6.3.3).
    pub(super) fn judge(&self, serial: &[u8], issuer: &Issuer, at: u64) -> Result<(), webpki::Error> {
        let Some(list) = self.newest(issuer)? else {
            return self.unknown_status(webpki::Error::UnknownRevocationStatus);
        };
        if list.revoked_since(serial).is_some_and(|since| since <= at) {
            return Err(webpki::Error::CertRevoked);
        }
        if list.next_update <= at {
            return self.unknown_status(webpki::Error::CrlExpired {
                time: unix_time(at),
                next_update: unix_time(list.next_update),
            });
        }
        Ok(())
    }

    /// From which second on the certificate of `issuer` with this serial number is refused, if a list names it.
    pub(super) fn revoked_since(&self, serial: &[u8], issuer: &Issuer) -> Result<Option<u64>, CryptoError> {
        let newest = self.newest(issuer).map_err(super::path::refused)?;
        Ok(newest.and_then(|list| list.revoked_since(serial)))
    }

    /// The authority's list with the highest number. One that claims to be the authority's and is not is no
    /// reason to look at the others: somebody tampers with the lists.
    fn newest(&self, issuer: &Issuer) -> Result<Option<&RevocationList>, webpki::Error> {
        let mut newest: Option<&RevocationList> = None;
        for list in self.lists.iter().filter(|list| list.is_of(issuer)) {
            if !issuer.signs_lists {
                return Err(webpki::Error::IssuerNotCrlSigner);
            }
            if !list.is_signed_with(&issuer.key) {
                return Err(webpki::Error::InvalidCrlSignatureForPublicKey);
            }
            let rank = |list: &RevocationList| (list.number, list.this_update);
            if newest.is_none_or(|newest| rank(newest) < rank(list)) {
                newest = Some(list);
            }
        }
        Ok(newest)
    }

    fn unknown_status(&self, error: webpki::Error) -> Result<(), webpki::Error> {
        match self.unknown {
            UnknownStatus::Refuse => Err(error),
            UnknownStatus::Accept => Ok(()),
        }
    }
}

/// The extensions of a list that are read.
struct Extensions {
    number: [u8; 20],
    authority_key: Vec<u8>,
}

impl Extensions {
    fn read(tbs: &TbsCertList) -> Result<Self, CryptoError> {
        let extensions = tbs.crl_extensions.as_deref().unwrap_or_default();
        if extensions.iter().any(|extension| extension.critical) {
            return Err(malformed("a critical extension"));
        }
        if only(tbs, ID_CE_ISSUING_DISTRIBUTION_POINT)?.is_some() {
            return Err(malformed("not of all certificates"));
        }
        let number = only(tbs, ID_CE_CRL_NUMBER)?.ok_or(malformed("no number"))?;
        let number = CrlNumber::from_der(number).map_err(|_| malformed("number"))?;
        let authority = only(tbs, ID_CE_AUTHORITY_KEY_IDENTIFIER)?;
        let authority = authority.ok_or(malformed("no authority key identifier"))?;
        let authority = AuthorityKeyIdentifier::from_der(authority);
        let authority_key = authority.ok().and_then(|authority| authority.key_identifier);
        Ok(Self {
            number: padded(number.0.as_bytes()).ok_or(malformed("number"))?,
            authority_key: authority_key
                .ok_or(malformed("authority key identifier"))?
                .into_bytes()
                .to_vec(),
        })
    }
}

/// The value of the one extension with this identifier.
fn only(tbs: &TbsCertList, oid: ObjectIdentifier) -> Result<Option<&[u8]>, CryptoError> {
    let extensions = tbs.crl_extensions.as_deref().unwrap_or_default();
    let mut found = extensions.iter().filter(|extension| extension.extn_id == oid);
    let first = found.next();
    if found.next().is_some() {
        return Err(malformed("an extension twice"));
    }
    Ok(first.map(|extension| extension.extn_value.as_bytes()))
}

fn revoked(list: &BorrowedCertRevocationList<'_>) -> Result<BTreeMap<Vec<u8>, u64>, CryptoError> {
    let mut revoked = BTreeMap::new();
    for entry in list {
        let entry = entry.map_err(|_| malformed("an entry"))?;
        let dates = [Some(entry.revocation_date), entry.invalidity_date];
        let since = dates.into_iter().flatten().map(|date| date.as_secs()).min();
        if revoked
            .insert(entry.serial_number.to_vec(), since.unwrap_or(0))
            .is_some()
        {
            return Err(malformed("a certificate twice"));
        }
    }
    Ok(revoked)
}

fn signature(list: &CertificateList) -> Result<[u8; 64], CryptoError> {
    if !signed::is_es256([&list.signature_algorithm, &list.tbs_cert_list.signature]) {
        return Err(malformed("signature algorithm"));
    }
    let signature = list.signature.as_bytes().and_then(signed::fixed);
    signature.ok_or(malformed("signature"))
}

/// A number of at most 20 bytes (RFC 5280 §5.2.3), filled up in front.
fn padded(number: &[u8]) -> Option<[u8; 20]> {
    let mut padded = [0; 20];
    let start = padded.len().checked_sub(number.len())?;
    padded.get_mut(start..)?.copy_from_slice(number);
    Some(padded)
}

fn unix_time(seconds: u64) -> pki_types::UnixTime {
    pki_types::UnixTime::since_unix_epoch(core::time::Duration::from_secs(seconds))
}

const fn malformed(what: &'static str) -> CryptoError {
    CryptoError::MalformedRevocationList(what)
}

/// id-ce-issuingDistributionPoint, RFC 5280 §5.2.5.
const ID_CE_ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

#[cfg(all(test, feature = "authority"))]
mod tests;
