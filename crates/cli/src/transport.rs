//! HTTP for the client component: no redirects, bounded answers, TLS with the platform's trust store.

use std::{io::Read, sync::Arc, time::Duration};

use keyward_client::flow::{Answer, MAX_ANSWER, Outgoing};
use keyward_client_native::Transport;
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

/// How long one exchange may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(30);

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
                .send(&outgoing.body[..]),
            None => self.0.get(&outgoing.url).call(),
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
