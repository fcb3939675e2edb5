//! The flow around the formats: memory, progress, and outputs that are there as a whole or not at all.

use std::{
    cell::RefCell,
    io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom, Write},
    rc::Rc,
};

use keyward_content::cenc::Scheme;
use keyward_packager::{MediaError, MediaOptions, OutputSink, PackagerError, protect_media};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{build::*, read::*};

/// A file with zeros behind it, up to a length that is not held in memory.
pub(crate) struct Padded {
    head: Vec<u8>,
    len: u64,
    at: u64,
    /// Where reading fails.
    fails_at: u64,
}

impl Padded {
    pub(crate) fn new(head: Vec<u8>, len: u64) -> Self {
        Self {
            head,
            len,
            at: 0,
            fails_at: u64::MAX,
        }
    }
}

impl Read for Padded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.fails_at {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let left = self.len.saturating_sub(self.at).min(self.fails_at - self.at);
        let most = out.len().min(left as usize);
        let out = &mut out[..most];
        out.fill(0);
        if let Some(mut head) = self.head.get(self.at as usize..) {
            let _ = head.read(out)?;
        }
        self.at += out.len() as u64;
        Ok(out.len())
    }
}

impl Seek for Padded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.len.saturating_add_signed(by),
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

/// What happened to a sink.
#[derive(Debug, Default)]
struct Seen {
    len: u64,
    largest: usize,
    overwritten: u32,
    commits: u32,
}

/// Keeps nothing, and fails after so many bytes.
struct Nothing {
    seen: Rc<RefCell<Seen>>,
    room: u64,
    seekable: bool,
    fail_overwrite: bool,
    fail_commit: bool,
}

impl Nothing {
    fn new() -> (Self, Rc<RefCell<Seen>>) {
        let seen = Rc::new(RefCell::default());
        let sink = Self {
            seen: Rc::clone(&seen),
            room: u64::MAX,
            seekable: true,
            fail_overwrite: false,
            fail_commit: false,
        };
        (sink, seen)
    }
}

impl Write for Nothing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut seen = self.seen.borrow_mut();
        seen.len += bytes.len() as u64;
        seen.largest = seen.largest.max(bytes.len());
        if seen.len > self.room {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OutputSink for Nothing {
    type Output = ();

    fn can_overwrite(&self) -> bool {
        self.seekable
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut seen = self.seen.borrow_mut();
        assert!(offset + bytes.len() as u64 <= seen.len);
        seen.overwritten += 1;
        if self.fail_overwrite {
            Err(ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn commit(self) -> io::Result<()> {
        if self.fail_commit {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.seen.borrow_mut().commits += 1;
        Ok(())
    }
}

fn into(sink: Nothing, input: impl Read + Seek + Send, options: &MediaOptions) -> Result<(), PackagerError> {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    protect_media(input, sink, options, &mut rng, &mut |_| {}).map(drop)
}

/// Protects a file that is too large to be kept. A refusal leaves nothing behind.
pub(crate) fn into_nothing(
    input: impl Read + Seek + Send,
    options: &MediaOptions,
) -> Result<(), PackagerError> {
    let (sink, seen) = Nothing::new();
    let made = into(sink, input, options);
    assert_eq!(seen.borrow().commits, u32::from(made.is_ok()));
    made
}

fn file() -> Vec<u8> {
    let lanes = vec![Lane::video(1, 300, 25), Lane::audio(2, 500)];
    Progressive::new(lanes).to_bytes()
}

#[test]
fn an_output_is_committed_once_or_never() {
    let options = one_key(Scheme::Cenc);
    let (sink, seen) = Nothing::new();
    into(sink, Cursor::new(file()), &options).unwrap();
    assert_eq!((seen.borrow().commits, seen.borrow().overwritten), (1, 1));
    let changes: [fn(&mut Nothing); 4] = [
        |sink| sink.room = 0,
        |sink| sink.room = 60_000,
        |sink| sink.fail_overwrite = true,
        |sink| sink.fail_commit = true,
    ];
    for change in changes {
        let (mut sink, seen) = Nothing::new();
        change(&mut sink);
        let made = into(sink, Cursor::new(file()), &options);
        assert!(matches!(made, Err(PackagerError::Write(_))), "{made:?}");
        assert_eq!(seen.borrow().commits, 0);
    }
    let len = file().len() as u64;
    for fails_at in [0, 8, len / 2, len - 10] {
        let (sink, seen) = Nothing::new();
        let input = Padded {
            fails_at,
            ..Padded::new(file(), len)
        };
        let made = into(sink, input, &options);
        assert!(matches!(made, Err(PackagerError::Read(_))), "{made:?}");
        assert_eq!(seen.borrow().commits, 0);
    }
}

#[test]
fn a_pipe_is_refused_before_any_work() {
    let (sink, seen) = Nothing::new();
    let sink = Nothing {
        seekable: false,
        ..sink
    };
    let input = Padded {
        fails_at: 0,
        ..Padded::new(file(), 10)
    };
    let error = into(sink, input, &one_key(Scheme::Cenc)).unwrap_err();
    assert!(matches!(error, PackagerError::Media(MediaError::NoOverwrite)));
    assert_eq!(error.hint(), "name a file as the output");
    assert_eq!(seen.borrow().len, 0);
}

#[test]
fn progress_goes_up_to_the_length_of_the_input() {
    let fragmented = Fragmented::new(vec![Lane::video(1, 300, 25)]);
    for file in [file(), fragmented.to_bytes()] {
        let (sink, _) = Nothing::new();
        let mut told = Vec::new();
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let options = one_key(Scheme::Cbcs);
        protect_media(Cursor::new(&file), sink, &options, &mut rng, &mut |done| {
            told.push(done)
        })
        .unwrap();
        assert!(told.is_sorted());
        assert_eq!(told.last(), Some(&(file.len() as u64)));
    }
}

/// Samples larger than a buffer go through the same few buffers.
#[test]
fn memory_does_not_grow_with_the_samples() {
    for scheme in [Scheme::Cenc, Scheme::Cbcs] {
        let mut lane = Lane::audio(1, 15);
        lane.pieces.iter_mut().for_each(|piece| piece.duration = 48_000);
        let form = Progressive {
            movie_first: true,
            data: DataForm::ToEnd,
            ..Progressive::new(vec![lane])
        };
        let mut head = form.to_bytes();
        // Samples of 2 MiB each, one behind the other.
        let sizes = head.windows(4).position(|window| window == b"stsz").unwrap() + 4;
        let chunks = head.windows(4).position(|window| window == b"stco").unwrap() + 4;
        let first = u32::from_be_bytes(head[chunks + 8..chunks + 12].try_into().unwrap());
        let size = 2 << 20;
        for at in 0..15 {
            head[sizes + 12 + at * 4..][..4].copy_from_slice(&u32::to_be_bytes(size));
        }
        for at in 0..3 {
            let place = first + at as u32 * 5 * size;
            head[chunks + 8 + at * 4..][..4].copy_from_slice(&place.to_be_bytes());
        }
        let (sink, seen) = Nothing::new();
        into(
            sink,
            Padded::new(head, u64::from(first + 15 * size)),
            &one_key(scheme),
        )
        .unwrap();
        let seen = seen.borrow();
        assert!(seen.len > 30 << 20);
        assert!(seen.largest <= 512 << 10, "{} bytes at once", seen.largest);
    }
}
