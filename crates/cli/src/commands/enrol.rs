//! `keyward enrol`: the device gets its certificate, over the network or by files.

use std::path::Path;

use keyward_client::enrol::Enrolled;
use keyward_license::{codec::Wire, ids::DeviceId, operator_profile::OperatorProfile};

use crate::{
    args::EnrolArgs,
    client,
    commands::carry::CarriedFile,
    failure::Failure,
    input,
    report::{self, Report},
};

pub(crate) fn run(args: EnrolArgs, report: Report) -> Result<(), Failure> {
    let profile = preferring(read_profile(&args.profile)?, args.server.as_deref())?;
    match (&args.request, &args.discovery) {
        (Some(request), Some(discovery)) => {
            let discovery = input::read(discovery)?;
            let request = CarriedFile::create(request, args.force)?;
            let mut client = client::open(args.client)?;
            client.host_mut().accept_test_operators = args.accept_test_operator;
            let bytes = client.request_enrolment(profile, args.token, discovery)?;
            request.write(("request", "enrolment request"), &bytes, report)
        }
        _ => {
            let mut client = client::open(args.client)?;
            client.host_mut().accept_test_operators = args.accept_test_operator;
            let device = client.device_id()?;
            let enrolled = client.enrol(profile, args.token)?;
            tell(device, &enrolled, report)
        }
    }
}

/// Prints what enrolment gave.
pub(super) fn tell(device: DeviceId, enrolled: &Enrolled, report: Report) -> Result<(), Failure> {
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

/// The operator profile in a file.
pub(super) fn read_profile(path: &Path) -> Result<OperatorProfile, Failure> {
    let bytes = input::read(path)?;
    OperatorProfile::decode(&bytes).map_err(|error| {
        Failure::new(
            format!("{} is not an operator profile: {error}", path.display()),
            "use the file `operator-profile` that `keyward init` made",
        )
    })
}

/// The profile with the license server of this URL in front.
pub(crate) fn preferring(
    mut profile: OperatorProfile,
    server: Option<&str>,
) -> Result<OperatorProfile, Failure> {
    let Some(url) = server else { return Ok(profile) };
    profile.prefer(url).map_err(|why| {
        Failure::new(
            format!("the license server URL {url} is refused: {why}"),
            format!("name one of the profile: {}", profile.license_servers.join(", ")),
        )
    })?;
    Ok(profile)
}
