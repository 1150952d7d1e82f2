"""What could not be put in force is tried again, and is not said to be in force meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scopeward.analysis.gateway import IssuerFacts
from scopeward.audit.guard import DiskGuard
from scopeward.compile import Edge, Snapshot
from scopeward.compile.envoy.filters import gateway_pass
from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.revocation import Tables
from scopeward.tls.certificates import CertificateFiles
from scopeward.warden import Bundle, Warden, tasks
from scopeward.warden.warden import Parts
from tests.kit.one_revoked import ISSUER, POLICY, REVOKED
from tests.kit.tokens import jwks

BUSY = ScopewardError("envoy-not-confirmed", "it did not take it in time")


class TakingNode:
    """Takes all that it is given; ``fails`` are the pushes, by number from 1, that it does not take."""

    def __init__(self) -> None:
        self.place = Place(Listen("127.0.0.1", 8080))
        self.snapshot: Snapshot | None = None
        self.runs = True
        self.fails: set[int] = set()
        self.pushes = 0

    async def adopt(self) -> bool:
        return False

    async def put(self, build: Callable[[Edge], Snapshot]) -> Snapshot:
        self.snapshot = build(Edge("node", "127.0.0.1", 8080, "audit.jsonl", "xds"))
        return self.snapshot

    async def push(self, names: Collection[str], snapshot: Snapshot) -> None:
        self.pushes += 1
        if self.pushes in self.fails:
            raise BUSY
        assert self.snapshot is not None
        self.snapshot = self.snapshot.with_extensions({name: snapshot.extensions[name] for name in names})

    def note(self, **_more: Any) -> None:
        pass


async def started(folder: Path) -> tuple[Warden, TakingNode, SimpleNamespace, dict[str, str]]:
    """A warden whose policy is in force, its node, its book of revocations, and the passes that will be given to it."""

    async def keys(_policy: Any) -> Mapping[str, IssuerFacts]:
        return {"main": IssuerFacts(ISSUER, jwks())}

    node, given = TakingNode(), {"orders": "pass"}
    state: Any = SimpleNamespace(root=folder)
    keeper: Any = SimpleNamespace(look=keys)
    book: Any = SimpleNamespace(look=lambda: None, tables=Tables((), (), 1))
    passes: Any = SimpleNamespace(passes=lambda _issuer, _apis: dict(given), jwks=jwks, next_renewal=lambda: 0.0)
    clock: Any = SimpleNamespace(now=lambda: 1_795_513_264.0)
    taking: Any = node
    warden = Warden(Parts(state, taking, keeper, book, passes, CertificateFiles(), clock))
    await warden.start(Bundle.of(POLICY, "policy.yaml"), folder / "policy.yaml")
    return warden, node, book, given


def test_a_revocation_that_is_made_while_envoy_is_started_again_is_in_force_afterwards(tmp_path: Path) -> None:
    async def story() -> None:
        warden, node, book, _ = await started(tmp_path)
        compiled_before, node.snapshot = node.snapshot, None
        book.tables = Tables((REVOKED,), (), 2)
        assert not await warden.look_at_revocations()
        assert warden.tables.sequence == 1
        node.snapshot = compiled_before
        assert await warden.look_at_revocations()
        assert REVOKED.value in str(node.snapshot.extensions if node.snapshot else "")
        assert warden.tables.sequence == 2

    asyncio.run(story())


def test_a_renewal_of_passes_that_failed_is_tried_again_and_stays_an_alarm(tmp_path: Path) -> None:
    async def story() -> None:
        warden, node, _, given = await started(tmp_path)
        given["orders"], node.fails = "renewed", {1, 2}
        for _look in range(2):
            assert not await tasks._tried(warden, "passes", warden.look_at_passes)
            assert list(warden.alarms) == ["passes"]
        assert await tasks._tried(warden, "passes", warden.look_at_passes)
        assert not warden.alarms
        assert node.snapshot is not None
        assert node.snapshot.extensions[gateway_pass.FILTER] == gateway_pass.table_of(given)
        assert not await warden.look_at_passes()
        assert node.pushes == 3

    asyncio.run(story())


def test_refusing_on_a_full_disk_is_tried_again_until_it_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def refuse() -> None:
        asked.append(1)
        if len(asked) == 1:
            raise BUSY

    async def failures() -> None:
        return None

    async def story() -> None:
        state = StateDir(tmp_path)
        binary: Any = None
        node = Node(state, binary, Place(Listen("127.0.0.1", 8080)), SimpleNamespace(now=lambda: 0.0))
        monkeypatch.setattr(node, "_running", lambda: [SimpleNamespace(runs=True, refuse=refuse)])
        monkeypatch.setattr(node, "write_failures", failures)
        monkeypatch.setattr(tasks, "free_space", lambda _folder: (1, 10**9))
        warden: Any = SimpleNamespace(parts=SimpleNamespace(state=state), node=node, guard=DiskGuard(), alarms={})
        warden.in_force = SimpleNamespace(loaded=SimpleNamespace(policy=SimpleNamespace(on_full="refuse")))
        warden.alarm, warden.works_again = warden.alarms.__setitem__, lambda concern: warden.alarms.pop(concern, None)
        await tasks.look_at_disk(warden)
        assert (node.refusing, node.refused, list(warden.alarms)) == (True, False, ["disk"])
        await tasks.look_at_disk(warden)
        await tasks.look_at_disk(warden)
        assert (node.refusing, node.refused, list(warden.alarms), len(asked)) == (True, True, [], 2)

    asyncio.run(story())
