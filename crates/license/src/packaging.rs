//! Packaging data: how a packager gets key ids and keys from a license server, without the seed.
//!
//! ```text
//!  packager ── content id, tracks {label, key type}, crypto periods ──►  license server
//!           ◄── tracks {label, KID, key type, period}, content header,
//!               roots, leaf licenses;
//!               the keys, sealed to the packager under the hash of the rest
//! ```
//! The same content id, label, key type and crypto period get the same key id and key, whoever asks.

mod leaves;

use keyward_crypto::{
    ContentKey, Secret, SecretBytes,
    ecdsa::Signer,
    hpke::{self, Suite},
    kdf::sha256,
};
use rand_core::CryptoRng;

use crate::{
    cbor_map,
    codec::{Bytes, DecodeError, Wire, nothing_twice},
    envelope::binding,
    exchange::exchange,
    ids::{Digest, Kid, Nonce},
    license::{Flag, KeyType, SealedKey},
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

/// Most tracks of one answer: those of the request, once a crypto period. As many crypto periods at most.
pub const MAX_PERIOD_TRACKS: usize = 256;
/// Indices of crypto periods are below this.
pub const END_OF_PERIODS: u64 = 1 << 48;
/// Most root licenses that an answer names.
pub const MAX_ROOTS: usize = 64;
/// Most leaf licenses that come with an answer.
pub const MAX_LEAVES: usize = 1024;

pub use leaves::PackagedLeaf;

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
        /// How many crypto periods the keys are for, 1 to [`MAX_PERIOD_TRACKS`]; absent: the keys do not change.
        [8?] crypto_periods: u64,
        /// The packager's program.
        [9] client: ClientInfo,
        /// Index of the first crypto period; there where crypto periods are asked for, and only there.
        [10?] first_period: u64,
        /// Leaf licenses are wanted: they ride in the content.
        [11?] leaves: Flag,
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
        if !nothing_twice(self.tracks.iter().map(|track| &track.label)) {
            return Err(DecodeError::Invalid("two tracks have one label"));
        }
        if !self.client.is_bounded() {
            return Err(DecodeError::Invalid("a client text is too long"));
        }
        self.check_periods()
    }

    fn check_periods(&self) -> Result<(), DecodeError> {
        let (count, first) = match (self.crypto_periods, self.first_period) {
            (None, None) => return Ok(()),
            (Some(count), Some(first)) => (count, first),
            _ => {
                return Err(DecodeError::Invalid(
                    "crypto periods have a number and a first index, or neither",
                ));
            }
        };
        let tracks = u64::try_from(self.tracks.len()).unwrap_or(u64::MAX);
        let total = count.checked_mul(tracks);
        if !total.is_some_and(|total| (1..=MAX_PERIOD_TRACKS as u64).contains(&total)) {
            return Err(DecodeError::Invalid(
                "crypto periods are 1 to 256, and so are their tracks together",
            ));
        }
        match first.checked_add(count).is_some_and(|end| end <= END_OF_PERIODS) {
            true => Ok(()),
            false => Err(DecodeError::Invalid(FAR_PERIOD)),
        }
    }

    /// The crypto periods that are asked for, of a request within its bounds; `None` where the keys do not
    /// change.
    #[must_use]
    pub fn periods(&self) -> Option<Periods> {
        let (first, count) = self.first_period.zip(self.crypto_periods)?;
        Some(Periods { first, count })
    }

    /// V-073: whether this version makes what is asked for.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn check_supported(&self) -> Result<(), Unsupported> {
        if self.content_header && self.crypto_periods.is_some() {
            return Err(Unsupported::PeriodsHeader);
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
    /// A content header for keys that change: the packager makes one for each fragment itself.
    #[error("a content header is not made for crypto periods")]
    PeriodsHeader,
    /// A content header whose keys would not all have the same ALGID.
    #[error("one content header names keys of one key type")]
    MixedHeader,
}

/// Crypto periods, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Periods {
    /// Index of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Periods {
    /// Their indices, ascending.
    #[must_use]
    pub const fn indices(self) -> core::ops::Range<u64> {
        self.first..self.first.saturating_add(self.count)
    }
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
        /// The tracks, in the request's order; those of all crypto periods, period by period.
        [4] tracks: Vec<PackagedTrack>,
        /// The content header (PlayReady Object), if it was asked for.
        [5?] content_header: Bytes,
        /// Where licenses for the content are requested.
        [6] license_url: String,
        /// The server's time.
        [7] server_time: Timestamp,
        /// Key ids of the root licenses under which the content is offered; 1 to [`MAX_ROOTS`].
        [8?] roots: Vec<Kid>,
    }
}

impl SignedBody for PackagingResponse {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.packaging-response+cose";
    const CONTEXT: &'static str = "keyward/1 packaging-response";
    const ATTACHMENTS: usize = 2;
}

exchange!(PackagingRequest => PackagingResponse, signed by LicenseServer);

impl PackagingResponse {
    /// V-075: whether the tracks are those that were asked for, of each crypto period that was asked for,
    /// each has a key id of its own, and so has each root.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_tracks(&self, asked: &[WantedTrack], periods: Option<Periods>) -> Result<(), DecodeError> {
        let periods: Vec<Option<u64>> = match periods {
            None => vec![None],
            Some(periods) => periods.indices().map(Some).collect(),
        };
        let wanted = periods.iter().flat_map(|period| {
            asked
                .iter()
                .map(move |track| (&track.label, track.key_type, *period))
        });
        let answered = self
            .tracks
            .iter()
            .map(|track| (&track.label, track.key_type, track.period));
        if !answered.eq(wanted) {
            return Err(DecodeError::Invalid(
                "the tracks are not those that were asked for",
            ));
        }
        let roots = self.roots.as_deref();
        if roots.is_some_and(|roots| !(1..=MAX_ROOTS).contains(&roots.len())) {
            return Err(DecodeError::Invalid("a response that names roots names 1 to 64"));
        }
        let of_tracks = self.tracks.iter().map(|track| track.kid);
        if !nothing_twice(of_tracks.chain(roots.into_iter().flatten().copied())) {
            return Err(DecodeError::Invalid("two tracks or roots have one key id"));
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
        /// Index of the crypto period that the key is for; there where crypto periods were asked for.
        [4?] period: u64,
    }
}

impl PackagedTrack {
    /// Checks the label's length, that the key type is one of content, and the crypto period.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check(&self) -> Result<(), DecodeError> {
        if self.period.is_some_and(|period| period >= END_OF_PERIODS) {
            return Err(DecodeError::Invalid(FAR_PERIOD));
        }
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

    /// Signs the response, with the leaf licenses that go along; it can be signed once, by move.
    ///
    /// # Errors
    /// [`MessageError::Making`].
    pub fn sign(
        self,
        leaves: Vec<Vec<u8>>,
        chain: &[Vec<u8>],
        signer: &dyn Signer,
    ) -> Result<Vec<u8>, MessageError> {
        let leaves: Vec<Bytes> = leaves.into_iter().map(Bytes).collect();
        let attachments = [&self.sealed[..], &leaves.encode()];
        signed::sign::<PackagingResponse>(&self.body, &attachments, chain, signer)
    }
}

/// HPKE `info` of the keys of a response with this encoded body.
#[must_use]
pub fn key_binding(suite: Suite, body: &[u8]) -> Vec<u8> {
    binding(KEYS_CONTEXT, suite, &Digest::new(sha256(&[body])))
}

const FAR_PERIOD: &str = "the index of a crypto period is below 2^48";

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

    fn packaged(label: &str, kid: u8, period: Option<u64>) -> PackagedTrack {
        PackagedTrack {
            label: label.into(),
            kid: Kid::new([kid; 16]),
            key_type: KeyType::CencCbc,
            period,
        }
    }

    fn fault(tracks: Vec<PackagedTrack>, roots: Option<Vec<Kid>>, periods: Option<Periods>) -> bool {
        let asked = ["video", "audio"].map(|label| WantedTrack {
            label: label.into(),
            key_type: KeyType::CencCbc,
        });
        let response = PackagingResponse {
            version: 1,
            request: Digest::new([1; 32]),
            nonce: Nonce::new([2; 16]),
            tracks,
            content_header: None,
            license_url: "https://license.example".into(),
            server_time: Timestamp(1),
            roots,
        };
        response.check_tracks(&asked, periods).is_err()
    }

    #[test]
    fn v_075_the_tracks_come_period_by_period() {
        let of = |period, kid| [packaged("video", kid, period), packaged("audio", kid + 1, period)];
        let both = || [of(Some(7), 1), of(Some(8), 3)].concat();
        let asked = Some(Periods { first: 7, count: 2 });
        assert!(!fault(of(None, 1).to_vec(), None, None));
        assert!(!fault(both(), None, asked));
        for (tracks, periods) in [
            (of(None, 1).to_vec(), asked),
            (both(), None),
            (both(), Some(Periods { first: 7, count: 3 })),
            (both(), Some(Periods { first: 6, count: 2 })),
            ([of(Some(8), 1), of(Some(7), 3)].concat(), asked),
            ([of(Some(7), 1), of(Some(8), 1)].concat(), asked),
            (of(Some(7), 1).to_vec(), asked),
        ] {
            assert!(fault(tracks.clone(), None, periods), "{tracks:?} {periods:?}");
        }
    }

    #[test]
    fn v_075_roots_have_key_ids_of_their_own() {
        let tracks = || vec![packaged("video", 1, None), packaged("audio", 2, None)];
        let roots = |kids: &[u8]| Some(kids.iter().map(|kid| Kid::new([*kid; 16])).collect());
        for (kids, wrong) in [
            (&[3][..], false),
            (&[4, 3], false),
            (&[], true),
            (&[1], true),
            (&[3, 3], true),
        ] {
            assert_eq!(fault(tracks(), roots(kids), None), wrong, "{kids:?}");
        }
        let many: Vec<u8> = (3..=67).collect();
        assert!(fault(tracks(), roots(&many), None));
        assert!(!fault(tracks(), roots(&many[1..]), None));
    }

    #[test]
    fn periods_are_the_indices_from_the_first_on() {
        let periods = Periods { first: 5, count: 3 };
        assert_eq!(periods.indices().collect::<Vec<_>>(), [5, 6, 7]);
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
