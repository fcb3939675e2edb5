//! A copy of an operator, made while its server runs, and an operator made of it again.
//!
//! ```text
//!  backup/              0700, every file 0600; made whole or not at all
//!   manifest.json       which operator, when, and the SHA-256 of each file
//!   keyward.db          the state between two commits; its secrets sealed as ever
//!   operator.toml, operator-profile
//!   kek, root-key.sealed    with secrets alone, and if they are in the operator's directory
//! ```
//! Without secrets a backup is of no use to who has not the key-encryption key; with them it is the operator. The
//! manifest tells damage, not forgery: whoever can write to a backup can change accounts and rights in it.
//!
//! No key is needed to make one, and the database is left at the schema that it has: the backup before an update is
//! one that the version before the update opens.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::Path,
};

use keyward_crypto::kdf::{Sha256Stream, sha256};
use keyward_license::{codec::Wire, ids::Digest, operator_profile::OperatorProfile, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    fail_points::{Act, Progress},
    operator::{self, CONFIG_FILE, DATABASE_FILE, PROFILE_FILE, ROOT_KEY_FILE, kek, making::Making},
    sealing::{KEK_FILE, KekSource, KeyEncryptionKey},
    store::sqlite::examination::{self, Examination, Schema},
};

/// A backup that was made or restored, for the person who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// SHA-256 of the operator's root certificate: names the operator, and with it the key-encryption key.
    pub operator: Digest,
    /// When it was made.
    pub made: Timestamp,
    /// Its files, by name.
    pub files: Vec<String>,
}

/// What is known of a restored operator's key-encryption key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoredKey {
    /// It was in the backup, and opens the operator's secrets.
    InBackup,
    /// The caller has it, and it opens the operator's secrets.
    Given,
    /// It is elsewhere; the operator does not open without it.
    Elsewhere,
}

/// Copies the operator in `dir` to the new directory `to`. That it was done stands in the database, as an event
/// `backup-made`.
///
/// # Errors
/// [`Error::NoOperator`], [`Error::BackupExists`], [`Error::Damaged`] if the copy is not whole, [`Error::File`], or a
/// failure of the database.
pub async fn back_up(dir: &Path, to: &Path, with_secrets: bool, now: Timestamp) -> Result<Backup, Error> {
    if !dir.join(CONFIG_FILE).exists() {
        return Err(Error::NoOperator(dir.to_owned()));
    }
    // What a roll of the key-encryption key changes meanwhile would not fit the rest.
    let keys = with_secrets.then(|| kek::files(dir));
    let making = Making::begin(to, Act::Backup)?;
    let database = making.path().join(DATABASE_FILE);
    // Made here, so that SQLite gives it the same permissions.
    making.create(DATABASE_FILE)?;
    let detail = if with_secrets { "with-secrets" } else { "" };
    let recorded = || making.has_come_to(Progress::Recorded);
    examination::copy(&operator::database_path(dir), &database, (detail, now), recorded).await?;
    making.has_come_to(Progress::Copied);
    flush_file(&database)?;
    making.has_written(DATABASE_FILE);
    check_whole(&database).await?;
    let (root, secrets) = examination::core(&database).await?;
    let operator = Digest::new(sha256(&[&root]));
    let mut files = BTreeMap::from([(DATABASE_FILE.to_owned(), Entry::of(&database)?)]);
    for (name, is_secret) in BESIDE {
        let source = if is_secret {
            kek::file_of(dir, name, &secrets, &operator)
        } else {
            dir.join(name)
        };
        if is_secret && !(with_secrets && source.exists()) {
            continue;
        }
        files.insert(name.to_owned(), copy(&source, &making, name)?);
    }
    if keys.is_some_and(|before| before != kek::files(dir)) {
        return Err(Error::KekRolled);
    }
    let manifest = Manifest {
        keyward_backup: FORM,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        operator: operator.to_string(),
        made: now.0,
        files,
    };
    making.write(MANIFEST, &manifest.to_json())?;
    making.finish()?;
    manifest.backup()
}

/// Makes the operator of the backup `from` in the new directory `to`. `kek` is its key-encryption key, if the caller has
/// it and it is not in the backup. That it was done stands in the database, as an event `operator-restored`.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::BackupForm`], [`Error::BackupDamaged`], [`Error::OperatorExists`],
/// [`Error::WrongKek`], [`Error::File`], or a failure of the database.
pub async fn restore(
    from: &Path,
    to: &Path,
    kek: Option<KeyEncryptionKey>,
    now: Timestamp,
) -> Result<(Backup, RestoredKey), Error> {
    let manifest = Manifest::read(from)?;
    let backup = manifest.backup()?;
    let making = Making::begin(to, Act::Restore)?;
    for (name, entry) in &manifest.files {
        let name = known(name).ok_or_else(|| damaged(name, "is no file of an operator"))?;
        let copied = copy(&from.join(name), &making, name)?;
        if copied != *entry {
            return Err(damaged(name, "is not what was backed up"));
        }
    }
    let database = making.path().join(DATABASE_FILE);
    check_whole(&database).await?;
    let (root, secrets) = examination::core(&database).await?;
    if sha256(&[&root]) != *backup.operator.as_bytes() {
        return Err(damaged(DATABASE_FILE, "is another operator's"));
    }
    let profile = OperatorProfile::decode(&operator::read_profile(making.path())?);
    if !profile.is_ok_and(|profile| profile.root.0 == root) {
        return Err(damaged(PROFILE_FILE, "is another operator's"));
    }
    let (kek, key) = match kek {
        Some(kek) => (Some(kek), RestoredKey::Given),
        None if manifest.files.contains_key(KEK_FILE) => {
            (Some(KekSource::File.load(making.path())?), RestoredKey::InBackup)
        }
        None => (None, RestoredKey::Elsewhere),
    };
    if let Some(kek) = &kek {
        operator::check_secrets(kek, &secrets)?;
    }
    examination::record_restored(&database, backup.made, now).await?;
    making.has_come_to(Progress::Recorded);
    flush_file(&database)?;
    making.finish()?;
    Ok((backup, key))
}

/// What a backup holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The form of backups, to be counted up when it changes.
    keyward_backup: u64,
    /// Of the program that made it.
    version: String,
    operator: String,
    made: u64,
    files: BTreeMap<String, Entry>,
}

/// What the manifest says of a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// Reads the manifest of a backup. It names no file that a backup does not have, and all that one must have.
    fn read(from: &Path) -> Result<Self, Error> {
        let none = || Error::NoBackup(from.to_owned());
        let json = fs::read(from.join(MANIFEST)).map_err(|_| none())?;
        let form: Form = serde_json::from_slice(&json).map_err(|_| none())?;
        if form.keyward_backup != FORM {
            return Err(Error::BackupForm(form.keyward_backup));
        }
        let manifest: Self = serde_json::from_slice(&json).map_err(|_| none())?;
        if let Some(name) = manifest.files.keys().find(|name| known(name).is_none()) {
            return Err(damaged(name, "is no file of an operator"));
        }
        for name in [DATABASE_FILE, CONFIG_FILE, PROFILE_FILE] {
            if !manifest.files.contains_key(name) {
                return Err(damaged(name, "is not in it"));
            }
        }
        Ok(manifest)
    }

    fn to_json(&self) -> Vec<u8> {
        // Strings and numbers alone: this does not fail.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    fn backup(&self) -> Result<Backup, Error> {
        let mut operator = [0; Digest::LEN];
        hex::decode_to_slice(&self.operator, &mut operator)
            .map_err(|_| damaged(MANIFEST, "names no operator"))?;
        Ok(Backup {
            operator: Digest::new(operator),
            made: Timestamp(self.made),
            files: self.files.keys().cloned().collect(),
        })
    }
}

/// The part of a manifest that every form has.
#[derive(Deserialize)]
struct Form {
    keyward_backup: u64,
}

impl Entry {
    fn of(path: &Path) -> Result<Self, Error> {
        let mut file = fs::File::open(path).map_err(Error::file("read", path))?;
        Self::through(&mut file, |_| Ok(())).map_err(Error::file("read", path))
    }

    /// Hands every piece of a file on, and says what the file is.
    fn through(
        source: &mut impl Read,
        mut next: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<Self> {
        let (mut hash, mut bytes) = (Sha256Stream::default(), 0_u64);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = source.read(&mut buffer)?;
            let piece = buffer.get(..read).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            hash.update(piece);
            bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            next(piece)?;
        }
        Ok(Self {
            bytes,
            sha256: hex::encode(hash.finish()),
        })
    }
}

/// Copies a file to a new one that only its owner can read, flushed.
fn copy(from: &Path, making: &Making, name: &'static str) -> Result<Entry, Error> {
    let to = making.path().join(name);
    let mut source = fs::File::open(from).map_err(Error::file("read", from))?;
    let mut target = making.create(name)?;
    let entry =
        Entry::through(&mut source, |piece| target.write_all(piece)).map_err(Error::file("copy", from))?;
    target.sync_all().map_err(Error::file("write", to))?;
    making.has_written(name);
    Ok(entry)
}

fn flush_file(path: &Path) -> Result<(), Error> {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.sync_all())
        .map_err(Error::file("flush", path))
}

async fn check_whole(database: &Path) -> Result<(), Error> {
    let examined = Examination::of(database).await?;
    if !examined.faults.is_empty() {
        return Err(Error::Damaged("its copy is not whole"));
    }
    match examined.schema {
        Schema::Foreign => Err(Error::Damaged(
            "its schema is a later version's, or was changed by hand",
        )),
        Schema::Current | Schema::Earlier => Ok(()),
    }
}

fn damaged(name: &str, fault: &'static str) -> Error {
    Error::BackupDamaged {
        name: name.to_owned(),
        fault,
    }
}

/// The name of a file that a backup may have.
fn known(name: &str) -> Option<&'static str> {
    let beside = BESIDE.iter().map(|(beside, _)| *beside);
    beside.chain([DATABASE_FILE]).find(|known| *known == name)
}

/// The files beside the database, and whether they are secrets.
const BESIDE: [(&str, bool); 4] = [
    (CONFIG_FILE, false),
    (PROFILE_FILE, false),
    (KEK_FILE, true),
    (ROOT_KEY_FILE, true),
];

pub(crate) const MANIFEST: &str = "manifest.json";
const FORM: u64 = 1;
