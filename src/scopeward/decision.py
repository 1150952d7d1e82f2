"""The answer to "may this call pass, and why": never a bare bool."""

from __future__ import annotations

from dataclasses import dataclass

from scopeward.identity import ActorChain


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes, with the rule that said so. ``public`` rules ask for no token, so their chain is ``None``."""

    api: str
    rule: str
    chain: ActorChain | None
    scopes_used: tuple[str, ...] = ()
    public: bool = False


@dataclass(frozen=True, slots=True)
class Denial:
    """No, with a reference of ``errors.REFERENCES``; its status, cause and remedy stand there.

    ``needs`` are the rule's scopes, filled only where a scope alone is missing (RFC 6750 section 3.1).
    """

    reference: str
    api: str | None = None
    rule: str | None = None
    chain: ActorChain | None = None
    needs: tuple[str, ...] = ()


Decision = Allowed | Denial
