//! What a client can run into, sorted by who has to do something about it.

use keyward_content::header::HeaderError;
use keyward_crypto::{
    ChainFault, CryptoError,
    exchange::{Algorithm, Operation},
};
use keyward_license::{
    carrier::Declined,
    codec::DecodeError,
    discovery::DiscoveryError,
    enrolment::applicant::CertificateFault,
    error_code::{Behaviour, ErrorCode, Problem},
    ids::{Digest, Kid},
    key_exchange::ExchangeError,
    operator_profile::{ProfileFault, UrlFault},
    request::NotAnnounced,
    response::Denial,
    signed::MessageError,
    time::Timestamp,
    usage_rules::{Refusal, Rule},
};

use crate::store::StoreBound;

pub use keyward_license::carrier::one_line;

/// An error of the client component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    // What the user or operator can mend.
    /// No operator profile covers this license server URL.
    #[error("no enrolled operator has the license server {}", one_line(url))]
    UnknownOperator {
        /// The URL, from the content header or the caller.
        url: String,
    },
    /// The device is not enrolled with any operator, or with several and none was named.
    #[error("{0}")]
    OperatorNotNamed(&'static str),
    /// A license server URL that must not be called.
    #[error("the license server URL {} is refused: {why}", one_line(url))]
    UrlRefused {
        /// The URL.
        url: String,
        /// Why.
        why: UrlFault,
    },
    /// The content names no license server and the caller named none.
    #[error("the content names no license server")]
    NoLicenseServer,
    /// The operator profile is of another version or names no root certificate.
    #[error("the operator profile is refused: {0}")]
    ProfileRefused(ProfileFault),
    /// The operator is one for tests, and the host accepts none of them.
    #[error("the operator is one for tests: it issues licenses to anybody and keeps nothing secret")]
    TestOperator,
    /// A test operator should be asked by other means than its license server URL, whose query would be lost.
    #[error(
        "what the license server URL asks the test operator for does not travel with a request in a file"
    )]
    WishNotCarried,
    /// The content header is malformed.
    #[error(transparent)]
    ContentHeader(#[from] HeaderError),

    // What the rules say.
    /// The store holds no license for this key, and V-039: none that rides in the content is of use.
    #[error("no license in the store covers key {kid}")]
    NoLicense {
        /// Key id.
        kid: Kid,
    },
    /// There are licenses, and none permits the action now.
    #[error("the license for key {kid} does not permit this: {refusal} ({})", refusal.rule())]
    Refused {
        /// Key id.
        kid: Kid,
        /// The rule that decided, of the license that came closest.
        refusal: Refusal,
    },
    /// there are licenses, and what they permit may go to no output of this host.
    #[error("no output may carry what key {kid} protects: {} ({})", rule.says(), rule)]
    Blocked {
        /// Key id.
        kid: Kid,
        /// The rule that blocks the first output.
        rule: Rule,
    },
    /// there are licenses for key exchange, and every use that they permit has been made.
    #[error("every use of key {kid} that its license permits has been made (R-052)")]
    UsedUp {
        /// Key id.
        kid: Kid,
    },
    /// V-037: the key is in a leaf license, and its root license is not there.
    #[error("the license for key {kid} needs the license of its root, {root}, which is not in the store")]
    NoRoot {
        /// Key id.
        kid: Kid,
        /// Key id of the root.
        root: Kid,
    },
    /// The key is a root license's: it opens leaf licenses and no content.
    #[error("key {kid} opens licenses, not content")]
    RootKey {
        /// Key id.
        kid: Kid,
    },
    /// The key protects content; it is never used for anything else.
    #[error("key {kid} is for content, not for the application's own data")]
    NotAnExchangeKey {
        /// Key id.
        kid: Kid,
    },
    /// The key is for the application's own data; no content is opened with it.
    #[error("key {kid} is for the application's own data, not for content")]
    NotAContentKey {
        /// Key id.
        kid: Kid,
    },
    /// the license permits one operation, and another one was asked for.
    #[error("the license for key {kid} permits to {permitted}, not to {asked} (R-050)")]
    WrongOperation {
        /// Key id that was asked for.
        kid: Kid,
        /// The operation that the license permits.
        permitted: Operation,
        /// The one that was asked for.
        asked: Operation,
    },
    /// the license holds no key of the algorithm that was asked for.
    #[error("the license for key {kid} holds no key of algorithm {} (R-050)", asked.name())]
    WrongAlgorithm {
        /// Key id that was asked for.
        kid: Kid,
        /// The algorithm that was asked for.
        asked: Algorithm,
    },
    /// A key could not be made ready.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// A place of the content needs more keys than a request may name.
    #[error("a place of the content needs more than {most} keys")]
    TooManyKeys {
        /// How many it may need.
        most: usize,
    },
    /// The operator has told this process that this device is revoked, so nothing more is asked of it.
    #[error("operator {operator} has revoked this device")]
    DeviceRevoked {
        /// SHA-256 of the operator's root certificate.
        operator: Digest,
        /// The time of the answer that said so.
        since: Timestamp,
    },
    /// The license server denied a license.
    #[error("the license server denied a license for key {kid}: {}", one_line(&denial.sentence))]
    Denied {
        /// Key id.
        kid: Kid,
        /// Code, sentence and page.
        denial: Denial,
    },

    // What the other side did wrong.
    /// The server answered with a problem document.
    #[error("the license server refused: {} ({})", one_line(&.0.detail), one_line(&.0.name))]
    ServerRefused(Problem),
    /// The server answered with something that is neither an answer nor a problem document.
    #[error("the license server answered with HTTP status {status} and no message of the protocol")]
    NotAnAnswer {
        /// HTTP status.
        status: u16,
    },
    /// V-001 to V-005 and the steps built on them: a message was refused.
    #[error("{what} was refused: {error}")]
    Message {
        /// Which message.
        what: &'static str,
        /// Which step failed.
        error: MessageError,
    },
    /// V-001: what should be installed is no license response, or was cut off.
    #[error("this is not a license response, or it was damaged")]
    NotAResponse,
    /// V-063, V-064: what should be taken in is no file of revocation lists.
    #[error("these are no revocation lists, or they were damaged")]
    NotLists,
    /// V-065: no acknowledgement that waits matches the receipt.
    #[error("the receipt is for no acknowledgement of this client")]
    NoWaitingAcknowledgement,
    /// There is nothing to acknowledge.
    #[error("nothing waits to be acknowledged")]
    NothingToAcknowledge,
    /// V-055: no certificate of this device is in the last third of its life.
    #[error("no certificate of this device is to be renewed yet")]
    NothingToRenew,
    /// The operator's license server takes no acknowledgements.
    #[error("the license server takes no acknowledgements")]
    NoAcknowledgements,
    /// V-010, V-011: no pending request matches the response.
    #[error("the response answers no pending request of this client")]
    NoPendingRequest,
    /// V-012, V-014: the response does not answer the request that it was sealed for.
    #[error("the response does not fit its request: {0}")]
    ResponseMismatch(&'static str),
    /// V-013: the server's time contradicts what is known.
    #[error("the server's time lies before a time that a server stated earlier")]
    ServerTimeWentBack,
    /// V-020 to V-037: a license in a response was refused.
    #[error("the license for key {kid} was refused: {fault}")]
    LicenseRefused {
        /// Key id.
        kid: Kid,
        /// Which step failed.
        fault: LicenseFault,
    },
    /// V-053: the certificate is not one for this device.
    #[error("the device certificate was refused: {0}")]
    CertificateRefused(#[from] CertificateFault),
    /// V-060, V-061, V-062: the discovery document is not one of this operator, or not in use.
    #[error("the discovery document was refused: {0}")]
    DiscoveryRefused(&'static str),

    // What happened to the store.
    /// A record is missing, altered or swapped.
    #[error("the license store is damaged: {0}")]
    StoreDamaged(&'static str),
    /// R-010 of stores: the store or its epoch file is an earlier copy.
    #[error("the license store was set back to an earlier state")]
    StoreRolledBack,
    /// There are records, and the epoch file with their keys is gone.
    #[error("the license store's epoch file is missing, so its records cannot be read")]
    EpochMissing,
    /// The host did not confirm a commit, so the store may be ahead of what this client knows of it.
    #[error("a change to the license store was not confirmed, so its state is not known")]
    CommitUnconfirmed,

    /// What should be stored or held exceeds a bound of this client; nothing was changed.
    #[error("the license store is full: this client may hold {limit} {bound}")]
    StoreFull {
        /// Which bound.
        bound: StoreBound,
        /// Its value.
        limit: u64,
    },

    /// The store is too large for its records to be sealed under a new key in one commit.
    #[error("the license store is too large for a new key: it may hold {limit} bytes of licenses then")]
    TooMuchToRenew {
        /// Most bytes of licenses.
        limit: u64,
    },

    // What should not happen.
    /// The host replied to a step with something else.
    #[error("the host did not carry out the step that it was asked for")]
    HostOutOfStep,
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// An object of the client's own does not decode.
    #[error("a stored object is malformed: {0}")]
    Decode(#[from] DecodeError),
}

/// Why a license was refused at installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LicenseFault {
    /// V-020, V-021, V-026, V-030, V-031, V-032, V-036: signature, signer or form.
    #[error("{0}")]
    Message(MessageError),
    /// V-022: bound to something else.
    #[error("it is bound to another device")]
    OtherDevice,
    /// V-023: the key does not open, or is not what the body describes.
    #[error("its key does not open")]
    KeyNotOpened,
    /// V-024: an in-memory license of another request.
    #[error("it is an in-memory license of another request")]
    OtherNonce,
    /// V-025: another key id than its result says.
    #[error("it is for another key")]
    OtherKid,
    /// V-027: sealed with a weaker suite than the parties have in common.
    #[error("it is sealed with a weaker suite than this device and the operator have in common")]
    WeakSuite,
    /// V-028: it was removed from this store.
    #[error("it was removed from this store before")]
    Removed,
    /// V-029: it holds a key, a term or a restriction that this client did not announce.
    #[error("it demands what this client does not enforce")]
    NotAnnounced,
    /// V-033: it holds an exchange key of an algorithm, or more of them, than this client announced.
    #[error("it holds exchange keys that this client did not say it can use")]
    ExchangeNotAnnounced,
    /// V-034: its exchange keys are not as many as are described, or not of the length and shape of their algorithms
    /// and operations.
    #[error("its exchange keys are not what it describes")]
    ExchangeKey,
}

impl LicenseFault {
    /// The number of the step that failed: of several that one check makes, the first.
    #[must_use]
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Message(_) => "V-020",
            Self::OtherDevice => "V-022",
            Self::KeyNotOpened => "V-023",
            Self::OtherNonce => "V-024",
            Self::OtherKid => "V-025",
            Self::WeakSuite => "V-027",
            Self::Removed => "V-028",
            Self::NotAnnounced => "V-029",
            Self::ExchangeNotAnnounced => "V-033",
            Self::ExchangeKey => "V-034",
        }
    }

    /// V-029, V-033
    pub(crate) const fn of(fault: NotAnnounced) -> Self {
        match fault {
            NotAnnounced::ExchangeAlgorithm(_) | NotAnnounced::SeveralKeys => Self::ExchangeNotAnnounced,
            _ => Self::NotAnnounced,
        }
    }
}

impl From<Declined> for ClientError {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Refused(problem) => Self::ServerRefused(problem),
            Declined::NotAnAnswer { status } => Self::NotAnAnswer { status },
        }
    }
}

impl From<DiscoveryError> for ClientError {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::Refused(why) => Self::DiscoveryRefused(why),
            DiscoveryError::Message(error) => Self::Message {
                what: "the discovery document",
                error,
            },
        }
    }
}

impl ClientError {
    /// What is to be done about it, of what the specification knows: what this client does by itself it has done when
    /// this error comes, the rest is the application's. `None` where no license server has a part in it.
    #[must_use]
    pub fn behaviour(&self) -> Option<Behaviour> {
        let of_code = |code, unknown| ErrorCode::from_number(code).map_or(unknown, ErrorCode::behaviour);
        Some(match self {
            Self::Denied { denial, .. } => of_code(denial.code, Behaviour::Show),
            Self::ServerRefused(problem) => of_code(problem.code, Behaviour::Stop),
            Self::DeviceRevoked { .. } => Behaviour::Stop,
            Self::DiscoveryRefused(_) => Behaviour::Discover,
            Self::UnknownOperator { .. } | Self::OperatorNotNamed(_) => Behaviour::Enrol,
            Self::Refused {
                refusal: Refusal::NoUsableClock,
                ..
            } => Behaviour::AskTime,
            _ => return None,
        })
    }

    /// The page that a denial names, to be shown to the viewer.
    #[must_use]
    pub fn page(&self) -> Option<&str> {
        match self {
            Self::Denied { denial, .. } => denial.url.as_deref(),
            _ => None,
        }
    }

    /// What to do next, for people.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::UnknownOperator { .. } | Self::OperatorNotNamed(_) => {
                "enrol with the operator that protected the content: `keyward enrol --profile FILE --token TOKEN`"
            }
            Self::UrlRefused { .. } | Self::NoLicenseServer => {
                "name a license server of the operator's profile, over https or on this machine: `--server URL`"
            }
            Self::ProfileRefused(_) => "ask the operator for its profile again",
            Self::TestOperator => {
                "ask the operator for the profile of the service itself; in a test of your own, say so: `keyward enrol --accept-test-operator`"
            }
            Self::WishNotCarried => {
                "ask over the network: `keyward acquire`; or name the license server without the wish: `--server URL`"
            }
            Self::ContentHeader(_) | Self::TooManyKeys { .. } => {
                "check that the file is whole and was protected by a Keyward packager"
            }
            Self::NoLicense { .. } => "request one: `keyward acquire FILE`",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::NoUsableClock => {
                    "set the device's clock to the true time, or have a license server tell it: `keyward acquire --time-only`; `keyward play` asks by itself where it may; `keyward doctor` says which time it is behind"
                }
                Refusal::NotYetValid { .. } => "wait until the license begins",
                Refusal::Ended { .. } | Refusal::FirstPlayExpired { .. } => {
                    "request a new license: `keyward acquire FILE`"
                }
                Refusal::DeviceRevoked => "ask the operator",
                _ => "ask the operator for a license that permits this on this device",
            },
            Self::Blocked { .. } => {
                "play on an output that the license permits; `keyward explain FILE` says what decides"
            }
            Self::UsedUp { .. } => "request a new license: `keyward acquire KID`",
            Self::NoRoot { .. } => "request the license of that root: `keyward acquire KID`",
            Self::RootKey { .. } => "name the key id of content that is protected under it",
            Self::NotAnExchangeKey { .. } => {
                "name the key id of a key for key exchange; content is opened with `keyward play`"
            }
            Self::NotAContentKey { .. } => {
                "name the key id of a key for content; this one serves `keyward key-exchange`"
            }
            Self::WrongOperation { .. } => {
                "do what the license permits; the operator gives out another key for another operation"
            }
            Self::WrongAlgorithm { .. } => {
                "leave the algorithm out to take the license's own, or ask the operator for a key of this one"
            }
            Self::Exchange(_) => {
                "nothing was done; ask the operator for a new license, and report it if that happens again"
            }
            Self::DeviceRevoked { .. } => "ask the operator",
            Self::NotLists => "install the operator's file of revocation lists, whole",
            Self::NoWaitingAcknowledgement => {
                "install each receipt once, on the device that made its acknowledgement"
            }
            Self::NothingToAcknowledge => "nothing has to be done",
            Self::NothingToRenew => {
                "renew it in the last third of its life; one that has ended takes a new enrolment token"
            }
            Self::NoAcknowledgements => "tell the operator: its server asked for what it does not take",
            Self::Denied { denial, .. } => denial.hint(),
            Self::ServerRefused(problem) => match ErrorCode::from_number(problem.code) {
                Some(code) => code.hint(),
                None => "update the client: the server's error is newer than this version",
            },
            Self::NotAnAnswer { .. } => "check the license server URL: something else answers there",
            Self::Message {
                error:
                    MessageError::Signer(CryptoError::ChainRefused(ChainFault::Expired | ChainFault::NotYetValid)),
                ..
            } => "check that the device's clock is right; if it is, tell the operator",
            Self::Message {
                error: MessageError::Signer(CryptoError::ChainRefused(ChainFault::Revoked)),
                ..
            } => {
                "nothing was stored; get a fresh one of the operator, who no longer trusts what signed this: a discovery document over the network, or as a file that `keyward admin discovery` wrote"
            }
            Self::Message { .. }
            | Self::ResponseMismatch(_)
            | Self::LicenseRefused { .. }
            | Self::CertificateRefused(_) => {
                "nothing was stored; if it happens again, tell the operator that the answer was altered or is wrong"
            }
            Self::ServerTimeWentBack => {
                "nothing was stored; if a license server's clock was ahead (`keyward doctor` says by how much), wait until that time has come, or enrol in another client directory; if none was, tell the operator"
            }
            Self::DiscoveryRefused(_) => {
                "check the device's clock; then get a fresh document of the operator: over the network, or as a file that `keyward admin discovery` wrote"
            }
            Self::NotAResponse => "install the file that the operator's `keyward answer` wrote, whole",
            Self::NoPendingRequest => "install each response once, on the device that made its request",
            Self::StoreDamaged(_) | Self::StoreRolledBack | Self::EpochMissing => {
                "restore the whole client directory, or remove its store and epoch files, then enrol and acquire again"
            }
            Self::CommitUnconfirmed => {
                "open the client again: it finds what was written and goes on from there"
            }
            Self::StoreFull { bound, .. } => match bound {
                StoreBound::Licenses | StoreBound::LicenseBytes => {
                    "nothing was stored or lost; delete licenses that are not needed (`keyward licenses list`, `keyward licenses delete`), then try again"
                }
                StoreBound::Tombstones => {
                    "nothing was removed; tombstones go once their licenses have ended: acquire any license over the network, which tells this client the time, then try again"
                }
                StoreBound::LicensesInMemory => {
                    "nothing was lost; remove licenses that are not needed from this client or start it anew, then try again"
                }
                StoreBound::CountedKeys => {
                    "nothing was encrypted; use another client directory for further keys: `--client-dir DIR`"
                }
                StoreBound::Operators => {
                    "nothing was stored; enrol in another client directory: `keyward enrol --client-dir DIR`"
                }
            },
            Self::TooMuchToRenew { .. } => {
                "nothing was changed; delete licenses that are not needed, or start with a new client directory"
            }
            Self::HostOutOfStep | Self::Crypto(_) | Self::Decode(_) => {
                "this is a fault of the program; please report it with the message above"
            }
        }
    }
}
