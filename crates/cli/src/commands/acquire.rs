//! `keyward acquire`: licenses before they are needed, or the time.

use serde_json::json;

use crate::{
    args::{AcquireArgs, WantedArgs},
    client,
    failure::Failure,
    report::{self, Report},
};

pub(crate) fn run(args: AcquireArgs, report: Report) -> Result<(), Failure> {
    let (wanted, asked) = client::wanted(WantedArgs {
        content: args.content,
        server: args.server,
        authorization: args.authorization,
    })?;
    let mut client = client::open(args.client)?;
    if args.time_only {
        let time = client.ask_time(wanted)?;
        let floor = client.clock_floor();
        let words = format!(
            "the license server's time is {}; no time before {} is believed",
            report::time(time),
            report::time(floor)
        );
        return report.result(&words, &json!({ "server_time": time.0, "clock_floor": floor.0 }));
    }
    let acquired = client.acquire(wanted)?;
    client::report(report, &acquired, &asked)
}
