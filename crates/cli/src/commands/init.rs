//! `keyward init`: makes an operator.

use keyward_server::operator::InitOptions;
use serde_json::json;

use crate::{
    args::InitArgs,
    failure::Failure,
    operator::{self, Operator},
    report::Report,
};

pub(crate) fn run(args: InitArgs, report: Report) -> Result<(), Failure> {
    let options = InitOptions {
        name: args.name,
        public_url: args.public_url,
        listen: args.listen,
        admin_listen: args.admin_listen,
        kek: operator::kek(None)?,
    };
    let made = Operator::init(&args.dir, options)?;
    let dir = args.dir.display();
    report.note(&format!(
        "Keep safe, apart from one another: {dir}/kek (seals every secret of the operator) and\n\
         {dir}/root-key.sealed (needed only to make new authorities; move it to another place).\n\
         Give {dir}/operator-profile to the devices. Start with: keyward serve --operator {dir}"
    ));
    report.result_shown_once(
        &format!(
            "operator {} in {dir}\nadmin token (shown once): {}",
            made.operator,
            made.admin_token.expose()
        ),
        &json!({
            "operator": made.operator.to_string(),
            "dir": made.dir.display().to_string(),
            "admin_token": made.admin_token.expose(),
        }),
    )
}
