//! `POST /license`: a sealed license request gets a sealed license response. Of a test operator, the query says which.

use axum::{
    Extension,
    extract::{Request, State},
    response::IntoResponse,
};
use keyward_license::discovery::media_type;

use super::{Public, problem::ProblemResponse, sealed::Types};
use crate::{
    issue::{Issued, Outcome},
    test_mode,
};

pub(super) async fn acquire(
    State(public): State<Public>,
    request: Request,
) -> Result<impl IntoResponse, ProblemResponse> {
    let types = Types {
        request: media_type::LICENSE_REQUEST,
        answer: media_type::LICENSE_RESPONSE,
    };
    let query = request.uri().query().map(str::to_owned);
    let (said, Outcome { issued, latency }) = types
        .exchange(public, request, async |server, body| {
            Ok(server.issued(body, query.as_deref()).await)
        })
        .await?;
    // Whoever asked to wait has no place any more.
    test_mode::keep_back(latency).await;
    let Issued { answer, told } = issued?;
    // The line of the log that every request has says it.
    Ok((Extension(told), said, answer))
}
