//! The cipher of samples.

use keyward_crypto::{
    ContentKey,
    cenc::{BLOCK_LEN, BlockPattern, CbcDecryptor, CbcEncryptor, CtrStream, MediaKey},
};

use super::{CencError, Iv, Pattern, Scheme, Subsample, total_len};

/// Encrypts and decrypts samples under one key, in one scheme, with one pattern: one of it serves a track.
///
/// The expanded key is wiped when it is dropped, and `Debug` does not show it.
#[derive(Debug)]
pub struct SampleCipher {
    key: MediaKey,
    scheme: Scheme,
    pattern: Pattern,
}

impl SampleCipher {
    /// A cipher for `scheme`. [`Pattern::NONE`] in `cens` and `cbcs` encrypts every whole block, as for
    /// audio.
    ///
    /// # Errors
    /// [`CencError::PatternOfScheme`] for a pattern in `cenc` or `cbc1`.
    pub fn new(key: &ContentKey, scheme: Scheme, pattern: Pattern) -> Result<Self, CencError> {
        if pattern != Pattern::NONE && !scheme.has_pattern() {
            return Err(CencError::PatternOfScheme(scheme));
        }
        Ok(Self {
            key: MediaKey::new(key),
            scheme,
            pattern,
        })
    }

    /// The protection scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The pattern.
    #[must_use]
    pub const fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// Encrypts a sample in place. Without subsamples the whole sample is protected.
    ///
    /// # Errors
    /// [`CencError::SubsampleTotal`] if the subsamples are not exactly as long as the sample, which is
    /// then unchanged.
    pub fn encrypt(&self, sample: &mut [u8], iv: &Iv, subsamples: &[Subsample]) -> Result<(), CencError> {
        self.whole(Direction::Encrypt, sample, iv, subsamples)
    }

    /// Decrypts a sample in place.
    ///
    /// # Errors
    /// As [`SampleCipher::encrypt`].
    pub fn decrypt(&self, sample: &mut [u8], iv: &Iv, subsamples: &[Subsample]) -> Result<(), CencError> {
        self.whole(Direction::Decrypt, sample, iv, subsamples)
    }

    /// Begins a sample of `len` bytes that is not in memory as a whole.
    ///
    /// # Errors
    /// As [`SampleCipher::encrypt`].
    pub fn begin<'a>(
        &'a self,
        direction: Direction,
        len: u64,
        iv: &Iv,
        subsamples: &'a [Subsample],
    ) -> Result<SampleRun<'a>, CencError> {
        let covered = total_len(subsamples);
        if !subsamples.is_empty() && covered != len {
            return Err(CencError::SubsampleTotal { covered, actual: len });
        }
        let mode = Mode::new(self, direction, iv);
        Ok(SampleRun {
            cipher: self,
            direction,
            iv: *iv,
            mode,
            clear: 0,
            protected: if subsamples.is_empty() { len } else { 0 },
            subsamples: subsamples.iter(),
        })
    }

    fn whole(
        &self,
        direction: Direction,
        sample: &mut [u8],
        iv: &Iv,
        subsamples: &[Subsample],
    ) -> Result<(), CencError> {
        let len = sample.len() as u64;
        self.begin(direction, len, iv, subsamples)?.process(sample);
        Ok(())
    }

    /// Bytes of a protected range behind which cipher and pattern begin anew.
    fn unit(&self) -> u64 {
        let (crypt, skip) = (u64::from(self.pattern.crypt()), u64::from(self.pattern.skip()));
        match self.scheme {
            Scheme::Cenc => 1,
            _ => crypt.saturating_add(skip).max(1).saturating_mul(BLOCK_LEN as u64),
        }
    }
}

/// Which way bytes go through a cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Clear in, protected out.
    Encrypt,
    /// Protected in, clear out.
    Decrypt,
}

/// A sample on its way through a [`SampleCipher`], piece by piece.
///
/// ```
/// # use keyward_content::cenc::{CencError, Direction, Iv, Pattern, SampleCipher, Scheme};
/// # use keyward_crypto::ContentKey;
/// # let cipher = SampleCipher::new(&ContentKey::new([1; 16]), Scheme::Cbcs, Pattern::VIDEO)?;
/// # let (iv, mut sample) = (Iv::new(&[2; 16])?, vec![3; 1000]);
/// // A window over the sample; what `process` leaves comes first in the next window.
/// let mut run = cipher.begin(Direction::Encrypt, 1000, &iv, &[])?;
/// let first = run.process(&mut sample[..500]);
/// assert_eq!(first, 480);
/// assert_eq!(run.process(&mut sample[first..]), 520);
/// # Ok::<(), CencError>(())
/// ```
#[derive(Debug)]
pub struct SampleRun<'a> {
    cipher: &'a SampleCipher,
    direction: Direction,
    iv: Iv,
    mode: Mode<'a>,
    /// Bytes left of the current clear range.
    clear: u64,
    /// Bytes left of the protected range behind it.
    protected: u64,
    subsamples: core::slice::Iter<'a, Subsample>,
}

impl SampleRun<'_> {
    /// Processes the bytes of the sample that come next, in place, and returns how many of `bytes` are
    /// done: all, unless they end inside a pattern or block. The bytes that are left over, fewer than
    /// 480, are to be first in the next call. Bytes behind the sample's end are not touched.
    pub fn process(&mut self, bytes: &mut [u8]) -> usize {
        let whole = bytes.len();
        let mut rest = bytes;
        loop {
            rest = skip(rest, &mut self.clear);
            if self.clear > 0 {
                break;
            }
            rest = self.protected(rest);
            if self.protected > 0 || !self.next_subsample() {
                break;
            }
        }
        whole.saturating_sub(rest.len())
    }

    /// Bytes of the sample that are still to be processed.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        total_len(self.subsamples.as_slice())
            .saturating_add(self.clear)
            .saturating_add(self.protected)
    }

    /// Processes what can be of the current protected range and returns the bytes behind that.
    fn protected<'b>(&mut self, bytes: &'b mut [u8]) -> &'b mut [u8] {
        let here = bytes.len() as u64;
        let unit = self.cipher.unit();
        let len = if here >= self.protected {
            self.protected
        } else {
            here.saturating_sub(here.checked_rem(unit).unwrap_or(0))
        };
        let len = usize::try_from(len).unwrap_or(bytes.len());
        let (now, later) = bytes.split_at_mut(len);
        self.mode.apply(now, self.cipher);
        self.protected = self.protected.saturating_sub(now.len() as u64);
        later
    }

    fn next_subsample(&mut self) -> bool {
        let Some(subsample) = self.subsamples.next() else {
            return false;
        };
        self.clear = subsample.clear.into();
        self.protected = subsample.protected.into();
        if self.cipher.scheme == Scheme::Cbcs {
            // 10.4: in `cbcs` the IV is that of each subsample, in `cbc1` (10.2) that of the sample.
            self.mode = Mode::new(self.cipher, self.direction, &self.iv);
        }
        true
    }
}

/// Steps over `left` bytes, or as many as there are.
fn skip<'b>(bytes: &'b mut [u8], left: &mut u64) -> &'b mut [u8] {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left = left.saturating_sub(len as u64);
    bytes.split_at_mut(len).1
}

#[derive(Debug)]
enum Mode<'a> {
    Ctr(CtrStream<'a>),
    Encrypt(CbcEncryptor<'a>),
    Decrypt(CbcDecryptor<'a>),
}

impl<'a> Mode<'a> {
    fn new(cipher: &'a SampleCipher, direction: Direction, iv: &Iv) -> Self {
        match (cipher.scheme, direction) {
            (Scheme::Cenc | Scheme::Cens, _) => Self::Ctr(cipher.key.ctr(iv.block())),
            (_, Direction::Encrypt) => Self::Encrypt(cipher.key.cbc_encrypt(iv.block())),
            (_, Direction::Decrypt) => Self::Decrypt(cipher.key.cbc_decrypt(iv.block())),
        }
    }

    fn apply(&mut self, range: &mut [u8], cipher: &SampleCipher) {
        let pattern = BlockPattern {
            crypt: cipher.pattern.crypt(),
            skip: cipher.pattern.skip(),
        };
        match self {
            Self::Ctr(stream) if cipher.scheme == Scheme::Cenc => stream.apply(range),
            Self::Ctr(stream) => stream.apply_pattern(range, pattern),
            Self::Encrypt(chain) => chain.apply(range, pattern),
            Self::Decrypt(chain) => chain.apply(range, pattern),
        }
    }
}
