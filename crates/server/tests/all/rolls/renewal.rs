//! Certificates of devices and packagers that follow others, without a token.

use keyward_license::{
    certificate::Claims,
    enrolment::EnrolmentRequest,
    error_code::{ErrorCode, Problem},
    ids::Digest,
    signed,
};

use super::*;
use crate::common::{ACCOUNT, Recipient, seal};

/// When the last third of a certificate of two years begins, and a little more.
pub(crate) const LATE: u64 = 490 * DAY;

fn sealed(device: &mut Device, recipient: &Recipient, body: &EnrolmentRequest) -> Vec<u8> {
    let message =
        signed::sign::<EnrolmentRequest>(&body.encode(), &[], &device.chain, &device.signing).unwrap();
    seal::<EnrolmentRequest>(recipient, Suite::XWing, &message, &mut device.rng)
}

pub(crate) async fn renew(world: &World, device: &mut Device) -> Result<(), Problem> {
    let recipient = world.recipient().await;
    let body = device.enrolment(&recipient, "");
    let sealed = sealed(device, &recipient, &body);
    let answer = world.server.enrol(&sealed).await?;
    device.take_enrolment(world, &body, &answer);
    Ok(())
}

#[tokio::test]
async fn v_055_a_certificate_in_its_last_third_is_renewed_without_a_token() {
    let mut world = World::new().await;
    let mut device = world.device(1).await;
    let license = ask(&world, &mut device).await.license;
    let first = device.chain.clone();
    renew(&world, &mut device).await.unwrap();
    assert_eq!(device.chain, first, "before that it is the one that there is");
    assert!(is_good(&world, &license));

    world.clock.advance(LATE);
    roll_authority(&world, Purpose::DeviceAuthority).await;
    renew(&world, &mut device).await.unwrap();
    let (second, ends) = (device.chain.clone(), device.certificate().not_after());
    assert_ne!(issuer(&second), issuer(&first), "by the authority of now");
    assert_eq!(ends, world.clock.now().0 + 730 * DAY);
    assert_eq!(
        device.certificate().public_key(),
        Certificate::parse(&first[0]).unwrap().public_key()
    );
    // Again, after a crash, and with the first one, which is valid still: the second.
    world.reopen().await;
    for chain in [&second, &first] {
        device.chain.clone_from(chain);
        renew(&world, &mut device).await.unwrap();
        assert_eq!(device.chain, second);
    }
    world
        .sql("UPDATE device_certificates SET der = NULL WHERE token IS NULL")
        .await;
    renew(&world, &mut device).await.unwrap();
    assert_eq!(
        device.certificate().serial(),
        Certificate::parse(&second[0]).unwrap().serial()
    );
    // It outlives the first one's end.
    world.clock.advance(730 * DAY - LATE + 1);
    ask(&world, &mut device).await;
    assert_eq!(world.server.devices().await.unwrap().len(), 1);
}

/// All certificates of a device are for one key: whoever has that key has no use of the others either.
#[tokio::test]
async fn v_055_a_revoked_certificate_takes_those_of_the_same_key_with_it() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let first = device.chain.clone();
    world.clock.advance(LATE);
    renew(&world, &mut device).await.unwrap();
    let second = device.certificate().serial().to_vec();
    world
        .server
        .revoke_certificate(&second, None, None)
        .await
        .unwrap();
    assert_eq!(world.server.revoked_certificates().await.unwrap().len(), 2);
    let newest = core::mem::replace(&mut device.chain, first);
    for chain in [newest.clone(), device.chain.clone()] {
        device.chain = chain;
        assert_eq!(
            renew(&world, &mut device).await.unwrap_err().code,
            ErrorCode::DeviceRevoked.number()
        );
    }
    world.server.restore_certificate(&second).await.unwrap();
    assert_eq!(world.server.revoked_certificates().await.unwrap().len(), 0);
    renew(&world, &mut device).await.unwrap();
    assert_eq!(device.chain, newest);
}

#[tokio::test]
async fn v_055_an_exemption_follows_the_certificate() {
    let world = World::new().await;
    let (mut device, other) = (world.device(1).await, world.device(2).await);
    let server = &world.server;
    let first = server.allow_device(device.id()).await.unwrap();
    let number = async || {
        let lists = server.revocation_lists().await.unwrap();
        lists.iter().find(|list| list.name == "own").unwrap().number
    };
    let before = number().await;
    world.clock.advance(LATE);
    renew(&world, &mut device).await.unwrap();
    let second = Digest::new(device.certificate().digest());
    let is_allowed = async |digest: Digest| server.allowed_certificates().await.unwrap().contains(&digest);
    assert!(second != first && is_allowed(second).await && is_allowed(first).await);
    assert!(number().await > before);
    assert!(!is_allowed(Digest::new(other.certificate().digest())).await);
    // One that follows it after the exemption has ended is not exempt.
    server.disallow_certificate(second).await.unwrap();
    world.clock.advance(LATE);
    renew(&world, &mut device).await.unwrap();
    let third = Digest::new(device.certificate().digest());
    assert!(third != second && !is_allowed(third).await);
}

/// Where the list is full the certificate that follows is not exempt; one that has ended makes room.
#[tokio::test]
async fn v_055_an_exemption_follows_the_certificate_as_long_as_there_is_room() {
    for (ends, follows) in [("9000000000000", false), ("1900000000000", true)] {
        let world = World::new().await;
        let mut device = world.device(1).await;
        let first = world.server.allow_device(device.id()).await.unwrap();
        let fill = sqlx::AssertSqlSafe(format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4095)
             INSERT INTO allowed_certificates (digest, created_at, not_after)
             SELECT unhex(printf('%064X', i)), 0, {ends} FROM n"
        ));
        let pool = world.pool().await;
        sqlx::query(fill).execute(&pool).await.unwrap();
        pool.close().await;
        world.clock.advance(LATE);
        renew(&world, &mut device).await.unwrap();
        let second = Digest::new(device.certificate().digest());
        let allowed = world.server.allowed_certificates().await.unwrap();
        assert!(second != first && allowed.contains(&first));
        assert_eq!(allowed.contains(&second), follows, "{ends}");
    }
}

#[tokio::test]
async fn v_055_what_is_renewed_is_what_is_recorded() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    world.clock.advance(LATE);
    world
        .sql("UPDATE devices SET security_level = 150, maker = 'Example Works'")
        .await;
    renew(&world, &mut device).await.unwrap();
    let claims = Claims::of(&device.certificate()).unwrap();
    assert_eq!(
        (claims.security_level, claims.maker.as_deref()),
        (Some(150), Some("Example Works"))
    );
    let mut packager = world.packager(2, &Suite::ALL).await;
    let first = packager.chain.clone();
    world.clock.advance(LATE);
    renew(&world, &mut packager).await.unwrap();
    assert_ne!(packager.chain, first);
    assert_eq!(Claims::of(&packager.certificate()).unwrap().security_level, None);
}

#[tokio::test]
async fn v_055_what_does_not_hold_the_certificates_keys_renews_nothing() {
    let world = World::new().await;
    let mut device = world.device(1).await;
    let mut other = world.device(2).await;
    world.clock.advance(LATE);
    let recipient = world.recipient().await;
    let refused = async |device: &mut Device, body: &EnrolmentRequest| {
        let sealed = sealed(device, &recipient, body);
        world.server.enrol(&sealed).await.unwrap_err().code
    };
    // Another's signing key or sealing keys under its own certificate; a token beside it.
    let own = device.enrolment(&recipient, "");
    let of_other = other.enrolment(&recipient, "");
    let mixed = [
        EnrolmentRequest {
            public_key: of_other.public_key,
            ..device.enrolment(&recipient, "")
        },
        EnrolmentRequest {
            sealing_keys: of_other.sealing_keys,
            ..device.enrolment(&recipient, "")
        },
        device.enrolment(&recipient, &world.token().await),
    ];
    for (body, code) in mixed.iter().zip([202, 202, 101]) {
        assert_eq!(refused(&mut device, body).await, code);
    }
    // Another's certificate: it does not verify under that one's key.
    let chain = std::mem::replace(&mut device.chain, other.chain.clone());
    assert_eq!(refused(&mut device, &own).await, 201);
    device.chain = chain;
    // As a packager, with the certificate of a device.
    device.role = keyward_license::enrolment::EnrolmentRole::Packager;
    let body = device.enrolment(&recipient, "");
    assert_eq!(refused(&mut device, &body).await, 202);
    device.role = keyward_license::enrolment::EnrolmentRole::Device;
    // One who has been revoked, and one whose certificate has ended.
    world.server.revoke_device(other.id()).await.unwrap();
    let body = other.enrolment(&recipient, "");
    assert_eq!(refused(&mut other, &body).await, 204);
    world.clock.advance(DAY * 365);
    let recipient = world.recipient().await;
    let body = device.enrolment(&recipient, "");
    let sealed = sealed(&mut device, &recipient, &body);
    assert_eq!(world.server.enrol(&sealed).await.unwrap_err().code, 202);
    assert_eq!(
        world
            .count("SELECT count(*) FROM device_certificates WHERE token IS NULL")
            .await,
        0
    );
    assert!(world.server.entitlements(ACCOUNT).await.is_ok());
}
