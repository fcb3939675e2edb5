//! `keyward admin backup` and `keyward admin restore`.

use keyward_server::{
    backup::{self, RestoredKey},
    clock::{Clock, SystemClock},
    sealing::KekSource,
};
use serde_json::json;

use crate::{
    args::{BackupArgs, RestoreArgs},
    failure::Failure,
    operator,
    report::{self, Report},
};

pub(crate) fn back_up(args: &BackupArgs, report: Report) -> Result<(), Failure> {
    let now = SystemClock.now();
    let making = backup::back_up(&args.operator, &args.output, args.with_secrets, now);
    let made = operator::runtime()?.block_on(making)?;
    let has_key = made.files.iter().any(|name| name == "kek");
    report.note(if has_key {
        "The key-encryption key is in it: whoever has this backup is the operator."
    } else {
        "The key-encryption key is not in it: keep that apart, it is needed to restore."
    });
    report.result(
        &format!(
            "operator {} is backed up in {}",
            made.operator,
            args.output.display()
        ),
        &json!({
            "operator": made.operator.to_string(),
            "output": args.output.display().to_string(),
            "made": made.made.0,
            "files": made.files,
        }),
    )
}

pub(crate) fn restore(args: &RestoreArgs, report: Report) -> Result<(), Failure> {
    let kek = match operator::kek(args.kek_file.as_deref())? {
        KekSource::Given(kek) => Some(kek),
        KekSource::File => None,
    };
    let restoring = backup::restore(&args.from, &args.dir, kek, SystemClock.now());
    let (made, key) = operator::runtime()?.block_on(restoring)?;
    let dir = args.dir.display();
    let key_words = match key {
        RestoredKey::InBackup => "its key-encryption key was in the backup, and opens its secrets".to_owned(),
        RestoredKey::Given => "the key-encryption key that was given opens its secrets".to_owned(),
        RestoredKey::Elsewhere => format!(
            "it needs the key-encryption key of operator {}: put it into {dir}/kek (`chmod 600`), or into KEYWARD_KEK",
            made.operator
        ),
    };
    report.note(
        "What was done since the backup is forgotten: revoke and register anew what was revoked and registered since.\n\
         See docs/operate/license-server.md, \"Backup and restore\". Look at it with: keyward doctor",
    );
    report.result(
        &format!(
            "operator {} of {} is restored in {dir}; {key_words}",
            made.operator,
            report::time(made.made)
        ),
        &json!({
            "operator": made.operator.to_string(),
            "dir": args.dir.display().to_string(),
            "made": made.made.0,
            "files": made.files,
            "key_encryption_key": match key {
                RestoredKey::InBackup => "in-backup",
                RestoredKey::Given => "given",
                RestoredKey::Elsewhere => "elsewhere",
            },
        }),
    )
}
