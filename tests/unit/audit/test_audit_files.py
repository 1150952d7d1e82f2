from __future__ import annotations

import os
from pathlib import Path

import pytest

from scopeward.audit import files
from scopeward.audit.files import audit_files, lines_before


def ends(*paths: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in paths}


def test_files_come_in_the_order_of_their_starts(tmp_path: Path) -> None:
    for name in ("20261124T110000Z-b.jsonl", "20261123T110000Z-c.jsonl", "20261124T110000Z-a.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name[:17] for path in audit_files(tmp_path)] == ["20261123T110000Z-", "20261124T110000Z-", "20261124T110000Z-"]
    assert [path.name[17] for path in audit_files(tmp_path)] == ["c", "a", "b"]


def test_what_is_no_plain_file_is_no_audit_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").mkdir()
    (tmp_path / "c.jsonl").symlink_to("/dev/zero")
    (tmp_path / "d.jsonl").touch()
    assert [path.name for path in audit_files(tmp_path)] == ["d.jsonl"]


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert audit_files(tmp_path / "nowhere") == ()


def test_lines_come_backwards_over_all_files(tmp_path: Path) -> None:
    old, new = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    old.write_bytes(b"1\n2\n")
    new.write_bytes(b"3\n\n4\n")
    assert list(lines_before(ends(old, new))) == [b"4", b"3", b"2", b"1"]


def test_nothing_beyond_the_offset_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n2\n3\n")
    assert list(lines_before({path: 4})) == [b"2", b"1"]
    assert list(lines_before({path: 0})) == []


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_lines_are_whole_wherever_a_block_ends(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", block)
    path = tmp_path / "a.jsonl"
    lines = [b"x" * length for length in (1, 5, 2, 9, 1, 30)]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert list(lines_before(ends(path))) == lines[::-1]


def test_no_more_is_read_than_asked(tmp_path: Path) -> None:
    old, new = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path in (old, new):
        path.write_bytes(b"123\n" * 4)
    assert list(lines_before(ends(old, new), most=22)) == [b"123"] * 5
    assert list(lines_before(ends(old, new), most=10)) == [b"123"] * 2


def test_a_file_without_a_line_end_comes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * (2 * files.LONGEST_LINE + 10) + b"\nlast\n")
    first, *rest = lines_before(ends(path))
    assert first == b"last"
    assert sum(map(len, rest)) == 2 * files.LONGEST_LINE + 10
    assert max(map(len, rest)) < 2 * files.LONGEST_LINE


def test_a_file_that_went_away_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n")
    assert list(lines_before({tmp_path / "b.jsonl": 10, path: 2})) == [b"1"]
