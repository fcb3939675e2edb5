//! Recording what the public endpoints answer, and answering it again from a transcript.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::LengthLimitError;
use keyward_license::{
    carrier::MAX_ANSWER,
    error_code::{ErrorCode, Problem},
};
use tokio::net::TcpListener;

use super::problem::ProblemResponse;
use crate::{
    Error, Server,
    test_mode::transcript::{Bytes, Exchange, Recorder, Transcript},
};

/// What is recorded, and where.
#[derive(Clone)]
pub(super) struct Recording {
    pub(super) server: Server,
    pub(super) recorder: Arc<Recorder>,
}

/// Records a request and its answer. That a server lives is nothing to record.
pub(super) async fn record(State(recording): State<Recording>, request: Request, next: Next) -> Response {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    if path.starts_with("/health/") {
        return next.run(request).await;
    }
    match recording.recorded(path, request, next).await {
        Ok(response) => response,
        Err(problem) => ProblemResponse::from(problem).into_response(),
    }
}

impl Recording {
    async fn recorded(&self, path: String, request: Request, next: Next) -> Result<Response, Problem> {
        let limits = &self.server.config().limits;
        let (parts, body) = request.into_parts();
        let method = parts.method.clone();
        let body = tokio::time::timeout(limits.arrival, to_bytes(body, limits.body_bytes)).await;
        let body = match body {
            Ok(body) => body.map_err(unread)?,
            Err(_) => {
                let detail = "the body did not arrive in time";
                return Err(Problem::new(ErrorCode::Malformed, detail.to_owned()));
            }
        };
        let response = next
            .run(Request::from_parts(parts, Body::from(body.clone())))
            .await;
        let (head, answer) = response.into_parts();
        let answer = to_bytes(answer, MAX_ANSWER).await.map_err(|_| {
            let detail = "the answer is too large to be recorded, or was cut off";
            Problem::new(ErrorCode::Internal, detail.to_owned())
        })?;
        let exchange = Exchange {
            time: self.server.inner().clock.now(),
            method: method.as_str().to_owned(),
            path,
            request: Bytes(body.to_vec()),
            status: head.status.as_u16(),
            media_type: text(&head.headers, &header::CONTENT_TYPE),
            retry_after: text(&head.headers, &header::RETRY_AFTER),
            answer: Bytes(answer.to_vec()),
        };
        if let Err(error) = self.recorder.append(&exchange) {
            tracing::error!(error = %error, "an exchange was not recorded");
        }
        Ok(Response::from_parts(head, Body::from(answer)))
    }
}

/// What is told of a body that could not be read, as where nothing is recorded.
fn unread(error: axum::Error) -> Problem {
    match error.into_inner().is::<LengthLimitError>() {
        true => Problem::new(
            ErrorCode::TooLarge,
            "the body is larger than this server accepts".to_owned(),
        ),
        false => Problem::new(ErrorCode::Malformed, "the body was cut off".to_owned()),
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Serves the answers of a transcript on a loopback address, until `shutdown` is ready.
///
/// # Errors
/// [`Error::NotLoopback`], [`Error::Serving`].
pub(crate) async fn replay(
    transcript: Transcript,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    if !listener.local_addr().map_err(Error::Serving)?.ip().is_loopback() {
        return Err(Error::NotLoopback);
    }
    let router = Router::new().fallback(again).with_state(Arc::new(transcript));
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await;
    served.map_err(Error::Serving)
}

async fn again(State(transcript): State<Arc<Transcript>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
    if parts.method == Method::GET && path.starts_with("/health/") {
        return "replaying\n".into_response();
    }
    match transcript.answer(parts.method.as_str(), path, &body) {
        Some(exchange) => answered(exchange),
        None => {
            let detail = "the transcript holds no answer to this request";
            ProblemResponse::from(Problem::new(ErrorCode::NotFound, detail.to_owned())).into_response()
        }
    }
}

fn answered(exchange: &Exchange) -> Response {
    let status = StatusCode::from_u16(exchange.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, exchange.answer.0.clone()).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    let recorded = [
        (header::CONTENT_TYPE, &exchange.media_type),
        (header::RETRY_AFTER, &exchange.retry_after),
    ];
    for (name, value) in recorded {
        if let Some(value) = value
            .as_deref()
            .and_then(|value| HeaderValue::from_str(value).ok())
        {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{middleware, routing::get};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::{
        clock::SettableClock,
        common::{NOW, options},
        operator,
        sealing::KekSource,
    };

    /// An answer that no client would take is none, and stands in no transcript.
    #[tokio::test]
    async fn an_answer_that_is_too_large_is_an_error_and_not_recorded() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("operator");
        let rng = &mut ChaCha20Rng::from_seed([1; 32]);
        operator::init_test(&dir, options(KekSource::File), NOW, rng)
            .await
            .unwrap();
        let clock = Arc::new(SettableClock::new(NOW));
        let server = Server::open(&dir, KekSource::File, clock).await.unwrap();
        let path = home.path().join("transcript");
        let recording = Recording {
            recorder: Arc::new(Recorder::create(&server, &path).unwrap()),
            server: server.clone(),
        };
        let router = Router::new()
            .route("/most", get(async || vec![7; MAX_ANSWER]))
            .route("/more", get(async || vec![7; MAX_ANSWER + 1]))
            .layer(middleware::from_fn_with_state(recording, record));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let asked = async |path: &str| {
            let url = format!("{origin}{path}");
            let ask = move || {
                let config = ureq::Agent::config_builder().http_status_as_error(false);
                let mut answer = ureq::Agent::new_with_config(config.build())
                    .get(url)
                    .call()
                    .unwrap();
                let body = answer.body_mut().with_config().limit(1 << 24).read_to_vec();
                (answer.status().as_u16(), body.unwrap())
            };
            tokio::task::spawn_blocking(ask).await.unwrap()
        };
        let (status, most) = asked("/most").await;
        assert_eq!((status, most.len()), (200, MAX_ANSWER));
        let (status, more) = asked("/more").await;
        let problem = Problem::decode(&more).unwrap();
        assert_eq!((status, problem.code), (500, ErrorCode::Internal.number()));
        serving.abort();
        let transcript = Transcript::read(&path).unwrap();
        let recorded: Vec<_> = transcript.exchanges().iter().map(|one| &one.path[..]).collect();
        assert_eq!(recorded, ["/most"]);
        assert_eq!(transcript.exchanges()[0].answer.0.len(), MAX_ANSWER);
        server.close().await;
    }
}
