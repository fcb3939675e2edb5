//! What the server says of trust: revocation lists, and receipts for what is acknowledged.

use keyward_crypto::x509::{
    Certificate, Role,
    issue::{ListProfile, Revoked},
};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    codec::{Bytes, Wire},
    envelope::SealedResponse,
    error_code::ErrorCode,
    ids::TransactionId,
    request::LicenseRequest,
    response::{KeyResult, LicenseResponse},
    revocation::{DeviceRevocationList, RevocationList, RevocationListsFile},
    signed::{PROTOCOL_VERSION, SignedBody, Unverified},
    time::Timestamp,
};

use super::{FakeServer, edit, signed};
use crate::pki::{DAY, Identity};

impl FakeServer {
    /// Who signs what the server says.
    #[must_use]
    pub const fn signer(&self) -> &Identity {
        &self.signer
    }

    /// Goes on with another certificate for what the server says.
    pub fn roll_signer(&mut self) -> Identity {
        let next = self.operator.server(Role::LicenseServer);
        core::mem::replace(&mut self.signer, next)
    }

    /// A list of the authority that issues for this role, or of the root: issued now, good for a week. It names these
    /// certificates (DER), each as revoked since a time.
    ///
    /// # Panics
    /// If one of them is no certificate.
    #[must_use]
    pub fn list(&self, of: Option<Role>, number: u64, revoked: &[(&[u8], Timestamp)]) -> RevocationList {
        let named: Vec<_> = revoked
            .iter()
            .map(|(der, since)| (Certificate::parse(der).unwrap(), since))
            .collect();
        let revoked: Vec<_> = named
            .iter()
            .map(|(certificate, since)| Revoked {
                serial: certificate.serial(),
                at: since.0,
                invalid_since: None,
                reason: None,
            })
            .collect();
        let profile = ListProfile {
            number,
            this_update: self.now.0,
            next_update: self.now.plus(7 * DAY).0,
            revoked: &revoked,
        };
        let path = of.map(|role| Bytes(self.operator.authority_certificate(role).to_vec()));
        RevocationList::Certificates {
            list: Bytes(self.operator.revocation_list(of, &profile)),
            path: path.into_iter().collect(),
        }
    }

    /// A device revocation list: issued now, good for a week.
    pub fn device_list(
        &mut self,
        number: u64,
        change: impl FnOnce(&mut DeviceRevocationList),
    ) -> RevocationList {
        let mut body = DeviceRevocationList {
            version: PROTOCOL_VERSION,
            operator: self.operator.id(),
            number,
            issued: self.now,
            next_update: self.now.plus(7 * DAY),
            revoked: None,
            allowed: None,
        };
        change(&mut body);
        let signer = self.operator.server(Role::RevocationList);
        RevocationList::Devices(Bytes(signed::<DeviceRevocationList>(
            &body.encode(),
            &[],
            &signer,
        )))
    }

    /// A file of lists.
    #[must_use]
    pub fn lists_file(&self, lists: Vec<RevocationList>) -> Vec<u8> {
        let file = RevocationListsFile {
            version: RevocationListsFile::VERSION,
            operator: self.operator.id(),
            lists,
        };
        file.encode()
    }

    /// The transaction of an answer, if it is to be acknowledged and can be.
    pub(super) fn transaction_of(
        &mut self,
        request: &LicenseRequest,
        results: &[KeyResult],
    ) -> Option<TransactionId> {
        let is_license = |result: &KeyResult| result.license.is_some();
        let is_wanted = self.wants_acknowledgements
            && request.capabilities.acknowledges.is_some()
            && results.iter().any(is_license);
        is_wanted.then(|| TransactionId::random(self.operator.rng()))
    }

    pub(super) fn acknowledge(&mut self, body: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        let opened = self.open(AcknowledgeRequest::CONTEXT, body)?;
        let (anchor, now) = (self.operator.anchor(), self.now);
        let verified = Unverified::<AcknowledgeRequest>::parse(opened.expose())
            .and_then(|request| request.verify(&anchor, Role::Device, |_| vec![now]))
            .map_err(|_| ErrorCode::BadSignature)?;
        let digest = verified.digest();
        let request = verified.into_body();
        request.check_bounds().map_err(|_| ErrorCode::Malformed)?;
        let mut receipt = Receipt {
            version: PROTOCOL_VERSION,
            request: digest,
            nonce: request.nonce,
            transaction: request.transaction,
            server_time: now,
        };
        edit(&self.bent.receipt, &mut receipt);
        let own = self.operator.server(Role::Receipt);
        let signer = self.bent.receipt_signer.as_ref().unwrap_or(&own);
        let signed = signed::<Receipt>(&receipt.encode(), &[], signer);
        let (context, rng) = (Receipt::CONTEXT, self.operator.rng());
        let sealed = SealedResponse::seal(context, &request.response_key, &digest, &signed, rng).unwrap();
        self.acknowledged.push(request);
        Ok(sealed.encode())
    }

    /// What a response says besides its results.
    pub(super) fn with_trust(
        &mut self,
        response: LicenseResponse,
        request: &LicenseRequest,
    ) -> LicenseResponse {
        LicenseResponse {
            revocation_lists: (!self.lists.is_empty()).then(|| self.lists.clone()),
            transaction: self.transaction_of(request, &response.results),
            ..response
        }
    }
}
