//! The operator, as commands use it: its folder opened on this machine, its verbs called one by one.

mod exchange;
mod revocation;
mod rolls;
mod roots;

use std::{net::SocketAddr, path::Path, sync::Arc, thread::JoinHandle};

use getrandom::SysRng;
use keyward_crypto::{ContentKey, SecretBytes};
use keyward_license::{
    codec::Wire,
    error_code::{ErrorCode, Problem},
    ids::{DeviceId, Kid},
    license::KeyType,
    operator_profile::OperatorProfile,
    time::Timestamp,
};
use keyward_server::{
    Error, Server,
    acknowledgements::Transaction,
    admin::{AdminToken, Device, Entitlement, Scope, TokenRequest},
    carried::Carried,
    clock::{Clock, SystemClock},
    danger,
    key_exchange::PerformFault,
    operator::{self, InitOptions, Initialised},
    policy::{Policy, PolicyTerms},
    sealing::{KekSource, KeyEncryptionKey},
    services::ServiceToken,
    test_mode::transcript::Recorder,
    token::Token,
    vault::Source,
};
use rand_core::UnwrapErr;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use zeroize::Zeroizing;

pub(crate) use exchange::Streaming;
pub(crate) use rolls::RootKey;
pub(crate) use roots::UnderRoot;

use crate::{
    args::OperatorDir,
    failure::{Exit, Failure, file_error},
};

/// Where the key-encryption key comes from: a file that was named, the environment, or the operator's
/// own file. It is never an argument, because every user of the machine can read those.
#[expect(clippy::disallowed_methods, reason = "the environment belongs to this crate")]
pub(crate) fn kek(file: Option<&Path>) -> Result<KekSource, Failure> {
    let text = match file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(file_error("read", path))?),
        None => std::env::var("KEYWARD_KEK").ok(),
    };
    match text.map(Zeroizing::new) {
        Some(hex) => Ok(KekSource::Given(KeyEncryptionKey::from_hex(&hex)?)),
        None => Ok(KekSource::File),
    }
}

/// The license key seed where keys of packaged content are drawn: the one that every operator has.
const FIRST_SEED: u64 = 1;

/// An operator whose folder is open.
pub(crate) struct Operator {
    runtime: Arc<Runtime>,
    server: Server,
    profile: OperatorProfile,
}

impl Operator {
    /// Makes an operator's folder.
    pub(crate) fn init(dir: &Path, options: InitOptions) -> Result<Initialised, Failure> {
        let now = SystemClock.now();
        Ok(runtime()?.block_on(operator::init(dir, options, now, &mut UnwrapErr(SysRng)))?)
    }

    /// Makes a test operator's folder.
    pub(crate) fn init_test(dir: &Path, options: InitOptions) -> Result<Initialised, Failure> {
        let (now, rng) = (SystemClock.now(), &mut UnwrapErr(SysRng));
        Ok(runtime()?.block_on(operator::init_test(dir, options, now, rng))?)
    }

    /// Opens an operator's folder.
    pub(crate) fn open(dir: &OperatorDir) -> Result<Self, Failure> {
        Self::open_with(&dir.operator, kek(dir.kek_file.as_deref())?)
    }

    fn open_with(dir: &Path, kek: KekSource) -> Result<Self, Failure> {
        let runtime = Arc::new(runtime()?);
        let server = runtime.block_on(Server::open(dir, kek, Arc::new(SystemClock)))?;
        let profile = OperatorProfile::decode(&operator::read_profile(dir)?).map_err(|error| {
            Failure::new(
                format!("the operator profile in {} is malformed: {error}", dir.display()),
                "restore the operator's folder from its backup",
            )
        })?;
        Ok(Self {
            runtime,
            server,
            profile,
        })
    }

    /// Makes an operator whose license server answers on a free port of this machine, and starts it.
    pub(crate) fn temporary(dir: &Path) -> Result<(Self, Serving), Failure> {
        let listeners = runtime()?
            .block_on(async { Ok::<_, Failure>((bind(LOOPBACK).await?, bind(LOOPBACK).await?)) })?;
        let [public, admin] = [local_address(&listeners.0)?, local_address(&listeners.1)?];
        drop(listeners);
        let url = format!("http://{public}");
        let options = InitOptions {
            name: "Keyward demo".to_owned(),
            public_url: url.clone(),
            listen: public.to_string(),
            admin_listen: admin.to_string(),
            kek: KekSource::File,
        };
        Self::init(dir, options)?;
        let operator = Self::open_with(dir, KekSource::File)?;
        let serving = operator.serve_in_background(url)?;
        Ok((operator, serving))
    }

    /// What a client is configured with.
    pub(crate) const fn profile(&self) -> &OperatorProfile {
        &self.profile
    }

    /// Whether it is a test operator.
    pub(crate) fn is_test(&self) -> bool {
        self.server.is_test()
    }

    /// The license server URL for content headers.
    pub(crate) fn license_url(&self) -> String {
        self.server.config().public_url.clone()
    }

    /// The key of a key id, derived from the seed; registers the key id for this use if it is new.
    pub(crate) fn derived_key(
        &self,
        kid: Kid,
        key_type: KeyType,
        minimum_security_level: Option<u64>,
    ) -> Result<ContentKey, Failure> {
        self.register_key(kid, key_type, minimum_security_level, None)?;
        Ok(self.run(self.server.content_key_for_packaging(kid))?.key)
    }

    /// Registers a key id whose key derives from a seed, for devices of a security level if one is given. Returns the
    /// seed's number: the one that is asked for, else the one that it derives from already, else that of new keys.
    pub(crate) fn register_key(
        &self,
        kid: Kid,
        key_type: KeyType,
        minimum_security_level: Option<u64>,
        seed: Option<u64>,
    ) -> Result<u64, Failure> {
        let registered = self.run(self.server.registered_key(kid))?;
        let seed = match (seed, registered.map(|key| key.source)) {
            (Some(seed), _) | (None, Some(Source::Seed(seed))) => seed,
            _ => self.seed_of_new_keys()?,
        };
        let register = self
            .server
            .register_key_of_level(kid, key_type, seed, minimum_security_level);
        self.run(register)?;
        Ok(seed)
    }

    fn seed_of_new_keys(&self) -> Result<u64, Failure> {
        Ok(self.run(self.server.seed_of_new_keys())?.unwrap_or(FIRST_SEED))
    }

    /// Registers a key id with a key of its own.
    pub(crate) fn import_key(
        &self,
        kid: Kid,
        key_type: KeyType,
        key: &ContentKey,
        minimum_security_level: Option<u64>,
    ) -> Result<(), Failure> {
        let import = self
            .server
            .import_key_of_level(kid, key_type, key, minimum_security_level);
        Ok(self.run(import)?)
    }

    /// Smallest security level of a device that gets the key when it is packaged under this label: that of the label,
    /// and not below the one that it has.
    pub(crate) fn level_of(&self, kid: Kid, label: &str) -> Result<Option<u64>, Failure> {
        let levels = &self.server.config().packaging.minimum_security_levels;
        let registered = self.run(self.server.registered_key(kid))?;
        let has = registered.and_then(|key| key.minimum_security_level);
        Ok(has.max(levels.get(label).copied()))
    }

    pub(crate) fn enrolment_token(&self, request: TokenRequest) -> Result<Token, Failure> {
        Ok(self.run(self.server.create_enrolment_token(request))?)
    }

    /// Entitles an account to one key, or to all.
    pub(crate) fn grant(
        &self,
        account: &str,
        kid: Option<Kid>,
        policy: &str,
        expires: Option<Timestamp>,
    ) -> Result<i64, Failure> {
        Ok(self.run(self.server.grant(account, kid, policy, expires))?)
    }

    pub(crate) fn entitlements(&self, account: &str) -> Result<Vec<Entitlement>, Failure> {
        Ok(self.run(self.server.entitlements(account))?)
    }

    pub(crate) fn end_entitlement(&self, entitlement: i64) -> Result<(), Failure> {
        Ok(self.run(self.server.revoke_entitlement(entitlement))?)
    }

    pub(crate) fn policy(&self, name: &str, terms: PolicyTerms) -> Result<u64, Failure> {
        Ok(self.run(self.server.create_policy(name, terms))?)
    }

    pub(crate) fn policies(&self) -> Result<Vec<Policy>, Failure> {
        Ok(self.run(self.server.policies())?)
    }

    pub(crate) fn policy_versions(&self, name: &str) -> Result<Vec<Policy>, Failure> {
        Ok(self.run(self.server.policy_versions(name))?)
    }

    pub(crate) fn devices(&self) -> Result<Vec<Device>, Failure> {
        Ok(self.run(self.server.devices())?)
    }

    /// Returns since when it was revoked already, if it was.
    pub(crate) fn revoke_device(&self, device: DeviceId) -> Result<Option<Timestamp>, Failure> {
        Ok(self.run(self.server.revoke_device(device))?)
    }

    pub(crate) fn add_admin_token(&self, name: &str, scope: Scope) -> Result<Token, Failure> {
        Ok(self.run(self.server.create_admin_token(name, scope))?)
    }

    pub(crate) fn admin_tokens(&self) -> Result<Vec<AdminToken>, Failure> {
        Ok(self.run(self.server.admin_tokens())?)
    }

    pub(crate) fn revoke_admin_token(&self, name: &str) -> Result<(), Failure> {
        Ok(self.run(self.server.revoke_admin_token(name))?)
    }

    pub(crate) fn add_service_token(&self, name: &str) -> Result<Token, Failure> {
        Ok(self.run(self.server.create_service_token(name))?)
    }

    pub(crate) fn service_tokens(&self) -> Result<Vec<ServiceToken>, Failure> {
        Ok(self.run(self.server.service_tokens())?)
    }

    pub(crate) fn revoke_service_token(&self, name: &str) -> Result<(), Failure> {
        Ok(self.run(self.server.revoke_service_token(name))?)
    }

    /// Writes the operator profile in the operator's folder anew.
    pub(crate) fn renew_profile(&self, dir: &Path) -> Result<OperatorProfile, Failure> {
        Ok(operator::renew_profile(dir, &self.server)?)
    }

    /// A license key seed with its number: that of new keys, if none is named.
    pub(crate) fn export_seed(&self, number: Option<u64>) -> Result<(u64, SecretBytes), Failure> {
        let number = number.map_or_else(|| self.seed_of_new_keys(), Ok)?;
        Ok((number, self.run(danger::export_seed(&self.server, number))?))
    }

    /// Opens a sealed request to explain it; the operator's record says so.
    pub(crate) fn open_request(&self, sealed: &[u8]) -> Result<danger::OpenedRequest, Error> {
        self.run(danger::open_request(&self.server, sealed))
    }

    /// A signed discovery document, to be carried to devices by other means.
    pub(crate) fn discovery(&self, hours: Option<u64>) -> Result<Vec<u8>, Failure> {
        let lifetime = hours.map(|hours| hours.saturating_mul(3600));
        Ok(self.server.discovery_to_carry(lifetime)?)
    }

    /// Answers a sealed license request, enrolment request or acknowledgement. Which it is shows by what it opens as.
    pub(crate) fn answer(&self, request: &[u8]) -> Result<Carried, Failure> {
        self.run(self.server.answer_carried(request))
            .map_err(|problem| refused(&problem))
    }

    /// Answers that are to be acknowledged, the newest first: those that were, those that were not, or all.
    pub(crate) fn transactions(&self, acknowledged: Option<bool>) -> Result<Vec<Transaction>, Failure> {
        Ok(self.run(self.server.transactions(acknowledged))?)
    }

    /// Serves until the process is told to stop; a test operator may be recorded.
    pub(crate) fn serve(
        self,
        record: Option<&Path>,
        ready: impl FnOnce(SocketAddr, SocketAddr),
    ) -> Result<(), Failure> {
        let config = self.server.config();
        let (listen, admin_listen) = (config.listen, config.admin_listen);
        let recorder = record
            .map(|file| Recorder::create(&self.server, file))
            .transpose()?;
        let serve = async {
            let (public, admin) = (bind(listen).await?, bind(admin_listen).await?);
            ready(local_address(&public)?, local_address(&admin)?);
            let server = self.server.clone();
            match recorder {
                Some(recorder) => {
                    server
                        .serve_recorded(public, admin, stop_signal(), recorder)
                        .await?
                }
                None => server.serve(public, admin, stop_signal()).await?,
            }
            Ok(())
        };
        self.runtime.block_on(serve)
    }

    fn serve_in_background(&self, url: String) -> Result<Serving, Failure> {
        let config = self.server.config();
        let addresses = (config.listen, config.admin_listen);
        let listeners = async { Ok::<_, Failure>((bind(addresses.0).await?, bind(addresses.1).await?)) };
        let (public, admin) = self.runtime.block_on(listeners)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (runtime, server) = (Arc::clone(&self.runtime), self.server.clone());
        let thread = std::thread::spawn(move || {
            let until = async { drop(stopped.await) };
            runtime
                .block_on(server.serve(public, admin, until))
                .map_err(Failure::from)
        });
        Ok(Serving { url, stop, thread })
    }

    fn run<T>(&self, verb: impl Future<Output = T>) -> T {
        self.runtime.block_on(verb)
    }
}

impl Drop for Operator {
    /// Writes what is queued before the process may end.
    fn drop(&mut self) {
        self.runtime.block_on(self.server.close());
    }
}

/// A request that was carried here and gets no answer.
fn refused(problem: &Problem) -> Failure {
    let hint = match ErrorCode::from_number(problem.code) {
        // The device cannot fetch it.
        Some(ErrorCode::WrongRecipient | ErrorCode::NotOpened) => {
            "check that it is a request to this operator; if it is, it was made by an outdated discovery document: give the device a new one (`keyward admin discovery`)"
        }
        Some(code) => code.hint(),
        None => "see the specification's error table",
    };
    let exit = if problem.status >= 500 {
        Exit::Failed
    } else {
        Exit::NotPermitted
    };
    Failure {
        exit,
        code: Some(problem.code),
        ..Failure::new(
            format!("the request was refused: {} ({})", problem.detail, problem.name),
            hint,
        )
    }
}

/// A license server in the background.
pub(crate) struct Serving {
    /// Where it answers.
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Serving {
    /// Stops it and waits until it has ended well.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        // Nobody listens only if the server has ended already; joining says how.
        self.stop.send(()).ok();
        self.thread
            .join()
            .unwrap_or_else(|_| Err(Failure::new("the license server panicked", "please report it")))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::ExchangeKeyDisabled(_)
            | Error::ExchangeKeyDestroyed(_)
            | Error::ExchangeKeySpent(_)
            | Error::ExchangeNotPermitted { .. }
            | Error::NotTheMirror { .. }
            | Error::NotPerformed {
                fault: PerformFault::WrongOperation | PerformFault::Context,
                ..
            } => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        Self {
            exit,
            ..Self::new(&error, error.hint())
        }
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                format!("cannot start: {error}"),
                "check the limits of this user's processes",
            )
        })
}

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            format!("cannot listen on {address}: {error}"),
            "stop what listens there, or change the address: `listen` and `admin_listen` in operator.toml, or the options of the same names",
        )
    })
}

pub(crate) fn local_address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener
        .local_addr()
        .map_err(|error| Failure::new(format!("cannot listen: {error}"), "check the network"))
}

/// Ready when the process is asked to stop: Ctrl-C, or SIGTERM of a service manager.
pub(crate) async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = interrupt => (),
            _ = terminate.recv() => (),
        }
        return;
    }
    interrupt.await.ok();
}
