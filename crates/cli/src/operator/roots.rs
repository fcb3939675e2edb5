//! The operator's roots and channels.

use keyward_license::ids::Kid;
use keyward_server::roots::{Channel, NewRoot, Periods, Root, RootHoldings};

use super::Operator;
use crate::failure::Failure;

impl Operator {
    /// Makes a root with a fresh key.
    pub(crate) fn create_root(&self, new: NewRoot) -> Result<Kid, Failure> {
        Ok(self.run(self.server.create_root(new))?)
    }

    pub(crate) fn roots(&self) -> Result<Vec<Root>, Failure> {
        Ok(self.run(self.server.roots())?)
    }

    /// The key id of a root that somebody named: by its name, else by its key id.
    pub(crate) fn root_named(&self, named: &str) -> Result<Kid, Failure> {
        if let Some(root) = self.roots()?.into_iter().find(|root| root.name == named) {
            return Ok(root.kid);
        }
        let kid = named.parse().map_err(|_| {
            Failure::new(
                format!("no root is called {}", crate::report::quoted(named)),
                "see `keyward admin root list`, or make it: `keyward admin root create`",
            )
        })?;
        self.root(kid).map(|(root, _)| root.kid)
    }

    /// A root, and what is under it.
    pub(crate) fn root(&self, kid: Kid) -> Result<(Root, RootHoldings), Failure> {
        Ok(self.run(self.server.root(kid))?)
    }

    pub(crate) fn put_under_root(&self, root: Kid, what: &UnderRoot<'_>) -> Result<(), Failure> {
        Ok(match what {
            UnderRoot::Content(content_id, periods) => {
                self.run(self.server.put_content_under_root(root, content_id, *periods))
            }
            UnderRoot::Key(kid) => self.run(self.server.put_key_under_root(root, *kid)),
        }?)
    }

    pub(crate) fn take_off_root(&self, root: Kid, what: &UnderRoot<'_>) -> Result<(), Failure> {
        Ok(match what {
            UnderRoot::Content(content_id, _) => {
                self.run(self.server.take_content_off_root(root, content_id))
            }
            UnderRoot::Key(kid) => self.run(self.server.take_key_off_root(root, *kid)),
        }?)
    }

    /// Blacks crypto periods out, from one on, below another. Returns the number of the blackout.
    pub(crate) fn black_out(
        &self,
        root: Kid,
        content_id: &str,
        (from, to): (u64, Option<u64>),
    ) -> Result<i64, Failure> {
        Ok(self.run(self.server.black_out(root, content_id, from, to))?)
    }

    pub(crate) fn lift_blackout(&self, root: Kid, blackout: i64) -> Result<(), Failure> {
        Ok(self.run(self.server.lift_blackout(root, blackout))?)
    }

    /// Adds a channel, or changes the one of its content id.
    pub(crate) fn set_channel(&self, channel: Channel) -> Result<(), Failure> {
        Ok(self.run(self.server.set_channel(channel))?)
    }

    pub(crate) fn channels(&self) -> Result<Vec<Channel>, Failure> {
        Ok(self.run(self.server.channels())?)
    }
}

/// What comes under a root, or leaves it.
pub(crate) enum UnderRoot<'a> {
    /// Content, with some of its crypto periods.
    Content(&'a str, Periods),
    /// A single key.
    Key(Kid),
}
