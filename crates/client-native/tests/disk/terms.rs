//! Terms that a client has to remember, and a playback over several openings of the directory.

use std::{cell::Cell, io::Read, rc::Rc};

use keyward_client::{
    ClientError,
    flow::Moment,
    host::{HostProfile, Unlisted},
    session::{Acquisition, Opened},
};
use keyward_client_native::{Clock, NativeClient, NativeError, Options};
use keyward_license::{license::Flag, request::ClockKind, usage_rules::Refusal};
use keyward_testkit::pki::{DAY, NOW};

use crate::world::{World, kid, opens, wanted};

/// Seconds after [`NOW`], on both clocks.
#[derive(Default)]
struct MovingClock(Cell<u64>);

impl Clock for MovingClock {
    fn moment(&self) -> Moment {
        Moment {
            utc: Some(NOW.plus(self.0.get())),
            monotonic: self.0.get() * 1000,
        }
    }

    fn kind(&self) -> ClockKind {
        ClockKind::Secure
    }
}

fn start(world: &World, clock: &Rc<MovingClock>) -> NativeClient {
    let options = Options {
        clock: Box::new(Rc::clone(clock)),
        host: HostProfile {
            asks_while_playing: true,
            ..HostProfile::default()
        },
        ..Options::default()
    };
    NativeClient::open_with(&world.folder(), world.transport(), options).unwrap()
}

fn open(client: &mut NativeClient, acquisition: Acquisition) -> Result<Opened, NativeError> {
    client.open_content(vec![kid(1)], wanted(1), acquisition)
}

#[test]
fn r_012_the_first_play_is_on_the_disk_before_the_key_is_out() {
    let (world, clock) = (World::new(), Rc::default());
    let mut client = start(&world, &clock);
    world.enrol(&mut client);
    world.server.borrow_mut().bent.license = Some(Box::new(|body| {
        body.end = None;
        body.expiration_after_first_play = Some(DAY);
    }));
    client.acquire(wanted(1)).unwrap();
    clock.0.set(100);
    assert!(opens(&open(&mut client, Acquisition::Never).unwrap().bound[0]));
    drop(client);
    clock.0.set(100 + DAY);
    let over = open(&mut start(&world, &clock), Acquisition::Never);
    let Err(NativeError::Client(ClientError::Refused { refusal, .. })) = over else {
        panic!("{over:?}")
    };
    assert_eq!(
        refusal,
        Refusal::FirstPlayExpired {
            at: NOW.plus(100 + DAY)
        }
    );
}

#[test]
fn r_043_a_playback_goes_on_over_another_opening_of_the_directory() {
    let (world, clock) = (World::new(), Rc::<MovingClock>::default());
    let mut client = start(&world, &clock);
    world.enrol(&mut client);
    world.server.borrow_mut().bent.license = Some(Box::new(|body| {
        body.end = Some(body.issued.plus(30));
        body.grace_period = Some(30);
        body.real_time_expiration = Some(Flag);
    }));
    let mut opened = open(&mut client, Acquisition::Reactive).unwrap();
    assert_eq!(
        world.server.borrow().requests[0].capabilities.clock,
        ClockKind::Secure
    );
    assert_eq!(client.renew(&mut opened).unwrap(), None);
    drop(client);
    for round in 1..=3 {
        // In grace the next license is acquired, and takes over when the grace period ends.
        clock.0.set(round * 30);
        world.server.borrow_mut().now = NOW.plus(round * 30);
        assert!(!opened.holds(clock.moment(), &Unlisted));
        let mut client = start(&world, &clock);
        let standing = client.go_on(&mut opened).unwrap();
        assert!(standing.in_grace && standing.stopped.is_empty(), "{round}");
        assert!(client.renew(&mut opened).unwrap().is_some(), "{round}");
        assert!(client.renew(&mut opened).unwrap().is_none(), "{round}");
        assert!(opened.holds(clock.moment(), &Unlisted));
        assert!(opens(&opened.bound[0]));
    }
}

#[test]
fn r_043_a_watched_reader_hands_out_nothing_after_the_end() {
    let (world, clock) = (World::new(), Rc::<MovingClock>::default());
    let mut client = start(&world, &clock);
    world.enrol(&mut client);
    world.server.borrow_mut().bent.license = Some(Box::new(|body| {
        body.end = Some(body.issued.plus(30));
        body.real_time_expiration = Some(Flag);
    }));
    let mut opened = open(&mut client, Acquisition::Reactive).unwrap();
    let mut clear = client.watch(&mut opened, &b"the clear bytes"[..]);
    let mut four = [0; 4];
    clear.read_exact(&mut four).unwrap();
    // The next license is acquired, without a gap.
    clock.0.set(30);
    world.server.borrow_mut().now = NOW.plus(30);
    clear.read_exact(&mut four).unwrap();
    // The right to it has ended.
    clock.0.set(60);
    world.server.borrow_mut().keys.clear();
    let stopped = clear
        .read_exact(&mut four)
        .unwrap_err()
        .downcast::<NativeError>()
        .unwrap();
    assert!(stopped.to_string().contains("(R-005)"), "{stopped}");
    assert!(clear.read(&mut four).is_err());
    assert_eq!(&four, b"clea");
}
