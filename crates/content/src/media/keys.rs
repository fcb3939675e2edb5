//! Where the keys of media come from, and the ciphers that are made of them.

use core::fmt;

use keyward_license::{
    ids::Kid,
    usage_rules::{Refusal, Rule},
};

use crate::cenc::{CencError, Pattern, SampleCipher, Scheme};

/// Whoever has the content keys of media: the client's licenses, or for tests raw keys
/// ([`danger::RawKeys`](super::danger::RawKeys)).
pub trait KeyRing {
    /// The cipher for samples under the key `kid`.
    ///
    /// A cipher is kept as long as it is in use: a key ring is asked once for all samples of a track, unless
    /// dozens of keys take turns. For each further sample it is asked for [`KeyRing::permits`] alone.
    ///
    /// # Errors
    /// [`KeyError`]: no byte of a sample under that key is handed out then.
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError>;

    /// Whether a cipher that was made before may be used for another sample under the key `kid`. Asked for each
    /// sample, so it has to be cheap.
    ///
    /// # Errors
    /// [`KeyError`], as for [`KeyRing::cipher`]: the key was taken back, and the cipher is dropped.
    fn permits(&self, kid: Kid) -> Result<(), KeyError>;
}

impl<K: KeyRing + ?Sized> KeyRing for &K {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        (**self).cipher(kid, scheme, pattern)
    }

    fn permits(&self, kid: Kid) -> Result<(), KeyError> {
        (**self).permits(kid)
    }
}

/// Why there is no cipher for samples under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key ring does not have the key.
    #[error("no license was opened for it")]
    Missing,
    /// The key is for something else: no key serves two ciphers.
    #[error("its license is not for protection scheme {0}")]
    KeyType(Scheme),
    /// its license does not permit any more that it is used.
    #[error("its license does not permit it: {} ({})", .0, .0.rule())]
    Refused(Refusal),
    /// no output may carry what it protects.
    #[error("no output may carry it: {} ({})", .0.says(), .0)]
    Blocked(Rule),
    /// The scheme and the pattern do not go together.
    #[error("{0}")]
    Cenc(#[from] CencError),
}

impl KeyError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing => "acquire a license for that key id: `keyward acquire KID`",
            Self::KeyType(_) => "have the key registered for the scheme that the content is protected with",
            Self::Refused(_) => {
                "acquire a new license: `keyward acquire FILE`; `keyward explain FILE` says what it permits"
            }
            Self::Blocked(_) => {
                "play on an output that the license permits: `keyward explain FILE` names the rules"
            }
            Self::Cenc(error) => error.hint(),
        }
    }
}

/// The ciphers in use: one key schedule serves all samples under a key.
#[derive(Default)]
pub(super) struct Ciphers(Vec<Held>);

struct Held {
    kid: Kid,
    cipher: SampleCipher,
}

/// Ciphers kept at once. Keys that rotate come and go.
const MAX_CIPHERS: usize = 32;

impl Ciphers {
    /// The cipher for these samples, from the ring if it was not used lately.
    pub(super) fn get(
        &mut self,
        keys: &impl KeyRing,
        kid: Kid,
        scheme: Scheme,
        pattern: Pattern,
    ) -> Result<&SampleCipher, KeyError> {
        let fits = |held: &Held| {
            held.kid == kid && held.cipher.scheme() == scheme && held.cipher.pattern() == pattern
        };
        let at = match self.0.iter().position(fits) {
            Some(at) => match keys.permits(kid) {
                Ok(()) => at,
                Err(refused) => {
                    self.0.remove(at);
                    return Err(refused);
                }
            },
            None => {
                let cipher = keys.cipher(kid, scheme, pattern)?;
                if self.0.len() >= MAX_CIPHERS {
                    self.0.remove(0);
                }
                self.0.push(Held { kid, cipher });
                self.0.len().saturating_sub(1)
            }
        };
        self.0.get(at).map(|held| &held.cipher).ok_or(KeyError::Missing)
    }
}

impl fmt::Debug for Ciphers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|held| held.kid))
            .finish()
    }
}
