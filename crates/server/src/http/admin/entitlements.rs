//! `POST /entitlements`, `DELETE /entitlements/{id}`, `GET /accounts/{account}/entitlements`.

use axum::{extract::State, http::StatusCode};
use keyward_license::{ids::Kid, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    json::{Json, Segment, parse},
    problem::AdminProblem,
};
use crate::{Server, admin::Entitlement, policy::DEFAULT_POLICY};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    account: String,
    /// Without: all key ids.
    kid: Option<String>,
    policy: Option<String>,
    expires: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Granted {
    id: i64,
}

#[derive(Serialize)]
pub(super) struct Listed {
    id: i64,
    kid: Option<String>,
    policy: String,
    granted: u64,
    expires: Option<u64>,
}

pub(super) async fn grant(
    State(server): State<Server>,
    Json(asked): Json<Grant>,
) -> Result<(StatusCode, axum::Json<Granted>), AdminProblem> {
    let kid: Option<Kid> = asked.kid.map(|kid| parse("kid", &kid)).transpose()?;
    let policy = asked.policy.as_deref().unwrap_or(DEFAULT_POLICY);
    let id = server
        .grant(&asked.account, kid, policy, asked.expires.map(Timestamp))
        .await?;
    Ok((StatusCode::CREATED, axum::Json(Granted { id })))
}

pub(super) async fn revoke(
    State(server): State<Server>,
    Segment(id): Segment<i64>,
) -> Result<StatusCode, AdminProblem> {
    server.revoke_entitlement(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(
    State(server): State<Server>,
    Segment(account): Segment<String>,
) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let listed = server.entitlements(&account).await?.into_iter().map(
        |Entitlement {
             id,
             kid,
             policy,
             granted,
             expires,
         }| {
            let kid = kid.map(|kid| kid.to_string());
            Listed {
                id,
                kid,
                policy,
                granted: granted.0,
                expires: expires.map(|expires| expires.0),
            }
        },
    );
    Ok(axum::Json(listed.collect()))
}
