//! `/exchange-keys`: from their making to their end. No answer holds a key.
//!
//! ```text
//!  GET  /exchange-keys                             POST /exchange-keys          a fresh key
//!  GET  /exchange-keys/{kid}                       POST /exchange-keys/import   a key that is taken over
//!  GET  /exchange-keys/{kid}/uses?limit=&before=   what the server did with it, newest first
//!  POST /exchange-keys/{kid}/rotate                a new version, fresh or taken over
//!  POST /exchange-keys/{kid}/minimum-version       POST /exchange-keys/{kid}/minimum-security-level
//!  POST /exchange-keys/{kid}/disable, enable       POST /exchange-keys/{kid}/destroy
//! ```

use axum::{
    extract::{FromRequestParts, State},
    http::{StatusCode, Uri, request::Parts},
};
use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{error_code::ErrorCode, ids::Kid};
use serde::{Deserialize, Serialize};

use super::{
    json::{Base64Url, Json, SecretHex, Segment, encode, parse},
    problem::AdminProblem,
};
use crate::{
    Error, Server,
    key_exchange::{Destroy, KeyListing, NewKey, Use},
};

/// The key that a path names.
pub(super) struct Named(pub(super) Kid);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminProblem> {
        let Segment(kid) = Segment::<String>::from_request_parts(parts, state).await?;
        parse("kid", &kid).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    /// Without: one is drawn.
    kid: Option<String>,
    name: String,
    algorithm: String,
    operation: String,
    context: Option<Base64Url>,
    uses: Option<u64>,
    minimum_security_level: Option<u64>,
    beside: Option<String>,
}

/// As [`Create`], with the value. Serde does not take one type apart and know all fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    kid: Option<String>,
    name: String,
    algorithm: String,
    operation: String,
    context: Option<Base64Url>,
    uses: Option<u64>,
    minimum_security_level: Option<u64>,
    beside: Option<String>,
    key: SecretHex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    /// Without: a fresh value.
    key: Option<SecretHex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MinimumVersion {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MinimumLevel {
    /// Null: the policy alone decides. It must be said: what is left out takes no demand away.
    #[serde(deserialize_with = "Option::deserialize")]
    minimum_security_level: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Destruction {
    version: Option<u32>,
    /// Every version instead.
    #[serde(default)]
    all: bool,
}

#[derive(Serialize)]
pub(super) struct Created {
    kid: String,
    version: u32,
}

#[derive(Serialize)]
pub(super) struct Rotated {
    version: u32,
}

#[derive(Serialize)]
pub(super) struct Listed {
    kid: String,
    name: String,
    algorithm: &'static str,
    operation: &'static str,
    /// What the server does with it.
    mirror: &'static str,
    context: Option<String>,
    uses: Option<u64>,
    minimum_version: u32,
    minimum_security_level: Option<u64>,
    beside: Option<String>,
    state: &'static str,
    created: u64,
    versions: Vec<Version>,
}

#[derive(Serialize)]
struct Version {
    version: u32,
    created: u64,
    destroyed: bool,
    messages: u64,
}

#[derive(Serialize)]
pub(super) struct ListedUse {
    id: i64,
    at: u64,
    version: Option<u32>,
    operation: &'static str,
    items: u64,
    failed: u64,
    bytes: u64,
    caller: String,
    outcome: &'static str,
}

pub(super) async fn create(
    State(server): State<Server>,
    Json(asked): Json<Create>,
) -> Result<(StatusCode, axum::Json<Created>), AdminProblem> {
    let kid = server.create_exchange_key(asked.read()?).await?;
    Ok(created(kid))
}

pub(super) async fn import(
    State(server): State<Server>,
    Json(asked): Json<Import>,
) -> Result<(StatusCode, axum::Json<Created>), AdminProblem> {
    let (key, new) = asked.read()?;
    let kid = server.import_exchange_key(new, &key.decode_bytes()?).await?;
    Ok(created(kid))
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let keys = server.exchange_keys().await?;
    Ok(axum::Json(keys.into_iter().map(Listed::of).collect()))
}

pub(super) async fn show(
    State(server): State<Server>,
    Named(kid): Named,
) -> Result<axum::Json<Listed>, AdminProblem> {
    Ok(axum::Json(Listed::of(server.exchange_key(kid).await?)))
}

pub(super) async fn uses(
    State(server): State<Server>,
    Named(kid): Named,
    uri: Uri,
) -> Result<axum::Json<Vec<ListedUse>>, AdminProblem> {
    let malformed = || {
        AdminProblem::new(
            ErrorCode::Malformed,
            "the query takes the numbers `limit` and `before`",
        )
    };
    let (mut limit, mut before) = (PAGE, None);
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match &name[..] {
            "limit" => limit = value.parse().map_err(|_| malformed())?,
            "before" => before = Some(value.parse().map_err(|_| malformed())?),
            _ => return Err(malformed()),
        }
    }
    let uses = server.exchange_uses(kid, before, limit).await?;
    Ok(axum::Json(uses.into_iter().map(ListedUse::of).collect()))
}

pub(super) async fn rotate(
    State(server): State<Server>,
    Named(kid): Named,
    Json(asked): Json<Rotate>,
) -> Result<(StatusCode, axum::Json<Rotated>), AdminProblem> {
    let version = match asked.key {
        Some(key) => server.rotate_exchange_key_to(kid, &key.decode_bytes()?).await?,
        None => server.rotate_exchange_key(kid).await?,
    };
    Ok((StatusCode::CREATED, axum::Json(Rotated { version })))
}

pub(super) async fn minimum_version(
    State(server): State<Server>,
    Named(kid): Named,
    Json(asked): Json<MinimumVersion>,
) -> Result<StatusCode, AdminProblem> {
    server.set_exchange_minimum_version(kid, asked.version).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn minimum_level(
    State(server): State<Server>,
    Named(kid): Named,
    Json(asked): Json<MinimumLevel>,
) -> Result<StatusCode, AdminProblem> {
    server
        .set_exchange_minimum_level(kid, asked.minimum_security_level)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn disable(
    State(server): State<Server>,
    Named(kid): Named,
) -> Result<StatusCode, AdminProblem> {
    server.disable_exchange_key(kid).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn enable(
    State(server): State<Server>,
    Named(kid): Named,
) -> Result<StatusCode, AdminProblem> {
    server.enable_exchange_key(kid).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn destroy(
    State(server): State<Server>,
    Named(kid): Named,
    Json(asked): Json<Destruction>,
) -> Result<StatusCode, AdminProblem> {
    let what = match (asked.version, asked.all) {
        (Some(version), false) => Destroy::Version(version),
        (None, true) => Destroy::All,
        _ => {
            let detail = "name the `version` that is destroyed, or say `all`";
            return Err(AdminProblem::new(ErrorCode::Malformed, detail));
        }
    };
    server.destroy_exchange_key(kid, what).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The operation of a name.
pub(super) fn operation(name: &str) -> Result<Operation, Error> {
    Operation::from_name(name).ok_or(Error::OutOfRange {
        what: "the operation",
        expected: "`encrypt`, `decrypt`, `sign`, `verify`, `wrap` or `unwrap`",
    })
}

impl Create {
    fn read(self) -> Result<NewKey, AdminProblem> {
        let algorithm = Algorithm::from_name(&self.algorithm).ok_or(Error::OutOfRange {
            what: "the algorithm",
            expected: "one of key exchange, such as `A256GCM`",
        })?;
        let kid = |what, kid: Option<String>| kid.map(|kid| parse(what, &kid)).transpose();
        Ok(NewKey {
            kid: kid("kid", self.kid)?,
            context: self.context.map(|context| context.0.to_vec()),
            uses: self.uses,
            minimum_security_level: self.minimum_security_level,
            beside: kid("beside", self.beside)?,
            ..NewKey::new(self.name, algorithm, operation(&self.operation)?)
        })
    }
}

impl Import {
    fn read(self) -> Result<(SecretHex, NewKey), AdminProblem> {
        let create = Create {
            kid: self.kid,
            name: self.name,
            algorithm: self.algorithm,
            operation: self.operation,
            context: self.context,
            uses: self.uses,
            minimum_security_level: self.minimum_security_level,
            beside: self.beside,
        };
        Ok((self.key, create.read()?))
    }
}

impl Listed {
    fn of(key: KeyListing) -> Self {
        let versions = key.versions.into_iter().map(|version| Version {
            version: version.version,
            created: version.created.0,
            destroyed: version.destroyed,
            messages: version.messages,
        });
        Self {
            kid: key.kid.to_string(),
            name: key.name,
            algorithm: key.algorithm.name(),
            operation: key.operation.name(),
            mirror: key.operation.mirror().name(),
            context: key.context.as_deref().map(encode),
            uses: key.uses,
            minimum_version: key.minimum_version,
            minimum_security_level: key.minimum_security_level,
            beside: key.beside.map(|beside| beside.to_string()),
            state: key.state.name(),
            created: key.created.0,
            versions: versions.collect(),
        }
    }
}

impl ListedUse {
    fn of(used: Use) -> Self {
        Self {
            id: used.id,
            at: used.at.0,
            version: used.version,
            operation: used.operation.name(),
            items: used.items,
            failed: used.failed,
            bytes: used.bytes,
            caller: used.caller,
            outcome: used.outcome.name(),
        }
    }
}

fn created(kid: Kid) -> (StatusCode, axum::Json<Created>) {
    let kid = kid.to_string();
    (StatusCode::CREATED, axum::Json(Created { kid, version: 1 }))
}

/// Uses in an answer, unless the query says otherwise.
const PAGE: u32 = 100;
