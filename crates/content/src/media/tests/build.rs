//! Tiny MP4 files, made byte by byte: each in its protected form, and as the clear view should be.

mod write;

use keyward_crypto::ContentKey;
use keyward_license::ids::Kid;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    cenc::{Pattern, Scheme, Subsample},
    header::ContentHeader,
    media::danger::RawKeys,
};
use write::Writer;
pub(super) use write::{bx, full, words};

/// Where the samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In chunks that the movie box describes, which stands in front of them or behind.
    Progressive { movie_first: bool },
    /// In fragments; `moof` is the base of offsets, by a flag or not, or the file is.
    Fragmented(Base),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Moof,
    File,
    /// Each track has a `moof` of its own, and the media data of both follow.
    MoofsTogether,
}

/// Where IVs and subsamples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Info {
    Senc,
    /// As a box of PIFF.
    PiffSenc,
    /// In front of the samples; `saiz` and `saio` say where.
    InMediaData,
    /// Nowhere: the IV is constant and samples are protected as a whole.
    None,
}

#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) scheme: Scheme,
    pub(super) pattern: Pattern,
    pub(super) iv_len: u8,
    pub(super) constant_iv: bool,
    pub(super) layout: Layout,
    pub(super) info: Info,
    pub(super) tracks: Vec<TrackSpec>,
}

#[derive(Debug, Clone)]
pub(super) struct TrackSpec {
    pub(super) video: bool,
    /// Its default key; nothing for a track that is clear.
    pub(super) key: Option<u8>,
    /// Its chunks or fragments.
    pub(super) chunks: Vec<Vec<SampleSpec>>,
}

#[derive(Debug, Clone)]
pub(super) struct SampleSpec {
    pub(super) clear: Vec<u8>,
    pub(super) subsamples: Vec<Subsample>,
    pub(super) key: SampleKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SampleKey {
    /// That of the track.
    Default,
    /// Another one, by a sample group.
    Group(u8),
    /// None, by a sample group.
    ClearGroup,
}

/// What was made.
pub(super) struct Made {
    pub(super) protected: Vec<u8>,
    pub(super) clear: Vec<u8>,
    /// Of each track the samples, in decoding order.
    pub(super) samples: Vec<Vec<Vec<u8>>>,
}

pub(super) fn kid(number: u8) -> Kid {
    Kid::new([number; 16])
}

pub(super) fn key(number: u8) -> ContentKey {
    ContentKey::new([number ^ 0x5a; 16])
}

/// The keys of every number below 16.
pub(super) fn keys() -> RawKeys {
    let mut keys = RawKeys::new();
    (0..16).for_each(|number| keys.insert(kid(number), key(number)));
    keys
}

/// The content header in the Keyward `pssh` box of every file.
pub(super) fn header() -> Vec<u8> {
    ContentHeader::for_file(kid(1), None).to_object_bytes().unwrap()
}

impl Spec {
    /// Two tracks, `cenc`, fragments: what most files are.
    pub(super) fn plain() -> Self {
        Self::random(&mut ChaCha20Rng::seed_from_u64(1)).with(|spec| {
            spec.scheme = Scheme::Cenc;
            spec.pattern = Pattern::NONE;
            (spec.iv_len, spec.constant_iv) = (8, false);
            spec.layout = Layout::Fragmented(Base::Moof);
            spec.info = Info::Senc;
            spec.tracks = vec![
                TrackSpec::of(1, &[&[40, 70], &[100]]),
                TrackSpec::of(2, &[&[33], &[20, 21]]),
            ];
        })
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn random(rng: &mut ChaCha20Rng) -> Self {
        let mut pick = |count: u32| usize::try_from(rng.next_u32() % count).unwrap();
        let scheme = Scheme::ALL[pick(4)];
        let pattern = match (scheme.has_pattern(), pick(3)) {
            (true, 0) => Pattern::VIDEO,
            (true, 1) => Pattern::new(2, 1).unwrap(),
            _ => Pattern::NONE,
        };
        let info = [Info::Senc, Info::PiffSenc, Info::InMediaData, Info::None][pick(4)];
        let layout = [
            Layout::Progressive { movie_first: true },
            Layout::Progressive { movie_first: false },
            Layout::Fragmented(Base::Moof),
            Layout::Fragmented(Base::File),
            Layout::Fragmented(Base::MoofsTogether),
        ][pick(5)];
        let constant_iv = info == Info::None || pick(4) == 0;
        let iv_len = [8, 16][pick(2)];
        let (tracks, chunks) = (1 + pick(3), pick(4));
        let whole = info == Info::None;
        Self {
            scheme,
            pattern,
            iv_len,
            constant_iv,
            layout,
            info,
            tracks: (0..tracks)
                .map(|_| TrackSpec::random(chunks, whole, rng))
                .collect(),
        }
    }

    pub(super) fn build(&self) -> Made {
        let samples = self.tracks.iter().map(|track| {
            let samples = track.chunks.iter().flatten();
            samples.map(|sample| sample.clear.clone()).collect()
        });
        Made {
            protected: Writer {
                spec: self,
                view: false,
            }
            .file(),
            clear: Writer {
                spec: self,
                view: true,
            }
            .file(),
            samples: samples.collect(),
        }
    }
}

impl TrackSpec {
    /// A video track under a key, with samples of these sizes.
    pub(super) fn of(key: u8, chunks: &[&[u32]]) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(key.into());
        let mut sample = |size: &u32| SampleSpec::of(*size, false, SampleKey::Default, &mut rng);
        Self {
            video: true,
            key: Some(key),
            chunks: chunks
                .iter()
                .map(|sizes| sizes.iter().map(&mut sample).collect())
                .collect(),
        }
    }

    fn random(chunks: usize, whole: bool, rng: &mut ChaCha20Rng) -> Self {
        let video = rng.next_u32().is_multiple_of(2);
        let key =
            (!rng.next_u32().is_multiple_of(4)).then_some(1 + u8::try_from(rng.next_u32() % 3).unwrap());
        let mut sample = |_| {
            let group = match rng.next_u32() % 6 {
                0 => SampleKey::ClearGroup,
                1 => SampleKey::Group(5),
                2 => SampleKey::Group(6),
                _ => SampleKey::Default,
            };
            let group = if key.is_some() { group } else { SampleKey::Default };
            SampleSpec::of(rng.next_u32() % 90, whole, group, rng)
        };
        Self {
            video,
            key,
            chunks: (0..chunks)
                .map(|chunk| (0..(chunk * 7) % 5).map(&mut sample).collect())
                .collect(),
        }
    }
}

impl SampleSpec {
    fn of(size: u32, whole: bool, key: SampleKey, rng: &mut ChaCha20Rng) -> Self {
        let mut clear = vec![0; usize::try_from(size).unwrap()];
        rng.fill_bytes(&mut clear);
        let mut subsamples = Vec::new();
        let mut left = if whole { 0 } else { size };
        while left > 0 {
            let clear = (rng.next_u32() % 9).min(left);
            let protected = (rng.next_u32() % (50 + size / 8)).min(left - clear);
            left -= clear + protected;
            subsamples.push(Subsample {
                clear: u16::try_from(clear).unwrap(),
                protected,
            });
        }
        Self {
            clear,
            subsamples,
            key,
        }
    }
}
