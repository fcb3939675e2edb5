//! `pssh` boxes of other people: Shaka Packager's and the web platform tests'.
//!
//! `KEYWARD_VECTORS` names the folder; without it the folder `../shared/vectors` beside the tree.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panic and says what it did"
)]

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_content::{
    header::ContentHeader,
    pssh::{Pssh, SystemId},
};
use keyward_license::ids::Kid;
use serde_json::Value;

#[test]
fn boxes_of_other_packagers_are_read_and_written_again() {
    let Some(cases) = vectors("pssh/boxes.json") else {
        return;
    };
    for case in &cases {
        let bytes = STANDARD.decode(case["base64"].as_str().unwrap()).unwrap();
        let read = Pssh::parse_all(&bytes).unwrap();
        let expected = case["boxes"].as_array().unwrap();
        assert_eq!(read.len(), expected.len());
        for (pssh, expected) in read.iter().zip(expected) {
            assert_eq!(
                pssh.system_id.to_string(),
                expected["system_id"].as_str().unwrap()
            );
            assert_eq!(
                u64::from(pssh.kids.is_some()),
                expected["version"].as_u64().unwrap()
            );
            let kids = expected["key_ids"].as_array().unwrap();
            let kids: Vec<Kid> = kids
                .iter()
                .map(|kid| kid.as_str().unwrap().parse().unwrap())
                .collect();
            assert_eq!(pssh.kids.clone().unwrap_or_default(), kids);
            assert_eq!(
                STANDARD.encode(&pssh.data),
                expected["data_base64"].as_str().unwrap()
            );
        }
        let written: Vec<u8> = read.iter().flat_map(|pssh| pssh.to_bytes().unwrap()).collect();
        assert!(written == bytes);
    }
    eprintln!("{} cases", cases.len());
}

#[test]
fn key_ids_of_playready_boxes_are_those_of_the_test() {
    let Some(cases) = vectors("pssh/wpt-initdata.json") else {
        return;
    };
    for case in &cases {
        let bytes = STANDARD.decode(case["initData"].as_str().unwrap()).unwrap();
        let all = Pssh::parse_all(&bytes).unwrap();
        let playready = all
            .iter()
            .find(|pssh| pssh.system_id == SystemId::PLAYREADY)
            .unwrap();
        let header = ContentHeader::read_object(&playready.data).unwrap();
        let kid: Kid = case["kid"].as_str().unwrap().parse().unwrap();
        assert!(header.kids.iter().any(|key| key.kid == kid), "{kid}");
    }
    eprintln!("{} cases", cases.len());
}

/// The cases of a file in the folder of other people's vectors, or `None`, which is said aloud.
#[expect(
    clippy::disallowed_methods,
    reason = "the test set-up names the folder in the environment"
)]
fn vectors(file: &str) -> Option<Vec<Value>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("KEYWARD_VECTORS")
        .map(PathBuf::from)
        .or_else(|| beside.is_dir().then_some(beside));
    let Some(folder) = folder else {
        eprintln!("*** conformance suite: NOT RUN, set KEYWARD_VECTORS ***");
        return None;
    };
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}
