//! What may happen to a client, and the terms of what it acquires.

use keyward_license::{
    ids::LicenseId,
    license::{ExplicitRestriction, Flag, KeyType, LicenseBody, OutputProtectionLevels},
    time::Timestamp,
    usage_rules::{Connector, Hdcp, Output, OutputKind},
};
use keyward_testkit::pki::NOW;
use proptest::{
    collection::vec,
    option::weighted,
    prelude::*,
    sample::{Index, select},
};

use crate::{
    licensed::{INTERNAL, TYPE_0, hdmi},
    world::Stop,
};

/// Something happens.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// Acquires a license of these terms, over the network.
    Acquire(Index),
    /// Makes a request for one, and has it answered; the answer waits.
    Request(Index),
    /// Installs an answer that waits or was installed before.
    Install(Index),
    /// Acquires, and somebody on the way puts an earlier answer in the place of the answer.
    Replay(Index),
    /// Asks a server for the time, with this round trip in milliseconds.
    AskTime(u64),
    /// Opens content under these keys with what is held.
    Play(Vec<u8>),
    /// The same, where leaves of all these keys ride in the content.
    PlayCarried(Vec<u8>),
    /// Opens content under these keys, with leave to acquire licenses of these terms.
    Stream(Vec<u8>, Index),
    /// What plays comes to a place that needs this key, where a leaf of it rides; with leave to ask, licenses of these
    /// terms are given out.
    Reach(u8, Index),
    /// Asks as a host does before a piece, and reads the piece.
    Piece,
    /// Judges again whether or not anything has changed, and reads a piece.
    GoOn,
    EndPlayback,
    /// Seconds on every clock.
    Pass(u64),
    /// The host's clock is set, seconds from the true time.
    SetClock(i64),
    UnsetClock,
    Restart,
    /// The process ends at a step of an operation.
    Crash(Box<Self>, usize, Stop),
    /// Takes in a list of the device authority, which names this device or does not.
    List(bool),
    Delete(u8),
    /// Removes one of the licenses that were ever issued.
    DeleteOne(Index),
    Clean,
    /// Copies records and epoch file.
    Copy,
    /// Puts a copy back, records and epoch file.
    PutBack(Index),
    /// Puts the records of a copy back under the present epoch file.
    PutBackRecords(Index),
    Show(Vec<Output>),
}

/// Terms of a license, in seconds after their base.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) kid: u8,
    /// Keys are given out in leaves under the root.
    pub(crate) leaf: bool,
    pub(crate) in_memory: bool,
    /// Every response brings the same license; otherwise another one each time.
    same: Option<u8>,
    begin: Option<u64>,
    lasts: Option<u64>,
    grace: Option<u64>,
    after_first_play: Option<u64>,
    real_time: bool,
    removal: Option<u64>,
    level: Option<u64>,
    internal_only: bool,
    minimum: Option<u64>,
    ends_with_revocation: bool,
}

impl Terms {
    /// Writes the terms into a license.
    pub(crate) fn write(&self, body: &mut LicenseBody) {
        let mut base = body.issued;
        let number = body.keys[0].kid.as_bytes()[0];
        if let Some(same) = self.same.filter(|_| body.persistent) {
            (body.id, base) = (LicenseId::new([same << 4 | number; 16]), NOW);
        }
        if number == MEDIA {
            body.keys[0].key_type = KeyType::CencCtr;
        }
        if body.leaf_of().is_none() {
            self.write_times(body, base);
        }
        body.output_protection_levels = self.level.map(|level| OutputProtectionLevels {
            uncompressed_digital_video: Some(level),
            ..OutputProtectionLevels::default()
        });
        let internal = ExplicitRestriction::InternalScreenOnly;
        body.explicit_restrictions = self.internal_only.then(|| vec![internal]);
        body.minimum_security_level = self.minimum;
        body.ends_with_revocation = self.ends_with_revocation.then_some(Flag);
    }

    /// What no leaf holds.
    fn write_times(&self, body: &mut LicenseBody, base: Timestamp) {
        body.begin = self.begin.map(|begin| base.plus(begin));
        body.end = self
            .lasts
            .map(|lasts| base.plus(self.begin.unwrap_or(0)).plus(lasts));
        body.grace_period = self.grace.filter(|_| body.end.is_some());
        body.expiration_after_first_play = self.after_first_play;
        let expires = body.end.is_some() || body.expiration_after_first_play.is_some();
        body.real_time_expiration = (self.real_time && expires).then_some(Flag);
        let over: Option<Timestamp> = body.usable_until();
        body.removal_date = over.zip(self.removal).map(|(over, after)| over.plus(after));
    }
}

/// Terms to choose from, and what happens.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// Licenses that the store, and memory, hold of a key id.
    pub(crate) per_kid: usize,
    pub(crate) terms: Vec<Terms>,
    pub(crate) operations: Vec<Operation>,
}

/// Any sequence that leaves the clock and the store alone.
pub(crate) fn honest() -> impl Strategy<Value = Sequence> {
    of(vec(
        prop_oneof![8 => one(plain()), 2 => watching(plain()), 1 => crowding()],
        12..22,
    ))
}

/// Any sequence.
pub(crate) fn tricky() -> impl Strategy<Value = Sequence> {
    let watching = watching(prop_oneof![plain(), tricks()]);
    of(vec(
        prop_oneof![8 => one(plain()), 4 => one(tricks()), 2 => watching, 1 => crowding()],
        12..24,
    ))
}

fn of(phrases: impl Strategy<Value = Vec<Vec<Operation>>>) -> impl Strategy<Value = Sequence> {
    let terms = (0..5_u8).map(terms).collect::<Vec<_>>();
    let per_kid = select(&[2, 3, 8][..]);
    (per_kid, terms, phrases).prop_map(|(per_kid, terms, phrases)| Sequence {
        per_kid,
        terms,
        operations: phrases.concat(),
    })
}

fn one(operation: impl Strategy<Value = Operation>) -> impl Strategy<Value = Vec<Operation>> {
    operation.prop_map(|operation| vec![operation])
}

/// Somebody watches, and something happens between the pieces.
fn watching(meanwhile: impl Strategy<Value = Operation>) -> impl Strategy<Value = Vec<Operation>> {
    let piece = prop_oneof![4 => Just(Operation::Piece), 1 => Just(Operation::GoOn)];
    let meanwhile = prop_oneof![
        2 => passes(),
        1 => any::<Index>().prop_map(Operation::Acquire),
        1 => shown().prop_map(Operation::Show),
        1 => prop::bool::weighted(0.8).prop_map(Operation::List),
        1 => reaching(),
        1 => meanwhile,
    ];
    (opening(), vec((meanwhile, piece), 2..6)).prop_map(|(opening, pieces)| {
        let pieces = pieces
            .into_iter()
            .flat_map(|(meanwhile, piece)| [meanwhile, piece]);
        core::iter::once(opening).chain(pieces).collect()
    })
}

/// The keys of a playback take turns.
fn reaching() -> impl Strategy<Value = Operation> {
    let number = prop_oneof![Just(1), Just(MEDIA)];
    (number, any::<Index>()).prop_map(|(number, terms)| Operation::Reach(number, terms))
}

fn opening() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => several().prop_map(Operation::Play),
        1 => several().prop_map(Operation::PlayCarried),
        3 => (several(), any::<Index>()).prop_map(|(numbers, terms)| Operation::Stream(numbers, terms)),
    ]
}

/// More licenses than one key id may have, some of which are played.
fn crowding() -> impl Strategy<Value = Vec<Operation>> {
    let one = (any::<Index>(), 0..3_u64, prop::bool::weighted(0.3));
    (any::<Index>(), vec(one, 3..11)).prop_map(|(most, licenses)| {
        let acquired = licenses.into_iter().flat_map(|(other, seconds, plays)| {
            let terms = if seconds == 0 { other } else { most };
            let acquire = Operation::Acquire(terms);
            let play = plays.then_some(Operation::PlayCarried(vec![1]));
            [acquire, Operation::Pass(seconds)].into_iter().chain(play)
        });
        acquired.collect()
    })
}

fn passes() -> impl Strategy<Value = Operation> {
    select(&[1, 10, 30, 59, 60, 61, 100, 301, 500][..]).prop_map(Operation::Pass)
}

fn terms(number: u8) -> impl Strategy<Value = Terms> {
    let times = (
        weighted(0.25, 0..300_u64),
        weighted(0.6, select(&[50, 60, 100, 400, 1500][..])),
        weighted(0.3, select(&[30, 60, 300][..])),
        weighted(0.5, select(&[1, 60, 100, 300, 900][..])),
        prop::bool::weighted(0.7),
        weighted(0.3, select(&[0, 50][..])),
    );
    let outputs = (
        weighted(0.25, select(&[100, 250, 270, 300][..])),
        prop::bool::weighted(0.1),
        weighted(0.2, select(&[150, 2000, 2000, 3000][..])),
        prop::bool::weighted(0.3),
    );
    let key = prop_oneof![
        3 => numbers().prop_map(|number| (number, false)),
        2 => numbers().prop_map(|number| (number, true)),
        2 => Just((ROOT, false)),
    ];
    let kinds = (key, prop::bool::weighted(0.25), prop::bool::weighted(0.6));
    (kinds, times, outputs).prop_map(move |(((kid, leaf), in_memory, same), times, outputs)| Terms {
        kid,
        leaf,
        in_memory,
        same: same.then_some(number),
        begin: times.0,
        lasts: times.1,
        grace: times.2,
        after_first_play: times.3,
        real_time: times.4,
        removal: times.5,
        level: outputs.0,
        internal_only: outputs.1,
        minimum: outputs.2,
        ends_with_revocation: outputs.3,
    })
}

/// The key id whose key serves media; those of the others serve files.
pub(crate) const MEDIA: u8 = 2;

/// The key id of the root.
pub(crate) const ROOT: u8 = 200;

/// Key ids of one content.
fn several() -> impl Strategy<Value = Vec<u8>> {
    let contents = [&[1][..], &[1], &[MEDIA], &[1, MEDIA], &[MEDIA, 1]];
    select(contents.map(<[u8]>::to_vec).to_vec())
}

/// Key ids whose licenses are removed.
fn removed() -> impl Strategy<Value = u8> {
    prop_oneof![3 => numbers(), 1 => Just(ROOT)]
}

/// Key ids that licenses and content are of.
fn numbers() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(1), 1 => Just(2)]
}

/// What an honest host and viewer do, and what may befall them.
fn plain() -> impl Strategy<Value = Operation> {
    let crashing = prop_oneof![
        any::<Index>().prop_map(Operation::Acquire),
        any::<Index>().prop_map(Operation::Install),
        several().prop_map(Operation::Play),
        several().prop_map(Operation::PlayCarried),
        removed().prop_map(Operation::Delete),
        any::<Index>().prop_map(Operation::DeleteOne),
        any::<bool>().prop_map(Operation::List),
    ];
    let stops = select(&[Stop::Before, Stop::Between, Stop::After][..]);
    prop_oneof![
        4 => any::<Index>().prop_map(Operation::Acquire),
        2 => any::<Index>().prop_map(Operation::Request),
        3 => any::<Index>().prop_map(Operation::Install),
        1 => any::<Index>().prop_map(Operation::Replay),
        3 => several().prop_map(Operation::Play),
        2 => (several(), any::<Index>()).prop_map(|(numbers, terms)| Operation::Stream(numbers, terms)),
        2 => Just(Operation::Piece),
        1 => Just(Operation::GoOn),
        1 => Just(Operation::EndPlayback),
        5 => passes(),
        2 => Just(Operation::Restart),
        2 => (crashing, 0..6_usize, stops)
            .prop_map(|(operation, at, stop)| Operation::Crash(Box::new(operation), at, stop)),
        2 => several().prop_map(Operation::PlayCarried),
        1 => removed().prop_map(Operation::Delete),
        1 => any::<Index>().prop_map(Operation::DeleteOne),
        1 => Just(Operation::Clean),
        2 => any::<bool>().prop_map(Operation::List),
        2 => shown().prop_map(Operation::Show),
        1 => Just(Operation::Copy),
    ]
}

/// What a viewer does who wants more than there is.
fn tricks() -> impl Strategy<Value = Operation> {
    let offsets = [-2000, -400, -301, -299, -100, 0, 0, 70, 400, 2000];
    prop_oneof![
        6 => select(offsets.to_vec()).prop_map(Operation::SetClock),
        1 => Just(Operation::UnsetClock),
        2 => select(&[40, 300_000, 300_001][..]).prop_map(Operation::AskTime),
        1 => any::<Index>().prop_map(Operation::PutBack),
        1 => any::<Index>().prop_map(Operation::PutBackRecords),
    ]
}

fn shown() -> impl Strategy<Value = Vec<Output>> {
    let unknown = Output::bare(Connector::Other, OutputKind::Unknown);
    select(vec![
        vec![],
        vec![INTERNAL],
        vec![INTERNAL],
        vec![hdmi(Hdcp::Off)],
        vec![hdmi(TYPE_0)],
        vec![unknown, INTERNAL],
    ])
}
