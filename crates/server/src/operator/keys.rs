//! The operator's own keys: what each purpose has, and the rows of the table of secrets that they are sealed in.

use keyward_crypto::{
    SecretBytes,
    ecdsa::{PublicKey, SigningKey},
    hpke::{KeyPair, Suite},
};
use keyward_license::{
    certificate::{Claims, SealingKey},
    codec::{Bytes, Wire},
};
use rand_core::CryptoRng;

use crate::{
    Error,
    sealing::{Cell, KeyEncryptionKey},
    store::{NewSecret, Purpose},
};

/// Opens under the right key-encryption key: tells a wrong one before anything else is tried.
pub(crate) const CHECK: &str = "check";
/// Proof keys of licenses are HMACs under it.
pub(super) const PROOF: &str = "proof";
/// Fingerprints of keys are HMACs under it.
pub(super) const FINGERPRINT: &str = "fingerprint";

/// A key of one purpose.
pub(crate) enum PurposeKey {
    /// Signs.
    Signing(SigningKey),
    /// Requests are sealed to it: one a suite, ascending.
    Sealing(Vec<KeyPair>),
}

/// What a certificate says of a key.
pub(super) struct Certified {
    pub(super) key: PublicKey,
    pub(super) claims: Option<Vec<u8>>,
}

impl PurposeKey {
    /// A fresh one.
    pub(crate) fn generate(purpose: Purpose, rng: &mut impl CryptoRng) -> Self {
        match purpose {
            Purpose::RequestEncryption => {
                let suites = Suite::ALL.into_iter();
                Self::Sealing(suites.map(|suite| KeyPair::generate(suite, rng)).collect())
            }
            _ => Self::Signing(SigningKey::generate(rng)),
        }
    }

    /// Opens the key of a purpose with this number, out of the rows that there are.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(super) fn open(secrets: &Secrets<'_>, (purpose, number): (Purpose, u64)) -> Result<Self, Error> {
        if purpose != Purpose::RequestEncryption {
            return secrets
                .signing_key(&name((purpose, number), None))
                .map(Self::Signing);
        }
        let pair = |suite| {
            let private = secrets.open(&name((purpose, number), Some(suite)))?;
            Ok::<_, Error>(KeyPair::from_private(suite, private)?)
        };
        let pairs: Result<_, Error> = Suite::ALL.into_iter().map(pair).collect();
        Ok(Self::Sealing(pairs?))
    }

    /// As [`PurposeKey::open`], of all rows of the table of secrets.
    pub(crate) fn unseal(
        rows: &[(String, Vec<u8>)],
        kek: &KeyEncryptionKey,
        of: (Purpose, u64),
    ) -> Result<Self, Error> {
        Self::open(&Secrets { rows, kek }, of)
    }

    /// Seals it for its rows.
    pub(crate) fn seal(
        &self,
        kek: &KeyEncryptionKey,
        (purpose, number): (Purpose, u64),
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<NewSecret>, Error> {
        match self {
            Self::Signing(key) => {
                let name = name((purpose, number), None);
                Ok(vec![seal(kek, name, key.scalar().expose(), rng)?])
            }
            Self::Sealing(pairs) => pairs
                .iter()
                .map(|pair| {
                    let name = name((purpose, number), Some(pair.suite()));
                    seal(kek, name, pair.private_key().expose(), rng)
                })
                .collect(),
        }
    }

    /// What its certificate says.
    pub(super) fn certified(&self) -> Result<Certified, Error> {
        match self {
            Self::Signing(key) => Ok(certified_key(key)),
            Self::Sealing(pairs) => certified_pairs(pairs),
        }
    }

    /// The key that signs.
    pub(crate) fn into_signing(self) -> Result<SigningKey, Error> {
        match self {
            Self::Signing(key) => Ok(key),
            Self::Sealing(_) => Err(Error::Damaged("a key that signs is one that opens")),
        }
    }
}

/// What the certificate of a key that signs says.
pub(super) fn certified_key(key: &SigningKey) -> Certified {
    Certified {
        key: *key.public_key(),
        claims: None,
    }
}

/// What the certificate of keys that requests are sealed to says: the subject key is that of suite 1, and the claims
/// hold the keys of all suites.
pub(super) fn certified_pairs(pairs: &[KeyPair]) -> Result<Certified, Error> {
    let named = |pair: &KeyPair| SealingKey {
        suite: pair.suite().number(),
        public_key: Bytes(pair.public_key().to_vec()),
    };
    let claims = Claims {
        sealing_keys: Some(pairs.iter().map(named).collect()),
        ..Claims::default()
    };
    let first = pairs.iter().find(|pair| pair.suite() == Suite::P256);
    let first = first.ok_or(Error::Damaged("there is no suite 1 request-encryption key"))?;
    Ok(Certified {
        key: PublicKey::from_point(first.public_key())?,
        claims: Some(claims.encode()),
    })
}

/// The rows of the table of secrets, and what opens them.
pub(super) struct Secrets<'a> {
    pub(super) rows: &'a [(String, Vec<u8>)],
    pub(super) kek: &'a KeyEncryptionKey,
}

impl Secrets<'_> {
    /// Opens a secret.
    ///
    /// # Errors
    /// [`Error::WrongKek`] if it is the check; [`Error::Damaged`].
    pub(super) fn open(&self, name: &str) -> Result<SecretBytes, Error> {
        let (_, sealed) = self
            .rows
            .iter()
            .find(|(stored, _)| stored == name)
            .ok_or(Error::Damaged(MISSING))?;
        self.kek.open(cell(name), sealed).map_err(|_| match name {
            CHECK => Error::WrongKek,
            _ => Error::Damaged("a secret of the server does not open"),
        })
    }

    /// Whether a purpose has a key. The first has its name, and none goes.
    pub(super) fn has(&self, purpose: Purpose) -> bool {
        self.rows.iter().any(|(name, _)| name == purpose.as_str())
    }

    pub(super) fn signing_key(&self, name: &str) -> Result<SigningKey, Error> {
        let scalar = keyward_crypto::Secret::from_slice(self.open(name)?.expose())?;
        Ok(SigningKey::from_scalar(scalar)?)
    }
}

/// Seals a secret for its row.
pub(super) fn seal(
    kek: &KeyEncryptionKey,
    name: String,
    secret: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<NewSecret, Error> {
    let sealed = kek.seal(cell(&name), secret, rng)?;
    Ok(NewSecret { name, sealed })
}

/// Whether every secret that an operator needs is there and each opens.
///
/// # Errors
/// [`Error::WrongKek`], [`Error::Damaged`].
pub(crate) fn check_secrets(kek: &KeyEncryptionKey, rows: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let secrets = Secrets { rows, kek };
    secrets.open(CHECK)?;
    for name in needed() {
        secrets.open(&name)?;
    }
    // The first key of these goes when it was rolled: some key of each suite is there.
    for suite in Suite::ALL {
        let first = name((Purpose::RequestEncryption, 0), Some(suite));
        let is_one = |row: &str| row.split_once('/').map_or(row, |(key, _)| key) == first;
        if !rows.iter().any(|(row, _)| is_one(row)) {
            return Err(Error::Damaged(MISSING));
        }
    }
    for (name, _) in rows {
        secrets.open(name)?;
    }
    Ok(())
}

/// What every operator has had since it was made.
fn needed() -> Vec<String> {
    let mut names = vec![PROOF.to_owned(), FINGERPRINT.to_owned()];
    for purpose in [
        Purpose::DeviceAuthority,
        Purpose::ServerAuthority,
        Purpose::LicenseServer,
    ] {
        names.push(name((purpose, 0), None));
    }
    names
}

/// The names of the rows that a key has, out of those that there are.
pub(super) fn rows_of(rows: &[(String, Vec<u8>)], of: (Purpose, u64)) -> Vec<String> {
    let suites = Suite::ALL.map(Some);
    let names = [None].iter().chain(&suites).map(|suite| name(of, *suite));
    names
        .filter(|name| rows.iter().any(|(row, _)| row == name))
        .collect()
}

const MISSING: &str = "a secret of the server is missing";

/// The row of a key: the purpose, the suite where it has one for each, and the number from the second key on.
fn name((purpose, number): (Purpose, u64), suite: Option<Suite>) -> String {
    let mut name = purpose.as_str().to_owned();
    if let Some(suite) = suite {
        name.push_str(&format!("-{}", suite.number()));
    }
    if number > 0 {
        name.push_str(&format!("/{number}"));
    }
    name
}

/// The place of a secret.
pub(crate) fn cell(name: &str) -> Cell<'_> {
    Cell {
        table: "secrets",
        row: name.as_bytes(),
        column: "sealed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_of_a_purpose_has_its_plain_name() {
        let of = |purpose, number, suite| name((purpose, number), suite);
        assert_eq!(of(Purpose::LicenseServer, 0, None), "license-server");
        assert_eq!(of(Purpose::LicenseServer, 12, None), "license-server/12");
        assert_eq!(
            of(Purpose::RequestEncryption, 0, Some(Suite::XWing)),
            "request-encryption-2"
        );
        assert_eq!(
            of(Purpose::RequestEncryption, 1, Some(Suite::P256)),
            "request-encryption-1/1"
        );
    }
}
