//! The value of a version: sealed in its place, and known by its fingerprints for good.

use keyward_crypto::{
    Secret,
    exchange::{Algorithm, ExchangeKey, Operation},
};
use keyward_license::ids::Kid;

use crate::{
    Error,
    chance::rng,
    sealing::{Cell, KeyEncryptionKey},
    store::exchange::{ExchangeKeyRow, ExchangeVersionRow, NewExchangeValue},
    vault,
};

/// Seals a value for its version.
pub(super) fn seal(
    kek: &KeyEncryptionKey,
    fingerprints: &Secret<32>,
    (kid, version): (&Kid, u32),
    key: &ExchangeKey,
) -> Result<NewExchangeValue, Error> {
    let row = row(kid, version);
    Ok(NewExchangeValue {
        sealed: kek.seal(cell(&row), key.bytes().expose(), &mut rng())?,
        fingerprints: vault::fingerprints(fingerprints, key.bytes().expose())?,
    })
}

/// Opens a version of a key.
///
/// # Errors
/// [`Error::ExchangeKeyDestroyed`] if it was destroyed, [`Error::Damaged`].
pub(super) fn open(
    kek: &KeyEncryptionKey,
    key: &ExchangeKeyRow,
    version: &ExchangeVersionRow,
) -> Result<ExchangeKey, Error> {
    let damaged = || Error::Damaged("an exchange key does not open");
    let sealed = version
        .sealed
        .as_deref()
        .ok_or(Error::ExchangeKeyDestroyed(key.kid))?;
    let row = row(&key.kid, version.version);
    let opened = kek.open(cell(&row), sealed).map_err(|_| damaged())?;
    ExchangeKey::import(algorithm(key)?, &opened).map_err(|_| damaged())
}

/// Whether every version that was not destroyed opens in its place.
pub(crate) fn opens(kek: &KeyEncryptionKey, key: &ExchangeKeyRow) -> bool {
    let mut kept = key.versions.iter().filter(|version| version.sealed.is_some());
    kept.all(|version| open(kek, key, version).is_ok())
}

pub(super) fn algorithm(key: &ExchangeKeyRow) -> Result<Algorithm, Error> {
    Algorithm::from_number(key.algorithm).ok_or(Error::Damaged("an exchange key has no known algorithm"))
}

pub(super) fn operation(number: u64) -> Result<Operation, Error> {
    Operation::from_number(number).ok_or(Error::Damaged("an exchange key has no known operation"))
}

/// Key id and version, big-endian: no two versions have the same bytes.
pub(crate) fn row(kid: &Kid, version: u32) -> [u8; 20] {
    let mut row = [0; 20];
    let (left, right) = row.split_at_mut(Kid::LEN);
    left.copy_from_slice(kid.as_bytes());
    right.copy_from_slice(&version.to_be_bytes());
    row
}

pub(crate) fn cell(row: &[u8; 20]) -> Cell<'_> {
    Cell {
        table: "exchange_key_versions",
        row,
        column: "sealed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret<32> = Secret::new([7; 32]);

    #[test]
    fn a_value_is_known_whole_and_in_each_16_bytes() {
        let halves: Vec<u8> = [[1; 16], [2; 16]].concat();
        let of = |value: &[u8]| vault::fingerprints(&SECRET, value).unwrap();
        assert_eq!(of(&[1; 16]), [vault::fingerprint(&SECRET, &[1; 16]).unwrap()]);
        let both = of(&halves);
        assert_eq!(both.len(), 3);
        for half in [[1; 16], [2; 16]] {
            assert!(both.contains(&of(&half)[0]));
        }
        assert_eq!(of(&[1; 32]).len(), 2, "what is there twice is counted once");
        let (shorter, longer) = (of(&[1; 32]), of(&[1; 48]));
        let shared = longer.iter().filter(|print| shorter.contains(print));
        assert_eq!(shared.count(), 1, "the block, and not the whole");
        assert_ne!(
            of(&[3; 16]),
            vault::fingerprints(&Secret::new([8; 32]), &[3; 16]).unwrap()
        );
    }

    #[test]
    fn no_two_versions_have_one_place() {
        let (one, other) = (Kid::new([1; 16]), Kid::new([2; 16]));
        assert_ne!(row(&one, 1), row(&one, 256));
        assert_ne!(row(&one, 1), row(&other, 1));
        assert_eq!(row(&one, 0x0102_0304)[16..], [1, 2, 3, 4]);
    }
}
