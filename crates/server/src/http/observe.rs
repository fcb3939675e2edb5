//! Every request has an id, in its log lines and in its answer.

use core::future::Future;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use rand_core::Rng;
use tracing::{Instrument, field};

use crate::{chance::rng, issue::Told};

/// Gives the request its id, in its header for who passes it on, logs its end with status, duration and what a
/// license request was answered with, and echoes the id.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    observed(request, |request| next.run(request)).await
}

/// As [`observe`], of a request that `answer` answers.
pub(crate) async fn observed<A>(mut request: Request, answer: impl FnOnce(Request) -> A) -> Response
where
    A: Future<Output = Response>,
{
    let id = given_id(request.headers()).unwrap_or_else(fresh_id);
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = shortened(request.method().as_str()),
        path = shortened(request.uri().path()),
        service = field::Empty,
    );
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let started = tokio::time::Instant::now();
    let mut response = answer(request).instrument(span.clone()).await;
    let (status, duration) = (response.status().as_u16(), started.elapsed());
    let told = response.extensions_mut().remove::<Told>();
    let device = told.as_ref().map(|told| field::display(told.device));
    let results = told.as_ref().map(|told| &told.results[..]);
    let duration_us = duration.as_micros();
    span.in_scope(|| tracing::info!(status, duration_us, device, results, "request finished"));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The carrier's id, if it is one that may stand in a log: 1 to 64 of letters, digits, `.`, `_`, `-`.
fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    headers
        .get(REQUEST_ID)
        .filter(|id| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed))
        .cloned()
}

/// What a stranger chose, as much of it as a line of the log has room for: it is written even for a request that
/// is refused at once.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(MOST_SHOWN).map(|(end, _)| end);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Characters. The longest path that leads anywhere is shorter.
const MOST_SHOWN: usize = 256;

fn fresh_id() -> HeaderValue {
    let id = format!("{:016x}", rng().next_u64());
    HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// Names a request in the logs of all who carry it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_does_not_fill_the_log() {
        for (text, shown) in [
            (String::new(), 0),
            ("/license".to_owned(), 8),
            ("/".repeat(256), 256),
            ("/".repeat(30_000), 256),
            ("\u{e9}".repeat(300), 512),
        ] {
            assert_eq!(shortened(&text).len(), shown);
            assert!(text.starts_with(shortened(&text)));
        }
    }

    #[test]
    fn an_id_is_taken_over_only_if_it_may_stand_in_a_log() {
        let headers =
            |value: &str| HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(value).unwrap())]);
        for good in ["a", "Az09._-", &"x".repeat(64)] {
            assert_eq!(given_id(&headers(good)).unwrap(), good);
        }
        for bad in ["", "a b", "a=1", "a;b", &"x".repeat(65)] {
            assert_eq!(given_id(&headers(bad)), None, "{bad}");
        }
        assert_eq!(fresh_id().len(), 16);
        assert_ne!(fresh_id(), fresh_id());
    }
}
