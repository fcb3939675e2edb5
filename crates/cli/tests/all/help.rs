//! The help texts are part of the interface: each is compared with the file that holds it.
//! `KEYWARD_BLESS=1 cargo test -p keyward-cli --test all help` writes the files anew.

use std::{path::PathBuf, process::Command};

const COMMANDS: [&[&str]; 116] = [
    &[],
    &["demo"],
    &["init"],
    &["serve"],
    &["replay"],
    &["proxy"],
    &["admin"],
    &["admin", "enrolment-token"],
    &["admin", "grant"],
    &["admin", "grants"],
    &["admin", "end-grant"],
    &["admin", "policy"],
    &["admin", "policy", "presets"],
    &["admin", "policy", "preset"],
    &["admin", "policy", "write"],
    &["admin", "policy", "list"],
    &["admin", "policy", "show"],
    &["admin", "register-key"],
    &["admin", "root"],
    &["admin", "root", "create"],
    &["admin", "root", "list"],
    &["admin", "root", "show"],
    &["admin", "root", "put"],
    &["admin", "root", "take"],
    &["admin", "root", "blackout"],
    &["admin", "root", "lift-blackout"],
    &["admin", "revocation"],
    &["admin", "revocation", "list"],
    &["admin", "revocation", "certificates"],
    &["admin", "revocation", "device"],
    &["admin", "revocation", "certificate"],
    &["admin", "revocation", "restore-certificate"],
    &["admin", "revocation", "company"],
    &["admin", "revocation", "model"],
    &["admin", "revocation", "restore-model"],
    &["admin", "revocation", "allow"],
    &["admin", "revocation", "disallow"],
    &["admin", "revocation", "export"],
    &["admin", "revoke-authority"],
    &["admin", "channel"],
    &["admin", "channel", "create"],
    &["admin", "channel", "list"],
    &["admin", "key-exchange"],
    &["admin", "key-exchange", "create"],
    &["admin", "key-exchange", "import"],
    &["admin", "key-exchange", "rotate"],
    &["admin", "key-exchange", "minimum-version"],
    &["admin", "key-exchange", "disable"],
    &["admin", "key-exchange", "enable"],
    &["admin", "key-exchange", "destroy"],
    &["admin", "key-exchange", "list"],
    &["admin", "key-exchange", "show"],
    &["admin", "key-exchange", "uses"],
    &["admin", "key-exchange", "encrypt"],
    &["admin", "key-exchange", "decrypt"],
    &["admin", "key-exchange", "sign"],
    &["admin", "key-exchange", "verify"],
    &["admin", "key-exchange", "wrap"],
    &["admin", "key-exchange", "unwrap"],
    &["admin", "key-exchange", "token"],
    &["admin", "key-exchange", "token", "add"],
    &["admin", "key-exchange", "token", "list"],
    &["admin", "key-exchange", "token", "revoke"],
    &["admin", "roll"],
    &["admin", "devices"],
    &["admin", "revoke-device"],
    &["admin", "acknowledgements"],
    &["admin", "admin-token"],
    &["admin", "admin-token", "add"],
    &["admin", "admin-token", "list"],
    &["admin", "admin-token", "revoke"],
    &["admin", "service-token"],
    &["admin", "service-token", "add"],
    &["admin", "service-token", "list"],
    &["admin", "service-token", "revoke"],
    &["admin", "profile"],
    &["admin", "discovery"],
    &["admin", "export-seed"],
    &["admin", "backup"],
    &["admin", "restore"],
    &["package"],
    &["segment"],
    &["packager"],
    &["packager", "enrol"],
    &["enrol"],
    &["check"],
    &["explain"],
    &["acquire"],
    &["play"],
    &["key-exchange"],
    &["key-exchange", "encrypt"],
    &["key-exchange", "decrypt"],
    &["key-exchange", "sign"],
    &["key-exchange", "verify"],
    &["key-exchange", "wrap"],
    &["key-exchange", "unwrap"],
    &["licenses"],
    &["licenses", "list"],
    &["licenses", "lists"],
    &["licenses", "show"],
    &["licenses", "delete"],
    &["licenses", "embed"],
    &["licenses", "clean"],
    &["licenses", "renew-key"],
    &["request"],
    &["renew"],
    &["answer"],
    &["install"],
    &["acknowledge"],
    &["doctor"],
    &["inspect"],
    &["danger"],
    &["danger", "decrypt"],
    &["completions"],
    &["man"],
    &["help"],
];

#[test]
fn help_texts_are_those_in_the_files() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/all/help");
    let bless = option_env!("KEYWARD_BLESS").is_some();
    for command in COMMANDS {
        let mut args = command.to_vec();
        if command != ["help"] {
            args.push("--help");
        }
        let output = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args(&args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}");
        let help = String::from_utf8(output.stdout).unwrap();
        let name = if command.is_empty() {
            "keyward".to_owned()
        } else {
            command.join("-")
        };
        let file = folder.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&file, &help).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            help,
            expected,
            "the help of {args:?} is not that of {}",
            file.display()
        );
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["play"][..],
        &["explain"],
        &["acquire"],
        &["admin", "grant", "--account", "a"],
        &["nonsense"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_keyward"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
