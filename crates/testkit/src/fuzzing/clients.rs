//! The client's flows against an attacker: on the wire, in the content, at the disk.

use std::sync::LazyLock;

use keyward_client::{
    acquire::Wanted,
    device::{KeyStore, SoftwareKeys},
    enforce::Availability,
    flow::Answer,
    install::{Acquired, AcquiredKey},
    session::Acquisition,
    store::memory::MemoryStore,
};
use keyward_content::header::Object;
use keyward_crypto::{Secret, SecretBytes, aead, kdf};
use keyward_license::{
    cbor_map,
    codec::{Bytes, Wire},
    discovery::Discovery,
    enrolment::EnrolmentResponse,
    ids::{EpochId, Kid},
    license::{Chain, LicenseBody, LicenseKind, PreparedLicense},
    party::PartyKeys,
    response::{KeyResult, LicenseResponse},
    signed::SignedBody,
};

use super::{
    Input,
    cbor::read,
    world::{DeviceKeys, KID, ROOT, TestClient, WORLD, answer_with, draws, drive, found, refuse},
};
use crate::pki::NOW;

/// What an input of [`client_install`] is; its first byte.
pub(super) mod answer {
    /// A response as it comes from the wire.
    pub(in crate::fuzzing) const RAW: u8 = 0;
    /// What a response opens to.
    pub(in crate::fuzzing) const OPENED: u8 = 1;
    /// The body of a response, signed by the license server.
    pub(in crate::fuzzing) const BODY: u8 = 2;
    /// Two bytes of length and the body of a license, then its sealed part; signed by the license server.
    pub(in crate::fuzzing) const LICENSE: u8 = 3;
    /// The body of a license whose key is sealed to the device under these terms.
    pub(in crate::fuzzing) const TERMS: u8 = 4;
    /// Two bytes of length and the body of a root license whose key is sealed to the device under these terms,
    /// then the body of a leaf license whose key is sealed under that key.
    pub(in crate::fuzzing) const CHAIN: u8 = 5;
}

/// Installing a response to the one pending request. A refused one leaves nothing usable behind, an
/// accepted one only what was asked for, within its terms; and the request is answered once.
#[must_use]
pub fn client_install(bytes: &[u8]) -> bool {
    let Some((&kind, rest)) = bytes.split_first() else {
        return false;
    };
    let mut input = Input(rest);
    let license = match kind {
        answer::LICENSE => Some((input.part().to_vec(), input.rest().to_vec())),
        answer::TERMS => {
            let PreparedLicense { body, sealed } = WORLD.prepared(rest.to_vec());
            Some((body, sealed))
        }
        _ => None,
    };
    let signed = license.map(|(body, sealed)| WORLD.sign::<LicenseBody>(&body, &[&sealed]));
    let response = match (kind, signed) {
        (answer::CHAIN, _) => answered(&chain(input.part(), input.rest()).encode()),
        (_, Some(license)) => answered(&WORLD.response(license).encode()),
        (answer::OPENED, _) => answer_with(LicenseResponse::CONTEXT, rest, &WORLD.request),
        (answer::BODY, _) => answered(rest),
        _ => rest.to_vec(),
    };
    let mut store = WORLD.store.clone();
    let mut client = WORLD.open(&mut store, 8).unwrap();
    let installed = drive(client.install(response), &mut store, refuse);
    let right = drive(client.install(RIGHT.clone()), &mut store.clone(), refuse);
    // Only a response that did not open leaves the request open for the right one.
    let is_answered = right.is_err();
    assert!(is_answered || installed.is_err());
    drop(client);

    let mut client = reopened(&mut store);
    match &installed {
        Ok(acquired) => assert_only_what_was_asked(acquired, &mut client, &mut store),
        Err(_) => assert_nothing_usable(&mut client, &mut store),
    }
    installed.is_ok()
}

/// A leaf license for the key that was asked for, and a root license that goes along.
fn chain(root: &[u8], leaf: &[u8]) -> LicenseResponse {
    let of = |kid: Kid, PreparedLicense { body, sealed }: PreparedLicense| KeyResult {
        kid,
        license: Some(Bytes(WORLD.sign::<LicenseBody>(&body, &[&sealed]))),
        denial: None,
    };
    LicenseResponse {
        results: vec![
            of(KID, WORLD.prepared_leaf(leaf.to_vec())),
            of(ROOT, WORLD.prepared_root(root.to_vec())),
        ],
        ..WORLD.response(Vec::new())
    }
}

fn answered(body: &[u8]) -> Vec<u8> {
    WORLD.answer::<LicenseResponse>(body, &WORLD.request)
}

fn reopened(store: &mut MemoryStore) -> TestClient<'static> {
    WORLD.open(store, 9).unwrap()
}

fn assert_nothing_usable(client: &mut TestClient<'_>, store: &mut MemoryStore) {
    assert_eq!(drive(client.licenses(), store, refuse).unwrap(), []);
    assert_eq!(
        drive(client.find(KID), store, refuse).unwrap(),
        Availability::Missing
    );
}

fn assert_only_what_was_asked(acquired: &Acquired, client: &mut TestClient<'_>, store: &mut MemoryStore) {
    let stored = drive(client.licenses(), store, refuse).unwrap();
    let told = acquired
        .outcomes
        .iter()
        .filter(|(_, key)| matches!(key, AcquiredKey::Stored(_)));
    assert_eq!(told.count(), stored.len());
    // V-014: licenses may go along, denials may not.
    let goes_along = |key: &AcquiredKey| !matches!(key, AcquiredKey::Denied(_));
    let mut outcomes = acquired.outcomes.iter();
    assert!(outcomes.all(|(kid, key)| *kid == KID || goes_along(key)));
    let device = WORLD.device.id();
    for body in &stored {
        let binds = body.binding.is_device(&device) || body.leaf_of().is_some();
        assert!(body.persistent && binds && body.check() == Ok(()));
    }
    let opened = drive(
        client.open_content(vec![KID], Wanted::default(), Acquisition::Never),
        store,
        refuse,
    );
    if opened.is_ok() {
        let now = acquired.server_time.max(NOW);
        let permits = |body: &LicenseBody| {
            body.begin.is_none_or(|begin| begin <= now) && body.usable_until().is_none_or(|end| NOW < end)
        };
        // V-037: a leaf permits with its root alone.
        let permits = |body: &LicenseBody| match body.kind {
            LicenseKind::Leaf => stored
                .iter()
                .any(|root| Chain::new(root, body).is_ok() && permits(root)),
            _ => permits(body),
        };
        assert!(
            stored
                .iter()
                .any(|body| body.asked_kid() == Ok(KID) && permits(body))
        );
    }
}

/// What an input of [`client_enrol`] is; its first byte.
pub(super) mod enrolment {
    /// Two bytes of HTTP status, then the answer to the fetch of the discovery document.
    pub(in crate::fuzzing) const DISCOVERY: u8 = 0;
    /// The body of a discovery document, signed by the license server.
    pub(in crate::fuzzing) const DISCOVERY_BODY: u8 = 1;
    /// Two bytes of HTTP status, then the answer to the enrolment request.
    pub(in crate::fuzzing) const RESPONSE: u8 = 2;
    /// The body of an enrolment response, signed and sealed to the request.
    pub(in crate::fuzzing) const RESPONSE_BODY: u8 = 3;
}

/// Enrolment with a server that answers anything. The client calls that server alone, and what is
/// refused leaves no operator behind.
#[must_use]
pub fn client_enrol(bytes: &[u8]) -> bool {
    let Some((&kind, rest)) = bytes.split_first() else {
        return false;
    };
    let mut input = Input(rest);
    let mut any = || Answer {
        status: input.u16(),
        body: input.rest().to_vec(),
    };
    let mut store = MemoryStore::default();
    let mut client = WORLD.open(&mut store, 1).unwrap();
    let flow = client.enrol(WORLD.profile.clone(), "token".into());
    let enrolled = drive(flow, &mut store, |outgoing| {
        assert!(
            outgoing.url.starts_with("https://license.example:443/"),
            "{}",
            outgoing.url
        );
        match (outgoing.content_type, kind) {
            (None, enrolment::DISCOVERY) => any(),
            (None, enrolment::DISCOVERY_BODY) => found(WORLD.sign::<Discovery>(rest, &[])),
            (None, _) => found(WORLD.sign::<Discovery>(&WORLD.discovery().encode(), &[])),
            (Some(_), enrolment::RESPONSE) => any(),
            (Some(_), enrolment::RESPONSE_BODY) => {
                found(WORLD.answer::<EnrolmentResponse>(rest, &WORLD.asked_enrolment(outgoing.body)))
            }
            (Some(_), _) => {
                let asked = WORLD.asked_enrolment(outgoing.body);
                found(WORLD.answer::<EnrolmentResponse>(&WORLD.enrolled(&asked).encode(), &asked))
            }
        }
    });
    drop(client);
    let known = reopened(&mut store).operators().count();
    assert_eq!(known, usize::from(enrolled.is_ok()));
    enrolled.is_ok_and(|enrolled| {
        assert_eq!(enrolled.operator, WORLD.profile.operator());
        true
    })
}

/// A content header from a stranger, as the text of its PlayReady Header: the client calls the license
/// server of its operator or nobody.
#[must_use]
pub fn client_content_header(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return false;
    };
    let header: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let Ok(object) = (Object {
        header: Some(&header),
        embedded_store: None,
    })
    .to_bytes() else {
        return false;
    };
    let mut store = WORLD.store.clone();
    let mut client = WORLD.open(&mut store, 8).unwrap();
    let mut is_called = false;
    let acquired = drive(client.acquire(Wanted::header(object)), &mut store, |outgoing| {
        assert!(
            outgoing.url.starts_with("https://license.example:443/"),
            "{}",
            outgoing.url
        );
        is_called = true;
        Answer {
            status: 500,
            body: Vec::new(),
        }
    });
    assert!(acquired.is_err());
    is_called
}

/// What an input of [`client_store`] is; its first byte.
pub(super) mod disk {
    /// A script against a store that holds a license.
    pub(in crate::fuzzing) const HELD: u8 = 0;
    /// A script against a store whose license was removed.
    pub(in crate::fuzzing) const REMOVED: u8 = 1;
    /// The content of the head, sealed rightly: the device's owner has the keys.
    pub(in crate::fuzzing) const HEAD: u8 = 2;
    /// The content of the epoch file, sealed rightly.
    pub(in crate::fuzzing) const EPOCH: u8 = 3;
}

/// What a script may do to a record; each is followed by the record's number, of which the last is the
/// epoch file.
pub(super) mod edit {
    /// Deletes it.
    pub(in crate::fuzzing) const DELETE: u8 = 0;
    /// Replaces it with bytes; two bytes of length come first.
    pub(in crate::fuzzing) const WRITE: u8 = 1;
    /// Replaces it with the record of the same key in the other store.
    pub(in crate::fuzzing) const SET_BACK: u8 = 2;
    /// Replaces it with another record, whose number follows.
    pub(in crate::fuzzing) const COPY: u8 = 3;
    pub(super) const ALL: u8 = 4;
}

/// A store that somebody edited. A license that was removed does not come back, and one that was cut
/// out is missed, not forgotten, unless head and epoch file are both from one whole copy.
#[must_use]
pub fn client_store(bytes: &[u8]) -> bool {
    let Some((&kind, script)) = bytes.split_first() else {
        return false;
    };
    let mut disk = match kind {
        disk::HELD => edited(&HELD, &REMOVED, script),
        disk::REMOVED => edited(&REMOVED, &HELD, script),
        disk::HEAD => with_head(&HELD, script),
        _ => with_epoch(&HELD, script),
    };
    let mut store = disk.load();
    let Ok(client) = WORLD.open(&mut store, 9) else {
        return false;
    };
    let found = drive(client.find(KID), &mut store, refuse);
    if [disk::HELD, disk::REMOVED].contains(&kind) {
        let is_whole_copy = disk.head() == Disk::of(&HELD).head() && disk.epoch == Disk::of(&HELD).epoch;
        assert!(
            is_whole_copy || !matches!(found, Ok(Availability::Ready { .. })),
            "a license came back"
        );
        assert!(
            !is_whole_copy || !matches!(found, Ok(Availability::Missing)),
            "a license was forgotten"
        );
    }
    found.is_ok()
}

/// The store after the right response, and that after its license was removed.
static HELD: LazyLock<MemoryStore> = LazyLock::new(|| {
    let mut store = WORLD.store.clone();
    let mut client = WORLD.open(&mut store, 8).unwrap();
    drive(client.install(RIGHT.clone()), &mut store, refuse).unwrap();
    store
});
static REMOVED: LazyLock<MemoryStore> = LazyLock::new(|| {
    let mut store = HELD.clone();
    let mut client = WORLD.open(&mut store, 9).unwrap();
    assert_eq!(drive(client.remove_licenses(KID), &mut store, refuse).unwrap(), 1);
    store
});
static RIGHT: LazyLock<Vec<u8>> = LazyLock::new(|| WORLD.right_response());

/// Records and epoch file of a store, for the attacker.
struct Disk {
    store: MemoryStore,
    epoch: Option<Vec<u8>>,
}

impl Disk {
    fn of(store: &MemoryStore) -> Self {
        Self {
            store: store.clone(),
            epoch: store.epoch().map(<[u8]>::to_vec),
        }
    }

    /// The head's record: the only one of kind zero, so the first.
    fn head(&mut self) -> Option<Vec<u8>> {
        let (key, head) = self.store.records_mut().first_key_value()?;
        (key.as_bytes().first() == Some(&0)).then(|| head.clone())
    }

    /// The store as a client finds it.
    fn load(&mut self) -> MemoryStore {
        let mut store = MemoryStore::default();
        if let Some(epoch) = self.epoch.clone() {
            store.commit(keyward_client::store::Batch {
                puts: Vec::new(),
                deletes: Vec::new(),
                epoch,
            });
        }
        *store.records_mut() = self.store.records_mut().clone();
        store
    }
}

fn edited(store: &MemoryStore, other: &MemoryStore, script: &[u8]) -> Disk {
    let (mut disk, mut other) = (Disk::of(store), Disk::of(other));
    let mut input = Input(script);
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let (act, number) = (input.u8() % edit::ALL, usize::from(input.u8()));
        let records = disk.store.records_mut();
        let keys: Vec<_> = records
            .keys()
            .chain(other.store.records_mut().keys())
            .copied()
            .collect();
        let key = keys.get(number % (keys.len() + 1)).copied();
        let get = |key| match key {
            Some(key) => records.get(&key).cloned(),
            None => disk.epoch.clone(),
        };
        let new = match act {
            edit::WRITE => Some(input.part().to_vec()),
            edit::COPY => get(keys.get(usize::from(input.u8()) % (keys.len() + 1)).copied()),
            edit::SET_BACK => match key {
                Some(key) => other.store.records_mut().get(&key).cloned(),
                None => other.epoch.clone(),
            },
            _ => None,
        };
        match (key, new) {
            (Some(key), Some(new)) => drop(records.insert(key, new)),
            (Some(key), None) => drop(records.remove(&key)),
            (None, new) => disk.epoch = new,
        }
    }
    disk
}

cbor_map! {
    /// The epoch file as the client writes it.
    struct EpochFile = "epoch file" {
        /// Format version.
        [1] version: u64,
        /// Names the epoch.
        [2] id: EpochId,
        /// Seals and names every record.
        [3] key: Secret<32>,
        /// Newest commit.
        [4] generation: u64,
    }
}

const EPOCH_AAD: &[u8] = b"keyward/1 store-epoch";

/// The content of the store's epoch file.
pub(super) fn epoch_content(store: &MemoryStore) -> Vec<u8> {
    let opened = aead::open(&DeviceKeys::STORE_KEY, EPOCH_AAD, store.epoch().unwrap()).unwrap();
    opened.expose().to_vec()
}

/// The content of the store's head.
pub(super) fn head_content(store: &MemoryStore) -> Vec<u8> {
    let mut disk = Disk::of(store);
    let head = disk.head().unwrap();
    aead::open(&value_key(store), &[0; 33], &head)
        .unwrap()
        .expose()
        .to_vec()
}

fn value_key(store: &MemoryStore) -> Secret<32> {
    let epoch = EpochFile::decode(&epoch_content(store)).unwrap();
    kdf::hkdf_sha256(epoch.key.expose(), epoch.id.as_bytes(), b"keyward/1 store-value").unwrap()
}

fn with_head(store: &MemoryStore, content: &[u8]) -> Disk {
    let sealed = aead::seal(&value_key(store), &[0; 33], content, &mut draws(10)).unwrap();
    let mut disk = Disk::of(store);
    let key = *disk.store.records_mut().first_key_value().unwrap().0;
    disk.store.records_mut().insert(key, sealed);
    disk
}

fn with_epoch(store: &MemoryStore, content: &[u8]) -> Disk {
    let sealed = aead::seal(&DeviceKeys::STORE_KEY, EPOCH_AAD, content, &mut draws(10)).unwrap();
    Disk {
        epoch: Some(sealed),
        ..Disk::of(store)
    }
}

cbor_map! {
    /// The encoding of software keys.
    struct KeyFile = "device keys" {
        /// Format version.
        [1] version: u64,
        /// Private scalar.
        [2] signing: Secret<32>,
        /// One private key a suite.
        [3] sealing: Vec<PrivateKey>,
        /// Seals the epoch file.
        [4] store_key: Secret<32>,
    }
}

cbor_map! {
    /// A private key of one suite.
    struct PrivateKey = "private key" {
        /// Suite number.
        [1] suite: u64,
        /// Its encoding.
        [2] private_key: Bytes,
    }
}

/// The key file of a software device: what is read comes out again.
#[must_use]
pub fn device_keys(bytes: &[u8]) -> bool {
    let Ok(keys) = SoftwareKeys::from_secret_bytes(&SecretBytes::new(bytes.to_vec())) else {
        return false;
    };
    let file = read::<KeyFile>(bytes).unwrap();
    assert_eq!(keys.to_secret_bytes().expose(), file.encode());
    assert!(keys.device_id().is_ok());
    keys.sealing_keys().len() == file.sealing.len()
}
