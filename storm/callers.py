"""Callers: each calls as its role's ruling says, without end, on connections that it keeps and on one a call."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

from storm.court import Answer, Court, Ruling

PATIENCE: Final = 10.0
"""Seconds for one call."""

Keeps = Literal["kept", "fresh", "both"]


@dataclass(frozen=True)
class Caller:
    """One caller of a role. ``keeps``: it keeps its connection, takes one a call, or does both in turn. ``pause`` is in seconds."""

    role: str
    keeps: Keeps
    pause: float


class _Connection:
    """HTTP/1.1 over TLS, as careful clients use it: a connection that the server closed while nothing was sent is not used again."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, ruling: Ruling, number: int, *, keep: bool) -> str:
        """What came of it, as ``Answer.said`` has it."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._call(ruling, number, keep=keep)
        except TimeoutError:
            await self.close()
            return "timeout"

    async def _call(self, ruling: Ruling, number: int, *, keep: bool) -> str:
        try:
            reader, writer = await self._connect()
        except OSError:
            return "no connection"
        try:
            writer.write(_request(ruling, self._port, number, keep=keep))
            said, stays = await _read(reader)
        except (OSError, EOFError, ssl.SSLError):
            await self.close()
            return "cut"
        if not (keep and stays):
            await self.close()
        return said

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        return self._streams

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.transport.abort()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


def _request(ruling: Ruling, port: int, number: int, *, keep: bool) -> bytes:
    lines = [f"GET {ruling.path} HTTP/1.1", f"host: 127.0.0.1:{port}", f"x-storm-call: {number}"]
    lines += [] if ruling.token is None else [f"authorization: Bearer {ruling.token}"]
    lines += [] if keep else ["connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """The status with the refusal's reference, and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    await reader.readexactly(int(fields.get("content-length", "0")))
    said = " ".join(filter(None, (head.split(" ")[1], fields.get("scopeward-reference"))))
    return said, fields.get("connection") != "close"


class Background:
    """An event loop in a thread of its own, for callers and for those whom the gateway calls."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any], timeout: float = 30.0) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)


class Callers:
    """All callers, until the block ends."""

    def __init__(self, background: Background, court: Court, callers: tuple[Caller, ...], port: int, context: ssl.SSLContext) -> None:
        self._background, self._court, self._callers = background, court, callers
        self._port, self._context = port, context
        self._numbers = itertools.count(1)
        self._ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def __enter__(self) -> Self:
        self._background.run(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._background.run(self._stop())

    async def _start(self) -> None:
        self._tasks = [asyncio.create_task(self._go_on(caller)) for caller in self._callers]

    async def _stop(self) -> None:
        self._ending.set()
        await asyncio.gather(*self._tasks)

    async def _go_on(self, caller: Caller) -> None:
        connection = _Connection(self._port, self._context)
        for turn in itertools.count():
            if self._ending.is_set():
                break
            await self._once(caller, connection, keep=caller.keeps == "kept" or (caller.keeps == "both" and turn % 4 > 0))
            await asyncio.sleep(caller.pause)
        await connection.close()

    async def _once(self, caller: Caller, connection: _Connection, *, keep: bool) -> None:
        ruling, number, began = self._court.ruling(caller.role), next(self._numbers), time.monotonic()
        said = await connection.call(ruling, number, keep=keep)
        self._court.judge(caller.role, ruling, Answer(number, said, began, time.monotonic()))
