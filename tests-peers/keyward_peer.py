"""The parts that a peer of Keyward needs, made of stock packages alone.

    cbor2         deterministic CBOR                       RFC 8949
    pycose        COSE_Sign1                               RFC 9052
    cryptography  X.509 path validation, HPKE, AES-GCM     RFC 5280, RFC 9180

Nothing in here knows Keyward's code; it follows `spec/overview.md`, `spec/protocol.md` and
`spec/license.md`.
"""

import datetime
import hashlib
import pathlib
import secrets

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509 import verification
from pycose.algorithms import Es256
from pycose.headers import Algorithm
from pycose.keys import EC2Key
from pycose.keys.curves import P256
from pycose.messages import Sign1Message

ARC = "2.25.1843534794"
CLAIMS_OID = x509.ObjectIdentifier(f"{ARC}.2")
DEVICE, LICENSE_SERVER, REQUEST_ENCRYPTION = 1, 2, 3
TYP, X5CHAIN = 16, 33
PROTOCOL_VERSION = 1
MAX_DEPTH = 12
PLAIN = (int, bytes, str, list, dict, type(None), cbor2.CBORTag)


class Refused(Exception):
    """A message that a receiver must not accept. The first argument is the step of spec/rules.md."""


def dumps(value):
    return cbor2.dumps(value, canonical=True)


def loads(data):
    """Decodes and insists that the bytes are the deterministic encoding of what they say."""
    try:
        value = cbor2.loads(data)
    except Exception as error:
        raise Refused("V-001", f"not CBOR: {error}") from error
    if dumps(value) != data:
        raise Refused("V-001", "not deterministic CBOR")
    plain(value, 0)
    return value


def plain(value, depth):
    """Nothing but the types that the protocol uses, and not too deep."""
    if depth > MAX_DEPTH or isinstance(value, float) or not isinstance(value, PLAIN):
        raise Refused("V-001", "a type or a depth that the protocol does not use")
    if isinstance(value, dict):
        nested = [*value.keys(), *value.values()]
    else:
        nested = value if isinstance(value, list) else [value.value] if isinstance(value, cbor2.CBORTag) else []
    for item in nested:
        plain(item, depth + 1)


def critical(name, message, known):
    """Every key below 128 is one that we know."""
    unknown = [key for key in message if type(key) is not int or key < 0 or (key < 128 and key not in known)]
    if unknown:
        raise Refused("V-001", f"{name} holds {unknown}")
    return message


def argument(text):
    """Bytes given as hexadecimal, or as the path of a file that holds them."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return pathlib.Path(text).read_bytes()


# --- X.509 ---------------------------------------------------------------------------------------


def verify_chain(chain, root, role, at):
    """V-004: the leaf of a chain that leads to `root`, for a role, at a time."""
    oid = x509.ObjectIdentifier(f"{ARC}.1.{role}")

    def names_role(_policy, _certificate, usages):
        if usages is None or oid not in usages:
            raise ValueError("not valid for this role")

    def may_name_role(policy, certificate, usages):
        if usages is not None:
            names_role(policy, certificate, usages)

    critical_or_not = verification.Criticality.AGNOSTIC
    usage = x509.ExtendedKeyUsage
    ee = verification.ExtensionPolicy.permit_all().require_present(usage, critical_or_not, names_role)
    ca = verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(usage, critical_or_not, may_name_role)
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([x509.load_der_x509_certificate(root)]))
        .time(datetime.datetime.fromtimestamp(at, datetime.timezone.utc).replace(tzinfo=None))
        .extension_policies(ca_policy=ca, ee_policy=ee)
        .build_client_verifier()
    )
    if not chain:
        raise Refused("V-004", "no certificate")
    leaf, *rest = [x509.load_der_x509_certificate(der) for der in chain]
    try:
        path = verifier.verify(leaf, rest).chain
    except verification.VerificationError as error:
        raise Refused("V-004", str(error)) from error
    for authority in path[1:-1]:
        if not any(isinstance(extension.value, usage) for extension in authority.extensions):
            raise Refused("V-004", "an authority names no role")
    return leaf


def claims(certificate):
    """The claims extension: an OCTET STRING that holds CBOR."""
    der = certificate.extensions.get_extension_for_oid(CLAIMS_OID).value.value
    if der[0] != 0x04:
        raise Refused("V-004", "the claims extension is no OCTET STRING")
    header = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return loads(der[header:])


def spki(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


# --- COSE ----------------------------------------------------------------------------------------


def verify_sign1(message, media_type, context, root, role, at):
    """V-001 to V-005: the items of the payload of a signed message, its body decoded, and the leaf.

    `at` maps the body to the times that the chain is judged at.
    """
    tag = loads(message)
    if not isinstance(tag, cbor2.CBORTag) or tag.tag != 18:
        raise Refused("V-001", "not a COSE_Sign1")
    protected = loads(tag.value[0])
    if set(protected) != {1, TYP, X5CHAIN} or protected[1] != -7 or tag.value[1] != {}:
        raise Refused("V-001", "the headers are not in the profile")
    if protected[TYP] != media_type:
        raise Refused("V-002", "another media type")
    chain = protected[X5CHAIN] if isinstance(protected[X5CHAIN], list) else [protected[X5CHAIN]]
    leaf = x509.load_der_x509_certificate(chain[0])
    signed = Sign1Message.decode(message)
    numbers = leaf.public_key().public_numbers()
    signed.key = EC2Key(crv=P256, x=numbers.x.to_bytes(32, "big"), y=numbers.y.to_bytes(32, "big"))
    signed.external_aad = context.encode()
    if not signed.verify_signature():
        raise Refused("V-003", "the signature does not verify")
    items = loads(signed.payload)
    body = loads(items[0])
    if body[1] != PROTOCOL_VERSION:
        raise Refused("V-005", "another protocol version")
    for time in at(body):
        verify_chain(chain, root, role, time)
    return items, body, leaf


def sign1(media_type, context, items, chain, scalar):
    """A signed message. `chain` is leaf first; `scalar` the private key, 32 bytes."""
    x5chain = chain[0] if len(chain) == 1 else chain
    message = Sign1Message(phdr={Algorithm: Es256, TYP: media_type, X5CHAIN: x5chain}, payload=dumps(items))
    numbers = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()).public_key().public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    message.key = EC2Key(crv=P256, x=x, y=y, d=scalar)
    message.external_aad = context.encode()
    return message.encode()


# --- Sealing -------------------------------------------------------------------------------------

ENCAPSULATED = {1: 65, 2: 1120}


def suite(number):
    kem = {1: hpke.KEM.P256, 2: hpke.KEM.MLKEM768_X25519}.get(number)
    if kem is None:
        raise Refused("V-001", f"suite {number}")
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def binding(context, number, digest):
    """HPKE's info."""
    return dumps([context, number, digest])


def private_key(number, encoded):
    """From the private key's encoding: a P-256 scalar, or X-Wing's 32-byte seed."""
    if number == 1:
        return ec.derive_private_key(int.from_bytes(encoded, "big"), ec.SECP256R1())
    # draft-connolly-cfrg-xwing-kem, expandDecapsulationKey
    expanded = hashlib.shake_256(encoded).digest(96)
    return hpke.MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def public_key(number, encoded):
    if number == 1:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded)
    return hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(encoded[:1184]),
        x25519.X25519PublicKey.from_public_bytes(encoded[1184:]),
    )


def hpke_open(number, private, info, encapsulated, ciphertext, step="V-023"):
    """The plaintext; `step` is the one that refuses what does not open."""
    try:
        return suite(number).decrypt(encapsulated + ciphertext, private_key(number, private), info=info)
    except Refused:
        raise
    except Exception as error:
        raise Refused(step, "the sealed part does not open") from error


def hpke_seal(number, public, info, plaintext):
    """The encapsulated key and the ciphertext."""
    sealed = suite(number).encrypt(plaintext, public_key(number, public), info=info)
    return sealed[: ENCAPSULATED[number]], sealed[ENCAPSULATED[number] :]


def response_key(secret, digest, context):
    return HKDF(hashes.SHA256(), 32, salt=digest, info=context.encode()).derive(secret)


def open_response(envelope, secret, digest, context):
    """V-011: the signed message inside a sealed response."""
    sealed = critical("sealed response", loads(envelope), {1, 2})
    if sealed[1] != PROTOCOL_VERSION:
        raise Refused("V-005", "another protocol version")
    nonce, ciphertext = sealed[2][:12], sealed[2][12:]
    try:
        return AESGCM(response_key(secret, digest, context)).decrypt(nonce, ciphertext, context.encode())
    except Exception as error:
        raise Refused("V-011", "the response does not open") from error


def random(count):
    return secrets.token_bytes(count)


# --- License -------------------------------------------------------------------------------------

LICENSE_TYPE, LICENSE_CONTEXT = "application/vnd.keyward.license+cose", "keyward/1 license"
LICENSE_KEYS = {*range(1, 13), 26}


def open_license(message, root, sealing_keys, device_id, arriving_at=None):
    """The body and the opened keys of a license; `sealing_keys` maps suites to private keys."""

    def times(body):
        return [body[6]] if arriving_at is None else [body[6], arriving_at]

    items, body, leaf = verify_sign1(message, LICENSE_TYPE, LICENSE_CONTEXT, root, LICENSE_SERVER, times)
    if len(items) != 2:
        raise Refused("V-001", "the payload is not body and sealed part")
    critical("license", body, LICENSE_KEYS)
    for key in body[4]:
        critical("key description", key, {1, 2, 3, 4})
    if len(body[2]) != 16 or body[3] not in range(1, 5) or not set(body[9]) <= {1}:
        raise Refused("V-001", "a value that is not assigned")
    if len(body[4]) != 1 or not body[9] or body[7] == (8 in body) or len(body.get(26, "").encode()) > 255:
        raise Refused("V-021", "the license's parts do not fit together")
    if body.get(10, 0) >= body.get(11, 2**64 - 1):
        raise Refused("V-026", "the license ends before it begins")
    if body[5] != {1: 1, 2: device_id}:
        raise Refused("V-022", "bound to another device")
    sealed = critical("sealed key", loads(items[1]), {1, 2, 3})
    number = sealed[1]
    if number not in sealing_keys:
        raise Refused("V-001", f"suite {number}")
    info = binding("keyward/1 license-key", number, hashlib.sha256(items[0]).digest())
    keys = critical("license keys", loads(hpke_open(number, sealing_keys[number], info, sealed[2], sealed[3])), {1, 2})
    if len(keys[1]) != len(body[4]):
        raise Refused("V-023", "not the keys that the license describes")
    return {
        "license-id": body[2].hex(),
        "kid": body[4][0][1].hex(),
        "content-key": keys[1][0].hex(),
        "proof-key": keys[2].hex(),
        "suite": number,
        "signer": leaf.subject.rfc4514_string(),
    }
