//! One operator with one license server and one device, made once a process.

pub(super) mod packaging;

use std::sync::{LazyLock, OnceLock};

use keyward_client::{
    Client, ClientError,
    acquire::Wanted,
    device::KeyStore,
    flow::{Answer, Flow, Moment, Outgoing, Progress, Reply, Step},
    host::HostProfile,
    store::memory::MemoryStore,
};
use keyward_crypto::{
    CryptoError, RootKey, Secret, SecretBytes,
    ecdsa::{PublicKey, Signer},
    hpke::Suite,
    x509::{
        Anchor, Role,
        issue::{ListProfile, Reason, Revoked},
    },
};
use keyward_license::{
    certificate::{SECURITY_LEVEL_SOFTWARE, SealingKey},
    codec::{Bytes, Wire},
    discovery::Discovery,
    enrolment::{EnrolmentRequest, EnrolmentResponse, seal_chain},
    envelope::{SealedRequest, SealedResponse},
    ids::{Digest, Kid, LicenseId, Nonce},
    license::{
        Binding, Flag, KeyDescription, KeyType, LicenseBody, LicenseKeys, LicenseKind, PreparedLicense,
    },
    operator_profile::OperatorProfile,
    party::PartyKeys,
    request::{ClientInfo, LicenseRequest},
    response::{KeyResult, LicenseResponse},
    signed::{self, SignedBody, Unverified, Verified},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::pki::{DAY, Device, Identity, NOW, Operator, Recipient};

/// The one key id that is ever asked for.
pub(super) const KID: Kid = Kid::new([0x4b; 16]);
/// Its content key.
pub(super) const KEY: [u8; 16] = [0x6b; 16];
/// The license that the server issues for it.
pub(super) const LICENSE_ID: LicenseId = LicenseId::new([0x11; 16]);
/// The key id of the root license.
pub(super) const ROOT: Kid = Kid::new([0x52; 16]);
/// The key id of the leaf license under it.
pub(super) const LEAF_KID: Kid = Kid::new([1; 16]);
/// The root license.
pub(super) const ROOT_ID: LicenseId = LicenseId::new([0x13; 16]);
/// The leaf license.
pub(super) const LEAF_ID: LicenseId = LicenseId::new([0x12; 16]);
/// The client's time.
pub(super) const MOMENT: Moment = Moment {
    utc: Some(NOW),
    monotonic: 0,
};

/// The world, the same in every process.
pub(super) static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// A client of the world's device.
pub(super) type TestClient<'a> = Client<DeviceKeys<'a>, ChaCha20Rng>;

/// A request as its server opened it.
pub(super) struct Asked {
    pub(super) sealed: Vec<u8>,
    pub(super) signed: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) response_key: Secret<32>,
    pub(super) digest: Digest,
    pub(super) nonce: Nonce,
}

pub(super) struct World {
    operator: Operator,
    pub(super) anchor: Anchor,
    pub(super) profile: OperatorProfile,
    pub(super) license_server: Identity,
    pub(super) request_encryption: Recipient,
    pub(super) device: Device,
    pub(super) packager: Recipient,
    /// What a client asks that enrols with [`draws`] of 1 into an empty store.
    pub(super) enrolment: Asked,
    /// A store whose client is enrolled and waits for the answer to `request`.
    pub(super) store: MemoryStore,
    pub(super) request: Asked,
    /// Signed once, or an execution that has a leaf would be one that signs.
    leaf: OnceLock<Vec<u8>>,
}

/// The key under which the leaf license of [`World::leaf_body`] stands.
pub(super) fn root_key() -> RootKey {
    RootKey::new(Secret::new([0x72; 32]))
}

/// A generator for a client; the number tells the purposes apart.
pub(super) fn draws(purpose: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([purpose; 32])
}

impl World {
    fn new() -> Self {
        let mut operator = Operator::new([0xf0; 32]);
        let mut world = Self {
            anchor: operator.anchor(),
            profile: operator.profile(),
            license_server: operator.server(Role::LicenseServer),
            request_encryption: operator.recipient(Role::RequestEncryption),
            device: operator.device(),
            packager: operator.recipient(Role::Packager),
            enrolment: Asked::nothing(),
            store: MemoryStore::default(),
            request: Asked::nothing(),
            leaf: OnceLock::new(),
            operator,
        };
        let mut store = MemoryStore::default();
        let mut client = world.open(&mut store, 1).unwrap();
        let mut enrolment = Asked::nothing();
        let enrol = client.enrol(world.profile.clone(), "token".into());
        drive(enrol, &mut store, |outgoing| match outgoing.content_type {
            None => found(world.signed(&world.discovery().encode())),
            Some(_) => {
                enrolment = world.asked_enrolment(outgoing.body);
                found(world.answer::<EnrolmentResponse>(&world.enrolled(&enrolment).encode(), &enrolment))
            }
        })
        .unwrap();
        let wanted = Wanted {
            kids: vec![KID],
            ..Wanted::default()
        };
        let request = drive(client.request(wanted), &mut store, refuse).unwrap();
        let request = world.asked_license(request);
        drop(client);
        (world.enrolment, world.store, world.request) = (enrolment, store, request);
        world
    }

    /// Every revocation list of the operator: the root's, and the server authority's before and after the
    /// license server was revoked.
    pub(super) fn revocation_lists(&self) -> [Vec<u8>; 3] {
        let server = self.license_server.leaf();
        let revoked = [Revoked {
            serial: server.serial(),
            at: NOW.0,
            invalid_since: Some(NOW.minus(DAY).0),
            reason: Some(Reason::KeyCompromise),
        }];
        let list = |role, number, revoked| {
            let list = ListProfile {
                number,
                this_update: NOW.minus(DAY).0,
                next_update: NOW.plus(30 * DAY).0,
                revoked,
            };
            self.operator.revocation_list(role, &list)
        };
        [
            list(None, 1, &[]),
            list(Some(Role::LicenseServer), 1, &[]),
            list(Some(Role::LicenseServer), 2, &revoked),
        ]
    }

    /// The server authority's signature, in DER.
    pub(super) fn signature_of_authority(&self, message: &[u8]) -> Vec<u8> {
        let key = self.operator.authority_key(Role::LicenseServer);
        let signature = key.sign(message).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
        signature.to_der().as_bytes().to_vec()
    }

    /// Opens a client on `store`.
    pub(super) fn open(&self, store: &mut MemoryStore, purpose: u8) -> Result<TestClient<'_>, ClientError> {
        let info = ClientInfo {
            name: "fuzz".into(),
            version: "1".into(),
            platform: "test".into(),
        };
        let epoch = store.epoch().map(<[u8]>::to_vec);
        let flow = Client::open(DeviceKeys(&self.device), draws(purpose), info, epoch);
        // A host on which every term can be enforced, so that none is refused for not having been announced.
        let host = HostProfile {
            asks_while_playing: true,
            states_frames: true,
            embeds: true,
            ..HostProfile::default()
        };
        Ok(drive(flow, store, refuse)?.on_host(host))
    }

    /// Bytes signed by the license server as a discovery document.
    fn signed(&self, body: &[u8]) -> Vec<u8> {
        self.sign::<Discovery>(body, &[])
    }

    /// Signs a body as the license server.
    pub(super) fn sign<T: SignedBody>(&self, body: &[u8], attachments: &[&[u8]]) -> Vec<u8> {
        let Identity { chain, key } = &self.license_server;
        signed::sign::<T>(body, attachments, chain, key).unwrap()
    }

    /// Signs a body as the license server and seals it to a request.
    pub(super) fn answer<T: SignedBody>(&self, body: &[u8], asked: &Asked) -> Vec<u8> {
        answer_with(T::CONTEXT, &self.sign::<T>(body, &[]), asked)
    }

    /// The discovery document.
    pub(super) fn discovery(&self) -> Discovery {
        Discovery {
            version: 1,
            operator: self.profile.operator(),
            request_encryption: self
                .request_encryption
                .identity
                .chain
                .iter()
                .cloned()
                .map(Bytes)
                .collect(),
            license_path: "/license".into(),
            enrolment_path: "/enrol".into(),
            issued: NOW,
            expires: NOW.plus(DAY),
            packaging_path: Some("/packaging".into()),
            acknowledgement_path: None,
        }
    }

    /// The answer to an enrolment request of the device.
    pub(super) fn enrolled(&self, asked: &Asked) -> EnrolmentResponse {
        let keys: Vec<(Suite, &[u8])> = self
            .device
            .sealing
            .iter()
            .map(|pair| (pair.suite(), pair.public_key()))
            .collect();
        let (shares, chain) =
            seal_chain(&self.device.identity.chain, &keys, &asked.digest, &mut draws(3)).unwrap();
        EnrolmentResponse {
            version: 1,
            request: asked.digest,
            nonce: asked.nonce,
            shares,
            chain,
            server_time: NOW,
        }
    }

    /// The body of the license for [`KID`].
    pub(super) fn license_body(&self) -> LicenseBody {
        let key = KeyDescription::content(KID, KeyType::File);
        let binding = Binding::device(&self.device.id());
        LicenseBody {
            begin: Some(NOW.minus(DAY)),
            end: Some(NOW.plus(DAY)),
            minimum_security_level: Some(SECURITY_LEVEL_SOFTWARE),
            name: Some("test".into()),
            ..LicenseBody::new(LICENSE_ID, LicenseKind::Simple, key, binding, NOW)
        }
    }

    /// The key, sealed to the device for a license with this body.
    pub(super) fn prepared(&self, body: Vec<u8>) -> PreparedLicense {
        let keys = LicenseKeys {
            keys: vec![Bytes(KEY.to_vec())],
            proof_key: Secret::new([7; 32]),
        };
        let public = self.device.sealing_key(Suite::XWing).public_key();
        PreparedLicense::for_device(body, &keys, Suite::XWing, public, &mut draws(4)).unwrap()
    }

    /// The body of the license with the key [`ROOT`].
    pub(super) fn root_body(&self) -> LicenseBody {
        let key = KeyDescription::content(ROOT, KeyType::Root);
        LicenseBody {
            id: ROOT_ID,
            kind: LicenseKind::Root,
            keys: vec![key],
            ..self.license_body()
        }
    }

    /// The root key, sealed to the device for a root license with this body.
    pub(super) fn prepared_root(&self, body: Vec<u8>) -> PreparedLicense {
        let keys = LicenseKeys {
            keys: vec![Bytes(root_key().expose().to_vec())],
            proof_key: Secret::new([7; 32]),
        };
        let public = self.device.sealing_key(Suite::XWing).public_key();
        PreparedLicense::for_device(body, &keys, Suite::XWing, public, &mut draws(10)).unwrap()
    }

    /// The body of a leaf license under [`ROOT`].
    pub(super) fn leaf_body(&self) -> LicenseBody {
        let key = KeyDescription::content(LEAF_KID, KeyType::CencCbc);
        LicenseBody {
            minimum_security_level: Some(SECURITY_LEVEL_SOFTWARE),
            embed: Some(Flag),
            ..LicenseBody::new(LEAF_ID, LicenseKind::Leaf, key, Binding::root(ROOT), NOW)
        }
    }

    /// The key, sealed under the root key for a leaf license with this body.
    pub(super) fn prepared_leaf(&self, body: Vec<u8>) -> PreparedLicense {
        let keys = LicenseKeys {
            keys: vec![Bytes(KEY.to_vec())],
            proof_key: Secret::new([7; 32]),
        };
        PreparedLicense::under_root(body, &keys, &root_key(), &mut draws(8)).unwrap()
    }

    /// The leaf license, signed.
    pub(super) fn leaf(&self) -> Vec<u8> {
        let sign = || {
            let PreparedLicense { body, sealed } = self.prepared_leaf(self.leaf_body().encode());
            self.sign::<LicenseBody>(&body, &[&sealed])
        };
        self.leaf.get_or_init(sign).clone()
    }

    /// The answer to the license request that carries this license.
    pub(super) fn response(&self, license: Vec<u8>) -> LicenseResponse {
        LicenseResponse {
            version: 1,
            request: self.request.digest,
            nonce: self.request.nonce,
            results: vec![KeyResult {
                kid: KID,
                license: Some(Bytes(license)),
                denial: None,
            }],
            revocation_lists: None,
            server_time: NOW,
            transaction: None,
            custom_data: None,
            renew_at: None,
        }
    }

    /// The whole of a right response: the license for [`KID`], signed and sealed.
    pub(super) fn right_response(&self) -> Vec<u8> {
        let PreparedLicense { body, sealed } = self.prepared(self.license_body().encode());
        let license = self.sign::<LicenseBody>(&body, &[&sealed]);
        self.answer::<LicenseResponse>(&self.response(license).encode(), &self.request)
    }

    /// Opens an enrolment request of any client, and notes what its answer needs.
    pub(super) fn asked_enrolment(&self, sealed: Vec<u8>) -> Asked {
        let signed = self.opened(EnrolmentRequest::CONTEXT, &sealed);
        let verified = Unverified::<EnrolmentRequest>::parse(&signed)
            .unwrap()
            .verify_with_own_key(|body| PublicKey::from_spki_der(&body.public_key.0))
            .unwrap();
        let EnrolmentRequest {
            ref response_key,
            nonce,
            ..
        } = *verified.body();
        let response_key = response_key.duplicate();
        Asked::new(sealed, signed, &verified, response_key, nonce)
    }

    fn asked_license(&self, sealed: Vec<u8>) -> Asked {
        let signed = self.opened(LicenseRequest::CONTEXT, &sealed);
        let verified = Unverified::<LicenseRequest>::parse(&signed)
            .unwrap()
            .verify(&self.anchor, Role::Device, |_| vec![NOW])
            .unwrap();
        let LicenseRequest {
            ref response_key,
            nonce,
            ..
        } = *verified.body();
        let response_key = response_key.duplicate();
        Asked::new(sealed, signed, &verified, response_key, nonce)
    }

    fn opened(&self, context: &str, sealed: &[u8]) -> Vec<u8> {
        let sealed = SealedRequest::decode(sealed).unwrap();
        sealed
            .open(context, &self.request_encryption.sealing)
            .unwrap()
            .expose()
            .to_vec()
    }
}

impl Asked {
    fn new<T>(
        sealed: Vec<u8>,
        signed: Vec<u8>,
        verified: &Verified<T>,
        response_key: Secret<32>,
        nonce: Nonce,
    ) -> Self {
        let (body, digest) = (verified.body_bytes().to_vec(), verified.digest());
        Self {
            sealed,
            signed,
            body,
            response_key,
            digest,
            nonce,
        }
    }

    const fn nothing() -> Self {
        Self {
            sealed: Vec::new(),
            signed: Vec::new(),
            body: Vec::new(),
            response_key: Secret::new([0; 32]),
            digest: Digest::new([0; 32]),
            nonce: Nonce::new([0; 16]),
        }
    }
}

/// Seals any message to a request.
pub(super) fn answer_with(context: &str, message: &[u8], asked: &Asked) -> Vec<u8> {
    let sealed = SealedResponse::seal(
        context,
        &asked.response_key,
        &asked.digest,
        message,
        &mut draws(5),
    );
    sealed.unwrap().encode()
}

/// An answer of HTTP status 200.
pub(super) const fn found(body: Vec<u8>) -> Answer {
    Answer { status: 200, body }
}

/// The other side of a flow that sends nothing.
#[expect(clippy::needless_pass_by_value, reason = "the form in which a flow sends")]
pub(super) fn refuse(outgoing: Outgoing) -> Answer {
    unreachable!("nothing is to be sent, least of all to {}", outgoing.url)
}

/// Carries out a flow on a store in memory.
pub(super) fn drive<T>(
    mut flow: Flow<'_, T>,
    store: &mut MemoryStore,
    mut send: impl FnMut(Outgoing) -> Answer,
) -> Result<T, ClientError> {
    let mut reply = Reply::Start;
    loop {
        reply = match flow.resume(reply, MOMENT) {
            Progress::Step(Step::Get(keys)) => Reply::Records(store.get(&keys)),
            Progress::Step(Step::Commit(batch)) => {
                store.commit(batch);
                Reply::Committed
            }
            Progress::Step(Step::Send(outgoing)) => Reply::Answer(send(outgoing)),
            // Nobody waits for a time that does not go on.
            Progress::Step(Step::Wait(_)) => Reply::Waited,
            Progress::Done(result) => return result,
        };
    }
}

/// The device's keys as a client sees them. Signatures are deterministic.
pub(super) struct DeviceKeys<'a>(&'a Device);

impl DeviceKeys<'_> {
    /// What the epoch file is sealed under.
    pub(super) const STORE_KEY: Secret<32> = Secret::new([0x5e; 32]);
}

impl PartyKeys for DeviceKeys<'_> {
    fn signer(&self) -> &dyn Signer {
        &self.0.identity.key
    }

    fn sealing_keys(&self) -> Vec<SealingKey> {
        let public = self.0.sealing.iter().map(|pair| SealingKey {
            suite: pair.suite().number(),
            public_key: Bytes(pair.public_key().to_vec()),
        });
        public.collect()
    }

    fn open(
        &self,
        suite: Suite,
        info: &[u8],
        encapsulated: &[u8],
        ciphertext: &[u8],
    ) -> Result<SecretBytes, CryptoError> {
        self.0.sealing_key(suite).open(info, encapsulated, ciphertext)
    }
}

impl KeyStore for DeviceKeys<'_> {
    fn store_key(&self) -> Result<Secret<32>, CryptoError> {
        Ok(Self::STORE_KEY)
    }
}
