//! `POST /acknowledgement`: a sealed acknowledge request gets a sealed receipt.

use axum::{
    extract::{Request, State},
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Public, problem::ProblemResponse, sealed::Types};

pub(super) async fn acknowledge(
    State(public): State<Public>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let types = Types {
        request: media_type::ACKNOWLEDGE_REQUEST,
        answer: media_type::RECEIPT,
    };
    types
        .exchange(public, request, async |server, body| {
            server.acknowledge(body).await
        })
        .await
}
