//! Licenses, judged alone: out of a store, or as they arrive in a response.

mod chains;
mod exchange;
mod forms;
mod terms;

use std::collections::BTreeMap;

use keyward_crypto::{RootKey, Secret, ecdsa::Signer, hpke::Suite, x509::Role};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    ids::{Kid, LicenseId, Nonce},
    license::{
        Binding, ExtendedRight, Flag, KeyDescription, KeyType, LicenseBody, LicenseKeys, LicenseKind,
        PlayEnabler, PreparedLicense,
    },
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, bytes, uint, with_entry, with_value},
    draws, inputs, sealing_inputs, vector,
};
use crate::pki::{DAY, Device, Identity, Leaf, NOW};

const WRONG_ROLE: &str =
    "the signer is not trusted: certificate chain refused: it is not valid for this role";
const UNKNOWN_ISSUER: &str =
    "the signer is not trusted: certificate chain refused: it does not lead to the operator's root";
const EXPIRED: &str = "the signer is not trusted: certificate chain refused: a certificate has expired";
const NOT_YET: &str = "the signer is not trusted: certificate chain refused: a certificate is not yet valid";
const BAD_SIGNATURE: &str = "the signature does not verify";

pub(super) fn add(world: &mut World, all: &mut Vec<Vector>) {
    let role = [Role::LicenseServer];
    let retired = world.operator.issue(&Leaf {
        not_after: NOW.minus(DAY),
        ..Leaf::new("Retired license server", &role)
    });
    let future = world.operator.issue(&Leaf {
        not_before: NOW.minus(60),
        ..Leaf::new("Future license server", &role)
    });
    let mut cases = Cases { world, all };
    cases.valid(&retired);
    cases.signers(&retired, &future);
    cases.sealed_parts();
    cases.terms();
    cases.known_terms();
    cases.unfit_terms();
    cases.wrong_terms();
    cases.wrong_data();
    cases.wrong_forms();
    cases.encodings();
    cases.cose();
    cases.key_exchange();
    cases.chains();
}

/// A license of the test operator for its device: what the worked example in `spec/license.md` shows.
pub(super) fn example(world: &World) -> Example {
    let mut rng = draws("license-valid-suite-1");
    let mut draft = Draft::new(world, &mut rng);
    draft.finish(&mut rng)
}

/// The parts of one license.
pub(super) struct Example {
    pub(super) body: Vec<u8>,
    pub(super) sealed: Vec<u8>,
    pub(super) keys: Vec<u8>,
    pub(super) message: Vec<u8>,
}

/// The bytes of a valid license for `kid` and `device`, for use inside other messages.
pub(super) fn license_for(world: &World, kid: Kid, device: &Device, name: &str) -> Vec<u8> {
    let mut rng = draws(name);
    let mut draft = Draft {
        receiver: device,
        ..Draft::new(world, &mut rng)
    };
    draft.body.binding = Binding::device(&device.id());
    draft.body.keys = vec![key(kid)];
    draft.finish(&mut rng).message
}

pub(super) use chains::{ChainFor, leaf_for};

struct Cases<'a> {
    world: &'a World,
    all: &'a mut Vec<Vector>,
}

/// A license before it is sealed and signed. Every field may be made wrong.
struct Draft<'w> {
    body: LicenseBody,
    /// Replaces the body's encoding.
    raw_body: Option<Vec<u8>>,
    /// Replaces the body that the key is sealed under.
    sealed_under: Option<Vec<u8>>,
    keys: LicenseKeys,
    suite: Suite,
    receiver: &'w Device,
    /// Seals under this key instead of to the receiver.
    under: Option<RootKey>,
    /// A root license that the receiver holds.
    root_license: Option<Vec<u8>>,
    /// Alters the encoded sealed part.
    edit_sealed: fn(Vec<u8>) -> Vec<u8>,
    signer: &'w dyn Signer,
    chain: Vec<Vec<u8>>,
    /// Alters the COSE layer before the signature.
    edit_cose: fn(&mut Cose<'_>),
    /// Alters the finished bytes.
    edit_message: fn(Vec<u8>) -> Vec<u8>,
    arrives: bool,
    request_nonce: Option<Nonce>,
}

impl<'w> Draft<'w> {
    fn new(world: &'w World, rng: &mut ChaCha20Rng) -> Self {
        let (id, key) = (LicenseId::random(rng), key(Kid::random(rng)));
        let binding = Binding::device(&world.device.id());
        let body = LicenseBody {
            end: Some(NOW.plus(2 * DAY)),
            ..LicenseBody::new(id, LicenseKind::Simple, key, binding, NOW.minus(60))
        };
        let content_key = Secret::<16>::random(rng);
        Self {
            body,
            raw_body: None,
            sealed_under: None,
            keys: LicenseKeys {
                keys: vec![Bytes(content_key.expose().to_vec())],
                proof_key: Secret::random(rng),
            },
            suite: Suite::P256,
            receiver: &world.device,
            under: None,
            root_license: None,
            edit_sealed: |sealed| sealed,
            signer: &world.license_server.key,
            chain: world.license_server.chain.clone(),
            edit_cose: |_| (),
            edit_message: |message| message,
            arrives: true,
            request_nonce: None,
        }
    }

    fn signed_by(&mut self, identity: &'w Identity) {
        self.signer = &identity.key;
        self.chain.clone_from(&identity.chain);
    }

    fn finish(&mut self, rng: &mut ChaCha20Rng) -> Example {
        let body = self.raw_body.clone().unwrap_or_else(|| self.body.encode());
        let under = self.sealed_under.clone().unwrap_or_else(|| body.clone());
        let receiver = self.receiver.sealing_key(self.suite).public_key();
        let prepared = match &self.under {
            Some(root) => PreparedLicense::under_root(under, &self.keys, root, rng),
            None => PreparedLicense::for_device(under, &self.keys, self.suite, receiver, rng),
        };
        let sealed = (self.edit_sealed)(prepared.unwrap().sealed);
        let items = [body.clone(), sealed.clone()];
        let mut cose = Cose::new(
            LicenseBody::MEDIA_TYPE,
            LicenseBody::CONTEXT,
            &items,
            &self.chain,
            self.signer,
        );
        (self.edit_cose)(&mut cose);
        Example {
            body,
            sealed,
            keys: self.keys.encode(),
            message: (self.edit_message)(cose.finish()),
        }
    }

    fn inputs(&self, world: &World) -> BTreeMap<String, String> {
        let mut all = inputs([
            ("root", world.operator.root()),
            ("device-id", world.device.id().as_bytes()),
        ]);
        all.extend(sealing_inputs("device", &world.device.sealing));
        all.insert(
            "arrives".into(),
            if self.arrives { "in-response" } else { "from-store" }.into(),
        );
        if let Some(nonce) = self.request_nonce {
            all.insert("request-nonce".into(), nonce.to_string());
        }
        if let Some(license) = &self.root_license {
            all.insert("root-license".into(), hex::encode(license));
        }
        all
    }

    fn learns(&self) -> Vec<(&'static str, String)> {
        vec![
            ("license-id", self.body.id.to_string()),
            ("kid", self.body.keys.first().unwrap().kid.to_string()),
            self.learns_keys(),
            ("proof-key", hex::encode(self.keys.proof_key.expose())),
        ]
    }
}

impl Draft<'_> {
    fn learns_keys(&self) -> (&'static str, String) {
        let only = || hex::encode(&self.keys.keys.first().unwrap().0);
        match self.body.kind {
            LicenseKind::Simple | LicenseKind::Leaf => return ("content-key", only()),
            LicenseKind::Root => return ("root-key", only()),
            LicenseKind::KeyExchange => {}
        }
        let described = self.body.keys.iter().zip(&self.keys.keys);
        let keys = described.map(|(described, key)| {
            let (algorithm, operation) = described.permits().unwrap();
            let (kid, version) = (described.kid, described.version.unwrap());
            let numbers = format!("{}:{}:{version}", algorithm.number(), operation.number());
            format!("{kid}:{numbers}:{}", hex::encode(&key.0))
        });
        ("exchange-keys", keys.collect::<Vec<_>>().join(" "))
    }
}

impl<'a> Cases<'a> {
    fn accept(&mut self, name: &str, proves: &str, edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng)) {
        let mut rng = draws(name);
        let mut draft = Draft::new(self.world, &mut rng);
        edit(&mut draft, &mut rng);
        let message = draft.finish(&mut rng).message;
        let learns = draft.learns();
        let inputs = draft.inputs(self.world);
        self.all.push(vector(
            MessageType::License,
            (name, proves),
            inputs,
            &message,
            &Expect::Valid(&learns),
        ));
    }

    fn refuse(
        &mut self,
        name: &str,
        proves: &str,
        (rule, error): (&str, &str),
        edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng),
    ) {
        let mut rng = draws(name);
        let mut draft = Draft::new(self.world, &mut rng);
        edit(&mut draft, &mut rng);
        let message = draft.finish(&mut rng).message;
        let inputs = draft.inputs(self.world);
        let expect = Expect::Invalid(rule, error);
        self.all.push(vector(
            MessageType::License,
            (name, proves),
            inputs,
            &message,
            &expect,
        ));
    }

    fn valid(&mut self, retired: &'a Identity) {
        self.accept(
            "license-valid-suite-1",
            "a license sealed with suite 1 opens",
            |_, _| (),
        );
        self.accept(
            "license-valid-suite-2",
            "a license sealed with suite 2 (X-Wing) opens",
            |draft, _| {
                draft.suite = Suite::XWing;
            },
        );
        self.accept(
            "license-valid-all-terms",
            "every term of this version is read",
            |draft, _| {
                draft.body.begin = Some(NOW.minus(DAY));
                draft.body.minimum_security_level = Some(2000);
                draft.body.name = Some("Film, 48 hours".into());
                draft.body.expiration_after_first_play = Some(2 * DAY);
                draft.body.real_time_expiration = Some(Flag);
                draft.body.removal_date = Some(NOW.plus(4 * DAY));
                draft.body.grace_period = Some(DAY);
                draft.body.output_protection_levels = Some(terms::every_level());
                draft.body.explicit_restrictions = Some(terms::every_restriction());
                draft.body.play_enablers = Some(vec![PlayEnabler::AIRPLAY]);
                draft.body.ends_with_revocation = Some(Flag);
                draft.body.source_id = Some(267);
                draft.body.extended_restrictions = Some(vec![terms::extended(400, true, &[2])]);
                draft.body.extended_rights = Some(vec![ExtendedRight {
                    kind: 500,
                    restrictions: None,
                }]);
            },
        );
        self.accept(
            "license-valid-greased",
            "unknown optional keys in body and sealed part are skipped",
            |draft, rng| {
                draft.raw_body = Some(grease(&draft.body.encode(), rng).unwrap());
                draft.edit_sealed = |sealed| with_entry(&sealed, 128, &bytes(b"skip me"));
            },
        );
        self.accept(
            "license-valid-in-memory",
            "an in-memory license holds its request's nonce",
            |draft, rng| {
                draft.body.persistent = false;
                draft.body.nonce = Some(Nonce::random(rng));
                draft.request_nonce = draft.body.nonce;
            },
        );
        self.accept(
            "license-valid-signer-retired",
            "a stored license outlives its signer: the chain is judged at the time of issue",
            |draft, _| {
                draft.signed_by(retired);
                draft.body.issued = NOW.minus(2 * DAY);
                draft.arrives = false;
            },
        );
        self.accept(
            "license-valid-other-half-of-signature",
            "(r, n-s) verifies like (r, s): nothing may be identified by its signature bytes",
            |draft, _| draft.edit_message = negate_s,
        );
    }

    fn signers(&mut self, retired: &'a Identity, future: &'a Identity) {
        let world = self.world;
        self.refuse(
            "license-signer-role",
            "a time server does not issue licenses",
            ("V-004", WRONG_ROLE),
            |draft, _| {
                draft.signed_by(&world.time_server);
            },
        );
        self.refuse(
            "license-signer-device",
            "a device does not issue licenses",
            ("V-004", WRONG_ROLE),
            |draft, _| {
                draft.signed_by(&world.other_device.identity);
            },
        );
        self.refuse(
            "license-signer-root",
            "another operator's server is nobody here",
            ("V-004", UNKNOWN_ISSUER),
            |draft, _| {
                draft.signed_by(&world.other_license_server);
            },
        );
        self.refuse(
            "license-signer-expired-at-issue",
            "the signer was no longer valid when the license says it was issued",
            ("V-004", EXPIRED),
            |draft, _| {
                draft.signed_by(retired);
                draft.arrives = false;
            },
        );
        self.refuse(
            "license-signer-expired-on-arrival",
            "a license that arrives in a response needs a signer that is valid now: an old key cannot back-date",
            ("V-004", EXPIRED),
            |draft, _| {
                draft.signed_by(retired);
                draft.body.issued = NOW.minus(2 * DAY);
            },
        );
        self.refuse(
            "license-signer-not-yet-valid",
            "the signer was not valid yet when the license says it was issued",
            ("V-004", NOT_YET),
            |draft, _| {
                draft.signed_by(future);
                draft.body.issued = NOW.minus(120);
            },
        );
        self.refuse(
            "license-chain-cut",
            "the chain lacks the authority",
            ("V-004", UNKNOWN_ISSUER),
            |draft, _| {
                draft.chain.truncate(1);
            },
        );
        self.refuse(
            "license-chain-of-another",
            "the leaf is not of the key that signed",
            ("V-003", BAD_SIGNATURE),
            |draft, _| {
                draft.chain.clone_from(&world.other_license_server.chain);
            },
        );
    }

    fn sealed_parts(&mut self) {
        let world = self.world;
        self.refuse(
            "license-sealed-to-another",
            "the key is sealed to another device",
            ("V-023", ""),
            |draft, _| {
                draft.receiver = &world.other_device;
            },
        );
        self.refuse(
            "license-bound-to-another",
            "the body names another device",
            ("V-022", ""),
            |draft, _| {
                draft.body.binding = Binding::device(&world.other_device.id());
            },
        );
        self.refuse(
            "license-term-altered-and-signed-again",
            "the key opens only under the hash of the body it was sealed under, whoever signs",
            ("V-023", ""),
            |draft, _| {
                draft.sealed_under = Some(draft.body.encode());
                draft.body.end = Some(NOW.plus(1000 * DAY));
            },
        );
        self.refuse(
            "license-key-altered",
            "a flipped bit of the ciphertext",
            ("V-023", ""),
            |draft, _| {
                draft.edit_sealed = |mut sealed| {
                    *sealed.last_mut().unwrap() ^= 1;
                    sealed
                };
            },
        );
        self.refuse(
            "license-keys-more-than-described",
            "two keys are sealed under a body that describes one",
            ("V-023", "the license does not hold the keys it describes"),
            |draft, _| draft.keys.keys.push(Bytes(vec![7; 16])),
        );
        let unknown =
            |number: u64| format!("the message is malformed: suite {number} is not known to this version");
        self.refuse(
            "license-suite-16",
            "a simple license is not sealed under a root license's key",
            ("V-036", &format!("the message is malformed: {}", chains::SEALED)),
            |draft, _| {
                draft.edit_sealed = |sealed| with_value(&with_value(&sealed, 1, &uint(16)), 2, &bytes(b""));
            },
        );
        self.refuse(
            "license-suite-3",
            "a suite that nobody assigned",
            ("V-001", &unknown(3)),
            |draft, _| {
                draft.edit_sealed = |sealed| with_value(&sealed, 1, &uint(3));
            },
        );
        self.refuse(
            "license-sealed-key-unknown-critical",
            "an unknown critical key in the sealed part",
            (
                "V-001",
                "the message is malformed: sealed key holds critical key 4, which this version does not know",
            ),
            |draft, _| draft.edit_sealed = |sealed| with_entry(&sealed, 4, &uint(0)),
        );
    }
}

fn key(kid: Kid) -> KeyDescription {
    KeyDescription::content(kid, KeyType::CencCtr)
}

/// Replaces `s` by `n - s`, which verifies as well.
fn negate_s(mut message: Vec<u8>) -> Vec<u8> {
    let (_, signature) = message.split_last_chunk_mut::<64>().unwrap();
    let parsed = p256::ecdsa::Signature::from_slice(signature).unwrap();
    let negated =
        p256::ecdsa::Signature::from_scalars(parsed.r().to_bytes(), (-*parsed.s()).to_bytes()).unwrap();
    signature.copy_from_slice(&negated.to_bytes());
    message
}
