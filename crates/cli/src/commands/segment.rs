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
    report::Report,
    unfinished,
};

pub(crate) fn run(args: &SegmentArgs, report: Report) -> Result<(), Failure> {
    let (file, output) = (&args.file, &args.output);
    if fs::symlink_metadata(output).is_ok() {
        return Err(Failure::new(
            format!("{} is there already", output.display()),
            "name a folder that is not there, or remove this one",
        ));
    }
    let mut input = File::open(file).map_err(file_error("open", file))?;
    let found = segments(BufReader::new(&mut input)).map_err(|error| {
        let failure = Failure::from(error);
        failure.context(format!("cannot cut {}", file.display()))
    })?;

    let unfinished = unfinished::folder_beside(folder_of(output)).map_err(file_error("write", output))?;
    let write = |name: &str, ranges: &[Range<u64>]| write(&input, ranges, &unfinished.path().join(name));
    write("init.mp4", &found.initialisation)?;
    for (number, ranges) in (1..).zip(&found.media) {
        write(&format!("segment-{number:05}.m4s"), ranges)?;
    }
    // Durable before it has its name: a folder of this name is whole.
    sync(unfinished.path())
        .and_then(|()| fs::rename(unfinished.path(), output))
        .and_then(|()| sync(folder_of(output)))
        .map_err(file_error("write", output))?;

    let segments = found.media.len();
    report.result_beside(
        output,
        &format!("{}: init.mp4 and {segments} media segments", output.display()),
        &json!({ "output": output.display().to_string(), "segments": segments }),
    )
}

/// Copies the ranges into a new file.
fn write(mut input: &File, ranges: &[Range<u64>], path: &Path) -> Result<(), Failure> {
    let failed = file_error("write", path);
    let mut out = File::create_new(path).map_err(&failed)?;
    for range in ranges {
        let len = range.end.saturating_sub(range.start);
        input.seek(SeekFrom::Start(range.start)).map_err(&failed)?;
        let copied = io::copy(&mut input.take(len), &mut out).map_err(&failed)?;
        if copied != len {
            return Err(Failure::new(
                "the file became shorter while it was cut",
                "cut it when nothing writes to it any more",
            ));
        }
    }
    out.sync_all().map_err(failed)
}

/// Makes the names in a folder durable, where a folder can be opened.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}
