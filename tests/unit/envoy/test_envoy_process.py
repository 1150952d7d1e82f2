"""A process beside the warden: known before it begins, nobody's child, and never taken for another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scopeward.envoy import process as process_module
from scopeward.envoy.process import Identity, Process, command_line, identify, launch
from scopeward.errors import ScopewardError
from tests.kit.waiting import until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 20))


def sleeper(folder: Path) -> list[str]:
    """A command that waits, and that the end of the test finds by the folder in it."""
    return [sys.executable, "-I", "-S", "-c", "import sys, time; time.sleep(60)", str(folder)]


async def ended(process: Process) -> None:
    process.signal(signal.SIGKILL)
    assert await process.wait(10)
    process.release()


def test_a_process_is_known_by_number_start_and_boot() -> None:
    here = identify(os.getpid())
    assert here is not None
    assert here == identify(os.getpid())
    assert here.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert command_line(os.getpid())[0]


def test_a_number_that_nobody_has_is_nobody() -> None:
    assert identify(2**22 + 1) is None
    assert command_line(2**22 + 1) == ()


def test_a_name_with_parentheses_and_spaces_is_no_obstacle(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to(sys.executable)

    async def life() -> None:
        process = await launch([str(program), *sleeper(tmp_path)[1:]], tmp_path / "log", lambda _: None)
        await asyncio.sleep(0.1)
        assert identify(process.identity.pid) == process.identity
        await ended(process)

    run(life())


@pytest.mark.parametrize("other", [{"start_time": 1}, {"boot_id": "another"}])
def test_another_process_with_the_same_number_is_not_watched(other: dict[str, Any]) -> None:
    async def life() -> Process | None:
        here = identify(os.getpid())
        assert here is not None
        return Process.attach(replace(here, **other))

    assert run(life()) is None


def opened(proc: Path) -> dict[int, Path]:
    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
        return {int(entry.name): entry.readlink() for entry in (proc / "fd").iterdir()}
    return {}


def test_it_is_nobodys_child_and_takes_nothing_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWARD_SECRET", "not for Envoy")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)

    async def life() -> None:
        process = await launch(sleeper(tmp_path), tmp_path / "log", lambda _: None)
        proc = Path(f"/proc/{process.identity.pid}")
        await until(lambda: b"launch.py" not in (proc / "cmdline").read_bytes() and (proc / "environ").read_bytes() != b"")
        parent, group = (proc / "stat").read_text().rsplit(")", 1)[1].split()[1:3]
        assert int(parent) != os.getpid()
        assert int(group) != os.getpgrp()
        assert (proc / "environ").read_bytes().split(b"\0")[:-1] == [f"PATH={os.defpath}".encode()]
        await until(lambda: opened(proc) == {0: Path("/dev/null"), 1: Path("/dev/null"), 2: tmp_path / "log"})  # it reads files as it begins
        assert resource.prlimit(process.identity.pid, resource.RLIMIT_NOFILE)[0] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        await ended(process)

    run(life())
    os.close(reading)
    os.close(writing)


def test_its_log_is_private(tmp_path: Path) -> None:
    async def life() -> None:
        process = await launch([sys.executable, "-c", "import sys; sys.stderr.write('told')"], tmp_path / "log", lambda _: None)
        assert await process.wait(10)
        process.release()

    run(life())
    assert (tmp_path / "log").read_text() == "told"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_it_does_not_begin_before_it_is_recorded(tmp_path: Path) -> None:
    seen = []

    def known(identity: Identity) -> None:
        seen.append((identity, identify(identity.pid), (tmp_path / "begun").exists()))

    async def life() -> None:
        process = await launch(["/bin/sh", "-c", f"touch {tmp_path}/begun"], tmp_path / "log", known)
        assert await process.wait(10)
        process.release()

    run(life())
    ((identity, found, begun),) = seen
    assert identity == found
    assert not begun
    assert (tmp_path / "begun").exists()


def test_it_does_not_begin_where_it_cannot_be_recorded(tmp_path: Path) -> None:
    pids = []

    def full(identity: Identity) -> None:
        pids.append(identity.pid)
        raise ScopewardError("state-unwritable", "no space")

    async def life() -> None:
        with pytest.raises(ScopewardError, match="no space"):
            await launch(["/bin/sh", "-c", f"touch {tmp_path}/begun"], tmp_path / "log", full)
        await until(lambda: identify(pids[0]) is None)

    run(life())
    assert not (tmp_path / "begun").exists()


def test_a_program_that_cannot_be_run_ends_at_once(tmp_path: Path) -> None:
    async def life() -> None:
        process = await launch([str(tmp_path / "missing")], tmp_path / "log", lambda _: None)
        assert await process.wait(10)
        process.release()

    run(life())
    assert "FileNotFoundError" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("polled", [False, True])
def test_an_end_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polled: bool) -> None:
    if polled:
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.setattr(process_module, "POLL_EVERY", 0.01)

    async def life() -> None:
        process = await launch(sleeper(tmp_path), tmp_path / "log", lambda _: None)
        assert not await process.wait(0.05)
        assert not process.ended
        os.kill(process.identity.pid, signal.SIGKILL)
        assert await process.wait(10)
        assert process.ended
        process.signal(signal.SIGTERM)  # to nobody, whoever has the number by now
        process.release()
        process.release()

    run(life())


def test_what_is_let_go_of_goes_on(tmp_path: Path) -> None:
    async def life() -> None:
        process = await launch(sleeper(tmp_path), tmp_path / "log", lambda _: None)
        process.release()
        again = Process.attach(process.identity)
        assert again is not None
        await ended(again)
        assert Process.attach(process.identity) is None

    run(life())


def test_where_there_is_no_proc_ps_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    started = process_module._started_by_ps(os.getpid())
    assert started is not None
    assert started == process_module._started_by_ps(os.getpid())
    assert process_module._started_by_ps(2**22 + 1) is None
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(process_module.subprocess, "run", lambda *_a, **_k: (_ for _ in ()).throw(FileNotFoundError()))
    assert process_module._started_by_ps(os.getpid()) is None
