//! `keyward acknowledge`: license servers that want to know what became of their answers are told, and give a receipt.

use serde_json::json;

use crate::{
    args::AcknowledgeArgs,
    client,
    commands::carry::{CarriedFile, offline},
    failure::Failure,
    report::Report,
};

pub(crate) fn run(args: AcknowledgeArgs, report: Report) -> Result<(), Failure> {
    let Some(path) = &args.output else {
        return tell(args, report);
    };
    let output = CarriedFile::create(path, args.force)?;
    let mut client = client::open(args.client)?;
    if client.replaces_acknowledgement()? {
        report.note(
            "One is on its way already, and this one takes its place: a receipt for the earlier file is refused from now on.",
        );
    }
    let request = client.request_acknowledgement().map_err(offline)?;
    output.write(("request", "acknowledgement"), &request, report)
}

/// Over the network: everything that waits.
fn tell(args: AcknowledgeArgs, report: Report) -> Result<(), Failure> {
    let told = client::open(args.client)?.acknowledge()?;
    let received: Vec<_> = told.received.iter().map(ToString::to_string).collect();
    let words = match (received.len(), told.waiting) {
        (0, 0) => "nothing waits to be acknowledged".to_owned(),
        (received, 0) => format!("{received} acknowledged"),
        (received, waiting) => format!("{received} acknowledged, {waiting} waiting"),
    };
    report.result(&words, &json!({ "received": received, "waiting": told.waiting }))?;
    match told.failed {
        None => Ok(()),
        Some(why) => {
            let why = keyward_client_native::NativeError::from(why);
            Err(Failure::from(why).context("not everything could be acknowledged"))
        }
    }
}
