//! Media that comes through a pipe: fragments are protected as they come by, everything else has to become a
//! file first.

use std::io::{self, Chain, Cursor, ErrorKind, Read, Seek, SeekFrom};

use keyward_content::isobmff::{BoxSpan, Movie, ScanError, TopBox, kind};

use super::{probe::Layout, source::Source};
use crate::PackagerError;

/// Most bytes up to the end of the movie box. That of a film in fragments has some thousand.
const MAX_HEAD_LEN: u64 = 16 << 20;

/// What comes through a pipe.
#[derive(Debug)]
pub enum PipedMedia<R> {
    /// An MP4 in fragments, or an initialisation segment with media segments behind it, for
    /// [`protect_stream`](super::protect_stream).
    Fragments(MediaStream<R>),
    /// Anything else, from its first byte on: a progressive MP4, whose parts are read out of order, or no
    /// MP4 at all.
    Other(Chain<Cursor<Vec<u8>>, R>),
}

/// An MP4 in fragments that is read once, from its first byte to its last, in memory that does not grow with it.
///
/// One fragment is held at a time, of 128 MiB at most.
#[derive(Debug)]
pub struct MediaStream<R> {
    pub(super) source: Source<Pipe<R>>,
    pub(super) layout: Layout,
}

impl<R: Read> PipedMedia<R> {
    /// Reads up to the movie box, which says whether fragments follow.
    ///
    /// # Errors
    /// [`PackagerError::Read`]. What is wrong with the boxes is left to those who read them.
    pub fn open(pipe: R) -> Result<Self, PackagerError> {
        let mut source = Source::of_pipe(Pipe(pipe));
        match head(&mut source) {
            Ok(Some(layout)) => Ok(Self::Fragments(MediaStream { source, layout })),
            Err(ScanError::Io(error)) if error.kind() != ErrorKind::UnexpectedEof => {
                Err(PackagerError::Read(error))
            }
            _ => {
                let (came, pipe) = source.into_parts();
                Ok(Self::Other(Cursor::new(came).chain(pipe.0)))
            }
        }
    }
}

/// The parts up to the movie box, if it says that fragments follow.
fn head<R: Read>(source: &mut Source<Pipe<R>>) -> Result<Option<Layout>, ScanError> {
    let mut brands = None;
    let mut boxes = source.boxes()?;
    while let Some(found) = boxes.next().transpose()? {
        if found.end() > MAX_HEAD_LEN || is_media(&found) {
            break;
        }
        if found.kind() == kind::FTYP {
            brands = Some(found.read(boxes.reader(), MAX_HEAD_LEN)?);
        }
        if found.kind() == kind::MOOV {
            let movie = found.read(boxes.reader(), MAX_HEAD_LEN)?;
            let layout = Layout {
                brands,
                movie,
                movie_at: found.offset,
                fragments: None,
            };
            return Ok(announces_fragments(&layout.movie)?.then_some(layout));
        }
    }
    Ok(None)
}

fn is_media(found: &TopBox) -> bool {
    found.kind() == kind::MDAT || found.kind() == kind::MOOF
}

fn announces_fragments(movie: &[u8]) -> Result<bool, ScanError> {
    let movie = Movie::parse(&BoxSpan::parse(movie, 0)?)?;
    let announced = movie.span.child(kind::MVEX)?.is_some();
    Ok(announced && movie.tracks.iter().all(|track| track.tables.count() == 0))
}

/// A reader that nobody seeks in.
#[derive(Debug)]
pub(super) struct Pipe<R>(R);

impl<R: Read> Read for Pipe<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl<R> Seek for Pipe<R> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(ErrorKind::NotSeekable.into())
    }
}
