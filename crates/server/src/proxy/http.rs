//! The endpoints of a proxy.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, header::CONTENT_TYPE, uri::PathAndQuery},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use keyward_license::{
    discovery::{WELL_KNOWN_PATH, media_type},
    error_code::{ErrorCode, Problem},
};
use tokio::time::Instant;

use super::{
    Inner, Proxy,
    count::{self, Own},
    upstream::{Answer, Fault, MEDIA_TYPES, Outgoing},
};
use crate::{
    http::{
        LIVE_PATH, READY_PATH, body, not_found,
        observe::{self, REQUEST_ID},
        problem::ProblemResponse,
    },
    metrics::OPEN_METRICS,
};

pub(super) fn router(proxy: Proxy) -> Router {
    let body_bytes = proxy.0.limits.body_bytes;
    Router::new()
        .route(WELL_KNOWN_PATH, get(discovery))
        .route(LIVE_PATH, get(live))
        .route(READY_PATH, get(ready))
        .fallback(carry)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(middleware::from_fn_with_state(proxy.clone(), by_address))
        .layer(middleware::from_fn_with_state(proxy.clone(), count::public))
        .layer(middleware::from_fn(observe::observe))
        .with_state(proxy)
}

/// What is served on a listener of its own, to who monitors the proxy.
pub(super) fn metrics_router(proxy: Proxy) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(middleware::from_fn_with_state(proxy.clone(), count::metrics))
        .layer(middleware::from_fn(observe::observe))
        .with_state(proxy)
}

/// Lets a request pass unless its address asks too often. That a proxy lives can always be asked.
async fn by_address(
    State(Proxy(proxy)): State<Proxy>,
    request: Request,
    next: Next,
) -> Result<Response, Rejection> {
    if request.uri().path() != LIVE_PATH {
        proxy.addresses.admit(&request)?;
    }
    Ok(next.run(request).await)
}

/// `GET /.well-known/keyward`: the license server's discovery document.
async fn discovery(State(proxy): State<Proxy>, request: Request) -> Result<Answer, Rejection> {
    let _place = proxy.0.places.clone().take()?;
    proxy.0.document(request_id(&request)).await
}

/// `POST` to a path of the discovery document: a sealed message gets a sealed message.
async fn carry(State(Proxy(proxy)): State<Proxy>, request: Request) -> Result<Answer, Rejection> {
    let request_id = request_id(&request);
    let path = carried_path(&request)?;
    let content_type = content_type(&request)?;
    let body = body::collect(request, proxy.limits.arrival).await?;
    let _place = proxy.places.clone().take()?;
    if !proxy.carries(path.as_str(), request_id.clone()).await? {
        return Err(no_endpoint().into());
    }
    let outgoing = Outgoing {
        method: Method::POST,
        path,
        content_type: Some(content_type),
        body,
        request_id,
    };
    Ok(proxy.exchange(&outgoing).await?)
}

/// `GET /health/live`: the process answers.
async fn live() -> &'static str {
    "live\n"
}

/// `GET /health/ready`: the license server answers as well, and accepts the service's token if there is one.
async fn ready(State(proxy): State<Proxy>, request: Request) -> Result<&'static str, Rejection> {
    let _place = proxy.0.places.clone().take()?;
    proxy.0.document(request_id(&request)).await?;
    Ok("ready\n")
}

/// `GET /metrics`: what is counted, in OpenMetrics text.
async fn metrics(State(proxy): State<Proxy>) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, OPEN_METRICS)], proxy.0.metrics.traffic.text())
}

impl Inner {
    /// Sends to the license server, and counts how long it takes.
    async fn exchange(&self, outgoing: &Outgoing) -> Result<Answer, Fault> {
        let started = Instant::now();
        let answer = self.upstream.exchange(outgoing).await;
        self.metrics.exchange_took(started.elapsed());
        answer
    }

    /// Fetches the discovery document, and learns from it where messages go.
    async fn document(&self, request_id: Option<HeaderValue>) -> Result<Answer, Rejection> {
        let outgoing = Outgoing {
            method: Method::GET,
            path: PathAndQuery::from_static(WELL_KNOWN_PATH),
            content_type: None,
            body: Bytes::new(),
            request_id,
        };
        let answer = self.exchange(&outgoing).await?;
        if !answer.is_ok() {
            return Err(Rejection::Passed(Box::new(answer)));
        }
        if !answer.is_of(media_type::DISCOVERY) {
            return Err(Fault::NotADocument.into());
        }
        // One that this version cannot read is passed on all the same: clients may be newer.
        if let Err(error) = self.paths.learn(&answer.body) {
            tracing::warn!(error = %error, "the discovery document names no paths that this proxy can read");
        }
        Ok(answer)
    }

    /// Whether the license server's discovery document names `path`.
    async fn carries(&self, path: &str, request_id: Option<HeaderValue>) -> Result<bool, Rejection> {
        if let Some(known) = self.paths.carries(path) {
            return Ok(known);
        }
        self.document(request_id).await?;
        Ok(self.paths.carries(path).ok_or(Fault::NotADocument)?)
    }
}

/// What a client gets instead of the answer that it asked for.
enum Rejection {
    /// A problem document of the license server.
    Passed(Box<Answer>),
    /// One of the proxy.
    Own(Problem),
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self::Own(problem)
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        Self::Own(fault.into_problem())
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        match self {
            Self::Passed(answer) => answer.into_response(),
            Self::Own(problem) => {
                let own = Own(problem.code);
                let mut response = ProblemResponse::from(problem).into_response();
                response.extensions_mut().insert(own);
                response
            }
        }
    }
}

fn request_id(request: &Request) -> Option<HeaderValue> {
    request.headers().get(REQUEST_ID).cloned()
}

/// The path of a `POST` without a query.
fn carried_path(request: &Request) -> Result<PathAndQuery, Problem> {
    let path = request
        .uri()
        .path_and_query()
        .filter(|path| path.query().is_none());
    path.filter(|_| request.method() == Method::POST)
        .cloned()
        .ok_or_else(no_endpoint)
}

/// The media type of a body, one of the protocol's, as it was written.
fn content_type(request: &Request) -> Result<HeaderValue, Problem> {
    let stated = request.headers().get(CONTENT_TYPE);
    let ours = |value: &&HeaderValue| value.as_bytes().starts_with(MEDIA_TYPES.as_bytes());
    stated.filter(ours).cloned().ok_or_else(|| {
        let detail = "the body must be of a media type of the protocol".to_owned();
        Problem::new(ErrorCode::UnsupportedMediaType, detail)
    })
}

fn no_endpoint() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is no such endpoint".to_owned())
}
