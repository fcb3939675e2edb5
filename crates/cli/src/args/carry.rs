//! Messages that travel as files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ClientDir, OperatorDir, WantedArgs};

#[derive(Args)]
pub(crate) struct EnrolArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// The operator's profile; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: PathBuf,
    /// The enrolment token
    #[arg(long, env = "KEYWARD_ENROLMENT_TOKEN", hide_env_values = true)]
    pub(crate) token: String,
    /// Which of the profile's license servers or proxies to enrol through, and to ask when content names none
    /// [default: the first]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Enrol with the operator although it is one for tests, which issues licenses to anybody
    #[arg(long)]
    pub(crate) accept_test_operator: bool,
    /// Without a network: write the enrolment request to this file, for the operator's `keyward answer`; `-` is
    /// standard output. `keyward install` takes the response
    #[arg(long, value_name = "FILE", requires = "discovery")]
    pub(crate) request: Option<PathBuf>,
    /// The operator's discovery document, as `keyward admin discovery` wrote it
    #[arg(long, value_name = "FILE", requires = "request")]
    pub(crate) discovery: Option<PathBuf>,
    /// Replace the request if it exists
    #[arg(long, requires = "request")]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) wanted: WantedArgs,
    #[command(flatten)]
    pub(crate) carried: CarriedRequestArgs,
}

/// What a request that is carried as a file is made with, and where it goes. `keyward renew` takes nothing else.
#[derive(Args)]
pub(crate) struct CarriedRequestArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// A discovery document of the operator's `keyward admin discovery`, if the device's own is not in use any
    /// more; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) discovery: Option<PathBuf>,
    /// Where the request goes, for the operator's `keyward answer`; `-` is standard output. `keyward install` takes the
    /// response
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct AnswerArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The license request, enrolment request or acknowledgement; `-` is standard input
    pub(crate) request: PathBuf,
    /// Where the response goes; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// A license response, an enrolment response, a receipt, a discovery document or revocation lists; `-` is standard
    /// input
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct AcknowledgeArgs {
    #[command(flatten)]
    pub(crate) client: ClientDir,
    /// Without a network: write the acknowledgement that has waited for longest to this file, for the operator's
    /// `keyward answer`, and at the next call another one; `-` is standard output. `keyward install` takes the receipt
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct AcknowledgementsArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Only those that were acknowledged, or those that were not
    #[arg(long)]
    pub(crate) state: Option<AcknowledgementState>,
}

/// Whether an answer was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcknowledgementState {
    /// Not yet
    Open,
    /// It was
    Acknowledged,
}

#[derive(Args)]
pub(crate) struct DiscoveryArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// Where the document goes; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Hours that it is valid, at most 720 [default: `lifetimes.discovery_hours` of operator.toml]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=720))]
    pub(crate) hours: Option<u64>,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) force: bool,
}
