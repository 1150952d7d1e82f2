"""The protected API: it notes which calls reached it, and whether they had the gateway's pass. ``/…/slow`` takes a second."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

from storm.callers import Background

SLOW: Final = 1.0
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Upstream:
    """Listens on a port of its own until the block ends."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._reached: set[int] = set()
        self.without_pass = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server: asyncio.Server = self._background.run(self._listen(0))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Close all connections and take no more."""
        self._background.run(self._close())

    def start_again(self) -> None:
        """At the same address."""
        self._server = self._background.run(self._listen(self.port))

    def reached(self) -> set[int]:
        """The numbers of the calls that came since this was asked last."""
        found, self._reached = self._reached, set()
        return found

    async def _listen(self, port: int) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                self._reached.add(int(fields.get("x-storm-call", "0")))
                self.without_pass += not fields.get("x-scopeward-pass")
                if head.split(" ")[1].endswith("/slow"):
                    await asyncio.sleep(SLOW)
                writer.write(OK)
                await writer.drain()
        self._writers.discard(writer)
