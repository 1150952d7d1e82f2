"""PingOne: a client's own token has no ``sub``."""

from __future__ import annotations

from scopeward.idp.quirks.quirk import Quirk, host_of
from scopeward.policy.model import PersonEvidence

PING_ONE = Quirk(
    "PingOne",
    host_of(*(f"auth.pingone.{region}" for region in ("com", "eu", "ca", "asia", "com.au", "sg"))),
    "client_id",
    PersonEvidence("sub", "present"),
)
