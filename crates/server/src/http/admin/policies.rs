//! `GET /policies`, `POST /policies`.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{json::Json, problem::AdminProblem};
use crate::{
    Server,
    policy::{Policy, PolicyTerms},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    name: String,
    terms: PolicyTerms,
}

#[derive(Serialize)]
pub(super) struct Created {
    name: String,
    version: u64,
}

pub(super) async fn create(
    State(server): State<Server>,
    Json(asked): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), AdminProblem> {
    let version = server.create_policy(&asked.name, asked.terms).await?;
    Ok((
        StatusCode::CREATED,
        axum::Json(Created {
            name: asked.name,
            version,
        }),
    ))
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Policy>>, AdminProblem> {
    Ok(axum::Json(server.policies().await?))
}
