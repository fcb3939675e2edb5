//! What the server counts, for a monitoring system: OpenMetrics text, which Prometheus reads.
//!
//! ```text
//!  keyward_requests_total{endpoint,code}        answers by endpoint; `ok`, or a name of spec/errors.md
//!  keyward_issue_seconds                        time to answer a license request, its commit included
//!  keyward_licenses_issued_total
//!  keyward_chain_licenses_total{kind}           of those, `root` and `leaf`; and `packaged-leaf`, given to packagers
//!  keyward_licenses_denied_total{code}          key ids that were asked for and denied
//!  keyward_exchange_operations_total{operation,outcome}   mirror operations: `ok`, `invalid` for a signature that is
//!                                               not one, `failed`, `refused`, `aborted`
//!  keyward_acknowledged_licenses_total{outcome}    what became of licenses at clients that acknowledge: `stored`,
//!                                               `in-memory`, `refused`
//!  keyward_commit_items                         writes that shared a commit
//!  keyward_queue_items                          writes that wait
//!  keyward_connections{listener}                open ones
//!  keyward_connections_closed_total{listener,reason}   `address`: of one that had too many, at once;
//!                                               `silent`: gave way, because others waited for a place
//!  keyward_certificate_expiry_seconds{certificate}   negative once it has ended
//!  keyward_revocation_list_expiry_seconds{list}   until the next list is due; negative once that has passed
//!  keyward_revocation_list_entries{list}        what each names
//!  keyward_build_info{version}
//! ```
//! Nothing in it names an account, a device or a key.

mod traffic;

use core::{fmt, time::Duration};

use keyward_crypto::{exchange::Operation, x509::Certificate};
use keyward_license::{acknowledgement::LicenseOutcome, time::Timestamp};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Unit,
};

use crate::{
    Error, Server,
    revocation::PublishedList,
    store::{Purpose, Store},
};
pub(crate) use traffic::{Labels, OPEN_METRICS, Outcome, SECONDS, Traffic};

/// The counters of a server.
pub(crate) struct Metrics {
    pub(crate) traffic: Traffic,
    issue: Histogram,
    issued: Counter,
    denied: Family<Labels<1>, Counter>,
    chains: Family<Labels<1>, Counter>,
    exchanged: Family<Labels<2>, Counter>,
    acknowledged: Family<Labels<1>, Counter>,
    queue: Gauge,
    certificates: Family<Labels<1>, Gauge>,
    lists: Family<Labels<1>, Gauge>,
    list_entries: Family<Labels<1>, Gauge>,
}

impl Metrics {
    /// Counters of a server with this database.
    pub(crate) fn new(store: &Store) -> Self {
        let mut traffic = Traffic::new();
        let registry = traffic.registry();
        let (issued, queue) = (Counter::default(), Gauge::default());
        let (denied, certificates) = (Family::default(), Family::default());
        let issue = Histogram::new(SECONDS);
        let time = "Time to answer a license request, its commit included";
        registry.register_with_unit("issue", time, Unit::Seconds, issue.clone());
        registry.register("licenses_issued", "Licenses that were issued", issued.clone());
        let help = "Key ids that were asked for and denied";
        registry.register("licenses_denied", help, denied.clone());
        let (exchanged, chains) = (Family::default(), Family::default());
        let help = "Root and leaf licenses that were issued or given to packagers";
        registry.register("chain_licenses", help, chains.clone());
        let help = "Mirror operations with exchange keys, by what came of them";
        registry.register("exchange_operations", help, exchanged.clone());
        let acknowledged = Family::default();
        let help = "Licenses that clients acknowledged, by what became of them";
        registry.register("acknowledged_licenses", help, acknowledged.clone());
        let (lists, list_entries) = (Family::default(), Family::default());
        let help = "Time until the next revocation list is due";
        registry.register_with_unit("revocation_list_expiry", help, Unit::Seconds, lists.clone());
        let help = "What each revocation list names";
        registry.register("revocation_list_entries", help, list_entries.clone());
        let items = Unit::Other("items".to_owned());
        let help = "Writes that shared a commit";
        registry.register_with_unit("commit", help, items.clone(), store.commit_sizes());
        registry.register_with_unit("queue", "Writes that wait", items, queue.clone());
        let help = "Time until a certificate ends";
        registry.register_with_unit("certificate_expiry", help, Unit::Seconds, certificates.clone());
        Self {
            traffic,
            issue,
            issued,
            denied,
            chains,
            exchanged,
            acknowledged,
            queue,
            certificates,
            lists,
            list_entries,
        }
    }

    /// A license request was answered, or refused, in this time.
    pub(crate) fn issue_took(&self, time: Duration) {
        self.issue.observe(time.as_secs_f64());
    }

    /// Licenses were issued.
    pub(crate) fn licenses_issued(&self, licenses: u64) {
        self.issued.inc_by(licenses);
    }

    /// Licenses of a kind were made.
    pub(crate) fn chain_license(&self, kind: ChainLicense, count: u64) {
        self.chains.get_or_create(&[("kind", kind.name())]).inc_by(count);
    }

    /// A license was denied, with a number of `spec/errors.md`.
    pub(crate) fn license_denied(&self, code: u64) {
        let labels = [("code", Outcome::of_problem(code).as_str())];
        self.denied.get_or_create(&labels).inc();
    }

    /// Mirror operations with exchange keys: how many came to this.
    pub(crate) fn exchanged(&self, operation: Operation, outcome: &'static str, count: u64) {
        let labels = [("operation", operation.name()), ("outcome", outcome)];
        self.exchanged.get_or_create(&labels).inc_by(count);
    }

    /// A client told what became of a license.
    pub(crate) fn acknowledged(&self, outcome: LicenseOutcome) {
        let labels = [("outcome", outcome_name(outcome))];
        self.acknowledged.get_or_create(&labels).inc();
    }

    fn list(&self, list: &PublishedList, now: Timestamp) {
        let labels = [("list", list.name)];
        let left = signed(list.next_update.0).saturating_sub(signed(now.0));
        self.lists.get_or_create(&labels).set(left);
        let entries = i64::try_from(list.entries).unwrap_or(i64::MAX);
        self.list_entries.get_or_create(&labels).set(entries);
    }

    fn certificate(&self, name: &'static str, ends: u64, now: Timestamp) {
        let (ends, now) = (signed(ends), signed(now.0));
        let left = ends.saturating_sub(now);
        self.certificates
            .get_or_create(&[("certificate", name)])
            .set(left);
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
        // Those that are judged by: whoever measures causes no writes. Of several authorities of one purpose, the list
        // that is due first stays.
        let held = inner.trust.held();
        let mut lists: Vec<_> = held.iter().flat_map(|trust| trust.published()).collect();
        lists.sort_by_key(|list| core::cmp::Reverse(list.next_update));
        lists.into_iter().for_each(|list| metrics.list(list, now));
        metrics
            .queue
            .set(i64::try_from(inner.store.queued()).unwrap_or(i64::MAX));
        Ok(metrics.traffic.text())
    }
}

/// A license of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChainLicense {
    /// A root license.
    Root,
    /// A leaf, in an answer to a device.
    Leaf,
    /// A leaf that rides in content.
    PackagedLeaf,
}

impl ChainLicense {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Leaf => "leaf",
            Self::PackagedLeaf => "packaged-leaf",
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The name of what became of a license.
#[must_use]
pub const fn outcome_name(outcome: LicenseOutcome) -> &'static str {
    match outcome {
        LicenseOutcome::Stored => "stored",
        LicenseOutcome::InMemory => "in-memory",
        LicenseOutcome::Refused => "refused",
    }
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
