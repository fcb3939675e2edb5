"""Judges vector files with stock packages.

    python judge_vectors.py FOLDER

Prints a JSON object: for every vector of the types license, license response, packaging response,
discovery document, exchange result, embedded store, receipt, revocation list and revocation lists, either what the receiver learns or the step that refuses.
"""

import hashlib
import json
import pathlib
import sys

import exchange
import keyward_peer as peer
import make_packaging
import make_request
import revocation

RECEIPT = "application/vnd.keyward.receipt+cose", "keyward/1 receipt"
RECEIPT_ROLE = 5


def license(inputs, message, now):
    keys = {suite: bytes.fromhex(inputs[f"device-sealing-key-{suite}"]) for suite in (1, 2)}
    arriving_at = now if inputs["arrives"] == "in-response" else None
    root, device_id = bytes.fromhex(inputs["root"]), bytes.fromhex(inputs["device-id"])
    held = bytes.fromhex(inputs.get("root-license", ""))
    roots = [peer.read_license(held, root, keys, device_id)[:2]] if held else []
    opened = peer.open_license(message, root, keys, device_id, arriving_at, roots)
    nonce = peer.loads(peer.loads(peer.loads(message).value[2])[0]).get(8)
    if nonce is not None and nonce.hex() != inputs.get("request-nonce"):
        raise peer.Refused("V-024", "the nonce of another request")
    names = ("license-id", "kid", "content-key", "root-key", "exchange-keys", "proof-key")
    return {name: opened[name] for name in names if name in opened}


def license_response(inputs, message, now):
    given = {
        "root": inputs["root"],
        "at": now,
        "request-digest": inputs["request-digest"],
        "nonce": inputs["request-nonce"],
        "response-key": inputs["response-key"],
        "kids": inputs["request-kids"].split(" "),
        "takes-more": "takes-more" in inputs,
        "device-id": inputs["device-id"],
        "sealing-keys": {suite: inputs[f"device-sealing-key-{suite}"] for suite in ("1", "2")},
        "response": message.hex(),
    }
    opened = make_request.response(given)
    results = opened["results"].items()
    return {
        "granted": " ".join(kid for kid, result in results if "denied" not in result),
        "denied": " ".join(f"{kid}:{result['denied']}" for kid, result in results if "denied" in result),
        "server-time": str(opened["server-time"]),
    } | ({"renew-at": str(opened["renew-at"])} if "renew-at" in opened else {})


def discovery(inputs, message, now):
    found = make_request.discover(message, bytes.fromhex(inputs["root"]), now)
    return {
        "license-path": found["path"],
        "packaging-path": found["packaging-path"],
        "acknowledgement-path": found["acknowledgement-path"],
    }


def receipt(inputs, message, now):
    """V-011, V-012, V-065."""
    root, digest, secret = (bytes.fromhex(inputs[name]) for name in ("root", "request-digest", "response-key"))
    signed = peer.open_response(message, secret, digest, RECEIPT[1])
    _, body, _ = peer.verify_sign1(signed, *RECEIPT, root, RECEIPT_ROLE, lambda _: [now])
    peer.critical("receipt", body, set(range(1, 6)))
    learns = {"transaction": body[4].hex(), "server-time": str(body[5])}
    if body[2] != digest or body[3].hex() != inputs["request-nonce"]:
        raise peer.Refused("V-012", "the answer to another request")
    if learns["transaction"] != inputs["request-transaction"]:
        raise peer.Refused("V-065", "of another transaction")
    return learns


def packaging_response(inputs, message, now):
    given = {
        "root": inputs["root"],
        "at": now,
        "request-digest": inputs["request-digest"],
        "nonce": inputs["request-nonce"],
        "response-key": inputs["response-key"],
        "tracks": inputs["request-tracks"],
        "sealing-keys": {suite: inputs[f"packager-sealing-key-{suite}"] for suite in ("1", "2")},
        "response": message.hex(),
    }
    if "request-periods" in inputs:
        given["periods"] = inputs["request-periods"]
    return make_packaging.response(given)


def embedded_store(inputs, store, now):
    """V-038: a length, an array of byte strings, zeros."""
    if not any(store):
        return {"licenses": ""}
    length, rest = int.from_bytes(store[:4], "big"), store[4:]
    if len(store) < 4 or length > len(rest) or any(rest[length:]):
        raise peer.Refused("V-038", "not a length, licenses and zeros")
    try:
        licenses = peer.loads(rest[:length])
    except peer.Refused as refused:
        raise peer.Refused("V-038", refused.args[1]) from refused
    if not isinstance(licenses, list) or len(licenses) > 64 or not all(isinstance(one, bytes) for one in licenses):
        raise peer.Refused("V-038", "not at most 64 licenses")
    return {"licenses": " ".join(hashlib.sha256(one).hexdigest() for one in licenses)}


def exchange_result(inputs, message, now):
    algorithm, key = int(inputs["algorithm"]), bytes.fromhex(inputs["exchange-key"])
    aad, data = bytes.fromhex(inputs.get("aad", "")), bytes.fromhex(inputs.get("data", ""))
    if "context" in inputs and bytes.fromhex(inputs["context"]) != aad:
        raise peer.Refused("R-051", "not the context of the key")
    exchange.check_key(algorithm, int(inputs["operation"]), key)
    is_stream = inputs["form"] == "stream"
    clear = exchange.take(algorithm, key, int(inputs["key-version"]), message, aad, data, is_stream)
    return {"verified": "yes"} if clear is None else {"data": clear.hex()}


JUDGES = {
    "license": license,
    "license-response": license_response,
    "packaging-response": packaging_response,
    "discovery": discovery,
    "exchange-result": exchange_result,
    "embedded-store": embedded_store,
    "receipt": receipt,
    "revocation-list": revocation.revocation_list,
    "revocation-lists": revocation.revocation_lists,
}


def judge(vector):
    try:
        return {"learns": JUDGES[vector["message_type"]](vector["inputs"], bytes.fromhex(vector["message"]), vector["now"])}
    except peer.Refused as refused:
        return {"refused": refused.args[0]}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        return {"refused": "V-001", "why": repr(error)}


def main():
    vectors = [json.loads(path.read_text()) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json"))]
    print(json.dumps({vector["name"]: judge(vector) for vector in vectors if vector["message_type"] in JUDGES}))


if __name__ == "__main__":
    main()
