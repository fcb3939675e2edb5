//! Policies: a row a version, its terms as one JSON document. Rows are added and never changed.

use keyward_license::time::Timestamp;
use rusqlite::{Connection, params};

use super::{Store, connection::Statements, founding::record_event, milliseconds, unsigned};
use crate::{
    Error,
    fail_points::Write,
    policy::{Policy, PolicyTerms},
};

impl Store {
    /// Adds the next version of a policy and returns its number.
    pub(crate) async fn add_policy(
        &self,
        name: String,
        terms: PolicyTerms,
        now: Timestamp,
    ) -> Result<u64, Error> {
        self.writer
            .run(Write::Policy, move |db| {
                let version = insert_policy(db, &name, &terms, now)?;
                record_event(db, now, "policy-added", &name, &version.to_string())?;
                Ok(version)
            })
            .await
    }

    /// The newest version of every policy, by name.
    pub(crate) async fn policies(&self) -> Result<Vec<Policy>, Error> {
        let rows: Vec<(String, i64, String)> = self.noted(
            sqlx::query_as(
                "SELECT name, version, terms FROM policies p
             WHERE version = (SELECT max(version) FROM policies WHERE name = p.name) ORDER BY name",
            )
            .fetch_all(&self.lists)
            .await,
        )?;
        rows.into_iter()
            .map(|(name, version, terms)| policy(name, version, &terms))
            .collect()
    }

    /// Every version of a policy, the newest first.
    pub(crate) async fn policy_versions(&self, name: &str) -> Result<Vec<Policy>, Error> {
        let rows: Vec<(String, i64, String)> = self.noted(
            sqlx::query_as("SELECT name, version, terms FROM policies WHERE name = ?1 ORDER BY version DESC")
                .bind(name)
                .fetch_all(&self.lists)
                .await,
        )?;
        rows.into_iter()
            .map(|(name, version, terms)| policy(name, version, &terms))
            .collect()
    }
}

pub(super) fn insert_policy(
    db: &Connection,
    name: &str,
    terms: &PolicyTerms,
    now: Timestamp,
) -> Result<u64, Error> {
    let version: i64 = db.value(
        "SELECT ifnull(max(version), 0) + 1 FROM policies WHERE name = ?1",
        params![name],
    )?;
    let terms = serde_json::to_string(terms)
        .map_err(|_| Error::Damaged("the terms of a policy cannot be written"))?;
    db.run(
        "INSERT INTO policies (name, version, terms, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![name, version, terms, milliseconds(now)],
    )?;
    unsigned(version)
}

/// A policy of its row.
pub(super) fn policy(name: String, version: i64, terms: &str) -> Result<Policy, Error> {
    let terms = serde_json::from_str(terms)
        .map_err(|_| Error::Damaged("the terms of a policy cannot be read by this version"))?;
    Ok(Policy {
        name,
        version: unsigned(version)?,
        terms,
    })
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Connection};

    use super::{super::options, *};
    use crate::{config, policy::Preset};

    /// A database as it was when terms stood in columns, with these policies.
    async fn with_columns(path: &std::path::Path, settings: &config::Database, rows: &'static str) {
        std::fs::write(path, []).unwrap();
        let mut db = options(path, settings).connect().await.unwrap();
        let mut before = sqlx::migrate!("migrations/sqlite");
        before.migrations.to_mut().truncate(4);
        before.run_direct(None, &mut db, false).await.unwrap();
        sqlx::raw_sql(rows).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    }

    #[tokio::test]
    async fn policies_of_columns_are_taken_over_and_every_version_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyward.db");
        let settings = config::Config::from_toml(config::SAMPLE).unwrap().database;
        let rows = "INSERT INTO policies VALUES ('default', 1, -300, 2592000, 1, 2000, 7),
                                                ('default', 2, NULL, NULL, 0, 3000, 8);
                    INSERT INTO seeds VALUES (1, x'aa', 1);
                    INSERT INTO keys VALUES (zeroblob(16), 1, 1, NULL, zeroblob(32), 1)";
        with_columns(&path, &settings, rows).await;
        let store = Store::open(&path, &settings).await.unwrap();
        let versions = store.policy_versions("default").await.unwrap();
        let in_memory = PolicyTerms {
            persistent_allowed: false,
            ..PolicyTerms::of_level(3000)
        };
        let terms: Vec<_> = versions
            .iter()
            .map(|one| (one.version, one.terms.clone()))
            .collect();
        assert_eq!(terms, [(2, in_memory), (1, PolicyTerms::DEFAULT)]);
        assert_eq!(store.keys().await.unwrap()[0].minimum_security_level, None);

        let rental = Preset::Rental.terms();
        assert_eq!(
            store
                .add_policy("default".into(), rental.clone(), Timestamp(1))
                .await
                .unwrap(),
            3
        );
        assert_eq!(store.policies().await.unwrap()[0].terms, rental);
        store.close().await;
        let mut db = options(&path, &settings).connect().await.unwrap();
        for statement in [
            "UPDATE policies SET terms = '{}'",
            "DELETE FROM policies",
            "INSERT INTO policies VALUES ('other', 1, 'no document', 1)",
            "UPDATE keys SET minimum_security_level = 1000",
        ] {
            assert!(
                sqlx::query(statement).execute(&mut db).await.is_err(),
                "{statement}"
            );
        }
        db.close().await.unwrap();
    }
}
