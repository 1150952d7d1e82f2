"""Passes and when they are renewed. Time is an argument; nothing here waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scopeward.clock import Clock
from scopeward.passes.keys import PassKeys
from scopeward.passes.ring import LIFETIME
from scopeward.secret import Secret

RENEWED_EVERY: Final = 300
"""Seconds between two renewals: whenever the warden dies, the passes in Envoy are good for 55 minutes or more."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """A pass of an API. ``issued_at`` is its ``iat``."""

    issuer: str
    audience: str
    issued_at: int
    token: Secret


class PassIssuer:
    """Signs one pass an API, and signs again when it is due. The keys take their turns with the renewals."""

    def __init__(self, keys: PassKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._passes: dict[str, _Pass] = {}
        self._renewed_at: int | None = None

    def passes(self, issuer: str, apis: Mapping[str, str]) -> Mapping[str, str]:
        """The passes by API name. ``issuer`` is the gateway's ``public_url``; ``apis`` says the resource URL of each API by its name.

        Until a renewal is due the same strings come back, so that nothing is pushed for nothing; an API that is new, or whose URL changed, gets
        its pass at once. The claims (RFC 7519 section 4.1):

        - ``iss``: the issuer; ``aud``: the API's resource URL
        - ``iat``: now; ``exp``: an hour later

        There is no ``sub`` and nothing else of a caller, no ``nbf`` (an upstream whose clock is behind would refuse a new pass), and no ``jti``:
        all calls of these minutes carry the same pass.
        """
        now = math.floor(self._clock.now())
        if self.next_renewal() <= 0:
            self._keys.turn(now)
            self._passes, self._renewed_at = {}, now
        kept = self._passes
        self._passes = {name: self._pass(kept.get(name), issuer, audience, now) for name, audience in sorted(apis.items())}
        return {name: one.token.reveal() for name, one in self._passes.items()}

    def jwks(self) -> str:
        """The JWK set with which upstreams verify; ask after ``passes``, whose renewal may change it."""
        return self._keys.jwks()

    def next_renewal(self) -> float:
        """Seconds until ``passes`` will sign anew; 0 where that is due: before the first passes, and after the clock jumped either way.

        Whoever sleeps until then should look every half minute all the same, for a sleep does not notice that the clock was set.
        """
        now = self._clock.now()
        if self._renewed_at is None or max([self._renewed_at, *(one.issued_at for one in self._passes.values())]) > now:
            return 0.0  # a pass of the future is refused by upstreams whose clock is right
        return max(0.0, self._renewed_at + RENEWED_EVERY - now)

    def _pass(self, kept: _Pass | None, issuer: str, audience: str, now: int) -> _Pass:
        if kept is not None and (kept.issuer, kept.audience) == (issuer, audience):
            return kept
        claims = {"iss": issuer, "aud": audience, "iat": now, "exp": now + LIFETIME}
        return _Pass(issuer, audience, now, Secret(self._keys.sign(claims)))
