"""All that a policy's resolution needs from its issuers."""

from __future__ import annotations

import httpx2

from scopeward.analysis.gateway import Facts, IssuerFacts
from scopeward.idp.discovery import fetch_metadata
from scopeward.idp.documents import DEFAULT_LIMITS, Limits
from scopeward.idp.keys import fetch_keys
from scopeward.policy.model import Policy


async def fetch_facts(policy: Policy, client: httpx2.AsyncClient, limits: Limits = DEFAULT_LIMITS) -> Facts:
    """The facts of each issuer, keyed by its name in the policy. Fetched anew at each call: nothing is remembered here.

    Errors: ``ScopewardError`` ``idp-…``; one issuer that cannot be read is enough, for a policy in force without its keys would refuse
    calls for no reason that the caller could see.
    """
    issuers = {}
    for issuer in policy.issuers:
        metadata = await fetch_metadata(issuer.issuer, client, limits)
        issuers[issuer.name] = IssuerFacts(metadata.issuer, await fetch_keys(metadata, client, limits))
    return Facts(issuers)
