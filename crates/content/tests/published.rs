//! Values that Microsoft's PlayReady documentation prints, where no module has a test of its own for them.

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_content::{
    cenc::Pattern,
    isobmff::{BoxSpan, Groups},
    pssh::SystemId,
};
use keyward_crypto::seed::swap_guid;
use keyward_license::ids::Kid;

/// DASH page, table 2; system ids on the packaging and Android pages.
#[test]
fn ids_in_both_byte_orders() {
    let system = *SystemId::PLAYREADY.as_bytes();
    assert_eq!(STANDARD.encode(system), "mgTweZhAQoarkuZb4IhflQ==");
    assert_eq!(
        hex::encode(swap_guid(&system)),
        "79f0049a40988642ab92e65be0885f95"
    );
    for (uuid, big_endian, guid) in [
        (
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "+B1Prn3sEdCnZQCgyR5r9g==",
            "rk8d+Ox90BGnZQCgyR5r9g==",
        ),
        (
            "58a5a188-036e-4a5d-b8c1-b5a044d2d126",
            "WKWhiANuSl24wbWgRNLRJg==",
            "iKGlWG4DXUq4wbWgRNLRJg==",
        ),
        (
            "deb47f00-8a3b-416d-9b1e-5d55fd023044",
            "3rR/AIo7QW2bHl1V/QIwRA==",
            "AH+03juKbUGbHl1V/QIwRA==",
        ),
    ] {
        let kid: Kid = uuid.parse().unwrap();
        assert_eq!(STANDARD.encode(kid.as_bytes()), big_endian);
        assert_eq!(STANDARD.encode(swap_guid(kid.as_bytes())), guid);
    }
}

/// The sample group description of the page on key rotation: 44 bytes, one key.
#[test]
fn the_sample_group_of_a_rotated_key() {
    let sgpd = hex::decode(
        "0000002c73677064010000007365696700000014000000010000010\
         85748356d82c0405481bcfd89452effed",
    )
    .unwrap();
    assert_eq!(sgpd.len(), 44);
    let traf = [&52_u32.to_be_bytes(), b"traf".as_slice(), &sgpd].concat();
    let groups = Groups::parse(&BoxSpan::parse(&traf, 0).unwrap()).unwrap();
    let [group] = groups.descriptions() else {
        panic!("{groups:?}");
    };
    assert!(group.protected);
    assert_eq!(
        (group.pattern, group.iv_size, group.constant_iv),
        (Pattern::NONE, 8, None)
    );
    assert_eq!(group.kid, "5748356d-82c0-4054-81bc-fd89452effed".parse().unwrap());
}
