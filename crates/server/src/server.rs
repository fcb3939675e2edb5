//! The server: opened from an operator directory, called directly or served over HTTP.

use core::future::Future;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use keyward_license::{error_code::Problem, ids::Digest};
use tokio::net::TcpListener;

use crate::{
    Error, Refusal,
    answers::Answers,
    authenticate::ChainCache,
    chance::rng,
    clock::Clock,
    config::{AuthorizationSource, Config, ConfigError, NewKeys},
    discovery::{self, DiscoveryCache},
    handler::{LicenseHandler, Source, sources},
    http::{self, addresses::Addresses},
    issue::{self, Issued},
    metrics::Metrics,
    operator::{self, Identity, Serving},
    packaging, provision,
    rate::Rates,
    sealing::KekSource,
    store::Store,
    token::KnownTokens,
    vault::Vault,
};

/// A license server. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

pub(crate) struct Inner {
    dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<dyn Clock>,
    /// Who decides about licenses, in the order in which they are asked.
    pub(crate) sources: Vec<Box<dyn Source>>,
    /// Whether the rows of the database are the only source.
    pub(crate) rows_alone: bool,
    pub(crate) chains: ChainCache,
    pub(crate) answers: Answers,
    pub(crate) metrics: Metrics,
    pub(crate) rates: Rates,
    pub(crate) addresses: Addresses,
    pub(crate) known_services: KnownTokens,
    pub(crate) known_administrators: KnownTokens,
    discovery: DiscoveryCache,
    identity: RwLock<Arc<Identity>>,
}

impl Inner {
    /// The operator's keys and certificates as they are now.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Server {
    /// Opens the operator in `dir`: its configuration, its database, its secrets.
    ///
    /// Several processes may have one operator open; each takes its turn to write.
    ///
    /// # Errors
    /// [`Error::NoOperator`], [`Error::Config`], [`Error::WrongKek`], [`Error::Database`], [`Error::EarlierServes`].
    pub async fn open(dir: &Path, kek: KekSource, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let config = operator::read_config(dir)?;
        let sources = sources::load(&config.authorization, dir)?;
        let rows_alone = config.authorization.sources == [AuthorizationSource::Rows];
        Self::open_with(dir, config, kek, clock, (sources, rows_alone)).await
    }

    /// Opens the operator in `dir` as [`Server::open`] does, and lets `handler` alone decide about licenses. What
    /// `[authorization]` of the configuration says is not used; the rows of the database are put before the handler.
    ///
    /// # Errors
    /// Those of [`Server::open`].
    pub async fn open_with_handler(
        dir: &Path,
        kek: KekSource,
        clock: Arc<dyn Clock>,
        handler: impl LicenseHandler,
    ) -> Result<Self, Error> {
        let config = operator::read_config(dir)?;
        Self::open_with(dir, config, kek, clock, (vec![Box::new(handler)], false)).await
    }

    async fn open_with(
        dir: &Path,
        config: Config,
        kek: KekSource,
        clock: Arc<dyn Clock>,
        (sources, rows_alone): (Vec<Box<dyn Source>>, bool),
    ) -> Result<Self, Error> {
        let kek = kek.load(dir)?;
        let store = Store::open(&operator::database_path(dir), &config.database).await?;
        let identity = match Identity::load(&store, &kek, &config.name, clock.now(), &mut rng()).await {
            Ok(identity) => identity,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            metrics: Metrics::new(&store),
            rates: Rates::new(&config.limits),
            addresses: Addresses::new(&config.limits),
            known_services: KnownTokens::new(),
            known_administrators: KnownTokens::new(),
            config,
            store,
            vault: Vault::new(kek),
            clock,
            sources,
            rows_alone,
            chains: ChainCache::new(),
            answers: Answers::new(),
            discovery: DiscoveryCache::default(),
            identity: RwLock::new(Arc::new(identity)),
        })))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// SHA-256 of the operator's root certificate: names the operator.
    #[must_use]
    pub fn operator(&self) -> Digest {
        self.0.identity().operator
    }

    /// Answers a sealed license request, as `POST /license` does.
    ///
    /// # Errors
    /// A problem of `spec/errors.md`; its cause stands in the log.
    pub async fn issue(&self, request: &[u8]) -> Result<Vec<u8>, Problem> {
        let Issued { answer, told } = self.issued(request).await?;
        tracing::info!(device = %told.device, results = told.results, "license request answered");
        Ok(answer)
    }

    /// As [`Server::issue`], for a caller that says in the log what was answered.
    pub(crate) async fn issued(&self, request: &[u8]) -> Result<Issued, Problem> {
        let started = tokio::time::Instant::now();
        let answer = issue::issue(&self.0, request).await;
        self.0.metrics.issue_took(started.elapsed());
        answer.map_err(Refusal::into_problem)
    }

    /// Answers a sealed enrolment request, as `POST /enrolment` does.
    ///
    /// # Errors
    /// A problem of `spec/errors.md`; its cause stands in the log.
    pub async fn enrol(&self, request: &[u8]) -> Result<Vec<u8>, Problem> {
        provision::enrol(&self.0, request)
            .await
            .map_err(Refusal::into_problem)
    }

    /// Answers a sealed packaging request, as `POST /packaging` does.
    ///
    /// # Errors
    /// A problem of `spec/errors.md`; its cause stands in the log.
    pub async fn package(&self, request: &[u8]) -> Result<Vec<u8>, Problem> {
        packaging::package(&self.0, request)
            .await
            .map_err(Refusal::into_problem)
    }

    /// The signed discovery document, as `GET /.well-known/keyward` serves it.
    ///
    /// # Errors
    /// A problem of `spec/errors.md`; its cause stands in the log.
    pub async fn discovery(&self) -> Result<Vec<u8>, Problem> {
        let now = self.0.clock.now();
        if let Some(held) = self.0.discovery.held(now) {
            return Ok(held);
        }
        self.renew_discovery()
            .await
            .map_err(|error| Refusal::from(error).into_problem())
    }

    /// A discovery document to be carried to devices by other means: valid for `lifetime` seconds from now, or
    /// as long as one that is served if absent. It is not the one that is served.
    ///
    /// # Errors
    /// [`Error::Making`].
    pub fn discovery_to_carry(&self, lifetime: Option<u64>) -> Result<Vec<u8>, Error> {
        let inner = &self.0;
        let lifetime = lifetime.unwrap_or(inner.config.lifetimes.discovery);
        discovery::sign(&inner.identity(), lifetime, inner.clock.now())
    }

    /// Serves both listeners until `shutdown` is ready; then takes no new connection, gives requests in
    /// work the configured time to finish, writes what is queued, and closes the database.
    ///
    /// # Errors
    /// [`Error::AlreadyServed`], [`Error::Serving`]; [`Error::Config`] if new tracks are to derive from a seed that
    /// is not there.
    pub async fn serve(
        self,
        public: TcpListener,
        admin: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let served = async {
            let serving = Serving::begin(&self.0.dir)?;
            self.check_seed().await?;
            http::serve(&self, public, admin, shutdown).await?;
            Ok(serving)
        }
        .await;
        self.close().await;
        // Nobody else serves until everything is written.
        served.map(drop)
    }

    /// Whether there is the seed that new tracks are to derive from. Judged before packagers come, and not when
    /// the operator is opened: adding a seed opens it as well.
    async fn check_seed(&self) -> Result<(), Error> {
        let NewKeys::Seed(number) = self.config().packaging.new_keys else {
            return Ok(());
        };
        match self.store().seed(number).await? {
            Some(_) => Ok(()),
            None => Err(ConfigError::Value {
                key: "packaging.seed",
                expected: "the number of a license key seed of this operator",
            }
            .into()),
        }
    }

    /// Writes what is queued, moves the write-ahead log into the database, and closes it. What is asked
    /// later is answered with [`Problem`] `busy`.
    pub async fn close(&self) {
        self.0.store.close().await;
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// Signs a new discovery document. The server's own certificates are renewed on the same occasion,
    /// if it is time, so that a server that runs for years does not outlive them.
    async fn renew_discovery(&self) -> Result<Vec<u8>, Error> {
        let inner = &self.0;
        let now = inner.clock.now();
        let identity = Identity::load(
            &inner.store,
            inner.vault.kek(),
            &inner.config.name,
            now,
            &mut rng(),
        )
        .await?;
        let identity = Arc::new(identity);
        *inner.identity.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&identity);
        inner
            .discovery
            .sign(&identity, inner.config.lifetimes.discovery, now)
    }
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server")
            .field("public_url", &self.0.config.public_url)
            .finish_non_exhaustive()
    }
}
