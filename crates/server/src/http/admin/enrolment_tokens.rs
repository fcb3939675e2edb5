//! `POST /enrolment-tokens`: a single-use token for a device of an account, or for a packager.

use axum::{extract::State, http::StatusCode};
use keyward_license::{enrolment::EnrolmentRole, error_code::ErrorCode};
use serde::{Deserialize, Serialize};

use super::{json::Json, problem::AdminProblem};
use crate::{
    Server,
    admin::{TokenRequest, role_from_name},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    account: String,
    role: Option<String>,
    security_level: Option<u64>,
    #[serde(default)]
    maker: String,
    #[serde(default)]
    model: String,
    robustness_version: Option<u64>,
    expires_in_seconds: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Created {
    token: String,
    expires_in_seconds: u64,
}

pub(super) async fn create(
    State(server): State<Server>,
    Json(asked): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), AdminProblem> {
    let default = TokenRequest::new(asked.account);
    let request = TokenRequest {
        security_level: asked.security_level.unwrap_or(default.security_level),
        role: asked.role.as_deref().map_or(Ok(default.role), role)?,
        maker: asked.maker,
        model: asked.model,
        robustness_version: asked.robustness_version,
        expires_in: asked.expires_in_seconds.unwrap_or(default.expires_in),
        ..default
    };
    let expires_in_seconds = request.expires_in;
    let token = server.create_enrolment_token(request).await?;
    Ok((
        StatusCode::CREATED,
        axum::Json(Created {
            token: token.expose().to_owned(),
            expires_in_seconds,
        }),
    ))
}

fn role(name: &str) -> Result<EnrolmentRole, AdminProblem> {
    role_from_name(name)
        .ok_or_else(|| AdminProblem::new(ErrorCode::Malformed, "`role` is `device` or `packager`"))
}
