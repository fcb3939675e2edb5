//! Every file in `vectors/` gets the verdict that it states, for the reason that it states.
//!
//! Steps that are the client's or the server's own (who it is bound to, what was asked for) are taken
//! here as `spec/protocol.md` words them; everything else is this crate's.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failure is a failed test"
)]

use std::{collections::BTreeSet, fs, path::Path};

use keyward_crypto::{
    ChainFault, CryptoError, Secret, SecretBytes,
    ecdsa::PublicKey,
    exchange::{Algorithm, Material, Operation},
    hpke::{KeyPair, Suite},
    kdf::sha256,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    certificate::{Claims, certificate_digest, device_id},
    codec::{Bytes, DecodeError, Wire},
    discovery::Discovery,
    embedded::EmbeddedStore,
    enrolment::{EnrolmentRequest, EnrolmentResponse, SHARE_CONTEXT, open_chain},
    envelope::{SealedRequest, SealedResponse, binding},
    error_code::Problem,
    exchange::Response,
    ids::{Digest, Kid},
    key_exchange::{Decryptor, ExchangeError, Input, Output, Performer, Ring},
    license::{Chain, KeyType, License, LicenseBody, LicenseKeys, LicenseKind, SealedKey},
    operator_profile::OperatorProfile,
    packaging::{PackagingKeys, PackagingRequest, PackagingResponse, Periods, WantedTrack, key_binding},
    request::LicenseRequest,
    response::{LicenseResponse, Outcome},
    revocation::{
        Adopted, ListBounds, ListFault, RevocationList, RevocationLists, RevocationListsFile, UnknownStatus,
    },
    signed::{MessageError, SignedBody, Unverified},
    time::Timestamp,
};
use keyward_testkit::vectors::{MessageType, Vector, Verdict};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Which step refused, and our words for it where they are this crate's.
#[derive(Debug)]
struct Refused(&'static str, String);

type Answer = Result<Vec<(&'static str, String)>, Refused>;

#[test]
fn every_vector_gets_its_verdict() {
    let mut ran = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut wrong = Vec::new();
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let vector: Vector = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), vector.name);
        wrong.extend(hold(&vector));
        ran.insert((vector.message_type, vector.verdict == Verdict::Valid));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(ran.len(), 32, "every message type has valid and invalid cases");
}

/// What is wrong with the answer to a vector, if anything.
pub(crate) fn hold(vector: &Vector) -> Option<String> {
    let stated = match vector.verdict {
        Verdict::Valid => format!("valid, {:?}", vector.learns),
        Verdict::Invalid => format!(
            "{}: {}",
            vector.rule.as_ref().unwrap(),
            vector.error.as_ref().unwrap()
        ),
    };
    let answered = match judge(vector) {
        Ok(learned) => {
            let learned: std::collections::BTreeMap<_, _> = learned.into_iter().collect();
            format!("valid, {learned:?}")
        }
        Err(Refused(rule, error)) => format!("{rule}: {error}"),
    };
    (stated != answered).then(|| format!("{}\n  stated   {stated}\n  answered {answered}", vector.name))
}

fn judge(vector: &Vector) -> Answer {
    let message = hex::decode(&vector.message).unwrap();
    match vector.message_type {
        MessageType::License => license(vector, &message),
        MessageType::LicenseRequest => license_request(vector, &message),
        MessageType::LicenseResponse => license_response(vector, &message),
        MessageType::EnrolmentRequest => enrolment_request(vector, &message),
        MessageType::EnrolmentResponse => enrolment_response(vector, &message),
        MessageType::PackagingRequest => packaging_request(vector, &message),
        MessageType::PackagingResponse => packaging_response(vector, &message),
        MessageType::Discovery => discovery(vector, &message),
        MessageType::OperatorProfile => operator_profile(&message),
        MessageType::Problem => problem(&message),
        MessageType::ExchangeResult => exchange_result(vector, &message),
        MessageType::EmbeddedStore => embedded_store(&message),
        MessageType::AcknowledgeRequest => acknowledge_request(vector, &message),
        MessageType::Receipt => receipt(vector, &message),
        MessageType::RevocationList => revocation_list(vector, &message),
        MessageType::RevocationLists => revocation_lists(&message),
    }
}

fn license(vector: &Vector, message: &[u8]) -> Answer {
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

fn exchange_result(vector: &Vector, result: &[u8]) -> Answer {
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
fn embedded_store(message: &[u8]) -> Answer {
    let store = EmbeddedStore::read(message).map_err(|error| Refused("V-038", error.to_string()))?;
    let licenses = store.licenses().iter();
    let digests: Vec<_> = licenses.map(|license| hex::encode(sha256(&[license]))).collect();
    Ok(vec![("licenses", digests.join(" "))])
}

const NOT_OF_ITS_ALGORITHM: &str = "an exchange key is not one of its algorithm and operation";

fn license_request(vector: &Vector, message: &[u8]) -> Answer {
    let certificate = Certificate::parse(&input(vector, "certificate")).unwrap();
    let opened = open_request(vector, message, LicenseRequest::CONTEXT)?;
    let parsed = Unverified::<LicenseRequest>::parse(&opened).map_err(rule)?;
    // V-041
    let verified = parsed
        .verify(&anchor(vector), Role::Device, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-041", error))?;
    let body = verified.body();
    // V-040
    if body.recipient != certificate_digest(&certificate) {
        return Err(Refused(
            "V-040",
            "the body names another certificate than the envelope".into(),
        ));
    }
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

fn open_request(vector: &Vector, message: &[u8], context: &str) -> Result<Vec<u8>, Refused> {
    let certificate = Certificate::parse(&input(vector, "certificate")).unwrap();
    let envelope = SealedRequest::decode(message).map_err(form)?;
    // V-040
    if envelope.recipient != certificate_digest(&certificate) {
        return Err(Refused(
            "V-040",
            "the request is sealed to another certificate".into(),
        ));
    }
    let keys: Vec<_> = Suite::ALL
        .into_iter()
        .map(|suite| sealing_key(vector, "server", suite))
        .collect();
    let opened = envelope.open(context, &keys).map_err(|error| match error {
        MessageError::NotOpened => Refused("V-040", error.to_string()),
        other => rule(other),
    })?;
    Ok(opened.expose().to_vec())
}

fn license_response(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, LicenseResponse::CONTEXT)?;
    let parsed = Unverified::<LicenseResponse>::parse(&opened).map_err(rule)?;
    // V-013
    let verified = parsed
        .verify(&anchor(vector), Role::LicenseServer, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-013", error))?;
    let body = verified.body();
    answers_request(vector, &body.request, body.nonce.as_bytes())?;
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

fn open_response(vector: &Vector, message: &[u8], context: &str) -> Result<Vec<u8>, Refused> {
    let envelope = SealedResponse::decode(message).map_err(form)?;
    let key = Secret::from_slice(&input(vector, "response-key")).unwrap();
    let digest = Digest::try_from(&input(vector, "request-digest")[..]).unwrap();
    // V-011
    let opened = envelope
        .open(context, &key, &digest)
        .map_err(|error| match error {
            MessageError::NotOpened => Refused("V-011", error.to_string()),
            other => rule(other),
        })?;
    Ok(opened.expose().to_vec())
}

/// V-012
fn answers_request(vector: &Vector, request: &Digest, nonce: &[u8]) -> Result<(), Refused> {
    let matches =
        request.as_bytes()[..] == input(vector, "request-digest") && nonce == input(vector, "request-nonce");
    if matches { Ok(()) } else { refused("V-012") }
}

fn enrolment_request(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_request(vector, message, EnrolmentRequest::CONTEXT)?;
    let parsed = Unverified::<EnrolmentRequest>::parse(&opened).map_err(rule)?;
    // V-050
    let verified = parsed.verify_with_own_key(|body| PublicKey::from_spki_der(&body.public_key.0));
    let verified = verified.map_err(|error| match error {
        MessageError::BadSignature | MessageError::Cose(CryptoError::MalformedKey(_)) => {
            Refused("V-050", error.to_string())
        }
        other => rule(other),
    })?;
    let body = verified.body();
    // V-052
    let keys = body
        .checked_sealing_keys()
        .map_err(|error| Refused("V-052", error.to_string()))?;
    let suites: Vec<_> = keys.iter().map(|(suite, _)| suite.number().to_string()).collect();
    Ok(vec![
        ("public-key", hex::encode(&body.public_key.0)),
        ("token", body.token.clone()),
        ("role", body.role.number().to_string()),
        ("suites", suites.join(" ")),
    ])
}

fn enrolment_response(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, EnrolmentResponse::CONTEXT)?;
    let parsed = Unverified::<EnrolmentResponse>::parse(&opened).map_err(rule)?;
    let verified = parsed
        .verify(&anchor(vector), Role::LicenseServer, |_| vec![now(vector)])
        .map_err(rule)?;
    let body = verified.body();
    answers_request(vector, &body.request, body.nonce.as_bytes())?;
    let leaf = read_certificate(vector, body).ok_or(Refused("V-053", String::new()))?;
    Ok(vec![("leaf", hex::encode(leaf.der()))])
}

/// V-053
fn read_certificate(vector: &Vector, body: &EnrolmentResponse) -> Option<Certificate> {
    let own: Vec<_> = Suite::ALL
        .into_iter()
        .map(|suite| sealing_key(vector, "device", suite))
        .collect();
    let opened = body.shares.iter().map(|share| {
        let suite = Suite::from_number(share.suite)?;
        let pair = own.iter().find(|pair| pair.suite() == suite)?;
        pair.open(
            &binding(SHARE_CONTEXT, suite, &body.request),
            &share.encapsulated.0,
            &share.ciphertext.0,
        )
        .ok()
    });
    let shares = opened.collect::<Option<Vec<SecretBytes>>>()?;
    let chain = (shares.len() == own.len())
        .then(|| open_chain(&body.chain, &shares, &body.request))?
        .ok()?;
    let leaf = anchor(vector).verify(&chain, Role::Device, now(vector).0).ok()?;
    let named = Claims::of(&leaf).ok()?.sealing_keys?;
    let names_own = leaf.public_key().to_spki_der().ok()? == input(vector, "device-public-key")
        && named.len() == own.len()
        && named
            .iter()
            .zip(&own)
            .all(|(named, own)| named.public_key.0 == own.public_key());
    names_own.then_some(leaf)
}

fn packaging_request(vector: &Vector, message: &[u8]) -> Answer {
    let certificate = Certificate::parse(&input(vector, "certificate")).unwrap();
    let opened = open_request(vector, message, PackagingRequest::CONTEXT)?;
    let parsed = Unverified::<PackagingRequest>::parse(&opened).map_err(rule)?;
    // V-070
    let verified = parsed
        .verify(&anchor(vector), Role::Packager, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-070", error))?;
    let body = verified.body();
    // V-040
    if body.recipient != certificate_digest(&certificate) {
        return Err(Refused(
            "V-040",
            "the body names another certificate than the envelope".into(),
        ));
    }
    body.check_bounds().map_err(form)?;
    // V-073
    body.check_supported()
        .map_err(|error| Refused("V-073", error.to_string()))?;
    let tracks = body.tracks.iter();
    let tracks: Vec<_> = tracks
        .map(|track| format!("{}:{}", track.label, track.key_type.number()))
        .collect();
    let mut learned = vec![
        (
            "packager-id",
            device_id(verified.signer().unwrap().public_key())
                .unwrap()
                .to_string(),
        ),
        ("nonce", body.nonce.to_string()),
        ("content-id", body.content_id.clone()),
        ("tracks", tracks.join(" ")),
        ("content-header", body.content_header.to_string()),
        ("leaves", body.leaves.is_some().to_string()),
    ];
    let periods = body.periods();
    learned.extend(periods.map(|periods| ("periods", format!("{}:{}", periods.first, periods.count))));
    Ok(learned)
}

fn packaging_response(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, PackagingResponse::CONTEXT)?;
    let parsed = Unverified::<PackagingResponse>::parse(&opened).map_err(rule)?;
    // V-074
    let verified = parsed
        .verify(&anchor(vector), Role::LicenseServer, |body| {
            vec![now(vector), body.server_time]
        })
        .map_err(|error| signer_rule("V-074", error))?;
    let body = verified.body();
    answers_request(vector, &body.request, body.nonce.as_bytes())?;
    // V-075
    let asked: Vec<_> = vector.inputs["request-tracks"]
        .split(' ')
        .map(|track| {
            let (label, number) = track.split_once(':').unwrap();
            WantedTrack {
                label: label.to_owned(),
                key_type: KeyType::from_number(number.parse().unwrap()).unwrap(),
            }
        })
        .collect();
    let tracks = |error: DecodeError| Refused("V-075", error.to_string());
    let periods = vector.inputs.get("request-periods").map(|text| {
        let (first, count) = text.split_once(':').unwrap();
        Periods {
            first: first.parse().unwrap(),
            count: count.parse().unwrap(),
        }
    });
    body.check_tracks(&asked, periods).map_err(tracks)?;
    // V-076
    let sealed = SealedKey::decode(&verified.attachments()[0].0).map_err(form)?;
    let suite = Suite::from_number(sealed.suite).unwrap();
    let clear = sealing_key(vector, "packager", suite)
        .open(
            &key_binding(suite, verified.body_bytes()),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        )
        .map_err(|_| Refused("V-076", String::new()))?;
    let keys = PackagingKeys::decode(clear.expose()).map_err(form)?;
    keys.check(body.tracks.len())
        .map_err(|error| Refused("V-076", error.to_string()))?;
    // V-078
    let leaves = PackagingResponse::leaves(&verified, &anchor(vector), now(vector))
        .map_err(|error| Refused("V-078", error.to_string()))?;
    let learned: Vec<_> = body
        .tracks
        .iter()
        .zip(&keys.keys)
        .map(|(track, key)| format!("{}:{}:{}", track.label, track.kid, hex::encode(key.expose())))
        .collect();
    let roots: Vec<_> = body.roots.iter().flatten().map(Kid::to_string).collect();
    let leaves: Vec<_> = leaves
        .iter()
        .map(|leaf| hex::encode(sha256(&[leaf.bytes()])))
        .collect();
    Ok(vec![
        ("tracks", learned.join(" ")),
        ("license-url", body.license_url.clone()),
        (
            "content-header",
            hex::encode(body.content_header.as_ref().map_or(&[][..], |header| &header.0)),
        ),
        ("roots", roots.join(" ")),
        ("leaves", leaves.join(" ")),
    ])
}

fn acknowledge_request(vector: &Vector, message: &[u8]) -> Answer {
    let certificate = Certificate::parse(&input(vector, "certificate")).unwrap();
    let opened = open_request(vector, message, AcknowledgeRequest::CONTEXT)?;
    let parsed = Unverified::<AcknowledgeRequest>::parse(&opened).map_err(rule)?;
    // V-041
    let verified = parsed
        .verify(&anchor(vector), Role::Device, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-041", error))?;
    let body = verified.body();
    // V-040
    if body.recipient != certificate_digest(&certificate) {
        return Err(Refused(
            "V-040",
            "the body names another certificate than the envelope".into(),
        ));
    }
    body.check_bounds().map_err(form)?;
    let licenses = body.licenses.iter().map(|one| {
        let license = one.license.map(|id| id.to_string()).unwrap_or_default();
        let reason = one.reason.as_deref().unwrap_or_default();
        format!("{}:{license}:{}:{reason}", one.kid, one.outcome.number())
    });
    let device = device_id(verified.signer().unwrap().public_key()).unwrap();
    Ok(vec![
        ("device-id", device.to_string()),
        ("nonce", body.nonce.to_string()),
        ("transaction", body.transaction.to_string()),
        ("licenses", licenses.collect::<Vec<_>>().join("; ")),
    ])
}

fn receipt(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, Receipt::CONTEXT)?;
    let parsed = Unverified::<Receipt>::parse(&opened).map_err(rule)?;
    // V-065
    let verified = parsed
        .verify(&anchor(vector), Receipt::SIGNER, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-065", error))?;
    let body = verified.body();
    answers_request(vector, &body.request, body.nonce.as_bytes())?;
    if body.transaction.as_bytes()[..] != input(vector, "request-transaction") {
        return refused("V-065");
    }
    Ok(vec![
        ("transaction", body.transaction.to_string()),
        ("server-time", body.server_time.0.to_string()),
    ])
}

fn revocation_list(vector: &Vector, message: &[u8]) -> Answer {
    let list = RevocationList::decode(message).map_err(form)?;
    let mut lists = RevocationLists::new(anchor(vector), ListBounds::CLIENT, UnknownStatus::Accept);
    if let Some(held) = vector.inputs.get("lists-held") {
        let held = Vec::<RevocationList>::decode(&hex::decode(held).unwrap()).unwrap();
        let (_, faults) = lists.adopt_all(&held, Some(now(vector)));
        assert_eq!(faults, [], "{}", vector.name);
    }
    let adopted = lists
        .adopt(&list, Some(now(vector)))
        .map_err(|fault| match fault {
            ListFault::Devices(error) => signer_rule("V-063", error),
            ListFault::Certificates(error) => Refused("V-064", error.to_string()),
            ListFault::OtherOperator => Refused("V-063", fault.to_string()),
            ListFault::FromTheFuture => {
                let of_devices = matches!(list, RevocationList::Devices(_));
                Refused(if of_devices { "V-063" } else { "V-064" }, fault.to_string())
            }
            other => panic!("no step refuses with {other:?}"),
        })?;
    // What the list itself says, whether it is held now or not.
    let mut alone = RevocationLists::new(anchor(vector), ListBounds::CLIENT, UnknownStatus::Accept);
    alone.adopt(&list, None).unwrap();
    let state = alone.states().remove(0);
    let newer = match adopted {
        Adopted::Newer => "yes",
        Adopted::NotNewer => "no",
    };
    if adopted == Adopted::Newer {
        assert!(lists.to_wire().contains(&list), "{} is held", vector.name);
    }
    Ok(vec![
        ("list", state.list.to_string()),
        ("number", state.number.to_string()),
        ("newer", newer.into()),
    ])
}

fn revocation_lists(message: &[u8]) -> Answer {
    let file = RevocationListsFile::parse(message).map_err(form)?;
    Ok(vec![
        ("operator", file.operator.to_string()),
        ("lists", file.lists.len().to_string()),
    ])
}

fn discovery(vector: &Vector, message: &[u8]) -> Answer {
    let anchor = anchor(vector);
    let parsed = Unverified::<Discovery>::parse(message).map_err(rule)?;
    // V-060
    let verified = parsed
        .verify(&anchor, Role::LicenseServer, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-060", error))?;
    let body = verified.body();
    if *body.operator.as_bytes() != anchor.operator() {
        return refused("V-060");
    }
    // V-061
    if body.issued > now(vector).plus(300) || now(vector) >= body.expires {
        return refused("V-061");
    }
    // V-062
    let chain: Vec<_> = body.request_encryption.iter().map(|der| der.0.clone()).collect();
    let recipient = anchor.verify(&chain, Role::RequestEncryption, now(vector).0);
    let recipient = recipient.map_err(|_| Refused("V-062", String::new()))?;
    let claims = Claims::of(&recipient).map_err(|_| Refused("V-062", String::new()))?;
    assert_eq!(
        claims.best_sealing_key(&Suite::ALL).map(|(suite, _)| suite),
        Some(Suite::XWing)
    );
    Ok(vec![
        ("license-path", body.license_path.clone()),
        ("enrolment-path", body.enrolment_path.clone()),
        ("packaging-path", body.packaging_path.clone().unwrap_or_default()),
        (
            "acknowledgement-path",
            body.acknowledgement_path.clone().unwrap_or_default(),
        ),
        ("certificate-digest", certificate_digest(&recipient).to_string()),
    ])
}

fn operator_profile(message: &[u8]) -> Answer {
    let profile = OperatorProfile::decode(message).map_err(form)?;
    assert_eq!(profile.operator(), Digest::new(sha256(&[&profile.root.0])));
    Ok(vec![
        ("operator", profile.operator().to_string()),
        ("name", profile.name),
        ("license-servers", profile.license_servers.join(" ")),
    ])
}

fn problem(message: &[u8]) -> Answer {
    let problem = Problem::decode(message).map_err(form)?;
    Ok(vec![
        ("code", problem.code.to_string()),
        ("name", problem.name),
        ("detail", problem.detail),
    ])
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

/// A refused signer is the step that names the signer of this message; the rest are everybody's.
fn signer_rule(step: &'static str, error: MessageError) -> Refused {
    let shared = rule(error);
    if shared.0 == "V-004" {
        Refused(step, shared.1)
    } else {
        shared
    }
}

/// The step of an error that every message may meet.
fn rule(error: MessageError) -> Refused {
    let step = match &error {
        MessageError::Decode(_) | MessageError::Cose(_) => "V-001",
        MessageError::WrongType { .. } => "V-002",
        MessageError::BadSignature => "V-003",
        MessageError::Signer(CryptoError::ChainRefused(fault)) => {
            assert_ne!(
                *fault,
                ChainFault::Invalid,
                "no vector is refused without a reason"
            );
            "V-004"
        }
        MessageError::UnsupportedVersion(_) => "V-005",
        other => panic!("no step refuses with {other:?}"),
    };
    Refused(step, error.to_string())
}

fn form(error: DecodeError) -> Refused {
    Refused("V-001", error.to_string())
}

fn refused<T>(step: &'static str) -> Result<T, Refused> {
    Err(Refused(step, String::new()))
}

fn anchor(vector: &Vector) -> Anchor {
    Anchor::from_der(&input(vector, "root")).unwrap()
}

const fn now(vector: &Vector) -> Timestamp {
    Timestamp(vector.now)
}

fn input(vector: &Vector, name: &str) -> Vec<u8> {
    hex::decode(&vector.inputs[name]).unwrap()
}

fn sealing_key(vector: &Vector, whose: &str, suite: Suite) -> KeyPair {
    let private = input(vector, &format!("{whose}-sealing-key-{}", suite.number()));
    KeyPair::from_private(suite, SecretBytes::new(private)).unwrap()
}
