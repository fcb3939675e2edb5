//! Secrets at rest: sealed under the operator's key-encryption key, each bound to its place.

use core::fmt;
use std::path::Path;

use keyward_crypto::{CryptoError, Secret, SecretBytes, aead, kdf::equal_constant_time};
use keyward_license::codec::Writer;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::Error;

/// The key under which all of an operator's secrets are sealed.
pub struct KeyEncryptionKey {
    key: Secret<32>,
    /// The one before it, while somebody may still hold what it sealed.
    previous: Option<Secret<32>>,
}

/// Where the key-encryption key comes from.
#[derive(Debug)]
pub enum KekSource {
    /// The file `kek` in the operator directory. [`init`](crate::operator::init) makes it.
    File,
    /// The caller has it, from the environment or a secrets service; there is no file.
    Given(KeyEncryptionKey),
}

/// The place of a sealed value: table, row, column. It is authenticated, so that a value that was moved
/// to another place does not open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a [u8],
    pub(crate) column: &'static str,
}

impl KeyEncryptionKey {
    /// Takes the key.
    #[must_use]
    pub const fn new(key: Secret<32>) -> Self {
        Self { key, previous: None }
    }

    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::new(Secret::random(rng))
    }

    /// Reads 64 hexadecimal digits; space around them is ignored.
    ///
    /// # Errors
    /// [`Error::KekMalformed`].
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), &mut bytes[..]).map_err(|_| Error::KekMalformed)?;
        Ok(Self::new(Secret::new(*bytes)))
    }

    /// The key in 64 hexadecimal digits, for its file.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.key.expose()))
    }

    pub(crate) fn seal(
        &self,
        cell: Cell<'_>,
        secret: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, CryptoError> {
        aead::seal(&self.key, &cell.associated_data(), secret, rng)
    }

    pub(crate) fn open(&self, cell: Cell<'_>, sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        let place = cell.associated_data();
        match (aead::open(&self.key, &place, sealed), &self.previous) {
            (Err(_), Some(previous)) => aead::open(previous, &place, sealed),
            (opened, _) => opened,
        }
    }

    /// This key, which opens as well what `previous` sealed.
    pub(crate) const fn after(&self, previous: &Self) -> Self {
        Self {
            key: self.key.duplicate(),
            previous: Some(previous.key.duplicate()),
        }
    }

    /// This key alone.
    pub(crate) const fn alone(&self) -> Self {
        Self::new(self.key.duplicate())
    }

    /// Whether it is the same key.
    pub(crate) fn is(&self, other: &Self) -> bool {
        equal_constant_time(self.key.expose(), other.key.expose())
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(redacted)")
    }
}

impl KekSource {
    /// Fetches the key for the operator in `dir`. A key file that others can read is refused: the
    /// secrets it protects are then theirs as well.
    ///
    /// # Errors
    /// [`Error::KekExposed`], [`Error::KekMalformed`], [`Error::File`].
    pub fn load(self, dir: &Path) -> Result<KeyEncryptionKey, Error> {
        match self {
            Self::Given(key) => Ok(key),
            Self::File => read(&dir.join(KEK_FILE)),
        }
    }
}

/// Reads the file of a key-encryption key.
///
/// # Errors
/// [`Error::File`], [`Error::KekExposed`], [`Error::KekMalformed`].
pub(crate) fn read(path: &Path) -> Result<KeyEncryptionKey, Error> {
    if is_exposed(path)? {
        return Err(Error::KekExposed(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    KeyEncryptionKey::from_hex(&Zeroizing::new(text))
}

impl Cell<'_> {
    /// `[context, table, row, column]` in CBOR: no two places have the same bytes.
    fn associated_data(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(4);
        writer.text("keyward/1 server-secret");
        writer.text(self.table);
        writer.bytes(self.row);
        writer.text(self.column);
        writer.into_bytes()
    }
}

/// Name of the key-encryption key's file.
pub(crate) const KEK_FILE: &str = "kek";

/// Whether others than its owner may read a file.
///
/// # Errors
/// [`Error::File`].
#[cfg(unix)]
pub(crate) fn is_exposed(path: &Path) -> Result<bool, Error> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)
        .map_err(Error::file("read", path))?
        .permissions()
        .mode();
    Ok(mode & 0o077 != 0)
}

/// Whether others than its owner may read a file: not known here.
#[cfg(not(unix))]
pub(crate) fn is_exposed(_: &Path) -> Result<bool, Error> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn a_value_opens_in_its_place_only() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let kek = KeyEncryptionKey::generate(&mut rng);
        let cell = Cell {
            table: "keys",
            row: b"1",
            column: "sealed",
        };
        let sealed = kek.seal(cell, b"secret", &mut rng).unwrap();
        assert_eq!(kek.open(cell, &sealed).unwrap().expose(), b"secret");
        for moved in [
            Cell {
                table: "seeds",
                ..cell
            },
            Cell { row: b"2", ..cell },
            Cell {
                column: "other",
                ..cell
            },
        ] {
            assert!(kek.open(moved, &sealed).is_err());
        }
        let next = KeyEncryptionKey::generate(&mut rng);
        assert!(next.open(cell, &sealed).is_err());
        let following = next.after(&kek);
        assert_eq!(following.open(cell, &sealed).unwrap().expose(), b"secret");
        let sealed_anew = following.seal(cell, b"secret", &mut rng).unwrap();
        assert!(kek.open(cell, &sealed_anew).is_err() && next.open(cell, &sealed_anew).is_ok());
        assert!(following.alone().open(cell, &sealed).is_err());
        assert!(following.is(&next) && !following.is(&kek));
    }

    #[test]
    fn hex_is_read_exactly_and_never_printed() {
        let kek = KeyEncryptionKey::from_hex(&format!(" {}\n", "5f".repeat(32))).unwrap();
        assert_eq!(*kek.to_hex(), "5f".repeat(32));
        assert_eq!(format!("{kek:?}"), "KeyEncryptionKey(redacted)");
        for text in ["", "5f", &"5f".repeat(33), &"5g".repeat(32)] {
            assert!(
                matches!(KeyEncryptionKey::from_hex(text), Err(Error::KekMalformed)),
                "{text}"
            );
        }
    }
}
