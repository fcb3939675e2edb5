//! Administration: tokens, accounts, entitlements, devices.

use std::collections::{BTreeMap, BTreeSet};

use keyward_license::{
    enrolment::EnrolmentRole,
    ids::{DeviceId, Digest, Kid},
    time::Timestamp,
};
use rusqlite::{Connection, params};

use super::{
    Store, authorization::newest_policy, connection::Statements, enrolment::version_column,
    exchange::is_exchange_kid, founding::record_event, id, milliseconds, revocation::revoke_certificates_of,
    signed, timestamp, unsigned,
};
use crate::{
    Error,
    admin::{role_from_name, role_name},
    fail_points::Write,
    key_exchange::license::about_playing,
    operator::serial_number,
    store::DeviceProfile,
};

/// An admin token.
pub(crate) struct AdminTokenRow {
    pub(crate) hash: Digest,
    pub(crate) name: String,
    pub(crate) scope: String,
    pub(crate) created: Timestamp,
    pub(crate) revoked: Option<Timestamp>,
}

/// An enrolment token to be made.
pub(crate) struct NewToken {
    pub(crate) hash: Digest,
    pub(crate) account: String,
    pub(crate) role: EnrolmentRole,
    pub(crate) profile: DeviceProfile,
    pub(crate) expires: Timestamp,
}

/// A live entitlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntitlementRow {
    pub(crate) id: i64,
    pub(crate) kid: Option<Kid>,
    pub(crate) policy: String,
    pub(crate) granted: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

/// An enrolled device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceListing {
    pub(crate) id: DeviceId,
    pub(crate) account: String,
    pub(crate) role: EnrolmentRole,
    pub(crate) profile: DeviceProfile,
    pub(crate) enrolled: Timestamp,
    pub(crate) revoked: Option<Timestamp>,
    /// Those that have not ended, the newest first.
    pub(crate) certificates: Vec<DeviceCertificateRow>,
}

/// A certificate of a device or packager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceCertificateRow {
    pub(crate) serial: [u8; 16],
    pub(crate) not_after: Timestamp,
    /// Whether a list names it.
    pub(crate) is_revoked: bool,
}

impl Store {
    /// Every admin token, also those that were revoked, in the order of their making.
    pub(crate) async fn admin_tokens(&self) -> Result<Vec<AdminTokenRow>, Error> {
        self.read(read_admin_tokens).await
    }

    /// Revokes an admin token, for good. Revoking it again changes nothing.
    pub(crate) async fn revoke_admin_token(&self, name: String, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::AdminTokenRevocation, move |db| {
                revoke_admin_token(db, name, now)
            })
            .await
    }

    /// Records an act that changes nothing but that an auditor asks about.
    pub(crate) async fn record_act(
        &self,
        kind: &'static str,
        subject: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::Act, move |db| record_event(db, now, kind, &subject, ""))
            .await
    }

    pub(crate) async fn add_admin_token(
        &self,
        hash: Digest,
        name: String,
        scope: &'static str,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .run(Write::AdminToken, move |db| {
                insert_admin_token(db, &hash, &name, scope, now)?;
                record_event(db, now, "admin-token-added", &name, scope)
            })
            .await
    }

    pub(crate) async fn add_enrolment_token(&self, token: NewToken, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::EnrolmentToken, move |db| {
                let account = account(db, &token.account, now)?;
                db.run(
                    "INSERT INTO enrolment_tokens
                         (hash, account, security_level, maker, model, created_at, expires_at, role,
                          robustness_version)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    params![
                        &token.hash.as_bytes()[..],
                        account,
                        signed("a security level", token.profile.security_level)?,
                        &token.profile.maker,
                        &token.profile.model,
                        milliseconds(now),
                        milliseconds(token.expires),
                        role_name(token.role),
                        version_column(&token.profile)?
                    ],
                )?;
                let role = role_name(token.role);
                record_event(db, now, "enrolment-token-made", &token.account, role)
            })
            .await
    }

    /// Grants; an entitlement of the same account to the same key id, or to all, ends with it.
    pub(crate) async fn grant(
        &self,
        account_name: String,
        kid: Option<Kid>,
        policy: String,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<i64, Error> {
        self.writer
            .run(Write::Entitlement, move |db| {
                grant(db, &account_name, kid, policy, expires, now)
            })
            .await
    }

    /// Ends an entitlement.
    pub(crate) async fn revoke_entitlement(&self, entitlement: i64, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::EntitlementRevocation, move |db| {
                let ended = db.run(
                    "UPDATE entitlements SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
                    params![entitlement, milliseconds(now)],
                )?;
                if ended == 0 {
                    return Err(Error::EntitlementUnknown(entitlement));
                }
                record_event(db, now, "entitlement-revoked", &entitlement.to_string(), "")
            })
            .await
    }

    /// The live entitlements of an account, in the order of their grants.
    pub(crate) async fn entitlements(&self, account: &str) -> Result<Vec<EntitlementRow>, Error> {
        type Row = (i64, Option<Vec<u8>>, String, i64, Option<i64>);
        let rows: Vec<Row> = self.noted(
            sqlx::query_as(
                "SELECT e.id, e.kid, e.policy, e.granted_at, e.expires_at FROM entitlements e
             JOIN accounts a ON a.id = e.account WHERE a.name = ?1 AND e.revoked_at IS NULL ORDER BY e.id",
            )
            .bind(account)
            .fetch_all(&self.lists)
            .await,
        )?;
        rows.into_iter()
            .map(|(row, kid, policy, granted, expires)| {
                let kid = kid.map(|kid| id(&kid)).transpose()?;
                Ok(EntitlementRow {
                    id: row,
                    kid,
                    policy,
                    granted: timestamp(granted),
                    expires: expires.map(timestamp),
                })
            })
            .collect()
    }

    /// Every enrolled device, newest first.
    pub(crate) async fn devices(&self, now: Timestamp) -> Result<Vec<DeviceListing>, Error> {
        type Row = (
            Vec<u8>,
            String,
            String,
            i64,
            String,
            String,
            Option<i64>,
            i64,
            Option<i64>,
        );
        let mut certificates = self.device_certificates(now).await?;
        let rows: Vec<Row> = self.noted(
            sqlx::query_as(
                "SELECT d.id, a.name, d.role, d.security_level, d.maker, d.model, d.robustness_version,
                 d.enrolled_at, d.revoked_at
             FROM devices d JOIN accounts a ON a.id = d.account ORDER BY d.enrolled_at DESC, d.id",
            )
            .fetch_all(&self.lists)
            .await,
        )?;
        rows.into_iter()
            .map(
                |(device, account, role, level, maker, model, version, enrolled, revoked)| {
                    let profile = DeviceProfile {
                        security_level: unsigned(level)?,
                        maker,
                        model,
                        robustness_version: version.map(unsigned).transpose()?,
                    };
                    let (enrolled, revoked) = (timestamp(enrolled), revoked.map(timestamp));
                    Ok(DeviceListing {
                        certificates: certificates.remove(&device).unwrap_or_default(),
                        id: id(&device)?,
                        account,
                        role: role_from_name(&role).ok_or(Error::Damaged("a device has no role"))?,
                        profile,
                        enrolled,
                        revoked,
                    })
                },
            )
            .collect()
    }

    /// The certificates of devices and packagers that have not ended, the newest of each first.
    async fn device_certificates(
        &self,
        now: Timestamp,
    ) -> Result<BTreeMap<Vec<u8>, Vec<DeviceCertificateRow>>, Error> {
        let revoked = sqlx::query_scalar("SELECT serial FROM revoked_certificates")
            .fetch_all(&self.lists)
            .await;
        let revoked: BTreeSet<Vec<u8>> = self.noted(revoked)?.into_iter().collect();
        let rows = sqlx::query_as(
            "SELECT device, serial, not_after FROM device_certificates
             WHERE der IS NOT NULL AND not_after >= ?1 ORDER BY not_after DESC, created_at DESC",
        )
        .bind(milliseconds(now))
        .fetch_all(&self.lists)
        .await;
        let rows: Vec<(Vec<u8>, Vec<u8>, i64)> = self.noted(rows)?;
        let mut certificates: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (device, drawn, not_after) in rows {
            let serial = serial_number(id(&drawn)?);
            certificates
                .entry(device)
                .or_default()
                .push(DeviceCertificateRow {
                    serial,
                    not_after: timestamp(not_after),
                    is_revoked: revoked.contains(&serial[..]),
                });
        }
        Ok(certificates)
    }

    /// Revokes a device, for good, and puts its certificates on the list of their authority. Revoking it again changes
    /// nothing. Returns since when it was revoked already, if it was.
    pub(crate) async fn revoke_device(
        &self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        self.writer
            .run(Write::DeviceRevocation, move |db| {
                known_device(db, &device)?;
                let before: Option<i64> = db.value(
                    "SELECT revoked_at FROM devices WHERE id = ?1",
                    [&device.as_bytes()[..]],
                )?;
                if before.is_some() {
                    return Ok(before.map(timestamp));
                }
                db.run(
                    "UPDATE devices SET revoked_at = ?2 WHERE id = ?1",
                    params![&device.as_bytes()[..], milliseconds(now)],
                )?;
                revoke_certificates_of(db, &device, now)?;
                record_event(db, now, "device-revoked", &device.to_string(), "")?;
                Ok(None)
            })
            .await
    }

    /// Forgets the generations of a device's store, so that a restored store is accepted.
    pub(crate) async fn accept_store(&self, device: DeviceId, now: Timestamp) -> Result<(), Error> {
        self.writer
            .run(Write::StoreAcceptance, move |db| {
                known_device(db, &device)?;
                db.run(
                    "DELETE FROM store_epochs WHERE device = ?1",
                    params![&device.as_bytes()[..]],
                )?;
                record_event(db, now, "store-accepted", &device.to_string(), "")
            })
            .await
    }
}

fn read_admin_tokens(db: &Connection) -> Result<Vec<AdminTokenRow>, Error> {
    type Row = (Vec<u8>, String, String, i64, Option<i64>);
    let rows: Vec<Row> = db.rows(
        "SELECT hash, name, scope, created_at, revoked_at FROM admin_tokens ORDER BY created_at, name",
        [],
    )?;
    rows.into_iter()
        .map(|(hash, name, scope, created, revoked)| {
            Ok(AdminTokenRow {
                hash: id(&hash)?,
                name,
                scope,
                created: timestamp(created),
                revoked: revoked.map(timestamp),
            })
        })
        .collect()
}

fn revoke_admin_token(db: &Connection, name: String, now: Timestamp) -> Result<(), Error> {
    let revoked: Option<Option<i64>> = db.value_if_any(
        "SELECT revoked_at FROM admin_tokens WHERE name = ?1",
        params![&name],
    )?;
    match revoked {
        None => Err(Error::AdminTokenUnknown(name)),
        Some(Some(_)) => Ok(()),
        Some(None) => {
            db.run(
                "UPDATE admin_tokens SET revoked_at = ?2 WHERE name = ?1",
                params![&name, milliseconds(now)],
            )?;
            record_event(db, now, "admin-token-revoked", &name, "")
        }
    }
}

pub(super) fn insert_admin_token(
    db: &Connection,
    hash: &Digest,
    name: &str,
    scope: &str,
    now: Timestamp,
) -> Result<(), Error> {
    db.run(
        "INSERT INTO admin_tokens (hash, name, scope, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![&hash.as_bytes()[..], name, scope, milliseconds(now)],
    )?;
    Ok(())
}

fn grant(
    db: &Connection,
    account_name: &str,
    kid: Option<Kid>,
    policy: String,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Result<i64, Error> {
    let known: Option<i64> = db.value_if_any("SELECT 1 FROM policies WHERE name = ?1", params![&policy])?;
    if known.is_none() {
        return Err(Error::PolicyUnknown(policy));
    }
    if let Some(kid) = kid
        && is_exchange_kid(db, &kid)?
    {
        check_not_about_playing(db, &policy)?;
    }
    let account = account(db, account_name, now)?;
    let kid_bytes = kid.map(|kid| kid.as_bytes().to_vec());
    db.run(
        "UPDATE entitlements SET revoked_at = ?3 WHERE account = ?1 AND kid IS ?2 AND revoked_at IS NULL",
        params![account, &kid_bytes, milliseconds(now)],
    )?;
    db.run(
        "INSERT INTO entitlements (account, kid, policy, granted_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            account,
            &kid_bytes,
            &policy,
            milliseconds(now),
            expires.map(milliseconds)
        ],
    )?;
    let entitlement = db.last_insert_rowid();
    let what = kid.map_or_else(|| "all".to_owned(), |kid| kid.to_string());
    record_event(db, now, "entitlement-granted", account_name, &what)?;
    Ok(entitlement)
}

/// Whether licenses for key exchange can be under the policy, as it is now.
fn check_not_about_playing(db: &Connection, name: &str) -> Result<(), Error> {
    let newest = newest_policy(db, name)?;
    match newest.and_then(|policy| about_playing(&policy.terms)) {
        None => Ok(()),
        Some(term) => Err(Error::PolicyAboutPlaying {
            policy: name.to_owned(),
            term,
        }),
    }
}

/// The account of a name, made if there is none.
fn account(db: &Connection, name: &str, now: Timestamp) -> Result<i64, Error> {
    db.run(
        "INSERT INTO accounts (name, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![name, milliseconds(now)],
    )?;
    Ok(db.value("SELECT id FROM accounts WHERE name = ?1", params![name])?)
}

fn known_device(db: &Connection, device: &DeviceId) -> Result<(), Error> {
    let known: Option<i64> = db.value_if_any(
        "SELECT 1 FROM devices WHERE id = ?1",
        params![&device.as_bytes()[..]],
    )?;
    known.map(drop).ok_or(Error::DeviceUnknown(*device))
}
