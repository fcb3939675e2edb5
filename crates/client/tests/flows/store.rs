//! A thief with the device's files: deletes, swaps, puts back, makes up.

use keyward_client::{
    ClientError,
    flow::{Progress, Reply},
    session::Acquisition,
    store::{RecordKey, memory::MemoryStore},
};
use keyward_license::usage_rules::Refusal;

use crate::world::{Device, KIND_LICENSE, TestClient, Trace, World, kid, opens, wanted};

/// A device with licenses for keys 1 to 5.
fn licensed() -> World {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1, 2, 3, 4]))).unwrap();
    world.run(client.acquire(wanted(&[5]))).unwrap();
    world.online = false;
    world
}

/// Everything that a client does with what is stored: opening, listing, finding and using every key.
/// `Ok` only if all of it went well; a key that is released on the way is never a wrong one.
fn use_all(world: &mut World, epoch: Option<Vec<u8>>) -> Result<(), ClientError> {
    let mut client = world.open_with_epoch(epoch)?;
    let listed = world.run(client.licenses())?;
    for number in 1..=5 {
        world.run(client.find(kid(number)))?;
        let opened =
            world.run(client.open_content(vec![kid(number)], wanted(&[number]), Acquisition::Never))?;
        assert!(opens(&opened.bound[0], number));
    }
    world.run(client.request(wanted(&[1])))?;
    assert_eq!(listed.len(), 5);
    Ok(())
}

fn is_of_the_store(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::StoreDamaged(_) | ClientError::StoreRolledBack | ClientError::EpochMissing
    )
}

/// Runs [`use_all`] on a copy of the store that a thief has changed, and expects an error of the store.
fn damaged(world: &mut World, what: &str, change: impl FnOnce(&mut MemoryStore)) -> ClientError {
    let whole = world.device.store.clone();
    change(&mut world.device.store);
    let epoch = world.device.store.epoch().map(<[u8]>::to_vec);
    let error = use_all(world, epoch).expect_err(what);
    assert!(is_of_the_store(&error), "{what}: {error}");
    world.device.store = whole;
    error
}

fn keys(world: &mut World) -> Vec<RecordKey> {
    world.device.store.records_mut().keys().copied().collect()
}

fn epoch(world: &World) -> Vec<u8> {
    world.device.store.epoch().unwrap().to_vec()
}

#[test]
fn an_untouched_store_is_whole() {
    let mut world = licensed();
    let epoch = epoch(&world);
    use_all(&mut world, Some(epoch)).unwrap();
}

#[test]
fn every_removed_record_is_noticed() {
    let mut world = licensed();
    let keys = keys(&mut world);
    assert!(keys.len() > 15, "licenses, nodes, operator and head");
    for key in keys {
        damaged(&mut world, "removed", |store| {
            drop(store.records_mut().remove(&key))
        });
    }
}

#[test]
fn every_pair_of_swapped_records_is_noticed() {
    let mut world = licensed();
    let keys = keys(&mut world);
    for (at, first) in keys.iter().enumerate() {
        for second in &keys[at + 1..] {
            damaged(&mut world, "swapped", |store| {
                let records = store.records_mut();
                let [one, other] = [first, second].map(|key| records.get(key).unwrap().clone());
                records.insert(*first, other);
                records.insert(*second, one);
            });
        }
    }
}

#[test]
fn a_record_under_another_key_is_noticed() {
    let mut world = licensed();
    let licenses: Vec<_> = keys(&mut world)
        .into_iter()
        .filter(|key| key.as_bytes()[0] == KIND_LICENSE)
        .collect();
    damaged(&mut world, "moved", |store| {
        let record = store.records_mut().remove(&licenses[0]).unwrap();
        store.records_mut().insert(licenses[1], record);
    });
}

#[test]
fn truncated_and_garbled_records_are_noticed() {
    let mut world = licensed();
    for key in keys(&mut world) {
        let record = world.device.store.records_mut().get(&key).unwrap().clone();
        let garbled = [
            Vec::new(),
            vec![0; 11],
            record[..record.len() - 1].to_vec(),
            [&record[..], &[0]].concat(),
            record.iter().map(|byte| byte ^ 0x20).collect(),
            {
                let mut one = record.clone();
                one[record.len() / 2] ^= 1;
                one
            },
        ];
        for bytes in garbled {
            damaged(&mut world, "garbled", |store| {
                drop(store.records_mut().insert(key, bytes))
            });
        }
    }
}

#[test]
fn an_older_version_of_any_one_record_is_noticed() {
    let (mut world, mut client) = World::enrolled();
    // Every commit of the second half writes again what the first has written.
    for numbers in [&[1, 2, 3, 4][..], &[5]] {
        world.run(client.acquire(wanted(numbers))).unwrap();
    }
    world.run(client.request(wanted(&[1]))).unwrap();
    let older = world.device.store.records_mut().clone();
    world.run(client.request(wanted(&[1]))).unwrap();
    let profile = world.profile();
    world.run(client.enrol(profile, "token".into())).unwrap();
    drop(client);
    let mut tried = 0;
    for (key, record) in older {
        if world.device.store.records_mut().get(&key) != Some(&record) {
            damaged(&mut world, "put back", |store| {
                drop(store.records_mut().insert(key, record))
            });
            tried += 1;
        }
    }
    assert!(tried >= 6, "head, nodes, pending requests and operator: {tried}");
}

#[test]
fn an_older_map_of_records_is_noticed_however_little_older() {
    let (mut world, mut client) = World::enrolled();
    let mut history = Vec::new();
    for _ in 0..4 {
        history.push(world.device.store.records_mut().clone());
        world.run(client.request(wanted(&[1]))).unwrap();
    }
    drop(client);
    for records in history {
        let rolled = damaged(&mut world, "rolled back", |store| *store.records_mut() = records);
        assert!(matches!(rolled, ClientError::StoreRolledBack), "{rolled}");
    }
}

#[test]
fn records_that_were_all_removed_are_missed() {
    let mut world = licensed();
    let rolled = damaged(&mut world, "emptied", |store| store.records_mut().clear());
    assert!(matches!(rolled, ClientError::StoreRolledBack), "{rolled}");
}

#[test]
fn an_older_epoch_file_is_noticed_unless_a_crash_explains_it() {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1, 2, 3, 4, 5]))).unwrap();
    let mut epochs = vec![epoch(&world)];
    for _ in 0..3 {
        world.run(client.request(wanted(&[1]))).unwrap();
        epochs.push(epoch(&world));
    }
    drop(client);
    let [older @ .., before, newest] = &epochs[..] else {
        panic!("there are four")
    };
    for epoch in older {
        let refused = use_all(&mut world, Some(epoch.clone())).unwrap_err();
        assert!(matches!(refused, ClientError::StoreRolledBack), "{refused}");
    }
    // One commit behind is what a crash between the two writes leaves; opening writes the file anew.
    let crashed = world.device.store.clone();
    use_all(&mut world, Some(before.clone())).unwrap();
    world.device.store = crashed;
    use_all(&mut world, Some(newest.clone())).unwrap();
}

#[test]
fn the_gap_of_a_crash_is_closed_when_the_store_is_opened() {
    let (mut world, mut client) = World::enrolled();
    let before = epoch(&world);
    let records = world.device.store.records_mut().clone();
    world.run(client.request(wanted(&[1]))).unwrap();
    drop(client);
    // As after a crash: the records are one commit ahead. Then a process opens the store, and ends.
    drop(world.open_with_epoch(Some(before)).unwrap());
    // From here on the older records do not fit any more.
    *world.device.store.records_mut() = records;
    assert!(matches!(world.open(), Err(ClientError::StoreRolledBack)));
}

#[test]
fn an_epoch_file_that_is_gone_foreign_or_garbled_gives_nothing() {
    let mut world = licensed();
    let own = epoch(&world);
    let refused = use_all(&mut world, None).unwrap_err();
    assert!(matches!(refused, ClientError::EpochMissing), "{refused}");
    // Another device's.
    let first = core::mem::replace(&mut world.device, Device::new(9));
    world.online = true;
    drop(world.enrol_new());
    let foreign = epoch(&world);
    world.device = first;
    // The same device's, of another store.
    let whole = core::mem::take(&mut world.device.store);
    drop(world.enrol_new());
    let other = epoch(&world);
    world.device.store = whole;
    let mut garbled = own.clone();
    garbled[20] ^= 1;
    for epoch in [
        foreign,
        other,
        garbled,
        own[..own.len() - 1].to_vec(),
        Vec::new(),
        vec![0; 200],
    ] {
        let refused = use_all(&mut world, Some(epoch)).unwrap_err();
        assert!(
            matches!(
                refused,
                ClientError::StoreDamaged(_) | ClientError::StoreRolledBack
            ),
            "{refused}"
        );
    }
    use_all(&mut world, Some(own)).unwrap();
}

#[test]
fn a_store_that_moves_to_another_device_gives_nothing() {
    let mut world = licensed();
    let stolen = world.device.store.clone();
    world.device = Device::new(9);
    world.device.store = stolen;
    assert!(matches!(world.open(), Err(ClientError::StoreDamaged(_))));
}

#[test]
fn a_removed_license_cannot_be_put_back_from_a_copy_of_its_record() {
    let (mut world, mut client) = World::enrolled();
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let copy = world.device.store.records_mut().clone();
    assert_eq!(world.run(client.remove_licenses(kid(1))).unwrap(), 1);
    let licenses = copy
        .into_iter()
        .filter(|(key, _)| key.as_bytes()[0] == KIND_LICENSE);
    world.device.store.records_mut().extend(licenses);
    let refused = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never));
    assert!(
        matches!(refused, Err(ClientError::NoLicense { .. })),
        "{refused:?}"
    );
}

/// Steps of finding one key of `client`.
fn cost(world: &mut World, client: &TestClient, number: u8) -> (usize, usize) {
    world.trace.clear();
    world.run(client.find(kid(number))).unwrap();
    let gets = world.trace.iter().map(|step| match step {
        Trace::Get(keys) => *keys,
        other => panic!("finding only reads: {other:?}"),
    });
    let gets: Vec<_> = gets.collect();
    (gets.len(), gets.iter().sum())
}

#[test]
fn finding_costs_the_same_however_many_licenses_there_are_and_each_takes_bounded_room() {
    let (mut world, mut client) = World::enrolled();
    let size = |world: &mut World| {
        world
            .device
            .store
            .records_mut()
            .values()
            .map(Vec::len)
            .sum::<usize>()
    };
    world.run(client.acquire(wanted(&[0]))).unwrap();
    let one = size(&mut world);
    assert_eq!(
        cost(&mut world, &client, 0),
        (4, 4),
        "two nodes, a bucket, the license"
    );
    world
        .run(client.acquire(wanted(&(1..=200).collect::<Vec<_>>())))
        .unwrap();
    for number in [0, 77, 200] {
        assert_eq!(cost(&mut world, &client, number), (4, 4));
    }
    let each = (size(&mut world) - one) / 200;
    println!("{each} bytes a license");
    assert!(each < 4_096, "{each} bytes a license");
    assert_eq!(world.run(client.licenses()).unwrap().len(), 201);
}

#[test]
fn a_flow_answers_a_host_that_is_out_of_step_with_an_error() {
    let (mut world, mut client) = World::enrolled();
    let moment = world.moment;
    let out_of_step = |progress| matches!(progress, Progress::Done(Err(ClientError::HostOutOfStep)));
    {
        let mut flow = client.find(kid(1));
        assert!(matches!(flow.resume(Reply::Start, moment), Progress::Step(_)));
        assert!(out_of_step(flow.resume(Reply::Start, moment)), "no reply");
        assert!(
            out_of_step(flow.resume(Reply::Committed, moment)),
            "after the end"
        );
    }
    {
        let mut flow = client.find(kid(1));
        assert!(matches!(flow.resume(Reply::Start, moment), Progress::Step(_)));
        assert!(
            out_of_step(flow.resume(Reply::Committed, moment)),
            "another reply"
        );
    }
    {
        let mut flow = client.find(kid(1));
        assert!(matches!(flow.resume(Reply::Start, moment), Progress::Step(_)));
        assert!(
            out_of_step(flow.resume(Reply::Records(Vec::new()), moment)),
            "too few records"
        );
    }
    world.run(client.acquire(wanted(&[1]))).unwrap();
}

#[test]
fn a_floor_cannot_be_taken_away_with_the_store_in_place() {
    // The floor lies in the head, under the generation: there is no record to remove or put back alone.
    let (mut world, mut client) = World::enrolled();
    world.server.terms.end = Some(keyward_testkit::pki::NOW.plus(1_000));
    world.run(client.acquire(wanted(&[1]))).unwrap();
    let before = world.device.store.records_mut().clone();
    world.clock(5_000);
    world.server.terms.end = Some(keyward_testkit::pki::NOW.plus(100_000));
    world.run(client.acquire(wanted(&[2]))).unwrap();
    world
        .run(client.open_content(vec![kid(2)], wanted(&[2]), Acquisition::Never))
        .unwrap();
    drop(client);
    world.clock(0);
    let now = world.device.store.records_mut().clone();
    *world.device.store.records_mut() = before;
    assert!(matches!(world.open(), Err(ClientError::StoreRolledBack)));
    *world.device.store.records_mut() = now;
    let mut client = world.open().unwrap();
    let refused = world.run(client.open_content(vec![kid(1)], wanted(&[1]), Acquisition::Never));
    let no_clock = matches!(
        refused,
        Err(ClientError::Refused {
            refusal: Refusal::NoUsableClock,
            ..
        })
    );
    assert!(no_clock, "{refused:?}");
}
