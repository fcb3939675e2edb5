//! Enrolment: the device gets its certificate from an operator.

use keyward_crypto::x509::Anchor;
use keyward_license::{
    codec::Wire,
    discovery::media_type,
    enrolment::{
        EnrolmentResponse, EnrolmentRole,
        applicant::{Certified, PendingEnrolment},
    },
    exchange::ResponseError,
    ids::Digest,
    operator_profile::OperatorProfile,
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    clock::{self, Told},
    device::KeyStore,
    flow::Io,
    operator::{self, Operator},
    store::Write,
};

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
        let anchor = profile.anchor().map_err(ClientError::ProfileRefused)?;
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
        let asking = (token, self.info.clone());
        let (pending, request) =
            PendingEnrolment::request(&server, EnrolmentRole::Device, asking, &self.keys, &mut self.rng)
                .map_err(|error| ClientError::Message {
                    what: "the enrolment request",
                    error,
                })?;
        let (body, round_trip) =
            operator::post(io, &server.enrolment_url, media_type::ENROLMENT_REQUEST, request).await?;
        let (response, at) = self.open_enrolment(io, &pending, &body, &anchor)?;
        // V-053
        let Certified {
            chain,
            certificate,
            claims,
        } = pending.certificate(&response, &anchor, &self.keys, at)?;

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

    /// The response's checks, and the time its signer was judged at.
    fn open_enrolment(
        &self,
        io: &Io,
        pending: &PendingEnrolment,
        answer: &[u8],
        anchor: &Anchor,
    ) -> Result<(EnrolmentResponse, Timestamp), ClientError> {
        let clock = self.store.head().clock;
        let moment = self.moment(io);
        // At the stated time as well: a signer cannot state a time beyond its own end.
        let times = |stated| {
            let now = clock::judge_at(&clock, moment, stated);
            now.into_iter().chain([stated]).collect()
        };
        let response = pending.open(answer, anchor, times).map_err(|error| match error {
            ResponseError::OtherRequest => {
                ClientError::ResponseMismatch("it answers another enrolment request")
            }
            ResponseError::Message(error) => ClientError::Message {
                what: "the enrolment response",
                error,
            },
        })?;
        let at = operator::judge_at(&clock, moment, response.server_time)?;
        Ok((response, at))
    }
}
