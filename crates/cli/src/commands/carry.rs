//! `keyward request`, `renew`, `answer` and `install`: the same messages over files, for devices and servers
//! that do not reach one another. `keyward admin discovery` gives such devices what they would fetch.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use keyward_client::{ClientError, error::one_line};
use keyward_client_native::{NativeClient, NativeError};
use keyward_license::{
    codec::Wire, discovery, envelope::SealedRequest, error_code::ErrorCode, revocation::RevocationListsFile,
};
use keyward_packager::OutputSink;
use keyward_server::carried::{Carried, Message};
use serde_json::{Value, json};

use crate::{
    args::{AnswerArgs, CarriedRequestArgs, DiscoveryArgs, InstallArgs, RequestArgs},
    client,
    commands::{enrol, trust},
    failure::{Failure, file_error},
    input,
    operator::Operator,
    output::{FileSink, commit_error},
    report::{self, Report},
};

/// On the device: makes a request and remembers it.
pub(crate) fn request(args: RequestArgs, report: Report) -> Result<(), Failure> {
    let (wanted, _) = client::wanted(args.wanted)?;
    make(args.carried, "request", |client| client.request(wanted), report)
}

/// On the device: makes a request for another certificate and remembers it.
pub(crate) fn renew(args: CarriedRequestArgs, report: Report) -> Result<(), Failure> {
    let what = "request for another certificate";
    make(args, what, NativeClient::request_renewal, report)
}

/// Makes a request with a client that has taken in a discovery document if there is one, and writes it.
fn make(
    args: CarriedRequestArgs,
    what: &str,
    request: impl FnOnce(&mut NativeClient) -> Result<Vec<u8>, NativeError>,
    report: Report,
) -> Result<(), Failure> {
    let discovery = args.discovery.as_deref().map(input::read).transpose()?;
    let output = CarriedFile::create(&args.output, args.force)?;
    let mut client = client::open(args.client)?;
    if let Some(document) = discovery {
        client.install_discovery(document)?;
    }
    let request = request(&mut client).map_err(offline)?;
    output.write(("request", what), &request, report)
}

/// On the operator's side: answers a license request, an enrolment request or an acknowledgement. The same request again
/// gets the same licenses, the same certificate, or another receipt.
pub(crate) fn answer(args: &AnswerArgs, report: Report) -> Result<(), Failure> {
    let request = input::read(&args.request)?;
    if SealedRequest::decode(&request).is_err() {
        return Err(Failure::new(
            format!("{} is no request", args.request.display()),
            "name the file that `keyward request`, `keyward enrol --request` or `keyward acknowledge` wrote, whole",
        ));
    }
    let output = CarriedFile::create(&args.output, args.force)?;
    let operator = Operator::open(&args.operator)?;
    let answered = operator.answer(&request)?;
    let what = match answered.message {
        Message::License => "response",
        Message::Enrolment => "enrolment response",
        Message::Acknowledgement => "receipt",
        _ => "answer",
    };
    let whose = whose(&operator, &answered)?;
    output.write_with(("response", what), &answered.answer, whose, report)
}

/// Who was answered, and what became of each key id: for people and for programs.
fn whose(operator: &Operator, answered: &Carried) -> Result<(String, Value), Failure> {
    let device = answered.device;
    let known = operator.devices()?.into_iter().find(|known| known.id == device);
    let account = known.map(|known| known.account);
    let mut lines = vec![match &account {
        Some(account) => format!("for device {device} of {}", one_line(account)),
        None => format!("for device {device}"),
    }];
    lines.extend(answered.keys.iter().map(|(kid, denied)| match denied {
        None => format!("key {kid}: license issued"),
        Some(code) => format!("key {kid}: denied: {}", named(*code)),
    }));
    if answered.message == Message::License && answered.keys.is_empty() {
        lines.push("as it was answered before".to_owned());
    }
    let keys: Vec<_> = answered
        .keys
        .iter()
        .map(|(kid, denied)| json!({ "kid": kid.to_string(), "denied": denied.map(error_fields) }))
        .collect();
    let fields = json!({ "device": device.to_string(), "account": account, "keys": keys });
    Ok((lines.join("\n"), fields))
}

/// A number of `spec/errors.md` with its name.
fn named(code: u64) -> String {
    ErrorCode::from_number(code)
        .map_or_else(|| code.to_string(), |known| format!("{} ({code})", known.name()))
}

fn error_fields(code: u64) -> Value {
    json!({ "code": code, "name": ErrorCode::from_number(code).map(ErrorCode::name) })
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
            if client.owes_renewal() {
                report.note("the device's certificate comes to its end: `keyward renew`");
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
    let output = CarriedFile::create(&args.output, args.force)?;
    let document = Operator::open(&args.operator)?.discovery(args.hours)?;
    output.write(("discovery", "discovery document"), &document, report)
}

/// A message to be carried as a file.
pub(super) struct CarriedFile {
    sink: FileSink,
    path: PathBuf,
}

impl CarriedFile {
    /// An output that is refused is refused before a message is made for it.
    pub(super) fn create(path: &Path, force: bool) -> Result<Self, Failure> {
        Ok(Self {
            sink: FileSink::create(path, force)?,
            path: path.to_path_buf(),
        })
    }

    /// Writes the message and says so.
    pub(super) fn write(
        self,
        (kind, what): (&str, &str),
        message: &[u8],
        report: Report,
    ) -> Result<(), Failure> {
        self.write_with((kind, what), message, (String::new(), json!({})), report)
    }

    /// Writes the message and says so, and some more.
    fn write_with(
        mut self,
        (kind, what): (&str, &str),
        message: &[u8],
        (more, fields): (String, Value),
        report: Report,
    ) -> Result<(), Failure> {
        let (path, length) = (&self.path, message.len());
        self.sink.write_all(message).map_err(file_error("write", path))?;
        self.sink.commit().map(drop).map_err(commit_error(path))?;
        let file = path.display();
        let written = format!("{what} of {length} bytes in {file}");
        let text = match more.is_empty() {
            true => written,
            false => format!("{written}\n{more}"),
        };
        let json = [(kind, file.to_string().into()), ("bytes", length.into())];
        report.result_beside(path, &text, &report::with(fields, json))
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
