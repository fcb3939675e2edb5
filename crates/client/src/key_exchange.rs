//! Key exchange: a protected key for exactly one operation on the application's own data, never for content.
//!
//! ```text
//!  Client::prepare_encryptor(kid, …)    find, verify, judge, acquire if need be, bind    ── Flow
//!        │                              uses are recorded before they are permitted (R-052)
//!        ▼
//!  Encryptor::encrypt(moment, …)        as often as the license permits; judged at every call (R-053)
//!        │   holds says no ──► Client::keep_up    more uses, the clock's floor            ── Flow
//!        ▼
//!  Client::close                        the key is wiped, uses that were not made go back ── Flow
//! ```
//! There is one type for each operation: [`Encryptor`], [`Decryptor`], [`Signer`], [`Verifier`], [`Wrapper`] and
//! [`Unwrapper`]. Each is a [`Prepared`] key that does this one thing; nothing gives the key out, and an encryptor has
//! no way to decrypt. The key lies in one box, of which nothing but the call that is being made has a copy, and which
//! is locked in memory where the host can do so ([`MemoryLock`]). It is wiped when the handle is closed or dropped, when
//! the license is removed, and at the first call that the license does not permit; calls after that fail for the same
//! reason.
//!
//! A key that travels *beside* another one is found under that one's key id and by its algorithm.
//!
//! Results begin with the version of the key that made them, see [`keyward_license::key_exchange`].

mod bytes;
mod choose;
mod count;
mod flows;
mod perform;
mod permit;
mod prepare;
mod streams;

use core::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{
    ids::{Digest, Kid, LicenseId},
    key_exchange::{self, ExchangeError},
    license::LicenseBody,
    time::Timestamp,
};
use zeroize::zeroize_stack;

pub use streams::{DecryptStream, EncryptStream, SignStream, VerifyStream};

pub(crate) use choose::Asked;

use crate::{
    ClientError,
    choose::Stop,
    device::STACK,
    flow::Moment,
    host::{HostProfile, MemoryLock},
    locked::Locked,
    verified::TrustedLicense,
};
use bytes::KeyBytes;
use count::Allowance;
use flows::Tool;
use permit::Permit;

/// Encrypts.
pub type Encryptor = Prepared<key_exchange::Encryptor>;
/// Decrypts.
pub type Decryptor = Prepared<key_exchange::Decryptor>;
/// Signs, or makes message authentication codes.
pub type Signer = Prepared<key_exchange::Signer>;
/// Verifies signatures, or message authentication codes.
pub type Verifier = Prepared<key_exchange::Verifier>;
/// Wraps other keys.
pub type Wrapper = Prepared<key_exchange::Wrapper>;
/// Unwraps other keys.
pub type Unwrapper = Prepared<key_exchange::Unwrapper>;

/// Bytes of the stack that are overwritten after a call: the ciphers are shallow.
const STACK_OF_CALL: usize = 16 * 1024;

/// An exchange key that a license has released for one operation.
///
/// It can be shared by reference between threads; calls wait for one another.
pub struct Prepared<T> {
    inner: Arc<Inner>,
    operation: PhantomData<fn() -> T>,
}

/// Why an exchange key is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// R-053: a usage rule refused a call.
    #[error("its license does not permit it: {} ({})", .0, .0.rule())]
    Refused(Stop),
    /// R-052: every use that there is has been made.
    #[error("every use that its license permits has been made (R-052)")]
    UsedUp,
    /// The license was removed from this client.
    #[error("its license was removed")]
    Removed,
    /// The application is done with it.
    #[error("it was closed")]
    Closed,
}

impl Ended {
    const fn of(self, kid: Kid) -> ClientError {
        match self {
            Self::Refused(stop) => stop.of(kid),
            Self::UsedUp => ClientError::UsedUp { kid },
            Self::Removed | Self::Closed => ClientError::NoLicense { kid },
        }
    }
}

/// Why a call of a prepared key failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PerformError {
    /// The key was wiped, at this call or before it.
    #[error("key {kid} cannot be used any more: {why}")]
    Ended {
        /// Key id.
        kid: Kid,
        /// Why.
        why: Ended,
    },
    /// R-052: the recorded uses are made, and no more are recorded yet: [`Client::keep_up`](crate::Client::keep_up)
    /// does that. The key is still there.
    #[error("no use of key {kid} is recorded in advance")]
    NotRecorded {
        /// Key id.
        kid: Kid,
    },
    /// The operation itself refused, or failed.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

impl PerformError {
    /// What to do next, for people.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ended { why, kid } => match why {
                Ended::Removed | Ended::Closed => "prepare the key again, under another license",
                why => why.of(*kid).hint(),
            },
            Self::NotRecorded { .. } => "let the client keep up, then call again",
            Self::Exchange(error) => error.hint(),
        }
    }
}

impl<T> Prepared<T> {
    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.inner.about.kid
    }

    /// The key id that its license was found under: another one for a key that travels beside that one's.
    #[must_use]
    pub fn asked_kid(&self) -> Kid {
        self.inner.about.asked
    }

    /// The license that released it.
    #[must_use]
    pub fn license(&self) -> LicenseId {
        self.inner.terms().id
    }

    /// The terms of that license.
    #[must_use]
    pub fn terms(&self) -> &LicenseBody {
        self.inner.terms()
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.inner.about.algorithm
    }

    /// The one operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.inner.about.operation
    }

    /// The versions of the key that it holds, newest first.
    #[must_use]
    pub fn versions(&self) -> &[u32] {
        &self.inner.about.versions
    }

    /// R-051: the additional data that every call names, if the key has a context.
    #[must_use]
    pub fn context(&self) -> Option<&[u8]> {
        self.inner.about.context.as_deref()
    }

    /// Until when the license may be used, if it ends, as the last call was told.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        let state = self.inner.state();
        state.permit.allowed.as_ref().and_then(|allowed| allowed.until)
    }

    /// R-013: the license was in its grace period at the last call: acquire a new one.
    #[must_use]
    pub fn is_in_grace(&self) -> bool {
        let state = self.inner.state();
        state
            .permit
            .allowed
            .as_ref()
            .is_some_and(|allowed| allowed.in_grace)
    }

    /// R-052: how many uses there are, as far as this handle knows; none if they are not limited. Other handles of
    /// the same license may take some of them.
    #[must_use]
    pub fn uses_left(&self) -> Option<u64> {
        self.inner.state().allowance.rest()
    }

    /// Whether the operating system keeps the key from being swapped out.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.inner.state().key.as_ref().is_ok_and(Locked::is_locked)
    }

    /// Why the key is gone, once it is.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.inner.state().key.as_ref().err().copied()
    }

    /// Whether a call can be made without [`Client::keep_up`](crate::Client::keep_up) before it: a use is recorded,
    /// the last time that it was asked is less than a minute of the license's time ago, and the host says the same
    /// of itself. Costs no I/O and needs no client. `moment` is read from the clocks that were there when the key
    /// was prepared.
    #[must_use]
    pub fn holds(&self, moment: Moment, host: &HostProfile) -> bool {
        let state = self.inner.state();
        state.key.is_ok() && state.allowance.is_there() && state.permit.is_kept_up(moment, &host.extended)
    }
}

impl<T> Drop for Prepared<T> {
    fn drop(&mut self) {
        self.inner.end(Ended::Closed);
    }
}

/// Without the key.
impl<T> core::fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Prepared")
            .field("kid", &self.kid())
            .field("algorithm", &self.algorithm())
            .field("operation", &self.operation())
            .field("license", &self.license())
            .finish_non_exhaustive()
    }
}

/// Which key of a license it is, and what is said of it there.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The key id that the license is kept under.
    asked: Kid,
    kid: Kid,
    algorithm: Algorithm,
    operation: Operation,
    versions: Vec<u32>,
    context: Option<Vec<u8>>,
    /// R-052: as the license states it.
    uses: Option<u64>,
}

/// What a handle and its client share.
struct Inner {
    about: About,
    license: Arc<TrustedLicense>,
    memory: Arc<dyn MemoryLock>,
    state: Mutex<State>,
}

struct State {
    key: Result<Locked<KeyBytes>, Ended>,
    permit: Permit,
    allowance: Allowance,
    /// Streams that have begun and not ended. Each has its use, and goes on when no other is left.
    streams: usize,
}

impl Inner {
    fn terms(&self) -> &LicenseBody {
        self.license.body()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A call that panicked has left nothing half done here: the key is used by reference.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wipes the key.
    fn end(&self, why: Ended) {
        self.state().end(why);
        zeroize_stack::<STACK>();
    }

    /// R-053: whether a stream may take another piece.
    fn permit_piece(&self, moment: Moment) -> Result<(), PerformError> {
        self.state().judge_piece(self.about.kid, moment)
    }

    /// One use of the key: judged, counted, made.
    fn perform<T: Tool, V>(
        &self,
        moment: Moment,
        use_key: impl FnOnce(&T) -> Result<V, ExchangeError>,
    ) -> Result<V, PerformError> {
        let outcome = self.perform_uncleared(moment, use_key);
        match &outcome {
            Err(PerformError::Ended { .. }) => zeroize_stack::<STACK>(),
            _ => zeroize_stack::<STACK_OF_CALL>(),
        }
        outcome
    }

    #[inline(never)]
    fn perform_uncleared<T: Tool, V>(
        &self,
        moment: Moment,
        use_key: impl FnOnce(&T) -> Result<V, ExchangeError>,
    ) -> Result<V, PerformError> {
        let kid = self.about.kid;
        let mut state = self.state();
        state.judge(kid, moment)?;
        state.take_use(kid)?;
        let key = state.key.as_ref().map_err(|why| *why);
        let key = key.and_then(|key| key.get().ok_or(Ended::Closed));
        let key = key.map_err(|why| PerformError::Ended { kid, why })?;
        let tool = key.tool(&self.about);
        // What is made next may be moved to the heap with whatever lies on the stack between its fields.
        zeroize_stack::<STACK_OF_CALL>();
        let used = tool.and_then(|tool| use_key(&tool));
        // R-052: what was refused before the key was touched is no use.
        if used.as_ref().is_err_and(|error| !error.is_use()) {
            state.allowance.put_back();
        }
        Ok(used?)
    }
}

impl State {
    /// The first reason stays, but for one that ends calls and not the streams that have begun.
    fn end(&mut self, why: Ended) {
        if matches!(self.key, Ok(_) | Err(Ended::UsedUp)) {
            self.key = Err(why);
        }
    }

    /// R-053: may a call be made now?
    fn judge(&mut self, kid: Kid, moment: Moment) -> Result<(), PerformError> {
        self.check(kid)?;
        self.judge_license(moment);
        self.check(kid)
    }

    /// R-053: may a stream that has begun go on now?
    fn judge_piece(&mut self, kid: Kid, moment: Moment) -> Result<(), PerformError> {
        self.check_stream(kid)?;
        self.judge_license(moment);
        self.check_stream(kid)
    }

    fn judge_license(&mut self, moment: Moment) {
        if let Err(stop) = self.permit.judge(moment) {
            self.end(Ended::Refused(stop));
        }
    }

    /// R-052
    fn take_use(&mut self, kid: Kid) -> Result<(), PerformError> {
        if self.allowance.take() {
            return Ok(());
        }
        if self.allowance.rest() == Some(0) {
            self.end(Ended::UsedUp);
        }
        self.check(kid)?;
        Err(PerformError::NotRecorded { kid })
    }

    fn check(&self, kid: Kid) -> Result<(), PerformError> {
        match &self.key {
            Ok(_) => Ok(()),
            Err(why) => Err(PerformError::Ended { kid, why: *why }),
        }
    }

    fn check_stream(&self, kid: Kid) -> Result<(), PerformError> {
        match &self.key {
            Err(Ended::UsedUp) => Ok(()),
            _ => self.check(kid),
        }
    }
}

/// A handle as its client knows it.
pub(crate) trait Handle {
    fn license(&self) -> LicenseId;

    /// The key id that the license is kept under.
    fn asked(&self) -> Kid;

    /// The license, and whose license server signed it.
    fn of(&self) -> (&TrustedLicense, Digest);

    /// Whether the license is in the store.
    fn is_persistent(&self) -> bool;

    /// Wipes the key.
    fn end(&self, why: Ended);
}

impl Handle for Inner {
    fn license(&self) -> LicenseId {
        self.terms().id
    }

    fn asked(&self) -> Kid {
        self.about.asked
    }

    fn of(&self) -> (&TrustedLicense, Digest) {
        (&self.license, self.state().permit.operator)
    }

    fn is_persistent(&self) -> bool {
        self.terms().persistent
    }

    fn end(&self, why: Ended) {
        Self::end(self, why);
    }
}
