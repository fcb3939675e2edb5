//! Acknowledgements: which answers ask for one, what is recorded, the receipt.

use crate::common::{Device, KID, NOW, World, ids, pending, seal};
use crate::served_world::Served;
use keyward_crypto::{Secret, hpke::Suite, x509::Role};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, LicenseOutcome, Receipt},
    codec::Wire,
    envelope::SealedResponse,
    error_code::Problem,
    ids::{Digest, Kid, LicenseId, Nonce, TransactionId},
    license::{Flag, KeyType},
    response::LicenseResponse,
    signed::{self, SignedBody, Unverified},
};
use keyward_server::{acknowledgements::Transaction, policy::PolicyTerms};

const OTHER: Kid = Kid::new([0x22; 16]);

/// A world that asks for acknowledgements.
async fn world() -> World {
    let mut world = World::new().await;
    let path = world.dir().join("operator.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let wanted = config.replace("[acknowledgement]\n", "[acknowledgement]\nwanted = true\n");
    assert_ne!(wanted, config);
    std::fs::write(&path, wanted).unwrap();
    world.reopen().await;
    world.server.register_key(OTHER, KeyType::File, 1).await.unwrap();
    world
}

async fn ask(world: &World, device: &mut Device, announces: bool, kids: &[Kid]) -> LicenseResponse {
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, kids);
    body.capabilities.acknowledges = announces.then_some(Flag);
    device.ask(world, &body).await.unwrap()
}

fn license(kid: Kid, license: LicenseId) -> AcknowledgedLicense {
    AcknowledgedLicense {
        kid,
        license: Some(license),
        outcome: LicenseOutcome::Stored,
        reason: None,
    }
}

/// An acknowledgement of both licenses of a response.
async fn acknowledgement(
    world: &World,
    device: &mut Device,
    response: &LicenseResponse,
) -> AcknowledgeRequest {
    let licenses = response
        .results
        .iter()
        .map(|result| result.kid)
        .zip(ids(world, response));
    AcknowledgeRequest {
        version: 1,
        recipient: world.recipient().await.digest,
        nonce: Nonce::random(&mut device.rng),
        response_key: Secret::random(&mut device.rng),
        transaction: response.transaction.unwrap(),
        licenses: licenses.map(|(kid, id)| license(kid, id)).collect(),
    }
}

async fn send(world: &World, device: &mut Device, body: &AcknowledgeRequest) -> Result<Receipt, Problem> {
    let recipient = world.recipient().await;
    let message =
        signed::sign::<AcknowledgeRequest>(&body.encode(), &[], &device.chain, &device.signing).unwrap();
    let sealed = seal::<AcknowledgeRequest>(&recipient, Suite::XWing, &message, &mut device.rng);
    let answer = world.server.acknowledge(&sealed).await?;
    Ok(open(world, body, &answer))
}

fn open(world: &World, body: &AcknowledgeRequest, answer: &[u8]) -> Receipt {
    let digest = Digest::new(keyward_crypto::kdf::sha256(&[&body.encode()]));
    let opened = SealedResponse::decode(answer)
        .unwrap()
        .open(Receipt::CONTEXT, &body.response_key, &digest)
        .unwrap();
    let receipt = Unverified::<Receipt>::parse(opened.expose())
        .unwrap()
        .verify(&world.anchor(), Role::Receipt, |receipt| {
            vec![receipt.server_time]
        })
        .unwrap()
        .into_body();
    assert_eq!((receipt.request, receipt.nonce), (digest, body.nonce));
    assert_eq!(receipt.transaction, body.transaction);
    receipt
}

async fn refused(world: &World, device: &mut Device, body: &AcknowledgeRequest) -> u64 {
    send(world, device, body).await.unwrap_err().code
}

#[tokio::test]
async fn an_answer_asks_for_an_acknowledgement_if_it_brings_a_license_to_a_client_that_can() {
    let world = world().await;
    let mut device = world.device(1).await;
    assert!(ask(&world, &mut device, true, &[KID]).await.transaction.is_some());
    assert_eq!(ask(&world, &mut device, false, &[KID]).await.transaction, None);
    let unknown = Kid::new([0x99; 16]);
    assert_eq!(ask(&world, &mut device, true, &[unknown]).await.transaction, None);
    assert!(
        ask(&world, &mut device, true, &[unknown, KID])
            .await
            .transaction
            .is_some()
    );
    assert_eq!(world.count("SELECT count(*) FROM transactions").await, 2);
}

#[tokio::test]
async fn a_policy_can_ask_for_an_acknowledgement_by_itself() {
    let world = World::new().await;
    let mut device = world.device(2).await;
    assert_eq!(ask(&world, &mut device, true, &[KID]).await.transaction, None);
    let terms = PolicyTerms {
        acknowledge: true,
        ..PolicyTerms::DEFAULT
    };
    world.server.create_policy("default", terms).await.unwrap();
    assert!(ask(&world, &mut device, true, &[KID]).await.transaction.is_some());
}

/// The transaction is part of what is recorded: the same request again is answered with the same one.
#[tokio::test]
async fn a_repeated_answer_has_the_same_transaction() {
    let mut world = world().await;
    let mut device = world.device(3).await;
    let recipient = world.recipient().await;
    let mut body = device.request(&recipient, &[KID]);
    body.capabilities.acknowledges = Some(Flag);
    let first = device.ask(&world, &body).await.unwrap();
    world.reopen().await;
    let again = device.ask(&world, &body).await.unwrap();
    assert_eq!(again.transaction, first.transaction);
    assert_eq!(ids(&world, &again), ids(&world, &first));
}

#[tokio::test]
async fn v_048_an_acknowledgement_is_recorded_once_and_its_receipt_given_again() {
    let mut world = world().await;
    let mut device = world.device(4).await;
    let response = ask(&world, &mut device, true, &[KID, OTHER]).await;
    let open = world.server.transactions(Some(false)).await.unwrap();
    assert_eq!((open.len(), &open[0].acknowledged), (1, &None));
    let mut body = acknowledgement(&world, &mut device, &response).await;
    body.licenses[1].outcome = LicenseOutcome::Refused;
    body.licenses[1].reason = Some("V-029".into());
    assert_eq!(send(&world, &mut device, &body).await.unwrap().server_time, NOW);
    let expected = Transaction {
        id: response.transaction.unwrap(),
        device: device.id(),
        answered: NOW,
        acknowledged: Some((NOW, body.licenses.clone())),
    };
    assert_eq!(world.server.transactions(Some(true)).await.unwrap(), [expected]);
    assert_eq!(world.server.transactions(Some(false)).await.unwrap(), []);

    // The same request, and the same results in another order and request, whenever they come.
    world.reopen().await;
    world.clock.advance(60);
    send(&world, &mut device, &body).await.unwrap();
    let nonce = body.nonce;
    body.nonce = Nonce::random(&mut device.rng);
    body.licenses.reverse();
    send(&world, &mut device, &body).await.unwrap();
    assert_eq!(world.server.transactions(None).await.unwrap().len(), 1);

    // Other results are refused, and so is another request with the nonce.
    body.licenses[0].outcome = LicenseOutcome::Stored;
    body.licenses[0].reason = None;
    assert_eq!(refused(&world, &mut device, &body).await, 209);
    body.nonce = nonce;
    assert_eq!(refused(&world, &mut device, &body).await, 205);
    let recorded = &world.server.transactions(None).await.unwrap()[0];
    assert_eq!(
        recorded.acknowledged.as_ref().unwrap().1[1].outcome,
        LicenseOutcome::Refused
    );
}

#[tokio::test]
async fn v_048_a_transaction_is_its_devices_and_its_licenses_are_named_each_once() {
    let world = world().await;
    let (mut device, mut other) = (world.device(5).await, world.device(6).await);
    let response = ask(&world, &mut device, true, &[KID, OTHER]).await;
    let body = acknowledgement(&world, &mut device, &response).await;
    assert_eq!(refused(&world, &mut other, &body).await, 209);
    type Edit = fn(&mut AcknowledgeRequest);
    let edits: [Edit; 4] = [
        |body| body.transaction = TransactionId::new([9; 16]),
        |body| body.licenses.truncate(1),
        |body| body.licenses[0].license = body.licenses[1].license,
        |body| {
            body.licenses
                .push(license(Kid::new([9; 16]), LicenseId::new([9; 16])))
        },
    ];
    for edit in edits {
        let mut body = acknowledgement(&world, &mut device, &response).await;
        edit(&mut body);
        assert_eq!(refused(&world, &mut device, &body).await, 209);
    }
    assert_eq!(world.server.transactions(Some(true)).await.unwrap(), []);
    // A license that could not be read has no id.
    let mut body = body;
    body.licenses[0] = AcknowledgedLicense {
        license: None,
        outcome: LicenseOutcome::Refused,
        ..body.licenses[0].clone()
    };
    send(&world, &mut device, &body).await.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_is_judged_as_any_message() {
    let world = world().await;
    let mut device = world.device(7).await;
    let response = ask(&world, &mut device, true, &[KID]).await;
    assert_eq!(world.server.acknowledge(b"nothing").await.unwrap_err().code, 101);
    let mut body = acknowledgement(&world, &mut device, &response).await;
    body.recipient = Digest::new([9; 32]);
    assert_eq!(refused(&world, &mut device, &body).await, 103);
    let mut body = acknowledgement(&world, &mut device, &response).await;
    body.licenses.clear();
    assert_eq!(refused(&world, &mut device, &body).await, 101);
    let body = acknowledgement(&world, &mut device, &response).await;
    let signing = core::mem::replace(&mut device.signing, Device::new(8, &Suite::ALL).signing);
    assert_eq!(refused(&world, &mut device, &body).await, 201);
    device.signing = signing;
    // V-041, V-042, V-047: there is nothing to sign a denial in.
    let serial = device.certificate().serial().to_vec();
    world
        .server
        .revoke_certificate(&serial, None, None)
        .await
        .unwrap();
    assert_eq!(refused(&world, &mut device, &body).await, 204);
    world.server.restore_certificate(&serial).await.unwrap();
    send(&world, &mut device, &body).await.unwrap();
    world.server.revoke_device(device.id()).await.unwrap();
    assert_eq!(refused(&world, &mut device, &body).await, 204);
}

/// A license request is no acknowledgement, nor the other way round.
#[tokio::test]
async fn v_002_one_exchange_is_not_the_other() {
    let world = world().await;
    let mut device = world.device(9).await;
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID]);
    let sealed = device.seal(&recipient, Suite::P256, &body);
    assert_eq!(world.server.acknowledge(&sealed).await.unwrap_err().code, 104);
    assert!(!pending(&body).digest.as_bytes().is_empty());
}

/// Operators of earlier versions get a signer of receipts when they are opened.
#[tokio::test]
async fn an_operator_without_a_signer_of_receipts_gets_one() {
    let mut world = world().await;
    world.server.close().await;
    world
        .sql("DELETE FROM secrets WHERE name IN ('receipt', 'revocation-list')")
        .await;
    world
        .sql("DELETE FROM certificates WHERE purpose IN ('receipt', 'revocation-list')")
        .await;
    world.reopen().await;
    let mut device = world.device(10).await;
    let response = ask(&world, &mut device, true, &[KID]).await;
    let body = acknowledgement(&world, &mut device, &response).await;
    send(&world, &mut device, &body).await.unwrap();
    assert_eq!(
        world
            .count("SELECT count(*) FROM secrets WHERE name = 'receipt'")
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_are_listed_over_http() {
    let served = Served::new().await;
    let world = &served.world;
    let terms = serde_json::json!({
        "persistent_allowed": true, "minimum_security_level": 2000, "acknowledge": true, "on_revocation": "stop",
    });
    let policy = serde_json::json!({"name": "default", "terms": terms});
    assert_eq!(served.post("/policies", policy).await.0, 201);
    assert_eq!(served.get("/policies").await.1[0]["terms"], terms);
    let mut device = world.device(11).await;
    let response = ask(world, &mut device, true, &[KID]).await;
    assert!(
        device
            .open(world, &response.results[0])
            .0
            .body()
            .ends_with_revocation
            .is_some()
    );
    let (status, open) = served.get("/acknowledgements?state=open").await;
    assert_eq!((status, open.as_array().unwrap().len()), (200, 1));
    assert!(open[0]["licenses"].is_null());
    let body = acknowledgement(world, &mut device, &response).await;
    send(world, &mut device, &body).await.unwrap();
    let (_, listed) = served.get("/acknowledgements?state=acknowledged").await;
    let expected = serde_json::json!([{
        "transaction": response.transaction.unwrap().to_string(),
        "device": device.id().to_string(),
        "answered": NOW.0,
        "acknowledged": NOW.0,
        "licenses": [{
            "kid": KID.to_string(),
            "license": ids(world, &response)[0].to_string(),
            "outcome": "stored",
            "reason": null,
        }],
    }]);
    assert_eq!(listed, expected);
    assert_eq!(served.get("/acknowledgements").await.1, expected);
    assert_eq!(served.get("/acknowledgements?state=lost").await.0, 400);
    let counted = world.server.metrics().await.unwrap();
    assert!(
        counted.contains("keyward_acknowledged_licenses_total{outcome=\"stored\"} 1\n"),
        "{counted}"
    );
    served.close().await;
}
