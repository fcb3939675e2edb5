//! License responses, sealed under the key of the request that waits for them.

use keyward_crypto::{Secret, x509::Role};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    ids::{Digest, Kid, Nonce, TransactionId},
    response::{Denial, KeyResult, LicenseResponse},
    revocation::RevocationList,
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, uint, with_entry, with_value},
    draws, inputs, licenses, sealing_inputs, vector,
};
use crate::pki::{DAY, Identity, Leaf, NOW};

const NOT_OPENED: &str = "the message does not open";

pub(super) fn add(world: &mut World, all: &mut Vec<Vector>) {
    let role = [Role::LicenseServer];
    let retired = world.operator.issue(&Leaf {
        not_after: NOW.minus(DAY),
        ..Leaf::new("Retired license server", &role)
    });
    let mut cases = Cases { world, all };
    cases.valid();
    cases.envelopes();
    cases.signers(&retired);
    cases.results();
    cases.licenses_that_go_along();
}

/// A response's body with one license and one denial, as the worked example in `spec/protocol.md`.
pub(super) fn example(world: &World) -> Vec<u8> {
    let mut rng = draws("response-example");
    Draft::new(world, "response-example", &mut rng).body.encode()
}

struct Cases<'a> {
    world: &'a World,
    all: &'a mut Vec<Vector>,
}

/// The request that waits.
struct Pending {
    digest: Digest,
    nonce: Nonce,
    response_key: Secret<32>,
    kids: [Kid; 2],
    /// It announced that it takes licenses that go along.
    takes_more: bool,
}

/// A response before it is signed and sealed.
struct Draft<'w> {
    pending: Pending,
    body: LicenseResponse,
    raw_body: Option<Vec<u8>>,
    signer: &'w Identity,
    edit_cose: fn(&mut Cose<'_>),
    context: &'static str,
    /// What it is sealed under, if not what waits.
    sealed_for: Option<(Secret<32>, Digest)>,
    edit_sealed: fn(Vec<u8>) -> Vec<u8>,
}

impl<'w> Draft<'w> {
    fn new(world: &'w World, name: &str, rng: &mut ChaCha20Rng) -> Self {
        let pending = Pending {
            digest: Digest::random(rng),
            nonce: Nonce::random(rng),
            response_key: Secret::random(rng),
            kids: [Kid::random(rng), Kid::random(rng)],
            takes_more: false,
        };
        let [first, second] = pending.kids;
        let license = licenses::license_for(world, first, &world.device, name);
        let body = LicenseResponse {
            version: 1,
            request: pending.digest,
            nonce: pending.nonce,
            results: vec![licensed(first, license), denied(second)],
            revocation_lists: None,
            server_time: NOW,
            transaction: None,
            custom_data: None,
            renew_at: None,
        };
        Self {
            pending,
            body,
            raw_body: None,
            signer: &world.license_server,
            edit_cose: |_| (),
            context: LicenseResponse::CONTEXT,
            sealed_for: None,
            edit_sealed: |sealed| sealed,
        }
    }

    fn finish(&self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let body = self.raw_body.clone().unwrap_or_else(|| self.body.encode());
        let mut cose = Cose::new(
            LicenseResponse::MEDIA_TYPE,
            LicenseResponse::CONTEXT,
            &[body],
            &self.signer.chain,
            &self.signer.key,
        );
        (self.edit_cose)(&mut cose);
        let waits = (&self.pending.response_key, &self.pending.digest);
        let (key, digest) = self
            .sealed_for
            .as_ref()
            .map_or(waits, |(key, digest)| (key, digest));
        let sealed = SealedResponse::seal(self.context, key, digest, &cose.finish(), rng).unwrap();
        (self.edit_sealed)(sealed.encode())
    }
}

fn licensed(kid: Kid, license: Vec<u8>) -> KeyResult {
    KeyResult {
        kid,
        license: Some(Bytes(license)),
        denial: None,
    }
}

fn denied(kid: Kid) -> KeyResult {
    let sentence = "the account may not have this key".into();
    KeyResult {
        kid,
        license: None,
        denial: Some(Denial {
            code: 301,
            sentence,
            url: None,
        }),
    }
}

/// Puts a leaf in the place of the license, and its root behind everything; the root's key id.
fn chain(draft: &mut Draft<'_>, world: &World, name: &str) -> Kid {
    let [first, _] = draft.pending.kids;
    let chain = licenses::ChainFor::new(world, first, name);
    *draft.body.results.first_mut().unwrap() = licensed(first, chain.leaf);
    draft.body.results.push(licensed(chain.root_kid, chain.root));
    chain.root_kid
}

impl<'a> Cases<'a> {
    fn accept(&mut self, name: &str, proves: &str, edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng)) {
        let (draft, message) = self.draft(name, edit);
        let granted = draft
            .body
            .results
            .iter()
            .filter(|result| result.license.is_some());
        let denied = draft
            .body
            .results
            .iter()
            .filter_map(|result| Some((result.kid, result.denial.as_ref()?.code)));
        let granted: Vec<_> = granted.map(|result| result.kid.to_string()).collect();
        let denied: Vec<_> = denied.map(|(kid, code)| format!("{kid}:{code}")).collect();
        let mut learns = vec![
            ("granted", granted.join(" ")),
            ("denied", denied.join(" ")),
            ("server-time", NOW.0.to_string()),
        ];
        learns.extend(draft.body.renew_at.map(|time| ("renew-at", time.0.to_string())));
        self.push(name, proves, &draft.pending, &message, &Expect::Valid(&learns));
    }

    fn refuse(
        &mut self,
        name: &str,
        proves: &str,
        (rule, error): (&str, &str),
        edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng),
    ) {
        let (draft, message) = self.draft(name, edit);
        self.push(
            name,
            proves,
            &draft.pending,
            &message,
            &Expect::Invalid(rule, error),
        );
    }

    fn draft(&self, name: &str, edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng)) -> (Draft<'a>, Vec<u8>) {
        let mut rng = draws(name);
        let mut draft = Draft::new(self.world, name, &mut rng);
        edit(&mut draft, &mut rng);
        let message = draft.finish(&mut rng);
        (draft, message)
    }

    fn push(&mut self, name: &str, proves: &str, pending: &Pending, message: &[u8], expect: &Expect<'_>) {
        let kids = pending.kids.map(|kid| kid.to_string()).join(" ");
        let mut inputs = inputs([
            ("root", self.world.operator.root()),
            ("device-id", self.world.device.id().as_bytes()),
            ("request-digest", pending.digest.as_bytes()),
            ("request-nonce", pending.nonce.as_bytes()),
            ("response-key", pending.response_key.expose()),
        ]);
        inputs.insert("request-kids".into(), kids);
        if pending.takes_more {
            inputs.insert("takes-more".into(), "yes".into());
        }
        inputs.extend(sealing_inputs("device", &self.world.device.sealing));
        self.all.push(vector(
            MessageType::LicenseResponse,
            (name, proves),
            inputs,
            message,
            expect,
        ));
    }

    fn valid(&mut self) {
        self.accept(
            "response-valid",
            "a license for one key id and a denial for the other",
            |_, _| (),
        );
        self.accept(
            "response-valid-nothing",
            "a response without results (time and lists alone)",
            |draft, _| {
                draft.body.results.clear();
            },
        );
        self.accept(
            "response-valid-everything",
            "every optional entry is there",
            |draft, rng| {
                draft.body.revocation_lists = Some(vec![RevocationList::Devices(Bytes(vec![0]))]);
                draft.body.transaction = Some(TransactionId::random(rng));
                draft.body.custom_data = Some(Bytes(b"custom".to_vec()));
                draft.body.renew_at = Some(NOW.plus(DAY));
            },
        );
        self.accept(
            "response-valid-greased",
            "unknown optional keys in body and envelope are skipped",
            |draft, rng| {
                draft.raw_body = Some(grease(&draft.body.encode(), rng).unwrap());
                draft.edit_sealed = |sealed| with_entry(&sealed, 200, &uint(0));
            },
        );
    }

    fn envelopes(&mut self) {
        let closed = ("V-011", NOT_OPENED);
        self.refuse(
            "response-of-another-key",
            "sealed under another request's response key",
            closed,
            |draft, rng| {
                draft.sealed_for = Some((Secret::random(rng), draft.pending.digest));
            },
        );
        self.refuse(
            "response-sealed-for-another-digest",
            "the request's digest is bound into the sealing",
            closed,
            |draft, rng| {
                draft.sealed_for = Some((draft.pending.response_key.duplicate(), Digest::random(rng)));
            },
        );
        self.refuse(
            "response-other-context",
            "an enrolment answer is no license response",
            closed,
            |draft, _| {
                draft.context = "keyward/1 enrolment-response";
            },
        );
        self.refuse(
            "response-altered",
            "a flipped bit of the ciphertext",
            closed,
            |draft, _| {
                draft.edit_sealed = |mut sealed| {
                    *sealed.last_mut().unwrap() ^= 1;
                    sealed
                };
            },
        );
        let version = ("V-005", "protocol version 2 is not supported");
        self.refuse(
            "response-envelope-version-2",
            "an envelope of another version",
            version,
            |draft, _| {
                draft.edit_sealed = |sealed| with_value(&sealed, 1, &uint(2));
            },
        );
        self.refuse(
            "response-version-2",
            "a body of another version",
            version,
            |draft, _| draft.body.version = 2,
        );
        let mismatch = ("V-012", "");
        self.refuse(
            "response-to-another-request",
            "the signed body names another request",
            mismatch,
            |draft, rng| {
                draft.body.request = Digest::random(rng);
            },
        );
        self.refuse(
            "response-with-another-nonce",
            "the signed body repeats another nonce",
            mismatch,
            |draft, rng| {
                draft.body.nonce = Nonce::random(rng);
            },
        );
    }

    fn signers(&mut self, retired: &'a Identity) {
        let world = self.world;
        let refused = |fault: &str| format!("the signer is not trusted: certificate chain refused: {fault}");
        self.refuse(
            "response-signer-role",
            "a time server does not answer license requests",
            ("V-013", &refused("it is not valid for this role")),
            |draft, _| draft.signer = &world.time_server,
        );
        self.refuse(
            "response-signer-root",
            "another operator's server is nobody here",
            ("V-013", &refused("it does not lead to the operator's root")),
            |draft, _| {
                draft.signer = &world.other_license_server;
            },
        );
        self.refuse(
            "response-signer-expired",
            "the signer is no longer valid",
            ("V-013", &refused("a certificate has expired")),
            |draft, _| draft.signer = retired,
        );
        self.refuse(
            "response-other-signature-context",
            "a license's signature is none for a response",
            ("V-003", "the signature does not verify"),
            |draft, _| {
                draft.edit_cose = |cose| cose.context = "keyward/1 license";
            },
        );
        self.refuse("response-unknown-critical", "an unknown critical key in the body",
            ("V-001", "the message is malformed: license response holds critical key 10, which this version does not know"),
            |draft, _| draft.raw_body = Some(with_entry(&draft.body.encode(), 10, &uint(0))));
    }

    fn licenses_that_go_along(&mut self) {
        let world = self.world;
        let refused = ("V-014", "");
        let name = "response-valid-root-goes-along";
        self.accept(
            name,
            "a leaf that was asked for, and its root, which was not",
            |draft, _| {
                chain(draft, world, name);
                draft.pending.takes_more = true;
            },
        );
        let name = "response-valid-root-asked-for";
        self.accept(name, "a leaf and its root, both asked for", |draft, _| {
            let root = chain(draft, world, name);
            draft.body.results.remove(1);
            draft.pending.kids[1] = root;
        });
        let name = "response-root-not-announced";
        self.refuse(
            name,
            "nothing goes along with what is asked for unless the client announced that it takes it",
            refused,
            |draft, _| {
                chain(draft, world, name);
            },
        );
        self.refuse(
            "response-denial-goes-along",
            "a denial is for a key id that was asked for",
            refused,
            |draft, rng| {
                draft.pending.takes_more = true;
                draft.body.results.push(denied(Kid::random(rng)));
            },
        );
        let name = "response-leaf-twice";
        self.refuse(name, "two licenses for one key id", refused, |draft, _| {
            chain(draft, world, name);
            draft.pending.takes_more = true;
            let leaf = draft.body.results.first().unwrap().clone();
            draft.body.results.push(leaf);
        });
    }

    fn results(&mut self) {
        let world = self.world;
        let refused = ("V-014", "");
        self.refuse(
            "response-not-asked-for",
            "a result for a key id that was not asked for",
            refused,
            |draft, rng| {
                draft.body.results.push(denied(Kid::random(rng)));
            },
        );
        self.refuse(
            "response-result-twice",
            "two results for one key id",
            refused,
            |draft, _| {
                draft.body.results.push(denied(draft.pending.kids[0]));
            },
        );
        self.refuse(
            "response-license-and-denial",
            "a result is one or the other",
            refused,
            |draft, _| {
                draft.body.results.first_mut().unwrap().denial = denied(draft.pending.kids[0]).denial;
            },
        );
        self.refuse(
            "response-neither-license-nor-denial",
            "a result is one or the other",
            refused,
            |draft, _| {
                draft.body.results.first_mut().unwrap().license = None;
            },
        );
        self.refuse(
            "response-license-of-another-kid",
            "the license inside is for another key id",
            ("V-025", ""),
            |draft, rng| {
                let license = licenses::license_for(
                    world,
                    Kid::random(rng),
                    &world.device,
                    "response-license-of-another-kid",
                );
                *draft.body.results.first_mut().unwrap() = licensed(draft.pending.kids[0], license);
            },
        );
        self.refuse(
            "response-license-of-another-device",
            "the license inside is bound to another device",
            ("V-022", ""),
            |draft, _| {
                let kid = draft.pending.kids[0];
                let license = licenses::license_for(
                    world,
                    kid,
                    &world.other_device,
                    "response-license-of-another-device",
                );
                *draft.body.results.first_mut().unwrap() = licensed(kid, license);
            },
        );
    }
}
