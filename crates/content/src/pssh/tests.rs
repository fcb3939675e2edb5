//! Published boxes in both directions, and each rule broken once.

use keyward_crypto::kdf::sha256;
use proptest::prelude::*;

use super::*;
use crate::header::{Algorithm, ContentHeader, HeaderVersion, KeyReference};

fn kid(text: &str) -> Kid {
    text.parse().unwrap()
}

fn key(kid_text: &str, checksum: &str) -> KeyReference {
    KeyReference {
        kid: kid(kid_text),
        algorithm: Some(Algorithm::AesCtr),
        checksum: Some(hex::decode(checksum).unwrap()),
    }
}

/// The example of the W3C's "cenc" Initialization Data Format: the common system, two key ids.
#[test]
fn the_common_box_of_the_w3c() {
    let bytes = hex::decode(
        "0000004470737368010000001077efecc0b24d02ace33c1e52e2fb4b00000002\
         30303030303030303030303030303030313131313131313131313131313131310000 0000"
            .replace(' ', ""),
    )
    .unwrap();
    let common = Pssh::common(vec![Kid::new([0x30; 16]), Kid::new([0x31; 16])]);
    assert_eq!(common.to_bytes().as_deref(), Ok(bytes.as_slice()));
    assert_eq!(Pssh::parse(&bytes), Ok(common.clone()));
    assert_eq!(Pssh::parse_body(&bytes[8..]), Ok(common.clone()));
    assert_eq!(Pssh::parse_all(&bytes.repeat(2)), Ok(vec![common; 2]));
    assert_eq!(Pssh::parse(&bytes.repeat(2)), Err(PsshError::Bounds));
}

/// Boxes of version 0 around PlayReady Objects of Microsoft's documentation, by the lengths of object and
/// box and the beginning of the object's SHA-256: MP4 formats page, DASH page, and the picture of a
/// dump, which shows lengths alone (its header has 798 bytes).
#[test]
fn published_playready_boxes_are_rebuilt() {
    let hls_url = "https://profficialsite.keydelivery.mediaservices.windows.net/PlayReady/";
    let iis = |version: &str| Some(format!("<IIS_DRM_VERSION>{version}</IIS_DRM_VERSION>"));
    let one = |key, url: &str, custom| ContentHeader {
        version: HeaderVersion::V4_0,
        license_url: Some(url.to_owned()),
        custom_attributes: custom,
        ..ContentHeader::new(vec![key])
    };
    let hls_key = || key("6f651ae1-dbe4-4434-bcb4-690d1564c41c", "28b8f743340ffcd0");
    let cases = [
        (
            one(
                key("10000000-1000-1000-1000-100000000001", "e53cc8610da1ace6"),
                "http://playready.directtaps.net/pr/svc/rightsmanager.asmx?PlayRight=1&UseSimpleNonPersistentLicense=1",
                iis("7.1.1565.4"),
            ),
            926,
            "319730e3a7dbb2efb660f680bb7af15c",
        ),
        (
            one(hls_key(), hls_url, iis("8.0.1713.13")),
            860,
            "1c8029e1501c0710dc7d6cb66df1b096",
        ),
        (
            one(hls_key(), hls_url, iis("8.0.1805.33")),
            860,
            "f622725ae4afa7f7e1542e4435bdea7c",
        ),
        (
            ContentHeader {
                domain_service_id: Some(*kid("58a5a188-036e-4a5d-b8c1-b5a044d2d126").as_bytes()),
                ..one(
                    key("0b630844-cb17-496a-9700-3702e1d23ee2", "aa12961c968bd352"),
                    "http://playready.dyndns.org/contososspr/rightsmanager.asmx",
                    None,
                )
            },
            746,
            "854d05a32fac33deba6a500a8309bc9b",
        ),
        (
            ContentHeader {
                version: HeaderVersion::V4_1,
                custom_attributes: iis("7.1.1572.18"),
                on_demand: true,
                ..ContentHeader::new(Vec::new())
            },
            496,
            "07d06396cc82e54ec86be4e92b2cd4b1",
        ),
        (
            ContentHeader {
                version: HeaderVersion::V4_2,
                license_url: Some("http://playready.directtaps.net/pr/svc/rightsmanager.asmx".into()),
                ..ContentHeader::new(vec![
                    key("72633b87-ceed-4cc3-a5bd-0f6da6cfabc7", "f322e7f84621705a"),
                    key("f4adf6ee-9d44-4c54-939e-3237de46c665", "4577e8583132cc91"),
                ])
            },
            808,
            "67bc323d0f3e068f4c3119d7695669ca",
        ),
    ];
    for (header, len, digest) in cases {
        let object = header.to_object_bytes().unwrap();
        assert_eq!(
            (object.len(), &hex::encode(sha256(&[&object]))[..32]),
            (len, digest)
        );
        let header_record = u16::from_le_bytes([object[8], object[9]]);
        assert_eq!(usize::from(header_record), len - 10);

        let boxed = Pssh::playready(object.clone()).to_bytes().unwrap();
        let size = u32::try_from(len + 32).unwrap();
        let data_size = u32::try_from(len).unwrap();
        let start = [
            &size.to_be_bytes(),
            b"pssh".as_slice(),
            &[0; 4],
            &hex::decode("9a04f07998404286ab92e65be0885f95").unwrap(),
            &data_size.to_be_bytes(),
        ];
        assert_eq!(boxed, [start.concat(), object].concat());
        let read = Pssh::parse(&boxed).unwrap();
        assert_eq!((read.system_id, &read.kids), (SystemId::PLAYREADY, &None));
        assert_eq!(ContentHeader::read_object(&read.data), Ok(header));
    }
}

#[test]
fn system_ids_have_their_spelling() {
    for (id, text) in [
        (SystemId::KEYWARD, "92ab032d-9148-4523-b399-9950fa29a1bd"),
        (SystemId::COMMON, "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b"),
        (SystemId::PLAYREADY, "9a04f079-9840-4286-ab92-e65be0885f95"),
    ] {
        assert_eq!(id.to_string(), text);
        assert_eq!(SystemId::from_bytes(*kid(text).as_bytes()), id);
        assert!(
            include_str!("../../../../spec/media.md").contains(text),
            "{text} in the spec"
        );
    }
}

#[test]
fn version_1_may_have_no_key_ids() {
    let none = Pssh::common(Vec::new());
    let bytes = none.to_bytes().unwrap();
    assert_eq!((bytes.len(), bytes[8]), (36, 1));
    assert_eq!(Pssh::parse(&bytes), Ok(none));
}

#[test]
fn each_fault_has_its_error() {
    let good = Pssh {
        data: vec![7; 5],
        ..Pssh::common(vec![Kid::new([1; 16]), Kid::new([2; 16])])
    };
    let good = good.to_bytes().unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let count_at = 28;
    let data_size_at = 64;
    for (bytes, error) in [
        (with(4, b"Pssh"), PsshError::Type),
        (with(4, b"uuid"), PsshError::Type),
        (with(8, &[2]), PsshError::Version(2)),
        (with(8, &[255]), PsshError::Version(255)),
        (with(8, &[0]), PsshError::Bounds),
        (with(9, &[0, 0, 1]), PsshError::Flags),
        (with(0, &[0; 4]), PsshError::Bounds),
        (with(0, &[0, 0, 0, 7]), PsshError::Bounds),
        (with(0, &[0xff; 4]), PsshError::Bounds),
        (with(count_at, &[0, 0, 0, 1]), PsshError::Bounds),
        (with(count_at, &[0, 0, 0, 3]), PsshError::Bounds),
        (with(count_at, &[0xff; 4]), PsshError::Bounds),
        (with(count_at, &[0x10, 0, 0, 0]), PsshError::Bounds),
        (with(data_size_at, &[0, 0, 0, 4]), PsshError::Bounds),
        (with(data_size_at, &[0, 0, 0, 6]), PsshError::Bounds),
        (with(data_size_at, &[0xff; 4]), PsshError::Bounds),
        ([good.as_slice(), &[0]].concat(), PsshError::Bounds),
    ] {
        assert_eq!(Pssh::parse(&bytes), Err(error), "{}", hex::encode(&bytes));
    }
    for len in 0..good.len() {
        assert_eq!(Pssh::parse(&good[..len]), Err(PsshError::Bounds), "{len} bytes");
        assert!(len == 0 || Pssh::parse_all(&good[..len]).is_err(), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        system_id in any::<[u8; 16]>(),
        kids in prop::option::of(prop::collection::vec(any::<[u8; 16]>(), 0..5)),
        data in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let kids = kids.map(|kids| kids.into_iter().map(Kid::new).collect());
        let written = Pssh { system_id: SystemId::from_bytes(system_id), kids, data };
        prop_assert_eq!(Pssh::parse(&written.to_bytes().unwrap()), Ok(written));
    }

    #[test]
    fn what_is_read_is_written_again(mut bytes in prop::collection::vec(any::<u8>(), 8..90), version in 0_u8..3) {
        let size = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes[4..8].copy_from_slice(b"pssh");
        if let Some(start) = bytes.get_mut(8..12) {
            start.copy_from_slice(&[version, 0, 0, 0]);
        }
        if let Ok(read) = Pssh::parse(&bytes) {
            prop_assert_eq!(read.to_bytes(), Ok(bytes));
        }
    }
}
