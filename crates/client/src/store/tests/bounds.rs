//! What a store may hold, and what goes by itself.

use super::*;

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
