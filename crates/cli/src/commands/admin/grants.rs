//! `keyward admin grant`, `grants` and `end-grant`: who may have which keys.

use keyward_license::ids::Kid;
use keyward_server::admin::Entitlement;
use serde_json::json;

use crate::{
    args::{EndGrantArgs, GrantArgs, GrantsArgs},
    failure::Failure,
    operator::Operator,
    report::{self, Report},
};

pub(super) fn grant(args: &GrantArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.operator)?;
    let root = args.root.as_deref().map(|named| operator.root_named(named));
    let kid = root.transpose()?.or(args.kid);
    let entitlement = operator.grant(&args.account, kid, &args.policy, args.expires)?;
    let what = match (&args.root, kid) {
        (Some(named), _) => format!("what is under root {}", report::quoted(named)),
        (None, Some(kid)) => format!("key {kid}"),
        (None, None) => "every key".to_owned(),
    };
    let end = args
        .expires
        .map_or_else(String::new, |end| format!(", {}", report::until(Some(end))));
    report.result(
        &format!(
            "entitlement {entitlement}: {} may have {what} under policy {}{end}",
            args.account, args.policy
        ),
        &json!({
            "entitlement": entitlement,
            "account": args.account,
            "kid": kid.map(|kid| kid.to_string()),
            "policy": args.policy,
            "expires": args.expires.map(|expires| expires.0),
        }),
    )
}

pub(super) fn list(args: &GrantsArgs, report: Report) -> Result<(), Failure> {
    let operator = Operator::open(&args.operator)?;
    let entitlements = operator.entitlements(&args.account)?;
    let roots = operator.roots()?;
    let root_of = |kid: Kid| roots.iter().find(|root| root.kid == kid);
    let line = |entitlement: &Entitlement| {
        let what = match entitlement.kid.map(|kid| (kid, root_of(kid))) {
            None => "every key".to_owned(),
            Some((kid, None)) => format!("key {kid}"),
            Some((kid, Some(root))) => format!("root {kid} {}", report::quoted(&root.name)),
        };
        format!(
            "entitlement {}: {what} under policy {}, granted {}, {}",
            entitlement.id,
            entitlement.policy,
            report::time(entitlement.granted),
            report::until(entitlement.expires),
        )
    };
    let lines: Vec<_> = entitlements.iter().map(line).collect();
    let listed: Vec<_> = entitlements
        .iter()
        .map(|entitlement| {
            json!({
                "entitlement": entitlement.id,
                "kid": entitlement.kid.map(|kid| kid.to_string()),
                "root": entitlement.kid.and_then(root_of).map(|root| &root.name),
                "policy": entitlement.policy,
                "granted": entitlement.granted.0,
                "expires": entitlement.expires.map(|expires| expires.0),
            })
        })
        .collect();
    let text = if lines.is_empty() {
        format!("{} may have nothing", args.account)
    } else {
        lines.join("\n")
    };
    report.result(&text, &json!({ "account": args.account, "entitlements": listed }))
}

pub(super) fn end(args: &EndGrantArgs, report: Report) -> Result<(), Failure> {
    Operator::open(&args.operator)?.end_entitlement(args.entitlement)?;
    report.result(
        &format!(
            "entitlement {} has ended; licenses that were issued stay until they end",
            args.entitlement
        ),
        &json!({ "entitlement": args.entitlement }),
    )
}
