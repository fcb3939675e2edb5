//! `keyward admin key-exchange token …`: who may have operations performed over HTTP.

use keyward_license::ids::Kid;
use keyward_server::key_exchange::ExchangeToken;
use serde_json::json;

use crate::{
    args::{AddExchangeTokenArgs, ExchangeTokenCommand, OperatorDir, RevokeExchangeTokenArgs},
    failure::Failure,
    operator::Operator,
    report::{self, Report},
};

pub(super) fn run(command: ExchangeTokenCommand, report: Report) -> Result<(), Failure> {
    match command {
        ExchangeTokenCommand::Add(args) => add(args, report),
        ExchangeTokenCommand::List(operator) => list(&operator, report),
        ExchangeTokenCommand::Revoke(args) => revoke(&args, report),
    }
}

fn add(args: AddExchangeTokenArgs, report: Report) -> Result<(), Failure> {
    let kids = (!args.all_keys).then_some(args.keys);
    let keys = kids.as_deref().map(texts);
    let token = Operator::open(&args.operator)?.add_exchange_token(&args.name, kids)?;
    report.token(
        &format!("exchange token {}", args.name),
        token.expose(),
        &json!({ "name": args.name, "keys": keys, "token": token.expose() }),
    )
}

fn list(operator: &OperatorDir, report: Report) -> Result<(), Failure> {
    let tokens = Operator::open(operator)?.exchange_tokens()?;
    let line = |token: &ExchangeToken| {
        let keys = match &token.kids {
            None => "every exchange key".to_owned(),
            Some(kids) => texts(kids).join(" "),
        };
        let revoked = token
            .revoked
            .map_or_else(String::new, |at| format!(", revoked {}", report::time(at)));
        format!(
            "{}, made {}{revoked}: {keys}",
            token.name,
            report::time(token.created)
        )
    };
    let listed: Vec<_> = tokens
        .iter()
        .map(|token| {
            json!({
                "name": token.name,
                "keys": token.kids.as_deref().map(texts),
                "created": token.created.0,
                "revoked": token.revoked.map(|at| at.0),
            })
        })
        .collect();
    let text = if tokens.is_empty() {
        "there is no exchange token".to_owned()
    } else {
        tokens.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    report.result(&text, &json!({ "exchange_tokens": listed }))
}

fn revoke(args: &RevokeExchangeTokenArgs, report: Report) -> Result<(), Failure> {
    Operator::open(&args.operator)?.revoke_exchange_token(&args.name)?;
    report.result(
        &format!("exchange token {} is revoked", args.name),
        &json!({ "name": args.name }),
    )
}

fn texts(kids: &[Kid]) -> Vec<String> {
    kids.iter().map(ToString::to_string).collect()
}
