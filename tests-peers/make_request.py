"""Makes a license request with stock packages, or opens the response to one. JSON in, JSON out.

    python make_request.py request  < {"root", "discovery", "at", "suite", "chain", "signing-key", "kids"}
    python make_request.py response < {"root", "at", "request-digest", "nonce", "response-key", "kids",
                                       "device-id", "sealing-keys", "response"}

Bytes are hexadecimal; `chain` and `kids` are lists, `sealing-keys` an object by suite. `request` trusts
nothing but the root: it verifies the discovery document and takes path and key from it. It prints the
request, and beside it what `response` needs. Exit status 1: refused.
"""

import hashlib
import json
import sys

import keyward_peer as peer
from cryptography.hazmat.primitives import serialization

DISCOVERY = "application/vnd.keyward.discovery+cose", "keyward/1 discovery"
REQUEST = "application/vnd.keyward.license-request+cose", "keyward/1 license-request"
RESPONSE = "application/vnd.keyward.license-response+cose", "keyward/1 license-response"


def request(given):
    at = given["at"]

    def body(recipient, nonce, response_key):
        return {
            1: peer.PROTOCOL_VERSION,
            2: recipient,
            3: nonce,
            4: response_key,
            6: [bytes.fromhex(kid) for kid in given["kids"]],
            7: {1: "keyward-peer", 2: "1", 3: "python"},
            8: {1: [1, 2, 3], 2: [10, 11, 12], 4: [1, 2], 5: 1},
            9: True,
            12: {1: at, 3: 1},
            13: {1: peer.random(16), 2: 1},
            14: True,
            70000: "skip me",
        }

    return seal(given, REQUEST, body, "path")


def seal(given, kind, body, path):
    """Signs a request of a kind and seals it to the server of the discovery document."""
    root, suite = bytes.fromhex(given["root"]), given["suite"]
    server = discover(bytes.fromhex(given["discovery"]), root, given["at"])
    certificate = server["certificate"].public_bytes(serialization.Encoding.DER)
    recipient = hashlib.sha256(certificate).digest()
    nonce, response_key = peer.random(16), peer.random(32)
    encoded = peer.dumps(body(recipient, nonce, response_key))
    chain = [bytes.fromhex(der) for der in given["chain"]]
    signed = peer.sign1(*kind, [encoded], chain, bytes.fromhex(given["signing-key"]))
    key = next(key[2] for key in peer.claims(server["certificate"])[5] if key[1] == suite)
    info = peer.binding(kind[1], suite, recipient)
    encapsulated, ciphertext = peer.hpke_seal(suite, key, info, signed)
    envelope = {1: peer.PROTOCOL_VERSION, 2: suite, 3: recipient, 4: encapsulated, 5: ciphertext}
    return {
        "request": peer.dumps(envelope).hex(),
        "path": server[path],
        "request-digest": hashlib.sha256(encoded).hexdigest(),
        "nonce": nonce.hex(),
        "response-key": response_key.hex(),
    }


def discover(document, root, at):
    """V-060 to V-062: where to ask and whom to seal to."""
    _, body, _ = peer.verify_sign1(document, *DISCOVERY, root, peer.LICENSE_SERVER, lambda _: [at])
    peer.critical("discovery document", body, set(range(1, 10)))
    if body[2] != hashlib.sha256(root).digest():
        raise peer.Refused("V-060", "another operator")
    if body[6] > at + 300 or at >= body[7]:
        raise peer.Refused("V-061", "not in use")
    certificate = peer.verify_chain(body[3], root, peer.REQUEST_ENCRYPTION, at)
    return {"certificate": certificate, "path": body[4], "packaging-path": body.get(8), "acknowledgement-path": body.get(9)}


def response(given):
    root, at = bytes.fromhex(given["root"]), given["at"]
    digest = bytes.fromhex(given["request-digest"])
    envelope, secret = bytes.fromhex(given["response"]), bytes.fromhex(given["response-key"])
    signed = peer.open_response(envelope, secret, digest, RESPONSE[1])
    _, body, _ = peer.verify_sign1(signed, *RESPONSE, root, peer.LICENSE_SERVER, lambda _: [at])
    peer.critical("license response", body, set(range(1, 10)))
    if body[2] != digest or body[3] != bytes.fromhex(given["nonce"]):
        raise peer.Refused("V-012", "the answer to another request")
    keys = {int(suite): bytes.fromhex(key) for suite, key in given["sealing-keys"].items()}
    device_id, takes_more = bytes.fromhex(given["device-id"]), given.get("takes-more", False)
    seen = set()
    for result in body[4]:
        kid = result[1].hex()
        unasked = kid not in given["kids"] and not (takes_more and 2 in result)
        if unasked or kid in seen or (2 in result) == (3 in result):
            raise peer.Refused("V-014", "a result that does not fit the request")
        seen.add(kid)
    licenses = [result[2] for result in body[4] if 2 in result]
    roots = [license for license in licenses if peer.kind(license) == 2]
    held = [peer.read_license(license, root, keys, device_id, at)[:2] for license in roots]
    results = {}
    for result in body[4]:
        denied = 3 in result
        results[result[1].hex()] = (
            {"denied": result[3][1]} if denied else granted(result, (root, keys, device_id, at, held))
        )
    return {"results": results, "server-time": body[6]} | ({"renew-at": body[9]} if 9 in body else {})


def granted(result, reading):
    opened = peer.open_license(result[2], *reading)
    if opened["kid"] != result[1].hex():
        raise peer.Refused("V-025", "a license for another key id")
    return opened


def main(actions, usage):
    action = actions.get("".join(sys.argv[1:]))
    if action is None:
        sys.exit(usage)
    try:
        print(json.dumps(action(json.load(sys.stdin))))
    except peer.Refused as refused:
        print(json.dumps({"refused": refused.args[0], "why": refused.args[1]}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main({"request": request, "response": response}, __doc__))
