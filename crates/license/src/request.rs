//! The license request: what a device asks for, signed by the device, sealed to the license server.

use keyward_crypto::Secret;

use crate::{
    cbor_enum, cbor_map,
    codec::{Bytes, DecodeError},
    ids::{Digest, DomainId, EpochId, Kid, Nonce},
    license::{CoseAlgorithm, Flag, Guid, LicenseBody, LicenseKind},
    revocation::{ListHeld, MAX_LISTS_HELD},
    signed::SignedBody,
    time::Timestamp,
};

/// Most key ids one request may name, in its list and its headers together.
pub const MAX_KIDS: usize = 256;
/// Most content headers one request may carry.
pub const MAX_HEADERS: usize = 64;
/// Longest authorization token, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Longest custom data, in bytes.
pub const MAX_CUSTOM_DATA: usize = 16 * 1024;
/// Most entries of each list about the client: capabilities, memberships.
pub const MAX_LIST: usize = 64;
/// Longest free text about the client (name, version, platform), in bytes each.
pub const MAX_CLIENT_TEXT: usize = 255;

cbor_map! {
    /// Body of a license request.
    pub struct LicenseRequest = "license request" {
        /// Protocol version.
        [1] version: u64,
        /// SHA-256 of the request-encryption certificate it is sealed to; any other server refuses it.
        [2] recipient: Digest,
        /// Drawn for this request.
        [3] nonce: Nonce,
        /// Key material that only this request's answer is sealed under.
        [4] response_key: Secret<32>,
        /// Content headers (PlayReady Objects) as found in the content. Only their KIDs decide anything.
        [5?] content_headers: Vec<Bytes>,
        /// Key ids asked for besides those of the headers.
        [6?] kids: Vec<Kid>,
        /// The client program.
        [7] client: ClientInfo,
        /// What the client understands.
        [8] capabilities: Capabilities,
        /// Whether licenses should be storable; false asks for in-memory licenses.
        [9] persistent: bool,
        /// The revocation lists held; at most [`MAX_LISTS_HELD`].
        [10?] revocation_lists: Vec<ListHeld>,
        /// Domains the device is a member of.
        [11?] memberships: Vec<Membership>,
        /// The client's idea of time.
        [12] clock: ClientClock,
        /// State of the client's store.
        [13] store: StoreState,
        /// False: no license is wanted, only time and lists.
        [14] license_requested: bool,
        /// Speaks for the viewer (a JWT); the carrier's own credential travels outside.
        [15?] authorization: String,
        /// The application's own bytes for the service.
        [16?] custom_data: Bytes,
    }
}

impl SignedBody for LicenseRequest {
    const MEDIA_TYPE: &'static str = "application/vnd.keyward.license-request+cose";
    const CONTEXT: &'static str = "keyward/1 license-request";
}

/// Without the token, which is a credential, and the application's bytes, which may hold one.
impl core::fmt::Debug for LicenseRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LicenseRequest")
            .field("nonce", &self.nonce)
            .field("kids", &self.kids)
            .field("persistent", &self.persistent)
            .finish_non_exhaustive()
    }
}

impl LicenseRequest {
    fn lists_are_bounded(&self) -> bool {
        let Capabilities {
            key_types,
            terms,
            exchange_algorithms,
            suites,
            clock: _,
            explicit_restrictions,
            extended_restrictions,
            source_ids,
            watermarks,
            exchange_multiple: _,
            more_licenses: _,
            acknowledges: _,
        } = &self.capabilities;
        let numbers = [extended_restrictions, source_ids];
        let guids = [explicit_restrictions, watermarks];
        [
            key_types.len(),
            terms.len(),
            suites.len(),
            self.memberships.as_ref().map_or(0, Vec::len),
            exchange_algorithms.as_ref().map_or(0, Vec::len),
        ]
        .into_iter()
        .chain(numbers.map(|list| list.as_ref().map_or(0, Vec::len)))
        .chain(guids.map(|list| list.as_ref().map_or(0, Vec::len)))
        .all(|length| length <= MAX_LIST)
    }

    /// Checks counts and lengths that the decoder does not.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn check_bounds(&self) -> Result<(), DecodeError> {
        let kids = self.kids.as_ref().map_or(0, Vec::len);
        let headers = self.content_headers.as_ref().map_or(0, Vec::len);
        let checks = [
            (kids <= MAX_KIDS, "more key ids than a request may name"),
            (
                headers <= MAX_HEADERS,
                "more content headers than a request may carry",
            ),
            (self.client.is_bounded(), "a client text is too long"),
            (self.lists_are_bounded(), "a list about the client is too long"),
            (
                self.revocation_lists
                    .as_ref()
                    .is_none_or(|lists| lists.len() <= MAX_LISTS_HELD),
                "more revocation lists than a client may hold",
            ),
            (
                self.authorization
                    .as_ref()
                    .is_none_or(|token| token.len() <= MAX_TOKEN),
                "the token is too long",
            ),
            (
                self.custom_data
                    .as_ref()
                    .is_none_or(|data| data.0.len() <= MAX_CUSTOM_DATA),
                "the custom data is too long",
            ),
            (
                !self.license_requested || kids + headers > 0,
                "a request for licenses names no key id and no header",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, fault)) => Err(DecodeError::Invalid(fault)),
            None => Ok(()),
        }
    }
}

cbor_map! {
    /// The client program.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ClientInfo = "client info" {
        /// Program name.
        [1] name: String,
        /// Program version.
        [2] version: String,
        /// Operating system and processor.
        [3] platform: String,
    }
}

impl ClientInfo {
    /// Whether each text is at most [`MAX_CLIENT_TEXT`] bytes long.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        [&self.name, &self.version, &self.platform]
            .iter()
            .all(|text| text.len() <= MAX_CLIENT_TEXT)
    }
}

cbor_map! {
    /// What the client understands. Numbers that a server does not know are of no use to it and skipped.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Capabilities = "capabilities" {
        /// Key types it can use, see [`KeyType`](crate::license::KeyType).
        [1] key_types: Vec<u64>,
        /// Terms it enforces: keys of the license body.
        [2] terms: Vec<u64>,
        /// Algorithms of key exchange that it has.
        [3?] exchange_algorithms: Vec<CoseAlgorithm>,
        /// HPKE suites it can open.
        [4] suites: Vec<u64>,
        /// How good its clock is.
        [5] clock: ClockKind,
        /// Explicit restrictions it enforces, by GUID.
        [6?] explicit_restrictions: Vec<Guid>,
        /// Extended restrictions it understands, by kind.
        [7?] extended_restrictions: Vec<u64>,
        /// Source ids whose rules it follows.
        [8?] source_ids: Vec<u64>,
        /// Watermark technologies that it embeds, by GUID.
        [9?] watermarks: Vec<Guid>,
        /// It can use a license for key exchange that holds several keys, or several versions of one.
        [10?] exchange_multiple: Flag,
        /// V-014: it takes licenses that go along with those that it asked for: a leaf's root, other leaves.
        [11?] more_licenses: Flag,
        /// It acknowledges what it was given, where the response asks for that (V-065).
        [12?] acknowledges: Flag,
    }
}

/// What a client that announced its capabilities cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnnounced {
    /// A key of another type.
    #[error("the client cannot use a key of this type")]
    KeyType(u64),
    /// V-029: a term, by its key.
    #[error("the client does not enforce a term of the license")]
    Term(u64),
    /// V-029: an explicit restriction.
    #[error("the client does not enforce an explicit restriction of the license")]
    ExplicitRestriction(Guid),
    /// V-033: an algorithm of key exchange.
    #[error("the client does not have algorithm {0} of key exchange")]
    ExchangeAlgorithm(CoseAlgorithm),
    /// V-033: more than one exchange key.
    #[error("the client cannot use a license that holds several exchange keys")]
    SeveralKeys,
}

impl Capabilities {
    /// What can be used, enforced and opened, and no explicit restriction, extended restriction, source,
    /// watermark or algorithm of key exchange.
    #[must_use]
    pub const fn new(key_types: Vec<u64>, terms: Vec<u64>, suites: Vec<u64>, clock: ClockKind) -> Self {
        Self {
            key_types,
            terms,
            exchange_algorithms: None,
            suites,
            clock,
            explicit_restrictions: None,
            extended_restrictions: None,
            source_ids: None,
            watermarks: None,
            exchange_multiple: None,
            more_licenses: None,
            acknowledges: None,
        }
    }

    /// V-029, V-033: whether everything in the license is something that the client announced. What it understands
    /// of extended restrictions, sources and watermarks is the usage rules' to judge.
    ///
    /// # Errors
    /// [`NotAnnounced`], the first thing that is not.
    pub fn cover(&self, license: &LicenseBody) -> Result<(), NotAnnounced> {
        let mut key_types = license.keys.iter().map(|key| key.key_type.number());
        if let Some(other) = key_types.find(|key_type| !self.key_types.contains(key_type)) {
            return Err(NotAnnounced::KeyType(other));
        }
        self.cover_exchange(license)?;
        if let Some(other) = license.terms().find(|term| !self.terms.contains(term)) {
            return Err(NotAnnounced::Term(other));
        }
        let announced = self.explicit_restrictions.as_deref().unwrap_or_default();
        let mut restrictions = license.explicit_restrictions().iter();
        match restrictions.find(|one| !announced.contains(&one.guid())) {
            Some(other) => Err(NotAnnounced::ExplicitRestriction(other.guid())),
            None => Ok(()),
        }
    }

    /// V-033
    fn cover_exchange(&self, license: &LicenseBody) -> Result<(), NotAnnounced> {
        if license.kind != LicenseKind::KeyExchange {
            return Ok(());
        }
        let announced = self.exchange_algorithms.as_deref().unwrap_or_default();
        let mut algorithms = license.keys.iter().filter_map(|key| key.algorithm);
        if let Some(other) = algorithms.find(|algorithm| !announced.contains(algorithm)) {
            return Err(NotAnnounced::ExchangeAlgorithm(other));
        }
        match license.keys.len() > 1 && self.exchange_multiple.is_none() {
            true => Err(NotAnnounced::SeveralKeys),
            false => Ok(()),
        }
    }
}

cbor_enum! {
    /// How good a clock is.
    pub enum ClockKind = "clock kind" {
        /// There is none: time-limited licenses are of no use.
        None = 0,
        /// Any source, with a floor below which it never reads.
        AntiRollback = 1,
        /// Set only by a secure service.
        Secure = 2,
    }
}

cbor_enum! {
    /// Whether the clock may be used.
    pub enum ClockState = "clock state" {
        /// It reads a usable time.
        Set = 1,
        /// It was never set, or reads an impossible time.
        NotSet = 2,
        /// It reads a time before one already seen.
        RolledBack = 3,
    }
}

cbor_map! {
    /// The client's idea of time.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ClientClock = "client clock" {
        /// Time as the client reads it.
        [1?] now: Timestamp,
        /// The last time a server told it.
        [2?] last_trusted: Timestamp,
        /// Whether the clock may be used.
        [3] state: ClockState,
    }
}

cbor_map! {
    /// State of the client's license store: the server refuses a generation that falls within an epoch.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoreState = "store state" {
        /// Names the store between two crypto-erasures.
        [1] epoch: EpochId,
        /// Counts its commits.
        [2] generation: u64,
    }
}

cbor_map! {
    /// A domain that the device is a member of.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Membership = "membership" {
        /// Domain id.
        [1] domain: DomainId,
        /// Newest revision whose key the device holds.
        [2] revision: u64,
    }
}

#[cfg(test)]
mod tests {
    use keyward_crypto::exchange::{Algorithm, Operation};

    use super::*;
    use crate::{
        ids::{DeviceId, LicenseId},
        license::{Binding, ExplicitRestriction, KeyDescription, KeyType},
    };

    fn license() -> LicenseBody {
        let key = KeyDescription::content(Kid::new([2; 16]), KeyType::File);
        let binding = Binding::device(&DeviceId::new([3; 32]));
        let id = LicenseId::new([1; 16]);
        LicenseBody {
            end: Some(Timestamp(9)),
            explicit_restrictions: Some(vec![ExplicitRestriction::InternalScreenOnly]),
            ..LicenseBody::new(id, LicenseKind::Simple, key, binding, Timestamp(0))
        }
    }

    #[test]
    fn v_029_a_license_holds_only_what_was_announced() {
        let full = || Capabilities {
            explicit_restrictions: Some(vec![ExplicitRestriction::INTERNAL_SCREEN_ONLY]),
            ..Capabilities::new(vec![3], vec![11, 18], vec![1], ClockKind::Secure)
        };
        let guid = ExplicitRestriction::INTERNAL_SCREEN_ONLY;
        type Edit = fn(&mut Capabilities);
        let cases: [(Edit, Result<(), NotAnnounced>); 6] = [
            (|_| (), Ok(())),
            (|all| all.key_types = vec![1, 2], Err(NotAnnounced::KeyType(3))),
            (|all| all.terms = vec![10, 18], Err(NotAnnounced::Term(11))),
            (|all| all.terms = vec![11], Err(NotAnnounced::Term(18))),
            (
                |all| all.explicit_restrictions = None,
                Err(NotAnnounced::ExplicitRestriction(guid)),
            ),
            (
                |all| all.explicit_restrictions = Some(vec![ExplicitRestriction::SCMS]),
                Err(NotAnnounced::ExplicitRestriction(guid)),
            ),
        ];
        for (edit, expected) in cases {
            let mut capabilities = full();
            edit(&mut capabilities);
            assert_eq!(capabilities.cover(&license()), expected, "{capabilities:?}");
        }
    }

    #[test]
    fn v_033_algorithms_and_several_keys_are_announced() {
        let key = |algorithm, version| {
            KeyDescription::exchange(Kid::new([2; 16]), algorithm, Operation::Encrypt, version)
        };
        let license = |keys| LicenseBody {
            kind: LicenseKind::KeyExchange,
            keys,
            ..LicenseBody::new(
                LicenseId::new([1; 16]),
                LicenseKind::KeyExchange,
                key(Algorithm::A256Gcm, 1),
                Binding::device(&DeviceId::new([3; 32])),
                Timestamp(0),
            )
        };
        let announced = |algorithms: &[i64], multiple: bool| Capabilities {
            exchange_algorithms: Some(algorithms.iter().copied().map(CoseAlgorithm).collect()),
            exchange_multiple: multiple.then_some(Flag),
            ..Capabilities::new(vec![5], vec![], vec![1], ClockKind::Secure)
        };
        let one = license(vec![key(Algorithm::A256Gcm, 1)]);
        let two = license(vec![key(Algorithm::A256Gcm, 2), key(Algorithm::A256Gcm, 1)]);
        let missing = |number| Err(NotAnnounced::ExchangeAlgorithm(CoseAlgorithm(number)));
        assert_eq!(announced(&[1, 3], false).cover(&one), Ok(()));
        assert_eq!(announced(&[1, -3], true).cover(&one), missing(3));
        assert_eq!(announced(&[3], false).cover(&two), Err(NotAnnounced::SeveralKeys));
        assert_eq!(announced(&[3], true).cover(&two), Ok(()));
        let none = Capabilities::new(vec![5], vec![], vec![1], ClockKind::Secure);
        assert_eq!(none.cover(&one), missing(3));
        let no_type = Capabilities {
            key_types: vec![1, 2, 3],
            ..announced(&[3], true)
        };
        assert_eq!(no_type.cover(&one), Err(NotAnnounced::KeyType(5)));
    }
}
