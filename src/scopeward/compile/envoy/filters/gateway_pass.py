"""The gateway's pass for the API of the route: a table whose values are signed tokens, so that renewing them touches nothing else.

It decides nothing. The identity filter writes the value into the header that the upstream looks at.
"""

from __future__ import annotations

from collections.abc import Mapping

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.envoy.proto import RBAC_METADATA, Json, action, look_up, table

FILTER = "pass"
VALUE = f"%DYNAMIC_METADATA({RBAC_METADATA}:pass_enforced_effective_policy_id)%"
NONE = "none"
"""What an upstream is sent where there is no pass for its API: no verifier takes it for one."""


def build(gateway: Gateway) -> Json:
    """By the API's name, which the route sets."""
    return table_of(gateway.passes)


def table_of(passes: Mapping[str, str]) -> Json:
    """The table of these passes by API name, which can be pushed alone."""
    return table("pass", look_up(names.API, {api: action(value) for api, value in sorted(passes.items())}, action(NONE)))
