//! Packaging data: how a packager gets key ids and keys from a license server, without the seed.
//!
//! ```text
//!  packager ── content id, tracks {label, key type} ──────────►  license server
//!           ◄── tracks {label, KID, key type}, content header ──
//!               the keys, sealed to the packager under the hash of the rest
//! ```
//! The same content id, label and key type get the same key id and key, whoever asks.

use keyward_crypto::{
    ContentKey, Secret, SecretBytes,
    ecdsa::Signer,
    hpke::{self, Suite},
    kdf::sha256,
};
use rand_core::CryptoRng;

use crate::{
    cbor_map,
    codec::{Bytes, DecodeError, Wire},
    envelope::binding,
    exchange::Response,
    ids::{Digest, Kid, Nonce},
    license::{KeyType, SealedKey},
    request::ClientInfo,
    signed::{self, MessageError, SignedBody},
    time::Timestamp,
};

/// Longest content id, in bytes.
pub const MAX_CONTENT_ID: usize = 255;
/// Longest label of a track, in bytes.
pub const MAX_LABEL: usize = 64;
/// Most tracks of one request.
pub const MAX_TRACKS: usize = 64;

/// Context of the sealed keys: first member of their HPKE `info`.
pub const KEYS_CONTEXT: &str = "keyward/1 packaging-keys";

cbor_map! {
    /// Body of a packaging request.
    pub struct PackagingRequest = "packaging request" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request-encryption certificate it is sealed to.
        [2] recipient: Digest,
        /// Drawn for this request.
        [3] nonce: Nonce,
        /// Key material that only this request's answer is sealed under.
        [4] response_key: Secret<32>,
        /// The packager's name for the piece of content; 1 to 255 bytes, compared byte for byte.
        [5] content_id: String,
        /// What needs a key of its own; each label once.
        [6] tracks: Vec<WantedTrack>,
        /// Whether the answer should hold a content header.
        [7] content_header: bool,
        /// How many crypto periods the keys are for. More than one is not made in this version.
        [8?] crypto_periods: u64,
        /// The packager's program.
        [9] client: ClientInfo,
    }
}

impl SignedBody for PackagingRequest {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.packaging-request+cose";
    const CONTEXT: &'static str = "keyward/1 packaging-request";
}

impl core::fmt::Debug for PackagingRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PackagingRequest")
            .field("nonce", &self.nonce)
            .field("content_id", &self.content_id)
            .field("tracks", &self.tracks)
            .finish_non_exhaustive()
    }
}

impl PackagingRequest {
    /// Checks counts, lengths and key types that the decoder does not.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_bounds(&self) -> Result<(), DecodeError> {
        let content_id = 1..=MAX_CONTENT_ID;
        if !content_id.contains(&self.content_id.len()) {
            return Err(DecodeError::Invalid("a content id has 1 to 255 bytes"));
        }
        if !(1..=MAX_TRACKS).contains(&self.tracks.len()) {
            return Err(DecodeError::Invalid("a packaging request names 1 to 64 tracks"));
        }
        self.tracks.iter().try_for_each(WantedTrack::check)?;
        let mut labels: Vec<&str> = self.tracks.iter().map(|track| &track.label[..]).collect();
        labels.sort_unstable();
        if labels.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(DecodeError::Invalid("two tracks have one label"));
        }
        if !self.client.is_bounded() {
            return Err(DecodeError::Invalid("a client text is too long"));
        }
        Ok(())
    }

    /// V-073: whether this version makes what is asked for.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn check_supported(&self) -> Result<(), Unsupported> {
        if self.crypto_periods.is_some_and(|periods| periods > 1) {
            return Err(Unsupported::CryptoPeriods);
        }
        let mut types = self.tracks.iter().map(|track| track.key_type);
        let first = types.next();
        if self.content_header && types.any(|other| Some(other) != first) {
            return Err(Unsupported::MixedHeader);
        }
        Ok(())
    }
}

/// V-073: what a packaging request asks for and this version does not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// Keys of more than one crypto period.
    #[error("keys of more than one crypto period are not made")]
    CryptoPeriods,
    /// A content header whose keys would not all have the same ALGID.
    #[error("one content header names keys of one key type")]
    MixedHeader,
}

cbor_map! {
    /// A track that needs a key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct WantedTrack = "wanted track" {
        /// Names the track within the content: 1 to 64 bytes.
        [1] label: String,
        /// What its key serves, and nothing else.
        [2] key_type: KeyType,
    }
}

impl WantedTrack {
    /// Checks the label's length and that the key type is one of content.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check(&self) -> Result<(), DecodeError> {
        check_track(&self.label, self.key_type)
    }
}

cbor_map! {
    /// Body of a packaging response: everything but the keys.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PackagingResponse = "packaging response" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request's body bytes.
        [2] request: Digest,
        /// The request's nonce.
        [3] nonce: Nonce,
        /// The tracks, in the request's order.
        [4] tracks: Vec<PackagedTrack>,
        /// The content header (PlayReady Object), if it was asked for.
        [5?] content_header: Bytes,
        /// Where licenses for the content are requested.
        [6] license_url: String,
        /// The server's time.
        [7] server_time: Timestamp,
    }
}

impl SignedBody for PackagingResponse {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.packaging-response+cose";
    const CONTEXT: &'static str = "keyward/1 packaging-response";
    const ATTACHMENTS: usize = 1;
}

impl Response for PackagingResponse {
    fn request(&self) -> &Digest {
        &self.request
    }

    fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    fn server_time(&self) -> Timestamp {
        self.server_time
    }
}

impl PackagingResponse {
    /// V-075: whether the tracks are those that were asked for, and each has a key id of its own.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_tracks(&self, asked: &[WantedTrack]) -> Result<(), DecodeError> {
        let answered = self.tracks.iter().map(|track| (&track.label, track.key_type));
        if !answered.eq(asked.iter().map(|track| (&track.label, track.key_type))) {
            return Err(DecodeError::Invalid(
                "the tracks are not those that were asked for",
            ));
        }
        let mut kids: Vec<Kid> = self.tracks.iter().map(|track| track.kid).collect();
        kids.sort_unstable();
        if kids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(DecodeError::Invalid("two tracks have one key id"));
        }
        Ok(())
    }
}

cbor_map! {
    /// A track that has a key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PackagedTrack = "packaged track" {
        /// Names the track within the content.
        [1] label: String,
        /// Key id.
        [2] kid: Kid,
        /// What its key serves, and nothing else.
        [3] key_type: KeyType,
    }
}

impl PackagedTrack {
    /// Checks the label's length and that the key type is one of content.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check(&self) -> Result<(), DecodeError> {
        check_track(&self.label, self.key_type)
    }
}

cbor_map! {
    /// The secrets of a packaging response.
    pub struct PackagingKeys = "packaging keys" {
        /// The content keys, in the order of the response's tracks.
        [1] keys: Vec<ContentKey>,
    }
}

impl core::fmt::Debug for PackagingKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PackagingKeys({} keys, redacted)", self.keys.len())
    }
}

impl PackagingKeys {
    /// V-076: whether there is one key for each of `tracks` tracks, and none serves two.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check(&self, tracks: usize) -> Result<(), DecodeError> {
        if self.keys.len() != tracks {
            return Err(DecodeError::Invalid("there is not one key for each track"));
        }
        let mut others = self.keys.iter();
        while let Some(key) = others.next() {
            if others.as_slice().contains(key) {
                return Err(DecodeError::Invalid("one key serves two tracks"));
            }
        }
        Ok(())
    }
}

/// A packaging response that is complete but for its signature: it must be recorded first.
#[derive(Debug, PartialEq, Eq)]
pub struct PreparedPackaging {
    /// The encoded body.
    pub body: Vec<u8>,
    /// The encoded sealed part.
    pub sealed: Vec<u8>,
}

impl PreparedPackaging {
    /// Seals `keys` to the packager's public key of `suite`, bound to the encoded `body`.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn new(
        body: Vec<u8>,
        keys: &PackagingKeys,
        (suite, public_key): (Suite, &[u8]),
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MessageError> {
        let clear = SecretBytes::new(keys.encode());
        let sealed = hpke::seal(suite, public_key, &key_binding(suite, &body), clear.expose(), rng)?;
        let sealed = SealedKey {
            suite: suite.number(),
            encapsulated: Bytes(sealed.encapsulated),
            ciphertext: Bytes(sealed.ciphertext),
        };
        Ok(Self {
            body,
            sealed: sealed.encode(),
        })
    }

    /// Signs the response; it can be signed once, by move.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn sign(self, chain: &[Vec<u8>], signer: &dyn Signer) -> Result<Vec<u8>, MessageError> {
        signed::sign::<PackagingResponse>(&self.body, &[&self.sealed], chain, signer)
    }
}

/// HPKE `info` of the keys of a response with this encoded body.
#[must_use]
pub fn key_binding(suite: Suite, body: &[u8]) -> Vec<u8> {
    binding(KEYS_CONTEXT, suite, &Digest::new(sha256(&[body])))
}

fn check_track(label: &str, key_type: KeyType) -> Result<(), DecodeError> {
    if !(1..=MAX_LABEL).contains(&label.len()) {
        return Err(DecodeError::Invalid("a label has 1 to 64 bytes"));
    }
    match key_type {
        KeyType::CencCtr | KeyType::CencCbc | KeyType::File => Ok(()),
        _ => Err(DecodeError::Invalid("a track's key is for media or a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_show_in_debug() {
        let keys = PackagingKeys {
            keys: vec![ContentKey::new([0x5a; 16])],
        };
        insta::assert_snapshot!(format!("{keys:?}"), @"PackagingKeys(1 keys, redacted)");
    }

    /// V-076
    #[test]
    fn v_076_one_key_for_each_track_and_none_for_two() {
        let keys = |bytes: &[u8]| PackagingKeys {
            keys: bytes.iter().map(|byte| ContentKey::new([*byte; 16])).collect(),
        };
        assert_eq!(keys(&[1, 2, 3]).check(3), Ok(()));
        for (bytes, tracks) in [(&[1, 2][..], 3), (&[1, 2, 3], 2), (&[1, 2, 1], 3)] {
            assert!(keys(bytes).check(tracks).is_err(), "{bytes:?}");
        }
    }
}
