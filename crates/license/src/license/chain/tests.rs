use super::*;
use crate::{
    codec::Bytes,
    ids::{DeviceId, LicenseId, Nonce},
    license::{ExtendedRestriction, Flag, KeyDescription, KeyType, OutputProtectionLevels, Right},
    time::Timestamp,
    usage_rules::{Action, Allowed, Decision, Host, Refusal, Usage, evaluate},
};

const ROOT: Kid = Kid::new([6; 16]);
const KID: Kid = Kid::new([3; 16]);

fn root() -> LicenseBody {
    LicenseBody::new(
        LicenseId::new([1; 16]),
        LicenseKind::Root,
        KeyDescription::content(ROOT, KeyType::Root),
        Binding::device(&DeviceId::new([2; 32])),
        Timestamp(1),
    )
}

fn leaf() -> LicenseBody {
    LicenseBody::new(
        LicenseId::new([4; 16]),
        LicenseKind::Leaf,
        KeyDescription::content(KID, KeyType::CencCbc),
        Binding::root(ROOT),
        Timestamp(1),
    )
}

fn fault(body: &LicenseBody) -> Option<&'static str> {
    match body.check() {
        Ok(()) => None,
        Err(DecodeError::Invalid(fault)) => Some(fault),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn v_036_a_leaf_holds_no_term_of_time() {
    type Edit = fn(&mut LicenseBody);
    let edits: [(Edit, bool); 12] = [
        (|_| (), true),
        (|body| body.begin = Some(Timestamp(1)), false),
        (|body| body.end = Some(Timestamp(9)), false),
        (|body| body.expiration_after_first_play = Some(1), false),
        (
            |body| (body.end, body.real_time_expiration) = (Some(Timestamp(9)), Some(Flag)),
            false,
        ),
        (
            |body| (body.end, body.removal_date) = (Some(Timestamp(9)), Some(Timestamp(9))),
            false,
        ),
        (
            |body| (body.end, body.grace_period) = (Some(Timestamp(9)), Some(1)),
            false,
        ),
        (|body| body.minimum_security_level = Some(2000), true),
        (
            |body| {
                body.output_protection_levels = Some(OutputProtectionLevels {
                    analog_video: Some(200),
                    ..OutputProtectionLevels::default()
                });
            },
            true,
        ),
        (|body| body.source_id = Some(7), true),
        (
            |body| {
                body.extended_restrictions = Some(vec![ExtendedRestriction {
                    kind: 1,
                    must_understand: true,
                    best_effort: false,
                    data: Bytes(vec![]),
                }]);
            },
            true,
        ),
        (
            |body| (body.persistent, body.nonce) = (false, Some(Nonce::new([7; 16]))),
            true,
        ),
    ];
    for (at, (edit, fits)) in edits.into_iter().enumerate() {
        let mut leaf = leaf();
        edit(&mut leaf);
        assert_eq!(fault(&leaf).is_none(), fits, "case {at}");
        // All of it may stand in a root.
        let mut root = root();
        edit(&mut root);
        assert_eq!(fault(&root), None, "case {at}");
    }
}

#[test]
fn v_036_a_leaf_has_another_key_id_than_its_root() {
    let own = LicenseBody {
        binding: Binding::root(KID),
        ..leaf()
    };
    assert_eq!(fault(&own), Some("a leaf license has the key id of its root"));
    assert_eq!((leaf().leaf_of(), root().leaf_of()), (Some(ROOT), None));
}

#[test]
fn v_036_only_what_is_stored_and_opens_content_is_embedded() {
    let simple = || LicenseBody {
        kind: LicenseKind::Simple,
        binding: root().binding,
        ..leaf()
    };
    for (body, persistent, fits) in [
        (leaf(), true, true),
        (leaf(), false, false),
        (simple(), true, true),
        (simple(), false, false),
        (root(), true, false),
    ] {
        let body = LicenseBody {
            embed: Some(Flag),
            persistent,
            nonce: (!persistent).then(|| Nonce::new([7; 16])),
            ..body
        };
        assert_eq!(fault(&body).is_none(), fits, "{:?} {persistent}", body.kind);
        assert_eq!(body.terms().collect::<Vec<_>>(), [23]);
    }
}

#[test]
fn v_037_a_leaf_stands_under_its_own_root_alone() {
    let refused = |root: &LicenseBody, leaf: &LicenseBody| Chain::new(root, leaf).err();
    assert_eq!(refused(&root(), &leaf()), None);
    assert_eq!(refused(&root(), &root()), Some(LeafFault::NotALeaf));
    assert_eq!(refused(&leaf(), &leaf()), Some(LeafFault::NotARoot));
    let other = LicenseBody {
        binding: Binding::root(Kid::new([9; 16])),
        ..leaf()
    };
    let expected = LeafFault::OtherRoot {
        root: ROOT,
        bound_to: Kid::new([9; 16]),
    };
    assert_eq!(refused(&root(), &other), Some(expected));
    // A simple license with the root's key id, and a binding that only looks like a root's.
    let simple = LicenseBody {
        kind: LicenseKind::Simple,
        ..root()
    };
    assert_eq!(refused(&simple, &leaf()), Some(LeafFault::NotARoot));
    let bound = LicenseBody {
        kind: LicenseKind::Simple,
        ..leaf()
    };
    assert_eq!(refused(&root(), &bound), Some(LeafFault::NotALeaf));
}

#[test]
fn v_037_a_root_protects_its_key_as_well_as_its_leaves() {
    let of = |body: LicenseBody, minimum_security_level| LicenseBody {
        minimum_security_level,
        ..body
    };
    for (above, below, fits) in [
        (None, None, true),
        (None, Some(0), true),
        (None, Some(150), false),
        (Some(2000), None, true),
        (Some(2000), Some(2000), true),
        (Some(2000), Some(2001), false),
        (Some(3000), Some(2000), true),
    ] {
        let (root, leaf) = (of(root(), above), of(leaf(), below));
        let refused = Chain::new(&root, &leaf).err();
        assert_eq!(refused.is_none(), fits, "{above:?} {below:?}");
        let expected = LeafFault::LowerLevel {
            root: above.unwrap_or_default(),
            leaf: below.unwrap_or_default(),
        };
        assert!(fits || refused == Some(expected));
    }
}

#[test]
fn a_chain_expires_with_its_root_and_a_renewed_root_revives_it() {
    let leaf = leaf();
    let ask = |root: &LicenseBody, now| {
        let chain = Chain::new(root, &leaf).unwrap();
        let host = Host::of_level(2000);
        evaluate(
            &chain.licenses(),
            &Usage::default(),
            &host,
            Action::Play,
            Some(Timestamp(now)),
        )
    };
    let until = |end| LicenseBody {
        end: Some(Timestamp(end)),
        ..root()
    };
    assert!(matches!(
        ask(&until(20), 19),
        Decision::Allowed(Allowed {
            until: Some(Timestamp(20)),
            ..
        })
    ));
    let ended = Refusal::Ended { end: Timestamp(20) };
    assert_eq!(ask(&until(20), 20), Decision::Refused(ended));
    assert!(matches!(ask(&until(40), 20), Decision::Allowed(_)));
    let silent = LicenseBody {
        rights: Vec::<Right>::new(),
        ..root()
    };
    assert_eq!(ask(&silent, 1), Decision::Refused(Refusal::RightNotGranted));
}

#[test]
fn faults_say_what_does_not_fit() {
    let faults = [
        LeafFault::NotALeaf,
        LeafFault::NotARoot,
        LeafFault::OtherRoot {
            root: ROOT,
            bound_to: KID,
        },
        LeafFault::LowerLevel { root: 0, leaf: 2000 },
    ];
    let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"), @"
    the license is not a leaf license
    the license that it would stand under is not a root license
    the leaf license is bound to root 03030303030303030303030303030303, not to 06060606060606060606060606060606
    the leaf license demands security level 2000, the root license only 0
    ");
}
