//! Where the content keys of a packaging come from.

use std::{path::Path, sync::Arc};

use getrandom::SysRng;
use keyward_crypto::{ContentKey, SecretBytes, seed::LicenseKeySeed};
use keyward_license::{ids::Kid, license::KeyType, packaging::WantedTrack};
use keyward_packager::{KeySource, exchange::PackagingData};
use rand_core::UnwrapErr;

use crate::{
    args::PackageArgs,
    failure::{Failure, file_error},
    operator::Operator,
    packager_dir::PackagerDir,
    report::Report,
};

/// One source for all keys of a packaging.
pub(super) enum Keys {
    /// A seed file, shared with the license server.
    Seed(Arc<LicenseKeySeed>),
    /// The operator's folder on this machine.
    Operator { operator: Operator, draw: bool },
    /// What the license server gave to this machine's packager.
    Exchanged(PackagingData),
}

impl Keys {
    /// Opens what the arguments name. Keys of `key_type` with fresh key ids are wanted for these labels.
    pub(super) fn open(
        args: &PackageArgs,
        (labels, key_type): (&[&str], KeyType),
        report: Report,
    ) -> Result<Self, Failure> {
        if let (Some(folder), Some(content_id)) = (&args.exchange.packager, &args.exchange.content_id) {
            let track = |label: &&str| WantedTrack {
                label: (*label).to_owned(),
                key_type,
            };
            let tracks: Vec<_> = labels.iter().map(track).collect();
            return Ok(Self::Exchanged(
                PackagerDir::open(folder, report)?.packaging_data(content_id, &tracks, args.leaves)?,
            ));
        }
        if let Some(path) = &args.seed_file {
            let seed = LicenseKeySeed::new(read_hex(path)?.expose()).map_err(|error| {
                Failure::new(error, "use the file that `keyward admin export-seed` wrote")
            })?;
            return Ok(Self::Seed(Arc::new(seed)));
        }
        Ok(Self::Operator {
            operator: Operator::open(&args.operator)?,
            draw: args.vault_key,
        })
    }

    /// The license server URL, if the source knows it.
    pub(super) fn license_url(&self) -> Option<String> {
        match self {
            Self::Seed(_) => None,
            Self::Operator { operator, .. } => Some(operator.license_url()),
            Self::Exchanged(data) => Some(data.license_url.clone()),
        }
    }

    /// The leaf licenses that came along, as they were signed.
    pub(super) fn leaves(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Exchanged(data) => data.leaves.iter().map(|leaf| leaf.bytes().to_vec()).collect(),
            Self::Seed(_) | Self::Operator { .. } => Vec::new(),
        }
    }

    /// The key id and key that `label` has by the exchange, or a key id that is named or fresh with its key.
    pub(super) fn fresh(
        &self,
        args: &PackageArgs,
        label: &str,
        key_type: KeyType,
    ) -> Result<(Kid, KeySource), Failure> {
        if let Self::Exchanged(data) = self {
            let track = data.tracks.iter().find(|track| track.label == label);
            let track = track.ok_or_else(|| {
                Failure::new(
                    format!("no key was asked for `{label}`"),
                    "this is a fault of the program; please report it",
                )
            })?;
            return Ok((track.kid, track.source()));
        }
        let kid = args.kid.unwrap_or_else(|| Kid::random(&mut UnwrapErr(SysRng)));
        Ok((kid, self.key(kid, key_type, label, args.key.as_deref())?))
    }

    /// The key of `kid` for this use: the one in the file that is given, else the source's. The operator
    /// learns of it, and gives it the minimum security level of its label.
    pub(super) fn key(
        &self,
        kid: Kid,
        key_type: KeyType,
        label: &str,
        given: Option<&Path>,
    ) -> Result<KeySource, Failure> {
        let given = given.map(read_key).transpose()?;
        match (self, given) {
            (Self::Seed(_), Some(key)) => Ok(KeySource::Raw(key)),
            (Self::Seed(seed), None) => Ok(KeySource::Seed(Arc::clone(seed))),
            (Self::Operator { operator, .. }, Some(key)) => {
                operator.import_key(kid, key_type, &key, operator.level_of(kid, label)?)?;
                Ok(KeySource::Raw(key))
            }
            (Self::Operator { operator, draw: true }, None) => {
                let key = ContentKey::random(&mut UnwrapErr(SysRng));
                operator.import_key(kid, key_type, &key, operator.level_of(kid, label)?)?;
                Ok(KeySource::Vault(key))
            }
            (
                Self::Operator {
                    operator,
                    draw: false,
                },
                None,
            ) => {
                let level = operator.level_of(kid, label)?;
                Ok(KeySource::Vault(operator.derived_key(kid, key_type, level)?))
            }
            (Self::Exchanged(_), _) => Err(Failure::new(
                "the license server names the key ids of an enrolled packager's content",
                "leave the key ids out",
            )),
        }
    }

    /// What remains to be done so that the license server knows the key, if anything.
    pub(super) fn to_register(&self, kid: Kid, scheme: &str) -> Option<String> {
        matches!(self, Self::Seed(_)).then(|| {
            format!(
                "The license server must know the key id: keyward admin register-key {kid} --scheme {scheme}"
            )
        })
    }
}

fn read_key(path: &Path) -> Result<ContentKey, Failure> {
    ContentKey::from_slice(read_hex(path)?.expose()).map_err(|_| {
        Failure::new(
            format!("{} holds no content key", path.display()),
            "a content key is 32 hexadecimal digits",
        )
    })
}

fn read_hex(path: &Path) -> Result<SecretBytes, Failure> {
    let text = SecretBytes::new(std::fs::read(path).map_err(file_error("read", path))?);
    hex::decode(text.expose().trim_ascii())
        .map(SecretBytes::new)
        .map_err(|_| {
            Failure::new(
                format!("{} is not hexadecimal text", path.display()),
                "check that it is the right file",
            )
        })
}
