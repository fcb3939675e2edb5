//! A program of stock Python packages is the other side of every algorithm, in both directions.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_testkit::peers;
use serde_json::{Value, json};

use crate::{
    key_exchange::{device, enrolled, secrets::import},
    world::{World, content, text},
};

const AAD: &str = "of both sides";

/// An exchange key that the peer has as well.
struct Shared {
    algorithm: Algorithm,
    /// What the device does with it.
    operation: Operation,
    value: Vec<u8>,
    kid: String,
}

impl Shared {
    fn aad(&self) -> &'static str {
        if self.algorithm.takes_aad() { AAD } else { "" }
    }

    /// The peer's task.
    fn task(&self, data: &[u8], signature: &[u8]) -> Value {
        json!({
            "algorithm": self.algorithm.name(),
            "operation": self.operation.mirror().name(),
            "key": hex::encode(&self.value),
            "data": hex::encode(data),
            "aad": hex::encode(self.aad()),
            "signature": hex::encode(signature),
        })
    }

    /// What the device does with its input.
    fn by_device(&self, world: &World, more: &[&str]) -> Vec<u8> {
        let mut args = device(self.operation.name(), &self.kid, more);
        if self.operation != Operation::Verify {
            args.extend(["-o", "output", "--force"]);
        }
        if self.algorithm.takes_aad() {
            args.extend(["--aad", AAD]);
        }
        let said = world.device_ok("device", &args);
        if self.operation == Operation::Verify {
            assert!(said.contains("the signature is of key"), "{said}");
            return Vec::new();
        }
        world.read("output")
    }
}

fn shared_keys(world: &World) -> Vec<Shared> {
    let mut pool = content(26 * 64);
    let both = |algorithm: Algorithm| algorithm.operations().map(|operation| (algorithm, operation));
    let made = Algorithm::ALL.into_iter().flat_map(both);
    made.map(|(algorithm, operation)| {
        let value = pool.split_off(pool.len() - algorithm.key_len());
        Shared {
            kid: import(world, algorithm.name(), operation.name(), &value),
            algorithm,
            operation,
            value,
        }
    })
    .collect()
}

fn ask_peer(python: &Path, world: &World, tasks: &[Value]) -> Vec<Value> {
    world.write("tasks", &serde_json::to_vec(tasks).unwrap());
    let asked = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/key_exchange/peer.py"))
        .stdin(Stdio::from(std::fs::File::open(world.path("tasks")).unwrap()))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    serde_json::from_slice(&asked.stdout).unwrap()
}

fn bytes(said: &Value) -> Vec<u8> {
    hex::decode(said.as_str().unwrap()).unwrap()
}

#[test]
fn another_program_is_the_other_side_of_every_algorithm() {
    let Some(python) = peers::python() else { return };
    let (world, _server) = enrolled();
    let data = content(1000);
    world.write("data", &data);
    let keys = shared_keys(&world);
    assert_eq!(keys.len(), 26);
    let (producing, consuming): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.operation.produces());

    // The device produces, the other program consumes.
    let tasks: Vec<_> = producing
        .iter()
        .map(|key| {
            let result = key.by_device(&world, &["data"]);
            let (version, result) = result.split_at(4);
            assert_eq!(version, [0, 0, 0, 1]);
            match key.operation {
                Operation::Sign => key.task(&data, result),
                _ => key.task(result, &[]),
            }
        })
        .collect();
    for (key, said) in producing.iter().zip(ask_peer(&python, &world, &tasks)) {
        let name = key.algorithm;
        match key.operation {
            Operation::Sign => assert_eq!(said, true, "{name}"),
            _ => assert!(bytes(&said) == data, "{name}"),
        }
    }

    // The other program produces, the device consumes.
    let tasks: Vec<_> = consuming.iter().map(|key| key.task(&data, &[])).collect();
    for (key, said) in consuming.iter().zip(ask_peer(&python, &world, &tasks)) {
        let result = [&[0, 0, 0, 1][..], &bytes(&said)].concat();
        world.write("result", &result);
        if key.operation == Operation::Verify {
            key.by_device(&world, &["data", "--signature", "result"]);
        } else {
            assert!(key.by_device(&world, &["result"]) == data, "{}", key.algorithm);
        }
    }
}
