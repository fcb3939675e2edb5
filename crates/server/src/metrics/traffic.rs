//! What is counted of requests and connections, whoever answers them: the license server, or a proxy.

use axum::http::StatusCode;
use keyward_license::error_code::ErrorCode;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use crate::http::listen::Counts;

/// One value a label.
pub(crate) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// OpenMetrics 1.0, "Protocol Negotiation".
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of what takes time, in seconds.
pub(crate) const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The counters that every listener needs, and the registry of all.
pub(crate) struct Traffic {
    registry: Registry,
    requests: Family<Labels<2>, Counter>,
    connections: Family<Labels<1>, Gauge>,
    closed: Family<Labels<2>, Counter>,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("keyward");
        let (requests, connections, closed) = (Family::default(), Family::default(), Family::default());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("requests", "Answers by endpoint and outcome", requests.clone());
        registry.register("connections", "Open connections", connections.clone());
        let help = "Connections that were closed to keep places free, by reason";
        registry.register("connections_closed", help, closed.clone());
        registry.register("build", "This program", build);
        Self {
            registry,
            requests,
            connections,
            closed,
        }
    }

    /// Where others register what they count.
    pub(crate) const fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// An endpoint answered.
    pub(crate) fn answered(&self, endpoint: &'static str, outcome: Outcome) {
        let labels = [("endpoint", endpoint), ("code", outcome.as_str())];
        self.requests.get_or_create(&labels).inc();
    }

    /// What is counted of a listener's connections.
    pub(crate) fn connections(&self, listener: &'static str) -> Counts {
        let listener = ("listener", listener);
        let closed = |reason| self.closed.get_or_create_owned(&[listener, ("reason", reason)]);
        Counts {
            open: self.connections.get_or_create_owned(&[listener]),
            refused: closed("address"),
            displaced: closed("silent"),
        }
    }

    /// Everything in the registry, in OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut encoded = String::new();
        // Writing to a string does not fail.
        text::encode(&mut encoded, &self.registry).ok();
        encoded
    }
}

/// How a request ended: `ok`, or the name of the problem that answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(&'static str);

impl Outcome {
    /// Of an answer that is what was asked for.
    pub(crate) const OK: Self = Self("ok");

    /// Of a problem with this number.
    pub(crate) const fn of_problem(code: u64) -> Self {
        Self(match ErrorCode::from_number(code) {
            Some(code) => code.name(),
            None => OTHER,
        })
    }

    /// Of an answer that is no problem document of ours.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        if status.is_success() {
            Self::OK
        } else {
            Self(OTHER)
        }
    }

    /// As it stands in a label.
    pub(crate) const fn as_str(self) -> &'static str {
        self.0
    }
}

/// What others choose does not become a label.
const OTHER: &str = "other";
