//! Protected content of either kind, told apart by its first bytes.

use std::{
    fs::File,
    io::{self, BufRead, Cursor, ErrorKind, Read, Seek, SeekFrom, Write},
    path::Path,
};

use keyward_client::{acquire::Wanted, session::Opened};
use keyward_content::{
    file::{LockedFile, MAGIC},
    header::ContentHeader,
    media::{LockedMedia, Matroska, Needs, begins_like_mp4},
};
use keyward_license::{embedded::EmbeddedStore, ids::Kid};

use crate::{
    failure::{Failure, file_error},
    webm,
};

/// Protected content that was opened, and not yet unlocked.
pub(crate) enum Protected {
    /// A file of any kind, and where its chunks are read.
    File(Box<LockedFile>, Source),
    /// An MP4.
    Media(Box<LockedMedia<File>>),
}

/// What a protected file is read from, behind its header.
pub(crate) enum Source {
    /// A file, which can be read from any place.
    File(File),
    /// Anything else.
    Pipe(Box<dyn Read>),
}

/// On which side copying stopped.
pub(crate) enum Stopped {
    Reading(io::Error),
    Writing(io::Error),
}

/// Copies all clear bytes, in the pieces in which they were decrypted.
pub(crate) fn pour(clear: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), Stopped> {
    loop {
        let piece = match clear.fill_buf() {
            Ok([]) => return out.flush().map_err(Stopped::Writing),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            piece => piece.map_err(Stopped::Reading)?,
        };
        out.write_all(piece).map_err(Stopped::Writing)?;
        let len = piece.len();
        clear.consume(len);
    }
}

/// What content says of itself: the keys it needs, its content header, and the licenses that travel with it.
#[derive(Default)]
pub(crate) struct Content {
    /// Where keys become known while it plays: those that its content header names, which may be of roots.
    pub(crate) kids: Vec<Kid>,
    pub(crate) header: Option<Vec<u8>>,
    /// Signed licenses in its embedded license store.
    pub(crate) licenses: Vec<Vec<u8>>,
    /// Keys become known while it plays.
    pub(crate) on_demand: bool,
}

/// Most parts of media that are looked at for the first one that needs a key.
const MOST_CLEAR_PARTS: usize = 1 << 16;

/// Bytes that tell an MP4 from a protected file.
const HEAD_LEN: u64 = 16;

impl Protected {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = file_error("open", path);
        if path == Path::new("-") {
            return Self::of_pipe(Box::new(io::stdin()), path);
        }
        let mut file = File::open(path).map_err(&failed)?;
        if !file.metadata().map_err(&failed)?.is_file() {
            return Self::of_pipe(Box::new(file), path);
        }
        let head = beginning(&mut file).map_err(&failed)?;
        if let Some(found) = webm::recognise(&head, &mut file, path)? {
            return Err(webm::cannot_open(path, found));
        }
        file.rewind().map_err(&failed)?;
        if begins_like_mp4(&head) {
            return Self::of_media(file, path);
        }
        let locked = LockedFile::read_from(&mut file).map_err(&failed)?;
        Ok(Self::File(locked, Source::File(file)))
    }

    fn of_media(file: File, path: &Path) -> Result<Self, Failure> {
        let media = LockedMedia::open(file)
            .map_err(|error| Failure::from(&error).context(format!("cannot open {}", path.display())))?;
        if !media.is_protected() {
            return Err(Failure::new(
                format!("cannot open {}: none of its tracks is protected", path.display()),
                "play it as it is, or name its protected form",
            ));
        }
        Ok(Self::Media(Box::new(media)))
    }

    fn of_pipe(mut pipe: Box<dyn Read>, path: &Path) -> Result<Self, Failure> {
        let failed = file_error("open", path);
        let head = beginning(&mut pipe).map_err(&failed)?;
        if begins_like_mp4(&head) {
            return Err(Failure::new(
                "an MP4 cannot be read from a pipe: its parts are read out of order",
                "name the file",
            ));
        }
        if let Some(found) = webm::recognise(&head, &mut pipe, path)? {
            return Err(webm::cannot_open(path, found));
        }
        let mut source = Cursor::new(head).chain(pipe);
        let locked = LockedFile::read_from(&mut source).map_err(&failed)?;
        Ok(Self::File(locked, Source::Pipe(Box::new(source))))
    }

    /// What it says of itself. Of media, all fragments are asked for their keys: those that change come into
    /// one license request.
    pub(crate) fn content(&mut self) -> Content {
        match self {
            Self::File(locked, _) => Content {
                kids: vec![locked.kid()],
                header: Some(locked.unverified_header().content_header.clone()),
                licenses: EmbeddedStore::read(locked.embedded_store())
                    .unwrap_or_default()
                    .into_licenses(),
                on_demand: false,
            },
            Self::Media(media) => {
                let on_demand = media.is_on_demand();
                // A fragment that cannot be read is an error where it is played, not here.
                let all = (!on_demand).then(|| media.all_kids().ok()).flatten();
                Content {
                    kids: all.unwrap_or_else(|| media.required_kids()),
                    header: media.content_header().map(<[u8]>::to_vec),
                    licenses: media.needs_at(0).map(|needs| needs.licenses).unwrap_or_default(),
                    on_demand,
                }
            }
        }
    }

    /// The same, where keys become known while it plays with what it needs at its first protected place.
    pub(crate) fn first_content(&mut self) -> Content {
        let content = self.content();
        match self {
            Self::Media(media) if content.on_demand => match first_place(media) {
                Some(needs) => Content {
                    kids: needs.kids,
                    header: needs.content_header.or(content.header),
                    licenses: [needs.licenses, content.licenses].concat(),
                    on_demand: true,
                },
                None => content,
            },
            _ => content,
        }
    }

    /// The clear bytes from `start` on, under the licenses that were opened.
    pub(crate) fn unlock(self, opened: &Opened, start: u64) -> io::Result<Box<dyn BufRead>> {
        match self {
            Self::Media(media) => from(media.clear_view(opened.keys()), start),
            Self::File(locked, source) => {
                let opener = opened.unlock(*locked)?;
                match source {
                    Source::File(file) if start > 0 => from(opener.seekable(file)?, start),
                    Source::File(file) => Ok(Box::new(opener.stream(file))),
                    Source::Pipe(pipe) => {
                        let mut reader = opener.stream(pipe);
                        io::copy(&mut reader.by_ref().take(start), &mut io::sink())?;
                        Ok(Box::new(reader))
                    }
                }
            }
        }
    }
}

/// The first part of media that needs keys.
fn first_place(media: &mut LockedMedia<File>) -> Option<Needs> {
    let mut at = 0;
    for _ in 0..MOST_CLEAR_PARTS {
        let needs = media.needs_at(at).ok()?;
        if !needs.kids.is_empty() {
            return Some(needs);
        }
        if needs.range.end <= at || needs.range.end >= media.len() {
            return None;
        }
        at = needs.range.end;
    }
    None
}

fn from(mut reader: impl BufRead + Seek + 'static, start: u64) -> io::Result<Box<dyn BufRead>> {
    reader.seek(SeekFrom::Start(start))?;
    Ok(Box::new(reader))
}

impl Content {
    /// Whether its content header names roots: keys that become known while it plays, and protect no samples, so that
    /// no algorithm stands beside them.
    pub(crate) fn names_roots(&self) -> bool {
        let header = self.header.as_deref();
        let header = header.and_then(|object| ContentHeader::read_object(object).ok());
        let protects_none = |header: ContentHeader| header.kids.iter().all(|key| key.algorithm.is_none());
        self.on_demand && header.is_some_and(protects_none)
    }

    /// Adds it to what is asked of the license server: its content header, and the keys that this does not
    /// name. A header that cannot be read is a hint the less.
    pub(crate) fn ask_for(self, wanted: &mut Wanted) {
        wanted.licenses.extend(self.licenses);
        let header = self.header.and_then(|object| {
            let read = ContentHeader::read_object(&object).ok()?;
            Some((object, read))
        });
        match header {
            Some((object, header)) => {
                let unnamed = self.kids.into_iter().filter(|kid| header.key(*kid).is_none());
                wanted.kids.extend(unnamed);
                wanted.content_headers.push(object);
            }
            None => wanted.kids.extend(self.kids),
        }
    }
}

/// Whether something begins like protected content.
pub(crate) fn is_content(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || begins_like_mp4(head) || Matroska::begins(head)
}

/// The bytes that tell what something is.
pub(crate) fn beginning(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.take(HEAD_LEN).read_to_end(&mut head)?;
    Ok(head)
}
