"""Proof before publication: a compiled snapshot is looked through for what Envoy accepts and what would still be wrong.

1.  The chain is whole and in order, no guarding filter is off or disabled anywhere, and a route replaces none of what decides.
2.  Every route asks jwt_authn for a requirement that exists.
3.  Every route sets a rule key, and the key is in *decide* (a key that is not there means "no rule").
4.  A route that may be passed without a token, or without an upstream's consent, is one that the gateway marks so.
5.  *enforce* ends in a denial, and each of its passes is one of the two verdicts.
6.  Every table and every nested tree has its own answer for what it does not find, and no ``ok`` is such an answer; only an entry of a
    revocation table may have none, and then all that it can say is ``revoked``.
7.  *base* says ``ok`` and *decide* says ``rule.`` only where all of a list of positive predicates hold: the token's facts, the age of the
    issuer's keys, the caller, each scope that the rule needs, the client certificate that the API asks for.
8.  No name that travels in *who* holds a delimiter.
9.  A route lends identity only under a rule, and removes the caller's token unless its API forwards it.
10. No header of our own reaches an upstream, and none of a caller's reaches us; no trailer but gRPC's goes on.
11. Every upstream is reached by TLS that verifies chain and name, or is on loopback, or the policy says why it need not be.
12. The path and the header names that are judged are those that go on; what servers read in different ways is refused.
13. A host that is not the gateway's name reaches no upstream; no forwarded header is believed of everybody.
14. Only declared streams are upgraded or go on without end, and each ends when the longest token would.
15. Keys are secrets that exist, and stand nowhere else.

It is written against the resources, not against the compiler: it shares no code with what it judges but the names.
"""

from __future__ import annotations

from typing import Final

from scopeward.analysis.gateway import Gateway
from scopeward.compile.prove.chain import prove_chain, prove_enforce, prove_requirements, prove_rules
from scopeward.compile.prove.edge import prove_edge, prove_hosts, prove_secrets, prove_streams, prove_upstreams
from scopeward.compile.prove.lending import prove_headers, prove_lending, prove_names
from scopeward.compile.prove.reading import Fault, Proof
from scopeward.compile.prove.tables import BASE_FACTS, prove_base, prove_decide, prove_revocation, prove_tables
from scopeward.compile.snapshot import Snapshot
from scopeward.errors import ScopewardError

PROOFS: Final[tuple[Proof, ...]] = (
    prove_chain,
    prove_requirements,
    prove_rules,
    prove_enforce,
    prove_tables,
    prove_revocation,
    prove_decide,
    prove_base,
    prove_names,
    prove_lending,
    prove_headers,
    prove_upstreams,
    prove_edge,
    prove_hosts,
    prove_streams,
    prove_secrets,
)


def prove(snapshot: Snapshot, gateway: Gateway) -> None:
    """Raise ``ScopewardError`` ``snapshot-unproven`` with every fault found. Pure."""
    faults = [fault for check in PROOFS for fault in _faults(check, snapshot, gateway)]
    if faults:
        raise ScopewardError("snapshot-unproven", "; ".join(faults[:10]))


def _faults(check: Proof, snapshot: Snapshot, gateway: Gateway) -> list[Fault]:
    """A snapshot in which a proof does not find what it looks at is not proven."""
    try:
        return list(check(snapshot, gateway))
    except (LookupError, AttributeError, TypeError, RuntimeError):
        return [f"{check.__name__}: the snapshot is not of the form that was proven"]


__all__ = ["BASE_FACTS", "PROOFS", "prove"]
