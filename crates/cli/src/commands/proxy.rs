//! `keyward proxy`: carries messages to a license server elsewhere, with structured logs on standard error.

use std::{path::Path, time::Duration};

use keyward_server::{
    config::Limits,
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
        let address = local_address(&listener)?;
        report.note(&format!(
            "proxy of {} on {address}; stop with Ctrl-C",
            args.upstream
        ));
        proxy.serve(listener, stop_signal()).await;
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
        limits: Limits {
            body_bytes: usize::try_from(args.body_bytes).unwrap_or(usize::MAX),
            concurrent_requests: args.concurrent_requests.into(),
            connections: args.connections.into(),
            ..Limits::default()
        },
        upstream_limits: UpstreamLimits {
            answer: Duration::from_secs(args.timeout),
            ..UpstreamLimits::default()
        },
    })
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
