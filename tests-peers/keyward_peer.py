"""The parts that a peer of Keyward needs, made of stock packages alone.

    cbor2         deterministic CBOR                       RFC 8949
    pycose        COSE_Sign1                               RFC 9052
    cryptography  X.509 path validation, HPKE, AES-GCM     RFC 5280, RFC 9180

Nothing in here knows Keyward's code; it follows `spec/overview.md`, `spec/protocol.md` and
`spec/license.md`.
"""

import datetime
import hashlib
import itertools
import pathlib
import secrets
import uuid

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

import exchange
from refused import Refused

ARC = "2.25.1843534794"
CLAIMS_OID = x509.ObjectIdentifier(f"{ARC}.2")
DEVICE, LICENSE_SERVER, REQUEST_ENCRYPTION = 1, 2, 3
TYP, X5CHAIN = 16, 33
PROTOCOL_VERSION = 1
MAX_DEPTH = 12
PLAIN = (int, bytes, str, list, dict, type(None), cbor2.CBORTag)


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


# --- Terms ---------------------------------------------------------------------------------------

LEVELS = {1: {100, 150, 200, 250, 300}, 2: {100, 150, 200, 250, 300}, 3: {400, 500}, 4: {100, 250, 270, 300}, 5: {100, 150, 200}}
ABOUT_PLAYING = {13, 14, 17, 18, 19, 24}
HDCP_TYPE = uuid.UUID("abb2c6f1-e663-4625-a945-972d17b231e7")


def number(length, order, allowed):
    return lambda data: len(data) == length and int.from_bytes(data, order) in allowed


def resolution(data):
    return len(data) == 8 and any(data[:4]) and any(data[4:])


# Whether the data is of the GUID.
EXPLICIT = {
    uuid.UUID("9645e831-e01d-4fff-8342-0a720e3e028f"): resolution,
    HDCP_TYPE: number(4, "big", {0, 1}),
    uuid.UUID("760ae755-682a-41e0-b1b3-dcdf836a7306"): number(4, "big", {1}),
    uuid.UUID("2098de8d-7ddd-4bab-96c6-32ebb6fabea3"): number(1, "big", range(4)),
    uuid.UUID("225cd36f-f132-49ef-ba8c-c91ea28e4369"): number(1, "big", range(4)),
    uuid.UUID("6d5cfa59-c250-4426-930e-fac72c8fcfa6"): number(1, "big", range(4)),
    uuid.UUID("c3fd11c6-f8b7-4d20-b008-1db17d61f2da"): number(4, "little", range(4)),
    uuid.UUID("d783a191-e083-4baf-b2da-e69f910b3772"): number(4, "big", {520000}),
    uuid.UUID("811c5110-46c8-4c6e-8163-c0482a15d47e"): number(4, "big", {520000}),
    uuid.UUID("363a16d8-4c19-4602-9889-ed461bee8466"): lambda data: len(data) == 16,
    uuid.UUID("8b353362-2401-4765-8875-fb41fd57b61b"): lambda data: not data,
}


def known(holds, why):
    if not holds:
        raise Refused("V-030", why)


def fits(holds, why):
    if not holds:
        raise Refused("V-031", why)


def distinct(items, most, what):
    known(0 < len(items) <= most and len({*items}) == len(items), f"{what}: too many, none, or one twice")


def extended_restrictions(restrictions):
    for restriction in restrictions:
        critical("extended restriction", restriction, {1, 2, 3, 4})
        if type(restriction[1]) is not int or type(restriction[2]) is not bool or type(restriction[3]) is not bool:
            raise Refused("V-001", "an extended restriction of other types")
        known(len(restriction[4]) <= 1024, "an extended restriction holds too much data")
    distinct([restriction[1] for restriction in restrictions], 32, "extended restrictions")


def check_terms(body):
    """V-030: every term is known and bounded. V-031: the terms fit together."""
    for duration in (13, 16):
        known(body.get(duration, 1) > 0, "a duration of no seconds")
    known(all(body.get(flag, True) is True for flag in (14, 23, 29)), "a flag that is not set")
    if 17 in body:
        levels = {key: level for key, level in critical("levels", body[17], LEVELS).items() if key < 128}
        known(levels and all(level in LEVELS[key] for key, level in levels.items()), "a level that is not published")
    guids = []
    for restriction in body.get(18, []):
        critical("explicit restriction", restriction, {1, 2})
        guids.append(uuid.UUID(bytes=restriction[1]))
        known(guids[-1] in EXPLICIT and EXPLICIT[guids[-1]](restriction[2]), f"explicit restriction {guids[-1]}")
    if 18 in body:
        distinct(guids, 16, "explicit restrictions")
    if 19 in body:
        distinct([uuid.UUID(bytes=guid) for guid in body[19]], 32, "play enablers")
    if 25 in body:
        extended_restrictions(body[25])
    for right in body.get(28, []):
        critical("extended right", right, {1, 2})
        if 2 in right:
            extended_restrictions(right[2])
    if 28 in body:
        distinct([right[1] for right in body[28]], 16, "extended rights")
    fits(16 not in body or 11 in body, "a grace period without an end")
    fits(14 not in body or 11 in body or 13 in body, "a real-time expiration without an expiration")
    usable_until = body[11] + body.get(16, 0) if 11 in body else None
    fits(15 not in body or (usable_until is not None and usable_until <= body[15]), "removed while it may be used")
    fits(HDCP_TYPE not in guids or body.get(17, {}).get(4, 0) >= 271, "an HDCP type without its level")
    fits(body[3] != 4 or not ABOUT_PLAYING & {*body}, "a key exchange license about playing")


# --- License -------------------------------------------------------------------------------------

LICENSE_TYPE, LICENSE_CONTEXT = "application/vnd.keyward.license+cose", "keyward/1 license"
LICENSE_KEYS = {*range(1, 20), 23, 24, 25, 26, 28, 29}
TIMES = {10, 11, 13, 14, 15, 16}
ROOT_SUITE = 16
KEY_LENGTHS = {1: 16, 2: 16, 3: 16, 4: 32}


def fits_kind(body):
    """V-021: keys and rights are those of the kind."""
    if body[3] == 4:
        return body[4] and all(key[2] == 5 for key in body[4]) and body[9] == [2] and 28 not in body
    key_types = {1: {1, 2, 3}, 2: {4}, 3: {1, 2, 3}}[body[3]]
    described = all(key[2] in key_types and not {3, 4, 5, 6, 7} & {*key} for key in body[4])
    return len(body[4]) == 1 and described and (body[9] == [1] or not body[9] and 28 in body)


def check_exchange_keys(keys):
    """V-032: the descriptions are bounded, and fit together."""

    def holds(condition, why):
        if not condition:
            raise Refused("V-032", why)

    holds(len(keys) <= 16, "too many keys")
    for key in keys:
        takes_context = key.get(3) in exchange.GCM
        holds(key.get(4) in exchange.OPERATIONS.get(key.get(3), {}), "no algorithm, or not its operation")
        holds(1 <= key.get(5, 0) < 2**32, "the version")
        holds(6 not in key or (takes_context and 1 <= len(key[6]) <= 255), "the context")
        holds(1 <= key.get(7, 1) <= 2**32, "the use limit")
    for newer, older in itertools.pairwise(keys):
        if newer[1] == older[1]:
            holds(newer[5] > older[5] and {**newer, 5: 0} == {**older, 5: 0}, "versions of a key")
    groups = [kid for kid, _ in itertools.groupby(key[1] for key in keys)]
    holds(len(groups) == len({*groups}), "versions of a key apart")
    algorithms = {(key[1], key[3]) for key in keys}
    holds(len({algorithm for _, algorithm in algorithms}) == len(algorithms), "two keys of one algorithm")


def check_chain_form(body, sealed):
    """V-036: what a leaf is not, how it is sealed, and what is not embedded."""

    def holds(condition, why):
        if not condition:
            raise Refused("V-036", why)

    is_leaf = body[3] == 3
    holds(not is_leaf or not TIMES & {*body}, "a leaf with a term of time")
    holds(not is_leaf or body[5][2] != body[4][0][1], "a leaf that is its own root")
    holds(23 not in body or (body[7] and body[3] in (1, 3)), "not one to embed")
    holds((sealed[1] == ROOT_SUITE) == is_leaf, "sealed as its kind may not be")
    holds(not is_leaf or not sealed[2], "an encapsulated key in suite 16")


def check_under(root, leaf):
    """V-037: whether a root license is the leaf's."""
    fitting = root[3] == 2 and root[4][0][1] == leaf[5][2]
    if not fitting or root.get(12, 0) < leaf.get(12, 0):
        raise Refused("V-037", "not a root for this leaf")


def root_open(root_key, bound_to, ciphertext):
    """V-023: what is sealed under a root key."""
    key = HKDF(hashes.SHA256(), 32, salt=None, info=bound_to).derive(root_key)
    try:
        return AESGCM(key).decrypt(ciphertext[:12], ciphertext[12:], bound_to)
    except Exception as error:
        raise Refused("V-023", "the sealed part does not open") from error


def verify_license(message, root, arriving_at=None):
    """V-001 to V-005, V-020 to V-036 but for whom the license is bound to: its body, its sealed part with what that
    is bound to, and the signer's certificate.
    """

    def times(body):
        return [body[6]] if arriving_at is None else [body[6], arriving_at]

    items, body, leaf = verify_sign1(message, LICENSE_TYPE, LICENSE_CONTEXT, root, LICENSE_SERVER, times)
    if len(items) != 2:
        raise Refused("V-001", "the payload is not body and sealed part")
    critical("license", body, LICENSE_KEYS)
    for key in body[4]:
        critical("key description", key, {1, 2, 3, 4, 5, 6, 7})
    if len(body[2]) != 16 or body[3] not in range(1, 5) or not set(body[9]) <= {1, 2}:
        raise Refused("V-001", "a value that is not assigned")
    bound = body[5] == {1: 3, 2: body[5][2]} and len(body[5][2]) == 16
    if bound != (body[3] == 3) or not fits_kind(body) or body[7] == (8 in body) or len(body.get(26, "").encode()) > 255:
        raise Refused("V-021", "the license's parts do not fit together")
    if body.get(10, 0) >= body.get(11, 2**64 - 1):
        raise Refused("V-026", "the license ends before it begins")
    check_terms(body)
    if body[3] == 4:
        check_exchange_keys(body[4])
    sealed = critical("sealed key", loads(items[1]), {1, 2, 3})
    number = sealed[1]
    if number not in (1, 2, ROOT_SUITE):
        raise Refused("V-001", f"suite {number}")
    check_chain_form(body, sealed)
    bound_to = binding("keyward/1 license-key", number, hashlib.sha256(items[0]).digest())
    return body, (number, bound_to, sealed), leaf


def read_license(message, root, sealing_keys, device_id, arriving_at=None, held=()):
    """What a license says when it is verified: body, keys and proof key, suite, and the signer's certificate.

    `sealing_keys` maps suites to private keys; `held` are root licenses, read before.
    """

    body, (number, bound_to, sealed), leaf = verify_license(message, root, arriving_at)
    if body[3] != 3 and body[5] != {1: 1, 2: device_id}:
        raise Refused("V-022", "bound to another device")
    if body[3] == 3:
        fitting = [(above, opened) for above, opened in held if above[4][0][1] == body[5][2]]
        above, opened = [*fitting, *held][0]
        check_under(above, body)
        clear = root_open(opened[1][0], bound_to, sealed[3])
    else:
        clear = hpke_open(number, sealing_keys[number], bound_to, sealed[2], sealed[3])
    keys = critical("license keys", loads(clear), {1, 2})
    if len(keys[1]) != len(body[4]):
        raise Refused("V-023", "not the keys that the license describes")
    if any(len(key) != KEY_LENGTHS.get(one[2], len(key)) for one, key in zip(body[4], keys[1])):
        raise Refused("V-023", "a key that is not as long as its type says")
    if body[3] == 4:
        for described, key in zip(body[4], keys[1]):
            exchange.check_key(described[3], described[4], key)
    return body, keys, number, leaf


def kind(message):
    """The kind that a license states, unverified."""
    return loads(loads(loads(message).value[2])[0])[3]


def open_license(message, root, sealing_keys, device_id, arriving_at=None, held=()):
    """What a license says and the keys that it opens to, as text."""
    body, keys, number, leaf = read_license(message, root, sealing_keys, device_id, arriving_at, held)
    if body[3] == 4:
        described = zip(body[4], keys[1])
        texts = [f"{one[1].hex()}:{one[3]}:{one[4]}:{one[5]}:{key.hex()}" for one, key in described]
        opened = {"exchange-keys": " ".join(texts)}
    else:
        opened = {"root-key" if body[3] == 2 else "content-key": keys[1][0].hex()}
    return opened | {
        "license-id": body[2].hex(),
        "kid": body[4][0][1].hex(),
        "proof-key": keys[2].hex(),
        "suite": number,
        "signer": leaf.subject.rfc4514_string(),
    }
