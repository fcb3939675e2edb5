//! License requests, sealed to the license server.

use keyward_crypto::{Secret, hpke::Suite};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedRequest,
    ids::{EpochId, Kid, Nonce},
    license::{ExplicitRestriction, Flag, Guid, LicenseBody},
    request::{Capabilities, ClientClock, ClientInfo, ClockKind, ClockState, LicenseRequest, StoreState},
    revocation::{ListHeld, ListId},
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, bytes, uint, with_entry, with_value, without_entry},
    draws, inputs, sealing_inputs, vector,
};
use crate::pki::{Identity, NOW, Recipient};

/// Alters an encoded body.
type EditBody = fn(&[u8]) -> Vec<u8>;

const NOT_OPENED: &str = "the message does not open";
const WRONG_ROLE: &str =
    "the signer is not trusted: certificate chain refused: it is not valid for this role";

pub(super) fn add(world: &mut World, all: &mut Vec<Vector>) {
    let mut cases = Cases { world, all };
    cases.valid();
    cases.recipients();
    cases.signers();
    cases.bodies();
}

/// A request's body, as the worked example in `spec/protocol.md` shows it.
pub(super) fn example(world: &World) -> Vec<u8> {
    body(world, &mut draws("request-valid-suite-1")).encode()
}

pub(super) fn client_info() -> ClientInfo {
    ClientInfo {
        name: "keyward".into(),
        version: "0.1.0".into(),
        platform: "test".into(),
    }
}

fn body(world: &World, rng: &mut ChaCha20Rng) -> LicenseRequest {
    LicenseRequest {
        version: 1,
        recipient: world.request_encryption.identity.digest(),
        nonce: Nonce::random(rng),
        response_key: Secret::random(rng),
        content_headers: None,
        kids: Some(vec![Kid::random(rng)]),
        client: client_info(),
        capabilities: Capabilities::new(
            vec![1, 2, 3],
            vec![10, 11, 12],
            vec![1, 2],
            ClockKind::AntiRollback,
        ),
        persistent: true,
        revocation_lists: None,
        memberships: None,
        clock: ClientClock {
            now: Some(NOW),
            last_trusted: None,
            state: ClockState::Set,
        },
        store: StoreState {
            epoch: EpochId::random(rng),
            generation: 3,
        },
        license_requested: true,
        authorization: None,
        custom_data: None,
    }
}

struct Cases<'a> {
    world: &'a World,
    all: &'a mut Vec<Vector>,
}

/// A request before it is signed and sealed.
struct Draft<'w> {
    body: LicenseRequest,
    raw_body: Option<Vec<u8>>,
    signer: &'w Identity,
    edit_cose: fn(&mut Cose<'_>),
    edit_signed: fn(Vec<u8>) -> Vec<u8>,
    suite: Suite,
    context: &'static str,
    recipient: &'w Recipient,
    edit_sealed: fn(Vec<u8>) -> Vec<u8>,
}

impl<'w> Draft<'w> {
    fn new(world: &'w World, rng: &mut ChaCha20Rng) -> Self {
        Self {
            body: body(world, rng),
            raw_body: None,
            signer: &world.device.identity,
            edit_cose: |_| (),
            edit_signed: |signed| signed,
            suite: Suite::P256,
            context: LicenseRequest::CONTEXT,
            recipient: &world.request_encryption,
            edit_sealed: |sealed| sealed,
        }
    }

    fn finish(&self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let body = self.raw_body.clone().unwrap_or_else(|| self.body.encode());
        let mut cose = Cose::new(
            LicenseRequest::MEDIA_TYPE,
            LicenseRequest::CONTEXT,
            &[body],
            &self.signer.chain,
            &self.signer.key,
        );
        (self.edit_cose)(&mut cose);
        let signed = (self.edit_signed)(cose.finish());
        let key = self.recipient.sealing_key(self.suite).public_key();
        let digest = self.recipient.identity.digest();
        let sealed = SealedRequest::seal(self.context, self.suite, digest, key, &signed, rng).unwrap();
        (self.edit_sealed)(sealed.encode())
    }
}

impl<'a> Cases<'a> {
    fn accept(&mut self, name: &str, proves: &str, edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng)) {
        let (draft, message) = self.draft(name, edit);
        let kids: Vec<_> = draft.body.kids.iter().flatten().map(Kid::to_string).collect();
        let learns = [
            ("device-id", self.world.device.id().to_string()),
            ("nonce", draft.body.nonce.to_string()),
            ("response-key", hex::encode(draft.body.response_key.expose())),
            ("kids", kids.join(" ")),
        ];
        self.push(name, proves, &message, &Expect::Valid(&learns));
    }

    fn refuse(
        &mut self,
        name: &str,
        proves: &str,
        (rule, error): (&str, &str),
        edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng),
    ) {
        let (_, message) = self.draft(name, edit);
        self.push(name, proves, &message, &Expect::Invalid(rule, error));
    }

    fn draft(&self, name: &str, edit: impl FnOnce(&mut Draft<'a>, &mut ChaCha20Rng)) -> (Draft<'a>, Vec<u8>) {
        let mut rng = draws(name);
        let mut draft = Draft::new(self.world, &mut rng);
        edit(&mut draft, &mut rng);
        let message = draft.finish(&mut rng);
        (draft, message)
    }

    fn push(&mut self, name: &str, proves: &str, message: &[u8], expect: &Expect<'_>) {
        let recipient = &self.world.request_encryption;
        let certificate = recipient.identity.leaf();
        let mut inputs = inputs([
            ("root", self.world.operator.root()),
            ("certificate", certificate.der()),
        ]);
        inputs.extend(sealing_inputs("server", &recipient.sealing));
        self.all.push(vector(
            MessageType::LicenseRequest,
            (name, proves),
            inputs,
            message,
            expect,
        ));
    }

    fn valid(&mut self) {
        self.accept(
            "request-valid-suite-1",
            "a request sealed with suite 1 opens",
            |_, _| (),
        );
        self.accept(
            "request-valid-suite-2",
            "a request sealed with suite 2 (X-Wing) opens",
            |draft, _| {
                draft.suite = Suite::XWing;
            },
        );
        self.accept(
            "request-valid-greased",
            "unknown optional keys in body and envelope are skipped",
            |draft, rng| {
                draft.raw_body = Some(grease(&draft.body.encode(), rng).unwrap());
                draft.edit_sealed = |sealed| with_entry(&sealed, 65_537, &uint(0));
            },
        );
        self.accept(
            "request-valid-time-only",
            "without licenses no key id is needed",
            |draft, _| {
                draft.body.license_requested = false;
                draft.body.kids = None;
            },
        );
        self.accept(
            "request-valid-everything",
            "every optional entry is there",
            |draft, rng| {
                draft.body.content_headers = Some(vec![Bytes(b"a content header".to_vec())]);
                let capabilities = &mut draft.body.capabilities;
                capabilities.exchange_algorithms = Some(Vec::new());
                capabilities.terms = LicenseBody::TERMS.to_vec();
                capabilities.explicit_restrictions = Some(ExplicitRestriction::ALL.to_vec());
                capabilities.extended_restrictions = Some(vec![400]);
                capabilities.source_ids = Some(vec![267]);
                capabilities.watermarks = Some(vec![Guid::new([0x77; 16])]);
                capabilities.acknowledges = Some(Flag);
                draft.body.revocation_lists = Some(vec![ListHeld {
                    list: ListId::DEVICES,
                    number: 7.into(),
                }]);
                draft.body.memberships = Some(Vec::new());
                draft.body.clock.last_trusted = Some(NOW.minus(3600));
                draft.body.authorization = Some("e30.e30.".into());
                draft.body.custom_data = Some(Bytes(b"custom".to_vec()));
                draft.body.kids.as_mut().unwrap().push(Kid::random(rng));
            },
        );
    }

    fn recipients(&mut self) {
        let world = self.world;
        let elsewhere = ("V-040", "the request is sealed to another certificate");
        self.refuse(
            "request-to-another-server",
            "the envelope names another server's certificate",
            elsewhere,
            |draft, _| {
                draft.recipient = &world.other_request_encryption;
            },
        );
        self.refuse(
            "request-forwarded-by-another-server",
            "a server that seals a request it received to another server is noticed: the body names the first",
            ("V-040", "the body names another certificate than the envelope"),
            |draft, _| draft.body.recipient = world.other_request_encryption.identity.digest(),
        );
        self.refuse(
            "request-ciphertext-altered",
            "a flipped bit of the ciphertext",
            ("V-040", NOT_OPENED),
            |draft, _| {
                draft.edit_sealed = |mut sealed| {
                    *sealed.last_mut().unwrap() ^= 1;
                    sealed
                };
            },
        );
        self.refuse(
            "request-recipient-altered",
            "the recipient is bound into the sealing",
            elsewhere,
            |draft, _| {
                draft.edit_sealed = |sealed| with_value(&sealed, 3, &bytes(&[0; 32]));
            },
        );
        self.refuse(
            "request-suite-3",
            "a suite that nobody assigned",
            ("V-040", NOT_OPENED),
            |draft, _| {
                draft.edit_sealed = |sealed| with_value(&sealed, 2, &uint(3));
            },
        );
        self.refuse(
            "request-suite-swapped",
            "a suite 1 envelope that claims suite 2",
            ("V-040", NOT_OPENED),
            |draft, _| {
                draft.edit_sealed = |sealed| with_value(&sealed, 2, &uint(2));
            },
        );
        self.refuse(
            "request-other-context",
            "an enrolment envelope is no license request",
            ("V-040", NOT_OPENED),
            |draft, _| {
                draft.context = "keyward/1 enrolment-request";
            },
        );
        self.refuse(
            "request-envelope-version-2",
            "an envelope of another version",
            ("V-005", "protocol version 2 is not supported"),
            |draft, _| {
                draft.edit_sealed = |sealed| with_value(&sealed, 1, &uint(2));
            },
        );
        self.refuse(
            "request-trailing-bytes",
            "bytes follow the envelope",
            ("V-001", "bytes follow the message"),
            |draft, _| {
                draft.edit_sealed = |mut sealed| {
                    sealed.push(0);
                    sealed
                };
            },
        );
        self.refuse(
            "request-envelope-unknown-critical",
            "an unknown critical key in the envelope",
            (
                "V-001",
                "sealed request holds critical key 6, which this version does not know",
            ),
            |draft, _| {
                draft.edit_sealed = |sealed| with_entry(&sealed, 6, &uint(0));
            },
        );
    }

    fn signers(&mut self) {
        let world = self.world;
        self.refuse(
            "request-signer-role",
            "a license server is no device",
            ("V-041", WRONG_ROLE),
            |draft, _| {
                draft.signer = &world.license_server;
            },
        );
        self.refuse(
            "request-device-of-another-operator",
            "a device of another operator is nobody here",
            ("V-041", "the signer is not trusted: certificate chain refused: it does not lead to the operator's root"),
            |draft, _| draft.signer = &world.foreign_device.identity,
        );
        let altered = ("V-003", "the signature does not verify");
        self.refuse(
            "request-signature-altered",
            "a flipped bit of the signature",
            altered,
            |draft, _| {
                draft.edit_signed = |mut signed| {
                    *signed.last_mut().unwrap() ^= 1;
                    signed
                };
            },
        );
        self.refuse(
            "request-other-signature-context",
            "an enrolment signature is none for a license request",
            altered,
            |draft, _| {
                draft.edit_cose = |cose| cose.context = "keyward/1 enrolment-request";
            },
        );
        self.refuse(
            "request-other-type",
            "a message of another media type is sealed inside",
            (
                "V-002",
                "this is not application/vnd.keyward.license-request+cose",
            ),
            |draft, _| {
                draft.edit_cose = |cose| cose.typ = "application/vnd.keyward.license+cose";
            },
        );
        self.refuse(
            "request-without-chain",
            "a license request carries its chain",
            (
                "V-001",
                "the message is malformed: malformed COSE message: no x5chain",
            ),
            |draft, _| {
                draft.edit_cose = |cose| cose.chain = None;
            },
        );
    }

    fn bodies(&mut self) {
        let bad = |error: &str| format!("the message is malformed: {error}");
        self.refuse(
            "request-too-many-kids",
            "257 key ids",
            ("V-001", "more key ids than a request may name"),
            |draft, rng| {
                draft.body.kids = Some((0..257).map(|_| Kid::random(rng)).collect());
            },
        );
        self.refuse(
            "request-for-nothing",
            "licenses are requested and no key id is named",
            ("V-001", "a request for licenses names no key id and no header"),
            |draft, _| draft.body.kids = None,
        );
        self.refuse(
            "request-client-text-too-long",
            "a client name of 256 bytes",
            ("V-001", "a client text is too long"),
            |draft, _| {
                draft.body.client.name = "n".repeat(256);
            },
        );
        let edits: [(&str, &str, &str, EditBody); 4] = [
            (
                "request-unknown-critical",
                "an unknown critical key in the body",
                "license request holds critical key 17, which this version does not know",
                |body| with_entry(body, 17, &uint(0)),
            ),
            (
                "request-without-nonce",
                "a required key is missing",
                "license request lacks required key 3",
                |body| without_entry(body, 3),
            ),
            (
                "request-kid-too-long",
                "a key id of 17 bytes",
                "expected a byte string of the fixed length at byte 93",
                |body| with_value(body, 6, &[&[0x81, 0x51][..], &[1; 17]].concat()),
            ),
            (
                "request-clock-state-4",
                "a clock state that nobody assigned",
                "clock state 4 is not known to this version",
                |body| with_value(body, 12, &[0xa1, 0x03, 0x04]),
            ),
        ];
        for (name, proves, error, edit) in edits {
            self.refuse(name, proves, ("V-001", &bad(error)), |draft, _| {
                draft.raw_body = Some(edit(&draft.body.encode()))
            });
        }
        self.refuse(
            "request-version-2",
            "a body of another version",
            ("V-005", "protocol version 2 is not supported"),
            |draft, _| {
                draft.body.version = 2;
            },
        );
    }
}
