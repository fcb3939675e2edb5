//! The database: whole, of this version, not ahead of the clock; what is sealed in it opens.

use keyward_license::time::Timestamp;

use super::{Finding, of_error};
use crate::{
    config::{Config, NewKeys},
    operator,
    sealing::KeyEncryptionKey,
    store::sqlite::examination::{Examination, Rows, Schema},
    vault,
};

/// Judges whether it is whole and of this version.
pub(super) fn judge(examined: &Examination) -> Vec<Finding> {
    let whole = match &examined.faults[..] {
        [] => Finding::good("database", "keyward.db is whole"),
        [first, rest @ ..] => Finding::error(
            "database",
            format!("keyward.db is damaged: {first}, and {} faults more", rest.len()),
            "stop the server, keep a copy, and restore the newest backup: `keyward admin restore`",
        ),
    };
    let schema = match examined.schema {
        Schema::Current => Finding::good("schema", "it is this version's"),
        Schema::Earlier => Finding::warning(
            "schema",
            "it is an earlier version's; the rest of the database was not examined",
            "make a backup; any other command of this version brings the schema up to date",
        ),
        Schema::Foreign => Finding::error(
            "schema",
            "it is a later version's, or was changed by hand",
            "use the version of keyward that wrote it, or restore a backup",
        ),
    };
    vec![whole, schema]
}

/// Judges the clock by the newest time that stands in the database.
pub(super) fn judge_clock(newest: Option<Timestamp>, now: Timestamp) -> Finding {
    let ahead = newest.map_or(0, |newest| newest.0.saturating_sub(now.0));
    if ahead > TOLERANCE {
        Finding::error(
            "clock",
            format!("the database was written {ahead} seconds after what this machine's clock says now"),
            "set the clock; licenses that were issued with a wrong one begin and end at wrong times",
        )
    } else {
        Finding::good("clock", "it is not behind what stands in the database")
    }
}

/// Judges whether secrets and seeds open under the key-encryption key.
pub(super) fn judge_secrets(rows: &Rows, kek: &KeyEncryptionKey) -> Vec<Finding> {
    if let Err(error) = operator::check_secrets(kek, &rows.secrets) {
        return vec![of_error("key", &error)];
    }
    let sealed: Vec<_> = rows
        .seeds
        .iter()
        .filter(|(number, sealed)| !vault::seed_opens(kek, *number, sealed))
        .map(|(number, _)| number.to_string())
        .collect();
    let seeds = if sealed.is_empty() {
        Finding::good(
            "seeds",
            format!("all license key seeds open ({})", rows.seeds.len()),
        )
    } else {
        Finding::error(
            "seeds",
            format!("license key seeds do not open: {}", sealed.join(", ")),
            "restore the newest backup: `keyward admin restore`; no key that derives from them can be made",
        )
    };
    let key = Finding::good("key", "the key-encryption key opens every secret of the server");
    vec![key, seeds]
}

/// Judges what the configuration asks of the database.
pub(super) fn judge_services(config: &Config, rows: &Rows) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let NewKeys::Seed(number) = config.packaging.new_keys
        && rows.seeds.iter().all(|(seed, _)| *seed != number)
    {
        findings.push(Finding::error(
            "seeds",
            format!(
                "packaging.seed is {number}, and there is no such license key seed: the server will not start"
            ),
            "name a seed that is there in operator.toml, or set packaging.vault_keys",
        ));
    }
    if config.services.required && rows.service_tokens == 0 {
        findings.push(Finding::error(
            "services",
            "services.required is set, and no service has a token: every device is refused",
            "make one: `keyward admin service-token add`, or unset services.required",
        ));
    }
    if rows.admin_tokens == 0 {
        findings.push(Finding::warning(
            "tokens",
            "no admin token is in use: nobody can use the administration interface",
            "make one: `keyward admin admin-token add`",
        ));
    }
    findings
}

/// How far a clock may step back when network time sets it, in seconds.
const TOLERANCE: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Standing;

    #[test]
    fn a_clock_behind_the_database_is_wrong() {
        for (newest, standing) in [
            (None, Standing::Good),
            (Some(Timestamp(0)), Standing::Good),
            (Some(Timestamp(1_000 + TOLERANCE)), Standing::Good),
            (Some(Timestamp(1_001 + TOLERANCE)), Standing::Error),
        ] {
            assert_eq!(
                judge_clock(newest, Timestamp(1_000)).standing,
                standing,
                "{newest:?}"
            );
        }
    }

    #[test]
    fn faults_and_schemas_are_told_apart() {
        let judged = |faults: &[&str], schema| {
            let faults = faults.iter().map(|fault| (*fault).to_owned()).collect();
            let rows = None;
            let found = judge(&Examination { faults, schema, rows });
            found.iter().map(|finding| finding.standing).collect::<Vec<_>>()
        };
        let (good, warning, error) = (Standing::Good, Standing::Warning, Standing::Error);
        assert_eq!(judged(&[], Schema::Current), [good, good]);
        assert_eq!(judged(&["a", "b"], Schema::Current), [error, good]);
        assert_eq!(judged(&[], Schema::Earlier), [good, warning]);
        assert_eq!(judged(&[], Schema::Foreign), [good, error]);
    }
}
