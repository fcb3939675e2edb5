//! Authorization tokens: V-045, V-046.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use keyward_crypto::hpke::Suite;
use keyward_license::{ids::Kid, license::KeyType};
use keyward_server::{admin::TokenRequest, policy::PolicyTerms};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{AUTHORIZATION_REFUSED, BUSY, NOT_ENTITLED, OTHER, ask, denied, licensed, world};
use crate::asking;
use crate::common::{ACCOUNT, Device, KID, NOW, World, ids, pending, read};

const SECRET: &[u8] = b"a secret of thirty-two bytes or more\n";

/// Who signs tokens.
pub(crate) struct Shop {
    key: KeyPair,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { key }
    }

    fn section(&self, more: &str) -> String {
        format!(
            "[[authorization.jwt]]\nname = \"shop\"\nalgorithm = \"ES256\"\naudience = \"licenses\"\n\
             issuer = \"https://shop.example\"\nkey_file = \"shop.pem\"\nmax_age_seconds = 3600\n{more}"
        )
    }

    pub(crate) async fn world(&self, more: &str) -> World {
        let key = self.key.public_key_pem();
        world("[\"jwt\"]", &self.section(more), &[("shop.pem", key.as_bytes())]).await
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&Header::new(Algorithm::ES256), claims)
    }

    fn sign_with(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        encode(header, claims, &key).unwrap()
    }
}

/// A token that grants [`KID`].
fn claims() -> Value {
    json!({
        "iss": "https://shop.example", "aud": "licenses", "sub": ACCOUNT,
        "iat": NOW.0 - 10, "nbf": NOW.0 - 10, "exp": NOW.0 + 600, "jti": "1",
        "keyward": { "keys": [KID.to_string()] },
    })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap())
}

#[tokio::test]
async fn v_045_each_fault_of_a_token_is_refused_and_named() {
    let (shop, stranger) = (Shop::new(), Shop::new());
    let world = shop.world("single_use = true").await;
    let mut device = world.device(3).await;
    let good = shop.sign(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let more = part(&with("keyward", json!({ "all": true })));
    let critical = part(&json!({ "alg": "ES256", "crit": ["b64"], "b64": true }));
    let named = Header {
        kid: Some("other".into()),
        ..Header::new(Algorithm::ES256)
    };
    let confused = encode(
        &Header::new(Algorithm::HS256),
        &claims(),
        &EncodingKey::from_secret(shop.key.public_key_pem().as_bytes()),
    );
    let device_id = device.id().to_string();
    let other_device = Device::new(9, &Suite::ALL).id().to_string();
    let cases = [
        ("", "not a signed token"),
        ("a.b", "not a signed token"),
        (
            &format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims())),
            "not a signed token",
        ),
        (&format!("{signed}."), "its signature does not verify"),
        (
            &format!("{signed}.{}", &signature[2..]),
            "its signature does not verify",
        ),
        (
            &format!("{header}.{more}.{signature}"),
            "its signature does not verify",
        ),
        (
            &format!("{critical}.{}.{signature}", part(&claims())),
            "a critical extension",
        ),
        (&stranger.sign(&claims()), "its signature does not verify"),
        (&confused.unwrap(), "no key of this operator"),
        (&shop.sign_with(&named, &claims()), "no key of this operator"),
        (&shop.sign(&with("aud", "orders")), "another audience"),
        (
            &shop.sign(&with("aud", json!(["orders", "refunds"]))),
            "another audience",
        ),
        (&shop.sign(&without("aud")), "a claim is missing"),
        (
            &shop.sign(&with("iss", "https://other.example")),
            "another issuer",
        ),
        (&shop.sign(&without("iss")), "a claim is missing"),
        (&shop.sign(&without("sub")), "a claim is missing"),
        (&shop.sign(&without("exp")), "a claim is missing"),
        (
            &shop.sign(&with("exp", "tomorrow")),
            "a claim is missing or malformed",
        ),
        (&shop.sign(&with("exp", NOW.0)), "it has expired"),
        (&shop.sign(&with("exp", NOW.0 + 4000)), "valid for longer"),
        (&shop.sign(&with("iat", NOW.0 - 3600)), "valid for longer"),
        (&shop.sign(&with("nbf", NOW.0 + 61)), "not valid yet"),
        (&shop.sign(&with("iat", NOW.0 + 61)), "not valid yet"),
        (&shop.sign(&with("sub", "bob")), "another account"),
        (
            &shop.sign(&with("cnf", json!({ "kid": other_device }))),
            "another device",
        ),
        (
            &shop.sign(&with("cnf", json!({ "kid": device_id, "jkt": "x" }))),
            "a claim is missing or malformed",
        ),
        (
            &shop.sign(&with("cnf", json!({ "jkt": "x" }))),
            "a claim is missing or malformed",
        ),
        (&shop.sign(&without("jti")), "it has no `jti`"),
        (&shop.sign(&with("jti", "")), "it has no `jti`"),
        (
            &shop.sign(&with("keyward", json!({ "everything": true }))),
            "a claim is missing or malformed",
        ),
        (
            &shop.sign(&with("keyward", json!({ "keys": ["11"] }))),
            "a claim is missing or malformed",
        ),
    ];
    for (token, reason) in cases {
        let response = ask(&world, &mut device, &[KID], Some(token)).await.unwrap();
        let denial = denied(&response);
        assert_eq!(denial.code, AUTHORIZATION_REFUSED, "{token}: {}", denial.sentence);
        assert!(denial.sentence.contains(reason), "{token}: {}", denial.sentence);
    }
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM used_authorizations").await, 0);
    let response = ask(&world, &mut device, &[KID], Some(&good)).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    let response = ask(&world, &mut device, &[KID], None).await.unwrap();
    assert_eq!(
        denied(&response).code,
        NOT_ENTITLED,
        "without a token nobody grants"
    );
}

#[tokio::test]
async fn a_token_grants_what_it_names_and_no_more() {
    let shop = Shop::new();
    let world = shop.world("").await;
    let mut device = world.device(3).await;
    let unknown = Kid::new([0x33; 16]);
    let asked = [KID, OTHER, unknown];
    let both = json!({ "all": true });
    let none = json!({});
    for (granted, licenses) in [
        (json!({ "keys": [OTHER.to_string()] }), vec![OTHER]),
        (
            json!({ "keys": [KID.to_string(), unknown.to_string()] }),
            vec![KID],
        ),
        (json!({ "content": ["film"] }), vec![]),
        (both, vec![KID, OTHER]),
        (none, vec![]),
        (Value::Null, vec![]),
    ] {
        let token = shop.sign(&with("keyward", granted.clone()));
        let response = ask(&world, &mut device, &asked, Some(&token)).await.unwrap();
        for (kid, result) in asked.iter().zip(&response.results) {
            let expected = match () {
                () if licenses.contains(kid) => None,
                () if *kid == unknown => Some(302),
                () => Some(NOT_ENTITLED),
            };
            let code = result.denial.as_ref().map(|denial| denial.code);
            assert_eq!((result.kid, code), (*kid, expected), "{granted}");
        }
    }
}

#[tokio::test]
async fn a_token_may_name_content_that_a_packager_asked_for() {
    let shop = Shop::new();
    let world = shop.world("").await;
    let mut packager = world.packager(4, &Suite::ALL).await;
    let recipient = world.recipient().await;
    let tracks = vec![asking::track("video", KeyType::CencCtr)];
    let wanted = asking::request(&mut packager, &recipient, "film", tracks);
    let kid = asking::ask(&world, &mut packager, &wanted).await.unwrap().kids()[0];
    let mut device = world.device(3).await;
    let token = shop.sign(&with("keyward", json!({ "content": ["film"] })));
    let response = ask(&world, &mut device, &[kid, KID], Some(&token)).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    assert_eq!(response.results[1].denial.as_ref().unwrap().code, NOT_ENTITLED);
}

#[tokio::test]
async fn a_token_narrows_a_policy_and_never_widens_it() {
    let shop = Shop::new();
    let world = shop.world("").await;
    let mut device = world.device(3).await;
    let terms = PolicyTerms {
        duration_seconds: Some(1000),
        expiration_after_first_play_seconds: Some(500),
        ..PolicyTerms::of_level(2000)
    };
    world.server.create_policy("short", terms).await.unwrap();
    let mut issued = Vec::new();
    for limits in [
        json!({}),
        json!({ "duration_seconds": 100, "in_memory": true }),
        json!({ "duration_seconds": 100_000, "end": NOW.0 + 100_000 }),
        json!({ "end": NOW.0 + 50, "expiration_after_first_play_seconds": 5 }),
    ] {
        let granted = json!({ "keys": [KID.to_string()], "policy": "short", "limits": limits });
        let token = shop.sign(&with("keyward", granted));
        let response = ask(&world, &mut device, &[KID], Some(&token)).await.unwrap();
        let license = licensed(&world, &device, &response.results[0]);
        let lasts = license.end.unwrap().0 - NOW.0;
        issued.push((lasts, license.persistent, license.expiration_after_first_play));
    }
    let after_play = Some(500);
    assert_eq!(
        issued,
        [
            (1000, true, after_play),
            (100, false, after_play),
            (1000, true, after_play),
            (50, true, Some(5))
        ]
    );
    for (granted, code) in [
        (json!({ "policy": "missing", "all": true }), 501),
        (
            json!({ "all": true, "limits": { "minimum_security_level": 3000 } }),
            303,
        ),
        (
            json!({ "all": true, "limits": { "end": NOW.0 - 1 } }),
            NOT_ENTITLED,
        ),
    ] {
        let token = shop.sign(&with("keyward", granted.clone()));
        let response = ask(&world, &mut device, &[KID], Some(&token)).await.unwrap();
        assert_eq!(denied(&response).code, code, "{granted}");
    }
    let policy = "SELECT count(*) FROM issued WHERE policy = 'short' AND policy_version = 1";
    assert_eq!(world.count(policy).await, 4);
}

#[tokio::test]
async fn a_token_for_another_account_must_name_the_device() {
    let shop = Shop::new();
    let world = shop.world("").await;
    let mut device = world.device(3).await;
    let mut claims = with("sub", "bob");
    claims["cnf"] = json!({ "kid": device.id().to_string() });
    let response = ask(&world, &mut device, &[KID], Some(&shop.sign(&claims)))
        .await
        .unwrap();
    licensed(&world, &device, &response.results[0]);
    // The same token, stolen, on the device of somebody else.
    let mut thief = Device::new(8, &Suite::ALL);
    let token = world.token_for(TokenRequest::new("mallory")).await;
    thief.enrol(&world, &token).await.unwrap();
    for stolen in [claims, self::claims()] {
        let response = ask(&world, &mut thief, &[KID], Some(&shop.sign(&stolen)))
            .await
            .unwrap();
        assert_eq!(denied(&response).code, AUTHORIZATION_REFUSED);
    }
}

#[tokio::test]
async fn v_046_a_token_of_a_single_use_key_is_good_for_one_answer() {
    let shop = Shop::new();
    let mut world = shop.world("single_use = true").await;
    let mut device = world.device(3).await;
    let token = shop.sign(&claims());
    let recipient = world.recipient().await;
    let mut first = device.request(&recipient, &[KID]);
    first.authorization = Some(token.clone());
    // What the device cannot use is not issued, and uses up nothing.
    let mut unable = device.request(&recipient, &[KID]);
    unable.capabilities.key_types = vec![1];
    unable.authorization = Some(token.clone());
    let response = device.ask(&world, &unable).await.unwrap();
    assert_eq!(denied(&response).code, 304);

    let response = device.ask(&world, &first).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    let again = device.ask(&world, &first).await.unwrap();
    assert_eq!(
        ids(&world, &response),
        ids(&world, &again),
        "the same request is no second use"
    );
    for _ in 0..2 {
        let response = ask(&world, &mut device, &[KID], Some(&token)).await.unwrap();
        let denial = denied(&response);
        assert_eq!(denial.code, AUTHORIZATION_REFUSED);
        assert!(denial.sentence.contains("used before"), "{}", denial.sentence);
        world.reopen().await;
    }
    let other = shop.sign(&with("jti", "2"));
    let response = ask(&world, &mut device, &[KID], Some(&other)).await.unwrap();
    licensed(&world, &device, &response.results[0]);
    assert_eq!(world.count("SELECT count(*) FROM used_authorizations").await, 2);
    // Rows go when what they name has long expired.
    world.clock.advance(86_400 + 601);
    let mut later = claims();
    for time in ["iat", "nbf", "exp"] {
        later[time] = (later[time].as_u64().unwrap() + 86_400 + 601).into();
    }
    later["jti"] = "3".into();
    let response = ask(&world, &mut device, &[KID], Some(&shop.sign(&later)))
        .await
        .unwrap();
    assert!(response.results[0].license.is_some());
    assert_eq!(world.count("SELECT count(*) FROM used_authorizations").await, 1);
}

#[tokio::test]
async fn v_046_of_requests_at_the_same_time_one_uses_the_token() {
    let shop = Shop::new();
    let world = shop.world("single_use = true").await;
    let token = shop.sign(&claims());
    let mut devices = Vec::new();
    for seed in 20..28 {
        devices.push(world.device(seed).await);
    }
    let recipient = world.recipient().await;
    let sealed: Vec<_> = devices
        .iter_mut()
        .map(|device| {
            let mut body = device.request(&recipient, &[KID]);
            body.authorization = Some(token.clone());
            let sealed = device.seal(&recipient, Suite::P256, &body);
            (sealed, pending(&body))
        })
        .collect();
    let tasks: Vec<_> = sealed
        .into_iter()
        .map(|(sealed, pending)| {
            let server = world.server.clone();
            tokio::spawn(async move { (server.issue(&sealed).await, pending) })
        })
        .collect();
    let mut licenses = 0;
    for task in tasks {
        match task.await.unwrap() {
            (Ok(answer), pending) => {
                let response = read(&world, &answer, &pending);
                match &response.results[0].denial {
                    None => licenses += 1,
                    Some(denial) => assert_eq!(denial.code, AUTHORIZATION_REFUSED),
                }
            }
            (Err(problem), _) => assert_eq!(problem.code, BUSY, "{}", problem.detail),
        }
    }
    assert_eq!(licenses, 1);
    assert_eq!(world.count("SELECT count(*) FROM issued").await, 1);
}

#[tokio::test]
async fn each_algorithm_has_its_keys_and_no_other() {
    let files: [(&str, &rcgen::SignatureAlgorithm, Algorithm); 3] = [
        ("ES256", &rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
        ("ES384", &rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384),
        ("EdDSA", &rcgen::PKCS_ED25519, Algorithm::EdDSA),
    ];
    let keys: Vec<_> = files
        .iter()
        .map(|(name, kind, algorithm)| (*name, KeyPair::generate_for(kind).unwrap(), *algorithm))
        .collect();
    let section = |name: &str, algorithm: &str, file: &str| {
        format!(
            "[[authorization.jwt]]\nname = \"{name}\"\nalgorithm = \"{algorithm}\"\naudience = \"licenses\"\n\
             key_file = \"{file}\"\n"
        )
    };
    let mut sections: Vec<_> = keys.iter().map(|(name, ..)| section(name, name, name)).collect();
    sections.push(section("HS256", "HS256", "secret"));
    let pems: Vec<_> = keys
        .iter()
        .map(|(name, key, _)| (*name, key.public_key_pem()))
        .collect();
    let mut stored: Vec<_> = pems.iter().map(|(name, pem)| (*name, pem.as_bytes())).collect();
    stored.push(("secret", SECRET));
    let world = world("[\"jwt\"]", &sections.concat(), &stored).await;
    let mut device = world.device(3).await;
    let mut tokens: Vec<_> = keys
        .iter()
        .map(|(_, key, algorithm)| {
            let pem = key.serialize_pem();
            let key = match algorithm {
                Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
                _ => EncodingKey::from_ec_pem(pem.as_bytes()),
            };
            encode(&Header::new(*algorithm), &claims(), &key.unwrap()).unwrap()
        })
        .collect();
    let secret = EncodingKey::from_secret(SECRET.trim_ascii_end());
    tokens.push(encode(&Header::default(), &claims(), &secret).unwrap());
    for token in tokens {
        let response = ask(&world, &mut device, &[KID], Some(&token)).await.unwrap();
        licensed(&world, &device, &response.results[0]);
    }
    let kek = keyward_server::sealing::KekSource::File;
    let findings = keyward_server::doctor::examine(&world.dir(), kek, NOW).await;
    let good = "the keys and secrets of those who decide are there";
    assert!(
        findings.iter().any(|finding| finding.what == good),
        "{findings:?}"
    );
    // A key's file that is for another algorithm, private, or no key, keeps the server from starting.
    let private = keys[0].1.serialize_pem();
    for (algorithm, content) in [
        ("ES384", pems[0].1.as_bytes()),
        ("RS256", pems[0].1.as_bytes()),
        ("EdDSA", pems[1].1.as_bytes()),
        ("ES256", pems[2].1.as_bytes()),
        ("ES256", private.as_bytes()),
        ("ES256", b"no key"),
        ("ES256", br#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#),
        ("ES384", br#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#),
        ("ES256", SECRET),
        ("HS256", pems[0].1.as_bytes()),
        ("HS256", b"short"),
        (
            "HS256",
            b"{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
        ),
    ] {
        let refused = opened_with(&section("key", algorithm, "key"), content, 0o600).await;
        assert!(refused.contains("operator.toml: "), "{algorithm}: {refused}");
    }
    let exposed = opened_with(&section("key", "HS256", "key"), SECRET, 0o644).await;
    assert!(exposed.contains("can be read by other users"), "{exposed}");
}

/// RFC 7515 appendix A.3: the signature verifies, and the claims are not those of a license.
#[tokio::test]
async fn a_token_of_the_standards_own_example_verifies_and_grants_nothing() {
    const KEY: &str = r#"{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm\
                         NvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmW\
                         QxfKTUJqPP3-Kg6NU1Q";
    let section = "[[authorization.jwt]]\nname = \"rfc\"\nalgorithm = \"ES256\"\naudience = \"licenses\"\nkey_file = \"key\"\n";
    let world = world("[\"jwt\"]", section, &[("key", KEY.as_bytes())]).await;
    let mut device = world.device(3).await;
    for (token, reason) in [
        (TOKEN.to_owned(), "a claim is missing"),
        (
            TOKEN.replace("eyJpc3Mi", "eyJpc3Nj"),
            "its signature does not verify",
        ),
    ] {
        let response = ask(&world, &mut device, &[KID], Some(&token)).await.unwrap();
        assert!(
            denied(&response).sentence.contains(reason),
            "{}",
            denied(&response).sentence
        );
    }
}

/// What the server says when it is opened with a key's file.
async fn opened_with(section: &str, content: &[u8], mode: u32) -> String {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    let path = world.dir().join("key");
    super::write_private(&path, content);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    super::configure(&world, "[\"jwt\"]", section);
    let kek = keyward_server::sealing::KekSource::File;
    let opened = keyward_server::Server::open(&world.dir(), kek, world.clock.clone()).await;
    let refused = opened.unwrap_err().to_string();
    let kek = keyward_server::sealing::KekSource::File;
    let findings = keyward_server::doctor::examine(&world.dir(), kek, NOW).await;
    let found = findings.iter().find(|finding| finding.about == "authorization");
    assert_eq!(found.unwrap().what, refused);
    refused
}
