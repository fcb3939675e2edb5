//! Revocation lists at the client: what an operator no longer trusts, and whether that is this device (R-015).
//!
//! ```text
//!  license response ─┐                      ┌── V-013, V-020, V-053, V-060, V-062, V-063 to V-065: who signed
//!  file ─────────────┴─► V-063, V-064 ──► held, in the store
//!                                           └── R-015: is it this device?  ◄── a signed denial 204
//! ```
//! A list that is refused refuses nothing else: it is not kept, and that is told. What lists name stays refused after their
//! time; whether what they do not name is trusted then, the host says ([`HostProfile::demands_lists`]).
//!
//! [`HostProfile::demands_lists`]: crate::host::HostProfile::demands_lists

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use keyward_crypto::{
    cose::Sign1,
    x509::{Anchor, Certificate, revocation::RevocationList as CertificateRevocationList},
};
use keyward_license::{
    codec::{Bytes, Wire},
    error_code::ErrorCode,
    ids::{Digest, Kid, LicenseId},
    license::{License, LicenseBody},
    response::{LicenseResponse, Outcome},
    revocation::{
        Adopted, DeviceFault, DeviceRevocationList, ListBounds, ListFault, ListState, RevocationList,
        RevocationLists, RevocationListsFile, UnknownStatus,
    },
    signed::MessageError,
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError, acquire::NOT_ENROLLED, device::KeyStore, flow::Io, operator::Operator, riding,
    store::Write,
};

/// What became of the revocation lists that came along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakenLists {
    /// Whether one of them is newer than what was held, and is held now.
    pub newer: bool,
    /// V-063, V-064: those that were refused, and why. They are not kept.
    pub refused: Vec<ListFault>,
}

impl TakenLists {
    pub(crate) fn of((adopted, refused): (Adopted, Vec<ListFault>)) -> Self {
        Self {
            newer: adopted == Adopted::Newer,
            refused,
        }
    }

    /// Both.
    pub(crate) fn and(mut self, later: Self) -> Self {
        self.refused.extend(later.refused);
        Self {
            newer: self.newer || later.newer,
            refused: self.refused,
        }
    }
}

/// What is known of trust in an operator's name.
#[derive(Debug, Clone)]
pub struct OperatorTrust {
    /// The operator: SHA-256 of its root certificate.
    pub operator: Digest,
    /// The revocation lists that are held.
    pub lists: Vec<ListState>,
    /// R-015: why this device is revoked, as far as this client knows.
    pub revoked: Option<Revoked>,
}

/// R-015: how this client knows that its device is revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Revoked {
    /// A license server denied a license for that, and none has come since.
    #[error("the license server said so")]
    Denied {
        /// The time of that answer.
        since: Timestamp,
    },
    /// A revocation list names it.
    #[error("{0}")]
    Listed(DeviceFault),
}

/// A license that is held and is none any more: it does not verify under what is known of trust now.
#[derive(Debug, Clone)]
pub struct Distrusted {
    /// What it says of itself.
    pub body: LicenseBody,
    /// The operator in whose name it was installed: SHA-256 of the root certificate.
    pub operator: Digest,
    /// Why it is none: its signer was revoked before it was issued, or its operator is not known any more.
    pub fault: Option<MessageError>,
}

/// Numbers what is known of trust: whoever plays sees by it that there is something new, without the client. No two
/// clients of a process have the same number, because each knows what it read from its store.
#[derive(Debug, Clone)]
pub(crate) struct Changes(Arc<AtomicU64>);

/// The number that is given next.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Changes {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn note(&self) {
        self.0
            .store(NEXT.fetch_add(1, Ordering::AcqRel), Ordering::Release);
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(NEXT.fetch_add(1, Ordering::AcqRel))))
    }
}

/// No lists of an operator yet.
pub(crate) fn none(anchor: Anchor) -> RevocationLists {
    RevocationLists::new(anchor, ListBounds::CLIENT, UnknownStatus::Accept)
}

/// The same lists, without which nothing is trusted.
pub(crate) fn demanding(lists: &RevocationLists) -> RevocationLists {
    let anchor = lists.anchor().clone();
    let mut strict = RevocationLists::new(anchor, ListBounds::CLIENT, UnknownStatus::Refuse);
    strict.adopt_all(&lists.to_wire(), None);
    strict
}

impl Operator {
    /// R-015: from when on the device is revoked, as far as this client knows: earlier than now if it is already.
    pub(crate) fn revoked_from(&self) -> Option<Timestamp> {
        let said = self.revoked.map(|_| Timestamp(0));
        let of_chain = since(&self.lists.check_device(&self.chain, None));
        // Its model may have been revoked before its certificate was.
        let leaf = self.chain.first().map(|der| Certificate::parse(der));
        let of_model = match leaf {
            Some(Ok(leaf)) => since(&self.lists.check_model(&leaf, Timestamp(u64::MAX))),
            _ => Some(Timestamp(0)),
        };
        said.into_iter().chain(of_chain).chain(of_model).min()
    }

    fn revoked_by(&self, now: Option<Timestamp>) -> Option<Revoked> {
        let denied = self.revoked.map(|since| Revoked::Denied { since });
        let listed = || match self.lists.check_device(&self.chain, now) {
            Err(fault) if fault != DeviceFault::Unknown => Some(Revoked::Listed(fault)),
            _ => None,
        };
        denied.or_else(listed)
    }
}

/// What cannot be judged counts as revoked.
fn since(checked: &Result<(), DeviceFault>) -> Option<Timestamp> {
    match checked {
        Ok(()) | Err(DeviceFault::Unknown) => None,
        Err(DeviceFault::Certificate { since } | DeviceFault::Model { since, .. }) => Some(*since),
        Err(_) => Some(Timestamp(0)),
    }
}

/// V-063, V-064: takes in lists where no clock may be used: each is judged when it was issued, and not before the time
/// that is known to have come.
fn adopt_without_clock(
    lists: &mut RevocationLists,
    brought: &[RevocationList],
    told: Timestamp,
) -> TakenLists {
    let mut order: Vec<_> = brought.iter().collect();
    order.sort_by_key(|list| match list {
        RevocationList::Certificates { path, .. } => path.len(),
        RevocationList::Devices(_) => usize::MAX,
    });
    let takes = |list: &RevocationList| {
        let at = issued(list).map(|issued| issued.max(told));
        TakenLists::of(lists.adopt_all(core::slice::from_ref(list), at))
    };
    order
        .into_iter()
        .map(takes)
        .fold(TakenLists::default(), TakenLists::and)
}

/// When a list says that it was issued. Nothing is verified.
fn issued(list: &RevocationList) -> Option<Timestamp> {
    match list {
        RevocationList::Certificates { list, .. } => {
            let list = CertificateRevocationList::parse(&list.0).ok()?;
            Some(Timestamp(list.this_update()))
        }
        RevocationList::Devices(message) => {
            let message = Sign1::parse(&message.0).ok()?;
            let payload = Vec::<Bytes>::decode(message.unverified_payload()).ok()?;
            let body = DeviceRevocationList::decode(&payload.first()?.0).ok()?;
            Some(body.issued)
        }
    }
}

/// Whether a response says that this device is revoked: by a denial that it is, by a license that it is not. Others say
/// nothing.
pub(crate) fn says_revoked(response: &LicenseResponse) -> Option<bool> {
    let outcomes = response.results.iter().filter_map(|result| result.outcome().ok());
    let said = outcomes.filter_map(|outcome| match outcome {
        Outcome::License(_) => Some(false),
        Outcome::Denied(denial) => (denial.code == ErrorCode::DeviceRevoked.number()).then_some(true),
    });
    said.min()
}

/// R-015: what is known of this device's revocation after a response. One that is earlier than what is known takes nothing
/// back.
pub(crate) fn own_revocation(response: &LicenseResponse, known: Option<Timestamp>) -> Option<Timestamp> {
    let stated = response.server_time;
    match says_revoked(response) {
        Some(true) => known.max(Some(stated)),
        Some(false) => known.filter(|known| *known > stated),
        None => known,
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Takes in a file of revocation lists.
    pub(crate) async fn run_install_lists(
        &mut self,
        io: &Io,
        file: &[u8],
    ) -> Result<(Digest, TakenLists), ClientError> {
        let file = RevocationListsFile::parse(file).map_err(|_| ClientError::NotLists)?;
        let operator = self.operators.get(&file.operator).ok_or(NOT_ENROLLED)?;
        let mut lists = operator.lists.clone();
        let taken = match (self.now(io), self.store.head().clock.last_trusted) {
            (None, Some(told)) => adopt_without_clock(&mut lists, &file.lists, told),
            (now, _) => TakenLists::of(lists.adopt_all(&file.lists, now)),
        };
        if taken.newer {
            let known = Learnt {
                lists: Some(lists),
                revoked: operator.revoked,
            };
            let writes = self.trust_writes(&file.operator, &known)?;
            self.store.commit(io, &mut self.rng, writes, |_| ()).await?;
            self.learn(io, &file.operator, known);
        }
        Ok((file.operator, taken))
    }

    /// What has to be written of what was learnt: nothing if nothing is new.
    pub(crate) fn trust_writes(&self, id: &Digest, learnt: &Learnt) -> Result<Vec<Write>, ClientError> {
        let operator = self.operators.get(id).ok_or(NOT_ENROLLED)?;
        let mut writes = Vec::new();
        if let Some(lists) = &learnt.lists {
            writes.push(self.store.write_lists(id, &lists.to_wire())?);
        }
        if learnt.lists.is_some() || learnt.revoked != operator.revoked {
            let record = operator.record_with(learnt);
            writes.push(Write::Put(self.store.operator_key(id)?, record.encode()));
        }
        Ok(writes)
    }

    /// After the commit: judges by it from here on. Exchange keys that end with a revocation are wiped.
    pub(crate) fn learn(&mut self, io: &Io, id: &Digest, learnt: Learnt) {
        let Some(operator) = self.operators.get_mut(id) else {
            return;
        };
        if learnt.lists.is_none() && learnt.revoked == operator.revoked {
            return;
        }
        operator.revoked = learnt.revoked;
        if let Some(lists) = learnt.lists {
            operator.lists = lists;
            self.verified.clear();
        }
        self.changes.note();
        self.end_revoked(io);
    }

    /// R-015: from when on this device is revoked under an operator, if a license ends with that.
    pub(crate) fn revoked_from(&self, id: &Digest, chain: &[&LicenseBody]) -> Option<Timestamp> {
        let ends = chain.iter().any(|license| license.ends_with_revocation.is_some());
        self.operators.get(id).filter(|_| ends)?.revoked_from()
    }

    /// What is known of trust in each operator's name.
    pub(crate) fn trust_at(&self, now: Option<Timestamp>) -> Vec<OperatorTrust> {
        let operators = self.operators.iter().map(|(id, operator)| OperatorTrust {
            operator: *id,
            lists: operator.lists.states(),
            revoked: operator.revoked_by(now),
        });
        operators.collect()
    }

    /// The licenses in the store that are none any more, of a key id or of all.
    pub(crate) async fn run_distrusted(
        &self,
        io: &Io,
        kid: Option<Kid>,
    ) -> Result<Vec<Distrusted>, ClientError> {
        let records = match kid {
            Some(kid) => {
                let of_kid = self.store.licenses(io, &kid).await?;
                of_kid.into_iter().map(|(_, record)| record).collect()
            }
            None => self.store.all_licenses(io).await?,
        };
        let mut distrusted: Vec<(LicenseId, Distrusted)> = Vec::new();
        for record in records {
            if self.verified(&record.operator, &record.license.0).is_some() {
                continue;
            }
            let Some(body) = riding::says(&record.license.0) else {
                continue;
            };
            let operator = self.operators.get(&record.operator);
            let fault = operator
                .and_then(|operator| License::verify(&record.license.0, operator.anchor(), None).err());
            let operator = record.operator;
            distrusted.push((
                body.id,
                Distrusted {
                    body,
                    operator,
                    fault,
                },
            ));
        }
        distrusted.sort_by_key(|(id, _)| *id);
        Ok(distrusted.into_iter().map(|(_, one)| one).collect())
    }
}

/// What is known anew of trust in an operator's name.
#[derive(Debug)]
pub(crate) struct Learnt {
    /// Other lists than before.
    pub(crate) lists: Option<RevocationLists>,
    /// R-015: as a response has said.
    pub(crate) revoked: Option<Timestamp>,
}
