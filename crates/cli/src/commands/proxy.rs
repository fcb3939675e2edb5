//! `keyward proxy`: carries messages to a license server elsewhere, with structured logs on standard error.

use std::{path::Path, time::Duration};

use keyward_server::{
    config::{Limits, Rate},
    proxy::{Proxy, ProxyError, ProxyOptions, UpstreamLimits},
};
use zeroize::Zeroizing;

use crate::{
    args::ProxyArgs,
    commands::serve::structured_logs,
    failure::{Failure, file_error},
    operator::{bind, local_address, runtime, stop_signal},
    report::Report,
};

pub(crate) fn run(args: &ProxyArgs, report: Report) -> Result<(), Failure> {
    structured_logs();
    let proxy = Proxy::new(options(args)?)?;
    runtime()?.block_on(async {
        let listener = bind(args.listen).await?;
        let metrics = match args.metrics_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let address = local_address(&listener)?;
        report.note(&format!(
            "proxy of {} on {address}; stop with Ctrl-C",
            args.upstream
        ));
        if let Some(metrics) = &metrics {
            report.note(&format!("metrics on http://{}/metrics", local_address(metrics)?));
        }
        proxy.serve(listener, metrics, stop_signal()).await;
        Ok(())
    })
}

fn options(args: &ProxyArgs) -> Result<ProxyOptions, Failure> {
    let authorities = args.ca_file.as_deref();
    Ok(ProxyOptions {
        upstream: args.upstream.clone(),
        token: token(args.token_file.as_deref())?,
        authorities: authorities
            .map(|path| std::fs::read(path).map_err(file_error("read", path)))
            .transpose()?,
        danger_http_upstream: args.danger_http_upstream,
        limits: limits(args),
        upstream_limits: UpstreamLimits {
            answer: Duration::from_secs(args.timeout),
            ..UpstreamLimits::default()
        },
        metrics_listen: args.metrics_listen,
        danger_metrics_beyond_loopback: args.danger_metrics_beyond_loopback,
    })
}

fn limits(args: &ProxyArgs) -> Limits {
    Limits {
        body_bytes: usize::try_from(args.body_bytes).unwrap_or(usize::MAX),
        arrival: Duration::from_secs(args.arrival_seconds),
        departure: Duration::from_secs(args.departure_seconds),
        concurrent_requests: args.concurrent_requests.into(),
        connections: args.connections.into(),
        connections_per_address: args.address_connections.into(),
        connection_lifetime: Duration::from_secs(args.connection_seconds),
        shutdown: Duration::from_secs(args.shutdown_seconds),
        address_rate: Rate::new(args.address_rate, args.address_burst),
        forwarders: args.forwarders.clone(),
        ..Limits::default()
    }
}

/// The token comes from a file that was named, or from the environment. It is never an argument, because
/// every user of the machine can read those.
#[expect(clippy::disallowed_methods, reason = "the environment belongs to this crate")]
fn token(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    let text = match file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(file_error("read", path))?),
        None => std::env::var("KEYWARD_SERVICE_TOKEN").ok(),
    };
    Ok(text.map(Zeroizing::new))
}

impl From<ProxyError> for Failure {
    fn from(error: ProxyError) -> Self {
        Self::new(&error, error.hint())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn limits_of(options: &[&str]) -> Limits {
        let typed = ["keyward", "proxy", "--upstream", "https://license.example.org"];
        let cli = Cli::try_parse_from(typed.iter().chain(options)).unwrap();
        let Command::Proxy(args) = cli.command else {
            panic!("another command")
        };
        limits(&args)
    }

    #[test]
    fn a_proxy_bounds_its_clients_as_a_license_server_unless_told_otherwise() {
        assert_eq!(limits_of(&[]), Limits::default());
        let told = limits_of(&["--address-rate", "0", "--forwarder", "10.0.0.0/8"]);
        let forwarders = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!((told.address_rate, told.forwarders), (None, forwarders));
    }
}
