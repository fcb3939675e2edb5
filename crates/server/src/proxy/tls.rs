//! Whom a client of this crate believes over TLS: the proxy its license server, the license server its webhook.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;

use super::ProxyError;

/// TLS that trusts what the system trusts, or only what chains to one of `authorities` (PEM). Where there will
/// be none, nobody is trusted, and a system without certificates is no hindrance.
pub(crate) fn config(authorities: Option<&[u8]>, is_used: bool) -> Result<ClientConfig, ProxyError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ProxyError::Tls)?;
    let builder = match authorities {
        None if is_used => builder.with_platform_verifier().map_err(ProxyError::Tls)?,
        None => builder.with_root_certificates(RootCertStore::empty()),
        Some(pem) => builder.with_root_certificates(roots(pem)?),
    };
    Ok(builder.with_no_client_auth())
}

fn roots(pem: &[u8]) -> Result<RootCertStore, ProxyError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| ProxyError::AuthoritiesMalformed)?;
        roots
            .add(certificate)
            .map_err(|_| ProxyError::AuthoritiesMalformed)?;
    }
    if roots.is_empty() {
        return Err(ProxyError::AuthoritiesMalformed);
    }
    Ok(roots)
}
