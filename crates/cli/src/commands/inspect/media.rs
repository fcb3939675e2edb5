//! MP4: tracks, what protects them, where licenses are said to be. Boxes are read one at a time, media data
//! not at all.

mod track;

use std::io::{Read, Seek};

use keyward_content::{
    header::Object,
    isobmff::{
        BoxError, BoxSpan, FourCc, Fragment, FragmentDefaults, Movie, ProtectionCursor, ScanError,
        SegmentIndex, TopBox, TopBoxes, kind,
    },
    media::{MAX_FRAGMENT_LEN, MAX_MOVIE_LEN, begins_like_mp4},
    pssh::{Pssh, SystemId},
};
use keyward_license::embedded::EmbeddedStore;

use super::{
    explanation::{Explanation, Fields, Kind, Standing, Value, list, plain, said},
    pssh,
};
use track::TrackFacts;

/// Whether what begins so is made of boxes: an MP4, a segment of one, or `pssh` boxes.
pub(super) fn begins_so(head: &[u8]) -> bool {
    begins_like_mp4(head) || matches!(head, [0, _, _, _, b'p', b's', b's', b'h', ..])
}

/// Explains an MP4, or a segment of one.
pub(super) fn explain(source: impl Read + Seek) -> Result<Explanation, std::io::Error> {
    let mut boxes = TopBoxes::new(source)?;
    let mut facts = Facts {
        file_len: boxes.file_len(),
        ..Facts::default()
    };
    for _ in 0..MAX_BOXES {
        let Some(top) = boxes.next() else {
            return Ok(facts.into_explanation());
        };
        match top.and_then(|top| facts.take(&mut boxes, &top)) {
            Err(ScanError::Io(error)) => return Err(error),
            taken => facts.fault(taken),
        }
    }
    facts.faults.push(format!(
        "there are more than {MAX_BOXES} boxes; those behind are not looked at"
    ));
    Ok(facts.into_explanation())
}

/// What was found so far.
#[derive(Default)]
struct Facts {
    file_len: u64,
    brands: Option<Fields>,
    /// Whether there is a movie box, readable or not.
    has_movie: bool,
    movie: Option<Fields>,
    tracks: Vec<TrackFacts>,
    defaults: FragmentDefaults,
    headers: Vec<Value>,
    riding: Riding,
    indexes: Vec<Value>,
    fragments: u64,
    media_data: u64,
    /// Samples of all tracks.
    counted: u64,
    faults: Vec<String>,
    more_faults: u64,
}

impl Facts {
    fn take<R: Read + Seek>(&mut self, boxes: &mut TopBoxes<R>, top: &TopBox) -> Result<(), ScanError> {
        let mut read = |limit| top.read(boxes.reader(), limit);
        match top.kind().fourcc() {
            kind::MDAT => {
                let body = top.end().saturating_sub(top.body_offset());
                self.media_data = self.media_data.saturating_add(body);
            }
            kind::FTYP | kind::STYP if self.brands.is_none() => {
                self.brands = Some(brands(&BoxSpan::parse(&read(MAX_SMALL_LEN)?, top.offset)?)?);
            }
            kind::SIDX => self.index(&BoxSpan::parse(&read(MAX_SMALL_LEN)?, top.offset)?)?,
            kind::PSSH => {
                self.header(&BoxSpan::parse(&read(MAX_SMALL_LEN)?, top.offset)?, "file");
            }
            kind::MOOV => {
                let bytes = read(MAX_MOVIE_LEN)?;
                self.movie(boxes.reader(), &BoxSpan::parse(&bytes, top.offset)?)?;
            }
            kind::MOOF => {
                let bytes = read(MAX_FRAGMENT_LEN)?;
                self.fragments = self.fragments.saturating_add(1);
                self.fragment(boxes.reader(), &BoxSpan::parse(&bytes, top.offset)?)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn movie<R: Read + Seek>(&mut self, reader: &mut R, span: &BoxSpan<'_>) -> Result<(), ScanError> {
        if std::mem::replace(&mut self.has_movie, true) {
            return Err(span.invalid("there is a second movie box").into());
        }
        self.headers_in(span, "moov");
        let movie = Movie::parse(span)?;
        self.movie = Some(Fields::default().with("fragmented", movie.fragmented));
        for track in &movie.tracks {
            let mut facts = TrackFacts::of(track);
            let counted = facts.count_movie(track, self.file_len, &mut self.counted, reader);
            self.tracks.push(facts);
            match counted {
                Err(ScanError::Io(error)) => return Err(error.into()),
                counted => self.fault(counted),
            }
        }
        self.defaults = movie.defaults;
        Ok(())
    }

    fn fragment<R: Read + Seek>(&mut self, reader: &mut R, span: &BoxSpan<'_>) -> Result<(), ScanError> {
        self.headers_in(span, "moof");
        self.riding.end_fragment();
        if self.movie.is_none() {
            // A media segment: only its movie box says what its samples are.
            return Ok(());
        }
        let fragment = Fragment::parse(span, &self.defaults)?;
        for traf in &fragment.tracks {
            let unknown = BoxError::UnknownTrack {
                path: traf.span.path(),
                id: traf.track_id,
            };
            let track = self
                .tracks
                .iter_mut()
                .find(|track| track.id == traf.track_id)
                .ok_or(unknown)?;
            let protection = track.protection.clone();
            let cursor = ProtectionCursor::of_fragment(&fragment, traf, &protection)?;
            track.count_boxes(&traf.span)?;
            track.count(traf.samples(0), cursor, &mut self.counted, reader)?;
        }
        Ok(())
    }

    fn index(&mut self, span: &BoxSpan<'_>) -> Result<(), ScanError> {
        let index = SegmentIndex::parse(span)?;
        let duration = index
            .references
            .iter()
            .map(|reference| u64::from(reference.duration))
            .sum();
        let fields = Fields::default()
            .with("track", u64::from(index.reference_id))
            .with(
                "references",
                u64::try_from(index.references.len()).unwrap_or(u64::MAX),
            )
            .with("duration_ms", milliseconds(duration, index.timescale));
        push_bounded(&mut self.indexes, fields.into());
        Ok(())
    }

    /// The `pssh` boxes in a movie or fragment.
    fn headers_in(&mut self, span: &BoxSpan<'_>, place: &'static str) {
        for child in span.children().map_while(Result::ok) {
            if child.kind() == kind::PSSH {
                self.header(&child, place);
            }
        }
    }

    fn header(&mut self, span: &BoxSpan<'_>, place: &'static str) {
        if place == "moof" && !self.riding.count(span.body()) {
            return;
        }
        let place = Fields::default().with("found_in", plain(place));
        push_bounded(
            &mut self.headers,
            place.and(pssh::body_fields(span.body())).into(),
        );
    }

    fn fault(&mut self, taken: Result<impl Sized, ScanError>) {
        let Err(error) = taken else { return };
        if self.faults.len() < MAX_ITEMS {
            self.faults.push(error.to_string());
        } else {
            self.more_faults = self.more_faults.saturating_add(1);
        }
    }

    fn into_explanation(mut self) -> Explanation {
        if !self.has_movie {
            self.faults
                .push("there is no movie box (moov): what the samples are is not known".to_owned());
        }
        if self.more_faults > 0 {
            self.faults.push(format!("{} faults more", self.more_faults));
        }
        let fields = self
            .brands
            .unwrap_or_default()
            .and(self.movie.unwrap_or_default())
            .with(
                "tracks",
                Value::List(
                    self.tracks
                        .into_iter()
                        .map(|track| track.into_fields().into())
                        .collect(),
                ),
            )
            .with("pssh", Value::List(self.headers))
            .with("riding", self.riding.into_fields())
            .with("segment_indexes", Value::List(self.indexes))
            .with("fragments", self.fragments)
            .with("media_data_bytes", Value::Size(self.media_data))
            .faults(self.faults);
        let standing =
            Standing::unverified("nothing in an MP4 is signed, and common encryption does not authenticate");
        Explanation::new(Kind::Mp4, self.file_len, standing, fields)
            .not_checked(&["that keys open the samples, and that the samples can be decoded"])
    }
}

/// What rides in fragments: keys that change, and licenses for them.
#[derive(Default)]
struct Riding {
    boxes: u64,
    licenses: u64,
    faulty_stores: u64,
    fragments: u64,
    /// Boxes when the fragment began.
    before: u64,
}

impl Riding {
    /// Takes in a `pssh` box, and says whether it is one of the first, which are shown.
    fn count(&mut self, body: &[u8]) -> bool {
        self.boxes = self.boxes.saturating_add(1);
        let object = Pssh::parse_body(body)
            .ok()
            .filter(|pssh| pssh.system_id == SystemId::KEYWARD);
        let store = object
            .as_ref()
            .and_then(|pssh| Object::parse(&pssh.data).ok()?.embedded_store);
        match store.map(EmbeddedStore::read) {
            Some(Ok(store)) => {
                let licenses = u64::try_from(store.licenses().len()).unwrap_or(u64::MAX);
                self.licenses = self.licenses.saturating_add(licenses);
            }
            Some(Err(_)) => self.faulty_stores = self.faulty_stores.saturating_add(1),
            None => {}
        }
        self.boxes <= SHOWN_RIDING
    }

    fn end_fragment(&mut self) {
        let has_some = self.boxes > self.before;
        self.fragments = self.fragments.saturating_add(has_some.into());
        self.before = self.boxes;
    }

    fn into_fields(self) -> Option<Fields> {
        (self.boxes > 0).then(|| {
            Fields::default()
                .with("fragments", self.fragments)
                .with("pssh_boxes", self.boxes)
                .with("licenses", self.licenses)
                .with("faulty_stores", self.faulty_stores)
        })
    }
}

/// How many `pssh` boxes of fragments are shown.
const SHOWN_RIDING: u64 = 8;

/// The brands of `ftyp` and `styp`.
fn brands(span: &BoxSpan<'_>) -> Result<Fields, BoxError> {
    let mut fields = span.fields();
    let (major, minor) = (fields.fourcc()?, fields.u32()?);
    let (compatible, _) = fields.rest().as_chunks::<4>();
    Ok(Fields::default()
        .with("brand", plain(major))
        .with("brand_version", u64::from(minor))
        .with(
            "compatible_brands",
            list(compatible.iter().take(MAX_ITEMS), |code| plain(FourCc(*code))),
        ))
}

/// A duration for people and programs.
fn milliseconds(duration: u64, timescale: u32) -> Value {
    let milliseconds = u128::from(duration)
        .saturating_mul(1000)
        .checked_div(timescale.into())
        .and_then(|milliseconds| u64::try_from(milliseconds).ok());
    milliseconds
        .map(|all| said(all, format!("{}.{:03} s", all / 1000, all % 1000)))
        .into()
}

fn push_bounded(items: &mut Vec<Value>, item: Value) {
    if items.len() < MAX_ITEMS {
        items.push(item);
    }
}

/// Most boxes that are looked at.
const MAX_BOXES: u32 = 1 << 20;
/// Most items of a list that a file can make as long as it likes.
const MAX_ITEMS: usize = 64;
/// Most bytes of a box that is small in files that anybody makes.
const MAX_SMALL_LEN: u64 = 1 << 20;
