//! Exchange keys as a license describes them, for people and programs.

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{
    ids::Kid,
    license::{KeyDescription, LicenseBody},
};
use serde_json::{Value, json};

/// One exchange key of a license, with all its versions.
pub(crate) struct Described {
    pub(crate) kid: Kid,
    algorithm: Algorithm,
    operation: Operation,
    /// Newest first.
    versions: Vec<u64>,
    /// how many uses were taken, of how many.
    uses: Option<(u64, u64)>,
}

impl Described {
    /// Every exchange key of a license; `taken` says how many uses of each were.
    pub(crate) fn all(license: &LicenseBody, taken: &[(Kid, u64)]) -> Vec<Self> {
        let groups = license.keys.chunk_by(|one, next| one.kid == next.kid);
        groups.filter_map(|versions| Self::of(versions, taken)).collect()
    }

    fn of(versions: &[KeyDescription], taken: &[(Kid, u64)]) -> Option<Self> {
        let newest = versions.first()?;
        let (algorithm, operation) = newest.permits()?;
        let of_key = taken.iter().find(|(kid, _)| *kid == newest.kid);
        let taken = of_key.map_or(0, |(_, taken)| *taken);
        Some(Self {
            kid: newest.kid,
            algorithm,
            operation,
            versions: versions.iter().filter_map(|key| key.version).collect(),
            uses: newest.uses.map(|limit| (taken, limit)),
        })
    }

    /// whether another use of the key is refused, whatever the other rules say.
    pub(crate) fn is_used_up(&self) -> bool {
        self.uses.is_some_and(|(taken, limit)| taken >= limit)
    }

    /// What it permits, with which versions, how often.
    pub(crate) fn words(&self) -> String {
        let versions: Vec<_> = self.versions.iter().map(ToString::to_string).collect();
        let plural = if versions.len() == 1 { "" } else { "s" };
        let uses = self.uses.map_or_else(String::new, |(taken, limit)| {
            format!(", {taken} of {limit} uses taken (R-052)")
        });
        format!(
            "to {} with {}, version{plural} {}{uses}",
            self.operation,
            self.algorithm,
            versions.join(", ")
        )
    }

    /// The same for programs.
    pub(crate) fn fields(&self) -> Value {
        json!({
            "kid": self.kid.to_string(),
            "algorithm": self.algorithm.name(),
            "operation": self.operation.name(),
            "versions": self.versions,
            "uses_taken": self.uses.map(|(taken, _)| taken),
            "uses": self.uses.map(|(_, limit)| limit),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_described_once_with_its_versions() {
        let kid = Kid::new([7; 16]);
        let key = |version| KeyDescription {
            uses: Some(100),
            ..KeyDescription::exchange(kid, Algorithm::A256Gcm, Operation::Decrypt, version)
        };
        let said = |versions: &[KeyDescription], taken: &[(Kid, u64)]| {
            Described::of(versions, taken).map(|described| described.words())
        };
        assert_eq!(
            said(&[key(2), key(1)], &[(Kid::new([8; 16]), 3), (kid, 5)]).as_deref(),
            Some("to decrypt with A256GCM, versions 2, 1, 5 of 100 uses taken (R-052)")
        );
        let unlimited = KeyDescription { uses: None, ..key(3) };
        assert_eq!(
            said(&[unlimited], &[]).as_deref(),
            Some("to decrypt with A256GCM, version 3")
        );
        let content = KeyDescription::content(kid, keyward_license::license::KeyType::File);
        assert_eq!(said(&[content], &[]), None);
    }
}
