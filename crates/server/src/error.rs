//! What can go wrong in the server, for the person who runs it. What a device is told stands in
//! [`refusal`](crate::refusal).

mod database;
mod hint;

use std::{path::PathBuf, sync::Arc};

pub use database::{DatabaseError, DatabaseFault};
use keyward_content::header::HeaderError;
use keyward_crypto::CryptoError;
use keyward_license::{
    codec::DecodeError,
    ids::{DeviceId, Digest, Kid},
    signed::MessageError,
};

use crate::{config::ConfigError, key_exchange::PerformFault, policy::PolicyFault};

/// A failure of the server, or an administrative act that it refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is something where the operator directory should be made.
    #[error("cannot make the operator directory `{0}`: it exists already")]
    OperatorExists(PathBuf),
    /// There is no operator directory.
    #[error("`{0}` is not an operator directory: it has no operator.toml")]
    NoOperator(PathBuf),
    /// There is something where a backup should be made.
    #[error("cannot make the backup `{0}`: it exists already")]
    BackupExists(PathBuf),
    /// A directory is no backup.
    #[error("`{0}` is not a backup: it has no manifest.json that can be read")]
    NoBackup(PathBuf),
    /// A backup is of a form that this version does not know.
    #[error("the backup is of a form that this version does not know: {0}")]
    BackupForm(u64),
    /// A backup is not as its manifest says.
    #[error("the backup is damaged: {name} {fault}")]
    BackupDamaged {
        /// The file in it.
        name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{path}`: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key-encryption key is not 64 hexadecimal digits.
    #[error("the key-encryption key is not 64 hexadecimal digits")]
    KekMalformed,
    /// The key-encryption key file can be read by others.
    #[error("the key-encryption key file `{0}` can be read by other users")]
    KekExposed(PathBuf),
    /// A secret's file can be read by others.
    #[error("the secret in `{0}` can be read by other users")]
    SecretExposed(PathBuf),
    /// The secrets of this operator are sealed under another key-encryption key.
    #[error("the key-encryption key is not the one that this operator's secrets are sealed under")]
    WrongKek,
    /// The key-encryption key was rolled between opening the operator and writing to its database.
    #[error("the key-encryption key was rolled meanwhile, and nothing was written")]
    KekRolled,
    /// A new key-encryption key was given where it lies in a file, or not given where it does not.
    #[error("{}", kek_given(*in_file))]
    KekGiven {
        /// Whether it lies in the file `kek`.
        in_file: bool,
    },
    /// The new key-encryption key is the one that it should take the place of.
    #[error("the new key-encryption key is the one that is in use")]
    KekInUse,
    /// A key of the server was rolled by somebody else at the same time.
    #[error("{0} was rolled by somebody else meanwhile")]
    RolledMeanwhile(&'static str),
    /// The root certifies this, so that the server cannot roll it by itself.
    #[error("{0} is certified by the root, whose key the server has not")]
    RolledBy(&'static str),
    /// The root does not certify this.
    #[error("{0} is certified by the server authority, not by the root")]
    RolledHere(&'static str),
    /// An authority has ended, and with it what the server serves with.
    #[error("{0} has ended, and with it the certificates that the server serves with")]
    Ended(&'static str),
    /// A certificate is not the one that an authority needs.
    #[error("the certificate is not the authority's: {0}")]
    NotTheAuthority(&'static str),
    /// Another server serves this operator.
    #[error("another server serves the operator `{0}`")]
    AlreadyServed(PathBuf),
    /// Only a test operator is recorded.
    #[error("a transcript is of a test operator, and this is none")]
    NotATestOperator,
    /// A transcript cannot be read.
    #[error("the transcript cannot be read: {0}")]
    Transcript(&'static str),
    /// A transcript is served to this machine alone.
    #[error("a transcript is served on a loopback address alone")]
    NotLoopback,
    /// A server of an earlier version serves this operator, whose schema would change under it.
    #[error("a server of an earlier version serves the operator `{0}`")]
    EarlierServes(PathBuf),
    /// The database's file is not there.
    #[error("the operator's database `{0}` is missing")]
    NoDatabase(PathBuf),
    /// The database failed.
    #[error("the database failed: {fault} ({source})")]
    Database {
        /// Why, as far as it says so.
        fault: DatabaseFault,
        /// What it said.
        source: DatabaseError,
    },
    /// The system gave no thread for writing to the database.
    #[error("no thread could be started for the database: {0}")]
    Thread(#[source] std::io::Error),
    /// The database is not of this version, and could not be brought to its schema.
    #[error("the database is not as this version of keyward knows it: {0}")]
    Migration(sqlx::migrate::MigrateError),
    /// A group of writes could not be committed; none of it happened.
    #[error("the database could not commit a write: {0}")]
    NotCommitted(DatabaseFault),
    /// The database failed for several requests at once.
    #[error(transparent)]
    Together(Arc<Self>),
    /// A row holds what cannot be there.
    #[error("the database is damaged: {0}")]
    Damaged(&'static str),
    /// The server is stopping and takes no more writes.
    #[error("the server is stopping")]
    Stopping,
    /// A cryptographic operation failed on the server's own data.
    #[error("a cryptographic operation failed: {0}")]
    Crypto(#[from] CryptoError),
    /// A message of the server could not be made.
    #[error("a message could not be made: {0}")]
    Making(MessageError),
    /// A stored message does not decode.
    #[error("a message could not be made: {0}")]
    Encoding(#[from] DecodeError),
    /// A request that was to be explained does not open.
    #[error("the request does not open: {0}")]
    RequestNotOpened(MessageError),
    /// A content header for a packager could not be made.
    #[error("a content header could not be made: {0}")]
    ContentHeader(#[from] HeaderError),
    /// A listener failed.
    #[error("cannot serve: {0}")]
    Serving(std::io::Error),

    /// A policy was refused.
    #[error("the policy was refused: {0}")]
    PolicyRefused(#[from] PolicyFault),
    /// No policy of this name.
    #[error("there is no policy `{0}`")]
    PolicyUnknown(String),
    /// A key id is registered with another type or source.
    #[error("key id {0} is registered with another key type or source")]
    KeyConflict(Kid),
    /// The key itself serves under another key id.
    #[error("the key for key id {0} already serves under another key id")]
    KeyReused(Kid),
    /// A key id is not registered.
    #[error("key id {0} is not registered")]
    KidUnknown(Kid),
    /// The vault keeps keys for media and files only.
    #[error("key type {0} is not one the vault keeps")]
    KeyTypeRefused(u64),
    /// No license key seed of this number.
    #[error("there is no license key seed {0}")]
    SeedUnknown(u64),
    /// This operator cannot certify packagers.
    #[error("this operator has no authority for packagers")]
    NoPackagerAuthority,
    /// A device is not enrolled.
    #[error("device {0} is not enrolled")]
    DeviceUnknown(DeviceId),
    /// No live entitlement of this number.
    #[error("there is no entitlement {0}")]
    EntitlementUnknown(i64),
    /// No admin token of this name.
    #[error("there is no admin token `{0}`")]
    AdminTokenUnknown(String),
    /// No service token of this name.
    #[error("there is no service token `{0}`")]
    ServiceTokenUnknown(String),
    /// A key id that is asked for key exchange is one of content.
    #[error("the key id {0} is registered for content")]
    KidOfContent(Kid),
    /// A key id that is asked for content is one of key exchange.
    #[error("the key id {0} is registered for key exchange")]
    KidOfExchange(Kid),
    /// A value that would be an exchange key serves content.
    #[error("the value for exchange key {0}, or a part of it, is a key of content")]
    KeyOfContent(Kid),
    /// A value is an exchange key already, or was one that is destroyed.
    #[error("the value for key id {0}, or a part of it, is an exchange key already, or was one")]
    KeyOfExchange(Kid),
    /// A key id that is asked for something else is a root's.
    #[error("the key id {0} is a root's")]
    KidOfRoot(Kid),
    /// A value that would serve something else is a root's key.
    #[error("the value for key id {0}, or a part of it, is the key of a root")]
    KeyOfRoot(Kid),
    /// There is a root of this name.
    #[error("there is a root `{0}` already")]
    RootExists(String),
    /// No root of this key id.
    #[error("there is no root {0}")]
    RootUnknown(Kid),
    /// A key is for devices of a higher security level than the root that it should be under.
    #[error("key {kid} is for a higher security level than root {root}")]
    AboveRoot {
        /// The root.
        root: Kid,
        /// The key.
        kid: Kid,
    },
    /// A piece of content, or a key, is under as many roots as it may be.
    #[error("`{0}` is under 64 roots already")]
    TooManyRoots(String),
    /// A piece of content, or a key, is not under the root that it should be taken off.
    #[error("`{1}` is not under root {0}")]
    NotUnderRoot(Kid, String),
    /// No blackout of this number under the root.
    #[error("there is no blackout {0} under the root")]
    BlackoutUnknown(i64),
    /// No certificate of this operator has this serial number.
    #[error("this operator issued no certificate with serial number {0}")]
    CertificateUnknown(String),
    /// An authority's certificate is on the root's list, or on none.
    #[error("the certificate {0} is an authority's, which the root revokes")]
    OfAuthority(String),
    /// A certificate that is no authority's is on the list of the authority that issued it, and not on the root's.
    #[error(
        "the certificate {0} is no authority's: not the root revokes it, but the authority that issued it"
    )]
    NotOfAuthority(String),
    /// The server works with a certificate that should be revoked, or with another for the same key.
    #[error("the server works with the certificate {0}, or with another for its key")]
    CertificateInUse(String),
    /// No list names a certificate that should be taken off it.
    #[error("the certificate {0} is not revoked")]
    CertificateNotRevoked(String),
    /// A certificate that should be taken off a list is one of a device or packager that is revoked.
    #[error("the device or packager of certificate {0} is revoked, for good")]
    DeviceRevokedForGood(String),
    /// What is revoked now would not be until a time to come.
    #[error("entry {0} revokes the same already: it would be trusted again until then")]
    RevokedEarlier(i64),
    /// No entry of this number on the operator's own revocation list.
    #[error("there is no revoked model {0}")]
    ModelUnknown(i64),
    /// A certificate is not exempt from the operator's own revocation list.
    #[error("the certificate {0} is not allowed by name")]
    CertificateNotAllowed(Digest),
    /// The operator's own revocation list holds as much as it may.
    #[error("the revocation list holds {0} entries already")]
    ListFull(usize),
    /// The server authority of this operator may not certify who signs the operator's own revocation list.
    #[error("this operator has nobody to sign a revocation list of models")]
    NoListSigner,
    /// V-064: a revocation list that should be imported is not one of the operator's root.
    #[error("the revocation list was refused: {0}")]
    ListUntrusted(CryptoError),
    /// V-064: a revocation list that should be imported does not take the place of the one that is there.
    #[error("the revocation list was refused: {0}")]
    ListRefused(&'static str),
    /// There is an exchange key of this key id.
    #[error("there is an exchange key {0} already")]
    ExchangeKeyExists(Kid),
    /// No exchange key of this key id.
    #[error("there is no exchange key {0}")]
    ExchangeKeyUnknown(Kid),
    /// An exchange key is disabled.
    #[error("exchange key {0} is disabled")]
    ExchangeKeyDisabled(Kid),
    /// An exchange key was destroyed.
    #[error("exchange key {0} was destroyed")]
    ExchangeKeyDestroyed(Kid),
    /// An exchange key has no such version.
    #[error("exchange key {0} has no version {1}")]
    ExchangeVersionUnknown(Kid, u32),
    /// The newest version of an exchange key has encrypted as many messages in GCM as one key bears.
    #[error("exchange key {0} has made all the messages that its newest version may")]
    ExchangeKeySpent(Kid),
    /// An exchange key was changed again and again while it was used.
    #[error("exchange key {0} is being changed")]
    ExchangeKeyBusy(Kid),
    /// A key cannot travel in the licenses of this one.
    #[error("no key can be beside exchange key {0}: {1}")]
    BesideRefused(Kid, &'static str),
    /// A value is no key of its algorithm.
    #[error("the value is no key of algorithm {algorithm}: {fault}")]
    ExchangeKeyRefused {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// What is wrong.
        fault: CryptoError,
    },
    /// What was asked for is not the one operation that the server performs with the key.
    #[error("the server does not {asked} with exchange key {kid}: it performs `{mirror}`")]
    NotTheMirror {
        /// The key.
        kid: Kid,
        /// What was asked for.
        asked: &'static str,
        /// What the server does with it.
        mirror: &'static str,
    },
    /// The caller may not use the key.
    #[error("`{caller}` may not use exchange key {kid}")]
    ExchangeNotPermitted {
        /// Who asked.
        caller: String,
        /// For which key.
        kid: Kid,
    },
    /// A call, a stream or one of its parts cannot be performed.
    #[error("exchange key {kid}: {fault}")]
    NotPerformed {
        /// The key.
        kid: Kid,
        /// Why.
        fault: PerformFault,
    },
    /// No exchange token of this name.
    #[error("there is no exchange token `{0}`")]
    ExchangeTokenUnknown(String),
    /// A policy for content was to be the policy of an exchange key.
    #[error("policy `{policy}` cannot be for key exchange: its term `{term}` is about playing")]
    PolicyAboutPlaying {
        /// The policy.
        policy: String,
        /// The first such term.
        term: &'static str,
    },
    /// A text or number of an administrative act is out of range.
    #[error("{what} must be {expected}")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Stopping,
            source => DatabaseError::Listing(source).into(),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        DatabaseError::Statement(error).into()
    }
}

impl From<DatabaseError> for Error {
    fn from(source: DatabaseError) -> Self {
        Self::Database {
            fault: DatabaseFault::of(&source),
            source,
        }
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Migration(other),
        }
    }
}

const fn kek_given(in_file: bool) -> &'static str {
    if in_file {
        "the key-encryption key lies in the operator's directory, and another is drawn there"
    } else {
        "the key-encryption key is supplied from elsewhere, and so must another be that follows it"
    }
}

impl Error {
    /// What each request of a batch is told that failed as one.
    pub(crate) fn of_batch(error: &Arc<Self>) -> Self {
        match **error {
            Self::Stopping => Self::Stopping,
            Self::NotCommitted(fault) => Self::NotCommitted(fault),
            _ => Self::Together(Arc::clone(error)),
        }
    }

    /// Why the database failed, if it is that which failed.
    #[must_use]
    pub fn database_fault(&self) -> Option<DatabaseFault> {
        match self {
            Self::Database { fault, .. } | Self::NotCommitted(fault) => Some(*fault),
            Self::Together(error) => error.database_fault(),
            _ => None,
        }
    }

    /// Whether the same may succeed later, when the disk is what it should be again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.database_fault().is_some_and(DatabaseFault::is_passing)
    }

    /// Whether the request of an administrator is at fault, not the server.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::PolicyRefused(_)
                | Self::PolicyUnknown(_)
                | Self::KeyConflict(_)
                | Self::KeyReused(_)
                | Self::KidUnknown(_)
                | Self::KeyTypeRefused(_)
                | Self::SeedUnknown(_)
                | Self::NoPackagerAuthority
                | Self::DeviceUnknown(_)
                | Self::EntitlementUnknown(_)
                | Self::AdminTokenUnknown(_)
                | Self::ServiceTokenUnknown(_)
                | Self::KidOfContent(_)
                | Self::KidOfExchange(_)
                | Self::KeyOfContent(_)
                | Self::KeyOfExchange(_)
                | Self::KidOfRoot(_)
                | Self::KeyOfRoot(_)
                | Self::RootExists(_)
                | Self::RootUnknown(_)
                | Self::AboveRoot { .. }
                | Self::TooManyRoots(_)
                | Self::NotUnderRoot(..)
                | Self::BlackoutUnknown(_)
                | Self::CertificateUnknown(_)
                | Self::OfAuthority(_)
                | Self::NotOfAuthority(_)
                | Self::RevokedEarlier(_)
                | Self::CertificateInUse(_)
                | Self::CertificateNotRevoked(_)
                | Self::DeviceRevokedForGood(_)
                | Self::ModelUnknown(_)
                | Self::CertificateNotAllowed(_)
                | Self::ListFull(_)
                | Self::NoListSigner
                | Self::ListUntrusted(_)
                | Self::ListRefused(_)
                | Self::ExchangeKeyExists(_)
                | Self::ExchangeKeyUnknown(_)
                | Self::ExchangeKeyDisabled(_)
                | Self::ExchangeKeyDestroyed(_)
                | Self::ExchangeVersionUnknown(..)
                | Self::ExchangeKeySpent(_)
                | Self::ExchangeKeyBusy(_)
                | Self::BesideRefused(..)
                | Self::ExchangeKeyRefused { .. }
                | Self::NotTheMirror { .. }
                | Self::ExchangeNotPermitted { .. }
                | Self::NotPerformed { .. }
                | Self::ExchangeTokenUnknown(_)
                | Self::PolicyAboutPlaying { .. }
                | Self::OutOfRange { .. }
                | Self::KekGiven { .. }
                | Self::KekInUse
                | Self::RolledMeanwhile(_)
                | Self::RolledBy(_)
                | Self::RolledHere(_)
                | Self::NotTheAuthority(_)
        )
    }

    /// A failed file operation, for `map_err`.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
