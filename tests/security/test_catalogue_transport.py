"""Rows of the catalogue about the transport: upgrades, tunnels, smuggling, schemes, and what is reached past the policy.

Both sockets are compared: what the caller sent and was answered, and what the upstream received.
"""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import json
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.kit import http2, views
from tests.kit.gateway import Answer, RunningGateway
from tests.kit.tokens import Mint, jwks, signing_key
from tests.kit.tunnel import ByteUpstream
from tests.kit.upstream import RecordingUpstream, Seen
from tests.kit.wire import chunked, head

POLICY = """
version: 1
public_url: https://gw.example
issuers:
  dev: {{issuer: https://idp.test/, typ: at+jwt, person: {{claim: idtyp, is: user}}}}
scopes:
  read.orders: {{says: Read orders}}
  admin.orders: {{says: Everything}}
clients:
  order-sync: {{kind: service, id: order-sync, may: [read.orders, admin.orders]}}
apis:
  t:
    at: /t
    audience: api://orders
    upstream: {upstream}
    rules:
      GET /open: {{public: anybody}}
      POST /open: {{public: anybody}}
      GET /read: {{needs: read.orders}}
      GET /secret: {{needs: admin.orders}}
  wsgi:
    at: /wsgi
    audience: api://orders
    upstream: {wsgi}
    rules: {{"GET /read": {{needs: read.orders}}, "GET /open": {{public: anybody}}}}
"""

TALKING = """
  {name}:
    at: /{name}
    audience: api://orders
    upstream: {url}
    rules:
      GET /chat: {{needs: read.orders, stream: websocket}}
      GET /hall: {{public: anybody, stream: websocket}}
      GET /plain: {{needs: read.orders}}
      GET /secret: {{needs: admin.orders}}
"""

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfrom the upstream"
NOT_SWITCHED = {
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "200-until-the-end": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "200-in-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "200-that-says-upgrade": b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "426": b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
}
ODDLY_SWITCHED = {
    "without-upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "to-another": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
}

HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
SMUGGLED = head("GET /t/secret?smuggled HTTP/1.1", "Host: gw.example") + head("GET /secret?smuggled HTTP/1.1", "Host: a")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


@pytest.fixture(scope="module")
def talking() -> Iterator[dict[str, ByteUpstream]]:
    """Upstreams of WebSockets by their API: 'yes' switches, each other answers in its own way."""
    answers = {"yes": SWITCHED} | {f"no-{name}": answer for name, answer in NOT_SWITCHED.items()}
    answers |= {f"odd-{name}": answer for name, answer in ODDLY_SWITCHED.items()}
    with ExitStack() as stack:
        yield {name: stack.enter_context(ByteUpstream(answer, heads=name != "yes")) for name, answer in answers.items()}


@pytest.fixture(scope="module")
def upstream_t() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def wsgi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[views.ViewingUpstream]:
    with views.gunicorn(tmp_path_factory.mktemp("gunicorn")) as running:
        yield running


@pytest.fixture(scope="module")
def edge(
    talking: dict[str, ByteUpstream], upstream_t: RecordingUpstream, wsgi: views.ViewingUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    text = POLICY.format(upstream=upstream_t.url, wsgi=wsgi.url)
    text += "".join(TALKING.format(name=name, url=upstream.url).removeprefix("\n") for name, upstream in talking.items())
    with RunningGateway(tmp_path_factory.mktemp("gateway"), text, jwks(signing_key())) as running:
        yield running


@pytest.fixture(scope="module")
def reader() -> str:
    return Mint().token(scope="read.orders")


def request(path: str, *fields: str, token: str | None = None, method: str = "GET", body: bytes = b"") -> bytes:
    bearer = [f"Authorization: Bearer {token}"] if token else []
    return head(f"{method} {path} HTTP/1.1", "Host: gw.example", *bearer, *fields, body=body)


def talk(port: int, *parts: bytes, quiet: float = 0.05, patience: float = 5.0) -> tuple[bytes, bool]:
    """Sends each part when what was answered to the one before has come; all that came back, and whether the connection is at its end.

    ``patience`` (seconds) is the longest wait for the first byte; afterwards silence of ``quiet`` seconds is the end of an answer.
    """
    back = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=patience)) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                return back, True
            data, ended = _until_quiet(connection, quiet)
            back += data
            if ended:
                return back, True
    return back, False


def talks(port: int, conversations: list[tuple[bytes, ...]]) -> list[bytes]:
    """All of them at once, for each ends by silence."""
    with ThreadPoolExecutor(max_workers=len(conversations)) as pool:
        return [back for back, _ in pool.map(lambda parts: talk(port, *parts), conversations)]


def _until_quiet(connection: socket.socket, quiet: float) -> tuple[bytes, bool]:
    back = b""
    while True:
        try:
            data = connection.recv(65536)
        except TimeoutError:
            return back, False
        except ConnectionError:
            return back, True
        if not data:
            return back, True
        back += data
        connection.settimeout(quiet)


def statuses(back: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", back)]


# --- routes that need a claim, health


@pytest.mark.parametrize("path", ["/t/none", "/t/none/at/all", "/none", "/", "/t", "/t/", "/t/read/x", "/yes/none"])
@pytest.mark.parametrize("claims", [{}, {"scope": ...}, {"sub": ...}, {"scope": ["read.orders"]}, {"roles": {"a": ["b"]}}, {"scope": "x " * 4000}, {"exp": 1}])
def test_T43_where_no_route_matches_a_token_leads_nowhere_and_the_node_lives(
    path: str, claims: dict[str, Any], edge: RunningGateway, upstream_t: RecordingUpstream, reader: str
) -> None:
    with upstream_t.sees_nothing():
        answer = edge.exchange(request(path, token=Mint().token(**claims)))
    assert (answer.status, answer.reference) in [(404, "api-not-found"), (403, "no-rule"), (401, "token-expired"), (403, "scope-missing")]
    assert edge.exchange(request("/t/read", token=reader)).status == 200


def test_T43_nor_where_the_route_is_gone(edge: RunningGateway, reader: str) -> None:
    """Whatever is odd about the way to a route: the path, the method, and the token from a query."""
    for line in ("GET /t/read;x HTTP/1.1", "PATCH /t/read HTTP/1.1", "X /t/read HTTP/1.1", "GET /t/read?access_token=x HTTP/1.1", "GET /t/READ HTTP/1.1"):
        answer = edge.exchange(head(line, "Host: gw.example", f"Authorization: Bearer {reader}"))
        assert answer.status in {400, 403, 404}, line
    assert edge.exchange(request("/t/read", token=reader)).status == 200


CHECKERS = [
    "GoogleHC/1.0",
    "kube-probe/1.31",
    "ELB-HealthChecker/2.0",
    "Amazon-Route53-Health-Check-Service (ref 1; report http://amzn.to/1vsZADi)",
    "Consul Health Check",
    "Envoy/HC",
    "Prometheus/3.0",
    "Azure Traffic Manager Endpoint Monitor",
    "Load Balancer Agent",
    "HealthChecker",
    "haproxy",
]


@pytest.mark.parametrize("agent", CHECKERS)
@pytest.mark.parametrize("path", ["/t/read", "/t/secret", "/t/none", "/yes/chat"])
def test_T47_a_health_checkers_name_is_no_pass(agent: str, path: str, edge: RunningGateway, upstream_t: RecordingUpstream) -> None:
    said = (f"User-Agent: {agent}", "X-Envoy-LivenessProbe: healthz", "X-Envoy-Upstream-HealthChecked-Cluster: t", "X-Health-Check: 1")
    with upstream_t.sees_nothing():
        for method in ("GET", "HEAD"):
            answer = edge.exchange(request(path, *said, method=method))
            assert (answer.status, answer.reference) == (401, "token-missing")


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/healthz", "/health", "/ping", "/ready", "/server_info", "/oauth2/health", "/ping?x=/t/open"]
)
@pytest.mark.parametrize("agent", ["GoogleHC/1.0", "kube-probe/1.31"])
def test_T47_the_data_port_has_no_health_path(path: str, agent: str, edge: RunningGateway, upstream_t: RecordingUpstream) -> None:
    with upstream_t.sees_nothing():
        answer = edge.exchange(request(path, f"User-Agent: {agent}"))
        assert (answer.status, answer.reference) == (404, "api-not-found")
        # probes by address know no name
        answer = edge.exchange(head(f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"User-Agent: {agent}"))
        assert (answer.status, answer.reference) == (421, "unknown-host")


# --- upgrades


UPGRADES: dict[str, tuple[str, ...]] = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "h2c without its settings": ("Connection: Upgrade", "Upgrade: h2c"),
    "h2c in capitals": ("Connection: UPGRADE", "Upgrade: H2C", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "h2c and not on this hop": ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "h2c twice": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "h2c, then a WebSocket": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c, websocket", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", *HANDSHAKE[2:]),
    "a WebSocket, then h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: websocket, h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", *HANDSHAKE[2:]),
    "a WebSocket and h2c in two": ("Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c", *HANDSHAKE[2:]),
    "HTTP/2.0": ("Connection: Upgrade", "Upgrade: HTTP/2.0"),
    "TLS": ("Connection: Upgrade", "Upgrade: TLS/1.2"),
    "a tunnel": ("Connection: Upgrade", "Upgrade: connect-udp"),
    "bytes": ("Connection: Upgrade", "Upgrade: tcp"),
    "nobody's": ("Connection: Upgrade", "Upgrade: no-such-protocol/9"),
    "nothing": ("Connection: Upgrade", "Upgrade: "),
    "no name": ("Connection: Upgrade",),
    "a WebSocket": HANDSHAKE,
    "a WebSocket in capitals": ("CONNECTION: UPGRADE", "UPGRADE: WEBSOCKET", *HANDSHAKE[2:]),
    "a WebSocket kept alive": ("Connection: keep-alive, Upgrade", "Upgrade: websocket", *HANDSHAKE[2:]),
}


@pytest.mark.parametrize("after", [SMUGGLED, PREFACE + SMUGGLED], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("kind", UPGRADES)
def test_T62_an_upgrade_that_nobody_declared_opens_no_tunnel(kind: str, after: bytes, edge: RunningGateway, upstream_t: RecordingUpstream, reader: str) -> None:
    first = [request("/t/open", *UPGRADES[kind]), request("/t/read", *UPGRADES[kind], token=reader)]
    before = len(upstream_t.seen)
    backs = talks(edge.port, [(call + after,) for call in first] + [(call, after) for call in first])
    assert not [back for back in backs if 101 in statuses(back)]
    no_tunnel(upstream_t.seen[before:], calls=4)


def no_tunnel(seen: list[Seen], calls: int) -> None:
    """At most so many calls reached the upstream, as plain ones, and nothing after them."""
    assert len(seen) <= calls
    for call in seen:
        assert b"smuggled" not in call.raw
        assert b"PRI *" not in call.raw
        assert not [name for name, _ in call.headers if name.lower() in {"upgrade", "connection"}]


def test_T62_the_settings_of_an_upgrade_go_nowhere(edge: RunningGateway, upstream_t: RecordingUpstream) -> None:
    """RFC 7540 section 3.2.1: it is for one hop."""
    assert edge.exchange(request("/t/open", *UPGRADES["h2c and not on this hop"])).status == 200
    assert upstream_t.seen[-1].all("http2-settings") == []


@pytest.mark.parametrize("kind", UPGRADES)
def test_T62_with_a_body(kind: str, edge: RunningGateway, upstream_t: RecordingUpstream) -> None:
    bodies = {"Content-Length: 2": b"{}", "Transfer-Encoding: chunked": chunked(b"{}")}
    before = len(upstream_t.seen)
    backs = talks(edge.port, [(request("/t/open", *UPGRADES[kind], framing, method="POST", body=body + SMUGGLED),) for framing, body in bodies.items()])
    assert not [back for back in backs if 101 in statuses(back)]
    no_tunnel(upstream_t.seen[before:], calls=2)


@pytest.mark.parametrize("path", ["/yes/plain", "/yes/secret", "/yes/none"])
@pytest.mark.parametrize("kind", UPGRADES)
def test_T62_beside_a_declared_websocket_other_routes_have_none(
    kind: str, path: str, edge: RunningGateway, talking: dict[str, ByteUpstream], reader: str
) -> None:
    upstream = talking["yes"]
    upstream.clear()
    back, _ = talk(edge.port, request(path, *UPGRADES[kind], token=reader) + SMUGGLED)
    received = upstream.received
    assert b"smuggled" not in received
    assert b"upgrade:" not in received.lower()
    # this upstream switches whether it is asked to or not
    assert 101 not in statuses(back) or received.startswith(b"GET /plain ")


@pytest.mark.parametrize("kind", [kind for kind in UPGRADES if "WebSocket" not in kind])
def test_T62_a_declared_websocket_is_no_other_tunnel(kind: str, edge: RunningGateway, talking: dict[str, ByteUpstream], reader: str) -> None:
    upstream = talking["no-200"]
    for path, token in (("/no-200/chat", reader), ("/no-200/hall", None)):
        upstream.clear()
        talk(edge.port, request(path, *UPGRADES[kind], token=token) + SMUGGLED)
        assert b"smuggled" not in upstream.received
        assert b"upgrade:" not in upstream.received.lower()


@pytest.mark.parametrize(("path", "token"), [("/yes/chat", None), ("/yes/chat", "bad"), ("/yes/secret", None), ("/yes/chat?access_token=x", None)])
def test_T62_a_websocket_is_asked_for_its_token_first(path: str, token: str | None, edge: RunningGateway, talking: dict[str, ByteUpstream]) -> None:
    talking["yes"].clear()
    back, _ = talk(edge.port, request(path, *HANDSHAKE, token=token) + SMUGGLED)
    assert statuses(back)[0] in {400, 401, 403}
    assert talking["yes"].connections == []


def test_T62_a_declared_websocket_works(edge: RunningGateway, talking: dict[str, ByteUpstream], reader: str) -> None:
    """Or the refusals above would say nothing."""
    for path, token in (("/yes/chat", reader), ("/yes/hall", None)):
        talking["yes"].clear()
        back, _ = talk(edge.port, request(path, *HANDSHAKE, token=token), b"from the caller")
        assert statuses(back) == [101]
        assert back.endswith(b"from the upstream")
        assert talking["yes"].settled().endswith(b"\r\n\r\nfrom the caller")


@pytest.mark.parametrize("name", NOT_SWITCHED)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("path", ["chat", "hall"])
def test_T63_an_upgrade_that_is_answered_otherwise_carries_no_bytes(
    path: str, together: bool, name: str, edge: RunningGateway, talking: dict[str, ByteUpstream], reader: str
) -> None:
    upstream = talking[f"no-{name}"]
    upstream.clear()
    first = request(f"/no-{name}/{path}", *HANDSHAKE, token=reader)
    back, _ = talk(edge.port, *((first + SMUGGLED,) if together else (first, SMUGGLED)))
    assert statuses(back) == [int(name[:3])]
    received = upstream.settled(0.05)
    assert received.count(b" HTTP/1.1\r\n") == 1
    assert b"smuggled" not in received


@pytest.mark.parametrize("name", ["200", "403", "426"])
def test_T63_then_the_callers_connection_ends(name: str, edge: RunningGateway, reader: str) -> None:
    first = request(f"/no-{name}/chat", *HANDSHAKE, token=reader)
    back, ended = talk(edge.port, first, request("/t/open"), quiet=2.5)
    assert ended
    assert len(statuses(back)) == 1


@pytest.mark.parametrize("name", [*ODDLY_SWITCHED, "yes"])
def test_T63_an_upstream_that_switches_unasked_gets_no_bytes(name: str, edge: RunningGateway, talking: dict[str, ByteUpstream], reader: str) -> None:
    api = name if name == "yes" else f"odd-{name}"
    talking[api].clear()
    for _ in range(2):
        talk(edge.port, request(f"/{api}/plain", token=reader), SMUGGLED)
    received = talking[api].settled(0.05)
    assert b"smuggled" not in received
    assert received.count(b"GET /plain HTTP/1.1\r\n") == received.count(b" HTTP/1.1\r\n") == 2


# --- CONNECT


CONNECTS = ["gw.example:443", "127.0.0.1:22", "gw.example", "/t/open", "http://gw.example/t/open", "*", "", "[::1]:80", "t", "evil.example:80"]


@pytest.mark.parametrize("target", CONNECTS)
@pytest.mark.parametrize("host", ["gw.example", "127.0.0.1:22"])
def test_T64_connect_is_refused_and_so_are_the_bytes_behind_it(
    target: str, host: str, edge: RunningGateway, upstream_t: RecordingUpstream, talking: dict[str, ByteUpstream], reader: str
) -> None:
    for upstream in talking.values():
        upstream.clear()
    with upstream_t.sees_nothing():
        tokens: list[tuple[str, ...]] = [(), (f"Authorization: Bearer {reader}", "Proxy-Authorization: Basic eDp5")]
        first = [head(f"CONNECT {target} HTTP/1.1", f"Host: {host}", *token) for token in tokens]
        backs = talks(edge.port, [(call + SMUGGLED,) for call in first] + [(call, SMUGGLED) for call in first])
    for back in backs:
        assert statuses(back)[0] in {400, 403, 404, 421}
        assert all(status >= 400 for status in statuses(back))
    assert all(upstream.connections == [] for upstream in talking.values())


CONNECT_FIELDS: dict[str, list[tuple[str, str]]] = {
    "plain": [(":method", "CONNECT"), (":authority", "gw.example:443")],
    "elsewhere": [(":method", "CONNECT"), (":authority", "127.0.0.1:22")],
    "with a path": [(":method", "CONNECT"), (":scheme", "http"), (":path", "/t/open"), (":authority", "gw.example")],
    "extended": [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/yes/hall"), (":authority", "gw.example")],
    "extended to another": [(":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "http"), (":path", "/yes/hall"), (":authority", "gw.example")],
    "a protocol without CONNECT": [(":method", "GET"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/yes/hall"), (":authority", "gw.example")],
}


@pytest.mark.parametrize("kind", CONNECT_FIELDS)
def test_T64_connect_over_http2(kind: str, edge: RunningGateway, upstream_t: RecordingUpstream, talking: dict[str, ByteUpstream], reader: str) -> None:
    talking["yes"].clear()
    with upstream_t.sees_nothing():
        fields = [*CONNECT_FIELDS[kind], ("authorization", f"Bearer {reader}")]
        answer = reply(lambda: http2.send(edge.port, fields, SMUGGLED, ends=False))
    assert answer is None or answer.status >= 400
    assert talking["yes"].connections == []


def reply(call: Callable[[], Answer]) -> Answer | None:
    """The answer; ``None`` where the stream or the connection was ended."""
    try:
        return call()
    except http2.StreamReset:
        return None


# --- schemes


SCHEMES = [
    "http",
    "HTTP",
    "hTTp",
    "https",
    "hTTps",
    "HTTPS",
    "ws",
    "ftp",
    "file",
    "javascript",
    "",
    " ",
    "http:",
    "http://evil.example/",
    "https\r\nx: y",
    "http/https",
]


def test_T69_a_scheme_in_whatever_case_makes_no_call_a_secure_one(edge: RunningGateway, upstream_t: RecordingUpstream, reader: str) -> None:
    def call(scheme: str) -> Answer | None:
        path = f"/t/read?scheme={SCHEMES.index(scheme)}"
        fields = [(":method", "GET"), (":scheme", scheme), (":path", path), (":authority", "gw.example"), ("authorization", f"Bearer {reader}")]
        return reply(lambda: http2.send(edge.port, fields))

    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = dict(zip(SCHEMES, pool.map(call, SCHEMES), strict=True))
    seen = {scheme: [s for s in upstream_t.seen if s.path == f"/read?scheme={i}"] for i, scheme in enumerate(SCHEMES)}
    for scheme, answer in answers.items():
        assert [s.all("x-forwarded-proto") for s in seen[scheme]] == ([["http"]] if answer is not None and answer.status == 200 else []), scheme
    assert {scheme for scheme, answer in answers.items() if answer is not None and answer.status == 200} >= {"http", "HTTP", "hTTp"}


@pytest.mark.parametrize("path", ["/t/read", "/t/secret", "/yes/chat"])
@pytest.mark.parametrize("scheme", SCHEMES[:8])
def test_T69_no_scheme_avoids_the_rule(scheme: str, path: str, edge: RunningGateway, upstream_t: RecordingUpstream) -> None:
    fields = [(":method", "GET"), (":scheme", scheme), (":path", path), (":authority", "gw.example")]
    with upstream_t.sees_nothing():
        answer = reply(lambda: http2.send(edge.port, fields))
        assert answer is None or answer.status in {400, 401, 403}
        answer = edge.exchange(head(f"GET {scheme}://gw.example{path} HTTP/1.1", "Host: gw.example"))
        assert answer.status in {400, 401, 403}


@pytest.mark.parametrize("scheme", ["https", "hTTps", "HTTPS"])
def test_T69_an_absolute_target_of_another_scheme_is_refused(scheme: str, edge: RunningGateway, upstream_t: RecordingUpstream, reader: str) -> None:
    with upstream_t.sees_nothing():
        answer = edge.exchange(head(f"GET {scheme}://gw.example/t/read HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {reader}"))
    assert answer.status in {400, 403}


# --- smuggling


def secret(case: int) -> bytes:
    """The call that should not pass: it needs a scope, and brings no token."""
    return head(f"GET /t/secret?case={case} HTTP/1.1", "Host: gw.example")


def post(*fields: str) -> Callable[[bytes], bytes]:
    """``CASE`` in the path is the number of the case; the body follows."""
    return lambda body: head("POST /t/open?case=CASE HTTP/1.1", "Host: gw.example", *fields, body=body)


TRANSFER_ENCODINGS = [
    "Transfer-Encoding: chunked",
    "TRANSFER-ENCODING: CHUNKED",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: \x00chunked",
    "Transfer-Encoding: chunked\x00",
    "Transfer-Encoding: \xffchunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    'Transfer-Encoding: "chunked"',
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: cow",
    "Transfer-Encoding:",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding\r\n : chunked",
    "Transfer-Encoding: chunked\r\n x",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\r\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\n",
    "Transfer_Encoding: chunked",
    "Transfer-Encodin\xc4\xa1: chunked",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    "Connection: Content-Length",
    "X-Transfer-Encoding: chunked",
    "Content-Encoding: chunked",
]

LENGTHS = [
    "Content-Length: 0\r\nContent-Length: LENGTH",
    "Content-Length: LENGTH\r\nContent-Length: 0",
    "Content-Length: 0, LENGTH",
    "Content-Length: LENGTH, LENGTH",
    "Content-Length: +LENGTH",
    "Content-Length: -1",
    "Content-Length: 0x40",
    "Content-Length: 0LENGTH",
    "Content-Length: LENGTH ",
    "Content-Length: \x0bLENGTH",
    "Content-Length: LENGTH\x00",
    "Content-Length: 0 LENGTH",
    "Content-Length: 0;LENGTH",
    "Content-Length: LENGTH.0",
    "Content-Length: 1e2",
    "Content-Length:",
    "Content-Length : LENGTH",
    " Content-Length: LENGTH",
    "X: y\r\n Content-Length: LENGTH",
    "Content-Length: 0\r\n LENGTH",
    "Content-Length:\r\n LENGTH",
    "X: y\nContent-Length: LENGTH",
    "X: y\rContent-Length: LENGTH",
    "Content_Length: LENGTH",
    "Content-Length: 18446744073709551616",
    "Content-Length: 18446744073709551680",
    "Content-Length: 99999999999999999999999999",
    "Content-Length: \xb2",
    "Connection: Content-Length\r\nContent-Length: LENGTH",
    "Expect: 100-continue\r\nContent-Length: LENGTH",
    "Content-Length: LENGTH\r\nExpect: 100-continue, x",
]

CHUNKS = [
    b"5;x=y\r\nhello\r\n0\r\n\r\n",
    b"5 ;x=y\r\nhello\r\n0\r\n\r\n",
    b'5;x="\r\n"\r\nhello\r\n0\r\n\r\n',
    b"5;\nhello\r\n0\r\n\r\n",
    b"5;x\nhello\r\n0\r\n\r\n",
    b"5;x\rhello\r\n0\r\n\r\n",
    b"5;" + b"x" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5\rhello\r0\r\r",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\t\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\nhello\r\n0\r\n\r\n",
    b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"x\r\n0\r\n\r\n",
    b"g\r\n0\r\n\r\n",
    b"5\0\r\nhello\r\n0\r\n\r\n",
    b"00000000000000000005\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffff0\r\n\r\n0\r\n\r\n",
    b"0\r\n",
    b"0\n\r\n",
    b"0\r\n\n",
    b"0\r\r\n\r\n",
    b"00\r\n\r\n",
    b"0;x\r\n\r\n",
    b"0\r\nContent-Length: 40\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\n x\r\n\r\n",
    b"0\r\nx\r\n\r\n",
    b"0\r\nHost: a\r\n",
    b"0\r\nx: y\n\n",
]

LINES = [
    b"GET /t/open?case=CASE HTTP/1.1\nHost: gw.example\n\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\n\n",
    b"GET /t/open?case=CASE HTTP/1.1\rHost: gw.example\r\r",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nX: y\r\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nX\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n: y\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nX: a\r\n b\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nX: \r\n\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\n Host: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nX: a\0b\r\n\r\n",
    b"GET  /t/open?case=CASE  HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"GET\t/t/open?case=CASE\tHTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1 \r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1 HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.0\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.0\r\nHost: gw.example\r\nConnection: keep-alive\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/0.9\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.2\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/2.0\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/11\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE http/1.1\r\nHost: gw.example\r\n\r\n",
    b"get /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"G\0T /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE&\x80 HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"\r\n\r\nGET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"\n\nGET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b" GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"\0GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nContent-Length: LENGTH\r\n\r\n",
    b"GET /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HEAD /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nContent-Length: LENGTH\r\n\r\n",
    b"TRACE /t/open?case=CASE HTTP/1.1\r\nHost: gw.example\r\nContent-Length: 0\r\n\r\n",
]


@dataclass
class Case:
    """``text`` with CASE and LENGTH (that of the call behind it) still to be filled in, and what came of it."""

    name: str
    text: bytes
    back: bytes = b""
    seen: list[Seen] = field(default_factory=list)

    def filled(self, number: int) -> bytes:
        behind = secret(number)
        return self.text.replace(b"CASE", b"%d" % number).replace(b"LENGTH", b"%d" % len(behind)) + behind


def cases() -> list[Case]:
    """Each kind of framing that two servers have read in two ways, with the forbidden call behind it."""
    made = [Case(f"line {text!r}", text) for text in LINES]
    for coding in TRANSFER_ENCODINGS:
        # a body that ends at once for who reads chunks, and that holds the call behind it for who reads the length
        made.append(Case(f"length, {coding!r}", post("Content-Length: 6LENGTH", coding)(b"0\r\n\r\n")))
        made.append(Case(f"{coding!r}, length", post(coding, "Content-Length: 5")(b"0\r\n\r\n")))
        # and one that ends at once for who reads the length
        made.append(Case(f"{coding!r}, length of a line", post(coding, "Content-Length: 4")(b"%x\r\n" % len(secret(100)))))
        made.append(Case(f"{coding!r} alone", post(coding)(b"0\r\n\r\n")))
    for length in LENGTHS:
        made.append(Case(f"{length!r}", post(length)(b"")))
        made.append(Case(f"{length!r} of an empty line", post(length.replace("LENGTH", "2"))(b"\r\n")))
    made += [Case(f"chunks {body[:40]!r}", post("Transfer-Encoding: chunked")(body)) for body in CHUNKS]
    return made


CASES = cases()


@pytest.fixture(scope="module")
def smuggled(edge: RunningGateway, upstream_t: RecordingUpstream) -> list[Case]:
    """All cases, a few at a time: most of them end by silence."""

    def run(number: int) -> bytes:
        return talk(edge.port, CASES[number].filled(number), quiet=0.3, patience=1.0)[0]

    before = len(upstream_t.seen)
    with ThreadPoolExecutor(max_workers=32) as pool:
        for case, back in zip(CASES, pool.map(run, range(len(CASES))), strict=True):
            case.back = back
    time.sleep(0.1)
    for seen in upstream_t.seen[before:]:
        found = re.fullmatch(r"[A-Z]+ /open\?case=(\d+)(?:&\S*)? HTTP/1\.1", seen.line)
        assert found, f"the upstream saw what nobody meant as a call: {seen.line!r}"
        CASES[int(found[1])].seen.append(seen)
    return CASES


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_T70_the_upstream_sees_no_call_more_than_the_gateway(number: int, smuggled: list[Case]) -> None:
    case = smuggled[number]
    answered = statuses(case.back)
    assert len(case.seen) <= max(1, answered.count(200))
    assert answered.count(200) <= 1, "the call behind it has no token"
    assert answered.count(200) <= len(case.seen)
    assert all(status in {100, 200, 400, 401, 403, 408, 413, 426, 431, 501, 502} for status in answered)
    for seen in case.seen:
        framed_once(seen)


def framed_once(seen: Seen) -> None:
    """RFC 9112 section 6.3: one length, or chunks, and nothing that another server could read as another line."""
    lengths, codings = seen.all("content-length"), seen.all("transfer-encoding")
    assert len(lengths) + len(codings) <= 1
    assert codings in ([], ["chunked"])
    assert all(re.fullmatch("[0-9]+", length) for length in lengths)
    assert seen.all("host") != []
    lines = seen.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert not [line for line in lines if re.search(rb"[\r\n\0]", line) or line.startswith((b" ", b"\t"))]
    assert not [line for line in lines[1:] if not re.match(rb"[!#$%&'*+.^`|~0-9A-Za-z-]+:", line)]


def test_T70_a_case_that_is_sound_passes_both(edge: RunningGateway, upstream_t: RecordingUpstream, smuggled: list[Case]) -> None:
    """Or the test above would say nothing: the first call is answered, the one behind it is asked for its token."""
    before = len(upstream_t.seen)
    back, _ = talk(edge.port, post("Transfer-Encoding: chunked")(b"0\r\n\r\n") + secret(0), quiet=0.5)
    assert statuses(back) == [200, 401]
    assert len(upstream_t.seen) == before + 1
    assert sum(1 for case in smuggled if statuses(case.back)[:1] == [200]) > 20
    assert sum(1 for case in smuggled if statuses(case.back)[:1] == [400]) > 60


Fields = list[tuple[str, str]]

HTTP2: dict[str, tuple[Fields, bytes | None]] = {
    "a length that is too short": ([("content-length", "0")], SMUGGLED),
    "a length that is too long": ([("content-length", "500")], b"{}"),
    "two lengths": ([("content-length", "2"), ("content-length", "40")], b"{}"),
    "a length that is none": ([("content-length", "2, 2")], b"{}"),
    "a length without a body": ([("content-length", "40")], None),
    "chunks": ([("transfer-encoding", "chunked")], b"0\r\n\r\n" + SMUGGLED),
    "chunks and a length": ([("transfer-encoding", "chunked"), ("content-length", "5")], b"0\r\n\r\n" + SMUGGLED),
    "another coding": ([("transfer-encoding", "identity")], b"{}"),
    "chunks by another name": ([("te", "trailers, chunked")], b"{}"),
    "a connection's field": ([("connection", "keep-alive")], b"{}"),
    "a connection's field, nominated": ([("connection", "x-a"), ("x-a", "b")], b"{}"),
    "a proxy's field": ([("proxy-connection", "keep-alive")], b"{}"),
    "an upgrade": ([("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")], b"{}"),
    "a value that ends the line": ([("x-a", "b\r\ntransfer-encoding: chunked")], b"0\r\n\r\n" + SMUGGLED),
    "a value that ends the head": ([("x-a", "b\r\n\r\n" + SMUGGLED.decode())], b"{}"),
    "a value with LF": ([("x-a", "b\nhost: a")], b"{}"),
    "a value with CR": ([("x-a", "b\rhost: a")], b"{}"),
    "a value with NUL": ([("x-a", "b\0c")], b"{}"),
    "a name that ends the line": ([("x-a: b\r\nhost", "a")], b"{}"),
    "a name with a colon": ([("x-a: b", "c")], b"{}"),
    "a name with a space": ([("x-a ", "c")], b"{}"),
    "a name of chunks with a space": ([("transfer-encoding ", "chunked")], b"0\r\n\r\n" + SMUGGLED),
    "a name in capitals": ([("Transfer-Encoding", "chunked")], b"0\r\n\r\n" + SMUGGLED),
    "a name that is empty": ([("", "x")], b"{}"),
    "a name with NUL": ([("x\0a", "b")], b"{}"),
    "another host": ([("host", "evil.example")], b"{}"),
    "a second method": ([(":method", "GET")], b"{}"),
    "a second path": ([(":path", "/t/secret")], b"{}"),
    "a field that does not exist": ([(":secret", "x")], b"{}"),
    "a cookie that ends the line": ([("cookie", "a=b\r\nx: y")], b"{}"),
}


@pytest.fixture(scope="module")
def smuggled_over_http2(edge: RunningGateway, upstream_t: RecordingUpstream) -> dict[str, tuple[Answer | None, list[Seen]]]:
    def run(kind: str) -> Answer | None:
        more, body = HTTP2[kind]
        path = f"/t/open?h2={list(HTTP2).index(kind)}"
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "gw.example"), *more]
        return reply(lambda: http2.send(edge.port, fields, body))

    before = len(upstream_t.seen)
    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(run, HTTP2))
    time.sleep(0.1)
    new = upstream_t.seen[before:]
    assert all(re.fullmatch(r"POST /open\?h2=\d+ HTTP/1\.1", seen.line) for seen in new), "the upstream saw what nobody meant as a call"
    return {kind: (answers[i], [seen for seen in new if seen.path == f"/open?h2={i}"]) for i, kind in enumerate(HTTP2)}


@pytest.mark.parametrize("kind", HTTP2)
def test_T70_from_http2_down_to_http1(kind: str, smuggled_over_http2: dict[str, tuple[Answer | None, list[Seen]]]) -> None:
    answer, seen = smuggled_over_http2[kind]
    assert len(seen) <= 1
    if answer is not None and answer.status == 200:
        assert len(seen) == 1
    for call in seen:
        framed_once(call)
        assert not [name for name, _ in call.headers if name.lower() in {"connection", "upgrade", "http2-settings", "proxy-connection", "te"}]
        assert call.all("host") == [f"127.0.0.1:{call.all('host')[0].partition(':')[2]}"]
        assert b"smuggled" not in call.raw or call.all("transfer-encoding") == ["chunked"] or call.all("content-length") != []


@pytest.mark.parametrize("method", ["GET /t/secret HTTP/1.1\r\nx:", "GET /t/secret", "POST\r\n", "get", "", "G\0T", "CONNECT", "PRI"])
def test_T70_a_method_over_http2_that_is_more_than_one(method: str, edge: RunningGateway, upstream_t: RecordingUpstream, reader: str) -> None:
    with upstream_t.sees_nothing():
        answer = reply(lambda: http2.call(edge.port, method, "/t/open", [("authorization", f"Bearer {reader}")]))
    assert answer is None or answer.status >= 400


# --- past the policy


ADMIN = [
    "/stats",
    "/stats/prometheus",
    "/config_dump",
    "/clusters",
    "/listeners",
    "/server_info",
    "/quitquitquit",
    "/logging",
    "/certs",
    "/runtime",
    "/ready",
    "/help",
    "/memory",
    "/init_dump",
]


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_T71_the_data_port_shows_nothing_of_the_admin_interface(
    method: str, path: str, edge: RunningGateway, upstream_t: RecordingUpstream, reader: str
) -> None:
    with upstream_t.sees_nothing():
        for token in (None, reader):
            answer = edge.exchange(request(path, "Content-Length: 0", token=token, method=method))
            assert (answer.status, answer.reference) == (404, "api-not-found")
        answer = edge.exchange(request(f"/t/open/../..{path}", "Content-Length: 0", method=method))
        assert (answer.status, answer.reference) == (404, "api-not-found")
        answer = edge.exchange(request(f"/t/open{path}", "Content-Length: 0", method=method))
        assert (answer.status, answer.reference) == (401, "token-missing")


HOSTS = [
    "localhost",
    "127.0.0.1",
    "127.0.0.1:9901",
    "[::1]",
    "admin",
    "envoy",
    "0.0.0.0",
    "unix",
    "/",
    "admin.sock",
    "..",
    "metadata.google.internal",
    "169.254.169.254",
]


@pytest.mark.parametrize("host", HOSTS)
def test_T71_no_host_leads_to_it(host: str, edge: RunningGateway, upstream_t: RecordingUpstream, reader: str) -> None:
    with upstream_t.sees_nothing():
        for path in ("/stats", "/config_dump", "/t/open", "/t/read"):
            answer = edge.exchange(head(f"GET {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {reader}"))
            assert answer.status in {421, 400}
            answer = edge.exchange(head(f"GET http://{host}{path} HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {reader}"))
            assert answer.status in {421, 400}


def test_T71_the_admin_interface_is_a_private_socket_and_no_port(edge: RunningGateway) -> None:
    # one that would be too long for a socket's name is elsewhere, in a folder of its own
    admin = Path(json.loads(next(edge.state.root.glob("envoys/*/bootstrap.json")).read_text())["admin"]["address"]["pipe"]["path"])
    mode = admin.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    for folder in (admin.parent, edge.state.root, edge.state.root / "envoys"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- what real servers read of identity


def test_T13_a_wsgi_application_reads_the_gateways_identity_and_no_callers(edge: RunningGateway, wsgi: views.ViewingUpstream, reader: str) -> None:
    """It cannot tell ``X_Agw_Subject`` from ``X-Agw-Subject``, and this one was told to take both."""
    forged = ("X-Agw-Subject: evil", "x-agw-client-id: evil", "X-AGW-SUBJECT: evil")
    for path, token in (("/wsgi/read", reader), ("/wsgi/open", None)):
        answer = edge.exchange(request(path, *forged, token=token))
        headers = wsgi.read(answer.body).headers
        ours = {"HTTP_X_AGW_SUBJECT": "order-sync", "HTTP_X_AGW_CLIENT_ID": "order-sync"} if token else {}
        assert {k: v for k, v in headers.items() if k.startswith(("HTTP_X_AGW", "HTTP_X_SW"))} == ours
        assert "evil" not in str(headers)
        for alias in ("X_Agw_Subject: evil", "X-Agw_Subject: evil", "HTTP_X_AGW_SUBJECT: evil", "x_forwarded_for: evil"):
            assert edge.exchange(request(path, alias, token=token)).status == 400
