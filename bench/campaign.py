#!/usr/bin/env python3
"""Long fuzz runs: a stated number of executions a target, one line a target as soon as it has ended.

    cargo xtask fuzz                                     # builds the targets
    bench/campaign.py --runs 10000000 --media            # every target of media, as RESULTS.md has them
    bench/campaign.py --runs 10000000 clear_view movie   # these two
    bench/campaign.py --minutes 20 media_lead            # as far as it comes; the next call goes on

Each target begins with its committed corpus and what earlier runs found (`target/fuzz/corpus`), and goes on until it
has made that many executions. Those of several calls add up in `target/fuzz/campaign.json`, as long as the program is the
same to the byte. The first finding ends the campaign with the input's path; a line that is printed is a target that has
found nothing. `--done FILE` leaves out the targets that have a line in that file.
"""

import argparse
import fcntl
import hashlib
import json
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
    "media_cut",
    "media_packager",
    "media_lead",
    "media_stream",
]


class Record:
    """What each program has done so far: executions, seconds, and edges and inputs at last. Another begins anew."""

    def __init__(self, path):
        self.path = path

    def programs(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def of(self, program):
        return self.programs().get(program, [0, 0, 0, 0])

    def add(self, program, executions, seconds, edges, inputs):
        # What another campaign beside this one has added since is kept, and nobody reads half a record.
        with self.path.with_suffix(".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            programs = self.programs()
            before = programs.get(program, [0, 0, 0, 0])
            programs[program] = [before[0] + executions, before[1] + seconds, edges, inputs]
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(programs, indent=1))
            new.replace(self.path)


def run(target, options, record):
    """One line of the table, or nothing while executions are missing; raises where the target finds something."""
    found = options.target_dir / "corpus" / target
    found.mkdir(parents=True, exist_ok=True)
    committed = ROOT / "fuzz" / "corpus" / target
    program = options.target_dir / "x86_64-unknown-linux-gnu" / "release" / target
    name = f"{target} {hashlib.sha256(program.read_bytes()).hexdigest()}"
    missing = options.runs - record.of(name)[0]
    if missing > 0:
        command = [program, found] + ([committed] if committed.is_dir() else [])
        command += [f"-runs={missing}", "-timeout=10", "-print_final_stats=1"]
        command += [f"-max_total_time={60 * options.minutes}"] if options.minutes else []
        command += [f"-artifact_prefix={options.target_dir}/artifact-{target}-", "-reload=0", "-len_control=0"]
        began = time.monotonic()
        process = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if process.returncode != 0:
            raise RuntimeError(f"{target} found something:\n{process.stderr[-4000:]}")
        made = int(re.search(r"number_of_executed_units:\s+(\d+)", process.stderr)[1])
        last = re.findall(r"cov: (\d+).*?corp: (\d+)/", process.stderr)[-1]
        record.add(name, made, time.monotonic() - began, *map(int, last))
    executions, seconds, edges, inputs = record.of(name)
    if executions < options.runs:
        print(f"{target}: {executions:,} of {options.runs:,}", file=sys.stderr, flush=True)
        return None
    return f"| `{target}` | {executions:,} | {seconds:,.0f} | {edges} | {inputs} | 0 |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="names of targets")
    parser.add_argument("--media", action="store_true", help="every target of media")
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions a target")
    parser.add_argument("--minutes", type=int, default=0, help="at most so long a target and call")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--target-dir", type=pathlib.Path, default=ROOT / "target" / "fuzz")
    parser.add_argument("--done", type=pathlib.Path, help="leave out what has a line in this file")
    options = parser.parse_args()
    targets = options.targets + (MEDIA if options.media else [])
    if not targets:
        parser.error("name targets, or --media")
    done = options.done.read_text() if options.done and options.done.exists() else ""
    targets = [target for target in targets if f"`{target}`" not in done]
    record = Record(options.target_dir / "campaign.json")
    print("| target | executions | s | edges | inputs kept | findings |\n|---|---|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for line in pool.map(lambda target: run(target, options, record), targets):
            if line:
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
