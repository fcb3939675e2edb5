//! What the MP4 parser of Chromium demands of protected fragments, held against ours: it stops playback at the first
//! box that is otherwise.

use std::collections::BTreeMap;

use keyward_content::{
    isobmff::{BoxSpan, Fields, FourCc, Movie, kind},
    pssh::Pssh,
};

use crate::read::*;

/// What a `tenc` box or `seig` group says, as far as the parser looks.
#[derive(Debug, Clone, Copy)]
struct Encryption {
    protected: bool,
    iv_size: u8,
    constant_iv: bool,
}

/// Checks a whole file.
pub(crate) fn check(file: &[u8]) {
    let movie = movie(file);
    let defaults = defaults(&movie);
    for moof in of_kind(file, kind::MOOF) {
        for child in children(&moof) {
            match child.kind().fourcc() {
                kind::PSSH => check_system_header(&child),
                kind::TRAF => check_track(&moof, &child, &defaults),
                _ => {}
            }
        }
    }
    of_kind(file, kind::MOOV)
        .iter()
        .flat_map(children)
        .filter(|child| child.kind() == kind::PSSH)
        .for_each(|child| check_system_header(&child));
}

fn children<'a>(span: &BoxSpan<'a>) -> Vec<BoxSpan<'a>> {
    span.children().map(Result::unwrap).collect()
}

fn child<'a>(span: &BoxSpan<'a>, wanted: FourCc) -> Option<BoxSpan<'a>> {
    let found: Vec<_> = children(span)
        .into_iter()
        .filter(|child| child.kind() == wanted)
        .collect();
    assert!(found.len() < 2, "{wanted} twice");
    found.into_iter().next()
}

/// The defaults of each track, by sample entry.
fn defaults(movie: &Movie<'_>) -> BTreeMap<u32, Vec<Option<Encryption>>> {
    let of_entry = |entry: &keyward_content::isobmff::SampleEntry<'_>| {
        let protection = entry.protection?;
        let default = protection.default.expect("a `tenc` box");
        Some(Encryption {
            protected: default.protected,
            iv_size: default.iv_size,
            constant_iv: default.constant_iv.is_some(),
        })
    };
    let tracks = movie.tracks.iter();
    tracks
        .map(|track| (track.id, track.entries.iter().map(of_entry).collect()))
        .collect()
}

/// A full box without flags, system id, key ids in version 1, data that fills it.
fn check_system_header(pssh: &BoxSpan<'_>) {
    let read = Pssh::parse(pssh.bytes()).unwrap();
    assert!(read.kids.is_none_or(|kids| !kids.is_empty()));
}

fn check_track(moof: &BoxSpan<'_>, traf: &BoxSpan<'_>, defaults: &BTreeMap<u32, Vec<Option<Encryption>>>) {
    let header = child(traf, kind::TFHD).expect("a header");
    let mut fields = header.fields();
    let (_, flags) = fields.version_and_flags().unwrap();
    let (id, entry) = (fields.u32().unwrap(), fields.u32().unwrap());
    assert!(flags & 2 != 0 && flags & 0x2_0000 != 0);
    child(traf, kind::TFDT).expect("a decode time");
    let count: u32 = children(traf)
        .iter()
        .filter(|child| child.kind() == kind::TRUN)
        .map(|run| {
            let mut fields = run.fields();
            fields.version_and_flags().unwrap();
            fields.u32().unwrap()
        })
        .sum();
    let default = defaults[&id][entry as usize - 1];
    let (sgpd, sbgp) = (child(traf, kind::SGPD), child(traf, kind::SBGP));
    let Some(default) = default else {
        assert!(sgpd.is_none() && sbgp.is_none() && child(traf, kind::SENC).is_none());
        return;
    };
    assert!(default.protected);
    let group = description(&sgpd.expect("group descriptions"));
    check_map(&sbgp.expect("a group of each sample"), count);
    assert!(group.protected, "the group is that of protected samples");
    // Keys change, nothing else does.
    assert_eq!(
        (group.iv_size, group.constant_iv),
        (default.iv_size, default.constant_iv)
    );
    check_auxiliary(moof, traf, count, group);
}

/// `sgpd` of version 1: a length of entries that is 0 or at least 20, then as many entries as it says.
fn description(sgpd: &BoxSpan<'_>) -> Encryption {
    let mut fields = sgpd.fields();
    assert_eq!(fields.version_and_flags().unwrap(), (1, 0));
    assert_eq!(fields.fourcc().unwrap(), kind::SEIG);
    let (len, count) = (fields.u32().unwrap(), fields.u32().unwrap());
    assert_eq!(count, 1);
    assert!(len >= 20);
    let before = fields.rest().len();
    let read = entry(&mut fields);
    assert_eq!(before - fields.rest().len(), len as usize);
    assert!(fields.rest().is_empty());
    read
}

fn entry(fields: &mut Fields<'_>) -> Encryption {
    assert_eq!(fields.u8().unwrap(), 0, "reserved");
    fields.u8().unwrap();
    let protected = fields.u8().unwrap();
    assert!(protected < 2);
    let iv_size = fields.u8().unwrap();
    let kid: [u8; 16] = fields.array().unwrap();
    assert_ne!(kid, [0; 16]);
    let constant_iv = protected == 1 && iv_size == 0;
    if constant_iv {
        let len = fields.u8().unwrap();
        assert!(len == 8 || len == 16);
        fields.bytes(len.into()).unwrap();
    } else {
        assert!(iv_size == if protected == 1 { iv_size & 24 } else { 0 });
    }
    Encryption {
        protected: protected == 1,
        iv_size,
        constant_iv,
    }
}

/// `sbgp` of version 0 that maps every sample to the first description of the fragment itself.
fn check_map(sbgp: &BoxSpan<'_>, samples: u32) {
    let mut fields = sbgp.fields();
    assert_eq!(fields.version_and_flags().unwrap(), (0, 0));
    assert_eq!(fields.fourcc().unwrap(), kind::SEIG);
    let rows = [(); 3].map(|()| fields.u32().unwrap());
    assert_eq!(rows, [1, samples, 0x1_0001]);
    assert!(fields.rest().is_empty());
}

/// As many entries as samples; where there is `saiz`, one offset, which points to them.
fn check_auxiliary(moof: &BoxSpan<'_>, traf: &BoxSpan<'_>, samples: u32, group: Encryption) {
    let senc = child(traf, kind::SENC).expect("auxiliary information");
    let mut fields = senc.fields();
    fields.version_and_flags().unwrap();
    assert_eq!(fields.u32().unwrap(), samples);
    let (saiz, saio) = (child(traf, kind::SAIZ), child(traf, kind::SAIO));
    assert_eq!(saiz.is_some(), saio.is_some());
    let (Some(saiz), Some(saio)) = (saiz, saio) else {
        assert!(group.constant_iv && fields.rest().is_empty());
        return;
    };
    let mut sizes = saiz.fields();
    sizes.version_and_flags().unwrap();
    sizes.u8().unwrap();
    assert_eq!(sizes.u32().unwrap(), samples);
    let mut offsets = saio.fields();
    offsets.version_and_flags().unwrap();
    assert_eq!(offsets.u32().unwrap(), 1);
    let information = senc.offset() + 16;
    assert_eq!(u64::from(offsets.u32().unwrap()), information - moof.offset());
}
