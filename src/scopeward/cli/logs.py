"""``scopeward logs``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from scopeward.app import SystemClock
from scopeward.audit.files import FOLDER, audit_files, lines_before
from scopeward.audit.one_line import in_one_line
from scopeward.audit.tail import Tail
from scopeward.audit_line import AuditLine, AuditLineError, parse
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, clean, say, strong
from scopeward.compile.envoy.names import PROBE
from scopeward.errors import ScopewardError
from scopeward.settings import Settings
from scopeward.status.look import nothing_runs
from scopeward.status.words import counted

PAUSE: Final = 0.2
"""Seconds between two looks: as often as Envoy writes its lines to the file."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions are shown. ``probes`` are the gateway's calls to itself."""

    refused: bool = False
    api: str | None = None
    probes: bool = False

    def takes(self, line: AuditLine | None) -> bool:
        """Whether a line is shown. One that cannot be read is, unless an API is asked for: it might be a refusal."""
        if line is None:
            return self.api is None
        if line.path == PROBE and not self.probes:
            return False
        return (not self.refused or line.verdict == "refused") and self.api in {None, line.api}


class Printer:
    """Prints decisions, and counts the lines that are none."""

    def __init__(self, output: OutputFormat) -> None:
        self._output = output
        self._day = ""
        self.unreadable = 0

    def show(self, lines: Iterable[AuditLine | None]) -> None:
        """Each on a line; in text the day stands before its first one."""
        for line in lines:
            self.unreadable += line is None
            if self._output == "json":
                say(json.dumps(_as_json(line), ensure_ascii=True))
            else:
                self._show(line)

    def _show(self, line: AuditLine | None) -> None:
        if line is None:
            say(click.style("unreadable line", fg="yellow"))
            return
        if line.time[:10] != self._day:
            self._day = line.time[:10]
            say(strong(f"{clean(self._day)} (UTC)"))
        text = clean(in_one_line(line)).replace("\n", "?")  # the one control character that 'clean' leaves
        say(click.style(text, fg="red") if line.verdict == "refused" else text)


@click.command("logs")
@examples("scopeward logs", "scopeward logs -f --refused", "scopeward logs -n 1000 --api orders -o json | jq .reference")
@click.option("-f", "--follow", is_flag=True, help="Go on with each decision as it is made, until Ctrl-C.")
@click.option("-n", "--lines", "number", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="How many of the last decisions to begin with.")
@click.option("--refused", is_flag=True, help="Only calls that the gateway refused.")
@click.option("--api", metavar="NAME", help="Only calls of this API of the policy.")
@click.option("--probes", is_flag=True, help="Also the gateway's calls to itself, by which it knows that it is ready.")
@settings_options("state_dir")
@output_option
def command(settings: Settings, follow: bool, number: int, refused: bool, api: str | None, probes: bool, output: OutputFormat) -> None:
    """Show decisions, live.

    A decision a line: time (UTC), verdict with the reference, who acts for whom, the call, and the rule that let it in. In JSON it is an object a
    line, which holds what the audit line means. Lines may be up to a fifth of a second old before they can be seen. To begin with,
    at most the last 64 MiB of the audit files are looked through.
    """
    folder = settings.state_dir.value / FOLDER
    if not audit_files(folder) and not (follow and folder.is_dir()):
        raise _no_lines(settings.state_dir.value)
    wanted, printer = Wanted(refused, api, probes), Printer(output)
    tail = Tail(folder)
    try:
        printer.show(last(tail, wanted, number))
        while follow:
            printer.show(appended(tail, wanted))
            time.sleep(PAUSE)
    finally:
        if printer.unreadable:
            say(f"{counted(printer.unreadable, 'line')} could not be read", err=True)


def _no_lines(root: Path) -> ScopewardError:
    return ScopewardError("node-not-running", f"'{root}' holds no audit lines", nothing_runs(root, SystemClock()).remedy)


def last(tail: Tail, wanted: Wanted, number: int) -> list[AuditLine | None]:
    """The last decisions that are wanted, before what the tail will give; the oldest first. ``None`` is a line that cannot be read."""
    taken = (line for line in map(read, lines_before(tail.offsets)) if wanted.takes(line))
    return list(islice(taken, number))[::-1]


def appended(tail: Tail, wanted: Wanted) -> Iterator[AuditLine | None]:
    """The wanted decisions that were written since the last look."""
    for chunk in tail.chunks():
        yield from (line for line in map(read, chunk.split(b"\n")[:-1]) if wanted.takes(line))


def read(line: bytes) -> AuditLine | None:
    """An audit line, or ``None`` for what is none of this version."""
    try:
        found = parse(line)
    except AuditLineError:
        return None
    return found if found.time else None  # Envoy always knows the time; the schema lets every field but the version be null


def _as_json(line: AuditLine | None) -> dict[str, Any]:
    if line is None:
        return {"unreadable": True}
    return asdict(line) | {"chain": [asdict(actor) for actor in line.chain.actors] if line.chain else []}
