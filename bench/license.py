#!/usr/bin/env python3
"""How many licenses `keyward serve` issues, beside an endpoint that does their cryptography and nothing else.

    cargo build --release -p keyward-cli && cargo build --release -p keyward-server --example issuance
    bench/license.py [--rounds 5] [--requests 6000] [--connections 1,32,1000] [--devices 64] [--folder DIR]
    bench/license.py --play [--rounds 25]

KEYWARD_PROFILE names another Cargo profile that both were built with.

A temporary operator on the disk (DIR is target/ otherwise, because every license is flushed to the disk before
it is answered), devices that enrol, half of them with suite 1 alone, and requests that are all different and
made before the clock runs. License server and crypto-only endpoint (`crates/server/examples/issuance`) are
measured in turn, in one run; each gives its time on a processor and its peak memory per window. The load shares
the machine's processors with them, so that requests per second are a lower bound, and CPU time is not touched.

With --play: time from the start of `keyward play` to its first clear byte, license in the store, beside an empty
process.

Prints Markdown for RESULTS.md.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / os.environ.get("KEYWARD_PROFILE", "release")
KEYWARD, ISSUANCE = TARGET / "keyward", TARGET / "examples/issuance"
KID = "5a" * 16
TICKS = os.sysconf("SC_CLK_TCK")


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A program that is told what to do on standard input, and ends with it."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[:2]} ended with {self.process.wait()}")
        return line.strip()

    def ask(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.hear())

    def end(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()


def operator(folder):
    """An operator with a key, an account that may have it, and room for 1,000 connections. Its address."""
    port, admin = free_port(), free_port()
    os.environ["KEYWARD_OPERATOR_DIR"] = str(folder / "operator")
    os.environ["KEYWARD_CLIENT_DIR"] = str(folder / "client")
    run(KEYWARD, "init", folder / "operator", "--public-url", f"http://127.0.0.1:{port}",
        "--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}")
    configuration = folder / "operator/operator.toml"
    limits = "[limits]\nconcurrent_requests = 2048\nconnections = 2048\ndevice_rate = 0\n"
    configuration.write_text(configuration.read_text().replace("[limits]\n", limits))
    run(KEYWARD, "admin", "register-key", KID)
    run(KEYWARD, "admin", "grant", "--account", "bench", "--all")
    return port


def token():
    return json.loads(run(KEYWARD, "--json", "admin", "enrolment-token", "--account", "bench"))["token"]


def serve(port):
    server = subprocess.Popen([KEYWARD, "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.02)
    sys.exit("the license server did not start")


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak(pid):
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def window(load, pid, **order):
    """One window: what the load saw, and what it cost the process."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = cpu(pid)
    seen = load.ask(kid=KID, **order)
    # The probe that comes first is one request more.
    seen["cpu"] = (cpu(pid) - before) / (seen["requests"] + 1) * 1e6
    seen["rate"] = seen["requests"] / seen["seconds"]
    seen["peak"] = peak(pid)
    return seen


def issuance(args, folder):
    port = operator(folder)
    tokens = [token() for _ in range(args.devices)]
    server = serve(port)
    ceiling = Program(ISSUANCE, "ceiling")
    url = ceiling.hear()
    load = Program(ISSUANCE, "load", folder / "operator/operator-profile", *tokens)
    load.hear()
    try:
        for suite in (1, 2):
            print(f"\n| suite {suite}, connections | licenses/s | p50 ms | p99 ms | CPU µs a license | peak MiB "
                  "| of the crypto-only endpoint: licenses/s | CPU | p50 |\n|---|---|---|---|---|---|---|---|---|")
            for connections in args.connections:
                compare(load, suite, connections, args, server.pid, (ceiling.process.pid, url))
    finally:
        load.end()
        ceiling.end()
        server.terminate()
        server.wait()


def compare(load, suite, connections, args, server, ceiling):
    requests = args.requests if connections > 1 else max(1, args.requests // 4)
    rows = {"keyward serve": [], "crypto only": []}
    for round_ in range(args.rounds + 1):
        order = {"suite": suite, "connections": connections, "requests": requests if round_ else max(1, requests // 8)}
        ours = window(load, server, **order)
        theirs = window(load, ceiling[0], ceiling=ceiling[1], **order)
        if round_:  # the first round warms up
            rows["keyward serve"].append(ours)
            rows["crypto only"].append(theirs)
    ours, theirs = rows.values()
    ratio = lambda field: statistics.median(a[field] / b[field] for a, b in zip(ours, theirs))
    for name, seen in rows.items():
        median = lambda field: statistics.median(window[field] for window in seen)
        beside = f"{ratio('rate'):.2f} | {ratio('cpu'):.2f} | {ratio('p50'):.2f}" if seen is ours else "1 | 1 | 1"
        print(f"| {connections}: {name} | {median('rate'):,.0f} | {median('p50') / 1000:.2f} | {median('p99') / 1000:.2f} "
              f"| {median('cpu'):.0f} | {max(window['peak'] for window in seen):.0f} | {beside} |", flush=True)


def first_byte(command):
    """Seconds until a command has written its first byte, or has ended without one."""
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seen = os.read(process.stdout.fileno(), 1)
    elapsed = time.perf_counter() - started
    process.stdout.close()
    process.wait()
    return elapsed, seen


def play(args, folder):
    port = operator(folder)
    (folder / "clear").write_bytes(os.urandom(1_000_000))
    run(KEYWARD, "package", folder / "clear", "-o", folder / "protected")
    server = serve(port)
    try:
        run(KEYWARD, "enrol", "--profile", folder / "operator/operator-profile", "--token", token())
        run(KEYWARD, "acquire", folder / "protected")
    finally:
        server.terminate()
        server.wait()
    clear = (folder / "clear").read_bytes()[:1]
    commands = {"keyward play --offline": [KEYWARD, "play", folder / "protected", "--offline", "-o", "-"],
                "keyward --version": [KEYWARD, "--version"], "openssl version": ["openssl", "version"], "true": ["true"]}
    times = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            elapsed, seen = first_byte(command)
            if name.startswith("keyward play") and seen != clear:
                sys.exit("keyward play did not write the clear file")
            times[name].append(elapsed)
    ours = statistics.median(times["keyward play --offline"])
    print("\n| to the first byte, or the end | ms | keyward play takes |\n|---|---|---|")
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"| `{name}` | {median * 1000:.1f} | {ours / median:.1f} of it |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--connections", type=lambda text: [int(word) for word in text.split(",")], default=[1, 32, 1000])
    parser.add_argument("--devices", type=int, default=64)
    parser.add_argument("--folder", default=TARGET.parent)
    parser.add_argument("--play", action="store_true")
    args = parser.parse_args()
    args.rounds = args.rounds or (25 if args.play else 5)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        (play if args.play else issuance)(args, Path(name))


if __name__ == "__main__":
    main()
