//! `keyward packager …`: the packager's own certificate.

use serde_json::json;

use crate::{
    args::{EnrolPackagerArgs, PackagerCommand},
    commands::enrol,
    failure::Failure,
    packager_dir::{LockedPackager, Network},
    report::{self, Report},
};

pub(crate) fn run(command: PackagerCommand, report: Report) -> Result<(), Failure> {
    match command {
        PackagerCommand::Enrol(args) => enrol(args, report),
    }
}

fn enrol(args: EnrolPackagerArgs, report: Report) -> Result<(), Failure> {
    let profile = enrol::preferring(enrol::read_profile(&args.profile)?, args.server.as_deref())?;
    let network = Network::accepting_test_operators(args.accept_test_operator);
    let enrolled = LockedPackager::open_or_make(&args.packager)?.enrol(profile, args.token, network)?;
    report.result(
        &format!(
            "packager {} is enrolled with {}, certificate valid until {}",
            enrolled.packager,
            enrolled.operator_name,
            report::time(enrolled.valid_until),
        ),
        &json!({
            "packager": enrolled.packager.to_string(),
            "operator": enrolled.operator.to_string(),
            "operator_name": enrolled.operator_name,
            "valid_until": enrolled.valid_until.0,
        }),
    )
}
