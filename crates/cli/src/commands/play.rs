//! `keyward play`: opens a protected file and hands out its clear bytes, to a pipe, a file or a viewer.

use std::{
    io::{self, BufRead, ErrorKind, IsTerminal, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use keyward_client::{
    acquire::Wanted,
    decrypt::Watched,
    session::{Acquisition, Opened},
};
use keyward_packager::OutputSink;

use crate::{
    args::PlayArgs,
    client::Watcher,
    failure::{Failure, file_error, of_content},
    output::{FileSink, commit_error, differs},
    protected::{Content, Protected, Stopped, pour},
    report::{self, Report},
};

pub(crate) fn run(args: &PlayArgs, report: Report) -> Result<(), Failure> {
    if args.output.is_none() && args.viewer.is_empty() && io::stdout().is_terminal() {
        return Err(Failure::new(
            "the clear bytes would go to the terminal",
            "name a file (`--output FILE`), a viewer (`-- mpv -`), or pipe the output",
        ));
    }
    let mut protected = Protected::open(&args.file)?;
    // An output that is refused is refused before a license is acquired for it.
    let sink = match args.output.as_deref().filter(|output| *output != Path::new("-")) {
        Some(output) => {
            differs(&args.file, output)?;
            Some(FileSink::create(output, args.force)?)
        }
        None => None,
    };
    let watcher = Watcher::of(args.client.clone())?;
    let opened = open(&watcher, args, protected.content(), report)?;
    let clear = Clear::start(protected, opened, watcher, args)?;
    match sink {
        Some(sink) => into_file(clear, sink, args, report),
        None if args.viewer.is_empty() => copy(clear, &mut io::stdout().lock(), &args.file).map(drop),
        None => into_viewer(clear, &args.viewer, &args.file),
    }
}

/// Finds the licenses of the content, or acquires them.
fn open(watcher: &Watcher, args: &PlayArgs, content: Content, report: Report) -> Result<Opened, Failure> {
    let kids = content.kids.clone();
    let mut wanted = Wanted {
        license_url: args.server.clone(),
        authorization: args.authorization.token()?,
        ..Wanted::default()
    };
    content.ask_for(&mut wanted);
    let acquisition = if args.offline {
        Acquisition::Never
    } else {
        Acquisition::Reactive
    };
    let mut client = watcher.open()?;
    let mut opened = client
        .open_content(kids, wanted, acquisition)
        .map_err(|error| Failure::from(error).context(format!("cannot open {}", args.file.display())))?;
    if let Err(error) = client.renew(&mut opened) {
        report.note(&format!("no new license yet: {error}"));
    }
    for bound in &opened.bound {
        let outcomes = opened.acquired.iter().flat_map(|acquired| &acquired.outcomes);
        let origin = if { outcomes }.any(|(kid, _)| *kid == bound.kid()) {
            "acquired"
        } else {
            "from the store"
        };
        let key = match opened.bound.len() {
            0 | 1 => String::new(),
            _ => format!(" for key {}", bound.kid()),
        };
        report.note(&format!(
            "license {}{key} ({origin}), {}",
            bound.license(),
            report::until(bound.until())
        ));
        if let Some(end) = bound.playback_ends() {
            report.note(&format!("playing stops at {} (R-014)", report::time(end)));
        }
        if bound.is_in_grace() {
            report.note("the license has ended and is in its grace period (R-013)");
        }
    }
    Ok(opened)
}

/// The clear bytes that were asked for.
struct Clear(Box<dyn BufRead>);

impl Clear {
    fn start(
        protected: Protected,
        opened: Opened,
        watcher: Watcher,
        args: &PlayArgs,
    ) -> Result<Self, Failure> {
        let reader = protected
            .unlock(&opened, args.start)
            .map_err(file_error("open", &args.file))?;
        let reader = Watched::new(reader, watcher.watch(opened));
        Ok(Self(match args.length {
            Some(length) => Box::new(reader.take(length)),
            None => Box::new(reader),
        }))
    }
}

fn into_file(clear: Clear, mut sink: FileSink, args: &PlayArgs, report: Report) -> Result<(), Failure> {
    copy(clear, &mut sink, &args.file)?;
    let output = sink
        .commit()
        .map_err(commit_error(args.output.as_deref().unwrap_or(&args.file)))?;
    if !report.json {
        return Ok(());
    }
    let (file, output) = (args.file.display().to_string(), output.display().to_string());
    report.result("", &serde_json::json!({ "file": file, "output": output }))
}

fn into_viewer(clear: Clear, viewer: &[String], source: &Path) -> Result<(), Failure> {
    let Some((program, arguments)) = viewer.split_first() else {
        return Ok(());
    };
    let failed = |error| {
        Failure::new(
            format!("cannot run {program}: {error}"),
            "check the viewer's name and path",
        )
    };
    let mut child: Child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .env_remove("KEYWARD_KEK")
        .env_remove("KEYWARD_AUTHORIZATION")
        .env_remove("KEYWARD_ENROLMENT_TOKEN")
        .spawn()
        .map_err(failed)?;
    let copied = match child.stdin.take() {
        Some(mut stdin) => copy(clear, &mut stdin, source),
        None => Ok(Copied::Whole),
    };
    let status = child.wait().map_err(failed)?;
    copied?;
    if status.success() {
        // Also one that was closed early: it has seen what it wanted.
        return Ok(());
    }
    Err(Failure::new(
        format!("{program} ended with {status}"),
        "see the viewer's own messages",
    ))
}

enum Copied {
    Whole,
    ReaderClosed,
}

/// Copies clear bytes; tells the two sides' faults apart.
fn copy(mut clear: Clear, out: &mut dyn Write, source: &Path) -> Result<Copied, Failure> {
    match pour(&mut *clear.0, out) {
        Ok(()) => Ok(Copied::Whole),
        Err(Stopped::Writing(error)) => reader_closed(&error),
        Err(Stopped::Reading(error)) => Err(match of_content(&error) {
            Some(failure) => failure.context(format!("stopped playing {}", source.display())),
            None => file_error("read", source)(error),
        }),
    }
}

fn reader_closed(error: &io::Error) -> Result<Copied, Failure> {
    if error.kind() == ErrorKind::BrokenPipe {
        return Ok(Copied::ReaderClosed);
    }
    Err(Failure::new(
        format!("cannot write the clear bytes: {error}"),
        "check the free space and where the output goes",
    ))
}
