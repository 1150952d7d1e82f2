"""Rows of the catalogue about what is left behind: the audit line, and the caller's token."""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema
import pytest

from scopeward.audit_line import json_schema, parse
from tests.kit import http2
from tests.kit.gateway import RunningGateway
from tests.kit.tokens import Mint
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import head
from tests.security.conftest import Upstreams

READ = "/orders/v1/42"
SCHEMA = jsonschema.Draft202012Validator(json_schema())

HOSTILE = {
    "quotes": '","status":200,"x":"',
    "backslashes": "\\\\\\",
    "an escape of JSON": "\\u0000\\n",
    "a format command": "%REQ(AUTHORIZATION)% %DYNAMIC_METADATA(x)%",
    "markup": "<script>alert(1)</script>",
    "braces": '{"v":1}{[',
    "a separator of lines": "\u2028\u2029\u0085".encode().decode("latin-1"),
    "colour": "\x9b31m\x9b0m",
    "high bytes": "\x80\xff\xfe\xc3\x28",
    "half of a character": "\xf0\x9f",
    "much": "a" * 20_000,
    "tabs": "a\tb\tc",
    "direction": "\u202e\u2066".encode().decode("latin-1"),
}
"""As latin-1 text, each character one byte on the wire."""

REFUSED_BY_HTTP = {"CR and LF": "x\r\nx: y", "LF": "x\ny", "CR": "x\ry", "NUL": "x\0y", "ANSI": "\x1b[31mred\x1b[0m", "DEL": "x\x7fy"}


def lines_of(gateway: RunningGateway) -> list[bytes]:
    return gateway.node.audit_log.read_bytes().split(b"\n")[:-1]


def settled(gateway: RunningGateway) -> int:
    """How many lines there are once those of all earlier calls are written; the last is that of a call made to know it."""
    marker = f"settled-{time.monotonic_ns()}"
    gateway.get("/", headers=[("X-Request-Id", marker)])
    end = time.monotonic() + 10
    while not (lines := lines_of(gateway)) or json.loads(lines[-1])["client_request_id"] != marker:
        assert time.monotonic() < end, "the line of a call was not written"
        time.sleep(0.02)
    return len(lines)


def lines_after(gateway: RunningGateway, before: int, count: int) -> list[dict[str, Any]]:
    """The lines that ``count`` calls left: one for each, and each one of the schema."""
    assert settled(gateway) == before + count + 1
    lines: list[dict[str, Any]] = [json.loads(line) for line in lines_of(gateway)[before:-1]]
    for line in lines:
        SCHEMA.validate(line)
        parse(json.dumps(line))
    return lines


@pytest.fixture
def before(gateway: RunningGateway) -> int:
    return settled(gateway)


FIELDS = ("User-Agent", "X-Request-Id", "traceparent", "Referer", "X-Forwarded-For", "Cookie")


def test_T24_hostile_headers_leave_one_line_a_call(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream, before: int) -> None:
    ids = []
    for value in HOSTILE.values():
        fields = ("Host: gw.example", f"Authorization: Bearer {mint.token()}", *(f"{name}: {value[:5_000]}" for name in FIELDS))
        assert gateway.exchange(head(f"GET {READ} HTTP/1.1", *fields)).status == 200
        ids += orders.seen[-1].all("x-request-id")
    lines = lines_after(gateway, before, len(HOSTILE))
    assert [(line["status"], line["path"], line["reference"]) for line in lines] == [(200, READ, None)] * len(HOSTILE)
    assert [line["request_id"] for line in lines] == ids


def test_T24_control_characters_in_headers_end_no_line(gateway: RunningGateway, mint: Mint, before: int) -> None:
    statuses = []
    for value in REFUSED_BY_HTTP.values():
        fields = ("Host: gw.example", f"Authorization: Bearer {mint.token()}", *(f"{name}: {value}" for name in FIELDS))
        statuses.append(gateway.exchange(head(f"GET {READ} HTTP/1.1", *fields)).status)
    assert [line["status"] for line in lines_after(gateway, before, len(statuses))] == statuses


def test_T24_hostile_claims_leave_one_line_a_call_that_says_what_they_were(gateway: RunningGateway, mint: Mint, before: int) -> None:
    claims = [claim for kind, claim in HOSTILE.items() if kind not in {"much", "colour", "a separator of lines"}] + ["\u2028\u2029"]
    for claim in claims:
        assert gateway.get(READ, mint.token(sub=claim, jti=claim, scope=f"read.orders {claim}")).status == 200
    lines = lines_after(gateway, before, len(claims))
    assert [line["sub"] for line in lines] == [line["jti"] for line in lines] == claims
    assert {parse(json.dumps(line)).scopes[0] for line in lines} == {"read.orders"}


def test_T24_control_characters_in_claims_reach_neither_log_nor_upstream(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream, before: int) -> None:
    with orders.sees_nothing():
        answers = [gateway.get(READ, mint.token(sub=claim)) for claim in REFUSED_BY_HTTP.values()]
    assert {(a.status, a.reference) for a in answers} == {(401, "token-claim-unsafe")}
    assert {line["reference"] for line in lines_after(gateway, before, len(answers))} == {"token-claim-unsafe"}


PATHS = (
    '"x"',
    "%22%0a%0d",
    "%1b[31m",
    "{}[]",
    "\\u000a",
    "x?\"a\"='b'",
    "%e2%80%a8",
    "%REQ(AUTHORIZATION)%",
    "a%00",
    "\x80",
)


def test_T24_hostile_paths_leave_one_line_a_call_with_the_path_that_was_judged(
    gateway: RunningGateway, mint: Mint, orders: RecordingUpstream, before: int
) -> None:
    told = []
    for path in PATHS:
        answer = gateway.exchange(head(f"GET /orders/v1/{path} HTTP/1.1", "Host: gw.example", f"Authorization: Bearer {mint.token()}"))
        told.append((answer.status, "/orders/v1" + orders.seen[-1].path.partition("?")[0] if answer.status == 200 else None))
    for line, (status, path) in zip(lines_after(gateway, before, len(PATHS)), told, strict=True):
        assert line["status"] == status
        assert "?" not in (line["path"] or "")
        assert path in {None, line["path"]}


def test_T24_over_http2_as_well(gateway: RunningGateway, mint: Mint, before: int) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    fields = [("authorization", f"Bearer {mint.token()}"), ("user-agent", '"},{"v":2'), ("x-request-id", "é\u2028"), ("traceparent", trace)]
    assert http2.call(gateway.port, "GET", READ, fields).status == 200
    (line,) = lines_after(gateway, before, 1)
    assert parse(json.dumps(line)).trace_id == "a" * 32
    assert line["client_request_id"] == "é\u2028"


def test_T24_an_identifier_of_the_caller_is_kept_beside_ours(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream, before: int) -> None:
    assert gateway.get(READ, mint.token(), headers=[("X-Request-Id", "theirs"), ("X-Client-Request-Id", "forged")]).status == 200
    (line,) = lines_after(gateway, before, 1)
    assert line["client_request_id"] == "theirs"
    assert line["request_id"] == orders.seen[-1].all("x-request-id")[0] != "theirs"


def test_T25_the_callers_token_reaches_no_upstream_that_did_not_ask_for_it(gateway: RunningGateway, mint: Mint, upstreams: Upstreams) -> None:
    token = mint.token(aud=["api://orders", "api://raw"])
    for method, path in (("GET", READ), ("GET", "/orders/v1/health"), ("POST", "/orders/v1/bulk"), ("POST", "/orders/v1/hook")):
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert gateway.call(method, path, headers=[("Authorization", f"{scheme} {token}")]).status == 200
            seen = upstreams.orders.seen[-1]
            assert token.encode() not in seen.raw
            assert token.rpartition(".")[2].encode() not in seen.raw
            assert not seen.all("authorization")
    assert gateway.get("/raw/1", token).status == 200
    assert upstreams.raw.seen[-1].all("authorization") == [f"Bearer {token}"]


def test_T25_what_is_not_a_token_reaches_no_upstream_either(gateway: RunningGateway, upstreams: Upstreams) -> None:
    for value in ("Basic dXNlcjpwYXNz", "Bearer opaque-secret", "Digest x=y", "opaque-secret"):
        assert gateway.get("/orders/v1/health", headers=[("Authorization", value)]).status == 200
        assert value.split(" ")[-1].encode() not in upstreams.orders.seen[-1].raw
        assert gateway.get("/raw/open", headers=[("Authorization", value)]).status == 200
        assert upstreams.raw.seen[-1].all("authorization") == [value]


def test_T25_no_answer_and_no_log_holds_a_token(gateway: RunningGateway, mint: Mint, orders: RecordingUpstream) -> None:
    canary = "canary" + "x" * 40
    tokens = [mint.token(), mint.token(exp=1), mint.token(aud="x"), mint.token(scope="none"), canary, f"{canary}.{canary}.{canary}"]
    for token in tokens:
        for path in (READ, "/nowhere", "/orders/v1/health", "/closing", f"{READ}?access_token={token}"):
            body = gateway.get(path, token).body
            assert token.encode() not in body
            assert canary.encode() not in body
    settled(gateway)
    assert gateway.node.audit_log.is_relative_to(gateway.state.root)
    logged = b"".join(path.read_bytes() for path in gateway.state.root.rglob("*") if path.is_file())
    for token in tokens:
        assert token.encode() not in logged
        assert token.rpartition(".")[2].encode() not in logged


def test_T25_an_upstream_sees_the_callers_cookies_and_sets_its_own(gateway: RunningGateway, mint: Mint, upstreams: Upstreams) -> None:
    """The gateway has no session and so no cookie of its own in this version."""
    answer = gateway.get(READ, mint.token(), headers=[("Cookie", "theirs=1")])
    assert upstreams.orders.seen[-1].all("cookie") == ["theirs=1"]
    assert answer.headers.get("set-cookie") is None
