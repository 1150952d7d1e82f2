"""Who calls: principals, actor chains, and the line between tokens that were verified and tokens that were not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NewType

Kind = Literal["person", "service", "agent"]
"""What a principal is: a person, a service, or an agent (an automated actor)."""

UnverifiedToken = NewType("UnverifiedToken", str)
"""A token as it came in: nothing in it may be believed."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a verified token speaks for. Always a pair with its issuer: equal names of two issuers never meet.

    ``client`` is the name that the policy gives the client, ``client_id`` the value in the token.
    """

    kind: Kind
    issuer: str
    subject: str | None = None
    client: str | None = None
    client_id: str | None = None

    @property
    def name(self) -> str:
        """How people call it: the listed client's name for machines, the subject for persons."""
        if self.kind == "person":
            return self.subject or "-"
        return self.client or self.client_id or "-"


@dataclass(frozen=True, slots=True)
class ActorChain:
    """Who acts for whom, the current actor first (RFC 8693 section 4.1: the outermost ``act``).

    One entry is a principal acting for itself; ``(agent, person)`` is an agent acting for a person.
    """

    actors: tuple[Principal, ...]

    @property
    def current(self) -> Principal:
        """The actor that makes this call. ``to:`` looks at it."""
        return self.actors[0]

    @property
    def acts_for(self) -> Principal | None:
        """The person at the end of the chain, where somebody else acts for them."""
        last = self.actors[-1]
        return last if len(self.actors) > 1 and last.kind == "person" else None

    def __str__(self) -> str:
        return " ← ".join(f"{a.kind} {a.name}" for a in self.actors)


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A JWT taken apart, with what its signature proved. ``verified_by_issuer_key`` is the one fact that is not in the token.

    ``key`` says how the signature check went: ``good``, ``unknown`` (no key of the issuer fits its ``kid`` and ``alg``)
    or ``bad`` (a key fits and the signature does not).
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    key: Literal["good", "unknown", "bad"] = "good"
