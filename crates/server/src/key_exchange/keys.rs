//! Exchange keys, from their making to their end.

use keyward_crypto::{
    SecretBytes,
    exchange::{Algorithm, ExchangeKey, Operation},
};
use keyward_license::{
    ids::Kid,
    license::{MAX_CONTEXT, MAX_USES},
};

use super::{Destroy, KeyListing, Use, VersionListing, value};
use crate::{
    Error, Server,
    chance::rng,
    policy::is_security_level,
    store::exchange::{ExchangeChange, ExchangeKeyRow, NewExchangeKey, UseRow},
};

/// An exchange key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Key id; without, one is drawn.
    pub kid: Option<Kid>,
    /// What it is called, for people: 1 to 255 bytes.
    pub name: String,
    /// Its algorithm, for good.
    pub algorithm: Algorithm,
    /// What clients do with it, for good; one of the algorithm's operations.
    pub operation: Operation,
    /// What the additional data of every use must be: 1 to 255 bytes, of an algorithm that takes such data.
    pub context: Option<Vec<u8>>,
    /// How often a client may use it under one license: 1 to 2^32.
    pub uses: Option<u64>,
    /// Smallest security level of a device that gets it, besides what the policy asks for: 150, 2000 or 3000.
    pub minimum_security_level: Option<u64>,
    /// An exchange key in whose licenses this one travels as well, to clients that can use several keys. Whoever is
    /// entitled to that key then has this one. Eight may be beside one, each of another algorithm.
    pub beside: Option<Kid>,
}

impl NewKey {
    /// A key with nothing but what it must have.
    #[must_use]
    pub fn new(name: impl Into<String>, algorithm: Algorithm, operation: Operation) -> Self {
        Self {
            kid: None,
            name: name.into(),
            algorithm,
            operation,
            context: None,
            uses: None,
            minimum_security_level: None,
            beside: None,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let out_of_range = |what, expected| Err(Error::OutOfRange { what, expected });
        if !(1..=255).contains(&self.name.len()) {
            return out_of_range("the exchange key's name", "1 to 255 bytes");
        }
        if !self.algorithm.permits(self.operation) {
            return out_of_range(
                "the operation",
                "encrypt or decrypt for AES, wrap or unwrap for key wrap, sign or verify for the others",
            );
        }
        if let Some(context) = &self.context {
            if !self.algorithm.takes_aad() {
                return out_of_range(
                    "the algorithm of a key with a context",
                    "AES-GCM, which takes such data",
                );
            }
            if !(1..=MAX_CONTEXT).contains(&context.len()) {
                return out_of_range("the context", "1 to 255 bytes");
            }
        }
        if self.uses.is_some_and(|uses| !(1..=MAX_USES).contains(&uses)) {
            return out_of_range("the use limit", "1 to 4294967296");
        }
        check_level(self.minimum_security_level)
    }
}

impl Server {
    /// Makes an exchange key with a fresh value, which is version 1. Returns its key id.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::KidOfContent`], [`Error::ExchangeKeyExists`], [`Error::BesideRefused`], or a
    /// failure of the database.
    pub async fn create_exchange_key(&self, new: NewKey) -> Result<Kid, Error> {
        let key = ExchangeKey::generate(new.algorithm, &mut rng());
        self.add_exchange_key(new, &key, false).await
    }

    /// Takes over an exchange key: the bytes of the secret, or of the private half (the P-256 scalar, big-endian; the
    /// Ed25519 seed of RFC 8032). Returns its key id.
    ///
    /// # Errors
    /// Those of [`Server::create_exchange_key`], [`Error::ExchangeKeyRefused`], and [`Error::KeyOfContent`] or
    /// [`Error::KeyOfExchange`] if the value or a part of it serves or served elsewhere.
    pub async fn import_exchange_key(&self, new: NewKey, value: &SecretBytes) -> Result<Kid, Error> {
        let key = read_value(new.algorithm, value)?;
        self.add_exchange_key(new, &key, true).await
    }

    async fn add_exchange_key(&self, new: NewKey, key: &ExchangeKey, imported: bool) -> Result<Kid, Error> {
        new.check()?;
        let inner = self.inner();
        let kid = new.kid.unwrap_or_else(|| Kid::random(&mut rng()));
        let secret = &inner.identity().fingerprint_secret;
        let _sealing = inner.vault.sealing().await;
        let row = NewExchangeKey {
            kid,
            name: new.name,
            algorithm: new.algorithm.number(),
            operation: new.operation.number().into(),
            context: new.context,
            uses: new.uses,
            minimum_security_level: new.minimum_security_level,
            beside: new.beside,
            imported,
            value: value::seal(&inner.vault.kek(), secret, (&kid, 1), key)?,
        };
        inner.store.add_exchange_key(row, inner.clock.now()).await?;
        Ok(kid)
    }

    /// Gives an exchange key a new version with a fresh value, which is used from then on. Returns its number.
    /// Earlier versions are accepted until the minimum version is raised.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeKeyDestroyed`], or a failure of the database.
    pub async fn rotate_exchange_key(&self, kid: Kid) -> Result<u32, Error> {
        let algorithm = value::algorithm(&self.exchange_row(kid).await?)?;
        let key = ExchangeKey::generate(algorithm, &mut rng());
        self.add_exchange_version(kid, key).await
    }

    /// As [`Server::rotate_exchange_key`], with a value that is taken over, see [`Server::import_exchange_key`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn rotate_exchange_key_to(&self, kid: Kid, value: &SecretBytes) -> Result<u32, Error> {
        let algorithm = value::algorithm(&self.exchange_row(kid).await?)?;
        self.add_exchange_version(kid, read_value(algorithm, value)?)
            .await
    }

    async fn add_exchange_version(&self, kid: Kid, key: ExchangeKey) -> Result<u32, Error> {
        let (server, identity) = (self.clone(), self.inner().identity());
        let seal = move |version| {
            let kek = server.vault().kek();
            value::seal(&kek, &identity.fingerprint_secret, (&kid, version), &key)
        };
        let now = self.inner().clock.now();
        let _sealing = self.vault().sealing().await;
        self.store().rotate_exchange_key(kid, seal, now).await
    }

    /// Sets the least version of an exchange key that is still accepted, in licenses and by the server.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeVersionUnknown`] above the newest, [`Error::OutOfRange`] if it
    /// would be lowered to a version that was destroyed, or below one; [`Error::ExchangeKeyDestroyed`], or a failure
    /// of the database.
    pub async fn set_exchange_minimum_version(&self, kid: Kid, version: u32) -> Result<(), Error> {
        self.change_exchange_key(kid, ExchangeChange::MinimumVersion(version))
            .await
    }

    /// Sets the smallest security level of a device that gets an exchange key: 150, 2000 or 3000; `None` where the
    /// policy alone decides. Licenses that were issued keep theirs.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeKeyDestroyed`], [`Error::OutOfRange`], or a failure of the
    /// database.
    pub async fn set_exchange_minimum_level(&self, kid: Kid, level: Option<u64>) -> Result<(), Error> {
        check_level(level)?;
        self.change_exchange_key(kid, ExchangeChange::MinimumSecurityLevel(level))
            .await
    }

    /// Takes an exchange key out of use: no license is issued for it, and the server performs nothing with it. A stream
    /// that runs does not come to its end.
    /// Licenses that were issued stay valid until they end. Again, it changes nothing.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeKeyDestroyed`], or a failure of the database.
    pub async fn disable_exchange_key(&self, kid: Kid) -> Result<(), Error> {
        self.change_exchange_key(kid, ExchangeChange::Disable).await
    }

    /// Puts an exchange key into use again. Again, it changes nothing.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeKeyDestroyed`], or a failure of the database.
    pub async fn enable_exchange_key(&self, kid: Kid) -> Result<(), Error> {
        self.change_exchange_key(kid, ExchangeChange::Enable).await
    }

    /// Destroys a version of an exchange key, or all of it, for good: what is encrypted with it alone is lost. Its
    /// fingerprint stays, so that the value never serves again. Backups that were made before still hold it, sealed.
    /// Again, it changes nothing.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], [`Error::ExchangeVersionUnknown`], [`Error::OutOfRange`] for the newest version
    /// alone, or a failure of the database.
    pub async fn destroy_exchange_key(&self, kid: Kid, what: Destroy) -> Result<(), Error> {
        self.change_exchange_key(kid, ExchangeChange::Destroy(what))
            .await?;
        tracing::warn!(%kid, ?what, "exchange key destroyed");
        Ok(())
    }

    async fn change_exchange_key(&self, kid: Kid, change: ExchangeChange) -> Result<(), Error> {
        let now = self.inner().clock.now();
        self.store().change_exchange_key(kid, change, now).await
    }

    /// Every exchange key, in the order of their making.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn exchange_keys(&self) -> Result<Vec<KeyListing>, Error> {
        let rows = self.store().exchange_keys().await?;
        rows.into_iter().map(listing).collect()
    }

    /// An exchange key.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], or a failure of the database.
    pub async fn exchange_key(&self, kid: Kid) -> Result<KeyListing, Error> {
        listing(self.exchange_row(kid).await?)
    }

    /// Uses of an exchange key by the server, newest first: at most `limit` (1000 at most), of those before the one
    /// of number `before`, if given.
    ///
    /// # Errors
    /// [`Error::ExchangeKeyUnknown`], or a failure of the database.
    pub async fn exchange_uses(&self, kid: Kid, before: Option<i64>, limit: u32) -> Result<Vec<Use>, Error> {
        self.exchange_row(kid).await?;
        let rows = self.store().exchange_uses(&kid, before, limit.min(MOST_LISTED));
        rows.await?.into_iter().map(listed_use).collect()
    }

    pub(super) async fn exchange_row(&self, kid: Kid) -> Result<ExchangeKeyRow, Error> {
        let row = self.store().exchange_key(&kid).await?;
        row.ok_or(Error::ExchangeKeyUnknown(kid))
    }
}

/// Uses listed at a time.
const MOST_LISTED: u32 = 1000;

fn read_value(algorithm: Algorithm, value: &SecretBytes) -> Result<ExchangeKey, Error> {
    ExchangeKey::import(algorithm, value).map_err(|fault| Error::ExchangeKeyRefused {
        algorithm: algorithm.name(),
        fault,
    })
}

fn check_level(level: Option<u64>) -> Result<(), Error> {
    if level.is_none_or(is_security_level) {
        return Ok(());
    }
    Err(Error::OutOfRange {
        what: "the key's minimum security level",
        expected: "150, 2000 or 3000",
    })
}

fn listing(row: ExchangeKeyRow) -> Result<KeyListing, Error> {
    let version = |version: &crate::store::exchange::ExchangeVersionRow| VersionListing {
        version: version.version,
        created: version.created,
        destroyed: version.sealed.is_none(),
        messages: version.messages,
    };
    Ok(KeyListing {
        algorithm: value::algorithm(&row)?,
        operation: value::operation(row.operation)?,
        versions: row.versions.iter().map(version).collect(),
        kid: row.kid,
        name: row.name,
        context: row.context,
        uses: row.uses,
        minimum_version: row.minimum_version,
        minimum_security_level: row.minimum_security_level,
        beside: row.beside,
        state: row.state,
        created: row.created,
    })
}

fn listed_use(row: UseRow) -> Result<Use, Error> {
    Ok(Use {
        operation: value::operation(row.operation)?,
        id: row.id,
        at: row.at,
        version: row.version,
        items: row.items,
        failed: row.failed,
        bytes: row.bytes,
        caller: row.caller,
        outcome: row.outcome,
    })
}
