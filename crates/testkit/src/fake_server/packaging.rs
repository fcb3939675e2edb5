//! What the server answers to a packaging request.

use keyward_content::header::{Algorithm, ContentHeader, KeyReference};
use keyward_crypto::{ContentKey, Secret, kdf::sha256, x509::Role};
use keyward_license::{
    certificate::Claims,
    codec::{Bytes, Wire, grease},
    envelope::SealedResponse,
    error_code::ErrorCode,
    ids::{Digest, Kid, LicenseId},
    license::{Binding, Flag, KeyDescription, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense},
    packaging::{PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse, PreparedPackaging},
    signed::{PROTOCOL_VERSION, SignedBody, Unverified},
    time::Timestamp,
};

use super::{FakeServer, edit};

impl FakeServer {
    pub(super) fn package(&mut self, body: &[u8]) -> Result<Vec<u8>, ErrorCode> {
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
