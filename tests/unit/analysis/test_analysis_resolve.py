from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from scopeward.analysis.gateway import Facts, Gateway, IssuerFacts, Revocation
from scopeward.analysis.resolve import resolve
from scopeward.errors import ScopewardError
from scopeward.policy.model import ClientCertificate, Policy, Rule, Sends, To, Trust
from scopeward.policy.source import Loaded, load

SAMPLE = (Path(__file__).parents[1] / "policy" / "sample.yaml").read_bytes()
GOLDEN = ["66dce7fd0a7e", "2f381a523a71", "e749e3ac9727", "700b7420fde9"]
"""The sample's operation ids. They change only with the sample or the way of hashing: nodes of two versions must agree on them."""

FACTS = Facts({"workforce": IssuerFacts("https://idp.example/", '{"keys":[]}')})


@pytest.fixture(scope="module")
def policy() -> Policy:
    loaded = load(SAMPLE, "p.yaml")
    assert isinstance(loaded, Loaded)
    return loaded.policy


def ids(gateway: Gateway) -> list[str]:
    return [o.id for a in gateway.apis for o in a.operations]


def test_full_templates_the_most_specific_first(policy: Policy) -> None:
    gateway = resolve(policy, FACTS)
    assert [(a.name, [(o.method, o.template) for o in a.operations]) for a in gateway.apis] == [
        ("orders", [("POST", "/orders/v1"), ("GET", "/orders/v1/health"), ("GET", "/orders/v1/**")]),
        ("stock", [("GET", "/stock/{sku}")]),
    ]
    assert [a.resource for a in gateway.apis] == ["http://127.0.0.1:8080/orders/v1", "http://127.0.0.1:8080/stock"]
    assert [c.name for c in gateway.clients] == ["claims-copilot", "order-sync", "orders-web"]


def test_the_lifetime_only_where_longer_is_refused(policy: Policy) -> None:
    assert resolve(policy, FACTS).issuers[0].lifetime == 43200
    assert resolve(replace(policy, trust=(Trust("internal", 60, "report"),)), FACTS).issuers[0].lifetime is None
    assert resolve(replace(policy, trust=(Trust("external", 60, "refuse"),)), FACTS).issuers[0].lifetime is None


@pytest.mark.parametrize(
    ("trust", "seconds"),
    [
        ((), 3600),
        ((Trust("external", 60, "refuse", max_stream=5),), 3600),  # another trust
        ((Trust("internal", 900, "refuse"),), 900),
        ((Trust("internal", 7200, "refuse"),), 7200),
        ((Trust("internal", 7200, "report"),), 3600),
        ((Trust("internal", 900, "report"),), 900),
        ((Trust("internal", 900, "refuse", max_stream=30),), 30),
        ((Trust("internal", 900, "refuse", max_stream=7200),), 900),  # no token that is taken lives longer
        ((Trust("internal", 900, "report", max_stream=7200),), 7200),
    ],
)
def test_a_stream_lasts_as_long_as_a_token_may(trust: tuple[Trust, ...], seconds: int, policy: Policy) -> None:
    assert resolve(replace(policy, trust=trust), FACTS).issuers[0].longest_stream == seconds


def test_ids_do_not_change_by_accident(policy: Policy) -> None:
    gateway = resolve(policy, FACTS)
    assert ids(gateway) == GOLDEN
    assert re.fullmatch(r"[0-9a-f]{12}", gateway.policy_version)


def test_the_order_of_writing_does_not_matter(policy: Policy) -> None:
    turned = replace(
        policy,
        clients=policy.clients[::-1],
        scopes=policy.scopes[::-1],
        apis=tuple(replace(a, rules=tuple(replace(r, to=To(r.to.kinds[::-1], r.to.clients[::-1])) for r in a.rules[::-1])) for a in policy.apis[::-1]),
    )
    assert resolve(turned, FACTS) == resolve(policy, FACTS)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"template": "/{id}"},
        {"needs": ("create.orders",)},
        {"needs": ()},
        {"to": To(("people",))},
        {"to": To(("people", "services"), ("order-sync",))},
        {"public": "why"},
    ],
    ids=str,
)
def test_an_id_changes_with_all_that_decides_the_rule(policy: Policy, change: dict[str, Any]) -> None:
    stock = policy.apis[1]
    changed = replace(policy, apis=(policy.apis[0], replace(stock, rules=(replace(stock.rules[0], **change),))))
    before, after = resolve(policy, FACTS), resolve(changed, FACTS)
    assert ids(before)[:3] == ids(after)[:3]
    assert ids(before)[3] != ids(after)[3]
    assert before.policy_version != after.policy_version


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"at": "/other"},
        {"audience": "other"},
        {"client_certificate": ClientCertificate()},
        {"client_certificate": ClientCertificate(("dns:a",))},
    ],
    ids=str,
)
def test_an_id_changes_with_its_api(policy: Policy, change: dict[str, Any]) -> None:
    changed = replace(policy, apis=(policy.apis[0], replace(policy.apis[1], **change)))
    assert not set(ids(resolve(policy, FACTS))[3:]) & set(ids(resolve(changed, FACTS)))


def test_keys_and_revocations_do_not_change_the_version(policy: Policy) -> None:
    recent, settled = ((Revocation("https://idp.example/", what, "b", 7), Revocation("https://idp.example/", what, "a")) for what in ("client", "subject"))
    facts = Facts({"workforce": IssuerFacts("https://idp.example/", '{"keys":[1]}', 17)}, recent, settled, {"orders": "pass"}, '{"keys":[2]}')
    gateway = resolve(policy, facts)
    assert gateway.policy_version == resolve(policy, FACTS).policy_version
    assert ids(gateway) == ids(resolve(policy, FACTS))
    assert [r.value for r in gateway.recent] == [r.value for r in gateway.settled] == ["a", "b"]
    assert (gateway.issuers[0].good_until, gateway.passes, gateway.pass_keys) == (17, {"orders": "pass"}, '{"keys":[2]}')


@pytest.mark.parametrize(
    "change",
    [
        {"public_url": "https://x"},
        {"unlisted_clients": "as_person"},
        {"clients": ()},
        {"trust": ()},
        {"body_limit": 1024},
        {"ca_bundle": "/x"},
        {"sends": Sends()},
    ],
    ids=str,
)
def test_the_version_changes_with_the_model(policy: Policy, change: dict[str, Any]) -> None:
    assert resolve(replace(policy, **change), FACTS).policy_version != resolve(policy, FACTS).policy_version


@pytest.mark.parametrize("change", [{"allow": ("dot",)}, {"slash": "same"}, {"case": "sensitive"}, {"client_certificate": ClientCertificate()}], ids=str)
def test_the_version_changes_with_an_api(change: dict[str, Any], policy: Policy) -> None:
    plain = replace(policy.apis[1], allow=(), slash="exact", case="guarded", client_certificate=None)
    before, after = (replace(policy, apis=(policy.apis[0], api)) for api in (plain, replace(plain, **change)))
    assert resolve(before, FACTS).policy_version != resolve(after, FACTS).policy_version


@pytest.mark.parametrize(
    ("case", "guarded"),
    [("guarded", {"/shop/admin", "/shop/a:b", "/shop/{id}/Keys"}), ("sensitive", {"/shop/a:b"})],
)
def test_templates_that_guard_their_spelling(case: Literal["guarded", "sensitive"], guarded: set[str], policy: Policy) -> None:
    strict, easy = To(("services",)), To(("people", "services"))
    rules = (
        Rule("GET", "/admin", to=strict),
        Rule("GET", "/a:b", to=strict),
        Rule("GET", "/easy", to=easy),
        Rule("GET", "/open", public="why"),
        Rule("GET", "/42", to=strict),  # no letter in it
        Rule("GET", "/{id}", to=easy),
        Rule("GET", "/{id}/Keys", to=strict),
        Rule("GET", "/{id}/{part}", to=To(("services", "people"))),
    )
    shop = replace(policy.apis[1], at="/shop", rules=rules, case=case)
    (operations,) = (api.operations for api in resolve(replace(policy, apis=(shop,)), FACTS).apis)
    assert {o.template for o in operations if o.guards_spelling} == guarded


def test_templates_that_guard_a_slash_at_their_end(policy: Policy) -> None:
    strict, easy = To(("services",)), To(("people", "services"))
    rules = (
        Rule("GET", "/admin", to=strict),
        Rule("GET", "/easy", to=easy),
        Rule("GET", "/list", to=strict),
        Rule("GET", "/list/", to=strict),
        Rule("GET", "/deep/**", to=strict),
        Rule("GET", "/**", to=easy),
    )
    shop = replace(policy.apis[1], at="/shop", rules=rules, case="sensitive")
    for slash, guarded in (("exact", {"/shop/admin"}), ("same", set())):
        kept = tuple(rule for rule in rules if slash == "exact" or rule.template != "/list/")
        (api,) = resolve(replace(policy, apis=(replace(shop, slash=slash, rules=kept),)), FACTS).apis  # type: ignore[arg-type]
        assert {o.template for o in api.operations if o.guards_slash} == guarded


def test_facts_must_fit(policy: Policy) -> None:
    with pytest.raises(ScopewardError, match="idp-no-keys: nothing was fetched from the issuer 'workforce'"):
        resolve(policy, Facts({}))
    with pytest.raises(ScopewardError, match="idp-issuer-mismatch"):
        resolve(policy, Facts({"workforce": IssuerFacts("https://idp.example", "{}")}))
