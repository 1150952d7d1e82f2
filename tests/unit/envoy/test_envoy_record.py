"""run.json: a process is ours only where everything says so; a file that was cut off or changed names nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from scopeward.envoy.process import Process, identify, launch
from scopeward.envoy.record import RunRecord, is_ours, read_records, write_records
from scopeward.envoy.state_dir import StateDir, bootstrap_path
from tests.kit.waiting import until

NAME, OTHER = "20261124T110000Z-abc123", "20261124T110001Z-abc124"


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path)


@pytest.fixture
def record(state: StateDir) -> Iterator[RunRecord]:
    """A process that was started as an Envoy of ours is."""
    path = bootstrap_path(state.root, NAME)
    path.parent.mkdir()
    path.write_text("{}")
    command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)", "-c", str(path)]

    async def start() -> Process:
        process = await launch(command, state.root / "envoy.log", lambda _: None)
        await until(lambda: "launch.py" not in Path(f"/proc/{process.identity.pid}/cmdline").read_text())
        process.release()
        return process

    identity = asyncio.run(start()).identity
    yield RunRecord(identity.pid, identity.start_time, identity.boot_id, sys.executable, "1.40.0", "0" * 64, NAME, str(path.parent / "admin.sock"))
    if identify(identity.pid) == identity:
        os.kill(identity.pid, signal.SIGKILL)


def test_what_is_written_is_read(state: StateDir, record: RunRecord) -> None:
    assert read_records(state) == (None, None)
    write_records(state, record)
    assert read_records(state) == (record, None)
    write_records(state, record, record)
    assert read_records(state) == (record, record)
    write_records(state, None, record)
    assert read_records(state) == (record, None)
    write_records(state, None)
    assert not (state.root / "run.json").exists()


def test_a_process_that_ended_is_not_ours(state: StateDir, record: RunRecord) -> None:
    write_records(state, record)
    os.kill(record.pid, signal.SIGKILL)
    while identify(record.pid) is not None:
        pass
    assert read_records(state) == (None, None)


CHANGES: dict[str, dict[str, Any]] = {
    "another process of ours": {"pid": os.getpid()},
    "the first process": {"pid": 1},
    "nobody": {"pid": 2**22 + 1},
    "a group of processes": {"pid": -1},
    "all processes": {"pid": 0},
    "another start": {"start_time": 1},
    "another boot": {"boot_id": "x"},
    "another binary": {"binary": "/usr/bin/true"},
    "another life": {"incarnation": OTHER},
    "a way out": {"incarnation": "../../" + NAME},
    "a text for a number": {"pid": "1"},
    "a truth for a number": {"pid": True},
    "a fraction": {"start_time": 1.5},
    "nothing": {"sha256": None},
    "a number for a text": {"admin": 7},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_that_was_changed_names_nobody(state: StateDir, record: RunRecord, change: str) -> None:
    state.write_json("run.json", asdict(record) | CHANGES[change] | {"beside": None})
    assert read_records(state) == (None, None)


def test_even_with_its_true_start_another_process_is_not_ours(state: StateDir, record: RunRecord) -> None:
    here = identify(os.getpid())
    assert here is not None
    assert not is_ours(replace(record, pid=here.pid, start_time=here.start_time), state)


def test_a_record_with_the_admin_socket_of_another_is_not_ours(state: StateDir, record: RunRecord, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("a") / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert not is_ours(replace(record, admin=str(path)), state)
    assert is_ours(replace(record, admin=str(path)), state)  # nobody listens: then nobody can be called there


def test_an_envoy_of_another_state_directory_is_not_ours(tmp_path: Path, record: RunRecord) -> None:
    assert not is_ours(record, StateDir(tmp_path.parent / "another"))


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "cut off": lambda text: text[: len(text) // 2],
    "a list": lambda text: f"[{text}]",
    "null": lambda _: "null",
    "a field missing": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "boot_id"}),
    "a field too many": lambda text: json.dumps(json.loads(text) | {"more": 1}),
    "not text": lambda _: "\x00",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_names_nobody(state: StateDir, record: RunRecord, damage: str) -> None:
    write_records(state, record)
    path = state.root / "run.json"
    path.write_text(DAMAGES[damage](path.read_text()))
    assert read_records(state) == (None, None)


def test_damage_to_the_one_beside_leaves_the_one_in_charge(state: StateDir, record: RunRecord) -> None:
    state.write_json("run.json", asdict(record) | {"beside": {"pid": os.getpid()}})
    assert read_records(state) == (record, None)
