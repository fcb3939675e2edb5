//! Media from standard input: fragments as ffmpeg writes them into a pipe, progressive files, pipes that break,
//! and outputs that have no room.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use keyward_testkit::{
    media::{
        Key, Keys, Kind, Samples, Scheme, assert_same_samples, assert_same_times, fixture, samples,
        shaka_decrypt,
    },
    peers::{self, MediaPeers},
};

use crate::media::workshop::Workshop;

/// The key for what is packaged in `cenc`.
const KEY: Key = Key::numbered(77);
/// One key serves one mode.
const CBCS_KEY: Key = Key::numbered(78);

/// What comes through the pipe before the memory is looked at, in bytes, and after that.
#[cfg(target_os = "linux")]
const FIRST: usize = 32 << 20;
#[cfg(target_os = "linux")]
const REST: usize = 192 << 20;
/// By how much the most that a process has had in memory may grow meanwhile: a fraction of what came.
#[cfg(target_os = "linux")]
const GROWTH_KIB: u64 = 16 << 10;

/// A workshop with the key in a file.
fn workshop() -> Workshop {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("key"), KEY.key_hex()).unwrap();
    workshop
}

/// `keyward package -` under the key, with more arguments.
fn package(workshop: &Workshop, more: &[&str]) -> Command {
    package_under(workshop, &KEY, more)
}

fn package_under(workshop: &Workshop, key: &Key, more: &[&str]) -> Command {
    let (kid, file) = (key.kid_hex(), key.key_hex());
    std::fs::write(workshop.path("key"), file).unwrap();
    let mut command = workshop.command(&["package", "-", "--kid", &kid, "--key-file", "key"]);
    command.args(more);
    command
}

/// ffmpeg that writes a file into a pipe as fragments.
fn fragments_of(ffmpeg: &Path, file: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-i"]).arg(file);
    command
        .args(["-map", "0:v?", "-map", "0:a?", "-c", "copy"])
        .args(more);
    command.args(["-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-"]);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn fed(mut command: Command, input: impl Into<Stdio>) -> Output {
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

fn fed_with(mut command: Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || match stdin.write_all(input) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
            Ok(()) => drop(stdin),
        });
        process.wait_with_output().unwrap()
    })
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn clear_of(peers: &MediaPeers, name: &str) -> (PathBuf, Samples) {
    let clear = fixture(name).file(peers);
    let samples = samples(&peers.ffmpeg, &clear, Keys::None);
    (clear, samples)
}

/// All programs find the clear samples.
fn is_read_by_all(workshop: &Workshop, peers: &MediaPeers, file: &Path, wanted: &Samples, what: &str) {
    is_read_under(&KEY, workshop, peers, file, wanted, what);
}

fn is_read_under(
    key: &Key,
    workshop: &Workshop,
    peers: &MediaPeers,
    file: &Path,
    wanted: &Samples,
    what: &str,
) {
    let found = samples(&peers.ffmpeg, file, Keys::ByKid(&[*key]));
    assert_same_samples(&found, wanted, &format!("{what}, by ffmpeg"));
    assert_eq!(found.complaints, "", "{what}");
    let found = samples(&peers.ffmpeg_old, file, Keys::One(*key));
    assert_same_samples(&found, wanted, &format!("{what}, by the old ffmpeg"));
    let found = samples(&peers.ffmpeg, &workshop.decrypt(file, &[*key]), Keys::None);
    assert_same_samples(&found, wanted, &format!("{what}, by keyward"));
    let kind = wanted.tracks[0].kind;
    let output = workshop.path("shaka-clear.mp4");
    shaka_decrypt(&peers.packager, file, kind, &[*key], &output)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = samples(&peers.ffmpeg, &output, Keys::None);
    let first = Samples {
        tracks: wanted.of(kind).take(1).cloned().collect(),
        complaints: String::new(),
    };
    assert_same_samples(&found, &first, &format!("{what}, by Shaka Packager"));
}

#[test]
fn what_ffmpeg_pipes_in_fragments_is_protected_as_it_comes() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    for name in [
        "h264-aac",
        "h265-aac",
        "av1-opus",
        "vp9-opus",
        "h264-b-frames",
        "aac",
    ] {
        let (clear, original) = clear_of(&peers, name);
        // As ffmpeg times the samples in fragments.
        let whole = fragments_of(&peers.ffmpeg, &clear, &[])
            .wait_with_output()
            .unwrap();
        std::fs::write(workshop.path("fragments.mp4"), whole.stdout).unwrap();
        let wanted = samples(&peers.ffmpeg, &workshop.path("fragments.mp4"), Keys::None);
        assert_same_samples(&wanted, &original, name);
        for (scheme, key) in Scheme::USUAL.into_iter().zip([KEY, CBCS_KEY]) {
            let mut ffmpeg = fragments_of(&peers.ffmpeg, &clear, &[]);
            let command = package_under(
                &workshop,
                &key,
                &["--scheme", scheme.name(), "--force", "-o", "piped.mp4"],
            );
            let made = fed(command, ffmpeg.stdout.take().unwrap());
            assert!(made.status.success(), "{}", errors(&made));
            assert!(ffmpeg.wait().unwrap().success());
            let (file, what) = (
                workshop.path("piped.mp4"),
                format!("{name}, {}, piped", scheme.name()),
            );
            is_read_under(&key, &workshop, &peers, &file, &wanted, &what);
            let found = samples(&peers.ffmpeg, &file, Keys::ByKid(&[key]));
            assert_same_times(&found, &wanted, fixture(name).times, &what);
        }
    }
    assert!(!workshop.names().iter().any(|name| name.ends_with(".part")));
}

#[test]
fn an_initialisation_segment_and_segments_come_through_a_pipe_with_a_clear_lead() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    let (clear, wanted) = clear_of(&peers, "h264-aac-fragmented");
    let more = ["--clear-lead", "2", "-o", "piped.mp4"];
    let made = fed(package(&workshop, &more), File::open(clear).unwrap());
    assert!(made.status.success(), "{}", errors(&made));
    let file = workshop.path("piped.mp4");
    is_read_by_all(&workshop, &peers, &file, &wanted, "with a clear lead");
    let found = samples(&peers.ffmpeg, &file, Keys::None);
    let video = |samples: &Samples| samples.of(Kind::Video).next().unwrap().samples.clone();
    let (found, wanted) = (video(&found), video(&wanted));
    assert_eq!(found[0].md5, wanted[0].md5, "the beginning is protected");
    let last = found.iter().zip(&wanted).rev().take(20);
    assert!(
        last.clone().any(|(found, wanted)| found.md5 != wanted.md5),
        "the end is clear"
    );
}

#[test]
fn a_progressive_file_is_kept_until_it_is_read_and_leaves_nothing() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    for name in ["h264-aac", "h264-aac-moov-first", "h264-aac-was-fragmented"] {
        let (clear, wanted) = clear_of(&peers, name);
        let before = workshop.names();
        let made = fed_with(
            package(&workshop, &["-o", "piped.mp4"]),
            &std::fs::read(&clear).unwrap(),
        );
        assert!(made.status.success(), "{}", errors(&made));
        let file = workshop.path("piped.mp4");
        let mut after = workshop.names();
        assert!(after.remove("piped.mp4"));
        assert_eq!(after, before);
        is_read_by_all(&workshop, &peers, &file, &wanted, &format!("{name}, piped"));
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_file(workshop.path("shaka-clear.mp4")).unwrap();
        std::fs::remove_file(workshop.path("decrypted.mp4")).unwrap();
    }
}

#[test]
fn media_goes_to_standard_output_when_all_of_it_is_protected() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    let (clear, wanted) = clear_of(&peers, "h264-aac-fragmented");
    let bytes = std::fs::read(&clear).unwrap();
    let made = fed_with(package(&workshop, &["-o", "-"]), &bytes);
    assert!(made.status.success(), "{}", errors(&made));
    assert!(errors(&made).contains("protected with cenc"), "{}", errors(&made));
    let file = workshop.path("out.mp4");
    std::fs::write(&file, &made.stdout).unwrap();
    is_read_by_all(&workshop, &peers, &file, &wanted, "through two pipes");

    // A file goes there as well, and half an input does not.
    let clear = clear.display().to_string();
    let args = [
        "package",
        &clear,
        "--kid",
        &KEY.kid_hex(),
        "--key-file",
        "key",
        "-o",
        "-",
    ];
    let made = workshop.run(&args);
    assert!(made.status.success(), "{}", errors(&made));
    std::fs::write(&file, &made.stdout).unwrap();
    is_read_by_all(&workshop, &peers, &file, &wanted, "from a file");
    let cut = fed_with(package(&workshop, &["-o", "-"]), &bytes[..bytes.len() / 2]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(cut.stdout.is_empty());
}

#[test]
fn a_pipe_that_breaks_leaves_nothing_and_says_so() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    let (clear, _) = clear_of(&peers, "h264-aac-fragmented");
    let bytes = std::fs::read(&clear).unwrap();
    let before = workshop.names();
    for len in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let cut = fed_with(package(&workshop, &["-o", "piped.mp4"]), &bytes[..len]);
        assert_eq!(cut.status.code(), Some(1), "{len}");
        let said = errors(&cut);
        assert!(
            said.contains("cannot protect standard input") && said.contains("hint: "),
            "{said}"
        );
        assert_eq!(workshop.names(), before, "{len}");
    }
    let nothing = fed_with(package(&workshop, &["--scheme", "cenc", "-o", "piped.mp4"]), b"");
    assert_eq!(nothing.status.code(), Some(1));
    assert_eq!(workshop.names(), before);

    // Whoever reads the output has gone.
    let mut process = package(&workshop, &["-o", "-"])
        .stdin(File::open(&clear).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(process.stdout.take());
    let gone = process.wait_with_output().unwrap();
    assert_eq!(gone.status.code(), Some(1), "{}", errors(&gone));
    assert!(
        errors(&gone).contains("cannot write the output"),
        "{}",
        errors(&gone)
    );
    assert_eq!(workshop.names(), before);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_without_room_is_an_error() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    for name in ["h264-aac-fragmented", "h264-aac"] {
        let (clear, _) = clear_of(&peers, name);
        let full = fed(
            package(&workshop, &["-o", "/dev/full"]),
            File::open(&clear).unwrap(),
        );
        assert_eq!(full.status.code(), Some(1));
        let said = errors(&full);
        assert!(said.contains("cannot write the output: No space left"), "{said}");
        // A disk on which neither the output nor what is kept beside it has room.
        let limited = format!(
            "ulimit -f 64; trap '' XFSZ; exec {} package - --kid {} --key-file key -o piped.mp4",
            env!("CARGO_BIN_EXE_keyward"),
            KEY.kid_hex()
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &limited]).current_dir(workshop.path(""));
        let full = fed(shell, File::open(&clear).unwrap());
        assert_eq!(full.status.code(), Some(1), "{}", errors(&full));
        let said = errors(&full);
        assert!(
            said.contains("File too large") && said.contains("hint: "),
            "{said}"
        );
        assert!(!workshop.names().iter().any(|name| name.contains("piped")));
        assert!(!workshop.names().iter().any(|name| name.ends_with(".part")));
    }
}

#[test]
fn what_cannot_be_said_of_standard_input_is_refused() {
    let workshop = workshop();
    for (more, why) in [
        (
            &["segment.m4s", "-o", "out.mp4"][..],
            "segments come through standard input as well",
        ),
        (&["--scheme", "cenc"], "standard input has no name"),
        (&[], "standard input has no name"),
    ] {
        let refused = fed_with(package(&workshop, more), b"\0\0\0\x08free");
        assert_eq!(refused.status.code(), Some(1));
        assert!(errors(&refused).contains(why), "{}", errors(&refused));
    }
    let kid = ["package", "-", "a.mp4", "--key-per-quality", "-o", "out"];
    let refused = fed_with(workshop.command(&kid), b"");
    assert!(
        errors(&refused).contains("cannot be one of several files"),
        "{}",
        errors(&refused)
    );
}

/// The most that a running process has had in memory.
#[cfg(target_os = "linux")]
fn peak(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// Many fragments, the same ones again and again.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_what_comes_through_the_pipe() {
    let Some(peers) = peers::media() else { return };
    let workshop = workshop();
    let (clear, _) = clear_of(&peers, "h264-aac-fragmented");
    let bytes = std::fs::read(clear).unwrap();
    let place = |name: &[u8]| bytes.windows(4).position(|found| found == name).unwrap() - 4;
    let (head, fragments) = bytes[..place(b"mfra")].split_at(place(b"moof"));
    let mut process = package(&workshop, &["-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(head).unwrap();
    let mut send = |most| {
        let mut sent = 0;
        while sent < most {
            stdin.write_all(fragments).unwrap();
            sent += fragments.len();
        }
        // It waits for more.
        peak(&process)
    };
    let (before, after) = (send(FIRST), send(REST));
    assert!(after < before + GROWTH_KIB, "{before} KiB, then {after} KiB");
    drop(stdin);
    assert!(process.wait().unwrap().success());
}
