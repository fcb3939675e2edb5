//! The embedded license store, filled with signed licenses: what takes the place of what, and what goes in.
#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use keyward_crypto::{RootKey, Secret, x509::Role};
use keyward_license::{
    codec::{Bytes, Wire},
    embedded::{EmbedError, EmbeddedStore, MAX_LICENSES},
    ids::{Kid, LicenseId, Nonce},
    license::{Binding, KeyDescription, KeyType, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense},
};
use keyward_testkit::pki::{Identity, NOW, Operator};
use proptest::{collection::vec, prelude::*};

struct World {
    operator: Operator,
    server: Identity,
}

impl World {
    fn new() -> Self {
        let mut operator = Operator::new([7; 32]);
        let server = operator.server(Role::LicenseServer);
        Self { operator, server }
    }

    /// A signed leaf license.
    fn leaf(&mut self, id: u8, kid: u8, root: u8, edit: fn(&mut LicenseBody)) -> Vec<u8> {
        let key = KeyDescription::content(Kid::new([kid; 16]), KeyType::CencCbc);
        let binding = Binding::root(Kid::new([root; 16]));
        let id = LicenseId::new([id; 16]);
        let mut body = LicenseBody::new(id, LicenseKind::Leaf, key, binding, NOW);
        edit(&mut body);
        let keys = LicenseKeys {
            keys: vec![Bytes(vec![1; 16])],
            proof_key: Secret::new([2; 32]),
        };
        let root = RootKey::new(Secret::new([3; 32]));
        let prepared = PreparedLicense::under_root(body.encode(), &keys, &root, self.operator.rng());
        let Identity { chain, key } = &self.server;
        prepared.unwrap().sign(chain, key).unwrap()
    }
}

const AS_IT_IS: fn(&mut LicenseBody) = |_| ();

#[test]
fn r_045_a_license_takes_the_place_of_its_like() {
    let mut world = World::new();
    let first = world.leaf(1, 10, 20, AS_IT_IS);
    let other_root = world.leaf(2, 10, 21, AS_IT_IS);
    let other_key = world.leaf(3, 11, 20, AS_IT_IS);
    let mut store = EmbeddedStore::default();
    for license in [&first, &other_root, &other_key] {
        store.put(license).unwrap();
    }
    let held = [first, other_root.clone(), other_key.clone()];
    assert_eq!(store.licenses(), held);
    // The same key id and binding, another id.
    let renewed = world.leaf(4, 10, 20, AS_IT_IS);
    store.put(&renewed).unwrap();
    assert_eq!(
        store.licenses(),
        [other_root.clone(), other_key.clone(), renewed.clone()]
    );
    // The same id, another key id.
    let moved = world.leaf(3, 12, 22, AS_IT_IS);
    store.put(&moved).unwrap();
    store.put(&moved).unwrap();
    assert_eq!(store.licenses(), [other_root, renewed, moved]);
}

#[test]
fn r_045_what_is_no_license_stays_and_does_not_go_in() {
    let mut world = World::new();
    let unknown = vec![Bytes(b"of a later version".to_vec())];
    let length = u32::try_from(unknown.encode().len()).unwrap().to_be_bytes();
    let mut store = EmbeddedStore::read(&[&length[..], &unknown.encode()].concat()).unwrap();
    store.put(&world.leaf(1, 10, 20, AS_IT_IS)).unwrap();
    assert_eq!(store.licenses().len(), 2);
    assert!(matches!(
        store.put(b"no license"),
        Err(EmbedError::NotALicense(_))
    ));
    let in_memory = world.leaf(1, 10, 20, |body| {
        (body.persistent, body.nonce) = (false, Some(Nonce::new([9; 16])));
    });
    assert_eq!(store.put(&in_memory), Err(EmbedError::InMemory));
    assert_eq!(store.licenses().len(), 2);
}

#[test]
fn r_045_where_there_is_no_room_that_is_said() {
    let mut world = World::new();
    let mut store = EmbeddedStore::default();
    assert_eq!(store.write(0), Ok(vec![]));
    store.put(&world.leaf(1, 10, 20, AS_IT_IS)).unwrap();
    let Err(EmbedError::NoRoom { needed, size: 3 }) = store.write(3) else {
        panic!("a store of 3 bytes has no room");
    };
    for size in [0, 4, 100, needed - 1] {
        assert_eq!(store.write(size), Err(EmbedError::NoRoom { needed, size }));
    }
    for size in [needed, needed + 1, 65_536] {
        let bytes = store.write(size).unwrap();
        assert_eq!(bytes.len(), size);
        assert_eq!(EmbeddedStore::read(&bytes), Ok(store.clone()));
    }
    for at in 1..u8::try_from(MAX_LICENSES).unwrap() {
        store.put(&world.leaf(at + 1, at + 100, 20, AS_IT_IS)).unwrap();
    }
    let full = store.clone();
    let one_more = world.leaf(99, 99, 20, AS_IT_IS);
    assert_eq!(store.put(&one_more), Err(EmbedError::TooMany));
    assert_eq!(store, full);
    // One that takes the place of another still goes in.
    let in_place = world.leaf(98, 10, 20, AS_IT_IS);
    store.put(&in_place).unwrap();
    assert_eq!(store.licenses().last(), Some(&in_place));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// V-038: whatever is read is written again as it was, but for the form of an empty one.
    #[test]
    fn v_038_a_store_that_is_read_is_written_again(
        licenses in vec(vec(any::<u8>(), 0..40), 0..=MAX_LICENSES),
        zeros in 0_usize..50,
    ) {
        let array = licenses.iter().cloned().map(Bytes).collect::<Vec<_>>().encode();
        let length = u32::try_from(array.len()).unwrap().to_be_bytes();
        let bytes = [&length[..], &array, &vec![0; zeros]].concat();
        let store = EmbeddedStore::read(&bytes).unwrap();
        prop_assert_eq!(store.licenses(), &licenses[..]);
        let again = store.write(bytes.len()).unwrap();
        prop_assert!(licenses.is_empty() || again == bytes);
        prop_assert_eq!(EmbeddedStore::read(&again).unwrap().into_licenses(), licenses);
    }

    /// V-038: no bytes do any harm, and no more licenses come out than there may be.
    #[test]
    fn v_038_any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(store) = EmbeddedStore::read(&bytes) {
            prop_assert!(store.licenses().len() <= MAX_LICENSES);
        }
    }
}
