#!/usr/bin/env python3
"""Protecting and decrypting a film beside other programs on the same bytes, in turn, in one run.

    cargo build --release -p keyward-cli && bench/media.py [SECONDS [ROUNDS]]

Makes a film of SECONDS (60: 302 MB) with ffmpeg, 1080p H.264 of 40 Mbit/s and AAC. Then, for cenc and for
cbcs, every program protects it, and decrypts what `keyward package` made of it; `openssl enc` (one AES pass
over the bytes, nothing else) and `cp` show the floor. Before a time counts, the packets of what was written
are compared with the clear film's: ffmpeg exits with 0 after it gave up in the middle.

Prints Markdown for RESULTS.md: medians of wall time, CPU time and ratios taken round by round, and peak
memory from a run of its own. Programs are those of `cargo xtask peers`, or of its variables. Everything stays
in a memory-backed folder.
"""

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
KEYWARD = TOP / "target/release/keyward"
KID = {"cenc": "a0" * 16, "cbcs": "b0" * 16}
KEY = {"cenc": "5c" * 16, "cbcs": "6c" * 16}
FRAGMENTED = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]
OURS = "keyward package", "keyward danger decrypt"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


def peers():
    """Paths of ffmpeg, the distribution's ffmpeg and Shaka Packager."""
    names = ["KEYWARD_FFMPEG", "KEYWARD_FFMPEG_OLD", "KEYWARD_PACKAGER"]
    if not all(os.environ.get(name) for name in names):
        for line in run("cargo", "xtask", "peers", cwd=TOP).splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            os.environ.setdefault(name, value.strip("'"))
    return [os.environ[name] for name in names]


def make_film(ffmpeg, folder, seconds):
    """The film in fragments, and the same progressive."""
    progressive, fragmented = folder / "progressive.mp4", folder / "fragmented.mp4"
    run(ffmpeg, "-nostdin", "-v", "error", "-y",
        "-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25,noise=alls=40:allf=t",
        "-f", "lavfi", "-i", "sine=f=440:r=48000:beep_factor=4", "-t", seconds,
        "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0",
        "-b:v", "40M", "-maxrate", "42M", "-bufsize", "42M", "-pix_fmt", "yuv420p",
        "-c:a", "aac", "-b:a", "192k", "-ac", "2", "-movflags", "+faststart", progressive)
    run(ffmpeg, "-nostdin", "-v", "error", "-y", "-i", progressive, "-c", "copy", *FRAGMENTED, fragmented)
    return progressive, fragmented


def make_long_film(ffmpeg, folder, progressive):
    """The film four times."""
    long = folder / "long.mp4"
    run(ffmpeg, "-nostdin", "-v", "error", "-y", "-stream_loop", "3", "-i", progressive, "-c", "copy", *FRAGMENTED, long)
    return long


def version(ffmpeg):
    """ffmpeg and its version, as in `ffmpeg 5.1.9`."""
    return "ffmpeg " + run(ffmpeg, "-version").split()[2].removeprefix("n").split("-")[0]


def packets(ffmpeg, file, kind, key=None):
    """Size and MD5 of every packet of one track."""
    keys = ["-decryption_key", key] if key else []
    listed = subprocess.run(
        [ffmpeg, "-nostdin", "-v", "error", "-ignore_editlist", "1", *keys, "-i", str(file),
         "-map", f"0:{kind}:0", "-c", "copy", "-f", "framemd5", "-"], capture_output=True, text=True).stdout
    return [line.split(",")[4:6] for line in listed.splitlines() if line and not line.startswith("#")]


class Peer:
    """A command, and where each track is in what it writes; openssl and cp write no film."""

    def __init__(self, command, outputs=None):
        self.command, self.outputs = [str(word) for word in command], outputs or {}


def protectors(folder, film, scheme, programs):
    ffmpeg, old, packager = programs
    progressive, fragmented = film
    copy = ["-c", "copy", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", KEY[scheme], "-encryption_kid", KID[scheme]]
    out = folder / "out.mp4"
    both = {"v": out, "a": out}
    ours = [KEYWARD, "package", "--quiet", "--force", "--scheme", scheme, "--operator", folder / "operator",
            "--kid", KID[scheme], "--key-file", folder / f"key-{scheme}", "-o", out]
    found = {OURS[0]: Peer([*ours, fragmented], both),
             "the same, progressive input": Peer([*ours, progressive], both)}
    shaka = {"v": folder / "out-v.mp4", "a": folder / "out-a.mp4"}
    found["Shaka Packager"] = Peer(
        [packager, f"in={fragmented},stream=video,output={shaka['v']},drm_label=A",
         f"in={fragmented},stream=audio,output={shaka['a']},drm_label=A", "--enable_raw_key_encryption",
         "--keys", f"label=A:key_id={KID[scheme]}:key={KEY[scheme]}", "--protection_scheme", scheme, "--clear_lead", "0",
         "--segment_duration", "2", "--temp_dir", folder, "--quiet"], shaka)
    if scheme == "cenc":
        # ffmpeg encrypts AES-CTR alone, and audio of what it writes in fragments cannot be read.
        for program in [ffmpeg, old]:
            found[f"{version(program)}, progressive output"] = Peer(
                [program, "-nostdin", "-v", "error", "-y", "-i", fragmented, *copy, out], both)
    return {**found, **floors(folder, fragmented)}


def decryptors(folder, protected, scheme, programs):
    """Shaka Packager gives one pattern to a key id, so it gets the audio wrong that shares a key with video in cbcs."""
    ffmpeg, old, packager = programs
    out = folder / "out.mp4"
    both = {"v": out, "a": out}
    found = {OURS[1]: Peer([KEYWARD, "danger", "decrypt", "--quiet", "--force", "--keys", f"{KID[scheme]}:{KEY[scheme]}",
                            "-o", out, protected], both)}
    for program in [ffmpeg, old]:
        found[version(program)] = Peer([program, "-nostdin", "-v", "error", "-y", "-decryption_key", KEY[scheme], "-i", protected,
                            "-c", "copy", *FRAGMENTED, out], both)
    shaka = {"v": folder / "out-v.mp4", "a": folder / "out-a.mp4"}
    found["Shaka Packager"] = Peer(
        [packager, f"in={protected},stream=video,output={shaka['v']}", f"in={protected},stream=audio,output={shaka['a']}",
         "--enable_raw_key_decryption", "--keys", f"label=A:key_id={KID[scheme]}:key={KEY[scheme]}",
         "--segment_duration", "2", "--temp_dir", folder, "--quiet"], shaka)
    return {**found, **floors(folder, protected)}


def floors(folder, file):
    found = {"cp": Peer(["cp", file, folder / "out"])}
    if shutil.which("openssl"):
        found["openssl enc -aes-128-ctr"] = Peer(
            ["openssl", "enc", "-aes-128-ctr", "-K", KEY["cenc"], "-iv", "00" * 16, "-in", file, "-out", folder / "out"])
    return found


def check(ffmpeg, peer, wanted, key):
    """What a program wrote must hold the packets of the film."""
    for kind, file in peer.outputs.items():
        found = packets(ffmpeg, file, kind, key)
        if found != wanted[kind]:
            right = sum(a == b for a, b in zip(found, wanted[kind]))
            return f"**wrong**: {right} of {len(wanted[kind])} packets of {kind}"
    return "same" if peer.outputs else ""


def measure(command):
    """Wall and CPU seconds."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return wall, used.ru_utime + used.ru_stime


def peak(command):
    """Peak resident memory in MiB, from the high-water mark that the kernel keeps for the running program."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    highest = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        marks = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
        highest = max([highest, *marks])
        time.sleep(0.001)
    return highest / 1024


def compare(title, candidates, rounds, size, verify):
    """A table of all candidates; ours is the first. Returns whether each wrote the right packets."""
    verdicts, peaks = {}, {}
    for name, candidate in candidates.items():
        # The first run warms up, shows what is written, and how much memory that takes.
        peaks[name] = peak(candidate.command)
        verdicts[name] = verify(candidate)
    runs = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            runs[name].append(measure(candidate.command))
    ours = runs[next(iter(runs))]
    print(f"\n| {title} | seconds | MB/s | CPU seconds | peak MiB | keyward's time is | packets |")
    print("|---|---|---|---|---|---|---|")
    for name, measured in runs.items():
        wall = statistics.median(wall for wall, _ in measured)
        cpu = statistics.median(cpu for _, cpu in measured)
        ratio = statistics.median(a[0] / b[0] for a, b in zip(ours, measured))
        ratio = "" if measured is ours else f"{ratio:.2f} of it"
        print(f"| {name} | {wall:.3f} | {size / wall:.0f} | {cpu:.3f} | {peaks[name]:.1f} | {ratio} | {verdicts[name]} |")
    return verdicts


def growth(film, scheme, folder, programs):
    """Peak memory for a film four times as long."""
    long = make_long_film(programs[0], folder, film[0])
    megabytes = long.stat().st_size / 1e6
    protect = protectors(folder, (film[0], long), scheme, programs)[OURS[0]]
    protected = peak(protect.command)
    (folder / "out.mp4").rename(long)
    decrypted = peak(decryptors(folder, long, scheme, programs)[OURS[1]].command)
    long.unlink()
    print(f"\nPeak memory for {megabytes:.0f} MB: protect {protected:.1f} MiB, decrypt {decrypted:.1f} MiB ({scheme}).")


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    programs = peers()
    ffmpeg = programs[0]
    wrong = []
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        film = make_film(ffmpeg, folder, seconds)
        run(KEYWARD, "init", folder / "operator")
        for scheme, key in KEY.items():
            (folder / f"key-{scheme}").write_text(key)
        size = film[1].stat().st_size / 1e6
        wanted = {kind: packets(ffmpeg, film[1], kind) for kind in "va"}
        digest = hashlib.sha256(film[1].read_bytes()).hexdigest()
        print(f"## Media: `bench/media.py {seconds} {rounds}`\n")
        print(f"{size:.0f} MB ({len(wanted['v'])} video and {len(wanted['a'])} audio samples, SHA-256 {digest[:16]}), "
              f"whole processes, median of {rounds} rounds in turn.")
        for scheme in ["cenc", "cbcs"]:
            verdicts = compare(f"protect, {scheme}", protectors(folder, film, scheme, programs), rounds, size,
                               lambda peer: check(ffmpeg, peer, wanted, KEY[scheme]))
            protected = folder / "protected.mp4"
            run(*protectors(folder, film, scheme, programs)[OURS[0]].command)
            (folder / "out.mp4").rename(protected)
            more = compare(f"decrypt, {scheme}", decryptors(folder, protected, scheme, programs), rounds, size,
                           lambda peer: check(ffmpeg, peer, wanted, None))
            growth(film, scheme, folder, programs)
            wrong += [name for name, verdict in {**verdicts, **more}.items() if name in OURS and verdict != "same"]
    if not shutil.which("openssl"):
        print("\nleft out, not installed: openssl")
    if wrong:
        sys.exit(f"wrong packets: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
