//! Which paths are carried: those that the license server's discovery document names, of exchanges that this
//! version knows or of later ones. A proxy that carried any path would lend the service's name to whatever
//! else answers at the license server's origin.

use core::time::Duration;
use std::sync::{PoisonError, RwLock};

use keyward_license::{discovery::unverified_paths, signed::MessageError};
use tokio::time::Instant;

/// A path that is not known is looked for in a new document, but not more often than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The paths of the newest document that was seen.
#[derive(Debug, Default)]
pub(super) struct Paths(RwLock<Option<Learnt>>);

#[derive(Debug)]
struct Learnt {
    paths: Vec<String>,
    at: Instant,
}

impl Paths {
    /// Learns the paths of a discovery document in place of those known before. They are not verified: a
    /// path leads to the license server in any case, and who answers there is TLS's to say.
    pub(super) fn learn(&self, document: &[u8]) -> Result<(), MessageError> {
        let paths = unverified_paths(document)?;
        let at = Instant::now();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Learnt { paths, at });
        Ok(())
    }

    /// Whether `path` is carried, or `None` if it is time to look at a new document.
    pub(super) fn carries(&self, path: &str) -> Option<bool> {
        let learnt = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let learnt = learnt.as_ref()?;
        let known = learnt.paths.iter().any(|known| known == path);
        (known || learnt.at.elapsed() < PATIENCE).then_some(known)
    }
}
