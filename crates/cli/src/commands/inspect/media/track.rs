//! One track: how it is protected, and how its samples really are.

use std::io::{Read, Seek, SeekFrom};

use keyward_content::isobmff::{
    AuxiliaryData, BoxError, BoxKind, BoxPath, BoxSpan, EntryProtection, Handler, ProtectedSample,
    ProtectionCursor, Sample, SampleEntry, SampleProtection, ScanError, Track, TrackEncryption,
    TrackProtection, kind,
};
use keyward_content::media::MAX_SAMPLES;
use keyward_license::ids::Kid;

use super::super::explanation::{Fields, Value, list, plain, said};
use super::{MAX_ITEMS, milliseconds};

/// What is known of a track.
pub(super) struct TrackFacts {
    pub(super) id: u32,
    pub(super) protection: TrackProtection,
    path: BoxPath,
    head: Fields,
    timescale: u32,
    duration: u64,
    clear: u64,
    protected: u64,
    /// Samples under each key id.
    kids: Vec<(Kid, u64)>,
    first_protected: Option<Fields>,
    /// How many sample tables and track fragments have each of the boxes of [`AUXILIARY`].
    boxes: [u64; AUXILIARY.len()],
}

/// The boxes of auxiliary information.
const AUXILIARY: [(&str, BoxKind); 4] = [
    ("senc", BoxKind::Type(kind::SENC)),
    ("saiz", BoxKind::Type(kind::SAIZ)),
    ("saio", BoxKind::Type(kind::SAIO)),
    ("piff_senc", BoxKind::Uuid(kind::PIFF_SENC)),
];

impl TrackFacts {
    /// What the movie box says of a track.
    pub(super) fn of(track: &Track<'_>) -> Self {
        let holds = match track.handler {
            Handler::Video => plain("video"),
            Handler::Audio => plain("audio"),
            Handler::Other(code) => plain(code),
        };
        let head = Fields::default()
            .with("id", u64::from(track.id))
            .with("track_kind", holds)
            .with(
                "sample_entries",
                list(track.entries.iter().take(MAX_ITEMS), entry),
            )
            .with(
                "sample_groups",
                list(track.groups.descriptions().iter().take(MAX_ITEMS), |group| {
                    encryption(group).into()
                }),
            )
            .with("timescale", u64::from(track.timescale));
        Self {
            id: track.id,
            protection: TrackProtection::of(track),
            path: track.span.path(),
            head,
            timescale: track.timescale,
            duration: 0,
            clear: 0,
            protected: 0,
            kids: Vec::new(),
            first_protected: None,
            boxes: [0; AUXILIARY.len()],
        }
    }

    /// Counts the samples that the movie box describes.
    pub(super) fn count_movie<R: Read + Seek>(
        &mut self,
        track: &Track<'_>,
        file_len: u64,
        counted: &mut u64,
        reader: &mut R,
    ) -> Result<(), ScanError> {
        self.count_boxes(&track.stbl)?;
        let protection = self.protection.clone();
        let cursor = ProtectionCursor::of_track(track, &protection)?;
        self.count(track.tables.samples(file_len)?, cursor, counted, reader)
    }

    /// Counts the boxes of auxiliary information.
    pub(super) fn count_boxes(&mut self, home: &BoxSpan<'_>) -> Result<(), BoxError> {
        for child in home.children() {
            let kind = child?.kind();
            for ((_, known), count) in AUXILIARY.iter().zip(&mut self.boxes) {
                *count = count.saturating_add((kind == *known).into());
            }
        }
        Ok(())
    }

    /// Counts samples, and remembers the first protected one.
    pub(super) fn count<R: Read + Seek>(
        &mut self,
        samples: impl Iterator<Item = Result<Sample, BoxError>>,
        mut cursor: ProtectionCursor<'_>,
        counted: &mut u64,
        reader: &mut R,
    ) -> Result<(), ScanError> {
        for sample in samples {
            let sample = sample?;
            // A few bytes can say that there are millions of samples, and say so again and again.
            if *counted >= MAX_SAMPLES {
                return Err(self.too_many().into());
            }
            *counted = counted.saturating_add(1);
            self.duration = self.duration.saturating_add(sample.duration.into());
            match cursor.next(&sample)? {
                SampleProtection::Clear => self.clear = self.clear.saturating_add(1),
                SampleProtection::Protected(protected) => {
                    if self.first_protected.is_none() {
                        let number = self.clear.saturating_add(self.protected).saturating_add(1);
                        self.first_protected = Some(first(number, &sample, &protected, reader)?);
                    }
                    self.protected = self.protected.saturating_add(1);
                    self.count_kid(protected.encryption.kid);
                }
            }
        }
        Ok(())
    }

    fn too_many(&self) -> BoxError {
        BoxError::TooMany {
            path: self.path,
            what: "samples",
            limit: MAX_SAMPLES,
        }
    }

    fn count_kid(&mut self, kid: Kid) {
        if let Some((_, samples)) = self.kids.iter_mut().find(|(known, _)| *known == kid) {
            *samples = samples.saturating_add(1);
        } else if self.kids.len() < MAX_ITEMS {
            self.kids.push((kid, 1));
        }
    }

    pub(super) fn into_fields(self) -> Fields {
        let boxes = AUXILIARY
            .iter()
            .zip(self.boxes)
            .filter(|(_, count)| *count > 0)
            .fold(Fields::default(), |fields, ((name, _), count)| {
                fields.with(name, count)
            });
        let kids = list(self.kids, |(kid, samples)| {
            Fields::default()
                .with("kid", plain(kid))
                .with("samples", samples)
                .into()
        });
        self.head
            .with("duration_ms", milliseconds(self.duration, self.timescale))
            .with("protected_samples", self.protected)
            .with("clear_samples", self.clear)
            .with("samples_by_kid", kids)
            .with("first_protected_sample", self.first_protected)
            .with("auxiliary_boxes", boxes)
    }
}

fn entry(entry: &SampleEntry<'_>) -> Value {
    let codec = entry.coding().map_or(entry.format, |coding| coding);
    let configuration = entry.configuration().ok().flatten().map(|(kind, _)| plain(kind));
    Fields::default()
        .with("format", plain(entry.format))
        .with("codec", plain(codec))
        .with("codec_configuration", configuration)
        .with("protection", entry.protection.as_ref().map(protection))
        .into()
}

fn protection(protection: &EntryProtection) -> Fields {
    let understood = protection.scheme.map(|scheme| plain(scheme.as_str()));
    let version = said(
        protection.scheme_version,
        format!("{:#x}", protection.scheme_version),
    );
    Fields::default()
        .with("scheme", plain(protection.scheme_type))
        .with("scheme_version", version)
        .with("read_as", understood)
        .and(protection.default.as_ref().map(encryption).unwrap_or_default())
}

/// The fields of `tenc` and `seig`.
fn encryption(encryption: &TrackEncryption) -> Fields {
    let iv_size = match encryption.iv_size {
        0 => "none of its own for a sample".to_owned(),
        size => format!("{size} bytes a sample"),
    };
    Fields::default()
        .with("protected", encryption.protected)
        .with("kid", plain(encryption.kid))
        .with("iv_bytes", said(encryption.iv_size, iv_size))
        .with(
            "constant_iv",
            encryption.constant_iv.map(|iv| plain(hex::encode(iv.as_bytes()))),
        )
        .with("pattern", plain(encryption.pattern))
}

/// A protected sample: its IV and subsamples.
fn first<R: Read + Seek>(
    number: u64,
    sample: &Sample,
    protected: &ProtectedSample<'_>,
    reader: &mut R,
) -> Result<Fields, ScanError> {
    let mut fetched = Vec::new();
    let data = match protected.data {
        AuxiliaryData::Here(data) => data,
        AuxiliaryData::InFile { offset, len } => {
            reader.seek(SeekFrom::Start(offset))?;
            reader.take(len.into()).read_to_end(&mut fetched)?;
            &fetched
        }
    };
    let details = protected.details(data)?;
    let sum = |part: fn(&keyward_content::cenc::Subsample) -> u64| {
        details.subsamples.iter().map(|s| part(&s)).sum::<u64>()
    };
    let subsamples = list(details.subsamples.iter().take(MAX_SUBSAMPLES), |subsample| {
        said(
            serde_json::json!({ "clear_bytes": subsample.clear, "protected_bytes": subsample.protected }),
            format!("{} + {}", subsample.clear, subsample.protected),
        )
    });
    let whole = details.subsamples.is_empty();
    let fields = Fields::default()
        .with("number", number)
        .with("offset", sample.offset)
        .with("sample_bytes", Value::Size(sample.size.into()))
        .with("scheme", plain(protected.scheme))
        .with("kid", plain(protected.encryption.kid))
        .with("iv", plain(hex::encode(details.iv.as_bytes())))
        .with("pattern", plain(protected.encryption.pattern));
    Ok(if whole {
        fields.with("subsamples", said(0, "none: protected as a whole"))
    } else {
        fields
            .with(
                "subsamples",
                u64::try_from(details.subsamples.len()).unwrap_or(u64::MAX),
            )
            .with("clear_bytes", Value::Size(sum(|part| part.clear.into())))
            .with("protected_bytes", Value::Size(sum(|part| part.protected.into())))
            .with("first_subsamples", subsamples)
    })
}

/// How many subsamples of the first protected sample are shown.
const MAX_SUBSAMPLES: usize = 8;
