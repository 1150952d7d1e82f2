"""Upstreams: what goes to them goes through TLS, or stays on the machine."""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy
from scopeward.policy.url import parse_url


def check_plaintext_upstream(policy: Policy) -> Iterator[Finding]:
    """``plaintext-upstream``: identities and, where forwarded, tokens (RFC 6750 section 5.3) would be readable on the way."""
    for api in policy.apis:
        url = parse_url(api.upstream.url)
        if url.scheme == "https" or url.loopback:
            continue
        path = ("apis", api.name, "upstream", "url")
        yield error("plaintext-upstream", path, f"the upstream of {quoted(api.name)} is reached by http and is not on loopback")
