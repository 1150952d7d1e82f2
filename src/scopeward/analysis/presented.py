"""Reading the claims of a token that nobody vouches for yet: what is not of its registered type counts as nothing, or as malformed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeGuard

from scopeward.identity import PresentedToken

Claims = Mapping[str, Any]

_TIMES = ("exp", "nbf", "iat")
_TEXTS = ("iss", "sub", "jti")


def is_time(value: object) -> TypeGuard[float]:
    """Whether it is a NumericDate (RFC 7519 section 2): a number from 0 on. JSON's ``true`` is none, though Python's is."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**64


def well_typed(token: PresentedToken) -> bool:
    """Whether the registered members that are there have their registered types (RFC 7519 section 4.1, RFC 7515 section 4.1)."""
    claims, header = token.claims, token.header
    return (
        all(is_time(claims[name]) for name in _TIMES if name in claims)
        and all(isinstance(claims[name], str) for name in _TEXTS if name in claims)
        and ("aud" not in claims or _is_audience(claims["aud"]))
        and isinstance(header.get("alg", ""), str)
        and isinstance(header.get("kid", ""), str)
    )


def _is_audience(aud: object) -> bool:
    return isinstance(aud, str) or (isinstance(aud, list | tuple) and all(isinstance(item, str) for item in aud))


def folded_audience(audience: str) -> str:
    """An audience as the engine compares it: without ``http://`` or ``https://`` in front and without one slash at the end.

    So audiences that differ in no more than that are one audience, also for the checks of the policy.
    """
    scheme = next((s for s in ("http://", "https://") if audience.startswith(s)), "")
    return audience.removeprefix(scheme).removesuffix("/")


def texts_of(value: object) -> tuple[str, ...]:
    """A claim that is one text or several, as ``aud`` is; what is neither is no text."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def text_of(value: object) -> str | None:
    """A claim as the text that a header would carry: a text that is not empty, a whole number, ``true`` or ``false``."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if abs(value) < 2**63:
            return str(value)
        case str() if value:
            return value
        case _:
            return None


def scopes_of(claims: Claims, form: Literal["any", "string"]) -> frozenset[str]:
    """The words of ``scope`` (RFC 9068 section 2.2.3) and of ``scp``; each a text of words with single spaces between, or an array of words.

    Words are exact: no trimming, no folding, no other white space. Where the issuer's ``scope_form`` is ``string``, an array holds none.
    """
    return frozenset(word for name in ("scope", "scp") for word in _words(claims.get(name), form) if word)


def _words(value: object, form: Literal["any", "string"]) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split(" "))
    return texts_of(value) if form == "any" else ()
