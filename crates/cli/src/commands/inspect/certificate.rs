//! Certificates: X.509 in the profile of the protocol.

use keyward_crypto::x509::{Certificate, Role};
use keyward_license::{
    certificate::{Claims, certificate_digest, device_id},
    signed::{ChainVerifier, MessageError},
    time::Timestamp,
};

use super::{
    explanation::{Explanation, Fields, Kind, Standing, Value, foreign, length, list, plain, said, size},
    message::suite,
    trust::Trust,
};
use crate::report;

/// Explains certificates: a chain, leaf first, or a single one.
pub(super) fn explain(ders: &[Vec<u8>], trust: &Trust) -> Explanation {
    let fields = Fields::default().with("certificates", list(ders, |der| fields(der).into()));
    let bytes = ders.iter().map(|der| length(der)).sum();
    Explanation::new(Kind::Certificates, bytes, standing(ders, trust), fields)
        .not_checked(&["whether a certificate was revoked"])
}

/// The root of an operator is believed as it is; others by the path that leads to one, now.
fn standing(ders: &[Vec<u8>], trust: &Trust) -> Standing {
    if let [root] = ders
        && let Some(known) = trust.with_root(root)
    {
        return known.verified(trust.now);
    }
    let roles = ders
        .first()
        .and_then(|leaf| Certificate::parse(leaf).ok())
        .map_or_else(Vec::new, |leaf| leaf.roles().to_vec());
    let verified = trust.verify(|anchor| {
        let role = roles.first().copied().unwrap_or(Role::CertificateAuthority);
        anchor
            .verify_chain(ders, role, trust.now)
            .map_err(MessageError::Signer)
    });
    match verified {
        Ok((_, known)) => known.verified(trust.now),
        Err(reason) => Standing::unverified(reason),
    }
}

/// A chain, leaf first, one line a certificate.
pub(super) fn chain<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Value {
    list(ders, |der| {
        let words = match Certificate::parse(der) {
            Ok(certificate) => format!(
                "{}, {} to {}",
                report::quoted(certificate.subject()),
                report::time(Timestamp(certificate.not_before())),
                report::time(Timestamp(certificate.not_after()))
            ),
            Err(error) => error.to_string(),
        };
        said(fields(der).to_json(), words)
    })
}

/// What a certificate says.
pub(super) fn fields(der: &[u8]) -> Fields {
    let certificate = match Certificate::parse(der) {
        Ok(certificate) => certificate,
        Err(error) => {
            return Fields::default()
                .with("certificate_bytes", size(der))
                .faults([error.to_string()]);
        }
    };
    let device = certificate
        .roles()
        .contains(&Role::Device)
        .then(|| device_id(certificate.public_key()).ok())
        .flatten();
    Fields::default()
        .with("subject", foreign(certificate.subject()))
        .with("roles", list(certificate.roles(), |role| plain(role_name(*role))))
        .with("not_before", Timestamp(certificate.not_before()))
        .with("not_after", Timestamp(certificate.not_after()))
        .with("digest", plain(certificate_digest(&certificate)))
        .with("device", device.map(plain))
        .with("claims", claims(&certificate))
}

fn claims(certificate: &Certificate) -> Value {
    if certificate.claims().is_none() {
        return Value::Absent;
    }
    let claims = match Claims::of(certificate) {
        Ok(claims) => claims,
        Err(error) => return Fields::default().faults([error.to_string()]).into(),
    };
    let keys = claims.sealing_keys.unwrap_or_default();
    Fields::default()
        .with("security_level", claims.security_level)
        .with("maker", claims.maker.as_deref().map(foreign))
        .with("model", claims.model.as_deref().map(foreign))
        .with("robustness_version", claims.robustness_version)
        .with("sealing_key_suites", list(&keys, |key| suite(key.suite)))
        .into()
}

/// What the holder of a certificate may do.
pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Device => "device",
        Role::LicenseServer => "license-server",
        Role::RequestEncryption => "request-encryption",
        Role::Time => "time",
        Role::Receipt => "receipt",
        Role::RevocationList => "revocation-list",
        Role::AuditLog => "audit-log",
        Role::Domain => "domain",
        Role::Metering => "metering",
        Role::SessionService => "session-service",
        Role::Packager => "packager",
        Role::CertificateAuthority => "certificate-authority",
        _ => "another",
    }
}
