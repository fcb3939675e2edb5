//! The license store of a content header, as it is found and as it is filled.

use keyward_license::{
    codec::{Bytes, Wire},
    embedded::{EmbedError, EmbeddedStore, MAX_LICENSES},
};

use super::{cbor::read, world::WORLD};

/// A store as somebody left it in the content: what is read is written again as it was, and a license that is
/// put in takes nothing from the others.
#[must_use]
pub fn embedded_store(bytes: &[u8]) -> bool {
    let Ok(store) = EmbeddedStore::read(bytes) else {
        return false;
    };
    assert!(store.licenses().len() <= MAX_LICENSES);
    assert_form(bytes, &store);
    let again = store.write(bytes.len()).unwrap();
    assert_eq!(EmbeddedStore::read(&again).as_ref(), Ok(&store));
    assert_put(&store);
    true
}

/// The form, read a second time: a length, the array as the oracle reads it, zeros.
fn assert_form(bytes: &[u8], store: &EmbeddedStore) {
    if bytes.iter().all(|byte| *byte == 0) {
        assert!(store.licenses().is_empty());
        return;
    }
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (array, zeros) = rest.split_at(u32::from_be_bytes(*length) as usize);
    let licenses = read::<Vec<Bytes>>(array).unwrap();
    assert!(zeros.iter().all(|byte| *byte == 0));
    assert!(licenses.iter().map(|license| &license.0).eq(store.licenses()));
}

/// one leaf more, last, in the place of nothing but its like.
fn assert_put(store: &EmbeddedStore) {
    let leaf = WORLD.leaf();
    let mut filled = store.clone();
    match filled.put(&leaf) {
        Err(EmbedError::TooMany) => {
            assert_eq!(store.licenses().len(), MAX_LICENSES);
            assert_eq!(filled, *store);
        }
        put => {
            put.unwrap();
            assert_eq!(filled.licenses().last(), Some(&leaf));
            let others = filled.licenses().split_last().map(|(_, others)| others);
            let kept = store
                .licenses()
                .iter()
                .filter(|held| others.unwrap().contains(held));
            assert!(kept.eq(others.unwrap()));
            let array: Vec<Bytes> = filled.licenses().iter().cloned().map(Bytes).collect();
            let needed = array.encode().len() + 4;
            assert_eq!(
                EmbeddedStore::read(&filled.write(needed).unwrap()),
                Ok(filled.clone())
            );
            assert!(filled.write(needed - 1).is_err());
        }
    }
}
