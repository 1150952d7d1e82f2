"""The files of a policy on a disk: what is found, what is read, and what never is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scopeward.errors import ScopewardError
from scopeward.policy import bundle as bundle_module
from scopeward.policy.bundle import LARGEST, Bundle
from scopeward.policy.source import load_files, read
from scopeward.policy_files import folders_of, read_policy, stored


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "p.yaml"


TREE = {"p.yaml": "include: [teams/*.yaml, 'more/*/a.yaml']\n", "teams/b.yaml": "b", "teams/a.yaml": "a", "more/x/a.yaml": "x", "more/y/b.yaml": "y"}


def test_the_files_that_match_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, {**TREE, "teams/.c.yaml": "hidden", "teams/c.yml": "other", "d.yaml": "beside", "teams/x/d.yaml": "deeper"})
    found = read_policy(path, "prod")
    assert found == Bundle(
        "p.yaml", {"p.yaml": TREE["p.yaml"].encode(), "more/x/a.yaml": b"x", "teams/a.yaml": b"a", "teams/b.yaml": b"b"}, "prod", f"{tmp_path}/"
    )
    assert list(found.files) == ["p.yaml", "more/x/a.yaml", "teams/a.yaml", "teams/b.yaml"]


def test_a_file_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "d", TREE)
    monkeypatch.chdir(tmp_path)
    assert read_policy(Path("d/p.yaml")).shown("teams/a.yaml") == "d/teams/a.yaml"
    monkeypatch.chdir(tmp_path / "d")
    assert read_policy(Path("p.yaml")).shown("teams/a.yaml") == "teams/a.yaml"
    assert read_policy(Path("../d/p.yaml")).shown("p.yaml") == "../d/p.yaml"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.yaml", tmp_path / "nowhere" / "p.yaml"):
        with pytest.raises(ScopewardError) as caught:
            read_policy(path)
        assert caught.value.reference.id == "policy-unreadable"


# ── links ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    path = written(tmp_path / "policy", TREE)
    (tmp_path / "secret.yaml").write_text("hunter2")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.yaml").write_text("hunter2")
    (path.parent / "teams" / "c.yaml").symlink_to("../../secret.yaml")
    (path.parent / "teams" / "d.yaml").symlink_to(tmp_path / "secret.yaml")
    (path.parent / "more" / "z").symlink_to(tmp_path / "outside")
    (path.parent / "teams" / "e.yaml").symlink_to("/proc/self/environ")
    found = read_policy(path)
    assert dict(found.unread) == {"more/z/a.yaml": "outside", "teams/c.yaml": "outside", "teams/d.yaml": "outside", "teams/e.yaml": "outside"}
    assert all(b"hunter2" not in text for text in found.files.values())


def test_links_within_are_followed(tmp_path: Path) -> None:
    """As a mounted ConfigMap has them: the names are links to a folder that is replaced as a whole."""
    data = tmp_path / "..2026_11_24"
    written(data, {"p.yaml": "include: a.yaml\n", "a.yaml": "a"})
    (tmp_path / "..data").symlink_to("..2026_11_24")
    for name in ("p.yaml", "a.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert dict(read_policy(tmp_path / "p.yaml").files) == {"p.yaml": b"include: a.yaml\n", "a.yaml": b"a"}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    path = written(tmp_path, TREE)
    os.mkfifo(tmp_path / "teams" / "c.yaml")
    (tmp_path / "teams" / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "teams" / "nowhere.yaml").symlink_to("nowhere")
    (tmp_path / "teams" / "folder.yaml").mkdir()
    assert dict(read_policy(path).unread) == dict.fromkeys(("teams/c.yaml", "teams/loop.yaml", "teams/nowhere.yaml"), "unreadable")


def test_the_policys_own_file_is_not_read_as_another(tmp_path: Path) -> None:
    path = written(tmp_path, {"p.yaml": "include: '*.yaml'\n", "a.yaml": "a"})
    found = read_policy(path)
    assert (list(found.files), dict(found.unread)) == (["p.yaml", "a.yaml"], {})
    problems = read(found)
    assert isinstance(problems, tuple)
    assert "include-nested" in [d.reference for d in problems]


# ── too much ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_reading_ends_where_there_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, {"p.yaml": "include: teams/*\n", **{f"teams/{n:02}": "x" * 10 for n in range(30)}})
    monkeypatch.setattr("scopeward.policy_files.MOST_FILES", 20)
    assert dict(read_policy(path).unread) == {"teams/20": "too-many"}
    monkeypatch.setattr("scopeward.policy_files.LARGEST_IN_ALL", 95)
    found = read_policy(path)
    assert dict(found.unread) == {"teams/09": "too-large"}
    assert len(found.files) == 10


def test_of_a_large_file_no_more_is_read_than_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, {"p.yaml": "include: a.yaml\n", "a.yaml": ""})
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(LARGEST * 3)
    found = read_policy(path)
    assert len(found.files["a.yaml"]) == LARGEST + 1
    problems = read(found)
    assert isinstance(problems, tuple)
    assert [d.reference for d in problems] == ["policy-too-large"]


# ── the folders to watch ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_folders_are_those_of_files_and_of_files_to_come(tmp_path: Path) -> None:
    path = written(tmp_path, {**TREE, "p.yaml": "include: [teams/*.yaml, 'more/*/a.yaml', none/x.yaml]\n"})
    assert folders_of(read_policy(path), path) == {tmp_path, tmp_path / "teams", tmp_path / "more", tmp_path / "more" / "x"}
    alone = written(tmp_path / "alone", {"p.yaml": "x: 1\n"})
    assert folders_of(read_policy(alone), alone) == {tmp_path / "alone"}


# ── applied ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

POLICY = 'version: 1\npublic_url: https://${env.host}\ninclude: teams/*\nenvironments: {dev: {host: d}, prod: {host: p}}\nissuers: {i: {issuer: "https://${env.host}"}}\n'
SEVERAL = Bundle("p.yaml", {"p.yaml": POLICY.encode(), "teams/a": 'scopes: {read.x: {says: "é \\\\ \\""}}\n'.encode()}, "prod", "policies/")


def test_several_files_are_kept_as_one_with_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(stored(SEVERAL))
    found = read_policy(path)
    assert (found.root, dict(found.files), found.env) == (SEVERAL.root, dict(SEVERAL.files), "prod")
    assert found.sha256 == SEVERAL.sha256
    assert read_policy(path, "prod") == found


def test_a_policy_of_one_file_is_kept_as_it_is(tmp_path: Path) -> None:
    one = Bundle.of("version: 1 # é\n".encode(), "x/p.yaml")
    assert stored(one) == "version: 1 # é\n"
    path = tmp_path / "policy.yaml"
    path.write_text(stored(one))
    assert read_policy(path).sha256 == one.sha256
    assert stored(Bundle.of(b"version: 1\n", "p.yaml", "prod")).startswith('{"scopeward-applied": 1,"env": "prod"')


@pytest.mark.parametrize(("env", "chosen", "says"), [("dev", "prod", "it was applied for 'prod'"), ("dev", None, "it has no environments")])
def test_an_applied_policy_is_of_its_environment(tmp_path: Path, env: str, chosen: str | None, says: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(stored(Bundle("p", {"p": b"x", "q": b"y"}, chosen)))
    with pytest.raises(ScopewardError) as caught:
        read_policy(path, env)
    assert caught.value.reference.id == "env-other"
    assert caught.value.what.endswith(says)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '"env": null, "root": "p", "files": {}}',
        '"env": null, "root": "p", "files": {"p": 1}}',
        '"env": 1, "root": "p", "files": {"p": ""}}',
        '"env": null, "root": [], "files": {"p": ""}}',
        '"env": null, "root": "p", "files": []}',
    ],
)
def test_a_damaged_one_is_said_to_be_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text('{"scopeward-applied": 1,' + text)
    with pytest.raises(ScopewardError) as caught:
        read_policy(path)
    assert caught.value.reference.id == "state-damaged"


def test_no_policy_is_taken_for_an_applied_one() -> None:
    """The mark is a key that the language does not know."""
    found = load_files({"p": b'{"scopeward-applied": 1, "version": 1}'}, "p")
    assert "unknown key 'scopeward-applied'" in str(found)


def test_the_digest_is_of_all_of_it() -> None:
    digests = {
        bundle.sha256
        for bundle in (
            SEVERAL,
            Bundle(SEVERAL.root, SEVERAL.files, "dev"),
            Bundle(SEVERAL.root, SEVERAL.files),
            Bundle(SEVERAL.root, {**SEVERAL.files, "teams/b": b""}, "prod"),
            Bundle(SEVERAL.root, {"p.yaml": POLICY.encode(), "teams/b": SEVERAL.files["teams/a"]}, "prod"),
            Bundle("teams/a", SEVERAL.files, "prod"),
            Bundle(SEVERAL.root, SEVERAL.files, "prod", unread={"teams/b": "outside"}),
        )
    }
    assert len(digests) == 7
    assert Bundle(SEVERAL.root, dict(reversed(SEVERAL.files.items())), "prod", "elsewhere/").sha256 == SEVERAL.sha256
    assert bundle_module.LARGEST < bundle_module.LARGEST_IN_ALL
