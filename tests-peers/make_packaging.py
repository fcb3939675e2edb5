"""Makes a packaging request with stock packages, or opens the response to one. JSON in, JSON out.

    python make_packaging.py request  < {"root", "discovery", "at", "suite", "chain", "signing-key",
                                         "content-id", "tracks"}
    python make_packaging.py response < {"root", "at", "request-digest", "nonce", "response-key", "tracks",
                                         "sealing-keys", "response"}

Bytes are hexadecimal; `tracks` is text, "label:key-type ..."; `periods`, if there, "first:number"; `sealing-keys` an object by suite. `request` prints
the request, and beside it what `response` needs. Exit status 1: refused.
"""

import hashlib
import json
import sys

import keyward_peer as peer
import make_request

REQUEST = "application/vnd.keyward.packaging-request+cose", "keyward/1 packaging-request"
RESPONSE = "application/vnd.keyward.packaging-response+cose", "keyward/1 packaging-response"
KEYS = "keyward/1 packaging-keys"


def tracks(text):
    pairs = [track.rsplit(":", 1) for track in text.split(" ")]
    return [(label, int(key_type)) for label, key_type in pairs]


def request(given):
    def body(recipient, nonce, response_key):
        return {
            1: peer.PROTOCOL_VERSION,
            2: recipient,
            3: nonce,
            4: response_key,
            5: given["content-id"],
            6: [{1: label, 2: key_type} for label, key_type in tracks(given["tracks"])],
            7: False,
            9: {1: "keyward-peer", 2: "1", 3: "python"},
            70000: "skip me",
        }

    return make_request.seal(given, REQUEST, body, "packaging-path")


def response(given):
    root, at = bytes.fromhex(given["root"]), given["at"]
    digest = bytes.fromhex(given["request-digest"])
    envelope, secret = bytes.fromhex(given["response"]), bytes.fromhex(given["response-key"])
    signed = peer.open_response(envelope, secret, digest, RESPONSE[1])
    items, body, _ = peer.verify_sign1(signed, *RESPONSE, root, peer.LICENSE_SERVER, lambda body: [at, body[7]])
    if len(items) != 3:
        raise peer.Refused("V-001", "the payload is not body, sealed part and leaf licenses")
    peer.critical("packaging response", body, set(range(1, 9)))
    if body[2] != digest or body[3] != bytes.fromhex(given["nonce"]):
        raise peer.Refused("V-012", "the answer to another request")
    for track in body[4]:
        peer.critical("packaged track", track, {1, 2, 3, 4})
    kids, roots = [track[2] for track in body[4]], body.get(8, [])
    answered = [(track.get(4), track[1], track[3]) for track in body[4]]
    wanted = [(period, *track) for period in periods(given) for track in tracks(given["tracks"])]
    named = [*kids, *roots]
    if answered != wanted or len(set(named)) != len(named) or not 1 <= len(body.get(8, [b""])) <= 64:
        raise peer.Refused("V-075", "tracks that do not fit the request")
    keys = open_keys(items, {int(suite): bytes.fromhex(key) for suite, key in given["sealing-keys"].items()})
    if len(keys) != len(kids) or len(set(keys)) != len(keys):
        raise peer.Refused("V-076", "not one key for each track")
    leaves = peer.loads(items[2])
    check_leaves(leaves, body, root, at)
    opened = [f"{track[1]}:{track[2].hex()}:{key.hex()}" for track, key in zip(body[4], keys)]
    found = {"tracks": " ".join(opened), "license-url": body[6], "roots": " ".join(kid.hex() for kid in roots)}
    found["leaves"] = " ".join(hashlib.sha256(leaf).hexdigest() for leaf in leaves)
    return found | ({"content-header": body[5].hex()} if 5 in body else {})


def periods(given):
    """The indices of the crypto periods that were asked for; none is one without an index."""
    if "periods" not in given:
        return [None]
    first, number = map(int, given["periods"].split(":"))
    return range(first, first + number)


def check_leaves(leaves, body, root, at):
    """V-078: leaf licenses for the tracks, under the roots of the response."""
    tracks_named, seen = {(track[2], track[3]) for track in body[4]}, set()
    for leaf in leaves:
        try:
            license, _, _ = peer.verify_license(leaf, root, at)
        except peer.Refused as refused:
            raise peer.Refused("V-078", refused.args[1]) from refused
        key, bound_to = license[4][0], license[5].get(2)
        fits = license[3] == 3 and 8 not in license and bound_to in body.get(8, []) and (key[1], key[2]) in tracks_named
        if not fits or (bound_to, key[1]) in seen:
            raise peer.Refused("V-078", "not a leaf for this content, or there twice")
        seen.add((bound_to, key[1]))


def open_keys(items, sealing_keys):
    sealed = peer.critical("sealed key", peer.loads(items[1]), {1, 2, 3})
    number = sealed[1]
    if number not in sealing_keys:
        raise peer.Refused("V-077", f"suite {number}")
    info = peer.binding(KEYS, number, hashlib.sha256(items[0]).digest())
    clear = peer.hpke_open(number, sealing_keys[number], info, sealed[2], sealed[3], "V-076")
    return peer.critical("packaging keys", peer.loads(clear), {1})[1]


if __name__ == "__main__":
    sys.exit(make_request.main({"request": request, "response": response}, __doc__))
