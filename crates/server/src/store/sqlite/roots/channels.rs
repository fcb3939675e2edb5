//! Channels: how crypto periods lie in time.

use std::collections::BTreeSet;

use keyward_license::time::Timestamp;
use rusqlite::params;

use super::super::{
    Store, connection::Statements, founding::record_event, milliseconds, signed, timestamp, unsigned,
};
use crate::{Error, fail_points::Write};

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelRow {
    pub(crate) content_id: String,
    pub(crate) period_seconds: u64,
    /// When the period of index 0 begins.
    pub(crate) anchor: Option<Timestamp>,
    pub(crate) renewal_spread_seconds: u64,
}

impl Store {
    /// Adds a channel, or changes one.
    pub(crate) async fn set_channel(&self, channel: ChannelRow, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::Channel, move |db| {
                db.run(
                    "INSERT INTO channels (content_id, period_seconds, anchor, renewal_spread_seconds, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO UPDATE SET period_seconds = excluded.period_seconds,
                         anchor = excluded.anchor, renewal_spread_seconds = excluded.renewal_spread_seconds",
                    params![
                        &channel.content_id,
                        signed("a period", channel.period_seconds)?,
                        channel.anchor.map(milliseconds),
                        signed("a spread", channel.renewal_spread_seconds)?,
                        milliseconds(now)
                    ],
                )?;
                record_event(db, now, "channel-set", &channel.content_id, "")
            })
            .await
    }

    /// Every channel, by content id.
    pub(crate) async fn channels(&self) -> Result<Vec<ChannelRow>, Error> {
        let rows: Vec<Row> = self.noted(
            sqlx::query_as(
                "SELECT content_id, period_seconds, anchor, renewal_spread_seconds FROM channels ORDER BY content_id",
            )
            .fetch_all(&self.lists)
            .await,
        )?;
        rows.into_iter().map(channel).collect()
    }

    /// The channels among these pieces of content.
    pub(crate) async fn channels_of(&self, contents: BTreeSet<&str>) -> Result<Vec<ChannelRow>, Error> {
        let contents = serde_json::Value::from_iter(contents).to_string();
        self.read(|db| {
            let rows: Vec<Row> = db.rows(
                "SELECT c.content_id, c.period_seconds, c.anchor, c.renewal_spread_seconds
                 FROM json_each(?1) a JOIN channels c ON c.content_id = a.value ORDER BY c.content_id",
                [&contents],
            )?;
            rows.into_iter().map(channel).collect()
        })
        .await
    }
}

type Row = (String, i64, Option<i64>, i64);

fn channel((content_id, period_seconds, anchor, spread): Row) -> Result<ChannelRow, Error> {
    Ok(ChannelRow {
        content_id,
        period_seconds: unsigned(period_seconds)?,
        anchor: anchor.map(timestamp),
        renewal_spread_seconds: unsigned(spread)?,
    })
}
