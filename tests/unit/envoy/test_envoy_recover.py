from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scopeward.compile.snapshot import Edge, Snapshot
from scopeward.envoy.recover import recover
from scopeward.errors import ScopewardError
from tests.kit.small import file_versions, small

EDGE = Edge("n", "127.0.0.1", 8080, "/audit", "/xds")


@pytest.fixture
def snapshot() -> Snapshot:
    return small(EDGE, secrets={"up": "authorities"})


@pytest.fixture
def xds(tmp_path: Path, snapshot: Snapshot) -> Path:
    for path, file in snapshot.files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(file.text)
    return tmp_path


def test_the_files_of_a_snapshot_are_that_snapshot(xds: Path, snapshot: Snapshot) -> None:
    found = recover(xds, "policy")
    assert file_versions(found) == file_versions(snapshot)
    assert {path: file.text for path, file in found.files().items()} == {path: file.text for path, file in snapshot.files().items()}
    assert (found.version, found.policy_version) == (snapshot.version, "policy")


@pytest.mark.parametrize("path", ["routes/routes.json", "listeners/listeners.json", "extensions/decide/filter.json", "secrets/up/secret.json"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-20],
        lambda text: text.replace("8080", "8081").replace("one", "two").replace("rule.", "rulf.").replace("authorities", "somebody"),
        lambda _text: "{}",
        lambda _text: "[]",
        lambda _text: "[" * 100_000,
        lambda _text: '{"version_info": "x", "resources": [1]}',
        lambda text: json.dumps(json.loads(text) | {"version_info": "000000000000"}),
        lambda text: json.dumps(json.loads(text) | {"version_info": None}),
    ],
)
def test_a_file_that_was_changed_is_refused(xds: Path, path: str, change: Callable[[str], str]) -> None:
    changed = change((xds / path).read_text())
    assert changed != (xds / path).read_text()
    (xds / path).write_text(changed)
    with pytest.raises(ScopewardError) as refused:
        recover(xds, "policy")
    assert refused.value.reference.id == "state-damaged"
    assert "authorities" not in str(refused.value)


def test_a_file_that_is_missing_is_refused(xds: Path) -> None:
    (xds / "extensions" / "decide" / "filter.json").unlink()
    with pytest.raises(ScopewardError):
        recover(xds, "policy")


def test_a_filter_in_the_place_of_another_is_refused(xds: Path) -> None:
    files: Any = xds / "extensions"
    (files / "decide" / "filter.json").write_text((files / "revoke-recent" / "filter.json").read_text())
    with pytest.raises(ScopewardError, match="another filter"):
        recover(xds, "policy")
