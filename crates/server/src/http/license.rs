//! `POST /license`: a sealed license request gets a sealed license response.

use axum::{
    extract::{Request, State},
    http::header,
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Places, body, problem::ProblemResponse};
use crate::Server;

pub(super) async fn acquire(
    State(server): State<Server>,
    State(places): State<Places>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let body = body::read(
        request,
        media_type::LICENSE_REQUEST,
        server.config().limits.arrival,
    )
    .await?;
    let _place = places.take()?;
    let answer = server.issue(&body).await?;
    Ok((
        [
            (header::CONTENT_TYPE, media_type::LICENSE_RESPONSE),
            (header::CACHE_CONTROL, "no-store"),
        ],
        answer,
    ))
}
