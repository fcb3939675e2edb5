//! What must hold of whatever a process leaves that dies.

use keyward_license::{
    codec::Wire,
    error_code::{ErrorCode, Problem},
    finding::Finding,
    ids::DeviceId,
    operator_profile::OperatorProfile,
};
use sqlx::SqlitePool;

use super::{
    Moment, Point, Write,
    scenario::{Cast, IMPORTED, METERS, Run, SEASON, Step, Told, act, license, place, signed},
};
use crate::{
    Error,
    admin::Scope,
    backup,
    clock::Clock,
    common::{KID, Recipient, World, denial, pending, read},
    danger,
    doctor::{Standing, examine},
    operator,
    sealing::KekSource,
    token,
};

/// Whether something that was told is still true.
pub(super) async fn holds(step: Step, told: &Told, world: &World, run: &Run) {
    let (server, cast) = (&world.server, &run.cast);
    let said = || told.first().unwrap();
    if run.is_late(world)
        && let Some(refused) = sent_again(step, world, cast).await
    {
        // Sealed to a key that is gone by then (V-040).
        assert_eq!(
            refused.unwrap_err().code,
            ErrorCode::WrongRecipient.number(),
            "{step:?}"
        );
        return;
    }
    match step {
        Step::Init => assert!(server.authenticate_admin(said()).await.unwrap().is_some()),
        Step::Open => assert_eq!(server.operator().to_string(), *said()),
        Step::Policy => {
            let policies = server.policies().await.unwrap();
            let found = policies.iter().find(|policy| policy.name == "rental");
            assert!(found.unwrap().version >= said().parse().unwrap());
        }
        Step::Grant => assert_eq!(
            count(world, "SELECT count(*) FROM entitlements WHERE id = ", said()).await,
            1
        ),
        Step::GrantAnew => {
            let live = server.entitlements("alice").await.unwrap();
            assert_eq!(live.len(), 1);
            assert!(live[0].id >= said().parse().unwrap() && live[0].policy == "default");
        }
        Step::RevokeEntitlement => {
            let ended = "SELECT count(*) FROM entitlements WHERE revoked_at IS NOT NULL AND id = ";
            assert_eq!(count(world, ended, said()).await, 1);
        }
        Step::RegisterKey => assert!(server.keys().await.unwrap().iter().any(|key| key.kid == KID)),
        Step::ImportKey => {
            let key = server.content_key_for_packaging(IMPORTED).await.unwrap();
            assert_eq!(key.key.expose(), &[0x5a; 16]);
        }
        Step::ImportSeed => {
            let seed = danger::export_seed(server, said().parse().unwrap())
                .await
                .unwrap();
            assert_eq!(seed.expose(), [9; 40]);
        }
        Step::ExportSeed => {
            let acts = "SELECT count(*) FROM events WHERE kind = 'seed-exported' AND subject = ";
            assert!(count(world, acts, "'1'").await >= 1);
        }
        Step::ExchangeKey => assert!(server.exchange_key(METERS).await.is_ok()),
        Step::RotateExchangeKey => {
            let key = server.exchange_key(METERS).await.unwrap();
            assert!(key.versions.len() >= 2);
        }
        Step::ExchangeToken => {
            let caller = server.authenticate_exchange(said()).await.unwrap().unwrap();
            assert!(caller.may_use(&METERS) && !caller.may_use(&KID));
        }
        Step::RevokeExchangeToken => {
            assert!(server.authenticate_exchange(said()).await.unwrap().is_none());
        }
        Step::Perform => {
            assert!(!server.exchange_uses(METERS, None, 9).await.unwrap().is_empty());
            // Of one key and one version, a tag is always the same.
            if server.exchange_key(METERS).await.unwrap().versions.len() == 2 {
                assert_eq!(hex::encode(signed(server).await.unwrap()), *said());
            }
        }
        Step::DestroyExchangeKey => {
            let key = server.exchange_key(METERS).await.unwrap();
            assert!(key.versions.last().unwrap().destroyed && key.minimum_version >= 2);
        }
        Step::Root => assert_eq!(server.root(SEASON).await.unwrap().0.name, "season"),
        Step::PutUnderRoot => {
            let under = server.root(SEASON).await.unwrap().1;
            assert_eq!((under.contents.len(), under.keys.len()), (1, 1));
            assert_eq!(under.blackouts[0].id.to_string(), *said());
        }
        Step::Channel => assert_eq!(server.channels().await.unwrap().len(), 1),
        Step::AdminToken => {
            let found = server.authenticate_admin(said()).await.unwrap().unwrap();
            assert_eq!((&found.name[..], found.scope), ("reader", Scope::Read));
        }
        Step::RevokeAdminToken => assert!(server.authenticate_admin(said()).await.unwrap().is_none()),
        Step::ServiceToken => {
            assert_eq!(
                server.authenticate_service(said()).await.unwrap().unwrap(),
                "edge"
            );
        }
        Step::RevokeServiceToken => assert!(server.authenticate_service(said()).await.unwrap().is_none()),
        Step::EnrolOthers => assert!(server.devices().await.unwrap().len() >= 3),
        Step::EnrolmentToken | Step::PackagerToken => {
            let found = server.store().enrolment_token(&token::hash(said())).await;
            assert!(found.unwrap().is_some());
        }
        Step::EnrolDevice | Step::EnrolPackager | Step::License | Step::Package | Step::Acknowledge => {
            assert_eq!(
                act(step, world, cast).await.unwrap(),
                *told,
                "the same request again"
            );
        }
        Step::Together => together_holds(told, world, cast).await,
        Step::AcceptStore => {
            let id = cast.licenses[1].0.id();
            let forgotten = "SELECT count(*) FROM store_epochs WHERE device = ";
            assert_eq!(count(world, forgotten, &blob(&id)).await, 0);
        }
        Step::RevokeCertificate => {
            let revoked = server.revoked_certificates().await.unwrap();
            assert!(revoked.iter().any(|row| hex::encode(&row.serial) == *said()));
        }
        Step::RevokeModel => assert_eq!(server.revoked_models().await.unwrap()[0].maker, "Acme"),
        Step::ImportList => {
            let list = server.imported_revocation_list().await.unwrap().unwrap();
            assert_eq!(hex::encode(list), *said());
        }
        Step::RevokeDevice => {
            let (_, body, sealed) = &cast.licenses[2];
            let answer = server.issue(sealed).await.unwrap();
            assert_eq!(denial(&read(world, &answer, &pending(body)).results[0]), 204);
        }
        Step::LosePlace => assert!(server.entitlements("dave").await.unwrap().is_empty()),
        Step::Renew => {
            let renewed = "SELECT count(*) FROM certificates WHERE purpose = ";
            assert!(count(world, renewed, "'request-encryption'").await >= 2);
        }
        Step::RollServer => {
            for (purpose, number) in ["license-server", "request-encryption"].into_iter().zip(told) {
                assert!(newest_key(world, purpose).await >= number.parse().unwrap());
            }
            let document = server.discovery().await.unwrap();
            Recipient::read(&document, &world.anchor(), server.operator(), world.clock.now());
        }
        Step::RollAuthority => {
            assert!(newest_key(world, "device-authority").await >= said().parse().unwrap())
        }
        Step::RollSeed => {
            let newest = server.seed_of_new_keys().await.unwrap().unwrap();
            assert!(newest >= said().parse().unwrap());
        }
        Step::RollKek => {
            let kek = KekSource::File.load(&world.dir()).unwrap();
            assert!(operator::read_root_key(&world.dir(), &server.operator(), &kek).is_ok());
            assert!(!operator::kek::old_files(&world.dir()).is_empty());
        }
        Step::Profile => assert_eq!(world.profile(), run.world.profile()),
        Step::Backup => {
            let (from, to) = (place(world, "backup"), place(world, "from-backup"));
            backup::restore(&from, &to, None, world.clock.now())
                .await
                .unwrap();
        }
        Step::Restore => no_fault(&place(world, "restored"), world).await,
        Step::EndOverlap => {
            let rows = "SELECT count(*) FROM secrets WHERE name = 'request-encryption-' || ";
            assert_eq!(count(world, rows, "1").await + count(world, rows, "2").await, 0);
        }
        Step::Close => {}
    }
}

/// The answer to what was sent in a step, sent once more; none of a step that sends nothing.
async fn sent_again(step: Step, world: &World, cast: &Cast) -> Option<Result<Vec<u8>, Problem>> {
    let server = &world.server;
    Some(match step {
        Step::License => server.issue(&cast.licenses[0].2).await,
        Step::Together => server.issue(&cast.licenses[1].2).await,
        Step::RevokeDevice => server.issue(&cast.licenses[2].2).await,
        Step::EnrolDevice => server.enrol(&cast.enrolments[0].2).await,
        Step::EnrolPackager => server.enrol(&cast.enrolments[1].2).await,
        Step::Package => server.package(&cast.packaging.as_ref().unwrap().2).await,
        Step::Acknowledge => server.acknowledge(&cast.acknowledgement).await,
        _ => return None,
    })
}

async fn together_holds(told: &Told, world: &World, cast: &Cast) {
    let (one, two) = told.split_at(told.len() / 2);
    assert_eq!(license(world, &cast.licenses[1]).await, one);
    // The other device may have been revoked meanwhile, and gets not even what it had.
    let id = cast.licenses[2].0.id();
    let devices = world.server.devices().await.unwrap();
    let device = devices.iter().find(|device| device.id == id).unwrap();
    if device.revoked.is_none() {
        assert_eq!(license(world, &cast.licenses[2]).await, two);
    }
    assert_eq!(world.server.entitlements("carol").await.unwrap().len(), 1);
}

/// Takes the step that the process died in once more, as whoever got no answer does.
pub(super) async fn again(step: Step, point: Point, world: &World, run: &Run) {
    let result = act(step, world, &run.cast).await;
    let told = &run.told[Step::ALL.iter().position(|other| *other == step).unwrap()];
    match (step, result) {
        (Step::EnrolDevice | Step::EnrolPackager | Step::License | Step::Package, Ok(now)) => {
            assert_eq!(now == *told, is_recorded(step, point), "{now:?} {told:?}");
            assert_eq!(
                act(step, world, &run.cast).await.unwrap(),
                now,
                "and again the same"
            );
        }
        (Step::Together | Step::Acknowledge, Ok(now)) => {
            assert_eq!(
                act(step, world, &run.cast).await.unwrap(),
                now,
                "and again the same"
            );
        }
        // The name was taken by the one whose answer got lost. It is listed, and can be revoked.
        (
            Step::AdminToken
            | Step::RevokeAdminToken
            | Step::ServiceToken
            | Step::RevokeServiceToken
            | Step::ExchangeToken
            | Step::RevokeExchangeToken,
            Err(Error::OutOfRange { .. }),
        )
        | (Step::ExchangeKey, Err(Error::ExchangeKeyExists(_)))
        // Its device was about to enrol.
        | (Step::RevokeCertificate, Err(Error::CertificateUnknown(_)))
        | (Step::Root, Err(Error::KidOfRoot(_))) => {}
        (Step::Backup, Err(Error::BackupExists(_))) | (Step::Restore, Err(Error::OperatorExists(_))) => {
            holds(step, told, world, run).await;
        }
        (_, Ok(_)) => {}
        (_, Err(error)) => panic!("{error}"),
    }
}

/// Whether the request of a step stood in the database when the process died.
fn is_recorded(step: Step, point: Point) -> bool {
    let record = match step {
        Step::EnrolDevice | Step::EnrolPackager => Write::Enrolment,
        Step::License => Write::License,
        _ => Write::Packaging,
    };
    match point {
        Point::Write(write, moment) if write == record => moment == Moment::Committed,
        Point::Write(Write::DeviceCertificate | Write::PackagingAnswer, _) | Point::Answer(..) => true,
        _ => false,
    }
}

/// Nothing is half there.
pub(super) async fn is_whole(world: &World) {
    no_fault(&world.dir(), world).await;
    let pool = world.pool().await;
    for half in HALVES {
        let found: i64 = sqlx::query_scalar(*half).fetch_one(&pool).await.unwrap();
        assert_eq!(found, 0, "{half}");
    }
    pool.close().await;
}

async fn no_fault(dir: &std::path::Path, world: &World) {
    OperatorProfile::decode(&operator::read_profile(dir).unwrap()).unwrap();
    let findings = examine(dir, KekSource::File, world.clock.now()).await;
    let wrong = |finding: &&Finding| finding.standing == Standing::Error;
    // Listeners and space are this machine's, and not of the directory.
    let faults: Vec<_> = findings
        .iter()
        .filter(wrong)
        .filter(|finding| !["listeners", "space"].contains(&finding.about))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

async fn count(world: &World, statement: &str, value: &str) -> i64 {
    let pool: SqlitePool = world.pool().await;
    let statement = sqlx::AssertSqlSafe(format!("{statement}{value}"));
    let found = sqlx::query_scalar(statement).fetch_one(&pool).await.unwrap();
    pool.close().await;
    found
}

async fn newest_key(world: &World, purpose: &str) -> i64 {
    let newest = "SELECT max(key) FROM certificates WHERE purpose = ";
    count(world, newest, &format!("'{purpose}'")).await
}

fn blob(id: &DeviceId) -> String {
    format!("x'{}'", hex::encode(id.as_bytes()))
}

/// Rows without the other rows that belong to them, one statement each.
const HALVES: &[&str] = &[
    // An answer without its license, or a license twice: every request of the scenario asks for one.
    "SELECT count(*) FROM answers a WHERE (SELECT count(*) FROM issued i WHERE i.answer = a.id) <> 1",
    "SELECT count(*) FROM issued WHERE answer NOT IN (SELECT id FROM answers)",
    // An answer whose device has no generation, unless that was forgotten by an act that stands in the record.
    "SELECT count(*) FROM answers WHERE device NOT IN (SELECT device FROM store_epochs)
     AND NOT EXISTS (SELECT 1 FROM events WHERE kind = 'store-accepted')",
    "SELECT count(*) FROM devices WHERE id NOT IN (SELECT device FROM device_certificates)",
    "SELECT count(*) FROM device_certificates c JOIN enrolment_tokens t ON t.hash = c.token
     WHERE t.used_by IS NOT c.device",
    "SELECT count(*) FROM enrolment_tokens
     WHERE used_by IS NOT NULL AND hash NOT IN (SELECT token FROM device_certificates WHERE token IS NOT NULL)",
    "SELECT (SELECT count(*) FROM devices) > (SELECT count(*) FROM events WHERE kind = 'device-enrolled')",
    "SELECT (SELECT count(*) FROM keys) <> (SELECT count(*) FROM events WHERE kind = 'key-registered')",
    "SELECT count(*) FROM tracks WHERE kid NOT IN (SELECT kid FROM keys)",
    "SELECT (SELECT count(*) FROM tracks) <> 2 * (SELECT count(*) FROM packagings)",
    "SELECT count(*) FROM packagings p WHERE (SELECT count(*) FROM packaged_leaves WHERE packaging = p.id) <> 2",
    "SELECT count(*) FROM roots r WHERE (SELECT count(*) FROM root_fingerprints WHERE root = r.kid) <> 3",
    "SELECT (SELECT count(*) FROM roots) <> (SELECT count(*) FROM events WHERE kind = 'root-created')",
    "SELECT (SELECT count(*) FROM root_contents) <> (SELECT count(*) FROM events WHERE kind = 'root-content-put')",
    "SELECT (SELECT count(*) FROM root_keys) <> (SELECT count(*) FROM events WHERE kind = 'root-key-put')",
    "SELECT (SELECT count(*) FROM blackouts) <> (SELECT count(*) FROM events WHERE kind = 'blackout-made')",
    "SELECT (SELECT count(*) FROM channels) > (SELECT count(*) FROM events WHERE kind = 'channel-set')",
    "SELECT (SELECT count(*) FROM seeds) <> 1 + (SELECT count(*) FROM events WHERE kind = 'seed-added')",
    "SELECT (SELECT count(*) FROM policies) <> 1 + (SELECT count(*) FROM events WHERE kind = 'policy-added')",
    "SELECT (SELECT count(*) FROM entitlements) <> (SELECT count(*) FROM events WHERE kind = 'entitlement-granted')",
    "SELECT (SELECT count(*) FROM certificates) - 5
         > (SELECT count(*) FROM events WHERE kind = 'certificate-announced')",
    "SELECT count(*) FROM certificates c WHERE NOT EXISTS
         (SELECT 1 FROM secrets WHERE name GLOB c.purpose || iif(c.key = 0, '*', '*/' || c.key))",
    "SELECT count(*) FROM authority_requests r WHERE NOT EXISTS
         (SELECT 1 FROM secrets WHERE name GLOB r.purpose || iif(r.key = 0, '*', '*/' || r.key))",
    "SELECT count(*) FROM resealing",
    "SELECT (SELECT count(*) FROM admin_tokens) <> 1 + (SELECT count(*) FROM events WHERE kind = 'admin-token-added')",
    "SELECT (SELECT count(*) FROM service_tokens) <> (SELECT count(*) FROM events WHERE kind = 'service-token-added')",
    "SELECT count(*) FROM exchange_keys k WHERE NOT EXISTS (SELECT 1 FROM exchange_key_versions WHERE kid = k.kid)",
    "SELECT count(*) FROM exchange_key_versions v WHERE NOT EXISTS
         (SELECT 1 FROM exchange_fingerprints f WHERE f.kid = v.kid AND f.version = v.version)",
    "SELECT (SELECT count(*) FROM exchange_key_versions)
         <> (SELECT count(*) FROM events WHERE kind IN ('exchange-key-created', 'exchange-key-rotated'))",
    "SELECT (SELECT count(*) FROM exchange_key_versions WHERE sealed IS NULL)
         <> (SELECT count(*) FROM events WHERE kind = 'exchange-key-destroyed')",
    "SELECT (SELECT count(*) FROM exchange_tokens)
         <> (SELECT count(*) FROM events WHERE kind = 'exchange-token-added')",
    "SELECT count(*) FROM exchange_tokens t WHERE t.every_key = 0
         AND NOT EXISTS (SELECT 1 FROM exchange_token_keys WHERE token = t.hash)",
    "SELECT count(*) FROM events WHERE kind = 'probe'",
    "SELECT (SELECT count(*) FROM secrets WHERE name NOT LIKE '%/%')
         <> 9 + (SELECT count(*) FROM events WHERE kind = 'secret-made')
              - 2 * (SELECT count(*) FROM events WHERE kind = 'key-destroyed' AND detail = '0')",
    // A device that is revoked and whose certificates no list names.
    "SELECT count(*) FROM devices d JOIN device_certificates c ON c.device = d.id
     WHERE d.revoked_at IS NOT NULL AND NOT EXISTS
         (SELECT 1 FROM revoked_certificates r WHERE substr(r.serial, 2) = substr(c.serial, 2))",
    "SELECT (SELECT count(*) FROM revoked_models) > (SELECT count(*) FROM events WHERE kind = 'model-revoked')",
    "SELECT (SELECT count(*) FROM imported_lists)
         > (SELECT count(*) FROM events WHERE kind = 'revocation-list-imported')",
    "SELECT (SELECT count(*) FROM revocation_lists)
         > (SELECT count(*) FROM events WHERE kind = 'revocation-list-announced')",
    "SELECT count(*) FROM transactions t WHERE NOT EXISTS (SELECT 1 FROM issued WHERE answer = t.answer)",
];
