//! What is put under roots, taken off them, and blacked out. The same again changes nothing.

use keyward_license::{ids::Kid, time::Timestamp};
use sqlx::SqliteConnection;

use super::{
    super::{Store, founding::record_event, id, milliseconds, signed, unsigned},
    read_root,
};
use crate::{
    Error,
    fail_points::Write,
    roots::{MAX_ROOTS, Periods},
    store::roots::RootRow,
};

impl Store {
    /// Puts a piece of content under a root, or changes which of its periods are.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::AboveRoot`], [`Error::TooManyRoots`].
    pub(crate) async fn put_content(
        &self,
        root: Kid,
        content_id: String,
        periods: Periods,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::RootChange, move |db| {
                Box::pin(async move { put_content(db, root, &content_id, periods, now).await })
            })
            .await
    }

    /// Takes a piece of content off a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::NotUnderRoot`].
    pub(crate) async fn take_content(
        &self,
        root: Kid,
        content_id: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::RootChange, move |db| {
                Box::pin(async move {
                    known(db, &root).await?;
                    let taken = sqlx::query("DELETE FROM root_contents WHERE root = ?1 AND content_id = ?2")
                        .bind(&root.as_bytes()[..])
                        .bind(&content_id)
                        .execute(&mut *db)
                        .await?;
                    if taken.rows_affected() == 0 {
                        return Err(Error::NotUnderRoot(root, content_id));
                    }
                    record_event(db, now, "root-content-taken", &root.to_string(), &content_id).await
                })
            })
            .await
    }

    /// Puts a single key of content under a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::KidUnknown`], [`Error::AboveRoot`], [`Error::TooManyRoots`].
    pub(crate) async fn put_key(&self, root: Kid, kid: Kid, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RootChange, move |db| {
                Box::pin(async move { put_key(db, root, kid, now).await })
            })
            .await
    }

    /// Takes a single key off a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::NotUnderRoot`].
    pub(crate) async fn take_key(&self, root: Kid, kid: Kid, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RootChange, move |db| {
                Box::pin(async move {
                    known(db, &root).await?;
                    let taken = sqlx::query("DELETE FROM root_keys WHERE root = ?1 AND kid = ?2")
                        .bind(&root.as_bytes()[..])
                        .bind(&kid.as_bytes()[..])
                        .execute(&mut *db)
                        .await?;
                    if taken.rows_affected() == 0 {
                        return Err(Error::NotUnderRoot(root, kid.to_string()));
                    }
                    record_event(db, now, "root-key-taken", &root.to_string(), &kid.to_string()).await
                })
            })
            .await
    }

    /// Blacks out periods of a piece of content under a root, and returns the number of that.
    ///
    /// # Errors
    /// [`Error::RootUnknown`].
    pub(crate) async fn black_out(
        &self,
        root: Kid,
        content_id: String,
        (from, to): (u64, Option<u64>),
        now: Timestamp,
    ) -> Result<i64, Error> {
        self.writer
            .run(Write::RootChange, move |db| {
                Box::pin(async move { black_out(db, root, &content_id, (from, to), now).await })
            })
            .await
    }

    /// Lifts a blackout.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::BlackoutUnknown`].
    pub(crate) async fn lift_blackout(&self, root: Kid, blackout: i64, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RootChange, move |db| {
                Box::pin(async move {
                    known(db, &root).await?;
                    let lifted = sqlx::query("DELETE FROM blackouts WHERE root = ?1 AND id = ?2")
                        .bind(&root.as_bytes()[..])
                        .bind(blackout)
                        .execute(&mut *db)
                        .await?;
                    if lifted.rows_affected() == 0 {
                        return Err(Error::BlackoutUnknown(blackout));
                    }
                    let (subject, detail) = (root.to_string(), blackout.to_string());
                    record_event(db, now, "blackout-lifted", &subject, &detail).await
                })
            })
            .await
    }
}

/// A root that there must be.
async fn known(db: &mut SqliteConnection, kid: &Kid) -> Result<RootRow, Error> {
    read_root(db, kid).await?.ok_or(Error::RootUnknown(*kid))
}

async fn put_content(
    db: &mut SqliteConnection,
    root: Kid,
    content_id: &str,
    periods: Periods,
    now: Timestamp,
) -> Result<(), Error> {
    let row = known(db, &root).await?;
    let held: Option<(Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT from_period, to_period FROM root_contents WHERE root = ?1 AND content_id = ?2",
    )
    .bind(&root.as_bytes()[..])
    .bind(content_id)
    .fetch_optional(&mut *db)
    .await?;
    let bounds = [periods.from, periods.to].map(|bound| bound.map(|one| signed("a period", one)));
    let [from, to] = bounds.map(Option::transpose);
    let (from, to) = (from?, to?);
    check_level_of_content(db, &row, content_id, (from, to)).await?;
    match held {
        Some(held) if held == (from, to) => return Ok(()),
        Some(_) => {}
        None => {
            let under: i64 = sqlx::query_scalar("SELECT count(*) FROM root_contents WHERE content_id = ?1")
                .bind(content_id)
                .fetch_one(&mut *db)
                .await?;
            check_count(under, content_id)?;
        }
    }
    sqlx::query(
        "INSERT INTO root_contents (root, content_id, from_period, to_period, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET from_period = excluded.from_period, to_period = excluded.to_period",
    )
    .bind(&root.as_bytes()[..])
    .bind(content_id)
    .bind(from)
    .bind(to)
    .bind(milliseconds(now))
    .execute(&mut *db)
    .await?;
    record_event(db, now, "root-content-put", &root.to_string(), content_id).await
}

async fn put_key(db: &mut SqliteConnection, root: Kid, kid: Kid, now: Timestamp) -> Result<(), Error> {
    let row = known(db, &root).await?;
    let key: Option<Option<i64>> =
        sqlx::query_scalar("SELECT minimum_security_level FROM keys WHERE kid = ?1")
            .bind(&kid.as_bytes()[..])
            .fetch_optional(&mut *db)
            .await?;
    let level = key.ok_or(Error::KidUnknown(kid))?.map(unsigned).transpose()?;
    check_level(&row, kid, level)?;
    let held = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM root_keys WHERE root = ?1 AND kid = ?2)")
        .bind(&root.as_bytes()[..])
        .bind(&kid.as_bytes()[..]);
    if held.fetch_one(&mut *db).await? {
        return Ok(());
    }
    let under: i64 = sqlx::query_scalar("SELECT count(*) FROM root_keys WHERE kid = ?1")
        .bind(&kid.as_bytes()[..])
        .fetch_one(&mut *db)
        .await?;
    check_count(under, &kid.to_string())?;
    sqlx::query("INSERT INTO root_keys (root, kid, created_at) VALUES (?1, ?2, ?3)")
        .bind(&root.as_bytes()[..])
        .bind(&kid.as_bytes()[..])
        .bind(milliseconds(now))
        .execute(&mut *db)
        .await?;
    record_event(db, now, "root-key-put", &root.to_string(), &kid.to_string()).await
}

async fn black_out(
    db: &mut SqliteConnection,
    root: Kid,
    content_id: &str,
    (from, to): (u64, Option<u64>),
    now: Timestamp,
) -> Result<i64, Error> {
    known(db, &root).await?;
    let (from, to) = (
        signed("a period", from)?,
        to.map(|to| signed("a period", to)).transpose()?,
    );
    let same: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM blackouts WHERE root = ?1 AND content_id = ?2 AND from_period = ?3 AND to_period IS ?4",
    )
    .bind(&root.as_bytes()[..])
    .bind(content_id)
    .bind(from)
    .bind(to)
    .fetch_optional(&mut *db)
    .await?;
    if let Some(same) = same {
        return Ok(same);
    }
    let made = sqlx::query(
        "INSERT INTO blackouts (root, content_id, from_period, to_period, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(&root.as_bytes()[..])
    .bind(content_id)
    .bind(from)
    .bind(to)
    .bind(milliseconds(now))
    .execute(&mut *db)
    .await?
    .last_insert_rowid();
    record_event(db, now, "blackout-made", &root.to_string(), content_id).await?;
    Ok(made)
}

/// Whether one more root may have it.
fn check_count(under: i64, what: &str) -> Result<(), Error> {
    match usize::try_from(under) {
        Ok(under) if under < MAX_ROOTS => Ok(()),
        _ => Err(Error::TooManyRoots(what.to_owned())),
    }
}

fn check_level(root: &RootRow, kid: Kid, level: Option<u64>) -> Result<(), Error> {
    match level <= root.minimum_security_level {
        true => Ok(()),
        false => Err(Error::AboveRoot { root: root.kid, kid }),
    }
}

/// Whether every key that the piece of content has in these periods may be under the root.
async fn check_level_of_content(
    db: &mut SqliteConnection,
    root: &RootRow,
    content_id: &str,
    (from, to): (Option<i64>, Option<i64>),
) -> Result<(), Error> {
    let level = root
        .minimum_security_level
        .map(|level| signed("a security level", level));
    let above: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT t.kid FROM tracks t JOIN keys k ON k.kid = t.kid
         WHERE t.content_id = ?1 AND (?2 IS NULL AND ?3 IS NULL OR t.period >= ifnull(?2, 0))
             AND (?3 IS NULL OR t.period < ?3) AND ifnull(k.minimum_security_level, 0) > ?4
         ORDER BY t.period, t.label LIMIT 1",
    )
    .bind(content_id)
    .bind(from)
    .bind(to)
    .bind(level.transpose()?.unwrap_or_default())
    .fetch_optional(db)
    .await?;
    match above {
        None => Ok(()),
        Some(kid) => Err(Error::AboveRoot {
            root: root.kid,
            kid: id(&kid)?,
        }),
    }
}
