"""``scopeward status``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import click

from scopeward.app import SystemClock
from scopeward.audit.tally import Counts
from scopeward.cli.frame import NO
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, clean, print_json, say, strong
from scopeward.settings import Settings
from scopeward.status.attention import Finding, findings
from scopeward.status.look import Seen, look, nothing_runs
from scopeward.status.node_status import IssuerStatus, NodeStatus
from scopeward.status.words import counted, duration, size

WIDTH: Final = 80
LABEL: Final = 14

TOGETHER: Final = "\N{NO-BREAK SPACE}"
"""A space at which no line is broken; it is printed as a space."""

Row = tuple[str, str]
"""A label, empty where the line goes on with what is above, and a text."""


@click.command("status")
@examples("scopeward status", "scopeward status --state-dir /var/lib/scopeward", "scopeward status -o json | jq '.attention[].words'")
@settings_options("state_dir")
@output_option
@click.pass_context
def command(ctx: click.Context, settings: Settings, output: OutputFormat) -> None:
    """Show what is in force, and what is wrong.

    The warden writes its status every two seconds; this command reads it, and looks by itself whether the warden and Envoy live and whether the
    policy's file differs from what is in force. ``dev`` and ``demo`` keep their nodes in the folders of these names in the state directory.

    The exit status is 0 where all is well, 1 where something needs attention, and 3 where nothing runs.
    """
    root = settings.state_dir.value
    seen = look(root, SystemClock())
    if not seen.runs:
        raise nothing_runs(root, SystemClock())
    found = findings(seen)
    if output == "json":
        print_json(_as_json(seen, found))
    else:
        _print(seen, found)
    ctx.exit(NO if any(finding.urgent for finding in found) else 0)


def _as_json(seen: Seen, found: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "ok": not any(finding.urgent for finding in found),
        "attention": [asdict(finding) for finding in found],
        "warden_lives": seen.warden_lives,
        "envoy_lives": seen.envoy_lives,
        "policy_file": seen.policy_file,
        "status": None if seen.status is None else asdict(seen.status),
    }


def _print(seen: Seen, found: tuple[Finding, ...]) -> None:
    if not any(finding.urgent for finding in found):
        say(click.style("all is well", fg="green", bold=True))
    for finding in found:
        mark, colour = ("!", "red") if finding.urgent else ("-", "yellow")
        lines = _wrapped(finding.words, WIDTH - 2)
        say(click.style("\n".join([f"{mark} {lines[0]}", *(f"  {line}" for line in lines[1:])]), fg=colour))
    if seen.status is None:
        return
    say()
    for label, text in _rows(seen.status, seen):
        say(strong(f"{label:<{LABEL}}") + f"\n{'':{LABEL}}".join(_wrapped(text, WIDTH - LABEL)))


def _wrapped(text: str, width: int) -> list[str]:
    """Clean lines; a path or URL that is longer than one stays whole, so that it can be copied."""
    cleaned = TOGETHER.join(clean(part) for part in text.split(TOGETHER))
    lines = textwrap.wrap(cleaned, width, break_on_hyphens=False, break_long_words=False) or [""]
    return [line.replace(TOGETHER, " ") for line in lines]


def _rows(status: NodeStatus, seen: Seen) -> Iterator[Row]:
    now = seen.now
    yield from _policy(status, now)
    yield from _processes(status, seen)
    yield from _calls(status)
    for issuer in status.issuers:
        yield "issuer", f"{issuer.name}: {issuer.issuer}"
        yield "", _keys(issuer, now)
    yield from _upstreams(status)
    for certificate in status.certificates:
        left = certificate.expires_at - now
        yield "certificate", f"for {certificate.what}: {certificate.path}"
        yield "", f"expires in {duration(left)}" if left > 0 else f"expired {duration(-left)} ago"
    yield "revocations", f"{status.revocations.count} in force" if status.revocations.count else "none"
    for observed in status.observed:
        yield "observed", f"{observed.api}: calls are judged and not refused, for {duration(observed.until - now)} more"
    if not status.observed:
        yield "observed", "nothing"
    free = "" if status.disk.free_bytes is None else f", {size(status.disk.free_bytes)} free"
    yield "disk", status.disk.verdict + free


def _policy(status: NodeStatus, now: float) -> Iterator[Row]:
    policy = status.policy
    age = "" if policy.confirmed_at is None else f", in force for {duration(now - policy.confirmed_at)}"
    where = "" if policy.environment is None else f" for {policy.environment}"
    yield "policy", f"{policy.version or 'none'}{where}{age}, {'confirmed by Envoy' if policy.confirmed else 'not confirmed'}"
    yield "", policy.path


def _processes(status: NodeStatus, seen: Seen) -> Iterator[Row]:
    warden, envoy = status.warden, status.envoy
    yield "node", status.node
    yield "warden", f"Scopeward {warden.version}, pid {warden.pid}, {_up(warden.started_at, seen.now) if seen.warden_lives else 'gone'}"
    yield "Envoy", f"{envoy.version}, pid {envoy.pid}, {_up(envoy.started_at, seen.now) if seen.envoy_lives else 'gone'}" if envoy else "does not run"


def _up(since: float, now: float) -> str:
    return f"up {duration(now - since)}"


def _calls(status: NodeStatus) -> Iterator[Row]:
    yield "calls", f"{_ends(status.last_minute)} in the last minute"
    yield "", f"{_ends(status.calls)} since the warden's start"
    if status.calls.refusals:
        yield "refused", "since the start (in the last minute): " + ", ".join(_refusals(status.calls.refusals, status.last_minute.refusals))


def _ends(counts: Counts) -> str:
    return f"{counted(counts.total, 'call')}, {counts.refused} refused,"


def _refusals(all: Mapping[str, int], recent: Mapping[str, int]) -> Iterator[str]:
    """The most frequent first; in parentheses those of the last minute."""
    for reference, number in sorted(all.items(), key=lambda item: (-item[1], item[0])):
        yield f"{reference}{TOGETHER}{number}" + (f"{TOGETHER}({recent[reference]})" if reference in recent else "")


def _keys(issuer: IssuerStatus, now: float) -> str:
    parts = [counted(len(issuer.key_ids), "key")]
    if issuer.fetched_at is not None:
        parts.append(f"read {duration(now - issuer.fetched_at)} ago" + (" (the copy on disk)" if issuer.source == "disk" else ""))
    if issuer.good_until is not None:
        parts.append(f"good for {duration(issuer.good_until - now)}" if issuer.good_until > now else "too old")
    if issuer.clock_difference is not None:
        parts.append(f"clock {issuer.clock_difference:+.0f} s")
    return ", ".join(parts)


def _upstreams(status: NodeStatus) -> Iterator[Row]:
    for upstream in status.upstreams:
        counts = status.last_minute.apis.get(upstream.api)
        failed = sum(counts.failures.values()) if counts else 0
        yield "upstream", f"{upstream.api}: {upstream.url}"
        if counts and counts.allowed:
            yield "", f"{counted(counts.allowed, 'call')} in the last minute, {f'{failed} failed' if failed else 'none failed'}"
