"""scopeward status: one screen, and an exit status that a script can act on."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scopeward.cli import status as status_command
from scopeward.envoy.state_dir import StateDir
from scopeward.status.file import STATUS, write_status
from scopeward.status.look import Seen, look
from scopeward.status.node_status import Alarm, NodeStatus
from tests.kit.commands import Ran
from tests.kit.status import STATUS_OF_A_NODE, quiet_status

from .conftest import Run

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    """A state directory whose warden lives."""
    state = StateDir(tmp_path / "state")
    state.lock()
    yield state
    state.unlock()


@pytest.fixture
def envoy_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(root: Path, clock: object) -> Seen:
        return replace(look(root, clock), envoy_lives=True)  # type: ignore[arg-type]

    monkeypatch.setattr(status_command, "look", seen)


def show(run: Run, state: StateDir, *words: str, color: bool = False) -> Ran:
    return run("status", "--state-dir", str(state.root), *words, color=color)


def written(state: StateDir, status: NodeStatus) -> None:
    write_status(state.root, status)


@pytest.mark.usefixtures("envoy_lives")
def test_all_is_well(run: Run, state: StateDir, tmp_path: Path) -> None:
    path = tmp_path / "scopeward.yaml"
    path.write_text("version: 1\n")
    now = time.time()
    policy = replace(quiet_status().policy, path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), confirmed_at=now - 3700)
    written(state, replace(quiet_status(now), policy=policy))
    ran = show(run, state)
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[:3] == ["all is well", "", "policy        403c7d2d85d8, in force for 1 h 1 min, confirmed by Envoy"]
    for words in (
        "node          node-ace81327",
        "warden        Scopeward 0.1.0, pid 101, up 2 h 5 min",
        "Envoy         1.40.0, pid 102, up 2 h 4 min",
        "calls         0 calls, 0 refused, in the last minute",
        "issuer        dev: https://login.example.test",
        "              2 keys, read 12 s ago, good for 23 h 59 min, clock +0 s",
        "upstream      orders: https://orders.example.test",
        "revocations   none",
        "observed      nothing",
        "disk          fine, 12 GiB free",
    ):
        assert words in lines, words
    path.write_text("version: 2\n")
    assert (show(run, state).status, "differs from what is in force" in show(run, state).out.replace("\n  ", " ")) == (1, True)


@pytest.mark.usefixtures("envoy_lives")
def test_what_needs_attention_stands_above(run: Run, state: StateDir) -> None:
    now = time.time()
    old = STATUS_OF_A_NODE
    written(state, replace(old, taken_at=now, alarms=(Alarm(now - 90.5, "state-damaged", old.alarms[0].words),)))
    ran = show(run, state)
    assert ran.status == 1
    assert ran.out.startswith("! the disk is full (20 MiB are free): calls are refused with audit-unavailable;\n  free some space\n")
    assert "! state-damaged, for 1 min 30 s: the copy of the keys of 'old' is cut off\n" in ran.out
    assert "refused       since the start (in the last minute): scope-missing 15 (2),\n              token-expired 5\n" in ran.out
    assert "4 calls in the last minute, 1 failed" in ran.out


@pytest.mark.usefixtures("envoy_lives")
def test_it_fits_on_a_screen(run: Run, state: StateDir) -> None:
    written(state, replace(STATUS_OF_A_NODE, taken_at=time.time()))
    lines = show(run, state).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 55


@pytest.mark.usefixtures("envoy_lives")
def test_colours_are_for_terminals(run: Run, state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    written(state, replace(STATUS_OF_A_NODE, taken_at=time.time()))
    assert not ANSI.search(show(run, state).out)
    assert "\x1b[31m! the disk" in show(run, state, color=True).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert not ANSI.search(show(run, state, color=True).out)


@pytest.mark.usefixtures("envoy_lives")
def test_what_others_wrote_does_not_act_on_the_terminal(run: Run, state: StateDir) -> None:
    hostile = "\x1b]0;title\x07\u202e"
    status = quiet_status(time.time())
    issuers = (replace(status.issuers[0], failing_since=status.taken_at, failure=f"idp-document: {hostile}", key_ids=(hostile,)),)
    written(state, replace(status, issuers=issuers, policy=replace(status.policy, path=f"/{hostile}")))
    out = show(run, state).out
    assert out.isascii() or all(c.isprintable() or c == "\n" for c in out)
    assert "\x1b" not in out


@pytest.mark.usefixtures("envoy_lives")
def test_the_warden_is_gone_and_envoy_goes_on(run: Run, state: StateDir) -> None:
    written(state, quiet_status(time.time() - 300))
    state.unlock()
    ran = show(run, state)
    assert ran.status == 1
    assert ran.out.startswith("! the warden has been gone for 5 min; Envoy answers calls by itself, with the\n  policy,")
    assert "403c7d2d85d8" in ran.out
    assert "\nwarden        Scopeward 0.1.0, pid 101, gone\n" in ran.out


def test_a_warden_that_starts(run: Run, state: StateDir) -> None:
    ran = show(run, state)
    assert ran.status == 1
    assert "the warden is starting" in ran.out


def test_envoy_is_gone(run: Run, state: StateDir) -> None:
    written(state, quiet_status(time.time()))
    ran = show(run, state)
    assert (ran.status, "! Envoy does not run: no call is answered" in ran.out) == (1, True)


@pytest.mark.usefixtures("envoy_lives")
def test_a_damaged_status(run: Run, state: StateDir) -> None:
    (state.root / STATUS).write_text("{")
    ran = show(run, state)
    assert (ran.status, "'status.json' cannot be read" in ran.out) == (1, True)


@pytest.mark.usefixtures("envoy_lives")
def test_in_json(run: Run, state: StateDir) -> None:
    written(state, quiet_status(time.time()))
    ran = show(run, state, "-o", "json")
    assert (ran.status, ran.json["ok"], ran.json["attention"], ran.json["policy_file"]) == (0, True, [], None)
    assert ran.json["status"]["policy"]["version"] == "403c7d2d85d8"
    written(state, replace(STATUS_OF_A_NODE, taken_at=time.time()))
    ran = show(run, state, "-o", "json")
    assert (ran.status, ran.json["ok"]) == (1, False)
    assert ran.json["attention"][0]["urgent"]


def test_where_nothing_runs(run: Run, tmp_path: Path) -> None:
    for root in (tmp_path / "nowhere", StateDir(tmp_path / "ended").root):
        ran = run("status", "--state-dir", str(root))
        assert (ran.status, ran.out) == (3, "")
        assert "error[node-not-running]" in ran.err
    assert not (tmp_path / "nowhere").exists()
    assert run("status", "--state-dir", str(tmp_path / "nowhere"), "-o", "json").json["error"]["reference"] == "node-not-running"


def test_a_node_of_dev_is_pointed_at(run: Run, tmp_path: Path) -> None:
    dev = StateDir(tmp_path / "state" / "dev")
    dev.lock()
    ran = run("status", "--state-dir", str(tmp_path / "state"))
    assert (ran.status, f"Something runs elsewhere: --state-dir {dev.root}." in ran.err) == (3, True)
    dev.unlock()


def test_another_versions_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "layout.json").write_text('{"layout": 99, "node": "n"}')
    ran = run("status", "--state-dir", str(tmp_path))
    assert (ran.status, "error[state-version]" in ran.err) == (3, True)
