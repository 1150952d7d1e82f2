"""Names: usable everywhere they travel, and defined where they are used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, get_args

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted, suggestion
from scopeward.policy.model import Caller, Policy, To
from scopeward.policy.source import INCLUDED

# Names are matched inside lists with delimiters ('|', space), as '*' in patterns, and stand in headers, file names and log lines.
_USABLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_KINDS: Final[tuple[str, ...]] = get_args(Caller)
_MEANT_KINDS: Final = {"person": "people", "user": "people", "users": "people", "service": "services", "agent": "agents"}


def check_names_usable(policy: Policy) -> Iterator[Finding]:
    """``name-not-usable``: also a client that is called as a kind of caller is, since ``to`` could not tell them apart."""
    named = [
        *(("issuers", i.name) for i in policy.issuers),
        *(("scopes", s.name) for s in policy.scopes),
        *(("clients", c.name) for c in policy.clients),
        *(("apis", a.name) for a in policy.apis),
    ]
    for section, name in named:
        if fault := _fault(section, name):
            yield error("name-not-usable", (section, name), f"the name {quoted(name)} {fault}")


def _fault(section: str, name: str) -> str | None:
    if section == "clients" and name in _KINDS:
        return "is a kind of caller, so it cannot name a client"
    if _USABLE.fullmatch(name):
        return None
    if not name:
        return "is empty"
    if len(name) > 128:
        return "is longer than 128 characters"
    bad = next((c for c in name if not re.fullmatch(r"[A-Za-z0-9._-]", c)), None)
    return "does not begin with a letter or digit" if bad is None else f"holds {quoted(bad)}"


def check_names_known(policy: Policy) -> Iterator[Finding]:
    """``name-unknown``: scopes in ``needs`` and ``may``, callers in ``to``, the issuer of a client."""
    scopes = {s.name for s in policy.scopes}
    issuers = {i.name for i in policy.issuers}
    clients = {c.name for c in policy.clients}
    yield from _callers(clients, ("defaults", "to"), policy.default_to)
    for narrowing in policy.narrowings:
        yield from _callers(clients, (INCLUDED, narrowing.file, "defaults", "to"), narrowing.to)
    for client in policy.clients:
        for scope in client.may or ():
            if scope not in scopes:
                yield _unknown("scope", scope, ("clients", client.name, "may", scope), scopes)
        if issuers and client.issuer not in issuers:
            yield _unknown("issuer", client.issuer, ("clients", client.name, "issuer"), issuers)
    for api in policy.apis:
        for rule in api.rules:
            path = ("apis", api.name, "rules", rule.operation)
            yield from (_unknown("scope", scope, (*path, "needs", scope), scopes) for scope in rule.needs if scope not in scopes)
            if rule.to != api.default_to:  # what a rule took from the defaults is said there, once
                yield from _callers(clients, (*path, "to"), rule.to)


def _callers(clients: set[str], path: tuple[str, ...], to: To) -> Iterator[Finding]:
    for name in to.clients:
        if name not in clients:
            meant = _MEANT_KINDS.get(name.lower()) or suggestion(name, [*_KINDS, *sorted(clients)])
            help = f"Did you mean '{meant}'?" if meant else "Name people, services, agents, or a client of 'clients'."
            yield error("name-unknown", (*path, name), f"{quoted(name)} is neither a kind of caller nor a client", help)


def _unknown(what: str, name: str, path: tuple[str, ...], known: set[str]) -> Finding:
    meant = suggestion(name, sorted(known))
    return error("name-unknown", path, f"the {what} {quoted(name)} is not defined", f"Did you mean '{meant}'?" if meant else f"Define it in '{what}s'.")
