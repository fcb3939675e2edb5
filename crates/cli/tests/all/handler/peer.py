"""Makes authorization tokens with stock cryptography, as a service of another house would.

usage: peer.py FOLDER CLAIMS
Writes one public key an algorithm to FOLDER, as PEM, and prints {algorithm: token} in JSON. The token is
put together by hand from RFC 7515 and RFC 7518 (section 3.4: the two numbers of an ECDSA signature, side by side).
"""

import base64
import json
import pathlib
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

folder, claims = pathlib.Path(sys.argv[1]), sys.argv[2].encode()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def ecdsa(key, digest, length):
    def sign(data):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")

    return key, sign


def algorithms():
    yield "ES256", *ecdsa(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), 32)
    yield "ES384", *ecdsa(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), 48)
    key = ed25519.Ed25519PrivateKey.generate()
    yield "EdDSA", key, key.sign
    key = rsa.generate_private_key(65537, 2048)
    yield "RS256", key, lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)
    yield "PS256", key, lambda data: key.sign(data, pss, hashes.SHA256())


tokens = {}
for name, key, sign in algorithms():
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / f"{name}.pem").write_bytes(public)
    header = json.dumps({"alg": name, "typ": "JWT", "kid": name}).encode()
    signed = base64url(header) + b"." + base64url(claims)
    tokens[name] = (signed + b"." + base64url(sign(signed))).decode()
print(json.dumps(tokens))
