//! The operator's keys and certificates as the running server holds them.

use keyward_crypto::{
    Secret, SecretBytes,
    ecdsa::SigningKey,
    hpke::{KeyPair, Suite},
    x509::{Anchor, Certificate},
};
use keyward_license::{
    certificate::certificate_digest, enrolment::EnrolmentRole, ids::Digest, time::Timestamp,
};
use rand_core::CryptoRng;

use super::pki::{self, Authority, Issuer};
use crate::{
    Error,
    sealing::{Cell, KeyEncryptionKey},
    store::{OperatorCertificate, Purpose, Store},
};

/// The operator, ready to verify, open and sign.
pub(crate) struct Identity {
    pub(crate) anchor: Anchor,
    pub(crate) operator: Digest,
    pub(crate) device_authority: Issuer,
    /// None in operators that were made before packagers had certificates, or when it has expired.
    pub(crate) packager_authority: Option<Issuer>,
    /// Signs licenses, responses, the discovery document.
    pub(crate) license_server: SigningKey,
    /// Its chain, leaf first, without the root.
    pub(crate) license_server_chain: Vec<Vec<u8>>,
    /// That chain and those before it that have not ended, newest first, each with its begin.
    signer_chains: Vec<SignerChain>,
    /// The chain that the discovery document names.
    pub(crate) request_encryption_chain: Vec<Vec<u8>>,
    /// V-040: digests of the request-encryption certificates in use, each with its end.
    recipients: Vec<(Digest, Timestamp)>,
    /// One a suite; they outlive their certificates.
    pub(crate) request_keys: Vec<KeyPair>,
    /// Proof keys of licenses are HMACs under this.
    pub(crate) proof_secret: Secret<32>,
    /// Fingerprints of content keys are HMACs under this.
    pub(crate) fingerprint_secret: Secret<32>,
}

/// Names of the rows in the table of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecretName {
    /// Opens under the right key-encryption key: tells a wrong one before anything else is tried.
    Check,
    DeviceAuthority,
    PackagerAuthority,
    ServerAuthority,
    LicenseServer,
    RequestEncryption1,
    RequestEncryption2,
    Proof,
    Fingerprint,
}

impl SecretName {
    const ALL: [Self; 9] = [
        Self::Check,
        Self::DeviceAuthority,
        Self::PackagerAuthority,
        Self::ServerAuthority,
        Self::LicenseServer,
        Self::RequestEncryption1,
        Self::RequestEncryption2,
        Self::Proof,
        Self::Fingerprint,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::DeviceAuthority => "device-authority",
            Self::PackagerAuthority => "packager-authority",
            Self::ServerAuthority => "server-authority",
            Self::LicenseServer => "license-server",
            Self::RequestEncryption1 => "request-encryption-1",
            Self::RequestEncryption2 => "request-encryption-2",
            Self::Proof => "proof",
            Self::Fingerprint => "fingerprint",
        }
    }

    const fn cell(self) -> Cell<'static> {
        Cell {
            table: "secrets",
            row: self.as_str().as_bytes(),
            column: "sealed",
        }
    }

    const fn request_encryption(suite: Suite) -> Result<Self, Error> {
        match suite {
            Suite::P256 => Ok(Self::RequestEncryption1),
            Suite::XWing => Ok(Self::RequestEncryption2),
            _ => Err(Error::Damaged("a suite has no request-encryption key")),
        }
    }
}

/// Seals a new operator's secrets for the database.
pub(super) fn seal_secrets(
    kek: &KeyEncryptionKey,
    authority: &Authority,
    rng: &mut impl CryptoRng,
) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let mut secrets: Vec<(SecretName, &[u8])> = vec![
        (SecretName::Check, b"keyward"),
        (
            SecretName::DeviceAuthority,
            authority.device_authority_key.scalar().expose(),
        ),
        (
            SecretName::PackagerAuthority,
            authority.packager_authority_key.scalar().expose(),
        ),
        (
            SecretName::ServerAuthority,
            authority.server_authority_key.scalar().expose(),
        ),
        (
            SecretName::LicenseServer,
            authority.license_server_key.scalar().expose(),
        ),
        (SecretName::Proof, authority.proof_secret.expose()),
        (SecretName::Fingerprint, authority.fingerprint_secret.expose()),
    ];
    for key in &authority.request_encryption_keys {
        secrets.push((
            SecretName::request_encryption(key.suite())?,
            key.private_key().expose(),
        ));
    }
    secrets
        .into_iter()
        .map(|(name, secret)| Ok((name.as_str(), kek.seal(name.cell(), secret, rng)?)))
        .collect()
}

/// Whether every secret that an operator needs is there and opens.
///
/// # Errors
/// [`Error::WrongKek`], [`Error::Damaged`].
pub(crate) fn check_secrets(kek: &KeyEncryptionKey, sealed: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let found = |name: SecretName| sealed.iter().find(|(stored, _)| stored == name.as_str());
    for name in SecretName::ALL {
        match found(name) {
            Some((_, sealed)) => kek.open(name.cell(), sealed).map(drop).map_err(|_| match name {
                SecretName::Check => Error::WrongKek,
                _ => Error::Damaged("a secret of the server does not open"),
            })?,
            // Operators that were made before packagers had certificates have none.
            None if name == SecretName::PackagerAuthority => {}
            None => return Err(Error::Damaged("a secret of the server is missing")),
        }
    }
    Ok(())
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
        name: &str,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        let check = store.secret(SecretName::Check.as_str()).await?;
        kek.open(SecretName::Check.cell(), &check)
            .map_err(|_| Error::WrongKek)?;
        let anchor = Anchor::from_der(&store.root_certificate().await?)?;
        let mut request_keys = Vec::new();
        for suite in Suite::ALL {
            let private = open(store, kek, SecretName::request_encryption(suite)?).await?;
            request_keys.push(KeyPair::from_private(suite, private)?);
        }
        let license_server = open_signing_key(store, kek, SecretName::LicenseServer).await?;
        let mut certificates = store.operator_certificates(now).await?;
        let server_authority = Issuer {
            certificate: newest(&certificates, Purpose::ServerAuthority)?,
            key: open_signing_key(store, kek, SecretName::ServerAuthority).await?,
        };
        let renewal = Renewal {
            store,
            name,
            issuer: &server_authority,
            now,
        };
        renewal
            .all(&mut certificates, &license_server, &request_keys, rng)
            .await?;

        let chain = |purpose| -> Result<Vec<Vec<u8>>, Error> {
            Ok(vec![
                newest(&certificates, purpose)?.der().to_vec(),
                server_authority.certificate.der().to_vec(),
            ])
        };
        Ok(Self {
            operator: Digest::new(anchor.operator()),
            anchor,
            device_authority: Issuer {
                certificate: newest(&certificates, Purpose::DeviceAuthority)?,
                key: open_signing_key(store, kek, SecretName::DeviceAuthority).await?,
            },
            packager_authority: packager_authority(store, kek, &certificates).await?,
            license_server,
            license_server_chain: chain(Purpose::LicenseServer)?,
            signer_chains: signer_chains(&certificates, &server_authority)?,
            request_encryption_chain: chain(Purpose::RequestEncryption)?,
            recipients: recipients(&certificates)?,
            request_keys,
            proof_secret: open_secret(store, kek, SecretName::Proof).await?,
            fingerprint_secret: open_secret(store, kek, SecretName::Fingerprint).await?,
        })
    }

    /// The authority that certifies parties of a role.
    pub(crate) fn authority(&self, role: EnrolmentRole) -> Result<&Issuer, Error> {
        match role {
            EnrolmentRole::Device => Ok(&self.device_authority),
            EnrolmentRole::Packager => self.packager_authority.as_ref().ok_or(Error::NoPackagerAuthority),
        }
    }

    /// The license server's chain for what was recorded at a time. What was recorded before a renewal is signed
    /// under the certificate of then, while it lasts: devices ask that the signer was valid at the time stated
    /// (V-013, V-020).
    pub(crate) fn signer_chain(&self, recorded: Timestamp) -> &[Vec<u8>] {
        self.signer_chains
            .iter()
            .find(|(begins, _)| *begins <= recorded.0)
            .map_or(&self.license_server_chain, |(_, chain)| chain)
    }

    /// V-040: whether requests may be sealed to the certificate with this digest at `now`.
    pub(crate) fn is_recipient(&self, digest: &Digest, now: Timestamp) -> bool {
        self.recipients
            .iter()
            .any(|(recipient, ends)| recipient == digest && now <= *ends)
    }
}

/// Renews leaf certificates: announced in the database before they are signed, kept after.
struct Renewal<'a> {
    store: &'a Store,
    name: &'a str,
    issuer: &'a Issuer,
    now: Timestamp,
}

impl Renewal<'_> {
    /// Renews what is due. While the database takes no writes, what is in force serves on: there is a third of its
    /// life to come again, and a full disk keeps nobody from the discovery document.
    async fn all(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        license_server: &SigningKey,
        request_keys: &[KeyPair],
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        let renewed = async {
            self.license_server(certificates, license_server, rng).await?;
            self.request_encryption(certificates, request_keys, rng).await
        }
        .await;
        let in_force = |purpose| newest(certificates, purpose).is_ok();
        match renewed {
            Err(error)
                if error.is_passing()
                    && in_force(Purpose::LicenseServer)
                    && in_force(Purpose::RequestEncryption) =>
            {
                tracing::warn!(error = %error, "certificates are not renewed yet");
                Ok(())
            }
            renewed => renewed,
        }
    }

    async fn license_server(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        key: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        if !self.is_due(certificates, Purpose::LicenseServer)? {
            return Ok(());
        }
        let serial = self.announce(Purpose::LicenseServer, rng).await?;
        let renewed = pki::license_server(self.name, self.issuer, key.public_key(), serial, self.now)?;
        self.keep(certificates, renewed).await
    }

    async fn request_encryption(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        keys: &[KeyPair],
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        if !self.is_due(certificates, Purpose::RequestEncryption)? {
            return Ok(());
        }
        let serial = self.announce(Purpose::RequestEncryption, rng).await?;
        let renewed = pki::request_encryption(self.name, self.issuer, keys, serial, self.now)?;
        self.keep(certificates, renewed).await
    }

    /// In the last third of the newest certificate's life, or after it, a renewal is due; but not if
    /// the authority ends too soon for the renewal to gain anything.
    fn is_due(&self, certificates: &[OperatorCertificate], purpose: Purpose) -> Result<bool, Error> {
        let Ok(newest) = newest(certificates, purpose) else {
            return Ok(true);
        };
        let left = newest.not_after().saturating_sub(self.now.0);
        let life = newest.not_after().saturating_sub(newest.not_before());
        Ok(left < life / 3 && newest.not_after() < self.issuer.certificate.not_after())
    }

    async fn announce(&self, purpose: Purpose, rng: &mut impl CryptoRng) -> Result<[u8; 16], Error> {
        let serial = pki::serial(rng);
        self.store
            .announce_certificate(purpose.as_str().to_owned(), hex::encode(serial), self.now)
            .await?;
        Ok(serial)
    }

    async fn keep(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        renewed: OperatorCertificate,
    ) -> Result<(), Error> {
        self.store.add_certificate(renewed.clone(), self.now).await?;
        tracing::info!(purpose = renewed.purpose.as_str(), "certificate renewed");
        certificates.insert(0, renewed);
        Ok(())
    }
}

async fn packager_authority(
    store: &Store,
    kek: &KeyEncryptionKey,
    certificates: &[OperatorCertificate],
) -> Result<Option<Issuer>, Error> {
    let purpose = Purpose::PackagerAuthority;
    // None is no fault; one that is there and cannot be read is.
    if !certificates.iter().any(|stored| stored.purpose == purpose) {
        return Ok(None);
    }
    Ok(Some(Issuer {
        certificate: newest(certificates, purpose)?,
        key: open_signing_key(store, kek, SecretName::PackagerAuthority).await?,
    }))
}

/// Certificates come newest first.
fn newest(certificates: &[OperatorCertificate], purpose: Purpose) -> Result<Certificate, Error> {
    let found = certificates
        .iter()
        .find(|certificate| certificate.purpose == purpose)
        .ok_or(Error::Damaged(
            "a certificate of the operator is missing or has expired",
        ))?;
    Ok(Certificate::parse(&found.der)?)
}

/// When it begins, and the chain.
type SignerChain = (u64, Vec<Vec<u8>>);

fn signer_chains(
    certificates: &[OperatorCertificate],
    authority: &Issuer,
) -> Result<Vec<SignerChain>, Error> {
    certificates
        .iter()
        .filter(|certificate| certificate.purpose == Purpose::LicenseServer)
        .map(|stored| {
            let chain = vec![stored.der.clone(), authority.certificate.der().to_vec()];
            Ok((Certificate::parse(&stored.der)?.not_before(), chain))
        })
        .collect()
}

fn recipients(certificates: &[OperatorCertificate]) -> Result<Vec<(Digest, Timestamp)>, Error> {
    certificates
        .iter()
        .filter(|certificate| certificate.purpose == Purpose::RequestEncryption)
        .map(|stored| {
            Ok((
                certificate_digest(&Certificate::parse(&stored.der)?),
                stored.not_after,
            ))
        })
        .collect()
}

async fn open(store: &Store, kek: &KeyEncryptionKey, name: SecretName) -> Result<SecretBytes, Error> {
    let sealed = store.secret(name.as_str()).await?;
    kek.open(name.cell(), &sealed)
        .map_err(|_| Error::Damaged("a secret of the server does not open"))
}

async fn open_secret(store: &Store, kek: &KeyEncryptionKey, name: SecretName) -> Result<Secret<32>, Error> {
    Ok(Secret::from_slice(open(store, kek, name).await?.expose())?)
}

async fn open_signing_key(
    store: &Store,
    kek: &KeyEncryptionKey,
    name: SecretName,
) -> Result<SigningKey, Error> {
    Ok(SigningKey::from_scalar(open_secret(store, kek, name).await?)?)
}
