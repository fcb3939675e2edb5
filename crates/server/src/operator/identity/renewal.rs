//! Renewal of the server's own certificates.

use keyward_crypto::x509::Certificate;
use rand_core::CryptoRng;

use super::{
    super::pki::{self, Issuer},
    Settings, find,
    held::Keys,
};
use crate::{
    Error,
    store::{OperatorCertificate, Purpose, Store},
};

/// Renews leaf certificates: announced in the database before they are signed, kept after. Their keys stay.
pub(super) struct Renewal<'a> {
    pub(super) store: &'a Store,
    pub(super) settings: Settings<'a>,
    pub(super) issuer: &'a Issuer,
    pub(super) keys: &'a Keys,
}

impl Renewal<'_> {
    /// Renews what is due. While the database takes no writes, what is in force serves on: there is a third of its
    /// life to come again, and a full disk keeps nobody from the discovery document.
    pub(super) async fn all(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        for purpose in Purpose::of_authorities(false) {
            let may_be = self.keys.has_newest(purpose) && self.issuer.certifies(purpose);
            if !may_be || !self.is_due(certificates, purpose)? {
                continue;
            }
            let serves = purpose.comes_later() || find(certificates, purpose).is_ok();
            match self.renew(certificates, purpose, rng).await {
                Err(error) if error.is_passing() && serves => {
                    tracing::warn!(error = %error, purpose = purpose.as_str(), "a certificate is not renewed yet");
                }
                renewed => renewed?,
            }
        }
        Ok(())
    }

    async fn renew(
        &self,
        certificates: &mut Vec<OperatorCertificate>,
        purpose: Purpose,
        rng: &mut impl CryptoRng,
    ) -> Result<(), Error> {
        let key = self.keys.newest.number(purpose);
        let certified = self.keys.certified((purpose, key))?;
        let (settings, now) = (self.settings, self.settings.now);
        let serial = pki::serial(rng);
        self.store
            .announce_certificate(purpose.as_str().to_owned(), hex::encode(serial), now)
            .await?;
        let renewed = pki::leaf(
            settings.name,
            self.issuer,
            (purpose, key),
            &certified,
            serial,
            now,
        )?;
        self.store.add_certificate(renewed.clone(), now).await?;
        let said = match find(certificates, purpose) {
            Ok(_) => "certificate renewed",
            Err(_) => "certificate issued",
        };
        tracing::info!(purpose = purpose.as_str(), "{said}");
        certificates.insert(0, renewed);
        Ok(())
    }

    /// In the last third of the newest certificate's life, or after it, a renewal is due; but not if
    /// the authority ends too soon for the renewal to gain anything.
    fn is_due(&self, certificates: &[OperatorCertificate], purpose: Purpose) -> Result<bool, Error> {
        let Ok(newest) = find(certificates, purpose) else {
            return Ok(true);
        };
        let newest = Certificate::parse(&newest.der)?;
        let left = newest.not_after().saturating_sub(self.settings.now.0);
        let life = newest.not_after().saturating_sub(newest.not_before());
        Ok(left < life / 3 && newest.not_after() < self.issuer.certificate.not_after())
    }
}
