//! Revocation lists on their way: nobody goes back to an earlier one, takes a stranger's or an altered one, or forgets
//! what one that is over has said.

use keyward_client::{ClientError, acquire::Wanted, session::Acquisition};
use keyward_crypto::{
    ChainFault, CryptoError,
    x509::{
        Certificate,
        issue::{ListProfile, Revoked, revocation_list},
    },
};
use keyward_license::{
    codec::Wire,
    revocation::{ListFault, ListId, ListState, RevocationListsFile},
    signed::MessageError,
};
use keyward_server::{
    admin::TokenRequest, clock::Clock, operator, policy::OnRevocation, revocation::NewModel,
    sealing::KeyEncryptionKey,
};

use crate::scenarios::{
    revocation::{SECOND, forever},
    world::{ALICE, DAY, Device, FILM, HOUR, NOW, World, client_error},
};

fn company(maker: &str) -> NewModel {
    NewModel {
        maker: maker.into(),
        model: None,
        robustness_below: None,
        since: None,
        reason: None,
    }
}

impl World {
    /// The lists of now, as a file.
    pub(crate) fn lists(&self) -> RevocationListsFile {
        let file = self.operator(async |server| server.revocation_bundle().await.unwrap());
        RevocationListsFile::decode(&file).unwrap()
    }

    /// Gives the server a list of the root: serial numbers of authorities, and when each was revoked.
    pub(crate) fn import_root_list(&self, number: u64, days: u64, revoked: &[Revoked<'_>]) {
        let (dir, now) = (self.home().join("operator"), self.clock.now());
        let kek = KeyEncryptionKey::from_hex(&std::fs::read_to_string(dir.join("kek")).unwrap()).unwrap();
        let (profile, _) = self.invitation(TokenRequest::new(ALICE));
        let key = operator::read_root_key(&dir, &profile.operator(), &kek).unwrap();
        let list = ListProfile {
            number,
            this_update: now.0,
            next_update: now.plus(days * DAY).0,
            revoked,
        };
        let list = revocation_list(&list, &Certificate::parse(&profile.root.0).unwrap(), &key).unwrap();
        self.operator(async |server| server.import_revocation_list(&list).await.unwrap());
    }
}

impl Device {
    /// The lists that are held of the only operator.
    pub(crate) fn lists(&mut self) -> Vec<ListState> {
        self.client().trust().unwrap().remove(0).lists
    }

    /// Takes in a file of lists: whether one was newer, and how many were refused.
    pub(crate) fn take(&mut self, file: &RevocationListsFile) -> (bool, usize) {
        let (_, taken) = self.client().install_lists(file.encode()).unwrap();
        (taken.newer, taken.refused.len())
    }
}

/// A device of the maker Ajax that holds the film, under a license that ends with a revocation.
fn at_home() -> (World, Device) {
    let world = World::under(forever(OnRevocation::Stop));
    world.offer(SECOND);
    let request = TokenRequest {
        maker: "Ajax".into(),
        ..TokenRequest::new(ALICE)
    };
    let mut device = world.device_of("tv", request);
    device.fetch();
    (world, device)
}

#[test]
fn v_063_v_064_an_earlier_list_changes_nothing_in_a_response_or_a_file() {
    let (world, mut device) = at_home();
    world.operator(async |server| server.revoke_model(company("Hector")).await.unwrap());
    let (early, file) = (world.network.issue(&device.request()), world.lists());
    world.pass(HOUR);
    world.operator(async |server| server.revoke_model(company("Ajax")).await.unwrap());
    assert!(device.ask_for(SECOND).is_err());
    let known = world.lists();
    device.take(&known);
    let held = device.lists();
    assert!(!device.plays(FILM) && held.len() == known.lists.len());
    // A response of before, which brings a license of then and the list of then.
    let installed = device.client().install(early).unwrap();
    assert!(!installed.lists.newer && installed.lists.refused.is_empty());
    for _ in 0..2 {
        assert_eq!(device.take(&file), (false, 0));
        assert_eq!(device.lists(), held);
        assert!(!device.plays(FILM));
        device.restart();
    }
    // The list that takes it back is a later one.
    world.pass(HOUR);
    world.operator(async |server| {
        let ajax = server.revoked_models().await.unwrap().pop().unwrap();
        assert_eq!(ajax.maker, "Ajax");
        server.restore_model(ajax.id).await.unwrap();
    });
    let restored = world.lists();
    device.ask_for(SECOND).unwrap();
    assert!(device.plays(FILM) && device.plays(SECOND));
    for earlier in [&known, &file, &restored] {
        assert_eq!(device.take(earlier).1, 0);
        assert!(device.plays(FILM));
    }
}

#[test]
fn v_063_v_064_lists_of_another_operator_or_altered_ones_are_not_taken() {
    let (world, mut device) = at_home();
    let other = World::at("http://127.0.0.1:8480", NOW, forever(OnRevocation::Stop));
    for operator in [&world, &other] {
        operator.operator(async |server| server.revoke_model(company("Ajax")).await.unwrap());
        operator.import_root_list(1, 30, &[]);
    }
    let (ours, theirs, before) = (world.lists(), other.lists(), device.lists());
    let foreign = client_error(device.client().install_lists(theirs.encode())).unwrap_err();
    assert!(matches!(foreign, ClientError::OperatorNotNamed(_)), "{foreign:?}");
    let relabelled = RevocationListsFile {
        operator: ours.operator,
        ..theirs.clone()
    };
    assert_eq!(device.take(&relabelled), (false, theirs.lists.len()));
    // One list at a time, and one bit of it in every few bytes.
    for list in &ours.lists {
        let file = RevocationListsFile {
            lists: vec![list.clone()],
            ..ours.clone()
        };
        let bytes = file.encode();
        for at in (0..bytes.len()).step_by(11) {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            match client_error(device.client().install_lists(altered)) {
                Ok((_, taken)) => assert!(!taken.newer && taken.refused.len() == 1, "byte {at}"),
                Err(ClientError::NotLists | ClientError::OperatorNotNamed(_)) => {}
                Err(other) => panic!("byte {at}: {other:?}"),
            }
        }
    }
    assert!(device.lists() == before && device.plays(FILM));
    // The same, as they are.
    assert_eq!(device.take(&ours), (true, 0));
    assert!(device.lists().len() == ours.lists.len() && before.len() < ours.lists.len());
    assert!(!device.plays(FILM));
}

#[test]
fn v_064_a_list_that_is_dated_ahead_waits_for_its_time() {
    let (world, mut device) = at_home();
    world.clock.advance(HOUR);
    world.operator(async |server| server.revoke_model(company("Ajax")).await.unwrap());
    let ahead = world.lists();
    let (_, taken) = device.client().install_lists(ahead.encode()).unwrap();
    assert_eq!(taken.refused, [ListFault::FromTheFuture]);
    assert!(device.lists().iter().all(|held| held.list != ListId::DEVICES));
    assert!(device.plays(FILM));
    device.clock.set(Some(NOW.plus(HOUR)));
    assert_eq!(device.take(&ahead), (true, 0));
    assert!(!device.plays(FILM));
}

#[test]
fn v_063_who_withholds_a_list_hides_what_is_not_known_and_nothing_else() {
    let (world, mut device) = at_home();
    let mut knows = world.device_of(
        "radio",
        TokenRequest {
            maker: "Ajax".into(),
            ..TokenRequest::new(ALICE)
        },
    );
    knows.fetch();
    let before = world.network.carried.borrow().clone();
    world.operator(async |server| server.revoke_model(company("Ajax")).await.unwrap());
    assert!(knows.ask_for(SECOND).is_err());
    // In between, somebody answers with what the server said before the revocation.
    for answer in before {
        for device in [&mut device, &mut knows] {
            *world.network.instead.borrow_mut() = Some(answer.clone());
            let refused = device.acquire().unwrap_err();
            assert!(matches!(refused, ClientError::NoPendingRequest), "{refused:?}");
        }
        assert!(device.plays(FILM), "it cannot know");
        assert!(!knows.plays(FILM), "what is known stays known");
    }
    world.network.online.set(false);
    for _ in 0..2 {
        world.pass(90 * DAY);
        assert!(device.plays(FILM) && !knows.plays(FILM));
        device.restart();
        knows.restart();
    }
    world.network.online.set(true);
    assert!(device.ask_for(SECOND).is_err());
    assert!(!device.plays(FILM), "the first true answer tells");
}

#[test]
fn v_041_v_047_a_server_judges_by_lists_that_are_over_as_it_is_told() {
    for (says, accepts) in [("accept", true), ("refuse", false)] {
        let (world, mut device) = at_home();
        world.configure("revocation", &format!("expired = \"{says}\""));
        let mut revoked = world.device("radio");
        let serial = revoked.serial();
        world.operator(async |server| server.revoke_certificate(&serial, None, None).await.unwrap());
        let served = |device: &mut Device| match device.acquire() {
            Ok(_) => true,
            Err(ClientError::ServerRefused(problem)) if problem.code == 502 => false,
            Err(other) => panic!("{says}: {other:?}"),
        };
        // Of the authorities, only the root's list tells, and there is none; then there is; then it is over.
        assert_eq!(served(&mut device), accepts, "{says}");
        world.import_root_list(1, 10, &[]);
        assert!(served(&mut device) && device.plays(FILM), "{says}");
        assert_eq!(revoked.ask_for(FILM).unwrap_err().code, 204, "{says}");
        world.pass(10 * DAY - 1);
        assert!(served(&mut device), "{says}");
        world.pass(1);
        assert_eq!(served(&mut device), accepts, "{says}");
        assert_eq!(
            revoked.ask_for(FILM).unwrap_err().code,
            204,
            "{says}: what is named stays refused"
        );
        world.import_root_list(2, 10, &[]);
        assert!(served(&mut device), "{says}");
        assert!(device.plays(FILM), "what is held does not depend on it");
    }
}

#[test]
fn v_064_a_client_judges_by_lists_that_are_over_as_its_host_says() {
    let (world, mut strict) = at_home();
    strict.demands_lists = true;
    strict.restart();
    let mut default = world.device("radio");
    let mut asks = |strict: &mut Device, fault: Option<ChainFault>| {
        default.acquire().unwrap();
        match (strict.acquire(), fault) {
            (Ok(_), None) => {}
            (Err(ClientError::Message { error, .. }), Some(fault)) => {
                assert_eq!(error, MessageError::Signer(CryptoError::ChainRefused(fault)));
            }
            other => panic!("{other:?}"),
        }
        // What is held is judged by what was known when it came.
        let opened = strict
            .client()
            .open_content(vec![FILM], Wanted::default(), Acquisition::Never);
        assert!(client_error(opened).is_ok());
    };
    asks(&mut strict, Some(ChainFault::RevocationUnknown));
    world.import_root_list(1, 10, &[]);
    asks(&mut strict, None);
    world.pass(10 * DAY);
    asks(&mut strict, Some(ChainFault::RevocationListExpired));
    strict.restart();
    asks(&mut strict, Some(ChainFault::RevocationListExpired));
    world.import_root_list(2, 10, &[]);
    asks(&mut strict, None);
}
