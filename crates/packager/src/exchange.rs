//! What a packager exchanges with a license server: it enrols once, has its certificate renewed, and asks for packaging
//! data.
//!
//! ```text
//!  enrol           discovery ─► enrolment request ─► certificate
//!  renew           discovery ─► enrolment request ─► the certificate that follows, in its last third
//!  packaging_data  discovery ─► packaging request ─► key ids, keys, content header, leaf licenses
//!  ExchangePeriods the same for the crypto periods that media reaches, some at a time
//! ```
//! Nothing in here has a socket: a [`Host`] carries the bytes and knows the time. What comes back is
//! checked step by step as `spec/protocol.md` says; nothing of an answer is used before all of it passed.

mod error;
mod periods;

use keyward_content::header::{Algorithm, ContentHeader};
use keyward_crypto::{ContentKey, Secret, hpke::Suite};
use keyward_license::{
    carrier::{Answer, Outgoing},
    codec::{Wire, grease},
    discovery::{DiscoveryReader, LicenseServer, WELL_KNOWN_PATH, media_type},
    enrolment::{EnrolmentRole, applicant::PendingEnrolment},
    exchange::{PendingRequest, ResponseError, seal_request},
    ids::{DeviceId, Digest, Kid, Nonce},
    license::{Flag, KeyType, SealedKey},
    operator_profile::OperatorProfile,
    packaging::{
        PackagedLeaf, PackagingKeys, PackagingRequest, PackagingResponse, Periods, WantedTrack, key_binding,
    },
    party::{PartyKeys, SoftwareParty},
    request::ClientInfo,
    signed::{PROTOCOL_VERSION, Verified},
    time::Timestamp,
};
use rand_core::CryptoRng;

pub use error::ExchangeError;
pub use periods::ExchangePeriods;

use crate::{
    KeySource,
    identity::{Enrolment, Identity},
};

/// The program around the packager.
pub trait Host {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The program, as it names itself to the license server.
    fn client_info(&self) -> ClientInfo;

    /// Whether the packager may enrol with an operator for tests
    /// ([`Anchor::is_test`](keyward_crypto::x509::Anchor::is_test)): who knows its published seed has the keys of all
    /// content that is protected with it.
    fn accepts_test_operators(&self) -> bool {
        false
    }

    /// Sends and waits for the answer. Follows no redirects; cuts off answers beyond
    /// [`MAX_ANSWER`](keyward_license::carrier::MAX_ANSWER).
    ///
    /// # Errors
    /// A sentence about what went wrong; an answer with any status is not an error.
    fn send(&mut self, outgoing: &Outgoing) -> Result<Answer, String>;
}

/// What enrolment gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The packager's id.
    pub packager: DeviceId,
    /// The operator: SHA-256 of its root certificate.
    pub operator: Digest,
    /// The operator's name.
    pub operator_name: String,
    /// Until when the certificate is valid.
    pub valid_until: Timestamp,
}

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The packager's name for the piece of content: 1 to 255 bytes. The same name gets the same keys.
    pub content_id: String,
    /// What needs a key of its own, 1 to 64, each label once.
    pub tracks: Vec<WantedTrack>,
    /// Whether the answer should hold a content header; then all tracks have one key type, and there are no crypto
    /// periods.
    pub content_header: bool,
    /// The crypto periods whose keys are wanted; nothing if the keys do not change. Tracks times periods are at
    /// most 256.
    pub periods: Option<Periods>,
    /// Whether leaf licenses should come along, to ride in the content.
    pub leaves: bool,
}

impl Wanted {
    /// Keys that do not change, and nothing else.
    #[must_use]
    pub const fn new(content_id: String, tracks: Vec<WantedTrack>) -> Self {
        Self {
            content_id,
            tracks,
            content_header: false,
            periods: None,
            leaves: false,
        }
    }
}

/// Key ids, keys and content header of one piece of content.
#[derive(Debug)]
pub struct PackagingData {
    /// The tracks, in the order in which they were asked for; of crypto periods one period behind the other.
    pub tracks: Vec<TrackData>,
    /// The content header (PlayReady Object), if it was asked for.
    pub content_header: Option<Vec<u8>>,
    /// Key ids of the root licenses under which the content is offered.
    pub roots: Vec<Kid>,
    /// The leaf licenses, each verified to hold the key of a track under one of the roots.
    pub leaves: Vec<PackagedLeaf>,
    /// Where licenses for the content are requested.
    pub license_url: String,
}

/// A track with its key.
#[derive(Debug)]
pub struct TrackData {
    /// The track's label.
    pub label: String,
    /// Key id.
    pub kid: Kid,
    /// What the key serves, and nothing else.
    pub key_type: KeyType,
    /// Index of the crypto period, if periods were asked for.
    pub period: Option<u64>,
    /// The key.
    pub key: ContentKey,
}

impl TrackData {
    /// The key, for packaging.
    #[must_use]
    pub const fn source(&self) -> KeySource {
        KeySource::Vault(self.key.duplicate())
    }
}

impl Identity {
    /// Enrols with the operator of a profile, with a token for a packager that the operator gave out. The
    /// identity is to be stored before this is called (a request that is repeated gets the same
    /// certificate) and after it.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn enrol(
        &mut self,
        profile: OperatorProfile,
        token: String,
        host: &mut impl Host,
        rng: &mut impl CryptoRng,
    ) -> Result<Enrolled, ExchangeError> {
        let anchor = profile.anchor().map_err(ExchangeError::Profile)?;
        if anchor.is_test() && !host.accepts_test_operators() {
            return Err(ExchangeError::TestOperator);
        }
        // Enrolling again with an operator does not make the packager forget the best suite that it has seen.
        let best_seen = self
            .enrolment
            .as_ref()
            .filter(|known| known.profile.operator() == profile.operator())
            .map_or(0, |known| known.best_suite);
        let mut enrolment = Enrolment {
            profile,
            anchor,
            chain: Vec::new(),
            best_suite: best_seen,
        };
        let server = find_server(&enrolment, &self.keys, host)?;
        enrolment.best_suite = best_seen.max(server.suite.number());

        let asking = (token, host.client_info());
        let asked = PendingEnrolment::request(&server, EnrolmentRole::Packager, asking, &self.keys, rng)
            .map_err(|error| ExchangeError::message("the enrolment request", error))?;
        self.certify(enrolment, (server, asked), host)
    }

    /// V-055: gets the certificate that follows the packager's, for the same keys and without a token, when
    /// [`Identity::owes_renewal`] says so. The identity is to be stored after it. While the certificate that it has is
    /// valid, nothing depends on this: it can be tried again.
    ///
    /// # Errors
    /// [`ExchangeError`]; the packager has the certificate that it had.
    pub fn renew(
        &mut self,
        host: &mut impl Host,
        rng: &mut impl CryptoRng,
    ) -> Result<Enrolled, ExchangeError> {
        let mut enrolment = self.enrolment.clone().ok_or(ExchangeError::NotEnrolled)?;
        let server = find_server(&enrolment, &self.keys, host)?;
        enrolment.best_suite = enrolment.best_suite.max(server.suite.number());
        let asking = (&enrolment.chain[..], host.client_info());
        let asked = PendingEnrolment::renewal(&server, EnrolmentRole::Packager, asking, &self.keys, rng)
            .map_err(|error| ExchangeError::message("the request to renew the certificate", error))?;
        self.certify(enrolment, (server, asked), host)
    }

    /// Sends a request for a certificate, and takes the one that comes.
    fn certify(
        &mut self,
        mut enrolment: Enrolment,
        (server, (pending, request)): (LicenseServer, (PendingEnrolment, Vec<u8>)),
        host: &mut impl Host,
    ) -> Result<Enrolled, ExchangeError> {
        let answer = post(host, server.enrolment_url, media_type::ENROLMENT_REQUEST, request)?;
        let now = host.now();
        // At the stated time as well: a signer cannot state a time beyond its own end.
        let response = pending
            .open(&answer, &enrolment.anchor, |stated| vec![now, stated])
            .map_err(|error| ExchangeError::response("the enrolment response", error))?;
        // V-053
        let certified = pending
            .certificate(&response, &enrolment.anchor, &self.keys, now)
            .map_err(ExchangeError::Certificate)?;
        enrolment.chain = certified.chain;
        let enrolled = Enrolled {
            packager: self.id()?,
            operator: enrolment.profile.operator(),
            operator_name: enrolment.profile.name.clone(),
            valid_until: Timestamp(certified.certificate.not_after()),
        };
        self.enrolment = Some(enrolment);
        Ok(enrolled)
    }

    /// Asks the license server for key ids, keys and content header. The same content gets the same again.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn packaging_data(
        &self,
        wanted: &Wanted,
        host: &mut impl Host,
        rng: &mut impl CryptoRng,
    ) -> Result<PackagingData, ExchangeError> {
        let enrolment = self.enrolment.as_ref().ok_or(ExchangeError::NotEnrolled)?;
        let server = find_server(enrolment, &self.keys, host)?;
        let url = server.packaging_url.clone().ok_or(ExchangeError::NoPackaging)?;
        let (pending, request) = PendingPackaging::request(self, &server, wanted, host.client_info(), rng)?;
        let answer = post(host, url, media_type::PACKAGING_REQUEST, request)?;
        pending.open(&answer, host.now())
    }
}

/// A packaging request that was made and not answered.
#[derive(Debug)]
pub struct PendingPackaging<'a> {
    keys: &'a SoftwareParty,
    enrolment: &'a Enrolment,
    pending: PendingRequest,
    wanted: &'a Wanted,
    suite: Suite,
}

impl<'a> PendingPackaging<'a> {
    /// Makes a request: sealed bytes for `server`, and what to remember of them.
    ///
    /// # Errors
    /// [`ExchangeError::NotEnrolled`], [`ExchangeError::Message`].
    pub fn request(
        packager: &'a Identity,
        server: &LicenseServer,
        wanted: &'a Wanted,
        client: ClientInfo,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), ExchangeError> {
        let enrolment = packager.enrolment.as_ref().ok_or(ExchangeError::NotEnrolled)?;
        let (nonce, response_key) = (Nonce::random(rng), Secret::random(rng));
        let body = PackagingRequest {
            version: PROTOCOL_VERSION,
            recipient: server.recipient,
            nonce,
            response_key: response_key.duplicate(),
            content_id: wanted.content_id.clone(),
            tracks: wanted.tracks.clone(),
            content_header: wanted.content_header,
            crypto_periods: wanted.periods.map(|periods| periods.count),
            first_period: wanted.periods.map(|periods| periods.first),
            leaves: wanted.leaves.then_some(Flag),
            client,
        };
        body.check_bounds().map_err(ExchangeError::Wanted)?;
        let making = |error| ExchangeError::message("the packaging request", error);
        let body = grease(&body.encode(), rng).map_err(|error| making(error.into()))?;
        let from = (&enrolment.chain[..], packager.keys.signer());
        let sealed = seal_request::<PackagingRequest>(&body, from, server, rng).map_err(making)?;
        let pending = Self {
            keys: &packager.keys,
            enrolment,
            pending: PendingRequest::of(&body, nonce, response_key),
            wanted,
            suite: server.suite,
        };
        Ok((pending, sealed))
    }

    /// Opens the answer, with every check of `spec/rules.md`.
    ///
    /// # Errors
    /// V-001 to V-005, V-011, V-012, V-020, V-074 to V-078.
    pub fn open(&self, answer: &[u8], now: Timestamp) -> Result<PackagingData, ExchangeError> {
        // V-011, V-012, V-074: now, and at the stated time as well.
        let response = self
            .pending
            .open::<PackagingResponse>(answer, &self.enrolment.anchor, |stated| vec![now, stated])
            .map_err(|error| ExchangeError::response("the packaging response", error))?;
        self.check_body(response.body())?;
        let keys = self.open_keys(&response)?;
        let leaves = self.leaves(&response, now)?;
        let body = response.into_body();
        let tracks = body
            .tracks
            .into_iter()
            .zip(keys.keys)
            .map(|(track, key)| TrackData {
                label: track.label,
                kid: track.kid,
                key_type: track.key_type,
                period: track.period,
                key,
            });
        Ok(PackagingData {
            tracks: tracks.collect(),
            roots: body.roots.unwrap_or_default(),
            leaves,
            content_header: body.content_header.map(|header| header.0),
            license_url: body.license_url,
        })
    }

    /// V-075: the tracks that were asked for, and URL and header that fit them.
    fn check_body(&self, body: &PackagingResponse) -> Result<(), ExchangeError> {
        body.check_tracks(&self.wanted.tracks, self.wanted.periods)
            .map_err(ExchangeError::Tracks)?;
        let refused = ExchangeError::Answer;
        self.enrolment
            .profile
            .permitted_origin(&body.license_url)
            .map_err(|why| ExchangeError::LicenseUrl {
                url: body.license_url.clone(),
                why,
            })?;
        match (&body.content_header, self.wanted.content_header) {
            (Some(header), true) => check_header(&header.0, body),
            (None, false) => Ok(()),
            (None, true) => Err(refused("it has no content header")),
            (Some(_), false) => Err(refused("it has a content header that was not asked for")),
        }
    }

    /// V-078: the leaf licenses, valid when they were issued and now; none where none were asked for.
    fn leaves(
        &self,
        response: &Verified<PackagingResponse>,
        now: Timestamp,
    ) -> Result<Vec<PackagedLeaf>, ExchangeError> {
        let leaves = PackagingResponse::leaves(response, &self.enrolment.anchor, now)
            .map_err(ExchangeError::Leaves)?;
        if self.wanted.leaves || leaves.is_empty() {
            Ok(leaves)
        } else {
            Err(ExchangeError::Answer(
                "it has leaf licenses that were not asked for",
            ))
        }
    }

    /// V-076, V-077: the keys under the hash of the body, in a suite that is not weaker than the best in
    /// common.
    fn open_keys(&self, response: &Verified<PackagingResponse>) -> Result<PackagingKeys, ExchangeError> {
        let sealed = response
            .attachments()
            .first()
            .ok_or(ExchangeError::Answer("it has no keys"))?;
        let malformed = |error: keyward_license::codec::DecodeError| {
            ExchangeError::message("the packaging response", error.into())
        };
        let sealed = SealedKey::decode(&sealed.0).map_err(malformed)?;
        // V-077
        let suite = Suite::from_number(sealed.suite)
            .filter(|suite| *suite >= self.suite)
            .ok_or(ExchangeError::WeakSuite)?;
        // V-076
        let info = key_binding(suite, response.body_bytes());
        let clear = self
            .keys
            .open(suite, &info, &sealed.encapsulated.0, &sealed.ciphertext.0)
            .map_err(|_| ExchangeError::KeysNotOpened)?;
        let keys = PackagingKeys::decode(clear.expose()).map_err(malformed)?;
        keys.check(response.body().tracks.len())
            .map_err(ExchangeError::Tracks)?;
        Ok(keys)
    }
}

/// V-075: a content header names the tracks' key ids, each with the ALGID of its key type, and the license
/// server.
fn check_header(object: &[u8], body: &PackagingResponse) -> Result<(), ExchangeError> {
    let header = ContentHeader::read_object(object).map_err(ExchangeError::ContentHeader)?;
    let named = header.kids.iter().map(|key| (key.kid, key.algorithm));
    let tracks = body
        .tracks
        .iter()
        .map(|track| (track.kid, Algorithm::of_key_type(track.key_type)));
    if named.eq(tracks) && header.license_url.as_deref() == Some(&body.license_url[..]) {
        Ok(())
    } else {
        Err(ExchangeError::Answer(
            "its content header does not name its tracks and its license server",
        ))
    }
}

/// V-060 to V-062: the operator's license server, from its discovery document.
fn find_server(
    enrolment: &Enrolment,
    keys: &dyn PartyKeys,
    host: &mut impl Host,
) -> Result<LicenseServer, ExchangeError> {
    let profile = &enrolment.profile;
    let url = profile
        .license_servers
        .first()
        .ok_or(ExchangeError::NoLicenseServer)?;
    let origin = profile.permitted_origin(url).map_err(|why| ExchangeError::Url {
        url: url.clone(),
        why,
    })?;
    let answer = send(host, &Outgoing::get(format!("{origin}{WELL_KNOWN_PATH}")))?;
    let reader = DiscoveryReader {
        anchor: &enrolment.anchor,
        operator: profile.operator(),
        weakest_suite: profile.minimum_suite.max(enrolment.best_suite),
        suites: &keys.suites(),
        origin: &origin,
        now: Some(host.now()),
        last_trusted: None,
    };
    Ok(reader.read(&answer.message()?)?)
}

fn post(
    host: &mut impl Host,
    url: String,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<Vec<u8>, ExchangeError> {
    let answer = send(host, &Outgoing::post(url, content_type, body))?;
    Ok(answer.sealed_response()?)
}

fn send(host: &mut impl Host, outgoing: &Outgoing) -> Result<Answer, ExchangeError> {
    host.send(outgoing).map_err(ExchangeError::Transport)
}

impl ExchangeError {
    const fn message(what: &'static str, error: keyward_license::signed::MessageError) -> Self {
        Self::Message { what, error }
    }

    const fn response(what: &'static str, error: ResponseError) -> Self {
        match error {
            ResponseError::Message(error) => Self::message(what, error),
            ResponseError::OtherRequest => Self::OtherRequest { what },
        }
    }
}
