//! Where the bytes of a packaging come from: files, or standard input, of which fragments are protected as they come
//! and everything else is kept in a file without a name until it is done.

use std::{
    fs::File,
    io::{self, BufReader, Chain, Cursor, ErrorKind, Read, Seek, Stdin},
    path::Path,
};

use getrandom::SysRng;
use keyward_content::media::{Matroska, WEBM_HEAD_LEN};
use keyward_packager::{
    MediaOptions, MediaStream, OutputSink, PackagerError, PipedMedia, ProtectedMedia, QualityTrack, Rotation,
    protect_media, protect_rotating, protect_rotating_stream, protect_stream, qualities,
};
use rand_core::UnwrapErr;

use crate::{
    failure::{Failure, file_error},
    joined::Joined,
    output::FileSink,
    protected::{Stopped, beginning, pour},
    report::Report,
};

/// Standard input from its first byte on, though that was looked at.
pub(super) type Piped = Chain<Cursor<Vec<u8>>, Stdin>;

/// Standard input, and the bytes that tell what it is.
pub(super) fn standard_input() -> Result<(Piped, Vec<u8>), Failure> {
    let failed = file_error("read", Path::new("-"));
    let mut input = io::stdin();
    let mut head = beginning(&mut input).map_err(&failed)?;
    if Matroska::begins(&head) {
        let more = u64::try_from(WEBM_HEAD_LEN).unwrap_or(u64::MAX);
        input
            .by_ref()
            .take(more)
            .read_to_end(&mut head)
            .map_err(&failed)?;
    }
    Ok((Cursor::new(head.clone()).chain(input), head))
}

/// The failure to derive the output's name.
pub(super) fn nameless() -> Failure {
    Failure::new(
        "standard input has no name to derive the output's from",
        "name one: `-o FILE`",
    )
}

/// Media that is to be protected.
pub(super) enum Input {
    /// A file, or several that are one.
    Files(Joined),
    /// What came through a pipe, whose parts are read out of order.
    Spooled(File),
    /// Fragments, as they come.
    Stream(MediaStream<Piped>),
}

impl Input {
    /// Looks at what comes through the pipe. What cannot be protected as it comes is kept beside the output.
    pub(super) fn of_pipe(piped: Piped, sink: &FileSink) -> Result<Self, Failure> {
        let other = match PipedMedia::open(piped).map_err(Failure::from)? {
            PipedMedia::Fragments(stream) => return Ok(Self::Stream(stream)),
            PipedMedia::Other(other) => other,
        };
        let mut spool = sink.spool()?;
        let kept = pour(&mut BufReader::with_capacity(1 << 16, other), &mut spool);
        kept.and_then(|()| spool.rewind().map_err(Stopped::Writing))
            .map_err(|stopped| match stopped {
                Stopped::Reading(error) => file_error("read", Path::new("-"))(error),
                Stopped::Writing(error) => Failure::new(
                    format!("cannot keep standard input in a temporary file: {error}"),
                    "make room beside the output, or send an MP4 in fragments (ffmpeg: `-movflags frag_keyframe+empty_moov`)",
                ),
            })?;
        Ok(Self::Spooled(spool))
    }

    /// The quality of each track that would be protected.
    pub(super) fn qualities(&mut self, name: &Path) -> Result<Vec<QualityTrack>, Failure> {
        match self {
            Self::Files(files) => qualities(files),
            Self::Spooled(file) => qualities(file),
            Self::Stream(stream) => stream.qualities(),
        }
        .map_err(|error| cannot_protect(name, error))
    }

    /// Protects it, under the keys of the options, or under those that change from one crypto period to the next.
    pub(super) fn protect<S: OutputSink>(
        self,
        name: &Path,
        sink: S,
        options: &MediaOptions,
        rotation: Option<Rotation<'_>>,
        report: Report,
    ) -> Result<ProtectedMedia<S::Output>, Failure> {
        let failed = file_error("read", name);
        let total = match &self {
            Self::Files(files) => Some(files.len()),
            Self::Spooled(file) => Some(file.metadata().map_err(&failed)?.len()),
            Self::Stream(_) => None,
        };
        let bar = report.progress(total);
        let (rng, progress) = (&mut UnwrapErr(SysRng), &mut |done| bar.set_position(done));
        let made = match (self, rotation) {
            (Self::Files(files), None) => protect_media(files, sink, options, rng, progress),
            (Self::Files(files), Some(keys)) => protect_rotating(files, sink, options, keys, rng, progress),
            (Self::Spooled(file), None) => protect_media(file, sink, options, rng, progress),
            (Self::Spooled(file), Some(keys)) => protect_rotating(file, sink, options, keys, rng, progress),
            (Self::Stream(stream), None) => protect_stream(stream, sink, options, rng, progress),
            (Self::Stream(stream), Some(keys)) => {
                protect_rotating_stream(stream, sink, options, keys, rng, progress)
            }
        };
        bar.finish_and_clear();
        made.map_err(|error| cannot_protect(name, error))
    }
}

fn cannot_protect(name: &Path, error: PackagerError) -> Failure {
    let ended = matches!(&error, PackagerError::Read(error) if error.kind() == ErrorKind::UnexpectedEof);
    let mut failure = Failure::from(error);
    if name != Path::new("-") {
        return failure.context(format!("cannot protect {}", name.display()));
    }
    if ended {
        "see why the program that writes into the pipe ended; nothing was left behind"
            .clone_into(&mut failure.hint);
    }
    failure.context("cannot protect standard input")
}
