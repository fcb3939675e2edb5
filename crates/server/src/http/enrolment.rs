//! `POST /enrolment`: a sealed enrolment request gets a sealed enrolment response.

use axum::{
    extract::{Request, State},
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Public, problem::ProblemResponse, sealed::Types};

pub(super) async fn enrol(
    State(public): State<Public>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let types = Types {
        request: media_type::ENROLMENT_REQUEST,
        answer: media_type::ENROLMENT_RESPONSE,
    };
    types
        .exchange(public, request, async |server, body| server.enrol(body).await)
        .await
}
