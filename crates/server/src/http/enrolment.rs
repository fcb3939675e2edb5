//! `POST /enrolment`: a sealed enrolment request gets a sealed enrolment response.

use axum::{
    extract::{Request, State},
    http::header,
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Places, body, problem::ProblemResponse};
use crate::Server;

pub(super) async fn enrol(
    State(server): State<Server>,
    State(places): State<Places>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let body = body::read(
        request,
        media_type::ENROLMENT_REQUEST,
        server.config().limits.arrival,
    )
    .await?;
    let _place = places.take()?;
    let answer = server.enrol(&body).await?;
    Ok((
        [
            (header::CONTENT_TYPE, media_type::ENROLMENT_RESPONSE),
            (header::CACHE_CONTROL, "no-store"),
        ],
        answer,
    ))
}
