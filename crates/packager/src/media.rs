//! Protecting an MP4 sample by sample: the whole flow.
//!
//! ```text
//!   input   ftyp │ moov … avc1            │ mdat                       any order, or in fragments
//!   output  ftyp │ moov … encv( … sinf ) … pssh │ sidx │ moof … senc │ mdat ▒▒▒▒ │ moof … senc │ mdat ▒▒▒▒ │ …
//!
//!   probe     what the file is made of, and whether all of it can be protected
//!   tracks    which track has which key; IVs
//!   mux       brands, movie box, protection system headers
//!   segment   where a progressive file is cut
//!   carried   tables of a progressive file that go along into fragments
//!   encrypt   which bytes of each sample are protected, and the cipher they stream through
//!   fragments the worker: fragments that are made, or edited
//!   index     the segment index
//!   source    the input: copied in long pieces, looked at sparsely
//!   outlet    the output: buffers on their way to the thread that writes
//! ```
//!
//! The layout of the output is in `spec/media.md`, "Layout that a packager writes".

mod carried;
mod encrypt;
pub mod error;
mod fragments;
mod index;
mod mux;
mod outlet;
mod probe;
mod segment;
mod source;
pub mod tracks;

use core::time::Duration;
use std::io::{Read, Seek};

use keyward_content::{
    cenc::Scheme,
    isobmff::{FourCc, Movie},
};
use keyward_license::ids::Kid;
use rand_core::CryptoRng;

use crate::{MediaError, OutputSink, PackagerError, pipeline};
use fragments::{Form, Job, Made};
use index::IndexBuilder;
use outlet::{Batch, Outlet};
use probe::Layout;
use segment::Segmenter;
use source::Source;
use tracks::{TrackKey, TrackKind, TrackPlan};

/// Buffers between the worker and the thread that writes.
const BATCHES: usize = 4;

/// What to protect media with.
#[derive(Debug)]
pub struct MediaOptions {
    /// The protection scheme.
    pub scheme: Scheme,
    /// The keys of the tracks. Every video and audio track needs one.
    pub keys: Vec<TrackKey>,
    /// Where licenses are requested; an absolute URL.
    pub license_url: Option<String>,
    /// Where a person can obtain a license; an absolute URL.
    pub license_ui_url: Option<String>,
    /// Id of the domain service, 16 bytes, big-endian.
    pub domain_service_id: Option<[u8; 16]>,
    /// XML of the application's own, carried in the content header and ignored by Keyward.
    pub custom_attributes: Option<String>,
    /// Whether the content header is also written under PlayReady's system id. Real PlayReady clients will
    /// then call the license server that it names.
    pub playready_pssh: bool,
    /// Least length of the fragments that a progressive file is cut into; they begin at sync samples.
    pub fragment_duration: Duration,
    /// Clear lead: fragments that begin before it has passed stay clear, so that playback begins without a
    /// license. Zero for none.
    pub clear_lead: Duration,
}

impl MediaOptions {
    /// The least there is to say; fragments of at least two seconds.
    #[must_use]
    pub const fn new(scheme: Scheme, keys: Vec<TrackKey>) -> Self {
        Self {
            scheme,
            keys,
            license_url: None,
            license_ui_url: None,
            domain_service_id: None,
            custom_attributes: None,
            playready_pssh: false,
            fragment_duration: Duration::from_secs(2),
            clear_lead: Duration::ZERO,
        }
    }
}

/// Media that was protected.
#[derive(Debug)]
pub struct ProtectedMedia<T> {
    /// The protected tracks, in the order of the file. Others went along clear.
    pub tracks: Vec<ProtectedTrack>,
    /// Bytes of the original.
    pub clear_len: u64,
    /// Bytes of the protected file.
    pub protected_len: u64,
    /// What the sink made of it.
    pub output: T,
}

/// A track that was protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedTrack {
    /// The track id.
    pub id: u32,
    /// What it holds.
    pub kind: TrackKind,
    /// The format of its samples, as its (first) sample entry said.
    pub codec: FourCc,
    /// The key id that licenses for it name.
    pub kid: Kid,
    /// How many samples it has.
    pub samples: u64,
}

/// Protects the MP4 file `input`, into `output`.
///
/// One thread reads and encrypts, the calling thread writes; memory grows with the movie box and with the
/// tables of one fragment, not with the file. `progress` is called after each write with the bytes of the
/// original that are done.
///
/// # Errors
/// [`PackagerError`]; then `output` is dropped without commit.
pub fn protect_media<R: Read + Seek + Send, S: OutputSink>(
    input: R,
    mut output: S,
    options: &MediaOptions,
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(u64),
) -> Result<ProtectedMedia<S::Output>, PackagerError> {
    if !output.can_overwrite() {
        return Err(MediaError::NoOverwrite.into());
    }

    // 1. What the file is made of; what cannot be protected as a whole is refused.
    let mut source = Source::new(input).map_err(PackagerError::Read)?;
    let clear_len = source.len();
    let layout = Layout::scan(&mut source)?;
    let movie = Movie::parse(&layout.movie_span()?)?;
    probe::check(&movie, &layout)?;

    // 2. Keys and IVs of each track.
    let plans = tracks::plan(&movie, options.scheme, &options.keys, rng)?;

    // 3. The content header, which names the key ids and the license server, in its boxes.
    let headers = mux::system_headers(options, &plans)?;

    // 4. The movie box with its protection, and the size of the segment index.
    let extent = Extent::of(&movie, &layout, clear_len, options.fragment_duration)?;
    let job = Job {
        movie: &movie,
        plans: &plans,
        brands: mux::brands(layout.brands.as_deref())?,
        movie_box: mux::movie_box(
            &movie,
            &plans,
            headers,
            extent.duration,
            options.clear_lead > Duration::ZERO,
        )?,
        index: IndexBuilder::new(&movie, probe::reference_track(&movie)?, extent.fragments)?,
        form: extent.form,
        clear_lead: options.clear_lead,
    };

    // 5. The fragments: first which bytes are protected, then the bytes, while others are written.
    let made = pipeline::run(
        (0..BATCHES).map(|_| Batch::new()).collect(),
        |circle| fragments::run(job, source, Outlet::new(circle)?),
        |batch: &Batch| {
            output.write_all(batch.filled()).map_err(PackagerError::Write)?;
            progress(batch.input_done);
            Ok(())
        },
    )?;
    progress(clear_len);

    // 6. The segment index is filled in, and the output becomes visible.
    output
        .overwrite(made.index_at, &made.index)
        .map_err(PackagerError::Write)?;
    Ok(ProtectedMedia {
        tracks: protected_tracks(&plans, &made),
        clear_len,
        protected_len: made.len,
        output: output.commit().map_err(PackagerError::Write)?,
    })
}

fn protected_tracks(plans: &[TrackPlan<'_>], made: &Made) -> Vec<ProtectedTrack> {
    let protected = plans.iter().zip(&made.samples).filter_map(|(plan, samples)| {
        let protection = plan.protection.as_ref()?;
        Some(ProtectedTrack {
            id: plan.track.id,
            kind: protection.kind,
            codec: protection.format,
            kid: protection.kid,
            samples: *samples,
        })
    });
    protected.collect()
}

/// How much there is to write.
struct Extent {
    form: Form,
    fragments: u64,
    /// Of a progressive file, in the timescale of the movie.
    duration: Option<u64>,
}

impl Extent {
    /// Goes through all sample tables of a progressive file once, so that a fault in them is found before
    /// anything is written.
    fn of(movie: &Movie<'_>, layout: &Layout, file_len: u64, target: Duration) -> Result<Self, MediaError> {
        if layout.is_fragmented() {
            return Ok(Self {
                form: Form::Fragmented {
                    branded: layout.brands.is_some(),
                },
                fragments: layout.fragments,
                duration: None,
            });
        }
        let mut segmenter = Segmenter::new(movie.tracks.iter(), file_len, target)?;
        let (mut fragments, mut duration, mut len, mut taken) = (0, 0, 0_u64, Vec::new());
        while segmenter.next_into(&mut taken)? {
            fragments = u64::saturating_add(fragments, 1);
            for (track, samples) in movie.tracks.iter().zip(&taken) {
                let end = samples
                    .last()
                    .map_or(0, |last| last.decode_time.saturating_add(last.duration.into()));
                duration = u64::max(duration, rescaled(end, track.timescale, movie.timescale));
                len = samples
                    .iter()
                    .fold(len, |sum, sample| sum.saturating_add(sample.size.into()));
            }
        }
        // Tables may name the same bytes any number of times, which would make any amount of output.
        if len > file_len {
            return Err(MediaError::Overlap);
        }
        let stated = Some(movie.duration).filter(|stated| ![0, u32::MAX.into(), u64::MAX].contains(stated));
        Ok(Self {
            form: Form::Progressive(target),
            fragments,
            duration: Some(stated.unwrap_or(duration)),
        })
    }
}

fn rescaled(time: u64, from: u32, to: u32) -> u64 {
    let scaled = u128::from(time)
        .saturating_mul(to.into())
        .checked_div(from.into());
    u64::try_from(scaled.unwrap_or_default()).unwrap_or(u64::MAX)
}
