"""An upstream that notes every byte it receives."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.kit.listening import Listening

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. ``body`` is as it was on the wire: with its chunks and trailers, if it has any."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """Every value of a header, by its name in any case."""
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def environ(self) -> dict[str, str]:
        """The headers as a WSGI application sees them (``wsgiref.simple_server.WSGIRequestHandler.get_environ``)."""
        environ: dict[str, str] = {}
        for name, value in http.client.parse_headers(io.BytesIO(self.raw.partition(b"\r\n")[2])).items():
            key = "HTTP_" + name.replace("-", "_").upper()
            environ[key] = f"{environ[key]},{value.strip()}" if key in environ else value.strip()
        return environ


class RecordingUpstream(Listening):
    """Answers 200 to everything, or what ``answer`` holds after ``delay`` seconds; an empty answer closes the connection.

    ``seen`` is what arrived, in order; ``accepted`` counts connections, also those on which nothing did.
    """

    def __init__(self, answer: bytes | None = None, delay: float = 0.0) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.answer = answer
        self.delay = delay

    @contextlib.contextmanager
    def sees_nothing(self) -> Iterator[None]:
        """Fails where a request arrives before the block ends."""
        before = len(self.seen)
        yield
        assert self.seen[before:] == [], "the upstream saw a call that was refused"

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while self._answer(stream, connection):
                pass

    def _answer(self, stream: io.BufferedReader, connection: socket.socket) -> bool:
        head = _read_head(stream)
        line, *rest = head.decode("latin-1").split("\r\n")[:-2]
        headers = tuple((k, v.strip()) for k, _, v in (h.partition(":") for h in rest))
        body = _read_body({k.lower(): v for k, v in headers}, stream)
        self.seen.append(Seen(line, headers, body, head + body))
        if self.delay:
            time.sleep(self.delay)
        answer = OK if self.answer is None else self.answer
        connection.sendall(answer)
        return answer != b""


def _read_head(stream: io.BufferedReader) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (line := stream.readline()):
            raise EOFError
        head += line
    return head


def _read_body(headers: dict[str, str], stream: io.BufferedReader) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return stream.read(int(headers.get("content-length", "0")))
    body = b""
    while True:
        if not (size := stream.readline()):
            raise EOFError
        body += size
        if not (length := int(size.split(b";")[0], 16)):
            break
        body += stream.read(length + 2)
    while True:  # trailers end with an empty line
        line = stream.readline()
        body += line
        if line in {b"\r\n", b""}:
            return body
