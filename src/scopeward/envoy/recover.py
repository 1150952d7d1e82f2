"""A snapshot from the files that a running Envoy was told by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scopeward.compile.snapshot import File, Resource, Snapshot
from scopeward.errors import ScopewardError


def recover(xds: Path, policy_version: str) -> Snapshot:
    """The snapshot whose files these are; each file's version must be the hash of what is in it.

    Errors: ``state-damaged``.
    """
    extensions = {folder.name: _extension(folder) for folder in _folders(xds / "extensions")}
    return Snapshot(
        policy_version=policy_version,
        listeners=_resources(xds / "listeners" / "listeners.json"),
        routes=_resources(xds / "routes" / "routes.json"),
        clusters=_resources(xds / "clusters" / "clusters.json"),
        extensions=extensions,
        secrets={folder.name: _only(_resources(folder / "secret.json"), folder) for folder in _folders(xds / "secrets")},
    )


def _folders(parent: Path) -> list[Path]:
    return sorted(entry for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []


def _extension(folder: Path) -> Resource:
    resource = _only(_resources(folder / "filter.json"), folder)
    config = resource.get("typed_config")
    if resource.get("name") != folder.name or not isinstance(config, dict):
        raise ScopewardError("state-damaged", f"'{folder}' holds another filter")
    return config


def _only(resources: tuple[Resource, ...], folder: Path) -> Resource:
    if len(resources) != 1:
        raise ScopewardError("state-damaged", f"'{folder}' does not hold one resource")
    return resources[0]


def _resources(path: Path) -> tuple[Resource, ...]:
    said = _read(path)
    resources = said.get("resources")
    if not isinstance(resources, list) or not all(isinstance(resource, dict) for resource in resources):
        raise ScopewardError("state-damaged", f"'{path}' is not a file of resources")
    found: tuple[Resource, ...] = tuple(resources)
    if File.of(found).version != said.get("version_info"):
        raise ScopewardError("state-damaged", f"'{path}' was changed after it was published")
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise ScopewardError("state-damaged", f"'{path}' cannot be read") from None
    return said if isinstance(said, dict) else {}
