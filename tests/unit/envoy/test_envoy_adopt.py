"""The warden is killed: Envoy goes on deciding calls, and the next warden takes it over, or replaces it, and never touches another process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scopeward.envoy import incarnation as incarnation_module
from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.process import identify
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from tests.kit.calls import call, calling
from tests.kit.gateway import envoy, free_port
from tests.kit.left_running import KEYS
from tests.kit.small import StoppedClock, building, revocations
from tests.kit.waiting import until

ROOT = Path(__file__).parents[3]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def orphaned(folder: Path, port: int, *also: str) -> int:
    """A node whose warden was killed; Envoy's process id."""
    command = [sys.executable, "-m", "tests.kit.left_running", str(folder), str(port), *also]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as warden:
        assert warden.stdout is not None
        try:
            assert warden.stdout.readline() == "ready\n"
        finally:
            warden.send_signal(signal.SIGKILL)
    return int(record(folder)["pid"])


def record(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return said


def change(folder: Path, **fields: Any) -> None:
    (folder / "run.json").write_text(json.dumps(record(folder) | fields))


@contextlib.asynccontextmanager
async def next_warden(folder: Path, port: int, **place: Any) -> AsyncIterator[Node]:
    state = StateDir(folder)
    state.lock()
    node = Node(state, envoy(), Place(Listen("127.0.0.1", port), **place), StoppedClock(), concurrency=1)
    try:
        yield node
    finally:
        await node.stop()
        state.unlock()


def test_envoy_survives_its_warden_and_is_taken_over(tmp_path: Path) -> None:
    pid = orphaned(tmp_path, port := free_port())

    async def life() -> None:
        assert await call(port) == (200, "one")
        assert (await call(port, headers="x-token: t\r\n"))[0] == 403
        async with next_warden(tmp_path, port) as node:
            async with calling(port) as tally:
                assert await node.adopt()
                assert node.pid == pid
                assert await node.ready() is None
                assert node.snapshot is not None
                assert node.snapshot.policy_version == "policy-one"
                before = {path: path.stat().st_ino for path in Path(node.edge.xds).rglob("*.json")}  # noqa: ASYNC240
                await node.put(building(keys=KEYS, revoked=["t"]))
                assert {path: path.stat().st_ino for path in Path(node.edge.xds).rglob("*.json")} == before  # noqa: ASYNC240
                await node.push(["revoke-recent"], node.snapshot.with_extensions({"revoke-recent": revocations(["u"])}))
                assert (await call(port, headers="x-token: u\r\n"))[0] == 403
                await node.put(building("two", keys=KEYS))
                assert await call(port) == (200, "two")
                assert node.pid == pid
            assert tally.lost == []
            ending = asyncio.create_task(node.wait())
            os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(ending, 5)

    run(life())


def test_what_is_detached_is_adopted(tmp_path: Path) -> None:
    async def life() -> None:
        async with next_warden(tmp_path, port := free_port()) as first:
            await first.put(building(keys=KEYS))
            first.note(revocations=3)
            pid = first.pid
            await first.detach()
            await first.stop()
            assert not first.runs
        async with next_warden(tmp_path, port) as second:
            assert await second.adopt()
            assert second.pid == pid
            second.note(more=1)
            said = json.loads((tmp_path / "in-force.json").read_text())
            assert (said["revocations"], said["more"]) == (3, 1)

    run(life())


def test_nothing_that_runs_is_nothing_to_adopt(tmp_path: Path) -> None:
    pid = orphaned(tmp_path, port := free_port())
    os.kill(pid, signal.SIGKILL)

    async def life() -> None:
        await until(lambda: identify(pid) is None)
        async with next_warden(tmp_path, port) as node:
            assert not await node.adopt()
            assert not node.runs
            await node.put(building(keys=KEYS))
            assert await call(port) == (200, "one")
            assert [p.name for p in (tmp_path / "envoys").iterdir()] == [node.incarnation]

    run(life())


@pytest.mark.parametrize("text", ["", '{"pid": ', "[]", "null"])
def test_a_damaged_record_names_no_envoy_and_the_port_is_said_to_be_taken(tmp_path: Path, text: str) -> None:
    pid = orphaned(tmp_path, port := free_port())
    good = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text)

    async def life() -> None:
        async with next_warden(tmp_path, port) as node:
            assert not await node.adopt()
            with pytest.raises(ScopewardError) as error:
                await node.put(building(keys=KEYS))
            assert error.value.reference.id == "port-in-use"
            assert identify(pid) is not None
        (tmp_path / "run.json").write_text(good)
        async with next_warden(tmp_path, port) as node:
            assert await node.adopt()

    run(life())


def test_a_record_that_names_another_process_leaves_it_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        here = identify(other.pid)
        state = StateDir(tmp_path)
        name = "20261124T110000Z-abc123"
        (tmp_path / "envoys" / name).mkdir()
        (tmp_path / "envoys" / name / "bootstrap.json").write_text("{}")
        assert here is not None
        said = {"pid": here.pid, "start_time": here.start_time, "boot_id": here.boot_id, "binary": sys.executable, "version": "1.40.0", "sha256": ""}
        state.write_json("run.json", said | {"incarnation": name, "admin": str(tmp_path / "admin.sock"), "beside": None})

        async def life() -> None:
            async with next_warden(tmp_path, free_port()) as node:
                assert not await node.adopt()
                await node.put(building(keys=KEYS))

        try:
            run(life())
            assert identify(other.pid) == here
        finally:
            other.kill()


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-30])


def resign(path: Path) -> None:
    """Other content with its right hash: only Envoy's statistics tell that it is not in force."""
    from scopeward.compile.snapshot import File  # noqa: PLC0415

    resources = json.loads(path.read_text().replace("rule.other", "rule.others"))["resources"]
    path.write_text(File.of(tuple(resources)).text)


TAMPERED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a published file cut off": ("xds/routes/routes.json", cut),
    "a published file changed": ("xds/extensions/decide/filter.json", lambda path: path.write_text(path.read_text().replace("rule.other", "rule.others"))),
    "a published file replaced": ("xds/extensions/decide/filter.json", resign),
    "a published file gone": ("xds/clusters/clusters.json", lambda path: path.unlink()),
    "another bootstrap": ("bootstrap.json", lambda path: path.write_text('{"node": {"id": "x"}}')),
    "a bootstrap cut off": ("bootstrap.json", cut),
}


@pytest.mark.parametrize("fault", TAMPERED)
def test_what_is_not_as_it_was_written_is_replaced_and_no_call_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(incarnation_module, "DRAIN_TIME", 1)
    pid = orphaned(tmp_path, port := free_port())
    path, harm = TAMPERED[fault]
    harm(tmp_path / "envoys" / record(tmp_path)["incarnation"] / path)

    async def life() -> None:
        async with next_warden(tmp_path, port) as node:
            assert not await node.adopt()
            assert node.pid == pid
            assert await node.ready() == "the running Envoy is not known, and not replaced yet"
            with pytest.raises(ScopewardError):
                await node.push(["decide"], building(keys=KEYS)(node.edge))
            async with calling(port, keeping=2, fresh=0) as tally:
                await node.put(building("two", keys=KEYS))
                assert node.pid != pid
                await until(lambda: identify(pid) is None, 20)
                assert await call(port) == (200, "two")
            assert tally.lost == []

    run(life())


def test_another_binary_or_other_settings_are_replaced(tmp_path: Path) -> None:
    pid = orphaned(tmp_path, port := free_port())

    async def life() -> None:
        change(tmp_path, sha256="0" * 64)
        async with next_warden(tmp_path, port) as node:
            assert not await node.adopt()
            assert node.pid == pid
            await node.detach()
        change(tmp_path, sha256=envoy().digest)
        async with next_warden(tmp_path, port, heap=1 << 30) as node:
            assert not await node.adopt()
            await node.put(building(keys=KEYS))
            assert node.pid != pid
            await until(lambda: identify(pid) is None, 20)

    run(life())


def test_one_that_does_not_answer_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incarnation_module, "STOP_PATIENCE", 0.3)
    pid = orphaned(tmp_path, port := free_port())
    os.kill(pid, signal.SIGSTOP)

    async def life() -> None:
        async with next_warden(tmp_path, port) as node:
            assert not await node.adopt()
            assert node.pid == pid
            os.kill(pid, signal.SIGKILL)
            await node.wait()
            await node.put(building(keys=KEYS))
            assert await call(port) == (200, "one")

    run(life())


def test_the_second_envoy_of_a_replacement_that_was_cut_short_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incarnation_module, "DRAIN_TIME", 1)
    port = free_port()

    async def cut_short() -> tuple[int, int]:
        async with next_warden(tmp_path, port) as node:
            await node.put(building(keys=KEYS))
            old = node.pid
            async with calling(port, keeping=1, fresh=0):
                await node.put(building("two", keys=KEYS, chain="-2"))
                new = node.pid
                await node.detach()
        return old, new

    async def life() -> None:
        old, new = await cut_short()
        assert identify(old) is not None
        async with next_warden(tmp_path, port) as node:
            assert await node.adopt()
            assert node.pid == new
            await until(lambda: identify(old) is None, 20)
            await until(lambda: record(tmp_path)["beside"] is None)
            assert await call(port) == (200, "two")

    run(life())


def test_an_envoy_that_refused_all_calls_still_does_when_it_is_taken_over(tmp_path: Path) -> None:
    orphaned(tmp_path, port := free_port(), "refuse")

    async def life() -> None:
        async with next_warden(tmp_path, port) as node:
            assert await node.adopt()
            assert node.refusing
            assert (await call(port))[0] == 503
            with pytest.raises(RuntimeError):
                await node.readmit()
            await node.put(building("two", keys=KEYS, rules=["b"]))
            assert (await call(port))[0] == 503
            await node.readmit()
            assert await call(port) == (200, "two")
            assert await node.ready() is None

    run(life())


def test_a_warden_that_was_killed_amid_publishing_is_followed_by_one_that_finishes(tmp_path: Path) -> None:
    orphaned(tmp_path, port := free_port())

    async def life() -> None:
        async with next_warden(tmp_path, port) as node:
            assert await node.adopt()
            current = node._running()[0]
            half = building("two", keys=KEYS, rules=["b"])(node.edge)
            await current.publisher.take({path: file for path, file in half.files().items() if path.startswith("extensions/")}, current.admin)
            await node.detach()
        async with next_warden(tmp_path, port) as node:
            assert await node.adopt()
            await node.put(building("two", keys=KEYS, rules=["b"]))
            assert await call(port) == (200, "two")
            said = json.loads((tmp_path / "in-force.json").read_text())
            assert node.snapshot is not None
            assert (said["snapshot"], said["policy_version"]) == (node.snapshot.version, "policy-two")

    run(life())


def test_another_version_of_the_binary_needs_its_own_path(tmp_path: Path) -> None:
    pid = orphaned(tmp_path, port := free_port())
    change(tmp_path, binary="/usr/bin/true")

    async def life() -> None:
        async with next_warden(tmp_path, port) as node:
            assert not await node.adopt()
            assert not node.runs
        change(tmp_path, binary=str(envoy().path))
        async with next_warden(tmp_path, port) as node:
            node._binary = replace(envoy(), version="1.40.1")
            assert not await node.adopt()
            assert node.pid == pid

    run(life())
