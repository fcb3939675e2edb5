//! What `keyward proxy` takes, and the tokens that name its service.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OperatorDir;

#[derive(Args)]
pub(crate) struct ProxyArgs {
    /// The license server to carry messages to: an origin, https or on this machine
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: String,
    /// Address the proxy listens on. TLS is ended in front of it
    #[arg(long, default_value = "127.0.0.1:8480", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// File of the token that names the service to the license server [default: the environment's
    /// KEYWARD_SERVICE_TOKEN, else the service is not named]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates in PEM that the license server's TLS certificate must chain to [default: those that the
    /// system trusts]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Let the upstream be http on another machine: whoever can read the network in between reads the token
    #[arg(long)]
    pub(crate) danger_http_upstream: bool,
    /// Seconds for one exchange with the license server; clients wait for 30
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(1..=300)
    )]
    pub(crate) timeout: u64,
    /// Messages carried at the same time; what comes beyond is told to try again later
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 256,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) concurrent_requests: u16,
    /// Open connections of clients; what comes beyond waits
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) connections: u16,
    /// Largest message of a client, in bytes
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u32).range(4096..=16 << 20)
    )]
    pub(crate) body_bytes: u32,
}

#[derive(Subcommand)]
pub(crate) enum ServiceTokenCommand {
    /// Make a token; it is shown once
    Add(ServiceTokenArgs),
    /// List tokens by name
    List(OperatorDir),
    /// Revoke a token
    Revoke(ServiceTokenArgs),
}

#[derive(Args)]
pub(crate) struct ServiceTokenArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorDir,
    /// The service's name, which no other service token has or had
    pub(crate) name: String,
}
