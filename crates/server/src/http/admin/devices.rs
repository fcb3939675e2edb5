//! `GET /devices`, `POST /devices/{id}/revoke`, `POST /devices/{id}/accept-restored-store`.

use axum::{extract::State, http::StatusCode};
use keyward_license::{error_code::ErrorCode, ids::DeviceId};
use serde::Serialize;

use super::{json::Segment, problem::AdminProblem};
use crate::{Server, admin::role_name};

#[derive(Serialize)]
pub(super) struct Listed {
    id: String,
    account: String,
    role: &'static str,
    security_level: u64,
    maker: String,
    model: String,
    enrolled: u64,
    revoked: Option<u64>,
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let devices = server.devices().await?.into_iter().map(|device| Listed {
        id: device.id.to_string(),
        account: device.account,
        role: role_name(device.role),
        security_level: device.security_level,
        maker: device.maker,
        model: device.model,
        enrolled: device.enrolled.0,
        revoked: device.revoked.map(|at| at.0),
    });
    Ok(axum::Json(devices.collect()))
}

pub(super) async fn revoke(
    State(server): State<Server>,
    Segment(id): Segment<String>,
) -> Result<StatusCode, AdminProblem> {
    server.revoke_device(device_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn accept_restored_store(
    State(server): State<Server>,
    Segment(id): Segment<String>,
) -> Result<StatusCode, AdminProblem> {
    server.accept_restored_store(device_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn device_id(text: &str) -> Result<DeviceId, AdminProblem> {
    let mut bytes = [0; DeviceId::LEN];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| AdminProblem::new(ErrorCode::Malformed, "a device id is 64 hexadecimal digits"))?;
    Ok(DeviceId::new(bytes))
}
