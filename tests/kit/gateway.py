"""A real Envoy with a policy in it, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from email.message import Message
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from scopeward.analysis.gateway import Facts, IssuerFacts, Revocation
from scopeward.app import SystemClock
from scopeward.compile.snapshot import Edge, Snapshot
from scopeward.envoy.binary import EnvoyBinary, find_envoy
from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.state_dir import StateDir
from scopeward.warden import Prepared, checked, compile_policy
from tests.kit.tokens import jwks

T = TypeVar("T")


@cache
def envoy() -> EnvoyBinary:
    return find_envoy()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def reference(self) -> str | None:
        return self.headers.get("scopeward-reference")

    @property
    def challenge(self) -> str | None:
        return self.headers.get("www-authenticate")

    def json(self) -> Any:
        return json.loads(self.body)


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """The next answer on a connection."""
    answer = http.client.HTTPResponse(connection, method=method)
    try:
        answer.begin()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        answer.close()


class RunningGateway:
    """Starts on a policy's text and an issuer's keys; ``publish`` replaces the policy; ``get`` and ``call`` make real calls."""

    def __init__(self, folder: Path, text: str, keys: str | None = None, revoked: Iterable[Revocation] = (), place: Place | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._text, self._keys, self._revoked = text, keys or jwks(), tuple(revoked)
        place = place or Place(Listen("127.0.0.1", free_port()))
        self.port = place.listen.port
        self.state = StateDir(folder)
        self.node = Node(self.state, envoy(), place, SystemClock(), concurrency=1)
        self.prepared: Prepared

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.publish(self._text, self._keys, self._revoked)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._run(self.node.stop())
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def compile(self, text: str, keys: str | None = None, revoked: Iterable[Revocation] = (), edge: Edge | None = None) -> Prepared:
        loaded, warnings = checked(text.encode(), "policy.yaml")
        facts = {i.name: IssuerFacts(i.issuer, keys or self._keys) for i in loaded.policy.issuers}
        passes = {api.name: f"pass-of-{api.name}" for api in loaded.policy.apis}
        return compile_policy(loaded, Facts(facts, tuple(revoked), passes=passes), edge or self.node.edge, warnings)

    def publish(self, text: str, keys: str | None = None, revoked: Iterable[Revocation] = ()) -> None:
        """Another policy, by the way that a warden goes; the keys stay where none are given."""

        def build(edge: Edge) -> Snapshot:
            prepared.append(self.compile(text, keys, revoked, edge))
            return prepared[-1].snapshot

        prepared: list[Prepared] = []
        self._run(self.node.put(build))
        self.prepared = prepared[-1]

    def put(self, snapshot: Snapshot) -> None:
        """A snapshot as it is, compiled for this node."""
        self._run(self.node.put(lambda _edge: snapshot))

    def call(self, method: str, path: str, token: str | None = None, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            if token is not None:
                connection.putheader("Authorization", f"Bearer {token}")
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, token: str | None = None, **more: Any) -> Answer:
        return self.call("GET", path, token, **more)

    def exchange(self, request: bytes, timeout: float = 5.0) -> Answer:
        """A request byte for byte as given, and the first answer to it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(request)
            return read_answer(connection, request.split(b" ", 1)[0].decode("latin-1"))

    def raw(self, request: bytes, timeout: float = 3.0) -> bytes:
        """Bytes in, all bytes that come back until the connection ends or is quiet."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(request)
            answer = b""
            try:
                while data := connection.recv(65536):
                    answer += data
            except TimeoutError:
                pass
            return answer

    def audit(self, count: int | None = None, patience: float = 3.0) -> list[dict[str, Any]]:
        """The audit lines so far; waits until there are ``count``."""
        end = time.monotonic() + patience
        while True:
            lines = self.node.audit_log.read_bytes().split(b"\n")[:-1]
            if count is None or len(lines) >= count or time.monotonic() > end:
                return [json.loads(line) for line in lines]
            time.sleep(0.02)
