//! Live with simple rotation: a new key each hour and no root; a response holds the licenses of the current hour and
//! the next, and says when to ask for what follows.

use std::collections::BTreeMap;

use getrandom::SysRng;
use keyward_client::{
    Client, ClientError,
    acquire::Wanted,
    device::SoftwareKeys,
    flow::Flow,
    session::{Acquisition, Needs, Opened},
    store::memory::MemoryStore,
};
use keyward_client_native::client_info;
use keyward_server::{
    admin::TokenRequest,
    policy::{PolicyTerms, Preset},
    roots::Channel,
};
use rand_core::UnwrapErr;

use crate::scenarios::{
    broadcast::{Segment, Studio, header},
    diskless,
    world::{ALICE, HOUR, MINUTE, NOW, World},
};

/// Over how many seconds of an hour requests are spread.
const SPREAD: u64 = HOUR / 2;
/// Devices that watch.
const DEVICES: usize = 1_000;

type Random = UnwrapErr<SysRng>;

/// A device without a disk.
struct Viewer {
    client: Client<SoftwareKeys, Random>,
    store: MemoryStore,
    opened: Option<Opened>,
    asked: usize,
}

/// Carries out a flow, and counts what it sends.
fn run<T>(
    world: &World,
    (store, asked): (&mut MemoryStore, &mut usize),
    flow: Flow<'_, T>,
) -> Result<T, ClientError> {
    diskless::run(world, store, flow, |outgoing| {
        *asked += 1;
        world.network.carry(outgoing)
    })
}

impl Viewer {
    fn enrolled(world: &World) -> Self {
        let (mut store, mut asked) = (MemoryStore::default(), 0);
        let mut rng = UnwrapErr(SysRng);
        let keys = SoftwareKeys::generate(&mut rng);
        let at = (&mut store, &mut asked);
        let mut client = run(world, at, Client::open(keys, rng, client_info(), None)).unwrap();
        client.host_mut().asks_while_playing = true;
        let (profile, token) = world.invitation(TokenRequest::new(ALICE));
        run(world, (&mut store, &mut asked), client.enrol(profile, token)).unwrap();
        Self {
            client,
            store,
            opened: None,
            asked: 0,
        }
    }

    /// Plays what is on in an hour; the content names the key of the next one besides.
    fn see(&mut self, world: &World, hours: &[Segment], hour: usize) -> Result<(), ClientError> {
        let (this, next) = (&hours[hour], &hours[hour + 1]);
        let at = (&mut self.store, &mut self.asked);
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => run(
                world,
                at,
                self.client
                    .open_content(Vec::new(), Wanted::default(), Acquisition::Reactive),
            )?,
        };
        let needs = Needs {
            kids: vec![this.kid],
            content_headers: vec![header(&[this.kid, next.kid])],
            ..Needs::default()
        };
        let at = (&mut self.store, &mut self.asked);
        run(world, at, self.client.reach(&mut opened, needs))?;
        assert!(this.is_decrypted_by(&opened.keys()));
        self.opened = Some(opened);
        Ok(())
    }

    /// Asks whether the playback goes on, and for what comes next when the time has come. Whether it asked.
    fn ticks(&mut self, world: &World) -> bool {
        let mut opened = self.opened.take().unwrap();
        let before = self.asked;
        let at = (&mut self.store, &mut self.asked);
        let standing = run(world, at, self.client.go_on(&mut opened)).unwrap();
        standing.check().unwrap();
        let at = (&mut self.store, &mut self.asked);
        run(world, at, self.client.renew(&mut opened)).unwrap();
        self.opened = Some(opened);
        self.asked > before
    }
}

/// A channel whose hours begin now, with the keys of its first five.
fn on_air(terms: PolicyTerms) -> (World, Vec<Segment>) {
    let world = World::under(terms);
    let hours = Studio::new(&world).channel("news", 0..5);
    world.operator(async |server| {
        let channel = Channel {
            renewal_spread_seconds: SPREAD,
            ..Channel::new("news", HOUR, Some(NOW))
        };
        server.set_channel(channel).await.unwrap();
        server.grant(ALICE, None, "offer", None).await.unwrap();
    });
    (world, hours)
}

#[test]
fn r_046_a_thousand_devices_renew_over_half_an_hour_and_none_has_a_gap() {
    let (world, hours) = on_air(Preset::Live.terms());
    let mut viewers: Vec<Viewer> = (0..DEVICES).map(|_| Viewer::enrolled(&world)).collect();
    for viewer in &mut viewers {
        viewer.see(&world, &hours, 0).unwrap();
        assert_eq!(viewer.asked, 1, "both hours in one response");
    }
    // The switch to the second hour costs nothing: its license is there.
    world.pass(HOUR);
    for viewer in &mut viewers {
        viewer.see(&world, &hours, 1).unwrap();
        assert_eq!(viewer.asked, 1);
    }
    // Each is looked at every three minutes of the window, and in the last one of the hour.
    let mut by_minute: BTreeMap<u64, usize> = BTreeMap::new();
    for minute in (0..=SPREAD / MINUTE).step_by(3).chain([59]) {
        world.clock.set(NOW.plus(HOUR + minute * MINUTE));
        let asked = viewers
            .iter_mut()
            .filter_map(|viewer| viewer.ticks(&world).then_some(()));
        by_minute.insert(minute, asked.count());
    }
    // Each once, in the first half of the hour, and at no time a multiple of their share.
    assert_eq!(by_minute.values().sum::<usize>(), DEVICES);
    assert_eq!(by_minute.remove(&59), Some(0));
    assert!(by_minute.remove(&0).unwrap() < 10);
    let share = DEVICES / by_minute.len();
    let is_fair = |asked: &usize| (share / 2..share * 3 / 2).contains(asked);
    assert!(share == 100 && by_minute.values().all(is_fair), "{by_minute:?}");
    world.clock.set(NOW.plus(2 * HOUR));
    // The third hour begins for all of them at once, without a request.
    for viewer in &mut viewers {
        viewer.see(&world, &hours, 2).unwrap();
        assert_eq!(viewer.asked, 2);
    }
}

#[test]
fn a_server_that_is_away_for_the_whole_window_is_asked_again_and_the_switch_is_in_time() {
    let (world, hours) = on_air(Preset::Live.terms());
    let mut device = world.device("tv");
    let needs = |hour: usize| Needs {
        kids: vec![hours[hour].kid],
        content_headers: vec![header(&[hours[hour].kid, hours[hour + 1].kid])],
        ..Needs::default()
    };
    let mut opened = device
        .client()
        .open_content(Vec::new(), Wanted::default(), Acquisition::Reactive)
        .unwrap();
    for minute in 0..4 * 60 {
        let hour = minute / 60;
        // Away for the first three quarters of each hour, which the whole window is part of.
        world.network.online.set(hour == 0 || minute % 60 >= 45);
        device.see_by(&mut opened, &hours[hour], needs(hour)).unwrap();
        world.pass(MINUTE);
    }
    // In the hours that followed: once, when the server was there again.
    assert_eq!(world.network.carried.borrow().len(), 1 + 3);
}
