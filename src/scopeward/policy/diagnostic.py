"""What is wrong with a policy, and where: a reference of ``errors.POLICY_REFERENCES`` with a place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final, Literal, get_args

from scopeward.errors import REFERENCES

Severity = Literal["error", "warning", "note"]
"""An error keeps a policy from being applied; a warning is for whoever applies it; a note only for whoever asks with ``scopeward check``."""

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""The graver first."""

MOST_SHOWN = 50
"""Diagnostics listed at once; of each kind that has more, one more entry says how many there are beyond."""

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
    """One finding with its place. ``message`` and ``help`` quote keys and names, never other values: they may be secrets.

    ``environments`` are those it is about, where that is not all of them. ``stands_for`` counts the findings that this one stands for.
    """

    reference: str
    severity: Severity
    message: str
    span: Span
    help: str
    environments: tuple[str, ...] = ()
    stands_for: int = 1

    def __str__(self) -> str:
        return f"{self.span}: {self.severity}: {self.said} [{self.reference}]"

    @property
    def said(self) -> str:
        """The message, with the environments."""
        return f"{self.message} (in {', '.join(self.environments)})" if self.environments else self.message


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
    """In order of place, the graver first where they share one. Of more than ``MOST_SHOWN`` the first of each kind stay, the graver kinds and
    the first before the others; then each kind that has more says how many.
    """
    ordered = sorted(diagnostics, key=_order)
    if len(ordered) <= MOST_SHOWN:
        return tuple(ordered)
    kinds: dict[tuple[Severity, str], list[Diagnostic]] = {}
    for d in ordered:
        kinds.setdefault((d.severity, d.reference), []).append(d)
    shares = _shares({kind: len(of_kind) for kind, of_kind in sorted(kinds.items(), key=lambda item: SEVERITIES.index(item[0][0]))})
    shown = [d for kind, of_kind in kinds.items() for d in of_kind[: shares[kind]]]
    more = [_more(of_kind[share:]) for kind, share in shares.items() if (of_kind := kinds[kind])[share:]]
    return (*sorted(shown, key=_order), *more)


def _order(d: Diagnostic) -> tuple[Span, int, str, str]:
    return d.span, SEVERITIES.index(d.severity), d.reference, d.message


def _shares(numbers: Mapping[tuple[Severity, str], int]) -> dict[tuple[Severity, str], int]:
    """How many of each kind are shown: one of each as far as they go, then a second of each, and so on."""
    shares, left = dict.fromkeys(numbers, 0), MOST_SHOWN
    while left > 0 and any(shares[kind] < number for kind, number in numbers.items()):
        for kind, number in numbers.items():
            if left > 0 and shares[kind] < number:
                shares[kind], left = shares[kind] + 1, left - 1
    return shares


def _more(hidden: Sequence[Diagnostic]) -> Diagnostic:
    number = sum(d.stands_for for d in hidden)
    return replace(hidden[0], message=f"and {number} more of the same kind", help="Correct those above first.", environments=(), stands_for=number)
