//! The operator's keys and certificates as the running server holds them.
//!
//! Of each purpose there may be several keys, and of each key several certificates: a renewal makes a certificate, a
//! roll a key. What is new is made with the newest; what was made before is served with what it was made with.

mod held;
mod renewal;

use std::sync::Arc;

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
    overlap::{self, accepted_until},
    pki::{self, Authority, Issuer},
};
use crate::{
    Error,
    config::Config,
    sealing::KeyEncryptionKey,
    store::{NewSecret, OperatorCertificate, Purpose, Store},
};
use held::{Keys, NewestKeys, newest_issuer};
use renewal::Renewal;

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
    /// Opens the operator's secrets, renews the server's own certificates if their last third has begun, and destroys
    /// keys that requests are not accepted for any more.
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
        overlap::end(store, &rows, (&every, &mut certificates), settings).await?;
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

    /// Whether there is a key here that requests are not accepted for any more.
    pub(crate) fn holds_over(&self, now: Timestamp) -> bool {
        let mut recipients = self.recipients.iter();
        recipients.any(|recipient| recipient.accepted_until < now)
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

const MISSING: &str = "a certificate of the operator is missing or has expired";
