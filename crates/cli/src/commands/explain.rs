//! `keyward explain`: may this be done, which rule decides, and when will the answer change?

pub(crate) mod outputs;

use std::path::Path;

use keyward_client::{
    explain::{Circumstances, Explained},
    held::HeldLicense,
};
use keyward_client_native::NativeClient;
use keyward_license::{
    ids::{Kid, LicenseId},
    license::LicenseKind,
    time::Timestamp,
    usage_rules::{Action, Allowed, Output, OutputDecision},
};
use serde_json::{Value, json};

use crate::{
    args::ExplainArgs,
    client,
    commands::{check::riding, inspect, trust},
    exchange::Described,
    failure::{Failure, file_error},
    protected::{self, Protected},
    report::{self, Report},
};

pub(crate) fn run(args: ExplainArgs, report: Report) -> Result<(), Failure> {
    let circumstances = Circumstances {
        action: args.right.map_or(Action::Play, Action::Extended),
        at: args.at,
        security_level: args.level,
        outputs: Some(args.output.iter().map(|typed| typed.0).collect())
            .filter(|outputs: &Vec<_>| !outputs.is_empty()),
    };
    let mut client = client::open_existing(args.client)?;
    let (mut lines, mut keys) = (Vec::new(), Vec::new());
    for (kid, explained) in asked(&mut client, &args.target, &circumstances)? {
        let (text, fields) = of_key(kid, &explained);
        lines.push(text);
        let (none_any_more, distrusted) = trust::distrusted(&mut client, Some(kid))?;
        lines.extend(none_any_more.iter().map(|line| format!("  {line}")));
        keys.push(report::with(fields, [("distrusted", distrusted.into())]));
    }
    report.result(&lines.join("\n"), &json!({ "keys": keys }))
}

type OfKeys = Vec<(Kid, Vec<Explained>)>;

/// What the rules say of everything that was named: the licenses of each key, the best first.
fn asked(client: &mut NativeClient, typed: &str, circumstances: &Circumstances) -> Result<OfKeys, Failure> {
    let path = Path::new(typed);
    if let (Ok(id), false) = (typed.parse::<Kid>(), path.exists()) {
        return of_id(client, id, circumstances);
    }
    if let Some(license) = license_in(path)? {
        let mut explain = |circumstances| {
            let explained = client.explain_license(license.clone(), circumstances)?;
            explained.ok_or_else(|| {
                Failure::new(
                    format!("{typed} is no license of an operator that this device is enrolled with"),
                    "see what it is: `keyward inspect FILE`",
                )
            })
        };
        let mut explained = explain(circumstances.clone())?;
        if explained.body.kind == LicenseKind::KeyExchange {
            explained = explain(for_kind(circumstances, explained.body.kind))?;
        }
        let kid = explained.body.asked_kid();
        let kid = kid.map_err(|error| Failure::new(error, "see what it is: `keyward inspect FILE`"))?;
        return Ok(vec![(kid, vec![explained])]);
    }
    let mut content = client::named(typed, Protected::first_content)?.content;
    let kids = std::mem::take(&mut content.kids);
    let of_kid = |kid| {
        let mut explained = client.explain(kid, circumstances.clone())?;
        let held: Vec<_> = explained.iter().map(|held| held.body.id).collect();
        let riding = riding(client, kid, &content, circumstances)?.into_iter();
        explained.extend(riding.filter(|explained| !held.contains(&explained.body.id)));
        Ok((kid, explained))
    };
    kids.into_iter().map(of_kid).collect()
}

/// Key ids and license ids have the same form, and are told apart by what is there.
fn of_id(client: &mut NativeClient, id: Kid, circumstances: &Circumstances) -> Result<OfKeys, Failure> {
    let license = LicenseId::new(*id.as_bytes());
    let held = client.held_licenses()?;
    let is_of = |held: &&HeldLicense| {
        held.body.id == license || held.body.keys.first().is_some_and(|key| key.kid == id)
    };
    let circumstances = &match held.iter().find(is_of) {
        Some(held) => for_kind(circumstances, held.body.kind),
        None => circumstances.clone(),
    };
    let of_license = held.iter().find(|held| held.body.id == license);
    let Some(kid) = of_license
        .and_then(|held| held.body.keys.first())
        .map(|key| key.kid)
    else {
        return Ok(vec![(id, client.explain(id, circumstances.clone())?)]);
    };
    let mut explained = client.explain(kid, circumstances.clone())?;
    explained.retain(|explained| explained.body.id == license);
    Ok(vec![(kid, explained)])
}

/// What is done with the key of such a license where nothing else was asked: content is played, other data are
/// performed on.
fn for_kind(circumstances: &Circumstances, kind: LicenseKind) -> Circumstances {
    let mut circumstances = circumstances.clone();
    if kind == LicenseKind::KeyExchange && circumstances.action == Action::Play {
        circumstances.action = Action::Perform;
    }
    circumstances
}

/// The bytes of a file that is no protected content.
fn license_in(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let failed = file_error("read", path);
    let mut file = std::fs::File::open(path).map_err(&failed)?;
    let head = protected::beginning(&mut file).map_err(&failed)?;
    if protected::is_content(&head) {
        return Ok(None);
    }
    let mut bytes = head;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LONGEST_LICENSE), &mut bytes)
        .map_err(&failed)?;
    Ok(Some(bytes))
}

/// Most bytes of a license that are read.
const LONGEST_LICENSE: u64 = 1 << 20;

fn of_key(kid: Kid, explained: &[Explained]) -> (String, Value) {
    let mut lines = vec![match explained.first() {
        None => format!("key {kid}: refused, there is no license"),
        Some(_) if explained.iter().any(is_allowed) => format!("key {kid}: allowed"),
        Some(_) => format!("key {kid}: refused"),
    }];
    lines.extend(explained.iter().map(words));
    let allowed = explained.iter().any(is_allowed);
    let licenses: Vec<_> = explained.iter().map(fields).collect();
    let json = json!({ "kid": kid.to_string(), "allowed": allowed, "licenses": licenses });
    (lines.join("\n"), json)
}

/// R-052 comes after the rules that explain, at every call.
fn is_allowed(explained: &Explained) -> bool {
    explained.verdict.is_ok() && !is_used_up(explained)
}

fn is_used_up(explained: &Explained) -> bool {
    let keys = Described::all(&explained.body, &explained.uses);
    keys.first().is_some_and(Described::is_used_up)
}

/// The answer about one license, in words.
fn words(explained: &Explained) -> String {
    let mut lines = vec![match &explained.verdict {
        Ok(_) if is_used_up(explained) => format!("refused by R-052: {USED_UP}"),
        Ok(allowed) => format!("allowed by {}: {}", allowed.decided_by, allowed.decided_by.says()),
        Err(stop) => format!("refused by {}: {stop}", stop.rule()),
    }];
    lines.extend(chain(explained));
    if ends_with_revocation(explained) {
        lines.push("ends when this device is revoked (R-015)".to_owned());
    }
    let keys = Described::all(&explained.body, &explained.uses);
    lines.extend(keys.iter().map(|key| format!("key {}: {}", key.kid, key.words())));
    lines.push(match explained.now {
        Some(now) => format!("judged at {}", report::time(now)),
        None => "judged without a clock".to_owned(),
    });
    if !explained.is_usable_here {
        lines.push(
            "not usable by this client: for another device, or it demands what is not enforced".to_owned(),
        );
    }
    if let Some(first_play) = explained.first_play {
        lines.push(format!("first played at {}", report::time(first_play)));
    }
    match &explained.verdict {
        Ok(allowed) => lines.extend(when(allowed)),
        Err(stop) => lines.push(match stop.changes_at() {
            Some(at) => format!("the answer changes at {}", report::time(at)),
            None => "time alone does not change the answer".to_owned(),
        }),
    }
    for (output, decision) in decided(explained) {
        lines.push(outputs::words(output, decision));
    }
    format!("  license {}: {}", explained.body.id, lines.join("\n    "))
}

fn ends_with_revocation(explained: &Explained) -> bool {
    let mut chain = explained.root.iter().chain([&explained.body]);
    chain.any(|license| license.ends_with_revocation.is_some())
}

/// Where a license stands in a chain.
fn chain(explained: &Explained) -> Option<String> {
    if explained.body.kind == LicenseKind::Root {
        return Some("a root license: it opens leaf licenses, whose limits in time are its own".to_owned());
    }
    let root = explained.body.leaf_of()?;
    Some(match &explained.root {
        Some(license) => format!(
            "a leaf license of root {root}, judged with the root's license {}: the stricter of both decides",
            license.id
        ),
        None => format!("a leaf license of root {root}, whose license is not there"),
    })
}

const USED_UP: &str = "every use that the license permits has been made";

fn when(allowed: &Allowed) -> Vec<String> {
    let mut lines = vec![match (allowed.changes_at, allowed.until) {
        (Some(at), Some(until)) if at < until => format!(
            "the answer changes at {}, when a grace period begins, and ends at {}",
            report::time(at),
            report::time(until)
        ),
        (_, Some(until)) => format!("the answer changes at {}", report::time(until)),
        (_, None) => "time does not change the answer".to_owned(),
    }];
    if allowed.in_grace {
        lines.push("it is in its grace period: a new license is to be asked for (R-013)".to_owned());
    }
    if let Some(end) = allowed.playback_ends {
        lines.push(format!("what plays stops at {} (R-014)", report::time(end)));
    }
    if let Some(largest) = allowed.largest_frame {
        lines.push(format!(
            "no frame larger than {}x{} may be decoded (R-011)",
            largest.width, largest.height
        ));
    }
    lines
}

/// The outputs and the decisions about them.
fn decided(explained: &Explained) -> impl Iterator<Item = (&Output, &OutputDecision)> {
    explained.outputs.iter().zip(&explained.decisions)
}

/// The same for programs.
fn fields(explained: &Explained) -> Value {
    let seconds = |time: Option<Timestamp>| time.map(|time| time.0);
    let allowed = explained.verdict.as_ref().ok();
    let stop = explained.verdict.as_ref().err();
    let rule = match &explained.verdict {
        Ok(allowed) => allowed.decided_by,
        Err(stop) => stop.rule(),
    };
    let outputs: Vec<_> = decided(explained)
        .map(|(output, decision)| outputs::fields(output, decision))
        .collect();
    let used_up = allowed.is_some() && is_used_up(explained);
    let exchange_keys = Described::all(&explained.body, &explained.uses);
    let exchange_keys: Vec<_> = exchange_keys.iter().map(Described::fields).collect();
    json!({
        "license": explained.body.id.to_string(),
        "kind": inspect::license_kind(explained.body.kind),
        "root": explained.body.leaf_of().map(|root| root.to_string()),
        "root_license": explained.root.as_ref().map(|root| root.id.to_string()),
        "operator": explained.operator.to_string(),
        "allowed": is_allowed(explained),
        "rule": if used_up { "R-052" } else { rule.number() },
        "says": if used_up { USED_UP } else { rule.says() },
        "reason": stop.map(ToString::to_string).or_else(|| used_up.then(|| USED_UP.to_owned())),
        "at": seconds(explained.now),
        "security_level": explained.security_level,
        "usable_here": explained.is_usable_here,
        "first_play": seconds(explained.first_play),
        "until": seconds(allowed.and_then(|allowed| allowed.until)),
        "changes_at": seconds(match &explained.verdict {
            Ok(allowed) => allowed.changes_at,
            Err(stop) => stop.changes_at(),
        }),
        "playback_ends": seconds(allowed.and_then(|allowed| allowed.playback_ends)),
        "in_grace": allowed.is_some_and(|allowed| allowed.in_grace),
        "outputs": outputs,
        "exchange_keys": exchange_keys,
        "ends_with_revocation": ends_with_revocation(explained),
    })
}
