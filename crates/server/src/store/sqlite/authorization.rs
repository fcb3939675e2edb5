//! What handlers other than the rows rest on: policies by name, and what must not be used twice.

use rusqlite::{Connection, params};

use super::{
    Store, connection::Statements, exchange, lookup::KnownPolicies, milliseconds, policies::policy, roots,
    unsigned,
};
use crate::{
    Error, Refusal,
    handler::Once,
    policy::Policy,
    store::{Recording, Rests},
};

impl Store {
    /// The newest version of a policy, if there is one of this name.
    pub(crate) async fn newest_policy(&self, name: &str) -> Result<Option<Policy>, Error> {
        self.read(|db| newest_policy(db, name)).await
    }

    /// Whether something was used. The same is judged again when the answer is recorded; here it is told in words.
    pub(crate) async fn is_used(&self, once: &Once) -> Result<bool, Error> {
        self.read(|db| is_used(db, once)).await
    }
}

pub(super) fn newest_policy(db: &Connection, name: &str) -> Result<Option<Policy>, Error> {
    let row: Option<(i64, String)> = db.row_if_any(
        "SELECT version, terms FROM policies WHERE name = ?1 ORDER BY version DESC LIMIT 1",
        params![name],
    )?;
    row.map(|(version, terms)| policy(name.to_owned(), version, &terms))
        .transpose()
}

/// Asks once more about what handlers granted on, and uses up what is good for one answer. A refusal has used up
/// nothing.
///
/// # Errors
/// V-046 ([`Refusal::AuthorizationUsed`]), and [`Refusal::Busy`] for a policy, what is under a root, or an exchange key
/// that changed: the request must be decided again, and is then denied in words.
pub(super) fn use_up(
    db: &Connection,
    recording: &Recording,
    known: &KnownPolicies,
) -> Result<Result<(), Refusal>, Error> {
    for rests in recording.basis.rests() {
        if let Rests::Policy(name, version) = rests
            && newest(db, name)? != Some(*version)
        {
            return Ok(Err(Refusal::Busy("a policy changed meanwhile")));
        }
    }
    if let Err(refusal) = roots::still_hold(db, recording, known)? {
        return Ok(Err(refusal));
    }
    for grant in &recording.basis.grants {
        if !exchange::still_holds(db, &grant.exchange)? {
            return Ok(Err(Refusal::Busy("an exchange key changed meanwhile")));
        }
    }
    let once = &recording.basis.once;
    for one in once {
        if is_used(db, one)? {
            return Ok(Err(Refusal::AuthorizationUsed));
        }
    }
    if let Some(now) = once.first().map(|_| milliseconds(recording.answer.server_time)) {
        db.run(
            "DELETE FROM used_authorizations WHERE until < ?1",
            params![now.saturating_sub(KEPT_LONGER)],
        )?;
        for one in once {
            db.run(
                "INSERT INTO used_authorizations (issuer, id, until, used_at) VALUES (?1, ?2, ?3, ?4)",
                params![&one.issuer, &one.id[..], milliseconds(one.until), now],
            )?;
        }
    }
    Ok(Ok(()))
}

fn newest(db: &Connection, policy: &str) -> Result<Option<u64>, Error> {
    let version: Option<i64> = db.value(
        "SELECT max(version) FROM policies WHERE name = ?1",
        params![policy],
    )?;
    version.map(unsigned).transpose()
}

fn is_used(db: &Connection, once: &Once) -> Result<bool, Error> {
    let used = "SELECT EXISTS (SELECT 1 FROM used_authorizations WHERE issuer = ?1 AND id = ?2)";
    Ok(db.value(used, params![&once.issuer, &once.id])?)
}

/// Milliseconds for which a row stays beyond its end, should a clock be set back: a day.
const KEPT_LONGER: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use keyward_crypto::exchange::{Algorithm, Operation};
    use keyward_license::{
        ids::{DeviceId, Digest, EpochId, Nonce},
        request::StoreState,
    };

    use super::*;
    use crate::{
        common::{KID, NOW, World},
        key_exchange::{Destroy, NewKey},
        store::{Basis, LicenseBasis, PreparedAnswer, Question, roots::ChainBasis},
    };

    fn once(id: u8) -> Once {
        Once {
            issuer: "shop".to_owned(),
            id: [id; 32],
            until: NOW.plus(600),
        }
    }

    /// An answer to a device's request of this number, which rests on these.
    async fn recording(
        world: &World,
        device: DeviceId,
        number: u8,
        rests: Rests,
        once: &[Once],
    ) -> Recording {
        let (nonce, state) = (Nonce::new([number; 16]), state());
        let question = Question {
            device,
            nonce,
            store: state.clone(),
            kids: vec![KID],
            now: NOW,
        };
        let found = world.server.store().look_up(&question).await.unwrap();
        let device_row = found.device.unwrap();
        Recording {
            answer: PreparedAnswer {
                device,
                nonce,
                request: Digest::new([number; 32]),
                server_time: NOW,
                results: Vec::new(),
                custom_data: None,
                renew_at: None,
                transaction: None,
            },
            generation: found.generation,
            revoked: false,
            store: state,
            basis: Basis {
                account: device_row.account,
                security_level: device_row.security_level,
                grants: vec![LicenseBasis {
                    kid: KID,
                    rests,
                    key_level: None,
                    exchange: Vec::new(),
                }],
                once: once.to_vec(),
                chains: ChainBasis::default(),
            },
        }
    }

    fn state() -> StoreState {
        StoreState {
            epoch: EpochId::new([1; 16]),
            generation: 1,
        }
    }

    /// V-046, and the version of a policy: judged where the answer is recorded, whatever was read before.
    #[tokio::test]
    async fn v_046_what_handlers_granted_on_is_asked_about_when_it_is_recorded() {
        let world = World::new().await;
        let device = world.device(3).await.id();
        let store = world.server.store();
        let rests = |version| Rests::Policy("default".to_owned(), version);
        let cases = [
            (1, rests(1), vec![once(1)], ""),
            (2, Rests::Handler, vec![once(2), once(1)], "V-046"),
            (3, Rests::Handler, vec![once(2)], ""),
            (4, rests(2), vec![once(3)], "a policy changed meanwhile"),
            (
                5,
                Rests::Policy("none".to_owned(), 1),
                vec![],
                "a policy changed meanwhile",
            ),
            (6, rests(1), vec![once(3)], ""),
            (1, rests(1), vec![once(1)], ""),
        ];
        for (number, rests, once, refused) in cases {
            let recording = recording(&world, device, number, rests, &once).await;
            let told = match store.record_answer(recording).await {
                Ok(_) => String::new(),
                Err(refusal) if refusal.rule().is_empty() => refusal.to_string(),
                Err(refusal) => refusal.rule().to_owned(),
            };
            assert_eq!(told, refused, "request {number}");
        }
        for (id, used) in [(1, true), (2, true), (3, true), (4, false)] {
            assert_eq!(store.is_used(&once(id)).await.unwrap(), used, "{id}");
        }
        let other_issuer = Once {
            issuer: "box office".to_owned(),
            ..once(1)
        };
        assert!(!store.is_used(&other_issuer).await.unwrap());
    }

    /// Of two in one transaction, the second finds what the first used up.
    #[tokio::test]
    async fn v_046_of_two_answers_in_one_commit_one_is_recorded() {
        let world = World::new().await;
        let devices = [world.device(3).await.id(), world.device(4).await.id()];
        let store = world.server.store();
        let [first, second] = devices.map(|device| recording(&world, device, 1, Rests::Handler, &[]));
        let (mut first, mut second) = (first.await, second.await);
        first.basis.once = vec![once(1)];
        second.basis.once = vec![once(1)];
        let mut locked = world.locked().await;
        let recorded = async { tokio::join!(store.record_answer(first), store.record_answer(second)) };
        let unlocked = async {
            tokio::task::yield_now().await;
            sqlx::query("COMMIT").execute(&mut *locked).await.unwrap();
        };
        let ((first, second), ()) = tokio::join!(recorded, unlocked);
        let recorded = [first, second].into_iter().filter(Result::is_ok).count();
        assert_eq!(recorded, 1);
        assert_eq!(store.newest_policy("default").await.unwrap().unwrap().version, 1);
        assert_eq!(store.newest_policy("none").await.unwrap(), None);
        assert_eq!(world.count("SELECT count(*) FROM answers").await, 1);
    }

    /// Whatever was read before: a license is not recorded whose exchange key was changed meanwhile.
    #[tokio::test]
    async fn an_exchange_key_that_changed_meanwhile_is_licensed_to_nobody() {
        let world = World::new().await;
        let device = world.device(3).await.id();
        let store = world.server.store();
        let new = NewKey::new("meters", Algorithm::A256Gcm, Operation::Decrypt);
        let kid = world.server.create_exchange_key(new).await.unwrap();
        let revision = || async { store.exchange_key(&kid).await.unwrap().unwrap().revision };
        for number in 1..=7 {
            let mut decided = recording(&world, device, number, Rests::Handler, &[]).await;
            decided.basis.grants[0].exchange = vec![(kid, revision().await)];
            let server = &world.server;
            let changed = match number {
                1 => server.rotate_exchange_key(kid).await.map(drop),
                2 => server.set_exchange_minimum_version(kid, 2).await,
                3 => server.destroy_exchange_key(kid, Destroy::Version(1)).await,
                4 => server.set_exchange_minimum_level(kid, Some(3000)).await,
                5 => server.disable_exchange_key(kid).await,
                6 => server.destroy_exchange_key(kid, Destroy::All).await,
                _ => Ok(()),
            };
            changed.unwrap();
            let recorded = store.record_answer(decided).await;
            let told = recorded.err().map(|refusal| refusal.to_string());
            let changed = (number < 7).then_some("an exchange key changed meanwhile");
            assert_eq!(told.as_deref(), changed, "{number}");
        }
        assert_eq!(world.count("SELECT count(*) FROM answers").await, 1);
    }
}
