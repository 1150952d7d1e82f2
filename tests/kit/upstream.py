"""An upstream that notes every byte it receives."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

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


class RecordingUpstream:
    """Answers 200 to everything, or what ``answer`` holds. ``seen`` is what arrived, in order."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.seen: list[Seen] = []
        self.answer: bytes | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    if not (data := connection.recv(65536)):
                        return
                    buffer += data
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                line, *rest = head.decode("latin-1").split("\r\n")
                headers = tuple((k, v.strip()) for k, _, v in (h.partition(":") for h in rest))
                body, buffer = self._body(headers, buffer, connection)
                self.seen.append(Seen(line, headers, body, head + b"\r\n\r\n" + body))
                connection.sendall(self.answer or b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")

    def _body(self, headers: tuple[tuple[str, str], ...], buffer: bytes, connection: socket.socket) -> tuple[bytes, bytes]:
        named = {k.lower(): v for k, v in headers}
        if "chunked" in named.get("transfer-encoding", ""):
            while not buffer.endswith(b"\r\n\r\n") and b"0\r\n" not in buffer:
                buffer += connection.recv(65536)
            return buffer, b""
        length = int(named.get("content-length", "0"))
        while len(buffer) < length:
            buffer += connection.recv(65536)
        return buffer[:length], buffer[length:]
