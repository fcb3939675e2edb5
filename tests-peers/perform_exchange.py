"""Opens a key exchange license with stock packages and performs its operation once.

    python perform_exchange.py LICENSE --root ROOT --device-id ID [--key-1 KEY] [--key-2 KEY] [--now SECONDS]
        --operation encrypt|decrypt|sign|verify|wrap|unwrap INPUT [--output OUTPUT] [--kid KID] [--aad TEXT]
        [--signature FILE] [--stream]

LICENSE, ROOT and the keys are hexadecimal or names of files, INPUT and OUTPUT files. What encrypt, sign and wrap put
out is made with the newest version; the others take the version that the result names. `--kid` picks one of several
keys, `--stream` is the format of GCM for large data, `--signature` the result that verify takes beside INPUT.

Prints what was done as JSON. Exit status 1: refused, and nothing is written. Begin and end of the license are judged
at `--now`; this program records nothing, so a license that limits its uses is refused (R-052), as is one that asks
for a security level (R-002).
"""

import argparse
import json
import pathlib
import sys
import time

import exchange
import keyward_peer as peer

OPERATIONS = {
    "sign": exchange.SIGN,
    "verify": exchange.VERIFY,
    "encrypt": exchange.ENCRYPT,
    "decrypt": exchange.DECRYPT,
    "wrap": exchange.WRAP,
    "unwrap": exchange.UNWRAP,
}
PRODUCE = {exchange.SIGN, exchange.ENCRYPT, exchange.WRAP}
CHUNK_LOG2 = 16
KID, ALGORITHM, OPERATION, VERSION, CONTEXT, USES = 1, 3, 4, 5, 6, 7


def need(holds, rule, why):
    if not holds:
        raise peer.Refused(rule, why)


def judge(body, now):
    """The usage rules of a license that this program can follow."""
    need(body[3] == 4, "R-001", "the license is for content")
    need(8 not in body, "V-024", "an in-memory license is for who asked for it, and this is not the answer")
    need(12 not in body, "R-002", "this program has no security level")
    need(25 not in body, "R-007", "this program understands no extended restrictions")
    need(body.get(10, 0) <= now, "R-004", "not yet")
    need(11 not in body or now < body[11] + body.get(16, 0), "R-005", "not any more")


def versions_of(body, keys, given):
    """The descriptions of the key that is asked for, newest first, each with its key."""
    kid = given.kid or body[4][0][KID]
    versions = [(described, key) for described, key in zip(body[4], keys) if described[KID] == kid]
    need(versions, "R-050", "the license holds no such key")
    newest = versions[0][0]
    need(newest[OPERATION] == OPERATIONS[given.operation], "R-050", "the license permits another operation")
    need(USES not in newest, "R-052", "this program records no uses")
    need(CONTEXT not in newest or newest[CONTEXT] == given.aad, "R-051", "not the context of the key")
    need(not given.aad or newest[ALGORITHM] in exchange.GCM, "R-051", "additional data is for GCM alone")
    return versions


def perform(versions, data, given):
    """What is written, if anything, and the version of the key."""
    newest, key = versions[0]
    if newest[OPERATION] in PRODUCE:
        chunks = CHUNK_LOG2 if given.stream and newest[ALGORITHM] in exchange.GCM else None
        return exchange.make(newest[ALGORITHM], key, newest[VERSION], data, given.aad, chunks), newest[VERSION]
    result = given.signature if newest[OPERATION] == exchange.VERIFY else data
    need(result is not None, "V-035", "--signature is missing")
    made_with = int.from_bytes(result[:4], "big")
    key = {described[VERSION]: key for described, key in versions}.get(made_with)
    need(key is not None, "V-035", f"version {made_with} is not held")
    is_stream = given.stream and newest[ALGORITHM] in exchange.GCM
    return exchange.take(newest[ALGORITHM], key, made_with, result, given.aad, data, is_stream), made_with


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("license", type=peer.argument)
    parser.add_argument("input", type=pathlib.Path, metavar="INPUT")
    parser.add_argument("--root", type=peer.argument, required=True, help="the operator's root certificate, DER")
    parser.add_argument("--device-id", type=peer.argument, required=True, help="SHA-256 of the device's public key")
    parser.add_argument("--key-1", type=peer.argument, help="private sealing key of suite 1 (P-256)")
    parser.add_argument("--key-2", type=peer.argument, help="private sealing key of suite 2 (X-Wing)")
    parser.add_argument("--now", type=int, default=int(time.time()), help="seconds UTC")
    parser.add_argument("--operation", choices=OPERATIONS, required=True)
    parser.add_argument("--output", type=pathlib.Path, help="where the result goes, or what is in it")
    parser.add_argument("--kid", type=bytes.fromhex, help="the license's first key otherwise")
    parser.add_argument("--aad", type=str.encode, default=b"", help="additional data; only of GCM")
    parser.add_argument("--signature", type=peer.argument, help="the result of signing INPUT")
    parser.add_argument("--stream", action="store_true", help="the format of GCM for large data")
    return parser.parse_args()


def main():
    given = arguments()
    sealing_keys = {suite: key for suite, key in ((1, given.key_1), (2, given.key_2)) if key is not None}
    try:
        body, opened, suite, _ = peer.read_license(given.license, given.root, sealing_keys, given.device_id)
        judge(body, given.now)
        versions = versions_of(body, opened[1], given)
        written, version = perform(versions, given.input.read_bytes(), given)
    except peer.Refused as refused:
        print(json.dumps({"refused": refused.args[0], "why": refused.args[1]}))
        return 1
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if written is not None and given.output is not None:
        given.output.write_bytes(written)
    algorithm = versions[0][0][ALGORITHM]
    print(json.dumps({"performed": given.operation, "algorithm": algorithm, "version": version, "suite": suite}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
