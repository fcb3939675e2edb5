//! `keyward admin acknowledgements`: what became of the licenses of answers.

use keyward_client::error::one_line;
use keyward_license::acknowledgement::AcknowledgedLicense;
use keyward_server::acknowledgements::{MAX_LISTED, Transaction, outcome_name};
use serde_json::{Value, json};

use crate::{
    args::{AcknowledgementState, AcknowledgementsArgs},
    failure::Failure,
    operator::Operator,
    report::{self, Report},
};

pub(super) fn list(args: &AcknowledgementsArgs, report: Report) -> Result<(), Failure> {
    let state = args
        .state
        .map(|state| state == AcknowledgementState::Acknowledged);
    let listed = Operator::open(&args.operator)?.transactions(state)?;
    if u32::try_from(listed.len()).is_ok_and(|count| count >= MAX_LISTED) {
        report.note(&format!("The newest {MAX_LISTED} are listed; there may be more."));
    }
    let mut lines: Vec<_> = listed.iter().flat_map(words).collect();
    if lines.is_empty() {
        lines.push(
            "no answer is to be acknowledged; operator.toml or a policy asks for it: `[acknowledgement] wanted`"
                .to_owned(),
        );
    }
    let fields: Vec<_> = listed.iter().map(fields).collect();
    report.result(&lines.join("\n"), &json!({ "acknowledgements": fields }))
}

fn words(transaction: &Transaction) -> Vec<String> {
    let state = match &transaction.acknowledged {
        None => "not acknowledged".to_owned(),
        Some((at, _)) => format!("acknowledged {}", report::time(*at)),
    };
    let mut lines = vec![format!(
        "transaction {} of device {}, answered {}: {state}",
        transaction.id,
        transaction.device,
        report::time(transaction.answered)
    )];
    let licenses = transaction.acknowledged.iter().flat_map(|(_, licenses)| licenses);
    lines.extend(licenses.map(|license| {
        let reason = license.reason.as_deref();
        let reason = reason.map_or_else(String::new, |reason| format!(": {}", one_line(reason)));
        format!("  key {}: {}{reason}", license.kid, outcome_name(license.outcome))
    }));
    lines
}

fn fields(transaction: &Transaction) -> Value {
    let (at, licenses) = transaction
        .acknowledged
        .as_ref()
        .map(|(at, licenses)| (at.0, licenses))
        .unzip();
    let licenses = licenses.map(|licenses| licenses.iter().map(license_fields).collect::<Vec<_>>());
    json!({
        "transaction": transaction.id.to_string(),
        "device": transaction.device.to_string(),
        "answered": transaction.answered.0,
        "acknowledged": at,
        "licenses": licenses,
    })
}

fn license_fields(license: &AcknowledgedLicense) -> Value {
    json!({
        "kid": license.kid.to_string(),
        "license": license.license.map(|id| id.to_string()),
        "outcome": outcome_name(license.outcome),
        "reason": license.reason,
    })
}
