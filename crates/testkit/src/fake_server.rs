//! A license server in memory: bytes in, bytes out, made of `keyward-license` and [`pki`](crate::pki)
//! alone, so that the client is tested against the specification and not against our server.
//!
//! It answers discovery, enrolment, license and packaging requests like an honest server until a test bends it:
//! every field of [`Bent`] is one way to misbehave. It remembers nothing but what a test reads back:
//! tokens and nonces are not checked, the same request may be answered twice.
//!
//! ```
//! use keyward_testkit::{fake_server::{FakeServer, ORIGIN}, pki::NOW};
//! let mut server = FakeServer::new([1; 32]);
//! assert_eq!(server.answer(&format!("{ORIGIN}/.well-known/keyward"), &[]).status, 200);
//! assert_eq!(server.answer(&format!("{ORIGIN}/license"), b"not a request").status, 400);
//! assert_eq!(server.now, NOW);
//! ```

mod licenses;
mod packaging;
mod trust;

use std::collections::BTreeMap;

use keyward_crypto::{
    ContentKey, RootKey, SecretBytes,
    ecdsa::PublicKey,
    hpke::{KeyPair, Suite},
    x509::Role,
};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    certificate::{Claims, SECURITY_LEVEL_SOFTWARE},
    codec::{Bytes, Wire},
    discovery::{Discovery, WELL_KNOWN_PATH},
    enrolment::{EnrolmentRequest, EnrolmentResponse, EnrolmentRole, seal_chain},
    envelope::{SealedRequest, SealedResponse},
    error_code::{ErrorCode, Problem},
    ids::{Digest, Kid},
    license::LicenseBody,
    packaging::PackagingResponse,
    request::LicenseRequest,
    response::{Denial, LicenseResponse},
    revocation::RevocationList,
    signed::{PROTOCOL_VERSION, SignedBody, Unverified, sign},
    time::Timestamp,
};

pub use licenses::ExchangeKeys;
pub use packaging::key_of;

use crate::pki::{DAY, Identity, Leaf, NOW, Operator, Recipient, YEAR, claims};

/// Scheme and authority of the server, with the port written out.
pub const ORIGIN: &str = "https://license.example:443";
/// Path of license acquisition in an honest discovery document.
pub const LICENSE_PATH: &str = "/license";
/// Path of enrolment in an honest discovery document.
pub const ENROLMENT_PATH: &str = "/enrol";

/// Path of acknowledgement in the discovery document of a server that wants to know.
pub const ACKNOWLEDGEMENT_PATH: &str = "/acknowledge";

/// Path of packaging data in an honest discovery document.
pub const PACKAGING_PATH: &str = "/packaging";

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// A change to a value on its way out; none is honest.
pub type Edit<T> = Option<Box<dyn Fn(&mut T)>>;

/// The ways in which the server misbehaves.
#[derive(Default)]
pub struct Bent {
    /// Changes a license's body before its key is sealed under it.
    pub license: Edit<LicenseBody>,
    /// Changes the encoded body, before the key is sealed under it.
    pub encoded_license: Edit<Vec<u8>>,
    /// Changes the encoded body after the key was sealed under it, before the signature.
    pub license_after_sealing: Edit<Vec<u8>>,
    /// Changes the keys that are sealed into a license.
    pub license_keys: Edit<Vec<Bytes>>,
    /// Seals licenses with this suite.
    pub license_suite: Option<Suite>,
    /// Signs licenses in the server's place.
    pub license_signer: Option<Identity>,
    /// Changes a signed license.
    pub signed_license: Edit<Vec<u8>>,
    /// Changes a license response before it is signed.
    pub response: Edit<LicenseResponse>,
    /// Signs license responses in the server's place.
    pub response_signer: Option<Identity>,
    /// Changes a signed license response before it is sealed to the request.
    pub signed_response: Edit<Vec<u8>>,
    /// Changes the discovery document before it is signed.
    pub discovery: Edit<Discovery>,
    /// Signs discovery documents in the server's place.
    pub discovery_signer: Option<Identity>,
    /// Changes an enrolment response before it is signed.
    pub enrolment: Edit<EnrolmentResponse>,
    /// Signs enrolment responses in the server's place.
    pub enrolment_signer: Option<Identity>,
    /// Changes a packaging response's body before the keys are sealed under it.
    pub packaging: Edit<PackagingResponse>,
    /// Changes the encoded body after the keys were sealed under it, before the signature.
    pub packaging_after_sealing: Edit<Vec<u8>>,
    /// Changes the keys of a packaging response.
    pub packaging_keys: Edit<Vec<ContentKey>>,
    /// Changes each leaf license of packaging data before its key is sealed under it.
    pub packaging_leaf: Edit<LicenseBody>,
    /// Changes the signed leaf licenses of packaging data.
    pub packaging_leaves: Edit<Vec<Vec<u8>>>,
    /// Seals packaging keys with this suite.
    pub packaging_suite: Option<Suite>,
    /// Signs packaging responses in the server's place.
    pub packaging_signer: Option<Identity>,
    /// Changes a receipt before it is signed.
    pub receipt: Edit<Receipt>,
    /// Signs receipts in the server's place.
    pub receipt_signer: Option<Identity>,
    /// Changes a device's chain before it is sealed to the device.
    pub device_chain: Edit<Vec<Vec<u8>>>,
    /// Answers requests for these paths with something else altogether.
    pub instead: BTreeMap<&'static str, Reply>,
}

/// The terms of the licenses that the server issues.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Not usable before.
    pub begin: Option<Timestamp>,
    /// Not usable from this time on.
    pub end: Option<Timestamp>,
    /// Smallest security level.
    pub minimum_security_level: Option<u64>,
}

/// The server.
pub struct FakeServer {
    /// Its operator: issues further certificates for a test.
    pub operator: Operator,
    /// The server's clock: the time it states and the time of issue.
    pub now: Timestamp,
    /// Content keys that it grants.
    pub keys: BTreeMap<Kid, [u8; 16]>,
    /// Exchange keys that it grants, by the key id that is asked for.
    pub exchange: BTreeMap<Kid, ExchangeKeys>,
    /// Root keys that it grants, by root licenses; all content that is packaged is under all of them.
    pub roots: BTreeMap<Kid, RootKey>,
    /// Of the content keys those that it grants by leaf licenses, each with its root, which it has.
    pub leaves: BTreeMap<Kid, Kid>,
    /// V-014: key ids whose licenses go along with every answer that was asked for licenses, unless asked for.
    pub along: Vec<Kid>,
    /// R-046: from when on clients ask for what comes next.
    pub renew_at: Option<Timestamp>,
    /// Key ids that it denies, and how. A key id in none of these maps is unknown to it.
    pub denials: BTreeMap<Kid, Denial>,
    /// Terms of what it grants.
    pub terms: Terms,
    /// Security level of the devices that it enrols.
    pub security_level: u64,
    /// How it misbehaves.
    pub bent: Bent,
    /// The license requests that it has opened, newest last.
    pub requests: Vec<LicenseRequest>,
    /// Most key ids that it answers about at a time.
    pub most_kids: usize,
    /// The revocation lists that go along with every answer.
    pub lists: Vec<RevocationList>,
    /// Whether it wants to know what became of the licenses that it issues.
    pub wants_acknowledgements: bool,
    /// What it was told of that, newest last.
    pub acknowledged: Vec<AcknowledgeRequest>,
    signer: Identity,
    recipient: Recipient,
    suites: Vec<Suite>,
}

impl FakeServer {
    /// An honest server of both suites.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self::with_suites(seed, &Suite::ALL)
    }

    /// An honest server that has these suites alone.
    #[must_use]
    pub fn with_suites(seed: [u8; 32], suites: &[Suite]) -> Self {
        let mut operator = Operator::new(seed);
        let signer = operator.server(Role::LicenseServer);
        let recipient = recipient(&mut operator, suites);
        Self {
            operator,
            now: NOW,
            keys: BTreeMap::new(),
            exchange: BTreeMap::new(),
            roots: BTreeMap::new(),
            leaves: BTreeMap::new(),
            along: Vec::new(),
            renew_at: None,
            denials: BTreeMap::new(),
            terms: Terms::default(),
            security_level: SECURITY_LEVEL_SOFTWARE,
            bent: Bent::default(),
            requests: Vec::new(),
            most_kids: usize::MAX,
            lists: Vec::new(),
            wants_acknowledgements: false,
            acknowledged: Vec::new(),
            signer,
            recipient,
            suites: suites.to_vec(),
        }
    }

    /// Replaces the request-encryption certificate by one with keys of these suites.
    pub fn roll_recipient(&mut self, suites: &[Suite]) {
        self.recipient = recipient(&mut self.operator, suites);
        self.suites = suites.to_vec();
    }

    /// SHA-256 of the request-encryption certificate: what a request must name as its recipient.
    #[must_use]
    pub fn recipient(&self) -> Digest {
        self.recipient.identity.digest()
    }

    /// Answers a request for `url`; an empty body is a GET.
    pub fn answer(&mut self, url: &str, body: &[u8]) -> Reply {
        let path = url.strip_prefix(ORIGIN).unwrap_or("");
        if let Some(reply) = self.bent.instead.get(path) {
            return reply.clone();
        }
        let answered = match path {
            WELL_KNOWN_PATH => Ok(self.discovery()),
            ENROLMENT_PATH => self.enrol(body),
            PACKAGING_PATH => self.package(body),
            LICENSE_PATH => self.license(body),
            ACKNOWLEDGEMENT_PATH => self.acknowledge(body),
            _ => Err(ErrorCode::NotFound),
        };
        match answered {
            Ok(body) => Reply { status: 200, body },
            Err(code) => problem(code),
        }
    }

    /// The discovery document.
    #[must_use]
    pub fn discovery(&self) -> Vec<u8> {
        let mut document = Discovery {
            version: PROTOCOL_VERSION,
            operator: self.operator.id(),
            request_encryption: self.recipient.identity.chain.iter().cloned().map(Bytes).collect(),
            license_path: LICENSE_PATH.into(),
            enrolment_path: ENROLMENT_PATH.into(),
            issued: self.now,
            expires: self.now.plus(7 * DAY),
            packaging_path: Some(PACKAGING_PATH.into()),
            acknowledgement_path: self.wants_acknowledgements.then(|| ACKNOWLEDGEMENT_PATH.into()),
        };
        edit(&self.bent.discovery, &mut document);
        let signer = self.bent.discovery_signer.as_ref().unwrap_or(&self.signer);
        signed::<Discovery>(&document.encode(), &[], signer)
    }

    fn enrol(&mut self, body: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        // Open and verify.
        let opened = self.open(EnrolmentRequest::CONTEXT, body)?;
        let (anchor, now) = (self.operator.anchor(), self.now);
        let verified = Unverified::<EnrolmentRequest>::parse(opened.expose())
            .and_then(|request| match request.renewal()? {
                Some(role) => request.verify(&anchor, role.role(), |_| vec![now]),
                None => request.verify_with_own_key(|body| PublicKey::from_spki_der(&body.public_key.0)),
            })
            .map_err(|_| ErrorCode::BadSignature)?;
        let begins = if verified.signer().is_some() { now } else { NOW };
        let (digest, request) = (verified.digest(), verified.into_body());
        // Certify.
        let keys = request
            .checked_sealing_keys()
            .map_err(|_| ErrorCode::KeyRefused)?;
        let (subject, level) = match request.role {
            EnrolmentRole::Device => ("Test device", Some(self.security_level)),
            EnrolmentRole::Packager => ("Test packager", None),
        };
        let roles = [request.role.role()];
        let leaf = Leaf {
            claims: Some(Claims {
                sealing_keys: Some(request.sealing_keys.clone()),
                ..claims(level, &[])
            }),
            not_before: begins.minus(30 * DAY),
            not_after: begins.plus(YEAR),
            ..Leaf::new(subject, &roles)
        };
        let key = PublicKey::from_spki_der(&request.public_key.0).map_err(|_| ErrorCode::KeyRefused)?;
        let mut chain = self.operator.certify(&leaf, &key);
        edit(&self.bent.device_chain, &mut chain);
        // Answer.
        let (shares, chain) = seal_chain(&chain, &keys, &digest, self.operator.rng()).unwrap();
        let mut response = EnrolmentResponse {
            version: PROTOCOL_VERSION,
            request: digest,
            nonce: request.nonce,
            shares,
            chain,
            server_time: self.now,
        };
        edit(&self.bent.enrolment, &mut response);
        let signer = self.bent.enrolment_signer.as_ref().unwrap_or(&self.signer);
        let signed = signed::<EnrolmentResponse>(&response.encode(), &[], signer);
        let (context, rng) = (EnrolmentResponse::CONTEXT, self.operator.rng());
        Ok(
            SealedResponse::seal(context, &request.response_key, &digest, &signed, rng)
                .unwrap()
                .encode(),
        )
    }

    fn open(&self, context: &str, body: &[u8]) -> Result<SecretBytes, ErrorCode> {
        let envelope = SealedRequest::decode(body).map_err(|_| ErrorCode::Malformed)?;
        if envelope.recipient != self.recipient() {
            return Err(ErrorCode::WrongRecipient);
        }
        envelope
            .open(context, &self.recipient.sealing)
            .map_err(|_| ErrorCode::NotOpened)
    }
}

/// A problem document of the table, as an answer.
#[must_use]
pub fn problem(code: ErrorCode) -> Reply {
    let body = Problem::new(code, format!("refused by the test server, {}", code.name())).encode();
    Reply {
        status: code.status(),
        body,
    }
}

fn recipient(operator: &mut Operator, suites: &[Suite]) -> Recipient {
    let sealing: Vec<_> = suites
        .iter()
        .map(|suite| KeyPair::generate(*suite, operator.rng()))
        .collect();
    let leaf = Leaf {
        claims: Some(claims(None, &sealing)),
        ..Leaf::new("Test request encryption", &[Role::RequestEncryption])
    };
    Recipient {
        identity: operator.issue(&leaf),
        sealing,
    }
}

fn signed<T: SignedBody>(body: &[u8], attachments: &[&[u8]], signer: &Identity) -> Vec<u8> {
    sign::<T>(body, attachments, &signer.chain, &signer.key).unwrap()
}

fn edit<T>(change: &Edit<T>, value: &mut T) {
    if let Some(change) = change {
        change(value);
    }
}
