//! Where a content key comes from.

use std::sync::Arc;

use keyward_crypto::{ContentKey, seed::LicenseKeySeed};
use keyward_license::ids::Kid;

/// The source of the content key of one key id. The license server must have the same source.
#[derive(Debug)]
pub enum KeySource {
    /// Derived from the license key seed and the key id: packager and license server share the seed.
    Seed(Arc<LicenseKeySeed>),
    /// Drawn by the license server's vault, which gave it to the packager.
    Vault(ContentKey),
    /// Given as it is; whoever gave it also gives it to the license server.
    Raw(ContentKey),
}

impl KeySource {
    /// The content key that `kid` names.
    #[must_use]
    pub fn content_key(&self, kid: Kid) -> ContentKey {
        match self {
            Self::Seed(seed) => seed.derive(kid.as_bytes()),
            Self::Vault(key) | Self::Raw(key) => key.duplicate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_each_key_id_its_key_and_the_others_give_theirs() {
        let seed = hex::decode("5d5068bec9b384ff6044867159f16d6b755544fcd5116989b1acc4278e88").unwrap();
        let kid: Kid = "10000000-1000-1000-1000-100000000001".parse().unwrap();
        let derived = KeySource::Seed(Arc::new(LicenseKeySeed::new(&seed).unwrap())).content_key(kid);
        assert_eq!(hex::encode(derived.expose()), "3a2a1b68dd2bd9b2eeb25e84c4776668");
        for source in [
            KeySource::Vault(derived.duplicate()),
            KeySource::Raw(derived.duplicate()),
        ] {
            assert_eq!(source.content_key(kid), derived);
            assert!(!format!("{source:?}").contains("3a"), "no key in Debug");
        }
    }
}
