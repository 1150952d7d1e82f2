"""Authorities that sign client certificates with any names, those too that no decent authority would sign."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_numbers = itertools.count(1)
DAY = timedelta(days=1)


def subject(text: str) -> x509.Name:
    """A name of one common name, or of nothing."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


class Authority:
    """Signs what it is told to. Each certificate becomes a file with its key, as TLS clients read it."""

    def __init__(self, folder: Path, name: str = "an authority") -> None:
        self._folder, self._name = folder, subject(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._name, self._name, self._key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def signs(
        self,
        *names: x509.GeneralName,
        common_name: str = "",
        days: tuple[int, int] = (-1, 1),
        usage: ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Path:
        """The file of a certificate with these subject alternative names, valid between these days from now."""
        own = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        begins, ends = (now + days_from_now * DAY for days_from_now in days)
        builder = x509.CertificateBuilder(self._name, subject(common_name), own.public_key(), x509.random_serial_number(), begins, ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not common_name)
        signed = builder.sign(key or self._key, hashes.SHA256())
        return self._write(signed.public_bytes(Encoding.PEM) + own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def _write(self, content: bytes) -> Path:
        path = self._folder / f"client-{next(_numbers)}.pem"
        path.write_bytes(content)
        return path
