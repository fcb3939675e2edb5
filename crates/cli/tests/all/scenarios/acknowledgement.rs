//! Acknowledgement: the operator learns what became of its licenses, through crashes, lost and forged receipts, and gives
//! nothing back for one that was refused.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use keyward_client::{
    ClientError, LicenseFault,
    acquire::Wanted,
    flow::{Answer, Outgoing},
    install::AcquiredKey,
};
use keyward_license::{
    acknowledgement::{AcknowledgedLicense, LicenseOutcome},
    error_code::{ErrorCode, Problem},
    ids::LicenseId,
};
use keyward_server::{
    acknowledgements::Transaction,
    handler::{Asked, Decision, HandlerError, LicenseHandler, Permission},
    policy::{OnRevocation, PolicyTerms, Preset},
};

use crate::scenarios::{
    revocation::{SECOND, forever},
    world::{DAY, FILM, MINUTE, Network, World, client_error},
};

/// An operator that wants to know.
fn curious() -> World {
    let world = World::under(forever(OnRevocation::Keep));
    world.offer(SECOND);
    world.configure("acknowledgement", "wanted = true");
    world
}

impl World {
    /// Transactions that were acknowledged, or that were not, oldest first.
    fn transactions(&self, acknowledged: bool) -> Vec<Transaction> {
        let mut listed = self.operator(async |server| server.transactions(Some(acknowledged)).await.unwrap());
        listed.reverse();
        listed
    }

    /// What became of the licenses of the newest answer that was acknowledged.
    fn results(&self) -> Vec<AcknowledgedLicense> {
        let newest = self.transactions(true).pop().unwrap();
        newest.acknowledged.unwrap().1
    }

    /// Lets somebody see the acknowledgements: what the server answers to them, which is what the device gets unless
    /// another answer takes its place.
    fn watch(&self, mut watcher: impl FnMut(&Network, &Outgoing) -> Answer + 'static) -> Rc<Cell<usize>> {
        let (seen, network) = (Rc::new(Cell::new(0)), Rc::downgrade(&self.network));
        let count = Rc::clone(&seen);
        *self.network.between.borrow_mut() = Some(Box::new(move |outgoing| {
            let is_one = outgoing.url.ends_with("/acknowledgement");
            is_one.then(|| {
                count.set(count.get() + 1);
                (watcher(&network.upgrade().unwrap(), outgoing), None)
            })
        }));
        seen
    }
}

/// The answer of something that is broken on the way.
fn lost() -> Answer {
    let problem = Problem::new(ErrorCode::UpstreamUnreachable, "the way is broken".into());
    Answer {
        status: 502,
        body: problem.encode(),
    }
}

fn result(
    kid: keyward_license::ids::Kid,
    license: LicenseId,
    outcome: LicenseOutcome,
) -> AcknowledgedLicense {
    AcknowledgedLicense {
        kid,
        license: Some(license),
        outcome,
        reason: None,
    }
}

#[test]
fn v_048_v_065_what_was_stored_and_what_is_in_memory_is_told_at_once() {
    let world = curious();
    let mut device = world.device("tv");
    device.wanted.kids = vec![FILM, SECOND];
    let sent = world.network.sent.get();
    let acquired = device.acquire().unwrap();
    assert_eq!(
        world.network.sent.get(),
        sent + 2,
        "a request, an acknowledgement"
    );
    let told = world.transactions(true);
    assert_eq!(told.len(), 1);
    assert_eq!(Some(told[0].id), acquired.transaction);
    assert_eq!(told[0].device, device.client().device_id().unwrap());
    let stored = acquired.outcomes.iter().map(|(kid, outcome)| match outcome {
        AcquiredKey::Stored(id) => result(*kid, *id, LicenseOutcome::Stored),
        other => panic!("{other:?}"),
    });
    assert_eq!(world.results(), stored.collect::<Vec<_>>());

    device.wanted.in_memory = true;
    device.wanted.kids = vec![FILM];
    let id = device.fetch();
    assert_eq!(world.results(), [result(FILM, id, LicenseOutcome::InMemory)]);
    // What brings no license asks for nothing.
    device.ask_time().unwrap();
    world.end_entitlements();
    assert_eq!(device.refused_by_server(), ErrorCode::NotEntitled.number());
    assert_eq!(
        (world.transactions(true).len(), world.transactions(false).len()),
        (2, 0)
    );
    assert_eq!(device.client().waiting_acknowledgements(), 0);
}

#[test]
fn nobody_acknowledges_what_nobody_wants_to_know() {
    let world = World::offering(Preset::Purchase);
    let mut device = world.device("tv");
    let seen = world.watch(|_, _| lost());
    let acquired = device.acquire().unwrap();
    assert_eq!((acquired.transaction, seen.get()), (None, 0));
    assert_eq!(world.transactions(false), []);
    let refused = client_error(device.client().request_acknowledgement()).unwrap_err();
    assert!(matches!(refused, ClientError::NothingToAcknowledge));
    // A policy can want it by itself.
    *world.network.between.borrow_mut() = None;
    let curious = PolicyTerms {
        acknowledge: true,
        ..Preset::Purchase.terms()
    };
    world.operator(async |server| server.create_policy("offer", curious).await.unwrap());
    let id = device.fetch();
    assert_eq!(world.results(), [result(FILM, id, LicenseOutcome::Stored)]);
}

#[test]
fn v_048_a_power_cut_between_storing_and_telling_loses_neither() {
    // Before the acknowledgement is sent, and after the server has recorded it.
    for is_recorded in [false, true] {
        let world = curious();
        let mut device = world.device("tv");
        let disk = Rc::new(tempfile::tempdir().unwrap());
        let (to, from) = (Rc::clone(&disk), world.home().join("tv"));
        world.watch(move |network, outgoing| {
            if is_recorded {
                assert_eq!(network.carry(outgoing).status, 200);
            }
            // What is on the disk now is what the next process finds.
            for file in std::fs::read_dir(&from).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
            }
            lost()
        });
        let id = device.fetch();
        *world.network.between.borrow_mut() = None;
        assert_eq!(world.transactions(true).len(), usize::from(is_recorded));
        device.restore(disk.path(), |_| true).unwrap();
        world.network.online.set(false);
        assert!(device.plays(FILM), "the license is there");
        assert_eq!(device.client().waiting_acknowledgements(), 1);
        world.network.online.set(true);
        // The next contact tells it, whatever it is about; and once.
        let seen = world.watch(|network, outgoing| network.carry(outgoing));
        device.ask_time().unwrap();
        for _ in 0..2 {
            assert_eq!((seen.get(), device.client().waiting_acknowledgements()), (1, 0));
            assert_eq!(world.results(), [result(FILM, id, LicenseOutcome::Stored)]);
            assert_eq!(
                (world.transactions(true).len(), world.transactions(false).len()),
                (1, 0)
            );
            device.restart();
            device.ask_time().unwrap();
        }
    }
}

#[test]
fn v_065_a_receipt_that_is_altered_replayed_or_anothers_settles_nothing() {
    let world = curious();
    let mut device = world.device("tv");
    let mut other = world.device("radio");
    // The receipt of an earlier acknowledgement of the same device, and one of another device.
    let kept = Rc::new(RefCell::new(Vec::new()));
    for device in [&mut device, &mut other] {
        let keep = Rc::clone(&kept);
        world.watch(move |network, outgoing| {
            let answer = network.carry(outgoing);
            keep.borrow_mut().push(answer.clone());
            answer
        });
        device.fetch();
        assert_eq!(device.client().waiting_acknowledgements(), 0);
    }
    let honest: Vec<Answer> = kept.borrow().clone();
    type Forge = Box<dyn Fn(Answer) -> Answer>;
    let altered = |at: fn(usize) -> usize| -> Forge {
        Box::new(move |mut answer| {
            let at = at(answer.body.len());
            answer.body[at] ^= 1;
            answer
        })
    };
    let instead = |answer: Answer| -> Forge { Box::new(move |_| answer.clone()) };
    let forged: Vec<Forge> = vec![
        altered(|_| 0),
        altered(|length| length / 2),
        altered(|length| length - 1),
        Box::new(|mut answer| {
            answer.body.pop();
            answer
        }),
        instead(honest[0].clone()),
        instead(honest[1].clone()),
    ];
    device.wanted.kids = vec![SECOND];
    for (number, forge) in forged.into_iter().enumerate() {
        world.watch(move |network, outgoing| forge(network.carry(outgoing)));
        device.acquire().unwrap();
        assert_eq!(device.client().waiting_acknowledgements(), 1, "forgery {number}");
        assert!(device.plays(SECOND), "what was acquired does not depend on it");
        let told = device.client().acknowledge().unwrap();
        assert!(
            told.received.is_empty() && told.failed.is_some(),
            "forgery {number}"
        );
        *world.network.between.borrow_mut() = None;
        let told = device.client().acknowledge().unwrap();
        assert!(told.received.len() == 1 && told.waiting == 0, "forgery {number}");
    }
    assert_eq!(world.transactions(false), []);
}

#[test]
fn v_048_v_065_acknowledgements_and_receipts_are_carried_where_there_is_no_network() {
    let world = curious();
    let mut device = world.device("tv");
    let mut other = world.device("radio");
    let request = device.request();
    let response = world.network.issue(&request);
    world.network.online.set(false);
    device.client().install(response).unwrap();
    assert_eq!(device.client().waiting_acknowledgements(), 1);
    assert_eq!(world.transactions(false).len(), 1);
    let carried = device.client().request_acknowledgement().unwrap();
    device.restart();
    let receipt = |request: &[u8]| {
        let answered = world.operator(async |server| server.acknowledge(request).await);
        answered.map_err(|problem| problem.code)
    };
    let good = receipt(&carried).unwrap();
    assert_eq!(
        receipt(&carried).map(drop),
        Ok(()),
        "as often as it is carried there"
    );
    let mut altered = carried.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert!(receipt(&altered).is_err());
    assert_eq!(world.transactions(true).len(), 1);
    assert!(client_error(other.client().install_receipt(good.clone())).is_err());
    assert_eq!(device.client().waiting_acknowledgements(), 1);
    device.client().install_receipt(good.clone()).unwrap();
    assert_eq!(device.client().waiting_acknowledgements(), 0);
    let again = client_error(device.client().install_receipt(good)).unwrap_err();
    assert!(
        matches!(again, ClientError::NoWaitingAcknowledgement),
        "{again:?}"
    );
}

/// Grants everything under its own terms, for one answer, by the number of the ticket.
struct Ticket(u8, PolicyTerms);

impl LicenseHandler for Ticket {
    async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
        let mut decision = Decision::default();
        for key in &asked.keys {
            decision.grant(key.kid, Permission::own(self.1.clone()));
        }
        decision.only_once("box office", &[self.0], asked.now.plus(DAY));
        Ok(decision)
    }
}

#[test]
fn v_048_a_license_that_was_refused_is_told_and_gives_nothing_back() {
    let world = curious();
    let minute = PolicyTerms {
        duration_seconds: Some(MINUTE),
        real_time_expiration: true,
        persistent_allowed: false,
        ..Preset::Purchase.terms()
    };
    // In the one case, the device can do what the license demands when it asks, and not any more when it comes.
    for refuses in [false, true] {
        let mut device = world.device(if refuses { "radio" } else { "tv" });
        device.wanted.in_memory = true;
        world.decide_by(Ticket(refuses.into(), minute.clone()));
        let request = device.request();
        let response = world.network.issue(&request);
        device.client().host_mut().asks_while_playing = !refuses;
        let installed = client_error(device.client().install(response));
        let is_refused = matches!(
            &installed,
            Err(ClientError::LicenseRefused {
                kid: FILM,
                fault: LicenseFault::NotAnnounced
            })
        );
        assert_eq!(
            (is_refused, installed.is_ok()),
            (refuses, !refuses),
            "{installed:?}"
        );
        assert_eq!(device.client().waiting_acknowledgements(), 1);
        device.ask_time().unwrap();
        let told = world.results();
        assert_eq!(told.len(), 1);
        let why = told[0].reason.as_ref().map(|why| &why[..5]);
        let expected = match refuses {
            true => (LicenseOutcome::Refused, Some("V-029")),
            false => (LicenseOutcome::InMemory, None),
        };
        assert_eq!((told[0].outcome, why), expected);
        assert_eq!(device.plays(FILM), !refuses);
        // The ticket is used up all the same.
        device.client().host_mut().asks_while_playing = true;
        let code = device.refused_by_server();
        assert_eq!(code, ErrorCode::AuthorizationRefused.number(), "{refuses}");
    }
}

#[test]
fn v_042_a_revoked_device_is_not_heard_any_more_and_keeps_what_it_would_tell() {
    let world = curious();
    let mut device = world.device("tv");
    world.watch(|_, _| lost());
    device.fetch();
    *world.network.between.borrow_mut() = None;
    let id = device.client().device_id().unwrap();
    world.operator(async |server| server.revoke_device(id).await.unwrap());
    let told = device.client().acknowledge().unwrap();
    assert!(
        matches!(&told.failed, Some(ClientError::ServerRefused(problem)) if problem.code == 204),
        "{told:?}"
    );
    assert_eq!((told.waiting, world.transactions(true).len()), (1, 0));
    assert!(device.plays(FILM));
    let wanted = Wanted {
        kids: vec![FILM],
        ..Wanted::default()
    };
    let denied = client_error(device.client().acquire(wanted)).unwrap();
    assert_eq!(denied.transaction, None);
}
