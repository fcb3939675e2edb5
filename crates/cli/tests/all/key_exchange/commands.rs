//! The commands in real processes: every algorithm in both directions, and what is refused with which exit code.

use std::process::Stdio;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use keyward_crypto::exchange::{Algorithm, Operation};

use crate::{
    key_exchange::{create, device, enrolled, operator},
    world::{World, content, text},
};

/// The command line of either side, by operation, key id and the rest.
type Side = for<'a> fn(&'a str, &'a str, &[&'a str]) -> Vec<&'a str>;

/// Runs a command with data on its standard input; it must succeed.
fn piped(world: &World, args: &[&str], input: &[u8]) -> Vec<u8> {
    world.write("piped", input);
    let output = world
        .command(args)
        .env("KEYWARD_CLIENT_DIR", world.path("device"))
        .stdin(Stdio::from(std::fs::File::open(world.path("piped")).unwrap()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output.stdout
}

/// Produces on one side and consumes on the other, through pipes.
fn there_and_back(world: &World, algorithm: Algorithm, operation: Operation) {
    let kid = create(world, algorithm.name(), operation.name(), &[]);
    let [produce, consume] = algorithm.operations().map(Operation::name);
    let (by_device, by_operator): (Side, Side) = (device, operator);
    let (producer, consumer) = if operation.produces() {
        (by_device, by_operator)
    } else {
        (by_operator, by_device)
    };
    let data = content(1 << 10);
    let result = piped(world, &producer(produce, &kid, &[]), &data);
    assert_eq!(result[..4], [0, 0, 0, 1], "{algorithm} {operation}");
    if produce == "sign" {
        world.write("signature", &result);
        let verify = ["-", "--signature", "signature"];
        let said = piped(world, &consumer(consume, &kid, &verify), &data);
        assert_eq!(
            text(&said).trim(),
            format!("the signature is of key {kid} over these bytes")
        );
        return;
    }
    let back = piped(world, &consumer(consume, &kid, &[]), &result);
    assert!(back == data, "{algorithm} {operation}");
}

#[test]
fn every_algorithm_goes_there_and_back_from_either_side() {
    let (world, _server) = enrolled();
    for algorithm in Algorithm::ALL {
        for operation in algorithm.operations() {
            there_and_back(&world, algorithm, operation);
        }
    }
}

#[test]
fn streams_are_larger_than_messages_and_another_format() {
    let (world, _server) = enrolled();
    let data = content((7 << 20) + 1);
    world.write("data", &data);
    let [here, there] = ["encrypt", "decrypt"].map(|operation| create(&world, "A256GCM", operation, &[]));
    let aad = ["--aad", "part 7"];
    for (kid, produce, consume) in [
        (&here, device as Side, operator as Side),
        (&there, operator, device),
    ] {
        let at_once = [&["data", "-o", "too-large"][..], &aad].concat();
        let refused = world.fails("device", 1, &produce("encrypt", kid, &at_once));
        assert!(
            refused.contains("there are more than 7 MiB, too many to encrypt at once"),
            "{refused}"
        );
        assert!(
            refused.contains("hint: use `--stream`, on both sides"),
            "{refused}"
        );
        assert!(!world.path("too-large").exists());

        let stream = [&["data", "-o", "streamed", "--stream", "--force"][..], &aad].concat();
        world.device_ok("device", &produce("encrypt", kid, &stream));
        let back = [&["streamed", "-o", "back", "--stream", "--force"][..], &aad].concat();
        world.device_ok("device", &consume("decrypt", kid, &back));
        assert!(world.read("back") == data);

        // What is cut off gives no file, and nor does the other format.
        let whole = world.read("streamed");
        world.write("cut", &whole[..whole.len() - 65_536]);
        for (file, more) in [("cut", &["--stream"][..]), ("cut", &[])] {
            let decrypt = [&[file, "-o", "never"][..], more, &aad].concat();
            let refused = world.fails("device", 1, &consume("decrypt", kid, &decrypt));
            assert!(refused.contains("cannot decrypt cut: "), "{refused}");
            assert!(!world.path("never").exists());
        }
    }
}

#[test]
fn r_052_a_stream_of_many_pieces_is_one_use() {
    let (world, _server) = enrolled();
    let data = content(1 << 20);
    world.write("data", &data);
    let kid = create(&world, "A256GCM", "encrypt", &["--uses", "1"]);
    let stream = ["data", "-o", "there", "--stream"];
    world.device_ok("device", &device("encrypt", &kid, &stream));
    let back = ["there", "-o", "back", "--stream"];
    world.ok(&operator("decrypt", &kid, &back));
    assert!(world.read("back") == data);
    let again = ["data", "-o", "never", "--offline"];
    let refused = world.fails("device", 3, &device("encrypt", &kid, &again));
    assert!(refused.contains("every use of key"), "{refused}");
}

#[test]
fn what_nothing_authenticates_is_said() {
    let (world, _server) = enrolled();
    world.write("data", &content(100));
    let kid = create(&world, "A128CTR", "encrypt", &[]);
    for args in [
        device("encrypt", &kid, &["data", "-o", "there"]),
        operator("decrypt", &kid, &["there", "-o", "back"]),
    ] {
        let done = world.as_device("device", &args);
        let said = text(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert!(said.contains("nothing authenticates data in A128CTR"), "{said}");
    }
    assert!(world.read("back") == content(100));
    let aad = ["data", "-o", "never", "--aad", "some"];
    let refused = world.fails("device", 1, &device("encrypt", &kid, &aad));
    assert!(refused.contains("A128CTR takes no additional data"), "{refused}");
}

#[test]
fn a_context_and_a_use_limit_hold() {
    let (world, _server) = enrolled();
    world.write("data", b"data");
    let kid = create(
        &world,
        "A128GCM",
        "encrypt",
        &["--context", "meters", "--uses", "2"],
    );
    let encrypt = |aad| {
        device(
            "encrypt",
            &kid,
            &["data", "-o", "there", "--force", "--offline", "--aad", aad],
        )
    };
    world.device_ok("device", &["acquire", &kid]);
    let refused = world.fails("device", 3, &encrypt("motors"));
    assert!(
        refused.contains("the additional data is not the context of the key"),
        "{refused}"
    );
    for _ in 0..2 {
        world.device_ok("device", &encrypt("meters"));
    }
    let refused = world.fails("device", 3, &encrypt("meters"));
    assert!(refused.contains("every use of key"), "{refused}");
    let checked = world.fails("device", 3, &["check", &kid]);
    assert!(checked.contains("every use of key"), "{checked}");
    let explained = world.device_ok("device", &["explain", &kid]);
    let refused = format!("key {kid}: refused\n");
    assert!(
        explained.starts_with(&refused) && explained.contains("refused by R-052: "),
        "{explained}"
    );
    let listed = world.device_ok("device", &["licenses", "list"]);
    assert!(
        listed.contains("2 of 2 uses taken (R-052), not usable any more"),
        "{listed}"
    );
    assert!(
        explained.contains("to encrypt with A128GCM, version 1, 2 of 2 uses taken (R-052)"),
        "{explained}"
    );
    // A new license has uses of its own.
    world.device_ok(
        "device",
        &device("encrypt", &kid, &["data", "-o", "again", "--aad", "meters"]),
    );
    let read = operator("decrypt", &kid, &["again", "-o", "back", "--aad", "meters"]);
    world.ok(&read);
    assert_eq!(world.read("back"), b"data");
    let uses = world.ok(&operator("uses", &kid, &[]));
    assert!(
        uses.contains(" operator: decrypt with version 1, ") && uses.contains(", done"),
        "{uses}"
    );
}

#[test]
fn licenses_of_key_exchange_are_listed_explained_and_checked() {
    let (world, _server) = enrolled();
    let kid = create(&world, "HMAC256", "verify", &["--minimum-security-level", "2000"]);
    let missing = world.fails("device", 3, &["check", &kid]);
    assert!(
        missing.contains("no license in the store covers key"),
        "{missing}"
    );
    world.device_ok("device", &["acquire", &kid]);
    let checked = world.device_ok("device", &["check", &kid]);
    assert!(
        checked.contains(&format!("key {kid}: can be used under license")),
        "{checked}"
    );
    let listed = world.device_ok("device", &["licenses", "list"]);
    assert!(
        listed.contains("to verify with HMAC256, version 1, usable"),
        "{listed}"
    );
    let shown = world.device_ok("device", &["licenses", "show", &kid]);
    assert!(
        shown.contains("verify (R-050)") && shown.contains("key-exchange"),
        "{shown}"
    );
    let explained = world.device_ok("device", &["--json", "explain", &kid]);
    let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(explained["keys"][0]["allowed"], true, "{explained}");
    let key = &explained["keys"][0]["licenses"][0]["exchange_keys"][0];
    assert_eq!(
        (&key["algorithm"], &key["operation"]),
        (&"HMAC256".into(), &"verify".into())
    );
}

#[test]
fn doctor_says_that_keys_stay_in_memory() {
    let (world, _server) = enrolled();
    let said = world.device_ok("device", &["doctor"]);
    let line = said.lines().find(|line| line.contains("  memory  ")).unwrap();
    assert!(
        line.ends_with("keys are kept out of core dumps and of the swap file"),
        "{line}"
    );
}

#[test]
fn an_operator_makes_imports_and_destroys_keys() {
    let (world, _server) = enrolled();
    let kid = create(&world, "A256GCM", "decrypt", &[]);
    world.write("data", b"data");
    world.write("own", &[0x5a; 32]);
    let import = [
        "admin",
        "key-exchange",
        "import",
        "own",
        "--algorithm",
        "HMAC256",
        "--operation",
        "sign",
        "--key-file",
    ];
    let imported = world.ok(&[&import[..], &["own"]].concat()).trim().to_owned();
    let twice = world.fails("nobody", 1, &[&import[..], &["own"]].concat());
    assert!(twice.contains("hint: use a fresh key"), "{twice}");
    let short = world.fails("nobody", 1, &[&import[..], &["data"]].concat());
    assert!(short.contains("no key of algorithm HMAC256"), "{short}");

    let rotated = world.ok(&operator("rotate", &kid, &[]));
    assert!(rotated.contains("has version 2"), "{rotated}");
    world.ok(&operator("minimum-version", &kid, &["2"]));
    world.ok(&operator("destroy", &kid, &["--version", "1", "--yes"]));
    let shown = world.ok(&operator("show", &kid, &[]));
    for expected in [
        "A256GCM, devices decrypt, the license server can encrypt, version 2, least accepted 2, enabled",
        "version 1, made ",
        ", destroyed",
    ] {
        assert!(shown.contains(expected), "{expected} in\n{shown}");
    }
    world.ok(&operator("disable", &kid, &[]));
    let encrypt = operator("encrypt", &kid, &["data", "-o", "never"]);
    let refused = world.fails("nobody", 3, &encrypt);
    assert!(refused.contains("is disabled"), "{refused}");
    let denied = world.fails("device", 3, &["acquire", &kid]);
    assert!(denied.contains("the exchange key is disabled"), "{denied}");
    assert!(
        denied.contains("hint: ask the operator which key takes its place"),
        "{denied}"
    );
    world.ok(&operator("enable", &kid, &[]));
    world.device_ok("device", &["acquire", &kid]);
    let unsaid = world.fails("nobody", 2, &operator("destroy", &kid, &[]));
    assert!(unsaid.contains("--yes"), "{unsaid}");
    world.ok(&operator("destroy", &kid, &["--yes"]));
    let refused = world.fails("nobody", 3, &encrypt);
    assert!(refused.contains("was destroyed"), "{refused}");
    let listed = world.ok(&["admin", "key-exchange", "list"]);
    assert!(
        listed.contains(&imported) && listed.contains(", destroyed"),
        "{listed}"
    );
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let (world, _server) = enrolled();
    let kid = create(&world, "ESP256", "sign", &[]);
    let token = ["admin", "key-exchange", "token"];
    let made = world.ok(&[&token[..], &["add", "orders", "--key", &kid]].concat());
    assert!(made.starts_with("kw_") && made.trim_end().len() > 40, "{made}");
    world.ok(&[&token[..], &["add", "all", "--all-keys"]].concat());
    world.fails("nobody", 2, &[&token[..], &["add", "none"]].concat());
    world.ok(&[&token[..], &["revoke", "all"]].concat());
    let listed = world.ok(&[&token[..], &["list"]].concat());
    assert!(listed.contains(&format!(": {kid}")), "{listed}");
    assert!(
        listed.contains(", revoked ") && listed.contains(": every exchange key"),
        "{listed}"
    );
}

/// As a service does, over HTTP: what it says of a signature, by the status and the answer.
fn ask(world: &World, token: &str, kid: &str, data: &[u8], signature: &[u8]) -> (u16, String) {
    let toml = text(&world.read("operator/operator.toml"));
    let listen = toml.lines().find_map(|line| line.strip_prefix("admin_listen = "));
    let url = format!(
        "http://{}/exchange-keys/{kid}/perform",
        listen.unwrap().trim_matches('"')
    );
    let item = serde_json::json!({ "data": BASE64.encode(data), "signature": BASE64.encode(signature) });
    let call = serde_json::json!({ "operation": "verify", "items": [item] });
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let answer = config
        .build()
        .new_agent()
        .post(url)
        .header("authorization", format!("Bearer {token}"))
        .content_type("application/json")
        .send(call.to_string())
        .unwrap();
    (
        answer.status().as_u16(),
        answer.into_body().read_to_string().unwrap(),
    )
}

#[test]
fn a_service_verifies_over_http_with_a_token_for_its_key() {
    let (world, _server) = enrolled();
    world.write("order", b"three pieces");
    let [kid, other] = [(); 2].map(|()| create(&world, "HMAC256", "sign", &[]));
    let made = [
        "--json",
        "admin",
        "key-exchange",
        "token",
        "add",
        "orders",
        "--key",
        &kid,
    ];
    let made: serde_json::Value = serde_json::from_str(&world.ok(&made)).unwrap();
    let token = made["token"].as_str().unwrap();
    world.device_ok("device", &device("sign", &kid, &["order", "-o", "signature"]));
    let signature = world.read("signature");
    let valid = r#"{"results":[{"valid":true}]}"#.to_owned();
    let invalid = r#"{"results":[{"valid":false}]}"#.to_owned();
    assert_eq!(
        ask(&world, token, &kid, b"three pieces", &signature),
        (200, valid)
    );
    assert_eq!(
        ask(&world, token, &kid, b"four pieces", &signature),
        (200, invalid)
    );
    let (status, problem) = ask(&world, token, &other, b"three pieces", &signature);
    assert_eq!(status, 401, "{problem}");
    let uses = world.ok(&operator("uses", &kid, &[]));
    assert_eq!(
        uses.matches(" token:orders: verify with version 1").count(),
        2,
        "{uses}"
    );
    world.ok(&["admin", "key-exchange", "token", "revoke", "orders"]);
    let (status, problem) = ask(&world, token, &kid, b"three pieces", &signature);
    assert_eq!(status, 401, "{problem}");
}

#[test]
fn outputs_are_whole_or_absent_and_never_replaced_unasked() {
    let (world, _server) = enrolled();
    let kid = create(&world, "A256KW", "unwrap", &[]);
    world.write("key", &[7; 32]);
    world.write("there", b"before");
    let exists = world.fails("nobody", 1, &operator("wrap", &kid, &["key", "-o", "there"]));
    assert!(exists.contains("exists already"), "{exists}");
    assert_eq!(world.read("there"), b"before");
    let same = world.fails(
        "nobody",
        1,
        &operator("wrap", &kid, &["key", "-o", "key", "--force"]),
    );
    assert!(same.contains("is the input as well as the output"), "{same}");
    world.ok(&operator("wrap", &kid, &["key", "-o", "there", "--force"]));
    let said = world.device_ok(
        "device",
        &[&["--json"][..], &device("unwrap", &kid, &["there", "-o", "back"])].concat(),
    );
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["algorithm"], &said["output"]),
        (&"A256KW".into(), &"back".into())
    );
    assert_eq!(world.read("back"), [7; 32]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(world.path("back"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "a key is its owner's alone");
    }
    // Standard input is one thing.
    for twice in [
        operator("verify", &kid, &["--signature", "-"]),
        operator("encrypt", &kid, &["-o", "never", "--aad-file", "-"]),
        device("unwrap", &kid, &["-o", "never", "--authorization-file", "-"]),
    ] {
        let refused = world.fails("device", 1, &twice);
        assert!(
            refused.contains("standard input cannot be two things"),
            "{refused}"
        );
    }
    // Of another algorithm than was asked for.
    let other = device("unwrap", &kid, &["there", "-o", "never", "--algorithm", "A128KW"]);
    let refused = world.fails("device", 3, &other);
    assert!(
        refused.contains("holds no key of algorithm A128KW (R-050)"),
        "{refused}"
    );
    assert!(!world.path("never").exists());
}
