//! Rolls: another key in the place of one, while the server serves.
//!
//! ```text
//!  a server's key        a new key, announced, certified, stored; the discovery document is signed anew at once
//!  an authority          a new key here; the root signs where its key is; the certificate comes back
//!  key-encryption key    everything sealed is sealed anew in one transaction        operator::kek: after a crash
//!  seed                  the next number; keys that are there keep theirs
//! ```
//! What was made with the old key stays what it is:
//!
//! | rolled | what is accepted of before, and until when |
//! |---|---|
//! | license server | what it signed, until its certificate ends; an answer that is repeated is signed with the key of its time |
//! | request encryption | requests sealed to it, for `certificates.overlap_days`; then its private key is destroyed |
//! | an authority | certificates that it issued, until they end |
//! | key-encryption key | nothing: who has the database as it was, such as a backup, needs the old key |
//! | seed | everything: a key id keeps its key |
//!
//! Rolls come one after the other; requests go on meanwhile with the keys that they began with.

use core::future::Future;

use keyward_crypto::{
    ecdsa::{PublicKey, SigningKey},
    x509::Certificate,
};
use keyward_license::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;
use tracing::{Instrument, instrument::WithSubscriber};

use crate::{
    Error, Server,
    chance::rng,
    operator::{
        CLOCK_TOLERANCE, PurposeKey, earlier_keys,
        kek::{self, Found, RootKey},
        pki::{self, Issuer},
        serial,
    },
    sealing::KeyEncryptionKey,
    store::{AuthorityRequestRow, OperatorCertificate},
    vault,
};
pub use crate::{operator::Serving, store::records::Purpose};

/// A key that took the place of another, with its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolledKey {
    /// The name of its [`Purpose`].
    pub what: String,
    /// How many keys of the purpose there were before it.
    pub number: u64,
    /// When its certificate ends, in seconds since 1970.
    pub ends: u64,
    /// Until when what is for the key before it, or certified by it, is accepted, in seconds since 1970.
    pub before_accepted_until: Option<u64>,
}

/// The keys of one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Keys {
    /// The name of their [`Purpose`].
    pub what: String,
    /// How many keys of the purpose there were before the one in use.
    pub number: u64,
    /// When its certificate ends, in seconds since 1970.
    pub ends: u64,
    /// Those before it of which something is accepted, the newest first.
    pub before: Vec<EarlierKey>,
    /// Whether there is one more, of an authority, that the root has yet to sign the certificate of.
    pub awaits_certificate: bool,
}

/// A key that was rolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EarlierKey {
    /// How many keys of the purpose there were before it.
    pub number: u64,
    /// Until when what is for it, or certified or signed by it, is accepted, in seconds since 1970.
    pub accepted_until: u64,
}

/// A new key of an authority, and what the root is to sign for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthorityRequest {
    /// The name of its [`Purpose`].
    pub what: String,
    /// The operator's name.
    pub name: String,
    /// The public key: SubjectPublicKeyInfo, DER in hexadecimal digits.
    pub public_key: String,
    /// The serial number, 32 hexadecimal digits.
    pub serial: String,
    /// When the certificate is to begin, in seconds since 1970.
    pub not_before: u64,
    /// When it is to end, in seconds since 1970.
    pub not_after: u64,
}

/// A key-encryption key that took the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolledKek {
    /// How many values of the database were sealed anew.
    pub resealed: u64,
    /// Whether it lies in the file `kek`. If not, it has to be supplied from now on.
    pub in_file: bool,
    /// Whether the root's private key in the operator's directory was sealed anew. A copy elsewhere never is: it needs
    /// the key-encryption key that it was sealed under.
    pub root_key_resealed: bool,
    /// The file in the operator's directory that holds the key-encryption key of before, if that lay there: it opens
    /// backups of before, and such a copy.
    pub old_in: Option<String>,
}

/// A new license key seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolledSeed {
    /// Its number.
    pub number: u64,
    /// Whether the keys of new tracks derive from it; if not, operator.toml says otherwise.
    pub used: bool,
}

impl Server {
    /// Gives the server another key for a purpose, with a certificate of the server authority, and tells devices of it
    /// at once.
    ///
    /// # Errors
    /// [`Error::RolledBy`] of an authority, whose certificate the root signs; or a failure of the database.
    pub async fn roll_key(&self, purpose: Purpose) -> Result<RolledKey, Error> {
        let server = self.clone();
        to_its_end(async move { server.roll_key_now(purpose).await }).await
    }

    async fn roll_key_now(&self, purpose: Purpose) -> Result<RolledKey, Error> {
        if purpose.is_authority() {
            return Err(Error::RolledBy(purpose.as_str()));
        }
        let inner = self.inner();
        let _rolling = inner.rolling.lock().await;
        let (now, name) = (inner.clock.now(), &inner.config.name);
        let (sealing, kek) = (inner.vault.sealing().await, inner.vault.kek());
        let number = inner.store.next_key(purpose).await?;
        let key = PurposeKey::generate(purpose, &mut rng());
        let serial = serial(&mut rng());
        inner
            .store
            .announce_certificate(purpose.as_str().to_owned(), hex::encode(serial), now)
            .await?;
        let certificate = inner
            .identity()
            .certify(name, (purpose, number), &key, serial, now)?;
        let secrets = key.seal(&kek, (purpose, number), &mut rng())?;
        inner.store.add_key(secrets, certificate, now).await?;
        drop(sealing);
        self.rolled(purpose).await
    }

    /// The keys of every purpose that has one: what is in use, and what of before is accepted beside it.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn rolls(&self) -> Result<Vec<Keys>, Error> {
        let now = self.inner().clock.now();
        let mut rolls = Vec::new();
        for purpose in Purpose::ALL {
            rolls.extend(self.keys_of(purpose, now).await?);
        }
        Ok(rolls)
    }

    /// Makes another key for an authority, and says what the root is to sign for it ([`sign_authority`]). Until its
    /// certificate comes back the same is said again, and nothing else changes.
    ///
    /// # Errors
    /// [`Error::RolledHere`] of what is no authority; or a failure of the database.
    pub async fn request_authority(&self, purpose: Purpose) -> Result<AuthorityRequest, Error> {
        let server = self.clone();
        to_its_end(async move { server.request_authority_now(purpose).await }).await
    }

    async fn request_authority_now(&self, purpose: Purpose) -> Result<AuthorityRequest, Error> {
        if !purpose.is_authority() {
            return Err(Error::RolledHere(purpose.as_str()));
        }
        let inner = self.inner();
        let _rolling = inner.rolling.lock().await;
        let request = match inner.store.authority_request(purpose).await? {
            Some(request) => request,
            None => self.new_request(purpose).await?,
        };
        let key = self.requested_key(&request).await?;
        Ok(AuthorityRequest {
            what: purpose.as_str().to_owned(),
            name: inner.config.name.clone(),
            public_key: hex::encode(key.public_key().to_spki_der()?),
            serial: hex::encode(request.serial),
            not_before: request.not_before.0,
            not_after: request.not_after.0,
        })
    }

    /// Takes the certificate that the root signed for an authority: from then on this authority certifies. What the
    /// one before certified stays so until it ends. The same certificate again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotTheAuthority`] if it is not what was asked for; or a failure of the database.
    pub async fn install_authority(&self, purpose: Purpose, certificate: &[u8]) -> Result<RolledKey, Error> {
        let (server, certificate) = (self.clone(), certificate.to_vec());
        to_its_end(async move { server.install_authority_now(purpose, &certificate).await }).await
    }

    async fn install_authority_now(&self, purpose: Purpose, certificate: &[u8]) -> Result<RolledKey, Error> {
        let inner = self.inner();
        let _rolling = inner.rolling.lock().await;
        let now = inner.clock.now();
        let Some(request) = inner.store.authority_request(purpose).await? else {
            let certificates = inner.store.operator_certificates(now).await?;
            let newest = certificates.iter().find(|stored| stored.purpose == purpose);
            return match newest {
                Some(newest) if newest.der == certificate => self.rolled(purpose).await,
                _ => Err(Error::NotTheAuthority("none was asked for")),
            };
        };
        let refused = |_| Error::NotTheAuthority("it is not one that can be read");
        let issuer = Issuer {
            certificate: Certificate::parse(certificate).map_err(refused)?,
            key: self.requested_key(&request).await?,
        };
        let anchor = &inner.identity().anchor;
        pki::check_authority(anchor, &request, &issuer, &mut rng())?;
        let stored = OperatorCertificate {
            purpose,
            key: request.key,
            der: certificate.to_vec(),
            not_after: request.not_after,
            created: now,
        };
        inner.store.add_authority(request, stored, now).await?;
        self.rolled(purpose).await
    }

    /// Puts another key-encryption key in the place of the operator's. Everything sealed is sealed anew in one
    /// transaction; requests to seal something wait for so long, all others go on. Whoever calls has the right to serve
    /// the operator: it is [`Server::serve`]'s, or [`Server::right_to_serve`] gives it.
    ///
    /// A key that lies in the operator's directory is drawn here, and `given` is absent; the one before is kept beside
    /// it. One that the caller supplied
    /// when the operator was opened is supplied again as `given`, and has to be from then on.
    ///
    /// # Errors
    /// [`Error::KekGiven`] if it is the other way about; [`Error::KekInUse`]; [`Error::File`], or a failure of the database. If the files
    /// could not be put in place after the database was changed, the next start does it.
    pub async fn roll_kek(&self, given: Option<KeyEncryptionKey>) -> Result<RolledKek, Error> {
        let server = self.clone();
        to_its_end(async move { server.roll_kek_now(given).await }).await
    }

    async fn roll_kek_now(&self, given: Option<KeyEncryptionKey>) -> Result<RolledKek, Error> {
        let inner = self.inner();
        let _rolling = inner.rolling.lock().await;
        let new = match (inner.kek_in_file, given) {
            (true, None) => KeyEncryptionKey::generate(&mut rng()),
            (false, Some(new)) if new.is(&inner.vault.kek()) => return Err(Error::KekInUse),
            (false, Some(new)) => new,
            (in_file, _) => return Err(Error::KekGiven { in_file }),
        };
        let _nobody_seals = inner.vault.nobody_seals().await;
        let old = match self.used_kek().await {
            Err(Error::WrongKek) => return self.follow_kek(&new).await,
            used => used?,
        };
        if !old.key.is(&inner.vault.kek()) {
            self.use_kek(&old).await?;
        }
        let (operator, now) = (self.operator(), inner.clock.now());
        kek::settle(&inner.dir, &operator, &old, &inner.store.secrets().await?)?;
        let change = kek::Change::begin(&inner.dir, &operator, &old, &new, &mut rng())?;
        let (resealed, check) = match inner.store.reseal(old.key.alone(), new.alone(), now).await {
            Ok(resealed) => resealed,
            Err(error) => {
                // Where the failure came after the commit, the new one is in use all the same.
                match self.used_kek().await {
                    Ok(used) if !used.key.is(&old.key) => self.use_kek(&used).await?,
                    _ => {}
                }
                return Err(error);
            }
        };
        // Who read something before, and opens it now, finds it sealed under the old one.
        inner.vault.adopt(new.after(&old.key));
        inner.store.begin_era(Some(check));
        tracing::info!(values = resealed, "key-encryption key rolled");
        let finished = change.finish()?;
        Ok(RolledKek {
            resealed,
            in_file: old.in_file,
            root_key_resealed: finished.root_key == RootKey::Resealed,
            old_in: finished.old,
        })
    }

    /// Goes on with a key from elsewhere under which everything is sealed already: a roll to it came no further.
    async fn follow_kek(&self, given: &KeyEncryptionKey) -> Result<RolledKek, Error> {
        let inner = self.inner();
        let secrets = inner.store.secrets().await?;
        if !kek::opens(given, &secrets) {
            return Err(Error::WrongKek);
        }
        let used = Found {
            key: given.alone(),
            in_file: false,
        };
        self.use_kek(&used).await?;
        let root_key = kek::settle(&inner.dir, &self.operator(), &used, &secrets)?;
        Ok(RolledKek {
            resealed: 0,
            in_file: false,
            root_key_resealed: root_key == RootKey::Resealed,
            old_in: None,
        })
    }

    /// Makes another license key seed. New key ids derive from it if `packaging.seed` is `"newest"`; those that are
    /// registered keep their keys.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn roll_seed(&self) -> Result<RolledSeed, Error> {
        let server = self.clone();
        to_its_end(async move { server.roll_seed_now().await }).await
    }

    async fn roll_seed_now(&self) -> Result<RolledSeed, Error> {
        let inner = self.inner();
        let _rolling = inner.rolling.lock().await;
        let _sealing = inner.vault.sealing().await;
        let kek = inner.vault.kek();
        let seal = move |number| vault::seal_new_seed(&kek, number, &mut rng());
        let number = inner.store.add_seed(false, seal, inner.clock.now()).await?;
        tracing::info!(number, "license key seed rolled");
        let used = self.seed_of_new_keys().await? == Some(number);
        Ok(RolledSeed { number, used })
    }

    /// The number of the license key seed that the keys of new tracks derive from; none if they are drawn.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn seed_of_new_keys(&self) -> Result<Option<u64>, Error> {
        let inner = self.inner();
        inner.config.packaging.new_keys.seed(&inner.store).await
    }

    /// The right to serve the operator, for a roll without a server. While it is held no server starts.
    ///
    /// # Errors
    /// [`Error::AlreadyServed`]: ask that server, on its administration interface.
    pub async fn right_to_serve(&self) -> Result<Serving, Error> {
        let serving = Serving::begin(&self.inner().dir)?;
        self.take_over().await?;
        Ok(serving)
    }

    async fn new_request(&self, purpose: Purpose) -> Result<AuthorityRequestRow, Error> {
        let inner = self.inner();
        let (now, root) = (
            inner.clock.now(),
            Certificate::parse(inner.identity().anchor.der())?,
        );
        let (_sealing, kek) = (inner.vault.sealing().await, inner.vault.kek());
        let request = AuthorityRequestRow {
            purpose,
            key: inner.store.next_key(purpose).await?,
            serial: serial(&mut rng()),
            not_before: now.minus(CLOCK_TOLERANCE),
            not_after: pki::authority_end(now, &root),
        };
        let key = PurposeKey::generate(purpose, &mut rng());
        let secrets = key.seal(&kek, (purpose, request.key), &mut rng())?;
        inner
            .store
            .request_authority(secrets, request.clone(), now)
            .await?;
        Ok(request)
    }

    async fn requested_key(&self, request: &AuthorityRequestRow) -> Result<SigningKey, Error> {
        let inner = self.inner();
        let (rows, kek) = (inner.store.secrets().await?, inner.vault.kek());
        PurposeKey::unseal(&rows, &kek, (request.purpose, request.key))?.into_signing()
    }

    /// Uses what was added, and says what it is.
    async fn rolled(&self, purpose: Purpose) -> Result<RolledKey, Error> {
        let now = self.inner().clock.now();
        self.use_newest(now).await?;
        let keys = self.keys_of(purpose, now).await?;
        let keys = keys.ok_or(Error::Damaged("a key that was rolled is not there"))?;
        tracing::info!(what = purpose.as_str(), number = keys.number, "key rolled");
        Ok(RolledKey {
            before_accepted_until: keys.before.iter().map(|key| key.accepted_until).max(),
            what: keys.what,
            number: keys.number,
            ends: keys.ends,
        })
    }

    /// The keys of a purpose, if it has one that has not ended.
    async fn keys_of(&self, purpose: Purpose, now: Timestamp) -> Result<Option<Keys>, Error> {
        let inner = self.inner();
        let certificates = inner.store.operator_certificates(now).await?;
        let Some(newest) = certificates.iter().find(|stored| stored.purpose == purpose) else {
            return Ok(None);
        };
        let (secrets, overlap) = (inner.store.secrets().await?, inner.config.certificates.overlap);
        let earlier = earlier_keys(&secrets, &certificates, purpose, overlap).into_iter();
        let accepted = earlier.filter(|(_, until)| now <= *until);
        Ok(Some(Keys {
            what: purpose.as_str().to_owned(),
            number: newest.key,
            ends: newest.not_after.0,
            before: accepted
                .map(|(number, until)| EarlierKey {
                    number,
                    accepted_until: until.0,
                })
                .collect(),
            awaits_certificate: inner.store.authority_request(purpose).await?.is_some(),
        }))
    }
}

/// Signs the certificate of an authority with the root's private key, where that is kept. What it may do and how it is
/// called is not the asker's to say; how long it lasts is judged here.
///
/// # Errors
/// [`Error::NotTheAuthority`] if the root does not sign such a thing.
pub fn sign_authority(
    request: &AuthorityRequest,
    root: &[u8],
    root_key: &SigningKey,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let refused = |why| Error::NotTheAuthority(why);
    let purpose = Purpose::from_text(&request.what).filter(|purpose| purpose.is_authority());
    let purpose = purpose.ok_or(refused("it is for no authority"))?;
    let mut serial = [0; 16];
    hex::decode_to_slice(&request.serial, &mut serial)
        .map_err(|_| refused("its serial number cannot be read"))?;
    let root = Certificate::parse(root)?;
    let longest = pki::authority_end(now, &root).plus(DAY);
    if request.not_after > longest.0 || request.not_before > now.plus(DAY).0 {
        return Err(refused("it would begin too late or last too long"));
    }
    let spki = hex::decode(&request.public_key).map_err(|_| refused("its key cannot be read"))?;
    let key = PublicKey::from_spki_der(&spki).map_err(|_| refused("its key cannot be read"))?;
    let row = AuthorityRequestRow {
        purpose,
        key: 0,
        serial,
        not_before: Timestamp(request.not_before),
        not_after: Timestamp(request.not_after),
    };
    pki::authority(&request.name, &row, &key, &root, root_key)
}

/// Rolls to the end, even if whoever asked waits no longer: of a client that hangs up the request is dropped where it
/// stands, and what is in the database by then would not be what the server works with.
async fn to_its_end<T: Send + 'static>(
    roll: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let roll = roll.in_current_span().with_current_subscriber();
    match tokio::spawn(roll).await.map_err(JoinError::try_into_panic) {
        Ok(rolled) => rolled,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(Error::Stopping),
    }
}

/// How far the clocks of two machines may differ.
const DAY: u64 = 86_400;
