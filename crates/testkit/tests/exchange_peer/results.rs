//! Results of every algorithm, both ways.

use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
use keyward_license::{
    ids::Kid,
    key_exchange::{Decryptor, Encryptor, ExchangeError, Input, Output, Performer, Ring, Signer, Verifier},
};
use keyward_testkit::peers::python;
use rand_chacha::{ChaCha20Rng, rand_core::Rng};
use serde_json::{Value, json};

use crate::{altered, ask, below, chance, random};

#[test]
fn the_peer_takes_what_the_handles_make() {
    let Some(python) = python() else { return };
    let rng = &mut chance();
    let (mut tasks, mut expected) = (Vec::new(), Vec::new());
    for case in cases(rng) {
        let result = case.make(rng);
        tasks.push(case.task("take", &result));
        expected.push(case.learns());
        for refused in case.spoiled(&result, rng) {
            tasks.push(case.task("take", &refused));
            expected.push(json!({"refused": "V-035"}));
        }
    }
    let answers = ask(&python, "exchange_results.py", &json!(tasks));
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), expected.len());
    for ((task, answer), expected) in tasks.iter().zip(answers).zip(&expected) {
        assert!(answer == expected, "{}", head(task));
    }
}

#[test]
fn the_handles_take_what_the_peer_makes() {
    let Some(python) = python() else { return };
    let rng = &mut chance();
    let cases = cases(rng);
    let tasks: Vec<Value> = cases.iter().map(|case| case.task("make", &[])).collect();
    let answers = ask(&python, "exchange_results.py", &json!(tasks));
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), cases.len());
    for ((case, task), answer) in cases.iter().zip(&tasks).zip(answers) {
        let result = hex::decode(answer["result"].as_str().unwrap()).unwrap();
        let taken = case.take(&result, rng);
        assert!(taken.is_ok_and(|taken| taken == case.holds()), "{}", head(task));
        for refused in case.spoiled(&result, rng) {
            let error = case.take(&refused, rng).unwrap_err();
            let is_refusal = matches!(
                error,
                ExchangeError::Failed(_)
                    | ExchangeError::UnknownVersion { .. }
                    | ExchangeError::NotAStream(_)
                    | ExchangeError::NotAResult
            );
            assert!(is_refusal, "{error}: {}", head(task));
        }
    }
}

#[test]
fn public_keys_are_the_ones_that_the_peer_derives() {
    let Some(python) = python() else { return };
    let rng = &mut chance();
    let asymmetric = Algorithm::ALL.into_iter().filter(|one| one.is_asymmetric());
    let cases = asymmetric.flat_map(|one| [(); 50].map(|()| Case::new(one, 0, Form::Message, rng)));
    let cases: Vec<Case> = cases.collect();
    let tasks: Vec<Value> = cases.iter().map(|case| case.task("public", &[])).collect();
    let answers = ask(&python, "exchange_results.py", &json!(tasks));
    for (case, answer) in cases.iter().zip(answers.as_array().unwrap()) {
        let public = case.key.material(Operation::Verify).unwrap();
        assert_eq!(answer["public"], json!(hex::encode(public.expose())));
    }
}

/// How a result is made and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Message,
    /// In pieces; the result is that of a message.
    Pieces,
    /// A stream of GCM with this log2 of the chunk size.
    Chunks(u8),
}

/// One result: versions of a key, and what is done with one of them.
struct Case {
    key: ExchangeKey,
    newer: ExchangeKey,
    older: ExchangeKey,
    version: u32,
    data: Vec<u8>,
    aad: Vec<u8>,
    form: Form,
}

/// Every algorithm in every form, and lengths around blocks, chunks and bounds.
fn cases(rng: &mut ChaCha20Rng) -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in Algorithm::ALL {
        let forms = if algorithm.takes_aad() || !algorithm.can_stream() {
            vec![Form::Message]
        } else {
            vec![Form::Message, Form::Pieces]
        };
        for form in forms {
            let lengths = lengths(algorithm, rng);
            cases.extend(lengths.map(|len| Case::new(algorithm, len, form, rng)));
        }
    }
    for algorithm in [Algorithm::A128Gcm, Algorithm::A256Gcm] {
        for log2 in 12..=20 {
            let chunk = 1 << log2;
            let lengths = match log2 {
                12..18 => vec![0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1],
                _ => vec![0, chunk, chunk + below(rng, chunk)],
            };
            let form = Form::Chunks(log2);
            cases.extend(
                lengths
                    .into_iter()
                    .map(|len| Case::new(algorithm, len, form, rng)),
            );
        }
    }
    cases
}

fn lengths(algorithm: Algorithm, rng: &mut ChaCha20Rng) -> impl Iterator<Item = usize> + use<> {
    let lengths: Vec<usize> = if algorithm.permits(Operation::Wrap) {
        (16..=4096).step_by(8).collect()
    } else {
        let around = [16, 32, 64, 128, 256, 4096, 65_536].into_iter();
        let around = around.flat_map(|length| [length - 1, length, length + 1]);
        let drawn = [(); 10].map(|()| below(rng, 20_000));
        around.chain([0, 1]).chain(drawn).collect()
    };
    lengths.into_iter()
}

impl Case {
    fn new(algorithm: Algorithm, len: usize, form: Form, rng: &mut ChaCha20Rng) -> Self {
        let aad_len = if algorithm.takes_aad() { below(rng, 100) } else { 0 };
        let [key, newer, older] = [(); 3].map(|()| ExchangeKey::generate(algorithm, rng));
        Self {
            key,
            newer,
            older,
            version: rng.next_u32().clamp(2, u32::MAX - 1),
            data: random(rng, len),
            aad: random(rng, aad_len),
            form,
        }
    }

    /// The operation that makes the result, or takes it.
    fn operation(&self, produces: bool) -> Operation {
        let [produce, consume] = self.key.algorithm().operations();
        if produces { produce } else { consume }
    }

    /// The key as the newest of two versions, to make a result; as the middle one of three, to take it.
    fn ring(&self, operation: Operation) -> Ring {
        let material = |key: &ExchangeKey| key.material(operation).unwrap();
        let mut versions = vec![
            (self.version + 1, material(&self.newer)),
            (self.version, material(&self.key)),
            (self.version - 1, material(&self.older)),
        ];
        if operation.produces() {
            versions.remove(0);
        }
        Ring::new(Kid::new([7; 16]), None, versions).unwrap()
    }

    fn make(&self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let ring = self.ring(self.operation(true));
        match (self.form, ring.about().operation) {
            (Form::Message, _) => match self.perform(ring, &self.data, None, rng).unwrap() {
                Output::Result(result) => result,
                other => panic!("{other:?}"),
            },
            (_, Operation::Sign) => {
                let signer = Signer::new(ring).unwrap();
                let mut stream = signer.stream().unwrap();
                let mut pieces = pieces(&self.data, rng).into_iter();
                pieces.try_for_each(|piece| stream.update(piece)).unwrap();
                stream.finish().unwrap()
            }
            (form, _) => {
                let log2 = if let Form::Chunks(log2) = form { log2 } else { 16 };
                let encryptor = Encryptor::new(ring).unwrap();
                let mut stream = encryptor.stream_with_chunks(&self.aad, log2, rng).unwrap();
                let mut result = Vec::new();
                let mut pieces = pieces(&self.data, rng).into_iter();
                pieces
                    .try_for_each(|piece| stream.update(piece, &mut result))
                    .unwrap();
                stream.finish(&mut result).unwrap();
                result
            }
        }
    }

    /// What is in a result, or nothing for one that is verified.
    fn take(&self, result: &[u8], rng: &mut ChaCha20Rng) -> Result<Option<Vec<u8>>, ExchangeError> {
        let ring = self.ring(self.operation(false));
        match (self.form, ring.about().operation) {
            (Form::Message, Operation::Verify) => {
                self.perform(ring, &self.data, Some(result), rng)?;
                Ok(None)
            }
            (Form::Message, _) => match self.perform(ring, result, None, rng)? {
                Output::Secret(data) => Ok(Some(data.expose().to_vec())),
                other => panic!("{other:?}"),
            },
            (_, Operation::Verify) => {
                let verifier = Verifier::new(ring)?;
                let mut stream = verifier.stream(result)?;
                let mut pieces = pieces(&self.data, rng).into_iter();
                pieces.try_for_each(|piece| stream.update(piece))?;
                stream.finish().map(|()| None)
            }
            _ => {
                let mut stream = Decryptor::new(ring)?.stream(&self.aad)?;
                let mut data = Vec::new();
                let mut pieces = pieces(result, rng).into_iter();
                pieces.try_for_each(|piece| stream.update(piece, &mut data))?;
                stream.finish(&mut data)?;
                Ok(Some(data))
            }
        }
    }

    fn perform(
        &self,
        ring: Ring,
        data: &[u8],
        signature: Option<&[u8]>,
        rng: &mut ChaCha20Rng,
    ) -> Result<Output, ExchangeError> {
        let aad = &self.aad;
        Performer::new(ring)?.perform(&Input { data, aad, signature }, rng)
    }

    /// What [`Case::take`] gives.
    fn holds(&self) -> Option<Vec<u8>> {
        (self.operation(false) != Operation::Verify).then(|| self.data.clone())
    }

    /// What the peer answers.
    fn learns(&self) -> Value {
        match self.holds() {
            Some(data) => json!({"data": hex::encode(data)}),
            None => json!({"verified": true}),
        }
    }

    /// Results that nobody may take, where there is authentication: one bit, or the end.
    fn spoiled(&self, result: &[u8], rng: &mut ChaCha20Rng) -> Vec<Vec<u8>> {
        if !self.key.algorithm().is_authenticated() {
            return Vec::new();
        }
        let mut spoiled = vec![altered(rng, result), result[..below(rng, result.len())].to_vec()];
        if let Form::Chunks(log2) = self.form
            && self.data.len() > 1 << log2
        {
            // Whole chunks are left: their end is what is missing.
            spoiled.push(result[..4 + 66 + (1 << log2) + 16].to_vec());
        }
        spoiled
    }

    fn task(&self, action: &str, result: &[u8]) -> Value {
        let operation = self.operation(action != "take");
        let key = self.key.material(operation).unwrap();
        // Whoever decrypts or unwraps is told nothing of what is in the result.
        let is_told = operation.produces() || operation == Operation::Verify;
        let data: &[u8] = if is_told { &self.data } else { &[] };
        let chunks = match self.form {
            Form::Chunks(log2) => Some(log2),
            Form::Message | Form::Pieces => None,
        };
        json!({
            "do": action,
            "algorithm": self.key.algorithm().number(),
            "key": hex::encode(key.expose()),
            "version": self.version,
            "aad": hex::encode(&self.aad),
            "data": hex::encode(data),
            "result": hex::encode(result),
            "chunks": chunks,
        })
    }
}

/// The same bytes in pieces, some of them empty.
fn pieces<'a>(mut bytes: &'a [u8], rng: &mut ChaCha20Rng) -> Vec<&'a [u8]> {
    let longest = bytes.len() / (1 + below(rng, 30)) + 2;
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(below(rng, longest).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// The beginning of a task: the rest may be megabytes.
fn head(task: &Value) -> String {
    let mut task = task.clone();
    for name in ["data", "result"] {
        let text = task[name].as_str().unwrap();
        task[name] = json!(format!("{} characters: {:.80}", text.len(), text));
    }
    task.to_string()
}
