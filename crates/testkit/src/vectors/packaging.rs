//! Packaging data, both directions.

use keyward_content::header::{Algorithm, ContentHeader, KeyReference};
use keyward_crypto::{ContentKey, RootKey, Secret, hpke::Suite, kdf::sha256};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::{SealedRequest, SealedResponse},
    ids::{Digest, Kid, Nonce},
    license::{Flag, KeyDescription, KeyType, LicenseBody},
    packaging::{
        PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse, Periods, PreparedPackaging,
        WantedTrack,
    },
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, bytes, uint, with_entry, with_value, without_entry},
    draws, inputs, licenses, requests, sealing_inputs, vector,
};
use crate::pki::{Identity, NOW, Recipient};

const WRONG_ROLE: &str =
    "the signer is not trusted: certificate chain refused: it is not valid for this role";
const FOREIGN: &str =
    "the signer is not trusted: certificate chain refused: it does not lead to the operator's root";
const LICENSE_URL: &str = "https://license.example";

pub(super) fn add(world: &World, all: &mut Vec<Vector>) {
    requests(world, all);
    responses(world, all);
}

/// A request's body, as the worked example in `spec/protocol.md` shows it.
pub(super) fn example_request(world: &World) -> Vec<u8> {
    Request::new(world, &mut draws("packaging-request-valid"))
        .body
        .encode()
}

/// A response's body, as the worked example in `spec/protocol.md` shows it.
pub(super) fn example_response(world: &World) -> Vec<u8> {
    Answer::new(world, &mut draws("packaging-response-valid"))
        .body
        .encode()
}

fn wanted() -> Vec<WantedTrack> {
    ["video", "audio"]
        .map(|label| WantedTrack {
            label: label.into(),
            key_type: KeyType::CencCtr,
        })
        .to_vec()
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

/// As an input or as what is learnt: the index of the first, and the number.
fn text(periods: Periods) -> String {
    format!("{}:{}", periods.first, periods.count)
}

/// Step and words of a refusal; none for a valid message.
type Refusal<'a> = Option<(&'a str, &'a str)>;

/// Alters a request before it is signed.
type EditRequest = fn(&mut Request<'_>, &mut ChaCha20Rng);

fn requests(world: &World, all: &mut Vec<Vector>) {
    valid_requests(world, all);
    refused_recipients_and_signers(world, all);
    refused_bodies(world, all);
}

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

/// A response before its keys are sealed and it is signed.
struct Answer<'w> {
    digest: Digest,
    nonce: Nonce,
    response_key: Secret<32>,
    body: PackagingResponse,
    keys: Vec<ContentKey>,
    suite: Suite,
    receiver: &'w Recipient,
    signer: &'w Identity,
    context: &'static str,
    greased: bool,
    edit_prepared: fn(&mut PreparedPackaging),
    periods: Option<Periods>,
    leaves: Vec<Vec<u8>>,
}

impl<'w> Answer<'w> {
    fn new(world: &'w World, rng: &mut ChaCha20Rng) -> Self {
        let (digest, nonce, response_key) = (Digest::random(rng), Nonce::random(rng), Secret::random(rng));
        let tracks: Vec<_> = wanted()
            .into_iter()
            .map(|track| PackagedTrack {
                label: track.label,
                kid: Kid::random(rng),
                key_type: track.key_type,
                period: None,
            })
            .collect();
        let keys = tracks.iter().map(|_| ContentKey::random(rng)).collect();
        Self {
            digest,
            nonce,
            response_key,
            body: PackagingResponse {
                version: 1,
                request: digest,
                nonce,
                content_header: Some(header(&tracks)),
                tracks,
                license_url: LICENSE_URL.into(),
                server_time: NOW,
                roots: None,
            },
            keys,
            suite: Suite::XWing,
            receiver: &world.packager,
            signer: &world.license_server,
            context: PackagingResponse::CONTEXT,
            greased: false,
            edit_prepared: |_| (),
            periods: None,
            leaves: Vec::new(),
        }
    }

    /// Of two crypto periods, from 7 on, with fresh keys for the second.
    fn of_two_periods(&mut self) {
        self.periods = Some(Periods { first: 7, count: 2 });
        self.body.content_header = None;
        for track in &mut self.body.tracks {
            track.period = Some(7);
        }
        let next = self.body.tracks.clone().into_iter().map(|track| PackagedTrack {
            kid: flipped(track.kid),
            period: Some(8),
            ..track
        });
        self.body.tracks.extend(next.collect::<Vec<_>>());
        let flip = |key: &ContentKey| ContentKey::new(key.expose().map(|byte| !byte));
        self.keys.extend(self.keys.iter().map(flip).collect::<Vec<_>>());
    }

    /// A leaf license for each track under one root.
    fn with_leaves(&mut self, world: &World, name: &str, edit: fn(&mut LicenseBody)) {
        self.body.roots = Some(vec![ROOT]);
        let described = |track: &PackagedTrack| KeyDescription::content(track.kid, track.key_type);
        self.leaves = self
            .body
            .tracks
            .iter()
            .map(described)
            .map(|key| leaf(world, key, ROOT, name, edit))
            .collect();
    }

    fn finish(&self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut body = self.body.encode();
        if self.greased {
            body = grease(&body, rng).unwrap();
        }
        let keys = PackagingKeys {
            keys: self.keys.iter().map(ContentKey::duplicate).collect(),
        };
        let receiver = (self.suite, self.receiver.sealing_key(self.suite).public_key());
        let mut prepared = PreparedPackaging::new(body, &keys, receiver, rng).unwrap();
        (self.edit_prepared)(&mut prepared);
        let leaves: Vec<Bytes> = self.leaves.iter().cloned().map(Bytes).collect();
        let items = [prepared.body, prepared.sealed, leaves.encode()];
        let Identity { chain, key } = self.signer;
        let (typ, context) = (PackagingResponse::MEDIA_TYPE, PackagingResponse::CONTEXT);
        let signed = Cose::new(typ, context, &items, chain, key).finish();
        SealedResponse::seal(self.context, &self.response_key, &self.digest, &signed, rng)
            .unwrap()
            .encode()
    }
}

/// The root of leaf licenses.
const ROOT: Kid = Kid::new([0x0a; 16]);

/// A leaf license under a root with this key id.
fn leaf(world: &World, key: KeyDescription, root: Kid, name: &str, edit: fn(&mut LicenseBody)) -> Vec<u8> {
    let root_key = RootKey::new(Secret::new([0x0b; 32]));
    licenses::leaf_for(world, key, (root, &root_key), name, edit)
}

/// Another key id.
fn flipped(kid: Kid) -> Kid {
    Kid::new(kid.as_bytes().map(|byte| !byte))
}

fn header(tracks: &[PackagedTrack]) -> Bytes {
    let references = tracks.iter().map(|track| KeyReference {
        algorithm: Some(Algorithm::AesCtr),
        ..KeyReference::new(track.kid)
    });
    let header = ContentHeader {
        license_url: Some(LICENSE_URL.into()),
        ..ContentHeader::new(references.collect())
    };
    Bytes(header.to_object_bytes().unwrap())
}

/// Alters a response before its keys are sealed and it is signed.
type EditAnswer = for<'w> fn(&mut Answer<'w>, &'w World);

fn responses(world: &World, all: &mut Vec<Vector>) {
    for (name, proves, edit) in valid_answers() {
        response(world, all, (name, proves), None, edit);
    }
    for (name, proves, refusal, edit) in refused_answers().into_iter().chain(refused_leaves()) {
        response(world, all, (name, proves), Some(refusal), edit);
    }
}

fn valid_answers() -> [(&'static str, &'static str, EditAnswer); 6] {
    [
        (
            "packaging-response-valid",
            "the keys open under the hash of the body",
            |_, _| (),
        ),
        (
            "packaging-response-valid-suite-1",
            "the keys are sealed with suite 1",
            |answer, _| answer.suite = Suite::P256,
        ),
        (
            "packaging-response-valid-greased",
            "an unknown optional key is skipped, and is part of what the keys are bound to",
            |answer, _| answer.greased = true,
        ),
        (
            "packaging-response-valid-periods",
            "the keys of two crypto periods, period by period",
            |answer, _| answer.of_two_periods(),
        ),
        (
            "packaging-response-valid-leaves",
            "a leaf license for each track",
            |answer, world| answer.with_leaves(world, "packaging-response-valid-leaves", |_| ()),
        ),
        (
            "packaging-response-valid-periods-and-roots",
            "the keys of two crypto periods, and two roots whose leaves the license server keeps",
            |answer, _| {
                answer.of_two_periods();
                answer.body.roots = Some(vec![flipped(ROOT), ROOT]);
            },
        ),
    ]
}

type RefusedAnswer = (
    &'static str,
    &'static str,
    (&'static str, &'static str),
    EditAnswer,
);

fn refused_answers() -> [RefusedAnswer; 18] {
    const TRACKS: &str = "the tracks are not those that were asked for";
    [
        (
            "packaging-response-keys-of-another",
            "the keys are sealed to another packager",
            ("V-076", ""),
            |answer, world| answer.receiver = &world.other_packager,
        ),
        (
            "packaging-response-body-altered-and-signed-again",
            "the keys do not open under another body",
            ("V-076", ""),
            |answer, _| {
                answer.edit_prepared = |prepared| {
                    prepared.body = with_entry(&prepared.body, 200, &uint(0));
                }
            },
        ),
        (
            "packaging-response-key-missing",
            "one key for two tracks",
            ("V-076", "there is not one key for each track"),
            |answer, _| drop(answer.keys.pop()),
        ),
        (
            "packaging-response-key-twice",
            "two tracks under one key",
            ("V-076", "one key serves two tracks"),
            |answer, _| {
                let first = answer.keys.first().unwrap().duplicate();
                *answer.keys.last_mut().unwrap() = first;
            },
        ),
        (
            "packaging-response-tracks-swapped",
            "the tracks stand in the request's order",
            ("V-075", TRACKS),
            |answer, _| answer.body.tracks.reverse(),
        ),
        (
            "packaging-response-other-key-type",
            "a track whose key serves something else",
            ("V-075", TRACKS),
            |answer, _| answer.body.tracks.last_mut().unwrap().key_type = KeyType::CencCbc,
        ),
        (
            "packaging-response-kid-twice",
            "two tracks under one key id",
            ("V-075", "two tracks or roots have one key id"),
            |answer, _| {
                let kid = answer.body.tracks.first().unwrap().kid;
                answer.body.tracks.last_mut().unwrap().kid = kid;
            },
        ),
        (
            "packaging-response-period-missing",
            "the tracks of one of two crypto periods",
            ("V-075", TRACKS),
            |answer, _| {
                answer.of_two_periods();
                answer.body.tracks.truncate(2);
                answer.keys.truncate(2);
            },
        ),
        (
            "packaging-response-other-period",
            "the tracks of a crypto period that was not asked for",
            ("V-075", TRACKS),
            |answer, _| {
                answer.of_two_periods();
                answer.body.tracks.last_mut().unwrap().period = Some(9);
            },
        ),
        (
            "packaging-response-period-not-asked-for",
            "a crypto period where none was asked for",
            ("V-075", TRACKS),
            |answer, _| answer.body.tracks.last_mut().unwrap().period = Some(0),
        ),
        (
            "packaging-response-root-is-a-track",
            "a root with the key id of a track",
            ("V-075", "two tracks or roots have one key id"),
            |answer, _| answer.body.roots = Some(vec![answer.body.tracks.first().unwrap().kid]),
        ),
        (
            "packaging-response-no-roots",
            "a list of roots that is empty",
            ("V-075", "a response that names roots names 1 to 64"),
            |answer, _| answer.body.roots = Some(Vec::new()),
        ),
        (
            "packaging-response-signer-role",
            "a time server gives no packaging data",
            ("V-074", WRONG_ROLE),
            |answer, world| answer.signer = &world.time_server,
        ),
        (
            "packaging-response-to-another-request",
            "the signed body names another request",
            ("V-012", ""),
            |answer, _| answer.body.request = Digest::new([5; 32]),
        ),
        (
            "packaging-response-with-another-nonce",
            "the signed body repeats another nonce",
            ("V-012", ""),
            |answer, _| answer.body.nonce = Nonce::new([5; 16]),
        ),
        (
            "packaging-response-other-context",
            "a license response's envelope is none of a packaging response",
            ("V-011", "the message does not open"),
            |answer, _| answer.context = "keyward/1 license-response",
        ),
        (
            "packaging-response-unknown-critical",
            "an unknown critical key in the body",
            (
                "V-001",
                "the message is malformed: packaging response holds critical key 9, which this version does not know",
            ),
            |answer, _| {
                answer.edit_prepared = |prepared| {
                    prepared.body = with_entry(&prepared.body, 9, &bytes(&[1]));
                }
            },
        ),
        (
            "packaging-response-sealed-part-unknown-critical",
            "an unknown critical key beside the sealed keys",
            (
                "V-001",
                "sealed key holds critical key 4, which this version does not know",
            ),
            |answer, _| {
                answer.edit_prepared = |prepared| {
                    prepared.sealed = with_entry(&prepared.sealed, 4, &uint(0));
                }
            },
        ),
    ]
}

/// V-078
fn refused_leaves() -> [RefusedAnswer; 6] {
    const NO_LEAF: &str =
        "the message is malformed: a license that comes along is not a leaf under a root of the response";
    const NO_TRACK: &str = "the message is malformed: a leaf license is for no track of the response";
    [
        (
            "packaging-response-leaf-of-another-root",
            "a leaf under a root that the response does not name",
            ("V-078", NO_LEAF),
            |answer, world| {
                answer.with_leaves(world, "packaging-response-leaf-of-another-root", |_| ());
                answer.body.roots = Some(vec![flipped(ROOT)]);
            },
        ),
        (
            "packaging-response-leaf-of-another-key",
            "a leaf for a key that no track has",
            ("V-078", NO_TRACK),
            |answer, world| {
                answer.with_leaves(world, "packaging-response-leaf-of-another-key", |leaf| {
                    leaf.keys.first_mut().unwrap().kid = Kid::new([0x0c; 16]);
                });
            },
        ),
        (
            "packaging-response-leaf-of-another-key-type",
            "a leaf whose key serves something else than the track's",
            ("V-078", NO_TRACK),
            |answer, world| {
                answer.with_leaves(world, "packaging-response-leaf-of-another-key-type", |leaf| {
                    leaf.keys.first_mut().unwrap().key_type = KeyType::File;
                });
            },
        ),
        (
            "packaging-response-leaf-in-memory",
            "a leaf that is of use to one request alone does not ride in content",
            (
                "V-078",
                "the message is malformed: a leaf license for content is in memory only",
            ),
            |answer, world| {
                answer.with_leaves(world, "packaging-response-leaf-in-memory", |leaf| {
                    (leaf.persistent, leaf.nonce) = (false, Some(Nonce::new([5; 16])));
                });
            },
        ),
        (
            "packaging-response-leaf-twice",
            "two leaves for one key under one root",
            (
                "V-078",
                "the message is malformed: two leaf licenses are for one key under one root",
            ),
            |answer, world| {
                answer.with_leaves(world, "packaging-response-leaf-twice", |_| ());
                let first = answer.leaves.first().unwrap().clone();
                answer.leaves.push(first);
            },
        ),
        (
            "packaging-response-leaf-that-is-none",
            "a root among the leaves",
            ("V-078", NO_LEAF),
            |answer, world| {
                answer.body.roots = Some(vec![ROOT]);
                let kid = answer.body.tracks.first().unwrap().kid;
                let chain = licenses::ChainFor::new(world, kid, "packaging-response-leaf-that-is-none");
                answer.leaves = vec![chain.root];
            },
        ),
    ]
}

fn response(
    world: &World,
    all: &mut Vec<Vector>,
    name: (&str, &str),
    refused: Refusal<'_>,
    edit: EditAnswer,
) {
    let mut rng = draws(name.0);
    let mut answer = Answer::new(world, &mut rng);
    edit(&mut answer, world);
    let message = answer.finish(&mut rng);
    let tracks: Vec<_> = answer
        .body
        .tracks
        .iter()
        .zip(&answer.keys)
        .map(|(track, key)| format!("{}:{}:{}", track.label, track.kid, hex::encode(key.expose())))
        .collect();
    let roots: Vec<_> = answer.body.roots.iter().flatten().map(Kid::to_string).collect();
    let leaves: Vec<_> = answer
        .leaves
        .iter()
        .map(|leaf| hex::encode(sha256(&[leaf])))
        .collect();
    let header = answer.body.content_header.as_ref().map(|header| &header.0[..]);
    let learns = [
        ("tracks", tracks.join(" ")),
        ("license-url", answer.body.license_url.clone()),
        ("content-header", hex::encode(header.unwrap_or_default())),
        ("roots", roots.join(" ")),
        ("leaves", leaves.join(" ")),
    ];
    let expect = refused.map_or(Expect::Valid(&learns), |(rule, error)| {
        Expect::Invalid(rule, error)
    });
    let mut inputs = inputs([
        ("root", world.operator.root()),
        ("request-digest", answer.digest.as_bytes()),
        ("request-nonce", answer.nonce.as_bytes()),
        ("response-key", answer.response_key.expose()),
    ]);
    inputs.insert("request-tracks".into(), "video:1 audio:1".into());
    if let Some(periods) = answer.periods {
        inputs.insert("request-periods".into(), text(periods));
    }
    inputs.extend(sealing_inputs("packager", &world.packager.sealing));
    all.push(vector(
        MessageType::PackagingResponse,
        name,
        inputs,
        &message,
        &expect,
    ));
}
