#!/usr/bin/env python3
"""Long fuzz runs: a stated number of executions a target, one line a target as soon as it has ended.

    cargo xtask fuzz                                     # builds the targets
    bench/campaign.py --runs 10000000 --media            # every target of media, as RESULTS.md has them
    bench/campaign.py --runs 10000000 clear_view movie   # these two

Each target begins with its committed corpus and what earlier runs found (`target/fuzz/corpus`), and goes on until it
has made that many executions. The first finding ends the campaign with the input's path; a line that is printed is a
target that has found nothing. `--done FILE` leaves out the targets that have a line in that file.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Every parser of media and content headers, every codec's headers, what writes, and the decryptor as a whole.
MEDIA = [
    "av1_samples",
    "avc_samples",
    "hevc_samples",
    "vp9_samples",
    "box_tree",
    "movie",
    "movie_fragment",
    "pssh",
    "playready_header",
    "playready_object",
    "webm",
    "embedded_store",
    "content_embed",
    "clear_view",
    "media_packager",
    "media_lead",
    "media_stream",
]


def run(target, options):
    """One line of the table; raises where the target finds something."""
    found = options.target_dir / "corpus" / target
    found.mkdir(parents=True, exist_ok=True)
    committed = ROOT / "fuzz" / "corpus" / target
    command = [options.target_dir / "x86_64-unknown-linux-gnu" / "release" / target, found]
    command += [committed] if committed.is_dir() else []
    command += [f"-runs={options.runs}", "-timeout=10", "-print_final_stats=1"]
    command += [f"-artifact_prefix={options.target_dir}/artifact-{target}-", "-reload=0", "-len_control=0"]
    began = time.monotonic()
    process = subprocess.run(command, capture_output=True, text=True, errors="replace")
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise RuntimeError(f"{target} found something:\n{process.stderr[-4000:]}")
    executions = int(re.search(r"number_of_executed_units:\s+(\d+)", process.stderr)[1])
    edges, inputs = re.findall(r"cov: (\d+).*?corp: (\d+)/", process.stderr)[-1]
    return f"| `{target}` | {executions:,} | {seconds:,.0f} | {edges} | {inputs} | 0 |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="names of targets")
    parser.add_argument("--media", action="store_true", help="every target of media")
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions a target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--target-dir", type=pathlib.Path, default=ROOT / "target" / "fuzz")
    parser.add_argument("--done", type=pathlib.Path, help="leave out what has a line in this file")
    options = parser.parse_args()
    targets = options.targets + (MEDIA if options.media else [])
    if not targets:
        parser.error("name targets, or --media")
    done = options.done.read_text() if options.done and options.done.exists() else ""
    targets = [target for target in targets if f"`{target}`" not in done]
    print("| target | executions | s | edges | inputs kept | findings |\n|---|---|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for line in pool.map(lambda target: run(target, options), targets):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
