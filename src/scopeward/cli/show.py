"""``scopeward show``."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from typing import Any, Final

import click

from scopeward.analysis.effective import Effective, Plain, Value, effective
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, clean, print_json, say, strong
from scopeward.errors import ScopewardError
from scopeward.policy.diagnostic import Span, quoted, suggestion
from scopeward.settings import Settings
from scopeward.warden import checked, read_policy

WIDTH: Final = 80


@click.command("show")
@examples("scopeward show orders", "scopeward show orders --env prod", "scopeward show orders policies/scopeward.yaml -o json | jq '.rules[].operation'")
@click.argument("api")
@settings_options("policy", "env")
@output_option
def command(api: str, settings: Settings, output: OutputFormat) -> None:
    """Show the effective policy of an API: every value, and where it was said.

    API is its name in the policy. POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. Each value is shown with the file and line where it
    stands, or as a default; what an environment put in is shown with the line there too. A policy with errors is not shown.
    """
    files = read_policy(settings.policy.value, settings.env.value)
    loaded, _ = checked(files)
    found = effective(loaded, api)
    if found is None:
        names = [known.name for known in loaded.policy.apis]
        meant = suggestion(api, names)
        remedy = f"Did you mean '{meant}'?" if meant else f"The policy has {', '.join(names) or 'none'}."
        raise ScopewardError("name-unknown", f"the policy has no API {quoted(api)}", remedy)
    if output == "json":
        print_json(_as_json(found))
    else:
        _print(found, files.folder)


# ── for programs ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _as_json(found: Effective) -> dict[str, Any]:
    return {
        "api": found.api,
        "team": found.team,
        "environment": found.environment,
        **_source(found.source),
        "values": {value.name: _value(value) for value in found.values},
        "rules": [
            {"operation": rule.operation, **_source(rule.source), "values": {value.name: _value(value) for value in rule.values}} for rule in found.rules
        ],
    }


def _value(value: Value) -> dict[str, Any]:
    return {"value": value.value, **_source(value.source), "filled": [_place(span) for span in value.filled]}


def _source(span: Span | None) -> dict[str, str]:
    return {"source": "default" if span is None else _place(span)}


def _place(span: Span) -> str:
    return f"{span.file}:{span.line}"


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _print(found: Effective, folder: str) -> None:
    """Files are named as seen from the policy's folder, which is said once."""
    where = "" if found.environment is None else f" in {found.environment}"
    whose = "" if found.team is None else f", of the team {found.team}"
    _print_head(f"{found.api}{where}{whose}", found.source, folder)
    if folder:
        say(f"files are below {clean(folder)}")
    say()
    _print_rows(found.values, folder)
    for rule in found.rules:
        say()
        _print_head(rule.operation, rule.source, folder)
        _print_rows(rule.values, folder, indent="  ")


def _print_head(title: str, source: Span, folder: str) -> None:
    place = clean(_place(source).removeprefix(folder))
    say(strong(clean(title)) + f"{place:>{max(len(place) + 2, WIDTH - len(title))}}")


def _print_rows(values: Collection[Value], folder: str, indent: str = "") -> None:
    """A name, a value, and at the right where it was said; on lines of their own where one line is not wide enough."""
    names = max((len(value.name) for value in values), default=0) + len(indent)
    for value in values:
        source = " + ".join(clean(said.removeprefix(folder)) for said in _sources(value))
        lines = textwrap.wrap(_words(value.value), WIDTH - names - 2, break_long_words=False, break_on_hyphens=False) or [""]
        if names + len(lines[-1]) + len(source) + 4 > WIDTH:
            lines.append("")
        for number, line in enumerate(lines, 1):
            start = f"{indent + value.name if number == 1 else '':<{names}}  {line}"
            say(start + f"{source:>{max(0, WIDTH - len(start))}}" if number == len(lines) else start)


def _sources(value: Value) -> Iterator[str]:
    yield "default" if value.source is None else _place(value.source)
    yield from (_place(span) for span in value.filled)


def _words(value: Plain) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case list():
            return clean(", ".join(value)) or "none"
        case _:
            return clean(str(value))
