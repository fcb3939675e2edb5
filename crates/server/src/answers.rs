//! Answers that were given lately. A request that comes again gets the same bytes and costs no signature.
//!
//! Nothing rests on them: one that is not here any more is signed again from what was recorded.

use std::sync::Arc;

use keyward_license::ids::{DeviceId, Digest};
use moka::sync::Cache;

/// Sealed responses by device and digest of the request's body.
pub(crate) struct Answers(Cache<(DeviceId, Digest), Arc<[u8]>>);

impl Answers {
    pub(crate) fn new() -> Self {
        let weigher = |_: &_, answer: &Arc<[u8]>| u32::try_from(answer.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(weigher).max_capacity(BYTES).build())
    }

    pub(crate) fn kept(&self, device: DeviceId, request: Digest) -> Option<Vec<u8>> {
        let answer = self.0.get(&(device, request))?;
        Some(answer.to_vec())
    }

    /// Forgets all: what they were signed with may be revoked.
    pub(crate) fn forget(&self) {
        self.0.invalidate_all();
    }

    pub(crate) fn keep(&self, device: DeviceId, request: Digest, answer: &[u8]) {
        self.0.insert((device, request), answer.into());
    }
}

/// Bytes of answers that are kept.
const BYTES: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_by_its_bytes() {
        let answers = Answers::new();
        let [one, other] = [1, 2].map(|byte| DeviceId::new([byte; 32]));
        let request = |number: u8| Digest::new([number; 32]);
        answers.keep(one, request(0), b"answer");
        assert_eq!(answers.kept(one, request(0)).unwrap(), b"answer");
        assert_eq!(answers.kept(other, request(0)), None);
        assert_eq!(answers.kept(one, request(1)), None);
        for number in 0..40 {
            answers.keep(one, request(number), &vec![number; 1 << 20]);
        }
        answers.0.run_pending_tasks();
        assert!(answers.0.weighted_size() <= BYTES);
    }
}
