from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from scopeward.analysis.decide import Call, decide
from scopeward.analysis.gateway import Revocation, RevokedWhat
from scopeward.analysis.token_checks import TOKEN_CHECKS, Standing
from scopeward.decision import Allowed, Denial
from scopeward.errors import REFERENCES
from scopeward.identity import ActorChain, PresentedToken, Principal
from scopeward.policy.model import Api, Client, ClientCertificate, Issuer, OddPath, PersonEvidence, Policy, Rule, To, Trust, Upstream

ISS = "https://idp.example/"
NOW = 1_700_000_000
UPSTREAM = Upstream("http://127.0.0.1:9001")

ORDERS = Api(
    "orders",
    "/orders/v1",
    "idp",
    "api://orders",
    UPSTREAM,
    (
        Rule("GET", "/**", ("read.orders",), To(("people", "services"), ("copilot",))),
        Rule("POST", "/", ("create.orders", "read.orders"), To(("people",))),
        Rule("GET", "/health", public="probe"),
        Rule("GET", "/{id}", ("read.orders",)),
        Rule("DELETE", "/{number}", ("delete.orders",), To((), ("web", "sync"))),
        Rule("HEAD", "/{id}/items", (), To(("services",))),
        Rule("GET", "/{id}/items", ()),
        Rule("GET", "/any", (), To(("people", "services", "agents"))),
    ),
)
POLICY = Policy(
    public_url="http://127.0.0.1:8080",
    issuers=(Issuer("idp", ISS, "api://acme", 30, "at+jwt", "client_id", PersonEvidence("idtyp", "is", "user"), "internal"),),
    scopes=(),
    clients=(
        Client("web", "app", "idp", "web-id"),
        Client("other-web", "app", "idp", "other-web-id"),
        Client("sync", "service", "idp", "sync-id", ("read.orders", "delete.orders")),
        Client("copilot", "agent", "idp", "copilot-id"),
        Client("stranger", "service", "elsewhere", "elsewhere-id"),
    ),
    apis=(ORDERS, Api("within", "/orders/v1/within", "idp", "api://within", UPSTREAM, ())),
    trust=(Trust("internal", 3600, "refuse"),),
)
SERVICE = {
    "iss": ISS,
    "aud": "api://orders",
    "exp": NOW + 600,
    "iat": NOW - 60,
    "sub": "s",
    "client_id": "sync-id",
    "scope": "read.orders delete.orders",
    "jti": "j",
}
PERSON = {**SERVICE, "idtyp": "user", "sub": "alice", "client_id": "web-id", "scope": "read.orders create.orders delete.orders"}


def token(
    claims: dict[str, Any] = SERVICE, *, header: dict[str, Any] | None = None, key: Literal["good", "unknown", "bad"] = "good", **change: Any
) -> PresentedToken:
    changed = {k: v for k, v in {**claims, **change}.items() if v is not ...}
    return PresentedToken({"alg": "RS256", "typ": "at+jwt"} if header is None else header, changed, key)


GONE = Standing((Revocation(ISS, "token-id", "gone"),))


def asked(
    method: str,
    path: str,
    presented: PresentedToken | Literal["none", "malformed"] = "none",
    *,
    authorization: tuple[str, ...] = ("Bearer x",),
    policy: Policy = POLICY,
    now: float = NOW,
    standing: Standing = GONE,
    **more: Any,
) -> str:
    decision = decide(policy, Call(method, path, authorization, presented, **more), now, standing)
    if isinstance(decision, Denial):
        assert decision.reference in REFERENCES
        return decision.reference
    return decision.rule


# ── which API, which rule ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/orders/v1", "no-rule"),  # the template "/" is POST's alone, and there is no falling back
        ("GET", "/orders/v1/", "no-rule"),  # most servers take it for "/", which is POST's
        ("GET", "/orders/v1/42", "GET /{id}"),
        ("GET", "/orders/v1/42?x=/health", "GET /{id}"),
        ("GET", "/orders/v1/42/", "no-rule"),  # most servers take it for "/42", which asks for more
        ("GET", "/orders/v1/42/x/", "GET /**"),
        ("GET", "/orders/v1/42/a/b", "GET /**"),
        ("HEAD", "/orders/v1/42", "GET /{id}"),
        ("HEAD", "/orders/v1/42/items", "HEAD /{id}/items"),
        ("GET", "/orders/v1/health", "GET /health"),
        ("HEAD", "/orders/v1/health", "GET /health"),
        ("POST", "/orders/v1/health", "no-rule"),
        ("POST", "/orders/v1/42", "no-rule"),
        ("get", "/orders/v1/42", "no-rule"),
        ("OPTIONS", "/orders/v1/42", "no-rule"),
        ("PUT", "/orders/v1/x/y/z", "no-rule"),
        ("DELETE", "/orders/v1/42", "DELETE /{number}"),
        ("GET", "/orders/v1x", "api-not-found"),
        ("GET", "/orders", "api-not-found"),
        ("GET", "orders/v1", "api-not-found"),
        ("GET", "*", "api-not-found"),
        ("GET", "", "api-not-found"),
        ("GET", "/ORDERS/v1", "api-not-found"),
    ],
)
def test_which_rule(method: str, path: str, answer: str) -> None:
    assert asked(method, path, token()) == answer


def test_the_longest_at_wins_and_does_not_fall_back() -> None:
    assert asked("GET", "/orders/v1/within/x", token(aud="api://within")) == "no-rule"
    assert asked("GET", "/orders/v1/within", token()) == "token-audience"
    assert asked("GET", "/orders/v1/without", token()) == "GET /{id}"


# ── one token at most, before all else ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/orders/v1/42", "/orders/v1/health", "/nowhere"])
@pytest.mark.parametrize(
    ("authorization", "query"),
    [
        (("Basic x Bearer a",), ""),
        (("xBearer a",), ""),
        (("Bearer a b",), ""),
        (('Bearer "a"',), ""),
        (("Bearer a", "Bearer b"), ""),
        (("Bearer a, Bearer b",), ""),
        (("Bearer a",), "?access_token=b"),
        (("",), "?x&access_token"),
        (("Basic eDp5",), "?access%5Ftoken=b"),
    ],
)
def test_more_than_one_token_is_refused_everywhere(path: str, authorization: tuple[str, ...], query: str) -> None:
    assert asked("GET", path + query, token(), authorization=authorization) == "token-ambiguous"


def test_a_token_in_the_query_alone_is_no_token() -> None:
    assert asked("GET", "/orders/v1/42?access_token=x", "none", authorization=()) == "token-missing"
    assert asked("GET", "/orders/v1/42?x=access_token", token()) == "GET /{id}"


# ── public ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("presented", ["none", "malformed", token(exp=1), token(key="bad"), token()])
def test_public_is_public_whatever_the_token(presented: PresentedToken | Literal["none", "malformed"]) -> None:
    decision = decide(POLICY, Call("GET", "/orders/v1/health", (), presented), NOW)
    assert decision == Allowed("orders", "GET /health", None, (), public=True)


# ── the token ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TOKEN_FAULTS: list[tuple[str, PresentedToken | Literal["none", "malformed"]]] = [
    ("token-missing", "none"),
    ("token-malformed", "malformed"),
    ("token-malformed", token(iat="1")),
    ("token-malformed", token(exp=True)),
    ("token-malformed", token(nbf=-1)),
    ("token-malformed", token(exp=float("nan"))),
    ("token-malformed", token(iss=["https://idp.example/"])),
    ("token-malformed", token(sub=1)),
    ("token-malformed", token(jti={})),
    ("token-malformed", token(aud=1)),
    ("token-malformed", token(aud=["api://orders", 1])),
    ("token-malformed", token(header={"typ": "at+jwt", "kid": 1})),
    ("token-issuer", token(iss=...)),
    ("token-issuer", token(iss="https://idp.example")),
    ("token-issuer", token(iss="https://IDP.example/")),
    ("token-not-yet-valid", token(nbf=NOW + 31)),
    ("token-expired", token(exp=NOW - 31)),
    ("token-audience", token(aud=...)),
    ("token-audience", token(aud="api://acme")),
    ("token-audience", token(aud=["api://orders//", "x"])),
    ("token-unknown-key", token(key="unknown")),
    ("token-verification-failed", token(key="bad")),
    ("token-verification-failed", token(exp=...)),
    ("token-crit", token(header={"typ": "at+jwt", "crit": []})),
    ("token-type", token(header={"typ": "JWT"})),
    ("token-type", token(header={})),
    ("token-type", token(header={"typ": None})),
    ("token-type", token(header={"typ": "at+jwtx"})),
    ("token-lifetime", token(iat=...)),
    ("token-lifetime", token(iat=NOW - 3001)),
    ("token-revoked", token(jti="gone")),
    ("actor-not-accepted", token(act={"sub": "x"})),
    ("actor-not-accepted", token(act=None)),
]


@pytest.mark.parametrize(("reference", "presented"), TOKEN_FAULTS)
@pytest.mark.parametrize("path", ["/orders/v1/42", "/orders/v1/a/b"])
def test_faults_of_the_token(path: str, reference: str, presented: PresentedToken | Literal["none", "malformed"]) -> None:
    assert asked("GET", path, presented) == reference
    assert asked("PUT", path, presented) == reference  # no rule: the token is checked first


@pytest.mark.parametrize(
    "presented",
    [
        token(nbf=NOW + 30),
        token(exp=NOW - 30),
        token(aud=["x", "api://orders"]),
        token(iat=NOW - 3000),
        token(header={"typ": "AT+JWT"}),
        token(header={"typ": "application/at+jwt"}),
        token(jti=...),
    ],
)
def test_tokens_just_good_enough(presented: PresentedToken) -> None:
    assert asked("GET", "/orders/v1/42", presented) == "GET /{id}"


WITH_IDS = replace(POLICY, issuers=(replace(POLICY.issuers[0], jti="required"),))


def test_the_order_of_the_token_checks() -> None:
    """Each fault is added to all that come after it: the earlier is the answer."""
    faults: list[tuple[str, dict[str, Any]]] = [
        ("token-malformed", {"sub": 1}),
        ("token-issuer", {"iss": "x"}),
        ("token-not-yet-valid", {"nbf": NOW + 1000}),
        ("token-expired", {"exp": NOW - 1000}),
        ("token-audience", {"aud": "x"}),
        ("token-verification-failed", {"exp": ...}),
        ("token-unknown-key", {"key": "unknown"}),
        ("token-verification-failed", {"key": "bad"}),
        ("issuer-keys-stale", {}),
        ("token-claim-unsafe", {"sub": " admin"}),
        ("token-crit", {"header": {"typ": "x", "crit": 1}}),
        ("token-type", {"header": {"typ": "x"}}),
        ("token-lifetime", {"iat": 1}),
        ("token-id-missing", {"jti": ...}),
        ("token-revoked", {"jti": "gone"}),
        ("actor-not-accepted", {"act": {}}),
    ]
    assert len(TOKEN_CHECKS) == len(faults)
    stale = [reference for reference, _ in faults].index("issuer-keys-stale")
    for i, (reference, _) in enumerate(faults):
        together: dict[str, Any] = {}
        for _, fault in reversed(faults[i:]):
            together |= fault
        standing = replace(GONE, good_until={"idp": NOW} if i <= stale else {})
        assert asked("GET", "/orders/v1/42", token(**together), policy=WITH_IDS, standing=standing) == reference


ANY = replace(POLICY, issuers=(replace(POLICY.issuers[0], typ="any"),))


@pytest.mark.parametrize(
    ("header", "change", "answer"),
    [
        ({"typ": "at+jwt"}, {"nonce": "n"}, "GET /{id}"),
        ({"typ": "JWT"}, {}, "GET /{id}"),
        ({"typ": "jwt"}, {}, "GET /{id}"),
        ({}, {}, "GET /{id}"),
        ({}, {"nonce": "n"}, "token-type"),
        ({}, {"at_hash": "n"}, "token-type"),
        ({}, {"c_hash": None}, "token-type"),
        ({}, {"scope": ...}, "token-type"),
        ({}, {"scope": ..., "scp": ["read.orders"]}, "GET /{id}"),
        ({}, {"client_id": ...}, "token-type"),
        ({"typ": "logout+jwt"}, {}, "token-type"),
        ({"typ": "ID"}, {}, "token-type"),
        ({"typ": ["JWT"]}, {}, "token-type"),
    ],
)
def test_the_type_where_the_issuer_does_not_mark_it(header: dict[str, Any], change: dict[str, Any], answer: str) -> None:
    assert asked("GET", "/orders/v1/42", token(header=header, **change), policy=ANY) == answer


def test_a_lifetime_that_is_only_reported_refuses_nobody() -> None:
    for trust in ((), (Trust("internal", 1, "report"),), (Trust("external", 1, "refuse"),)):
        assert asked("GET", "/orders/v1/42", token(iat=...), policy=replace(POLICY, trust=trust)) == "GET /{id}"


def test_a_token_id_is_revoked_with_its_issuer() -> None:
    standing = Standing((Revocation("https://other/", "token-id", "gone"),))
    assert asked("GET", "/orders/v1/42", token(jti="gone"), standing=standing) == "GET /{id}"


# ── what is known at the time ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("jti", [..., "", None])
def test_a_token_without_an_id_where_the_issuer_must_give_one(jti: Any) -> None:
    expected = "token-malformed" if jti is None else "token-id-missing"
    assert asked("GET", "/orders/v1/42", token(jti=jti), policy=WITH_IDS) == expected
    assert asked("GET", "/orders/v1/42", token(jti=jti)) == ("token-malformed" if jti is None else "GET /{id}")


@pytest.mark.parametrize(
    ("what", "value", "revoked"),
    [
        ("client", "sync-id", True),
        ("client", "sync", False),
        ("client", "SYNC-ID", False),
        ("subject", "s", True),
        ("subject", "sync-id", False),
        ("token-id", "j", True),
        ("token-id", "s", False),
        ("issuer", "", True),
    ],
)
def test_revocations_name_what_stands_in_the_token(what: RevokedWhat, value: str, revoked: bool) -> None:
    of_issuer, of_other = (Standing((Revocation(issuer, what, value),)) for issuer in (ISS, "https://other/"))
    assert asked("GET", "/orders/v1/42", token(), standing=of_issuer) == ("token-revoked" if revoked else "GET /{id}")
    assert asked("GET", "/orders/v1/42", token(), standing=of_other) == "GET /{id}"


@pytest.mark.parametrize("what", ["client", "subject", "issuer"])
@pytest.mark.parametrize(
    ("iat", "revoked"),
    [
        (NOW - 101, True),
        (NOW - 100, False),
        (NOW, False),
        (NOW + 1000, False),
        (..., True),
        (0, True),
        (NOW - 0.5, True),
        (float(NOW), False),
        (2**63, False),
        (10**19, True),
    ],
)
def test_revoked_are_tokens_that_do_not_say_that_they_were_issued_later(what: RevokedWhat, iat: Any, revoked: bool) -> None:
    unbounded = replace(POLICY, trust=())
    value = {"client": "sync-id", "subject": "s", "issuer": ""}[what]
    standing = Standing((Revocation(ISS, what, value, NOW - 100), Revocation(ISS, "client", "other", NOW + 5000)))
    assert asked("GET", "/orders/v1/42", token(iat=iat), policy=unbounded, standing=standing) == ("token-revoked" if revoked else "GET /{id}")


@pytest.mark.parametrize(("now", "answer"), [(NOW - 0.1, "GET /{id}"), (NOW, "issuer-keys-stale"), (NOW + 10_000, "token-expired")])
def test_old_keys_prove_nothing(now: float, answer: str) -> None:
    assert asked("GET", "/orders/v1/42", token(iat=NOW - 60), now=now, standing=Standing(good_until={"idp": NOW, "other": 0})) == answer
    assert asked("GET", "/orders/v1/health", "none", now=now, standing=Standing(good_until={"idp": NOW})) == "GET /health"


@pytest.mark.parametrize(
    ("presented", "path", "more", "answer"),
    [
        (token(), "/orders/v1/42", {}, "audit-unavailable"),
        ("none", "/orders/v1/health", {}, "audit-unavailable"),
        ("none", "/nowhere", {}, "audit-unavailable"),
        ("none", "/orders/v1/42", {"host": "other"}, "audit-unavailable"),
        (token(jti="gone"), "/orders/v1/42", {}, "audit-unavailable"),
        ("none", "/orders/v1/42", {}, "token-missing"),
        (token(key="bad"), "/orders/v1/42", {}, "token-verification-failed"),
        (token(exp=1), "/orders/v1/42", {}, "token-expired"),
    ],
)
def test_what_cannot_be_recorded_is_refused(presented: Any, path: str, more: dict[str, Any], answer: str) -> None:
    """Whoever has no good token is told so, as ever; for all others it is the reason."""
    assert asked("GET", path, presented, standing=replace(GONE, audit_full=True), **more) == answer


# ── the gateway's name, browsers, certificates ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("host", "known"), [(None, True), ("127.0.0.1", True), ("LocalHost", True), ("[::1]", True), ("localhost.", False), ("gw", False)])
def test_the_gateway_answers_under_its_own_name_alone(host: str | None, known: bool) -> None:
    for path in ("/orders/v1/42", "/orders/v1/health", "/nowhere", "/orders/v1/42?access_token=x"):
        assert (asked("GET", path, token(), host=host) != "unknown-host") == known


def test_a_name_of_its_own_is_the_only_one() -> None:
    policy = replace(POLICY, public_url="https://GW.example:8443")
    assert asked("GET", "/orders/v1/42", token(), policy=policy, host="gw.EXAMPLE") == "GET /{id}"
    assert asked("GET", "/orders/v1/42", token(), policy=policy, host="127.0.0.1") == "unknown-host"


@pytest.mark.parametrize("path", ["/orders/v1/42", "/orders/v1/health", "/nowhere"])
def test_a_preflight_is_answered_by_the_gateway(path: str) -> None:
    assert asked("OPTIONS", path, "none", authorization=(), preflight=True) == "cors-not-configured"
    assert asked("GET", path, "none", authorization=(), preflight=True) == asked("GET", path, "none", authorization=())
    assert asked("OPTIONS", path, "none", authorization=()) != "cors-not-configured"
    assert asked("OPTIONS", path, "none", authorization=("a", "b"), preflight=True) == "token-ambiguous"


def certified(*names: str) -> Policy:
    return replace(POLICY, apis=(replace(ORDERS, client_certificate=ClientCertificate(names)), POLICY.apis[1]))


@pytest.mark.parametrize(
    ("wanted", "shown", "accepted"),
    [
        ((), None, False),
        ((), (), True),
        ((), ("dns:x",), True),
        (("dns:a", "uri:b:c"), None, False),
        (("dns:a", "uri:b:c"), (), False),
        (("dns:a", "uri:b:c"), ("dns:a",), True),
        (("dns:a", "uri:b:c"), ("dns:x", "dns:a"), False),
        (("dns:a", "uri:b:c"), ("dns:a", "uri:d:e", "uri:f:g"), True),
        (("dns:a", "uri:b:c"), ("dns:x", "uri:b:c"), True),
        (("dns:a", "uri:b:c"), ("uri:a",), False),
        (("dns:a", "uri:b:c"), ("dns:b:c",), False),
        (("dns:a", "uri:b:c"), ("uri:b:c",), True),
        (("dns:a", "uri:b:c"), ("uri:b:c", "uri:d:e"), False),
        (("dns:a", "uri:b:c"), ("dns:A",), False),
        (("dns:a", "uri:b:c"), ("dns:a.x", "dns:xa"), False),
    ],
)
def test_client_certificates(wanted: tuple[str, ...], shown: tuple[str, ...] | None, accepted: bool) -> None:
    policy = certified(*wanted)
    assert asked("GET", "/orders/v1/42", token(), policy=policy, certificate=shown) == ("GET /{id}" if accepted else "client-certificate")
    assert asked("GET", "/orders/v1/health", "none", policy=policy, certificate=shown) == ("GET /health" if accepted else "client-certificate")


def test_a_certificate_is_asked_for_after_the_token_and_before_the_rule() -> None:
    policy = certified()
    assert asked("GET", "/orders/v1/42", "none", policy=policy) == "token-missing"
    assert asked("GET", "/orders/v1/42", token(client_id="unknown"), policy=policy) == "client-unlisted"
    assert asked("GET", "/orders/v1/42", token(client_id="copilot-id"), policy=policy) == "client-certificate"
    assert asked("PUT", "/orders/v1/42", token(), policy=policy) == "no-rule"


# ── paths that servers read in different ways ───────────────────────────────────────────────────────────────────────────────────────

FORMS: dict[OddPath, tuple[str, ...]] = {
    "semicolon": ("a;b", ";", "a%3Bb", "a%3b"),
    "percent": ("a%25b", "%2541"),
    "space": ("a%20b", "%20"),
    "dot": ("a.", "...", "a./b"),
}
NEVER = ("%00", "%1f", "%1F", "%7F", "%c0%af", "%C1", "%e0%80%af", "%E0%9f%bf", "%f0%80%80%af", "%F5", "%ff", "%", "a%", "%4", "%zz", "%4g/b", "%%20")
SOUND = ("a.b", ".a", "a..b", "%C3%A9", "%e0%a0%80", "%E2%82%AC", "%f0%90%80%80", "%2B", "a,b", "%80", "a%3Ab", "~", "%23")


@pytest.mark.parametrize(("form", "segment"), [(form, segment) for form, segments in FORMS.items() for segment in segments])
def test_an_odd_form_is_refused_unless_the_api_allows_it(form: OddPath, segment: str) -> None:
    others = tuple(other for other in FORMS if other != form)
    for allow, expected in (((), "path-ambiguous"), (others, "path-ambiguous"), ((form,), None), ((form, *others), None)):
        policy = replace(POLICY, apis=(replace(ORDERS, allow=allow), POLICY.apis[1]))
        answers = {asked("GET", f"/orders/v1/{segment}{end}", token(), policy=policy) for end in ("", "/x", "?x=1")}
        assert answers == {expected} if expected else "path-ambiguous" not in answers


@pytest.mark.parametrize("segment", NEVER)
def test_some_forms_are_refused_always(segment: str) -> None:
    policy = replace(POLICY, apis=(replace(ORDERS, allow=tuple(FORMS)), POLICY.apis[1]))
    assert asked("GET", f"/orders/v1/{segment}", token(), policy=policy) == "path-ambiguous"
    assert asked("GET", f"/orders/v1/x/{segment}/y", "none", policy=policy) == "path-ambiguous"
    assert asked("GET", f"/orders/v1/x?y={segment}", token(), policy=policy) == "GET /{id}"


@pytest.mark.parametrize("segment", SOUND)
def test_an_ordinary_path_is_none_of_them(segment: str) -> None:
    assert asked("GET", f"/orders/v1/{segment}", token()) == "GET /{id}"


# ── spellings ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

STRICT, EASY, OPEN = Rule("GET", "/admin", ("delete.orders",)), Rule("GET", "/{id}", ("read.orders",)), Rule("GET", "/{id}", public="why")


def at_shop(*rules: Rule, **more: Any) -> Policy:
    return replace(POLICY, apis=(Api("shop", "/shop", "idp", "api://orders", UPSTREAM, rules, **more),))


SPELT: list[tuple[tuple[Rule, ...], str, str]] = [
    ((STRICT, EASY), "/admin", "GET /admin"),
    ((STRICT, EASY), "/Admin", "no-rule"),
    ((STRICT, EASY), "/ADMIN", "no-rule"),
    ((STRICT, EASY), "/adm%C4%B1n", "no-rule"),
    ((STRICT, EASY), "/admins", "GET /{id}"),
    ((STRICT, OPEN), "/Admin", "no-rule"),
    ((Rule("GET", "/admin", ("read.orders",)), EASY), "/Admin", "GET /{id}"),  # asks the same
    ((Rule("GET", "/admin", public="why"), EASY), "/Admin", "GET /{id}"),  # asks less
    ((Rule("POST", "/admin", ("read.orders",)), EASY), "/Admin", "no-rule"),  # GET is refused there
    ((Rule("GET", "/admin", ("read.orders",), stream="sse"), EASY), "/Admin", "no-rule"),  # ends there
    ((STRICT, EASY, Rule("GET", "/Admin", ("read.orders",))), "/Admin", "GET /Admin"),  # written so
    ((STRICT, EASY, Rule("GET", "/Admin", ("read.orders",))), "/aDMIN", "no-rule"),
    ((Rule("GET", "/a:b", ("delete.orders",)), EASY), "/a:b", "GET /a:b"),
    ((Rule("GET", "/a:b", ("delete.orders",)), EASY), "/a%3Ab", "no-rule"),
    ((Rule("GET", "/a:b", ("delete.orders",)), EASY), "/A%3ab", "no-rule"),
    ((Rule("GET", "/keys", ("delete.orders",)), EASY), "/%E2%84%AAeys", "no-rule"),
    ((Rule("GET", "/keys", ("delete.orders",)), EASY), "/key%c5%bf", "no-rule"),
    ((Rule("GET", "/admin/**", ("delete.orders",)), Rule("GET", "/**")), "/Admin/x/y", "no-rule"),
    ((Rule("GET", "/admin/**", ("delete.orders",)), Rule("GET", "/**")), "/Admins/x/y", "GET /**"),
    ((Rule("GET", "/{id}/keys", ("delete.orders",)), Rule("GET", "/{id}/{part}")), "/7/Keys", "no-rule"),
    ((STRICT, Rule("GET", "/**")), "/admin/", "no-rule"),
    ((STRICT, Rule("GET", "/**")), "/Admin/", "no-rule"),
    ((STRICT, Rule("GET", "/**")), "/admin/x", "GET /**"),
    ((STRICT, Rule("GET", "/**"), Rule("GET", "/admin/")), "/admin/", "GET /admin/"),  # written so
    ((STRICT, Rule("GET", "/**", ("delete.orders",))), "/admin/", "GET /**"),  # asks the same
    ((Rule("GET", "/{id}", ("delete.orders",)), Rule("GET", "/**")), "/7/", "no-rule"),
]


@pytest.mark.parametrize(("rules", "path", "answer"), SPELT)
def test_another_spelling_leads_to_no_easier_rule(rules: tuple[Rule, ...], path: str, answer: str) -> None:
    assert asked("GET", f"/shop{path}", token(), policy=at_shop(*rules)) == answer
    assert asked("GET", f"/shop{path}", token(), policy=at_shop(*reversed(rules))) == answer


@pytest.mark.parametrize(("path", "answer"), [("/Admin", "GET /{id}"), ("/adm%C4%B1n", "GET /{id}"), ("/a%3Ab", "no-rule"), ("/A%3Ab", "GET /{id}")])
def test_an_upstream_that_tells_letters_apart_still_decodes(path: str, answer: str) -> None:
    policy = at_shop(STRICT, EASY, Rule("GET", "/a:b", ("delete.orders",)), case="sensitive")
    assert asked("GET", f"/shop{path}", token(), policy=policy) == answer


@pytest.mark.parametrize(
    ("path", "case", "answer"),
    [
        ("/shop/admin/x", "guarded", "token-audience"),  # the API below
        ("/shop/Admin/x", "guarded", "no-rule"),
        ("/shop/ADMIN", "guarded", "no-rule"),
        ("/shop/Admins", "guarded", "GET /**"),
        ("/shop/Admin/x", "sensitive", "GET /**"),
        ("/SHOP/admin/x", "guarded", "api-not-found"),
    ],
)
def test_another_spelling_of_the_way_to_an_api_is_not_this_apis(path: str, case: Literal["guarded", "sensitive"], answer: str) -> None:
    shop = at_shop(Rule("GET", "/**"), case=case)
    policy = replace(shop, apis=(*shop.apis, Api("admin", "/shop/admin", "idp", "api://admin", UPSTREAM, ())))
    assert asked("GET", path, token(), policy=policy) == answer


@pytest.mark.parametrize(
    ("path", "exact", "same"),
    [
        ("/admin/", "no-rule", "GET /admin"),
        ("/admin", "GET /admin", "GET /admin"),
        ("", "GET /", "GET /"),
        ("/", "no-rule", "GET /"),
        ("/list/", "GET /list/", "GET /list/"),
        ("/list", "GET /{id}", "GET /list/"),
        ("/7/", "no-rule", "GET /{id}"),
        ("/Admin/", "no-rule", "no-rule"),
    ],
)
def test_a_slash_at_the_end(path: str, exact: str, same: str) -> None:
    rules = (STRICT, EASY, Rule("GET", "/"), Rule("GET", "/list/"))
    assert asked("GET", f"/shop{path}", token(), policy=at_shop(*rules)) == exact
    assert asked("GET", f"/shop{path}", token(), policy=at_shop(*rules, slash="same")) == same


# ── who, and the rule ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("presented", "chain"),
    [
        (token(), (Principal("service", ISS, "s", "sync", "sync-id"),)),
        (token(idtyp="user", sub="alice"), (Principal("service", ISS, None, "sync", "sync-id"), Principal("person", ISS, "alice"))),
        (token(PERSON), (Principal("person", ISS, "alice", "web", "web-id"),)),
        (token(client_id="copilot-id"), (Principal("agent", ISS, "s", "copilot", "copilot-id"),)),
        (token(PERSON, client_id="copilot-id"), (Principal("agent", ISS, None, "copilot", "copilot-id"), Principal("person", ISS, "alice"))),
    ],
)
def test_who_calls(presented: PresentedToken, chain: tuple[Principal, ...]) -> None:
    decision = decide(POLICY, Call("GET", "/orders/v1/any", (), presented), NOW)
    assert decision == Allowed("orders", "GET /any", ActorChain(chain), ())


@pytest.mark.parametrize("client_id", ["unknown", ..., "", None, ["sync-id"], "SYNC-ID", "elsewhere-id"])
def test_unlisted_clients(client_id: Any) -> None:
    as_person = replace(POLICY, unlisted_clients="as_person")
    assert asked("GET", "/orders/v1/42", token(client_id=client_id)) == "client-unlisted"
    assert asked("GET", "/orders/v1/42", token(PERSON, client_id=client_id)) == "client-unlisted"
    assert asked("GET", "/orders/v1/42", token(client_id=client_id), policy=as_person) == "client-unlisted"
    assert asked("GET", "/orders/v1/42", token(PERSON, client_id=client_id), policy=as_person) == "GET /{id}"


@pytest.mark.parametrize(
    ("evidence", "value", "person"),
    [
        (PersonEvidence("c", "is", "user"), "user", True),
        (PersonEvidence("c", "is", "user"), "User", False),
        (PersonEvidence("c", "is", "user"), ["user"], False),
        (PersonEvidence("c", "is", "user"), ..., False),
        (PersonEvidence("c", "is", "true"), True, True),
        (PersonEvidence("c", "is", "1"), 1, True),
        (PersonEvidence("c", "present"), "x", True),
        (PersonEvidence("c", "present"), False, True),
        (PersonEvidence("c", "present"), 0, True),
        (PersonEvidence("c", "present"), 0.5, True),
        (PersonEvidence("c", "present"), ["x"], True),
        (PersonEvidence("c", "present"), {"x": 1}, True),
        (PersonEvidence("c", "present"), "", False),
        (PersonEvidence("c", "present"), None, False),
        (PersonEvidence("c", "present"), [], False),
        (PersonEvidence("c", "present"), ..., False),
        (PersonEvidence("c", "not", "app"), "user", True),
        (PersonEvidence("c", "not", "app"), "app", False),
        (PersonEvidence("c", "not", "app"), ["user"], False),
        (PersonEvidence("c", "not", "app"), "", False),
        (PersonEvidence("c", "not", "app"), ..., False),
        (None, "user", False),
    ],
)
def test_only_positive_evidence_makes_a_person(evidence: PersonEvidence | None, value: Any, person: bool) -> None:
    policy = replace(POLICY, issuers=(replace(POLICY.issuers[0], person=evidence),))
    answer = asked("GET", "/orders/v1/42", token(client_id="web-id", c=value), policy=policy)
    assert answer == ("GET /{id}" if person else "person-missing")


@pytest.mark.parametrize(
    ("method", "path", "presented", "answer"),
    [
        ("GET", "/42", token(client_id="copilot-id"), "agent-not-named"),
        ("GET", "/42", token(PERSON, client_id="copilot-id"), "agent-not-named"),
        ("GET", "/a/b", token(PERSON, client_id="copilot-id"), "GET /**"),
        ("POST", "", token(PERSON), "POST /"),
        ("POST", "", token(), "kind-not-allowed"),
        ("POST", "", token(idtyp="user"), "kind-not-allowed"),
        ("DELETE", "/42", token(PERSON), "DELETE /{number}"),
        ("DELETE", "/42", token(PERSON, client_id="other-web-id"), "kind-not-allowed"),
        ("DELETE", "/42", token(), "DELETE /{number}"),
        ("DELETE", "/42", token(PERSON, client_id="copilot-id"), "agent-not-named"),
        ("HEAD", "/42/items", token(PERSON), "kind-not-allowed"),
    ],
)
def test_to(method: str, path: str, presented: PresentedToken, answer: str) -> None:
    assert asked(method, f"/orders/v1{path}", presented) == answer


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"scope": "read.orders"}, "GET /{id}"),
        ({"scope": "a read.orders b"}, "GET /{id}"),
        ({"scope": ["a", "read.orders"]}, "GET /{id}"),
        ({"scope": "a", "scp": "b read.orders"}, "GET /{id}"),
        ({"scope": ..., "scp": ["read.orders"]}, "GET /{id}"),
        ({"scope": "a  read.orders"}, "GET /{id}"),
        ({"scope": ...}, "scope-missing"),
        ({"scope": ""}, "scope-missing"),
        ({"scope": "read.orders2"}, "scope-missing"),
        ({"scope": "xread.orders"}, "scope-missing"),
        ({"scope": "READ.ORDERS"}, "scope-missing"),
        ({"scope": "x\nread.orders"}, "scope-missing"),
        ({"scope": "x\tread.orders"}, "scope-missing"),
        ({"scope": "x,read.orders"}, "scope-missing"),
        ({"scope": ["x read.orders"]}, "scope-missing"),
        ({"scope": [["read.orders"]]}, "scope-missing"),
        ({"scope": {"read.orders": True}}, "scope-missing"),
        ({"scope": 1}, "scope-missing"),
    ],
)
def test_scopes_are_exact_words(change: dict[str, Any], answer: str) -> None:
    assert asked("GET", "/orders/v1/42", token(**change)) == answer


def test_what_a_client_may_bounds_its_tokens() -> None:
    narrow = replace(POLICY, clients=(Client("web", "app", "idp", "web-id", ("read.orders",)), Client("sync", "service", "idp", "sync-id", ())))
    assert asked("GET", "/orders/v1/42", token(PERSON), policy=narrow) == "GET /{id}"
    assert asked("POST", "/orders/v1", token(PERSON), policy=narrow) == "client-may-not"
    assert asked("POST", "/orders/v1", token(PERSON, scope=""), policy=narrow) == "client-may-not"
    assert asked("GET", "/orders/v1/42", token(), policy=narrow) == "client-may-not"
    assert asked("GET", "/orders/v1/42/items", token(), policy=narrow) == "GET /{id}/items"


def test_a_denial_says_what_is_known() -> None:
    chain = ActorChain((Principal("person", ISS, "alice", "web", "web-id"),))
    call = Call("POST", "/orders/v1", (), token(PERSON, scope="create.orders"))
    assert decide(POLICY, call, NOW) == Denial("scope-missing", "orders", "POST /", chain, ("create.orders", "read.orders"))
    call = Call("POST", "/orders/v1", (), token())
    assert decide(POLICY, call, NOW) == Denial("kind-not-allowed", "orders", "POST /", ActorChain((Principal("service", ISS, "s", "sync", "sync-id"),)))
    call = Call("PUT", "/orders/v1", (), token(PERSON))
    assert decide(POLICY, call, NOW) == Denial("no-rule", "orders", None, chain)
    assert decide(POLICY, Call("POST", "/orders/v1", (), "none"), NOW) == Denial("token-missing", "orders", "POST /")
    assert decide(POLICY, Call("GET", "/", (), "none"), NOW) == Denial("api-not-found")
    call = Call("POST", "/orders/v1", (), token(PERSON))
    assert decide(POLICY, call, NOW) == Allowed("orders", "POST /", chain, ("create.orders", "read.orders"))
