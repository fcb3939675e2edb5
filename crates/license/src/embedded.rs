//! The embedded license store: room in a content header for licenses that travel with the content.
//!
//! ```text
//!  length 4 (big-endian) │ array of signed licenses (CBOR, `length` bytes) │ zeros to the end
//! ```
//! Its size is chosen when the content is packaged. It stands outside of everything that is authenticated,
//! so licenses are written into it in place, and nothing in it is believed: each license is judged by its
//! own signature, as if it came as a file.
//!
//! ```
//! use keyward_license::embedded::EmbeddedStore;
//! assert!(EmbeddedStore::read(&[0; 64])?.licenses().is_empty());
//! # Ok::<(), keyward_license::codec::DecodeError>(())
//! ```

use crate::{
    codec::{Bytes, DecodeError, Wire},
    ids::{Kid, LicenseId},
    license::{Binding, LicenseBody},
    signed::{MessageError, Unverified},
};

/// Most licenses in one embedded license store.
pub const MAX_LICENSES: usize = 64;

/// Why a license was not written into an embedded license store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The bytes are no license.
    #[error("it is no license: {0}")]
    NotALicense(#[from] MessageError),
    /// The license is one that is held in memory only.
    #[error("an in-memory license is not stored")]
    InMemory,
    /// The store holds as many licenses as a store may.
    #[error("the embedded license store holds {MAX_LICENSES} licenses already")]
    TooMany,
    /// The store's bytes do not suffice.
    #[error("the licenses need {needed} bytes, and the embedded license store has {size}")]
    NoRoom {
        /// Bytes that the store would have to have.
        needed: usize,
        /// Bytes that it has.
        size: usize,
    },
}

/// The licenses of an embedded license store, none of them verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbeddedStore {
    licenses: Vec<Vec<u8>>,
}

impl EmbeddedStore {
    /// V-038: reads a store. Who finds it malformed goes on as if it were empty, and says so.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(store: &[u8]) -> Result<Self, DecodeError> {
        if is_zero(store) {
            return Ok(Self::default());
        }
        let (length, rest) = store.split_first_chunk().ok_or(MALFORMED)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MALFORMED)?;
        let (array, padding) = rest.split_at_checked(length).ok_or(MALFORMED)?;
        if !is_zero(padding) {
            return Err(MALFORMED);
        }
        let licenses = Vec::<Bytes>::decode(array)?;
        if licenses.len() > MAX_LICENSES {
            return Err(DecodeError::Invalid(
                "an embedded license store holds more than 64 licenses",
            ));
        }
        let licenses = licenses.into_iter().map(|Bytes(license)| license).collect();
        Ok(Self { licenses })
    }

    /// The signed licenses, in the order of the store.
    #[must_use]
    pub fn licenses(&self) -> &[Vec<u8>] {
        &self.licenses
    }

    /// Takes the signed licenses out, in the order of the store.
    #[must_use]
    pub fn into_licenses(self) -> Vec<Vec<u8>> {
        self.licenses
    }

    /// R-045: puts a license in, in the place of one with the same id, or with the same key id and binding.
    /// What is no license of this version stays where it is.
    ///
    /// # Errors
    /// [`EmbedError::NotALicense`], [`EmbedError::InMemory`], [`EmbedError::TooMany`].
    pub fn put(&mut self, license: &[u8]) -> Result<(), EmbedError> {
        let new = Label::of(license)?;
        if !new.persistent {
            return Err(EmbedError::InMemory);
        }
        self.licenses
            .retain(|held| !Label::of(held).is_ok_and(|held| held.gives_way_to(&new)));
        if self.licenses.len() >= MAX_LICENSES {
            return Err(EmbedError::TooMany);
        }
        self.licenses.push(license.to_vec());
        Ok(())
    }

    /// The bytes of a store of `size` bytes with these licenses in it.
    ///
    /// # Errors
    /// [`EmbedError::NoRoom`].
    pub fn write(&self, size: usize) -> Result<Vec<u8>, EmbedError> {
        let mut store = vec![0; size];
        if self.licenses.is_empty() {
            return Ok(store);
        }
        let licenses: Vec<Bytes> = self.licenses.iter().cloned().map(Bytes).collect();
        let array = licenses.encode();
        let needed = array.len().saturating_add(LENGTH_LEN);
        let no_room = EmbedError::NoRoom { needed, size };
        let length = u32::try_from(array.len()).map_err(|_| no_room)?;
        let (head, rest) = store.split_first_chunk_mut().ok_or(no_room)?;
        *head = length.to_be_bytes();
        rest.get_mut(..array.len())
            .ok_or(no_room)?
            .copy_from_slice(&array);
        Ok(store)
    }
}

/// What a license says of itself, unverified: enough to find the place that it takes.
struct Label {
    id: LicenseId,
    kid: Kid,
    binding: Binding,
    persistent: bool,
}

impl Label {
    fn of(license: &[u8]) -> Result<Self, MessageError> {
        let body = Unverified::<LicenseBody>::parse(license)?.unverified_body()?;
        let body = LicenseBody::decode(&body)?;
        Ok(Self {
            id: body.id,
            kid: body.asked_kid()?,
            persistent: body.persistent,
            binding: body.binding,
        })
    }

    fn gives_way_to(&self, new: &Self) -> bool {
        self.id == new.id || (self.kid, &self.binding) == (new.kid, &new.binding)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

const LENGTH_LEN: usize = 4;

const MALFORMED: DecodeError =
    DecodeError::Invalid("an embedded license store is not a length, licenses and zeros");
