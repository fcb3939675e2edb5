//! One exchange with the license server: bounded in time and size, its faults told apart.

use core::{error::Error as StdError, time::Duration};

use axum::{
    body::Bytes,
    http::{
        HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER},
        uri::{Authority, PathAndQuery, Scheme},
    },
    response::IntoResponse,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use keyward_license::{
    discovery::media_type,
    error_code::{ErrorCode, Problem},
};

use super::{ProxyError, ProxyOptions, tls};
use crate::{http::observe::REQUEST_ID, metrics::Outcome};

/// Media types of the protocol begin like this.
pub(super) const MEDIA_TYPES: &str = "application/vnd.keyward.";

/// The license server keeps an idle connection for as long as headers may take to arrive, 15 seconds unless
/// it is configured otherwise; this is less.
const IDLE: Duration = Duration::from_secs(10);

/// The license server, as the proxy reaches it.
pub(super) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    scheme: Scheme,
    authority: Authority,
    origin: String,
    credential: Option<HeaderValue>,
    answer: Duration,
    answer_bytes: usize,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
    /// Names the request in the logs of all who carry it.
    pub(super) request_id: Option<HeaderValue>,
}

/// What came back, to be passed on as it is: an answer of the protocol or a problem document.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    outcome: Outcome,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the license server cannot be reached")]
    Unreachable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the license server did not answer in time")]
    TimedOut,
    #[error("the license server does not accept this proxy")]
    Refused,
    #[error("the license server's answer is larger than this proxy passes on")]
    TooLarge,
    #[error("the license server answered with HTTP status {0} and no message of the protocol")]
    NotAnAnswer(u16),
    #[error("what answered does not speak HTTP")]
    NotHttp(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the license server answered with no discovery document that this proxy can read")]
    NotADocument,
}

impl Upstream {
    pub(super) fn new(options: ProxyOptions) -> Result<Self, ProxyError> {
        let (scheme, authority) = origin(&options.upstream, options.danger_http_upstream)?;
        let credential = options.token.map(|token| credential(&token)).transpose()?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.upstream_limits.connect));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(
                options.authorities.as_deref(),
                scheme == Scheme::HTTPS,
            )?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            client,
            origin: format!("{scheme}://{authority}"),
            scheme,
            authority,
            credential,
            answer: options.upstream_limits.answer,
            answer_bytes: options.upstream_limits.answer_bytes,
        })
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the proxy has a token that names the service.
    pub(super) const fn is_named(&self) -> bool {
        self.credential.is_some()
    }

    /// Sends, and waits for the whole answer.
    pub(super) async fn exchange(&self, outgoing: &Outgoing) -> Result<Answer, Fault> {
        match tokio::time::timeout(self.answer, self.converse(outgoing)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::TimedOut),
        }
    }

    async fn converse(&self, outgoing: &Outgoing) -> Result<Answer, Fault> {
        let response = match self.client.request(self.request(outgoing)?).await {
            // The license server may close an idle connection in the moment in which it is used again. Every
            // exchange of the protocol may be repeated, so it goes once more, on another connection.
            Err(error) if !error.is_connect() && !is_not_http(&error) => {
                tracing::debug!(error = with_causes(&error), "the connection broke, trying again");
                self.client.request(self.request(outgoing)?).await
            }
            other => other,
        };
        self.read(response.map_err(Fault::from)?).await
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request<Full<Bytes>>, Fault> {
        let unsent = |error| Fault::Unreachable(Box::new(error));
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(outgoing.path.clone())
            .build()
            .map_err(unsent)?;
        let mut request = Request::builder()
            .method(outgoing.method.clone())
            .uri(uri)
            .header(HOST, self.authority.as_str())
            .body(Full::new(outgoing.body.clone()))
            .map_err(unsent)?;
        let headers = [
            (CONTENT_TYPE, &outgoing.content_type),
            (REQUEST_ID, &outgoing.request_id),
            (AUTHORIZATION, &self.credential),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.clone());
            }
        }
        Ok(request)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, Fault> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, self.answer_bytes)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Fault::TooLarge
                } else {
                    Fault::Unreachable(error)
                }
            })?
            .to_bytes();
        let outcome = judge(parts.status, &parts.headers, &body)?;
        let mut headers = HeaderMap::new();
        for name in [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER] {
            if let Some(value) = parts.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        Ok(Answer {
            status: parts.status,
            headers,
            outcome,
            body,
        })
    }
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        self.status == StatusCode::OK
    }

    pub(super) fn is_of(&self, media_type: &str) -> bool {
        stated_media_type(&self.headers) == media_type
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> axum::response::Response {
        let mut response = (self.status, self.headers, self.body).into_response();
        response.extensions_mut().insert(self.outcome);
        response
    }
}

impl From<legacy::Error> for Fault {
    fn from(error: legacy::Error) -> Self {
        if is_not_http(&error) {
            Self::NotHttp(Box::new(error))
        } else {
            Self::Unreachable(Box::new(error))
        }
    }
}

impl Fault {
    /// What the client is told. The cause goes to the log, once.
    pub(super) fn into_problem(self) -> Problem {
        let code = match &self {
            Self::Unreachable(_) => ErrorCode::UpstreamUnreachable,
            Self::TimedOut => ErrorCode::UpstreamTimeout,
            Self::Refused => ErrorCode::UpstreamRefuses,
            Self::TooLarge => ErrorCode::UpstreamTooLarge,
            Self::NotAnAnswer(_) | Self::NotHttp(_) | Self::NotADocument => ErrorCode::UpstreamNotAnAnswer,
        };
        tracing::warn!(code = code.name(), error = with_causes(&self), "no answer");
        Problem::new(code, self.to_string())
    }
}

/// Lets an answer pass that is one of the protocol, or a problem document: of the license server, about the
/// client's request. One about the proxy's own credential is none that the client could do anything about.
fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Outcome, Fault> {
    let media_type = stated_media_type(headers);
    let fault = Fault::NotAnAnswer(status.as_u16());
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(fault);
    }
    if status == StatusCode::OK {
        let is_message = media_type.starts_with(MEDIA_TYPES);
        return is_message.then_some(Outcome::OK).ok_or(fault);
    }
    match Problem::decode(body) {
        Ok(problem) if problem.code == ErrorCode::ServiceRefused.number() => Err(Fault::Refused),
        Ok(problem) if media_type == media_type::PROBLEM => Ok(Outcome::of_problem(problem.code)),
        _ => Err(fault),
    }
}

fn stated_media_type(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The error and what it comes from, in one line.
fn with_causes(error: &(dyn StdError + 'static)) -> String {
    causes(error).fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn is_not_http(error: &legacy::Error) -> bool {
    let mut ours = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    ours.any(hyper::Error::is_parse)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    core::iter::successors(error.source(), |cause| (**cause).source())
}

fn credential(token: &str) -> Result<HeaderValue, ProxyError> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ProxyError::TokenMalformed);
    }
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ProxyError::TokenMalformed)?;
    value.set_sensitive(true);
    Ok(value)
}

fn origin(url: &str, http_anywhere: bool) -> Result<(Scheme, Authority), ProxyError> {
    let uri: Uri = url.parse().map_err(|_| ProxyError::UpstreamMalformed)?;
    let parts = uri.into_parts();
    let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
        return Err(ProxyError::UpstreamMalformed);
    };
    let bare = parts.path_and_query.is_none_or(|path| path == "/");
    if !bare || authority.as_str().contains('@') || ![Scheme::HTTP, Scheme::HTTPS].contains(&scheme) {
        return Err(ProxyError::UpstreamMalformed);
    }
    if scheme == Scheme::HTTP && !http_anywhere && !crate::config::is_loopback(authority.host()) {
        return Err(ProxyError::UpstreamNotPrivate);
    }
    Ok((scheme, authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_is_an_origin_that_nobody_else_can_read() {
        for good in [
            "https://license.example.org",
            "https://license.example.org/",
            "http://127.0.0.1:8470",
            "http://[::1]:8470",
            "http://localhost:8470",
        ] {
            assert!(origin(good, false).is_ok(), "{good}");
        }
        for malformed in [
            "",
            "license.example.org",
            "https://a@license.example.org",
            "https://license.example.org/path",
            "https://license.example.org/?a=b",
            "ftp://127.0.0.1",
        ] {
            assert!(
                matches!(origin(malformed, true), Err(ProxyError::UpstreamMalformed)),
                "{malformed}"
            );
        }
        let plain = "http://license.example.org";
        assert!(matches!(
            origin(plain, false),
            Err(ProxyError::UpstreamNotPrivate)
        ));
        assert!(origin(plain, true).is_ok());
    }

    #[test]
    fn a_token_is_a_line_and_never_printed() {
        let value = credential("kw_abc\n").unwrap();
        assert_eq!(value, "Bearer kw_abc");
        assert!(!format!("{value:?}").contains("kw_"), "{value:?}");
        for bad in ["", " ", "two words", "kw_\u{e9}", "a\nb"] {
            assert!(credential(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_answers_of_the_protocol_pass() {
        let headers = |media_type: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))])
        };
        let ok = StatusCode::OK;
        assert!(judge(ok, &headers(media_type::LICENSE_RESPONSE), b"anything").is_ok());
        assert!(judge(ok, &headers("application/vnd.keyward.later+cbor"), b"").is_ok());
        let busy = Problem::new(ErrorCode::Busy, "later".to_owned()).encode();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        assert!(judge(status, &headers(media_type::PROBLEM), &busy).is_ok());
        let refused = Problem::new(ErrorCode::ServiceRefused, "who?".to_owned()).encode();
        let unauthorized = StatusCode::UNAUTHORIZED;
        assert!(matches!(
            judge(unauthorized, &headers(media_type::PROBLEM), &refused),
            Err(Fault::Refused)
        ));
        let mut packed = headers(media_type::LICENSE_RESPONSE);
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        for (status, headers, body) in [
            (ok, headers("text/html"), &b"<html>"[..]),
            (ok, headers(media_type::PROBLEM), &busy),
            (ok, HeaderMap::new(), b""),
            (ok, packed, b""),
            (StatusCode::FOUND, headers(media_type::LICENSE_RESPONSE), b""),
            (
                StatusCode::BAD_GATEWAY,
                headers(media_type::PROBLEM),
                b"no problem",
            ),
            (StatusCode::BAD_GATEWAY, headers("text/html"), &busy),
        ] {
            assert!(
                matches!(judge(status, &headers, body), Err(Fault::NotAnAnswer(shown)) if shown == status.as_u16()),
                "{status} {headers:?}"
            );
        }
    }
}
