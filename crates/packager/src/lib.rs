//! Clear in, protected out.
//!
//! ```text
//!   keys      where the content key comes from: seed, vault, or raw
//!   identity  the packager's own keys and certificate
//!   exchange  key ids, keys and content header, asked of a license server
//!   protect   the flow for a file of any kind, step by step
//!   media     the flow for an MP4, whose samples are protected one by one, under keys that may rotate
//!   pipeline  read, encrypt and write at the same time, in memory that does not grow
//!   sink      where the output goes: whole, or not at all
//! ```
//!
//! The formats are those of `keyward-content`; this crate drives them. It works on [`std::io::Read`] and
//! an [`OutputSink`]: paths, terminals and sockets belong to the program around it.
//!
//! What it refuses: options that break a rule of `spec/content.md`, media that it cannot protect as a whole,
//! and leaving half an output behind; an error at any point means that the sink is dropped without
//! [`OutputSink::commit`]. It never learns who may use what it made.
//!
//! ```
//! use keyward_content::file::LockedFile;
//! use keyward_crypto::ContentKey;
//! use keyward_license::ids::Kid;
//! use keyward_packager::{KeySource, MemorySink, ProtectOptions, protect_file};
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([7; 32]);
//!
//! let (kid, key) = (Kid::random(&mut rng), ContentKey::random(&mut rng));
//! let mut options = ProtectOptions::new(kid, KeySource::Raw(key));
//! options.license_url = Some("https://license.example/".into());
//! options.name = Some("words.txt".into());
//!
//! let made = protect_file(b"the words".as_slice(), MemorySink::default(), &options, &mut rng, &mut |_| {})?;
//! assert_eq!(made.plain_len, 9);
//! assert_eq!(LockedFile::read_from(&mut made.output.as_slice())?.kid(), kid);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod error;
pub mod exchange;
pub mod identity;
pub mod keys;
pub mod media;
mod pipeline;
pub mod protect;
mod seal;
pub mod sink;

pub use error::PackagerError;
pub use keys::KeySource;
pub use media::{
    ContentKeyId, MediaOptions, ProtectedMedia, ProtectedTrack,
    cut::{Segments, segments},
    error::MediaError,
    periods::{
        CryptoPeriods, PeriodBatch, PeriodKeys, PeriodSource, ProtectedPeriods, RidingLicense, Rotation,
    },
    protect_media, protect_rotating, protect_rotating_stream, protect_stream,
    quality::{Quality, QualityTrack, qualities},
    stream::{MediaStream, PipedMedia},
    tracks::{TrackKey, TrackKind, TrackSelector},
};
pub use protect::{ProtectOptions, Protected, protect_file};
pub use sink::{MemorySink, OutputSink};
