//! Which license of a test request is for which key id of the request, and under which terms.

use std::collections::BTreeMap;

use keyward_license::{error_code::ErrorCode, ids::Kid, time::Timestamp};

use super::{Fault, TestKey, TestKeyType, TestLicense, TestPlace};
use crate::policy::PolicyTerms;

/// How long a root license lasts that says nothing of time, in seconds.
const CHAIN_LASTS: u64 = 300;
const A_YEAR: i64 = 365 * 86_400;

/// The license for a key id.
pub(super) struct Planned<'a> {
    pub(super) license: &'a TestLicense,
    pub(super) terms: PolicyTerms,
    /// Of a leaf: the root's key id and terms.
    pub(super) root: Option<(Kid, PolicyTerms)>,
}

/// Finds the license for each key id that has one.
///
/// # Errors
/// [`Fault::Refused`], [`Fault::Terms`].
pub(super) fn plan<'a>(
    licenses: &'a [TestLicense],
    asked: &[Kid],
    takes_more: bool,
    now: Timestamp,
) -> Result<BTreeMap<Kid, Planned<'a>>, Fault> {
    let licenses = by_kid(licenses, asked)?;
    let roots: Vec<Kid> = licenses.values().filter_map(|license| license.root()).collect();
    let mut planned = BTreeMap::new();
    for (kid, license) in &licenses {
        let goes_along = license.place == TestPlace::Root && roots.contains(kid);
        if !asked.contains(kid) && !goes_along {
            return Err(refused("kid", "the request does not ask for it"));
        }
        let root = match license.root() {
            None => None,
            Some(root) => {
                let of_root = licenses.get(&root).copied();
                let of_root = of_root.filter(|license| license.place == TestPlace::Root);
                let of_root =
                    of_root.ok_or(refused("rootid", "no group with `isroot:true` has this key id"))?;
                license.check_under(of_root)?;
                if !takes_more && !asked.contains(&root) {
                    let why = "the client takes no license that goes along, and does not ask for the root's";
                    return Err(refused("rootid", why));
                }
                Some((root, of_root.terms_at(now)?))
            }
        };
        let terms = license.terms_at(now)?;
        planned.insert(*kid, Planned { license, terms, root });
    }
    Ok(planned)
}

fn by_kid<'a>(licenses: &'a [TestLicense], asked: &[Kid]) -> Result<BTreeMap<Kid, &'a TestLicense>, Fault> {
    let mut found = BTreeMap::new();
    for license in licenses {
        let kid = match (license.kid, asked) {
            (Some(kid), _) => kid,
            (None, [only]) => *only,
            (None, _) => return Err(refused("kid", "`header` needs a request for exactly one key id")),
        };
        if found.insert(kid, license).is_some() {
            return Err(refused("kid", "an answer has one license for a key id"));
        }
    }
    Ok(found)
}

impl TestLicense {
    fn root(&self) -> Option<Kid> {
        match self.place {
            TestPlace::Leaf(root) => Some(root),
            TestPlace::Simple | TestPlace::Root => None,
        }
    }

    /// V-036, V-037: whether this leaf may be under the root.
    fn check_under(&self, root: &Self) -> Result<(), Fault> {
        let of_root = "a leaf has no limit in time, which is its root's to have";
        let PolicyTerms {
            end,
            expiration_after_first_play_seconds: first,
            real_time_expiration,
            minimum_security_level: level,
            persistent_allowed: persist,
            ..
        } = &self.terms;
        let checks = [
            (self.begin.is_none(), "begindate", of_root),
            (end.is_none(), "enddate", of_root),
            (first.is_none(), "firstexp", of_root),
            (!real_time_expiration, "realtime", of_root),
            (self.removal.is_none(), "removaldate", of_root),
            (
                *level <= root.terms.minimum_security_level,
                "sl",
                "a leaf demands no higher level than its root",
            ),
            (
                *persist == root.terms.persistent_allowed,
                "persist",
                "a leaf and its root are both stored, or neither is",
            ),
            (
                !matches!(self.key_type, Some(TestKeyType::Exchange(..))),
                "ckt",
                "a leaf holds no key for key exchange",
            ),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, name, why)) => Err(refused(name, why)),
            None => Ok(()),
        }
    }

    /// The terms, of a license that is issued at `now`.
    fn terms_at(&self, now: Timestamp) -> Result<PolicyTerms, Fault> {
        let mut terms = self.terms.clone();
        if self.place == TestPlace::Root {
            if !matches!(self.key, TestKey::Registered) || self.key_type.is_some() {
                return Err(refused(
                    "isroot",
                    "the key of a root is the operator's, and opens licenses alone",
                ));
            }
            if terms.end.is_none() && terms.expiration_after_first_play_seconds.is_none() {
                terms.end = Some(now.plus(CHAIN_LASTS));
            }
        }
        let begin = self.begin.and_then(|begin| begin.0.checked_signed_diff(now.0));
        // One that is long past has no effect, and is what was asked for.
        terms.begin_offset_seconds = begin.map(|offset| offset.max(-A_YEAR));
        if let Some(removal) = self.removal {
            let after = terms.end.and_then(|end| removal.0.checked_sub(end.0));
            let after = after.ok_or(refused(
                "removaldate",
                "it needs an `enddate` that does not come after it",
            ))?;
            terms.removal_after_end_seconds = Some(after);
        }
        terms.check(now).map_err(Fault::Terms)?;
        Ok(PolicyTerms {
            begin_offset_seconds: begin,
            ..terms
        })
    }
}

const fn refused(name: &'static str, why: &'static str) -> Fault {
    Fault::Refused {
        name,
        why,
        code: ErrorCode::ServiceSpecific,
    }
}
