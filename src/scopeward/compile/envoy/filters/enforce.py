"""The only filter that denies, and it denies what it does not know. It depends on no policy: it is part of the listener."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy.filters import base, decide
from scopeward.compile.envoy.proto import Json, action, all_of, choose, outcome, table

PASS = "pass"  # noqa: S105  # a verdict


def build(_gateway: Gateway) -> Json:
    """Pass on ``rule.`` and ``public.``; deny by name what *base* and *decide* can say; deny the rest as ``no-rule``."""
    passing = [(outcome("decide", prefix=prefix), action(PASS)) for prefix in (decide.RULE, decide.PUBLIC)]
    by_base = [(all_of(outcome("decide", exact=decide.BASE), outcome("base", exact=reference)), action(reference, "DENY")) for reference in base.REFERENCES]
    by_rule = [(outcome("decide", exact=reference), action(reference, "DENY")) for reference in decide.REFERENCES]
    return table("enforce", choose([*passing, *by_rule, *by_base], action("no-rule", "DENY")))
