"""The questions that a token is asked, whatever the rule says; each returns the reference of its "no", or ``None``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from scopeward.analysis.gateway import Revocation
from scopeward.analysis.presented import Claims, folded_audience, is_time, text_of, texts_of, well_typed
from scopeward.identity import PresentedToken
from scopeward.policy.model import Api, Issuer

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known at the time of the call beside policy and call.

    ``good_until`` says, by the issuer's name in the policy, until when (seconds since 1970) its keys are believed; without an entry, for ever.
    ``audit_full`` says that calls cannot be recorded and are refused for it.
    """

    revoked: tuple[Revocation, ...] = ()
    good_until: Mapping[str, int] = field(default_factory=dict)
    audit_full: bool = False


@dataclass(frozen=True, slots=True)
class Presented:
    """What the checks of a token look at. ``now`` is in seconds since 1970 (NumericDate), ``lifetime`` in seconds."""

    token: PresentedToken
    api: Api
    issuer: Issuer
    lifetime: int | None
    now: float
    standing: Standing

    @property
    def claims(self) -> Claims:
        """The token's claims."""
        return self.token.claims


def _malformed(p: Presented) -> str | None:
    """RFC 7519 section 4.1, RFC 7515 section 4.1: registered members are of the registered types."""
    return None if well_typed(p.token) else "token-malformed"


def _issuer(p: Presented) -> str | None:
    """RFC 8414 section 3.3, RFC 9207 section 2.4: compared code point by code point."""
    return None if p.claims.get("iss") == p.issuer.issuer else "token-issuer"


def _not_yet_valid(p: Presented) -> str | None:
    """RFC 7519 section 4.1.5."""
    nbf = p.claims.get("nbf")
    return "token-not-yet-valid" if is_time(nbf) and p.now < nbf - p.issuer.clock_skew else None


def _expired(p: Presented) -> str | None:
    """RFC 7519 section 4.1.4. A token without ``exp``, or with 0 there, is not expired but never verified: see ``_unbounded``."""
    exp = p.claims.get("exp")
    return "token-expired" if is_time(exp) and exp >= 1 and p.now > exp + p.issuer.clock_skew else None


def _audience(p: Presented) -> str | None:
    """RFC 7519 section 4.1.3, RFC 9068 section 4."""
    named = {folded_audience(aud) for aud in texts_of(p.claims.get("aud"))}
    return None if p.api.audience and folded_audience(p.api.audience) in named else "token-audience"


def _unbounded(p: Presented) -> str | None:
    """RFC 9068 section 2.2: without ``exp`` a token would be good for ever."""
    exp = p.claims.get("exp")
    return None if is_time(exp) and exp >= 1 else "token-verification-failed"


def _unknown_key(p: Presented) -> str | None:
    return "token-unknown-key" if p.token.key == "unknown" else None


def _signature(p: Presented) -> str | None:
    return None if p.token.key == "good" else "token-verification-failed"


def _stale_keys(p: Presented) -> str | None:
    """Keys that the issuer has not confirmed for too long prove nothing any more."""
    good_until = p.standing.good_until.get(p.issuer.name)
    return None if good_until is None or int(p.now) < good_until else "issuer-keys-stale"


def _unsafe(p: Presented) -> str | None:
    """What an upstream is told of the caller must reach it as it is: HTTP trims white space around a header's value and takes no control character."""
    told = (text_of(p.claims.get(claim)) or "" for claim in ("sub", p.issuer.client_claim))
    return "token-claim-unsafe" if any(text != text.strip(" \t") or _CONTROL.search(text) for text in told) else None


def _crit(p: Presented) -> str | None:
    """RFC 7515 section 4.1.11: a critical header that is not understood; none is."""
    return "token-crit" if "crit" in p.token.header else None


def _type(p: Presented) -> str | None:
    """RFC 9068 section 4 where the issuer marks access tokens; elsewhere an ID token is told by its claims (OIDC Core sections 2, 3.1.3.6)."""
    typ = p.token.header.get("typ", "JWT")  # RFC 7519 section 5.1: what has no type is a JWT
    kind = typ.lower() if isinstance(typ, str) else None
    if kind in {"at+jwt", "application/at+jwt"}:
        return None
    if p.issuer.typ == "at+jwt" or kind != "jwt":
        return "token-type"
    looks_like_id_token = any(claim in p.claims for claim in ("nonce", "at_hash", "c_hash"))
    has_scope = p.claims.get("scope") is not None or p.claims.get("scp") is not None
    has_client = p.claims.get(p.issuer.client_claim) is not None
    return None if has_scope and has_client and not looks_like_id_token else "token-type"


def _too_long(p: Presented) -> str | None:
    if p.lifetime is None:
        return None
    iat, exp = p.claims.get("iat"), p.claims.get("exp")
    if not (is_time(iat) and is_time(exp)):
        return "token-lifetime"
    return None if _countable(iat) and _countable(exp) and exp - iat <= p.lifetime else "token-lifetime"


def _id_missing(p: Presented) -> str | None:
    """RFC 9068 section 2.2."""
    return "token-id-missing" if p.issuer.jti == "required" and not text_of(p.claims.get("jti")) else None


def _revoked(p: Presented) -> str | None:
    return "token-revoked" if any(_names(r, p) for r in p.standing.revoked) else None


def _names(revocation: Revocation, p: Presented) -> bool:
    if revocation.issuer != p.claims.get("iss"):
        return False
    match revocation.what:
        case "token-id":
            named = text_of(p.claims.get("jti")) == revocation.value
        case "client":
            named = text_of(p.claims.get(p.issuer.client_claim)) == revocation.value
        case "subject":
            named = text_of(p.claims.get("sub")) == revocation.value
        case "issuer":
            named = True
    return named and not (revocation.before is not None and _issued_from(p.claims.get("iat"), revocation.before))


def _issued_from(iat: object, time: int) -> bool:
    """Good is only a whole number of seconds, in 19 digits at most, that is late enough: what cannot be told is not good."""
    return is_time(iat) and float(iat).is_integer() and time <= int(iat) < 10**19


def _countable(time: float) -> bool:
    """The engine hands a time with a fraction on without its last digits, and reckons with 63 bits."""
    return float(time).is_integer() and time < 2**63


def _actor(p: Presented) -> str | None:
    """RFC 8693 section 4.1: who may say that somebody acts for somebody is for the policy to say, and this version cannot say it."""
    return "actor-not-accepted" if "act" in p.claims else None


TOKEN_CHECKS: Final[tuple[Callable[[Presented], str | None], ...]] = (
    _malformed,
    _issuer,
    _not_yet_valid,
    _expired,
    _audience,
    _unbounded,
    _unknown_key,
    _signature,
    _stale_keys,
    _unsafe,
    _crit,
    _type,
    _too_long,
    _id_missing,
    _revoked,
    _actor,
)
"""The order is that of the engine: of two reasons to refuse a token, both must name the same one."""

VERIFYING: Final = frozenset(
    {
        "token-missing",
        "token-malformed",
        "token-issuer",
        "token-not-yet-valid",
        "token-expired",
        "token-audience",
        "token-verification-failed",
        "token-unknown-key",
    }
)
"""What a token is refused with before anything else is asked."""
