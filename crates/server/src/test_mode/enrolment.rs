//! Open enrolment: one token that enrols any number of devices, and packagers.

use keyward_crypto::kdf::sha256;
use keyward_license::{
    certificate::SECURITY_LEVEL_TEST,
    codec::Wire,
    enrolment::EnrolmentRequest,
    ids::{DeviceId, Digest},
    time::Timestamp,
};

use crate::{
    Error,
    operator::Identity,
    server::Inner,
    store::{DeviceProfile, sqlite::NewToken},
};

/// The token that a test operator takes from everybody.
pub(crate) const TOKEN: &str = "test";
/// The account of all who enrol with it.
const ACCOUNT: &str = "test";
/// Maker and model of them.
const WHO: &str = "test";
const DAY: u64 = 86_400;

/// The token of its own that a device uses by saying [`TOKEN`] to a test operator. It is made on the first occasion;
/// the same device with the same keys has the same one for the rest of the day, so that it gets its certificate again.
pub(crate) async fn token(
    server: &Inner,
    identity: &Identity,
    (request, device): (&EnrolmentRequest, &DeviceId),
    now: Timestamp,
) -> Result<Option<Digest>, Error> {
    if request.token != TOKEN || !identity.anchor.is_test() {
        return Ok(None);
    }
    let hash = Digest::new(sha256(&[
        b"keyward test enrolment",
        device.as_bytes(),
        &[request.role.role().number()],
        &(now.0 / DAY).to_be_bytes(),
        &request.sealing_keys.encode(),
    ]));
    if server.store.enrolment_token(&hash).await?.is_some() {
        return Ok(Some(hash));
    }
    let token = NewToken {
        hash,
        account: ACCOUNT.to_owned(),
        role: request.role,
        profile: DeviceProfile {
            security_level: SECURITY_LEVEL_TEST,
            maker: WHO.to_owned(),
            model: WHO.to_owned(),
            robustness_version: None,
        },
        expires: now.plus(DAY.saturating_mul(2)),
    };
    match server.store.add_enrolment_token(token, now).await {
        // Somebody else made it meanwhile.
        Err(error) if server.store.enrolment_token(&hash).await?.is_none() => Err(error),
        _ => Ok(Some(hash)),
    }
}
