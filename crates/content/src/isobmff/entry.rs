//! Sample entries: the format of samples and what a decoder needs.

use super::{BoxError, BoxSpan, Children, EntryProtection, FourCc, Handler, fields::wide, kind};

/// A sample entry (8.5.2): the format of samples and what a decoder needs.
#[derive(Debug, Clone)]
pub struct SampleEntry<'a> {
    /// The box.
    pub span: BoxSpan<'a>,
    /// Its type: `avc1`, `mp4a`, …, or `encv`, `enca` if protected.
    pub format: FourCc,
    /// Bytes of fields in front of the boxes inside; nothing if the form of the entry is not known.
    pub fields_len: Option<usize>,
    /// How its samples are protected; nothing if they are clear.
    pub protection: Option<EntryProtection>,
}

/// Most sample entries of a track: a [`SampleEntry`] is larger than the smallest box.
pub const MAX_ENTRIES: usize = 1 << 10;

/// The boxes that configure decoders: H.264, H.265, H.266, AV1, VP8 and VP9, MPEG-4, Dolby, Opus, FLAC, ALAC.
const CONFIGURATIONS: [FourCc; 13] = [
    FourCc(*b"avcC"),
    FourCc(*b"hvcC"),
    FourCc(*b"vvcC"),
    FourCc(*b"av1C"),
    FourCc(*b"vpcC"),
    FourCc(*b"esds"),
    FourCc(*b"dac3"),
    FourCc(*b"dec3"),
    FourCc(*b"dac4"),
    FourCc(*b"dOps"),
    FourCc(*b"dfLa"),
    FourCc(*b"alac"),
    FourCc(*b"mhaC"),
];

impl<'a> SampleEntry<'a> {
    pub(super) fn parse_all(stsd: &BoxSpan<'a>, handler: Handler) -> Result<Vec<Self>, BoxError> {
        let mut fields = stsd.fields();
        let (version, _) = fields.version_and_flags()?;
        let stated = fields.u32()?;
        let place = fields.place();
        let mut entries = Vec::new();
        for entry in stsd.children_behind(&fields) {
            if entries.len() >= MAX_ENTRIES {
                return Err(BoxError::TooMany {
                    path: stsd.path(),
                    what: "sample entries",
                    limit: wide(MAX_ENTRIES),
                });
            }
            entries.push(Self::parse(&entry?, handler, version)?);
        }
        if u32::try_from(entries.len()) != Ok(stated) {
            return Err(BoxError::Count {
                place,
                stated: stated.into(),
                held: wide(entries.len()),
            });
        }
        Ok(entries)
    }

    fn parse(span: &BoxSpan<'a>, handler: Handler, stsd_version: u8) -> Result<Self, BoxError> {
        let format = span.kind().fourcc();
        let fields_len = entry_fields_len(span, handler, stsd_version)?;
        let mut entry = Self {
            span: *span,
            format,
            fields_len,
            protection: None,
        };
        if fields_len.is_some() {
            entry.protection = EntryProtection::of_entry(&entry)?;
        }
        if entry.protection.is_none() && format.0.starts_with(b"enc") {
            return Err(span.unsupported("a protected sample entry without known protection"));
        }
        Ok(entry)
    }

    /// The boxes inside: codec configuration, protection, and others.
    ///
    /// # Errors
    /// [`BoxError::CutOff`] if the entry is shorter than its fields.
    pub fn children(&self) -> Result<Children<'a>, BoxError> {
        let mut fields = self.span.fields();
        fields.bytes(self.fields_len.unwrap_or(fields.rest().len()))?;
        Ok(self.span.children_behind(&fields))
    }

    /// The box of a kind inside; nothing if there is none.
    ///
    /// # Errors
    /// As [`Self::children`], and those of [`Children`].
    pub fn child(&self, kind: FourCc) -> Result<Option<BoxSpan<'a>>, BoxError> {
        self.children()?.only(kind)
    }

    /// The format of the samples when they are clear: what protection and restriction boxes say, else
    /// [`Self::format`].
    ///
    /// # Errors
    /// Those of [`Self::child`].
    pub fn coding(&self) -> Result<FourCc, BoxError> {
        let format = self
            .protection
            .as_ref()
            .map_or(self.format, |protection| protection.original_format);
        match self.child(kind::RINF)? {
            Some(rinf) if format == FourCc(*b"resv") => rinf.need(kind::FRMA)?.fields().fourcc(),
            _ => Ok(format),
        }
    }

    /// The codec configuration: the first box of a known kind (`avcC`, `hvcC`, `av1C`, `esds`, …) and its body.
    ///
    /// # Errors
    /// Those of [`Self::child`].
    pub fn configuration(&self) -> Result<Option<(FourCc, &'a [u8])>, BoxError> {
        for child in self.children()? {
            let child = child?;
            if CONFIGURATIONS.iter().any(|kind| child.kind() == *kind) {
                return Ok(Some((child.kind().fourcc(), child.body())));
            }
        }
        Ok(None)
    }

    /// Width and height of the pictures in pixels, as a visual entry states them (12.1.3); nothing for others.
    ///
    /// # Errors
    /// [`BoxError::CutOff`].
    pub fn picture_size(&self) -> Result<Option<(u16, u16)>, BoxError> {
        if self.fields_len != Some(VISUAL_FIELDS) {
            return Ok(None);
        }
        let mut fields = self.span.fields();
        fields.bytes(24)?;
        Ok(Some((fields.u16()?, fields.u16()?)))
    }

    /// Which data reference holds the samples, from 1.
    ///
    /// # Errors
    /// [`BoxError::CutOff`].
    pub fn data_reference_index(&self) -> Result<u16, BoxError> {
        let mut fields = self.span.fields();
        fields.bytes(6)?;
        fields.u16()
    }
}

/// Bytes of the fields of a visual sample entry.
const VISUAL_FIELDS: usize = 78;

/// Fields of a sample entry in front of its boxes: visual 78 bytes (12.1.3), audio 28 (12.2.3) and more in
/// the versions 1 and 2 of QuickTime, which a `stsd` of version 0 holds. Without a sinf no other entry is read.
fn entry_fields_len(
    span: &BoxSpan<'_>,
    handler: Handler,
    stsd_version: u8,
) -> Result<Option<usize>, BoxError> {
    let audio = match (span.kind().fourcc(), handler) {
        (kind::ENCV, _) => false,
        (kind::ENCA, _) => true,
        (_, Handler::Video) => false,
        (_, Handler::Audio) => true,
        (format, Handler::Other(_)) if format.0.starts_with(b"enc") => return Ok(Some(8)),
        (_, Handler::Other(_)) => return Ok(None),
    };
    let mut fields = span.fields();
    if !audio {
        fields.bytes(VISUAL_FIELDS)?;
        return Ok(Some(VISUAL_FIELDS));
    }
    fields.bytes(8)?;
    let version = fields.u16()?;
    let len = match (version, stsd_version) {
        (1, 0) => 44,
        (2, 0) => 64,
        _ => 28,
    };
    span.fields().bytes(len)?;
    Ok(Some(len))
}
