//! The sample tables of a progressive track, read by cursors over their bytes.

use super::{BoxError, BoxPath, BoxSpan, FourCc, Sample, SampleFlags, fields::wide, kind};

/// The tables in a `stbl` box that say where the samples of a track are (ISO/IEC 14496-12, 8.6 and 8.7).
///
/// They stay bytes: nothing is expanded, so no stated count costs memory.
#[derive(Debug, Clone, Copy)]
pub struct SampleTables<'a> {
    path: BoxPath,
    /// `sample_count`, `sample_delta`.
    times: &'a [[u8; 8]],
    /// `sample_count`, `sample_offset`.
    compositions: Option<Compositions<'a>>,
    /// Numbers of the sync samples, from 1, ascending.
    syncs: Option<&'a [[u8; 4]]>,
    dependencies: Option<&'a [u8]>,
    /// `first_chunk`, `samples_per_chunk`, `sample_description_index`.
    chunk_runs: &'a [[u8; 12]],
    sizes: Sizes<'a>,
    chunks: ChunkOffsets<'a>,
}

#[derive(Debug, Clone, Copy)]
struct Compositions<'a> {
    signed: bool,
    entries: &'a [[u8; 8]],
}

#[derive(Debug, Clone, Copy)]
enum Sizes<'a> {
    Same { size: u32, count: u32 },
    Words(&'a [[u8; 4]]),
    Halves(&'a [[u8; 2]]),
    Bytes(&'a [u8]),
    Nibbles { pairs: &'a [u8], count: u32 },
}

#[derive(Debug, Clone, Copy)]
enum ChunkOffsets<'a> {
    Short(&'a [[u8; 4]]),
    Long(&'a [[u8; 8]]),
}

impl<'a> SampleTables<'a> {
    /// Reads the headers of the tables in a `stbl` box and holds their counts against their bytes.
    ///
    /// # Errors
    /// [`BoxError::Missing`] and [`BoxError::Repeated`] for the boxes, [`BoxError::Count`] for their entries,
    /// [`BoxError::Unsupported`] for versions that are not published.
    pub fn parse(stbl: &BoxSpan<'a>) -> Result<Self, BoxError> {
        Ok(Self {
            path: stbl.path(),
            times: counted(&stbl.need(kind::STTS)?)?,
            compositions: stbl
                .child(kind::CTTS)?
                .map(|ctts| compositions(&ctts))
                .transpose()?,
            syncs: stbl.child(kind::STSS)?.map(|stss| counted(&stss)).transpose()?,
            dependencies: stbl
                .child(kind::SDTP)?
                .map(|sdtp| {
                    let mut fields = sdtp.fields();
                    fields.version_and_flags().map(|_| fields.rest())
                })
                .transpose()?,
            chunk_runs: counted(&stbl.need(kind::STSC)?)?,
            sizes: sizes(stbl)?,
            chunks: chunk_offsets(stbl)?,
        })
    }

    /// Samples that the size table counts. It need not have bytes for each: see [`Self::samples`].
    #[must_use]
    pub fn count(&self) -> u32 {
        self.sizes.count()
    }

    /// Chunks of the track.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        wide(match self.chunks {
            ChunkOffsets::Short(table) => table.len(),
            ChunkOffsets::Long(table) => table.len(),
        })
    }

    /// The samples in decoding order, of a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`BoxError::OutOfRange`] if the samples are more bytes than the file has: tables may say that one
    /// place holds many samples, and without this check a small file could make any amount of work.
    pub fn samples(&self, file_len: u64) -> Result<ProgressiveSamples<'a>, BoxError> {
        if self.sizes.total() > file_len {
            return Err(BoxError::OutOfRange {
                path: self.path,
                what: "the end of the samples",
            });
        }
        Ok(ProgressiveSamples {
            tables: *self,
            file_len,
            next: 0,
            failed: false,
            decode_time: 0,
            times: Runs::new(self.times),
            compositions: Runs::new(self.compositions.map_or(&[], |table| table.entries)),
            sync_position: 0,
            chunk: ChunkCursor::default(),
        })
    }

    fn no_entry(&self, table: FourCc, sample: u32) -> BoxError {
        BoxError::NoEntry {
            path: self.path.join(table.into()).unwrap_or(self.path),
            sample: sample.into(),
        }
    }

    fn chunk_offset(&self, chunk: u32) -> Option<u64> {
        let chunk = usize::try_from(chunk).ok()?;
        match self.chunks {
            ChunkOffsets::Short(table) => table.get(chunk).map(|entry| u32::from_be_bytes(*entry).into()),
            ChunkOffsets::Long(table) => table.get(chunk).map(|entry| u64::from_be_bytes(*entry)),
        }
    }
}

/// The samples of a progressive track in decoding order. A clone goes on from the same place by itself.
/// After an error nothing follows.
#[derive(Debug, Clone)]
pub struct ProgressiveSamples<'a> {
    tables: SampleTables<'a>,
    file_len: u64,
    next: u32,
    failed: bool,
    decode_time: u64,
    times: Runs<'a>,
    compositions: Runs<'a>,
    sync_position: usize,
    chunk: ChunkCursor,
}

/// The place in the chunk tables.
#[derive(Debug, Clone, Copy, Default)]
struct ChunkCursor {
    /// Chunks begun.
    begun: u32,
    /// Entries of `stsc` begun.
    runs: usize,
    per_chunk: u32,
    description_index: u32,
    /// Samples of the chunk that are left.
    left: u32,
    /// Where the next sample of the chunk is.
    offset: u64,
}

impl ProgressiveSamples<'_> {
    fn read(&mut self) -> Result<Sample, BoxError> {
        let (tables, index) = (self.tables, self.next);
        let size = tables
            .sizes
            .get(index)
            .ok_or_else(|| tables.no_entry(kind::STSZ, index))?;
        let duration = self
            .times
            .next()
            .ok_or_else(|| tables.no_entry(kind::STTS, index))?;
        let composition_offset = match tables.compositions {
            None => 0,
            Some(table) => {
                let offset = self.compositions.next();
                let offset = offset.ok_or_else(|| tables.no_entry(kind::CTTS, index))?;
                if table.signed {
                    i64::from(offset.cast_signed())
                } else {
                    offset.into()
                }
            }
        };
        let sync = self.is_sync(index);
        let at_index = usize::try_from(index).ok();
        let dependencies = tables
            .dependencies
            .and_then(|table| table.get(at_index?).copied());
        let offset = self.place(index, size)?;
        let decode_time = self.decode_time;
        self.decode_time = decode_time
            .checked_add(duration.into())
            .ok_or(self.out_of_range("the decode time"))?;
        Ok(Sample {
            index,
            offset,
            size,
            decode_time,
            duration,
            composition_offset,
            flags: SampleFlags::from_tables(sync, dependencies),
            description_index: self.chunk.description_index,
            chunk: self.chunk.begun.saturating_sub(1),
        })
    }

    /// Whether `stss` names the sample; without that box all are sync samples (8.6.2.1).
    fn is_sync(&mut self, index: u32) -> bool {
        let Some(table) = self.tables.syncs else {
            return true;
        };
        while let Some(number) = table.get(self.sync_position) {
            let number = u64::from(u32::from_be_bytes(*number));
            let own = u64::from(index).saturating_add(1);
            if number > own {
                return false;
            }
            self.sync_position = self.sync_position.saturating_add(1);
            if number == own {
                return true;
            }
        }
        false
    }

    /// Where the next sample is; goes on to the next chunk that has any.
    fn place(&mut self, index: u32, size: u32) -> Result<u64, BoxError> {
        while self.chunk.left == 0 {
            self.begin_chunk(index)?;
        }
        let offset = self.chunk.offset;
        let end = offset
            .checked_add(size.into())
            .filter(|end| *end <= self.file_len)
            .ok_or_else(|| self.out_of_range("the end of a sample"))?;
        self.chunk.left = self.chunk.left.saturating_sub(1);
        self.chunk.offset = end;
        Ok(offset)
    }

    fn begin_chunk(&mut self, index: u32) -> Result<(), BoxError> {
        let (tables, chunk) = (self.tables, self.chunk.begun);
        let offset = tables
            .chunk_offset(chunk)
            .ok_or_else(|| tables.no_entry(kind::STCO, index))?;
        if let Some(entry) = tables.chunk_runs.get(self.chunk.runs) {
            let [first_chunk, per_chunk, description_index] = words(entry);
            if first_chunk.checked_sub(1) == Some(chunk) {
                self.chunk.runs = self.chunk.runs.saturating_add(1);
                self.chunk.per_chunk = per_chunk;
                self.chunk.description_index = description_index;
            } else if u64::from(first_chunk) <= u64::from(chunk) || chunk == 0 {
                return Err(BoxError::Invalid {
                    place: super::Place {
                        path: tables.path.join(kind::STSC.into()).unwrap_or(tables.path),
                        offset: 16,
                    },
                    rule: "the first chunks are not 1 and then ascending",
                });
            }
        } else if chunk == 0 {
            return Err(tables.no_entry(kind::STSC, index));
        }
        self.chunk.begun = chunk.checked_add(1).ok_or(self.out_of_range("a chunk"))?;
        self.chunk.left = self.chunk.per_chunk;
        self.chunk.offset = offset;
        Ok(())
    }

    const fn out_of_range(&self, what: &'static str) -> BoxError {
        BoxError::OutOfRange {
            path: self.tables.path,
            what,
        }
    }
}

impl Iterator for ProgressiveSamples<'_> {
    type Item = Result<Sample, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next >= self.tables.count() {
            return None;
        }
        let sample = self.read();
        self.failed = sample.is_err();
        self.next = self.next.saturating_add(1);
        Some(sample)
    }
}

/// The values of a table of runs (`count`, `value`), one at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs<'a> {
    entries: &'a [[u8; 8]],
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    pub(crate) const fn new(entries: &'a [[u8; 8]]) -> Self {
        Self {
            entries,
            left: 0,
            value: 0,
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            let (entry, rest) = self.entries.split_first()?;
            [self.left, self.value] = words(entry);
            self.entries = rest;
        }
        self.left = self.left.saturating_sub(1);
        Some(self.value)
    }
}

impl Sizes<'_> {
    fn count(&self) -> u32 {
        let held = match self {
            Self::Same { count, .. } | Self::Nibbles { count, .. } => return *count,
            Self::Words(table) => table.len(),
            Self::Halves(table) => table.len(),
            Self::Bytes(table) => table.len(),
        };
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    fn get(&self, index: u32) -> Option<u32> {
        let at = usize::try_from(index).ok()?;
        match self {
            Self::Same { size, .. } => Some(*size),
            Self::Words(table) => table.get(at).map(|size| u32::from_be_bytes(*size)),
            Self::Halves(table) => table.get(at).map(|size| u16::from_be_bytes(*size).into()),
            Self::Bytes(table) => table.get(at).copied().map(u32::from),
            Self::Nibbles { pairs, .. } => {
                let pair = *pairs.get(at / 2)?;
                Some(u32::from(if at % 2 == 0 { pair >> 4 } else { pair & 15 }))
            }
        }
    }

    /// Bytes of all samples.
    fn total(&self) -> u64 {
        match self {
            Self::Same { size, count } => u64::from(*size).saturating_mul((*count).into()),
            Self::Words(table) => table
                .iter()
                .map(|size| u64::from(u32::from_be_bytes(*size)))
                .fold(0, u64::saturating_add),
            _ => (0..self.count())
                .filter_map(|index| self.get(index).map(u64::from))
                .fold(0, u64::saturating_add),
        }
    }
}

/// The entries of a full box that has a count of 32 bits in front of them.
pub(crate) fn counted<'a, const N: usize>(span: &BoxSpan<'a>) -> Result<&'a [[u8; N]], BoxError> {
    let mut fields = span.fields();
    if fields.version_and_flags()?.0 > 0 {
        return Err(span.unsupported("this version of the table"));
    }
    let count = fields.u32()?;
    fields.table(count)
}

fn compositions<'a>(ctts: &BoxSpan<'a>) -> Result<Compositions<'a>, BoxError> {
    let mut fields = ctts.fields();
    let (version, _) = fields.version_and_flags()?;
    if version > 1 {
        return Err(ctts.unsupported("this version of the table"));
    }
    let count = fields.u32()?;
    Ok(Compositions {
        signed: version == 1,
        entries: fields.table(count)?,
    })
}

/// `stsz` or `stz2` (8.7.3).
fn sizes<'a>(stbl: &BoxSpan<'a>) -> Result<Sizes<'a>, BoxError> {
    if let Some(stz2) = stbl.child(kind::STZ2)? {
        let mut fields = stz2.fields();
        fields.version_and_flags()?;
        let [_, _, _, field_size] = fields.array()?;
        let count = fields.u32()?;
        return match field_size {
            16 => fields.table(count).map(Sizes::Halves),
            8 => fields
                .table::<1>(count)
                .map(|table| Sizes::Bytes(table.as_flattened())),
            4 => fields.table::<1>(count.div_ceil(2)).map(|table| Sizes::Nibbles {
                pairs: table.as_flattened(),
                count,
            }),
            _ => Err(fields.invalid("the field size is not 4, 8 or 16")),
        };
    }
    let stsz = stbl.need(kind::STSZ)?;
    let mut fields = stsz.fields();
    fields.version_and_flags()?;
    let (size, count) = (fields.u32()?, fields.u32()?);
    match size {
        0 => fields.table(count).map(Sizes::Words),
        size => Ok(Sizes::Same { size, count }),
    }
}

/// `stco` or `co64` (8.7.5).
fn chunk_offsets<'a>(stbl: &BoxSpan<'a>) -> Result<ChunkOffsets<'a>, BoxError> {
    match stbl.child(kind::CO64)? {
        Some(co64) => counted(&co64).map(ChunkOffsets::Long),
        None => counted(&stbl.need(kind::STCO)?).map(ChunkOffsets::Short),
    }
}

/// The numbers of 32 bits in an entry.
pub(crate) fn words<const N: usize, const M: usize>(entry: &[u8; N]) -> [u32; M] {
    let (words, _) = entry.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
    core::array::from_fn(|_| words.next().unwrap_or_default())
}
