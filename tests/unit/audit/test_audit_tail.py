from __future__ import annotations

from pathlib import Path

import pytest

from scopeward.audit import tail as tail_module
from scopeward.audit.tail import LARGEST_CHUNK, Tail


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def everything(tail: Tail) -> bytes:
    return b"".join(tail.chunks())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "20261124T110000Z-a.jsonl"


def test_it_starts_at_the_end_and_gives_what_is_appended(tmp_path: Path, path: Path) -> None:
    append(path, b"old\n")
    tail = Tail(tmp_path)
    assert everything(tail) == b""
    append(path, b"new\n")
    assert (tail.read(), tail.read()) == (b"new\n", b"")


def test_it_starts_at_the_beginning_where_it_is_told_so(tmp_path: Path, path: Path) -> None:
    append(path, b"old\n")
    append(path.with_name("20261125.jsonl"), b"newer\n")
    assert everything(Tail(tmp_path, from_beginning=True)) == b"old\nnewer\n"


def test_a_file_that_appears_later_is_read_from_its_beginning(tmp_path: Path, path: Path) -> None:
    tail = Tail(tmp_path)
    append(path, b"1\n")
    assert everything(tail) == b"1\n"
    append(path.with_name("20261125.jsonl"), b"2\n")
    append(path, b"3\n")
    assert everything(tail) == b"3\n2\n"


def test_the_folder_may_appear_later(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    tail = Tail(folder)
    assert tail.read() == b""
    folder.mkdir()
    append(folder / "a.jsonl", b"1\n")
    assert tail.read() == b"1\n"


def test_a_last_line_waits_for_its_end(tmp_path: Path, path: Path) -> None:
    tail = Tail(tmp_path)
    append(path, b"whole\nhal")
    assert everything(tail) == b"whole\n"
    assert everything(tail) == b""
    append(path, b"f\nand")
    assert everything(tail) == b"half\n"


def test_a_start_in_the_middle_of_a_line_does_not_cut_it(tmp_path: Path, path: Path) -> None:
    append(path, b"old\nhal")
    tail = Tail(tmp_path)
    assert tail.offsets == {path: 4}
    append(path, b"f\n")
    assert everything(tail) == b"half\n"


def test_a_file_that_shrank_is_read_anew(tmp_path: Path, path: Path) -> None:
    append(path, b"one\ntwo\n")
    tail = Tail(tmp_path)
    path.write_bytes(b"1\n")
    assert everything(tail) == b"1\n"


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path, path: Path) -> None:
    append(path, b"one\n")
    tail = Tail(tmp_path)
    other = tmp_path / "other"
    other.write_bytes(b"another, and longer\n")
    other.replace(path)
    assert everything(tail) == b"another, and longer\n"


def test_a_file_that_was_moved_away_is_forgotten(tmp_path: Path, path: Path) -> None:
    append(path, b"one\n")
    tail = Tail(tmp_path)
    path.rename(tmp_path / "elsewhere")
    assert everything(tail) == b""
    assert tail.offsets == {}
    append(path, b"new\n")
    assert everything(tail) == b"new\n"


def test_a_file_that_cannot_be_read_holds_nothing_up(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = Tail(tmp_path)
    append(path, b"1\n")
    gone = tmp_path / "0.jsonl"
    monkeypatch.setattr(tail_module, "audit_files", lambda _: (gone, path))
    assert everything(tail) == b"1\n"


def test_a_chunk_is_bounded_and_holds_whole_lines(tmp_path: Path, path: Path) -> None:
    line = b"x" * 999 + b"\n"
    append(path, line * 3000)
    chunks = list(Tail(tmp_path, from_beginning=True).chunks())
    assert b"".join(chunks) == line * 3000
    assert all(len(chunk) <= LARGEST_CHUNK and chunk.endswith(b"\n") for chunk in chunks)
    assert len(chunks) == 3


def test_what_has_no_line_end_holds_nothing_up(tmp_path: Path, path: Path) -> None:
    append(path, b"\0" * (LARGEST_CHUNK + 5) + b"\nline\n")
    chunks = list(Tail(tmp_path, from_beginning=True).chunks())
    assert chunks == [b"\0" * LARGEST_CHUNK + b"\n", b"\0" * 5 + b"\nline\n"]


def test_a_start_after_what_has_no_line_end(tmp_path: Path, path: Path) -> None:
    append(path, b"\0" * (2 * LARGEST_CHUNK))
    tail = Tail(tmp_path)
    append(path, b"\nline\n")
    assert everything(tail) == b"\nline\n"


def test_a_file_in_which_nothing_happened_is_not_opened(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, b"1\n")
    tail = Tail(tmp_path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    assert tail.read() == b""
