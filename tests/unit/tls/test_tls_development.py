"""A certificate for development: good for the hosts named, signed by an authority that signs nothing else."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509

from scopeward.errors import ScopewardError
from scopeward.tls.development import DevelopmentCertificate, development_certificate
from scopeward.tls.material import expires_at, read_authorities, read_pair

from .conftest import DAY, NOW


class _At:
    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now


def made(*hosts: str, now: float = NOW) -> DevelopmentCertificate:
    return development_certificate(hosts, _At(now))


def test_it_passes_as_a_pair(tmp_path: Path) -> None:
    ca, cert, key = made("localhost")
    for name, text in (("ca", ca), ("cert", cert), ("key", key.reveal())):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    pair = read_pair(tmp_path / "cert", tmp_path / "key", NOW)
    assert expires_at(pair) == NOW + 90 * DAY
    assert read_pair(tmp_path / "cert", tmp_path / "key", NOW - 300)
    assert read_authorities(tmp_path / "ca") == ca
    assert key.reveal() not in repr(made("localhost"))


def test_the_names() -> None:
    leaf = x509.load_pem_x509_certificate(made("localhost", "*.orders.test", "127.0.0.1", "::1", "[::1]", "localhost").certificate.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "*.orders.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "::1"]


def test_two_are_never_alike() -> None:
    one, two = made("localhost"), made("localhost")
    assert one.private_key != two.private_key
    assert one.ca != two.ca


@pytest.mark.parametrize(
    "host", ["", " ", "a b", "UPPER.test", "http://localhost", "localhost:8080", "-a.test", "a..test", "*", "a.*.test", "127.0.0.300", "bücher.test", "x" * 64]
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ScopewardError) as caught:
        made("localhost", host)
    assert caught.value.reference.id == "address-not-usable"


def test_no_host_at_all() -> None:
    with pytest.raises(ScopewardError):
        made()


@pytest.mark.parametrize(("asked", "good"), [("localhost", True), ("127.0.0.1", True), ("other.test", False)])
def test_a_client_that_trusts_the_authority_verifies_the_name(tmp_path: Path, asked: str, good: bool) -> None:
    ca, cert, key = development_certificate(("localhost", "127.0.0.1"), _At(time.time()))  # the client's clock is the machine's
    (tmp_path / "cert").write_text(cert)
    (tmp_path / "key").write_text(key.reveal())
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    async def handshake() -> None:
        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=asked)
            writer.close()
            await writer.wait_closed()

    if good:
        asyncio.run(handshake())
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            asyncio.run(handshake())
