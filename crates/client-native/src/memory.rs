//! Pages of memory that hold keys are kept out of the swap file.
//!
//! The operating system locks whole pages and counts no locks: what is unlocked for one key is unlocked for every key
//! on the page. [`LockedPages`] counts for it. Hibernation writes locked pages too.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyward_client::host::{KeptInMemory, MemoryLock};

/// Locks pages by the operating system (`mlock`, `VirtualLock`). One serves a whole process: see
/// [`LockedPages::of_process`].
#[derive(Clone, Default)]
pub struct LockedPages(Arc<Mutex<BTreeMap<usize, Page>>>);

struct Page {
    holders: usize,
    _guard: region::LockGuard,
}

impl LockedPages {
    /// The locks of this process: two that knew nothing of each other would undo each other's.
    #[must_use]
    pub fn of_process() -> Self {
        static PAGES: Mutex<Option<LockedPages>> = Mutex::new(None);
        let mut pages = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
        pages.get_or_insert_default().clone()
    }

    /// How many pages are locked now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pages().len()
    }

    /// Locks one page, or counts one more holder.
    fn hold(&self, page: usize) -> Result<(), region::Error> {
        let mut pages = self.pages();
        if let Some(held) = pages.get_mut(&page) {
            held.holders = held.holders.saturating_add(1);
            return Ok(());
        }
        let guard = region::lock(core::ptr::without_provenance::<u8>(page), region::page::size())?;
        let (holders, _guard) = (1, guard);
        pages.insert(page, Page { holders, _guard });
        Ok(())
    }

    fn release(&self, page: usize) {
        let mut pages = self.pages();
        let left = pages.get_mut(&page).map(|held| {
            held.holders = held.holders.saturating_sub(1);
            held.holders
        });
        if left == Some(0) {
            pages.remove(&page);
        }
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<usize, Page>> {
        // Nothing done under it can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl core::fmt::Debug for LockedPages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LockedPages")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl MemoryLock for LockedPages {
    fn lock(&self, address: usize, length: usize) -> Option<Box<dyn KeptInMemory>> {
        let size = region::page::size();
        let end = address.checked_add(length)?;
        let mut held = Held {
            pages: Vec::new(),
            of: self.clone(),
        };
        let mut page = address.checked_sub(address.checked_rem(size)?)?;
        while page < end {
            // What was locked so far is released with `held`.
            self.hold(page).ok()?;
            held.pages.push(page);
            page = page.checked_add(size)?;
        }
        Some(Box::new(held))
    }
}

/// The pages of one region.
struct Held {
    pages: Vec<usize>,
    of: LockedPages,
}

impl KeptInMemory for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.pages.iter().for_each(|page| self.of.release(*page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stays_locked_until_its_last_holder_goes() {
        let pages = LockedPages::default();
        let size = region::page::size();
        let memory = vec![1_u8; 4 * size];
        let start = memory.as_ptr().addr().next_multiple_of(size);
        let first = pages.lock(start + 10, 20).unwrap();
        let second = pages.lock(start + 40, size).unwrap();
        assert_eq!(pages.count(), 2, "one shared, one of the second alone");
        drop(second);
        assert_eq!(pages.count(), 1);
        drop(first);
        assert_eq!(pages.count(), 0);
    }

    #[test]
    fn what_cannot_be_locked_is_said_and_leaves_nothing_locked() {
        let pages = LockedPages::default();
        assert!(pages.lock(usize::MAX - 1, 8).is_none());
        // The first page of the address space is never mapped.
        assert!(pages.lock(0, 8).is_none());
        assert_eq!(pages.count(), 0);
        assert_eq!(format!("{pages:?}"), "LockedPages { count: 0, .. }");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_operating_system_says_that_the_page_is_locked() {
        let locked_kilobytes = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
            let number = line.unwrap().split_whitespace().next().unwrap();
            number.parse::<usize>().unwrap()
        };
        let pages = LockedPages::default();
        let size = region::page::size();
        let memory = vec![1_u8; 34 * size];
        let before = locked_kilobytes();
        let held = pages.lock(memory.as_ptr().addr(), 32 * size).unwrap();
        assert!(locked_kilobytes() >= before + 32 * size / 1024);
        drop(held);
        assert!(locked_kilobytes() < before + 32 * size / 1024);
    }
}
