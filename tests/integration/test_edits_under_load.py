"""A policy is replaced again and again while calls come in: not one is lost, and each edit is in force when publishing ends."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.kit.gateway import RunningGateway
from tests.kit.tokens import Mint
from tests.kit.upstream import RecordingUpstream

CALLERS = 4
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


class Load:
    """Callers that call one path over and over, each on a connection that it keeps."""

    def __init__(self, port: int, path: str, token: str) -> None:
        self.answers: Counter[int | str] = Counter()
        self.connections = 0
        self._port, self._path, self._token = port, path, token
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._callers = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]

    def _call(self) -> None:
        while not self._ending.is_set():
            with self._lock:
                self.connections += 1
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)) as connection:
                while not self._ending.is_set() and self._once(connection):
                    self._ending.wait(0.005)  # the machine has other work

    def _once(self, connection: http.client.HTTPConnection) -> bool:
        """Whether the connection stays. A call that is not answered counts as lost, and is not tried again."""
        try:
            connection.request("GET", self._path, headers={"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self.answers[type(error).__name__] += 1
            return False
        with self._lock:
            self.answers[answer.status] += 1
        return not answer.will_close

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for caller in self._callers:
            caller.start()
        try:
            yield
        finally:
            self._ending.set()
            for caller in self._callers:
                caller.join(timeout=15)

    def calls(self) -> int:
        with self._lock:
            return self.answers.total()


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
