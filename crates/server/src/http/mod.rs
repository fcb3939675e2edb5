//! HTTP: one file per endpoint, each thin: read, call, write.
//!
//! ```text
//!  POST /license               sealed license request   -> sealed license response
//!  POST /enrolment             sealed enrolment request -> sealed enrolment response
//!  POST /packaging             sealed packaging request -> sealed packaging response
//!  POST /acknowledgement       sealed acknowledge request -> sealed receipt
//!  GET  /.well-known/keyward   -> signed discovery document
//!  GET  /health/live, /health/ready
//!  on a listener of its own: the administration interface, see `admin`
//! ```

mod acknowledgement;
pub(crate) mod addresses;
mod admin;
pub(crate) mod body;
mod connections;
mod count;
mod discovery;
mod enrolment;
pub(crate) mod files;
mod health;
mod license;
pub(crate) mod listen;
pub(crate) mod observe;
mod packaging;
pub(crate) mod problem;
mod prompt;
mod sealed;
mod service;
pub(crate) mod transcript;

use core::{future::Future, time::Duration};
use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, Request, State},
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
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
    config::Config,
    discovery::{ACKNOWLEDGEMENT_PATH, ENROLMENT_PATH, LICENSE_PATH, PACKAGING_PATH},
    test_mode::transcript::Recorder,
};
use listen::Overtime;
use problem::ProblemResponse;

/// Serves both listeners until `shutdown` is ready. A test operator may have its answers recorded.
pub(crate) async fn serve(
    server: &Server,
    public: TcpListener,
    admin: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    recorder: Option<Arc<Recorder>>,
) -> Result<(), Error> {
    let mut limits = server.config().limits.clone();
    limits.connections = files::connections(limits.connections, 2, other_files(server.config()));
    let (stop, stopped) = watch::channel(false);
    tracing::info!(
        public = ?public.local_addr().map_err(Error::Serving)?,
        admin = ?admin.local_addr().map_err(Error::Serving)?,
        "serving"
    );
    let traffic = &server.inner().metrics.traffic;
    let (counts, admin_counts) = (traffic.connections("public"), traffic.connections("admin"));
    let upkeep = keep_up(server, stopped.clone());
    let public = listen::listen(
        public,
        public_router(server.clone(), recorder),
        (limits.clone(), Overtime::Short),
        counts,
        stopped.clone(),
    );
    let router = admin::router(server.clone());
    let limits = (limits, Overtime::ToItsEnd);
    let admin = listen::listen(admin, router, limits, admin_counts, stopped);
    let trigger = async move {
        shutdown.await;
        tracing::info!("stopping");
        stop.send(true).ok();
    };
    tokio::join!(public, admin, trigger, upkeep);
    Ok(())
}

/// Signs what is due although nobody asks for it, learns of what commands beside the server have revoked, and destroys
/// keys whose time is over.
async fn keep_up(server: &Server, mut stopped: watch::Receiver<bool>) {
    while tokio::time::timeout(UPKEEP, stopped.changed()).await.is_err() {
        if let Err(error) = server.end_overlaps().await {
            tracing::warn!(%error, "a key whose time is over is not destroyed yet");
        }
        if let Err(error) = server.revocation_lists().await {
            tracing::warn!(%error, "revocation lists are not renewed yet");
        }
    }
}

/// How long lists that changed may go unsigned while nobody asks.
const UPKEEP: Duration = Duration::from_secs(60);

fn public_router(server: Server, recorder: Option<Arc<Recorder>>) -> Router {
    let limits = server.config().limits.clone();
    let recording = recorder.map(|recorder| transcript::Recording {
        server: server.clone(),
        recorder,
    });
    let public = Public {
        server,
        places: Places::new(limits.concurrent_requests),
    };
    let router = Router::new()
        .route(LICENSE_PATH, post(license::acquire))
        .route(ENROLMENT_PATH, post(enrolment::enrol))
        .route(PACKAGING_PATH, post(packaging::package))
        .route(ACKNOWLEDGEMENT_PATH, post(acknowledgement::acknowledge))
        .route(WELL_KNOWN_PATH, get(discovery::document))
        .route_layer(middleware::from_fn_with_state(public.clone(), service::named))
        .route(LIVE_PATH, get(health::live))
        .route(READY_PATH, get(health::ready))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(middleware::from_fn_with_state(public.clone(), received))
        .with_state(public);
    match recording {
        Some(recording) => router.layer(middleware::from_fn_with_state(recording, transcript::record)),
        None => router,
    }
}

/// Open files besides connections: two for each connection to the database, one for each to the webhook.
fn other_files(config: &Config) -> usize {
    let readers = usize::try_from(config.database.readers).unwrap_or(usize::MAX);
    let webhook = config.authorization.webhook.as_ref();
    FILES
        .saturating_add(readers.saturating_mul(2))
        .saturating_add(webhook.map_or(0, |webhook| webhook.concurrent))
}

/// The rest of them: the writer's, those for lists, the log, the lock, and some to spare.
const FILES: usize = 120;

/// What every request goes through: it is observed and counted, and refused if its address asks too often. One layer
/// for all three: each layer clones and boxes what is inside it for every request.
async fn received(State(Public { server, .. }): State<Public>, request: Request, next: Next) -> Response {
    let answer = |request: Request| async move {
        let endpoint = count::endpoint(&request);
        let answer = match by_address(&server, &request) {
            Ok(()) => next.run(request).await,
            Err(problem) => ProblemResponse::from(problem).into_response(),
        };
        count::count(&server, endpoint, answer)
    };
    observe::observed(request, answer).await
}

/// Lets a request pass unless its address asks too often. That a server lives can always be asked, and what a
/// service carries that is known counts for the service.
fn by_address(server: &Server, request: &Request) -> Result<(), Problem> {
    let for_service = service::is_judged(request) && service::is_known(server, request);
    if request.uri().path() == LIVE_PATH || for_service {
        return Ok(());
    }
    server.inner().addresses.admit(request)
}

/// Says that the process answers.
pub(crate) const LIVE_PATH: &str = "/health/live";

/// Says that the process can do its work.
pub(crate) const READY_PATH: &str = "/health/ready";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SAMPLE;

    #[test]
    fn what_is_configured_to_need_files_gets_them() {
        let files = |toml: &str| other_files(&Config::from_toml(toml).unwrap());
        assert_eq!(files(SAMPLE), 128);
        assert_eq!(files(&SAMPLE.replace("# readers = 4", "readers = 64")), 248);
        let webhook = "\n[authorization.webhook]\nurl = \"http://127.0.0.1:1/\"\nsecret_file = \"secret\"\n";
        assert_eq!(files(&format!("{SAMPLE}{webhook}")), 160);
    }
}
