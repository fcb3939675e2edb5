//! Enrolment, both directions.

use keyward_crypto::{
    Secret,
    ecdsa::Signer,
    hpke::{KeyPair, Suite},
    x509::Role,
};
use keyward_license::{
    certificate::{SECURITY_LEVEL_SOFTWARE, SealingKey},
    codec::{Bytes, Wire},
    enrolment::{EnrolmentRequest, EnrolmentResponse, EnrolmentRole, seal_chain},
    envelope::{SealedRequest, SealedResponse},
    ids::{Digest, Nonce},
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, bytes, uint, with_entry, with_value},
    draws, inputs, requests, sealing_inputs, vector,
};
use crate::pki::{Leaf, NOW, TestKey, claims};

/// Step and words of a refusal; none for a valid message.
type Refusal<'a> = Option<(&'a str, &'a str)>;

/// Alters an enrolment request before it is signed.
type EditRequest = fn(&mut Request, &World, &mut ChaCha20Rng);

/// Alters an enrolment response before it is sealed and signed.
type EditAnswer = fn(&mut Answer, &mut World);

pub(super) fn add(world: &mut World, all: &mut Vec<Vector>) {
    requests(world, all);
    let shape: [(&str, &str, Expect<'_>, EditAnswer); 9] = [
        (
            "enrolment-response-valid",
            "the chain opens with every share and names the device's keys",
            Expect::Valid(&[]),
            |_, _| (),
        ),
        (
            "enrolment-response-share-of-another",
            "one share is sealed to another key",
            Expect::Invalid("V-053", ""),
            |answer, world| {
                answer.sealed_to.last_mut().unwrap().1 =
                    world.other_device.sealing_key(Suite::XWing).public_key().to_vec()
            },
        ),
        (
            "enrolment-response-chain-of-another",
            "the certificate names another signing key",
            Expect::Invalid("V-053", ""),
            |answer, world| answer.chain.clone_from(&world.other_device.identity.chain),
        ),
        (
            "enrolment-response-other-sealing-keys",
            "the certificate names other sealing keys",
            Expect::Invalid("V-053", ""),
            |answer, world| {
                answer.chain = certify(
                    &answer.key,
                    &world.other_device.sealing.iter().collect::<Vec<_>>(),
                    &[Role::Device],
                    &mut world.operator,
                )
            },
        ),
        (
            "enrolment-response-chain-role",
            "the certificate is for another role",
            Expect::Invalid("V-053", ""),
            |answer, world| {
                let sealing: Vec<_> = answer.sealing.iter().collect();
                answer.chain = certify(&answer.key, &sealing, &[Role::Packager], &mut world.operator);
            },
        ),
        (
            "enrolment-response-chain-root",
            "the certificate is another operator's",
            Expect::Invalid("V-053", ""),
            |answer, world| {
                let sealing: Vec<_> = answer.sealing.iter().collect();
                answer.chain = certify(&answer.key, &sealing, &[Role::Device], &mut world.other_operator);
            },
        ),
        (
            "enrolment-response-to-another-request",
            "the signed body names another request",
            Expect::Invalid("V-012", ""),
            |answer, _| answer.answers = Digest::new([5; 32]),
        ),
        (
            "enrolment-response-with-another-nonce",
            "the signed body repeats another nonce",
            Expect::Invalid("V-012", ""),
            |answer, _| answer.repeats = Nonce::new([5; 16]),
        ),
        (
            "enrolment-response-signer-role",
            "a device does not answer enrolments",
            Expect::Invalid(
                "V-004",
                "the signer is not trusted: certificate chain refused: it is not valid for this role",
            ),
            |answer, _| answer.signed_by_device = true,
        ),
    ];
    for (name, proves, expect, edit) in shape {
        let vector = response(world, (name, proves), &expect, edit);
        all.push(vector);
    }
}

/// An enrolment request's body, as the worked example in `spec/protocol.md`.
pub(super) fn example(world: &World) -> Vec<u8> {
    Request::new(world, &mut draws("enrolment-request-valid"))
        .body
        .encode()
}

struct Request {
    key: TestKey,
    body: EnrolmentRequest,
    raw_body: Option<Vec<u8>>,
    signer: Option<TestKey>,
    edit_cose: fn(&mut Cose<'_>),
}

impl Request {
    fn new(world: &World, rng: &mut ChaCha20Rng) -> Self {
        let key = TestKey::generate(rng);
        let sealing = Suite::ALL.map(|suite| KeyPair::generate(suite, rng));
        let body = EnrolmentRequest {
            version: 1,
            recipient: world.request_encryption.identity.digest(),
            nonce: Nonce::random(rng),
            response_key: Secret::random(rng),
            public_key: Bytes(key.public_key().to_spki_der().unwrap()),
            sealing_keys: sealing.iter().map(sealing_key).collect(),
            token: "one-time-token".into(),
            client: requests::client_info(),
            role: EnrolmentRole::Device,
        };
        Self {
            key,
            body,
            raw_body: None,
            signer: None,
            edit_cose: |_| (),
        }
    }

    fn finish(&self, world: &World, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let body = self.raw_body.clone().unwrap_or_else(|| self.body.encode());
        let signer = self.signer.as_ref().unwrap_or(&self.key);
        let context = EnrolmentRequest::CONTEXT;
        let mut cose = Cose::new(EnrolmentRequest::MEDIA_TYPE, context, &[body], &[], signer);
        (self.edit_cose)(&mut cose);
        let recipient = &world.request_encryption;
        let receiver = recipient.sealing_key(Suite::XWing).public_key();
        let digest = recipient.identity.digest();
        SealedRequest::seal(context, Suite::XWing, digest, receiver, &cose.finish(), rng)
            .unwrap()
            .encode()
    }
}

fn requests(world: &World, all: &mut Vec<Vector>) {
    let keys = ("V-052", "sealing keys are one a suite, ascending, suite 1 first");
    let shapes = (
        "V-052",
        "a sealing key is of an unknown suite or the wrong length",
    );
    let cases: [(&str, &str, Refusal<'_>, EditRequest); 11] = [
        (
            "enrolment-request-valid",
            "a device proves its signing key and names its sealing keys",
            None,
            |_, _, _| (),
        ),
        (
            "enrolment-request-valid-suite-1-alone",
            "a device with hardware keys has suite 1 alone",
            None,
            |request, _, _| request.body.sealing_keys.truncate(1),
        ),
        (
            "enrolment-request-of-another-key",
            "signed by another key than the one it names",
            Some(("V-050", "the signature does not verify")),
            |request, _, rng| request.signer = Some(TestKey::generate(rng)),
        ),
        (
            "enrolment-request-with-chain",
            "nobody has certified the device yet",
            Some((
                "V-001",
                "the message is malformed: malformed COSE message: unexpected x5chain",
            )),
            |request, _, _| request.edit_cose = |cose| cose.chain = Some(bytes(&[1])),
        ),
        (
            "enrolment-request-key-not-p256",
            "the signing key is no P-256 SubjectPublicKeyInfo",
            Some((
                "V-050",
                "the message is malformed: malformed key material: not a P-256 public key",
            )),
            |request, _, _| request.body.public_key = Bytes(vec![0x30, 0x00]),
        ),
        (
            "enrolment-request-suites-descend",
            "suites ascend",
            Some(keys),
            |request, _, _| request.body.sealing_keys.reverse(),
        ),
        (
            "enrolment-request-suite-twice",
            "one key a suite",
            Some(keys),
            |request, _, _| {
                let first = request.body.sealing_keys.first().unwrap().clone();
                request.body.sealing_keys.insert(0, first);
            },
        ),
        (
            "enrolment-request-without-suite-1",
            "everyone has suite 1",
            Some(keys),
            |request, _, _| drop(request.body.sealing_keys.remove(0)),
        ),
        (
            "enrolment-request-without-sealing-keys",
            "a device that nothing can be sealed to is of no use",
            Some(keys),
            |request, _, _| request.body.sealing_keys.clear(),
        ),
        (
            "enrolment-request-unknown-suite",
            "a suite that nobody assigned",
            Some(shapes),
            |request, _, _| request.body.sealing_keys.last_mut().unwrap().suite = 3,
        ),
        (
            "enrolment-request-sealing-key-too-short",
            "a P-256 point of 64 bytes",
            Some(shapes),
            |request, _, _| {
                request
                    .body
                    .sealing_keys
                    .first_mut()
                    .unwrap()
                    .public_key
                    .0
                    .truncate(64)
            },
        ),
    ];
    for (name, proves, refused, edit) in cases {
        request(world, all, (name, proves), refused, edit);
    }
    let name = (
        "enrolment-request-valid-packager",
        "a packager asks for the certificate of its role",
    );
    request(world, all, name, None, |request, _, _| {
        request.body.role = EnrolmentRole::Packager;
    });
    let role = "the message is malformed: enrolment role 2 is not known to this version";
    let name = (
        "enrolment-request-server-role",
        "nobody enrols as a license server",
    );
    request(world, all, name, Some(("V-001", role)), |request, _, _| {
        request.raw_body = Some(with_value(&request.body.encode(), 9, &uint(2)));
    });
    let unknown =
        "the message is malformed: enrolment request holds critical key 10, which this version does not know";
    let name = (
        "enrolment-request-unknown-critical",
        "an unknown critical key in the body",
    );
    request(world, all, name, Some(("V-001", unknown)), |request, _, _| {
        request.raw_body = Some(with_entry(&request.body.encode(), 10, &uint(0)));
    });
}

fn request(
    world: &World,
    all: &mut Vec<Vector>,
    (name, proves): (&str, &str),
    refused: Refusal<'_>,
    edit: impl FnOnce(&mut Request, &World, &mut ChaCha20Rng),
) {
    let mut rng = draws(name);
    let mut draft = Request::new(world, &mut rng);
    edit(&mut draft, world, &mut rng);
    let message = draft.finish(world, &mut rng);
    let learns = [
        ("public-key", hex::encode(&draft.body.public_key.0)),
        ("token", draft.body.token.clone()),
        ("role", draft.body.role.number().to_string()),
        (
            "suites",
            draft
                .body
                .sealing_keys
                .iter()
                .map(|key| key.suite.to_string())
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ];
    let expect = refused.map_or(Expect::Valid(&learns), |(rule, error)| {
        Expect::Invalid(rule, error)
    });
    let recipient = &world.request_encryption;
    let mut inputs = inputs([("certificate", recipient.identity.leaf().der())]);
    inputs.extend(sealing_inputs("server", &recipient.sealing));
    all.push(vector(
        MessageType::EnrolmentRequest,
        (name, proves),
        inputs,
        &message,
        &expect,
    ));
}

/// An enrolment response before it is sealed and signed.
struct Answer {
    key: TestKey,
    sealing: Vec<KeyPair>,
    chain: Vec<Vec<u8>>,
    sealed_to: Vec<(Suite, Vec<u8>)>,
    answers: Digest,
    repeats: Nonce,
    signed_by_device: bool,
}

fn response(
    world: &mut World,
    (name, proves): (&str, &str),
    expect: &Expect<'_>,
    edit: fn(&mut Answer, &mut World),
) -> Vector {
    let mut rng = draws(name);
    let key = TestKey::generate(&mut rng);
    let sealing: Vec<_> = Suite::ALL
        .into_iter()
        .map(|suite| KeyPair::generate(suite, &mut rng))
        .collect();
    let (digest, nonce, response_key) = (
        Digest::random(&mut rng),
        Nonce::random(&mut rng),
        Secret::random(&mut rng),
    );
    let chain = certify(
        &key,
        &sealing.iter().collect::<Vec<_>>(),
        &[Role::Device],
        &mut world.operator,
    );
    let sealed_to = sealing
        .iter()
        .map(|pair| (pair.suite(), pair.public_key().to_vec()))
        .collect();
    let mut answer = Answer {
        key,
        sealing,
        chain,
        sealed_to,
        answers: digest,
        repeats: nonce,
        signed_by_device: false,
    };
    edit(&mut answer, world);

    let keys: Vec<_> = answer
        .sealed_to
        .iter()
        .map(|(suite, key)| (*suite, &key[..]))
        .collect();
    let (shares, chain) = seal_chain(&answer.chain, &keys, &digest, &mut rng).unwrap();
    let body = EnrolmentResponse {
        version: 1,
        request: answer.answers,
        nonce: answer.repeats,
        shares,
        chain,
        server_time: NOW,
    };
    let context = EnrolmentResponse::CONTEXT;
    let signer = if answer.signed_by_device {
        &world.device.identity
    } else {
        &world.license_server
    };
    let signed = Cose::new(
        EnrolmentResponse::MEDIA_TYPE,
        context,
        &[body.encode()],
        &signer.chain,
        &signer.key,
    )
    .finish();
    let message = SealedResponse::seal(context, &response_key, &digest, &signed, &mut rng)
        .unwrap()
        .encode();
    let learns = [("leaf", hex::encode(answer.chain.first().unwrap()))];
    let expect = if matches!(expect, Expect::Valid(_)) {
        &Expect::Valid(&learns)
    } else {
        expect
    };
    let mut inputs = inputs([
        ("root", world.operator.root()),
        ("request-digest", digest.as_bytes()),
        ("request-nonce", nonce.as_bytes()),
        ("response-key", response_key.expose()),
        (
            "device-public-key",
            &answer.key.public_key().to_spki_der().unwrap(),
        ),
    ]);
    inputs.extend(sealing_inputs("device", &answer.sealing));
    vector(
        MessageType::EnrolmentResponse,
        (name, proves),
        inputs,
        &message,
        expect,
    )
}

fn certify(
    key: &TestKey,
    sealing: &[&KeyPair],
    roles: &[Role],
    operator: &mut crate::pki::Operator,
) -> Vec<Vec<u8>> {
    let mut named = claims(Some(SECURITY_LEVEL_SOFTWARE), &[]);
    named.sealing_keys = Some(sealing.iter().map(|pair| sealing_key(pair)).collect());
    let leaf = Leaf {
        claims: Some(named),
        ..Leaf::new("Test device", roles)
    };
    operator.certify(&leaf, key.public_key())
}

fn sealing_key(pair: &KeyPair) -> SealingKey {
    SealingKey {
        suite: pair.suite().number(),
        public_key: Bytes(pair.public_key().to_vec()),
    }
}
