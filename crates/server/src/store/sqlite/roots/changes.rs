//! What is put under roots, taken off them, and blacked out. The same again changes nothing.

use keyward_license::{ids::Kid, time::Timestamp};
use rusqlite::{Connection, params};

use super::{
    super::{Store, connection::Statements, founding::record_event, id, milliseconds, signed, unsigned},
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
                put_content(db, root, &content_id, periods, now)
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
                known(db, &root)?;
                let taken = db.run(
                    "DELETE FROM root_contents WHERE root = ?1 AND content_id = ?2",
                    params![root.as_bytes(), &content_id],
                )?;
                if taken == 0 {
                    return Err(Error::NotUnderRoot(root, content_id));
                }
                record_event(db, now, "root-content-taken", &root.to_string(), &content_id)
            })
            .await
    }

    /// Puts a single key of content under a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::KidUnknown`], [`Error::AboveRoot`], [`Error::TooManyRoots`].
    pub(crate) async fn put_key(&self, root: Kid, kid: Kid, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RootChange, move |db| put_key(db, root, kid, now))
            .await
    }

    /// Takes a single key off a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::NotUnderRoot`].
    pub(crate) async fn take_key(&self, root: Kid, kid: Kid, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::RootChange, move |db| {
                known(db, &root)?;
                let taken = db.run(
                    "DELETE FROM root_keys WHERE root = ?1 AND kid = ?2",
                    [root.as_bytes(), kid.as_bytes()],
                )?;
                if taken == 0 {
                    return Err(Error::NotUnderRoot(root, kid.to_string()));
                }
                record_event(db, now, "root-key-taken", &root.to_string(), &kid.to_string())
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
                black_out(db, root, &content_id, (from, to), now)
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
                known(db, &root)?;
                let lifted = db.run(
                    "DELETE FROM blackouts WHERE root = ?1 AND id = ?2",
                    params![root.as_bytes(), blackout],
                )?;
                if lifted == 0 {
                    return Err(Error::BlackoutUnknown(blackout));
                }
                let (subject, detail) = (root.to_string(), blackout.to_string());
                record_event(db, now, "blackout-lifted", &subject, &detail)
            })
            .await
    }
}

/// A root that there must be.
fn known(db: &Connection, kid: &Kid) -> Result<RootRow, Error> {
    read_root(db, kid)?.ok_or(Error::RootUnknown(*kid))
}

fn put_content(
    db: &Connection,
    root: Kid,
    content_id: &str,
    periods: Periods,
    now: Timestamp,
) -> Result<(), Error> {
    let row = known(db, &root)?;
    let held: Option<(Option<i64>, Option<i64>)> = db.row_if_any(
        "SELECT from_period, to_period FROM root_contents WHERE root = ?1 AND content_id = ?2",
        params![root.as_bytes(), content_id],
    )?;
    let bounds = [periods.from, periods.to].map(|bound| bound.map(|one| signed("a period", one)));
    let [from, to] = bounds.map(Option::transpose);
    let (from, to) = (from?, to?);
    check_level_of_content(db, &row, content_id, (from, to))?;
    match held {
        Some(held) if held == (from, to) => return Ok(()),
        Some(_) => {}
        None => {
            let under = db.value(
                "SELECT count(*) FROM root_contents WHERE content_id = ?1",
                [content_id],
            )?;
            check_count(under, content_id)?;
        }
    }
    db.run(
        "INSERT INTO root_contents (root, content_id, from_period, to_period, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET from_period = excluded.from_period, to_period = excluded.to_period",
        params![root.as_bytes(), content_id, from, to, milliseconds(now)],
    )?;
    record_event(db, now, "root-content-put", &root.to_string(), content_id)
}

fn put_key(db: &Connection, root: Kid, kid: Kid, now: Timestamp) -> Result<(), Error> {
    let row = known(db, &root)?;
    let key: Option<Option<i64>> = db.value_if_any(
        "SELECT minimum_security_level FROM keys WHERE kid = ?1",
        [kid.as_bytes()],
    )?;
    let level = key.ok_or(Error::KidUnknown(kid))?.map(unsigned).transpose()?;
    check_level(&row, kid, level)?;
    let held = "SELECT EXISTS (SELECT 1 FROM root_keys WHERE root = ?1 AND kid = ?2)";
    if db.value(held, [root.as_bytes(), kid.as_bytes()])? {
        return Ok(());
    }
    let under = db.value("SELECT count(*) FROM root_keys WHERE kid = ?1", [kid.as_bytes()])?;
    check_count(under, &kid.to_string())?;
    db.run(
        "INSERT INTO root_keys (root, kid, created_at) VALUES (?1, ?2, ?3)",
        params![root.as_bytes(), kid.as_bytes(), milliseconds(now)],
    )?;
    record_event(db, now, "root-key-put", &root.to_string(), &kid.to_string())
}

fn black_out(
    db: &Connection,
    root: Kid,
    content_id: &str,
    (from, to): (u64, Option<u64>),
    now: Timestamp,
) -> Result<i64, Error> {
    known(db, &root)?;
    let (from, to) = (
        signed("a period", from)?,
        to.map(|to| signed("a period", to)).transpose()?,
    );
    let same: Option<i64> = db.value_if_any(
        "SELECT id FROM blackouts WHERE root = ?1 AND content_id = ?2 AND from_period = ?3 AND to_period IS ?4",
        params![root.as_bytes(), content_id, from, to],
    )?;
    if let Some(same) = same {
        return Ok(same);
    }
    db.run(
        "INSERT INTO blackouts (root, content_id, from_period, to_period, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![root.as_bytes(), content_id, from, to, milliseconds(now)],
    )?;
    let made = db.last_insert_rowid();
    record_event(db, now, "blackout-made", &root.to_string(), content_id)?;
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
fn check_level_of_content(
    db: &Connection,
    root: &RootRow,
    content_id: &str,
    (from, to): (Option<i64>, Option<i64>),
) -> Result<(), Error> {
    let level = root
        .minimum_security_level
        .map(|level| signed("a security level", level));
    let above: Option<Vec<u8>> = db.value_if_any(
        "SELECT t.kid FROM tracks t JOIN keys k ON k.kid = t.kid
         WHERE t.content_id = ?1 AND (?2 IS NULL AND ?3 IS NULL OR t.period >= ifnull(?2, 0))
             AND (?3 IS NULL OR t.period < ?3) AND ifnull(k.minimum_security_level, 0) > ?4
         ORDER BY t.period, t.label LIMIT 1",
        params![content_id, from, to, level.transpose()?.unwrap_or_default()],
    )?;
    match above {
        None => Ok(()),
        Some(kid) => Err(Error::AboveRoot {
            root: root.kid,
            kid: id(&kid)?,
        }),
    }
}
