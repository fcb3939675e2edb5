//! What an exchange key is for: its algorithm and its one operation, by their COSE numbers.

use core::fmt;

/// An algorithm of an exchange key (IANA registry "COSE Algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// AES-128-GCM, COSE number 1.
    A128Gcm,
    /// AES-256-GCM, COSE number 3.
    A256Gcm,
    /// AES-128-CBC, COSE number -65531. Not authenticated.
    A128Cbc,
    /// AES-256-CBC, COSE number -65529. Not authenticated.
    A256Cbc,
    /// AES-128-CTR, COSE number -65534. Not authenticated.
    A128Ctr,
    /// AES-256-CTR, COSE number -65532. Not authenticated.
    A256Ctr,
    /// AES key wrap with a 128-bit key, COSE number -3.
    A128Kw,
    /// AES key wrap with a 256-bit key, COSE number -5.
    A256Kw,
    /// HMAC with SHA-256, whole tag, COSE number 5.
    HmacSha256,
    /// HMAC with SHA-384, whole tag, COSE number 6.
    HmacSha384,
    /// HMAC with SHA-512, whole tag, COSE number 7.
    HmacSha512,
    /// ECDSA over P-256 with SHA-256, COSE number -9.
    Esp256,
    /// EdDSA over edwards25519, COSE number -19.
    Ed25519,
}

/// The one thing that a holder of [`Material`](super::Material) may do (`key_ops`, RFC 9052 table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Make signatures or tags.
    Sign = 1,
    /// Check signatures or tags.
    Verify = 2,
    /// Encrypt messages.
    Encrypt = 3,
    /// Decrypt messages.
    Decrypt = 4,
    /// Encrypt keys.
    Wrap = 5,
    /// Decrypt keys.
    Unwrap = 6,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 13] = [
        Self::A128Gcm,
        Self::A256Gcm,
        Self::A128Cbc,
        Self::A256Cbc,
        Self::A128Ctr,
        Self::A256Ctr,
        Self::A128Kw,
        Self::A256Kw,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
        Self::Esp256,
        Self::Ed25519,
    ];

    /// The COSE number (RFC 9053, RFC 9459, RFC 9864).
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::A128Gcm => 1,
            Self::A256Gcm => 3,
            Self::A128Cbc => -65531,
            Self::A256Cbc => -65529,
            Self::A128Ctr => -65534,
            Self::A256Ctr => -65532,
            Self::A128Kw => -3,
            Self::A256Kw => -5,
            Self::HmacSha256 => 5,
            Self::HmacSha384 => 6,
            Self::HmacSha512 => 7,
            Self::Esp256 => -9,
            Self::Ed25519 => -19,
        }
    }

    /// The algorithm of a COSE number, if it is one of ours.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.number() == number)
    }

    /// The name in the COSE registry; of `HMAC 256/256` and its like without the space and the tag length.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
            Self::A128Cbc => "A128CBC",
            Self::A256Cbc => "A256CBC",
            Self::A128Ctr => "A128CTR",
            Self::A256Ctr => "A256CTR",
            Self::A128Kw => "A128KW",
            Self::A256Kw => "A256KW",
            Self::HmacSha256 => "HMAC256",
            Self::HmacSha384 => "HMAC384",
            Self::HmacSha512 => "HMAC512",
            Self::Esp256 => "ESP256",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The algorithm of a [`name`](Self::name), written exactly so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The two operations of the algorithm: what produces, then what consumes.
    #[must_use]
    pub const fn operations(self) -> [Operation; 2] {
        match self {
            Self::A128Gcm | Self::A256Gcm | Self::A128Cbc | Self::A256Cbc | Self::A128Ctr | Self::A256Ctr => {
                [Operation::Encrypt, Operation::Decrypt]
            }
            Self::A128Kw | Self::A256Kw => [Operation::Wrap, Operation::Unwrap],
            Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 | Self::Esp256 | Self::Ed25519 => {
                [Operation::Sign, Operation::Verify]
            }
        }
    }

    /// Whether a key of this algorithm can be for `operation`.
    #[must_use]
    pub const fn permits(self, operation: Operation) -> bool {
        let [produces, consumes] = self.operations();
        produces.number() == operation.number() || consumes.number() == operation.number()
    }

    /// Whether a change of the output is noticed. Not so in CBC and CTR.
    #[must_use]
    pub const fn is_authenticated(self) -> bool {
        !matches!(
            self,
            Self::A128Cbc | Self::A256Cbc | Self::A128Ctr | Self::A256Ctr
        )
    }

    /// Whether additional authenticated data can be bound to a message.
    #[must_use]
    pub const fn takes_aad(self) -> bool {
        matches!(self, Self::A128Gcm | Self::A256Gcm)
    }

    /// Whether the producing half is kept from who holds the consuming one.
    #[must_use]
    pub const fn is_asymmetric(self) -> bool {
        matches!(self, Self::Esp256 | Self::Ed25519)
    }

    /// Whether data can come in pieces. Ed25519 reads its message twice, and keys to wrap are short.
    #[must_use]
    pub const fn can_stream(self) -> bool {
        !matches!(self, Self::Ed25519 | Self::A128Kw | Self::A256Kw)
    }

    /// Bytes of a whole key, as the server holds it (the private half if asymmetric).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::A128Gcm | Self::A128Cbc | Self::A128Ctr | Self::A128Kw => 16,
            Self::A256Gcm | Self::A256Cbc | Self::A256Ctr | Self::A256Kw => 32,
            Self::HmacSha256 | Self::Esp256 | Self::Ed25519 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// Bytes of the material for `operation`: of the key, or for a verifier of ESP256 of the
    /// uncompressed point. 0 if the algorithm does not permit the operation.
    #[must_use]
    pub const fn material_len(self, operation: Operation) -> usize {
        match (self, operation) {
            (Self::Esp256, Operation::Verify) => 65,
            _ if self.permits(operation) => self.key_len(),
            _ => 0,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Operation {
    /// Every operation there is.
    pub const ALL: [Self; 6] = [
        Self::Sign,
        Self::Verify,
        Self::Encrypt,
        Self::Decrypt,
        Self::Wrap,
        Self::Unwrap,
    ];

    /// The number in COSE's `key_ops`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The operation of a `key_ops` number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| u64::from(operation.number()) == number)
    }

    /// The name: one lower-case word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
        }
    }

    /// The operation of a [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// What the other side does with the same key.
    #[must_use]
    pub const fn mirror(self) -> Self {
        match self {
            Self::Sign => Self::Verify,
            Self::Verify => Self::Sign,
            Self::Encrypt => Self::Decrypt,
            Self::Decrypt => Self::Encrypt,
            Self::Wrap => Self::Unwrap,
            Self::Unwrap => Self::Wrap,
        }
    }

    /// Whether the operation makes results (sign, encrypt, wrap) rather than takes them.
    #[must_use]
    pub const fn produces(self) -> bool {
        matches!(self, Self::Sign | Self::Encrypt | Self::Wrap)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_registry() {
        let table: Vec<_> = Algorithm::ALL
            .iter()
            .map(|algorithm| (algorithm.number(), algorithm.name()))
            .collect();
        assert_eq!(
            table,
            [
                (1, "A128GCM"),
                (3, "A256GCM"),
                (-65531, "A128CBC"),
                (-65529, "A256CBC"),
                (-65534, "A128CTR"),
                (-65532, "A256CTR"),
                (-3, "A128KW"),
                (-5, "A256KW"),
                (5, "HMAC256"),
                (6, "HMAC384"),
                (7, "HMAC512"),
                (-9, "ESP256"),
                (-19, "Ed25519"),
            ]
        );
        let operations: Vec<_> = Operation::ALL.iter().map(|op| (op.number(), op.name())).collect();
        assert_eq!(
            operations,
            [
                (1, "sign"),
                (2, "verify"),
                (3, "encrypt"),
                (4, "decrypt"),
                (5, "wrap"),
                (6, "unwrap")
            ]
        );
    }

    #[test]
    fn numbers_and_names_lead_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_number(algorithm.number()), Some(algorithm));
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(algorithm.to_string(), algorithm.name());
        }
        assert_eq!(Algorithm::ALL.into_iter().collect::<HashSet<_>>().len(), 13);
        // A192GCM, HMAC 256/64, AES-CCM and ES256 are none of ours.
        for number in [0, 2, 4, 10, -4, -7, -8, -65530, -65533, i64::MIN, i64::MAX] {
            assert_eq!(Algorithm::from_number(number), None);
        }
        for name in ["", "a256gcm", "A192GCM", "A256GCM "] {
            assert_eq!(Algorithm::from_name(name), None);
        }
        for operation in Operation::ALL {
            assert_eq!(Operation::from_number(operation.number().into()), Some(operation));
            assert_eq!(Operation::from_name(operation.name()), Some(operation));
            assert_eq!(operation.mirror().mirror(), operation);
            assert_ne!(operation.mirror().produces(), operation.produces());
        }
        for number in [0, 7, 9, 257, u64::MAX] {
            assert_eq!(Operation::from_number(number), None);
        }
    }

    #[test]
    fn an_algorithm_permits_two_operations_that_mirror_each_other() {
        for algorithm in Algorithm::ALL {
            let [produces, consumes] = algorithm.operations();
            assert_eq!(produces.mirror(), consumes);
            assert!(produces.produces());
            for operation in Operation::ALL {
                let permitted = operation == produces || operation == consumes;
                assert_eq!(algorithm.permits(operation), permitted);
                assert_eq!(algorithm.material_len(operation) > 0, permitted);
            }
        }
        assert_eq!(Algorithm::Esp256.material_len(Operation::Verify), 65);
        assert_eq!(Algorithm::Esp256.material_len(Operation::Sign), 32);
        assert_eq!(Algorithm::HmacSha384.material_len(Operation::Verify), 48);
    }
}
