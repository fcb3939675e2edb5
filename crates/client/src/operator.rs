//! One operator as this client knows it: trust anchor, license servers, the device's certificate.

use keyward_crypto::x509::{Anchor, Certificate};
use keyward_license::{
    certificate::Claims,
    codec::{Bytes, Wire},
    discovery::{self, DiscoveryError, DiscoveryReader, ISSUED_AHEAD, LicenseServer, WELL_KNOWN_PATH},
    operator_profile::OperatorProfile,
    time::Timestamp,
};

use crate::{
    ClientError,
    clock::{self, Reading},
    device::KeyStore,
    flow::{Io, Outgoing},
    store::{Clock, OperatorRecord},
};

/// An operator that the device is enrolled with.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) profile: OperatorProfile,
    pub(crate) anchor: Anchor,
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
    /// Reads a stored record. Its certificate was verified when it was stored.
    pub(crate) fn from_record(record: &OperatorRecord) -> Result<Self, ClientError> {
        let profile = OperatorProfile::decode(&record.profile.0)?;
        let chain: Vec<Vec<u8>> = record.chain.iter().map(|der| der.0.clone()).collect();
        let leaf = chain
            .first()
            .ok_or(ClientError::StoreDamaged("an operator record has no certificate"))?;
        Ok(Self {
            anchor: Anchor::from_der(&profile.root.0)?,
            claims: Claims::of(&Certificate::parse(leaf)?)?,
            profile,
            chain,
            discovery: record.discovery.0.clone(),
            best_suite: record.best_suite,
        })
    }

    pub(crate) fn to_record(&self) -> OperatorRecord {
        OperatorRecord {
            profile: Bytes(self.profile.encode()),
            chain: self.chain.iter().cloned().map(Bytes).collect(),
            discovery: Bytes(self.discovery.clone()),
            best_suite: self.best_suite,
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

/// Fetches the discovery document of the server at `origin`.
pub(crate) async fn fetch_discovery(io: &Io, origin: &str) -> Result<Vec<u8>, ClientError> {
    let outgoing = Outgoing::get(format!("{origin}{WELL_KNOWN_PATH}"));
    Ok(io.send(outgoing).await?.message()?)
}

/// Posts a sealed request; returns the sealed response and the round trip in milliseconds.
pub(crate) async fn post(
    io: &Io,
    url: &str,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<(Vec<u8>, u64), ClientError> {
    let sent = io.moment().monotonic;
    let outgoing = Outgoing::post(url.to_owned(), content_type, body);
    let body = io.send(outgoing).await?.sealed_response()?;
    Ok((body, io.moment().monotonic.saturating_sub(sent)))
}

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
    let reader = DiscoveryReader {
        anchor,
        operator: profile.operator(),
        weakest_suite,
        suites: &keys.suites(),
        origin,
        now: reading.now,
        last_trusted: known_clock.last_trusted,
    };
    Ok(reader.read(document)?)
}

/// The time to judge the signer of an answer at (V-013).
pub(crate) fn judge_at(known: &Clock, reading: Reading, stated: Timestamp) -> Result<Timestamp, ClientError> {
    clock::judge_at(known, reading, stated).ok_or(ClientError::ServerTimeWentBack)
}
