//! What an operator does with roots.

use keyward_crypto::RootKey;
use keyward_license::{ids::Kid, packaging::MAX_CONTENT_ID};

use super::{Blackout, MAX_PERIOD, NewRoot, Periods, Root, RootHoldings};
use crate::{
    Error, Server,
    chance::rng,
    policy::is_security_level,
    store::roots::{NewRootRow, RootRow},
    vault,
};

impl NewRoot {
    fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_NAME).contains(&self.name.len()) {
            return Err(Error::OutOfRange {
                what: "the root's name",
                expected: "1 to 255 bytes",
            });
        }
        match self.minimum_security_level.is_none_or(is_security_level) {
            true => Ok(()),
            false => Err(Error::OutOfRange {
                what: "the root's minimum security level",
                expected: "150, 2000 or 3000",
            }),
        }
    }
}

impl Server {
    /// Makes a root with a fresh random key. Returns its key id, which accounts are entitled to as to any other.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::RootExists`], [`Error::KidOfRoot`], [`Error::KidOfContent`],
    /// [`Error::KidOfExchange`], or a failure of the database.
    pub async fn create_root(&self, new: NewRoot) -> Result<Kid, Error> {
        new.check()?;
        let (inner, now) = (self.inner(), self.inner().clock.now());
        let kid = new.kid.unwrap_or_else(|| Kid::random(&mut rng()));
        let key = RootKey::random(&mut rng());
        let _sealing = inner.vault.sealing().await;
        let row = RootRow {
            kid,
            name: new.name,
            sealed: inner.vault.seal_root(&kid, &key)?,
            minimum_security_level: new.minimum_security_level,
            accompany: new.accompany,
            created: now,
        };
        let secret = &inner.identity().fingerprint_secret;
        let fingerprints = vault::fingerprints(secret, key.expose())?;
        let root = NewRootRow { row, fingerprints };
        inner.store.add_root(root, now).await?;
        Ok(kid)
    }

    /// Every root, in the order of their making.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn roots(&self) -> Result<Vec<Root>, Error> {
        let roots = self.store().roots().await?.into_iter();
        Ok(roots.map(listed).collect())
    }

    /// A root, and what is under it.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], or a failure of the database.
    pub async fn root(&self, kid: Kid) -> Result<(Root, RootHoldings), Error> {
        let root = self.store().root(&kid).await?;
        let root = root.ok_or(Error::RootUnknown(kid))?;
        Ok((listed(root), self.store().root_holdings(&kid).await?))
    }

    /// Puts a piece of content under a root, whole or some of its crypto periods, whether it has keys by now or not.
    /// Put there again, it is there with these periods.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::AboveRoot`] if the content has a key for a higher security level than the
    /// root's, [`Error::TooManyRoots`], [`Error::OutOfRange`], or a failure of the database.
    pub async fn put_content_under_root(
        &self,
        root: Kid,
        content_id: &str,
        periods: Periods,
    ) -> Result<(), Error> {
        check_content_id(content_id)?;
        let Periods { from, to } = periods;
        check_periods(from.unwrap_or_default(), to)?;
        let now = self.inner().clock.now();
        self.store()
            .put_content(root, content_id.to_owned(), periods, now)
            .await
    }

    /// Takes a piece of content off a root: it has no more leaves under it. Those that there are stay what they are.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::NotUnderRoot`], or a failure of the database.
    pub async fn take_content_off_root(&self, root: Kid, content_id: &str) -> Result<(), Error> {
        let now = self.inner().clock.now();
        self.store().take_content(root, content_id.to_owned(), now).await
    }

    /// Puts a single key of content under a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::KidUnknown`], [`Error::AboveRoot`] if the key is for a higher security level
    /// than the root's, [`Error::TooManyRoots`], or a failure of the database.
    pub async fn put_key_under_root(&self, root: Kid, kid: Kid) -> Result<(), Error> {
        self.store().put_key(root, kid, self.inner().clock.now()).await
    }

    /// Takes a single key off a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::NotUnderRoot`], or a failure of the database.
    pub async fn take_key_off_root(&self, root: Kid, kid: Kid) -> Result<(), Error> {
        self.store().take_key(root, kid, self.inner().clock.now()).await
    }

    /// Says that crypto periods of a piece of content have no leaf under a root: from (inclusive) to (exclusive), or
    /// from then on. Returns the number of the blackout; of the same again, the same. Leaves that a packager was given
    /// before are not called back, so say it before these periods are packaged.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::OutOfRange`], or a failure of the database.
    pub async fn black_out(
        &self,
        root: Kid,
        content_id: &str,
        from: u64,
        to: Option<u64>,
    ) -> Result<i64, Error> {
        check_content_id(content_id)?;
        check_periods(from, to)?;
        let now = self.inner().clock.now();
        self.store()
            .black_out(root, content_id.to_owned(), (from, to), now)
            .await
    }

    /// Lifts a blackout.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], [`Error::BlackoutUnknown`], or a failure of the database.
    pub async fn lift_blackout(&self, root: Kid, blackout: i64) -> Result<(), Error> {
        let now = self.inner().clock.now();
        self.store().lift_blackout(root, blackout, now).await
    }

    /// What is blacked out under a root.
    ///
    /// # Errors
    /// [`Error::RootUnknown`], or a failure of the database.
    pub async fn blackouts(&self, root: Kid) -> Result<Vec<Blackout>, Error> {
        Ok(self.root(root).await?.1.blackouts)
    }
}

pub(super) fn check_content_id(content_id: &str) -> Result<(), Error> {
    match (1..=MAX_CONTENT_ID).contains(&content_id.len()) {
        true => Ok(()),
        false => Err(Error::OutOfRange {
            what: "a content id",
            expected: "1 to 255 bytes",
        }),
    }
}

fn check_periods(from: u64, to: Option<u64>) -> Result<(), Error> {
    match from < MAX_PERIOD && to.is_none_or(|to| from < to && to <= MAX_PERIOD) {
        true => Ok(()),
        false => Err(Error::OutOfRange {
            what: "crypto periods",
            expected: "numbered below 2^48, and to end after they begin",
        }),
    }
}

fn listed(root: RootRow) -> Root {
    Root {
        kid: root.kid,
        name: root.name,
        minimum_security_level: root.minimum_security_level,
        accompany: root.accompany,
        created: root.created,
    }
}

const MAX_NAME: usize = 255;
