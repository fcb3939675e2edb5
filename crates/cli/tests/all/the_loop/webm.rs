//! WebM is not read and not written, and whoever names one is told what it is and what to do.

use crate::world::{World, text};

/// The beginning of a file with one track of VP9.
fn webm(doc_type: &[u8], is_encrypted: bool) -> Vec<u8> {
    let key = element(b"\x47\xe2", &[7; 16]);
    let encryption = element(b"\x50\x35", &[element(b"\x47\xe1", &[5]), key].concat());
    let encodings = element(b"\x6d\x80", &element(b"\x62\x40", &encryption));
    let codec = element(b"\x86", b"V_VP9");
    let track = if is_encrypted {
        [codec, encodings].concat()
    } else {
        codec
    };
    let tracks = element(b"\x16\x54\xae\x6b", &element(b"\xae", &track));
    let header = element(b"\x1a\x45\xdf\xa3", &element(b"\x42\x82", doc_type));
    let void = element(b"\xec", &[0; 20]);
    [header, element(b"\x18\x53\x80\x67", &[void, tracks].concat())].concat()
}

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    let size = 0x4000 | u16::try_from(body.len()).unwrap();
    [id, &size.to_be_bytes(), body].concat()
}

#[test]
fn encrypted_webm_is_refused_with_the_reason() {
    let world = World::new();
    world.write("film.webm", &webm(b"webm", true));
    let keys = "*:00000000000000000000000000000000";
    for command in [
        &["play", "film.webm", "-o", "played"][..],
        &["acquire", "film.webm"],
        &["check", "film.webm"],
        &["danger", "decrypt", "--keys", keys, "-o", "played", "film.webm"],
        &[
            "danger",
            "decrypt",
            "--keys",
            keys,
            "--md5",
            "--track",
            "video",
            "film.webm",
        ],
    ] {
        let said = world.fails("phone", 1, command);
        let why =
            "cannot open film.webm: it is an encrypted WebM file, which names keys but no license server";
        assert!(said.contains(why), "{command:?}: {said}");
        assert!(
            said.contains("hint: package the clear original as MP4: `ffmpeg -i"),
            "{said}"
        );
    }
    assert!(!world.path("played").exists());
    let piped = world
        .command(&["play", "-"])
        .stdin(std::fs::File::open(world.path("film.webm")).unwrap())
        .output()
        .unwrap();
    assert!(
        text(&piped.stderr).contains("it is an encrypted WebM file"),
        "{}",
        text(&piped.stderr)
    );
}

#[test]
fn clear_webm_is_said_to_be_clear() {
    let world = World::new();
    world.write("film.webm", &webm(b"webm", false));
    world.write("film.mkv", &webm(b"matroska", false));
    world.write("cut.webm", webm(b"webm", true).get(..20).unwrap());
    for (file, why) in [
        (
            "film.webm",
            "it is a WebM file, and none of its tracks is protected",
        ),
        (
            "film.mkv",
            "it is a Matroska file, and none of its tracks is protected",
        ),
        ("cut.webm", "it is a WebM file; protected content is MP4 here"),
    ] {
        let said = world.fails("phone", 1, &["play", file, "-o", "played"]);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn webm_is_packaged_as_a_file_and_said_to_be_no_common_encryption() {
    let world = World::new();
    for (is_encrypted, words) in [
        (
            false,
            "make an MP4 of it first, without encoding anew: `ffmpeg -i film.webm -c copy film.mp4`",
        ),
        (
            true,
            "film.webm is a WebM file, and encrypted already. It is protected as a file of any kind",
        ),
    ] {
        let clear = webm(b"webm", is_encrypted);
        world.write("film.webm", &clear);
        let package = ["package", "film.webm", "--force", "-o", "film.kw"];
        let made = world.as_device("nobody", &package);
        assert!(made.status.success());
        let said = text(&made.stderr);
        assert!(said.contains(words), "{said}");
        assert!(
            said.contains("which players of common encryption do not read"),
            "{said}"
        );
        let piped = world
            .command(&["package", "-", "--force", "-o", "piped.kw"])
            .stdin(std::fs::File::open(world.path("film.webm")).unwrap())
            .output()
            .unwrap();
        assert!(piped.status.success());
        assert!(
            text(&piped.stderr).contains("is a WebM file"),
            "{}",
            text(&piped.stderr)
        );

        // Who says so is not told, and who asks for common encryption is refused.
        let told = [&package[..], &["--scheme", "file"]].concat();
        assert!(!text(&world.as_device("nobody", &told).stderr).contains("WebM"));
        let refused = world.fails(
            "nobody",
            1,
            &["package", "film.webm", "--scheme", "cenc", "-o", "film.mp4"],
        );
        let why = "cannot protect film.webm: it is a WebM file, and samples are protected in MP4 alone";
        assert!(
            refused.contains(why) && refused.contains("--scheme file"),
            "{refused}"
        );
        assert!(!world.path("film.mp4").exists());

        let server = world.serve();
        world.enrol(if is_encrypted { "phone" } else { "tablet" }, "alice");
        for file in ["film.kw", "piped.kw"] {
            let played = world.as_device(if is_encrypted { "phone" } else { "tablet" }, &["play", file]);
            assert!(played.stdout == clear, "{}", text(&played.stderr));
        }
        server.stop();
    }
}
