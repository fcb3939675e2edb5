//! What stands in front of the fragments: brands, and the movie box with its protection.

use keyward_content::{
    header::{Algorithm, ContentHeader, KeyReference, Object},
    isobmff::{BoxError, BoxSpan, Movie, Node, SampleFlags, SizeForm, TrackDefaults, edit, kind},
    pssh::Pssh,
};
use keyward_crypto::{ContentKey, seed};
use keyward_license::{ids::Kid, license::KeyType};

use super::{
    MediaOptions, carried,
    rotation::stores,
    tracks::{TrackCipher, TrackPlan},
};
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

/// The `pssh` boxes of the movie box: Keyward's with the content header and the room for embedded licenses, the
/// common one with the key ids, if there are any, and PlayReady's if that was asked for.
///
/// # Errors
/// [`MediaError::StoreRoom`]; those of the header.
pub(super) fn movie_headers(
    options: &MediaOptions,
    header: &ContentHeader,
    common: &[Kid],
) -> Result<Vec<Node<'static>>, PackagerError> {
    let store_len = usize::try_from(options.store_len).unwrap_or(usize::MAX);
    let room = header.store_room()?;
    if store_len > room {
        return Err(MediaError::StoreRoom { room }.into());
    }
    let store = vec![0; store_len];
    let object = header.to_object_with_store(Some(&store[..]).filter(|store| !store.is_empty()))?;
    system_headers(options, header, vec![object], common)
}

/// The `pssh` boxes of a fragment, with the licenses that ride there. The common one names the keys of its samples.
pub(super) fn fragment_headers(
    options: &MediaOptions,
    header: &ContentHeader,
    common: &[Kid],
    riding: &[&[u8]],
) -> Result<Vec<Node<'static>>, PackagerError> {
    let mut objects = Vec::new();
    // Each has room for as much as stands beside the header in the first.
    for store in stores(riding, header.store_room()?)? {
        objects.push(match objects.is_empty() {
            true => header.to_object_with_store(Some(&store))?,
            false => Object {
                header: None,
                embedded_store: Some(&store),
            }
            .to_bytes()?,
        });
    }
    if objects.is_empty() {
        objects.push(header.to_object_bytes()?);
    }
    system_headers(options, header, objects, common)
}

fn system_headers(
    options: &MediaOptions,
    header: &ContentHeader,
    objects: Vec<Vec<u8>>,
    common: &[Kid],
) -> Result<Vec<Node<'static>>, PackagerError> {
    let mut boxes: Vec<Pssh> = objects.into_iter().map(Pssh::keyward).collect();
    if !common.is_empty() {
        boxes.push(Pssh::common(common.to_vec()));
    }
    if options.playready_pssh {
        // Without licenses: they are none of PlayReady's.
        boxes.push(Pssh::playready(header.to_object_bytes()?));
    }
    let node = |header: &Pssh| {
        let bytes = header.to_bytes().map_err(MediaError::from)?;
        Ok(Node::from_span(&BoxSpan::parse(&bytes, 0)?).into_owned())
    };
    boxes.iter().map(node).collect()
}

/// A content header that names keys, each once, and where licenses are: those of the whole content, then
/// those that are used.
pub(super) fn content_header<'k>(
    options: &MediaOptions,
    used: impl Iterator<Item = &'k TrackCipher>,
    on_demand: bool,
) -> Result<ContentHeader, MediaError> {
    let mut kids: Vec<KeyReference> = Vec::new();
    let mut keys: Vec<(Kid, ContentKey)> = Vec::new();
    let named = options
        .content_keys
        .iter()
        .map(|named| (named.kid, named.key.content_key(named.kid)));
    for (kid, key) in named.chain(used.map(|used| (used.kid, used.key.duplicate()))) {
        let ctr = options.scheme.key_type() == KeyType::CencCtr;
        match keys.iter().find(|(known, _)| *known == kid) {
            Some((_, known)) if *known != key => return Err(MediaError::KeyConflict(kid)),
            Some(_) => continue,
            None => {}
        }
        kids.push(KeyReference {
            algorithm: Some(if ctr { Algorithm::AesCtr } else { Algorithm::AesCbc }),
            checksum: ctr.then(|| seed::aesctr_checksum(&key, kid.as_bytes()).to_vec()),
            ..KeyReference::new(kid)
        });
        keys.push((kid, key));
    }
    Ok(with_places(options, kids, on_demand))
}

/// A content header that names the root licenses with which the keys of the fragments open.
pub(super) fn root_header(options: &MediaOptions, roots: &[Kid]) -> ContentHeader {
    with_places(
        options,
        roots.iter().copied().map(KeyReference::new).collect(),
        true,
    )
}

fn with_places(options: &MediaOptions, kids: Vec<KeyReference>, on_demand: bool) -> ContentHeader {
    ContentHeader {
        license_url: options.license_url.clone(),
        license_ui_url: options.license_ui_url.clone(),
        domain_service_id: options.domain_service_id,
        custom_attributes: options.custom_attributes.clone(),
        on_demand,
        ..ContentHeader::new(kids)
    }
}

/// The key ids that sample entries name, given those of the first samples: where keys rotate zeros, as the
/// fragments name the keys.
pub(super) fn entry_kids(first: &[Option<Kid>], rotate: bool) -> Vec<Option<Kid>> {
    let named = |kid: Kid| if rotate { Kid::new([0; 16]) } else { kid };
    first.iter().map(|kid| kid.map(named)).collect()
}

/// The `moov` box of the output, with the key ids that the sample entries of the tracks name. With a duration, in the
/// movie's timescale, it is that of a progressive file, and is made fragmented. With clear entries, those of the input
/// stand behind the protected ones, for the samples of a clear lead.
pub(super) fn movie_box(
    (movie, plans): (&Movie<'_>, &[TrackPlan<'_>]),
    kids: &[Option<Kid>],
    system_headers: Vec<Node<'static>>,
    duration: Option<u64>,
    with_clear_entries: bool,
) -> Result<Vec<u8>, BoxError> {
    let mut moov = Node::from_span(&movie.span);
    if let Some(duration) = duration {
        make_fragmented(&mut moov, movie, duration)?;
    }
    for (plan, kid) in plans.iter().zip(kids) {
        if let (Some(protection), Some(kid)) = (&plan.protection, kid) {
            let trak = edit::track_mut(&mut moov, plan.track.id)?;
            if with_clear_entries {
                let clear = plan.track.entries.iter();
                edit::append_entries(trak, clear.map(|entry| Node::from_span(&entry.span)).collect())?;
            }
            edit::protect_entries(trak, plan.track, |entry| Some(protection.of_entry(entry, *kid)))?;
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
