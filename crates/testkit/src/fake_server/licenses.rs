//! What the server answers to a license request, and the licenses that it issues.

use keyward_content::header::ContentHeader;
use keyward_crypto::{
    Secret, SecretBytes,
    exchange::{ExchangeKey, Operation},
    x509::Role,
};
use keyward_license::{
    certificate::{Claims, device_id},
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    error_code::ErrorCode,
    ids::{DeviceId, Kid, LicenseId},
    license::{Binding, KeyDescription, KeyType, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense},
    request::LicenseRequest,
    response::{Denial, KeyResult, LicenseResponse},
    signed::{PROTOCOL_VERSION, SignedBody, Unverified},
};

use super::{FakeServer, edit, signed};

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
impl FakeServer {
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

    pub(super) fn license(&mut self, body: &[u8]) -> Result<Vec<u8>, ErrorCode> {
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
