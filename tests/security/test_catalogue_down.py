"""Rows of the catalogue about what is missing: keys that nobody knows, a part that is down, a check that was merged away. What is missing lets nobody in."""

# ruff: noqa: N802  # the row's number is in the name, as the catalogue writes it

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import HealthCheck, given, settings
from joserfc import jwk

from scopeward.analysis.gateway import GatewayApi, Operation
from scopeward.analysis.resolve import resolve
from scopeward.compile import Snapshot, compile_gateway
from scopeward.compile.envoy.filters import jwt_authn
from scopeward.errors import ScopewardError
from scopeward.idp import keeper
from scopeward.policy.model import Policy, Rule
from scopeward.policy.source import Loaded, load
from tests.kit.commands import Shell, envoy_pid, until
from tests.kit.compiling import EDGE, compiled
from tests.kit.gateway import free_port
from tests.kit.generate import Known, policies
from tests.kit.tokens import Mint, b64, jwks, signing_key
from tests.kit.upstream import RecordingUpstream
from tests.kit.warden import RunningWarden

READ = "/orders/42"

POLICY = """
version: 1
public_url: http://127.0.0.1:8080
issuers: {{dev: {{issuer: "{issuer}", audience: "api://orders", typ: at+jwt}}}}
scopes: {{read.orders: {{says: Read orders}}}}
clients: {{order-sync: {{kind: service, id: order-sync}}}}
apis: {{orders: {{at: /orders, upstream: "{upstream}", rules: {{"GET /**": {{needs: read.orders}}}}}}}}
"""


def answer(body: object, status: str = "200 OK") -> bytes:
    text = (body if isinstance(body, str) else json.dumps(body)).encode()
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text


class Part(RecordingUpstream):
    """An upstream that can be ended with the connections that were made to it."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[socket.socket] = []

    def _serve(self, connection: socket.socket) -> None:
        self._open.append(connection)
        super()._serve(connection)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Provider(Part):
    """An identity provider whose every document is both its metadata and its keys, and which counts who asks."""

    def publishes(self, *keys: jwk.Key) -> None:
        self.answer = answer({"issuer": self.url, "jwks_uri": f"{self.url}/jwks", "token_endpoint": f"{self.url}/token"} | json.loads(jwks(*keys)))

    @property
    def fetches(self) -> int:
        """How often its keys were asked for."""
        return sum(seen.path == "/jwks" for seen in self.seen)


class Caller:
    """Keeps one connection to a gateway, as long as that does."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def get(self, token: str | None, kind: str = "") -> tuple[int, str | None]:
        fields = {"x-kind": kind} | ({"Authorization": f"Bearer {token}"} if token is not None else {})
        self._connection.request("GET", READ, headers=fields)
        found = self._connection.getresponse()
        found.read()
        return found.status, found.headers.get("scopeward-reference")

    def close(self) -> None:
        """The next call makes another connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        running.publishes(signing_key())
        yield running


@pytest.fixture
def policy_file(tmp_path: Path, provider: Provider, upstream: RecordingUpstream) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(issuer=provider.url, upstream=upstream.url))
    return path


# ── 35 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def bogus(mint: Mint, number: int) -> str:
    """A token of a key that nobody has. Nothing needs to sign it: no key is found that could verify."""
    header, claims = mint.header(kid=f"bogus-{number}-{time.monotonic_ns()}"), mint.claims()
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}.{b64(b'x' * 256)}"


def flood(port: int, mint: Mint, *good: Mint, count: int = 1_000) -> None:
    """So many key ids that are not known; between them tokens of known keys, which must pass."""
    with Caller(port) as caller:
        for number in range(count):
            assert caller.get(bogus(mint, number)) == (401, "token-unknown-key")
            if number % 50 == 0:
                for one in good:
                    assert caller.get(one.token()) == (200, None)


def test_T35_a_thousand_unknown_key_ids_cost_the_provider_one_look_and_lock_nobody_out(tmp_path: Path, policy_file: Path, provider: Provider) -> None:
    mint = Mint(issuer=provider.url)
    with RunningWarden(tmp_path / "state", policy_file, keys_every=3_600) as warden:
        before, begun = provider.fetches, time.monotonic()
        flood(warden.port, mint, mint)
        until(lambda: provider.fetches > before, "a look for the sake of the unknown keys")
        flood(warden.port, mint, mint, count=200)
        time.sleep(1.2)  # two looks at the log
        assert time.monotonic() - begun < keeper.COOLDOWN
        assert provider.fetches == before + 1
        flood(warden.port, mint, mint, count=1)


FAILURES: dict[str, bytes] = {
    "no keys": answer({"keys": []}),
    "no JSON": answer("<html>"),
    "an error": answer({}, "500 Internal Server Error"),
    "a redirect": b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    "nothing": b"",
}


def test_T35_whatever_a_provider_answers_to_it_the_last_good_keys_stay(
    tmp_path: Path, policy_file: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "COOLDOWN", 0.5)
    mint = Mint(issuer=provider.url)
    newer = Mint(issuer=provider.url, key=signing_key("k2"))
    with RunningWarden(tmp_path / "state", policy_file, keys_every=3_600) as warden, Caller(warden.port) as caller:
        assert caller.get(newer.token()) == (401, "token-unknown-key")
        provider.publishes(signing_key(), signing_key("k2"))
        until(lambda: caller.get(newer.token()) == (200, None), "the new key in force")
        for failing in FAILURES.values():
            provider.answer, before, begun = failing, provider.fetches, time.monotonic()
            flood(warden.port, mint, mint, newer, count=100)
            until(lambda before=before: provider.fetches > before, "a look that fails")
            flood(warden.port, mint, mint, newer, count=100)
            assert provider.fetches - before <= 1 + (time.monotonic() - begun) / keeper.COOLDOWN
        provider.publishes(signing_key("k2"))
        flood(warden.port, mint, count=1)
        until(lambda: caller.get(mint.token()) == (401, "token-unknown-key"), "the end of the withdrawn key")
        assert caller.get(newer.token()) == (200, None)


# ── 75 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


Asked = Counter[tuple[object, ...]]


def guard(api: str, method: str, of: Rule | Operation) -> tuple[object, ...]:
    """All that decides an operation; in which order it lists them decides nothing."""
    return api, method, frozenset(of.needs), frozenset(of.to.kinds), frozenset(of.to.clients), of.public, of.stream


def asked(policy: Policy) -> Asked:
    """What the policy asks for."""
    return Counter(guard(api.name, rule.method, rule) for api in policy.apis for rule in api.rules)


@settings(derandomize=True, database=None, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(policies)
def test_T75_every_route_to_an_upstream_asks_for_a_token_or_is_public_with_a_reason(policy: Policy) -> None:
    gateway = resolve(policy, Known().facts(jwks(), 1_700_000_000, policy))
    assert Counter(guard(api.name, o.method, o) for api in gateway.apis for o in api.operations) == asked(policy)
    snapshot = compile_gateway(gateway, EDGE)
    meant = {(api.name, o.method, o.template): (api, o) for api in gateway.apis for o in api.operations}
    reached = [route for host in snapshot.routes[0]["virtual_hosts"] for route in host["routes"] if "direct_response" not in route]
    assert sorted(meant) == sorted(tuple(route["name"].split(" ", 3)[1:]) for route in reached)
    for route in reached:
        _, name, method, template = route["name"].split(" ", 3)
        is_guarded(snapshot, route, *meant[name, method, template])


def is_guarded(snapshot: Snapshot, route: Any, api: GatewayApi, operation: Operation) -> None:
    """By what is asked of the token, and by what is decided then."""
    name = route["typed_per_filter_config"][jwt_authn.FILTER]["requirement_name"]
    requirement = snapshot.extensions[jwt_authn.FILTER]["requirement_map"][name]
    decided = json.dumps(snapshot.extensions["decide"]["matcher"]["matcher_tree"]["exact_match_map"]["map"][operation.id])
    if operation.public is None:
        assert requirement == {"provider_and_audiences": {"provider_name": api.issuer, "audiences": [api.audience]}}
        assert '"public.' not in decided
        assert all(scope in decided for scope in operation.needs)
    else:
        assert operation.public.strip()
        assert '"rule.' not in decided


SHORT = """
version: 1
public_url: https://gw.example
issuers: {i: {issuer: "https://idp.test/", audience: aud, person: {claim: p, is: x}}}
scopes: {read.a: {says: a}, write.a: {says: a}}
clients: {bot: {kind: agent, id: bot}, web: {kind: app, id: web}}
defaults: {to: [people, bot], sends: {subject: x-s, issuer: x-i}, limits: {body: 1MiB}}
apis:
  a:
    at: /a
    upstream: http://127.0.0.1:9
    rules:
      GET /: {needs: read.a}
      GET /{id}: {needs: [read.a, write.a]}
      POST /: {needs: write.a, to: services}
      GET /open: {public: "why"}
"""
WRITTEN_OUT = (
    SHORT.replace("to: [people, bot], ", "")
    .replace("GET /: {needs: read.a}", "GET /: {needs: [read.a], to: [people, bot]}")
    .replace("write.a]}", "write.a], to: [people, bot]}")
    .replace("at: /a", "at: /a\n    audience: aud\n    slash: exact\n    case: guarded")
)


def test_T75_a_default_is_the_same_as_what_it_stands_for() -> None:
    short, long = (load(text.encode(), "policy.yaml") for text in (SHORT, WRITTEN_OUT))
    assert isinstance(short, Loaded)
    assert isinstance(long, Loaded)
    assert asked(short.policy) == asked(long.policy)
    one, other = compiled(SHORT), compiled(WRITTEN_OUT)
    assert one.snapshot.extensions == other.snapshot.extensions
    rules = [[route["typed_per_filter_config"] for host in p.snapshot.routes[0]["virtual_hosts"] for route in host["routes"]] for p in (one, other)]
    assert rules[0] == rules[1]


NEITHER = {
    "neither a need nor a reason": "GET /x: {}",
    "nothing": "GET /x:",
    "no reason": 'GET /x: {public: ""}',
    "a reason of white space": 'GET /x: {public: "  "}',
    "true for a reason": "GET /x: {public: true}",
    "both": 'GET /x: {public: "why", needs: read.a}',
    "the same twice": "GET /: {public: why}",
    "the same in other words": 'GET /{other}: {public: "why"}',
    "a key that is not known": "GET /x: {needs: read.a, auth: none}",
    "a merge key": "GET /x: {<<: {public: why}}",
}


@pytest.mark.parametrize("kind", NEITHER)
def test_T75_a_rule_that_asks_for_nothing_and_does_not_say_why_is_no_policy(kind: str) -> None:
    with pytest.raises(ScopewardError):
        compiled(SHORT.replace('GET /open: {public: "why"}', NEITHER[kind]))


# ── 76 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

Ways = dict[str, Callable[[], str | None]]


def unauthorized(mint: Mint) -> Ways:
    return {
        "no token": lambda: None,
        "a bad signature": lambda: mint.token()[:-8] + "AAAAAAAA",
        "an expired token": lambda: mint.token(exp=int(time.time()) - 600),
        "another audience": lambda: mint.token(aud="api://other"),
        "too little scope": lambda: mint.token(scope="create.orders"),
        "an unknown key": lambda: bogus(mint, 0),
        "an unknown client": lambda: mint.token(client_id="stranger"),
    }


class Load:
    """Callers of every kind that call without a pause. ``tally`` holds the answers by kind; ``lost`` calls are those that got none."""

    def __init__(self, port: int, mint: Mint) -> None:
        self.tally: Counter[tuple[str, int, str | None]] = Counter()
        self._port, self._ended = port, threading.Event()
        ways: Ways = unauthorized(mint) | {"good": mint.token}
        # a token is made once: what is asked for is calls, not signatures
        self._threads = [threading.Thread(target=self._call, args=({kind: make() for kind, make in ways.items()},), daemon=True) for _ in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=20)

    def _call(self, tokens: dict[str, str | None]) -> None:
        with Caller(self._port) as caller:
            while not self._ended.is_set():
                for kind, token in tokens.items():
                    try:
                        status, reference = caller.get(token, kind)
                    except (OSError, http.client.HTTPException):
                        caller.close()
                        status, reference = 0, None
                        time.sleep(0.005)
                    self.tally[kind, status, reference] += 1

    def after(self, what: Callable[[], object], seconds: float = 0.4) -> set[tuple[int, str | None]]:
        """What callers with a good token are answered once it is done."""
        what()
        time.sleep(0.1)  # calls that were under way
        before = self.tally.copy()
        time.sleep(seconds)
        answers = self.tally - before
        assert {kind for kind, _, _ in answers} == {kind for kind, _, _ in self.tally}, "callers stand still"
        return {(status, reference) for kind, status, reference in answers if kind == "good"}


def nobody_else_was_let_in(load: Load, upstream: RecordingUpstream) -> None:
    assert {kind for kind, status, _ in load.tally if 200 <= status < 400} <= {"good"}
    assert {kind for seen in upstream.seen for kind in seen.all("x-kind")} <= {"good"}
    assert sum(count for (kind, status, _), count in load.tally.items() if kind != "good" and status in {401, 403}) > 50


def test_T76_whatever_is_down_lets_nobody_in(tmp_path: Path, mint: Mint) -> None:
    """Provider, warden, upstream, Envoy: each is ended under load, and none comes back."""
    with Shell(tmp_path).nothing_left() as shell, contextlib.ExitStack() as parts:
        provider, upstream = Provider(), Part()
        provider.publishes(signing_key())
        stop_provider, stop_upstream = (contextlib.ExitStack() for _ in range(2))
        parts.callback(stop_provider.close)
        parts.callback(stop_upstream.close)
        stop_provider.enter_context(provider)
        stop_upstream.enter_context(upstream)
        policy, state, port = tmp_path / "scopeward.yaml", tmp_path / "s", free_port()
        policy.write_text(POLICY.format(issuer=provider.url, upstream=upstream.url))
        applied = shell.run("apply", policy, "--state-dir", state)
        assert applied.status == 0, applied.err
        warden = parts.enter_context(shell.start("run", "--listen", f":{port}", "--state-dir", state))
        warden.says("^serving policy")
        with Load(port, Mint(issuer=provider.url)) as load:
            assert load.after(lambda: None) == {(200, None)}
            assert load.after(stop_provider.close) == {(200, None)}
            assert load.after(lambda: warden.end(signal.SIGKILL)) == {(200, None)}
            assert load.after(stop_upstream.close) <= {(503, "upstream-unavailable"), (502, "upstream-failed")}
            assert load.after(lambda: os.kill(envoy_pid(state), signal.SIGKILL)) == {(0, None)}
        nobody_else_was_let_in(load, upstream)


def test_T76_an_envoy_that_comes_back_guards_from_its_first_call(tmp_path: Path, policy_file: Path, provider: Provider, upstream: RecordingUpstream) -> None:
    with RunningWarden(tmp_path / "state", policy_file, keys_every=3_600) as warden, Load(warden.port, Mint(issuer=provider.url)) as load:
        assert load.after(lambda: None) == {(200, None)}
        for _ in range(2):
            before, pid = load.tally["good", 200, None], warden.warden.node.pid
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: warden.warden.node.runs and warden.warden.node.pid != pid, "another Envoy")
            until(lambda before=before: load.tally["good", 200, None] > before + 20, "calls that pass again")
        assert load.after(lambda: None) == {(200, None)}
        nobody_else_was_let_in(load, upstream)
