//! Revocation lists and acknowledgements.

use keyward_license::{
    acknowledgement::{AcknowledgeRequest, LicenseOutcome, Receipt},
    codec::{Bytes, Wire},
    ids::{Digest, TransactionId},
    revocation::{DeviceRevocationList, RevocationList, RevocationListsFile},
    signed,
};

use super::{Seeds, flipped};
use crate::{
    fuzzing::{
        messages::BODY,
        trust::{TRUST, acknowledgement, device_list, right_receipt, seal_receipt},
        world::WORLD,
    },
    pki::NOW,
};

impl Seeds {
    pub(super) fn trust(&mut self) {
        self.device_lists();
        self.list_files();
        self.acknowledgements();
        self.receipts();
    }

    fn device_lists(&mut self) {
        const TARGET: &str = "device_revocation_list";
        let right = device_list();
        self.valid(TARGET, "body", [&[BODY], &right.encode()[..]].concat());
        self.valid(
            TARGET,
            "message",
            [&[0], &TRUST.sign(&right.encode())[..]].concat(),
        );
        type Edit = fn(&mut DeviceRevocationList);
        let edits: [(&str, bool, Edit); 12] = [
            ("nothing", true, |list| list.revoked = None),
            ("allowed", true, |list| {
                list.allowed = Some(vec![WORLD.device.identity.digest()]);
            }),
            ("over", true, |list| list.next_update = NOW.minus(1)),
            ("end-of-time", true, |list| list.next_update.0 = u64::MAX),
            ("number-0", false, |list| list.number = 0),
            ("other-operator", false, |list| {
                list.operator = Digest::new([9; 32])
            }),
            ("from-the-future", false, |list| {
                (list.issued, list.next_update) = (NOW.plus(301), NOW.plus(302));
            }),
            ("next-update-first", false, |list| list.next_update = list.issued),
            ("empty", false, |list| list.revoked = Some(vec![])),
            ("nobody-allowed", false, |list| list.allowed = Some(vec![])),
            ("no-maker", false, |list| {
                list.revoked
                    .iter_mut()
                    .flatten()
                    .for_each(|entry| entry.maker.clear());
            }),
            ("version-2", false, |list| list.version = 2),
        ];
        for (name, is_valid, edit) in edits {
            let mut list = right.clone();
            edit(&mut list);
            let bytes = [&[BODY], &list.encode()[..]].concat();
            match is_valid {
                true => self.accepted(TARGET, name, bytes),
                false => self.invalid(TARGET, name, bytes),
            }
        }
        let server = &WORLD.license_server;
        let by_server =
            signed::sign::<DeviceRevocationList>(&right.encode(), &[], &server.chain, &server.key).unwrap();
        self.invalid(TARGET, "by-a-license-server", [&[0], &by_server[..]].concat());
    }

    fn list_files(&mut self) {
        const TARGET: &str = "revocation_lists";
        let right = TRUST.file();
        self.valid(TARGET, "all", right.encode());
        type Edit = fn(&mut RevocationListsFile);
        let edits: [(&str, bool, Edit); 8] = [
            ("root-alone", true, |file| file.lists.truncate(1)),
            ("other-order", true, |file| file.lists.reverse()),
            ("twice", true, |file| file.lists.extend_from_within(..)),
            ("version-2", false, |file| file.version = 2),
            ("other-operator", false, |file| {
                file.operator = Digest::new([9; 32])
            }),
            ("empty", false, |file| file.lists.clear()),
            ("no-list", false, |file| {
                file.lists.push(RevocationList::Devices(Bytes(vec![0xf6])));
            }),
            ("without-path", false, |file| {
                for list in &mut file.lists {
                    if let RevocationList::Certificates { path, .. } = list {
                        path.clear();
                    }
                }
            }),
        ];
        for (name, is_valid, edit) in edits {
            let mut file = right.clone();
            edit(&mut file);
            match is_valid {
                true => self.accepted(TARGET, name, file.encode()),
                false => self.invalid(TARGET, name, file.encode()),
            }
        }
        let altered = flipped(&right.encode(), right.encode().len() - 1);
        self.invalid(TARGET, "altered", altered);
    }

    fn acknowledgements(&mut self) {
        const TARGET: &str = "acknowledge_request";
        let right = acknowledgement().encode();
        let device = &WORLD.device.identity;
        let message = signed::sign::<AcknowledgeRequest>(&right, &[], &device.chain, &device.key).unwrap();
        self.valid(TARGET, "body", [&[BODY], &right[..]].concat());
        self.valid(TARGET, "message", [&[0], &message[..]].concat());
        type Edit = fn(&mut AcknowledgeRequest);
        let edits: [(&str, bool, Edit); 5] = [
            ("refused", true, |request| {
                for one in &mut request.licenses {
                    (one.outcome, one.license) = (LicenseOutcome::Refused, None);
                    one.reason = Some("V-023: the key does not open".into());
                }
            }),
            ("nothing", false, |request| request.licenses.clear()),
            ("twice", false, |request| request.licenses.extend_from_within(..)),
            ("without-id", false, |request| {
                request.licenses.iter_mut().for_each(|one| one.license = None);
            }),
            ("long-reason", false, |request| {
                for one in &mut request.licenses {
                    one.outcome = LicenseOutcome::Refused;
                    one.reason = Some("w".repeat(256));
                }
            }),
        ];
        for (name, is_valid, edit) in edits {
            let mut request = acknowledgement();
            edit(&mut request);
            let bytes = [&[BODY], &request.encode()[..]].concat();
            match is_valid {
                true => self.accepted(TARGET, name, bytes),
                false => self.invalid(TARGET, name, bytes),
            }
        }
    }

    fn receipts(&mut self) {
        const TARGET: &str = "receipt";
        let right = right_receipt();
        let sealed = seal_receipt(&right.encode());
        self.valid(TARGET, "body", [&[BODY], &right.encode()[..]].concat());
        self.valid(TARGET, "sealed", [&[0], &sealed[..]].concat());
        self.invalid(TARGET, "altered", [&[0], &flipped(&sealed, 40)[..]].concat());
        type Edit = fn(&mut Receipt);
        let edits: [(&str, Edit); 3] = [
            ("other-request", |receipt| receipt.request = Digest::new([9; 32])),
            ("other-transaction", |receipt| {
                receipt.transaction = TransactionId::new([9; 16]);
            }),
            ("version-2", |receipt| receipt.version = 2),
        ];
        for (name, edit) in edits {
            let mut receipt = right.clone();
            edit(&mut receipt);
            self.invalid(TARGET, name, [&[BODY], &receipt.encode()[..]].concat());
        }
    }
}
