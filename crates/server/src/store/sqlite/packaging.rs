//! Packaging data: which track has which key id, and what packagers were given.

use std::collections::BTreeSet;

use keyward_license::{
    ids::{DeviceId, Kid, Nonce},
    license::{KeyType, PreparedLicense},
    packaging::{PreparedPackaging, WantedTrack},
};
use rusqlite::{Connection, params};

use super::{
    Store, connection::Statements, founding::record_event, id, issuance::key_row, keys::register,
    milliseconds, revocation::generation, roots::holdings, timestamp,
};
use crate::{
    Error, Refusal,
    fail_points::Write,
    store::{
        AnsweredRow, KeyRow, PackagedContent, PackagerRow, PackagingAnswer, PackagingRecord, Recorded,
        roots::PackagedLeaf,
    },
};

impl Store {
    /// The packager, with what it did with this nonce.
    pub(crate) async fn packager(
        &self,
        packager: &DeviceId,
        nonce: &Nonce,
    ) -> Result<Option<PackagerRow>, Error> {
        self.read(|db| read_packager(db, packager, nonce)).await
    }

    /// The registered key id of each track, in their order.
    pub(crate) async fn tracks(
        &self,
        content_id: String,
        tracks: Vec<(Option<u64>, WantedTrack)>,
    ) -> Result<Vec<Option<KeyRow>>, Error> {
        self.read(|db| {
            let read = |(period, track): &(Option<u64>, WantedTrack)| {
                read_track(db, &content_id, (*period, &track.label, track.key_type))
            };
            tracks.iter().map(read).collect()
        })
        .await
    }

    /// Registers the fresh key ids and records the answer that names them, in one transaction. The packager,
    /// the nonce, every track and what is under roots are judged here again: they were read before it, and others
    /// write meanwhile.
    ///
    /// # Errors
    /// V-071, V-072; [`Refusal::Failed`].
    pub(crate) async fn record_packaging(
        &self,
        answer: PackagingAnswer,
        content: PackagedContent,
    ) -> Result<PackagingRecord, Refusal> {
        self.run_sealed(Write::Packaging, move |db| record_packaging(db, answer, content))
            .await
    }

    /// Keeps the signed answer for the case that the same request comes again. Nobody waits for it: if
    /// it is lost, the answer is signed again from what was recorded.
    pub(crate) async fn keep_packaging(
        &self,
        packager: DeviceId,
        nonce: Nonce,
        answer: Vec<u8>,
    ) -> Result<(), Error> {
        self.writer
            .submit(Write::PackagingAnswer, move |db| {
                db.run(
                    "UPDATE packagings SET answer = ?3
                         WHERE packager = ?1 AND nonce = ?2 AND answer IS NULL",
                    params![&packager.as_bytes()[..], &nonce.as_bytes()[..], answer],
                )?;
                Ok::<_, Error>(())
            })
            .await
            .map(drop)
    }
}

fn read_packager(db: &Connection, packager: &DeviceId, nonce: &Nonce) -> Result<Option<PackagerRow>, Error> {
    type Row = (Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);
    let row: Option<Row> = db.row_if_any(
        "SELECT d.revoked_at, p.request, p.answer FROM devices d
         LEFT JOIN packagings p ON p.packager = d.id AND p.nonce = ?2
         WHERE d.id = ?1 AND d.role = 'packager'",
        params![&packager.as_bytes()[..], &nonce.as_bytes()[..]],
    )?;
    row.map(|(revoked_at, request, answer)| {
        let answered = request.map(|request| {
            Ok::<_, Error>(AnsweredRow {
                request: id(&request)?,
                answer,
            })
        });
        Ok(PackagerRow {
            revoked: revoked_at.is_some(),
            generation: generation(db)?,
            answered: answered.transpose()?,
        })
    })
    .transpose()
}

fn read_track(
    db: &Connection,
    content_id: &str,
    (period, label, key_type): (Option<u64>, &str, KeyType),
) -> Result<Option<KeyRow>, Error> {
    type Row = (Vec<u8>, i64, Option<i64>, Option<Vec<u8>>, Option<i64>);
    let row: Option<Row> = db.row_if_any(
        "SELECT k.kid, k.key_type, k.seed, k.sealed, k.minimum_security_level
         FROM tracks t JOIN keys k ON k.kid = t.kid
         WHERE t.content_id = ?1 AND t.period = ?2 AND t.label = ?3 AND t.key_type = ?4",
        params![
            content_id,
            period_column(period)?,
            label,
            super::signed("a key type", key_type.number())?
        ],
    )?;
    row.map(|(kid, key_type, seed, sealed, level)| key_row(id(&kid)?, key_type, (seed, sealed), level))
        .transpose()
}

/// As the database keeps it: -1 for none.
fn period_column(period: Option<u64>) -> Result<i64, Error> {
    period.map_or(Ok(-1), |period| super::signed("a crypto period", period))
}

fn record_packaging(
    db: &Connection,
    answer: PackagingAnswer,
    content: PackagedContent,
) -> Result<PackagingRecord, Refusal> {
    let row = read_packager(db, &answer.packager, &answer.nonce)?.ok_or(Refusal::PackagerUnknown)?;
    // V-070, V-071
    if row.generation != content.generation {
        return Err(Refusal::ListsChanged);
    }
    if row.revoked {
        return Err(Refusal::PackagerRevoked);
    }
    // V-072
    match row.answered {
        Some(answered) if answered.request != answer.request => return Err(Refusal::PackagerNonceReused),
        Some(AnsweredRow {
            answer: Some(bytes), ..
        }) => return Ok(PackagingRecord::Answered(bytes)),
        Some(_) => return Ok(PackagingRecord::ToSign(read_packaging(db, &answer)?)),
        None => {}
    }
    if !is_still_so(db, &content)? {
        return Ok(PackagingRecord::Overtaken);
    }
    insert_packaging(db, &answer, content)?;
    Ok(PackagingRecord::ToSign(Recorded(answer)))
}

/// Whether nobody has registered a track, changed the level of a key, or changed what is under a root.
fn is_still_so(db: &Connection, content: &PackagedContent) -> Result<bool, Error> {
    for track in &content.tracks {
        let named = (track.period, &track.label[..], track.key.key_type);
        let row = read_track(db, &content.content_id, named)?;
        if row.as_ref() != track.registered() {
            return Ok(false);
        }
    }
    let kids: Vec<Kid> = content.tracks.iter().map(|track| track.key.kid).collect();
    let now = holdings(db, &BTreeSet::from([&content.content_id[..]]), &kids)?;
    Ok(now == content.holdings)
}

fn insert_packaging(
    db: &Connection,
    answer: &PackagingAnswer,
    content: PackagedContent,
) -> Result<(), Error> {
    let (now, packager) = (answer.server_time, answer.packager.to_string());
    for track in content.tracks {
        let kid = track.key.kid;
        if let Some(fingerprint) = track.fingerprint {
            let key_type = super::signed("a key type", track.key.key_type.number())?;
            register(db, track.key, fingerprint, now)?;
            db.run(
                "INSERT INTO tracks (content_id, period, label, key_type, kid, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    &content.content_id,
                    period_column(track.period)?,
                    &track.label,
                    key_type,
                    kid.as_bytes(),
                    milliseconds(now)
                ],
            )?;
        }
        record_event(db, now, "content-key-exported", &kid.to_string(), &packager)?;
    }
    db.run(
        "INSERT INTO packagings (packager, nonce, request, body, sealed, answered_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            &answer.packager.as_bytes()[..],
            &answer.nonce.as_bytes()[..],
            &answer.request.as_bytes()[..],
            &answer.prepared.body,
            &answer.prepared.sealed,
            milliseconds(now)
        ],
    )?;
    insert_leaves(db, db.last_insert_rowid(), &answer.leaves)
}

fn insert_leaves(db: &Connection, packaging: i64, leaves: &[PackagedLeaf]) -> Result<(), Error> {
    for leaf in leaves {
        db.run(
            "INSERT INTO packaged_leaves (license, packaging, root, kid, body, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                leaf.id.as_bytes(),
                packaging,
                leaf.root.as_bytes(),
                leaf.kid.as_bytes(),
                &leaf.license.body,
                &leaf.license.sealed
            ],
        )?;
    }
    Ok(())
}

/// The leaves of an answer, in their order.
fn read_leaves(db: &Connection, packaging: i64) -> Result<Vec<PackagedLeaf>, Error> {
    type Row = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);
    let rows: Vec<Row> = db.rows(
        "SELECT license, root, kid, body, sealed FROM packaged_leaves WHERE packaging = ?1 ORDER BY id",
        [packaging],
    )?;
    let leaf = |(license, root, kid, body, sealed): Row| {
        Ok(PackagedLeaf {
            id: id(&license)?,
            root: id(&root)?,
            kid: id(&kid)?,
            license: PreparedLicense { body, sealed },
        })
    };
    rows.into_iter().map(leaf).collect()
}

/// What was recorded for the same request earlier.
fn read_packaging(db: &Connection, asked: &PackagingAnswer) -> Result<Recorded<PackagingAnswer>, Error> {
    let (row, body, sealed, answered_at): (i64, Vec<u8>, Vec<u8>, i64) = db.row(
        "SELECT id, body, sealed, answered_at FROM packagings WHERE packager = ?1 AND nonce = ?2",
        params![&asked.packager.as_bytes()[..], &asked.nonce.as_bytes()[..]],
    )?;
    Ok(Recorded(PackagingAnswer {
        packager: asked.packager,
        nonce: asked.nonce,
        request: asked.request,
        server_time: timestamp(answered_at),
        prepared: PreparedPackaging { body, sealed },
        leaves: read_leaves(db, row)?,
    }))
}
