//! `keyward check`: can this be opened, or this exchange key be used?

use keyward_client::{
    ClientError,
    enforce::Availability,
    explain::{Circumstances, Explained},
};
use keyward_client_native::{NativeClient, NativeError};
use keyward_license::{
    ids::{Kid, LicenseId},
    license::LicenseKind,
    usage_rules::Action,
};
use serde_json::{Value, json};

use crate::{
    args::CheckArgs,
    client,
    commands::trust,
    failure::Failure,
    protected::{Content, Protected},
    report::{self, Report},
};

/// Says of each key whether it is there. It fails if one is not, with the first reason.
pub(crate) fn run(args: CheckArgs, report: Report) -> Result<(), Failure> {
    let content = client::named(&args.content, Protected::first_content)?.content;
    let mut client = client::open(args.client)?;
    let (mut lines, mut keys, mut missing) = (Vec::new(), Vec::new(), None);
    for kid in &content.kids {
        let found = find(&mut client, *kid, &content)?;
        let (line, fields, error) = told(*kid, &found);
        lines.push(line);
        keys.push(fields);
        missing = missing.or(error);
    }
    // Of a single key the failure says it all.
    if missing.is_none() || keys.len() > 1 {
        report.result(&lines.join("\n"), &json!({ "keys": keys }))?;
    }
    missing.map_or(Ok(()), |missing| {
        Err(trust::explained(&mut client, NativeError::Client(missing)))
    })
}

/// What there is of a key.
struct Found {
    available: Availability,
    verb: &'static str,
    /// Of a leaf license, its root: the key id, and the root's license if it is there.
    root: Option<(Kid, Option<LicenseId>)>,
}

/// Looks in the store, then among the licenses that travel with the content. Keys for key exchange are told by their
/// licenses.
fn find(client: &mut NativeClient, kid: Kid, content: &Content) -> Result<Found, NativeError> {
    let available = match client.find(kid) {
        Err(NativeError::Client(ClientError::NotAContentKey { .. })) => {
            return Ok(Found {
                available: client.find_for(Action::Perform, kid)?,
                verb: "used",
                root: None,
            });
        }
        found => found?,
    };
    let mut explained = client.explain(kid, Circumstances::default())?;
    if !matches!(available, Availability::Ready { .. }) {
        explained.extend(riding(client, kid, content, &Circumstances::default())?);
    }
    let best = explained.into_iter().max_by_key(|found| found.verdict.is_ok());
    let available = match (&available, &best) {
        (Availability::Ready { .. }, _) | (_, None) => available,
        (_, Some(best)) => match &best.verdict {
            Ok(allowed) if best.is_usable_here => Availability::Ready {
                license: best.body.id,
                until: allowed.until,
            },
            _ => available,
        },
    };
    let is_root = best
        .as_ref()
        .is_some_and(|best| best.body.kind == LicenseKind::Root);
    Ok(Found {
        available,
        verb: if is_root {
            "used for its leaf licenses"
        } else {
            "opened"
        },
        root: best.and_then(|best| {
            let root = best.body.leaf_of()?;
            Some((root, best.root.map(|root| root.id)))
        }),
    })
}

/// What the rules say of the licenses for a key that travel with the content.
pub(super) fn riding(
    client: &mut NativeClient,
    kid: Kid,
    content: &Content,
    circumstances: &Circumstances,
) -> Result<Vec<Explained>, NativeError> {
    let mut found = Vec::new();
    for license in &content.licenses {
        let explained = client.explain_license(license.clone(), circumstances.clone())?;
        found.extend(explained.filter(|explained| explained.body.asked_kid() == Ok(kid)));
    }
    Ok(found)
}

/// In words and for programs; and the failure, if the key cannot be had.
fn told(kid: Kid, found: &Found) -> (String, Value, Option<ClientError>) {
    let verb = found.verb;
    match found.available {
        Availability::Ready { license, until } => {
            let under = match &found.root {
                Some((root, Some(above))) => format!(", a leaf of root {root} under license {above}"),
                _ => String::new(),
            };
            let fields = json!({
                "kid": kid.to_string(),
                "license": license.to_string(),
                "root": found.root.map(|(root, _)| root.to_string()),
                "root_license": found.root.and_then(|(_, license)| license).map(|license| license.to_string()),
                "until": until.map(|until| until.0),
            });
            let until = report::until(until);
            let line = format!("key {kid}: can be {verb} under license {license}{under}, {until}");
            (line, fields, None)
        }
        Availability::Refused(refusal) => (
            format!("key {kid}: its license does not permit it: {refusal}"),
            json!({ "kid": kid.to_string(), "refused": refusal.to_string() }),
            Some(ClientError::Refused { kid, refusal }),
        ),
        Availability::Blocked(rule) => (
            format!("key {kid}: no output may carry it: {} ({rule})", rule.says()),
            json!({ "kid": kid.to_string(), "blocked": rule.says(), "rule": rule.number() }),
            Some(ClientError::Blocked { kid, rule }),
        ),
        Availability::UsedUp => (
            format!("key {kid}: every use that its license permits has been made"),
            json!({ "kid": kid.to_string(), "used_up": true }),
            Some(ClientError::UsedUp { kid }),
        ),
        Availability::Missing => match found.root {
            Some((root, None)) => (
                format!("key {kid}: its license is a leaf of root {root}, whose license is not there"),
                json!({ "kid": kid.to_string(), "root": root.to_string() }),
                Some(ClientError::NoRoot { kid, root }),
            ),
            _ => (
                format!("key {kid}: no license"),
                json!({ "kid": kid.to_string() }),
                Some(ClientError::NoLicense { kid }),
            ),
        },
    }
}
