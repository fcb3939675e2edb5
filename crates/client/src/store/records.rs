//! What the records hold.

use keyward_crypto::Secret;
use keyward_license::{
    cbor_map,
    codec::{Bytes, Reader, Wire, Writer},
    ids::{Digest, Kid, LicenseId, Nonce},
    license::Flag,
    time::Timestamp,
};

use crate::choose::Recorded;

cbor_map! {
    /// The head of the store.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub(crate) struct Head = "store head" {
        /// Counts commits.
        [1] generation: u64,
        /// Digest of the index root; absent while the index is empty.
        [2?] index: [u8; 16],
        /// The clock's floor.
        [3] clock: Clock,
        /// Operators enrolled with, by root hash.
        [4] operators: Vec<Digest>,
        /// What the bounds are about.
        [5] totals: Totals,
        /// Earliest time at which a record may go; absent while none may.
        [6?] due: Timestamp,
        /// Acknowledgements that wait for their receipts; absent for none.
        [7?] acknowledgements: u64,
        /// operators that have not told the time since another one's answer lowered the floor; absent for none.
        [8?] untimed: Vec<Digest>,
    }
}

cbor_map! {
    /// What the store holds, counted with every commit.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) struct Totals = "store totals" {
        /// Licenses.
        [1] licenses: u64,
        /// Bytes of their sealed records.
        [2] license_bytes: u64,
        /// Tombstones.
        [3] tombstones: u64,
        /// Exchange keys whose messages are counted; absent for none.
        [4?] counted_keys: u64,
    }
}

cbor_map! {
    /// What is known about time.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub(crate) struct Clock = "clock record" {
        /// Highest time seen.
        [1] floor: Timestamp,
        /// Whether the floor was told by a server (true) or read from the local clock.
        [2] floor_is_trusted: bool,
        /// The last time a server told.
        [3?] last_trusted: Timestamp,
    }
}

cbor_map! {
    /// A stored license.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct LicenseRecord = "license record" {
        /// The signed license.
        [1] license: Bytes,
        /// Which operator's root it is judged by.
        [2] operator: Digest,
        /// When it was installed, if the clock could be read.
        [3?] installed: Timestamp,
        /// when its key was first released.
        [4?] first_play: Timestamp,
        /// the uses of its exchange keys.
        [5?] uses: Vec<KeyUses>,
    }
}

impl LicenseRecord {
    /// What use has left in it.
    pub(crate) fn recorded(&self) -> Recorded {
        Recorded {
            first_play: self.first_play,
            uses: self.uses.clone().unwrap_or_default(),
        }
    }
}

cbor_map! {
    /// how often an exchange key was used under a license.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct KeyUses = "key uses" {
        /// The exchange key.
        [1] kid: Kid,
        /// Uses that were given out, whether or not they were made.
        [2] taken: u64,
    }
}

cbor_map! {
    /// How many messages this client has encrypted under one version of an exchange key. It outlives the licenses.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct MessageCount = "message count" {
        /// The exchange key.
        [1] kid: Kid,
        /// Its version.
        [2] version: u64,
        /// Messages that were given out, whether or not they were encrypted.
        [3] taken: u64,
    }
}

cbor_map! {
    /// A request that waits for its response.
    #[derive(Debug)]
    pub(crate) struct Pending = "pending request" {
        /// The request's nonce.
        [1] nonce: Nonce,
        /// Its response key.
        [2] response_key: Secret<32>,
        /// SHA-256 of its body bytes.
        [3] digest: Digest,
        /// The operator it was made for.
        [4] operator: Digest,
        /// The key ids it asked for.
        [5] kids: Vec<Kid>,
        /// When it was made, if the clock could be read.
        [6?] created: Timestamp,
    }
}

/// The pending requests, oldest first: one record, because there are few and they are looked through
/// together (a response does not say outside which request it answers).
#[derive(Debug, Default)]
pub(crate) struct PendingTable(pub(crate) Vec<Pending>);

impl PendingTable {
    /// Adds a request, dropping the oldest if there are then more than `most`.
    pub(crate) fn push(&mut self, pending: Pending, most: usize) {
        self.0.push(pending);
        let surplus = self.0.len().saturating_sub(most.max(1));
        self.0.drain(..surplus);
    }
}

impl Wire for PendingTable {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, keyward_license::codec::DecodeError> {
        Vec::read(reader).map(Self)
    }
}

cbor_map! {
    /// What stays of a license that was removed, until it could not be used any more: an old response restores
    /// nothing.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Tombstone = "tombstone" {
        /// The license.
        [1] id: LicenseId,
        /// When the tombstone may go; never, if absent.
        [2?] end: Timestamp,
    }
}

cbor_map! {
    /// An operator that the device is enrolled with.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct OperatorRecord = "operator record" {
        /// The encoded operator profile.
        [1] profile: Bytes,
        /// The device's certificate chain, leaf first.
        [2] chain: Vec<Bytes>,
        /// The newest discovery document.
        [3] discovery: Bytes,
        /// Best suite number that the operator was seen to have in common with this device.
        [4] best_suite: u64,
        /// the time of the answer that said that this device is revoked, until one brings a license.
        [5?] revoked: Timestamp,
        /// There are revocation lists of the operator, in a record of their own.
        [6?] has_lists: Flag,
    }
}
