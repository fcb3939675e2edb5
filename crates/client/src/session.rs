//! The client's side of the main job, in its numbered steps.

use keyward_content::{
    cenc::{Pattern, SampleCipher, Scheme},
    file::{FileError, LockedFile, Opener},
    media::{KeyError, KeyRing},
};
use keyward_license::{
    ids::{Kid, LicenseId},
    license::Resolution,
    usage_rules::{Action, Refusal},
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    acquire::Wanted,
    bound::{Bound, Keys},
    choose::{Chosen, Stop},
    clock::Pace,
    device::KeyStore,
    enforce::Question,
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

/// Content that was opened, and its playback as it goes on.
///
/// A protected file is unlocked with it ([`Opened::unlock`]); for protected media it has the
/// [`KeyRing`] ([`Opened::keys`]). Whoever hands out content asks
/// [`Opened::holds`] for every piece, and [`Client::go_on`] when that says no.
#[derive(Debug)]
pub struct Opened {
    /// The released keys, one for each key id that was asked for, in that order.
    pub bound: Vec<Bound>,
    /// What was acquired on the way, if anything had to be.
    pub acquired: Option<Acquired>,
    pub(crate) pace: Pace,
    pub(crate) wanted: Wanted,
    pub(crate) acquisition: Acquisition,
    pub(crate) frame_changed: bool,
    /// Licenses in grace for which a new one was asked for.
    pub(crate) renewed: Vec<LicenseId>,
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

    /// The keys, for whoever reads the samples of media. They go with the playback's.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::of(&self.bound)
    }

    /// the size of the frames that are to be decoded under a key, as the decoder has it. The next
    /// [`Client::go_on`] judges with it, and [`Opened::holds`] says no until then.
    pub fn set_frame(&mut self, kid: Kid, frame: Resolution) {
        let of_kid = self.bound.iter_mut().filter(|bound| bound.kid() == kid);
        for bound in of_kid.filter(|bound| bound.frame != Some(frame)) {
            bound.frame = Some(frame);
            self.frame_changed = true;
        }
    }
}

/// The keys as they are now.
impl KeyRing for Opened {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        self.keys().cipher(kid, scheme, pattern)
    }

    fn permits(&self, kid: Kid) -> Result<(), KeyError> {
        let bound = self.bound.iter().find(|bound| bound.kid() == kid);
        bound.ok_or(KeyError::Missing)?.permits(kid)
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 4 to 11 of the main job for the content that `wanted` describes and the keys that it needs.
    pub(crate) async fn run_open(
        &mut self,
        io: &Io,
        kids: &[Kid],
        wanted: Wanted,
        acquisition: Acquisition,
        action: Action,
    ) -> Result<Opened, ClientError> {
        // 4, 5: can it be opened with licenses in the store?
        let mut found = self.look(io, kids, action).await?;
        let reactive = acquisition == Acquisition::Reactive;
        // A license that only lacks a clock needs the time, and no other license.
        if reactive && found.missing == Missing::Time {
            self.run_ask_time(io, &wanted).await?;
            found = self.look(io, kids, action).await?;
        }
        // 6 to 10: if not, request them, and install what comes back.
        let acquired = if reactive && found.missing != Missing::Nothing {
            let acquired = self.run_acquire(io, &wanted).await?;
            deny(kids, &acquired)?;
            Some(acquired)
        } else {
            None
        };
        // 11: bind the licenses, and release the keys: all of them, or none.
        let bound = if acquired.is_none() && found.chosen.len() == kids.len() {
            self.release(io, found.chosen, &found.question).await?
        } else {
            self.run_bind(io, kids, action).await?
        };
        let mut pace = Pace::default();
        pace.see(self.clocked(io), io.moment());
        Ok(Opened {
            bound,
            acquired,
            pace,
            wanted,
            acquisition,
            frame_changed: false,
            renewed: Vec::new(),
        })
    }

    /// The licenses that release the keys, and what keeps the others from it.
    async fn look(&mut self, io: &Io, kids: &[Kid], action: Action) -> Result<Found, ClientError> {
        let mut found = Found {
            question: Question::of(action, self.now(io)),
            chosen: Vec::with_capacity(kids.len()),
            missing: Missing::Nothing,
        };
        for kid in kids {
            match self.best(io, *kid, &found.question).await? {
                Ok(chosen) => found.chosen.push(chosen),
                Err(unusable) => {
                    self.remember_time(io, unusable).await?;
                    found.missing = found.missing.max(match unusable.stop {
                        Some(Stop::Refused(Refusal::NoUsableClock)) => Missing::Time,
                        Some(stop) if !stop.may_be_helped() => Missing::Nothing,
                        Some(_) | None => Missing::Licenses,
                    });
                }
            }
        }
        Ok(found)
    }
}

/// What was found in the store.
struct Found {
    question: Question<'static>,
    /// The best license of each key that one permits to use.
    chosen: Vec<Chosen>,
    missing: Missing,
}

/// What a license server can help with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Nothing,
    Time,
    Licenses,
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
