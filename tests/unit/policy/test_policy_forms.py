"""The forms in which one thing may be written, what is filled in where nothing is, and that the schema agrees with the reader on each."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from scopeward.policy.model import Api, ClientCertificate, Issuer, Policy, Rule, Sends, To, Trust, Upstream
from scopeward.policy.schema import json_schema
from scopeward.policy.source import Loaded, load

VALIDATOR = Draft202012Validator(json_schema())
UPSTREAM = "url: 'https://u'"


def policy_text(*, top: str = "", issuer: str = "", api: str = "", rule: str = "needs: []", upstream: str = UPSTREAM) -> str:
    """A small policy with more in one of its mappings."""
    return (
        "version: 1\npublic_url: https://api.example\n"
        f"issuers:\n  idp: {{issuer: 'https://idp', audience: a{issuer and ', ' + issuer}}}\n"
        f"apis:\n  x: {{at: /, upstream: {{{upstream}}}, rules: {{GET /: {{{rule}}}}}{api and ', ' + api}}}\n{top}\n"
    )


def valid_for_editors(text: str) -> bool:
    return not list(VALIDATOR.iter_errors(yaml.safe_load(text)))


def policy(**parts: str) -> Policy:
    """What both the reader and the schema take."""
    text = policy_text(**parts)
    loaded = load(text.encode(), "p")
    assert isinstance(loaded, Loaded), [str(d) for d in loaded]
    assert valid_for_editors(text)
    return loaded.policy


def refused(**parts: str) -> tuple[str, str]:
    """Reference and message of the one complaint."""
    found = load(policy_text(**parts).encode(), "p")
    assert isinstance(found, tuple)
    assert len(found) == 1, [str(d) for d in found]
    return found[0].reference, found[0].message


def test_what_is_filled_in() -> None:
    least = policy()
    assert least.issuers == (Issuer("idp", "https://idp", "a"),)
    assert least.apis == (Api("x", "/", "idp", "a", Upstream("https://u"), (Rule("GET", "/"),), audience_stated=False),)
    assert (least.body_limit, least.ca_bundle, least.audit_on_full, least.on_full) == (10 * 1024 * 1024, None, None, "count")
    assert least.sends == Sends(pass_="x-scopeward-pass")
    assert (least.issuers[0].jti, least.issuers[0].max_stale) == ("optional", 86_400)


@pytest.mark.parametrize("top", ["network: {}", "audit: {}", "trust: {}", "defaults: {}", "defaults: {sends: {}, limits: {}}"])
def test_an_empty_mapping_says_what_none_does(top: str) -> None:
    assert policy(top=top) == policy()


def test_an_empty_mapping_of_keys_says_what_none_does() -> None:
    assert policy(issuer="keys: {}") == policy()


# ── issuers and trust ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("written", "seconds"), [("1m", 60), ("60s", 60), ("24h", 86_400), ("30d", 2_592_000)])
def test_how_long_keys_may_be_stale(written: str, seconds: int) -> None:
    assert policy(issuer=f"keys: {{max_stale: {written}}}").issuers[0].max_stale == seconds


@pytest.mark.parametrize("written", ["59s", "31d", "721h", "0s"])
def test_keys_stale_for_too_short_or_too_long(written: str) -> None:
    assert refused(issuer=f"keys: {{max_stale: {written}}}") == ("policy-value", "the duration must be at most 30d and at least 1m")


def test_what_a_trust_says() -> None:
    trust = policy(top="trust: {internal: {lifetime: 12h, log: full, max_stream: 7d}, external: {lifetime: 15m, max_stream: 1s}}").trust
    assert trust == (Trust("external", 900, max_stream=1), Trust("internal", 43_200, log="full", max_stream=604_800))


@pytest.mark.parametrize("written", ["0s", "8d", "604801s"])
def test_a_stream_too_short_or_too_long(written: str) -> None:
    found = refused(top=f"trust: {{internal: {{lifetime: 12h, max_stream: {written}}}}}")
    assert found == ("policy-value", "the duration must be at most 7d and at least 1s")


@pytest.mark.parametrize(
    ("trust", "audit", "on_full"),
    [
        ("normal", "", "count"),
        ("full", "", "refuse"),
        ("full", "audit: {on_full: count}", "count"),
        ("normal", "audit: {on_full: refuse}", "refuse"),
    ],
)
def test_what_happens_when_the_disk_is_full(trust: str, audit: str, on_full: str) -> None:
    assert policy(top=f"trust: {{external: {{lifetime: 1h, log: {trust}}}}}\n{audit}").on_full == on_full


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("written", "size"), [("1024B", 1024), ("1KiB", 1024), ("10MiB", 10_485_760), ("1GiB", 1_073_741_824), ("1073741824B", 1_073_741_824)])
def test_a_size_in_bytes(written: str, size: int) -> None:
    assert policy(top=f"defaults: {{limits: {{body: {written}}}}}").body_limit == size


@pytest.mark.parametrize("written", ["10", "10MB", "10M", "10mib", "1.5MiB", "10 MiB", "-1MiB", "''", "0x10B", "１MiB", "99999999999B"])
def test_what_is_no_size(written: str) -> None:
    found = refused(top=f"defaults: {{limits: {{body: {written}}}}}")
    assert found == ("policy-value", "a size is a whole number with its unit (B, KiB, MiB or GiB), such as '10MiB'")
    assert not valid_for_editors(policy_text(top=f"defaults: {{limits: {{body: {written}}}}}"))


@pytest.mark.parametrize("written", ["0B", "1023B", "1025MiB", "2GiB", "9999999999GiB"])
def test_a_size_out_of_bounds(written: str) -> None:
    assert refused(top=f"defaults: {{limits: {{body: {written}}}}}") == ("policy-value", "the size must be at most 1GiB and at least 1KiB")


# ── headers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("written", "name"), [("null", None), ("x-acme-pass", "x-acme-pass"), ("x-scopeward-pass", "x-scopeward-pass")])
def test_the_header_of_the_pass(written: str, name: str | None) -> None:
    assert policy(top=f"defaults: {{sends: {{pass: {written}}}}}").sends == Sends(pass_=name)


@pytest.mark.parametrize("key", ["pass_", "is_"])
def test_a_name_of_the_code_is_no_key(key: str) -> None:
    assert refused(top=f"defaults: {{sends: {{{key}: x}}}}") == ("policy-unknown-key", f"unknown key '{key}'")


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["sse", "websocket", "grpc"])
@pytest.mark.parametrize(
    ("rule", "frozen"),
    [("needs: a.b", Rule("GET", "/", ("a.b",))), ("to: agents", Rule("GET", "/", to=To(("agents",)))), ("public: why", Rule("GET", "/", public="why"))],
)
def test_a_stream_stands_beside_all_that_a_rule_says(kind: Any, rule: str, frozen: Rule) -> None:
    found = policy(rule=f"{rule}, stream: {kind}").apis[0].rules[0]
    assert found == Rule(frozen.method, frozen.template, frozen.needs, frozen.to, frozen.public, kind)


def test_a_stream_alone_lets_nobody_in() -> None:
    assert refused(rule="stream: sse") == ("policy-missing-key", "a rule says 'needs', 'to' or 'public'")
    assert not valid_for_editors(policy_text(rule="stream: sse"))


# ── upstreams ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def upstream(more: str) -> str:
    return f"{UPSTREAM}, {more}"


@pytest.mark.parametrize("place", ["file:/a.pem", "file:/etc/acme/gateway mtls.pem", "file:/a/.hidden/..b", "file:/etc/müller.pem"])
def test_where_a_certificate_is(place: str) -> None:
    assert policy(upstream=upstream(f"client_certificate: '{place}'")).apis[0].upstream.client_certificate == place


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/etc/a.pem", "a certificate is named as 'file:/path.pem', an absolute path"),
        ("file:a.pem", "a certificate is named as 'file:/path.pem', an absolute path"),
        ("file:", "a certificate is named as 'file:/path.pem', an absolute path"),
        ("FILE:/a.pem", "a certificate is named as 'file:/path.pem', an absolute path"),
        ("vault:prod/gateway", "a certificate is named as 'file:/path.pem', an absolute path; 'vault:' comes in a later version"),
        ("file:///etc/a.pem", "the path must name a file, without '//', '.' and '..'"),
        ("file:/etc/../a.pem", "the path must name a file, without '//', '.' and '..'"),
        ("file:/etc/./a.pem", "the path must name a file, without '//', '.' and '..'"),
        ("file:/etc/", "the path must name a file, without '//', '.' and '..'"),
        ("file:/", "the path must name a file, without '//', '.' and '..'"),
        ("file:/a.pem ", "the path must not end with a space or hold control characters"),
    ],
)
def test_where_no_certificate_can_be(place: str, message: str) -> None:
    assert refused(upstream=upstream(f"client_certificate: '{place}'")) == ("policy-value", message)


@pytest.mark.parametrize("escape", ["\\n", "\\0", "\\u200b"])
def test_a_path_is_seen_whole(escape: str) -> None:
    for found in (refused(upstream=upstream(f'client_certificate: "file:/a{escape}b"')), refused(top=f'network: {{ca_bundle: "/a{escape}b"}}')):
        assert found == ("policy-value", "the path must not end with a space or hold control characters")


def test_why_clear_text_is_safe() -> None:
    assert policy(upstream="url: 'http://u', plaintext: \"same pod's  network\"").apis[0].upstream.plaintext == "same pod's network"
    assert policy(upstream="url: 'http://u', plaintext: 'true'").apis[0].upstream.plaintext == "true"  # in quotes it is a text, and somebody's reason


@pytest.mark.parametrize("switch", ["true", "yes", "ON", "false"])
def test_a_switch_is_no_reason(switch: str) -> None:
    assert refused(upstream=upstream(f"plaintext: {switch}")) == ("policy-type", "the reason is needed here as text: why is clear text safe on this way?")


# ── APIs ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "frozen"),
    [
        ("required", ClientCertificate()),
        ('{names: "dns:client.example"}', ClientCertificate(("dns:client.example",))),
        ('{names: ["dns:client.example"]}', ClientCertificate(("dns:client.example",))),
        ('{names: ["uri:spiffe://acme/X", "dns:a_b.c-d", "uri:urn:x"]}', ClientCertificate(("uri:spiffe://acme/X", "dns:a_b.c-d", "uri:urn:x"))),
        ('{names: ["dns:a", "dns:a"]}', ClientCertificate(("dns:a",))),
    ],
)
def test_which_client_certificates_are_taken(written: str, frozen: ClientCertificate) -> None:
    assert policy(api=f"client_certificate: {written}").apis[0].client_certificate == frozen


ODD_NAME = "a name of a certificate begins with 'dns:' or 'uri:', such as 'dns:client.example'"
DNS_FORM = "a DNS name is parts of letters, digits, '-' and '_' with '.' between them; it is compared whole, so '*' stands for nothing"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("client.example", ODD_NAME),
        ("DNS:client.example", ODD_NAME),
        ("ip:10.0.0.1", ODD_NAME),
        ("", ODD_NAME),
        ("dns:", "the name after 'dns:' must not be empty or hold spaces, control characters or letters beyond ASCII"),
        ("dns:a b", "the name after 'dns:' must not be empty or hold spaces, control characters or letters beyond ASCII"),
        ("uri:x:a\\tb", "the name after 'uri:' must not be empty or hold spaces, control characters or letters beyond ASCII"),
        ("dns:bücher.example", "the name after 'dns:' must not be empty or hold spaces, control characters or letters beyond ASCII"),
        ("dns:Client.example", "a DNS name is written in lower case here"),
        ("dns:*.example", DNS_FORM),
        ("dns:a..b", DNS_FORM),
        ("dns:.a", DNS_FORM),
        ("dns:a.", DNS_FORM),
        ("dns:https://a", DNS_FORM),
        ("dns:" + "a" * 64, DNS_FORM),
        ("dns:" + "a." * 127 + "a", DNS_FORM),
        ("uri:client", "a URI begins with its scheme, such as 'uri:spiffe://example/client'"),
        ("uri://acme/x", "a URI begins with its scheme, such as 'uri:spiffe://example/client'"),
        ("uri:spiffe:", "a URI begins with its scheme, such as 'uri:spiffe://example/client'"),
    ],
)
def test_what_is_no_name_of_a_certificate(name: str, message: str) -> None:
    assert refused(api=f'client_certificate: {{names: ["{name}"]}}') == ("policy-value", message)


def test_every_name_of_a_certificate_is_looked_at() -> None:
    text = policy_text(api='client_certificate: {names: ["dns:a", "x", "dns:B"]}')
    found = load(text.encode(), "p")
    assert isinstance(found, tuple)
    line = text.splitlines()[5]
    assert [(d.span.line, d.span.column, d.message) for d in found] == [
        (6, line.index('"x"') + 1, ODD_NAME),
        (6, line.index('"dns:B"') + 1, "a DNS name is written in lower case here"),
    ]


@pytest.mark.parametrize(
    ("written", "reference", "message"),
    [
        ("true", "policy-value", "'required', or a mapping with 'names', is needed here"),
        ("requird", "policy-value", "'required', or a mapping with 'names', is needed here"),
        ("null", "policy-type", "a value is needed here; leave the key out where none is meant"),
        ("[]", "policy-type", "a mapping of keys is needed here, not a list"),
        ("{}", "policy-missing-key", "the key 'names' is missing"),
        ("{name: 'dns:a'}", "policy-unknown-key", "unknown key 'name'"),
        ("{names: []}", "policy-value", "at least one name is needed here: an empty list lets nobody in"),
        ("{names: null}", "policy-type", "a name or a list of names is needed here, and nothing is given"),
        ("{names: {dns: a}}", "policy-type", "a name or a list of names is needed here, not a mapping"),
        ("{names: [null]}", "policy-type", "text is needed here, and nothing is given"),
    ],
)
def test_what_asks_for_no_client_certificate(written: str, reference: str, message: str) -> None:
    assert refused(api=f"client_certificate: {written}") == (reference, message)


@pytest.mark.parametrize(
    ("written", "frozen"),
    [
        ("semicolon", ("semicolon",)),
        ("[dot]", ("dot",)),
        ("[dot, space, percent, semicolon, dot]", ("semicolon", "percent", "space", "dot")),
    ],
)
def test_which_odd_paths_are_taken(written: str, frozen: tuple[str, ...]) -> None:
    assert policy(api=f"path: {{allow: {written}}}").apis[0].allow == frozen


ODD_PATHS = "'semicolon', 'percent', 'space' or 'dot' is needed here"


@pytest.mark.parametrize(
    ("written", "reference", "message"),
    [
        ("{allow: slash}", "policy-value", ODD_PATHS),
        ("{allow: [dot, ';']}", "policy-value", ODD_PATHS),
        ("{allow: true}", "policy-value", ODD_PATHS),
        ("{allow: [[dot]]}", "policy-type", f"{ODD_PATHS}, not a list"),
        ("{allow: [null]}", "policy-type", f"{ODD_PATHS}, and nothing is given"),
        ("{allow: []}", "policy-value", "at least one name is needed here: an empty list allows nothing more; leave the key out"),
        ("{}", "policy-missing-key", "the key 'allow' is missing"),
        ("null", "policy-type", "a value is needed here; leave the key out where none is meant"),
        ("[dot]", "policy-type", "a mapping of keys is needed here, not a list"),
    ],
)
def test_what_allows_no_odd_path(written: str, reference: str, message: str) -> None:
    assert refused(api=f"path: {written}") == (reference, message)


def test_slash_and_case() -> None:
    api = policy(api="slash: same, case: sensitive").apis[0]
    assert (api.slash, api.case) == ("same", "sensitive")
    assert policy(api="slash: exact, case: guarded") == policy()


# ── null, and what is not there ─────────────────────────────────────────────────────────────────────────────────────────────────────

NO_NULL = [
    {"issuer": "jti: null"},
    {"issuer": "keys: null"},
    {"issuer": "keys: {max_stale: null}"},
    {"top": "trust: {internal: {lifetime: 1h, log: null}}"},
    {"top": "trust: {internal: {lifetime: 1h, max_stream: null}}"},
    {"top": "defaults: {limits: null}"},
    {"top": "defaults: {limits: {body: null}}"},
    {"top": "network: null"},
    {"top": "network: {ca_bundle: null}"},
    {"top": "audit: null"},
    {"top": "audit: {on_full: null}"},
    {"rule": "needs: [], stream: null"},
    {"upstream": upstream("client_certificate: null")},
    {"upstream": upstream("plaintext: null")},
    {"api": "client_certificate: null"},
    {"api": "path: null"},
    {"api": "slash: null"},
    {"api": "case: null"},
]


@pytest.mark.parametrize("parts", NO_NULL, ids=lambda parts: next(iter(parts.values())))
def test_nothing_is_no_value(parts: dict[str, str]) -> None:
    assert refused(**parts)[0] == "policy-type"
    assert not valid_for_editors(policy_text(**parts))


NOT_VALID = [
    {"issuer": "jti: sometimes"},
    {"issuer": "keys: {max_stale: 24}"},
    {"issuer": "keys: {max_age: 24h}"},
    {"top": "trust: {internal: {lifetime: 1h, log: all}}"},
    {"top": "defaults: {limits: {body: 10}}"},
    {"top": "defaults: {limits: {headers: 10KiB}}"},
    {"top": "defaults: {sends: {pass: []}}"},
    {"top": "network: {ca_bundle: authorities.pem}"},
    {"top": "network: {ca_bundle: /a//b}"},
    {"top": "network: {proxy: x}"},
    {"top": "audit: {on_full: drop}"},
    {"top": "audit: {on_disk_full: count}"},
    {"rule": "needs: [], stream: http"},
    {"upstream": upstream("client_certificate: 'vault:x'")},
    {"upstream": upstream("plaintext: true")},
    {"upstream": upstream("plaintext: ''")},
    {"api": "client_certificate: optional"},
    {"api": "client_certificate: {names: ['dns:A']}"},
    {"api": "path: {allow: backslash}"},
    {"api": "slash: both"},
    {"api": "case: insensitive"},
]


@pytest.mark.parametrize("parts", NOT_VALID, ids=lambda parts: next(iter(parts.values())))
def test_what_is_refused_is_not_valid_for_editors(parts: dict[str, str]) -> None:
    refused(**parts)
    assert not valid_for_editors(policy_text(**parts))
