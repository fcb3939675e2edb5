//! What the fuzz targets in `fuzz/` do, so that their corpora run as ordinary tests on the stable
//! compiler too (`tests/corpus.rs`).
//!
//! ```text
//!  fuzzing       one function a target; the table of all of them
//!   ├── messages  CBOR, COSE, certificates, every message of the protocol
//!   ├── contents  content header and any-file container
//!   ├── embedded  license stores of content headers
//!   ├── embedding licenses that are put into content
//!   ├── exchange  results of exchange keys
//!   ├── media     boxes, protection and codecs of media
//!   ├── film      tiny films, box by box
//!   ├── packagers clear leads, and media that comes through a pipe
//!   ├── packaging packaging data
//!   ├── trust     revocation lists and acknowledgements
//!   ├── test_mode what a request asks of a test operator
//!   ├── clients   the client's flows against an attacker on the wire, in the content, at the disk
//!   ├── cbor      the oracle: CBOR read and written by a library alone
//!   ├── world     one operator, server and device for all of them
//!   └── seeds     the committed corpora: right and almost right inputs
//! ```
//!
//! A target never only "does not panic". It holds what was accepted against something that is known
//! otherwise: another encoder, the one plaintext, the one license that was ever signed. Where random
//! bytes would end at a signature or a seal, the first byte of the input says what the rest is, and the
//! target signs or seals that itself.
//!
//! ```
//! use keyward_testkit::fuzzing;
//! assert!(fuzzing::kid(b"a2c786d0-f9ef-4cb3-b333-cd323a4284a5"));
//! assert!(!fuzzing::kid(b"not a key id"));
//! ```

mod cbor;
mod clients;
mod contents;
mod embedded;
mod embedding;
mod exchange;
mod film;
mod media;
mod messages;
mod packagers;
mod packaging;
mod seeds;
#[cfg(not(target_family = "wasm"))]
mod test_mode;
mod trust;
mod world;

pub use clients::{client_content_header, client_enrol, client_install, client_store, device_keys};
pub use contents::{file_header, file_reader, playready_header, playready_object};
pub use embedded::embedded_store;
pub use embedding::content_embed;
pub use exchange::exchange_result;
pub use media::{
    av1_samples, avc_samples, box_tree, clear_view, hevc_samples, let_panics_be_caught, media_cut,
    media_packager, movie, movie_fragment, pssh, vp9_samples, webm,
};
pub use messages::{
    certificate, claims, codec, cose_sign1, discovery, enrolment_request, enrolment_response, kid, license,
    license_request, license_response, operator_profile, problem, revocation_list, sealed_request,
    sealed_response,
};
pub use packagers::{media_lead, media_stream};
pub use packaging::{packaging_request, packaging_response};
pub use seeds::{Seed, seeds};
#[cfg(not(target_family = "wasm"))]
pub use test_mode::test_request;
pub use trust::{acknowledge_request, device_revocation_list, receipt, revocation_lists};

/// A target: feeds an input to the code under test and says whether that accepted it.
///
/// # Panics
/// If the code under test panics, or accepts what it must not.
pub type Target = fn(&[u8]) -> bool;

/// How many targets there are. The server's is missing on WebAssembly, where no server is.
const COUNT: usize = if cfg!(target_family = "wasm") { 48 } else { 49 };

/// Every target, under the name that it has in `fuzz/fuzz_targets` and `fuzz/corpus`.
pub const TARGETS: [(&str, Target); COUNT] = [
    ("acknowledge_request", acknowledge_request),
    ("av1_samples", av1_samples),
    ("avc_samples", avc_samples),
    ("box_tree", box_tree),
    ("certificate", certificate),
    ("claims", claims),
    ("clear_view", clear_view),
    ("client_content_header", client_content_header),
    ("client_enrol", client_enrol),
    ("client_install", client_install),
    ("client_store", client_store),
    ("codec", codec),
    ("content_embed", content_embed),
    ("cose_sign1", cose_sign1),
    ("device_keys", device_keys),
    ("device_revocation_list", device_revocation_list),
    ("discovery", discovery),
    ("embedded_store", embedded_store),
    ("enrolment_request", enrolment_request),
    ("enrolment_response", enrolment_response),
    ("exchange_result", exchange_result),
    ("file_header", file_header),
    ("file_reader", file_reader),
    ("hevc_samples", hevc_samples),
    ("kid", kid),
    ("license", license),
    ("license_request", license_request),
    ("license_response", license_response),
    ("media_cut", media_cut),
    ("media_lead", media_lead),
    ("media_packager", media_packager),
    ("media_stream", media_stream),
    ("movie", movie),
    ("movie_fragment", movie_fragment),
    ("operator_profile", operator_profile),
    ("packaging_request", packaging_request),
    ("packaging_response", packaging_response),
    ("playready_header", playready_header),
    ("playready_object", playready_object),
    ("problem", problem),
    ("pssh", pssh),
    ("receipt", receipt),
    ("revocation_list", revocation_list),
    ("revocation_lists", revocation_lists),
    ("sealed_request", sealed_request),
    ("sealed_response", sealed_response),
    #[cfg(not(target_family = "wasm"))]
    ("test_request", test_request),
    ("vp9_samples", vp9_samples),
    ("webm", webm),
];

/// Takes an input apart. What is not there reads as zero or empty, so that every input means something.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        array
    }

    fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Two bytes of length, big-endian, then that many bytes.
    fn part(&mut self) -> &'a [u8] {
        let len = self.u16();
        self.take(len.into())
    }

    const fn rest(&self) -> &'a [u8] {
        self.0
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
