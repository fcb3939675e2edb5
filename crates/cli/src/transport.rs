//! HTTP for the client component: no redirects, bounded answers, TLS with the platform's trust store.

use std::{
    io::Read,
    sync::{Arc, OnceLock},
    time::Duration,
};

use getrandom::SysRng;
use keyward_client::flow::{Answer, MAX_ANSWER, Outgoing};
use keyward_client_native::Transport;
use rand_core::{Rng, UnwrapErr};
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

/// How long one exchange may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Names a request to the license server and to proxies; they write it into their logs.
const REQUEST_ID: &str = "x-request-id";

/// One id for all requests of this process: it leads to everything that a command asked for.
pub(crate) fn request_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| format!("{:016x}", UnwrapErr(SysRng).next_u64()))
}

/// Sends over HTTP.
pub(crate) struct Http(Agent);

impl Http {
    pub(crate) fn new() -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            // The core checked where it sends to; a redirect would lead elsewhere.
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Self(config.new_agent())
    }
}

impl Transport for Http {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let sent = match outgoing.content_type {
            Some(content_type) => self
                .0
                .post(&outgoing.url)
                .content_type(content_type)
                .header(REQUEST_ID, request_id())
                .send(&outgoing.body[..]),
            None => self.0.get(&outgoing.url).header(REQUEST_ID, request_id()).call(),
        };
        let mut response = sent.map_err(|error| format!("{}: {error}", outgoing.url))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let limit = MAX_ANSWER as u64;
        response
            .body_mut()
            .as_reader()
            .take(limit + 1)
            .read_to_end(&mut body)
            .map_err(|error| format!("{}: {error}", outgoing.url))?;
        if body.len() > MAX_ANSWER {
            return Err(format!(
                "{} answers with more than {MAX_ANSWER} bytes",
                outgoing.url
            ));
        }
        Ok(Answer { status, body })
    }
}
