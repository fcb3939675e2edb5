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

macro_rules! error_codes {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $status:literal, $blame:ident, $hint:literal; )*) => {
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

            /// What the receiver does next.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $( Self::$variant => $hint, )* }
            }
        }
    };
}

error_codes! {
    /// The bytes are not a message of the protocol.
    Malformed = 101, "malformed", 400, Client, "send a message that follows the specification";
    /// The message is of a protocol version that the server does not speak.
    UnsupportedVersion = 102, "unsupported-version", 400, Client, "update the client or the server";
    /// The request is sealed to another server or to a certificate that is no longer in use.
    WrongRecipient = 103, "wrong-recipient", 400, Client, "fetch the discovery document again, then repeat the request";
    /// The request does not open.
    NotOpened = 104, "not-opened", 400, Client, "fetch the discovery document again, then repeat the request";
    /// The message is larger than the server accepts.
    TooLarge = 105, "too-large", 413, Client, "ask for fewer keys at a time";
    /// The HTTP request is not one of the service.
    NotFound = 106, "not-found", 404, Client, "use the paths of the discovery document";
    /// The HTTP body is of another media type.
    UnsupportedMediaType = 107, "unsupported-media-type", 415, Client, "use the media types of the specification";
    /// A signature does not verify.
    BadSignature = 201, "bad-signature", 403, Client, "make a new request with the enrolled key";
    /// A certificate chain was refused.
    CertificateRefused = 202, "certificate-refused", 403, Client, "enrol again, in the right role";
    /// The device or packager is not enrolled with this operator.
    DeviceUnknown = 203, "device-unknown", 403, Client, "enrol first";
    /// The device or packager was revoked.
    DeviceRevoked = 204, "device-revoked", 403, Client, "ask the operator";
    /// The nonce was used by another request of the device or packager.
    NonceReused = 205, "nonce-reused", 409, Client, "make a new request";
    /// The client's store went back to an earlier state.
    StoreRolledBack = 206, "store-rolled-back", 403, Client, "ask the operator to accept the restored store";
    /// The credential for the administration is missing or wrong.
    Unauthorized = 207, "unauthorized", 401, Client, "send the admin token as a bearer token";
    /// The credential that names the service is missing or wrong.
    ServiceRefused = 208, "service-refused", 401, Client, "ask through a proxy of the operator";
    /// The account may not have this key.
    NotEntitled = 301, "not-entitled", 403, Account, "obtain the right to this content";
    /// The operator does not know this key id.
    KidUnknown = 302, "kid-unknown", 404, Account, "check that the content was packaged for this operator";
    /// The device's security level is below what the policy asks for.
    SecurityLevelTooLow = 303, "security-level-too-low", 403, Account, "use a device of a higher security level";
    /// The client cannot use a key of this type or algorithm, or does not enforce a term of the license.
    ClientLacksCapability = 304, "client-lacks-capability", 403, Client, "update the client";
    /// The request asked for time and lists alone.
    NoLicenseRequested = 305, "no-license-requested", 200, Client, "ask again with licenses requested";
    /// The authorization token of the request was refused, or was used before.
    AuthorizationRefused = 306, "authorization-refused", 403, Account, "sign in again, then ask with a new authorization token";
    /// The operator has switched off or destroyed the exchange key.
    ExchangeKeyDisabled = 307, "exchange-key-disabled", 403, Account, "ask the operator which key takes its place";
    /// The enrolment token is not known, was used by another device, is for another role, or has expired.
    TokenRefused = 401, "token-refused", 403, Account, "ask the operator for a new enrolment token";
    /// A key in the enrolment request was refused.
    KeyRefused = 402, "key-refused", 400, Client, "make new device keys";
    /// The server failed.
    Internal = 501, "internal", 500, Server, "try again later";
    /// The server is stopping or has too much to do.
    Busy = 502, "busy", 503, Server, "try again later";
    /// The address, device, packager or service asks more often than it may.
    RateLimited = 503, "rate-limited", 429, Client, "wait a second, then try again";
    /// The server does not make what the packaging request asks for.
    PackagingUnsupported = 601, "packaging-unsupported", 400, Client, "ask for tracks of one key type and no crypto periods";
    /// The license server behind the proxy cannot be reached.
    UpstreamUnreachable = 701, "upstream-unreachable", 502, Server, "try again later";
    /// The license server behind the proxy did not answer in time.
    UpstreamTimeout = 702, "upstream-timeout", 504, Server, "try again later";
    /// The license server does not accept the proxy's credential.
    UpstreamRefuses = 703, "upstream-refuses", 502, Server, "tell who runs the proxy";
    /// The license server's answer is larger than the proxy passes on.
    UpstreamTooLarge = 704, "upstream-too-large", 502, Server, "ask for fewer keys at a time";
    /// The license server's answer is no message of the protocol.
    UpstreamNotAnAnswer = 705, "upstream-not-an-answer", 502, Server, "tell who runs the proxy";
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
                format!(
                    "| {} | `{}` | {} | {blame} | {} |",
                    code.number(),
                    code.name(),
                    code.status(),
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
        }
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
