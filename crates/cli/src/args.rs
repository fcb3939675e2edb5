//! The command line, as typed.

mod authorization;
mod carry;
mod danger;
mod explain;
mod inspect;
mod key_exchange;
mod operation;
mod package;
mod packager;
mod policy;
mod proxy;
mod revocation;
mod roll;
mod root;
mod segment;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use keyward_client::store::StoreLimits;
use keyward_license::ids::Kid;

pub(crate) use authorization::AuthorizationArgs;
pub(crate) use carry::{
    AcknowledgeArgs, AcknowledgementState, AcknowledgementsArgs, AnswerArgs, CarriedRequestArgs,
    DiscoveryArgs, EnrolArgs, InstallArgs, RequestArgs,
};
pub(crate) use danger::{DangerCommand, DecryptArgs, TrackChoice};
pub(crate) use explain::ExplainArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use key_exchange::{
    AddExchangeTokenArgs, AdminExchangeCommand, CipherArgs, DataArgs, DestroyArgs, ExchangeKeyArgs,
    ExchangeTokenCommand, KeyExchangeCommand, MinimumVersionArgs, NewKeyArgs, OfDevice, OfOperator,
    RevokeExchangeTokenArgs, RotateArgs, UsesArgs, VerifyArgs,
};
pub(crate) use operation::{
    BackupArgs, CompletionsArgs, DoctorArgs, EmbedArgs, LicenseArgs, LicensesCommand, ManArgs, RestoreArgs,
};
pub(crate) use package::{PackageArgs, Protection};
pub(crate) use packager::{EnrolPackagerArgs, PackagerCommand, Role};
pub(crate) use policy::{
    EndGrantArgs, GrantArgs, GrantsArgs, PolicyCommand, PresetArgs, ShowPolicyArgs, TermsArgs,
    WritePolicyArgs,
};
pub(crate) use proxy::{ProxyArgs, ServiceTokenArgs, ServiceTokenCommand};
pub(crate) use revocation::{
    AllowArgs, DisallowArgs, ExportListsArgs, ReasonArg, RestoreCertificateArgs, RestoreModelArgs,
    RevocationCommand, RevokeAuthorityArgs, RevokeCertificateArgs, WhichArgs, WhyArgs,
};
pub(crate) use roll::{RollArgs, Rolled};
pub(crate) use root::{
    BlackoutArgs, ChannelCommand, CreateChannelArgs, CreateRootArgs, LiftBlackoutArgs, PutArgs, RootArgs,
    RootCommand, TakeArgs,
};
pub(crate) use segment::SegmentArgs;

/// Open, self-hosted content protection: protect files, serve licenses, play under a license.
#[derive(Parser)]
#[command(
    name = "keyward",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not permitted (denied, refused by the rules, or no license), 4 license server not reachable."
)]
pub(crate) struct Cli {
    /// Print results as JSON, one object, on standard output (`play` prints one with `--output` only)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the whole loop at work, on a file of yours or a sample, and check it
    Demo(DemoArgs),
    /// Make an operator: root of trust, certificates, seed, database, admin token
    Init(InitArgs),
    /// Run an operator's license server
    Serve(ServeArgs),
    /// Answer again what a test operator answered, from a transcript
    Replay(ReplayArgs),
    /// Run a proxy that carries messages between clients and a license server, unread
    Proxy(ProxyArgs),
    /// Administer an operator: tokens, entitlements, policies, keys, devices
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Encrypt a file and write its content header
    Package(PackageArgs),
    /// Cut a protected MP4 into its initialisation segment and media segments
    Segment(SegmentArgs),
    /// A packager's own certificate, with which it asks the license server for keys
    #[command(subcommand)]
    Packager(PackagerCommand),
    /// Enrol this device with an operator
    Enrol(EnrolArgs),
    /// Say whether a file can be opened now, with what is in the license store
    Check(CheckArgs),
    /// Say whether and how content may be used, which rule decides, and when the answer will change
    Explain(ExplainArgs),
    /// Acquire licenses before they are needed
    Acquire(AcquireArgs),
    /// Open a protected file, acquiring a license if there is none, and hand out its clear bytes
    ///
    /// Where they go from there is not known. So a license that demands anything of outputs permits it only with the
    /// play enabler for unknown outputs; `keyward explain FILE` says what decides. Under a license with
    /// a real-time expiration the rules are asked again before each piece is handed out, and a new license is
    /// acquired when one is over, unless `--offline`. Where keys change on the way, each is opened when
    /// the content comes to it: under the license of a root, by the leaf license that rides there.
    Play(PlayArgs),
    /// Use a key that a license gives for one operation on data of your own: encrypt or decrypt, sign or verify, wrap
    /// or unwrap
    #[command(subcommand)]
    KeyExchange(KeyExchangeCommand),
    /// The licenses in the store: list, show, delete, embed, clean up; revocation lists; the store's key
    #[command(subcommand)]
    Licenses(LicensesCommand),
    /// Make a license request to be carried by other means
    Request(RequestArgs),
    /// Make a request to be carried by other means for another certificate of this device, in the last third of its life
    ///
    /// A device that reaches its license server renews its certificate by itself, right after it has acquired licenses.
    Renew(CarriedRequestArgs),
    /// Answer a license request, an enrolment request or an acknowledgement on the operator's side, without a network
    Answer(AnswerArgs),
    /// Install what was carried by other means: a license or enrolment response, a receipt, a discovery document,
    /// revocation lists
    Install(InstallArgs),
    /// Tell license servers what became of their answers, where they want to know
    ///
    /// Whatever acquires licenses does so by itself, right after. This is for what could not be told then, and for
    /// devices without a network.
    Acknowledge(AcknowledgeArgs),
    /// Say what is wrong with an operator or a client, and what will go wrong
    Doctor(DoctorArgs),
    /// Explain a file: protected content, a message, a license, a certificate; and what of it is verified
    Inspect(InspectArgs),
    /// Act without licenses: for tests, and for holding files against other programs
    #[command(subcommand)]
    Danger(DangerCommand),
    /// Write a shell's completions to standard output
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

#[derive(Args, Clone)]
pub(crate) struct ClientDir {
    /// Folder of the license store and the device's keys [default: keyward/client in the user's data folder]
    #[arg(long, env = "KEYWARD_CLIENT_DIR", hide_env_values = true, value_name = "DIR")]
    pub(crate) client_dir: Option<PathBuf>,
    /// Licenses that the store may hold; what comes beyond is refused
    #[arg(
        long,
        env = "KEYWARD_STORE_LICENSES",
        hide_env_values = true,
        value_name = "NUMBER",
        default_value_t = StoreLimits::default().licenses,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) store_licenses: u64,
    /// Bytes of licenses that the store may hold; what comes beyond is refused
    #[arg(
        long,
        env = "KEYWARD_STORE_BYTES",
        hide_env_values = true,
        value_name = "BYTES",
        default_value_t = StoreLimits::default().license_bytes,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) store_bytes: u64,
}

impl ClientDir {
    /// The bounds of the store.
    pub(crate) fn limits(&self) -> StoreLimits {
        StoreLimits {
            licenses: self.store_licenses,
            license_bytes: self.store_bytes,
            ..StoreLimits::default()
        }
    }
}

#[derive(Args)]
pub(crate) struct OperatorDir {
    /// Folder of the operator
    #[arg(
        long,
        env = "KEYWARD_OPERATOR_DIR",
        hide_env_values = true,
        value_name = "DIR",
        default_value = "operator"
    )]
    pub(crate) operator: PathBuf,
    /// File of the key-encryption key [default: the environment's KEYWARD_KEK, else the operator's `kek`]
    #[arg(long, value_name = "FILE")]
    pub(crate) kek_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// The file to protect and play; a small sample if absent
    pub(crate) file: Option<PathBuf>,
    /// Keep the operator, the client and the files in this folder, which must not exist yet
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Folder to make
    #[arg(value_name = "DIR", default_value = "operator")]
    pub(crate) dir: PathBuf,
    /// The operator's name, for people and certificates
    #[arg(long, default_value = "Keyward operator")]
    pub(crate) name: String,
    /// URL under which clients reach the license server
    #[arg(long, default_value = "http://127.0.0.1:8470", value_name = "URL")]
    pub(crate) public_url: String,
    /// Address the license server listens on
    #[arg(long, default_value = "127.0.0.1:8470", value_name = "ADDRESS")]
    pub(crate) listen: String,
    /// Address the administration interface listens on
    #[arg(long, default_value = "127.0.0.1:8471", value_name = "ADDRESS")]
    pub(crate) admin_listen: String,
    /// Make a test operator: it issues to anybody whatever a request asks for, and keeps nothing secret. Clients refuse
    /// it unless they are told otherwise
    #[arg(long)]
    pub(crate) test: bool,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Of a test operator: write every exchange to this new file, for `keyward replay`. Whoever has it opens the requests
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// The transcript, as `keyward serve --record` wrote it
    pub(crate) file: PathBuf,
    /// Loopback address to answer on [default: where the recorded server listened]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "check")]
    pub(crate) listen: Option<SocketAddr>,
    /// Answer nobody: verify every recorded request and answer, and say what is wrong
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Subcommand)]
pub(crate) enum AdminCommand {
    /// Make a single-use enrolment token for an account's device, or for a packager
    EnrolmentToken(TokenArgs),
    /// Entitle an account to a key, to what is under a root, or to all keys of content
    Grant(GrantArgs),
    /// List the entitlements of an account
    Grants(GrantsArgs),
    /// End an entitlement: no license from then on
    EndGrant(EndGrantArgs),
    /// What licenses permit: write policies, list and show them
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Register a key id whose key derives from the license key seed
    RegisterKey(RegisterKeyArgs),
    /// Roots: one license that opens many, such as for a bundle of channels, a subscription, a season
    #[command(subcommand)]
    Root(RootCommand),
    /// Channels: content whose keys change while it plays
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Exchange keys: make them, rotate them, and do with them the counterpart of what devices do
    #[command(subcommand)]
    KeyExchange(AdminExchangeCommand),
    /// List devices and packagers
    Devices(DevicesArgs),
    /// Revoke a device or packager: it gets no licenses, or keys, any more
    RevokeDevice(RevokeDeviceArgs),
    /// What is not trusted any more: devices, certificates, companies, models; the lists that say so
    #[command(subcommand)]
    Revocation(RevocationCommand),
    /// Revoke an authority with the root key, or make the root's revocation list anew
    RevokeAuthority(RevokeAuthorityArgs),
    /// List answers that are to be acknowledged, and what became of their licenses
    Acknowledgements(AcknowledgementsArgs),
    /// Tokens for the administration interface
    #[command(subcommand)]
    AdminToken(AdminTokenCommand),
    /// Tokens that name services which carry requests, such as a proxy
    #[command(subcommand)]
    ServiceToken(ServiceTokenCommand),
    /// Write the operator profile anew, after `public_url` or `proxy_urls` of operator.toml have changed
    Profile(OperatorDir),
    /// Write a discovery document for devices without a network, who make requests by it
    Discovery(DiscoveryArgs),
    /// Copy the operator to a new folder, while its server runs
    Backup(BackupArgs),
    /// Make an operator of a backup, in a new folder
    Restore(RestoreArgs),
    /// Put another key in the place of one, while the server serves: of the server, an authority, the key-encryption
    /// key, the license key seed
    Roll(RollArgs),
    /// Write a license key seed to a file, for a packager elsewhere. Whoever has it has every key derived from it
    ExportSeed(ExportSeedArgs),
}

#[derive(Subcommand)]
pub(crate) enum AdminTokenCommand {
    /// Make a token; it is shown once
    Add(AddAdminTokenArgs),
    /// List tokens by name
    List(OperatorDir),
    /// Revoke a token
    Revoke(RevokeAdminTokenArgs),
}

#[derive(Args)]
pub(crate) struct AddAdminTokenArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// A name that no other token has or had
    pub(crate) name: String,
    /// The token reads and changes nothing
    #[arg(long)]
    pub(crate) read_only: bool,
}

#[derive(Args)]
pub(crate) struct RevokeAdminTokenArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The token's name
    pub(crate) name: String,
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The account the device will belong to, or who runs the packager; made if it is new
    #[arg(long)]
    pub(crate) account: String,
    /// What may enrol with the token
    #[arg(long, value_enum, default_value_t = Role::Device)]
    pub(crate) role: Role,
    /// Hours until the token expires
    #[arg(long, default_value_t = 24)]
    pub(crate) hours: u64,
    /// Security level for the device's certificate: 150 (test) or 2000 (software)
    #[arg(long, default_value_t = 2000)]
    pub(crate) security_level: u64,
    /// Who makes the device, for its certificate: a company is revoked by this name
    #[arg(long, value_name = "NAME")]
    pub(crate) maker: Option<String>,
    /// The device's model, for its certificate: a model is revoked by its maker's name and this
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Version of the robustness rules that the device was made to, for its certificate, from 1: those below one are
    /// revoked by it [default: made to none, which is below all]
    #[arg(long, value_name = "VERSION")]
    pub(crate) robustness_version: Option<u64>,
}

#[derive(Args)]
pub(crate) struct RegisterKeyArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Key id, 32 hexadecimal digits
    pub(crate) kid: Kid,
    /// What the key will protect, and nothing else
    #[arg(long, value_enum, default_value_t = Protection::File)]
    pub(crate) scheme: Protection,
    /// Smallest security level of a device that gets the key, whatever the policy says: 150, 2000 or 3000
    #[arg(long, value_name = "LEVEL")]
    pub(crate) minimum_security_level: Option<u64>,
    /// Number of the license key seed [default: the one that new keys derive from]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
}

#[derive(Args)]
pub(crate) struct DevicesArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
}

#[derive(Args)]
pub(crate) struct RevokeDeviceArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Device id, 64 hexadecimal digits
    pub(crate) device: String,
}

#[derive(Args)]
pub(crate) struct ExportSeedArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// File to write, readable by its owner alone
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Number of the license key seed [default: the one that new keys derive from]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// Protected file, protected MP4 or key id
    pub(crate) content: String,
}

#[derive(Args)]
pub(crate) struct WantedArgs {
    /// Protected files, protected MP4s or key ids
    #[arg(required = true, value_name = "FILE|KID")]
    pub(crate) content: Vec<String>,
    /// License server URL [default: the one in the content header, or the only operator's]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) authorization: AuthorizationArgs,
}

#[derive(Args)]
pub(crate) struct AcquireArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// Protected files, protected MP4s or key ids
    #[arg(required_unless_present = "time_only", value_name = "FILE|KID")]
    pub(crate) content: Vec<String>,
    /// Ask for the time and for no license: a clock that was once set far ahead is believed again
    #[arg(long)]
    pub(crate) time_only: bool,
    /// License server URL [default: the one in the content header, or the only operator's]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) authorization: AuthorizationArgs,
}

#[derive(Args)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// The protected file or MP4; `-` reads a protected file from standard input
    pub(crate) file: PathBuf,
    /// Where the clear bytes go; `-` is standard output [default: -]
    #[arg(long, short, value_name = "FILE", conflicts_with = "viewer")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Use what is in the license store; do not acquire
    #[arg(long)]
    pub(crate) offline: bool,
    /// License server URL [default: the one in the content header]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) authorization: AuthorizationArgs,
    /// First byte of the clear file to hand out
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub(crate) start: u64,
    /// How many bytes to hand out [default: to the end]
    #[arg(long, value_name = "BYTES")]
    pub(crate) length: Option<u64>,
    /// A viewer that reads the clear bytes on its standard input, after `--`
    #[arg(last = true, value_name = "VIEWER")]
    pub(crate) viewer: Vec<String>,
}
