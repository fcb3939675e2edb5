//! The device: a client in a folder, with a license for each operation of each algorithm.

use std::{collections::BTreeMap, path::Path, time::Instant};

use getrandom::SysRng;
use keyward_client::{acquire::Wanted, flow::Moment};
use keyward_client_native::{Clock, NativeClient, NoTransport, Options};
use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
use keyward_license::{discovery::WELL_KNOWN_PATH, ids::Kid, key_exchange::Ring, time::Timestamp};
use keyward_testkit::{
    fake_server::{ENROLMENT_PATH, ExchangeKeys, FakeServer, LICENSE_PATH, ORIGIN},
    pki::NOW,
};
use rand_core::UnwrapErr;

use crate::Outcome;

const VERSION: u32 = 1;

/// Random numbers of the operating system, as a client draws them.
pub(crate) const fn chance() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// The time of the test operator's certificates, going on.
struct Running(Instant);

impl Clock for Running {
    fn moment(&self) -> Moment {
        let elapsed = self.0.elapsed();
        Moment {
            utc: Some(Timestamp(NOW.0 + elapsed.as_secs())),
            monotonic: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

pub(crate) struct Device {
    pub(crate) client: NativeClient,
    keys: BTreeMap<&'static str, ExchangeKey>,
}

impl Device {
    /// A new device in a folder, enrolled, its store filled.
    #[expect(clippy::disallowed_methods, reason = "the clock of a benchmark")]
    pub(crate) fn enrolled(folder: &Path) -> Outcome<Self> {
        let mut server = FakeServer::new([1; 32]);
        let options = Options {
            clock: Box::new(Running(Instant::now())),
            ..Options::default()
        };
        let mut client = NativeClient::open_with(folder, Box::new(NoTransport), options)?;
        let discovery = ask(&mut server, WELL_KNOWN_PATH, &[])?;
        let profile = server.operator.profile();
        let request = client.request_enrolment(profile, "token".into(), discovery)?;
        client.install_enrolment(ask(&mut server, ENROLMENT_PATH, &request)?)?;

        let mut keys = BTreeMap::new();
        let mut kids = Vec::new();
        for algorithm in Algorithm::ALL {
            let key = ExchangeKey::generate(algorithm, &mut chance());
            for operation in algorithm.operations() {
                let kid = kid(algorithm, operation)?;
                let granted = ExchangeKeys::new(kid, operation, &[(VERSION, &key)]);
                server.exchange.insert(kid, granted);
                kids.push(kid);
            }
            keys.insert(algorithm.name(), key);
        }
        let wanted = Wanted {
            kids: kids.clone(),
            ..Wanted::default()
        };
        let request = client.request(wanted)?;
        client.install(ask(&mut server, LICENSE_PATH, &request)?)?;
        let stored = usize::try_from(client.store_usage().licenses)?;
        if stored != kids.len() {
            return Err("not every license was stored".into());
        }
        Ok(Self { client, keys })
    }

    pub(crate) fn key(&self, algorithm: Algorithm) -> Outcome<&ExchangeKey> {
        self.keys.get(algorithm.name()).ok_or_else(|| "no key".into())
    }

    /// The key for one operation, as the license server holds it.
    pub(crate) fn ring(&self, algorithm: Algorithm, operation: Operation) -> Outcome<Ring> {
        let material = self.key(algorithm)?.material(operation)?;
        Ok(Ring::new(
            kid(algorithm, operation)?,
            None,
            vec![(VERSION, material)],
        )?)
    }
}

/// The key id of the license for one operation of an algorithm.
pub(crate) fn kid(algorithm: Algorithm, operation: Operation) -> Outcome<Kid> {
    let position = Algorithm::ALL.iter().position(|one| *one == algorithm);
    let mut bytes = [0x5a; 16];
    let [first, second, ..] = &mut bytes;
    *first = u8::try_from(position.ok_or("no algorithm")?)?;
    *second = operation.number();
    Ok(Kid::new(bytes))
}

fn ask(server: &mut FakeServer, path: &str, body: &[u8]) -> Outcome<Vec<u8>> {
    let reply = server.answer(&format!("{ORIGIN}{path}"), body);
    match reply.status {
        200 => Ok(reply.body),
        status => Err(format!("the license server answered {status}").into()),
    }
}
