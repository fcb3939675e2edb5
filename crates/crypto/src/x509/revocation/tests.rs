//! How lists judge.
#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod parsing;

use der::{Encode, asn1::BitString};
use proptest::prelude::*;

use super::*;
use crate::{
    ecdsa::{Signer, SigningKey},
    x509::{
        Anchor, Role,
        issue::{self, ListProfile, Reason, Revoked},
        test_pki::{Authority, DAY, Pki, ROLE, Which, revoked},
    },
};

use UnknownStatus::{Accept, Refuse};

const BOTH: [UnknownStatus; 2] = [Refuse, Accept];

fn verdict(pki: &Pki, lists: &[RevocationList], unknown: UnknownStatus, at: u64) -> Result<(), ChainFault> {
    let anchor = pki.anchor().with_revocation(lists.to_vec(), unknown);
    match anchor.verify(&pki.chain(), ROLE, at) {
        Ok(leaf) => {
            assert_eq!(leaf, pki.leaf);
            Ok(())
        }
        Err(CryptoError::ChainRefused(fault)) => Err(fault),
        Err(other) => unreachable!("{other}"),
    }
}

#[test]
fn lists_that_name_nobody_refuse_nobody() {
    let pki = Pki::new(1);
    let lists = [pki.root.list(1, &[]), pki.authority.list(1, &[])];
    assert!(lists.iter().all(RevocationList::is_empty));
    for unknown in BOTH {
        assert_eq!(verdict(&pki, &lists, unknown, 5 * DAY), Ok(()));
    }
}

#[test]
fn a_revoked_leaf_is_refused_from_then_on() {
    let pki = Pki::new(1);
    let entry = Revoked {
        reason: Some(Reason::Superseded),
        ..revoked(&pki.leaf, 8 * DAY)
    };
    let lists = [
        pki.root.list(1, &[]),
        pki.authority.list(1, core::slice::from_ref(&entry)),
    ];
    let early = Revoked {
        invalid_since: Some(6 * DAY),
        reason: Some(Reason::KeyCompromise),
        ..entry
    };
    let stolen = [pki.root.list(1, &[]), pki.authority.list(1, &[early])];
    for unknown in BOTH {
        for (at, revoked, stolen_key) in [
            (6 * DAY - 1, Ok(()), Ok(())),
            (6 * DAY, Ok(()), Err(ChainFault::Revoked)),
            (8 * DAY - 1, Ok(()), Err(ChainFault::Revoked)),
            (8 * DAY, Err(ChainFault::Revoked), Err(ChainFault::Revoked)),
            (19 * DAY, Err(ChainFault::Revoked), Err(ChainFault::Revoked)),
            // What a list names, it names after its time too.
            (50 * DAY, Err(ChainFault::Revoked), Err(ChainFault::Revoked)),
        ] {
            assert_eq!(verdict(&pki, &lists, unknown, at), revoked, "{at}");
            assert_eq!(verdict(&pki, &stolen, unknown, at), stolen_key, "{at}");
        }
    }
}

#[test]
fn an_invalidity_date_after_the_revocation_changes_nothing() {
    let pki = Pki::new(1);
    let entry = Revoked {
        invalid_since: Some(9 * DAY),
        ..revoked(&pki.leaf, 8 * DAY)
    };
    let list = pki.authority.list(1, &[entry]);
    assert_eq!(list.revoked_since(pki.leaf.serial()), Some(8 * DAY));
}

#[test]
fn a_revoked_authority_takes_its_leaves_along() {
    let pki = Pki::new(1);
    let lists = [
        pki.root.list(1, &[revoked(&pki.authority.certificate, 8 * DAY)]),
        pki.authority.list(1, &[]),
    ];
    for unknown in BOTH {
        assert_eq!(verdict(&pki, &lists, unknown, 8 * DAY - 1), Ok(()));
        assert_eq!(verdict(&pki, &lists, unknown, 8 * DAY), Err(ChainFault::Revoked));
    }
}

#[test]
fn each_authority_speaks_for_its_own_certificates_only() {
    let (pki, other) = (Pki::new(1), Pki::new(2));
    assert_eq!(pki.leaf.serial(), other.leaf.serial());
    // Of another operator, with the same names and serial numbers; and of the root instead of the authority.
    let foreign = other.authority.list(9, &[revoked(&pki.leaf, 3 * DAY)]);
    let lists = [pki.root.list(1, &[revoked(&pki.leaf, 3 * DAY)]), foreign];
    assert_eq!(verdict(&pki, &lists, Accept, 5 * DAY), Ok(()));
    assert_eq!(
        verdict(&pki, &lists, Refuse, 5 * DAY),
        Err(ChainFault::RevocationUnknown)
    );
    let [root, foreign] = lists;
    let lists = [root, foreign, pki.authority.list(1, &[])];
    assert_eq!(verdict(&pki, &lists, Refuse, 5 * DAY), Ok(()));
}

#[test]
fn a_missing_list_leaves_the_status_unknown() {
    let pki = Pki::new(1);
    let (root, authority) = (pki.root.list(1, &[]), pki.authority.list(1, &[]));
    for lists in [&[][..], &[root], &[authority]] {
        assert_eq!(
            verdict(&pki, lists, Refuse, 5 * DAY),
            Err(ChainFault::RevocationUnknown)
        );
        assert_eq!(verdict(&pki, lists, Accept, 5 * DAY), Ok(()));
    }
}

#[test]
fn after_its_time_a_list_tells_nothing_good() {
    let pki = Pki::new(1);
    let lists = [pki.root.list(1, &[]), pki.authority.list(1, &[])];
    assert_eq!(verdict(&pki, &lists, Refuse, 20 * DAY - 1), Ok(()));
    let expired = Err(ChainFault::RevocationListExpired);
    assert_eq!(verdict(&pki, &lists, Refuse, 20 * DAY), expired);
    assert_eq!(verdict(&pki, &lists, Accept, 20 * DAY), Ok(()));
    // Before its time too it tells all that is known of those times.
    assert_eq!(verdict(&pki, &lists, Refuse, DAY), Ok(()));
}

#[test]
fn of_several_lists_the_highest_number_counts() {
    let pki = Pki::new(1);
    let root = pki.root.list(1, &[]);
    let older = pki.authority.list(0x1ff, &[revoked(&pki.leaf, 3 * DAY)]);
    let newer = pki.authority.list(0x200, &[]);
    assert!(newer.supersedes(&older) && !older.supersedes(&newer) && !newer.supersedes(&newer));
    assert!(!newer.supersedes(&root) && !newer.supersedes(&Pki::new(2).authority.list(1, &[])));
    for lists in [
        [root.clone(), older.clone(), newer.clone()],
        [newer, older.clone(), root.clone()],
    ] {
        assert_eq!(verdict(&pki, &lists, Refuse, 5 * DAY), Ok(()));
    }
    assert_eq!(
        verdict(&pki, &[root, older], Refuse, 5 * DAY),
        Err(ChainFault::Revoked)
    );
}

#[test]
fn a_list_that_was_issued_earlier_supersedes_none() {
    let pki = Pki::new(1);
    let list = |number, day| {
        let profile = ListProfile {
            number,
            this_update: day * DAY,
            next_update: 20 * DAY,
            revoked: &[],
        };
        let list = issue::revocation_list(&profile, &pki.root.certificate, &pki.root.key);
        RevocationList::parse(&list.unwrap()).unwrap()
    };
    assert!(list(2, 5).supersedes(&list(1, 5)));
    assert!(!list(2, 4).supersedes(&list(1, 5)));
}

/// The authority's list with something else in it, and its own signature over that.
fn altered(pki: &Pki, key: &SigningKey, alter: impl FnOnce(&mut CertificateList)) -> Vec<u8> {
    let list = pki.authority.list(7, &[revoked(&pki.leaf, 3 * DAY)]);
    let mut list = CertificateList::from_der(list.der()).unwrap();
    alter(&mut list);
    let signature = key.sign(&list.tbs_cert_list.to_der().unwrap()).unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
    list.signature = BitString::from_bytes(signature.to_der().as_bytes()).unwrap();
    list.to_der().unwrap()
}

#[test]
fn a_list_that_is_not_signed_by_its_authority_refuses_the_chain() {
    let (pki, other) = (Pki::new(1), Pki::new(2));
    let forged = altered(&pki, &other.authority.key, |_| ());
    let forged = RevocationList::parse(&forged).unwrap();
    let invalid = CryptoError::ChainRefused(ChainFault::RevocationListInvalid);
    assert_eq!(forged.verify(&pki.authority.certificate), Err(invalid));
    let genuine = pki.authority.list(8, &[]);
    for _ in 0..2 {
        assert!(genuine.is_signed_with(pki.authority.key.public_key()));
        assert!(!genuine.is_signed_with(other.authority.key.public_key()));
    }
    for unknown in BOTH {
        for lists in [vec![forged.clone()], vec![genuine.clone(), forged.clone()]] {
            let lists = [vec![pki.root.list(1, &[])], lists].concat();
            let verdict = verdict(&pki, &lists, unknown, 5 * DAY);
            assert_eq!(verdict, Err(ChainFault::RevocationListInvalid));
        }
    }
}

#[test]
fn an_authority_without_crl_sign_signs_no_lists() {
    let pki = Pki::new(1);
    let [leaf, authority, root] = pki.odd(Which::Authority, |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]
    });
    let list = pki.authority.list(1, &[]);
    let anchor = Anchor::from_der(&root).unwrap();
    let chain = [leaf, authority.clone()];
    assert!(anchor.verify(&chain, ROLE, 5 * DAY).is_ok());
    let invalid = CryptoError::ChainRefused(ChainFault::RevocationListInvalid);
    assert_eq!(anchor.verify_list(&list, &chain, ROLE, 5 * DAY), Err(invalid));
    let lists = vec![pki.root.list(1, &[]), list];
    for unknown in BOTH {
        let anchor = anchor.clone().with_revocation(lists.clone(), unknown);
        assert_eq!(anchor.verify(&chain, ROLE, 5 * DAY).unwrap_err(), invalid);
    }
    let authority = Certificate::parse(&authority).unwrap();
    let profile = ListProfile {
        number: 1,
        this_update: DAY,
        next_update: 2 * DAY,
        revoked: &[],
    };
    let issued = issue::revocation_list(&profile, &authority, &pki.authority.key);
    assert_eq!(issued.unwrap_err(), invalid);
}

#[test]
fn a_received_list_is_held_against_the_authorities_of_the_chain() {
    let (pki, other) = (Pki::new(1), Pki::new(2));
    let (anchor, chain) = (pki.anchor(), pki.chain());
    let invalid = Err(CryptoError::ChainRefused(ChainFault::RevocationListInvalid));
    for list in [pki.root.list(1, &[]), pki.authority.list(1, &[])] {
        assert_eq!(anchor.verify_list(&list, &chain, ROLE, 5 * DAY), Ok(()));
        assert!(anchor.verify_list(&list, &chain, Role::Device, 5 * DAY).is_err());
        assert!(anchor.verify_list(&list, &[], ROLE, 5 * DAY).is_err());
    }
    // An authority in the chain that is none of the path's.
    let longer = [chain, vec![other.authority.certificate.der().to_vec()]].concat();
    for list in [other.root.list(1, &[]), other.authority.list(1, &[])] {
        assert_eq!(anchor.verify_list(&list, &longer, ROLE, 5 * DAY), invalid);
    }
}

#[test]
fn what_would_not_be_accepted_is_not_issued() {
    let (pki, other) = (Pki::new(1), Pki::new(2));
    let issue = |authority: &Authority, key: &SigningKey, next: u64, entries: &[Revoked<'_>]| {
        let profile = ListProfile {
            number: 1,
            this_update: 5 * DAY,
            next_update: next,
            revoked: entries,
        };
        issue::revocation_list(&profile, &authority.certificate, key)
    };
    let once = revoked(&pki.leaf, DAY);
    let negative = Revoked {
        serial: &[0x80],
        ..once.clone()
    };
    let far = Revoked {
        at: u64::MAX,
        ..once.clone()
    };
    let cases = [
        issue(&pki.root, &other.root.key, 6 * DAY, &[]),
        issue(&pki.root, &pki.root.key, 5 * DAY, &[]),
        issue(&pki.root, &pki.root.key, u64::MAX, &[]),
        issue(&pki.root, &pki.root.key, 6 * DAY, &[once.clone(), once.clone()]),
        issue(&pki.root, &pki.root.key, 6 * DAY, &[negative]),
        issue(&pki.root, &pki.root.key, 6 * DAY, &[far]),
    ];
    assert!(cases.iter().all(Result::is_err), "{cases:?}");
    assert!(issue(&pki.root, &pki.root.key, 6 * DAY, &[once]).is_ok());
    let leaf = Authority {
        certificate: pki.leaf.clone(),
        key: SigningKey::generate(&mut rand()),
    };
    assert!(issue(&leaf, &leaf.key, 6 * DAY, &[]).is_err());
}

fn rand() -> rand_chacha::ChaCha20Rng {
    use rand_chacha::rand_core::SeedableRng;
    rand_chacha::ChaCha20Rng::from_seed([3; 32])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A certificate is refused exactly if the list of the highest number names it and its time has come.
    #[test]
    fn verdicts_follow_the_newest_list(
        lists in proptest::collection::vec((0..4_u64, proptest::collection::btree_map(1..6_u8, (0..30_u64, proptest::option::of(0..30_u64)), 0..4)), 0..4),
        at in 1..30_u64,
    ) {
        let pki = Pki::new(1);
        let mut newest: BTreeMap<_, _> = BTreeMap::new();
        let mut given = vec![pki.root.list(1, &[])];
        for (number, entries) in &lists {
            if newest.contains_key(number) {
                continue;
            }
            let serials: Vec<_> = entries.iter().map(|(serial, dates)| (if *serial == 3 { pki.leaf.serial().to_vec() } else { vec![*serial] }, dates)).collect();
            let entries: Vec<_> = serials.iter().map(|(serial, (day, since))| Revoked {
                serial,
                at: day * DAY,
                invalid_since: since.map(|day| day * DAY),
                reason: None,
            }).collect();
            given.push(pki.authority.list(*number, &entries));
            newest.insert(number, entries.iter().find(|entry| entry.serial == pki.leaf.serial()).map(|entry| entry.invalid_since.unwrap_or(u64::MAX).min(entry.at)));
        }
        given.reverse();
        let spoken = newest.last_key_value().map(|(_, since)| *since);
        let revoked = spoken.flatten().is_some_and(|since| since <= at * DAY);
        let expected = |unknown| match (revoked, unknown) {
            (true, _) => Err(ChainFault::Revoked),
            (false, Accept) => Ok(()),
            // The root's list is as old as the authority's, and looked at after it.
            (false, Refuse) if spoken.is_none() => Err(ChainFault::RevocationUnknown),
            (false, Refuse) if at >= 20 => Err(ChainFault::RevocationListExpired),
            (false, Refuse) => Ok(()),
        };
        for unknown in BOTH {
            prop_assert_eq!(verdict(&pki, &given, unknown, at * DAY), expected(unknown));
        }
    }

}

#[test]
fn what_names_a_chain_is_told_whatever_else_is_wrong_with_it() {
    let pki = Pki::new(1);
    let told = |lists: &[RevocationList]| {
        let anchor = pki.anchor().with_revocation(lists.to_vec(), Refuse);
        anchor.revoked_since(&pki.chain())
    };
    assert_eq!(pki.anchor().revoked_since(&pki.chain()), Ok(None));
    assert_eq!(told(&[]), Ok(None));
    let leaf = pki.authority.list(1, &[revoked(&pki.leaf, 8 * DAY)]);
    let authority = pki
        .root
        .list(1, &[revoked(&pki.authority.certificate, 300 * DAY)]);
    assert_eq!(told(core::slice::from_ref(&leaf)), Ok(Some(8 * DAY)));
    assert_eq!(told(core::slice::from_ref(&authority)), Ok(Some(300 * DAY)));
    assert_eq!(told(&[authority, leaf]), Ok(Some(8 * DAY)));
    // Serial numbers of another authority.
    assert_eq!(
        told(&[pki.root.list(1, &[revoked(&pki.leaf, 8 * DAY)])]),
        Ok(None)
    );
    let claimed = Pki::new(2).root.list(1, &[]);
    assert_eq!(told(&[claimed]), Ok(None));
}
