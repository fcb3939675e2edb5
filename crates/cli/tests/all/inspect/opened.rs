//! What only the operator may open, and only with its folder: requests, and the responses to them.

use keyward_license::{
    codec::Wire,
    revocation::{RevocationList, RevocationListsFile},
};
use serde_json::Value;

use crate::world::{World, text};

const TOKEN: &str = "a-token-that-nobody-may-see";

fn inspect(world: &World, args: &[&str]) -> Value {
    let said = world.ok(&[&["--json", "inspect"], args].concat());
    assert!(!said.contains(TOKEN), "{said}");
    serde_json::from_str(&said).unwrap()
}

#[test]
fn a_request_opens_for_its_operator_and_its_response_with_it() {
    let world = World::new();
    let server = world.serve();
    world.write("film.mkv", b"some film");
    world.ok(&["package", "film.mkv", "-o", "film.kw"]);
    world.enrol("phone", "alice");
    for name in ["ask", "other"] {
        let made = ["request", "film.kw", "--authorization", TOKEN, "-o", name];
        world.device_ok("phone", &made);
    }
    world.ok(&["answer", "ask", "-o", "told"]);
    server.stop();

    // Nobody sees more than the outside.
    let outside = inspect(&world, &["ask"]);
    assert_eq!(
        (&outside["kind"], &outside["standing"]),
        (&"sealed_request".into(), &"unverified".into())
    );
    assert!(outside.get("inside").is_none() && outside["unverified"]["recipient_in_use"].is_null());

    // The operator sees who asks for what, but no token and no key.
    let operator = ["--operator", "operator"];
    let opened = inspect(&world, &[&["ask"], &operator[..]].concat());
    let request = &opened["inside"];
    assert_eq!(opened["unverified"]["recipient_in_use"], true);
    assert_eq!(
        (&request["kind"], &request["standing"]),
        (&"license_request".into(), &"verified".into())
    );
    assert_eq!(request["verified"]["authorization_bytes"], TOKEN.len());
    let kid = &request["verified"]["content_headers"][0]["kids"][0]["kid"];
    assert_eq!(*kid, inspect(&world, &["film.kw"])["unverified"]["kid"]);
    let words = world.ok(&[&["inspect", "ask"], &operator[..]].concat());
    assert!(words.contains("27 bytes, not shown"), "{words}");

    // The response opens with the request that it answers, and with no other.
    let with = |request| [&["told", "--request", request], &operator[..]].concat();
    let response = inspect(&world, &[&with("ask")[..], &["--client-dir", "phone"]].concat());
    let response = &response["inside"];
    assert_eq!(
        (&response["kind"], &response["standing"]),
        (&"license_response".into(), &"verified".into())
    );
    assert_eq!(response["verified"]["answers_the_request"], true);
    let license = &response["verified"]["results"][0]["license"];
    assert_eq!(
        (&license["kind"], &license["standing"]),
        (&"license".into(), &"verified".into())
    );
    assert_eq!(license["verified"]["binding"]["this_device"], true);
    let other = inspect(&world, &with("other"));
    assert!(other.get("inside").is_none());
    let fault = other["unverified"]["faults"][0].as_str().unwrap();
    assert!(
        fault.starts_with("it is no answer to the request that was named"),
        "{fault}"
    );

    // A license of this operator verifies for the client that is enrolled with it.
    let found = inspect(&world, &["operator/operator-profile", "--client-dir", "phone"]);
    assert_eq!(found["kind"], "operator_profile");
}

#[test]
fn an_acknowledgement_opens_for_its_operator_and_its_receipt_with_it() {
    let world = World::new();
    let config = text(&world.read("operator/operator.toml"));
    world.write(
        "operator/operator.toml",
        config.replace("# wanted = false", "wanted = true").as_bytes(),
    );
    let server = world.serve();
    world.write("film.mkv", b"some film");
    world.ok(&["package", "film.mkv", "-o", "film.kw"]);
    world.enrol("phone", "alice");
    world.device_ok("phone", &["request", "film.kw", "-o", "ask"]);
    world.ok(&["answer", "ask", "-o", "told"]);
    world.device_ok("phone", &["install", "told"]);
    world.device_ok("phone", &["acknowledge", "-o", "acknowledgement"]);
    world.ok(&["answer", "acknowledgement", "-o", "receipt"]);
    server.stop();
    let operator = ["--operator", "operator"];

    let outside = inspect(&world, &["acknowledgement"]);
    assert_eq!(outside["kind"], "sealed_request");
    assert!(outside.get("inside").is_none());
    let asked = inspect(&world, &[&["told", "--request", "ask"], &operator[..]].concat());
    let transaction = &asked["inside"]["verified"]["transaction"];
    let license = &asked["inside"]["verified"]["results"][0]["license"]["verified"];
    let opened = inspect(&world, &[&["acknowledgement"], &operator[..]].concat());
    let request = &opened["inside"];
    assert_eq!(
        (&request["kind"], &request["standing"]),
        (&"acknowledge_request".into(), &"verified".into())
    );
    let told = &request["verified"];
    assert!(
        transaction.is_string() && told["transaction"] == *transaction,
        "{told}"
    );
    let outcome = &told["licenses"][0];
    assert_eq!(
        (&outcome["license"], &outcome["outcome"], &outcome["reason"]),
        (&license["id"], &"stored".into(), &Value::Null)
    );

    let with = |request| [&["receipt", "--request", request], &operator[..]].concat();
    let receipt = inspect(&world, &with("acknowledgement"));
    let receipt = &receipt["inside"];
    assert_eq!(
        (&receipt["kind"], &receipt["standing"]),
        (&"receipt".into(), &"verified".into())
    );
    assert_eq!(receipt["verified"]["transaction"], *transaction);
    assert_eq!(receipt["verified"]["answers_the_request"], true);
    let other = inspect(&world, &with("ask"));
    assert!(other.get("inside").is_none());
    let fault = other["unverified"]["faults"][0].as_str().unwrap();
    assert!(
        fault.contains("no answer to the request that was named"),
        "{fault}"
    );
}

/// Its own lists, each taken out of the file: a list of an authority below the root verifies with its path alone.
#[test]
fn an_operators_lists_are_verified_one_by_one() {
    let world = World::new();
    world.ok(&["admin", "revocation", "company", "Acme"]);
    world.ok(&["admin", "revoke-authority", "--days", "90"]);
    world.ok(&["admin", "revocation", "export", "-o", "lists"]);
    let file = RevocationListsFile::parse(&world.read("lists")).unwrap();
    assert_eq!(file.lists.len(), 4);
    for list in &file.lists {
        world.write("list", &list.encode());
        let (kind, alone, depth) = match list {
            RevocationList::Certificates { list, path } => {
                ("certificate_revocation_list", &list.0, path.len())
            }
            RevocationList::Devices(message) => ("device_revocation_list", &message.0, 0),
        };
        world.write("alone", alone);
        for (name, verifies) in [("list", true), ("alone", depth == 0)] {
            let standing = if verifies { "verified" } else { "unverified" };
            let named = inspect(&world, &[name, "--operator", "operator"]);
            assert_eq!(
                (&named["kind"], &named["standing"]),
                (&kind.into(), &standing.into()),
                "{named}"
            );
            assert_eq!(inspect(&world, &[name])["standing"], "unverified");
        }
    }
}

#[test]
fn another_operator_opens_nothing_and_a_client_that_is_not_there_is_not_made() {
    let (world, another) = (World::new(), World::new());
    let server = world.serve();
    world.write("film.mkv", b"some film");
    world.ok(&["package", "film.mkv", "-o", "film.kw"]);
    world.enrol("phone", "alice");
    world.device_ok("phone", &["request", "film.kw", "-o", "ask"]);
    server.stop();

    let folder = another.path("operator").display().to_string();
    let unopened = inspect(&world, &["ask", "--operator", &folder]);
    assert!(unopened.get("inside").is_none());
    let fault = unopened["unverified"]["faults"][0].as_str().unwrap();
    assert_eq!(fault, "the request does not open: the message does not open");
    let refused = world.fails(
        "nobody",
        1,
        &["inspect", "film.kw", "--operator", &folder, "--request", "ask"],
    );
    assert!(refused.contains("the request does not open"), "{refused}");

    let refused = world.fails("nobody", 1, &["inspect", "ask", "--client-dir", "absent"]);
    assert!(refused.contains("there is no client in absent"), "{refused}");
    assert!(!world.path("absent").exists());
    // A request needs the operator that can open it.
    let output = world.as_device("nobody", &["inspect", "ask", "--request", "ask"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
