//! Administration: what an operator does to accounts, devices, policies and keys. The administration
//! interface calls these over HTTP, the command line calls them on the database itself.

use keyward_crypto::{ContentKey, SecretBytes, kdf::equal_constant_time};
use keyward_license::{
    certificate::SECURITY_LEVEL_SOFTWARE,
    enrolment::EnrolmentRole,
    ids::{DeviceId, Kid},
    license::KeyType,
    time::Timestamp,
};

use crate::{
    Error, Server,
    chance::rng,
    policy::{Policy, PolicyTerms, check_name, is_security_level},
    store::{
        DeviceProfile, KeyRow, KeySource,
        sqlite::{DeviceCertificateRow, NewToken},
    },
    token::{self, Token},
    vault::{self, PackagingKey, RegisteredKey, Registration, Source},
};

/// What an enrolment token will be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The account of the device, or who runs the packager: 1 to 255 bytes.
    pub account: String,
    /// What may enrol with the token.
    pub role: EnrolmentRole,
    /// Security level of the device: 150, 2000 or 3000. Give 3000 only where it is known that hardware
    /// protects the keys of the device that will use the token. A packager's certificate states none.
    pub security_level: u64,
    /// Who made the device; up to 255 bytes.
    pub maker: String,
    /// The device's model; up to 255 bytes.
    pub model: String,
    /// Version of the robustness rules that the device was made to, 1 or higher; `None`: to none.
    pub robustness_version: Option<u64>,
    /// Seconds until the token expires: 1 to 31536000 (a year).
    pub expires_in: u64,
}

impl TokenRequest {
    /// A token for a software device of `account` that expires in a day.
    #[must_use]
    pub fn new(account: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            role: EnrolmentRole::Device,
            security_level: SECURITY_LEVEL_SOFTWARE,
            maker: String::new(),
            model: String::new(),
            robustness_version: None,
            expires_in: 86_400,
        }
    }
}

/// A live entitlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    /// Names it for revocation.
    pub id: i64,
    /// The key id, or all.
    pub kid: Option<Kid>,
    /// Name of the policy; its newest version applies.
    pub policy: String,
    /// When it was granted.
    pub granted: Timestamp,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
}

/// An enrolled device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Device id.
    pub id: DeviceId,
    /// Its account.
    pub account: String,
    /// What it is enrolled as: packagers stand in the same register.
    pub role: EnrolmentRole,
    /// Its security level.
    pub security_level: u64,
    /// Who made it.
    pub maker: String,
    /// Its model.
    pub model: String,
    /// Version of the robustness rules that it was made to, if it was to one.
    pub robustness_version: Option<u64>,
    /// When it was last enrolled.
    pub enrolled: Timestamp,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// Its certificates that have not ended, the newest first.
    pub certificates: Vec<DeviceCertificate>,
}

/// A certificate of a device or packager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCertificate {
    /// Its serial number: the content of the DER INTEGER, big-endian.
    pub serial: Vec<u8>,
    /// When it ends.
    pub not_after: Timestamp,
    /// Whether the list of its authority names it.
    pub is_revoked: bool,
}

/// What an admin token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Full,
    /// Reading.
    Read,
}

impl Scope {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
        }
    }

    fn of(row: &str) -> Self {
        if row == Self::Full.as_str() {
            Self::Full
        } else {
            Self::Read
        }
    }
}

/// An admin token, without the token itself: nobody has it but its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Its name.
    pub name: String,
    /// What it permits.
    pub scope: Scope,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
}

/// An admin token that was presented and is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// The token's name.
    pub name: String,
    /// What it permits.
    pub scope: Scope,
}

impl Server {
    /// Makes a single-use enrolment token.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::NoPackagerAuthority`], or a failure of the database.
    pub async fn create_enrolment_token(&self, request: TokenRequest) -> Result<Token, Error> {
        check_account(&request.account)?;
        if !is_security_level(request.security_level) {
            return Err(Error::OutOfRange {
                what: "the security level",
                expected: "150, 2000 or 3000",
            });
        }
        if request.maker.len() > MAX_TEXT || request.model.len() > MAX_TEXT {
            return Err(Error::OutOfRange {
                what: "maker and model",
                expected: "at most 255 bytes each",
            });
        }
        if request
            .robustness_version
            .is_some_and(|version| !VERSIONS.contains(&version))
        {
            return Err(Error::OutOfRange {
                what: "the robustness version",
                expected: "1 or higher",
            });
        }
        if !(1..=YEAR).contains(&request.expires_in) {
            return Err(Error::OutOfRange {
                what: "the token's lifetime",
                expected: "1 to 31536000 seconds",
            });
        }
        if request.role == EnrolmentRole::Packager && !self.inner().identity().certifies_packagers() {
            return Err(Error::NoPackagerAuthority);
        }
        let now = self.inner().clock.now();
        let token = Token::generate(&mut rng());
        let row = NewToken {
            hash: token.hash(),
            account: request.account,
            role: request.role,
            profile: DeviceProfile {
                security_level: request.security_level,
                maker: request.maker,
                model: request.model,
                robustness_version: request.robustness_version,
            },
            expires: now.plus(request.expires_in),
        };
        self.store().add_enrolment_token(row, now).await?;
        Ok(token)
    }

    /// Entitles an account to a key id, or to all, under a policy. An earlier entitlement to the same
    /// ends with it. Returns the entitlement's number.
    ///
    /// # Errors
    /// [`Error::PolicyUnknown`], [`Error::OutOfRange`], or a failure of the database.
    pub async fn grant(
        &self,
        account: &str,
        kid: Option<Kid>,
        policy: &str,
        expires: Option<Timestamp>,
    ) -> Result<i64, Error> {
        check_account(account)?;
        let now = self.inner().clock.now();
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Error::OutOfRange {
                what: "the entitlement's end",
                expected: "in the future",
            });
        }
        self.store()
            .grant(account.to_owned(), kid, policy.to_owned(), expires, now)
            .await
    }

    /// Ends an entitlement. Licenses that were issued stay valid until they end.
    ///
    /// # Errors
    /// [`Error::EntitlementUnknown`], or a failure of the database.
    pub async fn revoke_entitlement(&self, entitlement: i64) -> Result<(), Error> {
        self.store()
            .revoke_entitlement(entitlement, self.inner().clock.now())
            .await
    }

    /// The live entitlements of an account, in the order of their grants.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn entitlements(&self, account: &str) -> Result<Vec<Entitlement>, Error> {
        let rows = self.store().entitlements(account).await?;
        let listed = rows.into_iter().map(|row| Entitlement {
            id: row.id,
            kid: row.kid,
            policy: row.policy,
            granted: row.granted,
            expires: row.expires,
        });
        Ok(listed.collect())
    }

    /// Adds a policy, or the next version of one. Returns the version.
    ///
    /// # Errors
    /// [`Error::PolicyRefused`], or a failure of the database.
    pub async fn create_policy(&self, name: &str, terms: PolicyTerms) -> Result<u64, Error> {
        let now = self.inner().clock.now();
        check_name(name)?;
        terms.check(now)?;
        self.store().add_policy(name.to_owned(), terms, now).await
    }

    /// The newest version of every policy, by name.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn policies(&self) -> Result<Vec<Policy>, Error> {
        self.store().policies().await
    }

    /// Every version of a policy, the newest first.
    ///
    /// # Errors
    /// [`Error::PolicyUnknown`], or a failure of the database.
    pub async fn policy_versions(&self, name: &str) -> Result<Vec<Policy>, Error> {
        let versions = self.store().policy_versions(name).await?;
        if versions.is_empty() {
            return Err(Error::PolicyUnknown(name.to_owned()));
        }
        Ok(versions)
    }

    /// Registers a key id whose key is derived from a license key seed. The same again is fine.
    ///
    /// # Errors
    /// [`Error::KeyConflict`], [`Error::SeedUnknown`], [`Error::KeyTypeRefused`], or a failure of the
    /// database.
    pub async fn register_key(&self, kid: Kid, key_type: KeyType, seed: u64) -> Result<(), Error> {
        self.register_key_of_level(kid, key_type, seed, None).await
    }

    /// As [`Server::register_key`], for devices of a security level alone: 150, 2000 or 3000. A license for the
    /// key then needs the higher of this and the policy's. Of a key id that is registered the level is set.
    ///
    /// # Errors
    /// Those of [`Server::register_key`], and [`Error::OutOfRange`] for another level.
    pub async fn register_key_of_level(
        &self,
        kid: Kid,
        key_type: KeyType,
        seed: u64,
        minimum_security_level: Option<u64>,
    ) -> Result<(), Error> {
        let (inner, identity) = (self.inner(), self.inner().identity());
        let asked = registration(kid, key_type, minimum_security_level)?;
        let (secret, now) = (&identity.fingerprint_secret, inner.clock.now());
        inner
            .vault
            .register(&inner.store, secret, (asked, seed), now)
            .await
    }

    /// Registers a key id with a key of its own. The same again is fine.
    ///
    /// # Errors
    /// [`Error::KeyConflict`], [`Error::KeyReused`], [`Error::KeyTypeRefused`], or a failure of the
    /// database.
    pub async fn import_key(&self, kid: Kid, key_type: KeyType, key: &ContentKey) -> Result<(), Error> {
        self.import_key_of_level(kid, key_type, key, None).await
    }

    /// As [`Server::import_key`], for devices of a security level alone, see
    /// [`Server::register_key_of_level`].
    ///
    /// # Errors
    /// Those of [`Server::import_key`], and [`Error::OutOfRange`] for another level.
    pub async fn import_key_of_level(
        &self,
        kid: Kid,
        key_type: KeyType,
        key: &ContentKey,
        minimum_security_level: Option<u64>,
    ) -> Result<(), Error> {
        let (inner, identity) = (self.inner(), self.inner().identity());
        let asked = registration(kid, key_type, minimum_security_level)?;
        let (secret, now) = (&identity.fingerprint_secret, inner.clock.now());
        inner.vault.import(&inner.store, secret, (asked, key), now).await
    }

    /// Takes over a license key seed of another system, 30 to 64 bytes. Returns its number.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], or a failure of the database.
    pub async fn import_seed(&self, seed: SecretBytes) -> Result<u64, Error> {
        keyward_crypto::seed::LicenseKeySeed::new(seed.expose()).map_err(|_| Error::OutOfRange {
            what: "a license key seed",
            expected: "30 to 64 bytes",
        })?;
        let server = self.clone();
        let seal = move |number| vault::seal_seed(&server.vault().kek(), number, &seed);
        let _sealing = self.vault().sealing().await;
        self.store().add_seed(true, seal, self.inner().clock.now()).await
    }

    /// Every registered key id.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn keys(&self) -> Result<Vec<RegisteredKey>, Error> {
        let keys = self.store().keys().await?.into_iter();
        Ok(keys.map(|key| registered(&key)).collect())
    }

    /// A key id, if it is registered.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn registered_key(&self, kid: Kid) -> Result<Option<RegisteredKey>, Error> {
        Ok(self.store().key(&kid).await?.as_ref().map(registered))
    }

    /// The content key of a registered key id, to encrypt content with. The act stands in the database, as an
    /// event `content-key-exported` with the key id, before the key is returned.
    ///
    /// # Errors
    /// [`Error::KidUnknown`], or a failure of the database.
    pub async fn content_key_for_packaging(&self, kid: Kid) -> Result<PackagingKey, Error> {
        let row = self.store().key(&kid).await?.ok_or(Error::KidUnknown(kid))?;
        let key = self.vault().content_key(self.store(), &row).await?;
        let now = self.inner().clock.now();
        self.store()
            .record_act("content-key-exported", kid.to_string(), now)
            .await?;
        tracing::info!(%kid, "content key handed out for packaging");
        Ok(PackagingKey {
            kid,
            key_type: row.key_type,
            key,
        })
    }

    /// Every enrolled device, newest first.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        let devices = self.store().devices(self.inner().clock.now()).await?;
        let devices = devices.into_iter().map(|row| Device {
            id: row.id,
            account: row.account,
            role: row.role,
            security_level: row.profile.security_level,
            maker: row.profile.maker,
            model: row.profile.model,
            robustness_version: row.profile.robustness_version,
            enrolled: row.enrolled,
            revoked: row.revoked,
            certificates: row.certificates.into_iter().map(listed_certificate).collect(),
        });
        Ok(devices.collect())
    }

    /// Revokes a device for good: it gets no more licenses and cannot enrol again. Revoking it again changes nothing;
    /// then since when it is revoked comes back.
    ///
    /// # Errors
    /// [`Error::DeviceUnknown`], or a failure of the database.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<Option<Timestamp>, Error> {
        self.store().revoke_device(device, self.inner().clock.now()).await
    }

    /// Accepts that a device's store went back to an earlier state (its owner restored a backup): its
    /// generations are forgotten. Licenses with counts may be used again that were used up before.
    ///
    /// # Errors
    /// [`Error::DeviceUnknown`], or a failure of the database.
    pub async fn accept_restored_store(&self, device: DeviceId) -> Result<(), Error> {
        self.store().accept_store(device, self.inner().clock.now()).await
    }

    /// Makes another admin token. The name of a revoked one stays taken: in the record, one name means one
    /// token.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the name is taken or not 1 to 64 bytes, or a failure of the database.
    pub async fn create_admin_token(&self, name: &str, scope: Scope) -> Result<Token, Error> {
        let taken = self
            .store()
            .admin_tokens()
            .await?
            .iter()
            .any(|row| row.name == name);
        if taken || !(1..=64).contains(&name.len()) {
            let expected = "1 to 64 bytes that no other token has";
            return Err(Error::OutOfRange {
                what: "the token's name",
                expected,
            });
        }
        let token = Token::generate(&mut rng());
        let now = self.inner().clock.now();
        self.store()
            .add_admin_token(token.hash(), name.to_owned(), scope.as_str(), now)
            .await?;
        Ok(token)
    }

    /// Every admin token, also those that were revoked, in the order of their making.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn admin_tokens(&self) -> Result<Vec<AdminToken>, Error> {
        let rows = self.store().admin_tokens().await?.into_iter();
        let listed = rows.map(|row| AdminToken {
            scope: Scope::of(&row.scope),
            name: row.name,
            created: row.created,
            revoked: row.revoked,
        });
        Ok(listed.collect())
    }

    /// Revokes an admin token for good, at once. Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`Error::AdminTokenUnknown`], or a failure of the database.
    pub async fn revoke_admin_token(&self, name: &str) -> Result<(), Error> {
        self.store()
            .revoke_admin_token(name.to_owned(), self.inner().clock.now())
            .await
    }

    /// Who presents this admin token, if it is one in use. Hashes are compared in constant time.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn authenticate_admin(&self, presented: &str) -> Result<Option<Administrator>, Error> {
        let hash = token::hash(presented);
        let rows = self.store().admin_tokens().await?;
        let found = rows
            .into_iter()
            .find(|row| equal_constant_time(row.hash.as_bytes(), hash.as_bytes()))
            .filter(|row| row.revoked.is_none());
        Ok(found.map(|row| Administrator {
            scope: Scope::of(&row.scope),
            name: row.name,
        }))
    }
}

fn check_account(account: &str) -> Result<(), Error> {
    if (1..=MAX_TEXT).contains(&account.len()) {
        Ok(())
    } else {
        Err(Error::OutOfRange {
            what: "an account's name",
            expected: "1 to 255 bytes",
        })
    }
}

fn registered(key: &KeyRow) -> RegisteredKey {
    let source = match &key.source {
        KeySource::Seed(number) => Source::Seed(*number),
        KeySource::Sealed(_) | KeySource::Exchange => Source::Stored,
    };
    RegisteredKey {
        kid: key.kid,
        key_type: key.key_type,
        source,
        minimum_security_level: key.minimum_security_level,
    }
}

fn registration(
    kid: Kid,
    key_type: KeyType,
    minimum_security_level: Option<u64>,
) -> Result<Registration, Error> {
    if !minimum_security_level.is_none_or(is_security_level) {
        return Err(Error::OutOfRange {
            what: "the key's minimum security level",
            expected: "150, 2000 or 3000",
        });
    }
    Ok(Registration {
        kid,
        key_type,
        minimum_security_level,
    })
}

/// The name of a role in the database and in JSON.
#[must_use]
pub const fn role_name(role: EnrolmentRole) -> &'static str {
    match role {
        EnrolmentRole::Device => "device",
        EnrolmentRole::Packager => "packager",
    }
}

/// The role of a name.
#[must_use]
pub fn role_from_name(name: &str) -> Option<EnrolmentRole> {
    [EnrolmentRole::Device, EnrolmentRole::Packager]
        .into_iter()
        .find(|role| role_name(*role) == name)
}

fn listed_certificate(row: DeviceCertificateRow) -> DeviceCertificate {
    DeviceCertificate {
        serial: row.serial.to_vec(),
        not_after: row.not_after,
        is_revoked: row.is_revoked,
    }
}

const MAX_TEXT: usize = 255;
/// Robustness versions that the database holds.
const VERSIONS: core::ops::RangeInclusive<u64> = 1..=i64::MAX.unsigned_abs();
const YEAR: u64 = 365 * 86_400;
