"""A snapshot as one static bootstrap: what ``envoy --mode validate`` can look into, for it does not read file xDS."""

from __future__ import annotations

import copy
from typing import Any

from scopeward.compile.envoy.proto import Json
from scopeward.compile.snapshot import Snapshot


def inline(snapshot: Snapshot) -> Json:
    """The same listeners, routes, clusters and filters, with every reference to a file replaced by the content."""
    routes = {r["name"]: r for r in snapshot.routes}
    return {
        "static_resources": {
            "listeners": [_named_secrets(_listener(dict(listener), routes, snapshot)) for listener in snapshot.listeners],
            "clusters": [_named_secrets(_untyped(c)) for c in snapshot.clusters],
            "secrets": [_untyped(secret) for secret in snapshot.secrets.values()],
        }
    }


def _listener(listener: Json, routes: dict[str, Any], snapshot: Snapshot) -> Json:
    listener = copy.deepcopy(_untyped(listener))
    for chain in listener["filter_chains"]:
        for network_filter in chain["filters"]:
            manager = network_filter["typed_config"]
            manager["route_config"] = _untyped(routes[manager.pop("rds")["route_config_name"]])
            for log in manager["access_log"]:
                log["typed_config"]["path"] = "/dev/null"  # validating must not open, or create, the real one
            for http_filter in manager["http_filters"]:
                if http_filter.pop("config_discovery", None):
                    http_filter["typed_config"] = snapshot.extensions[http_filter["name"]]
    return listener


def _untyped(resource: Any) -> Json:
    """Inside a bootstrap these messages stand by themselves and not in an ``Any``."""
    return {key: value for key, value in resource.items() if key != "@type"}


def _named_secrets(value: Any) -> Any:
    """A copy in which secrets are named and not read from a file."""
    if isinstance(value, list | tuple):
        return [_named_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _named_secrets(item) for key, item in value.items() if key != "sds_config"}
