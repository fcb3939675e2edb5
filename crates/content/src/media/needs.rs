//! What a part of protected media asks for before it can be read, and what it brings along.

use core::ops::Range;

use keyward_license::{embedded::EmbeddedStore, ids::Kid};

use crate::{
    header::Object,
    isobmff::{BoxError, BoxSpan, kind},
    pssh::{Pssh, SystemId},
};

/// What has to be there before a part of protected media is read.
///
/// A part is what the movie box describes, or a fragment with its media data. Where keys rotate, each part has
/// keys of its own, and may bring the licenses for them along. Nothing in it is verified: licenses are judged
/// by their own signatures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Needs {
    /// Where the part is in the file. What is said here holds up to its end; there the next part begins.
    pub range: Range<u64>,
    /// The keys of its protected samples, each once.
    pub kids: Vec<Kid>,
    /// The content header (PlayReady Object) of the part: where licenses for the keys are requested.
    pub content_header: Option<Vec<u8>>,
    /// Signed licenses that ride there, in the embedded license stores of Keyward's `pssh` boxes.
    pub licenses: Vec<Vec<u8>>,
    /// Embedded license stores that are malformed, and so are taken for empty ones.
    pub faulty_stores: usize,
}

/// Most licenses that are taken out of one part.
pub const MAX_RIDING_LICENSES: usize = 1024;

/// What the `pssh` boxes of a part hold.
#[derive(Debug, Default)]
pub(super) struct Riding {
    pub(super) content_header: Option<Vec<u8>>,
    /// How good that header is; see [`rank`].
    rank: u8,
    pub(super) licenses: Vec<Vec<u8>>,
    pub(super) faulty_stores: usize,
}

impl Riding {
    /// Takes in the `pssh` boxes of a `moov` or `moof` box. They are hints: one that cannot be read is none.
    pub(super) fn add(&mut self, home: &BoxSpan<'_>) -> Result<(), BoxError> {
        for child in home.children() {
            let child = child?;
            if child.kind() == kind::PSSH
                && let Ok(pssh) = Pssh::parse_body(child.body())
            {
                self.add_box(pssh);
            }
        }
        Ok(())
    }

    fn add_box(&mut self, pssh: Pssh) {
        let object = Object::parse(&pssh.data).unwrap_or_default();
        if pssh.system_id == SystemId::KEYWARD
            && let Some(store) = object.embedded_store
        {
            self.add_store(store);
        }
        let rank = rank(pssh.system_id, object.header.is_some());
        if rank > self.rank {
            self.rank = rank;
            self.content_header = Some(pssh.data);
        }
    }

    fn add_store(&mut self, store: &[u8]) {
        match EmbeddedStore::read(store) {
            Ok(store)
                if self.licenses.len().saturating_add(store.licenses().len()) <= MAX_RIDING_LICENSES =>
            {
                self.licenses.extend(store.into_licenses());
            }
            // V-038: it is no reason not to use the content.
            _ => self.faulty_stores = self.faulty_stores.saturating_add(1),
        }
    }
}

/// Keyward's box comes before PlayReady's, one with a header before one of licenses alone; of those that are
/// equal the first.
const fn rank(system_id: SystemId, has_header: bool) -> u8 {
    let of_system = match system_id {
        SystemId::KEYWARD => 3,
        SystemId::PLAYREADY => 1,
        _ => return 0,
    };
    of_system + has_header as u8
}

#[cfg(test)]
mod tests {
    use keyward_license::codec::{Bytes, Wire};

    use super::*;
    use crate::{header::ContentHeader, isobmff::Node, pssh::SystemId};

    fn store(licenses: &[&[u8]]) -> Vec<u8> {
        let array = licenses
            .iter()
            .map(|license| Bytes(license.to_vec()))
            .collect::<Vec<_>>()
            .encode();
        let len = u32::try_from(array.len()).unwrap();
        [&len.to_be_bytes()[..], &array, &[0; 3]].concat()
    }

    fn object(kid: Option<u8>, store: Option<&[u8]>) -> Vec<u8> {
        match kid {
            Some(number) => ContentHeader::for_file(Kid::new([number; 16]), None)
                .to_object_with_store(store)
                .unwrap(),
            None => Object {
                header: None,
                embedded_store: store,
            }
            .to_bytes()
            .unwrap(),
        }
    }

    fn riding(boxes: &[(SystemId, Vec<u8>)]) -> Riding {
        let boxes = boxes.iter().map(|(system_id, data)| {
            let pssh = Pssh {
                system_id: *system_id,
                kids: None,
                data: data.clone(),
            };
            let bytes = pssh.to_bytes().unwrap();
            Node::from_span(&BoxSpan::parse(&bytes, 0).unwrap()).into_owned()
        });
        let mut moof = Node::container(kind::MOOF, boxes.collect());
        let broken = Node::new(kind::PSSH, b"anything at all".as_slice());
        moof.children_mut().unwrap().push(broken);
        let bytes = moof.to_vec();
        let mut riding = Riding::default();
        riding.add(&BoxSpan::parse(&bytes, 0).unwrap()).unwrap();
        riding
    }

    #[test]
    fn the_header_is_keywards_and_else_playreadys() {
        let (ours, theirs) = (SystemId::KEYWARD, SystemId::PLAYREADY);
        let (one, two) = (object(Some(1), None), object(Some(2), None));
        let licenses = object(None, Some(&store(&[b"a"])));
        for (boxes, header) in [
            (vec![], None),
            (vec![(SystemId::COMMON, one.clone())], None),
            (vec![(theirs, one.clone())], Some(&one)),
            (vec![(theirs, one.clone()), (ours, two.clone())], Some(&two)),
            (vec![(ours, one.clone()), (ours, two.clone())], Some(&one)),
            (vec![(ours, licenses.clone()), (ours, two.clone())], Some(&two)),
            (
                vec![(theirs, one.clone()), (ours, licenses.clone())],
                Some(&licenses),
            ),
        ] {
            assert_eq!(riding(&boxes).content_header.as_ref(), header);
        }
    }

    #[test]
    fn licenses_ride_in_keywards_boxes_alone() {
        let (first, second) = (store(&[b"a", b"b"]), store(&[b"c"]));
        let found = riding(&[
            (SystemId::KEYWARD, object(Some(1), Some(&first))),
            (SystemId::PLAYREADY, object(Some(1), Some(&second))),
            (SystemId::KEYWARD, object(None, Some(&second))),
            (SystemId::KEYWARD, object(Some(1), Some(&[0; 40]))),
        ]);
        assert_eq!(
            (found.licenses, found.faulty_stores),
            (vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()], 0)
        );
    }

    #[test]
    fn v_038_a_malformed_store_is_taken_for_an_empty_one_and_counted() {
        let good = store(&[b"a"]);
        let mut longer = good.clone();
        longer[3] += 40;
        let mut padded = good.clone();
        *padded.last_mut().unwrap() = 1;
        let found = riding(&[
            (SystemId::KEYWARD, object(Some(1), Some(&longer))),
            (SystemId::KEYWARD, object(Some(1), Some(&padded))),
            (SystemId::KEYWARD, object(Some(1), Some(&[0, 0]))),
            (SystemId::KEYWARD, object(Some(1), Some(&good))),
        ]);
        assert_eq!((found.licenses, found.faulty_stores), (vec![b"a".to_vec()], 2));
        assert!(found.content_header.is_some());
    }

    #[test]
    fn more_licenses_than_a_part_may_bring_are_left() {
        let full = store(&[b"a".as_slice(); 64]);
        let boxes = vec![(SystemId::KEYWARD, object(Some(1), Some(&full))); 17];
        let found = riding(&boxes);
        assert_eq!(
            (found.licenses.len(), found.faulty_stores),
            (MAX_RIDING_LICENSES, 1)
        );
    }
}
