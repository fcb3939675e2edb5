//! A device or a packager is enrolled in six numbered steps.
//!
//! ```text
//!  1 decode   bytes -> opened request                   sealed to us? does it open?
//!  2 verify   signed by the key it names, good keys     V-050, V-052
//!  3 prepare  the certificate, from the token's profile nothing of it from the request but the keys
//!  4 record   device and certificate, token used up     V-051, V-054, V-042; may refuse
//!  5 sign     the certificate that was recorded         kept before it leaves
//!  6 answer   sealed so that only the holder of all keys reads it
//! ```
//! The same device with the same token gets its certificate again. One whose certificate comes to its end brings that in the
//! place of a token (V-055): it gets one for the same keys, as what it is recorded.

use keyward_crypto::{
    CryptoError,
    ecdsa::PublicKey,
    hpke::Suite,
    x509::issue::{self, Profile},
};
use keyward_license::{
    certificate::{Claims, SealingKey, device_id},
    codec::{Wire, grease},
    enrolment::{EnrolmentRequest, EnrolmentResponse, EnrolmentRole, seal_chain},
    envelope::SealedResponse,
    ids::DeviceId,
    signed::{self, MessageError, PROTOCOL_VERSION, SignedBody, Unverified, Verified},
    time::Timestamp,
};

use crate::{
    Error, Refusal,
    admin::role_name,
    authenticate::{self, Opened},
    chance::rng,
    fail_points::{Exchange, Point, Stage, reach},
    operator::{CLOCK_TOLERANCE, Identity, serial},
    refusal::TokenFault,
    revocation::{self, Trust},
    server::Inner,
    store::{DeviceProfile, EnrolmentRecord, PreparedCertificate, Purpose, Recorded},
    test_mode, token,
};

/// Answers a sealed enrolment request with a sealed enrolment response, and says whose it is.
///
/// # Errors
/// V-001 to V-005, V-040, V-042, V-050 to V-052, V-054; [`Refusal::Failed`], [`Refusal::Busy`].
pub(crate) async fn enrol(server: &Inner, bytes: &[u8]) -> Result<(DeviceId, Vec<u8>), Refusal> {
    let now = server.clock.now();
    revocation::judged(server, now, |trust| async move {
        enrol_by(server, &trust, bytes, now).await
    })
    .await
}

/// Answers by the revocation lists of one time.
async fn enrol_by(
    server: &Inner,
    trust: &Trust,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(DeviceId, Vec<u8>), Refusal> {
    let identity = server.identity();

    // 1. Decode: the envelope is ours and opens.
    let opened = authenticate::open::<EnrolmentRequest>(&identity, bytes, now)?;

    // 2. Verify: the device holds its signing key; its sealing keys are in order.
    let device = verify(trust, &opened, now)?;

    // 3. Prepare: the certificate as the token's profile says, or the record.
    // 4. Record: the token is used up, the device enrolled, the certificate announced.
    let record = match device.renews {
        true => renew(server, (&identity, trust), &device, now).await?,
        false => use_token(server, &identity, &device, now).await?,
    };

    // 5. Sign: the certificate that was recorded; it is kept before it leaves.
    let certificate = match record {
        EnrolmentRecord::Issued(der) => der,
        EnrolmentRecord::ToSign(recorded) => {
            reach(Point::Answer(Exchange::Enrolment, Stage::Recorded));
            let (serial, der) = sign(&identity, recorded, &device.key)?;
            reach(Point::Answer(Exchange::Enrolment, Stage::Signed));
            server.store.keep_certificate(serial, der, now).await?
        }
    };

    // 6. Answer: the chain under a key that takes all sealing keys to open.
    let role = role_name(device.request.body().role);
    tracing::info!(device = %device.id, role, "device enrolled");
    let answer = device.answer(&identity, certificate, now)?;
    Ok((device.id, answer))
}

/// A device that holds the keys it names.
struct Verifiable {
    request: Verified<EnrolmentRequest>,
    id: DeviceId,
    key: PublicKey,
    /// Whether it brings a certificate in the place of a token.
    renews: bool,
}

fn verify(trust: &Trust, opened: &Opened, now: Timestamp) -> Result<Verifiable, Refusal> {
    let message = Unverified::<EnrolmentRequest>::parse(opened.message.expose())?;
    let renewal = message.renewal()?;
    let request = if let Some(role) = renewal {
        // V-055
        authenticate::verify_renewal(trust, (message, role), now)?
    } else {
        // V-050
        message
            .verify_with_own_key(|body| PublicKey::from_spki_der(&body.public_key.0))
            .map_err(|error| match error {
                MessageError::BadSignature => Refusal::NotOwnSignature,
                MessageError::Cose(fault @ CryptoError::MalformedKey(_)) => Refusal::DeviceKey(fault),
                other => other.into(),
            })?
    };
    let body = request.body();
    authenticate::same_recipient(opened, &body.recipient)?;
    body.check_bounds()?;
    // V-052
    body.checked_sealing_keys().map_err(Refusal::SealingKeys)?;
    let key = PublicKey::from_spki_der(&body.public_key.0).map_err(Refusal::DeviceKey)?;
    let id = device_id(&key).map_err(Refusal::DeviceKey)?;
    let device = Verifiable {
        request,
        id,
        key,
        renews: renewal.is_some(),
    };
    device.check_renewed()?;
    Ok(device)
}

async fn use_token(
    server: &Inner,
    identity: &Identity,
    device: &Verifiable,
    now: Timestamp,
) -> Result<EnrolmentRecord, Refusal> {
    let body = device.request.body();
    let token = match test_mode::enrolment::token(server, identity, (body, &device.id), now).await? {
        Some(open) => open,
        None => token::hash(&body.token),
    };
    let token_row = server
        .store
        .enrolment_token(&token)
        .await?
        .ok_or(TokenFault::Unknown)?;
    // V-054: judged again when the token is used up; here it saves the work.
    if token_row.role != body.role {
        return Err(TokenFault::OtherRole.into());
    }
    let claims = claims(token_row.role, token_row.profile, body.sealing_keys.clone());
    let prepared = device.prepare(server, identity, claims, now)?;
    server.store.record_enrolment(token, prepared, now).await
}

async fn renew(
    server: &Inner,
    (identity, trust): (&Identity, &Trust),
    device: &Verifiable,
    now: Timestamp,
) -> Result<EnrolmentRecord, Refusal> {
    if !server.rates.devices.admit((device.id, false)) {
        return Err(Refusal::RateLimited("the device asks too often"));
    }
    let body = device.request.body();
    let profile = server.store.enrolled_profile(device.id, body.role).await?;
    let claims = claims(body.role, profile, body.sealing_keys.clone());
    let prepared = device.prepare(server, identity, claims, now)?;
    server.store.record_renewal(prepared, trust.generation, now).await
}

impl Verifiable {
    /// V-055: a certificate is renewed for the keys that it names.
    fn check_renewed(&self) -> Result<(), Refusal> {
        let (true, Some(signer)) = (self.renews, self.request.signer()) else {
            return Ok(());
        };
        let body = self.request.body();
        let certified = Claims::of(signer).map_err(Refusal::Claims)?;
        let same_keys = certified.sealing_keys.as_ref() == Some(&body.sealing_keys);
        if signer.public_key() == &self.key && same_keys {
            Ok(())
        } else {
            Err(Refusal::Renewal("it is for other keys"))
        }
    }

    /// Level, maker and model come from the token's profile or the record; the device says nothing about itself.
    fn prepare(
        &self,
        server: &Inner,
        identity: &Identity,
        claims: Claims,
        now: Timestamp,
    ) -> Result<PreparedCertificate, Refusal> {
        let body = self.request.body();
        // V-052: sealing to the keys is tried before the token is used up.
        let keys = body.checked_sealing_keys().map_err(Refusal::SealingKeys)?;
        seal_chain(&[], &keys, &self.request.digest(), &mut rng()).map_err(|_| Refusal::SealingKeyInvalid)?;
        let lifetime = server.config.lifetimes.device_certificate;
        let authority_ends = identity.authority(body.role)?.certificate.not_after();
        Ok(PreparedCertificate {
            device: self.id,
            serial: serial(&mut rng()),
            role: body.role,
            claims,
            not_before: now.minus(CLOCK_TOLERANCE),
            not_after: Timestamp(now.plus(lifetime).0.min(authority_ends)),
        })
    }

    fn answer(&self, identity: &Identity, certificate: Vec<u8>, now: Timestamp) -> Result<Vec<u8>, Refusal> {
        let body = self.request.body();
        let digest = self.request.digest();
        let keys: Vec<(Suite, &[u8])> = body.checked_sealing_keys().map_err(Refusal::SealingKeys)?;
        let authority = identity.issuer_of(body.role, &certificate)?;
        let chain = [certificate, authority.der().to_vec()];
        let rng = &mut rng();
        let (shares, chain) = seal_chain(&chain, &keys, &digest, rng).map_err(Error::Making)?;
        let response = EnrolmentResponse {
            version: PROTOCOL_VERSION,
            request: digest,
            nonce: body.nonce,
            shares,
            chain,
            server_time: now,
        };
        let response = grease(&response.encode(), rng)?;
        let signer = identity.signer(Purpose::LicenseServer)?;
        let response = signed::sign::<EnrolmentResponse>(&response, &[], &signer.chain, &*signer.key)
            .map_err(Error::Making)?;
        let sealed = SealedResponse::seal(
            EnrolmentResponse::CONTEXT,
            &body.response_key,
            &digest,
            &response,
            rng,
        );
        Ok(sealed.map_err(Error::Making)?.encode())
    }
}

/// What a certificate claims. A packager's says whom to seal to and nothing else: it keeps no licenses.
fn claims(role: EnrolmentRole, profile: DeviceProfile, sealing_keys: Vec<SealingKey>) -> Claims {
    let sealing_keys = Some(sealing_keys);
    match role {
        EnrolmentRole::Device => Claims {
            security_level: Some(profile.security_level),
            maker: Some(profile.maker),
            model: Some(profile.model),
            robustness_version: profile.robustness_version,
            sealing_keys,
        },
        EnrolmentRole::Packager => Claims {
            sealing_keys,
            ..Claims::default()
        },
    }
}

/// Signs a certificate that was recorded.
fn sign(
    identity: &Identity,
    recorded: Recorded<PreparedCertificate>,
    key: &PublicKey,
) -> Result<([u8; 16], Vec<u8>), Error> {
    let certificate = recorded.into_inner();
    let (subject, claims) = (certificate.device.to_string(), certificate.claims.encode());
    let profile = Profile {
        subject: &subject,
        roles: &[certificate.role.role()],
        authority: None,
        not_before: certificate.not_before.0,
        not_after: certificate.not_after.0,
        claims: Some(&claims),
        serial: certificate.serial,
    };
    let authority = identity.authority(certificate.role)?;
    let der = issue::issue(&profile, key, &authority.certificate, &authority.key)?;
    Ok((certificate.serial, der))
}
