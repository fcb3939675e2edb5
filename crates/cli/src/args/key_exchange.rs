//! Key exchange, on a device and on the operator's side: who performs differs, what is performed does not.

use std::path::PathBuf;

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::ids::Kid;

use super::{AuthorizationArgs, ClientDir, OperatorDir};

#[derive(Subcommand)]
pub(crate) enum KeyExchangeCommand {
    /// Encrypt data, for the operator to decrypt
    Encrypt(OfDevice<CipherArgs>),
    /// Decrypt data that the operator encrypted
    Decrypt(OfDevice<CipherArgs>),
    /// Sign data, or make their authentication code, for the operator to verify
    Sign(OfDevice<DataArgs>),
    /// Verify a signature, or an authentication code, that the operator made
    Verify(OfDevice<VerifyArgs>),
    /// Wrap a key of 16 to 4096 bytes, for the operator to unwrap
    Wrap(OfDevice<DataArgs>),
    /// Unwrap a key that the operator wrapped
    Unwrap(OfDevice<DataArgs>),
}

#[derive(Subcommand)]
pub(crate) enum AdminExchangeCommand {
    /// Make an exchange key; its key id is printed, and nothing else on standard output
    Create(CreateArgs),
    /// Take over an exchange key from elsewhere; its key id is printed, and nothing else on standard output
    Import(ImportArgs),
    /// Give a key a new version, which is used from then on; earlier ones are still accepted
    Rotate(RotateArgs),
    /// Set the least version of a key that is still accepted
    MinimumVersion(MinimumVersionArgs),
    /// Take a key out of use: no licenses, no operations. Licenses that were issued stay until they end
    Disable(ExchangeKeyArgs),
    /// Put a key into use again
    Enable(ExchangeKeyArgs),
    /// Destroy a key for good: what is encrypted with it alone is lost
    Destroy(DestroyArgs),
    /// List exchange keys
    List(OperatorDir),
    /// Show an exchange key with its versions
    Show(ExchangeKeyArgs),
    /// List what the license server did with a key, the newest first
    Uses(UsesArgs),
    /// Encrypt data, for devices to decrypt
    Encrypt(OfOperator<CipherArgs>),
    /// Decrypt data that a device encrypted
    Decrypt(OfOperator<CipherArgs>),
    /// Sign data, or make their authentication code, for devices to verify
    Sign(OfOperator<DataArgs>),
    /// Verify a signature, or an authentication code, that a device made
    Verify(OfOperator<VerifyArgs>),
    /// Wrap a key of 16 to 4096 bytes, for devices to unwrap
    Wrap(OfOperator<DataArgs>),
    /// Unwrap a key that a device wrapped
    Unwrap(OfOperator<DataArgs>),
    /// Tokens for services that have operations performed over HTTP
    #[command(subcommand)]
    Token(ExchangeTokenCommand),
}

#[derive(Subcommand)]
pub(crate) enum ExchangeTokenCommand {
    /// Make a token; it is shown once. It permits operations with its keys, and nothing of administration
    Add(AddExchangeTokenArgs),
    /// List tokens by name
    List(OperatorDir),
    /// Revoke a token
    Revoke(RevokeExchangeTokenArgs),
}

/// An operation of a device, under its license.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct OfDevice<T: Args> {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// Key id of the exchange key, 32 hexadecimal digits
    pub(crate) kid: Kid,
    #[command(flatten)]
    pub(crate) task: T,
    /// Algorithm of the key, which its license must have; or that of a key which travels beside it
    #[arg(long, value_name = "NAME", value_parser = algorithms())]
    pub(crate) algorithm: Option<Algorithm>,
    /// Use what is in the license store; do not acquire
    #[arg(long)]
    pub(crate) offline: bool,
    /// License server URL [default: the only operator's]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) authorization: AuthorizationArgs,
}

/// The mirror operation, with the key that the operator keeps.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct OfOperator<T: Args> {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Key id of the exchange key, 32 hexadecimal digits
    pub(crate) kid: Kid,
    #[command(flatten)]
    pub(crate) task: T,
}

const AFTER_HELP: &str = "With --json one object is printed where the data do not go to standard output.";

/// Encrypting and decrypting.
#[derive(Args)]
pub(crate) struct CipherArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Additional data: authenticated, not part of the result, and the same on both sides. For AES-GCM; the context of
    /// a key that has one
    #[arg(long, value_name = "TEXT", conflicts_with = "aad_file")]
    pub(crate) aad: Option<String>,
    /// File of the additional data; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) aad_file: Option<PathBuf>,
    /// AES-GCM for data of any size, in memory that does not grow: another format, so on both sides or on neither.
    /// Every byte that comes out of decrypting was verified; only success says that it was all
    #[arg(long)]
    pub(crate) stream: bool,
}

/// What goes in and comes out.
#[derive(Args)]
pub(crate) struct DataArgs {
    /// The data; `-` is standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub(crate) input: PathBuf,
    /// Where the result goes; `-` is standard output [default: -]
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "-",
        hide_default_value = true
    )]
    pub(crate) output: PathBuf,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The data that were signed; `-` is standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub(crate) input: PathBuf,
    /// The signature, or authentication code; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: PathBuf,
}

#[derive(Args)]
pub(crate) struct NewKeyArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// What it is called, for people
    pub(crate) name: String,
    /// Its algorithm, for good. CBC and CTR authenticate nothing
    #[arg(long, value_name = "NAME", value_parser = algorithms())]
    pub(crate) algorithm: Algorithm,
    /// What devices do with it, for good; the license server does the mirror operation
    #[arg(long, value_name = "OPERATION", value_parser = operations())]
    pub(crate) operation: Operation,
    /// Key id, 32 hexadecimal digits [default: drawn]
    #[arg(long)]
    pub(crate) kid: Option<Kid>,
    /// What the additional data of every use must be; for AES-GCM
    #[arg(long, value_name = "TEXT")]
    pub(crate) context: Option<String>,
    /// How often a device may use it under one license
    #[arg(long, value_name = "NUMBER")]
    pub(crate) uses: Option<u64>,
    /// Smallest security level of a device that gets the key, whatever the policy says: 150, 2000 or 3000
    #[arg(long, value_name = "LEVEL")]
    pub(crate) minimum_security_level: Option<u64>,
    /// Exchange key in whose licenses this one travels as well: whoever may have that one has this one too
    #[arg(long, value_name = "KID")]
    pub(crate) beside: Option<Kid>,
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) key: NewKeyArgs,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) key: NewKeyArgs,
    /// File of the key's raw bytes; of ESP256 the scalar, of Ed25519 the seed; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
}

#[derive(Args)]
pub(crate) struct ExchangeKeyArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Key id of the exchange key, 32 hexadecimal digits
    pub(crate) kid: Kid,
}

#[derive(Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(crate) key: ExchangeKeyArgs,
    /// File of the new version's raw bytes; `-` is standard input [default: they are drawn]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct MinimumVersionArgs {
    #[command(flatten)]
    pub(crate) key: ExchangeKeyArgs,
    /// The least version
    pub(crate) version: u32,
}

#[derive(Args)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    pub(crate) key: ExchangeKeyArgs,
    /// Destroy this version alone; not the newest [default: the whole key]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) version: Option<u32>,
    /// Yes: it cannot be undone
    #[arg(long, required = true)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct UsesArgs {
    #[command(flatten)]
    pub(crate) key: ExchangeKeyArgs,
    /// How many to list, at most 1000
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub(crate) limit: u32,
    /// List those before the use of this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<i64>,
}

#[derive(Args)]
pub(crate) struct AddExchangeTokenArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// A name that no other token has or had
    pub(crate) name: String,
    /// Key id of an exchange key that it is for; may be given again
    #[arg(
        long = "key",
        value_name = "KID",
        required_unless_present = "all_keys",
        conflicts_with = "all_keys"
    )]
    pub(crate) keys: Vec<Kid>,
    /// Every exchange key, present and future
    #[arg(long)]
    pub(crate) all_keys: bool,
}

#[derive(Args)]
pub(crate) struct RevokeExchangeTokenArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The token's name
    pub(crate) name: String,
}

fn algorithms() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::name))
        .try_map(|name| Algorithm::from_name(&name).ok_or("no algorithm of key exchange has this name"))
}

fn operations() -> impl TypedValueParser<Value = Operation> {
    PossibleValuesParser::new(Operation::ALL.map(Operation::name))
        .try_map(|name| Operation::from_name(&name).ok_or("no operation has this name"))
}
