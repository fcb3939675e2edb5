//! What a proxy counts, for a monitoring system: OpenMetrics text, which Prometheus reads.
//!
//! ```text
//!  keyward_requests_total{endpoint,code}        answers by endpoint; `ok`, or a name of spec/errors.md
//!  keyward_upstream_seconds                     time of an exchange with the license server, however it ended
//!  keyward_upstream_failures_total{code}        requests that the license server did not answer as it should
//!  keyward_refused_total{code}                  requests that a limit of the proxy refused
//!  keyward_connections{listener}                open ones
//!  keyward_connections_closed_total{listener,reason}   `address`: of one that had too many, at once;
//!                                               `silent`: gave way, because others waited for a place
//!  keyward_build_info{version}
//! ```
//! The endpoint is what the message says that it is: paths are the license server's to choose. Nothing in it
//! names an address, a service or a device.

use core::time::Duration;

use keyward_license::error_code::ErrorCode;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Unit,
};

use crate::metrics::{Labels, Outcome, SECONDS, Traffic};

/// The counters of a proxy.
pub(super) struct Metrics {
    pub(super) traffic: Traffic,
    upstream: Histogram,
    failures: Family<Labels<1>, Counter>,
    refused: Family<Labels<1>, Counter>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut traffic = Traffic::new();
        let upstream = Histogram::new(SECONDS);
        let (failures, refused) = (Family::default(), Family::default());
        let registry = traffic.registry();
        let help = "Time of an exchange with the license server, however it ended";
        registry.register_with_unit("upstream", help, Unit::Seconds, upstream.clone());
        let help = "Requests that the license server did not answer as it should";
        registry.register("upstream_failures", help, failures.clone());
        let help = "Requests that a limit of the proxy refused";
        registry.register("refused", help, refused.clone());
        Self {
            traffic,
            upstream,
            failures,
            refused,
        }
    }

    /// An exchange with the license server took this time.
    pub(super) fn exchange_took(&self, time: Duration) {
        self.upstream.observe(time.as_secs_f64());
    }

    /// The proxy itself answered with a problem.
    pub(super) fn refused(&self, code: u64) {
        let family = match ErrorCode::from_number(code) {
            Some(
                ErrorCode::UpstreamUnreachable
                | ErrorCode::UpstreamTimeout
                | ErrorCode::UpstreamRefuses
                | ErrorCode::UpstreamTooLarge
                | ErrorCode::UpstreamNotAnAnswer,
            ) => &self.failures,
            Some(ErrorCode::Busy | ErrorCode::RateLimited | ErrorCode::TooLarge) => &self.refused,
            // The client's fault; counted among the answers.
            _ => return,
        };
        let name = Outcome::of_problem(code).as_str();
        family.get_or_create(&[("code", name)]).inc();
    }
}
