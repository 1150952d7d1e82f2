"""The store: made whole and private, shared by processes, and refused where it is not what was written."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scopeward.errors import ScopewardError
from scopeward.store import NewRevocationRow, Store
from tests.kit.clocks import SetClock

NOW = 1_800_000_000.0


def row(value: str = "a", ends_at: float | None = None) -> NewRevocationRow:
    return NewRevocationRow("https://login.example.test", "token-id", value, None, ends_at, None, NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path, SetClock(NOW)) as store:
        yield store


def refused(path: Path) -> ScopewardError:
    with Store(path, SetClock(NOW)) as store, pytest.raises(ScopewardError) as caught:
        store.revocations.sequence()
    return caught.value


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_it_is_made_when_it_is_first_asked_and_private(path: Path) -> None:
    with Store(path, SetClock(NOW)) as store:
        assert not path.exists()
        assert store.revocations.all() == ()
        store.revocations.add([row()])
        made = list(path.parent.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o600}
        assert {file.name for file in made} == {"store.sqlite", "store.sqlite-wal", "store.sqlite-shm"}
    assert [file.name for file in path.parent.iterdir()] == ["store.sqlite"]


def test_importing_the_rooms_loads_no_sqlalchemy() -> None:
    code = "import sys, scopeward.store, scopeward.revocation; print('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout == "False\n"


def test_what_was_added_is_there_after_it_was_opened_again(path: Path, store: Store) -> None:
    added = store.revocations.add([row("a", NOW + 60), row("b")])
    sequence = store.revocations.sequence()
    store.close()
    with Store(path, SetClock(NOW)) as again:
        assert again.revocations.all() == added
        assert again.revocations.sequence() == sequence
    assert store.revocations.all() == added


def test_each_change_takes_the_next_number_and_no_change_takes_none(store: Store) -> None:
    table = store.revocations
    first = table.sequence()
    assert table.add([]) == ()
    assert table.undo(1, NOW) is None
    assert table.sequence() == first
    one, two = table.add([row("a"), row("b")])
    assert (one.number, two.number, one.changed, two.changed, table.sequence()) == (1, 2, first + 1, first + 1, first + 1)
    undone = table.undo(1, NOW + 5)
    assert undone is not None
    assert (undone.undone_at, undone.changed, table.sequence()) == (NOW + 5, first + 2, first + 2)
    assert table.undo(1, NOW + 6) is None
    assert table.sequence() == first + 2
    assert table.since(first + 1) == (undone,)
    assert table.since(first + 2) == ()


def test_a_store_made_anew_counts_on_from_later_numbers(path: Path, store: Store) -> None:
    store.revocations.add([row()])
    last = store.revocations.sequence()
    store.close()
    path.unlink()
    clock = SetClock(NOW)
    clock.time += 1
    with Store(path, clock) as anew:
        assert anew.revocations.all() == ()
        assert anew.revocations.sequence() > last


def test_open_rows_are_those_not_undone_and_not_ended(store: Store) -> None:
    table = store.revocations
    _ended, later, undone, never = table.add([row("a", NOW), row("b", NOW + 1), row("c"), row("d")])
    table.undo(undone.number, NOW)
    assert table.open(NOW) == (later, never)
    assert len(table.all()) == 4


def test_numbers_are_never_given_twice(path: Path, store: Store) -> None:
    store.revocations.add([row()])
    store.close()
    alter(path, "DELETE FROM revocation")
    assert store.revocations.add([row()])[0].number == 2


def test_two_stores_see_each_other(path: Path, store: Store) -> None:
    with Store(path, SetClock(NOW)) as other:
        before = other.revocations.sequence()
        store.revocations.add([row()])
        assert other.revocations.sequence() == before + 1
        assert other.revocations.add([row()])[0].number == 2
        assert store.revocations.sequence() == before + 2


def test_many_threads_add_and_make_it_at_the_same_time(path: Path) -> None:
    stores = [Store(path, SetClock(NOW)) for _ in range(4)]
    failures: list[BaseException] = []

    def add(store: Store) -> None:
        try:
            for _ in range(5):
                store.revocations.add([row()])
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=add, args=(store,)) for store in stores for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    rows = stores[0].revocations.all()
    assert [row.number for row in rows] == list(range(1, 41))
    assert [row.changed for row in rows] == sorted({row.changed for row in rows})
    for store in stores:
        store.close()
    assert [file.name for file in path.parent.iterdir()] == ["store.sqlite"]


# ── not what was written ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_schema_version_is_refused(path: Path, store: Store) -> None:
    store.revocations.sequence()
    store.close()
    alter(path, "UPDATE schema_version SET version = 2")
    error = refused(path)
    assert error.reference.id == "state-version"
    assert "version 2" in error.what
    alter(path, "DELETE FROM schema_version")
    assert refused(path).reference.id == "state-version"


@pytest.mark.parametrize("content", [b"", b"nonsense\n" * 200, b"SQLite format 3\0" + b"\0" * 4000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    error = refused(path)
    assert error.reference.id == "state-damaged"
    assert str(path) in error.what
    assert "revoked again" in error.remedy
    assert path.read_bytes() == content


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5000)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("damage", [cut_off, overwrite])
def test_a_damaged_database_is_refused(path: Path, store: Store, damage: Callable[[Path], None]) -> None:
    store.revocations.add([row(f"token-{n}") for n in range(200)])
    store.close()
    damage(path)
    assert refused(path).reference.id == "state-damaged"


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE revocation", "DROP TABLE change", "DELETE FROM change", "UPDATE revocation SET before = 'soon'", "UPDATE revocation SET value = x'ff'"],
)
def test_a_tampered_database_is_refused(path: Path, store: Store, statement: str) -> None:
    store.revocations.add([row()])
    store.close()
    alter(path, statement)
    with Store(path, SetClock(NOW)) as again, pytest.raises(ScopewardError) as caught:
        assert again.revocations.sequence() == again.revocations.all()[0].changed
    assert caught.value.reference.id == "state-damaged"


def test_text_that_is_not_utf_8_is_damage(path: Path, store: Store) -> None:
    store.revocations.add([row()])
    store.close()
    alter(path, "UPDATE revocation SET value = CAST(x'ff' AS TEXT)")
    with Store(path, SetClock(NOW)) as again, pytest.raises(ScopewardError) as caught:
        again.revocations.all()
    assert caught.value.reference.id == "state-damaged"


def test_another_programs_database_is_refused(path: Path) -> None:
    alter(path, "CREATE TABLE mine (a INTEGER)")
    path.chmod(0o600)
    assert refused(path).reference.id == "state-damaged"


def test_a_file_that_others_may_read_is_refused(path: Path, store: Store) -> None:
    store.revocations.sequence()
    store.close()
    path.chmod(0o640)
    assert refused(path).reference.id == "state-unwritable"
    path.chmod(0o600)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    assert refused(path).reference.id == "state-unwritable"


def test_without_its_folder_it_cannot_be_made(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere" / "store.sqlite").reference.id == "state-unwritable"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file" / "store.sqlite").reference.id == "state-unwritable"


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_that_is_removed_or_replaced_while_it_is_used_is_noticed(path: Path, store: Store, replace: bool) -> None:
    store.revocations.add([row()])
    path.rename(path.with_name("moved"))
    if replace:
        with Store(path, SetClock(NOW)) as other:
            other.revocations.sequence()
    with pytest.raises(ScopewardError) as caught:
        store.revocations.sequence()
    assert caught.value.reference.id == "state-damaged"
    assert "removed or replaced" in caught.value.what


def test_what_another_process_holds_for_too_long_is_not_waited_for_for_ever(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopeward.store.sqlite.BUSY_SECONDS", 0.05)
    before = store.revocations.sequence()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ScopewardError) as caught:
            store.revocations.add([row()])
        assert store.revocations.sequence() == before  # a reader does not wait for a writer
    assert caught.value.reference.id == "state-unwritable"
    assert "another process" in caught.value.what
    assert store.revocations.add([row()])[0].number == 1


def test_a_full_disk_is_told_and_nothing_is_half_written(path: Path, store: Store) -> None:
    table = store.revocations
    table.add([row()])
    engine = store._opened[0] if store._opened else None
    assert engine is not None
    with engine.connect() as connection:  # the pool has this one connection
        connection.exec_driver_sql("PRAGMA max_page_count=12")
    sequence = table.sequence()
    with pytest.raises(ScopewardError) as caught:
        table.add([row(f"secret-{n}" * 50) for n in range(200)])
    assert caught.value.reference.id == "state-unwritable"
    assert "full" in caught.value.what
    assert "secret-" not in f"{caught.value!r}{caught.value}"
    assert caught.value.__cause__ is None
    assert (table.sequence(), len(table.all())) == (sequence, 1)
