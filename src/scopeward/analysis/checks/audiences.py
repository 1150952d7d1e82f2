"""Audiences: a token for one API must not be good for another (RFC 8725 section 3.9, RFC 9700 section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.analysis.checks.finding import Finding, error, warning
from scopeward.analysis.presented import folded_audience
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy


def check_audience_stated(policy: Policy) -> Iterator[Finding]:
    """``audience-unstated``: with two or more APIs each states its own; with one, the issuer's will do."""
    if len(policy.issuers) != 1:
        return
    for api in policy.apis:
        if not api.audience:
            yield error("audience-unstated", ("apis", api.name), f"neither the API {quoted(api.name)} nor its issuer states an 'audience'")
        elif not api.audience_stated and len(policy.apis) > 1:
            yield error("audience-unstated", ("apis", api.name), f"the API {quoted(api.name)} states no 'audience' of its own, and it is not the only API")


def check_audience_shared(policy: Policy) -> Iterator[Finding]:
    """``audience-shared``: a warning, for two APIs may be one service to their issuer."""
    first: dict[tuple[str, str], str] = {}
    for api in policy.apis:
        if not api.audience_stated:
            continue
        other = first.setdefault((api.issuer, folded_audience(api.audience)), api.name)
        if other != api.name:
            message = f"the API {quoted(api.name)} has the same audience as {quoted(other)}: a token for one is good for the other"
            yield warning("audience-shared", ("apis", api.name, "audience"), message)
