//! `keyward enrol`: the device gets its certificate.

use keyward_license::{codec::Wire, operator_profile::OperatorProfile};

use crate::{
    args::EnrolArgs,
    client,
    failure::{Failure, file_error},
    report::{self, Report},
};

pub(crate) fn run(args: EnrolArgs, report: Report) -> Result<(), Failure> {
    let bytes = std::fs::read(&args.profile).map_err(file_error("read", &args.profile))?;
    let profile = OperatorProfile::decode(&bytes).map_err(|error| {
        Failure::new(
            format!("{} is not an operator profile: {error}", args.profile.display()),
            "use the file `operator-profile` that `keyward init` made",
        )
    })?;
    let mut client = client::open(args.client)?;
    let device = client.device_id()?;
    let enrolled = client.enrol(profile, args.token)?;
    report.result(
        &format!(
            "device {device} is enrolled with {} (security level {}), certificate valid until {}",
            enrolled.operator_name,
            enrolled
                .security_level
                .map_or_else(|| "unknown".to_owned(), |level| level.to_string()),
            report::time(enrolled.valid_until),
        ),
        &serde_json::json!({
            "device": device.to_string(),
            "operator": enrolled.operator.to_string(),
            "operator_name": enrolled.operator_name,
            "security_level": enrolled.security_level,
            "valid_until": enrolled.valid_until.0,
        }),
    )
}
