//! The keys at hand while the fragments are made: those of one batch of crypto periods.

use std::sync::Arc;

use keyward_content::isobmff::Node;
use keyward_license::{
    embedded::{EmbeddedStore, MAX_LICENSES},
    ids::Kid,
    packaging::END_OF_PERIODS,
};

use super::{
    MediaOptions, mux,
    periods::{PeriodBatch, PeriodKeys, PeriodSource, ProtectedPeriods, RidingLicense},
    timeline::Timeline,
    tracks::{self, TrackCipher, TrackPlan},
};
use crate::{MediaError, PackagerError};

/// The rotation on its way through the fragments.
pub(super) struct RotationState<'m> {
    options: &'m MediaOptions,
    timeline: Timeline,
    source: &'m mut (dyn PeriodSource + Send),
    /// Fragments that were reached.
    reached: usize,
    roots: Vec<Kid>,
    /// There are no roots: headers name the keys of the next period as well, so that nobody has to ask at the switch.
    stacks: bool,
    /// Periods that are not reached yet.
    ahead: Vec<PeriodKeys>,
    current: Option<Period>,
    next: Option<Period>,
    /// First and last period, and licenses so far.
    seen: Option<(u64, u64, u64)>,
}

/// A crypto period whose keys are at hand.
struct Period {
    index: u64,
    /// By track of the movie; nothing for one that stays clear.
    ciphers: Vec<Option<Arc<TrackCipher>>>,
    leaves: Vec<RidingLicense>,
    /// The boxes of the last fragment, for the keys that it used: many fragments of a period have the same.
    headers: Option<(Vec<Kid>, Vec<Node<'static>>)>,
}

impl<'m> RotationState<'m> {
    /// Fetches the keys of the first period that is needed.
    ///
    /// # Errors
    /// Those of the source; [`MediaError::NothingBehindLead`] if none is needed.
    pub(super) fn begin(
        options: &'m MediaOptions,
        source: &'m mut (dyn PeriodSource + Send),
        timeline: Timeline,
        plans: &[TrackPlan<'_>],
    ) -> Result<Self, PackagerError> {
        let stacks = source.has_roots() == Some(false);
        let mut state = Self {
            options,
            timeline,
            source,
            reached: 0,
            roots: Vec::new(),
            stacks,
            ahead: Vec::new(),
            current: None,
            next: None,
            seen: None,
        };
        let (at, first) = state.timeline.first().ok_or(MediaError::NothingBehindLead(
            plans.first().map_or(0, |plan| plan.track.id),
        ))?;
        state.roots = state.fetch(at, first)?;
        state.stacks = state.roots.is_empty();
        state.enter(at, first, plans)?;
        Ok(state)
    }

    /// The ciphers of the first period, by track.
    pub(super) fn ciphers(&self) -> &[Option<Arc<TrackCipher>>] {
        ciphers_of(self.current.as_ref())
    }

    /// The `pssh` boxes of the movie box: the roots, or where there are none the keys of the first period and the
    /// next.
    pub(super) fn movie_headers(&self) -> Result<Vec<Node<'static>>, PackagerError> {
        let header = if self.roots.is_empty() {
            let keys = self.ciphers().iter().chain(ciphers_of(self.next.as_ref()));
            mux::content_header(self.options, keys.flatten().map(AsRef::as_ref), true)?
        } else {
            mux::root_header(self.options, &self.roots)
        };
        let common: Vec<Kid> = match self.roots.is_empty() {
            true => kids_of(self.ciphers().iter().flatten().map(AsRef::as_ref)),
            // The keys of root licenses decrypt no samples: readers that know nothing of them find none here.
            false => Vec::new(),
        };
        mux::movie_headers(self.options, &header, &common)
    }

    /// Goes on to the next fragment, in which the leading track begins at `time`, and gives the ciphers of its tracks,
    /// if they are others than those of the one before it.
    pub(super) fn advance(
        &mut self,
        time: Option<u64>,
        plans: &[TrackPlan<'_>],
    ) -> Result<Option<&[Option<Arc<TrackCipher>>]>, PackagerError> {
        let at = self.reached;
        self.reached = at.saturating_add(1);
        let Some(index) = self.timeline.period(at, time)? else {
            return Ok(None);
        };
        if self.current.as_ref().is_none_or(|current| current.index != index) {
            self.enter(at, index, plans)?;
        } else if self.seen.is_some_and(|(.., last, _)| last == index) {
            return Ok(None);
        }
        let leaves = self
            .current
            .as_ref()
            .map_or(0, |current| current.leaves.len() as u64);
        let (first, _, licenses) = self.seen.unwrap_or((index, index, 0));
        self.seen = Some((first, index, licenses.saturating_add(leaves)));
        Ok(self.current.as_ref().map(|current| current.ciphers.as_slice()))
    }

    /// The `pssh` boxes of a fragment that has samples under `keys`.
    pub(super) fn fragment_headers(
        &mut self,
        keys: &[&TrackCipher],
    ) -> Result<Vec<Node<'static>>, PackagerError> {
        let Some(current) = &mut self.current else {
            return Ok(Vec::new());
        };
        let kids = kids_of(keys.iter().copied());
        if let Some((of, headers)) = &current.headers
            && *of == kids
        {
            return Ok(headers.clone());
        }
        let next = ciphers_of(self.next.as_ref()).iter().flatten();
        let named = keys.iter().copied().chain(next.map(AsRef::as_ref));
        let header = mux::content_header(self.options, named, true)?;
        let riding = current.leaves.iter().filter(|leaf| kids.contains(&leaf.kid));
        let riding: Vec<&[u8]> = riding.map(|leaf| leaf.license.as_slice()).collect();
        let headers = mux::fragment_headers(self.options, &header, &kids, &riding)?;
        current.headers = Some((kids, headers.clone()));
        Ok(headers)
    }

    /// What there was.
    pub(super) fn periods(&self) -> Option<ProtectedPeriods> {
        let (first, last, licenses) = self.seen?;
        Some(ProtectedPeriods {
            first,
            last,
            roots: self.roots.clone(),
            licenses,
        })
    }

    /// Makes `index`, the period of the fragment `at`, the current one.
    fn enter(&mut self, at: usize, index: u64, plans: &[TrackPlan<'_>]) -> Result<(), PackagerError> {
        let current = match self.next.take().filter(|next| next.index == index) {
            Some(next) => next,
            None => self.period(at, index, plans)?,
        };
        self.current = Some(current);
        if self.stacks {
            self.next = self.following(at, index, plans)?;
        }
        Ok(())
    }

    /// The period behind `index`, that of the fragment `at`. Nothing needs the one behind the last fragment here, but
    /// whatever plays goes on: it is left out where there is none.
    fn following(
        &mut self,
        at: usize,
        index: u64,
        plans: &[TrackPlan<'_>],
    ) -> Result<Option<Period>, PackagerError> {
        if let Some((at, next)) = self.timeline.next(at) {
            return self.period(at, next, plans).map(Some);
        }
        let next = index.saturating_add(1);
        if next >= END_OF_PERIODS {
            return Ok(None);
        }
        if !self.holds(next) {
            match self.ask(at, next) {
                Ok((batch, count)) => self.keep(batch, next, count)?,
                Err(_) => return Ok(None),
            };
        }
        self.take(next, plans).map(Some)
    }

    /// The period `index`, that of the fragment `at`.
    fn period(&mut self, at: usize, index: u64, plans: &[TrackPlan<'_>]) -> Result<Period, PackagerError> {
        if !self.holds(index) {
            self.fetch(at, index)?;
        }
        self.take(index, plans)
    }

    fn holds(&self, index: u64) -> bool {
        self.ahead.iter().any(|period| period.index == index)
    }

    /// Has the keys of `index`, the period of the fragment `at`, and of others with it. The roots.
    fn fetch(&mut self, at: usize, index: u64) -> Result<Vec<Kid>, PackagerError> {
        let (batch, count) = self.ask(at, index)?;
        self.keep(batch, index, count)
    }

    /// Asks for `index`, the period of the fragment `at`, for those behind it that are needed, and for as many more as
    /// may be. What was given, and for how many periods.
    fn ask(&mut self, at: usize, index: u64) -> Result<(PeriodBatch, u64), PackagerError> {
        let most = self.source.most().max(1);
        let needed = self.timeline.run(at, index, most);
        let hoped = self.timeline.hoped(index, needed, most, self.stacks);
        // Nobody has to have keys behind the end of the media.
        if hoped > needed
            && let Ok(batch) = self.source.keys(index, hoped)
        {
            return Ok((batch, hoped));
        }
        Ok((self.source.keys(index, needed)?, needed))
    }

    /// Keeps the periods that were asked for in place of those that were ahead. The roots.
    fn keep(&mut self, batch: PeriodBatch, first: u64, count: u64) -> Result<Vec<Kid>, PackagerError> {
        let wanted = first..first.saturating_add(count);
        if !batch.periods.iter().map(|period| period.index).eq(wanted) {
            return Err(MediaError::OtherPeriods { first, count }.into());
        }
        self.ahead = batch.periods;
        Ok(batch.roots)
    }

    /// Takes the period `index` out of those ahead, and keeps those behind it. Its keys are others than those of the
    /// current one.
    fn take(&mut self, index: u64, plans: &[TrackPlan<'_>]) -> Result<Period, PackagerError> {
        let mut found = None;
        for period in core::mem::take(&mut self.ahead) {
            match period.index.cmp(&index) {
                core::cmp::Ordering::Less => {}
                core::cmp::Ordering::Equal => found = Some(period),
                core::cmp::Ordering::Greater => self.ahead.push(period),
            }
        }
        let period = found.ok_or(MediaError::OtherPeriods {
            first: index,
            count: 1,
        })?;
        let ciphers = tracks::ciphers(plans, &period.keys)?;
        for earlier in self.ciphers().iter().flatten() {
            if ciphers.iter().flatten().any(|cipher| cipher.kid == earlier.kid) {
                return Err(MediaError::KeyStays(earlier.kid).into());
            }
        }
        Ok(Period {
            index,
            ciphers,
            leaves: period.leaves,
            headers: None,
        })
    }
}

fn ciphers_of(period: Option<&Period>) -> &[Option<Arc<TrackCipher>>] {
    period.map_or(&[], |period| &period.ciphers)
}

/// The key ids of some keys, each once.
fn kids_of<'k>(keys: impl Iterator<Item = &'k TrackCipher>) -> Vec<Kid> {
    let mut kids = Vec::new();
    for TrackCipher { kid, .. } in keys {
        if !kids.contains(kid) {
            kids.push(*kid);
        }
    }
    kids
}

/// Embedded license stores of at most `room` bytes that hold these licenses, as few as that takes.
pub(super) fn stores(licenses: &[&[u8]], room: usize) -> Result<Vec<Vec<u8>>, MediaError> {
    let mut stores: Vec<(usize, EmbeddedStore)> = Vec::new();
    for license in licenses {
        let len = license.len().saturating_add(HEAD_LEN);
        let fits = |(taken, store): &&mut (usize, EmbeddedStore)| {
            taken.saturating_add(len) <= room && store.licenses().len() < MAX_LICENSES
        };
        match stores.last_mut().filter(fits) {
            Some((taken, store)) => {
                store.put(license).map_err(MediaError::Riding)?;
                *taken = taken.saturating_add(len);
            }
            None => {
                let mut store = EmbeddedStore::default();
                store.put(license).map_err(MediaError::Riding)?;
                stores.push((len.saturating_add(STORE_HEAD_LEN), store));
            }
        }
    }
    let written = stores.iter().map(|(len, store)| store.write((*len).min(room)));
    written.collect::<Result<_, _>>().map_err(MediaError::Riding)
}

/// Most bytes that CBOR puts in front of a license that fits.
const HEAD_LEN: usize = 3;
/// The length of a store, and most bytes that CBOR puts in front of its array.
const STORE_HEAD_LEN: usize = 6;
