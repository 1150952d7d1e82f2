from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scopeward.app import running
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.state_dir import IN_FORCE, StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.documents import http_client
from scopeward.store import STORE_FILE
from scopeward.warden import tasks
from tests.kit.gateway import envoy


async def start(state: StateDir) -> None:
    async with http_client() as http, running(state, envoy(), Place(Listen("127.0.0.1", 1)), http):
        pass


def test_a_store_that_is_gone_is_not_started_without(tmp_path: Path) -> None:
    """What was revoked would be good again, and nobody would know."""
    state = StateDir(tmp_path / "s")
    state.write_json(IN_FORCE, {"revocations": 7, "revoked": 2})
    with pytest.raises(ScopewardError) as refused:
        asyncio.run(start(state))
    assert refused.value.reference.id == "state-damaged"
    assert STORE_FILE in refused.value.what
    assert IN_FORCE in refused.value.remedy
    assert not state.is_locked()
    (state.root / IN_FORCE).unlink()
    asyncio.run(start(state))


@pytest.mark.parametrize("said", [{}, {"revocations": 7}, {"revocations": 7, "revoked": 0}])
def test_where_nothing_was_revoked_nothing_is_missed(tmp_path: Path, said: dict[str, Any]) -> None:
    state = StateDir(tmp_path / "s")
    state.write_json(IN_FORCE, said)
    asyncio.run(start(state))


def test_a_fault_of_one_task_ends_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_AFTER", 0.01)
    alarms: list[str] = []
    warden: Any = SimpleNamespace(alarm=lambda name, error: alarms.append(f"{name}: {error.reference.id}"))
    begun: list[int] = []

    async def main() -> None:
        twice = asyncio.Event()

        async def work(_warden: Any) -> None:
            begun.append(1)
            if len(begun) == 1:
                raise RuntimeError("a fault")
            twice.set()
            await asyncio.Event().wait()

        doing = asyncio.ensure_future(tasks.for_ever(warden, work))
        await asyncio.wait_for(twice.wait(), 5)
        doing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doing

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert alarms == ["work: gateway-error"]
    assert "a fault" in caplog.text


def test_where_nothing_can_be_watched_it_looks_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_left(*_folders: Path, **_options: Any) -> Any:
        raise OSError(24, "Too many open files")

    async def at_once(_seconds: float) -> None:
        pass

    async def main() -> int:
        return len([1 async for _ in tasks._changes(frozenset({tmp_path}))])

    monkeypatch.setattr(tasks.watchfiles, "awatch", nothing_left)
    monkeypatch.setattr(tasks.asyncio, "sleep", at_once)
    assert asyncio.run(main()) == 1
