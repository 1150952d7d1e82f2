from __future__ import annotations

import base64
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopeward.audit_line import FIELDS, NUMBERS, AuditLineError, json_schema, parse
from scopeward.compile.envoy import access_log
from scopeward.identity import Principal
from tests.kit.compiling import EDGE

SCHEMA = jsonschema.Draft202012Validator(json_schema())
LINE: dict[str, Any] = dict.fromkeys(FIELDS) | {
    "v": 1,
    "node": "node-1",
    "time": "2026-11-24T09:15:34.141Z",
    "ms": 3,
    "request_id": "r",
    "client_request_id": "theirs",
    "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    "method": "GET",
    "path": "/orders/v1/42",
    "status": 200,
    "details": "via_upstream",
    "route": "0123456789ab orders GET /orders/v1/{id}",
    "decision": "rule.226ac13c0f6f read.orders",
    "who": "service order-sync dev |read.orders|",
    "sub": "order-sync",
    "client_id": "sync-id",
    "scope": "read.orders create.orders",
    "jti": "t1",
    "iat": "1795511734",
    "exp": "1795512034",
}
REFUSED = {"status": 403, "details": "rbac_access_denied_matched_policy[scope-missing]", "reference": "scope-missing", "decision": "scope-missing"}


def line(**changes: Any) -> str:
    changed = LINE | changes
    SCHEMA.validate(changed)
    return json.dumps(changed)


def test_a_line_reads_as_it_is_meant() -> None:
    read = parse(line())
    assert (read.verdict, read.api, read.operation, read.policy_version) == ("allowed", "orders", "GET /orders/v1/{id}", "0123456789ab")
    assert (read.rule, read.scopes_used, read.scopes) == ("rule.226ac13c0f6f", ("read.orders",), ("read.orders", "create.orders"))
    assert (read.kind, read.client, read.issuer, read.client_id) == ("service", "order-sync", "dev", "sync-id")
    assert (read.iat, read.exp, read.token_id, read.trace_id) == (1795511734, 1795512034, "t1", "a" * 32)
    assert read.chain is not None
    assert read.chain.actors == (Principal("service", "dev", "order-sync", "order-sync", "sync-id"),)


def test_bytes_read_as_text_does() -> None:
    assert parse(line().encode()) == parse(line())


@pytest.mark.parametrize(
    ("kind", "chain"),
    [
        ("person", (Principal("person", "dev", "s", "c", "i"),)),
        ("service", (Principal("service", "dev", "s", "c", "i"),)),
        ("agent", (Principal("agent", "dev", "s", "c", "i"),)),
        ("service-for-person", (Principal("service", "dev", None, "c", "i"), Principal("person", "dev", "s"))),
        ("agent-for-person", (Principal("agent", "dev", None, "c", "i"), Principal("person", "dev", "s"))),
    ],
)
def test_who_becomes_the_chain_of_actors(kind: str, chain: tuple[Principal, ...]) -> None:
    read = parse(line(who=f"{kind} c dev |*|", sub="s", client_id="i"))
    assert read.chain is not None
    assert (read.kind, read.chain.actors) == (kind, chain)


@pytest.mark.parametrize("who", ["refused.client-unlisted - - ||", "refused.client-unlisted - dev ||", "refused.person-missing c dev |*|", None])
def test_whom_no_rule_can_let_in_is_nobody(who: str | None) -> None:
    read = parse(line(who=who, **REFUSED))
    assert (read.kind, read.chain) == (None, None)


def test_a_person_without_a_listed_client_has_none() -> None:
    read = parse(line(who="person - dev |*|", sub="alice"))
    assert (read.client, read.issuer) == (None, "dev")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "allowed"),
        ({"decision": "public.1", "who": None}, "allowed"),
        ({"status": 500}, "allowed"),
        ({"status": 502, "reference": "upstream-failed"}, "allowed"),
        ({"status": 503, "reference": "upstream-unavailable"}, "allowed"),
        ({"status": 504, "reference": "upstream-timeout"}, "allowed"),
        (REFUSED, "refused"),
        ({"decision": "base", "status": 401, "reference": "token-revoked"}, "refused"),
        ({"decision": None, "status": 401, "reference": "token-missing"}, "refused"),
        ({"decision": None, "status": 400, "reference": "request-malformed", "route": None}, "refused"),
        ({"status": 401, "reference": "token-claim-unsafe"}, "refused"),
        ({"status": 403, "reference": "upgrade-refused"}, "refused"),
    ],
)
def test_the_verdict_is_the_gateways_and_not_the_upstreams(changes: dict[str, Any], verdict: str) -> None:
    assert parse(line(**changes)).verdict == verdict


def test_a_reference_of_a_later_version_is_read_as_a_refusal() -> None:
    assert parse(line(**(REFUSED | {"reference": "of-a-later-version"}))).verdict == "refused"
    assert parse(line(reference="of-a-later-version")).verdict == "refused"


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (None, ()),
        ("", ()),
        ("a", ("a",)),
        ("a  b ", ("a", "b")),
        ("Wyz", ("Wyz",)),
        ("Wyz a", ("Wyz", "a")),
        (base64.b64encode(b'["a","b"]').decode(), ("a", "b")),
        (base64.b64encode(b'["a","b"]').decode().rstrip("="), ("a", "b")),
        (base64.b64encode(b'["a",7]').decode(), ("a", "7")),
        (base64.b64encode(b"[]").decode(), ()),
        ("W10=", ()),
    ],
)
def test_scopes_are_words_whatever_form_the_token_had(scope: str | None, words: tuple[str, ...]) -> None:
    assert parse(line(scope=scope)).scopes == words


@pytest.mark.parametrize("seconds", [None, "", "x", "-1", "1.5", "1.79551e+09", "9" * 16, "١"])
def test_a_time_that_is_no_whole_number_of_seconds_is_none(seconds: str | None) -> None:
    read = parse(line(iat=seconds, exp=seconds))
    assert (read.iat, read.exp) == (None, None)


@pytest.mark.parametrize("traceparent", [None, "", "00-x", "00-" + "A" * 32 + "-" + "b" * 16 + "-01", "00-" + "a" * 31 + "-" + "b" * 16 + "-01"])
def test_a_trace_context_that_is_none_gives_no_trace(traceparent: str | None) -> None:
    assert parse(line(traceparent=traceparent)).trace_id is None


@pytest.mark.parametrize("route", [None, "", "0123456789ab - - -"])
def test_a_call_without_an_api_has_no_operation(route: str | None) -> None:
    read = parse(line(route=route, decision=None, who=None, status=404, reference="api-not-found"))
    assert (read.api, read.operation) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        '"x"',
        "{}",
        json.dumps(LINE | {"v": 2}),
        json.dumps(LINE | {"more": 1}),
        json.dumps({k: v for k, v in LINE.items() if k != "jti"}),
        json.dumps(LINE)[:-1],
        json.dumps(LINE) + "}",
        b"\xff",
    ],
)
def test_what_is_no_line_of_this_version_is_said_to_be_none(text: str | bytes) -> None:
    with pytest.raises(AuditLineError):
        parse(text)


@pytest.mark.parametrize(
    "changes", [{"route": "x"}, {"who": "x"}, {"who": "agent a"}, {"status": "200"}, {"ms": True}, {"decision": 7}, {"route": []}, {"sub": {}}]
)
def test_a_line_whose_values_nobody_wrote_is_said_to_be_none(changes: dict[str, Any]) -> None:
    with pytest.raises(AuditLineError):
        parse(json.dumps(LINE | changes))


values = st.none() | st.text(max_size=12) | st.integers(0, 10**12)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), values, max_size=6))
def test_no_value_makes_reading_fail_in_another_way(changes: dict[str, Any]) -> None:
    try:
        parse(json.dumps(LINE | changes))
    except AuditLineError:
        return


def test_what_is_written_is_what_is_documented() -> None:
    written = access_log.compile_access_log(EDGE)["typed_config"]["log_format"]["json_format"]
    assert set(written) == set(FIELDS)
    assert NUMBERS.issubset(FIELDS)
    assert json_schema()["required"] == sorted(FIELDS)
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert "%REQ(AUTHORIZATION)%" not in json.dumps(written).upper()


def test_the_schema_refuses_a_field_more_and_a_field_less() -> None:
    assert SCHEMA.is_valid(LINE)
    assert not SCHEMA.is_valid(LINE | {"more": 1})
    assert not SCHEMA.is_valid({k: v for k, v in LINE.items() if k != "sub"})
