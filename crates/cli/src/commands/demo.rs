//! `keyward demo`: the whole loop on one file, told in the eleven steps of the main job, with what
//! really happened. Fails if what comes out differs from what went in.

mod compare;
mod device;
mod protect;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::json;

use crate::{
    args::DemoArgs,
    failure::{Failure, file_error},
    operator::{Operator, Serving},
    report::Report,
    unfinished,
};

use compare::compare;
use device::Device;
use protect::{Form, protect};

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
    let first = device.play_reactively(&protected, story)?;
    story.say("        The license server stops.");
    serving.stop()?;
    drop(operator);
    let second = device.play_from_store(&protected, story)?;
    compare(protected.form, &input, &[&first, &second], story)?;

    if place.kept {
        story.say(&format!("All of it is in {}.", place.folder.display()));
    }
    let words = match protected.form {
        Form::File => "The demo played the file twice, and both copies equal the original.",
        Form::Media => "The demo played the film twice, and every sample equals the original.",
    };
    let kids: Vec<_> = protected.kids.iter().map(ToString::to_string).collect();
    report.result(
        words,
        &json!({
            "kids": kids,
            "media": protected.form == Form::Media,
            "input_bytes": protected.clear_len,
            "protected_bytes": protected.protected_len,
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
