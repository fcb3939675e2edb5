//! What goes into the database and comes out of it.

use std::sync::Arc;

use keyward_crypto::x509::Role;
use keyward_license::{
    cbor_map,
    certificate::Claims,
    codec::{DecodeError, Wire},
    enrolment::EnrolmentRole,
    ids::{DeviceId, Digest, Kid, LicenseId, Nonce, TransactionId},
    license::{KeyType, PreparedLicense},
    packaging::PreparedPackaging,
    request::StoreState,
    response::Denial,
    time::Timestamp,
};

use super::roots::{ChainBasis, Holdings, PackagedLeaf, TrackRow};
use crate::{handler::Once, policy::Policy};

/// What a license request asks the database.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) device: DeviceId,
    pub(crate) nonce: Nonce,
    pub(crate) store: StoreState,
    /// Each once.
    pub(crate) kids: Vec<Kid>,
    pub(crate) now: Timestamp,
}

/// What the database says to a [`Question`].
#[derive(Debug)]
pub(crate) struct Found {
    /// None if the device is not enrolled.
    pub(crate) device: Option<DeviceRow>,
    /// What its account may have, in the order of the key ids.
    pub(crate) rights: Vec<RightRow>,
    /// How often what revocation lists say has changed.
    pub(crate) generation: i64,
}

/// An enrolled device, and what it did with a nonce.
#[derive(Debug)]
pub(crate) struct DeviceRow {
    pub(crate) account: i64,
    pub(crate) account_name: String,
    pub(crate) security_level: u64,
    pub(crate) revoked: bool,
    /// Newest generation seen of the epoch asked about.
    pub(crate) generation: Option<u64>,
    /// The request that used the nonce asked about.
    pub(crate) answered: Option<Digest>,
}

/// A nonce that was used.
#[derive(Debug)]
pub(crate) struct AnsweredRow {
    pub(crate) request: Digest,
    /// The sealed response, once it was signed.
    pub(crate) answer: Option<Vec<u8>>,
}

/// Where a content key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// Derived from the seed of this number.
    Seed(u64),
    /// Sealed in the vault.
    Sealed(Vec<u8>),
    /// An exchange key: it has versions, and is no content key.
    Exchange,
}

/// A registered key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) kid: Kid,
    pub(crate) key_type: KeyType,
    pub(crate) source: KeySource,
    /// Smallest security level of a device that gets it, besides what the policy asks for.
    pub(crate) minimum_security_level: Option<u64>,
}

/// What an account may have of one key id.
#[derive(Debug, Default)]
pub(crate) struct RightRow {
    /// None if the key id is not registered.
    pub(crate) key: Option<KeyRow>,
    /// None if the account is not entitled.
    pub(crate) grant: Option<Grant>,
    /// Where it belongs, if a packager asked for the key.
    pub(crate) track: Option<TrackRow>,
    /// Whether the key id is a root's or may be under one. Which that is, is asked by itself.
    pub(crate) chained: bool,
}

/// Under which terms an account may have a key id, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) policy: Arc<Policy>,
    pub(crate) expires: Option<Timestamp>,
}

/// What an answer was decided on. Recording it asks whether all of this still holds.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) account: i64,
    /// Security level of the enrolment.
    pub(crate) security_level: u64,
    /// What each license rests on that is for content by itself, or for key exchange.
    pub(crate) grants: Vec<LicenseBasis>,
    /// What is used up with them, each once.
    pub(crate) once: Vec<Once>,
    /// What root licenses, and those under roots, rest on.
    pub(crate) chains: ChainBasis,
}

impl Basis {
    /// Who granted each license.
    pub(crate) fn rests(&self) -> impl Iterator<Item = &Rests> {
        let of_roots = self.chains.roots.iter().map(|root| &root.rests);
        self.grants.iter().map(|grant| &grant.rests).chain(of_roots)
    }
}

/// What one license was decided on.
#[derive(Debug)]
pub(crate) struct LicenseBasis {
    pub(crate) kid: Kid,
    pub(crate) rests: Rests,
    /// The key's own minimum security level.
    pub(crate) key_level: Option<u64>,
    /// The exchange keys in the license, each at a revision; none in a license for content.
    pub(crate) exchange: Vec<(Kid, u64)>,
}

/// Who granted, and what must still be so when the license is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rests {
    /// The account's entitlement, as it stood.
    Row(Box<Grant>),
    /// A handler, under a policy: its name and newest version.
    Policy(String, u64),
    /// A handler, under terms of its own.
    Handler,
}

/// An answer that is to be recorded.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) answer: PreparedAnswer,
    pub(crate) store: StoreState,
    pub(crate) basis: Basis,
    /// The revocation lists that the device was judged by.
    pub(crate) generation: i64,
    /// Whether it is the answer to a device that is revoked: denials and nothing else.
    pub(crate) revoked: bool,
}

/// A license response that is complete but for its signatures.
#[derive(Debug)]
pub(crate) struct PreparedAnswer {
    pub(crate) device: DeviceId,
    pub(crate) nonce: Nonce,
    pub(crate) request: Digest,
    pub(crate) server_time: Timestamp,
    pub(crate) results: Vec<PreparedResult>,
    /// For the application.
    pub(crate) custom_data: Option<Vec<u8>>,
    /// When the client should ask for what comes next.
    pub(crate) renew_at: Option<Timestamp>,
    /// Set if the client should acknowledge what became of the licenses.
    pub(crate) transaction: Option<TransactionId>,
}

/// What becomes of one key id.
#[derive(Debug)]
pub(crate) struct PreparedResult {
    pub(crate) kid: Kid,
    pub(crate) outcome: PreparedOutcome,
}

/// A license to sign, or a denial.
#[derive(Debug)]
pub(crate) enum PreparedOutcome {
    /// To be signed.
    License {
        id: LicenseId,
        license: PreparedLicense,
        policy: String,
        policy_version: u64,
    },
    /// Denied.
    Denied(Denial),
}

/// What recording an answer came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It stands in the database.
    Recorded,
    /// The same request was recorded before, with this answer.
    Before(PreparedAnswer),
    /// Nothing was recorded.
    Refused(crate::Refusal),
}

cbor_map! {
    /// A result as the column `answers.results` keeps it; the license itself stands in `issued`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct StoredResult = "stored result" {
        /// Key id.
        [1] kid: Kid,
        /// The license issued.
        [2?] license: LicenseId,
        /// Why there is none.
        [3?] denial: Denial,
    }
}

impl PreparedAnswer {
    /// Whether there is a license in it.
    pub(crate) fn has_license(&self) -> bool {
        let is_license = |result: &PreparedResult| matches!(result.outcome, PreparedOutcome::License { .. });
        self.results.iter().any(is_license)
    }

    pub(super) fn encode_results(&self) -> Vec<u8> {
        let results: Vec<_> = self
            .results
            .iter()
            .map(|result| match &result.outcome {
                PreparedOutcome::License { id, .. } => StoredResult {
                    kid: result.kid,
                    license: Some(*id),
                    denial: None,
                },
                PreparedOutcome::Denied(denial) => StoredResult {
                    kid: result.kid,
                    license: None,
                    denial: Some(denial.clone()),
                },
            })
            .collect();
        results.encode()
    }
}

pub(super) fn decode_results(bytes: &[u8]) -> Result<Vec<StoredResult>, DecodeError> {
    Vec::<StoredResult>::decode(bytes)
}

/// A packager, and what it did with a nonce.
#[derive(Debug)]
pub(crate) struct PackagerRow {
    pub(crate) revoked: bool,
    /// How often what revocation lists say has changed.
    pub(crate) generation: i64,
    /// Set if the nonce asked about was used.
    pub(crate) answered: Option<AnsweredRow>,
}

/// A track with the key id that it has, or will have.
#[derive(Debug)]
pub(crate) struct AssignedTrack {
    pub(crate) label: String,
    /// Of content that has crypto periods.
    pub(crate) period: Option<u64>,
    pub(crate) key: KeyRow,
    /// Of a fresh key, which is to be registered; none if the track has its key id already.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

impl AssignedTrack {
    /// The key, if the track has it already.
    pub(super) fn registered(&self) -> Option<&KeyRow> {
        Some(&self.key).filter(|_| self.fingerprint.is_none())
    }
}

/// A packaging response that is complete but for its signature.
#[derive(Debug)]
pub(crate) struct PackagingAnswer {
    pub(crate) packager: DeviceId,
    pub(crate) nonce: Nonce,
    pub(crate) request: Digest,
    pub(crate) server_time: Timestamp,
    pub(crate) prepared: PreparedPackaging,
    pub(crate) leaves: Vec<PackagedLeaf>,
}

/// What a packaging answer was made of. Recording it asks whether it still is so.
#[derive(Debug)]
pub(crate) struct PackagedContent {
    pub(crate) content_id: String,
    pub(crate) tracks: Vec<AssignedTrack>,
    /// What was under which roots.
    pub(crate) holdings: Holdings,
    /// The revocation lists that the packager was judged by.
    pub(crate) generation: i64,
}

/// What recording a packaging answer came to.
#[derive(Debug)]
pub(crate) enum PackagingRecord {
    /// It stands in the database and may be signed; if the same request was recorded before, this is
    /// what was recorded then.
    ToSign(super::Recorded<PackagingAnswer>),
    /// The same request was answered before, with these bytes.
    Answered(Vec<u8>),
    /// One of the tracks was registered meanwhile, or what is under a root changed. Nothing was written.
    Overtaken,
}

/// The device that an enrolment token makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceProfile {
    pub(crate) security_level: u64,
    pub(crate) maker: String,
    pub(crate) model: String,
    /// Version of the robustness rules that it was made to, from 1.
    pub(crate) robustness_version: Option<u64>,
}

/// What an enrolment token is good for.
#[derive(Debug)]
pub(crate) struct TokenRow {
    pub(crate) account: i64,
    pub(crate) role: EnrolmentRole,
    pub(crate) profile: DeviceProfile,
    pub(crate) expires: Timestamp,
}

/// A certificate of a device or packager that is complete but for its signature.
#[derive(Debug)]
pub(crate) struct PreparedCertificate {
    pub(crate) device: DeviceId,
    pub(crate) role: EnrolmentRole,
    pub(crate) serial: [u8; 16],
    pub(crate) claims: Claims,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// What recording an enrolment came to.
#[derive(Debug)]
pub(crate) enum EnrolmentRecord {
    /// It stands in the database and may be signed; if the device used the token before, this is what
    /// was recorded then.
    ToSign(super::Recorded<PreparedCertificate>),
    /// The device used the token before and was given this certificate.
    Issued(Vec<u8>),
}

/// A certificate of the operator itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperatorCertificate {
    pub(crate) purpose: Purpose,
    /// Which key of the purpose it is for, from 0.
    pub(crate) key: u64,
    pub(crate) der: Vec<u8>,
    pub(crate) not_after: Timestamp,
    /// When it was made.
    pub(crate) created: Timestamp,
}

/// What a key and a certificate of the operator are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Issues the certificates of devices.
    DeviceAuthority,
    /// Issues the certificates of packagers.
    PackagerAuthority,
    /// Issues the certificates of the operator's own servers.
    ServerAuthority,
    /// Signs licenses, responses, the discovery document.
    LicenseServer,
    /// Requests are sealed to it.
    RequestEncryption,
    /// Signs receipts.
    Receipt,
    /// Signs the operator's own revocation list.
    RevocationList,
}

impl Purpose {
    /// Every one: authorities first.
    pub const ALL: [Self; 7] = [
        Self::DeviceAuthority,
        Self::PackagerAuthority,
        Self::ServerAuthority,
        Self::LicenseServer,
        Self::RequestEncryption,
        Self::Receipt,
        Self::RevocationList,
    ];

    /// The name in the database, in paths and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeviceAuthority => "device-authority",
            Self::PackagerAuthority => "packager-authority",
            Self::ServerAuthority => "server-authority",
            Self::LicenseServer => "license-server",
            Self::RequestEncryption => "request-encryption",
            Self::Receipt => "receipt",
            Self::RevocationList => "revocation-list",
        }
    }

    /// The purpose of a name.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// Whether the root certifies it and it certifies others. The server authority certifies the rest.
    #[must_use]
    pub const fn is_authority(self) -> bool {
        matches!(
            self,
            Self::DeviceAuthority | Self::PackagerAuthority | Self::ServerAuthority
        )
    }

    /// What its certificate permits; of an authority, what it may issue for.
    #[must_use]
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Self::DeviceAuthority => &[Role::Device],
            Self::PackagerAuthority => &[Role::Packager],
            Self::ServerAuthority => &[
                Role::LicenseServer,
                Role::RequestEncryption,
                Role::Time,
                Role::Receipt,
                Role::RevocationList,
            ],
            Self::LicenseServer => &[Role::LicenseServer, Role::Time],
            Self::RequestEncryption => &[Role::RequestEncryption],
            Self::Receipt => &[Role::Receipt],
            Self::RevocationList => &[Role::RevocationList],
        }
    }

    /// Whether its key and certificate are made when the server opens, and not with the operator: those of earlier
    /// versions have none.
    pub(crate) const fn comes_later(self) -> bool {
        matches!(self, Self::Receipt | Self::RevocationList)
    }

    /// The authorities, or those that the server authority certifies.
    pub(crate) fn of_authorities(authorities: bool) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |purpose| purpose.is_authority() == authorities)
    }
}

/// A new key, sealed for its row in the table of secrets.
pub(crate) struct NewSecret {
    pub(crate) name: String,
    pub(crate) sealed: Vec<u8>,
}

/// A new key of an authority, for which the root has not signed a certificate yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorityRequestRow {
    pub(crate) purpose: Purpose,
    /// Which key of the purpose it is.
    pub(crate) key: u64,
    pub(crate) serial: [u8; 16],
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Everything that makes a new operator's database.
pub(crate) struct Founding {
    pub(crate) root: Vec<u8>,
    /// Whether it is a test operator.
    pub(crate) is_test: bool,
    pub(crate) secrets: Vec<NewSecret>,
    /// Sealed seed 1.
    pub(crate) seed: Vec<u8>,
    pub(crate) certificates: Vec<OperatorCertificate>,
    pub(crate) admin_token: (Digest, String),
}
