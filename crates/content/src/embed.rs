//! Licenses that travel with content: the embedded license store, found and filled in place.
//!
//! ```text
//!   any-file container   magic │ header │ key commitment │ embedded license store │ chunks …
//!   MP4                  … moov( … pssh( PlayReady Object( header, embedded license store ))) …
//!                                                           └─ the only bytes that change
//! ```
//!
//! The room was reserved when the content was packaged, and stands outside of everything that is
//! authenticated. So licenses go in without the content key, and nothing in there is believed: each license is
//! judged by its own signature. `spec/content.md` has the format.
//!
//! A fill that is cut off in the middle leaves the old store, or one that readers take for empty.
//!
//! ```
//! use std::io::Cursor;
//! use keyward_content::{embed, file::{FileHeader, Sealer}, header::ContentHeader};
//! # use keyward_crypto::ContentKey;
//! # use keyward_license::ids::Kid;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([7; 32]);
//! # let (kid, key) = (Kid::random(&mut rng), ContentKey::random(&mut rng));
//! let object = ContentHeader::for_file(kid, None).to_object_bytes()?;
//! let header = FileHeader { store_len: 4096, ..FileHeader::new(object, kid) };
//! let (sealer, _) = Sealer::new(&key, &header, &mut rng)?;
//! let mut file = Cursor::new(sealer.prefix().to_vec());
//! assert_eq!(embed::find_store(&mut file)?.map(|place| place.end - place.start), Some(4096));
//! assert!(embed::read_store(&mut file)?.licenses.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::ops::Range;
use std::io::{self, Read, Seek, SeekFrom, Write};

use keyward_license::embedded::{EmbedError as Refused, EmbeddedStore};

use crate::{
    file::{FileError, LockedFile, MAGIC},
    header::Object,
    isobmff::{BoxError, BoxSpan, ScanError, TopBoxes, kind},
    media::{MAX_MOVIE_LEN, begins_like_mp4},
    pssh::{Pssh, SystemId},
};

/// What an embedded license store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Embedded {
    /// The signed licenses, none of them verified.
    pub licenses: Vec<Vec<u8>>,
    /// Whether the store is malformed, and was taken for an empty one.
    pub faulty: bool,
}

/// Where in a file its embedded license store is; nothing if no room was reserved for one. `source` is an
/// any-file container or an MP4.
///
/// # Errors
/// [`EmbedError`].
pub fn find_store(source: &mut (impl Read + Seek)) -> Result<Option<Range<u64>>, EmbedError> {
    source.rewind()?;
    let mut head = Vec::new();
    source.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head)?;
    source.rewind()?;
    let place = if head == MAGIC {
        let file = LockedFile::read_from(source).map_err(out_of_io)?;
        Some(file.embedded_store_range())
    } else if begins_like_mp4(&head) {
        find_in_movie(source)?
    } else {
        return Err(EmbedError::NotProtected);
    };
    Ok(place.filter(|place| !place.is_empty()))
}

/// The licenses in the embedded license store of a file; none where it has no such store.
///
/// # Errors
/// [`EmbedError`].
pub fn read_store(source: &mut (impl Read + Seek)) -> Result<Embedded, EmbedError> {
    match find_store(source)? {
        Some(place) => Ok(Embedded::of(&read(source, &place)?)),
        None => Ok(Embedded::default()),
    }
}

/// R-045: writes licenses into the embedded license store of a file, each in the place of one with the same id, or
/// the same key id and binding. All of them, or none. The store is what comes back.
///
/// `sync` makes what was written so far durable, before what comes next is written
/// ([`File::sync_data`](std::fs::File::sync_data)): the store is first marked as empty, then filled, then
/// marked as full.
///
/// # Errors
/// [`EmbedError`]; with [`EmbedError::NoStore`] and [`EmbedError::License`] the file is as it was.
pub fn embed<F: Read + Write + Seek>(
    file: &mut F,
    licenses: &[Vec<u8>],
    mut sync: impl FnMut(&mut F) -> io::Result<()>,
) -> Result<Embedded, EmbedError> {
    let place = find_store(file)?.ok_or(EmbedError::NoStore)?;
    let old = read(file, &place)?;
    let read = EmbeddedStore::read(&old);
    let faulty = read.is_err();
    let mut store = read.unwrap_or_default();
    for license in licenses {
        store.put(license)?;
    }
    let new = store.write(old.len())?;
    if new != old {
        fill(file, place.start, &new, &mut sync)?;
    }
    Ok(Embedded {
        licenses: store.into_licenses(),
        faulty,
    })
}

/// Bytes of the field that says how many behind it are licenses.
const LENGTH_LEN: usize = 4;

fn fill<F: Write + Seek>(
    file: &mut F,
    at: u64,
    store: &[u8],
    sync: &mut impl FnMut(&mut F) -> io::Result<()>,
) -> io::Result<()> {
    let (length, rest) = store.split_at(store.len().min(LENGTH_LEN));
    let rest_at = at.saturating_add(length.len() as u64);
    // A length of 0 with something behind it is malformed, which counts as empty; so does any part of a length.
    let none = vec![0; length.len()];
    for (at, bytes) in [(at, none.as_slice()), (rest_at, rest), (at, length)] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)?;
        file.flush()?;
        sync(file)?;
    }
    Ok(())
}

fn read(source: &mut (impl Read + Seek), place: &Range<u64>) -> io::Result<Vec<u8>> {
    let len = place.end.saturating_sub(place.start);
    let mut store = Vec::new();
    source.seek(SeekFrom::Start(place.start))?;
    source.by_ref().take(len).read_to_end(&mut store)?;
    if store.len() as u64 == len {
        Ok(store)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl Embedded {
    fn of(store: &[u8]) -> Self {
        let read = EmbeddedStore::read(store);
        Self {
            faulty: read.is_err(),
            licenses: read.unwrap_or_default().into_licenses(),
        }
    }
}

/// Record 3 of the first of Keyward's `pssh` boxes in the movie box that has one.
fn find_in_movie(source: &mut (impl Read + Seek)) -> Result<Option<Range<u64>>, EmbedError> {
    let mut boxes = TopBoxes::new(source)?;
    while let Some(found) = boxes.next().transpose()? {
        if found.kind() == kind::MOOV {
            let bytes = found.read(boxes.reader(), MAX_MOVIE_LEN)?;
            return find_in_boxes(&BoxSpan::parse(&bytes, found.offset)?);
        }
    }
    Ok(None)
}

fn find_in_boxes(moov: &BoxSpan<'_>) -> Result<Option<Range<u64>>, EmbedError> {
    for child in moov.children() {
        let child = child?;
        if child.kind() != kind::PSSH {
            continue;
        }
        // Boxes of strangers are none of ours, whatever they hold.
        let ours = Pssh::parse_body(child.body()).ok();
        let Some(pssh) = ours.filter(|pssh| pssh.system_id == SystemId::KEYWARD) else {
            continue;
        };
        if let Ok(Some(range)) = Object::store_range(&pssh.data) {
            let end = child.offset().saturating_add(child.bytes().len() as u64);
            // The data is the last field of the box.
            let object = end.saturating_sub(pssh.data.len() as u64);
            let place = |at: usize| object.saturating_add(at as u64);
            return Ok(Some(place(range.start)..place(range.end)));
        }
    }
    Ok(None)
}

fn out_of_io(error: io::Error) -> EmbedError {
    match FileError::within(&error) {
        Some(error) => EmbedError::File(error),
        None => EmbedError::Io(error),
    }
}

/// Why no license was read from content, or written into it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The file cannot be read, or not be written.
    #[error("the embedded license store cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// Neither an any-file container nor an MP4.
    #[error("the file is no protected content")]
    NotProtected,
    /// The any-file container is malformed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The MP4 is malformed.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// No room was reserved.
    #[error("the content has no room for embedded licenses")]
    NoStore,
    /// A license that is none, or for which there is no room left.
    #[error("the license is not embedded: {0}")]
    License(#[from] Refused),
}

impl EmbedError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io(_) => {
                "check that the file can be written; the license itself is kept in the license store"
            }
            Self::NotProtected => "name a file that Keyward protected",
            Self::File(error) => error.hint(),
            Self::Box(error) => error.hint(),
            Self::NoStore | Self::License(Refused::NoRoom { .. } | Refused::TooMany) => {
                "the license stays usable on this device; to embed it, have the content packaged with more room"
            }
            Self::License(_) => "give a license as the license server signed it",
        }
    }
}

impl From<ScanError> for EmbedError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Io(error) => Self::Io(error),
            ScanError::Box(error) => Self::Box(error),
        }
    }
}
