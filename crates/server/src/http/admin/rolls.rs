//! `GET /rolls`, `POST /rolls/{what}` and `PUT /rolls/{what}`: the operator's keys, and another in the place of one.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use keyward_crypto::Secret;
use keyward_license::error_code::ErrorCode;
use serde::Deserialize;

use super::{
    json::{Base64Url, Json, SecretHex, Segment},
    problem::AdminProblem,
};
use crate::{
    Server,
    rolls::{Keys, Purpose, RolledKey},
    sealing::KeyEncryptionKey,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Roll {
    /// The key-encryption key that is to be used, where it is supplied from elsewhere.
    new_kek: Option<SecretHex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Install {
    certificate: Base64Url,
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Keys>>, AdminProblem> {
    Ok(axum::Json(server.rolls().await?))
}

pub(super) async fn roll(
    State(server): State<Server>,
    Segment(what): Segment<String>,
    Json(asked): Json<Roll>,
) -> Result<Response, AdminProblem> {
    let given = match asked.new_kek {
        Some(_) if what != "kek" => {
            let detail = "`new_kek` is for `/rolls/kek` alone";
            return Err(AdminProblem::new(ErrorCode::Malformed, detail));
        }
        Some(key) => Some(KeyEncryptionKey::new(Secret::new(*key.decode::<32>()?))),
        None => None,
    };
    Ok(match &what[..] {
        "kek" => axum::Json(server.roll_kek(given).await?).into_response(),
        "seed" => axum::Json(server.roll_seed().await?).into_response(),
        _ => match purpose(&what)? {
            authority if authority.is_authority() => {
                axum::Json(server.request_authority(authority).await?).into_response()
            }
            purpose => axum::Json(server.roll_key(purpose).await?).into_response(),
        },
    })
}

pub(super) async fn install(
    State(server): State<Server>,
    Segment(what): Segment<String>,
    Json(asked): Json<Install>,
) -> Result<axum::Json<RolledKey>, AdminProblem> {
    let rolled = server.install_authority(purpose(&what)?, &asked.certificate.0);
    Ok(axum::Json(rolled.await?))
}

fn purpose(what: &str) -> Result<Purpose, AdminProblem> {
    Purpose::from_text(what)
        .ok_or_else(|| AdminProblem::new(ErrorCode::NotFound, "there is nothing of this name to be rolled"))
}
