//! Opening the client, and what a person names to it.

use std::{path::PathBuf, rc::Rc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_client::{
    acquire::Wanted,
    error::one_line,
    host::{HostProfile, Unlisted},
    install::{Acquired, AcquiredKey},
    store::StoreLimits,
};
use keyward_client_native::{NativeClient, NativeError, Options, SystemClock};
use keyward_license::{
    error_code::ErrorCode,
    ids::{Digest, Kid, LicenseId},
    response::Denial,
};

use crate::{
    args::{ClientDir, WantedArgs},
    commands::trust,
    embedding,
    failure::{Exit, Failure, denial_hint},
    protected::{Content, Protected},
    report::{self, Report},
    transport::{Http, sent_request_id},
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
}

/// What this program is as a host. Clear bytes go to a pipe or a file, and it cannot tell where from there: so it
/// lists no outputs. It asks for every piece that it hands out, decodes nothing, and writes licenses that say so
/// into content.
pub(crate) fn profile() -> HostProfile {
    HostProfile {
        outputs: Box::new(Unlisted),
        asks_while_playing: true,
        embeds: true,
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

/// Something that was named to a command: protected content, or a key id.
pub(crate) struct Named {
    /// The content's file.
    pub(crate) file: Option<PathBuf>,
    pub(crate) content: Content,
}

/// Reads what was typed: a key id if it is one and no such file exists, else protected content, as `read` reads it.
pub(crate) fn named(typed: &str, read: fn(&mut Protected) -> Content) -> Result<Named, Failure> {
    let path = PathBuf::from(typed);
    match typed.parse() {
        Ok(kid) if !path.exists() => Ok(Named {
            file: None,
            content: Content {
                kids: vec![kid],
                ..Content::default()
            },
        }),
        _ => Ok(Named {
            content: read(&mut Protected::open(&path)?),
            file: Some(path),
        }),
    }
}

/// What to ask the license server for.
pub(crate) fn wanted(args: WantedArgs) -> Result<(Wanted, Vec<Asked>), Failure> {
    let mut wanted = Wanted {
        license_url: args.server,
        authorization: args.authorization.token()?,
        ..Wanted::default()
    };
    let mut asked = Vec::new();
    for typed in &args.content {
        let Named { file, content } = named(typed, Protected::content)?;
        asked.push(Asked {
            file,
            kids: content.kids.clone(),
            one_suffices: content.names_roots(),
        });
        content.ask_for(&mut wanted);
    }
    Ok((wanted, asked))
}

/// Content that licenses were asked for.
pub(crate) struct Asked {
    pub(crate) file: Option<PathBuf>,
    pub(crate) kids: Vec<Kid>,
    /// They are those of roots: one opens it as well as another.
    pub(crate) one_suffices: bool,
}

/// Prints what became of each key; a denial of any is a failure after all were printed, unless another key is as good.
pub(crate) fn report(report: Report, acquired: &Acquired, asked: &[Asked]) -> Result<(), Failure> {
    let (mut lines, mut keys, mut denied) = (Vec::new(), Vec::new(), None);
    for (kid, outcome) in &acquired.outcomes {
        let (line, fields) = told(*kid, outcome);
        lines.push(line);
        keys.push(fields);
        if let AcquiredKey::Denied(denial) = outcome
            && !has_another(acquired, *kid, asked)
        {
            denied.get_or_insert((kid, denial));
        }
    }
    if let Some(at) = acquired.renew_at {
        lines.push(format!(
            "what comes next is to be asked for from {} on (R-046)",
            report::time(at)
        ));
    }
    if let Some(text) = acquired.custom_data.as_deref() {
        let text = String::from_utf8_lossy(text);
        lines.push(format!("the service's own data: {}", report::quoted(&text)));
    }
    let embedded: Vec<_> = embedding::into_all(acquired, asked, report)
        .iter()
        .map(ToString::to_string)
        .collect();
    let json = serde_json::json!({
        "keys": keys,
        "renew_at": acquired.renew_at.map(|at| at.0),
        "embedded": embedded,
        "custom_data": acquired.custom_data.as_deref().map(|data| STANDARD.encode(data)),
        "lists": trust::taken(&acquired.lists, report),
        "transaction": acquired.transaction.map(|transaction| transaction.to_string()),
    });
    report.result(&lines.join("\n"), &json)?;
    match denied {
        None => Ok(()),
        Some((kid, denial)) => Err(Failure {
            exit: Exit::NotPermitted,
            page: denial.url.clone(),
            code: Some(denial.code),
            request: sent_request_id(),
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

/// Whether all that this key was asked for can be opened by another one that there is a license for.
fn has_another(acquired: &Acquired, kid: Kid, asked: &[Asked]) -> bool {
    let is_there = |kid: &Kid| {
        let mut outcomes = acquired.outcomes.iter();
        outcomes.any(|(other, outcome)| other == kid && !matches!(outcome, AcquiredKey::Denied(_)))
    };
    let mut for_it = asked.iter().filter(|asked| asked.kids.contains(&kid)).peekable();
    for_it.peek().is_some() && for_it.all(|asked| asked.one_suffices && asked.kids.iter().any(is_there))
}

/// What became of a key, for people and for programs.
fn told(kid: Kid, outcome: &AcquiredKey) -> (String, serde_json::Value) {
    let of_license = |license: &LicenseId, persistent: bool| {
        serde_json::json!({
            "kid": kid.to_string(),
            "license": license.to_string(),
            "persistent": persistent,
        })
    };
    match outcome {
        AcquiredKey::Stored(license) => (
            format!("key {kid}: license {license} stored"),
            of_license(license, true),
        ),
        AcquiredKey::InMemory(license) => (
            format!(
                "key {kid}: license {license} may not be stored and was not kept; what uses it acquires one then"
            ),
            of_license(license, false),
        ),
        AcquiredKey::Denied(denial) => (
            format!("key {kid}: denied: {}{}", one_line(&denial.sentence), see(denial)),
            serde_json::json!({
                "kid": kid.to_string(),
                "denied": {
                    "code": denial.code,
                    "name": ErrorCode::from_number(denial.code).map(ErrorCode::name),
                    "sentence": denial.sentence,
                    "url": denial.url,
                },
            }),
        ),
    }
}

/// The name of an operator that this device is enrolled with.
pub(crate) fn operator_name(client: &NativeClient, operator: Digest) -> String {
    let mut operators = client.operators();
    let known = operators.find(|profile| profile.operator() == operator);
    known.map_or_else(
        || operator.to_string(),
        |profile| one_line(&profile.name).to_string(),
    )
}

/// The same for people, who are told that an operator is one for tests.
pub(crate) fn operator_words(client: &NativeClient, operator: Digest) -> String {
    let mark = match is_test_operator(client, operator) {
        true => " (a test operator)",
        false => "",
    };
    format!("{}{mark}", operator_name(client, operator))
}

/// Whether an operator that this device is enrolled with is one for tests.
pub(crate) fn is_test_operator(client: &NativeClient, operator: Digest) -> bool {
    let mut enrolments = client.enrolments();
    enrolments.any(|known| known.profile().operator() == operator && known.is_test())
}

/// The page that a denial names.
fn see(denial: &Denial) -> String {
    let page = denial.url.as_deref();
    page.map_or_else(String::new, |page| format!(" (see {})", one_line(page)))
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
