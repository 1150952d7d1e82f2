"""Is the token still good? Two tables over (issuer, token id): a small recent one that is pushed at once, a large settled one.

A table's values: ``live`` or ``revoked``. Tables may be empty; a token without ``jti`` is in neither, so it is ``live``.
"""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway, Revoked
from scopeward.compile.envoy import names
from scopeward.compile.envoy.proto import Json, action, look_up, nested, table

LIVE = "live"
REVOKED = "revoked"


def recent(_gateway: Gateway) -> Json:
    """What was revoked since the settled table was written."""
    return table("revoke_recent", _tree(()))


def settled(gateway: Gateway) -> Json:
    """All the rest."""
    return table("revoke_settled", _tree(gateway.revoked))


def _tree(revoked: tuple[Revoked, ...]) -> Json:
    by_issuer: dict[str, dict[str, Json]] = {}
    for entry in revoked:
        by_issuer.setdefault(entry.issuer, {})[entry.token_id] = action(REVOKED)
    return look_up(names.ISSUER, {iss: nested(look_up(names.TOKEN_ID, ids, action(LIVE))) for iss, ids in sorted(by_issuer.items())}, action(LIVE))
