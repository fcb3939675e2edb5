//! The operator's keys and certificates as the running server holds them.
//!
//! Of each purpose there may be several keys, and of each key several certificates: a renewal makes a certificate, a
//! roll a key. What is new is made with the newest; what was made before is served with what it was made with.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use keyward_crypto::{
    Secret,
    ecdsa::SigningKey,
    hpke::KeyPair,
    x509::{Anchor, Certificate},
};
use keyward_license::{
    certificate::certificate_digest, enrolment::EnrolmentRole, ids::Digest, time::Timestamp,
};
use rand_core::CryptoRng;

use super::{
    keys::{self, PurposeKey, Secrets},
    leaves,
    pki::{self, Authority, Issuer},
};
use crate::{
    Error,
    config::Config,
    sealing::KeyEncryptionKey,
    store::{NewSecret, OperatorCertificate, Purpose, Store},
};

/// The operator, ready to verify, open and sign.
pub(crate) struct Identity {
    pub(crate) anchor: Anchor,
    pub(crate) operator: Digest,
    /// How often what the server authority revokes had changed: what it had revoked by then is not in here.
    pub(crate) revocations: i64,
    /// Those that have not ended, newest first.
    authorities: Vec<(Purpose, Arc<Issuer>)>,
    /// What signs for each purpose: certificates that have not ended, newest first.
    signers: Vec<(Purpose, Signer)>,
    /// The chain that the discovery document names.
    pub(crate) request_encryption_chain: Vec<Vec<u8>>,
    /// V-040: what requests are sealed to.
    recipients: Vec<Recipient>,
    /// Proof keys of licenses are HMACs under this.
    pub(crate) proof_secret: Secret<32>,
    /// Fingerprints of content keys are HMACs under this.
    pub(crate) fingerprint_secret: Secret<32>,
}

/// A key that signs, with its chain.
pub(crate) struct Signer {
    /// Leaf first, without the root.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Arc<SigningKey>,
    /// When the certificate was made, and when it begins: earlier, for clocks that are behind.
    made: Timestamp,
    begins: Timestamp,
}

/// A certificate that requests are sealed to.
struct Recipient {
    digest: Digest,
    /// Until when requests to it are accepted.
    accepted_until: Timestamp,
    /// One a suite.
    keys: Arc<Vec<KeyPair>>,
}

/// What an identity is loaded with.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// The operator's name.
    pub(crate) name: &'a str,
    /// For how many seconds what was rolled is accepted beside what is new.
    pub(crate) overlap: u64,
    pub(crate) now: Timestamp,
}

impl<'a> Settings<'a> {
    pub(crate) const fn of(config: &'a Config, now: Timestamp) -> Self {
        Self {
            name: config.name.as_str(),
            overlap: config.certificates.overlap,
            now,
        }
    }
}

/// Seals a new operator's secrets for the database.
pub(super) fn seal_secrets(
    kek: &KeyEncryptionKey,
    authority: &Authority,
    rng: &mut impl CryptoRng,
) -> Result<Vec<NewSecret>, Error> {
    let plain: [(&str, &[u8]); 3] = [
        (keys::CHECK, b"keyward"),
        (keys::PROOF, authority.proof_secret.expose()),
        (keys::FINGERPRINT, authority.fingerprint_secret.expose()),
    ];
    let mut secrets = Vec::new();
    for (name, secret) in plain {
        secrets.push(keys::seal(kek, name.to_owned(), secret, rng)?);
    }
    for (purpose, key) in &authority.keys {
        secrets.extend(key.seal(kek, (*purpose, 0), rng)?);
    }
    Ok(secrets)
}

impl Identity {
    /// Opens the operator's secrets, and renews the server's own certificates if their last third has
    /// begun.
    ///
    /// # Errors
    /// [`Error::WrongKek`], [`Error::Damaged`].
    pub(crate) async fn load(
        store: &Store,
        kek: &KeyEncryptionKey,
        settings: Settings<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        let anchor = Anchor::from_der(&store.root_certificate().await?)?;
        // Read first: what is revoked meanwhile is looked at again.
        let revocations = store.generations().await?;
        let revocations = revocations.of(Purpose::ServerAuthority.as_str());
        // Keys come with their certificates, and stay.
        let mut certificates = store.operator_certificates(Timestamp(0)).await?;
        let rows = store.secrets().await?;
        let secrets = Secrets { rows: &rows, kek };
        secrets.open(keys::CHECK)?;
        let every = certificates.clone();
        certificates.retain(|stored| settings.now <= stored.not_after);
        leaves::leave_out_revoked(store, &mut certificates).await?;
        let issuer = newest_issuer(&secrets, &certificates)?;
        let added = match &issuer {
            Some(issuer) => leaves::add_missing(store, &secrets, issuer, settings.now, rng).await?,
            None => false,
        };
        let rows = if added { store.secrets().await? } else { rows };
        let secrets = Secrets { rows: &rows, kek };
        let keys = Keys::open(&secrets, &certificates, NewestKeys::of(&every))?;
        if let Some(issuer) = &issuer {
            let renewal = Renewal {
                store,
                settings,
                issuer,
                keys: &keys,
            };
            renewal.all(&mut certificates, rng).await?;
        }
        let authorities = authorities(&certificates, &keys)?;
        let secret = |name| Ok::<_, Error>(Secret::from_slice(secrets.open(name)?.expose())?);
        let chains = Chains {
            anchor: &anchor,
            authorities: &authorities,
        };
        // Where the server authority has ended there is none until it is rolled.
        let request_encryption_chain = match find(&certificates, Purpose::RequestEncryption) {
            Ok(newest) => chains.of(&newest.der, Purpose::RequestEncryption)?,
            Err(_) => Vec::new(),
        };
        Ok(Self {
            operator: Digest::new(anchor.operator()),
            revocations,
            signers: signers(&certificates, &keys, &chains)?,
            request_encryption_chain,
            recipients: recipients(&certificates, &keys, |stored| {
                accepted_until(&every, stored, settings.overlap)
            })?,
            proof_secret: secret(keys::PROOF)?,
            fingerprint_secret: secret(keys::FINGERPRINT)?,
            authorities,
            anchor,
        })
    }

    /// The authority that certifies parties of a role.
    pub(crate) fn authority(&self, role: EnrolmentRole) -> Result<&Issuer, Error> {
        self.newest_authority(purpose_of(role)).ok_or(match role {
            EnrolmentRole::Device => Error::Damaged(MISSING),
            EnrolmentRole::Packager => Error::NoPackagerAuthority,
        })
    }

    /// The certificate of the authority that issued a certificate for a role; of the newest authority, if none that
    /// has not ended did.
    pub(crate) fn issuer_of(&self, role: EnrolmentRole, certificate: &[u8]) -> Result<&Certificate, Error> {
        let begins = Certificate::parse(certificate)?.not_before();
        let issued = |authority: &&(Purpose, Arc<Issuer>)| {
            let found = &authority.1.certificate;
            let chain = [certificate.to_vec(), found.der().to_vec()];
            let at = begins.max(found.not_before());
            self.anchor.verify(&chain, role.role(), at).is_ok()
        };
        let of_role = |authority: &&(Purpose, Arc<Issuer>)| authority.0 == purpose_of(role);
        let issuer = self.authorities.iter().filter(of_role).find(issued);
        match issuer {
            Some((_, issuer)) => Ok(&issuer.certificate),
            None => Ok(&self.authority(role)?.certificate),
        }
    }

    /// A certificate of the server authority for a key.
    pub(crate) fn certify(
        &self,
        name: &str,
        (purpose, number): (Purpose, u64),
        key: &PurposeKey,
        serial: [u8; 16],
        now: Timestamp,
    ) -> Result<OperatorCertificate, Error> {
        let issuer = self.newest_authority(Purpose::ServerAuthority);
        let issuer = issuer.ok_or(Error::Damaged(MISSING))?;
        if purpose.comes_later() && !issuer.certifies(purpose) {
            return Err(Error::NoListSigner);
        }
        pki::leaf(name, issuer, (purpose, number), &key.certified()?, serial, now)
    }

    /// Whether packagers can be certified: operators that were made before packagers had certificates have no
    /// authority for them.
    pub(crate) fn certifies_packagers(&self) -> bool {
        self.newest_authority(Purpose::PackagerAuthority).is_some()
    }

    fn newest_authority(&self, purpose: Purpose) -> Option<&Issuer> {
        let of_purpose = |authority: &&(Purpose, Arc<Issuer>)| authority.0 == purpose;
        self.authorities
            .iter()
            .find(of_purpose)
            .map(|(_, issuer)| &**issuer)
    }

    /// Those whose revocation lists this server signs, each with what it is for: all that have not ended, so that
    /// what an earlier one certified can be revoked.
    pub(crate) fn list_issuers(&self) -> Vec<(Purpose, &Issuer)> {
        let of_purpose = |wanted| {
            let authorities = self.authorities.iter();
            authorities.filter(move |(purpose, _)| *purpose == wanted)
        };
        Purpose::of_authorities(true)
            .flat_map(of_purpose)
            .map(|(purpose, issuer)| (*purpose, &**issuer))
            .collect()
    }

    /// What signs now, for a purpose, if anything does: receipts and the operator's own revocation list have no signer
    /// where the server authority may not certify it, and while the database takes no writes if there was none before.
    pub(crate) fn signs(&self, purpose: Purpose) -> Option<&Signer> {
        let mut signers = self.signers.iter().filter(|(of, _)| *of == purpose);
        signers.next().map(|(_, signer)| signer)
    }

    /// What signs now, for a purpose.
    ///
    /// # Errors
    /// [`Error::Damaged`] if nothing does.
    pub(crate) fn signer(&self, purpose: Purpose) -> Result<&Signer, Error> {
        self.signs(purpose).ok_or(Error::Damaged(MISSING))
    }

    /// Whether everything is there that a server serves with.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub(crate) fn check_serves(&self) -> Result<(), Error> {
        let ended = |purpose: Purpose| Error::Ended(purpose.as_str());
        self.newest_authority(Purpose::DeviceAuthority)
            .ok_or(ended(Purpose::DeviceAuthority))?;
        let signs = self.signer(Purpose::LicenseServer).is_ok();
        if signs && !self.request_encryption_chain.is_empty() {
            Ok(())
        } else {
            Err(ended(Purpose::ServerAuthority))
        }
    }

    /// Whether the newest certificate of any purpose was issued by the authority with this serial number.
    ///
    /// # Errors
    /// [`Error::Crypto`] if a certificate cannot be read.
    pub(crate) fn works_under(&self, serial: &[u8]) -> Result<bool, Error> {
        let signing = Purpose::of_authorities(false).filter_map(|purpose| self.signs(purpose));
        let chains = signing.map(|signer| &signer.chain);
        for chain in chains.chain([&self.request_encryption_chain]) {
            for authority in chain.iter().skip(1) {
                if Certificate::parse(authority)?.serial() == serial {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What signed at a time, for a purpose. What was recorded before a renewal or a roll is signed with the key and
    /// under the certificate of then, while that lasts: devices ask that the signer was valid at the time stated
    /// (V-013, V-020).
    ///
    /// # Errors
    /// [`Error::Damaged`] if nothing signs.
    pub(crate) fn signer_at(&self, purpose: Purpose, recorded: Timestamp) -> Result<&Signer, Error> {
        let signers = || {
            let of_purpose = self.signers.iter().filter(move |(of, _)| *of == purpose);
            of_purpose.map(|(_, signer)| signer)
        };
        let made = signers().find(|signer| signer.made <= recorded);
        // A clock that was set back recorded before any was made.
        let begun = || signers().find(|signer| signer.begins <= recorded);
        match made.or_else(begun) {
            Some(signer) => Ok(signer),
            None => self.signer(purpose),
        }
    }

    /// V-040: the keys of the certificate with this digest, if requests may be sealed to it at `now`.
    pub(crate) fn recipient(&self, digest: &Digest, now: Timestamp) -> Option<&[KeyPair]> {
        self.recipients
            .iter()
            .find(|recipient| recipient.digest == *digest && now <= recipient.accepted_until)
            .map(|recipient| &recipient.keys[..])
    }

    /// The keys of every certificate that requests may be sealed to, newest first.
    pub(crate) fn request_keys(&self) -> impl Iterator<Item = &KeyPair> {
        self.recipients.iter().flat_map(|recipient| recipient.keys.iter())
    }

    /// The keys of the certificate with this digest, accepted or not; without one, the newest.
    pub(crate) fn keys_of(&self, digest: &Digest) -> &[KeyPair] {
        let named = self
            .recipients
            .iter()
            .find(|recipient| recipient.digest == *digest);
        named
            .or_else(|| self.recipients.first())
            .map_or(&[], |recipient| &recipient.keys[..])
    }
}

/// Who certifies parties of a role.
const fn purpose_of(role: EnrolmentRole) -> Purpose {
    match role {
        EnrolmentRole::Device => Purpose::DeviceAuthority,
        EnrolmentRole::Packager => Purpose::PackagerAuthority,
    }
}

/// The number of the newest key of each purpose. It serves even if all of its certificates have ended: what was rolled
/// does not come back.
struct NewestKeys(HashMap<Purpose, u64>);

impl NewestKeys {
    fn of(certificates: &[OperatorCertificate]) -> Self {
        let mut newest = HashMap::new();
        for stored in certificates {
            let number = newest.entry(stored.purpose).or_insert(stored.key);
            *number = stored.key.max(*number);
        }
        Self(newest)
    }

    fn number(&self, purpose: Purpose) -> u64 {
        self.0.get(&purpose).copied().unwrap_or_default()
    }
}

/// Every key that is in use, opened once.
struct Keys {
    newest: NewestKeys,
    signing: HashMap<(Purpose, u64), Arc<SigningKey>>,
    sealing: HashMap<(Purpose, u64), Arc<Vec<KeyPair>>>,
}

impl Keys {
    fn open(
        secrets: &Secrets<'_>,
        certificates: &[OperatorCertificate],
        newest: NewestKeys,
    ) -> Result<Self, Error> {
        let renewed = Purpose::of_authorities(false)
            .filter(|purpose| !purpose.comes_later() || secrets.has(*purpose))
            .map(|purpose| (purpose, newest.number(purpose)));
        let certified = certificates.iter().map(|stored| (stored.purpose, stored.key));
        let used: HashSet<_> = certified.chain(renewed).collect();
        let mut keys = Self {
            newest,
            signing: HashMap::new(),
            sealing: HashMap::new(),
        };
        for of in used {
            match PurposeKey::open(secrets, of)? {
                PurposeKey::Signing(key) => drop(keys.signing.insert(of, Arc::new(key))),
                PurposeKey::Sealing(pairs) => drop(keys.sealing.insert(of, Arc::new(pairs))),
            }
        }
        Ok(keys)
    }

    fn signing(&self, of: (Purpose, u64)) -> Result<&Arc<SigningKey>, Error> {
        self.signing.get(&of).ok_or(Error::Damaged(NO_KEY))
    }

    fn sealing(&self, of: (Purpose, u64)) -> Result<&Arc<Vec<KeyPair>>, Error> {
        self.sealing.get(&of).ok_or(Error::Damaged(NO_KEY))
    }

    fn certified(&self, of: (Purpose, u64)) -> Result<keys::Certified, Error> {
        match self.sealing.get(&of) {
            Some(pairs) => keys::certified_pairs(pairs),
            None => Ok(keys::certified_key(self.signing(of)?)),
        }
    }

    fn issuer(&self, stored: &OperatorCertificate) -> Result<Issuer, Error> {
        let key = self.signing((stored.purpose, stored.key))?;
        Ok(Issuer {
            certificate: Certificate::parse(&stored.der)?,
            key: SigningKey::from_scalar(key.scalar().duplicate())?,
        })
    }

    fn has_newest(&self, purpose: Purpose) -> bool {
        let of = (purpose, self.newest.number(purpose));
        self.signing.contains_key(&of) || self.sealing.contains_key(&of)
    }
}

/// Renews leaf certificates: announced in the database before they are signed, kept after. Their keys stay.
struct Renewal<'a> {
    store: &'a Store,
    settings: Settings<'a>,
    issuer: &'a Issuer,
    keys: &'a Keys,
}

impl Renewal<'_> {
    /// Renews what is due. While the database takes no writes, what is in force serves on: there is a third of its
    /// life to come again, and a full disk keeps nobody from the discovery document.
    async fn all(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        for purpose in Purpose::of_authorities(false) {
            let may_be = self.keys.has_newest(purpose) && self.issuer.certifies(purpose);
            if !may_be || !self.is_due(certificates, purpose)? {
                continue;
            }
            let serves = purpose.comes_later() || find(certificates, purpose).is_ok();
            match self.renew(certificates, purpose, rng).await {
                Err(error) if error.is_passing() && serves => {
                    tracing::warn!(error = %error, purpose = purpose.as_str(), "a certificate is not renewed yet");
                }
                renewed => renewed?,
            }
        }
        Ok(())
    }

    async fn renew(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        purpose: Purpose,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        let key = self.keys.newest.number(purpose);
        let certified = self.keys.certified((purpose, key))?;
        let (settings, now) = (self.settings, self.settings.now);
        let serial = pki::serial(rng);
        self.store
            .announce_certificate(purpose.as_str().to_owned(), hex::encode(serial), now)
            .await?;
        let renewed = pki::leaf(
            settings.name,
            self.issuer,
            (purpose, key),
            &certified,
            serial,
            now,
        )?;
        self.store.add_certificate(renewed.clone(), now).await?;
        tracing::info!(purpose = purpose.as_str(), "certificate renewed");
        certificates.insert(0, renewed);
        Ok(())
    }

    /// In the last third of the newest certificate's life, or after it, a renewal is due; but not if
    /// the authority ends too soon for the renewal to gain anything.
    fn is_due(&self, certificates: &[OperatorCertificate], purpose: Purpose) -> Result<bool, Error> {
        let Ok(newest) = find(certificates, purpose) else {
            return Ok(true);
        };
        let newest = Certificate::parse(&newest.der)?;
        let left = newest.not_after().saturating_sub(self.settings.now.0);
        let life = newest.not_after().saturating_sub(newest.not_before());
        Ok(left < life / 3 && newest.not_after() < self.issuer.certificate.not_after())
    }
}

/// The server authority, if it has not ended.
fn newest_issuer(
    secrets: &Secrets<'_>,
    certificates: &[OperatorCertificate],
) -> Result<Option<Issuer>, Error> {
    let Ok(stored) = find(certificates, Purpose::ServerAuthority) else {
        return Ok(None);
    };
    Ok(Some(Issuer {
        certificate: Certificate::parse(&stored.der)?,
        key: PurposeKey::open(secrets, (stored.purpose, stored.key))?.into_signing()?,
    }))
}

/// Certificates come newest first.
fn find(certificates: &[OperatorCertificate], purpose: Purpose) -> Result<&OperatorCertificate, Error> {
    let mut of_purpose = certificates.iter().filter(|stored| stored.purpose == purpose);
    of_purpose.next().ok_or(Error::Damaged(MISSING))
}

fn authorities(
    certificates: &[OperatorCertificate],
    keys: &Keys,
) -> Result<Vec<(Purpose, Arc<Issuer>)>, Error> {
    let authorities = certificates.iter().filter(|stored| stored.purpose.is_authority());
    authorities
        .map(|stored| Ok((stored.purpose, Arc::new(keys.issuer(stored)?))))
        .collect()
}

/// Chains of certificates that the server authority issued, whichever was in use then.
struct Chains<'a> {
    anchor: &'a Anchor,
    authorities: &'a [(Purpose, Arc<Issuer>)],
}

impl Chains<'_> {
    fn of(&self, leaf: &[u8], purpose: Purpose) -> Result<Vec<Vec<u8>>, Error> {
        let begins = Certificate::parse(leaf)?.not_before();
        let servers = || {
            let servers = self.authorities.iter();
            servers.filter(|(purpose, _)| *purpose == Purpose::ServerAuthority)
        };
        let chain = |issuer: &Issuer| vec![leaf.to_vec(), issuer.certificate.der().to_vec()];
        let issued = |authority: &&(Purpose, Arc<Issuer>)| {
            let at = begins.max(authority.1.certificate.not_before());
            let mut roles = purpose.roles().iter();
            roles.all(|role| self.anchor.verify(&chain(&authority.1), *role, at).is_ok())
        };
        let issuer = servers().find(issued).or_else(|| servers().next());
        let (_, issuer) = issuer.ok_or(Error::Damaged(MISSING))?;
        Ok(chain(issuer))
    }
}

fn signers(
    certificates: &[OperatorCertificate],
    keys: &Keys,
    chains: &Chains<'_>,
) -> Result<Vec<(Purpose, Signer)>, Error> {
    let signing = certificates.iter().filter(|stored| {
        let purpose = stored.purpose;
        !purpose.is_authority() && purpose != Purpose::RequestEncryption
    });
    signing
        .map(|stored| {
            let signer = Signer {
                chain: chains.of(&stored.der, stored.purpose)?,
                key: Arc::clone(keys.signing((stored.purpose, stored.key))?),
                made: stored.created,
                begins: Timestamp(Certificate::parse(&stored.der)?.not_before()),
            };
            Ok((stored.purpose, signer))
        })
        .collect()
}

fn recipients(
    certificates: &[OperatorCertificate],
    keys: &Keys,
    accepted_until: impl Fn(&OperatorCertificate) -> Timestamp,
) -> Result<Vec<Recipient>, Error> {
    let purpose = Purpose::RequestEncryption;
    let of_purpose = certificates.iter().filter(|stored| stored.purpose == purpose);
    of_purpose
        .map(|stored| {
            Ok(Recipient {
                digest: certificate_digest(&Certificate::parse(&stored.der)?),
                accepted_until: accepted_until(stored),
                keys: Arc::clone(keys.sealing((purpose, stored.key))?),
            })
        })
        .collect()
}

/// Until when requests to a certificate are accepted: until it ends, and if its key was rolled, until the overlap is
/// over.
pub(crate) fn accepted_until(
    certificates: &[OperatorCertificate],
    stored: &OperatorCertificate,
    overlap: u64,
) -> Timestamp {
    let later = certificates
        .iter()
        .filter(|other| other.purpose == stored.purpose && other.key > stored.key);
    match later.map(|other| other.created).min() {
        Some(rolled) => stored.not_after.min(rolled.plus(overlap)),
        None => stored.not_after,
    }
}

const MISSING: &str = "a certificate of the operator is missing or has expired";
const NO_KEY: &str = "a certificate of the operator has no key";
