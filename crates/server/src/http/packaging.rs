//! `POST /packaging`: a sealed packaging request gets a sealed packaging response.

use axum::{
    extract::{Request, State},
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Public, problem::ProblemResponse, sealed::Types};

pub(super) async fn package(
    State(public): State<Public>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let types = Types {
        request: media_type::PACKAGING_REQUEST,
        answer: media_type::PACKAGING_RESPONSE,
    };
    types
        .exchange(public, request, async |server, body| server.package(body).await)
        .await
}
