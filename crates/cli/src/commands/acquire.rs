//! `keyward acquire`: licenses before they are needed.

use crate::{args::AcquireArgs, client, failure::Failure, report::Report};

pub(crate) fn run(args: AcquireArgs, report: Report) -> Result<(), Failure> {
    let wanted = client::wanted(args.wanted)?;
    let acquired = client::open(args.client)?.acquire(wanted)?;
    client::report(report, &acquired)
}
