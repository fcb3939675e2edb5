"""The other side of key exchange, with stock cryptography.

usage: peer.py < TASKS
Each task is {algorithm, operation, key, data, aad, signature} with bytes in hexadecimal; `data` of what consumes is a
result without the four bytes of the version. Prints what came out of each, as a list in JSON: bytes in hexadecimal, or
whether a signature is one.
"""

import hashlib
import hmac
import json
import os
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7


def gcm(operation, key, data, aad):
    if operation == "encrypt":
        nonce = os.urandom(12)
        return nonce + AESGCM(key).encrypt(nonce, data, aad)
    return AESGCM(key).decrypt(data[:12], data[12:], aad)


def cbc(operation, key, data):
    if operation == "encrypt":
        vector, padder = os.urandom(16), PKCS7(128).padder()
        cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
        return vector + cipher.update(padder.update(data) + padder.finalize()) + cipher.finalize()
    cipher, unpadder = Cipher(algorithms.AES(key), modes.CBC(data[:16])).decryptor(), PKCS7(128).unpadder()
    return unpadder.update(cipher.update(data[16:]) + cipher.finalize()) + unpadder.finalize()


def ctr(operation, key, data):
    # A counter block that runs over its end.
    counter, rest = (b"\xff" * 16, data) if operation == "encrypt" else (data[:16], data[16:])
    cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    result = cipher.update(rest) + cipher.finalize()
    return counter + result if operation == "encrypt" else result


def esp256(operation, key, data, signature):
    private = ec.derive_private_key(int.from_bytes(key, "big"), ec.SECP256R1())
    if operation == "sign":
        numbers = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in numbers)
    numbers = [int.from_bytes(half, "big") for half in (signature[:32], signature[32:])]
    return verified(lambda: private.public_key().verify(encode_dss_signature(*numbers), data, ec.ECDSA(hashes.SHA256())))


def ed(operation, key, data, signature):
    private = ed25519.Ed25519PrivateKey.from_private_bytes(key)
    if operation == "sign":
        return private.sign(data)
    return verified(lambda: private.public_key().verify(signature, data))


def mac(operation, key, data, signature, digest):
    tag = hmac.new(key, data, digest).digest()
    return tag if operation == "sign" else hmac.compare_digest(tag, signature)


def verified(verify):
    try:
        verify()
        return True
    except InvalidSignature:
        return False


def perform(task):
    algorithm, operation = task["algorithm"], task["operation"]
    key, data, aad, signature = (bytes.fromhex(task[name]) for name in ("key", "data", "aad", "signature"))
    match algorithm[1:] if algorithm.startswith("A") else algorithm:
        case "128GCM" | "256GCM":
            return gcm(operation, key, data, aad)
        case "128CBC" | "256CBC":
            return cbc(operation, key, data)
        case "128CTR" | "256CTR":
            return ctr(operation, key, data)
        case "128KW" | "256KW" if operation == "wrap":
            return keywrap.aes_key_wrap(key, data)
        case "128KW" | "256KW":
            return keywrap.aes_key_unwrap(key, data)
        case "HMAC256" | "HMAC384" | "HMAC512":
            return mac(operation, key, data, signature, getattr(hashlib, "sha" + algorithm[4:]))
        case "ESP256":
            return esp256(operation, key, data, signature)
        case "Ed25519":
            return ed(operation, key, data, signature)


results = [perform(task) for task in json.load(sys.stdin)]
print(json.dumps([result if isinstance(result, bool) else result.hex() for result in results]))
