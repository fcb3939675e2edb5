//! `keyward segment`: cuts an MP4 into the files that a streaming server hands out one by one.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use keyward_packager::segments;
use serde_json::json;

use crate::{
    args::SegmentArgs,
    failure::{Failure, file_error},
    output::folder_of,
    protected::{Stopped, pour},
    report::Report,
    unfinished,
};

pub(crate) fn run(args: &SegmentArgs, report: Report) -> Result<(), Failure> {
    let (file, output) = (&args.file, &args.output);
    if [file, output].iter().any(|path| **path == Path::new("-")) {
        return Err(Failure::new(
            "a pipe is not cut, and segments do not go into one",
            "name a file, and a folder for its segments",
        ));
    }
    if fs::symlink_metadata(output).is_ok() {
        return Err(Failure::new(
            format!("{} exists already", output.display()),
            "name a folder that is not there, or remove this one",
        ));
    }
    let mut cutting = Cutting {
        input: BufReader::with_capacity(PIECE, File::open(file).map_err(file_error("open", file))?),
        args,
    };
    let found = segments(&mut cutting.input).map_err(|error| {
        let failure = Failure::from(error);
        failure.context(format!("cannot cut {}", file.display()))
    })?;

    let unfinished = unfinished::folder_beside(folder_of(output)).map_err(file_error("write", output))?;
    cutting.write(unfinished.path(), "init.mp4", &found.initialisation)?;
    for (number, ranges) in (1..).zip(&found.media) {
        cutting.write(unfinished.path(), &format!("segment-{number:05}.m4s"), ranges)?;
    }
    // Durable before it has its name: a folder of this name is whole.
    sync(unfinished.path())
        .and_then(|()| unfinished::finish(unfinished, output))
        .and_then(|()| sync(folder_of(output)))
        .map_err(file_error("write", output))?;

    let segments = found.media.len();
    report.result(
        &format!("{}: init.mp4, media segments: {segments}", output.display()),
        &json!({ "output": output.display().to_string(), "segments": segments }),
    )
}

/// Bytes that are copied at once.
const PIECE: usize = 1 << 18;

struct Cutting<'a> {
    input: BufReader<File>,
    args: &'a SegmentArgs,
}

impl Cutting<'_> {
    /// Copies the ranges into a new file of the folder. Errors name what the files are called when all is written.
    fn write(&mut self, folder: &Path, name: &str, ranges: &[Range<u64>]) -> Result<(), Failure> {
        let SegmentArgs { file, output } = self.args;
        let named = output.join(name);
        let (unread, unwritten) = (file_error("read", file), file_error("write", &named));
        let mut out = File::create_new(folder.join(name)).map_err(&unwritten)?;
        for range in ranges {
            self.input.seek(SeekFrom::Start(range.start)).map_err(&unread)?;
            let mut input = (&mut self.input).take(range.end.saturating_sub(range.start));
            pour(&mut input, &mut out).map_err(|stopped| match stopped {
                Stopped::Reading(error) => unread(error),
                Stopped::Writing(error) => unwritten(error),
            })?;
            if input.limit() > 0 {
                return Err(Failure::new(
                    format!("{} became shorter while it was cut", file.display()),
                    "cut it when nothing writes to it any more",
                ));
            }
        }
        out.sync_all().map_err(unwritten)
    }
}

/// Makes the names in a folder durable, where a folder can be opened.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}
