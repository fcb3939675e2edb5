//! Who may have mirror operations performed.

use keyward_crypto::kdf::equal_constant_time;
use keyward_license::{ids::Kid, time::Timestamp};

use crate::{
    Error, Server,
    admin::{Administrator, Scope},
    chance::rng,
    token::{self, Token},
};

/// An exchange token, without the token itself: nobody has it but its holder. It permits mirror operations and
/// nothing of administration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeToken {
    /// Its name.
    pub name: String,
    /// The keys that it is for; `None` for every exchange key, also those to come.
    pub kids: Option<Vec<Kid>>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
}

/// Somebody who may have mirror operations performed, with the keys that they may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: String,
    kids: Option<Vec<Kid>>,
}

impl Caller {
    /// Whoever has the operator's directory and its key-encryption key: every exchange key.
    #[must_use]
    pub fn operator() -> Self {
        Self {
            name: "operator".to_owned(),
            kids: None,
        }
    }

    /// An administrator, for every exchange key; `None` if their token permits reading only.
    #[must_use]
    pub fn administrator(administrator: &Administrator) -> Option<Self> {
        (administrator.scope == Scope::Full).then(|| Self {
            name: format!("admin:{}", administrator.name),
            kids: None,
        })
    }

    /// How the record names them.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether they may use the key.
    #[must_use]
    pub fn may_use(&self, kid: &Kid) -> bool {
        self.kids.as_ref().is_none_or(|kids| kids.contains(kid))
    }
}

impl Server {
    /// Makes an exchange token for these keys, or for every exchange key, also those to come. The name of a revoked
    /// one stays taken: in the record, one name means one token.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the name is taken or not 1 to 64 printable ASCII characters, or of no keys or more
    /// than 1000; [`Error::ExchangeKeyUnknown`], or a failure of the database.
    pub async fn create_exchange_token(&self, name: &str, kids: Option<Vec<Kid>>) -> Result<Token, Error> {
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || !(1..=64).contains(&name.len()) {
            return Err(Error::OutOfRange {
                what: "the token's name",
                expected: "1 to 64 printable ASCII characters",
            });
        }
        if kids
            .as_ref()
            .is_some_and(|kids| !(1..=1000).contains(&kids.len()))
        {
            return Err(Error::OutOfRange {
                what: "the keys of an exchange token",
                expected: "1 to 1000, or all",
            });
        }
        let token = Token::generate(&mut rng());
        let now = self.inner().clock.now();
        self.store()
            .add_exchange_token(token.hash(), name.to_owned(), kids, now)
            .await?;
        Ok(token)
    }

    /// Every exchange token, also those that were revoked, in the order of their making.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn exchange_tokens(&self) -> Result<Vec<ExchangeToken>, Error> {
        let rows = self.store().exchange_tokens().await?.into_iter();
        let listed = rows.map(|row| ExchangeToken {
            name: row.name,
            kids: row.kids,
            created: row.created,
            revoked: row.revoked,
        });
        Ok(listed.collect())
    }

    /// Revokes an exchange token for good, at once; a stream that runs goes on to its end. Revoking it again changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::ExchangeTokenUnknown`], or a failure of the database.
    pub async fn revoke_exchange_token(&self, name: &str) -> Result<(), Error> {
        let now = self.inner().clock.now();
        self.store().revoke_exchange_token(name.to_owned(), now).await
    }

    /// Who presents this exchange token, if it is one in use. Hashes are compared in constant time.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn authenticate_exchange(&self, presented: &str) -> Result<Option<Caller>, Error> {
        let hash = token::hash(presented);
        let rows = self.store().exchange_tokens().await?;
        let found = rows
            .into_iter()
            .find(|row| equal_constant_time(row.hash.as_bytes(), hash.as_bytes()))
            .filter(|row| row.revoked.is_none());
        Ok(found.map(|row| Caller {
            name: format!("token:{}", row.name),
            kids: row.kids,
        }))
    }
}
