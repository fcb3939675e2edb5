//! Bodies of requests: of the right media type, in time, within bounds.

use core::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection, rejection::FailedToBufferBody},
    http::{HeaderMap, header},
};
use keyward_license::error_code::{ErrorCode, Problem};

use super::connections::Connection;

/// Reads the body of a request that must be of `media_type`. Its largest length is the router's limit.
pub(crate) async fn read(request: Request, media_type: &str, arrival: Duration) -> Result<Bytes, Problem> {
    check_media_type(request.headers(), media_type)?;
    collect(request, arrival).await
}

/// Whether the body is said to be of `media_type`.
pub(crate) fn check_media_type(headers: &HeaderMap, media_type: &str) -> Result<(), Problem> {
    let stated = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let stated = stated.and_then(|value| value.split(';').next()).map(str::trim);
    if stated.is_some_and(|stated| stated.eq_ignore_ascii_case(media_type)) {
        return Ok(());
    }
    let detail = format!("the body must be of media type {media_type}");
    Err(Problem::new(ErrorCode::UnsupportedMediaType, detail))
}

/// Reads the body of a request of any media type.
pub(crate) async fn collect(request: Request, arrival: Duration) -> Result<Bytes, Problem> {
    let connection = request.extensions().get::<Connection>().cloned();
    let body = in_time(request, arrival).await?;
    if let Some(connection) = connection {
        connection.heard();
    }
    Ok(body)
}

async fn in_time(request: Request, arrival: Duration) -> Result<Bytes, Problem> {
    match tokio::time::timeout(arrival, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)))) => {
            Err(Problem::new(
                ErrorCode::TooLarge,
                "the body is larger than this server accepts".to_owned(),
            ))
        }
        Ok(Err(_)) => Err(Problem::new(
            ErrorCode::Malformed,
            "the body was cut off".to_owned(),
        )),
        Err(_) => Err(Problem::new(
            ErrorCode::Malformed,
            "the body did not arrive in time".to_owned(),
        )),
    }
}
