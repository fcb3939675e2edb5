//! An acknowledgement is taken in five numbered steps.
//!
//! ```text
//!  1 decode        bytes -> opened request        sealed to us? does it open?
//!  2 authenticate  whose signature, which device? enrolled, not revoked, fresh nonce
//!  3 judge         the device's own transaction   its licenses, each once; open, or acknowledged with the same
//!  4 record        committed to the database      step 3 once more; may refuse
//!  5 answer        a receipt, signed and sealed to the request
//! ```
//! It changes nothing but the record: what a client refused was issued all the same, and nothing is given back. The
//! same results again get a receipt again, so that a client whose receipt got lost can ask for it.

use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, Receipt},
    certificate::certified_device,
    codec::{Wire, grease},
    envelope::SealedResponse,
    ids::DeviceId,
    signed::{self, PROTOCOL_VERSION, SignedBody, Verified},
    time::Timestamp,
};

use crate::{
    Error, Refusal, authenticate,
    chance::rng,
    fail_points::{Exchange, Point, Stage, reach},
    operator::Signer,
    refusal::TransactionFault,
    revocation::{self, Trust},
    server::Inner,
    store::{
        Purpose,
        acknowledgement::{Acknowledged, Acknowledging, AcknowledgingRow},
    },
};

/// Answers a sealed acknowledge request with a sealed receipt.
///
/// # Errors
/// V-001 to V-005, V-040 to V-043, V-048; [`Refusal::Failed`], [`Refusal::Busy`].
pub(crate) async fn acknowledge(server: &Inner, bytes: &[u8]) -> Result<(DeviceId, Vec<u8>), Refusal> {
    let now = server.clock.now();
    revocation::judged(server, now, |trust| async move {
        acknowledge_by(server, &trust, bytes, now).await
    })
    .await
}

async fn acknowledge_by(
    server: &Inner,
    trust: &Trust,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(DeviceId, Vec<u8>), Refusal> {
    let identity = server.identity();
    let signer = identity.signs(Purpose::Receipt).ok_or(Refusal::NoReceipts)?;

    // 1. Decode: the envelope is ours and opens.
    let opened = authenticate::open::<AcknowledgeRequest>(&identity, bytes, now)?;

    // 2. Authenticate: signature and chain, then the device's row.
    let request = authenticate::verify_acknowledgement(&identity, trust, &opened, now)?;
    let asked = acknowledging(&request, trust, now)?;
    let found = server
        .store
        .acknowledging(asked.device, asked.nonce, asked.transaction);
    let found = found.await?;
    let is_repeat = found.as_ref().is_some_and(|row| row.used == Some(asked.request));
    if !server.rates.devices.admit((asked.device, is_repeat)) {
        return Err(Refusal::RateLimited("the device asks too often"));
    }

    // 3. Judge: here it saves the work.
    judge(found.as_ref(), &asked)?;

    // 4. Record: nothing is signed that does not stand in the database.
    let device = asked.device;
    let recorded = server.store.record_acknowledgement(asked, now).await?;
    reach(Point::Answer(Exchange::Acknowledgement, Stage::Recorded));

    // 5. Answer: a receipt for what is recorded.
    if recorded.into_inner() == Acknowledged::First {
        for license in &request.body().licenses {
            server.metrics.acknowledged(license.outcome);
        }
    }
    let receipt = receipt(signer, &request, now)?;
    reach(Point::Answer(Exchange::Acknowledgement, Stage::Signed));
    tracing::info!(%device, transaction = %request.body().transaction, "acknowledged");
    Ok((device, receipt))
}

/// What is asked, in one form for each set of results.
fn acknowledging(
    request: &Verified<AcknowledgeRequest>,
    trust: &Trust,
    now: Timestamp,
) -> Result<Acknowledging, Refusal> {
    let signer = request.signer().ok_or(Refusal::DeviceUnknown)?;
    // V-047
    if trust.names_model(signer, now)? {
        return Err(Refusal::DeviceRevoked);
    }
    let body = request.body();
    let mut licenses: Vec<AcknowledgedLicense> = body.licenses.clone();
    licenses.sort_by_key(|license| license.kid);
    Ok(Acknowledging {
        device: certified_device(signer),
        nonce: body.nonce,
        request: request.digest(),
        transaction: body.transaction,
        licenses: licenses
            .iter()
            .map(|license| (license.kid, license.license))
            .collect(),
        results: licenses.encode(),
        generation: trust.generation,
    })
}

/// V-042, V-043, V-048: whether the acknowledgement may be recorded, or was.
pub(crate) fn judge(row: Option<&AcknowledgingRow>, asked: &Acknowledging) -> Result<Acknowledged, Refusal> {
    // V-042
    let row = row.ok_or(Refusal::DeviceUnknown)?;
    if row.generation != asked.generation {
        return Err(Refusal::ListsChanged);
    }
    if row.revoked {
        return Err(Refusal::DeviceRevoked);
    }
    // V-043
    if row.used.is_some_and(|used| used != asked.request) {
        return Err(Refusal::NonceReused);
    }
    // V-048
    let transaction = row.transaction.as_ref().ok_or(TransactionFault::Unknown)?;
    let named = asked.licenses.iter().zip(&transaction.licenses);
    let mut named = named.map(|((kid, license), (of, id))| kid == of && license.is_none_or(|one| one == *id));
    if asked.licenses.len() != transaction.licenses.len() || !named.all(|is_same| is_same) {
        return Err(TransactionFault::OtherLicenses.into());
    }
    match &transaction.results {
        None => Ok(Acknowledged::First),
        Some(results) if *results == asked.results => Ok(Acknowledged::Again),
        Some(_) => Err(TransactionFault::OtherResults.into()),
    }
}

fn receipt(
    signer: &Signer,
    request: &Verified<AcknowledgeRequest>,
    now: Timestamp,
) -> Result<Vec<u8>, Error> {
    let body = request.body();
    let receipt = Receipt {
        version: PROTOCOL_VERSION,
        request: request.digest(),
        nonce: body.nonce,
        transaction: body.transaction,
        server_time: now,
    };
    let rng = &mut rng();
    let receipt = grease(&receipt.encode(), rng)?;
    let signed =
        signed::sign::<Receipt>(&receipt, &[], &signer.chain, &*signer.key).map_err(Error::Making)?;
    let sealed = SealedResponse::seal(
        Receipt::CONTEXT,
        &body.response_key,
        &request.digest(),
        &signed,
        rng,
    );
    Ok(sealed.map_err(Error::Making)?.encode())
}

#[cfg(test)]
mod tests {
    use keyward_license::ids::{DeviceId, Digest, Kid, LicenseId, Nonce, TransactionId};

    use super::*;
    use crate::store::acknowledgement::TransactionRow;

    fn row(results: Option<&[u8]>) -> AcknowledgingRow {
        let license = |byte| (Kid::new([byte; 16]), LicenseId::new([byte; 16]));
        AcknowledgingRow {
            revoked: false,
            used: None,
            transaction: Some(TransactionRow {
                licenses: vec![license(1), license(2)],
                results: results.map(<[u8]>::to_vec),
            }),
            generation: 7,
        }
    }

    fn asked() -> Acknowledging {
        let license = |byte| (Kid::new([byte; 16]), Some(LicenseId::new([byte; 16])));
        Acknowledging {
            device: DeviceId::new([1; 32]),
            nonce: Nonce::new([2; 16]),
            request: Digest::new([3; 32]),
            transaction: TransactionId::new([4; 16]),
            licenses: vec![license(1), license(2)],
            results: b"results".to_vec(),
            generation: 7,
        }
    }

    fn refused(row: Option<&AcknowledgingRow>, asked: &Acknowledging) -> u64 {
        judge(row, asked).unwrap_err().code().number()
    }

    #[test]
    fn v_048_a_transaction_is_acknowledged_once_and_with_the_same_results_again() {
        assert_eq!(judge(Some(&row(None)), &asked()).unwrap(), Acknowledged::First);
        let again = row(Some(b"results"));
        assert_eq!(judge(Some(&again), &asked()).unwrap(), Acknowledged::Again);
        assert_eq!(refused(Some(&row(Some(b"others"))), &asked()), 209);
        let none = AcknowledgingRow {
            transaction: None,
            ..row(None)
        };
        assert_eq!(refused(Some(&none), &asked()), 209);
    }

    #[test]
    fn v_048_the_results_are_of_the_licenses_of_the_answer() {
        type Edit = fn(&mut Acknowledging);
        let edits: [(Edit, bool); 5] = [
            (|asked| asked.licenses[0].1 = None, true),
            (|asked| asked.licenses[0].1 = Some(LicenseId::new([2; 16])), false),
            (|asked| asked.licenses[0].0 = Kid::new([0; 16]), false),
            (|asked| asked.licenses.truncate(1), false),
            (|asked| asked.licenses.push((Kid::new([3; 16]), None)), false),
        ];
        for (edit, good) in edits {
            let mut asked = asked();
            edit(&mut asked);
            assert_eq!(
                judge(Some(&row(None)), &asked).is_ok(),
                good,
                "{:?}",
                asked.licenses
            );
        }
    }

    #[test]
    fn v_042_v_043_the_device_and_its_nonce_are_judged_first() {
        assert_eq!(refused(None, &asked()), 203);
        let revoked = AcknowledgingRow {
            revoked: true,
            ..row(None)
        };
        assert_eq!(refused(Some(&revoked), &asked()), 204);
        for (used, code) in [(Digest::new([3; 32]), None), (Digest::new([9; 32]), Some(205))] {
            let row = AcknowledgingRow {
                used: Some(used),
                ..row(Some(b"results"))
            };
            let judged = judge(Some(&row), &asked());
            assert_eq!(judged.err().map(|refusal| refusal.code().number()), code);
        }
        let other = AcknowledgingRow {
            generation: 8,
            ..row(None)
        };
        assert!(matches!(
            judge(Some(&other), &asked()),
            Err(Refusal::ListsChanged)
        ));
    }
}
