//! `GET /keys`, `POST /keys`, `POST /keys/import`. No answer holds a key.

use axum::{extract::State, http::StatusCode};
use keyward_crypto::ContentKey;
use keyward_license::license::KeyType;
use serde::{Deserialize, Serialize};

use super::{
    json::{Json, SecretHex, parse},
    problem::AdminProblem,
};
use crate::{
    Error, Server,
    vault::{Source, key_type_from_name, key_type_name},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    kid: String,
    key_type: String,
    /// Without: seed 1.
    seed: Option<u64>,
    /// Without: the policy alone decides.
    minimum_security_level: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    kid: String,
    key_type: String,
    key: SecretHex,
    minimum_security_level: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Listed {
    kid: String,
    key_type: &'static str,
    /// Null: a key of its own.
    seed: Option<u64>,
    minimum_security_level: Option<u64>,
}

pub(super) async fn register(
    State(server): State<Server>,
    Json(asked): Json<Register>,
) -> Result<StatusCode, AdminProblem> {
    let key_type = key_type(&asked.key_type)?;
    let (kid, seed) = (parse("kid", &asked.kid)?, asked.seed.unwrap_or(1));
    server
        .register_key_of_level(kid, key_type, seed, asked.minimum_security_level)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn import(
    State(server): State<Server>,
    Json(asked): Json<Import>,
) -> Result<StatusCode, AdminProblem> {
    let key_type = key_type(&asked.key_type)?;
    let key = ContentKey::new(*asked.key.decode::<16>()?);
    let kid = parse("kid", &asked.kid)?;
    server
        .import_key_of_level(kid, key_type, &key, asked.minimum_security_level)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let keys = server.keys().await?.into_iter().map(|key| {
        let seed = match key.source {
            Source::Seed(number) => Some(number),
            Source::Stored => None,
        };
        Listed {
            kid: key.kid.to_string(),
            key_type: key_type_name(key.key_type),
            seed,
            minimum_security_level: key.minimum_security_level,
        }
    });
    Ok(axum::Json(keys.collect()))
}

fn key_type(name: &str) -> Result<KeyType, Error> {
    let expected = "`cenc-ctr`, `cenc-cbc` or `file`";
    key_type_from_name(name).ok_or(Error::OutOfRange {
        what: "the key type",
        expected,
    })
}
