//! What the operator does not trust any more.

use keyward_crypto::{ecdsa::SigningKey, x509::issue::Reason};
use keyward_license::{
    ids::{DeviceId, Digest},
    time::Timestamp,
};
use keyward_server::revocation::{
    Exemption, IssuedCertificate, NewModel, PublishedList, RevokedAuthority, RevokedCertificate, RevokedModel,
};

use super::Operator;
use crate::failure::Failure;

/// What is revoked, and the lists that say so.
pub(crate) struct Revocations {
    pub(crate) certificates: Vec<RevokedCertificate>,
    pub(crate) models: Vec<RevokedModel>,
    pub(crate) exemptions: Vec<Exemption>,
    pub(crate) lists: Vec<PublishedList>,
}

impl Operator {
    pub(crate) fn revocations(&self) -> Result<Revocations, Failure> {
        Ok(Revocations {
            certificates: self.run(self.server.revoked_certificates())?,
            models: self.run(self.server.revoked_models())?,
            exemptions: self.run(self.server.exemptions())?,
            lists: self.run(self.server.revocation_lists())?,
        })
    }

    /// The operator's own certificates.
    pub(crate) fn certificates(&self) -> Result<Vec<IssuedCertificate>, Failure> {
        Ok(self.run(self.server.certificates())?)
    }

    pub(crate) fn revoke_certificate(
        &self,
        serial: &[u8],
        since: Option<Timestamp>,
        reason: Option<Reason>,
    ) -> Result<(), Failure> {
        Ok(self.run(self.server.revoke_certificate(serial, since, reason))?)
    }

    pub(crate) fn restore_certificate(&self, serial: &[u8]) -> Result<(), Failure> {
        Ok(self.run(self.server.restore_certificate(serial))?)
    }

    /// Returns the number of the entry, and how many enrolled devices it names.
    pub(crate) fn revoke_model(&self, model: NewModel) -> Result<(i64, u64), Failure> {
        let named = self
            .server
            .devices_named(&model.maker, model.model.as_deref(), model.robustness_below);
        let devices = self.run(named)?;
        Ok((self.run(self.server.revoke_model(model))?, devices))
    }

    pub(crate) fn restore_model(&self, number: i64) -> Result<(), Failure> {
        Ok(self.run(self.server.restore_model(number))?)
    }

    /// Returns SHA-256 of the certificate that is exempt.
    pub(crate) fn allow_device(&self, device: DeviceId) -> Result<Digest, Failure> {
        Ok(self.run(self.server.allow_device(device))?)
    }

    pub(crate) fn disallow_certificate(&self, certificate: Digest) -> Result<(), Failure> {
        Ok(self.run(self.server.disallow_certificate(certificate))?)
    }

    /// The lists as a file.
    pub(crate) fn revocation_bundle(&self) -> Result<Vec<u8>, Failure> {
        Ok(self.run(self.server.revocation_bundle())?)
    }

    /// Makes the root's next list, which is due `lifetime` seconds later, and returns it.
    pub(crate) fn revoke_authority(
        &self,
        key: &SigningKey,
        revoked: Option<RevokedAuthority>,
        lifetime: u64,
    ) -> Result<Option<PublishedList>, Failure> {
        self.run(self.server.revoke_authority(key, revoked, lifetime))?;
        let lists = self.run(self.server.revocation_lists())?;
        Ok(lists.into_iter().find(|list| list.name == "root"))
    }
}
