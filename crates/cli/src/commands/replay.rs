//! `keyward replay`: answers again what a test operator answered, or verifies a transcript.

use std::net::SocketAddr;

use keyward_server::test_mode::transcript::Transcript;
use serde_json::json;

use super::serve::structured_logs;
use crate::{
    args::ReplayArgs,
    failure::Failure,
    operator::{bind, local_address, runtime, stop_signal},
    report::Report,
};

pub(crate) fn run(args: &ReplayArgs, report: Report) -> Result<(), Failure> {
    let transcript = Transcript::read(&args.file)?;
    if args.check {
        return check(&transcript, report);
    }
    let listen = args
        .listen
        .or_else(|| transcript.listen().parse::<SocketAddr>().ok());
    let listen = listen.ok_or_else(|| {
        Failure::new(
            "the transcript does not say where its server listened",
            "name an address: `--listen 127.0.0.1:8470`",
        )
    })?;
    structured_logs();
    runtime()?.block_on(async {
        let listener = bind(listen).await?;
        report.note(&format!(
            "{} recorded exchanges of {} on {}; stop with Ctrl-C",
            transcript.exchanges().len(),
            transcript.profile().name,
            local_address(&listener)?,
        ));
        Ok(transcript.serve(listener, stop_signal()).await?)
    })
}

/// Says of each exchange whether it is as the protocol says; one that is not is a failure.
fn check(transcript: &Transcript, report: Report) -> Result<(), Failure> {
    let (mut lines, mut listed, mut wrong) = (Vec::new(), Vec::new(), 0_usize);
    for (exchange, outcome) in transcript.exchanges().iter().zip(transcript.check()) {
        let fault = outcome.err().map(|fault| fault.to_string());
        wrong = wrong.saturating_add(usize::from(fault.is_some()));
        let said = fault.as_deref().unwrap_or("good");
        let (method, path) = (&exchange.method, &exchange.path);
        lines.push(format!("{method} {path}: {}: {said}", exchange.status));
        listed.push(json!({ "method": method, "path": path, "status": exchange.status, "fault": fault }));
    }
    report.result(&lines.join("\n"), &json!({ "exchanges": listed }))?;
    match wrong {
        0 => Ok(()),
        wrong => Err(Failure::new(
            format!(
                "{wrong} of {} exchanges are not as the protocol says",
                lines.len()
            ),
            "record them anew: `keyward serve --record FILE`",
        )),
    }
}
