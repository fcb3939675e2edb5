//! The server: opened from an operator directory, called directly or served over HTTP.

use core::future::Future;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use keyward_license::{error_code::Problem, ids::Digest, time::Timestamp};
use tokio::net::TcpListener;

use crate::{
    Error, Refusal,
    acknowledgements::receipt,
    answers::Answers,
    chance::rng,
    clock::Clock,
    config::{AuthorizationSource, Config, ConfigError, NewKeys},
    discovery::{self, DiscoveryCache},
    handler::{LicenseHandler, Source, sources},
    http::{self, addresses::Addresses},
    issue::{self, Issued, Outcome},
    metrics::Metrics,
    operator::{
        self, CHECK, Identity, Settings,
        kek::{self, Found},
    },
    packaging, provision,
    rate::Rates,
    revocation::TrustCache,
    sealing::KekSource,
    store::Store,
    test_mode::{self, transcript::Recorder},
    token::KnownTokens,
    vault::Vault,
};

/// A license server. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<dyn Clock>,
    /// Who decides about licenses, in the order in which they are asked.
    pub(crate) sources: Vec<Box<dyn Source>>,
    /// Whether the rows of the database are the only source.
    pub(crate) rows_alone: bool,
    pub(crate) trust: TrustCache,
    pub(crate) answers: Answers,
    pub(crate) metrics: Metrics,
    pub(crate) rates: Rates,
    pub(crate) addresses: Addresses,
    pub(crate) known_services: KnownTokens,
    pub(crate) known_administrators: KnownTokens,
    discovery: DiscoveryCache,
    identity: RwLock<Arc<Identity>>,
    /// Whether the key-encryption key lies in the directory.
    pub(crate) kek_in_file: bool,
    /// Held by who changes keys or certificates of the operator.
    pub(crate) rolling: tokio::sync::Mutex<()>,
}

impl Inner {
    /// The operator's keys and certificates as they are now.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the operator's keys and certificates again, and renews those that it is time for. The discovery document
    /// is signed anew when it is asked for next, and the revocation lists are looked at again. Requests that are worked
    /// on go on with what they began with. Whoever calls holds `rolling`.
    pub(crate) async fn reload_identity(&self, now: Timestamp) -> Result<Arc<Identity>, Error> {
        let identity = self.load_identity(now).await?;
        self.discovery.forget();
        Ok(identity)
    }

    /// [`Inner::reload_identity`] for who signs the discovery document anew at once: until then the one that is held is
    /// served, and nobody waits for another.
    async fn load_identity(&self, now: Timestamp) -> Result<Arc<Identity>, Error> {
        let settings = Settings::of(&self.config, now);
        let identity = Identity::load(&self.store, &self.vault.kek(), settings, &mut rng()).await?;
        let identity = Arc::new(identity);
        let mut held = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        let before = core::mem::replace(&mut *held, Arc::clone(&identity));
        drop(held);
        if before.revocations != identity.revocations {
            // What they were signed with may be revoked.
            self.answers.forget();
        }
        self.trust.forget();
        Ok(identity)
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
        // What is wrong with its file is told before the database is touched.
        if let KekSource::File = &kek {
            kek::candidates(KekSource::File, dir)?;
        }
        let store = Store::open(&operator::database_path(dir), &config.database).await?;
        let loaded = async {
            let kek = kek::find(kek, dir, &store).await?;
            store.begin_era(check_of(&store).await?);
            let settings = Settings::of(&config, clock.now());
            let identity = Identity::load(&store, &kek.key, settings, &mut rng()).await?;
            Ok((kek, identity))
        };
        let (kek, identity) = match loaded.await {
            Ok(loaded) => loaded,
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
            vault: Vault::new(kek.key),
            clock,
            sources,
            rows_alone,
            trust: TrustCache::default(),
            answers: Answers::new(),
            discovery: DiscoveryCache::default(),
            identity: RwLock::new(Arc::new(identity)),
            kek_in_file: kek.in_file,
            rolling: tokio::sync::Mutex::default(),
        })))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether this is a test operator: one that issues to anybody, whose root certificate is marked.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.0.identity().anchor.is_test()
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
        self.issue_as_asked(request, None).await
    }

    /// [`Server::issue`] of a test operator: the `query` of the license server URL says what is to be issued
    /// ([`test_mode`](crate::test_mode)). Other operators do not look at it.
    ///
    /// # Errors
    /// Those of [`Server::issue`], and the one that the query asks for.
    pub async fn issue_as_asked(&self, request: &[u8], query: Option<&str>) -> Result<Vec<u8>, Problem> {
        let Outcome { issued, latency } = self.issued(request, query).await;
        test_mode::keep_back(latency).await;
        let Issued { answer, told } = issued?;
        tracing::info!(device = %told.device, results = told.results, "license request answered");
        Ok(answer)
    }

    /// As [`Server::issue_as_asked`], for a caller that keeps the answer back, and says in the log what was answered.
    pub(crate) async fn issued(&self, request: &[u8], query: Option<&str>) -> Outcome<Problem> {
        let started = tokio::time::Instant::now();
        let Outcome { issued, latency } = issue::issue(&self.0, request, query).await;
        self.0.metrics.issue_took(started.elapsed());
        Outcome {
            issued: issued.map_err(Refusal::into_problem),
            latency,
        }
    }

    /// Answers a sealed enrolment request, as `POST /enrolment` does.
    ///
    /// # Errors
    /// A problem of `spec/errors.md`; its cause stands in the log.
    pub async fn enrol(&self, request: &[u8]) -> Result<Vec<u8>, Problem> {
        let enrolled = provision::enrol(&self.0, request).await;
        enrolled.map(|(_, answer)| answer).map_err(Refusal::into_problem)
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

    /// Answers a sealed acknowledgement, as `POST /acknowledgement` does.
    ///
    /// # Errors
    /// A problem of `spec/errors.md`; its cause stands in the log.
    pub async fn acknowledge(&self, request: &[u8]) -> Result<Vec<u8>, Problem> {
        let acknowledged = receipt::acknowledge(&self.0, request).await;
        acknowledged
            .map(|(_, receipt)| receipt)
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
    /// [`Error::AlreadyServed`], [`Error::Serving`]; [`Error::Ended`] if an authority has; [`Error::Config`] if new tracks are to derive from a seed that
    /// is not there.
    pub async fn serve(
        self,
        public: TcpListener,
        admin: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        self.serve_with(public, admin, shutdown, None).await
    }

    /// [`Server::serve`] of a test operator, with every exchange of the public listener in a transcript.
    ///
    /// # Errors
    /// Those of [`Server::serve`].
    pub async fn serve_recorded(
        self,
        public: TcpListener,
        admin: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
        recorder: Recorder,
    ) -> Result<(), Error> {
        self.serve_with(public, admin, shutdown, Some(Arc::new(recorder)))
            .await
    }

    async fn serve_with(
        self,
        public: TcpListener,
        admin: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<(), Error> {
        let served = async {
            let serving = self.right_to_serve().await?;
            self.0.identity().check_serves()?;
            self.check_seed().await?;
            if self.is_test() {
                tracing::warn!("this is a test operator: it issues to anybody what a request asks for");
            }
            http::serve(&self, public, admin, shutdown, recorder).await?;
            Ok(serving)
        }
        .await;
        // A roll goes on without who asked for it.
        let _rolling = self.0.rolling.lock().await;
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
        let _rolling = inner.rolling.lock().await;
        let now = inner.clock.now();
        // Of all who find it due at once, the first signs it for the others.
        if let Some(held) = inner.discovery.held(now) {
            return Ok(held);
        }
        // Nobody works any more with what was read before a roll of the key-encryption key.
        inner.vault.adopt(inner.vault.kek().alone());
        self.use_newest(now).await
    }

    /// Takes keys and certificates as they stand in the database, renews those that are due, and signs a new discovery
    /// document. Requests that are worked on go on with what they began with. Whoever calls holds `rolling`.
    pub(crate) async fn use_newest(&self, now: Timestamp) -> Result<Vec<u8>, Error> {
        let inner = &self.0;
        let identity = inner.load_identity(now).await?;
        let signed = inner
            .discovery
            .sign(&identity, inner.config.lifetimes.discovery, now);
        if signed.is_err() {
            // What is held says what was before.
            inner.discovery.forget();
        }
        signed
    }

    /// Forgets keys that requests are not accepted for any more, which takes them out of the database as well.
    pub(crate) async fn end_overlaps(&self) -> Result<(), Error> {
        let inner = &self.0;
        let now = inner.clock.now();
        if inner.identity().holds_over(now) {
            let _rolling = inner.rolling.lock().await;
            self.use_newest(now).await?;
        }
        Ok(())
    }

    /// What whoever has got the right to serve does first: what was rolled since the operator was opened is taken, and
    /// what a roll left that came to no end is put away.
    pub(crate) async fn take_over(&self) -> Result<(), Error> {
        let inner = &self.0;
        let _rolling = inner.rolling.lock().await;
        let used = self.used_kek().await?;
        let secrets = inner.store.secrets().await?;
        kek::settle(&inner.dir, &self.operator(), &used, &secrets)?;
        self.use_kek(&used).await
    }

    /// The key-encryption key that everything is sealed under now: the one that is held, or the one that a roll put in
    /// its place without telling.
    ///
    /// # Errors
    /// [`Error::WrongKek`] if it is neither.
    pub(crate) async fn used_kek(&self) -> Result<Found, Error> {
        let inner = &self.0;
        let held = inner.vault.kek().alone();
        if kek::opens(&held, &inner.store.secrets().await?) {
            Ok(Found {
                key: held,
                in_file: inner.kek_in_file,
            })
        } else if inner.kek_in_file {
            kek::find(KekSource::File, &inner.dir, &inner.store).await
        } else {
            Err(Error::WrongKek)
        }
    }

    /// Works with this key-encryption key from now on. Whoever calls holds `rolling`.
    pub(crate) async fn use_kek(&self, used: &Found) -> Result<(), Error> {
        let inner = &self.0;
        inner.vault.adopt(used.key.alone());
        inner.store.begin_era(check_of(&inner.store).await?);
        inner.reload_identity(inner.clock.now()).await.map(drop)
    }
}

/// The sealed check, which tells the era of the key-encryption key.
async fn check_of(store: &Store) -> Result<Option<Vec<u8>>, Error> {
    let secrets = store.secrets().await?.into_iter();
    let mut checks = secrets.filter(|(name, _)| name == CHECK);
    Ok(checks.next().map(|(_, sealed)| sealed))
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server")
            .field("public_url", &self.0.config.public_url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::{common::World, store::Purpose};

    #[tokio::test]
    async fn whoever_waits_for_a_document_that_is_due_is_served_the_one_that_another_signed() {
        let world = World::new().await;
        let (server, inner) = (&world.server, world.server.inner());
        let due = server.discovery().await.unwrap();
        world.clock.advance(inner.config.lifetimes.discovery / 2);
        let rolling = inner.rolling.lock().await;
        let ask = || {
            let server = server.clone();
            tokio::spawn(async move { server.discovery().await })
        };
        let asked: Vec<_> = (0..16).map(|_| ask()).collect();
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        drop(rolling);
        let mut documents = Vec::new();
        for one in asked {
            documents.push(one.await.unwrap().unwrap());
        }
        // Each that is signed is another: chance is in it.
        documents.dedup();
        assert_eq!(documents.len(), 1);
        assert_ne!(documents, [due]);
    }

    #[tokio::test]
    async fn a_document_is_served_until_a_roll_has_signed_the_next() {
        let world = World::new().await;
        let (server, inner) = (&world.server, world.server.inner());
        let before = server.discovery().await.unwrap();
        let now = inner.clock.now();
        inner.load_identity(now).await.unwrap();
        assert_eq!(inner.discovery.held(now), Some(before.clone()));
        server.roll_key(Purpose::RequestEncryption).await.unwrap();
        let rolled = inner.discovery.held(now);
        assert!(rolled.is_some_and(|rolled| rolled != before));
        // Who does not sign leaves none that may be wrong.
        inner.reload_identity(now).await.unwrap();
        assert_eq!(inner.discovery.held(now), None);
    }
}
