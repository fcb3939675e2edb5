//! `keyward admin revocation …` and `keyward admin revoke-authority`: what is not trusted any more.

use std::io::Write;

use keyward_license::ids::{DeviceId, Digest};
use keyward_packager::OutputSink;
use keyward_server::revocation::{
    CertificateState, Exemption, NewModel, PublishedList, RevokedAuthority, RevokedCertificate, RevokedModel,
    reason_name,
};
use serde_json::{Value, json};

use crate::{
    args::{
        AllowArgs, DisallowArgs, ExportListsArgs, OperatorDir, RestoreCertificateArgs, RestoreModelArgs,
        RevocationCommand, RevokeAuthorityArgs, RevokeCertificateArgs, WhichArgs, WhyArgs,
    },
    failure::{Failure, file_error},
    operator::{Operator, RootKey},
    output::FileSink,
    report::{self, Report},
};

pub(super) fn run(command: RevocationCommand, report: Report) -> Result<(), Failure> {
    match command {
        RevocationCommand::List(operator) => list(&operator, report),
        RevocationCommand::Certificates(operator) => certificates(&operator, report),
        RevocationCommand::Device(args) => super::revoke_device(&args, report),
        RevocationCommand::Certificate(args) => certificate(&args, report),
        RevocationCommand::RestoreCertificate(args) => restore_certificate(&args, report),
        RevocationCommand::Company(args) => model(&args.operator, (args.maker, None), args.which, report),
        RevocationCommand::Model(args) => {
            model(&args.operator, (args.maker, Some(args.model)), args.which, report)
        }
        RevocationCommand::RestoreModel(args) => restore_model(&args, report),
        RevocationCommand::Allow(args) => allow(&args, report),
        RevocationCommand::Disallow(args) => disallow(&args, report),
        RevocationCommand::Export(args) => export(&args, report),
    }
}

/// Revokes an authority with the root key, or makes the root's list anew.
pub(super) fn revoke_authority(args: &RevokeAuthorityArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.operator)?;
    let key = operator.root_key(&RootKey {
        dir: &args.operator,
        file: args.root_key.as_deref(),
        kek_file: args.root_kek_file.as_deref(),
    })?;
    let WhyArgs { since, reason } = args.why;
    let revoked = match &args.serial {
        None => None,
        Some(text) => Some(RevokedAuthority {
            serial: serial(text)?,
            invalid_since: since,
            reason: reason.map(crate::args::ReasonArg::reason),
        }),
    };
    let list = operator.revoke_authority(&key, revoked, args.days.saturating_mul(86_400))?;
    let text = list.as_ref().map_or_else(String::new, list_line);
    report.result(&text, &json!({ "list": list.as_ref().map(list_fields) }))
}

fn list(dir: &OperatorDir, report: Report) -> Result<(), Failure> {
    let revocations = Operator::open(dir)?.revocations()?;
    let lines: Vec<_> = revocations
        .certificates
        .iter()
        .map(certificate_line)
        .chain(revocations.models.iter().map(model_line))
        .chain(revocations.exemptions.iter().map(exemption_line))
        .chain(revocations.lists.iter().map(list_line))
        .collect();
    let json = json!({
        "certificates": revocations.certificates.iter().map(certificate_fields).collect::<Vec<_>>(),
        "models": revocations.models.iter().map(model_fields).collect::<Vec<_>>(),
        "allowed": revocations.exemptions.iter().map(exemption_fields).collect::<Vec<_>>(),
        "lists": revocations.lists.iter().map(list_fields).collect::<Vec<_>>(),
    });
    report.result(&lines.join("\n"), &json)
}

fn certificates(dir: &OperatorDir, report: Report) -> Result<(), Failure> {
    let certificates = Operator::open(dir)?.certificates()?;
    let lines: Vec<_> = certificates
        .iter()
        .map(|one| {
            let (serial, end) = (hex::encode(&one.serial), report::time(one.not_after));
            let state = match one.state {
                CertificateState::InUse => "in use",
                CertificateState::Replaced => "replaced by another",
                CertificateState::Revoked => "revoked",
            };
            format!("{serial}: {}, key {}, until {end}, {state}", one.purpose, one.key)
        })
        .collect();
    let listed: Vec<_> = certificates
        .iter()
        .map(|one| {
            json!({
                "serial": hex::encode(&one.serial),
                "purpose": one.purpose,
                "key": one.key,
                "state": one.state.as_str(),
                "not_before": one.not_before.0,
                "not_after": one.not_after.0,
            })
        })
        .collect();
    report.result(&lines.join("\n"), &json!({ "certificates": listed }))
}

fn certificate(args: &RevokeCertificateArgs, report: Report) -> Result<(), Failure> {
    let WhyArgs { since, reason } = args.why;
    let reason = reason.map(crate::args::ReasonArg::reason);
    Operator::open(&args.operator)?.revoke_certificate(&serial(&args.serial)?, since, reason)?;
    report.result(
        &format!("certificate {} is revoked", args.serial),
        &json!({ "serial": args.serial }),
    )
}

fn restore_certificate(args: &RestoreCertificateArgs, report: Report) -> Result<(), Failure> {
    Operator::open(&args.operator)?.restore_certificate(&serial(&args.serial)?)?;
    report.result(
        &format!("certificate {} is not revoked any more", args.serial),
        &json!({ "serial": args.serial }),
    )
}

fn model(
    dir: &OperatorDir,
    (maker, model): (String, Option<String>),
    which: WhichArgs,
    report: Report,
) -> Result<(), Failure> {
    let what = name(&maker, model.as_deref());
    let (number, devices) = Operator::open(dir)?.revoke_model(NewModel {
        maker,
        model,
        robustness_below: which.below,
        since: which.since,
        reason: which.reason,
    })?;
    report.result(
        &format!(
            "{what} is revoked (entry {number}): it names {} at present",
            enrolled(devices)
        ),
        &json!({ "number": number, "devices": devices }),
    )
}

fn enrolled(devices: u64) -> String {
    match devices {
        0 => "no enrolled device".to_owned(),
        1 => "1 enrolled device".to_owned(),
        many => format!("{many} enrolled devices"),
    }
}

fn restore_model(args: &RestoreModelArgs, report: Report) -> Result<(), Failure> {
    Operator::open(&args.operator)?.restore_model(args.number)?;
    report.result(
        &format!("entry {} is off the list", args.number),
        &json!({ "number": args.number }),
    )
}

fn allow(args: &AllowArgs, report: Report) -> Result<(), Failure> {
    let device = DeviceId::new(bytes("a device id", &args.device)?);
    let certificate = Operator::open(&args.operator)?.allow_device(device)?;
    report.result(
        &format!("device {device} is exempt by its certificate {certificate}"),
        &json!({ "device": device.to_string(), "certificate": certificate.to_string() }),
    )
}

fn disallow(args: &DisallowArgs, report: Report) -> Result<(), Failure> {
    let certificate = Digest::new(bytes("the digest of a certificate", &args.certificate)?);
    Operator::open(&args.operator)?.disallow_certificate(certificate)?;
    report.result(
        &format!("certificate {certificate} is not exempt any more"),
        &json!({ "certificate": certificate.to_string() }),
    )
}

fn export(args: &ExportListsArgs, report: Report) -> Result<(), Failure> {
    let mut sink = FileSink::create(&args.output, args.force)?;
    let lists = Operator::open(&args.operator)?.revocation_bundle()?;
    sink.write_all(&lists)
        .and_then(|()| sink.commit().map(drop))
        .map_err(file_error("write", &args.output))?;
    report.result_beside(
        &args.output,
        &format!("the revocation lists are in {}", args.output.display()),
        &json!({ "output": args.output.display().to_string() }),
    )
}

fn certificate_line(one: &RevokedCertificate) -> String {
    let since = one.invalid_since.unwrap_or(one.revoked);
    let reason = one
        .reason
        .and_then(reason_name)
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let serial = hex::encode(&one.serial);
    let whose = match (one.device, one.purpose) {
        (Some(device), _) => format!(" ({device})"),
        (None, Some(purpose)) => format!(" ({purpose})"),
        (None, None) => String::new(),
    };
    format!(
        "certificate {serial} of {}{whose}: revoked since {}{reason}",
        one.authority,
        report::time(since)
    )
}

fn exemption_line(one: &Exemption) -> String {
    let whose = one
        .device
        .map_or_else(String::new, |device| format!(" ({device})"));
    format!("certificate {}{whose}: exempt from models", one.certificate)
}

fn exemption_fields(one: &Exemption) -> Value {
    json!({
        "certificate": one.certificate.to_string(),
        "device": one.device.map(|device| device.to_string()),
    })
}

fn certificate_fields(one: &RevokedCertificate) -> Value {
    json!({
        "serial": hex::encode(&one.serial),
        "authority": one.authority,
        "device": one.device.map(|device| device.to_string()),
        "purpose": one.purpose,
        "not_after": one.not_after.map(|end| end.0),
        "revoked": one.revoked.0,
        "invalid_since": one.invalid_since.map(|since| since.0),
        "reason": one.reason.and_then(reason_name),
    })
}

fn model_line(one: &RevokedModel) -> String {
    let below = one.robustness_below.map_or_else(String::new, |below| {
        format!(" of a robustness version below {below}")
    });
    let reason = one
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(": {}", report::quoted(reason)));
    let (what, since) = (name(&one.maker, one.model.as_deref()), report::time(one.since));
    format!("entry {}: {what}{below}, revoked since {since}{reason}", one.id)
}

fn model_fields(one: &RevokedModel) -> Value {
    json!({
        "number": one.id,
        "maker": one.maker,
        "model": one.model,
        "robustness_below": one.robustness_below,
        "since": one.since.0,
        "reason": one.reason,
    })
}

fn list_line(list: &PublishedList) -> String {
    let (issued, next) = (report::time(list.issued), report::time(list.next_update));
    let entries = match list.entries {
        1 => "1 entry".to_owned(),
        many => format!("{many} entries"),
    };
    let of = list
        .authority
        .as_ref()
        .map_or_else(String::new, |serial| format!(" ({})", hex::encode(serial)));
    format!(
        "list {}{of} {}: {entries}, issued {issued}, the next is due {next}",
        list.name, list.number
    )
}

fn list_fields(list: &PublishedList) -> Value {
    json!({
        "name": list.name,
        "id": list.id.to_string(),
        "authority": list.authority.as_ref().map(hex::encode),
        "number": list.number.to_string(),
        "entries": list.entries,
        "issued": list.issued.0,
        "next_update": list.next_update.0,
    })
}

fn name(maker: &str, model: Option<&str>) -> String {
    match model {
        Some(model) => format!("model {} of {}", report::quoted(model), report::quoted(maker)),
        None => format!("company {}", report::quoted(maker)),
    }
}

fn serial(text: &str) -> Result<Vec<u8>, Failure> {
    hex::decode(text)
        .ok()
        .filter(|serial| (1..=20).contains(&serial.len()))
        .ok_or_else(|| {
            Failure::new(
                "a serial number is 2 to 40 hexadecimal digits",
                "see `keyward admin revocation certificates` and `keyward admin revocation list`",
            )
        })
}

fn bytes(what: &str, text: &str) -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| {
        Failure::new(
            format!("{what} is 64 hexadecimal digits"),
            "see `keyward admin devices` and `keyward admin revocation list`",
        )
    })?;
    Ok(bytes)
}
