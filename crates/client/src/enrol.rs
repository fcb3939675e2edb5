//! Enrolment: the device gets its certificate from an operator.

use keyward_crypto::{
    Secret,
    hpke::Suite,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    certificate::{Claims, SealingKey},
    codec::{Bytes, Wire, grease},
    discovery::media_type,
    enrolment::{EnrolmentRequest, EnrolmentResponse, SHARE_CONTEXT, open_chain},
    envelope::{SealedRequest, SealedResponse, binding},
    ids::{Digest, Nonce},
    operator_profile::OperatorProfile,
    signed::{self, ChainVerifier, PROTOCOL_VERSION, SignedBody, Unverified},
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    clock::{self, Told},
    device::KeyStore,
    flow::Io,
    operator::{self, Operator, Server},
    store::Write,
};

/// Version of the operator profile's format.
const PROFILE_VERSION: u64 = 1;

/// What enrolment gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The operator: SHA-256 of its root certificate.
    pub operator: Digest,
    /// The operator's name.
    pub operator_name: String,
    /// Security level that the certificate states.
    pub security_level: Option<u64>,
    /// Until when the certificate is valid.
    pub valid_until: Timestamp,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    pub(crate) async fn run_enrol(
        &mut self,
        io: &Io,
        profile: OperatorProfile,
        token: String,
    ) -> Result<Enrolled, ClientError> {
        if profile.version != PROFILE_VERSION {
            return Err(ClientError::ProfileRefused("it is of another version"));
        }
        let anchor = Anchor::from_der(&profile.root.0)
            .map_err(|_| ClientError::ProfileRefused("its root is not a certificate"))?;
        let id = profile.operator();
        let url = profile
            .license_servers
            .first()
            .ok_or(ClientError::NoLicenseServer)?;
        let origin = operator::permitted_origin(&profile, url)?;
        let discovery = operator::fetch_discovery(io, &origin).await?;
        let known = self.store.head().clock;
        let reading = clock::read(&known, self.moment(io));
        // Enrolling again does not make the device forget the best suite that it has seen.
        let best_seen = self.operators.get(&id).map_or(0, |known| known.best_suite);
        let weakest = profile.minimum_suite.max(best_seen);
        let server = operator::read_discovery(
            &discovery,
            &anchor,
            &profile,
            weakest,
            &self.keys,
            &origin,
            (&known, reading),
        )?;
        let (request, digest, response_key, nonce) = self.enrolment_request(&server, token)?;
        let (body, round_trip) =
            operator::post(io, &server.enrolment_url, media_type::ENROLMENT_REQUEST, request).await?;
        let (response, at) = self.verify_enrolment(io, &body, &anchor, &response_key, &digest, nonce)?;
        let (chain, certificate, claims) = self.read_certificate(&response, &anchor, &digest, at)?;

        let enrolled = Enrolled {
            operator: id,
            operator_name: profile.name.clone(),
            security_level: claims.security_level,
            valid_until: Timestamp(certificate.not_after()),
        };
        let best_suite = best_seen.max(server.suite.number());
        let operator = Operator {
            profile,
            anchor,
            chain,
            claims,
            discovery,
            best_suite,
        };
        let write = Write::Put(self.store.operator_key(&id)?, operator.to_record().encode());
        let server_time = response.server_time;
        self.store
            .commit(io, &mut self.rng, vec![write], |head| {
                clock::adopt(&mut head.clock, server_time, Some(round_trip));
                if !head.operators.contains(&id) {
                    head.operators.push(id);
                }
            })
            .await?;
        self.told = Told::fresh(server_time, Some(round_trip), io.moment()).or(self.told);
        self.operators.insert(id, operator);
        Ok(enrolled)
    }

    fn enrolment_request(
        &mut self,
        server: &Server,
        token: String,
    ) -> Result<(Vec<u8>, Digest, Secret<32>, Nonce), ClientError> {
        let nonce = Nonce::random(&mut self.rng);
        let response_key = Secret::random(&mut self.rng);
        let body = EnrolmentRequest {
            version: PROTOCOL_VERSION,
            recipient: server.recipient,
            nonce,
            response_key: response_key.duplicate(),
            public_key: Bytes(self.keys.signer().public_key().to_spki_der()?),
            sealing_keys: self.keys.sealing_keys(),
            token,
            client: self.info.clone(),
        };
        let body = grease(&body.encode(), &mut self.rng)?;
        let digest = Digest::new(keyward_crypto::kdf::sha256(&[&body]));
        let making = |error| ClientError::Message {
            what: "the enrolment request",
            error,
        };
        let signed = signed::sign::<EnrolmentRequest>(&body, &[], &[], self.keys.signer()).map_err(making)?;
        let context = EnrolmentRequest::CONTEXT;
        let sealed = SealedRequest::seal(
            context,
            server.suite,
            server.recipient,
            &server.public_key,
            &signed,
            &mut self.rng,
        )
        .map_err(making)?;
        Ok((sealed.encode(), digest, response_key, nonce))
    }

    /// The response's checks, and the time its signer was judged at.
    fn verify_enrolment(
        &self,
        io: &Io,
        answer: &[u8],
        anchor: &Anchor,
        response_key: &Secret<32>,
        request: &Digest,
        nonce: Nonce,
    ) -> Result<(EnrolmentResponse, Timestamp), ClientError> {
        let refused = |error| ClientError::Message {
            what: "the enrolment response",
            error,
        };
        let clock = self.store.head().clock;
        let moment = self.moment(io);
        // At the stated time as well: a signer cannot state a time beyond its own end.
        let at = |stated| {
            clock::judge_at(&clock, moment, stated)
                .into_iter()
                .chain([stated])
                .collect()
        };
        let opened = SealedResponse::decode(answer)?
            .open(EnrolmentResponse::CONTEXT, response_key, request)
            .map_err(refused)?;
        let response = Unverified::<EnrolmentResponse>::parse(opened.expose())
            .and_then(|message| message.verify(anchor, Role::LicenseServer, |body| at(body.server_time)))
            .map_err(refused)?
            .into_body();
        if response.request != *request || response.nonce != nonce {
            return Err(ClientError::ResponseMismatch(
                "it answers another enrolment request",
            ));
        }
        let at = operator::judge_at(&clock, moment, response.server_time)?;
        Ok((response, at))
    }

    /// V-053: opens the certificate chain and checks that it is this device's.
    fn read_certificate(
        &self,
        response: &EnrolmentResponse,
        anchor: &Anchor,
        request: &Digest,
        at: Timestamp,
    ) -> Result<(Vec<Vec<u8>>, Certificate, Claims), ClientError> {
        let refused = ClientError::CertificateRefused;
        if response.shares.len() != self.keys.sealing_keys().len() {
            return Err(refused("it has not one share for each sealing key"));
        }
        let shares = response
            .shares
            .iter()
            .map(|share| {
                let suite =
                    Suite::from_number(share.suite).ok_or(refused("a share is of an unknown suite"))?;
                let info = binding(SHARE_CONTEXT, suite, request);
                self.keys
                    .open(suite, &info, &share.encapsulated.0, &share.ciphertext.0)
                    .map_err(|_| refused("a share does not open under this device's keys"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let chain = open_chain(&response.chain, &shares, request)
            .map_err(|_| refused("the chain does not open under this device's keys"))?;
        let certificate = anchor
            .verify_chain(&chain, Role::Device, at)
            .map_err(|_| refused("its chain does not lead to the operator's root"))?;
        let claims = Claims::of(&certificate).map_err(|_| refused("it has no claims"))?;
        if certificate.public_key() != self.keys.signer().public_key() {
            return Err(refused("it names another signing key"));
        }
        let certified: &[SealingKey] = claims.sealing_keys.as_deref().unwrap_or_default();
        if certified != self.keys.sealing_keys() {
            return Err(refused("it names other sealing keys"));
        }
        Ok((chain, certificate, claims))
    }
}
