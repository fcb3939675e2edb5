#!/usr/bin/env python3
"""Protecting and playing one file beside other programs on the same bytes, in turn, in one run.

    cargo build --release -p keyward-cli && bench/files.py [MEGABYTES [ROUNDS]]

Prints the median wall time of each command and its ratio to ours. Peers that are not installed
(`age`, `openssl`) are left out and named. Everything stays in a memory-backed folder.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEYWARD = Path(__file__).resolve().parent.parent / "target/release/keyward"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def wait_for(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit("the license server did not start")


def prepare(folder):
    """An operator, a device that is enrolled, and the license for one protected file in its store."""
    port, admin = free_port(), free_port()
    run(KEYWARD, "init", folder / "operator", "--public-url", f"http://127.0.0.1:{port}",
        "--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}")
    os.environ["KEYWARD_OPERATOR_DIR"] = str(folder / "operator")
    os.environ["KEYWARD_CLIENT_DIR"] = str(folder / "client")
    run(KEYWARD, "package", folder / "clear", "-o", folder / "protected")
    run(KEYWARD, "admin", "grant", "--account", "bench", "--all")
    token = json.loads(run(KEYWARD, "--json", "admin", "enrolment-token", "--account", "bench"))["token"]
    server = subprocess.Popen([KEYWARD, "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        run(KEYWARD, "enrol", "--profile", folder / "operator/operator-profile", "--token", token)
        run(KEYWARD, "acquire", folder / "protected")
    finally:
        server.terminate()
        server.wait()


def commands(folder):
    clear, out = str(folder / "clear"), str(folder / "out")
    key = ["-K", "00" * 16, "-iv", "00" * 16]
    encrypt = {"keyward package": [str(KEYWARD), "package", clear, "-o", out, "--force"]}
    decrypt = {"keyward play": [str(KEYWARD), "play", str(folder / "protected"), "--offline", "-o", out, "--force"]}
    encrypt["cp"] = decrypt["cp"] = ["cp", clear, out]
    if shutil.which("openssl"):
        encrypt["openssl enc -aes-128-ctr"] = ["openssl", "enc", "-aes-128-ctr", *key, "-in", clear, "-out", out]
    if shutil.which("age"):
        run("age-keygen", "-o", folder / "age-key")
        recipient = run("age-keygen", "-y", folder / "age-key").strip()
        encrypt["age"] = ["age", "-r", recipient, "-o", out, clear]
        run("age", "-r", recipient, "-o", folder / "aged", clear)
        decrypt["age -d"] = ["age", "-d", "-i", str(folder / "age-key"), "-o", out, str(folder / "aged")]
    missing = [name for name in ("openssl", "age") if not shutil.which(name)]
    if missing:
        print("left out, not installed:", ", ".join(missing))
    return encrypt, decrypt


def compare(title, candidates, rounds, size):
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, command in candidates.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    ours = next(iter(medians.values()))
    print(f"\n{title}, {size} MB, median of {rounds} rounds")
    for name, median in medians.items():
        print(f"  {name:28} {median:7.3f} s {size / median:8.0f} MB/s   ours is {ours / median:.2f} x")


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 302
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        with open(folder / "clear", "wb") as clear:
            for _ in range(size):
                clear.write(os.urandom(1_000_000))
        prepare(folder)
        encrypt, decrypt = commands(folder)
        compare("encrypt", encrypt, rounds, size)
        compare("decrypt", decrypt, rounds, size)


if __name__ == "__main__":
    main()
