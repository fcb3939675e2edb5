//! What the boxes of sample entries and tracks say of protection.

use keyward_license::ids::Kid;

use super::{
    protection::{KID, OTHER_KID, cbcs, cenc, fields, movie, sgpd, sinf, tenc},
    *,
};
use crate::cenc::{Iv, Pattern, Scheme};

pub(super) fn entry_protection(sinf: &[u8]) -> Result<Option<EntryProtection>, BoxError> {
    let bytes = movie(sinf, &no_samples());
    Movie::parse(&span(&bytes)).map(|movie| movie.tracks[0].entries[0].protection)
}

/// A fragment at 1000 of samples of the given sizes, and what its cursor says of each.
#[test]
fn track_encryption_is_read() {
    let expected = EntryProtection {
        original_format: FourCc(*b"avc1"),
        scheme_type: FourCc(*b"cenc"),
        scheme_version: 0x1_0000,
        scheme: Some(Scheme::Cenc),
        default: Some(TrackEncryption {
            protected: true,
            pattern: Pattern::NONE,
            iv_size: 8,
            kid: Kid::new(KID),
            constant_iv: None,
        }),
    };
    assert_eq!(entry_protection(&cenc()), Ok(Some(expected)));
    // A `tenc` of version 0 has no pattern, whatever its reserved byte says.
    let reserved = sinf(b"avc1", b"cenc", &tenc(0, &fields(0x19, 1, 8, KID, &[])));
    assert_eq!(entry_protection(&reserved), Ok(Some(expected)));

    let found = entry_protection(&cbcs()).unwrap().unwrap();
    assert_eq!(found.scheme, Some(Scheme::Cbcs));
    let default = found.default.unwrap();
    assert_eq!((default.pattern, default.iv_size), (Pattern::VIDEO, 0));
    assert_eq!(default.constant_iv, Some(Iv::new(&[7; 16]).unwrap()));
}

#[test]
fn track_encryption_of_piff_is_read() {
    for (algorithm, scheme) in [(1, Scheme::Cenc), (2, Scheme::Cbc1)] {
        let fields = [&words(&[0])[..], &[0, 0, algorithm, 16], &KID].concat();
        let uuid = bx(b"uuid", &[&kind::PIFF_TENC, &fields]);
        let found = entry_protection(&sinf(b"avc1", b"piff", &uuid)).unwrap().unwrap();
        assert_eq!(found.scheme, Some(scheme));
        let default = found.default.unwrap();
        assert_eq!(
            (default.protected, default.iv_size, default.kid),
            (true, 16, Kid::new(KID))
        );
    }
}

#[test]
fn track_encryption_that_cannot_be_read_is_refused() {
    let place = "moov/trak/mdia/minf/stbl/stsd/encv/sinf/schi/tenc";
    for (tenc, message) in [
        (
            tenc(2, &fields(0, 1, 8, KID, &[])),
            "at byte 0: this version of the track encryption box is not supported",
        ),
        (
            tenc(1, &fields(0x09, 1, 8, KID, &[])),
            "at byte 13: the pattern encrypts no blocks but skips some",
        ),
        (
            tenc(1, &fields(0, 2, 8, KID, &[])),
            "at byte 14: this kind of protection is not supported",
        ),
        (
            tenc(1, &fields(0, 1, 7, KID, &[])),
            "at byte 32: the IV size is not 0, 8 or 16",
        ),
        (
            tenc(1, &fields(0, 1, 0, KID, &[])),
            "at byte 32: the box ends inside a field",
        ),
        (
            tenc(1, &fields(0, 1, 0, KID, &[1; 9])),
            "at byte 42: the constant IV has neither 8 nor 16 bytes",
        ),
    ] {
        let error = entry_protection(&sinf(b"avc1", b"cbcs", &tenc)).unwrap_err();
        assert_eq!(error.to_string(), format!("{place} {message}"));
    }
}

#[test]
fn the_keys_of_a_track_are_listed() {
    let groups = sgpd(&[fields(0, 0, 0, [0; 16], &[]), fields(0, 1, 8, OTHER_KID, &[])]);
    let file = movie(&cenc(), &[no_samples(), vec![groups]].concat());
    let movie = Movie::parse(&span(&file)).unwrap();
    let protection = TrackProtection::of(&movie.tracks[0]);
    let keys: Vec<_> = protection.keys().collect();
    assert_eq!(
        keys,
        [(Kid::new(KID), Scheme::Cenc), (Kid::new(OTHER_KID), Scheme::Cenc)]
    );
    assert!(protection.is_protected());
    assert_eq!(protection.entries().len(), 2);
    let file = progressive();
    let movie = span(&file);
    assert!(!TrackProtection::of(&Movie::parse(&movie).unwrap().tracks[0]).is_protected());
}

#[test]
fn keys_are_named_once_for_each_scheme() {
    let cenc = cenc();
    let entries = [visual(b"encv", &[&cenc]), visual(b"encv", &[&cenc])];
    let entries: Vec<_> = entries.iter().map(Vec::as_slice).collect();
    let groups = sgpd(&[fields(0, 1, 8, OTHER_KID, &[]), fields(0, 0, 0, [0; 16], &[])]);
    let file = moov(&[&trak(
        1,
        b"vide",
        &entries,
        &[no_samples(), vec![groups]].concat(),
    )]);
    let movie = Movie::parse(&span(&file)).unwrap();
    let keys: Vec<_> = TrackProtection::of(&movie.tracks[0]).keys().collect();
    let key = |kid| (Kid::new(kid), Scheme::Cenc);
    assert_eq!(keys, [key(KID), key(KID), key(OTHER_KID)]);
}
