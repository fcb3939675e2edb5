//! The database, as verbs of the business. Look-ups are carried out where they are asked for; every write
//! goes through one writer that commits groups of them (see [`sqlite::writer`]). What administration lists goes
//! through a small pool.
//!
//! What a verb has recorded comes back as [`Recorded`], which only the store can make: signing asks for
//! one, so that nothing is signed that was not recorded.

pub(crate) mod acknowledgement;
pub(crate) mod exchange;
pub(crate) mod records;
pub(crate) mod revocation;
pub(crate) mod roots;
pub(crate) mod sqlite;

pub(crate) use records::*;
pub(crate) use sqlite::Store;

/// A value that stands in the database, committed.
#[derive(Debug)]
pub(crate) struct Recorded<T>(T);

impl<T> Recorded<T> {
    /// The value, to be signed. It goes by move: what was recorded once is signed once.
    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}
