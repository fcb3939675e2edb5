//! Licenses, and the messages that they are asked for and come in.

use keyward_crypto::Secret;
use keyward_license::{
    codec::{Bytes, DecodeError, Wire},
    ids::{Digest, DomainId, EpochId, Kid, LicenseId, Nonce, TransactionId},
    license::{
        AgcAndColourStripe, Binding, BindingKind, CoseAlgorithm, ExplicitRestriction, ExtendedRestriction,
        ExtendedRight, Flag, Guid, KeyDescription, KeyType, LicenseBody, LicenseKind, OutputProtectionLevels,
        PlayEnabler, Right,
    },
    request::{Capabilities, ClientClock, ClockKind, ClockState, LicenseRequest, Membership, StoreState},
    response::{KeyResult, LicenseResponse},
    time::Timestamp,
};
use keyward_testkit::vectors::examples;

use super::{certificate_list, client_info, device_list, list_held};

/// A key or binding is judged as a part of its license.
pub(in super::super) fn read_key_description(bytes: &[u8]) -> Result<(), DecodeError> {
    let key = KeyDescription::decode(bytes)?;
    LicenseBody::new(
        LicenseId::new([1; 16]),
        LicenseKind::KeyExchange,
        key,
        full_binding(),
        Timestamp(1),
    )
    .check()
}

pub(in super::super) fn read_binding(bytes: &[u8]) -> Result<(), DecodeError> {
    let binding = Binding::decode(bytes)?;
    LicenseBody {
        binding,
        ..full_license()
    }
    .check()
}

pub(in super::super) fn read_license(bytes: &[u8]) -> Result<(), DecodeError> {
    LicenseBody::decode(bytes)?.check()
}

pub(in super::super) fn read_request(bytes: &[u8]) -> Result<(), DecodeError> {
    let request = LicenseRequest::decode(bytes)?;
    if request.version != 1 {
        return Err(DecodeError::Invalid("version"));
    }
    request.check_bounds()
}

pub(in super::super) fn read_result(bytes: &[u8]) -> Result<(), DecodeError> {
    KeyResult::decode(bytes)?.outcome().map(drop)
}

pub(in super::super) fn signed_license() -> Vec<u8> {
    examples()
        .into_iter()
        .find(|(name, _)| *name == "signed-license")
        .unwrap()
        .1
}

/// The levels are judged as a part of their license.
pub(in super::super) fn read_levels(bytes: &[u8]) -> Result<(), DecodeError> {
    let levels = OutputProtectionLevels::decode(bytes)?;
    LicenseBody {
        output_protection_levels: Some(levels),
        ..full_license()
    }
    .check()
}

/// So are restrictions and rights.
pub(in super::super) fn read_extended_restriction(bytes: &[u8]) -> Result<(), DecodeError> {
    let restriction = ExtendedRestriction::decode(bytes)?;
    LicenseBody {
        extended_restrictions: Some(vec![restriction]),
        ..full_license()
    }
    .check()
}

pub(in super::super) fn read_extended_right(bytes: &[u8]) -> Result<(), DecodeError> {
    let right = ExtendedRight::decode(bytes)?;
    LicenseBody {
        extended_rights: Some(vec![right]),
        ..full_license()
    }
    .check()
}

pub(in super::super) fn key_description() -> KeyDescription {
    KeyDescription {
        kid: Kid::new([2; 16]),
        key_type: KeyType::Exchange,
        algorithm: Some(CoseAlgorithm(3)),
        operation: Some(3),
        version: Some(1),
        context: Some(Bytes(vec![9])),
        uses: Some(1),
    }
}

/// Every entry is there, so that every entry is tried; the nonce rule is another test's.
pub(in super::super) fn full_license() -> LicenseBody {
    LicenseBody {
        version: 1,
        id: LicenseId::new([1; 16]),
        kind: LicenseKind::Simple,
        keys: vec![KeyDescription::content(Kid::new([2; 16]), KeyType::CencCtr)],
        binding: full_binding(),
        issued: Timestamp(1),
        persistent: false,
        nonce: Some(Nonce::new([3; 16])),
        rights: vec![Right::Play],
        begin: Some(Timestamp(1)),
        end: Some(Timestamp(2)),
        minimum_security_level: Some(2000),
        expiration_after_first_play: Some(1),
        real_time_expiration: Some(Flag),
        removal_date: Some(Timestamp(3)),
        grace_period: Some(1),
        output_protection_levels: Some(full_levels()),
        explicit_restrictions: Some(vec![explicit_restriction()]),
        play_enablers: Some(vec![PlayEnabler::AIRPLAY]),
        embed: None,
        source_id: Some(267),
        extended_restrictions: Some(vec![extended_restriction()]),
        name: Some("name".into()),
        extended_rights: Some(vec![extended_right()]),
        ends_with_revocation: Some(Flag),
    }
}

/// A license that is written into its content.
pub(in super::super) fn embedded_license() -> LicenseBody {
    LicenseBody {
        persistent: true,
        nonce: None,
        embed: Some(Flag),
        ..full_license()
    }
}

/// A root license: every term that a simple license may have.
pub(in super::super) fn root_license() -> LicenseBody {
    LicenseBody {
        kind: LicenseKind::Root,
        keys: vec![KeyDescription::content(Kid::new([6; 16]), KeyType::Root)],
        ..full_license()
    }
}

/// A leaf license: all but the terms of time.
pub(in super::super) fn leaf_license() -> LicenseBody {
    LicenseBody {
        kind: LicenseKind::Leaf,
        binding: Binding::root(Kid::new([6; 16])),
        begin: None,
        end: None,
        expiration_after_first_play: None,
        real_time_expiration: None,
        removal_date: None,
        grace_period: None,
        ..embedded_license()
    }
}

/// The other kind of license, with every entry that it may have.
pub(in super::super) fn exchange_license() -> LicenseBody {
    LicenseBody {
        kind: LicenseKind::KeyExchange,
        keys: vec![key_description()],
        rights: vec![Right::Perform],
        expiration_after_first_play: None,
        real_time_expiration: None,
        output_protection_levels: None,
        explicit_restrictions: None,
        play_enablers: None,
        source_id: None,
        extended_rights: None,
        ..full_license()
    }
}

pub(in super::super) fn full_levels() -> OutputProtectionLevels {
    OutputProtectionLevels {
        compressed_digital_audio: Some(100),
        uncompressed_digital_audio: Some(250),
        compressed_digital_video: Some(400),
        uncompressed_digital_video: Some(300),
        analog_video: Some(150),
    }
}

pub(in super::super) fn explicit_restriction() -> ExplicitRestriction {
    ExplicitRestriction::AgcAndColourStripe(AgcAndColourStripe::FOUR_LINES)
}

pub(in super::super) fn extended_restriction() -> ExtendedRestriction {
    ExtendedRestriction {
        kind: 400,
        must_understand: true,
        best_effort: false,
        data: Bytes(vec![2]),
    }
}

pub(in super::super) fn extended_right() -> ExtendedRight {
    ExtendedRight {
        kind: 500,
        restrictions: Some(vec![extended_restriction()]),
    }
}

pub(in super::super) fn full_binding() -> Binding {
    Binding {
        kind: BindingKind::Domain,
        id: Bytes(vec![1; 16]),
        revision: Some(1),
    }
}

pub(in super::super) fn full_request() -> LicenseRequest {
    LicenseRequest {
        version: 1,
        recipient: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        response_key: Secret::new([3; 32]),
        content_headers: Some(vec![Bytes(vec![1])]),
        kids: Some(vec![Kid::new([4; 16])]),
        client: client_info(),
        capabilities: full_capabilities(),
        persistent: true,
        revocation_lists: Some(vec![list_held()]),
        memberships: Some(vec![Membership {
            domain: DomainId::new([5; 16]),
            revision: 1,
        }]),
        clock: full_clock(),
        store: StoreState {
            epoch: EpochId::new([6; 16]),
            generation: 1,
        },
        license_requested: false,
        authorization: Some("token".into()),
        custom_data: Some(Bytes(vec![1])),
    }
}

pub(in super::super) fn full_capabilities() -> Capabilities {
    Capabilities {
        key_types: vec![1],
        terms: vec![10],
        exchange_algorithms: Some(vec![CoseAlgorithm(3), CoseAlgorithm(-3)]),
        suites: vec![1],
        clock: ClockKind::Secure,
        explicit_restrictions: Some(vec![ExplicitRestriction::HDCP_TYPE]),
        extended_restrictions: Some(vec![400]),
        source_ids: Some(vec![267]),
        watermarks: Some(vec![Guid::new([7; 16])]),
        exchange_multiple: Some(Flag),
        more_licenses: Some(Flag),
        acknowledges: Some(Flag),
    }
}

pub(in super::super) fn full_clock() -> ClientClock {
    ClientClock {
        now: Some(Timestamp(1)),
        last_trusted: Some(Timestamp(1)),
        state: ClockState::Set,
    }
}

pub(in super::super) fn full_response() -> LicenseResponse {
    LicenseResponse {
        version: 1,
        request: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        results: vec![KeyResult {
            kid: Kid::new([1; 16]),
            license: Some(Bytes(signed_license())),
            denial: None,
        }],
        revocation_lists: Some(vec![certificate_list(), device_list()]),
        server_time: Timestamp(1),
        transaction: Some(TransactionId::new([3; 16])),
        custom_data: Some(Bytes(vec![1])),
        renew_at: Some(Timestamp(2)),
    }
}
