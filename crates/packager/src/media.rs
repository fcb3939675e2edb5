//! Protecting an MP4 sample by sample: the whole flow.
//!
//! ```text
//!   input   ftyp │ moov … avc1            │ mdat                       any order, or in fragments
//!   output  ftyp │ moov … encv( … sinf ) … pssh │ sidx │ moof … senc │ mdat ▒▒▒▒ │ moof … senc │ mdat ▒▒▒▒ │ …
//!
//!   probe     what the file is made of, and whether all of it can be protected
//!   tracks    which track has which key; IVs
//!   periods   crypto periods: keys that change while the media plays
//!   timeline  which fragment is in which crypto period
//!   rotation  the keys of the crypto period at hand
//!   mux       brands, movie box, protection system headers
//!   segment   where a progressive file is cut
//!   carried   tables of a progressive file that go along into fragments
//!   encrypt   which bytes of each sample are protected, and the cipher they stream through
//!   fragments the worker: fragments that are made, or edited
//!   index     the segment index
//!   quality   which quality a track has
//!   source    the input: copied in long pieces, looked at sparsely
//!   cut       the output in segments
//!   stream    an input that is read once, as it comes through a pipe
//!   kept      what came through a pipe and may still be asked for
//!   outlet    the output: buffers on their way to the thread that writes
//! ```
//!
//! The layout of the output is in `spec/media.md`, "Layout that a packager writes".

mod carried;
pub mod cut;
mod encrypt;
pub mod error;
mod fragments;
mod index;
mod kept;
mod mux;
mod outlet;
pub mod periods;
mod probe;
pub mod quality;
mod rotation;
mod segment;
mod source;
pub mod stream;
mod timeline;
pub mod tracks;

use core::time::Duration;
use std::io::{Read, Seek};

use keyward_content::{
    cenc::{Pattern, Scheme},
    isobmff::{FourCc, Movie},
};
use keyward_license::ids::Kid;
use rand_core::CryptoRng;

use crate::{KeySource, MediaError, OutputSink, PackagerError, pipeline};
use fragments::{Form, Job, Lead, Made};
use index::IndexBuilder;
use outlet::{Batch, Outlet};
use periods::{ProtectedPeriods, Rotation};
use probe::Layout;
use rotation::RotationState;
use segment::Segmenter;
use source::Source;
use stream::{MediaStream, Pipe};
use timeline::{Timeline, TimelineBuilder};
use tracks::{TrackKey, TrackKind, TrackPlan};

/// Buffers between the worker and the thread that writes.
const BATCHES: usize = 4;

/// What to protect media with.
#[derive(Debug)]
pub struct MediaOptions {
    /// The protection scheme.
    pub scheme: Scheme,
    /// The pattern of video in `cbcs` and `cens`; 1:9 is what everybody uses. The other schemes have none, and neither have
    /// samples without subsamples (ISO/IEC 23001-7, 9.7): audio and VP8.
    pub pattern: Pattern,
    /// The keys of the tracks. Every video and audio track needs one, unless keys rotate
    /// ([`protect_rotating`]).
    pub keys: Vec<TrackKey>,
    /// Keys of the whole content, where this file is one of several: the content header names them first, in this
    /// order, so that one license request asks for all. Those of tracks that are not among them follow.
    pub content_keys: Vec<ContentKeyId>,
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
    /// Bytes to reserve in the movie box for licenses embedded later; 0 for no embedded license store. The
    /// content header and the store have 15 KiB together.
    pub store_len: u32,
}

impl MediaOptions {
    /// The least there is to say; fragments of at least two seconds.
    #[must_use]
    pub const fn new(scheme: Scheme, keys: Vec<TrackKey>) -> Self {
        Self {
            scheme,
            pattern: Pattern::VIDEO,
            keys,
            content_keys: Vec::new(),
            license_url: None,
            license_ui_url: None,
            domain_service_id: None,
            custom_attributes: None,
            playready_pssh: false,
            fragment_duration: Duration::from_secs(2),
            clear_lead: Duration::ZERO,
            store_len: 0,
        }
    }
}

/// A key of the content.
#[derive(Debug)]
pub struct ContentKeyId {
    /// The key id.
    pub kid: Kid,
    /// Where its content key comes from.
    pub key: KeySource,
}

/// Media that was protected.
#[derive(Debug)]
pub struct ProtectedMedia<T> {
    /// The protected tracks, in the order of the file. Others went along clear.
    pub tracks: Vec<ProtectedTrack>,
    /// The crypto periods, if keys rotate.
    pub periods: Option<ProtectedPeriods>,
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
    /// The key id that licenses for it name; where keys rotate, that of the first crypto period.
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
    output: S,
    options: &MediaOptions,
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(u64),
) -> Result<ProtectedMedia<S::Output>, PackagerError> {
    check_output(&output)?;
    protect(Input::file(input)?, output, (options, None), rng, progress)
}

/// Protects the fragments of `input` as they come, into `output`.
///
/// As [`protect_media`], but that the input is read once, that there is free space in front of the segment
/// index, and that memory grows with the longest fragment as well, up to the bound that [`MediaStream`] has.
///
/// # Errors
/// [`PackagerError`]; then `output` is dropped without commit. An input that ends in the middle of a box is one;
/// one that ends between fragments is whole.
pub fn protect_stream<R: Read + Send, S: OutputSink>(
    input: MediaStream<R>,
    output: S,
    options: &MediaOptions,
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(u64),
) -> Result<ProtectedMedia<S::Output>, PackagerError> {
    check_output(&output)?;
    protect(input.into(), output, (options, None), rng, progress)
}

/// Protects the MP4 file `input`, into `output`, under keys that change from crypto period to crypto period.
///
/// Every fragment says which key its samples are under and where licenses for it are, and brings along the
/// licenses that its source gave. The movie box names the root licenses with which those open, or where there
/// are none the keys of the first period. [`MediaOptions::keys`] and [`MediaOptions::content_keys`] must be
/// empty. For the rest as [`protect_media`]; memory holds the keys of one batch.
///
/// # Errors
/// As [`protect_media`], and those of the source of the keys.
pub fn protect_rotating<R: Read + Seek + Send, S: OutputSink>(
    input: R,
    output: S,
    options: &MediaOptions,
    rotation: Rotation<'_>,
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(u64),
) -> Result<ProtectedMedia<S::Output>, PackagerError> {
    check_output(&output)?;
    check_rotation(options)?;
    protect(
        Input::file(input)?,
        output,
        (options, Some(rotation)),
        rng,
        progress,
    )
}

/// Protects the fragments of `input` as they come, into `output`, under keys that change from crypto period to
/// crypto period.
///
/// As [`protect_rotating`], but for what [`protect_stream`] does otherwise than [`protect_media`]. The periods that
/// come are not known beforehand: the source is asked for more and more at once, and for some that are not reached.
/// Behind a clear lead the first period is taken to be that in which the lead ends.
///
/// # Errors
/// As [`protect_stream`], and those of the source of the keys.
pub fn protect_rotating_stream<R: Read + Send, S: OutputSink>(
    input: MediaStream<R>,
    output: S,
    options: &MediaOptions,
    rotation: Rotation<'_>,
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(u64),
) -> Result<ProtectedMedia<S::Output>, PackagerError> {
    check_output(&output)?;
    check_rotation(options)?;
    protect(input.into(), output, (options, Some(rotation)), rng, progress)
}

/// The input, and what it is made of.
struct Input<R> {
    source: Source<R>,
    layout: Layout,
}

impl<R: Read + Seek> Input<R> {
    fn file(reader: R) -> Result<Self, PackagerError> {
        let mut source = Source::new(reader).map_err(PackagerError::Read)?;
        let layout = Layout::scan(&mut source)?;
        Ok(Self { source, layout })
    }
}

impl<R> From<MediaStream<R>> for Input<Pipe<R>> {
    fn from(MediaStream { source, layout }: MediaStream<R>) -> Self {
        Self { source, layout }
    }
}

fn protect<R: Read + Seek + Send, S: OutputSink>(
    Input { mut source, layout }: Input<R>,
    mut output: S,
    (options, mut rotation): (&MediaOptions, Option<Rotation<'_>>),
    rng: &mut impl CryptoRng,
    progress: &mut dyn FnMut(u64),
) -> Result<ProtectedMedia<S::Output>, PackagerError> {
    // 1. What the file is made of; what cannot be protected as a whole is refused.
    let movie = Movie::parse(&layout.movie_span()?)?;
    probe::check(&movie, &layout)?;
    let leading = probe::reference_track(&movie)?;
    let builder = rotation.as_ref().map(|rotation| {
        TimelineBuilder::new(rotation.periods, Lead::new(options.clear_lead), leading.timescale)
    });
    let extent = Extent::of(&movie, &layout, &mut source, options.fragment_duration, builder)?;

    // 2. IVs and keys of each track: those of the whole file, or of the first crypto period.
    let plans = tracks::plan(&movie, (options.scheme, options.pattern), rng)?;
    let rotation = match rotation.as_mut().zip(extent.timeline) {
        Some((Rotation { source, .. }, timeline)) => {
            Some(RotationState::begin(options, &mut **source, timeline, &plans)?)
        }
        None => None,
    };
    let ciphers = match &rotation {
        Some(rotation) => rotation.ciphers().to_vec(),
        None => tracks::ciphers(&plans, &options.keys)?,
    };
    let kids: Vec<Option<Kid>> = ciphers.iter().map(|cipher| Some(cipher.as_ref()?.kid)).collect();

    // 3. The content header, which names the key ids and the license server, in its boxes.
    let headers = match &rotation {
        Some(rotation) => rotation.movie_headers()?,
        None => {
            let keys = ciphers.iter().flatten().map(AsRef::as_ref);
            let header = mux::content_header(options, keys, false)?;
            let named: Vec<_> = header.kids.iter().map(|key| key.kid).collect();
            mux::movie_headers(options, &header, &named)?
        }
    };

    // 4. The movie box with its protection, and the size of the segment index.
    let job = Job {
        movie: &movie,
        plans: &plans,
        brands: mux::brands(layout.brands.as_deref())?,
        movie_box: mux::movie_box(
            (&movie, &plans),
            &mux::entry_kids(&kids, rotation.is_some()),
            headers,
            extent.duration,
            options.clear_lead > Duration::ZERO,
        )?,
        index: IndexBuilder::new(&movie, leading, extent.fragments)?,
        form: extent.form,
        clear_lead: options.clear_lead,
        ciphers,
        rotation,
    };

    // 5. The fragments: first which bytes are protected, then the bytes, while others are written.
    let mut made = pipeline::run(
        (0..BATCHES).map(|_| Batch::new()).collect(),
        |circle| fragments::run(job, source, Outlet::new(circle)?),
        |batch: &Batch| {
            output.write_all(batch.filled()).map_err(PackagerError::Write)?;
            progress(batch.input_done);
            Ok(())
        },
    )?;
    progress(made.input_len);

    // 6. The segment index is filled in, and the output becomes visible.
    output
        .overwrite(made.index_at, &made.index)
        .map_err(PackagerError::Write)?;
    Ok(ProtectedMedia {
        tracks: protected_tracks(&plans, &kids, &made),
        periods: made.periods.take(),
        clear_len: made.input_len,
        protected_len: made.len,
        output: output.commit().map_err(PackagerError::Write)?,
    })
}

fn check_output(output: &impl OutputSink) -> Result<(), MediaError> {
    if output.can_overwrite() {
        Ok(())
    } else {
        Err(MediaError::NoOverwrite)
    }
}

fn check_rotation(options: &MediaOptions) -> Result<(), MediaError> {
    if options.keys.is_empty() && options.content_keys.is_empty() {
        Ok(())
    } else {
        Err(MediaError::KeysAndPeriods)
    }
}

fn protected_tracks(plans: &[TrackPlan<'_>], kids: &[Option<Kid>], made: &Made) -> Vec<ProtectedTrack> {
    let tracks = plans.iter().zip(kids).zip(&made.samples);
    let protected = tracks.filter_map(|((plan, kid), samples)| {
        let protection = plan.protection.as_ref()?;
        Some(ProtectedTrack {
            id: plan.track.id,
            kind: protection.kind,
            codec: protection.format,
            kid: (*kid)?,
            samples: *samples,
        })
    });
    protected.collect()
}

/// How much there is to write.
struct Extent {
    form: Form,
    /// Nothing if nobody knows.
    fragments: Option<u64>,
    /// Of a progressive file, in the timescale of the movie.
    duration: Option<u64>,
    /// The crypto periods of the fragments, if keys rotate.
    timeline: Option<Timeline>,
}

impl Extent {
    /// Goes through all sample tables of a progressive file once, so that a fault in them is found before
    /// anything is written; through the fragments of another only where keys rotate.
    fn of<R: Read + Seek>(
        movie: &Movie<'_>,
        layout: &Layout,
        source: &mut Source<R>,
        target: Duration,
        mut timeline: Option<TimelineBuilder>,
    ) -> Result<Self, PackagerError> {
        let leading = probe::reference_track(movie)?;
        if layout.is_fragmented() {
            let timeline = timeline.map(|timeline| timeline.of_fragments(source, movie, leading));
            return Ok(Self {
                form: Form::Fragmented {
                    branded: layout.brands.is_some(),
                },
                fragments: layout.fragments,
                duration: None,
                timeline: timeline.transpose()?,
            });
        }
        let file_len = source.len();
        let mut segmenter = Segmenter::new(movie.tracks.iter(), file_len, target)?;
        let (mut fragments, mut duration, mut len, mut taken) = (0, 0, 0_u64, Vec::new());
        while segmenter.next_into(&mut taken)? {
            fragments = u64::saturating_add(fragments, 1);
            let mut begin = None;
            for (track, samples) in movie.tracks.iter().zip(&taken) {
                let end = samples
                    .last()
                    .map_or(0, |last| last.decode_time.saturating_add(last.duration.into()));
                duration = u64::max(duration, rescaled(end, track.timescale, movie.timescale));
                len = samples
                    .iter()
                    .fold(len, |sum, sample| sum.saturating_add(sample.size.into()));
                if track.id == leading.id {
                    begin = samples.first().map(|sample| sample.decode_time);
                }
            }
            if let Some(timeline) = &mut timeline {
                timeline.push(begin)?;
            }
        }
        // Tables may name the same bytes any number of times, which would make any amount of output.
        if len > file_len {
            return Err(MediaError::Overlap.into());
        }
        let stated = Some(movie.duration).filter(|stated| ![0, u32::MAX.into(), u64::MAX].contains(stated));
        Ok(Self {
            form: Form::Progressive(target),
            fragments: Some(fragments),
            duration: Some(stated.unwrap_or(duration)),
            timeline: timeline.map(TimelineBuilder::finish),
        })
    }
}

fn rescaled(time: u64, from: u32, to: u32) -> u64 {
    let scaled = u128::from(time)
        .saturating_mul(to.into())
        .checked_div(from.into());
    u64::try_from(scaled.unwrap_or_default()).unwrap_or(u64::MAX)
}
