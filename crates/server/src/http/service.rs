//! Who carries a request: a service that names itself with its token, and has a rate of its own.

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use keyward_license::{
    discovery::WELL_KNOWN_PATH,
    error_code::{ErrorCode, Problem},
};
use tracing::Span;

use super::{Places, Public, problem::ProblemResponse};
use crate::{
    Refusal, Server,
    discovery::{ACKNOWLEDGEMENT_PATH, ENROLMENT_PATH, LICENSE_PATH, PACKAGING_PATH},
};

/// Lets a request pass that a known service carries, and one that nobody carries unless it is a sealed
/// request and a service is required. A token that is presented is judged in any case, so that a service
/// learns early that its token was revoked. No endpoint has a query, but that of licenses of a test operator.
pub(super) async fn named(
    State(Public { server, places }): State<Public>,
    request: Request,
    next: Next,
) -> Result<Response, ProblemResponse> {
    if request.uri().query().is_some() && !(server.is_test() && request.uri().path() == LICENSE_PATH) {
        return Err(super::not_found().await);
    }
    match super::bearer(request.headers()) {
        Some(token) => {
            let name = known(&server, places, token).await?;
            Span::current().record("service", &name);
            if !server.inner().rates.services.admit(name) {
                return Err(often().into());
            }
        }
        None if server.config().services.required && request.method() == Method::POST => {
            return Err(refused("requests come through a named service here").into());
        }
        None => {}
    }
    Ok(next.run(request).await)
}

/// The name of the service whose token this is. The database is asked within a place, so that strangers
/// with made-up tokens do not crowd out requests in work.
async fn known(server: &Server, places: Places, token: &str) -> Result<String, Problem> {
    let _place = places.take()?;
    let name = server
        .authenticate_service(token)
        .await
        .map_err(|error| Refusal::from(error).into_problem())?;
    server.inner().known_services.learn(token, name.is_some());
    name.ok_or_else(|| refused("the service token is not known"))
}

/// Whether [`named`] judges the request: one that has no endpoint passes it by.
pub(super) fn is_judged(request: &Request) -> bool {
    match *request.method() {
        Method::POST => [LICENSE_PATH, ENROLMENT_PATH, PACKAGING_PATH, ACKNOWLEDGEMENT_PATH]
            .contains(&request.uri().path()),
        Method::GET | Method::HEAD => request.uri().path() == WELL_KNOWN_PATH,
        _ => false,
    }
}

/// Whether the request presents a token that was good last time. Whether it still is, is judged as ever.
pub(super) fn is_known(server: &Server, request: &Request) -> bool {
    super::bearer(request.headers()).is_some_and(|token| server.inner().known_services.has(token))
}

fn often() -> Problem {
    let detail = "the service that carries this asks too often".to_owned();
    tracing::info!(
        code = ErrorCode::RateLimited.name(),
        reason = detail,
        "request refused"
    );
    Problem::new(ErrorCode::RateLimited, detail)
}

fn refused(detail: &str) -> Problem {
    Problem::new(ErrorCode::ServiceRefused, detail.to_owned())
}
