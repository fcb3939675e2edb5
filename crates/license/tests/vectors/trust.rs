//! Acknowledgements, receipts and revocation lists.

use keyward_crypto::x509::Role;
use keyward_license::{
    acknowledgement::{AcknowledgeRequest, Receipt},
    certificate::device_id,
    codec::Wire,
    exchange::Response,
    revocation::{
        Adopted, ListBounds, ListFault, RevocationList, RevocationLists, RevocationListsFile, UnknownStatus,
    },
    signed::{SignedBody, Unverified},
};
use keyward_testkit::vectors::Vector;

use super::{
    Answer, Refused, anchor, answers_request, form, input, now, open_response, refused, rule, signed_request,
    signer_rule,
};

pub(super) fn acknowledge_request(vector: &Vector, message: &[u8]) -> Answer {
    // V-041
    let verified = signed_request::<AcknowledgeRequest>(vector, message, ("V-041", Role::Device))?;
    let body = verified.body();
    body.check_bounds().map_err(form)?;
    let licenses = body.licenses.iter().map(|one| {
        let license = one.license.map(|id| id.to_string()).unwrap_or_default();
        let reason = one.reason.as_deref().unwrap_or_default();
        format!("{}:{license}:{}:{reason}", one.kid, one.outcome.number())
    });
    let device = device_id(verified.signer().unwrap().public_key()).unwrap();
    Ok(vec![
        ("device-id", device.to_string()),
        ("nonce", body.nonce.to_string()),
        ("transaction", body.transaction.to_string()),
        ("licenses", licenses.collect::<Vec<_>>().join("; ")),
    ])
}

pub(super) fn receipt(vector: &Vector, message: &[u8]) -> Answer {
    let opened = open_response(vector, message, Receipt::CONTEXT)?;
    let parsed = Unverified::<Receipt>::parse(&opened).map_err(rule)?;
    // V-065
    let verified = parsed
        .verify(&anchor(vector), Receipt::SIGNER, |_| vec![now(vector)])
        .map_err(|error| signer_rule("V-065", error))?;
    let body = verified.body();
    answers_request(vector, body)?;
    if body.transaction.as_bytes()[..] != input(vector, "request-transaction") {
        return refused("V-065");
    }
    Ok(vec![
        ("transaction", body.transaction.to_string()),
        ("server-time", body.server_time.0.to_string()),
    ])
}

pub(super) fn revocation_list(vector: &Vector, message: &[u8]) -> Answer {
    let list = RevocationList::decode(message).map_err(form)?;
    let mut lists = RevocationLists::new(anchor(vector), ListBounds::CLIENT, UnknownStatus::Accept);
    if let Some(held) = vector.inputs.get("lists-held") {
        let held = Vec::<RevocationList>::decode(&hex::decode(held).unwrap()).unwrap();
        let (_, faults) = lists.adopt_all(&held, Some(now(vector)));
        assert_eq!(faults, [], "{}", vector.name);
    }
    let adopted = lists
        .adopt(&list, Some(now(vector)))
        .map_err(|fault| match fault {
            ListFault::Devices(error) => signer_rule("V-063", error),
            ListFault::Certificates(error) => Refused("V-064", error.to_string()),
            ListFault::OtherOperator => Refused("V-063", fault.to_string()),
            ListFault::FromTheFuture => {
                let of_devices = matches!(list, RevocationList::Devices(_));
                Refused(if of_devices { "V-063" } else { "V-064" }, fault.to_string())
            }
            other => panic!("no step refuses with {other:?}"),
        })?;
    // What the list itself says, whether it is held now or not.
    let mut alone = RevocationLists::new(anchor(vector), ListBounds::CLIENT, UnknownStatus::Accept);
    alone.adopt(&list, None).unwrap();
    let state = alone.states().remove(0);
    let newer = match adopted {
        Adopted::Newer => "yes",
        Adopted::NotNewer => "no",
    };
    if adopted == Adopted::Newer {
        assert!(lists.to_wire().contains(&list), "{} is held", vector.name);
    }
    Ok(vec![
        ("list", state.list.to_string()),
        ("number", state.number.to_string()),
        ("newer", newer.into()),
    ])
}

pub(super) fn revocation_lists(message: &[u8]) -> Answer {
    let file = RevocationListsFile::parse(message).map_err(form)?;
    Ok(vec![
        ("operator", file.operator.to_string()),
        ("lists", file.lists.len().to_string()),
    ])
}
