"""What settles is in force there before the recent table loses it, also where another warden takes Envoy over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scopeward.analysis.gateway import IssuerFacts
from scopeward.compile import Edge, Snapshot
from scopeward.compile.envoy.filters import revoke
from scopeward.envoy.place import Listen, Place
from scopeward.revocation import Tables
from scopeward.tls.certificates import CertificateFiles
from scopeward.warden import Bundle, Warden
from scopeward.warden.warden import Parts
from tests.kit.one_revoked import ISSUER, POLICY, REVOKED
from tests.kit.tokens import jwks

TABLES = (revoke.RECENT_FILTER, revoke.SETTLED_FILTER)


class Node:
    """Takes snapshots as Envoy does, file by file in the filters' order, and notes after each whether the token is in recent, and in settled."""

    def __init__(self, running: Snapshot | None) -> None:
        self.place = Place(Listen("127.0.0.1", 8080))
        self.snapshot: Snapshot | None = None
        self.runs = running is not None
        self.noted: list[tuple[bool, ...]] = []
        self._running = running

    async def adopt(self) -> bool:
        self.snapshot = self._running
        return self.runs

    async def put(self, build: Callable[[Edge], Snapshot]) -> Snapshot:
        new = build(Edge("node", "127.0.0.1", 8080, "audit.jsonl", "xds"))
        self.snapshot = self.snapshot or new
        for name in TABLES:
            await self.push([name], new)
        return new

    async def push(self, names: Collection[str], snapshot: Snapshot) -> None:
        assert self.snapshot is not None
        self.snapshot = self.snapshot.with_extensions({name: snapshot.extensions[name] for name in names})
        self.noted.append(tuple(REVOKED.value in str(self.snapshot.extensions[name]) for name in TABLES))

    def note(self, **_more: Any) -> None:
        pass


def started(folder: Path, tables: Tables, running: Snapshot | None) -> Node:
    """The node after a warden's start, which found these revocations, on an Envoy that may run already."""

    async def keys(_policy: Any) -> Mapping[str, IssuerFacts]:
        return {"main": IssuerFacts(ISSUER, jwks())}

    node: Any = Node(running)
    state: Any = SimpleNamespace(root=folder)
    keeper: Any = SimpleNamespace(look=keys)
    revocations: Any = SimpleNamespace(look=lambda: tables, tables=tables)
    passes: Any = SimpleNamespace(passes=lambda _issuer, apis: dict.fromkeys(apis, "pass"), jwks=jwks)
    clock: Any = SimpleNamespace(now=lambda: 1_795_513_264.0)
    warden = Warden(Parts(state, node, keeper, revocations, passes, CertificateFiles(), clock))
    asyncio.run(warden.start(Bundle.of(POLICY, "policy.yaml"), folder / "policy.yaml"))
    assert isinstance(node, Node)
    return node


def test_a_revoked_token_is_in_a_table_at_every_moment_of_a_take_over(tmp_path: Path) -> None:
    before = started(tmp_path, Tables((REVOKED,), (), 1), None)
    assert before.noted[-1] == (True, False)
    after = started(tmp_path, Tables((), (REVOKED,), 1), before.snapshot)
    assert after.noted[0] == (True, True)
    assert after.noted[-1] == (False, True)
    assert all(any(where) for where in after.noted), after.noted
