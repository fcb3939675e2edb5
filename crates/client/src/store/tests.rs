mod bounds;
mod index;
mod renewal;

use keyward_license::codec::Bytes;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{memory::MemoryStore, *};
use crate::flow::{Flow, Moment, Progress, Reply, Step};

/// Runs a flow on a store in memory; also says how many records each `Get` asked for.
fn run<T>(store: &mut MemoryStore, mut flow: Flow<'_, T>) -> (Result<T, ClientError>, Vec<usize>) {
    let moment = Moment {
        utc: Some(Timestamp(1_800_000_000)),
        monotonic: 0,
    };
    let mut gets = Vec::new();
    let mut reply = Reply::Start;
    loop {
        reply = match flow.resume(reply, moment) {
            Progress::Done(result) => return (result, gets),
            Progress::Step(Step::Get(keys)) => {
                gets.push(keys.len());
                Reply::Records(store.get(&keys))
            }
            Progress::Step(Step::Commit(batch)) => {
                store.commit(batch);
                Reply::Committed
            }
            Progress::Step(Step::Send(_) | Step::Wait(_)) => panic!("a store sends nothing"),
        };
    }
}

fn open(host: &mut MemoryStore, rng: &mut ChaCha20Rng) -> Store {
    let epoch = host.epoch().map(<[u8]>::to_vec);
    let opening = |io| async move { Store::open(&io, Secret::new([1; 32]), epoch.as_deref(), rng).await };
    run(host, Flow::new(opening)).0.unwrap()
}

fn commit(host: &mut MemoryStore, store: &mut Store, rng: &mut ChaCha20Rng, writes: Vec<Write>) {
    try_commit(host, store, rng, writes).unwrap();
}

fn try_commit(
    host: &mut MemoryStore,
    store: &mut Store,
    rng: &mut ChaCha20Rng,
    writes: Vec<Write>,
) -> Result<(), ClientError> {
    let commit = |io| async move { store.commit(&io, rng, writes, |_| ()).await };
    run(host, Flow::new(commit)).0
}

/// Commits that a server has stated a time, in an answer that came at once.
fn tell(host: &mut MemoryStore, store: &mut Store, rng: &mut ChaCha20Rng, time: u64) -> Vec<usize> {
    set_clock(host, store, rng, |clock| {
        clock::adopt(clock, Timestamp(time), Some(1));
    })
}

/// Commits what becomes known about time; says how many records each `Get` asked for.
fn set_clock(
    host: &mut MemoryStore,
    store: &mut Store,
    rng: &mut ChaCha20Rng,
    change: impl FnOnce(&mut Clock),
) -> Vec<usize> {
    let change = |head: &mut Head| change(&mut head.clock);
    let commit = |io| async move { store.commit(&io, rng, Vec::new(), change).await };
    let (committed, gets) = run(host, Flow::new(commit));
    committed.unwrap();
    gets
}

/// The licenses of a key id, and what reading them cost.
fn find(host: &mut MemoryStore, store: &Store, kid: Kid) -> (Vec<(RecordKey, LicenseRecord)>, Vec<usize>) {
    let (found, gets) = run(
        host,
        Flow::new(|io| async move { store.licenses(&io, &kid).await }),
    );
    (found.unwrap(), gets)
}

fn record(bytes: &[u8]) -> LicenseRecord {
    LicenseRecord {
        license: Bytes(bytes.to_vec()),
        operator: Digest::new([0; 32]),
        installed: None,
        first_play: None,
        uses: None,
    }
}

/// The key id of a number.
fn kid(number: u32) -> Kid {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Kid::new(bytes)
}

fn id(number: u32) -> LicenseId {
    LicenseId::new(*kid(number).as_bytes())
}

/// The tombstone of the license of a number.
fn tombstone(store: &Store, number: u32, end: Option<u64>) -> Write {
    let tombstone = Tombstone {
        id: id(number),
        end: end.map(Timestamp),
    };
    let key = store.tombstone_key(&id(number)).unwrap();
    Write::PutUntil(key, tombstone.encode(), tombstone.end)
}

fn tombstones(host: &mut MemoryStore) -> usize {
    let keys = host.records_mut().keys();
    keys.filter(|key| key.kind() == KIND_TOMBSTONE).count()
}

fn limited(limits: StoreLimits) -> (MemoryStore, Store, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let mut host = MemoryStore::default();
    let store = open(&mut host, &mut rng).bounded_by(limits);
    (host, store, rng)
}

/// Licenses of these numbers and this length, each of its own key id.
fn licenses(store: &Store, numbers: core::ops::Range<u32>, length: usize) -> Vec<Write> {
    let put = |number| {
        let key = store.license_key(&kid(number), &id(number)).unwrap();
        Write::Put(key, record(&vec![7; length]).encode())
    };
    numbers.map(put).collect()
}

fn full(bound: StoreBound, limit: u64) -> impl Fn(Result<(), ClientError>) -> bool {
    move |result| matches!(result, Err(ClientError::StoreFull { bound: of, limit: at }) if of == bound && at == limit)
}
