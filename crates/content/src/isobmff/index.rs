//! The segment index (`sidx`) and the random access table (`mfra`).

use super::{BoxError, BoxSpan, Node, kind};

/// A segment index: where the fragments of a track are and how long they play (ISO/IEC 14496-12, 8.16.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentIndex {
    /// The track.
    pub reference_id: u32,
    /// Units a second.
    pub timescale: u32,
    /// Presentation time of the first sample.
    pub earliest_presentation_time: u64,
    /// Bytes between the end of this box and the first reference.
    pub first_offset: u64,
    /// What follows, one behind the other.
    pub references: Vec<SegmentReference>,
}

/// One entry of a segment index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentReference {
    /// Whether it points to another index, not to media.
    pub to_index: bool,
    /// Bytes, below 2^31.
    pub size: u32,
    /// How long it plays.
    pub duration: u32,
    /// Whether it begins with a stream access point.
    pub starts_with_sap: bool,
    /// The type of its first stream access point, 0 to 7 (0 unknown, 1 and 2 at sync samples).
    pub sap_type: u8,
    /// Presentation time from its beginning to that point, below 2^28.
    pub sap_delta_time: u32,
}

impl SegmentIndex {
    /// Most references of one index.
    pub const MAX_REFERENCES: usize = u16::MAX as usize;

    /// Reads a `sidx` box.
    ///
    /// # Errors
    /// [`BoxError::CutOff`], [`BoxError::Count`], [`BoxError::Unsupported`] for an unknown version.
    pub fn parse(sidx: &BoxSpan<'_>) -> Result<Self, BoxError> {
        let mut fields = sidx.fields();
        let long = match fields.version_and_flags()?.0 {
            0 => false,
            1 => true,
            _ => return Err(sidx.unsupported("this version of the segment index")),
        };
        let (reference_id, timescale) = (fields.u32()?, fields.u32()?);
        let earliest_presentation_time = fields.u32_or_u64(long)?;
        let first_offset = fields.u32_or_u64(long)?;
        fields.u16()?;
        let count = fields.u16()?;
        let references = fields.table::<12>(count.into())?;
        Ok(Self {
            reference_id,
            timescale,
            earliest_presentation_time,
            first_offset,
            references: references.iter().map(SegmentReference::from_bytes).collect(),
        })
    }

    /// The box, always in version 1 so that its size depends on the number of references only.
    ///
    /// # Errors
    /// [`BoxError::Edit`] above [`Self::MAX_REFERENCES`], and for a value that is too large for its bits.
    pub fn to_node(&self) -> Result<Node<'static>, BoxError> {
        let count = u16::try_from(self.references.len()).map_err(|_| edit("it has too many references"))?;
        let mut body = Vec::with_capacity(self.references.len().saturating_mul(12).saturating_add(32));
        body.extend_from_slice(&self.reference_id.to_be_bytes());
        body.extend_from_slice(&self.timescale.to_be_bytes());
        body.extend_from_slice(&self.earliest_presentation_time.to_be_bytes());
        body.extend_from_slice(&self.first_offset.to_be_bytes());
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&count.to_be_bytes());
        for reference in &self.references {
            body.extend_from_slice(&reference.to_bytes()?);
        }
        Ok(Node::full(kind::SIDX, 1, 0, &body))
    }

    /// Bytes of the box that [`Self::to_node`] makes for `count` references.
    #[must_use]
    pub const fn encoded_len(count: u16) -> u64 {
        40_u64.saturating_add((count as u64).saturating_mul(12))
    }
}

impl SegmentReference {
    fn from_bytes(bytes: &[u8; 12]) -> Self {
        let [size, duration, sap] = super::tables::words(bytes);
        Self {
            to_index: size >> 31 == 1,
            size: size & (u32::MAX >> 1),
            duration,
            starts_with_sap: sap >> 31 == 1,
            sap_type: u8::try_from(sap >> 28 & 7).unwrap_or_default(),
            sap_delta_time: sap & (u32::MAX >> 4),
        }
    }

    fn to_bytes(self) -> Result<[u8; 12], BoxError> {
        if self.size >> 31 != 0 || self.sap_type > 7 || self.sap_delta_time >> 28 != 0 {
            return Err(edit("a reference does not fit its bits"));
        }
        let size = u32::from(self.to_index) << 31 | self.size;
        let sap =
            u32::from(self.starts_with_sap) << 31 | u32::from(self.sap_type) << 28 | self.sap_delta_time;
        let mut bytes = [0; 12];
        let (words, _) = bytes.as_chunks_mut::<4>();
        for (word, value) in words.iter_mut().zip([size, self.duration, sap]) {
            *word = value.to_be_bytes();
        }
        Ok(bytes)
    }
}

fn edit(why: &'static str) -> BoxError {
    BoxError::Edit {
        path: super::BoxPath::TOP
            .join(kind::SIDX.into())
            .unwrap_or(super::BoxPath::TOP),
        why,
    }
}

/// Moves the positions of fragments in a `mfra` box (8.8.9 to 8.8.11): `moved` gives the new position of the
/// `moof` box at an old one. A table whose positions outgrow 32 bits is widened, and `mfro` says the new size.
///
/// # Errors
/// Those of reading boxes; [`BoxError::OutOfRange`] for a position that `moved` does not know.
pub fn move_fragments(mfra: &mut Node<'_>, moved: impl Fn(u64) -> Option<u64>) -> Result<(), BoxError> {
    for tfra in mfra
        .children_mut()?
        .iter_mut()
        .filter(|child| child.kind() == kind::TFRA)
    {
        let body = moved_table(tfra, &moved)?;
        *tfra.body_mut() = body;
    }
    let len = u32::try_from(mfra.encoded_len()).map_err(|_| BoxError::OutOfRange {
        path: mfra.path(),
        what: "its size",
    })?;
    if let Some(mfro) = mfra.child_mut(kind::MFRO)? {
        mfro.replace_u32(4, len)?;
    }
    Ok(())
}

/// The body of a `tfra` box with other positions.
fn moved_table(tfra: &Node<'_>, moved: &impl Fn(u64) -> Option<u64>) -> Result<Vec<u8>, BoxError> {
    let mut fields = tfra.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.bytes(4)?;
    let lengths = fields.u32()?;
    let numbers_len = [4, 2, 0].into_iter().fold(3_usize, |sum, shift| {
        sum.saturating_add(usize::try_from(lengths >> shift & 3).unwrap_or(3))
    });
    let stated = fields.u32()?;
    let entry_len = if version == 1 { 16_usize } else { 8 }.saturating_add(numbers_len);
    let held = fields.rest().len() / entry_len;
    if usize::try_from(stated).map_or(true, |stated| stated > held) {
        return Err(BoxError::Count {
            place: fields.place(),
            stated: stated.into(),
            held: super::fields::wide(held),
        });
    }
    let mut entries = Vec::with_capacity(held);
    for _ in 0..stated {
        let time = fields.u32_or_u64(version == 1)?;
        let position = moved(fields.u32_or_u64(version == 1)?).ok_or(BoxError::OutOfRange {
            path: tfra.path(),
            what: "the position of a fragment",
        })?;
        entries.push((time, position, fields.bytes(numbers_len)?));
    }
    let long = version == 1 || entries.iter().any(|(_, position, _)| *position > u32::MAX.into());
    let mut body = tfra.body().get(..16).unwrap_or_default().to_vec();
    if let Some(version) = body.first_mut() {
        *version = long.into();
    }
    for (time, position, numbers) in entries {
        for value in [time, position] {
            match u32::try_from(value) {
                Ok(value) if !long => body.extend_from_slice(&value.to_be_bytes()),
                _ => body.extend_from_slice(&value.to_be_bytes()),
            }
        }
        body.extend_from_slice(numbers);
    }
    Ok(body)
}
