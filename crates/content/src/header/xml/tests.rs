//! Published samples in both directions, and each rule broken once.

use keyward_crypto::kdf::sha256;

use super::*;
use crate::header::object;

const V4_0_KEY: &str = "<PROTECTINFO><KEYLEN>16</KEYLEN><ALGID>AESCTR</ALGID></PROTECTINFO>\
                        <KID>vGVjNKgYMEqpOLh1VdRT0A==</KID>";

fn header(version: &str, data: &str) -> String {
    format!(r#"<WRMHEADER xmlns="{NAMESPACE}" version="{version}"><DATA>{data}</DATA></WRMHEADER>"#)
}

fn v4_3(info: &str) -> String {
    header("4.3.0.0", &format!("<PROTECTINFO>{info}</PROTECTINFO>"))
}

fn kid(text: &str) -> Kid {
    text.parse().unwrap()
}

fn key(kid_text: &str, algorithm: Algorithm, checksum: Option<&str>) -> KeyReference {
    let checksum = checksum.map(|checksum| hex::decode(checksum).unwrap());
    KeyReference {
        kid: kid(kid_text),
        algorithm: Some(algorithm),
        checksum,
    }
}

fn sample(
    version: HeaderVersion,
    key: KeyReference,
    license_url: &str,
    iis_version: Option<&str>,
) -> ContentHeader {
    ContentHeader {
        version,
        license_url: Some(license_url.to_owned()),
        custom_attributes: iis_version.map(|v| format!("<IIS_DRM_VERSION>{v}</IIS_DRM_VERSION>")),
        ..ContentHeader::new(vec![key])
    }
}

/// PlayReady Objects printed in Microsoft's documentation (header specification, MP4 page), named by
/// length and the first 16 bytes of their SHA-256.
#[test]
fn published_objects_are_rebuilt_byte_for_byte() {
    let bare = KeyReference {
        algorithm: Some(Algorithm::AesCtr),
        ..KeyReference::new(kid("346365bc-18a8-4a30-a938-b87555d453d0"))
    };
    let cases = [
        (
            ContentHeader {
                version: HeaderVersion::V4_0,
                ..ContentHeader::new(vec![bare])
            },
            (452, "2cc492439360e4fc66aca96261e16a7f"),
        ),
        (
            sample(
                HeaderVersion::V4_0,
                key(
                    "09e091ab-f838-41d2-9e35-58531fd19ec7",
                    Algorithm::AesCtr,
                    Some("c3e39956bf2fceb4"),
                ),
                "https://profficialsite.keydelivery.mediaservices.windows.net/PlayReady/",
                Some("8.0.1705.19"),
            ),
            (860, "7e61e47a3463ed48a5efcdd53837d992"),
        ),
        (
            sample(
                HeaderVersion::V4_0,
                key(
                    "80aa1cd0-a71d-4f86-a939-05faf9b0cdc5",
                    Algorithm::AesCtr,
                    Some("208be468d35bde67"),
                ),
                "https://trainpr.keydelivery.centralus.media.azure.net/PlayReady/",
                Some("8.0.1805.33"),
            ),
            (846, "ec1ccafceb6ea5f76e0085d2b7d37341"),
        ),
        (
            sample(
                HeaderVersion::V4_0,
                key(
                    "10000000-1000-1000-1000-100000000001",
                    Algorithm::AesCtr,
                    Some("e53cc8610da1ace6"),
                ),
                "http://playready.directtaps.net/pr/svc/rightsmanager.asmx?PlayRight=1&UseSimpleNonPersistentLicense=1",
                Some("7.1.1565.4"),
            ),
            (926, "319730e3a7dbb2efb660f680bb7af15c"),
        ),
    ];
    for (header, (len, digest)) in cases {
        let bytes = header.to_object_bytes().unwrap();
        assert_eq!(
            (bytes.len(), &hex::encode(sha256(&[&bytes]))[..32]),
            (len, digest)
        );
        assert_eq!(ContentHeader::read_object(&bytes), Ok(header));
    }
}

/// The same documentation has one 4.3 object with LA_URL before PROTECTINFO: order is free to readers.
#[test]
fn a_published_object_in_another_order_is_read() {
    let url = "http://experimental1.azurewebsites.net/rightsmanager.asmx?cfg=(ck:W31bfVt9W31bfVt9W31bfQ==,ckt:AES128BitCBC)";
    let text = header(
        "4.3.0.0",
        &format!(
            "<LA_URL>{url}</LA_URL><PROTECTINFO><KIDS><KID ALGID=\"AESCBC\" VALUE=\"AAAAEAAQABAQABAAAAAAAQ==\"></KID>\
             </KIDS></PROTECTINFO>"
        ),
    );
    let record = object::encode_utf16(&text);
    let bytes = object::Object {
        header: Some(&record),
        embedded_store: None,
    }
    .to_bytes()
    .unwrap();
    assert_eq!(
        (bytes.len(), &hex::encode(sha256(&[&bytes]))[..32]),
        (696, "696d1edd73e6931a5fa7f0cc73156aa9")
    );
    let expected = key("10000000-1000-1000-1000-100000000001", Algorithm::AesCbc, None);
    assert_eq!(
        ContentHeader::read_object(&bytes),
        Ok(sample(HeaderVersion::V4_3, expected, url, None))
    );
}

/// Header specification §3.3.2 and §3.2.2, printed there with white space between the elements.
#[test]
fn published_examples_with_white_space_are_read() {
    let with_keys = |version: &str, keys: &str| {
        header(
            version,
            &format!(
                "\n  <PROTECTINFO>\n    <KIDS>\n{keys}    </KIDS>\n  </PROTECTINFO>\n  \
                 <LA_URL>http://rm.contoso.com/rightsmanager.asmx</LA_URL>\n  <DS_ID>AH+03juKbUGbHl1V/QIwRA==</DS_ID>\n"
            ),
        )
    };
    let read_keys = |text: &str| {
        let header = read(text).unwrap();
        assert_eq!(
            header.license_url.as_deref(),
            Some("http://rm.contoso.com/rightsmanager.asmx")
        );
        assert_eq!(
            hex::encode(header.domain_service_id.unwrap()),
            "deb47f008a3b416d9b1e5d55fd023044"
        );
        header.kids
    };
    let cbc = with_keys(
        "4.3.0.0",
        "      <KID ALGID=\"AESCBC\" VALUE=\"PV1LM/VEVk+kEOB8qqcWDg==\"> </KID>\n      \
         <KID ALGID=\"AESCBC\" VALUE=\"tuhDoKUN7EyxDPtMRNmhyA==\"></KID>\n",
    );
    assert_eq!(
        read_keys(&cbc),
        [
            key("334b5d3d-44f5-4f56-a410-e07caaa7160e", Algorithm::AesCbc, None),
            key("a043e8b6-0da5-4cec-b10c-fb4c44d9a1c8", Algorithm::AesCbc, None),
        ]
    );
    let ctr = with_keys(
        "4.2.0.0",
        "      <KID ALGID=\"AESCTR\" CHECKSUM=\"xNvWVxoWk04=\" VALUE=\"0IbHou/5s0yzM80yOkKEpQ==\"></KID>\n      \
         <KID ALGID=\"AESCTR\" CHECKSUM=\"GnKaQIRacPU=\" VALUE=\"/qgG2xbs4k2SKCxx6bhWqw==\"></KID>\n",
    );
    assert_eq!(
        read_keys(&ctr),
        [
            key(
                "a2c786d0-f9ef-4cb3-b333-cd323a4284a5",
                Algorithm::AesCtr,
                Some("c4dbd6571a16934e")
            ),
            key(
                "db06a8fe-ec16-4de2-9228-2c71e9b856ab",
                Algorithm::AesCtr,
                Some("1a729a40845a70f5")
            ),
        ]
    );
}

#[test]
fn a_file_header_is_written_in_canonical_form() {
    let mut file = ContentHeader::for_file(
        kid("a2c786d0-f9ef-4cb3-b333-cd323a4284a5"),
        Some("https://license.example/?a=1&b=<2>".into()),
    );
    let start = "<PROTECTINFO><KIDS><KID VALUE=\"0IbHou/5s0yzM80yOkKEpQ==\"></KID></KIDS></PROTECTINFO>\
                 <LA_URL>https://license.example/?a=1&amp;b=&lt;2&gt;</LA_URL>";
    assert_eq!(write(&file), Ok(header("4.3.0.0", start)));
    file.license_ui_url = Some("https://shop.example/".into());
    file.domain_service_id = Some(*kid("deb47f00-8a3b-416d-9b1e-5d55fd023044").as_bytes());
    file.custom_attributes = Some("<a b=\"1\" c=\"2\">x &amp; y</a>".into());
    file.on_demand = true;
    file.license_requested = false;
    let full = format!(
        "{start}<LUI_URL>https://shop.example/</LUI_URL><DS_ID>AH+03juKbUGbHl1V/QIwRA==</DS_ID>\
         <CUSTOMATTRIBUTES><a b=\"1\" c=\"2\">x &amp; y</a></CUSTOMATTRIBUTES>\
         <DECRYPTORSETUP>ONDEMAND</DECRYPTORSETUP>"
    )
    .replace("<PROTECTINFO>", "<PROTECTINFO LICENSEREQUESTED=\"false\">");
    let written = write(&file).unwrap();
    assert_eq!(written, header("4.3.0.0", &full));
    assert_eq!(read(&written), Ok(file));
}

#[test]
fn each_version_is_written_as_it_is_read() {
    let one = key(
        "a2c786d0-f9ef-4cb3-b333-cd323a4284a5",
        Algorithm::AesCtr,
        Some("c4dbd6571a16934e"),
    );
    let other = key("db06a8fe-ec16-4de2-9228-2c71e9b856ab", Algorithm::AesCtr, None);
    let of = |version, keys: Vec<KeyReference>| ContentHeader {
        version,
        ..ContentHeader::new(keys)
    };
    for header in [
        of(HeaderVersion::V4_1, vec![one.clone()]),
        ContentHeader {
            on_demand: true,
            ..of(HeaderVersion::V4_1, vec![])
        },
        of(HeaderVersion::V4_2, vec![one.clone(), other.clone()]),
        of(HeaderVersion::V4_3, vec![one.clone(), other.clone()]),
        ContentHeader {
            license_requested: false,
            ..of(HeaderVersion::V4_3, vec![])
        },
        of(
            HeaderVersion::V4_0,
            vec![key(
                "09e091ab-f838-41d2-9e35-58531fd19ec7",
                Algorithm::Cocktail,
                None,
            )],
        ),
    ] {
        assert_eq!(read(&write(&header).unwrap()).as_ref(), Ok(&header));
    }
    let lost = |version| Err(HeaderError::NotExpressible(version));
    let bare = KeyReference::new(one.kid);
    for header in [
        of(HeaderVersion::V4_0, vec![one.clone(), other.clone()]),
        of(HeaderVersion::V4_1, vec![one.clone(), other]),
        of(HeaderVersion::V4_0, vec![bare.clone()]),
        ContentHeader {
            on_demand: true,
            ..of(HeaderVersion::V4_0, vec![one.clone()])
        },
        ContentHeader {
            license_requested: false,
            ..of(HeaderVersion::V4_2, vec![one])
        },
    ] {
        assert_eq!(write(&header), lost(header.version));
    }
    assert_eq!(
        write(&of(HeaderVersion::V4_0, vec![])),
        Err(HeaderError::Missing("KID"))
    );
    assert_eq!(
        write(&of(HeaderVersion::V4_2, vec![bare])),
        Err(HeaderError::Missing("ALGID"))
    );
}

#[test]
fn nothing_is_smuggled_in_through_a_field() {
    let file = |custom: &str| ContentHeader {
        custom_attributes: Some(custom.into()),
        ..ContentHeader::for_file(kid("a2c786d0-f9ef-4cb3-b333-cd323a4284a5"), None)
    };
    let escape = file("a</CUSTOMATTRIBUTES><LA_URL>http://evil.example</LA_URL><CUSTOMATTRIBUTES>b");
    assert_eq!(write(&escape), Err(HeaderError::Repeated("CUSTOMATTRIBUTES")));
    let escape = file("a</CUSTOMATTRIBUTES><LA_URL>http://evil.example</LA_URL><x>b</x><!--");
    assert!(matches!(write(&escape), Err(HeaderError::NotXml { .. })));
    let escape = file("a</CUSTOMATTRIBUTES></DATA><DATA><CUSTOMATTRIBUTES>b");
    assert_eq!(write(&escape), Err(HeaderError::Repeated("DATA")));
    assert_eq!(write(&file(" ")), Err(HeaderError::Empty("CUSTOMATTRIBUTES")));
    let mut url = ContentHeader::for_file(
        kid("a2c786d0-f9ef-4cb3-b333-cd323a4284a5"),
        Some("/relative".into()),
    );
    let relative = HeaderError::Invalid {
        element: "LA_URL",
        expected: "an absolute URL",
    };
    assert_eq!(write(&url), Err(relative));
    url.license_url = Some(String::new());
    assert_eq!(write(&url), Err(HeaderError::Empty("LA_URL")));
}

#[test]
fn headers_without_keys_are_read_from_4_1_on() {
    for version in ["4.1.0.0", "4.2.0.0", "4.3.0.0"] {
        let live = header(version, "<DECRYPTORSETUP>ONDEMAND</DECRYPTORSETUP>");
        let live = read(&live).unwrap();
        assert!(live.kids.is_empty() && live.on_demand && live.license_requested);
        let empty = format!(r#"<WRMHEADER xmlns="{NAMESPACE}" version="{version}"></WRMHEADER>"#);
        assert!(read(&empty).unwrap().kids.is_empty());
    }
    let empty = format!(r#"<WRMHEADER xmlns="{NAMESPACE}" version="4.0.0.0"></WRMHEADER>"#);
    assert_eq!(read(&empty), Err(HeaderError::Missing("DATA")));
}

#[test]
fn what_a_version_does_not_know_is_skipped() {
    let unknown = format!(
        "<NEW>1</NEW><NEW>2</NEW><DECRYPTORSETUP>LATER</DECRYPTORSETUP>{V4_0_KEY}<LA_URL xmlns=\"urn:other\">x</LA_URL>"
    );
    let read_back = read(&header("4.0.0.0", &unknown)).unwrap();
    assert_eq!(
        (read_back.kids.len(), read_back.on_demand, read_back.license_url),
        (1, false, None)
    );
    let attributes = v4_3("<KIDS><KID NEW=\"1\" VALUE=\"0IbHou/5s0yzM80yOkKEpQ==\"/><NEW/></KIDS>");
    assert_eq!(read(&attributes).unwrap().kids.len(), 1);
    let ignored = header(
        "4.2.0.0",
        "<PROTECTINFO LICENSEREQUESTED=\"maybe\"></PROTECTINFO>",
    );
    assert!(read(&ignored).unwrap().license_requested);
}

#[test]
fn each_fault_has_its_error() {
    let kid_16 = HeaderError::Invalid {
        element: "KID",
        expected: "16 bytes in base64",
    };
    let kid_body = HeaderError::Invalid {
        element: "KID",
        expected: "an element without content",
    };
    let algid = HeaderError::Invalid {
        element: "ALGID",
        expected: "an algorithm of its header version",
    };
    let key_len = HeaderError::Invalid {
        element: "KEYLEN",
        expected: "the key length of its ALGID",
    };
    let checksum = HeaderError::Invalid {
        element: "CHECKSUM",
        expected: "the checksum of its ALGID in base64",
    };
    let no_checksum = HeaderError::Invalid {
        element: "CHECKSUM",
        expected: "absent, as ALGID is AESCBC",
    };
    let url = HeaderError::Invalid {
        element: "LA_URL",
        expected: "an absolute URL",
    };
    let ui_url = HeaderError::Invalid {
        element: "LUI_URL",
        expected: "an absolute URL",
    };
    let setup = HeaderError::Invalid {
        element: "DECRYPTORSETUP",
        expected: "ONDEMAND",
    };
    let requested = HeaderError::Invalid {
        element: "LICENSEREQUESTED",
        expected: "true or false",
    };
    let text_alone = |element| HeaderError::Invalid {
        element,
        expected: "text alone",
    };
    let v4_0 = |data: &str| header("4.0.0.0", data);
    let extra = |data: &str| header("4.0.0.0", &format!("{V4_0_KEY}{data}"));
    let kids = |keys: &str| v4_3(&format!("<KIDS>{keys}</KIDS>"));
    let k1 = "VALUE=\"0IbHou/5s0yzM80yOkKEpQ==\"";
    let k2 = "VALUE=\"/qgG2xbs4k2SKCxx6bhWqw==\"";
    let good = v4_0(V4_0_KEY);
    assert!(read(&good).is_ok());

    let cases = [
        (format!("\u{feff}{good}"), HeaderError::ByteOrderMark),
        (
            format!("<?xml version=\"1.0\"?>{good}"),
            HeaderError::XmlDeclaration,
        ),
        (String::new(), HeaderError::NotXml { line: 1, column: 1 }),
        (format!("{good}\0"), HeaderError::NotXml { line: 1, column: 222 }),
        (
            "<WRMHEADER>\n</x>".into(),
            HeaderError::NotXml { line: 2, column: 1 },
        ),
        (
            format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{good}"),
            HeaderError::NotXml { line: 1, column: 1 },
        ),
        (good.replace("DRM/2007/03", "DRM/2007/04"), HeaderError::WrongRoot),
        (good.replace("WRMHEADER", "wrmheader"), HeaderError::WrongRoot),
        (good.replace(" xmlns=", " xmlns:x="), HeaderError::WrongRoot),
        (
            good.replace(" version=\"4.0.0.0\"", ""),
            HeaderError::Missing("version"),
        ),
        (
            good.replace("4.0.0.0", "4.4.0.0"),
            HeaderError::UnsupportedVersion,
        ),
        (
            good.replace("4.0.0.0", "5.0.0.0"),
            HeaderError::UnsupportedVersion,
        ),
        (
            good.replace("4.0.0.0", "2.4.0.0"),
            HeaderError::UnsupportedVersion,
        ),
        (good.replace("4.0.0.0", "4.0"), HeaderError::UnsupportedVersion),
        (good.replace("4.0.0.0", ""), HeaderError::UnsupportedVersion),
        (
            good.replace("</DATA>", "</DATA><DATA></DATA>"),
            HeaderError::Repeated("DATA"),
        ),
        (
            v4_0("<KID>vGVjNKgYMEqpOLh1VdRT0A==</KID>"),
            HeaderError::Missing("PROTECTINFO"),
        ),
        (
            good.replace("<KEYLEN>16</KEYLEN>", ""),
            HeaderError::Missing("KEYLEN"),
        ),
        (
            good.replace("<ALGID>AESCTR</ALGID>", ""),
            HeaderError::Missing("ALGID"),
        ),
        (
            good.replace("<KID>vGVjNKgYMEqpOLh1VdRT0A==</KID>", ""),
            HeaderError::Missing("KID"),
        ),
        (
            good.replace("vGVjNKgYMEqpOLh1VdRT0A==", ""),
            HeaderError::Empty("KID"),
        ),
        (
            good.replace("vGVjNKgYMEqpOLh1VdRT0A==", "vGVjNKgYMEqpOLh1VdRT0A"),
            kid_16,
        ),
        (
            good.replace("vGVjNKgYMEqpOLh1VdRT0A==", "vGVjNKgYMEqpOLh1VdRT"),
            kid_16,
        ),
        (
            good.replace("vGVjNKgYMEqpOLh1VdRT0A==", " vGVjNKgYMEqpOLh1VdRT0A=="),
            kid_16,
        ),
        (
            good.replace("vGVjNKgYMEqpOLh1VdRT0A==", "vGVjNKgYMEqpOLh1VdRT0B=="),
            kid_16,
        ),
        (good.replace("AESCTR", "AESCBC"), algid),
        (good.replace("AESCTR", "aesctr"), algid),
        (good.replace(">16<", ">7<"), key_len),
        (good.replace("AESCTR", "COCKTAIL"), key_len),
        (extra("<CHECKSUM></CHECKSUM>"), HeaderError::Empty("CHECKSUM")),
        (extra("<CHECKSUM>AAAAAAAAAA==</CHECKSUM>"), checksum),
        (extra("<CHECKSUM>?</CHECKSUM>"), checksum),
        (extra("<LA_URL></LA_URL>"), HeaderError::Empty("LA_URL")),
        (extra("<LA_URL/>"), HeaderError::Empty("LA_URL")),
        (extra("<LUI_URL></LUI_URL>"), HeaderError::Empty("LUI_URL")),
        (extra("<DS_ID></DS_ID>"), HeaderError::Empty("DS_ID")),
        (
            extra("<CUSTOMATTRIBUTES></CUSTOMATTRIBUTES>"),
            HeaderError::Empty("CUSTOMATTRIBUTES"),
        ),
        (
            extra("<CUSTOMATTRIBUTES> \n</CUSTOMATTRIBUTES>"),
            HeaderError::Empty("CUSTOMATTRIBUTES"),
        ),
        (
            extra("<LA_URL>http://a/</LA_URL><LA_URL>http://b/</LA_URL>"),
            HeaderError::Repeated("LA_URL"),
        ),
        (
            extra("<KID>vGVjNKgYMEqpOLh1VdRT0A==</KID>"),
            HeaderError::Repeated("KID"),
        ),
        (extra("<LA_URL>rightsmanager.asmx</LA_URL>"), url),
        (extra("<LA_URL>://host/</LA_URL>"), url),
        (extra("<LA_URL>https://</LA_URL>"), url),
        (extra("<LA_URL>1https://host/</LA_URL>"), url),
        (extra("<LA_URL>https://ho st/</LA_URL>"), url),
        (extra("<LA_URL>https://host/&#x85;</LA_URL>"), url),
        (extra("<LUI_URL>/shop</LUI_URL>"), ui_url),
        (extra("<LA_URL>http://a<!-- -->b/</LA_URL>"), text_alone("LA_URL")),
        (extra("<LA_URL><a>http://a/</a></LA_URL>"), text_alone("LA_URL")),
        (
            extra("<DS_ID>AAAA</DS_ID>"),
            HeaderError::Invalid {
                element: "DS_ID",
                expected: "16 bytes in base64",
            },
        ),
        (header("4.1.0.0", "<DECRYPTORSETUP>NOW</DECRYPTORSETUP>"), setup),
        (
            header("4.1.0.0", "<DECRYPTORSETUP></DECRYPTORSETUP>"),
            HeaderError::Empty("DECRYPTORSETUP"),
        ),
        (
            header("4.3.0.0", "<PROTECTINFO LICENSEREQUESTED=\"no\"></PROTECTINFO>"),
            requested,
        ),
        (
            header(
                "4.1.0.0",
                &format!(
                    "<PROTECTINFO><KID ALGID=\"AESCTR\" {k1}/><KID ALGID=\"AESCTR\" {k2}/></PROTECTINFO>"
                ),
            ),
            HeaderError::Repeated("KID"),
        ),
        (
            header("4.1.0.0", &format!("<PROTECTINFO><KID {k1}/></PROTECTINFO>")),
            HeaderError::Missing("ALGID"),
        ),
        (
            header(
                "4.2.0.0",
                &format!("<PROTECTINFO><KIDS><KID ALGID=\"AESCBC\" {k1}/></KIDS></PROTECTINFO>"),
            ),
            algid,
        ),
        (v4_3("<KIDS></KIDS>"), HeaderError::Empty("KIDS")),
        (v4_3("<KIDS></KIDS><KIDS></KIDS>"), HeaderError::Repeated("KIDS")),
        (kids("<KID></KID>"), HeaderError::Missing("VALUE")),
        (kids("<KID VALUE=\"\"></KID>"), kid_16),
        (kids(&format!("<KID {k1}>x</KID>")), kid_body),
        (kids(&format!("<KID {k1}><a></a></KID>")), kid_body),
        (
            kids(&format!(
                "<KID ALGID=\"AESCBC\" CHECKSUM=\"xNvWVxoWk04=\" {k1}></KID>"
            )),
            no_checksum,
        ),
        (
            kids(&format!(
                "<KID ALGID=\"COCKTAIL\" CHECKSUM=\"xNvWVxoWk04=\" {k1}></KID>"
            )),
            checksum,
        ),
        (
            kids(&format!("<KID CHECKSUM=\"xNvWVxoWkw==\" {k1}></KID>")),
            checksum,
        ),
        (
            kids(&format!("<KID {k1}></KID><KID {k1}></KID>")),
            HeaderError::RepeatedKid,
        ),
        (
            kids(&format!(
                "<KID ALGID=\"AESCTR\" {k1}/><KID ALGID=\"AESCBC\" {k2}/>"
            )),
            HeaderError::MixedAlgorithms,
        ),
        (
            kids(&format!("<KID ALGID=\"AESCTR\" {k1}/><KID {k2}/>")),
            HeaderError::MixedAlgorithms,
        ),
    ];
    for (text, error) in cases {
        assert_eq!(read(&text), Err(error), "{text}");
    }
}
