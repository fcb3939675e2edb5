//! What is encoded: one case for each part of a slice header, parameter set or sample that may differ.

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Input of ffmpeg's `lavfi`.
    pub(crate) source: &'static str,
    /// Options of ffmpeg, each behind a space.
    pub(crate) encoder: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) at_least: usize,
}

const SOURCE: &str = "testsrc2=size=320x240:rate=25:duration=2";
const FADE: &str = "testsrc2=size=320x240:rate=25:duration=2,fade=in:0:25,fade=out:25:25";
const TINY: &str = "color=gray:size=32x16:rate=25:duration=1";
const SMALL: &str = "color=gray:size=64x64:rate=25:duration=1";
const TALL: &str = "testsrc2=size=64x1088:rate=25:duration=0.4";
const WIDE: &str = "testsrc2=size=640x480:rate=25:duration=0.4";
const NOISE: &str = "nullsrc=size=320x240:rate=5:duration=2,geq=random(1)*255:128:128";

const fn video(name: &'static str, source: &'static str, encoder: &'static str, at_least: usize) -> Case {
    Case {
        name,
        source,
        encoder,
        stream: "video",
        at_least,
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

const TONE: &str = "sine=frequency=440:duration=2";

const fn audio(name: &'static str, encoder: &'static str, at_least: usize) -> Case {
    Case {
        name,
        source: TONE,
        encoder,
        stream: "audio",
        at_least,
    }
}

pub(crate) const AUDIO: [Case; 3] = [
    audio("audio-aac", "-c:a aac -b:a 96k", 80),
    audio("audio-ac3", "-c:a ac3", 50),
    audio("audio-eac3", "-c:a eac3", 50),
];
