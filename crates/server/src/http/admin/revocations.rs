//! `GET, POST /revocations`, `DELETE /revocations/{serial}`: certificates. `…/models`, `…/allowed`: the operator's own
//! list. `GET /certificates`: which there are.

use axum::{extract::State, http::StatusCode};
use keyward_license::{
    error_code::ErrorCode,
    ids::{DeviceId, Digest},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    json::{Json, Segment},
    problem::AdminProblem,
};
use crate::{
    Server,
    revocation::{NewModel, reason_from_name, reason_name},
};

#[derive(Serialize)]
pub(super) struct Certificate {
    purpose: &'static str,
    key: u64,
    serial: String,
    state: &'static str,
    not_before: u64,
    not_after: u64,
}

pub(super) async fn certificates(
    State(server): State<Server>,
) -> Result<axum::Json<Vec<Certificate>>, AdminProblem> {
    let certificates = server.certificates().await?.into_iter();
    let listed = certificates.map(|certificate| Certificate {
        purpose: certificate.purpose,
        key: certificate.key,
        serial: hex::encode(certificate.serial),
        state: certificate.state.as_str(),
        not_before: certificate.not_before.0,
        not_after: certificate.not_after.0,
    });
    Ok(axum::Json(listed.collect()))
}

#[derive(Serialize)]
pub(super) struct Listed {
    serial: String,
    authority: &'static str,
    device: Option<String>,
    purpose: Option<&'static str>,
    not_after: Option<u64>,
    revoked: u64,
    invalid_since: Option<u64>,
    reason: Option<&'static str>,
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let revoked = server.revoked_certificates().await?.into_iter();
    let listed = revoked.map(|row| Listed {
        serial: hex::encode(row.serial),
        authority: row.authority,
        device: row.device.map(|device| device.to_string()),
        purpose: row.purpose,
        not_after: row.not_after.map(|end| end.0),
        revoked: row.revoked.0,
        invalid_since: row.invalid_since.map(|since| since.0),
        reason: row.reason.and_then(reason_name),
    });
    Ok(axum::Json(listed.collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    serial: String,
    invalid_since: Option<u64>,
    reason: Option<String>,
}

pub(super) async fn revoke(
    State(server): State<Server>,
    Json(asked): Json<Revoke>,
) -> Result<StatusCode, AdminProblem> {
    let reason = asked.reason.as_deref().map(|name| {
        let unknown = "a reason is `key-compromise`, `authority-compromise`, `superseded`, \
                       `cessation-of-operation` or `privilege-withdrawn`";
        reason_from_name(name).ok_or_else(|| malformed(unknown))
    });
    let since = asked.invalid_since.map(Timestamp);
    server
        .revoke_certificate(&serial(&asked.serial)?, since, reason.transpose()?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn restore(
    State(server): State<Server>,
    Segment(asked): Segment<String>,
) -> Result<StatusCode, AdminProblem> {
    server.restore_certificate(&serial(&asked)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeModel {
    maker: String,
    model: Option<String>,
    robustness_below: Option<u64>,
    since: Option<u64>,
    reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Made {
    id: i64,
    /// How many enrolled devices the entry names.
    devices: u64,
}

#[derive(Serialize)]
pub(super) struct Model {
    id: i64,
    maker: String,
    model: Option<String>,
    robustness_below: Option<u64>,
    since: u64,
    reason: Option<String>,
    created: u64,
}

pub(super) async fn revoke_model(
    State(server): State<Server>,
    Json(asked): Json<RevokeModel>,
) -> Result<(StatusCode, axum::Json<Made>), AdminProblem> {
    let devices = server
        .devices_named(&asked.maker, asked.model.as_deref(), asked.robustness_below)
        .await?;
    let id = server
        .revoke_model(NewModel {
            maker: asked.maker,
            model: asked.model,
            robustness_below: asked.robustness_below,
            since: asked.since.map(Timestamp),
            reason: asked.reason,
        })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(Made { id, devices })))
}

pub(super) async fn models(State(server): State<Server>) -> Result<axum::Json<Vec<Model>>, AdminProblem> {
    let models = server.revoked_models().await?.into_iter().map(|row| Model {
        id: row.id,
        maker: row.maker,
        model: row.model,
        robustness_below: row.robustness_below,
        since: row.since.0,
        reason: row.reason,
        created: row.created.0,
    });
    Ok(axum::Json(models.collect()))
}

pub(super) async fn restore_model(
    State(server): State<Server>,
    Segment(id): Segment<i64>,
) -> Result<StatusCode, AdminProblem> {
    server.restore_model(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One certificate by its SHA-256, or the newest of a device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allow {
    certificate: Option<String>,
    device: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Allowed {
    certificate: String,
}

pub(super) async fn allow(
    State(server): State<Server>,
    Json(asked): Json<Allow>,
) -> Result<(StatusCode, axum::Json<Allowed>), AdminProblem> {
    let digest = match (asked.certificate, asked.device) {
        (Some(certificate), None) => {
            let digest = Digest::new(bytes("certificate", &certificate)?);
            server.allow_certificate(digest).await?;
            digest
        }
        (None, Some(device)) => {
            server
                .allow_device(DeviceId::new(bytes("device", &device)?))
                .await?
        }
        _ => return Err(malformed("name a `certificate` or a `device`")),
    };
    let certificate = digest.to_string();
    Ok((StatusCode::CREATED, axum::Json(Allowed { certificate })))
}

#[derive(Serialize)]
pub(super) struct Exempt {
    certificate: String,
    device: Option<String>,
}

pub(super) async fn allowed(State(server): State<Server>) -> Result<axum::Json<Vec<Exempt>>, AdminProblem> {
    let exemptions = server.exemptions().await?.into_iter();
    let listed = exemptions.map(|exempt| Exempt {
        certificate: exempt.certificate.to_string(),
        device: exempt.device.map(|device| device.to_string()),
    });
    Ok(axum::Json(listed.collect()))
}

pub(super) async fn disallow(
    State(server): State<Server>,
    Segment(digest): Segment<String>,
) -> Result<StatusCode, AdminProblem> {
    let digest = Digest::new(bytes("certificate", &digest)?);
    server.disallow_certificate(digest).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn serial(text: &str) -> Result<Vec<u8>, AdminProblem> {
    let serial = hex::decode(text)
        .ok()
        .filter(|serial| (1..=20).contains(&serial.len()));
    serial.ok_or_else(|| malformed("a serial number is 2 to 40 hexadecimal digits"))
}

fn bytes(what: &str, text: &str) -> Result<[u8; 32], AdminProblem> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| malformed(&format!("`{what}` must be 64 hexadecimal digits")))?;
    Ok(bytes)
}

fn malformed(detail: &str) -> AdminProblem {
    AdminProblem::new(ErrorCode::Malformed, detail)
}
