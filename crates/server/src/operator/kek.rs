//! Which key-encryption key is the operator's, and how another takes its place.
//!
//! ```text
//!  1 kek.next, root-key.next   written and flushed: the new key, and the root's key under it
//!  2 keyward.db                everything sealed is sealed anew, in one transaction
//!  3 root-key.next, kek.next   renamed into place; the key before is kept as kek.old-1, kek.old-2, …
//! ```
//! The secret `check` in the database opens under one key alone and says which side of step 2 one is on. So whoever
//! opens the operator tries both files, and whoever has the right to serve it puts away what a crash left. Where the
//! key comes from elsewhere there is no file of it: then the one that opens is for the operator to supply.
//!
//! The key before opens backups of before, and copies of the root's private key that lie elsewhere: it is for a person to
//! delete.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use keyward_crypto::kdf::sha256;
use keyward_license::ids::Digest;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{
    ROOT_KEY_FILE,
    keys::{self, CHECK},
    making::flush,
    root_cell,
};
use crate::{
    Error,
    fail_points::{Extent, Point, reach},
    sealing::{self, KEK_FILE, KekSource, KeyEncryptionKey},
    store::Store,
};

/// The key-encryption key that a roll puts in its place.
pub(crate) const KEK_NEXT: &str = "kek.next";
/// The root's private key under it.
pub(crate) const ROOT_KEY_NEXT: &str = "root-key.next";

/// How the names of files begin that hold key-encryption keys of before a roll; a number follows.
pub(crate) const KEK_OLD: &str = "kek.old-";

/// The key-encryption key of an operator.
pub(crate) struct Found {
    pub(crate) key: KeyEncryptionKey,
    /// Whether it lies in the operator's directory.
    pub(crate) in_file: bool,
}

/// Finds the key that opens the operator's secrets.
///
/// # Errors
/// [`Error::WrongKek`], [`Error::KekExposed`], [`Error::KekMalformed`], [`Error::File`].
pub(crate) async fn find(source: KekSource, dir: &Path, store: &Store) -> Result<Found, Error> {
    match source {
        KekSource::Given(key) if opens(&key, &store.secrets().await?) => Ok(Found { key, in_file: false }),
        KekSource::Given(_) => Err(Error::WrongKek),
        KekSource::File => {
            // Between the two looks a roll may come to its end: then both see another side of it.
            for _ in 0..2 {
                let candidates = candidates(KekSource::File, dir)?;
                let rows = store.secrets().await?;
                if let Some(key) = candidates.into_iter().find(|key| opens(key, &rows)) {
                    return Ok(Found { key, in_file: true });
                }
            }
            Err(Error::WrongKek)
        }
    }
}

/// The keys that may be the one: of a file, the one that a roll was putting in its place as well.
///
/// # Errors
/// Those of the file `kek`. What is beside it may be half written, and is then not in use yet.
pub(crate) fn candidates(source: KekSource, dir: &Path) -> Result<Vec<KeyEncryptionKey>, Error> {
    match source {
        KekSource::Given(key) => Ok(vec![key]),
        KekSource::File => {
            let next = sealing::read(&dir.join(KEK_NEXT)).ok();
            // Read last: a roll that ends meanwhile has put the other there.
            let current = sealing::read(&dir.join(KEK_FILE))?;
            Ok([current].into_iter().chain(next).collect())
        }
    }
}

/// Whether a key is the one that these secrets are sealed under.
pub(crate) fn opens(key: &KeyEncryptionKey, secrets: &[(String, Vec<u8>)]) -> bool {
    let check = secrets.iter().find(|(name, _)| name == CHECK);
    check.is_some_and(|(_, sealed)| key.open(keys::cell(CHECK), sealed).is_ok())
}

/// What becomes of the root's private key when the key-encryption key is rolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootKey {
    /// It lies in the directory, and is sealed under the new key.
    Resealed,
    /// It is not there, or sealed under another key than the server's: it stays as it is.
    Elsewhere,
}

/// What a roll did to the files.
pub(crate) struct Finished {
    pub(crate) root_key: RootKey,
    /// The file that holds the key of before, if that lay in the directory.
    pub(crate) old: Option<String>,
}

/// The files of a roll that has begun.
pub(crate) struct Change<'a> {
    dir: &'a Path,
    root_key: RootKey,
    in_file: bool,
}

impl<'a> Change<'a> {
    /// Step 1. Whoever calls has the right to serve the operator, and has [`settle`]d what was there.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Crypto`].
    pub(crate) fn begin(
        dir: &'a Path,
        operator: &Digest,
        old: &Found,
        new: &KeyEncryptionKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        let mut root_key = RootKey::Elsewhere;
        if let Some(sealed) = read_if_any(&dir.join(ROOT_KEY_FILE))?
            && let Ok(scalar) = old.key.open(root_cell(operator), &sealed)
        {
            let sealed = new.seal(root_cell(operator), scalar.expose(), rng)?;
            write(dir, ROOT_KEY_NEXT, &sealed)?;
            root_key = RootKey::Resealed;
        }
        if old.in_file {
            write(dir, KEK_NEXT, new.to_hex().as_bytes())?;
        }
        flush(dir)?;
        Ok(Self {
            dir,
            root_key,
            in_file: old.in_file,
        })
    }

    /// Step 3.
    ///
    /// # Errors
    /// [`Error::File`]: the next start does it.
    pub(crate) fn finish(self) -> Result<Finished, Error> {
        if self.root_key == RootKey::Resealed {
            place(self.dir, ROOT_KEY_NEXT, ROOT_KEY_FILE)?;
        }
        let mut old = None;
        if self.in_file {
            old = Some(place_kek(self.dir)?);
        }
        flush(self.dir)?;
        Ok(Finished {
            root_key: self.root_key,
            old,
        })
    }
}

/// Puts away what a roll left that came to no end: into place what is of the key that is in use, and the rest nowhere.
/// Whoever calls has the right to serve the operator, so that no roll is under way. Returns what became of the root's
/// private key.
///
/// # Errors
/// [`Error::KekRolled`] if these secrets are sealed under the key in [`KEK_NEXT`] and that is not the one in use:
/// it may be the only copy, and nothing is touched. [`Error::File`].
pub(crate) fn settle(
    dir: &Path,
    operator: &Digest,
    used: &Found,
    secrets: &[(String, Vec<u8>)],
) -> Result<RootKey, Error> {
    let path = dir.join(KEK_NEXT);
    let next = sealing::read(&path).ok();
    let serves = next.as_ref().is_some_and(|key| opens(key, secrets));
    let is_used = next.as_ref().is_some_and(|key| key.is(&used.key));
    if serves && !is_used {
        return Err(Error::KekRolled);
    }
    let mut root_key = RootKey::Elsewhere;
    if let Some(sealed) = read_if_any(&dir.join(ROOT_KEY_NEXT))? {
        if used.key.open(root_cell(operator), &sealed).is_ok() {
            place(dir, ROOT_KEY_NEXT, ROOT_KEY_FILE)?;
            root_key = RootKey::Resealed;
        } else {
            remove(&dir.join(ROOT_KEY_NEXT))?;
        }
    }
    if fs::symlink_metadata(&path).is_ok() {
        if is_used && used.in_file {
            place_kek(dir)?;
        } else if !serves {
            remove(&path)?;
        }
    }
    flush(dir)?;
    Ok(root_key)
}

/// The file that holds what will be in the file `name`, for a database with these secrets: after a roll that came to no
/// end it lies beside it.
pub(crate) fn file_of(dir: &Path, name: &str, secrets: &[(String, Vec<u8>)], operator: &Digest) -> PathBuf {
    let next = sealing::read(&dir.join(KEK_NEXT))
        .ok()
        .filter(|key| opens(key, secrets));
    let beside = match (name, next) {
        (KEK_FILE, Some(_)) => Some(KEK_NEXT),
        (ROOT_KEY_FILE, Some(key)) => read_if_any(&dir.join(ROOT_KEY_NEXT))
            .ok()
            .flatten()
            .filter(|sealed| key.open(root_cell(operator), sealed).is_ok())
            .map(|_| ROOT_KEY_NEXT),
        _ => None,
    };
    dir.join(beside.unwrap_or(name))
}

/// What a roll changes of a directory: digests of the files that there are.
pub(crate) fn files(dir: &Path) -> Vec<Option<[u8; 32]>> {
    let names = [KEK_FILE, KEK_NEXT, ROOT_KEY_FILE, ROOT_KEY_NEXT];
    let digest = |name| {
        fs::read(dir.join(name))
            .ok()
            .map(|bytes| sha256(&[&Zeroizing::new(bytes)]))
    };
    names.map(digest).into()
}

fn read_if_any(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Writes a file that only its owner can read, and flushes it.
fn write(dir: &Path, name: &'static str, bytes: &[u8]) -> Result<(), Error> {
    let path = dir.join(name);
    let mut file = super::making::create_private(&path)?;
    reach(Point::Rolled(name, Extent::Made));
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::file("write", &path))?;
    reach(Point::Rolled(name, Extent::Written));
    Ok(())
}

fn place(dir: &Path, name: &'static str, file: &str) -> Result<(), Error> {
    let path: PathBuf = dir.join(file);
    fs::rename(dir.join(name), &path).map_err(Error::file("write", &path))?;
    reach(Point::Rolled(name, Extent::Placed));
    Ok(())
}

/// Puts the next key in its place, and keeps the one that is there. Returns the name of the file that it is kept in.
fn place_kek(dir: &Path) -> Result<String, Error> {
    let path = dir.join(KEK_FILE);
    let before = Zeroizing::new(fs::read(&path).map_err(Error::file("read", &path))?);
    let kept = keep_old(dir, &before)?;
    // It is on the disk under its new name before its old name is another's.
    flush(dir)?;
    place(dir, KEK_NEXT, KEK_FILE)?;
    Ok(kept)
}

/// Keeps a key-encryption key beside the one that follows it, once. What lies there stays: a crash may have left half of
/// one.
fn keep_old(dir: &Path, key: &[u8]) -> Result<String, Error> {
    for number in 1_u32.. {
        let name = format!("{KEK_OLD}{number}");
        let path = dir.join(&name);
        match read_if_any(&path)?.map(Zeroizing::new) {
            Some(there) if there[..] == *key => return Ok(name),
            Some(_) => {}
            None => {
                let mut file = super::making::create_private(&path)?;
                reach(Point::Rolled(KEK_OLD, Extent::Made));
                file.write_all(key)
                    .and_then(|()| file.sync_all())
                    .map_err(Error::file("write", &path))?;
                reach(Point::Rolled(KEK_OLD, Extent::Written));
                return Ok(name);
            }
        }
    }
    Err(Error::Damaged("there are too many key-encryption keys of before"))
}

/// The names of the files in `dir` that hold key-encryption keys of before a roll.
pub(crate) fn old_files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut old: Vec<_> = names.filter(|name| name.starts_with(KEK_OLD)).collect();
    old.sort_unstable();
    old
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(Error::file("remove", path))
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn the_key_that_everything_is_sealed_under_is_never_removed() {
        let home = tempfile::tempdir().unwrap();
        let (dir, operator) = (home.path(), Digest::new([1; 32]));
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let [held, next] = [(); 2].map(|()| KeyEncryptionKey::generate(&mut rng));
        let check = |key: &KeyEncryptionKey, rng: &mut ChaCha20Rng| {
            let sealed = key.seal(keys::cell(CHECK), b"keyward", rng).unwrap();
            [(CHECK.to_owned(), sealed)]
        };
        let (before, after) = (check(&held, &mut rng), check(&next, &mut rng));
        write(dir, KEK_NEXT, next.to_hex().as_bytes()).unwrap();
        write(dir, ROOT_KEY_NEXT, b"sealed").unwrap();
        let held = |in_file| Found {
            key: held.alone(),
            in_file,
        };
        for in_file in [true, false] {
            let refused = settle(dir, &operator, &held(in_file), &after).unwrap_err();
            assert!(matches!(refused, Error::KekRolled), "{refused}");
            assert!(dir.join(KEK_NEXT).exists() && dir.join(ROOT_KEY_NEXT).exists());
        }
        // It is in use, and came from elsewhere: the file stays beside it.
        let next = Found {
            key: next,
            in_file: false,
        };
        settle(dir, &operator, &next, &after).unwrap();
        assert!(dir.join(KEK_NEXT).exists());
        settle(dir, &operator, &held(true), &before).unwrap();
        assert!(!dir.join(KEK_NEXT).exists() && !dir.join(ROOT_KEY_NEXT).exists());
    }
}
