//! Sample auxiliary information of common encryption: `senc`, `saiz` and `saio`.

use super::{AuxiliaryData, BoxError, BoxKind, BoxPath, BoxSpan, Fields, Sample, TrackEncryption, kind};
use crate::cenc::Scheme;

/// Where the IVs and subsamples of the samples are (ISO/IEC 23001-7, clause 7).
#[derive(Debug, Clone)]
pub(crate) struct Auxiliary<'p> {
    source: Source<'p>,
    home: BoxSpan<'p>,
}

#[derive(Debug, Clone)]
enum Source<'p> {
    None,
    Senc(Senc<'p>),
    Located(Located<'p>),
}

/// `senc` (7.2), or the box of PIFF that it was made after.
#[derive(Debug, Clone)]
struct Senc<'p> {
    fields: Fields<'p>,
    subsamples: bool,
    left: u32,
    /// PIFF only: what protects these samples instead of the track's default.
    replaced: Option<(Scheme, TrackEncryption)>,
}

/// `saiz` and `saio` (ISO/IEC 14496-12, 8.7.8 and 8.7.9).
#[derive(Debug, Clone)]
struct Located<'p> {
    sizes: Sizes<'p>,
    offsets: Offsets<'p>,
    base: u64,
    /// Where the information of the next sample is, if the sample is in the chunk of the one before it;
    /// nothing if that chunk has no offset.
    next: Option<u64>,
    chunk: Option<u32>,
    /// The container of the boxes, for errors.
    path: BoxPath,
}

#[derive(Debug, Clone, Copy)]
enum Sizes<'p> {
    Same { size: u8, count: u32 },
    Each(&'p [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Offsets<'p> {
    Short(&'p [[u8; 4]]),
    Long(&'p [[u8; 8]]),
}

impl<'p> Auxiliary<'p> {
    /// For samples that have none.
    pub(crate) const fn none(home: &BoxSpan<'p>) -> Self {
        Self {
            source: Source::None,
            home: *home,
        }
    }

    /// Reads the boxes in `tables` (`stbl` or `traf`), which describe `count` samples. Offsets are counted
    /// from `base`; those into `home` need not be fetched.
    pub(crate) fn parse(
        tables: &BoxSpan<'p>,
        home: &BoxSpan<'p>,
        base: u64,
        count: u32,
    ) -> Result<Self, BoxError> {
        let senc = Senc::parse(tables)?;
        let source = match senc {
            Some(senc) if senc.left == count || senc.replaced.is_some() => Source::Senc(senc),
            senc => match Located::parse(tables, base)? {
                Some(located) => Source::Located(located),
                None => senc
                    .filter(|senc| senc.left > 0)
                    .map_or(Source::None, Source::Senc),
            },
        };
        Ok(Self { source, home: *home })
    }

    /// What PIFF says instead of the track's default.
    pub(crate) fn replaced(&self) -> Option<(Scheme, TrackEncryption)> {
        match &self.source {
            Source::Senc(senc) => senc.replaced,
            _ => None,
        }
    }

    /// The information of the next sample. `encryption` is nothing if its sample entry is not protected.
    pub(crate) fn next(
        &mut self,
        sample: &Sample,
        encryption: Option<&TrackEncryption>,
    ) -> Result<AuxiliaryData<'p>, BoxError> {
        match &mut self.source {
            Source::None => Ok(AuxiliaryData::Here(&[])),
            Source::Senc(senc) => senc.next(sample, encryption).map(AuxiliaryData::Here),
            Source::Located(located) => {
                let (offset, len) = located.next(sample)?;
                let here = offset
                    .checked_sub(self.home.offset())
                    .and_then(|start| usize::try_from(start).ok())
                    .and_then(|start| self.home.bytes().get(start..)?.get(..len.into()));
                Ok(match here {
                    _ if len == 0 => AuxiliaryData::Here(&[]),
                    Some(here) => AuxiliaryData::Here(here),
                    None => AuxiliaryData::InFile { offset, len },
                })
            }
        }
    }
}

impl<'p> Senc<'p> {
    fn parse(tables: &BoxSpan<'p>) -> Result<Option<Self>, BoxError> {
        let mut found = None;
        for child in tables.children() {
            let child = child?;
            let piff = child.kind() == BoxKind::Uuid(kind::PIFF_SENC);
            if !piff && child.kind() != kind::SENC {
                continue;
            }
            let mut fields = child.fields();
            let (version, flags) = fields.version_and_flags()?;
            if version > 0 {
                return Err(child.unsupported("this version of the sample encryption box"));
            }
            let mut replaced = None;
            if flags & 1 != 0 {
                replaced = Some(TrackEncryption::from_piff(&mut fields)?);
            }
            let senc = Self {
                subsamples: flags & 2 != 0,
                left: fields.u32()?,
                fields,
                replaced,
            };
            if found.replace(senc).is_some() {
                return Err(child.invalid("the sample encryption box is there twice"));
            }
        }
        Ok(found)
    }

    fn next(&mut self, sample: &Sample, encryption: Option<&TrackEncryption>) -> Result<&'p [u8], BoxError> {
        self.left = self.left.checked_sub(1).ok_or(BoxError::NoEntry {
            path: self.fields.place().path,
            sample: sample.index.into(),
        })?;
        let iv_size = encryption.map_or(0, TrackEncryption::sample_iv_size);
        let mut ahead = self.fields;
        ahead.bytes(iv_size)?;
        let mut len = iv_size;
        if self.subsamples {
            let subsamples = usize::from(ahead.u16()?).saturating_mul(6);
            len = len.saturating_add(2).saturating_add(subsamples);
        }
        self.fields.bytes(len)
    }
}

impl<'p> Located<'p> {
    fn parse(tables: &BoxSpan<'p>, base: u64) -> Result<Option<Self>, BoxError> {
        let (mut sizes, mut offsets) = (None, None);
        for child in tables.children() {
            let child = child?;
            let repeated = match child.kind().fourcc() {
                kind::SAIZ => match read_sizes(&child)? {
                    Some(found) => sizes.replace(found).is_some(),
                    None => false,
                },
                kind::SAIO => match read_offsets(&child)? {
                    Some(found) => offsets.replace(found).is_some(),
                    None => false,
                },
                _ => false,
            };
            if repeated {
                return Err(child.invalid("the auxiliary information is there twice"));
            }
        }
        Ok(sizes.zip(offsets).map(|(sizes, offsets)| Self {
            sizes,
            offsets,
            base,
            next: None,
            chunk: None,
            path: tables.path(),
        }))
    }

    /// Position in the file and length. A sample without information needs no offset: with constant IVs and
    /// no subsamples `saio` may be empty.
    fn next(&mut self, sample: &Sample) -> Result<(u64, u8), BoxError> {
        let size = self.sizes.get(sample.index);
        if self.chunk != Some(sample.chunk) {
            let first = self.chunk.replace(sample.chunk).is_none();
            if let Some(start) = self.offsets.start(sample.chunk, first) {
                self.next = start.and_then(|start| self.base.checked_add(start));
            }
        }
        if size == 0 {
            return Ok((0, 0));
        }
        let offset = self.next.ok_or_else(|| BoxError::NoEntry {
            path: self.path.join(kind::SAIO.into()).unwrap_or(self.path),
            sample: sample.index.into(),
        })?;
        self.next = offset.checked_add(size.into());
        Ok((offset, size))
    }
}

impl Sizes<'_> {
    /// Samples behind the end of the table have no information (8.7.8.3).
    fn get(&self, index: u32) -> u8 {
        match self {
            Self::Same { size, count } if index < *count => *size,
            Self::Same { .. } => 0,
            Self::Each(table) => usize::try_from(index)
                .ok()
                .and_then(|index| table.get(index).copied())
                .unwrap_or(0),
        }
    }
}

impl Offsets<'_> {
    /// Where a chunk (or run) begins that is new; `None` if it goes on behind the one before it, `Some(None)`
    /// if it should have an entry and has not.
    fn start(&self, chunk: u32, first: bool) -> Option<Option<u64>> {
        let count = match self {
            Self::Short(table) => table.len(),
            Self::Long(table) => table.len(),
        };
        let index = if count == 1 {
            0
        } else {
            usize::try_from(chunk).ok()?
        };
        if count == 1 && !first {
            return None;
        }
        Some(match self {
            Self::Short(table) => table.get(index).map(|start| u32::from_be_bytes(*start).into()),
            Self::Long(table) => table.get(index).map(|start| u64::from_be_bytes(*start)),
        })
    }
}

/// Whether `saiz` or `saio` fields are about common encryption: a type of a scheme, or none, which means that
/// of the track's scheme (8.7.8.3).
pub(crate) fn is_of_encryption(fields: &mut Fields<'_>, flags: u32) -> Result<bool, BoxError> {
    if flags & 1 == 0 {
        return Ok(true);
    }
    let info_type = fields.fourcc()?;
    fields.u32()?;
    Ok(info_type == kind::PIFF || Scheme::from_fourcc(info_type.0).is_some())
}

fn read_sizes<'p>(saiz: &BoxSpan<'p>) -> Result<Option<Sizes<'p>>, BoxError> {
    let mut fields = saiz.fields();
    let (_, flags) = fields.version_and_flags()?;
    if !is_of_encryption(&mut fields, flags)? {
        return Ok(None);
    }
    let (size, count) = (fields.u8()?, fields.u32()?);
    Ok(Some(match size {
        0 => Sizes::Each(fields.table::<1>(count)?.as_flattened()),
        size => Sizes::Same { size, count },
    }))
}

fn read_offsets<'p>(saio: &BoxSpan<'p>) -> Result<Option<Offsets<'p>>, BoxError> {
    let mut fields = saio.fields();
    let (version, flags) = fields.version_and_flags()?;
    if !is_of_encryption(&mut fields, flags)? {
        return Ok(None);
    }
    let count = fields.u32()?;
    Ok(Some(match version {
        0 => Offsets::Short(fields.table(count)?),
        _ => Offsets::Long(fields.table(count)?),
    }))
}
