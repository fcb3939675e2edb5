//! Licenses for key exchange: keys, versions and algorithms as they should be, and in the ways that they must not be.

use keyward_crypto::exchange::{Algorithm, ExchangeKey, Operation};
use keyward_license::{
    codec::Bytes,
    ids::Kid,
    license::{
        CoseAlgorithm, ExtendedRight, Flag, KeyDescription, KeyType, LicenseBody, LicenseKind, MAX_USES,
        Right,
    },
};
use rand_chacha::ChaCha20Rng;

use super::{Cases, Draft, key, terms};
use crate::pki::{DAY, NOW};

/// A key of the license: algorithm, operation, versions newest first.
type Keys<'a> = &'a [(Algorithm, Operation, &'a [u32])];

/// Alters the body.
type Edit = fn(&mut LicenseBody);

/// Alters the first key.
type EditKey = fn(&mut Vec<u8>);

const ONE: Keys<'_> = &[(Algorithm::A256Gcm, Operation::Encrypt, &[1])];
const TWO_VERSIONS: Keys<'_> = &[(Algorithm::A256Gcm, Operation::Decrypt, &[2, 1])];
const TWO_KEYS: Keys<'_> = &[
    (Algorithm::A256Gcm, Operation::Decrypt, &[1]),
    (Algorithm::HmacSha256, Operation::Verify, &[1]),
];

/// Makes a draft a license for key exchange.
pub(super) fn exchange(draft: &mut Draft<'_>, rng: &mut ChaCha20Rng, keys: Keys<'_>) {
    let body = &mut draft.body;
    (body.kind, body.rights) = (LicenseKind::KeyExchange, vec![Right::Perform]);
    let mut kid = body.keys.first().unwrap().kid;
    body.keys.clear();
    draft.keys.keys.clear();
    for (algorithm, operation, versions) in keys {
        for version in *versions {
            let material = ExchangeKey::generate(*algorithm, rng)
                .material(*operation)
                .unwrap();
            body.keys
                .push(KeyDescription::exchange(kid, *algorithm, *operation, *version));
            draft.keys.keys.push(Bytes(material.expose().to_vec()));
        }
        kid = Kid::random(rng);
    }
}

impl Cases<'_> {
    pub(super) fn key_exchange(&mut self) {
        for (name, proves, keys) in [
            ("license-valid-exchange-one-key", "one key, to encrypt", ONE),
            (
                "license-valid-exchange-versions",
                "two versions of one key, newest first",
                TWO_VERSIONS,
            ),
            (
                "license-valid-exchange-algorithms",
                "three keys of three algorithms, one of them in three versions",
                &[
                    (Algorithm::A128Ctr, Operation::Decrypt, &[9]),
                    (Algorithm::HmacSha512, Operation::Verify, &[4, 3, 1]),
                    (Algorithm::A256Kw, Operation::Unwrap, &[u32::MAX]),
                ],
            ),
            (
                "license-valid-exchange-public-key",
                "who verifies gets public keys",
                &[
                    (Algorithm::Esp256, Operation::Verify, &[2]),
                    (Algorithm::Ed25519, Operation::Verify, &[1]),
                ],
            ),
            (
                "license-valid-exchange-private-key",
                "who signs gets scalar and seed",
                &[
                    (Algorithm::Esp256, Operation::Sign, &[1]),
                    (Algorithm::Ed25519, Operation::Sign, &[1]),
                ],
            ),
        ] {
            self.accept(name, proves, |draft, rng| exchange(draft, rng, keys));
        }
        self.accept(
            "license-valid-exchange-all-entries",
            "context, use limit, and every term that is not about playing",
            |draft, rng| {
                exchange(draft, rng, ONE);
                let key = draft.body.keys.first_mut().unwrap();
                (key.context, key.uses) = (Some(Bytes(vec![7; 255])), Some(MAX_USES));
                draft.body.begin = Some(NOW.minus(DAY));
                draft.body.minimum_security_level = Some(2000);
                draft.body.removal_date = Some(NOW.plus(4 * DAY));
                draft.body.grace_period = Some(DAY);
                draft.body.extended_restrictions = Some(vec![terms::extended(400, true, &[2])]);
                draft.body.name = Some("Meter".into());
            },
        );
        self.exchange_kinds();
        self.exchange_terms();
        self.exchange_descriptions();
        self.exchange_versions();
        self.exchange_keys();
    }

    fn exchange_kinds(&mut self) {
        let right = "the license grants a right that its kind may not grant";
        let no_fit = "the license holds a key that its kind may not hold";
        let cases: [(&str, &str, &str, Edit); 6] = [
            (
                "license-exchange-right-play",
                "who may perform may not play",
                right,
                |body| body.rights = vec![Right::Play],
            ),
            ("license-exchange-right-play-too", "nor both", right, |body| {
                body.rights = vec![Right::Play, Right::Perform]
            }),
            (
                "license-exchange-extended-right",
                "nor anything else",
                right,
                |body| {
                    body.extended_rights = Some(vec![ExtendedRight {
                        kind: 500,
                        restrictions: None,
                    }]);
                },
            ),
            (
                "license-exchange-content-key",
                "a key for content is in no license for key exchange",
                no_fit,
                |body| {
                    let kid = body.keys.first().unwrap().kid;
                    body.keys = vec![KeyDescription::content(kid, KeyType::CencCtr)];
                },
            ),
            (
                "license-simple-exchange-key",
                "an exchange key is in no simple license",
                no_fit,
                |body| (body.kind, body.rights) = (LicenseKind::Simple, vec![Right::Play]),
            ),
            (
                "license-exchange-no-key",
                "a license for key exchange holds a key",
                "a license holds exactly one key",
                |body| body.keys.clear(),
            ),
        ];
        self.exchange_wrong("V-021", &cases);
        for (name, proves, error, edit) in [
            (
                "license-simple-perform",
                "a simple license grants no right to perform",
                right,
                perform as Edit,
            ),
            (
                "license-simple-algorithm",
                "a content key has no algorithm of its own",
                no_fit,
                |body| {
                    let kid = body.keys.first().unwrap().kid;
                    body.keys = vec![KeyDescription {
                        algorithm: Some(CoseAlgorithm(3)),
                        ..key(kid)
                    }];
                },
            ),
        ] {
            self.refuse(name, proves, ("V-021", &malformed(error)), |draft, _| {
                edit(&mut draft.body)
            });
        }
    }

    fn exchange_terms(&mut self) {
        let playing = "a key exchange license holds a term about playing";
        self.exchange_wrong(
            "V-031",
            &[
                (
                    "license-key-exchange-about-playing",
                    "a key exchange license has no outputs",
                    playing,
                    |body| body.output_protection_levels = Some(terms::every_level()),
                ),
                (
                    "license-exchange-first-play",
                    "nor a first play",
                    playing,
                    |body| body.expiration_after_first_play = Some(60),
                ),
                ("license-exchange-real-time", "nor a playback", playing, |body| {
                    body.real_time_expiration = Some(Flag)
                }),
                ("license-exchange-source-id", "nor a source", playing, |body| {
                    body.source_id = Some(267)
                }),
            ],
        );
    }

    fn exchange_descriptions(&mut self) {
        let not_permitted =
            "an exchange key is for no algorithm of this version, or for no operation of its algorithm";
        let unbounded =
            "an exchange key has no version, or a version, context or use limit out of its bounds";
        self.exchange_wrong(
            "V-032",
            &[
                (
                    "license-exchange-unknown-algorithm",
                    "A192GCM is not of this version",
                    not_permitted,
                    |body| first(body).algorithm = Some(CoseAlgorithm(2)),
                ),
                (
                    "license-exchange-no-algorithm",
                    "an exchange key has an algorithm",
                    not_permitted,
                    |body| first(body).algorithm = None,
                ),
                (
                    "license-exchange-operation-of-another-algorithm",
                    "A256GCM does not sign",
                    not_permitted,
                    |body| first(body).operation = Some(1),
                ),
                (
                    "license-exchange-no-operation",
                    "an exchange key has an operation",
                    not_permitted,
                    |body| first(body).operation = None,
                ),
                (
                    "license-exchange-version-0",
                    "versions are counted from 1",
                    unbounded,
                    |body| first(body).version = Some(0),
                ),
                (
                    "license-exchange-version-too-large",
                    "versions have 32 bits",
                    unbounded,
                    |body| first(body).version = Some(1 << 32),
                ),
                (
                    "license-exchange-no-version",
                    "an exchange key has a version",
                    unbounded,
                    |body| first(body).version = None,
                ),
                (
                    "license-exchange-context-empty",
                    "a context of no bytes",
                    unbounded,
                    |body| first(body).context = Some(Bytes(vec![])),
                ),
                (
                    "license-exchange-context-too-long",
                    "a context of 256 bytes",
                    unbounded,
                    |body| first(body).context = Some(Bytes(vec![7; 256])),
                ),
                (
                    "license-exchange-context-without-place",
                    "CTR has no place for additional data",
                    unbounded,
                    |body| {
                        first(body).algorithm = Some(Algorithm::A256Ctr.into());
                        first(body).context = Some(Bytes(vec![7]));
                    },
                ),
                (
                    "license-exchange-no-use",
                    "a limit of no uses",
                    unbounded,
                    |body| first(body).uses = Some(0),
                ),
                (
                    "license-exchange-too-many-uses",
                    "a limit above what GCM takes",
                    unbounded,
                    |body| first(body).uses = Some(MAX_USES + 1),
                ),
            ],
        );
    }

    fn exchange_versions(&mut self) {
        let order = "the versions of a key in a license differ in more than the version, or not in that, or stand \
                     not newest first";
        let apart = "the versions of a key do not stand together in the license";
        let cases: [(&str, &str, &str, Keys<'_>, Edit); 8] = [
            (
                "license-exchange-version-twice",
                "each version stands there once",
                order,
                TWO_VERSIONS,
                |body| body.keys.last_mut().unwrap().version = Some(2),
            ),
            (
                "license-exchange-versions-ascend",
                "the newest version comes first",
                order,
                TWO_VERSIONS,
                |body| first(body).version = Some(1),
            ),
            (
                "license-exchange-two-operations",
                "a key is for one operation",
                order,
                TWO_VERSIONS,
                |body| first(body).operation = Some(3),
            ),
            (
                "license-exchange-two-algorithms",
                "a key has one algorithm",
                order,
                &[
                    (Algorithm::A256Gcm, Operation::Decrypt, &[2]),
                    (Algorithm::A256Ctr, Operation::Decrypt, &[1]),
                ],
                |body| body.keys.last_mut().unwrap().kid = first(body).kid,
            ),
            (
                "license-exchange-two-contexts",
                "a key has one context",
                order,
                TWO_VERSIONS,
                |body| first(body).context = Some(Bytes(vec![7])),
            ),
            (
                "license-exchange-versions-apart",
                "versions of a key stand together",
                apart,
                &[
                    (Algorithm::A256Gcm, Operation::Decrypt, &[2]),
                    (Algorithm::HmacSha256, Operation::Verify, &[1]),
                    (Algorithm::A256Gcm, Operation::Decrypt, &[1]),
                ],
                |body| body.keys.last_mut().unwrap().kid = first(body).kid,
            ),
            (
                "license-exchange-algorithm-twice",
                "two keys have two algorithms",
                "a license holds two keys of one algorithm",
                &[
                    (Algorithm::A256Gcm, Operation::Decrypt, &[1]),
                    (Algorithm::A256Gcm, Operation::Encrypt, &[1]),
                ],
                |_| (),
            ),
            (
                "license-exchange-seventeen-keys",
                "a license holds 16 keys at most",
                "a license holds too many keys",
                &[(
                    Algorithm::A128Gcm,
                    Operation::Decrypt,
                    &[17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1],
                )],
                |_| (),
            ),
        ];
        for (name, proves, error, keys, edit) in cases {
            self.refuse(name, proves, ("V-032", &malformed(error)), |draft, rng| {
                exchange(draft, rng, keys);
                edit(&mut draft.body);
            });
        }
    }

    fn exchange_keys(&mut self) {
        const NOT_ONE: &str = "an exchange key is not one of its algorithm and operation";
        let cases: [(&str, &str, Keys<'_>, EditKey); 5] = [
            (
                "license-exchange-key-too-short",
                "A256GCM has a key of 32 bytes",
                ONE,
                |key| key.truncate(16),
            ),
            (
                "license-exchange-key-too-long",
                "HMAC256 has a key of 32 bytes",
                &[(Algorithm::HmacSha256, Operation::Sign, &[1])],
                |key| key.extend_from_slice(&[1; 32]),
            ),
            (
                "license-exchange-scalar-out-of-range",
                "a scalar of P-256 is below its order",
                &[(Algorithm::Esp256, Operation::Sign, &[1])],
                |key| *key = vec![0xff; 32],
            ),
            (
                "license-exchange-private-key-to-verify",
                "who verifies gets no private key",
                &[(Algorithm::Esp256, Operation::Verify, &[1])],
                |key| *key = vec![1; 32],
            ),
            (
                "license-exchange-point-off-the-curve",
                "a public key is a point of its curve",
                &[(Algorithm::Esp256, Operation::Verify, &[1])],
                |key| *key.last_mut().unwrap() ^= 1,
            ),
        ];
        for (name, proves, keys, edit) in cases {
            self.refuse(name, proves, ("V-034", NOT_ONE), |draft, rng| {
                exchange(draft, rng, keys);
                edit(&mut draft.keys.keys.first_mut().unwrap().0);
            });
        }
        self.refuse(
            "license-exchange-key-missing",
            "two keys are described and one is sealed",
            ("V-023", "the license does not hold the keys it describes"),
            |draft, rng| {
                exchange(draft, rng, TWO_KEYS);
                draft.keys.keys.pop();
            },
        );
    }

    /// Cases of a license for one key with an alteration.
    fn exchange_wrong(&mut self, rule: &str, cases: &[(&str, &str, &str, Edit)]) {
        for (name, proves, error, edit) in cases {
            self.refuse(name, proves, (rule, &malformed(error)), |draft, rng| {
                exchange(draft, rng, ONE);
                edit(&mut draft.body);
            });
        }
    }
}

fn first(body: &mut LicenseBody) -> &mut KeyDescription {
    body.keys.first_mut().unwrap()
}

fn perform(body: &mut LicenseBody) {
    body.rights = vec![Right::Perform];
}

fn malformed(error: &str) -> String {
    format!("the message is malformed: {error}")
}
