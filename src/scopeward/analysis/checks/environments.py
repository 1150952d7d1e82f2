"""Environments beside each other: a token of one must not be good in another (RFC 8725 section 3.9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scopeward.analysis.presented import folded_audience
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy

Shared = tuple[str, str, tuple[str, ...], str]
"""Where it is said (environment and API), which environments it is about, and in words."""


def check_tokens_apart(policies: Mapping[str, Policy]) -> Iterator[Shared]:
    """``token-valid-in-two-environments``: two environments with one issuer and one audience, be it of one API or of two."""
    accepted: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for environment, policy in policies.items():
        issuers = {issuer.name: issuer.issuer for issuer in policy.issuers}
        for api in policy.apis:
            if api.audience and api.issuer in issuers:
                accepted.setdefault((issuers[api.issuer], folded_audience(api.audience)), []).append((environment, api.name))
    for places in accepted.values():
        environments = tuple(dict.fromkeys(environment for environment, _ in places))
        if len(environments) > 1:
            environment, name = places[0]
            yield environment, name, environments, f"a token for the API {quoted(name)} in one environment is good in another"
