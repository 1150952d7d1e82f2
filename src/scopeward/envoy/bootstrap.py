"""What Envoy starts with: where its files are, and the few settings that no file xDS carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scopeward.compile.envoy.listener import file_source

RUNTIME = {
    # a rule that names many callers makes a long pattern; RE2 matches it in linear time all the same
    "re2.max_program_size.error_level": 100_000,
    "re2.max_program_size.warn_level": 100_000,
}

# Every statistic costs each call a little. These are what publishing reads back; the calls themselves are in the audit log.
STATISTICS = (
    {"prefix": "listener_manager."},
    {"prefix": "cluster_manager."},
    {"prefix": "server."},
    {"contains": ".rds."},
    {"contains": "extension_config_discovery"},
)


def bootstrap(node: str, xds: Path, admin_socket: Path) -> dict[str, Any]:
    """The bootstrap of a node."""
    return {
        "node": {"id": node, "cluster": "scopeward"},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": file_source(str(xds / "listeners"), "listeners.json"),
            "cds_config": file_source(str(xds / "clusters"), "clusters.json"),
        },
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": list(STATISTICS)}}},
        "layered_runtime": layered_runtime(),
    }


def layered_runtime() -> dict[str, Any]:
    """The runtime settings, for the real start and for validation alike."""
    return {"layers": [{"name": "scopeward", "static_layer": RUNTIME}]}
