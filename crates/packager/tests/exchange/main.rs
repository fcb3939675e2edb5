//! A packager against a license server that a test can bend.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod periods;

use keyward_content::header::ContentHeader;
use keyward_crypto::{ChainFault, ContentKey, CryptoError, SecretBytes, hpke::Suite, x509::Role};
use keyward_license::{
    carrier::{Answer, Outgoing},
    codec::{Bytes, DecodeError, Wire},
    discovery::DiscoveryError,
    enrolment::applicant::CertificateFault,
    error_code::ErrorCode,
    ids::{Digest, Kid, Nonce},
    license::KeyType,
    packaging::{PackagingResponse, WantedTrack},
    request::ClientInfo,
    signed::MessageError,
    time::Timestamp,
};
use keyward_packager::{
    exchange::{Enrolled, ExchangeError, Host, PackagingData, Wanted},
    identity::Identity,
};
use keyward_testkit::{
    fake_server::{ENROLMENT_PATH, FakeServer, ORIGIN, PACKAGING_PATH, Reply, key_of, problem},
    pki::{DAY, Leaf, NOW, Operator, YEAR},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// A packager, its clock, and the server that it talks to.
struct World {
    server: FakeServer,
    now: Timestamp,
    sent: Vec<Outgoing>,
    rng: ChaCha20Rng,
}

impl Host for World {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn client_info(&self) -> ClientInfo {
        ClientInfo {
            name: "test".into(),
            version: "1".into(),
            platform: "test".into(),
        }
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        self.sent.push(outgoing.clone());
        let Reply { status, body } = self.server.answer(&outgoing.url, &outgoing.body);
        Ok(Answer { status, body })
    }
}

impl World {
    fn new() -> Self {
        Self::with_suites(&Suite::ALL)
    }

    fn with_suites(suites: &[Suite]) -> Self {
        Self {
            server: FakeServer::with_suites([5; 32], suites),
            now: NOW,
            sent: Vec::new(),
            rng: ChaCha20Rng::from_seed([6; 32]),
        }
    }

    fn enrol(&mut self, packager: &mut Identity) -> Result<(), ExchangeError> {
        let profile = self.server.operator.profile();
        let rng = &mut self.rng.clone();
        packager.enrol(profile, "the-token".into(), self, rng).map(drop)
    }

    fn enrolled(&mut self) -> Identity {
        let mut packager = Identity::generate(&mut self.rng);
        self.enrol(&mut packager).unwrap();
        packager
    }

    fn renew(&mut self, packager: &mut Identity) -> Result<Enrolled, ExchangeError> {
        let mut rng = self.rng.clone();
        packager.renew(self, &mut rng)
    }

    fn go_to(&mut self, now: Timestamp) {
        (self.now, self.server.now) = (now, now);
    }

    fn ask(&mut self, packager: &Identity, wanted: &Wanted) -> Result<PackagingData, ExchangeError> {
        let mut rng = self.rng.clone();
        packager.packaging_data(wanted, self, &mut rng)
    }
}

fn track(label: &str, key_type: KeyType) -> WantedTrack {
    WantedTrack {
        label: label.into(),
        key_type,
    }
}

fn film() -> Wanted {
    let tracks = vec![track("video", KeyType::CencCtr), track("audio", KeyType::CencCtr)];
    Wanted {
        content_header: true,
        ..Wanted::new("film".into(), tracks)
    }
}

/// What a server that was bent so is told.
fn refused(bend: impl FnOnce(&mut World)) -> ExchangeError {
    let mut world = World::new();
    let packager = world.enrolled();
    bend(&mut world);
    world.ask(&packager, &film()).unwrap_err()
}

#[test]
fn a_packager_enrols_and_gets_the_same_keys_again() {
    let mut world = World::new();
    let mut packager = Identity::generate(&mut world.rng);
    let unenrolled = world.ask(&packager, &film()).unwrap_err();
    assert!(matches!(unenrolled, ExchangeError::NotEnrolled), "{unenrolled}");
    let profile = world.server.operator.profile();
    let mut rng = world.rng.clone();
    let enrolled = packager
        .enrol(profile, "the-token".into(), &mut world, &mut rng)
        .unwrap();
    assert_eq!(enrolled.packager, packager.id().unwrap());
    assert_eq!(
        (enrolled.operator, enrolled.valid_until),
        (world.server.operator.id(), NOW.plus(YEAR))
    );

    let first = world.ask(&packager, &film()).unwrap();
    assert_eq!(first.license_url, "https://license.example");
    for (track, asked) in first.tracks.iter().zip(film().tracks) {
        assert_eq!((&track.label, track.key_type), (&asked.label, asked.key_type));
        assert_eq!(track.key, key_of(track.kid));
        assert_eq!(track.source().content_key(track.kid), track.key);
    }
    let header = ContentHeader::read_object(first.content_header.as_ref().unwrap()).unwrap();
    assert!(first.tracks.iter().all(|track| header.key(track.kid).is_some()));

    // Out of its file again, in another process.
    let file = packager.to_secret_bytes();
    let packager = Identity::from_secret_bytes(&SecretBytes::new(file.expose().to_vec())).unwrap();
    assert_eq!(packager.operator().unwrap().name, "Test operator");
    let plain = Wanted {
        content_header: false,
        ..film()
    };
    let again = world.ask(&packager, &plain).unwrap();
    assert!(again.content_header.is_none());
    let keys = |data: &PackagingData| -> Vec<_> {
        data.tracks
            .iter()
            .map(|track| (track.kid, *track.key.expose()))
            .collect()
    };
    assert_eq!(keys(&again), keys(&first));
}

#[test]
fn keys_and_tokens_do_not_travel_in_the_clear() {
    let mut world = World::new();
    let packager = world.enrolled();
    let data = world.ask(&packager, &film()).unwrap();
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    for outgoing in &world.sent {
        for secret in [&b"the-token"[..], b"film", b"video"] {
            assert!(!holds(&outgoing.body, secret), "{}", outgoing.url);
        }
    }
    let shown = format!("{data:?}");
    for track in &data.tracks {
        assert!(!shown.contains(&hex::encode(track.key.expose())), "{shown}");
    }
    let urls: Vec<_> = world.sent.iter().map(|outgoing| &outgoing.url[..]).collect();
    let well_known = format!("{ORIGIN}/.well-known/keyward");
    let (enrolment, packaging) = (
        format!("{ORIGIN}{ENROLMENT_PATH}"),
        format!("{ORIGIN}{PACKAGING_PATH}"),
    );
    assert_eq!(urls, [&well_known, &enrolment, &well_known, &packaging]);
}

#[test]
fn v_053_a_certificate_of_another_role_is_refused() {
    let mut world = World::new();
    let other = world.server.operator.device().identity.chain;
    world.server.bent.device_chain = Some(Box::new(move |chain| chain.clone_from(&other)));
    let mut packager = Identity::generate(&mut world.rng);
    let refused = world.enrol(&mut packager).unwrap_err();
    assert!(
        matches!(
            refused,
            ExchangeError::Certificate(CertificateFault("its chain does not lead to the operator's root"))
        ),
        "{refused}"
    );
    assert!(packager.operator().is_none(), "nothing is kept of it");
}

/// V-055
#[test]
fn v_055_a_certificate_in_its_last_third_is_renewed_for_the_same_keys() {
    let mut world = World::new();
    let mut packager = world.enrolled();
    let id = packager.id().unwrap();
    let keys = |data: PackagingData| -> Vec<_> {
        let tracks = data.tracks.into_iter();
        tracks.map(|track| (track.kid, *track.key.expose())).collect()
    };
    let before = keys(world.ask(&packager, &film()).unwrap());
    // 395 days from 30 days ago: the last third begins on day 233.3.
    assert!(!packager.owes_renewal(NOW.plus(233 * DAY)));
    for day in [234, 365] {
        assert!(packager.owes_renewal(NOW.plus(day * DAY)), "{day}");
    }
    assert!(!packager.owes_renewal(NOW.plus(366 * DAY)), "it has ended");
    world.go_to(NOW.plus(250 * DAY));

    // What keeps it from being renewed takes nothing away.
    let refused = problem(ErrorCode::TokenRefused);
    world.server.bent.instead.insert(ENROLMENT_PATH, refused);
    assert!(matches!(
        world.renew(&mut packager),
        Err(ExchangeError::ServerRefused(_))
    ));
    world.server.bent.instead.clear();
    let other = world.server.operator.device().identity.chain;
    world.server.bent.device_chain = Some(Box::new(move |chain| chain.clone_from(&other)));
    assert!(matches!(
        world.renew(&mut packager),
        Err(ExchangeError::Certificate(_))
    ));
    world.server.bent.device_chain = None;
    assert!(packager.owes_renewal(world.now));
    assert_eq!(keys(world.ask(&packager, &film()).unwrap()), before);

    let renewed = world.renew(&mut packager).unwrap();
    assert_eq!(
        (renewed.packager, renewed.operator),
        (id, world.server.operator.id())
    );
    assert_eq!(renewed.valid_until, world.now.plus(YEAR));
    // In another process as well.
    let packager = Identity::from_secret_bytes(&packager.to_secret_bytes()).unwrap();
    assert!(!packager.owes_renewal(world.now));
    assert_eq!(keys(world.ask(&packager, &film()).unwrap()), before);
    let mut nobody = Identity::generate(&mut world.rng);
    assert!(!nobody.owes_renewal(NOW));
    assert!(matches!(
        world.renew(&mut nobody),
        Err(ExchangeError::NotEnrolled)
    ));
}

/// V-012
#[test]
fn v_012_a_response_to_another_request_is_refused() {
    let other = refused(|world| {
        world.server.bent.packaging = Some(Box::new(|body| body.request = Digest::new([9; 32])));
    });
    assert!(matches!(other, ExchangeError::OtherRequest { .. }), "{other}");
    let other = refused(|world| {
        world.server.bent.packaging = Some(Box::new(|body| body.nonce = Nonce::new([9; 16])));
    });
    assert!(matches!(other, ExchangeError::OtherRequest { .. }), "{other}");
}

/// V-074
#[test]
fn v_074_the_signer_is_a_license_server_now_and_at_the_stated_time() {
    let signer = |error: &ExchangeError| match error {
        ExchangeError::Message {
            error: MessageError::Signer(CryptoError::ChainRefused(fault)),
            ..
        } => *fault,
        other => panic!("{other}"),
    };
    let role = refused(|world| {
        world.server.bent.packaging_signer = Some(world.server.operator.server(Role::Time));
    });
    assert_eq!(signer(&role), ChainFault::WrongRole);
    let root = refused(|world| {
        world.server.bent.packaging_signer = Some(Operator::new([9; 32]).server(Role::LicenseServer));
    });
    assert_eq!(signer(&root), ChainFault::UnknownIssuer);
    let expired = refused(|world| {
        let leaf = Leaf {
            not_after: NOW.minus(1),
            ..Leaf::new("expired", &[Role::LicenseServer])
        };
        world.server.bent.packaging_signer = Some(world.server.operator.issue(&leaf));
        // It states a time at which it was valid.
        world.server.bent.packaging = Some(Box::new(|body| body.server_time = NOW.minus(DAY)));
    });
    assert_eq!(signer(&expired), ChainFault::Expired);
    let ahead = refused(|world| {
        world.server.bent.packaging = Some(Box::new(|body| body.server_time = NOW.plus(2 * YEAR)));
    });
    assert_eq!(signer(&ahead), ChainFault::Expired);
}

/// V-075
#[test]
fn v_075_tracks_url_and_header_are_those_that_were_asked_for() {
    type Bend = fn(&mut PackagingResponse);
    const TRACKS: &str = "the tracks are not those that were asked for";
    const HEADER: &str = "its content header does not name its tracks and its license server";
    let cases: [(&str, Bend); 11] = [
        (TRACKS, |body| body.tracks.swap(0, 1)),
        (TRACKS, |body| drop(body.tracks.pop())),
        (TRACKS, |body| body.tracks.push(body.tracks[0].clone())),
        (TRACKS, |body| body.tracks[0].key_type = KeyType::CencCbc),
        (TRACKS, |body| body.tracks[0].label = "Video".into()),
        ("two tracks or roots have one key id", |body| {
            body.tracks[1].kid = body.tracks[0].kid
        }),
        (
            "its license server URL https://evil.example: the operator's profile does not name this host",
            |body| body.license_url = "https://evil.example".into(),
        ),
        ("it has no content header", |body| body.content_header = None),
        (HEADER, |body| body.tracks[0].kid = Kid::new([9; 16])),
        (HEADER, |body| {
            let file = ContentHeader::for_file(body.tracks[0].kid, Some(body.license_url.clone()));
            body.content_header = Some(Bytes(file.to_object_bytes().unwrap()));
        }),
        (HEADER, |body| {
            let mut header = ContentHeader::read_object(&body.content_header.as_ref().unwrap().0).unwrap();
            header.license_url = Some("https://evil.example".into());
            body.content_header = Some(Bytes(header.to_object_bytes().unwrap()));
        }),
    ];
    for (why, bend) in cases {
        let error = refused(|world| world.server.bent.packaging = Some(Box::new(bend)));
        assert_eq!(
            error.to_string(),
            format!("the packaging response was refused: {why}")
        );
    }
    // The operator moved: the packager's profile is of before.
    let moved = refused(|world| {
        world.server.bent.packaging = Some(Box::new(|body| body.license_url = "https://new.example".into()));
    });
    assert!(moved.hint().contains("enrol again"), "{}", moved.hint());
    let garbled = refused(|world| {
        world.server.bent.packaging = Some(Box::new(|body| body.content_header = Some(Bytes(vec![1, 2, 3]))));
    });
    assert!(matches!(garbled, ExchangeError::ContentHeader(_)), "{garbled}");
    let mut world = World::new();
    let packager = world.enrolled();
    world.server.bent.packaging = Some(Box::new(|body| body.content_header = Some(Bytes(vec![1]))));
    let plain = Wanted {
        content_header: false,
        ..film()
    };
    let unasked = world.ask(&packager, &plain).unwrap_err();
    assert!(
        unasked
            .to_string()
            .ends_with("it has a content header that was not asked for"),
        "{unasked}"
    );
}

/// V-076
#[test]
fn v_076_keys_open_under_their_body_one_a_track() {
    let altered = refused(|world| {
        world.server.bent.packaging_after_sealing = Some(Box::new(|body| {
            // The same without its grease.
            *body = PackagingResponse::decode(body).unwrap().encode();
        }));
    });
    assert!(matches!(altered, ExchangeError::KeysNotOpened), "{altered}");
    let bends: [fn(&mut Vec<ContentKey>); 3] = [
        |keys| drop(keys.pop()),
        |keys| keys.push(ContentKey::new([7; 16])),
        |keys| keys[1] = keys[0].duplicate(),
    ];
    for bend in bends {
        let error = refused(|world| world.server.bent.packaging_keys = Some(Box::new(bend)));
        assert!(
            matches!(error, ExchangeError::Tracks(DecodeError::Invalid(_))),
            "{error}"
        );
    }
}

/// V-077
#[test]
fn v_077_keys_sealed_with_a_weaker_suite_are_refused() {
    let weak = refused(|world| world.server.bent.packaging_suite = Some(Suite::P256));
    assert!(matches!(weak, ExchangeError::WeakSuite), "{weak}");
    // A server that has suite 1 alone is taken with it.
    let mut world = World::with_suites(&[Suite::P256]);
    let packager = world.enrolled();
    assert!(world.ask(&packager, &film()).is_ok());
    // One that had a better one is not, in this process and the next.
    let mut world = World::new();
    let packager = world.enrolled();
    let packager = Identity::from_secret_bytes(&packager.to_secret_bytes()).unwrap();
    world.server.roll_recipient(&[Suite::P256]);
    let downgraded = world.ask(&packager, &film()).unwrap_err();
    assert!(
        matches!(downgraded, ExchangeError::Discovery(DiscoveryError::Refused(_))),
        "{downgraded}"
    );
}

#[test]
fn v_061_a_discovery_document_is_judged_at_this_machines_time() {
    let stale = refused(|world| world.now = NOW.plus(8 * DAY));
    assert!(
        matches!(
            stale,
            ExchangeError::Discovery(DiscoveryError::Refused("it is not in use at this time"))
        ),
        "{stale}"
    );
    let elsewhere = refused(|world| {
        world.server.bent.discovery = Some(Box::new(|document| {
            document.packaging_path = Some("//evil.example/".into())
        }));
    });
    assert!(matches!(elsewhere, ExchangeError::Discovery(_)), "{elsewhere}");
    let none = refused(|world| {
        world.server.bent.discovery = Some(Box::new(|document| document.packaging_path = None));
    });
    assert!(matches!(none, ExchangeError::NoPackaging), "{none}");
}

#[test]
fn whatever_else_answers_is_named() {
    let revoked = refused(|world| {
        let reply = problem(ErrorCode::DeviceRevoked);
        world.server.bent.instead.insert(PACKAGING_PATH, reply);
    });
    assert!(matches!(revoked, ExchangeError::ServerRefused(_)), "{revoked}");
    assert_eq!(revoked.hint(), ErrorCode::DeviceRevoked.hint());
    for (status, body) in [(200, &b"<html>"[..]), (302, b""), (500, b"oops")] {
        let other = refused(|world| {
            let body = body.to_vec();
            world
                .server
                .bent
                .instead
                .insert(PACKAGING_PATH, Reply { status, body });
        });
        assert!(
            matches!(other, ExchangeError::NotAnAnswer { status: said } if said == status),
            "{other}"
        );
    }
    let mut world = World::new();
    let packager = world.enrolled();
    let nothing = Wanted {
        tracks: Vec::new(),
        ..film()
    };
    let sent = world.sent.len();
    let error = world.ask(&packager, &nothing).unwrap_err();
    assert!(matches!(error, ExchangeError::Wanted(_)), "{error}");
    assert_eq!(
        world.sent.len(),
        sent + 1,
        "only the discovery document was fetched"
    );
}

#[test]
fn no_altered_byte_of_an_answer_goes_unnoticed() {
    let mut world = World::new();
    let packager = world.enrolled();
    let mut rng = world.rng.clone();
    // Each position of the sealed answer in turn would take long; every 29th stands for all.
    let length = {
        let body = ask_raw(&mut world, &packager, &mut rng).1;
        body.len()
    };
    for at in (0..length).step_by(29) {
        let (pending, mut answer) = ask_raw(&mut world, &packager, &mut rng);
        if let Some(byte) = answer.get_mut(at) {
            *byte ^= 1;
        }
        assert!(pending(&answer).is_err(), "byte {at}");
    }
}

type Open<'a> = Box<dyn Fn(&[u8]) -> Result<PackagingData, ExchangeError> + 'a>;

fn ask_raw<'a>(world: &mut World, packager: &'a Identity, rng: &mut ChaCha20Rng) -> (Open<'a>, Vec<u8>) {
    use keyward_license::discovery::DiscoveryReader;
    use keyward_packager::exchange::PendingPackaging;
    let anchor = world.server.operator.anchor();
    let reader = DiscoveryReader {
        anchor: &anchor,
        operator: world.server.operator.id(),
        weakest_suite: 1,
        suites: &Suite::ALL,
        origin: ORIGIN,
        now: Some(NOW),
        last_trusted: None,
    };
    let server = reader.read(&world.server.discovery()).unwrap();
    let wanted: &'static Wanted = Box::leak(Box::new(film()));
    let (pending, request) =
        PendingPackaging::request(packager, &server, wanted, world.client_info(), rng).unwrap();
    let answer = world
        .server
        .answer(&format!("{ORIGIN}{PACKAGING_PATH}"), &request)
        .body;
    (Box::new(move |answer| pending.open(answer, NOW)), answer)
}

#[test]
fn every_hint_says_what_to_do() {
    for error in [
        ExchangeError::NotEnrolled,
        ExchangeError::NoLicenseServer,
        ExchangeError::Transport("refused".into()),
        ExchangeError::NoPackaging,
        ExchangeError::NotAnAnswer { status: 500 },
        ExchangeError::KeysNotOpened,
        ExchangeError::WeakSuite,
        ExchangeError::Answer("it has no keys"),
    ] {
        let (said, hint) = (error.to_string(), error.hint());
        assert!(
            said.chars().next().unwrap().is_lowercase() && !said.contains('\n'),
            "{said}"
        );
        assert!(hint.len() > 20 && !hint.ends_with('.'), "{hint}");
    }
}
