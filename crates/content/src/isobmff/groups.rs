//! Sample groups of common encryption (`seig`).

use super::{BoxError, BoxPath, BoxSpan, Fields, Node, TrackEncryption, kind, tables::Runs};

/// The `seig` sample groups in a `stbl` or `traf` box (ISO/IEC 14496-12, 8.9; ISO/IEC 23001-7, clause 6).
#[derive(Debug, Clone, Default)]
pub struct Groups<'a> {
    descriptions: Vec<TrackEncryption>,
    default_description: u32,
    /// `sample_count`, `group_description_index`.
    map: Option<&'a [[u8; 8]]>,
}

impl<'a> Groups<'a> {
    /// Reads those of a `stbl` or `traf` box; groups of other types are passed over.
    ///
    /// # Errors
    /// [`BoxError::Unsupported`] for the compact form (`csgp`) and for several keys in a sample; others for
    /// boxes that are malformed or there twice.
    pub fn parse(home: &BoxSpan<'a>) -> Result<Self, BoxError> {
        let mut groups = Self::default();
        let mut described = false;
        for child in home.children() {
            let child = child?;
            if !is_seig(&child)? {
                continue;
            }
            let repeated = if child.kind() == kind::SGPD {
                (groups.descriptions, groups.default_description) = parse_descriptions(&child)?;
                core::mem::replace(&mut described, true)
            } else if child.kind() == kind::SBGP {
                groups.map.replace(parse_map(&child)?).is_some()
            } else {
                return Err(child.unsupported("the compact form of sample groups"));
            };
            if repeated {
                return Err(child.invalid("the samples are grouped twice for common encryption"));
            }
        }
        Ok(groups)
    }

    /// What protects the groups, in order.
    #[must_use]
    pub fn descriptions(&self) -> &[TrackEncryption] {
        &self.descriptions
    }

    /// The description of samples that are not mapped, from 1; 0 if there is none.
    #[must_use]
    pub const fn default_description(&self) -> u32 {
        self.default_description
    }

    /// The group number of each sample, as far as the samples are mapped.
    pub(crate) fn map(&self) -> Option<Runs<'a>> {
        self.map.map(Runs::new)
    }
}

/// Group numbers above this one are descriptions in the track fragment itself (ISO/IEC 14496-12, 8.9.4).
pub(crate) const LOCAL_GROUPS: u32 = 0x1_0000;

/// The boxes that put the `count` samples of a track fragment into a group of its own, which `encryption`
/// protects: `sgpd` of version 1, `sbgp` of version 0.
pub(crate) fn of_fragment(encryption: &TrackEncryption, count: u32) -> Result<[Node<'static>; 2], BoxError> {
    let entry = encryption.to_group();
    let len = u32::try_from(entry.len()).map_err(|_| BoxError::OutOfRange {
        path: BoxPath::TOP.join(kind::SGPD.into()).unwrap_or(BoxPath::TOP),
        what: "the length of a group's description",
    })?;
    let descriptions = [
        &kind::SEIG.0,
        &len.to_be_bytes()[..],
        &1_u32.to_be_bytes(),
        &entry,
    ]
    .concat();
    let group = LOCAL_GROUPS.saturating_add(1);
    let map = [
        kind::SEIG.0,
        1_u32.to_be_bytes(),
        count.to_be_bytes(),
        group.to_be_bytes(),
    ];
    Ok([
        Node::full(kind::SGPD, 1, 0, &descriptions),
        Node::full(kind::SBGP, 0, 0, map.as_flattened()),
    ])
}

/// Whether a box is about sample groups of common encryption.
pub(crate) fn is_seig(span: &BoxSpan<'_>) -> Result<bool, BoxError> {
    let fourcc = span.kind().fourcc();
    if ![kind::SGPD, kind::SBGP, kind::CSGP].contains(&fourcc) {
        return Ok(false);
    }
    let mut fields = span.fields();
    fields.version_and_flags()?;
    Ok(fields.fourcc()? == kind::SEIG)
}

fn parse_map<'a>(sbgp: &BoxSpan<'a>) -> Result<&'a [[u8; 8]], BoxError> {
    let mut fields = sbgp.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.bytes(match version {
        0 => 4,
        1 => 8,
        _ => return Err(sbgp.unsupported("this version of the sample groups")),
    })?;
    let count = fields.u32()?;
    fields.table(count)
}

/// Descriptions and the default. From version 2 on editions differ in whether the length of the entries is
/// stated (the current one does); the form that fills the box is the right one.
fn parse_descriptions(sgpd: &BoxSpan<'_>) -> Result<(Vec<TrackEncryption>, u32), BoxError> {
    let mut fields = sgpd.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.bytes(4)?;
    let sized = parse_form(fields, version, version >= 1);
    let fills = matches!(sized, Ok((_, 0)));
    if version >= 2
        && !fills
        && let Ok((found, 0)) = parse_form(fields, version, false)
    {
        return Ok(found);
    }
    sized.map(|(found, _)| found)
}

/// Descriptions, default, and the bytes that are left.
type Parsed = ((Vec<TrackEncryption>, u32), usize);

fn parse_form(mut fields: Fields<'_>, version: u8, sized: bool) -> Result<Parsed, BoxError> {
    let len = if sized { fields.u32()? } else { 0 };
    let default = if version >= 2 { fields.u32()? } else { 0 };
    let count = fields.u32()?;
    let mut descriptions = Vec::new();
    for _ in 0..count {
        descriptions.push(match (sized, len) {
            (false, _) => TrackEncryption::from_group(&mut fields)?,
            (true, len) => {
                let len = if len == 0 { fields.u32()? } else { len };
                let place = fields.place();
                let len = usize::try_from(len).map_err(|_| BoxError::CutOff(place))?;
                let mut entry = Fields::new(fields.bytes(len)?, place.offset, place.path);
                TrackEncryption::from_group(&mut entry)?
            }
        });
    }
    Ok(((descriptions, default), fields.rest().len()))
}
