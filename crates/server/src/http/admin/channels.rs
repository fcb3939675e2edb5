//! `GET /channels`, `POST /channels`: how the crypto periods of a piece of content lie in time.

use axum::{extract::State, http::StatusCode};
use keyward_license::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{json::Json, problem::AdminProblem};
use crate::{Server, roots::Channel};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    content_id: String,
    period_seconds: u64,
    /// Without: the periods follow no clock.
    anchor: Option<u64>,
    /// Without: half a period.
    renewal_spread_seconds: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Listed {
    content_id: String,
    period_seconds: u64,
    anchor: Option<u64>,
    renewal_spread_seconds: u64,
}

pub(super) async fn set(
    State(server): State<Server>,
    Json(asked): Json<Set>,
) -> Result<StatusCode, AdminProblem> {
    let channel = Channel::new(
        asked.content_id,
        asked.period_seconds,
        asked.anchor.map(Timestamp),
    );
    let spread = asked.renewal_spread_seconds;
    server
        .set_channel(Channel {
            renewal_spread_seconds: spread.unwrap_or(channel.renewal_spread_seconds),
            ..channel
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(State(server): State<Server>) -> Result<axum::Json<Vec<Listed>>, AdminProblem> {
    let channels = server.channels().await?.into_iter().map(|channel| Listed {
        content_id: channel.content_id,
        period_seconds: channel.period_seconds,
        anchor: channel.anchor.map(|anchor| anchor.0),
        renewal_spread_seconds: channel.renewal_spread_seconds,
    });
    Ok(axum::Json(channels.collect()))
}
