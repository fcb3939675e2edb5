//! Roots, what is under them, and channels, as they go into the database and come out of it.
//!
//! What is under a root is one rule, [`Holdings::roots_of`], for whoever issues a leaf and for whoever asks once more
//! where it is recorded.

use core::fmt;

use keyward_license::{
    ids::{Kid, LicenseId},
    license::{KeyType, PreparedLicense},
    time::Timestamp,
};

use super::{Grant, KeyRow, KeySource, Rests};
use crate::roots::Periods;

/// A root.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RootRow {
    pub(crate) kid: Kid,
    pub(crate) name: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) minimum_security_level: Option<u64>,
    pub(crate) accompany: bool,
    pub(crate) created: Timestamp,
}

impl RootRow {
    /// The root as a registered key id.
    pub(crate) fn key(&self) -> KeyRow {
        KeyRow {
            kid: self.kid,
            key_type: KeyType::Root,
            source: KeySource::Sealed(self.sealed.clone()),
            minimum_security_level: self.minimum_security_level,
        }
    }
}

impl fmt::Debug for RootRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootRow")
            .field("kid", &self.kid)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A root that is to be made, its key sealed for its place.
pub(crate) struct NewRootRow {
    pub(crate) row: RootRow,
    /// What tells whether its value serves elsewhere.
    pub(crate) fingerprints: Vec<[u8; 32]>,
}

/// Where a key belongs: the piece of content, its track, and the crypto period, if the content has periods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TrackRow {
    pub(crate) content_id: String,
    pub(crate) label: String,
    pub(crate) period: Option<u64>,
}

/// A piece of content under a root, or some of its periods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentRow {
    pub(crate) root: Kid,
    pub(crate) content_id: String,
    pub(crate) periods: Periods,
}

/// Periods of a piece of content that have no leaf under a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlackoutRow {
    pub(crate) id: i64,
    pub(crate) root: Kid,
    pub(crate) content_id: String,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
}

impl BlackoutRow {
    fn covers(&self, root: Kid, track: &TrackRow) -> bool {
        let in_time = |period| self.from <= period && self.to.is_none_or(|to| period < to);
        self.root == root && self.content_id == track.content_id && track.period.is_some_and(in_time)
    }
}

/// What stands in the database about some pieces of content and some keys: under which roots they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Holdings {
    /// In the order of their making.
    pub(crate) roots: Vec<RootRow>,
    /// By content id.
    pub(crate) contents: Vec<ContentRow>,
    /// Roots, and single keys under them, in order.
    pub(crate) keys: Vec<(Kid, Kid)>,
    pub(crate) blackouts: Vec<BlackoutRow>,
}

impl Holdings {
    /// The roots under which the key of a track has a leaf, in the order of their making. A key for devices of a
    /// higher security level than the root's has none, and none has a period that is blacked out.
    pub(crate) fn roots_of(&self, key: &KeyRow, track: Option<&TrackRow>) -> Vec<&RootRow> {
        let level = key.minimum_security_level;
        self.roots
            .iter()
            .filter(|root| root.minimum_security_level >= level && key.key_type.is_for_content())
            .filter(|root| self.has(root.kid, key.kid, track))
            .filter(|root| !track.is_some_and(|track| self.is_blacked_out(root.kid, track)))
            .collect()
    }

    /// The roots of a piece of content from a period on, or of one without periods, in the order of their making.
    pub(crate) fn roots_of_content(&self, content_id: &str, from: Option<u64>) -> Vec<&RootRow> {
        let under = self.of_content(content_id);
        let held = |root: &&RootRow| {
            let mut under = under.iter().filter(|one| one.root == root.kid);
            under.any(|one| one.periods.are_not_over(from))
        };
        self.roots.iter().filter(held).collect()
    }

    pub(crate) fn root(&self, kid: &Kid) -> Option<&RootRow> {
        self.roots.iter().find(|root| root.kid == *kid)
    }

    fn has(&self, root: Kid, kid: Kid, track: Option<&TrackRow>) -> bool {
        let by_content = |track: &TrackRow| {
            let mut under = self.of_content(&track.content_id).iter();
            under.any(|one| one.root == root && one.periods.hold(track.period))
        };
        self.keys.binary_search(&(root, kid)).is_ok() || track.is_some_and(by_content)
    }

    fn of_content(&self, content_id: &str) -> &[ContentRow] {
        let begin = self
            .contents
            .partition_point(|one| &one.content_id[..] < content_id);
        let end = self
            .contents
            .partition_point(|one| &one.content_id[..] <= content_id);
        self.contents.get(begin..end).unwrap_or_default()
    }

    fn is_blacked_out(&self, root: Kid, track: &TrackRow) -> bool {
        self.blackouts.iter().any(|blackout| blackout.covers(root, track))
    }
}

/// What is under the roots that an account may have, and which those are.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    pub(crate) holdings: Holdings,
    /// What the account's entitlements say of each root, in the order of `holdings.roots`.
    pub(crate) grants: Vec<Option<Grant>>,
}

/// What leaves and root licenses of an answer were decided on.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChainBasis {
    pub(crate) roots: Vec<RootBasis>,
    pub(crate) leaves: Vec<LeafBasis>,
}

/// What the licenses of one root, or under it, were decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootBasis {
    pub(crate) kid: Kid,
    pub(crate) rests: Rests,
}

/// What one leaf was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafBasis {
    pub(crate) root: Kid,
    pub(crate) kid: Kid,
    /// The key's own minimum security level.
    pub(crate) key_level: Option<u64>,
    pub(crate) track: Option<TrackRow>,
}

/// A leaf license for a packager that is complete but for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackagedLeaf {
    pub(crate) id: LicenseId,
    pub(crate) root: Kid,
    pub(crate) kid: Kid,
    pub(crate) license: PreparedLicense,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Kid = Kid::new([1; 16]);
    const HIGH: Kid = Kid::new([2; 16]);
    const KEY: Kid = Kid::new([9; 16]);

    fn root(kid: Kid, minimum_security_level: Option<u64>) -> RootRow {
        RootRow {
            kid,
            name: kid.to_string(),
            sealed: vec![7],
            minimum_security_level,
            accompany: false,
            created: Timestamp(0),
        }
    }

    fn key(key_type: KeyType, minimum_security_level: Option<u64>) -> KeyRow {
        KeyRow {
            kid: KEY,
            key_type,
            source: KeySource::Seed(1),
            minimum_security_level,
        }
    }

    fn track(content_id: &str, period: Option<u64>) -> TrackRow {
        TrackRow {
            content_id: content_id.to_owned(),
            label: "video".to_owned(),
            period,
        }
    }

    fn holdings() -> Holdings {
        let content = |root, content_id: &str, from, to| ContentRow {
            root,
            content_id: content_id.to_owned(),
            periods: Periods { from, to },
        };
        Holdings {
            roots: vec![root(LOW, None), root(HIGH, Some(2000))],
            contents: vec![
                content(LOW, "all", None, None),
                content(HIGH, "all", Some(5), Some(10)),
                content(HIGH, "begun", Some(5), None),
                content(HIGH, "ends", None, Some(10)),
            ],
            keys: vec![(HIGH, KEY)],
            blackouts: vec![BlackoutRow {
                id: 1,
                root: LOW,
                content_id: "all".to_owned(),
                from: 7,
                to: Some(9),
            }],
        }
    }

    #[test]
    fn a_window_a_blackout_and_a_level_say_what_is_under_a_root() {
        let mut holdings = holdings();
        holdings.keys.clear();
        let file = key(KeyType::File, None);
        let under = |key: &KeyRow, content_id: &str, period| -> Vec<Kid> {
            let roots = holdings.roots_of(key, Some(&track(content_id, period)));
            roots.into_iter().map(|root| root.kid).collect()
        };
        let cases: [(&str, Option<u64>, &[Kid]); 14] = [
            ("all", None, &[LOW]),
            ("all", Some(0), &[LOW]),
            ("all", Some(4), &[LOW]),
            ("all", Some(5), &[LOW, HIGH]),
            ("all", Some(7), &[HIGH]),
            ("all", Some(8), &[HIGH]),
            ("all", Some(9), &[LOW, HIGH]),
            ("all", Some(10), &[LOW]),
            ("begun", Some(4), &[]),
            ("begun", Some(u64::MAX), &[HIGH]),
            ("ends", Some(9), &[HIGH]),
            ("ends", Some(10), &[]),
            // A window is of periods, and what has none is in no window.
            ("ends", None, &[]),
            ("other", None, &[]),
        ];
        for (content_id, period, expected) in cases {
            assert_eq!(
                under(&file, content_id, period),
                expected,
                "{content_id} {period:?}"
            );
        }
        assert_eq!(under(&key(KeyType::CencCtr, Some(2000)), "all", Some(5)), [HIGH]);
        assert!(under(&key(KeyType::CencCtr, Some(3000)), "all", Some(5)).is_empty());
        for key_type in [KeyType::Root, KeyType::Exchange] {
            assert!(under(&key(key_type, None), "all", Some(5)).is_empty());
        }
    }

    #[test]
    fn a_single_key_is_under_a_root_wherever_it_belongs_unless_it_is_blacked_out() {
        let mut holdings = holdings();
        let under = |holdings: &Holdings, track: Option<TrackRow>| {
            holdings.roots_of(&key(KeyType::File, None), track.as_ref()).len()
        };
        assert_eq!(under(&holdings, None), 1);
        assert_eq!(under(&holdings, Some(track("other", None))), 1);
        holdings.blackouts[0].root = HIGH;
        holdings.blackouts[0].to = None;
        assert_eq!(under(&holdings, Some(track("all", Some(6)))), 2);
        assert_eq!(under(&holdings, Some(track("all", Some(1 << 40)))), 1);
    }

    #[test]
    fn the_roots_of_a_piece_of_content_are_those_whose_window_is_not_over() {
        let holdings = holdings();
        let roots = |content_id, from| holdings.roots_of_content(content_id, from).len();
        assert_eq!(
            (roots("all", Some(0)), roots("all", Some(10)), roots("all", None)),
            (2, 1, 1)
        );
        assert_eq!(
            (
                roots("begun", Some(0)),
                roots("begun", Some(99)),
                roots("begun", None)
            ),
            (1, 1, 0)
        );
        assert_eq!(roots("other", None), 0);
    }

    #[test]
    fn a_sealed_key_never_shows_in_debug() {
        assert!(!format!("{:?}", root(LOW, None)).contains("sealed"));
    }
}
