//! Who carries a request: a service that names itself with its token.

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use keyward_license::error_code::{ErrorCode, Problem};
use tracing::Span;

use super::{Places, Public, problem::ProblemResponse};
use crate::{Refusal, Server};

/// Lets a request pass that a known service carries, and one that nobody carries unless it is a sealed
/// request and a service is required. A token that is presented is judged in any case, so that a service
/// learns early that its token was revoked.
pub(super) async fn named(
    State(Public { server, places }): State<Public>,
    request: Request,
    next: Next,
) -> Result<Response, ProblemResponse> {
    match super::bearer(request.headers()) {
        Some(token) => {
            let name = known(&server, places, token).await?;
            Span::current().record("service", name);
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
    name.ok_or_else(|| refused("the service token is not known"))
}

fn refused(detail: &str) -> Problem {
    Problem::new(ErrorCode::ServiceRefused, detail.to_owned())
}
