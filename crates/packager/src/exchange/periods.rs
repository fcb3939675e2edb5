//! The keys of crypto periods, asked of a license server as the media reaches them.

use keyward_license::packaging::{MAX_PERIOD_TRACKS, PackagedLeaf, Periods, WantedTrack};
use rand_core::CryptoRng;

use super::{ExchangeError, Host, PackagingData, TrackData, Wanted};
use crate::{
    KeySource, PackagerError,
    identity::Identity,
    media::{
        periods::{PeriodBatch, PeriodKeys, PeriodSource, RidingLicense},
        tracks::{TrackKey, TrackSelector},
    },
};

/// A license server as the source of the keys of crypto periods, with or without the leaf licenses that ride in the
/// content.
///
/// The same content, label and period get the same key whenever they are asked for, so that a broadcast may be
/// packaged in parts, and again.
#[derive(Debug)]
pub struct ExchangePeriods<'e, H, G> {
    packager: &'e Identity,
    host: &'e mut H,
    rng: &'e mut G,
    content_id: String,
    tracks: Vec<(TrackSelector, WantedTrack)>,
    leaves: bool,
    most: u64,
    license_url: Option<String>,
    /// How many root licenses the content is under, when that is known.
    roots: Option<usize>,
}

impl<'e, H: Host, G: CryptoRng> ExchangePeriods<'e, H, G> {
    /// The keys of `tracks`: which ones, and how they are asked for. Those with the same label share a key, and are
    /// asked for once.
    #[must_use]
    pub fn new(
        packager: &'e Identity,
        content_id: String,
        tracks: Vec<(TrackSelector, WantedTrack)>,
        host: &'e mut H,
        rng: &'e mut G,
    ) -> Self {
        Self {
            packager,
            host,
            rng,
            content_id,
            tracks,
            leaves: false,
            most: DEFAULT_MOST,
            license_url: None,
            roots: None,
        }
    }

    /// Asks for leaf licenses as well: one for each key under each root license.
    #[must_use]
    pub const fn with_leaves(mut self) -> Self {
        self.leaves = true;
        self
    }

    /// Asks for at most that many periods at once. Where the answer has no room for as many leaf licenses, for fewer.
    #[must_use]
    pub const fn at_most(mut self, periods: u64) -> Self {
        self.most = periods;
        self
    }

    /// Where licenses for the content are requested, as the license server said with the keys of `first`, the first
    /// period. It goes into the content headers ([`MediaOptions`](crate::MediaOptions)), which are made before
    /// other keys are fetched.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn license_url(&mut self, first: u64) -> Result<String, ExchangeError> {
        let url = match self.license_url.take() {
            Some(url) => url,
            None => self.ask(Periods { first, count: 1 })?.license_url,
        };
        self.license_url = Some(url.clone());
        Ok(url)
    }

    fn ask(&mut self, periods: Periods) -> Result<PackagingData, ExchangeError> {
        let wanted = Wanted {
            periods: Some(periods),
            leaves: self.leaves,
            ..Wanted::new(self.content_id.clone(), self.wanted())
        };
        let data = self.packager.packaging_data(&wanted, self.host, self.rng)?;
        self.roots = Some(data.roots.len());
        Ok(data)
    }

    /// What is asked for: each label once.
    fn wanted(&self) -> Vec<WantedTrack> {
        let mut wanted: Vec<WantedTrack> = Vec::new();
        for (_, track) in &self.tracks {
            if wanted.iter().all(|known| known.label != track.label) {
                wanted.push(track.clone());
            }
        }
        wanted
    }

    fn batch(&self, data: PackagingData, periods: Periods) -> PeriodBatch {
        let wanted = self.wanted();
        let mut tracks = data.tracks.into_iter();
        let mut leaves = data.leaves.iter().map(riding).collect::<Vec<_>>();
        let of_period = |index| {
            // V-075: the tracks come period by period, each in the order in which they were asked for.
            let given: Vec<TrackData> = tracks.by_ref().take(wanted.len()).collect();
            let key_of = |(selector, track): &(TrackSelector, WantedTrack)| {
                let found = given.iter().find(|given| given.label == track.label)?;
                Some(TrackKey {
                    tracks: *selector,
                    kid: found.kid,
                    key: KeySource::Vault(found.key.duplicate()),
                })
            };
            let keys: Vec<TrackKey> = self.tracks.iter().filter_map(key_of).collect();
            let own = |leaf: &mut RidingLicense| keys.iter().any(|key| key.kid == leaf.kid);
            PeriodKeys {
                index,
                leaves: leaves.extract_if(.., own).collect(),
                keys,
            }
        };
        PeriodBatch {
            roots: data.roots,
            periods: periods.indices().map(of_period).collect(),
        }
    }
}

/// Two minutes of periods of two seconds.
const DEFAULT_MOST: u64 = 60;
/// Leaf licenses that are asked for at once: some hundred KiB, and fewer than an answer may bring.
const MAX_BATCH_LEAVES: usize = 256;

fn riding(leaf: &PackagedLeaf) -> RidingLicense {
    RidingLicense {
        kid: leaf.kid(),
        license: leaf.bytes().to_vec(),
    }
}

impl<H: Host, G: CryptoRng> PeriodSource for ExchangePeriods<'_, H, G> {
    fn keys(&mut self, first: u64, count: u64) -> Result<PeriodBatch, PackagerError> {
        let periods = Periods { first, count };
        let data = self.ask(periods)?;
        self.license_url.get_or_insert_with(|| data.license_url.clone());
        Ok(self.batch(data, periods))
    }

    fn most(&self) -> u64 {
        let tracks = self.wanted().len().max(1);
        let leaves = match (self.leaves, self.roots) {
            (false, _) => 0,
            // How many licenses come with a period is known when the first one is there.
            (true, None) => return 1,
            (true, Some(roots)) => tracks.saturating_mul(roots),
        };
        let of_tracks = MAX_PERIOD_TRACKS.checked_div(tracks);
        let of_leaves = MAX_BATCH_LEAVES.checked_div(leaves);
        let fits = of_tracks.into_iter().chain(of_leaves).min().unwrap_or(1);
        self.most.min(u64::try_from(fits).unwrap_or(1)).max(1)
    }

    fn has_roots(&self) -> Option<bool> {
        self.roots.map(|roots| roots > 0)
    }
}
