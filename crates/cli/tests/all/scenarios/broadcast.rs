//! What is broadcast, and watching it: a packager that encrypts channels under keys of their crypto periods, and lets
//! the leaves ride along.

use std::{io::Read, ops::Range};

use getrandom::SysRng;
use keyward_client::{
    ClientError,
    acquire::Wanted,
    flow::{Answer, Outgoing},
    session::{Acquisition, Needs, Opened},
};
use keyward_client_native::{NativeError, client_info};
use keyward_content::{
    cenc::{Iv, Pattern, SampleCipher, Scheme},
    header::{Algorithm, ContentHeader, KeyReference},
    media::KeyRing,
};
use keyward_crypto::ContentKey;
use keyward_license::{
    enrolment::EnrolmentRole,
    ids::Kid,
    license::KeyType,
    packaging::{Periods as Asked, WantedTrack},
    request::ClientInfo,
    time::Timestamp,
};
use keyward_packager::{
    exchange::{Enrolled, ExchangeError, Host, PackagingData, TrackData, Wanted as WantedData},
    identity::Identity,
};
use keyward_server::{
    admin::TokenRequest,
    clock::Clock,
    roots::{NewRoot, Periods},
};
use rand_core::UnwrapErr;

use crate::scenarios::world::{Device, ORIGIN, World, client_error};

/// Key id of the root that most is sold under.
pub(crate) const ROOT: Kid = Kid::new([0xa0; 16]);
/// Seconds of a segment and its crypto period.
pub(crate) const PERIOD: u64 = 2;
/// Crypto periods that are asked for at once.
const BATCH: u64 = 200;

impl World {
    /// Makes a root that pieces of content are under.
    pub(crate) fn root(&self, kid: Kid, name: &str, contents: &[&str]) {
        self.operator(async |server| {
            let new = NewRoot {
                kid: Some(kid),
                ..NewRoot::new(name)
            };
            server.create_root(new).await.unwrap();
            for content in contents {
                server
                    .put_content_under_root(kid, content, Periods::ALL)
                    .await
                    .unwrap();
            }
        });
    }

    /// Entitles an account, by the policy `offer`.
    pub(crate) fn grant(&self, account: &str, kid: Kid) {
        self.operator(async |server| server.grant(account, Some(kid), "offer", None).await.unwrap());
    }
}

/// A packager that is enrolled.
pub(crate) struct Studio<'w> {
    world: &'w World,
    identity: Identity,
}

/// Its way to the server.
struct Line<'w>(&'w World);

impl Host for Line<'_> {
    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn client_info(&self) -> ClientInfo {
        client_info()
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        Ok(self.0.network.carry(outgoing))
    }
}

impl<'w> Studio<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        let rng = &mut UnwrapErr(SysRng);
        let mut identity = Identity::generate(rng);
        let (profile, token) = world.invitation(TokenRequest {
            role: EnrolmentRole::Packager,
            ..TokenRequest::new("studio")
        });
        identity.enrol(profile, token, &mut Line(world), rng).unwrap();
        Self { world, identity }
    }

    /// V-055: whether its certificate is to be renewed now.
    pub(crate) fn owes_renewal(&self) -> bool {
        self.identity.owes_renewal(self.world.clock.now())
    }

    /// V-055: gets the certificate that follows its own.
    pub(crate) fn renew(&mut self) -> Result<Enrolled, ExchangeError> {
        let rng = &mut UnwrapErr(SysRng);
        self.identity.renew(&mut Line(self.world), rng)
    }

    /// The key of a file, and its leaves, or why there is none.
    pub(crate) fn ask_for(&self, content_id: &str) -> Result<PackagingData, ExchangeError> {
        self.try_ask(content_id, KeyType::File, None)
    }

    /// The key of a file, and its leaves.
    pub(crate) fn file(&self, content_id: &str) -> PackagingData {
        self.ask(content_id, KeyType::File, None)
    }

    /// The key of media that does not rotate, and its leaves.
    pub(crate) fn media(&self, content_id: &str) -> PackagingData {
        self.ask(content_id, KeyType::CencCtr, None)
    }

    /// A channel: the segments of these crypto periods, in the order of their making.
    pub(crate) fn channel(&self, name: &str, periods: Range<u64>) -> Vec<Segment> {
        let mut segments = Vec::new();
        for first in periods.clone().step_by(BATCH.try_into().unwrap()) {
            let count = BATCH.min(periods.end - first);
            let data = self.ask(name, KeyType::CencCtr, Some(Asked { first, count }));
            let leaves = &data.leaves;
            let of = |track: TrackData| {
                let ride = leaves.iter().filter(|leaf| leaf.kid() == track.kid);
                let ride = ride.map(|leaf| leaf.bytes().to_vec()).collect();
                Segment::new(name, &track, ride)
            };
            segments.extend(data.tracks.into_iter().map(of));
        }
        segments
    }

    fn ask(&self, content_id: &str, key_type: KeyType, periods: Option<Asked>) -> PackagingData {
        self.try_ask(content_id, key_type, periods).unwrap()
    }

    fn try_ask(
        &self,
        content_id: &str,
        key_type: KeyType,
        periods: Option<Asked>,
    ) -> Result<PackagingData, ExchangeError> {
        let track = WantedTrack {
            label: "video".into(),
            key_type,
        };
        let wanted = WantedData {
            periods,
            leaves: true,
            ..WantedData::new(content_id.into(), vec![track])
        };
        let rng = &mut UnwrapErr(SysRng);
        self.identity.packaging_data(&wanted, &mut Line(self.world), rng)
    }
}

/// A segment of a channel, protected, with the leaves that ride in it.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) kid: Kid,
    pub(crate) leaves: Vec<Vec<u8>>,
    sample: Vec<u8>,
    clear: Vec<u8>,
}

impl Segment {
    fn new(channel: &str, track: &TrackData, leaves: Vec<Vec<u8>>) -> Self {
        let words = format!("{channel}, period {}. ", track.period.unwrap());
        let clear = words.repeat(8).into_bytes();
        let mut sample = clear.clone();
        cipher(&track.key).encrypt(&mut sample, &iv(), &[]).unwrap();
        assert_ne!(sample, clear);
        Self {
            kid: track.kid,
            leaves,
            sample,
            clear,
        }
    }

    /// What it needs, and what rides there.
    pub(crate) fn needs(&self) -> Needs {
        Needs {
            kids: vec![self.kid],
            licenses: self.leaves.clone(),
            content_headers: vec![header(&[self.kid])],
        }
    }

    /// The same, cut out of a broadcast that had no room for leaves.
    pub(crate) fn without_leaves(&self) -> Self {
        Self {
            leaves: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether these keys decrypt it, to what it was.
    pub(crate) fn is_decrypted_by(&self, keys: &impl KeyRing) -> bool {
        let mut sample = self.sample.clone();
        let cipher = keys.cipher(self.kid, Scheme::Cenc, Pattern::NONE);
        cipher.is_ok_and(|cipher| {
            cipher.decrypt(&mut sample, &iv(), &[]).unwrap();
            assert_eq!(sample, self.clear, "a key was released that is another's");
            true
        })
    }
}

fn cipher(key: &ContentKey) -> SampleCipher {
    SampleCipher::new(key, Scheme::Cenc, Pattern::NONE).unwrap()
}

fn iv() -> Iv {
    Iv::from_u64(7)
}

/// A content header whose keys become known while it plays.
pub(crate) fn header(kids: &[Kid]) -> Vec<u8> {
    let key = |kid: &Kid| KeyReference {
        algorithm: Some(Algorithm::AesCtr),
        ..KeyReference::new(*kid)
    };
    let header = ContentHeader {
        on_demand: true,
        license_url: Some(ORIGIN.into()),
        ..ContentHeader::new(kids.iter().map(key).collect())
    };
    header.to_object_bytes().unwrap()
}

impl Device {
    /// Acquires these licenses before anything needs them, as whoever finds an ONDEMAND header does.
    pub(crate) fn acquire_ahead(&mut self, kids: &[Kid]) -> Result<(), ClientError> {
        let acquired = client_error(self.client().acquire(Wanted::header(header(kids))))?;
        acquired.outcomes.iter().for_each(|(kid, outcome)| {
            use keyward_client::install::AcquiredKey::Denied;
            assert!(!matches!(outcome, Denied(_)), "{kid}: {outcome:?}");
        });
        Ok(())
    }

    /// Turns on a channel that is offered under [`ROOT`]; none of its keys is known yet.
    pub(crate) fn tune(&mut self, acquisition: Acquisition) -> Opened {
        let wanted = Wanted::header(header(&[ROOT]));
        self.client()
            .open_content(Vec::new(), wanted, acquisition)
            .unwrap()
    }

    /// Plays a segment, as a player does: asks whether the playback goes on, comes to the segment, decrypts it.
    pub(crate) fn see(&mut self, opened: &mut Opened, segment: &Segment) -> Result<(), ClientError> {
        self.see_by(opened, segment, segment.needs())
    }

    /// The same, where the segment says something else of itself.
    pub(crate) fn see_by(
        &mut self,
        opened: &mut Opened,
        segment: &Segment,
        needs: Needs,
    ) -> Result<(), ClientError> {
        self.goes_on(opened)?;
        client_error(self.client().reach(opened, needs))?;
        assert!(segment.is_decrypted_by(&opened.keys()));
        Ok(())
    }

    /// Whether what plays may go on.
    pub(crate) fn goes_on(&mut self, opened: &mut Opened) -> Result<(), ClientError> {
        let mut watched = self.client().watch(opened, &b"."[..]);
        let Err(error) = watched.read_exact(&mut [0]) else {
            return Ok(());
        };
        let error = error.into_inner().unwrap().downcast::<NativeError>();
        client_error(Err(*error.unwrap()))
    }

    /// Plays one after the other, each in its time, for as long as that goes well; how many that were.
    pub(crate) fn watch(&mut self, world: &World, opened: &mut Opened, segments: &[Segment]) -> usize {
        let mut seen = 0;
        for segment in segments {
            if self.see(opened, segment).is_err() {
                break;
            }
            world.pass(PERIOD);
            seen += 1;
        }
        seen
    }
}
