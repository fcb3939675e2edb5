//! The client's side of the main job, in its numbered steps.

use std::collections::BTreeSet;

use keyward_content::{
    cenc::{Pattern, SampleCipher, Scheme},
    file::{FileError, LockedFile, Opener},
    media::{KeyError, KeyRing},
};
use keyward_license::{
    ids::{Kid, LicenseId},
    license::Resolution,
    time::Timestamp,
    usage_rules::{Action, Refusal},
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    acquire::Wanted,
    asking::Asking,
    bound::{Bound, Keys},
    choose::{Chosen, Stop, Unusable},
    clock::Pace,
    device::KeyStore,
    enforce::Question,
    flow::Io,
    install::Acquired,
    lists::Changes,
    patience::Occasion,
    riding::Riding,
};

/// Whether a flow may talk to the license server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquisition {
    /// If no stored license permits the action, acquire one and go on.
    Reactive,
    /// Use what is in the store.
    Never,
}

/// Content that was opened, and its playback as it goes on.
///
/// A protected file is unlocked with it ([`Opened::unlock`]); for protected media it has the
/// [`KeyRing`] ([`Opened::keys`]). Whoever hands out content asks
/// [`Opened::holds`] for every piece, and [`Client::go_on`] when that says no.
#[derive(Debug)]
pub struct Opened {
    /// The released keys, one for each key id that was asked for, in that order; then those that were reached later
    /// ([`Client::reach`]), while they are needed.
    pub bound: Vec<Bound>,
    /// What was acquired on the way, if anything had to be: when it was opened, or later to play on. Whoever has read
    /// it takes it out.
    pub acquired: Option<Acquired>,
    pub(crate) keys: Keys,
    pub(crate) action: Action,
    pub(crate) pace: Pace,
    pub(crate) wanted: Wanted,
    pub(crate) acquisition: Acquisition,
    pub(crate) frame_changed: bool,
    /// What has become known of trust, and how much of that was there when the rules were last asked.
    pub(crate) changes: Changes,
    pub(crate) trusted: u64,
    /// Licenses in grace for which a new one was asked for.
    pub(crate) renewed: Vec<LicenseId>,
    pub(crate) renewal: Renewal,
    pub(crate) asking: Asking,
    pub(crate) riding: Riding,
    /// What the content needed where it came to last, and how many such places there were: what was there when it was
    /// opened counts as the place before the first.
    pub(crate) latest: Needs,
    pub(crate) places: u64,
}

/// What content needs at a place, and what rides there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Key ids of what is protected there.
    pub kids: Vec<Kid>,
    /// V-039: the signed licenses that ride there.
    pub licenses: Vec<Vec<u8>>,
    /// Content headers (PlayReady Objects) that stand there.
    pub content_headers: Vec<Vec<u8>>,
}

/// when to ask for what comes next, by the time of the playback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Renewal {
    /// From when on: as far from the answer as the server has drawn it, so that clocks need not agree.
    pub(crate) at: Option<Timestamp>,
    /// That time has come.
    pub(crate) is_due: bool,
}

impl Opened {
    /// Unlocks a protected file with the key that was released for it.
    ///
    /// # Errors
    /// [`FileError::WrongKey`] if no key for files was released under the file's key id.
    pub fn unlock(&self, file: LockedFile) -> Result<Opener, FileError> {
        let bound = self.bound.iter().find(|bound| bound.kid() == file.kid());
        bound.ok_or(FileError::WrongKey)?.unlock(file)
    }

    /// The keys, for whoever reads the samples of media. They go with the playback's.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// the size of the frames that are to be decoded under a key, as the decoder has it. The next
    /// [`Client::go_on`] judges with it, and [`Opened::holds`] says no until then.
    pub fn set_frame(&mut self, kid: Kid, frame: Resolution) {
        let of_kid = self.bound.iter_mut().filter(|bound| bound.kid() == kid);
        for bound in of_kid.filter(|bound| bound.frame != Some(frame)) {
            bound.frame = Some(frame);
            self.frame_changed = true;
        }
    }
}

/// The keys as they are now.
impl KeyRing for Opened {
    fn cipher(&self, kid: Kid, scheme: Scheme, pattern: Pattern) -> Result<SampleCipher, KeyError> {
        self.keys.cipher(kid, scheme, pattern)
    }

    fn permits(&self, kid: Kid) -> Result<(), KeyError> {
        self.keys.permits(kid)
    }
}

/// Keys that are to be released: when content is opened, or while it plays.
pub(crate) struct Opening<'o> {
    pub(crate) kids: &'o [Kid],
    pub(crate) wanted: &'o Wanted,
    pub(crate) acquisition: Acquisition,
    pub(crate) action: Action,
    pub(crate) riding: &'o mut Riding,
    pub(crate) asking: &'o mut Asking,
    /// The time of the playback, if there is one.
    pub(crate) pace: Option<&'o mut Pace>,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 4 to 11 of the main job for the content that `wanted` describes and the keys that it needs.
    pub(crate) async fn run_open(
        &mut self,
        io: &Io,
        kids: &[Kid],
        wanted: Wanted,
        acquisition: Acquisition,
        action: Action,
    ) -> Result<Opened, ClientError> {
        let (mut riding, mut asking) = (Riding::default(), Asking::default());
        let trusted = self.changes.count();
        let opening = Opening {
            kids,
            wanted: &wanted,
            acquisition,
            action,
            riding: &mut riding,
            asking: &mut asking,
            pace: None,
        };
        let (bound, acquired) = self.run_release(io, opening).await?;
        let mut pace = Pace::default();
        pace.see(self.clocked(io), io.moment());
        let mut opened = Opened {
            bound: Vec::new(),
            acquired: None,
            keys: Keys::default(),
            action,
            pace,
            // What rode there is in `riding`.
            wanted: Wanted {
                licenses: Vec::new(),
                ..wanted
            },
            acquisition,
            frame_changed: false,
            changes: self.changes.clone(),
            trusted,
            renewed: Vec::new(),
            renewal: Renewal::default(),
            asking,
            riding,
            latest: Needs::default(),
            places: 0,
        };
        let now = opened.pace.now(io.moment());
        opened.join(bound, kids);
        opened.let_go_of_roots(now);
        opened.note_acquired(acquired, now);
        Ok(opened)
    }

    /// Steps 4 to 11 for some keys: releases all of them, or none.
    pub(crate) async fn run_release(
        &mut self,
        io: &Io,
        mut opening: Opening<'_>,
    ) -> Result<(Vec<Bound>, Option<Acquired>), ClientError> {
        let wanted = opening.wanted;
        // 4, 5: can it be opened with licenses in the store and in the content?
        let mut found = self.look(io, &mut opening).await?;
        let may_ask = opening.acquisition == Acquisition::Reactive && opening.asking.may(io.moment());
        let mut has_asked = false;
        // A license that only lacks a clock needs the time, and no other license.
        if may_ask && found.missing == Missing::Time {
            has_asked = true;
            opening.asking.begin(io.moment());
            self.run_ask_time(io, wanted, Occasion::Needed).await?;
            found = self.look(io, &mut opening).await?;
        }
        if found.missing != Missing::Nothing {
            let rootless = self.rootless(io, opening.kids, &wanted.licenses).await?;
            found.note_rootless(rootless);
        }
        // 6 to 10: if not, request them, and install what comes back.
        let acquired = if may_ask && found.missing != Missing::Nothing {
            let acquired = self.obtain(io, &mut opening, &found).await?;
            has_asked |= acquired.is_some();
            let roots = found.roots;
            found = self.look(io, &mut opening).await?;
            found.roots.extend(roots);
            acquired
        } else {
            None
        };
        // 11: bind the licenses, and release the keys: all of them, or none.
        if let Some(error) = found.error {
            let roots = found.roots;
            let denied = acquired.and_then(|acquired| acquired.denial(&roots));
            return Err(denied.unwrap_or(error));
        }
        if has_asked {
            opening.asking.has_all();
        }
        let question = Question::of(opening.action, found.now);
        let roots = &mut opening.riding.roots;
        let bound = self.release(io, found.chosen, &question, roots).await?;
        Ok((bound, acquired))
    }

    /// Asks for what is missing: first for the roots of leaves that are there and would be of use then, for whoever
    /// has the leaf needs no other; then for what is wanted. Nothing if neither was of use before.
    async fn obtain(
        &mut self,
        io: &Io,
        opening: &mut Opening<'_>,
        found: &Found,
    ) -> Result<Option<Acquired>, ClientError> {
        let (kids, wanted, moment) = (opening.kids, opening.wanted, io.moment());
        let roots = opening.asking.unasked(&found.roots, moment);
        let has_leaves = !found.roots.is_empty();
        if has_leaves && roots.is_empty() && opening.asking.unasked(kids, moment).is_empty() {
            return Ok(None);
        }
        opening.asking.begin(moment);
        let mut acquired = None;
        if !roots.is_empty() && !wanted.names_any(&roots)? {
            opening.asking.note(&roots);
            let narrowed = wanted.narrowed(roots.clone())?;
            let first = self.run_acquire(io, &narrowed, Occasion::Needed).await?;
            opening.asking.settle(&roots);
            if self.look(io, opening).await?.missing == Missing::Nothing {
                return Ok(Some(first));
            }
            acquired = Some(first);
        }
        let next = self.run_acquire(io, wanted, Occasion::Needed).await?;
        if has_leaves {
            opening.asking.settle(&next.denied(kids));
        }
        match next.denial(kids) {
            Some(denied) => Err(denied),
            None => Ok(Some(match acquired {
                Some(first) => first.and(next),
                None => next,
            })),
        }
    }

    /// The licenses that release the keys, and what keeps the others from it.
    async fn look(&mut self, io: &Io, opening: &mut Opening<'_>) -> Result<Found, ClientError> {
        // V-039: what rides there may have got its root meanwhile.
        let licenses = &opening.wanted.licenses;
        self.take_up(io, opening.kids, licenses, opening.riding).await?;
        let now = match &mut opening.pace {
            None => self.now(io),
            Some(pace) => {
                pace.see(self.clocked(io), io.moment());
                pace.now(io.moment())
            }
        };
        let question = Question {
            riding: &opening.riding.leaves,
            ..Question::of(opening.action, now)
        };
        let mut found = Found {
            now,
            chosen: Vec::with_capacity(opening.kids.len()),
            missing: Missing::Nothing,
            roots: Vec::new(),
            error: None,
        };
        for kid in opening.kids {
            match self.best(io, *kid, &question).await? {
                Ok(chosen) => found.chosen.push(chosen),
                Err(unusable) => {
                    self.remember_time(io, &unusable, now).await?;
                    found.note(*kid, unusable);
                }
            }
        }
        Ok(found)
    }
}

impl Opened {
    /// Has these keys too, and of the others those that are needed last: `needed` and a few more, so that a playback
    /// that goes through any number of keys stays as small as it is.
    pub(crate) fn join(&mut self, bound: Vec<Bound>, needed: &[Kid]) {
        let new: BTreeSet<_> = bound.iter().map(Bound::kid).collect();
        self.bound.retain(|old| !new.contains(&old.kid()));
        for mut bound in bound {
            bound.reached = self.places;
            if let Some(root) = bound.root_kid() {
                self.asking.has_served(root);
            }
            self.bound.push(bound);
        }
        let needed: BTreeSet<_> = needed.iter().copied().collect();
        let surplus = self.bound.len().saturating_sub(MOST_KEYS.max(needed.len()));
        let others = self.bound.iter().filter(|bound| !needed.contains(&bound.kid()));
        let mut others: Vec<_> = others.map(|bound| (bound.reached, bound.kid())).collect();
        // Of those of one place the first stay as they came.
        others.sort_by_key(|(reached, _)| *reached);
        let oldest: BTreeSet<_> = others.into_iter().take(surplus).map(|(_, kid)| kid).collect();
        self.bound.retain(|bound| !oldest.contains(&bound.kid()));
        self.keys.set(&self.bound);
        let kept: BTreeSet<_> = self.bound.iter().map(Bound::kid).collect();
        self.riding.keep(|kid| kept.contains(&kid));
    }

    /// Lets go of the keys of roots under which nothing is open any more, or nothing more can be opened.
    pub(crate) fn let_go_of_roots(&mut self, now: Option<Timestamp>) {
        let open = self.bound.iter().filter(|bound| bound.stopped().is_none());
        let serving: BTreeSet<_> = open
            .filter(|bound| bound.root.is_some() && bound.has_not_ended(now))
            .map(Bound::renewed)
            .collect();
        self.riding.roots.retain(|root| serving.contains(&root));
    }

    /// what was acquired, and when to ask for what comes next.
    pub(crate) fn note_acquired(&mut self, acquired: Option<Acquired>, now: Option<Timestamp>) {
        if let Some(acquired) = acquired {
            self.note_renewal(&acquired, now);
            self.acquired = Some(acquired);
        }
    }

    pub(crate) fn note_renewal(&mut self, acquired: &Acquired, now: Option<Timestamp>) {
        if let Some(at) = acquired.renew_at {
            let wait = self.asking.paced(at.0.saturating_sub(acquired.server_time.0));
            self.renewal = Renewal {
                at: Some(now.map_or(at, |now| now.plus(wait))),
                is_due: false,
            };
        }
    }
}

/// Most keys that are kept of a playback that reaches new ones.
const MOST_KEYS: usize = 64;

/// What was found in the store and in the content.
struct Found {
    now: Option<Timestamp>,
    /// The best license of each key that one permits to use.
    chosen: Vec<Chosen>,
    missing: Missing,
    /// Roots whose license would make leaves be of use that there are.
    roots: Vec<Kid>,
    /// Why the first key that has none has none.
    error: Option<ClientError>,
}

impl Found {
    /// V-037: leaves that ride in the content and lack their roots.
    fn note_rootless(&mut self, rootless: Vec<(Kid, Kid)>) {
        if let Some(ClientError::NoLicense { kid }) = self.error
            && let Some((_, root)) = rootless.iter().find(|(of, _)| *of == kid)
        {
            self.error = Some(ClientError::NoRoot { kid, root: *root });
        }
        self.roots.extend(rootless.into_iter().map(|(_, root)| root));
        self.roots.sort_unstable();
        self.roots.dedup();
    }

    fn note(&mut self, kid: Kid, unusable: Unusable) {
        self.missing = self.missing.max(match unusable.stop {
            Some(Stop::Refused(Refusal::NoUsableClock)) => Missing::Time,
            Some(stop) if !stop.may_be_helped() => Missing::Nothing,
            Some(_) | None => Missing::Licenses,
        });
        self.roots.extend(unusable.roots);
        let none = ClientError::NoLicense { kid };
        let error = unusable.stop.map_or(none, |stop| stop.of(kid));
        self.error.get_or_insert(error);
    }
}

/// What a license server can help with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Nothing,
    Time,
    Licenses,
}
