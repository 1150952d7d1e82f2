from __future__ import annotations

from pathlib import Path

import pytest

from scopeward.analysis.checks import CHECKS, check, without_notes
from scopeward.analysis.checks.scope_words import NOUNS_TOO, VERBS
from scopeward.errors import REFERENCES
from scopeward.policy.diagnostic import MOST_SHOWN
from scopeward.policy.source import Loaded, load

SAMPLE = (Path(__file__).parents[1] / "policy" / "sample.yaml").read_text(encoding="utf-8")


def checked(text: str) -> list[tuple[int, int, str, str, str]]:
    loaded = load(text.encode(), "p.yaml")
    assert isinstance(loaded, Loaded), [str(d) for d in loaded]
    return [(d.span.line, d.span.column, d.severity, d.reference, d.message) for d in check(loaded)]


def test_the_sample_has_no_findings() -> None:
    assert checked(SAMPLE) == []


PERSON = "    person: {claim: idtyp, is: user}\n"
SECOND = '  partner: {issuer: "https://partner.example", jti: required, person: {claim: x, present: true}}\n'
ONE_MISTAKE = [
    # names
    ("needs: read.orders}", "needs: raed.orders}", 44, 27, "error", "name-unknown", "the scope 'raed.orders' is not defined"),
    ("may: [read.orders]", "may: [read.orders, x.y]", 28, 62, "error", "name-unknown", "the scope 'x.y' is not defined"),
    ("claims-copilot],", "claims-copliot],", 36, 60, "error", "name-unknown", "'claims-copliot' is neither a kind of caller nor a client"),
    ("to: people}", "to: person}", 37, 57, "error", "name-unknown", "'person' is neither a kind of caller nor a client"),
    ("  to: [people, services]", "  to: [people, robots]", 19, 16, "error", "name-unknown", "'robots' is neither a kind of caller nor a client"),
    ("kind: app,", "kind: app, issuer: okta,", 27, 35, "error", "name-unknown", "the issuer 'okta' is not defined"),
    ("  order-sync:", "  order sync:", 28, 3, "error", "name-not-usable", "the name 'order sync' holds ' '"),
    ("  order-sync:", "  order|sync:", 28, 3, "error", "name-not-usable", "the name 'order|sync' holds '|'"),
    ("  order-sync:", '  "*":', 28, 3, "error", "name-not-usable", "the name '*' holds '*'"),
    ("  order-sync:", "  -sync:", 28, 3, "error", "name-not-usable", "the name '-sync' does not begin with a letter or digit"),
    ("  order-sync:", '  "":', 28, 3, "error", "name-not-usable", "the name '' is empty"),
    ("  order-sync:", "  agents:", 28, 3, "error", "name-not-usable", "the name 'agents' is a kind of caller, so it cannot name a client"),
    ("  stock:", "  stöck:", 39, 3, "error", "name-not-usable", "the name 'stöck' holds 'ö'"),
    # scopes
    ("scopes:\n", "scopes:\n  orders.delete: {says: x}\n", 24, 3, "error", "scope-noun-first", "the scope 'orders.delete' has its noun first"),
    ("scopes:\n", "scopes:\n  invoice_read: {says: x}\n", 24, 3, "error", "scope-noun-first", "the scope 'invoice_read' has its noun first"),
    ("scopes:\n", "scopes:\n  Orders.Read: {says: x}\n", 24, 3, "error", "scope-noun-first", "the scope 'Orders.Read' has its noun first"),
    ("scopes:\n", "scopes:\n  orders: {says: x}\n", 24, 3, "warning", "scope-noun-first", "the scope 'orders' does not begin with a verb known here"),
    (
        "scopes:\n",
        "scopes:\n  frobnicate.orders: {says: x}\n",
        24,
        3,
        "warning",
        "scope-noun-first",
        "the scope 'frobnicate.orders' does not begin with a verb known here",
    ),
    (
        "scopes:\n",
        "scopes:\n  customer.order: {says: x}\n",
        24,
        3,
        "warning",
        "scope-noun-first",
        "the scope 'customer.order' does not begin with a verb known here",
    ),
    # issuers
    ("trust:\n  ext", SECOND + "trust:\n  ext", 4, 1, "error", "issuer-count", "exactly one issuer is needed here, and there are 2"),
    ('"https://idp.example/"', '"http://idp.example/"', 6, 13, "error", "idp-insecure", "the issuer 'workforce' is reached by http and is not on loopback"),
    (
        PERSON,
        "",
        5,
        3,
        "error",
        "person-evidence-missing",
        "the issuer 'workforce' does not say what proves a person, which is needed by the app 'orders-web' and 1 more",
    ),
    # audiences
    ("    audience: ON\n", "", 39, 3, "error", "audience-unstated", "the API 'stock' states no 'audience' of its own, and it is not the only API"),
    (
        "audience: ON",
        'audience: "api://orders"',
        41,
        15,
        "warning",
        "audience-shared",
        "the API 'stock' has the same audience as 'orders': a token for one is good for the other",
    ),
    # clients
    ('id: "6b1c"', "id: orders-web", 28, 35, "error", "client-twice", "the client 'order-sync' has the same 'id' as 'orders-web'"),
    # paths
    ("at: /stock", "at: /orders/v1", 40, 9, "error", "path-overlap", "the API 'stock' lives at the same path as 'orders'"),
    (
        "GET /{sku}: {",
        "GET /{sku}: {needs: []}\n      GET /{id}: {",
        45,
        7,
        "error",
        "rule-overlap",
        "the rule 'GET /{id}' covers the same calls as 'GET /{sku}'",
    ),
    # headers
    ("client: x-agw-client-id", "client: x agw", 21, 19, "error", "header-reserved", "the header name 'x agw' is no header name"),
    ("client: x-agw-client-id", 'client: ""', 21, 19, "error", "header-reserved", "the header name '' is no header name"),
    (
        "client: x-agw-client-id",
        "client: Authorization",
        21,
        19,
        "error",
        "header-reserved",
        "the header name 'Authorization' is one that HTTP or the gateway itself uses",
    ),
    (
        "client: x-agw-client-id",
        "client: X_Sw_Iss",
        21,
        19,
        "error",
        "header-reserved",
        "the header name 'X_Sw_Iss' is one that HTTP or the gateway itself uses",
    ),
    (
        "client: x-agw-client-id",
        "client: x-envoy-foo",
        21,
        19,
        "error",
        "header-reserved",
        "the header name 'x-envoy-foo' is one that HTTP or the gateway itself uses",
    ),
    (
        "subject: x-agw-subject",
        "subject: X_AGW-client_id",
        21,
        45,
        "error",
        "header-reserved",
        "the header name 'X_AGW-client_id' is used twice: 'client' has it too",
    ),
    ("at: /orders/v1", "at: /.well-known/x", 32, 9, "error", "path-reserved", "the API 'orders' lives below '/.well-known'"),
    # upstreams
    (
        "http://127.0.0.1:9001",
        "http://orders.example",
        34,
        15,
        "error",
        "plaintext-upstream",
        "the upstream of 'orders' is reached by http and is not on loopback",
    ),
    (
        '"https://stock.example/api", timeout: 500ms, host_header: caller, forward_token: true, client_certificate: "file:/etc/acme/stock.pem"',
        "http://stock",
        42,
        21,
        "error",
        "plaintext-upstream",
        "the upstream of 'stock' is reached by http and is not on loopback",
    ),
    (
        '"https://stock.example/api"',
        '"http://127.0.0.1:7000"',
        42,
        124,
        "error",
        "upstream-contradiction",
        "the upstream of 'stock' is reached by http, so the client certificate would not be shown",
    ),
    (
        "forward_token: true",
        "plaintext: same machine room",
        42,
        98,
        "warning",
        "upstream-contradiction",
        "the upstream of 'stock' is reached by https or on loopback, so 'plaintext' says nothing",
    ),
    (
        "http://127.0.0.1:9001",
        "{url: http://127.0.0.1:9001, plaintext: same machine}",
        34,
        55,
        "warning",
        "upstream-contradiction",
        "the upstream of 'orders' is reached by https or on loopback, so 'plaintext' says nothing",
    ),
    # streams
    (
        "POST /: {",
        "POST /: {stream: sse, ",
        37,
        24,
        "error",
        "stream-not-possible",
        "the rule 'POST /' cannot be a stream: server-sent events begin with GET",
    ),
    ("POST /: {", "POST /: {stream: websocket, ", 37, 24, "error", "stream-not-possible", "the rule 'POST /' cannot be a stream: a WebSocket begins with GET"),
    ("stream: sse", "stream: grpc", 36, 85, "error", "stream-not-possible", "the rule 'GET /**' cannot be a stream: gRPC begins with POST"),
    (
        "GET /health: {",
        "HEAD /health: {stream: sse, ",
        38,
        30,
        "error",
        "stream-not-possible",
        "the rule 'HEAD /health' cannot be a stream: server-sent events begin with GET",
    ),
    # records
    (
        "on_full: refuse",
        "on_full: count",
        50,
        18,
        "warning",
        "audit-promise-given-up",
        "calls go on when they cannot be recorded, though the trust 'internal' says 'log: full'",
    ),
    # notes
    (
        "jti: required",
        "jti: optional",
        13,
        10,
        "note",
        "token-id-optional",
        "tokens of the issuer 'workforce' without 'jti' are taken, and cannot be revoked by their id",
    ),
    (
        "    jti: required\n",
        "",
        5,
        3,
        "note",
        "token-id-optional",
        "tokens of the issuer 'workforce' without 'jti' are taken, and cannot be revoked by their id",
    ),
    # the pass
    (
        "pass: x-agw-pass",
        "pass: x-scopeward-token",
        21,
        102,
        "error",
        "header-reserved",
        "the header name 'x-scopeward-token' is one that HTTP or the gateway itself uses",
    ),
    (
        "pass: x-agw-pass",
        "pass: x_scopeward_pass",
        21,
        102,
        "error",
        "header-reserved",
        "the header name 'x_scopeward_pass' is one that HTTP or the gateway itself uses",
    ),
    ("pass: x-agw-pass", "pass: x-sw-pass", 21, 102, "error", "header-reserved", "the header name 'x-sw-pass' is one that HTTP or the gateway itself uses"),
    (
        "pass: x-agw-pass",
        "pass: authorization",
        21,
        102,
        "error",
        "header-reserved",
        "the header name 'authorization' is one that HTTP or the gateway itself uses",
    ),
    ("pass: x-agw-pass", "pass: X-AGW_subject", 21, 102, "error", "header-reserved", "the header name 'X-AGW_subject' is used twice: 'subject' has it too"),
    ("pass: x-agw-pass", "pass: a b", 21, 102, "error", "header-reserved", "the header name 'a b' is no header name"),
    # said once, though the default of 'pass' has the name too
    (
        "x-agw-client-id, subject: x-agw-subject, issuer: x-agw-issuer, scopes: null, pass: x-agw-pass",
        "x-scopeward-pass",
        21,
        19,
        "error",
        "header-reserved",
        "the header name 'x-scopeward-pass' is one that HTTP or the gateway itself uses",
    ),
    # a slash at the end
    (
        "GET /{sku}: {",
        "GET /{sku}/: {needs: []}\n      GET /{sku}: {",
        45,
        7,
        "error",
        "rule-overlap",
        "the rule 'GET /{sku}' covers the same calls as 'GET /{sku}/'",
    ),
    (
        "GET /{sku}: {",
        "GET /a/b: {needs: []}\n      GET /a/b/: {",
        45,
        7,
        "error",
        "rule-overlap",
        "the rule 'GET /a/b/' covers the same calls as 'GET /a/b'",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "column", "severity", "reference", "message"), ONE_MISTAKE, ids=[f"{m[5]}: {m[6][:40]}" for m in ONE_MISTAKE])
def test_one_mistake_is_said_once_and_at_its_place(old: str, new: str, line: int, column: int, severity: str, reference: str, message: str) -> None:
    assert old in SAMPLE
    assert checked(SAMPLE.replace(old, new, 1)) == [(line, column, severity, reference, message)]


@pytest.mark.parametrize(
    ("old", "new", "help"),
    [
        ("needs: read.orders}", "needs: raed.orders}", "Did you mean 'read.orders'?"),
        ("needs: read.orders}", "needs: zzz}", "Define it in 'scopes'."),
        ("to: people}", "to: user}", "Did you mean 'people'?"),
        ("to: people}", "to: zzz}", "Name people, services, agents, or a client of 'clients'."),
        ("scopes:\n", "scopes:\n  Orders.Read: {says: x}\n", "Rename it to 'Read.Orders'."),
        ("    audience: ON\n", "", REFERENCES["audience-unstated"].remedy),
    ],
)
def test_help_says_what_to_do(old: str, new: str, help: str) -> None:
    loaded = load(SAMPLE.replace(old, new, 1).encode(), "p.yaml")
    assert isinstance(loaded, Loaded)
    assert [d.help for d in check(loaded)] == [help]


def test_one_api_may_leave_its_audience_to_the_issuer() -> None:
    alone = SAMPLE[: SAMPLE.index("  stock:")]
    assert checked(alone.replace('    audience: "api://orders"\n', "")) == []
    neither = alone.replace('    audience: "api://orders"\n', "").replace('    audience: "api://acme"\n', "")
    assert checked(neither) == [(30, 3, "error", "audience-unstated", "neither the API 'orders' nor its issuer states an 'audience'")]


def test_no_issuer_is_said_once() -> None:
    text = "version: 1\npublic_url: http://h\nissuers: {}\nclients: {a: {kind: service, id: x}}\napis: {o: {at: /o, upstream: 'https://u', rules: {}}}\n"
    assert checked(text) == [(3, 1, "error", "issuer-count", "exactly one issuer is needed here, and there are 0")]


@pytest.mark.parametrize("rule", ["to: people", "to: [people]"])
def test_what_needs_persons(rule: str) -> None:
    text = f"version: 1\npublic_url: http://h\nissuers: {{i: {{issuer: 'https://i', audience: a, jti: required}}}}\napis: {{o: {{at: /o, upstream: 'https://u', rules: {{GET /: {{{rule}}}}}}}}}\n"
    assert [m for *_, m in checked(text)] == ["the issuer 'i' does not say what proves a person, which is needed by the rule 'GET /' of 'o'"]
    assert checked(text.replace(rule, "to: [people, services]")) == []
    by_default = text.replace(rule, "needs: []").replace("apis:", "defaults: {to: people}\napis:")
    assert [m for *_, m in checked(by_default)] == ["the issuer 'i' does not say what proves a person, which is needed by the default 'to'"]
    unlisted = text.replace("apis:", "defaults: {unlisted_clients: as_person}\napis:").replace(rule, "needs: []")
    assert [m for *_, m in checked(unlisted)] == ["the issuer 'i' does not say what proves a person, which is needed by 'unlisted_clients: as_person'"]


def test_apis_within_each_other_and_crossing_templates_are_no_overlap() -> None:
    text = SAMPLE.replace("at: /stock", "at: /orders").replace(
        "GET /{sku}: {", "GET /{a}/{b}: {needs: []}\n      GET /a/{x}: {needs: []}\n      GET /{y}/b: {needs: []}\n      GET /{sku}: {"
    )
    assert checked(text) == []


@pytest.mark.parametrize(
    "rules", ["GET /{sku}/: {needs: []}\n      ", "GET /: {needs: []}\n      GET /**: {needs: []}\n      ", "DELETE /{sku}/: {needs: []}\n      "]
)
def test_templates_that_differ_in_more_than_a_slash_are_no_overlap(rules: str) -> None:
    slash = "exact" if rules.startswith("GET /{sku}/") else "same"
    assert checked(SAMPLE.replace("GET /{sku}: {", rules + "GET /{sku}: {").replace("slash: same", f"slash: {slash}")) == []


@pytest.mark.parametrize("name", ["x-scopeward-pass", "X-Scopeward-Pass", "x-pass", "null"])
def test_the_pass_may_have_its_own_name_or_another(name: str) -> None:
    assert checked(SAMPLE.replace("pass: x-agw-pass", f"pass: {name}")) == []


def test_clear_text_with_a_reason_is_taken() -> None:
    assert checked(SAMPLE.replace("http://127.0.0.1:9001", "{url: http://orders.example, plaintext: same pod network}")) == []


@pytest.mark.parametrize(("method", "kind"), [("GET", "sse"), ("GET", "websocket"), ("POST", "grpc")])
@pytest.mark.parametrize("rule", ["needs: read.orders", "to: people", "public: why"])
def test_streams_that_are_possible(method: str, kind: str, rule: str) -> None:
    assert checked(SAMPLE.replace("GET /{sku}: {needs: read.orders}", f"{method} /{{sku}}: {{{rule}, stream: {kind}}}")) == []


def test_lines_may_be_lost_where_nobody_promised_them() -> None:
    assert checked(SAMPLE.replace("log: full", "log: normal").replace("on_full: refuse", "on_full: count")) == []


def test_a_note_is_neither_error_nor_warning() -> None:
    loaded = load(SAMPLE.replace("jti: required", "jti: optional").replace("on_full: refuse", "on_full: count").encode(), "p")
    assert isinstance(loaded, Loaded)
    found = check(loaded)
    assert [d.severity for d in found] == ["note", "warning"]
    assert without_notes(found) == found[1:]
    assert str(found[0]).startswith("p:13:10: note: ")
    assert found[0].help == "Say 'jti: required' where the issuer always sets it."


def test_another_method_may_name_its_parameter_otherwise() -> None:
    assert checked(SAMPLE.replace("GET /{sku}: {", "DELETE /{id}: {needs: []}\n      GET /{sku}: {")) == []


def test_no_more_than_fifty_are_shown() -> None:
    many = "".join(f"  noun{i}: {{says: x}}\n" for i in range(70))
    loaded = load(SAMPLE.replace("scopes:\n", "scopes:\n" + many).encode(), "p")
    assert isinstance(loaded, Loaded)
    assert len(check(loaded)) == MOST_SHOWN + 1
    assert (check(loaded)[-1].message, check(loaded)[-1].severity) == ("and 20 more of the same kind", "warning")


def test_every_check_is_named_for_what_it_finds_and_says_so() -> None:
    for one in CHECKS:
        assert one.__name__.startswith("check_")
        assert any(f"``{reference}``" in (one.__doc__ or "") for reference in REFERENCES), one.__name__


def test_a_word_is_a_verb_or_may_be_one() -> None:
    assert not VERBS & NOUNS_TOO
