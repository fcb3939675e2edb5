//! Who sends this? Opening requests, verifying devices and packagers.

use core::cell::RefCell;
use std::sync::Arc;

use keyward_crypto::{
    ChainFault, CryptoError, SecretBytes,
    kdf::sha256,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    acknowledgement::AcknowledgeRequest,
    certificate::{Claims, certified_device},
    codec::Wire,
    enrolment::{EnrolmentRequest, EnrolmentRole},
    envelope::SealedRequest,
    ids::{DeviceId, Digest, Kid},
    packaging::PackagingRequest,
    request::{LicenseRequest, StoreState},
    signed::{ChainVerifier, MessageError, SignedBody, Unverified, Verified},
    time::Timestamp,
};
use moka::sync::Cache;

use crate::{
    Refusal,
    operator::Identity,
    rate::{Limiter, Turn},
    revocation::Trust,
    store::{DeviceRow, Question, RightRow, Store},
};

/// An opened request and the certificate it was sealed to.
pub(crate) struct Opened {
    pub(crate) recipient: Digest,
    pub(crate) message: SecretBytes,
}

/// A request whose device is known and may ask.
pub(crate) struct Authenticated {
    pub(crate) request: Verified<LicenseRequest>,
    pub(crate) device: DeviceId,
    pub(crate) claims: Claims,
    /// The lower of what the certificate and the enrolment say.
    pub(crate) security_level: u64,
    /// What the enrolment says.
    pub(crate) enrolled_level: u64,
    pub(crate) account: i64,
    pub(crate) account_name: String,
    /// What the account may have of each key id.
    pub(crate) rights: Vec<(Kid, RightRow)>,
    /// Whether the same request was answered before.
    pub(crate) answered: bool,
    /// Whether the device is revoked: by its row, its certificate or its model.
    pub(crate) revoked: bool,
}

/// A packaging request whose packager is known and may ask.
pub(crate) struct AuthenticatedPackager {
    pub(crate) request: Verified<PackagingRequest>,
    pub(crate) packager: DeviceId,
    pub(crate) claims: Claims,
    /// Set if the same request was answered before.
    pub(crate) answered: Option<Vec<u8>>,
}

/// V-001, V-040: the envelope passes the gate, is sealed to a certificate of ours that is in use, and
/// opens.
pub(crate) fn open<T: SignedBody>(
    identity: &Identity,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Opened, Refusal> {
    let envelope = SealedRequest::decode(bytes)?;
    // V-040
    let keys = identity.recipient(&envelope.recipient, now);
    let message = envelope.open(T::CONTEXT, keys.ok_or(Refusal::WrongRecipient)?)?;
    Ok(Opened {
        recipient: envelope.recipient,
        message,
    })
}

/// V-040, second half: the signed body names the certificate that the envelope was sealed to. Another
/// server that re-seals the request of a device fails here.
pub(crate) fn same_recipient(opened: &Opened, named: &Digest) -> Result<(), Refusal> {
    if opened.recipient == *named {
        Ok(())
    } else {
        Err(Refusal::WrongRecipient)
    }
}

/// A request that its device signed.
pub(crate) struct Signed<T> {
    pub(crate) request: Verified<T>,
    /// V-041: whether a certificate of the device's chain was revoked. All else of it is good.
    pub(crate) revoked: bool,
}

/// V-001 to V-005 and V-041: the device's signature and its chain, now. Nothing of this asks the
/// database. That a certificate was revoked is told beside the request: its device gets a signed answer.
pub(crate) fn verify(
    identity: &Identity,
    trust: &Trust,
    opened: &Opened,
    now: Timestamp,
) -> Result<Signed<LicenseRequest>, Refusal> {
    let signed = verify_signed::<LicenseRequest>(identity, trust, opened, now)?;
    let body = signed.request.body();
    same_recipient(opened, &body.recipient)?;
    body.check_bounds()?;
    if i64::try_from(body.store.generation).is_err() {
        return Err(Refusal::GenerationTooLarge);
    }
    Ok(signed)
}

/// V-001 to V-005 and V-041 of an acknowledgement. One of a revoked device gets no receipt (V-042).
pub(crate) fn verify_acknowledgement(
    identity: &Identity,
    trust: &Trust,
    opened: &Opened,
    now: Timestamp,
) -> Result<Verified<AcknowledgeRequest>, Refusal> {
    let signed = verify_signed::<AcknowledgeRequest>(identity, trust, opened, now)?;
    if signed.revoked {
        return Err(Refusal::DeviceRevoked);
    }
    let body = signed.request.body();
    same_recipient(opened, &body.recipient)?;
    body.check_bounds()?;
    Ok(signed.request)
}

fn verify_signed<T: SignedBody>(
    identity: &Identity,
    trust: &Trust,
    opened: &Opened,
    now: Timestamp,
) -> Result<Signed<T>, Refusal> {
    let parse = || Unverified::<T>::parse(opened.message.expose());
    let verifier = CachedVerifier::new(trust.lists.anchor(), &trust.chains);
    let (request, revoked) = match parse()?.verify(&verifier, Role::Device, |_| vec![now]) {
        Err(MessageError::Signer(CryptoError::ChainRefused(ChainFault::Revoked))) => (
            parse()?.verify(&identity.anchor, Role::Device, |_| vec![now])?,
            true,
        ),
        verified => (verified?, false),
    };
    Ok(Signed { request, revoked })
}

/// V-042 to V-044 and V-047: the device is enrolled, its nonce is fresh, its store has not gone back, its model is
/// trusted. The same is judged again when the answer is recorded; here it saves the work. What the account may have of
/// `kids` is asked on the same occasion. How often the device asks is judged as soon as it is known, so that nothing
/// that it repeats or is refused for is free. Of a device that is revoked the store is not judged.
pub(crate) async fn authenticate(
    (store, trust): (&Store, &Trust),
    rates: &Limiter<Turn>,
    signed: Signed<LicenseRequest>,
    kids: Vec<Kid>,
    now: Timestamp,
) -> Result<Authenticated, Refusal> {
    let Signed { request, revoked } = signed;
    let signer = request.signer().ok_or(Refusal::DeviceUnknown)?;
    let claims = Claims::of(signer).map_err(Refusal::Claims)?;
    let device = certified_device(signer);
    let body = request.body();
    let question = Question {
        device,
        nonce: body.nonce,
        store: body.store.clone(),
        kids,
        now,
    };
    let found = store.look_up(&question).await?;
    if found.generation != trust.generation {
        return Err(Refusal::ListsChanged);
    }
    // V-042
    let row = found.device.ok_or(Refusal::DeviceUnknown)?;
    // V-047
    let revoked = revoked || row.revoked || trust.names_model(signer, now)?;
    let digest = request.digest();
    if !rates.admit((device, row.answered == Some(digest))) {
        return Err(Refusal::RateLimited("the device asks too often"));
    }
    let answered = judge_replay(&row, &digest, (&body.store, revoked))?;
    let security_level = claims.security_level.unwrap_or_default().min(row.security_level);
    Ok(Authenticated {
        request,
        device,
        claims,
        security_level,
        enrolled_level: row.security_level,
        account: row.account,
        account_name: row.account_name,
        rights: question.kids.into_iter().zip(found.rights).collect(),
        answered,
        revoked,
    })
}

/// V-055, first half: the renewal is signed with the key of a certificate whose chain is valid now for the role that is
/// asked for, and it is not revoked (V-041, V-047).
pub(crate) fn verify_renewal(
    trust: &Trust,
    (message, role): (Unverified<EnrolmentRequest>, EnrolmentRole),
    now: Timestamp,
) -> Result<Verified<EnrolmentRequest>, Refusal> {
    let verifier = CachedVerifier::new(trust.lists.anchor(), &trust.chains);
    let request = message
        .verify(&verifier, role.role(), |_| vec![now])
        .map_err(|error| match error {
            MessageError::Signer(CryptoError::ChainRefused(ChainFault::Revoked)) => Refusal::DeviceRevoked,
            MessageError::Signer(fault) if is_unknown(&fault) => Refusal::StatusUnknown,
            other => other.into(),
        })?;
    match request.signer() {
        Some(signer) if role == EnrolmentRole::Device && trust.names_model(signer, now)? => {
            Err(Refusal::DeviceRevoked)
        }
        _ => Ok(request),
    }
}

/// V-001 to V-005 and V-070: the packager's signature and its chain, now.
pub(crate) fn verify_packager(
    trust: &Trust,
    opened: &Opened,
    now: Timestamp,
) -> Result<Verified<PackagingRequest>, Refusal> {
    let verifier = CachedVerifier::new(trust.lists.anchor(), &trust.chains);
    let request = Unverified::<PackagingRequest>::parse(opened.message.expose())?
        .verify(&verifier, Role::Packager, |_| vec![now])
        .map_err(|error| match error {
            MessageError::Signer(CryptoError::ChainRefused(ChainFault::Revoked)) => Refusal::PackagerRevoked,
            MessageError::Signer(fault) if is_unknown(&fault) => Refusal::StatusUnknown,
            MessageError::Signer(fault) => Refusal::PackagerCertificate(fault),
            other => other.into(),
        })?;
    same_recipient(opened, &request.body().recipient)?;
    request.body().check_bounds()?;
    Ok(request)
}

/// V-071, V-072: the packager is enrolled, its nonce is fresh. The same is judged again when the answer is
/// recorded; here it saves the work. How often it asks is judged as for devices.
pub(crate) async fn authenticate_packager(
    (store, trust): (&Store, &Trust),
    rates: &Limiter<Turn>,
    request: Verified<PackagingRequest>,
) -> Result<AuthenticatedPackager, Refusal> {
    let signer = request.signer().ok_or(Refusal::PackagerUnknown)?;
    let claims = Claims::of(signer).map_err(Refusal::PackagerClaims)?;
    let packager = certified_device(signer);
    // V-071
    let row = store
        .packager(&packager, &request.body().nonce)
        .await?
        .ok_or(Refusal::PackagerUnknown)?;
    if row.generation != trust.generation {
        return Err(Refusal::ListsChanged);
    }
    if row.revoked {
        return Err(Refusal::PackagerRevoked);
    }
    let answered = row.answered.as_ref().map(|answered| answered.request);
    if !rates.admit((packager, answered == Some(request.digest()))) {
        return Err(Refusal::RateLimited("the packager asks too often"));
    }
    // V-072
    let answered = match row.answered {
        Some(answered) if answered.request == request.digest() => answered.answer,
        Some(_) => return Err(Refusal::PackagerNonceReused),
        None => None,
    };
    Ok(AuthenticatedPackager {
        request,
        packager,
        claims,
        answered,
    })
}

/// Whether the server cannot tell what became of a certificate, which is no fault of its holder.
pub(crate) const fn is_unknown(fault: &CryptoError) -> bool {
    use ChainFault::{RevocationListExpired, RevocationListInvalid, RevocationUnknown};
    matches!(
        fault,
        CryptoError::ChainRefused(RevocationListExpired | RevocationListInvalid | RevocationUnknown)
    )
}

/// Whether the request was answered before.
fn judge_replay(
    row: &DeviceRow,
    request: &Digest,
    (store, revoked): (&StoreState, bool),
) -> Result<bool, Refusal> {
    // V-043
    match row.answered {
        Some(answered) if answered == *request => return Ok(true),
        Some(_) => return Err(Refusal::NonceReused),
        None => {}
    }
    // V-044
    match row.generation {
        Some(seen) if store.generation < seen && !revoked => Err(Refusal::StoreRolledBack),
        _ => Ok(false),
    }
}

/// Chains that were verified. Path validation costs more than all else in a request; a device asks
/// again with the same chain.
///
/// An entry is used only inside the window in which all certificates of the chain are valid, and none is revoked, so
/// that the cache never makes a chain last longer. It is for the lists of one time.
#[derive(Debug, Clone)]
pub(crate) struct ChainCache(Cache<[u8; 32], VerifiedChain>);

#[derive(Debug, Clone)]
struct VerifiedChain {
    role: Role,
    chain: Arc<[Vec<u8>]>,
    leaf: Certificate,
    not_before: u64,
    not_after: u64,
}

impl ChainCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CHAINS))
    }

    #[cfg(test)]
    fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

/// Verifies the chain of a message.
struct CachedVerifier<'a> {
    anchor: &'a Anchor,
    cache: &'a ChainCache,
    /// What was held of the chain whose leaf was read last, which is the one that is verified next.
    read: RefCell<Option<VerifiedChain>>,
}

impl<'a> CachedVerifier<'a> {
    const fn new(anchor: &'a Anchor, cache: &'a ChainCache) -> Self {
        Self {
            anchor,
            cache,
            read: RefCell::new(None),
        }
    }

    /// What is held of a chain; it is looked for by its hash once.
    fn held(&self, chain: &[Vec<u8>], role: Role) -> Option<VerifiedChain> {
        let is_same = |read: &VerifiedChain| read.role == role && *read.chain == *chain;
        if let Some(read) = self.read.take().filter(is_same) {
            return Some(read);
        }
        self.cache.0.get(&cache_key(chain, role))
    }
}

impl ChainVerifier for CachedVerifier<'_> {
    /// Of a chain that is held, the leaf was read before. The same bytes are the same certificate at any time.
    fn read_leaf(&self, chain: &[Vec<u8>], role: Role) -> Result<Certificate, CryptoError> {
        let Some(held) = self.held(chain, role) else {
            return self.anchor.read_leaf(chain, role);
        };
        let leaf = held.leaf.clone();
        self.read.replace(Some(held));
        Ok(leaf)
    }

    fn verify_chain(&self, chain: &[Vec<u8>], role: Role, at: Timestamp) -> Result<Certificate, CryptoError> {
        if let Some(held) = self.held(chain, role)
            && (held.not_before..=held.not_after).contains(&at.0)
        {
            return Ok(held.leaf);
        }
        let leaf = self.anchor.verify(chain, role, at.0)?;
        let certificates = chain.iter().map(|der| Certificate::parse(der));
        let Ok(certificates) = certificates.collect::<Result<Vec<_>, _>>() else {
            // A certificate that the path does not need is no reason to refuse; but until when the chain
            // may be kept is not known.
            return Ok(leaf);
        };
        let not_before = certificates
            .iter()
            .map(Certificate::not_before)
            .max()
            .unwrap_or(u64::MAX);
        let not_after = certificates.iter().map(Certificate::not_after).min().unwrap_or(0);
        let Ok(revoked) = self.anchor.revoked_since(chain) else {
            return Ok(leaf);
        };
        let not_after = revoked.map_or(not_after, |since| not_after.min(since.saturating_sub(1)));
        self.cache.0.insert(
            cache_key(chain, role),
            VerifiedChain {
                role,
                chain: chain.into(),
                leaf: leaf.clone(),
                not_before,
                not_after,
            },
        );
        Ok(leaf)
    }
}

/// SHA-256 of role and chain, each certificate behind its length: no two chains have the same bytes.
fn cache_key(chain: &[Vec<u8>], role: Role) -> [u8; 32] {
    let lengths: Vec<_> = chain.iter().map(|der| (der.len() as u64).to_be_bytes()).collect();
    let role = [role.number()];
    let parts = core::iter::once(&role[..])
        .chain(
            chain
                .iter()
                .zip(&lengths)
                .flat_map(|(der, length)| [&length[..], &der[..]]),
        )
        .collect::<Vec<_>>();
    sha256(&parts)
}

/// Chains held: about 6 KiB each.
const CHAINS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use keyward_crypto::{
        ChainFault,
        ecdsa::SigningKey,
        x509::issue::{Profile, issue, self_signed},
    };
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    const DAY: u64 = 86_400;

    fn profile<'a>(subject: &'a str, authority: Option<u8>, not_after: u64) -> Profile<'a> {
        Profile {
            subject,
            roles: &[Role::Device],
            authority,
            not_before: DAY,
            not_after,
            claims: None,
            serial: [7; 16],
        }
    }

    /// V-041: an entry of the cache ends with the first certificate of its chain, and is for one role.
    #[test]
    fn v_041_a_cached_chain_expires_like_any_other() {
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let [root_key, ca_key, leaf_key] = [(); 3].map(|()| SigningKey::generate(&mut rng));
        let root = self_signed(&profile("root", Some(1), 9 * DAY), &root_key).unwrap();
        let root_certificate = Certificate::parse(&root).unwrap();
        let ca = issue(
            &profile("ca", Some(0), 4 * DAY),
            ca_key.public_key(),
            &root_certificate,
            &root_key,
        )
        .unwrap();
        let ca_certificate = Certificate::parse(&ca).unwrap();
        let leaf = issue(
            &profile("leaf", None, 8 * DAY),
            leaf_key.public_key(),
            &ca_certificate,
            &ca_key,
        )
        .unwrap();
        let (anchor, cache, chain) = (
            Anchor::from_der(&root).unwrap(),
            ChainCache::new(),
            vec![leaf, ca],
        );
        let verifier = CachedVerifier::new(&anchor, &cache);
        let at = |day: u64, role| verifier.verify_chain(&chain, role, Timestamp(day * DAY));
        let refused = |fault| Err(CryptoError::ChainRefused(fault));
        assert_eq!(at(0, Role::Device), refused(ChainFault::NotYetValid));
        assert_eq!(cache.len(), 0, "a refused chain is not kept");
        for day in [1, 2, 4] {
            assert_eq!(at(day, Role::Device).unwrap().subject(), "leaf");
        }
        assert_eq!(cache.len(), 1);
        let other = [chain.first().unwrap().clone()];
        for chain in [&chain[..], &other] {
            let read = verifier.read_leaf(chain, Role::Device).unwrap();
            assert_eq!(read.der(), chain.first().unwrap());
        }
        assert_eq!(at(5, Role::Device), refused(ChainFault::Expired));
        assert_eq!(at(0, Role::Device), refused(ChainFault::NotYetValid));
        assert_eq!(at(2, Role::LicenseServer), refused(ChainFault::WrongRole));
    }

    /// V-041: a certificate beyond the path, even one that is none, is no reason to refuse.
    #[test]
    fn v_041_a_surplus_certificate_that_cannot_be_read_is_not_kept_and_not_refused() {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let [root_key, leaf_key] = [(); 2].map(|()| SigningKey::generate(&mut rng));
        let root = self_signed(&profile("root", Some(1), 9 * DAY), &root_key).unwrap();
        let leaf = issue(
            &profile("leaf", None, 8 * DAY),
            leaf_key.public_key(),
            &Certificate::parse(&root).unwrap(),
            &root_key,
        )
        .unwrap();
        let (anchor, cache) = (Anchor::from_der(&root).unwrap(), ChainCache::new());
        let verifier = CachedVerifier::new(&anchor, &cache);
        let chain = [leaf, b"no certificate".to_vec()];
        let verified = verifier.verify_chain(&chain, Role::Device, Timestamp(2 * DAY));
        assert_eq!(verified.unwrap().subject(), "leaf");
        assert_eq!(cache.len(), 0);
    }
}
