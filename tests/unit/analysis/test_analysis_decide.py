from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from scopeward.analysis.decide import TOKEN_CHECKS, Call, decide
from scopeward.decision import Allowed, Denial
from scopeward.errors import REFERENCES
from scopeward.identity import ActorChain, PresentedToken, Principal
from scopeward.policy.model import Api, Client, Issuer, PersonEvidence, Policy, Rule, To, Trust, Upstream

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


def asked(
    method: str,
    path: str,
    presented: PresentedToken | Literal["none", "malformed"] = "none",
    *,
    authorization: tuple[str, ...] = ("Bearer x",),
    policy: Policy = POLICY,
    now: float = NOW,
) -> str:
    decision = decide(policy, Call(method, path, authorization, presented), now, frozenset({(ISS, "gone")}))
    if isinstance(decision, Denial):
        assert decision.reference in REFERENCES
        return decision.reference
    return decision.rule


# ── which API, which rule ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/orders/v1", "no-rule"),  # the template "/" is POST's alone, and there is no falling back
        ("GET", "/orders/v1/", "GET /**"),
        ("GET", "/orders/v1/42", "GET /{id}"),
        ("GET", "/orders/v1/42?x=/health", "GET /{id}"),
        ("GET", "/orders/v1/42/", "GET /**"),
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
    decision = decide(POLICY, Call("GET", "/orders/v1/health", (), presented), NOW, frozenset())
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
        ("token-claim-unsafe", {"sub": " admin"}),
        ("token-crit", {"header": {"typ": "x", "crit": 1}}),
        ("token-type", {"header": {"typ": "x"}}),
        ("token-lifetime", {"iat": 1}),
        ("token-revoked", {"jti": "gone"}),
        ("actor-not-accepted", {"act": {}}),
    ]
    assert len(TOKEN_CHECKS) == len(faults)
    for i, (reference, _) in enumerate(faults):
        together: dict[str, Any] = {}
        for _, fault in reversed(faults[i:]):
            together |= fault
        assert asked("GET", "/orders/v1/42", token(**together)) == reference


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
    call = Call("GET", "/orders/v1/42", (), token(jti="gone"))
    assert isinstance(decide(POLICY, call, NOW, frozenset({("https://other/", "gone")})), Allowed)


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
    decision = decide(POLICY, Call("GET", "/orders/v1/any", (), presented), NOW, frozenset())
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
    assert decide(POLICY, call, NOW, frozenset()) == Denial("scope-missing", "orders", "POST /", chain, ("create.orders", "read.orders"))
    call = Call("POST", "/orders/v1", (), token())
    assert decide(POLICY, call, NOW, frozenset()) == Denial(
        "kind-not-allowed", "orders", "POST /", ActorChain((Principal("service", ISS, "s", "sync", "sync-id"),))
    )
    call = Call("PUT", "/orders/v1", (), token(PERSON))
    assert decide(POLICY, call, NOW, frozenset()) == Denial("no-rule", "orders", None, chain)
    assert decide(POLICY, Call("POST", "/orders/v1", (), "none"), NOW, frozenset()) == Denial("token-missing", "orders", "POST /")
    assert decide(POLICY, Call("GET", "/", (), "none"), NOW, frozenset()) == Denial("api-not-found")
    call = Call("POST", "/orders/v1", (), token(PERSON))
    assert decide(POLICY, call, NOW, frozenset()) == Allowed("orders", "POST /", chain, ("create.orders", "read.orders"))
