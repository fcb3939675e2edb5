//! What is held where there is not room for all.

use super::*;

#[test]
fn v_064_lists_of_lower_rank_make_room_and_never_the_other_way_round() {
    let world = World::new(1);
    let others = world.authority(&world.root, (&[Role::Device, Role::Packager], 1), 33, 1);
    // Below an authority of devices nobody is an authority of servers.
    let claiming = world.authority(&others, (&[Role::LicenseServer], 0), 34, 1);
    let path = [&claiming, &others].map(|of| Bytes(of.certificate.der().to_vec()));
    let of_claiming = RevocationList::Certificates {
        list: Bytes(claiming.list(1, 45, &[])),
        path: path.to_vec(),
    };
    let of_devices = World::of(&world.devices, 1, 40, &[]);
    let of_others = World::of(&others, 1, 45, &[]);
    let (root, own) = (world.of_root(1, 40, &[]), world.sign(&world.body(1, 40)));
    let servers = World::of(&world.servers, 1, 40, &[]);
    let mut lists = world.within(1);
    let order = [&of_devices, &own, &servers, &root];
    for (at, list) in order.into_iter().enumerate() {
        assert_eq!(lists.adopt(list, Some(NOW)), Ok(Adopted::Newer), "{at}");
        assert_eq!(lists.to_wire(), core::slice::from_ref(list));
        for lower in order[..at].iter().chain([&&of_others, &&of_claiming]) {
            let refused = lists.adopt(lower, Some(NOW));
            assert_eq!(refused, Err(ListFault::NoRoom), "{at}");
        }
        assert_eq!(lists.to_wire(), core::slice::from_ref(list));
    }
    // The lowest rank first, of that the one whose next update is the longest past.
    let mut lists = world.within(3);
    let held = [own.clone(), of_others.clone(), of_devices];
    assert_eq!(lists.adopt_all(&held, Some(NOW)).1, []);
    assert_eq!(lists.adopt(&servers, Some(NOW)), Ok(Adopted::Newer));
    let left = lists.to_wire();
    assert!(
        left.len() == 3
            && [&own, &of_others, &servers]
                .iter()
                .all(|list| left.contains(list))
    );
    // What has no room at all takes none.
    lists.bounds.bytes = root.size() - 1;
    assert_eq!(lists.adopt(&root, Some(NOW)), Err(ListFault::NoRoom));
    assert_eq!(lists.to_wire(), left);
}

#[test]
fn v_064_a_device_keeps_the_list_of_its_own_authority_before_those_of_others() {
    let world = World::new(1);
    let others = world.authority(&world.root, (&[Role::Device], 0), 33, 1);
    let chain = |of: &Authority| vec![b"its own".to_vec(), of.certificate.der().to_vec()];
    let own = World::of(&world.devices, 1, 40, &[]);
    let of_others = World::of(&others, 1, 45, &[]);
    let mut lists = world.within(1);
    lists.set_device(&chain(&world.devices));
    for (list, adopted) in [
        (&of_others, Ok(Adopted::Newer)),
        (&own, Ok(Adopted::Newer)),
        (&of_others, Err(ListFault::NoRoom)),
    ] {
        assert_eq!(lists.adopt(list, Some(NOW)), adopted);
    }
    // It has got a certificate of another authority: what is held counts by that.
    lists.set_device(&chain(&others));
    assert_eq!(lists.adopt(&of_others, Some(NOW)), Ok(Adopted::Newer));
    assert_eq!(lists.to_wire(), [of_others]);
    // Neither is worth more than what says more.
    let devices = world.sign(&world.body(1, 40));
    assert_eq!(lists.adopt(&devices, Some(NOW)), Ok(Adopted::Newer));
    assert_eq!(lists.to_wire(), [devices]);
}

#[test]
fn v_064_a_list_that_is_over_makes_room_for_that_of_a_later_authority() {
    let world = World::new(1);
    let roles: &[Role] = &[Role::LicenseServer];
    let later = world.authority(&world.root, (roles, 0), 35, 35);
    let of_later = World::of(&later, 1, 49, &[]);
    for (day, adopted) in [(40, Ok(Adopted::Newer)), (41, Err(ListFault::NoRoom))] {
        let mut lists = world.within(1);
        let first = World::of(&world.servers, 1, day, &[]);
        lists.adopt(&first, Some(NOW)).unwrap();
        assert_eq!(lists.adopt(&of_later, Some(NOW)), adopted, "day {day}");
    }
    let mut lists = world.within(1);
    lists.adopt(&World::of(&later, 1, 36, &[]), Some(NOW)).unwrap();
    let of_earlier = World::of(&world.servers, 2, 49, &[]);
    assert_eq!(lists.adopt(&of_earlier, Some(NOW)), Err(ListFault::NoRoom));
}

#[test]
fn what_is_held_is_bounded() {
    let world = World::new(1);
    let (first, second) = (world.of_root(1, 40, &[]), World::of(&world.servers, 1, 40, &[]));
    let renewed = world.of_root(2, 40, &[]);
    let room = |bounds| {
        let mut lists = RevocationLists::new(world.anchor(), bounds, UnknownStatus::Accept);
        [&first, &second, &renewed].map(|list| lists.adopt(list, Some(NOW)))
    };
    let newer = Ok(Adopted::Newer);
    let one = ListBounds {
        lists: 1,
        ..ListBounds::CLIENT
    };
    assert_eq!(room(one), [newer, Err(ListFault::NoRoom), newer]);
    // Signatures are of different lengths.
    let bytes = first.size().max(renewed.size()) + second.size();
    let exact = ListBounds { lists: 9, bytes };
    assert_eq!(room(exact), [newer; 3]);
    let less = ListBounds {
        bytes: first.size() + second.size() - 1,
        ..exact
    };
    assert_eq!(room(less), [newer, Err(ListFault::NoRoom), newer]);
}
