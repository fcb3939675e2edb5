//! Where the server may die: every write of it, by name.
//!
//! ```text
//!  Write    one item of a transaction   before BEGIN, within, complete, committed
//!  Answer   what was recorded           before it is signed, before it leaves
//!  File     a file of a new directory   made, written
//!  Making   the directory itself        begun, filled, in its place
//!  Rolled   a file beside another       made, written, in its place
//! ```
//! Outside of tests [`reach`] is nothing. In tests it tells whoever listens on the thread, or on the one that it works
//! for ([`heard`]), who takes a copy
//! of the disk as it is then: what a process that died there would leave.

#[cfg(test)]
#[path = "../tests/all/asking.rs"]
#[expect(dead_code, reason = "these tests use their part")]
mod asking;
#[cfg(test)]
mod crashed;
#[cfg(test)]
pub(crate) mod journal;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod scenario;

#[cfg(test)]
pub(crate) use recorder::{heard, reach, reach_each};

/// One place where the server may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    /// An item of a group commit.
    Write(Write, Moment),
    /// An answer on its way from the database to who asked.
    Answer(Exchange, Stage),
    /// The schema is brought up to date.
    Schema(Side),
    /// The write-ahead log is moved into the database, when the server stops.
    Checkpoint(Side),
    /// A directory that is made whole or not at all.
    Making(Act, Progress),
    /// A file in it.
    File(Act, &'static str, Extent),
    /// The operator profile is written anew.
    Profile(Extent),
    /// A file beside the one that it will be, while the key-encryption key is rolled.
    Rolled(&'static str, Extent),
}

/// What an item of a group commit writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Write {
    Founding,
    License,
    Enrolment,
    DeviceCertificate,
    Packaging,
    PackagingAnswer,
    CertificateAnnouncement,
    Certificate,
    AdminToken,
    AdminTokenRevocation,
    ServiceToken,
    ServiceTokenRevocation,
    EnrolmentToken,
    Policy,
    Entitlement,
    EntitlementRevocation,
    DeviceRevocation,
    StoreAcceptance,
    Key,
    Seed,
    Root,
    RootChange,
    Channel,
    ExchangeKey,
    ExchangeChange,
    ExchangeDestruction,
    ExchangeUse,
    ExchangeToken,
    ExchangeTokenRevocation,
    CertificateRevocation,
    RevokedModel,
    RevocationList,
    RevocationListSigned,
    ImportedList,
    Acknowledgement,
    Secret,
    Roll,
    AuthorityRequest,
    KeyDestruction,
    Resealing,
    Act,
    /// Nothing that stays: whether the database takes writes.
    Probe,
}

/// How far an item of a group commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// Its transaction has not begun.
    Before,
    /// Its own statements are done, those of its neighbours are not.
    Within,
    /// All of its group is written, and not committed.
    Complete,
    /// It is committed, and nobody was told.
    Committed,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exchange {
    License,
    Enrolment,
    Packaging,
    Acknowledgement,
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Recorded, not signed.
    Recorded,
    /// Signed, and not sent.
    Signed,
}

/// Before something that the database does by itself, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Before,
    After,
}

/// What makes a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Init,
    Backup,
    Restore,
}

/// How far a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// It is there under its hidden name.
    Begun,
    /// What is done stands in the database of the operator.
    Recorded,
    /// The database was copied.
    Copied,
    /// Every file is there and flushed.
    Filled,
    /// It is in its place.
    Placed,
}

/// How much there is of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// It is there, and nothing in it.
    Made,
    /// All of it is written.
    Written,
    /// It is in its place.
    Placed,
}

/// Nothing, outside of tests.
#[cfg(not(test))]
pub(crate) const fn reach(_: Point) {}

/// What a thread does that works for this one.
#[cfg(not(test))]
pub(crate) const fn heard<F: FnOnce() + Send>(work: F) -> F {
    work
}

/// Nothing, outside of tests: not even asked which they are.
#[cfg(not(test))]
pub(crate) fn reach_each(_: impl Iterator<Item = Point>) {}

#[cfg(test)]
impl Point {
    /// Every one that there is.
    pub(crate) fn all() -> Vec<Self> {
        use crate::{
            backup::MANIFEST,
            operator::{
                CONFIG_FILE, DATABASE_FILE, PROFILE_FILE, ROOT_KEY_FILE,
                kek::{KEK_NEXT, KEK_OLD, ROOT_KEY_NEXT},
            },
            sealing::KEK_FILE,
        };
        let sides = [Side::Before, Side::After];
        let files = [DATABASE_FILE, CONFIG_FILE, PROFILE_FILE, KEK_FILE, ROOT_KEY_FILE];
        let mut all = Vec::new();
        for write in Write::ALL {
            all.extend(Moment::ALL.map(|moment| Self::Write(write, moment)));
        }
        for exchange in [
            Exchange::License,
            Exchange::Enrolment,
            Exchange::Packaging,
            Exchange::Acknowledgement,
        ] {
            all.extend([Stage::Recorded, Stage::Signed].map(|stage| Self::Answer(exchange, stage)));
        }
        all.extend(sides.map(Self::Schema));
        all.extend(sides.map(Self::Checkpoint));
        for act in [Act::Init, Act::Backup, Act::Restore] {
            let steps = [Progress::Begun, Progress::Filled, Progress::Placed];
            all.extend(steps.map(|step| Self::Making(act, step)));
            for file in files {
                all.extend([Extent::Made, Extent::Written].map(|extent| Self::File(act, file, extent)));
            }
        }
        for extent in [Extent::Made, Extent::Written] {
            all.push(Self::File(Act::Backup, MANIFEST, extent));
        }
        for (act, step) in [
            (Act::Backup, Progress::Recorded),
            (Act::Backup, Progress::Copied),
            (Act::Restore, Progress::Recorded),
        ] {
            all.push(Self::Making(act, step));
        }
        let extents = [Extent::Made, Extent::Written, Extent::Placed];
        all.extend(extents.map(Self::Profile));
        for file in [KEK_NEXT, ROOT_KEY_NEXT] {
            all.extend(extents.map(|extent| Self::Rolled(file, extent)));
        }
        all.extend([Extent::Made, Extent::Written].map(|extent| Self::Rolled(KEK_OLD, extent)));
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
impl Write {
    const ALL: [Self; 42] = [
        Self::Founding,
        Self::License,
        Self::Enrolment,
        Self::DeviceCertificate,
        Self::Packaging,
        Self::PackagingAnswer,
        Self::CertificateAnnouncement,
        Self::Certificate,
        Self::AdminToken,
        Self::AdminTokenRevocation,
        Self::ServiceToken,
        Self::ServiceTokenRevocation,
        Self::EnrolmentToken,
        Self::Policy,
        Self::Entitlement,
        Self::EntitlementRevocation,
        Self::DeviceRevocation,
        Self::StoreAcceptance,
        Self::Key,
        Self::Seed,
        Self::Root,
        Self::RootChange,
        Self::Channel,
        Self::ExchangeKey,
        Self::ExchangeChange,
        Self::ExchangeDestruction,
        Self::ExchangeUse,
        Self::ExchangeToken,
        Self::ExchangeTokenRevocation,
        Self::CertificateRevocation,
        Self::RevokedModel,
        Self::RevocationList,
        Self::RevocationListSigned,
        Self::ImportedList,
        Self::Acknowledgement,
        Self::Secret,
        Self::Roll,
        Self::AuthorityRequest,
        Self::KeyDestruction,
        Self::Resealing,
        Self::Act,
        Self::Probe,
    ];
}

#[cfg(test)]
impl Moment {
    const ALL: [Self; 4] = [Self::Before, Self::Within, Self::Complete, Self::Committed];
}
