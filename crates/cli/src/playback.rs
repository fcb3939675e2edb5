//! Content that plays, and the licenses that it plays under as it goes on.
//!
//! ```text
//!  Playback: store, what is opened, the clock
//!    ask      before every piece: may it still be handed out?                     R-043
//!    reach    before every place of content whose keys become known on the way    one key after the other
//! ```
//! The store is opened only where the answer may have changed, so that other programs can use it meanwhile. What is in
//! memory would go with the client: while keys on the way stand under such a license, it stays open.

use std::{
    fs::File,
    io::{self, BufRead, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use keyward_client::{
    bound::{Bound, Keys},
    host::Unlisted,
    install::Acquired,
    session::{Needs, Opened},
};
use keyward_client_native::{Clock, NativeClient, NativeError};
use keyward_content::media::{self, ClearView, LockedMedia};
use keyward_license::ids::{Kid, LicenseId};

use crate::{
    client::Watcher,
    embedding,
    failure::Failure,
    report::{self, Report},
};

/// A playback that goes on.
pub(crate) struct Playback {
    watcher: Watcher,
    /// Kept only for licenses in memory.
    client: Option<NativeClient>,
    opened: Opened,
    /// What plays, for licenses that are to be embedded in it.
    file: PathBuf,
    /// Its keys where it came to.
    kids: Vec<Kid>,
    on_demand: bool,
    /// Licenses that were told of.
    told: Vec<LicenseId>,
    report: Report,
}

/// What is to be played, and how.
pub(crate) struct Played<'p> {
    pub(crate) file: &'p Path,
    pub(crate) kids: Vec<Kid>,
    /// Keys become known on the way.
    pub(crate) on_demand: bool,
    pub(crate) report: Report,
}

impl Playback {
    /// Goes on with what was opened just now.
    pub(crate) fn start(watcher: Watcher, client: NativeClient, opened: Opened, played: Played<'_>) -> Self {
        let mut playback = Self {
            watcher,
            client: Some(client),
            opened,
            file: played.file.to_path_buf(),
            kids: played.kids,
            on_demand: played.on_demand,
            told: Vec::new(),
            report: played.report,
        };
        if let Err(error) = playback.renew() {
            playback.report.note(&format!("no new license yet: {error}"));
        }
        playback.tell(true);
        playback.let_go();
        playback
    }

    pub(crate) const fn opened(&self) -> &Opened {
        &self.opened
    }

    /// R-043: whether the next piece of content may be handed out.
    pub(crate) fn ask(&mut self) -> Result<(), Failure> {
        if self.opened.holds(self.watcher.clock().moment(), &Unlisted) {
            return Ok(());
        }
        let standing = self.with_client(NativeClient::go_on)?;
        // A license in memory would go with this client: that one is acquired when the old one is over.
        if self.on_demand || self.opened.bound.iter().all(Bound::is_persistent) {
            self.renew().ok();
        }
        self.tell(false);
        self.let_go();
        standing
            .check()
            .map_err(|error| NativeError::Client(error).into())
    }

    /// Content has come to a place whose keys must be there before it is read.
    pub(crate) fn reach(&mut self, needs: media::Needs) -> Result<(), Failure> {
        let is_first = self.opened.bound.is_empty();
        self.kids = needs.kids.clone();
        let needs = Needs {
            kids: needs.kids,
            licenses: needs.licenses,
            content_headers: needs.content_header.into_iter().collect(),
        };
        if self.opened.comes_to(&needs, self.watcher.clock().moment()) {
            return Ok(());
        }
        self.with_client(|client, opened| client.reach(opened, needs))?;
        self.tell(is_first);
        self.let_go();
        Ok(())
    }

    /// R-013, R-046
    fn renew(&mut self) -> Result<(), Failure> {
        if let Some(acquired) = self.with_client(NativeClient::renew)? {
            self.embed(&acquired);
        }
        Ok(())
    }

    fn with_client<T>(
        &mut self,
        does: impl FnOnce(&mut NativeClient, &mut Opened) -> Result<T, NativeError>,
    ) -> Result<T, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.watcher.open()?,
        };
        let client = self.client.insert(client);
        Ok(does(client, &mut self.opened)?)
    }

    /// Lets other programs use the store.
    fn let_go(&mut self) {
        let in_memory = self.opened.bound.iter().any(|bound| !bound.is_persistent());
        if !(self.on_demand && in_memory) {
            self.client = None;
        }
    }

    fn embed(&self, acquired: &Acquired) {
        embedding::into_content(acquired, &self.file, &self.kids, self.report);
    }

    /// Says under which licenses it plays: at first all, then those that were acquired.
    fn tell(&mut self, is_first: bool) {
        let acquired = self.opened.acquired.take();
        if let Some(acquired) = &acquired {
            self.embed(acquired);
        }
        if !is_first && acquired.is_none() {
            return;
        }
        for bound in &self.opened.bound {
            // Of a leaf, its root is what ends and is acquired.
            let ends = bound.root().unwrap_or_else(|| bound.terms());
            if self.told.contains(&ends.id) {
                continue;
            }
            if self.told.len() >= MOST_TOLD {
                self.told.clear();
            }
            self.told.push(ends.id);
            let ends_kid = ends.keys.first().map(|key| key.kid);
            let mut outcomes = acquired.iter().flat_map(|acquired| &acquired.outcomes);
            let is_acquired = outcomes.any(|(kid, _)| Some(*kid) == ends_kid);
            let several = self.on_demand || self.opened.bound.len() > 1;
            for line in words(bound, is_acquired, several) {
                self.report.note(&line);
            }
        }
    }
}

/// Licenses that are remembered to have been told of.
const MOST_TOLD: usize = 1024;

/// What is to be said of a key's license.
fn words(bound: &Bound, is_acquired: bool, several: bool) -> Vec<String> {
    let origin = if is_acquired { "acquired" } else { "from the store" };
    let until = report::until(bound.until());
    let mut lines = vec![match bound.root().zip(bound.terms().leaf_of()) {
        Some((license, root)) => format!(
            "license {} of root {root} ({origin}) with the leaf licenses under it, {until}",
            license.id
        ),
        None if several => format!(
            "license {} for key {} ({origin}), {until}",
            bound.license(),
            bound.kid()
        ),
        None => format!("license {} ({origin}), {until}", bound.license()),
    }];
    lines.extend(
        bound
            .playback_ends()
            .map(|end| format!("playing stops at {} (R-014)", report::time(end))),
    );
    if bound.is_in_grace() {
        lines.push("the license has ended and is in its grace period (R-013)".to_owned());
    }
    lines
}

/// The clear bytes of media whose keys become known on the way. What refuses to go on takes the reader away, with the
/// ciphers and the clear bytes in it.
pub(crate) struct Places {
    view: Option<ClearView<File, Keys>>,
    playback: Playback,
    /// The place that it came to.
    here: Range<u64>,
    position: u64,
    len: u64,
}

impl Places {
    /// Reads from `start` on. The keys of that place are there when this comes back.
    pub(crate) fn start(media: LockedMedia<File>, playback: Playback, start: u64) -> io::Result<Self> {
        let len = media.len();
        let mut view = media.clear_view(playback.opened().keys());
        view.seek(SeekFrom::Start(start))?;
        let mut places = Self {
            view: Some(view),
            playback,
            here: 0..0,
            position: start,
            len,
        };
        places.come_to(start)?;
        // Behind the movie box media begins: what cannot be played is said before its first byte.
        if start < len && places.here.start == 0 && places.playback.kids.is_empty() {
            let next = places.here.end;
            places.come_to(next)?;
            places.come_to(start)?;
        }
        Ok(places)
    }

    fn come_to(&mut self, at: u64) -> io::Result<()> {
        let Some(view) = self.view.as_mut().filter(|_| at < self.len) else {
            return Ok(());
        };
        let needs = view.needs_at(at)?;
        self.here = needs.range.clone();
        self.playback.reach(needs).map_err(io::Error::other)
    }
}

impl BufRead for Places {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let mut may_go_on = self.playback.ask().map_err(io::Error::other);
        if may_go_on.is_ok() && !self.here.contains(&self.position) {
            may_go_on = self.come_to(self.position);
        }
        if let Err(refused) = may_go_on {
            self.view = None;
            return Err(refused);
        }
        match &mut self.view {
            Some(view) => view.fill_buf(),
            None => Err(io::Error::other("playing was stopped")),
        }
    }

    fn consume(&mut self, amount: usize) {
        if let Some(view) = &mut self.view {
            view.consume(amount);
        }
        self.position = self
            .position
            .saturating_add(u64::try_from(amount).unwrap_or(u64::MAX));
    }
}

impl Read for Places {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}
