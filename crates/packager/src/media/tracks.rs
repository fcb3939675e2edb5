//! Which track is protected with which key, and its IVs.

use core::fmt;
use std::sync::Arc;

use keyward_content::{
    cenc::{Iv, Pattern, SampleCipher, Scheme},
    codec::SampleMapper,
    isobmff::{EntryProtection, FourCc, Handler, Movie, SampleEntry, Track, TrackEncryption},
};
use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use rand_core::CryptoRng;

use crate::{KeySource, MediaError};

/// What a track holds that can be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl TrackKind {
    /// The kind of a track; nothing for one that stays clear.
    #[must_use]
    pub const fn of(handler: Handler) -> Option<Self> {
        match handler {
            Handler::Video => Some(Self::Video),
            Handler::Audio => Some(Self::Audio),
            Handler::Other(_) => None,
        }
    }
}

impl fmt::Display for TrackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video => "video",
            Self::Audio => "audio",
        })
    }
}

/// The key of some tracks.
#[derive(Debug)]
pub struct TrackKey {
    /// Which tracks. Of several that match, the first in the list counts.
    pub tracks: TrackSelector,
    /// The key id.
    pub kid: Kid,
    /// Where the content key comes from.
    pub key: KeySource,
}

/// Some tracks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackSelector {
    /// Every track.
    All,
    /// Those of a kind.
    Kind(TrackKind),
    /// The one with this track id.
    Id(u32),
}

impl TrackSelector {
    fn matches(self, id: u32, kind: TrackKind) -> bool {
        match self {
            Self::All => true,
            Self::Kind(selected) => selected == kind,
            Self::Id(selected) => selected == id,
        }
    }
}

/// A track of the movie, and its protection unless it stays clear.
#[derive(Debug)]
pub(super) struct TrackPlan<'m> {
    pub(super) track: &'m Track<'m>,
    pub(super) protection: Option<Protection>,
}

/// How a track is protected, whatever its key.
#[derive(Debug)]
pub(super) struct Protection {
    pub(super) kind: TrackKind,
    /// The format of its first sample entry.
    pub(super) format: FourCc,
    pub(super) scheme: Scheme,
    pattern: Pattern,
    /// Of the first sample, or of all.
    pub(super) first_iv: Iv,
}

impl Protection {
    /// What is to be said of samples under the key `kid`.
    pub(super) fn encryption(&self, kid: Kid) -> TrackEncryption {
        let constant_iv = (self.scheme == Scheme::Cbcs).then_some(self.first_iv);
        TrackEncryption {
            protected: true,
            pattern: self.pattern,
            iv_size: match (self.scheme, constant_iv) {
                (_, Some(_)) => 0,
                (Scheme::Cbc1, None) => 16,
                (_, None) => 8,
            },
            kid,
            constant_iv,
        }
    }

    /// What a sample entry is to say of samples under the key `kid`.
    pub(super) fn of_entry(&self, entry: &SampleEntry<'_>, kid: Kid) -> EntryProtection {
        EntryProtection {
            original_format: entry.format,
            scheme_type: FourCc(self.scheme.fourcc()),
            scheme_version: SCHEME_VERSION,
            scheme: Some(self.scheme),
            default: Some(self.encryption(kid)),
        }
    }

    fn cipher(&self, track: u32, keys: &[TrackKey]) -> Result<TrackCipher, MediaError> {
        let chosen = keys
            .iter()
            .find(|key| key.tracks.matches(track, self.kind))
            .ok_or(MediaError::NoKey {
                track,
                kind: self.kind,
            })?;
        let key = chosen.key.content_key(chosen.kid);
        Ok(TrackCipher {
            kid: chosen.kid,
            cipher: SampleCipher::new(&key, self.scheme, self.pattern)?,
            key,
        })
    }
}

/// The key of a track, for some time or for all of it.
#[derive(Debug)]
pub(super) struct TrackCipher {
    pub(super) kid: Kid,
    pub(super) key: ContentKey,
    pub(super) cipher: SampleCipher,
}

/// ISO/IEC 23001-7, 4.1.
const SCHEME_VERSION: u32 = 0x1_0000;

/// Gives every video and audio track its IVs. The other tracks stay clear.
///
/// IVs are disjoint between all tracks, whether they share a key or not.
pub(super) fn plan<'m>(
    movie: &'m Movie<'m>,
    (scheme, pattern): (Scheme, Pattern),
    rng: &mut impl CryptoRng,
) -> Result<Vec<TrackPlan<'m>>, MediaError> {
    let mut seed = [0; 16];
    rng.fill_bytes(&mut seed);
    let mut plans: Vec<TrackPlan<'_>> = Vec::new();
    for (number, track) in (0..).zip(&movie.tracks) {
        let protection = match TrackKind::of(track.handler) {
            Some(kind) => Some(protect(
                track,
                kind,
                (scheme, pattern),
                iv(scheme, seed, number)?,
            )?),
            None => None,
        };
        plans.push(TrackPlan { track, protection });
    }
    Ok(plans)
}

fn protect(
    track: &Track<'_>,
    kind: TrackKind,
    (scheme, pattern): (Scheme, Pattern),
    first_iv: Iv,
) -> Result<Protection, MediaError> {
    // Samples without subsamples have no pattern (ISO/IEC 23001-7, 9.7).
    let whole = mappers(track, kind)?
        .iter()
        .all(SampleMapper::protects_whole_samples);
    Ok(Protection {
        kind,
        format: track.entries.first().map_or(FourCc([0; 4]), |entry| entry.format),
        scheme,
        pattern: match kind {
            TrackKind::Video if scheme.has_pattern() && !whole => pattern,
            _ => Pattern::NONE,
        },
        first_iv,
    })
}

/// The cipher of each track; nothing for one that stays clear.
///
/// # Errors
/// [`MediaError::NoKey`], [`MediaError::KeyConflict`].
pub(super) fn ciphers(
    plans: &[TrackPlan<'_>],
    keys: &[TrackKey],
) -> Result<Vec<Option<Arc<TrackCipher>>>, MediaError> {
    let cipher = |plan: &TrackPlan<'_>| {
        let protection = plan.protection.as_ref();
        let cipher = protection.map(|protection| protection.cipher(plan.track.id, keys));
        Ok(cipher.transpose()?.map(Arc::new))
    };
    let ciphers = plans.iter().map(cipher).collect::<Result<Vec<_>, MediaError>>()?;
    check_keys(ciphers.iter().flatten())?;
    Ok(ciphers)
}

/// Where the IVs of the `number`-th track begin, from a seed that is random for each packaging. Each track
/// has room for 2^48 samples of 8-byte IVs; of a 16-byte IV, 2^64 blocks.
fn iv(scheme: Scheme, seed: [u8; 16], number: u16) -> Result<Iv, MediaError> {
    let seed = u128::from_be_bytes(seed);
    let number = u128::from(number);
    Ok(match scheme {
        Scheme::Cenc | Scheme::Cens => {
            let first = (seed >> 64).wrapping_add(number << 48) & u128::from(u64::MAX);
            Iv::from_u64(u64::try_from(first).unwrap_or_default())
        }
        Scheme::Cbc1 | Scheme::Cbcs => Iv::new(&seed.wrapping_add(number << 64).to_be_bytes())?,
    })
}

/// One key id names one key.
fn check_keys<'c>(used: impl Iterator<Item = &'c Arc<TrackCipher>>) -> Result<(), MediaError> {
    let used: Vec<_> = used.collect();
    for (at, later) in used.iter().enumerate() {
        let mut before = used.iter().take(at);
        if before.any(|earlier| earlier.kid == later.kid && earlier.key != later.key) {
            return Err(MediaError::KeyConflict(later.kid));
        }
    }
    Ok(())
}

/// The mappers of a track, one for each sample entry.
///
/// # Errors
/// [`MediaError`] for a codec that cannot be protected sample by sample.
pub(super) fn mappers(track: &Track<'_>, kind: TrackKind) -> Result<Vec<SampleMapper>, MediaError> {
    track
        .entries
        .iter()
        .map(|entry| mapper(track.id, entry, kind))
        .collect()
}

/// Formats of compressed audio whose samples are long enough to be protected as a whole. Samples of PCM are
/// shorter than a block, and so block ciphers would leave them clear.
const AUDIO: [&[u8; 4]; 19] = [
    b"mp4a", b".mp3", b"ac-3", b"ec-3", b"ac-4", b"mlpa", b"Opus", b"fLaC", b"alac", b"mha1", b"mha2",
    b"mhm1", b"mhm2", b"dtsc", b"dtsh", b"dtsl", b"dtse", b"samr", b"sawb",
];

fn mapper(track: u32, entry: &SampleEntry<'_>, kind: TrackKind) -> Result<SampleMapper, MediaError> {
    let unsupported = MediaError::Format {
        track,
        format: entry.format,
    };
    match kind {
        TrackKind::Audio if AUDIO.contains(&&entry.format.0) => Ok(SampleMapper::audio()),
        TrackKind::Audio => Err(unsupported),
        TrackKind::Video => {
            use keyward_content::codec::CodecError;
            let configuration = entry.configuration()?.map_or(&[][..], |(_, record)| record);
            SampleMapper::video(entry.format.0, configuration).map_err(|source| match source {
                CodecError::Format(_) => unsupported,
                source => MediaError::Configuration { track, source },
            })
        }
    }
}
