//! Packaging responses.

use keyward_content::header::{Algorithm, ContentHeader, KeyReference};
use keyward_crypto::{ContentKey, RootKey, Secret, hpke::Suite, kdf::sha256};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    ids::{Digest, Kid, Nonce},
    license::{KeyDescription, KeyType, LicenseBody},
    packaging::{PackagedTrack, PackagingKeys, PackagingResponse, Periods, PreparedPackaging},
    signed::SignedBody,
};
use rand_chacha::ChaCha20Rng;

use super::{
    super::{
        Expect, MessageType, Vector, World,
        build::{Cose, bytes, uint, with_entry},
        draws, inputs, licenses, sealing_inputs, vector,
    },
    Refusal, WRONG_ROLE, text, wanted,
};
use crate::pki::{Identity, NOW, Recipient};

const LICENSE_URL: &str = "https://license.example";

pub(super) fn add(world: &World, all: &mut Vec<Vector>) {
    for (name, proves, edit) in valid_answers() {
        response(world, all, (name, proves), None, edit);
    }
    for (name, proves, refusal, edit) in refused_answers().into_iter().chain(refused_leaves()) {
        response(world, all, (name, proves), Some(refusal), edit);
    }
}

/// A response's body, as the worked example in `spec/protocol.md` shows it.
pub(in super::super) fn example(world: &World) -> Vec<u8> {
    Answer::new(world, &mut draws("packaging-response-valid"))
        .body
        .encode()
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
