//! Tables of a progressive track that go along into its fragments.
//!
//! | table | in a fragment |
//! | --- | --- |
//! | `sdtp`, `stss` | flags of the samples in `trun` (read with the sample tables) |
//! | `stdp`, `padb` | flags of the samples in `trun` |
//! | `sbgp` | a `sbgp` box in `traf` of the fragment's samples; the descriptions stay in the movie box |
//! | `subs` | a `subs` box in `traf` of the fragment's samples |
//! | `cslg` | in the movie box, moved to the `trep` box of the track |

use keyward_content::isobmff::{BoxError, BoxSpan, Fields, FourCc, Node, Sample, Track, kind};

/// The tables of one track. The fragments must ask in order.
#[derive(Debug, Default)]
pub(super) struct Carried<'m> {
    groups: Vec<SampleGroups<'m>>,
    parts: Vec<SampleParts<'m>>,
    priorities: Option<&'m [u8]>,
    padding: Option<&'m [u8]>,
}

impl<'m> Carried<'m> {
    pub(super) fn of(track: &Track<'m>) -> Result<Self, BoxError> {
        let mut carried = Self::default();
        for table in track.stbl.children() {
            let table = table?;
            match table.kind().fourcc() {
                kind::SBGP => carried.groups.push(SampleGroups::parse(&table)?),
                kind::SUBS => carried.parts.push(SampleParts::parse(&table)?),
                kind::STDP => carried.priorities = table.body().get(4..),
                kind::PADB => carried.padding = table.body().get(8..),
                _ => {}
            }
        }
        Ok(carried)
    }

    /// Adds what the tables say to the flags of samples.
    pub(super) fn amend(&self, samples: &mut [Sample]) {
        if self.priorities.is_none() && self.padding.is_none() {
            return;
        }
        for sample in samples {
            sample.flags.0 |=
                u32::from(self.priority(sample.index)) | u32::from(self.padding(sample.index)) << 17;
        }
    }

    /// ISO/IEC 14496-12, 8.5.3.
    fn priority(&self, sample: u32) -> u16 {
        let table = self.priorities.map(|table| table.as_chunks().0);
        let entry = usize::try_from(sample).ok().and_then(|at| table?.get(at));
        entry.map_or(0, |entry| u16::from_be_bytes(*entry))
    }

    /// Padding bits at the end of a sample, 0 to 7 (8.7.6).
    fn padding(&self, sample: u32) -> u8 {
        let at = usize::try_from(sample / 2).ok();
        let pair = at
            .and_then(|at| self.padding?.get(at))
            .copied()
            .unwrap_or_default();
        if sample.is_multiple_of(2) {
            pair >> 4 & 7
        } else {
            pair & 7
        }
    }

    /// The boxes for a `traf` box that holds the next `count` samples.
    pub(super) fn boxes(&mut self, count: u32) -> Result<Vec<Node<'static>>, BoxError> {
        let groups = self.groups.iter_mut().map(|groups| Ok(groups.next(count)));
        let parts = self.parts.iter_mut().map(|parts| parts.next(count));
        groups.chain(parts).filter_map(Result::transpose).collect()
    }
}

/// A `sbgp` box (8.9.2).
#[derive(Debug)]
struct SampleGroups<'m> {
    version: u8,
    /// Grouping type, and its parameter in version 1.
    head: &'m [u8],
    /// `sample_count`, `group_description_index`.
    runs: &'m [[u8; 8]],
    /// Samples that were taken of the first of `runs`.
    taken: u32,
}

impl<'m> SampleGroups<'m> {
    fn parse(sbgp: &BoxSpan<'m>) -> Result<Self, BoxError> {
        let mut fields = sbgp.fields();
        let (version, _) = fields.version_and_flags()?;
        let head = fields.bytes(match version {
            0 => 4,
            1 => 8,
            _ => return Err(sbgp.unsupported("this version of the sample groups")),
        })?;
        let count = fields.u32()?;
        Ok(Self {
            version,
            head,
            runs: fields.table(count)?,
            taken: 0,
        })
    }

    /// The box for the next `left` samples; nothing if none of them is mapped.
    fn next(&mut self, mut left: u32) -> Option<Node<'static>> {
        let (mut entries, mut count) = (Vec::new(), 0_u32);
        while let (Some(([a, b, c, d, group @ ..], rest)), true) = (self.runs.split_first(), left > 0) {
            let there = u32::from_be_bytes([*a, *b, *c, *d]).saturating_sub(self.taken);
            let taken = there.min(left);
            if taken > 0 {
                entries.extend_from_slice(&taken.to_be_bytes());
                entries.extend_from_slice(group);
                count = count.saturating_add(1);
            }
            left = left.saturating_sub(taken);
            self.taken = self.taken.saturating_add(taken);
            if taken == there {
                (self.runs, self.taken) = (rest, 0);
            }
        }
        let body = [self.head, &count.to_be_bytes(), &entries].concat();
        (count > 0).then(|| Node::full(kind::SBGP, self.version, 0, &body))
    }
}

/// A `subs` box (8.7.7).
#[derive(Debug)]
struct SampleParts<'m> {
    version: u8,
    flags: u32,
    /// The entries that are left: `sample_delta`, `subsample_count`, then 8 or 10 bytes for each.
    rest: Fields<'m>,
    entries: u32,
    /// Samples between the first sample that comes next and the one of the last entry, both from 1.
    behind: i64,
}

impl<'m> SampleParts<'m> {
    fn parse(subs: &BoxSpan<'m>) -> Result<Self, BoxError> {
        let mut rest = subs.fields();
        let (version, flags) = rest.version_and_flags()?;
        if version > 1 {
            return Err(subs.unsupported("this version of the sub-sample table"));
        }
        let entries = rest.u32()?;
        Ok(Self {
            version,
            flags,
            rest,
            entries,
            behind: 0,
        })
    }

    /// The box for the next `count` samples; nothing if no entry is about them.
    fn next(&mut self, count: u32) -> Result<Option<Node<'static>>, BoxError> {
        let (mut body, mut entries, mut last) = (Vec::new(), 0_u32, 0_i64);
        while self.entries > 0 {
            let mut fields = self.rest;
            // The number of the sample in this fragment, from 1.
            let number = self.behind.saturating_add(fields.u32()?.into());
            if number > count.into() {
                break;
            }
            let parts = fields.u16()?;
            let part_len = if self.version == 0 { 8_usize } else { 10 };
            let table = fields.bytes(part_len.saturating_mul(parts.into()))?;
            let delta = u32::try_from(number.saturating_sub(last)).unwrap_or_default();
            body.extend_from_slice(&delta.to_be_bytes());
            body.extend_from_slice(&parts.to_be_bytes());
            body.extend_from_slice(table);
            (self.rest, self.behind, last) = (fields, number, number);
            self.entries = self.entries.saturating_sub(1);
            entries = entries.saturating_add(1);
        }
        self.behind = self.behind.saturating_sub(count.into());
        let body = [&entries.to_be_bytes()[..], &body].concat();
        Ok((entries > 0).then(|| Node::full(kind::SUBS, self.version, self.flags, &body)))
    }
}

const TRACK_PROPERTIES: FourCc = FourCc(*b"trep");

/// The `trep` boxes for a `mvex` box: what the tables of the movie box said of whole tracks (8.8.15).
pub(super) fn track_properties(tracks: &[Track<'_>]) -> Result<Vec<Node<'static>>, BoxError> {
    let mut properties = Vec::new();
    for track in tracks {
        if let Some(cslg) = track.stbl.child(kind::CSLG)? {
            let body = [&track.id.to_be_bytes()[..], cslg.bytes()].concat();
            properties.push(Node::full(TRACK_PROPERTIES, 0, 0, &body));
        }
    }
    Ok(properties)
}
