//! how many uses of a key there are, in blocks that are recorded before they are made.

use keyward_crypto::exchange::{Algorithm, Operation};

/// Messages that one GCM key with random nonces encrypts at most (SP 800-38D, clause 8.3).
pub(super) const MAX_MESSAGES: u64 = 1 << 32;

/// Messages that are recorded at once: a million handles that are never closed use a key up.
const BLOCK_OF_MESSAGES: u64 = 1 << 12;

/// Uses that are recorded at once, at most.
const LARGEST_BLOCK: u64 = 64;

/// Whether the messages of a key are counted, whatever its license says.
pub(super) fn counts_messages(algorithm: Algorithm, operation: Operation) -> bool {
    operation == Operation::Encrypt && matches!(algorithm, Algorithm::A128Gcm | Algorithm::A256Gcm)
}

/// What a limit still leaves, and what of it is recorded at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Uses that are to be recorded now.
    pub(super) uses: u64,
    /// What is left after that.
    pub(super) beyond: u64,
}

impl Block {
    /// Of a license's use limit, of which `taken` are recorded: a crash costs a sixteenth of it at most.
    pub(super) fn of_uses(limit: u64, taken: u64) -> Self {
        Self::of(limit, taken, (limit / 16).clamp(1, LARGEST_BLOCK))
    }

    /// Of the messages of one key.
    pub(super) fn of_messages(taken: u64) -> Self {
        Self::of(MAX_MESSAGES, taken, BLOCK_OF_MESSAGES)
    }

    /// What both leave.
    pub(super) fn and(self, other: Self) -> Self {
        let uses = self.uses.min(other.uses);
        let total = |block: Self| block.uses.saturating_add(block.beyond);
        Self {
            uses,
            beyond: total(self).min(total(other)).saturating_sub(uses),
        }
    }

    fn of(limit: u64, taken: u64, step: u64) -> Self {
        let left = limit.saturating_sub(taken);
        let uses = left.min(step);
        Self {
            uses,
            beyond: left.saturating_sub(uses),
        }
    }
}

/// What a handle may use of its key without asking.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance(Option<Block>);

impl Allowance {
    /// Takes in a block that was recorded; none where nothing limits the uses.
    pub(super) const fn grant(&mut self, block: Option<Block>) {
        match (&mut self.0, block) {
            (Some(held), Some(block)) => {
                held.uses = held.uses.saturating_add(block.uses);
                held.beyond = block.beyond;
            }
            (held, block) => *held = block,
        }
    }

    /// Takes one use, if there is one.
    pub(super) const fn take(&mut self) -> bool {
        match &mut self.0 {
            None => true,
            Some(Block { uses: 0, .. }) => false,
            Some(block) => {
                block.uses -= 1;
                true
            }
        }
    }

    /// The last use was not made.
    pub(super) const fn put_back(&mut self) {
        if let Some(block) = &mut self.0 {
            block.uses = block.uses.saturating_add(1);
        }
    }

    pub(super) const fn is_there(&self) -> bool {
        !matches!(self.0, Some(Block { uses: 0, .. }))
    }

    /// Gives up every use, and says how many were recorded and not made.
    pub(super) const fn give_up(&mut self) -> u64 {
        let unused = match self.0 {
            Some(block) => block.uses,
            None => 0,
        };
        self.0 = Some(Block { uses: 0, beyond: 0 });
        unused
    }

    /// Every use that is left; none if they are not limited.
    pub(super) const fn rest(&self) -> Option<u64> {
        match self.0 {
            Some(block) => Some(block.uses.saturating_add(block.beyond)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_052_a_block_is_never_more_than_what_is_left() {
        let block = |uses, beyond| Block { uses, beyond };
        assert_eq!(Block::of_uses(1, 0), block(1, 0));
        assert_eq!(Block::of_uses(1, 1), block(0, 0));
        assert_eq!(Block::of_uses(1, 9), block(0, 0), "a lower limit than was used");
        assert_eq!(Block::of_uses(100, 0), block(6, 94));
        assert_eq!(Block::of_uses(100, 98), block(2, 0));
        assert_eq!(Block::of_uses(1 << 32, 0), block(64, (1 << 32) - 64));
        assert_eq!(Block::of_messages(0), block(1 << 12, (1 << 32) - (1 << 12)));
        assert_eq!(Block::of_messages((1 << 32) - 1), block(1, 0));
        assert_eq!(Block::of_messages(1 << 32), block(0, 0));
        assert_eq!(Block::of_uses(100, 0).and(Block::of_messages(0)), block(6, 94));
        let nearly = Block::of_messages((1 << 32) - 3);
        assert_eq!(Block::of_uses(100, 0).and(nearly), block(3, 0));
        assert_eq!(Block::of_uses(16, 0).and(nearly), block(1, 2));
    }

    #[test]
    fn r_052_uses_are_taken_one_by_one() {
        let mut allowance = Allowance::default();
        assert!(allowance.take() && allowance.rest().is_none(), "without a limit");
        allowance.grant(Some(Block::of_uses(32, 28)));
        assert_eq!(allowance.rest(), Some(4));
        assert!(allowance.take() && allowance.take() && !allowance.take());
        assert_eq!(allowance.rest(), Some(2));
        allowance.put_back();
        assert!(allowance.is_there() && allowance.take() && !allowance.is_there());
        allowance.grant(Some(Block::of_uses(32, 30)));
        assert_eq!(allowance.rest(), Some(2));
        assert!(allowance.take());
        assert_eq!(allowance.give_up(), 1);
        assert!(!allowance.take() && allowance.give_up() == 0);
        assert_eq!(Allowance::default().give_up(), 0, "nothing was recorded");
    }

    #[test]
    fn messages_are_counted_for_encryption_with_gcm_alone() {
        for algorithm in Algorithm::ALL {
            for operation in algorithm.operations() {
                let is_gcm = algorithm.takes_aad();
                let counts = is_gcm && operation == Operation::Encrypt;
                assert_eq!(
                    counts_messages(algorithm, operation),
                    counts,
                    "{algorithm} {operation}"
                );
            }
        }
    }
}
