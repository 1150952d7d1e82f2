"""What can be chosen about the development provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from scopeward.errors import ScopewardError
from scopeward.issuer.loopback import is_loopback

Algorithm = Literal["RS256", "ES256"]
ScopeForm = Literal["string", "array"]

SHORTEST_LIFETIME = 1
LONGEST_LIFETIME = 86_400


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """How the provider names itself and what its tokens look like.

    ``issuer``: ``http://`` + loopback host + port, without a path or trailing slash. ``audience``: ``aud`` where the
    client names no resource. ``lifetime``: of access and ID tokens, 1 to 86400 seconds. ``scope_form``: ``string`` writes
    ``scope`` as RFC 9068 says; ``array`` writes ``scp`` as a list instead, as some vendors do.

    Raises ``ScopewardError``: ``address-not-usable`` for the issuer, ``usage`` for the lifetime.
    """

    issuer: str
    audience: str
    lifetime: int = 300
    alg: Algorithm = "RS256"
    scope_form: ScopeForm = "string"

    def __post_init__(self) -> None:
        if not _is_loopback_origin(self.issuer):
            raise ScopewardError("address-not-usable", f"the issuer {self.issuer!r} is not of the form http://127.0.0.1:PORT")
        if not SHORTEST_LIFETIME <= self.lifetime <= LONGEST_LIFETIME:
            raise ScopewardError("usage", f"the lifetime is not between {SHORTEST_LIFETIME} and {LONGEST_LIFETIME} seconds")


def _is_loopback_origin(issuer: str) -> bool:
    try:
        parts = urlsplit(issuer)
        return is_loopback(parts.hostname or "") and parts.port != 0 and issuer == f"http://{parts.netloc}" and "@" not in parts.netloc
    except ValueError:
        return False
