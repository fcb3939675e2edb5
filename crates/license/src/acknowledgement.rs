//! Acknowledgement: the client tells what became of the licenses of a response, and gets a receipt.
//!
//! ```text
//!  license response, with a transaction id
//!      │ installed, or refused
//!      ▼
//!  AcknowledgeRequest ── license by license: stored, in memory, refused and why ──►  license server
//!                     ◄───────────────────────────────── Receipt, signed in the role receipt
//! ```
//! It is told again until the receipt is there, and gives nothing back: a license that was refused was
//! issued nevertheless.

use keyward_crypto::Secret;

use crate::{
    cbor_enum, cbor_map,
    codec::{DecodeError, nothing_twice},
    exchange::exchange,
    ids::{Digest, Kid, LicenseId, Nonce, TransactionId},
    response::MAX_RESULTS,
    signed::SignedBody,
    time::Timestamp,
};

/// Longest reason for a refusal, in bytes.
pub const MAX_REASON: usize = 255;

cbor_map! {
    /// Body of an acknowledge request.
    pub struct AcknowledgeRequest = "acknowledge request" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request-encryption certificate it is sealed to.
        [2] recipient: Digest,
        /// Drawn for this request.
        [3] nonce: Nonce,
        /// Key material that only the receipt is sealed under.
        [4] response_key: Secret<32>,
        /// The response's transaction.
        [5] transaction: TransactionId,
        /// What became of each license of the response; 1 to [`MAX_RESULTS`].
        [6] licenses: Vec<AcknowledgedLicense>,
    }
}

impl SignedBody for AcknowledgeRequest {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.acknowledge-request+cose";
    const CONTEXT: &'static str = "keyward/1 acknowledge-request";
}

impl core::fmt::Debug for AcknowledgeRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AcknowledgeRequest")
            .field("nonce", &self.nonce)
            .field("transaction", &self.transaction)
            .field("licenses", &self.licenses)
            .finish_non_exhaustive()
    }
}

impl AcknowledgeRequest {
    /// Checks counts and lengths that the decoder does not, and that no key id stands there twice.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_bounds(&self) -> Result<(), DecodeError> {
        if !(1..=MAX_RESULTS).contains(&self.licenses.len()) {
            return Err(DecodeError::Invalid(
                "an acknowledgement names 1 to 1024 licenses",
            ));
        }
        if !nothing_twice(self.licenses.iter().map(|license| license.kid)) {
            return Err(DecodeError::Invalid("an acknowledgement names a key id twice"));
        }
        self.licenses.iter().try_for_each(AcknowledgedLicense::check)
    }
}

cbor_map! {
    /// What became of one license at the client.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AcknowledgedLicense = "acknowledged license" {
        /// Key id of the response's result.
        [1] kid: Kid,
        /// The license, as far as it could be read.
        [2?] license: LicenseId,
        /// What became of it.
        [3] outcome: LicenseOutcome,
        /// Why it was refused: the number of the step, and a sentence; at most [`MAX_REASON`] bytes.
        [4?] reason: String,
    }
}

impl AcknowledgedLicense {
    /// Checks the reason: there is none for what was not refused, and it is not too long; and that a license
    /// that is held is named.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check(&self) -> Result<(), DecodeError> {
        let refused = self.outcome == LicenseOutcome::Refused;
        if self.license.is_none() && !refused {
            return Err(DecodeError::Invalid("a license that is held has an id"));
        }
        match &self.reason {
            Some(_) if !refused => Err(DecodeError::Invalid(
                "a license that is held has no reason for a refusal",
            )),
            Some(reason) if reason.len() > MAX_REASON => {
                Err(DecodeError::Invalid("the reason for a refusal is too long"))
            }
            _ => Ok(()),
        }
    }
}

cbor_enum! {
    /// What became of a license at the client.
    pub enum LicenseOutcome = "outcome of a license" {
        /// It is in the license store.
        Stored = 0,
        /// It is held in memory.
        InMemory = 1,
        /// It was refused, and so was its whole response.
        Refused = 2,
    }
}

cbor_map! {
    /// Body of a receipt.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Receipt = "receipt" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request's body bytes.
        [2] request: Digest,
        /// The request's nonce.
        [3] nonce: Nonce,
        /// The request's transaction.
        [4] transaction: TransactionId,
        /// The server's time.
        [5] server_time: Timestamp,
    }
}

impl SignedBody for Receipt {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.receipt+cose";
    const CONTEXT: &'static str = "keyward/1 receipt";
}

// V-065: signed in the role receipt; digest and nonce are the request's.
exchange!(AcknowledgeRequest => Receipt, signed by Receipt);

#[cfg(test)]
mod tests {
    use super::*;

    fn license(kid: u8, outcome: LicenseOutcome) -> AcknowledgedLicense {
        AcknowledgedLicense {
            kid: Kid::new([kid; 16]),
            license: Some(LicenseId::new([kid; 16])),
            outcome,
            reason: None,
        }
    }

    fn request(licenses: Vec<AcknowledgedLicense>) -> AcknowledgeRequest {
        AcknowledgeRequest {
            version: 1,
            recipient: Digest::new([1; 32]),
            nonce: Nonce::new([2; 16]),
            response_key: Secret::new([3; 32]),
            transaction: TransactionId::new([4; 16]),
            licenses,
        }
    }

    #[test]
    fn v_048_an_acknowledgement_names_each_license_once() {
        use LicenseOutcome::{InMemory, Refused, Stored};
        let because = |reason: &str| AcknowledgedLicense {
            reason: Some(reason.into()),
            ..license(3, Refused)
        };
        let unread = |outcome| AcknowledgedLicense {
            license: None,
            ..license(4, outcome)
        };
        let good = vec![
            license(1, Stored),
            license(2, InMemory),
            because(&"w".repeat(255)),
            unread(Refused),
        ];
        assert_eq!(request(good).check_bounds(), Ok(()));
        let many = |count: usize| {
            (0..count)
                .map(|at| AcknowledgedLicense {
                    kid: Kid::new((at as u128).to_be_bytes()),
                    ..license(1, Stored)
                })
                .collect()
        };
        assert_eq!(request(many(MAX_RESULTS)).check_bounds(), Ok(()));
        for bad in [
            vec![],
            many(MAX_RESULTS + 1),
            vec![license(1, Stored), license(1, Refused)],
            vec![because(&"w".repeat(256))],
            vec![AcknowledgedLicense {
                outcome: Stored,
                ..because("why")
            }],
            vec![unread(Stored)],
            vec![unread(InMemory)],
        ] {
            assert!(request(bad.clone()).check_bounds().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_secret_is_not_printed() {
        let text = format!("{:?}", request(vec![license(1, LicenseOutcome::Stored)]));
        assert!(
            text.contains("transaction") && !text.contains("response_key"),
            "{text}"
        );
    }
}
