//! Revocation: what the operator no longer trusts, and the lists that say so.
//!
//! ```text
//!  rows ─────────────► announced: number, content ─► signed ─► kept ─┬─► judges requests (V-041, V-047)
//!   certificates        of each authority (RFC 5280)                 ├─► pushed in responses, newer ones than held
//!   models, companies   of the operator (ours)                       └─► carried as a file
//!   root's list, imported ───────────────────────────────────────────┘
//! ```
//! A device that is revoked, by its row, by a certificate or by its model, gets signed denials and the lists that it
//! does not have; nothing is issued to it, whatever was decided before. Lists are signed anew when what they say
//! changes and in the middle of their life, by whichever process of the operator comes first; what they say is in the
//! database before they are signed, and numbers only rise.

mod of_root;
mod signing;
mod trust;

use keyward_crypto::x509::{
    Certificate, issue::Reason, revocation::RevocationList as CertificateRevocationList,
};
use keyward_license::{
    codec::Wire,
    ids::{DeviceId, Digest},
    revocation::{
        ISSUED_AHEAD, ListId, ListNumber, MAX_ALLOWED as MOST_ALLOWED, MAX_REVOKED, MAX_TEXT, RevocationList,
        RevocationListsFile,
    },
    time::Timestamp,
};

use crate::{
    Error, Server,
    store::{
        OperatorCertificate, Purpose,
        revocation::{ExemptRow, ListOf, ModelRow, RevokedRow},
    },
};

pub use of_root::RevokedAuthority;

pub use crate::store::revocation::{reason_from_name, reason_name};
pub(crate) use signing::tried;
pub(crate) use trust::{Trust, TrustCache, judged};
use trust::{current, renew};

/// Most models and companies on the operator's own list.
pub const MAX_MODELS: usize = MAX_REVOKED;
/// Most certificates that the operator's own list exempts.
pub const MAX_ALLOWED: usize = MOST_ALLOWED;

/// A certificate that the list of its authority names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Its serial number: the content of the DER INTEGER, big-endian.
    pub serial: Vec<u8>,
    /// The authority: `device-authority`, `packager-authority`, `server-authority`, or the `root`.
    pub authority: &'static str,
    /// The device or packager that has it, if it is one's.
    pub device: Option<DeviceId>,
    /// What it is for, if it is the operator's own.
    pub purpose: Option<&'static str>,
    /// When the certificate ends, if that is known here.
    pub not_after: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Timestamp,
    /// Since when its key may have been in other hands, if that is earlier.
    pub invalid_since: Option<Timestamp>,
    /// Why, for those who read lists.
    pub reason: Option<Reason>,
}

/// Devices that the operator's own list is to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModel {
    /// Who makes them, as their certificates say: 1 to 255 bytes.
    pub maker: String,
    /// Their model, 1 to 255 bytes; `None`: the whole company.
    pub model: Option<String>,
    /// Only those of a lower robustness version, which is 1 at least; `None`: all.
    pub robustness_below: Option<u64>,
    /// From when on; `None`: from now on.
    pub since: Option<Timestamp>,
    /// Why, for people; 1 to 255 bytes.
    pub reason: Option<String>,
}

/// Devices that the operator's own list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedModel {
    /// Names the entry.
    pub id: i64,
    /// Who makes them.
    pub maker: String,
    /// Their model; `None`: the whole company.
    pub model: Option<String>,
    /// Only those of a lower robustness version; `None`: all.
    pub robustness_below: Option<u64>,
    /// From when on.
    pub since: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// When the entry was made.
    pub created: Timestamp,
}

/// A certificate of the operator itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// What it is for, such as `license-server`.
    pub purpose: &'static str,
    /// How many keys of the purpose there were before the one that it is for. A renewal keeps the key.
    pub key: u64,
    /// Its serial number: the content of the DER INTEGER, big-endian.
    pub serial: Vec<u8>,
    /// What became of it.
    pub state: CertificateState,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// The DER bytes.
    pub der: Vec<u8>,
}

/// What became of a certificate of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateState {
    /// The newest of its purpose: the operator works with it.
    InUse,
    /// Another took its place, by renewal or by a roll. What it signed, or certified, is accepted as before.
    Replaced,
    /// A list names it.
    Revoked,
}

impl CertificateState {
    /// Its name, in text and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in-use",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
        }
    }
}

/// A certificate that the operator's own list exempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemption {
    /// SHA-256 of its DER.
    pub certificate: Digest,
    /// The device that has it, if this operator's database knows it.
    pub device: Option<DeviceId>,
}

/// A list as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedList {
    /// Whose it is: `device-authority`, `packager-authority`, `server-authority`, `root`, or `own` for the operator's.
    pub name: &'static str,
    /// Names the lists of one issuer.
    pub id: ListId,
    /// Serial number of the authority's certificate, of which there may be several of one name; none of the root's list
    /// and of the operator's own.
    pub authority: Option<Vec<u8>>,
    /// Its number.
    pub number: ListNumber,
    /// When it was issued.
    pub issued: Timestamp,
    /// When the next one is due at the latest.
    pub next_update: Timestamp,
    /// How much it names.
    pub entries: usize,
    /// The list as it travels.
    pub list: RevocationList,
}

impl Server {
    /// Every certificate that lists name.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn revoked_certificates(&self) -> Result<Vec<RevokedCertificate>, Error> {
        let own = self.own_certificates(Timestamp(0)).await?;
        let purpose = |serial: &[u8]| own.iter().find(|(certificate, _)| certificate.serial() == serial);
        let rows = self.store().revoked_with_devices().await?.into_iter();
        let mut listed: Vec<_> = rows
            .map(|(row, device)| RevokedCertificate {
                purpose: purpose(&row.serial).map(|(_, stored)| stored.purpose.as_str()),
                serial: row.serial,
                authority: row.authority.as_str(),
                device,
                not_after: Some(row.not_after),
                revoked: row.revoked,
                invalid_since: row.invalid_since,
                reason: row.reason,
            })
            .collect();
        for der in self.store().imported_lists().await? {
            let list = CertificateRevocationList::parse(&der)?;
            listed.extend(list.revoked().map(|(serial, since)| {
                let known = purpose(serial);
                RevokedCertificate {
                    serial: serial.to_vec(),
                    authority: ListOf::Root.as_str(),
                    device: None,
                    purpose: known.map(|(_, stored)| stored.purpose.as_str()),
                    not_after: known.map(|(_, stored)| stored.not_after),
                    revoked: Timestamp(since),
                    invalid_since: None,
                    reason: None,
                }
            }));
        }
        Ok(listed)
    }

    /// The operator's own certificates that are valid after `since`, newest first, read and as they are stored.
    async fn own_certificates(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(Certificate, OperatorCertificate)>, Error> {
        let stored = self.store().operator_certificates(since).await?.into_iter();
        stored
            .map(|stored| Ok((Certificate::parse(&stored.der)?, stored)))
            .collect()
    }

    /// Puts a certificate that the operator issued, to a device, a packager or itself, on the list of its authority, and
    /// with it all that are for the same key. A device whose certificate is revoked can enrol again; [`Server::revoke_device`] revokes it for good.
    ///
    /// `invalid_since` says since when the key may have been in other hands: what it signed from then on is refused as
    /// well. A thief can date a license back, so where it is not known, give the begin of the certificate.
    ///
    /// # Errors
    /// [`Error::CertificateUnknown`]; [`Error::OfAuthority`] for an authority's, which [`Server::revoke_authority`]
    /// revokes; [`Error::CertificateInUse`] for one whose key the server itself works with: put another in its place first;
    /// [`Error::OutOfRange`] for a time to come; a failure of the database.
    pub async fn revoke_certificate(
        &self,
        serial: &[u8],
        invalid_since: Option<Timestamp>,
        reason: Option<Reason>,
    ) -> Result<(), Error> {
        let now = self.inner().clock.now();
        if invalid_since.is_some_and(|since| since > now) {
            return Err(Error::OutOfRange {
                what: "since when the key may be known to others",
                expected: "no time to come",
            });
        }
        let issued = self.store().issued_certificate(serial).await?;
        let issued = issued.ok_or_else(|| Error::CertificateUnknown(hex::encode(serial)))?;
        let revoked = RevokedRow {
            serial: serial.to_vec(),
            authority: issued.authority,
            not_after: issued.not_after,
            revoked: now,
            invalid_since: invalid_since.filter(|since| *since < now),
            reason,
        };
        self.store().revoke_certificate(revoked, now).await
    }

    /// Takes a certificate, and all that are for the same key, off the list of its authority.
    ///
    /// # Errors
    /// [`Error::CertificateNotRevoked`]; [`Error::DeviceRevokedForGood`] if its device or packager is; a failure of
    /// the database.
    pub async fn restore_certificate(&self, serial: &[u8]) -> Result<(), Error> {
        let now = self.inner().clock.now();
        self.store().restore_certificate(serial.to_vec(), now).await
    }

    /// The operator's own certificates that have not ended, the newest first.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn certificates(&self) -> Result<Vec<IssuedCertificate>, Error> {
        let now = self.inner().clock.now();
        let revoked = self.revoked_certificates().await?;
        let mut newer = Vec::new();
        let listed = self.own_certificates(now).await?.into_iter();
        let listed = listed.map(|(certificate, stored)| {
            let state = match (
                revoked.iter().any(|one| one.serial == certificate.serial()),
                newer.contains(&stored.purpose),
            ) {
                (true, _) => CertificateState::Revoked,
                (false, true) => CertificateState::Replaced,
                (false, false) => CertificateState::InUse,
            };
            newer.push(stored.purpose);
            IssuedCertificate {
                purpose: stored.purpose.as_str(),
                key: stored.key,
                serial: certificate.serial().to_vec(),
                state,
                not_before: Timestamp(certificate.not_before()),
                not_after: Timestamp(certificate.not_after()),
                der: stored.der,
            }
        });
        Ok(listed.collect())
    }

    /// Puts a model, or a whole company, on the operator's own list, in the place of what the list says of it. Returns
    /// the number of the entry.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::ListFull`]; [`Error::RevokedEarlier`] if it is revoked now, and would not be until
    /// a time to come; [`Error::NoListSigner`] if this operator cannot sign a list of its
    /// own; a failure of the database.
    pub async fn revoke_model(&self, model: NewModel) -> Result<i64, Error> {
        self.check_list_signer()?;
        check_text("a maker", Some(&model.maker))?;
        check_text("a model", model.model.as_ref())?;
        check_text("a reason", model.reason.as_ref())?;
        if model.robustness_below == Some(0) {
            return Err(Error::OutOfRange {
                what: "a robustness version",
                expected: "1 or higher",
            });
        }
        let now = self.inner().clock.now();
        let row = ModelRow {
            id: 0,
            maker: model.maker,
            model: model.model,
            robustness_below: model.robustness_below,
            since: model.since.unwrap_or(now),
            reason: model.reason,
            created: now,
        };
        self.store().revoke_model(row, now).await
    }

    /// How many enrolled devices an entry of the operator's own list names, exempt ones as well; revoked ones are not
    /// counted.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn devices_named(
        &self,
        maker: &str,
        model: Option<&str>,
        robustness_below: Option<u64>,
    ) -> Result<u64, Error> {
        self.store().count_devices(maker, model, robustness_below).await
    }

    /// Takes an entry off the operator's own list.
    ///
    /// # Errors
    /// [`Error::ModelUnknown`], or a failure of the database.
    pub async fn restore_model(&self, id: i64) -> Result<(), Error> {
        self.store().restore_model(id, self.inner().clock.now()).await
    }

    /// What the operator's own list names.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn revoked_models(&self) -> Result<Vec<RevokedModel>, Error> {
        let rows = self.store().revoked_models().await?.into_iter();
        let listed = rows.map(|row| RevokedModel {
            id: row.id,
            maker: row.maker,
            model: row.model,
            robustness_below: row.robustness_below,
            since: row.since,
            reason: row.reason,
            created: row.created,
        });
        Ok(listed.collect())
    }

    /// Exempts a device certificate, by the SHA-256 of its DER, from what the operator's own list names, and from
    /// nothing else. Lists that are issued after the end of the certificate do not name it any more. One that this
    /// operator's database does not know stays until [`Server::disallow_certificate`].
    ///
    /// # Errors
    /// [`Error::ListFull`], [`Error::NoListSigner`], or a failure of the database.
    pub async fn allow_certificate(&self, digest: Digest) -> Result<(), Error> {
        self.check_list_signer()?;
        let now = self.inner().clock.now();
        let known = self.store().certificates_of(&[digest], now).await?;
        let not_after = known.first().map(|(_, _, not_after)| *not_after);
        self.store()
            .allow_certificate(ExemptRow { digest, not_after }, now)
            .await
    }

    /// Exempts the newest certificate of a device, see [`Server::allow_certificate`]. Returns its digest.
    ///
    /// # Errors
    /// [`Error::DeviceUnknown`], and those of [`Server::allow_certificate`].
    pub async fn allow_device(&self, device: DeviceId) -> Result<Digest, Error> {
        let der = self.store().device_certificate(device).await?;
        let certificate = Certificate::parse(&der.ok_or(Error::DeviceUnknown(device))?)?;
        self.check_list_signer()?;
        let exempt = ExemptRow::of(&certificate);
        let now = self.inner().clock.now();
        self.store().allow_certificate(exempt, now).await?;
        Ok(exempt.digest)
    }

    /// Ends an exemption.
    ///
    /// # Errors
    /// [`Error::CertificateNotAllowed`], or a failure of the database.
    pub async fn disallow_certificate(&self, digest: Digest) -> Result<(), Error> {
        self.store()
            .disallow_certificate(digest, self.inner().clock.now())
            .await
    }

    /// The certificates that are exempt and have not ended.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn allowed_certificates(&self) -> Result<Vec<Digest>, Error> {
        self.store().allowed_certificates(self.inner().clock.now()).await
    }

    /// As [`Server::allowed_certificates`], each with its device.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn exemptions(&self) -> Result<Vec<Exemption>, Error> {
        let allowed = self.allowed_certificates().await?;
        let known = self
            .store()
            .certificates_of(&allowed, self.inner().clock.now())
            .await?;
        let listed = allowed.into_iter().map(|certificate| Exemption {
            device: known
                .iter()
                .find(|(digest, ..)| *digest == certificate)
                .map(|(_, device, _)| *device),
            certificate,
        });
        Ok(listed.collect())
    }

    /// Every list as it is now; those that are due are signed on this occasion.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn revocation_lists(&self) -> Result<Vec<PublishedList>, Error> {
        Ok(self.newest_trust().await?.published().cloned().collect())
    }

    /// The lists that clients need, as one file: to be carried to devices that reach no license server.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn revocation_bundle(&self) -> Result<Vec<u8>, Error> {
        let trust = self.newest_trust().await?;
        let of_clients = trust
            .published()
            .filter(|published| published.name != Purpose::PackagerAuthority.as_str());
        let file = RevocationListsFile {
            version: RevocationListsFile::VERSION,
            operator: self.operator(),
            lists: of_clients.map(|published| published.list.clone()).collect(),
        };
        file.check_bounds()?;
        Ok(file.encode())
    }

    /// V-064: takes the root's revocation list, in DER, in the place of the one that is there.
    ///
    /// # Errors
    /// [`Error::ListUntrusted`] if it is not one of this operator's root; [`Error::ListRefused`] if it is not newer
    /// than the one that is there; a failure of the database.
    pub async fn import_revocation_list(&self, der: &[u8]) -> Result<(), Error> {
        let now = self.inner().clock.now();
        let list = CertificateRevocationList::parse(der).map_err(Error::ListUntrusted)?;
        self.check_root_list(&list, now)?;
        let authority = list.authority_key_identifier().to_vec();
        let takes_place = move |held: Option<&[u8]>| {
            let held = held.map(CertificateRevocationList::parse).transpose()?;
            match held.is_none_or(|held| list.supersedes(&held)) {
                true => Ok(()),
                false => Err(Error::ListRefused("it is not newer than the one that is there")),
            }
        };
        self.store()
            .import_list(authority, der.to_vec(), takes_place, now)
            .await
    }

    /// V-064: whether the root signed the list, by now.
    fn check_root_list(&self, list: &CertificateRevocationList, now: Timestamp) -> Result<(), Error> {
        let identity = self.inner().identity();
        identity
            .anchor
            .verify_list_of(list, &[], now.0, now.0)
            .map_err(Error::ListUntrusted)?;
        if list.this_update() > now.plus(ISSUED_AHEAD).0 {
            return Err(Error::ListRefused("it was issued later than now"));
        }
        Ok(())
    }

    /// The root's revocation list that was imported, in DER.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn imported_revocation_list(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store().imported_lists().await?.into_iter().next())
    }

    /// Whether lists can be made of what the rows say now: without them nobody is answered.
    pub(crate) async fn makes_lists(&self) -> Result<(), Error> {
        self.newest_trust().await.map(drop)
    }

    /// The lists of what the rows say now.
    async fn newest_trust(&self) -> Result<std::sync::Arc<Trust>, Error> {
        let inner = self.inner();
        let now = inner.clock.now();
        let held = current(inner, now).await?;
        if inner.store.generations().await?.sum() == held.generation {
            return Ok(held);
        }
        renew(inner, &held, now).await
    }

    fn check_list_signer(&self) -> Result<(), Error> {
        match self.inner().identity().signs(Purpose::RevocationList) {
            Some(_) => Ok(()),
            None => Err(Error::NoListSigner),
        }
    }
}

fn check_text(what: &'static str, text: Option<&String>) -> Result<(), Error> {
    if text.is_none_or(|text| (1..=MAX_TEXT).contains(&text.len())) {
        Ok(())
    } else {
        Err(Error::OutOfRange {
            what,
            expected: "1 to 255 bytes",
        })
    }
}
