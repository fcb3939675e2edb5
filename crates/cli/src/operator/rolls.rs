//! Rolls: by the operator's server if it runs, and here if it does not.

use std::{path::Path, time::Duration};

use getrandom::SysRng;
use keyward_crypto::ecdsa::SigningKey;
use keyward_license::time::Timestamp;
use keyward_server::{
    Error,
    admin::Scope,
    clock::{Clock, SystemClock},
    operator::{read_root_key, read_root_key_file},
    rolls::{AuthorityRequest, Purpose, RolledKek, RolledKey, RolledSeed, Serving, sign_authority},
    sealing::KeyEncryptionKey,
};
use rand_core::{Rng, UnwrapErr};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::{Agent, Body, http::Response};
use zeroize::Zeroizing;

use super::{Operator, kek};
use crate::{args::OperatorDir, failure::Failure};

/// Where the root's private key is.
pub(crate) struct RootKey<'a> {
    /// The operator's folder, and the key-encryption key that goes with it.
    pub(crate) dir: &'a OperatorDir,
    /// A file in the place of the folder's.
    pub(crate) file: Option<&'a Path>,
    /// The key-encryption key that it is sealed under, if that is an earlier one than the operator's.
    pub(crate) kek_file: Option<&'a Path>,
}

impl Operator {
    /// Opens the root's private key.
    pub(crate) fn root_key(&self, of: &RootKey<'_>) -> Result<SigningKey, Failure> {
        let dir = of.dir;
        let kek = kek(of.kek_file.or(dir.kek_file.as_deref()))?.load(&dir.operator)?;
        let operator = self.server.operator();
        let read = match of.file {
            Some(file) => read_root_key_file(file, &operator, &kek),
            None => read_root_key(&dir.operator, &operator, &kek),
        };
        read.map_err(|error| match error {
            Error::WrongKek if of.kek_file.is_some() => Failure::new(
                "the root's private key does not open under the key-encryption key that was named",
                "name the one that was the operator's when it was sealed last, such as that of a backup of then",
            ),
            Error::WrongKek => Failure::new(
                "the root's private key does not open under the key-encryption key",
                "if that was rolled since, name the one that it is sealed under: `--root-kek-file FILE`",
            ),
            Error::File { .. } => Failure::new(
                &error,
                "bring the root's private key from where you keep it, and name it: `--root-key FILE`",
            ),
            error => error.into(),
        })
    }
}

/// Who rolls.
pub(crate) struct Rolls<'a> {
    operator: &'a Operator,
    by: By,
}

enum By {
    /// This process: no server runs, and none starts meanwhile.
    Us { _right: Serving },
    /// The server that runs, asked as an administrator whose token is for this command alone.
    Server(Administration),
}

struct Administration {
    agent: Agent,
    url: String,
    token: Zeroizing<String>,
    token_name: String,
}

impl Operator {
    /// Finds out who rolls.
    pub(crate) fn rolls(&self) -> Result<Rolls<'_>, Failure> {
        let by = match self.run(self.server.right_to_serve()) {
            Ok(right) => By::Us { _right: right },
            Err(Error::AlreadyServed(_)) => By::Server(self.administration()?),
            Err(error) => return Err(error.into()),
        };
        Ok(Rolls { operator: self, by })
    }

    fn administration(&self) -> Result<Administration, Failure> {
        let token_name = format!("roll-{:016x}", UnwrapErr(SysRng).next_u64());
        let token = self.run(self.server.create_admin_token(&token_name, Scope::Full))?;
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            // The administration interface is on this machine.
            .proxy(None)
            .build();
        Ok(Administration {
            agent: config.new_agent(),
            url: format!("http://{}/rolls", self.server.config().admin_listen),
            token: Zeroizing::new(token.expose().to_owned()),
            token_name,
        })
    }
}

impl Rolls<'_> {
    /// A key of the server.
    pub(crate) fn key(&self, purpose: Purpose) -> Result<RolledKey, Failure> {
        match &self.by {
            By::Us { .. } => Ok(self.operator.run(self.operator.server.roll_key(purpose))?),
            By::Server(server) => server.roll(purpose.as_str(), &json!({})),
        }
    }

    /// An authority: its key is made there, and certified here.
    pub(crate) fn authority(&self, purpose: Purpose, root_key: &RootKey<'_>) -> Result<RolledKey, Failure> {
        let root_key = self.operator.root_key(root_key)?;
        let request: AuthorityRequest = match &self.by {
            By::Us { .. } => self
                .operator
                .run(self.operator.server.request_authority(purpose))?,
            By::Server(server) => server.roll(purpose.as_str(), &json!({}))?,
        };
        let root = &self.operator.profile.root.0;
        let certificate = sign_authority(&request, root, &root_key, self.now())?;
        match &self.by {
            By::Us { .. } => {
                let install = self.operator.server.install_authority(purpose, &certificate);
                Ok(self.operator.run(install)?)
            }
            By::Server(server) => server.install(purpose.as_str(), &certificate),
        }
    }

    /// The key-encryption key.
    pub(crate) fn kek(
        &self,
        given: Option<KeyEncryptionKey>,
        hex: Option<&str>,
    ) -> Result<RolledKek, Failure> {
        match &self.by {
            By::Us { .. } => Ok(self.operator.run(self.operator.server.roll_kek(given))?),
            By::Server(server) => {
                let asked = hex.map_or_else(|| json!({}), |hex| json!({ "new_kek": hex.trim() }));
                server.roll("kek", &asked)
            }
        }
    }

    /// The license key seed.
    pub(crate) fn seed(&self) -> Result<RolledSeed, Failure> {
        match &self.by {
            By::Us { .. } => Ok(self.operator.run(self.operator.server.roll_seed())?),
            By::Server(server) => server.roll("seed", &json!({})),
        }
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

impl Drop for Rolls<'_> {
    /// The token was for this command.
    fn drop(&mut self) {
        if let By::Server(server) = &self.by {
            let revoke = self.operator.server.revoke_admin_token(&server.token_name);
            if let Err(error) = self.operator.run(revoke) {
                tracing::warn!(error = %error, name = server.token_name, "revoke this admin token");
            }
        }
    }
}

impl Administration {
    fn roll<T: DeserializeOwned>(&self, what: &str, asked: &Value) -> Result<T, Failure> {
        let body = Zeroizing::new(asked.to_string());
        let sent = self
            .agent
            .post(format!("{}/{what}", self.url))
            .header("authorization", self.bearer())
            .content_type("application/json")
            .send(&body[..]);
        self.answer(sent)
    }

    fn install(&self, what: &str, certificate: &[u8]) -> Result<RolledKey, Failure> {
        let body = json!({ "certificate": base64url(certificate) }).to_string();
        let sent = self
            .agent
            .put(format!("{}/{what}", self.url))
            .header("authorization", self.bearer())
            .content_type("application/json")
            .send(&body[..]);
        self.answer(sent)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", &self.token[..])
    }

    fn answer<T: DeserializeOwned>(&self, sent: Result<Response<Body>, ureq::Error>) -> Result<T, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(
                format!(
                    "the operator's server, which runs, was not reached at {}: {why}",
                    self.url
                ),
                "check `admin_listen` of operator.toml, or stop the server and repeat the command",
            )
        };
        let mut response = sent.map_err(|error| failed(&error))?;
        let good = response.status().is_success();
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|error| failed(&error))?;
        if good {
            return serde_json::from_str(&text).map_err(|error| failed(&error));
        }
        let problem: Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        let said = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or("nothing");
        Err(Failure::new(said("detail"), said("hint")))
    }
}

/// As the administration interface takes bytes.
fn base64url(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Sealing everything anew takes a while where there is much.
const TIMEOUT: Duration = Duration::from_secs(600);
