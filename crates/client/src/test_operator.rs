//! Test operators: whose root certificate says that they issue to anybody.
//!
//! A client trusts one only if its host says so when the device enrols. Being enrolled is what it remembers of that.

use keyward_crypto::x509::Anchor;
use keyward_license::{discovery::LicenseServer, ids::Digest};
use rand_core::CryptoRng;

use crate::{Client, ClientError, acquire::Wanted, device::KeyStore};

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Refuses a test operator unless the host accepts them.
    ///
    /// # Errors
    /// [`ClientError::TestOperator`].
    pub(crate) fn check_test_operator(&self, anchor: &Anchor) -> Result<(), ClientError> {
        match anchor.is_test() && !self.host.accept_test_operators {
            true => Err(ClientError::TestOperator),
            false => Ok(()),
        }
    }

    /// Where licenses are asked for. The query of the license server URL that was named says what a test operator is to
    /// issue; no other operator is told it.
    ///
    /// # Errors
    /// [`ClientError::ContentHeader`].
    pub(crate) fn license_url(
        &self,
        wanted: &Wanted,
        operator: &Digest,
        server: &LicenseServer,
    ) -> Result<String, ClientError> {
        let url = &server.license_url;
        let is_test = self
            .operators
            .get(operator)
            .is_some_and(|one| one.anchor().is_test());
        let named = wanted.named_url()?.filter(|_| is_test);
        let query = named.as_deref().and_then(query);
        Ok(query.map_or_else(|| url.clone(), |query| format!("{url}?{query}")))
    }
}

/// The query of a URL: what is between the first `?` and a `#`.
fn query(url: &str) -> Option<&str> {
    let (url, _) = url.split_once('#').unwrap_or((url, ""));
    url.split_once('?')
        .map(|(_, query)| query)
        .filter(|query| !query.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_is_behind_the_first_question_mark() {
        for (url, expected) in [
            ("https://a.example", None),
            ("https://a.example/?", None),
            (
                "https://a.example/?cfg=(persist:true)",
                Some("cfg=(persist:true)"),
            ),
            ("https://a.example?a?b#c?d", Some("a?b")),
            ("https://a.example/#?a", None),
        ] {
            assert_eq!(query(url), expected, "{url}");
        }
    }
}
