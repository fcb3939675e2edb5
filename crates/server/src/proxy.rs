//! A proxy: carries messages between clients and a license server elsewhere.
//!
//! ```text
//!  client ── GET /.well-known/keyward ──► proxy ── the same ──► license server
//!         ── POST a path of the document       + Authorization: Bearer, the service's token
//!            the body, byte for byte           + X-Request-Id
//!         ◄── status, media type, body ──
//!
//!  upstream   one exchange with the license server: bounded in time and size, its faults told apart
//!  paths      which paths are carried: those of the license server's discovery document
//!  http       the endpoints
//!  metrics    what is counted; on a listener of its own, if there is one
//!  count      of each answer
//!  tls        whom the proxy believes to be the license server
//! ```
//!
//! What it carries is sealed from both sides: it can read, alter and invent nothing. It keeps nothing either: it
//! has no store, and a request that fails is the client's to repeat. Beyond the messages it passes on what HTTP
//! says about them (status, media type, caching, when to come again), and of the client's headers none.

mod count;
mod http;
mod metrics;
mod paths;
pub(crate) mod tls;
mod upstream;

use core::{future::Future, net::SocketAddr, time::Duration};
use std::sync::Arc;

use keyward_license::carrier::MAX_ANSWER;
use tokio::{net::TcpListener, sync::watch};
use zeroize::Zeroizing;

use crate::{
    config::Limits,
    http::{
        Places,
        addresses::Addresses,
        files,
        listen::{self, Overtime},
    },
};
use metrics::Metrics;
use paths::Paths;
use upstream::Upstream;

/// What a proxy needs to know.
pub struct ProxyOptions {
    /// Origin of the license server: `https`, or `http` on loopback.
    pub upstream: String,
    /// The token that names the service to the license server, if it has one.
    pub token: Option<Zeroizing<String>>,
    /// Certificates in PEM that the license server's TLS certificate must chain to, instead of those that
    /// the system trusts.
    pub authorities: Option<Vec<u8>>,
    /// **The attack:** over `http` to another machine, whoever can read the network in between reads the
    /// service's token, and can name the service from then on. Messages stay sealed. Only for a network that
    /// nobody else is in, such as one of containers.
    pub danger_http_upstream: bool,
    /// Bounds on clients, as a license server has them. Who signed a message and which service carries it a proxy
    /// cannot tell: it judges by address alone.
    pub limits: Limits,
    /// Bounds on the license server.
    pub upstream_limits: UpstreamLimits,
    /// Where the proxy's metrics will be read, if anywhere: on loopback. Nobody is asked for a token there.
    pub metrics_listen: Option<SocketAddr>,
    /// **The attack:** whoever reaches the metrics learns how much is asked for and when, when the license server
    /// fails, and which limits hold a flood back. Only for a network that nobody else is in, such as one of
    /// containers.
    pub danger_metrics_beyond_loopback: bool,
}

/// Without the token.
impl core::fmt::Debug for ProxyOptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ProxyOptions")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

/// Bounds on the license server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Time for a connection to be made.
    pub connect: Duration,
    /// Time for one exchange, from connecting to the last byte of the answer. Clients wait for 30 seconds:
    /// with less here, they are told what is wrong.
    pub answer: Duration,
    /// Largest answer, in bytes.
    pub answer_bytes: usize,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            answer_bytes: MAX_ANSWER,
        }
    }
}

/// Open files besides connections.
const FILES: usize = 64;

/// Open connections of who reads the metrics.
const METRICS_CONNECTIONS: usize = 16;

/// Why a proxy cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Not an origin.
    #[error("the upstream must be an origin: scheme, host and port alone")]
    UpstreamMalformed,
    /// What is sent there can be read by others.
    #[error(
        "the upstream is on another machine and not https, so that others could read the service's token"
    )]
    UpstreamNotPrivate,
    /// A token cannot be sent in a header.
    #[error("the service token is not one: it must be a line of printable ASCII characters")]
    TokenMalformed,
    /// No certificate in the file of authorities, or a malformed one.
    #[error("the authorities for TLS are not certificates in PEM")]
    AuthoritiesMalformed,
    /// Strangers could read the metrics.
    #[error("the metrics would be read on an address that other machines reach")]
    MetricsNotPrivate,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

impl ProxyError {
    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::UpstreamMalformed => "name it like https://license.example.org, without a path",
            Self::UpstreamNotPrivate => "use https, or http to this machine",
            Self::TokenMalformed => "supply the token as `keyward admin service-token add` printed it",
            Self::AuthoritiesMalformed => "supply a file of one or more blocks `BEGIN CERTIFICATE`",
            Self::MetricsNotPrivate => "name an address of this machine alone, like 127.0.0.1:8481",
            Self::Tls(_) => "check the certificates that this system trusts",
        }
    }
}

/// A proxy. Clones are the same proxy.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    paths: Paths,
    places: Places,
    addresses: Addresses,
    limits: Limits,
    metrics: Metrics,
}

impl Proxy {
    /// Makes a proxy. Nothing is sent before a client asks.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn new(options: ProxyOptions) -> Result<Self, ProxyError> {
        let limits = options.limits.clone();
        let beyond = options
            .metrics_listen
            .filter(|address| !address.ip().is_loopback());
        if beyond.is_some() && !options.danger_metrics_beyond_loopback {
            return Err(ProxyError::MetricsNotPrivate);
        }
        Ok(Self(Arc::new(Inner {
            upstream: Upstream::new(options)?,
            paths: Paths::default(),
            places: Places::new(limits.concurrent_requests),
            addresses: Addresses::new(&limits),
            limits,
            metrics: Metrics::new(),
        })))
    }

    /// Serves clients, and on `metrics` who monitors the proxy, until `shutdown` is ready; then takes no new
    /// connection, and gives requests in work the configured time to finish.
    pub async fn serve(
        self,
        listener: TcpListener,
        metrics: Option<TcpListener>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut limits = self.0.limits.clone();
        // Each message in work has a connection to the license server as well.
        let others = limits
            .concurrent_requests
            .saturating_add(FILES + METRICS_CONNECTIONS);
        limits.connections = files::connections(limits.connections, 1, others);
        let (stop, stopped) = watch::channel(false);
        tracing::info!(
            upstream = self.0.upstream.origin(),
            named = self.0.upstream.is_named(),
            "serving"
        );
        let monitored = self.clone().monitored(metrics, limits.clone(), stopped.clone());
        let counts = self.0.metrics.traffic.connections("public");
        let limits = (limits, Overtime::Short);
        let serving = listen::listen(listener, http::router(self), limits, counts, stopped);
        let trigger = async move {
            shutdown.await;
            tracing::info!("stopping");
            stop.send(true).ok();
        };
        tokio::join!(serving, monitored, trigger);
    }

    /// Serves the metrics, if there is a listener for them.
    async fn monitored(self, listener: Option<TcpListener>, limits: Limits, stopped: watch::Receiver<bool>) {
        let Some(listener) = listener else { return };
        let limits = Limits {
            connections: METRICS_CONNECTIONS,
            ..limits
        };
        let counts = self.0.metrics.traffic.connections("metrics");
        let limits = (limits, Overtime::Short);
        listen::listen(listener, http::metrics_router(self), limits, counts, stopped).await;
    }
}

impl core::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Proxy")
            .field("upstream", &self.0.upstream.origin())
            .finish_non_exhaustive()
    }
}
