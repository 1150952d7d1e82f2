"""A policy of several files is followed: those that are there, and those that come."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scopeward.errors import ScopewardError
from scopeward.policy.bundle import Bundle
from scopeward.policy.source import load_files
from scopeward.policy_files import read_policy, stored
from scopeward.warden import Warden
from scopeward.warden.tasks import keep_policy

ROOT = """\
version: 1
include: teams/*.yaml
environments: {dev: {host: dev.example}, prod: {host: api.example}}
public_url: https://${env.host}
issuers:
  idp: {issuer: "https://login.${env.host}/", jti: required}
"""
SCOPE = "scopes: {read.%s: {says: Read}}\n"


class Taker:
    """A warden that takes every policy."""

    def __init__(self) -> None:
        self.taken: list[Bundle] = []

    def is_new(self, files: Bundle) -> bool:
        return not self.taken or files != self.taken[-1]

    async def apply(self, files: Bundle, _path: Path) -> Any:
        self.taken.append(files)
        return files


def written(folder: Path) -> Path:
    (folder / "teams").mkdir()
    (folder / "teams" / "a.yaml").write_text(SCOPE % "a")
    path = folder / "p.yaml"
    path.write_text(ROOT)
    return path


def put(path: Path, text: str) -> None:
    """At once and whole, since half of a file is another policy."""
    made = path.parents[1] / f"{path.name}.made"
    made.write_text(text)
    made.replace(path)


async def until(that: Callable[[], bool]) -> None:
    for _ in range(400):
        if that():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to be")


def scopes(files: Bundle) -> list[str]:
    loaded: Any = load_files(files.files, files.root, files.env)
    return [scope.name for scope in loaded.policy.scopes]


def test_files_are_followed_wherever_they_are(tmp_path: Path) -> None:
    path = written(tmp_path)
    warden: Any = Taker()
    told: list[Any] = []

    async def life() -> None:
        following = asyncio.ensure_future(keep_policy(warden, path, told.append, "prod"))
        await until(lambda: len(warden.taken) == 1)
        put(tmp_path / "teams" / "b.yaml", SCOPE % "b")
        await until(lambda: len(warden.taken) == 2)
        put(tmp_path / "teams" / "a.yaml", SCOPE % "c")
        await until(lambda: len(warden.taken) == 3)
        (tmp_path / "more").mkdir()
        put(tmp_path / "more" / "d.yaml", SCOPE % "d")
        put(path, ROOT.replace("teams/*.yaml", "[teams/b.yaml, more/*.yaml]"))
        await until(lambda: len(warden.taken) == 4)
        put(tmp_path / "more" / "e.yaml", SCOPE % "e")
        await until(lambda: len(warden.taken) == 5)
        put(tmp_path / "teams" / "f.yaml", SCOPE % "f")  # nobody includes it
        path.unlink()
        await until(lambda: isinstance(told[-1], ScopewardError))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(life())
    assert [scopes(files) for files in warden.taken] == [
        ["read.a"],
        ["read.a", "read.b"],
        ["read.c", "read.b"],
        ["read.d", "read.b"],
        ["read.d", "read.e", "read.b"],
    ]
    assert {files.env for files in warden.taken} == {"prod"}
    assert told[-1].reference.id == "policy-unreadable"


def test_a_node_of_one_environment_takes_no_policy_of_another(tmp_path: Path) -> None:
    path = written(tmp_path)
    noted: dict[str, Any] = {}
    warden = Warden.__new__(Warden)
    warden.node = type("Node", (), {"note": lambda _self, **more: noted.update(more)})()  # type: ignore[assignment]
    warden._tried, warden._only_env = None, "prod"
    applied = tmp_path / "applied.yaml"
    applied.write_text(stored(read_policy(path, "dev")))
    files = read_policy(applied)
    with pytest.raises(ScopewardError) as caught:
        asyncio.run(warden.apply(files, applied))
    assert str(caught.value) == "env-other: the policy is for the environment 'dev', and this node is one of the environment 'prod'"
    assert noted["refused"]["sha256"] == read_policy(path, "dev").sha256
    assert not warden.is_new(files)


def test_folders_may_go_and_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    path = written(folder)
    warden: Any = Taker()
    told: list[Any] = []

    async def life() -> None:
        following = asyncio.ensure_future(keep_policy(warden, path, told.append, "dev"))
        await until(lambda: len(warden.taken) == 1)
        shutil.rmtree(folder / "teams")
        await until(lambda: len(warden.taken) == 2)
        shutil.rmtree(folder)
        await until(lambda: isinstance(told[-1], ScopewardError))
        folder.mkdir()
        written(folder)
        await until(lambda: len(warden.taken) == 3)
        assert not following.done()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(life())
    assert [sorted(files.files) for files in warden.taken] == [["p.yaml", "teams/a.yaml"], ["p.yaml"], ["p.yaml", "teams/a.yaml"]]


def test_a_policy_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    warden: Any = Taker()
    told: list[Any] = []

    async def life() -> None:
        following = asyncio.ensure_future(keep_policy(warden, folder / "p.yaml", told.append, "dev"))
        await until(lambda: bool(told))
        folder.mkdir()
        written(folder)
        await until(lambda: len(warden.taken) == 1)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(life())
    assert told[0].reference.id == "policy-unreadable"
