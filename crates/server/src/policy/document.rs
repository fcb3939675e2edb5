//! Terms as JSON: names instead of numbers and GUIDs.

use keyward_license::{
    codec::Bytes,
    license::{
        AgcAndColourStripe, CopyControl, ExplicitRestriction, ExtendedRestriction, ExtendedRight, Guid,
        HdcpType, OutputProtectionLevels, PlayEnabler, Resolution,
    },
    time::Timestamp,
};
use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{Map, Value};

use super::{OnRevocation, PolicyFault, PolicyTerms};

/// Terms that replace others, by their names in JSON.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Overrides(Map<String, Value>);

impl Overrides {
    /// Replaces one term; [`Value::Null`] takes it away.
    pub fn set(&mut self, term: &str, value: impl Into<Value>) {
        self.0.insert(term.to_owned(), value.into());
    }

    /// Reads a JSON object of terms.
    ///
    /// # Errors
    /// [`PolicyFault::Document`].
    pub fn from_json(text: &[u8]) -> Result<Self, PolicyFault> {
        serde_json::from_slice(text).map_err(|error| PolicyFault::Document(error.to_string()))
    }

    /// The terms of an object that leaves none out that a policy must have.
    ///
    /// # Errors
    /// [`PolicyFault::Document`].
    pub fn into_terms(self) -> Result<PolicyTerms, PolicyFault> {
        read(self.0)
    }

    pub(super) fn over(self, terms: PolicyTerms) -> Result<PolicyTerms, PolicyFault> {
        let Ok(Value::Object(mut merged)) = serde_json::to_value(terms) else {
            return Err(PolicyFault::Document("the terms are no object".to_owned()));
        };
        for (term, value) in self.0 {
            merged.insert(term, value);
        }
        // A term that is taken away must be a term all the same, which the reading of `null` tells.
        read(merged)
    }
}

fn read(terms: Map<String, Value>) -> Result<PolicyTerms, PolicyFault> {
    serde_json::from_value(Value::Object(terms)).map_err(|error| PolicyFault::Document(error.to_string()))
}

/// [`PolicyTerms`] as they stand in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begin_offset_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiration_after_first_play_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    real_time_expiration: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_period_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removal_after_end_seconds: Option<u64>,
    persistent_allowed: bool,
    minimum_security_level: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    play: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_protection_levels: Option<Levels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    explicit_restrictions: Option<Restrictions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    play_enablers: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extended_restrictions: Option<Vec<Extended>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extended_rights: Option<Vec<Right>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_revocation: Option<OnRevocation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledge: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Levels {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compressed_digital_audio: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_digital_audio: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compressed_digital_video: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_digital_video: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    analog_video: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Restrictions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maximum_decode_resolution: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hdcp_type: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digital_video_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgms_a_required: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cgms_a_best_effort: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scms: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agc_and_colour_stripe: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    analog_computer_monitor: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    analog_component: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    internal_screen_only: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    width: u32,
    height: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extended {
    kind: u64,
    must_understand: bool,
    #[serde(default)]
    best_effort: bool,
    /// In hexadecimal digits.
    #[serde(default)]
    data: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Right {
    kind: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    restrictions: Vec<Extended>,
}

impl TryFrom<Document> for PolicyTerms {
    type Error = serde_json::Error;

    fn try_from(document: Document) -> Result<Self, Self::Error> {
        let enablers = document.play_enablers.unwrap_or_default();
        let extended = document.extended_restrictions.unwrap_or_default();
        let rights = document.extended_rights.unwrap_or_default();
        let restrictions = document.explicit_restrictions.unwrap_or_default();
        Ok(Self {
            begin_offset_seconds: document.begin_offset_seconds,
            duration_seconds: document.duration_seconds,
            end: document.end.map(Timestamp),
            expiration_after_first_play_seconds: document.expiration_after_first_play_seconds,
            real_time_expiration: document.real_time_expiration.unwrap_or_default(),
            grace_period_seconds: document.grace_period_seconds,
            removal_after_end_seconds: document.removal_after_end_seconds,
            persistent_allowed: document.persistent_allowed,
            minimum_security_level: document.minimum_security_level,
            play: document.play.unwrap_or(true),
            output_protection_levels: document.output_protection_levels.map(Levels::into_license),
            explicit_restrictions: restrictions.into_license()?,
            play_enablers: enablers
                .iter()
                .map(|name| enabler(name))
                .collect::<Result<_, _>>()?,
            embed: document.embed.unwrap_or_default(),
            source_id: document.source_id,
            extended_restrictions: all(extended, Extended::into_license)?,
            extended_rights: all(rights, Right::into_license)?,
            on_revocation: document.on_revocation.unwrap_or_default(),
            acknowledge: document.acknowledge.unwrap_or_default(),
        })
    }
}

impl From<PolicyTerms> for Document {
    fn from(terms: PolicyTerms) -> Self {
        let enablers = terms.play_enablers.into_iter().map(enabler_name);
        let extended = terms.extended_restrictions.iter().map(Extended::of);
        let rights = terms.extended_rights.iter().map(Right::of);
        let restrictions = Restrictions::of(&terms.explicit_restrictions);
        Self {
            begin_offset_seconds: terms.begin_offset_seconds,
            duration_seconds: terms.duration_seconds,
            end: terms.end.map(|end| end.0),
            expiration_after_first_play_seconds: terms.expiration_after_first_play_seconds,
            real_time_expiration: terms.real_time_expiration.then_some(true),
            grace_period_seconds: terms.grace_period_seconds,
            removal_after_end_seconds: terms.removal_after_end_seconds,
            persistent_allowed: terms.persistent_allowed,
            minimum_security_level: terms.minimum_security_level,
            play: (!terms.play).then_some(false),
            output_protection_levels: terms.output_protection_levels.map(Levels::of),
            explicit_restrictions: (!terms.explicit_restrictions.is_empty()).then_some(restrictions),
            play_enablers: some(enablers),
            embed: terms.embed.then_some(true),
            source_id: terms.source_id,
            extended_restrictions: some(extended),
            extended_rights: some(rights),
            on_revocation: (terms.on_revocation != OnRevocation::Keep).then_some(terms.on_revocation),
            acknowledge: terms.acknowledge.then_some(true),
        }
    }
}

impl Levels {
    const fn into_license(self) -> OutputProtectionLevels {
        OutputProtectionLevels {
            compressed_digital_audio: self.compressed_digital_audio,
            uncompressed_digital_audio: self.uncompressed_digital_audio,
            compressed_digital_video: self.compressed_digital_video,
            uncompressed_digital_video: self.uncompressed_digital_video,
            analog_video: self.analog_video,
        }
    }

    const fn of(levels: OutputProtectionLevels) -> Self {
        Self {
            compressed_digital_audio: levels.compressed_digital_audio,
            uncompressed_digital_audio: levels.uncompressed_digital_audio,
            compressed_digital_video: levels.compressed_digital_video,
            uncompressed_digital_video: levels.uncompressed_digital_video,
            analog_video: levels.analog_video,
        }
    }
}

impl Restrictions {
    /// In the order of the table in `spec/license.md`.
    fn into_license(self) -> Result<Vec<ExplicitRestriction>, serde_json::Error> {
        use ExplicitRestriction as E;
        let set = |flag: Option<bool>, restriction| flag.unwrap_or_default().then_some(restriction);
        let all = [
            self.maximum_decode_resolution
                .map(|size| size.into_license().map(E::MaximumDecodeResolution))
                .transpose()?,
            value(self.hdcp_type, "hdcp_type must be 0 or 1", HdcpType::from_number)?.map(E::HdcpType),
            set(self.digital_video_only, E::DigitalVideoOnly),
            copy_control(self.cgms_a_required, "cgms_a_required must be 0 to 3")?.map(E::CgmsARequired),
            copy_control(self.cgms_a_best_effort, "cgms_a_best_effort must be 0 to 3")?
                .map(E::CgmsABestEffort),
            copy_control(self.scms, "scms must be 0 to 3")?.map(E::Scms),
            value(
                self.agc_and_colour_stripe,
                "agc_and_colour_stripe must be 0 to 3",
                AgcAndColourStripe::from_number,
            )?
            .map(E::AgcAndColourStripe),
            set(self.analog_computer_monitor, E::AnalogComputerMonitor),
            set(self.analog_component, E::AnalogComponent),
            self.watermark.as_deref().map(guid).transpose()?.map(E::Watermark),
            set(self.internal_screen_only, E::InternalScreenOnly),
        ];
        Ok(all.into_iter().flatten().collect())
    }

    fn of(restrictions: &[ExplicitRestriction]) -> Self {
        use ExplicitRestriction as E;
        let mut by_name = Self::default();
        for restriction in restrictions {
            match restriction {
                E::MaximumDecodeResolution(Resolution { width, height }) => {
                    let (width, height) = (*width, *height);
                    by_name.maximum_decode_resolution = Some(Size { width, height });
                }
                E::HdcpType(hdcp) => by_name.hdcp_type = Some(hdcp.number().into()),
                E::DigitalVideoOnly => by_name.digital_video_only = Some(true),
                E::CgmsARequired(control) => by_name.cgms_a_required = Some(control.number()),
                E::CgmsABestEffort(control) => by_name.cgms_a_best_effort = Some(control.number()),
                E::Scms(control) => by_name.scms = Some(control.number()),
                E::AgcAndColourStripe(agc) => by_name.agc_and_colour_stripe = Some(agc.number().into()),
                E::AnalogComputerMonitor => by_name.analog_computer_monitor = Some(true),
                E::AnalogComponent => by_name.analog_component = Some(true),
                E::Watermark(technology) => by_name.watermark = Some(technology.to_string()),
                E::InternalScreenOnly => by_name.internal_screen_only = Some(true),
            }
        }
        by_name
    }
}

impl Size {
    fn into_license(self) -> Result<Resolution, serde_json::Error> {
        let Self { width, height } = self;
        if width == 0 || height == 0 {
            return Err(serde_json::Error::custom(
                "maximum_decode_resolution must be of at least one pixel each way",
            ));
        }
        Ok(Resolution { width, height })
    }
}

impl Extended {
    fn into_license(self) -> Result<ExtendedRestriction, serde_json::Error> {
        let data = hex::decode(&self.data)
            .map_err(|_| serde_json::Error::custom("data must be hexadecimal digits, two a byte"))?;
        Ok(ExtendedRestriction {
            kind: self.kind,
            must_understand: self.must_understand,
            best_effort: self.best_effort,
            data: Bytes(data),
        })
    }

    fn of(restriction: &ExtendedRestriction) -> Self {
        Self {
            kind: restriction.kind,
            must_understand: restriction.must_understand,
            best_effort: restriction.best_effort,
            data: hex::encode(&restriction.data.0),
        }
    }
}

impl Right {
    fn into_license(self) -> Result<ExtendedRight, serde_json::Error> {
        let restrictions = all(self.restrictions, Extended::into_license)?;
        Ok(ExtendedRight {
            kind: self.kind,
            restrictions: (!restrictions.is_empty()).then_some(restrictions),
        })
    }

    fn of(right: &ExtendedRight) -> Self {
        Self {
            kind: right.kind,
            restrictions: right.restrictions().iter().map(Extended::of).collect(),
        }
    }
}

/// The name that a term of a license has in a policy, by its key in the license body.
pub(crate) const fn term_name(term: u64) -> Option<&'static str> {
    Some(match term {
        10 => "begin_offset_seconds",
        11 => "end",
        12 => "minimum_security_level",
        13 => "expiration_after_first_play_seconds",
        14 => "real_time_expiration",
        15 => "removal_after_end_seconds",
        16 => "grace_period_seconds",
        17 => "output_protection_levels",
        18 => "explicit_restrictions",
        19 => "play_enablers",
        23 => "embed",
        24 => "source_id",
        25 => "extended_restrictions",
        28 => "extended_rights",
        29 => "on_revocation",
        _ => return None,
    })
}

/// The name that an explicit restriction has in a policy.
pub(crate) fn explicit_restriction_name(guid: Guid) -> Option<&'static str> {
    use ExplicitRestriction as E;
    let names = [
        (E::MAXIMUM_DECODE_RESOLUTION, "maximum_decode_resolution"),
        (E::HDCP_TYPE, "hdcp_type"),
        (E::DIGITAL_VIDEO_ONLY, "digital_video_only"),
        (E::CGMS_A_REQUIRED, "cgms_a_required"),
        (E::CGMS_A_BEST_EFFORT, "cgms_a_best_effort"),
        (E::SCMS, "scms"),
        (E::AGC_AND_COLOUR_STRIPE, "agc_and_colour_stripe"),
        (E::ANALOG_COMPUTER_MONITOR, "analog_computer_monitor"),
        (E::ANALOG_COMPONENT, "analog_component"),
        (E::WATERMARK, "watermark"),
        (E::INTERNAL_SCREEN_ONLY, "internal_screen_only"),
    ];
    let named = names.into_iter().find(|(known, _)| *known == guid);
    named.map(|(_, name)| name)
}

/// Play enablers that have a name; others are written as their GUID.
const ENABLERS: [(&str, PlayEnabler); 3] = [
    ("unknown-output", PlayEnabler::UNKNOWN_OUTPUT),
    ("unknown-output-reduced", PlayEnabler::UNKNOWN_OUTPUT_REDUCED),
    ("airplay", PlayEnabler::AIRPLAY),
];

fn enabler(name: &str) -> Result<PlayEnabler, serde_json::Error> {
    let named = ENABLERS.into_iter().find(|(known, _)| *known == name);
    match named {
        Some((_, enabler)) => Ok(enabler),
        None => name.parse().map(PlayEnabler).map_err(|_| {
            serde_json::Error::custom(
                "a play enabler is `unknown-output`, `unknown-output-reduced`, `airplay` or a GUID",
            )
        }),
    }
}

fn enabler_name(enabler: PlayEnabler) -> String {
    let named = ENABLERS.into_iter().find(|(_, known)| *known == enabler);
    named.map_or_else(|| enabler.0.to_string(), |(name, _)| name.to_owned())
}

fn guid(text: &str) -> Result<Guid, serde_json::Error> {
    text.parse().map_err(serde_json::Error::custom)
}

fn copy_control(
    number: Option<u8>,
    expected: &'static str,
) -> Result<Option<CopyControl>, serde_json::Error> {
    value(number, expected, CopyControl::from_number)
}

fn value<N, T>(
    number: Option<N>,
    expected: &'static str,
    read: impl Fn(N) -> Option<T>,
) -> Result<Option<T>, serde_json::Error> {
    number
        .map(|number| read(number).ok_or_else(|| serde_json::Error::custom(expected)))
        .transpose()
}

fn all<A, B>(
    list: Vec<A>,
    read: impl Fn(A) -> Result<B, serde_json::Error>,
) -> Result<Vec<B>, serde_json::Error> {
    list.into_iter().map(read).collect()
}

fn some<T>(list: impl ExactSizeIterator<Item = T>) -> Option<Vec<T>> {
    (list.len() > 0).then(|| list.collect())
}
