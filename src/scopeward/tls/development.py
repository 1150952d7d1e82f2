"""A certificate for development, signed by an authority of its own whose key nobody keeps: who trusts it trusts this one certificate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scopeward.clock import Clock
from scopeward.errors import ScopewardError
from scopeward.secret import Secret

LIFETIME: Final = timedelta(days=90)
BACKDATED: Final = timedelta(minutes=5)
"""For clocks that are a little behind, such as a virtual machine's."""

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)


class DevelopmentCertificate(NamedTuple):
    """The authority's certificate, the server's, and the server's key (PEM)."""

    ca: str
    certificate: str
    private_key: Secret


def development_certificate(hosts: Sequence[str], clock: Clock) -> DevelopmentCertificate:
    """A certificate for these names and addresses, for 90 days: ECDSA on P-256, in the profile of RFC 5280 section 4.2.

    Errors: ``address-not-usable`` where a host is no name and no address, or none is given.
    """
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    if not names:
        raise ScopewardError("address-not-usable", "the certificate would be for no host", "Name one, such as localhost.")
    begins = datetime.fromtimestamp(clock.now(), UTC) - BACKDATED
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _authority(authority, begins)
    leaf = _leaf(key.public_key(), names, ca, authority, begins)
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode("ascii")
    return DevelopmentCertificate(_pem(ca), _pem(leaf), Secret(text))


def _general_name(host: str) -> x509.GeneralName:
    """RFC 5280 section 4.2.1.6; a name may begin with the one label '*' (RFC 9525 section 6.3)."""
    try:
        return x509.IPAddress(ip_address(host.strip("[]")))
    except ValueError:
        labels = host.removeprefix("*.").split(".")
    # a last label of digits alone would be an address that is spelt wrong
    if len(host) > 253 or labels[-1].isdecimal() or not all(_LABEL.fullmatch(label) for label in labels):
        what = f"{host!a} is no host name in lower case and no address"
        raise ScopewardError("address-not-usable", what, "Write a name such as localhost, or an address; not a URL, and no port.")
    return x509.DNSName(host)


def _authority(key: ec.EllipticCurvePrivateKey, begins: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Scopeward development authority")])
    public = key.public_key()
    return (
        _builder(name, name, public, begins)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    public: ec.EllipticCurvePublicKey, names: Sequence[x509.GeneralName], ca: x509.Certificate, authority: ec.EllipticCurvePrivateKey, begins: datetime
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Scopeward development")])
    return (
        _builder(name, ca.subject, public, begins)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, begins: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + BACKDATED + LIFETIME)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
