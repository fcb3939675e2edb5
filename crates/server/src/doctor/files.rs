//! The operator directory's files: there, private, and with space beside them.

use std::{io, path::Path};

use super::Finding;
use crate::{
    operator::{
        CONFIG_FILE, DATABASE_FILE, PROFILE_FILE, ROOT_KEY_FILE,
        kek::{KEK_NEXT, ROOT_KEY_NEXT, old_files},
    },
    sealing::KEK_FILE,
};

/// Judges which files are there and who may read them.
pub(super) fn judge(dir: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in [DATABASE_FILE, PROFILE_FILE] {
        if !dir.join(name).is_file() {
            findings.push(Finding::error(
                "files",
                format!("{name} is missing"),
                match name {
                    PROFILE_FILE => "write it anew: `keyward admin profile`",
                    _ => "restore the operator from its backup: `keyward admin restore`",
                },
            ));
        }
    }
    if dir.join(ROOT_KEY_FILE).exists() {
        findings.push(Finding::warning(
            "files",
            format!("the root's private key {ROOT_KEY_FILE} lies beside the server, which never needs it"),
            "move it to a place offline, apart from the key-encryption key",
        ));
    }
    if [KEK_NEXT, ROOT_KEY_NEXT]
        .iter()
        .any(|name| dir.join(name).exists())
    {
        findings.push(Finding::warning(
            "files",
            "a roll of the key-encryption key is under way, or came to no end: its files lie beside those in use",
            "if none is under way, start the server, which puts them away",
        ));
    }
    let old = old_files(dir);
    if !old.is_empty() {
        findings.push(Finding::warning(
            "files",
            format!(
                "key-encryption keys of before a roll lie beside the one in use: {}",
                old.join(", ")
            ),
            "move them to where you keep the backups and copies of the root's private key that need them; delete them when \
             there are none",
        ));
    }
    let exposed: Vec<_> = [
        "",
        CONFIG_FILE,
        PROFILE_FILE,
        DATABASE_FILE,
        KEK_FILE,
        KEK_NEXT,
        ROOT_KEY_FILE,
        ROOT_KEY_NEXT,
        WAL_FILE,
    ]
    .into_iter()
    .chain(old.iter().map(String::as_str))
    .filter(|name| is_exposed(&dir.join(name)))
    .map(|name| if name.is_empty() { "the directory" } else { name })
    .collect();
    if !exposed.is_empty() {
        findings.push(Finding::warning(
            "files",
            format!("other users of this machine may read {}", exposed.join(", ")),
            "run `chmod 700` on the directory and `chmod 600` on its files",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good("files", "all are there and their owner's alone"));
    }
    findings
}

/// Judges the bytes that are free on the database's disk, if the system says how many.
pub(super) fn judge_space(free: Option<io::Result<u64>>) -> Finding {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    match free {
        None => Finding::good("space", "this system does not say how much is free"),
        Some(Err(error)) => Finding::error(
            "space",
            format!("cannot ask how much is free: {error}"),
            "check the directory's permissions",
        ),
        Some(Ok(free)) if free < TOO_LITTLE => Finding::error(
            "space",
            format!(
                "{} MB are free: the database will soon take no more writes",
                megabytes(free)
            ),
            "free space on the disk, or move the operator to a larger one",
        ),
        Some(Ok(free)) if free < LITTLE => Finding::warning(
            "space",
            format!("{} MB are free; a license takes about 3 KB", megabytes(free)),
            "free space on the disk, or move the operator to a larger one",
        ),
        Some(Ok(free)) => Finding::good("space", format!("{} MB are free", megabytes(free))),
    }
}

/// Bytes that this user may still write on the disk of `dir`.
#[cfg(unix)]
pub(super) fn free_space(dir: &Path) -> Option<io::Result<u64>> {
    let free = rustix::fs::statvfs(dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    Some(free.map_err(io::Error::from))
}

#[cfg(not(unix))]
pub(super) fn free_space(_: &Path) -> Option<io::Result<u64>> {
    None
}

#[cfg(unix)]
fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_exposed(_: &Path) -> bool {
    false
}

const WAL_FILE: &str = "keyward.db-wal";
/// Below this the write-ahead log may not find room for one busy minute.
const TOO_LITTLE: u64 = 64_000_000;
const LITTLE: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Standing;

    #[test]
    fn space_is_judged_by_what_the_database_needs() {
        for (free, standing) in [
            (0, Standing::Error),
            (TOO_LITTLE - 1, Standing::Error),
            (TOO_LITTLE, Standing::Warning),
            (LITTLE - 1, Standing::Warning),
            (LITTLE, Standing::Good),
        ] {
            assert_eq!(judge_space(Some(Ok(free))).standing, standing, "{free}");
        }
        assert_eq!(judge_space(None).standing, Standing::Good);
        let failed = judge_space(Some(Err(io::ErrorKind::PermissionDenied.into())));
        assert_eq!(failed.standing, Standing::Error);
    }

    #[cfg(unix)]
    #[test]
    fn this_systems_disk_says_what_is_free() {
        assert!(free_space(Path::new("/")).unwrap().is_ok());
        assert!(free_space(Path::new("/no such directory")).unwrap().is_err());
    }
}
