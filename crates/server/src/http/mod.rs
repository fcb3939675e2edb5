//! HTTP: one file per endpoint, each thin: read, call, write.
//!
//! ```text
//!  POST /license               sealed license request   -> sealed license response
//!  POST /enrolment             sealed enrolment request -> sealed enrolment response
//!  POST /packaging             sealed packaging request -> sealed packaging response
//!  GET  /.well-known/keyward   -> signed discovery document
//!  GET  /health/live, /health/ready
//!  on a listener of its own: the administration interface, see `admin`
//! ```

mod admin;
pub(crate) mod body;
mod count;
mod discovery;
mod enrolment;
mod health;
mod license;
pub(crate) mod listen;
pub(crate) mod observe;
mod packaging;
pub(crate) mod problem;
mod prompt;
mod service;

use core::future::Future;
use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    http::{HeaderMap, header},
    middleware,
    routing::{get, post},
};
use keyward_license::{
    discovery::WELL_KNOWN_PATH,
    error_code::{ErrorCode, Problem},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{
    Error, Server,
    discovery::{ENROLMENT_PATH, LICENSE_PATH, PACKAGING_PATH},
};
use problem::ProblemResponse;

/// Serves both listeners until `shutdown` is ready.
pub(crate) async fn serve(
    server: &Server,
    public: TcpListener,
    admin: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let limits = server.config().limits;
    let (stop, stopped) = watch::channel(false);
    tracing::info!(
        public = ?public.local_addr().map_err(Error::Serving)?,
        admin = ?admin.local_addr().map_err(Error::Serving)?,
        "serving"
    );
    let metrics = &server.inner().metrics;
    let (open, admin_open) = (metrics.connections("public"), metrics.connections("admin"));
    let public = listen::listen(
        public,
        public_router(server.clone()),
        limits,
        open,
        stopped.clone(),
    );
    let admin = listen::listen(admin, admin::router(server.clone()), limits, admin_open, stopped);
    let trigger = async move {
        shutdown.await;
        tracing::info!("stopping");
        stop.send(true).ok();
    };
    tokio::join!(public, admin, trigger);
    Ok(())
}

fn public_router(server: Server) -> Router {
    let limits = server.config().limits;
    let public = Public {
        server,
        places: Places::new(limits.concurrent_requests),
    };
    Router::new()
        .route(LICENSE_PATH, post(license::acquire))
        .route(ENROLMENT_PATH, post(enrolment::enrol))
        .route(PACKAGING_PATH, post(packaging::package))
        .route(WELL_KNOWN_PATH, get(discovery::document))
        .route_layer(middleware::from_fn_with_state(public.clone(), service::named))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(middleware::from_fn_with_state(public.clone(), count::public))
        .layer(middleware::from_fn(observe::observe))
        .with_state(public)
}

/// What the public endpoints work with.
#[derive(Clone)]
struct Public {
    server: Server,
    places: Places,
}

impl FromRef<Public> for Server {
    fn from_ref(public: &Public) -> Self {
        public.server.clone()
    }
}

impl FromRef<Public> for Places {
    fn from_ref(public: &Public) -> Self {
        public.places.clone()
    }
}

/// Lets a bounded number of requests be worked on; the others are told at once to come again, not kept
/// waiting.
#[derive(Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// A place, held until it is dropped. Endpoints take it when the request has arrived in full: one whose
    /// body dribbles in keeps nobody out.
    pub(crate) fn take(self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0
            .try_acquire_owned()
            .map_err(|_| Problem::new(ErrorCode::Busy, "the server has too much to do".to_owned()))
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1). Another scheme is somebody else's.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
}

pub(crate) async fn not_found() -> ProblemResponse {
    Problem::new(ErrorCode::NotFound, "there is no such endpoint".to_owned()).into()
}
