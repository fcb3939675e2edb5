//! Acknowledge requests, sealed to the license server, and their receipts.

use keyward_crypto::{Secret, hpke::Suite, x509::Role};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, LicenseOutcome, Receipt},
    codec::{Wire, grease},
    envelope::{SealedRequest, SealedResponse},
    ids::{Digest, Kid, LicenseId, Nonce, TransactionId},
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, uint, with_entry, without_entry},
    draws, inputs, sealing_inputs, vector,
};
use crate::pki::{DAY, Identity, Leaf, NOW, Operator};

const NOT_OPENED: &str = "the message does not open";
const VERSION_2: (&str, &str) = ("V-005", "protocol version 2 is not supported");

/// How the signed message around a body is altered.
type EditCose = fn(&mut Cose<'_>);

pub(super) fn add(world: &World, all: &mut Vec<Vector>) {
    let mut requests = Requests { world, all };
    requests.valid();
    requests.bodies();
    requests.envelopes();
    let mut receipts = Receipts::new(world, all);
    receipts.valid();
    receipts.signers();
    receipts.bodies();
}

/// Body of an acknowledge request, as the worked example in `spec/protocol.md`.
pub(super) fn example_request(world: &World) -> Vec<u8> {
    request(world, &mut draws("acknowledge-request-valid")).encode()
}

/// Body of a receipt, as the worked example in `spec/protocol.md`.
pub(super) fn example_receipt() -> Vec<u8> {
    receipt(&mut draws("receipt-valid")).0.encode()
}

fn request(world: &World, rng: &mut ChaCha20Rng) -> AcknowledgeRequest {
    let license = |outcome, rng: &mut ChaCha20Rng| AcknowledgedLicense {
        kid: Kid::random(rng),
        license: Some(LicenseId::random(rng)),
        outcome,
        reason: None,
    };
    AcknowledgeRequest {
        version: 1,
        recipient: world.request_encryption.identity.digest(),
        nonce: Nonce::random(rng),
        response_key: Secret::random(rng),
        transaction: TransactionId::random(rng),
        licenses: vec![
            license(LicenseOutcome::Stored, rng),
            license(LicenseOutcome::InMemory, rng),
        ],
    }
}

fn first(body: &mut AcknowledgeRequest) -> &mut AcknowledgedLicense {
    body.licenses.first_mut().unwrap()
}

struct Requests<'a> {
    world: &'a World,
    all: &'a mut Vec<Vector>,
}

/// A request before it is signed and sealed.
struct Draft<'w> {
    body: AcknowledgeRequest,
    raw_body: Option<Vec<u8>>,
    signer: &'w Identity,
    edit_cose: EditCose,
    context: &'static str,
}

impl<'a> Requests<'a> {
    fn valid(&mut self) {
        let name = "acknowledge-request-valid";
        self.accept(name, "one license was stored, one is held in memory", |_, _| ());
        let name = "acknowledge-request-valid-refused";
        let proves = "a response was refused, and one of its licenses could not be read";
        self.accept(name, proves, |draft, _| {
            for license in &mut draft.body.licenses {
                license.outcome = LicenseOutcome::Refused;
                license.reason = Some("V-023: the key does not open".into());
            }
            draft.body.licenses.last_mut().unwrap().license = None;
        });
        let name = "acknowledge-request-valid-greased";
        self.accept(name, "an unknown optional key is skipped", |draft, rng| {
            draft.raw_body = Some(grease(&draft.body.encode(), rng).unwrap());
        });
    }

    fn bodies(&mut self) {
        type Edit = fn(&mut AcknowledgeRequest);
        let bodies: [(&str, &str, &str, Edit); 4] = [
            (
                "acknowledge-request-of-nothing",
                "no license",
                "an acknowledgement names 1 to 1024 licenses",
                |body| body.licenses.clear(),
            ),
            (
                "acknowledge-request-kid-twice",
                "one key id twice",
                "an acknowledgement names a key id twice",
                |body| {
                    let kid = first(body).kid;
                    body.licenses.last_mut().unwrap().kid = kid;
                },
            ),
            (
                "acknowledge-request-held-without-id",
                "a license that is stored has an id",
                "a license that is held has an id",
                |body| first(body).license = None,
            ),
            (
                "acknowledge-request-held-with-reason",
                "a license that is stored was not refused",
                "a license that is held has no reason for a refusal",
                |body| first(body).reason = Some("why".into()),
            ),
        ];
        for (name, proves, error, edit) in bodies {
            self.refuse(name, proves, ("V-001", error), |draft| edit(&mut draft.body));
        }
        let name = "acknowledge-request-version-2";
        self.refuse(name, "a body of another version", VERSION_2, |draft| {
            draft.body.version = 2;
        });
        let name = "acknowledge-request-unknown-critical";
        let error = "the message is malformed: acknowledge request holds critical key 7, which this version does not know";
        self.refuse(
            name,
            "an unknown critical key in the body",
            ("V-001", error),
            |draft| {
                draft.raw_body = Some(with_entry(&draft.body.encode(), 7, &uint(0)));
            },
        );
    }

    fn envelopes(&mut self) {
        let world = self.world;
        let error = "the body names another certificate than the envelope";
        let name = "acknowledge-request-forwarded";
        self.refuse(name, error, ("V-040", error), |draft| {
            draft.body.recipient = Digest::new([7; 32]);
        });
        let error = "the signer is not trusted: certificate chain refused: it is not valid for this role";
        let name = "acknowledge-request-signer-role";
        self.refuse(name, "a license server is no device", ("V-041", error), |draft| {
            draft.signer = &world.license_server;
        });
        let name = "acknowledge-request-other-signature-context";
        let proves = "a license request's signature is none for an acknowledgement";
        let error = ("V-003", "the signature does not verify");
        self.refuse(name, proves, error, |draft| {
            draft.edit_cose = |cose| cose.context = "keyward/1 license-request";
        });
        let name = "acknowledge-request-other-context";
        let proves = "a license request's envelope is none for an acknowledgement";
        self.refuse(name, proves, ("V-040", NOT_OPENED), |draft| {
            draft.context = "keyward/1 license-request";
        });
    }

    fn accept(&mut self, name: &str, proves: &str, edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng)) {
        let (draft, message) = self.draft(name, edit);
        let learns = learns(self.world, &draft.body);
        self.push((name, proves), &message, &Expect::Valid(&learns));
    }

    fn refuse(
        &mut self,
        name: &str,
        proves: &str,
        (rule, error): (&str, &str),
        edit: impl FnOnce(&mut Draft<'a>),
    ) {
        let (_, message) = self.draft(name, |draft, _| edit(draft));
        self.push((name, proves), &message, &Expect::Invalid(rule, error));
    }

    fn draft(&self, name: &str, edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng)) -> (Draft<'a>, Vec<u8>) {
        let mut rng = draws(name);
        let mut draft = Draft {
            body: request(self.world, &mut rng),
            raw_body: None,
            signer: &self.world.device.identity,
            edit_cose: |_| (),
            context: AcknowledgeRequest::CONTEXT,
        };
        edit(&mut draft, &mut rng);
        let body = draft.raw_body.clone().unwrap_or_else(|| draft.body.encode());
        let (typ, context) = (AcknowledgeRequest::MEDIA_TYPE, AcknowledgeRequest::CONTEXT);
        let mut cose = Cose::new(typ, context, &[body], &draft.signer.chain, &draft.signer.key);
        (draft.edit_cose)(&mut cose);
        let recipient = &self.world.request_encryption;
        let key = recipient.sealing_key(Suite::P256).public_key();
        let (context, digest) = (draft.context, recipient.identity.digest());
        let sealed = SealedRequest::seal(context, Suite::P256, digest, key, &cose.finish(), &mut rng);
        (draft, sealed.unwrap().encode())
    }

    fn push(&mut self, name: (&str, &str), message: &[u8], expect: &Expect<'_>) {
        let recipient = &self.world.request_encryption;
        let certificate = recipient.identity.leaf();
        let mut inputs = inputs([
            ("root", self.world.operator.root()),
            ("certificate", certificate.der()),
        ]);
        inputs.extend(sealing_inputs("server", &recipient.sealing));
        self.all.push(vector(
            MessageType::AcknowledgeRequest,
            name,
            inputs,
            message,
            expect,
        ));
    }
}

fn learns(world: &World, body: &AcknowledgeRequest) -> [(&'static str, String); 4] {
    let licenses = body.licenses.iter().map(|one| {
        let license = one.license.map(|id| id.to_string()).unwrap_or_default();
        let reason = one.reason.as_deref().unwrap_or_default();
        format!("{}:{license}:{}:{reason}", one.kid, one.outcome.number())
    });
    [
        ("device-id", world.device.id().to_string()),
        ("nonce", body.nonce.to_string()),
        ("transaction", body.transaction.to_string()),
        ("licenses", licenses.collect::<Vec<_>>().join("; ")),
    ]
}

/// The request that waits for a receipt.
struct Pending {
    digest: Digest,
    response_key: Secret<32>,
    nonce: Nonce,
    transaction: TransactionId,
}

fn receipt(rng: &mut ChaCha20Rng) -> (Receipt, Pending) {
    let pending = Pending {
        digest: Digest::random(rng),
        response_key: Secret::random(rng),
        nonce: Nonce::random(rng),
        transaction: TransactionId::random(rng),
    };
    let receipt = Receipt {
        version: 1,
        request: pending.digest,
        nonce: pending.nonce,
        transaction: pending.transaction,
        server_time: NOW,
    };
    (receipt, pending)
}

/// The signers are drawn apart, so that they change nothing that others draw.
struct Receipts<'a> {
    world: &'a World,
    signer: Identity,
    retired: Identity,
    all: &'a mut Vec<Vector>,
}

/// Who signs a receipt, how the message around it is altered, and whether it is sealed for another request.
type Making<'a> = (&'a Identity, EditCose, bool);

impl<'a> Receipts<'a> {
    fn new(world: &'a World, all: &'a mut Vec<Vector>) -> Self {
        let mut operator = Operator::new([1; 32]);
        *operator.rng() = draws("receipts");
        let roles = [Role::Receipt];
        let retired = Leaf {
            not_after: NOW.minus(DAY),
            ..Leaf::new("Retired signer of receipts", &roles)
        };
        Self {
            world,
            signer: operator.server(Role::Receipt),
            retired: operator.issue(&retired),
            all,
        }
    }

    fn valid(&mut self) {
        let name = ("receipt-valid", "the server knows what became of the licenses");
        self.by_signer(name, None, |receipt| receipt.encode());
        let name = ("receipt-valid-greased", "an unknown optional key is skipped");
        self.by_signer(name, None, |receipt| {
            grease(&receipt.encode(), &mut draws("receipt grease")).unwrap()
        });
    }

    fn signers(&mut self) {
        let refused = |fault: &str| format!("the signer is not trusted: certificate chain refused: {fault}");
        let (role, over) = (
            refused("it is not valid for this role"),
            refused("a certificate has expired"),
        );
        let other_context: EditCose = |cose| cose.context = "keyward/1 license-response";
        let cases: [(&str, &str, Making<'_>, (&str, &str)); 4] = [
            (
                "receipt-signer-role",
                "a license server signs no receipts",
                (&self.world.license_server, |_| (), false),
                ("V-065", &role),
            ),
            (
                "receipt-signer-expired",
                "the signer is no longer valid",
                (&self.retired, |_| (), false),
                ("V-065", &over),
            ),
            (
                "receipt-other-signature-context",
                "a license response's signature is none for a receipt",
                (&self.signer, other_context, false),
                ("V-003", "the signature does not verify"),
            ),
            (
                "receipt-of-another-key",
                "sealed under another request's response key",
                (&self.signer, |_| (), true),
                ("V-011", NOT_OPENED),
            ),
        ];
        for (name, proves, making, refused) in cases {
            let made = self.make((name, proves), making, Some(refused), |receipt| receipt.encode());
            self.all.push(made);
        }
    }

    fn bodies(&mut self) {
        let name = ("receipt-to-another-request", "it names another request");
        self.by_signer(name, Some(("V-012", "")), |receipt| {
            receipt.request = Digest::new([7; 32]);
            receipt.encode()
        });
        let name = (
            "receipt-of-another-transaction",
            "it names another transaction than the request",
        );
        self.by_signer(name, Some(("V-065", "")), |receipt| {
            receipt.transaction = TransactionId::new([7; 16]);
            receipt.encode()
        });
        let name = ("receipt-version-2", "a body of another version");
        self.by_signer(name, Some(VERSION_2), |receipt| {
            receipt.version = 2;
            receipt.encode()
        });
        let error =
            "the message is malformed: receipt holds critical key 6, which this version does not know";
        let name = ("receipt-unknown-critical", "an unknown critical key");
        self.by_signer(name, Some(("V-001", error)), |receipt| {
            with_entry(&receipt.encode(), 6, &uint(0))
        });
        let error = "the message is malformed: receipt lacks required key 5";
        let name = ("receipt-without-time", "a required key is missing");
        self.by_signer(name, Some(("V-001", error)), |receipt| {
            without_entry(&receipt.encode(), 5)
        });
    }

    fn by_signer(
        &mut self,
        name: (&str, &str),
        refused: Option<(&str, &str)>,
        body: fn(&mut Receipt) -> Vec<u8>,
    ) {
        let made = self.make(name, (&self.signer, |_| (), false), refused, body);
        self.all.push(made);
    }

    fn make(
        &self,
        name: (&str, &str),
        (signer, edit, for_another): Making<'_>,
        refused: Option<(&str, &str)>,
        body: fn(&mut Receipt) -> Vec<u8>,
    ) -> Vector {
        let mut rng = draws(name.0);
        let (mut receipt, pending) = receipt(&mut rng);
        let learns = [
            ("transaction", pending.transaction.to_string()),
            ("server-time", NOW.0.to_string()),
        ];
        let (typ, context) = (Receipt::MEDIA_TYPE, Receipt::CONTEXT);
        let mut cose = Cose::new(typ, context, &[body(&mut receipt)], &signer.chain, &signer.key);
        edit(&mut cose);
        let key = match for_another {
            true => Secret::random(&mut rng),
            false => pending.response_key.duplicate(),
        };
        let sealed = SealedResponse::seal(context, &key, &pending.digest, &cose.finish(), &mut rng);
        let inputs = inputs([
            ("root", self.world.operator.root()),
            ("request-digest", pending.digest.as_bytes()),
            ("request-nonce", pending.nonce.as_bytes()),
            ("request-transaction", pending.transaction.as_bytes()),
            ("response-key", pending.response_key.expose()),
        ]);
        let expect = refused.map_or(Expect::Valid(&learns), |(rule, error)| {
            Expect::Invalid(rule, error)
        });
        let message = sealed.unwrap().encode();
        vector(MessageType::Receipt, name, inputs, &message, &expect)
    }
}
