//! Results of exchange keys: of each algorithm one, as messages and as streams, and altered ones.
#![expect(
    clippy::indexing_slicing,
    reason = "the bytes that are altered are those that were made a line before"
)]

use std::collections::BTreeMap;

use keyward_crypto::exchange::{Algorithm, Encryptor, ExchangeKey, HEADER_LEN, Operation, Signer, Wrapper};
use rand_chacha::ChaCha20Rng;

use super::{Expect, MessageType, Vector, draws, vector};

const VERSION: u32 = 7;
const AAD: &[u8] = b"meter 17";
const DATA: &[u8] = b"a secret of the application, 48 bytes of it, here";
/// Bytes of a chunk, and of a sealed one.
const CHUNK: usize = 4096;
const SEALED: usize = CHUNK + 16;

pub(super) fn add(all: &mut Vec<Vector>) {
    let mut cases = Cases(all);
    cases.messages();
    cases.altered();
    cases.streams();
    cases.refused_streams();
    cases.contexts();
}

/// A result, and what its taker knows.
struct Case {
    key: ExchangeKey,
    is_stream: bool,
    aad: Vec<u8>,
    context: Option<Vec<u8>>,
    /// What is encrypted, wrapped or signed.
    data: Vec<u8>,
    result: Vec<u8>,
}

impl Case {
    /// The message `DATA`, which is no multiple of a block; of key wrap 32 bytes of it.
    fn message(algorithm: Algorithm, rng: &mut ChaCha20Rng) -> Self {
        let key = ExchangeKey::generate(algorithm, rng);
        let [produces, _] = algorithm.operations();
        let data = if produces == Operation::Wrap {
            &DATA[..32]
        } else {
            DATA
        };
        let aad = if algorithm.takes_aad() { AAD } else { &[] };
        let material = key.material(produces).unwrap();
        let prefix = VERSION.to_be_bytes();
        let result = match (algorithm, produces) {
            // RFC 6979, so that the file is the same every time.
            (Algorithm::Esp256, _) => [&prefix[..], &deterministic_signature(&key, data)].concat(),
            (_, Operation::Encrypt) => {
                let encryptor = Encryptor::new(&material).unwrap();
                encryptor.encrypt_into(&prefix, aad, data, rng).unwrap()
            }
            (_, Operation::Wrap) => Wrapper::new(&material).unwrap().wrap_into(&prefix, data).unwrap(),
            _ => Signer::new(&material).unwrap().sign_into(&prefix, data).unwrap(),
        };
        Self {
            key,
            is_stream: false,
            aad: aad.to_vec(),
            context: None,
            data: data.to_vec(),
            result,
        }
    }

    fn stream(algorithm: Algorithm, length: usize, rng: &mut ChaCha20Rng) -> Self {
        let key = ExchangeKey::generate(algorithm, rng);
        let data: Vec<u8> = (0..=255).cycle().take(length).collect();
        let encryptor = Encryptor::new(&key.material(Operation::Encrypt).unwrap()).unwrap();
        let prefix = VERSION.to_be_bytes();
        let mut stream = encryptor.stream_with_chunks(AAD, &prefix, 12, rng).unwrap();
        let mut result = Vec::new();
        stream.update(&data, &mut result).unwrap();
        stream.finish(&mut result).unwrap();
        Self {
            key,
            is_stream: true,
            aad: AAD.to_vec(),
            context: None,
            data,
            result,
        }
    }

    fn consumes(&self) -> Operation {
        let [_, consumes] = self.key.algorithm().operations();
        consumes
    }

    fn inputs(&self) -> BTreeMap<String, String> {
        let algorithm = self.key.algorithm();
        let operation = self.consumes();
        let material = self.key.material(operation).unwrap();
        let mut all: BTreeMap<String, String> = [
            ("algorithm", algorithm.number().to_string()),
            ("operation", operation.number().to_string()),
            ("key-version", VERSION.to_string()),
            ("exchange-key", hex::encode(material.expose())),
            ("form", if self.is_stream { "stream" } else { "message" }.into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if algorithm.takes_aad() {
            all.insert("aad".into(), hex::encode(&self.aad));
        }
        if let Some(context) = &self.context {
            all.insert("context".into(), hex::encode(context));
        }
        if operation == Operation::Verify {
            all.insert("data".into(), hex::encode(&self.data));
        }
        all
    }

    fn learns(&self) -> Vec<(&'static str, String)> {
        match self.consumes() {
            Operation::Verify => vec![("verified", "yes".into())],
            _ => vec![("data", hex::encode(&self.data))],
        }
    }
}

struct Cases<'a>(&'a mut Vec<Vector>);

impl Cases<'_> {
    fn messages(&mut self) {
        for algorithm in Algorithm::ALL {
            let name = format!("exchange-result-valid-{}", slug(algorithm));
            let case = Case::message(algorithm, &mut draws(&name));
            self.accept(
                &name,
                &format!("a result of {algorithm}, with its version in front"),
                &case,
            );
        }
        let name = "exchange-result-valid-empty";
        let mut rng = draws(name);
        let mut case = Case::message(Algorithm::A128Gcm, &mut rng);
        let encryptor = Encryptor::new(&case.key.material(Operation::Encrypt).unwrap()).unwrap();
        (case.data, case.aad) = (Vec::new(), Vec::new());
        case.result = encryptor
            .encrypt_into(&VERSION.to_be_bytes(), &[], &[], &mut rng)
            .unwrap();
        self.accept(name, "nothing is encrypted, without additional data", &case);
    }

    fn altered(&mut self) {
        for algorithm in Algorithm::ALL.into_iter().filter(|one| one.is_authenticated()) {
            let name = format!("exchange-result-altered-{}", slug(algorithm));
            let proves = format!("a flipped bit at the end of a result of {algorithm}");
            self.refuse(&name, &proves, algorithm, |case| {
                *case.result.last_mut().unwrap() ^= 1
            });
        }
        let gcm = Algorithm::A256Gcm;
        self.refuse(
            "exchange-result-other-additional-data",
            "additional data is verified",
            gcm,
            |case| {
                case.aad = b"meter 18".to_vec();
            },
        );
        self.refuse(
            "exchange-result-cut-off",
            "a result without its tag",
            gcm,
            |case| {
                case.result.truncate(4 + 12 + 15);
            },
        );
        self.refuse(
            "exchange-result-tag-cut-off",
            "a tag of HMAC is whole",
            Algorithm::HmacSha512,
            |case| {
                case.result.truncate(4 + 32);
            },
        );
        let cbc = Algorithm::A128Cbc;
        self.refuse(
            "exchange-result-no-whole-blocks",
            "CBC comes in whole blocks",
            cbc,
            |case| {
                case.result.pop();
            },
        );
        let name = "exchange-result-other-version";
        self.refuse_for(name, "version 8 is not held", &unknown(8), gcm, |case| {
            case.result[3] = 8
        });
        let name = "exchange-result-version-0";
        self.refuse_for(name, "there is no version 0", &unknown(0), gcm, |case| {
            case.result[3] = 0
        });
        let name = "exchange-result-too-short";
        self.refuse_for(name, "three bytes", "it is too short for a result", gcm, |case| {
            case.result.truncate(3);
        });
    }

    fn streams(&mut self) {
        for (name, proves, algorithm, length) in [
            (
                "exchange-result-valid-stream-a128gcm",
                "a stream of three chunks; they are AES-256-GCM with a key of 16 bytes as well",
                Algorithm::A128Gcm,
                2 * CHUNK + 100,
            ),
            (
                "exchange-result-valid-stream-a256gcm",
                "a stream of two full chunks",
                Algorithm::A256Gcm,
                2 * CHUNK,
            ),
            (
                "exchange-result-valid-stream-empty",
                "a stream of nothing has one chunk, and that is empty",
                Algorithm::A256Gcm,
                0,
            ),
        ] {
            let case = Case::stream(algorithm, length, &mut draws(name));
            self.accept(name, proves, &case);
        }
    }

    fn refused_streams(&mut self) {
        const HEAD: usize = 4 + HEADER_LEN;
        type Edit = fn(&mut Case);
        let not_ours =
            "it is not a stream of this version: it is not an encrypted stream, or of a later format";
        let sizes = "it is not a stream of this version: chunk size out of range";
        let failed = "it does not decrypt";
        let cases: [(&str, &str, &str, Edit); 11] = [
            ("cut-at-a-chunk", "the last chunk is missing", failed, |case| {
                case.result.truncate(HEAD + 2 * SEALED);
            }),
            ("cut-in-a-chunk", "the last byte is missing", failed, |case| {
                case.result.pop();
            }),
            ("without-chunks", "every chunk is missing", failed, |case| {
                case.result.truncate(HEAD)
            }),
            ("chunks-swapped", "chunks in another order", failed, |case| {
                let (_, chunks) = case.result.split_at_mut(HEAD);
                let (first, rest) = chunks.split_at_mut(SEALED);
                first.swap_with_slice(&mut rest[..SEALED]);
            }),
            ("chunk-repeated", "a chunk twice", failed, |case| {
                let chunk = case.result[HEAD..HEAD + SEALED].to_vec();
                drop(case.result.splice(HEAD..HEAD, chunk));
            }),
            (
                "chunk-altered",
                "a flipped bit in the second chunk",
                failed,
                |case| {
                    case.result[HEAD + SEALED] ^= 1;
                },
            ),
            ("salt-altered", "a flipped bit of the salt", failed, |case| {
                case.result[5] ^= 1
            }),
            (
                "commitment-altered",
                "a flipped bit of the key commitment",
                failed,
                |case| {
                    case.result[4 + 34] ^= 1;
                },
            ),
            (
                "other-additional-data",
                "additional data is verified",
                failed,
                |case| {
                    case.aad = b"meter 18".to_vec();
                },
            ),
            ("other-format", "a format of a later version", not_ours, |case| {
                case.result[4] = 2
            }),
            ("other-chunk-size", "chunks of 2 MiB", sizes, |case| {
                case.result[4 + 33] = 21
            }),
        ];
        for (name, proves, error, edit) in cases {
            let name = format!("exchange-result-stream-{name}");
            let mut case = Case::stream(Algorithm::A256Gcm, 2 * CHUNK + 100, &mut draws(&name));
            edit(&mut case);
            self.push_refused(&name, proves, ("V-035", error), &case);
        }
        let name = "exchange-result-message-as-stream";
        let mut case = Case::message(Algorithm::A256Gcm, &mut draws(name));
        case.is_stream = true;
        // A nonce that begins with the number of the format is told by what follows.
        case.result[4] = 1;
        case.result[4 + 33] = 12;
        self.push_refused(name, "a message is no stream", ("V-035", failed), &case);
    }

    fn contexts(&mut self) {
        let name = "exchange-result-valid-context";
        let mut case = Case::message(Algorithm::A256Gcm, &mut draws(name));
        case.context = Some(AAD.to_vec());
        self.accept(name, "the additional data is the context of the key", &case);
        let name = "exchange-result-other-context";
        let mut case = Case::message(Algorithm::A256Gcm, &mut draws(name));
        case.context = Some(b"meter".to_vec());
        let error = "the additional data is not the context of the key";
        let proves = "the additional data is right for the result, and not the context of the key";
        self.push_refused(name, proves, ("R-051", error), &case);
    }

    fn accept(&mut self, name: &str, proves: &str, case: &Case) {
        let (kind, learns) = (MessageType::ExchangeResult, case.learns());
        let expect = Expect::Valid(&learns);
        self.0
            .push(vector(kind, (name, proves), case.inputs(), &case.result, &expect));
    }

    fn refuse(&mut self, name: &str, proves: &str, algorithm: Algorithm, edit: impl FnOnce(&mut Case)) {
        let [produces, _] = algorithm.operations();
        let error = match produces {
            Operation::Sign => "it does not verify",
            Operation::Wrap => "it does not unwrap",
            _ => "it does not decrypt",
        };
        self.refuse_for(name, proves, error, algorithm, edit);
    }

    fn refuse_for(
        &mut self,
        name: &str,
        proves: &str,
        error: &str,
        algorithm: Algorithm,
        edit: impl FnOnce(&mut Case),
    ) {
        let mut case = Case::message(algorithm, &mut draws(name));
        edit(&mut case);
        self.push_refused(name, proves, ("V-035", error), &case);
    }

    fn push_refused(&mut self, name: &str, proves: &str, (rule, error): (&str, &str), case: &Case) {
        let expect = Expect::Invalid(rule, error);
        let kind = MessageType::ExchangeResult;
        self.0
            .push(vector(kind, (name, proves), case.inputs(), &case.result, &expect));
    }
}

fn unknown(version: u32) -> String {
    format!("it was made with version {version} of the key, and here is version {VERSION}")
}

fn slug(algorithm: Algorithm) -> String {
    let name = algorithm.name().to_lowercase();
    name.split(['/', ' ']).take(2).collect::<Vec<_>>().join("-")
}

fn deterministic_signature(key: &ExchangeKey, data: &[u8]) -> Vec<u8> {
    use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
    let key = SigningKey::from_slice(key.bytes().expose()).unwrap();
    let signature: Signature = key.sign(data);
    signature.to_bytes().to_vec()
}
