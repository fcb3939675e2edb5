//! Opening the client, and what a person names to it.

use std::{io, path::PathBuf, rc::Rc, time::Duration};

use keyward_client::{
    acquire::Wanted,
    enforce::Bound,
    error::one_line,
    host::{HostProfile, Unlisted},
    install::{Acquired, AcquiredKey},
    session::Opened,
    store::StoreLimits,
};
use keyward_client_native::{Clock, NativeClient, NativeError, Options, SystemClock};

use crate::{
    args::{ClientDir, WantedArgs},
    failure::{Exit, Failure, denial_hint},
    protected::{Content, Protected},
    report::Report,
    transport::{Http, request_id},
};

/// Opens the client in its folder.
pub(crate) fn open(dir: ClientDir) -> Result<NativeClient, Failure> {
    Watcher::of(dir)?.open()
}

/// What opens the client, again if it must: its folder, and the clock by which content plays.
pub(crate) struct Watcher {
    folder: PathBuf,
    limits: StoreLimits,
    clock: Rc<SystemClock>,
}

impl Watcher {
    pub(crate) fn of(dir: ClientDir) -> Result<Self, Failure> {
        Ok(Self {
            limits: dir.limits(),
            folder: folder(dir)?,
            clock: Rc::default(),
        })
    }

    /// The clock, whose monotonic part has one origin for every client that this opens.
    pub(crate) fn clock(&self) -> Rc<SystemClock> {
        Rc::clone(&self.clock)
    }

    /// Opens the client. Another program may have the store for a moment: it is waited for.
    pub(crate) fn open(&self) -> Result<NativeClient, Failure> {
        for _ in 0..PATIENCE {
            match self.try_open() {
                Err(NativeError::StoreInUse(_)) => std::thread::sleep(Duration::from_millis(50)),
                other => return Ok(other?),
            }
        }
        Ok(self.try_open()?)
    }

    fn try_open(&self) -> Result<NativeClient, NativeError> {
        let options = Options {
            clock: Box::new(Rc::clone(&self.clock)),
            host: profile(),
            limits: self.limits,
            ..Options::default()
        };
        NativeClient::open_with(&self.folder, Box::new(Http::new()), options)
    }

    /// says before every piece of content whether it may be handed out. The store is opened only where the
    /// answer may have changed, so that other programs can use it meanwhile.
    pub(crate) fn watch(self, mut opened: Opened) -> impl FnMut() -> io::Result<()> {
        move || {
            if opened.holds(self.clock.moment(), &Unlisted) {
                return Ok(());
            }
            let mut client = self.open().map_err(io::Error::other)?;
            let standing = client
                .go_on(&mut opened)
                .map_err(|error| io::Error::other(Failure::from(error)))?;
            // A license in memory would go with this client: that one is acquired when the old one is over.
            if standing.in_grace && opened.bound.iter().all(Bound::is_persistent) {
                client.renew(&mut opened).ok();
            }
            standing
                .check()
                .map_err(|error| io::Error::other(Failure::from(NativeError::Client(error))))
        }
    }
}

/// What this program is as a host. Clear bytes go to a pipe or a file, and it cannot tell where from there: so it
/// lists no outputs. It asks for every piece that it hands out, decodes nothing, and embeds nothing.
pub(crate) fn profile() -> HostProfile {
    HostProfile {
        outputs: Box::new(Unlisted),
        asks_while_playing: true,
        ..HostProfile::default()
    }
}

fn folder(dir: ClientDir) -> Result<PathBuf, Failure> {
    dir.client_dir.map_or_else(default_folder, Ok)
}

/// Opens a client that is there. One that is not would be made, of which there is nothing to tell.
pub(crate) fn open_existing(dir: ClientDir) -> Result<NativeClient, Failure> {
    let watcher = Watcher::of(dir)?;
    if !watcher.folder.join("device.keys").is_file() {
        return Err(Failure::new(
            format!("there is no client in {}", watcher.folder.display()),
            "name the folder that `--client-dir` names in `keyward enrol`",
        ));
    }
    watcher.open()
}

/// How often to try before a store that is in use is reported: for five seconds.
const PATIENCE: usize = 100;

/// Reads what was typed: a key id if it is one and no such file exists, else protected content.
pub(crate) fn content(typed: &str) -> Result<Content, Failure> {
    let path = PathBuf::from(typed);
    match typed.parse() {
        Ok(kid) if !path.exists() => Ok(Content {
            kids: vec![kid],
            header: None,
        }),
        _ => Ok(Protected::open(&path)?.content()),
    }
}

/// What to ask the license server for.
pub(crate) fn wanted(args: WantedArgs) -> Result<Wanted, Failure> {
    let mut wanted = Wanted {
        license_url: args.server,
        authorization: args.authorization.token()?,
        ..Wanted::default()
    };
    for typed in &args.content {
        content(typed)?.ask_for(&mut wanted);
    }
    Ok(wanted)
}

/// Prints what became of each key; a denial of any is a failure after all were printed.
pub(crate) fn report(report: Report, acquired: &Acquired) -> Result<(), Failure> {
    let (mut lines, mut keys, mut denied) = (Vec::new(), Vec::new(), None);
    for (kid, outcome) in &acquired.outcomes {
        let kid = kid.to_string();
        match outcome {
            AcquiredKey::Stored(license) => {
                lines.push(format!("key {kid}: license {license} stored"));
                keys.push(
                    serde_json::json!({ "kid": kid, "license": license.to_string(), "persistent": true }),
                );
            }
            AcquiredKey::InMemory(license) => {
                lines.push(format!(
                    "key {kid}: license {license} may not be stored and was not kept; what uses it acquires one then"
                ));
                keys.push(
                    serde_json::json!({ "kid": kid, "license": license.to_string(), "persistent": false }),
                );
            }
            AcquiredKey::Denied(denial) => {
                lines.push(format!("key {kid}: denied: {}", one_line(&denial.sentence)));
                keys.push(serde_json::json!({
                    "kid": kid,
                    "denied": { "code": denial.code, "sentence": denial.sentence, "url": denial.url },
                }));
                denied.get_or_insert((kid, denial));
            }
        }
    }
    report.result(&lines.join("\n"), &serde_json::json!({ "keys": keys }))?;
    match denied {
        None => Ok(()),
        Some((kid, denial)) => Err(Failure {
            exit: Exit::NotPermitted,
            request: Some(request_id()),
            ..Failure::new(
                format!(
                    "the license server denied a license for key {kid}: {}",
                    one_line(&denial.sentence)
                ),
                denial_hint(denial),
            )
        }),
    }
}

/// `keyward/client` in the user's data folder (XDG Base Directory Specification).
#[expect(clippy::disallowed_methods, reason = "the environment belongs to this crate")]
pub(crate) fn default_folder() -> Result<PathBuf, Failure> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/share")));
    data.map(|data| data.join("keyward/client"))
        .ok_or_else(|| Failure::new("the user has no home folder", "name a folder: `--client-dir DIR`"))
}
