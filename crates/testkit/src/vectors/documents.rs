//! What is neither request nor answer: discovery document, operator profile, problem document.

use keyward_license::{
    codec::{Bytes, Wire, grease},
    discovery::Discovery,
    error_code::{ErrorCode, Problem},
    signed::SignedBody,
};

use super::{
    Expect, MessageType, Vector, World,
    build::{Cose, edited, uint, with_entry, without_entry},
    draws, inputs, vector,
};
use crate::pki::{DAY, NOW};

pub(super) fn add(world: &mut World, all: &mut Vec<Vector>) {
    discoveries(world, all);
    profiles(world, all);
    problems(all);
}

/// A discovery document's body, as the worked example in `spec/protocol.md`.
pub(super) fn example(world: &World) -> Vec<u8> {
    discovery(world).encode()
}

/// A problem document, as the worked example in `spec/protocol.md`.
pub(super) fn example_problem() -> Vec<u8> {
    Problem::new(
        ErrorCode::WrongRecipient,
        "the request is sealed to a certificate that is not in use".into(),
    )
    .encode()
}

fn discovery(world: &World) -> Discovery {
    let chain = &world.request_encryption.identity.chain;
    Discovery {
        version: 1,
        operator: world.operator.id(),
        request_encryption: chain.iter().cloned().map(Bytes).collect(),
        license_path: "/v1/license".into(),
        enrolment_path: "/v1/enrolment".into(),
        issued: NOW.minus(60),
        expires: NOW.plus(DAY),
        packaging_path: Some("/v1/packaging".into()),
        acknowledgement_path: Some("/v1/acknowledgement".into()),
    }
}

fn discoveries(world: &World, all: &mut Vec<Vector>) {
    type Edit = fn(&mut Discovery, &World);
    let edited: [(&str, &str, Option<&str>, Edit); 8] = [
        (
            "discovery-valid",
            "where the server answers and whom to seal to",
            None,
            |_, _| (),
        ),
        (
            "discovery-valid-clock-a-little-behind",
            "five minutes from the future are tolerated",
            None,
            |body, _| body.issued = NOW.plus(300),
        ),
        (
            "discovery-from-the-future",
            "more than five minutes from the future",
            Some("V-061"),
            |body, _| body.issued = NOW.plus(301),
        ),
        (
            "discovery-expired",
            "not to be used from `expires` on",
            Some("V-061"),
            |body, _| body.expires = NOW,
        ),
        (
            "discovery-of-another-operator",
            "it names another operator's root",
            Some("V-060"),
            |body, world| body.operator = world.other_operator.id(),
        ),
        (
            "discovery-encryption-role",
            "the chain is a license server's, not one for request encryption",
            Some("V-062"),
            |body, world| {
                body.request_encryption = world.license_server.chain.iter().cloned().map(Bytes).collect()
            },
        ),
        (
            "discovery-encryption-root",
            "the chain is another operator's",
            Some("V-062"),
            |body, world| {
                let chain = &world.other_request_encryption.identity.chain;
                body.request_encryption = chain.iter().cloned().map(Bytes).collect();
            },
        ),
        (
            "discovery-encryption-chain-empty",
            "no chain",
            Some("V-062"),
            |body, _| body.request_encryption.clear(),
        ),
    ];
    for (name, proves, rule, edit) in edited {
        let mut body = discovery(world);
        edit(&mut body, world);
        push_discovery(
            world,
            all,
            (name, proves),
            rule.map(|rule| (rule, "")),
            &body.encode(),
            |_| (),
        );
    }
    let body = discovery(world).encode();
    let greased = grease(&body, &mut draws("discovery-valid-greased")).unwrap();
    let name = ("discovery-valid-greased", "an unknown optional key is skipped");
    push_discovery(world, all, name, None, &greased, |_| ());
    let unknown = "the message is malformed: discovery document holds critical key 10, which this version does not know";
    let name = ("discovery-unknown-critical", "an unknown critical key");
    push_discovery(
        world,
        all,
        name,
        Some(("V-001", unknown)),
        &with_entry(&body, 10, &uint(0)),
        |_| (),
    );
    let name = (
        "discovery-other-context",
        "a license's signature is none for a discovery document",
    );
    push_discovery(
        world,
        all,
        name,
        Some(("V-003", "the signature does not verify")),
        &body,
        |cose| {
            cose.context = "keyward/1 license";
        },
    );
    let wrong_role = "the signer is not trusted: certificate chain refused: it is not valid for this role";
    let name = (
        "discovery-signer-role",
        "a time server does not say whom to seal to",
    );
    let signer = &world.time_server;
    let message = Cose::new(
        Discovery::MEDIA_TYPE,
        Discovery::CONTEXT,
        &[body],
        &signer.chain,
        &signer.key,
    )
    .finish();
    let inputs = inputs([("root", world.operator.root())]);
    all.push(vector(
        MessageType::Discovery,
        name,
        inputs,
        &message,
        &Expect::Invalid("V-060", wrong_role),
    ));
}

fn push_discovery(
    world: &World,
    all: &mut Vec<Vector>,
    name: (&str, &str),
    refused: Option<(&str, &str)>,
    body: &[u8],
    edit: fn(&mut Cose<'_>),
) {
    let signer = &world.license_server;
    let mut cose = Cose::new(
        Discovery::MEDIA_TYPE,
        Discovery::CONTEXT,
        &[body.to_vec()],
        &signer.chain,
        &signer.key,
    );
    edit(&mut cose);
    let learns = [
        ("license-path", "/v1/license".to_owned()),
        ("enrolment-path", "/v1/enrolment".to_owned()),
        ("packaging-path", "/v1/packaging".to_owned()),
        ("acknowledgement-path", "/v1/acknowledgement".to_owned()),
        (
            "certificate-digest",
            world.request_encryption.identity.digest().to_string(),
        ),
    ];
    let expect = refused.map_or(Expect::Valid(&learns), |(rule, error)| {
        Expect::Invalid(rule, error)
    });
    let inputs = inputs([("root", world.operator.root())]);
    all.push(vector(
        MessageType::Discovery,
        name,
        inputs,
        &cose.finish(),
        &expect,
    ));
}

fn profiles(world: &World, all: &mut Vec<Vector>) {
    let profile = world.operator.profile().encode();
    let learns = [
        ("operator", world.operator.id().to_string()),
        ("name", "Test operator".to_owned()),
        ("license-servers", "https://license.example".to_owned()),
    ];
    let mut push = |name, proves, message: &[u8], expect: &Expect<'_>| {
        all.push(vector(
            MessageType::OperatorProfile,
            (name, proves),
            inputs([]),
            message,
            expect,
        ));
    };
    push(
        "operator-profile-valid",
        "what a client is configured with",
        &profile,
        &Expect::Valid(&learns),
    );
    let greased = grease(&profile, &mut draws("operator-profile-valid-greased")).unwrap();
    push(
        "operator-profile-valid-greased",
        "an unknown optional key is skipped",
        &greased,
        &Expect::Valid(&learns),
    );
    let unknown = Expect::Invalid(
        "V-001",
        "operator profile holds critical key 6, which this version does not know",
    );
    push(
        "operator-profile-unknown-critical",
        "an unknown critical key",
        &with_entry(&profile, 6, &uint(0)),
        &unknown,
    );
    let missing = Expect::Invalid("V-001", "operator profile lacks required key 3");
    push(
        "operator-profile-without-root",
        "a profile without trust anchor",
        &without_entry(&profile, 3),
        &missing,
    );
}

fn problems(all: &mut Vec<Vector>) {
    let problem = example_problem();
    let learns = [
        ("code", "103".to_owned()),
        ("name", "wrong-recipient".to_owned()),
        (
            "detail",
            "the request is sealed to a certificate that is not in use".to_owned(),
        ),
    ];
    let mut push = |name, proves, message: &[u8], expect: &Expect<'_>| {
        all.push(vector(
            MessageType::Problem,
            (name, proves),
            inputs([]),
            message,
            expect,
        ));
    };
    push(
        "problem-valid",
        "an error without a signed answer",
        &problem,
        &Expect::Valid(&learns),
    );
    let form = Expect::Invalid("V-001", "not a problem document of this protocol");
    let foreign = edited(&problem, |entries| drop(entries.pop()));
    push(
        "problem-of-another-service",
        "concise problem details without this protocol's entry",
        &foreign,
        &form,
    );
    push("problem-empty", "an empty map", &[0xa0], &form);
    let trailing = Expect::Invalid("V-001", "bytes follow the message");
    push(
        "problem-trailing-bytes",
        "bytes follow the document",
        &[&problem[..], &[0]].concat(),
        &trailing,
    );
    let order = Expect::Invalid("V-001", "map keys are duplicate or not sorted");
    let unsorted = edited(&problem, |entries| entries.swap(0, 1));
    push("problem-unsorted", "the entry before -2", &unsorted, &order);
}
