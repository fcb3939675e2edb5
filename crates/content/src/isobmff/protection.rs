//! What protects a sample: sample entry, sample groups and auxiliary information taken together.

use keyward_license::ids::Kid;

use super::{
    Auxiliary, BoxError, BoxSpan, EntryProtection, FourCc, Fragment, Groups, Sample, Track, TrackEncryption,
    TrackFragment, groups::LOCAL_GROUPS, kind, tables::Runs,
};
use crate::cenc::{Iv, Scheme, Subsample};

/// What the movie box says of the protection of a track, by itself without its bytes.
#[derive(Debug, Clone, Default)]
pub struct TrackProtection {
    entries: Vec<Option<EntryProtection>>,
    descriptions: Vec<TrackEncryption>,
    default_description: u32,
}

impl TrackProtection {
    /// Of a track.
    #[must_use]
    pub fn of(track: &Track<'_>) -> Self {
        Self {
            entries: track.entries.iter().map(|entry| entry.protection).collect(),
            descriptions: track.groups.descriptions().to_vec(),
            default_description: track.groups.default_description(),
        }
    }

    /// Whether any sample entry is protected. If none is, all samples are clear.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.entries.iter().any(Option::is_some)
    }

    /// The protection of each sample entry, in order.
    #[must_use]
    pub fn entries(&self) -> &[Option<EntryProtection>] {
        &self.entries
    }

    /// The keys that the movie box names, with the schemes: those of sample entries, and those of sample groups
    /// once for each scheme of the track. Fragments may name others ([`TrackFragment::groups`]).
    pub fn keys(&self) -> impl Iterator<Item = (Kid, Scheme)> {
        let entries = self.entries.iter().flatten();
        let used = |scheme: &Scheme| entries.clone().any(|entry| entry.scheme == Some(*scheme));
        // Not once for each entry: there may be thousands of both.
        let schemes: Vec<_> = Scheme::ALL.into_iter().filter(used).collect();
        let defaults = entries.filter_map(|entry| Some((entry.default?, entry.scheme?)));
        let groups = schemes
            .into_iter()
            .flat_map(|scheme| self.descriptions.iter().map(move |group| (*group, scheme)));
        defaults
            .chain(groups)
            .filter(|(encryption, _)| encryption.protected)
            .map(|(encryption, scheme)| (encryption.kid, scheme))
    }
}

/// Goes through the samples of a track, or of a track fragment, and says what protects each.
///
/// ```text
///   sample entry ─ not protected ──────────────────────────────────────────────► clear
///        │ protected
///   sample group (sbgp, sgpd seig) of the fragment, of the track; else tenc ── not protected ► clear
///        │ protected: KID, pattern, IV size or constant IV
///   auxiliary information (senc, or saiz and saio) ──► IV and subsamples
/// ```
#[derive(Debug, Clone)]
pub struct ProtectionCursor<'p> {
    track: &'p TrackProtection,
    /// Sample groups of the track fragment.
    local: Option<&'p Groups<'p>>,
    map: Option<Runs<'p>>,
    auxiliary: Auxiliary<'p>,
    /// The track or track fragment, for errors.
    home: BoxSpan<'p>,
    /// The index of the sample that is to be asked for; nothing after an error.
    expected: Option<u32>,
}

impl<'p> ProtectionCursor<'p> {
    /// Of the samples that the movie box describes. `protection` is that of the track.
    ///
    /// # Errors
    /// Any [`BoxError`] about the boxes of auxiliary information.
    pub fn of_track(track: &'p Track<'p>, protection: &'p TrackProtection) -> Result<Self, BoxError> {
        let auxiliary = if protection.is_protected() {
            Auxiliary::parse(&track.stbl, &track.span, 0, track.tables.count())?
        } else {
            Auxiliary::none(&track.stbl)
        };
        Ok(Self {
            track: protection,
            local: None,
            map: track.groups.map(),
            auxiliary,
            home: track.stbl,
            expected: Some(0),
        })
    }

    /// Of the samples of a track fragment. `protection` is that of its track.
    ///
    /// # Errors
    /// Any [`BoxError`] about the boxes of auxiliary information.
    pub fn of_fragment(
        fragment: &Fragment<'p>,
        traf: &'p TrackFragment<'p>,
        protection: &'p TrackProtection,
    ) -> Result<Self, BoxError> {
        let auxiliary = if protection.is_protected() {
            Auxiliary::parse(&traf.span, &fragment.span, traf.base, traf.sample_count())?
        } else {
            Auxiliary::none(&traf.span)
        };
        Ok(Self {
            track: protection,
            local: Some(&traf.groups),
            map: traf.groups.map(),
            auxiliary,
            home: traf.span,
            expected: Some(0),
        })
    }

    /// What protects the next sample. Every sample must be asked for, in decoding order: the tables behind
    /// it are read one entry after the other.
    ///
    /// # Errors
    /// [`BoxError::NoEntry`] if a table does not cover the sample, [`BoxError::Unsupported`] for protection
    /// that is not common encryption, [`BoxError::OutOfOrder`] for another sample than the next one. After an
    /// error there is no next one.
    pub fn next(&mut self, sample: &Sample) -> Result<SampleProtection<'p>, BoxError> {
        if self.expected.take() != Some(sample.index) {
            return Err(BoxError::OutOfOrder {
                path: self.home.path(),
                sample: sample.index.into(),
            });
        }
        let protection = self.find(sample)?;
        self.expected = sample.index.checked_add(1);
        Ok(protection)
    }

    fn find(&mut self, sample: &Sample) -> Result<SampleProtection<'p>, BoxError> {
        let group = self.map.as_mut().map(Iterator::next);
        let entry = usize::try_from(sample.description_index)
            .ok()
            .and_then(|index| self.track.entries.get(index.checked_sub(1)?))
            .ok_or_else(|| self.no_entry(kind::STSD, sample))?;
        let encryption = match (entry, self.auxiliary.replaced()) {
            (None, _) => None,
            (Some(entry), Some(replaced)) if entry.scheme.is_some() => Some(replaced),
            (Some(entry), _) => Some(self.encryption(entry, group.flatten(), sample)?),
        };
        let data = self
            .auxiliary
            .next(sample, encryption.as_ref().map(|(_, encryption)| encryption))?;
        Ok(match encryption {
            Some((scheme, encryption)) if encryption.protected => {
                SampleProtection::Protected(ProtectedSample {
                    scheme,
                    encryption,
                    data,
                    size: sample.size,
                    home: self.home,
                })
            }
            _ => SampleProtection::Clear,
        })
    }

    /// The group that the sample is in, else the default group, else `tenc` (ISO/IEC 14496-12, 8.9.4).
    fn encryption(
        &self,
        entry: &EntryProtection,
        group: Option<u32>,
        sample: &Sample,
    ) -> Result<(Scheme, TrackEncryption), BoxError> {
        let scheme = entry.scheme.ok_or_else(|| {
            self.home
                .unsupported("a protection scheme other than common encryption")
        })?;
        let local = self.local.map_or(&[][..], Groups::descriptions);
        let local_default = self.local.map_or(0, Groups::default_description);
        let at = |table: &[TrackEncryption], number: u32| {
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            table.get(index).copied()
        };
        let found = match (group, local_default, self.track.default_description) {
            (Some(0), ..) | (None, 0, 0) => entry.default,
            (Some(number), ..) => match number.checked_sub(LOCAL_GROUPS) {
                Some(number) if number > 0 => at(local, number),
                _ => at(&self.track.descriptions, number),
            },
            (None, 0, number) => at(&self.track.descriptions, number),
            (None, number, _) => at(local, number),
        };
        let found = found.ok_or_else(|| self.no_entry(kind::SGPD, sample))?;
        Ok((scheme, found))
    }

    fn no_entry(&self, table: FourCc, sample: &Sample) -> BoxError {
        BoxError::NoEntry {
            path: self.home.path().join(table.into()).unwrap_or(self.home.path()),
            sample: sample.index.into(),
        }
    }
}

/// Whether a sample is protected.
#[derive(Debug, Clone, Copy)]
pub enum SampleProtection<'p> {
    /// It is not.
    Clear,
    /// It is, in this way.
    Protected(ProtectedSample<'p>),
}

/// What protects a sample.
#[derive(Debug, Clone, Copy)]
pub struct ProtectedSample<'p> {
    /// The scheme.
    pub scheme: Scheme,
    /// Key id, pattern, IV size or constant IV.
    pub encryption: TrackEncryption,
    /// Where its auxiliary information is: IV and subsamples.
    pub data: AuxiliaryData<'p>,
    size: u32,
    home: BoxSpan<'p>,
}

/// Where the auxiliary information of a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuxiliaryData<'p> {
    /// Here. Empty if the sample has none.
    Here(&'p [u8]),
    /// In the file, outside of the box that was read.
    InFile {
        /// Its first byte.
        offset: u64,
        /// Its bytes.
        len: u8,
    },
}

impl ProtectedSample<'_> {
    /// Reads IV and subsamples from the auxiliary information: the bytes of [`AuxiliaryData::Here`], or those
    /// that were fetched from the file.
    ///
    /// # Errors
    /// [`BoxError::Invalid`] if the bytes are not exactly an IV and subsamples, and if the subsamples are not
    /// exactly as long as the sample (ISO/IEC 23001-7, 9.5).
    pub fn details<'d>(&self, data: &'d [u8]) -> Result<SampleDetails<'d>, BoxError> {
        let invalid = |rule| self.home.invalid(rule);
        let (own, rest) = data
            .split_at_checked(self.encryption.sample_iv_size())
            .ok_or(invalid("a sample has no IV"))?;
        let iv = match self.encryption.constant_iv {
            Some(iv) => iv,
            None => Iv::new(own).map_err(|_| invalid("a sample has no IV"))?,
        };
        let Some((count, subsamples)) = rest.split_first_chunk() else {
            let whole = Subsamples(&[]);
            let empty = rest.is_empty().then_some(SampleDetails {
                iv,
                subsamples: whole,
            });
            return empty.ok_or(invalid("the auxiliary information of a sample is cut off"));
        };
        let (subsamples, excess) = subsamples.as_chunks();
        if subsamples.len() != usize::from(u16::from_be_bytes(*count)) || !excess.is_empty() {
            return Err(invalid("the subsamples do not fill the auxiliary information"));
        }
        let subsamples = Subsamples(subsamples);
        let total = subsamples
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(part.len()));
        if !subsamples.is_empty() && total != u64::from(self.size) {
            return Err(invalid(
                "the subsamples of a sample are not as long as the sample",
            ));
        }
        Ok(SampleDetails { iv, subsamples })
    }
}

/// IV and subsamples of a sample.
#[derive(Debug, Clone, Copy)]
pub struct SampleDetails<'d> {
    /// Its own IV, or the constant one.
    pub iv: Iv,
    /// Its subsamples; none if it is protected as a whole.
    pub subsamples: Subsamples<'d>,
}

/// Subsamples as they stand in the file.
#[derive(Debug, Clone, Copy)]
pub struct Subsamples<'d>(&'d [[u8; 6]]);

impl<'d> Subsamples<'d> {
    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Subsample> + use<'d> {
        self.0.iter().map(|&[a, b, c, d, e, f]| Subsample {
            clear: u16::from_be_bytes([a, b]),
            protected: u32::from_be_bytes([c, d, e, f]),
        })
    }
}
