//! The leaf licenses that come with packaging data, to ride in the content.

use core::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use keyward_crypto::{
    CryptoError,
    x509::{Certificate, Role},
};

use super::{MAX_LEAVES, PackagingResponse};
use crate::{
    codec::{Bytes, DecodeError, Wire},
    ids::Kid,
    license::License,
    signed::{ChainVerifier, MessageError, Verified},
    time::Timestamp,
};

/// A leaf license that a packager writes into the content that its key is for.
#[derive(Debug)]
pub struct PackagedLeaf {
    root: Kid,
    kid: Kid,
    bytes: Vec<u8>,
}

impl PackagedLeaf {
    /// Key id of the root license under which it opens.
    #[must_use]
    pub const fn root(&self) -> Kid {
        self.root
    }

    /// Key id of the track whose key it holds.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// The signed license, as it goes into the content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl PackagingResponse {
    /// V-078: reads and verifies the leaf licenses of a response whose tracks were checked
    /// ([`PackagingResponse::check_tracks`]): each is one by V-020 when it was issued and `now`, is stored
    /// without a nonce, and has a track's key under one of the response's roots, no two the same.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn leaves(
        response: &Verified<Self>,
        verifier: &dyn ChainVerifier,
        now: Timestamp,
    ) -> Result<Vec<PackagedLeaf>, MessageError> {
        let Some(leaves) = response.attachments().get(1) else {
            return Err(DecodeError::Invalid("the response has no list of leaf licenses").into());
        };
        let leaves = Vec::<Bytes>::decode(&leaves.0)?;
        if leaves.len() > MAX_LEAVES {
            return Err(DecodeError::Invalid("a response brings more leaf licenses than one may").into());
        }
        let verifier = &Repeated::of(verifier);
        let mut seen = BTreeSet::new();
        let mut verified = Vec::new();
        for Bytes(bytes) in leaves {
            let license = License::verify(&bytes, verifier, Some(now))?;
            let (root, kid) = response.body().place_of(&license)?;
            if !seen.insert((root, kid)) {
                return Err(DecodeError::Invalid("two leaf licenses are for one key under one root").into());
            }
            verified.push(PackagedLeaf { root, kid, bytes });
        }
        Ok(verified)
    }

    /// Root and track that a leaf license is for.
    fn place_of(&self, license: &License) -> Result<(Kid, Kid), DecodeError> {
        let body = license.body();
        let roots = self.roots.as_deref().unwrap_or_default();
        let root = body.leaf_of().filter(|root| roots.contains(root));
        let root = root.ok_or(DecodeError::Invalid(
            "a license that comes along is not a leaf under a root of the response",
        ))?;
        if body.nonce.is_some() {
            return Err(DecodeError::Invalid(
                "a leaf license for content is in memory only",
            ));
        }
        let key = body.single_key()?;
        let tracks = &mut self.tracks.iter();
        match tracks.any(|track| (track.kid, track.key_type) == (key.kid, key.key_type)) {
            true => Ok((root, key.kid)),
            false => Err(DecodeError::Invalid(
                "a leaf license is for no track of the response",
            )),
        }
    }
}

/// Answers the question that was asked lately as it was answered then. The leaves of a response have one signer, and most
/// of them one time.
struct Repeated<'a> {
    verifier: &'a dyn ChainVerifier,
    lately: RefCell<VecDeque<Answered>>,
}

struct Answered {
    chain: Vec<Vec<u8>>,
    role: Role,
    at: Timestamp,
    leaf: Certificate,
}

impl<'a> Repeated<'a> {
    /// When a license was issued, and now.
    const QUESTIONS: usize = 2;

    fn of(verifier: &'a dyn ChainVerifier) -> Self {
        Self {
            verifier,
            lately: RefCell::default(),
        }
    }
}

impl ChainVerifier for Repeated<'_> {
    fn verify_chain(&self, chain: &[Vec<u8>], role: Role, at: Timestamp) -> Result<Certificate, CryptoError> {
        let mut lately = self.lately.borrow_mut();
        let same = |other: &&Answered| (other.role, other.at) == (role, at) && other.chain == chain;
        if let Some(answered) = lately.iter().find(same) {
            return Ok(answered.leaf.clone());
        }
        let leaf = self.verifier.verify_chain(chain, role, at)?;
        lately.truncate(Self::QUESTIONS - 1);
        lately.push_front(Answered {
            chain: chain.to_vec(),
            role,
            at,
            leaf: leaf.clone(),
        });
        Ok(leaf)
    }
}
