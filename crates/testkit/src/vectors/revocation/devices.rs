//! The device revocation list.

use keyward_license::{
    certificate::certificate_digest,
    codec::{Wire, grease},
    revocation::{DeviceRevocationList, RevokedDevices},
};

use super::{
    super::{
        World,
        build::{uint, with_entry},
        draws,
    },
    Cases, Signers,
};
use crate::pki::{DAY, NOW};

type EditBody = fn(&mut DeviceRevocationList, &World);

impl Cases<'_> {
    pub(super) fn device_lists(&mut self) {
        let edited: [(&str, &str, EditBody); 3] = [
            (
                "revocation-list-valid-devices",
                "makers, models and an allow list",
                |_, _| (),
            ),
            (
                "revocation-list-valid-devices-nothing",
                "a list that revokes nothing",
                |body, _| {
                    body.revoked = None;
                    body.allowed = None;
                },
            ),
            (
                "revocation-list-valid-devices-over",
                "a list whose next update has passed still tells what is revoked",
                |body, _| body.next_update = NOW.minus(1),
            ),
        ];
        for (name, proves, edit) in edited {
            let mut body = body(self.world);
            edit(&mut body, self.world);
            let list = self.sign(&body.encode(), &self.signers.lists, |_| ());
            self.accept((name, proves), &list, ("", "7"));
        }
        let greased = grease(
            &body(self.world).encode(),
            &mut draws("revocation-list-valid-greased"),
        )
        .unwrap();
        let list = with_entry(&self.sign(&greased, &self.signers.lists, |_| ()), 300, &uint(1));
        let name = (
            "revocation-list-valid-greased",
            "unknown optional keys inside and outside are skipped",
        );
        self.accept(name, &list, ("", "7"));
        let malformed = |fault: &str| format!("the message is malformed: {fault}");
        let refused: [(&str, &str, (&str, String), EditBody); 5] = [
            (
                "revocation-list-devices-of-another-operator",
                "a list that names another operator's root",
                (
                    "V-063",
                    "the device revocation list is of another operator".into(),
                ),
                |body, world| body.operator = world.other_operator.id(),
            ),
            (
                "revocation-list-devices-from-the-future",
                "issued more than five minutes after now",
                ("V-063", "the revocation list was issued later than now".into()),
                |body, _| body.issued = NOW.plus(301),
            ),
            (
                "revocation-list-devices-number-0",
                "numbers begin with 1",
                ("V-001", malformed("a device revocation list has a number from 1")),
                |body, _| body.number = 0,
            ),
            (
                "revocation-list-devices-revokes-empty",
                "a list that is there has something",
                (
                    "V-001",
                    malformed("a list that is there has something, and not too much"),
                ),
                |body, _| body.revoked = Some(vec![]),
            ),
            (
                "revocation-list-devices-version-2",
                "a body of another version",
                ("V-005", "protocol version 2 is not supported".into()),
                |body, _| body.version = 2,
            ),
        ];
        for (name, proves, (rule, error), edit) in refused {
            let mut body = body(self.world);
            edit(&mut body, self.world);
            let list = self.sign(&body.encode(), &self.signers.lists, |_| ());
            self.refuse((name, proves), &list, (rule, &error), &[]);
        }
        let unknown = with_entry(&body(self.world).encode(), 8, &uint(0));
        let list = self.sign(&unknown, &self.signers.lists, |_| ());
        let error =
            malformed("device revocation list holds critical key 8, which this version does not know");
        let name = (
            "revocation-list-devices-unknown-critical",
            "an unknown critical key in the body",
        );
        self.refuse(name, &list, ("V-001", &error), &[]);
    }

    pub(super) fn device_list_signers(&mut self) {
        let refused = |fault: &str| format!("the signer is not trusted: certificate chain refused: {fault}");
        let foreign = Signers::new(2).lists;
        let body = body(self.world).encode();
        let signed = [
            (
                "revocation-list-devices-signer-role",
                "a license server does not say what is revoked",
                refused("it is not valid for this role"),
                self.sign(&body, &self.signers.server, |_| ()),
            ),
            (
                "revocation-list-devices-signer-root",
                "another operator's signer is nobody here",
                refused("it does not lead to the operator's root"),
                self.sign(&body, &foreign, |_| ()),
            ),
            (
                "revocation-list-devices-signer-expired",
                "the signer is no longer valid",
                refused("a certificate has expired"),
                self.sign(&body, &self.signers.retired, |_| ()),
            ),
        ];
        for (name, proves, error, list) in signed {
            self.refuse((name, proves), &list, ("V-063", &error), &[]);
        }
        let list = self.sign(&body, &self.signers.lists, |_| ());
        let signer = self.signers.lists.leaf();
        let held = self.of_servers(5, &[(&signer, NOW.0 - DAY)]);
        let name = (
            "revocation-list-devices-signer-revoked",
            "a list that is held names the signer",
        );
        self.refuse(
            name,
            &list,
            ("V-063", &refused("a certificate has been revoked")),
            &[held],
        );
        let list = self.sign(&body, &self.signers.lists, |cose| {
            cose.context = "keyward/1 discovery"
        });
        let name = (
            "revocation-list-devices-other-context",
            "a signature for a discovery document is none for a list",
        );
        self.refuse(name, &list, ("V-003", "the signature does not verify"), &[]);
        let list = self.sign(&body, &self.signers.lists, |cose| {
            cose.typ = "application/vnd.keyward.license+cose"
        });
        let error = "this is not application/vnd.keyward.revocation-list+cose";
        let name = (
            "revocation-list-devices-other-type",
            "a message of another media type",
        );
        self.refuse(name, &list, ("V-002", error), &[]);
    }
}

pub(super) fn body(world: &World) -> DeviceRevocationList {
    DeviceRevocationList {
        version: 1,
        operator: world.operator.id(),
        number: 7,
        issued: NOW.minus(DAY),
        next_update: NOW.plus(6 * DAY),
        revoked: Some(vec![
            RevokedDevices {
                maker: "Keyward".into(),
                model: Some("test".into()),
                robustness_below: Some(1),
                since: NOW.minus(2 * DAY),
                reason: Some("its keys are in the open".into()),
            },
            RevokedDevices {
                maker: "Nobody".into(),
                model: None,
                robustness_below: None,
                since: NOW,
                reason: None,
            },
        ]),
        allowed: Some(vec![certificate_digest(&world.device.identity.leaf())]),
    }
}
