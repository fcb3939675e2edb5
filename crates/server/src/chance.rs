//! Randomness: the operating system's, in one place.

use getrandom::SysRng;
use rand_core::UnwrapErr;

/// The operating system's generator. A machine without randomness cannot run a license server, so its
/// failure ends the request.
pub(crate) const fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
