//! Errors of the protocol endpoints: concise problem details (RFC 9290), made here alone.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use keyward_license::{discovery::media_type, error_code::Problem};

use crate::{metrics::Outcome, rate::RETRY_AFTER};

/// A problem as an HTTP response.
#[derive(Debug)]
pub(crate) struct ProblemResponse(Problem);

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let status = u16::try_from(self.0.status)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = (
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            [
                (header::CONTENT_TYPE, media_type::PROBLEM),
                (header::CACHE_CONTROL, "no-store"),
            ],
            self.0.encode(),
        )
            .into_response();
        response.extensions_mut().insert(Outcome::of_problem(self.0.code));
        let more = match status {
            Some(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
                Some((header::RETRY_AFTER, RETRY_AFTER))
            }
            // RFC 9110 §15.5.2
            Some(StatusCode::UNAUTHORIZED) => Some((header::WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = more {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
