//! `keyward play`: opens a protected file and hands out its clear bytes, to a pipe, a file or a viewer.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal, Read, Seek, SeekFrom, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use keyward_client::{acquire::Wanted, session::Acquisition};
use keyward_content::file::{FileError, LockedFile, Opener};
use keyward_packager::OutputSink;

use crate::{
    args::PlayArgs,
    client,
    failure::{Failure, file_error},
    output::{FileSink, commit_error, differs},
    report::{self, Report},
};

pub(crate) fn run(args: &PlayArgs, report: Report) -> Result<(), Failure> {
    if args.output.is_none() && args.viewer.is_empty() && io::stdout().is_terminal() {
        return Err(Failure::new(
            "the clear bytes would go to the terminal",
            "name a file (`--output FILE`), a viewer (`-- mpv -`), or pipe the output",
        ));
    }
    let source = Source::open(&args.file)?;
    // An output that is refused is refused before a license is acquired for it.
    let sink = match args.output.as_deref().filter(|output| *output != Path::new("-")) {
        Some(output) => {
            differs(&args.file, output)?;
            Some(FileSink::create(output, args.force)?)
        }
        None => None,
    };
    let (opener, source) = unlock(args, source, report)?;
    let clear = Clear::start(opener, source, args)?;
    match sink {
        Some(sink) => into_file(clear, sink, args, report),
        None if args.viewer.is_empty() => copy(clear, &mut io::stdout().lock(), &args.file).map(drop),
        None => into_viewer(clear, &args.viewer, &args.file),
    }
}

/// A protected file, or standard input.
enum Source {
    File(File),
    Pipe(io::Stdin),
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Pipe(io::stdin()));
        }
        File::open(path).map(Self::File).map_err(file_error("open", path))
    }
}

/// Finds or acquires a license, and unlocks the file with its key.
fn unlock(args: &PlayArgs, mut source: Source, report: Report) -> Result<(Opener, Source), Failure> {
    let failed = file_error("open", &args.file);
    let locked = match &mut source {
        Source::File(file) => LockedFile::read_from(file),
        Source::Pipe(stdin) => LockedFile::read_from(stdin),
    }
    .map_err(&failed)?;
    let content = client::of_file(&locked);
    let wanted = Wanted {
        content_headers: content.header.into_iter().collect(),
        license_url: args.server.clone(),
        authorization: args.authorization.clone(),
        ..Wanted::default()
    };
    let acquisition = if args.offline {
        Acquisition::Never
    } else {
        Acquisition::Reactive
    };
    let doing = format!("cannot open {}", args.file.display());
    let mut client = client::open(crate::args::ClientDir {
        client_dir: args.client.client_dir.clone(),
    })?;
    let opened = client
        .open_content(vec![content.kid], wanted, acquisition)
        .map_err(|error| Failure::from(error).context(&doing))?;
    let origin = if opened.acquired.is_some() {
        "acquired"
    } else {
        "from the store"
    };
    for bound in &opened.bound {
        report.note(&format!(
            "license {} ({origin}), {}",
            bound.license(),
            report::until(bound.until())
        ));
    }
    Ok((
        opened
            .unlock(*locked)
            .map_err(|error| Failure::from(error).context(&doing))?,
        source,
    ))
}

/// The clear bytes that were asked for.
struct Clear(Box<dyn Read>);

impl Clear {
    fn start(opener: Opener, source: Source, args: &PlayArgs) -> Result<Self, Failure> {
        let failed = file_error("open", &args.file);
        let reader: Box<dyn Read> = match source {
            Source::File(file) if args.start > 0 => {
                let mut reader = opener.seekable(file).map_err(&failed)?;
                reader.seek(SeekFrom::Start(args.start)).map_err(&failed)?;
                Box::new(reader)
            }
            Source::File(file) => Box::new(opener.stream(file)),
            Source::Pipe(stdin) => {
                let mut reader = opener.stream(stdin);
                io::copy(&mut reader.by_ref().take(args.start), &mut io::sink()).map_err(&failed)?;
                Box::new(reader)
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
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = clear
            .0
            .read(&mut buffer)
            .map_err(|error| match FileError::within(&error) {
                Some(inner) => Failure::from(inner).context(format!("stopped playing {}", source.display())),
                None => file_error("read", source)(error),
            })?;
        let written = match buffer.get(..length) {
            None | Some([]) => {
                return out
                    .flush()
                    .map(|()| Copied::Whole)
                    .or_else(|error| reader_closed(&error));
            }
            Some(bytes) => out.write_all(bytes),
        };
        if let Err(error) = written {
            return reader_closed(&error);
        }
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
