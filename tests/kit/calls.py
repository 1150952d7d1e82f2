"""Calls that go on while something happens, and whether each of them got its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Answers by status and body, and what went wrong with calls that got none.

    ``unheard`` are those on a new connection that was reset before anybody read from it; ``lost`` are all others.
    """

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.answers.values())


class _Connection:
    """One HTTP/1.1 connection: a caller that keeps it as long as the server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, path: str, *, keep: bool, headers: str = "") -> tuple[int, str]:
        if self._streams is None:
            self.answered = 0
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        closing = "" if keep else "connection: close\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n{headers}{closing}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        self.answered += 1
        if not keep or fields.get("connection") == "close":
            await self.close()
        return int(head.split(" ")[1]), body.decode()

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def call(port: int, path: str = "/", headers: str = "") -> tuple[int, str]:
    """One call on a connection of its own."""
    connection = _Connection(port)
    try:
        return await connection.call(path, keep=False, headers=headers)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def calling(port: int, keeping: int = 4, fresh: int = 2) -> AsyncIterator[Tally]:
    """Callers that call without a pause: on connections that they keep, and on one a call."""
    tally, ending = Tally(), asyncio.Event()
    kinds = [True] * keeping + [False] * fresh
    tasks = [asyncio.create_task(_call_on(port, keep, tally, ending)) for keep in kinds]
    try:
        yield tally
    finally:
        ending.set()
        await asyncio.gather(*tasks)


async def _call_on(port: int, keep: bool, tally: Tally, ending: asyncio.Event) -> None:
    connection = _Connection(port)
    while not ending.is_set():
        try:
            tally.answers[await connection.call("/", keep=keep)] += 1
        except (OSError, EOFError) as error:
            unheard = isinstance(error, ConnectionResetError) and not connection.answered
            (tally.unheard if unheard else tally.lost).append(f"{'kept' if keep else 'fresh'}: {error!r}")
            await connection.close()
        await asyncio.sleep(0.002)
    await connection.close()
