//! The committed corpora: for every target inputs that are right, and inputs that are almost right.

mod clients;
mod contents;
mod exchange;
mod licenses;
mod media;
mod packaging;
mod test_mode;
mod trust;

use keyward_client::device::SoftwareKeys;
use keyward_crypto::x509::{Role, issue::ListProfile};
use keyward_license::{
    certificate::Claims,
    codec::{Bytes, Wire, grease},
    discovery::Discovery,
    envelope::SealedRequest,
    error_code::{ErrorCode, Problem},
    operator_profile::OperatorProfile,
    time::Timestamp,
};
use p256::pkcs8::der::{Decode, Reader, SliceReader, asn1::AnyRef};

use super::world::{WORLD, draws};
use crate::pki::{DAY, NOW, Operator};

/// One file of the corpora.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The target.
    pub target: &'static str,
    /// File name; begins with `valid-` or `invalid-`, which says what the target answers, or `script-`
    /// where only its assertions count.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// All seeds, the same on every call.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Seeds(Vec::new());
    seeds.encodings();
    seeds.signatures();
    seeds.revocation_lists();
    seeds.envelopes();
    seeds.licenses();
    seeds.leaves();
    seeds.embedded_stores();
    seeds.exchanges();
    seeds.packagings();
    seeds.trust();
    seeds.exchange_results();
    seeds.content_headers();
    seeds.files();
    seeds.media();
    seeds.installations();
    seeds.enrolments();
    seeds.disks();
    seeds.test_requests();
    seeds.0
}

struct Seeds(Vec<Seed>);

impl Seeds {
    /// An input that the target accepts; cut off or with a byte too many it does not.
    fn valid(&mut self, target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        self.invalid(target, &format!("{name}-cut-off"), half);
        self.invalid(
            target,
            &format!("{name}-trailing-byte"),
            [&bytes[..], &[0]].concat(),
        );
        self.accepted(target, name, bytes);
    }

    fn accepted(&mut self, target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push(Seed {
            target,
            name: format!("valid-{name}"),
            bytes: bytes.into(),
        });
    }

    fn invalid(&mut self, target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push(Seed {
            target,
            name: format!("invalid-{name}"),
            bytes: bytes.into(),
        });
    }

    fn encodings(&mut self) {
        let world = &*WORLD;
        let greased = grease(&world.license_body().encode(), &mut draws(20)).unwrap();
        self.valid("codec", "license-greased", greased);
        self.valid("codec", "license-request", &world.request.body[..]);
        self.valid("codec", "enrolment-request", &world.enrolment.body[..]);
        self.valid("codec", "discovery", world.discovery().encode());
        self.valid(
            "codec",
            "numbers",
            hex("8800 17 1818 190100 1a00010000 1b0000000100000000 18ff 19ffff"),
        );
        let faults = [
            ("not-shortest", "a1011817"),
            ("unsorted", "a202000100"),
            ("duplicate", "a201000100"),
            ("indefinite-array", "9f00ff"),
            ("indefinite-bytes", "5f4100ff"),
            ("huge-array", "9bffffffffffffffff"),
            ("huge-bytes", "5bffffffffffffffff"),
            ("deep", "8181818181818181818181818100"),
            ("deep-tags", "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c100"),
            ("float", "f93c00"),
            ("undefined", "f7"),
            ("text-not-utf8", "61ff"),
            ("array-as-key", "a18000"),
            ("unknown-critical", "a10600"),
        ];
        for (name, bytes) in faults {
            self.invalid("codec", name, hex(bytes));
        }
        let claims = Claims::of(&world.device.identity.leaf()).unwrap();
        self.valid("claims", "device", claims.encode());
        self.accepted("claims", "empty", hex("a0"));
        self.invalid("claims", "level-as-text", hex("a10161aa"));
        self.valid("kid", "plain", &b"a2c786d0f9ef4cb3b333cd323a4284a5"[..]);
        self.accepted("kid", "hyphens", &b"A2C786D0-F9EF-4CB3-B333-CD323A4284A5"[..]);
        self.invalid("kid", "letter", &b"a2c786d0f9ef4cb3b333cd323a4284ag"[..]);
        self.invalid("kid", "wide-digits", "１２c786d0f9ef4cb3b333cd323a4284a5");
        self.valid(
            "problem",
            "busy",
            Problem::new(ErrorCode::Busy, "the server is stopping".into()).encode(),
        );
        self.invalid("problem", "empty", hex("a0"));
        self.valid("operator_profile", "profile", world.profile.encode());
        let rootless = OperatorProfile {
            root: Bytes(vec![0x30, 0]),
            ..world.profile.clone()
        };
        self.invalid("operator_profile", "no-root", rootless.encode());
        let keys = SoftwareKeys::generate(&mut draws(21));
        self.valid("device_keys", "keys", keys.to_secret_bytes().expose());
        self.invalid(
            "device_keys",
            "zero-scalar",
            zeroed(keys.to_secret_bytes().expose(), 6..38),
        );
    }

    fn signatures(&mut self) {
        let world = &*WORLD;
        let signed = world.sign::<Discovery>(&world.discovery().encode(), &[]);
        self.valid("cose_sign1", "discovery", &signed[..]);
        self.invalid("cose_sign1", "untagged", signed.get(1..).unwrap());
        self.invalid("cose_sign1", "other-type", &world.request.signed[..]);
        self.invalid(
            "cose_sign1",
            "altered-payload",
            flipped(&signed, signed.len() - 80),
        );
        self.invalid(
            "cose_sign1",
            "altered-signature",
            flipped(&signed, signed.len() - 1),
        );
        let chain = &world.device.identity.chain;
        let valid = certificates(Role::Device, NOW, chain);
        self.invalid(
            "certificate",
            "server-role",
            certificates(Role::LicenseServer, NOW, chain),
        );
        self.invalid(
            "certificate",
            "expired",
            certificates(Role::Device, NOW.plus(4000 * DAY), chain),
        );
        self.invalid(
            "certificate",
            "end-of-time",
            certificates(Role::Device, Timestamp(u64::MAX), chain),
        );
        self.invalid(
            "certificate",
            "no-authority",
            certificates(Role::Device, NOW, chain.get(..1).unwrap()),
        );
        let root = world.profile.root.0.clone();
        self.invalid(
            "certificate",
            "root-alone",
            certificates(Role::Device, NOW, &[root]),
        );
        self.invalid("certificate", "altered-leaf", flipped(&valid, 200));
        self.accepted("certificate", "device", valid);
        let server = &world.license_server.chain;
        self.accepted(
            "certificate",
            "license-server",
            certificates(Role::LicenseServer, NOW, server),
        );
    }

    fn revocation_lists(&mut self) {
        const TARGET: &str = "revocation_list";
        let [root, good, revoking] = WORLD.revocation_lists();
        let as_it_is = |der: &[u8]| [&[0], der].concat();
        self.valid(TARGET, "root", as_it_is(&root));
        self.valid(TARGET, "nobody-revoked", as_it_is(&good));
        self.valid(TARGET, "license-server-revoked", as_it_is(&revoking));
        self.invalid(
            TARGET,
            "altered",
            as_it_is(&flipped(&revoking, revoking.len() - 1)),
        );
        let operator = Operator::new([0xf1; 32]);
        let list = ListProfile {
            number: 9,
            this_update: NOW.0,
            next_update: NOW.plus(DAY).0,
            revoked: &[],
        };
        let foreign = operator.revocation_list(Some(Role::LicenseServer), &list);
        self.invalid(TARGET, "other-operator", as_it_is(&foreign));
        self.invalid(TARGET, "certificate", as_it_is(&WORLD.profile.root.0));
        let signed = [&[1], signed_part(&revoking)].concat();
        // Extensions under another name (RFC 5280 §5.2), of the same length.
        for (name, extension, other) in [
            ("without-number", 20, 99),
            ("without-authority-key", 35, 99),
            ("delta", 20, 27),
            ("issuing-distribution-point", 20, 28),
            ("two-numbers", 35, 20),
        ] {
            let renamed = replaced(&signed, &[0x55, 0x1d, extension], &[0x55, 0x1d, other]);
            self.invalid(TARGET, name, renamed);
        }
        self.invalid(
            TARGET,
            "sha-384",
            replaced(&signed, &[0x3d, 4, 3, 2], &[0x3d, 4, 3, 3]),
        );
        self.accepted(TARGET, "signed-by-the-target", signed);
    }

    fn envelopes(&mut self) {
        let world = &*WORLD;
        self.valid("sealed_request", "license", &world.request.sealed[..]);
        self.valid("sealed_request", "enrolment", &world.enrolment.sealed[..]);
        let sealed = SealedRequest::decode(&world.request.sealed).unwrap();
        let other_suite = SealedRequest {
            suite: 1,
            ..sealed.clone()
        };
        self.invalid("sealed_request", "other-suite", other_suite.encode());
        let no_suite = SealedRequest {
            suite: 9,
            encapsulated: Bytes(Vec::new()),
            ..sealed
        };
        self.invalid("sealed_request", "unknown-suite", no_suite.encode());
        let response = world.right_response();
        self.invalid("sealed_response", "altered", flipped(&response, 40));
        self.invalid(
            "sealed_response",
            "too-short-to-open",
            hex("a20101024b0000000000000000000000"),
        );
        self.valid("sealed_response", "license", response);
    }
}

fn certificates(role: Role, at: Timestamp, chain: &[Vec<u8>]) -> Vec<u8> {
    let chain: Vec<u8> = chain.iter().flat_map(|der| part(der)).collect();
    [&[role.number() - 1], &at.0.to_be_bytes()[..], &chain].concat()
}

/// The first element of a DER sequence.
fn signed_part(list: &[u8]) -> &[u8] {
    let elements = AnyRef::from_der(list).unwrap().value();
    SliceReader::new(elements).unwrap().tlv_bytes().unwrap()
}

/// The bytes with the one place where `from` stands saying `to`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut places = (0..bytes.len()).filter(|at| bytes.get(*at..).unwrap().starts_with(from));
    let (place, None) = (places.next().unwrap(), places.next()) else {
        unreachable!("more than one place")
    };
    let mut bytes = bytes.to_vec();
    bytes
        .get_mut(place..place + to.len())
        .unwrap()
        .copy_from_slice(to);
    bytes
}

fn part(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_be_bytes(), bytes].concat()
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.get_mut(at).unwrap() ^= 1;
    bytes
}

fn zeroed(bytes: &[u8], range: core::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.get_mut(range).unwrap().fill(0);
    bytes
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}
