//! Opening the client, and what a person names to it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use keyward_client::{
    acquire::Wanted,
    error::one_line,
    install::{Acquired, AcquiredKey},
};
use keyward_client_native::{NativeClient, NativeError};

use crate::{
    args::{ClientDir, WantedArgs},
    failure::{Exit, Failure},
    protected::{Content, Protected},
    report::Report,
    transport::{Http, request_id},
};

/// Opens the client in its folder.
pub(crate) fn open(dir: ClientDir) -> Result<NativeClient, Failure> {
    open_folder(&folder(dir)?)
}

fn folder(dir: ClientDir) -> Result<PathBuf, Failure> {
    dir.client_dir.map_or_else(default_folder, Ok)
}

fn open_folder(folder: &Path) -> Result<NativeClient, Failure> {
    // Another program has the store for a moment only: wait for it.
    for _ in 0..PATIENCE {
        match NativeClient::open(folder, Box::new(Http::new())) {
            Err(NativeError::StoreInUse(_)) => std::thread::sleep(Duration::from_millis(50)),
            other => return Ok(other?),
        }
    }
    Ok(NativeClient::open(folder, Box::new(Http::new()))?)
}

/// Opens a client that is there. One that is not would be made, of which there is nothing to tell.
pub(crate) fn open_existing(dir: ClientDir) -> Result<NativeClient, Failure> {
    let folder = folder(dir)?;
    if !folder.join("device.keys").is_file() {
        return Err(Failure::new(
            format!("there is no client in {}", folder.display()),
            "name the folder that `--client-dir` names in `keyward enrol`",
        ));
    }
    open_folder(&folder)
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
        authorization: args.authorization,
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
                    "key {kid}: license {license} may not be stored and was not kept; `keyward play` acquires one when it plays"
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
                denial.url.as_deref().map_or_else(
                    || "obtain the right to this content from its provider, then try again".to_owned(),
                    |url| format!("see {}", one_line(url)),
                ),
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
