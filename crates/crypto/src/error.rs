//! What can go wrong in a primitive.

/// A failure of a cryptographic operation.
///
/// Failures of a check on secret-dependent data are one opaque variant each, so that an error never
/// tells an attacker *how* a ciphertext or signature was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// A key, point or ciphertext has the wrong length or is not on the curve.
    #[error("malformed key material: {0}")]
    MalformedKey(&'static str),
    /// An AEAD or HPKE message did not open: wrong key, wrong binding, or altered bytes.
    #[error("the sealed data does not open under this key")]
    NotOpened,
    /// A signature did not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// A COSE structure does not follow our profile.
    #[error("malformed COSE message: {0}")]
    MalformedCose(&'static str),
    /// An X.509 certificate or one of its extensions does not follow our profile.
    #[error("malformed certificate: {0}")]
    MalformedCertificate(&'static str),
    /// A certificate revocation list does not follow our profile.
    #[error("malformed revocation list: {0}")]
    MalformedRevocationList(&'static str),
    /// The certificate chain does not lead to the configured root for this role at this time.
    #[error("certificate chain refused: {0}")]
    ChainRefused(ChainFault),
    /// The key, or its algorithm, is not for what was asked of it.
    #[error("the key does not permit this: {0}")]
    NotPermitted(&'static str),
    /// The input has a length that the algorithm does not take.
    #[error("wrong length: {0}")]
    WrongLength(&'static str),
    /// The public beginning of an encrypted stream cannot be read.
    #[error("malformed stream: {0}")]
    MalformedStream(&'static str),
    /// More data than the construction permits under one key.
    #[error("limit of the construction reached: {0}")]
    LimitReached(&'static str),
    /// The cryptographic library failed on good input; a bug or a broken machine.
    #[error("internal failure in {0}")]
    Internal(&'static str),
}

/// Why a certificate chain was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// No path to the configured root.
    #[error("it does not lead to the operator's root")]
    UnknownIssuer,
    /// A certificate of the chain is past its end at the time judged.
    #[error("a certificate has expired")]
    Expired,
    /// A certificate of the chain is not yet valid at the time judged.
    #[error("a certificate is not yet valid")]
    NotYetValid,
    /// The chain is valid, but not for the role asked of it.
    #[error("it is not valid for this role")]
    WrongRole,
    /// A certificate of the chain was revoked at or before the time judged.
    #[error("a certificate has been revoked")]
    Revoked,
    /// No revocation list of its authority tells whether a certificate of the chain is revoked, and that is
    /// required.
    #[error("no revocation list tells whether a certificate is revoked")]
    RevocationUnknown,
    /// The newest revocation list of an authority is past its end at the time judged, and a current one is
    /// required.
    #[error("the revocation list of an authority has expired")]
    RevocationListExpired,
    /// A revocation list names an authority that did not sign it or may not sign lists.
    #[error("a revocation list is not signed by the authority that it names")]
    RevocationListInvalid,
    /// Anything else path validation refuses (signature, constraints, unknown critical extension).
    #[error("path validation failed")]
    Invalid,
}
