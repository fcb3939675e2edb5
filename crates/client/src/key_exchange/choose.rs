//! Which license, and which key of it.

use keyward_crypto::exchange::{Algorithm, Operation};
use keyward_license::{
    ids::Kid,
    license::{KeyDescription, LicenseBody},
};
use rand_core::CryptoRng;

use super::About;
use crate::{
    Client, ClientError,
    choose::{self, Candidate, Chosen, Unusable},
    device::KeyStore,
    enforce::Question,
    flow::Io,
};

/// What an application asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) kid: Kid,
    /// Without it, the algorithm of that key; with it, of that key or one beside it.
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) operation: Operation,
}

impl Asked {
    pub(crate) const fn new(kid: Kid, algorithm: Option<Algorithm>, operation: Operation) -> Self {
        Self {
            kid,
            algorithm,
            operation,
        }
    }
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// the best license that holds the key that is asked for and permits another use of it, or why there is
    /// none.
    pub(super) async fn best_for(
        &self,
        io: &Io,
        asked: &Asked,
        question: &Question<'_>,
    ) -> Result<Result<(Chosen, About), Unusable>, ClientError> {
        let mut mismatch = None;
        let mut candidates = self.candidates(io, asked.kid, question).await?;
        candidates.retain(|candidate| match About::of(candidate.body(), asked) {
            Ok(_) => true,
            Err(error) => {
                mismatch = Some(error);
                false
            }
        });
        if candidates.is_empty()
            && let Some(mismatch) = mismatch
        {
            return Err(mismatch);
        }
        let best = best_of(candidates, |license| About::of(license, asked).ok());
        Ok(match best {
            Ok(chosen) => {
                let about = About::of(chosen.candidate.body(), asked)?;
                Ok((chosen, about))
            }
            Err(unusable) => Err(unusable),
        })
    }

    /// R-040 for the key that a license is kept under, whatever its operation.
    pub(crate) async fn best_with_uses(
        &self,
        io: &Io,
        kid: Kid,
        question: &Question<'_>,
    ) -> Result<Result<Chosen, Unusable>, ClientError> {
        let candidates = self.candidates(io, kid, question).await?;
        Ok(best_of(candidates, |license| About::all(license).next()))
    }
}

/// R-040 of those that permit another use, and of these of those with the newest version of the key that is asked for.
fn best_of(
    mut candidates: Vec<Candidate>,
    about: impl Fn(&LicenseBody) -> Option<About>,
) -> Result<Chosen, Unusable> {
    let before = candidates.len();
    candidates.retain(|candidate| !about(candidate.body()).is_some_and(|about| about.is_used_up(candidate)));
    let used_up = candidates.len() < before;
    let version = |candidate: &Candidate| about(candidate.body())?.versions.first().copied();
    let permitted = candidates.iter().filter(|candidate| candidate.verdict.is_ok());
    let newest = permitted.filter_map(version).max();
    candidates.retain(|candidate| candidate.verdict.is_err() || version(candidate) == newest);
    choose::best(candidates).map_err(|unusable| Unusable { used_up, ..unusable })
}

impl About {
    /// the key of a license that is asked for.
    fn of(license: &LicenseBody, asked: &Asked) -> Result<Self, ClientError> {
        let mut keys = Self::all(license);
        let key = match asked.algorithm {
            None => keys.next(),
            Some(algorithm) => keys.find(|key| key.algorithm == algorithm),
        };
        let Some(key) = key else {
            return Err(asked.algorithm.map_or(
                ClientError::NotAnExchangeKey { kid: asked.kid },
                |algorithm| ClientError::WrongAlgorithm {
                    kid: asked.kid,
                    asked: algorithm,
                },
            ));
        };
        if key.operation != asked.operation {
            return Err(ClientError::WrongOperation {
                kid: asked.kid,
                permitted: key.operation,
                asked: asked.operation,
            });
        }
        Ok(key)
    }

    /// Every key of a license, its versions together, in their order.
    fn all(license: &LicenseBody) -> impl Iterator<Item = Self> {
        let asked = license.keys.first().map(|key| key.kid);
        let groups = license.keys.chunk_by(|one, next| one.kid == next.kid);
        groups.filter_map(move |versions| Self::of_versions(asked?, versions))
    }

    /// V-032 has made sure that every number is known and that there is a version.
    fn of_versions(asked: Kid, versions: &[KeyDescription]) -> Option<Self> {
        let newest = versions.first()?;
        let number = |key: &KeyDescription| key.version.and_then(|version| u32::try_from(version).ok());
        Some(Self {
            asked,
            kid: newest.kid,
            algorithm: Algorithm::from_number(newest.algorithm?.0)?,
            operation: Operation::from_number(newest.operation?)?,
            versions: versions.iter().map(number).collect::<Option<_>>()?,
            context: newest.context.as_ref().map(|context| context.0.clone()),
            uses: newest.uses,
        })
    }

    ///
    fn is_used_up(&self, candidate: &Candidate) -> bool {
        let taken = candidate.recorded.taken(self.kid);
        self.uses.is_some_and(|limit| taken >= limit)
    }
}
