//! `keyward check`: can this be opened, or this exchange key be used?

use keyward_client::{ClientError, enforce::Availability};
use keyward_client_native::{NativeClient, NativeError};
use keyward_license::{ids::Kid, usage_rules::Action};
use serde_json::json;

use crate::{
    args::CheckArgs,
    client,
    failure::Failure,
    report::{self, Report},
};

/// Says of each key whether it is there. It fails if one is not, with the first reason.
pub(crate) fn run(args: CheckArgs, report: Report) -> Result<(), Failure> {
    let content = client::content(&args.content)?;
    let mut client = client::open(args.client)?;
    let (mut lines, mut keys, mut missing) = (Vec::new(), Vec::new(), None);
    for kid in content.kids {
        let (available, verb) = find(&mut client, kid)?;
        match available {
            Availability::Ready { license, until } => {
                lines.push(format!(
                    "key {kid}: can be {verb} under license {license}, {}",
                    report::until(until)
                ));
                keys.push(json!({
                    "kid": kid.to_string(),
                    "license": license.to_string(),
                    "until": until.map(|until| until.0),
                }));
            }
            Availability::Refused(refusal) => {
                lines.push(format!("key {kid}: its license does not permit it: {refusal}"));
                keys.push(json!({ "kid": kid.to_string(), "refused": refusal.to_string() }));
                missing.get_or_insert(ClientError::Refused { kid, refusal });
            }
            Availability::Blocked(rule) => {
                lines.push(format!(
                    "key {kid}: no output may carry it: {} ({rule})",
                    rule.says()
                ));
                keys.push(json!({ "kid": kid.to_string(), "blocked": rule.says(), "rule": rule.number() }));
                missing.get_or_insert(ClientError::Blocked { kid, rule });
            }
            Availability::UsedUp => {
                lines.push(format!(
                    "key {kid}: every use that its license permits has been made"
                ));
                keys.push(json!({ "kid": kid.to_string(), "used_up": true }));
                missing.get_or_insert(ClientError::UsedUp { kid });
            }
            Availability::Missing => {
                lines.push(format!("key {kid}: no license"));
                keys.push(json!({ "kid": kid.to_string() }));
                missing.get_or_insert(ClientError::NoLicense { kid });
            }
        }
    }
    // Of a single key the failure says it all.
    if missing.is_none() || keys.len() > 1 {
        report.result(&lines.join("\n"), &json!({ "keys": keys }))?;
    }
    missing.map_or(Ok(()), |missing| Err(NativeError::Client(missing).into()))
}

/// What there is of a key, and what is done with it. Keys for key exchange are told by their licenses.
fn find(client: &mut NativeClient, kid: Kid) -> Result<(Availability, &'static str), NativeError> {
    match client.find(kid) {
        Err(NativeError::Client(ClientError::NotAContentKey { .. })) => {
            Ok((client.find_for(Action::Perform, kid)?, "used"))
        }
        found => Ok((found?, "opened")),
    }
}
