"""Clients: one entry for one client."""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy


def check_client_twice(policy: Policy) -> Iterator[Finding]:
    """``client-twice``: of two entries for one (issuer, id), only one could count."""
    first: dict[tuple[str, str], str] = {}
    for client in policy.clients:
        other = first.setdefault((client.issuer, client.id), client.name)
        if other != client.name:
            yield error("client-twice", ("clients", client.name, "id"), f"the client {quoted(client.name)} has the same 'id' as {quoted(other)}")
