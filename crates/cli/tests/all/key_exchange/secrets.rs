//! The value of an exchange key never comes into a file in the clear, on a device or at the operator's.

use std::{io::Write, path::Path, process::Stdio};

use crate::{
    key_exchange::{device, enrolled, operator},
    world::{World, content, files_below},
};

/// A value that stands nowhere else; each of another number.
fn value(number: usize, length: usize) -> Vec<u8> {
    let content = content((number + 1) * 128).split_off(number * 128);
    content[..length].iter().map(|byte| !byte).collect()
}

/// Whether a file below the folder holds the value, or half of it, as it is or in letters.
fn holds(folder: &Path, value: &[u8]) -> Option<String> {
    let halves = [&value[..value.len() / 2], &value[value.len() / 2..]];
    let written = halves.map(|half| hex::encode(half).into_bytes());
    let capitals = halves.map(|half| hex::encode_upper(half).into_bytes());
    let plain = halves.map(<[u8]>::to_vec);
    files_below(folder).into_iter().find_map(|file| {
        let bytes = std::fs::read(&file).ok()?;
        let needles = plain.iter().chain(&written).chain(&capitals);
        let found = needles
            .into_iter()
            .any(|needle| bytes.windows(needle.len()).any(|window| window == &needle[..]));
        found.then(|| file.display().to_string())
    })
}

/// Takes over an exchange key that alice may have.
pub(crate) fn import(world: &World, algorithm: &str, operation: &str, value: &[u8]) -> String {
    world.write("value", value);
    let import = [
        "admin",
        "key-exchange",
        "import",
        "key",
        "--algorithm",
        algorithm,
        "--operation",
        operation,
        "--key-file",
        "value",
    ];
    let kid = world.ok(&import).trim().to_owned();
    world.ok(&["admin", "grant", "--account", "alice", "--kid", &kid]);
    kid
}

#[test]
fn no_file_ever_holds_the_value_of_a_key() {
    let (world, _server) = enrolled();
    world.write("data", b"data");
    let folders = [world.path("device"), world.path("operator")];
    let cases = [
        ("A256GCM", "encrypt", 32),
        ("A128KW", "wrap", 16),
        ("HMAC512", "sign", 64),
        ("Ed25519", "sign", 32),
    ];
    for (number, (algorithm, operation, length)) in cases.into_iter().enumerate() {
        let value = value(number, length);
        let kid = import(&world, algorithm, operation, &value);
        assert!(
            holds(&world.path(""), &value).is_some(),
            "the search finds what there is"
        );
        std::fs::remove_file(world.path("value")).unwrap();
        let data = if operation == "wrap" { "other" } else { "data" };
        world.write("other", &[7; 16]);
        for command in [
            vec!["acquire", &kid],
            device(operation, &kid, &[data, "-o", "result", "--force"]),
            vec!["--json", "licenses", "show", &kid],
            vec!["licenses", "renew-key"],
            device(operation, &kid, &[data, "-o", "result", "--force", "--offline"]),
        ] {
            let said = world.device_ok("device", &command);
            assert!(!said.contains(&hex::encode(&value)), "{command:?}");
            for folder in &folders {
                assert_eq!(holds(folder, &value), None, "{algorithm} {command:?}");
            }
        }
        assert_eq!(holds(&world.path(""), &value), None, "{algorithm}");
    }
}

/// No core dump is written of the process, and memory of it is locked.
#[cfg(target_os = "linux")]
fn keeps_to_itself(process: u32) {
    let says = |file, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_ascii_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(says("limits", "Max core file size"), "0");
    assert_ne!(says("status", "VmLck:"), "0", "the key's page is locked");
}

/// Nor while it lies ready in memory.
#[test]
fn no_file_holds_the_value_of_a_key_that_is_in_use() {
    let (world, _server) = enrolled();
    let value = value(0, 32);
    let kid = import(&world, "A256GCM", "encrypt", &value);
    std::fs::remove_file(world.path("value")).unwrap();
    let mut using = world
        .command(&device("encrypt", &kid, &["--stream", "-o", "result"]))
        .env("KEYWARD_CLIENT_DIR", world.path("device"))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = using.stdin.take().unwrap();
    // More than a pipe holds: by now the key is prepared.
    stdin.write_all(&content(1 << 20)).unwrap();
    assert_eq!(holds(&world.path(""), &value), None);
    #[cfg(target_os = "linux")]
    keeps_to_itself(using.id());
    drop(stdin);
    assert!(using.wait().unwrap().success());
    world.ok(&operator("decrypt", &kid, &["result", "--stream", "-o", "back"]));
    assert!(world.read("back") == content(1 << 20));
    assert_eq!(holds(&world.path(""), &value), None);
}
