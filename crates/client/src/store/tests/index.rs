//! Records and the index over them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::store::records::Totals;

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
