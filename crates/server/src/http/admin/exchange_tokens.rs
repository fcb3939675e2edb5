//! `GET /exchange-tokens`, `POST /exchange-tokens`, `POST /exchange-tokens/{name}/revoke`.

use axum::{extract::State, http::StatusCode};
use keyward_license::{error_code::ErrorCode, ids::Kid};
use serde::{Deserialize, Serialize};

use super::{
    json::{Json, Segment, parse},
    problem::AdminProblem,
};
use crate::Server;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    name: String,
    /// The keys that it is for.
    kids: Option<Vec<String>>,
    /// Every exchange key instead, also those to come.
    #[serde(default)]
    all: bool,
}

#[derive(Serialize)]
pub(super) struct Created {
    name: String,
    token: String,
}

#[derive(Serialize)]
pub(super) struct Listed {
    name: String,
    /// Null: every exchange key.
    kids: Option<Vec<String>>,
    created: u64,
    revoked: Option<u64>,
}

pub(super) async fn create(
    State(server): State<Server>,
    Json(asked): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), AdminProblem> {
    let kids = match (asked.kids, asked.all) {
        (Some(kids), false) => Some(read_kids(&kids)?),
        (None, true) => None,
        _ => {
            let detail = "name the keys as `kids`, or say `all`";
            return Err(AdminProblem::new(ErrorCode::Malformed, detail));
        }
    };
    let token = server.create_exchange_token(&asked.name, kids).await?;
    let created = Created {
        name: asked.name,
        token: token.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let tokens = server.exchange_tokens().await?.into_iter().map(|token| Listed {
        name: token.name,
        kids: token.kids.map(|kids| kids.iter().map(Kid::to_string).collect()),
        created: token.created.0,
        revoked: token.revoked.map(|at| at.0),
    });
    Ok(axum::Json(tokens.collect()))
}

pub(super) async fn revoke(
    State(server): State<Server>,
    Segment(name): Segment<String>,
) -> Result<StatusCode, AdminProblem> {
    server.revoke_exchange_token(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read_kids(kids: &[String]) -> Result<Vec<Kid>, AdminProblem> {
    kids.iter().map(|kid| parse("kids", kid)).collect()
}
