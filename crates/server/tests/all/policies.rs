//! Policies against a whole server, without HTTP: what is written, what is decided for a device, and what it is told.

use crate::asking;
use crate::common::{ACCOUNT, Device, KID, NOW, World, denial};
use keyward_crypto::hpke::Suite;
use keyward_license::{
    ids::Kid,
    license::{
        ExplicitRestriction, ExtendedRestriction, ExtendedRight, Flag, Guid, HdcpType, KeyType, LicenseBody,
        OutputProtectionLevels, PlayEnabler, Right,
    },
    request::{ClockKind, LicenseRequest},
    response::{Denial, LicenseResponse},
    time::Timestamp,
    usage_rules::{Action, Decision, Host, Refusal, Usage, evaluate},
};
use keyward_server::{
    Error,
    admin::TokenRequest,
    policy::{PolicyFault, PolicyTerms, Preset},
};

const OTHER: Kid = Kid::new([0x22; 16]);
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

impl World {
    /// Grants `KID` under a new policy of these terms.
    async fn offer(&self, name: &str, terms: PolicyTerms) {
        self.server.create_policy(name, terms).await.unwrap();
        self.server.grant(ACCOUNT, Some(KID), name, None).await.unwrap();
    }

    /// Opens the operator again with a part of its configuration replaced.
    async fn configure(&mut self, part: &str, by: &str) {
        let path = self.dir().join("operator.toml");
        let toml = std::fs::read_to_string(&path).unwrap();
        assert!(toml.contains(part), "{part}");
        std::fs::write(&path, toml.replace(part, by)).unwrap();
        self.reopen().await;
    }

    async fn device_of_level(&self, seed: u8, security_level: u64) -> Device {
        let mut device = Device::new(seed, &Suite::ALL);
        let token = TokenRequest {
            security_level,
            ..TokenRequest::new(ACCOUNT)
        };
        device.enrol(self, &self.token_for(token).await).await.unwrap();
        device
    }
}

/// Asks for `KID` with a request that the test changes.
async fn ask(world: &World, device: &mut Device, change: impl Fn(&mut LicenseRequest)) -> LicenseResponse {
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, &[KID]);
    change(&mut body);
    device.ask(world, &body).await.unwrap()
}

async fn license(world: &World, device: &mut Device) -> LicenseBody {
    let response = ask(world, device, |_| {}).await;
    device.open(world, &response.results[0]).0.body().clone()
}

fn denied(response: &LicenseResponse) -> &Denial {
    assert!(response.results[0].license.is_none());
    response.results[0].denial.as_ref().unwrap()
}

/// Whether the license may be played at a time by a device of level 2000 that first played it then.
fn plays(license: &LicenseBody, first_play: Option<Timestamp>, at: Timestamp) -> Result<(), Refusal> {
    let usage = Usage {
        first_play,
        ..Usage::default()
    };
    match evaluate(&[license], &usage, &Host::of_level(2000), Action::Play, Some(at)) {
        Decision::Allowed(_) => Ok(()),
        Decision::Refused(refusal) => Err(refusal),
    }
}

#[tokio::test]
async fn a_rental_begins_within_a_month_and_ends_after_two_days() {
    let world = World::new().await;
    world.offer("rental", Preset::Rental.terms()).await;
    let mut device = world.device(1).await;
    let rental = license(&world, &mut device).await;
    assert!(rental.persistent);
    assert!(plays(&rental, None, NOW.minus(5 * MINUTE)).is_ok());
    assert!(matches!(
        plays(&rental, None, NOW.minus(5 * MINUTE + 1)),
        Err(Refusal::NotYetValid { .. })
    ));
    let end = NOW.plus(30 * DAY);
    assert!(plays(&rental, None, end.minus(1)).is_ok());
    assert_eq!(plays(&rental, None, end), Err(Refusal::Ended { end }));
    assert_eq!(rental.removal_date, Some(end));
    let (first, late) = (NOW.plus(DAY), NOW.plus(3 * DAY));
    assert!(plays(&rental, Some(first), late.minus(1)).is_ok());
    assert_eq!(
        plays(&rental, Some(first), late),
        Err(Refusal::FirstPlayExpired { at: late })
    );
}

#[tokio::test]
async fn what_each_other_preset_gives_a_device() {
    let world = World::new().await;
    let mut device = world.device(2).await;
    let mut given = Vec::new();
    for preset in Preset::ALL.into_iter().skip(1) {
        world.offer(preset.name(), preset.terms()).await;
        let license = license(&world, &mut device).await;
        given.push((
            preset.name(),
            license.persistent,
            license.begin.map(|begin| NOW.0 - begin.0),
            license.end.map(|end| end.0 - NOW.0),
            license.usable_until().map(|end| end.0 - NOW.0),
            license.real_time_expiration.is_some(),
            license.minimum_security_level.unwrap(),
        ));
    }
    let five = Some(5 * MINUTE);
    let expected = [
        (
            "rental-streaming",
            false,
            five,
            Some(48 * HOUR),
            Some(48 * HOUR),
            false,
            2000,
        ),
        (
            "subscription",
            true,
            five,
            Some(30 * DAY),
            Some(33 * DAY),
            false,
            2000,
        ),
        ("purchase", true, None, None, None, false, 2000),
        (
            "live",
            false,
            five,
            Some(6 * HOUR),
            Some(6 * HOUR + 10 * MINUTE),
            true,
            2000,
        ),
        ("limited-duration", false, None, Some(30), Some(60), true, 2000),
        ("test", true, None, Some(DAY), Some(DAY), false, 150),
    ];
    assert_eq!(given, expected);
}

#[tokio::test]
async fn a_license_of_limited_duration_asks_for_the_next_and_stops_what_plays() {
    let world = World::new().await;
    world.offer("limited", Preset::LimitedDuration.terms()).await;
    let mut device = world.device(3).await;
    let license = license(&world, &mut device).await;
    let playing = Usage {
        first_play: Some(NOW),
        playing: true,
    };
    let at = |seconds| {
        let (host, now) = (Host::of_level(2000), Some(NOW.plus(seconds)));
        evaluate(&[&license], &playing, &host, Action::Play, now)
    };
    let Decision::Allowed(first) = at(0) else {
        panic!("it plays")
    };
    assert_eq!((first.in_grace, first.changes_at), (false, Some(NOW.plus(30))));
    let Decision::Allowed(later) = at(30) else {
        panic!("it still plays")
    };
    assert_eq!((later.in_grace, later.playback_ends), (true, Some(NOW.plus(60))));
    assert!(matches!(at(60), Decision::Refused(Refusal::Ended { .. })));
}

#[tokio::test]
async fn every_term_of_a_policy_is_in_the_license() {
    let world = World::new().await;
    let restriction = ExtendedRestriction {
        kind: 400,
        must_understand: true,
        best_effort: false,
        data: keyward_license::codec::Bytes(vec![1, 2]),
    };
    let right = ExtendedRight {
        kind: 500,
        restrictions: Some(vec![restriction.clone()]),
    };
    let levels = OutputProtectionLevels {
        uncompressed_digital_video: Some(300),
        ..OutputProtectionLevels::default()
    };
    let terms = PolicyTerms {
        duration_seconds: Some(500),
        end: Some(NOW.plus(1000)),
        expiration_after_first_play_seconds: Some(200),
        real_time_expiration: true,
        grace_period_seconds: Some(50),
        removal_after_end_seconds: Some(25),
        output_protection_levels: Some(levels),
        explicit_restrictions: vec![ExplicitRestriction::HdcpType(HdcpType::Type1)],
        play_enablers: vec![PlayEnabler::AIRPLAY],
        source_id: Some(267),
        extended_restrictions: vec![restriction.clone()],
        extended_rights: vec![right.clone()],
        ..PolicyTerms::DEFAULT
    };
    world.offer("all", terms.clone()).await;
    let mut device = world.device(4).await;
    let able = |body: &mut LicenseRequest| {
        body.capabilities.explicit_restrictions = Some(vec![ExplicitRestriction::HDCP_TYPE]);
        body.capabilities.extended_restrictions = Some(vec![400]);
        body.capabilities.source_ids = Some(vec![267]);
    };
    let response = ask(&world, &mut device, able).await;
    let license = device.open(&world, &response.results[0]).0.body().clone();
    let expected = LicenseBody {
        rights: vec![Right::Play],
        begin: Some(NOW.minus(300)),
        end: Some(NOW.plus(500)),
        minimum_security_level: Some(2000),
        expiration_after_first_play: Some(200),
        real_time_expiration: Some(Flag),
        removal_date: Some(NOW.plus(575)),
        grace_period: Some(50),
        output_protection_levels: Some(levels),
        explicit_restrictions: Some(terms.explicit_restrictions.clone()),
        play_enablers: Some(terms.play_enablers.clone()),
        source_id: Some(267),
        extended_restrictions: Some(vec![restriction]),
        extended_rights: Some(vec![right]),
        ..license.clone()
    };
    assert_eq!(license, expected);
    // What is written is read again as it was.
    let versions = world.server.policy_versions("all").await.unwrap();
    assert_eq!(versions[0].terms, terms);

    // A client that keeps no license has nothing to remove.
    let in_memory = ask(&world, &mut device, |body| {
        able(body);
        body.persistent = false;
    })
    .await;
    let license = device.open(&world, &in_memory.results[0]).0.body().clone();
    assert_eq!((license.persistent, license.removal_date), (false, None));
}

#[tokio::test]
async fn a_client_gets_no_term_that_it_did_not_announce_and_is_told_which() {
    let world = World::new().await;
    let watermark = Guid::new([7; 16]);
    let terms = PolicyTerms {
        explicit_restrictions: vec![ExplicitRestriction::Watermark(watermark)],
        source_id: Some(267),
        extended_restrictions: vec![ExtendedRestriction {
            kind: 400,
            must_understand: true,
            best_effort: false,
            data: keyward_license::codec::Bytes(vec![]),
        }],
        ..PolicyTerms::DEFAULT
    };
    world.offer("demanding", terms).await;
    let mut device = world.device(5).await;
    let able = |body: &mut LicenseRequest| {
        body.capabilities.explicit_restrictions = Some(vec![ExplicitRestriction::WATERMARK]);
        body.capabilities.extended_restrictions = Some(vec![400]);
        body.capabilities.source_ids = Some(vec![267]);
        body.capabilities.watermarks = Some(vec![watermark]);
    };
    assert!(ask(&world, &mut device, able).await.results[0].license.is_some());
    type Change = fn(&mut LicenseRequest);
    let lacking: [(Change, &str); 6] = [
        (
            |body| body.capabilities.terms.retain(|term| *term != 24),
            "the client does not enforce a term of the license: `source_id`",
        ),
        (
            |body| body.capabilities.explicit_restrictions = Some(vec![ExplicitRestriction::HDCP_TYPE]),
            "the client does not enforce an explicit restriction of the license: `watermark`",
        ),
        (|body| body.capabilities.source_ids = None, "source 267"),
        (|body| body.capabilities.extended_restrictions = None, "400"),
        (|body| body.capabilities.watermarks = None, "watermark"),
        (|body| body.capabilities.clock = ClockKind::None, "clock"),
    ];
    for (lack, expected) in lacking {
        let response = ask(&world, &mut device, |body| {
            able(body);
            lack(body);
        })
        .await;
        let denial = denied(&response);
        assert_eq!(denial.code, 304, "{expected}");
        assert!(denial.sentence.contains(expected), "{}", denial.sentence);
    }
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 1);
}

/// Tiered quality: one asset, a key for HD and one for UHD, one policy.
#[tokio::test]
async fn a_device_gets_the_keys_of_its_security_level_and_denials_for_the_rest() {
    let world = World::new().await;
    let server = &world.server;
    server
        .register_key_of_level(OTHER, KeyType::CencCbc, 1, Some(3000))
        .await
        .unwrap();
    let mut software = world.device_of_level(6, 2000).await;
    let mut hardware = world.device_of_level(7, 3000).await;
    let recipient = world.recipient().await;
    let body = software.request(&recipient, &[KID, OTHER]);
    let partial = software.ask(&world, &body).await.unwrap();
    assert_eq!(
        software
            .open(&world, &partial.results[0])
            .0
            .body()
            .minimum_security_level,
        Some(2000)
    );
    assert_eq!(denial(&partial.results[1]), 303);
    let body = hardware.request(&recipient, &[KID, OTHER]);
    let whole = hardware.ask(&world, &body).await.unwrap();
    let levels = [0, 1].map(|at| {
        let (license, _) = hardware.open(&world, &whole.results[at]);
        license.body().minimum_security_level
    });
    // The client is told as well, so that the license is of no use on a device that is less.
    assert_eq!(levels, [Some(2000), Some(3000)]);

    // The stricter of policy and key counts.
    world.offer("hardware", PolicyTerms::of_level(3000)).await;
    server
        .register_key_of_level(KID, KeyType::File, 1, Some(150))
        .await
        .unwrap();
    let body = software.request(&recipient, &[KID]);
    assert_eq!(
        denial(&software.ask(&world, &body).await.unwrap().results[0]),
        303
    );
}

#[tokio::test]
async fn a_keys_level_is_set_by_registering_it_again_and_only_then() {
    let world = World::new().await;
    let (server, level) = (&world.server, async || {
        let keys = world.server.keys().await.unwrap();
        keys.iter()
            .find(|key| key.kid == KID)
            .unwrap()
            .minimum_security_level
    });
    assert_eq!(level().await, None);
    for (given, expected) in [
        (Some(3000), Some(3000)),
        (None, Some(3000)),
        (Some(2000), Some(2000)),
        (Some(2000), Some(2000)),
    ] {
        server
            .register_key_of_level(KID, KeyType::File, 1, given)
            .await
            .unwrap();
        assert_eq!(level().await, expected);
    }
    let events = "SELECT count(*) FROM events WHERE kind = 'key-level-set'";
    assert_eq!(world.count(events).await, 2);
    assert!(matches!(
        server
            .register_key_of_level(KID, KeyType::File, 1, Some(1000))
            .await,
        Err(Error::OutOfRange { .. })
    ));
    assert!(matches!(
        server
            .register_key_of_level(KID, KeyType::CencCtr, 1, Some(150))
            .await,
        Err(Error::KeyConflict(_))
    ));
    assert_eq!(level().await, Some(2000));
}

#[tokio::test]
async fn a_track_gets_the_level_of_its_label() {
    let mut world = World::new().await;
    world
        .configure(
            "[packaging]\n",
            "[packaging]\nminimum_security_levels = { video-uhd = 3000 }\n",
        )
        .await;
    let mut packager = world.packager(8, &Suite::ALL).await;
    let recipient = world.recipient().await;
    let tracks = ["video-uhd", "video-hd"].map(|label| asking::track(label, KeyType::CencCbc));
    let body = asking::request(&mut packager, &recipient, "film", tracks.to_vec());
    let packaged = asking::ask(&world, &mut packager, &body).await.unwrap();
    let keys = world.server.keys().await.unwrap();
    let levels = packaged.kids().into_iter().map(|kid| {
        let key = keys.iter().find(|key| key.kid == kid).unwrap();
        key.minimum_security_level
    });
    assert_eq!(levels.collect::<Vec<_>>(), [Some(3000), None]);
}

#[tokio::test]
async fn a_denial_says_what_the_operator_says_also_when_it_is_told_again() {
    let mut world = World::new().await;
    let texts = "[denials]
        not-entitled = { sentence = \"Not part of your plan.\", url = \"https://shop.example/plans\" }
        security-level-too-low = { url = \"https://shop.example/devices\" }\n";
    world.configure("[denials]\n", texts).await;
    let server = &world.server;
    server
        .register_key_of_level(OTHER, KeyType::File, 1, Some(3000))
        .await
        .unwrap();
    let all = server.entitlements(ACCOUNT).await.unwrap();
    server.revoke_entitlement(all[0].id).await.unwrap();
    server.grant(ACCOUNT, Some(OTHER), "default", None).await.unwrap();
    let mut device = world.device(9).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID, OTHER]);
    let told = device.ask(&world, &body).await.unwrap();
    let denials: Vec<_> = told
        .results
        .iter()
        .filter_map(|result| result.denial.clone())
        .collect();
    let [entitlement, level] = &denials[..] else {
        panic!("{denials:?}")
    };
    assert_eq!(
        (
            entitlement.code,
            &entitlement.sentence[..],
            entitlement.url.as_deref()
        ),
        (301, "Not part of your plan.", Some("https://shop.example/plans"))
    );
    assert_eq!(
        (level.code, level.url.as_deref()),
        (303, Some("https://shop.example/devices"))
    );
    assert!(level.sentence.contains("3000"), "{}", level.sentence);
    // From memory, and then from what was recorded.
    assert_eq!(device.ask(&world, &body).await.unwrap().results, told.results);
    world.reopen().await;
    assert_eq!(device.ask(&world, &body).await.unwrap().results, told.results);
}

#[tokio::test]
async fn versions_stay_and_the_newest_counts() {
    let world = World::new().await;
    world.offer("rental", Preset::Rental.terms()).await;
    let mut device = world.device(10).await;
    let first = license(&world, &mut device).await;
    let short = PolicyTerms {
        duration_seconds: Some(DAY),
        expiration_after_first_play_seconds: Some(HOUR),
        ..Preset::Rental.terms()
    };
    assert_eq!(
        world.server.create_policy("rental", short.clone()).await.unwrap(),
        2
    );
    let second = license(&world, &mut device).await;
    assert_eq!(
        (
            first.expiration_after_first_play,
            second.expiration_after_first_play
        ),
        (Some(48 * HOUR), Some(HOUR))
    );
    let versions = world.server.policy_versions("rental").await.unwrap();
    let versions: Vec<_> = versions.into_iter().map(|one| (one.version, one.terms)).collect();
    assert_eq!(versions, [(2, short), (1, Preset::Rental.terms())]);
    assert!(matches!(
        world.server.policy_versions("lease").await,
        Err(Error::PolicyUnknown(name)) if name == "lease"
    ));
    let issued: i64 = world
        .count("SELECT sum(policy_version) FROM issued WHERE policy = 'rental'")
        .await;
    assert_eq!(issued, 3);
}

#[tokio::test]
async fn a_policy_that_could_never_be_of_use_is_not_written() {
    let world = World::new().await;
    let over = PolicyTerms {
        end: Some(NOW),
        ..PolicyTerms::DEFAULT
    };
    let hdcp = PolicyTerms {
        explicit_restrictions: vec![ExplicitRestriction::HdcpType(HdcpType::Type1)],
        ..PolicyTerms::DEFAULT
    };
    for (terms, expected) in [
        (
            over,
            "the policy was refused: licenses under it would have ended already",
        ),
        (
            hdcp,
            "the policy was refused: an HDCP type needs a level of uncompressed digital video of at least 271",
        ),
    ] {
        let refused = world.server.create_policy("never", terms).await.unwrap_err();
        assert!(matches!(refused, Error::PolicyRefused(_)));
        assert_eq!(refused.to_string(), expected);
    }
    assert!(matches!(
        world.server.create_policy("Never", PolicyTerms::DEFAULT).await,
        Err(Error::PolicyRefused(PolicyFault::Name))
    ));
    assert!(world.server.policy_versions("never").await.is_err());

    // The end of a policy that was written in time is judged at each request.
    let soon = PolicyTerms {
        end: Some(NOW.plus(10)),
        ..PolicyTerms::DEFAULT
    };
    world.offer("soon", soon).await;
    let mut device = world.device(11).await;
    assert_eq!(license(&world, &mut device).await.end, Some(NOW.plus(10)));
    world.clock.advance(10);
    let response = ask(&world, &mut device, |_| {}).await;
    assert_eq!(denied(&response).code, 301);
}
