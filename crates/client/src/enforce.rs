//! Enforcement: finds the licenses of a key, judges them, and gives the key only to what may use it.

use keyward_content::{
    cenc::{Pattern, SampleCipher, Scheme},
    file::{FileError, LockedFile, Opener},
    media::KeyError,
};
use keyward_crypto::{ContentKey, CryptoError};
use keyward_license::{
    ids::{Digest, Kid, LicenseId},
    license::{KeyType, License, Right},
    time::Timestamp,
    usage_rules::{Decision, Host, Refusal, evaluate},
};
use rand_core::CryptoRng;

use crate::{Client, ClientError, clock, device::KeyStore, flow::Io};

/// Whether content can be opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// A license permits it.
    Ready {
        /// The license.
        license: LicenseId,
        /// Until when, if the license ends.
        until: Option<Timestamp>,
    },
    /// There are licenses, and none permits it now.
    Refused(Refusal),
    /// There is no license.
    Missing,
}

/// A content key that a license has released, for one key id and one purpose.
pub struct Bound {
    kid: Kid,
    key_type: KeyType,
    key: ContentKey,
    license: LicenseId,
    until: Option<Timestamp>,
    persistent: bool,
}

impl Bound {
    /// The key id.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// The license that released the key.
    #[must_use]
    pub const fn license(&self) -> LicenseId {
        self.license
    }

    /// When the license ends, if it does.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether the license is in the store (true) or in memory (false).
    #[must_use]
    pub const fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// Unlocks a protected file. The key serves files of its own key id and nothing else.
    ///
    /// # Errors
    /// [`FileError::WrongKey`] for a file of another key, or a license whose key is not for files.
    pub fn unlock(&self, file: LockedFile) -> Result<Opener, FileError> {
        if file.kid() != self.kid || self.key_type != KeyType::File {
            return Err(FileError::WrongKey);
        }
        file.unlock(&self.key)
    }

    /// The cipher for samples under this key. The key serves the schemes of its own type and nothing else.
    pub(crate) fn sample_cipher(&self, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        if self.key_type != scheme.key_type() {
            return Err(KeyError::KeyType(scheme));
        }
        Ok(SampleCipher::new(&self.key, scheme, pattern)?)
    }
}

impl core::fmt::Debug for Bound {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Bound")
            .field("kid", &self.kid)
            .field("license", &self.license)
            .finish_non_exhaustive()
    }
}

/// A verified license and the rules' verdict on it.
struct Candidate {
    license: License,
    decision: Decision,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 4 and 5 of the main job: can this be opened?
    pub(crate) async fn run_find(&self, io: &Io, kid: Kid) -> Result<Availability, ClientError> {
        let candidates = self.candidates(io, kid, Right::Play).await?;
        let refusal = closest_refusal(&candidates);
        Ok(match (best(candidates), refusal) {
            (Some((candidate, until)), _) => Availability::Ready {
                license: candidate.license.body().id,
                until,
            },
            (None, Some(refusal)) => Availability::Refused(refusal),
            (None, None) => Availability::Missing,
        })
    }

    /// Step 11: binds the best license and releases the key, after the clock's floor is stored.
    pub(crate) async fn run_bind(&mut self, io: &Io, kid: Kid) -> Result<Bound, ClientError> {
        let candidates = self.candidates(io, kid, Right::Play).await?;
        let refusal = closest_refusal(&candidates);
        let Some((candidate, until)) = best(candidates) else {
            let Some(refusal) = refusal else {
                return Err(ClientError::NoLicense { kid });
            };
            self.remember_time(io, &refusal).await?;
            return Err(ClientError::Refused { kid, refusal });
        };
        let body = candidate.license.body();
        if body.is_time_limited() {
            self.store_floor(io).await?;
        }
        let description = body.single_key()?;
        Ok(Bound {
            kid,
            key_type: description.key_type,
            key: self.open_content_key(&candidate.license)?,
            license: body.id,
            until,
            persistent: body.persistent,
        })
    }

    /// V-023: opens the sealed part with the device's key, under the hash of the body, and takes out the
    /// one content key that is described there.
    pub(crate) fn open_content_key(&self, license: &License) -> Result<ContentKey, ClientError> {
        let sealed = license.sealed();
        let opened = self.keys.open(
            license.suite(),
            &license.key_binding(),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        )?;
        let keys = license.read_keys(&opened)?;
        let key = keys.keys.first().ok_or(CryptoError::NotOpened)?;
        Ok(ContentKey::from_slice(&key.0)?)
    }

    /// Every license of the key, verified again and judged. A license that no longer verifies (its
    /// operator was removed) is none.
    async fn candidates(&self, io: &Io, kid: Kid, action: Right) -> Result<Vec<Candidate>, ClientError> {
        let stored = self.store.licenses(io, &kid).await?;
        let stored = stored
            .iter()
            .map(|(_, record)| (&record.operator, &record.license.0));
        let held = self
            .memory
            .iter()
            .filter(|held| held.kid == kid)
            .map(|held| (&held.operator, &held.license));
        let now = clock::read(&self.store.head().clock, self.moment(io)).now;
        let device = self.keys.device_id()?;
        let judge = |(operator, bytes): (&Digest, &Vec<u8>)| {
            let license = self.verified(operator, bytes)?;
            let level = self
                .operators
                .get(operator)?
                .claims
                .security_level
                .unwrap_or_default();
            let fits = license.body().binding.is_device(&device)
                && license.body().single_key().is_ok_and(|key| key.kid == kid);
            let decision = evaluate(
                license.body(),
                &Host {
                    security_level: level,
                    now,
                },
                action,
            );
            fits.then_some(Candidate { license, decision })
        };
        Ok(stored.chain(held).filter_map(judge).collect())
    }

    /// a time at which a license was refused has been seen; setting the clock back afterwards does
    /// not revive the license.
    pub(crate) async fn remember_time(&mut self, io: &Io, refusal: &Refusal) -> Result<(), ClientError> {
        match refusal {
            Refusal::Ended { .. } | Refusal::NotYetValid { .. } => self.store_floor(io).await,
            _ => Ok(()),
        }
    }

    /// the floor is durable before a time-limited license is used.
    async fn store_floor(&mut self, io: &Io) -> Result<(), ClientError> {
        let known = self.store.head().clock;
        match clock::read(&known, self.moment(io)).now {
            Some(now) if clock::floor_is_due(&known, now) => {
                self.store
                    .commit(io, &mut self.rng, Vec::new(), |head| {
                        clock::raise(&mut head.clock, now)
                    })
                    .await
            }
            _ => Ok(()),
        }
    }
}

/// The allowed license that lasts longest.
fn best(candidates: Vec<Candidate>) -> Option<(Candidate, Option<Timestamp>)> {
    candidates
        .into_iter()
        .filter_map(|candidate| match candidate.decision {
            Decision::Allowed { until } => Some((candidate, until)),
            Decision::Refused(_) => None,
        })
        .max_by_key(|(_, until)| until.unwrap_or(Timestamp(u64::MAX)))
}

/// The refusal that tells the viewer most: one that time alone can heal before any other.
fn closest_refusal(candidates: &[Candidate]) -> Option<Refusal> {
    let rank = |refusal: &Refusal| match refusal {
        Refusal::NotYetValid { .. } => 0,
        Refusal::NoUsableClock => 1,
        Refusal::Ended { .. } => 2,
        _ => 3,
    };
    candidates
        .iter()
        .filter_map(|candidate| match candidate.decision {
            Decision::Refused(refusal) => Some(refusal),
            Decision::Allowed { .. } => None,
        })
        .min_by_key(rank)
}
