//! `keyward admin service-token …`: who may carry requests, by name.

use serde_json::json;

use crate::{
    args::{OperatorDir, ServiceTokenArgs, ServiceTokenCommand},
    failure::Failure,
    operator::Operator,
    report::{self, Report},
};

pub(crate) fn run(command: &ServiceTokenCommand, report: Report) -> Result<(), Failure> {
    match command {
        ServiceTokenCommand::Add(args) => add(args, report),
        ServiceTokenCommand::List(operator) => list(operator, report),
        ServiceTokenCommand::Revoke(args) => revoke(args, report),
    }
}

fn add(args: &ServiceTokenArgs, report: Report) -> Result<(), Failure> {
    let token = Operator::open(&args.operator)?.add_service_token(&args.name)?;
    report.token(
        &format!("service token {}", args.name),
        token.expose(),
        &json!({ "name": args.name, "token": token.expose() }),
    )
}

fn list(operator: &OperatorDir, report: Report) -> Result<(), Failure> {
    let tokens = Operator::open(operator)?.service_tokens()?;
    let lines: Vec<String> = tokens
        .iter()
        .map(|token| {
            let revoked = token
                .revoked
                .map_or_else(String::new, |at| format!(", revoked {}", report::time(at)));
            format!("{}, made {}{revoked}", token.name, report::time(token.created))
        })
        .collect();
    let listed: Vec<_> = tokens
        .iter()
        .map(|token| {
            json!({
                "name": token.name,
                "created": token.created.0,
                "revoked": token.revoked.map(|at| at.0),
            })
        })
        .collect();
    let text = if lines.is_empty() {
        "there is no service token".to_owned()
    } else {
        lines.join("\n")
    };
    report.result(&text, &json!({ "service_tokens": listed }))
}

fn revoke(args: &ServiceTokenArgs, report: Report) -> Result<(), Failure> {
    Operator::open(&args.operator)?.revoke_service_token(&args.name)?;
    report.result(
        &format!("service token {} is revoked", args.name),
        &json!({ "name": args.name }),
    )
}
