//! Enrolment against a whole server, without HTTP.

use crate::common::{ACCOUNT, Device, KID, NOW, World};
use keyward_crypto::hpke::{KeyPair, Suite};
use keyward_license::{
    certificate::Claims,
    codec::{Bytes, Wire},
    enrolment::EnrolmentRequest,
    ids::DeviceId,
    signed,
};
use keyward_server::admin::TokenRequest;

#[tokio::test]
async fn a_device_gets_what_the_token_says_and_no_more() {
    let world = World::new().await;
    let request = TokenRequest {
        security_level: 3000,
        maker: "Example Works".into(),
        model: "Box 7".into(),
        ..TokenRequest::new(ACCOUNT)
    };
    let mut device = Device::new(1, &[Suite::P256]);
    device
        .enrol(&world, &world.token_for(request).await)
        .await
        .unwrap();
    let certificate = device.certificate();
    let claims = Claims::of(&certificate).unwrap();
    assert_eq!(claims.security_level, Some(3000));
    assert_eq!(
        (claims.maker.as_deref(), claims.model.as_deref()),
        (Some("Example Works"), Some("Box 7"))
    );
    assert_eq!(
        (certificate.not_before(), certificate.not_after()),
        (NOW.0 - 3600, NOW.0 + 730 * 86_400)
    );
    let listed = world.server.devices().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].id, &listed[0].account[..], listed[0].revoked),
        (device.id(), ACCOUNT, None)
    );
}

#[tokio::test]
async fn v_050_a_request_not_signed_by_the_key_it_names_is_refused() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let token = world.token().await;
    let mut device = Device::new(2, &Suite::ALL);
    let stranger = Device::new(3, &Suite::ALL);
    let enrol = async |device: &mut Device, body: &EnrolmentRequest, chain: &[Vec<u8>], signer: &Device| {
        let message = signed::sign::<EnrolmentRequest>(&body.encode(), &[], chain, &signer.signing).unwrap();
        let sealed =
            crate::common::seal::<EnrolmentRequest>(&recipient, Suite::P256, &message, &mut device.rng);
        world.server.enrol(&sealed).await.unwrap_err().code
    };
    let body = device.enrolment(&recipient, &token);
    assert_eq!(enrol(&mut device, &body, &[], &stranger).await, 201);
    let body = EnrolmentRequest {
        public_key: Bytes(vec![1, 2, 3]),
        ..device.enrolment(&recipient, &token)
    };
    assert_eq!(enrol(&mut device, &body, &[], &stranger).await, 402, "not a key");
    let body = device.enrolment(&recipient, &token);
    assert_eq!(
        enrol(&mut device, &body, &[vec![0x30]], &stranger).await,
        101,
        "a chain has no place here"
    );
    // V-040 holds here as well.
    let other = World::seeded(9).await;
    let elsewhere = EnrolmentRequest {
        recipient: other.recipient().await.digest,
        ..device.enrolment(&recipient, &token)
    };
    assert_eq!(
        device
            .send_enrolment(&world, &recipient, &elsewhere)
            .await
            .unwrap_err()
            .code,
        103
    );
    // Nothing of this used the token up.
    assert!(device.enrol(&world, &token).await.is_ok());
}

#[tokio::test]
async fn v_051_a_token_is_for_one_device_and_for_a_time() {
    let world = World::new().await;
    let token = world.token().await;
    let mut device = Device::new(4, &Suite::ALL);
    assert_eq!(device.enrol(&world, "no such token").await.unwrap_err().code, 401);
    device.enrol(&world, &token).await.unwrap();
    let mut other = Device::new(5, &Suite::ALL);
    assert_eq!(
        other.enrol(&world, &token).await.unwrap_err().code,
        401,
        "used by another device"
    );
    let short = TokenRequest {
        expires_in: 60,
        ..TokenRequest::new(ACCOUNT)
    };
    let short = world.token_for(short).await;
    world.clock.advance(60);
    assert_eq!(
        other.enrol(&world, &short).await.unwrap_err().code,
        401,
        "expired"
    );
    assert_eq!(world.server.devices().await.unwrap().len(), 1);
}

#[tokio::test]
async fn v_051_the_same_device_gets_its_certificate_again() {
    let mut world = World::new().await;
    let token = world.token().await;
    let mut device = Device::new(6, &Suite::ALL);
    device.enrol(&world, &token).await.unwrap();
    let first = device.chain.clone();
    device.enrol(&world, &token).await.unwrap();
    assert_eq!(device.chain, first);
    // A crash between record and sign: the same serial number, dates and keys.
    world.reopen().await;
    world.sql("UPDATE device_certificates SET der = NULL").await;
    world.clock.advance(600);
    device.enrol(&world, &token).await.unwrap();
    let (old, new) = (
        keyward_crypto::x509::Certificate::parse(&first[0]).unwrap(),
        device.certificate(),
    );
    assert_eq!(
        (new.not_before(), new.not_after(), new.claims()),
        (old.not_before(), old.not_after(), old.claims())
    );
    // The token does not serve to certify other sealing keys.
    device.sealing = Suite::ALL
        .into_iter()
        .map(|suite| KeyPair::generate(suite, &mut device.rng))
        .collect();
    assert_eq!(device.enrol(&world, &token).await.unwrap_err().code, 401);
}

#[tokio::test]
async fn a_new_token_renews_an_enrolled_device() {
    let world = World::new().await;
    let mut device = world.device(7).await;
    let first = device.certificate();
    world.clock.advance(86_400);
    let token = world.token().await;
    device.enrol(&world, &token).await.unwrap();
    assert_eq!(device.certificate().not_after(), first.not_after() + 86_400);
    assert_eq!(
        world.server.devices().await.unwrap().len(),
        1,
        "it is the same device"
    );
}

#[tokio::test]
async fn a_lower_enrolment_counts_though_the_old_certificate_says_more() {
    let world = World::new().await;
    let mut device = world.device(8).await;
    let recipient = world.recipient().await;
    let old = device.chain.clone();
    let token = world
        .token_for(TokenRequest {
            security_level: 150,
            ..TokenRequest::new(ACCOUNT)
        })
        .await;
    device.enrol(&world, &token).await.unwrap();
    device.chain = old;
    let body = device.request(&recipient, &[KID]);
    let response = device.ask(&world, &body).await.unwrap();
    assert_eq!(crate::common::denial(&response.results[0]), 303);
}

#[tokio::test]
async fn v_052_sealing_keys_must_be_in_order() {
    let world = World::new().await;
    let recipient = world.recipient().await;
    let token = world.token().await;
    let mut device = Device::new(9, &Suite::ALL);
    let keys = device.sealing_keys();
    let mut unknown = keys.clone();
    unknown[1].suite = 3;
    let mut short = keys.clone();
    short[0].public_key.0.pop();
    let mut off_curve = keys.clone();
    off_curve[0].public_key.0[64] ^= 1;
    let twice = vec![keys[0].clone(), keys[0].clone()];
    let descending = vec![keys[1].clone(), keys[0].clone()];
    let cases = [
        vec![],
        vec![keys[1].clone()],
        unknown,
        short,
        off_curve,
        twice,
        descending,
    ];
    for sealing_keys in cases {
        let body = EnrolmentRequest {
            sealing_keys,
            ..device.enrolment(&recipient, &token)
        };
        assert_eq!(
            device
                .send_enrolment(&world, &recipient, &body)
                .await
                .unwrap_err()
                .code,
            402
        );
    }
    assert!(
        device.enrol(&world, &token).await.is_ok(),
        "the token was not used up"
    );
}

#[tokio::test]
async fn administrative_acts_are_checked() {
    let world = World::new().await;
    let server = &world.server;
    let refused = |request: TokenRequest| async move {
        server
            .create_enrolment_token(request)
            .await
            .unwrap_err()
            .to_string()
    };
    let cases = [
        (TokenRequest::new(""), "an account's name must be 1 to 255 bytes"),
        (
            TokenRequest {
                security_level: 1,
                ..TokenRequest::new("a")
            },
            "the security level must be 150, 2000 or 3000",
        ),
        (
            TokenRequest {
                expires_in: 0,
                ..TokenRequest::new("a")
            },
            "the token's lifetime must be 1 to 31536000 seconds",
        ),
        (
            TokenRequest {
                maker: "m".repeat(256),
                ..TokenRequest::new("a")
            },
            "maker and model must be at most 255 bytes each",
        ),
        (
            TokenRequest {
                robustness_version: Some(0),
                ..TokenRequest::new("a")
            },
            "the robustness version must be 1 or higher",
        ),
    ];
    for (request, message) in cases {
        assert_eq!(refused(request).await, message);
    }
    let unknown = DeviceId::new([9; 32]);
    assert!(server.revoke_device(unknown).await.is_err());
    assert!(server.accept_restored_store(unknown).await.is_err());
    assert!(server.revoke_entitlement(77).await.is_err());
    assert_eq!(
        server
            .grant("a", None, "nothing", None)
            .await
            .unwrap_err()
            .to_string(),
        "there is no policy `nothing`"
    );
    assert!(server.grant("a", None, "default", Some(NOW)).await.is_err());
}
