//! One operator as this client knows it: trust anchor, license servers, the device's certificate.

use keyward_crypto::x509::{Anchor, Certificate};
use keyward_license::{
    certificate::{self, Claims},
    codec::{Bytes, Wire},
    discovery::{self, DiscoveryError, DiscoveryReader, ISSUED_AHEAD, LicenseServer},
    license::Flag,
    operator_profile::OperatorProfile,
    revocation::{RevocationList, RevocationLists},
    time::Timestamp,
};

use crate::{
    ClientError,
    clock::{self, Reading},
    device::KeyStore,
    lists::{self, Learnt},
    store::{Clock, OperatorRecord},
};

/// An operator that the device is enrolled with.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) profile: OperatorProfile,
    /// What the operator no longer trusts, and the root that everything else leads to.
    pub(crate) lists: RevocationLists,
    /// the time of the answer that said that this device is revoked, if none has brought a license since.
    pub(crate) revoked: Option<Timestamp>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) claims: Claims,
    pub(crate) discovery: Vec<u8>,
    pub(crate) best_suite: u64,
}

/// How a discovery document stands to the one that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// It was not issued before that one.
    Current,
    /// It was, and names the same recipient.
    Older,
    /// It was, and names a recipient that the operator has given up since.
    GivenUp,
}

impl Operator {
    /// Reads a stored record, and the revocation lists that stand beside it. Its certificate was verified when it was
    /// stored; lists are verified again.
    pub(crate) fn from_record(
        record: &OperatorRecord,
        stored: &[RevocationList],
    ) -> Result<Self, ClientError> {
        let profile = OperatorProfile::decode(&record.profile.0)?;
        let chain: Vec<Vec<u8>> = record.chain.iter().map(|der| der.0.clone()).collect();
        let leaf = chain
            .first()
            .ok_or(ClientError::StoreDamaged("an operator record has no certificate"))?;
        let mut lists = lists::none(Anchor::from_der(&profile.root.0)?);
        lists.set_device(&chain);
        lists.adopt_all(stored, None);
        Ok(Self {
            lists,
            revoked: record.revoked,
            claims: Claims::of(&Certificate::parse(leaf)?)?,
            profile,
            chain,
            discovery: record.discovery.0.clone(),
            best_suite: record.best_suite,
        })
    }

    /// The operator's root, which refuses what the operator no longer trusts.
    pub(crate) const fn anchor(&self) -> &Anchor {
        self.lists.anchor()
    }

    /// Whether the last third of the certificate's life has begun, and it has not ended.
    pub(crate) fn is_ending(&self, now: Timestamp) -> bool {
        let leaf = self.chain.first().map(|der| Certificate::parse(der));
        let Some(Ok(leaf)) = leaf else {
            return false;
        };
        certificate::is_ending(&leaf, now)
    }

    /// When the certificate ends; never, if it cannot be read.
    pub(crate) fn ends(&self) -> u64 {
        let leaf = self.chain.first().map(|der| Certificate::parse(der));
        leaf.and_then(Result::ok)
            .map_or(u64::MAX, |leaf| leaf.not_after())
    }

    pub(crate) fn to_record(&self) -> OperatorRecord {
        OperatorRecord {
            revoked: self.revoked,
            has_lists: (!self.lists.states().is_empty()).then_some(Flag),
            profile: Bytes(self.profile.encode()),
            chain: self.chain.iter().cloned().map(Bytes).collect(),
            discovery: Bytes(self.discovery.clone()),
            best_suite: self.best_suite,
        }
    }

    /// The record with what was learnt.
    pub(crate) fn record_with(&self, learnt: &Learnt) -> OperatorRecord {
        let has_lists = learnt.lists.as_ref().map(|_| Flag);
        let record = self.to_record();
        OperatorRecord {
            revoked: learnt.revoked,
            has_lists: has_lists.or(record.has_lists),
            ..record
        }
    }

    /// The suite a license must at least be sealed with (V-027).
    pub(crate) fn weakest_suite(&self) -> u64 {
        self.profile.minimum_suite.max(self.best_suite)
    }

    /// V-061: how a discovery document stands to the one that is kept. One that was issued in the future, by a clock
    /// that was wrong, makes no other older.
    pub(crate) fn age_of(&self, document: &[u8], now: Option<Timestamp>) -> Result<Age, ClientError> {
        let kept = discovery::unverified(&self.discovery).map_err(DiscoveryError::from)?;
        let other = discovery::unverified(document).map_err(DiscoveryError::from)?;
        let is_from_the_future = now.is_some_and(|now| kept.issued > now.plus(ISSUED_AHEAD));
        Ok(if other.issued >= kept.issued || is_from_the_future {
            Age::Current
        } else if other.request_encryption.first() == kept.request_encryption.first() {
            Age::Older
        } else {
            Age::GivenUp
        })
    }
}

/// Where a URL leads, if the profile permits it: scheme and authority.
pub(crate) fn permitted_origin(profile: &OperatorProfile, url: &str) -> Result<String, ClientError> {
    profile
        .permitted_origin(url)
        .map_err(|why| ClientError::UrlRefused {
            url: url.to_owned(),
            why,
        })
}

/// V-061
pub(crate) const OLDER_DOCUMENT: ClientError =
    ClientError::DiscoveryRefused("it is older than the one that this device has");

/// V-060 to V-062: verifies a discovery document and picks the best suite in common.
pub(crate) fn read_discovery(
    document: &[u8],
    anchor: &Anchor,
    profile: &OperatorProfile,
    weakest_suite: u64,
    keys: &dyn KeyStore,
    origin: &str,
    (known_clock, reading): (&Clock, Reading),
) -> Result<LicenseServer, ClientError> {
    // Where no clock may be used, it is as late as the document says, and as a server has told.
    let told = known_clock.last_trusted;
    let issued = || discovery::unverified(document).ok().map(|body| body.issued);
    let now = reading.now.or_else(|| issued()?.max(told?).into());
    let reader = DiscoveryReader {
        anchor,
        operator: profile.operator(),
        weakest_suite,
        suites: &keys.suites(),
        origin,
        now,
        last_trusted: told,
    };
    Ok(reader.read(document)?)
}

/// The time to judge the signer of an answer at (V-013).
pub(crate) fn judge_at(known: &Clock, reading: Reading, stated: Timestamp) -> Result<Timestamp, ClientError> {
    clock::judge_at(known, reading, stated).ok_or(ClientError::ServerTimeWentBack)
}
