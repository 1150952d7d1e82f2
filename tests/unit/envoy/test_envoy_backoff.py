from __future__ import annotations

from scopeward.envoy.backoff import HEALTHY, Backoff


def test_ends_that_follow_each_other_wait_longer_and_longer() -> None:
    backoff = Backoff()
    assert [backoff.ended(0.0) for _ in range(10)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_an_envoy_that_lived_long_enough_is_started_again_at_once() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.ended(0.0)
    backoff.started(100.0)
    assert backoff.ended(100.0 + HEALTHY) == 0
    assert backoff.ended(200.0) == 0.5


def test_one_that_ended_too_soon_counts_on() -> None:
    backoff = Backoff()
    assert backoff.ended(0.0) == 0
    backoff.started(10.0)
    assert backoff.ended(10.0 + HEALTHY - 0.1) == 0.5
    backoff.started(100.0)
    assert backoff.ended(110.0) == 1


def test_a_start_that_failed_is_an_end_too_and_no_life_is_counted_twice() -> None:
    backoff = Backoff()
    backoff.started(0.0)
    assert backoff.ended(HEALTHY) == 0
    assert backoff.ended(10 * HEALTHY) == 0.5  # nothing was started in between
