//! The client's side of the main job, in its numbered steps.

use keyward_content::file::{FileError, LockedFile, Opener};
use keyward_license::ids::Kid;
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    acquire::Wanted,
    device::KeyStore,
    enforce::{Availability, Bound},
    flow::Io,
    install::{Acquired, AcquiredKey},
};

/// Whether a flow may talk to the license server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquisition {
    /// If no stored license permits the action, acquire one and go on.
    Reactive,
    /// Use what is in the store.
    Never,
}

/// Content that was opened.
///
/// A protected file is unlocked with it ([`Opened::unlock`]); for protected media it is the
/// [`KeyRing`](keyward_content::media::KeyRing).
#[derive(Debug)]
pub struct Opened {
    /// The released keys, one for each key id that was asked for, in that order.
    pub bound: Vec<Bound>,
    /// What was acquired on the way, if anything had to be.
    pub acquired: Option<Acquired>,
}

impl Opened {
    /// Unlocks a protected file with the key that was released for it.
    ///
    /// # Errors
    /// [`FileError::WrongKey`] if no key for files was released under the file's key id.
    pub fn unlock(&self, file: LockedFile) -> Result<Opener, FileError> {
        let bound = self.bound.iter().find(|bound| bound.kid() == file.kid());
        bound.ok_or(FileError::WrongKey)?.unlock(file)
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 4 to 11 of the main job for the content that `wanted` describes and the keys that it needs.
    pub(crate) async fn run_open(
        &mut self,
        io: &Io,
        kids: &[Kid],
        wanted: &Wanted,
        acquisition: Acquisition,
    ) -> Result<Opened, ClientError> {
        // 4, 5: can it be opened with licenses in the store?
        let mut ready = true;
        for kid in kids {
            let available = self.run_find(io, *kid).await?;
            ready &= matches!(available, Availability::Ready { .. });
            if let Availability::Refused(refusal) = available {
                self.remember_time(io, &refusal).await?;
            }
        }
        // 6 to 10: if not, request them, and install what comes back.
        let acquired = if ready || acquisition == Acquisition::Never {
            None
        } else {
            let acquired = self.run_acquire(io, wanted).await?;
            deny(kids, &acquired)?;
            Some(acquired)
        };
        // 11: bind the licenses, and release the keys: all of them, or none.
        let mut bound = Vec::with_capacity(kids.len());
        for kid in kids {
            bound.push(self.run_bind(io, *kid).await?);
        }
        Ok(Opened { bound, acquired })
    }
}

/// Turns a denial for a key that is needed into the error that says why.
fn deny(kids: &[Kid], acquired: &Acquired) -> Result<(), ClientError> {
    let denied = acquired.outcomes.iter().find_map(|(kid, outcome)| match outcome {
        AcquiredKey::Denied(denial) if kids.contains(kid) => Some((*kid, denial)),
        _ => None,
    });
    match denied {
        Some((kid, denial)) => Err(ClientError::Denied {
            kid,
            denial: denial.clone(),
        }),
        None => Ok(()),
    }
}
