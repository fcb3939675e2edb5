"""Exchange keys, as `spec/license.md` words them, with the stock package `cryptography`."""

import secrets

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes, hmac, keywrap, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from refused import Refused

SIGN, VERIFY, ENCRYPT, DECRYPT, WRAP, UNWRAP = 1, 2, 3, 4, 5, 6
GCM = {1: 16, 3: 32}
CBC = {-65531: 16, -65529: 32}
CTR = {-65534: 16, -65532: 32}
KW = {-3: 16, -5: 32}
HMAC = {5: (32, hashes.SHA256()), 6: (48, hashes.SHA384()), 7: (64, hashes.SHA512())}
ESP256, ED25519 = -9, -19
OPERATIONS = (
    {number: {ENCRYPT, DECRYPT} for number in (*GCM, *CBC, *CTR)}
    | {number: {WRAP, UNWRAP} for number in KW}
    | {number: {SIGN, VERIFY} for number in (*HMAC, ESP256, ED25519)}
)


def check_key(algorithm, operation, key):
    """V-034: the key is one of its algorithm and operation."""
    try:
        if algorithm == ESP256 and operation == SIGN and len(key) == 32:
            ec.derive_private_key(int.from_bytes(key, "big"), ec.SECP256R1())
        elif algorithm == ESP256 and operation == VERIFY and len(key) == 65:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        elif algorithm == ED25519:
            ed25519.Ed25519PublicKey.from_public_bytes(key)
        elif len(key) != length(algorithm):
            raise ValueError("wrong length")
    except ValueError as error:
        raise Refused("V-034", str(error)) from error


def length(algorithm):
    return {number: size for number, (size, _) in HMAC.items()}.get(algorithm) or (GCM | CBC | CTR | KW).get(algorithm)


def take(algorithm, key, version, result, aad, data, is_stream):
    """V-035: what is in a result; nothing for one that is verified with `data`."""
    if len(result) < 4 or int.from_bytes(result[:4], "big") != version:
        raise Refused("V-035", "of no version that is held")
    try:
        if is_stream:
            return take_stream(key, result[:4], result[4:], aad)
        return take_message(algorithm, key, result[4:], aad, data)
    except (ValueError, InvalidTag, InvalidSignature, keywrap.InvalidUnwrap) as error:
        raise Refused("V-035", repr(error)) from error


def take_message(algorithm, key, output, aad, data):
    if algorithm in GCM:
        return AESGCM(key).decrypt(output[:12], output[12:], aad)
    if algorithm in CBC or algorithm in CTR:
        mode = modes.CBC if algorithm in CBC else modes.CTR
        decryptor = Cipher(algorithms.AES(key), mode(output[:16])).decryptor()
        clear = decryptor.update(output[16:]) + decryptor.finalize()
        if algorithm in CTR:
            return clear
        unpadder = padding.PKCS7(128).unpadder()
        return unpadder.update(clear) + unpadder.finalize()
    if algorithm in KW:
        return keywrap.aes_key_unwrap(key, output)
    if algorithm in HMAC:
        code = hmac.HMAC(key, HMAC[algorithm][1])
        code.update(data)
        code.verify(output)
    elif algorithm == ESP256:
        if len(output) != 64:
            raise ValueError("r and s have 32 bytes each")
        r, s = int.from_bytes(output[:32], "big"), int.from_bytes(output[32:], "big")
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        public.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    else:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(output, data)
    return None


def make(algorithm, key, version, data, aad=b"", chunk_log2=None):
    """The result that encrypt, sign or wrap puts out; with a chunk size that of a stream of GCM."""
    front = version.to_bytes(4, "big")
    if chunk_log2 is not None:
        return front + make_stream(key, front, data, aad, chunk_log2)
    return front + make_message(algorithm, key, data, aad)


def make_message(algorithm, key, data, aad):
    if algorithm in GCM:
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(key).encrypt(nonce, data, aad)
    if aad:
        raise Refused("R-051", "additional data is for GCM alone")
    if algorithm in CBC or algorithm in CTR:
        start = secrets.token_bytes(16)
        if algorithm in CBC:
            padder = padding.PKCS7(128).padder()
            data = padder.update(data) + padder.finalize()
        encryptor = Cipher(algorithms.AES(key), (modes.CBC if algorithm in CBC else modes.CTR)(start)).encryptor()
        return start + encryptor.update(data) + encryptor.finalize()
    if algorithm in KW:
        return keywrap.aes_key_wrap(key, data)
    if algorithm in HMAC:
        code = hmac.HMAC(key, HMAC[algorithm][1])
        code.update(data)
        return code.finalize()
    if algorithm == ESP256:
        private = ec.derive_private_key(int.from_bytes(key, "big"), ec.SECP256R1())
        numbers = utils.decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in numbers)
    return ed25519.Ed25519PrivateKey.from_private_bytes(key).sign(data)


def public_key(algorithm, key):
    """What a verifier gets of a signer's key."""
    if algorithm == ESP256:
        public = ec.derive_private_key(int.from_bytes(key, "big"), ec.SECP256R1()).public_key()
        return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return ed25519.Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def sha256(data):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


def stream_keys(key, version, header, aad):
    """The chunk key of a stream and its key commitment; `header` is without the commitment."""
    context = sha256(header + version + sha256(aad))
    labels = b"keyward exchange stream v1 chunk key", b"keyward exchange stream v1 key commitment"
    return [HKDF(hashes.SHA256(), 32, salt=header[1:33], info=label + context).derive(key) for label in labels]


def chunk_nonce(index, last):
    return index.to_bytes(11, "big") + bytes([last])


def make_stream(key, version, data, aad, chunk_log2):
    """Chunked AES-256-GCM under a key that is derived for the stream."""
    header, size = b"\x01" + secrets.token_bytes(32) + bytes([chunk_log2]), 1 << chunk_log2
    chunk_key, commitment = stream_keys(key, version, header, aad)
    cipher, count = AESGCM(chunk_key), max(1, -(-len(data) // size))
    chunks = (data[index * size : (index + 1) * size] for index in range(count))
    sealed = [cipher.encrypt(chunk_nonce(index, index == count - 1), chunk, None) for index, chunk in enumerate(chunks)]
    return header + commitment + b"".join(sealed)


def take_stream(key, version, stream, aad):
    """What is in a stream, once all of it has verified."""
    header, commitment, chunks = stream[:34], stream[34:66], stream[66:]
    if len(commitment) != 32 or header[0] != 1 or not 12 <= header[33] <= 20:
        raise ValueError("no stream of this format")
    chunk_key, expected = stream_keys(key, version, header, aad)
    if not constant_time.bytes_eq(expected, commitment):
        raise ValueError("the stream is of another key, version or additional data")
    cipher, sealed = AESGCM(chunk_key), (1 << header[33]) + 16
    count = max(1, -(-len(chunks) // sealed))
    clear = b""
    for index in range(count):
        nonce = chunk_nonce(index, index == count - 1)
        clear += cipher.decrypt(nonce, chunks[index * sealed : (index + 1) * sealed], None)
    if count > 1 and len(chunks) % sealed == 16:
        raise ValueError("an empty last chunk")
    return clear
