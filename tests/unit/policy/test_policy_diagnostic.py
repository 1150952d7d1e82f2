"""Diagnostics together: in which order, and how many."""

from __future__ import annotations

import pytest

from scopeward.policy.diagnostic import MOST_SHOWN, SEVERITIES, Diagnostic, Severity, Span, diagnose, limited


def at(line: int, severity: Severity, reference: str = "policy-value") -> Diagnostic:
    return diagnose(reference, "m", Span("p", line, 1), severity=severity)


def test_the_graver_comes_first_at_one_place() -> None:
    assert [d.severity for d in limited([at(1, "note"), at(1, "warning"), at(1, "error")])] == list(SEVERITIES) == ["error", "warning", "note"]


def test_the_place_goes_before_the_severity() -> None:
    assert [d.span.line for d in limited([at(2, "error"), at(1, "note")])] == [1, 2]


@pytest.mark.parametrize("gravest", SEVERITIES)
def test_the_rest_is_as_grave_as_its_gravest(gravest: Severity) -> None:
    many = [at(line, "note", "token-id-optional") for line in range(1, MOST_SHOWN + 3)]
    found = limited([*many, at(1000, gravest, "name-unknown")])
    assert len(found) == MOST_SHOWN + 1
    assert (found[-1].severity, found[-1].message, found[-1].span.line) == (gravest, "and 3 more", MOST_SHOWN + 1)
    assert found[-1].reference == ("token-id-optional" if gravest == "note" else "name-unknown")
