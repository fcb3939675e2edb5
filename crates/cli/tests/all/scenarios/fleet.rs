//! A thousand devices through two years, half of them offline for months, while everything is rolled that can be, devices
//! are revoked and restored, and a thief copies the server. Nobody loses a license, and nobody who is revoked gains one:
//! whatever a device does is held against the [model](crate::scenarios::fleet_model).

use keyward_client::{ClientError, acquire::Wanted};
use keyward_crypto::{ChainFault, CryptoError};
use keyward_license::{error_code::ErrorCode, signed::MessageError};
use keyward_server::{
    Server,
    clock::Clock,
    policy::{OnRevocation, PolicyTerms, Preset},
    revocation::NewModel,
    rolls::Purpose,
};

use crate::scenarios::{
    broadcast::Studio,
    fleet_device::{Member, Title, WEEKS, run, week_of},
    fleet_model::{self as model, Answer, Dice, Revocation},
    world::{DAY, HOUR, World},
};

const DEVICES: usize = 1_000;
const SEED: u64 = 0x6b65_7977_6172_6421;

/// What happens in the operator's house, and in which week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Roll(Purpose),
    RollAuthority(Purpose),
    RollKek,
    RollSeed,
    /// A film comes out: by the studio of the beginning, or by one that enrols now.
    Release {
        by_new_studio: bool,
    },
    Restart,
    Revoke(Revocation),
    /// What was revoked by certificates and models is restored.
    Restore(Revocation),
    Theft,
}

const STORY: &[(u64, Event)] = {
    use Event::{Release, Restart, Restore, Revoke, Roll, RollAuthority, RollKek, RollSeed, Theft};
    &[
        (0, Release { by_new_studio: false }),
        (6, Roll(Purpose::RequestEncryption)),
        (10, Roll(Purpose::LicenseServer)),
        (14, RollKek),
        (16, Restart),
        (18, RollSeed),
        (19, Release { by_new_studio: false }),
        (20, Revoke(Revocation::Device)),
        (22, Roll(Purpose::Receipt)),
        (26, Roll(Purpose::RevocationList)),
        (28, Restart),
        (30, RollAuthority(Purpose::ServerAuthority)),
        (31, Roll(Purpose::LicenseServer)),
        (32, Roll(Purpose::RequestEncryption)),
        (34, RollAuthority(Purpose::DeviceAuthority)),
        (38, RollAuthority(Purpose::PackagerAuthority)),
        (39, Release { by_new_studio: true }),
        (40, Restart),
        (42, Theft),
        (46, Revoke(Revocation::Certificate)),
        (50, RollSeed),
        (51, Release { by_new_studio: false }),
        (52, RollKek),
        (54, Restart),
        (56, Revoke(Revocation::Model)),
        (58, Roll(Purpose::RevocationList)),
        (60, RollAuthority(Purpose::DeviceAuthority)),
        (62, Restore(Revocation::Certificate)),
        (64, RollAuthority(Purpose::ServerAuthority)),
        (65, Roll(Purpose::RequestEncryption)),
        (66, Roll(Purpose::LicenseServer)),
        (67, Roll(Purpose::Receipt)),
        (68, Restart),
        (70, Restore(Revocation::Model)),
        (74, Revoke(Revocation::Device)),
        (78, RollKek),
        (80, Restart),
        (84, RollSeed),
        (85, Release { by_new_studio: false }),
        (88, Roll(Purpose::LicenseServer)),
        (90, Roll(Purpose::RequestEncryption)),
        (92, Restart),
        (96, Roll(Purpose::RevocationList)),
    ]
};

/// The whole of it.
struct Fleet<'w> {
    world: &'w World,
    dice: Dice,
    members: Vec<Member>,
    studios: Vec<Studio<'w>>,
    titles: Vec<Title>,
    /// Whether the thief has been found out.
    thief: bool,
    /// The entry of the operator's list.
    entry: Option<i64>,
    /// Requests that are carried for long, and when they arrive.
    late: Vec<(u64, Vec<u8>)>,
    /// Plays that went well, and that rightly did not; licenses denied.
    counts: [usize; 3],
}

/// A cinema whose licenses last longer than a year, so that devices may be away for long.
fn cinema() -> World {
    let terms = |on_revocation| PolicyTerms {
        begin_offset_seconds: Some(-300),
        duration_seconds: Some(model::LASTS),
        on_revocation,
        ..Preset::Purchase.terms()
    };
    let world = World::under(terms(OnRevocation::Keep));
    world.configure(
        "lifetimes",
        "device_certificate_days = 365\ndiscovery_hours = 720",
    );
    world.configure("acknowledgement", "wanted = true");
    world.operator(async |server| {
        server
            .create_policy("strict", terms(OnRevocation::Stop))
            .await
            .unwrap();
        server.grant("strict", None, "strict", None).await.unwrap();
        server.grant("lenient", None, "offer", None).await.unwrap();
    });
    world
}

impl<'w> Fleet<'w> {
    fn new(world: &'w World) -> Self {
        let mut dice = Dice(SEED);
        Self {
            world,
            members: (0..DEVICES)
                .map(|number| Member::new(world, number, &mut dice))
                .collect(),
            dice,
            studios: vec![Studio::new(world)],
            titles: Vec::new(),
            thief: false,
            entry: None,
            late: Vec::new(),
            counts: [0; 3],
        }
    }

    fn happens(&mut self, event: Event) {
        let world = self.world;
        match event {
            Event::Roll(Purpose::RequestEncryption) => self.roll_request_encryption(),
            Event::Roll(purpose) => world.roll(purpose),
            Event::RollAuthority(purpose) => world.roll_authority(purpose),
            Event::RollKek => world.operator(async |server| {
                let right = server.right_to_serve().await.unwrap();
                server.roll_kek(None).await.unwrap();
                drop(right);
            }),
            Event::RollSeed => world.operator(async |server| {
                assert!(server.roll_seed().await.unwrap().used);
            }),
            Event::Release { by_new_studio } => {
                if by_new_studio {
                    self.studios.push(Studio::new(world));
                }
                let name = format!("film {}", self.titles.len());
                self.titles
                    .push(Title::released(self.studios.last().unwrap(), &name));
            }
            Event::Restart => world.restart_server(),
            Event::Revoke(how) => self.revoke(how),
            Event::Restore(how) => self.restore(how),
            Event::Theft => self.is_robbed(),
        }
    }

    /// Members that are enrolled and nothing is said against, as they come.
    fn some(&mut self, count: usize, which: impl Fn(&Member) -> bool) -> Vec<usize> {
        let offset = self.dice.place(DEVICES);
        let all = (0..DEVICES).map(|number| (number + offset) % DEVICES);
        let good = |number: &usize| {
            let member = &self.members[*number];
            member.is_enrolled && member.model.revoked.is_none() && which(member)
        };
        all.filter(good).take(count).collect()
    }

    fn revoke(&mut self, how: Revocation) {
        let chosen = match how {
            Revocation::Model => self.some(DEVICES, |member| member.request.model == "stick"),
            _ => self.some(30, |member| member.request.model == "player"),
        };
        assert!(chosen.len() >= 30);
        for number in &chosen {
            let member = &mut self.members[*number];
            let (id, serial) = (member.client.device_id().unwrap(), member.serial());
            self.world.operator(async |server| match how {
                Revocation::Device => {
                    server.revoke_device(id).await.unwrap();
                }
                Revocation::Certificate => server.revoke_certificate(&serial, None, None).await.unwrap(),
                Revocation::Model => {}
            });
            member.model.revoked = Some(how);
        }
        if how == Revocation::Model {
            let stick = NewModel {
                maker: "Ajax".into(),
                model: Some("stick".into()),
                robustness_below: None,
                since: None,
                reason: None,
            };
            let entry = self
                .world
                .operator(async |server| server.revoke_model(stick).await.unwrap());
            self.entry = Some(entry);
        }
    }

    /// What holds for the model holds for devices that enrol later as well, and some of them are exempt.
    fn see_to_the_model(&mut self) {
        if self.entry.is_none() {
            return;
        }
        for (number, member) in self.members.iter_mut().enumerate() {
            let is_one = member.is_enrolled && member.request.model == "stick";
            if is_one && member.model.revoked.is_none() {
                member.model.revoked = Some(Revocation::Model);
            }
            if is_one && number % 40 == 0 && !member.model.exempt {
                let id = member.client.device_id().unwrap();
                self.world
                    .operator(async |server| server.allow_device(id).await.unwrap());
                member.model.exempt = true;
            }
        }
    }

    fn restore(&mut self, how: Revocation) {
        if how == Revocation::Model {
            let entry = self.entry.take().unwrap();
            self.world
                .operator(async |server| server.restore_model(entry).await.unwrap());
        }
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.model.revoked == Some(how))
        {
            if how == Revocation::Certificate {
                let serial = member.serial();
                self.world
                    .operator(async |server| server.restore_certificate(&serial).await.unwrap());
            }
            member.model.revoked = None;
        }
    }

    /// Requests that were made before and are carried: within the overlap they are answered, after that refused.
    fn roll_request_encryption(&mut self) {
        let world = self.world;
        let title = self.titles.len() - 1;
        let week = week_of(world);
        let chosen = self.some(10, |member| {
            member.is_online(week) && member.model.is_certified(world.clock.now().0 + 14 * DAY)
        });
        let wanted = Wanted {
            kids: vec![self.titles[title].kid],
            ..Wanted::default()
        };
        let mut carried = Vec::new();
        for number in chosen {
            let member = &mut self.members[number];
            member.ask(world, &self.titles, title, self.thief);
            let request = run(
                world,
                &mut member.store,
                false,
                member.client.request(wanted.clone()),
            )
            .unwrap();
            carried.push(request);
        }
        world.roll(Purpose::RequestEncryption);
        self.late.extend(
            carried
                .drain(..carried.len() / 2)
                .map(|request| (week + 5, request)),
        );
        for request in &carried {
            let answered = world.operator(async |server| server.issue(request).await);
            assert!(answered.is_ok(), "week {week}: {answered:?}");
        }
    }

    /// Those that come when the overlap is over.
    fn carry_late(&mut self, week: u64) {
        for (_, request) in self.late.extract_if(.., |(due, _)| *due == week) {
            let refused = self
                .world
                .operator(async |server| server.issue(&request).await.unwrap_err());
            assert_eq!(refused.code, ErrorCode::WrongRecipient.number());
        }
    }

    /// A thief copies the server. An hour later the operator notices; another hour later the thief answers some devices.
    fn is_robbed(&mut self) {
        let world = self.world;
        world.operator(async |server| server.revocation_lists().await.unwrap());
        let (thief, clock) = world.stolen();
        world.pass(HOUR);
        let stolen = world.serials("license-server").remove(0);
        world.roll(Purpose::LicenseServer);
        world.operator(async |server| server.revoke_certificate(&stolen, None, None).await.unwrap());
        self.thief = true;
        world.pass(HOUR);
        clock.advance(2 * HOUR);
        let (week, now, title) = (week_of(world), world.clock.now().0, 2);
        let chosen = self.some(60, |member| {
            let model = &member.model;
            let can_ask = model.is_certified(now) && !model.is_in_last_third(now);
            member.is_online(week) && can_ask && !member.acknowledges && !model.plays(title, now)
        });
        assert!(chosen.len() > 40);
        for (place, number) in chosen.into_iter().enumerate() {
            let member = &mut self.members[number];
            if place % 2 == 0 {
                member.ask(world, &self.titles, 0, self.thief);
            }
            Self::meets_thief(world, member, (&self.titles, title), &thief);
        }
        let looted = self
            .members
            .iter()
            .filter(|member| member.model.has_loot())
            .count();
        assert!(looted > 20);
    }

    fn meets_thief(world: &World, member: &mut Member, (titles, title): (&[Title], usize), thief: &Server) {
        let honest = world.put_in_place(thief.clone());
        let acquired = member.acquire(world, &titles[title]);
        world.put_in_place(honest);
        let revoked = MessageError::Signer(CryptoError::ChainRefused(ChainFault::Revoked));
        match (
            acquired,
            member.model.is_served_by_thief(title, world.clock.now().0),
        ) {
            (Ok(Answer::License), true) => {}
            (Err(ClientError::Message { error, .. }), false) if error == revoked => {}
            (other, expected) => panic!("{}: {other:?}, expected {expected}", member.name),
        }
        member.check(world, titles, title);
    }

    /// A week of a device.
    fn lives(&mut self, number: usize, week: u64) {
        let (world, dice, member) = (self.world, &mut self.dice, &mut self.members[number]);
        if week < member.begins {
            return;
        }
        let (online, now) = (member.is_online(week), world.clock.now().0);
        if !member.is_enrolled {
            member.enrol(world);
            member.ask(world, &self.titles, 0, self.thief);
        }
        if dice.one_in(32) {
            member.restart(world);
        }
        // The first film again and again, and one of the others.
        let title = match dice.below(16) {
            0 => (number + dice.place(2)) % self.titles.len(),
            _ => 0,
        };
        if dice.one_in(10) {
            let plays = member.check(world, &self.titles, title);
            self.counts[usize::from(!plays)] += 1;
            if !plays && online {
                member.ask(world, &self.titles, title, self.thief);
                self.counts[2] += usize::from(member.model.is_revoked());
            }
        } else if online && member.model.renews(title, now) && dice.one_in(4) {
            member.ask(world, &self.titles, title, self.thief);
        }
    }
}

#[test]
fn a_thousand_devices_through_two_years_of_rolls_lose_nothing_and_gain_nothing_they_should_not() {
    let world = cinema();
    let mut fleet = Fleet::new(&world);
    for week in 0..WEEKS {
        for (_, event) in STORY.iter().filter(|(when, _)| *when == week) {
            fleet.happens(*event);
        }
        fleet.carry_late(week);
        fleet.see_to_the_model();
        for number in 0..DEVICES {
            fleet.lives(number, week);
        }
        world.pass(7 * DAY);
    }
    // At the end everybody comes home, and has every film, or none.
    for member in &mut fleet.members {
        member.restart(&world);
        for title in 0..fleet.titles.len() {
            member.check(&world, &fleet.titles, title);
        }
        member.ask(&world, &fleet.titles, 4, true);
    }
    let [played, shut, denied] = fleet.counts;
    let revoked = fleet
        .members
        .iter()
        .filter(|member| member.model.is_revoked())
        .count();
    let given: usize = fleet.members.iter().map(|member| member.model.given()).sum();
    assert!(
        played > 5_000 && shut > 150 && denied > 15 && revoked == 60,
        "{:?} {revoked}",
        fleet.counts
    );
    let wanted = world.operator(async |server| server.transactions(Some(true)).await.unwrap().len());
    assert!(given > 2 * DEVICES && wanted > 100, "{given} {wanted}");
}
