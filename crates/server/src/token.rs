//! Tokens that people and devices carry: admin tokens and enrolment tokens.

use core::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyward_crypto::kdf::sha256;
use keyward_license::ids::Digest;
use moka::sync::Cache;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// A token of 32 random bytes: `kw_` and 43 letters of base64url. The prefix lets scanners for leaked
/// secrets know it, and keeps it from looking like an option on a command line. The server keeps its
/// SHA-256 only, so that a copied database lets nobody in.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A fresh token.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        let mut text = Zeroizing::new(String::from("kw_"));
        URL_SAFE_NO_PAD.encode_string(&bytes[..], &mut text);
        Self(text)
    }

    /// The token, to be shown once. Every caller of this method handles a secret in the clear.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the server keeps of it.
    #[must_use]
    pub(crate) fn hash(&self) -> Digest {
        hash(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// The hash under which a token is kept. Tokens are random, so that one hash is enough.
pub(crate) fn hash(token: &str) -> Digest {
    Digest::new(sha256(&[token.as_bytes()]))
}

/// Tokens that were good last time, by their hashes. They say whose rate a request counts for and nothing else:
/// each request is authenticated anew.
pub(crate) struct KnownTokens(Cache<Digest, ()>);

impl KnownTokens {
    pub(crate) fn new() -> Self {
        Self(Cache::new(KNOWN))
    }

    pub(crate) fn has(&self, token: &str) -> bool {
        self.0.contains_key(&hash(token))
    }

    pub(crate) fn learn(&self, token: &str, good: bool) {
        if good {
            self.0.insert(hash(token), ());
        } else {
            self.0.invalidate(&hash(token));
        }
    }
}

/// Tokens held.
const KNOWN: u64 = 1024;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn a_token_is_random_and_never_printed_by_accident() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (one, two) = (Token::generate(&mut rng), Token::generate(&mut rng));
        assert_eq!((one.expose().len(), one.expose().get(..3)), (46, Some("kw_")));
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.hash(), hash(one.expose()));
        assert_eq!(format!("{one:?}"), "Token(redacted)");
    }
}
