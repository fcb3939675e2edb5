//! What is packaged, cut into the files that a streaming server hands out.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use keyward_testkit::{
    media::{Keys, Kind, Scheme, fixture, samples},
    peers,
};

use super::{
    peers::decrypts_to,
    workshop::{Keying, Workshop},
};

#[test]
fn what_is_packaged_is_cut_into_segments_that_are_played_alone_and_together() {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    for name in [
        "h264-aac",
        "av1-opus-fragmented",
        "h264-aac-absolute-offsets",
        "h265-two-layers",
    ] {
        let fixture = fixture(name);
        let clear = fixture.file(&peers);
        let wanted = samples(&peers.ffmpeg, &clear, Keys::None);
        for scheme in Scheme::USUAL {
            let keys = Keying::Shared.keys(fixture, scheme);
            let (_, key) = keys[0];
            let file = workshop.package(&clear, scheme, Keying::Shared, &keys);
            workshop.ok(&["segment", "-o", "segments", &file.display().to_string()]);
            let folder = workshop.path("segments");
            let pieces = cut(&folder);
            assert!(pieces.len() > 2, "{name}");

            let whole = workshop.path("whole.mp4");
            std::fs::write(&whole, pieces.concat()).unwrap();
            let what = format!("{name} in {}, cut", scheme.name());
            decrypts_to(&workshop, &peers, &whole, &[key], &wanted, &what);
            // One piece behind the first: those samples of the whole, and no other.
            let (alone, mut found) = (workshop.path("alone.mp4"), 0);
            for piece in &pieces[1..] {
                std::fs::write(&alone, [&pieces[0], piece].map(Vec::as_slice).concat()).unwrap();
                let read = samples(&peers.ffmpeg, &alone, Keys::ByKid(&[key]));
                let video = read.of(Kind::Video).next().unwrap();
                let of_whole = wanted.of(Kind::Video).next().unwrap();
                for (sample, wanted) in video.samples.iter().zip(of_whole.samples.iter().skip(found)) {
                    assert_eq!(sample.md5, wanted.md5, "{what}");
                }
                found += video.samples.len();
            }
            assert_eq!(
                found,
                wanted.of(Kind::Video).next().unwrap().samples.len(),
                "{what}"
            );
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

/// The files of a folder, `init.mp4` first.
fn cut(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.first().unwrap().file_name().unwrap(), "init.mp4");
    for (number, name) in (1..).zip(names.iter().skip(1)) {
        let expected = format!("segment-{number:05}.m4s");
        assert_eq!(name.file_name().unwrap(), &expected[..]);
    }
    names.iter().map(|name| std::fs::read(name).unwrap()).collect()
}

#[test]
fn what_is_not_cut_leaves_nothing_and_says_why() {
    let Some(peers) = peers::media() else { return };
    let workshop = Workshop::new();
    let clear = fixture("h264-aac").file(&peers).display().to_string();
    let fragmented = fixture("av1-opus-fragmented").file(&peers).display().to_string();
    std::fs::write(workshop.path("words"), "no film").unwrap();
    std::fs::create_dir(workshop.path("there")).unwrap();
    let before = workshop.names();
    for (file, folder, expected) in [
        (&clear[..], "segments", "the samples are not in fragments"),
        ("words", "segments", "cannot cut words"),
        ("nothing", "segments", "nothing"),
        (&fragmented, "there", "exists already"),
        (&fragmented, "-", "a pipe is not cut"),
        ("-", "segments", "a pipe is not cut"),
        (&fragmented, "nowhere/segments", "nowhere/segments"),
    ] {
        let output = workshop.run(&["segment", "-o", folder, file]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {errors}");
        assert!(errors.contains(expected) && errors.contains("hint: "), "{errors}");
        assert_eq!(workshop.names(), before);
    }
}
