//! What `keyward admin revocation` and `keyward admin revoke-authority` take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use keyward_crypto::x509::issue::Reason;
use keyward_license::time::Timestamp;

use super::{OperatorDir, RevokeDeviceArgs, policy::time};

#[derive(Subcommand)]
pub(crate) enum RevocationCommand {
    /// List what is revoked, and the lists that say so
    List(OperatorDir),
    /// List the operator's own certificates, with the serial numbers to revoke them by; `keyward admin devices` lists
    /// those of devices and packagers
    Certificates(OperatorDir),
    /// Revoke a device or packager for good, with all its certificates
    Device(RevokeDeviceArgs),
    /// Revoke one certificate of a device, a packager or the license server
    Certificate(RevokeCertificateArgs),
    /// Take a certificate off the list of its authority
    RestoreCertificate(RestoreCertificateArgs),
    /// Revoke all devices of a company
    Company(RevokeCompanyArgs),
    /// Revoke all devices of a model
    Model(RevokeModelArgs),
    /// Take a company or model off the operator's own list
    RestoreModel(RestoreModelArgs),
    /// Exempt a device from what is said of its company and model
    Allow(AllowArgs),
    /// End an exemption
    Disallow(DisallowArgs),
    /// Write the lists to a file, for devices without a network: `keyward install` takes it
    Export(ExportListsArgs),
}

#[derive(Args)]
pub(crate) struct RevokeCertificateArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Serial number, in hexadecimal digits, see `keyward admin devices` and `keyward admin revocation certificates`
    pub(crate) serial: String,
    #[command(flatten)]
    pub(crate) why: WhyArgs,
}

/// Since when, and why.
#[derive(Args)]
pub(crate) struct WhyArgs {
    /// Since when its key may have been in other hands, such as `2030-12-31T23:00:00Z`: what it signed from then on is
    /// refused as well [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<Timestamp>,
    /// Why, for those who read lists
    #[arg(long)]
    pub(crate) reason: Option<ReasonArg>,
}

/// Why a certificate is revoked.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ReasonArg {
    /// Others may know its key
    KeyCompromise,
    /// Others may know the key of an authority
    AuthorityCompromise,
    /// There is another in its place
    Superseded,
    /// Its holder does not do that any more
    CessationOfOperation,
    /// Its holder may not do that any more
    PrivilegeWithdrawn,
}

impl ReasonArg {
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::KeyCompromise => Reason::KeyCompromise,
            Self::AuthorityCompromise => Reason::AuthorityCompromise,
            Self::Superseded => Reason::Superseded,
            Self::CessationOfOperation => Reason::CessationOfOperation,
            Self::PrivilegeWithdrawn => Reason::PrivilegeWithdrawn,
        }
    }
}

#[derive(Args)]
pub(crate) struct RestoreCertificateArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Serial number, in hexadecimal digits
    pub(crate) serial: String,
}

#[derive(Args)]
pub(crate) struct RevokeCompanyArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Who makes the devices, as their certificates say
    pub(crate) maker: String,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
}

#[derive(Args)]
pub(crate) struct RevokeModelArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Who makes the devices, as their certificates say
    pub(crate) maker: String,
    /// Their model, as their certificates say
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
}

/// Which of them, from when on, and why.
#[derive(Args)]
pub(crate) struct WhichArgs {
    /// Only those whose certificate says a lower robustness version, or none [default: all]
    #[arg(long, value_name = "VERSION")]
    pub(crate) below: Option<u64>,
    /// From this time on, such as `2030-12-31T23:00:00Z` [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<Timestamp>,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Args)]
pub(crate) struct RestoreModelArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Number of the entry, see `keyward admin revocation list`
    pub(crate) number: i64,
}

#[derive(Args)]
pub(crate) struct AllowArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Device id, 64 hexadecimal digits: its newest certificate is exempt
    pub(crate) device: String,
}

#[derive(Args)]
pub(crate) struct DisallowArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// SHA-256 of the certificate, 64 hexadecimal digits
    pub(crate) certificate: String,
}

#[derive(Args)]
pub(crate) struct ExportListsArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Where the lists go; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct RevokeAuthorityArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Serial number of the authority's certificate, see `keyward admin revocation certificates`. Without, the list is
    /// made anew and names what it named
    pub(crate) serial: Option<String>,
    #[command(flatten)]
    pub(crate) why: WhyArgs,
    /// Days until the next list is due
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub(crate) days: u64,
    /// The file with the sealed root key, where it was moved elsewhere [default: root-key.sealed of the operator's folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
    /// File of the key-encryption key that the root's private key is sealed under, if that is an earlier one [default:
    /// the operator's]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_kek_file: Option<PathBuf>,
}
