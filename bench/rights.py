#!/usr/bin/env python3
"""What licenses cost on the device: time until a key is usable, installing, bytes on the disk, with few and many.

    cargo build --release -p keyward-client-native --example rights
    bench/rights.py [--rounds 1000] [--licenses 1,10000,1000000] [--folder DIR]

One client on the disk (DIR is target/ otherwise), filled with licenses that are all signed and sealed by a license server
in memory and taken in by ordinary responses of 256. Beside each figure stands what has to be done in any case, measured
in turn in the same run: the cryptography of one license (signer's chain, signature, opening the key), and one flush
of a small file and its folder.

A million licenses need 5 GB, which are removed in the end, and the better part of an hour on two processors. What one
judgement costs: `cargo bench -p keyward-license --bench evaluate`.

Prints Markdown for RESULTS.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / "release"
RIGHTS = TARGET / "examples/rights"
ALONE, FLUSH = "cryptography of one license", "flush of a new file and its folder"
READING = ["open store", "bind after opening", "find", "bind"]
WRITING = ["install a response of 1", "install a response of 256", "bind with a first play to record"]


def measured(args, folder):
    """By number of licenses and by name: median and 99th percentile."""
    figures = defaultdict(dict)
    program = subprocess.Popen([RIGHTS, folder, str(args.rounds), *args.licenses], stdout=subprocess.PIPE, text=True)
    for line in program.stdout:
        print(line, end="", file=sys.stderr, flush=True)
        licenses, what, _, median, high = line.rstrip("\n").split("\t")
        figures[int(licenses)][what] = (int(median), int(high))
    if program.wait():
        sys.exit(f"{RIGHTS} ended with {program.returncode}")
    return figures


def table(figures, names, peer, ratio):
    print(f"\n| licenses in the store | what | ms | 99th percentile | {ratio} |\n|---|---|---|---|---|")
    for licenses, of in figures.items():
        for what in [*names, peer]:
            median, high = of[what]
            times = f"{median / of[peer][0]:.1f}" if what != peer else "1"
            print(f"| {licenses:,} | {what} | {median / 1000:.2f} | {high / 1000:.2f} | {times} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--licenses", type=lambda text: text.split(","), default=["1", "10000", "1000000"])
    parser.add_argument("--folder", default=TARGET.parent)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        figures = measured(args, folder)
    table(figures, READING, ALONE, "times the cryptography")
    table(figures, WRITING, FLUSH, "times a flush")
    print("\n| licenses | installed a second, responses of 1 | of 256 | bytes on the disk a license | of that its record |")
    print("|---|---|---|---|---|")
    for licenses, of in figures.items():
        one, many = (1e6 * count / of[f"install a response of {count}"][0] for count in (1, 256))
        disk, records = (of[what][0] / licenses for what in ("bytes on the disk", "bytes of sealed records"))
        print(f"| {licenses:,} | {one:,.0f} | {many:,.0f} | {disk:,.0f} | {records:,.0f} |")


if __name__ == "__main__":
    main()
