//! Licenses that are wrong in form: terms that do not fit together, encodings, the COSE layer.

use keyward_license::{
    codec::{Bytes, Wire},
    ids::{Kid, Nonce},
    time::Timestamp,
};
use rand_chacha::ChaCha20Rng;

use super::{
    super::build::{Cose, array, bytes, edited, uint, with_entry, with_value, without_entry},
    BAD_SIGNATURE, Cases, Draft, key,
};
use crate::pki::{DAY, NOW};

/// Alters an encoded body.
type EditBody = fn(&[u8]) -> Vec<u8>;

/// Alters the COSE layer before the signature.
type EditCose = fn(&mut Cose<'_>);

impl Cases<'_> {
    pub(super) fn terms(&mut self) {
        let exactly_one = (
            "V-021",
            "the message is malformed: a license holds exactly one key",
        );
        let nonce_rule = (
            "V-021",
            "the message is malformed: an in-memory license holds the request's nonce, another does not",
        );
        let window = (
            "V-026",
            "the message is malformed: the license ends before it begins",
        );
        let second_key = |draft: &mut Draft<'_>, rng: &mut ChaCha20Rng| {
            draft.body.keys.push(key(Kid::random(rng)));
            draft.keys.keys.push(Bytes(vec![7; 16]));
        };
        self.refuse(
            "license-two-keys",
            "a simple license holds one key",
            exactly_one,
            second_key,
        );
        self.refuse(
            "license-no-key",
            "a license holds a key",
            exactly_one,
            |draft, _| draft.body.keys.clear(),
        );
        self.refuse(
            "license-persistent-with-nonce",
            "a stored license holds no nonce",
            nonce_rule,
            |draft, rng| {
                draft.body.nonce = Some(Nonce::random(rng));
                draft.request_nonce = draft.body.nonce;
            },
        );
        self.refuse(
            "license-in-memory-without-nonce",
            "an in-memory license holds a nonce",
            nonce_rule,
            |draft, _| {
                draft.body.persistent = false;
            },
        );
        self.refuse(
            "license-in-memory-of-another-request",
            "its nonce is another request's",
            ("V-024", ""),
            |draft, rng| {
                draft.body.persistent = false;
                draft.body.nonce = Some(Nonce::random(rng));
                draft.request_nonce = Some(Nonce::random(rng));
            },
        );
        self.refuse(
            "license-in-memory-from-store",
            "an in-memory license is refused without its request",
            ("V-024", ""),
            |draft, rng| {
                draft.body.persistent = false;
                draft.body.nonce = Some(Nonce::random(rng));
                draft.arrives = false;
            },
        );
        self.refuse(
            "license-empty-window",
            "begin and end are equal: the window is half-open",
            window,
            |draft, _| {
                draft.body.begin = draft.body.end;
            },
        );
        self.refuse(
            "license-ends-before-it-begins",
            "begin is after end",
            window,
            |draft, _| {
                draft.body.begin = Some(NOW.plus(3 * DAY));
            },
        );
        let no_right = (
            "V-021",
            "the message is malformed: a license grants at least one right",
        );
        self.refuse(
            "license-no-right",
            "a license grants something",
            no_right,
            |draft, _| draft.body.rights.clear(),
        );
        let long_name = (
            "V-021",
            "the message is malformed: the license's name is too long",
        );
        self.refuse(
            "license-name-too-long",
            "a name of 256 bytes",
            long_name,
            |draft, _| {
                draft.body.name = Some("n".repeat(256));
            },
        );
    }

    pub(super) fn encodings(&mut self) {
        let raw = |edit: fn(&[u8]) -> Vec<u8>| {
            move |draft: &mut Draft<'_>, _: &mut ChaCha20Rng| {
                draft.raw_body = Some(edit(&draft.body.encode()))
            }
        };
        let bad = |error: &str| format!("the message is malformed: {error}");
        let cases: [(&str, &str, &str, EditBody); 15] = [
            (
                "license-unknown-critical-21",
                "a term of a later version (metering id) is not skipped",
                "license holds critical key 21, which this version does not know",
                |body| with_entry(body, 21, &bytes(&[7; 16])),
            ),
            (
                "license-unknown-critical-20",
                "the number that stood for a maximum decode resolution is not used",
                "license holds critical key 20, which this version does not know",
                |body| with_entry(body, 20, &array(&[uint(1080), uint(1920)])),
            ),
            (
                "license-unknown-critical-127",
                "the last critical key",
                "license holds critical key 127, which this version does not know",
                |body| with_entry(body, 127, &uint(0)),
            ),
            (
                "license-key-description-unknown-critical",
                "an unknown critical key one map deeper",
                "key description holds critical key 8, which this version does not know",
                |body| {
                    with_value(
                        body,
                        4,
                        &array(&[with_entry(&key(Kid::new([9; 16])).encode(), 8, &uint(0))]),
                    )
                },
            ),
            (
                "license-without-id",
                "a required key is missing",
                "license lacks required key 2",
                |body| without_entry(body, 2),
            ),
            (
                "license-id-too-short",
                "an id of 15 bytes",
                "expected a byte string of the fixed length at byte 4",
                |body| with_value(body, 2, &bytes(&[1; 15])),
            ),
            (
                "license-issued-is-text",
                "a time as text",
                "expected an unsigned integer at byte 86",
                |body| with_value(body, 6, &[0x61, b'0']),
            ),
            (
                "license-kind-5",
                "a kind that nobody assigned",
                "license kind 5 is not known to this version",
                |body| with_value(body, 3, &uint(5)),
            ),
            (
                "license-right-3",
                "a right that this version does not know",
                "right 3 is not known to this version",
                |body| with_value(body, 9, &array(&[uint(1), uint(3)])),
            ),
            (
                "license-keys-unsorted",
                "map keys descend",
                "map keys are duplicate or not sorted",
                |body| edited(body, |entries| entries.reverse()),
            ),
            (
                "license-key-twice",
                "a map key stands twice",
                "map keys are duplicate or not sorted",
                |body| edited(body, |entries| entries.insert(0, (uint(1), uint(1)))),
            ),
            (
                "license-number-not-shortest",
                "version 1 in two bytes",
                "a number or length is not in its shortest form",
                |body| edited(body, |entries| entries.first_mut().unwrap().1 = vec![0x18, 0x01]),
            ),
            (
                "license-float",
                "a float, even in an optional entry",
                "a value is of a type that the protocol does not use",
                |body| with_entry(body, 128, &[0xf9, 0x3c, 0x00]),
            ),
            (
                "license-nests-too-deeply",
                "thirteen arrays in an optional entry",
                "the message nests too deeply",
                |body| with_entry(body, 128, &[[0x81; 12].as_slice(), &[0x00]].concat()),
            ),
            (
                "license-text-key",
                "a map key that is no unsigned integer",
                "expected an unsigned integer at byte 102",
                |body| edited(body, |entries| entries.push((vec![0x61, b'a'], uint(0)))),
            ),
        ];
        for (name, proves, error, edit) in cases {
            self.refuse(name, proves, ("V-001", &bad(error)), raw(edit));
        }
        self.refuse(
            "license-version-2",
            "a version that this receiver does not speak",
            ("V-005", "protocol version 2 is not supported"),
            raw(|body| with_value(body, 1, &uint(2))),
        );
        self.refuse(
            "license-trailing-bytes",
            "bytes follow the message",
            ("V-001", &bad("bytes follow the message")),
            |draft, _| {
                draft.edit_message = |mut message| {
                    message.push(0);
                    message
                };
            },
        );
        self.refuse(
            "license-cut-off",
            "the last byte is missing",
            ("V-001", &bad("the message is cut off")),
            |draft, _| {
                draft.edit_message = |mut message| {
                    message.pop();
                    message
                };
            },
        );
        self.refuse(
            "license-indefinite-length",
            "the COSE array has indefinite length",
            ("V-001", &bad("an item has indefinite length")),
            |draft, _| {
                draft.edit_message = |message| {
                    let items = message.get(2..).unwrap();
                    [&[0xd2, 0x9f], items, &[0xff]].concat()
                };
            },
        );
    }

    pub(super) fn cose(&mut self) {
        let bad = |error: &str| format!("the message is malformed: malformed COSE message: {error}");
        let not_ours = bad("the protected header is not in the profile's form");
        let cases: [(&str, &str, &str, &str, EditCose); 10] = [
            (
                "license-other-context",
                "a signature for another message type does not pass",
                "V-003",
                BAD_SIGNATURE,
                |cose| cose.context = "keyward/1 license-response",
            ),
            (
                "license-other-type",
                "a message of another media type",
                "V-002",
                "this is not application/vnd.keyward.license+cose",
                |cose| cose.typ = "application/vnd.keyward.license-response+cose",
            ),
            (
                "license-untagged",
                "COSE_Sign1 without its tag",
                "V-001",
                &bad("not a COSE_Sign1"),
                |cose| cose.tag = None,
            ),
            (
                "license-other-tag",
                "tagged as COSE_Sign",
                "V-001",
                &bad("not a COSE_Sign1"),
                |cose| cose.tag = Some(98),
            ),
            (
                "license-other-algorithm",
                "alg says ES384",
                "V-001",
                &bad("alg is not ES256"),
                |cose| cose.algorithm = -35,
            ),
            (
                "license-unprotected-header",
                "an unprotected header parameter",
                "V-001",
                &bad("the unprotected header is not empty"),
                |cose| cose.unprotected = vec![0xa1, 0x04, 0x41, 0x01],
            ),
            (
                "license-without-chain",
                "no certificate chain",
                "V-001",
                &bad("no x5chain"),
                |cose| cose.chain = None,
            ),
            (
                "license-single-certificate-in-array",
                "one certificate stands bare, not in an array",
                "V-001",
                &bad("x5chain does not hold certificates"),
                |cose| cose.chain = Some(array(&[bytes(&[1])])),
            ),
            (
                "license-chain-array-not-shortest",
                "the protected header is not deterministic",
                "V-001",
                &not_ours,
                |cose| {
                    let chain = cose.chain.take().unwrap();
                    cose.chain = Some([&[0x98, 0x02], chain.get(1..).unwrap()].concat());
                },
            ),
            (
                "license-payload-of-three",
                "the payload has an item too many",
                "V-001",
                "the message is malformed: the payload has the wrong number of items",
                |cose| {
                    let items = cose.payload.get(1..).unwrap();
                    cose.payload = [&[0x83], items, &[0x40]].concat();
                },
            ),
        ];
        for (name, proves, rule, error, edit) in cases {
            self.refuse(name, proves, (rule, error), |draft, _| draft.edit_cose = edit);
        }
        self.refuse(
            "license-term-altered",
            "the end is moved in the signed bytes",
            ("V-003", BAD_SIGNATURE),
            |draft, _| {
                draft.edit_message = |message| {
                    let end = Timestamp(NOW.0 + 2 * DAY).encode();
                    let later = Timestamp(NOW.0 + 3 * DAY).encode();
                    let at = message
                        .windows(end.len())
                        .position(|window| window == end)
                        .unwrap();
                    [
                        message.get(..at).unwrap(),
                        &later,
                        message.get(at + end.len()..).unwrap(),
                    ]
                    .concat()
                };
            },
        );
        self.refuse(
            "license-signature-altered",
            "a flipped bit of the signature",
            ("V-003", BAD_SIGNATURE),
            |draft, _| {
                draft.edit_message = |mut message| {
                    *message.last_mut().unwrap() ^= 1;
                    message
                };
            },
        );
    }
}
