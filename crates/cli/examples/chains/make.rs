//! How fast leaves are made: by packaging requests to a license server on the disk, and sealed and signed alone.

use std::{path::Path, rc::Rc, sync::Arc};

use getrandom::SysRng;
use keyward_client::{
    acquire::Wanted,
    flow::{Answer, Outgoing},
};
use keyward_client_native::{Transport, client_info};
use keyward_license::{
    codec::{Bytes, Wire},
    enrolment::EnrolmentRole,
    ids::Kid,
    license::KeyType,
    operator_profile::OperatorProfile,
    packaging::{MAX_PERIOD_TRACKS, Periods as Asked, WantedTrack},
    request::ClientInfo,
    time::Timestamp,
};
use keyward_packager::{
    exchange::{Host, PackagingData, Wanted as WantedData},
    identity::Identity,
};
use keyward_server::{
    Server,
    admin::TokenRequest,
    clock::SettableClock,
    operator::{self, InitOptions},
    policy::{PolicyTerms, Preset},
    roots::{NewRoot, Periods},
    sealing::KekSource,
};
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;

use crate::{
    Outcome,
    channel::{self, Segment},
    device::{self, Line, NOW, ROOT},
    peer::Peer,
    say, timed,
};

const ACCOUNT: &str = "viewer";
/// The channel that the device plays, under one root.
const CHANNEL: &str = "channel";
/// The channel of a country with regions, under four roots.
const REGIONS: &str = "regions";

pub(crate) fn run(folder: &Path, periods: u64, rounds: u64) -> Outcome {
    let runtime = Rc::new(Runtime::new()?);
    let dir = folder.join("operator");
    let server = runtime.block_on(operator(&dir))?;
    let line = || Line {
        server: server.clone(),
        runtime: Rc::clone(&runtime),
    };
    let invite = |role| -> Outcome<(OperatorProfile, String)> {
        let request = TokenRequest {
            role,
            ..TokenRequest::new(ACCOUNT)
        };
        let token = runtime.block_on(server.create_enrolment_token(request))?;
        let profile = OperatorProfile::decode(&operator::read_profile(&dir)?)?;
        Ok((profile, token.expose().to_owned()))
    };
    enrol_device(folder, line(), invite(EnrolmentRole::Device)?)?;

    let mut packager = Packager::enrolled(line(), invite(EnrolmentRole::Packager)?)?;
    let batch = u64::try_from(MAX_PERIOD_TRACKS)?;
    packager.measure("one root, new keys", CHANNEL, 0..rounds, batch)?;
    packager.measure("one root, the same keys again", CHANNEL, 0..rounds, batch)?;
    packager.measure("four roots, new keys", REGIONS, 0..rounds, batch)?;
    packager.measure(
        "one period at a time, one root",
        CHANNEL,
        1_000_000..1_000_000 + 20 * rounds,
        1,
    )?;
    channel::write(folder, &packager.channel(periods, batch)?)
}

/// An operator with four roots, and an account that has the first.
async fn operator(dir: &Path) -> Outcome<Server> {
    let options = InitOptions {
        name: "Benchmark".into(),
        public_url: "http://127.0.0.1:8470".into(),
        listen: "127.0.0.1:8470".into(),
        admin_listen: "127.0.0.1:8471".into(),
        kek: KekSource::File,
    };
    operator::init(dir, options, NOW, &mut UnwrapErr(SysRng)).await?;
    let path = dir.join("operator.toml");
    let limits = std::fs::read_to_string(&path)?.replace("# device_rate = 10", "device_rate = 0");
    std::fs::write(&path, limits)?;
    let server = Server::open(dir, KekSource::File, Arc::new(SettableClock::new(NOW))).await?;
    for number in 0..4 {
        let kid = Kid::new([0xa0 + number; 16]);
        let new = NewRoot {
            kid: Some(kid),
            ..NewRoot::new(format!("root {number}"))
        };
        server.create_root(new).await?;
        server.put_content_under_root(kid, REGIONS, Periods::ALL).await?;
    }
    server.put_content_under_root(ROOT, CHANNEL, Periods::ALL).await?;
    let terms = PolicyTerms {
        real_time_expiration: true,
        ..Preset::Subscription.terms()
    };
    server.create_policy("offer", terms).await?;
    server.grant(ACCOUNT, Some(ROOT), "offer", None).await?;
    Ok(server)
}

fn enrol_device(folder: &Path, line: Line, (profile, token): (OperatorProfile, String)) -> Outcome {
    let mut client = device::open(folder, Box::new(line))?;
    client.host_mut().asks_while_playing = true;
    client.enrol(profile, token)?;
    let wanted = Wanted {
        kids: vec![ROOT],
        ..Wanted::default()
    };
    client.acquire(wanted)?;
    match client.store_usage().licenses {
        1 => Ok(()),
        _ => Err("the root license was not stored".into()),
    }
}

struct Packager {
    identity: Identity,
    line: Timed,
}

/// The way to the server, and how long it took with its last answer.
struct Timed {
    line: Line,
    micros: u64,
}

impl Host for Timed {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn client_info(&self) -> ClientInfo {
        client_info()
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let (micros, answer) = timed(|| Ok(self.line.send(outgoing)?)).map_err(|error| error.to_string())?;
        self.micros = micros;
        Ok(answer)
    }
}

impl Packager {
    fn enrolled(line: Line, (profile, token): (OperatorProfile, String)) -> Outcome<Self> {
        let rng = &mut UnwrapErr(SysRng);
        let mut identity = Identity::generate(rng);
        let mut line = Timed { line, micros: 0 };
        identity.enrol(profile, token, &mut line, rng)?;
        Ok(Self { identity, line })
    }

    fn ask(&mut self, content_id: &str, first: u64, count: u64) -> Outcome<PackagingData> {
        let track = WantedTrack {
            label: "video".into(),
            key_type: KeyType::CencCtr,
        };
        let wanted = WantedData {
            periods: Some(Asked { first, count }),
            leaves: true,
            ..WantedData::new(content_id.into(), vec![track])
        };
        let rng = &mut UnwrapErr(SysRng);
        Ok(self.identity.packaging_data(&wanted, &mut self.line, rng)?)
    }

    /// Asks for batches of periods. Said are the nanoseconds that a leaf takes at the server, and with what the packager
    /// does besides, which verifies each; and, measured in turn, what making it takes alone.
    fn measure(
        &mut self,
        what: &str,
        content_id: &str,
        batches: core::ops::Range<u64>,
        batch: u64,
    ) -> Outcome {
        let (mut server, mut whole, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        let peer = Peer::new();
        for number in batches {
            let (micros, data) = timed(|| self.ask(content_id, number * batch, batch))?;
            let leaves = u64::try_from(data.leaves.len())?.max(1);
            server.push(self.line.micros * 1000 / leaves);
            whole.push(micros * 1000 / leaves);
            alone.push(peer.leaves(leaves)?.making);
        }
        say(&format!("{what}: server"), &server);
        say(&format!("{what}: server and packager"), &whole);
        say(&format!("{what}: alone"), &alone);
        Ok(())
    }

    /// A channel of so many periods.
    fn channel(&mut self, periods: u64, batch: u64) -> Outcome<Vec<Segment>> {
        let mut segments = Vec::new();
        for first in (0..periods).step_by(usize::try_from(batch)?) {
            let data = self.ask(CHANNEL, first, batch.min(periods - first))?;
            segments.extend(data.leaves.iter().map(|leaf| Segment {
                kid: leaf.kid(),
                leaf: Bytes(leaf.bytes().to_vec()),
            }));
        }
        Ok(segments)
    }
}
