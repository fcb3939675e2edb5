//! `keyward admin roll`: what of it there is.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::OperatorDir;

#[derive(Args)]
pub(crate) struct RollArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// What gets another key
    #[arg(value_enum)]
    pub(crate) what: Rolled,
    /// Of an authority: file of the root's sealed private key [default: `root-key.sealed` of the operator's folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
    /// Of an authority: file of the key-encryption key that the root's private key is sealed under, if that is an
    /// earlier one, such as `kek.old-1` [default: the operator's]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_kek_file: Option<PathBuf>,
    /// Of the key-encryption key, if it comes from elsewhere: environment variable that holds the new one, 64
    /// hexadecimal digits. Supply it in the place of the old one from then on
    #[arg(long, value_name = "NAME")]
    pub(crate) new_kek_env: Option<String>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rolled {
    /// Signs licenses, responses and the discovery document
    LicenseServer,
    /// Requests are sealed to it; those to the old one are accepted for `certificates.overlap_days`
    RequestEncryption,
    /// Signs receipts for acknowledgements
    Receipt,
    /// Signs the operator's own revocation list
    RevocationList,
    /// Certifies the four above; needs the root's private key, as the next two do
    ServerAuthority,
    /// Certifies devices; certificates that the old one issued stay valid
    DeviceAuthority,
    /// Certifies packagers; certificates that the old one issued stay valid
    PackagerAuthority,
    /// The key-encryption key: everything that is sealed is sealed anew; the old one is kept beside it as `kek.old-1`
    Kek,
    /// The license key seed: key ids that are registered keep their keys
    Seed,
}

impl Rolled {
    /// The name in paths of the administration interface.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::LicenseServer => "license-server",
            Self::RequestEncryption => "request-encryption",
            Self::Receipt => "receipt",
            Self::RevocationList => "revocation-list",
            Self::ServerAuthority => "server-authority",
            Self::DeviceAuthority => "device-authority",
            Self::PackagerAuthority => "packager-authority",
            Self::Kek => "kek",
            Self::Seed => "seed",
        }
    }
}
