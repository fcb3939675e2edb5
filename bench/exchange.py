#!/usr/bin/env python3
"""What key exchange costs: operations on the device beside the libraries alone, prepared keys, operations over HTTP.

    cargo build --release -p keyward-cli && cargo build --release -p keyward-testkit --example exchange
    bench/exchange.py [--rounds 25] [--handles 10000] [--calls 4000] [--folder DIR]

Operations: every algorithm, with messages of 64 bytes, 1 KiB and 1 MiB (4 KiB to wrap). Three in turn, in one run: a
prepared key of a client (the license is judged, the use counted, the key expanded and wiped at every call), the handle
of a ring that license server and client share (`keyward_license::key_exchange`, the key expanded once), and
the library itself (aws-lc-rs, RustCrypto), called as an application would.

Prepared keys: a client on the disk (DIR is target/ otherwise), its license in the store.

Over HTTP: `keyward serve` with a temporary operator on the disk, an exchange token, messages of 1 KiB, one a call and
100 a call, beside `GET /health/live` of the same server, in turn. The load shares the machine's processors with the
server: operations per second are a lower bound, and CPU time is not touched.

Prints Markdown for RESULTS.md.
"""

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import license as issuance
from license import KEYWARD, TARGET, TICKS, Program, cpu, peak, run, serve

EXCHANGE = TARGET / "examples/exchange"
MESSAGE = base64.urlsafe_b64encode(bytes(1024)).decode().rstrip("=")
# What clients do, what the license server does, and what each item of its answer holds.
MIRRORED = [("A256GCM", "decrypt", "encrypt", '"result"'), ("ESP256", "verify", "sign", '"signature"')]


def lines(*arguments):
    """The figures of a run of the example, one list a line."""
    program = subprocess.Popen([str(word) for word in (EXCHANGE, *arguments)], stdout=subprocess.PIPE, text=True)
    for line in program.stdout:
        print(line, end="", file=sys.stderr, flush=True)
        yield line.rstrip("\n").split("\t")
    if program.wait():
        sys.exit(f"{EXCHANGE} ended with {program.returncode}")


def micros(nanoseconds):
    return f"{nanoseconds / 1000:,.2f}" if nanoseconds < 100_000 else f"{nanoseconds / 1000:,.0f}"


def operations(args, folder):
    print("\n| algorithm, operation | 64 B: µs | of the library's speed | handle | 1 KiB: µs | of it | handle "
          "| 1 MiB: µs | MB/s | of it | handle |\n|---|---|---|---|---|---|---|---|---|---|---|")
    row = []
    for algorithm, operation, size, *figures in lines("operations", folder, args.rounds):
        client, client_speed, handle_speed = map(int, figures)
        rate = [f"{int(size) * 1000 / client:,.0f}"] if int(size) > 1024 else []
        row += [micros(client), *rate, f"{client_speed / 1000:.2f}", f"{handle_speed / 1000:.2f}"]
        if rate:
            print(f"| {algorithm} {operation} | {' | '.join(row)} |", flush=True)
            row = []


def handles(args, folder):
    print("\n| prepared key | prepare ms | keys a second | close ms |\n|---|---|---|---|")
    for what, name, *figures in lines("handles", folder, args.handles):
        first, second = map(int, figures)
        if what == "time":
            print(f"| {name} | {first / 1e6:.2f} | {1e9 / first:,.0f} | {second / 1e6:.2f} |", flush=True)
        else:
            print(f"\n{int(name):,} keys held: {first:,} bytes of memory a key, {second:,} of them in locked pages.")


def over_http(args, folder):
    port = issuance.operator(folder)
    configuration = (folder / "operator/operator.toml").read_text().splitlines()
    listen = next(line.split('"')[1] for line in configuration if line.startswith("admin_listen"))
    keys = []
    for algorithm, permitted, operation, holds in MIRRORED:
        made = run(KEYWARD, "--json", "admin", "key-exchange", "create", algorithm, "--algorithm", algorithm,
                   "--operation", permitted)
        keys.append((json.loads(made)["kid"], algorithm, operation, holds))
    token = json.loads(run(KEYWARD, "--json", "admin", "key-exchange", "token", "add", "bench", "--all-keys"))["token"]
    server = serve(port)
    load = Program(EXCHANGE, "load")
    print("\n| connections, operation, items a call | items/s | calls/s | p50 ms | p99 ms | CPU µs an item "
          "| of the empty call: calls/s | CPU a call |\n|---|---|---|---|---|---|---|---|")
    try:
        for connections in (1, 16):
            for kid, algorithm, operation, holds in keys:
                for items in (1, 100):
                    url = f"http://{listen}/exchange-keys/{kid}/perform"
                    body = json.dumps({"operation": operation, "items": [{"data": MESSAGE}] * items})
                    perform = {"url": url, "token": token, "body": body, "holds": [holds, items]}
                    empty = {"url": f"http://127.0.0.1:{port}/health/live"}
                    name = f"{connections}: {algorithm} {operation}, {items}"
                    compare(args, load, server.pid, name, connections, items, (perform, empty))
        print(f"\nPeak memory of the server: {peak(server.pid):.0f} MiB.")
    finally:
        load.end()
        server.terminate()
        server.wait()


def compare(args, load, pid, name, connections, items, orders):
    """One row: calls that perform, and empty ones, in turn."""
    calls = args.calls // connections
    windows = ([], [])
    for round_ in range(6):
        for order, seen, number in zip(orders, windows, (max(20, calls // (10 if items > 1 else 1)), calls)):
            before = cpu(pid)
            window = load.ask(connections=connections, calls=number, **order)
            window["cpu"] = cpu(pid) - before
            window["rate"] = window["requests"] / window["seconds"]
            if round_:  # the first round warms up
                seen.append(window)
    median = lambda field: statistics.median(window[field] for window in windows[0])
    # Processor time comes in hundredths of a second: of all windows together.
    cost = lambda seen: max(sum(one["cpu"] for one in seen), 1 / TICKS) / sum(one["requests"] for one in seen)
    ours, empty = map(cost, windows)
    rate = statistics.median(a["rate"] / b["rate"] for a, b in zip(*windows))
    print(f"| {name} | {median('rate') * items:,.0f} | {median('rate'):,.0f} | {median('p50') / 1000:.2f} "
          f"| {median('p99') / 1000:.2f} | {ours / items * 1e6:.1f} | {rate:.2f} | {ours / empty:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--handles", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--folder", default=TARGET.parent)
    args = parser.parse_args()
    for measure in (operations, handles, over_http):
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            measure(args, Path(name))
    print(f"\nLoad of the machine at the end (threads that ran or waited): {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
