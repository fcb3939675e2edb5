//! What the server counts, for a monitoring system: OpenMetrics text, which Prometheus reads.
//!
//! ```text
//!  keyward_requests_total{endpoint,code}        answers by endpoint; `ok`, or a name of spec/errors.md
//!  keyward_issue_seconds                        time to answer a license request, its commit included
//!  keyward_licenses_issued_total
//!  keyward_licenses_denied_total{code}          key ids that were asked for and denied
//!  keyward_commit_items                         writes that shared a commit
//!  keyward_queue_items                          writes that wait
//!  keyward_connections{listener}                open ones
//!  keyward_certificate_expiry_seconds{certificate}   negative once it has ended
//!  keyward_build_info{version}
//! ```
//! Nothing in it names an account, a device or a key.

use core::{fmt, time::Duration};

use axum::http::StatusCode;
use keyward_crypto::x509::Certificate;
use keyward_license::{error_code::ErrorCode, time::Timestamp};
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    Error, Server,
    store::{Purpose, Store},
};

/// One value a label.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels<2>, Counter>,
    issue: Histogram,
    issued: Counter,
    denied: Family<Labels<1>, Counter>,
    queue: Gauge,
    connections: Family<Labels<1>, Gauge>,
    certificates: Family<Labels<1>, Gauge>,
}

impl Metrics {
    /// Counters of a server with this database.
    pub(crate) fn new(store: &Store) -> Self {
        let mut registry = Registry::with_prefix("keyward");
        let (requests, denied) = (Family::default(), Family::default());
        let (issued, queue) = (Counter::default(), Gauge::default());
        let (connections, certificates) = (Family::default(), Family::default());
        let issue = Histogram::new(ISSUE_SECONDS);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("requests", "Answers by endpoint and outcome", requests.clone());
        let time = "Time to answer a license request, its commit included";
        registry.register_with_unit("issue", time, Unit::Seconds, issue.clone());
        registry.register("licenses_issued", "Licenses that were issued", issued.clone());
        let help = "Key ids that were asked for and denied";
        registry.register("licenses_denied", help, denied.clone());
        let items = Unit::Other("items".to_owned());
        let help = "Writes that shared a commit";
        registry.register_with_unit("commit", help, items.clone(), store.commit_sizes());
        registry.register_with_unit("queue", "Writes that wait", items, queue.clone());
        registry.register("connections", "Open connections", connections.clone());
        let help = "Time until a certificate ends";
        registry.register_with_unit("certificate_expiry", help, Unit::Seconds, certificates.clone());
        registry.register("build", "This program", build);
        Self {
            registry,
            requests,
            issue,
            issued,
            denied,
            queue,
            connections,
            certificates,
        }
    }

    /// An endpoint answered.
    pub(crate) fn answered(&self, endpoint: &'static str, outcome: Outcome) {
        let labels = [("endpoint", endpoint), ("code", outcome.0)];
        self.requests.get_or_create(&labels).inc();
    }

    /// A license request was answered, or refused, in this time.
    pub(crate) fn issue_took(&self, time: Duration) {
        self.issue.observe(time.as_secs_f64());
    }

    /// Licenses were issued.
    pub(crate) fn licenses_issued(&self, licenses: u64) {
        self.issued.inc_by(licenses);
    }

    /// A license was denied, with a number of `spec/errors.md`.
    pub(crate) fn license_denied(&self, code: u64) {
        let labels = [("code", name_of(code))];
        self.denied.get_or_create(&labels).inc();
    }

    /// The open connections of a listener.
    pub(crate) fn connections(&self, listener: &'static str) -> Gauge {
        self.connections.get_or_create_owned(&[("listener", listener)])
    }

    fn certificate(&self, name: &'static str, ends: u64, now: Timestamp) {
        let (ends, now) = (signed(ends), signed(now.0));
        let left = ends.saturating_sub(now);
        self.certificates
            .get_or_create(&[("certificate", name)])
            .set(left);
    }
}

/// How a request ended: `ok`, or the name of the problem that answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(&'static str);

impl Outcome {
    /// Of a problem with this number.
    pub(crate) const fn of_problem(code: u64) -> Self {
        Self(name_of(code))
    }

    /// Of an answer that is no problem document of ours.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self(if status.is_success() { "ok" } else { "other" })
    }
}

impl Server {
    /// What was counted, in OpenMetrics text.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn metrics(&self) -> Result<String, Error> {
        let (inner, metrics) = (self.inner(), &self.inner().metrics);
        let now = inner.clock.now();
        let certificates = inner.store.operator_certificates(Timestamp(0)).await?;
        for purpose in Purpose::ALL {
            let newest = certificates.iter().find(|stored| stored.purpose == purpose);
            if let Some(newest) = newest {
                metrics.certificate(purpose.as_str(), newest.not_after.0, now);
            }
        }
        let root = Certificate::parse(inner.identity().anchor.der())?;
        metrics.certificate("root", root.not_after(), now);
        metrics
            .queue
            .set(i64::try_from(inner.store.queued()).unwrap_or(i64::MAX));
        let mut encoded = String::new();
        // Writing to a string does not fail.
        text::encode(&mut encoded, &metrics.registry).ok();
        Ok(encoded)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

const fn name_of(code: u64) -> &'static str {
    match ErrorCode::from_number(code) {
        Some(code) => code.name(),
        None => "other",
    }
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

const ISSUE_SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
