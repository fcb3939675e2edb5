//! The license response: results, time and lists, signed by the license server, sealed to the request.

use std::collections::BTreeSet;

use crate::{
    cbor_map,
    codec::{Bytes, DecodeError},
    error_code::ErrorCode,
    exchange::exchange,
    ids::{Digest, Kid, Nonce, TransactionId},
    request::LicenseRequest,
    revocation::{MAX_PUSHED, RevocationList},
    signed::SignedBody,
    time::Timestamp,
};

/// Most results one response may hold.
pub const MAX_RESULTS: usize = 1024;

cbor_map! {
    /// Body of a license response.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LicenseResponse = "license response" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request's body bytes.
        [2] request: Digest,
        /// The request's nonce.
        [3] nonce: Nonce,
        /// One result a key id asked for.
        [4] results: Vec<KeyResult>,
        /// Revocation lists newer than those the client holds; at most [`MAX_PUSHED`].
        [5?] revocation_lists: Vec<RevocationList>,
        /// The server's time.
        [6] server_time: Timestamp,
        /// Names this answer, where the client is to acknowledge it.
        [7?] transaction: TransactionId,
        /// The service's own bytes for the application.
        [8?] custom_data: Bytes,
        /// from when on the client asks for what comes next; drawn by the server in a window.
        [9?] renew_at: Timestamp,
    }
}

impl SignedBody for LicenseResponse {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.license-response+cose";
    const CONTEXT: &'static str = "keyward/1 license-response";
}

exchange!(LicenseRequest => LicenseResponse, signed by LicenseServer);

impl LicenseResponse {
    /// V-014: whether the results are at most [`MAX_RESULTS`] and the lists at most [`MAX_PUSHED`], each result
    /// for another key id, a license or a denial, and for key ids in `asked`; `takes_more` (the client announced that it takes licenses that
    /// go along): a license may be for another key id as well, a denial never.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_results(&self, asked: impl Fn(&Kid) -> bool, takes_more: bool) -> Result<(), DecodeError> {
        if self.results.len() > MAX_RESULTS {
            return Err(DecodeError::Invalid("it brings more results than a response may"));
        }
        if self.revocation_lists.as_ref().map_or(0, Vec::len) > MAX_PUSHED {
            return Err(DecodeError::Invalid(
                "it brings more revocation lists than a response may",
            ));
        }
        let mut seen = BTreeSet::new();
        for result in &self.results {
            if !seen.insert(result.kid) {
                return Err(DecodeError::Invalid("it brings two results for one key"));
            }
            let goes_along = takes_more && matches!(result.outcome()?, Outcome::License(_));
            if !(asked(&result.kid) || goes_along) {
                return Err(DecodeError::Invalid("it brings a result that was not asked for"));
            }
            result.outcome()?;
        }
        Ok(())
    }
}

cbor_map! {
    /// What became of one key id: a license or a denial.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KeyResult = "result" {
        /// Key id.
        [1] kid: Kid,
        /// The signed license.
        [2?] license: Bytes,
        /// Why there is none.
        [3?] denial: Denial,
    }
}

impl KeyResult {
    /// The result as one or the other.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] unless exactly one is there.
    pub fn outcome(&self) -> Result<Outcome<'_>, DecodeError> {
        match (&self.license, &self.denial) {
            (Some(license), None) => Ok(Outcome::License(&license.0)),
            (None, Some(denial)) => Ok(Outcome::Denied(denial)),
            _ => Err(DecodeError::Invalid("a result is either a license or a denial")),
        }
    }
}

/// What became of one key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The bytes of a signed license.
    License(&'a [u8]),
    /// A denial.
    Denied(&'a Denial),
}

cbor_map! {
    /// Why a key id got no license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Denial = "denial" {
        /// Number in `spec/errors.md`.
        [1] code: u64,
        /// A sentence for people.
        [2] sentence: String,
        /// A page that helps (to buy, to sign in).
        [3?] url: String,
    }
}

impl Denial {
    /// What the viewer does next, by the code.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match ErrorCode::from_number(self.code) {
            Some(code) => code.hint(),
            None => "update the client: the server's error is newer than this version",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licensed(kid: u8) -> KeyResult {
        KeyResult {
            kid: Kid::new([kid; 16]),
            license: Some(Bytes(vec![1])),
            denial: None,
        }
    }

    fn denied(kid: u8) -> KeyResult {
        let denial = Denial {
            code: 301,
            sentence: "no".into(),
            url: None,
        };
        KeyResult {
            license: None,
            denial: Some(denial),
            ..licensed(kid)
        }
    }

    fn fault(results: Vec<KeyResult>, takes_more: bool) -> Option<&'static str> {
        let response = LicenseResponse {
            version: 1,
            request: Digest::new([1; 32]),
            nonce: Nonce::new([2; 16]),
            results,
            revocation_lists: None,
            server_time: Timestamp(1),
            transaction: None,
            custom_data: None,
            renew_at: None,
        };
        let asked = [Kid::new([1; 16]), Kid::new([2; 16])];
        match response.check_results(|kid| asked.contains(kid), takes_more) {
            Ok(()) => None,
            Err(DecodeError::Invalid(fault)) => Some(fault),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn v_014_licenses_go_along_where_that_was_announced() {
        let unasked = Some("it brings a result that was not asked for");
        let twice = Some("it brings two results for one key");
        let cases = [
            (vec![], None, None),
            (vec![licensed(1), denied(2)], None, None),
            (vec![licensed(1), licensed(3)], unasked, None),
            (vec![licensed(3), licensed(1)], unasked, None),
            (vec![denied(3)], unasked, unasked),
            (vec![licensed(1), licensed(1)], twice, twice),
            (vec![licensed(1), denied(1)], twice, twice),
        ];
        for (results, alone, more) in cases {
            assert_eq!(fault(results.clone(), false), alone, "{results:?}");
            assert_eq!(fault(results.clone(), true), more, "{results:?}");
        }
        assert_eq!(fault(vec![licensed(3), licensed(3)], true), twice);
    }

    #[test]
    fn v_014_a_result_is_one_or_the_other_and_there_are_not_too_many() {
        let neither = KeyResult {
            denial: None,
            ..denied(1)
        };
        let both = KeyResult {
            license: licensed(1).license,
            ..denied(1)
        };
        let one_or_other = Some("a result is either a license or a denial");
        for takes_more in [false, true] {
            assert_eq!(fault(vec![neither.clone()], takes_more), one_or_other);
            assert_eq!(fault(vec![both.clone()], takes_more), one_or_other);
        }
        let many = |count: usize| {
            (0..count)
                .map(|at| KeyResult {
                    kid: Kid::new((at as u128).to_be_bytes()),
                    ..licensed(0)
                })
                .collect()
        };
        assert_eq!(fault(many(MAX_RESULTS), true), None);
        let over = Some("it brings more results than a response may");
        assert_eq!(fault(many(MAX_RESULTS + 1), true), over);
    }
}
