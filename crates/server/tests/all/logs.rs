//! What stands in the log, and what never does.

use crate::asking;
use std::{
    io,
    sync::{Arc, Mutex},
};

use crate::common::{KID, World, pending, read};
use keyward_crypto::{ContentKey, hpke::Suite};
use keyward_license::{ids::Kid, license::KeyType};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_names_devices_and_keys_ids_but_holds_no_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.with_writer(log.clone()).finish()).unwrap();

    let world = World::new().await;
    let server = &world.server;
    let imported = ContentKey::new(*b"\x5f\x3a\x91\x0e\xd4\x77\x21\xc8\x6b\xf0\x13\xaa\x4d\x92\xee\x05");
    let other = Kid::new([0x77; 16]);
    server
        .import_key(other, KeyType::CencCtr, &imported)
        .await
        .unwrap();
    let seed = keyward_server::danger::export_seed(server, 1).await.unwrap();
    let token = world.token().await;
    let mut device = crate::common::Device::new(1, &Suite::ALL);
    device.enrol(&world, &token).await.unwrap();
    assert_eq!(
        crate::common::Device::new(2, &Suite::ALL)
            .enrol(&world, &token)
            .await
            .unwrap_err()
            .code,
        401
    );
    let recipient = world.recipient().await;
    let body = device.request(&recipient, &[KID, other, Kid::new([0x99; 16])]);
    let sealed = device.seal(&recipient, Suite::XWing, &body);
    let response = read(&world, &server.issue(&sealed).await.unwrap(), &pending(&body));
    let derived = device.open(&world, &response.results[0]).1;
    let mut packager = world.packager(3, &Suite::ALL).await;
    let wanted = asking::request(&mut packager, &recipient, "film", asking::media());
    let packaged = asking::ask(&world, &mut packager, &wanted).await.unwrap();
    asking::ask(&world, &mut packager, &wanted).await.unwrap();
    server.issue(b"garbage").await.unwrap_err();
    server.authenticate_admin(&world.admin_token).await.unwrap();
    server.close().await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let kek = std::fs::read_to_string(world.dir().join("kek")).unwrap();
    let mut secrets = vec![token, world.admin_token.clone(), kek.trim().to_owned()];
    let response_key = body.response_key.expose();
    for bytes in [
        &derived[..],
        imported.expose(),
        seed.expose(),
        response_key,
        device.signing.scalar().expose(),
        wanted.response_key.expose(),
        &packaged.keys[0],
        &packaged.keys[1],
    ] {
        secrets.push(hex::encode(bytes));
        secrets.push(format!("{bytes:?}").trim_matches(['[', ']']).to_owned());
    }
    for secret in secrets {
        assert!(
            secret.len() >= 32 && !log.to_lowercase().contains(&secret.to_lowercase()),
            "a secret stands in the log"
        );
    }
    let line = log
        .lines()
        .find(|line| line.contains("license request answered"))
        .unwrap();
    let results = format!("{KID}:license {other}:license {}:302", "99".repeat(16));
    assert!(
        line.contains(&device.id().to_string()) && line.contains(&results),
        "{line}"
    );
    assert!(
        log.contains("rule=\"V-051\"") && log.contains("code=\"token-refused\""),
        "{log}"
    );
    assert!(log.contains("license key seed exported"));
    // The first of its purpose follows none.
    assert!(log.contains("certificate issued") && !log.contains("certificate renewed"));
    for line in ["packaging request answered ", "packaging request answered again "] {
        let packager = format!("packager={}", packager.id());
        let found = log
            .lines()
            .any(|found| found.contains(line) && found.contains(&packager));
        assert!(found, "{line}");
    }
}
