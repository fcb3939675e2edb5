//! A device that is revoked gets a denial for each key id, signed and recorded as any answer, and the lists that say so.
//! Nothing is issued to it, and nothing that was issued before is signed again.

use keyward_license::{error_code::ErrorCode, time::Timestamp};

use super::{Issued, Told, lists, sign};
use crate::{
    Refusal,
    authenticate::Authenticated,
    entitle::denial,
    fail_points::{Exchange, Point, Stage, reach},
    operator::Identity,
    revocation::Trust,
    server::Inner,
    store::{Basis, PreparedAnswer, PreparedOutcome, PreparedResult, Recording, roots::ChainBasis},
};

/// V-041, V-042, V-047: the answer to a device that is revoked.
///
/// # Errors
/// V-043; [`Refusal::ListsChanged`] if it is not revoked any more; [`Refusal::Failed`].
pub(super) async fn answer(
    server: &Inner,
    (identity, trust): (&Identity, &Trust),
    asked: &Authenticated,
    now: Timestamp,
) -> Result<Issued, Refusal> {
    let denied = server
        .config
        .denials
        .tell(denial(ErrorCode::DeviceRevoked, "the device was revoked"));
    let results = asked.rights.iter().map(|(kid, _)| PreparedResult {
        kid: *kid,
        outcome: PreparedOutcome::Denied(denied.clone()),
    });
    let body = asked.request.body();
    let answer = PreparedAnswer {
        device: asked.device,
        nonce: body.nonce,
        request: asked.request.digest(),
        server_time: now,
        results: results.collect(),
        custom_data: None,
        renew_at: None,
        transaction: None,
    };
    let recording = Recording {
        answer,
        store: body.store.clone(),
        basis: Basis {
            account: asked.account,
            security_level: asked.enrolled_level,
            grants: Vec::new(),
            once: Vec::new(),
            chains: ChainBasis::default(),
        },
        generation: trust.generation,
        revoked: true,
    };
    let recorded = server.store.record_answer(recording).await?;
    reach(Point::Answer(Exchange::License, Stage::Recorded));
    let signed = sign(identity, recorded, lists(trust, asked))?;
    let answer = signed.seal(&body.response_key)?;
    reach(Point::Answer(Exchange::License, Stage::Signed));
    for code in &signed.denials {
        server.metrics.license_denied(*code);
    }
    let told = Told::of(signed.device, signed.keys);
    Ok(Issued { answer, told })
}
