//! Packaging data.

use keyward_license::{
    codec::{Bytes, Wire},
    ids::{Digest, Kid},
    license::KeyType,
    packaging::{PackagingRequest, PackagingResponse, PreparedPackaging},
    signed,
    time::Timestamp,
};

use super::{Seeds, licenses::signed_license, part};
use crate::fuzzing::{
    messages::BODY,
    world::{WORLD, packaging},
};

impl Seeds {
    pub(super) fn packagings(&mut self) {
        self.packaging_requests();
        self.packaging_responses();
    }

    fn packaging_requests(&mut self) {
        let target = "packaging_request";
        let body = packaging::request().encode();
        let packager = &WORLD.packager.identity;
        let message = signed::sign::<PackagingRequest>(&body, &[], &packager.chain, &packager.key).unwrap();
        self.valid(target, "body", [&[BODY], &body[..]].concat());
        self.valid(target, "message", [&[0], &message[..]].concat());
        type Edit = fn(&mut PackagingRequest);
        let edits: [(&str, Edit); 15] = [
            ("no-tracks", |request| request.tracks.clear()),
            ("label-twice", |request| {
                let first = request.tracks.first().unwrap().clone();
                request.tracks.push(first);
            }),
            ("label-too-long", |request| {
                request.tracks.first_mut().unwrap().label = "l".repeat(65)
            }),
            ("no-content-id", |request| request.content_id.clear()),
            ("root-key", |request| {
                request.tracks.first_mut().unwrap().key_type = KeyType::Root
            }),
            ("mixed-header", |request| {
                request.tracks.first_mut().unwrap().key_type = KeyType::File;
                (request.crypto_periods, request.first_period) = (None, None);
                request.content_header = true;
            }),
            ("header-of-periods", |request| request.content_header = true),
            ("periods-from-nowhere", |request| request.first_period = None),
            ("first-of-no-periods", |request| request.crypto_periods = None),
            ("no-periods", |request| request.crypto_periods = Some(0)),
            ("too-many-periods", |request| request.crypto_periods = Some(129)),
            ("endless-periods", |request| {
                request.crypto_periods = Some(u64::MAX)
            }),
            ("period-too-far", |request| request.first_period = Some(1 << 48)),
            ("period-at-the-end", |request| {
                request.first_period = Some(u64::MAX)
            }),
            ("version-2", |request| request.version = 2),
        ];
        for (name, edit) in edits {
            let mut request = packaging::request();
            edit(&mut request);
            self.invalid(target, name, [&[BODY], &request.encode()[..]].concat());
        }
    }

    fn packaging_responses(&mut self) {
        let target = "packaging_response";
        let right = packaging::prepared(packaging::response().encode());
        let leaves = [Bytes(WORLD.leaf())];
        let array = leaves.to_vec().encode();
        let message = WORLD.sign::<PackagingResponse>(&right.body, &[&right.sealed, &array]);
        self.valid(target, "message", [&[0], &message[..]].concat());
        self.valid(target, "parts", [&[BODY], &parts(&right, &leaves)[..]].concat());
        self.accepted(target, "no-leaves", [&[BODY], &parts(&right, &[])[..]].concat());
        for (name, leaves) in [
            ("leaf-twice", vec![WORLD.leaf(), WORLD.leaf()]),
            ("leaf-is-simple", vec![simple_license()]),
            ("leaf-is-none", vec![b"none".to_vec()]),
            ("many-leaves", vec![Vec::new(); 1025]),
        ] {
            let leaves: Vec<Bytes> = leaves.into_iter().map(Bytes).collect();
            self.invalid(target, name, [&[BODY], &parts(&right, &leaves)[..]].concat());
        }
        type Edit = fn(&mut PackagingResponse);
        let edits: [(&str, Edit); 5] = [
            ("other-request", |response| {
                response.request = Digest::new([1; 32])
            }),
            ("other-kid", |response| {
                response.tracks.first_mut().unwrap().kid = Kid::new([9; 16])
            }),
            ("tracks-swapped", |response| response.tracks.reverse()),
            ("other-url", |response| {
                response.license_url = "https://evil.example".into()
            }),
            ("end-of-time", |response| {
                response.server_time = Timestamp(u64::MAX)
            }),
        ];
        for (name, edit) in edits {
            let mut response = packaging::response();
            edit(&mut response);
            let other = PreparedPackaging {
                body: response.encode(),
                sealed: right.sealed.clone(),
            };
            self.invalid(target, name, [&[BODY], &parts(&other, &leaves)[..]].concat());
        }
    }
}

/// A license that is no leaf.
fn simple_license() -> Vec<u8> {
    signed_license(&WORLD.prepared(WORLD.license_body().encode()))
}

/// Body and sealed part, each behind two bytes of length, then the leaf licenses.
fn parts(prepared: &PreparedPackaging, leaves: &[Bytes]) -> Vec<u8> {
    let leaves = leaves.to_vec().encode();
    [part(&prepared.body), part(&prepared.sealed), leaves].concat()
}
