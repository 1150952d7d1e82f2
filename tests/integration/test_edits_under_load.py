"""A policy is replaced again and again while calls come in: not one is lost, and each edit is in force when publishing ends."""

from __future__ import annotations

from pathlib import Path

from tests.integration.load import CALLERS, Load
from tests.kit.gateway import RunningGateway
from tests.kit.tokens import Mint
from tests.kit.upstream import RecordingUpstream

EDITS = 20
LEAST_CALLS = 300

POLICY = """\
version: 1
public_url: http://127.0.0.1:8080
issuers:
  idp: {{issuer: "https://idp.test/", typ: at+jwt, person: {{claim: idtyp, is: user}}}}
scopes:
  read.orders: {{says: Read orders}}
  create.orders: {{says: Place an order}}
clients:
  order-sync: {{kind: service, id: order-sync, may: [read.orders, create.orders]}}
{more_clients}
apis:
  orders:
    at: /orders
    audience: api://orders
    upstream: {upstream}
    rules:
      GET /steady/{{id}}: {{needs: read.orders}}
      GET /edited: {{needs: read.orders, to: {to}}}
{more_rules}
{more_apis}
"""
ANOTHER_API = """\
  extra:
    at: /extra
    audience: api://orders
    upstream: {{url: "{upstream}", timeout: {timeout}s}}
    rules: {{"GET /": {{needs: create.orders}}}}
"""


def edited(number: int, orders: str, extra: str) -> str:
    """Each edit differs from the one before it in a rule, and in what else there is: clients, rules, an API with its upstream."""
    return POLICY.format(
        upstream=orders,
        to=("services", "people")[number % 2],
        more_clients=f"  client-{number}: {{kind: service, id: client-{number}}}" if number % 3 == 0 else "",
        more_rules="\n".join(f"      GET /more-{n}: {{needs: create.orders}}" for n in range(number % 5)),
        more_apis=ANOTHER_API.format(upstream=extra, timeout=number + 1) if number % 4 else "",
    )


def test_no_call_is_lost_while_the_policy_is_edited(tmp_path: Path, mint: Mint) -> None:
    token = mint.token()
    with (
        RecordingUpstream() as orders,
        RecordingUpstream() as extra,
        RunningGateway(tmp_path, edited(0, orders.url, extra.url)) as gateway,
    ):
        load = Load(gateway.port, "/orders/steady/1", token)
        with load.running():
            for number in range(1, EDITS + 1):
                gateway.publish(edited(number, orders.url, extra.url))
                answer = gateway.get("/orders/edited", token)
                assert (answer.status, answer.reference) == ((403, "kind-not-allowed") if number % 2 else (200, None)), number
                assert gateway.get("/extra", token).status == (200 if number % 4 else 404), number
        assert set(load.answers) == {200}, load.answers
        assert load.calls() >= LEAST_CALLS
        assert load.connections == CALLERS  # no connection was closed by an edit
