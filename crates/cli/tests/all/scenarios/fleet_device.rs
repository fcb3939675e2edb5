//! A device of the fleet: a client without a disk, and what is [true](crate::scenarios::fleet_model) of it.

use std::ops::Range;

use getrandom::SysRng;
use keyward_client::{
    Client, ClientError, acquire::Wanted, device::SoftwareKeys, flow::Flow, install::AcquiredKey,
    session::Acquisition, store::memory::MemoryStore,
};
use keyward_client_native::client_info;
use keyward_content::{
    file::{FileHeader, LockedFile, Sealer},
    header::ContentHeader,
};
use keyward_crypto::SecretBytes;
use keyward_license::{error_code::ErrorCode, ids::Kid};
use keyward_server::{admin::TokenRequest, clock::Clock};
use rand_core::UnwrapErr;

use crate::scenarios::{
    broadcast::Studio,
    diskless,
    fleet_model::{self as model, Answer, Dice},
    world::{DAY, NOW, World},
};

/// How long it all takes.
pub(crate) const WEEKS: u64 = 104;
/// By when the last device has enrolled.
const LAST_ENROLMENT: u64 = 40;

type Random = UnwrapErr<SysRng>;

/// A film that was released, as it lies on every device.
pub(crate) struct Title {
    pub(crate) kid: Kid,
    pub(crate) file: Vec<u8>,
}

impl Title {
    pub(crate) fn released(studio: &Studio<'_>, name: &str) -> Self {
        let data = studio.file(name);
        let track = &data.tracks[0];
        let header = ContentHeader::for_file(track.kid, None)
            .to_object_bytes()
            .unwrap();
        let rng = &mut UnwrapErr(SysRng);
        let (sealer, _) = Sealer::new(&track.key, &FileHeader::new(header, track.kid), rng).unwrap();
        Self {
            kid: track.kid,
            file: sealer.prefix().to_vec(),
        }
    }
}

/// A device without a disk, and what is true of it.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) keys: SecretBytes,
    pub(crate) client: Client<SoftwareKeys, Random>,
    pub(crate) store: MemoryStore,
    pub(crate) request: TokenRequest,
    pub(crate) acknowledges: bool,
    pub(crate) begins: u64,
    /// Weeks without a network.
    pub(crate) away: Vec<Range<u64>>,
    pub(crate) is_enrolled: bool,
    pub(crate) model: model::Device,
}

/// Carries out a flow, with or without a network.
pub(crate) fn run<T>(
    world: &World,
    store: &mut MemoryStore,
    online: bool,
    flow: Flow<'_, T>,
) -> Result<T, ClientError> {
    let before = world.clock.now();
    let result = diskless::run(world, store, flow, |outgoing| {
        assert!(online, "who is offline is asked nothing that needs a network");
        world.network.carry(outgoing)
    });
    assert_eq!(world.clock.now(), before, "nothing is busy");
    result
}

impl Member {
    pub(crate) fn new(world: &World, number: usize, dice: &mut Dice) -> Self {
        let (mut store, mut rng) = (MemoryStore::default(), UnwrapErr(SysRng));
        let keys = SoftwareKeys::generate(&mut rng);
        let secret = keys.to_secret_bytes();
        let client = run(
            world,
            &mut store,
            false,
            Client::open(keys, rng, client_info(), None),
        )
        .unwrap();
        let stops = dice.one_in(2);
        // Half of them are away for months, once or twice.
        let mut away = Vec::new();
        if number.is_multiple_of(2) {
            for _ in 0..=dice.below(2) {
                let from = 2 + dice.below(WEEKS - 12);
                away.push(from..from + 12 + dice.below(40));
            }
        }
        let mut member = Self {
            name: format!("device {number}"),
            keys: secret,
            client,
            store,
            request: TokenRequest {
                maker: "Ajax".into(),
                model: if number % 20 < 2 { "stick" } else { "player" }.into(),
                ..TokenRequest::new(if stops { "strict" } else { "lenient" })
            },
            acknowledges: number % 10 == 3,
            begins: if number.is_multiple_of(3) {
                dice.below(LAST_ENROLMENT)
            } else {
                0
            },
            away,
            is_enrolled: false,
            model: model::Device::new(stops),
        };
        member.client.host_mut().acknowledges = member.acknowledges;
        member
    }

    pub(crate) fn is_online(&self, week: u64) -> bool {
        week <= self.begins || !self.away.iter().any(|weeks| weeks.contains(&week))
    }

    /// Its process ends, and another begins.
    pub(crate) fn restart(&mut self, world: &World) {
        let keys = SoftwareKeys::from_secret_bytes(&self.keys).unwrap();
        let epoch = self.store.epoch().map(<[u8]>::to_vec);
        let opening = Client::open(keys, UnwrapErr(SysRng), client_info(), epoch);
        self.client = run(world, &mut self.store, false, opening).unwrap();
        self.client.host_mut().acknowledges = self.acknowledges;
    }

    /// Enrols, again if it was before: the operator gives it a token.
    pub(crate) fn enrol(&mut self, world: &World) {
        let (profile, token) = world.invitation(self.request.clone());
        run(world, &mut self.store, true, self.client.enrol(profile, token)).unwrap();
        self.model.enrols(world.clock.now().0);
        self.is_enrolled = true;
    }

    /// Whether a title plays from what is there.
    pub(crate) fn plays(&mut self, world: &World, title: &Title) -> bool {
        let opening = self
            .client
            .open_content(vec![title.kid], Wanted::default(), Acquisition::Never);
        let opened = match run(world, &mut self.store, false, opening) {
            Ok(opened) => opened,
            Err(ClientError::NoLicense { .. } | ClientError::Refused { .. }) => return false,
            Err(other) => panic!("{}: {other:?}", self.name),
        };
        let file = LockedFile::read_from(&mut &title.file[..]).unwrap();
        assert!(
            opened.unlock(*file).is_ok(),
            "{}: the key is another one",
            self.name
        );
        true
    }

    /// Sends a request for a title: what came of it.
    pub(crate) fn acquire(&mut self, world: &World, title: &Title) -> Result<Answer, ClientError> {
        let wanted = Wanted {
            kids: vec![title.kid],
            ..Wanted::default()
        };
        let acquired = run(world, &mut self.store, true, self.client.acquire(wanted))?;
        match &acquired.outcomes[..] {
            [(_, AcquiredKey::Stored(_))] => Ok(Answer::License),
            [(_, AcquiredKey::Denied(denial))] if denial.code == ErrorCode::DeviceRevoked.number() => {
                Ok(Answer::Revoked)
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// Asks the server for a title, and gets what the rules say.
    pub(crate) fn ask(&mut self, world: &World, titles: &[Title], title: usize, thief: bool) {
        let now = world.clock.now().0;
        let answer = match self.acquire(world, &titles[title]) {
            Ok(answer) => answer,
            Err(ClientError::ServerRefused(problem))
                if problem.code == ErrorCode::CertificateRefused.number() =>
            {
                Answer::EnrolAgain
            }
            Err(other) => panic!("{}: {other:?}", self.name),
        };
        let expected = self.model.asks(title, (now, thief));
        assert_eq!(answer, expected, "{} in week {}", self.name, week_of(world));
        if answer == Answer::EnrolAgain && !self.model.is_revoked() {
            self.enrol(world);
            let answer = self.acquire(world, &titles[title]).unwrap();
            assert_eq!(
                answer,
                self.model.asks(title, (now, thief)),
                "{} again",
                self.name
            );
        }
        if self.client.owes_renewal() {
            run(world, &mut self.store, true, self.client.renew_certificates()).unwrap();
        }
        if self.client.owes_acknowledgement() {
            let told = run(world, &mut self.store, true, self.client.acknowledge()).unwrap();
            assert!(
                told.waiting == 0 || self.model.is_revoked(),
                "{}: {told:?}",
                self.name
            );
        }
        self.check(world, titles, title);
    }

    /// A title plays if the rules say so, and otherwise not.
    pub(crate) fn check(&mut self, world: &World, titles: &[Title], title: usize) -> bool {
        let expected = self.model.plays(title, world.clock.now().0);
        let plays = self.plays(world, &titles[title]);
        assert_eq!(
            plays,
            expected,
            "{} with title {title} in week {}: {:?}",
            self.name,
            week_of(world),
            self.model
        );
        plays
    }

    /// Serial number of its certificate.
    pub(crate) fn serial(&self) -> Vec<u8> {
        let enrolment = self.client.enrolments().next().unwrap();
        enrolment.certificate().unwrap().serial().to_vec()
    }
}

pub(crate) fn week_of(world: &World) -> u64 {
    (world.clock.now().0 - NOW.0) / (7 * DAY)
}
