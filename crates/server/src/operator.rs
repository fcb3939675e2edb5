//! The operator directory: made whole by [`init`] or not at all.
//!
//! ```text
//!  operator/            0700, every file 0600
//!   operator.toml       configuration
//!   operator-profile    what clients are configured with: name, root certificate, license server
//!   keyward.db          everything else, its secrets sealed under the key-encryption key
//!   kek                 the key-encryption key, unless the environment supplies it
//!   root-key.sealed     the root's private key; serving never reads it, so it can be moved offline
//!   kek.next, root-key.next     there while the key-encryption key is rolled
//!   kek.old-1, kek.old-2 …      key-encryption keys of before, until somebody moves them away
//! ```

mod identity;
pub(crate) mod kek;
mod keys;
mod leaves;
pub(crate) mod making;
mod overlap;
pub(crate) mod pki;
mod serving;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use keyward_crypto::{Secret, SecretBytes, ecdsa::SigningKey, kdf::sha256};
use keyward_license::{
    codec::{Bytes, Wire},
    ids::Digest,
    operator_profile::OperatorProfile,
    time::Timestamp,
};
use rand_core::CryptoRng;

pub(crate) use identity::{Identity, Settings, Signer};
pub(crate) use keys::{CHECK, PurposeKey, cell as secret_cell, check_secrets};
use making::{Making, flush};
pub(crate) use overlap::earlier_keys;
pub(crate) use pki::{CLOCK_TOLERANCE, Issuer, serial, serial_number};
pub use serving::Serving;

use crate::{
    Error, Server,
    config::{self, Config},
    fail_points::{Act, Extent, Point, reach},
    sealing::{Cell, KEK_FILE, KekSource, KeyEncryptionKey},
    store::{Founding, Store},
    test_mode,
    token::Token,
    vault,
};

/// What [`init`] needs to know.
#[derive(Debug)]
pub struct InitOptions {
    /// The operator's name, for people; 1 to 40 characters.
    pub name: String,
    /// Origin under which devices reach the server.
    pub public_url: String,
    /// Address that the license server listens on.
    pub listen: String,
    /// Address of the administration interface.
    pub admin_listen: String,
    /// The key-encryption key: made and written to a file, or the caller's.
    pub kek: KekSource,
}

/// What a new operator is, for the person who made it.
#[derive(Debug)]
pub struct Initialised {
    /// The directory.
    pub dir: PathBuf,
    /// The token for the administration interface. It is kept nowhere: show it once.
    pub admin_token: Token,
    /// SHA-256 of the root certificate: names the operator.
    pub operator: Digest,
}

/// Makes an operator in `dir`, which must not exist.
///
/// Everything is made in a hidden directory beside it, flushed to the disk, and moved into place as the
/// last step: there is never half an operator.
///
/// # Errors
/// [`Error::OperatorExists`], [`Error::Config`] for values that the configuration refuses,
/// [`Error::File`], or a failure of the database.
pub async fn init(
    dir: &Path,
    options: InitOptions,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<Initialised, Error> {
    make(dir, options, false, now, rng).await
}

/// Makes a test operator in `dir`, which must not exist: one that issues to anybody what [`test_mode`] lets a request
/// ask for. Its root certificate is marked, so that clients refuse it unless they are told to accept test operators;
/// its first license key seed is the [published one](crate::test_mode::TEST_SEED), and the enrolment token `test` enrols
/// any device. It guards nothing.
///
/// # Errors
/// Those of [`init`].
pub async fn init_test(
    dir: &Path,
    options: InitOptions,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<Initialised, Error> {
    make(dir, options, true, now, rng).await
}

async fn make(
    dir: &Path,
    options: InitOptions,
    is_test: bool,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<Initialised, Error> {
    let toml = configuration(&options);
    let config = Config::from_toml(&toml)?;
    let making = Making::begin(dir, Act::Init)?;
    let (admin_token, operator) = fill(&making, (options.kek, is_test), &toml, &config, now, rng).await?;
    making.finish()?;
    Ok(Initialised {
        dir: dir.to_owned(),
        admin_token,
        operator,
    })
}

/// Reads and validates the configuration of the operator in `dir`.
///
/// # Errors
/// [`Error::NoOperator`], [`Error::File`], [`Error::Config`].
pub fn read_config(dir: &Path) -> Result<Config, Error> {
    let path = dir.join(CONFIG_FILE);
    if !path.exists() {
        return Err(Error::NoOperator(dir.to_owned()));
    }
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    Ok(Config::from_toml(&text)?)
}

/// Reads the operator profile of the operator in `dir`: the bytes that clients are configured with.
///
/// # Errors
/// [`Error::File`].
pub fn read_profile(dir: &Path) -> Result<Vec<u8>, Error> {
    let path = dir.join(PROFILE_FILE);
    fs::read(&path).map_err(Error::file("read", &path))
}

/// Writes the operator profile in `dir` anew, from the configuration that `server` was opened with. Devices
/// that are enrolled keep the profile that they enrolled with.
///
/// # Errors
/// [`Error::File`].
pub fn renew_profile(dir: &Path, server: &Server) -> Result<OperatorProfile, Error> {
    let profile = profile(server.config(), server.inner().identity().anchor.der());
    let path = dir.join(PROFILE_FILE);
    // Beside the old one, then in its place: there is never half a profile.
    let beside = tempfile::Builder::new()
        .prefix(".keyward-profile-")
        .tempfile_in(dir);
    let mut file = beside.map_err(Error::file("write", &path))?;
    reach(Point::Profile(Extent::Made));
    file.write_all(&profile.encode())
        .and_then(|()| file.as_file().sync_all())
        .map_err(Error::file("write", &path))?;
    reach(Point::Profile(Extent::Written));
    file.persist(&path)
        .map_err(|error| Error::file("write", &path)(error.error))?;
    reach(Point::Profile(Extent::Placed));
    flush(dir)?;
    Ok(profile)
}

/// Opens the root's private key, to issue a new intermediate. Serving never calls this.
///
/// # Errors
/// [`Error::File`] if the file was moved offline, [`Error::WrongKek`] if it does not open.
pub fn read_root_key(dir: &Path, operator: &Digest, kek: &KeyEncryptionKey) -> Result<SigningKey, Error> {
    read_root_key_file(&dir.join(ROOT_KEY_FILE), operator, kek)
}

/// As [`read_root_key`], of a file that lies elsewhere.
///
/// # Errors
/// Those of [`read_root_key`].
pub fn read_root_key_file(
    path: &Path,
    operator: &Digest,
    kek: &KeyEncryptionKey,
) -> Result<SigningKey, Error> {
    let sealed = fs::read(path).map_err(Error::file("read", path))?;
    let scalar = kek
        .open(root_cell(operator), &sealed)
        .map_err(|_| Error::WrongKek)?;
    Ok(SigningKey::from_scalar(Secret::from_slice(scalar.expose())?)?)
}

pub(crate) fn database_path(dir: &Path) -> PathBuf {
    dir.join(DATABASE_FILE)
}

pub(crate) fn profile(config: &Config, root: &[u8]) -> OperatorProfile {
    let proxies = config
        .proxy_urls
        .iter()
        .filter(|proxy| **proxy != config.public_url);
    OperatorProfile {
        version: 1,
        name: config.name.clone(),
        root: Bytes(root.to_vec()),
        license_servers: core::iter::once(&config.public_url)
            .chain(proxies)
            .cloned()
            .collect(),
        minimum_suite: config.minimum_suite.number(),
    }
}

/// Writes every file of a new operator into its directory.
async fn fill(
    making: &Making,
    (kek, is_test): (KekSource, bool),
    toml: &str,
    config: &Config,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<(Token, Digest), Error> {
    let kek = match kek {
        KekSource::Given(kek) => kek,
        KekSource::File => {
            let kek = KeyEncryptionKey::generate(rng);
            making.write(KEK_FILE, kek.to_hex().as_bytes())?;
            kek
        }
    };
    let admin_token = Token::generate(rng);
    let authority = pki::found(&config.name, is_test, now, rng)?;
    let operator = Digest::new(sha256(&[&authority.root]));
    let sealed_root = kek.seal(root_cell(&operator), authority.root_key.scalar().expose(), rng)?;
    making.write(ROOT_KEY_FILE, &sealed_root)?;
    making.write(CONFIG_FILE, toml.as_bytes())?;
    making.write(PROFILE_FILE, &profile(config, &authority.root).encode())?;
    // Made here, so that SQLite gives its files the same permissions.
    making.create(DATABASE_FILE)?;
    let secrets = identity::seal_secrets(&kek, &authority, rng)?;
    let founding = Founding {
        secrets,
        seed: match is_test {
            true => vault::seal_seed(&kek, 1, &SecretBytes::new(test_mode::TEST_SEED.to_vec()))?,
            false => vault::seal_new_seed(&kek, 1, rng)?,
        },
        root: authority.root,
        is_test,
        certificates: authority.certificates,
        admin_token: (admin_token.hash(), "init".to_owned()),
    };
    Store::found(&making.path().join(DATABASE_FILE), founding, now).await?;
    making.has_written(DATABASE_FILE);
    Ok((admin_token, operator))
}

/// The sample file with the operator's own values in the lines that have no default.
fn configuration(options: &InitOptions) -> String {
    let own = [
        ("name", &options.name),
        ("public_url", &options.public_url),
        ("listen", &options.listen),
        ("admin_listen", &options.admin_listen),
    ];
    let line = |line: &str| {
        own.iter()
            .find(|(key, _)| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = ")))
            .map_or_else(
                || line.to_owned(),
                |(key, value)| format!("{key} = {}", toml::Value::from(value.as_str())),
            )
    };
    config::SAMPLE.lines().map(|text| line(text) + "\n").collect()
}

fn root_cell(operator: &Digest) -> Cell<'_> {
    Cell {
        table: ROOT_KEY_FILE,
        row: operator.as_bytes(),
        column: "key",
    }
}

pub(crate) const CONFIG_FILE: &str = "operator.toml";
pub(crate) const PROFILE_FILE: &str = "operator-profile";
pub(crate) const DATABASE_FILE: &str = "keyward.db";
pub(crate) const ROOT_KEY_FILE: &str = "root-key.sealed";
