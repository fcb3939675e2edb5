//! A place in locked memory where a key is for longer than one call.

use crate::host::{KeptInMemory, MemoryLock};

/// A box that is locked in memory before a key comes into it, and wiped before it is let go.
pub(crate) struct Locked<T> {
    value: Box<Option<T>>,
    lock: Option<Box<dyn KeptInMemory>>,
}

impl<T> Locked<T> {
    /// An empty place that stays where it is.
    pub(crate) fn empty(memory: &dyn MemoryLock) -> Self {
        let value: Box<Option<T>> = Box::new(None);
        let address = core::ptr::from_ref(&*value).addr();
        let lock = memory.lock(address, size_of_val(&*value));
        Self { value, lock }
    }

    pub(crate) fn put(&mut self, value: T) -> &mut T {
        self.value.insert(value)
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().as_ref()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut().as_mut()
    }

    /// Takes the value out, for what ends by it.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.value.take()
    }

    pub(crate) const fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // The key wipes itself while its pages are still locked, and they are unlocked while they are still there.
        *self.value = None;
        self.lock = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What happened, in its order.
    static EVENTS: Mutex<Vec<&str>> = Mutex::new(Vec::new());

    struct Key([u8; 40]);

    impl Drop for Key {
        fn drop(&mut self) {
            EVENTS.lock().unwrap().push("wiped");
        }
    }

    struct Page;

    impl KeptInMemory for Page {}

    impl Drop for Page {
        fn drop(&mut self) {
            EVENTS.lock().unwrap().push("unlocked");
        }
    }

    #[derive(Default)]
    struct Pages(Mutex<Vec<(usize, usize)>>);

    impl MemoryLock for Pages {
        fn lock(&self, address: usize, length: usize) -> Option<Box<dyn KeptInMemory>> {
            EVENTS.lock().unwrap().push("locked");
            self.0.lock().unwrap().push((address, length));
            Some(Box::new(Page))
        }
    }

    #[test]
    fn a_place_is_locked_before_the_key_comes_and_unlocked_after_it_is_wiped() {
        let pages = Pages::default();
        let mut place = Locked::empty(&pages);
        assert!(place.get().is_none() && place.is_locked());
        place.put(Key([7; 40]));
        EVENTS.lock().unwrap().push("put");
        let key = place.get().unwrap();
        let (address, length) = pages.0.lock().unwrap()[0];
        let at = key.0.as_ptr().addr();
        assert!(
            address <= at && at + 40 <= address + length,
            "the key is where was locked"
        );
        let moved = place;
        assert_eq!(moved.get().unwrap().0.as_ptr().addr(), at, "and stays there");
        drop(moved);
        assert_eq!(*EVENTS.lock().unwrap(), ["locked", "put", "wiped", "unlocked"]);
    }
}
