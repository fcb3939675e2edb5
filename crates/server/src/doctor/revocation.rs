//! Revocation lists: whether they still tell who is trusted.

use keyward_crypto::x509::{Certificate, revocation::RevocationList};
use keyward_license::{finding::days, time::Timestamp};

use super::Finding;
use crate::{
    revocation::tried,
    store::{
        Purpose,
        sqlite::examination::{ExaminedList, Rows},
    },
};

/// Judges the newest list of each authority, the operator's own, and the root's if one was imported. `refuses`: devices
/// are refused of whom no current list tells.
pub(super) fn judge(rows: &Rows, refuses: bool, now: Timestamp) -> Vec<Finding> {
    let mut findings: Vec<_> = rows
        .lists
        .iter()
        .filter_map(|list| Some((name(rows, &list.authority)?, list)))
        .map(|(name, list)| judge_times(name, list, refuses, now))
        .collect();
    findings.extend(judge_making(rows, now));
    for der in &rows.imported_lists {
        findings.push(match RevocationList::parse(der) {
            Ok(list) => {
                let list = ExaminedList {
                    authority: Vec::new(),
                    issued: Timestamp(list.this_update()),
                    next_update: Timestamp(list.next_update()),
                };
                judge_times(ROOT, &list, refuses, now)
            }
            Err(error) => Finding::error(
                ABOUT,
                format!("the root's revocation list cannot be read: {error}"),
                OF_ROOT,
            ),
        });
    }
    if rows.imported_lists.is_empty() && refuses {
        let what = "there is no revocation list of the root: every device and packager is refused";
        findings.push(Finding::error(ABOUT, what, OF_ROOT));
    }
    findings
}

/// Whether lists can be made of what is revoked: without them the server answers nobody.
fn judge_making(rows: &Rows, now: Timestamp) -> Option<Finding> {
    let (error, serial) = tried(&rows.revoked, now).err()?;
    let what = format!("revocation lists cannot be made, and nobody is answered: {error}");
    Some(match serial.map(hex::encode) {
        Some(serial) => Finding::error(
            ABOUT,
            format!("{what}, of certificate {serial}"),
            format!("take it off the list: `keyward admin revocation restore-certificate {serial}`"),
        ),
        None => Finding::error(ABOUT, what, "restore the operator directory from a backup"),
    })
}

/// Whose list it is; none of an authority that is not in use any more.
fn name(rows: &Rows, authority: &[u8]) -> Option<&'static str> {
    if authority.is_empty() {
        return Some("own");
    }
    let authorities = [
        Purpose::DeviceAuthority,
        Purpose::PackagerAuthority,
        Purpose::ServerAuthority,
    ];
    let is_it =
        |der: &[u8]| Certificate::parse(der).is_ok_and(|parsed| parsed.public_key_digest() == authority);
    authorities
        .into_iter()
        .map(|purpose| (purpose, rows))
        .find_map(|(purpose, rows)| {
            let newest = rows
                .certificates
                .iter()
                .find(|stored| stored.purpose == purpose)?;
            is_it(&newest.der).then(|| purpose.as_str())
        })
}

fn judge_times(name: &str, list: &ExaminedList, refuses: bool, now: Timestamp) -> Finding {
    let hint = if name == ROOT { OF_ROOT } else { OF_SERVER };
    let left = list.next_update.0.saturating_sub(now.0);
    let life = list.next_update.0.saturating_sub(list.issued.0);
    if left == 0 {
        let ago = days(now.0.saturating_sub(list.next_update.0));
        let what = format!("the revocation list `{name}` has been out of date for {ago}");
        return match refuses {
            true => Finding::error(ABOUT, format!("{what}: whom it does not name is refused"), hint),
            false => Finding::warning(ABOUT, format!("{what}: whom it does not name is accepted"), hint),
        };
    }
    // A server that runs signs a new one in the middle.
    if left < life.div_ceil(2).saturating_sub(GRACE) {
        let what = format!("the revocation list `{name}` is out of date in {}", days(left));
        return Finding::warning(ABOUT, what, hint);
    }
    Finding::good(
        ABOUT,
        format!("the revocation list `{name}` is valid for {}", days(left)),
    )
}

const ABOUT: &str = "revocation";
const ROOT: &str = "root";
const OF_ROOT: &str = "make a new one with the root key: `keyward admin revoke-authority`";
const OF_SERVER: &str = "start the server, which signs it anew, and look again";

/// Seconds within which a server signs what is due.
const GRACE: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Standing;

    #[test]
    fn a_list_is_judged_by_what_is_left_of_it() {
        let list = ExaminedList {
            authority: Vec::new(),
            issued: Timestamp(1_000_000),
            next_update: Timestamp(1_020_000),
        };
        let (good, warning, error) = (Standing::Good, Standing::Warning, Standing::Error);
        for (now, accepting, refusing) in [
            (1_000_000, good, good),
            (1_010_600, good, good),
            (1_010_601, warning, warning),
            (1_019_999, warning, warning),
            (1_020_000, warning, error),
            (9_000_000, warning, error),
        ] {
            for (refuses, standing) in [(false, accepting), (true, refusing)] {
                let found = judge_times("own", &list, refuses, Timestamp(now));
                assert_eq!(found.standing, standing, "{now}: {}", found.what);
            }
        }
    }
}
