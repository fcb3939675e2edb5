//! Common encryption of samples (ISO/IEC 23001-7): protection schemes, IVs, subsamples and the cipher.
//!
//! ```text
//!   sample        length+NAL header+slice header │ slice data            │ length+… │ slice data      │
//!   subsamples    └────────── clear ────────────┘ └───── protected ─────┘ └ clear ─┘ └── protected ──┘
//!
//!   cenc   AES-CTR   every protected byte; one key stream over all subsamples of the sample
//!   cens   AES-CTR   whole blocks of a pattern; one key stream over all subsamples of the sample
//!   cbc1   AES-CBC   every whole block; one chain over all subsamples of the sample
//!   cbcs   AES-CBC   whole blocks of a pattern; the chain begins anew in each subsample
//! ```
//!
//! What is refused: subsamples that are not exactly as long as their sample, IVs that are neither 8 nor
//! 16 bytes, patterns that protect nothing, and a pattern for a scheme that has none. Nothing is
//! authenticated: whoever can write a protected file can change what it decrypts to.
//!
//! ```
//! use keyward_content::cenc::{Iv, Pattern, SampleCipher, Scheme, Subsample};
//! use keyward_crypto::ContentKey;
//!
//! let cipher = SampleCipher::new(&ContentKey::new([1; 16]), Scheme::Cbcs, Pattern::VIDEO)?;
//! let (iv, subsamples) = (Iv::new(&[2; 16])?, [Subsample { clear: 9, protected: 200 }]);
//! let mut sample = [3; 209];
//! cipher.encrypt(&mut sample, &iv, &subsamples)?;
//! assert_eq!(sample[..9], [3; 9]);
//! assert_ne!(sample[9..25], [3; 16]);
//! cipher.decrypt(&mut sample, &iv, &subsamples)?;
//! assert_eq!(sample, [3; 209]);
//! # Ok::<(), keyward_content::cenc::CencError>(())
//! ```

mod iv;
mod sample;
mod scheme;
mod subsample;

pub use iv::Iv;
pub use sample::{Direction, SampleCipher, SampleRun};
pub use scheme::{Pattern, Scheme};
pub use subsample::{Alignment, Subsample, SubsampleMap, total_len};

/// Why a sample cannot be encrypted or decrypted as it is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CencError {
    /// The subsamples are longer or shorter than their sample.
    #[error("the subsamples cover {covered} bytes but the sample has {actual}")]
    SubsampleTotal {
        /// Bytes that the subsamples cover.
        covered: u64,
        /// Bytes of the sample.
        actual: u64,
    },
    /// An IV that is neither 8 nor 16 bytes.
    #[error("the IV has {0} bytes, neither 8 nor 16")]
    IvLength(usize),
    /// A pattern with a number above 15, or one that skips blocks and encrypts none.
    #[error("the pattern {crypt}:{skip} is not one of common encryption")]
    Pattern {
        /// Blocks to encrypt.
        crypt: u8,
        /// Blocks to skip.
        skip: u8,
    },
    /// A pattern for a scheme that encrypts every block.
    #[error("protection scheme {0} has no pattern")]
    PatternOfScheme(Scheme),
    /// A sample, or a part of one, of 4 GiB or more.
    #[error("a protected range of {0} bytes is longer than a subsample can say")]
    TooLong(u64),
}

impl CencError {
    /// What the person who met the error can do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "package the media with samples below 4 GiB",
            _ => "the content was damaged or made by a faulty packager; get it again from its source",
        }
    }
}

#[cfg(test)]
mod tests;
