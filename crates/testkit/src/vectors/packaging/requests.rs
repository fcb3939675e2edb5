//! Packaging requests.

use keyward_crypto::{Secret, hpke::Suite};
use keyward_license::{
    codec::{Wire, grease},
    envelope::SealedRequest,
    ids::Nonce,
    license::{Flag, KeyType},
    packaging::{PackagingRequest, WantedTrack},
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    super::{
        Expect, MessageType, Vector, World,
        build::{Cose, uint, with_entry, with_value, without_entry},
        draws, inputs, requests, sealing_inputs, vector,
    },
    Refusal, WRONG_ROLE, text, wanted,
};
use crate::pki::{Identity, Recipient};

const FOREIGN: &str =
    "the signer is not trusted: certificate chain refused: it does not lead to the operator's root";

pub(super) fn add(world: &World, all: &mut Vec<Vector>) {
    valid_requests(world, all);
    refused_recipients_and_signers(world, all);
    refused_bodies(world, all);
}

/// A request's body, as the worked example in `spec/protocol.md` shows it.
pub(in super::super) fn example(world: &World) -> Vec<u8> {
    Request::new(world, &mut draws("packaging-request-valid"))
        .body
        .encode()
}

/// A request before it is signed and sealed.
struct Request<'w> {
    body: PackagingRequest,
    raw_body: Option<Vec<u8>>,
    signer: &'w Identity,
    edit_cose: fn(&mut Cose<'_>),
    context: &'static str,
    recipient: &'w Recipient,
}

impl<'w> Request<'w> {
    fn new(world: &'w World, rng: &mut ChaCha20Rng) -> Self {
        Self {
            body: PackagingRequest {
                version: 1,
                recipient: world.request_encryption.identity.digest(),
                nonce: Nonce::random(rng),
                response_key: Secret::random(rng),
                content_id: "film-1".into(),
                tracks: wanted(),
                content_header: true,
                crypto_periods: None,
                first_period: None,
                leaves: None,
                client: requests::client_info(),
            },
            raw_body: None,
            signer: &world.packager.identity,
            edit_cose: |_| (),
            context: PackagingRequest::CONTEXT,
            recipient: &world.request_encryption,
        }
    }

    fn finish(&self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let body = self.raw_body.clone().unwrap_or_else(|| self.body.encode());
        let Identity { chain, key } = self.signer;
        let (typ, context) = (PackagingRequest::MEDIA_TYPE, PackagingRequest::CONTEXT);
        let mut cose = Cose::new(typ, context, &[body], chain, key);
        (self.edit_cose)(&mut cose);
        let receiver = self.recipient.sealing_key(Suite::P256).public_key();
        let digest = self.recipient.identity.digest();
        let signed = cose.finish();
        SealedRequest::seal(self.context, Suite::P256, digest, receiver, &signed, rng)
            .unwrap()
            .encode()
    }
}

/// Asks for crypto periods, and for no content header.
const fn periods(body: &mut PackagingRequest, count: u64, first: u64) {
    (body.crypto_periods, body.first_period) = (Some(count), Some(first));
    body.content_header = false;
}
/// Alters a request before it is signed.
type EditRequest = fn(&mut Request<'_>, &mut ChaCha20Rng);
fn valid_requests(world: &World, all: &mut Vec<Vector>) {
    let cases: [(&str, &str, EditRequest); 5] = [
        (
            "packaging-request-valid",
            "a packager names a piece of content and two tracks",
            |_, _| (),
        ),
        (
            "packaging-request-valid-periods",
            "keys of four crypto periods, and leaf licenses",
            |request, _| {
                periods(&mut request.body, 4, 12_345);
                request.body.leaves = Some(Flag);
            },
        ),
        (
            "packaging-request-valid-last-period",
            "the last crypto period that there may be",
            |request, _| periods(&mut request.body, 1, (1 << 48) - 1),
        ),
        (
            "packaging-request-valid-leaves",
            "leaf licenses for keys that do not change",
            |request, _| request.body.leaves = Some(Flag),
        ),
        (
            "packaging-request-valid-greased",
            "an unknown optional key is skipped; key types may differ where no header is wanted",
            |request, rng| {
                request.body.content_header = false;
                request.body.tracks.push(WantedTrack {
                    label: "extra".into(),
                    key_type: KeyType::File,
                });
                request.raw_body = Some(grease(&request.body.encode(), rng).unwrap());
            },
        ),
    ];
    for (name, proves, edit) in cases {
        request(world, all, (name, proves), None, edit);
    }
}

fn refused_recipients_and_signers(world: &World, all: &mut Vec<Vector>) {
    let mut refuse = |name: &str, proves: &str, refusal, edit: for<'w> fn(&mut Request<'w>, &'w World)| {
        let mut rng = draws(name);
        let mut draft = Request::new(world, &mut rng);
        edit(&mut draft, world);
        push_request(world, all, (name, proves), Some(refusal), &draft, &mut rng);
    };
    refuse(
        "packaging-request-signer-role",
        "a device is no packager",
        ("V-070", WRONG_ROLE),
        |draft, world| draft.signer = &world.device.identity,
    );
    refuse(
        "packaging-request-of-another-operator",
        "a packager of another operator is nobody here",
        ("V-070", FOREIGN),
        |draft, world| draft.signer = &world.other_packager.identity,
    );
    refuse(
        "packaging-request-to-another-server",
        "the envelope names another server's certificate",
        ("V-040", "the request is sealed to another certificate"),
        |draft, world| draft.recipient = &world.other_request_encryption,
    );
    refuse(
        "packaging-request-forwarded-by-another-server",
        "the body names the server that it was sealed to first",
        ("V-040", "the body names another certificate than the envelope"),
        |draft, world| draft.body.recipient = world.other_request_encryption.identity.digest(),
    );
    refuse(
        "packaging-request-other-context",
        "a license envelope is no packaging request",
        ("V-040", "the message does not open"),
        |draft, _| draft.context = "keyward/1 license-request",
    );
    refuse(
        "packaging-request-other-signature-context",
        "a license request's signature is none for a packaging request",
        ("V-003", "the signature does not verify"),
        |draft, _| draft.edit_cose = |cose| cose.context = "keyward/1 license-request",
    );
    refuse(
        "packaging-request-other-type",
        "a message of another media type is sealed inside",
        (
            "V-002",
            "this is not application/vnd.keyward.packaging-request+cose",
        ),
        |draft, _| draft.edit_cose = |cose| cose.typ = "application/vnd.keyward.license-request+cose",
    );
}

fn refused_bodies(world: &World, all: &mut Vec<Vector>) {
    let cases: [(&str, &str, (&str, &str), EditRequest); 17] = [
        (
            "packaging-request-without-tracks",
            "nothing is asked for",
            ("V-001", "a packaging request names 1 to 64 tracks"),
            |request, _| request.body.tracks.clear(),
        ),
        (
            "packaging-request-too-many-tracks",
            "65 tracks",
            ("V-001", "a packaging request names 1 to 64 tracks"),
            |request, _| {
                request.body.tracks = (0..65)
                    .map(|at| WantedTrack {
                        label: format!("track {at}"),
                        key_type: KeyType::CencCtr,
                    })
                    .collect();
            },
        ),
        (
            "packaging-request-label-twice",
            "two tracks of one label",
            ("V-001", "two tracks have one label"),
            |request, _| {
                let first = request.body.tracks.first().unwrap().clone();
                request.body.tracks.push(first);
            },
        ),
        (
            "packaging-request-label-too-long",
            "a label of 65 bytes",
            ("V-001", "a label has 1 to 64 bytes"),
            |request, _| request.body.tracks.last_mut().unwrap().label = "l".repeat(65),
        ),
        (
            "packaging-request-label-empty",
            "a label of no bytes",
            ("V-001", "a label has 1 to 64 bytes"),
            |request, _| request.body.tracks.last_mut().unwrap().label.clear(),
        ),
        (
            "packaging-request-root-key",
            "the key of a root license is none of content",
            ("V-001", "a track's key is for media or a file"),
            |request, _| request.body.tracks.last_mut().unwrap().key_type = KeyType::Root,
        ),
        (
            "packaging-request-content-id-empty",
            "a content id of no bytes",
            ("V-001", "a content id has 1 to 255 bytes"),
            |request, _| request.body.content_id.clear(),
        ),
        (
            "packaging-request-content-id-too-long",
            "a content id of 256 bytes",
            ("V-001", "a content id has 1 to 255 bytes"),
            |request, _| request.body.content_id = "c".repeat(256),
        ),
        (
            "packaging-request-header-of-periods",
            "a content header for keys that change",
            ("V-073", "a content header is not made for crypto periods"),
            |request, _| {
                periods(&mut request.body, 1, 0);
                request.body.content_header = true;
            },
        ),
        (
            "packaging-request-periods-from-nowhere",
            "crypto periods without the index of the first",
            (
                "V-001",
                "crypto periods have a number and a first index, or neither",
            ),
            |request, _| request.body.crypto_periods = Some(1),
        ),
        (
            "packaging-request-first-of-no-periods",
            "the index of the first of no crypto periods",
            (
                "V-001",
                "crypto periods have a number and a first index, or neither",
            ),
            |request, _| request.body.first_period = Some(1),
        ),
        (
            "packaging-request-too-many-period-tracks",
            "258 tracks in 129 crypto periods",
            (
                "V-001",
                "crypto periods are 1 to 256, and so are their tracks together",
            ),
            |request, _| periods(&mut request.body, 129, 0),
        ),
        (
            "packaging-request-no-periods",
            "no crypto period at all",
            (
                "V-001",
                "crypto periods are 1 to 256, and so are their tracks together",
            ),
            |request, _| periods(&mut request.body, 0, 0),
        ),
        (
            "packaging-request-period-too-far",
            "a crypto period beyond the last",
            ("V-001", "the index of a crypto period is below 2^48"),
            |request, _| periods(&mut request.body, 2, (1 << 48) - 1),
        ),
        (
            "packaging-request-mixed-header",
            "one content header for two key types",
            ("V-073", "one content header names keys of one key type"),
            |request, _| request.body.tracks.last_mut().unwrap().key_type = KeyType::CencCbc,
        ),
        (
            "packaging-request-unknown-critical",
            "an unknown critical key in the body",
            (
                "V-001",
                "the message is malformed: packaging request holds critical key 12, which this version does not know",
            ),
            |request, _| request.raw_body = Some(with_entry(&request.body.encode(), 12, &uint(0))),
        ),
        (
            "packaging-request-version-2",
            "a body of another version",
            ("V-005", "protocol version 2 is not supported"),
            |request, _| request.raw_body = Some(with_value(&request.body.encode(), 1, &uint(2))),
        ),
    ];
    for (name, proves, refusal, edit) in cases {
        request(world, all, (name, proves), Some(refusal), edit);
    }
    let name = (
        "packaging-request-without-content-id",
        "a required key is missing",
    );
    let missing = "the message is malformed: packaging request lacks required key 5";
    request(world, all, name, Some(("V-001", missing)), |request, _| {
        request.raw_body = Some(without_entry(&request.body.encode(), 5));
    });
}

fn request(
    world: &World,
    all: &mut Vec<Vector>,
    name: (&str, &str),
    refused: Refusal<'_>,
    edit: EditRequest,
) {
    let mut rng = draws(name.0);
    let mut draft = Request::new(world, &mut rng);
    edit(&mut draft, &mut rng);
    push_request(world, all, name, refused, &draft, &mut rng);
}

fn push_request(
    world: &World,
    all: &mut Vec<Vector>,
    name: (&str, &str),
    refused: Refusal<'_>,
    draft: &Request<'_>,
    rng: &mut ChaCha20Rng,
) {
    let message = draft.finish(rng);
    let tracks: Vec<_> = draft
        .body
        .tracks
        .iter()
        .map(|track| format!("{}:{}", track.label, track.key_type.number()))
        .collect();
    let mut learns = vec![
        ("packager-id", world.packager.id().to_string()),
        ("nonce", draft.body.nonce.to_string()),
        ("content-id", draft.body.content_id.clone()),
        ("tracks", tracks.join(" ")),
        ("content-header", draft.body.content_header.to_string()),
        ("leaves", draft.body.leaves.is_some().to_string()),
    ];
    learns.extend(draft.body.periods().map(|periods| ("periods", text(periods))));
    let expect = refused.map_or(Expect::Valid(&learns), |(rule, error)| {
        Expect::Invalid(rule, error)
    });
    let recipient = &world.request_encryption;
    let certificate = recipient.identity.leaf();
    let mut inputs = inputs([
        ("root", world.operator.root()),
        ("certificate", certificate.der()),
    ]);
    inputs.extend(sealing_inputs("server", &recipient.sealing));
    all.push(vector(
        MessageType::PackagingRequest,
        name,
        inputs,
        &message,
        &expect,
    ));
}
