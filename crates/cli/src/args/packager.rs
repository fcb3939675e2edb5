//! What `keyward packager` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use keyward_license::enrolment::EnrolmentRole;

#[derive(Subcommand)]
pub(crate) enum PackagerCommand {
    /// Enrol this machine's packager with an operator
    Enrol(EnrolPackagerArgs),
}

#[derive(Args)]
pub(crate) struct EnrolPackagerArgs {
    /// Folder of the packager's keys and certificate; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) packager: PathBuf,
    /// The operator's profile
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: PathBuf,
    /// The enrolment token, made for a packager
    #[arg(long, env = "KEYWARD_ENROLMENT_TOKEN", hide_env_values = true)]
    pub(crate) token: String,
    /// Which of the profile's license servers or proxies to ask, now and for keys [default: the first]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Enrol with the operator although it is one for tests: the seed of its keys is published
    #[arg(long)]
    pub(crate) accept_test_operator: bool,
}

/// Keys by exchange with the license server.
#[derive(Args)]
pub(crate) struct ExchangeArgs {
    /// Ask the license server for key id and key as the enrolled packager in this folder
    #[arg(
        long,
        value_name = "DIR",
        requires = "content_id",
        conflicts_with_all = ["seed_file", "key", "kid", "track_key", "vault_key", "license_url"]
    )]
    pub(crate) packager: Option<PathBuf>,
    /// The content's name at the license server, 1 to 255 bytes. The same name gets the same keys
    #[arg(long, value_name = "ID", requires = "packager")]
    pub(crate) content_id: Option<String>,
    /// The key's name within the content [default: `file` or `media`; `video` and `audio` with a key
    /// per kind, one for each quality with a key per quality]
    #[arg(long, conflicts_with_all = ["key_per_kind", "track_key", "seed_file"])]
    pub(crate) label: Option<String>,
}

/// What may enrol with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Requests and keeps licenses
    Device,
    /// Asks the license server for key ids and keys
    Packager,
}

impl Role {
    pub(crate) const fn enrolment(self) -> EnrolmentRole {
        match self {
            Self::Device => EnrolmentRole::Device,
            Self::Packager => EnrolmentRole::Packager,
        }
    }
}
