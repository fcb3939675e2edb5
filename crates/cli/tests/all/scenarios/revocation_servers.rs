//! Keys of the operator that are in other hands: a license server's, and an authority's. What was signed before stays;
//! what is signed since is nothing.

use std::sync::Arc;

use keyward_client::ClientError;
use keyward_crypto::{
    ChainFault, CryptoError,
    x509::issue::{Reason, Revoked},
};
use keyward_license::{ids::Kid, signed::MessageError};
use keyward_server::{
    Error, Server,
    admin::TokenRequest,
    clock::{Clock, SettableClock},
    operator,
    policy::OnRevocation,
    rolls::{Purpose, sign_authority},
    sealing::KeyEncryptionKey,
};

use crate::scenarios::{
    revocation::{SECOND, forever},
    world::{ALICE, DAY, Device, FILM, HOUR, MINUTE, World, client_error},
};

/// A film that only the thief's server has given out.
const THIRD: Kid = Kid::new([3; 16]);

impl World {
    /// Another key for a purpose of the server's own.
    pub(crate) fn roll(&self, purpose: Purpose) {
        self.operator(async |server| server.roll_key(purpose).await.unwrap());
    }

    /// Another authority, whose certificate the root signs.
    pub(crate) fn roll_authority(&self, purpose: Purpose) {
        let (dir, now) = (self.home().join("operator"), self.clock.now());
        let kek = KeyEncryptionKey::from_hex(&std::fs::read_to_string(dir.join("kek")).unwrap()).unwrap();
        let request = self.operator(async |server| server.request_authority(purpose).await.unwrap());
        let (profile, _) = self.invitation(TokenRequest::new(ALICE));
        let key = operator::read_root_key(&dir, &profile.operator(), &kek).unwrap();
        let certificate = sign_authority(&request, &profile.root.0, &key, now).unwrap();
        self.operator(async |server| server.install_authority(purpose, &certificate).await.unwrap());
    }

    /// Serial numbers of the operator's certificates for a purpose, the newest first.
    pub(crate) fn serials(&self, purpose: &str) -> Vec<Vec<u8>> {
        let certificates = self.operator(async |server| server.certificates().await.unwrap());
        let of_purpose = certificates.into_iter().filter(|one| one.purpose == purpose);
        of_purpose.map(|one| one.serial).collect()
    }

    /// Lets a thief answer in the place of the server, and then the server again.
    fn robs<T>(&self, thief: &Server, act: impl FnOnce() -> T) -> T {
        let honest = self.put_in_place(thief.clone());
        let done = act();
        self.put_in_place(honest);
        done
    }
}

/// Whether an answer was refused because its signer was revoked.
fn signer_is_revoked<T>(answer: &Result<T, ClientError>) -> bool {
    let revoked = MessageError::Signer(CryptoError::ChainRefused(ChainFault::Revoked));
    matches!(answer, Err(ClientError::Message { error, .. }) if *error == revoked)
}

/// Three films, a device without any, and a thief who has copied the server, whose clock is two hours ahead.
fn robbed() -> (World, Device, Server, Arc<SettableClock>) {
    let world = World::under(forever(OnRevocation::Keep));
    world.offer(SECOND);
    world.offer(THIRD);
    let device = world.device("tv");
    let (thief, clock) = world.stolen();
    clock.advance(2 * HOUR);
    (world, device, thief, clock)
}

/// The operator notices, an hour after the theft.
fn notices(world: &World, invalid_since: Option<u64>) {
    world.pass(HOUR);
    let in_use = world.serials("license-server");
    let refused = world.operator(async |server| {
        server
            .revoke_certificate(&in_use[0], None, None)
            .await
            .unwrap_err()
    });
    assert!(matches!(refused, Error::CertificateInUse(_)), "{refused}");
    world.roll(Purpose::LicenseServer);
    let since = invalid_since.map(|seconds| world.clock.now().minus(seconds));
    world.operator(async |server| {
        let why = Some(Reason::KeyCompromise);
        server.revoke_certificate(&in_use[0], since, why).await.unwrap();
    });
    // Until the thief acts.
    world.pass(HOUR);
}

#[test]
fn v_013_v_020_v_060_what_a_thief_signs_after_the_revocation_is_nothing_to_who_knows() {
    let (world, mut device, thief, _) = robbed();
    device.fetch();
    notices(&world, None);
    let document = world.operator(async |_| thief.discovery().await.unwrap());
    // The list comes with the next answer.
    device.wanted.kids = vec![SECOND];
    assert!(device.acquire().unwrap().lists.newer);
    assert!(
        device.plays(FILM) && device.plays(SECOND),
        "signed before, and by another"
    );
    for _ in 0..2 {
        device.wanted.kids = vec![THIRD];
        assert!(signer_is_revoked(&world.robs(&thief, || device.acquire())));
        assert!(signer_is_revoked(&client_error(
            device.client().install_discovery(document.clone())
        )));
        assert!(!device.plays(THIRD) && device.plays(FILM));
        device.restart();
    }
    // However much later.
    world.pass(60 * DAY);
    assert!(signer_is_revoked(&client_error(
        device.client().install_discovery(document)
    )));
    device.acquire().unwrap();
    assert!(device.plays(THIRD) && device.plays(FILM));
}

#[test]
fn v_020_a_client_that_does_not_know_learns_it_from_the_next_answer_or_a_file() {
    for by_file in [false, true] {
        let (world, mut device, thief, _) = robbed();
        device.fetch();
        notices(&world, None);
        device.wanted.kids = vec![THIRD];
        world.robs(&thief, || device.acquire()).unwrap();
        assert!(device.plays(THIRD), "it cannot know");
        if by_file {
            let lists = world.lists();
            world.network.online.set(false);
            assert_eq!(device.take(&lists), (true, 0));
        } else {
            device.ask_time().unwrap();
        }
        for _ in 0..2 {
            assert!(device.plays(FILM) && !device.plays(THIRD), "by file: {by_file}");
            let distrusted = device.client().distrusted_licenses(None).unwrap();
            assert_eq!(distrusted.len(), 1);
            assert_eq!(distrusted[0].body.keys[0].kid, THIRD);
            device.restart();
        }
        // The true server's license takes its place.
        world.network.online.set(true);
        device.acquire().unwrap();
        assert!(device.plays(FILM) && device.plays(THIRD));
    }
}

#[test]
fn v_020_a_license_that_is_dated_back_falls_with_the_invalidity_date() {
    let cases = [
        (None, [true, true]),
        (Some(59 * MINUTE), [true, true]),
        (Some(60 * MINUTE), [true, false]),
        (Some(74 * MINUTE), [true, false]),
        (Some(75 * MINUTE), [false, false]),
    ];
    for (since, stay) in cases {
        let (world, mut device, thief, clock) = robbed();
        device.ask_for(SECOND).unwrap();
        world.pass(15 * MINUTE);
        // It will arrive after the revocation, and says that it was issued an hour before it.
        clock.set(world.clock.now());
        let early = device.request();
        let dated_back = world.operator(async |_| thief.issue(&early).await.unwrap());
        notices(&world, since);
        device.client().install(dated_back).unwrap();
        assert!(device.plays(SECOND) && device.plays(FILM), "it cannot know");
        device.ask_time().unwrap();
        assert_eq!([device.plays(SECOND), device.plays(FILM)], stay, "{since:?}");
    }
}

#[test]
fn v_041_v_064_devices_of_a_revoked_authority_are_revoked_until_another_certifies_them() {
    let world = World::under(forever(OnRevocation::Stop));
    world.offer(SECOND);
    let mut old = world.device("tv");
    old.fetch();
    let authority = world.serials("device-authority").remove(0);
    world.pass(DAY);
    world.roll_authority(Purpose::DeviceAuthority);
    let mut new = world.device("radio");
    new.fetch();
    old.ask_for(SECOND).unwrap();
    let revoked = Revoked {
        serial: &authority,
        at: world.clock.now().0,
        invalid_since: None,
        reason: Some(Reason::KeyCompromise),
    };
    world.import_root_list(1, 30, &[revoked]);
    assert_eq!(old.ask_for(SECOND).unwrap_err().code, 204);
    for _ in 0..2 {
        assert!(!old.plays(FILM) && new.plays(FILM));
        old.restart();
    }
    new.ask_for(SECOND).unwrap();
    // What its own device is told, it can mend.
    world.enrol(&mut old, TokenRequest::new(ALICE)).unwrap();
    old.ask_for(SECOND).unwrap();
    assert!(old.plays(FILM) && old.plays(SECOND));
}

#[test]
fn v_020_v_064_servers_of_a_revoked_authority_sign_nothing_more_and_have_signed_what_they_have() {
    let (world, mut device, thief, _) = robbed();
    device.fetch();
    let authority = world.serials("server-authority").remove(0);
    world.pass(HOUR);
    world.roll_authority(Purpose::ServerAuthority);
    for purpose in [
        Purpose::LicenseServer,
        Purpose::RequestEncryption,
        Purpose::Receipt,
        Purpose::RevocationList,
    ] {
        world.roll(purpose);
    }
    let revoked = Revoked {
        serial: &authority,
        at: world.clock.now().0,
        invalid_since: None,
        reason: Some(Reason::KeyCompromise),
    };
    world.import_root_list(1, 30, &[revoked]);
    world.pass(HOUR);
    device.ask_for(SECOND).unwrap();
    assert!(device.plays(FILM) && device.plays(SECOND));
    let document = world.operator(async |_| thief.discovery().await.unwrap());
    for _ in 0..2 {
        device.wanted.kids = vec![THIRD];
        assert!(signer_is_revoked(&world.robs(&thief, || device.acquire())));
        assert!(signer_is_revoked(&client_error(
            device.client().install_discovery(document.clone())
        )));
        assert!(device.plays(FILM) && device.plays(SECOND) && !device.plays(THIRD));
        device.restart();
        world.restart_server();
    }
    device.acquire().unwrap();
    assert!(device.plays(THIRD));
}
