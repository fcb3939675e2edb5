//! Every rule about outputs, at the boundaries of its levels.

use super::*;
use crate::{
    license::{Guid, Resolution},
    usage_rules::{Connector, Hdcp, HdcpVersion, tests::license},
};

use OutputKind as Kind;
use Verdict::{Block, Pass, Reduced};

const SOFTWARE: u64 = 2000;
const SMALL: Resolution = Resolution {
    width: 800,
    height: 650,
};
const LARGE: Resolution = Resolution {
    width: 800,
    height: 651,
};

fn output(kind: Kind) -> Output {
    Output::bare(Connector::Other, kind)
}

fn control(number: u8) -> CopyControl {
    CopyControl::from_number(number).unwrap()
}

fn agc(number: u32) -> AgcAndColourStripe {
    AgcAndColourStripe::from_number(number).unwrap()
}

const fn hdcp(major: u8, minor: u8, stream_type: HdcpType) -> Hdcp {
    Hdcp::Engaged {
        version: HdcpVersion { major, minor },
        stream_type,
    }
}

const HDCP_1_4: Hdcp = hdcp(1, 4, HdcpType::Type0);

fn restricted(restrictions: &[ExplicitRestriction]) -> LicenseBody {
    LicenseBody {
        explicit_restrictions: Some(restrictions.to_vec()),
        ..license()
    }
}

fn with_levels(levels: OutputProtectionLevels) -> LicenseBody {
    LicenseBody {
        output_protection_levels: Some(levels),
        ..license()
    }
}

fn digital_video(level: u64) -> LicenseBody {
    with_levels(OutputProtectionLevels {
        uncompressed_digital_video: Some(level),
        ..OutputProtectionLevels::default()
    })
}

fn analog_video(level: u64) -> LicenseBody {
    with_levels(OutputProtectionLevels {
        analog_video: Some(level),
        ..OutputProtectionLevels::default()
    })
}

fn uncompressed_audio(level: u64) -> LicenseBody {
    with_levels(OutputProtectionLevels {
        uncompressed_digital_audio: Some(level),
        ..OutputProtectionLevels::default()
    })
}

fn decide(license: &LicenseBody, output: &Output) -> OutputDecision {
    OutputRules::of(&[license]).decide(output, SOFTWARE)
}

fn verdict(license: &LicenseBody, output: &Output) -> (Verdict, &'static str) {
    let decision = decide(license, output);
    (decision.verdict, decision.decided_by.number())
}

#[test]
fn r_020_built_in_screens_and_speakers_pass_whatever_the_license_says() {
    let mut license = digital_video(301);
    license.explicit_restrictions = Some(vec![
        ExplicitRestriction::InternalScreenOnly,
        ExplicitRestriction::DigitalVideoOnly,
    ]);
    let decision = decide(&license, &output(Kind::BuiltIn));
    assert_eq!((decision.verdict, decision.decided_by), (Pass, Rule::BuiltIn));
    assert_eq!(decision.engage, Protections::default());
}

#[test]
fn r_021_and_r_022_what_leaves_as_a_picture_and_as_an_analog_one() {
    let enablers = Some(vec![PlayEnabler::UNKNOWN_OUTPUT, PlayEnabler::AIRPLAY]);
    let with = |restriction| LicenseBody {
        play_enablers: enablers.clone(),
        ..restricted(&[restriction])
    };
    let inside = with(ExplicitRestriction::InternalScreenOnly);
    let digital = with(ExplicitRestriction::DigitalVideoOnly);
    let by_inside = (Block, "R-021");
    let by_digital = (Block, "R-022");
    let cases = [
        (Kind::UncompressedDigitalVideo, by_inside, (Pass, "R-026")),
        (Kind::CompressedDigitalVideo, by_inside, (Block, "R-025")),
        (Kind::AnalogTelevision, by_inside, by_digital),
        (Kind::AnalogComponent, by_inside, by_digital),
        (Kind::AnalogComputerMonitor, by_inside, by_digital),
        (Kind::Unknown, by_inside, by_digital),
        (Kind::Export(PlayEnabler::AIRPLAY), by_inside, (Pass, "R-024")),
        (Kind::UncompressedDigitalAudio, (Pass, "R-034"), (Pass, "R-034")),
        (Kind::CompressedDigitalAudio, (Pass, "R-033"), (Pass, "R-033")),
        (Kind::AnalogAudio, (Pass, "R-035"), (Pass, "R-035")),
    ];
    for (kind, on_inside, on_digital) in cases {
        assert_eq!(verdict(&inside, &output(kind)), on_inside, "{kind:?}");
        assert_eq!(verdict(&digital, &output(kind)), on_digital, "{kind:?}");
    }
}

#[test]
fn r_023_an_unknown_output_needs_an_enabler_and_no_hardware_device() {
    let unknown = |can_reduce| Output {
        can_reduce,
        ..output(Kind::Unknown)
    };
    let of = |enablers: &[PlayEnabler]| LicenseBody {
        play_enablers: Some(enablers.to_vec()),
        ..license()
    };
    let (full, reduced) = (PlayEnabler::UNKNOWN_OUTPUT, PlayEnabler::UNKNOWN_OUTPUT_REDUCED);
    let cases = [
        (license(), true, Block),
        (of(&[PlayEnabler::AIRPLAY]), true, Block),
        (of(&[full]), false, Pass),
        (of(&[reduced]), true, Reduced),
        (of(&[reduced]), false, Block),
        (of(&[reduced, full]), true, Pass),
    ];
    for (license, can_reduce, expected) in cases {
        let output = unknown(can_reduce);
        assert_eq!(verdict(&license, &output), (expected, "R-023"), "{license:?}");
        let rules_of = [&license];
        let hardware = OutputRules::of(&rules_of).decide(&output, 3000);
        assert_eq!(hardware.verdict, Block);
    }
    // Every license of a chain must hold it.
    let (one, other) = (of(&[full]), of(&[reduced]));
    let chain = [&one, &other];
    let decision = OutputRules::of(&chain).decide(&unknown(true), SOFTWARE);
    assert_eq!(decision.verdict, Block);
    assert_eq!(
        OutputRules::of(&[]).decide(&unknown(true), SOFTWARE).verdict,
        Block
    );
}

#[test]
fn r_024_an_export_needs_the_enabler_of_its_system() {
    let airplay = LicenseBody {
        play_enablers: Some(vec![PlayEnabler::AIRPLAY]),
        ..license()
    };
    let other = PlayEnabler(Guid::new([9; 16]));
    let by_airplay = output(Kind::Export(PlayEnabler::AIRPLAY));
    assert_eq!(verdict(&airplay, &by_airplay), (Pass, "R-024"));
    assert_eq!(verdict(&license(), &by_airplay), (Block, "R-024"));
    assert_eq!(verdict(&airplay, &output(Kind::Export(other))), (Block, "R-024"));
}

#[test]
fn r_025_compressed_video_never_leaves() {
    for level in [None, Some(400), Some(500)] {
        let license = with_levels(OutputProtectionLevels {
            compressed_digital_video: level,
            ..OutputProtectionLevels::default()
        });
        let protected = Output {
            hdcp: hdcp(2, 3, HdcpType::Type1),
            ..output(Kind::CompressedDigitalVideo)
        };
        assert_eq!(verdict(&license, &protected), (Block, "R-025"));
    }
}

#[test]
fn r_026_levels_of_uncompressed_digital_video() {
    let bare = output(Kind::UncompressedDigitalVideo);
    let outputs = [
        bare,
        Output {
            can_reduce: true,
            picture: Some(LARGE),
            ..bare
        },
        Output {
            picture: Some(SMALL),
            ..bare
        },
        Output {
            picture: Some(LARGE),
            ..bare
        },
        Output {
            hdcp: HDCP_1_4,
            ..bare
        },
    ];
    let tried = Some(HdcpType::Type0);
    let cases = [
        (0, [Pass; 5], None),
        (100, [Pass; 5], None),
        (200, [Pass; 5], None),
        (201, [Pass; 5], tried),
        (250, [Pass; 5], tried),
        (251, [Block, Reduced, Reduced, Block, Pass], tried),
        (270, [Block, Reduced, Reduced, Block, Pass], tried),
        (271, [Block, Block, Block, Block, Pass], tried),
        (300, [Block, Block, Block, Block, Pass], tried),
        (301, [Block; 5], None),
        (u64::MAX, [Block; 5], None),
    ];
    for (level, verdicts, engage) in cases {
        for (output, expected) in outputs.iter().zip(verdicts) {
            let decision = decide(&digital_video(level), output);
            assert_eq!(
                (decision.verdict, decision.decided_by.number()),
                (expected, "R-026"),
                "{level} {output:?}"
            );
            assert_eq!(decision.engage.hdcp, engage, "{level}");
        }
    }
    // Hardware reduces nothing.
    let license = digital_video(270);
    let verdicts = outputs.map(|output| OutputRules::of(&[&license]).decide(&output, 3000).verdict);
    assert_eq!(verdicts, [Block, Block, Block, Block, Pass]);
    // The highest of a chain.
    let (low, high) = (digital_video(100), digital_video(300));
    for chain in [[&low, &high], [&high, &low]] {
        assert_eq!(OutputRules::of(&chain).decide(&bare, SOFTWARE).verdict, Block);
    }
}

#[test]
fn r_027_the_hdcp_type() {
    let outputs = [
        Hdcp::Off,
        HDCP_1_4,
        hdcp(2, 2, HdcpType::Type0),
        hdcp(2, 1, HdcpType::Type1),
        hdcp(2, 2, HdcpType::Type1),
        hdcp(3, 0, HdcpType::Type1),
    ];
    let cases = [
        (HdcpType::Type0, [Block, Pass, Pass, Pass, Pass, Pass]),
        (HdcpType::Type1, [Block, Block, Block, Block, Pass, Pass]),
    ];
    for (hdcp_type, verdicts) in cases {
        let license = LicenseBody {
            explicit_restrictions: Some(vec![ExplicitRestriction::HdcpType(hdcp_type)]),
            ..digital_video(300)
        };
        for (state, expected) in outputs.into_iter().zip(verdicts) {
            let output = Output {
                hdcp: state,
                ..output(Kind::UncompressedDigitalVideo)
            };
            let decision = decide(&license, &output);
            assert_eq!(decision.verdict, expected, "{hdcp_type:?} {state:?}");
            assert_eq!(decision.engage.hdcp, Some(hdcp_type));
            let deciding = if state != Hdcp::Off && expected == Block {
                "R-027"
            } else {
                "R-026"
            };
            assert_eq!(decision.decided_by.number(), deciding);
        }
    }
    let (zero, one) = (
        restricted(&[ExplicitRestriction::HdcpType(HdcpType::Type0)]),
        restricted(&[ExplicitRestriction::HdcpType(HdcpType::Type1)]),
    );
    let old = Output {
        hdcp: HDCP_1_4,
        ..output(Kind::UncompressedDigitalVideo)
    };
    let chain = [&one, &zero];
    assert_eq!(OutputRules::of(&chain).decide(&old, SOFTWARE).verdict, Block);
}

#[test]
fn r_028_levels_of_analog_video() {
    let signals = [None, Some(control(0)), Some(control(2)), Some(CopyControl::NEVER)];
    let never = Some(CopyControl::NEVER);
    let cases = [
        (0, [Pass; 4], None),
        (100, [Pass; 4], None),
        (101, [Pass; 4], never),
        (150, [Pass; 4], never),
        (151, [Block, Block, Block, Pass], never),
        (200, [Block, Block, Block, Pass], never),
        (201, [Block; 4], None),
    ];
    for kind in [
        Kind::AnalogTelevision,
        Kind::AnalogComponent,
        Kind::AnalogComputerMonitor,
    ] {
        for (level, verdicts, engage) in cases {
            for (cgms_a, expected) in signals.into_iter().zip(verdicts) {
                let output = Output {
                    cgms_a,
                    ..output(kind)
                };
                let decision = decide(&analog_video(level), &output);
                assert_eq!(
                    (decision.verdict, decision.decided_by.number()),
                    (expected, "R-028"),
                    "{level} {cgms_a:?}"
                );
                assert_eq!(decision.engage.cgms_a, engage, "{level}");
            }
        }
    }
}

#[test]
fn r_029_cgms_a_required_and_best_effort() {
    let required = ExplicitRestriction::CgmsARequired(control(2));
    let tried = ExplicitRestriction::CgmsABestEffort(control(1));
    let signals = [None, Some(control(1)), Some(control(2)), Some(CopyControl::NEVER)];
    let never = Some(CopyControl::NEVER);
    let by_required = [Block, Block, Pass, Pass];
    let cases = [
        (vec![required], 100, by_required, Some(control(2))),
        (vec![required], 150, by_required, never),
        (vec![required], 151, [Block, Block, Block, Pass], never),
        (vec![tried], 100, [Pass; 4], Some(control(1))),
        (vec![tried], 101, [Pass; 4], never),
        (vec![tried, required], 0, by_required, Some(control(2))),
    ];
    for (restrictions, level, verdicts, engage) in cases {
        let license = LicenseBody {
            explicit_restrictions: Some(restrictions),
            ..analog_video(level)
        };
        for (cgms_a, expected) in signals.into_iter().zip(verdicts) {
            let output = Output {
                cgms_a,
                ..output(Kind::AnalogTelevision)
            };
            let decision = decide(&license, &output);
            assert_eq!(decision.verdict, expected, "{license:?} {cgms_a:?}");
            assert_eq!(decision.engage.cgms_a, engage, "{license:?}");
            if expected == Block {
                let deciding = if level > 150 { "R-028" } else { "R-029" };
                assert_eq!(decision.decided_by.number(), deciding);
            }
        }
    }
    // Two values in a chain are copy never.
    let (one, other) = (
        restricted(&[ExplicitRestriction::CgmsARequired(control(1))]),
        restricted(&[required]),
    );
    let chain = [&one, &other];
    for (cgms_a, expected) in signals.into_iter().zip([Block, Block, Block, Pass]) {
        let output = Output {
            cgms_a,
            ..output(Kind::AnalogComponent)
        };
        assert_eq!(
            OutputRules::of(&chain).decide(&output, SOFTWARE).verdict,
            expected
        );
    }
}

#[test]
fn r_030_agc_and_colour_stripe_on_small_television_pictures() {
    let license = restricted(&[ExplicitRestriction::AgcAndColourStripe(agc(2))]);
    let of = |kind, picture, value| Output {
        picture,
        agc: agc(value),
        ..output(kind)
    };
    for kind in [Kind::AnalogTelevision, Kind::AnalogComponent] {
        let cases = [
            (Some(SMALL), 1, (Block, "R-030"), 2),
            (Some(SMALL), 2, (Pass, "R-028"), 2),
            (Some(SMALL), 3, (Pass, "R-028"), 2),
            (None, 0, (Block, "R-030"), 2),
            (Some(LARGE), 0, (Pass, "R-028"), 0),
        ];
        for (picture, value, expected, engage) in cases {
            let output = of(kind, picture, value);
            assert_eq!(verdict(&license, &output), expected, "{output:?}");
            assert_eq!(decide(&license, &output).engage.agc, agc(engage));
        }
    }
    let monitor = of(Kind::AnalogComputerMonitor, Some(SMALL), 0);
    assert_eq!(verdict(&license, &monitor), (Pass, "R-028"));
    // A component picture that R-032 reduces is small afterwards.
    let both = restricted(&[
        ExplicitRestriction::AgcAndColourStripe(agc(2)),
        ExplicitRestriction::AnalogComponent,
    ]);
    let large = Output {
        can_reduce: true,
        ..of(Kind::AnalogComponent, Some(LARGE), 0)
    };
    assert_eq!(verdict(&both, &large), (Block, "R-030"));
    // The highest of a chain.
    let more = restricted(&[ExplicitRestriction::AgcAndColourStripe(agc(3))]);
    let chain = [&more, &license];
    let two = of(Kind::AnalogTelevision, None, 2);
    assert_eq!(OutputRules::of(&chain).decide(&two, SOFTWARE).verdict, Block);
}

#[test]
fn r_031_and_r_032_analog_monitors_and_component_are_reduced() {
    let cases = [
        (
            ExplicitRestriction::AnalogComputerMonitor,
            Kind::AnalogComputerMonitor,
            "R-031",
        ),
        (
            ExplicitRestriction::AnalogComponent,
            Kind::AnalogComponent,
            "R-032",
        ),
    ];
    for (restriction, kind, rule) in cases {
        let license = restricted(&[restriction]);
        let of = |can_reduce, picture| Output {
            can_reduce,
            picture,
            ..output(kind)
        };
        assert_eq!(verdict(&license, &of(true, Some(LARGE))), (Reduced, rule));
        assert_eq!(verdict(&license, &of(false, Some(SMALL))), (Reduced, rule));
        assert_eq!(verdict(&license, &of(false, Some(LARGE))), (Block, rule));
        assert_eq!(verdict(&license, &of(false, None)), (Block, rule));
        // Hardware reduces nothing.
        for picture in [SMALL, LARGE] {
            let rules_of = [&license];
            let decision = OutputRules::of(&rules_of).decide(&of(true, Some(picture)), 3000);
            assert_eq!((decision.verdict, decision.decided_by.number()), (Block, rule));
        }
        assert_eq!(
            verdict(&license, &output(Kind::AnalogTelevision)),
            (Pass, "R-028")
        );
        assert_eq!(
            verdict(&license, &output(Kind::UncompressedDigitalVideo)),
            (Pass, "R-026")
        );
    }
}

#[test]
fn r_033_levels_of_compressed_digital_audio() {
    for (level, expected) in [
        (None, Pass),
        (Some(100), Pass),
        (Some(101), Block),
        (Some(300), Block),
    ] {
        let license = with_levels(OutputProtectionLevels {
            compressed_digital_audio: level,
            ..OutputProtectionLevels::default()
        });
        let protected = Output {
            hdcp: HDCP_1_4,
            scms: Some(CopyControl::NEVER),
            ..output(Kind::CompressedDigitalAudio)
        };
        assert_eq!(verdict(&license, &protected), (expected, "R-033"), "{level:?}");
    }
}

#[test]
fn r_034_and_r_035_levels_of_uncompressed_digital_audio() {
    let bare = output(Kind::UncompressedDigitalAudio);
    let outputs = [
        bare,
        Output {
            scms: Some(control(2)),
            ..bare
        },
        Output {
            scms: Some(CopyControl::NEVER),
            ..bare
        },
        Output {
            hdcp: HDCP_1_4,
            ..bare
        },
    ];
    let (hdcp, never) = (Some(HdcpType::Type0), Some(CopyControl::NEVER));
    let cases = [
        (0, [Pass; 4], Pass, None, None),
        (200, [Pass; 4], Pass, None, None),
        (201, [Block, Block, Pass, Pass], Pass, hdcp, never),
        (250, [Block, Block, Pass, Pass], Pass, hdcp, never),
        (251, [Block, Block, Block, Pass], Pass, hdcp, None),
        (300, [Block, Block, Block, Pass], Pass, hdcp, None),
        (301, [Block; 4], Block, None, None),
    ];
    for (level, verdicts, analog, hdcp, scms) in cases {
        let license = uncompressed_audio(level);
        for (output, expected) in outputs.iter().zip(verdicts) {
            assert_eq!(verdict(&license, output), (expected, "R-034"), "{level}");
        }
        let engage = decide(&license, &bare).engage;
        assert_eq!((engage.hdcp, engage.scms), (hdcp, scms), "{level}");
        let by_cable = verdict(&license, &output(Kind::AnalogAudio));
        assert_eq!(by_cable, (analog, "R-035"), "{level}");
    }
}

#[test]
fn r_036_scms_or_hdcp_on_digital_audio() {
    let license = restricted(&[ExplicitRestriction::Scms(control(1))]);
    for (kind, by_level) in [
        (Kind::UncompressedDigitalAudio, "R-034"),
        (Kind::CompressedDigitalAudio, "R-033"),
    ] {
        let signalled = |scms| Output { scms, ..output(kind) };
        let encrypted = Output {
            hdcp: HDCP_1_4,
            ..output(kind)
        };
        assert_eq!(verdict(&license, &signalled(None)), (Block, "R-036"));
        assert_eq!(verdict(&license, &signalled(Some(control(2)))), (Block, "R-036"));
        for passes in [
            signalled(Some(control(1))),
            signalled(Some(CopyControl::NEVER)),
            encrypted,
        ] {
            assert_eq!(verdict(&license, &passes), (Pass, by_level));
        }
        assert_eq!(decide(&license, &signalled(None)).engage.scms, Some(control(1)));
    }
    assert_eq!(verdict(&license, &output(Kind::AnalogAudio)), (Pass, "R-035"));
}

#[test]
fn the_connector_decides_nothing() {
    let license = digital_video(300);
    for connector in [Connector::Hdmi, Connector::Vga, Connector::Internal] {
        let output = Output::bare(connector, Kind::UncompressedDigitalVideo);
        assert_eq!(verdict(&license, &output), (Block, "R-026"));
    }
}
