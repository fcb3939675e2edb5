//! `POST /packaging`: a sealed packaging request gets a sealed packaging response.

use axum::{
    extract::{Request, State},
    http::header,
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Places, body, problem::ProblemResponse};
use crate::Server;

pub(super) async fn package(
    State(server): State<Server>,
    State(places): State<Places>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let body = body::read(
        request,
        media_type::PACKAGING_REQUEST,
        server.config().limits.arrival,
    )
    .await?;
    let _place = places.take()?;
    let answer = server.package(&body).await?;
    Ok((
        [
            (header::CONTENT_TYPE, media_type::PACKAGING_RESPONSE),
            (header::CACHE_CONTROL, "no-store"),
        ],
        answer,
    ))
}
