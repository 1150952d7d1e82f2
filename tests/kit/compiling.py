"""A policy compiled as for a node, without one: always for the same place and with the same key, so that its bytes can be compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from scopeward.analysis.gateway import Facts, IssuerFacts, Revocation
from scopeward.compile import Edge, Snapshot
from scopeward.compile.prove import prove
from scopeward.errors import ScopewardError
from scopeward.warden import Prepared, checked, compile_policy

EDGE = Edge("node-golden", "127.0.0.1", 8080, "/var/lib/scopeward/audit/golden.jsonl", "/var/lib/scopeward/xds")

# a public key that nobody holds the private half of any more
JWKS = """{"keys": [{"kty": "EC", "crv": "P-256", "kid": "golden", "use": "sig", "alg": "ES256",
 "x": "1vBgDRxLzaLYhhENt_CXlx2y-RthlIiVkvCfUyYM5q8", "y": "AlAo54lcOPW4j26LQOLZocsQm8o8p4SSZPivelyE2ew"}]}"""


def compiled(
    text: str | bytes,
    settled: Iterable[Revocation] = (),
    keys: str = JWKS,
    edge: Edge = EDGE,
    good_until: int | None = None,
    recent: Iterable[Revocation] = (),
) -> Prepared:
    """A policy's text → its snapshot, proven. Each API has a pass that says its name."""
    loaded, warnings = checked(text if isinstance(text, bytes) else text.encode(), "policy.yaml")
    facts = {i.name: IssuerFacts(i.issuer, keys, good_until) for i in loaded.policy.issuers}
    passes = {api.name: f"pass-of-{api.name}" for api in loaded.policy.apis}
    return compile_policy(loaded, Facts(facts, recent=tuple(recent), settled=tuple(settled), passes=passes), edge, warnings)


class Draft:
    """A snapshot that may be changed, to plant a fault in it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.listeners: Any = copy.deepcopy(list(snapshot.listeners))
        self.routes: Any = copy.deepcopy(list(snapshot.routes))
        self.clusters: Any = copy.deepcopy(list(snapshot.clusters))
        self.extensions: Any = copy.deepcopy(dict(snapshot.extensions))
        self.secrets: Any = copy.deepcopy(dict(snapshot.secrets))
        self._policy_version = snapshot.policy_version

    @property
    def manager(self) -> Any:
        return self.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]

    def filter(self, name: str) -> Any:
        """A filter's entry in the chain."""
        return next(f for f in self.manager["http_filters"] if f["name"] == name)

    @property
    def host(self) -> Any:
        return self.routes[0]["virtual_hosts"][0]

    def route(self, ending: str) -> Any:
        """The route whose name ends so."""
        return next(r for r in self.host["routes"] if r["name"].endswith(ending))

    def cluster(self, name: str) -> Any:
        return next(c for c in self.clusters if c["name"] == name)

    def entries(self) -> Any:
        """What *decide* says, by rule key."""
        return self.extensions["decide"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]

    def rule(self, ending: str) -> Any:
        """*decide*'s entry of the route whose name ends so."""
        mutations = self.route(ending)["typed_per_filter_config"]["scrub"]["mutations"]["request_mutations"]
        return self.entries()[mutations[0]["append"]["header"]["value"]]

    def snapshot(self) -> Snapshot:
        return Snapshot(self._policy_version, tuple(self.listeners), tuple(self.routes), tuple(self.clusters), self.extensions, self.secrets)


def unproven(prepared: Prepared, plant: Callable[[Draft], object]) -> str:
    """What the proof says of the snapshot with the fault that ``plant`` puts in it."""
    draft = Draft(prepared.snapshot)
    plant(draft)
    assert draft.snapshot() != prepared.snapshot, "nothing was planted"
    with pytest.raises(ScopewardError) as refused:
        prove(draft.snapshot(), prepared.gateway)
    assert refused.value.reference.id == "snapshot-unproven"
    return refused.value.what
