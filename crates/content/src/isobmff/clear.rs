//! What to overwrite so that a protected file reads as a clear one, without moving a byte.

use super::{
    BoxError, BoxKind, BoxSpan, FourCc, Fragment, Movie, Track, auxiliary::is_of_encryption, groups::is_seig,
    kind,
};

/// Four bytes of the file to be overwritten: the type of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overwrite {
    /// Where in the file.
    pub offset: u64,
    /// With what.
    pub fourcc: FourCc,
}

impl Overwrite {
    fn kind_of(span: &BoxSpan<'_>, fourcc: FourCc) -> Self {
        Self {
            offset: span.offset().saturating_add(4),
            fourcc,
        }
    }
}

/// What makes a movie box that of a clear file, for the tracks that `unprotect` chooses: protected sample
/// entries get their original format, and what described the protection becomes free space of the same size
/// (`sinf`, `pssh`, `senc`, `saiz`, `saio`, `seig` groups). In file order.
///
/// Sample entries with a protection that is not common encryption stay as they are.
///
/// # Errors
/// Those of reading boxes.
pub fn clear_movie(
    movie: &Movie<'_>,
    unprotect: impl Fn(&Track<'_>) -> bool,
) -> Result<Vec<Overwrite>, BoxError> {
    let mut out = Vec::new();
    free_children(&movie.span, &mut out, &|child| Ok(child.kind() == kind::PSSH))?;
    for track in movie.tracks.iter().filter(|track| unprotect(track)) {
        for entry in &track.entries {
            let Some(protection) = entry.protection.filter(|entry| entry.scheme.is_some()) else {
                continue;
            };
            out.push(Overwrite::kind_of(&entry.span, protection.original_format));
            for child in entry.children()? {
                let child = child?;
                if child.kind() == kind::SINF {
                    out.push(Overwrite::kind_of(&child, kind::FREE));
                }
            }
        }
        free_children(&track.span, &mut out, &describes_samples)?;
        free_children(&track.stbl, &mut out, &describes_samples)?;
    }
    out.sort_by_key(|overwrite| overwrite.offset);
    Ok(out)
}

/// What makes a movie fragment box that of a clear file, for the tracks that `unprotect` chooses by their id.
/// In file order.
///
/// # Errors
/// Those of reading boxes.
pub fn clear_fragment(
    fragment: &Fragment<'_>,
    unprotect: impl Fn(u32) -> bool,
) -> Result<Vec<Overwrite>, BoxError> {
    let mut out = Vec::new();
    free_children(&fragment.span, &mut out, &|child| Ok(child.kind() == kind::PSSH))?;
    for track in fragment.tracks.iter().filter(|track| unprotect(track.track_id)) {
        free_children(&track.span, &mut out, &describes_samples)?;
    }
    out.sort_by_key(|overwrite| overwrite.offset);
    Ok(out)
}

fn free_children(
    span: &BoxSpan<'_>,
    out: &mut Vec<Overwrite>,
    chosen: &dyn Fn(&BoxSpan<'_>) -> Result<bool, BoxError>,
) -> Result<(), BoxError> {
    for child in span.children() {
        let child = child?;
        if chosen(&child)? {
            out.push(Overwrite::kind_of(&child, kind::FREE));
        }
    }
    Ok(())
}

/// Whether a box describes the protection of samples.
fn describes_samples(span: &BoxSpan<'_>) -> Result<bool, BoxError> {
    match span.kind() {
        BoxKind::Uuid(uuid) => Ok(uuid == kind::PIFF_SENC),
        BoxKind::Type(kind::SENC) => Ok(true),
        BoxKind::Type(kind::SAIZ | kind::SAIO) => {
            let mut fields = span.fields();
            let (_, flags) = fields.version_and_flags()?;
            is_of_encryption(&mut fields, flags)
        }
        BoxKind::Type(_) => is_seig(span),
    }
}
