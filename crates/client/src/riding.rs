//! V-039: licenses that ride in content: in its embedded license store, or in the `pssh` of a fragment.
//!
//! Content is a stranger, so each license is judged as one that comes as a file, by its own signature. What is for
//! another device, stands under a root that is not here, was removed (V-028), or is of no use for another reason, is
//! skipped: it never keeps content from being opened that another license permits to open.
//!
//! A leaf is used for the playback alone, which keeps a few of them however many ride by. A simple or root license is
//! for this device, and goes into the store: its first play has to be recorded somewhere.
//!
//! A part may bring hundreds of licenses, one for each root that a key stands under. What each says of itself costs
//! little to read; only what may be of use is worth the verification of a signature, and of those a few.

use std::{collections::BTreeMap, sync::Arc};

use keyward_content::media::MAX_RIDING_LICENSES;
use keyward_crypto::{
    CryptoError,
    cose::Sign1,
    x509::{Anchor, Certificate, Role},
};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::{Digest, Kid, LicenseId},
    license::{License, LicenseBody, LicenseKind},
    revocation::RevocationLists,
    signed::{ChainVerifier, Unverified},
    time::Timestamp,
};
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    chain::{self, RootKeys},
    choose::{Kept, Place, Recorded},
    device::{KeyStore, STACK},
    flow::Io,
    install::Accepted,
    lists,
    verified::TrustedLicense,
};

/// Most leaves of one key id that a playback keeps.
const LEAVES_PER_KID: usize = 8;
/// Most leaves that a playback keeps.
const LEAVES: usize = 128;
/// Most signatures of riding licenses that one look verifies, if it is not about more keys: of leaves that may be of
/// use, of such that lack their root, and of others, each.
const VERIFIED: usize = 64;

/// What rides in the content that plays, and what was made of it.
#[derive(Debug, Default)]
pub(crate) struct Riding {
    /// Leaf licenses of the keys that are released, or about to be: each has opened under a root.
    pub(crate) leaves: Vec<Kept>,
    /// Keys of the roots that leaves were opened under.
    pub(crate) roots: RootKeys,
}

impl Riding {
    /// Keeps the leaves of these keys alone.
    pub(crate) fn keep(&mut self, is_needed: impl Fn(Kid) -> bool) {
        self.leaves
            .retain(|leaf| leaf.license.body().asked_kid().is_ok_and(&is_needed));
        let surplus = self.leaves.len().saturating_sub(LEAVES);
        self.leaves.drain(..surplus);
    }

    fn has(&self, id: LicenseId) -> bool {
        self.leaves.iter().any(|leaf| leaf.license.body().id == id)
    }

    fn is_full(&self, kid: Kid) -> bool {
        let of_kid = |leaf: &&Kept| leaf.license.body().asked_kid() == Ok(kid);
        self.leaves.iter().filter(of_kid).count() >= LEAVES_PER_KID
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Takes up what rides in content and is of use for these keys: of leaves those that open under a root that is here.
    pub(crate) async fn take_up(
        &mut self,
        io: &Io,
        kids: &[Kid],
        licenses: &[Vec<u8>],
        riding: &mut Riding,
    ) -> Result<(), ClientError> {
        let (leaves, others): (Vec<_>, Vec<_>) =
            said(kids, licenses).partition(|said| said.body.leaf_of().is_some());
        let device = self.keys.device_id()?;
        let demanded = self.demanded(io);
        let others = others.iter().filter(|said| said.body.binding.is_device(&device));
        for said in others.take(VERIFIED) {
            self.take_in_store(io, said, &demanded).await?;
        }
        // V-020: what is none any more takes no place.
        riding
            .leaves
            .retain(|leaf| self.trusts(&leaf.operator, &leaf.license));
        let is_new = |leaf: &Said<'_>| !riding.has(leaf.body.id);
        let leaves: Vec<_> = leaves.into_iter().filter(is_new).collect();
        let roots = leaves.iter().filter_map(|leaf| leaf.body.leaf_of());
        let roots = self.roots_of(io, roots).await?;
        let above = |leaf: &Said<'_>| {
            let roots = roots.get(&leaf.body.leaf_of()?)?;
            (!roots.is_empty()).then_some(roots)
        };
        // Those whose root is here, however far behind the others they stand.
        let of_use = leaves.into_iter().filter(|leaf| above(leaf).is_some());
        for leaf in in_turn(kids, of_use) {
            let (Some(roots), false) = (above(&leaf), riding.is_full(leaf.kid)) else {
                continue;
            };
            let kept = self.carried(leaf.bytes, &demanded);
            if let Some(kept) = kept.filter(|kept| self.opens_under(kept, roots, riding)) {
                riding.leaves.push(kept);
            }
        }
        Ok(())
    }

    /// V-023, V-037: whether a leaf opens under one of these.
    fn opens_under(&self, leaf: &Kept, roots: &[Kept], riding: &mut Riding) -> bool {
        let mut above = roots.iter().filter(|root| chain::stands_under(leaf, root));
        // Of several licenses of a root one whose key is here already.
        let known = above
            .clone()
            .find(|root| riding.roots.has(&root.operator, &root.license));
        let Some(above) = known.or_else(|| above.next()) else {
            return false;
        };
        let above = Some((&above.operator, &**above.license));
        let key = self.open_content_key(&leaf.license, above, &mut riding.roots);
        zeroize::zeroize_stack::<STACK>();
        key.is_ok()
    }

    /// The leaves of these keys that ride in content and stand under no root that is here: each key with the root that
    /// it takes.
    pub(crate) async fn rootless(
        &self,
        io: &Io,
        kids: &[Kid],
        licenses: &[Vec<u8>],
    ) -> Result<Vec<(Kid, Kid)>, ClientError> {
        let leaves = said(kids, licenses).filter(|said| said.body.leaf_of().is_some());
        let leaves: Vec<_> = leaves.collect();
        let roots = leaves.iter().filter_map(|leaf| leaf.body.leaf_of());
        let roots = self.roots_of(io, roots).await?;
        let mut rootless = Vec::new();
        let demanded = self.demanded(io);
        for Said { body, kid, bytes } in in_turn(kids, leaves.into_iter()) {
            let Some(root) = body.leaf_of().filter(|root| !rootless.contains(&(kid, *root))) else {
                continue;
            };
            // A stranger does not get to say what this device asks for.
            let Some(leaf) = self.carried(bytes, &demanded) else {
                continue;
            };
            let mut above = roots.get(&root).into_iter().flatten();
            if !above.any(|root| chain::stands_under(&leaf, root)) {
                rootless.push((kid, root));
            }
        }
        Ok(rootless)
    }

    /// Installs a simple license of one of the keys, or a root license, that says that it is for this device.
    async fn take_in_store(
        &mut self,
        io: &Io,
        said: &Said<'_>,
        demanded: &Demanded,
    ) -> Result<(), ClientError> {
        let (id, kid) = (said.body.id, said.kid);
        if self.store.license(io, &kid, &id).await?.is_some() {
            return Ok(());
        }
        let Some(kept) = self.carried(said.bytes, demanded) else {
            return Ok(());
        };
        // V-028
        if self.store.tombstone(io, &id).await?.is_some() {
            return Ok(());
        }
        let accepted = Accepted::new(kid, kept.license);
        self.install_carried(io, kept.operator, &accepted).await
    }

    fn demanded(&self, io: &Io) -> Demanded {
        let strict = || {
            let operators = self.operators.iter();
            operators
                .map(|(id, operator)| (*id, lists::demanding(&operator.lists)))
                .collect()
        };
        Demanded {
            lists: self.host.demands_lists.then(strict),
            now: self.now(io).or(self.store.head().clock.last_trusted),
        }
    }

    /// V-020 to V-027, V-029, V-036: a license that came as a file, of whichever operator. `None` if it is of no use.
    fn carried(&self, bytes: &[u8], demanded: &Demanded) -> Option<Kept> {
        let verified = |id: &Digest| {
            let license = self.verified(id, bytes)?;
            demanded.trusts(id, bytes).then_some((*id, license))
        };
        let (id, license): (Digest, Arc<TrustedLicense>) = self.operators.keys().find_map(verified)?;
        let operator = self.operators.get(&id)?;
        let is_in_memory = license.body().nonce.is_some();
        let fit = self.fit().ok()?;
        let is_fine = !is_in_memory
            && self
                .check_for_device(&license, operator, fit.capabilities())
                .is_ok();
        is_fine.then_some(Kept {
            license,
            operator: id,
            place: Place::Memory,
            recorded: Recorded::default(),
        })
    }
}

/// V-064: the lists without which this host trusts nothing that comes, if it demands lists.
struct Demanded {
    lists: Option<BTreeMap<Digest, RevocationLists>>,
    now: Option<Timestamp>,
}

impl Demanded {
    fn trusts(&self, operator: &Digest, license: &[u8]) -> bool {
        let Some(lists) = &self.lists else {
            return true;
        };
        let Some(lists) = lists.get(operator) else {
            return false;
        };
        License::verify(license, &UntilItsEnd(lists.anchor()), self.now).is_ok()
    }
}

/// Judges a signer now, or at its end if that has come: what it signed before stays good, and a list that reaches to its
/// end tells all there is to tell of it.
struct UntilItsEnd<'a>(&'a Anchor);

impl ChainVerifier for UntilItsEnd<'_> {
    fn verify_chain(&self, chain: &[Vec<u8>], role: Role, at: Timestamp) -> Result<Certificate, CryptoError> {
        let mut end = at.0;
        for der in chain {
            end = end.min(Certificate::parse(der)?.not_after());
        }
        self.0.verify(chain, role, end)
    }
}

/// A license that rides in content, and what it says of itself.
struct Said<'l> {
    body: LicenseBody,
    kid: Kid,
    bytes: &'l [u8],
}

/// What rides in content, may be of use for these keys, and is no license in memory, which a response alone brings.
fn said<'l>(kids: &[Kid], licenses: &'l [Vec<u8>]) -> impl Iterator<Item = Said<'l>> {
    let said = licenses.iter().take(MAX_RIDING_LICENSES).filter_map(|bytes| {
        let body = says(bytes)?;
        let kid = body.asked_kid().ok()?;
        Some(Said { body, kid, bytes })
    });
    said.filter(|Said { body, kid, .. }| {
        let is_of_use = match body.kind {
            LicenseKind::Simple | LicenseKind::Leaf => kids.contains(kid),
            LicenseKind::Root => true,
            LicenseKind::KeyExchange => false,
        };
        body.persistent && is_of_use
    })
}

/// A few leaves, in an order in which each key has its turn: the first of each key, then the second of each.
fn in_turn<'l>(kids: &[Kid], leaves: impl Iterator<Item = Said<'l>>) -> impl Iterator<Item = Said<'l>> {
    let mut turns = BTreeMap::<Kid, usize>::new();
    let mut leaves: Vec<_> = leaves
        .map(|leaf| {
            let turn = turns.entry(leaf.kid).or_default();
            *turn += 1;
            (*turn, leaf)
        })
        .collect();
    leaves.sort_by_key(|(turn, _)| *turn);
    let most = VERIFIED.max(kids.len());
    leaves.into_iter().map(|(_, leaf)| leaf).take(most)
}

/// What a license says of itself, unverified: whether it is worth a look.
pub(crate) fn says(bytes: &[u8]) -> Option<LicenseBody> {
    // V-001, V-002: a stranger's bytes are read as strictly as anybody's.
    Unverified::<LicenseBody>::parse(bytes).ok()?;
    let message = Sign1::parse(bytes).ok()?;
    let payload = Vec::<Bytes>::decode(message.unverified_payload()).ok()?;
    LicenseBody::decode(&payload.first()?.0).ok()
}
