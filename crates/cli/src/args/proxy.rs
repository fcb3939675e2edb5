//! What `keyward proxy` takes, and the tokens that name its service.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyward_server::config::Network;

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
    /// Address of a listener of its own where a monitoring system reads `GET /metrics`, on this machine [default: none]
    #[arg(
        long,
        env = "KEYWARD_METRICS_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub(crate) metrics_listen: Option<std::net::SocketAddr>,
    /// Let the metrics be read from other machines: whoever reaches them learns how much is asked for, and what fails
    #[arg(long)]
    pub(crate) danger_metrics_beyond_loopback: bool,
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
    /// Open connections of clients; beyond, the one that has said nothing for longest is closed
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) connections: u16,
    /// Open connections of one address (of IPv6, one /64); what comes beyond is closed
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 128,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) address_connections: u16,
    /// Requests in a second from one address, in the long run; what comes beyond is told to come again in a
    /// second. 0 for as many as it likes
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(..=1_000_000)
    )]
    pub(crate) address_rate: u32,
    /// Requests from one address at once, after a rest
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) address_burst: u32,
    /// Who passes on requests of others and names them in X-Forwarded-For, such as what ends TLS: an address, or a
    /// network like 10.0.0.0/8; may be repeated
    #[arg(
        long = "forwarder",
        value_name = "NETWORK",
        default_values = ["127.0.0.1", "::1"]
    )]
    pub(crate) forwarders: Vec<Network>,
    /// Seconds for a client's message to arrive, headers and body each
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=300)
    )]
    pub(crate) arrival_seconds: u64,
    /// Seconds in which a client must take more of its answer; one that does not read is cut off
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=300)
    )]
    pub(crate) departure_seconds: u64,
    /// Seconds after which a client's connection takes no further message
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub(crate) connection_seconds: u64,
    /// Seconds that messages in work get to finish when the proxy stops
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    pub(crate) shutdown_seconds: u64,
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
