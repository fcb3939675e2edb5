//! `keyward request`, `answer` and `install`: the same messages over files, for devices and servers
//! that do not reach one another. `keyward admin discovery` gives such devices what they would fetch.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use keyward_client::ClientError;
use keyward_client_native::{NativeClient, NativeError};
use keyward_license::{discovery, revocation::RevocationListsFile};
use keyward_packager::OutputSink;
use serde_json::json;

use crate::{
    args::{AnswerArgs, DiscoveryArgs, InstallArgs, RequestArgs},
    client,
    commands::{enrol, trust},
    failure::{Failure, file_error},
    input,
    operator::{Answered, Operator},
    output::{FileSink, commit_error},
    report::Report,
};

/// On the device: makes a request and remembers it.
pub(crate) fn request(args: RequestArgs, report: Report) -> Result<(), Failure> {
    let (wanted, _) = client::wanted(args.wanted)?;
    let discovery = args.discovery.as_deref().map(input::read).transpose()?;
    let output = Carried::create(&args.output, args.force)?;
    let mut client = client::open(args.client)?;
    if let Some(document) = discovery {
        client.install_discovery(document)?;
    }
    let request = client.request(wanted).map_err(offline)?;
    output.write(("request", "request"), &request, report)
}

/// On the operator's side: answers a license request, an enrolment request or an acknowledgement. The same request again
/// gets the same licenses, the same certificate, or another receipt.
pub(crate) fn answer(args: &AnswerArgs, report: Report) -> Result<(), Failure> {
    let request = input::read(&args.request)?;
    let output = Carried::create(&args.output, args.force)?;
    let (answered, response) = Operator::open(&args.operator)?.answer(&request)?;
    let what = match answered {
        Answered::LicenseRequest => "response",
        Answered::EnrolmentRequest => "enrolment response",
        Answered::Acknowledgement => "receipt",
    };
    output.write(("response", what), &response, report)
}

/// On the device again, in this process or a later one: installs what came.
pub(crate) fn install(args: InstallArgs, report: Report) -> Result<(), Failure> {
    let bytes = input::read(&args.file)?;
    let mut client = client::open(args.client)?;
    // A signed message is an array, a response a map: what is one is not the other.
    if discovery::unverified(&bytes).is_ok() {
        let operator = client.install_discovery(bytes)?;
        return report.result(
            &format!("requests to operator {operator} can be made by this discovery document"),
            &json!({ "operator": operator.to_string() }),
        );
    }
    if RevocationListsFile::parse(&bytes).is_ok() {
        let (operator, lists) = client.install_lists(bytes)?;
        return trust::installed(&mut client, (operator, &lists), report);
    }
    match client.install(bytes.clone()) {
        Err(NativeError::Client(ClientError::NoPendingRequest)) => install_other(client, bytes, report),
        other => {
            let acquired = other?;
            client::report(report, &acquired, &[])?;
            if acquired.transaction.is_some() {
                report.note("the license server wants to know what became of it: `keyward acknowledge`");
            }
            Ok(())
        }
    }
}

/// A response that is not one with licenses. What it is shows by what it opens as.
fn install_other(mut client: NativeClient, bytes: Vec<u8>, report: Report) -> Result<(), Failure> {
    match client.install_receipt(bytes.clone()) {
        Err(NativeError::Client(ClientError::NoWaitingAcknowledgement)) => {
            install_enrolment(client, bytes, report)
        }
        other => {
            let transaction = other?.to_string();
            report.result(
                &format!("transaction {transaction} is acknowledged"),
                &json!({ "transaction": transaction }),
            )
        }
    }
}

fn install_enrolment(mut client: NativeClient, response: Vec<u8>, report: Report) -> Result<(), Failure> {
    let device = client.device_id()?;
    let enrolled = client.install_enrolment(response)?;
    enrol::tell(device, &enrolled, report)
}

/// On the operator's side: a discovery document for devices that cannot fetch one.
pub(crate) fn discovery(args: &DiscoveryArgs, report: Report) -> Result<(), Failure> {
    let output = Carried::create(&args.output, args.force)?;
    let document = Operator::open(&args.operator)?.discovery(args.hours)?;
    output.write(("discovery", "discovery document"), &document, report)
}

/// A message to be carried as a file.
pub(super) struct Carried {
    sink: FileSink,
    path: PathBuf,
}

impl Carried {
    /// An output that is refused is refused before a message is made for it.
    pub(super) fn create(path: &Path, force: bool) -> Result<Self, Failure> {
        Ok(Self {
            sink: FileSink::create(path, force)?,
            path: path.to_path_buf(),
        })
    }

    /// Writes the message and says so.
    pub(super) fn write(
        mut self,
        (kind, what): (&str, &str),
        message: &[u8],
        report: Report,
    ) -> Result<(), Failure> {
        let (path, length) = (&self.path, message.len());
        self.sink.write_all(message).map_err(file_error("write", path))?;
        self.sink.commit().map(drop).map_err(commit_error(path))?;
        let file = path.display();
        report.result_beside(
            path,
            &format!("{what} of {length} bytes in {file}"),
            &json!({ kind: file.to_string(), "bytes": length }),
        )
    }
}

/// A device that makes a request without a network does not fetch what it lacks.
pub(super) fn offline(error: NativeError) -> Failure {
    let stale = matches!(&error, NativeError::Client(ClientError::DiscoveryRefused(_)));
    let mut failure = Failure::from(error);
    if stale {
        failure.hint = "name a fresh one of the operator, which `keyward admin discovery` writes: `--discovery FILE`; or reach the license server once".to_owned();
    }
    failure
}
