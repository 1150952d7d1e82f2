"""Rows of the catalogue about headers: what a caller may not say, whatever the path, and what must not be taken away from us."""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kit import http2
from tests.kit.gateway import Answer, RunningGateway
from tests.kit.tokens import Mint
from tests.kit.upstream import RecordingUpstream, Seen
from tests.kit.wire import chunked, head
from tests.security.conftest import Upstreams

READ = "/orders/v1/42"
HEALTH = "/orders/v1/health"
IDENTITY = ("x-agw-client-id", "x-agw-subject", "x-agw-issuer", "x-agw-scopes")
PASS = "x-scopeward-pass"  # a header's name
INTERNAL = ("x-sw-rule", "x-sw-iss", "x-sw-sub", "x-sw-cid", "x-sw-scope", "x-sw-scp", "x-sw-jti", "x-sw-iat", "x-sw-exp", "x-sw-person", "x-sw-new")
OURS = {
    "HTTP_X_AGW_CLIENT_ID": "order-sync",
    "HTTP_X_AGW_SUBJECT": "sync-subject",
    "HTTP_X_AGW_ISSUER": "https://idp.test/",
    "HTTP_X_AGW_SCOPES": "read.orders create.orders",
    "HTTP_X_SCOPEWARD_PASS": "pass-of-orders",
}
PASS_ALONE = {"HTTP_X_SCOPEWARD_PASS": "pass-of-orders"}
"""What goes with a call on which no caller was asked for."""


def believed(seen: Seen) -> dict[str, str]:
    """What a WSGI application would read of the caller's identity, of the gateway's pass and of its inner headers."""
    return {k: v for k, v in seen.environ().items() if k.startswith(("HTTP_X_AGW", "HTTP_X_SW", "HTTP_X_SCOPEWARD"))}


def token(mint: Mint) -> str:
    return mint.token(sub="sync-subject")


def capitals(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


SPELLINGS: dict[str, Callable[[str], list[str]]] = {
    "as it is": lambda name: [f"{name}: evil"],
    "in capitals": lambda name: [f"{name.upper()}: evil"],
    "with capitals": lambda name: [f"{capitals(name)}: evil"],
    "twice": lambda name: [f"{name}: evil", f"{name}: evil"],
    "twice in two cases": lambda name: [f"{name}: evil", f"{name.upper()}: evil"],
    "folded": lambda name: [f"{name}: e\r\n vil"],
    "with spaces": lambda name: [f"{name}:   evil  "],
    "with tabs": lambda name: [f"{name}:\tevil\t"],
    "without a value": lambda name: [f"{name}:"],
    "as a list": lambda name: [f"{name}: order-sync, evil"],
    "with odd bytes": lambda name: [f"{name}: \xe4\x80evil\xff"],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", [*IDENTITY, PASS, *INTERNAL])
def test_T13_an_identity_header_of_the_caller_is_replaced(name: str, spelling: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {token(mint)}", *SPELLINGS[spelling](name)))
    assert answer.status == 200
    assert believed(orders.seen[-1]) == OURS
    assert b"evil" not in orders.seen[-1].raw


@pytest.mark.parametrize("name", [*IDENTITY, PASS, *INTERNAL])
@pytest.mark.parametrize("alias", ["every", "first", "last", "capitals"])
def test_T13_a_name_with_an_underscore_is_refused(name: str, alias: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    spelt = {
        "every": name.replace("-", "_"),
        "first": name.replace("-", "_", 1),
        "last": "_".join(name.rsplit("-", 1)),
        "capitals": name.replace("-", "_").upper(),
    }[alias]
    fields = ("Host: gw.example", f"Authorization: Bearer {token(mint)}")
    with orders.sees_nothing():
        answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", *fields, f"{spelt}: evil"))
        assert (answer.status, answer.reference) == (400, "request-malformed")
        with pytest.raises(http2.StreamReset):
            http2.call(gateway.port, "GET", READ, [("authorization", f"Bearer {token(mint)}"), (spelt.lower(), "evil")])
    assert gateway.exchange(head(f"GET {READ} HTTP/1.1", *fields, f"x{spelt.replace('_', '')}: evil")).status == 200


@pytest.mark.parametrize(
    "malformed", ["x-agw-subject : evil", " x-agw-subject: evil", "x-agw-subject\t: evil", "x-agw-subject\0: evil", "x-agw-subject: e\0vil", ": evil"]
)
def test_T13_a_malformed_name_or_value_is_refused(malformed: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    with orders.sees_nothing():
        answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", malformed, "Host: gw.example", f"Authorization: Bearer {token(mint)}"))
    assert (answer.status, answer.reference) == (400, "request-malformed")


@pytest.mark.parametrize("name", [*IDENTITY, PASS])
def test_T13_the_same_over_http2(name: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    fields = [("authorization", f"Bearer {token(mint)}"), (name, "evil"), (name, "evil"), (f"{name}-x", "theirs")]
    assert http2.call(gateway.port, "GET", READ, fields).status == 200
    assert believed(orders.seen[-1]) == OURS | {f"HTTP_{name.upper().replace('-', '_')}_X": "theirs"}


def test_T13_a_claim_that_is_missing_leaves_no_header_of_the_caller(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    answer = gateway.get(READ, mint.token(sub=...), headers=[(name, "evil") for name in IDENTITY])
    assert answer.status == 200
    assert believed(orders.seen[-1]) == {k: v for k, v in OURS.items() if k != "HTTP_X_AGW_SUBJECT"}


@pytest.mark.parametrize("value", ["%REQ(AUTHORIZATION)%", "%FILTER_STATE(sw.cid:PLAIN)%", "100%", "a, b", "-", "{}", "a\tb", "é€😀"])
def test_T13_a_claim_goes_on_as_it_is(value: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    assert gateway.get(READ, mint.token(sub=value)).status == 200
    assert [v.encode("latin-1").decode() for v in orders.seen[-1].all("x-agw-subject")] == [value]


def test_T13_our_pass_goes_with_every_call_once_and_with_no_refusal(gateway: RunningGateway, mint: Mint, upstreams: Upstreams) -> None:
    calls = [
        ("GET", READ, "api://orders"),
        ("HEAD", READ, "api://orders"),
        ("POST", "/orders/v1/bulk", "api://orders"),
        ("GET", HEALTH, ""),
        ("POST", "/orders/v1/hook", ""),
    ]
    for method, path, audience in [*calls, ("GET", "/raw/1", "api://raw"), ("GET", "/raw/open", "")]:
        upstream, ours = (upstreams.raw, "pass-of-raw") if path.startswith("/raw") else (upstreams.orders, "pass-of-orders")
        for forged in ([], [(PASS, ours)], [(PASS, "evil"), (PASS, "none")], [(PASS, "")]):
            assert gateway.call(method, path, mint.token(aud=audience) if audience else None, forged).status == 200
            assert upstream.seen[-1].all(PASS) == [ours]
    answer = gateway.get(READ)
    assert b"pass-of" not in answer.body + str(answer.headers).encode()


TRAILERS = ("x-agw-client-id", PASS, "x-agw-subject", "X-Agw-Issuer", "x-sw-rule", "authorization", "x-request-id", "content-length", "host", "x-other")


@pytest.mark.parametrize("name", TRAILERS)
@pytest.mark.parametrize("path", ["/orders/v1/bulk", "/orders/v1/hook"])
def test_T14_a_trailer_of_a_chunked_body_goes_nowhere(name: str, path: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    body = chunked(b"{}", b"[]", trailers=[f"{name}: evil"])
    fields = ("Host: gw.example", f"Authorization: Bearer {token(mint)}", "Transfer-Encoding: chunked", f"Trailer: {name}")
    answer = gateway.exchange(head(f"POST {path} HTTP/1.1", *fields, body=body))
    assert answer.status == 200
    assert b"evil" not in orders.seen[-1].raw
    assert believed(orders.seen[-1]) == (OURS if path.endswith("bulk") else PASS_ALONE)
    assert b"{}" in orders.seen[-1].body


@pytest.mark.parametrize("name", [name.lower() for name in TRAILERS])
@pytest.mark.parametrize("path", ["/orders/v1/bulk", "/orders/v1/hook"])
def test_T14_a_trailer_of_an_http2_call_goes_nowhere(name: str, path: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    before = len(orders.seen)
    try:
        answer = http2.call(gateway.port, "POST", path, [("authorization", f"Bearer {token(mint)}")], b"{}", [(name, "evil")])
    except http2.StreamReset:
        assert name in {"content-length", "host"}
        assert all(b"evil" not in seen.raw for seen in orders.seen[before:])
        return
    assert answer.status == 200
    assert b"evil" not in orders.seen[-1].raw
    assert believed(orders.seen[-1]) == (OURS if path.endswith("bulk") else PASS_ALONE)


NOMINATED = [*IDENTITY, PASS, *INTERNAL[:4], "x-request-id", "traceparent", "te", "cookie-x", "forwarded"]


@pytest.mark.parametrize("name", NOMINATED)
def test_T17_connection_header_cannot_remove_ours(name: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    fields = ("Host: gw.example", f"Authorization: Bearer {token(mint)}")
    answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", *fields, f"Connection: keep-alive, {name}", f"{name}: evil"))
    assert answer.status == 200
    assert believed(orders.seen[-1]) == OURS
    assert len(orders.seen[-1].all("x-request-id")) == len(orders.seen[-1].all("x-forwarded-for")) == len(orders.seen[-1].all("x-forwarded-proto")) == 1
    assert not orders.seen[-1].all("connection")


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "host"])
def test_T17_connection_header_that_names_what_every_call_has_is_refused_or_ignored(
    name: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream
) -> None:
    before = len(orders.seen)
    answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {token(mint)}", f"Connection: {name}"))
    if answer.status == 200:
        assert believed(orders.seen[-1]) == OURS
        assert len(orders.seen[-1].all("host")) == len(orders.seen[-1].all("x-forwarded-for")) == 1
    else:
        assert (answer.status, answer.reference) == (400, "request-malformed")
        assert len(orders.seen) == before


def test_T17_connection_header_that_names_the_token_is_as_if_there_were_none(gateway: RunningGateway, mint: Mint, raw: RecordingUpstream) -> None:
    """RFC 9110 section 7.6.1: what it names is for this hop only. Judged and forwarded are the same call, without it."""
    fields = ("Host: gw.example", f"Authorization: Bearer {mint.token(aud='api://raw')}", "x-agw-subject: evil")
    with raw.sees_nothing():
        assert gateway.exchange(head("GET /raw/1 HTTP/1.1", *fields, "Connection: authorization")).reference == "token-missing"
    assert gateway.exchange(head("GET /raw/open HTTP/1.1", *fields, "Connection: authorization")).status == 200
    assert not raw.seen[-1].all("authorization")
    assert gateway.exchange(head("GET /raw/1 HTTP/1.1", *fields, "Connection: x-agw-subject")).status == 200
    assert raw.seen[-1].all("x-agw-subject") == ["order-sync"]


def public_calls(mint: Mint) -> dict[str, list[tuple[str, str]]]:
    return {
        "without a token": [],
        "with a good token": [("Authorization", f"Bearer {token(mint)}")],
        "with a bad token": [("Authorization", "Bearer bad")],
        "with an expired token": [("Authorization", f"Bearer {mint.token(exp=1)}")],
        "with a password": [("Authorization", "Basic eDp5")],
    }


FORGED = [(name, "evil") for name in (*IDENTITY, PASS, *INTERNAL)]


@pytest.mark.parametrize("kind", ["without a token", "with a good token", "with a bad token", "with an expired token", "with a password"])
def test_T18_where_no_token_is_asked_for_identity_headers_are_removed_too(kind: str, gateway: RunningGateway, mint: Mint, upstreams: Upstreams) -> None:
    for path, upstream, api in ((HEALTH, upstreams.orders, "orders"), ("/raw/open", upstreams.raw, "raw")):
        assert gateway.get(path, headers=[*public_calls(mint)[kind], *FORGED]).status == 200
        assert believed(upstream.seen[-1]) == {"HTTP_X_SCOPEWARD_PASS": f"pass-of-{api}"}
        assert b"evil" not in upstream.seen[-1].raw


@pytest.mark.parametrize("status", ["refused", "allowed"])
def test_T18_after_a_refusal_on_the_same_connection_nothing_of_it_is_left(status: str, gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    first = token(mint) if status == "allowed" else "bad"
    before = len(orders.seen)
    calls = head(f"GET {READ} HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {first}", "x-agw-subject: evil") + head(
        f"GET {HEALTH} HTTP/1.1", "Host: gw.example"
    )
    gateway.raw(calls, timeout=0.3)
    assert len(orders.seen) == before + (2 if status == "allowed" else 1)
    assert believed(orders.seen[-1]) == PASS_ALONE


PASS_THROUGH: dict[str, tuple[list[str], int, bool]] = {
    "health": ([f"GET {HEALTH} HTTP/1.1"], 200, True),
    "head of health": ([f"HEAD {HEALTH} HTTP/1.1"], 200, True),
    "hook": (["POST /orders/v1/hook HTTP/1.1", "Content-Length: 0"], 200, True),
    "preflight": ([f"OPTIONS {READ} HTTP/1.1", "Origin: https://app.example", "Access-Control-Request-Method: GET"], 403, False),
    "websocket": ([f"GET {HEALTH} HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket"], 403, False),
    "h2c": ([f"GET {HEALTH} HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"], 200, True),
    "metadata": (["GET /.well-known/oauth-protected-resource/orders/v1 HTTP/1.1"], 200, False),
    "probe": (["GET /.well-known/scopeward/probe HTTP/1.1"], 401, False),
    "no API": (["GET / HTTP/1.1"], 404, False),
}


@pytest.mark.parametrize("kind", PASS_THROUGH)
def test_T19_on_every_path_that_asks_for_no_token_the_callers_identity_ends(kind: str, gateway: RunningGateway, orders: RecordingUpstream) -> None:
    (line, *fields), status, passes = PASS_THROUGH[kind]
    before = len(orders.seen)
    answer = gateway.exchange(head(line, "Host: gw.example", *fields, *(f"{name}: {value}" for name, value in FORGED)))
    assert answer.status == status
    assert len(orders.seen) - before == int(passes)
    for seen in orders.seen[before:]:
        assert believed(seen) == PASS_ALONE
        assert b"evil" not in seen.raw
        assert not seen.all("upgrade")
        assert not seen.all("http2-settings")


ENVOYS = (
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-envoy-internal",
    "x-envoy-external-address",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-attempt-count",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-downstream-service-cluster",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-peer-metadata",
    "X-Envoy-Anything",
)


@pytest.mark.parametrize("name", ENVOYS)
def test_T22_envoys_own_headers_are_not_the_callers_to_say(name: str, gateway: RunningGateway, mint: Mint, upstreams: Upstreams) -> None:
    for path, upstream, audience in (
        (READ, upstreams.orders, "api://orders"),
        ("/raw/1", upstreams.raw, "api://raw"),
        (HEALTH, upstreams.orders, "api://orders"),
    ):
        assert gateway.get(path, mint.token(aud=audience), headers=[(name, "/evil")]).status == 200
        assert b"evil" not in upstream.seen[-1].raw


def test_T22_an_original_path_decides_nothing(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    forged = [(name, HEALTH) for name in ("x-envoy-original-path", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-prefix")]
    with orders.sees_nothing():
        assert gateway.get(READ, headers=[*forged, ("x-http-method-override", "GET"), ("x-forwarded-method", "GET")]).reference == "token-missing"
        assert gateway.call("POST", "/orders/v1", mint.token(), [*forged, ("x-http-method-override", "GET")]).reference == "kind-not-allowed"
    assert gateway.get(HEALTH, headers=forged).status == 200


def test_T22_a_caller_sets_no_timeout_and_no_retry(gateway: RunningGateway, upstreams: Upstreams) -> None:
    patient = [("x-envoy-upstream-rq-timeout-ms", "5000"), ("x-envoy-upstream-rq-per-try-timeout-ms", "5000")]
    assert gateway.get("/slow", headers=patient).reference == "upstream-timeout"
    before = len(upstreams.closing.seen)
    again = [("x-envoy-retry-on", "5xx,reset,gateway-error,connect-failure"), ("x-envoy-max-retries", "5")]
    assert gateway.get("/closing", headers=again).reference == "upstream-failed"
    assert len(upstreams.closing.seen) == before + 1
    hasty = [("x-envoy-upstream-rq-timeout-ms", "1")]
    assert gateway.get(HEALTH, headers=hasty).status == 200


def test_T22_a_private_address_in_front_makes_nobody_internal(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    answer: Answer = gateway.get(READ, mint.token(), headers=[("X-Forwarded-For", "10.0.0.1, 127.0.0.1"), ("x-envoy-internal", "true")])
    assert answer.status == 200
    assert not orders.seen[-1].all("x-envoy-internal")
    assert not [v for v in orders.seen[-1].all("x-envoy-external-address") if v.startswith("10.")]
