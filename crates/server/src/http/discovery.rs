//! `GET /.well-known/keyward`: the signed discovery document.

use axum::{extract::State, http::header, response::IntoResponse};
use keyward_license::discovery::media_type;

use super::{Places, problem::ProblemResponse};
use crate::Server;

pub(super) async fn document(
    State(server): State<Server>,
    State(places): State<Places>,
) -> Result<impl IntoResponse, ProblemResponse> {
    let _place = places.take()?;
    let document = server.discovery().await?;
    Ok((
        [
            (header::CONTENT_TYPE, media_type::DISCOVERY),
            (header::CACHE_CONTROL, "public, max-age=300"),
        ],
        document,
    ))
}
