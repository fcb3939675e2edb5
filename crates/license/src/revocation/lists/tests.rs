//! How lists take their places, and what they say of a device.

mod room;

use keyward_crypto::{
    ChainFault,
    ecdsa::SigningKey,
    x509::issue::{self, ListProfile, Profile, Revoked},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    codec::{Bytes, Wire},
    ids::Digest,
    revocation::RevokedDevices,
    signed::{self, SignedBody},
};

const DAY: u64 = 86_400;

/// The middle of every certificate's validity, which begins at day 1 and ends after day 100.
const NOW: Timestamp = Timestamp(50 * DAY);

struct Authority {
    key: SigningKey,
    certificate: Certificate,
}

impl Authority {
    fn certify(&self, subject: &str, role: Role, claims: Option<&Claims>, serial: u8) -> Vec<u8> {
        let (claims, roles) = (claims.map(Wire::encode), [role]);
        let profile = Profile {
            claims: claims.as_deref(),
            ..profile(subject, &roles, None, serial)
        };
        let key = key(serial);
        issue::issue(&profile, key.public_key(), &self.certificate, &self.key).unwrap()
    }

    fn list(&self, number: u64, day: u64, revoked: &[(&Certificate, u64)]) -> Vec<u8> {
        let revoked: Vec<_> = revoked
            .iter()
            .map(|(certificate, day)| Revoked {
                serial: certificate.serial(),
                at: day * DAY,
                invalid_since: None,
                reason: None,
            })
            .collect();
        let profile = ListProfile {
            number,
            this_update: day * DAY,
            next_update: (day + 10) * DAY,
            revoked: &revoked,
        };
        issue::revocation_list(&profile, &self.certificate, &self.key).unwrap()
    }
}

/// An operator: root, an authority for servers and one for devices.
struct World {
    root: Authority,
    servers: Authority,
    devices: Authority,
}

impl World {
    fn new(seed: u8) -> Self {
        let root_key = key(seed);
        let der = issue::self_signed(&profile("root", &[], Some(1), seed), &root_key).unwrap();
        let root = Authority {
            key: root_key,
            certificate: Certificate::parse(&der).unwrap(),
        };
        let authority = |subject: &str, roles: &[Role], serial: u8| {
            let key = key(serial);
            let profile = profile(subject, roles, Some(0), serial);
            let der = issue::issue(&profile, key.public_key(), &root.certificate, &root.key).unwrap();
            Authority {
                key,
                certificate: Certificate::parse(&der).unwrap(),
            }
        };
        let server_roles = [Role::LicenseServer, Role::RevocationList];
        Self {
            servers: authority("servers", &server_roles, seed + 1),
            devices: authority("devices", &[Role::Device], seed + 2),
            root,
        }
    }

    /// One more authority, under the root or another, whose certificate begins on a day.
    fn authority(&self, above: &Authority, (roles, below): (&[Role], u8), serial: u8, day: u64) -> Authority {
        let key = key(serial);
        let profile = Profile {
            not_before: day * DAY,
            ..profile("another", roles, Some(below), serial)
        };
        let der = issue::issue(&profile, key.public_key(), &above.certificate, &above.key).unwrap();
        let certificate = parse(&der);
        Authority { key, certificate }
    }

    fn within(&self, lists: usize) -> RevocationLists {
        let bounds = ListBounds {
            lists,
            ..ListBounds::CLIENT
        };
        RevocationLists::new(self.anchor(), bounds, UnknownStatus::Accept)
    }

    fn anchor(&self) -> Anchor {
        Anchor::from_der(self.root.certificate.der()).unwrap()
    }

    fn lists(&self) -> RevocationLists {
        RevocationLists::new(self.anchor(), ListBounds::CLIENT, UnknownStatus::Accept)
    }

    fn of_root(&self, number: u64, day: u64, revoked: &[(&Certificate, u64)]) -> RevocationList {
        RevocationList::Certificates {
            list: Bytes(self.root.list(number, day, revoked)),
            path: vec![],
        }
    }

    fn of(authority: &Authority, number: u64, day: u64, revoked: &[(&Certificate, u64)]) -> RevocationList {
        RevocationList::Certificates {
            list: Bytes(authority.list(number, day, revoked)),
            path: vec![Bytes(authority.certificate.der().to_vec())],
        }
    }

    fn device(&self, maker: &str, model: &str) -> Vec<Vec<u8>> {
        let claims = Claims {
            maker: Some(maker.into()),
            model: Some(model.into()),
            ..Claims::default()
        };
        let leaf = self.devices.certify("device", Role::Device, Some(&claims), 90);
        vec![leaf, self.devices.certificate.der().to_vec()]
    }

    /// Chain of the certificate that signs device revocation lists, and its key.
    fn signer(&self, role: Role) -> (Vec<Vec<u8>>, SigningKey) {
        let leaf = self.servers.certify("lists", role, None, 80);
        (vec![leaf, self.servers.certificate.der().to_vec()], key(80))
    }

    fn body(&self, number: u64, day: u64) -> DeviceRevocationList {
        DeviceRevocationList {
            version: 1,
            operator: Digest::new(self.anchor().operator()),
            number,
            issued: Timestamp(day * DAY),
            next_update: Timestamp((day + 10) * DAY),
            revoked: None,
            allowed: None,
        }
    }

    fn sign(&self, body: &DeviceRevocationList) -> RevocationList {
        self.sign_as::<DeviceRevocationList>(body, Role::RevocationList)
    }

    fn sign_as<T: SignedBody>(&self, body: &DeviceRevocationList, role: Role) -> RevocationList {
        let (chain, key) = self.signer(role);
        let message = signed::sign::<T>(&body.encode(), &[], &chain, &key).unwrap();
        RevocationList::Devices(Bytes(message))
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::generate(&mut ChaCha20Rng::from_seed([seed; 32]))
}

fn profile<'a>(subject: &'a str, roles: &'a [Role], authority: Option<u8>, serial: u8) -> Profile<'a> {
    Profile {
        subject,
        roles,
        authority,
        not_before: DAY,
        not_after: 100 * DAY,
        claims: None,
        serial: [serial; 16],
    }
}

fn parse(der: &[u8]) -> Certificate {
    Certificate::parse(der).unwrap()
}

fn revoked(maker: &str, model: Option<&str>, day: u64) -> RevokedDevices {
    RevokedDevices {
        maker: maker.into(),
        model: model.map(str::to_owned),
        robustness_below: None,
        since: Timestamp(day * DAY),
        reason: Some("keys in the open".into()),
    }
}

fn chain_fault(fault: ListFault) -> Option<ChainFault> {
    match fault {
        ListFault::Certificates(CryptoError::ChainRefused(fault))
        | ListFault::Devices(MessageError::Signer(CryptoError::ChainRefused(fault))) => Some(fault),
        _ => None,
    }
}

#[test]
fn v_064_newer_lists_take_the_place_of_earlier_ones_and_never_the_other_way_round() {
    let world = World::new(1);
    let mut lists = world.lists();
    let chain = world.device("Ajax", "player");
    let leaf = parse(&chain[0]);
    for (number, day, revoked, adopted) in [
        (2, 40, vec![], Adopted::Newer),
        (2, 40, vec![], Adopted::NotNewer),
        (3, 41, vec![(&leaf, 41)], Adopted::Newer),
        (1, 49, vec![], Adopted::NotNewer),
        (3, 49, vec![], Adopted::NotNewer),
        (4, 40, vec![], Adopted::NotNewer),
    ] {
        let list = World::of(&world.devices, number, day, &revoked);
        assert_eq!(
            lists.adopt(&list, Some(NOW)),
            Ok(adopted),
            "{number} of day {day}"
        );
    }
    let refused = lists.anchor().verify(&chain, Role::Device, NOW.0);
    assert_eq!(
        refused.unwrap_err(),
        CryptoError::ChainRefused(ChainFault::Revoked)
    );
    // An authority's lists are its own: the root's do not replace them.
    assert_eq!(
        lists.adopt(&world.of_root(9, 45, &[]), Some(NOW)),
        Ok(Adopted::Newer)
    );
    let numbers: Vec<_> = lists.states().iter().map(|state| state.number).collect();
    assert_eq!(numbers, [3.into(), 9.into()]);
}

#[test]
fn v_064_lists_of_others_are_refused_and_change_nothing() {
    let (world, other) = (World::new(1), World::new(11));
    let mut lists = world.lists();
    let mut fault = |list: &RevocationList, now| lists.adopt(list, now).unwrap_err();
    let of_other = World::of(&other.servers, 1, 40, &[]);
    assert_eq!(
        chain_fault(fault(&of_other, Some(NOW))),
        Some(ChainFault::Invalid)
    );
    let swapped = RevocationList::Certificates {
        list: Bytes(world.devices.list(1, 40, &[])),
        path: vec![Bytes(world.servers.certificate.der().to_vec())],
    };
    assert_eq!(
        chain_fault(fault(&swapped, None)),
        Some(ChainFault::RevocationListInvalid)
    );
    let early = Timestamp(40 * DAY - ISSUED_AHEAD - 1);
    let list = World::of(&world.servers, 1, 40, &[]);
    assert_eq!(fault(&list, Some(early)), ListFault::FromTheFuture);
    let none = RevocationList::Certificates {
        list: Bytes(vec![7]),
        path: vec![],
    };
    assert!(matches!(fault(&none, None), ListFault::Certificates(_)));
    assert!(lists.states().is_empty());
    assert_eq!(lists.adopt(&list, Some(early.plus(1))), Ok(Adopted::Newer));
}

#[test]
fn v_064_a_revoked_authority_makes_no_lists_any_more() {
    let world = World::new(1);
    let mut lists = world.lists();
    let chain = world.device("Ajax", "player");
    let naming = World::of(&world.devices, 1, 30, &[(&parse(&chain[0]), 30)]);
    let clearing = World::of(&world.devices, 2, 31, &[]);
    let revoking = world.of_root(1, 40, &[(&world.devices.certificate, 40)]);
    let (adopted, faults) = lists.adopt_all(&[clearing, naming.clone(), revoking], Some(NOW));
    assert_eq!(adopted, Adopted::Newer);
    // The root's list counts first, wherever it stands.
    let faults: Vec<_> = faults.into_iter().map(chain_fault).collect();
    assert_eq!(faults, [Some(ChainFault::Revoked); 2]);
    // At the time of its own it was a list.
    assert_eq!(lists.adopt(&naming, None), Ok(Adopted::Newer));
}

#[test]
fn v_064_lists_that_a_revoked_authority_may_have_made_go() {
    let world = World::new(1);
    let above = world.authority(&world.root, (&[Role::LicenseServer], 1), 31, 1);
    let below = world.authority(&above, (&[Role::LicenseServer], 0), 32, 1);
    let path = [&below, &above].map(|of| Bytes(of.certificate.der().to_vec()));
    let of_below = RevocationList::Certificates {
        list: Bytes(below.list(1, 40, &[])),
        path: path.to_vec(),
    };
    for (day, left) in [(41, 3), (40, 1), (2, 1)] {
        let mut lists = world.lists();
        for list in [&of_below, &World::of(&above, 1, 40, &[])] {
            assert_eq!(lists.adopt(list, Some(NOW)), Ok(Adopted::Newer));
        }
        let revoking = world.of_root(1, 45, &[(&above.certificate, day)]);
        assert_eq!(lists.adopt(&revoking, Some(NOW)), Ok(Adopted::Newer));
        assert_eq!(lists.states().len(), left, "revoked on day {day}");
    }
    // What a forged list said is not believed of the lists below either.
    let mut lists = world.lists();
    lists.adopt(&of_below, Some(NOW)).unwrap();
    let forged = World::of(&above, 1, 44, &[(&below.certificate, 41)]);
    lists.adopt(&forged, Some(NOW)).unwrap();
    let revoking = world.of_root(1, 45, &[(&above.certificate, 42)]);
    lists.adopt(&revoking, Some(NOW)).unwrap();
    let held: Vec<_> = lists.to_wire();
    assert_eq!(held, [revoking, of_below]);
}

#[test]
fn v_063_the_device_list_is_signed_in_its_role_for_this_operator() {
    let (world, other) = (World::new(1), World::new(11));
    let mut lists = world.lists();
    let body = world.body(5, 40);
    let mut fault = |list: &RevocationList| lists.adopt(list, Some(NOW)).unwrap_err();
    let of_server = world.sign_as::<DeviceRevocationList>(&body, Role::LicenseServer);
    assert_eq!(chain_fault(fault(&of_server)), Some(ChainFault::WrongRole));
    let of_other = other.sign(&body);
    assert!(chain_fault(fault(&of_other)).is_some());
    let for_other = world.sign(&other.body(5, 40));
    assert_eq!(fault(&for_other), ListFault::OtherOperator);
    let other_message = world.sign_as::<crate::response::LicenseResponse>(&body, Role::RevocationList);
    assert!(matches!(
        fault(&other_message),
        ListFault::Devices(MessageError::WrongType { .. })
    ));
    let unbounded = DeviceRevocationList {
        revoked: Some(vec![]),
        ..body.clone()
    };
    assert!(matches!(
        fault(&world.sign(&unbounded)),
        ListFault::Devices(MessageError::Decode(_))
    ));
    let later = world.body(5, 51);
    assert_eq!(fault(&world.sign(&later)), ListFault::FromTheFuture);
    assert!(lists.states().is_empty());
    assert_eq!(lists.adopt(&world.sign(&body), Some(NOW)), Ok(Adopted::Newer));
    for (number, day, adopted) in [
        (5, 45, Adopted::NotNewer),
        (4, 45, Adopted::NotNewer),
        (6, 39, Adopted::NotNewer),
        (6, 40, Adopted::Newer),
    ] {
        let list = world.sign(&world.body(number, day));
        assert_eq!(
            lists.adopt(&list, Some(NOW)),
            Ok(adopted),
            "{number} of day {day}"
        );
    }
    assert_eq!(
        lists.held(),
        [ListHeld {
            list: ListId::DEVICES,
            number: 6.into()
        }]
    );
}

#[test]
fn v_063_a_list_that_a_revoked_signer_may_have_made_goes() {
    let world = World::new(1);
    let (chain, _) = world.signer(Role::RevocationList);
    let signer = parse(&chain[0]);
    for (day, left) in [(41, 2), (40, 1), (2, 1)] {
        let mut lists = world.lists();
        let own = world.sign(&world.body(1, 40));
        assert_eq!(lists.adopt(&own, Some(NOW)), Ok(Adopted::Newer));
        let revoking = World::of(&world.servers, 1, 45, &[(&signer, day)]);
        assert_eq!(lists.adopt(&revoking, Some(NOW)), Ok(Adopted::Newer));
        assert_eq!(lists.states().len(), left, "revoked on day {day}");
        assert_eq!(
            chain_fault(lists.adopt(&own, Some(NOW)).unwrap_err()),
            Some(ChainFault::Revoked)
        );
    }
}

#[test]
fn v_047_makers_and_models_are_refused_from_their_day_on_unless_allowed() {
    let world = World::new(1);
    let chain = world.device("Ajax", "player");
    let leaf = parse(&chain[0]);
    let mut lists = world.lists();
    assert_eq!(lists.check_model(&leaf, NOW), Ok(()));
    let body = DeviceRevocationList {
        revoked: Some(vec![
            revoked("Ajax", None, 49),
            revoked("Ajax", Some("player"), 48),
            revoked("Zeus", None, 1),
        ]),
        ..world.body(1, 40)
    };
    lists.adopt(&world.sign(&body), Some(NOW)).unwrap();
    let since = Timestamp(48 * DAY);
    let fault = DeviceFault::Model {
        since,
        reason: Some("keys in the open".into()),
    };
    assert_eq!(lists.check_model(&leaf, since.minus(1)), Ok(()));
    assert_eq!(lists.check_model(&leaf, since), Err(fault.clone()));
    // What a list names, it names after its time too.
    assert_eq!(lists.check_model(&leaf, Timestamp(90 * DAY)), Err(fault));
    let allowed = DeviceRevocationList {
        number: 2,
        allowed: Some(vec![certificate_digest(&leaf)]),
        ..body
    };
    lists.adopt(&world.sign(&allowed), Some(NOW)).unwrap();
    assert_eq!(lists.check_model(&leaf, NOW), Ok(()));
    // The allow list exempts from nothing else.
    let naming = World::of(&world.devices, 1, 45, &[(&leaf, 45)]);
    lists.adopt(&naming, Some(NOW)).unwrap();
    let certificate = DeviceFault::Certificate {
        since: Timestamp(45 * DAY),
    };
    assert_eq!(lists.check_device(&chain, Some(NOW)), Err(certificate));
}

#[test]
fn v_047_whoever_must_know_refuses_when_no_current_list_tells() {
    let world = World::new(1);
    let leaf = parse(&world.device("Ajax", "player")[0]);
    for (unknown, verdict) in [
        (UnknownStatus::Refuse, Err(DeviceFault::Unknown)),
        (UnknownStatus::Accept, Ok(())),
    ] {
        let mut lists = RevocationLists::new(world.anchor(), ListBounds::CLIENT, unknown);
        assert_eq!(lists.check_model(&leaf, NOW), verdict);
        lists.adopt(&world.sign(&world.body(1, 40)), Some(NOW)).unwrap();
        let next_update = Timestamp(50 * DAY);
        assert_eq!(lists.check_model(&leaf, next_update.minus(1)), Ok(()));
        assert_eq!(lists.check_model(&leaf, next_update), verdict);
    }
}

#[test]
fn r_015_a_device_learns_that_it_was_revoked() {
    let world = World::new(1);
    let chain = world.device("Ajax", "player");
    let mut lists = world.lists();
    assert_eq!(lists.check_device(&chain, Some(NOW)), Ok(()));
    let body = DeviceRevocationList {
        revoked: Some(vec![revoked("Ajax", None, 60)]),
        ..world.body(1, 40)
    };
    lists.adopt(&world.sign(&body), Some(NOW)).unwrap();
    assert_eq!(lists.check_device(&chain, Some(NOW)), Ok(()));
    // Without a clock, what is to come counts.
    assert!(matches!(
        lists.check_device(&chain, None),
        Err(DeviceFault::Model { .. })
    ));
    let naming = World::of(&world.devices, 1, 45, &[(&parse(&chain[0]), 45)]);
    lists.adopt(&naming, Some(NOW)).unwrap();
    // The certificate has expired by then, which is not what is asked.
    let since = Timestamp(45 * DAY);
    let late = Some(Timestamp(900 * DAY));
    assert_eq!(
        lists.check_device(&chain, late),
        Err(DeviceFault::Certificate { since })
    );
    assert!(matches!(
        lists.check_device(&[], late),
        Err(DeviceFault::Malformed(_))
    ));
}

#[test]
fn r_015_a_device_is_revoked_from_the_earlier_of_two_times_on() {
    let world = World::new(1);
    let chain = world.device("Ajax", "player");
    for (of_model, of_certificate, is_model) in [(30, 45, true), (45, 30, false), (45, 45, false)] {
        let mut lists = world.lists();
        let body = DeviceRevocationList {
            revoked: Some(vec![revoked("Ajax", None, of_model)]),
            ..world.body(1, 46)
        };
        let naming = World::of(&world.devices, 1, 46, &[(&parse(&chain[0]), of_certificate)]);
        assert_eq!(lists.adopt_all(&[world.sign(&body), naming], Some(NOW)).1, []);
        let (first, names_model) = match lists.check_device(&chain, Some(NOW)).unwrap_err() {
            DeviceFault::Certificate { since } => (since, false),
            DeviceFault::Model { since, .. } => (since, true),
            other => unreachable!("{other}"),
        };
        let expected = Timestamp(of_model.min(of_certificate) * DAY);
        assert_eq!((first, names_model), (expected, is_model));
    }
}

#[test]
fn what_was_stored_is_held_again() {
    let world = World::new(1);
    let mut lists = world.lists();
    let given = [
        world.sign(&world.body(3, 40)),
        World::of(&world.servers, 7, 40, &[]),
        world.of_root(1, 40, &[]),
    ];
    let (_, faults) = lists.adopt_all(&given, Some(NOW));
    assert_eq!(faults, []);
    let stored = lists.to_wire();
    let mut again = world.lists();
    let (adopted, faults) = again.adopt_all(&stored, None);
    assert_eq!((adopted, faults), (Adopted::Newer, vec![]));
    assert_eq!(again.held(), lists.held());
    assert_eq!(again.to_wire(), stored);
}

#[test]
fn a_client_is_sent_what_it_lacks_and_what_concerns_it() {
    let world = World::new(1);
    let mut lists = world.lists();
    let chain = world.device("Ajax", "player");
    let leaf = parse(&chain[0]);
    let own = world.sign(&world.body(3, 40));
    let (root, servers) = (world.of_root(1, 40, &[]), World::of(&world.servers, 7, 40, &[]));
    let nobody = World::of(&world.devices, 1, 40, &[]);
    lists.adopt_all(&[own.clone(), root.clone(), servers.clone(), nobody], Some(NOW));
    let all = (16, 1 << 20);
    let sent = lists.newer_than(&[], &chain, all);
    assert!(sent.len() == 3 && [&own, &root, &servers].iter().all(|list| sent.contains(list)));
    assert!(sent.is_sorted_by_key(RevocationList::size));
    assert_eq!(lists.newer_than(&[], &chain, (1, 1 << 20)), sent[..1]);
    assert_eq!(
        lists.newer_than(&[], &chain, (16, sent[0].size() + sent[1].size())),
        sent[..2]
    );
    assert_eq!(lists.newer_than(&[], &chain, (16, 0)), []);
    assert_eq!(lists.newer_than(&lists.held(), &chain, all), []);
    // Nobody is sent what is earlier than what is held.
    let mut held = lists.held();
    held.iter_mut().for_each(|held| held.number = u64::MAX.into());
    assert_eq!(lists.newer_than(&held, &chain, all), []);
    let naming = World::of(&world.devices, 2, 41, &[(&leaf, 41)]);
    lists.adopt(&naming, Some(NOW)).unwrap();
    assert!(lists.newer_than(&[], &chain, all).contains(&naming));
    let other = vec![
        world.devices.certify("other", Role::Device, None, 91),
        chain[1].clone(),
    ];
    assert!(!lists.newer_than(&[], &other, all).contains(&naming));
    // Whom an earlier one may have named, as well: it has to learn that it is named no more.
    held.iter_mut().for_each(|held| held.number = 0_u64.into());
    assert!(lists.newer_than(&held, &other, all).contains(&naming));
}
