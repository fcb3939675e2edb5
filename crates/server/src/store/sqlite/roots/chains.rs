//! What license and packaging requests ask about roots.

use std::collections::{BTreeSet, HashMap};

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, params};

use super::{
    super::{
        Store, connection::Statements, id, issuance::key_row, lookup::KnownPolicies, milliseconds, timestamp,
        unsigned,
    },
    Columns, periods,
};
use crate::{
    Error, Refusal,
    store::{
        Grant, KeyRow, Recording, Rests, RightRow,
        roots::{BlackoutRow, ChainBasis, Chains, ContentRow, Holdings, RootRow, TrackRow},
    },
};

impl Store {
    /// The roots that are asked for, and those under which what is asked for is, with what the account may have of
    /// them at this time.
    pub(crate) async fn chains(
        &self,
        account: i64,
        asked: &[&(Kid, RightRow)],
        now: Timestamp,
    ) -> Result<Chains, Error> {
        let tracks = asked.iter().filter_map(|(_, right)| right.track.as_ref());
        let contents = tracks.map(|track| &track.content_id[..]).collect();
        let kids: Vec<Kid> = asked.iter().map(|(kid, _)| *kid).collect();
        self.read(|db| {
            let holdings = holdings(db, &contents, &kids)?;
            let roots: Vec<Kid> = holdings.roots.iter().map(|root| root.kid).collect();
            let mut grants = grants(db, (account, now), &roots, &self.known)?;
            let grants = roots.iter().map(|root| grants.remove(root)).collect();
            Ok(Chains { holdings, grants })
        })
        .await
    }

    /// What of a piece of content, and of single keys, is under which roots.
    pub(crate) async fn holdings(&self, content_id: &str, kids: &[Kid]) -> Result<Holdings, Error> {
        self.read(|db| holdings(db, &BTreeSet::from([content_id]), kids))
            .await
    }

    /// Keys under a root that are not of crypto periods, each with its track: at most `limit`, single ones before those of
    /// content, by key id.
    pub(crate) async fn accompanying(
        &self,
        root: &Kid,
        limit: usize,
    ) -> Result<(Vec<(KeyRow, Option<TrackRow>)>, Holdings), Error> {
        self.read(|db| {
            let keys = accompanying(db, root, limit)?;
            let tracks = keys.iter().filter_map(|(_, track)| track.as_ref());
            let contents = tracks.map(|track| &track.content_id[..]).collect();
            let kids: Vec<Kid> = keys.iter().map(|(key, _)| key.kid).collect();
            let holdings = holdings(db, &contents, &kids)?;
            Ok((keys, holdings))
        })
        .await
    }
}

/// What stands in the database about these pieces of content and these keys, which may be roots themselves.
pub(crate) fn holdings(db: &Connection, contents: &BTreeSet<&str>, kids: &[Kid]) -> Result<Holdings, Error> {
    let keys: Vec<(Vec<u8>, Vec<u8>)> = db.rows(
        "SELECT m.root, m.kid FROM json_each(?1) a JOIN root_keys m ON m.kid = unhex(a.value)
         ORDER BY m.root, m.kid",
        [list(kids)],
    )?;
    let keys = keys.iter().map(|(root, kid)| Ok((id(root)?, id(kid)?)));
    let keys: Vec<(Kid, Kid)> = keys.collect::<Result<_, Error>>()?;
    let contents = serde_json::Value::from_iter(contents.iter().copied()).to_string();
    let under = contents_of(db, &contents)?;
    let roots = under.iter().map(|one| one.root);
    let roots = roots
        .chain(keys.iter().map(|(root, _)| *root))
        .chain(kids.iter().copied());
    let roots = roots.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    Ok(Holdings {
        roots: roots_of(db, &list(&roots))?,
        blackouts: blackouts_of(db, &contents)?,
        contents: under,
        keys,
    })
}

/// Whether everything still holds that leaves and root licenses were decided on.
///
/// # Errors
/// The refusal is [`Refusal::Busy`]: the request must be decided again.
pub(crate) fn still_hold(
    db: &Connection,
    recording: &Recording,
    known: &KnownPolicies,
) -> Result<Result<(), Refusal>, Error> {
    let ChainBasis { roots, leaves } = &recording.basis.chains;
    if roots.is_empty() {
        return Ok(Ok(()));
    }
    let kids: Vec<Kid> = roots.iter().map(|root| root.kid).collect();
    let account = (recording.basis.account, recording.answer.server_time);
    let granted = grants(db, account, &kids, known)?;
    let holds = roots.iter().all(|root| match &root.rests {
        Rests::Row(grant) => granted.get(&root.kid) == Some(&**grant),
        Rests::Policy(..) | Rests::Handler => true,
    });
    if !holds {
        return Ok(Err(Refusal::Busy("the account's entitlements changed meanwhile")));
    }
    let tracks = leaves.iter().filter_map(|leaf| leaf.track.as_ref());
    let contents = tracks.map(|track| &track.content_id[..]).collect();
    let kids: Vec<Kid> = leaves.iter().map(|leaf| leaf.kid).collect();
    let (holdings, keys) = (holdings(db, &contents, &kids)?, keys_of(db, &list(&kids))?);
    for leaf in leaves {
        let key = keys.get(&leaf.kid);
        if key.is_none_or(|key| key.minimum_security_level != leaf.key_level) {
            return Ok(Err(Refusal::Busy(
                "the security level of a key changed meanwhile",
            )));
        }
        let under = |key| holdings.roots_of(key, leaf.track.as_ref());
        if !key.is_some_and(|key| under(key).iter().any(|root| root.kid == leaf.root)) {
            return Ok(Err(Refusal::Busy("what is under a root changed meanwhile")));
        }
    }
    Ok(Ok(()))
}

/// A list of key ids, as `json_each` takes it.
fn list(kids: &[Kid]) -> String {
    serde_json::Value::from_iter(kids.iter().map(Kid::to_string)).to_string()
}

fn contents_of(db: &Connection, contents: &str) -> Result<Vec<ContentRow>, Error> {
    type Row = (Vec<u8>, String, Option<i64>, Option<i64>);
    let rows: Vec<Row> = db.rows(
        "SELECT c.root, c.content_id, c.from_period, c.to_period
         FROM json_each(?1) a JOIN root_contents c ON c.content_id = a.value ORDER BY c.content_id, c.root",
        [contents],
    )?;
    let row = |(root, content_id, from, to): Row| {
        Ok(ContentRow {
            root: id(&root)?,
            content_id,
            periods: periods(from, to)?,
        })
    };
    rows.into_iter().map(row).collect()
}

fn blackouts_of(db: &Connection, contents: &str) -> Result<Vec<BlackoutRow>, Error> {
    type Row = (i64, Vec<u8>, String, i64, Option<i64>);
    let rows: Vec<Row> = db.rows(
        "SELECT b.id, b.root, b.content_id, b.from_period, b.to_period
         FROM json_each(?1) a JOIN blackouts b ON b.content_id = a.value ORDER BY b.id",
        [contents],
    )?;
    let row = |(blackout, root, content_id, from, to): Row| {
        Ok(BlackoutRow {
            id: blackout,
            root: id(&root)?,
            content_id,
            from: unsigned(from)?,
            to: to.map(unsigned).transpose()?,
        })
    };
    rows.into_iter().map(row).collect()
}

fn roots_of(db: &Connection, kids: &str) -> Result<Vec<RootRow>, Error> {
    let rows: Vec<Columns> = db.rows(
        "SELECT r.* FROM json_each(?1) a JOIN roots r ON r.kid = unhex(a.value) ORDER BY r.created_at, r.kid",
        [kids],
    )?;
    rows.into_iter().map(Columns::row).collect()
}

/// What an account's entitlements say of roots at this time. An entitlement to the root goes before one to all.
fn grants(
    db: &Connection,
    (account, now): (i64, Timestamp),
    roots: &[Kid],
    known: &KnownPolicies,
) -> Result<HashMap<Kid, Grant>, Error> {
    let rows: Vec<(Vec<u8>, Option<i64>, String, i64)> = db.rows(
        "SELECT r.kid, e.expires_at, p.name, p.version
         FROM json_each(?1) a JOIN roots r ON r.kid = unhex(a.value)
         JOIN entitlements e ON e.account = ?2 AND ifnull(e.kid, x'') IN (r.kid, x'')
             AND e.revoked_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > ?3)
         JOIN policies p ON p.name = e.policy
             AND p.version = (SELECT max(version) FROM policies WHERE name = e.policy)
         ORDER BY e.kid IS NOT NULL",
        params![list(roots), account, milliseconds(now)],
    )?;
    let mut grants = HashMap::new();
    for (root, expires, name, version) in rows {
        let grant = Grant {
            policy: known.get(db, name, version)?,
            expires: expires.map(timestamp),
        };
        // The later one, which is to the root itself.
        grants.insert(id(&root)?, grant);
    }
    Ok(grants)
}

type KeyColumns = (Vec<u8>, i64, Option<i64>, Option<Vec<u8>>, Option<i64>);

fn key((kid, key_type, seed, sealed, level): KeyColumns) -> Result<KeyRow, Error> {
    key_row(id(&kid)?, key_type, (seed, sealed), level)
}

fn keys_of(db: &Connection, kids: &str) -> Result<HashMap<Kid, KeyRow>, Error> {
    let rows: Vec<KeyColumns> = db.rows(
        "SELECT k.kid, k.key_type, k.seed, k.sealed, k.minimum_security_level
         FROM json_each(?1) a JOIN keys k ON k.kid = unhex(a.value)",
        [kids],
    )?;
    let keyed = |row| key(row).map(|key| (key.kid, key));
    rows.into_iter().map(keyed).collect()
}

fn accompanying(db: &Connection, root: &Kid, limit: usize) -> Result<Vec<(KeyRow, Option<TrackRow>)>, Error> {
    type Row = (
        Vec<u8>,
        i64,
        Option<i64>,
        Option<Vec<u8>>,
        Option<i64>,
        Option<String>,
        Option<String>,
    );
    let mut rows: Vec<Row> = Vec::new();
    for some in [SINGLE_KEYS, KEYS_OF_CONTENTS] {
        let room = limit.saturating_sub(rows.len());
        let of = params![root.as_bytes(), i64::try_from(room).unwrap_or(i64::MAX)];
        rows.append(&mut db.rows(some, of)?);
    }
    rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let row = |(kid, key_type, seed, sealed, level, content_id, label): Row| {
        let track = content_id.zip(label).map(|(content_id, label)| TrackRow {
            content_id,
            label,
            period: None,
        });
        Ok((key((kid, key_type, seed, sealed, level))?, track))
    };
    rows.into_iter().map(row).collect()
}

/// In the order of an index each, so that a root with many keys costs no more than those that are taken.
const SINGLE_KEYS: &str =
    "SELECT k.kid, k.key_type, k.seed, k.sealed, k.minimum_security_level, t.content_id, t.label
     FROM root_keys m CROSS JOIN keys k ON k.kid = m.kid LEFT JOIN tracks t ON t.kid = m.kid
     WHERE m.root = ?1 AND ifnull(t.period, -1) = -1
     ORDER BY m.kid LIMIT ?2";
const KEYS_OF_CONTENTS: &str =
    "SELECT k.kid, k.key_type, k.seed, k.sealed, k.minimum_security_level, t.content_id, t.label
     FROM root_contents c CROSS JOIN tracks t ON t.content_id = c.content_id AND t.period = -1
     CROSS JOIN keys k ON k.kid = t.kid
     WHERE c.root = ?1 AND NOT EXISTS (SELECT 1 FROM root_keys m WHERE m.root = ?1 AND m.kid = t.kid)
     ORDER BY c.content_id LIMIT ?2";

#[cfg(test)]
mod tests {
    use keyward_license::{
        ids::{DeviceId, Digest, EpochId, Nonce},
        license::KeyType,
        request::StoreState,
    };

    use super::*;
    use crate::{
        common::{ACCOUNT, KID, NOW, World},
        policy::PolicyTerms,
        roots::{NewRoot, Periods},
        store::{
            Basis, PreparedAnswer, Question,
            roots::{LeafBasis, RootBasis},
        },
    };

    const ROOT: Kid = Kid::new([0x0a; 16]);

    /// What a leaf of [`KID`] rests on, as it stands now, in the answer to a request of this number.
    async fn decided(world: &World, device: DeviceId, number: u8) -> Recording {
        let (nonce, store) = (
            Nonce::new([number; 16]),
            StoreState {
                epoch: EpochId::new([1; 16]),
                generation: 1,
            },
        );
        let question = Question {
            device,
            nonce,
            store: store.clone(),
            kids: vec![KID],
            now: NOW,
        };
        let mut found = world.server.store().look_up(&question).await.unwrap();
        let (device_row, right) = (found.device.unwrap(), found.rights.remove(0));
        let key_level = right.key.as_ref().unwrap().minimum_security_level;
        let asked = [&(KID, right), &(ROOT, RightRow::default())];
        let store_of = world.server.store();
        let chains = store_of.chains(device_row.account, &asked, NOW).await.unwrap();
        let grant = chains.grants[0].clone().unwrap();
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
            store,
            basis: Basis {
                account: device_row.account,
                security_level: device_row.security_level,
                grants: Vec::new(),
                once: Vec::new(),
                chains: ChainBasis {
                    roots: vec![RootBasis {
                        kid: ROOT,
                        rests: Rests::Row(Box::new(grant)),
                    }],
                    leaves: vec![LeafBasis {
                        root: ROOT,
                        kid: KID,
                        key_level,
                        track: Some(track()),
                    }],
                },
            },
        }
    }

    fn track() -> TrackRow {
        TrackRow {
            content_id: "news".to_owned(),
            label: "video".to_owned(),
            period: Some(7),
        }
    }

    /// The world's key as one of a crypto period, under a root that the account has.
    async fn world() -> World {
        let world = World::new().await;
        world
            .sql("INSERT INTO tracks SELECT 'news', 7, 'video', key_type, kid, 0 FROM keys")
            .await;
        let server = &world.server;
        let new = NewRoot {
            kid: Some(ROOT),
            ..NewRoot::new("sport")
        };
        server.create_root(new).await.unwrap();
        server
            .put_content_under_root(ROOT, "news", Periods::ALL)
            .await
            .unwrap();
        server.grant(ACCOUNT, Some(ROOT), "default", None).await.unwrap();
        world
    }

    /// Whatever was read before: no leaf is recorded whose root the account has no longer, or that has it no longer.
    #[tokio::test]
    async fn what_leaves_rest_on_is_asked_about_when_they_are_recorded() {
        let world = world().await;
        let (server, store) = (&world.server, world.server.store());
        let device = world.device(3).await.id();
        let (entitlements, under, level, policy) = (
            "the account's entitlements changed meanwhile",
            "what is under a root changed meanwhile",
            "the security level of a key changed meanwhile",
            "a policy changed meanwhile",
        );
        for (number, refused) in (1..).zip([
            None,
            Some(entitlements),
            Some(entitlements),
            Some(under),
            Some(under),
            Some(under),
            Some(level),
            Some(policy),
            None,
        ]) {
            let mut recording = decided(&world, device, number).await;
            match number {
                2 => {
                    let short = PolicyTerms {
                        duration_seconds: Some(60),
                        ..PolicyTerms::DEFAULT
                    };
                    server.create_policy("default", short).await.map(drop)
                }
                // It ends with another one, under other terms.
                3 => server
                    .grant(ACCOUNT, Some(ROOT), "default", Some(NOW.plus(60)))
                    .await
                    .map(drop),
                4 => server.black_out(ROOT, "news", 7, Some(8)).await.map(drop),
                5 => {
                    server.lift_blackout(ROOT, 1).await.unwrap();
                    recording = decided(&world, device, number).await;
                    let over = Periods {
                        from: None,
                        to: Some(7),
                    };
                    server.put_content_under_root(ROOT, "news", over).await
                }
                6 => {
                    server
                        .put_content_under_root(ROOT, "news", Periods::ALL)
                        .await
                        .unwrap();
                    recording = decided(&world, device, number).await;
                    server.take_content_off_root(ROOT, "news").await
                }
                7 => {
                    server
                        .put_content_under_root(ROOT, "news", Periods::ALL)
                        .await
                        .unwrap();
                    recording = decided(&world, device, number).await;
                    world.sql("UPDATE keys SET minimum_security_level = 150").await;
                    Ok(())
                }
                8 => {
                    recording.basis.chains.roots[0].rests = Rests::Policy("default".to_owned(), 1);
                    Ok(())
                }
                9 => {
                    world.sql("UPDATE keys SET minimum_security_level = NULL").await;
                    recording = decided(&world, device, number).await;
                    Ok(())
                }
                _ => Ok(()),
            }
            .unwrap();
            let recorded = store.record_answer(recording).await;
            let told = recorded.err().map(|refusal| refusal.to_string());
            assert_eq!(told.as_deref(), refused, "request {number}");
        }
        assert_eq!(world.count("SELECT count(*) FROM answers").await, 2);
    }

    #[tokio::test]
    async fn what_goes_along_is_read_in_the_order_of_an_index() {
        let world = World::new().await;
        for statement in [SINGLE_KEYS, KEYS_OF_CONTENTS] {
            let plan = world.server.store().read(|db| {
                let mut explained = db.prepare(&format!("EXPLAIN QUERY PLAN {statement}"))?;
                let steps = explained.query_map([ROOT.as_bytes().to_vec(), vec![1]], |row| row.get(3))?;
                Ok(steps.collect::<Result<Vec<String>, _>>()?)
            });
            let plan = plan.await.unwrap();
            assert!(!plan.is_empty());
            for step in &plan {
                assert!(
                    !step.contains("TEMP B-TREE") && !step.starts_with("SCAN"),
                    "{plan:#?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_goes_along_is_there_once_and_as_much_as_is_asked_for() {
        let world = World::new().await;
        let server = &world.server;
        let root = NewRoot {
            kid: Some(ROOT),
            ..NewRoot::new("season")
        };
        server.create_root(root).await.unwrap();
        let kids = [0x21, 0x22, 0x23, 0x24].map(|byte| Kid::new([byte; 16]));
        for kid in kids {
            server.register_key(kid, KeyType::File, 1).await.unwrap();
        }
        // Of the film one track is under the root by itself as well; and there is a key of a period.
        world
            .sql(
                "INSERT INTO tracks SELECT 'film', -1, hex(kid), key_type, kid, 0 FROM keys
                 WHERE hex(kid) LIKE '21%' OR hex(kid) LIKE '22%'",
            )
            .await;
        world
            .sql("INSERT INTO tracks SELECT 'news', 7, 'video', key_type, kid, 0 FROM keys WHERE hex(kid) LIKE '24%'")
            .await;
        for content in ["film", "news"] {
            server
                .put_content_under_root(ROOT, content, Periods::ALL)
                .await
                .unwrap();
        }
        for kid in [kids[1], kids[2], kids[3]] {
            server.put_key_under_root(ROOT, kid).await.unwrap();
        }
        for (limit, expected) in [
            (9, &[kids[0], kids[1], kids[2]][..]),
            (2, &[kids[1], kids[2]]),
            (1, &[kids[1]]),
        ] {
            let (keys, _) = server.store().accompanying(&ROOT, limit).await.unwrap();
            let found: Vec<_> = keys.iter().map(|(key, _)| key.kid).collect();
            assert_eq!(found, expected, "{limit}");
            assert!(
                keys.iter()
                    .all(|(key, track)| track.is_some() == (key.kid < kids[2]))
            );
        }
    }
}
