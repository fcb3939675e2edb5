//! Every message of the client: what and why in one lower-case line, and what to do next.

use keyward_client::{
    ClientError, LicenseFault,
    enforce::Stop,
    key_exchange::{Ended, PerformError},
    store::StoreBound,
};
use keyward_content::header::HeaderError;
use keyward_crypto::{
    ChainFault, CryptoError,
    exchange::{Algorithm, Operation},
};
use keyward_license::{
    codec::DecodeError,
    enrolment::applicant::CertificateFault,
    error_code::{ErrorCode, Problem},
    key_exchange::ExchangeError,
    operator_profile::{ProfileFault, UrlFault},
    response::Denial,
    signed::MessageError,
    usage_rules::{Refusal, Rule},
};
use keyward_testkit::pki::NOW;

use crate::world::kid;

fn denied(sentence: &str) -> ClientError {
    ClientError::Denied {
        kid: kid(1),
        denial: Denial {
            code: 301,
            sentence: sentence.into(),
            url: None,
        },
    }
}

fn license(fault: LicenseFault) -> ClientError {
    ClientError::LicenseRefused { kid: kid(1), fault }
}

fn every_error() -> Vec<ClientError> {
    let url = || "https://evil.example/".to_owned();
    let refused = |refusal| ClientError::Refused { kid: kid(1), refusal };
    let message = |error| ClientError::Message {
        what: "the license response",
        error,
    };
    vec![
        ClientError::UnknownOperator { url: url() },
        ClientError::OperatorNotNamed("this device is not enrolled with an operator"),
        ClientError::UrlRefused {
            url: url(),
            why: UrlFault::NotNamed,
        },
        ClientError::NoLicenseServer,
        ClientError::ProfileRefused(ProfileFault::OtherVersion),
        ClientError::TestOperator,
        ClientError::WishNotCarried,
        ClientError::ContentHeader(HeaderError::NoHeaderRecord),
        ClientError::NoLicense { kid: kid(1) },
        refused(Refusal::RightNotGranted),
        refused(Refusal::SecurityLevelTooLow {
            needed: 3000,
            actual: 2000,
        }),
        refused(Refusal::NoUsableClock),
        refused(Refusal::NotYetValid { begin: NOW }),
        refused(Refusal::Ended { end: NOW }),
        refused(Refusal::FirstPlayExpired { at: NOW }),
        ClientError::Blocked {
            kid: kid(1),
            rule: Rule::UnknownOutput,
        },
        ClientError::NoRoot {
            kid: kid(1),
            root: kid(2),
        },
        ClientError::RootKey { kid: kid(2) },
        ClientError::TooManyKeys { most: 256 },
        ClientError::UsedUp { kid: kid(1) },
        ClientError::NotAnExchangeKey { kid: kid(1) },
        ClientError::NotAContentKey { kid: kid(1) },
        ClientError::WrongOperation {
            kid: kid(1),
            permitted: Operation::Encrypt,
            asked: Operation::Decrypt,
        },
        ClientError::WrongAlgorithm {
            kid: kid(1),
            asked: Algorithm::HmacSha256,
        },
        ClientError::Exchange(ExchangeError::MalformedKey),
        denied("the subscription has ended"),
        ClientError::ServerRefused(Problem::new(
            ErrorCode::DeviceRevoked,
            "the device was revoked".into(),
        )),
        ClientError::ServerRefused(Problem {
            code: 999,
            name: "new".into(),
            detail: "something new".into(),
            status: 400,
        }),
        ClientError::NotAnAnswer { status: 502 },
        message(MessageError::BadSignature),
        message(MessageError::Signer(CryptoError::ChainRefused(
            ChainFault::Expired,
        ))),
        message(MessageError::UnsupportedVersion(2)),
        ClientError::NotAResponse,
        ClientError::NoPendingRequest,
        ClientError::ResponseMismatch("it brings two results for one key"),
        ClientError::ServerTimeWentBack,
        license(LicenseFault::Message(MessageError::Decode(
            DecodeError::UnknownCritical {
                map: "license",
                key: 13,
            },
        ))),
        license(LicenseFault::OtherDevice),
        license(LicenseFault::KeyNotOpened),
        license(LicenseFault::OtherNonce),
        license(LicenseFault::OtherKid),
        license(LicenseFault::WeakSuite),
        license(LicenseFault::Removed),
        license(LicenseFault::NotAnnounced),
        license(LicenseFault::ExchangeNotAnnounced),
        license(LicenseFault::ExchangeKey),
        ClientError::CertificateRefused(CertificateFault("it names another signing key")),
        ClientError::DiscoveryRefused("it is not in use at this time"),
        ClientError::StoreDamaged("a record was removed"),
        ClientError::StoreRolledBack,
        ClientError::EpochMissing,
        ClientError::CommitUnconfirmed,
        full(StoreBound::Licenses, 1_000_000),
        full(StoreBound::LicenseBytes, 4 << 30),
        full(StoreBound::Tombstones, 1_000_000),
        full(StoreBound::LicensesInMemory, 1_024),
        full(StoreBound::Operators, 64),
        full(StoreBound::CountedKeys, 1_000_000),
        ClientError::TooMuchToRenew { limit: 256 << 20 },
        ClientError::NothingToRenew,
        ClientError::HostOutOfStep,
        ClientError::Crypto(CryptoError::Internal("ECDSA")),
        ClientError::Decode(DecodeError::Invalid("the store is of another version")),
    ]
}

const fn full(bound: StoreBound, limit: u64) -> ClientError {
    ClientError::StoreFull { bound, limit }
}

/// What a prepared key says when it refuses a call.
fn every_refused_call() -> Vec<PerformError> {
    let ended = |why| PerformError::Ended { kid: kid(1), why };
    vec![
        ended(Ended::Refused(Stop::Refused(Refusal::Ended { end: NOW }))),
        ended(Ended::Refused(Stop::Distrusted)),
        ended(Ended::UsedUp),
        ended(Ended::Removed),
        ended(Ended::Closed),
        PerformError::NotRecorded { kid: kid(1) },
        PerformError::Exchange(ExchangeError::WrongContext),
    ]
}

/// Every message, with its hint.
fn every_message() -> Vec<(String, String)> {
    let errors = every_error();
    let errors = errors
        .iter()
        .map(|error| (error.to_string(), error.hint().to_owned()));
    let calls = every_refused_call();
    let calls = calls
        .iter()
        .map(|error| (error.to_string(), error.hint().to_owned()));
    errors.chain(calls).collect()
}

#[test]
fn every_message_is_as_it_was_read_and_approved() {
    let shown: Vec<_> = every_message()
        .iter()
        .map(|(error, hint)| format!("error: {error}\nhint: {hint}\n"))
        .collect();
    let approved = include_str!("messages.txt");
    assert_eq!(shown.concat(), approved, "now:\n{}", shown.concat());
}

#[test]
fn messages_are_one_lower_case_line_without_names_of_types() {
    for (error, hint) in every_message() {
        for line in [error, hint] {
            assert!(
                !line.contains('\n') && line.starts_with(char::is_lowercase) && !line.ends_with('.'),
                "{line}"
            );
            let words = line
                .split([' ', '(', ')', ':', '{'])
                .filter(|word| *word != "HTTP");
            for word in words.filter(|word| !word.starts_with('`')) {
                let capitals = word.chars().skip(1).any(char::is_uppercase);
                assert!(
                    !capitals
                        || [
                            "URL", "FILE", "TOKEN", "URL`", "TOKEN`", "FILE`", "DIR`", "KID`", "ECDSA",
                            "HMAC256",
                        ]
                        .contains(&word)
                        || word.starts_with("R-"),
                    "{word}: {line}"
                );
            }
        }
    }
}

#[test]
fn text_of_others_cannot_leave_its_line() {
    let hostile = "no\nerror: all is well\u{1b}[2J\u{9b}1A\r\u{202e}drow\u{2028}";
    let problem = Problem {
        code: 1,
        name: hostile.into(),
        detail: hostile.repeat(100),
        status: 400,
    };
    let errors = [
        denied(hostile),
        ClientError::ServerRefused(problem),
        ClientError::UrlRefused {
            url: hostile.into(),
            why: UrlFault::NotAbsolute,
        },
        ClientError::UnknownOperator { url: hostile.into() },
    ];
    for error in errors {
        let shown = error.to_string();
        let hidden = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}');
        assert!(!shown.contains(hidden), "{shown:?}");
        assert!(
            shown.contains("no error: all is well") && shown.len() < 1_000,
            "{shown:?}"
        );
    }
}
