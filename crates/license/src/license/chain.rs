//! Chains of two licenses: a leaf, which holds a content key, under a root, which holds the limits in time.
//!
//! ```text
//!  root license   sealed to the device            end, first play, level, outputs, …
//!    └ root key ─► opens
//!  leaf license   bound to the root's key id      level, outputs, …, never a term of time
//!    └ content key ─► opens content
//! ```

use super::{Binding, LicenseBody, LicenseKind};
use crate::{codec::DecodeError, ids::Kid};

/// Why two licenses are no chain (V-037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafFault {
    /// V-037: the lower license is none that is opened by another.
    #[error("the license is not a leaf license")]
    NotALeaf,
    /// V-037: the upper license opens no others.
    #[error("the license that it would stand under is not a root license")]
    NotARoot,
    /// V-037: the leaf is bound to another root.
    #[error("the leaf license is bound to root {bound_to}, not to {root}")]
    OtherRoot {
        /// Key id of the root license that was offered.
        root: Kid,
        /// Key id of the root that the leaf names.
        bound_to: Kid,
    },
    /// V-037: the leaf demands a higher security level than the root.
    #[error("the leaf license demands security level {leaf}, the root license only {root}")]
    LowerLevel {
        /// Minimum security level of the root license, 0 where it has none.
        root: u64,
        /// Minimum security level of the leaf license.
        leaf: u64,
    },
}

/// A root license and a leaf under it that fit together (V-037).
///
/// That both are of one operator is for the owner of the chain to see to: verified with one anchor, they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'a> {
    root: &'a LicenseBody,
    leaf: &'a LicenseBody,
}

impl<'a> Chain<'a> {
    /// V-037: whether `leaf` may be opened under `root`.
    ///
    /// # Errors
    /// [`LeafFault`], the first that is found.
    pub fn new(root: &'a LicenseBody, leaf: &'a LicenseBody) -> Result<Self, LeafFault> {
        let bound_to = leaf.leaf_of().ok_or(LeafFault::NotALeaf)?;
        let (LicenseKind::Root, Ok(kid)) = (root.kind, root.asked_kid()) else {
            return Err(LeafFault::NotARoot);
        };
        if kid != bound_to {
            return Err(LeafFault::OtherRoot { root: kid, bound_to });
        }
        let [root_level, leaf_level] =
            [root, leaf].map(|license| license.minimum_security_level.unwrap_or_default());
        match root_level >= leaf_level {
            true => Ok(Self { root, leaf }),
            false => Err(LeafFault::LowerLevel {
                root: root_level,
                leaf: leaf_level,
            }),
        }
    }

    /// What [`evaluate`](crate::usage_rules::evaluate) is asked about: the root, then the leaf.
    #[must_use]
    pub const fn licenses(&self) -> [&'a LicenseBody; 2] {
        [self.root, self.leaf]
    }
}

/// V-036: a leaf holds no term of time and another key than its root; only what may be stored and opens
/// content may be embedded.
///
/// # Errors
/// [`DecodeError::Invalid`].
pub(super) fn check(body: &LicenseBody) -> Result<(), DecodeError> {
    let leaf = body.kind == LicenseKind::Leaf;
    let checks = [
        (
            !leaf || !has_term_of_time(body),
            "a leaf license holds a term of time, which is its root's to hold",
        ),
        (
            !leaf || body.keys.iter().all(|key| body.binding != Binding::root(key.kid)),
            "a leaf license has the key id of its root",
        ),
        (
            body.embed.is_none()
                || body.persistent && matches!(body.kind, LicenseKind::Simple | LicenseKind::Leaf),
            "a license is to be embedded that is not one to store, or opens no content",
        ),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, fault)) => Err(DecodeError::Invalid(fault)),
        None => Ok(()),
    }
}

const fn has_term_of_time(body: &LicenseBody) -> bool {
    body.begin.is_some()
        || body.end.is_some()
        || body.expiration_after_first_play.is_some()
        || body.real_time_expiration.is_some()
        || body.removal_date.is_some()
        || body.grace_period.is_some()
}

#[cfg(test)]
mod tests;
