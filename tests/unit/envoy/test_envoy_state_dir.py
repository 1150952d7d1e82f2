from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scopeward.envoy.state_dir import LONGEST_SOCKET_PATH, RESERVED_BYTES, StateDir
from scopeward.errors import ScopewardError

NAME = "20261124T110000Z-abc123"

running_as_root = pytest.mark.skipif(os.getuid() == 0, reason="to root every directory is writable")


def refused(root: Path) -> str:
    with pytest.raises(ScopewardError) as error:
        StateDir(root)
    return error.value.reference.id


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_directory_is_private_to_its_owner(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "a" / "b")
    assert mode(state.root) == 0o700
    assert {p.name for p in state.root.iterdir()} == {"applied", "envoys", "audit", "keys", "passes", "layout.json"}
    assert all(mode(p) == (0o700 if p.is_dir() else 0o600) for p in state.root.iterdir())


def test_a_directory_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    StateDir(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_file_and_the_folders_made_for_it_are_private(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "s")
    state.write("envoys/x/extensions/decide/filter.json", "{}")
    assert [mode(state.root / p) for p in ("envoys/x/extensions", "envoys/x/extensions/decide", "envoys/x/extensions/decide/filter.json")] == [
        0o700,
        0o700,
        0o600,
    ]


def test_a_node_keeps_its_name(tmp_path: Path) -> None:
    assert StateDir(tmp_path).node == StateDir(tmp_path).node
    assert StateDir(tmp_path / "other").node != StateDir(tmp_path).node


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"layout": 2}', '{"node": "n"}', "\x00", "[" * 100_000])
def test_a_damaged_layout_is_refused(tmp_path: Path, text: str) -> None:
    StateDir(tmp_path)
    (tmp_path / "layout.json").write_text(text)
    assert refused(tmp_path) == "state-version"


@pytest.mark.parametrize("layout", [0, 1, 3, "2", None])
def test_another_versions_layout_is_refused_and_left_as_it_is(tmp_path: Path, layout: object) -> None:
    StateDir(tmp_path)
    text = json.dumps({"layout": layout, "node": "n"})
    (tmp_path / "layout.json").write_text(text)
    assert refused(tmp_path) == "state-version"
    assert (tmp_path / "layout.json").read_text() == text


def test_a_directory_of_the_first_layout_is_left_as_it_is_and_says_what_of_it_to_keep(tmp_path: Path) -> None:
    for folder in ("applied", "xds", "envoy", "audit"):
        (tmp_path / folder).mkdir()
    (tmp_path / "layout.json").write_text('{"layout": 1, "node": "node-0"}')
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ScopewardError) as error:
        StateDir(tmp_path)
    assert error.value.reference.id == "state-version"
    assert "'applied'" in error.value.remedy
    assert "'audit'" in error.value.remedy
    assert sorted(tmp_path.rglob("*")) == before


def test_a_layout_that_is_not_text_is_refused(tmp_path: Path) -> None:
    StateDir(tmp_path)
    (tmp_path / "layout.json").write_bytes(b"\xff\xfe")
    assert refused(tmp_path) == "state-version"


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    assert refused(tmp_path / "s") == "state-unwritable"
    assert refused(tmp_path / "s" / "below") == "state-unwritable"


@running_as_root
def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o500)
    assert refused(tmp_path / "s" / "below") == "state-unwritable"


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert refused(tmp_path) == "state-unwritable"


def test_one_process_holds_the_directory(tmp_path: Path) -> None:
    first, second = StateDir(tmp_path), StateDir(tmp_path)
    first.lock()
    assert second.is_locked()
    with pytest.raises(ScopewardError) as error:
        second.lock()
    assert error.value.reference.id == "node-running"
    first.unlock()
    assert not second.is_locked()
    second.lock()
    second.unlock()


def test_asking_whether_it_is_held_does_not_hold_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert not state.is_locked()
    assert not state.is_locked()
    state.lock()
    state.unlock()


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.write("applied/policy.yaml", "old")
    before = (tmp_path / "applied" / "policy.yaml").stat().st_ino
    state.write("applied/policy.yaml", "new")
    assert (tmp_path / "applied" / "policy.yaml").read_text() == "new"
    assert (tmp_path / "applied" / "policy.yaml").stat().st_ino != before
    assert not list(tmp_path.rglob(".write-*"))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    (tmp_path / "applied" / "taken").mkdir()
    (tmp_path / "applied" / "taken" / "x").write_text("old")
    with pytest.raises(ScopewardError) as error:
        state.write("applied/taken", "new")
    assert error.value.reference.id == "state-unwritable"
    with pytest.raises(UnicodeEncodeError):
        state.write("applied/policy.yaml", "\ud800")
    assert not (tmp_path / "applied" / "policy.yaml").exists()
    assert not list(tmp_path.rglob(".write-*"))


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "[" * 100_000])
def test_a_damaged_record_reads_as_none(tmp_path: Path, text: str) -> None:
    state = StateDir(tmp_path)
    (tmp_path / "in-force.json").write_text(text)
    assert state.read_json("in-force.json") is None
    assert state.read_json("nothing.json") is None


def test_a_record_reads_as_it_was_written(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.write_json("in-force.json", {"b": 1, "a": "ä"})
    assert state.read_json("in-force.json") == {"a": "ä", "b": 1}


def test_the_admin_socket_is_in_a_private_folder_and_its_path_is_short_enough(tmp_path_factory: pytest.TempPathFactory) -> None:
    short = tmp_path_factory.mktemp("s")
    assert StateDir(short).admin_socket(NAME) == short / "envoys" / NAME / "admin.sock"
    state = StateDir(short / ("d" * 120))
    deep = state.admin_socket(NAME)
    assert len(os.fsencode(deep)) <= LONGEST_SOCKET_PATH
    assert mode(deep.parent) == 0o700
    state.remove_socket(deep)
    assert not deep.parent.exists()


def test_only_a_folder_that_was_made_for_a_socket_is_removed_with_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    for path in (tmp_path / "scopeward-x" / "admin.sock", tmp_path / "envoys" / "admin.sock"):
        path.parent.mkdir(exist_ok=True)
        state.remove_socket(path)
        assert path.parent.exists()


def test_space_is_reserved_in_real_blocks_and_given_back(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert not state.release_reserve()
    state.reserve()
    state.reserve()
    found = (tmp_path / "reserve").stat()
    assert found.st_size == RESERVED_BYTES
    assert found.st_blocks * 512 >= RESERVED_BYTES
    assert mode(tmp_path / "reserve") == 0o600
    assert state.release_reserve()
    assert not (tmp_path / "reserve").exists()


def test_where_nothing_can_be_reserved_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: int) -> None:
        raise OSError(28, "No space left on device")

    state = StateDir(tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ScopewardError, match="No space left") as error:
        state.reserve()
    assert error.value.reference.id == "state-unwritable"
    assert not (tmp_path / "reserve").exists()
    monkeypatch.delattr(os, "posix_fallocate")
    state.reserve()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVED_BYTES


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "somebody's").write_text("x")
    tmp_path.chmod(0o755)
    with pytest.raises(ScopewardError) as caught:
        StateDir(tmp_path)
    assert caught.value.reference.id == "state-unwritable"
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_folders_of_other_commands_may_be_there_before(tmp_path: Path) -> None:
    for name in ("dev", "demo", "idp"):
        (tmp_path / name).mkdir()
    assert StateDir(tmp_path).node.startswith("node-")
