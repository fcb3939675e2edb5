//! The lists themselves: numbered and announced before they are signed, kept after.

use keyward_license::{revocation::ISSUED_AHEAD, time::Timestamp};
use rusqlite::{Connection, params};

use super::{
    super::{
        Store, connection::Statements, founding::record_event, milliseconds, signed, timestamp, unsigned,
    },
    changed, models, read_revoked,
};
use crate::{
    Error,
    fail_points::Write,
    store::{
        Purpose, Recorded,
        revocation::{AnnouncedList, ListOf, ListSays, Newest, SignedList},
    },
};

impl Store {
    /// The newest list of an authority, by its key identifier, that was signed; of the operator's own without one.
    pub(crate) async fn newest_list(&self, authority: &[u8]) -> Result<Option<SignedList>, Error> {
        self.read(|db| newest_list(db, authority)).await
    }

    /// Records what the next list of an authority says, under a number that none has had, for `lifetime` seconds.
    /// `newest` is the last one, if it may not be one that was announced here.
    pub(crate) async fn announce_list(
        &self,
        (of, authority): (ListOf, Vec<u8>),
        newest: Option<Newest>,
        lifetime: u64,
        now: Timestamp,
    ) -> Result<Recorded<AnnouncedList>, Error> {
        self.writer
            .run(Write::RevocationList, move |db| {
                announce(db, (of, &authority), newest, lifetime, now).map(Recorded)
            })
            .await
    }

    /// Keeps a list that was signed, in the place of those before it. If a later one is there by now, that stays.
    pub(crate) async fn keep_list(
        &self,
        authority: Vec<u8>,
        number: u64,
        list: Vec<u8>,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::RevocationListSigned, move |db| {
                let number = signed("the number of a list", number)?;
                db.run(
                    "UPDATE revocation_lists SET list = ?3 WHERE authority = ?1 AND number = ?2 AND list IS NULL",
                    params![authority, number, list],
                )?;
                db.run(
                    "DELETE FROM revocation_lists WHERE authority = ?1 AND number < ?2",
                    params![authority, number],
                )?;
                Ok::<_, Error>(())
            })
            .await
    }

    /// Every list that was imported.
    pub(crate) async fn imported_lists(&self) -> Result<Vec<Vec<u8>>, Error> {
        self.read(imported).await
    }

    /// Takes a list that another signs in the place of the one of the same authority, if `takes_place` says so.
    ///
    /// # Errors
    /// What `takes_place` returns.
    pub(crate) async fn import_list(
        &self,
        authority: Vec<u8>,
        list: Vec<u8>,
        takes_place: impl FnOnce(Option<&[u8]>) -> Result<(), Error> + Send + 'static,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::ImportedList, move |db| {
                let held: Option<Vec<u8>> = db.value_if_any(
                    "SELECT list FROM imported_lists WHERE authority = ?1",
                    [&authority],
                )?;
                if held.as_ref() == Some(&list) {
                    return Ok(());
                }
                takes_place(held.as_deref())?;
                db.run(
                    "INSERT INTO imported_lists (authority, list, imported_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET list = excluded.list, imported_at = excluded.imported_at",
                    params![authority, list, milliseconds(now)],
                )?;
                changed(db, "imported")?;
                record_event(db, now, "revocation-list-imported", &hex::encode(&authority), "")
            })
            .await
    }
}

/// Every list that was imported.
fn imported(db: &Connection) -> Result<Vec<Vec<u8>>, Error> {
    Ok(db.values("SELECT list FROM imported_lists ORDER BY authority", [])?)
}

fn newest_list(db: &Connection, authority: &[u8]) -> Result<Option<SignedList>, Error> {
    let row: Option<(i64, i64, i64, i64, Vec<u8>)> = db.row_if_any(
        "SELECT number, generation, this_update, next_update, list FROM revocation_lists
         WHERE authority = ?1 AND list IS NOT NULL ORDER BY number DESC LIMIT 1",
        [authority],
    )?;
    row.map(|(number, generation, issued, next_update, bytes)| {
        Ok(SignedList {
            number: unsigned(number)?,
            generation,
            issued: timestamp(issued),
            next_update: timestamp(next_update),
            bytes,
        })
    })
    .transpose()
}

fn announce(
    db: &Connection,
    (of, authority): (ListOf, &[u8]),
    newest: Option<Newest>,
    lifetime: u64,
    now: Timestamp,
) -> Result<AnnouncedList, Error> {
    let (number, issued) = next(db, authority, newest, now)?;
    let next_update = issued.plus(lifetime);
    let generation: i64 = db.value(
        "SELECT generation FROM revocation_generations WHERE list = ?1",
        [of.changes()],
    )?;
    if of == ListOf::Root {
        // The list itself is kept where it is imported: here its number is enough.
        db.run("DELETE FROM revocation_lists WHERE authority = ?1", [authority])?;
    }
    db.run(
        "INSERT INTO revocation_lists (authority, number, generation, this_update, next_update)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            authority,
            number,
            generation,
            milliseconds(issued),
            milliseconds(next_update)
        ],
    )?;
    record_event(
        db,
        now,
        "revocation-list-announced",
        of.as_str(),
        &number.to_string(),
    )?;
    let says = match of {
        ListOf::Own => ListSays::Models(models::read_models(db)?, models::read_allowed(db, issued)?),
        ListOf::Authority(purpose) => ListSays::Certificates(read_revoked(
            db,
            Some((purpose, oldest(purpose, issued, lifetime))),
        )?),
        ListOf::Root => ListSays::AsMade,
    };
    Ok(AnnouncedList {
        number: unsigned(number)?,
        generation,
        issued,
        next_update,
        says,
    })
}

/// Number and time of issue of the next list of an authority.
fn next(
    db: &Connection,
    authority: &[u8],
    newest: Option<Newest>,
    now: Timestamp,
) -> Result<(i64, Timestamp), Error> {
    let latest = now.plus(ISSUED_AHEAD);
    let (last, issued): (Option<i64>, Option<i64>) = db.row(
        "SELECT max(number), max(this_update) FILTER (WHERE this_update <= ?2)
         FROM revocation_lists WHERE authority = ?1",
        params![authority, milliseconds(latest)],
    )?;
    let elsewhere = newest.map(|newest| signed("the number of a list", newest.number));
    let last = last.max(elsewhere.transpose()?);
    // Nobody takes a list that was issued before the one that it has; nor has anybody one of a clock that was ahead.
    let elsewhere = newest
        .map(|newest| newest.issued)
        .filter(|issued| *issued <= latest);
    let issued = issued
        .map(timestamp)
        .max(elsewhere)
        .map_or(now, |issued| issued.max(now));
    let next = last.unwrap_or(0).checked_add(1);
    let next = next.ok_or(Error::Damaged("there are too many revocation lists"))?;
    // The time as well, so that numbers do not go back where a backup was restored.
    Ok((next.max(signed("a time", issued.0)?), issued))
}

/// What signed something is named for good, since that is judged at the time of then. What else has ended is left out
/// once it stood on a list that was issued after its end (RFC 5280 §3.3).
const fn oldest(purpose: Purpose, issued: Timestamp, lifetime: u64) -> Timestamp {
    match purpose {
        Purpose::DeviceAuthority | Purpose::PackagerAuthority => issued.minus(lifetime),
        _ => Timestamp(0),
    }
}
