//! The client's side of the main job, in its numbered steps.

use keyward_license::ids::Kid;
use rand_core::CryptoRng;

use crate::{
    Client, ClientError,
    acquire::Wanted,
    device::KeyStore,
    enforce::{Availability, Bound},
    flow::Io,
    install::{Acquired, AcquiredKey},
};

/// Whether a flow may talk to the license server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquisition {
    /// If no stored license permits the action, acquire one and go on.
    Reactive,
    /// Use what is in the store.
    Never,
}

/// Content that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The released key.
    pub bound: Bound,
    /// What was acquired on the way, if anything had to be.
    pub acquired: Option<Acquired>,
}

impl<K: KeyStore, R: CryptoRng> Client<K, R> {
    /// Steps 4 to 11 of the main job for the content that `wanted` describes and the key that it needs.
    pub(crate) async fn run_open(
        &mut self,
        io: &Io,
        kid: Kid,
        wanted: &Wanted,
        acquisition: Acquisition,
    ) -> Result<Opened, ClientError> {
        // 4, 5: can it be opened with a license in the store?
        let available = self.run_find(io, kid).await?;
        let ready = matches!(available, Availability::Ready { .. });
        if let Availability::Refused(refusal) = available {
            self.remember_time(io, &refusal).await?;
        }
        // 6 to 10: if not, request a license, and install what comes back.
        let acquired = if ready || acquisition == Acquisition::Never {
            None
        } else {
            let acquired = self.run_acquire(io, wanted).await?;
            deny(kid, &acquired)?;
            Some(acquired)
        };
        // 11: bind the license, and release the key.
        let bound = self.run_bind(io, kid).await?;
        Ok(Opened { bound, acquired })
    }
}

/// Turns a denial for the key that is needed into the error that says why.
fn deny(kid: Kid, acquired: &Acquired) -> Result<(), ClientError> {
    let denial = acquired.outcomes.iter().find_map(|(of, outcome)| match outcome {
        AcquiredKey::Denied(denial) if *of == kid => Some(denial),
        _ => None,
    });
    match denial {
        Some(denial) => Err(ClientError::Denied {
            kid,
            denial: denial.clone(),
        }),
        None => Ok(()),
    }
}
