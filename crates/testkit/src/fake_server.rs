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

mod trust;

use std::collections::BTreeMap;

use keyward_content::header::{Algorithm, ContentHeader, KeyReference};
use keyward_crypto::{
    ContentKey, RootKey, Secret, SecretBytes,
    ecdsa::PublicKey,
    exchange::{ExchangeKey, Operation},
    hpke::{KeyPair, Suite},
    kdf::sha256,
    x509::Role,
};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    certificate::{Claims, SECURITY_LEVEL_SOFTWARE, device_id},
    codec::{Bytes, Wire, grease},
    discovery::{Discovery, WELL_KNOWN_PATH},
    enrolment::{EnrolmentRequest, EnrolmentResponse, EnrolmentRole, seal_chain},
    envelope::{SealedRequest, SealedResponse},
    error_code::{ErrorCode, Problem},
    ids::{DeviceId, Digest, Kid, LicenseId},
    license::{
        Binding, Flag, KeyDescription, KeyType, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense,
    },
    packaging::{PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse, PreparedPackaging},
    request::LicenseRequest,
    response::{Denial, KeyResult, LicenseResponse},
    revocation::RevocationList,
    signed::{PROTOCOL_VERSION, SignedBody, Unverified, sign},
    time::Timestamp,
};

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

/// One exchange key, as licenses hold it: its versions, newest first, each with its description and material.
#[derive(Debug, Default)]
pub struct ExchangeKeys(pub Vec<(KeyDescription, SecretBytes)>);

impl ExchangeKeys {
    /// Versions of one key for the client's operation, newest first: each the whole key, as the server has it.
    ///
    /// # Panics
    /// If the key is not for the operation.
    #[must_use]
    pub fn new(kid: Kid, operation: Operation, versions: &[(u32, &ExchangeKey)]) -> Self {
        let versions = versions.iter().map(|(version, key)| {
            let description = KeyDescription::exchange(kid, key.algorithm(), operation, *version);
            let material = key.material(operation).unwrap();
            (description, SecretBytes::new(material.expose().to_vec()))
        });
        Self(versions.collect())
    }

    /// With a change to the description of each version.
    #[must_use]
    pub fn with(mut self, change: impl Fn(&mut KeyDescription)) -> Self {
        self.0.iter_mut().for_each(|(description, _)| change(description));
        self
    }

    /// With another key that travels beside it.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
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

    /// Issues and signs one license, outside any request.
    pub fn issue(
        &mut self,
        kid: Kid,
        device: &DeviceId,
        device_claims: &Claims,
        request: &LicenseRequest,
    ) -> Vec<u8> {
        let mut body = self.body(kid, Binding::device(device));
        body.persistent = request.persistent;
        body.nonce = (!request.persistent).then_some(request.nonce);
        self.seal_and_sign(kid, Some(device_claims), body)
    }

    /// A leaf license of a key for files, as it rides in content: for no device, and of no request.
    ///
    /// # Panics
    /// If the key or its root is not there.
    pub fn leaf(&mut self, kid: Kid, root: Kid) -> Vec<u8> {
        let before = self.leaves.insert(kid, root);
        let body = self.body(kid, Binding::root(root));
        let leaf = self.seal_and_sign(kid, None, body);
        match before {
            Some(before) => self.leaves.insert(kid, before),
            None => self.leaves.remove(&kid),
        };
        leaf
    }

    /// What a license for a key id says. Limits in time are in no leaf.
    fn body(&mut self, kid: Kid, binding: Binding) -> LicenseBody {
        let id = LicenseId::random(self.operator.rng());
        let issued = self.now;
        if let Some(root) = self.leaves.get(&kid) {
            let key = KeyDescription::content(kid, KeyType::File);
            return LicenseBody::new(id, LicenseKind::Leaf, key, Binding::root(*root), issued);
        }
        let (kind, key_type) = match self.roots.contains_key(&kid) {
            true => (LicenseKind::Root, KeyType::Root),
            false => (LicenseKind::Simple, KeyType::File),
        };
        let mut body = LicenseBody {
            begin: self.terms.begin,
            end: self.terms.end,
            minimum_security_level: self.terms.minimum_security_level,
            ..LicenseBody::new(id, kind, KeyDescription::content(kid, key_type), binding, issued)
        };
        if let Some(exchange) = self.exchange.get(&kid) {
            body.kind = LicenseKind::KeyExchange;
            body.rights = vec![body.kind.right()];
            body.keys = exchange
                .0
                .iter()
                .map(|(description, _)| description.clone())
                .collect();
        }
        body
    }

    /// The keys of a license, in the order of its descriptions.
    fn material(&self, kid: Kid) -> Vec<Bytes> {
        if let Some(exchange) = self.exchange.get(&kid) {
            let keys = exchange.0.iter();
            return keys.map(|(_, key)| Bytes(key.expose().to_vec())).collect();
        }
        vec![Bytes(match self.roots.get(&kid) {
            Some(root) => root.expose().to_vec(),
            None => self.keys.get(&kid).unwrap().to_vec(),
        })]
    }

    fn seal_and_sign(&mut self, kid: Kid, device_claims: Option<&Claims>, mut body: LicenseBody) -> Vec<u8> {
        edit(&self.bent.license, &mut body);
        let mut encoded = body.encode();
        edit(&self.bent.encoded_license, &mut encoded);
        let encoded = grease(&encoded, self.operator.rng()).unwrap();
        let mut keys = self.material(kid);
        edit(&self.bent.license_keys, &mut keys);
        let keys = LicenseKeys {
            keys,
            proof_key: Secret::random(self.operator.rng()),
        };
        let usable = self
            .bent
            .license_suite
            .map_or_else(|| self.suites.clone(), |suite| vec![suite]);
        let rng = self.operator.rng();
        // A test may have made something else of a leaf, and something of a root.
        let root = self.leaves.get(&kid).filter(|_| body.kind == LicenseKind::Leaf);
        let mut prepared = match (root, device_claims) {
            (None, Some(claims)) => {
                let (suite, public_key) = claims.best_sealing_key(&usable).unwrap();
                PreparedLicense::for_device(encoded, &keys, suite, public_key, rng).unwrap()
            }
            (root, _) => {
                let root = self.roots.get(root.unwrap()).unwrap();
                PreparedLicense::under_root(encoded, &keys, root, rng).unwrap()
            }
        };
        edit(&self.bent.license_after_sealing, &mut prepared.body);
        let signer = self.bent.license_signer.as_ref().unwrap_or(&self.signer);
        let mut signed = prepared.sign(&signer.chain, &signer.key).unwrap();
        edit(&self.bent.signed_license, &mut signed);
        signed
    }

    fn license(&mut self, body: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        // Open and verify.
        let opened = self.open(LicenseRequest::CONTEXT, body)?;
        let (anchor, now) = (self.operator.anchor(), self.now);
        let verified = Unverified::<LicenseRequest>::parse(opened.expose())
            .and_then(|request| request.verify(&anchor, Role::Device, |_| vec![now]))
            .map_err(|_| ErrorCode::BadSignature)?;
        let digest = verified.digest();
        let certificate = verified.signer().unwrap();
        let device = device_id(certificate.public_key()).unwrap();
        let device_claims = Claims::of(certificate).unwrap();
        let request = verified.into_body();
        request.check_bounds().map_err(|_| ErrorCode::Malformed)?;
        // Decide and issue.
        let mut asked = kids(&request)?;
        if asked.len() > self.most_kids {
            return Err(ErrorCode::TooLarge);
        }
        if !asked.is_empty() && request.capabilities.more_licenses.is_some() {
            asked.extend(
                self.along
                    .iter()
                    .filter(|kid| !asked.contains(kid))
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
        let results = asked
            .into_iter()
            .map(|kid| self.result(kid, &device, &device_claims, &request))
            .collect();
        // Answer.
        let response = LicenseResponse {
            version: PROTOCOL_VERSION,
            request: digest,
            nonce: request.nonce,
            results,
            revocation_lists: None,
            server_time: self.now,
            transaction: None,
            custom_data: request.custom_data.clone(),
            renew_at: self.renew_at,
        };
        let mut response = self.with_trust(response, &request);
        edit(&self.bent.response, &mut response);
        let signer = self.bent.response_signer.as_ref().unwrap_or(&self.signer);
        let encoded = grease(&response.encode(), self.operator.rng()).unwrap();
        let mut signed = signed::<LicenseResponse>(&encoded, &[], signer);
        edit(&self.bent.signed_response, &mut signed);
        let (context, rng) = (LicenseResponse::CONTEXT, self.operator.rng());
        let sealed = SealedResponse::seal(context, &request.response_key, &digest, &signed, rng).unwrap();
        self.requests.push(request);
        Ok(sealed.encode())
    }

    fn result(
        &mut self,
        kid: Kid,
        device: &DeviceId,
        device_claims: &Claims,
        request: &LicenseRequest,
    ) -> KeyResult {
        let unknown = Denial {
            code: ErrorCode::KidUnknown.number(),
            sentence: "the key id is not known here".into(),
            url: None,
        };
        let grants =
            self.keys.contains_key(&kid) || self.exchange.contains_key(&kid) || self.roots.contains_key(&kid);
        if grants && !self.denials.contains_key(&kid) {
            let license = Some(Bytes(self.issue(kid, device, device_claims, request)));
            return KeyResult {
                kid,
                license,
                denial: None,
            };
        }
        KeyResult {
            kid,
            license: None,
            denial: Some(self.denials.get(&kid).cloned().unwrap_or(unknown)),
        }
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

    fn package(&mut self, body: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        // Open and verify.
        let opened = self.open(PackagingRequest::CONTEXT, body)?;
        let (anchor, now) = (self.operator.anchor(), self.now);
        let verified = Unverified::<PackagingRequest>::parse(opened.expose())
            .and_then(|request| request.verify(&anchor, Role::Packager, |_| vec![now]))
            .map_err(|_| ErrorCode::BadSignature)?;
        let digest = verified.digest();
        let packager_claims = Claims::of(verified.signer().unwrap()).unwrap();
        let request = verified.into_body();
        request.check_bounds().map_err(|_| ErrorCode::Malformed)?;
        request
            .check_supported()
            .map_err(|_| ErrorCode::PackagingUnsupported)?;
        // Name and seal the keys.
        let mut response = packaging_response(&request, digest, now);
        let roots: Vec<Kid> = self.roots.keys().copied().collect();
        response.roots = (!roots.is_empty()).then_some(roots);
        let leaves = match request.leaves {
            Some(Flag) => self.packaged_leaves(&response.tracks),
            None => Vec::new(),
        };
        let mut keys = response.tracks.iter().map(|track| key_of(track.kid)).collect();
        edit(&self.bent.packaging, &mut response);
        edit(&self.bent.packaging_keys, &mut keys);
        let usable = self
            .bent
            .packaging_suite
            .map_or_else(|| self.suites.clone(), |suite| vec![suite]);
        let receiver = packager_claims.best_sealing_key(&usable).unwrap();
        let rng = self.operator.rng();
        let encoded = grease(&response.encode(), rng).unwrap();
        let mut prepared = PreparedPackaging::new(encoded, &PackagingKeys { keys }, receiver, rng).unwrap();
        edit(&self.bent.packaging_after_sealing, &mut prepared.body);
        // Answer.
        let signer = self.bent.packaging_signer.as_ref().unwrap_or(&self.signer);
        let signed = prepared.sign(leaves, &signer.chain, &signer.key).unwrap();
        let (context, rng) = (PackagingResponse::CONTEXT, self.operator.rng());
        let sealed = SealedResponse::seal(context, &request.response_key, &digest, &signed, rng).unwrap();
        Ok(sealed.encode())
    }

    /// A leaf license for each track under each root.
    fn packaged_leaves(&mut self, tracks: &[PackagedTrack]) -> Vec<Vec<u8>> {
        let mut leaves = Vec::new();
        for (track, (root, root_key)) in tracks
            .iter()
            .flat_map(|track| self.roots.iter().map(move |root| (track, root)))
        {
            let id = sha256(&[track.kid.as_bytes(), root.as_bytes()]);
            let mut body = LicenseBody::new(
                LicenseId::try_from(id.get(..16).unwrap()).unwrap(),
                LicenseKind::Leaf,
                KeyDescription::content(track.kid, track.key_type),
                Binding::root(*root),
                self.now,
            );
            edit(&self.bent.packaging_leaf, &mut body);
            let keys = LicenseKeys {
                keys: vec![Bytes(key_of(track.kid).expose().to_vec())],
                proof_key: Secret::random(self.operator.rng()),
            };
            let rng = self.operator.rng();
            let prepared = PreparedLicense::under_root(body.encode(), &keys, root_key, rng).unwrap();
            let signer = self.bent.license_signer.as_ref().unwrap_or(&self.signer);
            leaves.push(prepared.sign(&signer.chain, &signer.key).unwrap());
        }
        edit(&self.bent.packaging_leaves, &mut leaves);
        leaves
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

/// The key of a key id of packaging data.
#[must_use]
pub fn key_of(kid: Kid) -> ContentKey {
    let hash = sha256(&[b"key", kid.as_bytes()]);
    ContentKey::from_slice(hash.get(..16).unwrap()).unwrap()
}

fn packaging_response(request: &PackagingRequest, digest: Digest, now: Timestamp) -> PackagingResponse {
    let license_url = "https://license.example".to_owned();
    let periods: Vec<Option<u64>> = match request.periods() {
        None => vec![None],
        Some(periods) => periods.indices().map(Some).collect(),
    };
    let wanted = periods
        .into_iter()
        .flat_map(|period| request.tracks.iter().map(move |track| (track, period)));
    let tracks: Vec<PackagedTrack> = wanted
        .map(|(track, period)| {
            let number = [u8::try_from(track.key_type.number()).unwrap()];
            let named = sha256(&[
                request.content_id.as_bytes(),
                &[0],
                track.label.as_bytes(),
                &[0],
                &number,
                &period.map_or_else(Vec::new, |period| period.to_be_bytes().to_vec()),
            ]);
            PackagedTrack {
                label: track.label.clone(),
                kid: Kid::try_from(named.get(..16).unwrap()).unwrap(),
                key_type: track.key_type,
                period,
            }
        })
        .collect();
    let references = tracks.iter().map(|track| KeyReference {
        algorithm: Algorithm::of_key_type(track.key_type),
        ..KeyReference::new(track.kid)
    });
    let header = ContentHeader {
        license_url: Some(license_url.clone()),
        ..ContentHeader::new(references.collect())
    };
    PackagingResponse {
        version: PROTOCOL_VERSION,
        request: digest,
        nonce: request.nonce,
        tracks,
        content_header: request
            .content_header
            .then(|| Bytes(header.to_object_bytes().unwrap())),
        license_url,
        server_time: now,
        roots: None,
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

/// Every key id of a request, each once, in the order of their bytes.
fn kids(request: &LicenseRequest) -> Result<Vec<Kid>, ErrorCode> {
    let mut kids = request.kids.clone().unwrap_or_default();
    for object in request.content_headers.iter().flatten() {
        let header = ContentHeader::read_object(&object.0).map_err(|_| ErrorCode::Malformed)?;
        kids.extend(header.kids.iter().map(|key| key.kid));
    }
    kids.sort_unstable();
    kids.dedup();
    Ok(kids)
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
