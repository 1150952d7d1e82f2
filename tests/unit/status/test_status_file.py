from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scopeward.errors import ScopewardError
from scopeward.status.file import STATUS, from_json, read_status, to_json, write_status
from tests.kit.status import STATUS_OF_A_NODE as FULL
from tests.kit.status import quiet_status


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(to_json(FULL)) | changes)


@pytest.mark.parametrize("status", [FULL, quiet_status()])
def test_a_status_reads_as_it_was_written(status: object) -> None:
    assert from_json(to_json(status)) == status  # type: ignore[arg-type]


def test_it_carries_its_version() -> None:
    assert json.loads(to_json(FULL))["v"] == 1


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert from_json(changed(more={"a": 1})) == FULL


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"taken_at": "now"},
        {"taken_at": -1},
        {"taken_at": float("nan")},
        {"taken_at": float("inf")},
        {"taken_at": 1e300},
        {"warden": None},
        {"issuers": [{}]},
        {"disk": {"verdict": "great"}},
        {"calls": {"total": "7"}},
    ],
)
def test_what_no_warden_wrote_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a status of version 1") as caught:
        from_json(changed(**changes))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", b"\xff"])
def test_what_is_no_status_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="not a status of version 1"):
        from_json(text)


def test_the_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    write_status(tmp_path, quiet_status())
    before = (tmp_path / STATUS).stat()
    write_status(tmp_path, FULL)
    assert before.st_mode & 0o777 == 0o600
    assert (tmp_path / STATUS).stat().st_ino != before.st_ino
    assert read_status(tmp_path) == FULL
    assert [path.name for path in tmp_path.iterdir()] == [STATUS]


def test_without_a_file_there_is_no_status(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / STATUS).write_text(to_json(FULL)[:-20])
    with pytest.raises(ScopewardError) as caught:
        read_status(tmp_path)
    assert caught.value.reference.id == "state-damaged"


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    write_status(tmp_path, FULL)
    (tmp_path / STATUS).chmod(0)
    with pytest.raises(ScopewardError) as caught:
        read_status(tmp_path)
    assert caught.value.reference.id == "state-damaged"


def test_a_write_that_fails_leaves_the_old_status_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(tmp_path, FULL)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ScopewardError) as caught:
        write_status(tmp_path, replace(FULL, taken_at=2.0))
    assert (caught.value.reference.id, "No space left" in caught.value.what) == ("state-unwritable", True)
    assert read_status(tmp_path) == FULL
    assert [path.name for path in tmp_path.iterdir()] == [STATUS]
