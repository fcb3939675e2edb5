//! What is asked of the server with an exchange key, and what comes of it.

use core::fmt;

use keyward_crypto::{SecretBytes, exchange::Operation};

/// Most items in a call.
pub const MAX_ITEMS: usize = 1000;
/// Most bytes in a call: data, additional data and signatures together. Larger data goes through a stream.
pub const MAX_CALL_BYTES: usize = 8 << 20;

/// One thing to do with an exchange key. Only the mirror operation of the key is done.
pub enum Item {
    /// For clients that decrypt. The additional data are authenticated and not part of the result.
    Encrypt {
        /// What is encrypted.
        data: SecretBytes,
        /// Additional data: empty, but with AES-GCM.
        aad: Vec<u8>,
    },
    /// The result of a client that encrypts.
    Decrypt {
        /// What the client's operation put out.
        result: Vec<u8>,
        /// Additional data, as they were.
        aad: Vec<u8>,
    },
    /// For clients that verify.
    Sign {
        /// What is signed.
        data: Vec<u8>,
    },
    /// The result of a client that signs.
    Verify {
        /// What was signed.
        data: Vec<u8>,
        /// What the client's operation put out.
        signature: Vec<u8>,
    },
    /// For clients that unwrap.
    Wrap {
        /// A key: a multiple of 8 bytes, 16 to 4096 of them.
        key: SecretBytes,
    },
    /// The result of a client that wraps.
    Unwrap {
        /// What the client's operation put out.
        result: Vec<u8>,
    },
}

/// Data may be secret: not printed.
impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({}, {} bytes)", self.operation(), self.bytes())
    }
}

impl Item {
    /// What is to be done.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Encrypt { .. } => Operation::Encrypt,
            Self::Decrypt { .. } => Operation::Decrypt,
            Self::Sign { .. } => Operation::Sign,
            Self::Verify { .. } => Operation::Verify,
            Self::Wrap { .. } => Operation::Wrap,
            Self::Unwrap { .. } => Operation::Unwrap,
        }
    }

    /// How many bytes it brings.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Encrypt { data, aad } => data.expose().len().saturating_add(aad.len()),
            Self::Decrypt { result, aad } => result.len().saturating_add(aad.len()),
            Self::Sign { data } => data.len(),
            Self::Verify { data, signature } => data.len().saturating_add(signature.len()),
            Self::Wrap { key } => key.expose().len(),
            Self::Unwrap { result } => result.len(),
        }
    }

    /// The result that it brings, of an operation that takes one.
    pub(super) fn result(&self) -> Option<&[u8]> {
        match self {
            Self::Decrypt { result, .. } | Self::Unwrap { result } => Some(result),
            Self::Verify { signature, .. } => Some(signature),
            Self::Encrypt { .. } | Self::Sign { .. } | Self::Wrap { .. } => None,
        }
    }
}

/// What became of an item.
pub type ItemResult = Result<Output, PerformFault>;

/// What an item came to. Every result begins with the version of the key that made it (4 bytes, big-endian).
pub enum Output {
    /// The result of encrypting, for a client to decrypt.
    Encrypted(Vec<u8>),
    /// The data that a client encrypted. Of AES-CBC and AES-CTR they are not authenticated.
    Decrypted(SecretBytes),
    /// The result of signing, for a client to verify.
    Signed(Vec<u8>),
    /// Whether a client made the signature.
    Verified(Verification),
    /// The result of wrapping, for a client to unwrap.
    Wrapped(Vec<u8>),
    /// The key that a client wrapped.
    Unwrapped(SecretBytes),
}

/// Data may be secret: not printed.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Encrypted(_) => "Encrypted",
            Self::Decrypted(_) => "Decrypted",
            Self::Signed(_) => "Signed",
            Self::Verified(verification) => return write!(f, "Verified({verification:?})"),
            Self::Wrapped(_) => "Wrapped",
            Self::Unwrapped(_) => "Unwrapped",
        };
        write!(f, "{name}(redacted)")
    }
}

impl Output {
    /// The result, of an operation that makes one.
    pub(super) fn result(&self) -> Option<&[u8]> {
        match self {
            Self::Encrypted(result) | Self::Signed(result) | Self::Wrapped(result) => Some(result),
            Self::Decrypted(_) | Self::Verified(_) | Self::Unwrapped(_) => None,
        }
    }
}

/// Whether a signature is one. Nothing else says that it is: an item that failed says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verification {
    /// The key made it over this data.
    Valid,
    /// It did not.
    Invalid,
}

impl Verification {
    /// True of [`Verification::Valid`] alone.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Valid)
    }
}

/// Why an item, a call or a stream was not performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PerformFault {
    /// A call has no items, or more than [`MAX_ITEMS`].
    #[error("a call has 1 to 1000 items")]
    Items,
    /// A call is larger than [`MAX_CALL_BYTES`], or a message larger than one may be.
    #[error("there are more bytes than may be performed at once")]
    TooLarge,
    /// It is another operation than the key's mirror operation.
    #[error("the server does not do this with the key")]
    WrongOperation,
    /// The result does not verify: another key made it, or it, its additional data or its end were changed.
    #[error("the result does not verify")]
    NotVerified,
    /// The version that made the result is not accepted, or there is none.
    #[error("the result was made with version {0} of the key, which is not accepted")]
    VersionRefused(u32),
    /// The additional data are not the key's context.
    #[error("the additional data are not the context of the key")]
    Context,
    /// The algorithm takes no additional data.
    #[error("the algorithm takes no additional data")]
    AdditionalData,
    /// The bytes are not of the form that the operation takes.
    #[error("the data are not of the form that the operation takes")]
    Malformed,
    /// The algorithm is not for streams.
    #[error("the algorithm needs the whole of the data at once")]
    NotStreamed,
    /// The server failed.
    #[error("the server failed")]
    Failed,
}

impl PerformFault {
    /// A stable name for JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::TooLarge => "too-large",
            Self::WrongOperation => "wrong-operation",
            Self::NotVerified => "not-verified",
            Self::VersionRefused(_) => "version-refused",
            Self::Context => "context",
            Self::AdditionalData => "additional-data",
            Self::Malformed => "malformed",
            Self::NotStreamed => "not-streamed",
            Self::Failed => "failed",
        }
    }

    /// What to do next.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Items => "divide the call",
            Self::TooLarge => "divide the call, or stream the data",
            Self::WrongOperation => {
                "ask for the operation that undoes or checks what clients do with the key"
            }
            Self::NotVerified => "give the result and the additional data as the client made them",
            Self::VersionRefused(_) => {
                "have the client renew its license, or lower the minimum version if the version is there"
            }
            Self::Context => "give the context of the key as additional data",
            Self::AdditionalData => "leave the additional data out, or use a key of AES-GCM",
            Self::Malformed => "give the data as the algorithm takes them",
            Self::NotStreamed => "perform it in one call",
            Self::Failed => "look into the server's log",
        }
    }
}
