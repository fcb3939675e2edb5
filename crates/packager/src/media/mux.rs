//! What stands in front of the fragments: brands, and the movie box with its protection.

use keyward_content::{
    header::{Algorithm, ContentHeader, KeyReference},
    isobmff::{BoxError, BoxSpan, Movie, Node, SampleFlags, SizeForm, TrackDefaults, edit, kind},
    pssh::Pssh,
};
use keyward_crypto::seed;
use keyward_license::license::KeyType;

use super::{MediaOptions, carried, tracks::TrackPlan};
use crate::{MediaError, PackagerError};

/// The `ftyp` box, with a brand for what the output uses: `sidx`, `tfdt`, `saio`, bases at `moof`
/// (ISO/IEC 14496-12, Annex E).
pub(super) fn brands(input: Option<&[u8]>) -> Result<Vec<u8>, MediaError> {
    const SUFFICIENT: [&[u8; 4]; 7] = [b"iso6", b"iso7", b"iso8", b"iso9", b"isoa", b"isob", b"isoc"];
    let Some(input) = input else {
        return Ok(Node::new(kind::FTYP, b"iso6\0\0\0\0iso6mp41").to_vec());
    };
    let span = BoxSpan::parse(input, 0)?;
    let (codes, _) = span.body().as_chunks::<4>();
    // The second is the version of the first.
    let mut brands = codes.iter().enumerate().filter(|(at, _)| *at != 1);
    if brands.any(|(_, brand)| SUFFICIENT.contains(&brand)) {
        return Ok(input.to_vec());
    }
    Ok(Node::new(kind::FTYP, [span.body(), b"iso6"].concat()).to_vec())
}

/// The `pssh` boxes: Keyward's with the content header, the common one with the key ids, and PlayReady's if
/// that was asked for.
pub(super) fn system_headers(
    options: &MediaOptions,
    plans: &[TrackPlan<'_>],
) -> Result<Vec<Node<'static>>, PackagerError> {
    let header = content_header(options, plans);
    let object = header.to_object_bytes()?;
    let mut boxes = vec![
        Pssh::keyward(object.clone()),
        Pssh::common(header.kids.iter().map(|key| key.kid).collect()),
    ];
    if options.playready_pssh {
        boxes.push(Pssh::playready(object));
    }
    let node = |header: Pssh| {
        let bytes = header.to_bytes().map_err(MediaError::from)?;
        Ok(Node::from_span(&BoxSpan::parse(&bytes, 0)?).into_owned())
    };
    boxes.into_iter().map(node).collect()
}

/// Every key of the content, once, and where licenses are.
fn content_header(options: &MediaOptions, plans: &[TrackPlan<'_>]) -> ContentHeader {
    let mut kids: Vec<KeyReference> = Vec::new();
    for protection in plans.iter().filter_map(|plan| plan.protection.as_ref()) {
        let (kid, ctr) = (protection.kid, options.scheme.key_type() == KeyType::CencCtr);
        if kids.iter().any(|known| known.kid == kid) {
            continue;
        }
        kids.push(KeyReference {
            algorithm: Some(if ctr { Algorithm::AesCtr } else { Algorithm::AesCbc }),
            checksum: ctr.then(|| seed::aesctr_checksum(&protection.key, kid.as_bytes()).to_vec()),
            ..KeyReference::new(kid)
        });
    }
    ContentHeader {
        license_url: options.license_url.clone(),
        license_ui_url: options.license_ui_url.clone(),
        domain_service_id: options.domain_service_id,
        custom_attributes: options.custom_attributes.clone(),
        ..ContentHeader::new(kids)
    }
}

/// The `moov` box of the output. With a duration, in the movie's timescale, it is that of a progressive
/// file, and is made fragmented. With clear entries, those of
/// the input stand behind the protected ones, for the samples of a clear lead.
pub(super) fn movie_box(
    movie: &Movie<'_>,
    plans: &[TrackPlan<'_>],
    system_headers: Vec<Node<'static>>,
    duration: Option<u64>,
    with_clear_entries: bool,
) -> Result<Vec<u8>, BoxError> {
    let mut moov = Node::from_span(&movie.span);
    if let Some(duration) = duration {
        make_fragmented(&mut moov, movie, duration)?;
    }
    for plan in plans {
        if let Some(protection) = &plan.protection {
            let trak = edit::track_mut(&mut moov, plan.track.id)?;
            if with_clear_entries {
                let clear = plan.track.entries.iter();
                edit::append_entries(trak, clear.map(|entry| Node::from_span(&entry.span)).collect())?;
            }
            edit::protect_entries(trak, plan.track, |entry| Some(protection.of_entry(entry)))?;
        }
    }
    moov.children_mut()?.extend(system_headers);
    let mut bytes = moov.to_vec();
    // A movie box that reached to the end of the input does not do so here.
    if let (SizeForm::ToEnd, Ok(len)) = (movie.span.header().form, u32::try_from(bytes.len())) {
        bytes.splice(..4, len.to_be_bytes());
    }
    Ok(bytes)
}

fn make_fragmented(moov: &mut Node<'_>, movie: &Movie<'_>, duration: u64) -> Result<(), BoxError> {
    // A file may announce fragments and have none.
    moov.children_mut()?.retain(|child| child.kind() != kind::MVEX);
    let defaults = movie.tracks.iter().map(|track| TrackDefaults {
        track_id: track.id,
        description_index: 1,
        duration: 0,
        size: 0,
        flags: SampleFlags(0),
    });
    edit::make_fragmented(moov, &defaults.collect::<Vec<_>>(), duration)?;
    let properties = carried::track_properties(&movie.tracks)?;
    moov.need_mut(kind::MVEX)?.children_mut()?.extend(properties);
    Ok(())
}
