//! Roots: their keys open, something is under each, and nothing that has no leaf there.

use super::Finding;
use crate::{sealing::KeyEncryptionKey, store::sqlite::examination::ExaminedRoot, vault};

/// Judges every root; nothing is said where there is none.
pub(super) fn judge(roots: &[ExaminedRoot], kek: &KeyEncryptionKey) -> Vec<Finding> {
    let mut findings: Vec<_> = roots.iter().flat_map(judge_holdings).collect();
    let closed: Vec<_> = roots
        .iter()
        .filter(|root| !vault::root_opens(kek, &root.row.kid, &root.row.sealed))
        .map(|root| root.row.kid.to_string())
        .collect();
    if !closed.is_empty() {
        findings.push(Finding::error(
            ABOUT,
            format!("keys of roots do not open: {}", closed.join(", ")),
            "restore the newest backup: `keyward admin restore`; nothing is issued under them otherwise",
        ));
    } else if !roots.is_empty() {
        let said = format!("the keys of all roots open ({})", roots.len());
        findings.push(Finding::good(ABOUT, said));
    }
    findings
}

fn judge_holdings(root: &ExaminedRoot) -> Vec<Finding> {
    let (kid, name) = (root.row.kid, &root.row.name);
    let mut findings = Vec::new();
    if root.held == 0 {
        findings.push(Finding::warning(
            ABOUT,
            format!("nothing is under root `{name}` ({kid}): whoever has it can play nothing"),
            "put content under it",
        ));
    }
    if root.above > 0 {
        let (above, what) = match root.above {
            1 => ("1".to_owned(), "key is"),
            many => (many.to_string(), "keys are"),
        };
        findings.push(Finding::warning(
            ABOUT,
            format!(
                "{above} {what} under root `{name}` ({kid}) and for a higher security level than it: they have no leaf"
            ),
            "put the content under a root of that security level",
        ));
    }
    findings
}

const ABOUT: &str = "roots";

#[cfg(test)]
mod tests {
    use keyward_crypto::Secret;
    use keyward_license::{ids::Kid, time::Timestamp};

    use super::*;
    use crate::{doctor::Standing, store::roots::RootRow};

    #[test]
    fn a_root_is_judged_by_its_key_and_by_what_is_under_it() {
        let kek = KeyEncryptionKey::new(Secret::new([1; 32]));
        let root = |held, above| ExaminedRoot {
            row: RootRow {
                kid: Kid::new([1; 16]),
                name: "sport".into(),
                sealed: vec![0; 60],
                minimum_security_level: None,
                accompany: false,
                created: Timestamp(0),
            },
            held,
            above,
        };
        let told = |roots: &[ExaminedRoot]| -> Vec<_> {
            let findings = judge(roots, &kek).into_iter();
            findings.map(|finding| finding.standing).collect()
        };
        assert!(told(&[]).is_empty());
        let (error, warning) = (Standing::Error, Standing::Warning);
        assert_eq!(told(&[root(1, 0)]), [error]);
        assert_eq!(told(&[root(0, 0)]), [warning, error]);
        assert_eq!(told(&[root(2, 1)]), [warning, error]);
    }
}
