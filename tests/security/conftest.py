from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import jsonschema
import pytest

from scopeward.analysis.gateway import Revoked
from scopeward.audit_line import json_schema, parse
from scopeward.envoy.node import FLUSH_MS
from tests.kit.gateway import RunningGateway, free_port
from tests.kit.tokens import jwks, signing_key
from tests.kit.upstream import RecordingUpstream

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
    revoked = [Revoked("https://idp.test/", "gone")]
    with RunningGateway(tmp_path_factory.mktemp("node"), policy, jwks(signing_key()), revoked) as running:
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
