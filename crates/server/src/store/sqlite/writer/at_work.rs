//! Who will want to be recorded soon.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Counts the license requests that the processors are at work on and that do not wait for the writer yet. Those that wait
/// for somebody else are not among them.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtWork(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Working(AtWork);

impl AtWork {
    /// One more, until what is returned is dropped.
    pub(crate) fn begin(&self) -> Working {
        self.0.fetch_add(1, Ordering::AcqRel);
        Working(self.clone())
    }

    pub(super) fn is_anybody(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
