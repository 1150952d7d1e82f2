"""The identity provider: ``scopeward idp`` in a process of its own, and a liar that takes its place at the same address."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scopeward.issuer import SigningKeys
from storm.callers import Background
from tests.kit.commands import Running, Shell
from tests.kit.gateway import free_port

AUDIENCE: Final = "api://orders"

LIES: Final = {
    "no answer": (0, b""),
    "an empty key set": (200, b'{"keys": []}'),
    "a page": (200, b"<html>login</html>"),
    "an error": (500, b"no"),
    "half a document": (200, b'{"keys": [{"kty": "RS'),
    "a key set without end": (200, b'{"keys": [' + b" " * 600_000 + b"]}"),
}
"""What the liar answers to whoever asks for keys."""


class Provider:
    """One issuer. What signs is read from its state directory, so that tokens can also be as it would never issue them."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self._shell, self._folder = shell, folder / "idp-state"
        self._port = free_port()
        self._running: Running | None = None
        self._lies = itertools.cycle(LIES.items())

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def keys(self) -> SigningKeys:
        return SigningKeys.load(self._folder / "idp")

    def start(self) -> None:
        self._running = self._shell.start("idp", "--listen", f"127.0.0.1:{self._port}", "--audience", AUDIENCE, "--state-dir", self._folder)
        self._running.says("^Ctrl-C ends it", err=False)

    def kill(self) -> None:
        """SIGKILL."""
        if self._running is not None:
            self._running.send(signal.SIGKILL)
            self._running.wait()
            self._running = None

    def rotate(self, mode: str) -> None:
        ran = self._shell.run("idp", "rotate", "--mode", mode, "--state-dir", self._folder)
        if ran.status:
            raise RuntimeError(ran.err)

    def token(self, **changes: object) -> str:
        """A good access token for an hour, but for ``changes``."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": "order-sync", "client_id": "order-sync", "scope": "read.orders", "idtyp": "app"}
        times = {"iat": now, "exp": now + 3600, "jti": os.urandom(8).hex()}
        return self.keys.sign({**claims, **times, **changes}, "at+jwt")

    @contextmanager
    def lying(self, background: Background) -> Iterator[list[str]]:
        """Instead of the provider, which must not run: each question for keys gets the next lie. Gives the lies that were told so far."""
        told: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
                if b"well-known" in await reader.readuntil(b"\r\n\r\n"):
                    status, body = 200, json.dumps({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}).encode()
                else:
                    name, (status, body) = next(self._lies)
                    told.append(name)
                if not status:
                    await reader.read()  # until the asker gives up
                    return
                head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()

        server: asyncio.Server = background.run(asyncio.start_server(serve, "127.0.0.1", self._port))
        try:
            yield told
        finally:
            background.run(_close(server))


async def _close(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()


def forged(token: str) -> str:
    """The same with another signature."""
    signed, _, signature = token.rpartition(".")
    made = bytearray(base64.urlsafe_b64decode(signature + "=="))
    made[7] ^= 1
    return f"{signed}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"
