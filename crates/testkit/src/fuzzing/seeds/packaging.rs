//! Packaging data.

use keyward_license::{
    codec::Wire,
    ids::{Digest, Kid},
    license::KeyType,
    packaging::{PackagingRequest, PackagingResponse, PreparedPackaging},
    signed,
    time::Timestamp,
};

use super::{Seeds, part};
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
        let edits: [(&str, Edit); 8] = [
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
                request.tracks.first_mut().unwrap().key_type = KeyType::File
            }),
            ("two-periods", |request| request.crypto_periods = Some(2)),
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
        let message = WORLD.sign::<PackagingResponse>(&right.body, &[&right.sealed]);
        self.valid(target, "message", [&[0], &message[..]].concat());
        self.valid(target, "parts", [&[BODY], &parts(&right)[..]].concat());
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
            self.invalid(target, name, [&[BODY], &parts(&other)[..]].concat());
        }
    }
}

/// Two bytes of length and the body, then the sealed part.
fn parts(prepared: &PreparedPackaging) -> Vec<u8> {
    [&part(&prepared.body)[..], &prepared.sealed].concat()
}
