//! When a client should ask for what comes next, so that not all of them ask at once.
//!
//! ```text
//!  channel    │ last period that the client has            │
//!             ├──── spread: some time in here ────┤ margin │   who comes in the margin is told a time in what is
//!                                                             left of it, down to an eighth of the period
//!
//!  end        issue ........... ├── last seconds before the end ──┤ margin │ end
//! ```
//! A time is drawn for each answer and recorded with it.

use std::collections::BTreeMap;

use keyward_license::{license::LicenseBody, time::Timestamp};
use rand_core::Rng;

use crate::{
    Error,
    chance::rng,
    server::Inner,
    store::{roots::TrackRow, sqlite::ChannelRow},
};

/// The times between which one is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    from: u64,
    /// Not part of it, unless there is nothing else.
    to: u64,
}

/// Draws when the client should ask for what comes next, by the tracks that it was licensed for and by the licenses
/// that end. Where there are several reasons, the earliest counts.
pub(crate) async fn renew_at(
    server: &Inner,
    tracks: &[&TrackRow],
    licenses: &[&LicenseBody],
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let mut windows: Vec<Window> = Vec::new();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for track in tracks {
        if let Some(period) = track.period {
            let last = last.entry(&track.content_id).or_default();
            *last = period.max(*last);
        }
    }
    if !last.is_empty() {
        let channels = server.store.channels_of(last.keys().copied().collect()).await?;
        windows.extend(channels.iter().filter_map(|channel| {
            let period = last.get(&channel.content_id[..])?;
            of_channel(channel, *period, now)
        }));
    }
    if let Some(spread) = server.config.lifetimes.renewal_spread {
        let ends = licenses.iter().filter_map(|license| of_end(license, spread, now));
        windows.extend(ends);
    }
    Ok(windows.into_iter().map(|window| window.draw(&mut rng())).min())
}

/// Begins with the last period. Who has come late is told a time in what is left of it. Less than an eighth of a period
/// is too little to spread anybody over, and would have whoever comes then ask again at once: that one is told none.
fn of_channel(channel: &ChannelRow, period: u64, now: Timestamp) -> Option<Window> {
    let length = channel.period_seconds;
    let begin = channel.anchor?.0.saturating_add(period.saturating_mul(length));
    let end = begin.saturating_add(length);
    let spread = begin.saturating_add(channel.renewal_spread_seconds);
    let from = begin.max(now.0);
    let to = if from < spread || from == begin {
        spread
    } else {
        end
    };
    (end.saturating_sub(from) >= length.div_ceil(8)).then_some(Window { from, to })
}

/// The last seconds before the end, at most half of what the license lasts, but for a quarter of them.
fn of_end(license: &LicenseBody, spread: u64, now: Timestamp) -> Option<Window> {
    let end = license.end?.0;
    let begin = license.begin.unwrap_or_default().0.max(now.0);
    let spread = spread.min(end.saturating_sub(begin) / 2);
    (spread > 0).then(|| Window {
        from: end.saturating_sub(spread),
        to: end.saturating_sub(spread / 4),
    })
}

impl Window {
    /// One of its seconds, each as likely as another.
    fn draw(self, rng: &mut impl Rng) -> Timestamp {
        let seconds = self.to.saturating_sub(self.from).max(1);
        // The product of 64 bits of chance and the width, whose upper half is the place: the error is below one in
        // 2^32 for any width that times have.
        let place = (u128::from(rng.next_u64()) * u128::from(seconds)) >> 64;
        let place = u64::try_from(place).unwrap_or_default();
        Timestamp(self.from.saturating_add(place))
    }
}

#[cfg(test)]
mod tests {
    use keyward_license::{
        ids::{DeviceId, Kid, LicenseId},
        license::{Binding, KeyDescription, KeyType, LicenseKind},
    };
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn channel(spread: u64) -> ChannelRow {
        ChannelRow {
            content_id: "news".to_owned(),
            period_seconds: 100,
            anchor: Some(Timestamp(1000)),
            renewal_spread_seconds: spread,
        }
    }

    #[test]
    fn a_channels_window_begins_with_the_last_period() {
        let window = |spread, period, now| of_channel(&channel(spread), period, Timestamp(now));
        let is = |from, to| Some(Window { from, to });
        assert_eq!(window(50, 3, 900), is(1300, 1350));
        assert_eq!(window(0, 3, 900), is(1300, 1300));
        assert_eq!(window(50, 3, 1300), is(1300, 1350));
        assert_eq!(window(0, 3, 1300), is(1300, 1300));
        assert_eq!(window(50, 3, 1320), is(1320, 1350));
        // Who comes late asks in what is left, and not all at once.
        assert_eq!(window(50, 3, 1350), is(1350, 1400));
        assert_eq!(window(50, 3, 1387), is(1387, 1400));
        assert_eq!(window(50, 3, 1388), None, "too little is left");
        assert_eq!(window(50, 3, 1400), None);
        assert_eq!(window(50, u64::MAX, 1400), None, "beyond all time");
        let no_clock = ChannelRow {
            anchor: None,
            ..channel(50)
        };
        assert_eq!(of_channel(&no_clock, 3, Timestamp(900)), None);
    }

    #[test]
    fn an_ends_window_lies_before_it_and_in_the_second_half() {
        let window = |begin: Option<u64>, end: Option<u64>, spread| {
            let key = KeyDescription::content(Kid::new([1; 16]), KeyType::File);
            let binding = Binding::device(&DeviceId::new([2; 32]));
            let license = LicenseBody {
                begin: begin.map(Timestamp),
                end: end.map(Timestamp),
                ..LicenseBody::new(
                    LicenseId::new([3; 16]),
                    LicenseKind::Simple,
                    key,
                    binding,
                    Timestamp(1000),
                )
            };
            of_end(&license, spread, Timestamp(1000))
        };
        let is = |from, to| Some(Window { from, to });
        assert_eq!(window(None, Some(1060), 20), is(1040, 1055));
        assert_eq!(window(None, Some(1060), 40), is(1030, 1053));
        assert_eq!(window(Some(700), Some(1060), 40), is(1030, 1053));
        assert_eq!(window(Some(1040), Some(1060), 40), is(1050, 1058));
        for none in [
            window(None, None, 40),
            window(None, Some(1001), 40),
            window(None, Some(900), 40),
            window(None, Some(2000), 0),
        ] {
            assert_eq!(none, None);
        }
    }

    #[test]
    fn times_are_spread_evenly_over_the_window() {
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let window = Window { from: 1000, to: 1010 };
        let mut drawn = [0_u32; 10];
        for _ in 0..10_000 {
            let second = window.draw(&mut rng).0 - 1000;
            drawn[usize::try_from(second).unwrap()] += 1;
        }
        // 1000 expected, with a deviation of 30: six of them.
        assert!(
            drawn.iter().all(|times| (820..=1180).contains(times)),
            "{drawn:?}"
        );
        let one = Window { from: 7, to: 7 };
        assert_eq!(one.draw(&mut rng), Timestamp(7));
    }
}
