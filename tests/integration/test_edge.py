"""The edge on a real Envoy, where only trying tells: how long streams last, what of a gRPC call goes on, bodies, hosts, who is inside."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from scopeward.compile.envoy import routes
from tests.kit import http2
from tests.kit.gateway import Answer, RunningGateway, read_answer
from tests.kit.listening import Listening
from tests.kit.tokens import Mint
from tests.kit.tunnel import ByteUpstream
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import chunked, head

POLICY = """
version: 1
public_url: https://gw.example
issuers:
  idp: {{issuer: "https://idp.test/", typ: at+jwt, scope_form: string, trust: {trust}}}
trust:
  internal: {{lifetime: 1h, over: refuse, max_stream: 1s}}
  external: {{lifetime: 1h}}
defaults:
  limits: {{body: 1KiB}}
scopes:
  read.orders: {{says: Read orders}}
  write.orders: {{says: Write orders}}
clients:
  sync: {{kind: service, id: order-sync}}
apis:
  plain:
    at: /plain
    audience: api://orders
    upstream: {{url: "{plain}", timeout: 10s}}
    rules:
      GET /**: {{needs: read.orders}}
      POST /**: {{needs: read.orders}}
      GET /open: {{public: "anybody may look"}}
  events:
    at: /events
    audience: api://events
    upstream: {events}
    rules:
      GET /changes: {{needs: read.orders, stream: sse}}
      GET /: {{needs: read.orders}}
  talk:
    at: /talk
    audience: api://talk
    upstream: {talk}
    rules:
      GET /ws: {{needs: read.orders, stream: websocket}}
      GET /: {{needs: read.orders}}
  rpc:
    at: /rpc
    audience: api://rpc
    upstream: {rpc}
    rules:
      POST /Orders/List: {{needs: read.orders, stream: grpc}}
      POST /Orders/Place: {{needs: write.orders, stream: grpc}}
      POST /Orders/Plain: {{needs: read.orders}}
"""
EVENT = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: first\n\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))


class Http2Upstream(Listening):
    """Answers every call over HTTP/2 as a gRPC server does. ``seen`` holds the fields of each call, then those of its trailers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[dict[str, str], dict[str, str]]] = []

    def serve(self, connection: socket.socket) -> None:
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        server.initiate_connection()
        calls: dict[int, tuple[dict[str, str], dict[str, str]]] = {}
        connection.sendall(server.data_to_send())
        while data := connection.recv(65536):
            for event in server.receive_data(data):
                match event:
                    case h2.events.RequestReceived():
                        calls[event.stream_id] = ({str(k): str(v) for k, v in event.headers}, {})
                    case h2.events.TrailersReceived():
                        calls[event.stream_id][1].update({str(k): str(v) for k, v in event.headers})
                    case h2.events.StreamEnded():
                        self.seen.append(calls.pop(event.stream_id))
                        server.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                        server.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
            connection.sendall(server.data_to_send())


class Edge:
    def __init__(self, gateway: RunningGateway, plain: RecordingUpstream, rpc: Http2Upstream) -> None:
        self.gateway, self.plain, self.rpc = gateway, plain, rpc

    @contextmanager
    def opened(self, path: str, *fields: str) -> Iterator[socket.socket]:
        """A connection on which a call was made and nothing was read."""
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=5) as wire:
            wire.sendall(head(f"GET {path} HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {token(path)}", *fields))
            yield wire


def token(path: str, **changes: str) -> str:
    audience = {"plain": "api://orders"}.get(path.split("/")[1], f"api://{path.split('/')[1]}")
    return Mint(audience=audience).token(**{"scope": "read.orders", **changes})


@contextmanager
def edge(folder: Path, trust: str) -> Iterator[Edge]:
    with RecordingUpstream() as plain, ByteUpstream(EVENT) as events, ByteUpstream(SWITCHED) as talk, Http2Upstream() as rpc:
        text = POLICY.format(trust=trust, plain=plain.url, events=events.url, talk=talk.url, rpc=rpc.url)
        with RunningGateway(folder, text) as gateway:
            yield Edge(gateway, plain, rpc)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Streams end after a second."""
    with edge(tmp_path_factory.mktemp("n"), "internal") as running:
        yield running


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Streams end after a second of silence, and long before they must."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(routes, "STREAM_IDLE", 1)
        with edge(tmp_path_factory.mktemp("n"), "external") as running:
            yield running


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


LONG = 2.5
"""Seconds after which what did not end goes on."""


def until_it_ends(wire: socket.socket, ping: bytes = b"") -> tuple[bytes, float]:
    """What came, and how many seconds it took. ``ping`` is sent every now and then, so that nobody can say that it is silent."""
    began, received = time.monotonic(), b""
    wire.settimeout(0.2)
    while time.monotonic() - began < LONG:
        try:
            if ping:
                wire.sendall(ping)
            if not (data := wire.recv(65536)):
                break
            received += data
        except TimeoutError:
            continue
        except OSError:
            break
    return received, time.monotonic() - began


def test_events_end_when_the_longest_token_would(short: Edge) -> None:
    with short.opened("/events/changes") as wire:
        received, took = until_it_ends(wire)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"data: first" in received
    assert 0.5 < took < LONG


def test_a_websocket_ends_though_it_is_never_silent(short: Edge) -> None:
    with short.opened("/talk/ws", *UPGRADE) as wire:
        received, took = until_it_ends(wire, ping=b"ping")
    assert received.startswith(b"HTTP/1.1 101")
    assert received.endswith(b"hello")
    assert 0.5 < took < LONG


def test_a_stream_that_is_silent_ends_early(quiet: Edge) -> None:
    for path, fields in (("/events/changes", ()), ("/talk/ws", UPGRADE)):
        with quiet.opened(path, *fields) as wire:
            _, took = until_it_ends(wire)
        assert 0.5 < took < LONG, path


def test_a_stream_on_which_something_is_said_goes_on(quiet: Edge) -> None:
    with quiet.opened("/talk/ws", *UPGRADE) as wire:
        _, took = until_it_ends(wire, ping=b"ping")
    assert took >= LONG


def test_what_declares_no_stream_ends_by_itself_only(short: Edge) -> None:
    """The time to the first byte, and between two bytes, is the upstream's 'timeout', not the bound of streams."""
    with short.opened("/events") as wire:
        _, took = until_it_ends(wire)
    assert took >= LONG


@pytest.mark.parametrize("path", ["/talk", "/events/changes", "/plain/x", "/plain/open"])
def test_an_upgrade_that_the_rule_does_not_declare_is_refused(path: str, short: Edge) -> None:
    with short.plain.sees_nothing(), short.opened(path, *UPGRADE) as wire:
        answer = read_answer(wire)
    assert (answer.status, answer.reference) == (403, "upgrade-refused")


# ── gRPC ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def call_rpc(edge: Edge, operation: str, *fields: tuple[str, str], trailers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return http2.call(edge.gateway.port, "POST", f"/rpc/Orders/{operation}", [*GRPC, *fields], b"\0\0\0\0\0", trailers)


def bearer(**changes: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token('/rpc', **changes)}"


@pytest.mark.parametrize(
    ("operation", "fields", "status", "reference"),
    [
        ("List", (), "16", "token-missing"),
        ("List", (bearer(exp="soon"),), "16", "token-malformed"),
        ("Place", (bearer(),), "7", "scope-missing"),
        ("Nothing", (bearer(),), "7", "no-rule"),
    ],
)
def test_a_refusal_is_told_as_grpc_tells_it(operation: str, fields: tuple[tuple[str, str], ...], status: str, reference: str, short: Edge) -> None:
    """Always 200, the status in the fields: a client of gRPC reads nothing else."""
    before = len(short.rpc.seen)
    answer = call_rpc(short, operation, *fields)
    assert (answer.status, answer.headers["grpc-status"], answer.reference) == (200, status, reference)
    assert len(short.rpc.seen) == before


SAID = (
    ("x-checksum", "7"),
    ("x-sw-sub", "mallory"),
    ("x-agw-subject", "mallory"),
    ("authorization", "Bearer x"),
    ("x-envoy-ip", "1"),
    ("x-scopeward-pass", "x"),
)


def test_trailers_of_grpc_go_on_without_what_only_the_gateway_may_say(short: Edge) -> None:
    assert call_rpc(short, "List", bearer(), trailers=SAID).status == 200
    fields, trailers = short.rpc.seen[-1]
    assert trailers == {"x-checksum": "7"}
    assert fields["x-scopeward-pass"] == "pass-of-rpc"


def test_no_other_trailer_goes_on(short: Edge) -> None:
    assert call_rpc(short, "Plain", bearer(), trailers=SAID).status == 200
    assert short.rpc.seen[-1][1] == {}


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize(("size", "status"), [(1024, 200), (1025, 413), (100_000, 413)])
def test_a_body_is_as_long_as_the_policy_says_at_most(size: int, status: int, framed: bool, short: Edge) -> None:
    body = b"x" * size
    length = f"Content-Length: {size}" if framed else "Transfer-Encoding: chunked"
    fields = ("Host: gw.example", f"Authorization: Bearer {token('/plain')}", length)
    before = len(short.plain.seen)
    answer = short.gateway.exchange(head("POST /plain/x HTTP/1.1", *fields, body=body if framed else chunked(body[:600], body[600:])))
    assert (answer.status, answer.reference) == (status, None if status == 200 else "body-too-large")
    assert len(short.plain.seen) == before + (status == 200)


# ── hosts, and who is inside ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (("gw.example",), 200),
        (("GW.Example:8443",), 200),
        (("other.example",), 421),
        (("gw.example.",), 421),
        (("gw.example.other.example",), 421),
        (("127.0.0.1",), 421),
        (("gw.example", "other.example"), 421),
        (("other.example", "gw.example"), 421),
        (("",), 421),
        ((), 400),
    ],
)
def test_the_gateway_answers_under_its_own_name_alone(hosts: tuple[str, ...], expected: int, short: Edge) -> None:
    before = len(short.plain.seen)
    answer = short.gateway.exchange(head("GET /plain/open HTTP/1.1", *(f"Host: {host}" for host in hosts)))
    assert answer.status == expected
    assert answer.reference == {200: None, 421: "unknown-host", 400: "request-malformed"}[expected]
    assert len(short.plain.seen) == before + (expected == 200)


def test_nobody_is_inside(short: Edge) -> None:
    """A private address is a caller like any other: its request id is not ours, and Envoy's own headers do not go on."""
    answer = short.gateway.exchange(head("GET /plain/open HTTP/1.1", "Host: gw.example", "x-request-id: mine", "x-envoy-internal: true"))
    assert answer.status == 200
    seen = short.plain.seen[-1]
    assert not [name for name, _ in seen.headers if name.lower().startswith(("x-envoy-", "x-sw-"))]
    assert seen.all("x-client-request-id") == ["mine"]
    assert seen.all("x-request-id") != ["mine"]
