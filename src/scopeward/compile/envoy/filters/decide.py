"""The rule of the route, found by its key. Values: ``rule.ID scopes``, ``public.ID``, ``base`` (see *base*), or a reference.

It denies nothing: *enforce* does, and only on what this table says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from scopeward.analysis.gateway import Gateway, GatewayApi, GatewayIssuer, Operation
from scopeward.compile.envoy import certificates, names
from scopeward.compile.envoy.filters import base, jwt_authn, who
from scopeward.compile.envoy.proto import (
    JWT_METADATA,
    Json,
    action,
    all_of,
    any_of,
    choose,
    header,
    look_up,
    metadata,
    negate,
    nested,
    outcome,
    regex,
    table,
)
from scopeward.policy.model import ClientKind

RULE = "rule."
PUBLIC = "public."
BASE = "base"

REFERENCES = (
    "unknown-host",
    "token-ambiguous",
    "cors-not-configured",
    "api-not-found",
    "path-ambiguous",
    "client-certificate",
    "agent-not-named",
    "kind-not-allowed",
    "client-may-not",
    "scope-missing",
    "no-rule",
    "audit-unavailable",
)
"""All that this table can refuse with by itself. *enforce* must know each of them."""

# how the values of *who* begin, by the word in 'to'; services and agents also act for persons
_OF_KIND = {"people": "person ", "services": "service(?:-for-person)? ", "agents": "agent(?:-for-person)? "}


def build(gateway: Gateway) -> Json:
    """One entry an operation. A key that is not in the table, and none, is ``no-rule``."""
    entries: dict[str, Json] = {
        names.NO_API: action("api-not-found"),
        names.AMBIGUOUS: action("token-ambiguous"),
        names.PREFLIGHT: action("cors-not-configured"),
        names.ODD_PATH: action("path-ambiguous"),
        names.UNKNOWN_HOST: action("unknown-host"),
        names.RESOURCE_METADATA: action(f"{PUBLIC}{names.RESOURCE_METADATA}"),
        names.PASS_KEYS: action(f"{PUBLIC}{names.PASS_KEYS}"),
    }
    kinds = {client.name: client.kind for client in gateway.clients}
    issuers = {issuer.name: issuer for issuer in gateway.issuers}
    for api in gateway.apis:
        for operation in api.operations:
            entries[operation.id] = _operation(operation, api, issuers[api.issuer], kinds)
        entries[unruled(api)] = nested(choose([(outcome("base", exact=base.OK), action("no-rule"))], action(BASE)))
    return table("decide", look_up(names.RULE, dict(sorted(entries.items())), action("no-rule")))


def refusing() -> Json:
    """The table that refuses every call, for when calls cannot be recorded. It needs nothing of a policy, so it can be written in advance."""
    return table("decide", {"on_no_match": action("audit-unavailable")})


def unruled(api: GatewayApi) -> str:
    """The key of an API's paths that no rule covers: the token is judged first, then the call is refused."""
    return f"{names.NO_RULE}.{api.name}"


def _operation(operation: Operation, api: GatewayApi, issuer: GatewayIssuer, kinds: Mapping[str, ClientKind]) -> Json:
    shown = [] if api.client_certificate is None else [certificates.shown(api.client_certificate)]
    if operation.public is not None:
        public = action(f"{PUBLIC}{operation.id}")
        return nested(choose([(shown[0], public)], action("client-certificate"))) if shown else public
    usable = outcome("base", exact=base.OK)
    to = _let_in(operation, kinds)
    held = [_holds(scope, issuer) for scope in operation.needs]
    # one look at *who* where all is well; what is wrong is told apart only afterwards
    lets_in = all_of(usable, *shown, _who(to + _may(operation.needs)), *held)
    refusals = [
        (negate(usable), action(BASE)),
        *((negate(predicate), action("client-certificate")) for predicate in shown),
        (all_of(negate(_who(to)), outcome("who", prefix="agent")), action("agent-not-named")),
        (negate(_who(to)), action("kind-not-allowed")),
        (negate(_who("[^|]*" + _may(operation.needs))), action("client-may-not")),
    ]
    verdict = " ".join([f"{RULE}{operation.id}", *operation.needs])
    return nested(choose([(lets_in, action(verdict)), *refusals], action("scope-missing")))


def _let_in(operation: Operation, kinds: Mapping[str, ClientKind]) -> str:
    """``to``: how *who* begins where the current actor is of a kind that is let in, or is a client that is named.

    A space ends each word, so that no name is taken for the beginning of another; names hold no character that RE2 or *who* would read.
    """
    begins = [_OF_KIND[caller] for caller in operation.to.kinds]
    for client in operation.to.clients:
        begins += [re.escape(f"{kind} {client} ") for kind in who.KINDS[kinds[client]] if not kind.startswith(who.REFUSED)]
    return f"(?:{'|'.join(begins)})[^|]*"


def _may(needs: tuple[str, ...]) -> str:
    """How *who* ends where the client may use all of the scopes: they stand there in order, each between bars."""
    scopes = "".join(rf"(?:.*\|)?{re.escape(scope)}\|" for scope in sorted(set(needs)))
    return rf"\|(?:\*\||{scopes}).*"


def _who(pattern: str) -> Json:
    """A predicate: all of the value of *who* is matched by the pattern."""
    return outcome("who", safe_regex={"regex": pattern if pattern.endswith(".*") else f"{pattern}.*"})


def _holds(scope: str, issuer: GatewayIssuer) -> Json:
    """The token has exactly this scope word, in ``scope`` or in ``scp``."""
    if issuer.scope_form == "any":
        one_of = {"list_match": {"one_of": {"string_match": {"exact": scope}}}}
        return any_of(*(metadata(JWT_METADATA, [jwt_authn.PAYLOAD_KEY, claim], one_of) for claim in ("scope", "scp")))
    word = regex(f"(?s)(.* )?{re.escape(scope)}( .*)?")
    return any_of(header(names.SCOPE, safe_regex=word), header(names.SCP, safe_regex=word))
