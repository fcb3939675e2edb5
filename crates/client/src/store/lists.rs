//! The revocation lists of an operator: one record, because they are few and are needed together.

use keyward_license::{codec::Wire, ids::Digest, revocation::RevocationList};

use super::{RecordKey, Store, Write};
use crate::{ClientError, flow::Io};

/// Kind of the record.
const KIND_LISTS: u8 = 8;

impl Store {
    /// The lists of an operator, as they came.
    pub(crate) async fn lists(&self, io: &Io, operator: &Digest) -> Result<Vec<RevocationList>, ClientError> {
        let found: Option<Vec<RevocationList>> = self.find(io, self.lists_key(operator)?).await?;
        found.ok_or(ClientError::StoreDamaged("the revocation lists were removed"))
    }

    /// The change that makes these the lists of an operator.
    pub(crate) fn write_lists(
        &self,
        operator: &Digest,
        lists: &[RevocationList],
    ) -> Result<Write, ClientError> {
        let lists: Vec<_> = lists.to_vec();
        Ok(Write::Put(self.lists_key(operator)?, lists.encode()))
    }

    fn lists_key(&self, operator: &Digest) -> Result<RecordKey, ClientError> {
        Ok(RecordKey::new(
            KIND_LISTS,
            self.name(&[b"lists", operator.as_bytes()])?,
        ))
    }
}
