//! The clear view.

use core::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::{
    KeyRing, LockedMedia, MAX_SAMPLE_LEN, MediaError, Needs, SampleCursor, SampleSpan,
    file::read_at,
    keys::Ciphers,
    locked::Part,
    map::{Protected, ProtectedSamples},
};
use crate::{
    cenc::{SampleCipher, Subsample},
    isobmff::TrackEncryption,
};

/// Reads protected media as if it were clear, from any place.
///
/// It has the length of the protected file, and everything is where it is there. Samples are decrypted a
/// window at a time; what is skipped costs nothing. A sample whose key is missing is an error when it is
/// reached, and not before: what lies in front of it, and behind it, can be read. After such an error the view
/// stands at the first byte that it did not hand out; when the key is there, reading goes on.
///
/// [`BufRead`] spares a copy: `fill_buf` lends a window.
pub struct ClearView<R, K> {
    media: LockedMedia<R>,
    keys: K,
    ciphers: Ciphers,
    window: Window,
    /// Where the next read begins; may be past the end.
    position: u64,
    subsamples: Vec<Subsample>,
}

/// Clear bytes of the file, from `start` on. Its memory is kept for the next ones.
#[derive(Default)]
struct Window {
    start: u64,
    len: usize,
    bytes: Vec<u8>,
}

/// Bytes of a window, unless it is one longer sample.
const WINDOW_LEN: u64 = 512 * 1024;

impl<R: Read + Seek, K: KeyRing> ClearView<R, K> {
    /// Opens media and adds keys.
    ///
    /// # Errors
    /// Those of [`LockedMedia::open`].
    pub fn open(source: R, keys: K) -> Result<Self, MediaError> {
        LockedMedia::open(source).map(|media| Self::new(media, keys))
    }

    pub(super) fn new(media: LockedMedia<R>, keys: K) -> Self {
        Self {
            media,
            keys,
            ciphers: Ciphers::default(),
            window: Window::default(),
            position: 0,
            subsamples: Vec::new(),
        }
    }

    /// What the boxes say.
    #[must_use]
    pub const fn media(&self) -> &LockedMedia<R> {
        &self.media
    }

    /// The keys.
    #[must_use]
    pub const fn keys(&self) -> &K {
        &self.keys
    }

    /// The keys, to add some: a read that failed for want of a key ([`MediaError::Key`]) left the view at its
    /// place, and the next one goes on there. A key that is in use stays in use as long as the ring permits it.
    pub const fn keys_mut(&mut self) -> &mut K {
        &mut self.keys
    }

    /// As [`LockedMedia::needs_at`]: what to bind before one reads on from the byte `at`.
    ///
    /// # Errors
    /// As there.
    pub fn needs_at(&mut self, at: u64) -> Result<Needs, MediaError> {
        self.media.needs_at(at)
    }

    /// As [`LockedMedia::next_sample`].
    ///
    /// # Errors
    /// As there.
    pub fn next_sample(&mut self, cursor: &mut SampleCursor) -> Result<Option<SampleSpan>, MediaError> {
        self.media.next_sample(cursor)
    }

    /// Reads the clear bytes of a sample into `out`, in place of what is there. The next read goes on behind
    /// it.
    ///
    /// # Errors
    /// [`MediaError`]: of the source, of its key, of what protects it.
    pub fn read_sample(&mut self, sample: &SampleSpan, out: &mut Vec<u8>) -> Result<(), MediaError> {
        out.clear();
        if sample.size == 0 {
            // Wherever it is said to be: writers leave behind the end of the file what comes to nothing.
            return Ok(());
        }
        let too_long = MediaError::SampleTooLong {
            offset: sample.offset,
            size: sample.size,
        };
        let len = usize::try_from(sample.size)
            .ok()
            .filter(|_| sample.size <= MAX_SAMPLE_LEN)
            .ok_or(too_long)?;
        // Before memory is taken by a size that nothing but the file states.
        if sample.offset.saturating_add(sample.size.into()) > self.media.len() {
            return Err(MediaError::OutOfPlace {
                track_id: sample.track_id,
                offset: sample.offset,
            });
        }
        out.resize(len, 0);
        self.position = sample.offset;
        self.read_exact(out).map_err(taken_out)
    }

    /// Makes the window hold the byte at the position.
    fn fill(&mut self) -> Result<(), MediaError> {
        let at = self.position;
        let window = &mut self.window;
        window.len = 0;
        let (source, part, part_end) = self.media.load_at(at)?;
        let samples = part.map.protected_from(at);
        let mut decryptor = Decryptor {
            keys: &self.keys,
            ciphers: &mut self.ciphers,
            subsamples: &mut self.subsamples,
        };
        let plan = Plan::make(samples.clone(), at, part_end, &mut decryptor)?;
        let bytes = window.room(plan.end.saturating_sub(plan.start))?;
        read_at(source, plan.start, bytes)?;
        let mut end = plan.end;
        for sample in samples.take(plan.samples) {
            match decryptor.decrypt(&sample, plan.start, bytes) {
                Ok(()) => {}
                // What lies in front of it can be read.
                Err(_) if sample.offset > at => {
                    end = sample.offset;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        overwrite(part, plan.start, bytes);
        let len = usize::try_from(end.saturating_sub(plan.start)).unwrap_or(0);
        window.len = len.min(bytes.len());
        window.start = plan.start;
        Ok(())
    }
}

/// The keys, and what is kept from sample to sample.
struct Decryptor<'v, K> {
    keys: &'v K,
    ciphers: &'v mut Ciphers,
    subsamples: &'v mut Vec<Subsample>,
}

impl<K: KeyRing> Decryptor<'_, K> {
    fn cipher(&mut self, sample: &Protected<'_>) -> Result<&SampleCipher, MediaError> {
        let TrackEncryption { kid, pattern, .. } = sample.way.encryption;
        let cipher = self.ciphers.get(self.keys, kid, sample.way.scheme, pattern);
        cipher.map_err(|error| MediaError::Key { kid, error })
    }

    /// Decrypts a sample in `bytes`, which begin at `start` in the file and hold all of it.
    fn decrypt(&mut self, sample: &Protected<'_>, start: u64, bytes: &mut [u8]) -> Result<(), MediaError> {
        let failed = |error| MediaError::Sample {
            offset: sample.offset,
            error,
        };
        let iv = sample.details(self.subsamples).map_err(failed)?;
        let subsamples = core::mem::take(self.subsamples);
        let bytes = slice(bytes, sample.offset.saturating_sub(start), sample.size.into());
        let decrypted = self.cipher(sample)?.decrypt(bytes, &iv, &subsamples);
        *self.subsamples = subsamples;
        decrypted.map_err(failed)
    }
}

/// Which bytes a window takes, and how many protected samples are in it, all of them whole.
struct Plan {
    start: u64,
    end: u64,
    samples: usize,
}

impl Plan {
    /// For a window that holds the byte `at`, in a part that ends at `part_end`. `samples` are those that end
    /// behind `at`.
    fn make(
        samples: ProtectedSamples<'_>,
        at: u64,
        part_end: u64,
        decryptor: &mut Decryptor<'_, impl KeyRing>,
    ) -> Result<Self, MediaError> {
        let mut plan = Self {
            start: at,
            end: part_end.min(at.saturating_add(WINDOW_LEN)),
            samples: 0,
        };
        for sample in samples {
            // Whether it must be in the window, since the byte that is asked for is one of it.
            let needed = sample.offset <= at;
            if needed {
                if sample.size > MAX_SAMPLE_LEN {
                    return Err(MediaError::SampleTooLong {
                        offset: sample.offset,
                        size: sample.size,
                    });
                }
                plan.start = sample.offset;
                decryptor.cipher(&sample)?;
                plan.end = sample
                    .end()
                    .max(part_end.min(plan.start.saturating_add(WINDOW_LEN)));
            } else if sample.offset >= plan.end {
                break;
            } else if sample.end() > plan.end || decryptor.cipher(&sample).is_err() {
                plan.end = sample.offset;
                break;
            }
            plan.samples = plan.samples.saturating_add(1);
        }
        Ok(plan)
    }
}

/// The `len` bytes of a window from `from` on; fewer if it has not as many.
fn slice(bytes: &mut [u8], from: u64, len: u64) -> &mut [u8] {
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    let rest = bytes.get_mut(from..).unwrap_or_default();
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
    rest.get_mut(..len).unwrap_or_default()
}

/// Puts the types of clear boxes in place of those of protection boxes. A window may begin or end inside of
/// one.
fn overwrite(part: &Part, start: u64, bytes: &mut [u8]) {
    let first = part
        .overwrites
        .partition_point(|overwrite| overwrite.offset.saturating_add(4) <= start);
    let end = start.saturating_add(bytes.len() as u64);
    let rest = part.overwrites.get(first..).unwrap_or_default();
    for overwrite in rest.iter().take_while(|overwrite| overwrite.offset < end) {
        for (at, byte) in (overwrite.offset..).zip(overwrite.fourcc.0) {
            let place = at.checked_sub(start).and_then(|at| usize::try_from(at).ok());
            if let Some(place) = place.and_then(|place| bytes.get_mut(place)) {
                *place = byte;
            }
        }
    }
}

fn taken_out(error: io::Error) -> MediaError {
    match error.downcast() {
        Ok(error) => error,
        Err(error) => MediaError::Io(error),
    }
}

/// Without the window, which holds clear bytes.
impl<R, K> fmt::Debug for ClearView<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClearView")
            .field("media", &self.media)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<R: Read + Seek, K: KeyRing> BufRead for ClearView<R, K> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.media.len() {
            return Ok(&[]);
        }
        if self.window.from(self.position).is_empty() {
            self.fill()?;
        }
        Ok(self.window.from(self.position))
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.position.saturating_add(amount as u64);
    }
}

impl Window {
    /// Memory for `len` bytes.
    fn room(&mut self, len: u64) -> Result<&mut [u8], MediaError> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        Ok(self.bytes.get_mut(..len).unwrap_or_default())
    }

    /// The clear bytes from a place on; none if that place is not in the window.
    fn from(&self, at: u64) -> &[u8] {
        let from = at
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.bytes.get(from..self.len))
            .unwrap_or_default()
    }
}

impl<R: Read + Seek, K: KeyRing> Read for ClearView<R, K> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read + Seek, K: KeyRing> Seek for ClearView<R, K> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.media.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the position is before the start of the file",
            )
        };
        self.position = target.ok_or_else(before)?;
        Ok(self.position)
    }
}
