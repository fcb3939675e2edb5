//! The prepared keys of a client, whichever operation they are for.

use std::hint::black_box;

use keyward_client::{
    acquire::Wanted,
    key_exchange::{Decryptor, Encryptor, Signer, Unwrapper, Verifier, Wrapper},
    session::Acquisition,
};
use keyward_client_native::NativeClient;
use keyward_crypto::exchange::{Algorithm, Operation};

use crate::{
    Outcome,
    device::{Device, kid},
};

pub(crate) enum Handle {
    Encryptor(Encryptor),
    Decryptor(Decryptor),
    Signer(Signer),
    Verifier(Verifier),
    Wrapper(Wrapper),
    Unwrapper(Unwrapper),
}

impl Handle {
    /// As an application does it, with the license in the store.
    pub(crate) fn prepare(device: &mut Device, algorithm: Algorithm, operation: Operation) -> Outcome<Self> {
        let kid = kid(algorithm, operation)?;
        let (wanted, never) = (Wanted::default(), Acquisition::Never);
        let client = &mut device.client;
        Ok(match operation {
            Operation::Encrypt => Self::Encryptor(client.prepare_encryptor(kid, None, wanted, never)?),
            Operation::Decrypt => Self::Decryptor(client.prepare_decryptor(kid, None, wanted, never)?),
            Operation::Sign => Self::Signer(client.prepare_signer(kid, None, wanted, never)?),
            Operation::Verify => Self::Verifier(client.prepare_verifier(kid, None, wanted, never)?),
            Operation::Wrap => Self::Wrapper(client.prepare_wrapper(kid, None, wanted, never)?),
            Operation::Unwrap => Self::Unwrapper(client.prepare_unwrapper(kid, None, wanted, never)?),
        })
    }

    /// One call, without additional data.
    pub(crate) fn perform(
        &self,
        client: &mut NativeClient,
        data: &[u8],
        signature: Option<&[u8]>,
    ) -> Outcome {
        match self {
            Self::Encryptor(key) => drop(black_box(client.encrypt(key, &[], data)?)),
            Self::Decryptor(key) => drop(black_box(client.decrypt(key, &[], data)?)),
            Self::Signer(key) => drop(black_box(client.sign(key, data)?)),
            Self::Verifier(key) => client.verify(key, data, signature.ok_or("no signature")?)?,
            Self::Wrapper(key) => drop(black_box(client.wrap(key, data)?)),
            Self::Unwrapper(key) => drop(black_box(client.unwrap(key, data)?)),
        }
        Ok(())
    }

    pub(crate) fn close(self, client: &mut NativeClient) -> Outcome {
        match self {
            Self::Encryptor(key) => client.close(key)?,
            Self::Decryptor(key) => client.close(key)?,
            Self::Signer(key) => client.close(key)?,
            Self::Verifier(key) => client.close(key)?,
            Self::Wrapper(key) => client.close(key)?,
            Self::Unwrapper(key) => client.close(key)?,
        }
        Ok(())
    }

    pub(crate) fn is_locked(&self) -> bool {
        match self {
            Self::Encryptor(key) => key.is_locked(),
            Self::Decryptor(key) => key.is_locked(),
            Self::Signer(key) => key.is_locked(),
            Self::Verifier(key) => key.is_locked(),
            Self::Wrapper(key) => key.is_locked(),
            Self::Unwrapper(key) => key.is_locked(),
        }
    }
}
