//! Clear files of many forms.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use keyward_crypto::kdf::sha256;

use super::{Keys, Kind, Times, samples, shaka::shaka_package};
use crate::peers::MediaPeers;

/// A clear file that ffmpeg makes: five seconds of 320 by 180.
#[derive(Debug, Clone, Copy)]
pub struct Fixture {
    /// Its name, and that of its file.
    pub name: &'static str,
    /// Its tracks as [`samples`] lists them.
    pub tracks: &'static [Kind],
    /// Which of its times ffmpeg tells.
    pub times: Times,
    recipe: Recipe,
}

#[derive(Debug, Clone, Copy)]
enum Recipe {
    /// Encoded out of generated pictures and tones.
    Encoded(&'static [Input], &'static str),
    /// Encoded as WebM, and packaged by Shaka Packager: ffmpeg does not write these samples to MP4.
    Packaged(&'static [Input], &'static str),
    /// The same samples in another container.
    Remuxed(&'static str, &'static str),
    /// The video of another fixture, each slice once more as one of the second layer, as the other view of MV-HEVC is.
    Layered(&'static str),
    /// Another fixture with a box appended to its `moov`, which is its last box, and to the file.
    UnknownBoxes(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Input {
    /// A source of ffmpeg's.
    Generated(&'static str),
    /// A text file with this extension.
    Text(&'static str, &'static str),
}

const AV: &[Kind] = &[Kind::Video, Kind::Audio];

/// Moving, noisy pictures that fade in, so that samples are many blocks long and weights change.
const PICTURES: Input =
    Input::Generated("testsrc2=s=320x180:r=25,noise=alls=9:allf=t:all_seed=7,fade=t=in:st=0:d=1.5");

/// A tone with a second of silence, whose samples are shorter than a cipher's block.
const TONE: Input =
    Input::Generated("sine=f=440:r=48000:beep_factor=4,volume=volume=0:enable='between(t,1,2)'");

const OTHER_TONE: Input = Input::Generated("sine=f=250:r=44100:beep_factor=2");

const SUBTITLES: Input = Input::Text(
    "srt",
    "1\n00:00:00,500 --> 00:00:02,000\nfirst line\n\n2\n00:00:02,500 --> 00:00:04,000\nsecond line\n",
);

const CHAPTERS: Input = Input::Text(
    "ffmeta",
    ";FFMETADATA1\ntitle=A title\nartist=Nobody\ncomment=ünïcode\n\
     [CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2000\ntitle=One\n\
     [CHAPTER]\nTIMEBASE=1/1000\nSTART=2000\nEND=5000\ntitle=Two\n",
);

const H264: &str = "-c:v libx264 -preset fast -crf 27 -g 25 -c:a aac -b:a 64k";

/// All fixtures that [`fixture`] finds.
pub const FIXTURES: &[Fixture] = &[
    encoded("h264-aac", AV, &[PICTURES, TONE], H264),
    remuxed("h264-aac-moov-first", AV, "h264-aac", "-movflags +faststart"),
    remuxed("h264", &[Kind::Video], "h264-aac", "-an"),
    remuxed("aac", &[Kind::Audio], "h264-aac", "-vn"),
    // A fragment for each sync sample, offsets from the `moof`, as most packagers write.
    remuxed(
        "h264-aac-fragmented",
        AV,
        "h264-aac",
        "-movflags +frag_keyframe+empty_moov+default_base_moof",
    ),
    remuxed(
        "h264-fragmented",
        &[Kind::Video],
        "h264-aac",
        "-an -movflags +frag_keyframe+empty_moov+default_base_moof",
    ),
    remuxed(
        "aac-fragmented",
        &[Kind::Audio],
        "h264-aac",
        "-vn -movflags +empty_moov+default_base_moof -frag_duration 1500000",
    ),
    // Offsets from the beginning of the file, which move with every box that is put in.
    remuxed(
        "h264-aac-absolute-offsets",
        AV,
        "h264-aac",
        "-movflags +frag_keyframe+empty_moov",
    ),
    // Each track in fragments of its own, offsets without any base given.
    remuxed(
        "h264-aac-tracks-apart",
        AV,
        "h264-aac",
        "-movflags +frag_keyframe+empty_moov+separate_moof+omit_tfhd_offset",
    ),
    // An index of each track before the fragments, and edit lists.
    remuxed(
        "h264-aac-indexed",
        AV,
        "h264-aac",
        "-movflags +dash+global_sidx+delay_moov+frag_keyframe",
    ),
    // Hundreds of fragments of one sample, signed composition offsets.
    remuxed(
        "h264-aac-sample-fragments",
        AV,
        "h264-aac",
        "-movflags +cmaf+frag_every_frame+delay_moov",
    )
    .with_signed_offsets(),
    // Composition before decoding, as far as the numbers go, and an edit list that starts at once.
    remuxed(
        "h264-aac-signed-offsets",
        AV,
        "h264-aac",
        "-movflags +negative_cts_offsets",
    )
    .with_signed_offsets(),
    // Parameter sets in the samples as well.
    remuxed("h264-in-band", AV, "h264-aac", "-bsf:v h264_mp4toannexb"),
    encoded(
        "h264-slices",
        AV,
        &[PICTURES, TONE],
        "-c:v libx264 -preset fast -g 60 -x264-params slices=5 -c:a aac",
    ),
    // Reordering, weighted prediction and list modification in slice headers, and an edit list for the delay.
    encoded(
        "h264-b-frames",
        AV,
        &[PICTURES, TONE],
        "-c:v libx264 -preset slow -g 250 -x264-params bframes=4:b-pyramid=normal:weightb=1:weightp=2:ref=5:keyint=250 -c:a aac",
    ),
    encoded(
        "h264-interlaced",
        &[Kind::Video],
        &[PICTURES],
        "-c:v libx264 -preset fast -g 50 -flags:v +ildct+ilme -x264-params tff=1:cabac=0",
    ),
    encoded(
        "h264-two-aac",
        &[Kind::Video, Kind::Audio, Kind::Audio],
        &[PICTURES, TONE, OTHER_TONE],
        "-map 0:v -map 1:a -map 2:a -c:v libx264 -preset fast -crf 27 -g 50 -c:a aac -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu",
    ),
    encoded(
        "h264-aac-text",
        &[Kind::Video, Kind::Audio, Kind::Text],
        &[PICTURES, TONE, SUBTITLES],
        "-map 0:v -map 1:a -map 2:s -c:v libx264 -preset fast -crf 27 -g 50 -c:a aac -c:s mov_text",
    ),
    encoded(
        "h264-aac-chapters",
        AV,
        &[PICTURES, TONE, CHAPTERS],
        "-map 0:v -map 1:a -map_metadata 2 -map_chapters 2 -c:v libx264 -preset fast -crf 27 -g 50 -c:a aac -movflags +use_metadata_tags",
    ),
    Fixture {
        name: "h264-aac-unknown-boxes",
        tracks: AV,
        times: Times::All,
        recipe: Recipe::UnknownBoxes("h264-aac-chapters"),
    },
    encoded(
        "h265-aac",
        AV,
        &[PICTURES, TONE],
        "-c:v libx265 -preset fast -tag:v hvc1 -x265-params log-level=error:keyint=50:slices=2:pools=2:frame-threads=1:bframes=3:weightp=1 -c:a aac",
    ),
    remuxed(
        "h265-aac-fragmented",
        AV,
        "h265-aac",
        "-tag:v hvc1 -movflags +frag_keyframe+empty_moov+default_base_moof",
    ),
    // Progressive, with what is left of its fragments inside the media data.
    remuxed(
        "h264-aac-was-fragmented",
        AV,
        "h264-aac",
        "-movflags +hybrid_fragmented+frag_keyframe",
    ),
    // Tiles, and several frames in a sample of which one is shown.
    encoded(
        "av1-opus",
        AV,
        &[PICTURES, TONE],
        "-c:v libsvtav1 -preset 9 -g 50 -svtav1-params tile-columns=1 -c:a libopus -b:a 48k",
    ),
    remuxed(
        "av1-opus-fragmented",
        AV,
        "av1-opus",
        "-movflags +frag_keyframe+empty_moov+default_base_moof",
    ),
    encoded(
        "vp9-opus",
        AV,
        &[PICTURES, TONE],
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -b:v 400k -g 50 -c:a libopus -b:a 48k",
    ),
    remuxed(
        "vp9-opus-fragmented",
        AV,
        "vp9-opus",
        "-movflags +frag_keyframe+empty_moov+default_base_moof",
    ),
    Fixture {
        name: "vp8",
        tracks: &[Kind::Video],
        times: Times::All,
        recipe: Recipe::Packaged(
            &[PICTURES],
            "-c:v libvpx -deadline good -cpu-used 5 -auto-alt-ref 0 -b:v 400k -g 50",
        ),
    },
    encoded("opus", &[Kind::Audio], &[TONE], "-c:a libopus -b:a 48k"),
    encoded("ac-3", &[Kind::Audio], &[TONE], "-c:a ac3"),
    encoded("e-ac-3", &[Kind::Audio], &[TONE], "-c:a eac3"),
    encoded("flac", &[Kind::Audio], &[TONE], "-c:a flac"),
    // `hev1`: parameter sets in the samples as well.
    remuxed(
        "h265-in-band",
        AV,
        "h265-aac",
        "-tag:v hev1 -bsf:v hevc_mp4toannexb",
    ),
    Fixture {
        name: "h265-two-layers",
        tracks: &[Kind::Video],
        times: Times::All,
        recipe: Recipe::Layered("h265-aac"),
    },
];

/// Fixtures that no packager of ours protects sample by sample.
pub const BEYOND: &[Fixture] = &[
    // The first samples in the movie box, the others in fragments.
    remuxed(
        "h264-aac-half-fragmented",
        AV,
        "h264-aac",
        "-movflags +frag_keyframe",
    ),
    encoded("mpeg4", &[Kind::Video], &[PICTURES], "-c:v mpeg4 -g 25"),
];

/// The fixture of this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn fixture(name: &str) -> &'static Fixture {
    let found = FIXTURES.iter().chain(BEYOND).find(|fixture| fixture.name == name);
    found.unwrap_or_else(|| unreachable!("there is no fixture {name}"))
}

impl Fixture {
    const fn with_signed_offsets(mut self) -> Self {
        self.times = Times::Decoding;
        self
    }

    /// Path of the file, which is made if no process made it before. It is shared: nobody may write to it.
    ///
    /// # Panics
    /// If ffmpeg does not make it.
    #[must_use]
    pub fn file(&self, peers: &MediaPeers) -> PathBuf {
        let folder = cache().join(self.digest(peers));
        let file = folder.join(format!("{}.mp4", self.name));
        if file.is_file() {
            return file;
        }
        fs::create_dir_all(&folder).unwrap();
        // Tests are processes that run at the same time: one makes the file, the others wait for it.
        let lock = File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        if !file.is_file() {
            let unfinished = folder.join("unfinished.mp4");
            self.make(peers, &unfinished);
            self.check(peers, &unfinished);
            fs::rename(&unfinished, &file).unwrap();
        }
        file
    }

    /// Names everything that the bytes depend on.
    fn digest(&self, peers: &MediaPeers) -> String {
        let version = version(&peers.ffmpeg, "-version");
        let source = match self.recipe {
            Recipe::Encoded(..) => String::new(),
            Recipe::Packaged(..) => self::version(&peers.packager, "--version"),
            Recipe::Remuxed(from, _) | Recipe::Layered(from) | Recipe::UnknownBoxes(from) => {
                fixture(from).digest(peers)
            }
        };
        let inputs = format!("{version} {COMMON:?} {:?} {source}", self.recipe);
        let mut name = String::new();
        for byte in sha256(&[inputs.as_bytes()]).iter().take(10) {
            write!(name, "{byte:02x}").unwrap();
        }
        name
    }

    fn make(&self, peers: &MediaPeers, output: &Path) {
        let mut command = Command::new(&peers.ffmpeg);
        command.args(COMMON);
        match self.recipe {
            Recipe::Encoded(inputs, args) | Recipe::Packaged(inputs, args) => {
                for input in inputs {
                    input.add(&mut command, output.parent().unwrap());
                }
                command.args(["-t", "5", "-pix_fmt", "yuv420p"]);
                command.args(args.split_whitespace());
            }
            Recipe::Remuxed(from, args) => {
                command.arg("-i").arg(fixture(from).file(peers));
                command.args(["-map", "0", "-c", "copy"]);
                command.args(args.split_whitespace());
            }
            Recipe::Layered(from) => {
                let stream = output.with_extension("h265");
                let mut apart = Command::new(&peers.ffmpeg);
                apart.args(COMMON).arg("-i").arg(fixture(from).file(peers));
                self.run(
                    apart
                        .args(["-map", "0:v", "-c", "copy", "-f", "hevc"])
                        .arg(&stream),
                );
                let layered = with_second_layer(&fs::read(&stream).unwrap());
                fs::write(&stream, layered).unwrap();
                command.args(["-f", "hevc", "-r", "25", "-i"]).arg(&stream);
                command.args(["-c", "copy", "-tag:v", "hvc1"]);
            }
            Recipe::UnknownBoxes(from) => {
                let file = fs::read(fixture(from).file(peers)).unwrap();
                fs::write(output, with_unknown_boxes(file)).unwrap();
                return;
            }
        }
        // The encoders' threads, and every note of when and by what the file was made.
        command.args(["-threads", "1", "-fflags", "+bitexact"]);
        command.args(["-flags:v", "+bitexact", "-flags:a", "+bitexact"]);
        if let Recipe::Packaged(..) = self.recipe {
            let webm = output.with_extension("webm");
            self.run(command.args(["-f", "webm"]).arg(&webm));
            shaka_package(&peers.packager, &webm, Kind::Video, output);
        } else {
            self.run(command.args(["-f", "mp4"]).arg(output));
        }
    }

    fn run(&self, command: &mut Command) {
        let made = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{}: {errors}", self.name);
    }

    /// A fixture that lacks a track would make tests pass that compare nothing.
    fn check(&self, peers: &MediaPeers, file: &Path) {
        let found = samples(&peers.ffmpeg, file, Keys::None);
        let kinds: Vec<Kind> = found.tracks.iter().map(|track| track.kind).collect();
        assert_eq!(kinds, self.tracks, "{}: {}", self.name, found.complaints);
        for track in &found.tracks {
            let least = match track.kind {
                Kind::Video => 125,
                Kind::Audio => 50,
                Kind::Text => 2,
            };
            assert!(
                track.samples.len() >= least,
                "{} has {} samples of {}",
                self.name,
                track.samples.len(),
                track.kind.name()
            );
        }
    }
}

impl Input {
    fn add(self, command: &mut Command, folder: &Path) {
        match self {
            Self::Generated(source) => drop(command.args(["-f", "lavfi", "-i", source])),
            Self::Text(extension, content) => {
                let file = folder.join(format!("input.{extension}"));
                fs::write(&file, content).unwrap();
                command.arg("-i").arg(file);
            }
        }
    }
}

/// Before the inputs of every run.
const COMMON: [&str; 6] = ["-nostdin", "-v", "error", "-y", "-threads", "1"];

const fn encoded(
    name: &'static str,
    tracks: &'static [Kind],
    inputs: &'static [Input],
    args: &'static str,
) -> Fixture {
    Fixture {
        name,
        tracks,
        times: Times::All,
        recipe: Recipe::Encoded(inputs, args),
    }
}

const fn remuxed(
    name: &'static str,
    tracks: &'static [Kind],
    from: &'static str,
    args: &'static str,
) -> Fixture {
    Fixture {
        name,
        tracks,
        times: Times::All,
        recipe: Recipe::Remuxed(from, args),
    }
}

fn version(program: &Path, option: &str) -> String {
    let printed = Command::new(program).arg(option).output();
    let printed = printed.unwrap_or_else(|error| unreachable!("{}: {error}", program.display()));
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Below `target/`, so that `cargo clean` empties it.
fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/media-fixtures")
}

/// Boxes of types that nobody registered: 9 bytes at the end of `moov`, a 64-bit one at the end of the file.
fn with_unknown_boxes(mut file: Vec<u8>) -> Vec<u8> {
    const IN_MOOV: &[u8] = b"\0\0\0\x11kwxxunknown!!";
    const AT_END: &[u8] = b"\0\0\0\x01kwyy\0\0\0\0\0\0\0\x14rest";
    let start = top_level(&file, b"moov");
    let length = u32::try_from(file.len() - start).unwrap();
    let grown = length + u32::try_from(IN_MOOV.len()).unwrap();
    let size = file.get_mut(start..start + 4).unwrap();
    assert_eq!(size, length.to_be_bytes(), "`moov` is not the last box");
    size.copy_from_slice(&grown.to_be_bytes());
    file.extend_from_slice(IN_MOOV);
    file.extend_from_slice(AT_END);
    file
}

/// An H.265 byte stream (ITU-T H.265, annex B) in which each slice is followed by itself with `nuh_layer_id` 1.
fn with_second_layer(stream: &[u8]) -> Vec<u8> {
    const START: &[u8] = &[0, 0, 1];
    let starts = stream.windows(START.len()).enumerate();
    let starts = starts.filter_map(|(at, bytes)| (bytes == START).then_some(at + START.len()));
    let starts: Vec<usize> = starts.collect();
    let ends = starts.iter().skip(1).map(|next| next - START.len());
    let mut layered = Vec::with_capacity(2 * stream.len());
    for (start, end) in starts.iter().zip(ends.chain([stream.len()])) {
        // A start code may have a zero more, which is no byte of the NAL unit before it.
        let nal = stream.get(*start..end).unwrap();
        let nal = nal.strip_suffix(&[0]).unwrap_or(nal);
        layered.extend_from_slice(&[START, nal].concat());
        let ([kind, layer], slice) = nal.split_first_chunk().unwrap();
        if kind >> 1 < 32 {
            layered.extend_from_slice(&[START, &[*kind, layer | 1 << 3], slice].concat());
        }
    }
    layered
}

/// Where the first box of a type begins that is in no other; sizes of 32 bits alone.
fn top_level(file: &[u8], wanted: &[u8; 4]) -> usize {
    let mut at = 0;
    while let Some((size, kind)) = file.get(at..at + 8).map(|header| header.split_at(4)) {
        if kind == wanted {
            return at;
        }
        let size = u32::from_be_bytes(size.try_into().unwrap());
        assert!(size >= 8, "a box of {size} bytes at {at}");
        at += size as usize;
    }
    unreachable!("no such box")
}
