//! A film that is being watched when its license ends: with a real-time expiration it stops, and only then.

use std::{
    fs::{self, File},
    io::{self, BufRead, Read},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use keyward_client::{ClientError, acquire::Wanted};
use keyward_client_native::NativeError;
use keyward_content::media::{ClearView, LockedMedia};
use keyward_license::{time::Timestamp, usage_rules::Refusal};
use keyward_server::policy::{PolicyTerms, Preset};

use crate::scenarios::{
    film,
    world::{ALICE, Device, HOUR, NOW, World},
};

/// Samples of the film: more than a pipe holds by far.
const SAMPLES: u32 = 40;

/// A film until `end`, on a device with a license for it and no network.
fn watching(now: Timestamp, end: Timestamp, real_time: bool) -> (World, Device) {
    let world = World::beginning(
        now,
        PolicyTerms {
            end: Some(end),
            real_time_expiration: real_time,
            ..Preset::Purchase.terms()
        },
    );
    fs::write(world.home().join("clear.mp4"), film::mp4(SAMPLES)).unwrap();
    let packaged = keyward(&world, &["package", "clear.mp4", "-o", "film.mp4"])
        .output()
        .unwrap();
    assert!(packaged.status.success(), "{}", text(&packaged.stderr));
    world.operator(async |server| server.grant(ALICE, None, "offer", None).await.unwrap());
    let mut device = world.device("phone");
    let film = locked(&world);
    device.wanted = Wanted {
        kids: film.required_kids(),
        ..Wanted::default()
    };
    device.acquire().unwrap();
    world.network.online.set(false);
    (world, device)
}

fn locked(world: &World) -> LockedMedia<File> {
    LockedMedia::open(File::open(world.home().join("film.mp4")).unwrap()).unwrap()
}

/// The program, as the device in the folder `phone`.
fn keyward(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command
        .args(args)
        .current_dir(world.home())
        .env("KEYWARD_CLIENT_DIR", world.home().join("phone"))
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads up to so many bytes; what keeps it from reading more.
fn read(from: &mut impl BufRead, most: usize, seen: &mut Vec<u8>) -> io::Result<()> {
    while seen.len() < most {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        let taken = piece.len().min(most - seen.len());
        seen.extend_from_slice(&piece[..taken]);
        from.consume(taken);
    }
    Ok(())
}

#[test]
fn r_014_a_film_stops_in_the_second_in_which_its_license_ends_and_without_the_term_plays_on() {
    for real_time in [true, false] {
        let end = NOW.plus(HOUR);
        let (world, mut device) = watching(NOW, end, real_time);
        let clear = fs::read(world.home().join("clear.mp4")).unwrap();
        let mut opened = device.play().unwrap();
        assert_eq!(opened.bound[0].playback_ends(), real_time.then_some(end));
        let view: ClearView<_, _> = locked(&world).clear_view(opened.keys());
        // What the film is without its protection: the same samples in another arrangement of boxes.
        let mut whole = Vec::new();
        locked(&world)
            .clear_view(opened.keys())
            .read_to_end(&mut whole)
            .unwrap();
        let at = whole.windows(16).position(|part| part == &clear[24..40]).unwrap();
        let samples = (SAMPLES * film::SAMPLE) as usize;
        assert!(
            whole[at..at + samples] == clear[24..24 + samples],
            "the samples differ"
        );

        let mut watched = device.client().watch(&mut opened, view);
        let mut seen = Vec::new();
        read(&mut watched, 500_000, &mut seen).unwrap();
        world.pass(HOUR - 1);
        read(&mut watched, 1_000_000, &mut seen).unwrap();
        assert_eq!(seen.len(), 1_000_000);
        world.pass(1);
        let rest = read(&mut watched, usize::MAX, &mut seen);
        drop(watched);
        if real_time {
            let stopped = rest.unwrap_err().downcast::<NativeError>().unwrap();
            let ended = Refusal::Ended { end };
            assert!(
                matches!(stopped, NativeError::Client(ClientError::Refused { refusal, .. }) if refusal == ended),
                "{stopped:?}"
            );
            assert_eq!(seen, whole[..1_000_000]);
        } else {
            rest.unwrap();
            assert!(seen == whole, "what was seen differs");
        }
        // In no case is it opened again.
        assert_eq!(device.refusal(), Refusal::Ended { end });
    }
}

#[test]
fn r_014_keyward_play_stops_in_the_middle_of_a_film_with_exit_code_3_and_says_why() {
    // Long enough for a slow machine to begin both playbacks.
    let (begun, lasts) = (now(), 10);
    let end = begun.plus(lasts);
    let mut playing = [true, false].map(|real_time| {
        let (world, mut device) = watching(begun, end, real_time);
        device.stop();
        let mut play = keyward(&world, &["play", "film.mp4", "--offline", "-o", "-"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It has begun, and goes no further than the pipe holds.
        let mut seen = vec![0; 10_000];
        play.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
        (world, play, seen)
    });
    while now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let [(stopped, cut), (played_on, whole)] = playing.each_mut().map(|(_, play, seen)| {
        let mut seen = core::mem::take(seen);
        play.stdout.take().unwrap().read_to_end(&mut seen).unwrap();
        let mut said = String::new();
        play.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        ((play.wait().unwrap().code(), said), seen)
    });
    let (code, said) = played_on;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("R-014"), "{said}");
    assert_eq!(
        whole.len(),
        fs::read(playing[1].0.home().join("film.mp4")).unwrap().len()
    );

    let (code, said) = stopped;
    assert_eq!(code, Some(3), "{said}");
    for words in [
        "playing stops at",
        "stopped playing film.mp4",
        "the license has ended (R-005)",
        "hint: ",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(cut.len() < whole.len() / 2, "{}", cut.len());
    // The films differ in their keys and ids, so in their first boxes; not in how long these are, nor in the samples.
    let samples = cut.len() / 2;
    assert_eq!(cut[samples..], whole[samples..cut.len()]);
}

/// The program has the operating system's clock and no other.
#[expect(
    clippy::disallowed_methods,
    reason = "the test has to read what the program reads"
)]
fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}
