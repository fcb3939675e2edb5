//! A new key for every record.

use super::*;

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
