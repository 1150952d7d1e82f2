"""Upstreams: what goes to them goes through TLS, stays on the machine, or is said to be safe."""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.analysis.checks.finding import Finding, error, warning
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Api, Policy
from scopeward.policy.url import parse_url


def check_plaintext_upstream(policy: Policy) -> Iterator[Finding]:
    """``plaintext-upstream``: identities and, where forwarded, tokens (RFC 6750 section 5.3) would be readable on the way."""
    for api in policy.apis:
        if _in_clear_text(api) and api.upstream.plaintext is None:
            path = ("apis", api.name, "upstream", "url")
            yield error("plaintext-upstream", path, f"the upstream of {quoted(api.name)} is reached by http and is not on loopback")


def check_upstream_contradiction(policy: Policy) -> Iterator[Finding]:
    """``upstream-contradiction``: a certificate that would never be shown is an error, a reason that excuses nothing a warning."""
    for api in policy.apis:
        path = ("apis", api.name, "upstream")
        if api.upstream.client_certificate is not None and parse_url(api.upstream.url).scheme == "http":
            message = f"the upstream of {quoted(api.name)} is reached by http, so the client certificate would not be shown"
            yield error("upstream-contradiction", (*path, "client_certificate"), message, "Use https, or leave 'client_certificate' out.")
        if api.upstream.plaintext is not None and not _in_clear_text(api):
            message = f"the upstream of {quoted(api.name)} is reached by https or on loopback, so 'plaintext' says nothing"
            yield warning("upstream-contradiction", (*path, "plaintext"), message, "Leave 'plaintext' out.")


def _in_clear_text(api: Api) -> bool:
    """Whether calls could be read on the way."""
    url = parse_url(api.upstream.url)
    return url.scheme == "http" and not url.loopback
