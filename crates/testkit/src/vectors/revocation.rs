//! Revocation lists, alone as they travel and in a file.

mod devices;

use std::collections::BTreeMap;

use keyward_crypto::x509::{
    Certificate, Role,
    issue::{ListProfile, Reason, Revoked},
};
use keyward_license::{
    codec::{Bytes, Wire, grease},
    revocation::{DeviceRevocationList, RevocationList, RevocationListsFile},
    signed::SignedBody,
};

use devices::body;

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, array, bytes, uint, with_entry, with_value},
    draws, inputs, vector,
};
use crate::pki::{DAY, Identity, Leaf, NOW, Operator};

const NEITHER: &str = "a revocation list is of certificates, with the path of their authority, or of devices";

pub(super) fn add(world: &World, all: &mut Vec<Vector>) {
    let mut cases = Cases {
        world,
        signers: Signers::new(1),
        all,
    };
    cases.device_lists();
    cases.device_list_signers();
    cases.certificate_lists();
    cases.forms();
    cases.newer_and_earlier();
    cases.files();
}

/// Body of a device revocation list, as the worked example in `spec/protocol.md`.
pub(super) fn example(world: &World) -> Vec<u8> {
    body(world).encode()
}

/// Who signs device revocation lists; drawn apart, so that it changes nothing that others draw.
struct Signers {
    lists: Identity,
    retired: Identity,
    server: Identity,
}

impl Signers {
    fn new(seed: u8) -> Self {
        let mut operator = Operator::new([seed; 32]);
        *operator.rng() = draws(&format!("revocation lists {seed}"));
        let roles = [Role::RevocationList];
        let retired = Leaf {
            not_after: NOW.minus(DAY),
            ..Leaf::new("Retired signer of revocation lists", &roles)
        };
        Self {
            lists: operator.server(Role::RevocationList),
            retired: operator.issue(&retired),
            server: operator.server(Role::LicenseServer),
        }
    }
}

struct Cases<'a> {
    world: &'a World,
    signers: Signers,
    all: &'a mut Vec<Vector>,
}

impl Cases<'_> {
    fn certificate_lists(&mut self) {
        let server = self.world.license_server.leaf();
        let of_root = self.of_root(3, &[]);
        let of_servers = self.of_servers(5, &[(&server, NOW.0)]);
        let name = (
            "revocation-list-valid-root",
            "the root's own list comes without a path",
        );
        self.accept(name, &of_root.encode(), (&hex::encode(self.id(&of_root)), "3"));
        let name = (
            "revocation-list-valid-servers",
            "the list of an authority, with its certificate",
        );
        self.accept(
            name,
            &of_servers.encode(),
            (&hex::encode(self.id(&of_servers)), "5"),
        );
        let RevocationList::Certificates { list, path } = of_servers.clone() else {
            return;
        };
        let refused = |fault: &str| format!("certificate chain refused: {fault}");
        let devices = Bytes(self.world.device.identity.chain.last().unwrap().clone());
        let foreign = Bytes(self.world.other_license_server.chain.last().unwrap().clone());
        let leaf = Bytes(self.world.license_server.chain.first().unwrap().clone());
        let not_its = refused("a revocation list is not signed by the authority that it names");
        let cases = [
            (
                "revocation-list-without-its-path",
                "an authority's list without the authority",
                vec![],
                &not_its,
            ),
            (
                "revocation-list-of-another-authority",
                "the path is another authority's",
                vec![devices],
                &not_its,
            ),
            (
                "revocation-list-path-of-another-root",
                "the path leads to another operator's root",
                vec![foreign],
                &refused("it does not lead to the operator's root"),
            ),
            (
                "revocation-list-path-of-a-leaf",
                "a server's certificate is no authority",
                vec![leaf, path.first().unwrap().clone()],
                &refused("path validation failed"),
            ),
        ];
        for (name, proves, path, error) in cases {
            let list = RevocationList::Certificates {
                list: list.clone(),
                path,
            };
            self.refuse((name, proves), &list.encode(), ("V-064", error), &[]);
        }
        let revoking = self.of_root(
            4,
            &[(
                &Certificate::parse(&path.first().unwrap().0).unwrap(),
                NOW.0 - DAY,
            )],
        );
        let name = (
            "revocation-list-authority-revoked",
            "a revoked authority makes no lists any more",
        );
        self.refuse(
            name,
            &of_servers.encode(),
            ("V-064", &refused("a certificate has been revoked")),
            &[revoking],
        );
        let future = self.list(None, 3, NOW.0 + 301, &[]);
        let name = (
            "revocation-list-from-the-future",
            "issued more than five minutes after now",
        );
        let error = "the revocation list was issued later than now";
        self.refuse(name, &future.encode(), ("V-064", error), &[]);
        let mut altered = list;
        *altered.0.last_mut().unwrap() ^= 1;
        let altered = RevocationList::Certificates { list: altered, path };
        let name = ("revocation-list-altered", "a flipped bit of the signature");
        self.refuse(name, &altered.encode(), ("V-064", &not_its), &[]);
    }

    fn forms(&mut self) {
        let of_root = self.of_root(3, &[]).encode();
        let der = bytes(self.world.operator.root());
        let forms = [
            ("revocation-list-empty", "neither form", vec![0xa0], NEITHER),
            (
                "revocation-list-of-both-forms",
                "a list is of certificates or of devices",
                with_entry(&of_root, 3, &bytes(&[0])),
                NEITHER,
            ),
            (
                "revocation-list-path-too-long",
                "five certificates between list and root",
                with_value(&of_root, 2, &array(&vec![der; 5])),
                NEITHER,
            ),
            (
                "revocation-list-unknown-critical",
                "an unknown critical key around the list",
                with_entry(&of_root, 4, &uint(0)),
                "revocation list holds critical key 4, which this version does not know",
            ),
        ];
        for (name, proves, message, error) in forms {
            self.refuse((name, proves), &message, ("V-001", error), &[]);
        }
    }

    fn newer_and_earlier(&mut self) {
        let body = |number: u64, ago: u64| DeviceRevocationList {
            number,
            issued: NOW.minus(ago),
            ..body(self.world)
        };
        let list = |body: &DeviceRevocationList| self.sign(&body.encode(), &self.signers.lists, |_| ());
        let given = list(&body(7, DAY));
        let held = [
            (
                "revocation-list-valid-newer",
                "takes the place of an earlier one",
                body(6, DAY),
                "yes",
            ),
            (
                "revocation-list-valid-same",
                "is held already",
                body(7, DAY),
                "no",
            ),
            (
                "revocation-list-valid-earlier",
                "never takes the place of a newer one",
                body(8, 0),
                "no",
            ),
            (
                "revocation-list-valid-issued-earlier",
                "a higher number alone does not suffice",
                body(6, 60),
                "no",
            ),
        ]
        .map(|(name, proves, held, newer)| {
            let held = RevocationList::decode(&list(&held)).unwrap();
            (name, proves, held, newer)
        });
        for (name, proves, held, newer) in held {
            let learns = [
                ("list", String::new()),
                ("number", "7".to_owned()),
                ("newer", newer.to_owned()),
            ];
            self.push((name, proves), &given, &[held], &Expect::Valid(&learns));
        }
        let [held, given] = [4, 5].map(|number| self.of_servers(number, &[]));
        for (name, proves, held, given, newer) in [
            (
                "revocation-list-valid-servers-newer",
                "of one authority the higher number counts",
                &held,
                &given,
                "yes",
            ),
            (
                "revocation-list-valid-servers-earlier",
                "and never the lower",
                &given,
                &held,
                "no",
            ),
        ] {
            let learns = [
                ("list", hex::encode(self.id(given))),
                ("number", if newer == "yes" { "5" } else { "4" }.to_owned()),
                ("newer", newer.to_owned()),
            ];
            self.push(
                (name, proves),
                &given.encode(),
                core::slice::from_ref(held),
                &Expect::Valid(&learns),
            );
        }
    }

    fn files(&mut self) {
        let devices = self.sign(&body(self.world).encode(), &self.signers.lists, |_| ());
        let file = RevocationListsFile {
            version: 1,
            operator: self.world.operator.id(),
            lists: vec![
                self.of_root(3, &[]),
                self.of_servers(5, &[]),
                RevocationList::decode(&devices).unwrap(),
            ],
        };
        let bytes = file.encode();
        let learns = [
            ("operator", self.world.operator.id().to_string()),
            ("lists", "3".to_owned()),
        ];
        let valid = Expect::Valid(&learns);
        let mut push = |name, proves, message: &[u8], expect: &Expect<'_>| {
            let inputs = inputs([]);
            self.all.push(vector(
                MessageType::RevocationLists,
                (name, proves),
                inputs,
                message,
                expect,
            ));
        };
        push("revocation-lists-valid", "lists to be carried", &bytes, &valid);
        let greased = grease(&bytes, &mut draws("revocation-lists-valid-greased")).unwrap();
        push(
            "revocation-lists-valid-greased",
            "an unknown optional key is skipped",
            &greased,
            &valid,
        );
        let version = with_value(&bytes, 1, &uint(2));
        let count = "a file of revocation lists holds 1 to 64";
        let many = RevocationListsFile {
            lists: vec![RevocationList::Devices(Bytes(vec![0])); 65],
            ..file
        };
        for (name, proves, message, error) in [
            (
                "revocation-lists-version-2",
                "another version of the file",
                version,
                "revocation lists of another version",
            ),
            (
                "revocation-lists-empty",
                "a file without lists",
                with_value(&bytes, 3, &[0x80]),
                count,
            ),
            ("revocation-lists-too-many", "65 lists", many.encode(), count),
            (
                "revocation-lists-unknown-critical",
                "an unknown critical key",
                with_entry(&bytes, 4, &uint(0)),
                "revocation lists holds critical key 4, which this version does not know",
            ),
            (
                "revocation-lists-of-nothing",
                "a list of neither form",
                with_value(&bytes, 3, &[0x81, 0xa0]),
                NEITHER,
            ),
        ] {
            push(name, proves, &message, &Expect::Invalid("V-001", error));
        }
    }

    /// A device revocation list as it travels, encoded.
    fn sign(&self, body: &[u8], signer: &Identity, edit: fn(&mut Cose<'_>)) -> Vec<u8> {
        let (typ, context) = (DeviceRevocationList::MEDIA_TYPE, DeviceRevocationList::CONTEXT);
        let mut cose = Cose::new(typ, context, &[body.to_vec()], &signer.chain, &signer.key);
        edit(&mut cose);
        RevocationList::Devices(Bytes(cose.finish())).encode()
    }

    fn of_root(&self, number: u64, revoked: &[(&Certificate, u64)]) -> RevocationList {
        self.list(None, number, NOW.0 - DAY, revoked)
    }

    fn of_servers(&self, number: u64, revoked: &[(&Certificate, u64)]) -> RevocationList {
        self.list(Some(Role::LicenseServer), number, NOW.0 - DAY, revoked)
    }

    fn list(
        &self,
        of: Option<Role>,
        number: u64,
        issued: u64,
        revoked: &[(&Certificate, u64)],
    ) -> RevocationList {
        let revoked: Vec<_> = revoked
            .iter()
            .map(|(certificate, at)| Revoked {
                serial: certificate.serial(),
                at: *at,
                invalid_since: None,
                reason: Some(Reason::KeyCompromise),
            })
            .collect();
        let profile = ListProfile {
            number,
            this_update: issued,
            next_update: issued + 7 * DAY,
            revoked: &revoked,
        };
        let authority = self.world.license_server.chain.last().unwrap();
        RevocationList::Certificates {
            list: Bytes(self.world.operator.revocation_list(of, &profile)),
            path: of.map(|_| Bytes(authority.clone())).into_iter().collect(),
        }
    }

    /// Key identifier of the authority that a list is of: RFC 7093, method 1, as its certificate has it.
    fn id(&self, list: &RevocationList) -> Vec<u8> {
        let RevocationList::Certificates { path, .. } = list else {
            return Vec::new();
        };
        let authority = path.first().map_or(self.world.operator.root(), |der| &der.0);
        let certificate = Certificate::parse(authority).unwrap();
        keyward_crypto::kdf::sha256(&[certificate.public_key().as_point()])[..20].to_vec()
    }

    fn accept(&mut self, name: (&str, &str), message: &[u8], (list, number): (&str, &str)) {
        let learns = [
            ("list", list.to_owned()),
            ("number", number.to_owned()),
            ("newer", "yes".to_owned()),
        ];
        self.push(name, message, &[], &Expect::Valid(&learns));
    }

    fn refuse(
        &mut self,
        name: (&str, &str),
        message: &[u8],
        (rule, error): (&str, &str),
        held: &[RevocationList],
    ) {
        self.push(name, message, held, &Expect::Invalid(rule, error));
    }

    fn push(&mut self, name: (&str, &str), message: &[u8], held: &[RevocationList], expect: &Expect<'_>) {
        let mut inputs: BTreeMap<_, _> = inputs([("root", self.world.operator.root())]);
        if !held.is_empty() {
            inputs.insert("lists-held".into(), hex::encode(held.to_vec().encode()));
        }
        self.all
            .push(vector(MessageType::RevocationList, name, inputs, message, expect));
    }
}
