//! `keyward check`: can this be opened?

use keyward_client::{ClientError, enforce::Availability};
use keyward_client_native::NativeError;

use crate::{
    args::CheckArgs,
    client,
    failure::Failure,
    report::{self, Report},
};

pub(crate) fn run(args: CheckArgs, report: Report) -> Result<(), Failure> {
    let content = client::content(&args.content)?;
    let mut client = client::open(args.client)?;
    match client.find(content.kid)? {
        Availability::Ready { license, until } => report.result(
            &format!(
                "key {}: can be opened under license {license}, {}",
                content.kid,
                report::until(until)
            ),
            &serde_json::json!({
                "kid": content.kid.to_string(),
                "license": license.to_string(),
                "until": until.map(|until| until.0),
            }),
        ),
        Availability::Refused(refusal) => Err(NativeError::Client(ClientError::Refused {
            kid: content.kid,
            refusal,
        })
        .into()),
        Availability::Missing => Err(NativeError::Client(ClientError::NoLicense { kid: content.kid }).into()),
    }
}
