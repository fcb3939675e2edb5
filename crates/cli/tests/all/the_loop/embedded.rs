//! Licenses that travel in the content: leaves from the packager, and what a device was given.

use crate::{
    the_loop::live::{broadcaster, json},
    world::text,
};

#[test]
fn licenses_are_embedded_where_there_is_room_and_stay_usable_where_not() {
    let (world, server) = broadcaster();
    let kid = "6b5f1c0e9a7d4c2fb3e8d1a09c4f7e25";
    world.write("report.pdf", b"a report");
    for (output, reserve) in [("roomy.kw", "8192"), ("tight.kw", "100"), ("none.kw", "0")] {
        world.ok(&[
            "package",
            "report.pdf",
            "--kid",
            kid,
            "-o",
            output,
            "--reserve",
            reserve,
        ]);
    }
    world.ok(&["admin", "policy", "write", "boxed", "--embed"]);
    world.ok(&[
        "admin",
        "grant",
        "--account",
        "alice",
        "--kid",
        kid,
        "--policy",
        "boxed",
    ]);
    let before = world.read("tight.kw");

    // What plays is written to, if its license was acquired on the way.
    world.ok(&[
        "package",
        "report.pdf",
        "--kid",
        kid,
        "-o",
        "played.kw",
        "--reserve",
        "8192",
    ]);
    world.ok(&[
        "admin",
        "grant",
        "--account",
        "bob",
        "--kid",
        kid,
        "--policy",
        "boxed",
    ]);
    let played = world.as_device("bob", &["play", "played.kw"]);
    assert_eq!(text(&played.stdout), "a report", "{}", text(&played.stderr));
    assert!(
        text(&played.stderr).contains("is embedded in played.kw"),
        "{}",
        text(&played.stderr)
    );
    let tight = world.as_device("bob", &["acquire", "tight.kw"]);
    assert!(
        tight.status.success() && text(&tight.stderr).contains("is not embedded in tight.kw"),
        "{}",
        text(&tight.stderr)
    );
    assert!(
        world.read("tight.kw") == before,
        "what has no room is left as it was"
    );

    // By key id no content is known; each content then says what it has room for.
    let asked = world.as_device("alice", &["acquire", kid]);
    assert!(
        text(&asked.stderr).contains("keyward licenses embed FILE"),
        "{}",
        text(&asked.stderr)
    );
    server.stop();
    world.device_ok("alice", &["licenses", "embed", "roomy.kw"]);
    for (file, why) in [
        ("tight.kw", "and the embedded license store has 100"),
        ("none.kw", "no room for embedded licenses"),
    ] {
        let refused = world.fails("alice", 1, &["licenses", "embed", file]);
        assert!(refused.contains(why) && refused.contains("\nhint: "), "{refused}");
    }
    assert!(
        world.read("tight.kw") == before,
        "what has no room is left as it was"
    );
    let roomy = json(&world.ok(&["--json", "inspect", "roomy.kw"]));
    let store = &roomy["unverified"]["embedded_license_store"];
    assert_eq!(store["licenses"][0]["kid"], kid, "{roomy}");
    for file in ["roomy.kw", "tight.kw", "none.kw"] {
        assert_eq!(world.device_ok("alice", &["play", file, "--offline"]), "a report");
    }

    // A store that somebody filled with noise is as good as an empty one.
    let mut noise = world.read("roomy.kw");
    let at = noise.windows(8).rposition(|zeros| zeros == [0; 8]).unwrap();
    noise[at] = 0xff;
    world.write("noise.kw", &noise);
    assert_eq!(
        world.device_ok("alice", &["play", "noise.kw", "--offline"]),
        "a report"
    );
    world.device_ok("alice", &["licenses", "embed", "noise.kw"]);
    let mended = json(&world.ok(&["--json", "inspect", "noise.kw"]));
    assert_eq!(mended["unverified"]["embedded_license_store"], *store);
}

#[test]
fn leaves_and_periods_that_cannot_be_are_refused_before_anything_is_made() {
    let (world, server) = broadcaster();
    world.write("book.pdf", b"a book");
    let base = [
        "package",
        "book.pdf",
        "-o",
        "book.kw",
        "--packager",
        "packager",
        "--content-id",
        "book",
    ];
    let said = world.as_device("nobody", &[&base[..], &["--leaves", "--force"]].concat());
    assert!(
        said.status.success() && text(&said.stderr).contains("under no root"),
        "{}",
        text(&said.stderr)
    );
    std::fs::remove_file(world.path("book.kw")).unwrap();
    world.ok(&["admin", "root", "create", "library"]);
    world.ok(&["admin", "root", "put", "library", "--content-id", "book"]);
    for (more, expected) in [
        (&["--crypto-period", "2s"][..], "no crypto periods"),
        (&["--leaves", "--reserve", "100"], "its leaf licenses need"),
    ] {
        let refused = world.fails("nobody", 1, &[&base[..], more].concat());
        assert!(
            refused.contains(expected) && refused.contains("\nhint: "),
            "{refused}"
        );
        assert!(!world.path("book.kw").exists(), "{expected}");
    }
    let mut piped = base.to_vec();
    piped[3] = "-";
    piped.push("--leaves");
    let refused = world.fails("nobody", 1, &piped);
    assert!(refused.contains("not in a pipe or a device"), "{refused}");
    // A book with its leaf: whoever has the root reads it.
    world.ok(&[&base[..], &["--leaves"]].concat());
    world.ok(&["admin", "grant", "--account", "alice", "--root", "library"]);
    assert_eq!(world.device_ok("alice", &["play", "book.kw"]), "a book");
    server.stop();
    assert_eq!(
        world.device_ok("alice", &["play", "book.kw", "--offline"]),
        "a book"
    );
}
