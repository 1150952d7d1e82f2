"""A short storm, with real processes: no unauthorized answer, and no call lost where none may be. ``make storm`` makes every fault, for minutes."""

from __future__ import annotations

import pytest

from storm.__main__ import blow
from storm.faults import FAULTS
from storm.report import printed
from storm.stage import stage

EDITS = 2
SHORT = ("edits", "warden-killed", "envoy-killed", "keys-abrupt", "disk-full-refuse")
"""One for each thing that fails: edits, revocations (while the warden is killed), processes, keys and the disk."""


@pytest.mark.timeout(200)
def test_a_short_storm() -> None:
    chosen = [fault for fault in FAULTS if fault.name in SHORT]
    assert len(chosen) == len(SHORT)
    with stage(EDITS) as made:
        rows = blow(made, chosen, 0.0)
    table = printed(rows, made.measured)
    assert [what for row in rows for what in row.broken] == [], table
    assert sum(row.let_through for row in rows) == 0
    for row in rows:
        assert row.skipped == (row.fault.needs_disk and not made.has_disk)
        assert row.skipped or row.calls > 50, table
