//! `keyward play`: opens a protected file and hands out its clear bytes, to a pipe, a file or a viewer.

use std::{
    io::{self, BufRead, ErrorKind, IsTerminal, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use keyward_client::{acquire::Wanted, decrypt::Watched, session::Acquisition};
use keyward_packager::OutputSink;

use crate::{
    args::PlayArgs,
    client::Watcher,
    commands::trust,
    failure::{Failure, file_error, of_content},
    output::{FileSink, commit_error, differs},
    playback::{Places, Playback, Played},
    protected::{Content, Protected, Stopped, pour},
    report::Report,
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
    let playback = open(args, protected.content(), report)?;
    let clear = Clear::start(protected, playback, args)?;
    match sink {
        Some(sink) => into_file(clear, sink, args, report),
        None if args.viewer.is_empty() => copy(clear, &mut io::stdout().lock(), &args.file).map(drop),
        None => into_viewer(clear, &args.viewer, &args.file),
    }
}

/// Finds the licenses of the content, or acquires them. Keys that become known while it plays come later.
fn open(args: &PlayArgs, content: Content, report: Report) -> Result<Playback, Failure> {
    let (kids, on_demand) = (content.kids.clone(), content.on_demand);
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
    let watcher = Watcher::of(args.client.clone())?;
    let mut client = watcher.open()?;
    let at_once = if on_demand { Vec::new() } else { kids.clone() };
    let opened = client.open_content(at_once, wanted, acquisition);
    let opened = opened.map_err(|error| {
        trust::explained(&mut client, error).context(format!("cannot open {}", args.file.display()))
    })?;
    let played = Played {
        file: &args.file,
        kids,
        on_demand,
        report,
    };
    Ok(Playback::start(watcher, client, opened, played))
}

/// The clear bytes that were asked for.
struct Clear(Box<dyn BufRead>);

impl Clear {
    fn start(protected: Protected, mut playback: Playback, args: &PlayArgs) -> Result<Self, Failure> {
        let failed = file_error("open", &args.file);
        let reader: Box<dyn BufRead> = match protected {
            Protected::Media(media) if media.is_on_demand() => {
                Box::new(Places::start(*media, playback, args.start).map_err(&failed)?)
            }
            protected => {
                let reader = protected.unlock(playback.opened(), args.start).map_err(&failed)?;
                Box::new(Watched::new(reader, move || {
                    playback.ask().map_err(io::Error::other)
                }))
            }
        };
        Ok(Self(match args.length {
            Some(length) => Box::new(reader.take(length)),
            None => reader,
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
