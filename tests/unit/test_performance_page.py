"""The page on performance tells the run that is kept, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.row import BEGINS, ENDS, Row, keep, kept, p99, with_table

ROOT = Path(__file__).parent.parent.parent
ROWS = [Row("one", 1.5, "s", 2.0), Row("another", 2.5, "s", 2.0), Row("a third", 3.0, "MiB")]


def test_the_page_holds_the_table_of_the_last_run() -> None:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert with_table(page, kept(ROOT / "bench/latest.json")) == page


def test_what_is_kept_is_read_back_the_same(tmp_path: Path) -> None:
    keep(ROWS, tmp_path / "kept.json")
    assert kept(tmp_path / "kept.json") == ROWS
    assert [row.holds for row in ROWS] == [True, False, None]


def test_a_table_takes_the_place_of_the_one_before() -> None:
    once = with_table(f"before\n{BEGINS}\nstale\n{ENDS}\nafter\n", ROWS)
    assert "holds" in once
    assert "MISSED" in once
    assert "stale" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert with_table(once, ROWS) == once


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(SystemExit, match="no place"):
        with_table("nothing", ROWS)


def test_the_99th_percentile_is_a_value_that_was_measured() -> None:
    assert p99(range(1, 101)) == 99
    assert p99([1.0, 3.0, 2.0]) == 3.0
