//! JSON in, checked: the body of a request as a type, ids and secrets as the types they are.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::request::Parts,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyward_crypto::SecretBytes;
use keyward_license::error_code::ErrorCode;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use zeroize::Zeroizing;

use super::{super::body, problem::AdminProblem};
use crate::Server;

/// The JSON body of a request. What is wrong with it is told by place, not by content: the body may
/// hold a key.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Server> for Json<T> {
    type Rejection = AdminProblem;

    async fn from_request(request: Request, server: &Server) -> Result<Self, AdminProblem> {
        let arrival = server.config().limits.arrival;
        let body = body::read(request, "application/json", arrival)
            .await
            .map_err(AdminProblem::of)?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let detail = format!("the body is not what this path takes, at line {line}, column {column}");
            AdminProblem::new(ErrorCode::Malformed, detail)
        })
    }
}

/// The one variable part of a path.
pub(super) struct Segment<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segment<T> {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminProblem> {
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| AdminProblem::new(ErrorCode::Malformed, "the path does not name what it should"))?;
        Ok(Self(value))
    }
}

/// A secret in hexadecimal digits.
pub(super) struct SecretHex(Zeroizing<String>);

impl SecretHex {
    pub(super) fn decode<const N: usize>(&self) -> Result<Zeroizing<[u8; N]>, AdminProblem> {
        let mut bytes = Zeroizing::new([0; N]);
        hex::decode_to_slice(self.0.as_bytes(), &mut bytes[..]).map_err(|_| {
            AdminProblem::new(
                ErrorCode::Malformed,
                format!("the key must be {} hexadecimal digits", 2 * N),
            )
        })?;
        Ok(bytes)
    }

    /// As many bytes as there are.
    pub(super) fn decode_bytes(&self) -> Result<SecretBytes, AdminProblem> {
        let mut bytes = Zeroizing::new(vec![0; self.0.len() / 2]);
        hex::decode_to_slice(self.0.as_bytes(), &mut bytes)
            .map_err(|_| AdminProblem::new(ErrorCode::Malformed, "the key must be hexadecimal digits"))?;
        Ok(SecretBytes::new(core::mem::take(&mut *bytes)))
    }
}

/// Bytes in base64url without padding (RFC 4648 §5). They may be secret, and are wiped.
pub(super) struct Base64Url(pub(super) Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Base64Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = URL_SAFE_NO_PAD.decode(&text[..]).map_err(D::Error::custom)?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// Bytes in base64url without padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl<'de> Deserialize<'de> for SecretHex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Reads an id or name of the protocol out of text.
pub(super) fn parse<T: core::str::FromStr>(what: &'static str, text: &str) -> Result<T, AdminProblem> {
    text.parse()
        .map_err(|_| AdminProblem::new(ErrorCode::Malformed, format!("`{what}` cannot be read")))
}
