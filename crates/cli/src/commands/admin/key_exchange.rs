//! `keyward admin key-exchange …`: exchange keys from their making to their end, and who may use them.

mod perform;
mod tokens;

use std::path::Path;

use keyward_crypto::{SecretBytes, exchange::Operation};
use keyward_server::key_exchange::{Destroy, KeyListing, NewKey, Use, VersionListing};
use serde_json::{Value, json};

use crate::{
    args::{
        AdminExchangeCommand, DestroyArgs, ExchangeKeyArgs, MinimumVersionArgs, NewKeyArgs, OperatorDir,
        RotateArgs, UsesArgs,
    },
    exchange::{Job, Task},
    failure::Failure,
    input,
    operator::Operator,
    report::{self, Report},
};

pub(super) fn run(command: AdminExchangeCommand, report: Report) -> Result<(), Failure> {
    match command {
        AdminExchangeCommand::Create(args) => add(args.key, None, report),
        AdminExchangeCommand::Import(args) => add(args.key, Some(&args.key_file), report),
        AdminExchangeCommand::Rotate(args) => rotate(&args, report),
        AdminExchangeCommand::MinimumVersion(args) => minimum_version(&args, report),
        AdminExchangeCommand::Disable(args) => disable(&args, report),
        AdminExchangeCommand::Enable(args) => enable(&args, report),
        AdminExchangeCommand::Destroy(args) => destroy(&args, report),
        AdminExchangeCommand::List(operator) => list(&operator, report),
        AdminExchangeCommand::Show(args) => show(&args, report),
        AdminExchangeCommand::Uses(args) => uses(&args, report),
        AdminExchangeCommand::Encrypt(args) => perform::run(args, Job::encrypt, report),
        AdminExchangeCommand::Decrypt(args) => perform::run(args, Job::decrypt, report),
        AdminExchangeCommand::Sign(args) => perform::run(args, |data| Job::data(data, Task::Sign), report),
        AdminExchangeCommand::Verify(args) => perform::run(args, Job::verify, report),
        AdminExchangeCommand::Wrap(args) => perform::run(args, |data| Job::data(data, Task::Wrap), report),
        AdminExchangeCommand::Unwrap(args) => {
            perform::run(args, |data| Job::data(data, Task::Unwrap), report)
        }
        AdminExchangeCommand::Token(command) => tokens::run(command, report),
    }
}

/// Prints the key id alone, for scripts to keep.
fn add(args: NewKeyArgs, key_file: Option<&Path>, report: Report) -> Result<(), Failure> {
    let value = read_key(key_file)?;
    let (algorithm, operation) = (args.algorithm, args.operation);
    let new = NewKey {
        kid: args.kid,
        context: args.context.map(String::into_bytes),
        uses: args.uses,
        minimum_security_level: args.minimum_security_level,
        beside: args.beside,
        ..NewKey::new(args.name, algorithm, operation)
    };
    let name = report::quoted(&new.name);
    let kid = Operator::open(&args.operator)?.add_exchange_key(new, value.as_ref())?;
    report.note(&format!(
        "exchange key {name}: {}",
        purpose(algorithm.name(), operation)
    ));
    if let Some(warning) = crate::exchange::warning(algorithm, operation) {
        report.note(&warning);
    }
    report.result(
        &kid.to_string(),
        &json!({
            "kid": kid.to_string(),
            "algorithm": algorithm.name(),
            "operation": operation.name(),
            "version": 1,
        }),
    )
}

fn read_key(file: Option<&Path>) -> Result<Option<SecretBytes>, Failure> {
    file.map(|file| input::read(file).map(SecretBytes::new))
        .transpose()
}

fn rotate(args: &RotateArgs, report: Report) -> Result<(), Failure> {
    let (kid, value) = (args.key.kid, read_key(args.key_file.as_deref())?);
    let version = Operator::open(&args.key.operator)?.rotate_exchange_key(kid, value.as_ref())?;
    report.result(
        &format!("exchange key {kid} has version {version}, which is used from now on"),
        &json!({ "kid": kid.to_string(), "version": version }),
    )
}

fn minimum_version(args: &MinimumVersionArgs, report: Report) -> Result<(), Failure> {
    let (kid, version) = (args.key.kid, args.version);
    Operator::open(&args.key.operator)?.set_exchange_minimum_version(kid, version)?;
    report.result(
        &format!("of exchange key {kid}, version {version} is the least that is accepted"),
        &json!({ "kid": kid.to_string(), "minimum_version": version }),
    )
}

fn disable(args: &ExchangeKeyArgs, report: Report) -> Result<(), Failure> {
    Operator::open(&args.operator)?.disable_exchange_key(args.kid)?;
    let words = "is disabled; licenses that were issued stay until they end";
    state(args, words, "disabled", report)
}

fn enable(args: &ExchangeKeyArgs, report: Report) -> Result<(), Failure> {
    Operator::open(&args.operator)?.enable_exchange_key(args.kid)?;
    state(args, "is enabled", "enabled", report)
}

fn state(args: &ExchangeKeyArgs, words: &str, state: &str, report: Report) -> Result<(), Failure> {
    let kid = args.kid;
    report.result(
        &format!("exchange key {kid} {words}"),
        &json!({ "kid": kid.to_string(), "state": state }),
    )
}

fn destroy(args: &DestroyArgs, report: Report) -> Result<(), Failure> {
    let kid = args.key.kid;
    let what = args.version.map_or(Destroy::All, Destroy::Version);
    Operator::open(&args.key.operator)?.destroy_exchange_key(kid, what)?;
    report.note("Backups that were made before still hold it, sealed; licenses that were issued stay.");
    let words = match args.version {
        Some(version) => format!("version {version} of exchange key {kid} is destroyed"),
        None => format!("exchange key {kid} is destroyed"),
    };
    report.result(
        &words,
        &json!({ "kid": kid.to_string(), "destroyed_version": args.version }),
    )
}

fn list(operator: &OperatorDir, report: Report) -> Result<(), Failure> {
    let keys = Operator::open(operator)?.exchange_keys()?;
    let text = if keys.is_empty() {
        "there is no exchange key".to_owned()
    } else {
        keys.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let listed: Vec<_> = keys.iter().map(fields).collect();
    report.result(&text, &json!({ "exchange_keys": listed }))
}

fn show(args: &ExchangeKeyArgs, report: Report) -> Result<(), Failure> {
    let key = Operator::open(&args.operator)?.exchange_key(args.kid)?;
    let mut lines = vec![line(&key), format!("  made {}", report::time(key.created))];
    let context = key.context.as_deref().map(String::from_utf8_lossy);
    lines.extend(context.map(|context| format!("  context {} (R-051)", report::quoted(&context))));
    lines.extend(key.uses.map(|uses| format!("  {uses} uses a license (R-052)")));
    lines.extend(
        key.minimum_security_level
            .map(|level| format!("  for devices of security level {level} and above")),
    );
    lines.extend(
        key.beside
            .map(|kid| format!("  travels in the licenses for key {kid} as well")),
    );
    lines.extend(key.versions.iter().map(|version| version_line(&key, version)));
    report.result(&lines.join("\n"), &fields(&key))
}

/// An exchange key in a line.
fn line(key: &KeyListing) -> String {
    let newest = key.versions.first().map_or(0, |version| version.version);
    format!(
        "{} {}: {}, version {newest}, least accepted {}, {}",
        key.kid,
        report::quoted(&key.name),
        purpose(key.algorithm.name(), key.operation),
        key.minimum_version,
        key.state.name(),
    )
}

fn purpose(algorithm: &str, operation: Operation) -> String {
    format!(
        "{algorithm}, devices {operation}, the license server can {}",
        operation.mirror()
    )
}

fn version_line(key: &KeyListing, version: &VersionListing) -> String {
    let state = if version.destroyed {
        ", destroyed"
    } else if version.version < key.minimum_version {
        ", not accepted any more"
    } else {
        ""
    };
    let messages = match version.messages {
        0 => String::new(),
        1 => ", 1 message encrypted here".to_owned(),
        messages => format!(", {messages} messages encrypted here"),
    };
    let (number, made) = (version.version, report::time(version.created));
    format!("  version {number}, made {made}{state}{messages}")
}

fn fields(key: &KeyListing) -> Value {
    let version = |version: &VersionListing| {
        json!({
            "version": version.version,
            "created": version.created.0,
            "destroyed": version.destroyed,
            "messages": version.messages,
        })
    };
    json!({
        "kid": key.kid.to_string(),
        "name": key.name,
        "algorithm": key.algorithm.name(),
        "operation": key.operation.name(),
        "mirror": key.operation.mirror().name(),
        "context": key.context.as_ref().map(hex::encode),
        "uses": key.uses,
        "minimum_version": key.minimum_version,
        "minimum_security_level": key.minimum_security_level,
        "beside": key.beside.map(|kid| kid.to_string()),
        "state": key.state.name(),
        "created": key.created.0,
        "versions": key.versions.iter().map(version).collect::<Vec<_>>(),
    })
}

fn uses(args: &UsesArgs, report: Report) -> Result<(), Failure> {
    let kid = args.key.kid;
    let uses = Operator::open(&args.key.operator)?.exchange_uses(kid, args.before, args.limit)?;
    let text = if uses.is_empty() {
        format!("the license server has done nothing with exchange key {kid}")
    } else {
        uses.iter().map(use_line).collect::<Vec<_>>().join("\n")
    };
    let listed: Vec<_> = uses.iter().map(use_fields).collect();
    report.result(&text, &json!({ "kid": kid.to_string(), "uses": listed }))
}

fn use_line(used: &Use) -> String {
    let version = used
        .version
        .map_or_else(String::new, |version| format!(" with version {version}"));
    let items = match (used.items, used.failed) {
        (1, _) => String::new(),
        (items, 0) => format!(" of {items} items"),
        (items, failed) => format!(" of {items} items, {failed} failed"),
    };
    format!(
        "{} {} {}: {}{items}{version}, {} bytes, {}",
        used.id,
        report::time(used.at),
        used.caller,
        used.operation,
        used.bytes,
        used.outcome.name(),
    )
}

fn use_fields(used: &Use) -> Value {
    json!({
        "id": used.id,
        "at": used.at.0,
        "version": used.version,
        "operation": used.operation.name(),
        "items": used.items,
        "failed": used.failed,
        "bytes": used.bytes,
        "caller": used.caller,
        "outcome": used.outcome.name(),
    })
}
