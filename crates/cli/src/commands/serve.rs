//! `keyward serve`: runs the license server, with structured logs on standard error.

use tracing_subscriber::EnvFilter;

use super::init::TEST_OPERATOR;
use crate::{args::ServeArgs, failure::Failure, operator::Operator, report::Report};

pub(crate) fn run(args: &ServeArgs, report: Report) -> Result<(), Failure> {
    structured_logs();
    let operator = Operator::open(&args.operator)?;
    if operator.is_test() {
        report.note(TEST_OPERATOR);
    }
    operator.serve(args.record.as_deref(), |public, admin| {
        report.note(&format!(
            "license server on {public}, administration on {admin}; stop with Ctrl-C"
        ));
    })
}

/// Logs for machines, as `KEYWARD_LOG` asks for them.
pub(crate) fn structured_logs() {
    tracing_subscriber::fmt()
        .json()
        // A request has one span, which stands with each of its lines already.
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::try_from_env("KEYWARD_LOG").unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
}
