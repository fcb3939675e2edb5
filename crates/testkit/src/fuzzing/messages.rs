//! CBOR, COSE, certificates and the messages of the protocol.

use keyward_content::header::ContentHeader;
use keyward_crypto::{
    cose::Sign1,
    ecdsa::PublicKey,
    hpke::Suite,
    x509::{
        Anchor, Certificate, Role,
        revocation::{RevocationList, UnknownStatus},
    },
};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    certificate::{Claims, SealingKey, device_id},
    codec::{Bytes, Wire, gate},
    discovery::Discovery,
    enrolment::{EnrolmentRequest, EnrolmentResponse, SHARE_CONTEXT, SealedShare, open_chain, seal_chain},
    envelope::{SealedRequest, SealedResponse, binding},
    error_code::Problem,
    ids::Kid,
    license::{ExplicitRestriction, License, LicenseBody, LicenseKeys, LicenseKind, SealedKey, Sealing},
    operator_profile::OperatorProfile,
    packaging::{PackagingKeys, PackagingRequest, PackagingResponse},
    request::LicenseRequest,
    response::{LicenseResponse, Outcome},
    revocation::{DeviceRevocationList, RevocationListsFile},
    signed::{SignedBody, Unverified, Verified},
    time::Timestamp,
    usage_rules::{Action, Connector, Decision, Host, Output, OutputKind, Usage, Verdict, evaluate},
};
use p256::pkcs8::der::{
    Encode, Tag,
    asn1::{AnyRef, BitStringRef},
};

use super::{
    Input,
    cbor::{read, respelled},
    world::{WORLD, draws, root_key},
};
use crate::pki::{Identity, NOW};

/// The strict gate and every map behind it: what passes has one spelling, and a reader that takes a
/// message loses nothing of it.
#[must_use]
pub fn codec(bytes: &[u8]) -> bool {
    if gate::check(bytes).is_err() {
        assert!(Vec::<Bytes>::decode(bytes).is_err());
        return false;
    }
    assert_eq!(respelled(bytes), bytes);
    let known = [
        read::<SealedRequest>(bytes).is_some(),
        read::<SealedResponse>(bytes).is_some(),
        read::<LicenseRequest>(bytes).is_some(),
        read::<LicenseResponse>(bytes).is_some(),
        read::<LicenseBody>(bytes).is_some(),
        read::<SealedKey>(bytes).is_some(),
        read::<LicenseKeys>(bytes).is_some(),
        read::<EnrolmentRequest>(bytes).is_some(),
        read::<EnrolmentResponse>(bytes).is_some(),
        read::<Discovery>(bytes).is_some(),
        read::<PackagingRequest>(bytes).is_some(),
        read::<PackagingResponse>(bytes).is_some(),
        read::<PackagingKeys>(bytes).is_some(),
        read::<AcknowledgeRequest>(bytes).is_some(),
        read::<Receipt>(bytes).is_some(),
        read::<RevocationListsFile>(bytes).is_some(),
        read::<DeviceRevocationList>(bytes).is_some(),
        read::<Claims>(bytes).is_some(),
        read::<OperatorProfile>(bytes).is_some(),
        read::<Vec<SealedShare>>(bytes).is_some(),
        read::<Vec<SealingKey>>(bytes).is_some(),
        read::<Vec<Bytes>>(bytes).is_some(),
        read::<Vec<u64>>(bytes).is_some(),
        Problem::decode(bytes).is_ok(),
    ];
    known.contains(&true)
}

/// The COSE layer: nothing verifies but the one payload that was signed, and no message passes for one
/// of another type.
#[must_use]
pub fn cose_sign1(bytes: &[u8]) -> bool {
    let Ok(message) = Sign1::parse(bytes) else {
        return false;
    };
    let types = [
        Unverified::<LicenseBody>::parse(bytes).is_ok(),
        Unverified::<LicenseRequest>::parse(bytes).is_ok(),
        Unverified::<LicenseResponse>::parse(bytes).is_ok(),
        Unverified::<EnrolmentRequest>::parse(bytes).is_ok(),
        Unverified::<EnrolmentResponse>::parse(bytes).is_ok(),
        Unverified::<Discovery>::parse(bytes).is_ok(),
        Unverified::<PackagingRequest>::parse(bytes).is_ok(),
        Unverified::<PackagingResponse>::parse(bytes).is_ok(),
        Unverified::<AcknowledgeRequest>::parse(bytes).is_ok(),
        Unverified::<Receipt>::parse(bytes).is_ok(),
        Unverified::<DeviceRevocationList>::parse(bytes).is_ok(),
    ];
    assert!(types.into_iter().filter(|is_one| *is_one).count() <= 1);
    let key = WORLD.license_server.leaf();
    let payload = message.verify(Discovery::CONTEXT.as_bytes(), key.public_key());
    payload.is_ok_and(|payload| {
        assert_eq!(payload, vec![Bytes(WORLD.discovery().encode())].encode());
        true
    })
}

/// X.509: a role and a time, then certificates, leaf first. Only what the world's authorities issued is
/// valid, for its roles, within its time.
#[must_use]
pub fn certificate(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let number = usize::from(input.u8()) % Role::ALL.len();
    let role = Role::ALL.get(number).copied().unwrap();
    let at = u64::from_be_bytes(input.array());
    let mut chain = Vec::new();
    while !input.is_empty() && chain.len() < 8 {
        chain.push(input.part().to_vec());
    }
    for der in &chain {
        if let Ok(certificate) = Certificate::parse(der) {
            assert_eq!(certificate.der(), der);
            assert!(device_id(certificate.public_key()).is_ok());
            let _ = Claims::of(&certificate);
        }
        if let Ok(anchor) = Anchor::from_der(der) {
            let _ = anchor.verify(&chain, role, at);
        }
    }
    WORLD.anchor.verify(&chain, role, at).is_ok_and(|leaf| {
        let identities = [
            &WORLD.license_server,
            &WORLD.request_encryption.identity,
            &WORLD.device.identity,
        ];
        assert!(
            identities
                .iter()
                .any(|known| known.leaf().public_key() == leaf.public_key())
        );
        assert!(leaf.roles().contains(&role));
        assert!((leaf.not_before()..=leaf.not_after()).contains(&at));
        true
    })
}

/// A revocation list: after a zero as it is, after any other byte its signed part, which the target signs as
/// the server authority. Only lists of the operator's authorities judge, and they judge as they read.
#[must_use]
pub fn revocation_list(bytes: &[u8]) -> bool {
    let mut input = Input(bytes);
    let signs = input.u8() != 0;
    let der = if signs {
        signed_list(input.rest())
    } else {
        input.rest().to_vec()
    };
    let Ok(list) = RevocationList::parse(&der) else {
        return false;
    };
    assert_eq!(list.der(), der);
    assert!(list.this_update() < list.next_update());
    let (chain, role) = (&WORLD.license_server.chain, Role::LicenseServer);
    let issued = WORLD.revocation_lists();
    let is_trusted = WORLD.anchor.verify_list(&list, chain, role, NOW.0).is_ok();
    assert!(!is_trusted || signs || issued.contains(&der));
    let [_, authority] = &chain[..] else {
        unreachable!()
    };
    let authority = Certificate::parse(authority).unwrap();
    let is_authority = list.verify(&authority).is_ok();
    let [root, ..] = issued.map(|der| RevocationList::parse(&der).unwrap());
    for at in [NOW.0, list.next_update()] {
        let since = list.revoked_since(WORLD.license_server.leaf().serial());
        let is_good = is_authority && since.is_none_or(|since| at < since);
        for unknown in [UnknownStatus::Refuse, UnknownStatus::Accept] {
            let lists = vec![list.clone(), root.clone()];
            let verdict = WORLD
                .anchor
                .clone()
                .with_revocation(lists, unknown)
                .verify(chain, role, at);
            let is_current = at < list.next_update().min(root.next_update());
            let is_accepted = is_good && WORLD.anchor.verify(chain, role, at).is_ok();
            match unknown {
                UnknownStatus::Refuse => assert_eq!(verdict.is_ok(), is_accepted && is_current),
                UnknownStatus::Accept if is_authority => assert_eq!(verdict.is_ok(), is_accepted),
                UnknownStatus::Accept => {}
            }
        }
    }
    is_trusted
}

/// A list whose signed part is `part`, signed with ECDSA and SHA-256 by the server authority.
fn signed_list(part: &[u8]) -> Vec<u8> {
    const ECDSA_WITH_SHA256: [u8; 12] = *b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let signature = WORLD.signature_of_authority(part);
    let signature = BitStringRef::from_bytes(&signature).unwrap().to_der().unwrap();
    let content = [part, &ECDSA_WITH_SHA256, &signature].concat();
    AnyRef::new(Tag::Sequence, &content).unwrap().to_der().unwrap()
}

/// The claims of a certificate.
#[must_use]
pub fn claims(bytes: &[u8]) -> bool {
    let Some(claims) = read::<Claims>(bytes) else {
        return false;
    };
    for usable in [&Suite::ALL[..], &[Suite::P256], &[]] {
        if let Some((suite, key)) = claims.best_sealing_key(usable) {
            assert!(usable.contains(&suite) && key.len() == suite.public_key_len());
        }
    }
    true
}

/// A key id as people write it.
#[must_use]
pub fn kid(bytes: &[u8]) -> bool {
    let parsed = core::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<Kid>().ok());
    parsed.is_some_and(|kid| {
        assert_eq!(kid.to_string().parse(), Ok(kid));
        true
    })
}

/// The envelope of a request, opened with the server's keys: nothing opens but what was sealed.
#[must_use]
pub fn sealed_request(bytes: &[u8]) -> bool {
    let Some(sealed) = read::<SealedRequest>(bytes) else {
        return false;
    };
    let keys = &WORLD.request_encryption.sealing;
    let opened = [&WORLD.request, &WORLD.enrolment].map(|asked| {
        let context = if asked.digest == WORLD.request.digest {
            LicenseRequest::CONTEXT
        } else {
            EnrolmentRequest::CONTEXT
        };
        sealed.open(context, keys).is_ok_and(|opened| {
            assert_eq!(opened.expose(), asked.signed);
            true
        })
    });
    opened.contains(&true)
}

/// The envelope of a response, opened with the key of its request.
#[must_use]
pub fn sealed_response(bytes: &[u8]) -> bool {
    let Some(sealed) = read::<SealedResponse>(bytes) else {
        return false;
    };
    let asked = &WORLD.request;
    let opened = sealed.open(LicenseResponse::CONTEXT, &asked.response_key, &asked.digest);
    opened.is_ok_and(|opened| {
        assert!(Unverified::<LicenseResponse>::parse(opened.expose()).is_ok());
        true
    })
}

/// A license request as the server judges it: a message, or a body that the device signs.
#[must_use]
pub fn license_request(bytes: &[u8]) -> bool {
    let Some(verified) = verified::<LicenseRequest>(bytes, &WORLD.device.identity, Role::Device) else {
        return false;
    };
    assert_genuine(bytes, &verified, &WORLD.request.body);
    let request = verified.body();
    for object in request.content_headers.iter().flatten() {
        let _ = ContentHeader::read_object(&object.0);
    }
    request.check_bounds().is_ok()
}

/// A license response as the client reads it.
#[must_use]
pub fn license_response(bytes: &[u8]) -> bool {
    let Some(verified) = verified::<LicenseResponse>(bytes, &WORLD.license_server, Role::LicenseServer)
    else {
        return false;
    };
    assert_eq!(
        bytes.first().copied().unwrap_or_default(),
        BODY,
        "none was signed for this corpus"
    );
    verified
        .body()
        .results
        .iter()
        .all(|result| match result.outcome() {
            Ok(Outcome::License(license)) => License::verify(license, &WORLD.anchor, Some(NOW)).is_ok(),
            Ok(Outcome::Denied(_)) => true,
            Err(_) => false,
        })
}

/// A license alone: a message, or a body and a sealed part that the license server signs. Its key opens
/// under its own terms and no others, and it permits nothing outside of its time.
#[must_use]
pub fn license(bytes: &[u8]) -> bool {
    let message = match bytes.split_first() {
        Some((&BODY, parts)) => {
            let mut input = Input(parts);
            let body = input.part();
            let _ = (read::<LicenseBody>(body), read::<SealedKey>(input.rest()));
            WORLD.sign::<LicenseBody>(body, &[input.rest()])
        }
        _ => bytes.get(1..).unwrap_or_default().to_vec(),
    };
    let Ok(license) = License::verify(&message, &WORLD.anchor, Some(NOW)) else {
        return false;
    };
    let body = license.body();
    let genuine = match license.sealing() {
        Sealing::Root => WORLD.leaf_body().encode(),
        Sealing::Hpke(_) => WORLD.license_body().encode(),
    };
    assert_eq!(license.sealing() == Sealing::Root, body.kind == LicenseKind::Leaf);
    if bytes.first() != Some(&BODY) {
        assert_eq!(body.encode(), genuine);
    }
    assert_eq!(body.check(), Ok(()));
    assert_permits_within_its_time(body);
    let sealed = license.sealed();
    let opened = match license.sealing() {
        Sealing::Root => root_key().open(&license.key_binding(), &sealed.ciphertext.0),
        Sealing::Hpke(suite) => WORLD.device.sealing_key(suite).open(
            &license.key_binding(),
            &sealed.encapsulated.0,
            &sealed.ciphertext.0,
        ),
    };
    opened.is_ok_and(|opened| {
        assert_eq!(
            body.encode(),
            genuine,
            "a key opened under terms that it was not sealed with"
        );
        license.read_keys(&opened).is_ok()
    })
}

/// An enrolment request, and the answer to whatever sealing keys it names.
#[must_use]
pub fn enrolment_request(bytes: &[u8]) -> bool {
    let Some(message) = message::<EnrolmentRequest>(bytes, &WORLD.device.identity, &[]) else {
        return false;
    };
    let own_key = |body: &EnrolmentRequest| PublicKey::from_spki_der(&body.public_key.0);
    let Ok(verified) = Unverified::<EnrolmentRequest>::parse(&message)
        .and_then(|message| message.verify_with_own_key(own_key))
    else {
        return false;
    };
    assert_genuine(bytes, &verified, &WORLD.enrolment.body);
    let chain = &WORLD.device.identity.chain;
    let answer = |keys: Vec<(Suite, &[u8])>| seal_chain(chain, &keys, &verified.digest(), &mut draws(6)).ok();
    let shares = verified.body().checked_sealing_keys().ok().and_then(answer);
    shares.is_some_and(|(shares, _)| {
        assert_eq!(shares.len(), verified.body().sealing_keys.len());
        true
    })
}

/// An enrolment response: a body whose shares and chain the device opens. Nothing opens but its own
/// chain.
#[must_use]
pub fn enrolment_response(bytes: &[u8]) -> bool {
    let Some(verified) = verified::<EnrolmentResponse>(bytes, &WORLD.license_server, Role::LicenseServer)
    else {
        return false;
    };
    let EnrolmentResponse {
        request,
        shares,
        chain,
        ..
    } = verified.body();
    let open = |share: &SealedShare| {
        let suite = Suite::from_number(share.suite)?;
        let info = binding(SHARE_CONTEXT, suite, request);
        WORLD
            .device
            .sealing_key(suite)
            .open(&info, &share.encapsulated.0, &share.ciphertext.0)
            .ok()
    };
    let shares: Option<Vec<_>> = shares.iter().map(open).collect();
    let chain = shares.and_then(|shares| open_chain(chain, &shares, request).ok());
    chain.is_some_and(|chain| {
        assert_eq!(chain, WORLD.device.identity.chain);
        true
    })
}

/// A discovery document: a message, or a body that the license server signs.
#[must_use]
pub fn discovery(bytes: &[u8]) -> bool {
    let Some(verified) = verified::<Discovery>(bytes, &WORLD.license_server, Role::LicenseServer) else {
        return false;
    };
    assert_genuine(bytes, &verified, &WORLD.discovery().encode());
    let chain: Vec<_> = verified
        .body()
        .request_encryption
        .iter()
        .map(|der| der.0.clone())
        .collect();
    WORLD
        .anchor
        .verify(&chain, Role::RequestEncryption, NOW.0)
        .is_ok()
}

/// A problem document, which has one form.
#[must_use]
pub fn problem(bytes: &[u8]) -> bool {
    Problem::decode(bytes).is_ok_and(|problem| {
        assert_eq!(problem.encode(), bytes);
        true
    })
}

/// An operator profile and its root.
#[must_use]
pub fn operator_profile(bytes: &[u8]) -> bool {
    let Some(profile) = read::<OperatorProfile>(bytes) else {
        return false;
    };
    Anchor::from_der(&profile.root.0).is_ok_and(|anchor| {
        assert_eq!(anchor.operator(), *profile.operator().as_bytes());
        true
    })
}

/// First byte of an input whose rest is signed by the target; after any other the rest is a message.
pub(super) const BODY: u8 = 1;

/// The message that an input stands for.
fn message<T: SignedBody>(bytes: &[u8], signer: &Identity, chain: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (kind, rest) = bytes.split_first()?;
    if *kind != BODY {
        return Some(rest.to_vec());
    }
    let _ = read::<T>(rest);
    keyward_license::signed::sign::<T>(rest, &[], chain, &signer.key).ok()
}

pub(super) fn verified<T: SignedBody>(bytes: &[u8], signer: &Identity, role: Role) -> Option<Verified<T>> {
    let message = message::<T>(bytes, signer, &signer.chain)?;
    let parsed = Unverified::<T>::parse(&message).ok()?;
    parsed.verify(&WORLD.anchor, role, |_| vec![NOW]).ok()
}

/// A message that the target did not sign itself is the one that the world signed.
pub(super) fn assert_genuine<T>(bytes: &[u8], verified: &Verified<T>, genuine: &[u8]) {
    assert!(bytes.first() == Some(&BODY) || verified.body_bytes() == genuine);
}

/// The first passes always, the last never.
const OUTPUTS: [OutputKind; 4] = [
    OutputKind::BuiltIn,
    OutputKind::UncompressedDigitalVideo,
    OutputKind::AnalogTelevision,
    OutputKind::CompressedDigitalVideo,
];

fn assert_permits_within_its_time(body: &LicenseBody) {
    let edges = [body.begin, body.end, Some(NOW)].into_iter().flatten();
    let times = edges.flat_map(|edge| [edge.minus(1), edge, edge.plus(1)]);
    for now in times.chain([Timestamp(0), Timestamp(u64::MAX)]) {
        let outputs = OUTPUTS.map(|kind| Output::bare(Connector::Other, kind));
        let host = Host {
            outputs: &outputs,
            ..Host::of_level(2000)
        };
        let decision = evaluate(&[body], &Usage::default(), &host, Action::Play, Some(now));
        if let Decision::Allowed(allowed) = decision {
            assert!(body.begin.is_none_or(|begin| begin <= now));
            assert!(body.usable_until().is_none_or(|end| now < end));
            assert!(body.minimum_security_level.is_none_or(|level| level <= 2000));
            assert!(allowed.until.is_none_or(|until| now < until));
            assert!(allowed.until <= body.usable_until() || body.end.is_none());
            assert!(allowed.changes_at.is_some() == allowed.until.is_some());
            assert!(allowed.changes_at <= allowed.until);
            assert!(allowed.playback_ends >= allowed.until || body.real_time_expiration.is_none());
            let verdicts: Vec<_> = allowed.outputs.iter().map(|output| output.verdict).collect();
            assert_eq!(verdicts.first(), Some(&Verdict::Pass));
            assert_eq!(verdicts.last(), Some(&Verdict::Block));
            let restricted = |one| body.explicit_restrictions().contains(&one);
            if restricted(ExplicitRestriction::InternalScreenOnly) {
                assert_eq!(verdicts.get(1..3), Some(&[Verdict::Block; 2][..]));
            }
            if restricted(ExplicitRestriction::DigitalVideoOnly) {
                assert_eq!(verdicts.get(2), Some(&Verdict::Block));
            }
        }
    }
}
