//! Licenses of both suites, which a program of stock packages opens to perform their operation once.

use std::{fs, path::Path, process::Command};

use keyward_crypto::{
    Secret,
    exchange::{Algorithm, ExchangeKey, Operation},
    hpke::Suite,
    x509::Role,
};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::{Kid, LicenseId},
    key_exchange::{Decryptor, Encryptor, Input, Output, Performer, Ring},
    license::{Binding, KeyDescription, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense},
};
use keyward_testkit::{
    peers::python,
    pki::{DAY, Device, Identity, NOW, Operator},
};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use crate::{altered, chance, random, script};

const KID: Kid = Kid::new([0x5a; 16]);
const OLD: u32 = 3;
const NEW: u32 = 7;

#[test]
fn the_peer_performs_the_operation_of_a_license_in_each_suite() {
    let Some(python) = python() else { return };
    let performed = [
        (Operation::Encrypt, Algorithm::A256Gcm, Algorithm::A128Ctr),
        (Operation::Decrypt, Algorithm::A128Gcm, Algorithm::A256Cbc),
        (Operation::Sign, Algorithm::HmacSha512, Algorithm::Esp256),
        (Operation::Verify, Algorithm::Ed25519, Algorithm::HmacSha256),
        (Operation::Wrap, Algorithm::A256Kw, Algorithm::A128Kw),
        (Operation::Unwrap, Algorithm::A128Kw, Algorithm::A256Kw),
    ];
    let mut world = World::new();
    for (operation, first, second) in performed {
        for (suite, algorithm) in Suite::ALL.into_iter().zip([first, second]) {
            world.check(&python, suite, algorithm, operation);
        }
    }
}

#[test]
fn the_peer_reads_and_writes_streams_under_a_license() {
    let Some(python) = python() else { return };
    let mut world = World::new();
    let data = random(&mut world.rng, 150_000);

    let keys = world.keys(Algorithm::A128Gcm);
    let license = world.license(&keys, Operation::Encrypt, Suite::P256, |_| {});
    let call = ["--operation", "encrypt", "--aad", "log of monday", "--stream"];
    let stream = world.run(&python, &license, &data, None, &call).unwrap();
    let reader = Decryptor::new(keys.ring(Operation::Decrypt)).unwrap();
    let (mut opened, mut output) = (reader.stream(b"log of monday").unwrap(), Vec::new());
    opened.update(&stream, &mut output).unwrap();
    opened.finish(&mut output).unwrap();
    assert!(output == data);

    let keys = world.keys(Algorithm::A256Gcm);
    let license = world.license(&keys, Operation::Decrypt, Suite::XWing, |_| {});
    let writer = Encryptor::new(keys.ring(Operation::Encrypt)).unwrap();
    let (mut made, mut stream) = (writer.stream(b"", &mut world.rng).unwrap(), Vec::new());
    made.update(&data, &mut stream).unwrap();
    made.finish(&mut stream).unwrap();
    let call = ["--operation", "decrypt", "--stream"];
    assert!(world.run(&python, &license, &stream, None, &call).unwrap() == data);
    stream.truncate(stream.len() - 1);
    assert_eq!(
        world.run(&python, &license, &stream, None, &call).unwrap_err(),
        "V-035"
    );
}

#[test]
fn the_peer_refuses_what_a_license_does_not_permit() {
    let Some(python) = python() else { return };
    let mut world = World::new();
    let keys = world.keys(Algorithm::A256Gcm);
    let license = world.license(&keys, Operation::Encrypt, Suite::P256, |body| {
        body.end = Some(NOW.plus(DAY));
        let contexts = body.keys.iter_mut();
        contexts.for_each(|key| key.context = Some(Bytes(b"meter 17".to_vec())));
    });
    let now = NOW.0.to_string();
    let later = NOW.plus(DAY).0.to_string();
    let encrypt = |license: &[u8], aad: &str, now: &str| {
        let call = ["--operation", "encrypt", "--aad", aad, "--now", now];
        world.run(&python, license, b"42 kWh", None, &call)
    };
    let result = encrypt(&license, "meter 17", &now).unwrap();
    let mut spoiled = license.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    assert_eq!(encrypt(&spoiled, "meter 17", &now).unwrap_err(), "V-003");
    assert_eq!(encrypt(&license, "meter 18", &now).unwrap_err(), "R-051");
    assert_eq!(encrypt(&license, "meter 17", &later).unwrap_err(), "R-005");
    let decrypt = ["--operation", "decrypt", "--aad", "meter 17", "--now", &now];
    let refused = world.run(&python, &license, &result, None, &decrypt);
    assert_eq!(refused.unwrap_err(), "R-050");

    let counted = world.license(&keys, Operation::Encrypt, Suite::P256, |body| {
        body.keys.iter_mut().for_each(|key| key.uses = Some(1));
    });
    let refused = world.run(&python, &counted, b"", None, &["--operation", "encrypt"]);
    assert_eq!(refused.unwrap_err(), "R-052");
}

/// Two versions of a key, newest first.
struct Keys([(u32, ExchangeKey); 2]);

impl Keys {
    fn ring(&self, operation: Operation) -> Ring {
        let versions = self.0.iter();
        let versions = versions.map(|(version, key)| (*version, key.material(operation).unwrap()));
        Ring::new(KID, None, versions.collect()).unwrap()
    }

    /// The result of a handle that still has the old version alone.
    fn old(&self, operation: Operation, data: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
        let [_, (version, key)] = &self.0;
        let ring = Ring::new(KID, None, vec![(*version, key.material(operation).unwrap())]).unwrap();
        let input = Input {
            data,
            ..Input::default()
        };
        match Performer::new(ring).unwrap().perform(&input, rng).unwrap() {
            Output::Result(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

struct World {
    operator: Operator,
    license_server: Identity,
    device: Device,
    rng: ChaCha20Rng,
}

impl World {
    fn new() -> Self {
        let mut operator = Operator::new([9; 32]);
        Self {
            license_server: operator.server(Role::LicenseServer),
            device: operator.device(),
            operator,
            rng: chance(),
        }
    }

    fn keys(&mut self, algorithm: Algorithm) -> Keys {
        Keys([NEW, OLD].map(|version| (version, ExchangeKey::generate(algorithm, &mut self.rng))))
    }

    /// A license for one operation: with the newest version if that produces, else with both.
    fn license(
        &mut self,
        keys: &Keys,
        operation: Operation,
        suite: Suite,
        change: impl Fn(&mut LicenseBody),
    ) -> Vec<u8> {
        let held = &keys.0[..if operation.produces() { 1 } else { 2 }];
        let describe = |(version, key): &(u32, ExchangeKey)| {
            KeyDescription::exchange(KID, key.algorithm(), operation, *version)
        };
        let material =
            |(_, key): &(u32, ExchangeKey)| Bytes(key.material(operation).unwrap().expose().to_vec());
        let binding = Binding::device(&self.device.id());
        let kind = LicenseKind::KeyExchange;
        let id = LicenseId::random(&mut self.rng);
        let mut body = LicenseBody::new(id, kind, describe(&held[0]), binding, NOW);
        body.rights = vec![kind.right()];
        body.keys = held.iter().map(describe).collect();
        change(&mut body);
        let sealed = LicenseKeys {
            keys: held.iter().map(material).collect(),
            proof_key: Secret::random(&mut self.rng),
        };
        let receiver = self.device.sealing_key(suite).public_key();
        let prepared =
            PreparedLicense::for_device(body.encode(), &sealed, suite, receiver, &mut self.rng).unwrap();
        let signer = &self.license_server;
        prepared.sign(&signer.chain, &signer.key.signing_key()).unwrap()
    }

    /// The peer performs the operation with a license, and our handle the mirror operation.
    fn check(&mut self, python: &Path, suite: Suite, algorithm: Algorithm, operation: Operation) {
        let keys = self.keys(algorithm);
        let license = self.license(&keys, operation, suite, |_| {});
        let data = random(&mut self.rng, 4000);
        let call = ["--operation", operation.name()];
        if operation.produces() {
            let result = self.run(python, &license, &data, None, &call).unwrap();
            assert_eq!(result[..4], NEW.to_be_bytes(), "{algorithm}");
            let is_verified = operation == Operation::Sign;
            let input = Input {
                data: if is_verified { &data } else { &result },
                signature: is_verified.then_some(&result),
                ..Input::default()
            };
            let mirror = Performer::new(keys.ring(operation.mirror())).unwrap();
            match mirror.perform(&input, &mut self.rng).unwrap() {
                Output::Secret(taken) => assert!(taken.expose() == data, "{algorithm}"),
                Output::Verified => assert!(is_verified, "{algorithm}"),
                Output::Result(_) => panic!("{algorithm} made a result of a result"),
            }
            return;
        }
        let result = keys.old(operation.mirror(), &data, &mut self.rng);
        if operation == Operation::Verify {
            assert!(
                self.run(python, &license, &data, Some(&result), &call)
                    .unwrap()
                    .is_empty()
            );
            let forged = altered(&mut self.rng, &result);
            let refused = self.run(python, &license, &data, Some(&forged), &call);
            assert_eq!(refused.unwrap_err(), "V-035", "{algorithm}");
        } else {
            let taken = self.run(python, &license, &result, None, &call).unwrap();
            assert!(taken == data, "{algorithm}");
        }
    }

    /// What the peer writes, or the rule by which it refuses.
    fn run(
        &self,
        python: &Path,
        license: &[u8],
        input: &[u8],
        signature: Option<&[u8]>,
        call: &[&str],
    ) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["input", "output"].map(|name| folder.path().join(name));
        fs::write(&from, input).unwrap();
        let mut command = Command::new(python);
        command
            .arg(script("perform_exchange.py"))
            .arg(hex::encode(license))
            .arg(&from);
        command.arg("--output").arg(&to);
        command.args(["--root", &hex::encode(self.operator.root())]);
        command.args(["--device-id", &self.device.id().to_string()]);
        for pair in &self.device.sealing {
            let name = format!("--key-{}", pair.suite().number());
            command.args([name, hex::encode(pair.private_key().expose())]);
        }
        if let Some(signature) = signature {
            command.args(["--signature", &hex::encode(signature)]);
        }
        // A later `--now` wins.
        let output = command
            .args(["--now", &NOW.0.to_string()])
            .args(call)
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        if output.status.success() {
            let operation = json!(call[1]);
            assert_eq!(said["performed"], operation);
            return Ok(fs::read(&to).unwrap_or_default());
        }
        assert!(!to.exists(), "refused, and written all the same");
        Err(said["refused"].as_str().unwrap().to_owned())
    }
}
