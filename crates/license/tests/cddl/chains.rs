//! Roots and leaves, crypto periods, and the embedded license store: one verdict of CDDL and decoder.

use keyward_license::{
    codec::{Bytes, Wire},
    embedded::EmbeddedStore,
    license::{Flag, LicenseBody, LicenseKind},
    time::Timestamp,
};

use super::{
    Map, agree, edited,
    samples::{
        embedded_license, full_license, leaf_license, packaging_request, read_packaging_request,
        root_license, signed_license,
    },
};

#[test]
fn kinds_get_one_verdict() {
    type Edit = fn(&mut LicenseBody);
    type License = fn() -> LicenseBody;
    let cases: [(License, Edit, bool); 17] = [
        (embedded_license, |body| body.embed = None, true),
        (full_license, |body| body.embed = Some(Flag), false),
        (root_license, |body| body.embed = Some(Flag), false),
        (root_license, |body| body.keys = full_license().keys, false),
        (root_license, |body| body.binding = leaf_license().binding, false),
        (root_license, |body| body.kind = LicenseKind::Simple, false),
        (leaf_license, |body| body.keys = root_license().keys, false),
        (leaf_license, |body| body.binding = full_license().binding, false),
        (leaf_license, |body| body.kind = LicenseKind::Simple, false),
        (leaf_license, |body| body.begin = Some(Timestamp(1)), false),
        (leaf_license, |body| body.end = Some(Timestamp(9)), false),
        (
            leaf_license,
            |body| body.expiration_after_first_play = Some(1),
            false,
        ),
        (leaf_license, |body| body.real_time_expiration = Some(Flag), false),
        (leaf_license, |body| body.removal_date = Some(Timestamp(9)), false),
        (leaf_license, |body| body.grace_period = Some(1), false),
        (leaf_license, |body| body.embed = None, true),
        (
            leaf_license,
            |body| (body.embed, body.persistent, body.nonce) = (None, false, full_license().nonce),
            true,
        ),
    ];
    for (at, (license, edit, accepted)) in cases.into_iter().enumerate() {
        assert_eq!(edited(license(), edit), accepted, "case {at}");
    }
}

#[test]
fn crypto_periods_get_one_verdict() {
    let map = Map {
        rule: "packaging-request",
        full: Vec::new(),
        read: read_packaging_request,
    };
    let last = (1 << 48) - 1;
    let cases = [
        (None, None, true),
        (Some(1), None, false),
        (None, Some(0), false),
        (Some(0), Some(0), false),
        (Some(1), Some(0), true),
        (Some(256), Some(0), true),
        (Some(257), Some(0), false),
        (Some(1), Some(last), true),
        (Some(1), Some(last + 1), false),
        (Some(u64::MAX), Some(u64::MAX), false),
    ];
    for (count, first, accepted) in cases {
        let mut request = packaging_request();
        (request.crypto_periods, request.first_period) = (count, first);
        assert_eq!(
            agree(&map, &request.encode()),
            accepted,
            "{count:?} from {first:?}"
        );
    }
}

#[test]
fn an_embedded_license_store_holds_what_its_rule_says() {
    let rules = include_str!("../../../../spec/content.cddl");
    let mut store = EmbeddedStore::default();
    store.put(&signed_license()).unwrap();
    let bytes = store.write(4096).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let array = &rest[..u32::from_be_bytes(*length) as usize];
    cddl_cat::cbor::validate_cbor_bytes("embedded-licenses", rules, array).unwrap();
    assert!(rest[array.len()..].iter().all(|byte| *byte == 0));
    for (count, accepted) in [(0_usize, true), (64, true), (65, false)] {
        let array = vec![Bytes(vec![1]); count].encode();
        let length = u32::try_from(array.len()).unwrap().to_be_bytes();
        let verdict = cddl_cat::cbor::validate_cbor_bytes("embedded-licenses", rules, &array);
        assert_eq!(verdict.is_ok(), accepted, "{count}");
        let store = [&length[..], &array, &[0; 9]].concat();
        assert_eq!(EmbeddedStore::read(&store).is_ok(), accepted, "{count}");
    }
}
