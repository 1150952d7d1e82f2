"""What is printed, and how: text for people, JSON for programs, colour only for eyes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, Protocol, runtime_checkable

import click

from scopeward.errors import ScopewardError
from scopeward.policy.diagnostic import Diagnostic, Severity

OutputFormat = Literal["text", "json"]


@runtime_checkable
class _HasDiagnostics(Protocol):
    """An error about a policy, such as ``warden.PolicyError``, which tells all that is wrong with it."""

    diagnostics: tuple[Diagnostic, ...]


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text. Its colours are dropped where nobody would see them: not a terminal, or NO_COLOR is set (no-color.org)."""
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    click.echo(text, err=err, nl=nl, color=False if plain else None)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def strong(text: str) -> str:
    """Text that stands out."""
    return click.style(text, bold=True)


def clean(text: str) -> str:
    """Text that others wrote, without what a terminal would act upon. Line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def print_error(error: ScopewardError, *, as_json: bool) -> None:
    """An error: text on stderr, JSON on stdout. An error that has diagnostics shows all of them."""
    diagnostics = error.diagnostics if isinstance(error, _HasDiagnostics) else ()
    if as_json:
        said: dict[str, Any] = {"reference": error.reference.id, "what": error.what, "remedy": error.remedy}
        print_json({"error": {**said, **({"diagnostics": [diagnostic_json(d) for d in diagnostics]} if diagnostics else {})}})
    elif diagnostics:
        print_diagnostics(diagnostics, err=True)
    else:
        say(f"{_severity('error')}[{error.reference.id}]: {clean(error.what)}\n  {_help()}: {clean(error.remedy)}", err=True)


def print_diagnostics(diagnostics: Iterable[Diagnostic], *, err: bool = False) -> None:
    """Each with its place and its help."""
    for d in diagnostics:
        say(f"{strong(clean(str(d.span)))}: {_severity(d.severity)}[{d.reference}]: {clean(d.said)}\n  {_help()}: {clean(d.help)}", err=err)


def diagnostic_json(d: Diagnostic) -> dict[str, Any]:
    """A diagnostic for programs. Line and column count from 1; no environments are all of them."""
    return {
        "reference": d.reference,
        "severity": d.severity,
        "file": d.span.file,
        "line": d.span.line,
        "column": d.span.column,
        "message": d.message,
        "help": d.help,
        "environments": list(d.environments),
    }


_COLOURS: Final[Mapping[Severity, str]] = {"error": "red", "warning": "yellow", "note": "blue"}


def _severity(severity: Severity) -> str:
    return click.style(severity, fg=_COLOURS[severity], bold=True)


def _help() -> str:
    return click.style("help", fg="cyan")
