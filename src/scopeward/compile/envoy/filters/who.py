"""Who calls: issuer, then client, then whether the token speaks for a person. The value is ``KIND CLIENT ISSUER |scope|scope|``.

``CLIENT`` and ``ISSUER`` are names of the policy (``-`` where there is none); what stands between bars is what the client may use, ``|*|``
is no bound. Names hold neither bars nor spaces, so no name can be read as a scope.
"""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway, GatewayClient, GatewayIssuer
from scopeward.compile.envoy import names
from scopeward.compile.envoy.proto import Json, action, all_of, choose, header, header_present, look_up, negate, nested, regex, table
from scopeward.policy.model import ClientKind

# (with a person in the token, without)
KINDS: dict[ClientKind, tuple[str, str]] = {
    "app": ("person", "refused.person-missing"),
    "service": ("service-for-person", "service"),
    "agent": ("agent-for-person", "agent"),
}
REFUSED = "refused."
"""How the kinds of callers begin that no rule can let in; what follows is the reference."""

UNLISTED = f"{REFUSED}client-unlisted"
ANY_SCOPE = "|*|"


def build(gateway: Gateway) -> Json:
    """The table. A nested miss would fall to the outer answer, so every level has its own."""
    nobody = action(f"{REFUSED}token-missing - - ||")
    return table("who", look_up(names.ISSUER, {i.issuer: nested(_of_issuer(i, gateway)) for i in gateway.issuers}, nobody))


def _of_issuer(issuer: GatewayIssuer, gateway: Gateway) -> Json:
    clients = {c.client_id: _client(c, issuer) for c in gateway.clients if c.issuer == issuer.name}
    return look_up(names.CLIENT, clients, _unlisted(issuer, gateway))


def _client(client: GatewayClient, issuer: GatewayIssuer) -> Json:
    with_person, alone = KINDS[client.kind]
    may = ANY_SCOPE if client.may is None else "|" + "".join(f"{scope}|" for scope in client.may)
    names_it = f"{client.name} {issuer.name} {may}"
    person = person_evidence(issuer)
    if person is None:
        return action(f"{alone} {names_it}")
    return nested(choose([(person, action(f"{with_person} {names_it}"))], action(f"{alone} {names_it}")))


def _unlisted(issuer: GatewayIssuer, gateway: Gateway) -> Json:
    refused = action(f"{UNLISTED} - {issuer.name} ||")
    person = person_evidence(issuer)
    if gateway.unlisted_clients == "refuse" or person is None:
        return refused
    return nested(choose([(person, action(f"person - {issuer.name} {ANY_SCOPE}"))], refused))


def person_evidence(issuer: GatewayIssuer) -> Json | None:
    """The predicate that a token speaks for a person, or ``None`` where nothing can prove it.

    Envoy hands lists and mappings on as base64 of their JSON: an empty one is no evidence, and none is under ``not``.
    """
    match issuer.person:
        case None:
            return None
        case person if person.test == "is":
            return header(names.PERSON, exact=person.value)
        case person if person.test == "not":
            structured = header(names.PERSON, safe_regex=regex("(?s)[We][yz0-3].*"))
            return all_of(header_present(names.PERSON), negate(header(names.PERSON, exact=person.value)), negate(structured))
        case _:
            empty = header(names.PERSON, safe_regex=regex("W10=|e30="))
            return all_of(header_present(names.PERSON), negate(empty))
