from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scopeward.analysis.gateway import Revocation
from scopeward.app import SystemClock
from scopeward.audit_line import json_schema, parse
from scopeward.compile.snapshot import TlsMaterial
from scopeward.envoy.incarnation import FLUSH_MS
from scopeward.envoy.place import Listen, Place
from scopeward.tls.development import development_certificate
from tests.kit.gateway import Answer, RunningGateway, free_port, read_answer
from tests.kit.tokens import jwks, signing_key
from tests.kit.upstream import RecordingUpstream
from tests.kit.wire import head
from tests.security.authorities import Authority

POLICY = """
version: 1
public_url: https://gw.example
issuers:
  dev:
    issuer: https://idp.test/
    typ: at+jwt
    person: {{claim: idtyp, is: user}}
    clock_skew: 5s
    trust: external
trust:
  external: {{lifetime: 15m, over: refuse}}
defaults:
  sends: {{client: X-Agw-Client-Id, subject: x-agw-subject, issuer: x-agw-issuer, scopes: x-agw-scopes}}
scopes:
  read.orders: {{says: Read orders}}
  create.orders: {{says: Place an order}}
  delete.orders: {{says: Delete an order}}
clients:
  orders-web: {{kind: app, id: orders-web}}
  order-sync: {{kind: service, id: order-sync, may: [read.orders, create.orders]}}
  claims-copilot: {{kind: agent, id: claims-copilot}}
  other-bot: {{kind: agent, id: other-bot}}
apis:
  orders:
    at: /orders/v1
    audience: api://orders
    upstream: {orders}
    rules:
      GET /: {{needs: read.orders}}
      GET /**: {{needs: read.orders, to: [people, services, claims-copilot]}}
      POST /: {{needs: create.orders, to: people}}
      POST /bulk: {{needs: create.orders}}
      DELETE /items/{{id}}: {{needs: [delete.orders, read.orders]}}
      GET /health: {{public: "probe"}}
      POST /hook: {{public: "anybody may tell us"}}
  raw:
    at: /raw
    audience: api://raw
    upstream: {{url: "{raw}", forward_token: true, host_header: caller}}
    rules:
      GET /**: {{needs: read.orders}}
      GET /open: {{public: "anybody"}}
  closing:
    at: /closing
    audience: api://orders
    upstream: {closing}
    rules: {{"GET /": {{public: "a broken upstream"}}}}
  garbage:
    at: /garbage
    audience: api://orders
    upstream: {garbage}
    rules: {{"GET /": {{public: "a broken upstream"}}}}
  slow:
    at: /slow
    audience: api://orders
    upstream: {{url: "{slow}", timeout: 150ms}}
    rules: {{"GET /": {{public: "a slow upstream"}}}}
  nobody:
    at: /nobody
    audience: api://orders
    upstream: http://127.0.0.1:{nobody}
    rules: {{"GET /": {{public: "no upstream"}}}}
"""


class NamedGateway(RunningGateway):
    """Calls it by the name in its policy, as callers do, though it listens on loopback."""

    def call(self, method: str, path: str, token: str | None = None, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None) -> Answer:
        fields = [*headers]
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", "gw.example"))
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        if body is not None:
            fields.append(("Content-Length", str(len(body))))
        return self.exchange(head(f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), body=body or b""), timeout=10)

    def refuse(self) -> None:
        """As the warden does where calls cannot be recorded."""
        self._run(self.node.refuse())

    def readmit(self) -> None:
        self._run(self.node.readmit())


class TlsGateway(NamedGateway):
    """The same by TLS. ``shows`` is the file with certificate and key that its callers show; ``None`` shows nothing."""

    shows: Path | None = None
    trusts: str = ""

    def context(self, shows: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.trusts)
        if shows is not None:
            context.load_cert_chain(shows)
        return context

    def connection(self, shows: Path | None, timeout: float = 5.0, context: ssl.SSLContext | None = None, **more: Any) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        try:
            return (context or self.context(shows)).wrap_socket(plain, server_hostname="gw.example", **more)
        except BaseException:
            plain.close()
            raise

    def exchange(self, request: bytes, timeout: float = 5.0) -> Answer:
        with self.connection(self.shows, timeout) as connection:
            connection.sendall(request)
            return read_answer(connection, request.split(b" ", 1)[0].decode("latin-1"))


@dataclass(frozen=True)
class Upstreams:
    """Those of the policy above; ``orders`` and ``raw`` answer, the others fail in their own ways."""

    orders: RecordingUpstream
    raw: RecordingUpstream
    closing: RecordingUpstream
    garbage: RecordingUpstream
    slow: RecordingUpstream


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Upstreams]:
    with (
        RecordingUpstream() as orders,
        RecordingUpstream() as raw,
        RecordingUpstream(answer=b"") as closing,
        RecordingUpstream(answer=b"SSH-2.0-nothing of HTTP\r\n\r\n") as garbage,
        RecordingUpstream(delay=0.6) as slow,
    ):
        yield Upstreams(orders, raw, closing, garbage, slow)


@pytest.fixture(scope="session")
def policy(upstreams: Upstreams) -> str:
    return POLICY.format(
        orders=upstreams.orders.url,
        raw=upstreams.raw.url,
        closing=upstreams.closing.url,
        garbage=upstreams.garbage.url,
        slow=upstreams.slow.url,
        nobody=free_port(),
    )


@pytest.fixture(scope="session")
def gateway(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One for all files of a worker; at the end every line of its log must be one of the schema. A test that publishes another policy or other keys takes one of its own."""
    revoked = [Revocation("https://idp.test/", "token-id", "gone")]
    with NamedGateway(tmp_path_factory.mktemp("node"), policy, jwks(signing_key()), revoked) as running:
        yield running
        time.sleep(2 * FLUSH_MS / 1000)
        schema = jsonschema.Draft202012Validator(json_schema())
        for line in running.audit():
            schema.validate(line)
            parse(json.dumps(line))


@pytest.fixture
def orders(upstreams: Upstreams) -> RecordingUpstream:
    return upstreams.orders


@pytest.fixture
def raw(upstreams: Upstreams) -> RecordingUpstream:
    return upstreams.raw


MUTUAL_POLICY = """
version: 1
public_url: https://gw.example
issuers: {{dev: {{issuer: "https://idp.test/", audience: "api://orders", typ: at+jwt, jti: required}}}}
defaults: {{limits: {{body: 64KiB}}}}
scopes: {{read.orders: {{says: Read orders}}}}
clients: {{order-sync: {{kind: service, id: order-sync}}}}
apis:
  plain: {{at: /plain, audience: "api://plain", upstream: "{url}", rules: {{"GET /**": {{needs: read.orders}}, "POST /**": {{public: "anybody"}}}}}}
  any: {{at: /any, audience: "api://any", upstream: "{url}", client_certificate: required, rules: {{"GET /**": {{needs: read.orders}}, "GET /open": {{public: "anybody"}}}}}}
  named:
    at: /named
    audience: api://named
    upstream: "{url}"
    client_certificate: {{names: ["dns:client.example", "uri:spiffe://example/orders", "dns:10.0.0.1"]}}
    rules: {{"GET /**": {{needs: read.orders}}, "GET /open": {{public: "anybody"}}}}
"""


@dataclass(frozen=True)
class Mutual:
    """A gateway by TLS whose APIs ask for client certificates in three ways: none, any, named ones. Its issuer's tokens must have an id."""

    gateway: TlsGateway
    authority: Authority
    stranger: Authority
    upstream: RecordingUpstream
    policy: str = field(repr=False)


@pytest.fixture(scope="session")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mutual]:
    folder = tmp_path_factory.mktemp("clients")
    authority, stranger = Authority(folder), Authority(folder)
    shown = development_certificate(["gw.example"], SystemClock())
    place = Place(Listen("127.0.0.1", free_port()), TlsMaterial(shown.certificate, shown.private_key), authority.pem)
    with RecordingUpstream() as upstream:
        text = MUTUAL_POLICY.format(url=upstream.url)
        with TlsGateway(tmp_path_factory.mktemp("node"), text, jwks(signing_key()), place=place) as running:
            running.trusts = shown.ca
            yield Mutual(running, authority, stranger, upstream, text)
