//! The numbered errors that parties tell one another: denials inside signed responses, problem
//! documents outside. The table is `spec/errors.md`; a test keeps the two equal. A number is never
//! reused.

use crate::{
    cbor_map,
    codec::{Reader, Wire, Writer, gate},
};

/// Who has to do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client sent something wrong.
    Client,
    /// The viewer or account lacks something.
    Account,
    /// The server failed.
    Server,
}

/// What a client does about an error by itself, and what it leaves to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Behaviour {
    /// Sends the same request again, byte for byte, silently and at most three times: after as many seconds
    /// as the answer asks for, or after 1, 2 and 4.
    Retry,
    /// Fetches the discovery document, makes a new request, and asks once more.
    Discover,
    /// Asks no more for this; the application says what the hint says.
    Stop,
    /// Asks no more for this; the viewer sees the sentence, and the page if there is one.
    Show,
    /// The application enrols the device, then asks again.
    Enrol,
    /// The application joins the domain, then asks again.
    Join,
    /// The application fetches the domain's newest revision, then asks again.
    RenewDomain,
    /// Takes the time and the lists that the answer brings; what needs them is asked for again after that.
    AskTime,
    /// Asks in two requests, for half of the key ids each, and so on; of a single one the application is told.
    Split,
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 9] = [
        Self::Retry,
        Self::Discover,
        Self::Stop,
        Self::Show,
        Self::Enrol,
        Self::Join,
        Self::RenewDomain,
        Self::AskTime,
        Self::Split,
    ];

    /// Its word in `spec/errors.md`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discover => "discover",
            Self::Stop => "stop",
            Self::Show => "show",
            Self::Enrol => "enrol",
            Self::Join => "join",
            Self::RenewDomain => "renew-domain",
            Self::AskTime => "ask-time",
            Self::Split => "split",
        }
    }
}

macro_rules! error_codes {
    (@published) => { None };
    (@published $published:literal) => { Some($published) };
    ($(
        $(#[$doc:meta])*
        $variant:ident = $number:literal, $name:literal, $status:literal, $blame:ident, $behaviour:ident, $hint:literal
            $(, $published:literal)?;
    )*) => {
        /// An error of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $( $(#[$doc])* $variant, )* }

        impl ErrorCode {
            /// Every error, by number.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u64 {
                match self { $( Self::$variant => $number, )* }
            }

            /// The error of a number, or `None` if this version does not know it.
            #[must_use]
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $( $number => Some(Self::$variant), )* _ => None }
            }

            /// A stable name for logs and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The HTTP status of an unsigned answer with this error.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $( Self::$variant => $status, )* }
            }

            /// Who has to do something about it.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self { $( Self::$variant => Blame::$blame, )* }
            }

            /// What a client does about it.
            #[must_use]
            pub const fn behaviour(self) -> Behaviour {
                match self { $( Self::$variant => Behaviour::$behaviour, )* }
            }

            /// What the receiver does next.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $( Self::$variant => $hint, )* }
            }

            /// The status code that PlayReady license servers answer with for the same reason, as it is
            /// published, if there is one.
            #[must_use]
            pub const fn published(self) -> Option<u32> {
                match self { $( Self::$variant => error_codes!(@published $($published)?), )* }
            }

            /// The error for a published status code of PlayReady license servers, or `None` if it has no
            /// counterpart here: a redirect is not followed.
            #[must_use]
            pub fn from_published(published: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.published() == Some(published))
            }
        }
    };
}

error_codes! {
    /// The bytes are not a message of the protocol.
    Malformed = 101, "malformed", 400, Client, Retry, "send a message that follows the specification", 0x8004_c601;
    /// The message is of a protocol version that the server does not speak.
    UnsupportedVersion = 102, "unsupported-version", 400, Client, Stop, "update the client or the server", 0x8004_c60b;
    /// The request is sealed to another server or to a certificate that is no longer in use.
    WrongRecipient = 103, "wrong-recipient", 400, Client, Discover, "fetch the discovery document again, then repeat the request";
    /// The request does not open.
    NotOpened = 104, "not-opened", 400, Client, Discover, "fetch the discovery document again, then repeat the request";
    /// The message is larger than the server accepts.
    TooLarge = 105, "too-large", 413, Client, Split, "ask for fewer keys at a time";
    /// The HTTP request is not one of the service.
    NotFound = 106, "not-found", 404, Client, Discover, "use the paths of the discovery document";
    /// The HTTP body is of another media type.
    UnsupportedMediaType = 107, "unsupported-media-type", 415, Client, Stop, "use the media types of the specification";
    /// A signature does not verify.
    BadSignature = 201, "bad-signature", 403, Client, Stop, "make a new request with the enrolled key";
    /// A certificate chain was refused.
    CertificateRefused = 202, "certificate-refused", 403, Client, Enrol, "enrol again, in the right role";
    /// The device or packager is not enrolled with this operator.
    DeviceUnknown = 203, "device-unknown", 403, Client, Enrol, "enrol first";
    /// The device or packager was revoked.
    DeviceRevoked = 204, "device-revoked", 403, Client, Stop, "ask the operator", 0x8004_c065;
    /// The nonce was used by another request of the device or packager.
    NonceReused = 205, "nonce-reused", 409, Client, Stop, "make a new request";
    /// The client's store went back to an earlier state.
    StoreRolledBack = 206, "store-rolled-back", 403, Client, Stop, "ask the operator to accept the restored store";
    /// The credential for the administration is missing or wrong.
    Unauthorized = 207, "unauthorized", 401, Client, Stop, "send the admin token as a bearer token";
    /// The credential that names the service is missing or wrong.
    ServiceRefused = 208, "service-refused", 401, Client, Stop, "ask through a proxy of the operator";
    /// The transaction of an acknowledgement is not known, is another device's, or was acknowledged with other
    /// results (V-048).
    TransactionRefused = 209, "transaction-refused", 409, Client, Stop, "drop the acknowledgement, the licenses stay as they are";
    /// The account may not have this key.
    NotEntitled = 301, "not-entitled", 403, Account, Show, "obtain the right to this content";
    /// The operator does not know this key id.
    KidUnknown = 302, "kid-unknown", 404, Account, Stop, "check that the content was packaged for this operator";
    /// The device's security level is below what the policy asks for.
    SecurityLevelTooLow = 303, "security-level-too-low", 403, Account, Show, "use a device of a higher security level";
    /// The client cannot use a key of this type or algorithm, or does not enforce a term of the license.
    ClientLacksCapability = 304, "client-lacks-capability", 403, Client, Stop, "update the client";
    /// The request asked for time and lists alone.
    NoLicenseRequested = 305, "no-license-requested", 200, Client, AskTime, "ask again with licenses requested";
    /// The authorization token of the request was refused, or was used before.
    AuthorizationRefused = 306, "authorization-refused", 403, Account, Show, "sign in again, then ask with a new authorization token";
    /// The operator has switched off or destroyed the exchange key.
    ExchangeKeyDisabled = 307, "exchange-key-disabled", 403, Account, Stop, "ask the operator which key takes its place";
    /// The service refuses for a reason of its own, which the sentence says.
    ServiceSpecific = 308, "service-specific", 403, Account, Show, "do what the service says", 0x8004_c604;
    /// The license is for a domain, and the device is a member of none.
    DomainRequired = 309, "domain-required", 403, Account, Join, "join the domain, then ask again", 0x8004_c605;
    /// The device holds an older revision of the domain than the license is for.
    DomainRenewalRequired = 310, "domain-renewal-required", 403, Account, RenewDomain, "renew the membership of the domain, then ask again", 0x8004_c606;
    /// The domain has as many devices as it may.
    DeviceLimitReached = 311, "device-limit-reached", 403, Account, Show, "remove a device from the domain, then ask again", 0x8004_c602;
    /// The device was removed from the domain, or never was a member.
    NotAMember = 312, "not-a-member", 403, Account, Stop, "ask the operator, or join the domain again", 0x8004_c60a;
    /// The operator does not know the account.
    AccountUnknown = 313, "account-unknown", 403, Account, Stop, "sign in with an account of this operator", 0x8004_c60c;
    /// The enrolment token is not known, was used by another device, is for another role, or has expired.
    TokenRefused = 401, "token-refused", 403, Account, Stop, "ask the operator for a new enrolment token";
    /// A key in the enrolment request was refused.
    KeyRefused = 402, "key-refused", 400, Client, Enrol, "make new device keys";
    /// The server failed.
    Internal = 501, "internal", 500, Server, Retry, "try again later", 0x8004_c600;
    /// The server is stopping or has too much to do.
    Busy = 502, "busy", 503, Server, Retry, "try again later";
    /// The address, device, packager or service asks more often than it may.
    RateLimited = 503, "rate-limited", 429, Client, Retry, "wait a second, then try again";
    /// The server does not make what the packaging request asks for.
    PackagingUnsupported = 601, "packaging-unsupported", 400, Client, Stop, "ask for tracks of one key type and no crypto periods";
    /// The license server behind the proxy cannot be reached.
    UpstreamUnreachable = 701, "upstream-unreachable", 502, Server, Retry, "try again later";
    /// The license server behind the proxy did not answer in time.
    UpstreamTimeout = 702, "upstream-timeout", 504, Server, Retry, "try again later";
    /// The license server does not accept the proxy's credential.
    UpstreamRefuses = 703, "upstream-refuses", 502, Server, Stop, "tell who runs the proxy";
    /// The license server's answer is larger than the proxy passes on.
    UpstreamTooLarge = 704, "upstream-too-large", 502, Server, Split, "ask for fewer keys at a time";
    /// The license server's answer is no message of the protocol.
    UpstreamNotAnAnswer = 705, "upstream-not-an-answer", 502, Server, Stop, "tell who runs the proxy";
}

/// An error outside a signed answer: Concise Problem Details (RFC 9290) in deterministic CBOR.
///
/// ```text
/// { -2: detail, "urn:oid:2.25.1843534794.3": { 1: number, 2: name, 3: HTTP status } }
/// ```
/// RFC 9290's own `response-code` is a CoAP code, which HTTP has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Number in the table.
    pub code: u64,
    /// The table's name.
    pub name: String,
    /// A sentence: what and why.
    pub detail: String,
    /// HTTP status.
    pub status: u64,
}

impl Problem {
    /// A problem of the table with its own sentence.
    #[must_use]
    pub fn new(code: ErrorCode, detail: String) -> Self {
        Self {
            code: code.number(),
            name: code.name().to_owned(),
            detail,
            status: code.status().into(),
        }
    }

    /// The document's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.map(2);
        writer.int(DETAIL);
        writer.text(&self.detail);
        writer.text(EXTENSION);
        Entry {
            code: self.code,
            name: self.name.clone(),
            status: self.status,
        }
        .write(&mut writer);
        writer.into_bytes()
    }

    /// Reads a document in exactly the form that [`Problem::encode`] writes.
    ///
    /// # Errors
    /// [`DecodeError`](crate::codec::DecodeError).
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::codec::DecodeError> {
        gate::check(bytes)?;
        let mut reader = Reader::new(bytes);
        let form = crate::codec::DecodeError::Invalid("not a problem document of this protocol");
        if reader.map()? != 2 || reader.int()? != DETAIL {
            return Err(form);
        }
        let detail = String::read(&mut reader)?;
        if reader.text()? != EXTENSION {
            return Err(form);
        }
        let Entry { code, name, status } = Entry::read(&mut reader)?;
        Ok(Self {
            code,
            name,
            detail,
            status,
        })
    }
}

cbor_map! {
    /// Our entry of a problem document.
    struct Entry = "problem entry" {
        /// Number in the table.
        [1] code: u64,
        /// The table's name.
        [2] name: String,
        /// HTTP status.
        [3] status: u64,
    }
}

/// `detail`, RFC 9290 §2.
const DETAIL: i64 = -2;
/// Our custom problem detail entry (RFC 9290 §3.2): a URI.
const EXTENSION: &str = "urn:oid:2.25.1843534794.3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_has_the_same_table() {
        let spec = include_str!("../../../spec/errors.md");
        let rows: Vec<&str> = spec
            .lines()
            .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
            .collect();
        let ours: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| {
                let blame = format!("{:?}", code.blame()).to_lowercase();
                let published = code
                    .published()
                    .map_or("–".to_owned(), |code| format!("0x{code:08X}"));
                format!(
                    "| {} | `{}` | {} | {blame} | {} | {} | {published} |",
                    code.number(),
                    code.name(),
                    code.status(),
                    code.behaviour().name(),
                    code.hint()
                )
            })
            .collect();
        assert_eq!(
            rows,
            ours,
            "spec/errors.md and this table differ; ours:\n{}",
            ours.join("\n")
        );
        assert!(
            ErrorCode::ALL
                .windows(2)
                .all(|pair| pair[0].number() < pair[1].number())
        );
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            if let Some(published) = code.published() {
                assert_eq!(ErrorCode::from_published(published), Some(*code));
            }
        }
    }

    #[test]
    fn the_spec_says_what_each_behaviour_is_and_where_each_published_code_went() {
        let spec = include_str!("../../../spec/errors.md");
        for behaviour in Behaviour::ALL {
            let row = format!("| `{}` |", behaviour.name());
            assert!(spec.contains(&row), "{row}");
            let of_some = ErrorCode::ALL.iter().any(|code| code.behaviour() == behaviour);
            assert!(of_some, "{behaviour:?} is of no error");
        }
        let published = [
            (0x8004_c065, Some(ErrorCode::DeviceRevoked)),
            (0x8004_c600, Some(ErrorCode::Internal)),
            (0x8004_c601, Some(ErrorCode::Malformed)),
            (0x8004_c602, Some(ErrorCode::DeviceLimitReached)),
            (0x8004_c604, Some(ErrorCode::ServiceSpecific)),
            (0x8004_c605, Some(ErrorCode::DomainRequired)),
            (0x8004_c606, Some(ErrorCode::DomainRenewalRequired)),
            (0x8004_c60a, Some(ErrorCode::NotAMember)),
            (0x8004_c60b, Some(ErrorCode::UnsupportedVersion)),
            (0x8004_c60c, Some(ErrorCode::AccountUnknown)),
            (0x8004_c60d, None),
            (0, None),
        ];
        for (number, code) in published {
            assert_eq!(ErrorCode::from_published(number), code, "{number:x}");
        }
        assert_eq!(
            published.iter().filter(|(_, code)| code.is_some()).count(),
            ErrorCode::ALL
                .iter()
                .filter(|code| code.published().is_some())
                .count()
        );
    }

    #[test]
    fn problems_round_trip() {
        let problem = Problem::new(ErrorCode::Busy, "the server is stopping".into());
        assert_eq!(Problem::decode(&problem.encode()), Ok(problem.clone()));
        let bytes = problem.encode();
        for end in 0..bytes.len() {
            assert!(Problem::decode(&bytes[..end]).is_err());
        }
        assert!(Problem::decode(&[0xa0]).is_err());
    }
}
