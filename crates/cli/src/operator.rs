//! The operator, as commands use it: its folder opened on this machine, its verbs called one by one.

use std::{net::SocketAddr, path::Path, sync::Arc, thread::JoinHandle};

use getrandom::SysRng;
use keyward_crypto::{ContentKey, SecretBytes};
use keyward_license::{
    codec::Wire,
    enrolment::EnrolmentRole,
    ids::{DeviceId, Kid},
    license::KeyType,
    operator_profile::OperatorProfile,
};
use keyward_server::{
    Error, Server,
    admin::{AdminToken, Device, Scope, TokenRequest},
    clock::{Clock, SystemClock},
    danger,
    operator::{self, InitOptions, Initialised},
    policy::PolicyTerms,
    sealing::{KekSource, KeyEncryptionKey},
    services::ServiceToken,
    token::Token,
};
use rand_core::UnwrapErr;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use zeroize::Zeroizing;

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

/// The number of the seed that new keys derive from.
const SEED: u64 = 1;

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

    /// The license server URL for content headers.
    pub(crate) fn license_url(&self) -> String {
        self.server.config().public_url.clone()
    }

    /// The key of a key id, derived from the seed; registers the key id for this use if it is new.
    pub(crate) fn derived_key(&self, kid: Kid, key_type: KeyType) -> Result<ContentKey, Failure> {
        self.register_key(kid, key_type)?;
        Ok(self.run(self.server.content_key_for_packaging(kid))?.key)
    }

    /// Registers a key id whose key derives from the seed.
    pub(crate) fn register_key(&self, kid: Kid, key_type: KeyType) -> Result<(), Failure> {
        Ok(self.run(self.server.register_key(kid, key_type, SEED))?)
    }

    /// Registers a key id with a key of its own.
    pub(crate) fn import_key(&self, kid: Kid, key_type: KeyType, key: &ContentKey) -> Result<(), Failure> {
        Ok(self.run(self.server.import_key(kid, key_type, key))?)
    }

    pub(crate) fn enrolment_token(
        &self,
        account: &str,
        hours: u64,
        security_level: u64,
        role: EnrolmentRole,
    ) -> Result<Token, Failure> {
        let request = TokenRequest {
            role,
            security_level,
            expires_in: hours.saturating_mul(3600),
            ..TokenRequest::new(account)
        };
        Ok(self.run(self.server.create_enrolment_token(request))?)
    }

    /// Entitles an account to one key, or to all.
    pub(crate) fn grant(&self, account: &str, kid: Option<Kid>, policy: &str) -> Result<i64, Failure> {
        Ok(self.run(self.server.grant(account, kid, policy, None))?)
    }

    pub(crate) fn policy(&self, name: &str, terms: PolicyTerms) -> Result<u64, Failure> {
        Ok(self.run(self.server.create_policy(name, terms))?)
    }

    pub(crate) fn devices(&self) -> Result<Vec<Device>, Failure> {
        Ok(self.run(self.server.devices())?)
    }

    pub(crate) fn revoke_device(&self, device: DeviceId) -> Result<(), Failure> {
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

    pub(crate) fn export_seed(&self) -> Result<SecretBytes, Failure> {
        Ok(self.run(danger::export_seed(&self.server, SEED))?)
    }

    /// Opens a sealed request to explain it; the operator's record says so.
    pub(crate) fn open_request(&self, sealed: &[u8]) -> Result<danger::OpenedRequest, Error> {
        self.run(danger::open_request(&self.server, sealed))
    }

    /// Answers a sealed license request.
    pub(crate) fn answer(&self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        self.run(self.server.issue(request)).map_err(|problem| {
            let hint = keyward_license::error_code::ErrorCode::from_number(problem.code).map_or(
                "see the specification's error table",
                keyward_license::error_code::ErrorCode::hint,
            );
            let exit = if problem.status >= 500 {
                Exit::Failed
            } else {
                Exit::NotPermitted
            };
            Failure {
                exit,
                ..Failure::new(
                    format!("the request was refused: {} ({})", problem.detail, problem.name),
                    hint,
                )
            }
        })
    }

    /// Serves until the process is told to stop.
    pub(crate) fn serve(self, ready: impl FnOnce(SocketAddr, SocketAddr)) -> Result<(), Failure> {
        let config = self.server.config();
        let (listen, admin_listen) = (config.listen, config.admin_listen);
        let serve = async {
            let (public, admin) = (bind(listen).await?, bind(admin_listen).await?);
            ready(local_address(&public)?, local_address(&admin)?);
            Ok(self.server.clone().serve(public, admin, stop_signal()).await?)
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
        Self::new(&error, error.hint())
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
            "stop what listens there, or change the address, in operator.toml or with `--listen`",
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
