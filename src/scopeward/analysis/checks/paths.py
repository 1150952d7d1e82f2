"""Paths: one API at a place, one rule for a call.

Two APIs may lie within each other: the longer ``at`` is the more specific. Two templates of one API are never tied unless they differ
in their parameters' names only (``policy.path``), so that is all there is to look for; and, with ``slash: same``, in a slash at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.analysis.checks.finding import Finding, error
from scopeward.policy.diagnostic import quoted
from scopeward.policy.model import Api, Policy, Rule
from scopeward.policy.path import parse_template


def check_path_overlap(policy: Policy) -> Iterator[Finding]:
    """``path-overlap``."""
    first: dict[str, str] = {}
    for api in policy.apis:
        other = first.setdefault(api.at, api.name)
        if other != api.name:
            yield error("path-overlap", ("apis", api.name, "at"), f"the API {quoted(api.name)} lives at the same path as {quoted(other)}")


def check_path_reserved(policy: Policy) -> Iterator[Finding]:
    """``path-reserved``: what the gateway itself serves (RFC 8615, RFC 9728) would hide such an API."""
    for api in policy.apis:
        if api.at == "/.well-known" or api.at.startswith("/.well-known/"):
            yield error("path-reserved", ("apis", api.name, "at"), f"the API {quoted(api.name)} lives below '/.well-known'")


def check_rule_overlap(policy: Policy) -> Iterator[Finding]:
    """``rule-overlap``: two rules of one method whose templates match exactly the same paths."""
    for api in policy.apis:
        first: dict[tuple[str, str], str] = {}
        for rule in api.rules:
            other = first.setdefault((rule.method, _covered(api, rule)), rule.operation)
            if other != rule.operation:
                message = f"the rule {quoted(rule.operation)} covers the same calls as {quoted(other)}"
                yield error("rule-overlap", ("apis", api.name, "rules", rule.operation), message)


def _covered(api: Api, rule: Rule) -> str:
    """The same for two templates that match the same paths."""
    template = parse_template(rule.template)
    return (template.without_slash() if api.slash == "same" else template).shape
