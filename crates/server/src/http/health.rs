//! `GET /health/live`: the process answers. `GET /health/ready`: its database answers as well and
//! takes writes.

use axum::extract::State;
use keyward_license::error_code::{ErrorCode, Problem};

use super::problem::ProblemResponse;
use crate::Server;

pub(super) async fn live() -> &'static str {
    "live\n"
}

pub(super) async fn ready(State(server): State<Server>) -> Result<&'static str, ProblemResponse> {
    if server.store().is_ready().await {
        Ok("ready\n")
    } else {
        Err(Problem::new(ErrorCode::Busy, "the database does not answer".to_owned()).into())
    }
}
