//! `keyward init`: makes an operator.

use keyward_server::{operator::InitOptions, sealing::KekSource};
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
    let kek_in_file = matches!(options.kek, KekSource::File);
    let made = match args.test {
        true => Operator::init_test(&args.dir, options)?,
        false => Operator::init(&args.dir, options)?,
    };
    let dir = args.dir.display();
    let kek = match kek_in_file {
        true => format!("{dir}/kek"),
        false => "the key-encryption key in KEYWARD_KEK".to_owned(),
    };
    report.note(&format!(
        "Keep safe, apart from one another: {kek} (seals every secret of the operator) and\n\
         {dir}/root-key.sealed (needed only to make new authorities; move it to another place).\n\
         Give {dir}/operator-profile to the devices. Start with: keyward serve --operator {dir}"
    ));
    if args.test {
        report.note(TEST_OPERATOR);
    }
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

/// What whoever makes or serves a test operator is told.
pub(crate) const TEST_OPERATOR: &str = "This is a test operator: it issues licenses to anybody, under whatever terms a request asks for, and its\n\
license key seed is published. Protect nothing with it. Devices enrol with the token `test` and\n\
`--accept-test-operator`; docs/guides/test-server.md says what requests can ask for.";
