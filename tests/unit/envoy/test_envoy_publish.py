"""A snapshot that is refused leaves the one in force: real calls before and after, and the files as they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scopeward.compile import Snapshot
from scopeward.envoy import node as node_module
from scopeward.errors import ScopewardError
from scopeward.warden import policy
from tests.kit.compiling import Draft
from tests.kit.gateway import RunningGateway
from tests.kit.tokens import Mint, jwks, signing_key
from tests.kit.upstream import RecordingUpstream

POLICY = """
version: 1
public_url: http://127.0.0.1:8080
issuers: {{idp: {{issuer: "https://idp.test/", audience: "api://orders", typ: at+jwt}}}}
scopes: {{read.orders: {{says: Read}}, create.orders: {{says: Create}}}}
clients: {{order-sync: {{kind: service, id: order-sync}}}}
apis:
  orders: {{at: /orders, upstream: "{url}", rules: {{"GET /{{id}}": {{needs: {needs}}}}}}}
"""
JWT = "envoy.filters.http.jwt_authn"


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(recording: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("node"), POLICY.format(url=recording.url, needs="read.orders")) as running:
        yield running


@pytest.fixture(autouse=True)
def first_policy(gateway: RunningGateway, recording: RecordingUpstream) -> None:
    gateway.publish(POLICY.format(url=recording.url, needs="read.orders"))


def published(gateway: RunningGateway) -> dict[str, str]:
    root = Path(gateway.node.edge.xds)
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*.json"))}


def in_force(gateway: RunningGateway) -> dict[str, Any] | None:
    return gateway.state.read_json("in-force.json")


def broken(gateway: RunningGateway) -> Snapshot:
    """A stricter policy with keys that are none, so that it can be told whether any of it came into force."""
    draft = Draft(gateway.prepared.snapshot)
    draft.extensions[JWT]["providers"]["idp"]["local_jwks"]["inline_string"] = '{"keys": [{"kty": "RSA"}]}'
    return draft.snapshot()


def works_as_before(gateway: RunningGateway, mint: Mint) -> None:
    assert gateway.get("/orders/1", mint.token(scope="read.orders")).status == 200
    assert gateway.get("/orders/1", mint.token(scope="create.orders")).reference == "scope-missing"
    assert gateway.get("/orders/1").reference == "token-missing"


def test_a_policy_that_is_published_decides_the_next_call(gateway: RunningGateway, recording: RecordingUpstream, mint: Mint) -> None:
    works_as_before(gateway, mint)
    gateway.publish(POLICY.format(url=recording.url, needs="create.orders"))
    assert gateway.get("/orders/1", mint.token(scope="create.orders")).status == 200
    assert gateway.get("/orders/1", mint.token(scope="read.orders")).reference == "scope-missing"
    assert in_force(gateway) is not None
    assert (in_force(gateway) or {})["snapshot"] == gateway.prepared.snapshot.version


def test_publishing_what_is_in_force_writes_nothing(gateway: RunningGateway) -> None:
    before = {p: p.stat().st_mtime_ns for p in Path(gateway.node.edge.xds).rglob("*.json")}
    gateway.put(gateway.prepared.snapshot)
    assert {p: p.stat().st_mtime_ns for p in Path(gateway.node.edge.xds).rglob("*.json")} == before


def test_an_unproven_snapshot_is_refused_before_anything_is_written(
    gateway: RunningGateway, recording: RecordingUpstream, mint: Mint, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, confirmed = published(gateway), in_force(gateway)

    def faulty(*arguments: Any) -> Snapshot:
        draft = Draft(compile_gateway(*arguments))
        draft.filter("decide")["disabled"] = True
        return draft.snapshot()

    compile_gateway = policy.compile_gateway
    monkeypatch.setattr(policy, "compile_gateway", faulty)
    with pytest.raises(ScopewardError) as refused:
        gateway.publish(POLICY.format(url=recording.url, needs="create.orders"))
    assert refused.value.reference.id == "snapshot-unproven"
    assert (published(gateway), in_force(gateway)) == (files, confirmed)
    works_as_before(gateway, mint)


def test_a_snapshot_that_envoy_would_refuse_is_not_written(gateway: RunningGateway, mint: Mint) -> None:
    files, confirmed = published(gateway), in_force(gateway)
    with pytest.raises(ScopewardError) as refused:
        gateway.put(broken(gateway))
    assert refused.value.reference.id == "envoy-rejected"
    assert (published(gateway), in_force(gateway)) == (files, confirmed)
    works_as_before(gateway, mint)


async def _validates(*_arguments: object) -> None:
    """As if Envoy's own validation had found nothing."""


@pytest.mark.parametrize("kind", ["extension", "routes", "clusters"])
def test_a_snapshot_that_the_running_envoy_refuses_is_taken_back(
    gateway: RunningGateway, recording: RecordingUpstream, mint: Mint, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stricter = gateway.compile(POLICY.format(url=recording.url, needs="create.orders"))
    draft = Draft(stricter.snapshot)
    match kind:
        case "extension":
            draft.extensions[JWT]["providers"]["idp"]["local_jwks"]["inline_string"] = '{"keys": [{"kty": "RSA"}]}'
        case "routes":
            draft.route("GET /orders/{id}")["match"]["safe_regex"] = {"regex": "("}
        case _:
            draft.clusters[0]["lb_policy"] = "CLUSTER_PROVIDED"
    files, confirmed = published(gateway), in_force(gateway)
    monkeypatch.setattr(node_module, "validate", _validates)
    with pytest.raises(ScopewardError) as refused:
        gateway.put(draft.snapshot())
    assert refused.value.reference.id == "envoy-not-confirmed"
    assert "rejected" in refused.value.what
    assert (published(gateway), in_force(gateway)) == (files, confirmed)
    works_as_before(gateway, mint)
    gateway.put(stricter.snapshot)
    assert gateway.get("/orders/1", mint.token(scope="create.orders")).status == 200


def test_withdrawn_keys_refuse_a_token_that_was_verified_before(gateway: RunningGateway, recording: RecordingUpstream, mint: Mint) -> None:
    token = mint.token(scope="read.orders")
    assert gateway.get("/orders/1", token).status == 200
    gateway.publish(POLICY.format(url=recording.url, needs="read.orders"), keys=jwks(signing_key("k2")))
    with recording.sees_nothing():
        assert gateway.get("/orders/1", token).reference == "token-unknown-key"
    rotated = Mint(key=signing_key("k2"))
    assert gateway.get("/orders/1", rotated.token(scope="read.orders")).status == 200


def test_nothing_of_what_is_published_is_readable_by_others(gateway: RunningGateway) -> None:
    root: Path = gateway.state.root
    assert [str(p) for p in [root, *root.rglob("*")] if p.stat().st_mode & 0o077] == []
