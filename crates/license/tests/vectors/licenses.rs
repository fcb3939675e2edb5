//! Licenses, the request that asks for them and the response that brings them; results of exchange keys; embedded stores.

use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, Material, Operation},
    kdf::sha256,
    x509::Role,
};
use keyward_license::{
    certificate::device_id,
    codec::{Bytes, DecodeError},
    embedded::EmbeddedStore,
    ids::Kid,
    key_exchange::{Decryptor, ExchangeError, Input, Output, Performer, Ring},
    license::{Chain, License, LicenseBody, LicenseKeys, LicenseKind},
    request::LicenseRequest,
    response::{LicenseResponse, Outcome},
    signed::{MessageError, SignedBody, Unverified},
};
use keyward_testkit::vectors::Vector;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    Answer, Refused, anchor, answers_request, form, input, now, open_response, refused, rule, sealing_key,
    signed_request, signer_rule,
};

pub(super) fn license(vector: &Vector, message: &[u8]) -> Answer {
    let arrives = vector.inputs["arrives"] == "in-response";
    let held = vector.inputs.get("root-license").map(|root| {
        let root = hex::decode(root).unwrap();
        open_license(vector, &root, false, &[]).unwrap()
    });
    let (license, keys) = open_license(vector, message, arrives, held.as_slice())?;
    let nonce = vector.inputs.get("request-nonce");
    // V-024
    if license
        .body()
        .nonce
        .is_some_and(|own| nonce != Some(&own.to_string()))
    {
        return refused("V-024");
    }
    Ok(vec![
        ("license-id", license.body().id.to_string()),
        ("kid", license.body().asked_kid().unwrap().to_string()),
        learned_keys(license.body(), &keys),
        ("proof-key", hex::encode(keys.proof_key.expose())),
    ])
}

fn learned_keys(body: &LicenseBody, keys: &LicenseKeys) -> (&'static str, String) {
    match body.kind {
        LicenseKind::Simple | LicenseKind::Leaf => return ("content-key", hex::encode(&keys.keys[0].0)),
        LicenseKind::Root => return ("root-key", hex::encode(keys.root_key().unwrap().expose())),
        LicenseKind::KeyExchange => {}
    }
    let described = body.keys.iter().zip(&keys.keys);
    let keys = described.map(|(described, key)| {
        let (algorithm, operation) = (described.algorithm.unwrap().0, described.operation.unwrap());
        let (kid, version) = (described.kid, described.version.unwrap());
        format!("{kid}:{algorithm}:{operation}:{version}:{}", hex::encode(&key.0))
    });
    ("exchange-keys", keys.collect::<Vec<_>>().join(" "))
}

pub(super) fn exchange_result(vector: &Vector, result: &[u8]) -> Answer {
    let number = |name: &str| vector.inputs[name].parse().unwrap();
    let algorithm = Algorithm::from_number(number("algorithm")).unwrap();
    let operation = Operation::from_number(number("operation").unsigned_abs()).unwrap();
    let key = SecretBytes::new(input(vector, "exchange-key"));
    let material = Material::from_bytes(algorithm, operation, key).unwrap();
    let version = u32::try_from(number("key-version")).unwrap();
    let given = |name: &str| vector.inputs.get(name).map(|text| hex::decode(text).unwrap());
    let ring = Ring::new(Kid::new([0; 16]), given("context"), vec![(version, material)]).unwrap();
    let (aad, data) = (given("aad").unwrap_or_default(), given("data"));
    let refused = |error: ExchangeError| match error {
        ExchangeError::WrongContext => Refused("R-051", error.to_string()),
        other => Refused("V-035", other.to_string()),
    };
    if vector.inputs["form"] == "stream" {
        let mut stream = Decryptor::new(ring).unwrap().stream(&aad).map_err(refused)?;
        let mut clear = Vec::new();
        for piece in result.chunks(1000) {
            stream.update(piece, &mut clear).map_err(refused)?;
        }
        stream.finish(&mut clear).map_err(refused)?;
        return Ok(vec![("data", hex::encode(clear))]);
    }
    let input = Input {
        data: data.as_deref().unwrap_or(result),
        aad: &aad,
        signature: data.as_ref().map(|_| result),
    };
    let mut rng = ChaCha20Rng::from_seed([0; 32]);
    match Performer::new(ring)
        .unwrap()
        .perform(&input, &mut rng)
        .map_err(refused)?
    {
        Output::Secret(clear) => Ok(vec![("data", hex::encode(clear.expose()))]),
        Output::Verified => Ok(vec![("verified", "yes".into())]),
        Output::Result(_) => panic!("{} is no result to take", vector.name),
    }
}

/// A license with its keys.
type Opened = (License, LicenseKeys);

/// Opens a license, a leaf with the root that is held.
fn open_license(vector: &Vector, message: &[u8], arrives: bool, roots: &[Opened]) -> Result<Opened, Refused> {
    let license =
        License::verify(message, &anchor(vector), arrives.then_some(now(vector))).map_err(license_rule)?;
    if license.body().kind == LicenseKind::Leaf {
        return open_leaf(license, roots);
    }
    // V-022
    let device = input(vector, "device-id");
    if !license.body().binding.is_device(&device[..].try_into().unwrap()) {
        return refused("V-022");
    }
    // V-023
    let sealed = license.sealed();
    let key = sealing_key(vector, "device", license.sealing().suite().unwrap());
    let opened = key.open(
        &license.key_binding(),
        &sealed.encapsulated.0,
        &sealed.ciphertext.0,
    );
    let opened = opened.map_err(|_| Refused("V-023", String::new()))?;
    let keys = license.read_keys(&opened).map_err(|error| match error {
        // V-034
        DecodeError::Invalid(NOT_OF_ITS_ALGORITHM) => Refused("V-034", error.to_string()),
        error => Refused("V-023", error.to_string()),
    })?;
    Ok((license, keys))
}

fn open_leaf(leaf: License, roots: &[Opened]) -> Result<Opened, Refused> {
    let of_its_own = |(root, _): &&Opened| root.body().asked_kid().ok() == leaf.body().leaf_of();
    let (root, keys) = roots.iter().find(of_its_own).or(roots.first()).unwrap();
    // V-037
    Chain::new(root.body(), leaf.body()).map_err(|fault| Refused("V-037", fault.to_string()))?;
    // V-023
    let keys = leaf.open_under(&keys.root_key().unwrap());
    let keys = keys.map_err(|error| match error {
        MessageError::NotOpened => Refused("V-023", String::new()),
        MessageError::Decode(error) => Refused("V-023", error.to_string()),
        other => rule(other),
    })?;
    Ok((leaf, keys))
}

/// V-038
pub(super) fn embedded_store(message: &[u8]) -> Answer {
    let store = EmbeddedStore::read(message).map_err(|error| Refused("V-038", error.to_string()))?;
    let licenses = store.licenses().iter();
    let digests: Vec<_> = licenses.map(|license| hex::encode(sha256(&[license]))).collect();
    Ok(vec![("licenses", digests.join(" "))])
}

const NOT_OF_ITS_ALGORITHM: &str = "an exchange key is not one of its algorithm and operation";

pub(super) fn license_request(vector: &Vector, message: &[u8]) -> Answer {
    // V-041
    let verified = signed_request::<LicenseRequest>(vector, message, ("V-041", Role::Device))?;
    let body = verified.body();
    body.check_bounds().map_err(form)?;
    let kids: Vec<_> = body.kids.iter().flatten().map(Kid::to_string).collect();
    Ok(vec![
        (
            "device-id",
            device_id(verified.signer().unwrap().public_key())
                .unwrap()
                .to_string(),
        ),
        ("nonce", body.nonce.to_string()),
        ("response-key", hex::encode(body.response_key.expose())),
        ("kids", kids.join(" ")),
    ])
}

pub(super) fn license_response(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, LicenseResponse::CONTEXT)?;
    let parsed = Unverified::<LicenseResponse>::parse(&opened).map_err(rule)?;
    // V-013
    let verified = parsed
        .verify(&anchor(vector), Role::LicenseServer, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-013", error))?;
    let body = verified.body();
    answers_request(vector, body)?;
    // V-014
    let asked: Vec<Kid> = vector.inputs["request-kids"]
        .split(' ')
        .map(|kid| kid.parse().unwrap())
        .collect();
    let takes_more = vector.inputs.contains_key("takes-more");
    body.check_results(|kid| asked.contains(kid), takes_more)
        .map_err(|_| Refused("V-014", String::new()))?;
    let roots = roots_of(vector, body);
    let (mut granted, mut denied) = (Vec::new(), Vec::new());
    for result in &body.results {
        match result.outcome().map_err(|_| Refused("V-014", String::new()))? {
            Outcome::License(bytes) => {
                let (license, _) = open_license(vector, bytes, true, &roots)?;
                // V-025
                if license.body().asked_kid() != Ok(result.kid) {
                    return refused("V-025");
                }
                granted.push(result.kid.to_string());
            }
            Outcome::Denied(denial) => denied.push(format!("{}:{}", result.kid, denial.code)),
        }
    }
    let mut learned = vec![
        ("granted", granted.join(" ")),
        ("denied", denied.join(" ")),
        ("server-time", body.server_time.0.to_string()),
    ];
    learned.extend(body.renew_at.map(|time| ("renew-at", time.0.to_string())));
    Ok(learned)
}

/// The root licenses of a response, opened.
fn roots_of(vector: &Vector, body: &LicenseResponse) -> Vec<Opened> {
    let licenses = body.results.iter().filter_map(|result| result.license.as_ref());
    let is_root = |bytes: &&Bytes| {
        License::verify(&bytes.0, &anchor(vector), None)
            .is_ok_and(|license| license.body().kind == LicenseKind::Root)
    };
    let roots = licenses.filter(is_root);
    roots
        .map(|bytes| open_license(vector, &bytes.0, true, &[]).unwrap())
        .collect()
}

/// The step of an error of [`License::verify`].
fn license_rule(error: MessageError) -> Refused {
    const WINDOW: &str = "the license ends before it begins";
    const KNOWN: [&str; 7] = [
        "a duration of the license is of no seconds",
        "an output protection level is not a published one",
        "a list of the license is empty, too long, or holds something twice",
        "an extended restriction holds too much data",
        "an explicit restriction holds data that is not of its GUID",
        "the license holds an explicit restriction that this version does not know",
        "a flag that is not set is left out",
    ];
    const FITTING: [&str; 5] = [
        "a grace period needs an end",
        "a real-time expiration needs an end or an expiration after first play",
        "a removal date needs an end and does not come before it",
        "an HDCP type needs a level of uncompressed digital video of at least 271",
        "a key exchange license holds a term about playing",
    ];
    const EXCHANGE: [&str; 6] = [
        "a license holds too many keys",
        "an exchange key is for no algorithm of this version, or for no operation of its algorithm",
        "an exchange key has no version, or a version, context or use limit out of its bounds",
        "the versions of a key do not stand together in the license",
        "the versions of a key in a license differ in more than the version, or not in that, or stand \
         not newest first",
        "a license holds two keys of one algorithm",
    ];
    const CHAIN: [&str; 4] = [
        "the license is sealed as its kind may not be sealed",
        "a leaf license holds a term of time, which is its root's to hold",
        "a leaf license has the key id of its root",
        "a license is to be embedded that is not one to store, or opens no content",
    ];
    const FORM: [&str; 7] = [
        "the license is bound to what its kind may not be bound to",
        "the license holds a key that its kind may not hold",
        "the license grants a right that its kind may not grant",
        "a license holds exactly one key",
        "an in-memory license holds the request's nonce, another does not",
        "a license grants at least one right",
        "the license's name is too long",
    ];
    match error {
        MessageError::Decode(DecodeError::Invalid(WINDOW)) => Refused("V-026", error.to_string()),
        MessageError::Decode(DecodeError::Invalid(fault)) if FORM.contains(&fault) => {
            Refused("V-021", error.to_string())
        }
        MessageError::Decode(DecodeError::Invalid(fault)) if KNOWN.contains(&fault) => {
            Refused("V-030", error.to_string())
        }
        MessageError::Decode(DecodeError::Invalid(fault)) if FITTING.contains(&fault) => {
            Refused("V-031", error.to_string())
        }
        MessageError::Decode(DecodeError::Invalid(fault)) if EXCHANGE.contains(&fault) => {
            Refused("V-032", error.to_string())
        }
        MessageError::Decode(DecodeError::Invalid(fault)) if CHAIN.contains(&fault) => {
            Refused("V-036", error.to_string())
        }
        other => rule(other),
    }
}
