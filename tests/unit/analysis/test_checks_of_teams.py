"""Teams and environments: what the checks find across files and across environments."""

from __future__ import annotations

import pytest

from scopeward.analysis.checks import check, examine
from scopeward.policy.bundle import Bundle
from scopeward.policy.diagnostic import Diagnostic
from scopeward.policy.source import Loaded, Written, load_files, read

ROOT = """\
version: 1
include: [orders.yaml, stock.yaml]
public_url: https://api.example
issuers:
  idp: {issuer: "https://login.example/", person: {claim: idtyp, is: user}, jti: required}
defaults: {to: [services, mobile]}
scopes:
  read.health: {says: See whether it works}
clients:
  mobile: {kind: app, id: mobile}
  robot: {kind: agent, id: robot}
"""
ORDERS = """\
team: orders
scopes:
  read.orders: {says: Read orders}
clients:
  sync: {kind: service, id: sync}
  web: {kind: app, id: web}
apis:
  orders:
    at: /orders
    audience: api://orders
    upstream: https://orders.example
    rules:
      GET /**: {needs: [read.orders, read.health]}
"""
STOCK = """\
team: stock
defaults: {to: [sync, mobile]}
apis:
  stock:
    at: /stock
    audience: api://stock
    upstream: https://stock.example
    rules:
      GET /{sku}: {needs: read.health, to: [agents, sync]}
      GET /all: {needs: read.health}
"""


def found(root: str = ROOT, orders: str = ORDERS, stock: str = STOCK) -> list[tuple[str, str, str]]:
    loaded = load_files({"p.yaml": root.encode(), "orders.yaml": orders.encode(), "stock.yaml": stock.encode()}, "p.yaml")
    assert isinstance(loaded, Loaded), loaded
    return [(str(d.span), d.reference, d.message) for d in check(loaded)]


def test_what_teams_may_do() -> None:
    assert found() == []


@pytest.mark.parametrize("allows", ["stock", "[x, stock]", "all", "[stock, all]"])
def test_a_scope_is_its_teams_unless_it_allows_others(allows: str) -> None:
    stock = STOCK.replace("GET /all: {needs: read.health}", "GET /all: {needs: [read.health, read.orders]}")
    assert found(stock=stock) == [("stock.yaml:10:39", "team-scope", "the scope 'read.orders' is of the team 'orders', which does not allow it to 'stock'")]
    allowed = ORDERS.replace("says: Read orders", f"says: Read orders, allows: {allows}")
    unknown = [("orders.yaml:3:45", "name-unknown", "the team 'x' is not defined")] if "x" in allows else []
    assert found(orders=allowed, stock=stock) == unknown


def test_what_is_no_teams_is_used_by_all_and_uses_all() -> None:
    api = 'apis:\n  root: {at: /r, audience: r, upstream: "https://r", rules: {GET /: {needs: read.orders}}}\n'
    assert found(ROOT + api) == []


@pytest.mark.parametrize("to", ["people", "[services, people]", "web", "agents", "robot", "[sync, robot]"])
def test_the_defaults_of_a_file_do_not_widen(to: str) -> None:
    ((place, reference, message),) = found(stock=STOCK.replace("[sync, mobile]", to))
    more = next(word for word in ("people", "web", "agents", "robot") if word in to)
    assert (reference, message) == ("team-widens", f"'{more}' is not among those whom the policy's defaults let in")
    assert place.startswith("stock.yaml:2:")


@pytest.mark.parametrize("to", ["services", "sync", "mobile", "[mobile, services]"])
def test_the_defaults_of_a_file_narrow(to: str) -> None:
    assert found(stock=STOCK.replace("[sync, mobile]", to)) == []


def test_a_name_in_the_defaults_of_a_file_is_known() -> None:
    assert found(stock=STOCK.replace("[sync, mobile]", "[snyc, mobile]")) == [
        ("stock.yaml:2:17", "name-unknown", "'snyc' is neither a kind of caller nor a client")
    ]


def test_a_rule_may_name_whom_the_default_does_not() -> None:
    """What a team says of its own operations is its own: only what it says of none is bound."""
    assert found(stock=STOCK.replace("GET /all: {needs: read.health}", "GET /all: {needs: read.health, to: people}")) == []


@pytest.mark.parametrize(("at", "taken"), [("/orders/stock", True), ("/orders", True), ("/ordersx", False), ("/order", False), ("/", False)])
def test_no_team_takes_calls_of_another(at: str, taken: bool) -> None:
    references = [reference for _, reference, _ in found(stock=STOCK.replace("at: /stock", f"at: {at}"))]
    if at == "/":
        assert references == ["team-path"]  # then it is the other team's that lies below
    else:
        assert references == ([{"/orders": "path-overlap"}.get(at, "team-path")] if taken else [])


def test_a_teams_apis_may_lie_within_each_other_and_below_the_platforms() -> None:
    inner = '  inner: {at: /orders/inner, audience: i, upstream: "https://i", rules: {GET /: {needs: read.orders}}}\n'
    outer = 'apis:\n  root: {at: /, audience: r, upstream: "https://r", rules: {GET /: {needs: read.health}}}\n'
    assert found(ROOT + outer, ORDERS + inner) == []


def test_people_who_are_asked_for_by_a_file_need_evidence() -> None:
    root = ROOT.replace(", person: {claim: idtyp, is: user}", "").replace("[services, mobile]", "[services, people]")
    root = root.replace("  mobile: {kind: app, id: mobile}\n", "")
    stock = STOCK.replace("[sync, mobile]", "people").replace("GET /all: {needs: read.health}", "GET /all: {needs: read.health, to: services}")
    orders = ORDERS.replace("  web: {kind: app, id: web}\n", "")
    ((_, reference, message),) = found(root, orders, stock)
    assert (reference, message) == (
        "person-evidence-missing",
        "the issuer 'idp' does not say what proves a person, which is needed by the default 'to' of 'stock.yaml'",
    )


# ── environments ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

PLACES = """\
version: 1
environments:
  dev: {host: dev.example, login: login-dev}
  stage: {host: stage.example, login: login-stage}
  prod: {host: api.example, login: login}
public_url: https://${env.host}
issuers:
  idp: {issuer: "https://${env.login}.example/", jti: required}
scopes:
  read.orders: {says: Read orders}
clients:
  sync: {kind: service, id: {dev: a, stage: a, prod: b}}
apis:
  orders:
    at: /orders
    audience: api://orders
    upstream: https://orders.example
    rules:
      GET /**: {needs: read.orders, to: sync}
  stock:
    at: /stock
    audience: api://stock-${env.name}
    upstream: https://stock.example
    rules:
      GET /**: {needs: read.orders, to: sync}
"""


def examined(text: str, only: str | None = None) -> list[tuple[str, str, str, tuple[str, ...]]]:
    written = read(Bundle.of(text.encode(), "p"))
    assert isinstance(written, Written), written
    return [_row(d) for d in examine(written, only).diagnostics]


def _row(d: Diagnostic) -> tuple[str, str, str, tuple[str, ...]]:
    return str(d.span), d.severity, d.reference, d.environments


def test_three_environments_apart() -> None:
    assert examined(PLACES) == []
    written = read(Bundle.of(PLACES.encode(), "p"))
    assert isinstance(written, Written)
    assert list(examine(written).loaded) == ["dev", "stage", "prod"]
    assert list(examine(written, "prod").loaded) == ["prod"]


def test_a_token_of_one_is_not_good_in_another() -> None:
    shared = PLACES.replace("login: login-stage", "login: login")
    found = [("p:16:15", "error", "token-valid-in-two-environments", ("stage", "prod"))]
    assert examined(shared) == found
    assert examined(shared, "prod") == examined(shared, "stage") == found
    assert examined(shared, "dev") == []


def test_an_audience_that_differs_in_what_envoy_passes_over_is_the_same() -> None:
    text = PLACES.replace("${env.login}", "login").replace("login: login-dev", "aud: 'https://o/'").replace("login: login-stage", "aud: o")
    text = text.replace("login: login}", "aud: x}").replace("audience: api://orders", "audience: ${env.aud}")
    assert [row[2:] for row in examined(text)] == [("token-valid-in-two-environments", ("dev", "stage"))]


def test_the_audience_of_another_api_counts() -> None:
    text = PLACES.replace("${env.login}", "login").replace("login: login-dev", "o: a, s: b").replace("login: login-stage", "o: c, s: a")
    text = text.replace("login: login}", "o: d, s: e}").replace("api://orders", "${env.o}").replace("api://stock-${env.name}", "${env.s}")
    assert [row[2:] for row in examined(text)] == [("token-valid-in-two-environments", ("dev", "stage"))]


def test_a_finding_is_said_once_with_the_environments_it_is_about() -> None:
    text = PLACES.replace("https://stock.example", "http://${env.host}").replace("dev: {host: dev.example", "dev: {host: 'localhost:1'")
    text = text.replace("  read.orders: {says", "  frobnicate.x: {says: x}\n  read.orders: {says")
    assert examined(text) == [
        ("p:10:3", "warning", "scope-noun-first", ()),
        ("p:24:15", "error", "plaintext-upstream", ("stage", "prod")),
    ]
    assert examined(text, "dev") == [("p:10:3", "warning", "scope-noun-first", ())]
    assert examined(text, "prod")[1:] == [("p:24:15", "error", "plaintext-upstream", ())]


def test_a_value_that_is_wrong_in_one_environment_says_in_which() -> None:
    text = PLACES.replace("host: stage.example", "host: 'stage.example/x'")
    assert examined(text) == [("p:6:13", "error", "policy-value", ("stage",))]
    assert examined(text, "prod") == []
