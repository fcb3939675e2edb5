#!/usr/bin/env python3
"""What chains cost: making leaf licenses for every crypto period, and playing content whose key changes with each segment.

    cargo build --release -p keyward-cli --example chains
    bench/chains.py [--rounds 8] [--segments 2000] [--bytes 65536,1048576] [--folder DIR]

An operator, a packager and a device in one process (DIR is target/ otherwise, because what is issued is flushed to the
disk before it is answered). Packaging requests are of 256 crypto periods, the most there are; the packager verifies
every leaf that it is given. The device plays segments that are in memory, each with the leaf that rides in it: under a
key each, and in turn under one key for all. Beside both stands what has to be done in any case, measured in turn as
well: sealing and signing a leaf; verifying it with its signer's chain, and opening it. Then the device plays an hour of 1,800 segments of two seconds from the first to the last, and its memory is
read on the way.

Prints Markdown for RESULTS.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / "release"
CHAINS = TARGET / "examples/chains"
HOUR = 1800


def measured(*command):
    """By name: median and 99th percentile."""
    figures = {}
    program = subprocess.Popen([CHAINS, *map(str, command)], stdout=subprocess.PIPE, text=True)
    for line in program.stdout:
        print(line, end="", file=sys.stderr, flush=True)
        what, _, median, high = line.rstrip("\n").split("\t")
        figures[what] = (int(median), int(high))
    if program.wait():
        sys.exit(f"{CHAINS} ended with {program.returncode}")
    return figures


def making(figures):
    print("\n| leaves made, each for a key of its own | leaves/s | µs a leaf | 99th percentile | sealing and signing alone, µs "
          "| times as long |\n|---|---|---|---|---|---|")
    for what, (median, high) in figures.items():
        name, _, part = what.partition(": ")
        if part != "alone":
            alone = figures[f"{name}: alone"][0]
            print(f"| {what} | {1e9 / median:,.0f} | {median / 1000:.0f} | {high / 1000:.0f} | {alone / 1000:.0f} "
                  f"| {median / alone:.1f} |")


def playing(sizes, figures):
    print("\n| segment | a key each: segments/s | ms | one key for all: segments/s | ms | of the former the key, ms "
          "| cryptography of a leaf, ms | the key is |\n|---|---|---|---|---|---|---|---|")
    for size in sizes:
        of = {what.partition(": ")[2]: times for what, times in figures.items() if what.startswith(f"{size} bytes: ")}
        each, one = of["a key for each segment"][0], of["one key for all"][0]
        key, leaf = of["of the former, the key"][0], of["cryptography of a leaf"][0]
        print(f"| {int(size) >> 10:,} KiB | {1e6 / each:,.0f} | {each / 1000:.3f} | {1e6 / one:,.0f} | {one / 1000:.3f} "
              f"| {key / 1000:.3f} | {leaf / 1000:.3f} | {key / leaf:.2f} of it |")


def memory(figures):
    print("\n| after | MiB resident |\n|---|---|")
    for what, (size, _) in figures.items():
        if what.startswith("KiB after "):
            print(f"| {what.removeprefix('KiB after ')} | {size / 1024:.1f} |")
    print(f"\nKeys that the playback keeps: {figures['keys that are kept'][0]}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--segments", type=int, default=2000)
    parser.add_argument("--bytes", type=lambda text: text.split(","), default=["65536", "1048576"])
    parser.add_argument("--folder", default=TARGET.parent)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        made = measured("make", folder, HOUR, args.rounds)
        played = {}
        for size in args.bytes:
            played |= measured("play", folder, args.segments, size)
        resident = measured("hour", folder)
    making(made)
    playing(args.bytes, played)
    memory(resident)


if __name__ == "__main__":
    main()
