//! Seeds of the client's flows.

use keyward_license::{
    codec::{Bytes, Wire},
    discovery::Discovery,
    error_code::{ErrorCode, Problem},
    ids::{DeviceId, Kid},
    license::{Binding, Flag, LicenseBody, LicenseKind, PreparedLicense},
    response::{KeyResult, LicenseResponse},
};

use super::{
    Seed, Seeds,
    licenses::{denied, more_terms, other_terms, parts, signed_license},
    part,
};
use crate::{
    fuzzing::{
        clients::{answer, disk, edit, enrolment, epoch_content, head_content},
        world::{KID, LEAF_KID, WORLD},
    },
    pki::{DAY, NOW},
};

impl Seeds {
    pub(super) fn installations(&mut self) {
        let world = &*WORLD;
        let target = "client_install";
        let of_kind = |kind: u8, rest: &[u8]| [&[kind], rest].concat();
        let right = world.prepared(world.license_body().encode());
        let license = signed_license(&right);
        let response = world.response(license.clone());
        self.valid(target, "raw", of_kind(answer::RAW, &world.right_response()));
        let opened = world.sign::<LicenseResponse>(&response.encode(), &[]);
        self.valid(target, "opened", of_kind(answer::OPENED, &opened));
        self.valid(target, "body", of_kind(answer::BODY, &response.encode()));
        self.valid(target, "denial", of_kind(answer::BODY, &denied().encode()));
        self.valid(target, "license", of_kind(answer::LICENSE, &parts(&right)));
        self.valid(target, "terms", of_kind(answer::TERMS, &right.body));
        for (name, terms) in more_terms() {
            self.accepted(
                target,
                &format!("terms-{name}"),
                of_kind(answer::TERMS, &terms.encode()),
            );
        }
        for (name, terms) in other_terms() {
            let altered = PreparedLicense {
                body: terms.encode(),
                sealed: right.sealed.clone(),
            };
            self.invalid(
                target,
                &format!("altered-{name}"),
                of_kind(answer::LICENSE, &parts(&altered)),
            );
            self.accepted_if(
                terms_are_installed(&terms),
                target,
                &format!("terms-{name}"),
                of_kind(answer::TERMS, &terms.encode()),
            );
        }
        let result = KeyResult {
            kid: KID,
            license: Some(Bytes(license)),
            denial: None,
        };
        self.chains();
        let twice = LicenseResponse {
            results: vec![result.clone(), result.clone()],
            ..denied()
        };
        self.invalid(target, "two-results", of_kind(answer::BODY, &twice.encode()));
        let unasked = KeyResult {
            kid: Kid::new([1; 16]),
            ..result
        };
        let unasked = LicenseResponse {
            results: vec![unasked],
            ..denied()
        };
        self.invalid(target, "not-asked-for", of_kind(answer::BODY, &unasked.encode()));
        let other_nonce = LicenseResponse {
            nonce: world.enrolment.nonce,
            ..response.clone()
        };
        self.invalid(
            target,
            "other-nonce",
            of_kind(answer::BODY, &other_nonce.encode()),
        );
        let other_request = LicenseResponse {
            request: world.enrolment.digest,
            ..response
        };
        self.invalid(
            target,
            "other-request",
            of_kind(answer::BODY, &other_request.encode()),
        );
    }

    fn chains(&mut self) {
        let target = "client_install";
        let leaf = || LicenseBody {
            keys: WORLD.license_body().keys,
            ..WORLD.leaf_body()
        };
        let of = |root: &LicenseBody, leaf: &LicenseBody| {
            [&[answer::CHAIN], &part(&root.encode())[..], &leaf.encode()].concat()
        };
        let root = WORLD.root_body();
        self.valid(target, "chain", of(&root, &leaf()));
        type Edit = fn(&mut LicenseBody);
        let of_leaf: [(&str, Edit); 4] = [
            ("leaf-ends", |leaf| leaf.end = Some(NOW.plus(DAY))),
            ("leaf-of-other-kid", |leaf| {
                leaf.keys.first_mut().unwrap().kid = LEAF_KID
            }),
            ("leaf-is-its-root", |leaf| leaf.binding = Binding::root(KID)),
            ("leaf-to-device", |leaf| {
                leaf.binding = Binding::device(&WORLD.device.id())
            }),
        ];
        for (name, edit) in of_leaf {
            let mut leaf = leaf();
            edit(&mut leaf);
            self.invalid(target, &format!("chain-{name}"), of(&root, &leaf));
        }
        let of_root: [(&str, Edit); 4] = [
            ("root-of-other-kid", |root| {
                root.keys.first_mut().unwrap().kid = LEAF_KID
            }),
            ("root-is-simple", |root| root.kind = LicenseKind::Simple),
            ("root-of-other-device", |root| {
                root.binding = Binding::device(&DeviceId::new([9; 32]));
            }),
            ("root-embedded", |root| root.embed = Some(Flag)),
        ];
        for (name, edit) in of_root {
            let mut root = root.clone();
            edit(&mut root);
            self.invalid(target, &format!("chain-{name}"), of(&root, &leaf()));
        }
        let ended = LicenseBody {
            end: Some(NOW),
            ..root.clone()
        };
        // They are stored, and permit nothing.
        self.accepted(target, "chain-root-ended", of(&ended, &leaf()));
        let above = LicenseBody {
            minimum_security_level: Some(3000),
            ..leaf()
        };
        self.accepted(target, "chain-leaf-above-root", of(&root, &above));
    }

    fn accepted_if(&mut self, is_accepted: bool, target: &'static str, name: &str, bytes: Vec<u8>) {
        if is_accepted {
            self.accepted(target, name, bytes);
        } else {
            self.invalid(target, name, bytes);
        }
    }

    pub(super) fn enrolments(&mut self) {
        let world = &*WORLD;
        let target = "client_enrol";
        let (discovery, response) = (world.discovery(), world.enrolled(&world.enrolment));
        let status_200 = |body: &[u8]| [&[0, 200], body].concat();
        let of_kind = |kind: u8, rest: &[u8]| [&[kind], rest].concat();
        let signed = world.sign::<Discovery>(&discovery.encode(), &[]);
        self.valid(
            target,
            "discovery",
            of_kind(enrolment::DISCOVERY, &status_200(&signed)),
        );
        self.valid(
            target,
            "discovery-body",
            of_kind(enrolment::DISCOVERY_BODY, &discovery.encode()),
        );
        self.valid(
            target,
            "response-body",
            of_kind(enrolment::RESPONSE_BODY, &response.encode()),
        );
        let problem = Problem::new(ErrorCode::TokenRefused, "the token is not known".into()).encode();
        let refused = [&[1, 147], &problem[..]].concat();
        self.invalid(target, "problem", of_kind(enrolment::RESPONSE, &refused));
        let faults = [
            (
                "expired",
                Discovery {
                    expires: NOW,
                    ..discovery.clone()
                },
            ),
            (
                "not-yet",
                Discovery {
                    issued: NOW.plus(DAY),
                    expires: NOW.plus(2 * DAY),
                    ..discovery.clone()
                },
            ),
            (
                "other-operator",
                Discovery {
                    operator: world.enrolment.digest,
                    ..discovery.clone()
                },
            ),
            (
                "other-host",
                Discovery {
                    enrolment_path: "//evil.example/".into(),
                    ..discovery.clone()
                },
            ),
            (
                "user-info",
                Discovery {
                    enrolment_path: "@evil.example/".into(),
                    ..discovery.clone()
                },
            ),
            (
                "query",
                Discovery {
                    enrolment_path: "/enrol?to=evil".into(),
                    ..discovery
                },
            ),
        ];
        for (name, body) in faults {
            let name = format!("discovery-{name}");
            self.invalid(target, &name, of_kind(enrolment::DISCOVERY_BODY, &body.encode()));
        }
        let mut swapped = response;
        swapped.shares.reverse();
        let swapped = of_kind(enrolment::RESPONSE_BODY, &swapped.encode());
        self.invalid(target, "shares-swapped", swapped);
    }

    pub(super) fn disks(&mut self) {
        let target = "client_store";
        self.accepted(target, "held", [disk::HELD]);
        self.accepted(target, "removed", [disk::REMOVED]);
        let head = [&[disk::HEAD], &head_content(&WORLD.store)[..]].concat();
        self.invalid(target, "head-set-back", &head[..]);
        self.invalid(target, "head-half", head.get(..head.len() / 2).unwrap());
        let epoch = [&[disk::EPOCH], &epoch_content(&WORLD.store)[..]].concat();
        self.accepted(target, "epoch-one-behind", &epoch[..]);
        self.invalid(target, "epoch-half", epoch.get(..epoch.len() / 2).unwrap());
        // Records are numbered by their keys: the head is the first.
        for record in 0..12 {
            for kind in [disk::HELD, disk::REMOVED] {
                for (act, name) in [(edit::DELETE, "deleted"), (edit::SET_BACK, "set-back")] {
                    let name = format!("script-{kind}-{record}-{name}");
                    self.0.push(Seed {
                        target,
                        name,
                        bytes: vec![kind, act, record],
                    });
                }
            }
        }
        self.invalid(target, "head-deleted", [disk::HELD, edit::DELETE, 0]);
        self.invalid(
            target,
            "head-overwritten",
            [disk::HELD, edit::WRITE, 0, 0, 2, 1, 1],
        );
        self.invalid(target, "head-copied-over", [disk::HELD, edit::COPY, 0, 1]);
    }
}

/// Whether a client installs a license whose key is rightly sealed under these terms.
fn terms_are_installed(terms: &LicenseBody) -> bool {
    let names = ["longer", "endless", "ended", "lower-level", "in-memory"];
    other_terms()
        .iter()
        .any(|(name, other)| other == terms && names.contains(name))
}
