//! Every answer is counted, by endpoint and outcome.

use axum::{
    extract::{Request, State},
    http::header::CONTENT_TYPE,
    middleware::Next,
    response::Response,
};
use keyward_license::discovery::{WELL_KNOWN_PATH, media_type};

use super::Proxy;
use crate::{
    http::{LIVE_PATH, READY_PATH},
    metrics::Outcome,
};

/// Stands with an answer that is a problem of the proxy's own, by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own(pub(super) u64);

/// Counts answers to clients.
pub(super) async fn public(State(proxy): State<Proxy>, request: Request, next: Next) -> Response {
    let endpoint = match request.uri().path() {
        WELL_KNOWN_PATH => "discovery",
        LIVE_PATH | READY_PATH => "health",
        _ => message(&request),
    };
    count(&proxy, endpoint, next.run(request).await)
}

/// Counts answers to who reads the metrics.
pub(super) async fn metrics(State(proxy): State<Proxy>, request: Request, next: Next) -> Response {
    count(&proxy, "metrics", next.run(request).await)
}

/// What a message says that it is. Strangers choose media types; they do not choose labels.
fn message(request: &Request) -> &'static str {
    let stated = request.headers().get(CONTENT_TYPE);
    match stated.and_then(|value| value.to_str().ok()) {
        Some(media_type::LICENSE_REQUEST) => "license",
        Some(media_type::ENROLMENT_REQUEST) => "enrolment",
        Some(media_type::PACKAGING_REQUEST) => "packaging",
        _ => "other",
    }
}

fn count(proxy: &Proxy, endpoint: &'static str, response: Response) -> Response {
    let metrics = &proxy.0.metrics;
    let outcome = response.extensions().get::<Outcome>().copied();
    let outcome = outcome.unwrap_or_else(|| Outcome::of_status(response.status()));
    metrics.traffic.answered(endpoint, outcome);
    if let Some(Own(code)) = response.extensions().get() {
        metrics.refused(*code);
    }
    response
}
