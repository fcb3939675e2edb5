//! Every map of the protocol with every entry, and the decoder that reads it.

mod licenses;

use keyward_crypto::{ContentKey, Secret};
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, AcknowledgedLicense, LicenseOutcome, Receipt},
    certificate::{Claims, SealingKey},
    codec::{Bytes, DecodeError, Wire},
    discovery::Discovery,
    enrolment::{EnrolmentRequest, EnrolmentResponse, EnrolmentRole, SealedShare},
    envelope::{SealedRequest, SealedResponse},
    ids::{Digest, DomainId, Kid, LicenseId, Nonce, TransactionId},
    license::{ExplicitRestriction, Flag, KeyType, LicenseKeys, SealedKey},
    operator_profile::OperatorProfile,
    packaging::{PackagedTrack, PackagingKeys, PackagingRequest, PackagingResponse, WantedTrack},
    request::{Capabilities, ClientClock, ClientInfo, Membership, StoreState},
    response::{Denial, LicenseResponse},
    revocation::{
        DeviceRevocationList, ListHeld, ListId, RevocationList, RevocationListsFile, RevokedDevices,
    },
    time::Timestamp,
};

use super::Map;
pub(super) use licenses::*;

pub(super) fn read<T: Wire>(bytes: &[u8]) -> Result<(), DecodeError> {
    T::decode(bytes).map(drop)
}

/// Decodes and takes the version check that [`keyward_license::signed`] takes after the signature.
macro_rules! read_versioned {
    ($type:ty) => {
        |bytes| {
            let message = <$type>::decode(bytes)?;
            if message.version == 1 {
                Ok(())
            } else {
                Err(DecodeError::Invalid("version"))
            }
        }
    };
}

fn read_enrolment_request(bytes: &[u8]) -> Result<(), DecodeError> {
    EnrolmentRequest::decode(bytes)?.checked_sealing_keys().map(drop)
}

pub(super) fn client_info() -> ClientInfo {
    ClientInfo {
        name: "keyward".into(),
        version: "1".into(),
        platform: "test".into(),
    }
}

fn sealing_key() -> SealingKey {
    SealingKey {
        suite: 1,
        public_key: Bytes(vec![4; 65]),
    }
}

fn sealed_share() -> SealedShare {
    SealedShare {
        suite: 1,
        encapsulated: Bytes(vec![4; 65]),
        ciphertext: Bytes(vec![1; 48]),
    }
}

fn enrolment_request() -> EnrolmentRequest {
    EnrolmentRequest {
        version: 1,
        recipient: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        response_key: Secret::new([3; 32]),
        public_key: Bytes(vec![1]),
        sealing_keys: vec![sealing_key()],
        token: "token".into(),
        client: client_info(),
        role: EnrolmentRole::Packager,
    }
}

fn enrolment_response() -> EnrolmentResponse {
    EnrolmentResponse {
        version: 1,
        request: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        shares: vec![sealed_share()],
        chain: Bytes(vec![1]),
        server_time: Timestamp(1),
    }
}

fn discovery() -> Discovery {
    Discovery {
        version: 1,
        operator: Digest::new([1; 32]),
        request_encryption: vec![Bytes(vec![1])],
        license_path: "/a".into(),
        enrolment_path: "/b".into(),
        issued: Timestamp(1),
        expires: Timestamp(2),
        packaging_path: Some("/c".into()),
        acknowledgement_path: Some("/d".into()),
    }
}

fn list_held() -> ListHeld {
    ListHeld {
        list: ListId::DEVICES,
        number: 2.into(),
    }
}

fn certificate_list() -> RevocationList {
    RevocationList::Certificates {
        list: Bytes(vec![1]),
        path: vec![Bytes(vec![2])],
    }
}

fn device_list() -> RevocationList {
    RevocationList::Devices(Bytes(vec![1]))
}

fn revoked_devices() -> RevokedDevices {
    RevokedDevices {
        maker: "maker".into(),
        model: Some("model".into()),
        robustness_below: Some(3),
        since: Timestamp(1),
        reason: Some("keys in the open".into()),
    }
}

pub(super) fn device_revocation_list() -> DeviceRevocationList {
    DeviceRevocationList {
        version: 1,
        operator: Digest::new([1; 32]),
        number: 1,
        issued: Timestamp(1),
        next_update: Timestamp(2),
        revoked: Some(vec![revoked_devices()]),
        allowed: Some(vec![Digest::new([2; 32])]),
    }
}

pub(super) fn read_device_revocation_list(bytes: &[u8]) -> Result<(), DecodeError> {
    let list = DeviceRevocationList::decode(bytes)?;
    if list.version != 1 {
        return Err(DecodeError::Invalid("version"));
    }
    list.check_bounds()
}

/// An entry is judged as a part of its list.
fn read_revoked_devices(bytes: &[u8]) -> Result<(), DecodeError> {
    let revoked = RevokedDevices::decode(bytes)?;
    DeviceRevocationList {
        revoked: Some(vec![revoked]),
        ..device_revocation_list()
    }
    .check_bounds()
}

fn held_license() -> AcknowledgedLicense {
    AcknowledgedLicense {
        kid: Kid::new([1; 16]),
        license: Some(LicenseId::new([2; 16])),
        outcome: LicenseOutcome::Stored,
        reason: None,
    }
}

fn refused_license() -> AcknowledgedLicense {
    AcknowledgedLicense {
        kid: Kid::new([3; 16]),
        outcome: LicenseOutcome::Refused,
        reason: Some("V-023: the key does not open".into()),
        ..held_license()
    }
}

pub(super) fn acknowledge_request() -> AcknowledgeRequest {
    AcknowledgeRequest {
        version: 1,
        recipient: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        response_key: Secret::new([3; 32]),
        transaction: TransactionId::new([4; 16]),
        licenses: vec![held_license(), refused_license()],
    }
}

pub(super) fn read_acknowledge_request(bytes: &[u8]) -> Result<(), DecodeError> {
    let request = AcknowledgeRequest::decode(bytes)?;
    if request.version != 1 {
        return Err(DecodeError::Invalid("version"));
    }
    request.check_bounds()
}

fn receipt() -> Receipt {
    Receipt {
        version: 1,
        request: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        transaction: TransactionId::new([4; 16]),
        server_time: Timestamp(1),
    }
}

fn wanted_track() -> WantedTrack {
    WantedTrack {
        label: "video".into(),
        key_type: KeyType::CencCtr,
    }
}

fn packaged_track() -> PackagedTrack {
    PackagedTrack {
        label: "video".into(),
        kid: Kid::new([1; 16]),
        key_type: KeyType::File,
        period: Some(7),
    }
}

pub(super) fn packaging_request() -> PackagingRequest {
    PackagingRequest {
        version: 1,
        recipient: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        response_key: Secret::new([3; 32]),
        content_id: "film".into(),
        tracks: vec![wanted_track()],
        content_header: true,
        crypto_periods: Some(1),
        client: client_info(),
        first_period: Some(7),
        leaves: Some(Flag),
    }
}

fn packaging_response() -> PackagingResponse {
    PackagingResponse {
        version: 1,
        request: Digest::new([1; 32]),
        nonce: Nonce::new([2; 16]),
        tracks: vec![packaged_track()],
        content_header: Some(Bytes(vec![1])),
        license_url: "https://license.example".into(),
        server_time: Timestamp(1),
        roots: Some(vec![Kid::new([8; 16])]),
    }
}

pub(super) fn read_packaging_request(bytes: &[u8]) -> Result<(), DecodeError> {
    let request = PackagingRequest::decode(bytes)?;
    if request.version != 1 {
        return Err(DecodeError::Invalid("version"));
    }
    request.check_bounds()
}

fn claims() -> Claims {
    Claims {
        security_level: Some(2000),
        maker: Some("maker".into()),
        model: Some("model".into()),
        robustness_version: Some(1),
        sealing_keys: Some(vec![sealing_key()]),
    }
}

fn profile() -> OperatorProfile {
    OperatorProfile {
        version: 1,
        name: "operator".into(),
        root: Bytes(vec![1]),
        license_servers: vec!["https://license.example".into()],
        minimum_suite: 1,
    }
}

/// Every map of the protocol, with every entry.
pub(super) fn maps() -> Vec<Map> {
    let sealed_request = SealedRequest {
        version: 1,
        suite: 1,
        recipient: Digest::new([1; 32]),
        encapsulated: Bytes(vec![4; 65]),
        ciphertext: Bytes(vec![1; 17]),
    };
    let sealed_response = SealedResponse {
        version: 1,
        ciphertext: Bytes(vec![1; 29]),
    };
    let sealed_key = SealedKey {
        suite: 1,
        encapsulated: Bytes(vec![4; 65]),
        ciphertext: Bytes(vec![1]),
    };
    let license_keys = LicenseKeys {
        keys: vec![Bytes(vec![1; 16])],
        proof_key: Secret::new([2; 32]),
    };
    let denial = Denial {
        code: 301,
        sentence: "no".into(),
        url: Some("https://shop.example".into()),
    };
    let map = |rule, full, read| Map { rule, full, read };
    vec![
        map(
            "sealed-request",
            sealed_request.encode(),
            read_versioned!(SealedRequest),
        ),
        map(
            "sealed-response",
            sealed_response.encode(),
            read_versioned!(SealedResponse),
        ),
        map("license", full_license().encode(), read_license),
        map("license", embedded_license().encode(), read_license),
        map("license", root_license().encode(), read_license),
        map("license", leaf_license().encode(), read_license),
        map("license", exchange_license().encode(), read_license),
        map(
            "key-description",
            key_description().encode(),
            read_key_description,
        ),
        map("binding", full_binding().encode(), read_binding),
        map("output-protection-levels", full_levels().encode(), read_levels),
        map(
            "explicit-restriction",
            explicit_restriction().encode(),
            read::<ExplicitRestriction>,
        ),
        map(
            "extended-restriction",
            extended_restriction().encode(),
            read_extended_restriction,
        ),
        map("extended-right", extended_right().encode(), read_extended_right),
        map("sealed-key", sealed_key.encode(), read::<SealedKey>),
        map("license-keys", license_keys.encode(), read::<LicenseKeys>),
        map("license-request", full_request().encode(), read_request),
        map("client-info", client_info().encode(), read::<ClientInfo>),
        map("capabilities", full_capabilities().encode(), read::<Capabilities>),
        map("client-clock", full_clock().encode(), read::<ClientClock>),
        map("store-state", full_request().store.encode(), read::<StoreState>),
        map("revocation-list-held", list_held().encode(), read::<ListHeld>),
        map(
            "membership",
            Membership {
                domain: DomainId::new([5; 16]),
                revision: 1,
            }
            .encode(),
            read::<Membership>,
        ),
        map(
            "license-response",
            full_response().encode(),
            read_versioned!(LicenseResponse),
        ),
        map("result", full_response().results[0].encode(), read_result),
        map("denial", denial.encode(), read::<Denial>),
        map(
            "enrolment-request",
            enrolment_request().encode(),
            read_enrolment_request,
        ),
        map(
            "enrolment-response",
            enrolment_response().encode(),
            read_versioned!(EnrolmentResponse),
        ),
        map("sealed-share", sealed_share().encode(), read::<SealedShare>),
        map(
            "discovery-document",
            discovery().encode(),
            read_versioned!(Discovery),
        ),
        map(
            "packaging-request",
            packaging_request().encode(),
            read_packaging_request,
        ),
        map("wanted-track", wanted_track().encode(), |bytes| {
            WantedTrack::decode(bytes)?.check()
        }),
        map(
            "packaging-response",
            packaging_response().encode(),
            read_versioned!(PackagingResponse),
        ),
        map("packaged-track", packaged_track().encode(), |bytes| {
            PackagedTrack::decode(bytes)?.check()
        }),
        map(
            "packaging-keys",
            PackagingKeys {
                keys: vec![ContentKey::new([1; 16])],
            }
            .encode(),
            read::<PackagingKeys>,
        ),
        map(
            "revocation-list",
            certificate_list().encode(),
            read::<RevocationList>,
        ),
        map("revocation-list", device_list().encode(), read::<RevocationList>),
        map(
            "device-revocation-list",
            device_revocation_list().encode(),
            read_device_revocation_list,
        ),
        map(
            "revoked-devices",
            revoked_devices().encode(),
            read_revoked_devices,
        ),
        map(
            "revocation-lists",
            RevocationListsFile {
                version: 1,
                operator: Digest::new([1; 32]),
                lists: vec![certificate_list(), device_list()],
            }
            .encode(),
            |bytes| RevocationListsFile::parse(bytes).map(drop),
        ),
        map(
            "acknowledge-request",
            acknowledge_request().encode(),
            read_acknowledge_request,
        ),
        map("acknowledged-license", held_license().encode(), |bytes| {
            AcknowledgedLicense::decode(bytes)?.check()
        }),
        map("acknowledged-license", refused_license().encode(), |bytes| {
            AcknowledgedLicense::decode(bytes)?.check()
        }),
        map("receipt", receipt().encode(), read_versioned!(Receipt)),
        map("certificate-claims", claims().encode(), read::<Claims>),
        map("sealing-key", sealing_key().encode(), read::<SealingKey>),
        map(
            "operator-profile",
            profile().encode(),
            read_versioned!(OperatorProfile),
        ),
    ]
}
