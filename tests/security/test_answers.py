"""Every way in which a call is refused, made by a real call: status, challenge, content type and body are those of ``answers.json``.

``pytest --update-golden`` rewrites the file.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scopeward.analysis.gateway import Facts, IssuerFacts
from scopeward.errors import CALL_REFERENCES, DOCS, REFERENCES
from scopeward.warden import checked, compile_policy
from tests.kit import http2
from tests.kit.gateway import Answer, RunningGateway, read_answer
from tests.kit.tokens import Mint, compact, jwks, signing_key
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import head
from tests.security.conftest import Mutual, TlsGateway, Upstreams

GOLDEN = Path(__file__).with_name("answers.json")

NOT_REACHABLE = {
    "too-many-calls": "rate limits come with a later version",
    "upstream-refused": "the gateway's own upstream credentials come with a later version",
    "gateway-error": "the last resort: no call is known that brings it about",
}
"""References that no call can produce in this version, and why."""

METADATA = "https://gw.example/.well-known/oauth-protected-resource/orders/v1"

# what Envoy would say by itself; none of it may reach a caller
ENVOYS_WORDS = re.compile(
    rb"Jwt|Jwks|RBAC|rbac|[Ee]nvoy|Audiences in|upstream connect error|upstream request timeout|no healthy upstream|reset reason|Bad Request|Not Found|delayed"
)

Way = Callable[[RunningGateway, Mint], Answer]
READ = "/orders/v1/42"
ITEM = "/orders/v1/items/42"


def get(path: str = READ, header: dict[str, Any] | None = None, **claims: Any) -> Way:
    return lambda g, m: g.get(path, m.token(header, **claims))


def raw(*lines: str) -> Way:
    return lambda g, _m: g.exchange(head(*lines))


def with_token(line: str, *fields: str) -> Way:
    return lambda g, m: g.exchange(head(line, "Host: gw.example", f"Authorization: Bearer {m.token()}", *fields))


def authorized(*values: str) -> Way:
    """A call with these Authorization values; ``{}`` in one stands for a good token."""
    return lambda g, m: g.get(READ, headers=[("Authorization", value.format(m.token())) for value in values])


def forged_signature(g: RunningGateway, m: Mint) -> Answer:
    token = m.token()
    return g.get(READ, token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB"))


def query(text: str) -> Way:
    return lambda g, m: g.get(f"{READ}?{text}", m.token())


SLOW_HEADERS = head("GET /orders/v1/42 HTTP/1.1", "Host: gw.example")[:-2]

AMBIGUOUS = (
    "/orders/v1/a;b",
    "/orders/v1/health;x",
    "/orders/v1/a%3bb",
    "/orders/v1/%2561dmin",
    "/orders/v1/a%20",
    "/orders/v1/a%0ab",
    "/orders/v1/a.",
    "/orders/v1/a./b",
    "/orders/v1/%c0%ae",
    "/orders/v1/%",
    "/orders/v1/%zz",
)

WAYS: dict[str, tuple[Way, ...]] = {
    "token-missing": (
        lambda g, _m: g.get(READ),
        authorized(""),
        authorized("Bearer"),
        authorized("Bearer "),
        authorized("Basic b3JkZXI6c3luYw=="),
        authorized("Token {}"),
        authorized("Bearer{}"),
        lambda g, m: g.get(f"{READ}?access_token={m.token()}"),
        lambda g, m: g.get(READ, headers=[("X-Authorization", f"Bearer {m.token()}"), ("Cookie", f"access_token={m.token()}")]),
        lambda g, _m: g.call("OPTIONS", READ),
        lambda g, _m: g.call("PROPFIND", READ),
        lambda g, _m: http2.call(g.port, "GET", READ),
    ),
    "token-malformed": (
        authorized("Bearer opaque"),
        authorized("Bearer a.b.c"),
        authorized("Bearer {} "[:-1] + ".x"),
        authorized("Bearer ...."),
        get(header={"alg": "none"}),
        get(header={"alg": "None"}),
        get(header={"alg": ...}),
        get(header={"alg": 5}),
        get(iss=["https://idp.test/"]),
        get(sub=7),
        get(exp="soon"),
        get(iat="1"),
        get(aud=[1]),
    ),
    "token-expired": (get(exp=int(time.time()) - 60), get(exp=1)),
    "token-not-yet-valid": (get(nbf=int(time.time()) + 600),),
    "token-audience": (get(aud="api://other"), get(aud=...), get(aud=[]), get(aud="api://orders//"), get(aud="API://orders"), get(aud="orders"), get(aud="")),
    "token-issuer": (get(iss="https://idp.test"), get(iss="https://IDP.test/"), get(iss=...), get(iss=""), get(iss="https://idp.test/x")),
    "token-unknown-key": (
        get(header={"kid": "k9"}),
        lambda g, m: g.get(READ, compact(m.header(alg="RS512"), m.claims(), signing_key(), "RS512")),
    ),
    "token-verification-failed": (forged_signature, get(exp=...), lambda g, m: g.get(READ, compact(m.header(), m.claims(), signing_key("k2"), "RS256"))),
    "token-lifetime": (get(exp=int(time.time()) + 3600), get(iat=...), get(iat=1)),
    "token-type": (
        get(header={"typ": "JWT"}),
        get(header={"typ": ...}),
        get(header={"typ": "logout+jwt"}),
        get(header={"typ": 5}),
        get(header={"typ": "at+jwt "}),
    ),
    "token-crit": (get(header={"crit": ["b64"], "b64": False}), get(header={"crit": []}), get(header={"crit": ["exp"]})),
    "token-revoked": (get(jti="gone"),),
    "token-claim-unsafe": tuple(get(sub=f"alice{bad}x-agw-client-id: admin") for bad in ("\r\n", "\n", "\r", "\0", "\x1b", "\x7f"))
    + tuple(get(sub=sub) for sub in (" admin", "admin ", "admin\t")),
    "token-ambiguous": (
        authorized("Bearer {}", "Bearer {}"),
        authorized("Bearer {}", "Basic eA=="),
        authorized("Basic eA==", "Bearer {}"),
        authorized("Bearer {},Bearer x"),
        authorized("Bearer {}, Bearer x"),
        query("access_token=x"),
        query("access_token="),
        query("access_token"),
        query("a=1&access_token=x&b=2"),
        query("a=1;access_token=x"),
        query("a?access_token=x"),
        query("%61ccess_token=x"),
        query("access%5Ftoken=x"),
        query("access%5ftoken=x"),
        query("%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x"),
        lambda g, m: http2.call(g.port, "GET", READ, [("authorization", f"Bearer {m.token()}"), ("authorization", "Bearer x")]),
        lambda g, m: g.get("/orders/v1/health?access_token=x", m.token()),
        lambda g, m: g.get("/nowhere?access_token=x", m.token()),
    ),
    "scope-missing": (
        get(scope="create.orders"),
        get(scope=...),
        get(scope=""),
        get(scope="read.ordersx xread.orders READ.ORDERS"),
        get(scope="read.orders\tx"),
    ),
    "client-may-not": (lambda g, m: g.call("DELETE", ITEM, m.token(scope="read.orders delete.orders")),),
    "kind-not-allowed": (lambda g, m: g.call("POST", "/orders/v1", m.token()),),
    "agent-not-named": (
        lambda g, m: g.get(READ, m.token(client_id="other-bot")),
        lambda g, m: g.get(READ, m.person(client="other-bot")),
        lambda g, m: g.call("POST", "/orders/v1", m.person(client="claims-copilot")),
    ),
    "client-unlisted": (
        get(client_id="stranger"),
        get(client_id=...),
        get(client_id="Order-Sync"),
        get(client_id=["order-sync"]),
        lambda g, m: g.get(READ, m.person(client="stranger")),
    ),
    "person-missing": (get(client_id="orders-web"), get(client_id="orders-web", idtyp=...), get(client_id="orders-web", idtyp=["user"])),
    "actor-not-accepted": (get(act={"sub": "somebody"}), get(act="somebody"), get(act=[])),
    "no-rule": (
        lambda g, m: g.call("PUT", READ, m.token()),
        lambda g, m: g.call("OPTIONS", READ, m.token()),
        lambda g, m: g.call("PROPFIND", READ, m.token()),
        lambda g, m: g.call("DELETE", "/orders/v1/items/42/lines", m.token()),
        lambda g, m: g.get(ITEM, m.token()),
        lambda g, m: g.get("/closing/below", m.token()),
    ),
    "api-not-found": (
        lambda g, _m: g.get("/"),
        lambda g, _m: g.get("/orders"),
        lambda g, m: g.get("/orders/v10", m.token()),
        lambda g, m: g.get("/ORDERS/v1/42", m.token()),
        lambda g, _m: g.get("/.well-known/oauth-protected-resource/other"),
        lambda g, _m: g.call("POST", "/.well-known/oauth-protected-resource/orders/v1"),
        raw("OPTIONS * HTTP/1.1", "Host: gw.example"),
    ),
    "cors-not-configured": (
        with_token("OPTIONS /orders/v1/42 HTTP/1.1", "Origin: https://app.example", "Access-Control-Request-Method: GET"),
        raw("OPTIONS /orders/v1/42 HTTP/1.1", "Host: gw.example", "Access-Control-Request-Method: GET"),
        raw("OPTIONS /orders/v1/health HTTP/1.1", "Host: gw.example", "Origin: null", "Access-Control-Request-Method: x"),
        raw("OPTIONS /nowhere HTTP/1.1", "Host: gw.example", "Access-Control-Request-Method: GET"),
        raw("OPTIONS / HTTP/1.1", "Host: gw.example", "Access-Control-Request-Method: GET"),
        lambda g, _m: http2.call(g.port, "OPTIONS", READ, [("access-control-request-method", "GET")]),
    ),
    "unknown-host": (
        raw("GET /orders/v1/42 HTTP/1.1", "Host: other.example"),
        raw("GET /orders/v1/health HTTP/1.1", "Host: other.example"),
        raw("GET /orders/v1/42 HTTP/1.1", "Host: gw.example.other"),
        raw("GET /orders/v1/42 HTTP/1.1", "Host: xgw.example"),
        raw("GET /orders/v1/42 HTTP/1.1", "Host: gw.example."),
        raw("GET /orders/v1/42 HTTP/1.1", "Host: 127.0.0.1"),
        raw("GET /orders/v1/42 HTTP/1.1", "Host: localhost"),
        raw("GET http://other.example/orders/v1/42 HTTP/1.1", "Host: gw.example"),
        raw("GET /.well-known/oauth-protected-resource/orders/v1 HTTP/1.1", "Host: other.example"),
        lambda g, m: http2.call(g.port, "GET", READ, [("authorization", f"Bearer {m.token()}")], authority="other.example"),
        lambda g, m: http2.call(g.port, "GET", READ, [("authorization", f"Bearer {m.token()}")], authority="gw.example.other.example"),
    ),
    "path-ambiguous": (
        *(lambda g, m, path=path: g.get(path, m.token()) for path in AMBIGUOUS),
        *(lambda g, _m, path=path: g.get(path) for path in AMBIGUOUS),
        lambda g, m: http2.call(g.port, "GET", AMBIGUOUS[0], [("authorization", f"Bearer {m.token()}")]),
    ),
    "body-too-large": (
        with_token("POST /orders/v1/bulk HTTP/1.1", f"Content-Length: {10 * 1024 * 1024 + 1}"),
        raw("POST /orders/v1/hook HTTP/1.1", "Host: gw.example", "Content-Length: 99999999999"),
    ),
    "request-malformed": (
        raw("GARBAGE"),
        raw("BREW /orders/v1/42 HTTP/1.1", "Host: gw.example"),
        raw("GET /orders/v1/42 HTTP/1.1"),
        raw("GET orders HTTP/1.1", "Host: gw.example"),
        raw("GET /orders/v1/42#x HTTP/1.1", "Host: gw.example"),
        raw("GET /orders/v1/a b HTTP/1.1", "Host: gw.example"),
        raw("GET http:http://gw.example/orders/v1/42 HTTP/1.1", "Host: gw.example"),
        raw("GET /orders/v1/42 HTTP/1.0", "Host: gw.example"),
        with_token("GET /orders/v1%2f42 HTTP/1.1"),
        with_token("GET /orders/v1%5C42 HTTP/1.1"),
        with_token("GET /orders/v1/%00 HTTP/1.1"),
        with_token("GET /orders/v1/42 HTTP/1.1", "x_agw_subject: admin"),
        with_token("GET /orders/v1/42 HTTP/1.1", "x-agw-subject : admin"),
        with_token("GET /orders/v1/42 HTTP/1.1", "x-a: a\0b"),
        with_token("POST /orders/v1 HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
        with_token("POST /orders/v1 HTTP/1.1", "Content-Length: 1", "Content-Length: 2"),
        with_token("POST /orders/v1 HTTP/1.1", "Transfer-Encoding: xchunked"),
    ),
    "upgrade-refused": (
        with_token("GET /orders/v1/42 HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        with_token("GET /orders/v1/42 HTTP/1.1", "Connection: Upgrade", "Upgrade: tcp"),
        with_token("GET /orders/v1/health HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket"),
    ),
    "headers-too-large": (
        with_token("GET /orders/v1/42 HTTP/1.1", "x-a: " + "a" * 65_000),
        with_token("GET /orders/v1/42 HTTP/1.1", *(f"x-{i}: a" for i in range(110))),
        with_token(f"GET /orders/v1/{'a' * 65_000} HTTP/1.1"),
    ),
    "upstream-failed": (lambda g, _m: g.get("/closing"), lambda g, _m: g.get("/garbage")),
    "upstream-unavailable": (lambda g, _m: g.get("/nobody"),),
    "upstream-timeout": (lambda g, _m: g.get("/slow"),),
}
"""How each reference is produced. The first way gives the golden answer, the others must give the same but for what the route says."""


def without_a_certificate(g: RunningGateway, path: str, token: str | None) -> Answer:
    assert isinstance(g, TlsGateway)
    assert g.shows is None
    return g.get(path, token)


STRICT_WAYS: dict[str, tuple[Way, ...]] = {
    "token-id-missing": (
        lambda g, m: g.get("/plain/1", m.token(aud="api://plain", jti=...)),
        lambda g, m: g.get("/plain/1", m.token(aud="api://plain", jti=...), headers=[("x-sw-jti", "mine")]),
    ),
    "client-certificate": (
        lambda g, m: without_a_certificate(g, "/any/1", m.token(aud="api://any")),
        lambda g, m: without_a_certificate(g, "/named/1", m.token(aud="api://named")),
        lambda g, _m: without_a_certificate(g, "/any/open", None),
        lambda g, _m: without_a_certificate(g, "/named/open", None),
    ),
}
"""The same for what only a stricter policy refuses."""

BY_THE_NODE = ("issuer-keys-stale", "audit-unavailable")
"""What the state of the node refuses, and not the policy."""

BY_UPSTREAM = ("upstream-failed", "upstream-unavailable", "upstream-timeout")


def told(answer: Answer) -> dict[str, Any]:
    """What a caller is told, with what differs from call to call masked."""
    body = answer.json()
    if body["request_id"] is not None:
        assert re.fullmatch(r"[0-9a-f-]{36}", body["request_id"])
        body["request_id"] = "REQUEST-ID"
    return {
        "status": answer.status,
        "www-authenticate": answer.challenge,
        "content-type": answer.headers.get_all("content-type"),
        "cache-control": answer.headers.get_all("cache-control"),
        "body": body,
    }


@pytest.fixture(scope="module")
def golden(update_golden: bool) -> Iterator[dict[str, Any]]:
    answers: dict[str, Any] = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    yield answers
    if update_golden:
        GOLDEN.write_text(json.dumps({k: answers[k] for k in sorted(answers)}, indent=1, ensure_ascii=False) + "\n")


@pytest.fixture(scope="module")
def slow_call(gateway: RunningGateway) -> Iterator[socket.socket]:
    """Headers that do not end. Opened before the other calls are made, so that its time passes meanwhile."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(SLOW_HEADERS)
        yield connection


def compare(reference: str, answer: Answer, golden: dict[str, Any], update_golden: bool, *, first: bool = True) -> None:
    assert answer.reference == reference, answer.body
    assert not ENVOYS_WORDS.search(answer.body)
    assert answer.headers.get("server") == "scopeward"
    now = told(answer)
    if update_golden and first:
        golden[reference] = now
    kept = golden[reference]
    if not first:
        now, kept = of_no_route(now), of_no_route(kept)
    assert now == kept


def of_no_route(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what the route says: the scopes that it needs and where its metadata is."""
    challenge = answer["www-authenticate"]
    body = {k: v for k, v in answer["body"].items() if k not in {"needs", "request_id"}}
    return {**answer, "body": body, "www-authenticate": challenge and re.sub(r'(scope|resource_metadata)="[^"]*"', r'\1="…"', challenge)}


@pytest.mark.parametrize("reference", WAYS)
def test_each_way_to_be_refused_gets_the_answer_of_its_reference(
    reference: str, gateway: RunningGateway, mint: Mint, upstreams: Upstreams, golden: dict[str, Any], update_golden: bool, slow_call: socket.socket
) -> None:
    with upstreams.orders.sees_nothing(), upstreams.raw.sees_nothing():
        for number, way in enumerate(WAYS[reference]):
            compare(reference, way(gateway, mint), golden, update_golden, first=number == 0)


@pytest.mark.parametrize("reference", STRICT_WAYS)
def test_each_way_to_be_refused_by_a_stricter_policy_gets_the_answer_of_its_reference(
    reference: str, mutual: Mutual, mint: Mint, golden: dict[str, Any], update_golden: bool
) -> None:
    with mutual.upstream.sees_nothing():
        for number, way in enumerate(STRICT_WAYS[reference]):
            compare(reference, way(mutual.gateway, mint), golden, update_golden, first=number == 0)


def test_keys_that_are_too_old_are_told_and_new_ones_end_it(mutual: Mutual, mint: Mint, golden: dict[str, Any], update_golden: bool) -> None:
    gateway, token = mutual.gateway, mint.token(aud="api://plain")
    assert gateway.get("/plain/1", token).status == 200
    loaded, _ = checked(mutual.policy.encode(), "policy.yaml")
    for good_until in (int(time.time()) - 1, 0):
        facts = Facts({"dev": IssuerFacts("https://idp.test/", jwks(signing_key()), good_until)}, passes=dict.fromkeys(("plain", "any", "named"), "p"))
        gateway.put(compile_policy(loaded, facts, gateway.node.edge).snapshot)
        with mutual.upstream.sees_nothing():
            compare("issuer-keys-stale", gateway.get("/plain/1", token), golden, update_golden)
            assert gateway.get("/plain/1", "bad").reference == "token-malformed"
            assert gateway.get("/plain/1").reference == "token-missing"
    gateway.publish(mutual.policy)
    assert gateway.get("/plain/1", token).status == 200


def test_where_calls_cannot_be_recorded_every_call_is_told_so(mutual: Mutual, mint: Mint, golden: dict[str, Any], update_golden: bool) -> None:
    gateway, token = mutual.gateway, mint.token(aud="api://plain")
    gateway.refuse()
    try:
        with mutual.upstream.sees_nothing():
            compare("audit-unavailable", gateway.get("/plain/1", token), golden, update_golden)
            for way in (
                lambda: gateway.call("POST", "/plain/1"),
                lambda: gateway.get("/nowhere"),
                lambda: gateway.get("/plain/1", mint.token(aud="api://plain", scope="")),
            ):
                compare("audit-unavailable", way(), golden, update_golden, first=False)
            assert gateway.get("/plain/1").reference == "token-missing"
    finally:
        gateway.readmit()
    assert gateway.get("/plain/1", token).status == 200


def test_the_same_calls_without_their_fault_pass(gateway: RunningGateway, mint: Mint, upstreams: Upstreams) -> None:
    good: list[Way] = [
        get(),
        get(aud=["api://orders", "api://x"]),
        get(header={"typ": "application/at+jwt"}),
        get(header={"typ": "AT+JWT"}),
        get(header={"kid": ...}),
        get(nbf=int(time.time()) - 60),
        get(sub="alice é", jti=...),
        get(jti="gone2"),
        query("access_tokens=x"),
        query("xaccess_token=x"),
        query("a=access_token"),
        authorized("bearer {}"),
        authorized("Bearer {}", ""),
        authorized("BEARER {}"),
        lambda g, m: g.call("HEAD", READ, m.token()),
        lambda g, m: g.call("DELETE", ITEM, m.person(scope="delete.orders read.orders")),
        lambda g, m: g.call("POST", "/orders/v1", m.person()),
        lambda g, m: g.call("POST", "/orders/v1/bulk", m.token()),
        lambda g, m: g.get(READ, m.token(client_id="claims-copilot")),
        lambda g, m: g.get(READ, m.person(client="claims-copilot")),
        lambda g, m: g.get(READ, m.person()),
        lambda g, m: http2.call(g.port, "GET", READ, [("authorization", f"Bearer {m.token()}")]),
        lambda g, _m: g.get("/orders/v1/health"),
        lambda g, _m: g.get("/orders/v1/health?access_token=x"),
        with_token("GET /orders/v1/42 HTTP/1.1", "x-a: " + "a" * 30_000),
        with_token("GET http://gw.example/orders/v1/42 HTTP/1.1"),
    ]
    for number, way in enumerate(good):
        before = len(upstreams.orders.seen)
        answer = way(gateway, mint)
        assert (answer.status, answer.reference) == (200, None), (number, answer.body)
        assert len(upstreams.orders.seen) == before + 1


@pytest.mark.parametrize("reference", BY_UPSTREAM)
def test_what_an_upstream_does_is_told_with_a_request_id_that_the_log_has(reference: str, gateway: RunningGateway, mint: Mint) -> None:
    request_id = WAYS[reference][0](gateway, mint).json()["request_id"]
    assert [line["reference"] for line in log_of(gateway, request_id)] == [reference]


def log_of(gateway: RunningGateway, request_id: str) -> list[dict[str, Any]]:
    end = time.monotonic() + 3
    while not (lines := [line for line in gateway.audit() if line["request_id"] == request_id]) and time.monotonic() < end:
        time.sleep(0.02)
    return lines


def test_a_missing_token_is_challenged_without_an_error(gateway: RunningGateway) -> None:
    """RFC 6750 section 3.1."""
    assert gateway.get(READ).challenge == f'Bearer resource_metadata="{METADATA}"'


def test_a_missing_scope_is_named_so_that_a_client_can_ask_for_it(gateway: RunningGateway, mint: Mint) -> None:
    answer = gateway.call("DELETE", ITEM, mint.person(scope="read.orders"))
    assert 'error="insufficient_scope"' in (answer.challenge or "")
    assert 'scope="delete.orders read.orders"' in (answer.challenge or "")
    assert answer.json()["needs"] == ["delete.orders", "read.orders"]


@pytest.mark.parametrize("reference", ["client-may-not", "kind-not-allowed", "agent-not-named", "client-unlisted", "person-missing", "no-rule"])
def test_a_refusal_that_no_other_token_would_mend_has_no_challenge(reference: str, golden: dict[str, Any]) -> None:
    assert golden[reference]["www-authenticate"] is None
    assert golden[reference]["status"] == 403


@pytest.mark.parametrize(
    "forged", [("Host", "evil.example"), ("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example"), ("X-Original-Host", "evil.example")]
)
def test_the_metadata_address_never_follows_a_forged_host(forged: tuple[str, str], gateway: RunningGateway, orders: RecordingUpstream) -> None:
    lines = ["Host: gw.example", f"{forged[0]}: {forged[1]}"] if forged[0] != "Host" else [f"Host: {forged[1]}"]
    with orders.sees_nothing():
        answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", *lines))
    assert answer.reference == ("unknown-host" if forged[0] == "Host" else "token-missing")
    assert answer.challenge == (None if forged[0] == "Host" else f'Bearer resource_metadata="{METADATA}"')
    assert b"evil" not in answer.body
    assert b"evil" not in gateway.exchange(head("GET /.well-known/oauth-protected-resource/orders/v1 HTTP/1.1", *lines)).body


def test_the_metadata_document_is_where_the_challenge_says(gateway: RunningGateway) -> None:
    answer = gateway.get(METADATA.removeprefix("https://gw.example"))
    assert (answer.status, answer.headers.get_all("content-type")) == (200, ["application/json"])
    assert answer.json() == {
        "resource": "https://gw.example/orders/v1",
        "resource_name": "orders",
        "authorization_servers": ["https://idp.test/"],
        "scopes_supported": ["create.orders", "delete.orders", "read.orders"],
        "bearer_methods_supported": ["header"],
    }


def test_an_upstream_cannot_pose_as_the_gateway(gateway: RunningGateway, mint: Mint, raw_answer: Callable[[bytes], None]) -> None:
    raw_answer(b"HTTP/1.1 403 Forbidden\r\nscopeward-reference: scope-missing\r\nwww-authenticate: Basic\r\ncontent-length: 2\r\n\r\nno")
    answer = gateway.get("/raw/1", mint.token(aud="api://raw"))
    assert (answer.status, answer.reference, answer.body) == (403, None, b"no")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 426, 429, 431, 500, 502, 503, 504])
def test_an_upstreams_own_error_goes_to_the_caller_unchanged(status: int, gateway: RunningGateway, mint: Mint, raw_answer: Callable[[bytes], None]) -> None:
    raw_answer(f"HTTP/1.1 {status} Theirs\r\ncontent-type: text/x-theirs\r\ncontent-length: 6\r\n\r\ntheirs".encode())
    answer = gateway.get("/raw/1", mint.token(aud="api://raw"))
    assert (answer.status, answer.reference, answer.headers["content-type"], answer.body) == (status, None, "text/x-theirs", b"theirs")


@pytest.fixture
def raw_answer(upstreams: Upstreams) -> Iterator[Callable[[bytes], None]]:
    yield lambda answer: setattr(upstreams.raw, "answer", answer)
    upstreams.raw.answer = None


def test_headers_that_do_not_end_are_refused(
    slow_call: socket.socket, gateway: RunningGateway, golden: dict[str, Any], update_golden: bool, upstreams: Upstreams
) -> None:
    with upstreams.orders.sees_nothing():
        answer = read_answer(slow_call)
    compare("request-timeout", answer, golden, update_golden)


def test_every_reference_has_an_answer_or_a_reason_why_it_cannot_have_one(golden: dict[str, Any]) -> None:
    assert {r.id for r in CALL_REFERENCES} == set(golden) | set(NOT_REACHABLE)
    assert not set(golden) & set(NOT_REACHABLE)
    assert set(golden) == {*WAYS, *STRICT_WAYS, *BY_THE_NODE, "request-timeout"}


def test_every_answer_says_what_the_registry_says(golden: dict[str, Any]) -> None:
    for reference, answer in golden.items():
        known = REFERENCES[reference]
        body = answer["body"]
        assert answer["status"] == body["status"] == known.status
        assert (body["reference"], body["title"], body["detail"], body["remedy"]) == (reference, known.title, known.cause, known.remedy)
        assert body["type"] == f"{DOCS}{reference}"
        assert answer["content-type"] == ["application/problem+json"]
        assert answer["cache-control"] == ["no-store"]
        assert (answer["www-authenticate"] is None) == (known.challenge == "none")
