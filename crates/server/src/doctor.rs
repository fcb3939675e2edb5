//! What is wrong with an operator, and what will go wrong: read from its directory, changing nothing.
//!
//! ```text
//!  authorization the keys and secrets of those who decide about licenses
//!  files         the directory's files and who may read them; free space
//!  database      whole? of this version? its time not ahead of the clock?      secrets, seeds: do they open?
//!  exchange      exchange keys: do they open? is one near the end of what it bears?
//!  roots         do their keys open? is something under each, and nothing that cannot be?
//!  certificates  who is certified until when, and by whom
//!  revocation    are the lists current that say who is not trusted any more?
//!  urls          configuration and operator profile say the same
//!  listeners     the addresses: free, or this operator's server answers there
//! ```
//! Each finding says what and why in one line, and what to do in another. The server may run meanwhile.

mod certificates;
mod database;
mod exchange;
mod files;
mod listeners;
mod revocation;
mod roots;
mod urls;

use std::{io::ErrorKind, path::Path};

use keyward_crypto::x509::Anchor;
pub use keyward_license::finding::{Finding, Standing};
use keyward_license::time::Timestamp;

use crate::{
    Error,
    config::{Authorization, Config},
    handler::sources,
    operator,
    sealing::KekSource,
    store::sqlite::examination::{Examination, Rows},
};

/// Examines the operator in `dir` at `now`.
pub async fn examine(dir: &Path, kek: KekSource, now: Timestamp) -> Vec<Finding> {
    let config = match operator::read_config(dir) {
        // Nothing else is there to be examined.
        Err(error @ Error::NoOperator(_)) => return vec![of_error("configuration", &error)],
        read => read,
    };
    let mut findings = vec![match &config {
        Ok(_) => Finding::good("configuration", "operator.toml is valid and has no unknown key"),
        Err(error) => of_error("configuration", error),
    }];
    if let Ok(config) = &config {
        findings.extend(judge_authorization(dir, config));
    }
    findings.extend(files::judge(dir));
    findings.push(files::judge_space(files::free_space(dir)));
    let keks = operator::kek::candidates(kek, dir);
    if let Err(error) = &keks {
        findings.push(of_no_key(error));
    }
    let examined = Examination::of(&operator::database_path(dir)).await;
    match &examined {
        Ok(examined) => findings.extend(database::judge(examined)),
        Err(error) => findings.push(of_error("database", error)),
    }
    if let Some(rows) = examined.ok().and_then(|examined| examined.rows) {
        findings.push(database::judge_clock(rows.newest, now));
        let keks = keks.as_deref().unwrap_or_default();
        let opens = keks.iter().find(|kek| operator::kek::opens(kek, &rows.secrets));
        if let Some(kek) = opens.or_else(|| keks.first()) {
            findings.extend(database::judge_secrets(&rows, kek));
            findings.extend(exchange::judge(&rows.exchange_keys, kek));
            findings.extend(roots::judge(&rows.roots, kek));
        }
        let overlap = config.as_ref().map_or(0, |config| config.certificates.overlap);
        findings.extend(certificates::judge(&rows, overlap, now));
        if let Ok(config) = &config {
            let refuses = config.revocation.refuse_expired;
            findings.extend(revocation::judge(&rows, refuses, now));
            findings.extend(judge_serving(dir, config, &rows).await);
        }
    }
    findings
}

/// Whether who decides about licenses besides the rows has what it needs. Nobody is asked.
fn judge_authorization(dir: &Path, config: &Config) -> Option<Finding> {
    let settings = &config.authorization;
    (*settings != Authorization::default()).then(|| match sources::load(settings, dir) {
        Ok(_) => Finding::good(
            "authorization",
            "the keys and secrets of those who decide are there",
        ),
        Err(error) => of_error("authorization", &error),
    })
}

/// What the configuration and the database say together.
async fn judge_serving(dir: &Path, config: &Config, rows: &Rows) -> Vec<Finding> {
    let mut findings = database::judge_services(config, rows);
    let Some(root) = &rows.root else {
        return findings;
    };
    findings.push(match operator::read_profile(dir) {
        Ok(profile) => urls::judge(config, &profile, root),
        Err(error) => of_error("profile", &error),
    });
    if let Ok(anchor) = Anchor::from_der(root) {
        findings.extend(judge_mark(&anchor));
        findings.extend(listeners::judge(config, &anchor).await);
    }
    findings
}

/// A test operator is one for good: whoever looks after it should know.
fn judge_mark(anchor: &Anchor) -> Option<Finding> {
    anchor.is_test().then(|| {
        Finding::warning(
            "operator",
            "this is a test operator: it issues licenses to anybody, and its license key seed is published",
            "protect nothing with it; make an operator for a service with `keyward init`",
        )
    })
}

/// Why there is no key-encryption key to try.
fn of_no_key(error: &Error) -> Finding {
    match error {
        Error::File { path, source, .. } if source.kind() == ErrorKind::NotFound => Finding::error(
            "key",
            format!(
                "there is no key-encryption key in {}: the operator does not open",
                path.display()
            ),
            "put it there, or supply it with KEYWARD_KEK or `--kek-file`",
        ),
        error => of_error("key", error),
    }
}

fn of_error(about: &'static str, error: &Error) -> Finding {
    Finding::error(about, error.to_string(), error.hint())
}
