"""Make before break: the step between two snapshots in which what the old one uses and what the new one uses both exist."""

from __future__ import annotations

import copy
from typing import Any

from scopeward.compile.envoy.filters import jwt_authn
from scopeward.compile.snapshot import Resource, Snapshot


def union(old: Snapshot, new: Snapshot) -> Snapshot:
    """The new snapshot's clusters and filters with the old one's added where the old routes still need them; the old routes.

    Rule keys and requirement names are hashes of content, so an entry that is in both is the same entry. What has one value for all
    calls (who is who, the keys, what is revoked) is the new one's at once.
    """
    kept = {c["name"]: c for c in (*old.clusters, *new.clusters)}
    extensions = dict(new.extensions)
    extensions["decide"] = _merged(old.extensions["decide"], new.extensions["decide"], ("matcher", "matcher_tree", "exact_match_map", "map"))
    extensions[jwt_authn.FILTER] = _with_old_requirements(old.extensions[jwt_authn.FILTER], new.extensions[jwt_authn.FILTER])
    return Snapshot(old.policy_version, old.listeners, old.routes, tuple(kept.values()), extensions, {**old.secrets, **new.secrets}).sharing(new)


def _with_old_requirements(old: Resource, new: Resource) -> Resource:
    merged = _merged(old, new, ("requirement_map",))
    # a requirement whose issuer is gone could only be refused by Envoy; its routes then refuse too, which is what its removal means
    known = set(new["providers"])
    usable = {name: r for name, r in merged["requirement_map"].items() if name in new["requirement_map"] or _providers(r) <= known}
    return {**merged, "requirement_map": usable}


def _providers(requirement: Any) -> set[str]:
    if isinstance(requirement, list):
        return {name for item in requirement for name in _providers(item)}
    if isinstance(requirement, dict):
        here = {requirement["provider_name"]} if "provider_name" in requirement else set()
        return here | {name for value in requirement.values() for name in _providers(value)}
    return set()


def _merged(old: Resource, new: Resource, path: tuple[str, ...]) -> dict[str, Any]:
    """``new`` with the entries of the map at ``path`` in ``old`` that it lacks."""
    merged: dict[str, Any] = copy.deepcopy(dict(new))
    into, source = merged, old
    for key in path:
        into, source = into[key], source[key]
    for key, value in source.items():
        into.setdefault(key, value)
    return merged
