//! What a client knows of trust: revocation lists, its own revocation, licenses that are none any more.

use keyward_client::{
    ClientError,
    lists::{Distrusted, OperatorTrust, TakenLists},
};
use keyward_client_native::{NativeClient, NativeError};
use keyward_license::{
    ids::{Digest, Kid},
    revocation::{ListId, ListState},
};
use serde_json::{Value, json};

use crate::{
    args::ClientDir,
    client,
    failure::{Exit, Failure},
    report::{self, Report},
};

/// `keyward licenses lists`
pub(crate) fn lists(dir: ClientDir, report: Report) -> Result<(), Failure> {
    let mut client = client::open_existing(dir)?;
    let operators = client.trust()?;
    let (mut lines, mut fields) = (Vec::new(), Vec::new());
    for known in &operators {
        lines.extend(words(known, &client::operator_name(&client, known.operator)));
        fields.push(json(known, &client::operator_name(&client, known.operator)));
    }
    if lines.is_empty() {
        lines.push("this device is not enrolled with an operator".to_owned());
    }
    report.result(&lines.join("\n"), &json!({ "operators": fields }))
}

fn words(known: &OperatorTrust, name: &str) -> Vec<String> {
    let mut lines = vec![match &known.revoked {
        Some(why) => format!("{name}: this device is revoked: {why}"),
        None => format!("{name}: this device is not revoked, as far as is known"),
    }];
    if known.lists.is_empty() {
        lines.push("  no revocation list is held".to_owned());
    }
    lines.extend(known.lists.iter().map(|list| {
        format!(
            "  {} number {}: {}, issued at {}, the next one is due at {}",
            issuer(list),
            list.number,
            match list.entries {
                1 => "1 entry".to_owned(),
                many => format!("{many} entries"),
            },
            report::time(list.issued),
            report::time(list.next_update)
        )
    }));
    lines
}

fn issuer(list: &ListState) -> String {
    if list.list == ListId::DEVICES {
        "device revocation list".to_owned()
    } else {
        format!("list of authority {}", list.list)
    }
}

fn json(known: &OperatorTrust, name: &str) -> Value {
    let lists: Vec<_> = known.lists.iter().map(list_json).collect();
    json!({
        "operator": known.operator.to_string(),
        "operator_name": name,
        "revoked": known.revoked.as_ref().map(ToString::to_string),
        "lists": lists,
    })
}

/// A list, for programs.
fn list_json(list: &ListState) -> Value {
    json!({
        "authority": Some(list.list.to_string()).filter(|id| !id.is_empty()),
        "number": list.number.to_string(),
        "issued": list.issued.0,
        "next_update": list.next_update.0,
        "entries": list.entries,
    })
}

/// What became of lists that came along, for programs; what was refused is said to people.
pub(crate) fn taken(taken: &TakenLists, report: Report) -> Value {
    for fault in &taken.refused {
        report.note(&format!(
            "a revocation list was not taken: {fault}; {}",
            fault.hint()
        ));
    }
    let refused: Vec<_> = taken.refused.iter().map(ToString::to_string).collect();
    json!({ "newer": taken.newer, "refused": refused })
}

/// `keyward install`, of a file of revocation lists.
pub(crate) fn installed(
    client: &mut NativeClient,
    (operator, lists): (Digest, &TakenLists),
    report: Report,
) -> Result<(), Failure> {
    let fields = taken(lists, report);
    let known = client.trust()?;
    let known = known.iter().find(|known| known.operator == operator);
    let name = client::operator_name(client, operator);
    let mut lines = vec![
        match lists.newer {
            true => "the revocation lists are in use",
            false => "no revocation list is newer than those that are held",
        }
        .to_owned(),
    ];
    lines.extend(known.into_iter().flat_map(|known| words(known, &name)));
    let fields = json!({ "taken": fields, "operator": known.map(|known| json(known, &name)) });
    report.result(&lines.join("\n"), &fields)?;
    match lists.refused.first() {
        None => Ok(()),
        Some(fault) => Err(Failure::new(
            format!("not every revocation list was taken: {fault}"),
            fault.hint(),
        )),
    }
}

/// Licenses of a key, or of all, that are none any more, for people and for programs.
pub(crate) fn distrusted(
    client: &mut NativeClient,
    kid: Option<Kid>,
) -> Result<(Vec<String>, Vec<Value>), Failure> {
    let distrusted = client.distrusted_licenses(kid)?;
    let of_all = distrusted.iter().map(|license| {
        let (words, fields) = one_distrusted(license);
        match (kid, license.body.asked_kid()) {
            // Among those of other keys.
            (None, Ok(kid)) => (format!("key {kid}: {words}"), fields),
            _ => (words, fields),
        }
    });
    Ok(of_all.unzip())
}

/// The failure of who finds no license for a key: with the reason, if there was one that is none any more.
pub(crate) fn explained(client: &mut NativeClient, error: NativeError) -> Failure {
    let NativeError::Client(ClientError::NoLicense { kid }) = error else {
        return error.into();
    };
    let distrusted = client.distrusted_licenses(Some(kid)).unwrap_or_default();
    match distrusted.first() {
        None => error.into(),
        Some(license) => Failure {
            exit: Exit::NotPermitted,
            ..Failure::new(
                format!(
                    "no license in the store covers key {kid} any more: {}",
                    why(license)
                ),
                "request a new one: `keyward acquire FILE`",
            )
        },
    }
}

fn why(license: &Distrusted) -> String {
    license.fault.map_or_else(
        || "its operator is not known any more".to_owned(),
        |fault| fault.to_string(),
    )
}

fn one_distrusted(license: &Distrusted) -> (String, Value) {
    let why = why(license);
    let id = license.body.id;
    let kid = license.body.asked_kid().ok();
    (
        format!("license {id}: no license any more: {why}"),
        json!({
            "license": id.to_string(),
            "kid": kid.map(|kid| kid.to_string()),
            "operator": license.operator.to_string(),
            "reason": why,
        }),
    )
}
