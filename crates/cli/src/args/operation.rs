//! Looking after what is there: doctor, backups, licenses, completions, manual pages.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;
use keyward_license::ids::Kid;

use super::ClientDir;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Folder of the operator [default: `operator`, if it is there]
    #[arg(
        long,
        env = "KEYWARD_OPERATOR_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub(crate) operator: Option<PathBuf>,
    /// File of the key-encryption key [default: the environment's KEYWARD_KEK, else the operator's `kek`]
    #[arg(long, value_name = "FILE")]
    pub(crate) kek_file: Option<PathBuf>,
    /// Folder of the license store and the device's keys [default: keyward/client in the user's data folder, if it is there]
    #[arg(long, env = "KEYWARD_CLIENT_DIR", hide_env_values = true, value_name = "DIR")]
    pub(crate) client_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// Folder of the operator
    #[arg(
        long,
        env = "KEYWARD_OPERATOR_DIR",
        hide_env_values = true,
        value_name = "DIR",
        default_value = "operator"
    )]
    pub(crate) operator: PathBuf,
    /// Folder to make
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Also copy the key-encryption key and the root's private key: whoever has the backup then is the operator
    #[arg(long)]
    pub(crate) with_secrets: bool,
}

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FROM")]
    pub(crate) from: PathBuf,
    /// Folder of the operator to make
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// File of the key-encryption key, to check it [default: the environment's KEYWARD_KEK, else the backup's `kek`]
    #[arg(long, value_name = "FILE")]
    pub(crate) kek_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum LicensesCommand {
    /// List the licenses in the store
    List(ClientDir),
    /// Show licenses with all their terms
    Show(LicenseArgs),
    /// Delete licenses for good; an old response does not bring them back
    Delete(LicenseArgs),
    /// Write the licenses of content that are to be embedded in it into the room that it has for them
    Embed(EmbedArgs),
    /// Show the revocation lists that are held, and whether this device is revoked as far as is known
    Lists(ClientDir),
    /// Delete the licenses whose removal date has come by this device's clock. Each acquisition does so by the license
    /// server's clock
    Clean(ClientDir),
    /// Seal the store under a new key: what was deleted before cannot be read from its file any more
    RenewKey(ClientDir),
}

#[derive(Args)]
pub(crate) struct LicenseArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// Key id, for all its licenses, or license id; 32 hexadecimal digits
    #[arg(value_name = "KID|LICENSE")]
    pub(crate) id: Kid,
}

#[derive(Args)]
pub(crate) struct EmbedArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// The protected file or MP4
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Args)]
pub(crate) struct ManArgs {
    /// Folder for the pages, one a command; made if it is not there
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
}
