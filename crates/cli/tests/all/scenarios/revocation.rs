//! Devices that the operator no longer trusts: by themselves, by their model, by their maker. They get nothing new; what
//! they hold goes on or stops, as its policy says.

use std::rc::Rc;

use keyward_client::{ClientError, acquire::Wanted, install::AcquiredKey, session::Acquisition};
use keyward_crypto::x509::issue::Reason;
use keyward_license::{
    error_code::ErrorCode, ids::Kid, license::KeyType, response::Denial, usage_rules::Refusal,
};
use keyward_server::{
    Error,
    admin::TokenRequest,
    policy::{OnRevocation, PolicyTerms, Preset},
    revocation::NewModel,
};

use crate::scenarios::world::{ALICE, DAY, Device, FILM, NOW, World, client_error};

/// Another film, which is offered beside the first.
pub(crate) const SECOND: Kid = Kid::new([2; 16]);
/// Where the viewer of a revoked device is sent.
const PAGE: &str = "https://help.cinema.example/revoked";

/// Licenses without end, that go on or stop when their device is revoked.
pub(crate) fn forever(on_revocation: OnRevocation) -> PolicyTerms {
    PolicyTerms {
        on_revocation,
        ..Preset::Purchase.terms()
    }
}

/// An operator of two films that says where to go with a revoked device.
fn cinema(on_revocation: OnRevocation) -> World {
    let world = World::under(forever(on_revocation));
    world.offer(SECOND);
    let text = r#"device-revoked = { sentence = "This device was reported stolen.", url = "PAGE" }"#;
    world.configure("denials", &text.replace("PAGE", PAGE));
    world
}

impl Device {
    /// Serial number of the device's certificate.
    pub(crate) fn serial(&mut self) -> Vec<u8> {
        let enrolment = self.client().enrolments().next().unwrap();
        enrolment.certificate().unwrap().serial().to_vec()
    }

    /// Asks for a film: its license is stored, or it is denied.
    pub(crate) fn ask_for(&mut self, kid: Kid) -> Result<(), Denial> {
        let wanted = Wanted {
            kids: vec![kid],
            ..Wanted::default()
        };
        let acquired = client_error(self.client().acquire(wanted)).unwrap();
        match &acquired.outcomes[..] {
            [(of, AcquiredKey::Stored(_))] if *of == kid => Ok(()),
            [(of, AcquiredKey::Denied(denial))] if *of == kid => Err(denial.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// Whether a film plays from the store.
    pub(crate) fn plays(&mut self, kid: Kid) -> bool {
        let opened = self
            .client()
            .open_content(vec![kid], Wanted::default(), Acquisition::Never);
        client_error(opened).is_ok()
    }

    /// Opens a film, with leave to ask the license server.
    pub(crate) fn streams(&mut self, kid: Kid) -> Result<(), ClientError> {
        let wanted = Wanted {
            kids: vec![kid],
            ..Wanted::default()
        };
        let opened = self
            .client()
            .open_content(vec![kid], wanted, Acquisition::Reactive);
        client_error(opened).map(drop)
    }

    /// Whether a film is refused because the device is revoked.
    fn is_shut_out_of(&mut self, kid: Kid) -> bool {
        let opened = self
            .client()
            .open_content(vec![kid], Wanted::default(), Acquisition::Never);
        let refusal = Refusal::DeviceRevoked;
        matches!(client_error(opened), Err(ClientError::Refused { refusal: why, .. }) if why == refusal)
    }
}

impl World {
    /// Offers another film to alice, under the same policy.
    pub(crate) fn offer(&self, kid: Kid) {
        self.operator(async |server| {
            server.register_key(kid, KeyType::File, 1).await.unwrap();
            server.grant(ALICE, Some(kid), "offer", None).await.unwrap();
        });
    }

    /// A device of a maker and model.
    fn device_by(&self, name: &str, (maker, model): (&str, &str)) -> Device {
        let request = TokenRequest {
            maker: maker.into(),
            model: model.into(),
            ..TokenRequest::new(ALICE)
        };
        self.device_of(name, request)
    }

    /// Puts a maker, or a model, on the operator's own list. Returns the entry's number.
    fn revoke_model(&self, model: NewModel) -> i64 {
        self.operator(async |server| server.revoke_model(model).await.unwrap())
    }
}

fn entry(maker: &str, model: Option<&str>) -> NewModel {
    NewModel {
        maker: maker.into(),
        model: model.map(str::to_owned),
        robustness_below: None,
        since: None,
        reason: Some("its keys were read out".into()),
    }
}

fn revoked(denied: Result<(), Denial>) -> bool {
    denied.is_err_and(|denial| denial.code == ErrorCode::DeviceRevoked.number())
}

#[test]
fn v_042_a_revoked_device_is_denied_for_good_and_keeps_what_it_holds() {
    let world = cinema(OnRevocation::Keep);
    let (mut phone, mut tablet) = (world.device("phone"), world.device("tablet"));
    phone.fetch();
    let id = phone.client().device_id().unwrap();
    world.operator(async |server| server.revoke_device(id).await.unwrap());

    let denial = phone.ask_for(SECOND).unwrap_err();
    assert_eq!(denial.code, ErrorCode::DeviceRevoked.number());
    assert_eq!(denial.sentence, "This device was reported stolen.");
    assert_eq!(denial.url.as_deref(), Some(PAGE));
    // The list that names it came along, and it knows by that as well.
    let trust = phone.client().trust().unwrap();
    assert!(trust[0].revoked.is_some() && !trust[0].lists.is_empty());
    // In this process it is not asked for more by itself; the next one asks once.
    for _ in 0..2 {
        let sent = world.network.sent.get();
        let told = phone.streams(SECOND).unwrap_err();
        assert!(matches!(told, ClientError::DeviceRevoked { .. }), "{told:?}");
        assert_eq!(world.network.sent.get(), sent);
        phone.restart();
        let told = phone.streams(SECOND).unwrap_err();
        assert_eq!(told.page(), Some(PAGE), "{told:?}");
        assert_eq!(world.network.sent.get(), sent + 1);
    }
    // What it holds goes on; nothing else of the operator's is touched.
    for online in [true, false] {
        world.network.online.set(online);
        phone.restart();
        assert!(phone.plays(FILM) && !phone.plays(SECOND));
    }
    world.network.online.set(true);
    tablet.ask_for(SECOND).unwrap();
    assert!(tablet.plays(SECOND));

    // For good: neither its certificate nor a token brings it back.
    let serial = phone.serial();
    let refused = world.operator(async |server| server.restore_certificate(&serial).await.unwrap_err());
    assert!(matches!(refused, Error::DeviceRevokedForGood(_)), "{refused}");
    assert!(world.enrol(&mut phone, TokenRequest::new(ALICE)).is_err());
    assert!(revoked(phone.ask_for(FILM)));
}

#[test]
fn r_015_licenses_that_end_with_revocation_stop_as_soon_as_it_is_known_and_come_back() {
    let world = cinema(OnRevocation::Stop);
    // Another operator, whose licenses say the same, and which has nothing against the device.
    let elsewhere = "http://127.0.0.1:8480";
    let other = World::at(elsewhere, NOW, forever(OnRevocation::Stop));
    let theirs = Kid::new([3; 16]);
    other.offer(theirs);
    *world.network.other.borrow_mut() = Some(Rc::clone(&other.network));
    let mut phone = world.device("phone");
    phone.fetch();
    let serial = phone.serial();
    other.enrol(&mut phone, TokenRequest::new(ALICE)).unwrap();
    let wanted = |kid, url: &str| Wanted {
        kids: vec![kid],
        license_url: Some(url.to_owned()),
        ..Wanted::default()
    };
    phone.client().acquire(wanted(theirs, elsewhere)).unwrap();

    world.operator(async |server| {
        let why = Some(Reason::KeyCompromise);
        server.revoke_certificate(&serial, None, why).await.unwrap();
    });
    // Nobody has told it.
    world.network.online.set(false);
    phone.restart();
    assert!(phone.plays(FILM));
    let (mut opened, mut foreign) = (phone.play().unwrap(), {
        let opening = phone
            .client()
            .open_content(vec![theirs], Wanted::default(), Acquisition::Never);
        opening.unwrap()
    });
    assert!(phone.client().go_on(&mut opened).unwrap().check().is_ok());
    // Once it asks, it is: what plays stops, nothing is opened any more, in any process.
    world.network.online.set(true);
    let acquired = phone
        .client()
        .acquire(wanted(SECOND, crate::scenarios::world::ORIGIN))
        .unwrap();
    let denied = matches!(&acquired.outcomes[..], [(_, AcquiredKey::Denied(denial))] if denial.code == 204);
    assert!(denied && acquired.lists.newer, "{acquired:?}");
    assert!(phone.client().go_on(&mut opened).unwrap().check().is_err());
    assert!(phone.client().go_on(&mut foreign).unwrap().check().is_ok());
    world.network.online.set(false);
    for _ in 0..2 {
        assert!(phone.is_shut_out_of(FILM));
        assert!(phone.plays(theirs), "it is another operator's");
        phone.restart();
    }

    // Restored: the next license says so, and what was held is there again.
    world.operator(async |server| server.restore_certificate(&serial).await.unwrap());
    assert!(phone.is_shut_out_of(FILM), "nobody has told it");
    world.network.online.set(true);
    let acquired = phone
        .client()
        .acquire(wanted(SECOND, crate::scenarios::world::ORIGIN))
        .unwrap();
    assert!(matches!(
        acquired.outcomes[..],
        [(SECOND, AcquiredKey::Stored(_))]
    ));
    world.network.online.set(false);
    for _ in 0..2 {
        assert!(phone.plays(FILM) && phone.plays(SECOND) && phone.plays(theirs));
        phone.restart();
    }
}

#[test]
fn v_041_a_device_whose_certificate_alone_was_revoked_enrols_again_with_another() {
    let world = cinema(OnRevocation::Stop);
    let mut phone = world.device("phone");
    phone.fetch();
    let serial = phone.serial();
    world.operator(async |server| server.revoke_certificate(&serial, None, None).await.unwrap());
    assert!(revoked(phone.ask_for(SECOND)));
    assert!(phone.is_shut_out_of(FILM));
    world.enrol(&mut phone, TokenRequest::new(ALICE)).unwrap();
    assert_ne!(phone.serial(), serial);
    phone.ask_for(SECOND).unwrap();
    for _ in 0..2 {
        assert!(phone.plays(FILM) && phone.plays(SECOND));
        phone.restart();
    }
}

#[test]
fn v_047_a_model_a_company_and_a_device_that_is_exempt() {
    let world = cinema(OnRevocation::Stop);
    let (player, stick) = (("Ajax", "player"), ("Ajax", "stick"));
    let mut broken = world.device_by("broken", player);
    let mut exempt = world.device_by("exempt", player);
    let mut sibling = world.device_by("sibling", stick);
    let mut stranger = world.device_by("stranger", ("ajax", "player"));
    let mut nameless = world.device("nameless");
    let mut all = [
        &mut broken,
        &mut exempt,
        &mut sibling,
        &mut stranger,
        &mut nameless,
    ];
    for device in &mut all {
        device.fetch();
    }
    let allowed = all[1].client().device_id().unwrap();

    // What each of them gets and plays from now on, in the order of above.
    let mut judge = |expected: [bool; 5], when: &str| {
        for (device, trusted) in all.iter_mut().zip(expected) {
            device.restart();
            assert_eq!(revoked(device.ask_for(SECOND)), !trusted, "{when}");
            assert_eq!(device.plays(FILM), trusted, "{when}");
        }
    };
    judge([true; 5], "nothing is revoked");
    let model = world.revoke_model(entry("Ajax", Some("player")));
    judge([false, false, true, true, true], "the model");
    world.operator(async |server| server.allow_device(allowed).await.unwrap());
    judge([false, true, true, true, true], "and one of it is allowed");
    let company = world.revoke_model(entry("Ajax", None));
    judge([false, true, false, true, true], "the whole company");
    world.operator(async |server| server.restore_model(model).await.unwrap());
    judge(
        [false, true, false, true, true],
        "the model again is of the company",
    );
    let digest = world.operator(async |server| server.allowed_certificates().await.unwrap()[0]);
    world.operator(async |server| server.disallow_certificate(digest).await.unwrap());
    judge([false, false, false, true, true], "no exemption");
    world.operator(async |server| server.restore_model(company).await.unwrap());
    judge([true; 5], "nothing is revoked any more");
    // A device that says nothing of its robustness was made to no version of the rules.
    let below = NewModel {
        robustness_below: Some(1),
        ..entry("Ajax", Some("stick"))
    };
    world.revoke_model(below);
    judge([true, true, false, true, true], "early versions of a model");
}

#[test]
fn v_047_an_exemption_is_from_the_model_and_from_nothing_else() {
    let world = cinema(OnRevocation::Keep);
    let mut device = world.device_by("tv", ("Ajax", "player"));
    let id = device.client().device_id().unwrap();
    world.revoke_model(entry("Ajax", None));
    world.operator(async |server| server.allow_device(id).await.unwrap());
    device.ask_for(FILM).unwrap();
    let serial = device.serial();
    world.operator(async |server| server.revoke_certificate(&serial, None, None).await.unwrap());
    assert!(revoked(device.ask_for(FILM)));
    world.operator(async |server| server.restore_certificate(&serial).await.unwrap());
    device.ask_for(FILM).unwrap();
}

#[test]
fn v_047_r_015_a_revocation_that_is_announced_begins_when_it_says_and_not_before() {
    let world = cinema(OnRevocation::Stop);
    let since = NOW.plus(30 * DAY);
    let mut device = world.device_by("tv", ("Ajax", "player"));
    world.revoke_model(NewModel {
        since: Some(since),
        ..entry("Ajax", Some("player"))
    });
    device.ask_for(FILM).unwrap();
    assert!(device.plays(FILM), "not yet");
    world.pass(30 * DAY - 1);
    device.ask_for(SECOND).unwrap();
    world.network.online.set(false);
    assert!(device.plays(FILM) && device.plays(SECOND));
    // It knows the day, and needs nobody to tell it that it has come.
    world.pass(1);
    for _ in 0..2 {
        assert!(device.is_shut_out_of(FILM) && device.is_shut_out_of(SECOND));
        device.restart();
    }
    world.network.online.set(true);
    assert!(revoked(device.ask_for(SECOND)));
}
