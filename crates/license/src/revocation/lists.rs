//! The revocation lists that a party holds of one operator.

mod room;

use keyward_crypto::{
    CryptoError,
    x509::{Anchor, Certificate, Role, revocation::RevocationList as CertificateRevocationList},
};

use room::{Place, Rank, rank_of};

use super::{
    DeviceRevocationList, ISSUED_AHEAD, ListHeld, ListId, ListNumber, MAX_LISTS_HELD, RevocationList,
    UnknownStatus,
};
use crate::{
    certificate::{Claims, certificate_digest},
    codec::DecodeError,
    signed::{MessageError, Unverified},
    time::Timestamp,
};

/// How much a party holds of one operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListBounds {
    /// Most lists.
    pub lists: usize,
    /// Most bytes that they take, encoded.
    pub bytes: usize,
}

impl ListBounds {
    /// What a client holds: [`MAX_LISTS_HELD`] lists, 1 MiB.
    pub const CLIENT: Self = Self {
        lists: MAX_LISTS_HELD,
        bytes: 1 << 20,
    };
}

/// Whether a list took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// It did: it is newer than what was held, or the first of its issuer.
    Newer,
    /// One that is as new, or newer, is held already.
    NotNewer,
}

/// Why a list was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListFault {
    /// V-063: form, type, signature, signer or version of a device revocation list.
    #[error("the device revocation list was refused: {0}")]
    Devices(#[from] MessageError),
    /// V-063: a device revocation list of another operator.
    #[error("the device revocation list is of another operator")]
    OtherOperator,
    /// V-064: form, signature or authority of a certificate revocation list.
    #[error("the certificate revocation list was refused: {0}")]
    Certificates(CryptoError),
    /// V-063, V-064: issued in the future.
    #[error("the revocation list was issued later than now")]
    FromTheFuture,
    /// More lists, or bytes of them, than the party holds, and none of lower rank that could make room.
    #[error("there is no room for another revocation list")]
    NoRoom,
}

impl ListFault {
    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Devices(_) | Self::Certificates(_) => "ask the operator for its current revocation lists",
            Self::OtherOperator => "use the lists of the operator that the device is enrolled with",
            Self::FromTheFuture => "set the clock",
            Self::NoRoom => "tell the operator that its revocation lists are too many or too long",
        }
    }
}

/// Why a device is not trusted (V-047, R-015).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFault {
    /// V-047: a certificate of the device's chain was revoked.
    #[error("the device's certificate was revoked")]
    Certificate {
        /// From when on.
        since: Timestamp,
    },
    /// V-047: the device's maker or model was revoked.
    #[error("devices of this maker or model were revoked")]
    Model {
        /// From when on.
        since: Timestamp,
        /// Why, in the operator's words.
        reason: Option<String>,
    },
    /// V-047: no current list tells whether it was revoked, and that is required.
    #[error("no current revocation list tells whether the device was revoked")]
    Unknown,
    /// V-047: the chain cannot be read.
    #[error("the device's certificate chain cannot be read: {0}")]
    Malformed(CryptoError),
}

/// What one held list is, for people and measurements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListState {
    /// Whose it is.
    pub list: ListId,
    /// Its number.
    pub number: ListNumber,
    /// When it was issued.
    pub issued: Timestamp,
    /// When the next one is due at the latest.
    pub next_update: Timestamp,
    /// How many entries it has.
    pub entries: usize,
}

/// Verified lists of one operator, at most one of each issuer. A newer list takes the place of an earlier one,
/// never the other way round.
///
/// Where room is short, lists of lower rank go for one of higher rank: the root's, those of authorities that certify
/// servers, the operator's own, those of authorities that certify devices and packagers alone; of these a device holds
/// those of its own chain longest ([`RevocationLists::set_device`]). Of two authorities of equal rank, the list of the
/// earlier one goes for that of the later one when its next update has passed.
///
/// Lists that a party stored itself are held again by [`RevocationLists::adopt_all`] without a time.
#[derive(Debug, Clone)]
pub struct RevocationLists {
    /// What chains are judged with.
    anchor: Anchor,
    /// What the signers of lists are judged with: lists that are over keep no newer ones out.
    signers: Anchor,
    unknown: UnknownStatus,
    bounds: ListBounds,
    certificates: Vec<OfCertificates>,
    devices: Option<OfDevices>,
    /// Keys of the authorities that have certified the device that holds these: SHA-256 of each.
    chain: Vec<[u8; 32]>,
}

#[derive(Debug, Clone)]
struct OfCertificates {
    id: ListId,
    rank: Rank,
    /// When its authority's certificate begins, seconds UTC.
    authority_begins: u64,
    wire: RevocationList,
    list: CertificateRevocationList,
}

#[derive(Debug, Clone)]
struct OfDevices {
    wire: RevocationList,
    body: DeviceRevocationList,
}

impl RevocationLists {
    /// No lists yet. `unknown` says what becomes of what no current list tells about; what a list names
    /// is refused in any case, after its time too.
    #[must_use]
    pub fn new(anchor: Anchor, bounds: ListBounds, unknown: UnknownStatus) -> Self {
        let mut lists = Self {
            signers: anchor.clone(),
            anchor,
            unknown,
            bounds,
            certificates: Vec::new(),
            devices: None,
            chain: Vec::new(),
        };
        lists.renew_anchors();
        lists
    }

    /// The device that holds these: lists of the authorities of its chain (DER, leaf first, without the root) are worth
    /// more to it than those of authorities that have certified other devices. Nothing goes before there is need of room.
    pub fn set_device(&mut self, chain: &[Vec<u8>]) {
        let authorities = chain
            .iter()
            .skip(1)
            .filter_map(|der| Certificate::parse(der).ok());
        self.chain = authorities
            .map(|authority| authority.public_key_digest())
            .collect();
        for held in &mut self.certificates {
            if let RevocationList::Certificates { path, .. } = &held.wire {
                let path: Vec<_> = path.iter().map(|der| der.0.clone()).collect();
                held.rank = rank_of(&path, &self.chain).0;
            }
        }
    }

    /// The anchor that refuses what these lists name. Whoever keeps what it has verified forgets it when a
    /// list is adopted.
    #[must_use]
    pub const fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// V-063, V-064: verifies a list and lets it take its place. Without `now` it is judged at its own time of
    /// issue.
    ///
    /// # Errors
    /// [`ListFault`]; nothing has changed then.
    pub fn adopt(&mut self, list: &RevocationList, now: Option<Timestamp>) -> Result<Adopted, ListFault> {
        let adopted = match list {
            RevocationList::Certificates { list: der, path } => {
                let path: Vec<_> = path.iter().map(|der| der.0.clone()).collect();
                self.adopt_certificates(list, &der.0, &path, now)?
            }
            RevocationList::Devices(message) => self.adopt_devices(list, &message.0, now)?,
        };
        if adopted == Adopted::Newer {
            self.renew_anchors();
            self.drop_forged(list);
        }
        Ok(adopted)
    }

    /// Adopts several lists, those of higher authorities first, so that each is judged by what is above it.
    /// Whether one was newer, and what was refused.
    pub fn adopt_all(
        &mut self,
        lists: &[RevocationList],
        now: Option<Timestamp>,
    ) -> (Adopted, Vec<ListFault>) {
        let mut order: Vec<&RevocationList> = lists.iter().collect();
        order.sort_by_key(|list| match list {
            RevocationList::Certificates { path, .. } => path.len(),
            RevocationList::Devices(_) => usize::MAX,
        });
        let (mut adopted, mut faults) = (Adopted::NotNewer, Vec::new());
        for list in order {
            match self.adopt(list, now) {
                Ok(Adopted::Newer) => adopted = Adopted::Newer,
                Ok(Adopted::NotNewer) => {}
                Err(fault) => faults.push(fault),
            }
        }
        (adopted, faults)
    }

    /// The lists as they travel, to be stored or carried: those of higher authorities first.
    #[must_use]
    pub fn to_wire(&self) -> Vec<RevocationList> {
        let mut certificates: Vec<_> = self.certificates.iter().map(|held| held.wire.clone()).collect();
        certificates.sort_by_key(path_len);
        let devices = self.devices.iter().map(|held| held.wire.clone());
        certificates.into_iter().chain(devices).collect()
    }

    /// What a request says is held.
    #[must_use]
    pub fn held(&self) -> Vec<ListHeld> {
        let states = self.states();
        states
            .into_iter()
            .map(|state| ListHeld {
                list: state.list,
                number: state.number,
            })
            .collect()
    }

    /// What each held list is.
    #[must_use]
    pub fn states(&self) -> Vec<ListState> {
        let certificates = self.certificates.iter().map(|held| ListState {
            list: held.id.clone(),
            number: ListNumber::new(*held.list.number()),
            issued: Timestamp(held.list.this_update()),
            next_update: Timestamp(held.list.next_update()),
            entries: held.list.len(),
        });
        let devices = self.devices.iter().map(|held| ListState {
            list: ListId::DEVICES,
            number: held.body.number.into(),
            issued: held.body.issued,
            next_update: held.body.next_update,
            entries: held.body.revoked.as_ref().map_or(0, Vec::len),
        });
        certificates.chain(devices).collect()
    }

    /// The lists that a client lacks which says that it holds `held`: at most `most` lists and `bytes`, the
    /// smallest first. The list of an authority that certifies no servers goes only to a device (`chain`,
    /// leaf first, without the root) that it names, or that an earlier one may have named: it is long, and tells
    /// others nothing.
    #[must_use]
    pub fn newer_than(
        &self,
        held: &[ListHeld],
        chain: &[Vec<u8>],
        (most, bytes): (usize, usize),
    ) -> Vec<RevocationList> {
        let lacks = |id: &ListId, number: ListNumber| {
            !held.iter().any(|held| held.list == *id && held.number >= number)
        };
        let certificates = self
            .certificates
            .iter()
            .filter(|of| lacks(&of.id, ListNumber::new(*of.list.number())))
            .filter(|of| held.iter().any(|held| held.list == of.id) || concerns(of, chain))
            .map(|of| &of.wire);
        let devices = self
            .devices
            .iter()
            .filter(|of| lacks(&ListId::DEVICES, of.body.number.into()))
            .map(|of| &of.wire);
        let mut lists: Vec<_> = certificates
            .chain(devices)
            .map(|list| (list.size(), list))
            .collect();
        lists.sort_by_key(|(size, _)| *size);
        let mut left = bytes;
        lists
            .into_iter()
            .take(most)
            .map_while(|(size, list)| {
                left = left.checked_sub(size)?;
                Some(list.clone())
            })
            .collect()
    }

    /// V-047: whether the maker and model that a device's certificate claims are trusted. That the
    /// certificate itself was not revoked, [`Self::anchor`] judges with its chain.
    ///
    /// # Errors
    /// [`DeviceFault::Model`]; [`DeviceFault::Unknown`] if that is required to be known and there is no list,
    /// or one whose time is over.
    pub fn check_model(&self, certificate: &Certificate, now: Timestamp) -> Result<(), DeviceFault> {
        if let Some(fault) = self.revoked_model(certificate, Some(now)) {
            return Err(fault);
        }
        let current = self.devices.as_ref().is_some_and(|of| now < of.body.next_update);
        match self.unknown {
            UnknownStatus::Refuse if !current => Err(DeviceFault::Unknown),
            _ => Ok(()),
        }
    }

    /// whether the device of this chain (DER, leaf first, without the root) was revoked as far as these
    /// lists tell, and by what first; the rest of the chain is not judged, and may have expired. Without `now`, what
    /// is to be revoked later counts as revoked.
    ///
    /// # Errors
    /// [`DeviceFault::Certificate`], [`DeviceFault::Model`]; [`DeviceFault::Malformed`].
    pub fn check_device(&self, chain: &[Vec<u8>], now: Option<Timestamp>) -> Result<(), DeviceFault> {
        let leaf = chain
            .first()
            .ok_or(DeviceFault::Malformed(CryptoError::MalformedCertificate(
                "no certificate",
            )))?;
        let leaf = Certificate::parse(leaf).map_err(DeviceFault::Malformed)?;
        let since = self.anchor.revoked_since(chain).map_err(DeviceFault::Malformed)?;
        let since = since.map(Timestamp).filter(|since| has_come(*since, now));
        match (since, self.revoked_model(&leaf, now)) {
            (Some(since), Some(DeviceFault::Model { since: model, reason })) if model < since => {
                Err(DeviceFault::Model { since: model, reason })
            }
            (Some(since), _) => Err(DeviceFault::Certificate { since }),
            (None, model) => model.map_or(Ok(()), Err),
        }
    }

    fn revoked_model(&self, certificate: &Certificate, now: Option<Timestamp>) -> Option<DeviceFault> {
        let of = self.devices.as_ref()?;
        // Without claims there is no maker, and nothing that names the device.
        let claims = Claims::of(certificate).ok()?;
        let entry = of.body.revokes(&claims, &certificate_digest(certificate))?;
        has_come(entry.since, now).then(|| DeviceFault::Model {
            since: entry.since,
            reason: entry.reason.clone(),
        })
    }

    /// V-064
    fn adopt_certificates(
        &mut self,
        wire: &RevocationList,
        der: &[u8],
        path: &[Vec<u8>],
        now: Option<Timestamp>,
    ) -> Result<Adopted, ListFault> {
        let list = CertificateRevocationList::parse(der).map_err(ListFault::Certificates)?;
        let id = ListId::of(&list).ok_or(ListFault::Certificates(CryptoError::MalformedRevocationList(
            "authority key identifier",
        )))?;
        let issued = Timestamp(list.this_update());
        check_issue(issued, now)?;
        self.signers
            .verify_list_of(&list, path, issued.0, now.unwrap_or(issued).0)
            .map_err(ListFault::Certificates)?;
        let place = self
            .certificates
            .iter()
            .position(|held| held.list.shares_authority_with(&list));
        let held = place.and_then(|place| self.certificates.get(place));
        if held.is_some_and(|held| !list.supersedes(&held.list)) {
            return Ok(Adopted::NotNewer);
        }
        let (rank, authority_begins) = rank_of(path, &self.chain);
        let wire = wire.clone();
        let adopted = OfCertificates {
            id,
            rank,
            authority_begins,
            wire,
            list,
        };
        let gone = self.room_for(
            &adopted.weight(),
            place.map(Place::Certificates),
            now.unwrap_or(issued),
        )?;
        match place.and_then(|place| self.certificates.get_mut(place)) {
            Some(held) => *held = adopted,
            None => self.certificates.push(adopted),
        }
        self.remove(&gone);
        Ok(Adopted::Newer)
    }

    /// V-063
    fn adopt_devices(
        &mut self,
        wire: &RevocationList,
        message: &[u8],
        now: Option<Timestamp>,
    ) -> Result<Adopted, ListFault> {
        let body = self.verify_devices(message, now)?;
        check_issue(body.issued, now)?;
        let held = self.devices.as_ref();
        let newer = held.is_none_or(|of| body.number > of.body.number && body.issued >= of.body.issued);
        if !newer {
            return Ok(Adopted::NotNewer);
        }
        let replaced = held.map(|_| Place::Devices);
        let now = now.unwrap_or(body.issued);
        let wire = wire.clone();
        let adopted = OfDevices { wire, body };
        let gone = self.room_for(&adopted.weight(), replaced, now)?;
        self.devices = Some(adopted);
        self.remove(&gone);
        Ok(Adopted::Newer)
    }

    fn verify_devices(
        &self,
        message: &[u8],
        now: Option<Timestamp>,
    ) -> Result<DeviceRevocationList, ListFault> {
        let verified = Unverified::<DeviceRevocationList>::parse(message)?.verify(
            &self.signers,
            Role::RevocationList,
            |body| core::iter::once(body.issued).chain(now).collect(),
        )?;
        let body = verified.into_body();
        body.check_bounds().map_err(MessageError::from)?;
        if *body.operator.as_bytes() != self.signers.operator() {
            return Err(ListFault::OtherOperator);
        }
        Ok(body)
    }

    fn renew_anchors(&mut self) {
        let lists = || {
            self.certificates
                .iter()
                .map(|held| held.list.clone())
                .collect::<Vec<_>>()
        };
        let anchor = self.anchor.clone().with_revocation(lists(), self.unknown);
        let signers = self
            .signers
            .clone()
            .with_revocation(lists(), UnknownStatus::Accept);
        (self.anchor, self.signers) = (anchor, signers);
    }

    /// A list that was issued when its authority's, or its signer's, certificate was revoked already may be anybody's.
    fn drop_forged(&mut self, adopted: &RevocationList) {
        while let Some(at) = self.forged_below(path_len(adopted)) {
            self.certificates.remove(at);
            self.renew_anchors();
        }
        let Some(RevocationList::Devices(message)) = self.devices.as_ref().map(|of| &of.wire) else {
            return;
        };
        if self.verify_devices(&message.0, None).is_err() {
            self.devices = None;
        }
    }

    /// The list nearest to the root, among those that are farther from it than `length` certificates, that does not
    /// verify any more as of its own time of issue.
    fn forged_below(&self, length: usize) -> Option<usize> {
        let forged = self.certificates.iter().enumerate().filter(|(_, held)| {
            let RevocationList::Certificates { path, .. } = &held.wire else {
                return false;
            };
            let path: Vec<_> = path.iter().map(|der| der.0.clone()).collect();
            let issued = held.list.this_update();
            path.len() > length
                && self
                    .signers
                    .verify_list_of(&held.list, &path, issued, issued)
                    .is_err()
        });
        forged
            .min_by_key(|(_, held)| path_len(&held.wire))
            .map(|(at, _)| at)
    }
}

fn path_len(list: &RevocationList) -> usize {
    match list {
        RevocationList::Certificates { path, .. } => path.len(),
        RevocationList::Devices(_) => usize::MAX,
    }
}

/// Whether a list is of use to a device: it is the root's, its authority certifies servers, or it names one of the
/// device's certificates.
fn concerns(of: &OfCertificates, chain: &[Vec<u8>]) -> bool {
    let RevocationList::Certificates { path, .. } = &of.wire else {
        return true;
    };
    if !matches!(of.rank, Rank::Chain | Rank::Parties) {
        return true;
    }
    let issued = chain
        .get(1)
        .is_some_and(|issuer| path.first().is_some_and(|of| of.0 == *issuer));
    let leaf = chain.first().and_then(|der| Certificate::parse(der).ok());
    issued && leaf.is_some_and(|leaf| of.list.revoked_since(leaf.serial()).is_some())
}

fn check_issue(issued: Timestamp, now: Option<Timestamp>) -> Result<(), ListFault> {
    match now.is_none_or(|now| issued <= now.plus(ISSUED_AHEAD)) {
        true => Ok(()),
        false => Err(ListFault::FromTheFuture),
    }
}

fn has_come(since: Timestamp, now: Option<Timestamp>) -> bool {
    now.is_none_or(|now| since <= now)
}

impl From<DecodeError> for ListFault {
    fn from(error: DecodeError) -> Self {
        Self::Devices(error.into())
    }
}

#[cfg(test)]
mod tests;
