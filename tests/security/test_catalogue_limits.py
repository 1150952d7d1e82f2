"""Row 67 of the catalogue: floods meet a limit, other callers hardly notice, and Envoy's memory stays bounded."""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import hpack
import pytest
from hyperframe.frame import ContinuationFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from tests.kit.gateway import read_answer
from tests.kit.tokens import Mint, jwks, signing_key
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import chunked, head
from tests.security.conftest import NamedGateway

MEBIBYTE = 1 << 20
MOST_GROWTH = 100 * MEBIBYTE
"""Bytes by which Envoy's memory may grow in a flood."""
PATIENCE = 2.0
"""Seconds in which 99 of 100 calls of others are answered during a flood, on a small machine that sends the flood as well."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
READ, HEALTH = "/orders/v1/42", "/orders/v1/health"

POLICY = """
version: 1
public_url: https://gw.example
issuers: {{dev: {{issuer: "https://idp.test/", audience: "api://orders", typ: at+jwt}}}}
defaults: {{limits: {{body: 64KiB}}}}
scopes: {{read.orders: {{says: Read orders}}}}
clients: {{order-sync: {{kind: service, id: order-sync}}}}
apis:
  orders:
    at: /orders/v1
    upstream: "{url}"
    rules:
      GET /**: {{needs: read.orders}}
      POST /**: {{needs: read.orders}}
      GET /health: {{public: "probe"}}
      POST /hook: {{public: "anybody may tell us"}}
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NamedGateway, RecordingUpstream]]:
    """A gateway of this file's own: what floods do to it is nobody else's matter."""
    with (
        RecordingUpstream() as upstream,
        NamedGateway(tmp_path_factory.mktemp("node"), POLICY.format(url=upstream.url), jwks(signing_key())) as running,
    ):
        yield running, upstream


@pytest.fixture
def flooded(limited: tuple[NamedGateway, RecordingUpstream]) -> NamedGateway:
    return limited[0]


@pytest.fixture
def behind(limited: tuple[NamedGateway, RecordingUpstream]) -> RecordingUpstream:
    return limited[1]


# ── how others fare ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def memory(gateway: NamedGateway) -> int:
    """What Envoy has in memory, in bytes."""
    return int(Path(f"/proc/{gateway.node.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def others_hardly_notice(gateway: NamedGateway, token: str) -> Iterator[None]:
    """Another caller calls on throughout: each call must be answered, 99 of 100 in time; Envoy must live, and its memory stay bounded."""
    pid, before, took, ended = gateway.node.pid, memory(gateway), list[float](), threading.Event()
    wrong: list[object] = []

    def go_on() -> None:
        while not ended.is_set() or len(took) < 20:
            begun = time.monotonic()
            try:
                if (status := gateway.get(READ, token).status) != 200:
                    wrong.append(status)
            except OSError as error:
                wrong.append(error)
                return
            took.append(time.monotonic() - begun)
            time.sleep(0.005)

    caller = threading.Thread(target=go_on, daemon=True)
    caller.start()
    try:
        yield
    finally:
        ended.set()
        caller.join(timeout=30)
    assert wrong == []
    assert sorted(took)[int(len(took) * 0.99) - 1] < PATIENCE
    assert gateway.node.runs
    assert gateway.node.pid == pid
    assert memory(gateway) - before < MOST_GROWTH


# ── HTTP/1.1 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TOO_MUCH = {
    "a header more than a hundred": (head(f"GET {HEALTH} HTTP/1.1", "Host: gw.example", *(f"x-{i}: a" for i in range(100))), 431, "headers-too-large"),
    "a header of 70 KB": (head(f"GET {HEALTH} HTTP/1.1", "Host: gw.example", f"x-a: {'a' * 70_000}"), 431, "headers-too-large"),
    "a cookie of 70 KB": (head(f"GET {HEALTH} HTTP/1.1", "Host: gw.example", f"Cookie: {'a=b; ' * 14_000}"), 431, "headers-too-large"),
    "70 KB in all": (head(f"GET {HEALTH} HTTP/1.1", "Host: gw.example", *(f"x-{i}: {'a' * 1_000}" for i in range(70))), 431, "headers-too-large"),
    "a token of 70 KB": (head(f"GET {READ} HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {'a' * 70_000}"), 431, "headers-too-large"),
    "a path of 70 KB": (head(f"GET {HEALTH}/{'a' * 70_000} HTTP/1.1", "Host: gw.example"), 431, "headers-too-large"),
    "a body too long by a byte": (head("POST /orders/v1/hook HTTP/1.1", "Host: gw.example", f"Content-Length: {64 * 1024 + 1}"), 413, "body-too-large"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_T67_what_is_too_much_is_refused(kind: str, flooded: NamedGateway, behind: RecordingUpstream) -> None:
    request, status, reference = TOO_MUCH[kind]
    with behind.sees_nothing():
        answer = flooded.exchange(request)
    assert (answer.status, answer.reference) == (status, reference)


def test_T67_what_is_just_not_too_much_passes(flooded: NamedGateway, behind: RecordingUpstream, mint: Mint) -> None:
    fields = [(f"x-{i}", "a" * 500) for i in range(90)]
    assert flooded.get(READ, mint.token(), headers=fields).status == 200
    assert sum(len(behind.seen[-1].all(name)) for name, _ in fields) == 90
    assert flooded.call("POST", READ, mint.token(), body=b"a" * 64 * 1024).status == 200
    assert behind.seen[-1].body == b"a" * 64 * 1024


def test_T67_a_body_in_chunks_that_grows_too_long_never_becomes_a_request(flooded: NamedGateway, behind: RecordingUpstream) -> None:
    """Nobody knows beforehand how long it will be; an upstream must not take the part for the whole."""
    lines = ("POST /orders/v1/hook HTTP/1.1", "Host: gw.example", "Transfer-Encoding: chunked")
    with behind.sees_nothing():
        answer = flooded.exchange(head(*lines, body=chunked(*[b"a" * 8_192] * 9)))
        assert (answer.status, answer.reference) == (413, "body-too-large")
    assert flooded.exchange(head(*lines, body=chunked(*[b"a" * 8_192] * 8))).status == 200


@pytest.mark.parametrize("begun", ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: gw.example\r\nx-a: "])
def test_T67_many_callers_that_do_not_go_on_keep_nobody_from_calling(begun: str, flooded: NamedGateway, mint: Mint) -> None:
    """That each of them is refused after ten seconds is a test of the answers ('request-timeout')."""
    with contextlib.ExitStack() as waiting, others_hardly_notice(flooded, mint.token()):
        for _ in range(300):
            connection = waiting.enter_context(socket.create_connection(("127.0.0.1", flooded.port), timeout=5))
            connection.sendall(begun.encode())
        time.sleep(0.2)


# ── HTTP/2 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Flood:
    """One HTTP/2 connection, by frames. What the gateway says is read by a thread of its own, unless it is ``deaf``."""

    def __init__(self, gateway: NamedGateway, *, deaf: bool = False) -> None:
        self.wire = socket.socket()
        self.wire.settimeout(10)
        if deaf:  # what nobody reads must soon be the gateway's to keep, and not the kernel's
            self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.wire.connect(("127.0.0.1", gateway.port))
        self.frames: list[Frame] = []
        self.ended = threading.Event()
        self.sent = 0
        self.hpack = hpack.Encoder()
        self.wire.sendall(PREFACE + SettingsFrame(0).serialize())
        self._reader = threading.Thread(target=self._read, daemon=True)
        if not deaf:
            self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := self.wire.recv(65_536):
                rest = self._parse(rest + data)
        self.ended.set()

    def _parse(self, data: bytes) -> bytes:
        while len(data) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(data[:9]))
            if len(data) < 9 + length:
                break
            frame.parse_body(memoryview(data[9 : 9 + length]))
            self.frames.append(frame)
            data = data[9 + length :]
        return data

    def send(self, *frames: Frame) -> bool:
        """Whether the connection took them. A connection that takes nothing more for a second is full, which is an answer too."""
        try:
            self.wire.settimeout(1)
            self.wire.sendall(b"".join(frame.serialize() for frame in frames))
        except OSError:
            return False
        self.sent += len(frames)
        return True

    def request(self, stream: int, *fields: tuple[str, str], path: str = HEALTH, ends: bool = True) -> HeadersFrame:
        frame = HeadersFrame(stream, self.hpack.encode([(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "gw.example"), *fields]))
        frame.flags.add("END_HEADERS")
        if ends:
            frame.flags.add("END_STREAM")
        return frame

    def statuses(self) -> list[str]:
        """Of the answers so far, in their order."""
        decoder = hpack.Decoder()
        return [dict(decoder.decode(frame.data))[":status"] for frame in self.of(HeadersFrame)]

    def of(self, kind: type[Frame]) -> list[Frame]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


def cookies(count: int) -> list[bytes]:
    """A header block, in parts, whose cookie is ``count`` crumbs of 3,900 bytes: one is written out, all others point to it with a byte each."""
    encoder = hpack.Encoder()
    head_of_it = encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", HEALTH), (":authority", "gw.example")])
    # RFC 7541 section 6.2.1, with incremental indexing: the table's newest entry has index 62
    crumb = b"\x40" + _text(b"cookie") + _text(b"a" * 3_900)
    block = head_of_it + crumb + b"\xbe" * (count - 1)
    return [block[i : i + 16_000] for i in range(0, len(block), 16_000)]


def _text(value: bytes) -> bytes:
    """RFC 7541 section 5.2, without Huffman's code."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, digits = len(value) - 127, bytearray([127])
    while rest >= 128:
        digits.append(rest % 128 + 128)
        rest //= 128
    return bytes([*digits, rest]) + value


def send_cookies(flood: Flood, crumbs: int) -> None:
    first, *more = cookies(crumbs)
    flood.send(HeadersFrame(1, first, flags=["END_STREAM", *([] if more else ["END_HEADERS"])]))
    for number, block in enumerate(more):
        flood.send(ContinuationFrame(1, block, flags=["END_HEADERS"] if number == len(more) - 1 else []))
    assert _until(lambda: flood.ended.is_set() or bool(flood.of(HeadersFrame) or flood.of(RstStreamFrame) or flood.of(GoAwayFrame)))


def test_T67_a_cookie_of_a_few_crumbs_is_one_cookie(flooded: NamedGateway, behind: RecordingUpstream) -> None:
    """RFC 9113 section 8.2.3."""
    with Flood(flooded) as flood:
        send_cookies(flood, 3)
        assert flood.statuses() == ["200"]
    assert behind.seen[-1].all("cookie") == ["; ".join(["a" * 3_900] * 3)]


@pytest.mark.parametrize("crumbs", [20, 2_700, 60_000])
def test_T67_a_cookie_of_many_crumbs_is_refused_before_it_is_large(crumbs: int, flooded: NamedGateway, behind: RecordingUpstream, mint: Mint) -> None:
    """HPACK makes ten megabytes of a few kilobytes (CVE-2026-47774)."""
    before = len(behind.seen)
    with others_hardly_notice(flooded, mint.token()):
        for _ in range(10):
            with Flood(flooded) as flood:
                send_cookies(flood, crumbs)
                assert set(flood.statuses()) <= {"431"}
    assert not any(seen.all("cookie") for seen in behind.seen[before:])


def test_T67_headers_that_go_on_for_ever_end_the_connection(flooded: NamedGateway, mint: Mint) -> None:
    """Continuations without an end (CVE-2024-27919)."""
    with others_hardly_notice(flooded, mint.token()), Flood(flooded) as flood:
        first = flood.request(1)
        first.flags.discard("END_HEADERS")
        flood.send(first)
        name = b"\x00" + _text(b"x-a") + _text(b"a" * 1_000)
        for _ in range(20_000):
            if not flood.send(ContinuationFrame(1, name * 8)):
                break
        assert _until(flood.ended.is_set)
        assert flood.sent < 20_000


def test_T67_calls_that_are_reset_at_once_end_the_connection(flooded: NamedGateway, mint: Mint) -> None:
    """Rapid reset (CVE-2023-44487)."""
    token = mint.token()
    with others_hardly_notice(flooded, token):
        for path, fields in ((HEALTH, ()), (READ, (("authorization", f"Bearer {token}"),)), (READ, ()), ("/nowhere", ())):
            with Flood(flooded) as flood:
                for number in range(20_000):
                    stream = 2 * number + 1
                    if not flood.send(flood.request(stream, *fields, path=path), RstStreamFrame(stream, error_code=8)):
                        break
                assert _until(flood.ended.is_set), path
                assert flood.sent < 2 * 20_000
                assert "200" not in flood.statuses()


def test_T67_half_open_calls_that_are_reset_end_the_connection(flooded: NamedGateway, mint: Mint) -> None:
    """The gateway resets them itself, for what the caller does wrong (the 'made you reset' way)."""
    with others_hardly_notice(flooded, mint.token()), Flood(flooded) as flood:
        for number in range(20_000):
            stream = 2 * number + 1
            if not flood.send(flood.request(stream, ends=False), WindowUpdateFrame(stream, window_increment=2**31 - 1)):
                break
        assert _until(flood.ended.is_set)


FLOODS: dict[str, Frame] = {
    "pings": PingFrame(0, b"12345678"),
    "settings": SettingsFrame(0, settings={4: 65_535}),
    "empty settings": SettingsFrame(0),
    "settings that resize the table": SettingsFrame(0, settings={1: 0}),
    "window updates": WindowUpdateFrame(0, window_increment=1),
    "resets of no stream": RstStreamFrame(1, error_code=8),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_T67_a_flood_of_control_frames_costs_nobody_anything(kind: str, flooded: NamedGateway, mint: Mint) -> None:
    with others_hardly_notice(flooded, mint.token()), Flood(flooded) as flood:
        for _ in range(20):
            if not flood.send(*[FLOODS[kind]] * 5_000):
                break


@pytest.mark.parametrize("kind", ["pings", "settings"])
def test_T67_who_does_not_read_the_answers_to_a_flood_is_cut_off(kind: str, flooded: NamedGateway, mint: Mint) -> None:
    """The gateway must not keep them (CVE-2019-9512, 9515)."""
    many = [FLOODS[kind]] * 5_000
    with others_hardly_notice(flooded, mint.token()), Flood(flooded, deaf=True) as flood:
        assert any(not flood.send(*many) for _ in range(200))


def test_T67_streams_beyond_the_limit_are_refused(flooded: NamedGateway, behind: RecordingUpstream, mint: Mint) -> None:
    """A hundred at a time; who opens more gets no more."""
    with others_hardly_notice(flooded, mint.token()), Flood(flooded) as flood:
        for number in range(400):
            frame = flood.request(2 * number + 1, path="/orders/v1/hook", ends=False)
            flood.send(frame)
        assert _until(lambda: bool(flood.of(RstStreamFrame)) or flood.ended.is_set())
        settings = next(frame for frame in flood.of(SettingsFrame) if frame.settings)
        assert settings.settings[3] == 100


def _until(holds: object, patience: float = 15.0) -> bool:
    end = time.monotonic() + patience
    while not holds():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_T67_after_all_of_it_the_gateway_answers_as_before(flooded: NamedGateway, behind: RecordingUpstream, mint: Mint) -> None:
    assert flooded.get(READ, mint.token()).status == 200
    assert flooded.get(READ).reference == "token-missing"
    with socket.create_connection(("127.0.0.1", flooded.port), timeout=5) as connection:
        for _ in range(3):
            connection.sendall(head(f"GET {HEALTH} HTTP/1.1", "Host: gw.example"))
            assert read_answer(connection).status == 200
    assert behind.seen
