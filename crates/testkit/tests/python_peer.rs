//! The peer proof: a program of stock Python packages (COSE, X.509, CBOR, HPKE by other people)
//! requests, verifies and opens licenses in both suites, and gives the vectors the same verdicts.
//!
//! `KEYWARD_PEERS_PYTHON` names the interpreter; `cargo xtask test` makes one. Without it the proof is
//! not run, which is said aloud, and fails where `CI` is set.
#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use keyward_crypto::{ContentKey, Secret, hpke::Suite, x509::Role};
use keyward_license::{
    certificate::device_id,
    codec::{Bytes, Wire},
    discovery::Discovery,
    envelope::{SealedRequest, SealedResponse},
    ids::{Kid, LicenseId},
    license::{Binding, KeyDescription, KeyType, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense},
    packaging::{
        PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse, PreparedPackaging, WantedTrack,
    },
    request::LicenseRequest,
    response::{Denial, KeyResult, LicenseResponse},
    signed::{self, SignedBody, Unverified, Verified},
};
use keyward_testkit::{
    peers::python,
    pki::{DAY, Device, Identity, NOW, Operator, Recipient},
    vectors::{MessageType, Verdict, all},
};
use serde_json::{Value, json};

#[test]
fn the_peer_opens_a_license_in_each_suite() {
    let Some(python) = python() else { return };
    for name in ["license-valid-suite-1", "license-valid-suite-2"] {
        let vector = all().into_iter().find(|vector| vector.name == name).unwrap();
        let [root, device_id, key_1, key_2] = [
            "root",
            "device-id",
            "device-sealing-key-1",
            "device-sealing-key-2",
        ]
        .map(|name| &vector.inputs[name]);
        let run = |license: &str, key_1: &str| {
            let arguments = [
                "--root",
                root,
                "--device-id",
                device_id,
                "--key-1",
                key_1,
                "--key-2",
                key_2,
            ];
            let output = Command::new(&python)
                .arg(script("open_license.py"))
                .arg(license)
                .args(arguments)
                .output();
            let output = output.unwrap();
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            (output.status.success(), answer)
        };
        let (opened, license) = run(&vector.message, key_1);
        assert!(opened, "{name}: {license}");
        for (what, value) in &vector.learns {
            assert_eq!(license[what], json!(value), "{name}");
        }
        let mut altered = vector.message.clone();
        altered.replace_range(altered.len() - 2.., "00");
        assert_eq!(run(&altered, key_1).1["refused"], "V-003", "{name}");
        if name == "license-valid-suite-1" {
            assert_eq!(
                run(&vector.message, &"01".repeat(32)).1["refused"],
                "V-023",
                "{name}"
            );
        }
    }
}

#[test]
fn the_peer_gives_every_vector_the_same_verdict() {
    let Some(python) = python() else { return };
    let output = Command::new(python)
        .arg(script("judge_vectors.py"))
        .arg(top().join("vectors"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut judged = 0;
    for vector in all() {
        let ours = [
            MessageType::License,
            MessageType::LicenseResponse,
            MessageType::PackagingResponse,
            MessageType::Discovery,
            MessageType::ExchangeResult,
            MessageType::EmbeddedStore,
            MessageType::Receipt,
            MessageType::RevocationList,
            MessageType::RevocationLists,
        ];
        if !ours.contains(&vector.message_type) {
            continue;
        }
        let (name, answer) = (&vector.name, &answers[&vector.name]);
        match vector.verdict {
            Verdict::Valid => {
                let learned = answer["learns"]
                    .as_object()
                    .unwrap_or_else(|| panic!("{name} was refused: {answer}"));
                assert!(!learned.is_empty(), "{name}");
                learned
                    .iter()
                    .for_each(|(what, value)| assert_eq!(*value, json!(vector.learns[what]), "{name}"));
            }
            Verdict::Invalid => {
                // The peer words every refused chain as V-004.
                let chain = ["V-013", "V-060", "V-062", "V-063", "V-065", "V-074"]
                    .contains(&vector.rule.as_deref().unwrap());
                let refused = answer["refused"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{name} was accepted"));
                assert!(
                    Some(refused) == vector.rule.as_deref() || chain && refused == "V-004",
                    "{name}: {answer}"
                );
            }
        }
        judged += 1;
    }
    assert!(judged > 220, "only {judged} vectors were judged");
}

#[test]
fn the_peer_requests_a_license_in_each_suite() {
    let Some(python) = python() else { return };
    for suite in Suite::ALL {
        let mut world = World::new();
        let [granted, denied] = [
            Kid::random(world.operator.rng()),
            Kid::random(world.operator.rng()),
        ];
        let asked = json!({
            "root": hex::encode(world.operator.root()),
            "discovery": hex::encode(world.discovery()),
            "at": NOW.0,
            "suite": suite.number(),
            "chain": world.device.identity.chain.iter().map(hex::encode).collect::<Vec<_>>(),
            "signing-key": hex::encode(world.device.identity.key.scalar().expose()),
            "kids": [granted.to_string(), denied.to_string()],
        });
        let made = talk(&python, "request", &asked);
        assert_eq!(made["path"], "/v1/license");
        let request = world.accept(&hex::decode(made["request"].as_str().unwrap()).unwrap(), suite);
        assert_eq!(
            request.digest().to_string(),
            made["request-digest"].as_str().unwrap()
        );
        assert_eq!(request.body().kids, Some(vec![granted, denied]));

        let content_key = Secret::<16>::random(world.operator.rng());
        let response = world.answer(&request, suite, granted, denied, &content_key);
        let mut waiting = json!({
            "root": asked["root"], "at": NOW.0, "kids": asked["kids"], "device-id": world.device.id().to_string(),
            "sealing-keys": world.device.sealing.iter()
                .map(|pair| (pair.suite().number().to_string(), hex::encode(pair.private_key().expose())))
                .collect::<BTreeMap<_, _>>(),
            "request-digest": made["request-digest"], "nonce": made["nonce"], "response-key": made["response-key"],
            "response": hex::encode(&response),
        });
        let opened = talk(&python, "response", &waiting);
        let license = &opened["results"][granted.to_string()];
        assert_eq!(license["content-key"], json!(hex::encode(content_key.expose())));
        assert_eq!(license["suite"], json!(suite.number()));
        assert_eq!(opened["results"][denied.to_string()]["denied"], 301);
        waiting["request-digest"] = json!("00".repeat(32));
        assert_eq!(talk(&python, "response", &waiting)["refused"], "V-011");
    }
}

#[test]
fn the_peer_asks_for_packaging_data_in_each_suite() {
    let Some(python) = python() else { return };
    for suite in Suite::ALL {
        let mut world = World::new();
        let packager = world.operator.recipient(Role::Packager);
        let asked = json!({
            "root": hex::encode(world.operator.root()),
            "discovery": hex::encode(world.discovery()),
            "at": NOW.0,
            "suite": suite.number(),
            "chain": packager.identity.chain.iter().map(hex::encode).collect::<Vec<_>>(),
            "signing-key": hex::encode(packager.identity.key.scalar().expose()),
            "content-id": "film",
            "tracks": "video:2 audio:2",
        });
        let made = talk_to("make_packaging.py", &python, "request", &asked);
        assert_eq!(made["path"], "/v1/packaging");
        let envelope = hex::decode(made["request"].as_str().unwrap()).unwrap();
        let opened = SealedRequest::decode(&envelope)
            .unwrap()
            .open(PackagingRequest::CONTEXT, &world.request_encryption.sealing)
            .unwrap();
        let request = Unverified::<PackagingRequest>::parse(opened.expose())
            .unwrap()
            .verify(&world.operator.anchor(), Role::Packager, |_| vec![NOW])
            .unwrap();
        request.body().check_bounds().unwrap();

        let keys = [[0x61; 16], [0x62; 16]].map(ContentKey::new);
        let response = world.package(&request, (suite, &packager), &keys);
        let mut waiting = json!({
            "root": asked["root"], "at": NOW.0, "tracks": asked["tracks"],
            "sealing-keys": packager.sealing.iter()
                .map(|pair| (pair.suite().number().to_string(), hex::encode(pair.private_key().expose())))
                .collect::<BTreeMap<_, _>>(),
            "request-digest": made["request-digest"], "nonce": made["nonce"], "response-key": made["response-key"],
            "response": hex::encode(&response),
        });
        let opened = talk_to("make_packaging.py", &python, "response", &waiting);
        let expected = format!(
            "video:{}:{} audio:{}:{}",
            "01".repeat(16),
            "61".repeat(16),
            "02".repeat(16),
            "62".repeat(16)
        );
        assert_eq!(opened["tracks"], json!(expected), "{opened}");
        waiting["tracks"] = json!("audio:2 video:2");
        assert_eq!(
            talk_to("make_packaging.py", &python, "response", &waiting)["refused"],
            "V-075"
        );
    }
}

struct World {
    operator: Operator,
    license_server: Identity,
    request_encryption: Recipient,
    device: Device,
}

impl World {
    fn new() -> Self {
        let mut operator = Operator::new([9; 32]);
        Self {
            license_server: operator.server(Role::LicenseServer),
            request_encryption: operator.recipient(Role::RequestEncryption),
            device: operator.device(),
            operator,
        }
    }

    fn discovery(&self) -> Vec<u8> {
        let body = Discovery {
            version: 1,
            operator: self.operator.id(),
            request_encryption: self
                .request_encryption
                .identity
                .chain
                .iter()
                .cloned()
                .map(Bytes)
                .collect(),
            license_path: "/v1/license".into(),
            enrolment_path: "/v1/enrolment".into(),
            issued: NOW,
            expires: NOW.plus(DAY),
            packaging_path: Some("/v1/packaging".into()),
            acknowledgement_path: None,
        };
        let signer = &self.license_server;
        signed::sign::<Discovery>(&body.encode(), &[], &signer.chain, &signer.key.signing_key()).unwrap()
    }

    fn accept(&self, request: &[u8], suite: Suite) -> Verified<LicenseRequest> {
        let envelope = SealedRequest::decode(request).unwrap();
        assert_eq!(envelope.suite, suite.number());
        assert_eq!(envelope.recipient, self.request_encryption.identity.digest());
        let opened = envelope
            .open(LicenseRequest::CONTEXT, &self.request_encryption.sealing)
            .unwrap();
        let parsed = Unverified::<LicenseRequest>::parse(opened.expose()).unwrap();
        let verified = parsed
            .verify(&self.operator.anchor(), Role::Device, |_| vec![NOW])
            .unwrap();
        assert_eq!(verified.body().recipient, envelope.recipient);
        verified.body().check_bounds().unwrap();
        assert_eq!(
            device_id(verified.signer().unwrap().public_key()).unwrap(),
            self.device.id()
        );
        verified
    }

    /// With the product's own signer, whose signatures are randomised.
    fn answer(
        &mut self,
        request: &Verified<LicenseRequest>,
        suite: Suite,
        granted: Kid,
        denied: Kid,
        content_key: &Secret<16>,
    ) -> Vec<u8> {
        let denial = Denial {
            code: 301,
            sentence: "the account may not have this key".into(),
            url: None,
        };
        let body = LicenseResponse {
            version: 1,
            request: request.digest(),
            nonce: request.body().nonce,
            results: vec![
                KeyResult {
                    kid: granted,
                    license: Some(Bytes(self.license(granted, suite, content_key))),
                    denial: None,
                },
                KeyResult {
                    kid: denied,
                    license: None,
                    denial: Some(denial),
                },
            ],
            revocation_lists: None,
            server_time: NOW,
            transaction: None,
            custom_data: None,
            renew_at: None,
        };
        let signer = &self.license_server;
        let key = signer.key.signing_key();
        let signed = signed::sign::<LicenseResponse>(&body.encode(), &[], &signer.chain, &key).unwrap();
        let rng = self.operator.rng();
        let response_key = &request.body().response_key;
        let context = LicenseResponse::CONTEXT;
        SealedResponse::seal(context, response_key, &request.digest(), &signed, rng)
            .unwrap()
            .encode()
    }

    fn package(
        &mut self,
        request: &Verified<PackagingRequest>,
        (suite, packager): (Suite, &Recipient),
        keys: &[ContentKey],
    ) -> Vec<u8> {
        let asked = request.body();
        let track = |(at, track): (u8, &WantedTrack)| PackagedTrack {
            label: track.label.clone(),
            kid: Kid::new([at; 16]),
            key_type: track.key_type,
            period: None,
        };
        let body = PackagingResponse {
            version: 1,
            request: request.digest(),
            nonce: asked.nonce,
            tracks: (1..).zip(&asked.tracks).map(track).collect(),
            content_header: None,
            license_url: "https://license.example".into(),
            server_time: NOW,
            roots: None,
        };
        let keys = PackagingKeys {
            keys: keys.iter().map(ContentKey::duplicate).collect(),
        };
        let receiver = (suite, packager.sealing_key(suite).public_key());
        let signer = &self.license_server;
        let rng = self.operator.rng();
        let signed = PreparedPackaging::new(body.encode(), &keys, receiver, rng)
            .unwrap()
            .sign(Vec::new(), &signer.chain, &signer.key.signing_key())
            .unwrap();
        let context = PackagingResponse::CONTEXT;
        SealedResponse::seal(context, &asked.response_key, &request.digest(), &signed, rng)
            .unwrap()
            .encode()
    }

    fn license(&mut self, kid: Kid, suite: Suite, content_key: &Secret<16>) -> Vec<u8> {
        let rng = self.operator.rng();
        let key = KeyDescription::content(kid, KeyType::CencCbc);
        let binding = Binding::device(&self.device.id());
        let body = LicenseBody::new(LicenseId::random(rng), LicenseKind::Simple, key, binding, NOW);
        let keys = LicenseKeys {
            keys: vec![Bytes(content_key.expose().to_vec())],
            proof_key: Secret::random(rng),
        };
        let receiver = self.device.sealing_key(suite).public_key();
        let prepared = PreparedLicense::for_device(body.encode(), &keys, suite, receiver, rng).unwrap();
        prepared
            .sign(&self.license_server.chain, &self.license_server.key.signing_key())
            .unwrap()
    }
}

/// Runs `make_request.py` with JSON in and out.
fn talk(python: &PathBuf, action: &str, input: &Value) -> Value {
    talk_to("make_request.py", python, action, input)
}

fn talk_to(program: &str, python: &PathBuf, action: &str, input: &Value) -> Value {
    let mut child = Command::new(python)
        .arg(script(program))
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn script(name: &str) -> PathBuf {
    top().join("tests-peers").join(name)
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
