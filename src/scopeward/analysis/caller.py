"""Who calls: from a verified token's claims and the policy's clients to an actor chain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from scopeward.analysis.presented import Claims, scopes_of, text_of
from scopeward.identity import ActorChain, Principal
from scopeward.policy.model import Client, Issuer, PersonEvidence, Policy

_LOOKS_STRUCTURED = re.compile(r"[We][yz0-3]")
"""How base64 of '[' or '{' with any next character begins."""
_LOOKS_EMPTY = frozenset({"W10=", "e30="})
"""Base64 of '[]' and '{}'."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, with the token's scopes and what the client may use of them (``None``: no bound)."""

    chain: ActorChain
    scopes: frozenset[str]
    may: tuple[str, ...] | None


def caller_of(policy: Policy, issuer: Issuer, claims: Claims) -> Caller | Literal["client-unlisted", "person-missing"]:
    """The caller, or the reference of the denial. Principals carry ``iss``, since names are only good within a policy."""
    client_id = text_of(claims.get(issuer.client_claim))
    subject = text_of(claims.get("sub"))
    is_person = speaks_for_person(issuer.person, claims)
    client = next((c for c in policy.clients if (c.issuer, c.id) == (issuer.name, client_id)), None)
    if client is None and not (policy.unlisted_clients == "as_person" and is_person):
        return "client-unlisted"
    if client is not None and client.kind == "app" and not is_person:
        return "person-missing"
    chain = _chain(client, issuer.issuer, subject, client_id, is_person=is_person)
    return Caller(chain, scopes_of(claims, issuer.scope_form), client.may if client else None)


def _chain(client: Client | None, iss: str, subject: str | None, client_id: str | None, *, is_person: bool) -> ActorChain:
    if client is None or client.kind == "app":
        return ActorChain((Principal("person", iss, subject, client.name if client else None, client_id),))
    if is_person:
        return ActorChain((Principal(client.kind, iss, None, client.name, client_id), Principal("person", iss, subject)))
    return ActorChain((Principal(client.kind, iss, subject, client.name, client_id),))


def speaks_for_person(evidence: PersonEvidence | None, claims: Claims) -> bool:
    """Whether the token speaks for a person. Only on positive evidence: a claim that is null, empty or of another type proves nobody.

    ``present`` is met by a text, number, boolean, list or mapping that is not empty; ``is`` and ``not`` compare single values as text.
    An engine may see a list or mapping as base64 text only, so a text that could be one is no evidence under ``not``, and one that could be an
    empty one is none under ``present``.
    """
    if evidence is None:
        return False
    value = claims.get(evidence.claim)
    text = text_of(value)
    match evidence.test:
        case "is":
            return text == evidence.value
        case "not":
            return text is not None and text != evidence.value and not _LOOKS_STRUCTURED.match(text)
        case "present":
            return (text is not None and text not in _LOOKS_EMPTY) or isinstance(value, float) or (isinstance(value, list | tuple | dict) and bool(value))
