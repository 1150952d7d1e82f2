"""What a compiler hands over: resources by kind, as values that nobody changes any more, and a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from scopeward.secret import Secret

Resource = Mapping[str, Any]
"""One Envoy resource in proto3 JSON form, with its ``@type``."""

MOST_INDENTED: Final = 2_000_000
"""Characters of a file that a person may still want to read."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """A certificate chain (PEM, the leaf first) and its private key (PEM, not encrypted)."""

    certificate: str
    private_key: Secret


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the node stands: what a snapshot needs to know of the machine and no policy says.

    ``audit_log`` is the file that this incarnation of Envoy writes; ``xds`` the folder in which the files are published. ``tls`` is what callers
    are shown, ``None`` for clear text; ``client_ca`` (PEM) are the authorities of client certificates. Where ``proxies`` (CIDRs) are named,
    only they may connect, and only then X-Forwarded-For is believed. ``upstream_tls`` are the gateway's own certificates by the policy's
    reference (``file:/path.pem``), ``ca_bundle`` (PEM) the authorities of upstreams where the policy names a file of them.
    """

    node: str
    host: str
    port: int
    audit_log: str
    xds: str
    tls: TlsMaterial | None = None
    client_ca: str | None = None
    proxies: tuple[str, ...] = ()
    upstream_tls: Mapping[str, TlsMaterial] = field(default_factory=dict)
    ca_bundle: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Snapshot:
    """The compiled Envoy resources. ``version`` is a hash of all of them; ``policy_version`` that of the gateway they came from.

    ``extensions`` are the filters that travel by ECDS, by filter name: one file and one folder each. ``secrets`` travel by SDS, the same way.
    """

    policy_version: str
    listeners: tuple[Resource, ...]
    routes: tuple[Resource, ...]
    clusters: tuple[Resource, ...]
    extensions: Mapping[str, Resource]
    secrets: Mapping[str, Resource] = field(default_factory=dict, repr=False)
    _files: dict[str, File] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def version(self) -> str:
        """Twelve hex digits of SHA-256 over the versions of all files."""
        return digest({path: file.version for path, file in self.files().items()})

    def files(self) -> Mapping[str, File]:
        """The DiscoveryResponses by path below the xds folder. A file's version is the hash of its own content."""
        for path, resources in self._resources().items():
            if path not in self._files:
                self._files[path] = File.of(resources)
        return self._files

    def with_extensions(self, changed: Mapping[str, Resource]) -> Snapshot:
        """The same with other filters of these names. What did not change is not written out again, however large it is."""
        other = replace(self, extensions={**self.extensions, **changed})
        outdated = {extension_path(name) for name in changed}
        other._files.update({path: file for path, file in self.files().items() if path not in outdated})
        return other

    def with_written(self, name: str, config: Resource, file: File) -> Snapshot:
        """The same with another filter of this name, whose file (``extension_file``) was written out before."""
        other = self.with_extensions({name: config})
        other._files[extension_path(name)] = file
        return other

    def sharing(self, other: Snapshot) -> Snapshot:
        """The same; what it has of ``other``'s filters is not written out again."""
        for name, config in self.extensions.items():
            if config is other.extensions.get(name):
                self._files[extension_path(name)] = other.files()[extension_path(name)]
        return self

    def _resources(self) -> dict[str, tuple[Resource, ...]]:
        kinds = {"listeners/listeners.json": self.listeners, "routes/routes.json": self.routes, "clusters/clusters.json": self.clusters}
        kinds |= {extension_path(name): (_typed_extension(name, config),) for name, config in self.extensions.items()}
        return kinds | {secret_path(name): (secret,) for name, secret in self.secrets.items()}


@dataclass(frozen=True, slots=True)
class File:
    """One published file. The text of a secret's file is a secret."""

    version: str
    text: str = field(repr=False)

    @classmethod
    def of(cls, resources: tuple[Resource, ...]) -> File:
        """The file of these resources. Large tables stand on one line: Python writes them indented at a tenth of the speed."""
        content = canonical(resources)
        version = hashlib.sha256(content.encode()).hexdigest()[:12]
        if len(content) > MOST_INDENTED:
            return cls(version, f'{{"resources":{content},"version_info":"{version}"}}\n')
        return cls(version, canonical({"version_info": version, "resources": resources}, indent=1) + "\n")


def extension_file(name: str, config: Resource) -> File:
    """A filter's file."""
    return File.of((_typed_extension(name, config),))


def extension_path(name: str) -> str:
    """Where a filter's file is, below the xds folder."""
    return f"extensions/{name}/filter.json"


def secret_path(name: str) -> str:
    """Where a secret's file is, below the xds folder."""
    return f"secrets/{name}/secret.json"


def _typed_extension(name: str, config: Resource) -> Resource:
    return {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": name, "typed_config": config}


def canonical(value: object, indent: int | None = None) -> str:
    """JSON with sorted keys, so that equal content is equal bytes."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, sort_keys=True, separators=separators, indent=indent, ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Twelve hex digits of SHA-256 over the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]
