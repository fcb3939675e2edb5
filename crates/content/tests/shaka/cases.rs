//! What is encoded: one case for each part of a slice header, parameter set or sample that may differ.

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Input of ffmpeg's `lavfi`.
    pub(crate) source: &'static str,
    /// Options of ffmpeg, each behind a space.
    pub(crate) encoder: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) at_least: usize,
    /// Extension of the file that it is encoded into.
    pub(crate) container: &'static str,
    /// Whether the older ffmpeg encodes it.
    pub(crate) old_encoder: bool,
}

const SOURCE: &str = "testsrc2=size=320x240:rate=25:duration=2";
const FADE: &str = "testsrc2=size=320x240:rate=25:duration=2,fade=in:0:25,fade=out:25:25";
const TINY: &str = "color=gray:size=32x16:rate=25:duration=1";
const SMALL: &str = "color=gray:size=64x64:rate=25:duration=1";
const TALL: &str = "testsrc2=size=64x1088:rate=25:duration=0.4";
const WIDE: &str = "testsrc2=size=640x480:rate=25:duration=0.4";
const SHORT: &str = "testsrc2=size=320x240:rate=25:duration=0.6";
/// Wider than one tile of AV1 may be.
const BROAD: &str = "testsrc2=size=4224x128:rate=25:duration=0.12";
const ROTATED: &str =
    "testsrc2=size=320x240:rate=25:duration=0.4,rotate=t/3,zoompan=z=1+on/50:d=1:s=320x240:fps=25";
const NOISE: &str = "nullsrc=size=320x240:rate=5:duration=2,geq=random(1)*255:128:128";

const fn video(name: &'static str, source: &'static str, encoder: &'static str, at_least: usize) -> Case {
    Case {
        name,
        source,
        encoder,
        stream: "video",
        at_least,
        container: "mp4",
        old_encoder: false,
    }
}

/// By an encoder that only the older ffmpeg has.
const fn old(name: &'static str, source: &'static str, encoder: &'static str, at_least: usize) -> Case {
    Case {
        old_encoder: true,
        ..video(name, source, encoder, at_least)
    }
}

pub(crate) const AVC: [Case; 20] = [
    video(
        "avc-baseline",
        SOURCE,
        "-c:v libx264 -profile:v baseline -x264-params slices=4:keyint=12",
        50,
    ),
    video(
        "avc-main",
        SOURCE,
        "-c:v libx264 -profile:v main -x264-params bframes=3:keyint=25",
        50,
    ),
    video(
        "avc-main-cavlc",
        SOURCE,
        "-c:v libx264 -profile:v main -x264-params bframes=3:no-cabac=1:slices=2",
        50,
    ),
    video(
        "avc-high-slices",
        SOURCE,
        "-c:v libx264 -x264-params slices=3:ref=5:bframes=5:b-pyramid=normal:aud=1",
        50,
    ),
    video(
        "avc-weights",
        FADE,
        "-c:v libx264 -x264-params weightp=2:weightb=1:ref=4:bframes=2:slices=2",
        50,
    ),
    video(
        "avc-hrd-filler",
        SOURCE,
        "-c:v libx264 -b:v 800k -maxrate 800k -bufsize 800k -x264-params nal-hrd=cbr:filler=1:force-cfr=1",
        50,
    ),
    video(
        "avc-mbaff",
        SOURCE,
        "-c:v libx264 -x264-params tff=1:bframes=3:slices=2",
        50,
    ),
    video(
        "avc-fake-interlaced",
        SOURCE,
        "-c:v libx264 -x264-params fake-interlaced=1:bframes=2",
        50,
    ),
    video(
        "avc-small-slices",
        SOURCE,
        "-c:v libx264 -crf 28 -x264-params slice-max-size=120:bframes=2",
        50,
    ),
    video(
        "avc-one-row-slices",
        SOURCE,
        "-c:v libx264 -x264-params slice-max-mbs=7:no-deblock=1",
        50,
    ),
    video(
        "avc-tiny",
        TINY,
        "-c:v libx264 -pix_fmt yuv420p -x264-params bframes=3:keyint=5",
        25,
    ),
    video(
        "avc-high10",
        SOURCE,
        "-c:v libx264 -pix_fmt yuv420p10 -x264-params slices=2:bframes=2",
        50,
    ),
    video(
        "avc-high422",
        SOURCE,
        "-c:v libx264 -pix_fmt yuv422p -x264-params slices=2:bframes=2:cqm=jvt",
        50,
    ),
    video(
        "avc-high444-lossless",
        SOURCE,
        "-c:v libx264 -pix_fmt yuv444p -qp 0 -x264-params slices=2",
        50,
    ),
    video(
        "avc-gray",
        SOURCE,
        "-c:v libx264 -pix_fmt gray -x264-params weightp=2:bframes=2",
        50,
    ),
    video(
        "avc-intra-refresh",
        SOURCE,
        "-c:v libx264 -x264-params intra-refresh=1:keyint=25:bframes=0:ref=3",
        50,
    ),
    video(
        "avc-open-gop",
        SOURCE,
        "-c:v libx264 -x264-params open-gop=1:keyint=12:bframes=3:deblock=2,-2:chroma-qp-offset=3",
        50,
    ),
    video(
        "avc-sets-repeated",
        SOURCE,
        "-c:v libx264 -tag:v avc3 -flags -global_header -x264-params repeat-headers=1:keyint=10:sps-id=3",
        50,
    ),
    video(
        "avc-big-samples",
        NOISE,
        "-c:v libx264 -pix_fmt yuv420p -qp 1 -x264-params keyint=1:slices=1",
        10,
    ),
    video(
        "avc-dependent-refs",
        FADE,
        "-c:v libx264 -x264-params ref=16:bframes=8:b-pyramid=strict:b-adapt=2:mixed-refs=1:rc-lookahead=40:slices=2",
        50,
    ),
];

pub(crate) const HEVC: [Case; 21] = [
    video(
        "hevc-wavefronts",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:ctu=16",
        50,
    ),
    video(
        "hevc-68-wavefronts",
        TALL,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:ctu=16:keyint=5",
        10,
    ),
    video(
        "hevc-slices",
        WIDE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:slices=4:ctu=32:bframes=3",
        10,
    ),
    video(
        "hevc-slices-wavefronts",
        WIDE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:slices=3:ctu=16:pools=2",
        10,
    ),
    video(
        "hevc-weights",
        FADE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:weightp=1:weightb=1:bframes=4:ref=4",
        50,
    ),
    video(
        "hevc-pyramid",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:bframes=8:b-pyramid=1:ref=6:open-gop=1:keyint=24",
        50,
    ),
    video(
        "hevc-main10",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -pix_fmt yuv420p10 -x265-params log-level=none:bframes=3",
        50,
    ),
    video(
        "hevc-422-10",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -pix_fmt yuv422p10 -x265-params log-level=none:cbqpoffs=2:crqpoffs=-2",
        50,
    ),
    video(
        "hevc-444",
        FADE,
        "-c:v libx265 -tag:v hvc1 -pix_fmt yuv444p -x265-params log-level=none:weightp=1",
        50,
    ),
    video(
        "hevc-gray",
        FADE,
        "-c:v libx265 -tag:v hvc1 -pix_fmt gray -x265-params log-level=none:weightp=1",
        50,
    ),
    video(
        "hevc-hrd",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:aud=1:hrd=1:bitrate=500:vbv-maxrate=500:vbv-bufsize=500",
        50,
    ),
    video(
        "hevc-intra",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:keyint=1:sao=0",
        50,
    ),
    video(
        "hevc-lossless",
        WIDE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:lossless=1:slices=2",
        10,
    ),
    video(
        "hevc-no-filters",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:sao=0:deblock=0:wpp=0",
        50,
    ),
    video(
        "hevc-deblock",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:deblock=-2,2:tskip=1:amp=1:rect=1",
        50,
    ),
    video(
        "hevc-layers",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:temporal-layers=3:bframes=3:keyint=16",
        50,
    ),
    video(
        "hevc-interlaced",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:interlace=tff:bframes=2",
        50,
    ),
    video(
        "hevc-sets-repeated",
        SOURCE,
        "-c:v libx265 -tag:v hev1 -x265-params log-level=none:repeat-headers=1:keyint=10:info=1",
        50,
    ),
    video(
        "hevc-optimised-sets",
        SOURCE,
        "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:opt-qp-pps=1:opt-ref-list-length-pps=1:bframes=5",
        50,
    ),
    video(
        "hevc-tiny",
        SMALL,
        "-c:v libx265 -tag:v hvc1 -pix_fmt yuv420p -x265-params log-level=none:ctu=16:min-cu-size=8:keyint=5",
        25,
    ),
    video(
        "hevc-big-samples",
        NOISE,
        "-c:v libx265 -tag:v hvc1 -pix_fmt yuv420p -x265-params log-level=none:qp=1:keyint=2",
        10,
    ),
];

pub(crate) const AV1: [Case; 29] = [
    old("av1-aom", SOURCE, "-c:v libaom-av1 -cpu-used 8 -b:v 300k", 50),
    old(
        "av1-aom-slow",
        SHORT,
        "-c:v libaom-av1 -cpu-used 3 -lag-in-frames 19 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-tiles",
        SOURCE,
        "-c:v libaom-av1 -cpu-used 8 -tiles 2x2 -g 25 -b:v 300k",
        50,
    ),
    old(
        "av1-aom-tile-groups",
        SOURCE,
        "-c:v libaom-av1 -cpu-used 8 -tiles 4x2 -aom-params num-tile-groups=3 -b:v 300k",
        50,
    ),
    old("av1-aom-wide", BROAD, "-c:v libaom-av1 -cpu-used 8 -b:v 300k", 2),
    old(
        "av1-aom-realtime",
        SOURCE,
        "-c:v libaom-av1 -usage realtime -cpu-used 8 -aq-mode 3 -b:v 200k",
        50,
    ),
    old(
        "av1-aom-resilient",
        SOURCE,
        "-c:v libaom-av1 -cpu-used 8 -error-resilience default -b:v 200k",
        50,
    ),
    old(
        "av1-aom-no-order",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -aom-params enable-order-hint=0:enable-global-motion=0 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-motion",
        ROTATED,
        "-c:v libaom-av1 -cpu-used 4 -aom-params enable-global-motion=1 -b:v 300k",
        10,
    ),
    old(
        "av1-aom-lossless",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -aom-params lossless=1",
        10,
    ),
    old(
        "av1-aom-segments",
        SHORT,
        "-c:v libaom-av1 -cpu-used 5 -aq-mode 1 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-delta-q",
        SHORT,
        "-c:v libaom-av1 -cpu-used 5 -aom-params deltaq-mode=1:delta-lf-mode=1 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-matrices",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -aom-params enable-qm=1:sb-size=64:reduced-tx-type-set=1 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-grain",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -aom-params film-grain-test=5 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-screen",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -aom-params tune-content=screen:enable-intrabc=1 -g 5 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-timing",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -aom-params timing-info=model -b:v 200k",
        10,
    ),
    old(
        "av1-aom-422-12",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv422p12 -b:v 200k",
        10,
    ),
    old(
        "av1-aom-444",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv444p -b:v 200k",
        10,
    ),
    old(
        "av1-aom-gray",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -pix_fmt gray -b:v 200k",
        10,
    ),
    old(
        "av1-aom-rgb",
        SHORT,
        "-c:v libaom-av1 -cpu-used 8 -pix_fmt gbrp -b:v 200k",
        10,
    ),
    old(
        "av1-rav1e",
        SHORT,
        "-c:v librav1e -speed 10 -tiles 2 -b:v 200k",
        10,
    ),
    video("av1-svt", SOURCE, "-c:v libsvtav1 -preset 10", 50),
    video("av1-svt-slow", SHORT, "-c:v libsvtav1 -preset 4", 10),
    video(
        "av1-svt-tiles",
        WIDE,
        "-c:v libsvtav1 -preset 10 -svtav1-params tile-columns=1:tile-rows=1",
        10,
    ),
    video(
        "av1-svt-superres",
        SHORT,
        "-c:v libsvtav1 -preset 10 -svtav1-params superres-mode=1:superres-denom=12:superres-kf-denom=14",
        10,
    ),
    video(
        "av1-svt-grain",
        SHORT,
        "-c:v libsvtav1 -preset 10 -svtav1-params film-grain=20:scm=1",
        10,
    ),
    video(
        "av1-svt-low-delay",
        SOURCE,
        "-c:v libsvtav1 -preset 10 -svtav1-params pred-struct=1:rc=2:tbr=200",
        50,
    ),
    video(
        "av1-svt-10",
        SHORT,
        "-c:v libsvtav1 -preset 10 -pix_fmt yuv420p10",
        10,
    ),
    video(
        "av1-svt-overlays",
        SOURCE,
        "-c:v libsvtav1 -preset 10 -svtav1-params enable-overlays=1:keyint=30",
        50,
    ),
];

pub(crate) const VP9: [Case; 14] = [
    video(
        "vp9",
        SOURCE,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -b:v 200k",
        50,
    ),
    video(
        "vp9-hidden-frames",
        SOURCE,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -auto-alt-ref 6 -lag-in-frames 25 -b:v 200k -pass 2",
        50,
    ),
    video(
        "vp9-superframes",
        FADE,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 16 -g 20 -b:v 100k -pass 2",
        50,
    ),
    video(
        "vp9-tiles",
        BROAD,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -tile-columns 4 -tile-rows 2 -b:v 200k",
        2,
    ),
    video(
        "vp9-realtime",
        SOURCE,
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -aq-mode 3 -b:v 200k",
        50,
    ),
    video(
        "vp9-resilient",
        SOURCE,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -error-resilient 1 -frame-parallel 1 -b:v 200k",
        50,
    ),
    video(
        "vp9-segments",
        SOURCE,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -aq-mode 1 -b:v 100k",
        50,
    ),
    video(
        "vp9-complexity",
        SOURCE,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -aq-mode 2 -b:v 100k",
        50,
    ),
    video(
        "vp9-lossless",
        SHORT,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -lossless 1",
        10,
    ),
    video(
        "vp9-444",
        SHORT,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -pix_fmt yuv444p -b:v 200k",
        10,
    ),
    video(
        "vp9-rgb",
        SHORT,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -pix_fmt gbrp -b:v 200k",
        10,
    ),
    video(
        "vp9-10",
        SHORT,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -pix_fmt yuv420p10 -b:v 200k",
        10,
    ),
    video(
        "vp9-422-12",
        SHORT,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -pix_fmt yuv422p12 -b:v 200k",
        10,
    ),
    video(
        "vp9-tiny",
        TINY,
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -pix_fmt yuv420p -b:v 5k",
        25,
    ),
];

/// No ffmpeg writes it to MP4.
pub(crate) const VP8: [Case; 1] = [Case {
    container: "webm",
    ..video(
        "vp8",
        SOURCE,
        "-c:v libvpx -deadline good -cpu-used 5 -auto-alt-ref 0 -b:v 200k",
        50,
    )
}];

const TONE: &str = "sine=frequency=440:duration=2";

const fn audio(name: &'static str, encoder: &'static str, at_least: usize) -> Case {
    Case {
        name,
        source: TONE,
        encoder,
        stream: "audio",
        at_least,
        container: "mp4",
        old_encoder: false,
    }
}

pub(crate) const AUDIO: [Case; 3] = [
    audio("audio-aac", "-c:a aac -b:a 96k", 80),
    audio("audio-ac3", "-c:a ac3", 50),
    audio("audio-eac3", "-c:a eac3", 50),
];
