//! Policies: named, versioned terms from which the body of a license is made.
//!
//! ```text
//!  preset or terms ── JSON ──► PolicyTerms ── check ──► policy `name`, version n, never changed
//!                                                          │ at each request
//!                                                          ▼
//!                    license body = terms + time of issue + entitlement's end + key's own level
//! ```
//! Terms are checked when they are written by making a license of them and judging it as the one who
//! verifies it will (V-030, V-031), and by what makes sense of a policy besides.

mod document;
mod presets;

use keyward_license::{
    certificate::{SECURITY_LEVEL_HARDWARE, SECURITY_LEVEL_SOFTWARE, SECURITY_LEVEL_TEST},
    codec::DecodeError,
    ids::{DeviceId, Kid, LicenseId},
    license::{
        Binding, ExplicitRestriction, ExtendedRestriction, ExtendedRight, Flag, KeyDescription, KeyType,
        LicenseBody, LicenseKind, OutputProtectionLevels, PlayEnabler, Right,
    },
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

pub use document::Overrides;
pub(crate) use document::{explicit_restriction_name, term_name};
pub use presets::Preset;

/// The terms that a policy gives to licenses. In JSON by the names of the fields, with what is absent left out;
/// `docs/guides/policies.md` has them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "document::Document", into = "document::Document")]
pub struct PolicyTerms {
    /// A license begins this many seconds after it is issued (before, if negative). Without: at once,
    /// and no clock is needed to begin.
    pub begin_offset_seconds: Option<i64>,
    /// A license ends this many seconds after it is issued or begins, whichever is later. Without:
    /// never.
    pub duration_seconds: Option<u64>,
    /// No license is used from this time on, whenever it was issued, and with no grace period. With a duration,
    /// the earlier counts.
    pub end: Option<Timestamp>,
    /// A license is not used from this many seconds after its first play on (R-012).
    pub expiration_after_first_play_seconds: Option<u64>,
    /// What ends a license stops a playback as well (R-014).
    pub real_time_expiration: bool,
    /// For how many seconds after its end a license may still be used, while the client asks for a new one
    /// (R-013).
    pub grace_period_seconds: Option<u64>,
    /// The client may remove a stored license this many seconds after its end and grace period.
    pub removal_after_end_seconds: Option<u64>,
    /// Whether a client may store the license if it wants to; otherwise it lives in memory.
    pub persistent_allowed: bool,
    /// Smallest security level of a device: 150, 2000 or 3000.
    pub minimum_security_level: u64,
    /// Whether the license may be played. Without this right there are extended ones.
    pub play: bool,
    /// The least protection that outputs must have.
    pub output_protection_levels: Option<OutputProtectionLevels>,
    /// Demands on decoder and outputs.
    pub explicit_restrictions: Vec<ExplicitRestriction>,
    /// Outputs that are permitted by name.
    pub play_enablers: Vec<PlayEnabler>,
    /// Whether the client writes a license that it stores into the content as well (R-045). Root licenses and those
    /// for key exchange are not.
    pub embed: bool,
    /// Where the content comes from (R-006).
    pub source_id: Option<u64>,
    /// Demands of the application.
    pub extended_restrictions: Vec<ExtendedRestriction>,
    /// What the application may do besides.
    pub extended_rights: Vec<ExtendedRight>,
    /// What becomes of licenses that a device holds when it is revoked.
    pub on_revocation: OnRevocation,
    /// Whether clients that can are to acknowledge what became of the licenses of an answer.
    pub acknowledge: bool,
}

/// What becomes of licenses that a device holds when it learns that it was revoked. New ones it gets in no case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRevocation {
    /// They stay as they are.
    #[default]
    Keep,
    /// They are not used any more (R-015). Clients that do not announce that they enforce this get no license.
    Stop,
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: u64,
    /// The terms.
    pub terms: PolicyTerms,
}

/// Why terms do not make a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// The name is empty, too long, or of other letters.
    #[error("its name must be 1 to 64 of the letters a-z, digits, `-` and `_`")]
    Name,
    /// Not terms: an unknown name, or a value of the wrong kind.
    #[error("its terms cannot be read: {0}")]
    Document(String),
    /// No such preset.
    #[error("there is no preset `{0}`")]
    Preset(String),
    /// A duration of nothing, or beyond a century.
    #[error("its duration must be 1 second to 100 years")]
    Duration,
    /// A begin more than ten years away.
    #[error("its begin must be within 10 years of the issue")]
    Begin,
    /// No such security level.
    #[error("its minimum security level must be 150, 2000 or 3000")]
    SecurityLevel,
    /// In-memory licenses end with their session, so that one that begins later is never of use.
    #[error("a license that begins after its issue must be allowed to be stored")]
    LaterInMemory,
    /// A license issued now would have ended.
    #[error("licenses under it would have ended already")]
    Over,
    /// V-030, V-031: who verifies a license under these terms would refuse it.
    #[error("{0}")]
    License(&'static str),
    /// A term that can have no effect beside another, or undoes it.
    #[error("{0}")]
    Conflict(&'static str),
}

impl PolicyTerms {
    /// The policy `default`: thirty days, five minutes of tolerance for clocks that are behind, may be
    /// stored, no devices whose keys anybody could read.
    pub const DEFAULT: Self = {
        let mut terms = Self::of_level(SECURITY_LEVEL_SOFTWARE);
        terms.begin_offset_seconds = Some(-TOLERANCE);
        terms.duration_seconds = Some(30 * DAY);
        terms
    };

    /// Terms that demand nothing but a security level: play, store, without end.
    #[must_use]
    pub const fn of_level(minimum_security_level: u64) -> Self {
        Self {
            begin_offset_seconds: None,
            duration_seconds: None,
            end: None,
            expiration_after_first_play_seconds: None,
            real_time_expiration: false,
            grace_period_seconds: None,
            removal_after_end_seconds: None,
            persistent_allowed: true,
            minimum_security_level,
            play: true,
            output_protection_levels: None,
            explicit_restrictions: Vec::new(),
            play_enablers: Vec::new(),
            embed: false,
            source_id: None,
            extended_restrictions: Vec::new(),
            extended_rights: Vec::new(),
            on_revocation: OnRevocation::Keep,
            acknowledge: false,
        }
    }

    /// These terms with some replaced, by their names in JSON; `null` takes one away.
    ///
    /// # Errors
    /// [`PolicyFault::Document`].
    pub fn with(self, overrides: Overrides) -> Result<Self, PolicyFault> {
        overrides.over(self)
    }

    /// Checks that licenses that are issued at `now` under these terms can be of use.
    ///
    /// # Errors
    /// [`PolicyFault`].
    pub fn check(&self, now: Timestamp) -> Result<(), PolicyFault> {
        self.check_numbers()?;
        let license = self.specimen(now);
        match license.check() {
            Ok(()) => {}
            Err(DecodeError::Invalid(reason)) => return Err(PolicyFault::License(reason)),
            Err(other) => return Err(PolicyFault::Document(other.to_string())),
        }
        let begin = license.begin.unwrap_or_default().max(now);
        if license.end.is_some_and(|end| end <= begin) {
            return Err(PolicyFault::Over);
        }
        self.check_times(&license)?;
        match self.conflicts().into_iter().find(|(conflict, _)| *conflict) {
            Some((_, reason)) => Err(PolicyFault::Conflict(reason)),
            None => Ok(()),
        }
    }

    /// Puts the terms into the body of a license that says when it is issued and whether it is persistent.
    /// No license outlasts `expires`, the end of the entitlement that it is issued on.
    pub(crate) fn apply(&self, body: LicenseBody, expires: Option<Timestamp>) -> LicenseBody {
        let begin = self.begin(body.issued);
        let counted_from = begin.map_or(body.issued, |begin| begin.max(body.issued));
        let of_duration = self.duration_seconds.map(|duration| counted_from.plus(duration));
        let last = [self.end, expires].into_iter().flatten().min();
        let end = [of_duration, last].into_iter().flatten().min();
        let grace_period = match (last, end) {
            (Some(last), Some(end)) => self
                .grace_period_seconds
                .map(|grace| grace.min(last.0.saturating_sub(end.0)))
                .filter(|grace| *grace > 0),
            _ => self.grace_period_seconds,
        };
        let usable_until = end.unwrap_or(body.issued).plus(grace_period.unwrap_or_default());
        let removal = self.removal_after_end_seconds.filter(|_| body.persistent);
        let embed = self.embed && body.persistent && body.kind == LicenseKind::Simple;
        LicenseBody {
            rights: if self.play { vec![Right::Play] } else { Vec::new() },
            begin,
            end,
            minimum_security_level: Some(self.minimum_security_level),
            expiration_after_first_play: self.expiration_after_first_play_seconds,
            real_time_expiration: self.real_time_expiration.then_some(Flag),
            removal_date: removal.map(|seconds| usable_until.plus(seconds)),
            grace_period,
            output_protection_levels: self.output_protection_levels,
            explicit_restrictions: some(&self.explicit_restrictions),
            play_enablers: some(&self.play_enablers),
            embed: embed.then_some(Flag),
            source_id: self.source_id,
            extended_restrictions: some(&self.extended_restrictions),
            extended_rights: some(&self.extended_rights),
            ends_with_revocation: (self.on_revocation == OnRevocation::Stop).then_some(Flag),
            ..body
        }
    }

    fn begin(&self, issued: Timestamp) -> Option<Timestamp> {
        self.begin_offset_seconds.map(|offset| match offset {
            0.. => issued.plus(offset.unsigned_abs()),
            _ => issued.minus(offset.unsigned_abs()),
        })
    }

    /// A license as it would be issued at `now`, to nobody.
    fn specimen(&self, now: Timestamp) -> LicenseBody {
        let key = KeyDescription::content(Kid::new([0; Kid::LEN]), KeyType::CencCbc);
        let binding = Binding::device(&DeviceId::new([0; DeviceId::LEN]));
        let id = LicenseId::new([0; LicenseId::LEN]);
        self.apply(LicenseBody::new(id, LicenseKind::Simple, key, binding, now), None)
    }

    fn check_numbers(&self) -> Result<(), PolicyFault> {
        let durations = [
            self.duration_seconds,
            self.expiration_after_first_play_seconds,
            self.grace_period_seconds,
        ];
        let removal = self.removal_after_end_seconds.unwrap_or_default();
        let bounded = |seconds: &u64| (1..=100 * YEAR).contains(seconds);
        if !durations.iter().flatten().all(bounded) || removal > 100 * YEAR {
            return Err(PolicyFault::Duration);
        }
        if self
            .begin_offset_seconds
            .is_some_and(|offset| offset.unsigned_abs() > 10 * YEAR)
        {
            return Err(PolicyFault::Begin);
        }
        if !is_security_level(self.minimum_security_level) {
            return Err(PolicyFault::SecurityLevel);
        }
        match self.begin_offset_seconds {
            Some(1..) if !self.persistent_allowed => Err(PolicyFault::LaterInMemory),
            _ => Ok(()),
        }
    }

    /// A time after first play that the license never has is a mistake of its author.
    fn check_times(&self, license: &LicenseBody) -> Result<(), PolicyFault> {
        let begin = license.begin.unwrap_or(license.issued);
        let lasts = license.usable_until().map(|end| end.0.saturating_sub(begin.0));
        match (self.expiration_after_first_play_seconds, lasts) {
            (Some(after_play), Some(lasts)) if after_play > lasts => Err(PolicyFault::Conflict(
                "the time after first play is longer than the license lasts",
            )),
            _ => Ok(()),
        }
    }

    /// Terms that undo one another, each with the reason.
    fn conflicts(&self) -> [(bool, &'static str); 11] {
        use ExplicitRestriction as E;
        let has = |is: fn(&E) -> bool| self.explicit_restrictions.iter().any(is);
        let enables = |enabler| self.play_enablers.contains(&enabler);
        let enables_unknown =
            enables(PlayEnabler::UNKNOWN_OUTPUT) || enables(PlayEnabler::UNKNOWN_OUTPUT_REDUCED);
        let (internal, digital) = (
            has(|one| matches!(one, E::InternalScreenOnly)),
            has(|one| matches!(one, E::DigitalVideoOnly)),
        );
        let (required, best_effort) = (
            has(|one| matches!(one, E::CgmsARequired(_))),
            has(|one| matches!(one, E::CgmsABestEffort(_))),
        );
        let analog = self
            .output_protection_levels
            .and_then(|levels| levels.analog_video)
            .unwrap_or_default();
        [
            (
                self.grace_period_seconds.is_some() && self.duration_seconds.is_none(),
                "a grace period follows a duration; nothing follows a fixed end",
            ),
            (
                self.removal_after_end_seconds.is_some() && !self.persistent_allowed,
                "a license that is not stored has no removal date",
            ),
            (
                self.embed && !self.persistent_allowed,
                "a license that is not stored is not written into content",
            ),
            (
                internal && !self.play_enablers.is_empty(),
                "a play enabler permits an output that the restriction to the internal screen blocks",
            ),
            (
                digital && enables_unknown,
                "a play enabler permits unknown outputs, which the restriction to digital video blocks",
            ),
            (
                enables(PlayEnabler::UNKNOWN_OUTPUT) && enables(PlayEnabler::UNKNOWN_OUTPUT_REDUCED),
                "unknown outputs are permitted both whole and reduced",
            ),
            (
                enables_unknown && self.minimum_security_level >= SECURITY_LEVEL_HARDWARE,
                "devices of security level 3000 use no unknown output, with a play enabler or without",
            ),
            (
                required && best_effort,
                "CGMS-A is set as required and as best effort, and only the first would count",
            ),
            (
                required && analog > 150,
                "analog video at level 200 has CGMS-A copy never, whatever CGMS-A is set to",
            ),
            (
                best_effort && analog > 100,
                "analog video above level 100 has CGMS-A copy never, and no best effort counts",
            ),
            (
                !self.play && is_about_playing(self),
                "terms about playing need the right to play",
            ),
        ]
    }
}

/// Name of the policy that every operator starts with.
pub const DEFAULT_POLICY: &str = "default";

/// Whether `level` is one of the security levels.
#[must_use]
pub const fn is_security_level(level: u64) -> bool {
    matches!(
        level,
        SECURITY_LEVEL_TEST | SECURITY_LEVEL_SOFTWARE | SECURITY_LEVEL_HARDWARE
    )
}

pub(crate) fn check_name(name: &str) -> Result<(), PolicyFault> {
    let letters = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if letters && (1..=64).contains(&name.len()) {
        Ok(())
    } else {
        Err(PolicyFault::Name)
    }
}

const fn is_about_playing(terms: &PolicyTerms) -> bool {
    terms.expiration_after_first_play_seconds.is_some() || terms.real_time_expiration
}

/// A list of a license, which is absent where it is empty.
fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Seconds by which licenses begin before they are issued, for clocks that are behind.
const TOLERANCE: i64 = 300;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

#[cfg(test)]
mod tests;
