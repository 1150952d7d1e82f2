"""Diagnostics together: in which order, and how many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scopeward.policy.diagnostic import MOST_SHOWN, SEVERITIES, Diagnostic, Severity, Span, diagnose, limited


def at(line: int, severity: Severity, reference: str = "policy-value") -> Diagnostic:
    return diagnose(reference, "m", Span("p", line, 1), severity=severity)


def test_the_graver_comes_first_at_one_place() -> None:
    assert [d.severity for d in limited([at(1, "note"), at(1, "warning"), at(1, "error")])] == list(SEVERITIES) == ["error", "warning", "note"]


def test_the_place_goes_before_the_severity() -> None:
    assert [d.span.line for d in limited([at(2, "error"), at(1, "note")])] == [1, 2]


@pytest.mark.parametrize("gravest", SEVERITIES)
def test_each_kind_says_how_many_it_has_beyond(gravest: Severity) -> None:
    many = [at(line, "note", "token-id-optional") for line in range(1, 101)]
    others = [at(1000 + line, gravest, "name-unknown") for line in range(60)]
    found = limited([*many, *others])
    shown, more = found[:MOST_SHOWN], found[MOST_SHOWN:]
    assert [d.span.line for d in shown] == [*range(1, 26), *range(1000, 1025)]
    assert {(d.reference, d.severity, d.message, d.span.line, d.stands_for) for d in more} == {
        ("token-id-optional", "note", "and 75 more of the same kind", 26, 75),
        ("name-unknown", gravest, "and 35 more of the same kind", 1025, 35),
    }
    assert more[0].severity == gravest  # the graver first
    assert sum(d.stands_for for d in found) == 160


def test_a_kind_with_one_is_shown_however_many_another_has() -> None:
    found = limited([*(at(line, "error") for line in range(1, 1001)), at(5000, "warning", "audience-shared")])
    assert [d.reference for d in found if d.span.line == 5000] == ["audience-shared"]
    assert found[-1].message == "and 951 more of the same kind"
    assert len(found) == MOST_SHOWN + 1


def test_what_is_counted_already_counts_as_many() -> None:
    once = limited([at(line, "error") for line in range(1, 101)])
    twice = limited([*once, *(at(line, "note", "token-id-optional") for line in range(1, 61))])
    assert sum(d.stands_for for d in twice) == 160


def test_the_fifty_first_begins_the_counting() -> None:
    assert len(limited([at(line, "error") for line in range(1, MOST_SHOWN + 1)])) == MOST_SHOWN
    assert limited([at(line, "error") for line in range(1, MOST_SHOWN + 2)])[-1].message == "and 1 more of the same kind"


def test_environments_are_said() -> None:
    d = replace(at(1, "error"), environments=("dev", "prod"))
    assert str(d) == "p:1:1: error: m (in dev, prod) [policy-value]"
    assert str(at(1, "error")) == "p:1:1: error: m [policy-value]"
