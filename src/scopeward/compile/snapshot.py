"""What a compiler hands over: resources by kind, as values that nobody changes any more, and a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Resource = Mapping[str, Any]
"""One Envoy resource in proto3 JSON form, with its ``@type``."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the node stands: what a snapshot needs to know of the machine and no policy says.

    ``audit_log`` is the file that this incarnation of Envoy writes; ``xds`` the folder in which the files are published.
    """

    node: str
    host: str
    port: int
    audit_log: str
    xds: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The compiled Envoy resources. ``version`` is a hash of all of them; ``policy_version`` that of the gateway they came from.

    ``extensions`` are the filters that travel by ECDS, by filter name: one file and one folder each.
    """

    policy_version: str
    listeners: tuple[Resource, ...]
    routes: tuple[Resource, ...]
    clusters: tuple[Resource, ...]
    extensions: Mapping[str, Resource]

    @property
    def version(self) -> str:
        """Twelve hex digits of SHA-256 over the canonical JSON of all resources."""
        return digest([self.listeners, self.routes, self.clusters, dict(self.extensions)])

    def files(self) -> dict[str, str]:
        """The DiscoveryResponses by path below the xds folder. A file's version is the hash of its own content."""
        kinds = {"listeners/listeners.json": self.listeners, "routes/routes.json": self.routes, "clusters/clusters.json": self.clusters}
        kinds |= {f"extensions/{name}/filter.json": (_typed_extension(name, config),) for name, config in self.extensions.items()}
        return {path: canonical({"version_info": digest(resources), "resources": resources}, indent=1) + "\n" for path, resources in kinds.items()}


def _typed_extension(name: str, config: Resource) -> Resource:
    return {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": name, "typed_config": config}


def canonical(value: object, indent: int | None = None) -> str:
    """JSON with sorted keys, so that equal content is equal bytes."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, sort_keys=True, separators=separators, indent=indent, ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Twelve hex digits of SHA-256 over the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]
