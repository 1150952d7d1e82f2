"""Rows of the catalogue about what proxies say of a call, and about headers that are judged in one form and used in another."""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scopeward.analysis.gateway import Revocation
from scopeward.envoy.place import Listen, Place
from scopeward.errors import ScopewardError
from scopeward.settings import Flags, read_settings
from tests.kit import http2
from tests.kit.compiling import EDGE, compiled
from tests.kit.gateway import Answer, RunningGateway, free_port, read_answer
from tests.kit.tokens import Mint, b64, jwks, sign, signing_key
from tests.kit.upstream import RecordingUpstream, Seen
from tests.kit.wire import head
from tests.security.conftest import NamedGateway, Upstreams

READ, HEALTH, HOOK = "/orders/v1/42", "/orders/v1/health", "/orders/v1/hook"
PROXY, STRANGER, CALLER = "127.0.0.2", "127.0.0.3", "203.0.113.9"

SPOKEN = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "6666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Uri": HEALTH,
    "X-Forwarded-Path": HEALTH,
    "X-Forwarded-Method": "EVIL",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Scheme": "evil",
    "X-Forwarded-Ssl": "evil",
    "X-Forwarded-User": "evil",
    "X-Forwarded-Email": "evil@example",
    "X-Forwarded-Groups": "evil",
    "X-Forwarded-Access-Token": "evil",
    "X-Forwarded-Client-Cert": "URI=spiffe://evil",
    "X-Forwarded-Fo": "evil",
    "X-Forwarded-Fort": "evil",
    "X-Forwarded-Form": "evil",
    "X-Forwarded-Pro": "evil",
    "X-Forwarded-Protocol": "evil",
    "X-Forwarded-P": "evil",
    "X-Forwarded-": "evil",
    "x-fOrWaRdEd-hOsT": "evil.example",
    "Forwarded": f'for={CALLER};host="evil.example";proto=https',
    "X-Real-IP": CALLER,
    "X-Original-URL": HEALTH,
    "X-Rewrite-URL": HEALTH,
    "X-HTTP-Method": "EVIL",
    "X-HTTP-Method-Override": "EVIL",
    "X-Method-Override": "EVIL",
}
"""What no upstream may see of a caller's, trusted proxy or not."""

BELIEVED = {"X-Forwarded-For": CALLER, "X-Forwarded-Proto": "https"}
"""What a trusted proxy may say."""

ALL = SPOKEN | BELIEVED


@pytest.fixture(scope="module")
def proxied(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamedGateway]:
    """The same policy, on a node that takes calls from one proxy only."""
    place = Place(Listen("127.0.0.1", free_port()), proxies=(f"{PROXY}/32",))
    with NamedGateway(tmp_path_factory.mktemp("node"), policy, jwks(signing_key()), place=place) as running:
        yield running


def exchange(gateway: RunningGateway, request: bytes, source: str = PROXY) -> Answer:
    """A call from an address of this machine."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5, source_address=(source, 0)) as connection:
        connection.sendall(request)
        return read_answer(connection, request.split(b" ", 1)[0].decode("latin-1"))


def get(line: str, *fields: str, token: str | None = None) -> bytes:
    return head(line, "Host: gw.example", *([f"Authorization: Bearer {token}"] if token else []), *fields)


def nothing_of_it(seen: Seen, name: str, value: str) -> None:
    assert not seen.all(name)
    assert b"evil" not in seen.raw.lower().replace(b"gw.example", b"")
    assert value not in {v for k, v in seen.headers if k.lower() not in {"x-request-id", "host"}}


# ── 15, 16 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ALL)
def test_T15_what_a_proxy_says_chooses_no_rule(name: str, gateway: NamedGateway, proxied: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    for running in (gateway, proxied):
        for value in dict.fromkeys([ALL[name], HEALTH, HOOK, "GET", "POST", "gw.example", "https://gw.example" + HEALTH]):
            field = f"{name}: {value}"
            with orders.sees_nothing():
                assert exchange(running, get(f"GET {READ} HTTP/1.1", field)).reference == "token-missing"
                assert exchange(running, get("POST /orders/v1 HTTP/1.1", field, "Content-Length: 0", token=mint.token())).reference == "kind-not-allowed"
                assert exchange(running, head(f"GET {HEALTH} HTTP/1.1", "Host: evil.example", field)).reference == "unknown-host"
                assert exchange(running, get("GET /nowhere HTTP/1.1", field)).reference == "api-not-found"
            assert exchange(running, get(f"GET {HEALTH} HTTP/1.1", field)).status == 200
            assert orders.seen[-1].line == "GET /health HTTP/1.1"
            assert orders.seen[-1].all("host") == [f"127.0.0.1:{orders.port}"]


@pytest.mark.parametrize("name", SPOKEN)
def test_T15_none_of_it_reaches_an_upstream_whoever_says_it(name: str, gateway: NamedGateway, proxied: NamedGateway, mint: Mint, upstreams: Upstreams) -> None:
    """The other API keeps the caller's Host and token: what it believes of proxies must go all the same."""
    calls = ((READ, "api://orders", upstreams.orders), (HEALTH, "api://orders", upstreams.orders), ("/raw/1", "api://raw", upstreams.raw))
    for running, (path, audience, upstream), times in itertools.product((gateway, proxied), calls, (1, 2)):
        token = mint.token(aud=audience)
        assert exchange(running, get(f"GET {path} HTTP/1.1", *[f"{name}: {SPOKEN[name]}"] * times, token=token)).status == 200
        nothing_of_it(upstream.seen[-1], name, SPOKEN[name])
    fields = [("authorization", f"Bearer {mint.token()}"), (name.lower(), SPOKEN[name])]
    assert http2.call(gateway.port, "GET", READ, fields).status == 200
    nothing_of_it(upstreams.orders.seen[-1], name, SPOKEN[name])


def test_T15_without_a_trusted_proxy_the_caller_is_who_connects(gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    for value in (CALLER, f"{CALLER}, {PROXY}", f"{PROXY}, {CALLER}", "127.0.0.1", "10.0.0.1", "evil", "", ",", "::1"):
        answer = exchange(gateway, get(f"GET {READ} HTTP/1.1", f"X-Forwarded-For: {value}", token=mint.token()), STRANGER)
        assert answer.status == 200
        assert orders.seen[-1].all("x-forwarded-for") == [STRANGER]
        assert line_of(gateway, orders.seen[-1])["address"] == STRANGER


def test_T15_a_trusted_proxy_says_who_called_and_only_its_last_word_counts(proxied: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    for value in (CALLER, f"evil, 198.51.100.1, {CALLER}", f"127.0.0.1,{CALLER}", f"10.0.0.1, {CALLER}"):
        assert exchange(proxied, get(f"GET {READ} HTTP/1.1", f"X-Forwarded-For: {value}", token=mint.token())).status == 200
        assert line_of(proxied, orders.seen[-1])["address"] == CALLER
        assert orders.seen[-1].all("x-forwarded-for") == [f"{value},{PROXY}"]
    assert exchange(proxied, get(f"GET {READ} HTTP/1.1", token=mint.token())).status == 200
    assert line_of(proxied, orders.seen[-1])["address"] == PROXY


def test_T15_where_a_proxy_is_named_nobody_else_may_connect(proxied: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    request = get(f"GET {READ} HTTP/1.1", f"X-Forwarded-For: {PROXY}", token=mint.token())
    with orders.sees_nothing(), pytest.raises(ConnectionError):
        exchange(proxied, request, STRANGER)
    assert exchange(proxied, request).status == 200


EVERYBODY = ("0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1", "::/1,8000::/1", "10.0.0.0/8,0.0.0.0/0", "0.0.0.0/1,128.0.0.0/2,192.0.0.0/2")


@pytest.mark.parametrize("everybody", EVERYBODY)
def test_T15_everybody_is_no_trusted_proxy(everybody: str, tmp_path: Path) -> None:
    file = tmp_path / "scopeward.toml"
    file.write_text(f"behind_tls_proxy = {json.dumps(everybody.split(','))}\n")
    by_flag, by_file = Flags(behind_tls_proxy=tuple(everybody.split(","))), Flags(settings_file=file)
    for flags, environ in ((by_flag, {}), (by_file, {}), (Flags(), {"SCOPEWARD_BEHIND_TLS_PROXY": everybody})):
        with pytest.raises(ScopewardError, match="every caller would be believed") as refused:
            read_settings(flags, environ)
        assert refused.value.reference.id == "address-not-usable"


def test_T15_nobody_is_trusted_who_is_not_named(tmp_path: Path) -> None:
    empty = tmp_path / "scopeward.toml"
    empty.write_text("")
    assert read_settings(Flags(settings_file=empty), {}).behind_tls_proxy.value == ()
    assert Place(Listen("127.0.0.1", 1)).proxies == ()


def test_T16_the_scheme_is_that_of_the_connection(gateway: NamedGateway, mint: Mint, upstreams: Upstreams) -> None:
    for value in ("https", "HTTPS", "wss", "evil", "https, http", "", "http:"):
        for path, audience, upstream in ((READ, "api://orders", upstreams.orders), ("/raw/1", "api://raw", upstreams.raw)):
            answer = gateway.get(path, mint.token(aud=audience), headers=[("X-Forwarded-Proto", value), ("X-Forwarded-Proto", "https")])
            assert answer.status == 200
            assert upstream.seen[-1].all("x-forwarded-proto") == ["http"]
    answer = gateway.get(READ, headers=[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Port", "1")])
    assert answer.challenge == 'Bearer resource_metadata="https://gw.example/.well-known/oauth-protected-resource/orders/v1"'


def test_T16_a_trusted_proxy_says_the_scheme_and_nothing_else_for_it(proxied: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    for value in ("https", "http"):
        assert exchange(proxied, get(f"GET {READ} HTTP/1.1", f"X-Forwarded-Proto: {value}", token=mint.token())).status == 200
        assert orders.seen[-1].all("x-forwarded-proto") == [value]
        answer = exchange(proxied, get(f"GET {READ} HTTP/1.1", f"X-Forwarded-Proto: {value}"))
        assert answer.challenge == 'Bearer resource_metadata="https://gw.example/.well-known/oauth-protected-resource/orders/v1"'


# ── 20 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_T20_of_two_tokens_none_is_judged_and_none_goes_on(gateway: NamedGateway, proxied: NamedGateway, mint: Mint, upstreams: Upstreams) -> None:
    good, other = f"Bearer {mint.token(aud=['api://orders', 'api://raw'])}", f"Bearer {mint.token(sub='other', aud=['api://orders', 'api://raw'])}"
    with upstreams.orders.sees_nothing(), upstreams.raw.sees_nothing():
        for running, path in itertools.product((gateway, proxied), (READ, HEALTH, "/raw/1", "/raw/open", "/nowhere")):
            for values in ([good, other], [good, good], [f"{good}, {other}"], [f"{good},{other}"], [good, "Basic eDp5"], ["x", "y"], [f"{good},x"]):
                answer = exchange(running, get(f"GET {path} HTTP/1.1", *(f"Authorization: {value}" for value in values)))
                assert (answer.status, answer.reference) == (400, "token-ambiguous")


@pytest.mark.parametrize("order", ["before", "after", "both"])
def test_T20_an_empty_second_value_changes_nothing_of_what_is_judged_or_goes_on(order: str, gateway: NamedGateway, mint: Mint, raw: RecordingUpstream) -> None:
    good = f"Bearer {mint.token(aud='api://raw')}"
    values = [*([""] if order != "after" else []), good, *([""] if order != "before" else [])]
    before = len(raw.seen)
    answer = gateway.get("/raw/1", headers=[("Authorization", value) for value in values])
    if answer.status == 200:
        assert [value for value in raw.seen[-1].all("authorization") if value] == [good]
    else:
        assert (answer.status, len(raw.seen)) == (400, before)


WRITTEN = (
    "Bearer {}",
    "bearer {}",
    "BEARER {}",
    "Bearer  {}",
    "Bearer {} ",
    "Bearer {} x",
    "Bearer {}.x",
    "Bearer {};x",
    "Bearer {} Bearer {other}",
    "bearer {other} Bearer {}",
    "Bearer {other} bearer {}",
    "Bearer Bearer {}",
    "Bearer bearer {}",
    "Bearer {}\x80",
    'Digest username="Bearer {}"',
    "Basic eDp5 Bearer {}",
    "xBearer {}",
    "\x80Bearer {}",
    "Bearer \x80{}",
)


@pytest.mark.parametrize("written", WRITTEN)
def test_T20_the_credential_that_goes_on_is_the_one_that_was_judged(written: str, gateway: NamedGateway, mint: Mint, raw: RecordingUpstream) -> None:
    token, other = mint.token(aud="api://raw"), mint.token(aud="api://raw", sub="other", scope="none")
    before = len(raw.seen)
    answer = gateway.get("/raw/1", headers=[("Authorization", written.replace("{}", token).replace("{other}", other))])
    if answer.status == 200:
        (value,) = raw.seen[-1].all("authorization")
        assert re.fullmatch(r"(?i:bearer) +" + re.escape(token), value)
    else:
        assert answer.status in {400, 401}
        assert len(raw.seen) == before


ROLES = (
    "x-role",
    "x-roles",
    "x-user",
    "x-user-id",
    "x-auth-request-user",
    "remote-user",
    "x-remote-user",
    "x-scope",
    "x-authenticated-userid",
    "x-ms-client-principal",
)


def test_T20_a_header_that_nobody_judges_goes_on_as_it_came_and_decides_nothing(gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    twice = [(name, value) for name in ROLES for value in ("admin", "person, agent")]
    with orders.sees_nothing():
        assert gateway.get(READ, headers=twice).reference == "token-missing"
        assert gateway.get(READ, mint.token(scope="none"), headers=twice).reference == "scope-missing"
        assert gateway.call("POST", "/orders/v1", mint.token(), headers=twice).reference == "kind-not-allowed"
    assert gateway.get(READ, mint.token(), headers=[*twice, ("Cookie", "a=1; role=user"), ("Cookie", "role=admin")]).status == 200
    assert [seen for name in ROLES for seen in orders.seen[-1].all(name)] == ["admin", "person, agent"] * len(ROLES)
    assert "; ".join(orders.seen[-1].all("cookie")) == "a=1; role=user; role=admin"


def test_T20_what_is_asked_of_a_repeated_header_is_asked_of_all_its_values(gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    """Those that choose a route: Host, and what makes a call a preflight."""
    good = f"Authorization: Bearer {mint.token()}"
    with orders.sees_nothing():
        for hosts in (("gw.example", "evil.example"), ("evil.example", "gw.example"), ("gw.example, evil.example",), ("gw.example,gw.example",)):
            answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", *(f"Host: {host}" for host in hosts), good))
            assert (answer.status, answer.reference) in {(421, "unknown-host"), (400, "request-malformed")}
        for asked in (("", "GET"), ("GET", ""), ("GET", "POST"), ("GET, POST",), ("",)):
            fields = [("Access-Control-Request-Method", method) for method in asked]
            assert gateway.call("OPTIONS", HEALTH, headers=[("Origin", "https://evil.example"), *fields]).reference == "cors-not-configured"


# ── 21 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

ODD = {
    "one byte": "\x80",
    "no UTF-8": "\xff\xfe\xfd",
    "half of a character": "\xe2\x82",
    "a letter that needs two bytes": "é".encode().decode("latin-1"),
    "longer than it needs to be": "\xc0\xaf",
    "all of them": "".join(map(chr, range(0x80, 0x100))),
}


@pytest.mark.parametrize("kind", ODD)
def test_T21_odd_bytes_in_what_is_judged_never_let_anybody_in(kind: str, gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    odd, token = ODD[kind], mint.token()
    with orders.sees_nothing():
        for value in (f"Bearer {token}{odd}", f"Bearer {odd}", f"Bearer{odd} {token}", f"Bearer {token[:20]}{odd}{token[20:]}"):
            answer = gateway.get(READ, headers=[("Authorization", value)])
            assert answer.reference in {"token-malformed", "token-missing", "token-verification-failed", "token-ambiguous"}
        for host in (f"gw.example{odd}", f"{odd}gw.example", f"gw{odd}example", odd):
            answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}"))
            assert (answer.status, answer.reference) in {(421, "unknown-host"), (400, "request-malformed")}
        answer = gateway.exchange(get(f"OPTIONS {HEALTH} HTTP/1.1", "Origin: x", f"Access-Control-Request-Method: {odd}"))
        assert answer.reference == "cors-not-configured"


@pytest.mark.parametrize(
    "field",
    ["Authorization: Bearer {}\0", "Authorization: Bearer\0{}", "Authorization: Bearer {}\0, x", "Host: gw.example\0", "x-agw-subject: a\0b", "Cookie: a\0"],
)
def test_T21_nul_is_refused_before_anything_is_judged(field: str, gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    fields = [field.format(mint.token()), "Host: gw.example", f"Authorization: Bearer {mint.token()}"]
    with orders.sees_nothing():
        answer = gateway.exchange(head(f"GET {READ} HTTP/1.1", *fields))
        assert (answer.status, answer.reference) == (400, "request-malformed")
        for kept in [["Host: gw.example", fields[0]]] if field.startswith("Auth") else []:
            assert gateway.exchange(head(f"GET {READ} HTTP/1.1", *kept)).status == 400


def test_T21_a_claim_of_odd_characters_is_lent_as_it_was_signed(gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    for claim in ("é", "日本語", "😀", "\x80", "\xad", "\u202e", "\ufeff", "\ud7ff", "a" * 8_000, "é" * 4_000):
        assert gateway.get(READ, mint.token(sub=claim)).status == 200
        assert [value.encode("latin-1").decode() for value in orders.seen[-1].all("x-agw-subject")] == [claim]


def test_T21_a_claim_that_is_no_text_of_unicode_is_no_claim(gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    """A lone half of a surrogate pair, as JSON can write it, and bytes that are no UTF-8."""
    claims = json.dumps(mint.claims())
    with orders.sees_nothing():
        for odd in ("\\ud800", "\\udfff", "\\ud800x", "a\\udc00"):
            answer = gateway.get(READ, signed(mint, claims.replace('"sub": "order-sync"', f'"sub": "{odd}"')))
            assert (answer.status, answer.reference) == (401, "token-malformed"), odd
        answer = gateway.get(READ, signed(mint, claims.replace('"sub": "order-sync"', '"sub": "\xff\xfe"'), "latin-1"))
        assert answer.status == 401


def signed(mint: Mint, claims: str, encoding: str = "utf-8") -> str:
    """A token with this payload, byte for byte."""
    message = f"{b64(json.dumps(mint.header()).encode())}.{b64(claims.encode(encoding))}"
    return f"{message}.{b64(sign('RS256', mint.key, message.encode()))}"


IDS = ("é", "😀", "\x80", "a" * 3_000, "a, b", 'a"b\\c', "%REQ(x)%", "\u202e", "a\tb")
CONTROLS = ("a\nb", "a\rb", "a\0b", "a\x7fb", "a\x1bb", " a", "a ", "\ta")


@pytest.fixture(scope="module")
def revoking(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamedGateway]:
    """Tokens, clients and subjects of odd names are revoked."""
    odd = [Revocation("https://idp.test/", what, value) for what in ("token-id", "subject") for value in (*IDS, *CONTROLS)]  # type: ignore[arg-type]
    with NamedGateway(tmp_path_factory.mktemp("node"), policy, jwks(signing_key()), odd) as running:
        yield running


@pytest.mark.parametrize("value", [*IDS, *CONTROLS])
def test_T21_what_is_revoked_is_revoked_whatever_its_name(value: str, revoking: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    with orders.sees_nothing():
        for claims in ({"jti": value}, {"sub": value}):
            answer = revoking.get(READ, mint.token(**claims))
            assert answer.status == 401
            assert answer.reference in ({"token-revoked"} if value in IDS else {"token-revoked", "token-claim-unsafe"})
    assert revoking.get(READ, mint.token(jti=f"{value}x", sub="x")).status == 200


def test_T21_very_long_values_are_judged_whole_or_refused(gateway: NamedGateway, mint: Mint, orders: RecordingUpstream) -> None:
    many = " ".join(f"scope.number.{i}" for i in range(700))
    assert gateway.get(READ, mint.token(scope=f"{many} read.orders")).status == 200
    with orders.sees_nothing():
        assert gateway.get(READ, mint.token(scope=many)).reference == "scope-missing"
        assert gateway.get(READ, mint.token(sub="a" * 60_000)).reference == "headers-too-large"
        assert gateway.get(READ, mint.token(jti="gone", sub="a" * 20_000)).reference == "token-revoked"
        assert gateway.get(READ, headers=[("Authorization", "Bearer " + "a" * 30_000)]).reference == "token-malformed"
        assert gateway.exchange(head(f"GET {READ} HTTP/1.1", f"Host: gw.example{'.x' * 5_000}", f"Authorization: Bearer {mint.token()}")).status in {400, 421}


# ── 23 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


NOBODY = {"address_prefix": "255.255.255.255", "prefix_len": 32}
"""No call comes from there (RFC 919 section 7)."""


def test_T23_no_address_is_inside() -> None:
    """That it holds for calls from such addresses is shown by ``python -m tests.security.private_addresses``."""
    text = "version: 1\npublic_url: https://gw.example\nissuers: {i: {issuer: 'https://idp.test/', audience: a}}\napis: {}\nscopes: {}\nclients: {}\n"
    for proxies in ((), ("10.0.0.0/8",)):
        edge = type(EDGE)(EDGE.node, EDGE.host, EDGE.port, EDGE.audit_log, EDGE.xds, proxies=proxies)
        chains = compiled(text, edge=edge).snapshot.listeners[0]["filter_chains"]
        managers = [entry["typed_config"] for chain in chains for entry in chain["filters"]]
        inside = [cidr for manager in managers for cidr in manager["internal_address_config"].pop("cidr_ranges", [])]
        assert all(cidr == NOBODY for cidr in inside)
        assert [manager["internal_address_config"] for manager in managers] == [{"unix_sockets": False}]
        assert [manager["use_remote_address"] for manager in managers] == [True]
        assert [manager["xff_num_trusted_hops"] for manager in managers] == [len(proxies)]


def line_of(gateway: RunningGateway, seen: Seen) -> dict[str, Any]:
    """The audit line of a call that an upstream saw."""
    (request_id,) = seen.all("x-request-id")
    end = time.monotonic() + 5
    while not (lines := [line for line in gateway.audit() if line["request_id"] == request_id]):
        assert time.monotonic() < end, "the line of a call was not written"
        time.sleep(0.02)
    return lines[0]
