//! Every parameter of terms, seen in the license that comes of it.

use std::collections::BTreeSet;

use keyward_license::{
    license::{HdcpType, PlayEnabler, Resolution, Right},
    time::Timestamp,
};
use keyward_server::test_mode::{Does, PARAMETERS};

use super::*;
use ExplicitRestriction as Restriction;

type Effect = fn(&LicenseBody) -> bool;

/// What is asked for, and what is seen of it.
const EFFECTS: &[(&str, Effect)] = &[
    ("sl:150", |license| license.minimum_security_level == Some(150)),
    ("kid:header", |license| license.keys[0].kid == FILM),
    ("kid:61616161-6161-6161-6161-616161616161", |license| {
        license.keys[0].kid == FILM
    }),
    ("playright:true", |license| license.rights == [Right::Play]),
    ("playright:false,extendedright:(type:500)", |license| {
        license.rights.is_empty()
    }),
    (
        "readright:false,executeright:false,simple:false,securestop:false",
        |license| license.rights == [Right::Play],
    ),
    (
        "extendedright:(type:500,extended:((type:400,mustunderstand:true,besteffort:false,data:Ah==))),extendedright:(type:501)",
        |license| {
            let rights = license.extended_rights.as_ref().unwrap();
            let restriction = &rights[0].restrictions()[0];
            rights.iter().map(|right| right.kind).eq([500, 501])
                && (
                    restriction.kind,
                    restriction.must_understand,
                    restriction.best_effort,
                ) == (400, true, false)
                && restriction.data.0 == [2]
        },
    ),
    ("persist:true", |license| {
        license.persistent && license.nonce.is_none()
    }),
    ("persist:FALSE", |license| {
        !license.persistent && license.nonce.is_some()
    }),
    ("persist:true,begindate:20300401", |license| {
        license.begin == Some(Timestamp(1_901_232_000))
    }),
    ("begindate:20200101", |license| {
        license.begin == Some(Timestamp(1_577_836_800))
    }),
    ("enddate:20300401120000", |license| {
        license.end == Some(Timestamp(1_901_275_200))
    }),
    ("expiration:20300401", |license| {
        license.end == Some(Timestamp(1_901_232_000))
    }),
    ("firstexp:60", |license| {
        license.expiration_after_first_play == Some(60)
    }),
    ("firstplayexpiration:172800", |license| {
        license.expiration_after_first_play == Some(172_800)
    }),
    ("realtime:true,firstexp:60", |license| {
        license.real_time_expiration.is_some()
    }),
    ("realtime:false", |license| license.real_time_expiration.is_none()),
    ("persist:true,enddate:20300401,removaldate:20300402", |license| {
        license.removal_date == Some(Timestamp(1_901_318_400))
    }),
    ("sourceid:267", |license| license.source_id == Some(267)),
    ("caopl:200,ucaopl:300,cvopl:500,ucvopl:300,avopl:200", |license| {
        let levels = license.output_protection_levels.unwrap();
        [
            levels.compressed_digital_audio,
            levels.uncompressed_digital_audio,
            levels.compressed_digital_video,
            levels.uncompressed_digital_video,
            levels.analog_video,
        ] == [Some(200), Some(300), Some(500), Some(300), Some(200)]
    }),
    (
        "ucvopl:300,dvop:(guid:ABB2C6F1-E663-4625-A945-972D17B231E7,data:AAAAAQ==)",
        |license| license.explicit_restrictions() == [Restriction::HdcpType(HdcpType::Type1)],
    ),
    (
        "daop:(guid:6D5CFA59-C250-4426-930E-FAC72C8FCFA6,data:Aw==)",
        |license| license.explicit_restrictions()[0].data() == [3],
    ),
    (
        "avop:(guid:C3FD11C6-F8B7-4D20-B008-1DB17D61F2DA,data:AgAAAA==)",
        |license| license.explicit_restrictions()[0].data() == [2, 0, 0, 0],
    ),
    (
        "avop:(guid:760AE755-682A-41E0-B1B3-DCDF836A7306,data:AAAAAQ==),avop:(guid:D783A191-E083-4BAF-B2DA-E69F910B3772,data:AAfvQA==)",
        |license| {
            license.explicit_restrictions()
                == [Restriction::DigitalVideoOnly, Restriction::AnalogComputerMonitor]
        },
    ),
    ("explicitacp:2", |license| {
        license.explicit_restrictions()[0].data() == [2, 0, 0, 0]
    }),
    ("maxres:1920x1080", |license| {
        let (width, height) = (1920, 1080);
        license.explicit_restrictions()
            == [Restriction::MaximumDecodeResolution(Resolution { width, height })]
    }),
    (
        "extendedrestrictions:((type:400,mustunderstand:true,besteffort:false,data:Ah==),(type:402,besteffort:true))",
        |license| {
            let restrictions = license.extended_restrictions();
            restrictions
                .iter()
                .map(|one| (one.kind, one.must_understand, one.best_effort))
                .eq([(400, true, false), (402, false, true)])
        },
    ),
    (
        "playenablers:(786627D8-C2A6-44BE-8F88-08AE255B01A7,5ABF0F0D-DC29-4B82-9982-FD8E57525BFC)",
        |license| license.play_enablers() == [PlayEnabler::UNKNOWN_OUTPUT, PlayEnabler::AIRPLAY],
    ),
    ("allowunknownsd:true", |license| {
        license.play_enablers() == [PlayEnabler::UNKNOWN_OUTPUT_REDUCED]
    }),
    ("allowunknownhd:true,allowunknownsd:true", |license| {
        license.play_enablers() == [PlayEnabler::UNKNOWN_OUTPUT]
    }),
];

/// Parameters that other files of these tests see the effect of: keys, chains, and the whole answer.
const ELSEWHERE: [&str; 15] = [
    "keyseed",
    "contentkey",
    "ckt",
    "isroot",
    "rootid",
    "algorithm",
    "operation",
    "tid",
    "errorcode",
    "msg",
    "revoked",
    "clock",
    "latency",
    "transaction",
    "accountid",
];

#[tokio::test]
async fn each_parameter_is_seen_in_the_license() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (group, effect) in EFFECTS {
        let response = ask(&world, &mut device, &[FILM], &format!("cfg=({group})")).await;
        let result = result(&response, FILM);
        assert_eq!(result.denial, None, "{group}");
        let (license, key) = device.open(&world, result);
        assert!(effect(license.body()), "{group}: {:?}", license.body());
        assert_eq!(key, keys::of_test_seed(FILM));
    }
}

#[test]
fn no_parameter_is_untried() {
    let tried: BTreeSet<&str> = EFFECTS
        .iter()
        .flat_map(|(group, _)| group.split([',', '(']))
        .filter_map(|item| item.split_once(':').map(|(name, _)| name))
        .chain(ELSEWHERE)
        .collect();
    for parameter in PARAMETERS {
        if !matches!(parameter.does, Does::Refused(..)) {
            assert!(tried.contains(parameter.name), "{}", parameter.name);
        }
        for alias in parameter.aliases {
            assert!(tried.contains(alias) || *alias == "ck", "{alias}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_denied_by_its_name() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for parameter in PARAMETERS {
        let (value, code, why) = match parameter.does {
            Does::Works => continue,
            Does::RefusedIfSet(code, why) => ("true", code, why),
            Does::Refused(code, why) => ("A/uHOj7F+UaM+Jlny2obFA==", code, why),
        };
        let query = format!("cfg=({}:{value})", parameter.name);
        let told = denied(&ask(&world, &mut device, &[FILM], &query).await);
        assert_eq!(told.code, code.number(), "{query}");
        let expected = format!("test parameter `{}` is refused: {why}", parameter.name);
        assert_eq!(told.sentence, expected);
    }
}

#[tokio::test]
async fn a_value_that_is_none_is_denied_by_its_parameters_name() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (item, name) in [
        ("sl:1000", "sl"),
        ("kid:x", "kid"),
        ("rootid:header", "rootid"),
        ("tid:1", "tid"),
        ("playright:1", "playright"),
        ("readright:yes", "readright"),
        ("extendedright:500", "extendedright"),
        ("persist:1", "persist"),
        ("begindate:2017-01-01", "begindate"),
        ("enddate:20171301", "enddate"),
        ("expiration:now", "enddate"),
        ("firstexp:0", "firstexp"),
        ("firstexp:3153600001", "firstexp"),
        ("realtime:", "empty"),
        ("removaldate:1", "removaldate"),
        ("isroot:0", "isroot"),
        ("sourceid:-1", "sourceid"),
        ("caopl:120", "caopl"),
        ("ucaopl:99", "ucaopl"),
        ("cvopl:100", "cvopl"),
        ("ucvopl:200", "ucvopl"),
        ("avopl:250", "avopl"),
        (
            "dvop:(guid:6D5CFA59-C250-4426-930E-FAC72C8FCFA6,data:Aw==)",
            "dvop",
        ),
        ("daop:(guid:x)", "daop"),
        ("avop:(data:Aw==)", "avop"),
        ("extendedrestrictions:(type:400)", "extendedrestrictions"),
        ("playenablers:x", "playenablers"),
        ("explicitacp:4", "explicitacp"),
        ("maxres:1920", "maxres"),
        ("allowunknownsd:x", "allowunknownsd"),
        ("allowunknownhd:x", "allowunknownhd"),
        ("revoked:x", "revoked"),
        ("transaction:x", "transaction"),
    ] {
        let told = denied(&ask(&world, &mut device, &[FILM], &format!("cfg=({item})")).await);
        assert_eq!(told.code, SERVICE_SPECIFIC, "{item}");
        assert!(told.sentence.contains(name), "{item}: {}", told.sentence);
    }
}

#[tokio::test]
async fn terms_that_make_no_license_are_denied_with_the_reason() {
    let world = world().await;
    let mut device = device(&world, 3).await;
    for (group, code, expected) in [
        ("realtime:true", 308, "real-time expiration needs an end"),
        ("playright:false", 308, "at least one right"),
        (
            "dvop:(guid:ABB2C6F1-E663-4625-A945-972D17B231E7,data:AAAAAQ==)",
            308,
            "at least 271",
        ),
        ("maxres:1x1,maxres:2x2", 308, "`maxres` is given twice"),
        (
            "maxres:1x1,dvop:(guid:9645E831-E01D-4FFF-8342-0A720E3E028F,data:AAAAAQAAAAE=)",
            308,
            "holds something twice",
        ),
        ("enddate:20200101", 308, "ended already"),
        ("begindate:20300401", 308, "must be allowed to be stored"),
        ("begindate:20600101,persist:true", 308, "within 10 years"),
        ("removaldate:20300401,persist:true", 308, "needs an `enddate`"),
        (
            "enddate:20300401,removaldate:20300331,persist:true",
            308,
            "needs an `enddate`",
        ),
        // What this device cannot use.
        ("sl:3000", 303, "security level"),
        ("sourceid:268", 304, "source"),
        (
            "extendedrestrictions:((type:402,mustunderstand:true))",
            304,
            "does not understand",
        ),
    ] {
        let told = denied(&ask(&world, &mut device, &[FILM], &format!("cfg=({group})")).await);
        assert_eq!(told.code, code, "{group}: {}", told.sentence);
        assert!(told.sentence.contains(expected), "{group}: {}", told.sentence);
    }
}
