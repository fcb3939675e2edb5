//! Revocation as the database keeps it: what lists name, and the lists.

use keyward_crypto::x509::{Certificate, issue::Reason};
use keyward_license::{ids::Digest, time::Timestamp};

use super::Purpose;

/// A list that this server signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListOf {
    /// The certificates of an authority.
    Authority(Purpose),
    /// The operator's own: models, companies, allowed certificates.
    Own,
    /// The authorities, which the root revokes. It is signed where the root key is, and imported.
    Root,
}

impl ListOf {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Authority(purpose) => purpose.as_str(),
            Self::Own => "own",
            Self::Root => "root",
        }
    }

    /// The name of the generation that counts the changes of what it says.
    pub(crate) const fn changes(self) -> &'static str {
        match self {
            Self::Root => "imported",
            Self::Authority(_) | Self::Own => self.as_str(),
        }
    }
}

/// How often what each list says has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Generations(Vec<(String, i64)>);

impl Generations {
    pub(super) const fn new(rows: Vec<(String, i64)>) -> Self {
        Self(rows)
    }

    /// How often anything that lists say has changed.
    pub(crate) fn sum(&self) -> i64 {
        self.sum_by(|_, generation| generation)
    }

    pub(crate) fn sum_by(&self, generation: impl Fn(&str, i64) -> i64) -> i64 {
        let each = |(name, at): &(String, i64)| generation(name, *at);
        self.0.iter().map(each).fold(0, i64::saturating_add)
    }

    pub(crate) fn of(&self, list: &str) -> i64 {
        let found = self.0.iter().find(|(name, _)| name == list);
        found.map_or(0, |(_, generation)| *generation)
    }
}

/// A certificate that a list of its authority names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevokedRow {
    pub(crate) serial: Vec<u8>,
    pub(crate) authority: Purpose,
    pub(crate) not_after: Timestamp,
    pub(crate) revoked: Timestamp,
    /// Since when the key may have been in other hands, if that is earlier.
    pub(crate) invalid_since: Option<Timestamp>,
    pub(crate) reason: Option<Reason>,
}

/// A model, or a whole company, that the operator's own list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelRow {
    pub(crate) id: i64,
    pub(crate) maker: String,
    /// None: the company.
    pub(crate) model: Option<String>,
    /// Only versions below; none: every version.
    pub(crate) robustness_below: Option<u64>,
    pub(crate) since: Timestamp,
    pub(crate) reason: Option<String>,
    pub(crate) created: Timestamp,
}

/// A certificate that is exempt from what the operator's own list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExemptRow {
    pub(crate) digest: Digest,
    /// When it ends; none if it is not known here.
    pub(crate) not_after: Option<Timestamp>,
}

impl ExemptRow {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        Self {
            digest: Digest::new(certificate.digest()),
            not_after: Some(Timestamp(certificate.not_after())),
        }
    }
}

/// A list that was signed.
#[derive(Debug, Clone)]
pub(crate) struct SignedList {
    pub(crate) number: u64,
    /// What it says is what the rows said at this generation.
    pub(crate) generation: i64,
    pub(crate) issued: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) bytes: Vec<u8>,
}

/// The newest list of an issuer, where the database has not the only word about that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newest {
    pub(crate) number: u64,
    pub(crate) issued: Timestamp,
}

/// A list that is complete but for its signature.
#[derive(Debug)]
pub(crate) struct AnnouncedList {
    pub(crate) number: u64,
    pub(crate) generation: i64,
    pub(crate) issued: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) says: ListSays,
}

/// What a list says.
#[derive(Debug)]
pub(crate) enum ListSays {
    /// These certificates are revoked.
    Certificates(Vec<RevokedRow>),
    /// These models are, but for these certificates.
    Models(Vec<ModelRow>, Vec<Digest>),
    /// What whoever makes it says.
    AsMade,
}

/// A certificate that the operator issued, as far as the database has it.
#[derive(Debug, Clone)]
pub(crate) struct IssuedCertificateRow {
    pub(crate) authority: Purpose,
    pub(crate) not_after: Timestamp,
    /// Whether the operator signs or opens with its key at present.
    pub(crate) in_use: bool,
}

/// The name of a reason, in the database and in JSON; none of a reason that no list of this server gives.
#[must_use]
pub const fn reason_name(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::KeyCompromise => "key-compromise",
        Reason::AuthorityCompromise => "authority-compromise",
        Reason::Superseded => "superseded",
        Reason::CessationOfOperation => "cessation-of-operation",
        Reason::PrivilegeWithdrawn => "privilege-withdrawn",
        _ => return None,
    })
}

/// The reason of a name.
#[must_use]
pub fn reason_from_name(name: &str) -> Option<Reason> {
    REASONS
        .into_iter()
        .find(|reason| reason_name(*reason) == Some(name))
}

const REASONS: [Reason; 5] = [
    Reason::KeyCompromise,
    Reason::AuthorityCompromise,
    Reason::Superseded,
    Reason::CessationOfOperation,
    Reason::PrivilegeWithdrawn,
];
