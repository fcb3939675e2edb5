//! Packaging data: which track has which key id, and what packagers were given.

use keyward_license::{
    ids::{DeviceId, Kid, Nonce},
    packaging::{PreparedPackaging, WantedTrack},
};
use sqlx::SqliteConnection;

use super::{Store, founding::record_event, id, issuance::key_row, keys::register, milliseconds, timestamp};
use crate::{
    Error, Refusal,
    fail_points::Write,
    store::{AnsweredRow, AssignedTrack, KeyRow, PackagerRow, PackagingAnswer, PackagingRecord, Recorded},
};

impl Store {
    /// The packager, with what it did with this nonce.
    pub(crate) async fn packager(
        &self,
        packager: &DeviceId,
        nonce: &Nonce,
    ) -> Result<Option<PackagerRow>, Error> {
        let mut db = self.readers.acquire().await?;
        self.noted(read_packager(&mut db, packager, nonce).await)
    }

    /// The registered key id of each track, in their order.
    pub(crate) async fn tracks(
        &self,
        content_id: String,
        tracks: Vec<WantedTrack>,
    ) -> Result<Vec<Option<KeyRow>>, Error> {
        let mut db = self.readers.acquire().await?;
        let mut found = Vec::with_capacity(tracks.len());
        for track in &tracks {
            let key_type = track.key_type.number();
            let read = read_track(&mut db, &content_id, &track.label, key_type).await;
            found.push(self.noted(read)?);
        }
        Ok(found)
    }

    /// Registers the fresh key ids and records the answer that names them, in one transaction. The packager,
    /// the nonce and every track are judged here again: they were read before it, and others write meanwhile.
    ///
    /// # Errors
    /// V-071, V-072; [`Refusal::Failed`].
    pub(crate) async fn record_packaging(
        &self,
        answer: PackagingAnswer,
        content_id: String,
        tracks: Vec<AssignedTrack>,
    ) -> Result<PackagingRecord, Refusal> {
        self.writer
            .run(Write::Packaging, move |db| {
                Box::pin(record_packaging(db, answer, content_id, tracks))
            })
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
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE packagings SET answer = ?3
                         WHERE packager = ?1 AND nonce = ?2 AND answer IS NULL",
                    )
                    .bind(&packager.as_bytes()[..])
                    .bind(&nonce.as_bytes()[..])
                    .bind(answer)
                    .execute(&mut *db)
                    .await?;
                    Ok::<_, Error>(())
                })
            })
            .await
            .map(drop)
    }
}

async fn read_packager(
    db: &mut SqliteConnection,
    packager: &DeviceId,
    nonce: &Nonce,
) -> Result<Option<PackagerRow>, Error> {
    type Row = (Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);
    let row: Option<Row> = sqlx::query_as(
        "SELECT d.revoked_at, p.request, p.answer FROM devices d
         LEFT JOIN packagings p ON p.packager = d.id AND p.nonce = ?2
         WHERE d.id = ?1 AND d.role = 'packager'",
    )
    .bind(&packager.as_bytes()[..])
    .bind(&nonce.as_bytes()[..])
    .fetch_optional(db)
    .await?;
    row.map(|(revoked_at, request, answer)| {
        let answered = request.map(|request| {
            Ok::<_, Error>(AnsweredRow {
                request: id(&request)?,
                answer,
            })
        });
        Ok(PackagerRow {
            revoked: revoked_at.is_some(),
            answered: answered.transpose()?,
        })
    })
    .transpose()
}

async fn read_track(
    db: &mut SqliteConnection,
    content_id: &str,
    label: &str,
    key_type: u64,
) -> Result<Option<KeyRow>, Error> {
    type Row = (Vec<u8>, i64, Option<i64>, Option<Vec<u8>>, Option<i64>);
    let row: Option<Row> = sqlx::query_as(
        "SELECT k.kid, k.key_type, k.seed, k.sealed, k.minimum_security_level FROM tracks t JOIN keys k ON k.kid = t.kid
         WHERE t.content_id = ?1 AND t.label = ?2 AND t.key_type = ?3",
    )
    .bind(content_id)
    .bind(label)
    .bind(super::signed("a key type", key_type)?)
    .fetch_optional(db)
    .await?;
    row.map(|(kid, key_type, seed, sealed, level)| key_row(id(&kid)?, key_type, (seed, sealed), level))
        .transpose()
}

async fn record_packaging(
    db: &mut SqliteConnection,
    answer: PackagingAnswer,
    content_id: String,
    tracks: Vec<AssignedTrack>,
) -> Result<PackagingRecord, Refusal> {
    let row = read_packager(db, &answer.packager, &answer.nonce)
        .await?
        .ok_or(Refusal::PackagerUnknown)?;
    // V-071
    if row.revoked {
        return Err(Refusal::PackagerRevoked);
    }
    // V-072
    match row.answered {
        Some(answered) if answered.request != answer.request => return Err(Refusal::PackagerNonceReused),
        Some(AnsweredRow {
            answer: Some(bytes), ..
        }) => return Ok(PackagingRecord::Answered(bytes)),
        Some(_) => return Ok(PackagingRecord::ToSign(read_packaging(db, &answer).await?)),
        None => {}
    }
    for track in &tracks {
        if read_kid(db, &content_id, track).await? != track.registered_kid() {
            return Ok(PackagingRecord::Overtaken);
        }
    }
    insert_packaging(db, &answer, &content_id, tracks).await?;
    Ok(PackagingRecord::ToSign(Recorded(answer)))
}

async fn read_kid(
    db: &mut SqliteConnection,
    content_id: &str,
    track: &AssignedTrack,
) -> Result<Option<Kid>, Error> {
    let key_type = track.key.key_type.number();
    let row = read_track(db, content_id, &track.label, key_type).await?;
    Ok(row.map(|row| row.kid))
}

async fn insert_packaging(
    db: &mut SqliteConnection,
    answer: &PackagingAnswer,
    content_id: &str,
    tracks: Vec<AssignedTrack>,
) -> Result<(), Error> {
    let (now, packager) = (answer.server_time, answer.packager.to_string());
    for track in tracks {
        let kid = track.key.kid;
        if let Some(fingerprint) = track.fingerprint {
            let key_type = super::signed("a key type", track.key.key_type.number())?;
            register(db, track.key, fingerprint, now).await?;
            sqlx::query(
                "INSERT INTO tracks (content_id, label, key_type, kid, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .bind(content_id)
            .bind(&track.label)
            .bind(key_type)
            .bind(&kid.as_bytes()[..])
            .bind(milliseconds(now))
            .execute(&mut *db)
            .await?;
        }
        record_event(db, now, "content-key-exported", &kid.to_string(), &packager).await?;
    }
    sqlx::query(
        "INSERT INTO packagings (packager, nonce, request, body, sealed, answered_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(&answer.packager.as_bytes()[..])
    .bind(&answer.nonce.as_bytes()[..])
    .bind(&answer.request.as_bytes()[..])
    .bind(&answer.prepared.body)
    .bind(&answer.prepared.sealed)
    .bind(milliseconds(now))
    .execute(&mut *db)
    .await?;
    Ok(())
}

/// What was recorded for the same request earlier.
async fn read_packaging(
    db: &mut SqliteConnection,
    asked: &PackagingAnswer,
) -> Result<Recorded<PackagingAnswer>, Error> {
    let (body, sealed, answered_at): (Vec<u8>, Vec<u8>, i64) =
        sqlx::query_as("SELECT body, sealed, answered_at FROM packagings WHERE packager = ?1 AND nonce = ?2")
            .bind(&asked.packager.as_bytes()[..])
            .bind(&asked.nonce.as_bytes()[..])
            .fetch_one(&mut *db)
            .await?;
    Ok(Recorded(PackagingAnswer {
        packager: asked.packager,
        nonce: asked.nonce,
        request: asked.request,
        server_time: timestamp(answered_at),
        prepared: PreparedPackaging { body, sealed },
    }))
}
