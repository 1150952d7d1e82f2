from __future__ import annotations

import re
from pathlib import Path

from tests.security.catalogue import CATALOGUE

TESTS = Path(__file__).parents[1]


def named() -> set[int]:
    """The rows that test functions are named after."""
    return {int(n) for path in TESTS.rglob("test_*.py") for n in re.findall(r"^(?:async )?def test_T(\d\d)_", path.read_text(), re.MULTILINE)}


def test_every_row_that_is_tested_has_a_test_of_its_name_and_the_other_way_round() -> None:
    assert named() == {number for number, row in CATALOGUE.items() if row.tested}


def test_the_table_has_every_row_once_and_each_is_tested_or_names_its_room() -> None:
    assert list(CATALOGUE) == list(range(1, 89))
    assert len({row.title for row in CATALOGUE.values()}) == len(CATALOGUE)
