//! `GET /policies`, `POST /policies`, `GET /policies/{name}`, `GET /policy-presets`.

use axum::{extract::State, http::StatusCode};
use keyward_license::error_code::ErrorCode;
use serde::{Deserialize, Serialize};

use super::{
    json::{Json, Segment},
    problem::AdminProblem,
};
use crate::{
    Error, Server,
    policy::{Overrides, Policy, PolicyFault, PolicyTerms, Preset},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// Without: the preset's.
    name: Option<String>,
    preset: Option<String>,
    /// All of them; with a preset those that differ from it, `null` for one that is taken away.
    #[serde(default)]
    terms: Overrides,
}

#[derive(Serialize)]
pub(super) struct Created {
    name: String,
    version: u64,
}

#[derive(Serialize)]
pub(super) struct Listed {
    name: &'static str,
    says: &'static str,
    terms: PolicyTerms,
}

pub(super) async fn create(
    State(server): State<Server>,
    Json(asked): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), AdminProblem> {
    let (preset, terms) = terms(asked.preset.as_deref(), asked.terms).map_err(Error::from)?;
    let preset = preset.map(|preset| preset.name().to_owned());
    // Without either, it is the empty name that is refused.
    let name = asked.name.or(preset).unwrap_or_default();
    let version = server.create_policy(&name, terms).await?;
    Ok((StatusCode::CREATED, axum::Json(Created { name, version })))
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Policy>>, AdminProblem> {
    Ok(axum::Json(server.policies().await?))
}

pub(super) async fn versions(
    State(server): State<Server>,
    Segment(name): Segment<String>,
) -> Result<axum::Json<Vec<Policy>>, AdminProblem> {
    match server.policy_versions(&name).await {
        Ok(versions) => Ok(axum::Json(versions)),
        Err(unknown @ Error::PolicyUnknown(_)) => {
            Err(AdminProblem::new(ErrorCode::NotFound, unknown.to_string()))
        }
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn presets() -> axum::Json<Vec<Listed>> {
    let listed = Preset::ALL.into_iter().map(|preset| Listed {
        name: preset.name(),
        says: preset.says(),
        terms: preset.terms(),
    });
    axum::Json(listed.collect())
}

fn terms(preset: Option<&str>, overrides: Overrides) -> Result<(Option<Preset>, PolicyTerms), PolicyFault> {
    match preset.map(Preset::from_name).transpose()? {
        Some(preset) => Ok((Some(preset), preset.terms().with(overrides)?)),
        None => Ok((None, overrides.into_terms()?)),
    }
}
