//! The keys of a license for key exchange, and the terms that it may have.
//!
//! ```text
//!  producing (encrypt, sign, wrap)        the newest version
//!  consuming (decrypt, verify, unwrap)    the newest versions that are accepted, to a client that can use several
//!  keys beside it                         likewise, to such a client, if it has their algorithms and security levels
//! ```

use keyward_crypto::{
    Secret, SecretBytes,
    exchange::{Algorithm, ExchangeKey, Operation},
};
use keyward_license::{
    codec::Bytes,
    error_code::ErrorCode,
    ids::Kid,
    license::{CoseAlgorithm, KeyDescription, KeyType, LicenseKeys, MAX_EXCHANGE_KEYS},
    request::Capabilities,
    response::Denial,
    time::Timestamp,
};

use super::{KeyState, MAX_VERSIONS, value};
use crate::{
    Error,
    authenticate::Authenticated,
    entitle::{Denied, Entitled, denial},
    policy::PolicyTerms,
    sealing::KeyEncryptionKey,
    server::Inner,
    store::exchange::{ExchangeKeyRow, ExchangeVersionRow},
};

/// The exchange keys of one license, each with the versions that go into it, the newest first.
#[derive(Debug)]
pub(crate) struct Licensed(Vec<ExchangeKeyRow>);

impl Licensed {
    /// One key that is registered nowhere: what a test operator gives. `bytes` are its first and only version.
    pub(crate) fn of_bytes(
        kek: &KeyEncryptionKey,
        fingerprints: &Secret<32>,
        kid: Kid,
        (algorithm, operation): (Algorithm, Operation),
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let key = ExchangeKey::import(algorithm, &SecretBytes::new(bytes.to_vec()))?;
        let version = ExchangeVersionRow {
            version: 1,
            sealed: Some(value::seal(kek, fingerprints, (&kid, 1), &key)?.sealed),
            messages: 0,
            created: now,
        };
        Ok(Self(vec![ExchangeKeyRow {
            kid,
            name: "test".to_owned(),
            algorithm: algorithm.number(),
            operation: operation.number().into(),
            context: None,
            uses: None,
            minimum_version: 1,
            minimum_security_level: None,
            beside: None,
            state: KeyState::Enabled,
            revision: 1,
            created: now,
            versions: vec![version],
        }]))
    }

    /// What the license says of them.
    pub(crate) fn descriptions(&self) -> Result<Vec<KeyDescription>, Error> {
        let mut descriptions = Vec::new();
        for key in &self.0 {
            let (algorithm, operation) = (value::algorithm(key)?, value::operation(key.operation)?);
            descriptions.extend(key.versions.iter().map(|version| KeyDescription {
                context: key.context.clone().map(Bytes),
                uses: key.uses,
                ..KeyDescription::exchange(key.kid, algorithm, operation, version.version)
            }));
        }
        Ok(descriptions)
    }

    /// Smallest security level of a device that gets all of them, besides what the policy asks for.
    pub(crate) fn minimum_security_level(&self) -> Option<u64> {
        self.0.iter().filter_map(|key| key.minimum_security_level).max()
    }

    /// What must still be so when the license is recorded.
    pub(crate) fn revisions(&self) -> Vec<(Kid, u64)> {
        self.0.iter().map(|key| (key.kid, key.revision)).collect()
    }

    /// Puts what the holder of each operation gets into a license's keys, in the order of the descriptions.
    pub(crate) fn open(&self, kek: &KeyEncryptionKey, keys: &mut LicenseKeys) -> Result<(), Error> {
        for key in &self.0 {
            let operation = value::operation(key.operation)?;
            for version in &key.versions {
                let material = value::open(kek, key, version)?.material(operation)?;
                keys.keys.push(Bytes(material.expose().to_vec()));
            }
        }
        Ok(())
    }
}

/// Finds the keys for each exchange key id that the account is entitled to; others pass as they are.
pub(crate) async fn find_keys(
    server: &Inner,
    asked: &Authenticated,
    rights: Vec<(Kid, Result<Entitled, Denied>)>,
) -> Result<Vec<(Kid, Result<Entitled, Denied>)>, Error> {
    let mut found = Vec::with_capacity(rights.len());
    for (kid, right) in rights {
        let right = match right {
            Ok(entitled) if entitled.key.key_type == KeyType::Exchange && entitled.exchange.is_none() => {
                let capabilities = &asked.request.body().capabilities;
                let family = server.store.exchange_family(&kid).await?;
                match choose(family, capabilities, asked.security_level)? {
                    Ok(licensed) => Ok(Entitled {
                        exchange: Some(licensed),
                        ..entitled
                    }),
                    Err(denial) => Err(Denied::Ours(denial)),
                }
            }
            right => right,
        };
        found.push((kid, right));
    }
    Ok(found)
}

/// What a client of these capabilities and this security level gets of a key and of those beside it.
fn choose(
    family: Vec<ExchangeKeyRow>,
    capabilities: &Capabilities,
    security_level: u64,
) -> Result<Result<Licensed, Denial>, Error> {
    let mut family = family.into_iter();
    let Some(key) = family.next() else {
        return Err(Error::Damaged("an exchange key is not there"));
    };
    let off = |sentence| Ok(Err(denial(ErrorCode::ExchangeKeyDisabled, sentence)));
    match key.state {
        KeyState::Enabled => {}
        KeyState::Disabled => return off("the exchange key is disabled"),
        KeyState::Destroyed => return off("the exchange key was destroyed"),
    }
    let announced = |key: &ExchangeKeyRow| {
        let algorithms = capabilities.exchange_algorithms.as_deref();
        algorithms
            .unwrap_or_default()
            .contains(&CoseAlgorithm(key.algorithm))
    };
    if !announced(&key) {
        let name = value::algorithm(&key)?.name();
        let sentence = format!("the client does not have the key exchange algorithm `{name}`");
        return Ok(Err(denial(ErrorCode::ClientLacksCapability, &sentence)));
    }
    let several = capabilities.exchange_multiple.is_some();
    let fits = |other: &ExchangeKeyRow| {
        let level = other.minimum_security_level;
        other.state == KeyState::Enabled
            && announced(other)
            && level.is_none_or(|level| level <= security_level)
    };
    let mut keys = vec![with_versions(key, several, MAX_VERSIONS)?];
    if several {
        keys.extend(share_room(&keys, family.filter(fits).collect())?);
    }
    Ok(Ok(Licensed(keys)))
}

/// The keys beside another, with as many versions as a license has room for, and each with its newest.
fn share_room(keys: &[ExchangeKeyRow], beside: Vec<ExchangeKeyRow>) -> Result<Vec<ExchangeKeyRow>, Error> {
    let taken: usize = keys.iter().map(|key| key.versions.len()).sum();
    let mut room = MAX_EXCHANGE_KEYS.saturating_sub(taken);
    let mut left = beside.len();
    let mut chosen = Vec::with_capacity(left);
    for key in beside {
        let most = room.checked_div(left).unwrap_or_default().min(MAX_VERSIONS);
        left = left.saturating_sub(1);
        if most == 0 {
            continue;
        }
        let key = with_versions(key, true, most)?;
        room = room.saturating_sub(key.versions.len());
        chosen.push(key);
    }
    Ok(chosen)
}

/// A key with the versions that a license holds: at most `most`, and one where it produces.
fn with_versions(key: ExchangeKeyRow, several: bool, most: usize) -> Result<ExchangeKeyRow, Error> {
    let operation = value::operation(key.operation)?;
    let most = if several && !operation.produces() { most } else { 1 };
    let minimum = key.minimum_version;
    let accepted = key.versions.into_iter();
    let accepted = accepted.filter(|one| one.sealed.is_some() && one.version >= minimum);
    let versions: Vec<_> = accepted.take(most).collect();
    if versions.is_empty() {
        return Err(Error::Damaged("an exchange key has no version that is accepted"));
    }
    Ok(ExchangeKeyRow { versions, ..key })
}

/// The first term that is about playing, by its name in a policy: a license for key exchange holds none of them
/// (V-031), and grants nothing but its operation (V-021).
pub(crate) fn about_playing(terms: &PolicyTerms) -> Option<&'static str> {
    let held = [
        (!terms.play, "play"),
        (
            terms.expiration_after_first_play_seconds.is_some(),
            "expiration_after_first_play_seconds",
        ),
        (terms.real_time_expiration, "real_time_expiration"),
        (
            terms.output_protection_levels.is_some(),
            "output_protection_levels",
        ),
        (!terms.explicit_restrictions.is_empty(), "explicit_restrictions"),
        (!terms.play_enablers.is_empty(), "play_enablers"),
        (terms.source_id.is_some(), "source_id"),
        (!terms.extended_rights.is_empty(), "extended_rights"),
    ];
    held.into_iter().find_map(|(held, name)| held.then_some(name))
}

/// The name of an algorithm of key exchange, for a sentence.
pub(crate) fn algorithm_name(algorithm: CoseAlgorithm) -> Option<&'static str> {
    Algorithm::from_number(algorithm.0).map(Algorithm::name)
}

#[cfg(test)]
mod tests {
    use keyward_license::license::{
        ExplicitRestriction, ExtendedRestriction, ExtendedRight, OutputProtectionLevels, PlayEnabler,
    };

    use super::*;

    /// V-031: each of them, since a license that says one anyway fails the whole request.
    #[test]
    fn every_term_about_playing_is_found_by_its_name() {
        let none = PolicyTerms::DEFAULT;
        let held = [
            PolicyTerms {
                play: false,
                ..none.clone()
            },
            PolicyTerms {
                expiration_after_first_play_seconds: Some(1),
                ..none.clone()
            },
            PolicyTerms {
                real_time_expiration: true,
                ..none.clone()
            },
            PolicyTerms {
                output_protection_levels: Some(OutputProtectionLevels::default()),
                ..none.clone()
            },
            PolicyTerms {
                explicit_restrictions: vec![ExplicitRestriction::DigitalVideoOnly],
                ..none.clone()
            },
            PolicyTerms {
                play_enablers: vec![PlayEnabler::AIRPLAY],
                ..none.clone()
            },
            PolicyTerms {
                source_id: Some(1),
                ..none.clone()
            },
            PolicyTerms {
                extended_rights: vec![ExtendedRight {
                    kind: 1,
                    restrictions: None,
                }],
                ..none.clone()
            },
        ];
        let found: Vec<_> = held.iter().map(about_playing).collect();
        assert_eq!(
            found,
            [
                Some("play"),
                Some("expiration_after_first_play_seconds"),
                Some("real_time_expiration"),
                Some("output_protection_levels"),
                Some("explicit_restrictions"),
                Some("play_enablers"),
                Some("source_id"),
                Some("extended_rights"),
            ]
        );
        let of_the_application = PolicyTerms {
            end: Some(Timestamp(1)),
            grace_period_seconds: Some(1),
            removal_after_end_seconds: Some(1),
            extended_restrictions: vec![ExtendedRestriction {
                kind: 1,
                must_understand: true,
                best_effort: false,
                data: Bytes(Vec::new()),
            }],
            ..none.clone()
        };
        for terms in [none, of_the_application] {
            assert_eq!(about_playing(&terms), None);
        }
    }
}
