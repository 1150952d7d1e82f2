"""Issuers: how many, over what, and what proves a person."""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.analysis.checks.finding import Finding, error, note
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Policy, To
from scopeward.policy.url import parse_url


def check_issuer_count(policy: Policy) -> Iterator[Finding]:
    """``issuer-count``."""
    if len(policy.issuers) != 1:
        yield error("issuer-count", ("issuers",), f"exactly one issuer is needed here, and there are {len(policy.issuers)}")


def check_issuer_in_clear_text(policy: Policy) -> Iterator[Finding]:
    """``idp-insecure``: keys that were fetched over http from elsewhere could be anybody's (RFC 8414 section 6.1)."""
    for issuer in policy.issuers:
        url = parse_url(issuer.issuer)
        if url.scheme == "http" and not url.loopback:
            yield error("idp-insecure", ("issuers", issuer.name, "issuer"), f"the issuer {quoted(issuer.name)} is reached by http and is not on loopback")


def check_token_id_optional(policy: Policy) -> Iterator[Finding]:
    """``token-id-optional``: a note, for it says what a revocation can reach (RFC 7519 section 4.1.7 leaves ``jti`` to the issuer)."""
    for issuer in policy.issuers:
        if issuer.jti == "optional":
            message = f"tokens of the issuer {quoted(issuer.name)} without 'jti' are taken, and cannot be revoked by their id"
            yield note("token-id-optional", ("issuers", issuer.name, "jti"), message)


def check_person_evidence(policy: Policy) -> Iterator[Finding]:
    """``person-evidence-missing``: said once, at the issuer, however much depends on it."""
    needing = _what_needs_persons(policy)
    for issuer in policy.issuers:
        if issuer.person is None and needing:
            more = f" and {len(needing) - 1} more" if len(needing) > 1 else ""
            message = f"the issuer {quoted(issuer.name)} does not say what proves a person, which is needed by {needing[0]}{more}"
            help = "Give the issuer 'person', such as {claim: idtyp, is: user}."
            yield error("person-evidence-missing", ("issuers", issuer.name), message, help)


def _what_needs_persons(policy: Policy) -> list[str]:
    """What could never let anybody in without persons."""
    needing = [f"the app {quoted(client.name)}" for client in policy.clients if client.kind == "app"]
    if policy.unlisted_clients == "as_person":
        needing.append("'unlisted_clients: as_person'")
    people_only = To(("people",))
    if policy.default_to == people_only:
        needing.append("the default 'to'")
    needing += [f"the default 'to' of {quoted(narrowing.file)}" for narrowing in policy.narrowings if narrowing.to == people_only != policy.default_to]
    needing += [
        f"the rule {quoted(rule.operation)} of {quoted(api.name)}"
        for api in policy.apis
        for rule in api.rules
        if rule.public is None and rule.to == people_only != api.default_to
    ]
    return needing
