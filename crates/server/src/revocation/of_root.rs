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

use crate::{
    Error, Server,
    store::revocation::{AnnouncedList, ListOf, Newest},
};

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
    /// [`Error::CertificateUnknown`], [`Error::NotOfAuthority`]; [`Error::CertificateInUse`] for an authority that has no successor yet, or that
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
        let before = held
            .as_deref()
            .map(CertificateRevocationList::parse)
            .transpose()?;
        let root = Certificate::parse(self.inner().identity().anchor.der())?;
        let announced = self
            .announce_root_list(&root, before.as_ref(), lifetime, now)
            .await?;
        let entries = entries(before.as_ref(), revoked.as_ref(), now);
        let profile = ListProfile {
            number: announced.number,
            this_update: announced.issued.0,
            next_update: announced.next_update.0,
            revoked: &entries,
        };
        let list = revocation_list(&profile, &root, root_key)?;
        let made = CertificateRevocationList::parse(&list)?;
        self.check_root_list(&made, now)?;
        let takes_place = move |there: Option<&[u8]>| match there == held.as_deref() {
            // It names all that the one before names, and its number is higher.
            true => Ok(()),
            false => Err(Error::ListRefused(
                "another took the place of the one before meanwhile",
            )),
        };
        let authority = made.authority_key_identifier().to_vec();
        self.store().import_list(authority, list, takes_place, now).await
    }

    /// Nothing is signed that does not stand in the database.
    async fn announce_root_list(
        &self,
        root: &Certificate,
        before: Option<&CertificateRevocationList>,
        lifetime: u64,
        now: Timestamp,
    ) -> Result<AnnouncedList, Error> {
        let newest = |before: &CertificateRevocationList| {
            Ok::<_, Error>(Newest {
                number: number(before)?,
                issued: Timestamp(before.this_update()),
            })
        };
        let newest = before.map(newest).transpose()?;
        let of = (ListOf::Root, root.public_key_digest().to_vec());
        let announced = self.store().announce_list(of, newest, lifetime, now).await?;
        Ok(announced.into_inner())
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
        let Some(found) = found else {
            return Err(match self.store().issued_certificate(&revoked.serial).await? {
                Some(_) => Error::NotOfAuthority(name()),
                None => Error::CertificateUnknown(name()),
            });
        };
        let newest = authorities.clone().find(|one| one.purpose == found.purpose);
        let is_in_use = newest == Some(found) || self.inner().identity().works_under(&revoked.serial)?;
        match is_in_use {
            true => Err(Error::CertificateInUse(name())),
            false => Ok(()),
        }
    }
}

/// What the list before names and, if one is given, an authority more.
fn entries<'a>(
    before: Option<&'a CertificateRevocationList>,
    revoked: Option<&'a RevokedAuthority>,
    now: Timestamp,
) -> Vec<Revoked<'a>> {
    let mut entries: Vec<_> = before
        .iter()
        .flat_map(|before| before.revoked().map(kept))
        .collect();
    if let Some(one) = revoked {
        entries.retain(|entry| entry.serial != one.serial);
        // What was revoked does not become good again up to now.
        let since = before.and_then(|before| before.revoked_since(&one.serial));
        entries.push(Revoked {
            serial: &one.serial,
            at: since.map_or(now.0, |since| since.min(now.0)),
            invalid_since: one.invalid_since.map(|since| since.0),
            reason: one.reason,
        });
    }
    entries
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

/// The number of the list before. What is too large for this server leaves no room for another.
fn number(before: &CertificateRevocationList) -> Result<u64, Error> {
    let (high, low) = before.number().split_at(12);
    let low: Option<[u8; 8]> = low.try_into().ok().filter(|_| high.iter().all(|byte| *byte == 0));
    let number = low.map(u64::from_be_bytes).filter(|number| *number < LARGEST);
    number.ok_or(Error::ListRefused(
        "the number of the one that is there leaves no room for another",
    ))
}

/// What the database counts to.
const LARGEST: u64 = i64::MAX.unsigned_abs();
