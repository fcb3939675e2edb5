//! What `keyward inspect` says, in words and in JSON, of messages with fixed bytes, of content and of what
//! only an operator may open. `INSTA_UPDATE=always` writes the snapshots anew.

#[path = "../../src/commands/inspect/tests/film.rs"]
mod film;
mod opened;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyward_content::{
    file::{FileHeader, Sealer},
    header::{Algorithm, ContentHeader, HeaderVersion, KeyReference},
    pssh::Pssh,
};
use keyward_crypto::ContentKey;
use keyward_license::{codec::Wire, ids::Kid, revocation::RevocationList};
use rand_core::UnwrapErr;
use serde_json::Value;

/// A folder with the vectors of these names in it, as binary files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(vectors: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in vectors {
            folder.write(name, &vector(name));
        }
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args(args)
            .current_dir(self.0.path())
            .env("KEYWARD_CLIENT_DIR", self.path("nobody"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever has seen enough does not read on.
        child.stdin.take().unwrap().write_all(input).ok();
        child.wait_with_output().unwrap()
    }

    fn words(&self, args: &[&str]) -> String {
        let output = self.run(&[&["inspect"], args].concat(), b"");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.words(&[&["--json"], args].concat())).unwrap()
    }

    /// What it says on standard error when it cannot explain.
    fn refusal(&self, args: &[&str]) -> String {
        let output = self.run(&[&["inspect"], args].concat(), b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }
}

fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../vectors/{name}.json"));
    let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    hex::decode(json["message"].as_str().unwrap()).unwrap()
}

const PROFILE: &str = "operator-profile-valid";

#[test]
fn a_license_is_explained_in_the_words_of_the_usage_rules() {
    let folder = Folder::with(&["license-valid-all-terms", "license-valid-in-memory", PROFILE]);
    insta::assert_snapshot!("license-unverified", folder.words(&["license-valid-all-terms"]));
    insta::assert_snapshot!(
        "license-verified",
        folder.words(&["license-valid-all-terms", "--profile", PROFILE])
    );
    insta::assert_snapshot!(
        "license-in-memory",
        folder.words(&["license-valid-in-memory", "--profile", PROFILE])
    );
    let json = folder.json(&["license-valid-all-terms", "--profile", PROFILE]);
    insta::assert_snapshot!("license-verified-json", pretty(&json));
    let json = folder.json(&["license-valid-all-terms"]);
    assert_eq!(json["standing"], "unverified");
    assert!(json.get("verified").is_none());
}

#[test]
fn a_chain_is_explained_link_by_link() {
    let folder = Folder::with(&[
        "license-valid-root-all-times",
        "license-valid-leaf-embedded",
        PROFILE,
    ]);
    for (name, license) in [
        ("license-root", "license-valid-root-all-times"),
        ("license-leaf", "license-valid-leaf-embedded"),
    ] {
        insta::assert_snapshot!(name, folder.words(&[license, "--profile", PROFILE]));
    }
}

#[test]
fn an_altered_license_is_refused_and_its_words_are_unverified() {
    let folder = Folder::with(&["license-term-altered", "license-unknown-critical-21", PROFILE]);
    let json = folder.json(&["license-term-altered", "--profile", PROFILE]);
    assert_eq!(json["standing"], "unverified");
    let reason = json["reason"].as_str().unwrap();
    assert!(reason.starts_with("refused under operator 5cb28bdd"), "{reason}");
    assert!(reason.ends_with("the signature does not verify"), "{reason}");
    assert!(json["unverified"]["id"].is_string());

    let unknown = folder.words(&["license-unknown-critical-21", "--profile", PROFILE]);
    assert!(unknown.contains("critical key 21"), "{unknown}");
}

#[test]
fn messages_are_explained_as_far_as_their_outside_goes() {
    let names = [
        "request-valid-suite-2",
        "response-valid",
        "acknowledge-request-valid",
        "receipt-valid",
        "discovery-valid",
        PROFILE,
        "problem-valid",
    ];
    let folder = Folder::with(&names);
    for name in names {
        insta::assert_snapshot!(name, folder.words(&[name]));
    }
    insta::assert_snapshot!(
        "discovery-verified",
        folder.words(&["discovery-valid", "--profile", PROFILE])
    );
}

#[test]
fn revocation_lists_are_explained_as_they_travel_and_alone() {
    let travelling = [
        "revocation-list-valid-servers",
        "revocation-list-valid-devices",
        "revocation-lists-valid",
    ];
    let folder = Folder::with(&travelling);
    for name in travelling {
        insta::assert_snapshot!(name, folder.words(&[name]));
    }
    let alone = |name| match RevocationList::decode(&vector(name)).unwrap() {
        RevocationList::Certificates { list, .. } => list.0,
        RevocationList::Devices(message) => message.0,
    };
    folder.write("devices", &alone("revocation-list-valid-devices"));
    let (devices, as_it_travels) = (folder.json(&["devices"]), folder.json(&[travelling[1]]));
    assert_eq!(devices["kind"], "device_revocation_list");
    assert_eq!(devices["unverified"], as_it_travels["unverified"]);
    let list = alone("revocation-list-valid-servers");
    folder.write("servers.crl", &list);
    let pem = format!(
        "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
        STANDARD.encode(&list)
    );
    folder.write("servers.pem", pem.as_bytes());
    let (der, pem) = (folder.json(&["servers.crl"]), folder.json(&["servers.pem"]));
    assert_eq!(der["kind"], "certificate_revocation_list");
    assert!(der["unverified"]["revoked"][0]["serial"].is_string());
    assert_eq!(
        (&pem["encoding"], &pem["unverified"]),
        (&"pem".into(), &der["unverified"])
    );
    folder.write(
        "cut.pem",
        b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
    );
    let refused = folder.refusal(&["cut.pem"]);
    assert!(
        refused.contains("it is no certificate revocation list of the protocol"),
        "{refused}"
    );
}

#[test]
fn certificates_are_explained_as_pem_and_der() {
    let folder = Folder::with(&[PROFILE]);
    let profile = folder.json(&[PROFILE]);
    let root = operator_root();
    folder.write("root.der", &root);
    let pem = format!(
        "subject=ignored\n-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(&root)
    );
    folder.write("root.pem", pem.as_bytes());
    let der = folder.json(&["root.der", "--profile", PROFILE]);
    assert_eq!(
        (&der["kind"], &der["standing"]),
        (&"certificates".into(), &"verified".into())
    );
    assert_eq!(
        der["verified"]["certificates"][0],
        profile["unverified"]["root_certificate"]
    );
    let pem = folder.json(&["root.pem"]);
    assert_eq!(
        (&pem["encoding"], &pem["standing"]),
        (&"pem".into(), &"unverified".into())
    );
    assert_eq!(pem["unverified"], der["verified"]);
}

fn operator_root() -> Vec<u8> {
    use keyward_license::operator_profile::OperatorProfile;
    OperatorProfile::decode(&vector(PROFILE)).unwrap().root.0
}

/// The container of `spec/content.md`, with a name that would write to a terminal if it could.
fn container() -> Vec<u8> {
    let kid = Kid::new([7; 16]);
    let object = ContentHeader::for_file(kid, Some("https://license.example/\u{202e}gpj".into()));
    let header = FileHeader {
        name: Some("lighthouse.txt".into()),
        media_type: Some("text/plain".into()),
        store_len: 64,
        ..FileHeader::new(object.to_object_bytes().unwrap(), kid)
    };
    let mut rng = UnwrapErr(getrandom::SysRng);
    let (sealer, positions) = Sealer::new(&ContentKey::new([1; 16]), &header, &mut rng).unwrap();
    let mut chunk = vec![0; 15 + 16];
    sealer.seal(positions.last(), &mut chunk).unwrap();
    [sealer.prefix(), &chunk].concat()
}

#[test]
fn a_protected_file_is_explained_from_a_file_and_from_a_pipe() {
    let folder = Folder::with(&[]);
    let file = container();
    folder.write("lighthouse.kw", &file);
    let words = folder.words(&["lighthouse.kw"]);
    // The header has an optional entry of random length, which readers skip.
    let first = format!("protected file, {} bytes\n", file.len());
    assert!(words.starts_with(&first), "{words}");
    insta::assert_snapshot!("protected-file", words[first.len()..]);
    let piped = folder.run(&["inspect"], &file);
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), words);

    folder.write("cut.kw", &file[..file.len() - 20]);
    let cut = folder.json(&["cut.kw"]);
    assert_eq!(cut["unverified"]["faults"][0], "the file is cut off");
    assert_eq!(cut["unverified"]["clear_bytes"], Value::Null);
    folder.write("shorter.kw", &file[..100]);
    assert!(folder.refusal(&["shorter.kw"]).contains("the file is cut off"));
}

#[test]
fn playready_objects_and_pssh_boxes_are_explained_from_base64() {
    // The first object of the PlayReady Header specification, as it is printed there.
    let kid = "346365bc-18a8-4a30-a938-b87555d453d0".parse().unwrap();
    let header = ContentHeader {
        version: HeaderVersion::V4_0,
        ..ContentHeader::new(vec![KeyReference {
            algorithm: Some(Algorithm::AesCtr),
            ..KeyReference::new(kid)
        }])
    };
    let object = header.to_object_bytes().unwrap();
    let folder = Folder::with(&[]);
    folder.write("object", STANDARD.encode(&object).as_bytes());
    folder.write("header", &object[10..]);
    let xml: Vec<u16> = object[10..]
        .as_chunks::<2>()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .collect();
    folder.write("header.xml", String::from_utf16(&xml).unwrap().as_bytes());
    let boxes = [Pssh::playready(object), Pssh::common(vec![kid])].map(|pssh| pssh.to_bytes().unwrap());
    folder.write("pssh", STANDARD.encode(boxes.concat()).as_bytes());

    insta::assert_snapshot!("playready-object", folder.words(&["object"]));
    insta::assert_snapshot!("pssh", folder.words(&["pssh"]));
    let object = folder.json(&["object"]);
    let (utf16, xml) = (folder.json(&["header"]), folder.json(&["header.xml"]));
    assert_eq!(
        (&utf16["kind"], &xml["kind"]),
        (&"playready_header".into(), &"playready_header".into())
    );
    assert_eq!(utf16["unverified"], xml["unverified"]);
    assert_eq!(object["unverified"]["kids"], xml["unverified"]["kids"]);
}

#[test]
fn an_mp4_is_explained_sample_by_sample() {
    let folder = Folder::with(&[]);
    let film = film::film();
    folder.write("film.mp4", &film);
    let words = folder.words(&["film.mp4"]);
    insta::assert_snapshot!("film", words);
    insta::assert_snapshot!("film-json", pretty(&folder.json(&["film.mp4"])));
    let piped = folder.run(&["inspect", "-"], &film);
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), words);

    // Cut in its last fragment: what is before is told, and what is wrong.
    folder.write("cut.mp4", &film[..film.len() - 60]);
    let cut = folder.json(&["cut.mp4"]);
    let fault = cut["unverified"]["faults"][0].as_str().unwrap();
    assert!(fault.contains("states 108 bytes where there are 48"), "{fault}");
    assert_eq!(cut["unverified"]["tracks"][0]["protected_samples"], 2);
}

#[test]
fn what_is_nothing_of_ours_is_said_so() {
    let folder = Folder::with(&["license-valid-suite-1"]);
    folder.write("image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20");
    folder.write("film.webm", b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01");
    folder.write("empty", b"");
    let license = vector("license-valid-suite-1");
    folder.write("cut", &license[..500]);
    insta::assert_snapshot!(folder.refusal(&["image.png"]), @r"
    error: cannot explain image.png: it is nothing that Keyward knows; it begins with 89504e470d0a1a0a0000000d49484452
    hint: see `keyward inspect --help` for what is understood
    ");
    insta::assert_snapshot!(folder.refusal(&["film.webm"]), @r"
    error: cannot explain film.webm: it is nothing that Keyward knows; it begins with 1a45dfa39f42868101
    hint: this is Matroska or WebM: `keyward package` protects it as a file
    ");
    insta::assert_snapshot!(folder.refusal(&["empty"]), @r"
    error: cannot explain empty: it is empty
    hint: see `keyward inspect --help` for what is understood
    ");
    insta::assert_snapshot!(folder.refusal(&["cut"]), @r"
    error: cannot explain cut: this begins like a signed message, but the message is malformed: the message is cut off
    hint: check that it was carried whole and as binary
    ");
    assert!(
        folder
            .refusal(&["absent"])
            .starts_with("error: cannot read absent: ")
    );
}

fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap()
}
