"""Revocation lists, judged with stock packages: CRLs by `cryptography`, the rest by `keyward_peer`."""

import hashlib

import keyward_peer as peer
from cryptography import x509
from cryptography.exceptions import InvalidSignature

DEVICES = "application/vnd.keyward.revocation-list+cose", "keyward/1 revocation-list"
REVOCATION_LIST = 6
TOLERANCE = 300


class Held:
    """The lists of one operator, by the key identifier of the authority; the device revocation list by none."""

    def __init__(self, root):
        self.root, self.lists = root, {}

    def adopt(self, encoded, now):
        """V-063, V-064: the name and the number of a list, and whether it took its place."""
        form = peer.critical("revocation list", encoded, {1, 2, 3})
        if set(form) & {1, 2, 3} == {3}:
            name, number, issued, revoked = self.devices(form[3], now)
        elif set(form) & {1, 2, 3} == {1, 2} and len(form[2]) <= 4:
            name, number, issued, revoked = self.certificates(form[1], form[2], now)
        else:
            raise peer.Refused("V-001", "neither form")
        held = self.lists.get(name)
        newer = held is None or (number > held[0] and issued >= held[1])
        if newer:
            self.lists[name] = (number, issued, revoked)
        return name.hex(), str(number), "yes" if newer else "no"

    def devices(self, message, now):
        _, body, leaf = peer.verify_sign1(message, *DEVICES, self.root, REVOCATION_LIST, lambda body: [body[4], now])
        peer.critical("device revocation list", body, set(range(1, 8)))
        entries = body.get(6, [{1: "maker", 4: 0}])
        bounded = body[3] >= 1 and body[4] < body[5] and 1 <= len(entries) <= 1024 and 1 <= len(body.get(7, [0])) <= 4096
        for entry in entries:
            peer.critical("revoked devices", entry, set(range(1, 6)))
            names = [entry[1], entry.get(2, "model")]
            bounded &= all(1 <= len(name.encode()) <= 255 for name in names) and entry.get(3, 1) >= 1
            bounded &= type(entry[4]) is int and len(entry.get(5, "").encode()) <= 255
        if not bounded:
            raise peer.Refused("V-001", "out of its bounds")
        if self.is_revoked(leaf, now):
            raise peer.Refused("V-063", "the signer was revoked")
        if body[2] != hashlib.sha256(self.root).digest() or body[4] > now + TOLERANCE:
            raise peer.Refused("V-063", "of another operator, or from the future")
        return b"", body[3], body[4], {}

    def certificates(self, der, path, now):
        try:
            crl = x509.load_der_x509_crl(der)
            authority = self.authority(path, crl.last_update_utc.timestamp(), now)
            name = identifier(crl)
            of_authority = name == key_identifier(authority) and crl.issuer == authority.subject
            usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
            signed = of_authority and usage.crl_sign and crl.is_signature_valid(authority.public_key())
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except (ValueError, InvalidSignature, x509.ExtensionNotFound) as error:
            raise peer.Refused("V-064", str(error)) from error
        issued = int(crl.last_update_utc.timestamp())
        if not signed or issued > now + TOLERANCE:
            raise peer.Refused("V-064", "not signed by the authority, or from the future")
        return name, number, issued, {one.serial_number: one.revocation_date_utc.timestamp() for one in crl}

    def authority(self, path, at, now):
        """The certificate of the first of the path, the root's if there is none."""
        issuer = x509.load_der_x509_certificate(self.root)
        for below, der in reversed(list(enumerate(path))):
            certificate = x509.load_der_x509_certificate(der)
            certificate.verify_directly_issued_by(issuer)
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
            valid = certificate.not_valid_before_utc.timestamp() <= at <= certificate.not_valid_after_utc.timestamp()
            fits = constraints.ca and (constraints.path_length is None or below <= constraints.path_length)
            if not valid or not fits or self.is_revoked(certificate, now):
                raise ValueError("the path is not good")
            issuer = certificate
        return issuer

    def is_revoked(self, certificate, now):
        _, _, revoked = self.lists.get(identifier(certificate), (0, 0, {}))
        return revoked.get(certificate.serial_number, now + 1) <= now


def identifier(signed):
    """Key identifier of the authority that signed a certificate or list."""
    return signed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier


def key_identifier(authority):
    return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def revocation_list(inputs, message, now):
    held = Held(bytes.fromhex(inputs["root"]))
    for one in peer.loads(bytes.fromhex(inputs.get("lists-held", "80"))):
        held.adopt(one, now)
    return dict(zip(("list", "number", "newer"), held.adopt(peer.loads(message), now), strict=True))


def revocation_lists(inputs, message, now):
    file = peer.critical("revocation lists", peer.loads(message), {1, 2, 3})
    forms = [set(peer.critical("revocation list", one, {1, 2, 3})) & {1, 2, 3} for one in file[3]]
    if file[1] != 1 or not 1 <= len(forms) <= 64 or not all(form in ({1, 2}, {3}) for form in forms):
        raise peer.Refused("V-001", "not a file of lists")
    return {"operator": file[2].hex(), "lists": str(len(forms))}
