"""Certificates and keys in PEM files (RFC 7468), read strictly. What is handed on was written anew from what was understood.

So Envoy gets exactly the certificates and the one key that were checked here, whatever else the file holds. No message quotes a file's
content: it may be a key.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning

from scopeward.compile.snapshot import TlsMaterial
from scopeward.errors import ScopewardError
from scopeward.secret import Secret

LARGEST_FILE: Final = 4 << 20
"""Bytes. The bundle of all public authorities has a quarter of a megabyte."""
LEAST_RSA_BITS: Final = 2048
"""What Envoy takes; NIST SP 800-57 part 1, table 2."""
CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
"""The curves of an ECDSA certificate that Envoy takes: P-256, P-384 and P-521."""

_KEY: Final = re.compile(rb"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----\r?\n.*?-----END \1-----", re.DOTALL)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def read_pair(cert: Path, key: Path, now: float) -> TlsMaterial:
    """A certificate with its chain, the leaf first, and its key, not encrypted. ``now`` is in seconds since the epoch.

    Errors: ``tls-certificate``, with the path and the cause.
    """
    return _pair(_chain(_content(cert), cert), _key(_content(key, guarded=True), key), cert, key, now)


def read_combined(path: Path, now: float) -> TlsMaterial:
    """A certificate, its chain and its key in one file, the leaf before its chain. Errors: ``tls-certificate``."""
    content = _content(path, guarded=True)
    return _pair(_chain(content, path), _key(content, path), path, path, now)


def read_authorities(path: Path) -> str:
    """The certificates of authorities (PEM). A certificate that may not sign others is refused: it would be trusted for nothing, or for itself.

    Errors: ``tls-certificate``.
    """
    found = _chain(_content(path, guarded=True), path)
    with _old_rules():
        others = [number for number, certificate in enumerate(found, 1) if not _is_authority(certificate)]
    if others:
        raise _refused(path, f"certificate {others[0]} of the file is not an authority's", "Keep only certificates of authorities in it.")
    return _pem(found)


def expires_at(material: TlsMaterial) -> float:
    """When the leaf expires, in seconds since the epoch."""
    return x509.load_pem_x509_certificate(material.certificate.encode()).not_valid_after_utc.timestamp()


@contextmanager
def _old_rules() -> Iterator[None]:
    """Old authorities break small rules that verifying does not need, such as a serial number of 0; no line about each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def _content(path: Path, *, guarded: bool = False) -> bytes:
    """``guarded`` is a file that nobody but its owner may change: a key, or whom to trust.

    Who may read it is the operator's choice, since containers mount secrets readable to a group or to all.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
                raise _refused(path, f"it is no regular file, or larger than {LARGEST_FILE >> 20} MiB")
            if guarded and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _refused(path, "others than its owner may change it", f"chmod go-w {path}")
            return file.read(LARGEST_FILE)
    except OSError as error:
        raise _refused(path, error.strerror or "it cannot be read") from None
    except ValueError:
        raise _refused(path, "it is no path") from None


def _at_once(path: str, flags: int) -> int:
    """A named pipe must not keep the node waiting for somebody who writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _chain(content: bytes, path: Path) -> list[x509.Certificate]:
    try:
        with _old_rules():
            return x509.load_pem_x509_certificates(content)
    except ValueError:
        remedy = "Write it as PEM: '-----BEGIN CERTIFICATE-----' and so on, the leaf first."
        raise _refused(path, "it holds no certificate in PEM, or a damaged one", remedy) from None


def _key(content: bytes, path: Path) -> PrivateKey:
    found = list(_KEY.finditer(content))
    if len(found) != 1:
        raise _refused(path, f"it holds {len(found) or 'no'} private keys in PEM, or a damaged one", "Keep exactly one key in it, as PEM.")
    try:
        key = serialization.load_pem_private_key(found[0].group() + b"\n", password=None)
    except TypeError:
        raise _refused(path, "its key is encrypted, and nobody is there to type the passphrase", "Write the key without one, mode 0600.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _refused(path, "its key is encrypted, damaged or of an unknown kind") from None
    match key:
        case rsa.RSAPrivateKey() if key.key_size < LEAST_RSA_BITS:
            raise _refused(path, f"its RSA key has {key.key_size} bits, fewer than {LEAST_RSA_BITS}", f"Make one of {LEAST_RSA_BITS} bits or more.")
        case ec.EllipticCurvePrivateKey() if key.curve.name not in CURVES:
            raise _refused(path, f"its key is on the curve {key.curve.name}", "Use P-256, P-384 or P-521.")
        case rsa.RSAPrivateKey() | ec.EllipticCurvePrivateKey() | ed25519.Ed25519PrivateKey():
            return key
        case _:
            raise _refused(path, "its key is of a kind that TLS does not take here", "Use RSA, ECDSA on P-256, P-384 or P-521, or Ed25519.")


def _pair(chain: Sequence[x509.Certificate], key: PrivateKey, cert_path: Path, key_path: Path, now: float) -> TlsMaterial:
    _require_belonging(chain, key, cert_path, key_path)
    _require_valid(chain[0], cert_path, now)
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode("ascii")
    return TlsMaterial(_pem(chain), Secret(text))


def _require_belonging(chain: Sequence[x509.Certificate], key: PrivateKey, cert_path: Path, key_path: Path) -> None:
    places = [number for number, certificate in enumerate(chain) if _public(certificate) == _spki(key.public_key())]
    if not places:
        raise _refused(key_path, f"the key is not that of the certificate in '{cert_path}'", "Name the key that the certificate was made for.")
    if places[0] != 0:
        raise _refused(cert_path, f"the key belongs to certificate {places[0] + 1} of the file", "Put that certificate first, then those that signed it.")


def _require_valid(leaf: x509.Certificate, path: Path, now: float) -> None:
    """RFC 5280 section 4.1.2.5: both ends are within."""
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now < begins.timestamp():
        raise _refused(path, f"its certificate is not valid before {_date(begins)}", "Wait, correct the machine's clock, or use another.")
    if now > ends.timestamp():
        raise _refused(path, f"its certificate expired at {_date(ends)}", "Renew it.")


def _is_authority(certificate: x509.Certificate) -> bool:
    """RFC 5280 sections 4.2.1.9 and 4.2.1.3."""
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid  # without the extension a key may be used for all
    except ValueError:
        return False


def _public(certificate: x509.Certificate) -> bytes:
    """The certificate's public key (SubjectPublicKeyInfo); empty where it is of an unknown kind, which is no key's."""
    try:
        return _spki(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _spki(key: object) -> bytes:
    if not hasattr(key, "public_bytes"):
        return b""
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(c.public_bytes(serialization.Encoding.PEM).decode("ascii") for c in certificates)


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(path: Path, why: str, remedy: str | None = None) -> ScopewardError:
    return ScopewardError("tls-certificate", f"'{path}': {why}", remedy)
