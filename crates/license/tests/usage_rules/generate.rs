//! Cases: chains, usages, hosts, actions and times, close to every boundary of the rules.
//!
//! Values are drawn from few so that they meet: times lie within some seconds of one another, levels at and beside
//! each limit. What messages refuse (V-030, V-031) is among them, for the rules are stated for every number.

use keyward_license::{
    codec::Bytes,
    ids::{DeviceId, Kid, LicenseId},
    license::{
        AgcAndColourStripe, Binding, CopyControl, ExplicitRestriction, ExtendedRestriction, ExtendedRight,
        Flag, Guid, HdcpType, KeyDescription, KeyType, LicenseBody, LicenseKind, OutputProtectionLevels,
        PlayEnabler, Resolution, Right,
    },
    time::Timestamp,
    usage_rules::{
        Action, Connector, Decision, Hdcp, HdcpVersion, Host, Output, OutputKind, Understood, Usage, evaluate,
    },
};
use proptest::{
    collection::vec,
    option::weighted,
    prelude::*,
    sample::{select, subsequence},
};

/// One question, with everything that the rules look at.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) chain: Vec<LicenseBody>,
    pub(crate) usage: Usage,
    pub(crate) security_level: u64,
    pub(crate) revoked: bool,
    pub(crate) outputs: Vec<Output>,
    pub(crate) frame: Option<Resolution>,
    pub(crate) extended: Vec<Understood>,
    pub(crate) sources: Vec<u64>,
    pub(crate) watermarks: Vec<Guid>,
    pub(crate) action: Action,
    pub(crate) now: Option<Timestamp>,
}

impl Case {
    /// What the library says about it.
    pub(crate) fn decide(&self) -> Decision {
        let chain: Vec<_> = self.chain.iter().collect();
        let host = Host {
            security_level: self.security_level,
            revoked: self.revoked,
            outputs: &self.outputs,
            frame: self.frame,
            extended: &self.extended,
            sources: &self.sources,
            watermarks: &self.watermarks,
        };
        evaluate(&chain, &self.usage, &host, self.action, self.now)
    }
}

/// Any case of up to three licenses.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let lengths = prop_oneof![1 => Just(0_usize), 24 => Just(1), 16 => Just(2), 8 => Just(3)];
    let chain = lengths.prop_flat_map(|length| vec(licenses(), length));
    let host = (
        any::<bool>(),
        select(&[2000, 2999, 3000, 0, 149, 150, 1999, 2001, 3001, u64::MAX][..]),
        vec(outputs(), 0..5),
        weighted(0.6, frames()),
        understood(),
        mostly_all(&[0, 7, u64::MAX]),
        mostly_all(&WATERMARKS),
    );
    let usage = (weighted(0.5, times(86..112)), any::<bool>());
    let action = prop_oneof![
        9 => Just(Action::Play),
        1 => Just(Action::Perform),
        3 => select(&KINDS[..]).prop_map(Action::Extended),
    ];
    (chain, usage, host, action, weighted(0.85, times(94..110))).prop_map(
        |(chain, (first_play, playing), host, action, now)| {
            let (revoked, security_level, outputs, frame, extended, sources, watermarks) = host;
            let usage = Usage { first_play, playing };
            Case {
                chain,
                usage,
                security_level,
                revoked,
                outputs,
                frame,
                extended,
                sources,
                watermarks,
                action,
                now,
            }
        },
    )
}

/// Any license.
pub(crate) fn licenses() -> impl Strategy<Value = LicenseBody> {
    (permissions(), limits_in_time(), demands_on_outputs()).prop_map(|(permissions, times, outputs)| {
        let mut license = bare();
        (license.rights, license.extended_rights) = permissions.0;
        (license.minimum_security_level, license.source_id) = permissions.1;
        license.extended_restrictions = permissions.2;
        license.ends_with_revocation = permissions.3.then_some(Flag);
        (license.begin, license.end, license.grace_period) = times.0;
        license.expiration_after_first_play = times.1;
        license.real_time_expiration = times.2.then_some(Flag);
        license.removal_date = times.3;
        license.output_protection_levels = outputs.0;
        license.explicit_restrictions = outputs.1;
        license.play_enablers = outputs.2;
        license
    })
}

fn bare() -> LicenseBody {
    let key = KeyDescription::content(Kid::new([3; 16]), KeyType::CencCbc);
    let binding = Binding::device(&DeviceId::new([2; 32]));
    let id = LicenseId::new([1; 16]);
    LicenseBody::new(id, LicenseKind::Simple, key, binding, Timestamp(90))
}

type Permissions = (
    (Vec<Right>, Option<Vec<ExtendedRight>>),
    (Option<u64>, Option<u64>),
    Option<Vec<ExtendedRestriction>>,
    bool,
);

/// most are there and fit, so that the later rules are reached.
fn permissions() -> impl Strategy<Value = Permissions> {
    let rights = prop_oneof![
        1 => Just(vec![]),
        13 => Just(vec![Right::Play]),
        2 => Just(vec![Right::Perform]),
    ];
    let rights = (rights, weighted(0.8, extended_rights()));
    let minimum = select(&[0, 150, 2000, 2001, 2999, 3000, 3001, u64::MAX][..]);
    let source = select(&[0, 7, u64::MAX][..]);
    (
        rights,
        (weighted(0.15, minimum), weighted(0.2, source)),
        weighted(0.2, extended_restrictions()),
        prop::bool::weighted(0.2),
    )
}

fn extended_rights() -> impl Strategy<Value = Vec<ExtendedRight>> {
    let restrictions = vec(weighted(0.3, extended_restrictions()), KINDS.len());
    (subsequence(&KINDS[..], 1..=KINDS.len()), restrictions).prop_map(|(kinds, restrictions)| {
        kinds
            .into_iter()
            .zip(restrictions)
            .map(|(kind, restrictions)| ExtendedRight { kind, restrictions })
            .collect()
    })
}

fn extended_restrictions() -> impl Strategy<Value = Vec<ExtendedRestriction>> {
    let flags = vec((any::<bool>(), any::<bool>()), KINDS.len());
    (subsequence(&KINDS[..], 0..=2), flags).prop_map(|(kinds, flags)| {
        kinds
            .into_iter()
            .zip(flags)
            .map(|(kind, (must_understand, best_effort))| ExtendedRestriction {
                kind,
                must_understand,
                best_effort,
                data: Bytes(vec![]),
            })
            .collect()
    })
}

type LimitsInTime = (
    (Option<Timestamp>, Option<Timestamp>, Option<u64>),
    Option<u64>,
    bool,
    Option<Timestamp>,
);

///
fn limits_in_time() -> impl Strategy<Value = LimitsInTime> {
    (
        (
            weighted(0.3, times(90..104)),
            weighted(0.5, times(96..114)),
            weighted(0.4, durations(0..9)),
        ),
        weighted(0.35, durations(0..16)),
        any::<bool>(),
        weighted(0.1, times(90..120)),
    )
}

/// Times that meet, and those at which sums stop.
fn times(usual: core::ops::Range<u64>) -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        30 => usual,
        1 => 0_u64..3,
        2 => (u64::MAX - 3)..=u64::MAX,
        1 => any::<u64>(),
    ]
    .prop_map(Timestamp)
}

fn durations(usual: core::ops::Range<u64>) -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => usual,
        2 => (u64::MAX - 112)..=u64::MAX,
        1 => any::<u64>(),
    ]
}

type DemandsOnOutputs = (
    Option<OutputProtectionLevels>,
    Option<Vec<ExplicitRestriction>>,
    Option<Vec<PlayEnabler>>,
);

///
fn demands_on_outputs() -> impl Strategy<Value = DemandsOnOutputs> {
    (
        weighted(0.6, output_protection_levels()),
        weighted(0.7, explicit_restrictions()),
        weighted(0.7, mostly_all(&ENABLERS)),
    )
}

fn output_protection_levels() -> impl Strategy<Value = OutputProtectionLevels> {
    let level = || weighted(0.6, levels());
    (level(), level(), level(), level(), level()).prop_map(|levels| OutputProtectionLevels {
        compressed_digital_audio: levels.0,
        uncompressed_digital_audio: levels.1,
        compressed_digital_video: levels.2,
        uncompressed_digital_video: levels.3,
        analog_video: levels.4,
    })
}

/// Both sides of every boundary, and what lies between.
fn levels() -> impl Strategy<Value = u64> {
    const AT: [u64; 7] = [100, 150, 200, 250, 270, 300, 500];
    prop_oneof![
        6 => (select(&AT[..]), 0_u64..3).prop_map(|(level, beside)| level + beside - 1),
        3 => 0_u64..320,
        1 => select(&[0, 1, 400, u64::MAX][..]),
    ]
}

fn explicit_restrictions() -> impl Strategy<Value = Vec<ExplicitRestriction>> {
    let of_use = (
        weighted(
            0.15,
            frames().prop_map(ExplicitRestriction::MaximumDecodeResolution),
        ),
        weighted(
            0.15,
            select(&WATERMARKS[..]).prop_map(ExplicitRestriction::Watermark),
        ),
    );
    let of_outputs = (
        weighted(0.08, Just(ExplicitRestriction::InternalScreenOnly)),
        weighted(0.08, Just(ExplicitRestriction::DigitalVideoOnly)),
        weighted(0.35, hdcp_types().prop_map(ExplicitRestriction::HdcpType)),
        weighted(0.35, copy_controls().prop_map(ExplicitRestriction::CgmsARequired)),
        weighted(
            0.4,
            copy_controls().prop_map(ExplicitRestriction::CgmsABestEffort),
        ),
        weighted(0.4, copy_controls().prop_map(ExplicitRestriction::Scms)),
        weighted(0.4, agcs().prop_map(ExplicitRestriction::AgcAndColourStripe)),
        weighted(0.3, Just(ExplicitRestriction::AnalogComputerMonitor)),
        weighted(0.3, Just(ExplicitRestriction::AnalogComponent)),
    );
    (of_use, of_outputs).prop_map(|((a, b), (c, d, e, f, g, h, i, j, k))| {
        [a, b, c, d, e, f, g, h, i, j, k].into_iter().flatten().collect()
    })
}

/// Any output in any state.
pub(crate) fn outputs() -> impl Strategy<Value = Output> {
    let kind = select(
        &[
            OutputKind::BuiltIn,
            OutputKind::UncompressedDigitalVideo,
            OutputKind::CompressedDigitalVideo,
            OutputKind::AnalogTelevision,
            OutputKind::AnalogComponent,
            OutputKind::AnalogComputerMonitor,
            OutputKind::UncompressedDigitalAudio,
            OutputKind::CompressedDigitalAudio,
            OutputKind::AnalogAudio,
            OutputKind::Export(PlayEnabler::AIRPLAY),
            OutputKind::Export(ENABLERS[3]),
            OutputKind::Unknown,
        ][..],
    );
    let connector = select(&[Connector::Internal, Connector::Hdmi, Connector::Other][..]);
    (
        connector,
        kind,
        weighted(0.7, pictures()),
        any::<bool>(),
        hdcp(),
        weighted(0.7, copy_controls()),
        weighted(0.6, copy_controls()),
        agcs(),
    )
        .prop_map(
            |(connector, kind, picture, can_reduce, hdcp, cgms_a, scms, agc)| Output {
                connector,
                kind,
                picture,
                can_reduce,
                hdcp,
                cgms_a,
                scms,
                agc,
            },
        )
}

fn hdcp() -> impl Strategy<Value = Hdcp> {
    let versions = [
        (2, 2),
        (2, 1),
        (2, 3),
        (1, 4),
        (1, 255),
        (0, 0),
        (3, 0),
        (255, 255),
    ];
    let engaged =
        (select(versions.to_vec()), hdcp_types()).prop_map(|((major, minor), stream_type)| Hdcp::Engaged {
            version: HdcpVersion { major, minor },
            stream_type,
        });
    prop_oneof![2 => Just(Hdcp::Off), 3 => engaged]
}

fn hdcp_types() -> impl Strategy<Value = HdcpType> {
    select(&[HdcpType::Type0, HdcpType::Type1][..])
}

fn copy_controls() -> impl Strategy<Value = CopyControl> {
    (0_u8..4).prop_map(|number| CopyControl::from_number(number).unwrap())
}

fn agcs() -> impl Strategy<Value = AgcAndColourStripe> {
    (0_u32..4).prop_map(|number| AgcAndColourStripe::from_number(number).unwrap())
}

/// Sizes of frames, both ways round.
fn frames() -> impl Strategy<Value = Resolution> {
    let side = || select(&[1080, 1920, 1, 0, 1079, 1081, 1919, 1921, u32::MAX][..]);
    (side(), side()).prop_map(|(width, height)| Resolution { width, height })
}

/// Sizes of pictures, around 520,000 pixels.
fn pictures() -> impl Strategy<Value = Resolution> {
    let sizes = [
        (1000, 520),
        (1000, 521),
        (520_001, 1),
        (520_000, 1),
        (519_999, 1),
        (520, 1000),
        (0, u32::MAX),
        (u32::MAX, u32::MAX),
        // Their product is 2 in 32 bits.
        (65_537, 65_538),
    ];
    select(sizes.to_vec()).prop_map(|(width, height)| Resolution { width, height })
}

fn understood() -> impl Strategy<Value = Vec<Understood>> {
    let engaged = vec(prop::bool::weighted(0.7), KINDS.len());
    (mostly_all(&KINDS), engaged).prop_map(|(kinds, engaged)| {
        kinds
            .into_iter()
            .zip(engaged)
            .map(|(kind, engaged)| Understood { kind, engaged })
            .collect()
    })
}

/// All of them, or only some.
fn mostly_all<T: Copy + core::fmt::Debug + 'static>(
    all: &'static [T],
) -> impl Strategy<Value = Vec<T>> + use<T> {
    prop_oneof![2 => Just(all.to_vec()), 1 => subsequence(all, 0..=all.len())]
}

/// Kinds of extended restrictions and rights.
const KINDS: [u64; 3] = [1, 2, u64::MAX];

const WATERMARKS: [Guid; 2] = [Guid::of(5), Guid::of(6)];

const ENABLERS: [PlayEnabler; 4] = [
    PlayEnabler::UNKNOWN_OUTPUT,
    PlayEnabler::UNKNOWN_OUTPUT_REDUCED,
    PlayEnabler::AIRPLAY,
    PlayEnabler(Guid::of(9)),
];
