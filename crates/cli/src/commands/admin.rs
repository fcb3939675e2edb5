//! `keyward admin …`: acts on the operator's folder on this machine. The same acts over the network are
//! the administration interface's.

mod acknowledgements;
mod channels;
mod grants;
mod key_exchange;
mod policy;
mod revocation;
mod roll;
mod roots;

use std::io::Write;

use keyward_license::{enrolment::EnrolmentRole, ids::DeviceId};
use keyward_packager::OutputSink;
use keyward_server::admin::{AdminToken, Device, Scope, TokenRequest, role_name};
use serde_json::{Value, json};

use crate::{
    args::{
        AdminCommand, AdminTokenCommand, DevicesArgs, ExportSeedArgs, OperatorDir, RegisterKeyArgs,
        RevokeDeviceArgs, TokenArgs,
    },
    commands::{backup, carry, services},
    failure::{Failure, file_error},
    operator::Operator,
    output::FileSink,
    report::{self, Report},
};

pub(crate) fn run(command: AdminCommand, report: Report) -> Result<(), Failure> {
    match command {
        AdminCommand::EnrolmentToken(args) => enrolment_token(&args, report),
        AdminCommand::Grant(args) => grants::grant(&args, report),
        AdminCommand::Grants(args) => grants::list(&args, report),
        AdminCommand::EndGrant(args) => grants::end(&args, report),
        AdminCommand::Policy(command) => policy::run(&command, report),
        AdminCommand::RegisterKey(args) => register_key(&args, report),
        AdminCommand::Root(command) => roots::run(command, report),
        AdminCommand::Channel(command) => channels::run(command, report),
        AdminCommand::KeyExchange(command) => key_exchange::run(command, report),
        AdminCommand::Devices(args) => devices(&args, report),
        AdminCommand::RevokeDevice(args) => revoke_device(&args, report),
        AdminCommand::Revocation(command) => revocation::run(command, report),
        AdminCommand::RevokeAuthority(args) => revocation::revoke_authority(&args, report),
        AdminCommand::Acknowledgements(args) => acknowledgements::list(&args, report),
        AdminCommand::AdminToken(command) => admin_token(&command, report),
        AdminCommand::ServiceToken(command) => services::run(&command, report),
        AdminCommand::Profile(operator) => profile(&operator, report),
        AdminCommand::Discovery(args) => carry::discovery(&args, report),
        AdminCommand::Backup(args) => backup::back_up(&args, report),
        AdminCommand::Restore(args) => backup::restore(&args, report),
        AdminCommand::Roll(args) => roll::run(&args, report),
        AdminCommand::ExportSeed(args) => export_seed(&args, report),
    }
}

fn enrolment_token(args: &TokenArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.operator)?;
    let role = args.role.enrolment();
    let token = operator.enrolment_token(TokenRequest {
        role,
        security_level: args.security_level,
        maker: args.maker.clone().unwrap_or_default(),
        model: args.model.clone().unwrap_or_default(),
        robustness_version: args.robustness_version,
        expires_in: args.hours.saturating_mul(3600),
        ..TokenRequest::new(&args.account)
    })?;
    report.token(
        &format!("enrolment token for one {} of {}", role_name(role), args.account),
        token.expose(),
        &json!({ "account": args.account, "role": role_name(role), "token": token.expose() }),
    )
}

fn register_key(args: &RegisterKeyArgs, report: Report) -> Result<(), Failure> {
    let (key_type, level) = (args.scheme.key_type(), args.minimum_security_level);
    let seed = Operator::open(&args.operator)?.register_key(args.kid, key_type, level, args.seed)?;
    let devices = level.map_or_else(String::new, |level| {
        format!("; it is for devices of security level {level} and above")
    });
    report.result(
        &format!(
            "key {} is registered; its key derives from license key seed {seed}{devices}",
            args.kid
        ),
        &json!({ "kid": args.kid.to_string(), "minimum_security_level": level, "seed": seed }),
    )
}

fn devices(args: &DevicesArgs, report: Report) -> Result<(), Failure> {
    let devices = Operator::open(&args.operator)?.devices()?;
    let lines: Vec<String> = devices.iter().map(device_lines).collect();
    let listed: Vec<_> = devices.iter().map(device_fields).collect();
    let text = if lines.is_empty() {
        "no device is enrolled".to_owned()
    } else {
        lines.join("\n")
    };
    report.result(&text, &json!({ "devices": listed }))
}

/// A device or packager, and a line for each of its certificates.
fn device_lines(device: &Device) -> String {
    let what = match device.role {
        EnrolmentRole::Device => format!("security level {}{}", device.security_level, made(device)),
        EnrolmentRole::Packager => "packager".to_owned(),
    };
    let revoked = device
        .revoked
        .map_or_else(String::new, |at| format!(", revoked {}", report::time(at)));
    let (id, account, enrolled) = (device.id, &device.account, report::time(device.enrolled));
    let mut lines = format!("{id} of {account}, {what}, enrolled {enrolled}{revoked}");
    for one in &device.certificates {
        let revoked = if one.is_revoked { ", revoked" } else { "" };
        let (serial, end) = (hex::encode(&one.serial), report::time(one.not_after));
        lines.push_str(&format!("\n  certificate {serial} until {end}{revoked}"));
    }
    lines
}

/// What a device's certificate says of how it was made.
fn made(device: &Device) -> String {
    let (maker, model) = (report::quoted(&device.maker), report::quoted(&device.model));
    let what = match (device.maker.is_empty(), device.model.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(", model {model}"),
        (false, true) => format!(", of {maker}"),
        (false, false) => format!(", model {model} of {maker}"),
    };
    device.robustness_version.map_or_else(
        || what.clone(),
        |version| format!("{what}, robustness version {version}"),
    )
}

fn device_fields(device: &Device) -> Value {
    let certificates = device.certificates.iter().map(|one| {
        json!({
            "serial": hex::encode(&one.serial),
            "not_after": one.not_after.0,
            "is_revoked": one.is_revoked,
        })
    });
    json!({
        "device": device.id.to_string(),
        "account": device.account,
        "role": role_name(device.role),
        "security_level": device.security_level,
        "maker": device.maker,
        "model": device.model,
        "robustness_version": device.robustness_version,
        "enrolled": device.enrolled.0,
        "revoked": device.revoked.map(|at| at.0),
        "certificates": certificates.collect::<Vec<_>>(),
    })
}

fn revoke_device(args: &RevokeDeviceArgs, report: Report) -> Result<(), Failure> {
    let device = hex::decode(&args.device)
        .ok()
        .and_then(|bytes| DeviceId::try_from(&bytes[..]).ok())
        .ok_or_else(|| {
            Failure::new(
                "a device id is 64 hexadecimal digits",
                "see `keyward admin devices`",
            )
        })?;
    let before = Operator::open(&args.operator)?.revoke_device(device)?;
    let said = match before {
        None => format!("device {device} is revoked"),
        Some(at) => format!(
            "device {device} has been revoked since {}: nothing changes",
            report::time(at)
        ),
    };
    let revoked_before = before.map(|at| at.0);
    report.result(
        &said,
        &json!({ "device": device.to_string(), "revoked_before": revoked_before }),
    )
}

fn admin_token(command: &AdminTokenCommand, report: Report) -> Result<(), Failure> {
    match command {
        AdminTokenCommand::Add(args) => {
            let scope = if args.read_only { Scope::Read } else { Scope::Full };
            let token = Operator::open(&args.operator)?.add_admin_token(&args.name, scope)?;
            report.token(
                &format!("admin token {}", args.name),
                token.expose(),
                &json!({ "name": args.name, "token": token.expose() }),
            )
        }
        AdminTokenCommand::List(operator) => list_admin_tokens(operator, report),
        AdminTokenCommand::Revoke(args) => {
            Operator::open(&args.operator)?.revoke_admin_token(&args.name)?;
            report.result(
                &format!("admin token {} is revoked", args.name),
                &json!({ "name": args.name }),
            )
        }
    }
}

fn profile(dir: &OperatorDir, report: Report) -> Result<(), Failure> {
    let servers = Operator::open(dir)?.renew_profile(&dir.operator)?.license_servers;
    report.note(
        "Devices that are enrolled keep the profile that they have; enrol them again to give them this one.",
    );
    report.result(
        &format!(
            "the operator profile in {} names {}",
            dir.operator.display(),
            servers.join(", ")
        ),
        &json!({ "license_servers": servers }),
    )
}

fn list_admin_tokens(operator: &OperatorDir, report: Report) -> Result<(), Failure> {
    let tokens = Operator::open(operator)?.admin_tokens()?;
    let scope = |token: &AdminToken| {
        if token.scope == Scope::Full {
            "full"
        } else {
            "read"
        }
    };
    let lines: Vec<String> = tokens
        .iter()
        .map(|token| {
            let revoked = token
                .revoked
                .map_or_else(String::new, |at| format!(", revoked {}", report::time(at)));
            format!(
                "{} ({}), made {}{revoked}",
                token.name,
                scope(token),
                report::time(token.created)
            )
        })
        .collect();
    let listed: Vec<_> = tokens
        .iter()
        .map(|token| {
            json!({
                "name": token.name,
                "scope": scope(token),
                "created": token.created.0,
                "revoked": token.revoked.map(|at| at.0),
            })
        })
        .collect();
    report.result(&lines.join("\n"), &json!({ "admin_tokens": listed }))
}

fn export_seed(args: &ExportSeedArgs, report: Report) -> Result<(), Failure> {
    let (number, seed) = Operator::open(&args.operator)?.export_seed(args.seed)?;
    let mut sink = FileSink::create_private(&args.output, args.force)?;
    sink.write_all(hex::encode(seed.expose()).as_bytes())
        .and_then(|()| sink.commit().map(drop))
        .map_err(file_error("write", &args.output))?;
    report.result_beside(
        &args.output,
        &format!(
            "license key seed {number} is in {}: whoever has it has every key derived from it",
            args.output.display()
        ),
        &json!({ "seed": number, "output": args.output.display().to_string() }),
    )
}
