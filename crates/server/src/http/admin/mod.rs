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
//!  GET    /roots             POST /roots         what opens leaf licenses, and what is under it, see `roots`
//!  GET    /channels          POST /channels      how crypto periods lie in time, see `channels`
//!  GET    /rolls                                 the operator's keys, and until when those before them are accepted
//!  POST   /rolls/{what}                          another key in the place of one; of an authority, what the root signs
//!  PUT    /rolls/{what}                          the certificate that the root signed for an authority
//!  GET    /metrics                               what is counted, in OpenMetrics text
//!  GET    /devices
//!  POST   /devices/{id}/revoke
//!  POST   /devices/{id}/accept-restored-store
//!  GET    /certificates                          the operator's own, with their serial numbers
//!  GET, POST /revocations, …                     certificates, models, companies, exemptions, see `revocations`
//!  GET    /revocation-lists, …                   the lists that say so, see `revocation_lists`
//!  GET    /acknowledgements                      what became of licenses at clients that say so
//!  GET, POST /exchange-keys, …                   keys for the application's own data, see `exchange_keys`
//!  POST   /exchange-keys/{kid}/perform           the server's operations with them, see `exchange_perform`
//!  POST   /exchange-keys/{kid}/stream/{operation}   the same on large data, see `exchange_stream`
//!  GET, POST /exchange-tokens                    who may have these operations performed, and nothing else
//!  POST   /exchange-tokens/{name}/revoke
//! ```
//! Times are seconds since 1970-01-01T00:00:00Z. Errors are RFC 9457 problem documents.

mod acknowledgements;
mod channels;
mod devices;
mod enrolment_tokens;
mod entitlements;
mod exchange_keys;
mod exchange_perform;
mod exchange_stream;
mod exchange_tokens;
mod json;
mod keys;
mod metrics;
mod policies;
mod problem;
mod revocation_lists;
mod revocations;
mod rolls;
mod roots;

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::Method,
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post, put},
};
use keyward_license::error_code::ErrorCode;
use zeroize::Zeroizing;

use super::{addresses::Peer, count, observe};
use crate::{
    Error, Server,
    admin::{Administrator, Scope},
    key_exchange::Caller,
};
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
        .route("/channels", get(channels::list).post(channels::set))
        .route("/acknowledgements", get(acknowledgements::list))
        .route("/rolls", get(rolls::list))
        .route("/rolls/{what}", post(rolls::roll).put(rolls::install))
        .merge(revocations())
        .merge(roots())
        .merge(exchange_keys())
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        // Around the fallbacks as well: a stranger does not learn which paths there are.
        .layer(middleware::from_fn_with_state(server.clone(), authenticate))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(server.clone(), count::admin))
        .layer(middleware::from_fn(observe::observe))
        .with_state(server)
}

fn revocations() -> Router<Server> {
    Router::new()
        .route("/certificates", get(revocations::certificates))
        .route("/revocations", get(revocations::list).post(revocations::revoke))
        .route("/revocations/{serial}", delete(revocations::restore))
        .route(
            "/revocations/models",
            get(revocations::models).post(revocations::revoke_model),
        )
        .route("/revocations/models/{id}", delete(revocations::restore_model))
        .route(
            "/revocations/allowed",
            get(revocations::allowed).post(revocations::allow),
        )
        .route(
            "/revocations/allowed/{certificate}",
            delete(revocations::disallow),
        )
        .route("/revocation-lists", get(revocation_lists::list))
        .route("/revocation-lists/bundle", get(revocation_lists::bundle))
        .route("/revocation-lists/root", put(revocation_lists::import))
}

fn roots() -> Router<Server> {
    Router::new()
        .route("/roots", get(roots::list).post(roots::create))
        .route("/roots/{kid}", get(roots::show))
        .route("/roots/{kid}/contents", post(roots::put_content))
        .route("/roots/{kid}/contents/{content}", delete(roots::take_content))
        .route("/roots/{kid}/keys", post(roots::put_key))
        .route("/roots/{kid}/keys/{key}", delete(roots::take_key))
        .route("/roots/{kid}/blackouts", post(roots::black_out))
        .route("/roots/{kid}/blackouts/{id}", delete(roots::lift_blackout))
}

fn exchange_keys() -> Router<Server> {
    Router::new()
        .route(
            "/exchange-keys",
            get(exchange_keys::list).post(exchange_keys::create),
        )
        .route("/exchange-keys/import", post(exchange_keys::import))
        .route("/exchange-keys/{kid}", get(exchange_keys::show))
        .route("/exchange-keys/{kid}/uses", get(exchange_keys::uses))
        .route("/exchange-keys/{kid}/rotate", post(exchange_keys::rotate))
        .route(
            "/exchange-keys/{kid}/minimum-version",
            post(exchange_keys::minimum_version),
        )
        .route(
            "/exchange-keys/{kid}/minimum-security-level",
            post(exchange_keys::minimum_level),
        )
        .route("/exchange-keys/{kid}/disable", post(exchange_keys::disable))
        .route("/exchange-keys/{kid}/enable", post(exchange_keys::enable))
        .route("/exchange-keys/{kid}/destroy", post(exchange_keys::destroy))
        .route(
            PERFORM,
            post(exchange_perform::perform)
                .layer(DefaultBodyLimit::max(exchange_perform::BODY_BYTES))
                .layer(middleware::from_fn_with_state(
                    exchange_perform::Room::new(),
                    exchange_perform::in_turn,
                )),
        )
        .route(STREAM, post(exchange_stream::stream))
        .route(
            "/exchange-tokens",
            get(exchange_tokens::list).post(exchange_tokens::create),
        )
        .route("/exchange-tokens/{name}/revoke", post(exchange_tokens::revoke))
}

const PERFORM: &str = "/exchange-keys/{kid}/perform";
const STREAM: &str = "/exchange-keys/{kid}/stream/{operation}";

/// Lets a request pass that carries an admin token in use, whose scope permits it, or an exchange token where it is
/// for one. Where exchange keys are used, it learns who asks.
async fn authenticate(
    State(server): State<Server>,
    mut request: Request,
    next: Next,
) -> Result<Response, AdminProblem> {
    let unauthorized = |detail| AdminProblem::new(ErrorCode::Unauthorized, detail);
    let presented =
        super::bearer(request.headers()).ok_or_else(|| unauthorized("there is no admin token"))?;
    let presented = &Zeroizing::new(presented.to_owned())[..];
    let inner = server.inner();
    if !inner.known_administrators.has(presented)
        && !inner.rates.administrators.admit(Peer::of(&request).into())
    {
        let detail = "this address presents too many tokens that are not known";
        return Err(AdminProblem::new(ErrorCode::RateLimited, detail));
    }
    let presenter = presenter(&server, presented).await?;
    inner.known_administrators.learn(presented, presenter.is_some());
    let presenter = presenter.ok_or_else(|| unauthorized("the admin token is not known"))?;
    permit(presenter, &mut request).map_err(unauthorized)?;
    Ok(next.run(request).await)
}

/// Whose token was presented.
enum Presenter {
    Administrator(Administrator),
    Exchange(Caller),
}

async fn presenter(server: &Server, presented: &str) -> Result<Option<Presenter>, Error> {
    if let Some(administrator) = server.authenticate_admin(presented).await? {
        return Ok(Some(Presenter::Administrator(administrator)));
    }
    let caller = server.authenticate_exchange(presented).await?;
    Ok(caller.map(Presenter::Exchange))
}

/// Lets a request pass that its presenter may make.
fn permit(presenter: Presenter, request: &mut Request) -> Result<(), &'static str> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let performs = matches!(path, Some(PERFORM | STREAM)) && request.method() == Method::POST;
    let caller = match presenter {
        Presenter::Administrator(administrator) => {
            if administrator.scope != Scope::Full && request.method() != Method::GET {
                return Err("the admin token permits reading only");
            }
            tracing::info!(administrator = administrator.name, "administration");
            Caller::administrator(&administrator)
        }
        Presenter::Exchange(_) if !performs => {
            return Err("the exchange token permits the server's operations with exchange keys only");
        }
        Presenter::Exchange(caller) => Some(caller),
    };
    if let Some(caller) = caller.filter(|_| performs) {
        request.extensions_mut().insert(caller);
    }
    Ok(())
}

async fn not_found() -> AdminProblem {
    AdminProblem::new(ErrorCode::NotFound, "there is no such endpoint")
}

/// Largest body; no administrative act needs more.
const BODY_BYTES: usize = 64 * 1024;
