//! Every check of a response and of the licenses in it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use keyward_crypto::x509::{Anchor, Role};
use keyward_license::{
    codec::DecodeError,
    ids::{Digest, Kid},
    license::{License, LicenseKind},
    request::Capabilities,
    response::{LicenseResponse, Outcome},
    signed::Unverified,
    time::Timestamp,
};
use rand_core::CryptoRng;

use super::Accepted;
use crate::{
    Client, ClientError, LicenseFault,
    chain::{self, RootKeys},
    choose::{Kept, Place, Recorded},
    clock,
    device::{KeyStore, STACK},
    flow::Io,
    lists::{self, Learnt, TakenLists},
    operator::{self, Operator},
    store::Pending,
    verified::{TrustedLicense, Verified},
};

/// A response that passed its own checks.
pub(super) struct Checked {
    pub(super) response: LicenseResponse,
    /// Its licenses, all of them.
    pub(super) accepted: Result<Vec<Accepted>, Refusal>,
    pub(super) learnt: Learnt,
    pub(super) taken: TakenLists,
}

/// Why nothing of a response is used but what it brought of trust.
pub(super) enum Refusal {
    /// Its signer is trusted no more, by the lists that came along.
    Signer(ClientError),
    /// The license of a key id was refused.
    License(Kid, ClientError),
}

/// What the licenses of a response are judged by.
struct Judging<'a> {
    operator: &'a Operator,
    /// With the lists that came along.
    anchor: &'a Anchor,
    verified: Verified,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// V-012 to V-014 for the response, V-063 and V-064 for its revocation lists, V-020 to V-037 for each license in it.
    pub(super) async fn check_response(
        &self,
        io: &Io,
        pending: &Pending,
        opened: &[u8],
    ) -> Result<Checked, ClientError> {
        let operator = self
            .operators
            .get(&pending.operator)
            .ok_or(ClientError::OperatorNotNamed("the operator was removed"))?;
        let known = self.store.head().clock;
        let response = self.verify_response(io, opened, operator.anchor())?;
        let at = operator::judge_at(&known, self.reading(io), response.server_time)?;
        // V-012
        if response.request != pending.digest || response.nonce != pending.nonce {
            return Err(ClientError::ResponseMismatch(
                "it repeats another request's digest or nonce",
            ));
        }
        // V-014: nothing goes along with the time alone.
        let takes_more = self.host.takes_more && !pending.kids.is_empty();
        response
            .check_results(|kid| pending.kids.contains(kid), takes_more)
            .map_err(|error| ClientError::ResponseMismatch(mismatch(error)))?;
        // V-063, V-064: what comes along counts for the rest of the response already.
        let mut lists = operator.lists.clone();
        let brought = response.revocation_lists.as_deref().unwrap_or_default();
        let taken = TakenLists::of(lists.adopt_all(brought, Some(at.max(response.server_time))));
        let demanding = self.host.demands_lists.then(|| lists::demanding(&lists));
        let judging = Judging {
            operator,
            anchor: demanding.as_ref().unwrap_or(&lists).anchor(),
            verified: Verified::default(),
        };
        let again = (taken.newer || demanding.is_some())
            .then(|| self.verify_response(io, opened, judging.anchor))
            .transpose();
        let accepted = match again {
            // What the lists say stands by their own signatures.
            Err(refused) => Err(Refusal::Signer(refused)),
            Ok(_) => {
                let licenses = self.check_licenses(io, pending, &response, (&judging, at));
                let refused = |(kid, why)| Refusal::License(kid, why);
                licenses.await?.map_err(refused)
            }
        };
        let said = || lists::own_revocation(&response, operator.revoked);
        let revoked = match &accepted {
            Ok(_) => said(),
            // A license that was refused takes nothing back.
            Err(Refusal::License(..)) => said().max(operator.revoked),
            Err(Refusal::Signer(_)) => operator.revoked,
        };
        Ok(Checked {
            response,
            accepted,
            learnt: Learnt {
                lists: taken.newer.then_some(lists),
                revoked,
            },
            taken,
        })
    }

    /// V-013
    fn verify_response(
        &self,
        io: &Io,
        opened: &[u8],
        anchor: &Anchor,
    ) -> Result<LicenseResponse, ClientError> {
        let (known, reading) = (self.store.head().clock, self.reading(io));
        let times = |body: &LicenseResponse| {
            // At the stated time as well: a signer cannot state a time beyond its own end.
            let now = clock::judge_at(&known, reading, body.server_time);
            now.into_iter().chain([body.server_time]).collect()
        };
        let verified = Unverified::<LicenseResponse>::parse(opened)
            .and_then(|message| message.verify(anchor, Role::LicenseServer, times));
        let response = verified.map_err(|error| ClientError::Message {
            what: "the license response",
            error,
        })?;
        Ok(response.into_body())
    }

    /// V-020 to V-037: all licenses of a response, or which one was refused and why.
    async fn check_licenses(
        &self,
        io: &Io,
        pending: &Pending,
        response: &LicenseResponse,
        (judging, at): (&Judging<'_>, Timestamp),
    ) -> Result<Result<Vec<Accepted>, (Kid, ClientError)>, ClientError> {
        let refused = |kid, fault| Ok(Err((kid, ClientError::LicenseRefused { kid, fault })));
        let mut accepted = Vec::new();
        for result in &response.results {
            let kid = result.kid;
            if let Outcome::License(bytes) = result.outcome()? {
                let license = match self.check_license(bytes, kid, pending, (judging, at)) {
                    Ok(license) => license,
                    Err(fault) => return refused(kid, fault),
                };
                // V-028
                if self.store.tombstone(io, &license.id()).await?.is_some() {
                    return refused(kid, LicenseFault::Removed);
                }
                accepted.push(license);
            }
        }
        match self.check_leaves(io, &pending.operator, &accepted).await {
            Err(ClientError::LicenseRefused { kid, fault }) => refused(kid, fault),
            Err(other) => Err(other),
            Ok(()) => Ok(Ok(accepted)),
        }
    }

    /// V-023: each leaf opens under its root, if that one is here or comes along. A leaf may come before its root.
    async fn check_leaves(
        &self,
        io: &Io,
        operator: &Digest,
        accepted: &[Accepted],
    ) -> Result<(), ClientError> {
        let (mut roots, mut keys) = (BTreeMap::new(), RootKeys::default());
        for one in accepted {
            let Some(root) = one.license.body().leaf_of() else {
                continue;
            };
            if let Entry::Vacant(new) = roots.entry(root) {
                let mut here = self.roots(io, root).await?;
                let along = accepted.iter().filter(|other| other.kid == root);
                here.extend(along.map(|other| Self::fresh(operator, other)));
                new.insert(here);
            }
            let leaf = Self::fresh(operator, one);
            let mut above = roots.get(&root).into_iter().flatten();
            let Some(root) = above.find(|root| chain::stands_under(&leaf, root)) else {
                continue;
            };
            let root = Some((operator, &**root.license));
            let opened = self.open_content_key(&one.license, root, &mut keys);
            zeroize::zeroize_stack::<STACK>();
            if opened.is_err() {
                return Err(ClientError::LicenseRefused {
                    kid: one.kid,
                    fault: LicenseFault::KeyNotOpened,
                });
            }
        }
        Ok(())
    }

    /// A license of which no use is recorded.
    fn fresh(operator: &Digest, accepted: &Accepted) -> Kept {
        Kept {
            license: Arc::clone(&accepted.license),
            operator: *operator,
            place: Place::Memory,
            recorded: Recorded::default(),
        }
    }

    fn check_license(
        &self,
        bytes: &[u8],
        kid: Kid,
        pending: &Pending,
        (judging, at): (&Judging<'_>, Timestamp),
    ) -> Result<Accepted, LicenseFault> {
        // V-020, V-021, V-026, V-030, V-031, V-032, V-036
        let signers = judging.verified.signers(&pending.operator, judging.anchor);
        let license = License::verify(bytes, &signers, Some(at)).map_err(LicenseFault::Message)?;
        let body = license.body();
        // V-024
        if body.nonce.is_some_and(|nonce| nonce != pending.nonce) {
            return Err(LicenseFault::OtherNonce);
        }
        // V-025
        if body.asked_kid() != Ok(kid) {
            return Err(LicenseFault::OtherKid);
        }
        self.check_for_device(&license, judging.operator, &self.capabilities())?;
        let license = TrustedLicense::new(license, bytes, self.changes.count());
        Ok(Accepted::new(kid, Arc::new(license)))
    }

    /// V-022, V-023, V-027, V-029, V-033, V-034: whether a license is for this device and can be used here. A leaf is
    /// for whoever has its root: it is opened where that one is.
    pub(crate) fn check_for_device(
        &self,
        license: &License,
        operator: &Operator,
        capabilities: &Capabilities,
    ) -> Result<(), LicenseFault> {
        let body = license.body();
        // V-029, V-033
        capabilities.cover(body).map_err(LicenseFault::of)?;
        if body.leaf_of().is_some() {
            return Ok(());
        }
        // V-022
        let device = self.keys.device_id().map_err(|_| LicenseFault::OtherDevice)?;
        if !body.binding.is_device(&device) {
            return Err(LicenseFault::OtherDevice);
        }
        // V-027
        if license.sealing().number() < operator.weakest_suite() {
            return Err(LicenseFault::WeakSuite);
        }
        // V-023, V-034
        let opened = match body.kind {
            LicenseKind::KeyExchange => self.check_exchange_keys(license),
            LicenseKind::Root => self.check_root_key(license),
            LicenseKind::Simple | LicenseKind::Leaf => self.check_content_key(license),
        };
        zeroize::zeroize_stack::<STACK>();
        opened
    }

    /// V-023. The caller clears the stack.
    #[inline(never)]
    fn check_content_key(&self, license: &License) -> Result<(), LicenseFault> {
        let opened = self.open_content_key(license, None, &mut RootKeys::default());
        opened.map(drop).map_err(|_| LicenseFault::KeyNotOpened)
    }

    /// V-023. The caller clears the stack.
    #[inline(never)]
    fn check_root_key(&self, license: &License) -> Result<(), LicenseFault> {
        let opened = self.open_root(license);
        opened.map(drop).map_err(|_| LicenseFault::KeyNotOpened)
    }
}

/// V-014: why a response does not answer its request.
const fn mismatch(error: DecodeError) -> &'static str {
    match error {
        DecodeError::Invalid(why) => why,
        _ => "a result is neither a license nor a denial",
    }
}
