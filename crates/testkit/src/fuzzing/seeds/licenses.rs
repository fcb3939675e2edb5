//! Licenses, and the messages in which they are asked for and come.

use keyward_license::{
    codec::{Bytes, Wire},
    discovery::Discovery,
    embedded::EmbeddedStore,
    ids::Kid,
    license::{
        AgcAndColourStripe, Binding, BindingKind, CopyControl, ExplicitRestriction, ExtendedRestriction,
        ExtendedRight, Flag, HdcpType, LicenseBody, LicenseKind, OutputProtectionLevels, PlayEnabler,
        PreparedLicense, Resolution,
    },
    response::{Denial, KeyResult, LicenseResponse},
};

use super::{
    super::{
        messages::BODY,
        world::{KID, LEAF_KID, WORLD},
    },
    Seeds, hex, part,
};
use crate::pki::{DAY, NOW};

impl Seeds {
    pub(super) fn leaves(&mut self) {
        let right = WORLD.prepared_leaf(WORLD.leaf_body().encode());
        self.valid("license", "leaf", [&[0], &signed_license(&right)[..]].concat());
        self.valid("license", "leaf-parts", [&[BODY], &parts(&right)[..]].concat());
        type Edit = fn(&mut LicenseBody);
        let edits: [(&str, Edit); 6] = [
            ("other-root", |body| {
                body.binding = Binding::root(Kid::new([9; 16]))
            }),
            ("own-root", |body| body.binding = Binding::root(LEAF_KID)),
            ("to-device", |body| {
                body.binding = Binding::device(&WORLD.device.id())
            }),
            ("simple", |body| body.kind = LicenseKind::Simple),
            ("ends", |body| body.end = Some(NOW.plus(DAY))),
            ("lower-level", |body| body.minimum_security_level = None),
        ];
        for (name, edit) in edits {
            let mut body = WORLD.leaf_body();
            edit(&mut body);
            let other = PreparedLicense {
                body: body.encode(),
                sealed: right.sealed.clone(),
            };
            let bytes = [&[BODY], &parts(&other)[..]].concat();
            self.invalid("license", &format!("leaf-{name}"), bytes);
        }
        let to_device = WORLD.prepared(WORLD.leaf_body().encode());
        self.invalid(
            "license",
            "leaf-sealed-to-device",
            [&[BODY], &parts(&to_device)[..]].concat(),
        );
        let under_root = WORLD.prepared_leaf(WORLD.license_body().encode());
        self.invalid(
            "license",
            "simple-under-root",
            [&[BODY], &parts(&under_root)[..]].concat(),
        );
    }

    pub(super) fn embedded_stores(&mut self) {
        let target = "embedded_store";
        let mut store = EmbeddedStore::default();
        store.put(&WORLD.leaf()).unwrap();
        let filled = store.write(2048).unwrap();
        self.accepted(target, "leaf-and-room", &filled[..]);
        let simple = signed_license(&WORLD.prepared(WORLD.license_body().encode()));
        store.put(&simple).unwrap();
        let array: Vec<Bytes> = store.licenses().iter().cloned().map(Bytes).collect();
        self.accepted(target, "two-full", store.write(array.encode().len() + 4).unwrap());
        self.accepted(target, "nothing", []);
        self.accepted(target, "empty", [0; 40]);
        self.accepted(target, "no-licenses", hex("000000018000"));
        self.accepted(target, "short-licenses", hex("00000004824041aa0000"));
        for (name, bytes) in [
            ("too-short", "010203"),
            ("length-beyond", "0000000580000000"),
            ("length-of-nothing", "0000000080"),
            ("length-huge", "ffffffff80"),
            ("rest-not-zero", "00000001800001"),
            ("trailing-in-array", "000000028000 00"),
            ("not-an-array", "0000000141"),
            ("text", "000000028160"),
            ("indefinite", "000000029fff"),
        ] {
            self.invalid(target, name, hex(bytes));
        }
        let many = vec![Bytes(Vec::new()); 65].encode();
        let length = u32::try_from(many.len()).unwrap().to_be_bytes();
        self.invalid(target, "65-licenses", [&length[..], &many].concat());
    }

    pub(super) fn licenses(&mut self) {
        let right = WORLD.prepared(WORLD.license_body().encode());
        self.valid("license", "message", [&[0], &signed_license(&right)[..]].concat());
        self.valid("license", "parts", [&[BODY], &parts(&right)[..]].concat());
        // They are judged, and their key does not open.
        for (name, terms) in other_terms().into_iter().chain(more_terms()) {
            let other = PreparedLicense {
                body: terms.encode(),
                sealed: right.sealed.clone(),
            };
            self.invalid(
                "license",
                &format!("parts-{name}"),
                [&[BODY], &parts(&other)[..]].concat(),
            );
        }
    }

    pub(super) fn exchanges(&mut self) {
        let world = &*WORLD;
        let both: [(&'static str, &[u8], &[u8]); 2] = [
            ("license_request", &world.request.body, &world.request.signed),
            (
                "enrolment_request",
                &world.enrolment.body,
                &world.enrolment.signed,
            ),
        ];
        for (target, body, signed) in both {
            self.valid(target, "body", [&[BODY], body].concat());
            self.valid(target, "message", [&[0], signed].concat());
        }
        let discovery = world.discovery().encode();
        self.valid("discovery", "body", [&[BODY], &discovery[..]].concat());
        self.valid(
            "discovery",
            "message",
            [&[0], &world.sign::<Discovery>(&discovery, &[])[..]].concat(),
        );
        let chainless = Discovery {
            request_encryption: Vec::new(),
            ..world.discovery()
        };
        self.invalid(
            "discovery",
            "body-without-chain",
            [&[BODY], &chainless.encode()[..]].concat(),
        );
        let license = signed_license(&world.prepared(world.license_body().encode()));
        self.valid(
            "license_response",
            "license",
            [&[BODY], &world.response(license).encode()[..]].concat(),
        );
        self.valid(
            "license_response",
            "denial",
            [&[BODY], &denied().encode()[..]].concat(),
        );
        let result = KeyResult {
            kid: KID,
            license: None,
            denial: None,
        };
        let neither = LicenseResponse {
            results: vec![result],
            ..denied()
        };
        self.invalid(
            "license_response",
            "neither",
            [&[BODY], &neither.encode()[..]].concat(),
        );
        let response = world.enrolled(&world.enrolment);
        self.valid(
            "enrolment_response",
            "body",
            [&[BODY], &response.encode()[..]].concat(),
        );
        let mut one_share = response.clone();
        one_share.shares.pop();
        self.invalid(
            "enrolment_response",
            "one-share",
            [&[BODY], &one_share.encode()[..]].concat(),
        );
        let mut swapped = response;
        swapped.shares.reverse();
        self.invalid(
            "enrolment_response",
            "shares-swapped",
            [&[BODY], &swapped.encode()[..]].concat(),
        );
    }
}

/// A license for the client under terms that are not the right ones, each wrong or other in one way.
pub(super) fn other_terms() -> Vec<(&'static str, LicenseBody)> {
    let right = || WORLD.license_body();
    let mut other_device = right();
    other_device.binding.id = Bytes(vec![1; 32]);
    let mut domain = right();
    domain.binding.kind = BindingKind::Domain;
    let mut two_keys = right();
    two_keys.keys.push(two_keys.keys.first().unwrap().clone());
    let mut other_kid = right();
    other_kid.keys.first_mut().unwrap().kid = Kid::new([9; 16]);
    vec![
        (
            "longer",
            LicenseBody {
                end: Some(NOW.plus(2 * DAY)),
                ..right()
            },
        ),
        ("endless", LicenseBody { end: None, ..right() }),
        (
            "ended",
            LicenseBody {
                end: Some(NOW),
                ..right()
            },
        ),
        (
            "backwards",
            LicenseBody {
                begin: Some(NOW),
                end: Some(NOW),
                ..right()
            },
        ),
        (
            "no-right",
            LicenseBody {
                rights: Vec::new(),
                ..right()
            },
        ),
        (
            "lower-level",
            LicenseBody {
                minimum_security_level: None,
                ..right()
            },
        ),
        (
            "in-memory",
            LicenseBody {
                persistent: false,
                nonce: Some(WORLD.request.nonce),
                ..right()
            },
        ),
        (
            "other-nonce",
            LicenseBody {
                persistent: false,
                nonce: Some(WORLD.enrolment.nonce),
                ..right()
            },
        ),
        (
            "leaf",
            LicenseBody {
                kind: LicenseKind::Leaf,
                ..right()
            },
        ),
        (
            "future-version",
            LicenseBody {
                version: 2,
                ..right()
            },
        ),
        ("other-device", other_device),
        ("domain", domain),
        ("two-keys", two_keys),
        ("other-kid", other_kid),
    ]
}

/// Terms that a license may have and that the client of the world does not announce.
pub(super) fn more_terms() -> Vec<(&'static str, LicenseBody)> {
    let right = || WORLD.license_body();
    let extended = |kind, must_understand| ExtendedRestriction {
        kind,
        must_understand,
        best_effort: true,
        data: Bytes(vec![2]),
    };
    let rental = LicenseBody {
        expiration_after_first_play: Some(2 * DAY),
        real_time_expiration: Some(Flag),
        grace_period: Some(60),
        removal_date: Some(NOW.plus(2 * DAY)),
        ..right()
    };
    let outputs = LicenseBody {
        output_protection_levels: Some(OutputProtectionLevels {
            uncompressed_digital_audio: Some(250),
            uncompressed_digital_video: Some(300),
            analog_video: Some(150),
            ..OutputProtectionLevels::default()
        }),
        explicit_restrictions: Some(vec![
            ExplicitRestriction::HdcpType(HdcpType::Type1),
            ExplicitRestriction::AgcAndColourStripe(AgcAndColourStripe::FOUR_LINES),
            ExplicitRestriction::Scms(CopyControl::NEVER),
            ExplicitRestriction::MaximumDecodeResolution(Resolution {
                width: 1920,
                height: 1080,
            }),
        ]),
        play_enablers: Some(vec![PlayEnabler::AIRPLAY, PlayEnabler::UNKNOWN_OUTPUT_REDUCED]),
        ..right()
    };
    let application = LicenseBody {
        source_id: Some(267),
        extended_restrictions: Some(vec![extended(400, true), extended(401, false)]),
        extended_rights: Some(vec![ExtendedRight {
            kind: 500,
            restrictions: Some(vec![extended(400, false)]),
        }]),
        ..right()
    };
    vec![
        ("rental", rental),
        ("outputs", outputs),
        ("application", application),
    ]
}

pub(super) fn denied() -> LicenseResponse {
    let denial = Denial {
        code: 301,
        sentence: "not bought".into(),
        url: Some("https://shop.example/".into()),
    };
    let result = KeyResult {
        kid: KID,
        license: None,
        denial: Some(denial),
    };
    LicenseResponse {
        results: vec![result],
        ..WORLD.response(Vec::new())
    }
}

pub(super) fn signed_license(prepared: &PreparedLicense) -> Vec<u8> {
    WORLD.sign::<LicenseBody>(&prepared.body, &[&prepared.sealed])
}

/// Two bytes of length and the body, then the sealed part.
pub(super) fn parts(prepared: &PreparedLicense) -> Vec<u8> {
    [&part(&prepared.body)[..], &prepared.sealed].concat()
}
