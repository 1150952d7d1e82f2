"""TLS by the commands: towards callers, with their certificates, behind a proxy, and towards upstreams."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.integration.ground import NodeOf, Place, refusal, run_on
from tests.kit.commands import Shell, call, until
from tests.kit.gateway import free_port
from tests.kit.upstream import RecordingUpstream
from tests.security.authorities import Authority

GOOD = (200, None)
HERE = x509.IPAddress(ip_address("127.0.0.1"))


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


def shown(port: int) -> bytes:
    """The certificate that a listener shows."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=5)).strip()


def of_file(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Pair:
    """What ``dev cert`` makes."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def cert(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    @property
    def words(self) -> tuple[str | Path, ...]:
        return ("--tls-cert", self.cert, "--tls-key", self.key)

    def renew(self, other: Pair) -> None:
        """Take another's place, as a renewal does: file by file, the key last."""
        for path in (self.ca, self.cert, self.key):
            shutil.copy(other.folder / path.name, path)


@pytest.fixture
def new_pair(shell: Shell, tmp_path: Path) -> Callable[[str], Pair]:
    def make(name: str) -> Pair:
        made = shell.run("dev", "cert", "--output-dir", tmp_path / name)
        assert made.status == 0, made.err
        return Pair(tmp_path / name)

    return make


@pytest.fixture
def pair(new_pair: Callable[[str], Pair]) -> Pair:
    return new_pair("pair")


@pytest.fixture
def secure_text(text: str) -> str:
    return text.replace("public_url: http://", "public_url: https://")


@contextmanager
def run_secure(place: Place, text: str, pair: Pair, *words: str | Path) -> Iterator[NodeOf]:
    applied = place.apply(text, *pair.words, *words)
    assert applied.status == 0, applied.err
    with run_on(place, *pair.words, *words, scheme="https") as node:
        yield node


# ── towards callers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dev_over_tls(shell: Shell, place: Place, pair: Pair, secure_text: str, token: str) -> None:
    place.policy.write_text(secure_text)
    port = free_port()
    with shell.start("dev", place.policy, *pair.words, "--listen", f":{port}", "--state-dir", place.state) as dev:
        dev.says(rf"^  orders: https://127\.0\.0\.1:{port}/orders → ")
        url = f"https://127.0.0.1:{port}/orders/42"
        assert call(url, token, tls=trusting(pair.ca)) == GOOD
        assert call(url, tls=trusting(pair.ca)) == (401, "token-missing")
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            call(url, token, tls=ssl.create_default_context())
        assert plain_text_at(port) == b""
        assert dev.end().status == 0


def plain_text_at(port: int) -> bytes:
    """What a caller gets who speaks no TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /orders/42 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        try:
            return connection.recv(1000)
        except ConnectionError:
            return b""


def test_a_renewed_certificate_is_taken_and_a_broken_one_is_not(
    place: Place, pair: Pair, new_pair: Callable[[str], Pair], secure_text: str, token: str
) -> None:
    renewed, again = new_pair("renewed"), new_pair("again")
    with run_secure(place, secure_text, pair) as node:
        pid = node.envoy_pid
        assert shown(node.port) == of_file(pair.cert)
        pair.renew(renewed)
        until(lambda: shown(node.port) == of_file(renewed.cert), "the renewed certificate")
        assert call(node.url, token, tls=trusting(renewed.ca)) == GOOD
        pair.key.write_text("garbage")
        node.process.says(rf"^certificates: .*{pair.key}.*", err=True)
        assert shown(node.port) == of_file(renewed.cert)
        assert call(node.url, token, tls=trusting(renewed.ca)) == GOOD
        status = until(lambda: attention(node), "something to look at in the status")
        assert "tls-certificate" in status
        shutil.copy(again.cert, pair.cert)
        shutil.copy(again.key, pair.key)
        until(lambda: shown(node.port) == of_file(again.cert), "the pair that was corrected")
        until(lambda: not attention(node), "a status without it")
        assert node.envoy_pid == pid  # a renewal replaces no process
        assert "BEGIN" not in node.process.err + node.process.out


def attention(node: NodeOf) -> str:
    found = node.command("status", "-o", "json").json["attention"]
    return " ".join(finding["words"] for finding in found)


def test_a_certificate_that_cannot_be_one(place: Place, pair: Pair, new_pair: Callable[[str], Pair], secure_text: str) -> None:
    assert place.apply(secure_text).status == 0
    other = new_pair("other")
    run = ("run", "--listen", f":{free_port()}", "--tls-cert", pair.cert, "--tls-key")
    for key, what in ((other.key, "the key is not that of the certificate"), (pair.cert, ""), (pair.folder / "nowhere.pem", "")):
        ran = place.command(*run, key)
        assert (ran.status, ran.out) == (3, "")
        assert ran.err.startswith(f"error[tls-certificate]: '{key}'")
        assert what in ran.err
        assert "\n  help: " in ran.err
        assert "BEGIN" not in ran.err
    assert not (place.state / "run.json").exists()


# ── settings that contradict each other ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "reference", "what"),
    [
        (["--listen", "0.0.0.0:18080"], "address-not-usable", "clear text"),
        (["--listen", "[::]:18080"], "address-not-usable", "clear text"),
        (["--tls-cert", "cert.pem"], "settings-contradict", "--tls-key"),
        (["--tls-client-ca", "ca.pem"], "settings-contradict", "--tls-cert"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem", "--behind-tls-proxy", "10.0.0.1"], "settings-contradict", "--behind-tls-proxy"),
        (["--behind-tls-proxy", "0.0.0.0/0"], "address-not-usable", "every address"),
        (["--listen", ":18080", "--ops-listen", ":18080"], "settings-contradict", "one port"),
    ],
)
def test_settings_that_contradict_each_other_start_nothing(place: Place, secure_text: str, words: list[str], reference: str, what: str) -> None:
    place.policy.write_text(secure_text)
    for command in (("run",), ("dev", place.policy)):
        ran = place.command(*command, *words)
        assert (ran.status, ran.out) == (3, "")
        assert ran.err.startswith(f"error[{reference}]: ")
        assert what in ran.err
        assert "\n  help: " in ran.err
    assert not place.state.exists()


def test_off_loopback_with_tls(place: Place, pair: Pair, secure_text: str, token: str) -> None:
    port = free_port()
    assert place.apply(secure_text, *pair.words).status == 0
    with place.shell.start("run", "--listen", f"0.0.0.0:{port}", "--state-dir", place.state, *pair.words) as run:
        run.says(rf"^  orders: https://127\.0\.0\.1:{port}/orders ")
        assert call(f"https://127.0.0.1:{port}/orders/42", token, tls=trusting(pair.ca)) == GOOD


# ── behind a proxy ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_behind_a_proxy_only_the_proxy_may_connect(place: Place, secure_text: str, token: str, api: RecordingUpstream) -> None:
    assert place.apply(secure_text, "--behind-tls-proxy", "127.0.0.2").status == 0
    port = free_port()
    with place.shell.start("run", "--listen", f"0.0.0.0:{port}", "--behind-tls-proxy", "127.0.0.2", "--state-dir", place.state) as run:
        run.says("^serving policy ")
        assert as_from("127.0.0.2", port, token) == 200
        seen = api.seen[-1].all("x-forwarded-for")
        assert seen
        assert seen[0].split(",")[0].strip() == "192.0.2.7"
        with api.sees_nothing():
            assert as_from("127.0.0.3", port, token) is None


def as_from(address: str, port: int, token: str) -> int | None:
    """A call from one of the loopback's addresses, as a proxy passes it on; ``None`` where the connection is not served."""
    transport = httpx2.HTTPTransport(local_address=address)
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    with httpx2.Client(transport=transport, trust_env=False, timeout=5.0) as client:
        try:
            return client.get(f"http://127.0.0.1:{port}/orders/42", headers=headers).status_code
        except httpx2.TransportError:
            return None


# ── callers' certificates ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def asking(text: str) -> str:
    return text.replace("    at: /orders\n", '    at: /orders\n    client_certificate: {names: ["dns:client.test"]}\n')


def test_an_api_that_asks_for_client_certificates(place: Place, pair: Pair, authority: Authority, tmp_path: Path, secure_text: str, token: str) -> None:
    ca = tmp_path / "clients.pem"
    ca.write_text(authority.pem)
    good, other = (authority.signs(x509.DNSName(name)) for name in ("client.test", "other.test"))
    with run_secure(place, asking(secure_text), pair, "--tls-client-ca", ca) as node:
        assert call(node.url, token, tls=showing(pair, good)) == GOOD
        assert call(node.url, token, tls=showing(pair, other)) == (403, "client-certificate")
        assert call(node.url, token, tls=trusting(pair.ca)) == (403, "client-certificate")
        assert call(node.url, tls=showing(pair, good)) == (401, "token-missing")
        with pytest.raises(httpx2.TransportError):
            call(node.url, token, tls=showing(pair, Authority(tmp_path, "another").signs(x509.DNSName("client.test"))))
        applied = place.apply(secure_text)  # a node that runs knows its own settings
        assert applied.status == 0, applied.err
        assert call(node.url, token, tls=trusting(pair.ca)) == GOOD
        applied = place.apply(asking(secure_text))
        assert applied.status == 0, applied.err
        assert call(node.url, token, tls=trusting(pair.ca)) == (403, "client-certificate")


def showing(pair: Pair, certificate: Path) -> ssl.SSLContext:
    context = trusting(pair.ca)
    context.load_cert_chain(certificate)
    return context


def test_a_node_that_verifies_no_client_refuses_a_policy_that_asks_for_it(shell: Shell, place: Place, pair: Pair, secure_text: str, token: str) -> None:
    refusal(place.apply(asking(secure_text)), "client-ca-missing", "'orders'")
    refusal(place.apply(asking(secure_text), *pair.words), "client-ca-missing", "'orders'")
    assert not (place.state / "applied" / "policy.yaml").exists()
    place.policy.write_text(secure_text)
    port = free_port()
    with shell.start("dev", place.policy, *pair.words, "--listen", f":{port}", "--state-dir", place.state) as dev:
        dev.says("Ctrl-C ends$")
        place.policy.write_text(asking(secure_text))
        dev.says(r"^error\[client-ca-missing\]: .*'orders'.*\n  help: ", err=True)
        assert call(f"https://127.0.0.1:{port}/orders/42", token, tls=trusting(pair.ca)) == GOOD


# ── towards upstreams ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class SecureUpstream(RecordingUpstream):
    """The same over TLS. ``plain`` is what arrived and was no TLS; ``failed`` counts handshakes that failed."""

    def __init__(self, certificate: Path, client_ca: Path | None = None) -> None:
        super().__init__()
        self.failed = 0
        self.plain: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        if client_ca is not None:
            self._context.load_verify_locations(client_ca)
            self._context.verify_mode = ssl.CERT_REQUIRED

    def _serve(self, connection: socket.socket) -> None:
        first = connection.recv(1, socket.MSG_PEEK)
        if first not in {b"", b"\x16"}:  # a TLS record of a handshake (RFC 8446 section 5.1)
            self.plain.append(first)
        try:
            secured = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            self.failed += 1
            connection.close()
            return
        super()._serve(secured)


@pytest.fixture
def server_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "of upstreams")


@pytest.fixture
def bundle(tmp_path: Path, server_authority: Authority) -> Path:
    path = tmp_path / "bundle.pem"
    path.write_text(server_authority.pem)
    return path


def towards(text: str, api: RecordingUpstream, upstream: RecordingUpstream, bundle: Path, more: str = "") -> str:
    """The policy with its upstream over TLS."""
    said = f'{{url: "https://127.0.0.1:{upstream.port}"{more}}}'
    return f"{text.replace(f'upstream: {api.url}', f'upstream: {said}')}network: {{ca_bundle: {bundle}}}\n"


def test_an_upstream_over_tls_is_verified_and_shown_a_certificate(
    place: Place, text: str, token: str, api: RecordingUpstream, server_authority: Authority, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    clients = tmp_path / "clients.pem"
    clients.write_text(authority.pem)
    certificate = server_authority.signs(HERE, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    shows = authority.signs(x509.DNSName("gateway.test"))
    with SecureUpstream(certificate, clients) as upstream:
        applied = place.apply(towards(text, api, upstream, bundle, f', client_certificate: "file:{shows}"'))
        assert applied.status == 0, applied.err
        with run_on(place) as node:
            assert node.call(token) == GOOD
            assert upstream.seen[-1].all("x-agw-client-id") == ["order-sync"]
            assert place.apply(towards(text, api, upstream, bundle)).status == 0
            with upstream.sees_nothing():
                assert node.call(token)[0] in {502, 503}
        assert upstream.plain == []


@pytest.mark.parametrize("what", ["another name", "another authority", "clear text"])
def test_an_upstream_that_is_not_who_it_should_be_gets_no_call(
    what: str, place: Place, text: str, token: str, api: RecordingUpstream, server_authority: Authority, bundle: Path, tmp_path: Path
) -> None:
    signer = Authority(tmp_path, "another") if what == "another authority" else server_authority
    name = x509.DNSName("orders.test") if what == "another name" else HERE
    certificate = signer.signs(name, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    with RecordingUpstream() if what == "clear text" else SecureUpstream(certificate) as upstream:
        assert place.apply(towards(text, api, upstream, bundle)).status == 0
        with run_on(place) as node:
            assert node.call(token) == (503, "upstream-unavailable")
        assert upstream.accepted
        assert upstream.seen == []
        if isinstance(upstream, SecureUpstream):
            assert upstream.plain == []


@pytest.mark.parametrize("content", [None, "garbage"])
def test_a_bundle_that_is_none(place: Place, text: str, api: RecordingUpstream, tmp_path: Path, content: str | None, token: str) -> None:
    bundle = tmp_path / "no-bundle.pem"
    if content is not None:
        bundle.write_text(content)
    assert place.apply(text).status == 0
    with run_on(place) as node:
        refused = place.apply(towards(text, api, api, bundle))
        assert (refused.status, refused.out) == (3, "")
        assert refused.err.startswith(f"error[tls-certificate]: '{bundle}'")
        assert node.call(token) == GOOD


def test_a_bundle_that_is_replaced_is_taken(
    place: Place, text: str, token: str, api: RecordingUpstream, server_authority: Authority, bundle: Path, tmp_path: Path
) -> None:
    certificate = server_authority.signs(HERE, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    bundle.write_text(Authority(tmp_path, "of yesterday").pem)
    with SecureUpstream(certificate) as upstream:
        assert place.apply(towards(text, api, upstream, bundle)).status == 0
        with run_on(place) as node:
            assert node.call(token) == (503, "upstream-unavailable")
            bundle.write_text(server_authority.pem)
            until(lambda: node.call(token) == GOOD, "the bundle that was replaced", 6.0)


def test_a_client_certificate_for_an_upstream_that_is_renewed_is_shown(
    place: Place, text: str, token: str, api: RecordingUpstream, server_authority: Authority, bundle: Path, authority: Authority, tmp_path: Path
) -> None:
    clients, shows = tmp_path / "clients.pem", tmp_path / "shows.pem"
    clients.write_text(authority.pem)
    shutil.copy(Authority(tmp_path, "of yesterday").signs(x509.DNSName("gateway.test")), shows)
    with SecureUpstream(server_authority.signs(HERE, usage=ExtendedKeyUsageOID.SERVER_AUTH), clients) as upstream:
        assert place.apply(towards(text, api, upstream, bundle, f', client_certificate: "file:{shows}"')).status == 0
        with run_on(place) as node:
            assert node.call(token)[0] in {502, 503}
            shutil.copy(authority.signs(x509.DNSName("gateway.test")), tmp_path / "new.pem")
            (tmp_path / "new.pem").replace(shows)
            until(lambda: node.call(token) == GOOD, "the certificate that was renewed", 10.0)
