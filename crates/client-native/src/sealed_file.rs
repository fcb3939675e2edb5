//! A secret in a file, sealed under a key in another beside it.
//!
//! The two files beside each other keep the secret out of a backup or a log that catches one of them, and
//! give a platform's key store a place: it replaces the key's file. Against somebody who reads the
//! whole directory they offer nothing; see `docs/threat-model.md`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use keyward_crypto::{Secret, SecretBytes, aead};
use rand_core::CryptoRng;

use crate::{
    NativeError,
    disk::{Disk, SystemDisk},
    error::KeysFault,
    files::{lock, make_private_dir, read_if_there, remove_unfinished, replace},
};

/// The two files. Each can be read by its owner alone.
#[derive(Debug, Clone)]
pub struct SealedFile {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    name: &'static str,
    key_name: &'static str,
    context: &'static str,
}

/// Keeps other processes out of a folder until it is dropped, or the process ends.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl SealedFile {
    /// Files `name` and `key_name` in `folder`. What is sealed for one `context` opens for no other.
    #[must_use]
    pub fn new(folder: &Path, name: &'static str, key_name: &'static str, context: &'static str) -> Self {
        Self {
            disk: Arc::new(SystemDisk),
            folder: folder.to_owned(),
            name,
            key_name,
            context,
        }
    }

    pub(crate) fn on(self, disk: Arc<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    /// Where the sealed secret is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    /// Waits until no other process holds the folder, makes it if it is not there, and removes what a crash
    /// left unfinished. Who writes holds the lock from before it reads: two that make the secret at once would
    /// each take the other's away. Reading alone needs none.
    ///
    /// # Errors
    /// [`NativeError::File`].
    pub fn lock(&self) -> Result<FolderLock, NativeError> {
        make_private_dir(&*self.disk, &self.folder)?;
        let held = FolderLock(lock(&self.folder.join(format!("{}.lock", self.name)))?);
        remove_unfinished(&*self.disk, &self.folder)?;
        Ok(held)
    }

    /// The secret, or none if it was never written.
    ///
    /// # Errors
    /// [`NativeError::File`], [`NativeError::Keys`].
    pub fn read(&self) -> Result<Option<SecretBytes>, NativeError> {
        let Some(sealed) = read_if_there(&*self.disk, &self.path())? else {
            return Ok(None);
        };
        let key = self
            .key()?
            .ok_or_else(|| self.fault(KeysFault::Missing(self.key_name)))?;
        aead::open(&key, self.context.as_bytes(), &sealed)
            .map(Some)
            .map_err(|error| self.fault(KeysFault::Sealed(error)))
    }

    /// Replaces the secret, whole or not at all. The folder and the key are made if they are not there.
    ///
    /// # Errors
    /// [`NativeError::File`], [`NativeError::Keys`].
    pub fn write(&self, secret: &SecretBytes, rng: &mut impl CryptoRng) -> Result<(), NativeError> {
        make_private_dir(&*self.disk, &self.folder)?;
        let key = match self.key()? {
            // A key without a secret is what a crash between the two writes leaves.
            Some(key) => key,
            None => self.make_key(rng)?,
        };
        let sealed = aead::seal(&key, self.context.as_bytes(), secret.expose(), rng)
            .map_err(|error| self.fault(KeysFault::Sealed(error)))?;
        replace(&*self.disk, &self.path(), &sealed)
    }

    /// An error about the secret.
    #[must_use]
    pub fn fault(&self, error: KeysFault) -> NativeError {
        NativeError::Keys {
            path: self.path(),
            error,
        }
    }

    fn key(&self) -> Result<Option<Secret<32>>, NativeError> {
        let bytes = read_if_there(&*self.disk, &self.folder.join(self.key_name))?.map(SecretBytes::new);
        bytes
            .map(|bytes| Secret::from_slice(bytes.expose()).map_err(|_| self.fault(KeysFault::Secret)))
            .transpose()
    }

    fn make_key(&self, rng: &mut impl CryptoRng) -> Result<Secret<32>, NativeError> {
        let key = Secret::random(rng);
        replace(&*self.disk, &self.folder.join(self.key_name), key.expose())?;
        Ok(key)
    }
}
