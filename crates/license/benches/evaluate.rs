//! What one judgement by the usage rules costs, beside one check of a signature.
//!
//! ```text
//! cargo bench -p keyward-license --bench evaluate
//! ```

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panic")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keyward_crypto::ecdsa::{Signer, SigningKey};
use keyward_license::{
    codec::Bytes,
    ids::{DeviceId, Kid, LicenseId},
    license::{
        AgcAndColourStripe, Binding, CopyControl, ExplicitRestriction, ExtendedRestriction, ExtendedRight,
        Flag, Guid, HdcpType, KeyDescription, KeyType, LicenseBody, LicenseKind, OutputProtectionLevels,
        PlayEnabler, Resolution,
    },
    time::Timestamp,
    usage_rules::{
        Action, Connector, Decision, Hdcp, HdcpVersion, Host, Output, OutputKind, Understood, Usage, evaluate,
    },
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

const NOW: Timestamp = Timestamp(1_800_000_000);
const DAY: u64 = 86_400;
const WATERMARK: Guid = Guid::of(7);
const FRAME: Resolution = Resolution {
    width: 3840,
    height: 2160,
};

fn bare() -> LicenseBody {
    let key = KeyDescription::content(Kid::new([1; 16]), KeyType::CencCtr);
    let binding = Binding::device(&DeviceId::new([2; 32]));
    LicenseBody::new(LicenseId::new([3; 16]), LicenseKind::Simple, key, binding, NOW)
}

/// Every term that a license to play may hold, and every explicit restriction.
fn all_terms() -> LicenseBody {
    let restriction = |kind| ExtendedRestriction {
        kind,
        must_understand: true,
        best_effort: false,
        data: Bytes(vec![0; 16]),
    };
    let body = LicenseBody {
        begin: Some(NOW),
        end: Some(NOW.plus(30 * DAY)),
        minimum_security_level: Some(2000),
        expiration_after_first_play: Some(2 * DAY),
        real_time_expiration: Some(Flag),
        removal_date: Some(NOW.plus(40 * DAY)),
        grace_period: Some(DAY),
        output_protection_levels: Some(OutputProtectionLevels {
            compressed_digital_audio: Some(100),
            uncompressed_digital_audio: Some(250),
            compressed_digital_video: Some(500),
            uncompressed_digital_video: Some(300),
            analog_video: Some(200),
        }),
        explicit_restrictions: Some(vec![
            ExplicitRestriction::MaximumDecodeResolution(FRAME),
            ExplicitRestriction::HdcpType(HdcpType::Type1),
            ExplicitRestriction::DigitalVideoOnly,
            ExplicitRestriction::CgmsARequired(CopyControl::NEVER),
            ExplicitRestriction::CgmsABestEffort(CopyControl::NEVER),
            ExplicitRestriction::Scms(CopyControl::NEVER),
            ExplicitRestriction::AgcAndColourStripe(AgcAndColourStripe::FOUR_LINES),
            ExplicitRestriction::AnalogComputerMonitor,
            ExplicitRestriction::AnalogComponent,
            ExplicitRestriction::Watermark(WATERMARK),
            ExplicitRestriction::InternalScreenOnly,
        ]),
        play_enablers: Some(vec![
            PlayEnabler::UNKNOWN_OUTPUT,
            PlayEnabler::UNKNOWN_OUTPUT_REDUCED,
            PlayEnabler::AIRPLAY,
        ]),
        source_id: Some(262),
        extended_restrictions: Some(vec![restriction(1), restriction(2)]),
        extended_rights: Some(vec![ExtendedRight {
            kind: 9,
            restrictions: Some(vec![restriction(3)]),
        }]),
        ..bare()
    };
    body.check().unwrap();
    body
}

/// Eight outputs, each of another kind.
fn outputs() -> [Output; 8] {
    let engaged = Hdcp::Engaged {
        version: HdcpVersion::V2_2,
        stream_type: HdcpType::Type1,
    };
    [
        (Connector::Internal, OutputKind::BuiltIn),
        (Connector::Hdmi, OutputKind::UncompressedDigitalVideo),
        (Connector::Network, OutputKind::CompressedDigitalVideo),
        (Connector::Composite, OutputKind::AnalogTelevision),
        (Connector::Component, OutputKind::AnalogComponent),
        (Connector::Vga, OutputKind::AnalogComputerMonitor),
        (Connector::Spdif, OutputKind::UncompressedDigitalAudio),
        (Connector::Other, OutputKind::Unknown),
    ]
    .map(|(connector, kind)| Output {
        hdcp: engaged,
        ..Output::bare(connector, kind)
    })
}

fn judgements(criterion: &mut Criterion) {
    let (bare, full, outputs) = (bare(), all_terms(), outputs());
    let extended = [1, 2].map(|kind| Understood { kind, engaged: true });
    let host = Host {
        outputs: &outputs,
        frame: Some(FRAME),
        extended: &extended,
        sources: &[262],
        watermarks: &[WATERMARK],
        ..Host::of_level(2000)
    };
    let usage = Usage {
        first_play: Some(NOW),
        playing: false,
    };
    let judge = |license: &LicenseBody, host: &Host<'_>| {
        evaluate(&[license], &usage, host, Action::Play, Some(NOW.plus(60)))
    };
    let decided = |decision| match decision {
        Decision::Allowed(allowed) => allowed.outputs.len(),
        Decision::Refused(refusal) => unreachable!("{refusal}"),
    };
    assert_eq!(decided(judge(&full, &host)), outputs.len());
    let no_outputs = Host::of_level(2000);
    criterion.bench_function("evaluate: bare license, no outputs", |bencher| {
        bencher.iter(|| judge(black_box(&bare), black_box(&no_outputs)));
    });
    criterion.bench_function("evaluate: bare license, eight outputs", |bencher| {
        bencher.iter(|| judge(black_box(&bare), black_box(&host)));
    });
    criterion.bench_function("evaluate: all terms, eight outputs", |bencher| {
        bencher.iter(|| judge(black_box(&full), black_box(&host)));
    });
}

/// What a license costs in any case.
fn peer(criterion: &mut Criterion) {
    let key = SigningKey::generate(&mut ChaCha20Rng::from_seed([4; 32]));
    let message = [5; 1024];
    let signature = key.sign(&message).unwrap();
    criterion.bench_function("peer: one ECDSA P-256 signature of 1 KiB checked", |bencher| {
        bencher.iter(|| {
            key.public_key()
                .verify(black_box(&message), black_box(&signature))
        });
    });
}

criterion_group!(benches, judgements, peer);
criterion_main!(benches);
