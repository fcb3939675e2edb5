//! Licenses for key exchange: what is in them, what is denied, and what changes while one is issued.

use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, Operation},
    hpke::Suite,
};
use keyward_license::{
    ids::Kid,
    key_exchange::{Decryptor, Ring, Signer},
    license::{CoseAlgorithm, Flag, KeyType, License, LicenseKeys, LicenseKind, Right},
    request::LicenseRequest,
    response::{KeyResult, LicenseResponse},
    time::Timestamp,
};
use keyward_server::{
    Error, Server,
    clock::Clock,
    handler::{Asked, Decision, HandlerError, LicenseHandler, Permission},
    key_exchange::{Destroy, NewKey},
    policy::{DEFAULT_POLICY, PolicyTerms, Preset},
    sealing::KekSource,
};

use super::{METERS, encrypt, new_key, told, value, world_with};
use crate::common::{ACCOUNT, Device, KID, NOW, World, denial, pending, read};

const TAGS: Kid = Kid::new([0xe3; 16]);

/// What a client of key exchange announces: one key, or several.
fn announce(body: &mut LicenseRequest, several: bool) {
    let capabilities = &mut body.capabilities;
    capabilities.key_types.push(KeyType::Exchange.number());
    let all = Algorithm::ALL.map(|algorithm| CoseAlgorithm(algorithm.number()));
    capabilities.exchange_algorithms = Some(all.to_vec());
    capabilities.exchange_multiple = several.then_some(Flag);
}

async fn ask(
    world: &World,
    device: &mut Device,
    kids: &[Kid],
    change: impl FnOnce(&mut LicenseRequest),
) -> LicenseResponse {
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, kids);
    announce(&mut body, true);
    change(&mut body);
    device.ask(world, &body).await.unwrap()
}

/// The one result, with a client that can use several keys.
async fn ask_one(world: &World, device: &mut Device, kid: Kid) -> KeyResult {
    ask(world, device, &[kid], |_| {}).await.results.remove(0)
}

/// A license and its keys, checked as a client checks them.
fn open(world: &World, device: &Device, result: &KeyResult) -> (License, LicenseKeys) {
    let bytes = &result.license.as_ref().unwrap().0;
    let license = License::verify(bytes, &world.anchor(), Some(NOW)).unwrap();
    assert!(license.body().binding.is_device(&device.id()));
    let sealing = device
        .sealing
        .iter()
        .find(|key| Some(key.suite()) == license.sealing().suite());
    let sealed = license.sealed();
    let opened = sealing
        .unwrap()
        .open(
            &license.key_binding(),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        )
        .unwrap();
    let keys = license.read_keys(&opened).unwrap();
    (license, keys)
}

fn versions(license: &License) -> Vec<(Kid, u64)> {
    let keys = license.body().keys.iter();
    keys.map(|key| (key.kid, key.version.unwrap())).collect()
}

fn sentence(result: &KeyResult) -> &str {
    &result.denial.as_ref().unwrap().sentence
}

async fn grant(world: &World, kid: Kid) {
    world
        .server
        .grant(ACCOUNT, Some(kid), DEFAULT_POLICY, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_license_holds_the_key_for_its_one_operation() {
    let world = World::new().await;
    let new = NewKey {
        context: Some(b"town".to_vec()),
        uses: Some(1000),
        minimum_security_level: Some(2000),
        ..new_key(METERS, Algorithm::A256Gcm, Operation::Decrypt)
    };
    world.server.create_exchange_key(new).await.unwrap();
    grant(&world, METERS).await;
    let mut device = world.device(1).await;
    for persistent in [true, false] {
        let response = ask(&world, &mut device, &[METERS, KID], |body| {
            body.persistent = persistent;
        })
        .await;
        let (license, keys) = open(&world, &device, &response.results[0]);
        let body = license.body();
        assert_eq!(body.kind, LicenseKind::KeyExchange);
        assert_eq!(body.rights, [Right::Perform]);
        assert_eq!(body.asked_kid().unwrap(), METERS);
        assert_eq!((body.persistent, body.nonce.is_some()), (persistent, !persistent));
        assert_eq!(body.minimum_security_level, Some(2000));
        assert_eq!(body.end, Some(Timestamp(NOW.0 + 30 * 86_400)));
        let [key] = &body.keys[..] else { panic!() };
        assert_eq!(key.permits(), Some((Algorithm::A256Gcm, Operation::Decrypt)));
        assert_eq!((key.version, key.uses), (Some(1), Some(1000)));
        assert_eq!(key.context.as_ref().unwrap().0, b"town");
        let item = keyward_server::key_exchange::Item::Encrypt {
            data: SecretBytes::new(b"12 kWh".to_vec()),
            aad: b"town".to_vec(),
        };
        let result = super::perform_one(&world.server, METERS, item).await;
        let Ok(keyward_server::key_exchange::Output::Encrypted(result)) = result else {
            panic!()
        };
        let client = Decryptor::new(Ring::of(body, &keys, METERS).unwrap()).unwrap();
        assert_eq!(client.decrypt(b"town", &result).unwrap().expose(), b"12 kWh");
        // Content beside it is content.
        let (film, _) = open(&world, &device, &response.results[1]);
        assert_eq!(film.body().kind, LicenseKind::Simple);
        assert_eq!(film.body().rights, [Right::Play]);
    }
    let issued = "SELECT count(*) FROM issued WHERE kid IN (SELECT kid FROM exchange_keys)";
    assert_eq!(world.count(issued).await, 2);
}

/// A verifier of an asymmetric algorithm has no way to sign.
#[tokio::test]
async fn a_verifier_gets_the_public_half_alone() {
    let world = world_with(Algorithm::Ed25519, Operation::Verify).await;
    grant(&world, METERS).await;
    let mut device = world.device(1).await;
    let result = ask_one(&world, &mut device, METERS).await;
    let (license, keys) = open(&world, &device, &result);
    let ring = Ring::of(license.body(), &keys, METERS).unwrap();
    assert!(Signer::new(ring).is_err());
    let item = keyward_server::key_exchange::Item::Sign { data: vec![1, 2] };
    let signed = super::perform_one(&world.server, METERS, item).await.unwrap();
    let keyward_server::key_exchange::Output::Signed(signature) = signed else {
        panic!()
    };
    let ring = Ring::of(license.body(), &keys, METERS).unwrap();
    let verifier = keyward_license::key_exchange::Verifier::new(ring).unwrap();
    verifier.verify(&[1, 2], &signature).unwrap();
}

#[tokio::test]
async fn versions_go_to_whoever_can_use_several_and_consumes() {
    let world = World::new().await;
    let server = &world.server;
    for (kid, operation) in [(METERS, Operation::Decrypt), (TAGS, Operation::Encrypt)] {
        let new = new_key(kid, Algorithm::A256Gcm, operation);
        server.create_exchange_key(new).await.unwrap();
        for _ in 2..=10 {
            server.rotate_exchange_key(kid).await.unwrap();
        }
        grant(&world, kid).await;
    }
    let mut device = world.device(1).await;
    for (several, expected) in [(false, vec![10]), (true, (3..=10).rev().collect::<Vec<u64>>())] {
        let response = ask(&world, &mut device, &[METERS, TAGS], |body| {
            body.capabilities.exchange_multiple = several.then_some(Flag);
        })
        .await;
        let (consumes, keys) = open(&world, &device, &response.results[0]);
        let found: Vec<_> = versions(&consumes).iter().map(|(_, version)| *version).collect();
        assert_eq!(found, expected);
        let newest = encrypt(server, METERS, b"x").await;
        let client = Decryptor::new(Ring::of(consumes.body(), &keys, METERS).unwrap()).unwrap();
        assert_eq!(client.decrypt(b"", &newest).unwrap().expose(), b"x");
        let (produces, _) = open(&world, &device, &response.results[1]);
        assert_eq!(versions(&produces), [(TAGS, 10)]);
    }
    server.set_exchange_minimum_version(METERS, 8).await.unwrap();
    server.set_exchange_minimum_version(TAGS, 10).await.unwrap();
    server
        .destroy_exchange_key(METERS, Destroy::Version(9))
        .await
        .unwrap();
    let result = ask_one(&world, &mut device, METERS).await;
    let (license, _) = open(&world, &device, &result);
    assert_eq!(versions(&license), [(METERS, 10), (METERS, 8)]);
}

#[tokio::test]
async fn keys_beside_one_travel_with_it_where_they_can_be_used() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    grant(&world, METERS).await;
    let beside = |byte: u8, algorithm: Algorithm, operation| NewKey {
        beside: Some(METERS),
        ..new_key(Kid::new([byte; 16]), algorithm, operation)
    };
    let tags = beside(1, Algorithm::HmacSha256, Operation::Sign);
    let high = NewKey {
        minimum_security_level: Some(3000),
        ..beside(2, Algorithm::Ed25519, Operation::Sign)
    };
    let off = beside(3, Algorithm::A128Ctr, Operation::Decrypt);
    let strange = beside(4, Algorithm::A256Kw, Operation::Unwrap);
    let mut kids = Vec::new();
    for new in [tags, high, off, strange] {
        kids.push(server.create_exchange_key(new).await.unwrap());
        world.clock.advance(1);
    }
    server.disable_exchange_key(kids[2]).await.unwrap();
    let mut device = world.device(1).await;
    let without_wrap = |body: &mut LicenseRequest| {
        let algorithms = body.capabilities.exchange_algorithms.as_mut().unwrap();
        algorithms.retain(|one| *one != CoseAlgorithm(Algorithm::A256Kw.number()));
    };
    let response = ask(&world, &mut device, &[METERS], without_wrap).await;
    let (license, keys) = open(&world, &device, &response.results[0]);
    assert_eq!(versions(&license), [(METERS, 1), (kids[0], 1)]);
    Signer::new(Ring::of(license.body(), &keys, kids[0]).unwrap()).unwrap();
    let response = ask(&world, &mut device, &[METERS], |body| {
        body.capabilities.exchange_multiple = None;
    })
    .await;
    let (license, _) = open(&world, &device, &response.results[0]);
    assert_eq!(versions(&license), [(METERS, 1)]);
    // By its own key id it has licenses of its own, for who is entitled to it.
    let own = ask_one(&world, &mut device, kids[0]).await;
    assert_eq!(denial(&own), 301);
}

/// Sixteen keys in all, and each key with its newest version.
#[tokio::test]
async fn a_license_with_many_keys_and_versions_is_bounded() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    grant(&world, METERS).await;
    let mut kids = vec![METERS];
    let algorithms = Algorithm::ALL
        .into_iter()
        .filter(|one| *one != Algorithm::A256Gcm);
    for algorithm in algorithms.take(8) {
        let new = NewKey {
            beside: Some(METERS),
            ..NewKey::new("beside", algorithm, algorithm.operations()[1])
        };
        kids.push(server.create_exchange_key(new).await.unwrap());
    }
    for kid in &kids {
        for _ in 0..9 {
            server.rotate_exchange_key(*kid).await.unwrap();
        }
    }
    let mut device = world.device(1).await;
    let result = ask_one(&world, &mut device, METERS).await;
    let (license, keys) = open(&world, &device, &result);
    assert_eq!((license.body().keys.len(), keys.keys.len()), (16, 16));
    for kid in kids {
        assert!(versions(&license).contains(&(kid, 10)), "{kid}");
        Ring::of(license.body(), &keys, kid).unwrap();
    }
}

#[tokio::test]
async fn each_denial_says_why() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    let mut device = world.device(1).await;

    let result = ask_one(&world, &mut device, METERS).await;
    assert_eq!(denial(&result), 301, "an entitlement to all is to content");
    grant(&world, METERS).await;

    let response = ask(&world, &mut device, &[METERS], |body| {
        body.capabilities.exchange_algorithms = Some(vec![CoseAlgorithm(1)]);
    })
    .await;
    let result = &response.results[0];
    assert_eq!(denial(result), 304);
    assert_eq!(
        sentence(result),
        "the client does not have the key exchange algorithm `A256GCM`"
    );
    let response = ask(&world, &mut device, &[METERS], |body| {
        body.capabilities.key_types.retain(|one| *one != 5);
    })
    .await;
    assert_eq!(denial(&response.results[0]), 304);

    server
        .set_exchange_minimum_level(METERS, Some(3000))
        .await
        .unwrap();
    let result = ask_one(&world, &mut device, METERS).await;
    assert_eq!(denial(&result), 303);
    server.set_exchange_minimum_level(METERS, None).await.unwrap();

    server.disable_exchange_key(METERS).await.unwrap();
    let result = ask_one(&world, &mut device, METERS).await;
    assert_eq!(
        (denial(&result), sentence(&result)),
        (307, "the exchange key is disabled")
    );
    server.enable_exchange_key(METERS).await.unwrap();
    let result = ask_one(&world, &mut device, METERS).await;
    assert!(result.license.is_some());

    server.destroy_exchange_key(METERS, Destroy::All).await.unwrap();
    let result = ask_one(&world, &mut device, METERS).await;
    assert_eq!(
        (denial(&result), sentence(&result)),
        (307, "the exchange key was destroyed")
    );
}

#[tokio::test]
async fn a_policy_about_playing_is_refused_where_it_is_granted_and_where_it_became_one() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let server = &world.server;
    for (preset, term) in [
        (Preset::Rental, "expiration_after_first_play_seconds"),
        (Preset::Live, "real_time_expiration"),
    ] {
        let name = preset.name();
        server.create_policy(name, preset.terms()).await.unwrap();
        let refused = server.grant(ACCOUNT, Some(METERS), name, None).await;
        let Err(Error::PolicyAboutPlaying { policy, term: found }) = refused else {
            panic!("{name}")
        };
        assert_eq!((&policy[..], found), (name, term));
        server.grant(ACCOUNT, Some(KID), name, None).await.unwrap();
    }
    server
        .create_policy("meters", PolicyTerms::DEFAULT)
        .await
        .unwrap();
    server.grant(ACCOUNT, Some(METERS), "meters", None).await.unwrap();
    server
        .create_policy("meters", Preset::Rental.terms())
        .await
        .unwrap();
    let mut device = world.device(1).await;
    let result = ask_one(&world, &mut device, METERS).await;
    assert_eq!(denial(&result), 301);
    assert_eq!(
        sentence(&result),
        "the terms that were granted are about playing, and the key is for key exchange: \
         `expiration_after_first_play_seconds`"
    );
    server
        .create_policy("meters", PolicyTerms::DEFAULT)
        .await
        .unwrap();
    let result = ask_one(&world, &mut device, METERS).await;
    assert!(result.license.is_some());
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_license() {
    let world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    grant(&world, METERS).await;
    let mut device = world.device(1).await;
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, &[METERS]);
    announce(&mut body, true);
    let sealed = device.seal(&recipient, Suite::XWing, &body);
    let id = |answer: Vec<u8>| {
        let response = read(&world, &answer, &pending(&body));
        open(&world, &device, &response.results[0]).0.body().id
    };
    let first = id(world.server.issue(&sealed).await.unwrap());
    world.server.rotate_exchange_key(METERS).await.unwrap();
    assert_eq!(id(world.server.issue(&sealed).await.unwrap()), first);
}

/// Sees what it is asked about, and grants exchange keys by name.
struct ByName(std::sync::Mutex<Vec<KeyType>>);

impl LicenseHandler for ByName {
    async fn decide(&self, asked: &Asked) -> Result<Decision, HandlerError> {
        let mut decision = Decision::default();
        for key in &asked.keys {
            self.0.lock().unwrap().push(key.key_type);
            let permission = match key.key_type {
                KeyType::Exchange => Permission::own(PolicyTerms::DEFAULT),
                _ => Permission::own(Preset::Rental.terms()),
            };
            decision.grant(key.kid, permission);
        }
        assert!(asked.keys.iter().all(
            |key| key.key_type != KeyType::Exchange || key.entitlement.is_none() && key.content.is_none()
        ));
        Ok(decision)
    }
}

#[tokio::test]
async fn a_handler_sees_the_key_type_and_grants_by_name() {
    let mut world = world_with(Algorithm::A256Gcm, Operation::Decrypt).await;
    let mut device = world.device(1).await;
    world.server.close().await;
    let clock = world.clock.clone();
    let handler = ByName(std::sync::Mutex::default());
    world.server = Server::open_with_handler(&world.dir(), KekSource::File, clock, handler)
        .await
        .unwrap();
    let response = ask(&world, &mut device, &[METERS, KID], |_| {}).await;
    let (license, _) = open(&world, &device, &response.results[0]);
    assert_eq!(license.body().kind, LicenseKind::KeyExchange);
    assert!(response.results[1].license.is_some());
}

/// A key id that was granted before it was a key's is granted by name all the same, and its policy is judged.
#[tokio::test]
async fn a_grant_that_came_before_the_key_counts() {
    let world = World::new().await;
    let server = &world.server;
    server
        .create_policy("rental", Preset::Rental.terms())
        .await
        .unwrap();
    server.grant(ACCOUNT, Some(METERS), "rental", None).await.unwrap();
    let new = new_key(METERS, Algorithm::A128Kw, Operation::Unwrap);
    server.import_exchange_key(new, &value(6, 16)).await.unwrap();
    let mut device = world.device(1).await;
    let result = ask_one(&world, &mut device, METERS).await;
    assert_eq!(denial(&result), 301);
    grant(&world, METERS).await;
    let result = ask_one(&world, &mut device, METERS).await;
    assert!(result.license.is_some());
    assert!(told(server.register_key(METERS, KeyType::File, 1).await).contains("key exchange"));
    assert!(world.clock.now() >= NOW);
}
