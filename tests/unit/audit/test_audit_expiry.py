from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scopeward.audit import expiry, files
from scopeward.audit.expiry import find_expiry
from scopeward.audit_line import FIELDS, VERSION


def line(jti: str, exp: object = "1800000600", issuer: str = "main", **more: Any) -> str:
    said = dict.fromkeys(FIELDS) | {"v": VERSION, "node": "n", "time": "t", "status": 200, "ms": 1, "who": f"service sync {issuer} |*|", "jti": jti, "exp": exp}
    return json.dumps(said | more, ensure_ascii=False) + "\n"


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.mark.parametrize("jti", ["5f0c8e2a-11", "a", "uuid:ä", 'quote"d', "x" * 1024, "back\\slash"])
def test_an_exp_is_found(tmp_path: Path, jti: str) -> None:
    write(tmp_path, "one", line("another"), line(jti), line("more"))
    assert find_expiry(tmp_path, "main", jti) == 1_800_000_600


def test_an_id_without_a_plain_letter_is_not_looked_for(tmp_path: Path) -> None:
    write(tmp_path, "one", line("日本"))
    assert find_expiry(tmp_path, "main", "日本") is None


@pytest.mark.parametrize(
    "text",
    [
        line("abc", issuer="other"),
        line("abcd"),
        line("xabc"),
        line("other", path="/abc"),
        line("abc", None),
        line("abc", "soon"),
        line("abc", who=None),
        '{"jti":"abc","exp":"1800000600"}\n',
        "abc\n",
        line("abc").rstrip("\n")[:-5],
        line("abc", v=VERSION + 1),
    ],
)
def test_what_is_not_the_tokens_line_tells_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path, "one", text)
    assert find_expiry(tmp_path, "main", "abc") is None


def test_the_newest_file_is_asked_first_and_older_ones_then(tmp_path: Path) -> None:
    write(tmp_path, "a", line("abc", "1"), line("old", "5"))
    write(tmp_path, "z", line("abc", "2"))
    (tmp_path / "notes.txt").write_text(line("abc", "3"))
    (tmp_path / "folder.jsonl").mkdir()
    assert find_expiry(tmp_path, "main", "abc") == 2
    assert find_expiry(tmp_path, "main", "old") == 5
    assert find_expiry(tmp_path, "main", "never") is None


def test_without_audit_lines_nothing_is_found(tmp_path: Path) -> None:
    assert find_expiry(tmp_path, "main", "abc") is None
    assert find_expiry(tmp_path / "nowhere", "main", "abc") is None


@pytest.mark.parametrize("block", [1, 7, 100, 400, 500, 1000, 100_000])
def test_a_line_is_found_wherever_the_blocks_of_a_file_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(files, "_BLOCK", block)
    write(tmp_path, "one", *[line(f"token-{n:02}", str(1_800_000_000 + n)) for n in range(12)])
    assert [find_expiry(tmp_path, "main", f"token-{n:02}") for n in range(12)] == [1_800_000_000 + n for n in range(12)]


def test_reading_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "one", line("abc"), *[line("other")] * 100)
    assert find_expiry(tmp_path, "main", "abc") is not None
    monkeypatch.setattr(files, "_BLOCK", 2000)
    monkeypatch.setattr(expiry, "MOST_READ", 10_000)
    assert find_expiry(tmp_path, "main", "abc") is None


def test_lines_that_only_look_like_it_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "one", line("abc"), *[line("other", path="/abc")] * 30)
    assert find_expiry(tmp_path, "main", "abc") is not None
    monkeypatch.setattr(expiry, "MOST_LINES", 20)
    assert find_expiry(tmp_path, "main", "abc") is None
