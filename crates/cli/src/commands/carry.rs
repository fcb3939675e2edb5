//! `keyward request`, `answer` and `install`: the same messages over files, for devices and servers
//! that do not reach one another.

use std::{io::Write, path::Path};

use keyward_packager::OutputSink;
use serde_json::json;

use crate::{
    args::{AnswerArgs, InstallArgs, RequestArgs},
    client,
    failure::{Failure, file_error},
    operator::Operator,
    output::{FileSink, commit_error},
    report::Report,
};

/// On the device: makes a request and remembers it.
pub(crate) fn request(args: RequestArgs, report: Report) -> Result<(), Failure> {
    let wanted = client::wanted(args.wanted)?;
    let request = client::open(args.client)?.request(wanted)?;
    write(&args.output, args.force, &request)?;
    report.result(
        &format!("request of {} bytes in {}", request.len(), args.output.display()),
        &json!({ "request": args.output.display().to_string(), "bytes": request.len() }),
    )
}

/// On the operator's side: answers it. The same request again gets the same answer.
pub(crate) fn answer(args: &AnswerArgs, report: Report) -> Result<(), Failure> {
    let request = std::fs::read(&args.request).map_err(file_error("read", &args.request))?;
    let response = Operator::open(&args.operator)?.answer(&request)?;
    write(&args.output, args.force, &response)?;
    report.result(
        &format!(
            "response of {} bytes in {}",
            response.len(),
            args.output.display()
        ),
        &json!({ "response": args.output.display().to_string(), "bytes": response.len() }),
    )
}

/// On the device again, in this process or a later one: installs the response.
pub(crate) fn install(args: InstallArgs, report: Report) -> Result<(), Failure> {
    let response = std::fs::read(&args.response).map_err(file_error("read", &args.response))?;
    let acquired = client::open(args.client)?.install(response)?;
    client::report(report, &acquired)
}

fn write(path: &Path, force: bool, content: &[u8]) -> Result<(), Failure> {
    let mut sink = FileSink::create(path, force)?;
    sink.write_all(content).map_err(file_error("write", path))?;
    sink.commit().map(drop).map_err(commit_error(path))
}
