//! Errors of the administration interface: RFC 9457 problem documents, made here alone.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use keyward_license::error_code::{ErrorCode, Problem};
use serde::Serialize;

use crate::{Error, key_exchange::PerformFault, metrics::Outcome, rate::RETRY_AFTER};

/// A problem document.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct AdminProblem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: u64,
    hint: &'static str,
}

impl AdminProblem {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: format!("urn:oid:2.25.{}.3.{}", keyward_crypto::x509::ARC, code.number()),
            title: code.name(),
            status: code.status(),
            detail: detail.into(),
            code: code.number(),
            hint: code.hint(),
        }
    }

    /// Of a problem that the protocol endpoints tell in their own form.
    pub(super) fn of(problem: Problem) -> Self {
        let code = ErrorCode::from_number(problem.code).unwrap_or(ErrorCode::Malformed);
        Self::new(code, problem.detail)
    }
}

impl From<Error> for AdminProblem {
    /// What the administrator asked wrongly is told; what failed in the server is logged.
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::DeviceUnknown(_)
            | Error::EntitlementUnknown(_)
            | Error::AdminTokenUnknown(_)
            | Error::ExchangeTokenUnknown(_)
            | Error::NotUnderRoot(..)
            | Error::BlackoutUnknown(_)
            | Error::CertificateUnknown(_)
            | Error::CertificateNotRevoked(_)
            | Error::CertificateNotAllowed(_)
            | Error::ModelUnknown(_) => ErrorCode::NotFound,
            Error::KidUnknown(_) | Error::ExchangeKeyUnknown(_) | Error::RootUnknown(_) => {
                ErrorCode::KidUnknown
            }
            Error::ExchangeKeyDisabled(_) | Error::ExchangeKeyDestroyed(_) => ErrorCode::ExchangeKeyDisabled,
            Error::ExchangeNotPermitted { .. } => ErrorCode::Unauthorized,
            Error::NotPerformed {
                fault: PerformFault::TooLarge,
                ..
            } => ErrorCode::TooLarge,
            Error::ExchangeKeyBusy(_) => ErrorCode::Busy,
            Error::Stopping => ErrorCode::Busy,
            error if error.is_passing() => ErrorCode::Busy,
            error if error.is_refusal() => ErrorCode::Malformed,
            _ => ErrorCode::Internal,
        };
        if code == ErrorCode::Internal {
            tracing::error!(code = code.name(), error = %error, "the server failed");
            return Self::new(code, "the server failed");
        }
        tracing::info!(code = code.name(), reason = %error, "administration refused");
        Self {
            hint: error.hint(),
            ..Self::new(code, error.to_string())
        }
    }
}

impl IntoResponse for AdminProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let outcome = Outcome::of_problem(self.code);
        let mut response = (status, axum::Json(self)).into_response();
        response.extensions_mut().insert(outcome);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DatabaseFault;

    #[test]
    fn a_problem_document_in_full() {
        let problem = AdminProblem::new(ErrorCode::Unauthorized, "there is no admin token");
        insta::assert_snapshot!(serde_json::to_string_pretty(&problem).unwrap(), @r#"
        {
          "type": "urn:oid:2.25.1843534794.3.207",
          "title": "unauthorized",
          "status": 401,
          "detail": "there is no admin token",
          "code": 207,
          "hint": "send the admin token as a bearer token"
        }
        "#);
    }

    #[test]
    fn an_administrator_is_told_what_is_wrong_with_the_disk() {
        let problem = AdminProblem::from(Error::NotCommitted(DatabaseFault::Full));
        assert_eq!((problem.status, problem.code), (503, 502));
        assert_eq!(
            problem.detail,
            "the database could not commit a write: the disk is full"
        );
        assert!(
            problem.hint.starts_with("make room on the disk"),
            "{}",
            problem.hint
        );
    }

    #[test]
    fn who_waited_for_lists_in_vain_is_told_to_come_again() {
        let problem = AdminProblem::from(Error::from(sqlx::Error::PoolTimedOut));
        assert_eq!((problem.status, problem.code), (503, 502));
        assert!(
            problem.hint.starts_with("repeat when the lists"),
            "{}",
            problem.hint
        );
    }

    #[test]
    fn a_failure_of_the_server_tells_nothing_of_its_cause() {
        let problem = AdminProblem::from(Error::Damaged("the secret row"));
        assert_eq!((problem.status, &problem.detail[..]), (500, "the server failed"));
    }
}
