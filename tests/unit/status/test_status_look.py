from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from scopeward.envoy.record import RunRecord, write_records
from scopeward.envoy.state_dir import RUN, StateDir
from scopeward.errors import ScopewardError
from scopeward.policy_files import Bundle, read_policy, stored
from scopeward.status import look as look_module
from scopeward.status.file import STATUS, write_status
from scopeward.status.look import Seen, compare, look, neighbours, nothing_runs
from scopeward.status.node_status import PolicyStatus
from tests.kit.clocks import SetClock
from tests.kit.status import NOW, quiet_status


def test_where_nothing_is_nothing_is_made(tmp_path: Path) -> None:
    root = tmp_path / "state"
    assert look(root, SetClock(NOW)) == Seen(NOW, warden_lives=False, envoy_lives=False)
    assert not look(root, SetClock(NOW)).runs
    assert not root.exists()


def test_a_node_that_ended_does_not_run(tmp_path: Path) -> None:
    StateDir(tmp_path)
    write_status(tmp_path, quiet_status())
    assert look(tmp_path, SetClock(NOW)) == Seen(NOW, warden_lives=False, envoy_lives=False, status=quiet_status())


RECORD = RunRecord(102, 1, "boot", "/envoy", "1.40.0", "0" * 64, "20261124T073600Z-a1b2c3", "/admin.sock")


@pytest.mark.parametrize(("records", "lives"), [((None, None), False), ((RECORD, None), True), ((None, RECORD), True)])
def test_both_processes_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: tuple[RunRecord | None, RunRecord | None], lives: bool
) -> None:
    monkeypatch.setattr(look_module, "read_records", lambda _: records)
    state = StateDir(tmp_path)
    seen = look(tmp_path, SetClock(NOW))
    assert (seen.warden_lives, seen.envoy_lives, seen.runs) == (False, lives, lives)
    state.lock()
    seen = look(tmp_path, SetClock(NOW))
    assert (seen.warden_lives, seen.envoy_lives, seen.runs) == (True, lives, True)
    state.unlock()


def test_a_record_of_nothing_that_runs_is_no_envoy(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    write_records(state, RECORD)
    assert not look(tmp_path, SetClock(NOW)).envoy_lives
    (tmp_path / RUN).write_text("{")
    assert not look(tmp_path, SetClock(NOW)).envoy_lives


def test_a_damaged_status_is_seen_as_such(tmp_path: Path) -> None:
    StateDir(tmp_path)
    (tmp_path / STATUS).write_text("{")
    seen = look(tmp_path, SetClock(NOW))
    assert (seen.status, seen.damaged) == (None, True)


def test_another_versions_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "layout.json").write_text('{"layout": 99, "node": "n"}')
    with pytest.raises(ScopewardError) as caught:
        look(tmp_path, SetClock(NOW))
    assert caught.value.reference.id == "state-version"


def test_the_policys_file_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "scopeward.yaml"
    policy = PolicyStatus(str(path), "v", hashlib.sha256(b"version: 1\n").hexdigest())
    assert compare(policy) == "unreadable"
    path.write_text("version: 1\n")
    assert compare(policy) == "same"
    path.write_text("version: 2\n")
    assert compare(policy) == "differs"
    assert compare(replace(policy, sha256=None)) is None


def test_all_the_policys_files_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "scopeward.yaml"
    path.write_text("include: teams/*.yaml\n")
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams" / "a.yaml").write_text("a")
    policy = PolicyStatus(str(path), "v", read_policy(path, "prod").sha256, environment="prod")
    assert compare(policy) == "same"
    assert compare(replace(policy, environment="dev")) == "differs"
    (tmp_path / "teams" / "b.yaml").write_text("b")
    assert compare(policy) == "differs"
    (tmp_path / "teams" / "b.yaml").unlink()
    assert compare(policy) == "same"
    (tmp_path / "teams" / "a.yaml").write_text("c")
    assert compare(policy) == "differs"


def test_what_was_applied_is_compared_with_its_environment(tmp_path: Path) -> None:
    path, files = tmp_path / "policy.yaml", Bundle("p", {"p": b"x", "q": b"y"}, "prod")
    path.write_text(stored(files))
    policy = PolicyStatus(str(path), "v", files.sha256, environment="prod")
    assert compare(policy) == "same"
    path.write_text(stored(replace(files, env="dev")))
    assert compare(policy) == "differs"
    path.write_text('{"scopeward-applied": 1,')
    assert compare(policy) == "unreadable"


def test_a_node_nearby_is_named(tmp_path: Path) -> None:
    assert nothing_runs(tmp_path, SetClock(NOW)).remedy == nothing_runs(tmp_path, SetClock(NOW)).reference.remedy
    dev = StateDir(tmp_path / "dev")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "layout.json").write_text("{")
    dev.lock()
    assert neighbours(tmp_path, SetClock(NOW)) == (tmp_path / "dev",)
    error = nothing_runs(tmp_path, SetClock(NOW))
    assert (error.reference.id, error.remedy) == ("node-not-running", f"Something runs elsewhere: --state-dir {tmp_path / 'dev'}.")
    dev.unlock()
    assert json.loads((tmp_path / "dev" / "layout.json").read_text())["node"] == dev.node
