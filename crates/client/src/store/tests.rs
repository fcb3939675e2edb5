use std::collections::{BTreeMap, BTreeSet};

use keyward_license::codec::Bytes;
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{memory::MemoryStore, records::Totals, *};
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

/// A license's key with a name in few buckets of few middle nodes.
fn key(name: u8) -> RecordKey {
    let mut bytes = [0x77; 32];
    (bytes[0], bytes[1], bytes[2]) = (name & 3, name >> 2 & 3, name >> 4);
    RecordKey::new(KIND_LICENSE, bytes)
}

/// A record to write or to remove.
type Operation = (u8, Option<Vec<u8>>);

fn batches() -> impl Strategy<Value = Vec<Vec<Operation>>> {
    let operation = (
        0..64_u8,
        proptest::option::weighted(0.6, proptest::collection::vec(any::<u8>(), 0..8)),
    );
    proptest::collection::vec(proptest::collection::vec(operation, 0..12), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is put and removed, the index gives what a plain map would, and nothing lies about that
    /// the index does not reach.
    #[test]
    fn the_index_is_a_map(batches in batches()) {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let mut host = MemoryStore::default();
        let mut store = open(&mut host, &mut rng);
        let mut model: BTreeMap<RecordKey, Vec<u8>> = BTreeMap::new();
        for batch in batches {
            // Within one commit a key is written once, as the client does.
            let batch: BTreeMap<u8, Option<Vec<u8>>> = batch.into_iter().collect();
            let mut writes = Vec::new();
            for (name, value) in batch {
                match value {
                    Some(value) => {
                        writes.push(Write::Put(key(name), record(&value).encode()));
                        model.insert(key(name), value);
                    }
                    None => {
                        writes.push(Write::Delete(key(name)));
                        model.remove(&key(name));
                    }
                }
            }
            commit(&mut host, &mut store, &mut rng, writes);
            check(&mut host, &store, &model);
            // A later process sees the same.
            store = open(&mut host, &mut rng);
            check(&mut host, &store, &model);
        }
        let everything = model.keys().map(|key| Write::Delete(*key)).collect();
        commit(&mut host, &mut store, &mut rng, everything);
        prop_assert_eq!(host.records_mut().keys().copied().collect::<Vec<_>>(), [HEAD]);
    }
}

fn check(host: &mut MemoryStore, store: &Store, model: &BTreeMap<RecordKey, Vec<u8>>) {
    let listed = run(host, Flow::new(|io| async move { store.all_licenses(&io).await }))
        .0
        .unwrap();
    let listed: Vec<_> = listed.into_iter().map(|record| record.license.0).collect();
    assert_eq!(listed.iter().collect::<BTreeSet<_>>(), model.values().collect());
    assert_eq!(listed.len(), model.len());
    for name in 0..64 {
        let found: Option<LicenseRecord> = run(
            host,
            Flow::new(|io| async move { store.find(&io, key(name)).await }),
        )
        .0
        .unwrap();
        assert_eq!(
            found.map(|record| record.license.0).as_ref(),
            model.get(&key(name))
        );
    }
    let of_kind = |kind: u8| -> BTreeSet<RecordKey> {
        host.clone()
            .records_mut()
            .keys()
            .filter(|key| key.kind() == kind)
            .copied()
            .collect()
    };
    assert_eq!(of_kind(KIND_LICENSE), model.keys().copied().collect());
    let middles: BTreeSet<u8> = model.keys().map(|key| key.0[1]).collect();
    let buckets: BTreeSet<[u8; 2]> = model.keys().map(|key| [key.0[1], key.0[2]]).collect();
    let nodes = usize::from(!model.is_empty()) + middles.len() + buckets.len();
    assert_eq!(of_kind(KIND_NODE).len(), nodes, "no node is left over");
    let bytes: usize = host
        .clone()
        .records_mut()
        .iter()
        .filter(|(key, _)| key.kind() == KIND_LICENSE)
        .map(|(_, sealed)| sealed.len())
        .sum();
    let counted = Totals {
        licenses: model.len() as u64,
        license_bytes: bytes as u64,
        tombstones: 0,
        counted_keys: None,
    };
    assert_eq!(store.head.totals, counted);
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

#[test]
fn finding_among_twenty_thousand_costs_what_finding_among_one_does() {
    const LICENSE: usize = 3_000;
    let mut rng = ChaCha20Rng::from_seed([6; 32]);
    let mut host = MemoryStore::default();
    let mut store = open(&mut host, &mut rng);
    let mut stored = 0;
    for size in [1, 1_000, 20_000] {
        while stored < size {
            let until = size.min(stored + 500);
            let put = |number| {
                let key = store.license_key(&kid(number), &id(number)).unwrap();
                Write::Put(key, record(&[7; LICENSE]).encode())
            };
            let writes = (stored..until).map(put).collect();
            commit(&mut host, &mut store, &mut rng, writes);
            stored = until;
        }
        for number in [0, size / 2, size - 1] {
            let (found, gets) = find(&mut host, &store, kid(number));
            assert_eq!(found.len(), 1);
            assert_eq!(gets, [1, 1, 1, 1], "root, middle node, bucket, license");
        }
        let largest = host.records_mut().values().map(Vec::len).max().unwrap();
        assert!(
            largest < LICENSE + 8_000,
            "no record grows with the store: {largest}"
        );
    }
    let bytes: usize = host.records_mut().values().map(Vec::len).sum();
    let each = bytes / 20_000 - LICENSE;
    println!("{each} bytes a license besides the license");
    assert!(each < 300, "{each} bytes");
}

#[test]
fn licenses_of_key_ids_in_one_bucket_are_told_apart() {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let mut host = MemoryStore::default();
    let mut store = open(&mut host, &mut rng);
    // Two key ids whose names begin with the same two bytes.
    let mut seen = BTreeMap::new();
    let [first, second] = (0..)
        .find_map(|number| {
            let [one, two, ..] = store.name(&[b"kid", kid(number).as_bytes()]).unwrap();
            seen.insert([one, two], number).map(|earlier| [earlier, number])
        })
        .unwrap();
    let put = |number, license| {
        let key = store.license_key(&kid(number), &id(license)).unwrap();
        Write::Put(key, record(&license.to_be_bytes()).encode())
    };
    let writes = vec![put(first, 1), put(first, 2), put(second, 3)];
    commit(&mut host, &mut store, &mut rng, writes);
    for (number, expected) in [(first, vec![1, 2]), (second, vec![3])] {
        let found = find(&mut host, &store, kid(number)).0;
        let mut found: Vec<_> = found
            .iter()
            .map(|(_, record)| u32::from_be_bytes(record.license.0[..].try_into().unwrap()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
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

#[test]
fn tombstones_go_at_their_end_sixteen_a_commit_and_the_others_stay() {
    let (mut host, mut store, mut rng) = limited(StoreLimits::default());
    // Forty that end one second after another, ten that end much later, ten that never end.
    let writes = (0..60).map(|number| {
        let end = match number {
            0..40 => Some(1_000 + u64::from(number)),
            40..50 => Some(9_000),
            _ => None,
        };
        tombstone(&store, number, end)
    });
    let writes = writes.collect();
    commit(&mut host, &mut store, &mut rng, writes);
    assert_eq!(store.head.due, Some(Timestamp(1_000)));
    // What a commit learns counts from the next one on.
    tell(&mut host, &mut store, &mut rng, 1_019);
    assert_eq!(tombstones(&mut host), 60);
    for left in [44, 40, 40] {
        let gets = tell(&mut host, &mut store, &mut rng, 1_019);
        assert!(
            gets.len() <= 2 * (1 + 2 * REMOVED_A_COMMIT),
            "{} reads",
            gets.len()
        );
        assert_eq!(tombstones(&mut host), left);
        assert_eq!(store.head.totals.tombstones, left as u64);
    }
    assert_eq!(store.head.due, Some(Timestamp(1_020)));
    assert_eq!(
        tell(&mut host, &mut store, &mut rng, 1_019),
        [0; 0],
        "nothing is due"
    );
    // A later process goes on where this one stopped.
    let mut store = open(&mut host, &mut rng);
    for left in [40, 24, 20, 20] {
        tell(&mut host, &mut store, &mut rng, 8_999);
        assert_eq!(tombstones(&mut host), left);
    }
    for left in [20, 10, 10] {
        tell(&mut host, &mut store, &mut rng, u64::MAX - 1);
        assert_eq!(tombstones(&mut host), left);
    }
    assert_eq!(store.head.due, None, "those without an end stay for good");
    for number in 0..60 {
        let found = run(
            &mut host,
            Flow::new(|io| {
                let store = &store;
                async move { store.tombstone(&io, &id(number)).await }
            }),
        );
        assert_eq!(found.0.unwrap().is_some(), number >= 50);
    }
}

#[test]
fn a_tombstone_that_is_written_again_in_the_commit_that_would_remove_it_stays() {
    let (mut host, mut store, mut rng) = limited(StoreLimits::default());
    let write = tombstone(&store, 1, Some(1_000));
    commit(&mut host, &mut store, &mut rng, vec![write]);
    tell(&mut host, &mut store, &mut rng, 2_000);
    let write = tombstone(&store, 1, Some(3_000));
    commit(&mut host, &mut store, &mut rng, vec![write]);
    assert_eq!(tombstones(&mut host), 1);
    assert_eq!(store.head.due, Some(Timestamp(3_000)));
    assert_eq!(store.head.totals.tombstones, 1);
}

#[test]
fn a_license_goes_at_its_removal_date_and_its_renewal_stays() {
    let (mut host, mut store, mut rng) = limited(StoreLimits::default());
    let until = |store: &Store, number, due: Option<u64>| {
        let key = store.license_key(&kid(number), &id(number)).unwrap();
        Write::PutUntil(key, record(&[7]).encode(), due.map(Timestamp))
    };
    let writes = vec![
        until(&store, 1, Some(1_000)),
        until(&store, 2, Some(2_000)),
        until(&store, 3, None),
    ];
    commit(&mut host, &mut store, &mut rng, writes);
    tell(&mut host, &mut store, &mut rng, 1_500);
    // The date of the second is put off before it comes.
    let renewed = until(&store, 2, Some(9_000));
    commit(&mut host, &mut store, &mut rng, vec![renewed]);
    tell(&mut host, &mut store, &mut rng, 5_000);
    tell(&mut host, &mut store, &mut rng, 5_000);
    let left = [1, 2, 3].map(|number| find(&mut host, &store, kid(number)).0.len());
    assert_eq!(left, [0, 1, 1]);
    assert_eq!(
        (store.head.totals.licenses, store.head.due),
        (2, Some(Timestamp(9_000)))
    );
}

#[test]
fn the_local_clock_alone_takes_no_tombstone_away() {
    let (mut host, mut store, mut rng) = limited(StoreLimits::default());
    let write = tombstone(&store, 1, Some(1_000));
    commit(&mut host, &mut store, &mut rng, vec![write]);
    for _ in 0..3 {
        set_clock(&mut host, &mut store, &mut rng, |clock| {
            clock::raise(clock, Timestamp(5_000));
        });
    }
    assert_eq!(tombstones(&mut host), 1);
}

#[test]
fn no_tombstone_goes_by_a_time_that_a_fresher_answer_undercuts() {
    let (mut host, mut store, mut rng) = limited(StoreLimits::default());
    let end = 5_000;
    let write = tombstone(&store, 1, Some(end));
    commit(&mut host, &mut store, &mut rng, vec![write]);
    // An answer that was carried, of a server whose clock is ahead; then the local clock is ahead of that; then an
    // answer comes at once, which frees the device.
    let told: [fn(&mut Clock); 4] = [
        |clock| clock::adopt(clock, Timestamp(9_000), None),
        |clock| clock::raise(clock, Timestamp(20_000)),
        |clock| clock::adopt(clock, Timestamp(1_000), Some(1)),
        |_| (),
    ];
    for change in told {
        set_clock(&mut host, &mut store, &mut rng, change);
    }
    let has_ended_for_good = store.head.clock.floor >= Timestamp(end);
    assert!(tombstones(&mut host) == 1 || has_ended_for_good);
}

#[test]
fn a_store_that_is_full_has_room_for_what_use_adds_and_no_more() {
    let limits = StoreLimits {
        license_bytes: 1_000,
        ..StoreLimits::default()
    };
    let (mut host, mut store, mut rng) = limited(limits);
    let writes = licenses(&store, 0..5, 120);
    commit(&mut host, &mut store, &mut rng, writes);
    let each = store.head.totals.license_bytes / 5;
    assert!(
        (180..=200).contains(&each),
        "{each} bytes: the store is all but full"
    );
    let used = licenses(&store, 0..5, 150);
    commit(&mut host, &mut store, &mut rng, used);
    assert!(store.head.totals.license_bytes > 1_000);
    let grown = licenses(&store, 0..5, 700);
    let refused = try_commit(&mut host, &mut store, &mut rng, grown);
    assert!(full(StoreBound::LicenseBytes, 1_000)(refused));
    let another = licenses(&store, 5..6, 1);
    let refused = try_commit(&mut host, &mut store, &mut rng, another);
    assert!(full(StoreBound::LicenseBytes, 1_000)(refused));
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

#[test]
fn no_commit_exceeds_a_bound_however_many_key_ids_it_brings() {
    let limits = StoreLimits {
        licenses: 10,
        license_bytes: 5_000,
        tombstones: 3,
        ..StoreLimits::default()
    };
    let (mut host, mut store, mut rng) = limited(limits);
    let too_many = licenses(&store, 0..11, 10);
    assert!(full(StoreBound::Licenses, 10)(try_commit(
        &mut host, &mut store, &mut rng, too_many
    )));
    let too_long = licenses(&store, 0..5, 1_000);
    assert!(full(StoreBound::LicenseBytes, 5_000)(try_commit(
        &mut host, &mut store, &mut rng, too_long
    )));
    let too_dead = (0..4).map(|number| tombstone(&store, number, None)).collect();
    assert!(full(StoreBound::Tombstones, 3)(try_commit(
        &mut host, &mut store, &mut rng, too_dead
    )));
    assert!(host.records_mut().is_empty(), "nothing was written");
    // A refusal leaves a store that goes on, up to the bound itself.
    let ten = licenses(&store, 0..10, 10);
    commit(&mut host, &mut store, &mut rng, ten);
    let three = (0..3).map(|number| tombstone(&store, number, None)).collect();
    commit(&mut host, &mut store, &mut rng, three);
    // One in the place of another is no growth; nor is the same again.
    let mut swap = licenses(&store, 10..11, 10);
    swap.push(Write::Delete(store.license_key(&kid(0), &id(0)).unwrap()));
    commit(&mut host, &mut store, &mut rng, swap);
    let again = licenses(&store, 1..11, 10);
    commit(&mut host, &mut store, &mut rng, again);
    let one_more = licenses(&store, 0..1, 10);
    assert!(full(StoreBound::Licenses, 10)(try_commit(
        &mut host, &mut store, &mut rng, one_more
    )));
    // Under bounds that were lowered it shrinks, and does not grow.
    let mut store = open(&mut host, &mut rng).bounded_by(StoreLimits {
        licenses: 2,
        ..limits
    });
    let nine = store.license_key(&kid(9), &id(9)).unwrap();
    commit(&mut host, &mut store, &mut rng, vec![Write::Delete(nine)]);
    assert_eq!(store.head.totals.licenses, 9);
    let again = licenses(&store, 9..10, 10);
    assert!(full(StoreBound::Licenses, 2)(try_commit(
        &mut host, &mut store, &mut rng, again
    )));
    assert!(store.check_room().is_err());
}

fn renew(host: &mut MemoryStore, store: &mut Store, rng: &mut ChaCha20Rng) -> Result<(), ClientError> {
    run(
        host,
        Flow::new(|io| async move { store.renew_key(&io, rng).await }),
    )
    .0
}

/// A store with licenses 1 to 4, of which 0 was removed, with tombstones; and the copy from before.
fn renewed() -> (MemoryStore, MemoryStore, Store, ChaCha20Rng) {
    let (mut host, mut store, mut rng) = limited(StoreLimits::default());
    let mut writes = licenses(&store, 0..5, 100);
    writes.push(tombstone(&store, 7, Some(9_000)));
    writes.push(tombstone(&store, 8, None));
    commit(&mut host, &mut store, &mut rng, writes);
    let copy = host.clone();
    let gone = store.license_key(&kid(0), &id(0)).unwrap();
    commit(&mut host, &mut store, &mut rng, vec![Write::Delete(gone)]);
    let (names, head, epoch) = (host.records_mut().clone(), store.head.clone(), store.epoch.id);
    renew(&mut host, &mut store, &mut rng).unwrap();
    assert!(
        host.records_mut().keys().eq(names.keys()),
        "records keep their names, and none is left over"
    );
    assert_eq!(store.epoch.id, epoch, "the server goes on comparing generations");
    let expected = Head {
        generation: head.generation + 1,
        index: store.head.index,
        ..head
    };
    assert_eq!(store.head, expected);
    (copy, host, store, rng)
}

#[test]
fn a_new_key_keeps_everything_and_turns_every_old_copy_into_noise() {
    let (mut copy, mut host, store, mut rng) = renewed();
    assert!(copy.records_mut().len() > host.records_mut().len());
    for (key, sealed) in copy.records_mut() {
        assert!(
            store.unseal(key, sealed).is_err(),
            "{key:?} opens under the new key"
        );
    }
    // A later process finds it all, and goes on.
    let mut store = open(&mut host, &mut rng);
    for number in 0..5 {
        let found = find(&mut host, &store, kid(number)).0;
        assert_eq!(found.len(), usize::from(number > 0));
    }
    let more = licenses(&store, 5..6, 100);
    commit(&mut host, &mut store, &mut rng, more);
    assert_eq!(store.head.totals.licenses, 5);
    // Twice is no worse than once.
    renew(&mut host, &mut store, &mut rng).unwrap();
    let store = open(&mut host, &mut rng);
    assert_eq!(find(&mut host, &store, kid(5)).0.len(), 1);
    assert_eq!(store.head.totals.tombstones, 2);
}

#[test]
fn files_of_two_keys_do_not_fit_each_other() {
    let (mut copy, mut host, ..) = renewed();
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let epochs = [copy.epoch(), host.epoch()].map(|epoch| epoch.unwrap().to_vec());
    for (records, epoch) in [(&mut host, &epochs[0]), (&mut copy, &epochs[1])] {
        let rng = &mut rng;
        let opening = |io| async move { Store::open(&io, Secret::new([1; 32]), Some(epoch), rng).await };
        let refused = run(records, Flow::new(opening)).0.unwrap_err();
        assert!(
            matches!(
                refused,
                ClientError::StoreDamaged(_) | ClientError::StoreRolledBack
            ),
            "{refused}"
        );
    }
}

#[test]
fn a_store_beyond_its_bounds_gets_a_new_key_and_one_that_is_too_large_does_not() {
    let (mut host, mut store, mut rng) = limited(StoreLimits::default());
    let writes = licenses(&store, 0..5, 100);
    commit(&mut host, &mut store, &mut rng, writes);
    let limits = StoreLimits {
        licenses: 1,
        ..StoreLimits::default()
    };
    let mut store = store.bounded_by(limits);
    renew(&mut host, &mut store, &mut rng).unwrap();
    let one_more = licenses(&store, 5..6, 10);
    assert!(full(StoreBound::Licenses, 1)(try_commit(
        &mut host, &mut store, &mut rng, one_more
    )));
    let (before, epoch) = (host.records_mut().clone(), host.epoch().unwrap().to_vec());
    store.head.totals.license_bytes = (256 << 20) + 1;
    let refused = renew(&mut host, &mut store, &mut rng);
    assert!(matches!(refused, Err(ClientError::TooMuchToRenew { .. })));
    assert!(*host.records_mut() == before && host.epoch() == Some(&epoch[..]));
}
