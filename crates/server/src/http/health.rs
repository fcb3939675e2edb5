//! `GET /health/live`: the process answers. `GET /health/ready`: its database answers as well and
//! takes writes, and revocation lists can be made.

use axum::extract::State;
use keyward_license::error_code::{ErrorCode, Problem};

use super::problem::ProblemResponse;
use crate::Server;

pub(super) async fn live() -> &'static str {
    "live\n"
}

pub(super) async fn ready(State(server): State<Server>) -> Result<&'static str, ProblemResponse> {
    if !server.store().is_ready().await {
        return Err(not_ready("the database does not answer"));
    }
    match server.makes_lists().await {
        Ok(()) => Ok("ready\n"),
        Err(error) => {
            tracing::error!(%error, "revocation lists cannot be made: nobody is answered");
            Err(not_ready("revocation lists cannot be made"))
        }
    }
}

fn not_ready(why: &str) -> ProblemResponse {
    Problem::new(ErrorCode::Busy, why.to_owned()).into()
}
