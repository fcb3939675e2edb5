//! Decrypting media: the keys that licenses released, given to whoever reads samples.
//!
//! The rules are judged when a license is bound (see [`enforce`](crate::enforce)), before the first sample.
//! A license that ends while its content plays does not end the playing: whoever holds an [`Opened`] keeps
//! its keys. Terms that are to hold during playback (an expiration that stops it, a time that runs from the
//! first play) need more than this: a key ring that asks the clock again when a cipher is asked for, and
//! a reader that comes back to it now and then, which
//! [`ClearView`](keyward_content::media::ClearView) does only once a key.

use keyward_content::{
    cenc::{Pattern, SampleCipher, Scheme},
    media::{KeyError, KeyRing},
};
use keyward_license::ids::Kid;

use crate::{enforce::Bound, session::Opened};

/// The key of the license that was bound for the key id, for its own kind of cipher alone: a key for CTR
/// serves `cenc` and `cens`, one for CBC `cbc1` and `cbcs`, one for files neither.
impl KeyRing for Opened {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        let bound = self.bound.iter().find(|bound| bound.kid() == kid);
        bound.ok_or(KeyError::Missing)?.sample_cipher(scheme, pattern)
    }
}

/// As for [`Opened`], with a single key.
impl KeyRing for Bound {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        if kid != self.kid() {
            return Err(KeyError::Missing);
        }
        self.sample_cipher(scheme, pattern)
    }
}
