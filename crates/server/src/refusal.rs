//! Why a device's or packager's message gets no answer. Each variant names the step of `spec/rules.md` that failed
//! and maps to one number of `spec/errors.md`.

use keyward_content::header::HeaderError;
use keyward_crypto::CryptoError;
use keyward_license::{
    codec::DecodeError,
    error_code::{ErrorCode, Problem},
    packaging::Unsupported,
    signed::MessageError,
};

use crate::{Error, authenticate::is_unknown};

/// Why a license, enrolment or packaging request is refused as a whole. What becomes of a single key id
/// is a denial inside the signed response instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// V-001 to V-005: a step that every message takes.
    #[error(transparent)]
    Message(MessageError),
    /// The request names more key ids than one may.
    #[error("the request names more than {0} key ids")]
    TooManyKids(usize),
    /// A content header in the request cannot be read.
    #[error("a content header is malformed: {0}")]
    Header(#[from] HeaderError),
    /// V-040: sealed to another server, or to a certificate that is no longer in use.
    #[error("the request is sealed to another server or to a certificate that is no longer in use")]
    WrongRecipient,
    /// V-040: it does not open.
    #[error("the request does not open")]
    NotOpened,
    /// V-041: the device's chain is not valid now for the role device.
    #[error("the device certificate was refused: {0}")]
    Certificate(CryptoError),
    /// V-041: the device's certificate has no claims that can be read.
    #[error("the device certificate was refused: {0}")]
    Claims(DecodeError),
    /// V-042: the device is not enrolled.
    #[error("the device is not enrolled")]
    DeviceUnknown,
    /// V-042: the device was revoked.
    #[error("the device was revoked")]
    DeviceRevoked,
    /// V-041: no current revocation list tells whether a certificate or model is revoked, and the operator requires
    /// that.
    #[error("the server cannot tell whether the certificate was revoked")]
    StatusUnknown,
    /// V-047: what is revoked has changed while the request was judged.
    #[error("revocation lists changed meanwhile")]
    ListsChanged,
    /// V-048: the transaction is not one that can be acknowledged like this.
    #[error("the acknowledgement was refused: {0}")]
    Transaction(#[from] TransactionFault),
    /// This server signs no receipts at present.
    #[error("the server signs no receipts at present")]
    NoReceipts,
    /// V-043: another request of the device had this nonce.
    #[error("another request of the device had this nonce")]
    NonceReused,
    /// V-044: the store generation has fallen.
    #[error("the store's generation has fallen since the device's last request")]
    StoreRolledBack,
    /// V-046: what is good for one answer was used while this one was decided. Decided again, it is a denial.
    #[error("the authorization was used meanwhile")]
    AuthorizationUsed,
    /// The store's generation is beyond what a server counts.
    #[error("the store's generation is not below 2^63")]
    GenerationTooLarge,
    /// V-050: the request is not signed by the device key that it names.
    #[error("the enrolment request is not signed by the device key that it names")]
    NotOwnSignature,
    /// V-050: what the request names is not a device key.
    #[error("the device key was refused: {0}")]
    DeviceKey(CryptoError),
    /// V-051: the token does not permit this enrolment.
    #[error("the enrolment token was refused: {0}")]
    Token(#[from] TokenFault),
    /// V-054: the key is enrolled in another role.
    #[error("the key is enrolled in another role")]
    KeyOfOtherRole,
    /// V-055: a certificate that is to be renewed is not one of the party that asks.
    #[error("the certificate cannot be renewed: {0}")]
    Renewal(&'static str),
    /// V-052: the sealing keys are not as they should be.
    #[error("the sealing keys were refused: {0}")]
    SealingKeys(DecodeError),
    /// V-052: a sealing key is not a key of its suite.
    #[error("a sealing key is not a key of its suite")]
    SealingKeyInvalid,
    /// V-070: the packager's chain is not valid now for the role packager.
    #[error("the packager certificate was refused: {0}")]
    PackagerCertificate(CryptoError),
    /// V-070: the packager's certificate has no claims that can be read.
    #[error("the packager certificate was refused: {0}")]
    PackagerClaims(DecodeError),
    /// V-071: the packager is not enrolled.
    #[error("the packager is not enrolled")]
    PackagerUnknown,
    /// V-071: the packager was revoked.
    #[error("the packager was revoked")]
    PackagerRevoked,
    /// V-072: another request of the packager had this nonce.
    #[error("another request of the packager had this nonce")]
    PackagerNonceReused,
    /// V-073: what is asked for is not made.
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
    /// The content is under more roots than an answer names.
    #[error("the content is under more than {0} roots")]
    TooManyRoots(usize),
    /// The tracks and roots together have more leaf licenses than an answer brings.
    #[error("the request is for more than {0} leaf licenses")]
    TooManyLeaves(usize),
    /// V-077: there is no suite that the packager's certificate names and the operator permits.
    #[error("the packager has no sealing key of a suite that this operator permits")]
    PackagerSuite,
    /// A test operator answers with the error that the request asks for.
    #[error("the test request asked for error {} ({})", .0.number(), .0.name())]
    TestError(ErrorCode),
    /// The server has too much to do, is stopping, or must decide anew.
    #[error("{0}")]
    Busy(&'static str),
    /// The database or its disk fails for the time being; nothing was recorded.
    #[error("the server's database is not available at present")]
    Unavailable(#[source] Error),
    /// Somebody asks more often than it may.
    #[error("{0}")]
    RateLimited(&'static str),
    /// The server failed.
    #[error("the server failed")]
    Failed(#[source] Error),
}

/// V-051: what is wrong with an enrolment token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// Nobody made it.
    #[error("it is not known")]
    Unknown,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// Another device used it.
    #[error("another device used it")]
    UsedByAnother,
    /// V-054: it is for another role than the one that was asked for.
    #[error("it is for another role")]
    OtherRole,
    /// The same device used it with other sealing keys.
    #[error("the device used it with other sealing keys")]
    OtherSealingKeys,
}

/// V-048: what is wrong with an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionFault {
    /// The device has none of this id.
    #[error("the device has no such transaction")]
    Unknown,
    /// The results are not of the licenses of its answer.
    #[error("it does not name the licenses of the answer, each once")]
    OtherLicenses,
    /// It was acknowledged with other results.
    #[error("the transaction was acknowledged with other results")]
    OtherResults,
}

impl Refusal {
    /// The number of `spec/errors.md`.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Message(error) => message_code(error),
            Self::TooManyKids(_) | Self::TooManyRoots(_) | Self::TooManyLeaves(_) => ErrorCode::TooLarge,
            Self::Header(_) | Self::GenerationTooLarge => ErrorCode::Malformed,
            Self::WrongRecipient => ErrorCode::WrongRecipient,
            Self::NotOpened => ErrorCode::NotOpened,
            Self::Certificate(_)
            | Self::Claims(_)
            | Self::PackagerCertificate(_)
            | Self::PackagerClaims(_)
            | Self::Renewal(_) => ErrorCode::CertificateRefused,
            Self::DeviceUnknown | Self::PackagerUnknown => ErrorCode::DeviceUnknown,
            Self::DeviceRevoked | Self::PackagerRevoked => ErrorCode::DeviceRevoked,
            Self::NonceReused | Self::PackagerNonceReused => ErrorCode::NonceReused,
            Self::Transaction(_) => ErrorCode::TransactionRefused,
            Self::Unsupported(_) => ErrorCode::PackagingUnsupported,
            Self::PackagerSuite => ErrorCode::ClientLacksCapability,
            Self::StoreRolledBack => ErrorCode::StoreRolledBack,
            Self::NotOwnSignature => ErrorCode::BadSignature,
            Self::Token(_) => ErrorCode::TokenRefused,
            Self::DeviceKey(_) | Self::KeyOfOtherRole | Self::SealingKeys(_) | Self::SealingKeyInvalid => {
                ErrorCode::KeyRefused
            }
            Self::Busy(_)
            | Self::Unavailable(_)
            | Self::AuthorizationUsed
            | Self::StatusUnknown
            | Self::ListsChanged
            | Self::NoReceipts => ErrorCode::Busy,
            Self::RateLimited(_) => ErrorCode::RateLimited,
            Self::Failed(_) => ErrorCode::Internal,
            Self::TestError(code) => *code,
        }
    }

    /// The step of `spec/rules.md` that failed, for the log; empty where none is numbered.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Message(error) => message_rule(error),
            Self::WrongRecipient | Self::NotOpened => "V-040",
            Self::Certificate(_) | Self::Claims(_) | Self::StatusUnknown => "V-041",
            Self::ListsChanged => "V-047",
            Self::Transaction(_) => "V-048",
            Self::DeviceUnknown | Self::DeviceRevoked => "V-042",
            Self::NonceReused => "V-043",
            Self::StoreRolledBack => "V-044",
            Self::AuthorizationUsed => "V-046",
            Self::NotOwnSignature | Self::DeviceKey(_) => "V-050",
            Self::Token(TokenFault::OtherRole) | Self::KeyOfOtherRole => "V-054",
            Self::Token(_) => "V-051",
            Self::Renewal(_) => "V-055",
            Self::SealingKeys(_) | Self::SealingKeyInvalid => "V-052",
            Self::PackagerCertificate(_) | Self::PackagerClaims(_) => "V-070",
            Self::PackagerUnknown | Self::PackagerRevoked => "V-071",
            Self::PackagerNonceReused => "V-072",
            Self::Unsupported(_) => "V-073",
            Self::PackagerSuite => "V-077",
            Self::TooManyKids(_)
            | Self::TooManyRoots(_)
            | Self::TooManyLeaves(_)
            | Self::Header(_)
            | Self::GenerationTooLarge
            | Self::Busy(_)
            | Self::Unavailable(_)
            | Self::NoReceipts
            | Self::RateLimited(_)
            | Self::TestError(_)
            | Self::Failed(_) => "",
        }
    }

    /// Whether revocation lists may have decided it.
    pub(crate) const fn rests_on_lists(&self) -> bool {
        matches!(
            self,
            Self::DeviceRevoked | Self::PackagerRevoked | Self::StatusUnknown
        )
    }

    /// Logs the refusal, once, and turns it into what the device is told. The cause of a failure of the
    /// server stays in the log.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        let code = self.code();
        match &self {
            Self::Failed(error) | Self::Unavailable(error) => {
                tracing::error!(code = code.name(), error = %error, hint = error.hint(), "the server failed");
            }
            _ => tracing::info!(code = code.name(), rule = self.rule(), reason = %self, "request refused"),
        }
        Problem::new(code, self.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Stopping => Self::Busy("the server is stopping"),
            error if error.is_passing() => Self::Unavailable(error),
            other => Self::Failed(other),
        }
    }
}

impl From<MessageError> for Refusal {
    /// Of a message from a device: a refused signer is V-041.
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Signer(fault) if is_unknown(&fault) => Self::StatusUnknown,
            MessageError::Signer(fault) => Self::Certificate(fault),
            MessageError::NotOpened => Self::NotOpened,
            other => Self::Message(other),
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Message(MessageError::Decode(error))
    }
}

const fn message_code(error: &MessageError) -> ErrorCode {
    match error {
        MessageError::BadSignature => ErrorCode::BadSignature,
        MessageError::Signer(_) => ErrorCode::CertificateRefused,
        MessageError::UnsupportedVersion(_) => ErrorCode::UnsupportedVersion,
        MessageError::NotOpened => ErrorCode::NotOpened,
        MessageError::Making(_) => ErrorCode::Internal,
        _ => ErrorCode::Malformed,
    }
}

const fn message_rule(error: &MessageError) -> &'static str {
    match error {
        MessageError::Decode(_) | MessageError::Cose(_) => "V-001",
        MessageError::WrongType { .. } => "V-002",
        MessageError::BadSignature => "V-003",
        MessageError::Signer(_) => "V-004",
        MessageError::UnsupportedVersion(_) => "V-005",
        MessageError::NotOpened => "V-040",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DatabaseFault;

    #[test]
    fn a_failure_of_the_server_tells_nothing_of_its_cause() {
        let problem = Refusal::from(Error::Damaged("the secret row")).into_problem();
        assert_eq!((problem.code, problem.status), (501, 500));
        assert_eq!(problem.detail, "the server failed");
    }

    #[test]
    fn what_may_pass_is_told_as_busy_and_tells_nothing_of_its_cause() {
        let told = |fault| {
            let problem = Refusal::from(Error::NotCommitted(fault)).into_problem();
            (problem.code, problem.status, problem.detail)
        };
        for fault in [DatabaseFault::Full, DatabaseFault::Locked, DatabaseFault::Gone] {
            let detail = "the server's database is not available at present".to_owned();
            assert_eq!(told(fault), (502, 503, detail));
        }
        for fault in [DatabaseFault::Damaged, DatabaseFault::Other] {
            assert_eq!(told(fault), (501, 500, "the server failed".to_owned()));
        }
    }

    #[test]
    fn each_refusal_says_what_and_why() {
        let refusals = [
            Refusal::Message(MessageError::BadSignature),
            Refusal::Message(MessageError::UnsupportedVersion(9)),
            Refusal::TooManyKids(256),
            Refusal::Header(HeaderError::NotUtf16),
            Refusal::WrongRecipient,
            Refusal::NotOpened,
            Refusal::Certificate(CryptoError::ChainRefused(keyward_crypto::ChainFault::Expired)),
            Refusal::DeviceUnknown,
            Refusal::DeviceRevoked,
            Refusal::StatusUnknown,
            Refusal::ListsChanged,
            Refusal::Transaction(TransactionFault::Unknown),
            Refusal::Transaction(TransactionFault::OtherLicenses),
            Refusal::Transaction(TransactionFault::OtherResults),
            Refusal::NoReceipts,
            Refusal::NonceReused,
            Refusal::StoreRolledBack,
            Refusal::AuthorizationUsed,
            Refusal::GenerationTooLarge,
            Refusal::NotOwnSignature,
            Refusal::DeviceKey(CryptoError::MalformedKey("not a P-256 public key")),
            Refusal::Token(TokenFault::Expired),
            Refusal::Token(TokenFault::OtherRole),
            Refusal::KeyOfOtherRole,
            Refusal::SealingKeyInvalid,
            Refusal::Renewal("it is for other keys"),
            Refusal::PackagerCertificate(CryptoError::ChainRefused(keyward_crypto::ChainFault::WrongRole)),
            Refusal::PackagerUnknown,
            Refusal::PackagerRevoked,
            Refusal::PackagerNonceReused,
            Refusal::Unsupported(Unsupported::PeriodsHeader),
            Refusal::Unsupported(Unsupported::MixedHeader),
            Refusal::PackagerSuite,
            Refusal::TooManyRoots(64),
            Refusal::TooManyLeaves(1024),
            Refusal::Busy("the server is stopping"),
            Refusal::RateLimited("the device asks too often"),
        ];
        let lines: Vec<_> = refusals
            .iter()
            .map(|r| format!("{} {} {r}", r.code().number(), r.rule()))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        201 V-003 the signature does not verify
        102 V-005 protocol version 9 is not supported
        105  the request names more than 256 key ids
        101  a content header is malformed: the content header is not UTF-16LE text
        103 V-040 the request is sealed to another server or to a certificate that is no longer in use
        104 V-040 the request does not open
        202 V-041 the device certificate was refused: certificate chain refused: a certificate has expired
        203 V-042 the device is not enrolled
        204 V-042 the device was revoked
        502 V-041 the server cannot tell whether the certificate was revoked
        502 V-047 revocation lists changed meanwhile
        209 V-048 the acknowledgement was refused: the device has no such transaction
        209 V-048 the acknowledgement was refused: it does not name the licenses of the answer, each once
        209 V-048 the acknowledgement was refused: the transaction was acknowledged with other results
        502  the server signs no receipts at present
        205 V-043 another request of the device had this nonce
        206 V-044 the store's generation has fallen since the device's last request
        502 V-046 the authorization was used meanwhile
        101  the store's generation is not below 2^63
        201 V-050 the enrolment request is not signed by the device key that it names
        402 V-050 the device key was refused: malformed key material: not a P-256 public key
        401 V-051 the enrolment token was refused: it has expired
        401 V-054 the enrolment token was refused: it is for another role
        402 V-054 the key is enrolled in another role
        402 V-052 a sealing key is not a key of its suite
        202 V-055 the certificate cannot be renewed: it is for other keys
        202 V-070 the packager certificate was refused: certificate chain refused: it is not valid for this role
        203 V-071 the packager is not enrolled
        204 V-071 the packager was revoked
        205 V-072 another request of the packager had this nonce
        601 V-073 a content header is not made for crypto periods
        601 V-073 one content header names keys of one key type
        304 V-077 the packager has no sealing key of a suite that this operator permits
        105  the content is under more than 64 roots
        105  the request is for more than 1024 leaf licenses
        502  the server is stopping
        503  the device asks too often
        ");
    }
}
