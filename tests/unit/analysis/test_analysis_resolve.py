from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scopeward.analysis.gateway import Facts, Gateway, IssuerFacts, Revoked
from scopeward.analysis.resolve import resolve
from scopeward.errors import ScopewardError
from scopeward.policy.model import Policy, To, Trust
from scopeward.policy.source import Loaded, load

SAMPLE = (Path(__file__).parents[1] / "policy" / "sample.yaml").read_bytes()
GOLDEN = ["58c3e971936a", "10b37d3929dc", "4381ac41632b", "3387b4c3a80f"]
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


@pytest.mark.parametrize("change", [{"name": "other"}, {"at": "/other"}, {"audience": "other"}], ids=str)
def test_an_id_changes_with_its_api(policy: Policy, change: dict[str, Any]) -> None:
    changed = replace(policy, apis=(policy.apis[0], replace(policy.apis[1], **change)))
    assert not set(ids(resolve(policy, FACTS))[3:]) & set(ids(resolve(changed, FACTS)))


def test_keys_and_revocations_do_not_change_the_version(policy: Policy) -> None:
    facts = Facts(
        {"workforce": IssuerFacts("https://idp.example/", '{"keys":[1]}')}, (Revoked("https://idp.example/", "b"), Revoked("https://idp.example/", "a"))
    )
    gateway = resolve(policy, facts)
    assert gateway.policy_version == resolve(policy, FACTS).policy_version
    assert [r.token_id for r in gateway.revoked] == ["a", "b"]


@pytest.mark.parametrize("change", [{"public_url": "https://x"}, {"unlisted_clients": "as_person"}, {"clients": ()}, {"trust": ()}], ids=str)
def test_the_version_changes_with_the_model(policy: Policy, change: dict[str, Any]) -> None:
    assert resolve(replace(policy, **change), FACTS).policy_version != resolve(policy, FACTS).policy_version


def test_facts_must_fit(policy: Policy) -> None:
    with pytest.raises(ScopewardError, match="idp-no-keys: nothing was fetched from the issuer 'workforce'"):
        resolve(policy, Facts({}))
    with pytest.raises(ScopewardError, match="idp-issuer-mismatch"):
        resolve(policy, Facts({"workforce": IssuerFacts("https://idp.example", "{}")}))
