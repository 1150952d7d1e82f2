from __future__ import annotations

from pathlib import Path

import pytest

from scopeward.audit.guard import LEAST_FREE, LEAVE, LOW, MOST_FREE, QUIET, DiskGuard, DiskSample, free_space, full_below

MIB = 1024 * 1024
TOTAL = 4096 * MIB
FULL = full_below(TOTAL)
PLENTY = 2048 * MIB


def after(*looks: tuple[float, int | None] | tuple[float, int | None, int | None]) -> DiskGuard:
    """The guard after looks of (time, free bytes, write failures)."""
    guard = DiskGuard()
    for at, free, *failures in looks:
        guard = guard.see(DiskSample(at, free, TOTAL, failures[0] if failures else 0))
    return guard


@pytest.mark.parametrize(
    ("total", "full"),
    [
        (TOTAL, LEAST_FREE),
        (100 * 1024 * MIB, 512 * MIB),
        (100 * 1024 * 1024 * MIB, MOST_FREE),
        (64 * MIB, 8 * MIB),
        (0, 0),
    ],
)
def test_what_is_full_depends_on_the_disk_within_bounds(total: int, full: int) -> None:
    assert full_below(total) == pytest.approx(full, rel=0.05)


def test_a_disk_with_room_is_fine() -> None:
    assert after((0, PLENTY), (1, PLENTY)) == DiskGuard("fine", "", 0, None)


def test_it_becomes_low_and_then_full() -> None:
    assert after((0, LOW * FULL)).verdict == "fine"
    low = after((0, LOW * FULL - 1))
    assert (low.verdict, low.why) == ("low", "127 MiB are free")
    assert after((0, PLENTY), (1, FULL)).verdict == "low"
    assert after((0, PLENTY), (1, FULL - 1)).verdict == "full"


def test_an_empty_disk_of_no_bytes_is_not_known_to_be_fine() -> None:
    assert DiskGuard().see(DiskSample(0, None, None, 0)).verdict == "full"
    assert DiskGuard().see(DiskSample(0, PLENTY, None, 0)).verdict == "full"


def test_full_ends_at_twice_the_bytes_at_which_it_began() -> None:
    assert after((0, FULL - 1), (100, LEAVE * FULL - 1)).verdict == "full"
    assert after((0, FULL - 1), (100, LEAVE * FULL)).verdict == "low"
    assert after((0, FULL - 1), (100, LEAVE * FULL), (101, FULL)).verdict == "low"


def test_low_ends_at_twice_the_bytes_at_which_it_began() -> None:
    assert after((0, LOW * FULL - 1), (1, LOW * FULL)).verdict == "low"
    assert after((0, LOW * FULL - 1), (1, LEAVE * LOW * FULL)).verdict == "fine"
    assert after((0, FULL - 1), (1, LEAVE * LOW * FULL)).verdict == "fine"


def test_a_failed_write_is_full_however_much_is_free() -> None:
    guard = after((0, PLENTY, 0), (1, PLENTY, 1))
    assert (guard.verdict, guard.why) == ("full", "Envoy could not write audit lines")


def test_after_a_failed_write_it_stays_full_until_it_was_quiet() -> None:
    failed = ((0.0, PLENTY, 0), (1.0, PLENTY, 1))
    assert after(*failed, (1 + QUIET - 0.1, PLENTY, 1)).verdict == "full"
    assert after(*failed, (1 + QUIET, PLENTY, 1)).verdict == "fine"
    assert after(*failed, (5, PLENTY, 2), (1 + QUIET, PLENTY, 2)).verdict == "full"
    assert after(*failed, (1 + QUIET, FULL, 1)).verdict == "full"
    assert after(*failed, (1 + QUIET, LEAVE * FULL, 1)).verdict == "low"


def test_failures_of_before_the_first_look_lie_in_the_past() -> None:
    assert after((0, PLENTY, 7)).verdict == "fine"
    assert after((0, PLENTY, 7), (1, PLENTY, 8)).verdict == "full"


def test_a_new_envoy_counts_from_none() -> None:
    assert after((0, PLENTY, 7), (1, PLENTY, 0)).verdict == "fine"
    assert after((0, PLENTY, 7), (1, PLENTY, 2)).verdict == "full"
    assert after((0, PLENTY, 7), (1, PLENTY, 0), (2, PLENTY, 1)).verdict == "full"


def test_an_envoy_that_does_not_answer_is_compared_with_what_it_said_before() -> None:
    assert after((0, PLENTY, 1), (1, PLENTY, None)).verdict == "fine"
    assert after((0, PLENTY, 1), (1, PLENTY, None), (2, PLENTY, 1)).verdict == "fine"
    assert after((0, PLENTY, 1), (1, PLENTY, None), (2, PLENTY, 2)).verdict == "full"
    assert after((0, PLENTY, None), (1, PLENTY, 3)).verdict == "fine"


def test_a_guard_is_not_changed_by_a_look() -> None:
    guard = DiskGuard()
    guard.see(DiskSample(0, 0, TOTAL, 0))
    assert guard == DiskGuard()


def test_free_space_is_that_of_the_folders_disk(tmp_path: Path) -> None:
    free, total = free_space(tmp_path)
    assert free is not None
    assert total is not None
    assert 0 < free <= total
    assert free_space(tmp_path / "nowhere") == (None, None)
