"""Opens one license with stock packages and prints what it says as JSON.

    python open_license.py LICENSE --root ROOT --device-id ID [--key-1 KEY] [--key-2 KEY] [--at SECONDS]

LICENSE, ROOT and the keys are hexadecimal or names of files. `--at` says that the license arrives in a
response at that time, so that its signer has to be valid then as well. Exit status 1: refused.
"""

import argparse
import json
import sys

import keyward_peer as peer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("license", type=peer.argument)
    parser.add_argument("--root", type=peer.argument, required=True, help="the operator's root certificate, DER")
    parser.add_argument("--device-id", type=peer.argument, required=True, help="SHA-256 of the device's public key")
    parser.add_argument("--key-1", type=peer.argument, help="private sealing key of suite 1 (P-256)")
    parser.add_argument("--key-2", type=peer.argument, help="private sealing key of suite 2 (X-Wing)")
    parser.add_argument("--at", type=int, help="the time at which the license arrives, seconds UTC")
    given = parser.parse_args()
    keys = {suite: key for suite, key in ((1, given.key_1), (2, given.key_2)) if key is not None}
    try:
        opened = peer.open_license(given.license, given.root, keys, given.device_id, given.at)
    except peer.Refused as refused:
        print(json.dumps({"refused": refused.args[0], "why": refused.args[1]}))
        return 1
    print(json.dumps(opened))
    return 0


if __name__ == "__main__":
    sys.exit(main())
