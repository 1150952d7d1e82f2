"""Teams: what is whose. What is no team's belongs to all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted, suggestion
from scopeward.policy.model import Caller, ClientKind, Policy, Scope
from scopeward.policy.path import parse_at
from scopeward.policy.source import INCLUDED

_KIND_OF: Final[Mapping[ClientKind, Caller]] = {"app": "people", "service": "services", "agent": "agents"}
"""Whom a client's calls are by."""


def check_team_scopes(policy: Policy) -> Iterator[Finding]:
    """``team-scope``: who may use what a scope stands for is its team's to say."""
    scopes = {scope.name: scope for scope in policy.scopes}
    for api in policy.apis:
        for rule in api.rules if api.team is not None else ():
            for name in rule.needs:
                if name in scopes and not _allowed(scopes[name], str(api.team)):
                    message = f"the scope {quoted(name)} is of the team {quoted(str(scopes[name].team))}, which does not allow it to {quoted(str(api.team))}"
                    yield error("team-scope", ("apis", api.name, "rules", rule.operation, "needs", name), message)


def _allowed(scope: Scope, team: str) -> bool:
    return scope.team in {None, team} or scope.allows == "all" or team in scope.allows


def check_teams_allowed(policy: Policy) -> Iterator[Finding]:
    """``name-unknown``: teams in ``allows``."""
    stated = {*(s.team for s in policy.scopes), *(c.team for c in policy.clients), *(a.team for a in policy.apis)}
    known = policy.teams or tuple(team for team in stated if team is not None)
    for scope in policy.scopes:
        for team in scope.allows if scope.allows != "all" else ():
            if team not in known:
                meant = suggestion(team, sorted(known))
                help = f"Did you mean '{meant}'?" if meant else "Name a team, or 'all'."
                yield error("name-unknown", ("scopes", scope.name, "allows", team), f"the team {quoted(team)} is not defined", help)


def check_team_narrows(policy: Policy) -> Iterator[Finding]:
    """``team-widens``: a file's ``to`` lets in some of those whom the policy's lets in, by kind or by name."""
    kind_of = {client.name: _KIND_OF[client.kind] for client in policy.clients}
    default = policy.default_to
    for narrowing in policy.narrowings:
        more: list[str] = [kind for kind in narrowing.to.kinds if kind not in default.kinds]
        more += [name for name in narrowing.to.clients if name in kind_of and name not in default.clients and kind_of[name] not in default.kinds]
        for name in more:
            message = f"{quoted(name)} is not among those whom the policy's defaults let in"
            yield error("team-widens", (INCLUDED, narrowing.file, "defaults", "to", name), message)


def check_team_paths(policy: Policy) -> Iterator[Finding]:
    """``team-path``: the longest ``at`` takes a call, so an API below another one takes calls away from it."""
    homes = {parse_at(api.at).segments: api for api in reversed(policy.apis) if api.team is not None}
    for api in policy.apis:
        segments = parse_at(api.at).segments
        for length in range(len(segments) if api.team is not None else 0):
            above = homes.get(segments[:length])
            if above is not None and above.team != api.team:
                message = f"the API {quoted(api.name)} lives below {quoted(above.name)} of the team {quoted(str(above.team))}, and would take its calls"
                yield error("team-path", ("apis", api.name, "at"), message)
