from __future__ import annotations

import time
from pathlib import Path

import pytest

from scopeward.errors import REFERENCES
from scopeward.policy.diagnostic import MOST_SHOWN, Diagnostic
from scopeward.policy.model import Api, Client, ClientCertificate, Issuer, PersonEvidence, Rule, Scope, Sends, To, Trust, Upstream
from scopeward.policy.source import LARGEST, Loaded, load

SAMPLE = (Path(__file__).parent / "sample.yaml").read_text(encoding="utf-8")


def wrong(text: str | bytes) -> tuple[Diagnostic, ...]:
    found = load(text if isinstance(text, bytes) else text.encode(), "p.yaml")
    assert isinstance(found, tuple)
    assert all(d.reference in REFERENCES and d.help for d in found)
    return found


def said(text: str | bytes) -> list[tuple[int, int, str, str]]:
    return [(d.span.line, d.span.column, d.reference, d.message) for d in wrong(text)]


def with_change(old: str, new: str) -> str:
    assert SAMPLE.count(old) >= 1
    return SAMPLE.replace(old, new, 1)


def test_the_sample_as_a_policy() -> None:
    loaded = load(SAMPLE.encode(), "p.yaml")
    assert isinstance(loaded, Loaded)
    policy = loaded.policy
    assert policy.public_url == "http://127.0.0.1:8080"
    assert policy.issuers == (
        Issuer(
            "workforce",
            "https://idp.example/",
            "api://acme",
            30,
            "at+jwt",
            "client_id",
            PersonEvidence("idtyp", "is", "user"),
            "internal",
            jti="required",
            max_stale=172_800,
        ),
    )
    assert policy.scopes == (Scope("read.orders", "List and read orders"), Scope("create.orders", "Place an order"))
    assert policy.clients == (
        Client("orders-web", "app", "workforce", "orders-web"),
        Client("order-sync", "service", "workforce", "6b1c", ("read.orders",)),
        Client("claims-copilot", "agent", "workforce", "012345", ("read.orders",)),
    )
    assert policy.trust == (Trust("external", 900, "report"), Trust("internal", 43200, "refuse", "full", 14_400))
    assert policy.sends == Sends("x-agw-client-id", "x-agw-subject", "x-agw-issuer", None, "x-agw-pass")
    assert (policy.body_limit, policy.ca_bundle, policy.audit_on_full) == (1024 * 1024, "/etc/acme/authorities.pem", "refuse")
    orders, stock = policy.apis
    assert orders.rules == (
        Rule("GET", "/**", ("read.orders",), To(("people", "services"), ("claims-copilot",)), stream="sse"),
        Rule("POST", "/", ("create.orders", "read.orders"), To(("people",))),
        Rule("GET", "/health", public="load balancer probe, no data"),
    )
    assert stock == Api(
        "stock",
        "/stock",
        "workforce",
        "ON",
        Upstream("https://stock.example/api", 0.5, "caller", forward_token=True, client_certificate="file:/etc/acme/stock.pem"),
        (Rule("GET", "/{sku}", ("read.orders",)),),
        client_certificate=ClientCertificate(("dns:client.example", "uri:spiffe://acme/x")),
        allow=("semicolon", "space"),
        slash="same",
        case="sensitive",
    )


def test_the_least_policy_has_its_defaults() -> None:
    loaded = load(
        b"version: 1\npublic_url: https://api.example/\nissuers: {idp: {issuer: 'https://idp', audience: a}}\napis: {x: {at: /, upstream: 'https://u', rules: {}}}",
        "p",
    )
    assert isinstance(loaded, Loaded)
    assert loaded.policy.public_url == "https://api.example"
    assert loaded.policy.issuers == (Issuer("idp", "https://idp", "a"),)
    assert loaded.policy.apis == (Api("x", "/", "idp", "a", Upstream("https://u"), (), audience_stated=False),)
    assert (loaded.policy.sends, loaded.policy.trust, loaded.policy.unlisted_clients, loaded.policy.default_to) == (Sends(), (), "refuse", To())


def test_the_default_to_is_filled_in() -> None:
    loaded = load(with_change("to: [people, services]", "to: agents").encode(), "p.yaml")
    assert isinstance(loaded, Loaded)
    assert loaded.policy.default_to == To(("agents",))
    assert loaded.policy.apis[1].rules[0].to == To(("agents",))


A_PUBLIC_RULE = "a public rule asks nothing of the caller: it takes no 'needs' and no 'to'"

ONE_MISTAKE = [
    # keys
    ("    trust: internal", "    turst: internal", 12, 5, "policy-unknown-key", "unknown key 'turst'"),
    ('    issuer: "https', '    isuer: "https', 6, 5, "policy-unknown-key", "unknown key 'isuer'"),
    ("kind: app", "kimd: app", 27, 16, "policy-unknown-key", "unknown key 'kimd'"),
    ("{url: ", "{host: h, url: ", 42, 16, "policy-unknown-key", "unknown key 'host'"),
    ("version: 1\n", "version: 1\nroles: {}\n", 3, 1, "policy-unknown-key", "unknown key 'roles'"),
    ("{needs: read.orders}", "{need: read.orders}", 44, 20, "policy-unknown-key", "unknown key 'need'"),
    ("version: 1\n", "", 2, 1, "policy-missing-key", "the key 'version' is missing"),
    ("    at: /stock\n", "", 39, 3, "policy-missing-key", "the key 'at' is missing"),
    ("kind: app, ", "", 27, 3, "policy-missing-key", "the key 'kind' is missing"),
    ("is: user", "", 11, 5, "policy-missing-key", "one of 'is', 'present' and 'not' is needed beside 'claim'"),
    ("{needs: read.orders}", "{}", 44, 7, "policy-missing-key", "a rule says 'needs', 'to' or 'public'"),
    ("  stock:\n", "  orders:\n", 39, 3, "policy-duplicate-key", "the key 'orders' stands twice, first at line 31, column 3"),
    ("is: user", "is: user, is: bot", 11, 38, "policy-duplicate-key", "the key 'is' stands twice, first at line 11, column 28"),
    ("trust:\n  ext", "apis: {}\ntrust:\n  ext", 31, 1, "policy-duplicate-key", "the key 'apis' stands twice, first at line 15, column 1"),
    # types
    ("  external: {lifetime: 15m, over: report}", "  external: [15m]", 16, 3, "policy-type", "a mapping of keys is needed here, not a list"),
    ("  external: {lifetime: 15m, over: report}", "  external: 15m", 16, 13, "policy-type", "a mapping of keys is needed here, not a single value"),
    ("typ: at+jwt", "typ: [at+jwt]", 9, 5, "policy-type", "'at+jwt' or 'any' is needed here, not a list"),
    ("typ: at+jwt", "typ:", 9, 9, "policy-type", "'at+jwt' or 'any' is needed here, and nothing is given"),
    ('audience: "api://acme"', "audience: {}", 7, 5, "policy-type", "text is needed here, not a mapping"),
    ('audience: "api://acme"', "audience: ~", 7, 15, "policy-type", "a value is needed here; leave the key out where none is meant"),
    ("may: read.orders}", "may: }", 29, 50, "policy-type", "a value is needed here; leave the key out where none is meant"),
    ("may: [read.orders]", "may: [read.orders, null]", 28, 62, "policy-type", "text is needed here, and nothing is given"),
    ("forward_token: true", 'forward_token: "true"', 42, 102, "policy-type", "true or false is needed here, without quotes"),
    ("forward_token: true", "forward_token: yes", 42, 102, "policy-type", "true or false is needed here, without quotes"),
    ("version: 1", 'version: "1"', 2, 10, "policy-type", "a whole number is needed here, without quotes"),
    ("needs: [create.orders, read.orders]", "needs: {all: read.orders}", 37, 16, "policy-type", "a name or a list of names is needed here, not a mapping"),
    ("rules:\n      GET /{sku}: {needs: read.orders}", "rules: nothing", 43, 12, "policy-type", "a mapping of keys is needed here, not a single value"),
    ("upstream: http://127.0.0.1:9001", "upstream: []", 34, 5, "policy-type", "a mapping of keys is needed here, not a list"),
    (
        'public: "load balancer probe, no data"',
        "public: true",
        38,
        29,
        "policy-type",
        "the reason is needed here as text: why may everybody call this without a token?",
    ),
    # values
    ("version: 1", "version: 2", 2, 10, "policy-value", "the version of the language is 1"),
    ("public_url: http://127.0.0.1:8080", "public_url: http://127.0.0.1:8080/x", 3, 13, "policy-value", "the URL must be without a path"),
    ("upstream: http://127.0.0.1:9001", "upstream: http://u:hunter2@h", 34, 15, "policy-value", "the URL must not hold a user name or password"),
    ("clock_skew: 30s", "clock_skew: 30", 8, 17, "policy-value", "a duration is a whole number with its unit (s, m, h or d), such as '30s'"),
    ("clock_skew: 30s", "clock_skew: 500ms", 8, 17, "policy-value", "a duration is a whole number with its unit (s, m, h or d), such as '30s'"),
    ("clock_skew: 30s", "clock_skew: 11m", 8, 17, "policy-value", "the duration must be at most 10m and at least 1s"),
    ("clock_skew: 30s", "clock_skew: 0s", 8, 17, "policy-value", "the duration must be at most 10m and at least 1s"),
    ("timeout: 500ms", "timeout: 0s", 42, 59, "policy-value", "the duration must be at most 1h and more than nothing"),
    ("lifetime: 15m", "lifetime: 0s", 16, 24, "policy-value", "the duration must be at most 366d and at least 1s"),
    ("over: report", "over: reprot", 16, 35, "policy-value", "'report' or 'refuse' is needed here"),
    ("is: user", "is: user, not: bot", 11, 5, "policy-value", "only one of 'is', 'present' and 'not' may stand beside 'claim'"),
    ("is: user", "present: false", 11, 5, "policy-value", "'present' takes only true; leave 'person' out where nothing proves a person"),
    ("id: orders-web", 'id: ""', 27, 31, "policy-value", "the text must not be empty, begin or end with a space, or hold control characters"),
    ("id: orders-web", 'id: "a\\nb"', 27, 31, "policy-value", "the text must not be empty, begin or end with a space, or hold control characters"),
    ("{says: Place an order}", "{says: ' '}", 25, 25, "policy-value", "the text must not be empty or hold control characters"),
    ("to: people}", "to: []}", 37, 53, "policy-value", "at least one name is needed here: an empty list lets nobody in"),
    ("at: /orders/v1", "at: /orders/v1/", 32, 9, "policy-value", "the path must not end in '/'"),
    ("at: /orders/v1", "at: /orders/{v}", 32, 9, "policy-value", "the path must be without '{parameters}' and '**'"),
    ("GET /health", "GET /health;x", 38, 7, "policy-value", "the path holds ';'; a segment takes letters, digits and any of - . _ ~ : @ + , = $ !"),
    ("GET /health", "GET  /health", 38, 7, "policy-value", "a rule's key is a method, one space and a path, such as 'GET /{id}'"),
    ("GET /health", "OPTIONS /health", 38, 7, "policy-value", "OPTIONS cannot be a rule: it belongs to CORS"),
    ("GET /health", "get /health", 38, 7, "policy-value", "the method must be one of GET, HEAD, POST, PUT, PATCH, DELETE; perhaps GET"),
    ("public: ", "to: people, public: ", 38, 7, "policy-value", A_PUBLIC_RULE),
    # keys, logging, limits
    ("jti: required", "jti: always", 13, 10, "policy-value", "'optional' or 'required' is needed here"),
    ("max_stale: 48h", "max_stael: 48h", 14, 12, "policy-unknown-key", "unknown key 'max_stael'"),
    ("max_stale: 48h", "max_stale: 30s", 14, 23, "policy-value", "the duration must be at most 30d and at least 1m"),
    ("keys: {max_stale: 48h}", "keys: 48h", 14, 11, "policy-type", "a mapping of keys is needed here, not a single value"),
    ("log: full", "log: all", 17, 48, "policy-value", "'normal' or 'full' is needed here"),
    ("max_stream: 4h", "max_stream: 8d", 17, 66, "policy-value", "the duration must be at most 7d and at least 1s"),
    ("pass: x-agw-pass", "pass: {}", 21, 96, "policy-type", "text is needed here, not a mapping"),
    ("body: 1MiB", "body: 1MB", 22, 18, "policy-value", "a size is a whole number with its unit (B, KiB, MiB or GiB), such as '10MiB'"),
    ("body: 1MiB", "body: 2GiB", 22, 18, "policy-value", "the size must be at most 1GiB and at least 1KiB"),
    # the edge of an API and of its upstream
    ("stream: sse", "stream: ssh", 36, 85, "policy-value", "'sse', 'websocket' or 'grpc' is needed here"),
    ("to: [people, services, claims-copilot], stream: sse", "stream: sse, public: why", 36, 7, "policy-value", A_PUBLIC_RULE),
    ("file:/etc", "vault:/etc", 42, 128, "policy-value", "a certificate is named as 'file:/path.pem', an absolute path; 'vault:' comes in a later version"),
    ("stock.pem", "../stock.pem", 42, 128, "policy-value", "the path must name a file, without '//', '.' and '..'"),
    ("forward_token: true", "plaintext: true", 42, 98, "policy-type", "the reason is needed here as text: why is clear text safe on this way?"),
    ("dns:client", "dns:Client", 45, 34, "policy-value", "a DNS name is written in lower case here"),
    ("uri:spiffe://acme/x", "email:a@b", 45, 56, "policy-value", "a name of a certificate begins with 'dns:' or 'uri:', such as 'dns:client.example'"),
    ('{names: ["dns:client.example", "uri:spiffe://acme/x"]}', "yes", 45, 25, "policy-value", "'required', or a mapping with 'names', is needed here"),
    ("allow: [space, semicolon]", "allow: [space, slash]", 46, 27, "policy-value", "'semicolon', 'percent', 'space' or 'dot' is needed here"),
    ("slash: same", "slash: equal", 47, 12, "policy-value", "'exact' or 'same' is needed here"),
    ("case: sensitive", "case: off", 48, 11, "policy-value", "'guarded' or 'sensitive' is needed here"),
    ("ca_bundle: /etc", "ca_bundle: etc", 49, 22, "policy-value", "the path of a file must be absolute: begin it with '/'"),
    ("on_full: refuse", "on_full: drop", 50, 18, "policy-value", "'refuse' or 'count' is needed here"),
    # what hides
    ("person: {claim", "person: &p {claim", 11, 13, "policy-alias", "the anchor '&p' names a value for use elsewhere"),
    ("person: {claim: idtyp, is: user}", "person: *p", 11, 13, "policy-alias", "the alias '*p' stands for a value written elsewhere"),
    ("{claim: idtyp, is: user}", "{<<: *base, is: user}", 11, 14, "policy-alias", "the merge key '<<' brings in keys written elsewhere"),
    ("clock_skew: 30s", "clock_skew: !!int 30", 8, 17, "policy-alias", "a tag ('!') gives the value another type than it shows"),
    ("clock_skew: 30s", "clock_skew: !!python/object/apply:os.abort []", 8, 17, "policy-alias", "a tag ('!') gives the value another type than it shows"),
    # syntax
    ("typ: at+jwt", "typ: at: jwt", 9, 12, "policy-syntax", "mapping values are not allowed in this context"),
    ("trust:\n", "trust: [\n", 17, 3, "policy-syntax", "did not find expected ',' or ']' while parsing a flow sequence that begins at line 15"),
    ("  workforce:\n", "\tworkforce:\n", 5, 1, "policy-syntax", "found character that cannot start any token while scanning for the next token"),
    ("  workforce:", "  ? [a]\n  : b\n  workforce:", 5, 5, "policy-syntax", "a key must be a word, not a list or a mapping"),
    ("  workforce:", "  : b\n  workforce:", 5, 3, "policy-syntax", "did not find expected key while parsing a block mapping"),
    ("  workforce:", "  ?\n  : b\n  workforce:", 5, 4, "policy-syntax", "a key is missing before ':'"),
    ("trust:\n", "---\ntrust:\n", 15, 1, "policy-syntax", "a second document begins here; a policy is one document"),
]


@pytest.mark.parametrize(("old", "new", "line", "column", "reference", "message"), ONE_MISTAKE, ids=[f"{m[4]}: {m[5][:40]}" for m in ONE_MISTAKE])
def test_one_mistake_is_said_once_and_at_its_place(old: str, new: str, line: int, column: int, reference: str, message: str) -> None:
    assert said(with_change(old, new)) == [(line, column, reference, message)]


@pytest.mark.parametrize(
    ("old", "new", "help"),
    [
        ("    trust: internal", "    turst: internal", "Did you mean 'trust'?"),
        ('    issuer: "https', '    isuer: "https', "Did you mean 'issuer'?"),
        ("over: report", "over: reprot", "Did you mean 'report'?"),
        ("{url: ", "{zzz: h, url: ", "Keys known here: client_certificate, forward_token, host_header, plaintext, timeout, url."),
        ("typ: at+jwt", "typ: JWT", "Give a value as described."),
        ("max_stale: 48h", "max_stael: 48h", "Did you mean 'max_stale'?"),
        ("pass: x-agw-pass", "passes: x", "Did you mean 'pass'?"),
        ("stream: sse", "stream: websockets", "Did you mean 'websocket'?"),
        ("allow: [space, semicolon]", "allow: [space, semicolons]", "Did you mean 'semicolon'?"),
        ("{names: [", "{name: [", "Did you mean 'names'?"),
        ("{allow: [space, semicolon]}", "{allow: dot, zzz: 1}", "Keys known here: allow."),
        ("{on_full: refuse}", "{zzz: 1}", "Keys known here: on_full."),
    ],
)
def test_help_names_what_was_meant(old: str, new: str, help: str) -> None:
    assert [d.help for d in wrong(with_change(old, new))] == [help]


@pytest.mark.parametrize(
    ("text", "line", "column", "reference", "message"),
    [
        (b"", 1, 1, "policy-empty", "the policy has no content"),
        (b"\xef\xbb\xbf\n", 1, 1, "policy-empty", "the policy has no content"),
        (b"# only a comment\n", 1, 1, "policy-empty", "the policy has no content"),
        (b"---\n...\n", 1, 1, "policy-empty", "the policy has no content"),
        (b"- a\n", 1, 1, "policy-type", "a policy is a mapping of keys, beginning with 'version: 1'"),
        (b"hello", 1, 1, "policy-type", "a policy is a mapping of keys, beginning with 'version: 1'"),
        (b"a: b\nc: \xc3\xa9\xff", 2, 5, "policy-encoding", "the byte 0xff is not UTF-8"),
        (b"\xed\xa0\x80", 1, 1, "policy-encoding", "the byte 0xed is not UTF-8"),
        (b"a: \x00", 1, 4, "policy-encoding", "the character U+0000 is not taken: a reader does not see what it does"),
        ("a: 1\n# x\u2028b: 2".encode(), 2, 4, "policy-encoding", "the character U+2028 is not taken: a reader does not see what it does"),
        ("a: 1\r\n# \u202e".encode(), 2, 3, "policy-encoding", "the character U+202E is not taken: a reader does not see what it does"),
        (b"# a\rb: 2", 1, 4, "policy-encoding", "the character U+000D is not taken: a reader does not see what it does"),
        ("a: 1".encode("utf-16"), 1, 1, "policy-encoding", "the file is UTF-16, not UTF-8"),
        (b"#" * (LARGEST + 1), 1, 1, "policy-too-large", "the policy has more than 8388608 bytes"),
        (b"a: " + b"[" * 2000, 1, 35, "policy-syntax", "nested deeper than 32 levels"),
        (b"".join(b" " * n + b"a:\n" for n in range(100)), 33, 33, "policy-syntax", "nested deeper than 32 levels"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_no_policy_at_all(text: bytes, line: int, column: int, reference: str, message: str) -> None:
    assert said(text) == [(line, column, reference, message)]


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    assert isinstance(load(b"\xef\xbb\xbf" + SAMPLE.replace("\n", "\r\n").encode(), "p.yaml"), Loaded)
    assert said(b"\xef\xbb\xbfversion: 2\r\n")[0][:3] == (1, 1, "policy-missing-key")


def test_several_mistakes_are_all_listed_in_order() -> None:
    text = (
        SAMPLE.replace("version: 1", "version: 3")
        .replace("kind: app", "kind: apq")
        .replace("at: /stock", "at: stock")
        .replace("typ: at+jwt", "typ: at+jwt\n    typ: any")
    )
    assert [(line, ref) for line, _, ref, _ in said(text)] == [(2, "policy-value"), (10, "policy-duplicate-key"), (28, "policy-value"), (41, "policy-value")]


def test_no_more_than_fifty_are_listed() -> None:
    found = wrong("".join(f"k{i}: 1\n" for i in range(80)))
    assert len(found) == MOST_SHOWN + 1
    assert found[-1].message == "and 34 more of the same kind"  # 80 unknown keys and 4 missing ones


def test_cycles_and_bombs_are_lines_to_complain_about() -> None:
    bomb = "a: &a [x]\n" + "".join(f"b{i}: &b{i} [{', '.join(['*a'] * 9)}]\n" for i in range(20))
    for text in (bomb, "a: &a [*a]\n", "a: &a\n  <<: *a\n"):
        assert {d.reference for d in wrong(text)} == {"policy-alias"}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        "a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "{a: " * 100_000,
        "&a " * 100_000,
        "- {}\n" * 100_000,
        "k: 1\n" * 100_000,
        "".join(f"k{i}: 1\n" for i in range(20_000)),
        SAMPLE.replace("[create.orders,", "[" + "~," * 100_000),
    ],
)
def test_large_nonsense_is_refused_in_a_short_time(text: str) -> None:
    began = time.perf_counter()
    wrong(text)
    assert time.perf_counter() - began < 5


SECRET = "ghp_Zm9yLXJlYWwtdGhpcy1pcy1hLXNlY3JldA"


@pytest.mark.parametrize(
    "old",
    [
        "http://127.0.0.1:8080",
        '"https://idp.example/"',
        "30s",
        "at+jwt",
        "internal",
        "refuse",
        "15m",
        "1\n",
        "app,",
        "/orders/v1",
        "500ms",
        "caller",
        "true",
        "48h",
        "full",
        "4h",
        "1MiB",
        "sse",
        '"file:/etc/acme/stock.pem"',
        '"dns:client.example"',
        "semicolon]",
        "same",
        "sensitive",
        "/etc/acme/a",
    ],
)
def test_values_are_not_quoted(old: str) -> None:
    for new in (SECRET, f"https://x:{SECRET}@h", f"[{SECRET}]", f"{{{SECRET}x: {SECRET}}}"):
        tail = {"1\n": "\n", "app,": ",", "semicolon]": "]"}.get(old, "")
        found = load(SAMPLE.replace(old, f"{new}{tail}", 1).encode(), "p.yaml")
        text = " ".join(f"{d.message} {d.help}" for d in found) if isinstance(found, tuple) else ""
        assert SECRET not in text.replace(f"'{SECRET}x'", "")  # as a key it may be named


def test_a_long_or_strange_key_is_shown_short_and_on_one_line() -> None:
    found = wrong(SAMPLE + f'? "a\\n{"b" * 100}"\n: 1\n')
    assert [d.message for d in found] == ["unknown key 'a\\n" + "b" * 46 + "…'"]


def test_places_of_values_and_of_names_in_lists() -> None:
    loaded = load(SAMPLE.encode(), "p.yaml")
    assert isinstance(loaded, Loaded)
    spans = loaded.spans

    def at(*path: str | int) -> tuple[int, int]:
        span = spans.of(path)
        return span.line, span.column

    assert at("apis", "orders", "at") == (32, 9)
    assert at("apis", "orders") == (31, 3)
    assert at("apis", "orders", "rules", "POST /", "needs", "read.orders") == (37, 39)
    assert at("apis", "orders", "rules", "POST /", "needs", 0) == (37, 24)
    assert at("apis", "orders", "rules", "GET /**", "needs", "read.orders") == (36, 24)
    assert at("apis", "orders", "upstream", "url") == (34, 15)
    assert at("nowhere", "at", "all") == (2, 1)
    assert (spans.key(("apis", "orders", "at")).line, spans.key(("apis", "orders", "at")).column) == (32, 5)


def test_diagnostics_read_as_compilers_write_them() -> None:
    assert str(wrong(with_change("version: 1", "version: 2"))[0]) == "p.yaml:2:10: error: the version of the language is 1 [policy-value]"
