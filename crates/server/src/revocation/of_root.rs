//! The root's own list, which names authorities. It is made where the root key is, and imported.

use keyward_crypto::{
    ecdsa::Signer,
    x509::{
        Certificate,
        issue::{ListProfile, Reason, Revoked, revocation_list},
        revocation::RevocationList as CertificateRevocationList,
    },
};
use keyward_license::time::Timestamp;

use crate::{Error, Server};

/// An authority that the root revokes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedAuthority {
    /// Serial number of its certificate, see [`Server::certificates`].
    pub serial: Vec<u8>,
    /// Since when its key may have been in other hands, if that is earlier than now. What it certified stays good
    /// for what was signed before; a thief can date back.
    pub invalid_since: Option<Timestamp>,
    /// Why, for those who read lists.
    pub reason: Option<Reason>,
}

impl Server {
    /// Makes the root's next list with the root's key and imports it (V-064): with everything that the one before
    /// named and, if one is given, an authority more. The next list is due `lifetime` seconds from now.
    ///
    /// # Errors
    /// [`Error::CertificateUnknown`]; [`Error::CertificateInUse`] for an authority that has no successor yet, or that
    /// certified what the server works with now;
    /// [`Error::OutOfRange`] for a time to come; [`Error::Crypto`] if the key is not the root's; those of
    /// [`Server::import_revocation_list`].
    pub async fn revoke_authority(
        &self,
        root_key: &dyn Signer,
        revoked: Option<RevokedAuthority>,
        lifetime: u64,
    ) -> Result<(), Error> {
        let now = self.inner().clock.now();
        if let Some(revoked) = &revoked {
            self.check_revocable(revoked, now).await?;
        }
        let held = self.imported_revocation_list().await?;
        let held = held
            .as_deref()
            .map(CertificateRevocationList::parse)
            .transpose()?;
        let mut entries: Vec<_> = held.iter().flat_map(|held| held.revoked().map(kept)).collect();
        if let Some(one) = &revoked {
            entries.retain(|entry| entry.serial != one.serial);
            // What was revoked does not become good again up to now.
            let before = held.as_ref().and_then(|held| held.revoked_since(&one.serial));
            entries.push(Revoked {
                serial: &one.serial,
                at: before.map_or(now.0, |before| before.min(now.0)),
                invalid_since: one.invalid_since.map(|since| since.0),
                reason: one.reason,
            });
        }
        let issued = held.as_ref().map_or(now.0, |held| held.this_update().max(now.0));
        let profile = ListProfile {
            // As the server numbers its own.
            number: held.as_ref().map_or(Ok(0), next_number)?.max(issued),
            this_update: issued,
            next_update: issued.saturating_add(lifetime),
            revoked: &entries,
        };
        // Nothing is signed that does not stand in the database.
        let subject = format!("root {}", profile.number);
        self.store()
            .record_act("root-list-announced", subject, now)
            .await?;
        let root = Certificate::parse(self.inner().identity().anchor.der())?;
        let list = revocation_list(&profile, &root, root_key)?;
        self.import_revocation_list(&list).await
    }

    async fn check_revocable(&self, revoked: &RevokedAuthority, now: Timestamp) -> Result<(), Error> {
        if revoked.invalid_since.is_some_and(|since| since > now) {
            return Err(Error::OutOfRange {
                what: "since when the key may be known to others",
                expected: "no time to come",
            });
        }
        let name = || hex::encode(&revoked.serial);
        let certificates = self.certificates().await?;
        let authorities = certificates
            .iter()
            .filter(|one| one.purpose.ends_with("-authority"));
        let found = authorities.clone().find(|one| one.serial == revoked.serial);
        let found = found.ok_or_else(|| Error::CertificateUnknown(name()))?;
        let newest = authorities.clone().find(|one| one.purpose == found.purpose);
        let is_in_use = newest == Some(found) || self.inner().identity().works_under(&revoked.serial)?;
        match is_in_use {
            true => Err(Error::CertificateInUse(name())),
            false => Ok(()),
        }
    }
}

/// An entry of the list before, with the time that it counts from.
const fn kept<'a>((serial, since): (&'a [u8], u64)) -> Revoked<'a> {
    Revoked {
        serial,
        at: since,
        invalid_since: None,
        reason: None,
    }
}

/// A number above that of the list before.
fn next_number(held: &CertificateRevocationList) -> Result<u64, Error> {
    let (high, low) = held.number().split_at(12);
    let low: [u8; 8] = low.try_into().unwrap_or([u8::MAX; 8]);
    let next = u64::from_be_bytes(low).checked_add(1);
    let next = next.filter(|_| high.iter().all(|byte| *byte == 0));
    next.ok_or(Error::ListRefused(
        "the number of the one that is there leaves no room for another",
    ))
}
