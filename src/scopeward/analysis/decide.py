"""May this call pass, and why? The policy's own answer, from the policy alone.

The compiled gateway gives a second, independent answer to the same question, so this shares no code with the compiler beyond the
frozen types and ``policy.path``. The order of the questions is data: the first that says no is the reason.

1. One token at most                         (``token-ambiguous``)
2. The API at the path, the longest ``at``   (``api-not-found``)
3. The rule; a public one ends here with yes
4. The token: ``TOKEN_CHECKS``, in their order
5. The caller: who the token speaks for
6. The rule again: ``RULE_CHECKS``, in their order; what no rule covers is refused
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import unquote

from scopeward.analysis.caller import Caller, caller_of
from scopeward.analysis.presented import Claims, folded_audience, is_time, text_of, texts_of, well_typed
from scopeward.decision import Allowed, Decision, Denial
from scopeward.identity import PresentedToken
from scopeward.policy.model import Api, Issuer, Policy, Rule
from scopeward.policy.path import Template, join, parse_at, parse_template, split_path

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it reaches the gateway.

    ``path`` is the request target with its query, after the edge normalized it. ``authorization`` holds every value of that header,
    ``token`` what the bearer credential among them was: taken apart, none at all, or not a signed JWT.
    """

    method: str
    path: str
    authorization: tuple[str, ...]
    token: PresentedToken | Literal["none", "malformed"]


@dataclass(frozen=True, slots=True)
class Presented:
    """What the checks of a token look at. ``now`` is in seconds since 1970 (NumericDate), ``lifetime`` in seconds."""

    token: PresentedToken
    api: Api
    issuer: Issuer
    lifetime: int | None
    now: float
    revoked: frozenset[tuple[str, str]]

    @property
    def claims(self) -> Claims:
        """The token's claims."""
        return self.token.claims


def decide(policy: Policy, call: Call, now: float, revoked: frozenset[tuple[str, str]]) -> Decision:
    """Decide one call.

    ``policy`` must have passed the checks. ``now`` is in seconds since 1970; ``revoked`` holds pairs of ``iss`` and ``jti``.
    Raises nothing for whatever a caller sends.
    """
    path, _, query = call.path.partition("?")
    if _ambiguous(call, query):
        return Denial("token-ambiguous")
    api = api_at(policy, path)
    if api is None:
        return Denial("api-not-found")
    rule = rule_for(api, call.method, path)
    operation = rule.operation if rule else None
    if rule and rule.public is not None:
        return Allowed(api.name, rule.operation, None, public=True)
    if not isinstance(call.token, PresentedToken):
        return Denial("token-missing" if call.token == "none" else "token-malformed", api.name, operation)  # noqa: S105
    issuer = next(i for i in policy.issuers if i.name == api.issuer)
    presented = Presented(call.token, api, issuer, _lifetime(policy, issuer), now, revoked)
    for check in TOKEN_CHECKS:
        if reference := check(presented):
            return Denial(reference, api.name, operation)
    caller = caller_of(policy, issuer, call.token.claims)
    if isinstance(caller, str):
        return Denial(caller, api.name, operation)
    return _by_rule(api, rule, caller)


def api_at(policy: Policy, path: str) -> Api | None:
    """The API whose ``at`` is the longest prefix of the path, segment by segment; there is no falling back to a shorter one."""
    parts = split_path(path)
    if parts is None:
        return None
    homes = [(parse_at(api.at).segments, api) for api in policy.apis]
    around = [(len(at), api) for at, api in homes if tuple(s.text for s in at) == parts[: len(at)]]
    return max(around, key=lambda found: found[0])[1] if around else None


def rule_for(api: Api, method: str, path: str) -> Rule | None:
    """The rule for a call of this API: the most specific template over all methods, then the method; HEAD follows GET."""
    fitting = [(template, rule) for rule in api.rules if (template := _full(api.at, rule.template)).matches(path)]
    if not fitting:
        return None
    best = min(template.specificity for template, _ in fitting)
    by_method = {rule.method: rule for template, rule in fitting if template.specificity == best}
    return by_method.get(method) or (by_method.get("GET") if method == "HEAD" else None)


@lru_cache(maxsize=4096)
def _full(at: str, template: str) -> Template:
    return join(parse_at(at), parse_template(template))


def _ambiguous(call: Call, query: str) -> bool:
    """RFC 6750 section 2: one method of sending a token a request. The parameter's name counts in every encoding of it."""
    if sum(value != "" for value in call.authorization) > 1 or any("," in value for value in call.authorization):
        return True
    # an upstream may split a query at any of these
    names = (unquote(part.partition("=")[0]) for part in re.split("[&;?]", query))
    return bool(call.authorization) and "access_token" in names


def _lifetime(policy: Policy, issuer: Issuer) -> int | None:
    return next((t.lifetime for t in policy.trust if t.name == issuer.trust and t.over == "refuse"), None)


# ── the token: each returns the reference of its "no", or None ──────────────────────────────────────────────────────────────────────


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
    # the engine hands a time with a fraction on without its last digits, so that nothing can be told from it
    whole = float(iat).is_integer() and float(exp).is_integer()
    return None if whole and exp - iat <= p.lifetime else "token-lifetime"


def _revoked(p: Presented) -> str | None:
    return "token-revoked" if (p.claims.get("iss"), p.claims.get("jti")) in p.revoked else None


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
    _unsafe,
    _crit,
    _type,
    _too_long,
    _revoked,
    _actor,
)
"""The order is that of the engine: of two reasons to refuse a token, both must name the same one."""


# ── the rule ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _kind(rule: Rule, caller: Caller) -> str | None:
    actor = caller.chain.current
    kind = {"person": "people", "service": "services", "agent": "agents"}[actor.kind]
    if kind in rule.to.kinds or (actor.client is not None and actor.client in rule.to.clients):
        return None
    return "agent-not-named" if actor.kind == "agent" else "kind-not-allowed"


def _may(rule: Rule, caller: Caller) -> str | None:
    return None if caller.may is None or set(rule.needs) <= set(caller.may) else "client-may-not"


def _scopes(rule: Rule, caller: Caller) -> str | None:
    return None if set(rule.needs) <= caller.scopes else "scope-missing"


RULE_CHECKS: Final[tuple[Callable[[Rule, Caller], str | None], ...]] = (_kind, _may, _scopes)


def _by_rule(api: Api, rule: Rule | None, caller: Caller) -> Decision:
    if rule is None:
        return Denial("no-rule", api.name, chain=caller.chain)
    for check in RULE_CHECKS:
        if reference := check(rule, caller):
            needs = rule.needs if reference == "scope-missing" else ()
            return Denial(reference, api.name, rule.operation, caller.chain, needs)
    return Allowed(api.name, rule.operation, caller.chain, rule.needs)
