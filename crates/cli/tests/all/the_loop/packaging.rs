//! A packager with a certificate of its own: keys by exchange, without the operator's folder or the seed.

use crate::world::{World, content, text};

fn packager_token(world: &World) -> String {
    let made = world.ok(&[
        "--json",
        "admin",
        "enrolment-token",
        "--account",
        "encoder",
        "--role",
        "packager",
    ]);
    let json: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(json["role"], "packager");
    json["token"].as_str().unwrap().to_owned()
}

/// Enrols a packager in this folder; the license server runs.
pub(crate) fn enrol_packager(world: &World, folder: &str) {
    world.ok(&enrol(folder, &packager_token(world)));
}

fn enrol<'a>(folder: &'a str, token: &'a str) -> [&'a str; 8] {
    [
        "packager",
        "enrol",
        "--packager",
        folder,
        "--profile",
        "operator/operator-profile",
        "--token",
        token,
    ]
}

fn package(world: &World, folder: &str, content_id: &str, output: &str) -> String {
    let args = [
        "--json",
        "package",
        "film.mkv",
        "--scheme",
        "file",
        "--packager",
        folder,
        "--content-id",
        content_id,
        "--operator",
        "nowhere",
        "-o",
        output,
    ];
    let made: serde_json::Value = serde_json::from_str(&world.ok(&args)).unwrap();
    made["kid"].as_str().unwrap().to_owned()
}

#[test]
fn an_enrolled_packager_packages_without_the_operators_folder_and_a_device_plays() {
    let world = World::new();
    let clear = content(200_000);
    world.write("film.mkv", &clear);
    let server = world.serve();
    let token = packager_token(&world);
    let said = world.ok(&enrol("encoder", &token));
    assert!(said.contains("is enrolled with Test operator"), "{said}");
    // A repetition (the answer was lost) gets the same certificate.
    world.ok(&enrol("encoder", &token));
    let other = packager_token(&world);
    world.ok(&enrol("encoder-2", &other));

    let kid = package(&world, "encoder", "film-1", "film.kw");
    assert_eq!(package(&world, "encoder", "film-1", "again.kw"), kid);
    assert_eq!(package(&world, "encoder-2", "film-1", "third.kw"), kid);
    assert_ne!(package(&world, "encoder", "film-2", "other.kw"), kid);

    world.enrol("phone", "alice");
    for protected in ["film.kw", "third.kw"] {
        let played = world.as_device("phone", &["play", protected]);
        assert!(played.status.success(), "{}", text(&played.stderr));
        assert!(played.stdout == clear, "what was played differs");
    }
    server.stop();
    let unreachable = world.fails(
        "phone",
        4,
        &[
            "package",
            "film.mkv",
            "--scheme",
            "file",
            "--packager",
            "encoder",
            "--content-id",
            "film-3",
        ],
    );
    assert!(
        unreachable.contains("cannot reach the license server"),
        "{unreachable}"
    );
    assert!(!world.path("film.mkv.kw").exists(), "half an output was left");
    // Nobody is asked for keys of an output that may not be written.
    let ask_for_existing = ["--packager", "encoder", "--content-id", "film-4", "-o", "film.kw"];
    for kind in ["file", "cenc"] {
        let args = [&["package", "film.mkv", "--scheme", kind], &ask_for_existing[..]].concat();
        let exists = world.fails("phone", 1, &args);
        assert!(exists.contains("exists already"), "{kind}: {exists}");
    }
    let unfinished = |name: &std::ffi::OsStr| name.as_encoded_bytes().ends_with(b".part");
    let mut files = std::fs::read_dir(world.path(".")).unwrap();
    assert!(!files.any(|file| unfinished(&file.unwrap().file_name())));
}

#[test]
fn two_that_enrol_at_once_in_one_folder_make_one_packager() {
    let world = World::new();
    let server = world.serve();
    let tokens = [(); 4].map(|()| packager_token(&world));
    let packagers: std::collections::BTreeSet<_> = std::thread::scope(|scope| {
        let enrolling = tokens.each_ref().map(|token| {
            let world = &world;
            scope.spawn(move || {
                let said = world.ok(&[&["--json"], &enrol("encoder", token)[..]].concat());
                let json: serde_json::Value = serde_json::from_str(&said).unwrap();
                json["packager"].as_str().unwrap().to_owned()
            })
        });
        enrolling.map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(packagers.len(), 1, "{packagers:?}");
    world.write("film.mkv", b"film");
    package(&world, "encoder", "film-1", "film.kw");
    server.stop();
}

#[test]
fn who_is_no_packager_gets_no_keys() {
    let world = World::new();
    world.write("film.mkv", b"film");
    let server = world.serve();
    let ask = [
        "package",
        "film.mkv",
        "--scheme",
        "file",
        "--packager",
        "encoder",
        "--content-id",
        "film-1",
    ];
    let none = world.fails("nobody", 1, &ask);
    assert!(none.contains("there is no packager in encoder"), "{none}");

    // V-054: a device's token makes no packager, a packager's no device.
    let for_device = world.token("alice");
    let refused = world.fails("nobody", 3, &enrol("encoder", &for_device));
    assert!(refused.contains("it is for another role"), "{refused}");
    let for_packager = packager_token(&world);
    let device = [
        "enrol",
        "--profile",
        "operator/operator-profile",
        "--token",
        &for_packager,
    ];
    let refused = world.fails("phone", 3, &device);
    assert!(refused.contains("it is for another role"), "{refused}");
    let unenrolled = world.fails("nobody", 1, &ask);
    assert!(
        unenrolled.contains("this packager is not enrolled"),
        "{unenrolled}"
    );

    // V-071: a revoked one.
    world.ok(&enrol("encoder", &for_packager));
    world.ok(&ask);
    let listed: serde_json::Value = serde_json::from_str(&world.ok(&["--json", "admin", "devices"])).unwrap();
    let packager = &listed["devices"][0];
    assert_eq!(
        (&packager["role"], &packager["account"]),
        (&"packager".into(), &"encoder".into())
    );
    world.ok(&["admin", "revoke-device", packager["device"].as_str().unwrap()]);
    let revoked = world.fails("nobody", 3, &[&ask[..], &["--force"]].concat());
    assert!(revoked.contains("the packager was revoked"), "{revoked}");
    server.stop();
}

#[test]
fn the_packagers_keys_are_private_and_sealed() {
    let world = World::new();
    let server = world.serve();
    let token = packager_token(&world);
    world.ok(&enrol("encoder", &token));
    server.stop();
    for name in ["packager.keys", "packager.secret"] {
        let path = world.path("encoder").join(name);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes.windows(13).any(|window| window == b"Test operator"),
            "{name} is not sealed"
        );
    }
    std::fs::remove_file(world.path("encoder/packager.secret")).unwrap();
    let broken = world.fails("nobody", 1, &enrol("encoder", &token));
    assert!(broken.contains("the file packager.secret is missing"), "{broken}");
}
