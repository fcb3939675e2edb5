//! What a packager can run into when it talks to a license server.

use keyward_content::header::HeaderError;
use keyward_crypto::CryptoError;
use keyward_license::{
    carrier::{Declined, one_line},
    codec::DecodeError,
    discovery::DiscoveryError,
    enrolment::applicant::CertificateFault,
    error_code::{ErrorCode, Problem},
    operator_profile::{ProfileFault, UrlFault},
    signed::MessageError,
};

/// Why there is no certificate, or no packaging data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    // What the operator or the person at the packager can mend.
    /// The packager has no certificate yet.
    #[error("this packager is not enrolled with an operator")]
    NotEnrolled,
    /// The operator profile is of no use.
    #[error("the operator profile is refused: {0}")]
    Profile(ProfileFault),
    /// The operator is one for tests, and the host accepts none of them.
    #[error("the operator is one for tests: the seed of its keys is published")]
    TestOperator,
    /// The operator profile names no license server.
    #[error("the operator profile names no license server")]
    NoLicenseServer,
    /// A license server URL that must not be called.
    #[error("the license server URL {} is refused: {why}", one_line(url))]
    Url {
        /// The URL.
        url: String,
        /// Why.
        why: UrlFault,
    },
    /// What should be asked for breaks a bound of the protocol.
    #[error("this cannot be asked for: {0}")]
    Wanted(DecodeError),
    /// The license server could not be reached.
    #[error("cannot reach the license server: {0}")]
    Transport(String),
    /// The license server announces no packaging path.
    #[error("the license server has no packaging data")]
    NoPackaging,

    // What the other side did.
    /// The server answered with a problem document.
    #[error("the license server refused: {} ({})", one_line(&.0.detail), one_line(&.0.name))]
    ServerRefused(Problem),
    /// The server answered with something that is neither an answer nor a problem document.
    #[error("the license server answered with HTTP status {status} and no message of the protocol")]
    NotAnAnswer {
        /// HTTP status.
        status: u16,
    },
    /// V-060 to V-062: the discovery document is not one of this operator, or not in use.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// V-001 to V-005, V-011, V-074: a message was refused.
    #[error("{what} was refused: {error}")]
    Message {
        /// Which message.
        what: &'static str,
        /// Which step failed.
        error: MessageError,
    },
    /// V-012: the response does not answer the request that it was sealed for.
    #[error("{what} was refused: it answers another request")]
    OtherRequest {
        /// Which message.
        what: &'static str,
    },
    /// V-053: the certificate is not one for this packager.
    #[error("the packager certificate was refused: {0}")]
    Certificate(CertificateFault),
    /// V-075, V-076: tracks or keys are not those that were asked for.
    #[error("the packaging response was refused: {0}")]
    Tracks(DecodeError),
    /// V-075: the license server URL is not one of the profile that the packager enrolled with.
    #[error(
        "the packaging response was refused: its license server URL {}: {why}",
        one_line(url)
    )]
    LicenseUrl {
        /// The URL.
        url: String,
        /// Why.
        why: UrlFault,
    },
    /// V-075: the content header is not that of the tracks.
    #[error("the packaging response was refused: {0}")]
    Answer(&'static str),
    /// V-075: the content header cannot be read.
    #[error("the packaging response was refused: {0}")]
    ContentHeader(HeaderError),
    /// V-076: the keys were sealed to somebody else, or for another body.
    #[error("the packaging response was refused: its keys do not open")]
    KeysNotOpened,
    /// V-077: sealed with a weaker suite than the parties have in common.
    #[error(
        "the packaging response was refused: its keys are sealed with a weaker suite than packager and server have in common"
    )]
    WeakSuite,

    /// V-078: a leaf license is none for this content.
    #[error("the packaging response was refused: a leaf license in it: {0}")]
    Leaves(MessageError),

    // What should not happen.
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl ExchangeError {
    /// What to do next, for people.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotEnrolled => {
                "run `keyward packager enrol` with a token that the operator made for a packager"
            }
            Self::Profile(_) | Self::NoLicenseServer => "ask the operator for its profile again",
            Self::TestOperator => {
                "ask the operator for the profile of the service itself; in a test of your own, say so: `keyward packager enrol --accept-test-operator`"
            }
            Self::Url { .. } => "ask the operator for a profile with an https URL",
            Self::Wanted(_) => "shorten the content id or label, or ask for fewer tracks at a time",
            Self::Transport(_) => "check the network and that the license server is running, then try again",
            Self::NoPackaging => {
                "share the license key seed instead, or ask the operator to update the server"
            }
            Self::ServerRefused(problem) => ErrorCode::from_number(problem.code)
                .map_or("see the specification's error table", ErrorCode::hint),
            Self::LicenseUrl { .. } => {
                "ask the operator for its profile of today and a new token, and enrol again with both"
            }
            Self::NotAnAnswer { .. } => "check that the URL of the operator profile is a license server's",
            Self::Certificate(_) => "ask the operator for a new token, made for a packager",
            Self::Discovery(_) | Self::Message { .. } => {
                "check this machine's clock, and that nobody stands between it and the license server"
            }
            Self::OtherRequest { .. }
            | Self::Tracks(_)
            | Self::Answer(_)
            | Self::Leaves(_)
            | Self::ContentHeader(_)
            | Self::KeysNotOpened
            | Self::WeakSuite => "tell the operator: its license server does not follow the protocol",
            Self::Crypto(_) => "this is a fault of the program; please report it with the message above",
        }
    }
}

impl From<Declined> for ExchangeError {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Refused(problem) => Self::ServerRefused(problem),
            Declined::NotAnAnswer { status } => Self::NotAnAnswer { status },
        }
    }
}
