//! `GET /metrics`: what the server counts, for a monitoring system. A token that may read is enough.

use axum::{
    extract::State,
    http::{HeaderName, header},
};

use super::problem::AdminProblem;
use crate::{Server, metrics::OPEN_METRICS};

pub(super) async fn text(
    State(server): State<Server>,
) -> Result<([(HeaderName, &'static str); 1], String), AdminProblem> {
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], server.metrics().await?))
}
