//! `/roots`: from their making to what is under them. No answer holds a key.
//!
//! ```text
//!  GET  /roots                        POST   /roots                             a root with a fresh key
//!  GET  /roots/{kid}                  what is under it as well
//!  POST /roots/{kid}/contents         DELETE /roots/{kid}/contents/{content}    pieces of content, or periods of them
//!  POST /roots/{kid}/keys             DELETE /roots/{kid}/keys/{key}            single keys
//!  POST /roots/{kid}/blackouts        DELETE /roots/{kid}/blackouts/{id}        periods that have no leaf
//! ```

use axum::{
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
};
use keyward_license::{error_code::ErrorCode, ids::Kid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    exchange_keys::Named,
    json::{Json, parse},
    problem::AdminProblem,
};
use crate::{
    Server,
    roots::{Blackout, NewRoot, Periods, Root, RootContent, RootHoldings},
};

/// The root that a path names, and what of it.
pub(super) struct NamedOf<T>(Kid, T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for NamedOf<T> {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminProblem> {
        let Path((kid, of)) = Path::<(String, T)>::from_request_parts(parts, state)
            .await
            .map_err(|_| AdminProblem::new(ErrorCode::Malformed, "the path does not name what it should"))?;
        Ok(Self(parse("kid", &kid)?, of))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// Without: one is drawn.
    kid: Option<String>,
    name: String,
    minimum_security_level: Option<u64>,
    #[serde(default)]
    accompany: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutContent {
    content_id: String,
    from_period: Option<u64>,
    to_period: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutKey {
    kid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlackOut {
    content_id: String,
    from_period: u64,
    to_period: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Created {
    kid: String,
}

#[derive(Serialize)]
pub(super) struct Made {
    id: i64,
}

#[derive(Serialize)]
pub(super) struct Listed {
    kid: String,
    name: String,
    minimum_security_level: Option<u64>,
    accompany: bool,
    created: u64,
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    root: Listed,
    contents: Vec<Content>,
    keys: Vec<String>,
    blackouts: Vec<BlackedOut>,
}

#[derive(Serialize)]
struct Content {
    content_id: String,
    from_period: Option<u64>,
    to_period: Option<u64>,
}

#[derive(Serialize)]
struct BlackedOut {
    id: i64,
    content_id: String,
    from_period: u64,
    to_period: Option<u64>,
}

pub(super) async fn create(
    State(server): State<Server>,
    Json(asked): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), AdminProblem> {
    let new = NewRoot {
        kid: asked.kid.map(|kid| parse("kid", &kid)).transpose()?,
        name: asked.name,
        minimum_security_level: asked.minimum_security_level,
        accompany: asked.accompany,
    };
    let kid = server.create_root(new).await?.to_string();
    Ok((StatusCode::CREATED, axum::Json(Created { kid })))
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let roots = server.roots().await?;
    Ok(axum::Json(roots.into_iter().map(Listed::of).collect()))
}

pub(super) async fn show(
    State(server): State<Server>,
    Named(kid): Named,
) -> Result<axum::Json<Shown>, AdminProblem> {
    let (root, holdings) = server.root(kid).await?;
    Ok(axum::Json(Shown::of(root, holdings)))
}

pub(super) async fn put_content(
    State(server): State<Server>,
    Named(kid): Named,
    Json(asked): Json<PutContent>,
) -> Result<StatusCode, AdminProblem> {
    let periods = Periods {
        from: asked.from_period,
        to: asked.to_period,
    };
    server
        .put_content_under_root(kid, &asked.content_id, periods)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn take_content(
    State(server): State<Server>,
    NamedOf(kid, content_id): NamedOf<String>,
) -> Result<StatusCode, AdminProblem> {
    server.take_content_off_root(kid, &content_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn put_key(
    State(server): State<Server>,
    Named(kid): Named,
    Json(asked): Json<PutKey>,
) -> Result<StatusCode, AdminProblem> {
    server.put_key_under_root(kid, parse("kid", &asked.kid)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn take_key(
    State(server): State<Server>,
    NamedOf(kid, key): NamedOf<String>,
) -> Result<StatusCode, AdminProblem> {
    server.take_key_off_root(kid, parse("kid", &key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn black_out(
    State(server): State<Server>,
    Named(kid): Named,
    Json(asked): Json<BlackOut>,
) -> Result<(StatusCode, axum::Json<Made>), AdminProblem> {
    let id = server
        .black_out(kid, &asked.content_id, asked.from_period, asked.to_period)
        .await?;
    Ok((StatusCode::CREATED, axum::Json(Made { id })))
}

pub(super) async fn lift_blackout(
    State(server): State<Server>,
    NamedOf(kid, id): NamedOf<i64>,
) -> Result<StatusCode, AdminProblem> {
    server.lift_blackout(kid, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Listed {
    fn of(root: Root) -> Self {
        Self {
            kid: root.kid.to_string(),
            name: root.name,
            minimum_security_level: root.minimum_security_level,
            accompany: root.accompany,
            created: root.created.0,
        }
    }
}

impl Shown {
    fn of(root: Root, holdings: RootHoldings) -> Self {
        let content = |RootContent { content_id, periods }| Content {
            content_id,
            from_period: periods.from,
            to_period: periods.to,
        };
        let blacked_out = |Blackout {
                               id,
                               content_id,
                               from,
                               to,
                           }| BlackedOut {
            id,
            content_id,
            from_period: from,
            to_period: to,
        };
        Self {
            root: Listed::of(root),
            contents: holdings.contents.into_iter().map(content).collect(),
            keys: holdings.keys.iter().map(Kid::to_string).collect(),
            blackouts: holdings.blackouts.into_iter().map(blacked_out).collect(),
        }
    }
}
