//! Devices of one operator: they enrol over HTTP and make license requests.

use axum::body::Bytes;
use getrandom::SysRng;
use keyward_crypto::{
    Secret,
    hpke::Suite,
    x509::{Anchor, Role},
};
use keyward_license::{
    codec::Wire,
    discovery::{DiscoveryReader, LicenseServer, WELL_KNOWN_PATH, media_type},
    enrolment::{EnrolmentRole, applicant::PendingEnrolment},
    envelope::{SealedRequest, SealedResponse},
    exchange::{PendingRequest, seal_request},
    ids::{EpochId, Kid, Nonce},
    license::LicenseBody,
    operator_profile::OperatorProfile,
    party::{PartyKeys, SoftwareParty},
    request::{Capabilities, ClientClock, ClientInfo, ClockKind, ClockState, LicenseRequest, StoreState},
    response::LicenseResponse,
    signed::{PROTOCOL_VERSION, SignedBody, Unverified},
    time::Timestamp,
};
use rand_core::UnwrapErr;

use crate::{Outcome, connection::Connection};

/// Lengths of a license acquisition's messages, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    /// The signed request.
    pub(crate) request: usize,
    /// The license in the answer.
    pub(crate) license: usize,
    /// The signed response.
    pub(crate) response: usize,
}

/// An operator, as its profile and its server tell it.
pub(crate) struct Operator {
    anchor: Anchor,
    profile: OperatorProfile,
    origin: String,
}

/// An enrolled device with sealing keys up to one suite.
pub(crate) struct Device {
    keys: SoftwareParty,
    chain: Vec<Vec<u8>>,
    server: LicenseServer,
    epoch: EpochId,
}

/// A sealed request, and what its answer is held against.
pub(crate) struct Prepared {
    pub(crate) sealed: Bytes,
    pending: PendingRequest,
}

impl Operator {
    pub(crate) fn read(profile: &[u8]) -> Outcome<Self> {
        let profile = OperatorProfile::decode(profile)?;
        let origin = profile.license_servers.first().ok_or("a profile without URL")?;
        Ok(Self {
            anchor: Anchor::from_der(&profile.root.0)?,
            origin: origin.clone(),
            profile,
        })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Enrols a device whose best suite is `best`.
    pub(crate) async fn enrol(
        &self,
        connection: &mut Connection,
        best: Suite,
        token: String,
    ) -> Outcome<Device> {
        let suites: Vec<_> = Suite::ALL.into_iter().filter(|suite| *suite <= best).collect();
        let server = self.discover(connection, &suites).await?;
        let keys = keys(&suites)?;
        let rng = &mut UnwrapErr(SysRng);
        let (pending, sealed) =
            PendingEnrolment::request(&server, EnrolmentRole::Device, (token, client()), &keys, rng)?;
        let answer = connection
            .post(
                &server.enrolment_url,
                media_type::ENROLMENT_REQUEST,
                sealed.into(),
            )
            .await?;
        let response = pending.open(&answer, &self.anchor, |stated| vec![stated])?;
        let certified = pending
            .certificate(&response, &self.anchor, &keys, response.server_time)
            .map_err(|fault| fault.0)?;
        Ok(Device {
            keys,
            chain: certified.chain,
            server,
            epoch: EpochId::random(rng),
        })
    }

    /// The lengths of an answer's messages; it must hold a license.
    pub(crate) fn judge(&self, prepared: &Prepared, answer: &[u8]) -> Outcome<Lengths> {
        let Prepared { sealed, pending } = prepared;
        let opened = SealedResponse::decode(answer)?.open(
            LicenseResponse::CONTEXT,
            &pending.response_key,
            &pending.digest,
        )?;
        let response = Unverified::<LicenseResponse>::parse(opened.expose())?.verify(
            &self.anchor,
            Role::LicenseServer,
            |body| vec![body.server_time],
        )?;
        let [result] = &response.body().results[..] else {
            return Err("not one result".into());
        };
        let license = result.license.as_ref().ok_or("a denial")?;
        Ok(Lengths {
            request: SealedRequest::decode(sealed)?.ciphertext.0.len(),
            license: license.0.len(),
            response: opened.expose().len(),
        })
    }

    async fn discover(&self, connection: &mut Connection, suites: &[Suite]) -> Outcome<LicenseServer> {
        let url = format!("{}{WELL_KNOWN_PATH}", self.origin);
        let document = connection.get(&url).await?;
        let reader = DiscoveryReader {
            anchor: &self.anchor,
            operator: self.profile.operator(),
            weakest_suite: 0,
            suites,
            origin: &self.origin,
            now: None,
            last_trusted: None,
        };
        Ok(reader.read(&document)?)
    }
}

impl Device {
    pub(crate) fn url(&self) -> &str {
        &self.server.license_url
    }

    /// A request for one key id, to be stored.
    pub(crate) fn prepare(&self, kid: Kid) -> Outcome<Prepared> {
        let rng = &mut UnwrapErr(SysRng);
        let (nonce, response_key) = (Nonce::random(rng), Secret::random(rng));
        let body = LicenseRequest {
            version: PROTOCOL_VERSION,
            recipient: self.server.recipient,
            nonce,
            response_key: response_key.duplicate(),
            content_headers: None,
            kids: Some(vec![kid]),
            client: client(),
            capabilities: Capabilities::new(
                vec![1, 2, 3],
                LicenseBody::TERMS.to_vec(),
                Suite::ALL.iter().map(|suite| suite.number()).collect(),
                ClockKind::AntiRollback,
            ),
            persistent: true,
            revocation_lists: None,
            memberships: None,
            clock: ClientClock {
                now: Some(Timestamp(1_900_000_000)),
                last_trusted: None,
                state: ClockState::Set,
            },
            store: StoreState {
                epoch: self.epoch,
                generation: 1,
            },
            license_requested: true,
            authorization: None,
            custom_data: None,
        };
        let body = body.encode();
        let signer = (&self.chain[..], self.keys.signer());
        let sealed = seal_request::<LicenseRequest>(&body, signer, &self.server, rng)?;
        Ok(Prepared {
            sealed: sealed.into(),
            pending: PendingRequest::of(&body, nonce, response_key),
        })
    }
}

fn keys(suites: &[Suite]) -> Outcome<SoftwareParty> {
    let (signing, mut sealing) = SoftwareParty::generate(&mut UnwrapErr(SysRng)).private_keys();
    sealing.retain(|key| suites.iter().any(|suite| suite.number() == key.suite));
    Ok(SoftwareParty::from_private_keys(signing, sealing)?)
}

fn client() -> ClientInfo {
    ClientInfo {
        name: "bench".to_owned(),
        version: "1".to_owned(),
        platform: "linux x86_64".to_owned(),
    }
}
