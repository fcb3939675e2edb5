//! Keys without licenses.

use core::fmt;

use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;

use super::{KeyError, KeyRing};
use crate::cenc::{Pattern, SampleCipher, Scheme};

/// Content keys as they are.
///
/// **The attack:** whoever reads media with raw keys needs no license: no rule is judged, nothing is
/// recorded, and nothing says that a key is meant for the cipher it is used in. It is for tests, for
/// holding files against other programs, and for operators who check what they packaged.
#[derive(Default)]
pub struct RawKeys {
    keys: Vec<(Kid, ContentKey)>,
    any: Option<ContentKey>,
}

impl RawKeys {
    /// No keys yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key of a key id, in place of an earlier one.
    pub fn insert(&mut self, kid: Kid, key: ContentKey) {
        self.keys.retain(|(known, _)| *known != kid);
        self.keys.push((kid, key));
    }

    /// Sets the key for every key id that has none of its own.
    pub fn insert_any(&mut self, key: ContentKey) {
        self.any = Some(key);
    }

    fn find(&self, kid: Kid) -> Option<&ContentKey> {
        let own = self.keys.iter().find(|(known, _)| *known == kid);
        own.map(|(_, key)| key).or(self.any.as_ref())
    }
}

impl KeyRing for RawKeys {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        let key = self.find(kid).ok_or(KeyError::Missing)?;
        Ok(SampleCipher::new(key, scheme, pattern)?)
    }

    /// Raw keys stand under no license.
    fn permits(&self, _: Kid) -> Result<(), KeyError> {
        Ok(())
    }
}

/// The key ids alone.
impl fmt::Debug for RawKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawKeys")
            .field("kids", &self.keys.iter().map(|(kid, _)| kid).collect::<Vec<_>>())
            .field("any", &self.any.is_some())
            .finish()
    }
}
