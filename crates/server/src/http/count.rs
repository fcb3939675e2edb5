//! Every answer is counted, by endpoint and outcome.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use keyward_license::discovery::WELL_KNOWN_PATH;

use super::{LIVE_PATH, READY_PATH};
use crate::{
    Server,
    discovery::{ACKNOWLEDGEMENT_PATH, ENROLMENT_PATH, LICENSE_PATH, PACKAGING_PATH},
    metrics::Outcome,
};

/// The endpoint of the public listener that a request is counted for.
pub(super) fn endpoint(request: &Request) -> &'static str {
    match request.uri().path() {
        LICENSE_PATH => "license",
        ENROLMENT_PATH => "enrolment",
        PACKAGING_PATH => "packaging",
        ACKNOWLEDGEMENT_PATH => "acknowledgement",
        WELL_KNOWN_PATH => "discovery",
        LIVE_PATH | READY_PATH => "health",
        // Strangers choose paths; they do not choose labels.
        _ => "other",
    }
}

/// Counts answers of the administration interface.
pub(super) async fn admin(State(server): State<Server>, request: Request, next: Next) -> Response {
    count(&server, "admin", next.run(request).await)
}

/// Counts an answer.
pub(super) fn count(server: &Server, endpoint: &'static str, response: Response) -> Response {
    let outcome = response.extensions().get::<Outcome>().copied();
    let outcome = outcome.unwrap_or_else(|| Outcome::of_status(response.status()));
    server.inner().metrics.traffic.answered(endpoint, outcome);
    response
}
