//! Edits that protection needs: sample entries, fragmented movies, fragments.

use super::{
    AuxiliaryBoxes, BaseForm, BoxError, EntryProtection, FourCc, Fragment, Node, SampleEntry, Track,
    TrackDefaults, TrackEncryption,
    auxiliary::is_of_encryption,
    fragment::{header_flag, run_flag},
    groups, kind,
};

/// The `trak` box of a track in an opened or unopened `moov` box.
///
/// # Errors
/// Those of reading boxes; [`BoxError::UnknownTrack`].
pub fn track_mut<'n, 'a>(moov: &'n mut Node<'a>, track_id: u32) -> Result<&'n mut Node<'a>, BoxError> {
    let path = moov.path();
    for trak in moov.children_mut()? {
        if trak.kind() == kind::TRAK && id_of(trak)? == track_id {
            return Ok(trak);
        }
    }
    Err(BoxError::UnknownTrack { path, id: track_id })
}

fn id_of(trak: &mut Node<'_>) -> Result<u32, BoxError> {
    let mut fields = trak.need_mut(kind::TKHD)?.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.bytes(if version == 1 { 16 } else { 8 })?;
    fields.u32()
}

/// Makes sample entries of a track protected ones (ISO/IEC 14496-12, 8.12): `encv` or `enca`, with a `sinf`
/// box behind the boxes that are there. `protect` is asked for each entry of `track`, which `trak` was read
/// from; an entry that it gives nothing for stays as it is.
///
/// # Errors
/// Those of reading boxes; [`BoxError::Edit`] for an entry that is protected already, or that is neither
/// visual nor audio.
pub fn protect_entries(
    trak: &mut Node<'_>,
    track: &Track<'_>,
    protect: impl Fn(&SampleEntry<'_>) -> Option<EntryProtection>,
) -> Result<(), BoxError> {
    let stsd = trak.descend_mut(&[kind::MDIA, kind::MINF, kind::STBL, kind::STSD])?;
    for (node, entry) in stsd.children_mut()?.iter_mut().zip(&track.entries) {
        let Some(protection) = protect(entry) else {
            continue;
        };
        let refuse = |why| BoxError::Edit {
            path: entry.span.path(),
            why,
        };
        if entry.protection.is_some() {
            return Err(refuse("its samples are protected already"));
        }
        let fields_len = entry.fields_len.ok_or(refuse("it is neither visual nor audio"))?;
        let protected = match track.handler {
            super::Handler::Video => kind::ENCV,
            super::Handler::Audio => kind::ENCA,
            super::Handler::Other(_) => return Err(refuse("it is neither visual nor audio")),
        };
        node.children_behind_mut(fields_len)?.push(protection.to_node());
        node.set_kind(protected);
    }
    Ok(())
}

/// Appends sample entries to those of a track. No sample names them yet ([`set_description_index`]).
///
/// # Errors
/// Those of reading boxes; [`BoxError::OutOfRange`] for more entries than 32 bits count.
pub fn append_entries<'a>(trak: &mut Node<'a>, entries: Vec<Node<'a>>) -> Result<(), BoxError> {
    let stsd = trak.descend_mut(&[kind::MDIA, kind::MINF, kind::STBL, kind::STSD])?;
    let children = stsd.children_mut()?;
    children.extend(entries);
    let count = u32::try_from(children.len()).map_err(|_| BoxError::OutOfRange {
        path: stsd.path(),
        what: "the number of sample entries",
    })?;
    stsd.replace_u32(4, count)
}

/// Makes the samples of the `index`-th `traf` box in a `moof` box those of another sample entry, from 1. For a
/// fragment whose positions are all relative to the `moof` box, as [`make_moof_relative`] leaves it.
///
/// # Errors
/// Those of reading boxes; [`BoxError::Edit`] if there is no such `traf` box.
pub fn set_description_index(moof: &mut Node<'_>, index: usize, entry: u32) -> Result<(), BoxError> {
    const PLACE: usize = 8;
    let tfhd = traf_mut(moof, index)?.need_mut(kind::TFHD)?;
    let (version, flags) = tfhd.fields().version_and_flags()?;
    if flags & header_flag::DESCRIPTION == 0 {
        tfhd.set_version_and_flags(version, flags | header_flag::DESCRIPTION)?;
        let body = tfhd.body_mut();
        let at = body.len().min(PLACE);
        body.splice(at..at, [0; 4]);
    }
    tfhd.replace_u32(PLACE, entry)
}

/// Makes the movie box of a progressive file that of a fragmented one (8.8.1): sample tables are emptied,
/// durations become 0, and `mvex` says the duration (in the movie's timescale) and the defaults of each track.
///
/// # Errors
/// Those of reading boxes; [`BoxError::Edit`] if there is a `mvex` box already.
pub fn make_fragmented(
    moov: &mut Node<'_>,
    defaults: &[TrackDefaults],
    duration: u64,
) -> Result<(), BoxError> {
    let path = moov.path();
    if moov.child_mut(kind::MVEX)?.is_some() {
        return Err(BoxError::Edit {
            path,
            why: "it is fragmented already",
        });
    }
    clear_duration(moov.need_mut(kind::MVHD)?, 4)?;
    let mut last_track = 0;
    for (index, child) in moov.children_mut()?.iter_mut().enumerate() {
        if child.kind() == kind::TRAK {
            last_track = index;
            clear_duration(child.need_mut(kind::TKHD)?, 8)?;
            clear_duration(child.descend_mut(&[kind::MDIA, kind::MDHD])?, 4)?;
            empty_tables(child.descend_mut(&[kind::MDIA, kind::MINF, kind::STBL])?)?;
        }
    }
    let mut extends = vec![Node::full(kind::MEHD, 1, 0, &duration.to_be_bytes())];
    extends.extend(defaults.iter().map(TrackDefaults::to_node));
    let children = moov.children_mut()?;
    let behind = last_track.saturating_add(1).min(children.len());
    children.insert(behind, Node::container(kind::MVEX, extends));
    Ok(())
}

impl TrackDefaults {
    /// The `trex` box that says this.
    #[must_use]
    pub fn to_node(&self) -> Node<'static> {
        let words = [
            self.track_id,
            self.description_index,
            self.duration,
            self.size,
            self.flags.0,
        ];
        Node::full(kind::TREX, 0, 0, words.map(u32::to_be_bytes).as_flattened())
    }
}

/// Writes 0 over the duration of `mvhd`, `mdhd` or `tkhd`: behind the two times and `between` bytes.
fn clear_duration(header: &mut Node<'_>, between: usize) -> Result<(), BoxError> {
    let (version, _) = header.fields().version_and_flags()?;
    let (times, len) = if version == 1 { (16, 8) } else { (8, 4) };
    let at = between.saturating_add(times).saturating_add(4);
    header.replace(at, [0; 8].get(..len).unwrap_or_default())
}

/// The boxes of a sample table that say something of single samples.
const OF_SAMPLES: [FourCc; 16] = [
    kind::STTS,
    kind::CTTS,
    kind::CSLG,
    kind::STSS,
    kind::STSH,
    kind::SDTP,
    kind::STSZ,
    kind::STZ2,
    kind::STSC,
    kind::STCO,
    kind::CO64,
    kind::PADB,
    kind::STDP,
    kind::SUBS,
    kind::SBGP,
    kind::CSGP,
];

fn empty_tables(stbl: &mut Node<'_>) -> Result<(), BoxError> {
    let children = stbl.children_mut()?;
    let mut at = None;
    let mut index = 0_usize;
    children.retain(|child| {
        let of_samples = OF_SAMPLES.iter().any(|kind| child.kind() == *kind);
        let auxiliary = child.kind() == kind::SAIZ || child.kind() == kind::SAIO;
        if of_samples {
            at.get_or_insert(index);
        }
        index = index.saturating_add(usize::from(!of_samples && !auxiliary));
        !of_samples && !auxiliary
    });
    let at = at.unwrap_or(children.len()).min(children.len());
    let empty = [
        Node::full(kind::STTS, 0, 0, &[0; 4]),
        Node::full(kind::STSC, 0, 0, &[0; 4]),
        Node::full(kind::STSZ, 0, 0, &[0; 8]),
        Node::full(kind::STCO, 0, 0, &[0; 4]),
    ];
    children.splice(at..at, empty);
    Ok(())
}

/// Makes all data positions of a fragment relative to the first byte of its `moof` box (8.8.7.1), whichever
/// way they were stated: every header gets the flag "default base is moof", every run a data offset, and
/// `saio` offsets are counted anew. `fragment` is what `moof` was read as. The positions stay those of the input
/// file: follow with [`shift_data_offsets`].
///
/// # Errors
/// Those of reading boxes; [`BoxError::OutOfRange`] for data more than 2 GiB away from its `moof` box.
pub fn make_moof_relative(moof: &mut Node<'_>, fragment: &Fragment<'_>) -> Result<(), BoxError> {
    let start = fragment.span.offset();
    let trafs = moof
        .children_mut()?
        .iter_mut()
        .filter(|child| child.kind() == kind::TRAF);
    for (node, traf) in trafs.zip(&fragment.tracks) {
        drop_base(node.need_mut(kind::TFHD)?, traf.base_form)?;
        let mut runs = traf.runs.iter();
        for child in node.children_mut()? {
            if child.kind() == kind::TRUN {
                let position = runs.next().map_or(start, |run| run.start);
                set_data_offset(child, distance(child, start, position)?)?;
            } else if child.kind() == kind::SAIO && traf.base != start {
                move_saio(child, |offset| offset.checked_add(traf.base)?.checked_sub(start))?;
            }
        }
    }
    Ok(())
}

/// The data offset of a position, from the `moof` box at `start`.
fn distance(run: &Node<'_>, start: u64, position: u64) -> Result<i32, BoxError> {
    position
        .checked_signed_diff(start)
        .and_then(|distance| i32::try_from(distance).ok())
        .ok_or(BoxError::OutOfRange {
            path: run.path(),
            what: "the data offset",
        })
}

fn drop_base(tfhd: &mut Node<'_>, form: BaseForm) -> Result<(), BoxError> {
    let (version, mut flags) = tfhd.fields().version_and_flags()?;
    if form == BaseForm::Explicit {
        flags &= !header_flag::BASE;
        let body = tfhd.body_mut();
        if body.len() >= 16 {
            body.drain(8..16);
        }
    }
    flags |= header_flag::MOOF_BASE;
    tfhd.set_version_and_flags(version, flags)
}

/// Sets the data offset of a run, adding the field if it is not there.
fn set_data_offset(trun: &mut Node<'_>, offset: i32) -> Result<(), BoxError> {
    let (version, flags) = trun.fields().version_and_flags()?;
    if flags & run_flag::DATA_OFFSET == 0 {
        trun.set_version_and_flags(version, flags | run_flag::DATA_OFFSET)?;
        let body = trun.body_mut();
        let at = body.len().min(8);
        body.splice(at..at, [0; 4]);
    }
    trun.replace(8, &offset.to_be_bytes())
}

/// Counts the offsets of a `saio` box anew. One that is outgrown by its field, or that `moved` has no answer
/// for, is an error.
fn move_saio(saio: &mut Node<'_>, moved: impl Fn(u64) -> Option<u64>) -> Result<(), BoxError> {
    let mut fields = saio.fields();
    let (version, flags) = fields.version_and_flags()?;
    fields.bytes(if flags & 1 == 0 { 0 } else { 8 })?;
    let count = fields.u32()?;
    let (mut at, step) = (
        if flags & 1 == 0 { 8_usize } else { 16 },
        if version == 0 { 4 } else { 8 },
    );
    let out_of_range = BoxError::OutOfRange {
        path: saio.path(),
        what: "an offset",
    };
    for _ in 0..count {
        let mut field = saio.fields();
        field.bytes(at)?;
        let offset = moved(field.u32_or_u64(version != 0)?).ok_or(out_of_range)?;
        if version == 0 {
            saio.replace_u32(at, u32::try_from(offset).map_err(|_| out_of_range)?)?;
        } else {
            saio.replace(at, &offset.to_be_bytes())?;
        }
        at = at.saturating_add(step);
    }
    Ok(())
}

/// Moves the data of a fragment by `by` bytes from its `moof` box: adds to the data offset of every run, and to
/// `saio` offsets that point behind a `moof` box of `old_len` bytes. For a fragment whose positions are all
/// relative to the `moof` box ([`make_moof_relative`], [`new_fragment`](super::new_fragment)).
///
/// # Errors
/// Those of reading boxes; [`BoxError::OutOfRange`] for a data offset outside of 32 bits, and for auxiliary
/// information inside of the box, which this function cannot move.
pub fn shift_data_offsets(moof: &mut Node<'_>, old_len: u64, by: i64) -> Result<(), BoxError> {
    for traf in moof
        .children_mut()?
        .iter_mut()
        .filter(|child| child.kind() == kind::TRAF)
    {
        for child in traf.children_mut()? {
            if child.kind() == kind::TRUN {
                shift_run(child, by)?;
            } else if child.kind() == kind::SAIO && !is_ours(child)? {
                move_saio(child, |offset| {
                    let moved = offset.checked_add_signed(by)?;
                    (offset >= old_len).then_some(moved)
                })?;
            }
        }
    }
    Ok(())
}

fn shift_run(trun: &mut Node<'_>, by: i64) -> Result<(), BoxError> {
    let mut fields = trun.fields();
    let (_, flags) = fields.version_and_flags()?;
    if flags & run_flag::DATA_OFFSET == 0 {
        return Ok(());
    }
    fields.u32()?;
    let offset = i64::from(fields.i32()?)
        .checked_add(by)
        .and_then(|offset| i32::try_from(offset).ok())
        .ok_or(BoxError::OutOfRange {
            path: trun.path(),
            what: "the data offset",
        })?;
    trun.replace(8, &offset.to_be_bytes())
}

/// Whether a `saio` box is about common encryption: [`point_auxiliary`] sets it.
fn is_ours(saio: &Node<'_>) -> Result<bool, BoxError> {
    let mut fields = saio.fields();
    let (_, flags) = fields.version_and_flags()?;
    is_of_encryption(&mut fields, flags)
}

/// Appends the boxes of auxiliary information to the `index`-th `traf` box of a fragment.
///
/// # Errors
/// Those of reading boxes; [`BoxError::Edit`] if there are fewer track fragments.
pub fn append_auxiliary(moof: &mut Node<'_>, index: usize, boxes: &AuxiliaryBoxes) -> Result<(), BoxError> {
    let traf = traf_mut(moof, index)?;
    traf.children_mut()?.extend(boxes.to_nodes()?);
    Ok(())
}

/// Puts the `count` samples of the `index`-th `traf` box of a fragment into a group of their own, protected as
/// `encryption` says, whatever the sample entry says (ISO/IEC 23001-7, clause 6): keys that rotate.
///
/// # Errors
/// Those of reading boxes; [`BoxError::Edit`] if there are fewer track fragments.
pub fn append_group(
    moof: &mut Node<'_>,
    index: usize,
    encryption: &TrackEncryption,
    count: u32,
) -> Result<(), BoxError> {
    let boxes = groups::of_fragment(encryption, count)?;
    traf_mut(moof, index)?.children_mut()?.extend(boxes);
    Ok(())
}

/// Appends `pssh` boxes to a fragment.
///
/// # Errors
/// Those of reading boxes.
pub fn append_system_headers(moof: &mut Node<'_>, boxes: Vec<Node<'static>>) -> Result<(), BoxError> {
    moof.children_mut()?.extend(boxes);
    Ok(())
}

/// The `index`-th `traf` box.
fn traf_mut<'n, 'a>(moof: &'n mut Node<'a>, index: usize) -> Result<&'n mut Node<'a>, BoxError> {
    let path = moof.path();
    let mut trafs = moof
        .children_mut()?
        .iter_mut()
        .filter(|child| child.kind() == kind::TRAF);
    trafs.nth(index).ok_or(BoxError::Edit {
        path,
        why: "it has fewer track fragments",
    })
}

/// Sets the offset of each `saio` box of common encryption to the first byte of information in the `senc` box
/// beside it. To be called when the fragment has its final form.
///
/// # Errors
/// Those of reading boxes; [`BoxError::OutOfRange`] above 32 bits.
pub fn point_auxiliary(moof: &mut Node<'_>) -> Result<(), BoxError> {
    moof.children_mut()?;
    let mut start = moof.offset_of(&[0]).unwrap_or_default();
    for child in moof.children_mut()? {
        if child.kind() == kind::TRAF {
            point_saio(child, start)?;
        }
        start = start.saturating_add(child.encoded_len());
    }
    Ok(())
}

/// In the `traf` box that begins `start` bytes behind the first of its `moof` box.
fn point_saio(traf: &mut Node<'_>, start: u64) -> Result<(), BoxError> {
    let out_of_range = BoxError::OutOfRange {
        path: traf.path(),
        what: "the offset of auxiliary information",
    };
    let children = traf.children_mut()?;
    let senc = children.iter().position(|child| child.kind() == kind::SENC);
    let saio = children
        .iter()
        .position(|child| child.kind() == kind::SAIO && matches!(is_ours(child), Ok(true)));
    let (Some(senc), Some(saio)) = (senc, saio) else {
        return Ok(());
    };
    // Behind the header of 8 bytes, version, flags and count.
    let offset = traf
        .offset_of(&[senc])
        .and_then(|offset| u32::try_from(offset.checked_add(start)?.checked_add(16)?).ok())
        .ok_or(out_of_range)?;
    match traf.children_mut()?.get_mut(saio) {
        Some(saio) => saio.replace_u32(8, offset),
        None => Ok(()),
    }
}
