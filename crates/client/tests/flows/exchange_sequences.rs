//! No sequence of calls yields a result outside of the one permitted operation and its validity.
//!
//! Random sequences of everything that an application, a user and the world can do (prepare in every direction,
//! perform, with right and wrong contexts, close, drop, keep up, remove, install a later version, set the clock, restart)
//! run beside a model that knows of each license its key, its version, its end and how often it was used. Whatever
//! comes out, the model has to permit.

use std::{cell::RefCell, collections::BTreeMap};

use keyward_client::{
    ClientError,
    acquire::Wanted,
    key_exchange::{Encryptor, Ended, PerformError, Signer},
    session::Acquisition,
};
use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{codec::Bytes, ids::LicenseId, license::LicenseBody, time::Timestamp};
use keyward_testkit::{fake_server::ExchangeKeys, pki::NOW};
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestError, TestRunner},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    exchanging::{get_license, server_decrypts, server_verifies, whole_key},
    licensed::{asking, pass, restarted},
    world::{TestClient, World, kid, wanted},
};

/// The key ids: one to encrypt, in a context; one to sign, three times a license; one of content.
const ENCRYPT: u8 = 1;
const SIGN: u8 = 2;
const CONTENT: u8 = 3;
const CONTEXT: &[u8] = b"meter 17";
const USES: u64 = 3;

#[derive(Debug, Clone)]
enum Call {
    Prepare(u8, Operation),
    Perform(usize, bool),
    KeepUp(usize),
    Close(usize),
    Drop(usize),
    /// A license with the next version of the key, that ends so many seconds after its issue, if ever.
    Install(u8, Option<u64>),
    Remove(u8),
    Pass(u64),
    /// Sets the clock so many seconds back or ahead, without time passing.
    Clock(i64),
    Restart,
}

fn call() -> impl Strategy<Value = Call> {
    let kid = || prop_oneof![4 => Just(ENCRYPT), 4 => Just(SIGN), 1 => Just(CONTENT)];
    let operation = prop_oneof![
        2 => Just(None),
        1 => (0..Operation::ALL.len()).prop_map(|at| Some(Operation::ALL[at])),
    ];
    let own = |kid| {
        if kid == ENCRYPT {
            Operation::Encrypt
        } else {
            Operation::Sign
        }
    };
    prop_oneof![
        6 => (kid(), operation).prop_map(move |(kid, asked)| Call::Prepare(kid, asked.unwrap_or(own(kid)))),
        16 => (0..4_usize, proptest::bool::weighted(0.8)).prop_map(|(at, right)| Call::Perform(at, right)),
        8 => (0..4_usize).prop_map(Call::KeepUp),
        1 => (0..4_usize).prop_map(Call::Close),
        1 => (0..4_usize).prop_map(Call::Drop),
        2 => (kid(), proptest::option::of(50..2_000_u64)).prop_map(|(kid, end)| Call::Install(kid, end)),
        1 => kid().prop_map(Call::Remove),
        2 => (0..400_u64).prop_map(Call::Pass),
        1 => (-2_000..500_i64).prop_map(Call::Clock),
        1 => Just(Call::Restart),
    ]
}

/// What the model knows of a license.
struct Known {
    kid: u8,
    version: u32,
    end: Option<Timestamp>,
    made: u64,
    removed: bool,
}

enum Handle {
    Encryptor(Encryptor),
    Signer(Signer),
}

impl Handle {
    fn license(&self) -> LicenseId {
        match self {
            Self::Encryptor(key) => key.license(),
            Self::Signer(key) => key.license(),
        }
    }
}

struct Run<'s> {
    world: World,
    client: Option<TestClient>,
    licenses: BTreeMap<LicenseId, Known>,
    /// Each handle, with the latest time that it was asked at.
    handles: Vec<(Handle, Timestamp)>,
    /// The latest version of each key.
    versions: BTreeMap<u8, u32>,
    seen: &'s mut BTreeMap<&'static str, usize>,
}

impl Run<'_> {
    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The server's clock is right, whatever the device's says.
    fn true_time(&self) -> Timestamp {
        NOW.plus(self.world.moment.monotonic / 1_000)
    }

    fn now(&self) -> Timestamp {
        self.world.moment.utc.unwrap()
    }

    fn step(&mut self, call: &Call) -> Result<(), String> {
        match call {
            Call::Prepare(kid, operation) => self.prepare(*kid, *operation),
            Call::Perform(at, right) => self.perform(*at, *right),
            Call::KeepUp(at) => self.keep_up(*at),
            Call::Close(at) if *at < self.handles.len() => {
                let (handle, _) = self.handles.remove(*at);
                let client = self.client.as_mut().unwrap();
                let closed = match handle {
                    Handle::Encryptor(key) => self.world.run(client.close(key)),
                    Handle::Signer(key) => self.world.run(client.close(key)),
                };
                self.saw("closed");
                closed.map_err(|error| error.to_string())
            }
            Call::Drop(at) if *at < self.handles.len() => {
                self.handles.remove(*at);
                Ok(())
            }
            Call::Close(_) | Call::Drop(_) => Ok(()),
            Call::Install(kid, end) => self.install(*kid, *end),
            Call::Remove(number) => {
                let removed = self
                    .world
                    .run(self.client.as_mut().unwrap().remove_licenses(kid(*number)));
                removed.map_err(|error| error.to_string())?;
                let of_kid = self
                    .licenses
                    .values_mut()
                    .filter(|license| license.kid == *number);
                of_kid.for_each(|license| license.removed = true);
                Ok(())
            }
            Call::Pass(seconds) => {
                pass(&mut self.world, *seconds);
                Ok(())
            }
            Call::Clock(seconds) => {
                let set = self.now().0.saturating_add_signed(*seconds);
                self.world.moment.utc = Some(Timestamp(set));
                Ok(())
            }
            Call::Restart => {
                self.handles.clear();
                self.client = Some(restarted(&mut self.world, self.client.take().unwrap()));
                Ok(())
            }
        }
    }

    fn install(&mut self, number: u8, end: Option<u64>) -> Result<(), String> {
        let version = self.versions.get(&number).map_or(1, |version| version + 1);
        let (algorithm, operation) = match number {
            ENCRYPT => (Algorithm::A256Gcm, Operation::Encrypt),
            SIGN => (Algorithm::HmacSha256, Operation::Sign),
            _ => {
                let asked = self
                    .world
                    .run(self.client.as_mut().unwrap().acquire(wanted(&[CONTENT])));
                return asked.map(drop).map_err(|error| error.to_string());
            }
        };
        let key = whole_key(algorithm, u8::try_from(version).unwrap());
        let keys = ExchangeKeys::new(kid(number), operation, &[(version, &key)]).with(|key| match number {
            ENCRYPT => key.context = Some(Bytes(CONTEXT.to_vec())),
            _ => key.uses = Some(USES),
        });
        self.world.server.exchange.insert(kid(number), keys);
        let end = end.map(|seconds| self.world.server.now.plus(seconds));
        self.world.server.bent.license = Some(Box::new(move |body: &mut LicenseBody| body.end = end));
        let installed = get_license(&mut self.world, self.client.as_mut().unwrap(), wanted(&[number]));
        self.world.server.bent.license = None;
        // A clock that is far off keeps the server's certificate from being believed.
        let Ok(id) = installed else {
            self.saw("not installed");
            return Ok(());
        };
        self.versions.insert(number, version);
        let known = Known {
            kid: number,
            version,
            end,
            made: 0,
            removed: false,
        };
        self.licenses.insert(id, known);
        Ok(())
    }

    fn prepare(&mut self, number: u8, operation: Operation) -> Result<(), String> {
        let (world, client) = (&mut self.world, self.client.as_mut().unwrap());
        let asked = Wanted::default();
        let (kid, never) = (kid(number), Acquisition::Never);
        let prepared: Result<Option<Handle>, ClientError> = match operation {
            Operation::Encrypt => {
                let key = world.run(client.prepare_encryptor(kid, None, asked, never));
                key.map(|key| Some(Handle::Encryptor(key)))
            }
            Operation::Sign => {
                let key = world.run(client.prepare_signer(kid, None, asked, never));
                key.map(|key| Some(Handle::Signer(key)))
            }
            Operation::Decrypt => world
                .run(client.prepare_decryptor(kid, None, asked, never))
                .map(|_| None),
            Operation::Verify => world
                .run(client.prepare_verifier(kid, None, asked, never))
                .map(|_| None),
            Operation::Wrap => world
                .run(client.prepare_wrapper(kid, None, asked, never))
                .map(|_| None),
            Operation::Unwrap => world
                .run(client.prepare_unwrapper(kid, None, asked, never))
                .map(|_| None),
        };
        match prepared {
            Ok(Some(handle)) if self.is_permitted(number, operation) => {
                let now = self.now();
                self.handles.push((handle, now));
                self.saw("prepared");
                Ok(())
            }
            Ok(_) => Err(format!("{operation} was prepared under key {number}")),
            Err(error) => {
                let expected = match error {
                    ClientError::NoLicense { .. } => "no license",
                    ClientError::Refused { .. } => "refused",
                    ClientError::UsedUp { .. } => "used up",
                    ClientError::WrongOperation { .. } => "wrong operation",
                    ClientError::NotAnExchangeKey { .. } => "content",
                    other => return Err(format!("{operation} under key {number}: {other}")),
                };
                self.saw(expected);
                Ok(())
            }
        }
    }

    fn is_permitted(&self, number: u8, operation: Operation) -> bool {
        matches!(
            (number, operation),
            (ENCRYPT, Operation::Encrypt) | (SIGN, Operation::Sign)
        )
    }

    fn keep_up(&mut self, at: usize) -> Result<(), String> {
        let now = self.now();
        let Some((handle, latest)) = self.handles.get_mut(at) else {
            return Ok(());
        };
        *latest = now.max(*latest);
        let client = self.client.as_mut().unwrap();
        let outcome = match handle {
            Handle::Encryptor(key) => self.world.run(client.keep_up(key)),
            Handle::Signer(key) => self.world.run(client.keep_up(key)),
        };
        match outcome {
            Ok(()) => self.saw("kept up"),
            Err(_) => self.saw("not kept up"),
        }
        Ok(())
    }

    fn perform(&mut self, at: usize, right: bool) -> Result<(), String> {
        let (now, moment) = (self.now(), self.world.moment);
        let Some((handle, latest)) = self.handles.get_mut(at) else {
            return Ok(());
        };
        *latest = now.max(*latest);
        let (latest, license) = (*latest, handle.license());
        let outcome = match handle {
            Handle::Encryptor(key) => {
                let context = if right { CONTEXT } else { &b"meter 18"[..] };
                let mut rng = ChaCha20Rng::from_seed([9; 32]);
                key.encrypt(moment, context, b"a reading", &mut rng)
            }
            Handle::Signer(key) => key.sign(moment, b"a reading"),
        };
        let is_encryptor = matches!(handle, Handle::Encryptor(_));
        match outcome {
            Ok(result) => self.hold(license, latest, is_encryptor, right, &result),
            Err(PerformError::Ended { why, .. }) => {
                self.saw(match why {
                    Ended::Refused(_) => "ended by the rules",
                    Ended::UsedUp => "ended by use",
                    _ => "ended by removal",
                });
                Ok(())
            }
            Err(PerformError::NotRecorded { .. }) => {
                self.saw("not recorded");
                Ok(())
            }
            Err(PerformError::Exchange(_)) if is_encryptor && !right => {
                self.saw("wrong context");
                Ok(())
            }
            Err(other) => Err(other.to_string()),
        }
    }

    /// Holds a result against the model.
    fn hold(
        &mut self,
        license: LicenseId,
        latest: Timestamp,
        is_encryptor: bool,
        right: bool,
        result: &[u8],
    ) -> Result<(), String> {
        self.saw("performed");
        // A server's word stands in for a clock that may not be used, and is not shaken by what that reads later.
        let true_time = self.true_time();
        let known = self
            .licenses
            .get_mut(&license)
            .ok_or("a license that was never installed")?;
        known.made += 1;
        let version = u32::from_be_bytes(result[..4].try_into().unwrap());
        let number = u8::try_from(known.version).unwrap();
        let is_right = match known.kid {
            ENCRYPT => {
                let key = whole_key(Algorithm::A256Gcm, number);
                let opened = server_decrypts(&key, CONTEXT, &result[4..]);
                is_encryptor && right && opened.is_some_and(|opened| opened.expose() == b"a reading")
            }
            _ => {
                let key = whole_key(Algorithm::HmacSha256, number);
                !is_encryptor && server_verifies(&key, b"a reading", &result[4..])
            }
        };
        let checks = [
            (is_right, "not the result of this key's operation"),
            (version == known.version, "another version"),
            (!known.removed, "a removed license"),
            (
                known.end.is_none_or(|end| latest.min(true_time) < end),
                "a license that has ended",
            ),
            (
                known.kid != SIGN || known.made <= USES,
                "more uses than there are",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err((*broken).to_owned()),
            None => Ok(()),
        }
    }
}

fn run(calls: &[Call], seen: &mut BTreeMap<&'static str, usize>) -> Result<(), String> {
    let (world, client) = World::enrolled();
    let mut run = Run {
        world,
        client: Some(client.on_host(asking())),
        licenses: BTreeMap::new(),
        handles: Vec::new(),
        versions: BTreeMap::new(),
        seen,
    };
    for kid in [ENCRYPT, SIGN] {
        run.step(&Call::Install(kid, Some(1_000)))?;
    }
    for call in calls {
        run.step(call)?;
        run.world.server.now = run.true_time();
    }
    Ok(())
}

#[test]
fn r_050_r_051_r_052_r_053_no_sequence_of_calls_yields_what_is_not_permitted() {
    let seen = RefCell::new(BTreeMap::new());
    let asked = ProptestConfig::default();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: if asked.cases == 256 { 48 } else { asked.cases },
        rng_seed: match asked.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            seed => seed,
        },
        failure_persistence: None,
        ..asked
    });
    let calls = proptest::collection::vec(call(), 30..80);
    let outcome = runner.run(&calls, |calls| {
        run(&calls, &mut seen.borrow_mut()).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(why, calls)) = outcome {
        panic!("{why}\n{calls:#?}");
    }
    outcome.unwrap();
    // What was held against the model is worth as much as what came up.
    let to_be_seen = [
        "performed",
        "prepared",
        "closed",
        "kept up",
        "not kept up",
        "ended by the rules",
        "ended by use",
        "ended by removal",
        "not recorded",
        "wrong context",
        "wrong operation",
        "content",
        "no license",
        "refused",
        "used up",
    ];
    let missing: Vec<_> = to_be_seen
        .iter()
        .filter(|what| !seen.borrow().contains_key(*what))
        .collect();
    assert_eq!(missing, [&""; 0], "{:?}", seen.borrow());
}
