//! Revocation lists and acknowledgements.

use std::sync::LazyLock;

use keyward_crypto::x509::{Role, revocation::UnknownStatus};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, LicenseOutcome, Receipt},
    certificate::{Claims, certificate_digest},
    codec::{Bytes, Wire},
    exchange::PendingRequest,
    ids::{Digest, Nonce, TransactionId},
    revocation::{
        Adopted, DeviceRevocationList, ListBounds, RevocationList, RevocationLists, RevocationListsFile,
        RevokedDevices,
    },
    signed::{self, Unverified},
    time::Timestamp,
};

use super::{
    cbor::read,
    messages::{BODY, assert_genuine, verified},
    world::{KID, LICENSE_ID, WORLD, draws},
};
use crate::pki::{DAY, Identity, NOW, Operator};

/// Who signs lists and receipts of the world's operator. Drawn apart, so that it changes nothing that others draw.
pub(super) static TRUST: LazyLock<Trust> = LazyLock::new(Trust::new);

pub(super) struct Trust {
    pub(super) lists: Identity,
    pub(super) receipts: Identity,
}

impl Trust {
    fn new() -> Self {
        let mut operator = Operator::new([0xf0; 32]);
        *operator.rng() = draws(30);
        Self {
            lists: operator.server(Role::RevocationList),
            receipts: operator.server(Role::Receipt),
        }
    }

    /// A device revocation list as it travels.
    pub(super) fn sign(&self, body: &[u8]) -> Vec<u8> {
        signed::sign::<DeviceRevocationList>(body, &[], &self.lists.chain, &self.lists.key).unwrap()
    }

    /// A file of the root's, the server authority's and the device revocation list.
    pub(super) fn file(&self) -> RevocationListsFile {
        let [root, servers, _] = WORLD.revocation_lists();
        let authority = WORLD.license_server.chain.last().unwrap().clone();
        RevocationListsFile {
            version: 1,
            operator: WORLD.profile.operator(),
            lists: vec![
                RevocationList::Certificates {
                    list: Bytes(root),
                    path: vec![],
                },
                RevocationList::Certificates {
                    list: Bytes(servers),
                    path: vec![Bytes(authority)],
                },
                RevocationList::Devices(Bytes(self.sign(&device_list().encode()))),
            ],
        }
    }
}

/// The device revocation list that the operator issued.
pub(super) fn device_list() -> DeviceRevocationList {
    DeviceRevocationList {
        version: 1,
        operator: WORLD.profile.operator(),
        number: 7,
        issued: NOW.minus(DAY),
        next_update: NOW.plus(6 * DAY),
        revoked: Some(vec![RevokedDevices {
            maker: "Keyward".into(),
            model: Some("test".into()),
            robustness_below: Some(2),
            since: NOW.minus(DAY),
            reason: None,
        }]),
        allowed: None,
    }
}

/// The request with which the device acknowledges.
pub(super) fn acknowledgement() -> AcknowledgeRequest {
    AcknowledgeRequest {
        version: 1,
        recipient: WORLD.request_encryption.identity.digest(),
        nonce: Nonce::new([0x61; 16]),
        response_key: keyward_crypto::Secret::new([0x62; 32]),
        transaction: TransactionId::new([0x63; 16]),
        licenses: vec![AcknowledgedLicense {
            kid: KID,
            license: Some(LICENSE_ID),
            outcome: LicenseOutcome::Stored,
            reason: None,
        }],
    }
}

/// The receipt for it.
pub(super) fn right_receipt() -> Receipt {
    let acknowledged = acknowledgement();
    let pending = pending(&acknowledged);
    Receipt {
        version: 1,
        request: pending.digest,
        nonce: pending.nonce,
        transaction: acknowledged.transaction,
        server_time: NOW,
    }
}

fn pending(acknowledged: &AcknowledgeRequest) -> PendingRequest {
    let key = acknowledged.response_key.duplicate();
    PendingRequest::of(&acknowledged.encode(), acknowledged.nonce, key)
}

/// A device revocation list: a message, or a body that the target signs. Once it is held it says of the device what
/// its entries say, and takes its own place no second time.
#[must_use]
pub fn device_revocation_list(bytes: &[u8]) -> bool {
    let message = match bytes.split_first() {
        Some((&BODY, body)) => {
            let _ = read::<DeviceRevocationList>(body);
            TRUST.sign(body)
        }
        _ => bytes.get(1..).unwrap_or_default().to_vec(),
    };
    let list = RevocationList::Devices(Bytes(message.clone()));
    let mut lists = RevocationLists::new(WORLD.anchor.clone(), ListBounds::CLIENT, UnknownStatus::Refuse);
    if lists.adopt(&list, Some(NOW)).is_err() {
        assert!(lists.states().is_empty());
        return false;
    }
    assert_eq!(lists.adopt(&list, Some(NOW)), Ok(Adopted::NotNewer));
    assert_eq!(lists.to_wire(), [list]);
    let parsed = Unverified::<DeviceRevocationList>::parse(&message).unwrap();
    let verified = parsed
        .verify(&WORLD.anchor, Role::RevocationList, |_| vec![NOW])
        .unwrap();
    assert_genuine(bytes, &verified, &device_list().encode());
    let body = verified.body();
    assert_eq!(body.check_bounds(), Ok(()));
    assert!(body.operator == WORLD.profile.operator() && body.issued <= NOW.plus(300));
    let leaf = WORLD.device.identity.leaf();
    for now in [
        NOW,
        Timestamp(0),
        body.issued,
        body.next_update,
        Timestamp(u64::MAX),
    ] {
        let current = now < body.next_update;
        let trusted = !names(body, &Claims::of(&leaf).unwrap(), certificate_digest(&leaf), now);
        assert_eq!(
            lists.check_model(&leaf, now).is_ok(),
            trusted && current,
            "{now:?}"
        );
        let knows = lists
            .check_device(&WORLD.device.identity.chain, Some(now))
            .is_err();
        assert_eq!(knows, !trusted);
    }
    true
}

/// Whether a list revokes a device, in the words of the specification.
fn names(list: &DeviceRevocationList, claims: &Claims, certificate: Digest, now: Timestamp) -> bool {
    if list
        .allowed
        .iter()
        .flatten()
        .any(|allowed| *allowed == certificate)
    {
        return false;
    }
    list.revoked.iter().flatten().any(|entry| {
        let maker = claims.maker.as_deref() == Some(&entry.maker[..]);
        let model = match &entry.model {
            Some(model) => claims.model.as_deref() == Some(&model[..]),
            None => true,
        };
        let version = match entry.robustness_below {
            Some(below) => claims.robustness_version.unwrap_or(0) < below,
            None => true,
        };
        maker && model && version && entry.since <= now
    })
}

/// A file of revocation lists: nothing is held but what the operator issued, within the bounds, and what is held is
/// held again when it is stored and read.
#[must_use]
pub fn revocation_lists(bytes: &[u8]) -> bool {
    let Some(file) = read::<RevocationListsFile>(bytes) else {
        assert!(RevocationListsFile::parse(bytes).is_err());
        return false;
    };
    if file.check_bounds().is_err() {
        return false;
    }
    let mut lists = RevocationLists::new(WORLD.anchor.clone(), ListBounds::CLIENT, UnknownStatus::Accept);
    let (_, faults) = lists.adopt_all(&file.lists, Some(NOW));
    let held = lists.to_wire();
    let issued = WORLD.revocation_lists();
    for list in &held {
        match list {
            RevocationList::Certificates { list, .. } => assert!(issued.contains(&list.0)),
            RevocationList::Devices(message) => {
                let parsed = Unverified::<DeviceRevocationList>::parse(&message.0).unwrap();
                let verified = parsed.verify(&WORLD.anchor, Role::RevocationList, |_| vec![NOW]);
                assert_eq!(*verified.unwrap().body(), device_list());
            }
        }
    }
    assert!(held.len() <= ListBounds::CLIENT.lists);
    assert!(held.iter().map(RevocationList::size).sum::<usize>() <= ListBounds::CLIENT.bytes);
    let mut again = RevocationLists::new(WORLD.anchor.clone(), ListBounds::CLIENT, UnknownStatus::Accept);
    assert_eq!(again.adopt_all(&held, None).1, []);
    assert_eq!(again.held(), lists.held());
    file.operator == WORLD.profile.operator() && faults.is_empty()
}

/// An acknowledge request as the server judges it: a message, or a body that the device signs.
#[must_use]
pub fn acknowledge_request(bytes: &[u8]) -> bool {
    let Some(verified) = verified::<AcknowledgeRequest>(bytes, &WORLD.device.identity, Role::Device) else {
        return false;
    };
    assert_genuine(bytes, &verified, &acknowledgement().encode());
    verified.body().check_bounds().is_ok()
}

/// A receipt as the client reads it: a body that is signed and sealed to its request, or an envelope.
#[must_use]
pub fn receipt(bytes: &[u8]) -> bool {
    let pending = pending(&acknowledgement());
    let answer = match bytes.split_first() {
        Some((&BODY, body)) => {
            let _ = read::<Receipt>(body);
            seal_receipt(body)
        }
        _ => bytes.get(1..).unwrap_or_default().to_vec(),
    };
    let opened = pending.open::<Receipt>(&answer, &WORLD.anchor, |_| vec![NOW]);
    opened.is_ok_and(|receipt| {
        assert_genuine(bytes, &receipt, &right_receipt().encode());
        let body = receipt.body();
        assert!(body.request == pending.digest && body.nonce == pending.nonce);
        body.transaction == acknowledgement().transaction
    })
}

/// A receipt's body, signed and sealed to its request.
pub(super) fn seal_receipt(body: &[u8]) -> Vec<u8> {
    use keyward_license::{envelope::SealedResponse, signed::SignedBody};
    let pending = pending(&acknowledgement());
    let Identity { chain, key } = &TRUST.receipts;
    let message = signed::sign::<Receipt>(body, &[], chain, key).unwrap();
    let (key, digest) = (&pending.response_key, &pending.digest);
    let sealed = SealedResponse::seal(Receipt::CONTEXT, key, digest, &message, &mut draws(31));
    sealed.unwrap().encode()
}
