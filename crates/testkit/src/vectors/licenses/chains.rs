//! Root and leaf licenses, licenses to be embedded, and the ways in which a leaf must not open.

use keyward_crypto::{RootKey, hpke::Suite};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::{Kid, Nonce},
    license::{Binding, Flag, KeyDescription, KeyType, LicenseBody, LicenseKind},
};
use rand_chacha::ChaCha20Rng;

use super::{Cases, Draft, bytes, draws, key, terms, uint, with_value};
use crate::{
    pki::{DAY, NOW},
    vectors::World,
};

pub(super) const SEALED: &str = "the license is sealed as its kind may not be sealed";
const TIME: &str = "a leaf license holds a term of time, which is its root's to hold";
const OWN_KID: &str = "a leaf license has the key id of its root";
const EMBED: &str = "a license is to be embedded that is not one to store, or opens no content";
const LENGTH: &str = "a key of the license is not as long as its type says";

/// Alters a license before it is sealed.
type Edit = fn(&mut LicenseBody);

/// A root license of the device and a leaf under it.
pub(in crate::vectors) struct ChainFor {
    pub(in crate::vectors) root_kid: Kid,
    pub(in crate::vectors) root: Vec<u8>,
    pub(in crate::vectors) leaf: Vec<u8>,
}

impl ChainFor {
    /// A leaf for `kid`, and its root.
    pub(in crate::vectors) fn new(world: &World, kid: Kid, name: &str) -> Self {
        let root = Root::new(world, name, |_| ());
        let leaf = leaf_for(world, key(kid), (root.kid, &root.key), name, |_| ());
        Self {
            root_kid: root.kid,
            root: root.license,
            leaf,
        }
    }
}

/// A leaf license for a key under a root.
pub(in crate::vectors) fn leaf_for(
    world: &World,
    description: KeyDescription,
    (root_kid, root_key): (Kid, &RootKey),
    name: &str,
    edit: Edit,
) -> Vec<u8> {
    let mut rng = draws(&format!("{name} leaf of {}", description.kid));
    let mut draft = Draft::new(world, &mut rng);
    under(&mut draft, root_kid, root_key);
    draft.body.keys = vec![description];
    edit(&mut draft.body);
    draft.finish(&mut rng).message
}

/// A root license of the device.
struct Root {
    kid: Kid,
    key: RootKey,
    license: Vec<u8>,
}

impl Root {
    fn new(world: &World, name: &str, edit: Edit) -> Self {
        let mut rng = draws(&format!("{name} root"));
        let mut draft = Draft::new(world, &mut rng);
        let key = root(&mut draft, &mut rng);
        edit(&mut draft.body);
        Self {
            kid: draft.body.keys.first().unwrap().kid,
            key,
            license: draft.finish(&mut rng).message,
        }
    }
}

/// Makes a draft a root license; its key.
fn root(draft: &mut Draft<'_>, rng: &mut ChaCha20Rng) -> RootKey {
    let kid = draft.body.keys.first().unwrap().kid;
    let key = RootKey::random(rng);
    draft.body.kind = LicenseKind::Root;
    draft.body.keys = vec![KeyDescription::content(kid, KeyType::Root)];
    draft.keys.keys = vec![Bytes(key.expose().to_vec())];
    key
}

/// Makes a draft a leaf license under a root.
fn under(draft: &mut Draft<'_>, root_kid: Kid, root_key: &RootKey) {
    draft.body.kind = LicenseKind::Leaf;
    draft.body.binding = Binding::root(root_kid);
    draft.body.end = None;
    draft.under = Some(root_key.duplicate());
}

/// Makes a draft a leaf license whose root the receiver holds.
fn leaf(draft: &mut Draft<'_>, world: &World, name: &str, edit_root: Edit) {
    let root = Root::new(world, name, edit_root);
    under(draft, root.kid, &root.key);
    draft.root_license = Some(root.license);
}

impl Cases<'_> {
    pub(super) fn chains(&mut self) {
        self.valid_roots();
        self.valid_leaves();
        self.embedded();
        self.leaf_forms();
        self.leaf_sealing();
        self.leaves_elsewhere();
    }

    fn valid_roots(&mut self) {
        for (name, proves, suite) in [
            (
                "license-valid-root-suite-1",
                "a root license opens to a root key, suite 1",
                Suite::P256,
            ),
            (
                "license-valid-root-suite-2",
                "a root license opens to a root key, suite 2",
                Suite::XWing,
            ),
        ] {
            self.accept(name, proves, |draft, rng| {
                root(draft, rng);
                draft.suite = suite;
            });
        }
        self.accept(
            "license-valid-root-all-times",
            "the terms of time stand in the root",
            |draft, rng| {
                root(draft, rng);
                draft.body.begin = Some(NOW.minus(DAY));
                draft.body.expiration_after_first_play = Some(2 * DAY);
                draft.body.real_time_expiration = Some(Flag);
                draft.body.removal_date = Some(NOW.plus(4 * DAY));
                draft.body.grace_period = Some(DAY);
            },
        );
    }

    fn valid_leaves(&mut self) {
        let world = self.world;
        let name = "license-valid-leaf";
        self.accept(name, "a leaf opens under its root's key", |draft, _| {
            leaf(draft, world, name, |_| ());
            draft.arrives = false;
        });
        let name = "license-valid-leaf-demands";
        self.accept(name, "a leaf holds any term but those of time", |draft, _| {
            leaf(draft, world, name, |root| {
                root.minimum_security_level = Some(2000)
            });
            draft.body.minimum_security_level = Some(2000);
            draft.body.output_protection_levels = Some(terms::every_level());
            draft.body.explicit_restrictions = Some(terms::every_restriction());
            draft.body.source_id = Some(267);
            draft.body.name = Some("Episode 1".into());
        });
        let name = "license-valid-leaf-in-memory";
        self.accept(
            name,
            "a leaf in a response may be in memory only",
            |draft, rng| {
                leaf(draft, world, name, |_| ());
                draft.body.persistent = false;
                draft.body.nonce = Some(Nonce::random(rng));
                draft.request_nonce = draft.body.nonce;
            },
        );
    }

    fn embedded(&mut self) {
        let world = self.world;
        let name = "license-valid-leaf-embedded";
        self.accept(name, "a leaf that is written into its content", |draft, _| {
            leaf(draft, world, name, |_| ());
            draft.body.embed = Some(Flag);
        });
        self.accept(
            "license-valid-embedded",
            "a simple license that is written into its content",
            |draft, _| draft.body.embed = Some(Flag),
        );
        self.form(
            "license-embedded-in-memory",
            "what is not stored is not embedded",
            EMBED,
            |draft, rng| {
                draft.body.embed = Some(Flag);
                draft.body.persistent = false;
                draft.body.nonce = Some(Nonce::random(rng));
                draft.request_nonce = draft.body.nonce;
            },
        );
        self.form(
            "license-embedded-root",
            "a root is not embedded",
            EMBED,
            |draft, rng| {
                root(draft, rng);
                draft.body.embed = Some(Flag);
            },
        );
    }

    fn leaf_forms(&mut self) {
        let world = self.world;
        let edits: [(&str, &str, &str, Edit); 7] = [
            ("license-leaf-begin", "a leaf has no begin", TIME, |body| {
                body.begin = Some(NOW.minus(DAY));
            }),
            ("license-leaf-end", "a leaf has no end", TIME, |body| {
                body.end = Some(NOW.plus(DAY));
            }),
            (
                "license-leaf-first-play",
                "a leaf has no expiration after first play",
                TIME,
                |body| {
                    body.expiration_after_first_play = Some(DAY);
                },
            ),
            (
                "license-leaf-real-time",
                "a leaf has no real-time expiration",
                TIME,
                |body| {
                    (body.end, body.real_time_expiration) = (Some(NOW.plus(DAY)), Some(Flag));
                },
            ),
            (
                "license-leaf-removal-date",
                "a leaf has no removal date",
                TIME,
                |body| {
                    (body.end, body.removal_date) = (Some(NOW.plus(DAY)), Some(NOW.plus(DAY)));
                },
            ),
            (
                "license-leaf-grace-period",
                "a leaf has no grace period",
                TIME,
                |body| {
                    (body.end, body.grace_period) = (Some(NOW.plus(DAY)), Some(DAY));
                },
            ),
            (
                "license-leaf-own-kid",
                "a leaf is not its own root",
                OWN_KID,
                |body| {
                    body.binding = Binding::root(body.keys.first().unwrap().kid);
                },
            ),
        ];
        for (name, proves, fault, edit) in edits {
            self.form(name, proves, fault, |draft, _| {
                leaf(draft, world, name, |_| ());
                edit(&mut draft.body);
            });
        }
        let unfit = "the message is malformed: the license is bound to what its kind may not be bound to";
        let name = "license-leaf-bound-to-device";
        self.refuse(name, "a leaf is bound to a root", ("V-021", unfit), |draft, _| {
            leaf(draft, world, name, |_| ());
            draft.body.binding = Binding::device(&world.device.id());
        });
    }

    fn leaf_sealing(&mut self) {
        let world = self.world;
        let name = "license-leaf-sealed-to-device";
        self.form(name, "a leaf is not sealed to a device", SEALED, |draft, _| {
            leaf(draft, world, name, |_| ());
            draft.under = None;
        });
        self.form(
            "license-root-suite-16",
            "a root is sealed to its device",
            SEALED,
            |draft, rng| {
                root(draft, rng);
                draft.edit_sealed = |sealed| with_value(&with_value(&sealed, 1, &uint(16)), 2, &bytes(b""));
            },
        );
        let name = "license-leaf-encapsulated";
        self.form(name, "in suite 16 nothing is encapsulated", SEALED, |draft, _| {
            leaf(draft, world, name, |_| ());
            draft.edit_sealed = |sealed| with_value(&sealed, 2, &bytes(&[4; 65]));
        });
        let closed = ("V-023", "");
        let name = "license-leaf-term-altered-and-signed-again";
        self.refuse(
            name,
            "a leaf opens only under the hash of its body",
            closed,
            |draft, _| {
                leaf(draft, world, name, |_| ());
                draft.sealed_under = Some(draft.body.encode());
                draft.body.name = Some("another".into());
            },
        );
        let name = "license-leaf-key-altered";
        self.refuse(name, "a flipped bit of the ciphertext", closed, |draft, _| {
            leaf(draft, world, name, |_| ());
            draft.edit_sealed = |mut sealed| {
                *sealed.last_mut().unwrap() ^= 1;
                sealed
            };
        });
        let name = "license-leaf-key-too-long";
        self.refuse(
            name,
            "a content key has 16 bytes",
            ("V-023", LENGTH),
            |draft, _| {
                leaf(draft, world, name, |_| ());
                draft.keys.keys = vec![Bytes(vec![7; 32])];
            },
        );
        self.refuse(
            "license-root-key-too-short",
            "a root key has 32 bytes",
            ("V-023", LENGTH),
            |draft, rng| {
                root(draft, rng);
                draft.keys.keys = vec![Bytes(vec![7; 16])];
            },
        );
    }

    fn leaves_elsewhere(&mut self) {
        let world = self.world;
        let name = "license-leaf-under-another-key";
        self.refuse(
            name,
            "another key of the same key id opens nothing",
            ("V-023", ""),
            |draft, rng| {
                leaf(draft, world, name, |_| ());
                draft.under = Some(RootKey::random(rng));
            },
        );
        let name = "license-leaf-of-another-root";
        let (own, other) = (Root::new(world, name, |_| ()).kid, Kid::new([0x0e; 16]));
        let fault = format!("the leaf license is bound to root {other}, not to {own}");
        self.refuse(name, "a leaf of another root", ("V-037", &fault), |draft, _| {
            leaf(draft, world, name, |_| ());
            draft.body.binding = Binding::root(Kid::new([0x0e; 16]));
        });
        let fault = "the leaf license demands security level 3000, the root license only 2000";
        let name = "license-leaf-above-its-root";
        self.refuse(
            name,
            "a root protects its key as well as its leaves",
            ("V-037", fault),
            |draft, _| {
                leaf(draft, world, name, |root| {
                    root.minimum_security_level = Some(2000)
                });
                draft.body.minimum_security_level = Some(3000);
            },
        );
        let name = "license-leaf-signer-root";
        let foreign = ("V-004", super::UNKNOWN_ISSUER);
        self.refuse(
            name,
            "another operator's leaf opens under no root of this one",
            foreign,
            |draft, _| {
                leaf(draft, world, name, |_| ());
                draft.signed_by(&world.other_license_server);
            },
        );
    }

    /// A license that is refused by V-036.
    fn form(
        &mut self,
        name: &str,
        proves: &str,
        fault: &str,
        edit: impl FnOnce(&mut Draft<'_>, &mut ChaCha20Rng),
    ) {
        let error = format!("the message is malformed: {fault}");
        self.refuse(name, proves, ("V-036", &error), edit);
    }
}
