//! `GET /devices`, `POST /devices/{id}/revoke`, `POST /devices/{id}/accept-restored-store`.

use axum::{extract::State, http::StatusCode};
use keyward_license::{error_code::ErrorCode, ids::DeviceId};
use serde::Serialize;

use super::{json::Segment, problem::AdminProblem};
use crate::{
    Server,
    admin::{DeviceCertificate, role_name},
};

#[derive(Serialize)]
pub(super) struct Listed {
    id: String,
    account: String,
    role: &'static str,
    security_level: u64,
    maker: String,
    model: String,
    robustness_version: Option<u64>,
    enrolled: u64,
    revoked: Option<u64>,
    certificates: Vec<Certificate>,
}

/// One that has not ended.
#[derive(Serialize)]
pub(super) struct Certificate {
    serial: String,
    not_after: u64,
    is_revoked: bool,
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let devices = server.devices().await?.into_iter().map(|device| Listed {
        id: device.id.to_string(),
        account: device.account,
        role: role_name(device.role),
        security_level: device.security_level,
        maker: device.maker,
        model: device.model,
        robustness_version: device.robustness_version,
        enrolled: device.enrolled.0,
        revoked: device.revoked.map(|at| at.0),
        certificates: device.certificates.into_iter().map(certificate).collect(),
    });
    Ok(axum::Json(devices.collect()))
}

fn certificate(certificate: DeviceCertificate) -> Certificate {
    Certificate {
        serial: hex::encode(certificate.serial),
        not_after: certificate.not_after.0,
        is_revoked: certificate.is_revoked,
    }
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
