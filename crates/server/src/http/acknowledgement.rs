//! `POST /acknowledgement`: a sealed acknowledge request gets a sealed receipt.

use axum::{
    extract::{Request, State},
    http::header,
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Places, body, problem::ProblemResponse};
use crate::Server;

pub(super) async fn acknowledge(
    State(server): State<Server>,
    State(places): State<Places>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let body = body::read(
        request,
        media_type::ACKNOWLEDGE_REQUEST,
        server.config().limits.arrival,
    )
    .await?;
    let _place = places.take()?;
    let answer = server.acknowledge(&body).await?;
    Ok((
        [
            (header::CONTENT_TYPE, media_type::RECEIPT),
            (header::CACHE_CONTROL, "no-store"),
        ],
        answer,
    ))
}
