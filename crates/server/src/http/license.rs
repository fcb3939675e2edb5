//! `POST /license`: a sealed license request gets a sealed license response. Of a test operator, the query says which.

use axum::{
    Extension,
    extract::{Request, State},
    http::header,
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Places, body, problem::ProblemResponse};
use crate::{Server, issue::Issued};

pub(super) async fn acquire(
    State(server): State<Server>,
    State(places): State<Places>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let query = request.uri().query().map(str::to_owned);
    let body = body::read(
        request,
        media_type::LICENSE_REQUEST,
        server.config().limits.arrival,
    )
    .await?;
    let _place = places.take()?;
    let Issued { answer, told } = server.issued(&body, query.as_deref()).await?;
    Ok((
        // The line of the log that every request has says it.
        Extension(told),
        [
            (header::CONTENT_TYPE, media_type::LICENSE_RESPONSE),
            (header::CACHE_CONTROL, "no-store"),
        ],
        answer,
    ))
}
