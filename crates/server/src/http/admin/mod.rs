//! The administration interface: JSON on a listener of its own, every request with an admin token.
//!
//! ```text
//!  POST   /enrolment-tokens                      a single-use token for a device or a packager
//!  POST   /entitlements                          entitle an account to a key id, or to all
//!  DELETE /entitlements/{id}                     end an entitlement
//!  GET    /accounts/{account}/entitlements
//!  GET    /policies          POST /policies      a new version of a policy, of terms or of a preset
//!  GET    /policies/{name}                       every version of a policy
//!  GET    /policy-presets
//!  GET    /keys              POST /keys          register a key id under a license key seed
//!  POST   /keys/import                           register a key id with a key of its own
//!  GET    /metrics                               what is counted, in OpenMetrics text
//!  GET    /devices
//!  POST   /devices/{id}/revoke
//!  POST   /devices/{id}/accept-restored-store
//! ```
//! Times are seconds since 1970-01-01T00:00:00Z. Errors are RFC 9457 problem documents.

mod devices;
mod enrolment_tokens;
mod entitlements;
mod json;
mod keys;
mod metrics;
mod policies;
mod problem;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::Method,
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};
use keyward_license::error_code::ErrorCode;

use super::{addresses::Peer, count, observe};
use crate::{Server, admin::Scope};
use problem::AdminProblem;

pub(super) fn router(server: Server) -> Router {
    Router::new()
        .route("/enrolment-tokens", post(enrolment_tokens::create))
        .route("/entitlements", post(entitlements::grant))
        .route("/entitlements/{id}", delete(entitlements::revoke))
        .route("/accounts/{account}/entitlements", get(entitlements::list))
        .route("/policies", get(policies::list).post(policies::create))
        .route("/policies/{name}", get(policies::versions))
        .route("/policy-presets", get(policies::presets))
        .route("/keys", get(keys::list).post(keys::register))
        .route("/keys/import", post(keys::import))
        .route("/metrics", get(metrics::text))
        .route("/devices", get(devices::list))
        .route("/devices/{id}/revoke", post(devices::revoke))
        .route(
            "/devices/{id}/accept-restored-store",
            post(devices::accept_restored_store),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        // Around the fallbacks as well: a stranger does not learn which paths there are.
        .layer(middleware::from_fn_with_state(server.clone(), authenticate))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(server.clone(), count::admin))
        .layer(middleware::from_fn(observe::observe))
        .with_state(server)
}

/// Lets a request pass that carries an admin token in use, whose scope permits it.
async fn authenticate(
    State(server): State<Server>,
    request: Request,
    next: Next,
) -> Result<Response, AdminProblem> {
    let unauthorized = |detail| AdminProblem::new(ErrorCode::Unauthorized, detail);
    let presented =
        super::bearer(request.headers()).ok_or_else(|| unauthorized("there is no admin token"))?;
    let inner = server.inner();
    if !inner.known_administrators.has(presented)
        && !inner.rates.administrators.admit(Peer::of(&request).into())
    {
        let detail = "this address presents too many tokens that are not known";
        return Err(AdminProblem::new(ErrorCode::RateLimited, detail));
    }
    let administrator = server.authenticate_admin(presented).await?;
    inner
        .known_administrators
        .learn(presented, administrator.is_some());
    let administrator = administrator.ok_or_else(|| unauthorized("the admin token is not known"))?;
    if administrator.scope != Scope::Full && request.method() != Method::GET {
        return Err(unauthorized("the admin token permits reading only"));
    }
    tracing::info!(administrator = administrator.name, "administration");
    Ok(next.run(request).await)
}

async fn not_found() -> AdminProblem {
    AdminProblem::new(ErrorCode::NotFound, "there is no such endpoint")
}

/// Largest body; no administrative act needs more.
const BODY_BYTES: usize = 64 * 1024;
