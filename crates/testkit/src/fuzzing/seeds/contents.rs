//! Seeds of content headers and protected files.

use keyward_content::header::{Algorithm, ContentHeader, HeaderVersion, KeyReference, Object, xml};

use super::{Seeds, flipped, hex};
use crate::fuzzing::{
    contents::{FILES, SCRIPT, act},
    world::KID,
};

impl Seeds {
    pub(super) fn content_headers(&mut self) {
        for version in HeaderVersion::ALL {
            let header = content_header(version);
            self.valid(
                "playready_object",
                &version.to_string(),
                header.to_object_bytes().unwrap(),
            );
            self.valid(
                "playready_header",
                &version.to_string(),
                xml::write(&header).unwrap(),
            );
        }
        let store_alone = Object {
            header: None,
            embedded_store: Some(b"store"),
        };
        self.invalid("playready_object", "store-alone", store_alone.to_bytes().unwrap());
        self.invalid("playready_object", "length-lies", hex("ffffffff0000"));
        self.invalid("playready_object", "record-lies", hex("0a0000000100 0100ffff"));
        let text = xml::write(&content_header(HeaderVersion::V4_3)).unwrap();
        let faults = [
            (
                "document-type",
                format!("<!DOCTYPE a [<!ENTITY b \"cc\">]>{text}"),
            ),
            (
                "two-data",
                text.replace("</WRMHEADER>", "<DATA></DATA></WRMHEADER>"),
            ),
            ("comment-in-url", text.replace("https://", "https:<!-- -->//")),
            ("other-version", text.replace("4.3.0.0", "4.4.0.0")),
            ("deep", "<a>".repeat(2000)),
            ("entity", text.replace("https://", "&xxe;")),
        ];
        for (name, text) in faults {
            self.invalid("playready_header", name, text);
        }
        self.accepted("client_content_header", "own-server", text.clone());
        let urls = [
            ("other-host", "https://evil.example/"),
            ("user-info", "https://license.example@evil.example/"),
            ("plain-http", "http://license.example/"),
            ("other-port", "https://license.example:8443/"),
            ("loopback", "http://127.0.0.1:22/"),
            ("longer-host", "https://license.example.evil.example/"),
            ("file", "file:///etc/passwd"),
        ];
        for (name, url) in urls {
            self.invalid(
                "client_content_header",
                name,
                text.replace("https://license.example/", url),
            );
        }
    }

    pub(super) fn files(&mut self) {
        let [file, other, empty] = &*FILES;
        let beginning = |file: &[u8]| file.get(..700).unwrap_or(file).to_vec();
        self.accepted("file_header", "with-name", beginning(&file.bytes));
        self.accepted("file_header", "empty-file", &empty.bytes[..]);
        self.invalid("file_header", "cut-off", file.bytes.get(..200).unwrap());
        self.invalid(
            "file_header",
            "length-lies",
            [file.bytes.get(..8).unwrap(), &[0xff; 8]].concat(),
        );
        self.invalid("file_header", "other-magic", flipped(&beginning(&file.bytes), 3));
        let bytes = |file: &[u8]| [&[0], file].concat();
        self.valid("file_reader", "empty", bytes(&empty.bytes));
        self.accepted("file_reader", "three-full-chunks", bytes(&other.bytes));
        let script = |acts: &[(u8, u16, u16)]| {
            let acts = acts.iter().flat_map(|(act, first, second)| {
                let [[a, b], [c, d]] = [first.to_be_bytes(), second.to_be_bytes()];
                [*act, a, b, c, d]
            });
            [SCRIPT].into_iter().chain(acts).collect::<Vec<u8>>()
        };
        self.accepted("file_reader", "unchanged", script(&[]));
        self.accepted("file_reader", "embedded", script(&[(act::EMBED, 0, 0xaa)]));
        self.accepted(
            "file_reader",
            "swapped-back",
            script(&[(act::SWAP, 0, 1), (act::SWAP, 1, 0)]),
        );
        let faults = [
            ("cut-in-chunk", (act::CUT, 5000, 0)),
            ("last-chunk-removed", (act::REMOVE, 2, 0)),
            ("first-chunk-removed", (act::REMOVE, 0, 0)),
            ("chunks-swapped", (act::SWAP, 0, 1)),
            ("last-chunk-first", (act::SWAP, 0, 2)),
            ("chunk-repeated", (act::REPEAT, 0, 1)),
            ("chunk-spliced", (act::SPLICE, 1, 1)),
            ("last-chunk-spliced", (act::SPLICE, 2, 2)),
            ("header-altered", (act::FLIP, 40, 1)),
            ("chunk-altered", (act::FLIP, 3000, 0x80)),
            ("extended", (act::APPEND, 1, 0)),
        ];
        for (name, fault) in faults {
            self.invalid("file_reader", name, script(&[fault]));
        }
    }
}

fn content_header(version: HeaderVersion) -> ContentHeader {
    let algorithm = (version < HeaderVersion::V4_3).then_some(Algorithm::AesCtr);
    ContentHeader {
        version,
        custom_attributes: Some("<title xmlns=\"\">a &amp; b</title>".into()),
        license_url: Some("https://license.example/".into()),
        domain_service_id: Some([7; 16]),
        ..ContentHeader::new(vec![KeyReference {
            algorithm,
            ..KeyReference::new(KID)
        }])
    }
}
