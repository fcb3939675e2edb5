//! Protected MP4s through the same commands as protected files.

use keyward_testkit::{media::fixture, peers};

use crate::world::{World, content, text};

/// An MP4 of one audio track, whose samples are noise.
fn tune() -> Vec<u8> {
    let sizes = [300_u32, 0, 16, 4711, 90_000, 7];
    let samples = content(sizes.iter().sum::<u32>().try_into().unwrap());
    let count = u32::try_from(sizes.len()).unwrap();
    let entry = [
        vec![0, 0, 0, 0, 0, 0, 0, 1],
        vec![0; 8],
        vec![0, 2, 0, 16, 0, 0, 0, 0],
        words(&[48_000 << 16]),
        full(
            b"esds",
            b"\x03\x19\0\0\0\x04\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\x05\x02\x11\x90\x06\x01\x02",
        ),
    ];
    let stbl = [
        full(b"stsd", &[words(&[1]), bx(b"mp4a", &entry.concat())].concat()),
        full(b"stts", &words(&[1, count, 1024])),
        full(b"stsc", &words(&[1, 1, count, 1])),
        full(b"stsz", &[words(&[0, count]), words(&sizes)].concat()),
        full(b"stco", &words(&[1, 8 + 16])),
    ];
    let dref = full(b"dref", &[words(&[1]), bx(b"url ", &words(&[1]))].concat());
    let minf = [
        full(b"smhd", &words(&[0])),
        bx(b"dinf", &dref),
        bx(b"stbl", &stbl.concat()),
    ];
    let mdia = [
        full(b"mdhd", &words(&[0, 0, 48_000, 1024 * count, 0x55c4_0000])),
        full(b"hdlr", b"\0\0\0\0soun\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        bx(b"minf", &minf.concat()),
    ];
    let tkhd = full(b"tkhd", &[words(&[0, 0, 1, 0, 1000]), vec![0; 60]].concat());
    let trak = [tkhd, bx(b"mdia", &mdia.concat())];
    let mvhd = [words(&[0, 0, 1000, 1000]), vec![0; 76], words(&[2])];
    let moov = [full(b"mvhd", &mvhd.concat()), bx(b"trak", &trak.concat())];
    [
        bx(b"ftyp", b"isom\0\0\0\0"),
        bx(b"mdat", &samples),
        bx(b"moov", &moov.concat()),
    ]
    .concat()
}

fn bx(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes(), kind.as_slice(), body].concat()
}

fn full(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    bx(kind, &[&[0; 4], body].concat())
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// MD5 of the samples of a clear file.
fn samples(world: &World, file: &str, track: &str) -> String {
    let no_key = "*:00000000000000000000000000000000";
    world.ok(&[
        "danger", "decrypt", "--keys", no_key, "--md5", "--track", track, file,
    ])
}

#[test]
fn a_protected_mp4_plays_reactively_and_then_from_the_store_without_the_server() {
    for scheme in ["cenc", "cbcs"] {
        let world = World::new();
        world.write("tune.mp4", &tune());
        let server = world.serve();
        world.ok(&["package", "tune.mp4", "--scheme", scheme, "-o", "received.mp4"]);
        world.enrol("phone", "alice");

        let missing = world.fails("phone", 3, &["check", "received.mp4"]);
        assert!(
            missing.contains("no license in the store covers key"),
            "{missing}"
        );
        let played = world.as_device("phone", &["play", "received.mp4"]);
        assert!(played.status.success(), "{}", text(&played.stderr));
        assert!(
            text(&played.stderr).contains("(acquired)"),
            "{}",
            text(&played.stderr)
        );
        world.write("played.mp4", &played.stdout);
        assert_eq!(
            samples(&world, "played.mp4", "audio"),
            samples(&world, "tune.mp4", "audio"),
            "{scheme}"
        );
        let protected = world.read("received.mp4");
        assert!(protected.len() == played.stdout.len() && protected != played.stdout);

        // From the store, in another process, with the server stopped; a part of it, and through a viewer.
        server.stop();
        world.device_ok("phone", &["check", "received.mp4"]);
        let again = world.as_device("phone", &["play", "received.mp4", "-o", "again.mp4"]);
        assert!(
            text(&again.stderr).contains("(from the store)"),
            "{}",
            text(&again.stderr)
        );
        assert!(world.read("again.mp4") == played.stdout);
        let part = ["play", "received.mp4", "--start", "50001", "--length", "30000"];
        assert!(world.as_device("phone", &part).stdout == played.stdout[50_001..80_001]);
        let viewed = world.as_device("phone", &["play", "received.mp4", "--", "cat"]);
        assert!(viewed.stdout == played.stdout);
    }
}

#[test]
fn tracks_under_several_keys_take_one_request() {
    let Some(peers) = peers::media() else { return };
    let world = World::new();
    std::fs::copy(fixture("h264-aac").file(&peers), world.path("film.mp4")).unwrap();
    let made = world.ok(&[
        "--json",
        "package",
        "film.mp4",
        "--key-per-kind",
        "-o",
        "received.mp4",
    ]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let kids: Vec<_> = [0, 1]
        .map(|track| made["tracks"][track]["kid"].as_str().unwrap())
        .into();
    assert!(kids[0] != kids[1]);
    let server = world.serve();
    world.enrol("phone", "alice");

    // With one license of the two: it says which, and plays nothing.
    world.device_ok("phone", &["acquire", kids[1]]);
    let found = world.as_device("phone", &["check", "received.mp4"]);
    assert_eq!(found.status.code(), Some(3));
    let listed = text(&found.stdout);
    assert!(
        listed.contains(&format!("key {}: no license", kids[0])),
        "{listed}"
    );
    assert!(
        listed.contains(&format!("key {}: can be opened", kids[1])),
        "{listed}"
    );
    let refused = world.fails(
        "phone",
        3,
        &["play", "received.mp4", "--offline", "-o", "played.mp4"],
    );
    assert!(refused.contains(kids[0]), "{refused}");
    assert!(!world.path("played.mp4").exists());

    let played = world.as_device("phone", &["play", "received.mp4", "-o", "played.mp4"]);
    assert!(played.status.success(), "{}", text(&played.stderr));
    let told = text(&played.stderr);
    assert!(
        kids.iter()
            .all(|kid| told.contains(&format!("for key {kid} (acquired)"))),
        "{told}"
    );
    server.stop();
    for track in ["video", "audio"] {
        assert_eq!(
            samples(&world, "played.mp4", track),
            samples(&world, "film.mp4", track)
        );
    }
    world.device_ok("phone", &["check", "received.mp4"]);
}

#[test]
fn licenses_for_an_mp4_are_carried_by_hand() {
    let world = World::new();
    world.write("tune.mp4", &tune());
    world.ok(&["package", "tune.mp4", "-o", "received.mp4"]);
    let server = world.serve();
    world.enrol("laptop", "carol");
    world.device_ok("laptop", &["acquire", "received.mp4"]);
    server.stop();
    world.device_ok(
        "laptop",
        &["play", "--offline", "received.mp4", "-o", "first.mp4"],
    );

    world.device_ok("laptop", &["request", "received.mp4", "-o", "request"]);
    world.ok(&["answer", "request", "-o", "response"]);
    world.device_ok("laptop", &["install", "response"]);
    world.device_ok(
        "laptop",
        &["play", "--offline", "received.mp4", "-o", "second.mp4"],
    );
    assert!(world.read("first.mp4") == world.read("second.mp4"));
}

#[test]
fn what_is_no_protected_mp4_is_said_so() {
    let world = World::new();
    world.write("tune.mp4", &tune());
    world.ok(&["package", "tune.mp4", "-o", "received.mp4"]);
    let clear = world.fails("phone", 1, &["play", "tune.mp4", "-o", "played.mp4"]);
    assert!(clear.contains("none of its tracks is protected"), "{clear}");
    let mut short = world.read("received.mp4");
    short.truncate(short.len() - 1);
    world.write("short.mp4", &short);
    let cut_off = world.fails("phone", 1, &["play", "short.mp4", "-o", "played.mp4"]);
    assert!(cut_off.contains("cannot open short.mp4"), "{cut_off}");
    let piped = world
        .command(&["play", "-"])
        .stdin(std::fs::File::open(world.path("received.mp4")).unwrap())
        .output()
        .unwrap();
    let said = text(&piped.stderr);
    assert!(said.contains("an MP4 cannot be read from a pipe"), "{said}");
    assert!(!world.path("played.mp4").exists());
}

#[test]
fn raw_keys_decrypt_from_the_command_line_and_from_a_file() {
    let world = World::new();
    let (kid, key) = [
        "10000000100010001000100000000001",
        "3a2a1b68dd2bd9b2eeb25e84c4776668",
    ]
    .into();
    world.write("tune.mp4", &tune());
    world.write("key", key.as_bytes());
    world.ok(&[
        "package",
        "tune.mp4",
        "--kid",
        kid,
        "--key-file",
        "key",
        "-o",
        "protected.mp4",
    ]);
    let pair = format!("{kid}:{key}");
    world.write("keys", format!("00{}:{key}\n{pair}\n", &kid[2..]).as_bytes());
    let by_file = [
        "danger",
        "decrypt",
        "--keys-file",
        "keys",
        "protected.mp4",
        "-o",
        "clear.mp4",
    ];
    world.ok(&by_file);
    assert_eq!(
        samples(&world, "clear.mp4", "audio"),
        samples(&world, "tune.mp4", "audio")
    );
    let piped = world
        .command(&["danger", "decrypt", "--keys", &pair, "protected.mp4"])
        .output()
        .unwrap();
    assert!(piped.stdout == world.read("clear.mp4"));

    // In pieces that go on where the one before ended.
    let protected = world.read("protected.mp4");
    let (head, tail) = protected.split_at(protected.len() / 3);
    world.write("head", head);
    world.write("tail", tail);
    let joined = ["danger", "decrypt", "--keys", &pair, "head", "tail"];
    assert!(world.command(&joined).output().unwrap().stdout == piped.stdout);

    let other = [
        "danger",
        "decrypt",
        "--keys",
        &format!("00{}:{key}", &kid[2..]),
        "protected.mp4",
    ];
    let refused = world.fails("nobody", 3, &other);
    assert!(refused.contains(kid), "{refused}");
    let wrong = world.fails(
        "nobody",
        1,
        &["danger", "decrypt", "--keys", "nothing", "protected.mp4"],
    );
    assert!(!wrong.contains("nothing"), "{wrong}");
    // The output is never the input, and replaces nothing by itself.
    world.fails(
        "nobody",
        1,
        &[
            "danger", "decrypt", "--keys", &pair, "--force", "-o", "tail", "head", "tail",
        ],
    );
    world.fails("nobody", 1, &by_file);
}

#[test]
fn the_demo_compares_every_sample_of_an_mp4() {
    let world = World::new();
    world.write("tune.mp4", &tune());
    let told: serde_json::Value = serde_json::from_str(&world.ok(&["--json", "demo", "tune.mp4"])).unwrap();
    assert_eq!(
        (&told["media"], &told["identical"]),
        (&true.into(), &true.into()),
        "{told}"
    );
    // An MP4 that cannot be protected as one is a file like any other.
    world.ok(&["package", "tune.mp4", "-o", "received.mp4"]);
    let told = world.ok(&["--json", "demo", "received.mp4"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["media"], &told["identical"]),
        (&false.into(), &true.into()),
        "{told}"
    );

    let Some(peers) = peers::media() else { return };
    std::fs::copy(fixture("h264-aac").file(&peers), world.path("film.mp4")).unwrap();
    let told = world.ok(&["--json", "demo", "film.mp4"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["kids"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(
        (&told["media"], &told["identical"]),
        (&true.into(), &true.into()),
        "{told}"
    );
}
