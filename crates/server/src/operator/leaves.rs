//! Signers that operators of earlier versions have none of, and certificates that are not used any more.

use keyward_crypto::x509::Certificate;
use keyward_license::time::Timestamp;
use rand_core::CryptoRng;

use super::{
    keys::{PurposeKey, Secrets},
    pki::Issuer,
};
use crate::{
    Error,
    store::{OperatorCertificate, Purpose, Store},
};

/// Makes the keys that are made when they are first needed. Returns whether there are more now. None is made where the
/// authority may not certify it, and while the database takes no writes: the server does everything else without.
pub(super) async fn add_missing(
    store: &Store,
    secrets: &Secrets<'_>,
    issuer: &Issuer,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<bool, Error> {
    let later = Purpose::of_authorities(false).filter(|purpose| purpose.comes_later());
    let mut added = false;
    for purpose in later.filter(|purpose| !secrets.has(*purpose) && issuer.certifies(*purpose)) {
        for secret in PurposeKey::generate(purpose, rng).seal(secrets.kek, (purpose, 0), rng)? {
            match store.add_secret(secret, now).await {
                Err(error) if error.is_passing() => {
                    tracing::warn!(signer = purpose.as_str(), %error, "a signer is not made yet");
                }
                made => {
                    made?;
                    added = true;
                }
            }
        }
    }
    Ok(added)
}

/// What the server authority has revoked is not used any more: nothing is signed with it, and nothing that is sealed
/// to it is opened (V-040).
pub(super) async fn leave_out_revoked(
    store: &Store,
    certificates: &mut Vec<OperatorCertificate>,
) -> Result<(), Error> {
    let revoked = store.revoked_certificates().await?;
    let mut kept = Vec::with_capacity(certificates.len());
    for certificate in certificates.drain(..) {
        let parsed = Certificate::parse(&certificate.der)?;
        if !revoked.iter().any(|row| row.serial == parsed.serial()) {
            kept.push(certificate);
        }
    }
    *certificates = kept;
    Ok(())
}
