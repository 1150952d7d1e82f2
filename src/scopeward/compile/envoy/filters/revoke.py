"""Is the token still good? Two tables of one form: a small recent one that is pushed at once, a large settled one.

Each asks, within the token's issuer: its id, then its client, then its subject, then its time of issue. A table's values: ``live`` or
``revoked``. Tables may be empty. What has no ``jti`` is found in no list of ids: whether that is refused is for *base* (``jti: required``).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from scopeward.analysis.gateway import Gateway, Revocation, strongest
from scopeward.compile.envoy import names, times
from scopeward.compile.envoy.proto import Json, action, choose, look_up, negate, nested, table

LIVE = "live"
REVOKED = "revoked"

RECENT_FILTER = "revoke-recent"
SETTLED_FILTER = "revoke-settled"

_REVOKED = action(REVOKED)
"""One for all: there may be a hundred thousand."""


def recent(gateway: Gateway) -> Json:
    """What was revoked since the settled table was written."""
    return recent_table(gateway.recent)


def settled(gateway: Gateway) -> Json:
    """All the rest."""
    return settled_table(gateway.settled)


def recent_table(revocations: Iterable[Revocation]) -> Json:
    """The recent table of these revocations, which can be pushed alone."""
    return table("revoke_recent", _tree(revocations))


def settled_table(revocations: Iterable[Revocation]) -> Json:
    """The settled table of these revocations, which can be pushed alone."""
    return table("revoke_settled", _tree(revocations))


def _tree(revocations: Iterable[Revocation]) -> Json:
    by_issuer = groupby(sorted(revocations, key=lambda r: r.issuer), key=lambda r: r.issuer)
    return look_up(names.ISSUER, {issuer: nested(_of_issuer(list(some))) for issuer, some in by_issuer}, action(LIVE))


def _of_issuer(revocations: list[Revocation]) -> Json:
    """The chain. An entry with a time that the token passes must not end the search: it has no answer of its own, and then Envoy asks on."""
    entries: dict[str, dict[str, Json]] = {"token-id": {}, "client": {}, "subject": {}}
    last: Json = {"on_no_match": action(LIVE)}
    for revocation in strongest(revocations).values():
        if revocation.what != "issuer":
            entries[revocation.what][revocation.value] = _entry(revocation)
        elif revocation.before is None:
            last = {"on_no_match": action(REVOKED)}
        else:
            last = choose([_issued_before(revocation.before)], action(LIVE))
    by_subject = look_up(names.SUBJECT, entries["subject"], nested(last))
    by_client = look_up(names.CLIENT, entries["client"], nested(by_subject))
    return look_up(names.TOKEN_ID, entries["token-id"], nested(by_client))


def _entry(revocation: Revocation) -> Json:
    if revocation.before is None:
        return _REVOKED
    predicate, verdict = _issued_before(revocation.before)
    return nested({"matcher_list": {"matchers": [{"predicate": predicate, "on_match": verdict}]}})


def _issued_before(time: int) -> tuple[Json, Json]:
    """Good is only what says that it was issued later; a token that does not say when it was issued is revoked with the rest."""
    return negate(times.at_or_after(names.ISSUED_AT, time)), action(REVOKED)
