"""What is wrong with a policy, and where: a reference of ``errors.POLICY_REFERENCES`` with a place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal, get_args

from scopeward.errors import REFERENCES

Severity = Literal["error", "warning", "note"]
"""An error keeps a policy from being applied; a warning is for whoever applies it; a note only for whoever asks with ``scopeward check``."""

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""The graver first."""

MOST_SHOWN = 50
"""Diagnostics listed at once; one more entry says how many there are beyond."""

_LONGEST_NAME = 48


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a file. ``line`` and ``column`` count from 1, columns in code points."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding with its place. ``message`` and ``help`` quote keys and names, never other values: they may be secrets."""

    reference: str
    severity: Severity
    message: str
    span: Span
    help: str

    def __str__(self) -> str:
        return f"{self.span}: {self.severity}: {self.message} [{self.reference}]"


def diagnose(reference: str, message: str, span: Span, *, help: str | None = None, severity: Severity = "error") -> Diagnostic:
    """A diagnostic whose help is the registry's remedy where nothing better is known."""
    return Diagnostic(reference, severity, message, span, help or REFERENCES[reference].remedy)


def quoted(name: str) -> str:
    """A key or name as messages show it: in quotes, on one line, in ASCII where it is not printable, and not endless."""
    shown = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
    return "'" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown) + "'"


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    if len(name) > _LONGEST_NAME:
        return None
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def limited(diagnostics: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """In order of place, the graver first where they share one, and at most ``MOST_SHOWN`` with a count of the rest, which is as grave as they are."""
    ordered = sorted(diagnostics, key=lambda d: (d.span, SEVERITIES.index(d.severity), d.reference, d.message))
    shown, rest = ordered[:MOST_SHOWN], ordered[MOST_SHOWN:]
    if not rest:
        return tuple(shown)
    gravest = min(rest, key=lambda d: SEVERITIES.index(d.severity))
    more = Diagnostic(gravest.reference, gravest.severity, f"and {len(rest)} more", rest[0].span, "Correct those above first.")
    return (*shown, more)
