"""Environments: where values may stand, what is wrong with them, and what comes of one that is chosen."""

from __future__ import annotations

import pytest

from scopeward.policy.diagnostic import Diagnostic
from scopeward.policy.environments import PLACES
from scopeward.policy.source import Loaded, load

TEXT = """\
version: 1
environments:
  dev:  {host: "localhost:8443", tenant: t-dev}
  prod: {host: api.example, tenant: t-prod, confirm: true}
public_url: https://${env.host}
issuers:
  idp: {issuer: "https://login.example/${env.tenant}/", audience: "api://acme-${env.name}", person: {claim: idtyp, is: user}, jti: required}
scopes:
  read.orders: {says: Read orders}
clients:
  sync: {kind: service, id: {dev: "6b1c", prod: "9d20"}}
  web: {kind: app, id: web}
apis:
  orders:
    at: /orders
    upstream: https://orders-${env.name}.example/api
    rules:
      GET /**: {needs: read.orders, to: sync}
"""


def loaded(text: str, env: str | None) -> Loaded:
    found = load(text.encode(), "p.yaml", env)
    assert isinstance(found, Loaded), found
    return found


def wrong(text: str, env: str | None = "prod") -> tuple[Diagnostic, ...]:
    found = load(text.encode(), "p.yaml", env)
    assert isinstance(found, tuple)
    return found


def said(text: str, env: str | None = "prod") -> list[tuple[int, int, str, str]]:
    return [(d.span.line, d.span.column, d.reference, d.message) for d in wrong(text, env)]


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_the_values_of_the_environment_are_put_in() -> None:
    dev, prod = loaded(TEXT, "dev").policy, loaded(TEXT, "prod").policy
    assert (dev.environment, dev.confirm, dev.public_url) == ("dev", False, "https://localhost:8443")
    assert (prod.environment, prod.confirm, prod.public_url) == ("prod", True, "https://api.example")
    assert [policy.issuers[0].issuer for policy in (dev, prod)] == ["https://login.example/t-dev/", "https://login.example/t-prod/"]
    assert [policy.apis[0].audience for policy in (dev, prod)] == ["api://acme-dev", "api://acme-prod"]
    assert [policy.apis[0].upstream.url for policy in (dev, prod)] == ["https://orders-dev.example/api", "https://orders-prod.example/api"]
    assert [[client.id for client in policy.clients] for policy in (dev, prod)] == [["6b1c", "web"], ["9d20", "web"]]
    assert dev.apis[0].rules == prod.apis[0].rules


def test_the_places_are_those_of_the_text_and_of_the_value() -> None:
    spans = loaded(TEXT, "prod").spans
    assert str(spans.of(("public_url",))) == "p.yaml:5:13"
    node = spans.exact(("public_url",))
    assert node is not None
    assert [str(span) for span in getattr(node, "filled", ())] == ["p.yaml:4:16"]
    assert str(spans.of(("clients", "sync", "id"))) == "p.yaml:11:49"


def test_a_policy_without_environments_is_what_it_was() -> None:
    plain = TEXT.replace("environments:\n", "").replace('  dev:  {host: "localhost:8443", tenant: t-dev}\n', "")
    plain = plain.replace("  prod: {host: api.example, tenant: t-prod, confirm: true}\n", "").replace("${env.host}", "api.example")
    plain = plain.replace("${env.tenant}", "t").replace("${env.name}", "prod").replace('{dev: "6b1c", prod: "9d20"}', '"9d20"')
    policy = loaded(plain, None).policy
    assert (policy.environment, policy.confirm) == (None, False)
    assert [(d.reference, d.message) for d in wrong(plain, "prod")] == [
        ("env-unknown", "the environment 'prod' is chosen, and the policy has no 'environments'")
    ]


def test_one_must_be_chosen() -> None:
    assert said(TEXT, None) == [(2, 1, "env-needed", "the policy has the environments dev, prod, and none is chosen")]
    (unknown,) = wrong(TEXT, "prdo")
    assert (unknown.reference, unknown.help) == ("env-unknown", "Did you mean 'prod'?")


NOT_HERE = [
    ("needs: read.orders, to: sync", "needs: '${env.scope}'", 18, 24),
    ("to: sync", "to: ['${env.name}']", 18, 42),
    ("needs: read.orders, to: sync", "public: 'because of ${env.name}'", 18, 25),
    ("      GET /**", "      GET /${env.name}/**", 18, 7),
    ("says: Read orders", "says: 'Read orders of ${env.name}'", 9, 23),
    ("  read.orders: {says", "  read.orders: {says: x}\n  read.${env.name}: {says", 10, 3),
    ("  web: {kind: app", "  '${env.name}-web': {kind: app", 12, 3),
    ("kind: app", "kind: '${env.name}'", 12, 15),
    ("jti: required", "jti: '${env.jti}'", 7, 132),
    ("claim: idtyp", "claim: '${env.claim}'", 7, 109),
    ("  orders:\n", "  orders:\n    audience: ['${env.name}']\n", 15, 16),
    ("/api\n", "/api\n    slash: ${ENV.name}\n", 17, 12),
]


@pytest.mark.parametrize(("old", "new", "line", "column"), NOT_HERE, ids=[new.strip() for _, new, _, _ in NOT_HERE])
def test_a_value_is_not_taken_everywhere(old: str, new: str, line: int, column: int) -> None:
    found = [(at, col, ref) for at, col, ref, _ in said(changed(old, new))]
    assert found == [(line, column, "env-not-here")]


@pytest.mark.parametrize(
    ("old", "new", "place", "reference", "message"),
    [
        ("${env.host}", "${env.hots}", (5, 13), "env-value-unknown", "no environment gives the value 'hots'"),
        ("${env.host}", "${env.host", (5, 13), "env-malformed", "'${' begins something else than '${env.NAME}'"),
        ("${env.host}", "${host}", (5, 13), "env-malformed", "'${' begins something else than '${env.NAME}'"),
        ("${env.host}", "${ env.host }", (5, 13), "env-malformed", "'${' begins something else than '${env.NAME}'"),
        ("${env.host}", "${env.${env.name}}", (5, 13), "env-malformed", "'${' begins something else than '${env.NAME}'"),
        ("host: api.example", 'host: "${env.tenant}"', (4, 16), "env-malformed", "the value of an environment stands for itself: it holds no '${'"),
        ("host: api.example, ", "", (4, 3), "env-value-missing", "the environment 'prod' gives no value 'host', which p.yaml:5 uses"),
        (', prod: "9d20"', "", (11, 25), "env-value-missing", "there is no value for the environment 'prod'"),
        ('prod: "9d20"', 'prod: "9d20", stage: x', (11, 57), "env-unknown", "there is no environment 'stage'"),
        ("confirm: true", "confirm: sometimes", (4, 54), "policy-type", "true or false is needed here, without quotes"),
        ("confirm: true", "name: x", (4, 3), "policy-value", "'name' is the environment's own name, and cannot be given"),
        ("confirm: true", "x y: x", (4, 3), "name-not-usable", "a value's name is letters, digits, '_' and '-', a letter or '_' first"),
        ("tenant: t-prod", "tenant: [t]", (4, 29), "policy-type", "text is needed here, not a list"),
        ("tenant: t-prod", "tenant: ", (4, 37), "policy-type", "text is needed here, and nothing is given"),
    ],
)
def test_what_is_wrong_with_values(old: str, new: str, place: tuple[int, int], reference: str, message: str) -> None:
    for env in ("dev", "prod", None):
        assert said(changed(old, new), env) == [(*place, reference, message)]


def test_a_name_of_an_environment_is_a_name() -> None:
    found = wrong(changed("  prod:", "  'pr od':"), "dev")
    assert ("name-not-usable", 4, 3) in [(d.reference, d.span.line, d.span.column) for d in found]


def test_a_value_that_nobody_uses_is_a_warning() -> None:
    found = loaded(changed("tenant: t-dev", "tenant: t-dev, more: x"), "dev")
    assert [(d.reference, d.severity, d.message, str(d.span)) for d in found.warnings] == [
        ("env-value-unused", "warning", "nothing uses the value 'more'", "p.yaml:3:55")
    ]


def test_without_environments_nothing_stands_for_anything() -> None:
    text = TEXT.partition("environments:")[0] + "public_url" + TEXT.partition("public_url")[2]
    assert {d.reference for d in wrong(text, None)} == {"env-value-unknown"}


def test_a_mapping_of_ids_without_environments_is_no_id() -> None:
    text = 'version: 1\npublic_url: https://x\nissuers: {i: {issuer: "https://i"}}\nclients: {c: {kind: app, id: {dev: x}}}\napis: {}\n'
    assert said(text, None) == [(4, 26, "policy-type", "text is needed here, not a mapping")]


def test_what_comes_of_a_value_is_read_as_if_it_stood_there() -> None:
    """Neither a value's quotes nor its text can add to the policy: it is one text, and must be one of its place."""
    assert said(changed("host: api.example", "host: 'api.example/x'")) == [(5, 13, "policy-value", "the URL must be without a path")]
    assert said(changed("host: api.example", "host: 'user:pass@api.example'")) == [(5, 13, "policy-value", "the URL must not hold a user name or password")]
    text = changed("tenant: t-prod", "tenant: 't\", issuer: x, #'").replace("/${env.tenant}/", "/").replace("acme-$", "${env.tenant}$")
    assert loaded(text, "prod").policy.apis[0].audience == 'api://t", issuer: x, #prod'


def test_values_are_not_quoted_in_what_is_said() -> None:
    secret = "hunter2"
    for old, new in (("host: api.example", f"host: 'http://{secret}@x'"), ("tenant: t-prod", f"tenant: '${{{secret}'")):
        assert all(secret not in str(d) + d.help for d in wrong(changed(old, new)))


@pytest.mark.parametrize("place", [place for place in PLACES if "id" not in place], ids=".".join)
def test_each_place_takes_a_value(place: tuple[str, ...]) -> None:
    """Written into a policy that has nothing else of environments, each is understood, and missing from it is told at the place."""
    value = "'${env.x}'"
    lines: dict[tuple[str, ...], tuple[str, str]] = {
        ("public_url",): ("public_url: https://${env.host}", f"public_url: {value}"),
        ("issuers", "*", "issuer"): ('"https://login.example/${env.tenant}/"', value),
        ("issuers", "*", "audience"): ('"api://acme-${env.name}"', value),
        ("apis", "*", "at"): ("at: /orders", f"at: {value}"),
        ("apis", "*", "audience"): ("    at: /orders", f"    at: /orders\n    audience: {value}"),
        ("apis", "*", "upstream"): ("https://orders-${env.name}.example/api", value),
        ("apis", "*", "upstream", "url"): ("https://orders-${env.name}.example/api", f"{{url: {value}}}"),
        ("apis", "*", "upstream", "client_certificate"): (
            "https://orders-${env.name}.example/api",
            f"{{url: 'https://x', client_certificate: {value}}}",
        ),
        ("network", "ca_bundle"): ("apis:\n", f"network: {{ca_bundle: {value}}}\napis:\n"),
    }
    given = {"at": "/x", "ca_bundle": "/x.pem", "client_certificate": "file:/x.pem", "audience": "x"}.get(place[-1], "https://x.example")
    text = changed(*lines[place])
    (unknown,) = [d for d in wrong(text) if d.severity == "error"]
    assert unknown.reference == "env-value-unknown"
    filled = text.replace("tenant: t-dev", f"x: '{given}', tenant: t-dev").replace("tenant: t-prod", f"x: '{given}', tenant: t-prod")
    assert loaded(filled, "dev").policy == loaded(filled.replace(value, f"'{given}'"), "dev").policy
