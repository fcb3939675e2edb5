//! `GET /revocation-lists`, `GET /revocation-lists/bundle`, `PUT /revocation-lists/root`.

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use keyward_license::{codec::Wire, discovery::media_type};
use serde::Serialize;

use super::{super::body, json::encode, problem::AdminProblem};
use crate::Server;

#[derive(Serialize)]
pub(super) struct Listed {
    name: &'static str,
    /// In hexadecimal digits; empty for the operator's own.
    id: String,
    /// Serial number of the authority's certificate.
    authority: Option<String>,
    number: String,
    issued: u64,
    next_update: u64,
    entries: usize,
    /// As it travels, in base64url without padding.
    list: String,
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let lists = server.revocation_lists().await?.into_iter().map(|list| Listed {
        name: list.name,
        id: list.id.to_string(),
        authority: list.authority.map(hex::encode),
        number: list.number.to_string(),
        issued: list.issued.0,
        next_update: list.next_update.0,
        entries: list.entries,
        list: encode(&list.list.encode()),
    });
    Ok(axum::Json(lists.collect()))
}

pub(super) async fn bundle(State(server): State<Server>) -> Result<impl IntoResponse, AdminProblem> {
    let bundle = server.revocation_bundle().await?;
    Ok(([(header::CONTENT_TYPE, media_type::REVOCATION_LISTS)], bundle))
}

/// Takes the root's list in DER (RFC 2585 §4.2).
pub(super) async fn import(
    State(server): State<Server>,
    request: Request,
) -> Result<StatusCode, AdminProblem> {
    let arrival = server.config().limits.arrival;
    let list = body::read(request, "application/pkix-crl", arrival)
        .await
        .map_err(AdminProblem::of)?;
    server.import_revocation_list(&list).await?;
    Ok(StatusCode::NO_CONTENT)
}
