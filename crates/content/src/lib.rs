//! Protected media and files: the formats that packager and client meet in.
//!
//! ```text
//!   cenc      protection schemes, IVs, subsamples, samples          ISO/IEC 23001-7
//!   codec     subsample maps of samples by codec                     H.264, H.265, AV1, VP9, audio
//!   header    content header: which keys, which license server      PlayReady Object and Header 4.0 to 4.3
//!   isobmff   boxes of MP4 files: samples, protection, edits           ISO/IEC 14496-12
//!   pssh      what a protected file says to protection systems    ISO/IEC 23001-7, 8.1
//!   media     protected MP4 as it is read: its keys, its clear view
//!   embed     licenses that travel with content, put in in place
//!   file      any-file container: a file of any kind, encrypted     STREAM over AES-128-GCM
//! ```
//!
//! The normative text is `spec/content.md`, for media `spec/media.md`.
//!
//! What it refuses: headers and containers that bend a rule of the text, and every byte of a protected
//! file that was not authenticated under its content key; of media, which common encryption does not
//! authenticate, every protected sample that is not described completely. What it does not do: decide who
//! may have a key. A content header is a stranger's hint; only its key ids count, and they only say which license
//! to look for.
//!
//! No sockets, files, clock or threads. `std::io` traits are used where bytes flow; randomness is an
//! argument. It compiles for WASM.
//!
//! ```
//! use std::io::Read;
//! use keyward_content::{file::{FileHeader, LockedFile, Sealer}, header::ContentHeader};
//! use keyward_crypto::ContentKey;
//! use keyward_license::ids::Kid;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([7; 32]);
//!
//! // The packager: a content header that names the key, then the file in chunks.
//! let (kid, key) = (Kid::random(&mut rng), ContentKey::random(&mut rng));
//! let object = ContentHeader::for_file(kid, Some("https://license.example/".into())).to_object_bytes()?;
//! let (sealer, positions) = Sealer::new(&key, &FileHeader::new(object, kid), &mut rng)?;
//! let mut chunk = b"the words\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
//! sealer.seal(positions.last(), &mut chunk)?;
//! let file = [sealer.prefix(), &chunk].concat();
//!
//! // The player: the key id says which license to look for, its content key opens the file.
//! let mut source = file.as_slice();
//! let locked = LockedFile::read_from(&mut source)?;
//! assert_eq!(locked.kid(), kid);
//! let mut words = String::new();
//! locked.unlock(&key)?.stream(source).read_to_string(&mut words)?;
//! assert_eq!(words, "the words");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cenc;
pub mod codec;
pub mod embed;
pub mod file;
pub mod header;
pub mod isobmff;
pub mod media;
pub mod pssh;
