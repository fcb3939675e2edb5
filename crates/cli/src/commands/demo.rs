//! `keyward demo`: the whole loop on one file, told in the eleven steps of the main job, with what
//! really happened. Fails if what comes out differs from what went in.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use getrandom::SysRng;
use keyward_client::{
    acquire::Wanted,
    enforce::Availability,
    flow::{Answer, Outgoing},
    session::{Acquisition, Opened},
};
use keyward_client_native::{NativeClient, Transport};
use keyward_content::{file::LockedFile, header::ContentHeader};
use keyward_license::{ids::Kid, license::LicenseBody};
use keyward_packager::{KeySource, OutputSink, ProtectOptions, protect_file};
use rand_core::UnwrapErr;
use serde_json::json;

use crate::{
    args::DemoArgs,
    failure::{Failure, file_error},
    operator::{Operator, Serving},
    output::FileSink,
    report::{self, Report},
    transport::Http,
    unfinished,
};

/// What is protected if no file is named.
const SAMPLE: &[u8] = include_bytes!("../../sample/lighthouse.txt");

pub(crate) fn run(args: DemoArgs, report: Report) -> Result<(), Failure> {
    if let Some(file) = &args.file {
        File::open(file).map_err(file_error("open", file))?;
    }
    let place = Place::make(args.keep)?;
    let input = place.input(args.file)?;
    let story = Story { report };

    let (operator, serving) = prepare(&place, story)?;
    let protected = protect(&place, &input, &operator, &serving, story)?;
    let device = Device::new(&place, &operator, story)?;
    let first = play_reactively(&device, &protected, story)?;
    story.say("        The license server stops.");
    serving.stop()?;
    drop(operator);
    let second = play_from_store(&device, &protected, story)?;
    compare(&input, &[&first, &second], story)?;

    if place.kept {
        story.say(&format!("All of it is in {}.", place.folder.display()));
    }
    report.result(
        "The demo played the file twice, and both copies equal the original.",
        &json!({
            "kid": protected.kid.to_string(),
            "input_bytes": protected.clear_len,
            "protected_bytes": protected.sealed_len,
            "identical": true,
        }),
    )
}

/// The folder that everything happens in.
struct Place {
    folder: PathBuf,
    kept: bool,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn make(keep: Option<PathBuf>) -> Result<Self, Failure> {
        match keep {
            Some(folder) => {
                std::fs::create_dir(&folder).map_err(file_error("make", &folder))?;
                Ok(Self {
                    folder,
                    kept: true,
                    _temporary: None,
                })
            }
            None => {
                let temporary = unfinished::folder("keyward-demo-")
                    .map_err(file_error("make", Path::new("a temporary folder")))?;
                Ok(Self {
                    folder: temporary.path().to_path_buf(),
                    kept: false,
                    _temporary: Some(temporary),
                })
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn input(&self, file: Option<PathBuf>) -> Result<PathBuf, Failure> {
        match file {
            Some(file) => Ok(file),
            None => {
                let path = self.path("lighthouse.txt");
                std::fs::write(&path, SAMPLE).map_err(file_error("write", &path))?;
                Ok(path)
            }
        }
    }
}

/// Tells what happens, on standard error.
#[derive(Clone, Copy)]
struct Story {
    report: Report,
}

impl Story {
    fn step(self, number: u8, text: &str) {
        self.say(&format!("{number:>4}.   {}", text.replace('\n', "\n        ")));
    }

    fn say(self, text: &str) {
        self.report.note(text);
    }
}

/// Makes the operator and starts its license server on a free port of this machine.
fn prepare(place: &Place, story: Story) -> Result<(Operator, Serving), Failure> {
    let started = clock();
    let (operator, serving) = Operator::temporary(&place.path("operator"))?;
    story.say(&format!(
        "        An operator is made in {}: root of trust {}…, certificates, license key seed 1,\n        \
         database. Its license server answers at {}.",
        millis(started),
        short(&operator.profile().operator().to_string()),
        serving.url,
    ));
    Ok((operator, serving))
}

struct ProtectedFile {
    path: PathBuf,
    kid: Kid,
    clear_len: u64,
    sealed_len: u64,
}

/// Steps 1 to 3.
fn protect(
    place: &Place,
    input: &Path,
    operator: &Operator,
    serving: &Serving,
    story: Story,
) -> Result<ProtectedFile, Failure> {
    let mut rng = UnwrapErr(SysRng);
    let kid = Kid::random(&mut rng);
    let key = operator.derived_key(kid)?;
    story.step(
        1,
        &format!("The content key for key id {kid} is derived from license key seed 1."),
    );

    let started = clock();
    let path = place.path("protected.kw");
    let mut options = ProtectOptions::new(kid, KeySource::Vault(key));
    options.license_url = Some(serving.url.clone());
    options.name = input.file_name().map(|name| name.to_string_lossy().into_owned());
    let source = File::open(input).map_err(file_error("open", input))?;
    let total = source.metadata().map_err(file_error("read", input))?.len();
    let bar = story.report.progress(Some(total));
    let made = protect_file(
        source,
        FileSink::create(&path, false)?,
        &options,
        &mut rng,
        &mut |bytes| bar.set_position(bytes),
    )?;
    bar.finish_and_clear();
    let header = ContentHeader::for_file(kid, options.license_url.clone())
        .to_object_bytes()
        .map_err(|error| Failure::new(error, error.hint()))?;
    story.step(
        2,
        &format!(
            "A content header of {} bytes names the key id and the license server; {} are encrypted\nin {} into {}.",
            header.len(),
            bytes(made.plain_len),
            millis(started),
            bytes(made.sealed_len),
        ),
    );

    let travelled = place.path("received.kw");
    std::fs::copy(&path, &travelled).map_err(file_error("copy", &path))?;
    story.step(
        3,
        "The protected file travels to the user (here it is copied; any way will do).",
    );
    Ok(ProtectedFile {
        path: travelled,
        kid,
        clear_len: made.plain_len,
        sealed_len: made.sealed_len,
    })
}

/// The user's device.
struct Device {
    folder: PathBuf,
    outputs: PathBuf,
}

impl Device {
    /// Enrols a new device.
    fn new(place: &Place, operator: &Operator, story: Story) -> Result<Self, Failure> {
        let device = Self {
            folder: place.path("device"),
            outputs: place.folder.clone(),
        };
        operator.grant("demo", None, "default")?;
        let token = operator.enrolment_token("demo", 1, 2000)?;
        let (mut client, _) = device.open()?;
        let started = clock();
        let enrolled = client.enrol(operator.profile().clone(), token.expose().to_owned())?;
        story.say(&format!(
            "        Device {}… enrols in {}: certificate of security level {}, valid until {}.",
            short(&client.device_id()?.to_string()),
            millis(started),
            enrolled.security_level.unwrap_or_default(),
            report::time(enrolled.valid_until),
        ));
        Ok(device)
    }

    /// Opens the client component afresh, as a new process would, with a record of what it sends.
    fn open(&self) -> Result<(NativeClient, Exchanges), Failure> {
        let exchanges = Rc::new(RefCell::new(Vec::new()));
        let transport = Recording {
            http: Http::new(),
            exchanges: Rc::clone(&exchanges),
        };
        Ok((NativeClient::open(&self.folder, Box::new(transport))?, exchanges))
    }
}

/// What a client has sent and received.
type Exchanges = Rc<RefCell<Vec<Exchange>>>;

/// One request and its answer.
struct Exchange {
    sent: usize,
    received: usize,
    took: Duration,
}

struct Recording {
    http: Http,
    exchanges: Exchanges,
}

impl Transport for Recording {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String> {
        let started = clock();
        let answer = self.http.send(outgoing)?;
        let exchange = Exchange {
            sent: outgoing.body.len(),
            received: answer.body.len(),
            took: started.elapsed(),
        };
        self.exchanges.borrow_mut().push(exchange);
        Ok(answer)
    }
}

/// Steps 4 to 11, with an empty license store.
fn play_reactively(device: &Device, file: &ProtectedFile, story: Story) -> Result<PathBuf, Failure> {
    let (mut client, exchanges) = device.open()?;
    story.step(
        4,
        "The player asks the client component whether the file can be played.",
    );
    let found = client.find(file.kid)?;
    if found != Availability::Missing {
        return Err(wrong("the new license store is not empty"));
    }
    story.step(
        5,
        "The client looks in its license store: no license for this key.",
    );

    let (opened, locked) = open(&mut client, file, Acquisition::Reactive)?;
    let exchanges = exchanges.borrow();
    let exchange = exchanges
        .last()
        .ok_or_else(|| wrong("no license request was sent"))?;
    if opened.acquired.is_none() {
        return Err(wrong("the license was not acquired"));
    }
    let terms = stored_terms(&mut client, file.kid)?;
    story.step(
        6,
        &format!(
            "It makes a license request of {}: content header and device information, signed by the\n\
             device, sealed to the license server.",
            bytes(exchange.sent as u64),
        ),
    );
    story.step(
        7,
        "The server derives the same content key from seed 1 and the key id, and seals it to the device.",
    );
    story.step(
        8,
        &format!(
            "It makes license {}…, puts the sealed key in, records it, and signs it.",
            short(&terms.id.to_string())
        ),
    );
    story.step(
        9,
        &format!(
            "The response of {} travels back; the exchange took {:.1?}.",
            bytes(exchange.received as u64),
            exchange.took
        ),
    );
    story.step(
        10,
        &format!(
            "The client verifies signatures, certificate chain and dates, and stores the license\n({}).",
            describe(&terms),
        ),
    );
    let output = device.outputs.join("played-1");
    let took = decrypt(&opened, locked, file, &output)?;
    story.step(
        11,
        &format!(
            "It decrypts {} in {:.1?} for the player.",
            bytes(file.clear_len),
            took
        ),
    );
    Ok(output)
}

/// Steps 4, 5 and 11 again, by a new client over the same store, with nobody to ask.
fn play_from_store(device: &Device, file: &ProtectedFile, story: Story) -> Result<PathBuf, Failure> {
    let (mut client, exchanges) = device.open()?;
    let started = clock();
    let (opened, locked) = open(&mut client, file, Acquisition::Reactive)?;
    if opened.acquired.is_some() || !exchanges.borrow().is_empty() {
        return Err(wrong("the second playback asked for a license"));
    }
    story.step(
        5,
        &format!(
            "A new player finds the license in the store in {}.",
            millis(started)
        ),
    );
    let output = device.outputs.join("played-2");
    let took = decrypt(&opened, locked, file, &output)?;
    story.step(
        11,
        &format!(
            "It decrypts {} in {:.1?}, without any server.",
            bytes(file.clear_len),
            took
        ),
    );
    Ok(output)
}

fn open(
    client: &mut NativeClient,
    file: &ProtectedFile,
    acquisition: Acquisition,
) -> Result<(Opened, (LockedFile, File)), Failure> {
    let mut source = File::open(&file.path).map_err(file_error("open", &file.path))?;
    let locked = LockedFile::read_from(&mut source).map_err(file_error("open", &file.path))?;
    let wanted = Wanted::header(locked.unverified_header().content_header.clone());
    let opened = client.open_content(vec![file.kid], wanted, acquisition)?;
    Ok((opened, (*locked, source)))
}

fn decrypt(
    opened: &Opened,
    (locked, source): (LockedFile, File),
    file: &ProtectedFile,
    output: &Path,
) -> Result<Duration, Failure> {
    let started = clock();
    let mut clear = opened.unlock(locked)?.stream(source);
    let mut sink = FileSink::create(output, false)?;
    io::copy(&mut clear, &mut sink).map_err(file_error("play", &file.path))?;
    sink.flush().map_err(file_error("write", output))?;
    let took = started.elapsed();
    sink.commit().map_err(file_error("write", output))?;
    Ok(took)
}

/// Compares the outputs with the input, byte for byte.
fn compare(input: &Path, outputs: &[&Path], story: Story) -> Result<(), Failure> {
    for output in outputs {
        if !equal(input, output)? {
            return Err(wrong(&format!("{} differs from the original", output.display())));
        }
    }
    story.say("        Both playbacks were compared with the original, byte for byte: nothing differs.");
    Ok(())
}

fn equal(left: &Path, right: &Path) -> Result<bool, Failure> {
    let open = |path: &Path| {
        File::open(path)
            .map(io::BufReader::new)
            .map_err(file_error("open", path))
    };
    let (mut left_bytes, mut right_bytes) = (open(left)?, open(right)?);
    loop {
        let (ours, theirs) = (
            left_bytes.fill_buf().map_err(file_error("read", left))?,
            right_bytes.fill_buf().map_err(file_error("read", right))?,
        );
        let common = ours.len().min(theirs.len());
        if common == 0 {
            return Ok(ours.is_empty() && theirs.is_empty());
        }
        if ours.get(..common) != theirs.get(..common) {
            return Ok(false);
        }
        left_bytes.consume(common);
        right_bytes.consume(common);
    }
}

fn stored_terms(client: &mut NativeClient, kid: Kid) -> Result<LicenseBody, Failure> {
    let licenses = client.licenses()?;
    let of_kid = |license: &LicenseBody| license.keys.iter().any(|key| key.kid == kid);
    licenses
        .into_iter()
        .find(of_kid)
        .ok_or_else(|| wrong("the license is not in the store"))
}

fn describe(terms: &LicenseBody) -> String {
    let begin = terms.begin.map_or_else(
        || "at once".to_owned(),
        |begin| format!("from {}", report::time(begin)),
    );
    format!("{begin}, {}", report::until(terms.end))
}

fn wrong(what: &str) -> Failure {
    Failure::new(
        format!("the demo went wrong: {what}"),
        "this is a fault of the program; please report it",
    )
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} bytes"),
        10_000..10_000_000 => format!("{} kB", count / 1000),
        _ => format!("{} MB", count / 1_000_000),
    }
}

fn millis(since: Instant) -> String {
    format!("{:.1?}", since.elapsed())
}

fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

#[expect(clippy::disallowed_methods, reason = "the story tells how long things took")]
fn clock() -> Instant {
    Instant::now()
}
