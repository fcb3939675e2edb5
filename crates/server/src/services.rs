//! Services that carry requests to the license server, such as a proxy, each named by its token.
//!
//! A service token says who carries, and no more: it grants no license, opens no message and lets nobody
//! administer. Whether the viewer may have a key is decided as ever, by the request inside.

use keyward_crypto::kdf::equal_constant_time;
use keyward_license::time::Timestamp;

use crate::{
    Error, Server,
    chance::rng,
    token::{self, Token},
};

/// A service token, without the token itself: nobody has it but its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceToken {
    /// Its name, which is the service's.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
}

impl Server {
    /// Makes a token for a service. The name of a revoked one stays taken: in the record, one name means one
    /// token.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the name is taken or not 1 to 64 printable ASCII characters, or a failure of
    /// the database.
    pub async fn create_service_token(&self, name: &str) -> Result<Token, Error> {
        let rows = self.store().service_tokens().await?;
        let taken = rows.iter().any(|row| row.name == name);
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if taken || !printable || !(1..=64).contains(&name.len()) {
            return Err(Error::OutOfRange {
                what: "the service's name",
                expected: "1 to 64 printable ASCII characters that no other service token has",
            });
        }
        let token = Token::generate(&mut rng());
        let now = self.inner().clock.now();
        self.store()
            .add_service_token(token.hash(), name.to_owned(), now)
            .await?;
        Ok(token)
    }

    /// Every service token, also those that were revoked, in the order of their making.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn service_tokens(&self) -> Result<Vec<ServiceToken>, Error> {
        let rows = self.store().service_tokens().await?.into_iter();
        let listed = rows.map(|row| ServiceToken {
            name: row.name,
            created: row.created,
            revoked: row.revoked,
        });
        Ok(listed.collect())
    }

    /// Revokes a service token for good, at once. Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`Error::ServiceTokenUnknown`], or a failure of the database.
    pub async fn revoke_service_token(&self, name: &str) -> Result<(), Error> {
        let now = self.inner().clock.now();
        self.store().revoke_service_token(name.to_owned(), now).await
    }

    /// The name of the service that presents this token, if it is one in use. Hashes are compared in
    /// constant time.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn authenticate_service(&self, presented: &str) -> Result<Option<String>, Error> {
        let hash = token::hash(presented);
        let rows = self.store().service_tokens().await?;
        let found = rows
            .into_iter()
            .find(|row| equal_constant_time(row.hash.as_bytes(), hash.as_bytes()))
            .filter(|row| row.revoked.is_none());
        Ok(found.map(|row| row.name))
    }
}
