from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scopeward.audit.tally import ApiCounts, Counts
from scopeward.status.attention import CLOCK_DIFFERENCE, EXPIRES_SOON, OLD, Finding, findings
from scopeward.status.look import Seen
from scopeward.status.node_status import Alarm, CertificateStatus, DiskStatus, IssuerStatus, RevocationStatus
from scopeward.status.words import counted, duration, size
from tests.kit.status import DAY, NOW, STATUS_OF_A_NODE, quiet_status


def said(seen: Seen) -> list[str]:
    return [finding.words for finding in findings(seen)]


def of(**changes: Any) -> tuple[Finding, ...]:
    """What is found in a quiet node's status with these changes."""
    return findings(Seen(NOW, warden_lives=True, envoy_lives=True, status=replace(quiet_status(), **changes)))


def test_nothing_is_said_where_all_is_well() -> None:
    assert of() == ()


def test_a_warden_that_is_gone() -> None:
    (words,) = said(Seen(NOW + 125, warden_lives=False, envoy_lives=True, status=quiet_status()))
    assert words.startswith("the warden has been gone for 2 min 5 s; Envoy answers calls by itself")
    assert said(Seen(NOW, warden_lives=False, envoy_lives=True))[0].startswith("the warden is gone; Envoy")


def test_a_warden_that_hangs() -> None:
    assert said(Seen(NOW + OLD, warden_lives=True, envoy_lives=True, status=quiet_status())) == []
    (words,) = said(Seen(NOW + OLD + 1, warden_lives=True, envoy_lives=True, status=quiet_status()))
    assert words.startswith("the warden has written no status for 11 s")


def test_a_warden_that_starts() -> None:
    assert said(Seen(NOW, warden_lives=True, envoy_lives=True)) == ["the warden is starting: it has written no status yet"]


def test_a_status_that_cannot_be_read() -> None:
    (words,) = said(Seen(NOW, warden_lives=True, envoy_lives=True, damaged=True))
    assert words.startswith("the file 'status.json' cannot be read")


def test_an_envoy_that_does_not_run() -> None:
    (words,) = said(Seen(NOW, warden_lives=True, envoy_lives=False, status=quiet_status()))
    assert words.startswith("Envoy does not run")


def test_a_policy_that_is_not_confirmed_or_differs() -> None:
    policy = quiet_status().policy
    assert [f.words for f in of(policy=replace(policy, confirmed=False, why_not="x"))] == ["the policy is not confirmed by Envoy: x"]
    for comparison, words in (("differs", "differs from what is in force"), ("unreadable", "cannot be read"), ("same", "")):
        found = said(Seen(NOW, warden_lives=True, envoy_lives=True, status=quiet_status(), policy_file=comparison))  # type: ignore[arg-type]
        assert [words in one for one in found] == ([True] if words else [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"good_until": NOW}, "issuer a: its keys are too old, its tokens are refused with issuer-keys-stale"),
        (
            {"failing_since": NOW - 60, "failure": "idp-unreachable: x"},
            "issuer a: no keys could be read for 1 min: idp-unreachable: x; the last keys are good for 1 h more",
        ),
        ({"failing_since": NOW - 60, "good_until": None}, "issuer a: no keys could be read for 1 min: no cause is known"),
        ({"clock_difference": CLOCK_DIFFERENCE}, "issuer a: its clock is 10 s ahead of ours"),
        ({"clock_difference": -90.0}, "issuer a: its clock is 1 min 30 s behind ours"),
        ({"clock_difference": CLOCK_DIFFERENCE - 0.1}, None),
    ],
)
def test_issuers(changes: dict[str, Any], words: str | None) -> None:
    issuer = IssuerStatus("a", "https://a.example.test", ("k",), NOW, NOW + 3600, "provider")
    assert of(issuers=(replace(issuer, **changes),)) == (() if words is None else (Finding(words),))


def test_an_upstream_that_answers_nothing_is_urgent_and_one_that_fails_at_times_is_not() -> None:
    some = Counts(apis={"orders": ApiCounts(5, 0, {"upstream-timeout": 2})})
    all = Counts(apis={"orders": ApiCounts(3, 0, {"upstream-timeout": 2, "upstream-failed": 1})})
    assert of(last_minute=some) == (Finding("API orders: the upstream left 2 of 5 calls in the last minute unanswered: upstream-timeout 2", urgent=False),)
    (found,) = of(last_minute=all)
    assert (found.urgent, "3 of 3 calls" in found.words) == (True, True)
    assert of(calls=all) == ()


def test_certificates() -> None:
    def certificate(left: float) -> CertificateStatus:
        return CertificateStatus("callers", "/tls.pem", NOW + left)

    assert of(certificates=(certificate(EXPIRES_SOON),)) == ()
    assert of(certificates=(certificate(3 * DAY),)) == (Finding("the certificate for callers expires in 3 d: /tls.pem"),)
    assert of(certificates=(certificate(-60),)) == (Finding("the certificate for callers expired 1 min ago: /tls.pem"),)


def test_revocations_that_are_not_in_force() -> None:
    assert of(revocations=RevocationStatus(3, 5, 5)) == ()
    assert of(revocations=RevocationStatus(3, 5, 4)) == (Finding("1 change of the revocations is stored and not in force yet"),)


def test_the_disk() -> None:
    assert of(disk=DiskStatus("low", "100 MiB are free")) == (Finding("the disk is almost full (100 MiB are free): free some space"),)
    assert "refused with audit-unavailable" in of(disk=DiskStatus("full", "1 MiB are free", 1, refusing=True))[0].words
    assert "may leave no audit line" in of(disk=DiskStatus("full", "1 MiB are free", 1))[0].words


def test_alarms_and_lines_that_cannot_be_read() -> None:
    assert of(alarms=(Alarm(NOW - 90, "state-damaged", "x"),)) == (Finding("state-damaged, for 1 min 30 s: x"),)
    assert of(last_minute=Counts(unreadable=1)) == (Finding("1 audit line of the last minute cannot be read", urgent=False),)


def test_what_is_urgent_comes_first() -> None:
    found = findings(Seen(NOW, warden_lives=True, envoy_lives=True, status=STATUS_OF_A_NODE, policy_file="differs"))
    urgent = [finding.urgent for finding in found]
    assert urgent == sorted(urgent, reverse=True)
    assert set(urgent) == {True, False}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0, "0 s"), (0.9, "0 s"), (59, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (3601, "1 h"), (86400 * 3 + 3600 * 4 + 5, "3 d 4 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 KiB"), (2048, "2 KiB"), (32 * 1024**2, "32 MiB"), (1024**3 * 3 // 2, "1.5 GiB"), (1024**3, "1 GiB"), (12 * 1024**3 + 5, "12 GiB")],
)
def test_sizes(number: int, words: str) -> None:
    assert size(number) == words


def test_counted() -> None:
    assert [counted(number, "call") for number in (0, 1, 2)] == ["0 calls", "1 call", "2 calls"]
