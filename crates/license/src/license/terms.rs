//! The terms of a license that are more than a number, and whether they fit together.

use super::{ExplicitRestriction, Guid, LicenseBody, LicenseKind};
use crate::{
    cbor_map,
    codec::{Bytes, DecodeError, Reader, Wire, Writer},
    time::Timestamp,
};

/// Most explicit restrictions in one license.
pub const MAX_EXPLICIT_RESTRICTIONS: usize = 16;
/// Most play enablers in one license.
pub const MAX_PLAY_ENABLERS: usize = 32;
/// Most extended restrictions in one license, and in one extended right.
pub const MAX_EXTENDED_RESTRICTIONS: usize = 32;
/// Most extended rights in one license.
pub const MAX_EXTENDED_RIGHTS: usize = 16;
/// Longest data of an extended restriction, in bytes.
pub const MAX_EXTENDED_DATA: usize = 1024;

/// A term that is there or not: on the wire always `true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag;

impl Wire for Flag {
    fn write(&self, writer: &mut Writer) {
        writer.bool(true);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.bool()? {
            true => Ok(Self),
            false => Err(DecodeError::Invalid("a flag that is not set is left out")),
        }
    }
}

/// Size of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Resolution {
    /// Pixels in the picture.
    #[must_use]
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// whether a frame of this size fits into `largest`, upright or on its side.
    #[must_use]
    pub fn fits(self, largest: Self) -> bool {
        self.longer() <= largest.longer() && self.shorter() <= largest.shorter()
    }

    /// the largest frame that fits into both, lying.
    #[must_use]
    pub fn smaller(self, other: Self) -> Self {
        Self {
            width: self.longer().min(other.longer()),
            height: self.shorter().min(other.shorter()),
        }
    }

    fn longer(self) -> u32 {
        self.width.max(self.height)
    }

    fn shorter(self) -> u32 {
        self.width.min(self.height)
    }
}

cbor_map! {
    /// The least protection that outputs must have, on five scales. An absent level demands nothing.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct OutputProtectionLevels = "output protection levels" {
        /// Compressed digital audio: 100, 150, 200, 250, 300.
        [1?] compressed_digital_audio: u64,
        /// Uncompressed digital audio: 100, 150, 200, 250, 300.
        [2?] uncompressed_digital_audio: u64,
        /// Compressed digital video: 400, 500.
        [3?] compressed_digital_video: u64,
        /// Uncompressed digital video: 100, 250, 270, 300.
        [4?] uncompressed_digital_video: u64,
        /// Analog video: 100, 150, 200.
        [5?] analog_video: u64,
    }
}

impl OutputProtectionLevels {
    /// The published levels of both audio scales.
    pub const AUDIO: [u64; 5] = [100, 150, 200, 250, 300];
    /// The published levels of compressed digital video.
    pub const COMPRESSED_DIGITAL_VIDEO: [u64; 2] = [400, 500];
    /// The published levels of uncompressed digital video.
    pub const UNCOMPRESSED_DIGITAL_VIDEO: [u64; 4] = [100, 250, 270, 300];
    /// The published levels of analog video.
    pub const ANALOG_VIDEO: [u64; 3] = [100, 150, 200];

    /// V-030: whether there is a level, and each is a published one of its scale.
    fn are_published(&self) -> bool {
        let scales: [(Option<u64>, &[u64]); 5] = [
            (self.compressed_digital_audio, &Self::AUDIO),
            (self.uncompressed_digital_audio, &Self::AUDIO),
            (self.compressed_digital_video, &Self::COMPRESSED_DIGITAL_VIDEO),
            (self.uncompressed_digital_video, &Self::UNCOMPRESSED_DIGITAL_VIDEO),
            (self.analog_video, &Self::ANALOG_VIDEO),
        ];
        scales.iter().any(|(level, _)| level.is_some())
            && scales
                .iter()
                .all(|(level, published)| level.is_none_or(|level| published.contains(&level)))
    }
}

/// Permits one kind of output by name; without it that output is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlayEnabler(pub Guid);

impl PlayEnabler {
    /// outputs of which the client does not know what they are.
    pub const UNKNOWN_OUTPUT: Self = Self(Guid::of(0x7866_27d8_c2a6_44be_8f88_08ae_255b_01a7));
    /// the same, with a reduced picture.
    pub const UNKNOWN_OUTPUT_REDUCED: Self = Self(Guid::of(0xb621_d91f_edcc_4035_8d4b_dc71_760d_43e9));
    /// R-024: export by AirPlay.
    pub const AIRPLAY: Self = Self(Guid::of(0x5abf_0f0d_dc29_4b82_9982_fd8e_5752_5bfc));
}

impl Wire for PlayEnabler {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Guid::read(reader).map(Self)
    }
}

cbor_map! {
    /// A demand of the application, named by a number that is the application's own.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ExtendedRestriction = "extended restriction" {
        /// What is demanded.
        [1] kind: u64,
        /// whether a host that does not know the kind may not use the license.
        [2] must_understand: bool,
        /// whether a host that knows the kind need only try.
        [3] best_effort: bool,
        /// The application's own; at most [`MAX_EXTENDED_DATA`] bytes.
        [4] data: Bytes,
    }
}

cbor_map! {
    /// A right of the application, named by a number that is the application's own.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ExtendedRight = "extended right" {
        /// What is permitted.
        [1] kind: u64,
        /// Demands on this right alone.
        [2?] restrictions: Vec<ExtendedRestriction>,
    }
}

/// V-030, V-031: checks that the terms are known and bounded, and fit together.
pub(super) fn check(body: &LicenseBody) -> Result<(), DecodeError> {
    let checks = [
        (has_durations(body), NO_DURATION),
        (
            body.output_protection_levels
                .is_none_or(|levels| levels.are_published()),
            UNPUBLISHED_LEVEL,
        ),
        (lists_are_bounded(body), NO_SET),
        (extended_data_is_bounded(body), LONG_DATA),
        (
            body.grace_period.is_none() || body.end.is_some(),
            "a grace period needs an end",
        ),
        (
            body.real_time_expiration.is_none() || body.expires(),
            "a real-time expiration needs an end or an expiration after first play",
        ),
        (
            body.removal_date
                .is_none_or(|removal| body.usable_until().is_some_and(|end| end <= removal)),
            "a removal date needs an end and does not come before it",
        ),
        (
            !has_hdcp_type(body) || digital_video_level(body) >= LEAST_LEVEL_WITH_HDCP_TYPE,
            "an HDCP type needs a level of uncompressed digital video of at least 271",
        ),
        (
            body.kind != LicenseKind::KeyExchange || !is_about_playing(body),
            "a key exchange license holds a term about playing",
        ),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, fault)) => Err(DecodeError::Invalid(fault)),
        None => Ok(()),
    }
}

impl LicenseBody {
    /// Whether the license expires by time, at its end or after the first play.
    #[must_use]
    pub const fn expires(&self) -> bool {
        self.end.is_some() || self.expiration_after_first_play.is_some()
    }

    /// the end with the grace period.
    #[must_use]
    pub fn usable_until(&self) -> Option<Timestamp> {
        self.end
            .map(|end| end.plus(self.grace_period.unwrap_or_default()))
    }

    /// Whether the removal date has come, so that the client may remove the license from its store.
    #[must_use]
    pub fn may_be_removed(&self, now: Timestamp) -> bool {
        self.removal_date.is_some_and(|removal| removal <= now)
    }

    /// The explicit restrictions, none if the term is absent.
    #[must_use]
    pub fn explicit_restrictions(&self) -> &[ExplicitRestriction] {
        self.explicit_restrictions.as_deref().unwrap_or_default()
    }

    /// The play enablers, none if the term is absent.
    #[must_use]
    pub fn play_enablers(&self) -> &[PlayEnabler] {
        self.play_enablers.as_deref().unwrap_or_default()
    }

    /// The extended restrictions of every right, none if the term is absent.
    #[must_use]
    pub fn extended_restrictions(&self) -> &[ExtendedRestriction] {
        self.extended_restrictions.as_deref().unwrap_or_default()
    }

    /// The extended right of a kind.
    #[must_use]
    pub fn extended_right(&self, kind: u64) -> Option<&ExtendedRight> {
        self.extended_rights
            .iter()
            .flatten()
            .find(|right| right.kind == kind)
    }
}

impl ExtendedRight {
    /// Its restrictions, none if the entry is absent.
    #[must_use]
    pub fn restrictions(&self) -> &[ExtendedRestriction] {
        self.restrictions.as_deref().unwrap_or_default()
    }
}

fn has_durations(body: &LicenseBody) -> bool {
    let durations = [body.expiration_after_first_play, body.grace_period];
    durations.iter().all(|seconds| *seconds != Some(0))
}

fn lists_are_bounded(body: &LicenseBody) -> bool {
    let extended = |list: &Option<Vec<ExtendedRestriction>>| {
        is_set(list.as_deref(), MAX_EXTENDED_RESTRICTIONS, |one| one.kind)
    };
    is_set(
        body.explicit_restrictions.as_deref(),
        MAX_EXPLICIT_RESTRICTIONS,
        ExplicitRestriction::guid,
    ) && is_set(body.play_enablers.as_deref(), MAX_PLAY_ENABLERS, |one| *one)
        && extended(&body.extended_restrictions)
        && is_set(body.extended_rights.as_deref(), MAX_EXTENDED_RIGHTS, |one| {
            one.kind
        })
        && body
            .extended_rights
            .iter()
            .flatten()
            .all(|right| extended(&right.restrictions))
}

/// Whether a list that is there has something, not too much, and nothing twice.
fn is_set<T, K: PartialEq>(list: Option<&[T]>, most: usize, name: impl Fn(&T) -> K) -> bool {
    list.is_none_or(|list| (1..=most).contains(&list.len()) && nothing_twice(list, name))
}

/// Whether every part of a list has a name of its own.
pub(super) fn nothing_twice<T, K: PartialEq>(list: &[T], name: impl Fn(&T) -> K) -> bool {
    let names = |part: &[T], one: &T| part.iter().any(|other| name(other) == name(one));
    let is_new = |(at, one): (usize, &T)| !names(list.get(..at).unwrap_or_default(), one);
    list.iter().enumerate().all(is_new)
}

fn extended_data_is_bounded(body: &LicenseBody) -> bool {
    let of_rights = body.extended_rights.iter().flatten();
    of_rights
        .flat_map(ExtendedRight::restrictions)
        .chain(body.extended_restrictions())
        .all(|one| one.data.0.len() <= MAX_EXTENDED_DATA)
}

fn has_hdcp_type(body: &LicenseBody) -> bool {
    body.explicit_restrictions()
        .iter()
        .any(|one| matches!(one, ExplicitRestriction::HdcpType(_)))
}

fn digital_video_level(body: &LicenseBody) -> u64 {
    body.output_protection_levels
        .and_then(|levels| levels.uncompressed_digital_video)
        .unwrap_or_default()
}

const fn is_about_playing(body: &LicenseBody) -> bool {
    body.expiration_after_first_play.is_some()
        || body.real_time_expiration.is_some()
        || body.output_protection_levels.is_some()
        || body.explicit_restrictions.is_some()
        || body.play_enablers.is_some()
        || body.source_id.is_some()
}

const LEAST_LEVEL_WITH_HDCP_TYPE: u64 = 271;

const NO_DURATION: &str = "a duration of the license is of no seconds";
const UNPUBLISHED_LEVEL: &str = "an output protection level is not a published one";
const NO_SET: &str = "a list of the license is empty, too long, or holds something twice";
const LONG_DATA: &str = "an extended restriction holds too much data";

#[cfg(test)]
mod tests;
