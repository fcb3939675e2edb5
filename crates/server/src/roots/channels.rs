//! Channels: how the crypto periods of a piece of content lie in time.

use keyward_license::time::Timestamp;

use crate::{Error, Server, store::sqlite::ChannelRow};

/// Longest crypto period, in seconds: a year.
pub const MAX_PERIOD_SECONDS: u64 = 365 * 86_400;

/// How the crypto periods of a piece of content lie in time, so that clients can be told when to ask for what comes
/// next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its content id, as packagers name it: 1 to 255 bytes.
    pub content_id: String,
    /// How long a crypto period is, in seconds: 1 to [`MAX_PERIOD_SECONDS`].
    pub period_seconds: u64,
    /// When the period of index 0 begins. Without, the periods follow no clock, and clients are told nothing.
    pub anchor: Option<Timestamp>,
    /// Over how many seconds from the beginning of the last period that a client has, requests for what comes next
    /// are spread: at most three quarters of a period. What is left of it is for those that ask again.
    pub renewal_spread_seconds: u64,
}

impl Channel {
    /// A channel whose clients ask in the first half of the last period that they have.
    #[must_use]
    pub fn new(content_id: impl Into<String>, period_seconds: u64, anchor: Option<Timestamp>) -> Self {
        Self {
            content_id: content_id.into(),
            period_seconds,
            anchor,
            renewal_spread_seconds: period_seconds / 2,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let out_of_range = |what, expected| Err(Error::OutOfRange { what, expected });
        super::admin::check_content_id(&self.content_id)?;
        if !(1..=MAX_PERIOD_SECONDS).contains(&self.period_seconds) {
            return out_of_range("the length of a crypto period", "1 to 31536000 seconds");
        }
        // Milliseconds in the database.
        if self.anchor.is_some_and(|anchor| anchor.0 > MAX_ANCHOR) {
            return out_of_range("the beginning of the first crypto period", "below 2^48 seconds");
        }
        if self.renewal_spread_seconds > longest_spread(self.period_seconds) {
            return out_of_range(
                "the spread of renewals",
                "at most three quarters of a crypto period",
            );
        }
        Ok(())
    }
}

impl Server {
    /// Adds a channel, or changes the one of this content id.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], or a failure of the database.
    pub async fn set_channel(&self, channel: Channel) -> Result<(), Error> {
        channel.check()?;
        let row = ChannelRow {
            content_id: channel.content_id,
            period_seconds: channel.period_seconds,
            anchor: channel.anchor,
            renewal_spread_seconds: channel.renewal_spread_seconds,
        };
        self.store().set_channel(row, self.inner().clock.now()).await
    }

    /// Every channel, by content id.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn channels(&self) -> Result<Vec<Channel>, Error> {
        let rows = self.store().channels().await?.into_iter();
        let channels = rows.map(|row| Channel {
            content_id: row.content_id,
            period_seconds: row.period_seconds,
            anchor: row.anchor,
            renewal_spread_seconds: row.renewal_spread_seconds,
        });
        Ok(channels.collect())
    }
}

const fn longest_spread(period: u64) -> u64 {
    period.saturating_mul(3) / 4
}

const MAX_ANCHOR: u64 = 1 << 48;
