//! Who may use what. The only file to change when an arrow is decided.

/// One crate of the workspace and those of the workspace it may use.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) uses: &'static [&'static str],
}

/// A crate may use only what stands above it.
pub(super) const ARROWS: [Row; 10] = [
    Row {
        name: CRYPTO,
        uses: &[],
    },
    Row {
        name: LICENSE,
        uses: &[CRYPTO],
    },
    Row {
        name: CONTENT,
        uses: &[CRYPTO, LICENSE],
    },
    Row {
        name: PACKAGER,
        uses: &[CRYPTO, LICENSE, CONTENT],
    },
    Row {
        name: SERVER,
        uses: &[CRYPTO, LICENSE, CONTENT],
    },
    Row {
        name: CLIENT,
        uses: &[CRYPTO, LICENSE, CONTENT],
    },
    Row {
        name: CLIENT_NATIVE,
        uses: &[CRYPTO, LICENSE, CONTENT, CLIENT],
    },
    Row {
        name: CLI,
        uses: &[CRYPTO, LICENSE, CONTENT, PACKAGER, SERVER, CLIENT, CLIENT_NATIVE],
    },
    Row {
        name: TESTKIT,
        uses: &[CRYPTO, LICENSE, CONTENT, PACKAGER, SERVER, CLIENT, CLIENT_NATIVE],
    },
    Row {
        name: TOOLING,
        uses: &[],
    },
];

/// Crates that no product contains: libraries of any kind are theirs to use.
pub(super) const NEVER_SHIPPED: [&str; 2] = [TESTKIT, TOOLING];

/// Libraries that only some crates may name, and those crates.
pub(super) struct Reserved {
    pub(super) what: &'static str,
    pub(super) libraries: &'static [&'static str],
    pub(super) allowed: &'static [&'static str],
}

/// Normal dependencies only: a test may use them as an oracle.
pub(super) const RESERVED: [Reserved; 3] = [
    Reserved {
        what: "an async runtime or HTTP library",
        libraries: &NETWORK,
        allowed: &[SERVER, CLI],
    },
    Reserved {
        what: "a thread pool",
        libraries: &["rayon", "rayon-core"],
        allowed: &[PACKAGER, CLI],
    },
    Reserved {
        what: "a crypto library",
        libraries: &CRYPTO_LIBRARIES,
        allowed: &[CRYPTO],
    },
];

/// Crates without sockets, file system, clock, async runtime or threads. They compile for WebAssembly.
pub(crate) const SANS_IO: [&str; 4] = [CRYPTO, LICENSE, CONTENT, CLIENT];

/// What a crate of `SANS_IO` may not reach through any library either.
pub(super) const OUT_OF_REACH: [&str; 11] = [
    "axum", "hyper", "mio", "rayon", "redb", "reqwest", "rusqlite", "socket2", "sqlx", "tokio", "ureq",
];

pub(super) const CRYPTO: &str = "keyward-crypto";
pub(super) const LICENSE: &str = "keyward-license";
pub(super) const CONTENT: &str = "keyward-content";
pub(super) const PACKAGER: &str = "keyward-packager";
pub(super) const SERVER: &str = "keyward-server";
pub(super) const CLIENT: &str = "keyward-client";
pub(super) const CLIENT_NATIVE: &str = "keyward-client-native";
pub(super) const CLI: &str = "keyward-cli";
pub(super) const TESTKIT: &str = "keyward-testkit";
pub(super) const TOOLING: &str = "xtask";

const NETWORK: [&str; 16] = [
    "async-std",
    "axum",
    "axum-server",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "isahc",
    "mio",
    "reqwest",
    "smol",
    "sqlx",
    "tokio",
    "tokio-rustls",
    "tower",
    "tower-http",
    "ureq",
];

const CRYPTO_LIBRARIES: [&str; 56] = [
    "aead",
    "aead-stream",
    "aes",
    "aes-gcm",
    "aes-gcm-siv",
    "aes-kw",
    "aes-siv",
    "argon2",
    "aws-lc-rs",
    "aws-lc-sys",
    "blake2",
    "blake3",
    "cbc",
    "chacha20",
    "chacha20poly1305",
    "cipher",
    "cmac",
    "const-oid",
    "coset",
    "crypto-bigint",
    "ctr",
    "curve25519-dalek",
    "der",
    "digest",
    "ecdsa",
    "ed25519-dalek",
    "elliptic-curve",
    "ghash",
    "hkdf",
    "hmac",
    "hpke",
    "hpke-rs",
    "ml-dsa",
    "ml-kem",
    "openssl",
    "openssl-sys",
    "p256",
    "p384",
    "p521",
    "pbkdf2",
    "pkcs8",
    "poly1305",
    "rcgen",
    "ring",
    "rsa",
    "rustls-webpki",
    "scrypt",
    "sec1",
    "sha1",
    "sha2",
    "sha3",
    "signature",
    "spki",
    "x-wing",
    "x25519-dalek",
    "x509-cert",
];
